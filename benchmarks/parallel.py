"""Loops over two workers, beside joblib's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import ne
from pathlib import Path
from typing import Any

import joblib
import numpy as np

import cachekit
import cachekit.parallel
from benchmarks.calls import HITS, stamp
from benchmarks.hashing import megabytes
from benchmarks.rows import Case, Row, Setting, fact
from benchmarks.timing import Work

JOBS = 2

OURS, THEIRS = cachekit.parallel, joblib

Loop = Callable[[Any], Any]


def cases(setting: Setting) -> Iterator[Case | Row]:
    """Yield loops of many kinds."""
    trivial = 200 if setting.quick else 20_000
    owed = {"threading": 3.0, "loky": 1.0, "sequential": 1.0}
    for backend in ("threading", "loky", "sequential", "multiprocessing"):
        yield trivial_case(backend, trivial, owed.get(backend))
    yield _case("8 tasks, pool is there, loky", _echoes(8), list(range(8)))
    with OURS.Parallel(JOBS) as ours, THEIRS.Parallel(JOBS) as theirs:
        loops = {OURS: ours, THEIRS: theirs}
        in_block = _echoes(8, lambda library: loops[library])
        yield _case("8 tasks in a with block, loky", in_block, list(range(8)))
    size = 1_000_000 if setting.quick else 200_000_000
    yield _shared_array(size)
    yield _forest()
    lengths = np.random.default_rng(0).permutation([0.0] * 400 + [0.02] * 20)
    yield _case(
        "420 tasks of skewed length, loky",
        lambda library: library.Parallel(JOBS)(
            library.delayed(time.sleep)(seconds) for seconds in lengths
        ),
        [None] * len(lengths),
    )
    yield _hits(setting)
    if Path("/proc/self/status").exists():
        yield _memory(size)


def trivial_case(
    backend: str, tasks: int, owed: float | None = None, *, x: float | None = None
) -> Case:
    """Return the case of tasks that are nothing beside their dispatch."""
    name = f"trivial tasks, {backend}" if x else f"{tasks:,} trivial tasks, {backend}"
    loop = _echoes(tasks, lambda library: library.Parallel(JOBS, backend=backend))
    case = _case(name, loop, list(range(tasks)), owed, x=x)
    if backend != "threading":
        return case
    pool = ThreadPoolExecutor(JOBS)
    bare = Work(lambda: list(pool.map(echo, range(tasks))), list(range(tasks)).__eq__)
    others = {**case.others, "ThreadPoolExecutor": bare}
    return Case(case.name, case.ours, others, case.owed, x=x, are_large=True)


def echo(number: int) -> int:
    """Stand for a task that is nothing beside its dispatch."""
    return number


def _echoes(tasks: int, make: Loop | None = None) -> Loop:
    make = make or (lambda library: library.Parallel(JOBS))
    return lambda library: make(library)(library.delayed(echo)(n) for n in range(tasks))


def _case(
    name: str,
    loop: Loop,
    expected: list[Any],
    owed: float | None = None,
    *,
    x: float | None = None,
) -> Case:
    return Case(
        name,
        Work(lambda: loop(OURS), expected.__eq__),
        {"joblib": Work(lambda: loop(THEIRS), expected.__eq__)},
        {} if owed is None else {"joblib": owed},
        x=x,
        are_large=True,
    )


def _shared_array(size: int) -> Case:
    array = np.random.default_rng(0).random(size // 8)

    def run(library: Any) -> list[Any]:
        tasks = (library.delayed(part_of)(array, n) for n in range(100))
        return library.Parallel(JOBS)(tasks)  # type: ignore[no-any-return]

    name = f"100 tasks share {megabytes(size)}, loky"
    return _case(name, run, array[:100].tolist())


def part_of(array: Any, number: int) -> float:
    """Read a little of a large array."""
    return float(array[number])


def _forest() -> Case:
    """Return the loop in which a forest grows its trees."""
    from sklearn.datasets import make_classification
    from sklearn.tree import DecisionTreeClassifier

    x, y = make_classification(500, random_state=0)

    def grow(seed: int) -> int:
        tree = DecisionTreeClassifier(max_features=4, random_state=seed).fit(x, y)
        return int(tree.tree_.node_count)

    def run(library: Any) -> list[Any]:
        loop = library.Parallel(JOBS, prefer="threads")
        return loop(library.delayed(grow)(seed) for seed in range(100))  # type: ignore[no-any-return]

    return _case("a forest of 100 trees, threading", run, [grow(n) for n in range(100)])


def _hits(setting: Setting) -> Case:
    """Return a loop of calls whose results are stored, each by its own cache."""
    place, _ = setting.memory
    folder = setting.folder(place, "loops")
    caches = {
        OURS: cachekit.Memory(folder / "ours").cache(stamp),
        THEIRS: joblib.Memory(folder / "joblib", verbose=0).cache(stamp),
    }
    expected = {name: [f(n) for n in range(HITS)] for name, f in caches.items()}

    def work(library: Any) -> Work:
        def run() -> Any:
            tasks = (library.delayed(caches[library])(n) for n in range(HITS))
            return library.Parallel(JOBS)(tasks)

        def is_stored(found: list[Any]) -> bool:
            computed: int = sum(map(ne, found, expected[library]))
            # joblib's workers sometimes compute a call that is stored.
            return computed <= (0 if library is OURS else HITS // 10)

        return Work(run, is_stored)

    name = f"{HITS} hits of a cached function, loky"
    return Case(name, work(OURS), {"joblib": work(THEIRS)}, {"joblib": 5.0})


def _memory(size: int) -> Row:
    """Return what memory of its own a worker has beside an array that is shared."""
    array = np.ones(size // 8)
    found = {}
    for library in (OURS, THEIRS):
        loop = library.Parallel(JOBS, batch_size=1)
        tasks = (library.delayed(memory_of_its_own)(array) for _ in range(10))
        found[library] = max(loop(tasks))
    return fact(
        "parallel",
        f"a worker's memory beside {megabytes(size)}",
        "B",
        found[OURS],
        beside=("joblib", found[THEIRS]),
    )


def memory_of_its_own(array: Any) -> float:
    """Read all of an array; return the bytes this process shares with nobody."""
    array.sum()
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return 1024 * float(line.split()[1])
