"""In what two values differ: each kind of value, and where in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd
import pytest

from cachekit import Memory, digest, inspection
from cachekit.inspection.differences import MOST_LEAVES, compare_values


@dataclass
class Point:
    x: Any
    y: Any = 0


class Pair(NamedTuple):
    one: Any
    other: Any


class Slotted:
    __slots__ = ("kept",)

    def __init__(self, kept: int) -> None:
        self.kept = kept


class Raises:
    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> NoReturn:
        raise RuntimeError("no")


def told(before: object, now: object) -> list[tuple[str, str]]:
    return [(leaf.path, leaf.text) for leaf in compare_values(before, now).leaves]


@pytest.mark.parametrize(
    "make",
    [
        *(lambda: 1, lambda: "a\nb", lambda: None, lambda: float("nan")),
        *(lambda: [1, {"a": (2, {3})}], lambda: Point([1], Pair(1, 2))),
        *(lambda: np.arange(3.0), lambda: np.array([np.nan, 1]), lambda: Slotted(1)),
        lambda: pd.DataFrame({"a": [1.0, None], "b": ["x", None]}),
        lambda: {"b": 1, "a": 2},
    ],
)
def test_equal_values_have_no_differences(make: Any) -> None:
    found = compare_values(make(), make())

    assert (found.is_equal, found.leaves) == (True, ())


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (1, 2, ("", "1 -> 2")),
        (1, True, ("", "int 1 -> bool True")),
        (1, 1.0, ("", "int 1 -> float 1.0")),
        ("a", "b", ("", "'a' -> 'b'")),
        ({"a": [1, 2, Point(1)]}, {"a": [1, 2, Point(2)]}, ("['a'][2].x", "1 -> 2")),
        (Pair(1, [2]), Pair(1, [3]), (".other[0]", "2 -> 3")),
        (Slotted(1), Slotted(2), (".kept", "1 -> 2")),
        ({1: "a"}, {1: "a", "b": 2}, ("['b']", "new, 2")),
        ([1, 2], [1], ("[1]", "removed, was 2")),
        ({1, 2}, {2, 3}, ("", "without 1; with 3")),
        (0.0, -0.0, ("", "0.0 -> -0.0")),
        (Raises(1), Raises(2), (".number", "1 -> 2")),
        (np.float64(1), np.float64(2), ("", "1.0 -> 2.0")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_place_that_differs_is_named(
    before: object, now: object, expected: tuple[str, str]
) -> None:
    assert told(before, now) == [expected]


def test_texts_are_compared_by_line() -> None:
    (leaf,) = compare_values("one\ntwo\nthree", "one\n2\nthree").leaves

    assert leaf.lines == ("  one", "- two", "+ 2", "  three")


def test_all_places_are_counted_and_the_first_are_told() -> None:
    found = compare_values(list(range(1000)), [0] * 1000)

    assert (found.count, len(found.leaves)) == (999, MOST_LEAVES)
    assert found.leaves[0].path == "[1]"


def test_values_that_hold_themselves_and_deep_ones_end() -> None:
    one: list[Any] = [1]
    one.append(one)
    other: list[Any] = [2]
    other.append(other)
    deep, deeper = [1], [2]
    for _ in range(10_000):
        deep, deeper = [deep], [deeper]  # type: ignore[list-item]

    assert told(one, other) == [("[0]", "1 -> 2")]
    assert compare_values(deep, deeper).count == 1


def test_what_no_part_tells_is_told_by_the_digest() -> None:
    from collections import OrderedDict

    one, other = OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)
    assert digest(one) != digest(other)

    ((path, text),) = told(one, other)

    assert (path, "digests" in text) == ("", True)


# --- arrays ---


def test_arrays_are_compared_by_element() -> None:
    (leaf,) = compare_values(
        np.array([1.0, 2, np.nan]), np.array([1.5, 2, np.nan])
    ).leaves
    array = leaf.array

    assert leaf.text == "1 of 3 elements differ, by 0.5 at most, relative 0.33"
    assert array is not None
    assert (array.size, array.differing, array.largest) == (3, 1, 0.5)
    assert array.largest_relative == pytest.approx(1 / 3)


def test_shape_and_dtype_are_told() -> None:
    assert told(np.zeros((2, 3)), np.zeros(6)) == [("", "shape (2, 3) -> (6,)")]
    assert told(np.zeros(2), np.zeros(2, int)) == [
        ("", "dtype float64 -> int64, 0 of 2 elements differ")
    ]


@pytest.mark.parametrize(
    ("before", "now", "differing", "largest"),
    [
        (np.array([1, 2], np.uint8), np.array([2, 1], np.uint8), 2, 1.0),
        (np.array([2**63], np.uint64), np.array([0], np.uint64), 1, 2.0**63),
        (np.array([True, False]), np.array([True, True]), 1, 1.0),
        (np.array([3 + 4j]), np.array([0j]), 1, 5.0),
        (np.array(["a", "b"]), np.array(["a", "c"]), 1, None),
        (np.array([1, "a"], object), np.array([1, "b"], object), 1, None),
        (
            np.array(["2024", "NaT"], "M8[D]"),
            np.array(["2025", "NaT"], "M8[D]"),
            1,
            None,
        ),
        (np.array([np.nan]), np.array([1.0]), 1, None),
        (np.array([np.inf]), np.array([1.0]), 1, np.inf),
        (np.array(1.0), np.array(2.0), 1, 1.0),
        (np.array([(1, 2)], "i4,i4"), np.array([(1, 3)], "i4,i4"), 1, None),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_every_kind_of_array_is_compared(
    before: Any, now: Any, differing: int, largest: float | None
) -> None:
    (leaf,) = compare_values(before, now).leaves

    assert leaf.array is not None
    assert (leaf.array.differing, leaf.array.largest) == (differing, largest)


def test_arrays_of_equal_elements_and_another_order_are_told_apart() -> None:
    array = np.arange(6.0).reshape(2, 3)

    ((_, text),) = told(array, np.asfortranarray(array))

    assert "order in memory" in text


# --- tables ---

TABLE = pd.DataFrame({"u": [1, 2], "v": ["a", "b"]}, index=["r", "s"])


def test_tables_are_compared_by_cell() -> None:
    (leaf,) = compare_values({"t": TABLE}, {"t": TABLE.replace({"b": "c"})}).leaves

    assert (leaf.path, leaf.text) == ("['t']", "1 of 4 cells differ")
    (cell,) = leaf.cells
    assert (cell.row, cell.column, cell.before, cell.now) == ("s", "v", "'b'", "'c'")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (TABLE.rename(columns={"v": "w"}), "1 column removed: 'v'; 1 column new: 'w'"),
        (TABLE.drop(index="s"), "1 row removed: 's'"),
        (TABLE[["v", "u"]], "the columns are in another order, or of another number"),
        (TABLE.astype({"u": float}), "int64 -> float64"),
        (TABLE.iloc[::-1], "the rows are in another order, or of another number"),
    ],
)
def test_labels_and_types_of_tables_are_told(now: Any, expected: str) -> None:
    assert expected in [text for _, text in told(TABLE, now)]


def test_tables_with_other_rows_are_compared_by_label() -> None:
    now = TABLE.drop(index="r").assign(u=9)

    leaf = compare_values(TABLE, now).leaves[-1]

    assert [(cell.row, cell.before, cell.now) for cell in leaf.cells] == [
        ("s", "2", "9")
    ]


def test_series_are_compared_as_tables() -> None:
    leaves = compare_values(TABLE["u"], TABLE["u"].rename("w") + 1).leaves

    assert [leaf.path for leaf in leaves] == ["", ".name"]
    assert leaves[0].text == "2 of 2 cells differ"


# --- entries ---


def make(k: int) -> dict[str, Any]:
    return {"a": [k], "n": np.arange(3.0) * k}


def model(k: int) -> Point:
    return Point(k)


def constant(k: int) -> list[int]:
    return [k * 0]


def compare(memory: Memory, function: Any, *, unsafe: bool = False) -> Any:
    cached = memory.cache(function)
    for k in (1, 2):
        cached(k)
    assert memory.store is not None
    keys = [cached.lookup(k).key.digest for k in (1, 2)]
    return inspection.compare_entries(memory.store, *keys, unsafe=unsafe)


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "store")


def test_two_entries_differ_in_arguments_and_in_results(memory: Memory) -> None:
    found = compare(memory, make)

    assert found.is_equal is False
    assert [change.name for change in found.call.arguments] == ["k"]
    assert [leaf.path for leaf in found.values.leaves] == ["['a'][0]", "['n']"]
    assert memory.tally().hits == 0


def test_equal_results_are_not_loaded(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachekit.inspection.pairs.load_value", None)

    assert compare(memory, constant).is_equal is True


def test_results_of_the_users_classes_are_loaded_only_if_asked(memory: Memory) -> None:
    safe = compare(memory, model)
    unsafe = compare(memory, model, unsafe=True)

    assert (safe.is_equal, safe.values) == (False, None)
    assert "--unsafe" in safe.problem
    assert [leaf.path for leaf in unsafe.values.leaves] == [".x"]


def test_items_of_generators_are_compared(memory: Memory) -> None:
    def count(k: int) -> Any:
        yield from range(k)

    cached = memory.cache(count)
    for k in (1, 2):
        list(cached(k))
    assert memory.store is not None
    one, other = (entry.key.digest for entry in inspection.entries(memory.store))

    found = inspection.compare_entries(memory.store, one, other)

    assert [leaf.path for leaf in found.values.leaves if found.values] == ["[1]"]  # type: ignore[union-attr]
