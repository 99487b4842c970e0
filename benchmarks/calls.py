"""Cached calls: hits and misses, small and large, and chains of them.

The functions return the moment at which they were computed. So every result that was
timed tells whether it was: a hit's moment is that of the first call, a miss's is new.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, cycle
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmarks.hashing import megabytes, raw_digest
from benchmarks.others import optional
from benchmarks.rows import Case, Row, Setting
from benchmarks.timing import Work
from cachekit import Memory, digest
from cachekit.stores import DictStore, LocalStore

# So many different calls are made one after another, each of them stored.
HITS = 100

STEPS = 5

Cached = Callable[..., Any]


def cases(setting: Setting) -> Iterator[Case | Row]:
    """Yield small calls at each place, then large ones in the quickest."""
    for place in setting.places:
        yield from _small(setting, place)
    yield from _in_memory(setting)
    yield from _parts(setting)
    size = 1_000_000 if setting.quick else 10_000_000
    yield array_case(setting, size)
    yield from _parts_of_array(setting, size)
    yield from _chains(setting, 20 * size)


# --- small ---


def stamp(x: int, y: int = 2) -> tuple[int, int]:
    """Stand for a function of small arguments."""
    return x + y, time.perf_counter_ns()


def hits(function: Cached) -> Work:
    """Return calls of a cached function of which each is stored."""
    expected = {result[0]: result for result in map(function, range(HITS))}
    numbers = cycle(range(HITS))
    return Work(
        lambda: function(next(numbers)),
        lambda result: bool(result == expected[result[0]]),
    )


def misses(function: Cached, start: int = HITS) -> Work:
    """Return calls of a cached function of which none is stored."""
    numbers, latest = count(start), [time.perf_counter_ns()]

    def is_new(result: tuple[int, int]) -> bool:
        before, latest[0] = latest[0], result[1]
        return result[1] > before

    return Work(lambda: function(next(numbers)), is_new)


def _small(setting: Setting, place: str) -> Iterator[Case]:
    folder = setting.folder(place, "calls")
    ours = Memory(folder / "ours").cache(stamp)
    others: dict[str, Cached] = {
        "joblib": joblib.Memory(folder / "joblib", verbose=0).cache(stamp)
    }
    diskcache, cachier = optional("diskcache"), optional("cachier")
    if diskcache is not None:
        others["diskcache"] = diskcache.Cache(folder / "diskcache").memoize()(stamp)
    if cachier is not None:
        # By default all results are in one file, which each miss writes anew.
        decorate = cachier.cachier(cache_dir=folder / "cachier", separate_files=True)
        others["cachier"] = decorate(stamp)
    hit, miss = hits(ours), misses(ours)
    value, record = (
        _entry_of(folder / "ours", name) for name in ("value", "record.json")
    )
    contents = {"value": value.read_bytes(), "record.json": record.read_bytes()}
    yield Case(
        "hit, small",
        hit,
        {
            **{name: hits(function) for name, function in others.items()},
            "read a file": Work(lambda: _read(value), contents["value"].__eq__),
        },
        {"joblib": 73 / 12, "diskcache": 1.0},
        most=12e-6,
        place=place,
    )
    yield Case(
        "miss, small",
        miss,
        {
            **{name: misses(function) for name, function in others.items()},
            "system calls": _replayed(folder / "plain", contents),
        },
        {"joblib": 1 / 0.6},
        place=place,
    )


def _in_memory(setting: Setting) -> Iterator[Case]:
    place, _ = setting.memory
    folder = setting.folder(place, "tier")
    theirs = joblib.Memory(folder / "joblib", verbose=0).cache(stamp)
    tier = Memory(folder / "ours").cache(stamp, memory_tier=HITS)
    yield Case(
        "hit, small, memory tier",
        hits(tier),
        {"joblib": hits(theirs)},
        {"joblib": 73 / 5},
        most=5e-6,
    )
    in_store = hits(Memory(DictStore()).cache(stamp))
    yield Case("hit, small, DictStore", in_store, {"joblib": hits(theirs)})


def _parts(setting: Setting) -> Iterator[Case]:
    """Yield what a miss does so that one call is computed once."""
    for place in setting.places:
        folder = setting.folder(place, "parts")
        alone = Memory(folder / "ours", on_conflict="compute").cache(stamp)
        theirs = joblib.Memory(folder / "joblib", verbose=0).cache(stamp)
        yield Case(
            "miss, small, without a lease",
            misses(alone),
            {"joblib": misses(theirs)},
            place=place,
        )
        flights = LocalStore(folder / "ours").flights
        names = count()

        def take_turn(flights: Any = flights, names: Iterator[int] = names) -> None:
            # As a miss does, and nobody else wants the same.
            with flights.turn(f"{next(names):032x}", lambda: None):
                pass

        file = folder / "file"
        yield Case(
            "take a lease, and drop it",
            Work(take_turn),
            {"make a link": Work(lambda file=file: _make_and_remove(file))},  # type: ignore[misc]
            place=place,
        )


def _entry_of(root: Path, name: str) -> Path:
    """Return a file of some entry in a store."""
    return next(root.glob(f"*stamp*/*/*/*/{name}"))


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    content = os.read(descriptor, 1 << 16)
    os.close(descriptor)
    return content


def _replayed(folder: Path, contents: dict[str, bytes]) -> Work:
    """Return work that makes the system calls of a miss, and does nothing else.

    A look-up, a lease, a second look-up, a folder with files that is renamed, and the
    lease given back.
    """
    # As entries are kept: few in one folder, and what is being written elsewhere.
    folders = [folder / f"{number:02x}" for number in range(256)]
    for one in (*folders, folder / "leases", folder / "staging"):
        one.mkdir(parents=True)
    numbers = count()
    new = os.O_CREAT | os.O_EXCL | os.O_WRONLY

    def make(path: str, content: bytes) -> None:
        descriptor = os.open(path, new)
        os.write(descriptor, content)
        os.close(descriptor)

    def look_up(path: str) -> None:
        with suppress(FileNotFoundError):
            os.open(path, os.O_RDONLY)

    def write() -> str:
        number = next(numbers)
        name = f"{folder}/{number % 256:02x}/{number}"
        lease, staged = f"{folder}/leases/{number}", f"{folder}/staging/{number}"
        look_up(f"{name}/value")
        os.symlink("host process start nonce", lease)  # noqa: PTH211
        look_up(f"{name}/value")
        os.mkdir(staged)  # noqa: PTH102  (what the machine can do)
        for file, content in contents.items():
            make(f"{staged}/{file}", content)
        os.rename(staged, name)  # noqa: PTH104
        os.unlink(lease)  # noqa: PTH108
        return name

    return Work(write, lambda name: len(list(Path(name).iterdir())) == len(contents))


def _make_and_remove(path: Path) -> None:
    path.symlink_to("host process start nonce")
    path.unlink()


# --- large ---


def double(array: Any) -> Any:
    """Stand for a function of an array that returns another one."""
    result = array * 2
    result[0] = time.perf_counter_ns()
    return result


def array_case(setting: Setting, size: int, *, x: float | None = None) -> Case:
    """Return the case of a call whose argument and result have so many bytes."""
    place, _ = setting.memory
    folder = setting.folder(place, f"arrays-{size}-{x}")
    ours = Memory(folder / "ours", mmap_mode="r").cache(double)
    theirs = joblib.Memory(folder / "joblib", mmap_mode="r", verbose=0).cache(double)
    array = np.random.default_rng(0).random(size // 8)
    return Case(
        "hit, array" if x else f"hit, {megabytes(size)} in, {megabytes(size)} mapped",
        hit_of_array(ours, array),
        {
            "joblib": hit_of_array(theirs, array),
            "BLAKE3": Work(lambda: raw_digest(array.view(np.uint8).data)),
        },
        {} if x else {"joblib": 8},
        place="" if x else place,
        x=x,
        are_large=True,
    )


def hit_of_array(function: Cached, array: Any) -> Work:
    """Return the call of a cached function with an array, stored."""
    moment = float(function(array)[0])
    return Work(lambda: function(array), lambda result: float(result[0]) == moment)


def _parts_of_array(setting: Setting, size: int) -> Iterator[Case]:
    """Yield the parts of a hit of arrays: hash the argument, map the result."""
    place, folder = setting.memory
    array = np.random.default_rng(0).random(size // 8)
    expected = digest(array)
    memory = array.view(np.uint8).data
    yield Case(
        f"digest of {megabytes(size)}",
        Work(lambda: digest(array), expected.__eq__),
        {
            "BLAKE3": Work(lambda: raw_digest(memory)),
            "joblib": Work(lambda: joblib.hash(array)),
        },
    )
    ours = Memory(folder / "maps", mmap_mode="r").cache(made)
    theirs = joblib.Memory(folder / "theirs", mmap_mode="r", verbose=0).cache(made)
    file = folder / "map"
    file.write_bytes(memory)
    yield Case(
        f"hit, small in, {megabytes(size)} mapped",
        hit_of_array(ours, size // 8),
        {
            "joblib": hit_of_array(theirs, size // 8),
            "map a file": Work(lambda: _map(file), lambda found: len(found) == size),
        },
        place=place,
        are_large=True,
    )


def _map(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)


# --- chains ---


def made(length: int) -> Any:
    """Make an array of so many numbers."""
    result = np.arange(length, dtype=float)
    result[0] = time.perf_counter_ns()
    return result


def add(array: Any, number: int) -> Any:
    """Make another array of an array."""
    result = array + number
    result[0] = time.perf_counter_ns()
    return result


def add_to_result(reference: Any, number: int) -> Any:
    """Make another array of a result."""
    return add(reference.get(), number)


def _chains(setting: Setting, size: int) -> Iterator[Case]:
    place, _ = setting.memory
    folder = setting.folder(place, "chains")
    ours = Memory(folder / "ours", mmap_mode="r")
    theirs = joblib.Memory(folder / "joblib", mmap_mode="r", verbose=0)
    begin: Any = ours.cache(made)
    step: Cached = ours.cache(add)
    of_reference: Any = ours.cache(add_to_result)
    begin_there, step_there = theirs.cache(made), theirs.cache(add)
    length = size // 8

    def mapped(begin: Cached = begin, step: Cached = step) -> Any:
        array = begin(length)
        for number in range(STEPS - 1):
            array = step(array, number)
        return array

    def by_reference() -> Any:
        reference = begin.call_and_shelve(length)
        for number in range(STEPS - 1):
            reference = of_reference.call_and_shelve(reference, number)
        return reference

    def mapped_there() -> Any:
        return mapped(begin_there, step_there)

    last, last_there = float(mapped()[0]), float(mapped_there()[0])
    last_reference = float(by_reference().get()[0])
    there = Work(mapped_there, lambda result: float(result[0]) == last_there)
    chain = Work(mapped, lambda result: float(result[0]) == last)
    references = Work(
        by_reference, lambda result: float(result.get()[0]) == last_reference
    )
    name = f"{STEPS} hits over {megabytes(size)}"
    for kind, work in (("mapped", chain), ("references", references)):
        yield Case(
            f"{name}, {kind}", work, {"joblib": there}, most=0.01, place=place,
            are_large=True,
        )  # fmt: skip
