"""Compressed files that the usual tools open, and that tell when they are damaged."""

from __future__ import annotations

import bz2
import errno
import functools
import gzip
import io
import itertools
import lzma
import multiprocessing
import pickle
import random
import shutil
import subprocess
import threading
import tracemalloc
import typing
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import joblib
import lz4.frame
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cachekit.errors import CorruptedFile
from cachekit.serialization import stream_methods, stream_writing, streams, threads
from cachekit.serialization.streams import (
    PREFIX_LENGTH,
    CompressorWrapper,
    is_stream_method,
    method_of_extension,
    method_of_start,
    open_compressing,
    open_decompressing,
    register_compressor,
)

METHODS = ["zlib", "gzip", "bz2", "lzma", "xz", "lz4", "zstd"]
IN_BLOCKS = ["gzip", "bz2", "xz", "lz4", "zstd"]
BLOCK = 1 << 16

LIBRARY_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE, preset=1),
    "xz": lambda data: lzma.compress(data, preset=1),
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def _zstd_decompress(data: bytes) -> bytes:
    reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
    return reader.read()


def _lz4_decompress(data: bytes) -> bytes:
    with lz4.frame.open(io.BytesIO(data)) as file:
        return bytes(file.read())


LIBRARY_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.decompress,
    "gzip": gzip.decompress,
    "bz2": bz2.decompress,
    "lzma": lambda data: lzma.decompress(data, format=lzma.FORMAT_ALONE),
    "xz": lambda data: lzma.decompress(data, format=lzma.FORMAT_XZ),
    "lz4": _lz4_decompress,
    "zstd": _zstd_decompress,
}

# What each tool is called with to decompress its standard input.
TOOLS = {
    "gzip": ["gunzip", "-c"],
    "bz2": ["bunzip2", "-c"],
    "xz": ["unxz", "-c"],
    "lzma": ["unxz", "--format=lzma", "-c"],
    "lz4": ["lz4", "-d", "-c"],
    "zstd": ["zstd", "-d", "-c"],
}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every test of several blocks quick, and use threads on any machine."""
    monkeypatch.setattr(stream_writing, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(stream_writing, "usable_cores", lambda: 3)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_registered", {})


@functools.cache
def content_of(size: int) -> bytes:
    """Bytes that can be compressed, but not to nothing."""
    words = [random.Random(number).randbytes(24) for number in range(200)]
    choose = random.Random(0)
    return b"".join(choose.choice(words) for _ in range(size // 24 + 1))[:size]


def compressed(data: bytes, method: str, level: int | None = None) -> bytes:
    file = io.BytesIO()
    with open_compressing(file, method, level) as writer:
        writer.write(data)
    return file.getvalue()


def decompressed(data: bytes, method: str) -> bytes:
    with open_decompressing(io.BytesIO(data), method) as reader:
        return reader.read()


SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 5 * BLOCK + 7]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_the_library_and_the_reader_read_what_is_written(
    method: str, size: int
) -> None:
    data = content_of(size)

    written = compressed(data, method)

    assert LIBRARY_DECOMPRESS[method](written) == data
    assert decompressed(written, method) == data


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_what_the_usual_library_writes_is_read(method: str, size: int) -> None:
    data = content_of(size)

    written = LIBRARY_COMPRESS[method](data)

    assert decompressed(written, method) == data


def _tool_decompress(method: str, data: bytes) -> bytes:
    tool = TOOLS.get(method)
    if tool is None or shutil.which(tool[0]) is None:
        return LIBRARY_DECOMPRESS[method](data)
    return subprocess.run(tool, input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("method", METHODS)
def test_the_command_line_tool_reads_what_is_written(method: str) -> None:
    data = content_of(7 << 20) if method in IN_BLOCKS else content_of(1 << 20)

    written = compressed(data, method, 1)

    assert _tool_decompress(method, written) == data


@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "lzma", "xz", "lz4"])
def test_a_compressed_file_of_joblib_is_read(method: str, tmp_path: Path) -> None:
    path = tmp_path / "value"
    joblib.dump(list(range(100_000)), path, compress=(method, 3))

    with path.open("rb") as file, open_decompressing(file, method) as reader:
        value = pickle.load(reader)

    assert value == list(range(100_000))


@pytest.mark.parametrize("method", METHODS)
def test_streams_one_after_the_other_are_read_as_one(method: str) -> None:
    compress = LIBRARY_COMPRESS[method]
    written = compress(b"one") + compress(b"") + compress(b"two") + compress(b"")

    assert decompressed(written, method) == b"onetwo"


@pytest.mark.parametrize("method", METHODS)
def test_a_file_that_gives_one_byte_at_a_time_is_read(method: str) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(1, size or 0))

    data = content_of(5000)
    compress = LIBRARY_COMPRESS[method]
    written = compress(data) + compress(data)

    with open_decompressing(Slow(written), method) as reader:
        assert reader.read() == data + data


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=10)
@given(cuts=st.lists(st.integers(0, 4 * BLOCK), max_size=8))
def test_the_file_does_not_depend_on_how_it_was_written(
    method: str, cuts: list[int]
) -> None:
    data = content_of(4 * BLOCK)
    places = [0, *sorted(cuts), len(data)]
    file = io.BytesIO()

    with open_compressing(file, method, 1) as writer:
        for start, end in itertools.pairwise(places):
            assert writer.write(data[start:end]) == end - start

    assert file.getvalue() == compressed(data, method, 1)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("method", IN_BLOCKS)
def test_the_file_does_not_depend_on_the_number_of_cores(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content_of(5 * BLOCK)
    by_three = compressed(data, method)
    monkeypatch.setattr(stream_writing, "usable_cores", lambda: 1)

    assert compressed(data, method) == by_three


def test_a_gzip_file_has_neither_a_time_nor_a_name() -> None:
    header = compressed(b"data", "gzip")[:10]

    flags, time = header[3], header[4:8]
    assert (flags, time) == (0, bytes(4))


@pytest.mark.parametrize("method", METHODS)
def test_arrays_and_other_buffers_can_be_written(method: str) -> None:
    array = np.arange(12.0).reshape(3, 4)
    file = io.BytesIO()

    with open_compressing(file, method) as writer:
        counts = [
            writer.write(array.data),
            writer.write(np.empty((0, 3)).data),
            writer.write(bytearray(b"ab")),
            writer.write(pickle.PickleBuffer(array.data)),
        ]

    assert counts == [96, 0, 2, 96]
    expected = array.tobytes() + b"ab" + array.tobytes()
    assert decompressed(file.getvalue(), method) == expected


@pytest.mark.usefixtures("small_blocks")
def test_a_buffer_may_change_once_it_is_written() -> None:
    data = bytearray(content_of(3 * BLOCK))
    expected = bytes(data)
    file = io.BytesIO()

    with open_compressing(file, "gzip") as writer:
        writer.write(data)
        data.clear()

    assert gzip.decompress(file.getvalue()) == expected


@pytest.mark.parametrize("method", METHODS)
def test_a_file_inside_is_closed_and_the_one_outside_stays_open(method: str) -> None:
    file = io.BytesIO()

    with open_compressing(file, method) as writer:
        assert writer.writable()
        assert not writer.readable()
    assert writer.closed
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"more")
    assert not file.closed

    file.seek(0)
    reader = open_decompressing(file, method)
    reader.close()
    assert not file.closed


def test_closing_early_completes_the_file() -> None:
    file = io.BytesIO()

    with open_compressing(file, "gzip") as writer:
        writer.write(b"data")
        writer.close()

    assert gzip.decompress(file.getvalue()) == b"data"


@pytest.mark.parametrize("method", METHODS)
def test_a_reader_can_be_peeked_into_and_read_in_any_way(method: str) -> None:
    data = content_of(3 << 19)
    reader = open_decompressing(io.BytesIO(LIBRARY_COMPRESS[method](data)), method)

    assert isinstance(reader, io.BufferedReader)
    assert reader.peek(4)[:4] == data[:4]
    assert reader.read(3) == data[:3]
    target = bytearray(1 << 20)
    assert reader.readinto(target) == len(target)
    assert target == data[3 : 3 + len(target)]
    assert reader.read() == data[3 + len(target) :]
    assert reader.read() == b""
    assert not reader.seekable()


# Each of these spots is hit in a file of several streams, but not between two.
SPOTS = [0.0, 0.001, 0.01, 0.3, 0.5, 0.77, 0.999]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("spot", SPOTS)
@pytest.mark.parametrize("method", METHODS)
def test_a_truncated_file_is_corrupted(method: str, spot: float) -> None:
    written = compressed(content_of(4 * BLOCK), method)
    cut = int(len(written) * spot)

    with pytest.raises(CorruptedFile):
        decompressed(written[:cut], method)


@pytest.mark.parametrize("method", METHODS)
def test_a_small_file_cut_anywhere_is_corrupted(method: str) -> None:
    written = compressed(b"some data", method)

    for cut in range(len(written)):
        with pytest.raises(CorruptedFile):
            decompressed(written[:cut], method)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("spot", [0.0, 0.1, 0.3, 0.5, 0.77, 0.95])
@pytest.mark.parametrize("method", sorted({*METHODS} - {"lzma"}))
def test_an_altered_file_is_corrupted(method: str, spot: float) -> None:
    written = bytearray(compressed(content_of(4 * BLOCK), method))
    written[int(len(written) * spot)] ^= 0x55

    with pytest.raises(CorruptedFile):
        decompressed(bytes(written), method)


def test_an_altered_lzma_file_is_corrupted_or_differs() -> None:
    # The format has no checksum: all depends on what is inside.
    data = content_of(BLOCK)
    written = bytearray(compressed(data, "lzma"))
    written[len(written) // 2] ^= 0x55

    try:
        read = decompressed(bytes(written), "lzma")
    except CorruptedFile:
        return
    assert read != data


@pytest.mark.parametrize("garbage", [b"x", b"\0", b"garbage" * 20, bytes(64)])
@pytest.mark.parametrize("method", METHODS)
def test_a_file_with_garbage_at_its_end_is_corrupted(
    method: str, garbage: bytes
) -> None:
    with pytest.raises(CorruptedFile):
        decompressed(compressed(b"some data", method) + garbage, method)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=50)
@given(data=st.binary(max_size=200))
def test_any_other_file_is_corrupted(method: str, data: bytes) -> None:
    with pytest.raises(CorruptedFile):
        decompressed(data, method)


class BrokenDisk(io.BytesIO):
    """Fails after some bytes, as a disk does."""

    def __init__(self, content: bytes = b"", *, room: int, number: int) -> None:
        super().__init__(content)
        self.room = room
        self.number = number

    def _use(self, count: int) -> None:
        self.room -= count
        if self.room < 0:
            raise OSError(self.number, "broken")

    def write(self, data: Any, /) -> int:
        self._use(memoryview(data).nbytes)
        return super().write(data)

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._use(len(data))
        return data


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("room", [0, 100, 3 * BLOCK // 2])
@pytest.mark.parametrize("method", METHODS)
def test_a_full_disk_is_told_and_leaves_no_thread(method: str, room: int) -> None:
    threads = threading.active_count()
    data = random.Random(0).randbytes(8 * BLOCK)
    file = BrokenDisk(room=room, number=errno.ENOSPC)

    with pytest.raises(OSError, match="broken") as caught:  # noqa: SIM117
        with open_compressing(file, method, 1) as writer:
            writer.write(data)

    assert caught.value.errno == errno.ENOSPC
    assert threading.active_count() == threads
    assert writer.closed


@pytest.mark.parametrize("method", METHODS)
def test_an_unreadable_disk_is_told_as_it_is(method: str) -> None:
    written = LIBRARY_COMPRESS[method](random.Random(0).randbytes(1 << 20))
    file = BrokenDisk(written, room=1 << 19, number=errno.EIO)

    with pytest.raises(OSError, match="broken") as caught:
        open_decompressing(file, method).read()

    assert caught.value.errno == errno.EIO


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("method", METHODS)
def test_an_exception_inside_ends_the_writing(method: str) -> None:
    threads = threading.active_count()
    file = io.BytesIO()

    with pytest.raises(KeyError), open_compressing(file, method) as writer:  # noqa: PT012
        writer.write(content_of(5 * BLOCK + 9))
        raise KeyError

    assert threading.active_count() == threads
    assert writer.closed
    assert len(file.getvalue()) < len(compressed(content_of(5 * BLOCK + 9), method))


@pytest.mark.usefixtures("small_blocks")
def test_an_error_of_a_thread_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_block: bytearray, *, level: int) -> bytes:
        raise MemoryError(level)

    replace_compression(monkeypatch, "gzip", fail)
    threads = threading.active_count()

    with pytest.raises(MemoryError):
        compressed(content_of(5 * BLOCK), "gzip")

    assert threading.active_count() == threads


def replace_compression(
    monkeypatch: pytest.MonkeyPatch, method: str, compress: Callable[..., bytes]
) -> None:
    def writer(file: BinaryIO, level: int) -> stream_writing.BlockWriter:
        return stream_writing.BlockWriter(compress, file, level)

    changed = stream_methods.METHODS[method]._replace(writer=writer)
    monkeypatch.setitem(stream_methods.METHODS, method, changed)


def test_several_threads_compress_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_writing, "usable_cores", lambda: 2)
    both = threading.Barrier(2, timeout=60)
    workers: list[int] = []

    def compress(block: bytearray, *, level: int) -> bytes:
        workers.append(threading.get_ident())
        if len(workers) <= 2:
            both.wait()  # one thread alone would wait here until the barrier breaks
        return stream_methods._gzip(block, level=level)

    replace_compression(monkeypatch, "gzip", compress)
    data = content_of(1 << 20) * 64

    written = compressed(data, "gzip", 1)

    assert len(workers) == 32
    assert len(set(workers)) == 3  # the last block is compressed by the caller
    assert workers.count(threading.get_ident()) == 1
    assert gzip.decompress(written) == data


@pytest.mark.parametrize("method", METHODS)
def test_one_block_needs_no_thread(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_writing, "ThreadPoolExecutor", None)

    compressed(content_of(stream_writing.BLOCK_BYTES), method, 1)


@pytest.mark.usefixtures("small_blocks")
def test_a_machine_without_threads_to_spare_writes_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = content_of(5 * BLOCK)
    usual = compressed(data, "gzip")

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)

    assert compressed(data, "gzip") == usual


@pytest.mark.usefixtures("small_blocks")
def test_a_forked_process_writes_like_its_parent(tmp_path: Path) -> None:
    data = content_of(5 * BLOCK)
    expected = compressed(data, "gzip")
    path = tmp_path / "file"

    child = multiprocessing.get_context("fork").Process(
        target=lambda: path.write_bytes(compressed(data, "gzip"))
    )
    child.start()
    child.join(60)

    assert path.read_bytes() == expected


def test_no_more_threads_than_cores_are_used() -> None:
    assert 1 <= threads.usable_cores() <= threads.MOST_THREADS


class Sink(io.RawIOBase):
    """Takes what is written and keeps none of it."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return len(data)


@pytest.mark.parametrize("method", ["zlib", "gzip", "lz4", "zstd"])
def test_memory_is_bounded_while_64_mebibytes_are_written_and_read(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stream_writing, "usable_cores", lambda: 2)
    part = content_of(1 << 20)
    path = tmp_path / "file"
    tracemalloc.start()
    try:
        with path.open("wb") as file, open_compressing(file, method, 1) as writer:
            for _ in range(64):
                writer.write(part)
        _, most_writing = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        with path.open("rb") as source, open_decompressing(source, method) as reader:
            total = sum(map(len, iter(lambda: reader.read(1 << 20), b"")))
        _, most_reading = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert total == 64 << 20
    assert most_writing < 24 << 20
    assert most_reading < 8 << 20


@pytest.mark.parametrize("method", METHODS)
def test_memory_is_bounded_when_little_becomes_much(method: str) -> None:
    written = LIBRARY_COMPRESS[method](bytes(64 << 20))
    tracemalloc.start()
    try:
        with open_decompressing(io.BytesIO(written), method) as reader:
            assert len(reader.read(1 << 20)) == 1 << 20
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 40 << 20


@pytest.mark.usefixtures("small_blocks")
def test_an_unbuffered_file_that_takes_a_part_gets_all() -> None:
    class Partial(io.RawIOBase):
        def __init__(self) -> None:
            self.content = bytearray()

        def write(self, data: Any, /) -> int:
            self.content += data[:1000]
            return min(len(data), 1000)

    file: Any = Partial()
    data = content_of(4 * BLOCK)

    with open_compressing(file, "bz2") as writer:
        writer.write(data)

    assert bz2.decompress(file.content) == data


RANGES = {
    "zlib": (1, 9),
    "gzip": (1, 9),
    "bz2": (1, 9),
    "lzma": (0, 9),
    "xz": (0, 9),
    "lz4": (0, 16),
    "zstd": (1, 22),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_level_works(method: str) -> None:
    lowest, highest = RANGES[method]

    for level in range(lowest, highest + 1):
        assert decompressed(compressed(b"data" * 99, method, level), method) == (
            b"data" * 99
        )


@pytest.mark.parametrize("method", METHODS)
def test_a_higher_level_makes_a_smaller_file(method: str) -> None:
    lowest, highest = RANGES[method]
    data = Path(typing.__file__).read_bytes() * 3

    low, high = (compressed(data, method, level) for level in (lowest, highest))

    assert len(high) < len(low)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", [-1, 99, 3.0, "3", (3,)])
def test_a_level_that_does_not_exist_is_refused(method: str, wrong: Any) -> None:
    lowest, highest = RANGES[method]
    told = f"{method} has levels {lowest} to {highest}, not "

    with (
        pytest.raises(ValueError, match=told),
        open_compressing(io.BytesIO(), method, wrong),
    ):
        pass


def test_the_usual_levels_are_those_of_joblib() -> None:
    data = content_of(100_000)
    usual = {"zlib": 3, "gzip": 3, "bz2": 9, "lzma": 6, "xz": 6, "lz4": 0, "zstd": 3}

    for method, level in usual.items():
        assert compressed(data, method) == compressed(data, method, level)


def test_an_unknown_method_is_refused() -> None:
    assert not is_stream_method("lz77")
    with pytest.raises(ValueError, match="no compression method 'lz77', only zlib, "):
        open_decompressing(io.BytesIO(), "lz77")
    with pytest.raises(ValueError, match="no compression method 'lz77', only zlib, "):
        compressed(b"", "lz77")


def test_the_names_of_the_methods_are_known() -> None:
    assert all(is_stream_method(method) for method in METHODS)
    assert not is_stream_method(3)
    assert not is_stream_method("none")


@pytest.mark.parametrize(
    ("filename", "method"),
    [
        ("a.pkl.gz", "gzip"),
        ("a.z", "zlib"),
        ("a.bz2", "bz2"),
        ("a.lzma", "lzma"),
        ("a.xz", "xz"),
        ("a.lz4", "lz4"),
        ("a.zst", "zstd"),
        ("a.pkl", None),
        ("gz", None),
        ("", None),
    ],
)
def test_an_extension_tells_the_method(filename: str, method: str | None) -> None:
    assert method_of_extension(filename) == method


@pytest.mark.parametrize("method", METHODS)
def test_a_start_tells_the_method(method: str) -> None:
    for level in range(RANGES[method][0], RANGES[method][1] + 1):
        written = compressed(b"data", method, level)
        assert method_of_start(written[:PREFIX_LENGTH]) == method
    assert method_of_start(LIBRARY_COMPRESS[method](b"data")) == method


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x1f",
        b"xyz",
        b"\x78\x00",
        pickle.dumps([1]),
        pickle.dumps([1], protocol=0),
        pickle.dumps([1], protocol=1),
        b"\x89ckit\r\n\x1a",
        b"PK\x03\x04",
    ],
)
def test_other_starts_tell_of_no_method(head: bytes) -> None:
    assert method_of_start(head) is None


class Reversed(io.BytesIO):
    """A compressed file of its own kind: ``rev!`` and the content backwards."""

    def __init__(self, file: BinaryIO, mode: str, compresslevel: int = 1) -> None:
        self.target = file if mode == "wb" else None
        self.level = compresslevel
        content = b""
        if mode == "rb":
            if file.read(4) != b"rev!":
                raise OSError("not a reversed file")
            content = file.read()[:0:-1]
        super().__init__(content)

    def close(self) -> None:
        if self.target is not None and not self.closed:
            self.target.write(b"rev!%d" % self.level + self.getvalue()[::-1])
        super().close()


REVERSED = CompressorWrapper(Reversed, prefix=b"rev!", extension=".rev")


@pytest.mark.usefixtures("registry")
def test_a_registered_compressor_is_used() -> None:
    register_compressor("reversed", REVERSED)

    assert is_stream_method("reversed")
    assert method_of_extension("a.rev") == "reversed"
    assert method_of_start(b"rev!123") == "reversed"
    assert compressed(b"data", "reversed") == b"rev!1atad"
    assert compressed(b"data", "reversed", 5) == b"rev!5atad"
    assert decompressed(b"rev!1atad", "reversed") == b"data"
    reader: Any = open_decompressing(io.BytesIO(b"rev!1atad"), "reversed")
    assert reader.peek(2)[:2] == b"da"


@pytest.mark.usefixtures("registry")
def test_damage_that_a_registered_compressor_finds_is_told() -> None:
    register_compressor("reversed", REVERSED)

    with pytest.raises(CorruptedFile, match="not a reversed file"):
        decompressed(b"something", "reversed")
    with pytest.raises(OSError, match="broken"):
        open_decompressing(
            BrokenDisk(b"rev!1atad", room=5, number=errno.EIO), "reversed"
        ).read()


@pytest.mark.usefixtures("registry")
def test_a_wrapper_may_open_its_files_in_its_own_way() -> None:
    class Gzip(CompressorWrapper):
        def compressor_file(
            self, fileobj: Any, compresslevel: int | None = None
        ) -> Any:
            return gzip.GzipFile(
                fileobj=fileobj, mode="wb", compresslevel=compresslevel or 1
            )

        def decompressor_file(self, fileobj: Any) -> Any:
            return gzip.GzipFile(fileobj=fileobj, mode="rb")

    register_compressor("mine", Gzip(gzip.GzipFile, b"\x1f\x8b\x08", ".gz"))
    data = content_of(3 << 20)
    written = compressed(data, "mine")

    # The longer start wins, and a registered one among those of the same length.
    assert method_of_start(written) == "mine"
    assert method_of_extension("a.gz") == "mine"
    assert decompressed(written, "mine") == data
    with pytest.raises(CorruptedFile):
        decompressed(written[:-10], "mine")


@pytest.mark.usefixtures("registry")
def test_an_empty_prefix_and_extension_tell_nothing() -> None:
    register_compressor("unmarked", CompressorWrapper(Reversed))

    assert method_of_extension("a.pkl") is None
    assert method_of_start(b"data") is None


@pytest.mark.usefixtures("registry")
def test_a_prefix_of_text_is_taken_as_joblib_does_and_never_found() -> None:
    prefix: Any = "test-prefix"
    register_compressor("text", CompressorWrapper(Reversed, prefix=prefix))

    assert method_of_start(b"test-prefix") is None


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("name", [1, (), {}])
def test_a_compressor_needs_a_name(name: Any) -> None:
    with pytest.raises(ValueError, match="Compressor name should be a string"):
        register_compressor(name, REVERSED)


@pytest.mark.usefixtures("registry")
def test_a_compressor_needs_a_wrapper_of_file_objects() -> None:
    wrong: Any = Reversed

    with pytest.raises(ValueError, match="implement the CompressorWrapper interface"):
        register_compressor("wrong", wrong)
    with pytest.raises(ValueError, match="implement the file object interface"):
        register_compressor("wrong", CompressorWrapper(dict, prefix=b"prefix"))
    with pytest.raises(ValueError, match="longer than 32 bytes"):
        register_compressor("wrong", CompressorWrapper(Reversed, prefix=bytes(33)))
    assert not is_stream_method("wrong")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("name", ["reversed", "gzip"])
def test_a_name_is_taken_twice_only_by_force(name: str) -> None:
    if name == "reversed":
        register_compressor(name, REVERSED)

    with pytest.raises(ValueError, match=f"Compressor '{name}' already registered"):
        register_compressor(name, REVERSED)
    register_compressor(name, REVERSED, force=True)

    assert compressed(b"data", name) == b"rev!1atad"
