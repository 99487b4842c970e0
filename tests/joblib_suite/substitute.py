"""A pytest plugin: put cachekit's names in the place of joblib's in its tests."""

from __future__ import annotations

import types

import joblib
import joblib.compressor
import joblib.memory
import joblib.numpy_pickle
import pytest

import cachekit
from cachekit.memoization import (
    MemorizedFunc,
    NotMemorizedFunc,
    NotMemorizedResult,
)
from cachekit.memoization.coroutine import AsyncMemorizedFunc
from cachekit.memoization.uncached import AsyncNotMemorizedFunc
from cachekit.serialization import CompressorWrapper

# The tests of persistence go through the module; what else they take from it is theirs.
PERSISTENCE = types.SimpleNamespace(
    **{**vars(joblib.numpy_pickle), "dump": cachekit.dump, "load": cachekit.load}
)

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
        for name, thing in list(vars(module.obj).items()):
            for theirs, ours in REPLACED:
                if thing is theirs:
                    setattr(module.obj, name, ours)
            if isinstance(thing, str):  # a script that a test runs
                script = thing.replace("from joblib import", "from cachekit import")
                setattr(module.obj, name, script)
        if "memory" in module.name:
            module.obj.list = Tally
