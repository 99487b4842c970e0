"""Compression methods: one small class each, found by name.

A codec turns one chunk into a smaller one and back. `cachekit.serialization.container`
cuts values into chunks, so a codec never sees more than a mebibyte, and calls it from
several threads at once.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from cachekit.errors import CorruptedFile, UnsupportedContainer

# What a user may give as `compress`.
Compress = bool | int | str | tuple[str, int]

# What the methods say of it comes later.
_ANY_LEVEL = range(-100, 100)

_SHUFFLED = "+shuffle"


_NO_SAMPLE = memoryview(b"")


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
        """Return the `length` bytes that `compress` was given.

        Of a malformed chunk, return fewer, or one more: the container compares.
        """
        ...

    def for_items(self, size: int, sample: memoryview = _NO_SAMPLE) -> Codec:
        """Return the codec for a buffer of items of so many bytes: often this one.

        The sample is how the buffer starts.
        """
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

    def for_items(self, size: int, sample: memoryview = _NO_SAMPLE) -> NoCompression:  # noqa: ARG002
        """Return itself."""
        return self


class _Levelled:
    """A method with levels, from the quickest to the smallest."""

    name: ClassVar[str]
    levels: ClassVar[range]
    usual: ClassVar[int]

    def __init__(self, level: int | None = None) -> None:
        self.level = self.usual if level is None else level
        if self.level not in self.levels:
            raise ValueError(
                f"{self.name} has levels {self.levels[0]} to {self.levels[-1]}, "
                f"not {level}"
            )

    def for_items(self, size: int, sample: memoryview = _NO_SAMPLE) -> Any:  # noqa: ARG002
        """Return itself."""
        return self


class Zstd(_Levelled):
    """Zstandard: the best balance of speed and size."""

    name, levels, usual = "zstd", range(1, 23), 3

    def compress(self, chunk: memoryview) -> bytes:
        """Compress into one frame."""
        packed: bytes = _zstd_compressor(self.level).compress(chunk)
        return packed

    def decompress(self, stored: memoryview, length: int) -> bytes:
        """Decompress one frame."""
        import zstandard

        try:
            # The limit below holds only for a frame that does not tell its size.
            told = zstandard.frame_content_size(stored)
            if told not in (-1, length):
                raise CorruptedFile(f"a chunk of {length} bytes claims to be of {told}")
            # Nor does it for the window, for which memory is taken beforehand.
            expand = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
            return expand.decompress(stored, max_output_size=length)
        except zstandard.ZstdError as error:
            raise CorruptedFile(f"a chunk does not decompress: {error}") from error


def _zstd_compressor(level: int) -> Any:
    """Return the compressor of this thread: its tables take some mebibytes."""
    known = getattr(_of_this_thread, "compressor", None)
    if known is None or known[0] != level:
        import zstandard

        known = (level, zstandard.ZstdCompressor(level=level))
        _of_this_thread.compressor = known
    return known[1]


_of_this_thread = threading.local()


class Lz4(_Levelled):
    """LZ4: the quickest, and the largest. Levels from 3 on are slower and smaller."""

    name, levels, usual = "lz4", range(13), 0

    def compress(self, chunk: memoryview) -> bytes:
        """Compress into one block."""
        import lz4.block

        mode = "high_compression" if self.level >= 3 else "default"
        packed: bytes = lz4.block.compress(
            chunk, mode=mode, compression=self.level, store_size=False
        )
        return packed

    def decompress(self, stored: memoryview, length: int) -> bytes:
        """Decompress one block."""
        import lz4.block

        try:
            original: bytes = lz4.block.decompress(stored, uncompressed_size=length)
        except lz4.block.LZ4BlockError as error:
            raise CorruptedFile(f"a chunk does not decompress: {error}") from error
        return original


class Zlib(_Levelled):
    """Deflate, as in PNG and ZIP."""

    name, levels, usual = "zlib", range(1, 10), 3
    wrapping: ClassVar[int] = 15  # zlib's own header

    def compress(self, chunk: memoryview) -> bytes:
        """Compress into one stream."""
        import zlib

        return zlib.compress(chunk, self.level, wbits=self.wrapping)

    def decompress(self, stored: memoryview, length: int) -> bytes:
        """Decompress one stream."""
        import zlib

        inflate = zlib.decompressobj(wbits=self.wrapping)
        return _whole(lambda: inflate.decompress(stored, length + 1), zlib.error)


class Gzip(Zlib):
    """Deflate with the header of gzip."""

    name = "gzip"
    wrapping = 31


class Bz2(_Levelled):
    """Bzip2: small and slow."""

    name, levels, usual = "bz2", range(1, 10), 9

    def compress(self, chunk: memoryview) -> bytes:
        """Compress into one stream."""
        import bz2

        return bz2.compress(chunk, self.level)

    def decompress(self, stored: memoryview, length: int) -> bytes:
        """Decompress one stream."""
        import bz2

        expand = bz2.BZ2Decompressor()
        return _whole(
            lambda: expand.decompress(stored, length + 1), OSError, ValueError
        )


class Xz(_Levelled):
    """LZMA2: the smallest and the slowest."""

    name, levels, usual = "xz", range(10), 6

    def compress(self, chunk: memoryview) -> bytes:
        """Compress into one stream; the container has a checksum of its own."""
        import lzma

        # Level 9 alone would take 600 MB in each thread, for a dictionary of 64 MiB.
        how = {"id": lzma.FILTER_LZMA2, "preset": self.level, "dict_size": 1 << 20}
        return lzma.compress(chunk, check=lzma.CHECK_NONE, filters=[how])

    def decompress(self, stored: memoryview, length: int) -> bytes:
        """Decompress one stream."""
        import lzma

        expand = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
        return _whole(lambda: expand.decompress(stored, length + 1), lzma.LZMAError)


class Lzma(Xz):
    """The same under the name of its library."""

    name = "lzma"


class Shuffled:
    """Put the first bytes of all items first, then the second ones, then compress.

    The high bytes of neighbouring numbers are alike, so that they compress better side
    by side. Buffers of bytes, and the pickle stream, are compressed as they are.
    """

    def __init__(self, inner: Codec, size: int = 1) -> None:
        self.inner = inner
        self._size = size
        self.name = inner.name + _SHUFFLED

    def compress(self, chunk: memoryview) -> bytes | memoryview:
        """Shuffle and compress a chunk."""
        return self.inner.compress(_shuffled(chunk, self._size))

    def decompress(self, stored: memoryview, length: int) -> memoryview:
        """Decompress a chunk and put its bytes back."""
        original = memoryview(self.inner.decompress(stored, length))
        if len(original) != length:
            raise CorruptedFile("a chunk does not decompress to its length")
        return _in_order(original, self._size)

    def for_items(self, size: int, sample: memoryview = _NO_SAMPLE) -> Codec:  # noqa: ARG002
        """Return the codec for a buffer of items of so many bytes."""
        return Shuffled(self.inner, size) if size > 1 else self.inner


class Adaptive(Zstd):
    """Zstandard, which shuffles the buffers that become smaller by that."""

    def for_items(self, size: int, sample: memoryview = _NO_SAMPLE) -> Codec:
        """Return the codec for a buffer, by trying both on how it starts."""
        plain = Zstd(self.level)
        if size == 1 or len(sample) < _SMALLEST_SAMPLE:
            return plain
        sample = sample[: _LARGEST_SAMPLE // size * size]
        shuffled = Shuffled(plain, size)
        is_smaller = len(shuffled.compress(sample)) < _GAIN * len(
            plain.compress(sample)
        )
        return shuffled if is_smaller else plain


# Where less memory is tried, the answer is not worth its time.
_SMALLEST_SAMPLE, _LARGEST_SAMPLE = 4096, 1 << 17

# Shuffled memory expands more slowly, so that it has to be worth it.
_GAIN = 0.97

_KINDS = (NoCompression, Zstd, Lz4, Zlib, Gzip, Bz2, Xz, Lzma)
_CODECS: dict[str, Any] = {kind.name: kind for kind in _KINDS}

# To read one chunk, for which a window of a mebibyte is enough. The zstd format
# (RFC 8878, 3.1.1.1.2) recommends 8 MiB to every reader.
_ZSTD_WINDOW = 8 << 20
_LZMA_MEMORY = 16 << 20


def codec_named(name: str, item_size: int = 1) -> Codec:
    """Return the codec that a container names.

    Raises
    ------
    UnsupportedContainer
        If this version of cachekit does not know it.
    """
    plain = name.removesuffix(_SHUFFLED)
    if plain not in _CODECS:
        raise UnsupportedContainer(
            f"the value is compressed with {name!r}, which this cachekit does not know"
        )
    codec: Codec = _CODECS[plain]()
    return codec if plain == name else Shuffled(codec).for_items(item_size)


def codec_from(compress: Compress) -> Codec:
    """Return the codec that a user's `compress` option asks for.

    Parameters
    ----------
    compress : bool, int, str or (str, int)
        False or 0 for none; True for zstd, with or without shuffling, as is smaller; a
        level of that from 1 to 9; a name; or a name and a level. ``"+shuffle"`` after a
        name, as in ``"zstd+shuffle"``, sorts the bytes of numbers first.

    Returns
    -------
    Codec
        What compresses, to be given to `write_value`.

    Raises
    ------
    ValueError
        If there is no such method or level.
    """
    name, level = name_and_level(compress)
    plain = name.removesuffix(_SHUFFLED)
    kind = _CODECS.get(plain)
    if kind is None:
        raise ValueError(
            f'Non valid compression method given: "{name}". Possible values are '
            f"{', '.join(map(repr, _CODECS))}, also with '+shuffle' after the name."
        )
    if kind is NoCompression:
        return NoCompression()
    if not isinstance(compress, (str, tuple)):
        return Adaptive(level)
    codec: Codec = kind() if level is None else kind(level)
    return codec if plain == name else Shuffled(codec)


def name_and_level(compress: Compress) -> tuple[str, int | None]:
    """Take a `compress` option apart into a method, and a level if one is given."""
    if isinstance(compress, str):
        return compress, None
    if isinstance(compress, tuple):
        if len(compress) != 2:
            raise ValueError(
                f"Compress argument tuple should contain exactly 2 elements, a method "
                f"and a level; you passed {compress}"
            )
        name, level = compress
        if not isinstance(name, str):
            raise ValueError(f'Non valid compression method given: "{name}".')
        level = _checked_level(level, _ANY_LEVEL)
        return ("none", None) if name == "none" or level == 0 else (name, level)
    if compress is False or compress == 0:
        return "none", None
    return "zstd", None if compress is True else _checked_level(compress, range(1, 10))


def _checked_level(level: Any, levels: range) -> int:
    is_number = hasattr(level, "__index__") and not isinstance(level, bool)
    if not is_number or operator.index(level) not in levels:
        raise ValueError(
            f'Non valid compress level given: "{level}". It is False, True, a number '
            f"from 0 to 9, a method such as 'zstd', or a pair such as ('zstd', 5)."
        )
    return operator.index(level)


def _whole(decompress: Callable[[], bytes], *errors: type[Exception]) -> bytes:
    try:
        return decompress()
    except errors as error:
        raise CorruptedFile(f"a chunk does not decompress: {error}") from error


def _shuffled(chunk: memoryview, size: int) -> memoryview:
    import numpy as np

    whole = len(chunk) // size * size
    rows = np.frombuffer(chunk, "u1", whole).reshape(-1, size)
    shuffled: Any = np.empty(len(chunk), "u1")
    shuffled[:whole].reshape(size, -1)[:] = rows.T
    shuffled[whole:] = np.frombuffer(chunk[whole:], "u1")
    return memoryview(shuffled)


def _in_order(chunk: memoryview, size: int) -> memoryview:
    import numpy as np

    whole = len(chunk) // size * size
    columns = np.frombuffer(chunk, "u1", whole).reshape(size, -1)
    original: Any = np.empty(len(chunk), "u1")
    original[:whole].reshape(-1, size)[:] = columns.T
    original[whole:] = np.frombuffer(chunk[whole:], "u1")
    return memoryview(original)
