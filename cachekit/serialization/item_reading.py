"""Read a file of items one by one, or check it; what is damaged is never unpickled.

The format is described in `items`.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

from cachekit.errors import CorruptedFile
from cachekit.serialization import container, files, reading
from cachekit.serialization.items import (
    FRAME,
    HEAD,
    ITEMS,
    PLACE,
    RETURNED,
    ROW_BYTES,
    checked_frame,
    checked_head,
    padding_at,
    seals,
)
from cachekit.serialization.signing import Label, Seal
from cachekit.serialization.values import rebuilt


def read_items(
    file: BinaryIO,
    *,
    modules: Mapping[str, str] | None = None,
    seal: Seal | Label | None = None,
    trusted: Sequence[object] | None = None,
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
    trusted : sequence, optional
        If given, safe loading: what is allowed besides plain data; see
        `cachekit.load`.

    Returns
    -------
    object
        What `ItemWriter.close` was given.

    Yields
    ------
    object
        An item.

    Raises
    ------
    CorruptedFile
        If the file is truncated, altered or of another format, or parts of it are
        missing or not at their place.
    ContainerError
        If an item cannot be rebuilt, for example because its class is gone.
    UntrustedContent
        If it was not signed with that secret for that context, or safe loading
        refuses it.
    """
    parts = _parts(file, seal)
    while True:
        kind, count, content = next(parts)
        if kind == RETURNED:
            return rebuilt("an item", content.stream, content.buffers, modules, trusted)
        for stream, buffers in _pickles(count, content):
            yield rebuilt("an item", stream, buffers, modules, trusted)
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

    Returns
    -------
    int
        How many items there are.

    Raises
    ------
    ContainerError
        As `read_items` does, but for items that cannot be rebuilt.
    """
    parts = _parts(file, seal)
    while True:
        kind, count, content = next(parts)
        if kind == RETURNED:
            return count
        for _ in _pickles(count, content):
            pass
        del content


def lengths_of_parts(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield how many items each part has, and how many bytes; reads the frames alone.

    The last part, which holds what the generator returned, has 0 items.

    Raises
    ------
    CorruptedFile
        If a frame is damaged, or missing.
    """
    source: Any = files.with_head(file, 0)[0]
    head = checked_head(_exactly(source, HEAD.size))
    position, kind = len(head), ITEMS
    while kind != RETURNED:
        before = _exactly(source, padding_at(position) + FRAME.size)
        place, length = checked_frame(head, before[-FRAME.size :])
        kind, _, count = PLACE.unpack(place)
        yield (0 if kind == RETURNED else count), length
        position += len(before) + length
        if source.seekable():
            source.seek(length, os.SEEK_CUR)
            continue
        while length > 0:
            length -= len(_exactly(source, min(length, container.CHUNK_BYTES)))


# --- part by part ---


def _parts(
    file: BinaryIO, seal: Seal | Label | None
) -> Iterator[tuple[bytes, int, reading.Content]]:
    """Yield kind, count and content of each part, up to the one that was returned."""
    source: Any = files.with_head(file, 0)[0]  # as it is, or as one read forward
    head = checked_head(_exactly(source, HEAD.size))
    seal_at = seals(seal, head)
    position, number, total = len(head), 0, 0
    while True:
        padding = padding_at(position)
        before = _exactly(source, padding + FRAME.size)
        if any(before[:padding]):
            raise CorruptedFile("the padding between two parts was altered")
        place, length = checked_frame(head, before[padding:])
        kind, told_number, count = PLACE.unpack(place)
        if told_number != number:
            raise CorruptedFile(f"part {told_number} is where {number} should be")
        position, number = position + len(before) + length, number + 1
        if kind == RETURNED:
            if count != total:
                raise CorruptedFile(f"of {count} items there are {total}")
            returned = _container(source, length, seal_at(place))
            if source.read(1):
                raise CorruptedFile("something follows the items")
            yield kind, count, returned
            return
        if kind != ITEMS or count == 0:
            raise CorruptedFile("a part holds no items")
        total += count
        yield kind, count, _container(source, length, seal_at(place))


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


# --- item by item ---


def _pickles(
    count: int, content: reading.Content
) -> Iterator[tuple[bytes | memoryview, list[Any]]]:
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
    of_buffers, rest = divmod(len(table) - count * ROW_BYTES, ROW_BYTES)
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
