"""Read a container: each byte is checked, and goes to where it will stay."""

from __future__ import annotations

import io
import os
import struct
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple

from xxhash import xxh3_64_intdigest

from cachekit.errors import ContainerError, CorruptedFile
from cachekit.serialization.codecs import Codec, NoCompression, codec_named
from cachekit.serialization.container import (
    CHUNK_BYTES,
    END_MAGIC,
    HEADER,
    SMALL_CONTAINER,
    TRAILER,
    TRAILER_CHECKED,
    UNCHECKED,
    VERSION,
    Chunk,
    Segment,
    check_places,
    length_told,
    pack_segment,
    pack_trailer,
    parse_segments,
    stream_alone,
)
from cachekit.serialization.files import write_all
from cachekit.serialization.signing import Label, Seal
from cachekit.serialization.threads import submit, usable_cores


class Content(NamedTuple):
    """What a container holds.

    Attributes
    ----------
    stream : bytes or memoryview
        The pickle stream.
    buffers : list
        The out-of-band buffers: writable memory, or slices of a map.
    is_compressed : bool
        Whether some of it is, and so cannot be mapped.
    """

    stream: bytes | memoryview
    buffers: list[Any]
    is_compressed: bool


def read(
    file: BinaryIO,
    *,
    alone: bool = True,
    mapped: Any = None,
    seal: Seal | Label | None = None,
) -> Content:
    """Read one container, checking every byte of it.

    Parameters
    ----------
    file : binary file
        Open for reading, at the start of the container; left at its end.
    alone : bool, default True
        Whether nothing may follow the container.
    mapped : numpy.memmap, optional
        The whole file, as bytes. Buffers that lie there as they are become slices of
        it, and are neither read nor checked.
    seal : Seal or Label, optional
        Checks what the value belongs to, and the signature of all that is read, before
        any of it is expanded. Not for a file that is mapped.

    Raises
    ------
    CorruptedFile
        If the file is truncated, altered or of another format.
    UnsupportedContainer
        If it was written by a newer version.
    UntrustedContent
        If the signature is not that of the seal.
    """
    if mapped is not None and seal is not None:
        raise ValueError("what is mapped may change once its signature was checked")
    first = file.read(SMALL_CONTAINER) if alone and mapped is None else b""
    if 0 < len(first) < SMALL_CONTAINER:  # there is no more of it
        small = stream_alone(first)
        if small is not None:
            if seal is not None:
                seal.check(first)
            return Content(small, [], False)
    source: _Source
    if mapped is not None:
        source = _MappedSource(file, mapped, alone=alone)
    elif isinstance(seal, Seal):
        source = _WholeSource(file, first, alone=alone)
    else:
        source = _Source(file, first, alone=alone)
    stream, *buffers = _checked_segments(source, seal)
    with _Filler(source) as filler:
        content = filler.fill(stream)
        position = _end(stream, start=HEADER.size)
        filled = []
        for segment in buffers:
            start = segment.chunks[0][0] if segment.chunks else position
            if any(source.at(position, start - position)):
                raise CorruptedFile("the padding between two buffers was altered")
            if mapped is not None and segment.length and _lies_as_it_is(segment):
                filled.append(_slice(mapped, source.start + start, segment.length))
            else:
                filled.append(filler.fill(segment))
            position = _end(segment, start=position)
    source.leave()
    is_compressed = not all(map(_lies_as_it_is, [stream, *buffers]))
    return Content(content, filled, is_compressed)


def check(file: BinaryIO, seal: Seal | Label | None = None) -> int:
    """Check every byte of the container that is a file; return its length.

    No more than a chunk of it is held at a time, and nothing is expanded.

    Parameters
    ----------
    file : binary file
        Open for reading, at the start of the container.
    seal : Seal or Label, optional
        Checks what the value belongs to, or its signature, if all else is right.

    Raises
    ------
    ContainerError
        As `read`.
    """
    source = _Source(file, b"", alone=True)
    segments = _segments(source)
    end = source.at(source.length - TRAILER.size, TRAILER.size)
    if isinstance(seal, Label):
        seal.check(end)
    signed = seal.begin() if isinstance(seal, Seal) else None
    position = HEADER.size
    for segment in segments:
        codec_named(segment.codec, segment.item_size)
        for chunk in segment.chunks:
            padding = source.at(position, chunk[0] - position)
            if any(padding):
                raise CorruptedFile("the padding between two buffers was altered")
            stored = source.at(chunk[0], chunk[1])
            _check(stored, chunk)
            if signed is not None:
                signed.update(padding)
                signed.update(stored)
            position = chunk[0] + chunk[1]
    if isinstance(seal, Seal) and signed is not None:
        signed.update(source.at(position, source.length - TRAILER.size - position))
        seal.check_end(signed, source.at(0, HEADER.size), end)
    return source.length


def segments_of(file: BinaryIO) -> list[Segment]:
    """Return what the index of a container says, the stream first, then the buffers.

    Nothing is expanded, and of a file that can seek only the index is read.

    Parameters
    ----------
    file : binary file
        Open for reading, at the start of the container.

    Raises
    ------
    CorruptedFile, UnsupportedContainer
        As `read`.
    """
    return _segments(_Source(file, b"", alone=True))


def is_damaged_in_its_version(file: BinaryIO) -> bool:
    """Tell whether a container that seems to be of another version is one of ours.

    Parameters
    ----------
    file : binary file
        Open for reading, and able to seek.
    """
    file.seek(0)
    content = bytearray(file.read())
    magic, version, *others = HEADER.unpack_from(content)
    if version == VERSION:
        return False
    content[: HEADER.size] = HEADER.pack(magic, VERSION, *others)
    try:
        _segments(_Source(io.BytesIO(content), b"", alone=True))
    except ContainerError:
        return False
    return True


def give_up_checksums(file: BinaryIO) -> None:
    """Note in a container that the memory in it may change from now on.

    It is not signed any more: whoever changes the memory need not know the secret.

    Parameters
    ----------
    file : binary file
        Open for reading and writing, at the start of the container.
    """
    source = _Source(file, b"", alone=False)
    segments = _segments(source)
    for segment in segments[1:]:
        if _lies_as_it_is(segment):
            segment.chunks[:] = [(*chunk[:3], UNCHECKED) for chunk in segment.chunks]
    index = b"".join(map(pack_segment, segments))
    offset = source.length - TRAILER.size - len(index)
    trailer = pack_trailer(bytes(source.at(0, HEADER.size)), index, offset)
    file.seek(source.start + offset)
    write_all(file, index + trailer)
    file.seek(source.start)


class _Source:
    """The bytes of a container: a small one is read whole, a large one as needed."""

    def __init__(self, file: BinaryIO, first: bytes, *, alone: bool) -> None:
        self._file = file
        can_seek = file.seekable()
        self.start = file.tell() - len(first) if can_seek else 0
        wanted = SMALL_CONTAINER if can_seek else HEADER.size
        head = bytearray(first or file.read(wanted))
        if len(head) < wanted and not head.endswith(END_MAGIC):
            _read_on(file, head, wanted)
        self.length = length_told(head)
        self._whole: memoryview | None = None
        self._head = memoryview(head)
        self.is_writable = False
        if can_seek and (self.length > len(head) or len(head) == wanted):
            # There may be more than was read.
            actual = file.seek(0, os.SEEK_END) - self.start
        elif can_seek:
            self._whole = self._head[: self.length]
            actual = len(head)
        else:
            self._head.release()  # it grows
            _read_on(file, head, self.length + alone)
            self._whole, self.is_writable = memoryview(head), True
            actual = len(head)
        self._check_length(actual, alone=alone)

    def _check_length(self, actual: int, *, alone: bool) -> None:
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
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        content = bytearray(length)
        self.into(offset, memoryview(content))
        return memoryview(content)

    def into(self, offset: int, target: memoryview) -> None:
        """Fill `target` from the file, where it will stay: no second copy."""
        if self._whole is not None or offset + len(target) <= len(self._head):
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


class _WholeSource(_Source):
    """The bytes of a container, all of them in memory before any is believed.

    What is checked is what is used, whatever becomes of the file meanwhile.
    """

    def __init__(self, file: BinaryIO, first: bytes, *, alone: bool) -> None:
        super().__init__(file, first, alone=alone)
        if self._whole is None:
            whole = memoryview(_allocate(self.length))
            there = min(len(self._head), self.length)  # more may follow the container
            whole[:there] = self._head[:there]
            self.into(there, whole[there:])
            self._whole, self.is_writable = whole, True


class _MappedSource(_Source):
    """The bytes of a container in a file that is mapped: nothing need be read."""

    def __init__(self, file: BinaryIO, mapped: Any, *, alone: bool) -> None:
        self._file = file
        self.start = file.tell()
        self.is_writable = False
        memory = memoryview(mapped)[self.start :]
        self.length = length_told(memory)
        self._check_length(len(memory), alone=alone)
        self._whole = memory[: self.length]


def _slice(mapped: Any, offset: int, length: int) -> Any:
    part = mapped[offset : offset + length]
    part.offset = offset  # which numpy does not keep
    return part


def _read_on(file: BinaryIO, content: bytearray, length: int) -> None:
    """Read until there is no more: a raw file may give less than it was asked for.

    In steps, so that a length that is a lie costs no memory.
    """
    while len(content) < length:
        more = file.read(min(length - len(content), CHUNK_BYTES))
        if not more:
            return
        content += more


def _checked_segments(source: _Source, seal: Seal | Label | None) -> list[Segment]:
    """Return the segments of what belongs to the seal, if there is one."""
    if isinstance(seal, Seal):
        seal.check(source.at(0, source.length))
    segments = _segments(source)
    if isinstance(seal, Label):
        seal.check(source.at(source.length - TRAILER.size, TRAILER.size))
    return segments


def _segments(source: _Source) -> list[Segment]:
    """Check header, trailer and index; return what the index says."""
    header = source.at(0, HEADER.size)
    trailer = source.at(source.length - TRAILER.size, TRAILER.size)
    offset, length, _, checksum, end = TRAILER.unpack(trailer)
    if end != END_MAGIC:
        raise CorruptedFile("the container has no end: it is truncated or altered")
    if offset + length + TRAILER.size != source.length:
        raise CorruptedFile("the trailer does not lead to the index")
    index = source.at(offset, length)
    checked = b"".join((header, index, trailer[:TRAILER_CHECKED]))
    if xxh3_64_intdigest(checked) != checksum:
        raise CorruptedFile("the header, the index or the trailer was altered")
    try:
        segments = list(parse_segments(index))
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptedFile(f"the index makes no sense: {error}") from error
    check_places(segments, offset)
    return segments


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

    def fill(self, segment: Segment) -> memoryview:
        """Return the memory of a segment."""
        codec = codec_named(segment.codec, segment.item_size)
        if self._source.is_writable and _lies_as_it_is(segment) and segment.chunks:
            return self._in_place(segment)
        content = memoryview(_allocate(segment.length))
        rest, waiting = content, deque[Future[None]]()
        for chunk in segment.chunks:
            offset, stored_length, length, _ = chunk
            target, rest = rest[:length], rest[length:]
            if stored_length == length:
                self._source.into(offset, target)
                _check(target, chunk)
                continue
            stored = self._source.at(offset, stored_length)
            if len(segment.chunks) == 1:
                _expand(stored, chunk, target, codec)
                continue
            if self._pool is None:
                self._pool = ThreadPoolExecutor(usable_cores(), "cachekit-expand")
            waiting.append(submit(self._pool, _expand, stored, chunk, target, codec))
            if len(waiting) > 2 * usable_cores():
                waiting.popleft().result()
        for expanded in waiting:
            expanded.result()
        return content

    def _in_place(self, segment: Segment) -> memoryview:
        """Return the memory of a segment where it was read already."""
        for chunk in segment.chunks:
            _check(self._source.at(chunk[0], chunk[1]), chunk)
        return self._source.at(segment.chunks[0][0], segment.length)


def _expand(stored: memoryview, chunk: Chunk, target: memoryview, codec: Codec) -> None:
    _check(stored, chunk)
    _, _, length, _ = chunk
    original = codec.decompress(stored, length)
    if len(original) != length:
        raise CorruptedFile("a chunk does not decompress to its length")
    target[:] = original


def _check(stored: memoryview, chunk: Chunk) -> None:
    offset, length, _, checksum = chunk
    if checksum != UNCHECKED and xxh3_64_intdigest(stored) != checksum:
        raise CorruptedFile(f"{length} bytes at {offset} were altered")


def _lies_as_it_is(segment: Segment) -> bool:
    return segment.codec == NoCompression.name


def _end(segment: Segment, *, start: int) -> int:
    if not segment.chunks:
        return start
    offset, stored, _, _ = segment.chunks[-1]
    return offset + stored


def _allocate(length: int) -> Any:
    """Return writable memory; a large one without filling it with zeros first."""
    if length < SMALL_CONTAINER:
        return bytearray(length)
    import numpy as np

    return np.empty(length, "u1")
