"""What the value of an entry is made of, and the value itself: safely, unless asked.

Looking at a value does not count as a use of it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Any, BinaryIO

from cachekit.errors import EntryNotFound
from cachekit.inspection.records import read_record
from cachekit.inspection.verification import signing_secret
from cachekit.memoization.artifacts import reading_from
from cachekit.memoization.main_names import MainNames
from cachekit.serialization import Label, Seal, is_items, read_items, read_value
from cachekit.serialization.container import MAGIC, Segment
from cachekit.serialization.item_reading import lengths_of_parts
from cachekit.serialization.reading import segments_of
from cachekit.stores import EntryKey, Store


@dataclass(frozen=True)
class Buffer:
    """A part of a stored value: its pickle stream, or memory of one of its arrays.

    Attributes
    ----------
    size, stored : int
        Bytes in memory, and in the file.
    codec : str
        How it is compressed, or ``none``.
    item_size : int
        Bytes of one number.
    """

    size: int
    stored: int
    codec: str
    item_size: int


@dataclass(frozen=True)
class Outline:
    """What the file of a value says of it, without its content.

    Attributes
    ----------
    stream : Buffer or None
        The pickle stream; None for the items of a generator.
    buffers : list of Buffer
        The memory of its arrays, and the like.
    items : int or None
        How many items a generator has yielded; None for what a function returned.
    """

    stream: Buffer | None
    buffers: list[Buffer]
    items: int | None = None


@dataclass(frozen=True)
class Loaded:
    """A value that was loaded to be looked at.

    Attributes
    ----------
    value : object
        What the call returned, or a list of what it yielded first.
    items : int or None
        How many items it has yielded in all; None for what a function returned.
    """

    value: Any
    items: int | None = None


def outline(store: Store, key: EntryKey) -> Outline:
    """Tell what a stored value is made of; it is neither read whole nor unpickled.

    Parameters
    ----------
    store : Store
        Where it is.
    key : EntryKey
        Which it is.

    Returns
    -------
    Outline
        The parts of the file, with their sizes in bytes.

    Raises
    ------
    EntryNotFound
        If there is no such entry.
    ContainerError
        If its file is damaged.
    """
    with _peek(store, key) as file:
        head, whole = _with_head(file)
        if is_items(head):
            parts = list(lengths_of_parts(whole))
            return Outline(None, [], sum(count for count, _ in parts))
        stream, *buffers = map(_describe, segments_of(whole))
        return Outline(stream, buffers)


def load_value(
    store: Store,
    key: EntryKey,
    *,
    unsafe: bool = False,
    most_items: int | None = None,
) -> Loaded:
    """Load a stored value, if it is plain data: builtins, numpy, pandas, scipy.sparse.

    Parameters
    ----------
    store : Store
        Where it is.
    key : EntryKey
        Which it is.
    unsafe : bool, default False
        Whether any value is loaded, which runs its own code. With a secret in
        ``CACHEKIT_SIGNING_KEY``, its signature is checked before.
    most_items : int, optional
        How many items of a generator are loaded; all of them by default.

    Returns
    -------
    Loaded
        The value; of a generator, a list of its items.

    Raises
    ------
    EntryNotFound
        If there is no such entry.
    UntrustedContent
        If safe loading refuses it.
    ContainerError
        If its file is damaged, or what it needs is not there.
    ValueError
        If the secret is too short.
    """
    secret, name = signing_secret() if unsafe else None, key.digest.encode()
    seal: Seal | Label = Label(name) if secret is None else Seal(secret, name)
    trusted = None if unsafe else ()
    modules = MainNames(functools.partial(_script_of, store), key) if unsafe else None
    with _peek(store, key) as file, reading_from(store, key):
        head, whole = _with_head(file)
        if not is_items(head):
            value = read_value(whole, modules=modules, seal=seal, trusted=trusted)
            return Loaded(value)
        items = read_items(whole, modules=modules, seal=seal, trusted=trusted)
        first = list(islice(items, most_items))
    return Loaded(first, outline(store, key).items)


def _peek(store: Store, key: EntryKey) -> BinaryIO:
    file = store.peek(key)
    if file is None:
        raise EntryNotFound(f"{store.location} has no entry {key.path}")
    return file


def _with_head(file: BinaryIO) -> tuple[bytes, BinaryIO]:
    """Return the first bytes of a file, and the file from its start."""
    if not file.seekable():  # of a service, of which a reader may not go back
        file = BytesIO(file.read())
    head = file.read(len(MAGIC))
    file.seek(0)
    return head, file


def _script_of(store: Store, key: EntryKey) -> str | None:
    record = read_record(store, key)
    return None if record is None else record.main


def _describe(segment: Segment) -> Buffer:
    stored = sum(chunk[1] for chunk in segment.chunks)
    return Buffer(segment.length, stored, segment.codec, segment.item_size)
