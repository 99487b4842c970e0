"""A near store before a far one.

::

    open      near, then far; what was found far is copied near in the background
    commit    near at once, far in the background
    delete    both

Each of the two may be read-only, or out of order: then the other one serves alone.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from cachekit.errors import EntryNotFound, StoreError, warn
from cachekit.stores.background import at_exit, wait_for_all
from cachekit.stores.base import Staging, Store
from cachekit.stores.copying import write_copy
from cachekit.stores.flights import SingleFlight, single_flight_at
from cachekit.stores.local import TOUCH_SECONDS
from cachekit.stores.names import RECORD, EntryInfo, EntryKey
from cachekit.stores.sending import UntilSent, sending_between

# Of so many entries it is known that they were opened far.
MOST_NOTED = 10_000

# A value up to this size is copied near in the background, and is in memory until then.
MOST_IN_MEMORY = 2**20


class TieredStore(Store):
    """A near store, such as a local folder, before a far one, such as a bucket.

    Parameters
    ----------
    near : Store
        Asked first, and written to at once. Limits of size are its limits.
    far : Store
        Asked next, and written to in the background: `Store.flush` waits for that, as
        does the end of the program.
    """

    def __init__(self, near: Store, far: Store) -> None:
        self.near = near
        self.far = far
        self._sending = sending_between(near, far)
        # By path: what was opened in the far store last, and what was of no use there.
        self._from_far: set[str] = set()
        self._refused: set[str] = set()
        self._told: set[str] = set()
        self._untold: dict[str, Exception] = {}
        _all.add(self)

    def __repr__(self) -> str:
        return f"TieredStore({self.near!r}, {self.far!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (TieredStore, (self.near, self.far))

    @property
    def location(self) -> str:
        """The location of the far store, where results stay."""
        return self.far.location

    @property
    def place(self) -> str:
        """What names both."""
        return f"{self.near.place} {self.far.place}"

    @property
    def is_read_only(self) -> bool:
        """Whether neither of the two can be written to."""
        return self.near.is_read_only and self.far.is_read_only

    @property
    def exists(self) -> bool:
        """Whether there is a near store."""
        return self.near.exists

    @property
    def is_connected(self) -> bool:
        """Whether the far store can be asked without a connection to be made first."""
        return self.near.is_connected and self.far.is_connected

    @property
    def kept_small(self) -> Store:
        """The near store: the far one is others' too."""
        return self.near.kept_small

    @functools.cached_property
    def flights(self) -> SingleFlight:
        """Who computes what, among all who share the near store, or the far one."""
        far = [UntilSent(self._sending, leases) for leases in self.far.flights.leases]
        return single_flight_at(
            self.place,
            lambda: [*self.near.flights.leases, *far],
        )

    def flush(self) -> None:
        """Wait until all that was committed is in the far store."""
        self._sending.wait()
        self.near.flush()
        self.far.flush()
        self._tell()

    # --- look up ---

    def open(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, near or far; None if absent."""
        near_error: Exception | None = None
        try:
            file = self.near.open(key)
        except (OSError, StoreError) as error:
            file, near_error = None, error
        if file is not None:
            self._from_far.discard(key.path)
        if file is None:
            file = self._open_far(key)
            if file is not None and near_error is None:
                return self._bring_near(key, file)
        if file is None and near_error is not None:
            raise near_error
        return file

    def _open_far(self, key: EntryKey) -> BinaryIO | None:
        if self._sending.is_absent(key.path) or key.path in self._refused:
            return None
        file = self.far.open(key)
        if file is None:
            self._sending.note_absent(key.path)
        else:
            if len(self._from_far) > MOST_NOTED:
                self._from_far.clear()
            self._from_far.add(key.path)
        return file

    def locate(self, key: EntryKey) -> str | None:
        """Return the path of a value near; what is found far is copied there first."""
        path = self.near.locate(key)
        if path is not None or self.near.is_read_only:
            return path
        file = self._open_far(key)
        if file is None:
            return None
        with file:
            self._try(self.near, lambda: self._fill(key, file))
        return self.near.locate(key)

    def note_use(self, key: EntryKey) -> None:
        """Note that an entry was used."""
        self.near.note_use(key)

    def files(self, key: EntryKey, names: Iterable[str], version: str = "") -> Path:
        """Return the folder in which files of an entry are on this machine.

        What is found far is copied near first, where the files can stay.
        """
        names = list(names)
        folder = self._files_near(key, names, version)
        return self.far.files(key, names, version) if folder is None else folder

    def _files_near(self, key: EntryKey, names: list[str], version: str) -> Path | None:
        try:
            if not (self.near.contains(key) or self._bring_files(key)):
                return None
            folder = self.near.files(key, names, version)
        except (OSError, StoreError, EntryNotFound):
            return None
        return folder if all((folder / name).exists() for name in names) else None

    def _bring_files(self, key: EntryKey) -> bool:
        """Copy an entry near now, if the far store has it; tell whether it is there."""
        file = None if self.near.is_read_only else self.far.peek(key)
        if file is None:
            return False
        with file:
            self._try(self.near, lambda: self._fill(key, file))
        return self.near.contains(key)

    def peek(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, which does not count as a use."""
        return self.near.peek(key) or self.far.peek(key)

    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry, near or far."""
        return self.near.contains(key) or self.far.contains(key)

    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry, or None if it is absent."""
        content = self.near.read(key, name)
        return self.far.read(key, name) if content is None else content

    def _bring_near(self, key: EntryKey, file: BinaryIO) -> BinaryIO:
        """Copy near what was found far; return it, open at its start."""
        if self.near.is_read_only:
            return file
        value = file.getvalue() if isinstance(file, io.BytesIO) else None  # no copy
        if value is not None and len(value) <= MOST_IN_MEMORY:
            self._later(self.near, lambda: self._fill(key, io.BytesIO(value)))
            return file
        self._try(self.near, lambda: self._fill(key, file))
        file.seek(0)
        return file

    def _fill(self, key: EntryKey, value: BinaryIO) -> None:
        # By process: another thread may have held that of the parent.
        name = (os.getpid(), self.place, key.path)
        filling = _filling.setdefault(name, threading.Lock())
        try:
            with filling:
                self._fill_alone(key, value)
        finally:
            _filling.pop(name, None)

    def _fill_alone(self, key: EntryKey, value: BinaryIO) -> None:
        if self.near.contains(key):  # brought by another, files and all
            return
        record: list[bytes | None] = [None]  # unless that fails
        self._try(self.far, lambda: record.append(self.far.read(key, RECORD)))
        with contextlib.suppress(EntryNotFound):  # its files are gone: it will be, too
            write_copy(self.near, key, value, record[-1], self.far)

    # --- commit ---

    def stage(self, key: EntryKey) -> Staging:
        """Start to write an entry; into the far store if the near one is no use."""
        self._tell()
        if not self.near.is_read_only:
            try:
                return _NearFirst(self, key, self.near.stage(key))
            except (OSError, StoreError) as error:
                if self.far.is_read_only:
                    raise
                self._note(self.near, error)
                self._tell()
        return self.far.stage(key)

    def send_far(self, key: EntryKey, *, over: bool) -> None:
        """Copy an entry from near to far in the background."""
        if not self.far.is_read_only:
            self._sending.send(
                key.lease,
                lambda: self._try(self.far, lambda: self._send(key, over=over)),
            )

    def _send(self, key: EntryKey, *, over: bool) -> None:
        value = self.near.peek(key)
        if value is not None:  # else it was evicted meanwhile
            with value:
                record = self.near.read(key, RECORD)
                write_copy(self.far, key, value, record, self.near, over=over)

    def delete(self, key: EntryKey) -> None:
        """Remove an entry from both."""
        self._sending.wait()  # it may be there
        self.near.delete(key)
        if not self.far.is_read_only:
            self.far.delete(key)

    def delete_many(self, keys: Iterable[EntryKey]) -> None:
        """Remove entries from both, as many at once as each of them can."""
        keys = list(keys)
        self._sending.wait()
        self.near.delete_many(keys)
        if not self.far.is_read_only:
            self.far.delete_many(keys)

    def drop(self, key: EntryKey) -> None:
        """Remove the entry that was opened: the near one, or that of the far store."""
        if key.path in self._from_far:
            self._from_far.discard(key.path)
            self._refused.add(key.path)  # in case that it cannot be removed
            self.delete(key)
        else:
            self.near.delete(key)

    def clear(self, function: str | None = None) -> None:
        """Remove every entry, or every entry of one function, from both."""
        self._sending.wait()
        self.near.clear(function)
        self.far.clear(function)

    def pin(self, key: EntryKey) -> None:
        """Keep an entry from being evicted from the near store, if it is there."""
        try:
            self.near.pin(key)
        except EntryNotFound:
            self.far.pin(key)

    def unpin(self, key: EntryKey) -> None:
        """Let an entry be evicted again."""
        self.near.unpin(key)
        if not self.far.is_read_only:
            self.far.unpin(key)

    # --- listing ---

    def entries(self, function: str | None = None) -> Iterator[EntryInfo]:
        """List the entries of both; one that is in both is pinned if either is.

        And it was used when either was last used.
        """
        near = {info.key.path: info for info in self.near.entries(function)}
        for info in self.far.entries(function):
            also = near.pop(info.key.path, None)
            if also is None:
                yield info
                continue
            is_pinned = also.is_pinned or info.is_pinned
            # Uses are noted once an hour, and what is far was written a moment later.
            is_later = info.last_used - also.last_used > TOUCH_SECONDS
            last_used = info.last_used if is_later else also.last_used
            yield also._replace(is_pinned=is_pinned, last_used=last_used)
        yield from near.values()

    # --- code versions and statistics ---

    def write_code(self, key: EntryKey, content: bytes) -> None:
        """Keep a description of the code version of `key` in both."""
        if not self.near.is_read_only:
            self._try(self.near, lambda: self.near.write_code(key, content))
        if not self.far.is_read_only:
            self._later(self.far, lambda: self.far.write_code(key, content))

    def read_code(self, key: EntryKey) -> bytes | None:
        """Return the description of the code version of `key`, or None."""
        content = self.near.read_code(key)
        return self.far.read_code(key) if content is None else content

    def add_hits(
        self, hits: Mapping[EntryKey, int], misses: Mapping[str, int] | None = None
    ) -> None:
        """Add to the counts of both: near those of this machine, far everybody's.

        A run that needed nothing of the far store does not connect to it for that.
        """
        if not self.near.is_read_only:
            self._try(self.near, lambda: self.near.add_hits(hits, misses))
        if not self.far.is_read_only and self.far.is_connected:
            self.far.add_hits(hits, misses)

    def hits(self) -> dict[str, int]:
        """Return how many times each entry was used, as far as is known."""
        return _larger(self.far.hits(), self.near.hits())

    def misses(self) -> dict[str, int]:
        """Return how many calls of each function were computed, as far as is known."""
        return _larger(self.far.misses(), self.near.misses())

    def write_document(self, path: str, content: bytes) -> None:
        """Keep a small file in both: far for everybody, near to have it at hand."""
        if not self.far.is_read_only:
            self.far.write_document(path, content)
        if not self.near.is_read_only:
            self.near.write_document(path, content)

    def read_document(self, path: str) -> bytes | None:
        """Return a small file, or None if it is absent."""
        content = self.near.read_document(path)
        return self.far.read_document(path) if content is None else content

    def documents(self, folder: str) -> list[str]:
        """Return the paths of the small files that are in either."""
        return sorted({*self.near.documents(folder), *self.far.documents(folder)})

    def remove_document(self, path: str) -> None:
        """Remove a small file from both."""
        for store in (self.near, self.far):
            if not store.is_read_only:
                store.remove_document(path)

    # --- failures ---

    def _later(self, store: Store, work: Callable[[], None]) -> None:
        self._sending.later(lambda: self._try(store, work))

    def _try(self, store: Store, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, StoreError) as error:
            self._note(store, error)

    def _note(self, store: Store, error: Exception) -> None:
        """Keep what failed, to be told once, where the user sees it."""
        self._untold.setdefault(store.location, error)

    def _tell(self) -> None:
        for location in list(self._untold):
            error = self._untold.pop(location)
            if location not in self._told:
                self._told.add(location)
                text = str(error)
                if location not in text:
                    text = f"results cannot be kept in {location}: {text}"
                warn(text)


def _larger(some: dict[str, int], others: dict[str, int]) -> dict[str, int]:
    """Return of each name the larger count: one store knows of more hosts or runs."""
    return {
        name: max(some.get(name, 0), others.get(name, 0))
        for name in some.keys() | others.keys()
    }


class _NearFirst(Staging):
    """An entry that is written near, and sent far once it is there."""

    def __init__(self, store: TieredStore, key: EntryKey, near: Staging) -> None:
        self._store = store
        self._key = key
        self._near = near

    def open(self, name: str) -> BinaryIO:
        return self._near.open(name)

    def write(self, name: str, content: bytes) -> None:
        self._near.write(name, content)

    def folder(self) -> Path | None:
        return self._near.folder()

    def commit(self) -> bool:
        is_first = self._near.commit()
        if is_first:
            self._store.send_far(self._key, over=False)
        return is_first

    def replace(self) -> None:
        self._near.replace()
        self._store.send_far(self._key, over=True)

    def discard(self) -> None:
        self._near.discard()


def _tell_at_exit() -> None:
    wait_for_all()
    for store in list(_all):
        store._tell()


_all: weakref.WeakSet[TieredStore] = weakref.WeakSet()

# Who copies an entry near: another waits, rather than fetch its files as well.
_filling: dict[tuple[int, str, str], threading.Lock] = {}
at_exit(_tell_at_exit)
