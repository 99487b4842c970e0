"""Times of functions that are called in turns, so that a slow moment meets them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

TURNS = 7


def times(*functions: Callable[[], Any]) -> list[float]:
    """Return the median seconds of each function, called in turns."""
    found: list[list[float]] = [[] for _ in functions]
    counts = [_count(function) for function in functions]
    for _ in range(TURNS):
        for function, count, spent in zip(functions, counts, found, strict=True):
            started = time.perf_counter()
            for _ in range(count):
                function()
            spent.append((time.perf_counter() - started) / count)
    return [statistics.median(spent) for spent in found]


def _count(function: Callable[[], Any]) -> int:
    """Choose how often to call a function, so that a turn takes 50 ms or more."""
    started = time.perf_counter()
    function()
    return max(1, int(0.05 / (time.perf_counter() - started)))


def show(seconds: float) -> str:
    """Write a time for people."""
    return f"{seconds * 1e3:.1f} ms" if seconds > 1e-3 else f"{seconds * 1e6:.1f} µs"
