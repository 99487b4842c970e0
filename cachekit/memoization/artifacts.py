"""Files that a call makes: written into its entry, and found there on a hit.

::

    artifact("plot.png")  ─► <staging>/files/plot.png   while the call runs
    commit                ─► <entry>/files/plot.png     with the value, in one rename
    in a returned value     pickled as "plot.png" and the sizes of the files beside it;
                            unpickled as the path in the entry, once these are there

Where a store is not on this machine, a temporary folder takes the place of both. A
path that leads to a file of another call is stored as a file of this one, so that it
does not lead to nothing when that other entry is gone.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from threading import local
from types import TracebackType
from typing import Any, Protocol

from cachekit.errors import ContainerError, CorruptedFile, EntryNotFound
from cachekit.stores import EntryKey, Store
from cachekit.stores.layout import is_inside

# Below it are the files that a call has from others: no name that it gives is there.
OTHERS = ".others"

# <fingerprint>/<aa>/<rest>/files of an entry, .staging/<name>/files of one to be.
_FILES = re.compile(
    r".*[\\/](?:[0-9a-f]{32}[\\/][0-9a-f]{2}[\\/][0-9a-f]{30}"
    r"|\.staging[\\/][^\\/]+)[\\/]files(?=[\\/]|\Z)",
    re.DOTALL,
)


# A file of an entry, as a value refers to it: its name relative to the folder, its
# size, and where the value is signed, the digest of its content.
StoredFile = tuple[str, int, bytes | None]


class Artifact(type(Path())):  # type: ignore[misc]
    """A path in the entry of a call; made by `artifact`.

    It counts by the content of its file, and is stored as its place in the entry.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # One that is not of a call is made of one that is: the folder of the store.
        if now.writing is None or not is_of_a_call(self):
            return (Artifact, (str(self),))
        return (_found, tuple(now.writing.place_of(self)))

    def __cachekit_hash__(self) -> object:
        """Count by the content, wherever the entry is."""
        from cachekit.memoization.files import File

        return File(self) if is_of_a_call(self) else Path(str(self))


def check_name(name: str | os.PathLike[str]) -> str:
    """Return the name of an artifact as it is stored.

    Raises
    ------
    ValueError
        If it leads out of the entry.
    """
    text = os.fspath(name)
    if not isinstance(text, str):
        raise TypeError(f"artifact({name!r}): the name of a file is a text")
    path = PurePosixPath(text.replace(os.sep, "/"))
    if not path.parts or not is_inside(path.as_posix()) or ":" in text:
        raise ValueError(
            f"artifact({name!r}): a file of a result has a name within it, as in "
            f"'plot.png' or 'plots/first.png', without '..' and ':'"
        )
    if path.parts[0] == OTHERS:
        raise ValueError(f"artifact({name!r}): {OTHERS!r} is for files of other calls")
    return path.as_posix()


def is_of_a_call(path: Path) -> bool:
    """Tell whether a path leads to the files of a call, or below."""
    return _FILES.match(os.path.abspath(path)) is not None  # noqa: PTH100


# --- while values are read ---


class reading_from:  # noqa: N801  (reads as a statement, as contextlib's do)
    """In its block, values are read that belong to an entry.

    What is wrong with its files is raised at the end of the block as it is, since who
    unpickles makes of any error one of the value.

    Parameters
    ----------
    store : Store
        Where the entry is.
    key : EntryKey
        Which it is.
    """

    _failure: Exception | None = None

    def __init__(self, store: Store, key: EntryKey) -> None:
        self._store = store
        self._key = key

    def __enter__(self) -> reading_from:
        self._before = now.reading
        now.reading = self
        return self

    # Made when a value has files: most have none.
    @functools.cached_property
    def _checked(self) -> dict[int, tuple[tuple[StoredFile, ...], Path]]:
        """The files that were looked at, and their folder.

        By identity: a tuple that many paths of a value have in common.
        """
        return {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        now.reading = self._before
        if isinstance(error, Exception) and self._failure is not None:
            raise self._failure from None

    def folder_with(self, version: str, files: tuple[StoredFile, ...]) -> Path:
        """Return the folder of the entry's files, once all of some are there."""
        known = self._checked.get(id(files))
        if known is not None:
            return known[1]
        try:
            folder = self._bring(version, files)
        except EntryNotFound:
            self._failure = CorruptedFile("it has lost a file")
            raise self._failure from None
        except Exception as error:
            self._failure = error
            raise
        self._checked[id(files)] = (files, folder)
        return folder

    def _bring(self, version: str, files: tuple[StoredFile, ...]) -> Path:
        names = [name for name, _, _ in files]
        if not all(map(is_inside, names)):
            raise CorruptedFile("a file of it would lie elsewhere")
        folder = self._store.files(self._key, names, version)
        for name, size, digest in files:
            path = folder / name
            try:
                facts = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                raise CorruptedFile(f"its file {name!r} is gone") from None
            if not S_ISREG(facts.st_mode) or facts.st_size != size:
                raise CorruptedFile(f"its file {name!r} was changed")
            if digest is not None and digest_of_file(path) != digest:
                raise CorruptedFile(f"its file {name!r} is not the one that was signed")
        return folder


class Writing(Protocol):
    """What knows as what a path is stored, while a value is written."""

    def place_of(self, path: Path) -> tuple[Any, ...]:
        """Return the arguments of what finds the path again."""


class _Now(local):
    """What a thread reads and writes."""

    reading: reading_from | None = None
    writing: Writing | None = None


def _found(
    name: str, is_folder: bool, version: str, files: tuple[Any, ...]
) -> Artifact:
    """Return the path of an artifact of the entry that is being read."""
    if now.reading is None:
        raise ContainerError(
            f"the file {name!r} belongs to an entry: it is found by calling the "
            f"function that made it"
        )
    folder = now.reading.folder_with(version, files)
    if name != "." and not is_inside(name):
        raise CorruptedFile("a file of it would lie elsewhere")
    path = Artifact(folder / name)
    if is_folder and not path.is_dir():  # an empty one, which not every store keeps
        path.mkdir(parents=True, exist_ok=True)
    return path


def digest_of_file(path: Path) -> bytes:
    """Return the digest of the content of a file."""
    from cachekit.memoization.files import File

    return File(path).__cachekit_hash__()[1]


now = _Now()
