"""A file as an argument, which counts by its content; a folder likewise.

::

    File("data.csv").__cachekit_hash__()
     1 stat      a file, a folder, or neither
     2 open      it may be read, and its *stamp*: device, inode, size, mtime, ctime
     3 recall    the digest that was had under this stamp, in this process or on disk
     4 read      in pieces, through BLAKE3; the stamp is taken once more
     5 remember  if the stamp is the same, and *settled*: any later change shows in it

A folder goes the same way. Its stamp covers the names and stamps of all that is below.

How a file is seen and read is in `file_reading`, what is remembered in `file_notes`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple, final

from blake3 import blake3

from cachekit.memoization.file_notes import memo
from cachekit.memoization.file_reading import (
    READ_ONLY,
    Sight,
    add_fields,
    look_at,
    read,
    sight_of,
    special,
)


@final
class File:
    """A file or a folder, as an argument that counts by its content.

    The same content under another name is the same argument; one byte changed makes
    another. It is path-like: ``open(file)``, ``pandas.read_csv(file)`` and
    ``Path(file)`` take it as it is.

    Parameters
    ----------
    path : str or path-like
        Where it is. Nothing is looked at before the digest is asked for. A relative
        path is taken from the working folder of that moment, as `open` does.

    Attributes
    ----------
    path : pathlib.Path
        As given.

    Raises
    ------
    OSError
        From the cached call, or from `digest`, as opening the file would: a
        `FileNotFoundError` or `PermissionError` that names it. A pipe, socket or device
        is a `shutil.SpecialFileError`.

    Notes
    -----
    Two are equal if their paths are, but count as the same argument if their contents
    are. The name does not count: a function that uses it should take it as text, too.

    A folder counts by the names and contents of everything below it, hidden files and
    empty folders included. Symbolic links are followed; one that leads to a folder
    around itself is an `OSError`, one that leads nowhere counts by its name.

    A file that was not changed for a minute is read once: then its digest is remembered
    with device, inode, size and both times, in the process, and from 16 MB on in the
    user's cache folder too. Files in memory (tmpfs) and on Windows are read each time,
    since their times do not tell of every change. A change through a memory map counts
    from when it is flushed.

    Examples
    --------
    >>> File("data.csv")
    File('data.csv')
    >>> File("data.csv").path.suffix
    '.csv'
    """

    __slots__ = ("_path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = os.fspath(path)
        if not isinstance(text, str):
            raise TypeError(f"File() takes a path of text, not {text!r}")
        if not text:  # `Path` would make it the working folder
            raise ValueError("File() takes the path of a file or folder, not ''")
        self._path = Path(text)

    @property
    def path(self) -> Path:
        """The path, as it was given."""
        return self._path

    def __fspath__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"File({str(self._path)!r})"

    def __eq__(self, other: object) -> bool:
        return self._path == other._path if type(other) is File else NotImplemented

    def __hash__(self) -> int:
        return hash((File, self._path))

    def __reduce__(self) -> tuple[type[File], tuple[str]]:
        return File, (str(self._path),)

    def __cachekit_hash__(self) -> tuple[str, bytes]:
        """Count by content."""
        path = str(self._path)
        mode = os.stat(path).st_mode  # noqa: PTH116  (hot path)
        if S_ISDIR(mode):
            return ("folder", _digest_folder(path))
        if S_ISREG(mode):
            return ("file", _digest_file(path)[1])
        raise special(path)


# --- a file ---


def _digest_file(path: str) -> tuple[str, bytes]:
    """Return stamp and digest; no stamp if the file was changed while it was read."""
    now = memo.clock()
    handle = os.open(path, READ_ONLY)
    try:
        sight = sight_of(handle, path)
        known = memo.recall(path, sight, now)
        if known is not None:
            return sight.stamp, known
        size, digest = read(handle, sight.size)
        # Files of /proc have content but no size, and change without a sign.
        if size != sight.size or sight_of(handle, path) != sight:
            return "", digest
        memo.remember(path, sight, now, digest)
        return sight.stamp, digest
    finally:
        os.close(handle)


# --- a folder ---


class _Folder(NamedTuple):
    """A folder and what is in it, in the order of the names."""

    path: str
    sight: Sight
    parts: list[tuple[bytes, bytes, _Folder | str]]  # kind, name, folder or stamp


_FILE, _FOLDER, _NOWHERE = b"file", b"folder", b"nowhere"


def _digest_folder(path: str) -> bytes:
    now = memo.clock()
    folder = _look_into(path)
    known = memo.recall(path, folder.sight, now)
    if known is not None:
        return known
    changed: list[str] = []
    digest = _digest_parts(folder, {}, changed)
    if not changed:
        memo.remember(path, folder.sight, now, digest)
    return digest


def _look_into(path: str) -> _Folder:
    real = os.path.realpath(path)
    return _walk(path, real, {real}, {})


def _walk(path: str, real: str, around: set[str], seen: dict[str, _Folder]) -> _Folder:
    """Look at all that is in a folder, where links may lead to one twice.

    `real` is its path without links, `around` those of it and of the folders that led
    to it, `seen` has all that are done.
    """
    stamps, newest, size = blake3(), 0, 0
    parts: list[tuple[bytes, bytes, _Folder | str]] = []
    with os.scandir(path) as found:
        entries = sorted(found, key=_name)
    for entry in entries:
        kind = _kind(entry)
        sight = Sight("", 0, 0)
        below: _Folder | str = ""
        if kind == _FILE:
            sight = look_at(entry.path)
            below = sight.stamp
        elif kind == _FOLDER:
            is_link = entry.is_symlink() or os.name == "nt"  # which has other kinds
            inner = os.path.realpath(entry.path) if is_link else f"{real}/{entry.name}"
            if inner in around:
                what = "this link leads to a folder that it is in"
                raise OSError(errno.ELOOP, what, entry.path)
            if inner not in seen:
                seen[inner] = _walk(entry.path, inner, around | {inner}, seen)
            below = seen[inner]
            sight = seen[inner].sight
        parts.append((kind, _name(entry), below))
        newest, size = max(newest, sight.changed_ns), size + sight.size
        add_fields(stamps, kind, _name(entry), sight.stamp.encode())
    return _Folder(path, Sight(stamps.hexdigest(), newest, size), parts)


def _name(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _kind(entry: os.DirEntry[str]) -> bytes:
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        if entry.is_symlink():
            return _NOWHERE
        raise
    if S_ISDIR(mode):
        return _FOLDER
    if S_ISREG(mode):
        return _FILE
    raise special(entry.path)


def _digest_parts(
    folder: _Folder, known: dict[int, bytes], changed: list[str]
) -> bytes:
    """Hash the contents of a folder.

    `known` has the folders that are done, by `id`. To `changed` go the files that are
    no longer those that were looked at: a link may lead elsewhere and then back.
    """
    if id(folder) in known:
        return known[id(folder)]
    content = blake3()
    for kind, name, below in folder.parts:
        inside = b""
        if isinstance(below, _Folder):
            inside = _digest_parts(below, known, changed)
        elif kind == _FILE:
            path = os.path.join(folder.path, os.fsdecode(name))  # noqa: PTH118
            stamp, inside = _digest_file(path)
            if stamp != below:
                changed.append(path)
        add_fields(content, kind, name, inside)
    known[id(folder)] = content.digest()
    return known[id(folder)]
