"""What users do with `dump` and `load`: every value, every file, every option."""

from __future__ import annotations

import bz2
import dataclasses
import doctest
import functools
import gzip
import io
import lzma
import os
import pickle
import socket
import tempfile
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lz4.frame
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cachekit import CorruptedFile, digest, dump, load
from cachekit.serialization import container, persistence, threads
from tests.serialization.arrays import contiguous_arrays, same, strided_arrays
from tests.strategies import values

COMPRESS: list[Any] = [0, True, "zstd+shuffle", "gzip"]
each_compress = pytest.mark.parametrize("compress", COMPRESS)
MAGIC = container.MAGIC
LARGE = np.arange(300_000) % 1000  # larger than a chunk, and quickly compressed


def round_trip(value: Any, compress: Any = 0) -> Any:
    file = io.BytesIO()
    dump(value, file, compress)
    file.seek(0)
    return load(file)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


# --- any value ---


@given(values(), st.sampled_from(COMPRESS))
def test_a_drawn_value_comes_back(value: Any, compress: Any) -> None:
    result = round_trip(value, compress)

    assert type(result) is type(value)
    assert digest(result) == digest(value)


@given(contiguous_arrays(), st.sampled_from(COMPRESS))
def test_a_drawn_array_comes_back_the_same(array: NDArray[Any], compress: Any) -> None:
    assert same(round_trip(array, compress), array)


@given(strided_arrays(), st.sampled_from(COMPRESS))
def test_a_drawn_strided_array_comes_back(array: NDArray[Any], compress: Any) -> None:
    result = round_trip(array, compress)

    np.testing.assert_array_equal(result, array)
    assert result.dtype == array.dtype
    assert digest(result) == digest(array)


@dataclasses.dataclass
class Fit:
    rates: NDArray[Any]
    name: str


def test_a_dataclass_comes_back() -> None:
    result = round_trip(Fit(LARGE, "first"))

    assert type(result) is Fit
    assert result.name == "first"
    assert same(result.rates, LARGE)


def test_functions_beside_large_arrays_come_back(tmp_path: Path) -> None:
    step = 3
    path = tmp_path / "value"

    dump({"large": LARGE, "add": lambda x: x + step, "again": LARGE}, path)
    result = load(path)

    assert result["add"](2) == 5
    assert result["again"] is result["large"]
    assert same(result["large"], LARGE)
    assert path.stat().st_size < 1.1 * LARGE.nbytes


def test_beside_a_function_everything_comes_back_as_it_does_alone(
    tmp_path: Path,
) -> None:
    mapped = np.memmap(tmp_path / "map", "f8", "w+", shape=(100, 300))
    value = {
        "strided": read_only(TABLE[::2, ::2][:]),
        "other byte order": TABLE.astype(">f8")[:, ::2],
        "dates": read_only(np.arange(9).astype("M8[s]")),
        "map": mapped,
    }

    result = round_trip({**value, "function": lambda: 1})

    assert result.pop("function")() == 1
    assert type(result["map"]) is np.ndarray
    assert not result["strided"].flags.writeable
    assert not result["dates"].flags.writeable
    assert digest(result) == digest(round_trip(value))


def test_one_array_met_twice_is_one_array_again() -> None:
    small, large = np.arange(3), LARGE

    first, again, third, last = round_trip([small, small, large, large])

    assert first is again
    assert third is last


def test_a_value_that_holds_itself_comes_back() -> None:
    value: dict[str, Any] = {"array": LARGE}
    value["self"] = value

    result = round_trip(value)

    assert result["self"] is result


@each_compress
def test_thousands_of_small_arrays_come_back(compress: Any, tmp_path: Path) -> None:
    many = [np.full(5, number) for number in range(2000)]

    dump(many, tmp_path / "many", compress)
    result = load(tmp_path / "many")

    assert all(map(same, result, many))
    assert (tmp_path / "many").stat().st_size < 300_000


def test_equal_values_make_equal_files(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        dump([LARGE, "text"], tmp_path / name)

    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


# --- arrays ---

RECORDS = np.array([(1, 0.5), (2, 1.5)], [("id", ">i4"), ("score", "f8")])
EVENTS = np.zeros(300, [("time", "M8[s]"), ("value", "f4")])
TABLE = np.arange(600_000.0).reshape(1000, 600)

ARRAYS = {
    "zero-dimensional": np.array(7.5),
    "empty": np.zeros((0,)),
    "empty in one axis": np.zeros((3, 0, 2), "i2"),
    "padded records": np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "records": RECORDS,
    "records with dates": EVENTS,
    "read-only records with dates": read_only(EVENTS.copy()),
    "big-endian dates": np.arange(5).astype(">M8[ns]"),
    "durations": np.array([1, "NaT"], "m8[h]"),
    "text": np.array([["ä", "bc"]], ">U3"),
    "long double": np.arange(3, dtype="g"),
    "Fortran": np.asfortranarray(TABLE),
    "transposed": TABLE.T,
    "read-only Fortran dates": read_only(TABLE.astype("M8[s]").T),
    "small read-only": read_only(np.arange(3)),
    "matrix": np.arange(6, dtype=">i4").reshape(2, 3).view(np.matrix),
    "large matrix": TABLE.view(np.matrix).T,
    "records by name": RECORDS.view(np.recarray),
    "read-only records by name": read_only(RECORDS.copy().view(np.recarray)),
}


@each_compress
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_an_array_comes_back_the_same(array: NDArray[Any], compress: Any) -> None:
    result = round_trip(array, compress)

    assert same(result, array)
    assert result.dtype.str == array.dtype.str
    assert digest(result) == digest(array)


STRIDED = {
    "rows": TABLE[::2],
    "columns": TABLE[:, ::3],
    "turned round": TABLE[::-1, ::-1],
    "axes exchanged": TABLE.reshape(10, 100, 600).transpose(1, 2, 0),
    "broadcast": np.broadcast_to(TABLE[0], (500, 600)),
    "other byte order": TABLE.astype(">f8")[:, ::2],
    "dates": TABLE.astype("M8[s]")[:, ::2],
    "records with dates": np.zeros((400, 600), EVENTS.dtype)[:, ::2],
    "field": TABLE.view([("re", "f4"), ("im", "f4")])["im"],
    "text": TABLE.astype("U8")[:, ::2],
    "odd item size": np.zeros((1000, 600), "V3")[:, :-1],
    "windows": np.lib.stride_tricks.sliding_window_view(np.arange(5000.0), 200),
}


@each_compress
@pytest.mark.parametrize("array", STRIDED.values(), ids=STRIDED.keys())
def test_a_large_strided_array_comes_back(array: NDArray[Any], compress: Any) -> None:
    result = round_trip(array, compress)

    assert result.tobytes() == array.tobytes()
    assert result.dtype.str == array.dtype.str
    assert result.shape == array.shape
    assert result.flags.c_contiguous
    assert result.flags.writeable == array.flags.writeable
    assert digest(result) == digest(array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_objects_comes_back(order: Any) -> None:
    array = np.array([["a", None], [LARGE, {"b": 1}]], object, order=order)

    result = round_trip(array)

    assert result.flags.f_contiguous == array.flags.f_contiguous
    assert digest(result) == digest(array)


def test_an_array_of_variable_text_comes_back() -> None:
    array = np.array(["short", "länger" * 50], np.dtypes.StringDType())

    result = round_trip(array)

    assert result.dtype == array.dtype
    assert result.tolist() == array.tolist()


class Measured(np.ndarray[Any, Any]):
    """An array with a unit, pickled the way numpy's documentation shows."""

    unit: str

    def __array_finalize__(self, source: Any) -> None:
        self.unit = getattr(source, "unit", "")

    def __reduce__(self) -> Any:
        reduced: Any = super().__reduce__()
        make, arguments, state = reduced
        return make, arguments, (state, self.unit)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state[0])
        self.unit = state[1]


def test_a_subclass_with_attributes_comes_back() -> None:
    array = LARGE.view(Measured)
    array.unit = "m"

    result = round_trip([array, array[::2]])

    assert [part.unit for part in result] == ["m", "m"]
    assert same(result[0], array)


def test_a_memory_map_comes_back_as_an_array(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "map", "f8", "w+", shape=(100, 300))
    mapped[:] = np.arange(300)
    frozen = np.memmap(tmp_path / "map", "f8", "r", shape=(100, 300))

    whole, part, read = round_trip([mapped, mapped[:, ::2], frozen])

    assert [type(array) for array in (whole, part, read)] == [np.ndarray] * 3
    assert part.tobytes() == mapped[:, ::2].tobytes()
    assert not read.flags.writeable


MIDDLE = np.array([False, True, False])
masked_records: Any = np.ma.array(RECORDS)
masked_records["id"][1] = np.ma.masked
masked_records.fill_value = (9, 9.5)
MASKED: dict[str, Any] = {
    "plain": np.ma.masked_less(np.arange(1000.0), 5),
    "large and transposed": np.ma.masked_less(TABLE, 5).T,
    "strided": np.ma.masked_less(TABLE, 5)[::2, ::3],
    "without a mask": np.ma.array([1, 2]),
    "hard": np.ma.array([1, 2, 3], mask=MIDDLE, hard_mask=True, fill_value=-7),
    "zero-dimensional": np.ma.array(3.0, mask=True),
    "records": masked_records,
    "dates": np.ma.array(np.arange(3).astype("M8[D]"), mask=MIDDLE),
    "read-only": np.ma.array(read_only(np.arange(3)), mask=MIDDLE),
}


@each_compress
@pytest.mark.parametrize("array", MASKED.values(), ids=MASKED.keys())
def test_a_masked_array_comes_back_with_all_it_hides(array: Any, compress: Any) -> None:
    result = round_trip(array, compress)

    assert type(result) is np.ma.MaskedArray
    assert result.data.tobytes() == array.data.tobytes()
    assert result.dtype == array.dtype
    assert (result.mask is np.ma.nomask) == (array.mask is np.ma.nomask)
    assert np.array_equal(np.ma.getmaskarray(result), np.ma.getmaskarray(array))
    assert str(result.fill_value) == str(array.fill_value)
    assert result.hardmask == array.hardmask
    assert result.flags.writeable == array.flags.writeable
    assert digest(result) == digest(array)


def test_the_masked_constant_is_itself_again() -> None:
    assert round_trip([np.ma.masked])[0] is np.ma.masked


# --- tables, tensors and models ---


def all_kinds_of_columns(rows: int) -> pd.DataFrame:
    numbers = np.arange(rows)
    return pd.DataFrame(
        {
            "integer": numbers,
            "number": numbers / 7,
            "date": pd.date_range("2020", periods=rows, freq="s"),
            "zone": pd.date_range("2020", periods=rows, freq="s", tz="Europe/Berlin"),
            "duration": pd.to_timedelta(numbers, unit="s"),
            "text": [f"name {number % 90}" for number in numbers],
            "category": pd.Categorical([f"c{number % 9}" for number in numbers]),
            "missing": pd.array([1, None] * (rows // 2), dtype="Int64"),
            "object": pd.Series([1, "a"] * (rows // 2), dtype=object),
            "arrow": pd.Series(numbers, dtype="int64[pyarrow]"),
            "sparse": pd.arrays.SparseArray(np.zeros(rows)),
        }
    )


@each_compress
@pytest.mark.parametrize("rows", [0, 10, 5000])
def test_a_table_comes_back(rows: int, compress: Any) -> None:
    table = all_kinds_of_columns(rows).set_index(["integer", "text"])
    table.attrs["source"] = "survey"

    result = round_trip(table, compress)

    pd.testing.assert_frame_equal(result, table)
    assert result.attrs == table.attrs
    assert digest(result) == digest(table)


def test_large_columns_lie_in_the_file_as_they_are(tmp_path: Path) -> None:
    table = all_kinds_of_columns(20_000)[["integer", "number", "date", "duration"]]
    path = tmp_path / "table"

    dump(table, path)
    result = load(path, mmap_mode="r")

    assert path.stat().st_size < 4 * 8 * 20_000 + 4000
    assert all(is_mapped(result[name].to_numpy()) for name in table.columns)
    assert result.equals(table)


def is_mapped(array: Any) -> bool:
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def test_an_arrow_table_comes_back(tmp_path: Path) -> None:
    table = pa.table({"number": LARGE, "text": [f"{n}" for n in range(len(LARGE))]})
    dump({"whole": table, "part": table.slice(10, 100)}, tmp_path / "table")

    for mmap_mode in (None, "r"):
        result = load(tmp_path / "table", mmap_mode)

        assert result["whole"].equals(table)
        assert result["part"].equals(table.slice(10, 100))


def test_a_polars_table_comes_back() -> None:
    table = pl.DataFrame({"number": LARGE, "list": [[1, 2]] * len(LARGE)})

    result = round_trip({"table": table, "lazy": table.lazy().head(3)})

    assert result["table"].equals(table)
    assert result["lazy"].collect().equals(table.head(3))


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
def test_a_sparse_matrix_comes_back(kind: str, tmp_path: Path) -> None:
    matrix = scipy.sparse.eye_array(500, format=kind)
    dump(matrix, tmp_path / "matrix")

    for mmap_mode in (None, "r"):
        result = load(tmp_path / "matrix", mmap_mode)

        assert type(result) is type(matrix)
        assert abs(result - matrix).sum() == 0


@pytest.mark.parametrize("mmap_mode", [None, "r", "c"])
@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(5, random_state=0),
    ],
    ids=["pipeline", "forest"],
)
def test_a_fitted_model_comes_back(model: Any, mmap_mode: Any, tmp_path: Path) -> None:
    features = np.random.default_rng(0).random((300, 4))
    model.fit(features, features[:, 0] > 0.5)

    dump(model, tmp_path / "model")
    result = load(tmp_path / "model", mmap_mode)

    assert np.array_equal(result.predict(features), model.predict(features))


# --- memory ---

MANY = 6_000_000  # numbers in the arrays below: 48 MB
FEW_CHUNKS = 8 << 20

UNCOPIED: dict[str, Callable[[], Any]] = {
    "plain": lambda: np.zeros(MANY),
    "Fortran": lambda: np.zeros((MANY // 1000, 1000)).T,
    "strided": lambda: np.zeros(2 * MANY)[::2],
    "turned round": lambda: np.zeros((MANY // 1000, 1000))[:, ::-1],
    "dates": lambda: np.zeros(MANY, "M8[s]"),
    "strided dates": lambda: np.zeros(2 * MANY, "M8[s]")[::2],
    "records with dates": lambda: np.zeros(MANY // 2, "M8[s],f8"),
    "records by name": lambda: np.zeros(MANY // 2, "i8,f8").view(np.recarray),
    "matrix": lambda: np.zeros((MANY // 1000, 1000)).view(np.matrix),
    "masked": lambda: np.ma.array(np.zeros(MANY), mask=np.zeros(MANY, bool)),
    "beside a function": lambda: [np.zeros(MANY), lambda: 1],
    "table": lambda: pd.DataFrame(np.zeros((MANY // 10, 10))),
}


def peak_of(action: Callable[[], Any]) -> int:
    """Return how many bytes were in use at most, beyond those before."""
    tracemalloc.start()
    try:
        result = action()
        peak = tracemalloc.get_traced_memory()[1]
        del result
        return peak
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", UNCOPIED.values(), ids=UNCOPIED.keys())
def test_an_array_is_neither_copied_on_its_way_out_nor_in(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    value = make()
    round_trip([value[:1], lambda: 1] if isinstance(value, np.ndarray) else value)
    size = MANY * 8 * (1.125 if isinstance(value, np.ma.MaskedArray) else 1)

    assert peak_of(lambda: dump(value, tmp_path / "value")) < FEW_CHUNKS
    assert peak_of(lambda: load(tmp_path / "value")) < size + FEW_CHUNKS


@pytest.mark.parametrize("step", [1, 2])
def test_compressing_takes_a_few_chunks_for_each_thread(
    step: int, tmp_path: Path
) -> None:
    value = np.arange(step * 4.0 * MANY)[::step]
    chunks = 6 * threads.MOST_THREADS * container.CHUNK_BYTES

    assert peak_of(lambda: dump(value, tmp_path / "value", compress=True)) < chunks
    assert peak_of(lambda: load(tmp_path / "value")) < value.nbytes + chunks


def test_many_small_objects_are_streamed(tmp_path: Path) -> None:
    value = [float(number) for number in range(10**6)]

    assert peak_of(lambda: dump(value, tmp_path / "value")) < 4 << 20
    assert (tmp_path / "value").stat().st_size > 8 << 20


def test_long_bytes_are_held_twice_at_most_while_they_are_read(tmp_path: Path) -> None:
    size = 48 << 20
    assert peak_of(lambda: dump(bytes(size), tmp_path / "value")) < size + FEW_CHUNKS

    assert peak_of(lambda: load(tmp_path / "value")) < 2 * size + FEW_CHUNKS


# --- compression ---

STARTS = {
    "zlib": b"\x78",
    "gzip": b"\x1f\x8b",
    "bz2": b"BZh",
    "xz": b"\xfd7zXZ",
    "lzma": b"\x5d\x00",
    "lz4": b"\x04\x22\x4d\x18",
}

DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.decompress,
    "gzip": gzip.decompress,
    "bz2": bz2.decompress,
    "xz": lambda packed: lzma.decompress(packed, lzma.FORMAT_XZ),
    "lzma": lambda packed: lzma.decompress(packed, lzma.FORMAT_ALONE),
    "lz4": lambda packed: lz4.frame.open(io.BytesIO(packed)).read(),
    "zstd": lambda packed: (
        zstandard.ZstdDecompressor()
        .stream_reader(packed, read_across_frames=True)
        .read()
    ),
}

ENDINGS = {
    ".z": "zlib",
    ".gz": "gzip",
    ".bz2": "bz2",
    ".xz": "xz",
    ".lzma": "lzma",
    ".lz4": "lz4",
    ".zst": "zstd",
}


@pytest.mark.parametrize("compress", [False, 0, "none", ("zlib", 0), ("none", 3)])
def test_what_means_no_compression_gives_a_plain_container(
    compress: Any, tmp_path: Path
) -> None:
    dump(LARGE, tmp_path / "value", compress)

    assert (tmp_path / "value").read_bytes().startswith(MAGIC)
    assert type(load(tmp_path / "value", mmap_mode="r")) is np.memmap


@pytest.mark.parametrize(
    "compress",
    [True, 1, 3, 9, "zstd", ("zstd", 22), "zstd+shuffle", ("lz4+shuffle", 3)],
)
def test_what_is_compressed_inside_is_a_smaller_container(
    compress: Any, tmp_path: Path
) -> None:
    dump(LARGE, tmp_path / "value", compress)

    assert (tmp_path / "value").read_bytes().startswith(MAGIC)
    assert (tmp_path / "value").stat().st_size < LARGE.nbytes / 2
    assert same(load(tmp_path / "value"), LARGE)


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("level", [None, 1, 9])
def test_a_method_by_name_compresses_the_whole_file(
    name: str, level: int | None, tmp_path: Path
) -> None:
    compress: Any = name if level is None else (name, level)

    dump(LARGE, tmp_path / "value", compress)
    packed = (tmp_path / "value").read_bytes()

    assert packed.startswith(STARTS[name])
    assert same(load(io.BytesIO(DECOMPRESS[name](packed))), LARGE)
    assert same(load(tmp_path / "value"), LARGE)


@pytest.mark.parametrize("compress", [0, False, True, 5])
@pytest.mark.parametrize(("ending", "name"), ENDINGS.items())
def test_an_ending_chooses_the_method(
    ending: str, name: str, compress: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"value.tar{ending}"

    dump([LARGE[:1000], "text"], path, compress)

    opened = load(io.BytesIO(DECOMPRESS[name](path.read_bytes())))
    assert same(opened[0], LARGE[:1000])
    assert load(path)[1] == "text"


@pytest.mark.parametrize(
    ("ending", "compress", "start"),
    [
        (".gz", "bz2", STARTS["bz2"]),
        (".xz", ("gzip", 2), STARTS["gzip"]),
        (".gz", "zstd", MAGIC),
        (".gz", ("zstd", 5), MAGIC),
        (".zst", "zstd", b"\x28\xb5\x2f\xfd"),
        (".zst", ("zstd", 5), b"\x28\xb5\x2f\xfd"),
        (".gz", "none", MAGIC),
    ],
)
def test_a_method_by_name_beats_the_ending(
    ending: str, compress: Any, start: bytes, tmp_path: Path
) -> None:
    path = tmp_path / f"value{ending}"

    dump([1], path, compress)

    assert path.read_bytes().startswith(start)
    assert load(path) == [1]


def test_a_level_changes_what_the_ending_gives(tmp_path: Path) -> None:
    for level in (1, 9):
        dump(LARGE, tmp_path / f"{level}.bz2", compress=level)

    assert (tmp_path / "1.bz2").read_bytes().startswith(b"BZh1")
    assert (tmp_path / "9.bz2").read_bytes().startswith(b"BZh9")


@pytest.mark.parametrize(
    "compress",
    [
        *(10, -1, 3.5, None, "brotli", "", ["zlib", 3]),
        *(("zlib",), ("zlib", 3, 4), ("gzip", 10), ("zlib", -1)),
        *(("zlib", "3"), ("zlib", True), (3, "zlib")),
    ],
    ids=repr,
)
def test_a_senseless_compress_is_a_value_error(compress: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ompress|levels"):
        dump(1, tmp_path / "value", compress)

    assert list(tmp_path.iterdir()) == []


# --- open files ---

VALUE: dict[str, Any] = {"large": LARGE, "small": np.arange(3), "list": [1, 2]}


def is_value(result: Any) -> bool:
    return (
        same(result["large"], LARGE)
        and same(result["small"], VALUE["small"])
        and result["list"] == [1, 2]
    )


def test_two_values_lie_one_after_the_other() -> None:
    file = io.BytesIO(b"hello")
    file.seek(5)

    assert dump(VALUE, file) is None
    end = file.tell()
    dump(["next"], file)
    file.write(b"tail")
    file.seek(5)

    assert is_value(load(file))
    assert file.tell() == end
    assert load(file) == ["next"]
    assert file.read() == b"tail"


def test_a_memory_file_at_its_end_is_read_from_its_start() -> None:
    file = io.BytesIO()
    dump(VALUE, file)

    assert is_value(load(file))
    assert is_value(load(file))


@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
@pytest.mark.parametrize("mode", ["wb", "ab", "w+b"])
def test_a_file_on_disk_takes_values(mode: Any, buffering: int, tmp_path: Path) -> None:
    path = tmp_path / "file"

    with path.open(mode, buffering=buffering) as file:
        file.write(b"hello")
        dump(VALUE, file)
    with path.open("ab", buffering=buffering) as file:
        dump(["next"], file)
        dump([lambda: "last", LARGE], file)

    with path.open("rb", buffering=buffering) as file:
        file.seek(5)
        assert is_value(load(file))
        assert load(file) == ["next"]
        assert load(file)[0]() == "last"
        assert file.read() == b""


@pytest.mark.parametrize("value", [[1], VALUE, [LARGE, lambda: 1]])
def test_only_the_place_of_the_value_is_written_over(
    value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"A" * 10_000_000)

    with path.open("r+b") as file:
        file.seek(10)
        dump(value, file)
        end = file.tell()
        assert file.read() == b"A" * (10_000_000 - end)
        file.seek(10)
        load(file)
        assert file.tell() == end

    assert path.read_bytes()[:10] == b"A" * 10


@pytest.mark.parametrize("library", [gzip, bz2, lzma])
def test_a_compressed_file_takes_values(library: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"

    with library.open(path, "wb") as file:
        dump(VALUE, file)
        dump(["next"], file)

    with library.open(path, "rb") as file:
        assert is_value(load(file))
        assert load(file) == ["next"]
        assert file.read() == b""


def test_a_member_of_an_archive_takes_values(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("plain", "w") as file:
            dump(VALUE, file)  # type: ignore[arg-type]  # IO[bytes]
            dump(["next"], file)  # type: ignore[arg-type]
        with archive.open("xz", "w") as file:
            dump(["packed"], file, "xz")  # type: ignore[arg-type]

    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        with archive.open("plain") as file:
            assert is_value(load(file))  # type: ignore[arg-type]
            assert load(file) == ["next"]  # type: ignore[arg-type]
        with archive.open("xz") as file:
            assert load(file) == ["packed"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        tempfile.NamedTemporaryFile,
        tempfile.TemporaryFile,
        functools.partial(tempfile.SpooledTemporaryFile, 100),
        functools.partial(tempfile.SpooledTemporaryFile, 10**8),
    ],
    ids=["named", "nameless", "spooled on disk", "spooled in memory"],
)
def test_a_temporary_file_takes_values(make: Callable[[], Any]) -> None:
    with make() as file:
        dump(VALUE, file)
        dump(["next"], file)
        file.seek(0)

        assert is_value(load(file))
        assert load(file) == ["next"]


@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
def test_a_socket_carries_values(buffering: Any) -> None:
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs.makefile("wb", buffering=buffering) as file:
            dump(VALUE, file)
            dump(["next"], file)
            file.write(b"bye")

    sender = threading.Thread(target=send)
    with ours, theirs, ours.makefile("rb", buffering=buffering) as file:
        sender.start()

        assert is_value(load(file))
        assert load(file) == ["next"]
        assert file.read(3) == b"bye"
        sender.join()


@each_compress
@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
def test_a_pipe_carries_a_value(compress: Any, buffering: Any) -> None:
    reading, writing = os.pipe()

    def send() -> None:
        with os.fdopen(writing, "wb", buffering=buffering) as file:
            dump(VALUE, file, compress)

    sender = threading.Thread(target=send)
    with os.fdopen(reading, "rb", buffering=buffering) as file:
        sender.start()

        assert is_value(load(file))
        sender.join()


class OnlyWrites:
    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, piece: Any) -> int:
        self.content += piece
        return len(piece)


class ReadsOneByte:
    def __init__(self, content: bytes) -> None:
        self.file = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self.file.read(min(size, 1))


def test_anything_that_reads_or_writes_will_do() -> None:
    target: Any = OnlyWrites()
    dump([np.arange(1000), "text"], target)

    source: Any = ReadsOneByte(bytes(target.content))
    result = load(source)

    assert result[1] == "text"
    assert same(result[0], np.arange(1000))


@pytest.mark.parametrize("compress", ["gzip", "zlib", "xz"])
def test_a_compressed_value_is_all_that_an_open_file_may_hold(compress: str) -> None:
    file = io.BytesIO()
    dump(["first"], file, compress)
    dump(["second"], file, compress)
    file.seek(0)

    with pytest.raises(CorruptedFile, match=r"follows|decompress"):
        load(file)


def test_a_text_file_is_a_clear_error(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        wrong: Any = file
        with pytest.raises(TypeError, match="text file"):
            dump(1, wrong)
    with (tmp_path / "file").open() as file:
        wrong = file
        with pytest.raises(TypeError, match="text file"):
            load(wrong)


@pytest.mark.parametrize(
    "wrong",
    [3, None, b"name", ["name"], object()],
    ids=lambda wrong: type(wrong).__name__,
)
def test_what_is_no_file_is_a_value_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match="filename"):
        dump(1, wrong)
    with pytest.raises(ValueError, match="a path or an open file"):
        load(wrong)


def test_a_closed_file_or_one_for_the_other_direction_is_an_error(
    tmp_path: Path,
) -> None:
    dump([1], tmp_path / "file")
    with (
        (tmp_path / "file").open("rb") as file,
        pytest.raises(io.UnsupportedOperation),
    ):
        dump(1, file)
    with pytest.raises(ValueError, match="closed"):
        load(file)
    with (tmp_path / "file").open("r+b") as both:
        assert load(both) == [1]


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"hello world", MAGIC])
def test_a_file_of_something_else_is_a_corrupted_file(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content)

    with pytest.raises(CorruptedFile) as caught:
        load(tmp_path / "file")
    assert str(tmp_path / "file") in caught.value.__notes__[0]
    with pytest.raises(CorruptedFile):
        load(io.BytesIO(content))


# --- memory maps ---

MAPPED = {
    "small": np.arange(10.0),
    "zero-dimensional": np.array(5.0),
    "Fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "other byte order": np.arange(5).astype(">i4"),
    "records": RECORDS,
    "records with dates": EVENTS,
    "dates": np.arange(6).astype("M8[s]").reshape(2, 3).T,
    "boolean": np.ones(3, bool),
    "text": np.array(["a", "bc"]),
    "bytes": np.zeros(3, "V5"),
    "half": np.zeros(3, "f2"),
    "large": LARGE,
}


@pytest.fixture
def mapped(tmp_path: Path) -> Path:
    path = tmp_path / "mapped"
    dump(MAPPED, path)
    return path


@pytest.mark.parametrize(
    ("mmap_mode", "mode", "writable"),
    [("r", "r", False), ("c", "c", True), ("r+", "r+", True), ("w+", "r+", True)],
)
def test_every_array_is_mapped_where_it_lies(
    mapped: Path, mmap_mode: Any, mode: str, writable: bool
) -> None:
    result = load(mapped, mmap_mode)

    content = mapped.read_bytes()
    for name, array in MAPPED.items():
        copy = result[name]
        assert type(copy) is np.memmap, name
        assert copy.tobytes() == array.tobytes()
        assert copy.dtype == array.dtype
        assert copy.flags.f_contiguous == array.flags.f_contiguous
        assert copy.flags.writeable is writable
        assert copy.mode == mode
        assert str(copy.filename) == str(mapped)
        assert copy.ctypes.data % container.ALIGNMENT == 0
        at = content[copy.offset : copy.offset + array.nbytes]
        assert at == array.tobytes(order="A")


@pytest.mark.parametrize("mmap_mode", ["r", "c", "r+"])
def test_what_cannot_be_mapped_is_read(mmap_mode: Any, tmp_path: Path) -> None:
    value = {
        "empty": np.zeros((0, 3)),
        "objects": np.array(["a", None], object),
        "bytes": b"x" * 10_000,
        "scalar": np.float32(1.5),
    }
    dump(value, tmp_path / "value")

    result = load(tmp_path / "value", mmap_mode)

    assert digest(result) == digest(value)
    assert not any(isinstance(part, np.memmap) for part in result.values())


@pytest.mark.parametrize("mmap_mode", ["r", "c", "r+"])
def test_kinds_of_array_keep_their_type_over_a_map(
    mmap_mode: Any, tmp_path: Path
) -> None:
    value = [
        np.arange(6).reshape(2, 3).view(np.matrix),
        RECORDS.view(np.recarray),
        np.ma.masked_less(np.arange(9), 5),
        read_only(np.arange(9)),
    ]
    dump(value, tmp_path / "value")

    result = load(tmp_path / "value", mmap_mode)

    assert [type(array) for array in result[:3]] == [type(array) for array in value[:3]]
    assert digest(result[:3]) == digest(value[:3])
    assert all(is_mapped(array) for array in result)
    assert not result[3].flags.writeable


def test_what_was_mapped_can_be_dumped_again(mapped: Path, tmp_path: Path) -> None:
    value = load(mapped, "r")
    value["masked"] = np.ma.array(value["large"], mask=value["large"] > 5)

    dump(value, tmp_path / "again")
    result = load(tmp_path / "again")

    assert type(result["large"]) is np.ndarray
    assert type(result["masked"].data) is np.ndarray
    assert result["masked"].sum() == value["masked"].sum()
    assert digest(result["large"]) == digest(MAPPED["large"])


def test_of_many_small_arrays_the_first_ones_are_mapped(tmp_path: Path) -> None:
    many = [np.full(5, number) for number in range(2000)]
    dump(many, tmp_path / "many")

    result = load(tmp_path / "many", mmap_mode="r")

    assert type(result[0]) is np.memmap
    assert [array.tolist() for array in result] == [array.tolist() for array in many]


@pytest.mark.parametrize("mmap_mode", ["r+", "w+"])
def test_changes_through_a_map_are_in_the_file(mapped: Path, mmap_mode: Any) -> None:
    result = load(mapped, mmap_mode)
    result["small"][0] = 99
    result["Fortran"][0, 1] = 98
    result["dates"][0, 0] = 97
    result["records"]["score"][1] = 96
    del result

    for again in (load(mapped), load(mapped, "r"), load(mapped, safe=True)):
        assert again["small"][0] == 99
        assert again["Fortran"][0, 1] == 98
        assert again["dates"][0, 0] == np.datetime64(97, "s")
        assert again["records"]["score"][1] == 96
        assert same(np.asarray(again["half"]).copy(), MAPPED["half"])


def test_changes_of_a_private_map_are_not(mapped: Path) -> None:
    before = mapped.read_bytes()

    load(mapped, "c")["large"][:] = 0

    assert mapped.read_bytes() == before
    assert load(mapped)["large"][5] == 5


def test_a_map_for_reading_changes_nothing(mapped: Path) -> None:
    mapped.chmod(0o444)
    before = mapped.read_bytes()

    result = load(mapped, "r")
    with pytest.raises(ValueError, match="read-only"):
        result["large"][0] = 1

    assert mapped.read_bytes() == before


def test_a_mapped_file_can_be_replaced(mapped: Path) -> None:
    old = load(mapped, "r")

    dump({name: array + 1 for name, array in old.items() if name == "large"}, mapped)

    assert old["large"][0] == 0
    assert load(mapped)["large"][0] == 1


def test_an_open_file_is_mapped_from_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(b"hello")
        dump(LARGE, file)
        dump(LARGE[:10], file)

    with path.open("rb") as file:
        file.seek(5)
        first, second = load(file, "r"), load(file, "r+")
        assert file.read() == b""

    assert [type(first), type(second)] == [np.memmap, np.memmap]
    assert first.tolist() == LARGE.tolist()
    second[0] = 7
    with path.open("rb") as file:
        file.seek(5)
        assert [load(file)[0], load(file)[0]] == [0, 7]


def test_a_named_temporary_file_is_mapped() -> None:
    with tempfile.NamedTemporaryFile() as file:
        target: Any = file
        dump(LARGE, target)
        file.seek(0)

        assert type(load(target, "r")) is np.memmap


def only_warning(action: Callable[[], Any]) -> str:
    """Run something that warns once, blaming this file; return what it says."""
    with pytest.warns(UserWarning, match="will be ignored") as caught:
        result = action()
    assert type(result) is np.ndarray
    assert result.tolist() == LARGE.tolist()
    (warning,) = caught
    assert warning.filename == __file__
    return str(warning.message)


@pytest.mark.parametrize(
    ("name", "compress"),
    [("value.gz", 0), ("value.z", 0), ("value", "xz"), ("value", True)],
)
def test_a_compressed_file_is_read_with_joblibs_warning(
    name: str, compress: Any, tmp_path: Path
) -> None:
    path = tmp_path / name
    dump(LARGE, path, compress)
    text = f'mmap_mode "r+" is not compatible with compressed file {path}. '
    text += '"r+" flag will be ignored.'

    assert only_warning(lambda: load(path, "r+")) == text
    with path.open("rb") as file:
        assert only_warning(lambda: load(file, "r+")) == text


def test_a_memory_file_is_read_with_joblibs_warning() -> None:
    file = io.BytesIO()
    dump(LARGE, file)

    assert only_warning(lambda: load(file, "r")) == (
        'In memory persistence is not compatible with mmap_mode "r" flag passed. '
        "mmap_mode option will be ignored."
    )


def test_a_file_of_another_kind_is_read_with_joblibs_warning(tmp_path: Path) -> None:
    dump(LARGE, tmp_path / "value.gz")

    with gzip.open(tmp_path / "value.gz") as file:
        source: Any = file
        text = only_warning(lambda: load(source, "w+"))

        assert text == (
            f'"{file!r}" is not a raw file, mmap_mode "r+" flag will be ignored.'
        )


def test_a_value_without_large_memory_is_mapped_without_a_warning(
    tmp_path: Path,
) -> None:
    dump(["text", 1], tmp_path / "value")

    assert load(tmp_path / "value", "r") == ["text", 1]


# --- the other options ---

SWAPPED = [
    np.arange(5000).astype(">i4"),
    np.asfortranarray(np.arange(6).astype(">f8").reshape(2, 3)),
    np.arange(9).astype(">i2")[::2],
    np.arange(3).astype(">M8[s]"),
    np.array(["ä"], ">U2"),
    np.zeros(2, [("a", ">i4"), ("b", ">f8")]),
    np.ones((1, 1), ">i4").view(np.matrix),
]


@pytest.mark.parametrize(("native", "is_native"), [(True, True), (False, False)])
@pytest.mark.parametrize("safe", [False, True])
def test_the_byte_order_is_native_if_it_is_wanted(
    native: Any, is_native: bool, safe: bool
) -> None:
    file = io.BytesIO()
    dump(SWAPPED, file)

    result = load(file, ensure_native_byte_order=native, safe=safe)

    assert [array.dtype.isnative for array in result] == [is_native] * len(SWAPPED)
    for copy, array in zip(result, SWAPPED, strict=True):
        assert copy.tolist() == array.tolist()
    assert result[1].flags.f_contiguous


def test_by_default_the_byte_order_is_the_one_that_was_dumped() -> None:
    assert [array.dtype.str for array in round_trip(SWAPPED)] == [
        array.dtype.str for array in SWAPPED
    ]


def test_a_native_byte_order_and_a_map_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"only.*'mmap_mode' parameter is set to None"):
        load(tmp_path / "absent", "r", ensure_native_byte_order=True)


@pytest.mark.parametrize(
    "options",
    [
        {"mmap_mode": "w"},
        {"mmap_mode": True},
        {"mmap_mode": ["r"]},
        {"ensure_native_byte_order": "maybe"},
        {"ensure_native_byte_order": None},
        {"trusted": [Fit]},
    ],
    ids=repr,
)
def test_a_senseless_option_is_a_value_error(options: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        load(tmp_path / "absent", **options)


@pytest.mark.parametrize("protocol", [None, 0, 2, 5, pickle.HIGHEST_PROTOCOL, -1])
def test_a_protocol_is_accepted(protocol: int | None) -> None:
    file = io.BytesIO()

    dump([1], file, protocol=protocol)

    assert load(file) == [1]


def test_a_protocol_that_is_no_number_is_a_value_error() -> None:
    wrong: Any = "5"
    with pytest.raises(ValueError, match="protocol"):
        dump([1], io.BytesIO(), protocol=wrong)


def test_a_path_is_returned_as_text(tmp_path: Path) -> None:
    assert dump(1, tmp_path / "value") == [str(tmp_path / "value")]


# --- files of others ---


@pytest.mark.parametrize("compress", [0, 3, "bz2"])
def test_a_file_of_joblib_is_read(compress: Any, tmp_path: Path) -> None:
    path = tmp_path / "value"
    joblib.dump(VALUE, path, compress=compress)

    assert is_value(load(path))
    with path.open("rb") as file:
        assert is_value(load(file))


@pytest.mark.parametrize(
    "content",
    [b"a,b\n1,2\n", b"from x import y\n", b"import sys, os\nx=1\n", b"PK\3\4", b"\0"],
)
def test_any_other_file_is_said_to_be_none_of_ours(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(content)

    with pytest.raises(CorruptedFile, match="other is a file of neither"):
        load(tmp_path / "other")


def test_an_old_pickle_of_a_class_that_is_gone_names_it(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"cgone_for_good.models\nFit\n.")

    with pytest.raises(ModuleNotFoundError, match="gone_for_good"):
        load(tmp_path / "old")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_is_read(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(pickle.dumps(VALUE, protocol=protocol))

    assert is_value(load(tmp_path / "value"))


# --- deep values ---


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def deepest(write: Callable[[list[Any]], object]) -> int:
    """Return how deep a list may be nested for `write`."""
    shallow, deep = 1, 10_000
    while deep - shallow > 1:
        middle = (shallow + deep) // 2
        try:
            write(nested(middle))
        except RecursionError:
            deep = middle
        else:
            shallow = middle
    return shallow


def test_a_value_may_be_nested_about_as_deep_as_for_pickle() -> None:
    ours = deepest(lambda value: dump(value, io.BytesIO()))

    assert ours > deepest(pickle.dumps) - 20
    assert len(repr(round_trip(nested(200)))) == 402


@pytest.mark.parametrize("beside", [None, lambda: 1], ids=["plain", "a function"])
def test_a_deeper_value_is_a_clear_error(beside: Any, tmp_path: Path) -> None:
    dump(["old"], tmp_path / "value")

    with pytest.raises(RecursionError, match=r"sys\.setrecursionlimit"):
        dump([beside, nested(100_000)], tmp_path / "value")

    assert load(tmp_path / "value") == ["old"]
    assert len(list(tmp_path.iterdir())) == 1


# --- documentation ---


def test_the_examples_of_the_documentation_run() -> None:
    attempted = 0
    for test in doctest.DocTestFinder().find(persistence, globs=vars(persistence)):
        outcome = doctest.DocTestRunner().run(test)
        assert outcome.failed == 0
        attempted += outcome.attempted

    assert attempted >= 4
