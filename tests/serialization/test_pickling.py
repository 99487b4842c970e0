"""Large memory goes out of band without a copy; everything comes back as it was."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import pickle
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from cachekit.serialization.pickling import SMALLEST_BUFFER, flatten, rebuild
from tests.serialization.arrays import contiguous_arrays, same, strided_arrays


def round_trip(value: Any) -> Any:
    """Flatten and rebuild, with buffers as the container gives them back."""
    stream, buffers = flatten(value)
    return rebuild(stream, [bytearray(buffer) for buffer in buffers])


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Config:
    name: str
    rates: list[float]


VALUES = [
    None,
    ...,
    True,
    -(2**100),
    math.inf,
    -0.0,
    1j,
    "",
    "grün\0\ud800",
    b"\xff",
    b"long" * 10_000,
    bytearray(b"long" * 10_000),
    (),
    [1, [2, (3,)]],
    {"b": 1, "a": {2: None}},
    {1, 2},
    frozenset("ab"),
    range(0, 9, 2),
    collections.OrderedDict(b=1, a=2),
    collections.deque([1, 2], maxlen=3),
    collections.Counter("hello"),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    PurePosixPath("a/b"),
    Colour.RED,
    Point(1, 2),
    Config("small", [0.1]),
    int,
    math.sqrt,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_back_in_value_and_type(value: object) -> None:
    result = round_trip(value)

    assert result == value
    assert type(result) is type(value)


def test_the_sign_of_zero_and_nan_come_back() -> None:
    zero, nan = round_trip([-0.0, math.nan])

    assert math.copysign(1, zero) == -1
    assert math.isnan(nan)


def test_the_order_of_a_dict_comes_back() -> None:
    assert list(round_trip({"b": 1, "a": 2, "c": 3})) == ["b", "a", "c"]


def test_shared_and_cyclic_references_come_back() -> None:
    shared = ["shared"]
    cycle: list[Any] = [shared, shared]
    cycle.append(cycle)

    result = round_trip(cycle)

    assert result[0] is result[1]
    assert result[2] is result


# --- what plain pickle cannot name ---


def make_adder(step: int) -> Callable[[int], int]:
    def add(number: int) -> int:
        return number + step

    return add


def test_a_lambda_comes_back() -> None:
    assert round_trip(lambda number: number + 1)(2) == 3


def test_a_closure_comes_back() -> None:
    assert round_trip(make_adder(5))(2) == 7


def test_an_object_of_a_local_class_comes_back() -> None:
    class Local:
        def __init__(self, number: int) -> None:
            self.number = number

    result = round_trip([Local(3)])[0]

    assert result.number == 3
    assert type(result).__qualname__ == Local.__qualname__


def test_arrays_beside_a_lambda_still_leave_the_stream() -> None:
    array = np.arange(10_000)

    stream, buffers = flatten({"array": array, "function": lambda: None})

    assert len(stream) < 5000
    assert [buffer.nbytes for buffer in buffers] == [array.nbytes]


# --- arrays ---


@settings(max_examples=200, deadline=None)
@given(contiguous_arrays())
def test_contiguous_arrays_come_back_the_same(array: NDArray[Any]) -> None:
    assert same(round_trip(array), array)


@settings(deadline=None)
@given(strided_arrays())
def test_strided_arrays_come_back_in_value_and_dtype(array: NDArray[Any]) -> None:
    result = round_trip(array)

    np.testing.assert_array_equal(result, array)
    assert result.dtype == array.dtype  # its byte order too


@pytest.mark.parametrize("order", ["C", "F"])
def test_object_arrays_come_back_in_value_and_order(order: Any) -> None:
    array = np.array([["a", None], [1, {"b": [2]}]], dtype=object, order=order)

    result = round_trip(array)

    assert result.dtype == object
    assert result.tolist() == array.tolist()
    assert result.flags.f_contiguous == array.flags.f_contiguous


@pytest.mark.parametrize(
    "array",
    [
        np.ma.masked_less(np.arange(5000.0), 100),
        np.zeros(500, [("number", "i4"), ("name", "U9")]).view(np.recarray),
        np.float32(1.5),
        np.array(7),
    ],
    ids=["masked", "record", "scalar", "zero-dimensional"],
)
def test_kinds_of_array_keep_their_type(array: Any) -> None:
    result = round_trip(array)

    assert type(result) is type(array)
    assert result.dtype == array.dtype
    assert result.tolist() == array.tolist()


def test_a_large_array_is_not_copied_on_the_way_out() -> None:
    array = np.arange(100_000)

    stream, (buffer,) = flatten({"deep": [array]})

    assert len(stream) < 1000
    assert np.shares_memory(np.asarray(buffer), array)


def test_an_array_is_not_copied_on_the_way_in() -> None:
    stream, (buffer,) = flatten(np.arange(100_000))
    memory = bytearray(buffer)

    result = rebuild(stream, [memory])

    assert np.shares_memory(result, np.frombuffer(memory, np.uint8))


@pytest.mark.parametrize(
    ("size", "outside"), [(SMALLEST_BUFFER - 1, 0), (SMALLEST_BUFFER, 1)]
)
def test_only_large_buffers_leave_the_stream(size: int, outside: int) -> None:
    stream, buffers = flatten(np.zeros(size, np.uint8))

    assert len(buffers) == outside
    assert (len(stream) > size) is (outside == 0)


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(10),
        np.arange(10_000),
        np.zeros(10, "M8[us]"),
        np.arange(10)[::2],
    ],
    ids=["small", "large", "dates", "strided"],
)
def test_arrays_are_writable_only_if_they_were(
    array: NDArray[Any], writable: bool
) -> None:
    array = array[:]
    array.flags.writeable = writable

    assert round_trip(array).flags.writeable is writable


def test_large_arrays_of_dates_leave_the_stream() -> None:
    dates = np.arange(100_000).astype("M8[us]")

    stream, _ = flatten(dates)

    assert len(stream) < 1000


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(10_000, "M8[s],f4"),
        np.zeros((500, 500), "M8[s]")[:, ::2],
        np.zeros((100, 100)).view(np.matrix),
        np.zeros(10_000, "i4,f8").view(np.recarray),
        np.ma.array(np.zeros(10_000)),
    ],
    ids=["records with dates", "strided dates", "matrix", "record array", "masked"],
)
@pytest.mark.parametrize("beside", [None, lambda: 1], ids=["plain", "a function"])
def test_what_numpy_would_put_into_the_stream_leaves_it(
    array: NDArray[Any], beside: Any
) -> None:
    stream, buffers = flatten([array, beside])
    result = round_trip([array, beside])[0]

    assert len(stream) < 2000
    assert [buffer.nbytes for buffer in buffers] == [array.nbytes]
    assert type(result) is type(array)
    assert result.dtype == array.dtype
    assert result.tobytes() == array.tobytes()


def test_a_masked_array_over_a_memory_map_comes_back_as_one_over_an_array(
    tmp_path: Path,
) -> None:
    mapped = np.memmap(tmp_path / "map", "i4", "w+", shape=(3,))
    mapped[:] = [1, 2, 3]

    mask = np.array([False, True, False])
    result = round_trip(np.ma.array(mapped, mask=mask))

    assert type(result.data) is np.ndarray
    assert result.tolist() == [1, None, 3]
    assert not hasattr(result, "_mmap")


def test_a_bytearray_can_grow_again_after_it_was_flattened() -> None:
    content = bytearray(100_000)

    flatten([content, np.frombuffer(content, np.uint8)])

    content.append(1)


# --- what cannot be pickled ---


class Refused(Exception):
    """The value's own exception."""


class RefusedByType(TypeError):
    """An exception of a kind that plain pickle raises too."""


class Stubborn:
    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __reduce__(self) -> str:
        raise self.error("never")


@pytest.mark.parametrize("error", [Refused, RefusedByType, RecursionError])
def test_the_exception_is_the_one_of_the_value(error: type[Exception]) -> None:
    with pytest.raises(error, match="never"):
        flatten([Stubborn(error)])


@pytest.mark.parametrize("beside", [None, lambda: 1], ids=["plain", "a function"])
def test_a_value_that_is_nested_too_deeply_is_told_what_to_do(beside: Any) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(RecursionError, match=r"sys\.setrecursionlimit"):
        flatten([beside, deep])


def test_an_interrupt_passes() -> None:
    class Slow:
        def __reduce__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flatten(Slow())


@pytest.mark.parametrize(
    "value", [threading.Lock(), (n for n in "ab")], ids=["lock", "generator"]
)
def test_what_has_no_pickled_form_is_an_error(value: object) -> None:
    with pytest.raises((TypeError, pickle.PicklingError), match="pickle"):
        flatten(value)
