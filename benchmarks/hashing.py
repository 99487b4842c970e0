"""Digests, beside joblib's, BLAKE3 of the bare memory, and pickle."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import joblib
import numpy as np
import pandas as pd
from blake3 import blake3

from benchmarks.rows import Case, Row, Setting
from benchmarks.timing import Work
from cachekit import digest


def cases(setting: Setting) -> Iterator[Case | Row]:
    """Yield what is hashed."""
    many = 1_000 if setting.quick else 100_000
    yield array_case(64_000 if setting.quick else 64_000_000)
    numbers = list(range(10 * many))
    yield _case(f"digest of a list of {10 * many:,} numbers", numbers, 10)
    words = {f"k{i}": i for i in range(2 * many)}
    yield _case(f"digest of a dict of {2 * many:,}", words, 10)
    tuples = [(i, str(i), 0.5) for i in range(many)]
    yield _case(f"digest of {many:,} small tuples", tuples, 5)
    dicts = [{"a": i, "b": str(i)} for i in range(many)]
    yield _case(f"digest of {many:,} small dicts", dicts, 1)
    yield _case(f"digest of a table, {many:,} object texts", _table(many, "object"), 10)
    yield _case(f"digest of a table, {many:,} str texts", _table(many, "str"), 1)
    yield _case("digest of a small tuple", (1, 2.5, "abc"), 1, most=3e-6)


def array_case(size: int, *, x: float | None = None) -> Case:
    """Return the case of an array of so many bytes."""
    array = np.random.default_rng(0).random(size // 8)
    memory = array.view(np.uint8).data
    return Case(
        "digest" if x else f"digest of {megabytes(size)} of floats",
        steady(lambda: digest(array)),
        {
            "joblib": steady(lambda: joblib.hash(array)),
            "BLAKE3": steady(lambda: raw_digest(memory)),
            "copy": Work(array.copy, are_equal(array)),
        },
        {} if x else {"joblib": 9, "BLAKE3": 0.9},
        x=x,
        are_large=True,
    )


def raw_digest(memory: Any) -> str:
    """Hash memory as it is, by all processors if it is long, as cachekit does."""
    threads = blake3.AUTO if len(memory) > 1_000_000 else 1
    return blake3(memory, max_threads=threads).hexdigest()


def steady(call: Callable[[], Any]) -> Work:
    """Return work of which every result is equal to the first."""
    expected = call()
    return Work(call, lambda result: bool(result == expected))


def are_equal(array: Any) -> Callable[[Any], bool]:
    """Return a function that tells whether an array is equal to this one."""
    return lambda other: bool(np.array_equal(array, other))


def megabytes(size: int) -> str:
    """Write a number of bytes, in powers of 1000."""
    return f"{size / 1e6:g} MB"


def _case(name: str, value: object, owed: float, *, most: float | None = None) -> Case:
    others: Mapping[str, Work] = {
        "joblib": steady(lambda: joblib.hash(value)),
        "pickle": steady(lambda: pickle.dumps(value, protocol=5)),
    }
    return Case(name, steady(lambda: digest(value)), others, {"joblib": owed}, most)


def _table(rows: int, dtype: str) -> pd.DataFrame:
    numbers = np.random.default_rng(0).random(rows)
    names = pd.Series([f"station {i}" for i in range(rows)], dtype=dtype)
    return pd.DataFrame({"x": numbers, "name": names})
