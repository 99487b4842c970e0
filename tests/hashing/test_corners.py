"""Values and code that are met rarely: one test for each path that others pass by."""

from __future__ import annotations

import copyreg
import functools
import gc
import pickle
import threading
import time
import zoneinfo
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from cachekit.errors import UnhashableArgument
from cachekit.hashing import Code, boundary, digest, syntax, tables
from cachekit.hashing.guard import Guard
from cachekit.hashing.hasher import RECURSION_LIMIT

# --- values ---


@pytest.mark.parametrize(
    "dtypes",
    [
        [
            pd.CategoricalDtype(["a", "b"]),
            pd.CategoricalDtype(["b", "a"]),
            pd.CategoricalDtype(["a", "b"], ordered=True),
            pd.CategoricalDtype([1, 2]),
        ],
        [pd.Int64Dtype(), pd.Int32Dtype(), pd.Float64Dtype(), pd.StringDtype()],
        [pd.DatetimeTZDtype(tz="UTC"), pd.DatetimeTZDtype("s", tz="UTC")],
        [pd.PeriodDtype("D"), pd.PeriodDtype("M")],
        [pl.List(pl.Int64), pl.List(pl.Int32), pl.Array(pl.Int64, 2)],
        [pl.Datetime("us"), pl.Datetime("ms"), pl.Datetime("us", "UTC")],
    ],
    ids=["categories", "nullable", "time zones", "periods", "lists", "times"],
)
def test_types_of_columns_are_told_apart(dtypes: list[Any]) -> None:
    digests = [digest(dtype) for dtype in dtypes]

    assert len(set(digests)) == len(dtypes)
    assert digests == [digest(pickle.loads(pickle.dumps(one))) for one in dtypes]


@pytest.mark.parametrize("kind", [pa.string(), pa.binary()])
def test_chunks_of_long_text_are_one_array(
    kind: pa.DataType, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunked = pa.chunked_array([["a", "bc"], ["", None, "d"]], type=kind)
    before = digest(chunked)

    # More text than 32 bits can count, in pieces.
    monkeypatch.setattr(tables, "_MOST_NARROW_TEXT", 1)

    assert (
        digest(chunked)
        == before
        == digest(pa.chunked_array([chunked.combine_chunks()]))
    )


def test_memory_that_was_released_is_refused() -> None:
    memory = pickle.PickleBuffer(b"abc")
    memory.release()

    with pytest.raises(UnhashableArgument):
        digest(memory)


def test_a_time_zone_without_a_name_is_refused() -> None:
    with Path(zoneinfo.TZPATH[0], "UTC").open("rb") as file:
        zone = zoneinfo.ZoneInfo.from_file(file)

    with pytest.raises(UnhashableArgument) as caught:
        digest({"zone": zone})

    assert caught.value.path == "['zone']"


def test_what_a_method_does_with_each_type_counts() -> None:
    def told(number: int) -> Any:
        method = functools.singledispatchmethod(lambda _: 0)
        method.register(int, eval(f"lambda self, x: {number}"))
        return method

    assert digest(told(1)) == digest(told(1)) != digest(told(2))


def test_a_buffer_that_is_far_below_is_the_same_in_a_copy() -> None:
    def nested(last: float) -> list[Any]:
        array = np.array([1.0, last])
        value: list[Any] = [array]
        for _ in range(3 * RECURSION_LIMIT):
            value = [value, array]
        return value

    assert digest(nested(2.0)) == digest(nested(2.0)) != digest(nested(3.0))


def test_an_exception_has_one_digest_whoever_pickles_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failed(Exception):
        pass

    before = digest(Failed(1))

    def reduce(error: Failed) -> tuple[Any, ...]:
        return Failed, (*error.args, "and its traceback")

    reduce.__module__ = "tblib.pickling_support"
    monkeypatch.setitem(copyreg.dispatch_table, Failed, reduce)

    assert digest(Failed(1)) == before


def test_what_can_be_called_is_hashed_whatever_its_class_says_of_its_module() -> None:
    class Callable:  # as Cython's functions, of pandas 2 among others
        def __init__(self, x: int) -> None:
            self.x = x

        def __call__(self) -> int:
            return self.x

    Callable.__module__ = property(lambda _: "lab")  # type: ignore[assignment]

    assert boundary.name_in_library(Callable(1)) is None


# --- code ---


def test_a_stamp_that_another_thread_takes_away_is_no_error() -> None:
    guard = Guard()
    guard.watch_value([1], digest([1]))
    assert guard.is_current(digest)  # by its stamp, from now on
    stamped: Any = guard._stamped
    assert stamped is not None

    class TakenAway:
        others = stamped.others

        def is_current(self) -> bool:
            guard._stamped = None
            return True

    guard._stamped = TakenAway()  # type: ignore[assignment]

    assert guard.is_current(digest)


def test_a_keyword_default_that_changes_in_place_is_seen() -> None:
    exec("def f(x, *, power=1): return x ** power", namespace := {"__name__": "mine"})
    function: Any = namespace["f"]
    code = Code(function)
    before = code.fingerprint()

    function.__kwdefaults__["power"] = 2

    assert code.fingerprint() != before


@pytest.fixture
def other_threads_run_often() -> Iterator[None]:
    """Have the others run in the midst of what makes many objects."""

    def let_others_run(*_: object) -> None:
        time.sleep(0.0002)

    before = gc.get_threshold()
    gc.callbacks.append(let_others_run)
    gc.set_threshold(50)
    yield
    gc.set_threshold(*before)
    gc.callbacks.remove(let_others_run)


@pytest.mark.usefixtures("other_threads_run_often")
def test_threads_may_parse_at_once() -> None:
    # Python 3.11.7 raises SystemError where two do.
    line = (
        "def f(a, b=[1, {2: (3, [4])}]): return [a + (b * (a - [d for d in a if d]))]"
    )
    text = "x = " + "((" * 30 + "1" + "))" * 30 + f"\n{line}" * 30
    start = threading.Barrier(4)

    def parse(_: int) -> int:
        start.wait()
        return sum(syntax._parse("mine.py", text, 0, False) is not None for _ in "1234")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(parse, range(4))) == [4] * 4


def test_a_tree_that_another_has_disturbed_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disturbed = iter([SystemError("AST constructor recursion depth mismatch")])

    def parse(text: str) -> object:
        for error in disturbed:
            raise error
        return text.upper()

    monkeypatch.setattr("ast.parse", parse)
    tree: object = syntax._tree_of("abc")

    assert tree == "ABC"
