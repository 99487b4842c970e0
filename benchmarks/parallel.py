"""Loops side by side with joblib's, as ratios within one run.

Needs what the tests need; from the root of the project:
``PYTHONPATH=. python benchmarks/parallel.py [ROW ...]``, with words of the rows to be
measured. Each row is timed in turns; the median of the turns counts.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from timing import show, times

import cachekit
import cachekit.parallel

JOBS = 2

TRIVIAL = 20_000

HITS = 200

OURS, THEIRS = cachekit.parallel, joblib


class Row(NamedTuple):
    """A loop, given the library, and how much longer joblib's has to take."""

    name: str
    run: Callable[[Any], Any]
    owed: float | None = None


def main() -> None:
    """Time every row and print the table."""
    words = sys.argv[1:]
    print(
        f"{'a loop over 2 workers':42}{'cachekit':>10}{'joblib':>10}{'ratio':>8}",
        end="",
    )
    print(f"{'owed':>6}")
    for row in rows():
        if not words or any(word in row.name for word in words):
            ours, theirs = times(bound(row.run, OURS), bound(row.run, THEIRS))
            owed = "" if row.owed is None else f"{row.owed:.1f}"
            ratio = theirs / ours
            print(
                f"{row.name:42}{show(ours):>10}{show(theirs):>10}{ratio:>8.2f}{owed:>6}",
                flush=True,
            )
    if not words or "memory" in words:
        print()
        show_memory()


def bound(run: Callable[[Any], Any], library: Any) -> Callable[[], Any]:
    """Return a function that runs a row by one library."""
    return lambda: run(library)


def rows() -> Iterator[Row]:
    """Return what is measured."""
    for backend, owed in [("threading", 3.0), ("loky", 1.0), ("sequential", 1.0)]:
        yield Row(f"{TRIVIAL:,} trivial tasks, {backend}", trivial(backend), owed)
    yield Row(f"{TRIVIAL:,} trivial tasks, multiprocessing", trivial("multiprocessing"))
    yield Row("8 tasks, a pool that is there, loky", small_call)
    yield Row("8 tasks in a with block, loky", small_calls_in_block())
    yield Row("100 tasks that share 200 MB, loky", shared_array())
    yield Row("a random forest's loop, threading", forest())
    yield Row("tasks of skewed length, loky", skewed)
    yield Row(f"{HITS} hits of a cached function, loky", hits(), 5.0)


def echo(number: int) -> int:
    """Stand for a task that is nothing beside its dispatch."""
    return number


def trivial(backend: str) -> Callable[[Any], Any]:
    """Return a loop of many trivial tasks."""

    def run(library: Any) -> Any:
        loop = library.Parallel(JOBS, backend=backend)
        return loop(library.delayed(echo)(n) for n in range(TRIVIAL))

    return run


def small_call(library: Any) -> Any:
    """Run a loop so small that to set it up is what counts."""
    return library.Parallel(JOBS)(library.delayed(echo)(n) for n in range(8))


def small_calls_in_block() -> Callable[[Any], Any]:
    """Return such a loop, of an object that keeps its workers."""
    loops = {name: name.Parallel(JOBS).__enter__() for name in (OURS, THEIRS)}
    return lambda library: loops[library](library.delayed(echo)(n) for n in range(8))


def part_of(array: Any, number: int) -> float:
    """Read a little of a large array."""
    return float(array[number])


def hits() -> Callable[[Any], Any]:
    """Return a loop of calls whose results are stored, each by its own cache."""
    folders = {library: tempfile.mkdtemp() for library in (OURS, THEIRS)}
    caches = {
        OURS: cachekit.Memory(folders[OURS]).cache(echo),
        THEIRS: joblib.Memory(folders[THEIRS], verbose=0).cache(echo),
    }
    for cached in caches.values():
        for number in range(HITS):
            cached(number)

    def run(library: Any) -> Any:
        tasks = (library.delayed(caches[library])(n) for n in range(HITS))
        found = library.Parallel(JOBS)(tasks)
        assert found == list(range(HITS))
        return found

    return run


def shared_array() -> Callable[[Any], Any]:
    """Return a loop whose tasks share an array."""
    array = np.random.default_rng(0).random(25_000_000)

    def run(library: Any) -> Any:
        loop = library.Parallel(JOBS)
        return loop(library.delayed(part_of)(array, n) for n in range(100))

    return run


def forest() -> Callable[[Any], Any]:
    """Return the loop in which a forest grows its trees."""
    from sklearn.datasets import make_classification
    from sklearn.tree import DecisionTreeClassifier

    x, y = make_classification(500, random_state=0)

    def grow(seed: int) -> Any:
        return DecisionTreeClassifier(max_features=4, random_state=seed).fit(x, y)

    def run(library: Any) -> Any:
        loop = library.Parallel(JOBS, prefer="threads")
        return loop(library.delayed(grow)(seed) for seed in range(100))

    return run


def skewed(library: Any) -> Any:
    """Run many short tasks, and some long ones."""
    lengths = np.random.default_rng(0).permutation([0.0] * 400 + [0.02] * 20)
    loop = library.Parallel(JOBS)
    return loop(library.delayed(time.sleep)(seconds) for seconds in lengths)


# --- memory ---


def memory_of_its_own(array: Any) -> float:
    """Read all of an array; return what memory this process shares with nobody."""
    array.sum()
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return float(line.split()[1]) / 1024


def show_memory() -> None:
    """Show what workers have of an array of 200 MB that they share."""
    array = np.ones(25_000_000)
    for name, library in (("cachekit", OURS), ("joblib", THEIRS)):
        loop = library.Parallel(JOBS, batch_size=1)
        task = library.delayed(memory_of_its_own)
        found = loop(task(array) for _ in range(10))
        print(f"a worker's own memory beside 200 MB, {name:8} {max(found):8.0f} MB")


if __name__ == "__main__":
    main()
