"""Arrays, tables and tensors count by what they hold, not by how it lies in memory."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from blake3 import blake3
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from cachekit.hashing import digest, large

Array = np.ndarray[Any, Any]
Values = Callable[[], list[Any]]


class Measured(np.ndarray[Any, Any]):
    unit: str


def measured(unit: str) -> Array:
    array = np.arange(3.0).view(Measured)
    array.unit = unit
    return array


def read_only(array: Array) -> Array:
    array = array.copy()
    array.flags.writeable = False
    return array


def padded(fill: int) -> Array:
    """Make an array of records whose padding bytes are `fill`."""
    dtype = np.dtype([("a", "i1"), ("b", "i8")], align=True)
    memory = np.full(2 * dtype.itemsize, fill, dtype="u1")
    array = memory.view(dtype)
    array["a"], array["b"] = 1, 2
    return array


def masked(values: list[int], mask: list[int], kind: str = "i8") -> Any:
    return np.ma.array(np.array(values, dtype=kind), mask=np.array(mask, dtype=bool))


def grid() -> Array:
    return np.arange(24.0).reshape(4, 6)


def looked_up(frame: pd.DataFrame) -> pd.DataFrame:
    _ = frame.loc[1], frame["a"], frame.index.is_unique, frame.columns.get_loc("b")
    return frame


def fragmented() -> pd.DataFrame:
    frame = pd.DataFrame({"a": [1, 2, 3]})
    frame["b"] = [4, 5, 6]
    return frame


EQUAL: dict[str, Values] = {
    "strided view": lambda: [grid()[:, ::2], grid()[:, ::2].copy()],
    "row slice": lambda: [grid()[1:3], grid()[1:3].copy()],
    "reversed view": lambda: [grid()[::-1], grid()[::-1].copy()],
    "large strided view": lambda: [
        (big := np.arange(600_000.0).reshape(3, -1, 2))[:, :, 0],
        big[:, :, 0].copy(),
    ],
    "one wide row of a strided view": lambda: [
        (big := np.arange(600_000.0).reshape(1, -1, 2))[..., 0],
        big[..., 0].copy(),
    ],
    "read-only": lambda: [grid(), read_only(grid())],
    "column-major views": lambda: [grid().T, np.asfortranarray(grid().T)],
    "NaN": lambda: [np.array([np.nan]), np.array([float("nan")])],
    "padding of records": lambda: [padded(0), padded(255)],
    "what lies under a mask": lambda: [
        masked([1, 2, 3], [0, 1, 0]),
        masked([1, 99, 3], [0, 1, 0]),
    ],
    "a view of text": lambda: [np.array(["a", "b"])[::-1], np.array(["b", "a"])],
    "object arrays": lambda: [
        np.array(["a", [1], None], dtype=object),
        np.array(["a", [1], None], dtype=object),
    ],
    "generators of random numbers": lambda: [
        [np.random.default_rng(1), np.random.RandomState(1)],
        [np.random.default_rng(1), np.random.RandomState(1)],
    ],
    "blocks of a frame": lambda: [
        pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]}),
        fragmented(),
        looked_up(fragmented()),
        pickle.loads(pickle.dumps(looked_up(fragmented()))),
        fragmented().copy(),
    ],
    "a slice of a frame": lambda: [
        pd.DataFrame({"a": [0, 1, 2], "b": ["x", "y", "z"]}, index=[5, 6, 7]).iloc[1:],
        pd.DataFrame({"a": [1, 2], "b": ["y", "z"]}, index=[6, 7]),
    ],
    "masked integers of pandas": lambda: [
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1, 99, 3], dtype="Int64").where(np.array([True, False, True])),
    ],
    "chunks of polars": lambda: [
        pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})], rechunk=False),
        pl.DataFrame({"a": [1, 2]}),
        pl.DataFrame({"a": [0, 1, 2]}).slice(1),
        pickle.loads(pickle.dumps(pl.DataFrame({"a": [1, 2]}))),
    ],
    "nulls of polars": lambda: [
        pl.Series("a", [1, None, 2]),
        pl.Series("a", [0, 1, None, 2]).slice(1),
    ],
    "chunks of pyarrow": lambda: [
        pa.chunked_array([[1, 2], [3]]),
        pa.chunked_array([[1], [2, 3]]),
    ],
    "offsets of pyarrow": lambda: [
        pa.array([0, 1, None, 3])[1:],
        pa.array([1, None, 3]),
    ],
    "text of pyarrow": lambda: [pa.array(["x", "a", "b"])[1:], pa.array(["a", "b"])],
    "chunks of a table": lambda: [
        pa.concat_tables([pa.table({"a": [1]}), pa.table({"a": [2]})]),
        pa.table({"a": [1, 2]}),
    ],
    "estimators": lambda: [LinearRegression(), clone(LinearRegression())],
    "sparse matrices": lambda: [
        scipy.sparse.csr_matrix(np.eye(3)),
        scipy.sparse.csr_matrix(np.eye(3)),
    ],
}

DIFFERENT: dict[str, Values] = {
    "transposed": lambda: [grid(), grid().T, np.asfortranarray(grid())],
    "views of one base": lambda: [grid()[0], grid()[1], grid()[:1], grid()[:, 0]],
    "shapes": lambda: [np.arange(4), np.arange(4).reshape(2, 2), [0, 1, 2, 3]],
    "empty shapes": lambda: [np.zeros((0, 3)), np.zeros((0, 4)), np.zeros(0)],
    "scalars": lambda: [np.array(1.0), np.float64(1), 1.0, np.array([1.0])],
    "number types": lambda: [
        np.arange(3, dtype=kind) for kind in ("<i4", ">i4", "<i8", "<u4", "<f4", "<f8")
    ],
    "scalar types": lambda: [np.int64(1), np.int32(1), np.uint8(1), 1, True, np.True_],
    "times": lambda: [
        np.array([1], dtype="M8[s]"),
        np.array([1], dtype="M8[ms]"),
        np.array([1], dtype="m8[s]"),
    ],
    "record types": lambda: [
        np.zeros(2, dtype=[("a", "i4"), ("b", "i4")]),
        np.zeros(2, dtype=[("b", "i4"), ("a", "i4")]),
        np.zeros(2, dtype=[("a", "i4"), ("c", "i4")]),
        np.zeros(2, dtype=[("a", "i4"), ("b", "f4")]),
    ],
    "records": lambda: [padded(0), padded(0)[:1], padded(0)[::-1]["a"]],
    "object arrays": lambda: [
        np.array(content, dtype=object)
        for content in (["a-b", "c"], ["a", "b-c"], [1, 2], [True, 2], [1.0, 2])
    ],
    "text": lambda: [
        np.array(["a", "b"]),
        np.array([b"a", b"b"]),
        np.array(["a", "b"], dtype="U5"),
        np.array(["a", "b"], dtype=object),
        np.array(["a", "b"], dtype=np.dtypes.StringDType()),
    ],
    "masks": lambda: [
        masked([1, 2, 3], [0, 1, 0]),
        masked([1, 2, 3], [0, 0, 1]),
        np.array([1, 2, 3]),
        masked([1, 2, 3], [0, 1, 0], "u1"),
        masked([1, 2, 3], [0, 0, 1], "u1"),
    ],
    "subclasses": lambda: [
        measured("m"),
        measured("km"),
        np.arange(3.0),
        np.arange(3.0).reshape(1, 3),
    ],
    "dtypes": lambda: [np.dtype("i4"), np.dtype("i8"), "i4", np.int32],
    "generators of random numbers": lambda: [
        np.random.default_rng(1),
        np.random.default_rng(2),
        np.random.RandomState(1),
    ],
    "frames": lambda: [
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}),
        pd.DataFrame({"a": [1, 2], "c": [3, 4]}),
        pd.DataFrame({"b": [3, 4], "a": [1, 2]}),
        pd.DataFrame({"a": [1.0, 2], "b": [3, 4]}),
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=[1, 2]),
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=pd.Index([0, 1], name="i")),
        pd.DataFrame({"a": [1, 2], "b": ["3", "4"]}),
        pd.DataFrame({"a": [1, 2], "b": pd.Series(["3", "4"], dtype=object)}),
    ],
    "series": lambda: [
        pd.Series([1, 2]),
        pd.Series([1, 2], name="a"),
        pd.Series([1, 2], dtype="Int64"),
        pd.Series([1, None], dtype="Int64"),
        pd.Series([1, 2]).to_frame(),
    ],
    "categories": lambda: [
        pd.Categorical(["a", "b"]),
        pd.Categorical(["a", "b"], categories=["b", "a"]),
        pd.Categorical(["a", "b"], ordered=True),
        pd.Categorical(["a", "b"], categories=["a", "b", "c"]),
    ],
    "time zones": lambda: [
        pd.Series(pd.to_datetime(["2020-01-01"])),
        pd.Series(pd.to_datetime(["2020-01-01"]).tz_localize("UTC")),
        pd.Series(pd.to_datetime(["2020-01-01"]).tz_localize("Europe/Paris")),
    ],
    "indexes": lambda: [
        pd.RangeIndex(3),
        pd.RangeIndex(4),
        pd.MultiIndex.from_tuples([(1, "a"), (2, "b")]),
        pd.MultiIndex.from_tuples([(1, "a"), (2, "c")]),
        pd.period_range("2020-01", periods=2, freq="M"),
    ],
    "polars": lambda: [
        pl.DataFrame({"a": [1, 2]}),
        pl.DataFrame({"b": [1, 2]}),
        pl.DataFrame({"a": [1.0, 2.0]}),
        pl.DataFrame({"a": [1, None]}),
        pl.DataFrame({"a": [1, 0]}),
        pl.DataFrame({"a": ["1", "2"]}),
        pl.Series("a", [1, 2]),
        pl.Series("a", ["x"], dtype=pl.Categorical),
    ],
    "pyarrow": lambda: [
        pa.array([1, 2]),
        pa.array([1, None]),
        pa.array([1, 0]),
        pa.array([1, 2], pa.int32()),
        pa.array(["1", "2"]),
        pa.chunked_array([[1, 2]]),
        pa.table({"a": [1, 2]}),
        pa.table({"b": [1, 2]}),
        pa.array([[1], [2]]),
    ],
    "sparse formats": lambda: (
        [
            scipy.sparse.csr_matrix(np.eye(3)).asformat(kind)
            for kind in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
        ]
        + [scipy.sparse.csr_array(np.eye(3)), scipy.sparse.csr_matrix(2 * np.eye(3))]
    ),
    "estimators": lambda: [
        LinearRegression(),
        LinearRegression(fit_intercept=False),
        LinearRegression().fit([[0.0], [1.0]], [0, 1]),
        LinearRegression().fit([[0.0], [1.0]], [0, 2]),
    ],
}


# Cases of numpy alone, whose forms do not depend on the version of a library.
PINNED = [
    *("strided view", "row slice", "column-major views", "padding of records"),
    *("what lies under a mask", "object arrays", "transposed", "views of one base"),
    *("shapes", "empty shapes", "scalars", "number types", "scalar types", "times"),
    *("record types", "records", "text", "masks", "dtypes"),
]


def all_digests() -> dict[str, list[str]]:
    """Hash every value of every case."""
    found = {}
    for group, cases in (("equal", EQUAL), ("different", DIFFERENT)):
        for name, values in cases.items():
            found[f"{group}: {name}"] = [digest(value) for value in values()]
    return found


def pinned_digests() -> dict[str, list[str]]:
    """Hash the values of the cases that every Python must agree on."""
    return {
        name: digests
        for name, digests in all_digests().items()
        if name.partition(": ")[2] in PINNED
    }


def test_digests_of_arrays_are_those_of_every_python_and_of_last_year() -> None:
    """If this fails on purpose, raise HASH_VERSION and write the file anew."""
    golden = json.loads(Path(__file__).with_name("golden_arrays.json").read_text())

    assert pinned_digests() == golden


def test_another_process_finds_the_same_digests_of_arrays() -> None:
    program = (
        "import json; from tests.hashing.test_arrays import all_digests; "
        "print(json.dumps(all_digests()))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(root)},
        cwd=root,
        capture_output=True,
        check=True,
    )

    assert json.loads(done.stdout) == all_digests()


@pytest.mark.parametrize("values", EQUAL.values(), ids=EQUAL.keys())
def test_equal_contents_share_a_digest(values: Values) -> None:
    assert len({digest(value) for value in values()}) == 1


@pytest.mark.parametrize("values", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_different_contents_have_different_digests(values: Values) -> None:
    digests = [digest(value) for value in values()]

    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    "values",
    [*EQUAL.values(), *DIFFERENT.values()],
    ids=[*EQUAL.keys(), *(f"different {name}" for name in DIFFERENT)],
)
def test_a_digest_survives_pickling(values: Values) -> None:
    for value in values():
        if isinstance(value, Measured):
            continue  # numpy's own pickling loses the attributes of a subclass

        assert digest(pickle.loads(pickle.dumps(value, 5))) == digest(value)


def test_a_memory_map_equals_the_array_that_it_maps(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", grid())
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")

    assert isinstance(mapped, np.memmap)
    assert digest(mapped) == digest(grid())
    assert digest({"x": mapped[1:, ::2]}) == digest({"x": grid()[1:, ::2]})


def test_a_matrix_is_not_an_array() -> None:
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix([[1, 2]])

    assert digest(matrix) != digest(np.array([[1, 2]]))


def test_a_table_with_attributes_differs_from_one_without() -> None:
    plain, described = pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]})
    described.attrs["source"] = "a station"

    assert digest(plain) != digest(described)


def test_hashing_changes_no_sparse_matrix() -> None:
    matrix = scipy.sparse.csr_matrix(
        (np.array([1.0, 2.0]), np.array([2, 0]), np.array([0, 2, 2])), shape=(2, 3)
    )
    before = dict(vars(matrix))

    digest(matrix)

    assert vars(matrix).keys() == before.keys()
    assert list(matrix.indices) == [2, 0]


def test_a_drawn_number_changes_the_digest_of_a_generator() -> None:
    generator = np.random.default_rng(1)
    before = digest(generator)

    generator.random()

    assert digest(generator) != before


def test_an_array_is_hashed_without_a_copy() -> None:
    import tracemalloc

    array = np.zeros(4_000_000)
    digest(array[:10])
    tracemalloc.start()

    digest([array, array[::2]])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < array.nbytes / 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_hashes_a_large_array_too() -> None:
    array = np.zeros(large.LARGE_BYTES, dtype="u1")
    expected = digest(array)  # which keeps threads for the next one
    reader, writer = os.pipe()

    child = os.fork()
    if child == 0:
        signal.alarm(60)  # rather than for ever
        os.write(writer, digest(array).encode())
        os._exit(0)
    os.close(writer)

    with open(reader, "rb") as pipe:  # noqa: PTH123
        assert pipe.read().decode() == expected
    os.waitpid(child, 0)


def test_threads_that_hash_are_kept_for_the_next_array() -> None:
    with large.large_hasher() as first:
        first.update(b"an array")
        with large.large_hasher() as second:  # of another thread
            assert second is not first
    with large.large_hasher() as again:
        assert again is second
        assert again.digest() == blake3().digest()


def test_a_failure_within_an_array_is_not_hashed_with_the_next_one() -> None:
    def hash_half_of_it() -> None:
        with large.large_hasher() as hasher:
            hasher.update(b"half of it")
            raise OSError("cut off meanwhile")

    with pytest.raises(OSError, match="cut off"):
        hash_half_of_it()

    with large.large_hasher() as hasher:
        assert hasher.digest() == blake3().digest()


def test_large_arrays_have_their_digests_in_threads_too() -> None:
    arrays = [np.full(large.LARGE_BYTES, number, "u1") for number in range(6)]
    expected = [digest(array) for array in arrays]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(digest, arrays * 20))

    assert found == expected * 20


def test_a_frame_is_hashed_by_public_means_where_there_are_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = pd.DataFrame(
        {
            "number": [1, 2],
            "time": pd.to_datetime(["2020", "2021"]),
            "text": ["a", "b"],
            "kind": pd.Categorical(["x", "y"]),
            "mask": pd.array([1, None], dtype="Int64"),
            "object": pd.Series([1, "b"], dtype=object),
        }
    )
    before = digest(frame)

    monkeypatch.delattr(pd.DataFrame, "_iter_column_arrays")

    assert digest(frame) == before


def test_columns_of_a_frame_are_told_apart_though_hashed_in_one_go() -> None:
    values = np.arange(12.0)
    frames = [
        pd.DataFrame(values.reshape(3, 4)),
        pd.DataFrame(values.reshape(4, 3)),
        pd.DataFrame(values.reshape(3, 4, order="F")),
        pd.DataFrame(values.reshape(3, 4)).astype({0: "int64"}),
        pd.DataFrame(values.reshape(3, 4)).astype({1: "int64"}),
        pd.DataFrame(values.reshape(3, 4).view("i8")),
    ]

    assert len({digest(frame) for frame in frames}) == len(frames)
    assert digest(frames[0]) == digest(pd.DataFrame(np.asfortranarray(frames[0])))


NESTED_OF_POLARS: list[tuple[list[Any], Any]] = [
    ([[1, 2], [3]], pl.List(pl.Int64)),
    ([[1], [2, 3]], pl.List(pl.Int64)),
    ([[1, 2, 3], []], pl.List(pl.Int64)),
    ([[], [1, 2, 3]], pl.List(pl.Int64)),
    ([None, [1, 2, 3]], pl.List(pl.Int64)),
    ([[1, None, 3], []], pl.List(pl.Int64)),
    ([[1, 0, 3], []], pl.List(pl.Int64)),
    ([["ab", "c"], ["d"]], pl.List(pl.String)),
    ([["a", "bc"], ["d"]], pl.List(pl.String)),
    ([["a", None], ["d"]], pl.List(pl.String)),
    ([["a", ""], ["d"]], pl.List(pl.String)),
    ([[[1], [2]], [[3]]], pl.List(pl.List(pl.Int64))),
    ([[[1, 2]], [[3]]], pl.List(pl.List(pl.Int64))),
    ([[[1, 2]], [[], [3]]], pl.List(pl.List(pl.Int64))),
    ([[1, 2], [3, 4]], pl.Array(pl.Int64, 2)),
    ([[1, 2], None, [3, 4]], pl.Array(pl.Int64, 2)),
    ([[1, 2], [3, None]], pl.Array(pl.Int64, 2)),
    ([[1, 2], [3, 0]], pl.Array(pl.Int64, 2)),
    ([[[1], [2]], [[3], [4]]], pl.Array(pl.Int64, (2, 1))),
    ([[{"a": 1}], [{"a": None}]], pl.List(pl.Struct({"a": pl.Int64}))),
    ([[{"a": 1}], [None]], pl.List(pl.Struct({"a": pl.Int64}))),
    ([True, None, False], pl.Boolean),
    ([True, False, None], pl.Boolean),
    ([True, False, False], pl.Boolean),
    (["ä", "b", None], pl.String),
    (["äb", "", None], pl.String),
    (["äb", None, ""], pl.String),
    ([None, None, None], pl.String),
    ([], pl.String),
    ([], pl.Array(pl.Int64, 2)),
    ([], pl.List(pl.Int64)),
    ([b"a", b"bc"], pl.Binary),
    ([b"ab", b"c"], pl.Binary),
]


def test_nested_columns_of_polars_are_told_apart() -> None:
    digests = {
        digest(pl.Series("a", values, dtype=kind)) for values, kind in NESTED_OF_POLARS
    }

    assert len(digests) == len(NESTED_OF_POLARS)


@pytest.mark.parametrize(("values", "kind"), NESTED_OF_POLARS)
def test_a_slice_of_a_nested_column_of_polars_equals_its_copy(
    values: list[Any], kind: Any
) -> None:
    whole = pl.Series("a", [*values, *values, None], dtype=kind)

    assert digest(whole.slice(0, len(values))) == digest(pl.Series("a", values, kind))
    in_chunks = pl.concat([pl.Series("a", values, kind)] * 2, rechunk=False)
    assert digest(in_chunks) == digest(whole.slice(0, 2 * len(values)))
