"""A pytest plugin: put cachekit's names in the place of joblib's in its tests."""

from __future__ import annotations

import types

import cloudpickle
import joblib
import joblib.compressor
import joblib.memory
import joblib.numpy_pickle
import joblib.parallel
import pytest

import cachekit
import cachekit.parallel
from cachekit.memoization import (
    MemorizedFunc,
    NotMemorizedFunc,
    NotMemorizedResult,
)
from cachekit.memoization.coroutine import AsyncMemorizedFunc
from cachekit.memoization.uncached import AsyncNotMemorizedFunc
from cachekit.parallel import config
from cachekit.serialization import CompressorWrapper

# The tests of persistence go through the module; what else they take from it is theirs.
PERSISTENCE = types.SimpleNamespace(
    **{**vars(joblib.numpy_pickle), "dump": cachekit.dump, "load": cachekit.load}
)


class ParallelModule:
    """Stands for the module `joblib.parallel`."""

    get_active_backend = staticmethod(config.get_active_backend)

    @property
    def DEFAULT_BACKEND(self) -> str:  # noqa: N802  (joblib's name)
        return config.DEFAULT_BACKEND

    @DEFAULT_BACKEND.setter
    def DEFAULT_BACKEND(self, name: str) -> None:  # noqa: N802
        config.DEFAULT_BACKEND = name


REPLACED = [
    (joblib.hash, cachekit.hash),
    (joblib.numpy_pickle, PERSISTENCE),
    (joblib.register_compressor, cachekit.register_compressor),
    (joblib.compressor.CompressorWrapper, CompressorWrapper),
    (joblib.Memory, cachekit.Memory),
    (joblib.memory.MemorizedFunc, MemorizedFunc),
    (joblib.memory.AsyncMemorizedFunc, AsyncMemorizedFunc),
    (joblib.memory.NotMemorizedFunc, NotMemorizedFunc),
    (joblib.memory.AsyncNotMemorizedFunc, AsyncNotMemorizedFunc),
    (joblib.MemorizedResult, cachekit.MemorizedResult),
    (joblib.memory.NotMemorizedResult, NotMemorizedResult),
    (joblib.expires_after, cachekit.expires_after),
    (joblib.register_store_backend, cachekit.register_store_backend),
    (joblib.StoreBackendBase, cachekit.StoreBackendBase),
    (joblib.dump, cachekit.dump),
    (joblib.load, cachekit.load),
    (joblib.parallel, ParallelModule()),
    (joblib.parallel.BACKENDS, config.BACKENDS),
    *(
        (getattr(joblib, name), getattr(cachekit.parallel, name))
        for name in (
            "Parallel",
            "ParallelBackendBase",
            "cpu_count",
            "delayed",
            "effective_n_jobs",
            "parallel_backend",
            "parallel_config",
            "register_parallel_backend",
            "wrap_non_picklable_objects",
        )
    ),
    *(
        (getattr(joblib.parallel, name), getattr(config, name))
        for name in (
            "LokyBackend",
            "MultiprocessingBackend",
            "SequentialBackend",
            "ThreadingBackend",
        )
    ),
]


class Tally(list[object]):
    """A list that counts for nothing in the code that reads it.

    joblib's tests have the function append to a list, to count its calls. What code
    reads is part of its key here, so a longer list would be a new call each time; a
    user who wants such a count says so like this.
    """

    def __cachekit_hash__(self) -> object:
        return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Replace by identity, in the namespace of each test module."""
    for module in {item.getparent(pytest.Module) for item in items}:
        assert module is not None
        names = vars(module.obj)
        for name, thing in list(names.items()):
            names[name] = substitute(thing)
        if "memory" in module.name:
            names["list"] = Tally
        if "parallel" in module.name:
            # A worker that imported it would find joblib's own names there.
            cloudpickle.register_pickle_by_value(module.obj)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            parameters = item.callspec.params
            parameters.update({k: substitute(v) for k, v in parameters.items()})


def substitute(thing: object) -> object:
    """Return what takes the place of what a test module has in its namespace."""
    for theirs, ours in REPLACED:
        if thing is theirs:
            return ours
        if type(thing) is theirs and callable(ours):  # one of their backends
            return ours()
    if isinstance(thing, str):  # a script that a test runs
        return thing.replace("from joblib import", "from cachekit import")
    if isinstance(thing, types.FunctionType):  # it may have such a script
        constants = tuple(
            substitute(one) if isinstance(one, str) else one
            for one in thing.__code__.co_consts
        )
        if constants != thing.__code__.co_consts:
            thing.__code__ = thing.__code__.replace(co_consts=constants)
    return thing
