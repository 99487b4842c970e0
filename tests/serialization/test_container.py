"""The container gives back what was written, or a ContainerError; nothing between.

The format is spelled out here a second time, so that a change of it by accident is
found: containers of version 1 are on people's disks. What a hostile container may do
is in `test_malformed`.
"""

from __future__ import annotations

import errno
import io
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from cachekit.errors import ContainerError, CorruptedFile, UnsupportedContainer
from cachekit.serialization import container, reading
from cachekit.serialization.codecs import Codec, NoCompression, Zstd, codec_from
from cachekit.serialization.container import CHUNK_BYTES, SMALL_CONTAINER
from cachekit.serialization.files import Forward
from cachekit.serialization.signing import Label, Seal
from cachekit.serialization.writing import Writer

METHODS = ["zstd", "lz4", "zlib", "gzip", "bz2", "xz", "lzma"]
QUICKEST = {"zstd": 1, "lz4": 1, "zlib": 1, "gzip": 1, "bz2": 1, "xz": 1, "lzma": 1}
CODECS = {"none": codec_from("none")}
CODECS |= {name: codec_from((name, QUICKEST[name])) for name in METHODS}
CODECS |= {
    f"{name}+shuffle": codec_from((f"{name}+shuffle", QUICKEST[name]))
    for name in METHODS
}
HEADER_BYTES = 24
SEGMENT_BYTES = 32
TRAILER_BYTES = 64

each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


def write(
    file: Any,
    stream: bytes = b"",
    buffers: Sequence[bytes] = (),
    codec: Codec = CODECS["none"],
    *,
    item_size: int = 1,
) -> int:
    writer = Writer(file, codec)
    try:
        writer.write(stream)
        for buffer in buffers:
            writer.add_buffer([memoryview(buffer)], item_size)
        return writer.finish()
    finally:
        writer.close()


def pack(
    stream: bytes = b"",
    buffers: Sequence[bytes] = (),
    codec: Codec = CODECS["none"],
    *,
    item_size: int = 1,
) -> bytes:
    file = io.BytesIO()
    written = write(file, stream, buffers, codec, item_size=item_size)
    assert written == len(file.getvalue()) == file.tell()
    return file.getvalue()


def plain(content: reading.Content) -> tuple[bytes, list[bytes]]:
    return bytes(content.stream), [bytes(buffer) for buffer in content.buffers]


def unpack(packed: bytes) -> tuple[bytes, list[bytes]]:
    return plain(reading.read(io.BytesIO(packed)))


def unpack_forward(packed: bytes, *, alone: bool = True) -> tuple[bytes, list[bytes]]:
    file: Any = Forward(io.BytesIO(packed), b"")
    return plain(reading.read(file, alone=alone))


def noise(length: int, *, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


def numbers(length: int, *, size: int = 8) -> bytes:
    """Return numbers that vary slowly, which no codec finds hard."""
    counted = np.arange(length // size + 1, dtype="<u8") // 8
    items = counted.repeat(2).view("u1").reshape(-1, 16)[:, :size]
    return items.tobytes()[:length]


def flipped(packed: bytes, position: int, *, bit: int = 0) -> bytes:
    damaged = bytearray(packed)
    damaged[position] ^= 1 << bit
    return bytes(damaged)


# --- round trips ---


@each_codec
@settings(max_examples=40, deadline=None)
@given(
    stream=st.binary(max_size=300),
    buffers=st.lists(st.binary(max_size=300), max_size=5),
    item_size=st.sampled_from([1, 2, 3, 4, 8, 16]),
)
def test_streams_and_buffers_come_back(
    codec: Codec, stream: bytes, buffers: list[bytes], item_size: int
) -> None:
    packed = pack(stream, buffers, codec, item_size=item_size)

    assert unpack(packed) == unpack_forward(packed) == (stream, buffers)


EDGES = [0, 1, 63, 64, 65, SMALL_CONTAINER, CHUNK_BYTES, 2 * CHUNK_BYTES]
lengths = st.builds(
    lambda edge, step: max(0, edge + step),
    st.sampled_from(EDGES),
    st.integers(-300, 300) | st.integers(-1, 1),
)
contents = st.builds(bytes, lengths) | st.builds(noise, lengths)


@pytest.mark.parametrize("name", ["none", "zstd", "lz4+shuffle", "zlib+shuffle"])
@settings(max_examples=25, deadline=None)
@given(
    stream=contents,
    buffers=st.lists(contents, max_size=3),
    item_size=st.sampled_from([1, 2, 3, 4, 8, 16]),
)
def test_sizes_around_every_boundary_come_back(
    name: str, stream: bytes, buffers: list[bytes], item_size: int
) -> None:
    packed = pack(stream, buffers, CODECS[name], item_size=item_size)

    assert unpack(packed) == unpack_forward(packed) == (stream, buffers)


@each_codec
def test_buffers_around_a_chunk_come_back(codec: Codec) -> None:
    lengths = [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7]
    buffers = [numbers(length) for length in lengths]

    packed = pack(numbers(CHUNK_BYTES + 3), buffers, codec, item_size=8)

    assert unpack(packed) == (numbers(CHUNK_BYTES + 3), buffers)


@pytest.mark.parametrize(
    "name", [f"{name}+shuffle" for name in ("zstd", "lz4", "zlib")]
)
@pytest.mark.parametrize("item_size", [1, 2, 3, 4, 8, 16])
@pytest.mark.parametrize("tail", [0, 1, 15])
def test_items_that_lie_across_chunks_come_back(
    name: str, item_size: int, tail: int
) -> None:
    content = numbers(CHUNK_BYTES + 9600 + tail, size=item_size)

    packed = pack(
        b"s", [content, b"", content[:100]], CODECS[name], item_size=item_size
    )

    assert len(packed) < len(content) / 2
    assert unpack(packed) == (b"s", [content, b"", content[:100]])


@pytest.mark.parametrize("surplus", range(-3, 4))
def test_a_container_just_as_long_as_one_read_comes_back(surplus: int) -> None:
    empty = len(pack(b"x")) - 1
    stream = noise(SMALL_CONTAINER - empty + surplus)

    packed = pack(stream)

    assert len(packed) == SMALL_CONTAINER + surplus
    assert unpack(packed) == (stream, [])


@settings(max_examples=40, deadline=None)
@given(st.lists(lengths, max_size=6), st.lists(lengths, max_size=6))
def test_what_comes_in_pieces_comes_back_in_one(
    pieces: list[int], blocks: list[int]
) -> None:
    content = [noise(length, seed=length) for length in pieces + blocks]
    stream, memory = content[: len(pieces)], content[len(pieces) :]
    file = io.BytesIO()
    writer = Writer(file, CODECS["none"])

    for piece in stream:
        writer.write(piece)
    writer.add_buffer(map(memoryview, memory))
    writer.finish()

    assert file.getvalue() == pack(b"".join(stream), [b"".join(memory)])


@each_codec
def test_buffers_of_several_chunks_come_back_writable(codec: Codec) -> None:
    content = noise(2 * CHUNK_BYTES) + bytes(CHUNK_BYTES + 1)
    packed = pack(b"s", [content, b"small"], codec, item_size=4)

    files: list[Any] = [io.BytesIO(packed), Forward(io.BytesIO(packed), b"")]
    for file in files:
        buffer, small = reading.read(file).buffers

        assert buffer == content
        assert not memoryview(buffer).readonly
        assert not memoryview(small).readonly


@each_codec
def test_many_buffers_come_back(codec: Codec) -> None:
    buffers = [bytes([number]) * (number % 90) for number in range(250)]

    assert unpack(pack(b"s", buffers, codec, item_size=2)) == (b"s", buffers)


def test_raw_buffers_start_at_multiples_of_64() -> None:
    buffers = [noise(length, seed=length) for length in (100, 4096, 64, 5001)]

    packed = pack(noise(77), buffers)

    assert [packed.index(buffer) % 64 for buffer in buffers] == [0, 0, 0, 0]


def test_a_raw_buffer_is_one_run_of_memory() -> None:
    content = noise(2 * CHUNK_BYTES + 9)

    assert content in pack(b"stream", [content])


@each_codec
def test_chunks_that_do_not_shrink_are_stored_as_they_are(codec: Codec) -> None:
    stream, buffer = noise(500), noise(CHUNK_BYTES + 1000)

    packed = pack(stream, [buffer], codec, item_size=4)

    assert stream in packed
    assert buffer[:CHUNK_BYTES] in packed
    assert buffer[CHUNK_BYTES:] in packed
    assert len(packed) == len(pack(stream, [buffer]))
    assert unpack(packed) == (stream, [buffer])


def test_only_the_chunks_that_shrink_are_compressed() -> None:
    hard, easy = noise(CHUNK_BYTES), bytes(CHUNK_BYTES)

    packed = pack(b"s", [easy + hard + easy], CODECS["zstd"])

    assert hard in packed
    assert len(packed) < CHUNK_BYTES + 1000
    assert unpack(packed) == (b"s", [easy + hard + easy])


def test_memory_that_is_mapped_is_neither_read_nor_checked(tmp_path: Path) -> None:
    buffers = [noise(100), b"", noise(CHUNK_BYTES * 2)]
    packed = bytearray(pack(b"stream", buffers))
    place = packed.index(buffers[2])
    packed[place] ^= 1
    path = tmp_path / "file"
    path.write_bytes(b"before" + packed)
    mapped: Any = np.memmap(path, "u1", "r")

    with path.open("rb") as file:
        file.seek(6)
        content = reading.read(file, mapped=mapped)
        assert file.tell() == 6 + len(packed)

    assert bytes(content.stream) == b"stream"
    assert [len(buffer) for buffer in content.buffers] == list(map(len, buffers))
    assert all(np.shares_memory(part, mapped) for part in content.buffers if len(part))
    assert content.buffers[2].offset == 6 + place
    assert (content.buffers[0].offset - 6) % 64 == 0
    with path.open("rb") as file:
        file.seek(6)
        with pytest.raises(CorruptedFile):
            reading.read(file)


# --- files of all kinds ---


@each_codec
@pytest.mark.parametrize("length", [10, SMALL_CONTAINER, 2 * CHUNK_BYTES])
@pytest.mark.parametrize("has_end", [True, False])
def test_a_container_in_the_middle_of_a_file_is_read(
    codec: Codec, length: int, has_end: bool
) -> None:
    content, end = numbers(length), b"after" * has_end
    file = io.BytesIO(b"before" + pack(b"s", [content], codec) + end)
    file.seek(6)

    result = plain(reading.read(file, alone=False))

    assert result == (b"s", [content])
    assert file.read() == end


@pytest.mark.parametrize("length", [10, SMALL_CONTAINER, 2 * CHUNK_BYTES])
def test_a_container_is_written_in_the_middle_of_a_file(length: int) -> None:
    file = io.BytesIO(b"before")
    file.seek(6)

    written = write(file, b"s", [noise(length)])

    assert file.getvalue() == b"before" + pack(b"s", [noise(length)])
    assert file.tell() == 6 + written


@each_codec
@pytest.mark.parametrize("forward", [False, True])
def test_containers_one_after_the_other_are_read(codec: Codec, forward: bool) -> None:
    contents = [b"", numbers(90), numbers(2 * CHUNK_BYTES), numbers(SMALL_CONTAINER)]
    plainly = io.BytesIO()
    for content in contents:
        write(plainly, content, [content, b""], codec, item_size=8)
    plainly.seek(0)
    file: Any = Forward(plainly, b"") if forward else plainly

    results = [plain(reading.read(file, alone=False)) for _ in contents]

    assert results == [(content, [content, b""]) for content in contents]
    assert file.read() == b""


class InSmallPieces(io.RawIOBase):
    """A file which, as the contract of raw files allows, moves less than asked."""

    def __init__(self, content: bytes, most: int, *, can_seek: bool = True) -> None:
        self.file = io.BytesIO(content)
        self._most = most
        self._can_seek = can_seek

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._can_seek

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        return self.file.truncate(size)

    def readinto(self, target: Any) -> int:
        return self.file.readinto(memoryview(target)[: self._most])

    def write(self, piece: Any) -> int:
        return self.file.write(memoryview(piece)[: self._most])


@pytest.mark.parametrize("length", [10, SMALL_CONTAINER, 2 * SMALL_CONTAINER])
@pytest.mark.parametrize("can_seek", [True, False])
@pytest.mark.parametrize("name", ["none", "zstd"])
def test_a_file_that_reads_less_than_asked_is_read_whole(
    length: int, can_seek: bool, name: str
) -> None:
    content = noise(length)
    most = 5000 if length > 10 else 7
    packed = pack(b"stream", [content, bytes(length)], CODECS[name])
    file: Any = InSmallPieces(packed, most, can_seek=can_seek)

    result = plain(reading.read(file))

    assert result == (b"stream", [content, bytes(length)])


def test_a_container_within_a_container_does_not_end_a_short_read() -> None:
    packed = pack(b"stream", [pack(b"inner"), noise(300)])
    inner_end = packed.index(b"ckit-end") + 8
    file: Any = InSmallPieces(packed, inner_end)

    assert plain(reading.read(file)) == unpack(packed)


@pytest.mark.parametrize("length", [10, SMALL_CONTAINER, 2 * CHUNK_BYTES])
@pytest.mark.parametrize("name", ["none", "zstd"])
def test_a_file_that_writes_less_than_asked_is_written_whole(
    length: int, name: str
) -> None:
    content = noise(length)
    file: Any = InSmallPieces(b"", 7000)

    write(file, b"stream", [content], CODECS[name])

    assert file.file.getvalue() == pack(b"stream", [content], CODECS[name])


def test_a_small_container_is_written_by_one_call() -> None:
    class Counting(io.BytesIO):
        calls = 0

        def write(self, piece: Any) -> int:
            self.calls += 1
            return super().write(piece)

    file = Counting()

    write(file, noise(100), [noise(5000), noise(300)], CODECS["zstd"])

    assert file.calls == 1


# --- beginning anew ---


@pytest.mark.parametrize("name", ["none", "zstd", "lz4+shuffle"])
@pytest.mark.parametrize("length", [10, SMALL_CONTAINER, CHUNK_BYTES, 5 * CHUNK_BYTES])
@pytest.mark.parametrize("place", [0, 6])
def test_restart_forgets_what_was_written(name: str, length: int, place: int) -> None:
    codec = CODECS[name]
    file = io.BytesIO()
    file.seek(place)
    writer = Writer(file, codec)
    for _ in range(3):
        writer.write(numbers(length))
        writer.add_buffer([memoryview(numbers(length))], 8)
        writer.write(b"the end is missing")
        writer.restart()

    writer.write(b"stream")
    writer.add_buffer([memoryview(b"buffer" * 20)], 2)
    size = writer.finish()
    writer.close()

    expected = pack(b"stream", [b"buffer" * 20], codec, item_size=2)
    assert file.getvalue() == bytes(place) + expected
    assert (size, file.tell()) == (len(expected), place + len(expected))


def test_restart_at_once_changes_nothing() -> None:
    file = io.BytesIO()
    writer = Writer(file, CODECS["zstd"])
    writer.restart()
    writer.write(b"stream")
    writer.finish()

    assert file.getvalue() == pack(b"stream", codec=CODECS["zstd"])


# --- a small container, in one piece ---


class Unknown(NoCompression):
    """Stores chunks as they are, and is not known for it."""


SEALS = [None, Label(b"model/3f9c"), Seal(b"secret", b"model/3f9c")]


@pytest.mark.parametrize("seal", SEALS, ids=["plain", "label", "seal"])
@pytest.mark.parametrize("length", [1, 1000, SMALL_CONTAINER - 1, SMALL_CONTAINER])
def test_a_small_container_has_the_bytes_that_any_way_of_writing_gives_it(
    length: int, seal: Seal | Label | None
) -> None:
    made = []
    for codec in (CODECS["none"], Unknown()):
        file = io.BytesIO()
        writer = Writer(file, codec, seal)
        writer.write(numbers(length))
        assert writer.finish() == len(file.getvalue())
        made.append(file.getvalue())

    assert made[0] == made[1]


def test_a_container_is_packed_only_if_it_is_a_small_stream_alone() -> None:
    small, empty, large, shared, compressed = (
        Writer(io.BytesIO(), CODECS[name])
        for name in ("none", "none", "none", "none", "zstd")
    )
    small.write(b"stream")
    large.write(bytes(SMALL_CONTAINER))
    shared.write(b"stream")
    shared.add_buffer([memoryview(b"")])
    compressed.write(b"stream")

    assert small.pack_small() == pack(b"stream")
    for writer in (empty, large, shared, compressed):
        assert writer.pack_small() is None


# --- threads ---


class Watched:
    """Zstd that notes in which threads it works, and fails when it is told to."""

    name = "zstd"

    def __init__(self, fails_at: int | None = None) -> None:
        self.inner = Zstd(1)
        self.threads: list[str] = []
        self.fails_at = fails_at

    def compress(self, chunk: memoryview) -> bytes:
        self.threads.append(threading.current_thread().name)
        if len(self.threads) == self.fails_at:
            raise Refused(self.fails_at)
        return self.inner.compress(chunk)

    def decompress(self, stored: memoryview, length: int) -> bytes:
        self.threads.append(threading.current_thread().name)
        if len(self.threads) == self.fails_at:
            raise Refused(self.fails_at)
        return self.inner.decompress(stored, length)

    def for_items(self, size: int, sample: Any = b"") -> Watched:  # noqa: ARG002
        return self


class Refused(Exception):
    """The codec's own exception."""


def our_threads() -> list[str]:
    """Return the threads that compress and expand; that of leases may be there."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if re.match("cachekit-(compress|expand)", name)]


@pytest.fixture
def no_thread_is_left() -> Any:
    assert our_threads() == []
    yield
    assert our_threads() == []


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize(
    ("stream", "buffers"),
    [(100, []), (CHUNK_BYTES, []), (0, [CHUNK_BYTES]), (0, [100])],
)
def test_one_chunk_takes_no_thread(
    stream: int, buffers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = Watched()
    monkeypatch.setattr(reading, "codec_named", lambda *_: codec)

    unpack(pack(bytes(stream), [bytes(length) for length in buffers], codec))

    assert codec.threads == ["MainThread", "MainThread"]


@pytest.mark.usefixtures("no_thread_is_left")
def test_several_chunks_take_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    together = threading.Barrier(4, timeout=60)

    class Meeting(Watched):
        def compress(self, chunk: memoryview) -> bytes:
            together.wait()  # so that one thread cannot do all the work
            return super().compress(chunk)

        def decompress(self, stored: memoryview, length: int) -> bytes:
            together.wait()
            return super().decompress(stored, length)

    packing, unpacking = Meeting(), Meeting()
    monkeypatch.setattr(reading, "codec_named", lambda *_: unpacking)
    content = bytes(8 * CHUNK_BYTES)

    result = unpack(pack(b"", [content], packing))

    assert result == (b"", [content])
    for codec, name in [(packing, "compress"), (unpacking, "expand")]:
        assert set(codec.threads) == {f"cachekit-{name}_{n}" for n in range(4)}


@pytest.mark.usefixtures("no_thread_is_left")
def test_there_are_no_more_than_sixteen_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(500)))
    codec = Watched()
    monkeypatch.setattr(reading, "codec_named", lambda *_: codec)

    unpack(pack(b"", [bytes(40 * CHUNK_BYTES)], codec))

    assert len(codec.threads) == 80
    assert len(set(codec.threads)) <= 32


@pytest.mark.usefixtures("no_thread_is_left")
def test_few_chunks_wait_for_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(2)))
    codec = Watched()
    ahead = []

    def blocks() -> Any:
        for _ in range(50):
            ahead.append(len(codec.threads))
            yield memoryview(noise(CHUNK_BYTES))

    writer = Writer(io.BytesIO(), codec)
    writer.add_buffer(blocks())
    writer.finish()
    writer.close()

    assert all(number - done <= 7 for number, done in enumerate(ahead))


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize("fails_at", [1, 2, 9, 12])
def test_an_error_of_a_codec_passes_and_ends_the_threads(
    fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack(b"", [bytes(12 * CHUNK_BYTES)], CODECS["zstd"])
    failing = Watched(fails_at)
    monkeypatch.setattr(reading, "codec_named", lambda *_: failing)

    with pytest.raises(Refused):
        pack(b"", [bytes(12 * CHUNK_BYTES)], Watched(fails_at))
    with pytest.raises(Refused):
        unpack(packed)


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_damaged_chunk_of_many_ends_the_threads() -> None:
    packed = pack(b"", [numbers(12 * CHUNK_BYTES)], CODECS["zstd"])

    with pytest.raises(CorruptedFile):
        unpack(flipped(packed, len(packed) // 2))


class FullDisk(io.BytesIO):
    """A file that has room for so many bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, piece: Any) -> int:
        if self.tell() + len(piece) > self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(piece)


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize("name", ["none", "zstd", "lz4+shuffle"])
@pytest.mark.parametrize("room", [0, 100, SMALL_CONTAINER, 4 * CHUNK_BYTES])
def test_a_full_disk_is_told_and_ends_the_threads(name: str, room: int) -> None:
    codec = CODECS[name]
    content = noise(3 * CHUNK_BYTES) + numbers(2 * CHUNK_BYTES) + noise(CHUNK_BYTES)

    with pytest.raises(OSError, match="No space left"):
        write(FullDisk(room), b"stream", [content], codec)


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_full_disk_is_told_at_the_last_byte() -> None:
    size = len(pack(b"stream"))

    with pytest.raises(OSError, match="No space left"):
        write(FullDisk(size - 1), b"stream")


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_writer_that_is_given_up_ends_its_threads() -> None:
    writer = Writer(io.BytesIO(), CODECS["zstd"])
    writer.write(bytes(9 * CHUNK_BYTES))
    assert our_threads() != []

    writer.close()
    writer.close()


AT_EXIT = """
import atexit, io
from cachekit.serialization import reading, writing, reading, writing
from cachekit.serialization.codecs import Zstd

def write_and_read():
    file = io.BytesIO()
    writer = writing.Writer(file, Zstd())
    writer.write(bytes(5 << 20))
    writer.finish()
    file.seek(0)
    print(len(reading.read(file).stream))

atexit.register(write_and_read)
"""


def test_values_are_written_and_read_while_python_exits() -> None:
    # Then no thread can be started any more.
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True)

    assert (done.stdout.split(), done.stderr) == ([b"5242880"], b"")


# --- memory that changes in place ---


@pytest.mark.parametrize("place", [0, 5])
@pytest.mark.parametrize("length", [100, 2 * CHUNK_BYTES])
def test_memory_may_change_once_checksums_are_given_up(place: int, length: int) -> None:
    packed = pack(b"stream", [b"", noise(length)])
    at = packed.index(noise(length))
    file = io.BytesIO(bytes(place) + packed + b"after")
    file.seek(place)

    reading.give_up_checksums(file)

    assert file.tell() == place
    assert len(file.getvalue()) == place + len(packed) + 5
    file.getbuffer()[place + at] ^= 1
    expected = (b"stream", [b"", flipped(noise(length), 0)])
    assert plain(reading.read(file, alone=False)) == expected
    file.seek(place)
    reading.give_up_checksums(file)  # nothing is left to be given up
    assert plain(reading.read(file, alone=False)) == expected


def test_all_else_is_checked_when_checksums_are_given_up() -> None:
    content = noise(100)
    file = io.BytesIO(pack(b"stream", [content, noise(70)]))
    reading.give_up_checksums(file)
    packed = file.getvalue()
    may_change = [packed.index(part) for part in (content, noise(70))]
    free = {
        at + n
        for at, size in zip(may_change, (100, 70), strict=True)
        for n in range(size)
    }

    for position in set(range(len(packed))) - free:
        with pytest.raises(ContainerError):
            unpack(flipped(packed, position))


def test_compressed_memory_keeps_its_checksums() -> None:
    file = io.BytesIO(pack(b"stream", [numbers(3000), noise(99)], CODECS["zstd"]))
    before = file.getvalue()

    reading.give_up_checksums(file)

    assert file.getvalue() == before


def test_checksums_of_a_damaged_container_are_not_given_up() -> None:
    damaged = flipped(pack(b"stream", [noise(100)]), -TRAILER_BYTES - 5)
    file = io.BytesIO(damaged)

    with pytest.raises(CorruptedFile):
        reading.give_up_checksums(file)

    assert file.getvalue() == damaged


# --- damage ---


LARGE_STREAM = 100
LARGE_BUFFER = 2 * CHUNK_BYTES + 1000
PLACES = {
    "magic": 0,
    "version": 8,
    "flags": 12,
    "length": 16,
    "stream": HEADER_BYTES,
    "padding": HEADER_BYTES + LARGE_STREAM,
    "end of padding": 127,
    "start of buffer": 128,
    "second chunk": 128 + CHUNK_BYTES,
    "last byte of buffer": 128 + LARGE_BUFFER - 1,
    "index": 128 + LARGE_BUFFER,
    "end of index": -TRAILER_BYTES - 1,
    "index offset": -TRAILER_BYTES,
    "index length": -TRAILER_BYTES + 8,
    "signature": -TRAILER_BYTES + 16,
    "checksum": -16,
    "end magic": -1,
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_of_a_large_container_is_found(place: int, bit: int) -> None:
    packed = flipped(pack(noise(LARGE_STREAM), [noise(LARGE_BUFFER)]), place, bit=bit)

    with pytest.raises(ContainerError):
        unpack(packed)
    with pytest.raises(ContainerError):
        unpack_forward(packed)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 600_000), st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_a_compressed_container_is_found(
    position: int, bit: int
) -> None:
    packed = pack(numbers(200_000), [noise(300_000)], CODECS["zstd"])

    with pytest.raises(ContainerError):
        unpack(flipped(packed, position % len(packed), bit=bit))


@pytest.mark.parametrize(
    "length",
    [0, 1, 16, 88, SMALL_CONTAINER - 1, SMALL_CONTAINER, CHUNK_BYTES, -64, -1],
)
def test_a_truncated_large_container_is_found(length: int) -> None:
    packed = pack(noise(LARGE_STREAM), [noise(LARGE_BUFFER)])[:length]

    with pytest.raises(CorruptedFile):
        unpack(packed)
    with pytest.raises(CorruptedFile):
        unpack_forward(packed)


@pytest.mark.parametrize("size", [10, 2 * SMALL_CONTAINER])
@pytest.mark.parametrize("garbage", [b"\0", b"\n", noise(100), bytes(TRAILER_BYTES)])
def test_what_follows_a_container_is_found(size: int, garbage: bytes) -> None:
    packed = pack(noise(size)) + garbage

    with pytest.raises(CorruptedFile, match="follows"):
        unpack(packed)
    with pytest.raises(CorruptedFile, match="follows"):
        unpack_forward(packed)


@pytest.mark.parametrize("sizes", [(10, 10), (10, 20), (100_000, 10)])
def test_two_containers_are_not_one(sizes: tuple[int, int]) -> None:
    first, second = (pack(noise(size)) for size in sizes)

    with pytest.raises(CorruptedFile):
        unpack(first + second)


def test_a_container_that_was_not_finished_is_found() -> None:
    file = io.BytesIO()
    writer = Writer(file, CODECS["none"])
    writer.write(noise(2 * CHUNK_BYTES))
    writer.close()

    with pytest.raises(CorruptedFile, match="not written to its end"):
        unpack(file.getvalue())


FOREIGN = {
    "empty": b"",
    "text": b"Dear reader,\n" * 30,
    "pickle": pickle.dumps(list(range(1000))),
    "zeros": bytes(500),
    "long zeros": bytes(SMALL_CONTAINER + 500),
    "only the magic": b"\x89ckit\r\n\x1a",
    "only the magic, long": b"\x89ckit\r\n\x1a" + bytes(SMALL_CONTAINER),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_is_refused(content: bytes) -> None:
    with pytest.raises(ContainerError):
        unpack(content)
    with pytest.raises(ContainerError):
        unpack_forward(content)


# --- the format ---


def header(length: int) -> bytes:
    return b"\x89ckit\r\n\x1a" + struct.pack("<IIQ", 1, 0, length)


def trailer(head: bytes, index: bytes, offset: int) -> bytes:
    places = struct.pack("<QQ", offset, len(index)) + bytes(32)
    checksum = xxh3_64_intdigest(head + index + places)
    return places + struct.pack("<Q", checksum) + b"ckit-end"


def segment(codec: bytes, chunks: list[tuple[int, bytes, int]], size: int = 1) -> bytes:
    """Describe a segment by its chunks: where it is, as it is, how long it becomes."""
    length = sum(length for _, _, length in chunks)
    entries = [
        struct.pack("<QQQQ", offset, len(stored), length, xxh3_64_intdigest(stored))
        for offset, stored, length in chunks
    ]
    return struct.pack("<16sQII", codec, length, len(chunks), size) + b"".join(entries)


def test_the_format_of_version_1_never_changes() -> None:
    stream, small, large = b"the stream", bytes(range(100)), noise(CHUNK_BYTES + 5)
    content = stream.ljust(64 - HEADER_BYTES, b"\0") + small.ljust(128, b"\0") + large
    index = (
        segment(b"none", [(24, stream, 10)])
        + segment(b"none", [(64, small, 100)], size=4)
        + segment(b"none", [], size=4)
        + segment(
            b"none",
            [
                (192, large[:CHUNK_BYTES], CHUNK_BYTES),
                (192 + CHUNK_BYTES, large[CHUNK_BYTES:], 5),
            ],
            size=4,
        )
    )
    offset = HEADER_BYTES + len(content)
    head = header(offset + len(index) + TRAILER_BYTES)
    expected = head + content + index + trailer(head, index, offset)

    packed = pack(stream, [small, b"", large], item_size=4)

    assert packed == expected
    assert unpack(expected) == (stream, [small, b"", large])


def test_the_format_of_compressed_chunks_never_changes() -> None:
    stream, hard, items = b"s" * 500, noise(40), bytes(range(0, 200, 2)) * 8
    compress = Zstd(1).compress
    shuffled = b"".join([items[place::8] for place in range(8)])
    parts = [compress(memoryview(stream)), hard, compress(memoryview(shuffled))]
    places = [HEADER_BYTES, 64, 128]
    content = (bytes(24) + parts[0]).ljust(64, b"\0") + hard.ljust(64, b"\0") + parts[2]
    index = (
        segment(b"zstd", [(places[0], parts[0], 500)])
        + segment(b"zstd", [(places[1], parts[1], 40)])
        + segment(b"zstd+shuffle", [(places[2], parts[2], 800)], size=8)
    )
    offset = len(content)
    head = header(offset + len(index) + TRAILER_BYTES)
    expected = head + content[24:] + index + trailer(head, index, offset)
    file = io.BytesIO()
    writer = Writer(file, CODECS["zstd+shuffle"])

    writer.write(stream)
    writer.add_buffer([memoryview(hard)], 1)
    writer.add_buffer([memoryview(items)], 8)
    writer.finish()

    assert file.getvalue() == expected
    assert unpack(expected) == (stream, [hard, items])


GOLDEN = bytes.fromhex("""
89636b69740d0a1a0100000000000000a7010000000000007468652073747265616d000000000000
00000000000000000000000000000000000000000000000061206275666665720000000000000000
00000000000000000000000000000000000000000000000000000000000000000000000000000000
0000000000000000616e6f746865726e6f6e650000000000000000000000000a0000000000000001
0000000100000018000000000000000a000000000000000a00000000000000c4fe4fa22edd2de26e
6f6e6500000000000000000000000008000000000000000100000002000000400000000000000008
000000000000000800000000000000c860ade2956d71716e6f6e6500000000000000000000000000
0000000000000000000000020000006e6f6e65000000000000000000000000070000000000000001
000000020000008000000000000000070000000000000007000000000000002a8b1bde1d8907c787
00000000000000e00000000000000000000000000000000000000000000000000000000000000000
000000000000003dc3fa6fd9343e12636b69742d656e64
""")


def test_the_bytes_of_a_golden_container_never_change() -> None:
    content = (b"the stream", [b"a buffer", b"", b"another"])

    assert pack(*content, item_size=2) == GOLDEN
    assert unpack(GOLDEN) == content


GOLDEN_COMPRESSED = {
    "zstd+shuffle": """
89636b69740d0a1a0100000000000000160100000000000028b52ffd206345000010616101003e01
2c000000000000000000000000000000000000000000000028b52ffd20f06d000020010200000200
13a478963a2c7a737464000000000000000000000000630000000000000001000000010000001800
00000000000011000000000000006300000000000000b00a40e30985c5fa7a7374642b7368756666
6c6500000000f000000000000000010000000200000040000000000000001600000000000000f000
00000000000016c26031b8768b225600000000000000800000000000000000000000000000000000
000000000000000000000000000000000000000000009fae0d38ca9ee464636b69742d656e64
""",
    "lz4+shuffle": """
89636b69740d0a1a010000000000000011010000000000001f6101004a5061616161610000000000
0000000000000000000000000000000000000000000000002f01020200631f0001005f5000000000
006c7a34000000000000000000000000006300000000000000010000000100000018000000000000
000b0000000000000063000000000000003b1518f9f1d1c8836c7a342b73687566666c6500000000
00f000000000000000010000000200000040000000000000001100000000000000f0000000000000
00256e3da9a59a095f51000000000000008000000000000000000000000000000000000000000000
0000000000000000000000000000000000c5527bd75adce993636b69742d656e64
""",
    "zlib+shuffle": """
89636b69740d0a1a0100000000000000100100000000000078014b4ca43900005462258400000000
00000000000000000000000000000000000000000000000078016364621c10c8304000007fbc00b5
7a6c6962000000000000000000000000630000000000000001000000010000001800000000000000
0c000000000000006300000000000000ad21488870c3f5a77a6c69622b73687566666c6500000000
f000000000000000010000000200000040000000000000001000000000000000f000000000000000
4bde45e6ad84a2455000000000000000800000000000000000000000000000000000000000000000
00000000000000000000000000000000e8a865b600420850636b69742d656e64
""",
    "gzip+shuffle": """
89636b69740d0a1a01000000000000001c010000000000001f8b08000000000004034b4ca4390000
ee580b7563000000000000000000000000000000000000001f8b08000000000004036364621c10c8
30400000b370d61cf0000000677a6970000000000000000000000000630000000000000001000000
0100000018000000000000001800000000000000630000000000000095b679d9ca10ca9d677a6970
2b73687566666c6500000000f000000000000000010000000200000040000000000000001c000000
00000000f000000000000000b7025972348e40095c00000000000000800000000000000000000000
00000000000000000000000000000000000000000000000000000000f53510aaca1d76b3636b6974
2d656e64
""",
    "bz2+shuffle": """
89636b69740d0a1a01000000000000002f01000000000000425a68313141592653590abc4e6c0000
0203000000a00020002100820b1772453850900abc4e6c00425a6831314159265359116d480d0000
1fc08070000400200030cd341bd49a75521b48378bb9229c284808b6a40680627a32000000000000
00000000000000630000000000000001000000010000001800000000000000270000000000000063
0000000000000051b796f464ed524b627a322b73687566666c650000000000f00000000000000001
0000000200000040000000000000002f00000000000000f000000000000000fddbf1fcfa1bc73d6f
00000000000000800000000000000000000000000000000000000000000000000000000000000000
00000000000000ed33b1ca6417d212636b69742d656e64
""",
    "xz+shuffle": """
89636b69740d0a1a01000000000000008401000000000000fd377a585a000000ff12d94102002101
10000000a8708e86e0006200065d0030ee9c00000000000000011a63127f104406729e7a01000000
0000595a000000000000000000000000000000000000000000000000000000000000000000000000
0000000000000000fd377a585a000000ff12d9410200210110000000a8708e86e000ef000b5d0000
80d1d4e32d2688cd0000000000011ff001000000ab535dc1a8000afc020000000000595a787a0000
0000000000000000000000006300000000000000010000000100000018000000000000003c000000
000000006300000000000000eaeccb39fb82a5dd787a2b73687566666c65000000000000f0000000
00000000010000000200000080000000000000004400000000000000f0000000000000007a768937
fa8ab3aac40000000000000080000000000000000000000000000000000000000000000000000000
00000000000000000000000065341907fd2355fe636b69742d656e64
""",
    "lzma+shuffle": """
89636b69740d0a1a01000000000000008401000000000000fd377a585a000000ff12d94102002101
10000000a8708e86e0006200065d0030ee9c00000000000000011a63127f104406729e7a01000000
0000595a000000000000000000000000000000000000000000000000000000000000000000000000
0000000000000000fd377a585a000000ff12d9410200210110000000a8708e86e000ef000b5d0000
80d1d4e32d2688cd0000000000011ff001000000ab535dc1a8000afc020000000000595a6c7a6d61
0000000000000000000000006300000000000000010000000100000018000000000000003c000000
000000006300000000000000eaeccb39fb82a5dd6c7a6d612b73687566666c6500000000f0000000
00000000010000000200000080000000000000004400000000000000f0000000000000007a768937
fa8ab3aac40000000000000080000000000000000000000000000000000000000000000000000000
000000000000000000000000ffd8ae67682d1603636b69742d656e64
""",
}


@pytest.mark.parametrize("name", GOLDEN_COMPRESSED)
def test_compressed_containers_stay_readable(name: str) -> None:
    packed = bytes.fromhex(GOLDEN_COMPRESSED[name])

    assert name.encode() in packed
    assert unpack(packed) == (b"a" * 99, [b"\x01\x00\x02\x00" * 60])


def test_the_numbers_of_the_format_never_change() -> None:
    assert container.VERSION == 1
    assert container.ALIGNMENT == 64
    assert container.CHUNK_BYTES == 1 << 20
    assert container.MAGIC == b"\x89ckit\r\n\x1a"


def test_a_newer_version_is_refused_and_named() -> None:
    newer = bytearray(pack(b"abc"))
    newer[8] = 2

    with pytest.raises(UnsupportedContainer, match="format 2"):
        unpack(bytes(newer))


class Unheard(NoCompression):
    name = "unheard-of"


def test_an_unknown_codec_is_refused_and_named() -> None:
    with pytest.raises(UnsupportedContainer, match="unheard-of"):
        unpack(pack(b"stream", codec=Unheard()))


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.binary(max_size=9), max_size=1))
def test_the_short_way_gives_what_the_usual_way_gives(
    stream: bytes, buffers: list[bytes]
) -> None:
    packed = pack(stream, buffers)

    alone = container.stream_alone(packed)

    assert (alone is not None) == (len(stream) > 0 and not buffers)
    if alone is not None:
        assert bytes(alone) == stream
        for place in range(len(packed)):
            damaged = flipped(packed, place)
            assert container.stream_alone(damaged) is None
        assert container.stream_alone(packed[:-1]) is None
        assert container.stream_alone(packed + b"0") is None


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_what_follows_is_found_whatever_the_length(more: int) -> None:
    around = len(pack(bytes(1000))) - 1000
    packed = pack(noise(SMALL_CONTAINER - around + more))
    assert len(packed) == SMALL_CONTAINER + more

    with pytest.raises(CorruptedFile, match="follows"):
        reading.read(io.BytesIO(packed + b"x"))
    with pytest.raises(CorruptedFile, match="truncated"):
        reading.read(io.BytesIO(packed[:-1]))
