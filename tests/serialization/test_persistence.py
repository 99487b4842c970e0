"""A value in a file: whole and the same, or a ContainerError."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from cachekit.errors import ContainerError
from cachekit.serialization import Codec, Label, codec_from, read_value, write_value
from cachekit.serialization.container import CHUNK_BYTES
from cachekit.serialization.values import write_value_to
from tests.serialization.arrays import contiguous_arrays, same

CODECS = [codec_from("none"), codec_from("zstd")]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=["none", "zstd"])


def pack(value: object, codec: Codec | None = None) -> bytes:
    file = io.BytesIO()
    size = write_value(file, value, codec or codec_from(False))
    assert size == len(file.getvalue())
    return file.getvalue()


def unpack(packed: bytes) -> Any:
    return read_value(io.BytesIO(packed))


@each_codec
@pytest.mark.parametrize("value", [None, 0, "text", [1, {"a": (2,)}], b"x" * 200_000])
def test_values_come_back(value: object, codec: Codec) -> None:
    assert unpack(pack(value, codec)) == value


@each_codec
@settings(deadline=None)
@given(contiguous_arrays())
def test_arrays_come_back_the_same(codec: Codec, array: NDArray[Any]) -> None:
    assert same(unpack(pack(array, codec)), array)


@each_codec
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("writable", [True, False])
def test_an_array_of_several_chunks_comes_back_the_same(
    codec: Codec, order: Any, writable: bool
) -> None:
    array = np.asarray(np.random.default_rng(0).random((700, 400)), order=order)
    array.flags.writeable = writable
    assert array.nbytes > 2 * CHUNK_BYTES

    result = unpack(pack(array, codec))

    assert same(result, array)


@each_codec
def test_loaded_arrays_share_no_memory(codec: Codec) -> None:
    ones = np.ones(5000)

    first, second = unpack(pack([ones, ones.copy()], codec))
    first[:] = 7

    assert second.tolist() == ones.tolist()


@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
def test_a_file_on_disk_gives_the_value_back(tmp_path: Path, buffering: int) -> None:
    large, small = np.arange(300_000), np.arange(3)
    value = {"large": large, "small": small, "name": "fit"}
    path = tmp_path / "value"
    with path.open("wb") as file:
        size = write_value(file, value, codec_from(False))

    with path.open("rb", buffering=buffering) as file:
        result = read_value(file)

    assert path.stat().st_size == size
    assert result["name"] == "fit"
    assert same(result["large"], large)
    assert same(result["small"], small)


def test_a_loaded_value_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_bytes(pack(np.arange(300_000)))
    with path.open("rb") as file:
        result = read_value(file)

    path.write_bytes(bytes(path.stat().st_size))

    assert result.sum() == sum(range(300_000))


# --- values that cannot be rebuilt ---


@pytest.fixture
def vanishing(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Import a module which a test can take away again."""
    module = types.ModuleType("vanishing")
    code = "class Model:\n    def __init__(self): self.rate = 0.1\n"
    exec(code, module.__dict__)  # so that the class is of this module
    monkeypatch.setitem(sys.modules, "vanishing", module)
    return module


def test_a_value_whose_class_is_gone_is_a_container_error(
    vanishing: types.ModuleType,
) -> None:
    packed = pack(vanishing.Model())
    del vanishing.Model

    with pytest.raises(ContainerError, match="Model"):
        unpack(packed)


def test_a_value_whose_module_is_gone_is_a_container_error(
    vanishing: types.ModuleType,
) -> None:
    packed = pack([vanishing.Model()])
    del sys.modules["vanishing"]

    with pytest.raises(ContainerError, match="vanishing") as caught:
        unpack(packed)

    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def raise_now(error: type[BaseException]) -> NoReturn:
    raise error("while rebuilding")


class Failing:
    """Fails to be rebuilt, in the way it is told."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return raise_now, (self.error,)


@pytest.mark.parametrize("error", [ValueError, AttributeError, OSError, RecursionError])
def test_a_value_that_fails_to_be_rebuilt_is_a_container_error(
    error: type[Exception],
) -> None:
    packed = pack(Failing(error))

    with pytest.raises(ContainerError, match="while rebuilding") as caught:
        unpack(packed)

    assert isinstance(caught.value.__cause__, error)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_is_no_fault_of_the_value_passes(error: type[BaseException]) -> None:
    packed = pack(Failing(error))

    with pytest.raises(error, match="while rebuilding"):
        unpack(packed)


# --- a value as a new file ---


class Folder:
    """Takes files, and notes how each came."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[str] = []

    def open(self, name: str) -> BinaryIO:
        self.calls.append("open")
        return (self.path / name).open("xb")

    def write(self, name: str, content: bytes) -> None:
        self.calls.append("write")
        (self.path / name).write_bytes(content)


class Counting:
    """Notes how often it is pickled."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.times = 0

    def __reduce__(self) -> tuple[type, tuple[bytes]]:
        self.times += 1
        return bytes, (b"x" * self.length,)


@each_codec
@pytest.mark.parametrize(
    "value",
    [
        7,
        "text" * 1000,
        np.arange(3),
        np.arange(10_000),
        b"x" * 65_500,
        b"x" * 3_000_000,
    ],
    ids=["number", "text", "array", "buffer", "about small", "large"],
)
def test_a_value_as_a_new_file_has_the_same_bytes(
    tmp_path: Path, value: object, codec: Codec
) -> None:
    label = Label(b"model/3f9c")
    file = io.BytesIO()
    write_value(file, value, codec, label)

    size = write_value_to(Folder(tmp_path), "value", value, codec, label)

    assert (tmp_path / "value").read_bytes() == file.getvalue()
    assert size == len(file.getvalue())


def test_a_small_value_is_written_by_one_call(tmp_path: Path) -> None:
    folder = Folder(tmp_path)

    write_value_to(folder, "value", [1, "two"], codec_from(False), None)

    assert folder.calls == ["write"]


@each_codec
@pytest.mark.parametrize("length", [10, 100_000, 3_000_000])
def test_a_value_of_any_size_is_pickled_once(
    tmp_path: Path, length: int, codec: Codec
) -> None:
    value = Counting(length)

    write_value_to(Folder(tmp_path), "value", value, codec, None)

    assert value.times == 1
    assert unpack((tmp_path / "value").read_bytes()) == b"x" * length


def test_of_a_value_that_cannot_be_pickled_no_file_is_made(tmp_path: Path) -> None:
    folder = Folder(tmp_path)

    with pytest.raises(Refused, match="never"):
        write_value_to(folder, "value", [1, Stubborn()], codec_from(False), None)

    assert folder.calls == []


@pytest.mark.parametrize("length", [10, 3_000_000])
def test_a_local_function_is_written_whatever_went_before_it(
    tmp_path: Path, length: int
) -> None:
    value = (b"x" * length, lambda: length)  # pickle fails at its end

    write_value_to(Folder(tmp_path), "value", value, codec_from(False), None)

    before, function = unpack((tmp_path / "value").read_bytes())
    assert (before, function()) == (b"x" * length, length)


# --- values that cannot be written ---


class Refused(Exception):
    """The value's own exception."""


class Stubborn:
    def __reduce__(self) -> str:
        raise Refused("never")


def test_a_value_that_cannot_be_pickled_writes_nothing() -> None:
    file = io.BytesIO()

    with pytest.raises(Refused, match="never"):
        write_value(file, [np.zeros(10_000), Stubborn()], codec_from(False))

    assert file.getvalue() == b""
