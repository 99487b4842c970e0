"""Values that a function reads are watched by a stamp: no change in place is missed."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import gc
import random
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from cachekit.hashing import digest, reducers, register_hasher, stamps
from cachekit.hashing.code import Code
from cachekit.hashing.stamps import has_stamp, stamp_of
from cachekit.hashing.survey import Survey


class Colour(enum.Enum):
    RED = [1]  # noqa: RUF012  (an enum that can change is what is tested)


class Measured(np.ndarray[Any, Any]):
    unit = "m"


class Forgetful(LinearRegression):  # type: ignore[misc]
    def __getstate__(self) -> dict[str, Any]:
        return {}


class Thing:
    def __init__(self, x: Any) -> None:
        self.x = x

    @functools.cached_property
    def double(self) -> Any:
        return self.x * 2


class Slotted:
    __slots__ = ("x",)

    def __init__(self) -> None:
        self.x = 1


def first(x: int) -> int:
    return x


def second(x: int) -> int:
    return x + 1


second.__qualname__ = second.__name__ = "first"


def set_item(key: Any, value: Any) -> Callable[[Any], None]:
    return lambda container: container.__setitem__(key, value)


CHANGES: dict[str, tuple[Any, Callable[[Any], None]]] = {
    "a number in a list": ([1, 2], set_item(0, 3)),
    "a number that becomes true": ([1, 2], set_item(0, True)),
    "a zero that changes its sign": ({"a": 0.0}, set_item("a", -0.0)),
    "an item added to a dict": ({"a": 1}, set_item("b", 1)),
    "an item added to a set": ({1, 2}, lambda value: value.add(3)),
    "a list far below": ({"a": [[{"b": [1]}]]}, lambda v: v["a"][0][0]["b"].append(2)),
    "the order of a list": ([1, 2], lambda value: value.reverse()),
    "an attribute": (Thing(1), lambda value: setattr(value, "x", 2)),
    "a new attribute": (Thing(1), lambda value: setattr(value, "y", 2)),
    "a slot": (Slotted(), lambda value: setattr(value, "x", 2)),
    "a deque": (collections.deque([1]), lambda value: value.append(2)),
    "an element of an array": (np.zeros(10), set_item(3, 1.0)),
    "an element of a large array": (np.zeros(10**6), set_item(3, 1.0)),
    "an element of a strided array": (np.zeros((9, 9))[:, ::2], set_item((0, 1), 1.0)),
    "an object in an array": (np.array([[], 1], dtype=object), set_item(1, 2)),
    "an array in a dict": ({"a": np.zeros(9)}, lambda value: value["a"].sort()),
    "the value of an enum": ([Colour.RED], lambda value: value[0].value.append(2)),
    "the state of a generator": (random.Random(3), lambda value: value.random()),
    "one function for another of its name": ({"f": first}, set_item("f", second)),
    "one class for another of its name": (
        [type("T", (), {"x": 1})],
        set_item(0, type("T", (), {"x": 2})),
    ),
    "an array of bytes": (bytearray(b"abc"), set_item(0, 1)),
    "one method for another of its name": (
        [random.Random(1).random, types.MethodType(lambda _: 1, 1)],
        set_item(1, types.MethodType(lambda _: 2, 1)),
    ),
    "a namespace": (types.SimpleNamespace(a=1), lambda v: setattr(v, "a", 2)),
}
CHANGES |= {
    "an attribute that an array does not pickle": (
        np.zeros(3).view(Measured),
        lambda value: setattr(value, "unit", "km"),
    ),
    "a masked array that becomes hard": (
        np.ma.array([1.0, 2.0], mask=[False, True]),
        lambda value: value.harden_mask(),
    ),
    "an estimator that pickles nothing": (
        Forgetful(),
        lambda value: value.set_params(positive=True),
    ),
}
# The array that is sorted is not all zeros.
CHANGES["an array in a dict"][0]["a"][:] = np.arange(9)[::-1]


@pytest.mark.parametrize(("value", "change"), CHANGES.values(), ids=CHANGES.keys())
def test_a_value_that_changes_in_place_is_seen(
    value: Any, change: Callable[[Any], None]
) -> None:
    code = code_that_reads(value)
    before = code.fingerprint()
    assert code.fingerprint() == before  # by its stamp, from now on
    stamp = stamp_of([value]) if has_stamp(value) else None

    change(value)

    assert stamp is None or stamp_of([value]) != stamp
    assert code.fingerprint() != before


def test_an_attribute_that_a_function_is_given_is_seen() -> None:
    def helper() -> int:
        return 1

    code = code_that_reads(helper)
    before = code.fingerprint()

    helper.limit = 3  # type: ignore[attr-defined]

    assert code.fingerprint() != before


def code_that_reads(value: Any) -> Code:
    def read() -> Any:
        return GLOBAL

    space = {"GLOBAL": value, "__name__": "a_program"}
    return Code(types.FunctionType(read.__code__, space))


GLOBAL: Any = None


def test_what_a_property_has_cached_is_no_change() -> None:
    thing = Thing(2)
    code = code_that_reads(thing)
    before = code.fingerprint()

    assert thing.double == 4
    assert code.fingerprint() == before


def test_what_says_itself_what_counts_is_asked_each_time(tmp_path: Path) -> None:
    class Contents:
        path = tmp_path / "data"

        def __cachekit_hash__(self) -> object:
            return self.path.read_bytes()

    Contents.path.write_bytes(b"1")
    code = code_that_reads([Contents()])
    before = code.fingerprint()
    assert code.fingerprint() == before

    Contents.path.write_bytes(b"2")

    assert not has_stamp([Contents()])
    assert code.fingerprint() != before


def test_a_value_that_pickle_refuses_is_hashed_each_time() -> None:
    value = {"view": memoryview(b"abc"), "x": 1}
    code = code_that_reads(value)
    before = code.fingerprint()
    assert not has_stamp(value)

    value["x"] = 2

    assert code.fingerprint() != before


def test_equal_stamps_mean_equal_digests_for_the_same_objects() -> None:
    value = {"a": [1, 2], "b": {3, 4}, "c": Thing(5), "d": first}

    assert stamp_of([value]) == stamp_of([value])
    assert digest(value) == digest(value)


def test_values_read_twice_are_watched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    code = code_that_reads([1, 2])
    code.fingerprint()
    code.fingerprint()
    monkeypatch.setattr("cachekit.hashing.hasher.digest_with", None)

    assert code.fingerprint()  # no digest is taken any more


def test_a_class_with_the_identity_of_one_that_is_gone_is_seen() -> None:
    def make(number: int) -> type:
        return dataclasses.make_dataclass(f"Made{number}", ["x"])

    kinds = [make(0)]
    code = code_that_reads(kinds)
    before = code.fingerprint()
    code.fingerprint()
    kept = weakref.ref(kinds[0])

    kinds[0] = make(1)
    gc.collect()

    assert kept() is not None  # or else the next one may come to lie in its place
    assert code.fingerprint() != before


def test_a_change_while_a_stamp_is_taken_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = {"x": 1}
    code = code_that_reads(value)
    before = code.fingerprint()
    take = stamps.stamp_and_held

    def take_while_it_changes(values: Any) -> Any:
        value["x"] = 2
        try:
            return take(values)
        finally:
            value["x"] = 1

    monkeypatch.setattr(stamps, "stamp_and_held", take_while_it_changes)
    assert code.fingerprint() == before
    monkeypatch.undo()
    value["x"] = 2

    assert code.fingerprint() != before


def test_a_change_while_a_value_is_first_hashed_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = {"x": 1, "f": first}
    code = code_that_reads(value)
    hash_for_the_guard = Survey._digest_now

    def hash_what_has_changed(survey: Survey, part: object) -> str:
        value["x"] = 2
        return hash_for_the_guard(survey, part)

    monkeypatch.setattr(Survey, "_digest_now", hash_what_has_changed)
    before = code.fingerprint()
    monkeypatch.undo()

    assert code.fingerprint() != before
    assert code.fingerprint() == code_that_reads({"x": 2, "f": first}).fingerprint()


def test_a_hasher_for_sets_that_looks_elsewhere_is_asked_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for table in (reducers._EXACT, reducers._INHERITED):
        monkeypatch.setitem(table, set, table.get(set))
    monkeypatch.setattr(reducers, "_registered", [])
    monkeypatch.setattr(reducers, "_resolved", {})
    outside = [0]
    register_hasher(set, lambda items: (sorted(items), outside[0]))
    code = code_that_reads([{1, 2}])
    before = code.fingerprint()
    code.fingerprint()

    outside[0] = 1

    assert code.fingerprint() != before
