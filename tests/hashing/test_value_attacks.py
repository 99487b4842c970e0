"""Attacks on the digests of values: collisions, spurious misses, and crashes."""

from __future__ import annotations

import array
import collections
import copy
import copyreg
import dataclasses
import datetime
import decimal
import enum
import functools
import ipaddress
import itertools
import operator
import pathlib
import pickle
import random
import subprocess
import sys
import threading
import tracemalloc
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import scipy.spatial
import scipy.stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import KNeighborsClassifier

from cachekit.errors import UnhashableArgument
from cachekit.hashing import digest, reducers, register_hasher

Values = Callable[[], list[Any]]


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


def with_attribute(value: Any, name: str, content: object) -> Any:
    setattr(value, name, content)
    return value


def after(value: Any, step: Callable[[Any], object]) -> Any:
    step(value)
    return value


def digest_or_refusal(value: object) -> object:
    try:
        return digest(value)
    except UnhashableArgument:
        return object()


def are_told_apart(values: list[Any]) -> bool:
    """Tell whether no two share a digest; a value that is refused shares none."""
    return len({digest_or_refusal(value) for value in values}) == len(values)


def share_a_digest(values: list[Any]) -> bool:
    return len({digest(value) for value in values}) == 1


def path_of_refusal(value: object) -> str:
    with pytest.raises(UnhashableArgument) as caught:
        digest(value)
    return caught.value.path


# --- different values, equal digests --------------------------------------------


def layers(*names: str) -> Any:
    torch = pytest.importorskip("torch")
    made = {"a": torch.nn.ReLU(), "b": torch.nn.Sigmoid()}
    return torch.nn.Sequential(collections.OrderedDict((n, made[n]) for n in names))


def test_the_order_of_the_layers_of_a_model_counts() -> None:
    assert are_told_apart([layers("a", "b"), layers("b", "a")])


@pytest.mark.parametrize("view", [dict.keys, dict.values, dict.items])
def test_views_of_different_dicts_are_told_apart(view: Callable[[Any], Any]) -> None:
    assert are_told_apart([view({1: 2}), view({3: 4})])


def test_cells_of_closures_are_told_apart() -> None:
    assert are_told_apart([types.CellType(1), types.CellType(2)])


def test_objects_of_c_that_pickle_refuses_are_told_apart() -> None:
    torch = pytest.importorskip("torch")

    assert are_told_apart([torch.finfo(torch.float32), torch.finfo(torch.float64)])


class Measured(np.ndarray[Any, Any]):
    owner: Any


def owned(content: list[float]) -> Plain:
    values = np.array(content).view(Measured)
    values.owner = Plain(data=values)
    return values.owner  # type: ignore[no-any-return]


def test_the_elements_of_an_array_in_a_cycle_count() -> None:
    assert are_told_apart([owned([1.0, last]) for last in (2.0, 3.0, 4.0)])


@pytest.mark.parametrize(
    "kind",
    [pl.Datetime("ns"), pl.Duration("ns"), pl.Time(), pl.List(pl.Datetime("ns"))],
    ids=str,
)
def test_nanoseconds_of_polars_count(kind: pl.DataType) -> None:
    def moment(nanosecond: int) -> pl.Series:
        content = [nanosecond] if kind != pl.List else [[nanosecond]]
        return pl.Series(content).cast(kind)

    assert are_told_apart([moment(1), moment(2)])


def test_nanoseconds_of_arrow_times_count() -> None:
    kind = pa.time64("ns")

    assert are_told_apart([pa.array([1], kind), pa.array([2], kind)])


def test_closures_of_a_library_count_by_what_they_close_over() -> None:
    convert = attrs.converters.default_if_none

    assert are_told_apart([convert(1), convert(2)])


class Located(pd.DataFrame):
    _metadata = ["crs"]  # noqa: RUF012  (this is how pandas wants it)


class LocatedSeries(pd.Series):
    _metadata = ["crs"]  # noqa: RUF012


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", [Located, LocatedSeries])
def test_what_a_subclass_of_a_table_keeps_counts(kind: Callable[..., Any]) -> None:
    assert are_told_apart(
        [with_attribute(kind({"a": [1]}), "crs", crs) for crs in ("WGS 84", "ETRS89")]
    )


class Set(set[int]):
    __slots__ = ("unit",)

    unit: str


class ReducedSet(Set):
    def __reduce__(self) -> tuple[Any, ...]:
        return (ReducedSet, (), (list(self), self.unit))

    def __setstate__(self, state: tuple[list[int], str]) -> None:
        self.update(state[0])
        self.unit = state[1]


@pytest.mark.parametrize("kind", [Set, ReducedSet])
def test_what_a_set_keeps_in_slots_counts(kind: type[Set]) -> None:
    assert are_told_apart([with_attribute(kind([1]), "unit", u) for u in ("m", "km")])


class Pairs:
    """Restored by `self[key] = value` for each pair, as pickle does for dicts."""

    def __init__(self, *pairs: tuple[Any, Any]) -> None:
        self.pairs = pairs

    def __setitem__(self, key: object, value: object) -> None:
        self.pairs += ((key, value),)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Pairs, (), None, None, iter(self.pairs))


def test_all_pairs_of_a_reduction_count() -> None:
    values = [Pairs(("a", 1), ("a", 2)), Pairs(("a", 2)), Pairs(("a", 2), ("a", 1))]

    assert are_told_apart(values)


def test_pairs_of_a_reduction_may_have_keys_without_a_hash() -> None:
    assert share_a_digest([Pairs(([1], 1)), Pairs(([1], 1))])


class Place(type(pathlib.Path())):  # type: ignore[misc]
    pass


def test_a_subclass_of_a_path_counts_with_its_class_and_attributes() -> None:
    other: Any = type("PosixPath", (type(pathlib.Path()),), {})

    assert are_told_apart(
        [with_attribute(Place("a"), "host", host) for host in ("x", "y")]
    )
    assert are_told_apart([pathlib.Path("a"), other("a")])


def test_attributes_of_a_partial_count() -> None:
    partial = functools.partial

    assert are_told_apart(
        [with_attribute(partial(int, "1"), "unit", unit) for unit in ("m", "km")]
    )


class Itself:
    def __init__(self, x: int) -> None:
        self.x = x

    def __cachekit_hash__(self) -> object:
        return self


class Wrapped(Itself):
    def __cachekit_hash__(self) -> object:
        return [self, "a tag"]


@pytest.mark.parametrize("kind", [Itself, Wrapped])
def test_a_value_that_says_that_itself_counts_is_told_apart(kind: type[Itself]) -> None:
    assert are_told_apart([kind(1), kind(2)])


def test_a_registered_function_that_returns_its_value_tells_apart() -> None:
    class Registered(Plain):
        pass

    register_hasher(Registered, lambda value: value)

    assert are_told_apart([Registered(x=1), Registered(x=2)])


@pytest.mark.parametrize("kind", [float, str, tuple, list, dict])
def test_a_type_that_is_written_in_place_cannot_be_registered(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in ("_EXACT", "_INHERITED", "_resolved"):
        monkeypatch.setattr(reducers, table, dict(getattr(reducers, table)))

    with pytest.raises(TypeError):
        register_hasher(kind, repr)


def test_ufuncs_made_of_different_functions_are_told_apart() -> None:
    functions: list[Any] = [lambda x: x + 1, lambda x: x + 2]

    assert are_told_apart([np.frompyfunc(function, 1, 1) for function in functions])


def test_a_subclass_of_a_scalar_counts_with_its_class() -> None:
    class Metres(np.float64):
        pass

    assert are_told_apart([Metres(1), np.float64(1)])


def test_where_the_fields_of_a_dtype_lie_counts() -> None:
    fields: list[Any] = [("a", "i1"), ("b", "i8")]

    assert are_told_apart([np.dtype(fields), np.dtype(fields, align=True)])


def test_a_record_dtype_is_no_void_dtype() -> None:
    records = np.rec.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")])

    assert are_told_apart(
        [records.view(np.ndarray), np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")])]
    )


def test_number_types_of_other_libraries_are_told_apart() -> None:
    kinds: Any = pytest.importorskip("ml_dtypes")
    memory = np.zeros(2, dtype="u1")

    assert are_told_apart([memory.view(kinds.float8_e4m3fn), memory.view(kinds.int4)])


def masked(kind: str = "i4", **options: Any) -> Any:
    hidden = np.array([False, True, False])
    return np.ma.array(np.arange(3, dtype=kind), mask=hidden, **options)


def test_attributes_of_a_masked_array_count() -> None:
    assert are_told_apart([with_attribute(masked(), "unit", u) for u in ("m", "km")])


def test_the_byte_order_of_a_masked_array_counts() -> None:
    assert are_told_apart([masked("<i4"), masked(">i4")])


def test_a_hard_mask_counts() -> None:
    assert are_told_apart([masked(), masked(hard_mask=True)])


def test_attributes_of_a_tensor_count() -> None:
    torch = pytest.importorskip("torch")

    assert are_told_apart(
        [with_attribute(torch.ones(1), "unit", unit) for unit in ("m", "km")]
    )


def test_attributes_of_a_sparse_matrix_count() -> None:
    class Labelled(scipy.sparse.csr_matrix):  # type: ignore[misc]
        pass

    assert are_told_apart(
        [with_attribute(Labelled(np.eye(2)), "unit", unit) for unit in ("m", "km")]
    )


def test_a_field_of_arrow_named_like_two_is_one() -> None:
    number = pa.int32()

    assert are_told_apart(
        [
            pa.struct([("a", number), ("b", number)]),
            pa.struct([("a: int32, b", number)]),
        ]
    )


def test_metadata_of_a_field_of_arrow_counts() -> None:
    schemas = [
        pa.schema([pa.field("a", pa.int64(), metadata={"unit": unit})])
        for unit in ("m", "km")
    ]

    assert are_told_apart(schemas)
    assert are_told_apart([pa.table({"a": [1]}, schema=schema) for schema in schemas])


class Quantity(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self, unit: str) -> None:
        self.unit = unit
        super().__init__(pa.int64(), "tests.quantity")

    def __arrow_ext_serialize__(self) -> bytes:
        return self.unit.encode()


def test_parameters_of_an_extension_type_of_arrow_count() -> None:
    assert are_told_apart([Quantity("m"), Quantity("km")])


def test_which_member_of_a_union_of_arrow_is_meant_counts() -> None:
    def union(*members: int) -> Any:
        content = [pa.array([1, 1]), pa.array([1, 1])]
        return pa.UnionArray.from_sparse(pa.array(members, pa.int8()), content)

    assert are_told_apart([union(0, 0), union(0, 1)])


def test_the_rows_of_a_table_of_arrow_without_columns_count() -> None:
    assert are_told_apart([pa.table({"a": [1] * rows}).select([]) for rows in (1, 2)])


def test_the_holidays_of_a_frequency_count() -> None:
    assert are_told_apart(
        [
            pd.bdate_range("2020", periods=3, freq="C", holidays=[holiday])
            for holiday in ("2020-05-05", "2020-06-05")
        ]
    )


# --- equal values, different digests ----------------------------------------------


def test_what_pads_a_long_double_does_not_count() -> None:
    numbers = np.arange(3, dtype=np.longdouble)
    padded = numbers.copy()
    size = numbers.itemsize
    for place in range(3 if size == 16 else 0):
        padded.view("u1")[size * place + 10 : size * (place + 1)] = 255

    assert share_a_digest([numbers, padded])
    assert share_a_digest([numbers[1], padded[1]])


@pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="long doubles of x86")
def test_long_doubles_of_the_other_byte_order_count_whole_and_without_padding() -> None:
    one = b"\x3f\xff\x80" + bytes(6)  # and the last byte of the number
    found = [
        np.frombuffer(padding + one + last, ">g")
        for padding, last in [(bytes(6), b"\0"), (bytes(6), b"\1"), (b"paddin", b"\0")]
    ]

    assert digest(found[0]) != digest(found[1])
    assert digest(found[0]) == digest(found[2])


def test_two_vectorizers_of_one_text_share_a_digest() -> None:
    def fitted() -> TfidfVectorizer:
        return TfidfVectorizer(stop_words=["the"]).fit(["a cat", "the dog"])

    first, second = fitted(), fitted()

    assert digest(first) == digest(second)


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
def test_a_prediction_does_not_change_a_model(algorithm: str) -> None:
    model = KNeighborsClassifier(1, algorithm=algorithm).fit([[0.0], [1.0]], [0, 1])
    before = digest(model)

    model.predict([[0.2]])

    assert digest(model) == before


def test_two_trees_of_the_same_points_share_a_digest() -> None:
    points = np.arange(40.0).reshape(20, 2)

    trees = [scipy.spatial.cKDTree(points, leafsize=4) for _ in range(2)]

    assert share_a_digest(trees)


class Cached:
    @functools.cached_property
    def costly(self) -> int:
        return 42


class CachedList(Cached, list[int]):
    pass


class CachedDict(Cached, dict[str, int]):
    pass


class CachedError(Cached, Exception):
    pass


class CachedTuple(Cached, tuple[int]):
    pass


class CachedState(Cached):
    def __getstate__(self) -> object:
        return vars(self)


@pytest.mark.parametrize(
    "kind", [CachedList, CachedDict, CachedError, CachedTuple, CachedState]
)
def test_a_filled_cached_property_counts_nowhere(kind: type[Cached]) -> None:
    assert share_a_digest([kind(), after(kind(), lambda value: value.costly)])


@attrs.define(slots=False, frozen=True, cache_hash=True)
class Hashed:
    name: str


def test_a_hash_that_attrs_keeps_does_not_count() -> None:
    assert share_a_digest([Hashed("a"), after(Hashed("a"), lambda value: hash(value))])


def test_a_dict_with_several_nans_has_no_order() -> None:
    nan = float("nan")
    other = float("nan")

    assert share_a_digest([{nan: 1, other: 2}, {other: 2, nan: 1}])


def test_a_dict_of_equal_objects_has_no_order() -> None:
    first, second = Plain(a=1), Plain(a=1)

    assert share_a_digest([{first: 1, second: 2}, {second: 2, first: 1}])


class Node:
    """A node that stands in sets at a place that is told."""

    def __init__(self, mark: str, place: int) -> None:
        self.mark = mark
        self.place = (place,)
        self.around: set[Node] = set()

    def __hash__(self) -> int:
        return self.place[0]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __cachekit_hash__(self) -> object:
        return (self.mark, self.around)


def ring(marks: dict[int, str], places: list[int]) -> Node:
    nodes = [Node(marks.get(i, ""), place) for i, place in enumerate(places)]
    for node, following in itertools.pairwise([*nodes, nodes[0]]):
        node.around.add(following)
        following.around.add(node)
    return nodes[0]


def test_a_ring_whose_marks_are_far_apart_has_one_digest() -> None:
    marks = {0: "x", 10: "y", 27: "z"}
    upwards = list(range(40))

    assert share_a_digest([ring(marks, upwards), ring(marks, upwards[::-1])])


def test_a_time_zone_counts_without_the_function_that_finds_it() -> None:
    form = reducers.canonical(zoneinfo.ZoneInfo("UTC"))

    # Python 3.12 made it of another type, `builtin_method`.
    assert not any(isinstance(part, types.BuiltinMethodType) for part in form.parts)


def test_a_hook_counts_whenever_it_was_registered() -> None:
    torch = pytest.importorskip("torch")

    def hooked() -> Any:
        model = torch.nn.ReLU()
        model.register_forward_hook(print)
        return model

    assert share_a_digest([hooked(), hooked()])


# --- crashes and poor errors --------------------------------------------------------


def test_an_index_of_one_level_is_hashed() -> None:
    levels: list[Any] = [[1, 2], [1, 3], [1.0, 2.0]]

    assert are_told_apart([pd.MultiIndex.from_arrays([level]) for level in levels])


def test_a_structured_masked_array_is_hashed() -> None:
    def records(mask: Any, hidden: int = 2) -> Any:
        kind: list[Any] = [("a", "i4"), ("b", "i4")]
        return np.ma.array([(1, hidden)], mask=[mask], dtype=kind)

    assert are_told_apart([records((0, 0)), records((0, 1)), records((1, 0))])
    assert share_a_digest([records((0, 1)), records((0, 1), hidden=9)])


def test_the_masked_constant_is_hashed() -> None:
    assert share_a_digest([np.ma.masked, np.ma.masked])


def test_an_array_of_a_subclass_with_slots_is_hashed() -> None:
    class Slotted(np.ndarray[Any, Any]):
        __slots__ = ("unit",)

    assert are_told_apart(
        [with_attribute(np.arange(3).view(Slotted), "unit", u) for u in ("m", "km")]
    )


def test_views_of_memory_of_every_format_are_hashed() -> None:
    numbers = array.array("i", [1, 2])
    flat: Any = np.zeros((0, 3))
    views = [
        memoryview(numbers),
        memoryview(array.array("f", [1, 2])),
        memoryview(numbers).cast("B"),
        memoryview(numbers).cast("B").cast("B", (2, 4)),
        memoryview(b"a").cast("B", ()),
        memoryview(flat),
        memoryview(flat.T),
    ]

    assert len({digest(view) for view in views}) == len(views)


def test_memory_that_was_released_is_refused() -> None:
    view = memoryview(b"a")
    view.release()

    assert path_of_refusal([1, view]) == "[1]"


def test_a_buffer_that_is_not_contiguous_is_hashed() -> None:
    numbers: Any = np.arange(6)

    assert are_told_apart([pickle.PickleBuffer(numbers[::2]), numbers[:3]])
    assert digest(pickle.PickleBuffer(numbers[::2]))


def test_integers_of_128_bits_are_hashed() -> None:
    values: list[Any] = [[2**100], [2**100 + 1], [None]]

    assert are_told_apart([pl.Series(value, dtype=pl.Int128) for value in values])


def test_moments_of_arrow_beyond_the_calendar_are_hashed() -> None:
    kind = pa.timestamp("s")

    assert are_told_apart([pa.array([2**62], kind), pa.array([2**62 + 1], kind)])


def test_structs_of_arrow_with_one_name_twice_are_hashed() -> None:
    def struct(second: int) -> Any:
        return pa.StructArray.from_arrays(
            [pa.array([1]), pa.array([second])], ["a"] * 2
        )

    assert are_told_apart([struct(1), struct(2)])


@pytest.mark.filterwarnings("ignore:.*quantize", "ignore:.*Quantize")
def test_tensors_without_plain_elements_are_hashed_or_refused() -> None:
    torch = pytest.importorskip("torch")
    scales, zeros = torch.tensor([0.1, 0.2]), torch.tensor([0, 0])
    values = [
        torch.empty(3, device="meta"),
        torch.empty(4, device="meta"),
        torch.ones(2).to_mkldnn(),
        torch.quantize_per_channel(torch.eye(2), scales, zeros, 0, torch.qint8),
        torch.quantize_per_channel(torch.eye(2), 2 * scales, zeros, 0, torch.qint8),
    ]

    assert are_told_apart(values)


class Answering:
    """Has an answer for every name, though only slots."""

    __slots__ = ("a",)

    def __getattr__(self, name: str) -> None:
        if name == "a":
            raise AttributeError(name)


def test_an_object_that_answers_to_every_name_is_hashed() -> None:
    assert are_told_apart([Answering(), with_attribute(Answering(), "a", 1)])


class Keyed:
    def __init__(self, value: int) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyed) and self.value == other.value


def test_a_key_that_was_changed_in_its_dict_is_hashed() -> None:
    key = Keyed(1)
    value = {key: "a", Keyed(5): "b"}
    key.value = 2

    assert digest(value) == digest(value)


class Maker:
    def __call__(self) -> None: ...

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Made:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Maker(), ())


def test_a_reduction_is_not_compared() -> None:
    assert share_a_digest([Made(), Made()])


def test_the_version_of_a_module_is_not_computed() -> None:
    module = types.ModuleType("lazy")

    def refuse(name: str) -> None:
        raise DeprecationWarning(name)

    module.__getattr__ = refuse  # type: ignore[method-assign]

    assert digest(module) == digest(module)


@pytest.mark.parametrize("error", [ValueError, NotImplementedError, KeyError])
def test_an_error_of_a_reduction_is_a_refusal_with_its_path(
    error: type[Exception],
) -> None:
    class Failing:
        def __reduce__(self) -> tuple[Any, ...]:
            raise error("no")

    assert path_of_refusal([1, Plain(x=Failing())]) == "[1].x"


def test_a_lock_in_a_cycle_is_refused_with_its_path() -> None:
    value: list[Any] = [1]
    value += [value, threading.Lock()]

    assert path_of_refusal(value) == "[2]"


def test_a_lock_far_below_is_refused_with_its_whole_path() -> None:
    value: Any = threading.Lock()
    for _ in range(150):
        value = [value]

    assert path_of_refusal(value) == "[0]" * 150


def test_what_a_library_keeps_counts_by_name_in_an_argument() -> None:
    kept = [random.choice, random.random, scipy.stats.norm, np.random.normal]
    before = [digest(function) for function in kept]

    random.choice([1, 2])
    np.random.normal()
    scipy.stats.norm.rvs()

    assert [digest(function) for function in kept] == before
    assert are_told_apart([*kept, random.Random(3).choice, random.Random(4).choice])


def test_a_record_in_a_cycle_has_one_digest() -> None:
    def cycle(x: int) -> list[Any]:
        value: list[Any] = [Plain(x=x), {"deep": [Plain(x=x)]}]
        value.append(value)
        return value

    assert share_a_digest([cycle(1), cycle(1)])
    assert are_told_apart([cycle(1), cycle(2)])


class Other(Plain):
    pass


def test_records_of_different_classes_and_contents_are_told_apart() -> None:
    state: dict[str, Any] = {"x": 1}

    assert are_told_apart(
        [
            [kind(**attributes)]
            for kind in (Plain, Other)
            for attributes in (state, {"x": True}, {"x": 1.0}, {"y": 1}, {}, {"x": "1"})
        ]
        + [[state], [("object", "x", 1)], [{"x": Plain(**state)}]]
    )


def test_a_hook_given_to_pickle_after_the_first_digest_of_a_type_counts() -> None:
    class Late(Plain):
        pass

    before = digest([Late(x=1)])
    register_hasher(Late, lambda _: None)

    assert digest([Late(x=1)]) == digest([Late(x=2)]) != before


def test_a_type_told_to_copyreg_after_its_first_digest_is_taken_as_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Late(Plain):
        pass

    assert are_told_apart([[Late(x=1)], [Late(x=2)]])

    monkeypatch.setitem(copyreg.dispatch_table, Late, lambda _: (Late, ()))

    assert share_a_digest([[Late(x=1)], [Late(x=2)]])


def test_sets_and_dicts_of_tuples_have_no_order() -> None:
    pairs = [(i, str(i), (i % 3)) for i in range(100)]
    mixed: list[Any] = [*pairs, (1, "1"), ("1", 1), (True, "x", 1), (1, "1", None)]

    for items in (pairs, mixed):
        backwards = items[::-1]
        assert share_a_digest([set(items), set(backwards)])
        assert share_a_digest([dict.fromkeys(items), dict.fromkeys(backwards)])
    assert are_told_apart([{(1, "1")}, {(True, "1")}, {("1", 1)}])


def test_a_class_that_no_table_can_hold_is_refused() -> None:
    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            return True

    class Odd(metaclass=Meta):
        pass

    with pytest.raises(UnhashableArgument, match="unhashable type: 'Meta'"):
        digest([Odd()])


class Busy:
    """A container that another thread writes to while it is hashed the first times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __reduce__(self) -> tuple[object, ...]:
        items = {1: None}
        found = iter(items)
        self.times -= 1
        if self.times >= 0:
            items[2] = None
        return (list, (), None, found)


def test_a_value_that_changes_meanwhile_is_hashed_again() -> None:
    assert digest([Busy(3)]) == digest([Busy(0)])


def test_a_value_that_never_stops_changing_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="changed size"):
        digest([Busy(1000)])


def test_the_path_of_a_lock_in_a_larger_cycle_is_whole() -> None:
    value: dict[str, Any] = {"a": [1, {"lock": threading.Lock()}]}
    value["a"].append(value)

    assert path_of_refusal([value]) == "[0]['a'][1]['lock']"


def test_the_path_through_an_ordered_dict_names_the_key() -> None:
    value = collections.OrderedDict(a=1, b=threading.Lock())

    assert path_of_refusal({"steps": value}) == "['steps']['b']"


def test_the_path_through_a_lazy_dict_loads_nothing() -> None:
    class Lazy(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise RuntimeError("loaded")

    assert path_of_refusal(Lazy(a=threading.Lock())) == "['a']"


class Inner:
    def __init__(self, content: object) -> None:
        self.content = content

    def __cachekit_hash__(self) -> object:
        return digest(self.content)


def test_the_path_through_a_digest_in_a_digest_is_right() -> None:
    value = [None, Inner([0, threading.Lock()])]

    assert path_of_refusal(value).startswith("[1]")


def test_a_digest_far_up_the_stack_needs_few_frames() -> None:
    value: Any = [1]
    for _ in range(90):
        value = [value]
    frames = sys.getrecursionlimit() - 250

    def far_up(steps: int) -> str:
        return digest(value) if steps == 0 else far_up(steps - 1)

    here = sum(1 for _ in iterate_frames())
    assert far_up(frames - here) == digest(value)


def iterate_frames() -> Iterator[types.FrameType]:
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def test_one_long_strided_row_is_hashed_in_little_memory() -> None:
    row = np.zeros((1, 4_000_000))[:, ::2]
    digest(row[:, :10])
    tracemalloc.start()

    digest(row)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < row.nbytes / 4


# --- attacks that held ------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: int
    b: int


@attrs.define
class Defined:
    a: int

    @functools.cached_property
    def costly(self) -> int:
        return 42


class Base:
    __slots__ = ("__x", "a")

    def __init__(self, x: int) -> None:
        self.__x = x


class Derived(Base):
    __slots__ = ("__x", "b")

    def __init__(self, below: int, above: int) -> None:
        super().__init__(below)
        self.__x = above


class Flags(enum.Flag):
    A = 1
    B = 2
    C = 4


class Word(str):
    pass


def slotted(**attributes: int | None) -> Base:
    value = Base.__new__(Base)
    for name, content in attributes.items():
        setattr(value, name, content)
    return value


def noted(error: Exception, *notes: str) -> Exception:
    for note in notes:
        error.add_note(note)
    return error


DIFFERENT: dict[str, Values] = {
    "private slots of a class and its base": lambda: [
        Derived(1, 2),
        Derived(2, 1),
        Derived(1, 1),
    ],
    "slots that are empty": lambda: [slotted(), slotted(a=None), slotted(a=1)],
    "frozen dataclasses": lambda: [Frozen(1, 2), Frozen(2, 1)],
    "keys that are equal": lambda: [
        *({key: 0} for key in (1, True, 1.0, "1", b"1", 0, False, 0.0, -0.0, "a")),
        {Word("a"): 0},
    ],
    "flags": lambda: [Flags.A, Flags.B, Flags.A | Flags.B, Flags(0), Flags(7)],
    "bounded queues": lambda: [
        collections.deque([1]),
        collections.deque([1], 3),
        collections.deque([1], 4),
        [1],
    ],
    "compact arrays": lambda: [array.array(kind, [1]) for kind in "bBhHiIlLqQfd"],
    "the fold of a time": lambda: [
        kind.replace(fold=fold)
        for kind in (datetime.datetime(2020, 1, 1), datetime.time(1))
        for fold in (0, 1)
    ],
    "time zones": lambda: [
        zoneinfo.ZoneInfo("Europe/Paris"),
        zoneinfo.ZoneInfo("Europe/Berlin"),
    ],
    "decimals": lambda: [
        decimal.Decimal(text) for text in ("1.0", "1.00", "0", "-0", "nan", "snan")
    ],
    "identifiers": lambda: [uuid.UUID(int=1), uuid.UUID(int=2), 1],
    "addresses": lambda: [
        ipaddress.ip_address("1.1.1.1"),
        ipaddress.ip_network("1.1.1.1/32"),
        ipaddress.ip_interface("1.1.1.1/24"),
        ipaddress.ip_address("::1"),
        ipaddress.ip_address("::1%a"),
    ],
    "layered dicts": lambda: [
        collections.ChainMap({"a": 1}, {"b": 2}),
        collections.ChainMap({"b": 2}, {"a": 1}),
        collections.ChainMap({"a": 1, "b": 2}),
        collections.UserDict(a=1, b=2),
        types.SimpleNamespace(a=1, b=2),
        {"a": 1, "b": 2},
    ],
    "notes of exceptions": lambda: [
        ValueError("a"),
        noted(ValueError("a"), "b"),
        noted(ValueError("a"), "c"),
        OSError(2, "a", "f"),
        OSError(2, "a", "g"),
        ExceptionGroup("a", [ValueError("a")]),
        ExceptionGroup("a", [KeyError("a")]),
    ],
    "operators": lambda: [
        operator.itemgetter(1),
        operator.itemgetter("1"),
        operator.itemgetter(1, 2),
        operator.attrgetter("a"),
        operator.attrgetter("a.b"),
        operator.methodcaller("a"),
        operator.methodcaller("a", b=1),
        operator.methodcaller("a", b=2),
    ],
    "memory of dtypes": lambda: [
        np.dtype(kind) for kind in ("V4", "V8", "S4", "U1", "(2,3)i4", "(3,2)i4", "6i4")
    ],
    "text of numpy": lambda: [
        np.array(["a"], np.dtypes.StringDType(**options))
        for options in ({}, {"na_object": None}, {"na_object": np.nan})
    ],
    "nested object arrays": lambda: [
        np.array([np.array([1, 2]), np.array([last])], dtype=object) for last in (3, 4)
    ],
    "fill values": lambda: [masked(), masked(fill_value=5)],
    "extension arrays": lambda: [
        pd.Series([1, 2], dtype=kind)
        for kind in ("int64", "Int64", "Int32", "Float64", "object", "int64[pyarrow]")
    ],
    "text of pandas": lambda: [
        *(pd.Series(["a", "b"], dtype=kind) for kind in ("str", "string", "object")),
        pd.Series(["a", "b"], dtype=pd.ArrowDtype(pa.string())),
        pd.Series(["a", "b"], dtype=pd.StringDtype("python", na_value=np.nan)),
    ],
    "missing text": lambda: [
        *(pd.Series(["a", last], dtype="str") for last in (None, "", "nan", "None")),
        *(pd.Series(["a", last], dtype=object) for last in (None, np.nan, pd.NA)),
    ],
    "intervals": lambda: [
        pd.interval_range(0, 2),
        pd.interval_range(0, 2, closed="left"),
        pd.interval_range(0.0, 2.0),
    ],
    "sparse columns": lambda: [
        pd.Series([0, 1], dtype=pd.SparseDtype("int64", fill)) for fill in (0, 1)
    ],
    "names of columns": lambda: [
        pd.DataFrame([[1, 2]], columns=columns)
        for columns in (
            ["a", "b"],
            ["a", "a"],
            pd.Index(["a", "b"], name="c"),
            pd.MultiIndex.from_tuples([("a", 1), ("b", 1)]),
            pd.MultiIndex.from_tuples([("a", 1), ("b", 1)], names=["c", None]),
            [("a", 1), ("b", 1)],
        )
    ],
    "duplicate columns": lambda: [
        pd.DataFrame([row], columns=["a", "a"]) for row in ([1, 2], [2, 1])
    ],
    "moments of pandas": lambda: [
        pd.Timestamp("2020"),
        pd.Timestamp("2020", tz="UTC"),
        pd.Timestamp("2020").as_unit("s"),
        pd.Timestamp("2020") + pd.Timedelta(1, "ns"),
        datetime.datetime(2020, 1, 1),
        pd.NaT,
    ],
    "empty frames": lambda: [
        pd.DataFrame(),
        pd.DataFrame(columns=["a"]),
        pd.DataFrame(index=[1]),
    ],
    "decimals of polars": lambda: [
        pl.Series([decimal.Decimal(text)], dtype=pl.Decimal(38, 20))
        for text in ("0.10000000000000000001", "0.10000000000000000002")
    ],
    "categories of polars": lambda: [
        pl.Series(["a", "b"], dtype=pl.Categorical),
        pl.Series(["a", "b"], dtype=pl.String),
        pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])),
        pl.Series(["a", "b"], dtype=pl.Enum(["b", "a"])),
    ],
    "nested columns of polars": lambda: [
        pl.Series([[1], [2]], dtype=pl.List(pl.Int64)),
        pl.Series([[1], [2]], dtype=pl.List(pl.Int32)),
        pl.Series([[1], [2]], dtype=pl.Array(pl.Int64, 1)),
        pl.Series([[1, 2], []], dtype=pl.List(pl.Int64)),
        pl.Series([[1, 2], None], dtype=pl.List(pl.Int64)),
        pl.Series([{"a": 1}]),
        pl.Series([{"b": 1}]),
    ],
    "plans of polars": lambda: [
        pl.LazyFrame({"a": [1]}),
        pl.LazyFrame({"a": [2]}),
        pl.LazyFrame({"a": [1]}).filter(pl.col("a") > 0),
        pl.col("a"),
        pl.col("b"),
    ],
    "nested types of arrow": lambda: [
        pa.array([[1]]),
        pa.array([[1]], pa.large_list(pa.int64())),
        pa.array([[1]], pa.list_(pa.int64(), 1)),
        pa.array(["a"]).dictionary_encode(),
        pa.array(["a"]),
        pa.array(["a"], pa.large_string()),
        pa.array(["a"], pa.string_view()),
        pa.array([b"a"]),
    ],
    "text of arrow": lambda: [
        pa.array(["ab", "c"]),
        pa.array(["a", "bc"]),
        pa.array(["a", None]),
        pa.array([None, "a"]),
        pa.array(["a", ""]),
    ],
    "entries of a sparse matrix that are zero": lambda: [
        scipy.sparse.csr_array(([1.0, 0.0], ([0, 1], [0, 1])), shape=(2, 2)),
        scipy.sparse.csr_array(([1.0], ([0], [0])), shape=(2, 2)),
    ],
}

EQUAL: dict[str, Values] = {
    "frozen dataclasses": lambda: [
        value := Frozen(1, 2),
        copy.deepcopy(value),
        *(pickle.loads(pickle.dumps(value, protocol)) for protocol in range(2, 6)),
    ],
    "attrs with a cached property": lambda: [
        Defined(1),
        after(Defined(1), lambda value: value.costly),
        pickle.loads(pickle.dumps(Defined(1))),
    ],
    "integers by any name": lambda: [
        np.array([1], dtype=kind) for kind in (np.intp, np.int64, "=i8", np.longlong)
    ],
    "strides of nothing": lambda: [np.zeros((0, 3)), np.zeros((3, 0)).T],
    "one number many times": lambda: [np.broadcast_to(1.0, (3, 4)), np.ones((3, 4))],
    "axes in another order": lambda: [
        view := np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        view.copy(),
    ],
    "levels that are not used": lambda: [
        index := pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])[:1],
        index.remove_unused_levels(),
    ],
    "blocks in either order": lambda: [
        pd.DataFrame(np.arange(12.0).reshape(4, 3)),
        pd.DataFrame(np.asfortranarray(np.arange(12.0).reshape(4, 3))),
    ],
    "rows of text": lambda: [
        pd.DataFrame({"a": ["x", None, "y"]}, index=[1, 2, 3]).iloc[1:],
        pd.DataFrame({"a": [None, "y"]}, index=[2, 3], dtype="str"),
    ],
    "empty text of arrow": lambda: [
        pa.array(["a", "", ""])[1:],
        pa.array(["", ""]),
    ],
    "filtered text of arrow": lambda: [
        pa.array(["a", "b", None]).filter(pa.array([True, False, True])),
        pa.array(["a", None]),
    ],
    "codes of a dictionary": lambda: [
        pa.DictionaryArray.from_arrays([0, 1], ["a", "b"]),
        pa.DictionaryArray.from_arrays([1, 0], ["b", "a"]),
    ],
    "plans of polars": lambda: [
        pl.LazyFrame({"a": [1]}),
        pl.DataFrame({"a": [0, 1]}).slice(1).lazy(),
    ],
}


@pytest.mark.parametrize("values", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_different_values_are_told_apart(values: Values) -> None:
    digests = [digest(value) for value in values()]

    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("values", EQUAL.values(), ids=EQUAL.keys())
def test_equal_values_share_a_digest(values: Values) -> None:
    assert share_a_digest(values())


def test_a_frame_of_every_kind_survives_every_protocol() -> None:
    frame = pd.DataFrame(
        {
            "text": ["x", None],
            "category": pd.Categorical(["u", "v"]),
            "moment": pd.date_range("2020", periods=2, tz="Europe/Paris"),
            "nullable": pd.array([1, None], dtype="Int64"),
            "objects": [{"a": 1}, [1]],
            "interval": pd.interval_range(0, 2),
            "period": pd.period_range("2020", periods=2, freq="M"),
        }
    )

    copies = [pickle.loads(pickle.dumps(frame, protocol)) for protocol in range(1, 6)]

    assert share_a_digest([frame, copy.deepcopy(frame), frame.iloc[:], *copies])


def test_memory_is_free_again_after_a_digest() -> None:
    content = bytearray(b"abc")

    digest([content, memoryview(b"abc")])
    content.append(1)  # BufferError while somebody looks at it

    assert content == b"abc\x01"


def test_threads_that_hash_one_object_agree() -> None:
    value = {i: [Plain(x=i, y={(i, str(j)) for j in range(40)})] for i in range(50)}
    expected, found = digest(value), []

    threads = [
        threading.Thread(target=lambda: found.append(digest(value))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [expected] * 8


def test_a_digest_in_a_digest_is_allowed() -> None:
    value = Inner([Inner(1), Inner({"a": Inner(2)})])

    assert digest(value) == digest(copy.deepcopy(value))


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_uncoalesced_tensors_stay_so() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.sparse_coo_tensor([[1, 1]], [1.0, 2.0], (3,))

    assert digest(tensor) == digest(torch.sparse_coo_tensor([[1]], [3.0], (3,)))
    assert not tensor.is_coalesced()


def test_modes_and_buffers_of_a_model_count_and_gradients_do_not() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.BatchNorm1d(2)
    before = digest(model)

    evaluated = copy.deepcopy(model).eval()
    run = copy.deepcopy(model)
    run(torch.ones(2, 2)).sum().backward()

    assert digest(evaluated) != before
    assert digest(run) != before  # its running mean
    run.load_state_dict(model.state_dict())
    assert digest(run) == before


def test_large_values_have_one_digest_in_another_process() -> None:
    program = (
        "from cachekit.hashing import digest\n"
        "print(digest([[*range(n)] for n in (1, 999, 1000, 1001, 2001, 65537)]"
        "+ ['a' * n for n in (255, 256, 65535, 65536, 200_000)]"
        "+ [b'b' * 70_000, {(str(i), i) for i in range(500)}]))"
    )
    seeds = ("0", "1")

    answers = {
        subprocess.check_output(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )
        for seed in seeds
    }

    assert len(answers) == 1


def test_random_generators_copied_share_a_digest() -> None:
    for generator in (random.Random(1), np.random.default_rng(1)):
        assert digest(generator) == digest(copy.deepcopy(generator))


def test_a_users_error_is_raised_once_and_as_it_is() -> None:
    calls = []

    class Told:
        def __init__(self, error: Exception | None) -> None:
            self.error = error

        def __cachekit_hash__(self) -> object:
            calls.append(self)
            if self.error is not None:
                raise self.error
            return {[]: 1}

    for error in (KeyError("mine"), RuntimeError("changed size")):
        calls.clear()
        with pytest.raises(type(error)) as caught:
            digest([Told(error)])
        assert caught.value is error
        assert len(calls) == 1
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        digest([Told(None)])


def test_a_told_ordered_dict_with_a_lock_is_refused_with_a_path() -> None:
    class Told(collections.OrderedDict[str, int]):
        def __cachekit_hash__(self) -> object:
            return [1, 2, [3, threading.Lock()]]

    assert path_of_refusal([Told(a=1)]).startswith("[0]")


class Point:
    def __init__(self, x: object) -> None:
        self.x = x


def with_itself(*others: object) -> list[object]:
    value: list[object] = [*others]
    value.append(value)
    return value


CYCLES_WITH = {
    "a set of objects": lambda: {Point(1), Point(2)},
    "objects under keys of two types": lambda: {1: Point(1), "a": Point(2)},
    "small dicts under keys of two types": lambda: {1: {"k": 1}, "a": {"k": 2}},
    "objects as keys": lambda: {Point(1): 1, Point(2): 1},
    "tuples of tuples as keys": lambda: {(1, (2,)): 3, "a": 4},
}


@pytest.mark.parametrize("make", CYCLES_WITH.values(), ids=CYCLES_WITH.keys())
def test_what_lies_in_a_value_that_contains_itself_is_hashed(
    make: Callable[[], Any],
) -> None:
    assert share_a_digest([with_itself(make()), with_itself(make())])
    assert are_told_apart([with_itself(make()), with_itself({1: 2})])


def test_a_ring_has_one_digest_wherever_it_is_entered() -> None:
    bits = random.Random(1).choices([0, 1], k=200)

    def ring(bits: list[int]) -> list[Any]:
        nodes: list[Any] = [[bit, None] for bit in bits]
        for place, node in enumerate(nodes):
            node[1] = nodes[(place + 1) % len(nodes)]
        return nodes

    for nodes in (ring(bits), ring(bits[:100] * 2), ring([0] * 200)):
        a, b = nodes[0], nodes[50]
        assert share_a_digest([{"a": a, "b": b}, {"b": b, "a": a}])
    assert are_told_apart([ring(bits)[0], ring([*bits[:150], *bits[151:], 0])[0]])


@attrs.define(slots=False, unsafe_hash=True, cache_hash=True)
class WithHash:
    x: int


def test_the_attribute_in_which_attrs_keeps_a_hash_may_be_missing() -> None:
    bare, hashed = WithHash.__new__(WithHash), WithHash(1)
    bare.x = 1
    assert hash(hashed)

    assert share_a_digest([[WithHash(1)], [hashed], [bare]])


def test_a_name_that_a_library_binds_again_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = digest(scipy.stats.norm)
    another = type(scipy.stats.norm)(name="norm")
    monkeypatch.setattr(sys.modules[type(another).__module__], "norm", another)

    assert digest(another) == before
