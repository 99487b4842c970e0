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
The signature is zero until signing is asked for.

These numbers are on people's disks: never change one; raise the version.
"""

from __future__ import annotations

import io
import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple

from xxhash import xxh3_64_intdigest

from cachekit.errors import CorruptedFile, UnsupportedContainer
from cachekit.serialization.codecs import Codec, NoCompression, codec_named

VERSION = 1
ALIGNMENT = 64
CHUNK_BYTES = 1 << 20
MAGIC = b"\x89ckit\r\n\x1a"

# A container up to this size is written and read by one call each.
SMALL_CONTAINER = 1 << 16

# Chunks are compressed by so many threads, and twice as many wait at most.
MOST_THREADS = 16

_END_MAGIC = b"ckit-end"
_HEADER = struct.Struct("<8sIIQ")
_SEGMENT = struct.Struct("<16sQII")
_CHUNK = struct.Struct("<QQQQ")
_TRAILER = struct.Struct("<QQ32sQ8s")
_UNSIGNED = bytes(32)

# How much of the trailer its own checksum covers: all before the checksum.
_TRAILER_CHECKED = 48

# The checksum of a chunk that may change in place.
_UNCHECKED = 0


class _Chunk(NamedTuple):
    offset: int
    stored: int
    length: int
    checksum: int


class _Segment(NamedTuple):
    codec: str
    length: int
    item_size: int
    chunks: list[_Chunk]


# --- writing ---


class Writer:
    """Writes one container, chunk by chunk, holding no more than a few of them.

    First the stream, by `write`, as a pickler does; then `add_buffer` for each buffer,
    and `finish`.

    Parameters
    ----------
    file : binary file
        Open for writing, and able to seek, at the place where the container starts.
    codec : Codec
        Compresses each chunk.
    """

    def __init__(self, file: BinaryIO, codec: Codec) -> None:
        self._file = file
        self._codec = codec
        self._start: int | None = None  # where the container starts, once that is known
        self._unwritten: list[bytes | memoryview] = []
        self._unwritten_bytes = 0
        self._compressor = _Compressor()
        self.restart()

    def restart(self) -> None:
        """Forget what was written, to begin anew."""
        if self._start is not None:
            self._file.seek(self._start)
            self._file.truncate()
        self._compressor.close()
        self._unwritten.clear()
        self._unwritten_bytes = 0
        self._position = 0
        self._segments: list[_Segment] = []
        self._rest = bytearray()
        self._put(_HEADER.pack(MAGIC, VERSION, 0, 0))
        self._begin_segment(1)

    def write(self, piece: Any) -> None:
        """Take a piece of the stream, which must stay as it is until `finish`."""
        if len(self._rest) + len(piece) < CHUNK_BYTES:
            self._rest += piece
            return
        view = memoryview(piece)
        if self._rest:
            missing = CHUNK_BYTES - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            self._take_rest()
        for start in range(0, len(view), CHUNK_BYTES):
            chunk = view[start : start + CHUNK_BYTES]
            if len(chunk) == CHUNK_BYTES:
                self._take(chunk)
            else:
                self._rest += chunk

    def add_buffer(self, blocks: Iterable[memoryview], item_size: int = 1) -> None:
        """Take one buffer, in blocks of bytes that stay as they are until `finish`.

        Parameters
        ----------
        blocks : iterable of memoryview
            The memory, written without a copy.
        item_size : int, default 1
            Bytes of a number in it, for codecs that shuffle them.
        """
        self._end_segment()
        self._begin_segment(item_size)
        for block in blocks:
            self.write(block)

    def finish(self) -> int:
        """Write the index and the trailer; return the size of the container."""
        self._end_segment()
        for piece in self._compressor.finish():
            self._put_chunk(*piece)
        index = b"".join(map(_pack_segment, map(_named_as_it_lies, self._segments)))
        offset = self._position
        length = offset + len(index) + _TRAILER.size
        header = _HEADER.pack(MAGIC, VERSION, 0, length)
        self._put(index)
        self._put(_pack_trailer(header, index, offset))
        if self._start is None:
            self._unwritten[0] = header
            self._flush()
        else:
            self._flush()
            self._file.seek(self._start)
            _write_all(self._file, header)
            self._file.seek(self._start + length)
        return length

    def close(self) -> None:
        """Let go of threads, whether it is finished or not."""
        self._compressor.close()

    def _begin_segment(self, item_size: int) -> None:
        codec = self._codec.for_items(item_size)
        self._segment_codec = codec
        self._segments.append(_Segment(codec.name, 0, item_size, []))

    def _end_segment(self) -> None:
        if self._rest:
            self._take_rest()

    def _take_rest(self) -> None:
        chunk, self._rest = memoryview(self._rest), bytearray()
        self._take(chunk)

    def _take(self, chunk: memoryview) -> None:
        number = len(self._segments) - 1
        if type(self._segment_codec) is NoCompression:
            # Its checksum is taken while it is in the processor's cache.
            for piece in self._compressor.finish():
                self._put_chunk(*piece)
            self._put_chunk(number, len(chunk), chunk, xxh3_64_intdigest(chunk))
            return
        for piece in self._compressor.take(number, chunk, self._segment_codec):
            self._put_chunk(*piece)

    def _put_chunk(
        self, number: int, length: int, stored: bytes | memoryview, checksum: int
    ) -> None:
        name, before, item_size, chunks = self._segments[number]
        if number > 0 and not chunks:
            self._put(bytes(-self._position % ALIGNMENT))
        chunks.append(_Chunk(self._position, len(stored), length, checksum))
        self._segments[number] = _Segment(name, before + length, item_size, chunks)
        self._put(stored)

    def _put(self, piece: bytes | memoryview) -> None:
        self._unwritten.append(piece)
        self._unwritten_bytes += len(piece)
        self._position += len(piece)
        if self._unwritten_bytes > SMALL_CONTAINER:
            self._flush()

    def _flush(self) -> None:
        if self._start is None:
            self._start = self._file.tell() if self._file.seekable() else 0
        large = [piece for piece in self._unwritten if len(piece) >= CHUNK_BYTES]
        if large:
            for piece in self._unwritten:
                _write_all(self._file, piece)
        else:
            _write_all(self._file, b"".join(self._unwritten))
        self._unwritten.clear()
        self._unwritten_bytes = 0


def _write_all(file: BinaryIO, piece: bytes | memoryview) -> None:
    written = file.write(piece)
    # A file opened with buffering=0 may take only a part, as when a disk fills.
    while isinstance(file, io.RawIOBase) and written < len(piece):
        piece = memoryview(piece)[written:]
        written = file.write(piece)


class _Compressor:
    """Compresses chunks in a few threads, and gives them back in their order."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._first: tuple[int, memoryview, Codec] | None = None
        self._waiting: deque[tuple[int, int, Future[tuple[Any, int]]]] = deque()

    def take(
        self, number: int, chunk: memoryview, codec: Codec
    ) -> Iterator[tuple[int, int, Any, int]]:
        """Take a chunk of a segment; yield those that are ready."""
        if self._pool is None:
            if self._first is None:  # it may be the only one
                self._first = (number, chunk, codec)
                return
            self._pool = ThreadPoolExecutor(_threads(), "cachekit-compress")
            first, self._first = self._first, None
            self._submit(*first)
        self._submit(number, chunk, codec)
        while len(self._waiting) > 2 * _threads():
            yield self._oldest()

    def finish(self) -> Iterator[tuple[int, int, Any, int]]:
        """Yield all that were taken and not given back."""
        if self._first is not None:
            number, chunk, codec = self._first
            self._first = None
            yield number, len(chunk), *_compress(chunk, codec)
        while self._waiting:
            yield self._oldest()

    def close(self) -> None:
        """End the threads."""
        self._first = None
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _submit(self, number: int, chunk: memoryview, codec: Codec) -> None:
        assert self._pool is not None
        packed = _submit(self._pool, _compress, chunk, codec)
        self._waiting.append((number, len(chunk), packed))

    def _oldest(self) -> tuple[int, int, Any, int]:
        number, length, packed = self._waiting.popleft()
        return number, length, *packed.result()


def _compress(chunk: memoryview, codec: Codec) -> tuple[bytes | memoryview, int]:
    stored = codec.compress(chunk)
    if len(stored) >= len(chunk):
        stored = chunk
    return stored, xxh3_64_intdigest(stored)


def _named_as_it_lies(segment: _Segment) -> _Segment:
    """Call a large buffer uncompressed if no chunk has shrunk: it can be mapped."""
    is_large = segment.length >= CHUNK_BYTES
    if is_large and all(chunk.stored == chunk.length for chunk in segment.chunks):
        return segment._replace(codec=NoCompression.name)
    return segment


def _pack_segment(segment: _Segment) -> bytes:
    name, length, item_size, chunks = segment
    head = _SEGMENT.pack(name.encode(), length, len(chunks), item_size)
    return head + b"".join([_CHUNK.pack(*chunk) for chunk in chunks])


def _pack_trailer(header: bytes, index: bytes, offset: int) -> bytes:
    places = struct.pack("<QQ32s", offset, len(index), _UNSIGNED)
    checksum = xxh3_64_intdigest(header + index + places)
    return places + struct.pack("<Q8s", checksum, _END_MAGIC)


# --- reading ---


class Content(NamedTuple):
    """What a container holds.

    Attributes
    ----------
    stream : memoryview
        The pickle stream.
    buffers : list
        The out-of-band buffers: writable memory, or slices of a map.
    is_compressed : bool
        Whether some of it is, and so cannot be mapped.
    """

    stream: memoryview
    buffers: list[Any]
    is_compressed: bool


def read(
    file: BinaryIO,
    *,
    alone: bool = True,
    take: Callable[[int, int], Any] | None = None,
) -> Content:
    """Read one container, checking every byte of it.

    Parameters
    ----------
    file : binary file
        Open for reading, at the start of the container; left at its end.
    alone : bool, default True
        Whether nothing may follow the container.
    take : callable, optional
        Gives memory of the mapped file, by offset and length. Buffers that lie there
        as they are are taken from it, and neither read nor checked.

    Raises
    ------
    CorruptedFile
        If the file is truncated, altered or of another format.
    UnsupportedContainer
        If it was written by a newer version.
    """
    source = _Source(file, alone=alone)
    stream, *buffers = _segments(source)
    with _Filler(source) as filler:
        content = filler.fill(stream)
        position = _end(stream, start=_HEADER.size)
        filled = []
        for segment in buffers:
            start = segment.chunks[0].offset if segment.chunks else position
            if any(source.at(position, start - position)):
                raise CorruptedFile("the padding between two buffers was altered")
            if take is not None and _lies_as_it_is(segment):
                filled.append(take(source.start + start, segment.length))
            else:
                filled.append(filler.fill(segment))
            position = _end(segment, start=position)
    source.leave()
    is_compressed = not all(map(_lies_as_it_is, [stream, *buffers]))
    return Content(content, filled, is_compressed)


def give_up_checksums(file: BinaryIO) -> None:
    """Note in a container that the memory in it may change from now on.

    Parameters
    ----------
    file : binary file
        Open for reading and writing, at the start of the container.
    """
    source = _Source(file, alone=False)
    segments = _segments(source)
    for segment in segments[1:]:
        if _lies_as_it_is(segment):
            segment.chunks[:] = [
                chunk._replace(checksum=_UNCHECKED) for chunk in segment.chunks
            ]
    index = b"".join(map(_pack_segment, segments))
    offset = source.length - _TRAILER.size - len(index)
    trailer = _pack_trailer(bytes(source.at(0, _HEADER.size)), index, offset)
    file.seek(source.start + offset)
    _write_all(file, index + trailer)
    file.seek(source.start)


class _Source:
    """The bytes of a container: a small one is read whole, a large one as needed."""

    def __init__(self, file: BinaryIO, *, alone: bool) -> None:
        self._file = file
        can_seek = file.seekable()
        self.start = file.tell() if can_seek else 0
        head = bytearray(file.read(SMALL_CONTAINER if can_seek else _HEADER.size))
        if len(head) < SMALL_CONTAINER and not head.endswith(_END_MAGIC):
            _read_on(file, head, SMALL_CONTAINER if can_seek else _HEADER.size)
        self.length = _length_told(head)
        self._whole: memoryview | None = None
        self.is_writable = False
        if can_seek and self.length > len(head):
            actual = file.seek(0, os.SEEK_END) - self.start
        elif can_seek:
            self._whole = memoryview(head)[: self.length]
            actual = len(head)
        else:
            content = bytearray(head)
            _read_on(file, content, self.length + alone)
            self._whole, self.is_writable = memoryview(content), True
            actual = len(content)
        if actual < self.length:
            raise CorruptedFile(
                f"of {self.length} bytes there are {actual}: the file is truncated"
            )
        if alone and actual > self.length:
            raise CorruptedFile("something follows the container")

    def at(self, offset: int, length: int) -> memoryview:
        if not 0 <= offset <= offset + length <= self.length:
            raise CorruptedFile("the container points outside of itself")
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
        self._file.seek(self.start + offset)
        while len(target) > 0:
            count = self._file.readinto(target)  # type: ignore[attr-defined]
            if not count:
                raise CorruptedFile("the container ends too early")
            target = target[count:]

    def leave(self) -> None:
        """Leave the file where the container ends."""
        if self._file.seekable():
            self._file.seek(self.start + self.length)


def _length_told(head: bytearray) -> int:
    """Check magic and version; return how long the container says it is."""
    if len(head) < _HEADER.size:
        raise CorruptedFile(f"{len(head)} bytes are too few for a container")
    magic, version, _, length = _HEADER.unpack_from(head)
    if magic != MAGIC:
        raise CorruptedFile("this is not a cachekit container")
    if version != VERSION:
        raise UnsupportedContainer(
            f"the container has format {version}; this cachekit reads {VERSION}"
        )
    if length < _HEADER.size + _TRAILER.size:
        raise CorruptedFile("the container was not written to its end")
    told: int = length
    return told


def _read_on(file: BinaryIO, content: bytearray, length: int) -> None:
    """Read until there is no more: a raw file may give less than it was asked for.

    In steps, so that a length that is a lie costs no memory.
    """
    while len(content) < length:
        more = file.read(min(length - len(content), CHUNK_BYTES))
        if not more:
            return
        content += more


def _segments(source: _Source) -> list[_Segment]:
    """Check header, trailer and index; return what the index says."""
    header = source.at(0, _HEADER.size)
    trailer = source.at(source.length - _TRAILER.size, _TRAILER.size)
    offset, length, _, checksum, end = _TRAILER.unpack(trailer)
    if end != _END_MAGIC:
        raise CorruptedFile("the container has no end: it is truncated or altered")
    if offset + length + _TRAILER.size != source.length:
        raise CorruptedFile("the trailer does not lead to the index")
    index = source.at(offset, length)
    checked = b"".join((header, index, trailer[:_TRAILER_CHECKED]))
    if xxh3_64_intdigest(checked) != checksum:
        raise CorruptedFile("the header, the index or the trailer was altered")
    try:
        segments = list(_parse(index))
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptedFile(f"the index makes no sense: {error}") from error
    _check_places(segments, offset)
    return segments


def _check_places(segments: list[_Segment], index_offset: int) -> None:
    """Check that the chunks cover all from header to index, and fill each segment."""
    if not segments:
        raise CorruptedFile("the container has no stream")
    position = _HEADER.size
    for number, segment in enumerate(segments):
        is_raw = segment.codec == NoCompression.name
        if number > 0 and segment.chunks:
            position += -position % ALIGNMENT
        for chunk in segment.chunks:
            if chunk.offset != position or not (
                0 < chunk.stored <= chunk.length <= CHUNK_BYTES
            ):
                raise CorruptedFile("a chunk is not where it belongs")
            if is_raw and chunk.stored != chunk.length:
                raise CorruptedFile("a chunk is shorter than it should be")
            position += chunk.stored
        if segment.length != sum([chunk.length for chunk in segment.chunks]):
            raise CorruptedFile("the chunks of a segment do not add up")
    if position != index_offset:
        raise CorruptedFile("there are bytes that belong to no chunk")


def _parse(index: memoryview) -> Iterator[_Segment]:
    position = 0
    while position < len(index):
        name, length, count, size = _SEGMENT.unpack_from(index, position)
        position += _SEGMENT.size
        end = position + count * _CHUNK.size
        chunks = [_Chunk(*entry) for entry in _CHUNK.iter_unpack(index[position:end])]
        if len(chunks) != count:
            raise struct.error("fewer chunks than promised")
        position = end
        yield _Segment(name.rstrip(b"\0").decode("ascii"), length, size, chunks)


class _Filler:
    """Reads segments; chunks of compressed ones are expanded in a few threads."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> _Filler:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def fill(self, segment: _Segment) -> memoryview:
        """Return the memory of a segment."""
        codec = codec_named(segment.codec, segment.item_size)
        if self._source.is_writable and _lies_as_it_is(segment) and segment.chunks:
            return self._in_place(segment)
        content = memoryview(_allocate(segment.length))
        rest, waiting = content, deque[Future[None]]()
        for chunk in segment.chunks:
            target, rest = rest[: chunk.length], rest[chunk.length :]
            if chunk.stored == chunk.length:
                self._source.into(chunk.offset, target)
                _check(target, chunk)
                continue
            stored = self._source.at(chunk.offset, chunk.stored)
            if len(segment.chunks) == 1:
                _expand(stored, chunk, target, codec)
                continue
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_threads(), "cachekit-expand")
            waiting.append(_submit(self._pool, _expand, stored, chunk, target, codec))
            if len(waiting) > 2 * _threads():
                waiting.popleft().result()
        for expanded in waiting:
            expanded.result()
        return content

    def _in_place(self, segment: _Segment) -> memoryview:
        """Return the memory of a segment where it was read already."""
        for chunk in segment.chunks:
            _check(self._source.at(chunk.offset, chunk.stored), chunk)
        return self._source.at(segment.chunks[0].offset, segment.length)


def _expand(
    stored: memoryview, chunk: _Chunk, target: memoryview, codec: Codec
) -> None:
    _check(stored, chunk)
    original = codec.decompress(stored, chunk.length)
    if len(original) != chunk.length:
        raise CorruptedFile("a chunk does not decompress to its length")
    target[:] = original


def _check(stored: memoryview, chunk: _Chunk) -> None:
    if chunk.checksum != _UNCHECKED and xxh3_64_intdigest(stored) != chunk.checksum:
        raise CorruptedFile(f"{chunk.stored} bytes at {chunk.offset} were altered")


def _lies_as_it_is(segment: _Segment) -> bool:
    return segment.codec == NoCompression.name


def _end(segment: _Segment, *, start: int) -> int:
    if not segment.chunks:
        return start
    return segment.chunks[-1].offset + segment.chunks[-1].stored


def _allocate(length: int) -> Any:
    """Return writable memory; a large one without filling it with zeros first."""
    if length < SMALL_CONTAINER:
        return bytearray(length)
    import numpy as np

    return np.empty(length, "u1")


def _submit(
    pool: ThreadPoolExecutor, work: Callable[..., Any], *of: Any
) -> Future[Any]:
    try:
        return pool.submit(work, *of)
    except RuntimeError:
        # No thread can be started: there are too many, or Python is exiting.
        done: Future[Any] = Future()
        done.set_result(work(*of))
        return done


def _threads() -> int:
    return min(MOST_THREADS, os.cpu_count() or 1)
