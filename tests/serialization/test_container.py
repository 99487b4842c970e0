"""The container gives back what was written, or a ContainerError; nothing between.

The format is spelled out here a second time, so that a change of it by accident is
found: containers of version 1 are on people's disks.
"""

from __future__ import annotations

import io
import pickle
import random
import struct
from collections.abc import Sequence

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from cachekit.errors import ContainerError
from cachekit.serialization import container
from cachekit.serialization.codecs import Codec, NoCompression, Zstd
from cachekit.serialization.container import CHUNK_BYTES, SMALL_CONTAINER, VERSION

CODECS: dict[str, Codec] = {"none": NoCompression(), "zstd": Zstd(1)}
HEADER_BYTES = 16
TRAILER_BYTES = 72

each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


def pack(
    stream: bytes = b"",
    buffers: Sequence[bytes] = (),
    codec: Codec = CODECS["none"],
) -> bytes:
    file = io.BytesIO()
    written = container.write(file, stream, [memoryview(b) for b in buffers], codec)
    assert written == len(file.getvalue())
    return file.getvalue()


def unpack(packed: bytes) -> tuple[bytes, list[bytes]]:
    stream, buffers = container.read(io.BytesIO(packed))
    return bytes(stream), [bytes(buffer) for buffer in buffers]


def noise(length: int, *, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


def flipped(packed: bytes, position: int, *, bit: int = 0) -> bytes:
    damaged = bytearray(packed)
    damaged[position] ^= 1 << bit
    return bytes(damaged)


# --- round trips ---


@each_codec
@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.binary(max_size=300), max_size=5))
def test_streams_and_buffers_come_back(
    codec: Codec, stream: bytes, buffers: list[bytes]
) -> None:
    assert unpack(pack(stream, buffers, codec)) == (stream, buffers)


EDGES = [0, 1, 63, 64, 65, SMALL_CONTAINER, CHUNK_BYTES, 2 * CHUNK_BYTES]
lengths = st.builds(
    lambda edge, step: max(0, edge + step),
    st.sampled_from(EDGES),
    st.integers(-300, 300) | st.integers(-1, 1),
)
runs = st.builds(bytes, lengths)  # zeros: the smallest of compressed forms
contents = runs | st.builds(noise, lengths)


@each_codec
@settings(max_examples=40, deadline=None)
@given(contents, st.lists(contents, max_size=3))
def test_sizes_around_every_boundary_come_back(
    codec: Codec, stream: bytes, buffers: list[bytes]
) -> None:
    assert unpack(pack(stream, buffers, codec)) == (stream, buffers)


@pytest.mark.parametrize("surplus", range(-3, 4))
def test_a_container_just_as_long_as_one_read_comes_back(surplus: int) -> None:
    empty = len(pack(b"x")) - 1
    stream = noise(SMALL_CONTAINER - empty + surplus)

    packed = pack(stream)

    assert len(packed) == SMALL_CONTAINER + surplus
    assert unpack(packed) == (stream, [])


@each_codec
def test_buffers_of_several_chunks_come_back_writable(codec: Codec) -> None:
    content = noise(3 * CHUNK_BYTES + 1)

    _, (buffer,) = container.read(io.BytesIO(pack(b"s", [content], codec)))

    assert buffer == content
    assert not memoryview(buffer).readonly


def test_raw_buffers_start_at_multiples_of_64() -> None:
    buffers = [noise(length, seed=length) for length in (100, 4096, 64, 5001)]

    packed = pack(noise(77), buffers)

    assert [packed.index(buffer) % 64 for buffer in buffers] == [0, 0, 0, 0]


def test_a_raw_buffer_is_one_run_of_memory() -> None:
    content = noise(2 * CHUNK_BYTES + 9)

    assert content in pack(b"stream", [content])


class InSmallPieces(io.RawIOBase):
    """A file which, as the contract of raw files allows, reads less than asked."""

    def __init__(self, content: bytes, most: int) -> None:
        self._file = io.BytesIO(content)
        self._most = most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, target: bytearray | memoryview) -> int:  # type: ignore[override]
        return self._file.readinto(memoryview(target)[: self._most])


@pytest.mark.parametrize("length", [10, SMALL_CONTAINER, 2 * SMALL_CONTAINER])
def test_a_file_that_reads_less_than_asked_is_read_whole(length: int) -> None:
    content = noise(length)
    file = InSmallPieces(pack(b"stream", [content]), most=5000 if length > 10 else 7)

    stream, buffers = container.read(file)  # type: ignore[arg-type]

    assert bytes(stream) == b"stream"
    assert buffers == [content]


# --- damage ---


@each_codec
def test_every_flipped_bit_of_a_small_container_is_found(codec: Codec) -> None:
    packed = pack(b"the stream", [b"", noise(70), bytes(130)], codec)

    for position in range(len(packed)):
        for bit in range(8):
            with pytest.raises(ContainerError):
                unpack(flipped(packed, position, bit=bit))


LARGE_STREAM = 100
LARGE_BUFFER = 2 * CHUNK_BYTES + 1000
PLACES = {
    "magic": 0,
    "version": 8,
    "flags": 12,
    "stream": HEADER_BYTES,
    "padding": HEADER_BYTES + LARGE_STREAM,
    "end of padding": 127,
    "start of buffer": 128,
    "second chunk": 128 + CHUNK_BYTES,
    "last byte of buffer": 128 + LARGE_BUFFER - 1,
    "index": 128 + LARGE_BUFFER,
    "end of index": -TRAILER_BYTES - 1,
    "index offset": -TRAILER_BYTES,
    "container length": -TRAILER_BYTES + 16,
    "signature": -TRAILER_BYTES + 24,
    "checksum": -16,
    "end magic": -1,
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_flipped_bit_of_a_large_container_is_found(place: int) -> None:
    packed = pack(noise(LARGE_STREAM), [noise(LARGE_BUFFER)])

    with pytest.raises(ContainerError):
        unpack(flipped(packed, place))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 600_000), st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_a_compressed_container_is_found(
    position: int, bit: int
) -> None:
    packed = pack(noise(200_000), [noise(300_000)], CODECS["zstd"])

    with pytest.raises(ContainerError):
        unpack(flipped(packed, position % len(packed), bit=bit))


@each_codec
def test_every_truncation_of_a_small_container_is_found(codec: Codec) -> None:
    packed = pack(b"the stream", [noise(70), b""], codec)

    for length in range(len(packed)):
        with pytest.raises(ContainerError):
            unpack(packed[:length])


@pytest.mark.parametrize(
    "length",
    [0, 1, 16, 88, SMALL_CONTAINER - 1, SMALL_CONTAINER, CHUNK_BYTES, -72, -1],
)
def test_a_truncated_large_container_is_found(length: int) -> None:
    packed = pack(noise(LARGE_STREAM), [noise(LARGE_BUFFER)])

    with pytest.raises(ContainerError):
        unpack(packed[:length])


@pytest.mark.parametrize("size", [10, 2 * SMALL_CONTAINER])
@pytest.mark.parametrize("garbage", [b"\0", b"\n", noise(100), bytes(TRAILER_BYTES)])
def test_what_follows_a_container_is_found(size: int, garbage: bytes) -> None:
    with pytest.raises(ContainerError):
        unpack(pack(noise(size)) + garbage)


@pytest.mark.parametrize("sizes", [(10, 10), (10, 20), (100_000, 10)])
def test_two_containers_are_not_one(sizes: tuple[int, int]) -> None:
    first, second = (pack(noise(size)) for size in sizes)

    with pytest.raises(ContainerError):
        unpack(first + second)


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


def cut(packed: bytes, start: int, end: int) -> bytes:
    return packed[:start] + packed[end:]


def repeated(packed: bytes, start: int, end: int) -> bytes:
    return packed[:end] + packed[start:end] + packed[end:]


def blanked(packed: bytes, start: int, end: int) -> bytes:
    return packed[:start] + bytes(end - start) + packed[end:]


def turned(packed: bytes, start: int, end: int) -> bytes:
    return packed[:start] + packed[start:end][::-1] + packed[end:]


MUTATIONS = [cut, repeated, blanked, turned]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_of_any_kind_is_a_container_error(data: st.DataObject) -> None:
    whole = pack(b"the stream", [noise(70), b"", noise(300)], CODECS["zstd"])
    packed = whole
    for _ in range(data.draw(st.integers(1, 4))):
        mutate = data.draw(st.sampled_from(MUTATIONS))
        start, end = sorted(data.draw(st.integers(0, len(packed))) for _ in range(2))
        packed = mutate(packed, start, end)

    try:
        result = unpack(packed)
    except ContainerError:
        return

    assert packed == whole, "damage was read as if it were whole"
    assert result[0] == b"the stream"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_noise_between_header_and_trailer_is_a_container_error(noisy: bytes) -> None:
    empty = pack()

    with pytest.raises(ContainerError):
        unpack(empty[:HEADER_BYTES] + noisy + empty[-TRAILER_BYTES:])


# --- containers that other programs, or later versions, have sealed ---


def seal(
    content: bytes, index: bytes, *, version: int = VERSION, magic: bytes = b"\x89ckit"
) -> bytes:
    """Put a header, a trailer and a right checksum around any content and index."""
    header = struct.pack("<8sII", magic + b"\r\n\x1a", version, 0)
    offset = len(header) + len(content)
    total = offset + len(index) + TRAILER_BYTES
    places = struct.pack("<QQQ32s", offset, len(index), total, bytes(32))
    checksum = xxh3_64_intdigest(header + index + places)
    end = struct.pack("<Q8s", checksum, b"ckit-end")
    return header + content + index + places + end


def segment(
    stored: bytes,
    *,
    codec: bytes = b"none",
    length: int | None = None,
    offset: int = HEADER_BYTES,
    promised: int | None = None,
    chunks: int = 1,
) -> bytes:
    """Describe one segment of one chunk, truly or not."""
    length = len(stored) if length is None else length
    promised = length if promised is None else promised
    chunk = (offset, len(stored), length, xxh3_64_intdigest(stored))
    return struct.pack("<16sQI", codec, promised, chunks) + struct.pack("<QQQQ", *chunk)


def test_the_format_of_version_1_never_changes() -> None:
    stream, buffer = b"the stream", bytes(range(100))
    at = 64
    content = stream + bytes(at - HEADER_BYTES - len(stream)) + buffer

    expected = seal(content, segment(stream) + segment(buffer, offset=at), version=1)

    assert pack(stream, [buffer]) == expected
    assert unpack(expected) == (stream, [buffer])


def test_a_newer_version_is_refused_and_named() -> None:
    newer = seal(b"abc", segment(b"abc"), version=VERSION + 1)

    with pytest.raises(ContainerError, match=f"format {VERSION + 1}"):
        unpack(newer)


class Unheard:
    name = "unheard-of"

    def compress(self, chunk: memoryview) -> memoryview:
        return chunk

    def decompress(self, stored: memoryview, length: int) -> memoryview:
        raise NotImplementedError(length)


def test_an_unknown_codec_is_refused_and_named() -> None:
    with pytest.raises(ContainerError, match="unheard-of"):
        unpack(pack(b"stream", codec=Unheard()))


def compressed(length: int) -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(length))


ABSURD = 1 << 62
UNTRUE = {
    "no segment": seal(b"", b""),
    "index ends inside a segment": seal(b"abc", segment(b"abc")[:10]),
    "index ends inside a chunk": seal(b"abc", segment(b"abc")[:-5]),
    "more chunks than there are": seal(b"abc", segment(b"abc", chunks=2)),
    "more chunks than fit": seal(b"abc", segment(b"abc", chunks=0xFFFFFFFF)),
    "codec name is no text": seal(b"abc", segment(b"abc", codec=b"\xff\xfe")),
    "chunk outside": seal(b"abc", segment(b"abc", offset=1000)),
    "chunk far outside": seal(b"abc", segment(b"abc", offset=ABSURD)),
    "chunks shorter than the segment": seal(b"abc", segment(b"abc", promised=5)),
    "chunks longer than the segment": seal(b"abc", segment(b"abc", promised=1)),
    "segment too long for memory": seal(
        b"ab", segment(b"a") + segment(b"b", offset=17, promised=ABSURD)
    ),
    "chunk decompresses to less": seal(
        compressed(10), segment(compressed(10), codec=b"zstd", length=20)
    ),
    "chunk decompresses to more": seal(
        compressed(20), segment(compressed(20), codec=b"zstd", length=10)
    ),
    "chunk decompresses to something": seal(
        compressed(20), segment(compressed(20), codec=b"zstd", length=0)
    ),
    "bytes that belong to no chunk": seal(b"abcdef", segment(b"abc")),
    "stream starts late": seal(b"abcdef", segment(b"def", offset=19)),
    "foreign magic": seal(b"abc", segment(b"abc"), magic=b"\x89PNG!"),
}


@pytest.mark.parametrize("packed", UNTRUE.values(), ids=UNTRUE.keys())
def test_a_sealed_container_that_does_not_add_up_is_a_container_error(
    packed: bytes,
) -> None:
    with pytest.raises(ContainerError):
        unpack(packed)
