"""Whatever joblib wrote is read as it was, without joblib; damage is told as such."""

from __future__ import annotations

import bz2
import collections
import contextlib
import datetime
import gzip
import importlib
import io
import lzma
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray

from cachekit.errors import (
    CacheKitError,
    CorruptedFile,
    UnsupportedContainer,
    UntrustedContent,
)
from cachekit.serialization.joblib_files import ZFILE_MAGIC, open_zfile, read_joblib

DATA = Path(joblib.__file__).parent / "test" / "data"
FILES_OF_OLD = sorted(
    path for path in DATA.glob("joblib_*") if path.suffix not in (".npy", ".z")
)


def read(path: Path, **options: Any) -> Any:
    """Read a file that is compressed in any way, as a caller of `read_joblib` does."""
    content = path.read_bytes()
    if content.startswith(ZFILE_MAGIC):
        opened = open_zfile(io.BytesIO(content))
        return read_joblib(opened, path=str(path), **options)
    for magic, decompress in DECOMPRESSORS.items():
        if content.startswith(magic):
            return read_bytes(decompress(content), **options)
    with path.open("rb") as file:
        return read_joblib(file, path=str(path), **options)


DECOMPRESSORS: dict[bytes, Callable[[bytes], bytes]] = {
    b"x": zlib.decompress,
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7z": lzma.decompress,
    b"\x5d\0": lzma.decompress,
}


def read_bytes(content: bytes, **options: Any) -> Any:
    return read_joblib(io.BytesIO(content), path=None, **options)


def dumped(value: object, protocol: int | None = None) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file, protocol=protocol)
    return file.getvalue()


def assert_same(result: Any, expected: Any) -> None:
    """Check value, type, dtype and layout, through lists and dicts."""
    assert type(result) is type(expected)
    if isinstance(expected, dict):
        assert list(result) == list(expected)
        assert_same(list(result.values()), list(expected.values()))
    elif isinstance(expected, list | tuple):
        assert len(result) == len(expected)
        for left, right in zip(result, expected, strict=True):
            assert_same(left, right)
    elif isinstance(expected, np.ndarray):
        assert result.dtype == expected.dtype
        assert result.flags.f_contiguous == expected.flags.f_contiguous
        np.testing.assert_array_equal(result, expected)
    else:
        assert result == expected


# --- files of the joblib of then ---

VALUE_OF_OLD = [
    np.arange(5, dtype="<i8"),
    np.arange(5, dtype="<f8"),
    np.array([1, "abc", {"a": 1, "b": 2}], dtype="O"),
    bytes(range(256)),
    np.arange(3, dtype="<i8").reshape(1, 3).view(np.matrix),
    "C'est l'\xe9t\xe9 !",
]


def test_there_are_files_of_old() -> None:
    assert len(FILES_OF_OLD) > 40


@pytest.mark.parametrize("path", FILES_OF_OLD, ids=lambda path: path.name)
def test_files_of_old_are_read(path: Path) -> None:
    result = read(path)

    result[2][2] = dict(sorted(result[2][2].items()))
    assert_same(result, VALUE_OF_OLD)


@pytest.mark.parametrize("path", FILES_OF_OLD, ids=lambda path: path.name)
def test_arrays_of_old_are_mapped_if_they_lie_as_they_are(path: Path) -> None:
    result = read(path, mmap_mode="r")

    numbers = result[1]
    np.testing.assert_array_equal(numbers, VALUE_OF_OLD[1])
    assert isinstance(numbers, np.memmap) is (path.suffix == ".pkl")


def test_joblib_is_not_imported() -> None:
    path = DATA / "joblib_0.11.0_pickle_py36_np111.pkl"
    program = (
        "import sys; from cachekit.serialization.joblib_files import read_joblib; "
        "value = read_joblib(open(sys.argv[1], 'rb'), path=None); "
        "assert len(value) == 6 and 'joblib' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program, path], check=True)


def test_text_of_python_2_stays_bytes_if_it_is_not_ascii() -> None:
    content = b"\x80\x02]q\x00(U\x03abcU\x02\xc3\xa9e."

    assert read_bytes(content) == ["abc", b"\xc3\xa9"]


def test_a_copy_of_joblib_inside_another_package_is_known() -> None:
    content = dumped(np.arange(3), protocol=2).replace(
        b"cjoblib.numpy_pickle\n", b"csklearn.externals.joblib.numpy_pickle\n"
    )

    np.testing.assert_array_equal(read_bytes(content), np.arange(3))


# --- files of the joblib of now ---


class Model:
    def __init__(self, weights: NDArray[Any]) -> None:
        self.weights = weights

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and bool(np.all(self.weights == other.weights))

    __hash__ = None  # type: ignore[assignment]  # it is mutable


RECORDS = np.array([("a", 1.5), ("b", 2.5)], [("name", "U3"), ("score", "<f8")])
VALUES: dict[str, Any] = {
    "plain": {"a": [1, (2.5, None)], "b": "text", "c": b"bytes", "d": {1, 2}},
    "C order": np.arange(12.0).reshape(3, 4),
    "F order": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(20).reshape(4, 5)[:, ::2],
    "structured": RECORDS,
    "subarrays": np.zeros(2, [("at", "i2", (2, 2)), ("on", "?")]),
    "objects": np.array([["a", None], [1, {"b": [2]}]], dtype=object),
    "structured objects": np.array([("a", 1)], [("any", "O"), ("number", "i4")]),
    "zero-dimensional": np.array(7),
    "empty": np.zeros((0, 3), "f4"),
    "dates": np.array(["2020-01-01", "NaT"], "M8[D]"),
    "matrix": np.arange(4).reshape(2, 2).view(np.matrix),
    "record array": RECORDS.view(np.recarray),
    "scalar": np.float32(1.5),
    "nested": [np.arange(3), {"x": (np.ones(2), "between"), "y": Model(np.ones(3))}],
    "same twice": [RECORDS, RECORDS],
    "large": np.arange(250_000.0),
    "large bytes": [bytes(3 << 20), bytearray(3 << 20)],
    "datetime": datetime.datetime(2020, 2, 29),
    "ordered": collections.OrderedDict(b=1, a=2),
}

by_name = pytest.mark.parametrize("name", VALUES)


@by_name
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_values_come_back(name: str, protocol: int) -> None:
    assert_same(read_bytes(dumped(VALUES[name], protocol)), VALUES[name])


@by_name
@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_are_read(name: str, protocol: int) -> None:
    content = pickle.dumps(VALUES[name], protocol)

    result = read_bytes(content)

    assert_same(result, VALUES[name])


@by_name
def test_values_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    joblib.dump(VALUES[name], tmp_path / "file")

    assert_same(read(tmp_path / "file"), VALUES[name])


@by_name
def test_values_come_back_from_a_decompressor(name: str, tmp_path: Path) -> None:
    joblib.dump(VALUES[name], tmp_path / "file.gz", compress=("gzip", 1))

    with gzip.open(tmp_path / "file.gz") as file:
        result = read_joblib(file, path=None)  # type: ignore[arg-type]

    assert_same(result, VALUES[name])


@by_name
def test_values_come_back_from_a_pipe(name: str) -> None:
    content = dumped(VALUES[name])
    program = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(content)
        process.stdin.close()

        result = read_joblib(process.stdout, path=None)  # type: ignore[arg-type]

    assert_same(result, VALUES[name])


def test_arrays_that_joblib_could_not_align_are_read() -> None:
    class Pipe(io.BytesIO):
        def tell(self) -> int:
            raise io.UnsupportedOperation

    file = Pipe()
    joblib.dump([np.arange(3), "after"], file)

    assert_same(read_bytes(file.getvalue()), [np.arange(3), "after"])


def test_a_masked_array_comes_back() -> None:
    array = np.ma.masked_less(np.arange(6.0), 2)

    result = read_bytes(dumped({"masked": array}))["masked"]

    assert type(result) is type(array)
    assert result.tolist() == array.tolist()


def test_what_was_mapped_when_written_is_an_array(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "numbers", "i4", "w+", shape=(3, 4))

    result = read_bytes(dumped(mapped))

    assert_same(result, np.zeros((3, 4), "i4"))


def test_only_one_value_is_taken_from_a_file() -> None:
    file = io.BytesIO(dumped([np.arange(3)]) + dumped("second"))

    first, second = read_joblib(file, path=None), read_joblib(file, path=None)

    assert_same([first, second], [[np.arange(3)], "second"])


# --- byte order ---


@pytest.mark.parametrize(
    "dtype", [">i4", ">U2", ">M8[s]", [("a", ">i2"), ("b", "<f8"), ("c", ">f4", (2,))]]
)
def test_byte_order_becomes_native_unless_told_otherwise(dtype: Any) -> None:
    array = np.arange(3).astype("i2").astype(np.dtype(dtype))
    content = dumped(array)

    native = read_bytes(content)
    kept = read_bytes(content, native_byte_order=False)

    assert native.dtype.isnative
    np.testing.assert_array_equal(native, array)
    assert_same(kept, array)


# --- memory maps ---

MAPPED = ["C order", "F order", "structured", "dates", "large"]


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("name", MAPPED)
def test_arrays_are_mapped_where_they_lie(name: str, mode: str, tmp_path: Path) -> None:
    joblib.dump(["before", VALUES[name], "after"], tmp_path / "file")

    before, result, after = read(tmp_path / "file", mmap_mode=mode)

    assert isinstance(result, np.memmap)
    assert result.mode == mode
    assert result.flags.aligned
    assert (before, after) == ("before", "after")
    assert_same(np.asarray(result), VALUES[name])


@pytest.mark.parametrize("name", [name for name in VALUES if name not in MAPPED])
def test_other_values_come_back_when_mapping_is_asked_for(
    name: str, tmp_path: Path
) -> None:
    joblib.dump(VALUES[name], tmp_path / "file")

    result = read(tmp_path / "file", mmap_mode="r")

    np.testing.assert_equal(result, VALUES[name])


def test_a_map_can_be_written_to(tmp_path: Path) -> None:
    joblib.dump(np.zeros(3), tmp_path / "file")

    read(tmp_path / "file", mmap_mode="r+")[1] = 5

    assert read(tmp_path / "file").tolist() == [0, 5, 0]


def test_mapped_arrays_keep_their_byte_order(tmp_path: Path) -> None:
    joblib.dump(np.arange(3, dtype=">i4"), tmp_path / "file")

    assert read(tmp_path / "file", mmap_mode="r").dtype == ">i4"


def test_a_matrix_is_mapped_as_a_matrix(tmp_path: Path) -> None:
    joblib.dump(VALUES["matrix"], tmp_path / "file")

    result = read(tmp_path / "file", mmap_mode="r")

    assert type(result) is np.matrix
    assert not result.flags.writeable


def test_a_truncated_file_is_not_made_longer_by_a_map(tmp_path: Path) -> None:
    path = tmp_path / "file"
    joblib.dump(np.zeros(1000), path)
    os.truncate(path, 4000)

    with pytest.raises(CorruptedFile):
        read(path, mmap_mode="r+")

    assert path.stat().st_size == 4000


@pytest.mark.parametrize("in_memory", [True, False])
def test_without_a_path_nothing_is_mapped(in_memory: bool, tmp_path: Path) -> None:
    joblib.dump(np.zeros(3), tmp_path / "file")
    content = (tmp_path / "file").read_bytes()

    with (tmp_path / "file").open("rb") as opened:
        file = io.BytesIO(content) if in_memory else opened
        result = read_joblib(file, path=None, mmap_mode="r")

    assert type(result) is np.ndarray


# --- damage ---

SMALL = dumped([np.arange(3, dtype="i2"), np.array(["a", 1], object), "text"])


@pytest.mark.parametrize("on_disk", [True, False])
def test_truncation_at_every_byte_is_found(on_disk: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for length in range(len(SMALL)):
        path.write_bytes(SMALL[:length])
        with pytest.raises(CorruptedFile), path.open("rb") as file:
            read_joblib(file if on_disk else io.BytesIO(SMALL[:length]), path=str(path))


@pytest.mark.parametrize("length", range(0, 1000, 99))
def test_truncation_of_compressed_files_is_found(length: int, tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    joblib.dump(np.random.default_rng(0).random(150), path, compress=("gzip", 3))
    os.truncate(path, length)

    with pytest.raises(CorruptedFile), gzip.open(path) as file:
        read_joblib(file, path=None)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_never_worse_than_an_error(bit: int) -> None:
    flipped = bytearray(SMALL)
    for position in range(len(SMALL)):
        flipped[position] ^= 1 << bit
        with contextlib.suppress(CacheKitError, ImportError, AttributeError):
            repr(read_bytes(bytes(flipped)))
        flipped[position] ^= 1 << bit


class Calls:
    """Pickles as a call of a function, and a state that is set afterwards."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], *state: Any) -> None:
        self.reduced = (function, arguments, *state)

    def __reduce__(self) -> Any:
        return self.reduced


def reduced(array: NDArray[Any]) -> Any:
    return array.__reduce__()


def of_class(name: str, module: str = "joblib.numpy_pickle", **state: Any) -> bytes:
    """Pickle what joblib would, with a state of our choice."""
    return pickle.dumps(
        Calls(object.__new__, (getattr(importlib.import_module(module), name),), state),
        protocol=2,  # without frames, which the array would have to be outside of
    )


def array_stand_in(**state: Any) -> bytes:
    usual = {
        "subclass": np.ndarray,
        "shape": (3,),
        "order": "C",
        "dtype": np.dtype("i8"),
        "allow_mmap": True,
        "numpy_array_alignment_bytes": None,
    }
    # The pickle goes on after the array: its STOP comes last.
    return of_class("NumpyArrayWrapper", **{**usual, **state})[:-1]


def test_a_stand_in_made_by_hand_is_read() -> None:
    content = array_stand_in() + np.arange(3).tobytes() + b"."

    assert read_bytes(content).tolist() == [0, 1, 2]


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("mode", [None, "r", "r+"])
@pytest.mark.parametrize("shape", [(2**62,), (2**40,), (2**31, 2**31, 2**31), (-3,)])
def test_a_shape_beyond_the_file_is_damage(
    shape: tuple[int, ...], mode: str | None, on_disk: bool, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    content = array_stand_in(shape=shape) + bytes(24) + b"."
    path.write_bytes(content if on_disk else gzip.compress(content))

    with pytest.raises(CorruptedFile):
        read(path, mmap_mode=mode)


@pytest.mark.parametrize("opcode", [pickle.BINBYTES8, pickle.BYTEARRAY8, pickle.FRAME])
@pytest.mark.parametrize("length", [2**31, 2**40, 2**62, 2**63 + 1])
def test_a_length_beyond_the_file_is_damage(opcode: bytes, length: int) -> None:
    content = b"\x80\x05" + opcode + length.to_bytes(8, "little") + b"."
    compressed = io.BytesIO(gzip.compress(content))

    with pytest.raises(CorruptedFile):
        read_bytes(content)
    with pytest.raises(CorruptedFile):
        read_joblib(gzip.GzipFile(fileobj=compressed), path=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "state",
    [
        {"shape": "three"},
        {"shape": ("a",)},
        {"order": "Z"},
        {"dtype": "i8"},
        {"dtype": None},
        {"subclass": dict},
        {"subclass": "ndarray"},
    ],
    ids=str,
)
def test_a_stand_in_that_makes_no_sense_is_damage(state: dict[str, Any]) -> None:
    with pytest.raises(CorruptedFile):
        read_bytes(array_stand_in(**state) + bytes(24) + b".")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b".", b"\x80\xff.", b"\x80\x04K\x01", b"(lp0\nI1\na", b"\0" * 100],
    ids=str,
)
def test_other_content_is_damage(content: bytes) -> None:
    with pytest.raises(CorruptedFile):
        read_bytes(content)


def test_an_error_in_the_value_itself_is_told() -> None:
    with pytest.raises(CorruptedFile, match="invalid literal for int") as caught:
        read_bytes(pickle.dumps(Calls(int, ("five",))))

    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"cno_such_package\nThing\n.", ModuleNotFoundError),
        (b"cmath\nno_such_name\n.", AttributeError),
        (b"\x80\x04\x8c\x04math\x8c\x07no.such\x93.", AttributeError),
    ],
)
def test_a_class_that_is_gone_is_not_damage(
    content: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        read_bytes(content)

    assert "make that name importable" in caught.value.__notes__[0]


def test_a_failing_disk_is_not_damage() -> None:
    class Failing(io.BytesIO):
        def read(self, _length: int | None = None, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        read_joblib(Failing(), path=None)


# --- dtypes and arrays whose state numpy would believe ---

FIELD = {"a": (np.dtype("i8"), 0)}


@pytest.mark.parametrize(
    ("dtype", "state"),
    [
        (("O8", False, True), (3, "|", None, None, None, -1, -1, 0)),
        (("V8", False, True), (3, "|", None, None, None, -1, -1, 63)),
        (("V8", False, True), (3, "|", None, ("a",), FIELD, 16, 1, 0)),
        (("V8", False, True), (3, "|", None, ("a",), FIELD, 8, 0, 0)),
        (("V8", False, True), (3, "|", None, ("a", "b"), FIELD, 8, 1, 0)),
        (("V8", False, True), (3, "|", None, None, FIELD, 8, 1, 0)),
        (("V4", False, True), (3, "|", None, ("a",), FIELD, 4, 1, 0)),
        (("V8", False, True), (3, "|", (np.dtype("i8"), (9,)), None, None, 8, 1, 0)),
        (
            ("V8", False, True),
            (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0),
        ),
        (
            ("S8", False, True),
            (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 27),
        ),
        (("i1", False, True), (3, ">", None, None, None, -1, -1, 0)),
        (("m8", False, True), (3, "<", None, None, None, -1, -1, 0)),
        (("i8", False, True), (2, "<", None, None, None, -1, -1)),
        (("U3", False, True), (3, "<", None, None, None, -12, 4, 8)),
    ],
    ids=str,
)
def test_a_dtype_is_what_numpy_makes_of_its_parts(dtype: Any, state: Any) -> None:
    with contextlib.suppress(CorruptedFile):
        result = read_bytes(pickle.dumps(Calls(np.dtype, dtype, state)))
        assert result == pickle.loads(pickle.dumps(result))
        assert np.zeros(2, [("a", result)]).itemsize == result.itemsize
        parts = [part for part, *_ in (result.fields or {}).values()]
        assert result.hasobject == any(part.hasobject for part in (result.base, *parts))


def test_a_dtype_that_contains_itself_is_damage() -> None:
    dtype = Calls(np.dtype, ("V8", False, True))
    state = (3, "|", None, ("a",), {"a": (dtype, 0)}, 8, 1, 0)
    dtype.reduced = (np.dtype, ("V8", False, True), state)

    with contextlib.suppress(CorruptedFile):
        assert read_bytes(pickle.dumps(dtype)).fields["a"][0].itemsize == 8


@pytest.mark.parametrize("version", [(), (1,)])
def test_an_array_with_too_few_objects_is_damage(version: tuple[int, ...]) -> None:
    new, arguments, *_ = reduced(np.array([1], object))
    state = (*version, (100,), np.dtype(object), False, [1])

    with pytest.raises(CorruptedFile, match="other objects"):
        read_bytes(pickle.dumps(Calls(new, arguments, state)))


# --- files beside ---


def beside(folder: Path, filename: str | bytes, **state: Any) -> Path:
    """Write a main file of joblib 0.9 that names a file beside it."""
    content = of_class("NDArrayWrapper", filename=filename, subclass=np.ndarray)
    path = folder / "main.pkl"
    path.write_bytes(state.get("content", content))
    return path


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_an_array_in_a_file_beside_is_read(
    order: Any, version: tuple[int, int], tmp_path: Path
) -> None:
    array = np.arange(6.0).reshape(2, 3).copy(order)
    with (tmp_path / "main.pkl_01.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version)
    path = beside(tmp_path, "main.pkl_01.npy")

    assert_same(read(path), array)
    assert_same(np.asarray(read(path, mmap_mode="c")), array)


@pytest.mark.parametrize(
    "filename", ["../secret.npy", "/secret.npy", "x/../../secret.npy", b"../secret.npy"]
)
def test_only_the_folder_of_the_file_is_looked_in(
    filename: str | bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    np.save(tmp_path / "secret.npy", np.ones(3))
    path = beside(folder, filename)

    with pytest.raises(FileNotFoundError):
        read(path)


@pytest.mark.parametrize("filename", ["", "..", "a/..", "/", 5, None, "a\0b"])
def test_a_name_that_names_no_file_is_damage(filename: Any, tmp_path: Path) -> None:
    with pytest.raises(CorruptedFile):
        read(beside(tmp_path, filename))


def test_files_beside_cannot_be_found_without_a_path(tmp_path: Path) -> None:
    content = beside(tmp_path, "main.pkl_01.npy").read_bytes()

    with pytest.raises(UnsupportedContainer, match="path"):
        read_bytes(content)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x09\0", None])
def test_a_damaged_file_beside_is_damage(content: bytes | None, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(30))
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-1] if content is None else content)

    with pytest.raises(CorruptedFile):
        read(beside(tmp_path, "x.npy"))


# --- ZF files ---


def zfile(content: bytes, length: str) -> io.BytesIO:
    return io.BytesIO(b"ZF" + length.encode() + zlib.compress(content))


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100_000)], ids=len)
@pytest.mark.parametrize("width", [19, 20])
def test_a_zfile_is_decompressed(content: bytes, width: int) -> None:
    file = zfile(content, hex(len(content)).ljust(width))

    assert open_zfile(file).read() == content


def test_a_long_length_of_python_2_is_understood() -> None:
    assert open_zfile(zfile(b"hello", "0x5L".ljust(20))).read() == b"hello"


@pytest.mark.parametrize(
    "length", ["0x4", "0x6", "0x0", "-0x5", "five", "0x" + "f" * 17]
)
def test_a_zfile_of_another_length_than_it_tells_is_damage(length: str) -> None:
    with pytest.raises(CorruptedFile):
        open_zfile(zfile(b"hello", length.ljust(19)))


def test_a_truncated_zfile_is_damage() -> None:
    whole = zfile(b"hello", "0x5".ljust(19)).getvalue()

    for length in range(len(whole)):
        with pytest.raises(CorruptedFile):
            open_zfile(io.BytesIO(whole[:length]))


# --- safe loading ---


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "name", ["plain", "C order", "F order", "objects", "structured", "matrix", "dates"]
)
def test_safe_loading_reads_arrays(name: str, protocol: int) -> None:
    content = dumped([VALUES[name]], protocol)

    result = read_bytes(content, trusted=())

    assert_same(result, [VALUES[name]])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        Calls(os.system, ("true",)),
        [np.arange(3), Calls(os.system, ("true",))],
        np.array([Calls(os.system, ("true",))], object),
    ],
    ids=["alone", "after an array", "in an array of objects"],
)
def test_safe_loading_refuses_os_system(value: Any, protocol: int) -> None:
    content = dumped(value, protocol)

    with pytest.raises(UntrustedContent, match=r"system, which .* not allow"):
        read_bytes(content, trusted=())


def test_safe_loading_looks_into_files_beside(tmp_path: Path) -> None:
    array = np.array([Calls(os.system, ("true",))], object)
    np.save(tmp_path / "x.npy", array, allow_pickle=True)

    with pytest.raises(UntrustedContent, match="not allow"):
        read(beside(tmp_path, "x.npy"), trusted=())


def test_safe_loading_knows_the_names_of_python_2() -> None:
    assert read_bytes(b"c__builtin__\nset\n(tR.", trusted=()) == set()


class Tagged(np.ndarray):
    """An array with a state of its own kind."""

    def __reduce__(self) -> Any:
        return type(self), ((2,), "u1", b"ab"), self.tag

    def __setstate__(self, state: Any) -> None:
        self.tag = state


@pytest.mark.parametrize("tag", [1, "a tag of text", {"a": 1}, ((1,), 2, 3, [4])])
def test_an_array_may_have_a_state_of_its_own(tag: Any) -> None:
    array = Tagged((2,), "u1", b"ab")
    array.tag = tag

    result = read_bytes(dumped([array]))[0]

    assert result.tag == tag


class Holder:
    """A class, to be altered by a file."""


@pytest.mark.parametrize(
    "target", [Holder, dumped, os, len], ids=lambda target: target.__name__
)
def test_safe_loading_alters_no_classes_functions_or_modules(target: Any) -> None:
    content = b"c%s\n%s\n(dS'altered'\nI1\nsb."
    module, name = getattr(target, "__module__", "os"), target.__name__
    named = content % (str(module).encode(), name.encode())

    with pytest.raises((UntrustedContent, ImportError, AttributeError)):
        read_bytes(named, trusted=[target])

    assert not hasattr(target, "altered")


def test_safe_loading_takes_no_class_by_its_number() -> None:
    with pytest.raises(UntrustedContent, match="number"):
        read_bytes(b"\x80\x02\x82\x01.", trusted=())


def test_safe_loading_fills_an_array_only_once() -> None:
    new, arguments, state = reduced(np.arange(3))
    content = pickle.dumps(Calls(new, arguments, state), protocol=2)
    again = content[:-1] + pickle.dumps(state, protocol=2)[2:-1] + b"b."

    with pytest.raises(UntrustedContent, match="has been filled"):
        read_bytes(again, trusted=())
