"""A value in a container: what stores keep, read and written without more ado.

`persistence` has `dump` and `load`, for files of every form.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from cachekit.errors import (
    ContainerError,
    CorruptedFile,
    UnsupportedContainer,
    UntrustedContent,
)
from cachekit.serialization import pickling, reading, writing
from cachekit.serialization.codecs import Codec, NoCompression
from cachekit.serialization.container import (
    BEHIND_ONE_CHUNK,
    HEADER,
    SMALL_CONTAINER,
    stream_alone,
)

if TYPE_CHECKING:
    from cachekit.serialization.signing import Label, Seal


def write_value(
    file: BinaryIO,
    value: object,
    codec: Codec,
    seal: Seal | Label | None = None,
    *,
    can_be_mapped: bool = False,
) -> int:
    """Write a value into an open file as one container; return its size in bytes.

    Parameters
    ----------
    file : binary file
        Open for writing.
    value : object
        Anything that pickle or cloudpickle takes.
    codec : Codec
        Compresses it.
    seal : Seal or Label, optional
        Signs it, or says what it belongs to.
    can_be_mapped : bool, default False
        Whether small arrays stay outside of the pickle stream as well.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    Exception
        Whatever the value's own pickling raises.
    """
    writer = writing.Writer(file, codec, seal)
    try:
        return _finish(writer, _pickle(value, writer, can_be_mapped=can_be_mapped))
    finally:
        writer.close()


def write_value_to(
    folder: Folder,
    name: str,
    value: object,
    codec: Codec,
    seal: Seal | Label | None,
    *,
    can_be_mapped: bool = False,
) -> int:
    """Write a value as a new file, a small one by one call; return its size in bytes.

    Parameters
    ----------
    folder : Folder
        Takes the file.
    name : str
        What the file is called there.
    value, codec, seal, can_be_mapped
        As for `write_value`.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    Exception
        Whatever the value's own pickling raises.
    """
    plain = _pack_plain(value, codec, seal)
    if plain is not None:
        folder.write(name, plain)
        return len(plain)
    later: Any = _OpenedLater(functools.partial(folder.open, name))
    writer = writing.Writer(later, codec, seal)
    try:
        outside = _pickle(value, writer, can_be_mapped=can_be_mapped)
        small = None if outside else writer.pack_small()
        if small is None:
            return _finish(writer, outside)
    finally:
        writer.close()
        later.close()
    folder.write(name, small)
    return len(small)


class Folder(Protocol):
    """Takes new files: the staging of an entry."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for writing."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole."""
        ...


def read_value(
    file: BinaryIO,
    *,
    modules: Mapping[str, str] | None = None,
    seal: Seal | Label | None = None,
    trusted: Sequence[object] | None = None,
) -> Any:
    """Read the value that an open file holds.

    Parameters
    ----------
    file : binary file
        Open for reading, at its start.
    modules : mapping of str to str, optional
        Modules whose classes are to be looked for under another name.
    seal : Seal or Label, optional
        Checks the signature, or what the value belongs to, before anything is
        unpickled. Without a secret, a signed value is read as any other.
    trusted : sequence, optional
        If given, safe loading: what is allowed besides plain data; see `load`.

    Returns
    -------
    object
        The value.

    Raises
    ------
    ContainerError
        If the bytes are damaged, or the value cannot be rebuilt from them, for
        example because its class is gone.
    UntrustedContent
        If it was not signed with that secret for that context, or safe loading
        refuses it.
    """
    try:
        stream, buffers, _ = reading.read(file, seal=seal)
    except UnsupportedContainer:
        if file.seekable() and reading.is_damaged_in_its_version(file):
            raise CorruptedFile("the version of the container was altered") from None
        raise
    return rebuilt("the value", stream, buffers, modules, trusted)


def read_plain(content: bytes, seal: Seal | Label | None = None) -> tuple[Any] | None:
    """Read a small value that is made of numbers, texts and their like alone.

    It takes half the time of `read_value`, since nothing in it has a class.

    Parameters
    ----------
    content : bytes
        The whole file.
    seal : Seal or Label, optional
        As for `read_value`.

    Returns
    -------
    tuple or None
        The value, in a tuple. None of any other value, and of a damaged one: with
        `read_value` the one is read, and the other says what is wrong.

    Raises
    ------
    ContainerError
        If the value is not what the seal is for.
    """
    if len(content) >= SMALL_CONTAINER:
        return None
    # First, so that others are not checked twice.
    if content.find(pickling.STACK_GLOBAL, HEADER.size, -BEHIND_ONE_CHUNK) >= 0:
        return None
    stream = stream_alone(content)
    if stream is None:
        return None
    if seal is not None:
        seal.check(content)
    try:
        return (pickle.loads(stream),)
    except Exception:  # noqa: BLE001  (it may have been written by anybody)
        return None


def rebuilt(
    what: str,
    stream: bytes | memoryview,
    buffers: Sequence[Any],
    modules: Mapping[str, str] | None,
    trusted: Sequence[object] | None,
) -> Any:
    """Unpickle what a container holds, safely if told what is trusted.

    Raises
    ------
    ContainerError
        If that is not possible, for example because a class is gone.
    UntrustedContent
        If safe loading refuses it.
    """
    try:
        if trusted is not None:
            from cachekit.serialization.rebuilding import rebuild_safely

            return rebuild_safely(stream, buffers, trusted)
        return pickling.rebuild(stream, buffers, modules)
    except (MemoryError, UntrustedContent):
        raise
    except Exception as error:  # unpickling runs the value's own code
        raise ContainerError(f"{what} cannot be rebuilt: {error!r}") from error


def _pack_plain(value: object, codec: Codec, seal: Seal | Label | None) -> bytes | None:
    """Return the container of a few numbers and short texts; None of all else.

    It is the one that a `Writer` makes, in a third of the time.
    """
    if type(codec) is not NoCompression or not _is_plain(value):
        return None
    stream = pickle.dumps(value, 5)
    return writing.pack_stream(stream, seal) if len(stream) < SMALL_CONTAINER else None


def _is_plain(value: Any) -> bool:
    """Tell whether a value is a number or a short text, or a few of these."""
    kind = type(value)
    if kind is tuple or kind is list:
        parts = value
    elif kind is dict:
        parts = [*value, *value.values()]
    else:
        parts = (value,)
    if len(parts) > MOST_PARTS:
        return False
    kinds = set(map(type, parts))
    return kinds <= _NUMBERS or (
        kinds <= _NUMBERS_AND_TEXTS
        and sum(len(one) for one in parts if type(one) in _TEXTS) <= LONGEST_TEXT
    )


# What is written by the short way, and read by it, as `read_plain` does.
MOST_PARTS = 32
LONGEST_TEXT = 4096
_NUMBERS = {int, float, bool, type(None)}
_TEXTS = {str, bytes}
_NUMBERS_AND_TEXTS = _NUMBERS | _TEXTS


def _pickle(
    value: object, writer: writing.Writer, *, can_be_mapped: bool
) -> list[pickling.OutOfBand]:
    smallest = 1 if can_be_mapped else pickling.SMALLEST_BUFFER
    return pickling.write_pickle(value, writer, smallest_buffer=smallest)


def _finish(writer: writing.Writer, outside: list[pickling.OutOfBand]) -> int:
    for memory in outside:
        writer.add_buffer(memory.blocks, memory.item_size)
    return writer.finish()


class _OpenedLater:
    """A file that is not opened before it is used."""

    def __init__(self, open_file: Callable[[], BinaryIO]) -> None:
        self._open = open_file
        self._file: BinaryIO | None = None

    def __getattr__(self, name: str) -> Any:
        if self._file is None:
            self._file = self._open()
        return getattr(self._file, name)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
