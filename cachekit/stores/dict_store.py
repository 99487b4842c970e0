"""The smallest store: entries in memory. The oracle of the tests of all others."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from cachekit.stores.base import Staging, Store, absent_entry
from cachekit.stores.names import (
    ACCEPTED,
    PIN,
    VALUE,
    EntryInfo,
    EntryKey,
    check_document,
    folder_name,
)
from cachekit.stores.statistics import counts_by_path, hits_among, misses_among


class DictStore(Store):
    """Entries in memory: for tests, and for a cache that ends with the process."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, bytes]] = {}
        self._about: dict[str, tuple[EntryKey, float]] = {}  # key, last used
        self._code: dict[tuple[str, str], bytes] = {}
        self._hits: dict[str, int] = {}
        self._documents: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """Memory."""
        return "memory"

    def open(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry; None if absent."""
        content = self._entries.get(key.path, {}).get(VALUE)
        if content is None:
            return None
        self.note_use(key)
        return io.BytesIO(content)

    def note_use(self, key: EntryKey) -> None:
        """Note that an entry was used."""
        path = key.path
        with self._lock:
            about = self._about.get(path)
            if about is not None:
                self._about[path] = (about[0], time.time())

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

    def pin(self, key: EntryKey) -> None:
        """Have an entry stay when room is made."""
        with self._lock:
            if not self.contains(key):
                raise absent_entry(self, key)
            self._entries[key.path][PIN] = b""

    def unpin(self, key: EntryKey) -> None:
        """Take the pin off an entry."""
        with self._lock:
            self._entries.get(key.path, {}).pop(PIN, None)

    def clear(self, function: str | None = None) -> None:
        """Remove every entry, or every entry of one function."""
        for info in list(self.entries(function)):
            self.delete(info.key)
        with self._lock:
            if function is None:
                for path in self.documents(ACCEPTED):
                    del self._documents[path]
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
                _describe(key, self._entries[path], used)
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

    def add_hits(
        self, hits: Mapping[EntryKey, int], misses: Mapping[str, int] | None = None
    ) -> None:
        """Add to the number of uses."""
        with self._lock:
            for path, count in counts_by_path(hits, misses).items():
                self._hits[path] = self._hits.get(path, 0) + count

    def hits(self) -> dict[str, int]:
        """Return the number of uses of each entry."""
        return hits_among(self._hits)

    def misses(self) -> dict[str, int]:
        """Return how many calls of each function were computed."""
        return misses_among(self._hits)

    def write_document(self, path: str, content: bytes) -> None:
        """Keep a small file."""
        self._documents[check_document(path)] = content

    def read_document(self, path: str) -> bytes | None:
        """Return a small file, or None."""
        return self._documents.get(check_document(path))

    def documents(self, folder: str) -> list[str]:
        """Return the paths of the small files in a folder."""
        return sorted(path for path in self._documents if path.startswith(f"{folder}/"))

    def remove_document(self, path: str) -> None:
        """Remove a small file."""
        self._documents.pop(check_document(path), None)

    def _publish(self, key: EntryKey, files: dict[str, bytes], *, over: bool) -> bool:
        with self._lock:
            if VALUE in self._entries.get(key.path, {}) and not over:
                return False
            self._entries[key.path] = files
            listed = key._replace(function=folder_name(key.function))
            self._about[key.path] = (listed, time.time())
            return True


def _describe(key: EntryKey, files: Mapping[str, bytes], used: float) -> EntryInfo:
    return EntryInfo(key, sum(map(len, files.values())), used, PIN in files)


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
