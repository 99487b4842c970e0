"""The contract of a store.

An *entry* is a ``value``, its ``record.json``, and ``files/`` if its call has made
some, which appear together or not at all; and ``pinned`` if it is to stay when room is
made. A store is a cache: it may forget anything at any time, and never gives back
anything but what was committed. Its verbs are idempotent: to delete what is absent is
silent, and of two commits of one key the first wins.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import os
import shutil
import sys
import tempfile
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from cachekit.errors import EntryNotFound, StoreError
from cachekit.stores.flights import SingleFlight
from cachekit.stores.names import FILES, VALUE, EntryInfo, EntryKey


class Staging(ABC):
    """An entry being written. Leaving the ``with`` block without a commit drops it."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open one file of the entry for writing; the caller closes it."""

    def write(self, name: str, content: bytes) -> None:
        """Write one file of the entry."""
        with self.open(name) as file:
            file.write(content)

    def folder(self) -> Path | None:
        """Return a folder of this machine whose files become those of the entry.

        None where there is no such folder: files are then written by `open`, with
        names that begin with ``files/``.
        """
        return None

    def add(self, name: str, source: Path) -> None:
        """Take a file of this machine into the files of the entry, or a copy of it.

        Parameters
        ----------
        name : str
            Its name there, without ``files/``.
        source : Path
            Where it is, not to be changed from now on: the entry may share its memory
            on the disk.
        """
        folder = self.folder()
        if folder is not None:
            link_or_copy(source, folder / name)
            return
        with source.open("rb") as found, self.open(f"{FILES}/{name}") as file:
            shutil.copyfileobj(found, file, 1 << 20)

    @abstractmethod
    def commit(self) -> bool:
        """Publish the entry; return False if another writer was first."""

    @abstractmethod
    def replace(self) -> None:
        """Publish the entry in the place of whatever is there."""

    @abstractmethod
    def discard(self) -> None:
        """Drop what was written; after a commit this does nothing."""

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()


class Store(ABC):
    """Keeps entries.

    Every method but `discard` may raise `OSError` or `cachekit.errors.StoreError`;
    the cached call turns both into a warning.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the store is, as the user would write it."""

    @property
    def flights(self) -> SingleFlight:
        """Who computes what: here for the threads of this process alone."""
        with _making_flights:  # one for all threads
            known = vars(self).get("_flights")
            if known is None:
                known = vars(self)["_flights"] = SingleFlight()
        flights: SingleFlight = known
        return flights

    @property
    def place(self) -> str:
        """What names this store, and those that keep the same entries, in a process."""
        return f"{self.location} {id(self)}"

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written here, so that nobody need try."""
        return False

    @property
    def kept_small(self) -> Store:
        """The part of the store that limits of size are for: all of it."""
        return self

    @property
    def exists(self) -> bool:
        """Whether there is a store: to write would not make a new one."""
        return True

    @property
    def is_connected(self) -> bool:
        """Whether it can be asked without a connection to be made first."""
        return True

    def flush(self) -> None:
        """Wait until what was committed is where it will stay: here it is at once."""
        return

    @abstractmethod
    def open(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, and note that it was used; None if absent."""

    def peek(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, which does not count as a use; None if absent."""
        content = self.read(key, VALUE)
        return None if content is None else io.BytesIO(content)

    @abstractmethod
    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry, which does not count as a use."""

    @abstractmethod
    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry, or None if it is absent."""

    def locate(self, key: EntryKey) -> str | None:  # noqa: ARG002
        """Return the path of a value; None if it is absent, or not on this machine."""
        return None

    def note_use(self, key: EntryKey) -> None:  # noqa: B027
        """Note that an entry was used, where `open` was not what used it."""

    def use(self, key: EntryKey) -> bool:
        """Tell whether there is an entry, which counts as a use."""
        if not self.contains(key):
            return False
        self.note_use(key)
        return True

    def files(self, key: EntryKey, names: Iterable[str], version: str = "") -> Path:
        """Return the folder of this machine in which files of an entry are.

        Parameters
        ----------
        key : EntryKey
            The entry.
        names : iterable of str
            The files that are wanted, relative to the folder.
        version : str, optional
            What tells this entry from others of the same key, before and after it: its
            files are then fetched once in a process.

        Raises
        ------
        EntryNotFound
            If one of them is gone. A store whose files are on this machine need not
            look.
        """
        folder = folder_for_files(self, key, version or uuid.uuid4().hex)
        for name in names:
            if not (folder / name).exists():
                self._bring_file(key, name, folder / name)
        return folder

    def _bring_file(self, key: EntryKey, name: str, path: Path) -> None:
        """Bring one of the files of an entry to a place on this machine."""
        file = self._open_file(key, f"{FILES}/{name}")
        if file is None:
            raise absent_entry(self, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = temporary_folder() / f"{uuid.uuid4().hex}.partial"
        try:
            with file, partial.open("wb") as target:
                shutil.copyfileobj(file, target, 1 << 20)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _open_file(self, key: EntryKey, name: str) -> BinaryIO | None:
        """Open one file of an entry; it may be a large one."""
        content = self.read(key, name)
        return None if content is None else io.BytesIO(content)

    @abstractmethod
    def stage(self, key: EntryKey) -> Staging:
        """Start to write an entry."""

    @abstractmethod
    def delete(self, key: EntryKey) -> None:
        """Remove an entry whole."""

    def drop(self, key: EntryKey) -> None:
        """Remove an entry of which the value, as it was opened, is of no use."""
        self.delete(key)

    def delete_many(self, keys: Iterable[EntryKey]) -> None:
        """Remove entries, each of them whole; some stores share work between them."""
        for key in keys:
            self.delete(key)

    @abstractmethod
    def pin(self, key: EntryKey) -> None:
        """Have an entry stay when room is made; it can be deleted and replaced still.

        The pin belongs to this one entry: what replaces it is not pinned.

        Raises
        ------
        EntryNotFound
            If there is no such entry.
        """

    @abstractmethod
    def unpin(self, key: EntryKey) -> None:
        """Take the pin off an entry; silent if there is none."""

    @abstractmethod
    def clear(self, function: str | None = None) -> None:
        """Remove every entry, or every entry of one function, and their statistics."""

    @abstractmethod
    def entries(self, function: str | None = None) -> Iterator[EntryInfo]:
        """List the entries, or those of one function, in no order."""

    @abstractmethod
    def write_code(self, key: EntryKey, content: bytes) -> None:
        """Keep a description of the code version of `key`, unless there is one."""

    @abstractmethod
    def read_code(self, key: EntryKey) -> bytes | None:
        """Return the description of the code version of `key`, or None."""

    @abstractmethod
    def add_hits(
        self, hits: Mapping[EntryKey, int], misses: Mapping[str, int] | None = None
    ) -> None:
        """Add to the statistics.

        Parameters
        ----------
        hits : mapping of EntryKey to int
            How many times more each entry was used; below 0 takes off.
        misses : mapping of str to int, optional
            How many more calls of each function were computed, by its name.
        """

    @abstractmethod
    def hits(self) -> dict[str, int]:
        """Return how many times each entry was used, by `EntryKey.path`."""

    def misses(self) -> dict[str, int]:
        """Return how many calls of each function were computed, by its folder."""
        return {}

    # --- documents: small files beside the entries, in one of `DOCUMENT_FOLDERS` ---

    def write_document(self, path: str, content: bytes) -> None:  # noqa: ARG002
        """Keep a small file, in the place of what is there.

        Parameters
        ----------
        path : str
            Where: ``"runs/20261122-101500-3f9c.json"``.
        content : bytes
            All of it.

        Raises
        ------
        StoreError
            If this kind of store keeps none.
        """
        raise StoreError(f"{self.location} keeps nothing but entries")

    def read_document(self, path: str) -> bytes | None:  # noqa: ARG002
        """Return a small file, or None if it is absent."""
        return None

    def documents(self, folder: str) -> list[str]:  # noqa: ARG002
        """Return the paths of the small files in a folder, in order."""
        return []

    def remove_document(self, path: str) -> None:  # noqa: B027
        """Remove a small file; silent if it is absent."""


_making_flights = threading.RLock()


def _begin_anew_in_child() -> None:
    global _making_flights
    _making_flights = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)


def temporary_folder() -> Path:
    """Return a folder that is removed when this process ends."""
    return _temporary_folder(os.getpid())


@lru_cache(maxsize=1)
def _temporary_folder(process: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="cachekit-"))

    def remove() -> None:
        if os.getpid() == process:  # not by a forked child
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    if "multiprocessing.util" in sys.modules:  # whose processes end without atexit
        from multiprocessing.util import Finalize

        Finalize(None, remove, exitpriority=0)
    return folder


def folder_for_files(store: Store, key: EntryKey, version: str) -> Path:
    """Return where files of an entry are on this machine, if the store is elsewhere.

    Parameters
    ----------
    store : Store
        The store.
    key : EntryKey
        The entry.
    version : str
        What tells this entry from others of the same key.
    """
    place = hashlib.blake2b(f"{store.place} {version}".encode(), digest_size=8)
    return temporary_folder() / place.hexdigest() / key.path / FILES


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; where that is not possible, copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()  # a link would lead elsewhere from there
    try:
        os.link(source, target)
    except FileExistsError:
        target.unlink()
        link_or_copy(source, target)
    except OSError:  # two disks, or one without second names, or a file of others
        shutil.copyfile(source, target)


def absent_entry(store: Store, key: EntryKey) -> EntryNotFound:
    """Make the error that says that there is no such entry."""
    return EntryNotFound(
        f"{store.location} has no entry {key.path}; it may have been removed meanwhile"
    )
