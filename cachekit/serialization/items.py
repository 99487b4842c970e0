r"""A file of many values, written and read one by one: what a generator yields.

::

    file      := head (padding frame container)*
    head      := magic version flags label nonce checksum    56 bytes
    padding   := zeros, until the frame ends at a multiple of 64
    frame     := place length checksum                       40 bytes
    place     := kind number count                           24 bytes

Each frame and its container are a *part*. A part of kind ``items`` holds one large
item as `persistence` writes a value, or many small ones with a table of where they
begin and end; the last part, of kind ``returned``, holds what the generator returned,
and says how many items there are. `docs/format.md` explains it.

Every frame is bound to its file by the nonce, and every container to its frame: by its
label, and by its signature if there is a secret. So no part can be left out, doubled,
exchanged, or brought from another file, be it of the same entry.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

from xxhash import xxh3_64_intdigest

from cachekit.errors import ContainerError, CorruptedFile, UnsupportedContainer
from cachekit.serialization import container, files, pickling, reading
from cachekit.serialization.codecs import Codec
from cachekit.serialization.signing import Label, Seal
from cachekit.serialization.writing import Writer

VERSION = 1
MAGIC = b"\x89ckis\r\n\x1a"  # three bits from that of a container

# Small items are gathered until they are so large together.
PART_BYTES = container.CHUNK_BYTES

# An item from this size on is a part of its own, whose memory is not copied: what a
# part costs, some 0.1 ms, is little then. At most the block of a strided array.
LARGE_ITEM = 1 << 18

_HEAD = struct.Struct("<8sII16s16sQ")
_PLACE = struct.Struct("<8sQQ")
_FRAME = struct.Struct("<24sQQ")
_CHECKSUM_BYTES = 8
_ITEMS, _RETURNED = b"items\0\0\0", b"returned"
_NONCE_BYTES = 16
_LABEL = slice(16)  # of a label's mark: the rest of it is zeros
_NO_LABEL = bytes(16)

# A row of the table: of an item the length of its stream and how many buffers it has,
# of a buffer its length and in which one of the container it lies.
_ROW_BYTES = 8

# Part of the format, as it takes part in every signature.
_PURPOSE = b"cachekit 2026-11 signature of items"

# Pickled by pickle itself, in a third of the time.
_PLAIN = (int, float, bool, type(None))


class ItemWriter:
    """Writes items into a file one by one, holding about a mebibyte of them.

    A file that was not closed by `close`, for whatever reason, is never read as whole.
    Threads have to take turns.

    Parameters
    ----------
    file : binary file
        Open for writing, and able to seek, at the place where the items start.
    codec : Codec
        Compresses them.
    seal : Seal or Label, optional
        Signs them, or says what they belong to.
    """

    def __init__(
        self, file: BinaryIO, codec: Codec, seal: Seal | Label | None = None
    ) -> None:
        self._file = file
        self._codec = codec
        self._start = file.tell()
        self._head = _new_head(seal)
        self._seal_at = _seals(seal, self._head)
        self._position = len(self._head)  # counted from the start
        self._place = b""  # of the part that is being written
        self._parts = 0
        self._count = 0
        self._gathered = _Gathered()
        files.write_all(file, self._head)
        self._turn = threading.Lock()

    def append(self, item: object) -> None:
        """Write an item; it may be changed afterwards.

        Parameters
        ----------
        item : object
            Anything that pickle or cloudpickle takes.

        Raises
        ------
        ValueError
            If the file is closed, another item has failed, or is being written.
        Exception
            Whatever the item's own pickling raises; the writer is of no use then.
        """
        self._take_turn()
        self._append(item)
        self._turn.release()

    def close(self, returned: object = None) -> int:
        """Write the end; return the size of all in bytes. The file stays open.

        Parameters
        ----------
        returned : object, default None
            What the generator has returned.

        Raises
        ------
        ValueError
            As of `append`.
        Exception
            Whatever the pickling of `returned` raises.
        """
        self._take_turn()
        self._write_gathered()
        writer = self._begin_part(_RETURNED, self._count)
        try:
            for memory in pickling.write_pickle(returned, writer):
                writer.add_buffer(*memory)
            self._end_part(writer)
        finally:
            writer.close()
        return self._position

    def _take_turn(self) -> None:
        """Let nobody else write; for good, if anything fails from here on."""
        if not self._turn.acquire(blocking=False):
            raise ValueError(
                "the file of items is closed, an item has failed, or another one is "
                "being written"
            )

    def _append(self, item: object) -> None:
        self._count += 1
        if type(item) in _PLAIN:
            plain = pickle.dumps(item, 5)
            if len(plain) < LARGE_ITEM:
                self._gather(plain, [])
                return
        stream = _ItemStream(self._begin_item)
        try:
            outside = pickling.write_pickle(item, stream)
            if stream.writer is None and _size(outside) < LARGE_ITEM:
                self._gather(stream.memory, outside)
                return
            writer = stream.spill()
            for memory in outside:
                writer.add_buffer(*memory)
            self._end_part(writer)
        finally:
            if stream.writer is not None:
                stream.writer.close()

    def _gather(
        self, stream: bytes | bytearray, outside: list[pickling.OutOfBand]
    ) -> None:
        self._gathered.take(stream, outside)
        if self._gathered.size >= PART_BYTES:
            self._write_gathered()

    def _write_gathered(self) -> None:
        gathered, self._gathered = self._gathered, _Gathered()
        if not gathered.lengths:
            return
        writer = self._begin_part(_ITEMS, len(gathered.lengths))
        try:
            gathered.write(writer)
            self._end_part(writer)
        finally:
            writer.close()

    def _begin_item(self) -> Writer:
        self._write_gathered()
        return self._begin_part(_ITEMS, 1)

    def _begin_part(self, kind: bytes, count: int) -> Writer:
        """Leave room for a frame; return the writer of the container behind it."""
        self._place = _PLACE.pack(kind, self._parts, count)
        room = bytes(_padding_at(self._position) + _FRAME.size)
        files.write_all(self._file, room)
        self._position += len(room)
        return Writer(self._file, self._codec, self._seal_at(self._place))

    def _end_part(self, writer: Writer) -> None:
        length = writer.finish()
        # The frame comes last: without it there is no part.
        self._file.seek(self._start + self._position - _FRAME.size)
        files.write_all(self._file, _frame(self._head, self._place, length))
        self._position += length
        self._file.seek(self._start + self._position)
        self._parts += 1


def read_items(
    file: BinaryIO,
    *,
    modules: Mapping[str, str] | None = None,
    seal: Seal | Label | None = None,
) -> Generator[Any, None, Any]:
    """Read the items of a file one by one; return what their generator returned.

    No more than a part is held: of small items about a mebibyte, or one large item.
    What is damaged is found when the reader comes to it, after the items before.

    Parameters
    ----------
    file : binary file
        Open for reading, where the items start; it need not be able to seek. It is
        never closed.
    modules : mapping of str to str, optional
        Modules whose classes are to be looked for under another name.
    seal : Seal or Label, optional
        Checks the signature of each part, or what it belongs to, before anything of it
        is unpickled. Without a secret, signed items are read as any others.

    Yields
    ------
    object
        An item.

    Returns
    -------
    object
        What `ItemWriter.close` was given.

    Raises
    ------
    CorruptedFile
        If the file is truncated, altered or of another format, or parts of it are
        missing or not at their place.
    ContainerError
        If an item cannot be rebuilt, for example because its class is gone.
    UntrustedContent
        If it was not signed with that secret for that context.
    """
    parts = _parts(file, seal)
    while True:
        kind, count, content = next(parts)
        if kind == _RETURNED:
            return _rebuilt(content.stream, content.buffers, modules)
        for stream, buffers in _pickles(count, content):
            yield _rebuilt(stream, buffers, modules)
        # Or they would stay in memory beside the next part.
        del content, stream, buffers


def check_items(file: BinaryIO, seal: Seal | Label | None = None) -> int:
    """Check every byte of a file of items, and unpickle nothing; count the items.

    Parameters
    ----------
    file : binary file
        Open for reading, where the items start.
    seal : Seal or Label, optional
        Checks the signature as well, or what the items belong to.

    Raises
    ------
    ContainerError
        As `read_items` does, but for items that cannot be rebuilt.
    """
    parts = _parts(file, seal)
    while True:
        kind, count, content = next(parts)
        if kind == _RETURNED:
            return count
        for _ in _pickles(count, content):
            pass
        del content


def is_items(head: bytes) -> bool:
    """Tell whether a file that starts so is one of items, by its first eight bytes."""
    return head.startswith(MAGIC)


# --- what both directions know ---


def _new_head(seal: Seal | Label | None) -> bytes:
    label = seal.mark[_LABEL] if isinstance(seal, Label) else _NO_LABEL
    # The nonce tells apart two files of the same entry, parts of which may meet when
    # one takes the place of the other while it is read from a service.
    told = _HEAD.pack(MAGIC, VERSION, 0, label, os.urandom(_NONCE_BYTES), 0)
    told = told[:-_CHECKSUM_BYTES]
    return told + struct.pack("<Q", xxh3_64_intdigest(told))


def _frame(head: bytes, place: bytes, length: int) -> bytes:
    told = struct.pack("<24sQ", place, length)
    return told + struct.pack("<Q", xxh3_64_intdigest(head + told))


def _padding_at(position: int) -> int:
    """Return how many zeros make the next container start at a multiple of 64."""
    return -(position + _FRAME.size) % container.ALIGNMENT


def _seals(seal: Seal | Label | None, head: bytes) -> Callable[[bytes], Seal | Label]:
    """Return what makes the seal of a part from its place."""
    if isinstance(seal, Seal):
        # A key for the items of this entry alone: the hash of no container ends so.
        secret = seal.signature(seal.begin(), _PURPOSE, b"")
        return lambda place: Seal(secret, head + place)
    label = _HEAD.unpack(head)[3]
    if isinstance(seal, Label) and label != seal.mark[_LABEL]:
        entry = seal
        return lambda _: entry  # which no label of a part can be; only a signature
    return lambda place: Label(head + place)


# --- writing ---


class _Gathered:
    """Small items that wait to be written together."""

    def __init__(self) -> None:
        self.size = 0
        self.lengths: list[int] = []
        self._stream = bytearray()
        self._counts: list[int] = []
        self._buffers: list[tuple[memoryview, int]] = []

    def take(
        self, stream: bytes | bytearray, outside: list[pickling.OutOfBand]
    ) -> None:
        """Take an item, and copy its memory."""
        self._stream += stream
        self.lengths.append(len(stream))
        self._counts.append(len(outside))
        self.size += len(stream) + _ROW_BYTES
        for blocks, item_size in outside:
            memory = memoryview(b"".join(blocks))
            self._buffers.append((memory, item_size))
            self.size += len(memory) + _ROW_BYTES

    def write(self, writer: Writer) -> None:
        """Write all of them into one container."""
        writer.write(self._stream)
        if len(self.lengths) == 1:
            for memory, item_size in self._buffers:
                writer.add_buffer([memory], item_size)
            return
        # Memory of numbers of the same size is one buffer, and compresses as one.
        groups: dict[int, list[memoryview]] = {}
        for memory, item_size in self._buffers:
            groups.setdefault(item_size, []).append(memory)
        order = {item_size: number for number, item_size in enumerate(groups)}
        table = [*self.lengths, *self._counts]
        table += [len(memory) for memory, _ in self._buffers]
        table += [order[item_size] for _, item_size in self._buffers]
        packed = struct.pack(f"<{len(table)}I", *table)
        writer.add_buffer([memoryview(packed)], 4)
        for item_size, memories in groups.items():
            writer.add_buffer(memories, item_size)


class _ItemStream:
    """Takes the stream of one item: in memory, or once it is large in its own part."""

    def __init__(self, begin: Callable[[], Writer]) -> None:
        self._begin = begin
        self.memory = bytearray()
        self.writer: Writer | None = None

    def write(self, piece: Any) -> None:
        """Take a piece of the stream."""
        if self.writer is None and len(self.memory) + len(piece) < LARGE_ITEM:
            self.memory += piece
        else:
            self.spill().write(piece)

    def spill(self) -> Writer:
        """Go on in a part of its own; return its writer."""
        if self.writer is None:
            self.writer = self._begin()
            self.writer.write(self.memory)
        return self.writer

    def restart(self) -> None:
        """Forget all that was written."""
        self.memory = bytearray()
        if self.writer is not None:
            self.writer.restart()


def _size(outside: list[pickling.OutOfBand]) -> int:
    # The blocks of a strided array, which are copied one by one, are large.
    return sum(
        sum(map(len, blocks)) if isinstance(blocks, Sequence) else LARGE_ITEM
        for blocks, _ in outside
    )


# --- reading ---


def _parts(
    file: BinaryIO, seal: Seal | Label | None
) -> Iterator[tuple[bytes, int, reading.Content]]:
    """Yield kind, count and content of each part, up to the one that was returned."""
    source: Any = files.with_head(file, 0)[0]  # as it is, or as one read forward
    head = _checked_head(_exactly(source, _HEAD.size))
    seal_at = _seals(seal, head)
    position, number, total = len(head), 0, 0
    while True:
        padding = _padding_at(position)
        before = _exactly(source, padding + _FRAME.size)
        if any(before[:padding]):
            raise CorruptedFile("the padding between two parts was altered")
        place, length = _checked_frame(head, before[padding:])
        kind, told_number, count = _PLACE.unpack(place)
        if told_number != number:
            raise CorruptedFile(f"part {told_number} is where {number} should be")
        position, number = position + len(before) + length, number + 1
        if kind == _RETURNED:
            if count != total:
                raise CorruptedFile(f"of {count} items there are {total}")
            returned = _container(source, length, seal_at(place))
            if source.read(1):
                raise CorruptedFile("something follows the items")
            yield kind, count, returned
            return
        if kind != _ITEMS or count == 0:
            raise CorruptedFile("a part holds no items")
        total += count
        yield kind, count, _container(source, length, seal_at(place))


def _checked_head(head: bytes) -> bytes:
    if not is_items(head):
        raise CorruptedFile("this is not a file of items")
    _, version, *_, checksum = _HEAD.unpack(head)
    if xxh3_64_intdigest(head[:-_CHECKSUM_BYTES]) != checksum:
        raise CorruptedFile("the head of the items was altered")
    if version != VERSION:
        raise UnsupportedContainer(
            f"the items have format {version}; this cachekit reads {VERSION}"
        )
    return head


def _checked_frame(head: bytes, frame: bytes) -> tuple[bytes, int]:
    """Return the place and the length that a frame tells."""
    place, length, _ = _FRAME.unpack(frame)
    if _frame(head, place, length) != frame:
        raise CorruptedFile("the frame of a part was altered, or is of another file")
    return place, length


def _container(file: Any, length: int, seal: Seal | Label) -> reading.Content:
    """Read the container of a part."""
    header = _exactly(file, container.HEADER.size)
    magic, version, _, told = container.HEADER.unpack(header)
    expected = (container.MAGIC, container.VERSION, length)
    if (magic, version, told) != expected:  # before memory is taken for a lie
        raise CorruptedFile("the header of a part was altered")
    if length <= container.SMALL_CONTAINER:  # of which no more is to be read than this
        whole = io.BytesIO(header + _exactly(file, length - len(header)))
        return reading.read(whole, seal=seal)
    if file.seekable():
        file.seek(-len(header), os.SEEK_CUR)
    else:
        file = files.Forward(file, header)
    return reading.read(file, alone=False, seal=seal)


def _exactly(file: Any, length: int) -> bytes:
    """Read so many bytes, also from a file that gives less than it is asked for."""
    content = b""
    while len(content) < length:
        more = file.read(length - len(content))
        if not more:
            raise CorruptedFile("the items have no end: the file is truncated")
        content += more
    return content


def _pickles(
    count: int, content: reading.Content
) -> Iterator[tuple[memoryview, list[Any]]]:
    """Yield the stream and the buffers of each item of a part."""
    stream, buffers = content.stream, content.buffers
    if count == 1:
        yield stream, buffers
        return
    table, *groups = buffers or [b""]
    lengths, counts, sizes, places = _columns(bytes(table), count)
    in_groups = [0] * len(groups)
    for size, place in zip(sizes, places, strict=True):
        if place < len(groups):
            in_groups[place] += size
    if (
        (sum(lengths), sum(counts)) != (len(stream), len(sizes))
        or max(places, default=-1) >= len(groups)
        or in_groups != list(map(len, groups))
    ):
        raise CorruptedFile("the table of a part does not fit its items")
    memory = _small_buffers(groups, sizes, places)
    start = 0
    for length, number in zip(lengths, counts, strict=True):
        yield stream[start : start + length], list(islice(memory, number))
        start += length


def _columns(table: bytes, count: int) -> tuple[tuple[int, ...], ...]:
    """Take the table of so many items apart into its four columns."""
    of_buffers, rest = divmod(len(table) - count * _ROW_BYTES, _ROW_BYTES)
    if of_buffers < 0 or rest:
        raise CorruptedFile(f"a part has no table of its {count} items")
    numbers = iter(struct.unpack(f"<{2 * (count + of_buffers)}I", table))
    lengths_of_columns = (count, count, of_buffers, of_buffers)
    return tuple(tuple(islice(numbers, length)) for length in lengths_of_columns)


def _small_buffers(
    groups: list[Any], sizes: Sequence[int], places: Sequence[int]
) -> Iterator[bytearray]:
    """Yield each buffer of small items as memory of its own."""
    positions = [0] * len(groups)
    for size, place in zip(sizes, places, strict=True):
        start, end = positions[place], positions[place] + size
        yield bytearray(groups[place][start:end])
        positions[place] = end


def _rebuilt(
    stream: memoryview, buffers: list[Any], modules: Mapping[str, str] | None
) -> Any:
    try:
        return pickling.rebuild(stream, buffers, modules)
    except MemoryError:
        raise
    except Exception as error:  # unpickling runs the value's own code
        raise ContainerError(f"an item cannot be rebuilt: {error!r}") from error
