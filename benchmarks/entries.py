"""Stores of many entries: hits, misses, listing and reducing as they grow.

The entries are written as files, with the value and the record of a real call: to make
the calls would take minutes. Half of them are of the function that is timed, the
others of `FUNCTIONS`, with two code versions each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import joblib

from benchmarks.calls import hits, misses, stamp
from benchmarks.rows import Case, Row, Setting, fact
from benchmarks.timing import Work
from cachekit import Memory
from cachekit.stores import EntryKey, LocalStore, RemoteStore

FUNCTIONS = 20

# What is owed of a list of 100,000: times joblib's, and bytes at the peak.
OWED = 3.0
MOST_MEMORY = 200e6

# Reducing is timed so often, each time by a part of what there is.
REDUCTIONS = 3

# So is listing, and once in each turn.
LISTINGS = 3

COMMANDS = ("ls", "ls --stale", "du", "stats")

_COMMAND = """
import sys, time
sys.path.insert(0, sys.argv[1])
from cachekit.cli import main
started = time.perf_counter()
main(sys.argv[3:] + ["--store", sys.argv[2]], standalone_mode=False)
seconds = time.perf_counter() - started
from benchmarks.machine import peak
print(seconds, peak(), file=sys.stderr)
"""


def cases(setting: Setting) -> Iterator[Case | Row]:
    """Yield what is asked of stores that grow, on the disk."""
    place, _ = setting.disk
    most = 3 if setting.quick else 6 if setting.full else 5
    folder = setting.folder(place, "entries")
    pair = Pair(folder / "ours", folder / "joblib")
    for exponent in range(2, most + 1):
        pair.grow(10**exponent)
        yield from _at_size(pair, 10**exponent, exponent)
    yield from _listing(pair, place, 10**most)
    for place in setting.places:
        yield _reducing(setting, place, 400 if setting.quick else 20_000)
    yield from requests()


class Pair:
    """A store of ours and one of joblib's, with as many entries."""

    def __init__(self, ours: Path, theirs: Path) -> None:
        self.store = LocalStore(ours)
        self.memory = Memory(self.store)
        self.there = joblib.Memory(theirs, verbose=0)
        self._entries = 0
        # Names and contents to write others like them.
        self.memory.cache(stamp)(-1)
        self.there.cache(stamp)(-1)
        (self._first,) = (entry.key for entry in self.store.entries())
        entry = self.store.root / self._first.path
        self._value = (entry / "value").read_bytes()
        self._record = json.loads((entry / "record.json").read_bytes())
        self._code = (entry.parents[1] / "code.json").read_bytes()
        (item,) = self.there.store_backend.get_items()
        self._folder = Path(item.path).parent
        self._files = {
            path.name: path.read_bytes() for path in Path(item.path).iterdir()
        }

    def grow(self, entries: int) -> None:
        """Write entries until there are so many."""
        for number in range(self._entries, entries):
            self._write(number)
        self._entries = entries

    def _write(self, number: int) -> None:
        function, fingerprint = self._first.function, self._first.fingerprint
        folder = self._folder
        if number % 2:
            name = f"function_{number % FUNCTIONS}"
            version = f"{name}{number // FUNCTIONS % 10 == 0}"
            function, fingerprint = f"project.analysis.{name}", _digest(version)
            folder = folder.parent / name
        key = EntryKey(function, fingerprint, _digest(str(number)))
        facts = {"function": function, "fingerprint": fingerprint, "key": key.digest}
        with self.store.stage(key) as staging:
            staging.write("value", self._value)
            text = json.dumps({**self._record, **facts}, indent=1)
            staging.write("record.json", text.encode())
            staging.commit()
        if number < 10 * 2 * FUNCTIONS:  # each of the versions, some more than once
            self.store.write_code(key, self._code)
        there = f"{folder}/{key.digest}"
        os.makedirs(there)  # noqa: PTH103  (a hundred thousand times)
        for name, content in self._files.items():
            with open(f"{there}/{name}", "wb", buffering=0) as file:  # noqa: PTH123
                file.write(content)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _at_size(pair: Pair, entries: int, exponent: int) -> Iterator[Case]:
    ours, theirs = pair.memory.cache(stamp), pair.there.cache(stamp)
    yield Case("hit", hits(ours), {"joblib": hits(theirs)}, x=entries)
    start = 1_000_000 * exponent  # what no other size has computed
    yield Case(
        "miss",
        misses(ours, start),
        {"joblib": misses(theirs, start)},
        x=entries,
    )
    yield Case("list", *_lists(pair, entries), x=entries, are_large=True)


def _lists(pair: Pair, entries: int) -> tuple[Work, dict[str, Work]]:
    """Return both listings, which have to find what was written, and calls besides."""
    backend = pair.there.store_backend
    return (
        Work(lambda: list(pair.store.entries()), lambda found: len(found) > entries),
        {"joblib": Work(backend.get_items, lambda found: len(found) > entries)},
    )


def _listing(pair: Pair, place: str, entries: int) -> Iterator[Case | Row]:
    ours, others = _lists(pair, entries)
    name = f"{entries:,} entries"
    peaks: list[int] = []
    works = {"list and measure": ours}
    for command in COMMANDS:
        run = partial(_run, pair.store.root, command.split(), peaks)
        works[f"cachekit {command}"] = Work(run, has_clock=True)
    for work, ours in works.items():
        yield Case(
            f"{work}, {name}",
            ours,
            others,
            {"joblib": OWED},
            place=place,
            are_large=True,
            turns=LISTINGS,  # joblib's takes seconds
        )
    yield fact(
        "entries", f"memory of a command, {name}", "B", max(peaks), most=MOST_MEMORY
    )


def _run(root: Path, words: list[str], peaks: list[int]) -> float:
    """Return the seconds of a command in a process, and note its peak of memory."""
    here = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", _COMMAND, here, str(root), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak = done.stderr.split()[-2:]
    peaks.append(int(peak))
    return float(seconds)


def _reducing(setting: Setting, place: str, entries: int) -> Case:
    folder = setting.folder(place, "reducing")
    pair = Pair(folder / "ours", folder / "joblib")
    pair.grow(entries - 1)  # and one that was there
    backend = pair.there.store_backend

    def reduced(memory: Any, size: Callable[[], int]) -> Work:
        left = [entries]

        def reduce() -> float:
            left[0] -= entries // (REDUCTIONS + 1)
            started = time.perf_counter()
            memory.reduce_size(items_limit=left[0])
            seconds = time.perf_counter() - started
            assert size() == left[0]
            return seconds

        return Work(reduce, has_clock=True)

    return Case(
        f"reduce_size, {entries:,} entries by quarters",
        reduced(pair.memory, lambda: sum(1 for _ in pair.store.entries())),
        {"joblib": reduced(pair.there, lambda: len(backend.get_items()))},
        {"joblib": 1.5},
        place=place,
        turns=REDUCTIONS,
    )


# --- requests ---


def requests() -> Iterator[Row]:
    """Yield how many requests a call makes whose results are kept on an S3 server."""
    with _bucket() as bucket:
        if bucket is None:
            return
        from tests.stores.servers import counted

        store = RemoteStore(bucket.fresh(), bucket.options)
        waiting = Memory(store).cache(stamp)
        alone = Memory(store, on_conflict="compute").cache(stamp)
        for function in (waiting, alone):
            function(0)
            function(-1)  # a first call looks what store it is, a miss writes the code
        calls: list[tuple[str, Callable[[], Any], int]] = [
            ("hit on S3", lambda: waiting(0), 1),
            ("miss on S3", lambda: waiting(1), 5),
            ("miss on S3, no lease", lambda: alone(2), 3),
        ]
        for name, call, owed in calls:
            with counted(store) as found:
                call()
                store.flush()
            yield fact("entries", name, "requests", found.total(), most=owed)


@contextmanager
def _bucket() -> Iterator[Any]:
    """Start a server that the tests use; None where they cannot."""
    try:
        from tests.stores.servers import moto_s3
    except ImportError:
        yield None
    else:
        with moto_s3() as bucket:
            yield bucket
