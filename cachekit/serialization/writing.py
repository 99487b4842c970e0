"""Write a container, chunk by chunk, holding no more than a few of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

from blake3 import blake3
from xxhash import xxh3_64_intdigest

from cachekit.serialization.codecs import Codec, NoCompression
from cachekit.serialization.container import (
    ALIGNMENT,
    CHUNK_BYTES,
    END_MAGIC,
    HEADER,
    MAGIC,
    SIGNATURE,
    SMALL_CONTAINER,
    TRAILER,
    UNSIGNED,
    VERSION,
    Segment,
    pack_around,
    pack_places,
    pack_segment,
    pack_trailer,
)
from cachekit.serialization.files import write_all
from cachekit.serialization.signing import Label, Seal
from cachekit.serialization.threads import submit, usable_cores


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
    seal : Seal, optional
        Signs the container.
    """

    def __init__(
        self, file: BinaryIO, codec: Codec, seal: Seal | Label | None = None
    ) -> None:
        self._file = file
        self._codec = codec
        self._seal = seal
        self._signed: blake3 | None = None  # what was written since the header
        self._start: int | None = None  # where the container starts, once that is known
        self._compressor = _Compressor()
        self._segments: list[Segment] = []  # empty as long as all is in the rest
        self._rest = bytearray()

    def restart(self) -> None:
        """Forget what was written, to begin anew."""
        if self._start is not None:
            self._file.seek(self._start)
            self._file.truncate()
        self._compressor.close()
        self._segments = []
        self._rest = bytearray()

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
        small = self.pack_small()
        if small is not None:
            write_all(self._file, small)
            return len(small)
        self._end_segment()
        for piece in self._compressor.finish():
            self._put_chunk(*piece)
        index = b"".join(map(pack_segment, map(_named_as_it_lies, self._segments)))
        offset = self._position
        length = offset + len(index) + TRAILER.size
        header = HEADER.pack(MAGIC, VERSION, 0, length)
        self._put(index)
        self._put(self._trailer(header, index, offset))
        if self._start is None:
            self._unwritten[0] = header
            self._flush()
        else:
            self._flush()
            self._file.seek(self._start)
            write_all(self._file, header)
            self._file.seek(self._start + length)
        return length

    def close(self) -> None:
        """Let go of threads, whether it is finished or not."""
        self._compressor.close()

    def pack_small(self) -> bytes | None:
        """Return the whole container if nothing but a small stream was taken.

        The file is untouched then, and `finish` need not be called. Of any other
        container it returns None.
        """
        stream = self._rest
        is_small = not self._segments and 0 < len(stream) < SMALL_CONTAINER
        if not is_small or type(self._codec) is not NoCompression:
            return None
        return pack_stream(stream, self._seal)

    def _trailer(self, header: bytes, index: bytes, offset: int) -> bytes:
        signature = UNSIGNED
        if isinstance(self._seal, Label):
            signature = self._seal.mark
        elif self._seal is not None and self._signed is not None:
            self._signed.update(pack_places(index, offset))
            signature = self._seal.signature(self._signed, header, END_MAGIC)
        return pack_trailer(header, index, offset, signature)

    def _begin(self) -> None:
        self._unwritten: list[bytes | memoryview] = []
        self._unwritten_bytes = 0
        self._position = 0
        self._signed = None
        self._put(HEADER.pack(MAGIC, VERSION, 0, 0))
        if isinstance(self._seal, Seal):
            self._signed = self._seal.begin()
        self._begin_segment(1)

    def _begin_segment(self, item_size: int) -> None:
        self._segment_codec: Codec | None = None  # chosen when its first chunk is here
        self._segments.append(Segment(self._codec.name, 0, item_size, []))

    def _end_segment(self) -> None:
        if not self._segments:
            self._begin()
        if self._rest:
            self._take_rest()

    def _take_rest(self) -> None:
        chunk, self._rest = memoryview(self._rest), bytearray()
        self._take(chunk)

    def _take(self, chunk: memoryview) -> None:
        if not self._segments:
            self._begin()
        number = len(self._segments) - 1
        codec = self._segment_codec
        if codec is None:
            about = self._segments[number]
            codec = self._segment_codec = self._codec.for_items(about.item_size, chunk)
            self._segments[number] = about._replace(codec=codec.name)
        if type(codec) is NoCompression:
            # Its checksum is taken while it is in the processor's cache.
            for piece in self._compressor.finish():
                self._put_chunk(*piece)
            self._put_chunk(number, len(chunk), chunk, xxh3_64_intdigest(chunk))
            return
        for piece in self._compressor.take(number, chunk, codec):
            self._put_chunk(*piece)

    def _put_chunk(
        self, number: int, length: int, stored: bytes | memoryview, checksum: int
    ) -> None:
        name, before, item_size, chunks = self._segments[number]
        if number > 0 and not chunks:
            self._put(bytes(-self._position % ALIGNMENT))
        chunks.append((self._position, len(stored), length, checksum))
        self._segments[number] = Segment(name, before + length, item_size, chunks)
        self._put(stored)

    def _put(self, piece: bytes | memoryview) -> None:
        self._unwritten.append(piece)
        self._unwritten_bytes += len(piece)
        self._position += len(piece)
        if self._signed is not None:
            self._signed.update(piece)
        if self._unwritten_bytes > SMALL_CONTAINER:
            self._flush()

    def _flush(self) -> None:
        if self._start is None:
            self._start = self._file.tell() if self._file.seekable() else 0
        large = [piece for piece in self._unwritten if len(piece) >= CHUNK_BYTES]
        if large:
            for piece in self._unwritten:
                write_all(self._file, piece)
        else:
            write_all(self._file, b"".join(self._unwritten))
        self._unwritten.clear()
        self._unwritten_bytes = 0


def pack_stream(stream: bytes | bytearray, seal: Seal | Label | None) -> bytes:
    """Return the whole container of a small stream that is not compressed."""
    signature = seal.mark if isinstance(seal, Label) else UNSIGNED
    header, behind = pack_around(stream, signature)
    if isinstance(seal, Seal):
        signed = seal.begin()
        signed.update(stream)
        signed.update(behind[: SIGNATURE.start])
        signature = seal.signature(signed, header, END_MAGIC)
        header, behind = pack_around(stream, signature)
    return b"".join((header, stream, behind))


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
            self._pool = ThreadPoolExecutor(usable_cores(), "cachekit-compress")
            first, self._first = self._first, None
            self._submit(*first)
        self._submit(number, chunk, codec)
        while len(self._waiting) > 2 * usable_cores():
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
        packed = submit(self._pool, _compress, chunk, codec)
        self._waiting.append((number, len(chunk), packed))

    def _oldest(self) -> tuple[int, int, Any, int]:
        number, length, packed = self._waiting.popleft()
        return number, length, *packed.result()


def _compress(chunk: memoryview, codec: Codec) -> tuple[bytes | memoryview, int]:
    stored = codec.compress(chunk)
    if len(stored) >= len(chunk):
        stored = chunk
    return stored, xxh3_64_intdigest(stored)


def _named_as_it_lies(segment: Segment) -> Segment:
    """Call a large buffer uncompressed if no chunk has shrunk: it can be mapped."""
    is_large = segment.length >= CHUNK_BYTES
    if is_large and all(stored == length for _, stored, length, _ in segment.chunks):
        return segment._replace(codec=NoCompression.name)
    return segment
