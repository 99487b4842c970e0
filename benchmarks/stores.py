"""Cached calls and stores side by side with others, as ratios within one run.

Needs what the tests need, and takes diskcache if it is there; from the root of the
project: ``PYTHONPATH=. python benchmarks/stores.py [FOLDER] [--entries N]``. What is
measured is where the folder is, on a disk the disk; by default it is a temporary one.
Each row is timed in turns; the median of the turns counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from importlib import import_module
from itertools import count, cycle
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from timing import show, times

from cachekit import Memory
from cachekit.stores import DictStore, LocalStore, RemoteStore, Store
from tests.stores.servers import Remote, counted, moto_s3

try:
    diskcache: Any = import_module("diskcache")
except ImportError:
    diskcache = None

# So many different calls are made one after another, each of them stored.
HITS = 100

# Reducing a store is timed so often, for it takes a new one each time round.
REDUCTIONS = 3


class Row(NamedTuple):
    """Two functions to be timed, and how much longer the other one has to take."""

    name: str
    ours: Callable[[], Any]
    other: Callable[[], Any]
    owed: float | None = None


def main() -> None:
    """Time every row and print the tables."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        _print_head("a cached call")
        for row in _calls(Path(place, "calls")):
            _print_row(row.name, row.owed, *times(row.ours, row.other))
        print()
        _print_head("a store of many entries")
        _show_listing(Path(place, "listing"), options.entries)
        _show_reducing(Path(place, "reducing"), max(options.entries // 5, 4))
    print()
    with moto_s3() as bucket:
        _show_requests(bucket)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", help="where to make the stores")
    parser.add_argument(
        "--entries",
        type=int,
        default=100_000,
        help="to be listed; a store of a fifth of them is reduced",
    )
    return parser.parse_args()


def _print_head(title: str) -> None:
    print(f"{title:42}{'cachekit':>10}{'other':>10}{'ratio':>8}{'owed':>6}")


def _print_row(name: str, owed: float | None, ours: float, other: float) -> None:
    owed_text = "" if owed is None else f"{owed:.1f}"
    print(
        f"{name:42}{show(ours):>10}{show(other):>10}{other / ours:>8.1f}{owed_text:>6}"
    )


# --- calls ---


def add(x: int, y: int = 2) -> int:
    """Stand for a function of small arguments."""
    return x + y


def double(array: Any) -> Any:
    """Stand for a function of an array that returns another one."""
    return array * 2


def _calls(place: Path) -> Iterator[Row]:
    ours = Memory(place / "ours")
    in_memory = Memory(DictStore())
    theirs = joblib.Memory(place / "joblib", verbose=0)

    add_of_ours, add_of_theirs = ours.cache(add), theirs.cache(add)
    hit_of_ours, hit_of_theirs = _hits(add_of_ours), _hits(add_of_theirs)
    yield Row("hit, small, joblib", hit_of_ours, hit_of_theirs, 73 / 12)
    if diskcache is not None:
        with diskcache.Cache(place / "diskcache") as others:
            hit_of_others = _hits(others.memoize()(add))
            yield Row("hit, small, diskcache", hit_of_ours, hit_of_others, 13 / 12)
    hit_in_memory = _hits(in_memory.cache(add))
    yield Row(
        "hit, small, in a DictStore, joblib", hit_in_memory, hit_of_theirs, 73 / 5
    )

    miss_of_ours, miss_of_theirs = _misses(add_of_ours), _misses(add_of_theirs)
    yield Row("miss, small, joblib", miss_of_ours, miss_of_theirs, 1 / 0.6)

    array = np.random.default_rng(0).random(10_000_000 // 8)
    double_of_ours, double_of_theirs = ours.cache(double), theirs.cache(double)
    yield Row(
        "hit, argument and result of 10 MB, joblib",
        lambda: double_of_ours(array),
        lambda: double_of_theirs(array),
        8,
    )
    (place / "turns").mkdir()
    yield Row(
        "a turn, making and removing a file",
        _turns(LocalStore(place / "ours")),
        lambda: _make_and_remove(place / "turns" / "file"),
    )


def _hits(function: Callable[[int], int]) -> Callable[[], int]:
    for number in range(HITS):
        function(number)
    numbers = cycle(range(HITS))
    return lambda: function(next(numbers))


def _misses(function: Callable[[int], int]) -> Callable[[], int]:
    numbers = count(HITS)
    return lambda: function(next(numbers))


def _turns(store: Store) -> Callable[[], None]:
    numbers = count()

    def take_turn() -> None:
        # As a miss does, and nobody else wants the same.
        with store.flights.turn(f"{next(numbers):032x}", lambda: None):
            pass

    return take_turn


def _make_and_remove(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    path.unlink()


# --- many entries ---


def _show_listing(place: Path, entries: int) -> None:
    ours, theirs = _filled(place, entries)
    assert ours.store is not None
    store, backend = ours.store, theirs.store_backend
    assert len(list(store.entries())) == len(backend.get_items()) == entries
    found = times(lambda: list(store.entries()), backend.get_items)
    _print_row(f"list and measure {entries:,}, joblib", 3, *found)


def _show_reducing(place: Path, entries: int) -> None:
    """Remove a quarter at a time, in turns."""
    ours, theirs = _filled(place, entries)
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(1, REDUCTIONS + 1):
        left = entries - turn * entries // (REDUCTIONS + 1)
        for memory, spent in zip((ours, theirs), found, strict=True):
            started = time.perf_counter()
            memory.reduce_size(items_limit=left)
            spent.append(time.perf_counter() - started)
    assert ours.store is not None
    assert len(list(ours.store.entries())) == len(theirs.store_backend.get_items())
    _print_row(
        f"reduce_size, {entries:,} by quarters, joblib",
        1.5,
        *map(statistics.median, found),
    )


def _filled(place: Path, entries: int) -> tuple[Memory, Any]:
    """Make two memories with so many results of one function.

    The first is stored by a call. The others are its files under other names: to make
    them by calls would take minutes.
    """
    ours = Memory(place / "ours")
    theirs = joblib.Memory(place / "joblib", verbose=0)
    ours.cache(add)(1)
    theirs.cache(add)(1)
    assert ours.store is not None
    key = next(iter(ours.store.entries())).key
    first = Path(str(ours.location), key.path)
    first_of_theirs = Path(theirs.store_backend.get_items()[0].path)
    digests = [blake2b(b"%d" % n, digest_size=16).hexdigest() for n in range(entries)]
    _copy(first, [first.parents[1] / d[:2] / d[2:] for d in digests[1:]])
    _copy(first_of_theirs, [first_of_theirs.parent / d for d in digests[1:]])
    return ours, theirs


def _copy(folder: Path, others: list[Path]) -> None:
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    for other in others:
        other.mkdir(parents=True)
        for name, content in contents.items():
            (other / name).write_bytes(content)


# --- requests ---


def _show_requests(bucket: Remote) -> None:
    """Count the requests of calls whose results are kept on an S3 server."""
    store = RemoteStore(bucket.fresh(), bucket.options)
    waiting = Memory(store).cache(add)
    alone = Memory(store, on_conflict="compute").cache(add)
    waiting(0)  # the first call looks what store it is

    print(f"{'a call over S3':42}{'requests':>10}{'owed':>6}  which")
    calls: list[tuple[str, Callable[[], Any], int]] = [
        ("hit", lambda: waiting(0), 1),
        ("miss", lambda: waiting(1), 5),
        ("miss, on_conflict='compute'", lambda: alone(2), 3),
    ]
    for name, call, owed in calls:
        with counted(store) as requests:
            call()
            store.flush()
        which = ", ".join(f"{n} {operation}" for operation, n in requests.items())
        print(f"{name:42}{requests.total():>10}{owed:>6}  {which}")
        if requests.total() > owed:
            raise SystemExit(f"a {name} makes {requests.total()} requests, not {owed}")


if __name__ == "__main__":
    main()
