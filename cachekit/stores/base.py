"""The contract of a store, and its smallest form.

An *entry* is a few named files (``value``, ``record.json``) that appear together or
not at all. A store is a cache: it may forget anything at any time, and never gives
back anything but what was committed. Its verbs are idempotent: to delete what is
absent is silent, and of two commits of one key the first wins.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import TracebackType
from typing import BinaryIO, NamedTuple

from cachekit.stores.leases import SingleFlight

# The file whose presence makes an entry.
VALUE = "value"

# Taken by the store itself.
_RESERVED_NAMES = {"", "store.json"}

# Many filesystems stop at 255 bytes a name.
LONGEST_NAME = 120


class EntryKey(NamedTuple):
    """What names an entry.

    Attributes
    ----------
    function : str
        ``module.qualname``, or the folder name made of it.
    fingerprint : str
        Hash of the function's code, 32 hexadecimal digits.
    digest : str
        Hash of the whole call, 32 hexadecimal digits.
    """

    function: str
    fingerprint: str
    digest: str

    @property
    def lease(self) -> str:
        """The name under which it is said who computes the entry."""
        return f"{self.fingerprint[:16]}{self.digest}"

    @property
    def path(self) -> str:
        """The place of the entry, the same on every store, with ``/`` between parts."""
        folder = folder_name(self.function)
        return f"{folder}/{self.fingerprint}/{self.digest[:2]}/{self.digest[2:]}"


class EntryInfo(NamedTuple):
    """What a listing says of an entry.

    Attributes
    ----------
    key : EntryKey
        Its ``function`` is the folder name.
    size : int
        Bytes of all its files.
    last_used : float
        Seconds since 1970, exact to an hour.
    """

    key: EntryKey
    size: int
    last_used: float


@lru_cache(maxsize=4096)
def folder_name(function: str) -> str:
    """Make a file name of a function's name; names already safe stay as they are.

    >>> folder_name("analysis.fit")
    'analysis.fit'
    >>> folder_name("analysis.make.<locals>.fit")
    'analysis.make._locals_.fit-39456dd9'
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", function).lstrip(".")[:LONGEST_NAME]
    if safe == function and safe not in _RESERVED_NAMES:
        return safe
    suffix = hashlib.blake2b(function.encode(), digest_size=4).hexdigest()
    return f"{safe[: LONGEST_NAME - 9]}-{suffix}"


class Staging(ABC):
    """An entry being written. Leaving the ``with`` block without a commit drops it."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open one file of the entry for writing; the caller closes it."""

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

    @abstractmethod
    def open(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, and note that it was used; None if absent."""

    @abstractmethod
    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry, which does not count as a use."""

    @abstractmethod
    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry, or None if it is absent."""

    @abstractmethod
    def stage(self, key: EntryKey) -> Staging:
        """Start to write an entry."""

    @abstractmethod
    def delete(self, key: EntryKey) -> None:
        """Remove an entry whole."""

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
    def add_hits(self, hits: Mapping[EntryKey, int]) -> None:
        """Add to the number of times that each entry was used; below 0 takes off."""

    @abstractmethod
    def hits(self) -> dict[str, int]:
        """Return how many times each entry was used, by `EntryKey.path`."""


_making_flights = threading.RLock()


class DictStore(Store):
    """Entries in memory: for tests, and for a cache that ends with the process."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, bytes]] = {}
        self._about: dict[str, tuple[EntryKey, float]] = {}  # key, last used
        self._code: dict[tuple[str, str], bytes] = {}
        self._hits: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """Memory."""
        return "memory"

    def open(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry; None if absent."""
        content = self.read(key, VALUE)
        if content is None:
            return None
        with self._lock:
            if key.path in self._about:
                self._about[key.path] = (self._about[key.path][0], time.time())
        return io.BytesIO(content)

    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry."""
        return VALUE in self._entries.get(key.path, {})

    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry, or None."""
        return self._entries.get(key.path, {}).get(name)

    def stage(self, key: EntryKey) -> Staging:
        """Start to write an entry."""
        return _DictStaging(self, key)

    def delete(self, key: EntryKey) -> None:
        """Remove an entry."""
        with self._lock:
            self._entries.pop(key.path, None)
            self._about.pop(key.path, None)

    def clear(self, function: str | None = None) -> None:
        """Remove every entry, or every entry of one function."""
        for info in list(self.entries(function)):
            self.delete(info.key)
        with self._lock:
            for version in list(self._code):
                if function is None or version[0] == folder_name(function):
                    del self._code[version]
            for path in list(self._hits):
                if function is None or path.startswith(f"{folder_name(function)}/"):
                    del self._hits[path]

    def entries(self, function: str | None = None) -> Iterator[EntryInfo]:
        """List the entries, or those of one function."""
        with self._lock:
            found = [
                EntryInfo(key, sum(map(len, self._entries[path].values())), used)
                for path, (key, used) in self._about.items()
                if VALUE in self._entries[path]
            ]
        for info in found:
            is_wanted = function is None or info.key.function == folder_name(function)
            if is_wanted and info.key.path in self._entries:
                yield info

    def write_code(self, key: EntryKey, content: bytes) -> None:
        """Keep the description of a code version, unless there is one."""
        self._code.setdefault((folder_name(key.function), key.fingerprint), content)

    def read_code(self, key: EntryKey) -> bytes | None:
        """Return the description of a code version, or None."""
        return self._code.get((folder_name(key.function), key.fingerprint))

    def add_hits(self, hits: Mapping[EntryKey, int]) -> None:
        """Add to the number of uses."""
        with self._lock:
            for key, count in hits.items():
                self._hits[key.path] = self._hits.get(key.path, 0) + count

    def hits(self) -> dict[str, int]:
        """Return the number of uses of each entry."""
        return {path: count for path, count in self._hits.items() if count}

    def _publish(self, key: EntryKey, files: dict[str, bytes], *, over: bool) -> bool:
        with self._lock:
            if VALUE in self._entries.get(key.path, {}) and not over:
                return False
            self._entries[key.path] = files
            listed = key._replace(function=folder_name(key.function))
            self._about[key.path] = (listed, time.time())
            return True


class _DictStaging(Staging):
    def __init__(self, store: DictStore, key: EntryKey) -> None:
        self._store = store
        self._key = key
        self._files: dict[str, _KeptBytes] = {}

    def open(self, name: str) -> BinaryIO:
        self._files[name] = _KeptBytes()
        return self._files[name]

    def commit(self) -> bool:
        return self._store._publish(self._key, self._content(), over=False)

    def replace(self) -> None:
        self._store._publish(self._key, self._content(), over=True)

    def discard(self) -> None:
        self._files = {}

    def _content(self) -> dict[str, bytes]:
        return {name: file.content for name, file in self._files.items()}


class _KeptBytes(io.BytesIO):
    """Bytes that can still be had when the file is closed."""

    content = b""

    def close(self) -> None:
        if not self.closed:
            self.content = self.getvalue()
        super().close()
