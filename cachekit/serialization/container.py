r"""The file format of a value: every byte is checked before it is believed.

Grammar, all numbers little-endian::

    container := header stream (padding buffer)* index trailer
    header    := magic version flags                 16 bytes
    stream    := chunk*                              the pickle stream
    padding   := zeros, up to a multiple of 64
    buffer    := chunk*                              one out-of-band buffer
    index     := (segment chunk-entry*)*             the stream first, then the buffers
    segment   := codec-name length chunk-count       28 bytes
    chunk-entry := offset stored-length length xxh3  32 bytes
    trailer   := index-offset index-length container-length
                 signature checksum end-magic        72 bytes

A chunk holds up to a mebibyte of the value, compressed on its own. The checksum
of the trailer covers header, index and trailer; the index has a checksum for each
chunk; padding must be zero. So truncation, a flipped byte anywhere, and anything
appended are found. A buffer stored with the codec ``none`` is one run of memory at
an aligned offset, and can be mapped. The signature is zero until signing is asked for.

These numbers are on people's disks: never change one; raise the version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from xxhash import xxh3_64_intdigest

from cachekit.errors import ContainerError, UnsupportedContainer
from cachekit.serialization.codecs import Codec, NoCompression, codec_named

VERSION = 1
ALIGNMENT = 64
CHUNK_BYTES = 1 << 20

# A container up to this size is read by one call, without asking for its length.
SMALL_CONTAINER = 1 << 16

_MAGIC = b"\x89ckit\r\n\x1a"
_END_MAGIC = b"ckit-end"
_HEADER = struct.Struct("<8sII")
_SEGMENT = struct.Struct("<16sQI")
_CHUNK = struct.Struct("<QQQQ")
_TRAILER = struct.Struct("<QQQ32sQ8s")
_UNSIGNED = bytes(32)

# How much of the trailer its own checksum covers: all before the checksum.
_TRAILER_CHECKED = 56


class _Chunk(NamedTuple):
    offset: int
    stored: int
    length: int
    checksum: int


class _Segment(NamedTuple):
    codec: str
    length: int
    chunks: list[_Chunk]


def write(
    file: BinaryIO, stream: bytes, buffers: Sequence[memoryview], codec: Codec
) -> int:
    """Write one container.

    Parameters
    ----------
    file : binary file
        Open for writing, at the place where the container starts.
    stream : bytes
        The pickle stream.
    buffers : sequence of memoryview
        Out-of-band buffers, one-dimensional, of bytes; written without a copy.
    codec : Codec
        Compresses each chunk.

    Returns
    -------
    int
        Bytes written.
    """
    header = _HEADER.pack(_MAGIC, VERSION, 0)
    file.write(header)
    position = len(header)
    index = bytearray()
    for number, content in enumerate([memoryview(stream), *buffers]):
        if number > 0:
            padding = -position % ALIGNMENT
            file.write(bytes(padding))
            position += padding
        chunks = []
        for start in range(0, len(content), CHUNK_BYTES):
            chunk = content[start : start + CHUNK_BYTES]
            stored = codec.compress(chunk)
            file.write(stored)
            checksum = xxh3_64_intdigest(stored)
            chunks.append(_Chunk(position, len(stored), len(chunk), checksum))
            position += len(stored)
        index += _SEGMENT.pack(codec.name.encode(), len(content), len(chunks))
        for entry in chunks:
            index += _CHUNK.pack(*entry)
    length = position + len(index) + _TRAILER.size
    places = struct.pack("<QQQ32s", position, len(index), length, _UNSIGNED)
    checksum = xxh3_64_intdigest(header + index + places)
    file.write(index)
    file.write(places + struct.pack("<Q8s", checksum, _END_MAGIC))
    return length


def read(file: BinaryIO) -> tuple[bytes | memoryview, list[bytearray]]:
    """Read one container, checking every byte of it.

    Parameters
    ----------
    file : binary file
        Open for reading, at its start; the container is all that it holds.

    Returns
    -------
    stream : bytes or memoryview
        The pickle stream.
    buffers : list of bytearray
        The out-of-band buffers, writable.

    Raises
    ------
    ContainerError
        If the file is truncated, altered, of another format or a newer version.
    """
    source = _Source(file)
    stream, *buffers = _segments(source)
    content = _join(source, stream) if stream.chunks else b""
    position = _end(stream, start=_HEADER.size)
    filled = []
    for segment in buffers:
        start = segment.chunks[0].offset if segment.chunks else position
        if any(source.at(position, start - position)):
            raise ContainerError("the padding between two buffers was altered")
        filled.append(_fill(source, segment))
        position = _end(segment, start=position)
    return content, filled


class _Source:
    """The bytes of a container: a small one is read whole, a large one as needed."""

    def __init__(self, file: BinaryIO) -> None:
        head = file.read(SMALL_CONTAINER)
        if len(head) < SMALL_CONTAINER and not head.endswith(_END_MAGIC):
            head += _read_on(file, SMALL_CONTAINER - len(head))
        self._whole = memoryview(head) if len(head) < SMALL_CONTAINER else None
        self._file = file
        self.length = len(head) if self._whole is not None else file.seek(0, 2)

    def at(self, offset: int, length: int) -> memoryview:
        if not 0 <= offset <= offset + length <= self.length:
            raise ContainerError("the container points outside of itself")
        if self._whole is not None:
            return self._whole[offset : offset + length]
        content = bytearray(length)
        self.into(offset, memoryview(content))
        return memoryview(content)

    def into(self, offset: int, target: memoryview) -> None:
        """Fill `target` from the file, where it will stay: no second copy."""
        if self._whole is not None:
            target[:] = self.at(offset, len(target))
            return
        self._file.seek(offset)
        while len(target) > 0:
            count = self._file.readinto(target)  # type: ignore[attr-defined]
            if not count:
                raise ContainerError("the container ends too early")
            target = target[count:]


def _read_on(file: BinaryIO, length: int) -> bytes:
    """Read until there is no more: a raw file may give less than it was asked for."""
    content = b""
    while len(content) < length and (more := file.read(length - len(content))):
        content += more
    return content


def _segments(source: _Source) -> list[_Segment]:
    """Check header, trailer and index; return what the index says."""
    smallest = _HEADER.size + _TRAILER.size
    if source.length < smallest:
        raise ContainerError(f"{source.length} bytes are too few for a container")
    header = source.at(0, _HEADER.size)
    magic, version, _ = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise ContainerError("this is not a cachekit container")
    if version != VERSION:
        raise UnsupportedContainer(
            f"the container has format {version}; this cachekit reads {VERSION}"
        )
    trailer = source.at(source.length - _TRAILER.size, _TRAILER.size)
    offset, length, total, _, checksum, end = _TRAILER.unpack(trailer)
    if end != _END_MAGIC or total != source.length:
        raise ContainerError("the container is truncated, or something follows it")
    if offset + length + _TRAILER.size != total:
        raise ContainerError("the trailer does not lead to the index")
    index = source.at(offset, length)
    checked = b"".join((header, index, trailer[:_TRAILER_CHECKED]))
    if xxh3_64_intdigest(checked) != checksum:
        raise ContainerError("the header, the index or the trailer was altered")
    try:
        segments = list(_parse(index))
    except (struct.error, UnicodeDecodeError) as error:
        raise ContainerError(f"the index makes no sense: {error}") from error
    _check_places(segments, offset)
    return segments


def _check_places(segments: list[_Segment], index_offset: int) -> None:
    """Check that the chunks cover all from header to index, and fill each segment."""
    if not segments:
        raise ContainerError("the container has no stream")
    position = _HEADER.size
    for number, segment in enumerate(segments):
        if number > 0:
            position += -position % ALIGNMENT
        for chunk in segment.chunks:
            raw = segment.codec == NoCompression.name
            if chunk.offset != position or (raw and chunk.stored != chunk.length):
                raise ContainerError("a chunk is not where it belongs")
            position += chunk.stored
        if segment.length != sum(chunk.length for chunk in segment.chunks):
            raise ContainerError("the chunks of a segment do not add up")
    if position != index_offset:
        raise ContainerError("there are bytes that belong to no chunk")


def _parse(index: memoryview) -> Iterator[_Segment]:
    position = 0
    while position < len(index):
        name, length, count = _SEGMENT.unpack_from(index, position)
        position += _SEGMENT.size
        end = position + count * _CHUNK.size
        chunks = [_Chunk(*entry) for entry in _CHUNK.iter_unpack(index[position:end])]
        if len(chunks) != count:
            raise struct.error("fewer chunks than promised")
        position = end
        yield _Segment(name.rstrip(b"\0").decode(), length, chunks)


def _join(source: _Source, segment: _Segment) -> bytes | memoryview:
    if len(segment.chunks) == 1 and segment.codec == NoCompression.name:
        chunk = segment.chunks[0]
        return _checked(source.at(chunk.offset, chunk.stored), chunk)
    return memoryview(_fill(source, segment))


def _fill(source: _Source, segment: _Segment) -> bytearray:
    content = bytearray(segment.length)
    rest = memoryview(content)
    codec = codec_named(segment.codec)
    for chunk in segment.chunks:
        target, rest = rest[: chunk.length], rest[chunk.length :]
        if segment.codec == NoCompression.name:
            source.into(chunk.offset, target)
            _checked(target, chunk)
        else:
            stored = _checked(source.at(chunk.offset, chunk.stored), chunk)
            original = codec.decompress(stored, chunk.length)
            if len(original) != chunk.length:
                raise ContainerError("a chunk does not decompress to its length")
            target[:] = original
    return content


def _checked(stored: memoryview, chunk: _Chunk) -> memoryview:
    if xxh3_64_intdigest(stored) != chunk.checksum:
        raise ContainerError(f"{chunk.stored} bytes at {chunk.offset} were altered")
    return stored


def _end(segment: _Segment, *, start: int) -> int:
    if not segment.chunks:
        return start
    return segment.chunks[-1].offset + segment.chunks[-1].stored
