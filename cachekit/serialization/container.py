r"""The file format of a value: every byte is checked before it is believed.

Grammar, all numbers little-endian; `docs/format.md` explains it::

    container := header stream (padding buffer)* index trailer
    header    := magic version flags length          24 bytes
    stream    := chunk*                              the pickle stream
    padding   := zeros, up to a multiple of 64; none before a buffer without chunks
    buffer    := chunk*                              one out-of-band buffer
    index     := (segment chunk-entry*)*             the stream first, then the buffers
    segment   := codec-name length chunk-count item-size       32 bytes
    chunk-entry := offset stored-length length xxh3            32 bytes
    trailer   := index-offset index-length signature checksum end-magic   64 bytes

A chunk holds up to a mebibyte of the value, compressed on its own; one that would not
shrink is stored as it is, and known by its two lengths being equal. The checksum of
the trailer covers header, index and trailer; the index has a checksum for each chunk
(zero for memory that a program may change in place); padding must be zero. So
truncation, a flipped byte anywhere, and anything appended are found. A buffer stored
with the codec ``none`` is one run of memory at an aligned offset, and can be mapped.
The signature is that of `signing`, or a label that says what the value belongs to, or
zero for a file of its own.

These numbers are on people's disks: never change one; raise the version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate
from operator import le
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from cachekit.errors import CorruptedFile, UnsupportedContainer
from cachekit.serialization.codecs import NoCompression

VERSION = 1
ALIGNMENT = 64
CHUNK_BYTES = 1 << 20
MAGIC = b"\x89ckit\r\n\x1a"

# A container up to this size is written and read by one call each.
SMALL_CONTAINER = 1 << 16

END_MAGIC = b"ckit-end"
HEADER = struct.Struct("<8sIIQ")
_SEGMENT = struct.Struct("<16sQII")
_CHUNK = struct.Struct("<QQQQ")
TRAILER = struct.Struct("<QQ32sQ8s")
_PLACES = struct.Struct("<QQ")
_END = struct.Struct("<Q8s")
UNSIGNED = bytes(32)

# An index of one chunk: a segment and its only entry; then how a trailer begins.
_ONE_CHUNK_AND_PLACES = struct.Struct("<16sQIIQQQQQQ")
_ONE_CHUNK_BYTES = _SEGMENT.size + _CHUNK.size
BEHIND_ONE_CHUNK = _ONE_CHUNK_BYTES + TRAILER.size
_NONE = NoCompression.name.encode().ljust(16, b"\0")

# The end of the trailer: its checksum, and the magic.
_END_BYTES = 16

# Where the signature is, counted from the end of a container.
SIGNATURE = slice(-_END_BYTES - len(UNSIGNED), -_END_BYTES)

# How much of the trailer its own checksum covers: all before the checksum.
TRAILER_CHECKED = 48

# The checksum of a chunk that may change in place.
UNCHECKED = 0


# An entry of the index: offset, stored length, length, checksum. Plain, since there
# are thousands of them in a large file.
Chunk = tuple[int, int, int, int]


class Segment(NamedTuple):
    """The stream or a buffer, by its chunks."""

    codec: str
    length: int
    item_size: int
    chunks: list[Chunk]


def pack_segment(segment: Segment) -> bytes:
    """Return what the index says of a segment."""
    name, length, item_size, chunks = segment
    head = _SEGMENT.pack(name.encode(), length, len(chunks), item_size)
    return head + b"".join([_CHUNK.pack(*chunk) for chunk in chunks])


def pack_places(index: bytes, offset: int) -> bytes:
    """Return how a trailer begins: where the index is."""
    return _PLACES.pack(offset, len(index))


def pack_trailer(
    header: bytes, index: bytes, offset: int, signature: bytes = UNSIGNED
) -> bytes:
    """Return the end of a container whose index is at an offset."""
    checked = pack_places(index, offset) + signature
    checksum = xxh3_64_intdigest(b"".join((header, index, checked)))
    return checked + _END.pack(checksum, END_MAGIC)


def pack_around(
    stream: bytes | bytearray, signature: bytes = UNSIGNED
) -> tuple[bytes, bytes]:
    """Return what is before and behind a container's one chunk, if it has no more."""
    size = len(stream)
    end = HEADER.size + size
    header = HEADER.pack(MAGIC, VERSION, 0, end + BEHIND_ONE_CHUNK)
    one_chunk = (_NONE, size, 1, 1, HEADER.size, size, size, xxh3_64_intdigest(stream))
    places = (end, _ONE_CHUNK_BYTES)
    checked = _ONE_CHUNK_AND_PLACES.pack(*one_chunk, *places) + signature
    checksum = xxh3_64_intdigest(header + checked)
    return header, checked + _END.pack(checksum, END_MAGIC)


def length_told(head: bytes | bytearray | memoryview) -> int:
    """Check magic and version; return how long the container says it is."""
    if len(head) < HEADER.size:
        raise CorruptedFile(f"{len(head)} bytes are too few for a container")
    magic, version, _, length = HEADER.unpack_from(head)
    if magic != MAGIC:
        raise CorruptedFile("this is not a cachekit container")
    if version != VERSION:
        raise UnsupportedContainer(
            f"the container has format {version}; this cachekit reads {VERSION}"
        )
    if length < HEADER.size + TRAILER.size:
        raise CorruptedFile("the container was not written to its end")
    told: int = length
    return told


def stream_alone(content: bytes) -> bytes | None:
    """Return the stream of a container that is this one small chunk and no more.

    Most values are stored so. Of any other container, and of one that is damaged, it
    returns None: the usual way reads the one, and says of the other what is wrong.
    """
    stream = content[HEADER.size : -BEHIND_ONE_CHUNK]
    # To write it again, and compare, takes half the time of reading each number.
    header, behind = pack_around(stream, content[SIGNATURE])
    is_whole = stream and content.startswith(header) and content.endswith(behind)
    return stream if is_whole else None


def parse_segments(index: memoryview) -> Iterator[Segment]:
    """Yield the segments of an index; `struct.error` if it makes no sense."""
    position = 0
    while position < len(index):
        name, length, count, size = _SEGMENT.unpack_from(index, position)
        position += _SEGMENT.size
        end = position + count * _CHUNK.size
        chunks = list(_CHUNK.iter_unpack(index[position:end]))
        if len(chunks) != count:
            raise struct.error("fewer chunks than promised")
        position = end
        yield Segment(name.rstrip(b"\0").decode("ascii"), length, size, chunks)


def check_places(segments: list[Segment], index_offset: int) -> None:
    """Check that the chunks cover all from header to index, and fill each segment."""
    if not segments:
        raise CorruptedFile("the container has no stream")
    position = HEADER.size
    for number, segment in enumerate(segments):
        # Column by column: a large file has thousands of chunks.
        columns = zip(*segment.chunks, strict=True)
        offsets, stored, lengths, _ = columns if segment.chunks else ((), (), (), ())
        if number > 0 and segment.chunks:
            position += -position % ALIGNMENT
        *expected, position = accumulate(stored, initial=position)
        if list(offsets) != expected:
            raise CorruptedFile("a chunk is not where it belongs")
        if (
            min(stored, default=1) < 1
            or max(lengths, default=0) > CHUNK_BYTES
            or (stored != lengths and not all(map(le, stored, lengths)))
        ):
            raise CorruptedFile("a chunk has a length that it cannot have")
        if segment.codec == NoCompression.name and stored != lengths:
            raise CorruptedFile("a chunk is shorter than it should be")
        if segment.length != sum(lengths):
            raise CorruptedFile("the chunks of a segment do not add up")
    if position != index_offset:
        raise CorruptedFile("there are bytes that belong to no chunk")
