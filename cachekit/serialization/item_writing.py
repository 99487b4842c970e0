"""Write a file of items: one by one, small ones gathered, large ones on their own.

The format is described in `items`.
"""

from __future__ import annotations

import pickle
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from cachekit.serialization import container, files, pickling
from cachekit.serialization.codecs import Codec
from cachekit.serialization.items import (
    FRAME,
    ITEMS,
    PLACE,
    RETURNED,
    ROW_BYTES,
    frame,
    new_head,
    padding_at,
    seals,
)
from cachekit.serialization.signing import Label, Seal
from cachekit.serialization.writing import Writer

# Small items are gathered until they are so large together.
PART_BYTES = container.CHUNK_BYTES

# An item from this size on is a part of its own, whose memory is not copied: what a
# part costs, some 0.1 ms, is little then. At most the block of a strided array.
LARGE_ITEM = 1 << 18

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
        self._head = new_head(seal)
        self._seal_at = seals(seal, self._head)
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

        Returns
        -------
        int
            Bytes written, of all items.

        Raises
        ------
        ValueError
            As of `append`.
        Exception
            Whatever the pickling of `returned` raises.
        """
        self._take_turn()
        self._write_gathered()
        writer = self._begin_part(RETURNED, self._count)
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
        writer = self._begin_part(ITEMS, len(gathered.lengths))
        try:
            gathered.write(writer)
            self._end_part(writer)
        finally:
            writer.close()

    def _begin_item(self) -> Writer:
        self._write_gathered()
        return self._begin_part(ITEMS, 1)

    def _begin_part(self, kind: bytes, count: int) -> Writer:
        """Leave room for a frame; return the writer of the container behind it."""
        self._place = PLACE.pack(kind, self._parts, count)
        room = bytes(padding_at(self._position) + FRAME.size)
        files.write_all(self._file, room)
        self._position += len(room)
        return Writer(self._file, self._codec, self._seal_at(self._place))

    def _end_part(self, writer: Writer) -> None:
        length = writer.finish()
        # The frame comes last: without it there is no part.
        self._file.seek(self._start + self._position - FRAME.size)
        files.write_all(self._file, frame(self._head, self._place, length))
        self._position += length
        self._file.seek(self._start + self._position)
        self._parts += 1


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
        self.size += len(stream) + ROW_BYTES
        for blocks, item_size in outside:
            memory = memoryview(b"".join(blocks))
            self._buffers.append((memory, item_size))
            self.size += len(memory) + ROW_BYTES

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
