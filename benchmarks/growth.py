"""How cost grows: with arrays, tasks, and the functions that a function calls.

Of stores with more and more entries, `entries` is about.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import joblib

from benchmarks.calls import array_case, hits
from benchmarks.hashing import array_case as digest_case
from benchmarks.parallel import trivial_case
from benchmarks.persistence import raw_cases
from benchmarks.rows import Case, Row, Setting
from benchmarks.timing import Work
from cachekit import Memory, fingerprint


def arrays(setting: Setting) -> Iterator[Case | Row]:
    """Yield digests, hits, dumps and loads of arrays of a kilobyte to a gigabyte."""
    place, _ = setting.memory
    for exponent in range(3, 6 if setting.quick else 10):
        size = 10**exponent
        yield digest_case(size, x=size)
        yield array_case(setting, size, x=size)
        _remove(setting.places[place], f"arrays-{size}-{size}")
        yield from raw_cases(setting, place, size, x=size)


def _remove(place: Path, name: str) -> None:
    """Make room in memory."""
    import shutil

    shutil.rmtree(place / name)


def tasks(setting: Setting) -> Iterator[Case | Row]:
    """Yield loops of more and more tasks."""
    for exponent in range(1, 3 if setting.quick else 6):
        for backend in ("threading", "loky"):
            yield trivial_case(backend, 10**exponent, x=10**exponent)


def functions(setting: Setting) -> Iterator[Case | Row]:
    """Yield cached functions that call a second one, which calls a third, and so on."""
    place, _ = setting.memory
    folder = setting.folder(place, "functions")
    modules = count()

    def fresh(length: int) -> Callable[..., Any]:
        return _chain(folder / f"chain_{next(modules)}.py", length)

    for length in (1, 10) if setting.quick else (1, 3, 10, 30, 100, 300, 1000):
        function = fresh(length)
        ours = Memory(folder / "ours").cache(function)
        theirs = joblib.Memory(folder / "joblib", verbose=0).cache(function)
        yield Case("hit", hits(ours), {"joblib": hits(theirs)}, x=length)

        def first(length: int = length) -> float:
            function = fresh(length)
            started = time.perf_counter()
            fingerprint(function)
            return time.perf_counter() - started

        yield Case("first fingerprint", Work(first, has_clock=True), x=length)


def _chain(path: Path, length: int) -> Callable[..., Any]:
    """Write and import a module of so many functions; return the first.

    Each names the next one, so it takes part in the fingerprint, but it is not run:
    what is timed is what cachekit adds.
    """
    lines = ["import time\n\n"]
    for number in range(length):
        following = f"f{number + 1}" if number + 1 < length else "abs"
        lines.append(
            f"\ndef f{number}(x, y=2):\n"
            f"    if x < 0:\n        return {following}(x + {number})\n"
            f"    return x + y, time.perf_counter_ns()\n"
        )
    path.write_text("\n".join(lines))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module.f0  # type: ignore[no-any-return]
