"""Files compressed as a whole by a standard method, so that the usual tools open them.

``gunzip``, ``bunzip2``, ``unxz``, ``lz4`` and ``zstd`` read what is written here, and
what they write is read here. What is inside is no affair of this module.

The methods are in `stream_methods`, and how files are written in `stream_writing`; here
a method is chosen, by its name or by how a file starts, and registered.

No format shows that whole blocks are missing at the end of a file, and not all
have a checksum: what is inside has to be able to tell that it is complete.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, BinaryIO, cast

from cachekit.errors import CorruptedFile
from cachekit.serialization.stream_methods import METHODS, Decoder, Method

# How many bytes of a file `method_of_start` wants to see.
PREFIX_LENGTH = 32

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
        How to open its files, and how to recognize them; joblib's will do.
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
    theirs = getattr(sys.modules.get("joblib.compressor"), "CompressorWrapper", None)
    known = (CompressorWrapper, theirs) if theirs else CompressorWrapper
    if not isinstance(compressor, known):
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
    return isinstance(name, str) and (name in _registered or name in METHODS)


def method_of_extension(filename: str) -> str | None:
    """Return the method that a file name asks for: ``"a.pkl.gz"`` asks for gzip."""
    signs = [(wrapper.extension, name) for name, wrapper in _registered.items()]
    signs += [(method.extension, name) for name, method in METHODS.items()]
    return _longest(sign for sign in signs if filename.endswith(sign[0]))


def method_of_start(head: bytes) -> str | None:
    """Return the method by which a file is compressed that starts with `head`."""
    signs = [(wrapper.prefix, name) for name, wrapper in _registered.items()]
    signs += [
        (start, name) for name, method in METHODS.items() for start in method.starts
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


def _known(method: str) -> Method:
    if method not in METHODS:
        known = ", ".join([*METHODS, *_registered])
        raise ValueError(f"there is no compression method {method!r}, only {known}")
    return METHODS[method]


def _checked_level(method: str, level: Any) -> int:
    levels = _known(method).levels
    if level is None:
        return _known(method).usual_level
    if isinstance(level, int) and level in levels:
        return level
    raise ValueError(f"{method} has levels {levels[0]} to {levels[-1]}, not {level!r}")


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


def _pieces(file: BinaryIO, new_decoder: Callable[[], Decoder]) -> Generator[bytes]:
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
