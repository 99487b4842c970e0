"""The standard methods of `streams`: how each is told, compressed and decompressed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, NamedTuple, Protocol, cast

from cachekit.serialization.stream_writing import (
    BLOCK_BYTES,
    BlockWriter,
    CompressingFile,
    Encoder,
    StreamWriter,
)


class Decoder(Protocol):
    """Reads a single stream, and not beyond; bz2, lzma and lz4 have such objects."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether all that was given is used up."""
        ...

    @property
    def unused_data(self) -> bytes | None:
        """What was given and lies behind the end of the stream."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Take more of the stream; return so many bytes of the content at most."""
        ...


class _ZlibDecoder:
    """The decompressor of zlib, which has other names for what it knows."""

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        data = self._stream.unconsumed_tail + data
        piece = self._stream.decompress(data, max_length)
        self.needs_input = len(piece) < max_length
        return piece


class _ZstdDecoder:
    """The decompressor of zstandard, which cannot be told how much to make at most."""

    # A kibibyte becomes 32 MiB at worst. Feeding 64 kibibytes is 1.4 times as fast.
    _FED_BYTES = 1024

    def __init__(self) -> None:
        import zstandard

        self._stream = zstandard.ZstdDecompressor().decompressobj()
        self._rest = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._rest

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data + self._rest

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        if data:
            self._rest = memoryview(data)
        pieces: list[bytes] = []
        made = 0
        while self._rest and made < max_length and not self._stream.eof:
            fed = self._rest[: self._FED_BYTES]
            self._rest = self._rest[self._FED_BYTES :]
            pieces.append(self._stream.decompress(fed))
            made += len(pieces[-1])
        return b"".join(pieces)


def _lz4_decoder() -> Decoder:
    import lz4.frame

    return cast("Decoder", lz4.frame.LZ4FrameDecompressor())


def _bz2_decoder() -> Decoder:
    import bz2

    return bz2.BZ2Decompressor()


def _lzma_decoder() -> Decoder:
    import lzma

    return lzma.LZMADecompressor()


def _lzma_encoder(level: int) -> Encoder:
    import lzma

    return lzma.LZMACompressor(lzma.FORMAT_ALONE, preset=level)


def _gzip(block: bytearray, *, level: int) -> bytes:
    # zlib's own header has neither a time nor a name.
    return zlib.compress(block, level, wbits=_GZIP_WBITS)


def _bz2(block: bytearray, *, level: int) -> bytes:
    import bz2

    return bz2.compress(block, level)


def _xz(block: bytearray, *, level: int) -> bytes:
    import lzma

    # A dictionary larger than the block takes memory and finds nothing more.
    how = {"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": BLOCK_BYTES}
    return lzma.compress(block, filters=[how])


def _lz4(block: bytearray, *, level: int) -> bytes:
    import lz4.frame

    compress = lz4.frame.compress
    return bytes(compress(block, compression_level=level, content_checksum=True))


def _zstd(block: bytearray, *, level: int) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level, write_checksum=True).compress(block)


class Method(NamedTuple):
    """How files of one method are told, written and read."""

    extension: str
    starts: tuple[bytes, ...]
    levels: range
    usual_level: int
    writer: Callable[[BinaryIO, int], CompressingFile]
    decoder: Callable[[], Decoder]


_GZIP_WBITS = 16 + zlib.MAX_WBITS

# The names, extensions and usual levels are joblib's, but for zstd.
METHODS = {
    "zlib": Method(
        extension=".z",
        starts=(b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
        levels=range(1, 10),
        usual_level=3,
        writer=partial(StreamWriter, zlib.compressobj),
        decoder=partial(_ZlibDecoder, zlib.MAX_WBITS),
    ),
    "gzip": Method(
        extension=".gz",
        starts=(b"\x1f\x8b",),
        levels=range(1, 10),
        usual_level=3,
        writer=partial(BlockWriter, _gzip),
        decoder=partial(_ZlibDecoder, _GZIP_WBITS),
    ),
    "bz2": Method(
        extension=".bz2",
        starts=(b"BZh",),
        levels=range(1, 10),
        usual_level=9,
        writer=partial(BlockWriter, _bz2),
        decoder=_bz2_decoder,
    ),
    "lzma": Method(
        extension=".lzma",
        starts=(b"\x5d\x00",),
        levels=range(10),
        usual_level=6,
        writer=partial(StreamWriter, _lzma_encoder),
        decoder=_lzma_decoder,
    ),
    "xz": Method(
        extension=".xz",
        starts=(b"\xfd7zXZ\x00",),
        levels=range(10),
        usual_level=6,
        writer=partial(BlockWriter, _xz),
        decoder=_lzma_decoder,
    ),
    "lz4": Method(
        extension=".lz4",
        starts=(b"\x04\x22\x4d\x18",),
        levels=range(17),
        usual_level=0,
        writer=partial(BlockWriter, _lz4),
        decoder=_lz4_decoder,
    ),
    "zstd": Method(
        extension=".zst",
        starts=(b"\x28\xb5\x2f\xfd",),
        levels=range(1, 23),
        usual_level=3,
        writer=partial(BlockWriter, _zstd),
        decoder=_ZstdDecoder,
    ),
}
