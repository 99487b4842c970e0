"""Digests side by side with joblib and with raw BLAKE3, as ratios within one run.

Needs joblib and pandas besides cachekit: ``python benchmarks/hashing.py``. Each pair is
timed in turns, so that a machine that slows down does so for both; the median of the
turns counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pandas as pd
from blake3 import blake3
from timing import show, times

from cachekit import digest


def main() -> None:
    """Time every row and print the table."""
    array = np.random.default_rng(0).random(8_000_000)
    memory = array.view(np.uint8).data
    rows: list[tuple[str, Callable[[], Any], Callable[[], Any], float]] = [
        ("64 MB of floats, against joblib", *_both(array), 9),
        (
            "64 MB of floats, against raw BLAKE3",
            lambda: digest(array),
            lambda: blake3(memory, max_threads=blake3.AUTO).hexdigest(),
            0.9,
        ),
        ("a list of 10⁶ numbers", *_both(list(range(10**6))), 10),
        ("a dict of 2·10⁵", *_both({f"k{i}": i for i in range(200_000)}), 10),
        ("10⁵ small tuples", *_both([(i, str(i), 0.5) for i in range(10**5)]), 5),
        ("10⁵ small dicts", *_both([{"a": i, "b": str(i)} for i in range(10**5)]), 1),
        ("a DataFrame of 10⁵ rows, text as object", *_both(_frame("object")), 10),
        ("a DataFrame of 10⁵ rows, text as str", *_both(_frame("str")), 1),
        ("a small tuple", *_both((1, 2.5, "abc")), 1),
    ]
    print(f"{'':42}{'cachekit':>10}{'other':>10}{'ratio':>8}{'owed':>6}")
    for name, ours, other, owed in rows:
        mine, theirs = times(ours, other)
        print(
            f"{name:42}{show(mine):>10}{show(theirs):>10}{theirs / mine:>8.1f}{owed:>6}"
        )


def _frame(dtype: str) -> pd.DataFrame:
    numbers = np.random.default_rng(0).random(10**5)
    names = pd.Series([f"station {i}" for i in range(10**5)], dtype=dtype)
    return pd.DataFrame({"x": numbers, "name": names})


def _both(value: object) -> tuple[Callable[[], Any], Callable[[], Any]]:
    return lambda: digest(value), lambda: joblib.hash(value)


if __name__ == "__main__":
    main()
