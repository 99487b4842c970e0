"""Compression methods: one small class each, found by name.

A codec turns one chunk into a smaller one and back. `cachekit.serialization.container`
cuts values into chunks, so a codec never sees more than a mebibyte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cachekit.errors import ContainerError, UnsupportedContainer


class Codec(Protocol):
    """What the container calls."""

    @property
    def name(self) -> str:
        """At most 16 ASCII characters; stands in every container. Never changes."""
        ...

    def compress(self, chunk: memoryview) -> bytes | memoryview:
        """Return the stored form of a chunk."""
        ...

    def decompress(self, stored: memoryview, length: int) -> bytes | memoryview:
        """Return the `length` bytes that `compress` was given."""
        ...


class NoCompression:
    """Store chunks as they are, so that they can be memory-mapped."""

    name = "none"

    def compress(self, chunk: memoryview) -> memoryview:
        """Return the chunk itself."""
        return chunk

    def decompress(self, stored: memoryview, length: int) -> memoryview:  # noqa: ARG002
        """Return the chunk itself."""
        return stored


class Zstd:
    """Zstandard; level 3 is its own default, 1 is fastest, 19 smallest."""

    name = "zstd"

    def __init__(self, level: int = 3) -> None:
        if not 1 <= level <= 22:
            raise ValueError(f"zstd has levels 1 to 22, not {level}")
        self.level = level

    def compress(self, chunk: memoryview) -> bytes:
        """Compress into one frame."""
        import zstandard

        return zstandard.ZstdCompressor(level=self.level).compress(chunk)

    def decompress(self, stored: memoryview, length: int) -> bytes:
        """Decompress one frame, never into more than `length` bytes."""
        import zstandard

        try:
            # The limit below holds only for a frame that does not tell its size.
            told = zstandard.frame_content_size(stored)
            if told not in (-1, length) or length == 0:
                raise ContainerError(
                    f"a chunk of {length} bytes claims to be of {told}"
                )
            return zstandard.ZstdDecompressor().decompress(
                stored, max_output_size=length
            )
        except zstandard.ZstdError as error:
            raise ContainerError(f"a chunk does not decompress: {error}") from error


_CODECS: dict[str, Callable[[], Codec]] = {"none": NoCompression, "zstd": Zstd}


def codec_named(name: str) -> Codec:
    """Return the codec that a container names.

    Raises
    ------
    UnsupportedContainer
        If this version of cachekit does not know it.
    """
    if name not in _CODECS:
        raise UnsupportedContainer(
            f"the value is compressed with {name!r}, which this cachekit does not know"
        )
    return _CODECS[name]()


def codec_from(compress: bool | int | str | tuple[str, int]) -> Codec:
    """Return the codec that a user's `compress` option asks for.

    Parameters
    ----------
    compress : bool, int, str or (str, int)
        False or 0 for none; True for zstd; a number for a zstd level; a name; or
        a name and a level.

    Raises
    ------
    ValueError
        If there is no such method or level.
    """
    if compress is False or compress == 0 or compress == "none":
        return NoCompression()
    if compress is True or compress == "zstd":
        return Zstd()
    if isinstance(compress, int):
        return Zstd(compress)
    if isinstance(compress, tuple) and len(compress) == 2:
        method, level = compress
        if method == "zstd" and isinstance(level, int):
            return Zstd(level)
    raise ValueError(
        f"compress={compress!r} is not understood; it is False, True, a level from 1 "
        f"to 22, 'none', 'zstd', or a pair such as ('zstd', 5)"
    )
