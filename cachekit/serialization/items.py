r"""A file of many values, written and read one by one: what a generator yields.

::

    file      := head (padding frame container)*
    head      := magic version flags label nonce checksum    56 bytes
    padding   := zeros, until the frame ends at a multiple of 64
    frame     := place length checksum                       40 bytes
    place     := kind number count                           24 bytes

Each frame and its container are a *part*. A part of kind ``items`` holds one large
item as `values` writes a value, or many small ones with a table of where they
begin and end; the last part, of kind ``returned``, holds what the generator returned,
and says how many items there are. `docs/format.md` explains it.

Every frame is bound to its file by the nonce, and every container to its frame: by its
label, and by its signature if there is a secret. So no part can be left out, doubled,
exchanged, or brought from another file, be it of the same entry.

This is what both directions know; next door are `item_writing` and `item_reading`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from xxhash import xxh3_64_intdigest

from cachekit.errors import CorruptedFile, UnsupportedContainer
from cachekit.serialization import container
from cachekit.serialization.signing import Label, Seal

VERSION = 1
MAGIC = b"\x89ckis\r\n\x1a"  # three bits from that of a container

HEAD = struct.Struct("<8sII16s16sQ")
PLACE = struct.Struct("<8sQQ")
FRAME = struct.Struct("<24sQQ")
_CHECKSUM_BYTES = 8
ITEMS, RETURNED = b"items\0\0\0", b"returned"
_NONCE_BYTES = 16
_LABEL = slice(16)  # of a label's mark: the rest of it is zeros
_NO_LABEL = bytes(16)

# A row of the table: of an item the length of its stream and how many buffers it has,
# of a buffer its length and in which one of the container it lies.
ROW_BYTES = 8

# Part of the format, as it takes part in every signature.
_PURPOSE = b"cachekit 2026-11 signature of items"


def is_items(head: bytes) -> bool:
    """Tell whether a file that starts so is one of items, by its first eight bytes.

    Parameters
    ----------
    head : bytes
        How the file starts: eight bytes or more.

    Returns
    -------
    bool
        False also if there are fewer bytes.
    """
    return head.startswith(MAGIC)


def new_head(seal: Seal | Label | None) -> bytes:
    """Return the head of a new file, with a nonce that no other has."""
    label = seal.mark[_LABEL] if isinstance(seal, Label) else _NO_LABEL
    # The nonce tells apart two files of the same entry, parts of which may meet when
    # one takes the place of the other while it is read from a service.
    told = HEAD.pack(MAGIC, VERSION, 0, label, os.urandom(_NONCE_BYTES), 0)
    told = told[:-_CHECKSUM_BYTES]
    return told + struct.pack("<Q", xxh3_64_intdigest(told))


def checked_head(head: bytes) -> bytes:
    """Return a head as it is, if it is whole and of this format."""
    if not is_items(head):
        raise CorruptedFile("this is not a file of items")
    _, version, *_, checksum = HEAD.unpack(head)
    if xxh3_64_intdigest(head[:-_CHECKSUM_BYTES]) != checksum:
        raise CorruptedFile("the head of the items was altered")
    if version != VERSION:
        raise UnsupportedContainer(
            f"the items have format {version}; this cachekit reads {VERSION}"
        )
    return head


def frame(head: bytes, place: bytes, length: int) -> bytes:
    """Return the frame of a part, which no other file can have."""
    told = struct.pack("<24sQ", place, length)
    return told + struct.pack("<Q", xxh3_64_intdigest(head + told))


def checked_frame(head: bytes, found: bytes) -> tuple[bytes, int]:
    """Return the place and the length that a frame tells."""
    place, length, _ = FRAME.unpack(found)
    if frame(head, place, length) != found:
        raise CorruptedFile("the frame of a part was altered, or is of another file")
    return place, length


def padding_at(position: int) -> int:
    """Return how many zeros make the next container start at a multiple of 64."""
    return -(position + FRAME.size) % container.ALIGNMENT


def seals(seal: Seal | Label | None, head: bytes) -> Callable[[bytes], Seal | Label]:
    """Return what makes the seal of a part from its place."""
    if isinstance(seal, Seal):
        # A key for the items of this entry alone: the hash of no container ends so.
        secret = seal.signature(seal.begin(), _PURPOSE, b"")
        return lambda place: Seal(secret, head + place)
    label = HEAD.unpack(head)[3]
    if isinstance(seal, Label) and label != seal.mark[_LABEL]:
        entry = seal
        return lambda _: entry  # which no label of a part can be; only a signature
    return lambda place: Label(head + place)
