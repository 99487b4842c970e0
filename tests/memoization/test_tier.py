"""The tier in memory: what it gives out is what a hit on the disk would be."""

from __future__ import annotations

import copy
import datetime
import json
import os
import pickle
import secrets
import sys
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import cachekit
from cachekit import Memory
from cachekit.memoization.mapped import known_digest
from cachekit.memoization.tier import MemoryTier
from cachekit.stores import EntryKey
from tests.memoization.project import only_value_file, value_files


def roll(sides: int = 6) -> str:
    """Return something else each time it is computed."""
    return f"{sides}:{secrets.token_hex(8)}"


class Point:
    """Something that can change, and be equal."""

    def __init__(self, x: int) -> None:
        self.x = [x]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and self.x == other.x

    def __hash__(self) -> int:
        return 0


def lose_the_disk(store: Path) -> None:
    """Have whatever is not kept in memory be computed again."""
    for path in value_files(store):
        path.unlink()


# --- what it keeps ---


def test_a_hit_needs_no_disk(memory: Memory, store: Path) -> None:
    cached = memory.cache(roll, memory_tier=1)
    first = cached()

    lose_the_disk(store)

    assert cached() == first


def test_a_hit_on_the_disk_is_kept_too(memory: Memory, store: Path) -> None:
    first = memory.cache(roll)()
    cached = memory.cache(roll, memory_tier=1)
    cached()

    lose_the_disk(store)

    assert cached() == first


def test_none_is_kept(memory: Memory, store: Path) -> None:
    def nothing(log: list[int]) -> None:
        log.append(1)

    cached = memory.cache(nothing, memory_tier=1, ignore=["log"])
    log: list[int] = []
    cached(log)

    lose_the_disk(store)

    assert cached(log) is None
    assert log == [1]


def test_the_least_recently_used_leaves_first(memory: Memory, store: Path) -> None:
    cached = memory.cache(roll, memory_tier=2)
    one, two = cached(1), cached(2)
    assert cached(1) == one
    cached(3)

    lose_the_disk(store)

    assert cached(1) == one
    assert cached(2) != two


def values() -> dict[str, Any]:
    return {
        "number": 3.5,
        "text": "text",
        "tuple": (1, (2, "b"), None),
        "list": [1, [2, 3]],
        "dict": {"b": [1], "a": {2}},
        "ordered": OrderedDict(b=1, a=2),
        "default": defaultdict(list, {"a": [1]}),
        "array": np.arange(12.0).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "strided": np.arange(100)[::7],
        "transposed": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        "read-only": read_only(np.arange(3)),
        "zero-dimensional": np.array(3.0),
        "big-endian": np.arange(3, dtype=">i4"),
        "dates": np.array(["2020-01-01"], "M8[D]"),
        "records": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        "objects": np.array([[1], "b", None], dtype=object),
        "masked": np.ma.MaskedArray([1, 2], [True, False]),
        "arrays": (np.arange(3), np.eye(2), "name"),
        "array in dict": {"a": np.arange(3)},
        "scalar": np.float32(0.5),
        "frame": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        "frame of lists": pd.DataFrame({"a": [[1], [2]]}),
        "series": pd.Series([1, 2], name="s"),
        "categories": pd.Series(["a", "b"], dtype="category"),
        "sparse": scipy.sparse.csr_matrix(np.eye(3)),
        "object": Point(3),
        "bytes": bytearray(b"abc"),
        "moment": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    }


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("kind", values())
def test_a_hit_is_what_a_hit_on_the_disk_is(
    memory: Memory, store: Path, kind: str
) -> None:
    cached = memory.cache(lambda name: values()[name], memory_tier=5)
    on_disk = memory.cache(cached.func)
    cached(kind)

    from_memory = [cached(kind), cached(kind)]
    from_disk = on_disk(kind)
    lose_the_disk(store)
    from_memory.append(cached(kind))

    assert memory.tally()[:2] == (4, 1)
    for value in from_memory:
        assert type(value) is type(from_disk)
        assert cachekit.digest(value) == cachekit.digest(from_disk)
        if isinstance(value, np.ndarray):
            assert value.flags.f_contiguous == from_disk.flags.f_contiguous
            assert value.dtype == from_disk.dtype


# --- nobody changes what others get ---


def spoil(value: Any) -> None:
    """Change a value in every way that it allows."""
    for kind, change in _CHANGES.items():
        if isinstance(value, kind):
            change(value)


def spoil_items(value: Any) -> None:
    for item in value.values() if isinstance(value, dict) else value:
        spoil(item)


def spoil_list(value: list[Any]) -> None:
    spoil_items(value)
    value.append("spoiled")


def spoil_dict(value: dict[Any, Any]) -> None:
    spoil_items(value)
    value["spoiled"] = 1


def spoil_frame(value: pd.DataFrame) -> None:
    spoil_items(value.to_numpy().ravel())
    value.loc[0, value.columns[0]] = None
    value["spoiled"] = 1
    value.attrs["spoiled"] = 1


def spoil_series(value: Any) -> None:
    value.drop(index=0, inplace=True)
    value.name = "spoiled"


def spoil_sparse(value: Any) -> None:
    value.data[:] = 9


def spoil_array(array: Any) -> None:
    try:
        array.flags.writeable = True
    except ValueError:
        pass
    else:
        array[...] = np.zeros(1, array.dtype)[0]
    if array.dtype.names:
        array.dtype.names = tuple(f"{name}_" for name in array.dtype.names)
    if type(array) is np.ndarray and array.ndim > 0:
        array.shape = (1, *array.shape)


_CHANGES: dict[type, Callable[[Any], object]] = {
    list: spoil_list,
    tuple: spoil_items,
    dict: spoil_dict,
    set: set.clear,
    bytearray: bytearray.clear,
    np.ndarray: spoil_array,
    pd.DataFrame: spoil_frame,
    pd.Series: spoil_series,
    scipy.sparse.csr_matrix: spoil_sparse,
    Point: lambda value: value.x.append(9),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", values())
def test_what_a_caller_does_to_a_result_reaches_no_other(
    memory: Memory, kind: str
) -> None:
    cached = memory.cache(lambda name: values()[name], memory_tier=5)
    expected = cachekit.digest(values()[kind])

    for _ in range(3):  # the first is the miss, the second a hit
        value = cached(kind)
        assert cachekit.digest(value) == expected
        spoil(value)

    assert cachekit.digest(memory.cache(cached.func)(kind)) == expected


def test_an_array_comes_read_only_and_is_not_copied(memory: Memory) -> None:
    cached = memory.cache(lambda: np.zeros(1000), memory_tier=1)
    cached()

    one, two = cached(), cached()

    assert np.shares_memory(one, two)
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        one.flags.writeable = True


def test_one_array_in_two_places_stays_one(memory: Memory) -> None:
    def twice() -> tuple[Any, Any]:
        array = np.arange(3)
        return array, array

    cached = memory.cache(twice, memory_tier=1)
    cached()

    one, two = cached()

    assert one is two


# --- what it cannot keep ---


class Uncopied:
    """Its copies fail; what it is pickled as does not."""

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise RuntimeError("not to be copied")


class FailsLater:
    """Can be written, but not read again once somebody says so."""

    def __reduce__(self) -> Any:
        return rebuilt, ()


def rebuilt() -> FailsLater:
    if getattr(sys, "tests_fail_to_rebuild", False):
        raise RuntimeError("not to be read")
    return FailsLater()


def test_what_fails_to_be_copied_raises_nothing(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = memory.cache(lambda kind: kind(), memory_tier=2)

    assert [type(cached(Uncopied)) for _ in range(3)] == [Uncopied] * 3

    cached(FailsLater)
    monkeypatch.setattr(sys, "tests_fail_to_rebuild", True, raising=False)
    with pytest.warns(cachekit.CacheWarning, match="not to be read"):
        assert type(cached(FailsLater)) is FailsLater


def test_what_cannot_be_stored_is_not_kept_either(memory: Memory) -> None:
    cached = memory.cache(threading.Lock, memory_tier=2)

    for _ in range(2):
        with pytest.warns(cachekit.CacheWarning, match="could not be stored"):
            cached()


def test_a_map_of_a_file_of_the_users_is_kept_as_what_it_was(
    memory: Memory, tmp_path: Path
) -> None:
    path = tmp_path / "data.bin"
    np.arange(1000.0).tofile(path)

    cached = memory.cache(
        lambda: np.memmap(path, "f8", "r"), memory_tier=1, depends=["fixed"]
    )
    cached()
    np.zeros(1000).tofile(path)

    assert [cached()[-1], cached()[-1]] == [999.0, 999.0]


def test_a_result_with_files_is_read_each_time(memory: Memory) -> None:
    def write() -> Path:
        path = cachekit.artifact("note.txt")
        path.write_text("content")
        return path

    cached = memory.cache(write, memory_tier=1)
    path = cached()
    cached()
    memory.store_backend.clear()  # as another process would

    assert not path.exists()
    assert cached().read_text() == "content"


def test_a_path_of_a_result_counts_by_its_content(memory: Memory) -> None:
    def write() -> Path:
        path = cachekit.artifact("note.txt")
        path.write_text("content")
        return path

    cached = memory.cache(write, memory_tier=1)

    digests = {cachekit.digest(cached()) for _ in range(3)}

    assert len(digests) == 1


@pytest.mark.parametrize("mode", ["r", "c"])
def test_mapped_results_stay_mapped_and_apart(memory: Memory, mode: Any) -> None:
    cached = memory.cache(
        lambda: np.arange(1000.0), memory_tier=2, mmap_mode=mode, version=mode
    )

    for _ in range(4):
        value = cached()
        assert isinstance(value, np.memmap)
        assert known_digest(value) == (cachekit.digest(value) if mode == "r" else None)
        np.testing.assert_array_equal(value, np.arange(1000.0))
        if mode == "c":
            value[:] = -1


# --- what leaves the store leaves it ---


def removals() -> dict[str, Callable[[Any, Any], object]]:
    """Return ways to remove the result of 6, given the function and another of it."""
    return {
        "forget": lambda one, _: one.forget(6),
        "forget by another": lambda _, other: other.forget(6),
        "clear": lambda one, _: one.clear(),
        "clear by another": lambda _, other: other.clear(),
        "clear memory": lambda one, _: one.memory.clear(),
        "clear at the place": lambda one, _: Memory(one.memory.location).clear(),
        "reference": lambda one, _: one.lookup(6).clear(),
        "pickled": lambda one, _: pickle.loads(pickle.dumps(one.lookup(6))).clear(),
        "call": lambda one, _: one.call(6),
        "call by another": lambda _, other: other.call(6),
        "put": lambda one, _: one.put("mine", 6),
        "put by another": lambda _, other: other.put("mine", 6),
    }


@pytest.mark.parametrize("way", removals())
@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_what_is_removed_or_replaced_is_not_given_out(
    memory: Memory, way: str, mmap_mode: Any
) -> None:
    cached = memory.cache(roll, memory_tier=3, mmap_mode=mmap_mode)
    first = cached(6)
    assert cached(6) == first

    removals()[way](cached, memory.cache(roll))

    second = cached(6)
    assert second != first
    assert cached(6) == second == memory.cache(roll)(6)


def test_a_result_that_another_process_renewed_is_read_again(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(roll, memory_tier=3, expires="1h")
    first = cached(6)
    value = only_value_file(store)
    facts = json.loads(value.with_name("record.json").read_bytes())
    other = Memory(store.with_name("other")).cache(roll, expires="1h")
    renewed = other(6)
    newer = only_value_file(store.with_name("other"))
    newer_facts = json.loads(newer.with_name("record.json").read_bytes())
    newer_facts["started"] = facts["started"].replace("+00:00", "1+00:00")

    value.write_bytes(newer.read_bytes())
    value.with_name("record.json").write_text(json.dumps(newer_facts))

    assert first != renewed
    assert cached(6) == renewed


def test_a_value_read_before_it_was_replaced_is_not_kept() -> None:
    tier = MemoryTier(3, "place")
    key = EntryKey("f", "0" * 32, "1" * 32)

    before = tier.drops
    tier.drop(key)  # by a thread that has put another value into the store
    tier.put(key, "old", drops=before)

    assert tier.get(key) is None


# --- threads, processes, pickles ---


def test_threads_share_it(memory: Memory) -> None:
    cached = memory.cache(lambda n: [n] * 10, memory_tier=5)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(cached, [n % 9 for n in range(900)]))
    finally:
        sys.setswitchinterval(interval)

    assert results == [[n % 9] * 10 for n in range(900)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_it_too(memory: Memory, store: Path) -> None:
    cached = memory.cache(roll, memory_tier=3)
    first = cached(6)
    lose_the_disk(store)

    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if cached(6) == first else 1)
        finally:
            os._exit(2)

    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_function_with_a_tier_can_be_pickled_and_copied(memory: Memory) -> None:
    cached = memory.cache(roll, memory_tier=3)
    first = cached(6)

    assert pickle.loads(pickle.dumps(cached))(6) == first
    assert copy.deepcopy(cached)(6) == first


def test_only_hits_are_counted_as_hits(memory: Memory) -> None:
    cached = memory.cache(roll, memory_tier=3)

    for _ in range(5):
        cached(6)

    assert cached.cache_info()[:2] == (4, 1)
