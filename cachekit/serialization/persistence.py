"""A value in a file: `dump` and `load`.

::

    dump ──► pickling: stream + memory ──► container ──► a new file ──► in its place
                                              └─► a stream form (.gz, .xz …) ─┘

What is written is a container, by itself or compressed as a whole by a standard tool.
What is read may be a file of joblib's as well.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

from cachekit.errors import ContainerError, CorruptedFile
from cachekit.serialization import codecs, container, files, pickling, reading
from cachekit.serialization.codecs import Codec, Compress, NoCompression
from cachekit.serialization.values import write_value

MmapMode = Literal["r", "r+", "w+", "c"]

# What is written before it can be said how long it is stays in memory up to this size.
SPOOLED_BYTES = 16 << 20


def dump(
    value: object,
    filename: str | os.PathLike[str] | BinaryIO,
    compress: Compress = 0,
    protocol: int | None = None,
) -> list[str] | None:
    """Write a value into a file.

    A file of that name is replaced at the end, when all is written; if anything fails
    it stays as it was. Arrays, wherever they are in the value, are written as they lie
    in memory, without a copy.

    Parameters
    ----------
    value : object
        Anything that pickle or cloudpickle takes.
    filename : str, path or binary file
        Where to write: a path, a URL that fsspec knows (``s3://…``, ``memory://…``),
        or a file that is open for writing. With the ending ``.gz``, ``.bz2``, ``.xz``,
        ``.lzma``, ``.z``, ``.lz4`` or ``.zst`` the whole file is compressed in a way
        that the usual tools undo, unless `compress` names another method.
    compress : bool, int, str or (str, int), default 0
        False or 0: not at all. True: zstd, after shuffling the bytes of numbers where
        that makes them smaller. A level from 1 to 9: the same, or the method of the
        ending. A method: ``"zstd"`` or ``"zstd+shuffle"``; or one of those above, which
        compresses the whole file. A method and its level.
    protocol : int, optional
        Accepted for joblib's sake; pickle's protocol is 5 in any case.

    Returns
    -------
    list of str or None
        The path, in a list as joblib has it; None for an open file.

    Raises
    ------
    ValueError
        If `compress` or `filename` makes no sense.
    RecursionError
        If the value is nested more deeply than pickle can follow.
    Exception
        Whatever the value's own pickling raises.

    See Also
    --------
    load : Read it again.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> dump({"rate": 0.1}, file)
    >>> load(file)
    {'rate': 0.1}
    """
    if protocol not in (None, -1, *range(pickle.HIGHEST_PROTOCOL + 1)):
        raise ValueError(f"protocol={protocol!r} is none of pickle's protocols")
    if isinstance(filename, (str, os.PathLike)):
        path = os.fspath(filename)
        form, codec = _form_and_codec(compress, path)
        with files.replacing(files.plain_path(path)) as file:
            _write(value, file, form, codec)
        return [path]
    if not hasattr(filename, "write"):
        raise ValueError(
            f"Second argument should be a filename or a file-like object, "
            f"{filename!r} (type {type(filename)}) was given."
        )
    _check_is_binary(filename)
    form, codec = _form_and_codec(compress, "")
    _write(value, filename, form, codec)
    return None


def load(
    filename: str | os.PathLike[str] | BinaryIO,
    mmap_mode: MmapMode | None = None,
    ensure_native_byte_order: bool | Literal["auto"] = "auto",
    *,
    safe: bool = False,
    trusted: Sequence[object] = (),
) -> Any:
    """Read the value that `dump`, or joblib since 0.8.4, has written.

    Unless `safe` is set, a file can run any code: load only what you trust.

    Parameters
    ----------
    filename : str, path or binary file
        A path, a URL that fsspec knows, or a file that is open for reading, which is
        read from where it stands (an `io.BytesIO` at its end: from the start).
    mmap_mode : {"r", "r+", "w+", "c"}, optional
        Do not read arrays but map them: read-only, to be changed in the file (``"w+"``
        is the same), or to be changed in memory alone. What is compressed is read.
    ensure_native_byte_order : bool or "auto", default "auto"
        Whether arrays of the other byte order are converted; "auto" converts those in
        joblib's files, as joblib does, and gives back what `dump` wrote as it was.
    safe : bool, default False
        Whether to refuse every class and function but those of plain data: builtins,
        numpy, pandas, scipy.sparse. Python objects then load more slowly.
    trusted : sequence, default ()
        More classes and functions that a safe file may use, or their full names.

    Returns
    -------
    object
        The value.

    Raises
    ------
    CorruptedFile
        If the file is truncated, altered or of another format.
    UntrustedContent
        If `safe`, and the file asks for something else.
    ImportError, AttributeError
        If a class or function that the value needs is gone.

    See Also
    --------
    dump : Write such a file.
    """
    if mmap_mode not in (None, "r", "r+", "w+", "c"):
        raise ValueError(f"mmap_mode={mmap_mode!r} is not None, 'r', 'r+', 'w+' or 'c'")
    if ensure_native_byte_order not in (True, False, "auto"):
        raise ValueError(
            f"ensure_native_byte_order={ensure_native_byte_order!r} is not True, "
            f"False or 'auto'"
        )
    if ensure_native_byte_order != "auto":
        ensure_native_byte_order = bool(ensure_native_byte_order)  # it may be 1
    if ensure_native_byte_order is True and mmap_mode is not None:
        raise ValueError(
            "Native byte ordering can only be enforced if 'mmap_mode' parameter is set "
            f"to None, but got 'mmap_mode={mmap_mode}' instead."
        )
    if trusted and not safe:
        raise ValueError("trusted=... says what safe loading allows: add safe=True")
    reader = _Reader(
        "r+" if mmap_mode == "w+" else mmap_mode,
        ensure_native_byte_order,
        tuple(trusted) if safe else None,
    )
    try:
        if not isinstance(filename, (str, os.PathLike)):
            return reader.read_open(filename)
        return reader.read_path(files.plain_path(os.fspath(filename)))
    except ContainerError as error:
        error.add_note(f"It was met in {filename!r}.")
        raise


def _check_is_binary(file: object) -> None:
    if isinstance(file, io.TextIOBase):
        raise TypeError(f"{file!r} is a text file: open it with 'b' in its mode")


def _form_and_codec(compress: Compress, path: str) -> tuple[Any, Codec]:
    """Return the method and level for the whole file, or else None, and the codec."""
    from cachekit.serialization import streams

    of_ending = streams.method_of_extension(path)
    if isinstance(compress, (str, tuple)):
        name, level = codecs.name_and_level(compress)
        if name == of_ending or (name != "zstd" and streams.is_stream_method(name)):
            return (name, level), NoCompression()
        return None, codecs.codec_from(compress)
    codec = codecs.codec_from(compress)  # which checks the level
    if of_ending is None:
        return None, codec
    level = compress if type(compress) is int and compress > 0 else None
    return (of_ending, level), NoCompression()


def _write(value: object, file: BinaryIO, form: Any, codec: Codec) -> None:
    if form is None and files.can_go_back(file):
        write_value(file, value, codec, can_be_mapped=True)
        return
    with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as spooled:
        whole: Any = spooled
        write_value(whole, value, codec, can_be_mapped=True)
        whole.seek(0)
        if form is None:
            shutil.copyfileobj(whole, file, container.CHUNK_BYTES)
            return
        from cachekit.serialization import streams

        with streams.open_compressing(file, *form) as compressing:
            shutil.copyfileobj(whole, compressing, container.CHUNK_BYTES)


class _Reader:
    """Reads a value, in whatever form it was written.

    Parameters
    ----------
    mmap_mode : str or None
        How to map arrays.
    native : bool or "auto"
        Whether arrays of the other byte order are converted.
    trusted : tuple or None
        What safe loading allows besides plain data; None to allow everything.
    """

    def __init__(
        self,
        mmap_mode: str | None,
        native: bool | Literal["auto"],
        trusted: tuple[object, ...] | None,
    ) -> None:
        self._mmap_mode = mmap_mode
        self._native = native
        self._trusted = trusted

    def read_path(self, path: str) -> Any:
        """Read from a file that is not open yet."""
        with files.opened(path) as file:
            if not files.is_url(path):
                return self.read(file, path, path)
            self._give_up_mapping(f'"{path}" is not a raw file,')
            return self.read(file, path, None)

    def read_open(self, file: Any) -> Any:
        """Read from an open file, and leave it behind the value."""
        if not hasattr(file, "read"):
            raise ValueError(f"load() takes a path or an open file, not {file!r}")
        _check_is_binary(file)
        if isinstance(file, io.BytesIO) and file.tell() == len(file.getbuffer()):
            file.seek(0)  # as joblib does: it was just written
        path = files.path_of(file) if self._mmap_mode is not None else None
        if isinstance(file, io.BytesIO):
            self._give_up_mapping(
                "In memory persistence is not compatible with",
                "flag passed. mmap_mode option",
            )
        elif path is None:
            self._give_up_mapping(f'"{file!r}" is not a raw file,')
        return self.read(file, str(getattr(file, "name", file)), path, alone=False)

    def read(
        self,
        file: BinaryIO,
        name: str,
        path: str | None,
        *,
        alone: bool = True,
        is_inside: bool = False,
    ) -> Any:
        """Read from a file; `path` if it can be mapped."""
        from cachekit.serialization import joblib_files, streams

        file, head = files.with_head(
            file, max(streams.PREFIX_LENGTH, len(container.MAGIC))
        )
        if head.startswith(container.MAGIC):
            return self._read_container(file, name, path, alone=alone)
        if not head or head.startswith(container.MAGIC[:4]):
            what = "no container any more" if head else "empty"
            raise CorruptedFile(f"{name} is {what}: truncated, or altered at its start")
        method = streams.method_of_start(head)
        if method is not None and is_inside:
            raise CorruptedFile(f"{name} is compressed twice, which nobody does")
        is_zfile = head.startswith(b"ZF")  # of joblib before 0.10
        if method is None and not is_zfile:
            with _telling_other_files(name, head):
                return self._read_joblib(file, name, path)
        if self._mmap_mode is not None:
            self._warn_of_compression(name, stacklevel=5)
            self._mmap_mode = None
        if method is None:
            return self._read_joblib(joblib_files.open_zfile(file), name, path)
        with streams.open_decompressing(file, method) as inner:
            return self.read(inner, name, None, is_inside=True)

    def _read_container(
        self, file: BinaryIO, name: str, path: str | None, *, alone: bool
    ) -> Any:
        mapped: Any = None
        if self._mmap_mode is not None and path is not None:
            if self._mmap_mode == "r+":
                _let_change(path, file.tell())
            mapped = _map(file, path, self._mmap_mode)
        stream, buffers, is_compressed = reading.read(file, alone=alone, mapped=mapped)
        if self._mmap_mode is not None and is_compressed:
            self._warn_of_compression(name, stacklevel=6)
        make: Callable[..., Any] | None = None
        if mapped is not None:
            make = pickling.mapped_array
        elif self._native is True:
            make = pickling.native_array
        with _explaining(name):
            if self._trusted is None and make is None:
                return pickling.rebuild(stream, buffers)
            if self._trusted is None and self._native is not True:
                file = io.BytesIO(stream)
                return pickling.Rebuilder(file, buffers=buffers, array_from=make).load()
            from cachekit.serialization import rebuilding

            if self._trusted is None:
                return rebuilding.rebuild_natively(
                    stream, buffers, array_from=pickling.native_array
                )
            return rebuilding.rebuild_safely(
                stream,
                buffers,
                self._trusted,
                array_from=make,
                native=self._native is True,
            )

    def _give_up_mapping(self, what: str, flag: str = "flag") -> None:
        if self._mmap_mode is not None:
            text = f'{what} mmap_mode "{self._mmap_mode}" {flag} will be ignored.'
            warnings.warn(text, stacklevel=4)
            self._mmap_mode = None

    def _warn_of_compression(self, name: str, *, stacklevel: int) -> None:
        warnings.warn(
            f'mmap_mode "{self._mmap_mode}" is not compatible with compressed file '
            f'{name}. "{self._mmap_mode}" flag will be ignored.',
            stacklevel=stacklevel,
        )

    def _read_joblib(self, file: BinaryIO, name: str, path: str | None) -> Any:
        from cachekit.serialization import joblib_files

        if isinstance(file, files.Forward):
            file = io.BufferedReader(file)
        native = self._mmap_mode is None if self._native == "auto" else self._native
        with _explaining(name):
            return joblib_files.read_joblib(
                file,
                path=path,
                mmap_mode=self._mmap_mode,
                native_byte_order=native,
                trusted=self._trusted,
            )


def _map(file: BinaryIO, path: str, mode: str) -> Any:
    """Return the bytes of a file as a `numpy.memmap`."""
    import numpy as np

    if mode == "r+":  # the file is open for reading alone
        return np.memmap(path, "u1", "r+")
    place = file.tell()
    mapped: Any = np.memmap(file, "u1", mode)  # type: ignore[call-overload]
    file.seek(place)
    return mapped


def _let_change(path: str, place: int) -> None:
    with Path(path).open("r+b") as file:
        file.seek(place)
        reading.give_up_checksums(file)


@contextlib.contextmanager
def _telling_other_files(name: str, head: bytes) -> Iterator[None]:
    """Say of a file that was never written by `dump` that it was not."""
    try:
        yield
    except (CorruptedFile, ImportError) as error:
        if head.startswith(pickle.PROTO):
            raise
        module = getattr(error, "name", None) or ""
        if isinstance(error, ImportError) and module.replace(".", "_").isidentifier():
            raise  # an old pickle of a class that is gone, and not any text
        raise CorruptedFile(
            f"{name} is a file of neither cachekit.dump nor joblib.dump, and no pickle"
        ) from error


@contextlib.contextmanager
def _explaining(name: str) -> Iterator[None]:
    """Tell a malformed stream from an error of the value's own code."""
    try:
        yield
    except (ContainerError, MemoryError, RecursionError):
        raise
    except (ImportError, AttributeError) as error:
        error.add_note(f"It is needed by the value in {name}.")
        raise
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        code = str(trace.tb_frame.f_globals.get("__name__")) if trace else ""
        if not f"{code}.".startswith((f"{__package__}.", "pickle.", "numpy.")):
            error.add_note(f"It comes from the code of the value in {name}.")
            raise
        raise CorruptedFile(f"{name} cannot be unpickled: {error!r}") from error
