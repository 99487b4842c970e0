"""Functions whose every answer can be checked, and the check of all that is stored."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cachekit import CacheWarning, Memory
from cachekit.memoization import Record
from cachekit.serialization import read_value
from cachekit.stores import EntryKey, LocalStore
from tests.torture.counts import counts

COMPRESSIONS: list[bool | str] = [False, True, "lz4", "zstd+shuffle"]


def answer(number: int) -> object:
    """Make a value of a kind and a content that follow from a number."""
    kinds: list[Callable[[], object]] = [
        lambda: number,
        lambda: {"name": str(number), "numbers": list(range(number))},
        lambda: np.arange(50 * number, dtype=float),
        lambda: random.Random(number).randbytes(97 * number),
    ]
    return kinds[number % 4]()


def pair(number: int, answered: Callable[[int], object]) -> list[object]:
    """Call another cached function, so that a lease is held while one is asked for."""
    time.sleep(0.001)
    return [answered(number), answered(number + 1)]


EXPECTED: dict[str, Callable[[int], object]] = {
    "answer": answer,
    "pair": lambda number: pair(number, answer),
}


class Caller:
    """The cached functions of a memory, with each answer checked.

    Parameters
    ----------
    memory : Memory
        Where the answers are kept.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.answer = memory.cache(answer)
        self.pair = memory.cache(pair, ignore=["answered"])

    def ask(self, number: int) -> None:
        """Call the simple function."""
        assert_right("answer", number, self.answer(number))

    def ask_pair(self, number: int) -> None:
        """Call the one that calls the simple one."""
        assert_right("pair", number, self.pair(number, self.answer))


def assert_right(function: str, number: int, value: object) -> None:
    """Check an answer."""
    assert _same(value, EXPECTED[function](number)), f"{function}({number}) is {value}"
    counts["answers compared"] += 1


def assert_all_is_whole(store: LocalStore) -> None:
    """Check each entry: both files, both whole, with the answer that they speak of."""
    for folder in store.root.glob("[!.]*/*/??/*"):
        names = {path.name for path in folder.iterdir()}
        assert names == {"value", "record.json"}, f"{folder} has {names}"
    for info in store.entries():
        _assert_whole(store, info.key)


def leftovers(root: Path, folder: str) -> list[str]:
    """Name what lies in one of a store's own folders."""
    return sorted(path.name for path in (root / folder).glob("*"))


@contextmanager
def only_cache_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect what the cache tells; any other warning is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("always", CacheWarning)
        yield caught


def _assert_whole(store: LocalStore, key: EntryKey) -> None:
    counts["stored results read back"] += 1
    record = Record.from_json(store.read(key, "record.json") or b"")
    assert (record.fingerprint, record.key) == (key.fingerprint, key.digest)
    file = store.open(key)
    assert file is not None, f"{key} has no value"
    with file:
        value = read_value(file)
    number = int(record.arguments["number"]["repr"])
    assert_right(record.function.rpartition(".")[2], number, value)


def _same(value: object, expected: object) -> bool:
    if type(value) is not type(expected):
        return False
    if isinstance(value, np.ndarray) and isinstance(expected, np.ndarray):
        return value.dtype == expected.dtype and np.array_equal(value, expected)
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(map(_same, value, expected))
    return value == expected
