"""The folder of files that a call makes, and how its result names them.

A path in a value that is being written becomes a `Place`. One that leads to a file of
another call gets a second name in the folder, so that it does not lead to nothing when
that other entry is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cachekit.errors import StoreError
from cachekit.memoization.artifacts import OTHERS, StoredFile, digest_of_file, now
from cachekit.serialization.pickling import write_pickle
from cachekit.stores import EntryKey, Staging, Store
from cachekit.stores.base import folder_for_files, link_or_copy, temporary_folder
from cachekit.stores.names import FILES


class Place(NamedTuple):
    """What a path into an entry is stored as.

    Attributes
    ----------
    name : str
        Relative to the folder of the files.
    is_folder : bool
        Whether it is a folder.
    version : str
        What tells the files of this entry from those of one before it.
    files : tuple of StoredFile
        Those that are to be there before the path is of use.
    """

    name: str
    is_folder: bool
    version: str
    files: tuple[StoredFile, ...]


class ArtifactFolder:
    """The files of a call that is being computed.

    Parameters
    ----------
    store : Store
        Where the entry will be.
    key : EntryKey
        Which it will be.
    staging : Staging or None
        Whose folder to use, if it has one.
    grows : bool, default False
        Whether values that refer to files are written before all files are there.

    Attributes
    ----------
    path : Path
        Where the files are.
    is_named : bool
        Whether a value that was written refers to one of them.
    size : int
        Bytes of all of them, when they were listed last.
    """

    def __init__(
        self, store: Store, key: EntryKey, staging: Staging | None, *, grows: bool
    ) -> None:
        own = None if staging is None else staging.folder()
        self._staging = None if own is None else staging
        self._grows = grows
        self._version = secrets.token_hex(8)
        self._others: dict[str, str] = {}  # path -> name, of files of other calls
        self.path = own or folder_for_files(store, key, self._version)
        self.path.mkdir(parents=True, exist_ok=True)
        self.is_named = False
        self.size = 0

    @property
    def mark(self) -> str:
        """What only a path into this folder, or into one like it, has in it."""
        return (self.path.parent if self._staging else temporary_folder()).name

    def names(self) -> dict[str, int]:
        """Return the size of each file, by its name relative to the folder."""
        sizes = {
            path.relative_to(self.path).as_posix(): path.stat().st_size
            for path in self._files_below(self.path)
        }
        self.size = sum(sizes.values())
        return sizes

    def add_to(self, staging: Staging) -> None:
        """Take the files into an entry, unless they are in it already."""
        if staging is not self._staging:
            for path in self._files_below(self.path):
                staging.add(path.relative_to(self.path).as_posix(), path)

    def remove(self) -> None:
        """Remove the files of a call that has failed."""
        if self._staging is None:
            shutil.rmtree(self.path, ignore_errors=True)

    def is_needed(self, staging: Staging, is_stored: bool) -> bool:
        """Tell whether a result has paths into what was staged, and it is there still.

        So it is where nothing was stored, or where another was first whose files may
        turn out to be of no use.
        """
        is_there = self._staging is staging and self.path.exists()
        return is_there and (self.is_named or not is_stored)

    # --- what a value refers to ---

    def place_of(self, path: Path, *, signed: bool, listed: _Listed) -> Place:
        """Return what a path is stored as; a file of another call is taken in.

        Raises
        ------
        StoreError
            If there is no such file.
        """
        self.is_named = True
        if not path.exists():
            raise StoreError(
                f"it has the path of a file that is not there: {path.name!r}"
            )
        name = self._own_name(path)
        is_own = name is not None
        if name is None:
            name = self._take_in(path)
        place = self.path / name
        if self._grows or not is_own:
            files = self._describe(place, signed=signed)
        else:  # one object, which a pickle has once however many refer to it
            listed.files = files = listed.files or self._describe(None, signed=signed)
        return Place(name, place.is_dir(), self._version, files)

    def _own_name(self, path: Path) -> str | None:
        whole = Path(os.path.abspath(path))  # noqa: PTH100  (links stay links)
        if whole.is_relative_to(self.path):
            return whole.relative_to(self.path).as_posix()
        if whole.is_relative_to(self.path.resolve()):
            return whole.relative_to(self.path.resolve()).as_posix()
        return None

    def _take_in(self, path: Path) -> str:
        """Give a file or folder of another call a place among these."""
        name = self._others.get(str(path))
        if name is not None and (self.path / name).exists():
            return name
        name = f"{OTHERS}/{len(self._others)}/{path.name}"
        target = self.path / name
        if path.is_dir():
            target.mkdir(parents=True)
            for file in self._files_below(path):
                link_or_copy(file, target / file.relative_to(path))
        else:
            link_or_copy(path, target)
        self._others[str(path)] = name
        return name

    def _describe(self, place: Path | None, *, signed: bool) -> tuple[StoredFile, ...]:
        """Describe a file or those below it; if None, all that are of this call."""
        if place is not None and not place.is_dir():
            paths = [place]
        else:
            paths = list(self._files_below(place or self.path))
        found = [(path.relative_to(self.path).as_posix(), path) for path in paths]
        return tuple(
            (name, path.stat().st_size, digest_of_file(path) if signed else None)
            for name, path in found
            if place is not None or not name.startswith(f"{OTHERS}/")
        )

    def _files_below(self, folder: Path) -> Iterator[Path]:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() and not _leads_inside(path, folder):
                raise StoreError(
                    f"its file {path.relative_to(folder).as_posix()!r} is a link that "
                    f"leads out of the result: copy what it leads to"
                )
            if path.is_file():
                yield path


def loose_folder() -> Path:
    """Make a folder for a file of a call that is not cached; until the process ends."""
    _Loose.is_there = True
    folder = temporary_folder() / ".staging" / uuid.uuid4().hex / FILES
    folder.mkdir(parents=True)
    return folder


def keep_until_exit(staging: Staging) -> None:
    """Drop what was staged when the process ends: someone has paths into it."""
    _kept[id(staging)] = (os.getpid(), staging)


def let_go(staging: Staging) -> None:
    """Drop what was staged now: nobody has paths into it."""
    _kept.pop(id(staging), None)
    staging.discard()


# --- while values are written ---


class _Listed:
    """The files of a call, listed once for a value."""

    files: tuple[StoredFile, ...] | None = None


class writing_files:  # noqa: N801  (reads as a statement, as contextlib's do)
    """In its block, a value is written into the entry of a call.

    Parameters
    ----------
    call : object
        With `files`, an `ArtifactFolder` or None, and `folder`, which makes one.
    signed : bool
        Whether what the value refers to is to be what it was when it was written.
    """

    __slots__ = ("_before", "_call", "_listed", "_signed")

    def __init__(self, call: Any, *, signed: bool) -> None:
        self._call = call
        self._signed = signed

    def __enter__(self) -> writing_files:
        self._before = now.writing
        self._listed = _Listed()
        now.writing = self
        return self

    def __exit__(self, *_: object) -> None:
        now.writing = self._before

    def place_of(self, path: Path) -> Place:
        """Return what a path is stored as."""
        if self._call.files is None:
            self._call.folder()
        folder: ArtifactFolder = self._call.files
        return folder.place_of(path, signed=self._signed, listed=self._listed)

    def check(self, value: object) -> None:
        """Check that a value has no paths of its files as texts: a hit moves them.

        Raises
        ------
        StoreError
            If it has.
        """
        folder: ArtifactFolder | None = self._call.files
        marks = set() if folder is None else {folder.mark}
        if _Loose.is_there:
            marks.add(temporary_folder().name)
        if marks:
            search = _Search(marks)
            for part in write_pickle(value, search):
                # Of numbers, which may be many, none is as long as such a name.
                if part.item_size == 1 or part.item_size >= min(map(len, marks)):
                    for block in part.blocks:
                        search.write(block)


class _Search:
    """A sink for a pickle, which looks for the names of folders in it."""

    def __init__(self, marks: set[str]) -> None:
        # In a stream, and as numpy has texts in memory.
        self._marks = [
            mark.encode(how) for mark in marks for how in ("utf-8", "utf-32-le")
        ]

    def write(self, piece: Any) -> None:
        content = piece if isinstance(piece, bytes) else memoryview(piece).cast("B")
        for start in range(0, len(content), _PIECE):
            part = bytes(content[start : start + _PIECE + _OVERLAP])
            if any(mark in part for mark in self._marks):
                raise StoreError(
                    "it has the path of one of its files as a text, which will not "
                    "lead there any more: return what cachekit.artifact() gave, not "
                    "str() of it, nor a path that is made of that text"
                )

    def restart(self) -> None:
        """Go on: what was found was told."""


# So much is copied to be searched at a time; a name is never longer than the other.
_PIECE = 1 << 20
_OVERLAP = 2048


class _Loose:
    """Whether files were made that belong to no cached call."""

    is_there = False


def _leads_inside(link: Path, folder: Path) -> bool:
    return not link.readlink().is_absolute() and link.resolve().is_relative_to(
        folder.resolve()
    )


def _drop_kept() -> None:
    while _kept:
        _, (process, staging) = _kept.popitem()
        if process == os.getpid():  # not by a forked child
            with contextlib.suppress(OSError, StoreError):
                staging.discard()


_kept: dict[int, tuple[int, Staging]] = {}
atexit.register(_drop_kept)
