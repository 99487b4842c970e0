"""Chains of cached steps, and results that are mapped or in memory, beside joblib.

From the root of the project: ``PYTHONPATH=. python benchmarks/chains.py [FOLDER]
[--megabytes N]``. The stores are made in the folder, by default a temporary one. Each
row is timed in turns, all calls hits; the median of the turns counts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from timing import show, times

from cachekit import Memory

STEPS = 5


class Row(NamedTuple):
    """Two functions to be timed, and what is owed of the first.

    Attributes
    ----------
    name : str
        What is measured.
    ours, other : callable
        The call, and joblib's.
    ratio : float or None
        So many times longer the other has to take.
    limit : float or None
        Seconds that ours may take.
    """

    name: str
    ours: Callable[[], Any]
    other: Callable[[], Any]
    ratio: float | None = None
    limit: float | None = None


def main() -> None:
    """Time every row and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", help="where to make the stores")
    parser.add_argument("--megabytes", type=int, default=200, help="of each array")
    options = parser.parse_args()
    print(f"{'all hits':<40} {'cachekit':>10} {'joblib':>10} {'ratio':>7}  owed")
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        for row in rows(Path(place), options.megabytes):
            ours, other = times(row.ours, row.other)
            owed = f"{row.ratio:g}x" if row.ratio else ""
            owed = f"at most {show(row.limit)}" if row.limit else owed
            print(
                f"{row.name:<40} {show(ours):>10} {show(other):>10} "
                f"{other / ours:>6.1f}x  {owed}"
            )


def rows(place: Path, megabytes: int) -> list[Row]:
    """Make the stores, fill them by calling everything once, and return the rows."""
    memory = Memory(place / "ours", mmap_mode="r")
    other = joblib.Memory(place / "joblib", mmap_mode="r", verbose=0)
    begin, step = memory.cache(make), memory.cache(add)
    begin_there, step_there = other.cache(make), other.cache(add)
    step_of_reference = memory.cache(add_to_result)
    count = megabytes * 1_000_000 // 8

    def mapped() -> Any:
        array = begin(count)
        for number in range(STEPS - 1):
            array = step(array, number)
        return array

    def by_reference() -> Any:
        reference = begin.call_and_shelve(count)
        for number in range(STEPS - 1):
            reference = step_of_reference.call_and_shelve(reference, number)
        return reference

    def mapped_there() -> Any:
        array = begin_there(count)
        for number in range(STEPS - 1):
            array = step_there(array, number)
        return array

    large = np.arange(10_000_000 // 8, dtype=float)
    in_memory = memory.cache(small, memory_tier=10)
    there = other.cache(small)
    size = f"{megabytes} MB"
    return [
        Row(f"{STEPS} steps over {size}, mapped", mapped, mapped_there, limit=0.01),
        Row(
            f"{STEPS} steps over {size}, references",
            by_reference,
            mapped_there,
            limit=0.01,
        ),
        Row(
            "10 MB argument, 10 MB mapped result",
            lambda: step(large, 1),
            lambda: step_there(large, 1),
            ratio=8,
        ),
        Row("memory tier, small", lambda: in_memory(1), lambda: there(1), limit=5e-6),
    ]


def make(count: int) -> Any:
    """Make an array of so many numbers."""
    return np.arange(count, dtype=float)


def add(array: Any, number: int) -> Any:
    """Make another array of an array."""
    return array + number


def add_to_result(reference: Any, number: int) -> Any:
    """Make another array of a result."""
    return reference.get() + number


def small(number: int) -> int:
    """Return a small number."""
    return number + 1


if __name__ == "__main__":
    main()
