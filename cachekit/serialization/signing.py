"""Say in a container what it belongs to, and sign it with a secret if there is one.

A checksum finds damage, and a *label* a value in the place of another one. A signature
also finds what somebody else has written: with it, only one's own values are
unpickled. It is a keyed BLAKE3 over all of the container that says something, and over
a *context*: the name of what the value belongs to. So a value cannot be put in the
place of another one, even if both were signed with the same secret. `writing` signs,
`reading` checks; `docs/format.md` says over what.
"""

from __future__ import annotations

import functools
import struct

from blake3 import blake3
from xxhash import xxh3_128_digest

from cachekit.errors import CorruptedFile, UntrustedContent
from cachekit.serialization.container import (
    END_MAGIC,
    HEADER,
    SIGNATURE,
    TRAILER,
)

# Part of the format, as everything here: another text makes other signatures.
_PURPOSE = "cachekit 2026-11 signature of a value"

_NOT_SIGNED = bytes(16)

_LENGTH = struct.Struct("<Q")


class Label:
    """Names what the value of an entry belongs to, without a secret.

    Parameters
    ----------
    context : bytes
        What the value belongs to.
    """

    __slots__ = ("mark",)

    def __init__(self, context: bytes) -> None:
        # Its zeros tell it from a signature, which has them by no chance.
        self.mark = xxh3_128_digest(context) + _NOT_SIGNED

    def check(self, end: bytes | memoryview) -> None:
        """Check the label of a container, given its end; a signature is as good.

        Raises
        ------
        CorruptedFile
            If it belongs to something else, or to nothing.
        """
        mark = bytes(end[SIGNATURE])
        if mark != self.mark and mark.endswith(_NOT_SIGNED):
            raise CorruptedFile("the value belongs to another entry")


class Seal:
    """Signs the value of one entry, and checks that signature.

    Parameters
    ----------
    secret : bytes
        What only those know who may write values.
    context : bytes
        What the value belongs to, as in ``b"model.fit/3f9c…"``. A value that was
        signed in one context is refused in every other one.

    Raises
    ------
    ValueError
        If the secret is empty.
    """

    __slots__ = ("_context", "_key")

    def __init__(self, secret: bytes, context: bytes) -> None:
        self._key = _key_from(secret)
        self._context = context

    def begin(self) -> blake3:
        """Return what the bytes between header and signature are to be given to."""
        # In one thread, 4.6 GB/s: two were at best 1.5 times as fast (64 MiB, both of
        # two cores free), slower below 4 MiB, and must be started each time.
        return blake3(key=self._key)

    def signature(
        self, content: blake3, header: bytes | memoryview, end: bytes | memoryview
    ) -> bytes:
        """Return the signature of a container, once `content` was given the rest.

        Parameters
        ----------
        content : blake3
            From `begin`.
        header : bytes
            The first bytes; they come late because they are written last.
        end : bytes
            The magic at the end.
        """
        # All but one part have a fixed length, or their length behind them: no two
        # containers and contexts make the same stream.
        context = self._context
        content.update(b"".join((header, end, context, _LENGTH.pack(len(context)))))
        return content.digest()

    def check(self, whole: bytes | memoryview) -> None:
        """Check the signature of a container, of which nothing was believed so far.

        Raises
        ------
        UntrustedContent
            If it is not signed, or not so.
        """
        view = memoryview(whole)
        content = self.begin()
        content.update(view[HEADER.size : -TRAILER.size])
        self.check_end(content, view[: HEADER.size], view[-TRAILER.size :])

    def check_end(
        self, content: blake3, header: bytes | memoryview, end: bytes | memoryview
    ) -> None:
        """Check the signature of a container that was read piece by piece.

        Parameters
        ----------
        content : blake3
            From `begin`, given all between header and trailer.
        header, end : bytes
            The header, and the trailer.

        Raises
        ------
        UntrustedContent
            As `check`.
        """
        import hmac  # here, for it takes OpenSSL along, and few sign anything

        view = memoryview(end)
        signature = view[SIGNATURE]
        if bytes(signature).endswith(_NOT_SIGNED):
            raise UntrustedContent("the value is not signed")
        content.update(view[: SIGNATURE.start])
        expected = self.signature(content, header, view[-len(END_MAGIC) :])
        if not hmac.compare_digest(signature, expected):
            raise UntrustedContent(
                "the value's signature is of another secret or of another entry, or "
                "the value was altered"
            )


@functools.lru_cache(maxsize=8)
def _key_from(secret: bytes) -> bytes:
    if not secret:
        raise ValueError("an empty secret would sign for everybody: give a long one")
    return blake3(secret, derive_key_context=_PURPOSE).digest()
