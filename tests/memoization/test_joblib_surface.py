"""What code written for `joblib.Memory` finds in ours."""

from __future__ import annotations

import inspect
import pickle
import secrets
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import joblib
import joblib.memory
import numpy as np
import pytest

import cachekit
from cachekit import CacheWarning, MemorizedResult, Memory
from cachekit.memoization import (
    MemorizedFunc,
    NotMemorizedFunc,
    NotMemorizedResult,
)
from cachekit.memoization.coroutine import AsyncMemorizedFunc
from cachekit.memoization.uncached import AsyncNotMemorizedFunc
from cachekit.stores import DictStore, LocalStore
from tests.memoization.project import Project, value_files


def roll(sides: int, offset: int = 0) -> str:
    return f"{sides}+{offset}:{secrets.token_hex(8)}"


def ones(count: int) -> np.ndarray[Any, Any]:
    return np.ones(count)


async def later(x: int) -> int:
    return x


# --- signatures ---


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Memory, joblib.Memory),
        (Memory.cache, joblib.Memory.cache),
        (Memory.clear, joblib.Memory.clear),
        (Memory.eval, joblib.Memory.eval),
        (Memory.format, joblib.Memory.format),
        (Memory.reduce_size, joblib.Memory.reduce_size),
        (Memory.warn, joblib.Memory.warn),
        (MemorizedFunc, joblib.memory.MemorizedFunc),
        (MemorizedFunc.call, joblib.memory.MemorizedFunc.call),
        (MemorizedFunc.clear, joblib.memory.MemorizedFunc.clear),
        (MemorizedResult, joblib.MemorizedResult),
        (cachekit.expires_after, joblib.expires_after),
    ],
)
def test_parameters_are_those_of_joblib_in_the_same_order(
    ours: Callable[..., Any], theirs: Callable[..., Any]
) -> None:
    expected = inspect.signature(theirs).parameters
    found = inspect.signature(ours).parameters

    more = list(found.values())[len(expected) :]
    assert list(found)[: len(expected)] == list(expected)
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in more)
    for name, parameter in expected.items():
        if name != "verbose":  # ours are quiet if nothing else is said
            assert found[name].default == parameter.default


def test_names_of_joblib_are_ours_too() -> None:
    assert set(joblib.__all__) <= set(cachekit.__all__)


def test_a_memory_is_made_with_positional_arguments(store: Path) -> None:
    memory = Memory(str(store), "local", "r", False, 3, {"unused": 1})

    assert memory.location == str(store)
    assert memory.backend == "local"
    assert memory.mmap_mode == "r"
    assert memory.compress is False
    assert memory.verbose == 3
    assert memory.backend_options == {"unused": 1}


def test_cache_takes_positional_arguments(memory: Memory) -> None:
    def is_valid(_: dict[str, Any]) -> bool:
        return True

    cached = memory.cache(roll, ["offset"], 0, "r", is_valid)  # type: ignore[call-overload]

    assert cached.ignore == ["offset"]
    assert cached.mmap_mode == "r"
    assert cached.cache_validation_callback is is_valid


# --- attributes ---


def test_the_store_has_a_location(memory: Memory, store: Path) -> None:
    cached: Any = memory.cache(roll)

    assert memory.store_backend.location == str(store)
    assert cached.store_backend.location == str(store)
    assert cached.call_and_shelve(6).store_backend.location == str(store)
    assert Memory(None).store_backend is None


def test_a_cached_function_has_the_attributes_of_joblib(memory: Memory) -> None:
    cached: Any = memory.cache(roll, ignore=["offset"])

    assert cached.func is roll
    assert cached.__wrapped__ is roll
    assert cached.__name__ == "roll"
    assert cached.func_id == f"{__name__}.roll"
    assert cached.ignore == ["offset"]
    assert cached.mmap_mode is None
    assert cached.compress is False
    assert cached.cache_validation_callback is None


def test_a_reference_has_the_attributes_of_joblib(memory: Memory) -> None:
    shelved = memory.cache(roll).call_and_shelve(6, offset=2)

    assert shelved.func == shelved.func_id == f"{__name__}.roll"
    assert len(shelved.args_id) == 32
    assert shelved.metadata["input_args"] == {"sides": "6", "offset": "2"}
    assert shelved.metadata["duration"] == shelved.duration
    assert shelved.metadata["time"] == pytest.approx(shelved.timestamp.timestamp())


def test_a_reference_is_made_of_a_location_and_a_call(
    memory: Memory, store: Path
) -> None:
    shelved = memory.cache(ones).call_and_shelve(10_000)

    again = MemorizedResult(store, shelved.key, mmap_mode="r")

    assert again == shelved
    assert isinstance(again.get(), np.memmap)


def test_what_is_made_is_of_the_classes_of_joblib(memory: Memory) -> None:
    made = {
        MemorizedFunc: memory.cache(roll),
        AsyncMemorizedFunc: memory.cache(later),
        MemorizedResult: memory.cache(roll).call_and_shelve(6),
        NotMemorizedFunc: Memory(None).cache(roll),
        AsyncNotMemorizedFunc: Memory(None).cache(later),
        NotMemorizedResult: Memory(None).cache(roll).call_and_shelve(6),
    }

    for kind, thing in made.items():
        assert type(thing) is kind
    assert isinstance(made[AsyncMemorizedFunc], MemorizedFunc)
    assert isinstance(made[AsyncNotMemorizedFunc], NotMemorizedFunc)


# --- methods ---


def test_eval_is_a_call_through_the_cache(memory: Memory) -> None:
    token = memory.eval(roll, 6, offset=1)

    assert memory.eval(roll, 6, offset=1) == token
    assert memory.cache(roll)(6, 1) == token
    assert Memory(None).eval(roll, 6) != Memory(None).eval(roll, 6)


def test_call_returns_the_result_and_its_metadata(memory: Memory) -> None:
    cached = memory.cache(roll)
    first = cached(6)

    token, metadata = cached.call(6)

    assert token != first
    assert cached(6) == token
    assert metadata.keys() == {"duration", "time", "input_args"}


def test_clear_and_reduce_size_take_the_arguments_of_joblib(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(roll)
    for sides in range(5):
        cached(sides)

    memory.reduce_size()
    memory.reduce_size("1M", None, timedelta(days=1))
    assert len(value_files(store)) == 5

    memory.reduce_size(items_limit=2)
    assert len(value_files(store)) == 2

    memory.clear(warn=False)
    assert value_files(store) == []
    Memory(None).clear()
    Memory(None).reduce_size(bytes_limit="1M")


def test_a_memory_formats_and_logs_as_a_logger_of_joblib(
    memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", logger="cachekit"):
        memory.warn("careful")
        memory.info("so it is")
        memory.debug("in detail")

    assert [record.levelname for record in caplog.records] == [
        "WARNING",
        "INFO",
        "DEBUG",
    ]
    assert caplog.messages[0] == f"{memory!r}: careful"
    assert memory.format({"a": [1]}) == joblib.Memory(None).format({"a": [1]})


# --- options ---


def test_what_is_computed_is_said_in_a_line_on_the_standard_error(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = Memory(store, verbose=1).cache(roll)
    cached(6)
    cached(6)

    out, err = capsys.readouterr()

    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"[cachekit] computed {__name__}.roll in ")
    assert line.isascii()
    assert len(line) < 100


def test_what_is_loaded_is_said_too_if_asked(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = Memory(store).cache(roll, verbose=11)
    cached(6)
    cached(6)

    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == [
        "computed",
        "loaded",
    ]


def test_nothing_is_said_if_nothing_is_asked(
    memory: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    memory.cache(roll)(6)
    memory.clear()

    assert capsys.readouterr() == ("", "")


def test_arrays_are_mapped_at_the_first_call_too(store: Path) -> None:
    cached = Memory(store, mmap_mode="r").cache(ones)

    for _ in range(2):
        array = cached(10_000)
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable


def test_compressed_results_that_are_to_be_mapped_are_warned_of(store: Path) -> None:
    with pytest.warns(UserWarning, match="compressed results cannot be mapped"):
        memory = Memory(store, mmap_mode="r", compress=True)

    assert memory.cache(ones)(10_000).sum() == 10_000


def test_an_unknown_backend_is_a_type_error(store: Path) -> None:
    with pytest.raises(TypeError, match="Unknown location"):
        Memory(str(store), backend="unknown")


# --- copies in other processes ---


@pytest.mark.parametrize("copier", ["pickle", "cloudpickle"])
def test_what_is_pickled_finds_the_same_results(
    memory: Memory, store: Path, copier: str
) -> None:
    pickler = __import__(copier)
    cached = memory.cache(roll, ignore=["offset"])
    shelved = cached.call_and_shelve(6)

    again = pickle.loads(pickler.dumps((memory, cached, shelved)))

    assert type(again[0]) is Memory
    assert again[0].cache(roll, ignore=["offset"])(6) == shelved.get()
    assert again[1](6, offset=1) == shelved.get()
    assert again[2] == shelved
    assert again[2].get() == shelved.get()
    assert again[1].ignore == ["offset"]
    assert len(value_files(store)) == 1


@pytest.mark.parametrize("copier", ["pickle", "cloudpickle"])
def test_a_function_that_is_not_cached_is_pickled(copier: str) -> None:
    pickler = __import__(copier)

    memory, cached = pickle.loads(
        pickler.dumps((Memory(None), Memory(None).cache(roll)))
    )

    assert memory.location is None
    assert cached(6).startswith("6+0:")


class Quiet(Memory):
    """A memory of a user's class."""


def test_a_memory_of_a_users_class_stays_one(store: Path) -> None:
    again = pickle.loads(pickle.dumps(Quiet(store)))

    assert type(again) is Quiet
    assert again.location == str(store)


WORKERS = """
    import sys
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    from cachekit import Memory
    from loky import get_reusable_executor

    memory = Memory("store", mmap_mode="r")

    def double(x):
        print("computing", flush=True)
        return 2 * x

    cached = memory.cache(double)
    shelved = cached.call_and_shelve(21)

    def ask(memory, cached, shelved):
        return (
            memory.cache(cached.func)(21),
            cached(21),
            shelved.get(),
            cached.lookup(21) == shelved,
            memory.location,
        )

    if __name__ == "__main__":
        if sys.argv[1] == "spawn":
            pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        else:
            pool = get_reusable_executor(1)
        answer = pool.submit(ask, memory, cached, shelved).result()
        pool.shutdown()
        assert answer == (42, 42, 42, True, memory.location), answer
"""


@pytest.mark.parametrize("kind", ["spawn", "loky"])
def test_a_worker_finds_the_results_of_its_parent(tmp_path: Path, kind: str) -> None:
    project = Project(tmp_path)
    project.write("script.py", WORKERS)

    assert project.run("script.py", kind) == ["computing"]


def test_a_hit_is_of_the_class_of_the_script_that_stored_it(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "helpers.py",
        """
        from cachekit import Memory

        class Model:
            pass

        @Memory("store").cache
        def trained(model):
            return model
        """,
    )
    project.write(
        "script.py",
        """
        import helpers

        class Model:
            pass

        for _ in range(2):
            print(type(helpers.trained(Model())).__module__)
        """,
    )

    assert project.run("script.py") == ["__main__", "__main__"]


# --- what costs nothing ---


def test_a_memory_without_a_location_hashes_nothing() -> None:
    cached = Memory(None).cache(lambda lock: lock)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cached(sys.stdout) is sys.stdout  # no argument that has a digest


def test_an_argument_without_a_digest_is_a_pickling_error(memory: Memory) -> None:
    with pytest.raises(pickle.PicklingError):
        memory.cache(lambda stream: stream)(sys.stdout)


def test_a_store_that_is_given_is_the_memorys_own() -> None:
    store = DictStore()

    assert Memory(store).store_backend is store


def test_a_local_store_is_what_a_folder_becomes(memory: Memory) -> None:
    assert isinstance(memory.store_backend, LocalStore)


def test_a_damaged_result_is_a_key_error_for_its_reference(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(roll)
    shelved = cached.call_and_shelve(6)
    (path,) = value_files(store)
    path.chmod(0o600)
    path.write_bytes(b"garbage")

    with pytest.raises(KeyError, match="corrupted"):
        shelved.get()
    with pytest.warns(CacheWarning, match="could not be read"):
        assert cached(6) != ""
