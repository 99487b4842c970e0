"""Results that are mapped: nothing is read, nothing changes an entry, digests stay."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import secrets
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import cachekit
from cachekit import CacheWarning, Memory
from cachekit.memoization import mapped
from cachekit.serialization import map_value
from cachekit.stores import DictStore
from tests.memoization.project import Project, only_value_file


@pytest.fixture
def memory(store: Path) -> Memory:
    return Memory(store, mmap_mode="r")


def numbers(count: int = 10_000) -> Any:
    return np.arange(float(count))


def is_map(array: Any) -> bool:
    """Tell whether the memory of an array is that of a mapped file."""
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = getattr(array, "base", None)
    return False


def count_hashed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list to which all values are added that are hashed from now on."""
    hashed: list[Any] = []
    plain = cachekit.digest

    def digest(value: Any) -> str:
        hashed.append(value)
        return plain(value)

    monkeypatch.setattr("cachekit.memoization.call.digest", digest)
    return hashed


# --- what is mapped ---


@pytest.mark.parametrize("size", [1, 3, 100, 511, 512, 10_000])
@pytest.mark.parametrize("where", ["memory", "function"])
def test_the_first_call_and_the_hits_are_mapped(
    store: Path, size: int, where: str
) -> None:
    if where == "memory":
        cached = Memory(store, mmap_mode="r").cache(numbers)
    else:
        cached = Memory(store).cache(numbers, mmap_mode="r")

    for _ in range(3):
        result = cached(size)
        assert isinstance(result, np.memmap)
        assert not result.flags.writeable
        np.testing.assert_array_equal(result, numbers(size))


def test_a_function_may_be_spared_the_mode_of_its_memory(memory: Memory) -> None:
    result = memory.cache(numbers, mmap_mode=None)()

    assert type(result) is np.ndarray
    assert result.flags.writeable


def nested() -> dict[str, Any]:
    array = np.arange(5000.0)
    return {
        "tuple": (array, 2 * array, "name"),
        "small ones": (np.arange(3), np.eye(2)),
        "dict": {"a": array, "b": {"c": [array + 1]}},
        "frame": pd.DataFrame({"a": array, "b": array.astype(int)}),
        "sparse": scipy.sparse.csr_matrix(np.diag(np.arange(1.0, 900.0))),
        "fortran": np.asfortranarray(array.reshape(50, 100)),
        "records": np.zeros(5000, [("a", "i4"), ("b", "f8")]),
        "dates": np.arange(5000).astype("M8[s]"),
        "zero-dimensional": np.array(3.5),
        "empty": np.zeros((0, 3)),
        "objects": np.array(["a", [1]], dtype=object),
        "no array": {"a": [1, "b"]},
    }


@pytest.mark.parametrize("kind", nested())
@pytest.mark.parametrize("mode", ["r", "c"])
def test_arrays_are_mapped_wherever_they_are(
    memory: Memory, kind: str, mode: Any
) -> None:
    cached = memory.cache(lambda name: nested()[name], mmap_mode=mode)
    expected = cachekit.digest(nested()[kind])

    for _ in range(2):
        assert cachekit.digest(cached(kind)) == expected


def test_arrays_inside_of_others_are_maps(memory: Memory) -> None:
    cached = memory.cache(lambda name: nested()[name])

    for _ in range(2):
        assert all(map(is_map, cached("tuple")[:2]))
        assert all(map(is_map, cached("small ones")))
        assert is_map(cached("dict")["b"]["c"][0])
        assert is_map(cached("sparse").data)
        assert is_map(cached("frame")["a"].to_numpy())


@pytest.mark.parametrize("mode", ["r+", "w+", "c"])
def test_what_a_caller_writes_never_reaches_the_entry(
    memory: Memory, store: Path, mode: Any
) -> None:
    cached = memory.cache(numbers, mmap_mode=mode)

    for _ in range(3):
        result = cached()
        np.testing.assert_array_equal(result, numbers())
        result[:] = -1
        result.flush()

    np.testing.assert_array_equal(Memory(store).cache(numbers)(), numbers())


def test_a_mapped_result_outlives_its_entry(memory: Memory, store: Path) -> None:
    cached = memory.cache(numbers)
    result = cached()

    cached.put(-numbers(), 10_000)
    assert cached()[-1] == -9999
    memory.clear()
    shutil.rmtree(store)

    np.testing.assert_array_equal(result, numbers())


@pytest.mark.parametrize("length", [0, 1, 100, 4096, 50_000, -1])
def test_a_truncated_file_is_found_before_it_is_mapped(
    memory: Memory, store: Path, length: int
) -> None:
    cached = memory.cache(numbers)
    cached()
    path = only_value_file(store)
    os.truncate(path, length if length >= 0 else path.stat().st_size - 1)

    with pytest.warns(CacheWarning, match="could not be read"):
        result = cached()

    np.testing.assert_array_equal(result, numbers())
    assert is_map(cached())


def test_a_folder_in_the_place_of_a_value_is_no_error(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(numbers)
    cached()
    path = only_value_file(store)
    path.unlink()
    path.mkdir()

    with pytest.warns(CacheWarning):
        np.testing.assert_array_equal(cached(), numbers())


def test_a_compressed_result_is_read(store: Path) -> None:
    cached = Memory(store).cache(numbers, compress=True, mmap_mode="r")

    for _ in range(2):
        np.testing.assert_array_equal(cached(), numbers())


def test_a_signed_result_is_read_and_not_mapped(store: Path) -> None:
    secret = secrets.token_bytes(32)
    cached = Memory(store, mmap_mode="r", signing_key=secret).cache(numbers)

    for _ in range(2):
        assert type(cached()) is np.ndarray


def test_what_is_not_on_this_machine_is_read() -> None:
    for location in (DictStore(), "memory://mapped-results"):
        cached = Memory(location, mmap_mode="r").cache(numbers)
        for _ in range(2):
            np.testing.assert_array_equal(cached(), numbers())


def test_what_is_found_far_is_mapped_near(tmp_path: Path) -> None:
    far = f"memory://{secrets.token_hex()}"
    first = Memory([tmp_path / "one", far], mmap_mode="r")
    first.cache(numbers)()
    first.flush()

    second = Memory([tmp_path / "two", far], mmap_mode="r")
    result = second.cache(numbers)()

    assert second.tally()[:2] == (1, 0)
    assert is_map(result)
    np.testing.assert_array_equal(result, numbers())


def test_a_read_only_memory_maps_too(memory: Memory, store: Path) -> None:
    memory.cache(numbers)()
    cached = Memory(store, mmap_mode="r", read_only=True).cache(numbers)

    assert is_map(cached())
    np.testing.assert_array_equal(cached(5), numbers(5))


def test_a_map_is_closed_with_its_last_array(memory: Memory) -> None:
    if not OPEN_FILES.exists():
        pytest.skip("no /proc")
    cached = memory.cache(numbers)
    cached()

    kept = cached()
    assert open_values(memory) == 1  # so that this test can fail

    del kept
    for _ in range(20):
        cached()
    gc.collect()
    assert open_values(memory) == 0


OPEN_FILES = Path("/proc/self/fd")


def open_values(memory: Memory) -> int:
    """Count the values of a store that this process has open."""
    found = 0
    for file in OPEN_FILES.iterdir():
        with contextlib.suppress(OSError):  # closed by another thread meanwhile
            path = file.readlink()
            found += path.name == "value" and path.is_relative_to(str(memory.location))
    return found


# --- known digests ---


def total(array: Any) -> tuple[float, str]:
    return float(np.sum(array)), secrets.token_hex()


def test_a_mapped_array_is_not_hashed_again(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, step = memory.cache(numbers), memory.cache(total)
    first = step(cached())

    hashed = count_hashed(monkeypatch)
    again = step(cached())

    assert again == first
    assert not any(isinstance(value, np.ndarray) for value in hashed)


def test_the_items_of_a_result_are_known_too(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = memory.cache(lambda: (numbers(), -numbers()))
    table = memory.cache(lambda: {"a": numbers(), "b": 2 * numbers(), "": numbers(3)})
    step = memory.cache(total)
    results = [step(pair()[1]), step(table()["b"]), step(table()[""])]

    hashed = count_hashed(monkeypatch)
    again = [step(pair()[1]), step(table()["b"]), step(table()[""])]

    assert again == results
    assert [r[0] for r in results] == [-sum(numbers()), 2 * sum(numbers()), 3.0]
    assert sum(isinstance(value, np.ndarray) for value in hashed) <= 1  # the nameless


def plain_digest(array: Any) -> str:
    return cachekit.digest(np.array(array))


def variations() -> dict[str, Any]:
    def shaped(array: Any) -> Any:
        array.shape = (100, 100)
        return array

    def typed(array: Any) -> Any:
        array.dtype = "i8"
        return array

    return {
        "itself": lambda array: array,
        "slice": lambda array: array[1:],
        "view": lambda array: array.view(),
        "whole slice": lambda array: array[:],
        "reversed": lambda array: array[::-1],
        "reshaped": lambda array: array.reshape(100, 100),
        "transposed": lambda array: array.reshape(100, 100).T,
        "copy": lambda array: array.copy(),
        "sum": lambda array: array + 1,
        "another type": lambda array: array.view("i8"),
        "given a shape": shaped,
        "given a type": typed,
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", variations())
def test_what_is_made_of_a_mapped_array_has_its_own_digest(
    memory: Memory, kind: str
) -> None:
    array = variations()[kind](memory.cache(numbers)())

    known = mapped.known_digest(array)

    assert known in (None, plain_digest(array))
    assert (known is not None) == (kind == "itself")


def test_an_array_that_was_made_writable_is_not_known(memory: Memory) -> None:
    array = memory.cache(numbers, mmap_mode="c")()

    assert mapped.known_digest(array) is None
    array.flags.writeable = False
    assert mapped.known_digest(array) is None
    with pytest.raises(ValueError, match="WRITEABLE"):
        memory.cache(numbers)().flags.writeable = True


def test_the_identity_of_an_array_that_is_gone_is_forgotten(memory: Memory) -> None:
    cached = memory.cache(numbers)
    before = len(mapped._known)

    for count in range(600, 700):
        array = cached(count)
        assert mapped.known_digest(array) == plain_digest(array)
    del array
    gc.collect()
    others = [np.arange(float(n)) for n in range(1000)]

    assert len(mapped._known) == before
    assert not any(mapped.known_digest(other) for other in others)


class Disguised:
    """Not an array, but stored as one."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce__(self) -> Any:
        return np.asarray, (self.array,)


def test_what_was_no_array_has_no_known_digest(memory: Memory) -> None:
    cached = memory.cache(lambda: Disguised(numbers()))
    several = memory.cache(lambda: (Disguised(numbers()), numbers()))

    result, (one, two) = cached(), several()

    assert mapped.known_digest(result) in (None, plain_digest(result))
    assert mapped.known_digest(one) in (None, plain_digest(one))
    assert mapped.known_digest(two) == plain_digest(two)


def test_the_record_of_another_value_is_not_believed(
    memory: Memory, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = memory.cache(numbers)
    cached()

    def map_and_replace(*args: Any, **kwargs: Any) -> Any:
        value = map_value(*args, **kwargs)
        Memory(store).cache(numbers).put(-numbers())
        return value

    monkeypatch.setattr("cachekit.memoization.lookups.map_value", map_and_replace)
    array = cached()

    np.testing.assert_array_equal(array, numbers())
    assert mapped.known_digest(array) in (None, plain_digest(array))


def test_the_record_of_another_store_is_not_believed(tmp_path: Path) -> None:
    far = f"memory://{secrets.token_hex()}"
    near = tmp_path / "near"
    memory = Memory([near, far], mmap_mode="r")
    cached = memory.cache(numbers)
    cached()
    memory.flush()
    Memory(near).cache(numbers).put(-numbers())
    only_value_file(near).with_name("record.json").unlink()

    array = Memory([near, far], mmap_mode="r").cache(numbers)()

    assert mapped.known_digest(array) in (None, plain_digest(array))


@pytest.mark.parametrize(
    "facts",
    [
        {"value": 3, "arrays": [""]},
        {"value": "0" * 32, "key": "1" * 32},
        {"items": {"0": 3}},
        {"arrays": "all"},
        {"arrays": None},
    ],
)
def test_a_record_that_makes_no_sense_is_not_believed(
    memory: Memory, store: Path, facts: dict[str, Any]
) -> None:
    cached = memory.cache(numbers)
    cached()
    path = only_value_file(store).with_name("record.json")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **facts}))

    array = cached()

    assert mapped.known_digest(array) in (None, plain_digest(array))
    assert memory.cache(total)(array)[0] == sum(numbers())


def test_threads_know_the_digests_of_their_own_arrays(memory: Memory) -> None:
    cached = memory.cache(numbers)
    expected = {n: plain_digest(numbers(n)) for n in range(5, 25)}

    def look(n: int) -> bool:
        array = cached(n % 20 + 5)
        return mapped.known_digest(array) in (None, expected[n % 20 + 5])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(look, range(400)))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_knows_what_its_parent_did(memory: Memory) -> None:
    array = memory.cache(numbers)()
    expected = plain_digest(array)

    child = os.fork()
    if child == 0:
        try:
            other = np.arange(10_000.0)
            good = mapped.known_digest(array) == expected
            os._exit(0 if good and mapped.known_digest(other) is None else 1)
        finally:
            os._exit(2)

    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_chain_over_mapped_arrays_is_one_in_another_process(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "chain.py",
        """
        import numpy as np
        from cachekit import Memory
        memory = Memory("store", mmap_mode="r")

        @memory.cache
        def begin(n):
            return np.arange(float(n))

        @memory.cache
        def step(array, k):
            return array + k

        def run(n):
            array = begin(n)
            for k in range(4):
                array = step(array, k)
            return float(array.sum())
        """,
    )
    ask = "(chain.run(10), chain.run(100_000), *chain.memory.tally()[:2])"

    first, second = project.ask(ask), project.ask(ask)

    assert first[0].endswith(" 0, 10)")
    assert second[0].endswith(" 10, 0)")
    assert first[0].split()[:2] == second[0].split()[:2]


# --- while others work ---


def test_a_result_can_be_mapped_while_it_is_replaced(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(numbers)
    cached()
    stop = threading.Event()

    def replace() -> None:
        other = Memory(store).cache(numbers)
        sign = 1
        while not stop.is_set():
            sign = -sign
            other.put(sign * numbers())

    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(replace)
        try:
            for _ in range(100):
                array = cached()
                assert abs(array[-1]) == 9999
                assert mapped.known_digest(array) in (None, plain_digest(array))
        finally:
            stop.set()
        replacing.result()
