"""Files that a call makes: written into its entry, and found there on a hit.

::

    artifact("plot.png")  ─► <staging>/files/plot.png   while the call runs
    commit                ─► <entry>/files/plot.png     with the value, in one rename
    in a returned value     pickled as "plot.png", unpickled as the path in the entry
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from cachekit.errors import ContainerError, StoreError
from cachekit.stores import EntryKey, Staging, Store


class Artifact(type(Path())):  # type: ignore[misc]
    """A path in the entry of a call; made by `artifact`.

    It counts by the content of its file, and is stored as its place in the entry.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        place = _place_in_entry(self)
        return (_found, place) if place else (Path, (str(self),))

    def __cachekit_hash__(self) -> object:
        """Count by the content, wherever the entry is."""
        from cachekit.memoization.files import File

        return File(self)


class ArtifactFolder:
    """The files of a call that is being computed.

    Parameters
    ----------
    staging : Staging or None
        Its entry, if one can be written.
    """

    def __init__(self, staging: Staging | None) -> None:
        own = None if staging is None else staging.folder()
        self._is_in_staging = own is not None
        self.path = Path(own or tempfile.mkdtemp(prefix="cachekit-files-"))
        with _lock:
            _open_folders.append(str(self.path))

    def names(self) -> dict[str, int]:
        """Return the size of each file, by its name relative to the folder."""
        return {
            path.relative_to(self.path).as_posix(): path.stat().st_size
            for path in sorted(self.path.rglob("*"))
            if path.is_file()
        }

    def add_to(self, staging: Staging) -> None:
        """Copy the files into an entry that has no folder on this machine."""
        if self._is_in_staging:
            return
        for name in self.names():
            target = staging.open(f"files/{name}")
            with (self.path / name).open("rb") as source, target:
                shutil.copyfileobj(source, target, 1 << 20)

    def forget(self, *, remove: bool) -> None:
        """Note that the call is over; remove a folder that nobody needs any more."""
        with _lock:
            _open_folders.remove(str(self.path))
        if remove and not self._is_in_staging:
            shutil.rmtree(self.path, ignore_errors=True)


def check_name(name: str | os.PathLike[str]) -> str:
    """Return the name of an artifact as it is stored.

    Raises
    ------
    ValueError
        If it leads out of the entry.
    """
    text = os.fspath(name).replace(os.sep, "/")
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in text:
        raise ValueError(
            f"artifact({name!r}): a file of a result has a name within it, as in "
            f"'plot.png' or 'plots/first.png'"
        )
    return path.as_posix()


class reading_from:  # noqa: N801  (reads as a statement, as contextlib's do)
    """In its block, values are read that belong to an entry.

    Parameters
    ----------
    store : Store
        Where the entry is.
    key : EntryKey
        Which it is.
    """

    __slots__ = ("_before", "_entry")

    def __init__(self, store: Store, key: EntryKey) -> None:
        self._entry = (store, key)

    def __enter__(self) -> None:
        self._before = _reading.entry
        _reading.entry = self._entry

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _reading.entry = self._before


class _Reading(threading.local):
    """The entry that a thread reads."""

    entry: tuple[Store, EntryKey] | None = None


def _place_in_entry(path: Path) -> tuple[str, tuple[str, ...]] | None:
    """Return the name of an artifact, and of the files below it."""
    text = str(path)
    with _lock:
        folder = next((f for f in _open_folders if text.startswith(f + os.sep)), None)
    if folder is None:
        return None
    name = path.relative_to(folder).as_posix()
    if not path.is_dir():
        return name, (name,)
    below = (Path(p).relative_to(folder) for p in path.rglob("*") if p.is_file())
    return name, tuple(sorted(p.as_posix() for p in below))


def _found(name: str, files: tuple[str, ...]) -> Artifact:
    """Return the path of an artifact of the entry that is being read."""
    if _reading.entry is None:
        raise ContainerError(
            f"the file {name!r} belongs to an entry: it is found by calling the "
            f"function that made it"
        )
    store, key = _reading.entry
    folder = store.files(key, [check_name(file) for file in files])
    path = Artifact(folder / check_name(name))
    if not path.exists():
        raise StoreError(f"the entry {key.path} has lost its file {name!r}")
    return path


_reading = _Reading()

# The folders of the calls that are being computed.
_open_folders: list[str] = []
_lock = threading.RLock()
