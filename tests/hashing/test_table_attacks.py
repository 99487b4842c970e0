"""Attacks on the digests of tables: nested types, rare layouts, and crashes.

Arrow arrays are built from plain Python values in layouts drawn at random, which
must not count: see `arrow_of`.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from cachekit.errors import UnhashableArgument
from cachekit.hashing import digest

Values = Callable[[], list[Any]]


def are_told_apart(values: list[Any]) -> bool:
    return len({digest(value) for value in values}) == len(values)


def share_a_digest(values: list[Any]) -> bool:
    return len({digest(value) for value in values}) == 1


# --- pandas ---


def test_intervals_count_by_their_bounds_not_by_the_index_that_holds_them() -> None:
    ranged = pd.arrays.IntervalArray.from_breaks(pd.RangeIndex(4))
    listed = pd.arrays.IntervalArray.from_breaks([0, 1, 2, 3])
    other = pd.arrays.IntervalArray.from_breaks([0, 1, 2, 4])

    wraps: list[Callable[[Any], object]] = [
        lambda array: array,
        pd.Index,
        pd.Series,
        lambda array: pd.DataFrame({"a": array}),
    ]
    for wrap in wraps:
        assert share_a_digest([wrap(ranged), wrap(listed)])
        assert are_told_apart([wrap(listed), wrap(other)])


def test_pandas_columns_of_nested_arrow_types_keep_their_nanoseconds() -> None:
    kind = pd.ArrowDtype(pa.map_(pa.string(), pa.time64("ns")))

    assert are_told_apart(
        [pd.Series([[("a", nanoseconds)]], dtype=kind) for nanoseconds in (1, 2)]
    )


# --- polars ---

NANOSECONDS = [pl.Datetime("ns"), pl.Duration("ns"), pl.Time()]
BESIDE_THEM = {
    "Categorical": pl.Series("c", ["a"], pl.Categorical),
    "Enum": pl.Series("c", ["a"], pl.Enum(["a"])),
    "a field named so": pl.Series("Enum", [1]),
    "a list": pl.Series("c", [["a"]], pl.List(pl.Categorical)),
}


@pytest.mark.parametrize("beside", BESIDE_THEM.values(), ids=BESIDE_THEM)
@pytest.mark.parametrize("kind", NANOSECONDS, ids=str)
def test_structs_of_polars_keep_their_nanoseconds(
    beside: pl.Series, kind: pl.DataType
) -> None:
    structs = [
        pl.DataFrame([beside, pl.Series("t", [time]).cast(kind)]).to_struct("s")
        for time in (1, 2)
    ]

    assert are_told_apart(structs)
    assert are_told_apart([struct.implode() for struct in structs])
    assert are_told_apart([struct.reshape((1, 1)) for struct in structs])
    assert are_told_apart([struct.to_frame().to_struct("o") for struct in structs])


NO_WIDTH_OF_POLARS: dict[str, tuple[Any, pl.DataType]] = {
    "array": ([], pl.Array(pl.Int64, 0)),
    "array of arrays": ([[], []], pl.Array(pl.Int64, (2, 0))),
    "struct": ({}, pl.Struct({})),
    "list of structs": ([{}], pl.List(pl.Struct({}))),
    "struct of an array": ({"a": []}, pl.Struct({"a": pl.Array(pl.Int64, 0)})),
}


@pytest.mark.parametrize(
    ("value", "kind"), NO_WIDTH_OF_POLARS.values(), ids=NO_WIDTH_OF_POLARS
)
def test_series_without_width_have_a_length(value: Any, kind: pl.DataType) -> None:
    contents = [[], [value], [value, value], [value, None], [None, value], [None]]

    assert are_told_apart([pl.Series("a", content, kind) for content in contents])


IN_A_STRUCT: list[list[Any]] = [
    [{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}],
    [{"a": 1, "b": ["x"]}, {"a": None, "b": None}, None],
    [{"a": 1, "b": ["x"]}, {"a": None, "b": None}, {"a": None, "b": None}],
    [{"a": 1, "b": ["x"]}, None, {"a": None, "b": [None]}],
    [{"a": 1, "b": ["x"]}, None, {"a": None, "b": []}],
    [{"a": 1, "b": ["y"]}, None, {"a": None, "b": None}],
    [{"a": 2, "b": ["x"]}, None, {"a": None, "b": None}],
]
WITH_STRUCTS: list[pl.DataType] = [
    pl.Struct({"a": pl.Int64, "b": pl.List(pl.Categorical)}),
    pl.Struct({"a": pl.Time, "b": pl.List(pl.Enum(["x", "y"]))}),
    pl.Struct({"a": pl.Decimal(10, 2), "b": pl.List(pl.String)}),
]


@pytest.mark.parametrize("kind", WITH_STRUCTS, ids=str)
@pytest.mark.parametrize("nested", ["flat", "list", "array"])
def test_structs_of_polars_count_by_content(kind: pl.DataType, nested: str) -> None:
    def made(values: list[Any]) -> pl.Series:
        if nested == "list":
            return pl.Series("s", [values[:1], None, values[1:], []], pl.List(kind))
        if nested == "array":
            return pl.Series("s", [values, None], pl.Array(kind, 3))
        return pl.Series("s", values, kind)

    whole = [made(values) for values in IN_A_STRUCT]

    assert are_told_apart(whole)
    for first, second in itertools.pairwise(whole):
        size = len(first)
        both = pl.concat([first, second], rechunk=False)
        assert share_a_digest([both, both.rechunk()])
        assert share_a_digest([both[:size], first])
        assert share_a_digest([both[size:], second])


def test_what_lies_under_a_null_struct_of_polars_is_no_content() -> None:
    frame = pl.DataFrame({"a": [1, 2], "shown": [True, False]})
    hidden = frame.select(pl.when("shown").then(pl.struct("a")).alias("s"))["s"]

    assert share_a_digest([hidden, pl.Series("s", [{"a": 1}, None], hidden.dtype)])


@pytest.mark.skipif(not hasattr(pl, "BaseExtension"), reason="polars is too old")
def test_extensions_of_polars_count_by_name_and_content() -> None:
    numbers = [pl.Series("a", [1, None]), pl.Series("a", [2, None])]

    assert are_told_apart(
        [
            series.ext.to(pl.Extension("cachekit.test", pl.Int64, metadata))
            for series in numbers
            for metadata in ("x", "y")
        ]
    )


# --- pyarrow, by hand ---


def a_map(nanoseconds: int, kind: pa.DataType) -> pa.Array:
    return pa.array([[("a", nanoseconds)]], pa.map_(pa.string(), kind))


def a_map_of_keys(nanoseconds: int, kind: pa.DataType) -> pa.Array:
    return pa.array([[(nanoseconds, "a")]], pa.map_(kind, pa.string()))


def a_list_view(nanoseconds: int, kind: pa.DataType) -> pa.Array:
    return pa.array([[nanoseconds]], pa.list_view(kind))


def a_large_list_view(nanoseconds: int, kind: pa.DataType) -> pa.Array:
    return pa.array([[nanoseconds]], pa.large_list_view(kind))


def a_run(nanoseconds: int, kind: pa.DataType) -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays([2], pa.array([nanoseconds], kind))


@pytest.mark.parametrize(
    "made", [a_map, a_map_of_keys, a_list_view, a_large_list_view, a_run]
)
@pytest.mark.parametrize(
    "kind", [pa.time64("ns"), pa.timestamp("ns"), pa.duration("ns")], ids=str
)
def test_rare_types_of_arrow_keep_their_nanoseconds(
    made: Callable[[int, pa.DataType], pa.Array], kind: pa.DataType
) -> None:
    arrays = [made(1, kind), made(2, kind)]

    assert are_told_apart(arrays)
    assert are_told_apart([pa.table({"a": array}) for array in arrays])


NO_WIDTH: dict[str, Callable[[int], pa.Array]] = {
    "lists": lambda n: pa.array([[]] * n, pa.list_(pa.int64(), 0)),
    "structs": lambda n: pa.array([{}] * n, pa.struct([])),
    "structs of lists": lambda n: pa.array(
        [{"a": []}] * n, pa.struct([("a", pa.list_(pa.int64(), 0))])
    ),
    "lists of structs": lambda n: pa.array([[{}] * n], pa.list_(pa.struct([]))),
    "runs": lambda n: pa.RunEndEncodedArray.from_arrays(
        pa.array([n][:n], pa.int32()), pa.array([{}][:n], pa.struct([]))
    ),
}


@pytest.mark.parametrize("made", NO_WIDTH.values(), ids=NO_WIDTH)
def test_arrays_without_width_have_a_length(made: Callable[[int], pa.Array]) -> None:
    arrays = [made(size) for size in range(4)]

    assert are_told_apart(arrays)
    assert are_told_apart([pa.chunked_array([array]) for array in arrays])


def dense(codes: list[int], places: list[int], *fields: list[Any]) -> pa.Array:
    return pa.UnionArray.from_dense(
        pa.array(codes, pa.int8()),
        pa.array(places, pa.int32()),
        [*map(pa.array, fields)],
    )


def sparse(codes: list[int], *fields: list[Any]) -> pa.Array:
    return pa.UnionArray.from_sparse(
        pa.array(codes, pa.int8()), [*map(pa.array, fields)]
    )


SAME_UNIONS: dict[str, Values] = {
    "order in a dense field": lambda: [
        dense([0, 0, 1], [0, 1, 0], [1, 2], ["a"]),
        dense([0, 0, 1], [1, 0, 2], [2, 1, 9], ["x", "y", "a"]),
    ],
    "a slice of a dense union": lambda: [
        dense([0, 1, 0, 1], [0, 0, 1, 1], [1, 2], ["a", "b"])[1:],
        dense([1, 0, 1], [0, 0, 1], [2], ["a", "b"]),
    ],
    "what a sparse union does not use": lambda: [
        sparse([0, 1], [1, 7], ["x", "a"]),
        sparse([0, 1], [1, 8], ["y", "a"]),
    ],
    "a slice of a sparse union": lambda: [
        sparse([0, 1, 0], [1, 2, 3], ["a", "b", "c"])[1:],
        sparse([1, 0], [2, 3], ["b", "c"]),
    ],
}
OTHER_UNIONS: dict[str, Values] = {
    "offsets": lambda: [
        dense([0, 0], places, [1, 2]) for places in ([0, 1], [1, 0], [0, 0])
    ],
    "codes of a slice": lambda: [
        sparse([0, 1, 0], [1, 1, 1], [1, 1, 1])[:2],
        sparse([0, 1, 0], [1, 1, 1], [1, 1, 1])[1:],
    ],
    "kinds": lambda: [sparse([0], [1]), dense([0], [0], [1])],
}


@pytest.mark.parametrize("values", SAME_UNIONS.values(), ids=SAME_UNIONS)
def test_unions_share_a_digest_whatever_their_layout(values: Values) -> None:
    assert share_a_digest(values())


@pytest.mark.parametrize("values", OTHER_UNIONS.values(), ids=OTHER_UNIONS)
def test_unions_are_told_apart_by_content(values: Values) -> None:
    assert are_told_apart(values())


def test_a_union_under_a_null_does_not_end_the_process() -> None:
    program = """if True:
        import pyarrow as pa
        from cachekit.hashing import digest
        codes = pa.array([0, 0], pa.int8())
        union = pa.UnionArray.from_sparse(codes, [pa.array([1, 2])])
        mask = pa.array([True, False])
        digest(pa.StructArray.from_arrays([union], ["a"], mask=mask))
    """

    result = subprocess.run([sys.executable, "-c", program], capture_output=True)

    assert result.returncode == 0, result.stderr.decode()[-2000:]


OWN_TYPES = [
    pa.uuid(),
    pa.json_(),
    pa.bool8(),
    pa.opaque(pa.int8(), "a", "vendor"),
    pa.opaque(pa.int8(), "b", "vendor"),
    pa.fixed_shape_tensor(pa.int8(), [2, 3]),
    pa.fixed_shape_tensor(pa.int8(), [3, 2]),
    pa.fixed_shape_tensor(pa.int8(), [2, 3], dim_names=["a", "b"]),
    pa.fixed_shape_tensor(pa.int8(), [2, 3], permutation=[1, 0]),
]


def test_extension_types_of_arrow_itself_are_told_apart() -> None:
    assert are_told_apart(OWN_TYPES)
    assert are_told_apart([pa.dictionary(pa.int8(), kind) for kind in OWN_TYPES])
    assert are_told_apart([pa.schema([("a", kind)]) for kind in OWN_TYPES])


def test_what_arrow_cannot_do_is_refused_by_name() -> None:
    """As to pick through nulls from a dictionary with views deep inside."""
    views = pa.array([{"a": "x"}, None], pa.struct([("a", pa.string_view())]))
    array = pa.DictionaryArray.from_arrays(pa.array([0, None, 1]), views)

    with pytest.raises(
        UnhashableArgument, match=r"DictionaryArray .*string_view"
    ) as no:
        digest([0, {"table": array}])

    assert no.value.path == "[1]['table']"


@pytest.mark.slow
def test_chunks_of_more_text_than_32_bits_address_have_a_digest() -> None:
    chunk = pa.array(["x" * (1 << 20)] * 1024)

    assert digest(pa.chunked_array([chunk, chunk, chunk]))


# --- pyarrow, at random ---

NUMBERS = {pa.int64(), pa.timestamp("ns"), pa.duration("ns"), pa.time64("ns")}
TEXTS = {pa.string(), pa.large_string(), pa.string_view(), pa.binary_view()}


def drawn(kind: pa.DataType, random_: random.Random) -> Any:
    """Draw a value of a type: tuples for structs, (field, value) for unions."""
    if pa.types.is_union(kind):
        place = random_.randrange(kind.num_fields)
        return (place, drawn(kind.field(place).type, random_))
    is_null = kind == pa.null() or random_.random() < 0.25
    return None if is_null else drawn_present(kind, random_)


def drawn_present(kind: pa.DataType, random_: random.Random) -> Any:
    if pa.types.is_union(kind):
        return drawn(kind, random_)
    if isinstance(kind, pa.BaseExtensionType):
        return drawn_present(kind.storage_type, random_)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return drawn_present(kind.value_type, random_)
    if pa.types.is_struct(kind):
        return tuple(drawn(field.type, random_) for field in kind)
    if pa.types.is_map(kind):
        return [
            (drawn_present(kind.key_type, random_), drawn(kind.item_type, random_))
            for _ in range(random_.randrange(3))
        ]
    if pa.types.is_fixed_size_list(kind):
        return [drawn(kind.value_type, random_) for _ in range(kind.list_size)]
    if pa.types.is_nested(kind):
        return [drawn(kind.value_type, random_) for _ in range(random_.randrange(4))]
    return random_.randrange(2 if kind == pa.bool_() else 4)


def arrow_of(values: list[Any], kind: pa.DataType, random_: random.Random) -> pa.Array:
    """Build an array in a layout drawn at random: a piece of a longer one."""
    before, after = random_.choices([0, 1, 9], k=2)
    around = [[drawn(kind, random_) for _ in range(size)] for size in (before, after)]
    whole = laid_out([*around[0], *values, *around[1]], kind, random_)
    return whole[before : before + len(values)]


def laid_out(values: list[Any], kind: pa.DataType, random_: random.Random) -> pa.Array:
    if pa.types.is_union(kind):
        return union_of(values, kind, random_)
    if isinstance(kind, pa.BaseExtensionType):
        storage = arrow_of(values, kind.storage_type, random_)
        return pa.ExtensionArray.from_storage(kind, storage)
    if pa.types.is_dictionary(kind):
        return dictionary_of(values, kind, random_)
    if pa.types.is_run_end_encoded(kind):
        return runs_of(values, kind, random_)
    if not pa.types.is_nested(kind):
        return flat_of(values, kind)
    mask = pa.array([value is None for value in values], pa.bool_())
    filled = [drawn_present(kind, random_) if v is None else v for v in values]
    if pa.types.is_struct(kind):
        columns = [
            arrow_of([value[place] for value in filled], field.type, random_)
            for place, field in enumerate(kind)
        ]
        return pa.StructArray.from_arrays(columns, fields=[*kind], mask=mask)
    return lists_of(filled, mask, kind, random_)


def flat_of(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind in TEXTS:
        texts = [None if v is None else "long enough to lie apart" * v for v in values]
        return pa.array(texts).cast(kind)
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([None if v is None else bytes([v]) * 16 for v in values], kind)
    if kind == pa.null():
        return pa.nulls(len(values))
    if kind in NUMBERS:
        return pa.array(values, pa.int64()).view(kind)
    return pa.array(values, pa.int64()).cast(kind)


def lists_of(
    lists: list[Any], mask: pa.Array, kind: pa.DataType, random_: random.Random
) -> pa.Array:
    ends = [0, *itertools.accumulate(map(len, lists))]
    items = [*itertools.chain.from_iterable(lists)]
    if pa.types.is_map(kind):
        keys = arrow_of([key for key, _ in items], kind.key_type, random_)
        held = arrow_of([item for _, item in items], kind.item_type, random_)
        return pa.MapArray.from_arrays(
            pa.array(ends, pa.int32()), keys, held, mask=mask
        )
    if kind == pa.list_(kind.value_type, 0):  # `from_arrays` would divide by it
        return pa.array([None if hide.as_py() else [] for hide in mask], kind)
    child = arrow_of(items, kind.value_type, random_)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(child, type=kind, mask=mask)
    if pa.types.is_list_view(kind):
        order = random_.sample(range(len(lists)), len(lists))
        places = np.argsort(order)
        lengths = [*map(len, lists)]
        starts = np.cumsum([0, *[lengths[place] for place in order]])[:-1][places]
        shuffled = [item for place in order for item in lists[place]]
        return pa.ListViewArray.from_arrays(
            pa.array(starts, pa.int32()),
            pa.array(lengths, pa.int32()),
            arrow_of(shuffled, kind.value_type, random_),
            type=kind,
            mask=mask,
        )
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), child, type=kind, mask=mask
    )


def union_of(values: list[Any], kind: pa.DataType, random_: random.Random) -> pa.Array:
    codes = pa.array([kind.type_codes[place] for place, _ in values], pa.int8())
    kinds = [kind.field(place).type for place in range(kind.num_fields)]
    about = ([kind.field(place).name for place in range(len(kinds))], kind.type_codes)
    if kind.mode == "sparse":
        fields = [
            [v if at == place else drawn(inner, random_) for at, v in values]
            for place, inner in enumerate(kinds)
        ]
        arrays = [
            arrow_of(*field, random_) for field in zip(fields, kinds, strict=True)
        ]
        return pa.UnionArray.from_sparse(codes, arrays, *about)
    fields = [[drawn(inner, random_)] for inner in kinds]
    offsets = [0] * len(values)
    for row in random_.sample(range(len(values)), len(values)):
        place, value = values[row]
        offsets[row] = len(fields[place])
        fields[place].append(value)
    arrays = [arrow_of(*field, random_) for field in zip(fields, kinds, strict=True)]
    return pa.UnionArray.from_dense(
        codes, pa.array(offsets, pa.int32()), arrays, *about
    )


def dictionary_of(
    values: list[Any], kind: pa.DataType, random_: random.Random
) -> pa.Array:
    entries = [v for v in values if v is not None]
    entries += [drawn_present(kind.value_type, random_)]
    random_.shuffle(entries)
    indices = [None if v is None else entries.index(v) for v in values]
    held = arrow_of(entries, kind.value_type, random_)
    return pa.DictionaryArray.from_arrays(pa.array(indices, kind.index_type), held)


def runs_of(values: list[Any], kind: pa.DataType, random_: random.Random) -> pa.Array:
    ends = [
        end
        for end in range(1, len(values) + 1)
        if end == len(values)
        or values[end] != values[end - 1]
        or random_.random() < 0.5
    ]
    held = arrow_of([values[end - 1] for end in ends], kind.value_type, random_)
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, kind.run_end_type), held)


INT, TEXT, VIEW = (
    pa.field("i", pa.int64()),
    pa.field("s", pa.string()),
    pa.string_view(),
)
RUNS = pa.run_end_encoded(pa.int32(), pa.timestamp("ns"))
DENSE = pa.dense_union([INT, TEXT], type_codes=[5, 3])
SPARSE = pa.sparse_union([INT, TEXT])

KINDS = [
    pa.int64(),
    pa.bool_(),
    pa.float16(),
    pa.time64("ns"),
    pa.decimal128(30, 2),
    pa.large_string(),
    VIEW,
    pa.binary_view(),
    pa.uuid(),
    pa.bool8(),
    pa.null(),
    DENSE,
    SPARSE,
    RUNS,
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int8(), VIEW),
    pa.run_end_encoded(pa.int16(), VIEW),
    pa.run_end_encoded(pa.int16(), pa.list_(VIEW)),
    pa.list_(pa.list_(pa.int64())),
    pa.list_(VIEW),
    pa.list_(DENSE),
    pa.list_(pa.int64(), 0),
    pa.list_(SPARSE, 2),
    pa.list_(RUNS, 2),
    pa.list_view(pa.list_(VIEW, 1)),
    pa.list_view(pa.duration("ns")),
    pa.map_(pa.string(), pa.int64()),
    pa.map_(pa.string(), pa.map_(pa.int64(), pa.time64("ns"))),
    pa.map_(pa.string(), RUNS),
    pa.struct([]),
    pa.struct([INT, TEXT]),
    pa.struct([INT, INT]),
    pa.struct([("v", VIEW), ("u", pa.uuid())]),
    pa.struct([("d", DENSE), ("s", SPARSE), ("r", RUNS)]),
    pa.struct([("l", pa.list_(pa.struct([("v", VIEW), ("d", DENSE)])))]),
    pa.dense_union([pa.field("r", RUNS), pa.field("v", pa.list_(VIEW))]),
    pa.sparse_union([pa.field("d", DENSE), pa.field("m", pa.struct([INT]))]),
    pa.fixed_shape_tensor(pa.int64(), [1, 2]),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_arrow_arrays_count_by_content_whatever_their_layout(kind: pa.DataType) -> None:
    random_ = random.Random(str(kind))
    seen: dict[str, str] = {}
    for size in [*range(4), *range(4, 40, 3)]:
        values = [drawn(kind, random_) for _ in range(size)]
        first, second = (arrow_of(values, kind, random_) for _ in range(2))

        assert share_a_digest([first, second])
        assert seen.setdefault(digest(first), repr(values)) == repr(values)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_one_value_of_an_arrow_array_counts(kind: pa.DataType) -> None:
    random_ = random.Random(str(kind))
    values = [drawn(kind, random_) for _ in range(12)]
    others = [[*values[:k], drawn(kind, random_), *values[k + 1 :]] for k in range(12)]

    for other in others:
        arrays = [arrow_of(content, kind, random_) for content in (values, other)]
        assert share_a_digest(arrays) == (other == values)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_chunks_of_arrow_do_not_count(kind: pa.DataType) -> None:
    random_ = random.Random(str(kind))
    values = [drawn(kind, random_) for _ in range(12)]
    cuts = [[0, 12], [0, 5, 12], [0, 1, 1, 7, 12]]

    assert share_a_digest(
        [
            pa.chunked_array(
                [
                    arrow_of(values[a:b], kind, random_)
                    for a, b in itertools.pairwise(ends)
                ]
            )
            for ends in cuts
        ]
    )
