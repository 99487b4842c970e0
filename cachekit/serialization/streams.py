"""Files compressed as a whole by a standard method, so that the usual tools open them.

``gunzip``, ``bunzip2``, ``unxz``, ``lz4`` and ``zstd`` read what is written here, and
what they write is read here. What is inside is no affair of this module.

Most formats say that several compressed streams, one after the other, stand for
their contents, one after the other. So what is written is cut into blocks, and each
is compressed on its own, by several threads. Where the cuts are depends on nothing
but the content, so equal contents make equal files. For zlib and the old lzma format
the tools expect a single stream, so these use one thread.

No format shows that whole blocks are missing at the end of a file, and not all
have a checksum: what is inside has to be able to tell that it is complete.
"""

from __future__ import annotations

import io
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from cachekit.errors import CorruptedFile
from cachekit.serialization.files import write_all
from cachekit.serialization.threads import submit, usable_cores

# How many bytes of a file `method_of_start` wants to see.
PREFIX_LENGTH = 32

# Blocks of 1 MiB make xz files 3 % larger than blocks of 2 MiB do, and blocks of
# 4 MiB 3 % smaller; the other methods differ by 1 % or less.
_BLOCK_BYTES = 2 << 20

# How much is read from a compressed file at once, and made of it at once.
_READ_BYTES = 1 << 18
_PIECE_BYTES = 1 << 20


class CompressorWrapper:
    """What `register_compressor` takes: a class of compressed files, and its signs.

    Parameters
    ----------
    obj : callable
        Called as ``obj(fileobj, "rb")``, ``obj(fileobj, "wb")`` and
        ``obj(fileobj, "wb", compresslevel=level)``; returns a file object.
    prefix : bytes, default b""
        How files of this kind start, at most 32 bytes; it selects the compressor
        when a file is loaded.
    extension : str, default ""
        How names of such files end, as in ``".gz"``; it selects the compressor when
        a file is dumped.
    """

    def __init__(self, obj: Any, prefix: bytes = b"", extension: str = "") -> None:
        self.fileobj_factory = obj
        self.prefix = prefix
        self.extension = extension

    def compressor_file(self, fileobj: Any, compresslevel: int | None = None) -> Any:
        """Return a file object that compresses into `fileobj`."""
        if compresslevel is None:
            return self.fileobj_factory(fileobj, "wb")
        return self.fileobj_factory(fileobj, "wb", compresslevel=compresslevel)

    def decompressor_file(self, fileobj: Any) -> Any:
        """Return a file object that decompresses what `fileobj` holds."""
        return self.fileobj_factory(fileobj, "rb")


_registered: dict[str, CompressorWrapper] = {}


def register_compressor(
    compressor_name: str, compressor: CompressorWrapper, force: bool = False
) -> None:
    """Make a compression method known to `dump` and `load`.

    Parameters
    ----------
    compressor_name : str
        What to call it, as in ``compress="name"``.
    compressor : CompressorWrapper
        How to open its files, and how to recognize them.
    force : bool, default False
        Replace a compressor that has this name already.

    Raises
    ------
    ValueError
        If an argument is of another kind, or the name is taken.
    """
    if not isinstance(compressor_name, str):
        raise ValueError(
            f"Compressor name should be a string, '{compressor_name}' given."
        )
    if not isinstance(compressor, CompressorWrapper):
        raise ValueError(
            f"Compressor should implement the CompressorWrapper interface, "
            f"'{compressor}' given."
        )
    factory = compressor.fileobj_factory
    needed = ("read", "write", "seek", "tell")
    if factory is not None and not all(hasattr(factory, name) for name in needed):
        raise ValueError(
            f"Compressor 'fileobj_factory' attribute should implement the file "
            f"object interface, '{factory}' given."
        )
    if len(compressor.prefix) > PREFIX_LENGTH:
        raise ValueError(f"Compressor prefix is longer than {PREFIX_LENGTH} bytes.")
    if is_stream_method(compressor_name) and not force:
        raise ValueError(f"Compressor '{compressor_name}' already registered.")
    _registered[compressor_name] = compressor


def is_stream_method(name: object) -> bool:
    """Return whether `name` is that of a method, ours or a registered one."""
    return isinstance(name, str) and (name in _registered or name in _METHODS)


def method_of_extension(filename: str) -> str | None:
    """Return the method that a file name asks for: ``"a.pkl.gz"`` asks for gzip."""
    signs = [(wrapper.extension, name) for name, wrapper in _registered.items()]
    signs += [(method.extension, name) for name, method in _METHODS.items()]
    return _longest(sign for sign in signs if filename.endswith(sign[0]))


def method_of_start(head: bytes) -> str | None:
    """Return the method by which a file is compressed that starts with `head`."""
    signs = [(wrapper.prefix, name) for name, wrapper in _registered.items()]
    signs += [
        (start, name) for name, method in _METHODS.items() for start in method.starts
    ]
    # Not `startswith`: joblib takes prefixes that are text, with which no file starts.
    return _longest(sign for sign in signs if head[: len(sign[0])] == sign[0])


@contextmanager
def open_compressing(
    file: BinaryIO, method: str, level: int | None = None
) -> Iterator[BinaryIO]:
    """Open a file object for writing; what is written goes into `file`, compressed.

    Parameters
    ----------
    file : binary file
        Open for writing; it stays open, unless a registered compressor closes it.
    method : str
        One of zlib, gzip, bz2, lzma, xz, lz4, zstd, or a registered name.
    level : int, optional
        How hard to try; by default 3 for zlib, gzip and zstd, 9 for bz2, 6 for lzma
        and xz, 0 for lz4.

    Yields
    ------
    binary file
        For writing only. `file` is complete when the ``with`` block is left without
        an exception; with one, the rest of it is not written.

    Raises
    ------
    ValueError
        If there is no such method or level.
    """
    if method in _registered:
        wrapper = _registered[method]
        with closing(wrapper.compressor_file(file, compresslevel=level)) as compressor:
            yield compressor
        return
    level = _checked_level(method, level)
    writer = _known(method).writer(file, level)
    try:
        yield cast("BinaryIO", writer)
    except BaseException:
        writer.abandon()
        raise
    writer.close()


def open_decompressing(file: BinaryIO, method: str) -> BinaryIO:
    """Open a file object that reads what `file` holds, decompressed.

    Parameters
    ----------
    file : binary file
        Open for reading, at the start of the compressed data, which is all that
        follows. It stays open, unless a registered compressor closes it.
    method : str
        By which it is compressed.

    Returns
    -------
    binary file
        Buffered, and not seekable. Reading it raises `CorruptedFile` if the
        compressed data are truncated or altered, as far as the format can tell.

    Raises
    ------
    ValueError
        If there is no such method.
    """
    if method in _registered:
        pieces = _pieces_of_registered(_registered[method], file)
    else:
        pieces = _pieces(file, _known(method).decoder)
    return io.BufferedReader(_PieceReader(pieces))


def _longest(signs: Iterable[tuple[bytes | str, str]]) -> str | None:
    """Return the name with the longest sign, the first of several; "" is no sign."""
    sign, name = max(signs, key=lambda sign: len(sign[0]), default=("", None))
    return name if sign else None


def _known(method: str) -> _Method:
    if method not in _METHODS:
        known = ", ".join([*_METHODS, *_registered])
        raise ValueError(f"there is no compression method {method!r}, only {known}")
    return _METHODS[method]


def _checked_level(method: str, level: Any) -> int:
    levels = _known(method).levels
    if level is None:
        return _known(method).usual_level
    if isinstance(level, int) and level in levels:
        return level
    raise ValueError(f"{method} has levels {levels[0]} to {levels[-1]}, not {level!r}")


class _Writer(io.BufferedIOBase):
    """A file object for writing; `close` completes the file, `abandon` does not."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("write to a closed file")
        view = memoryview(data)
        if view.nbytes > 0:  # an empty view of several dimensions has no cast
            self._take(view.cast("B"))
        return view.nbytes

    def close(self) -> None:
        if not self.closed:
            try:
                self._finish()
            finally:
                self.abandon()

    def abandon(self) -> None:
        super().close()

    def _finish(self) -> None:
        raise NotImplementedError

    def _take(self, data: memoryview) -> None:
        raise NotImplementedError

    def _put(self, compressed: bytes) -> None:
        write_all(self._file, compressed)


class _StreamWriter(_Writer):
    """Writes a single compressed stream."""

    def __init__(
        self, new_encoder: Callable[[int], _Encoder], file: BinaryIO, level: int
    ) -> None:
        super().__init__(file)
        self._encoder = new_encoder(level)

    def _finish(self) -> None:
        self._put(self._encoder.flush())

    def _take(self, data: memoryview) -> None:
        self._put(self._encoder.compress(data))


class _BlockWriter(_Writer):
    """Compresses blocks in threads of its own, and writes them in their order."""

    def __init__(
        self, compress: Callable[..., bytes], file: BinaryIO, level: int
    ) -> None:
        super().__init__(file)
        self._compress = partial(compress, level=level)
        self._block = bytearray()
        self._threads = usable_cores()
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: deque[Future[bytes]] = deque()

    def abandon(self) -> None:
        # No thread outlives the file, and a pool of the module would not survive
        # a fork.
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._ahead.clear()
        self._block = bytearray()
        super().abandon()

    def _finish(self) -> None:
        # Also when it is empty: then nothing was written, and this is all there is.
        last = self._compress(self._block)
        self._put_until(0)
        self._put(last)

    def _take(self, data: memoryview) -> None:
        while data:
            # Only when more follows, so that one block needs no thread.
            if len(self._block) == _BLOCK_BYTES:
                self._hand_out()
            room = _BLOCK_BYTES - len(self._block)
            self._block += data[:room]
            data = data[room:]

    def _hand_out(self) -> None:
        block, self._block = self._block, bytearray()
        if self._threads == 1:
            self._put(self._compress(block))
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads)
        self._ahead.append(submit(self._pool, self._compress, block))
        self._put_until(self._threads)

    def _put_until(self, most_ahead: int) -> None:
        while len(self._ahead) > most_ahead:
            self._put(self._ahead.popleft().result())


class _PieceReader(io.RawIOBase):
    """A raw file made of its pieces."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        count = min(len(target), len(self._piece))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        self._pieces.close()
        super().close()


def _pieces(file: BinaryIO, new_decoder: Callable[[], _Decoder]) -> Generator[bytes]:
    """Decompress all streams of a file, one after the other."""
    # The classes gzip.GzipFile, bz2.BZ2File and so on are not used, for they forgive:
    # garbage after the last stream (bz2, lzma), or a missing end (zstandard).
    decoder = new_decoder()
    data = file.read(_READ_BYTES)
    while data or not decoder.needs_input:
        try:
            piece = decoder.decompress(data, _PIECE_BYTES)
        except MemoryError:
            raise
        except Exception as error:  # each method has its own, down to RuntimeError
            raise CorruptedFile(f"the file does not decompress: {error}") from error
        yield piece
        data = b""
        if decoder.eof:
            data = decoder.unused_data or file.read(_READ_BYTES)
            if not data:
                return
            decoder = new_decoder()
        elif decoder.needs_input:
            data = file.read(_READ_BYTES)
    raise CorruptedFile("the compressed file ends too early")


def _pieces_of_registered(
    wrapper: CompressorWrapper, file: BinaryIO
) -> Generator[bytes]:
    import lzma

    try:
        with closing(wrapper.decompressor_file(file)) as reader:
            while piece := reader.read(_PIECE_BYTES):
                yield piece
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        # An error of the disk has a number. gzip and bz2 raise OSError without one.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorruptedFile(f"the file does not decompress: {error}") from error


class _Encoder(Protocol):
    """Makes a single stream."""

    def compress(self, data: memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Decoder(Protocol):
    """Reads a single stream, and not beyond; bz2, lzma and lz4 have such objects."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


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


def _lz4_decoder() -> _Decoder:
    import lz4.frame

    return cast("_Decoder", lz4.frame.LZ4FrameDecompressor())


def _bz2_decoder() -> _Decoder:
    import bz2

    return bz2.BZ2Decompressor()


def _lzma_decoder() -> _Decoder:
    import lzma

    return lzma.LZMADecompressor()


def _lzma_encoder(level: int) -> _Encoder:
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
    how = {"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": _BLOCK_BYTES}
    return lzma.compress(block, filters=[how])


def _lz4(block: bytearray, *, level: int) -> bytes:
    import lz4.frame

    compress = lz4.frame.compress
    return bytes(compress(block, compression_level=level, content_checksum=True))


def _zstd(block: bytearray, *, level: int) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level, write_checksum=True).compress(block)


class _Method(NamedTuple):
    extension: str
    starts: tuple[bytes, ...]
    levels: range
    usual_level: int
    writer: Callable[[BinaryIO, int], _Writer]
    decoder: Callable[[], _Decoder]


_GZIP_WBITS = 16 + zlib.MAX_WBITS

# The names, extensions and usual levels are joblib's, but for zstd.
_METHODS = {
    "zlib": _Method(
        extension=".z",
        starts=(b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
        levels=range(1, 10),
        usual_level=3,
        writer=partial(_StreamWriter, zlib.compressobj),
        decoder=partial(_ZlibDecoder, zlib.MAX_WBITS),
    ),
    "gzip": _Method(
        extension=".gz",
        starts=(b"\x1f\x8b",),
        levels=range(1, 10),
        usual_level=3,
        writer=partial(_BlockWriter, _gzip),
        decoder=partial(_ZlibDecoder, _GZIP_WBITS),
    ),
    "bz2": _Method(
        extension=".bz2",
        starts=(b"BZh",),
        levels=range(1, 10),
        usual_level=9,
        writer=partial(_BlockWriter, _bz2),
        decoder=_bz2_decoder,
    ),
    "lzma": _Method(
        extension=".lzma",
        starts=(b"\x5d\x00",),
        levels=range(10),
        usual_level=6,
        writer=partial(_StreamWriter, _lzma_encoder),
        decoder=_lzma_decoder,
    ),
    "xz": _Method(
        extension=".xz",
        starts=(b"\xfd7zXZ\x00",),
        levels=range(10),
        usual_level=6,
        writer=partial(_BlockWriter, _xz),
        decoder=_lzma_decoder,
    ),
    "lz4": _Method(
        extension=".lz4",
        starts=(b"\x04\x22\x4d\x18",),
        levels=range(17),
        usual_level=0,
        writer=partial(_BlockWriter, _lz4),
        decoder=_lz4_decoder,
    ),
    "zstd": _Method(
        extension=".zst",
        starts=(b"\x28\xb5\x2f\xfd",),
        levels=range(1, 23),
        usual_level=3,
        writer=partial(_BlockWriter, _zstd),
        decoder=_ZstdDecoder,
    ),
}
