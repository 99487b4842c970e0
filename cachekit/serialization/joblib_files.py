r"""Read what joblib has written, from its version 0.8.4 on, without joblib.

Such a file is a pickle in which a small object stands for each array, whose bytes are
elsewhere::

    joblib    object              bytes
    >= 0.10   NumpyArrayWrapper   follow at once, in the midst of the pickle:
                  padding-length padding bytes     since 1.2; the length is one byte
                  bytes                            before
                  pickle                           an array of objects, of any version
    < 0.10    NDArrayWrapper      in a file beside: name.npy
              ZNDArrayWrapper     in a ZF file beside: name.npy.z

    ZF file := "ZF" length-in-hex blanks zlib-stream       21 or 22 bytes before zlib

Only Python's own unpickler can be stopped between two opcodes to read an array, so
it is extended here; the one in C reads on. A plain pickle is read as well. Whoever
calls has taken off gzip and the like.
"""

from __future__ import annotations

import io
import math
import os
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cachekit.errors import (
    ContainerError,
    CorruptedFile,
    UnsupportedContainer,
)
from cachekit.serialization.careful import CarefulUnpickler
from cachekit.serialization.safe import SafeUnpickler

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ZFILE_MAGIC = b"ZF"

# "0x10000000000000000", the longest length there is, filled up with blanks.
_ZFILE_LENGTH = 19

# Of a file whose end is not known, this much is asked for at a time.
_PIECE = 1 << 20


def read_joblib(
    file: BinaryIO,
    *,
    path: str | None,
    mmap_mode: str | None = None,
    native_byte_order: bool = True,
    trusted: Sequence[object] | None = None,
) -> Any:
    """Read the value of a file that `joblib.dump` or `pickle.dump` has written.

    What Python 2 wrote as `str` comes back as `str` if it is ASCII, as `bytes` if not.

    Parameters
    ----------
    file : binary file
        Buffered, or in memory; decompressed, and at the start of the pickle. Of a
        file that starts with `ZFILE_MAGIC`, give what `open_zfile` returns.
    path : str or None
        Where the file lies on disk. Needed to map arrays into memory, and to find
        the files beside it in which joblib before 0.10 put arrays.
    mmap_mode : {"r", "r+", "c"}, optional
        Map arrays into memory instead of reading them, where they lie as they are
        on disk. Before 1.2, joblib did not align them: see ``array.flags.aligned``.
    native_byte_order : bool, default True
        Bring arrays to the byte order of this machine, except those mapped.
    trusted : sequence, optional
        If given, the file is not trusted, and may use nothing but plain data and what
        is named here; see `cachekit.serialization.safe.find_trusted`.

    Returns
    -------
    object
        The value.

    Raises
    ------
    CorruptedFile
        If the bytes are damaged, or no value can be rebuilt from them.
    UnsupportedContainer
        If arrays are in files beside this one, and no `path` was given.
    UntrustedContent
        If `trusted` was given, and the file asks for something else.
    ImportError, AttributeError
        If a class is not where it was when the file was written.
    OSError
        If the file, or one beside it, cannot be read.
    """
    options = _Options(path, mmap_mode, native_byte_order, trusted)
    try:
        return _unpickler(_Source(file), options).load()
    except (ContainerError, ImportError, MemoryError):
        raise
    except Exception as error:  # unpickling runs the value's own code
        if _is_of_the_surroundings(error):
            raise
        raise CorruptedFile(f"no value can be read from it: {error!r}") from error


def open_zfile(file: BinaryIO) -> BinaryIO:
    """Return the content of a ZF file, as joblib before 0.10 compressed.

    Parameters
    ----------
    file : binary file
        At its start.

    Raises
    ------
    CorruptedFile
        If the content is not of the length that the header tells.
    """
    header = file.read(len(ZFILE_MAGIC) + _ZFILE_LENGTH)
    try:
        # Python 2 marked long integers with an L.
        length = int(header.removeprefix(ZFILE_MAGIC).rstrip(b" L"), 16)
        # One more byte shows whether there is more than the header tells. A blank
        # never starts a zlib stream; Python 2 left one more of them.
        decompressor = zlib.decompressobj()
        content = decompressor.decompress(file.read().lstrip(b" "), length + 1)
    except (ValueError, OverflowError, zlib.error) as error:
        raise CorruptedFile(f"the ZF file does not decompress: {error}") from error
    if len(content) != length or not decompressor.eof:
        raise CorruptedFile(f"the ZF file does not hold the {length} bytes it tells of")
    return io.BytesIO(content)


def _is_of_the_surroundings(error: Exception) -> bool:
    """Whether the file may be whole: a class is gone, or the disk fails."""
    if isinstance(error, AttributeError):
        return hasattr(error, "__notes__")  # from `find_class`
    # Decompressors say by an OSError without a number that the content is damaged.
    return isinstance(error, OSError) and error.errno is not None


@dataclass(frozen=True)
class _Options:
    """What `read_joblib` was asked for."""

    path: str | None
    mmap_mode: str | None
    native_byte_order: bool
    trusted: Sequence[object] | None


class _Source:
    """A file; never makes more room in memory than there are bytes to fill it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.is_on_disk = _is_on_disk(file)
        self._end = _end_of(file) if self.is_on_disk or _is_in_memory(file) else None
        self.readline = file.readline
        self.tell = file.tell
        self.seek = file.seek

    def read(self, length: int) -> bytes:
        """Return exactly `length` bytes."""
        self.expect(length)
        if self._end is not None or length <= _PIECE:
            content = self._file.read(length)
        else:
            content = bytes(self._read_in_pieces(length))
        if len(content) < length:
            raise EOFError("it ends too early")
        return content

    def read_array(
        self, shape: tuple[int, ...], order: Any, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """Return an array with the next bytes as its memory."""
        import numpy as np

        length = math.prod(shape) * dtype.itemsize
        self.expect(length)
        if self._end is None:
            return np.ndarray(shape, dtype, self._read_in_pieces(length), order=order)
        array = np.empty(shape, dtype, order)
        if length > 0:
            memory: Any = array.reshape(-1, order="A").view(np.uint8)
            rest = memoryview(memory)
            while len(rest) > 0:  # Linux reads two gigabytes at a time
                count = self._file.readinto(rest)  # type: ignore[attr-defined]
                if not count:
                    raise EOFError("it ends too early")
                rest = rest[count:]
        return array

    def expect(self, length: int) -> None:
        """Raise if it is known that fewer than `length` bytes are left."""
        if self._end is None or length <= _PIECE:
            return
        left = self._end - self.tell()
        if length > left:
            raise EOFError(f"{length} bytes should follow, but {left} are left")

    def _read_in_pieces(self, length: int) -> bytearray:
        content = bytearray()
        while len(content) < length:
            piece = self._file.read(min(_PIECE, length - len(content)))
            if not piece:
                raise EOFError("it ends too early")
            content += piece
        return content


def _is_in_memory(file: BinaryIO) -> bool:
    return isinstance(file, io.BytesIO)


def _is_on_disk(file: BinaryIO) -> bool:
    """Whether positions in `file` are those of a regular file: no decompressor."""
    raw = getattr(file, "raw", file)
    return isinstance(raw, io.FileIO) and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _end_of(file: BinaryIO) -> int:
    position = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(position)
    return end


class _Reader:
    """Puts an array where its stand-in was; goes before an unpickler."""

    stack: list[Any]
    proto: int

    def __init__(self, source: _Source, options: _Options, **more: Any) -> None:
        super().__init__(source, **more)  # type: ignore[call-arg]
        self.source = source
        self.options = options

    def find_class(self, module: str, name: str) -> Any:
        """Return the class or function that the file names."""
        stand_in = _STAND_INS.get(name)
        if stand_in is not None and _is_of_joblib(module):
            return stand_in
        try:
            return super().find_class(module, name)  # type: ignore[misc]
        except (ImportError, AttributeError) as error:
            error.add_note(
                f"The file names {module}.{name}: install the package it was "
                f"written with, or make that name importable."
            )
            raise

    def set_state(self, target: Any, state: Any) -> None:
        """Give an object its state; replace a stand-in by its array."""
        if not isinstance(target, _StandIn):
            super().set_state(target, state)  # type: ignore[misc]
            return
        vars(target).update(state)
        self.stack[-1] = self._finish(target.read(self), target.subclass)

    def _decode_string(self, value: bytes) -> str | bytes:
        # Python 2 had one type for text and bytes. Names of attributes, which must
        # be text, are ASCII; what is not may be anything, and is left alone.
        return value.decode() if value.isascii() else value

    def array_at(
        self,
        source: _Source,
        path: str | None,
        description: tuple[Any, Any, Any],
        *,
        can_be_mapped: bool,
    ) -> NDArray[Any]:
        """Map or read the array that starts where `source` is, at `path`."""
        import numpy as np

        shape, order, dtype = description
        if not isinstance(dtype, np.dtype) or dtype.itemsize < 0:
            raise CorruptedFile(f"an array has {dtype!r} for a dtype")
        if dtype.hasobject:
            array = _unpickler(source, self.options).load()
            if not isinstance(array, np.ndarray):
                raise CorruptedFile(f"there is {type(array)} in place of an array")
            return array
        length = math.prod(shape) * dtype.itemsize
        mode: Any = self.options.mmap_mode
        if not (can_be_mapped and path and mode and source.is_on_disk and length):
            return source.read_array(shape, order, dtype)
        start = source.tell()
        # A map that may be written to would make the file longer.
        if start + length > source.seek(0, os.SEEK_END):
            raise EOFError("it ends too early")
        source.seek(start + length)
        return np.memmap(path, dtype, mode, start, shape, order)

    def _finish(self, array: NDArray[Any], subclass: type) -> NDArray[Any]:
        import numpy as np

        is_mapped = isinstance(array, np.memmap)
        native = self.options.native_byte_order and not is_mapped
        if native and not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        # What was mapped when it was written is an array of its own now.
        if subclass in (np.ndarray, np.memmap) or isinstance(array, subclass):
            return array
        return array.view(subclass)

    def beside(self, name: str | bytes) -> str:
        """Return the path of a file beside; never leads to another folder."""
        base = Path(os.fsdecode(name)).name
        if base in ("", ".."):
            raise CorruptedFile(f"an array is in a file that is called {name!r}")
        if self.options.path is None:
            raise UnsupportedContainer(
                f"an array is in the file {base!r} beside: give the path of the file, "
                f"not an open file"
            )
        return str(Path(self.options.path).with_name(base))


class _Unpickler(_Reader, CarefulUnpickler):
    """For files that are trusted."""


class _SafeUnpickler(_Reader, SafeUnpickler):
    """For files that are not."""


def _unpickler(source: _Source, options: _Options) -> Any:
    if options.trusted is None:
        return _Unpickler(source, options)
    return _SafeUnpickler(source, options, trusted=options.trusted)


class _StandIn:
    """What joblib pickles in place of an array; the pickle sets the attributes."""

    subclass: Any

    def read(self, unpickler: _Reader) -> NDArray[Any]:
        """Return the array."""
        raise NotImplementedError


class _ArrayInStream(_StandIn):
    """Its bytes follow in the pickle."""

    shape: Any
    order: Any
    dtype: Any
    allow_mmap = False
    numpy_array_alignment_bytes: int | None = None

    def read(self, unpickler: _Reader) -> NDArray[Any]:
        """Return the array."""
        source = unpickler.source
        if self.numpy_array_alignment_bytes is not None and not self.dtype.hasobject:
            (padding,) = source.read(1)
            source.read(padding)
        return unpickler.array_at(
            source,
            unpickler.options.path,
            (self.shape, self.order, self.dtype),
            can_be_mapped=self.allow_mmap,
        )


class _ArrayInFile(_StandIn):
    """Its bytes are in a .npy file beside."""

    filename: Any
    allow_mmap = True

    def read(self, unpickler: _Reader) -> NDArray[Any]:
        """Return the array."""
        path = unpickler.beside(self.filename)
        with Path(path).open("rb") as file:
            description = _npy_header(file)
            return unpickler.array_at(
                _Source(file), path, description, can_be_mapped=self.allow_mmap
            )


class _ArrayInZFile(_StandIn):
    """Its bytes are compressed in a .npy.z file beside."""

    filename: Any
    init_args: Any
    state: Any

    @property
    def subclass(self) -> Any:
        """The first argument that numpy is given to make a new array."""
        return self.init_args[0]

    def read(self, unpickler: _Reader) -> NDArray[Any]:
        """Return the array."""
        _, shape, dtype, is_fortran = self.state
        with Path(unpickler.beside(self.filename)).open("rb") as file:
            source = _Source(open_zfile(file))
        description = (shape, "F" if is_fortran else "C", dtype)
        return unpickler.array_at(source, None, description, can_be_mapped=False)


_STAND_INS: dict[str, type[_StandIn]] = {
    "NumpyArrayWrapper": _ArrayInStream,
    "NDArrayWrapper": _ArrayInFile,
    "ZNDArrayWrapper": _ArrayInZFile,
}


def _is_of_joblib(module: str) -> bool:
    # "sklearn.externals.joblib.numpy_pickle" -> True: packages carried a copy along
    *packages, last = module.split(".")
    return "joblib" in packages and last in ("numpy_pickle", "numpy_pickle_compat")


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], str, Any]:
    import numpy as np

    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, is_fortran, dtype = readers[np.lib.format.read_magic(file)](file)
    return shape, "F" if is_fortran else "C", dtype
