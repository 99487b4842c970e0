"""A store in a bucket, or on any other file system that fsspec speaks to.

The layout is that of `LocalStore`, so that a folder can be copied into a bucket as it
is. There are no folders to rename there, but a file appears whole or not at all: the
value is written last, and an entry is there once its value is. A hit is one request,
and a miss is three: one that finds nothing, one to write the record and one the value;
two more are for a lease, if others are to wait. Times of use cannot be noted in the
files; they go with the statistics.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from cachekit.stores import statistics
from cachekit.stores.base import Staging, Store, absent_entry
from cachekit.stores.client import Client, LeftOut
from cachekit.stores.flights import SingleFlight, single_flight_at
from cachekit.stores.layout import check_store, code_path, describe_store
from cachekit.stores.names import (
    ACCEPTED,
    PIN,
    RECORD,
    VALUE,
    EntryInfo,
    EntryKey,
    check_document,
    folder_name,
)
from cachekit.stores.remote_leases import ServiceLeases
from cachekit.stores.remote_staging import USUAL_FILES, RemoteStaging
from cachekit.stores.service import Service
from cachekit.stores.statistics import Uses, counts_by_path, hits_among, misses_among

# Each process adds one file of statistics; so many are merged into one.
MOST_STATS_FILES = 64

# One who merges them is dead if he takes longer.
_LONGEST_MERGE = 600.0

# A lease that was not touched for so long is nobody's.
_ABANDONED_SECONDS = 24 * 3600

_ENTRY = re.compile(
    r"([^/]+)/([0-9a-f]{32})/([0-9a-f]{2})/([0-9a-f]{30})/([^/]+|files/.+)"
)
_STATISTICS = re.compile(r"\.stats/[^/]+\.json")
_LEASE = re.compile(r"\.leases/[0-9a-f]{48}(\.[0-9a-f]+\.lost)?")
_CODE = re.compile(r"[^/]+/[0-9a-f]{32}/code\.json")

# What an entry consists of: bytes, and seconds since 1970, of each of its files.
_Parts = dict[str, tuple[int, float]]


class RemoteStore(Store):
    """Entries on a file system of fsspec's: S3, Google Cloud, Azure, SFTP and more.

    Two requests to write one entry at the same time: on S3, Google Cloud and Azure the
    first wins; elsewhere the last, which for a cache is as good.

    Parameters
    ----------
    url : str
        Of a folder, as in ``"s3://bucket/prefix"``; nothing is contacted before it is
        used.
    storage_options : mapping, optional
        For fsspec's client, such as ``{"endpoint_url": ...}``; the client's own
        configuration serves as well.
    hash_version : int, optional
        Written to ``store.json``, for the reader's information.
    timeout : float, default 60
        Seconds that a request may take, and a second more for each mebibyte of it.
        A service that takes longer, or fails again and again, is left out for the rest
        of the run: its first failure is a `StoreError`, and then it has no entries and
        takes none.
    """

    def __init__(
        self,
        url: str,
        storage_options: Mapping[str, Any] | None = None,
        *,
        hash_version: int | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._made_of = (url, dict(storage_options or {}), hash_version, timeout)
        client = Client(url.rstrip("/"), storage_options or {}, timeout=timeout)
        self._service = Service(client)
        self._hash_version = hash_version
        self._prepared_by: int | None = None
        self._written_code: set[str] = set()
        self._used: dict[str, float] = {}  # path -> when, by this process
        # By path: the files of an entry beside the usual ones, as far as was listed.
        self._more: dict[str, tuple[str, ...]] = {}
        self._listed: set[str] = set()

    def __repr__(self) -> str:
        return f"RemoteStore({self.location!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_remote_store, self._made_of)

    @property
    def location(self) -> str:
        """The URL, without a password."""
        return self._service.client.name

    @property
    def service(self) -> Service:
        """The files that it is made of, for who looks after it."""
        return self._service

    @property
    def is_read_only(self) -> bool:
        """Whether it is known by now that nothing can be written there."""
        return self._service.client.is_write_lost and not self._service.client.is_untold

    @property
    def place(self) -> str:
        """The URL, and the options for the client."""
        return f"{self._service.client.url} {self._made_of[1]!r}"

    @functools.cached_property
    def flights(self) -> SingleFlight:
        """Who computes what, among all hosts that use this place."""
        return single_flight_at(self.place, lambda: [ServiceLeases(self._service)])

    def flush(self) -> None:
        """Wait until leases that were given back are so there too."""
        for leases in self.flights.leases:
            leases.flush()

    @property
    def is_connected(self) -> bool:
        """Whether it was asked for anything yet."""
        return self._service.client.is_connected

    # --- look up ---

    def open(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, and note that it was used; None if absent."""
        file = self._get(f"{key.path}/{VALUE}")
        if file is not None:
            self.note_use(key)
        return file

    def note_use(self, key: EntryKey) -> None:
        """Note that an entry was used, to be told with its hits."""
        self._used[key.path] = time.time()

    def peek(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, which does not count as a use; None if absent."""
        return self._get(f"{key.path}/{VALUE}")

    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry."""
        try:
            return self._service.exists(f"{key.path}/{VALUE}")
        except LeftOut:
            return False

    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry, or None if it is absent."""
        return self._read(f"{key.path}/{name}")

    def _open_file(self, key: EntryKey, name: str) -> BinaryIO | None:
        # A service that is left out has not lost the file.
        return self._service.get(f"{key.path}/{name}")

    # --- commit ---

    def stage(self, key: EntryKey) -> Staging:
        """Start to write an entry."""
        with contextlib.suppress(LeftOut):
            self._prepare()
        return RemoteStaging(self._service, key.path, self._more)

    def delete(self, key: EntryKey) -> None:
        """Remove an entry: its value first, with which it is gone."""
        self._remove([key.path])
        # A listing may be an old one: what is known by name is gone whatever it says.
        self._service.remove(self._service.find(key.path))

    def delete_many(self, keys: Iterable[EntryKey]) -> None:
        """Remove entries, a thousand with a few requests where that is possible.

        The files that their calls have made are known from the last listing; if there
        was none, there is one now for each version of the code.
        """
        keys = list(keys)
        for key in keys:
            self._list_files(key)
        self._remove([key.path for key in keys])

    def _remove(self, paths: list[str]) -> None:
        self._service.remove(f"{path}/{VALUE}" for path in paths)
        self._service.remove(
            f"{path}/{name}"
            for path in paths
            for name in (PIN, RECORD, *self._more.pop(path, ()))
        )

    def _list_files(self, key: EntryKey) -> None:
        """Learn which entries have files, unless a listing has told."""
        folder = folder_name(key.function)
        version = f"{folder}/{key.fingerprint}"
        if self._listed.isdisjoint({"", folder, version}):
            self._parts_below(version)

    def clear(self, function: str | None = None) -> None:
        """Remove every entry, or every entry of one function.

        Only what has the shape of a store is removed, and only from a store.
        """
        about = self._read("store.json")
        if not about:  # none, or another is about to write it
            return
        check_store(about, self.location)
        if function is None:
            self._service.remove([*self._statistics(), *self.documents(ACCEPTED)])
        else:
            start = f"{folder_name(function)}/"
            self._add_counts(
                {
                    path: -uses.times
                    for path, uses in self._counts().items()
                    if path.startswith(start) and uses.times
                }
            )
        found = self._service.find(folder_name(function) if function else "")
        ours = [path for path in found if _ENTRY.fullmatch(path)]
        values = [path for path in ours if path.endswith(f"/{VALUE}")]
        self._service.remove(values)
        self._service.remove(path for path in ours if not path.endswith(f"/{VALUE}"))
        self._service.remove(path for path in found if _CODE.fullmatch(path))
        self._written_code.clear()

    def pin(self, key: EntryKey) -> None:
        """Keep an entry from being evicted."""
        if not self._service.exists(f"{key.path}/{VALUE}"):
            raise absent_entry(self, key)
        self._service.put(f"{key.path}/{PIN}", io.BytesIO(b""), new=False)
        if not self.contains(key):  # removed meanwhile: no entry is to find a pin
            self._service.remove([f"{key.path}/{PIN}"])
            raise absent_entry(self, key)

    def unpin(self, key: EntryKey) -> None:
        """Let an entry be evicted again."""
        self._service.remove([f"{key.path}/{PIN}"])

    # --- listing ---

    def entries(self, function: str | None = None) -> Iterator[EntryInfo]:
        """List the entries, or those of one function, in no order."""
        used = {path: at for path, (_, at) in self._counts().items()}
        entries = self._parts_below(folder_name(function) if function else "")
        for key, parts in entries.items():
            if VALUE not in parts:
                continue
            last_used = max(
                parts[VALUE][1], used.get(key.path, 0.0), self._used.get(key.path, 0.0)
            )
            size = sum(size for size, _ in parts.values())
            yield EntryInfo(key, size, last_used, PIN in parts)

    def _parts_below(self, place: str) -> dict[EntryKey, _Parts]:
        """List what entries consist of, below a folder; note which have files."""
        entries: dict[EntryKey, _Parts] = {}
        for path, about in self._service.find(place).items():
            found = _ENTRY.fullmatch(path)
            if found is not None:
                folder, fingerprint, prefix, rest, name = found.groups()
                key = EntryKey(folder, fingerprint, prefix + rest)
                entries.setdefault(key, {})[name] = about
        self._listed.add(place)
        for key, parts in entries.items():
            if len(parts) > len(parts.keys() & USUAL_FILES):
                self._more[key.path] = tuple(parts.keys() - USUAL_FILES)
        return entries

    # --- code versions and statistics ---

    def write_code(self, key: EntryKey, content: bytes) -> None:
        """Keep a description of the code version of `key`, unless there is one."""
        path = code_path(key)
        if path in self._written_code:
            return
        with contextlib.suppress(LeftOut):
            self._prepare()
            self._service.put(path, io.BytesIO(content), new=True)
            self._written_code.add(path)

    def read_code(self, key: EntryKey) -> bytes | None:
        """Return the description of the code version of `key`, or None."""
        return self._read(code_path(key))

    def add_hits(
        self, hits: Mapping[EntryKey, int], misses: Mapping[str, int] | None = None
    ) -> None:
        """Write this process's counts into a file of their own."""
        self._add_counts(counts_by_path(hits, misses))

    def hits(self) -> dict[str, int]:
        """Return how many times each entry was used, by `EntryKey.path`."""
        return hits_among({path: n for path, (n, _) in self._counts().items()})

    def misses(self) -> dict[str, int]:
        """Return how many calls of each function were computed, by its folder."""
        return misses_among({path: n for path, (n, _) in self._counts().items()})

    def _add_counts(self, counts: Mapping[str, int]) -> None:
        if not counts:
            return
        self._prepare()
        now = time.time()
        mine = {
            path: Uses(count, self._used.get(path, now if count > 0 else 0.0))
            for path, count in counts.items()
        }
        others = self._statistics()
        if len(others) >= MOST_STATS_FILES and self._may_merge():
            statistics.merge(mine, self._take(others))
            self._service.remove([".stats/merging"])
        name = f".stats/{uuid.uuid4().hex}.json"
        self._service.put(name, io.BytesIO(statistics.to_json(mine)), new=False)

    def _counts(self) -> dict[str, Uses]:
        total: dict[str, Uses] = {}
        for path in self._statistics():
            statistics.merge(total, statistics.from_json(self._read(path)))
        return total

    def _statistics(self) -> list[str]:
        found = self._service.find(".stats")
        return [path for path in found if _STATISTICS.fullmatch(path)]

    def _may_merge(self) -> bool:
        """Claim the statistics: two who merged the same files would count double."""
        if self._service.put(".stats/merging", io.BytesIO(), new=True):
            return True
        at = self._service.find(".stats").get(".stats/merging", (0, 0.0))[1]
        if 0 < at < time.time() - _LONGEST_MERGE:
            self._service.remove([".stats/merging"])
        return False

    def _take(self, paths: Iterable[str]) -> dict[str, Uses]:
        """Read some files of counts and remove them."""
        total: dict[str, Uses] = {}
        for path in paths:
            statistics.merge(total, statistics.from_json(self._read(path)))
            self._service.remove([path])
        return total

    def write_document(self, path: str, content: bytes) -> None:
        """Keep a small file, in the place of what is there."""
        self._prepare()
        self._service.put(check_document(path), io.BytesIO(content), new=False)

    def read_document(self, path: str) -> bytes | None:
        """Return a small file, or None if it is absent."""
        return self._read(check_document(path))

    def documents(self, folder: str) -> list[str]:
        """Return the paths of the small files in a folder."""
        with contextlib.suppress(LeftOut):
            return sorted(self._service.find(folder))
        return []

    def remove_document(self, path: str) -> None:
        """Remove a small file; silent if it is absent."""
        self._service.remove([check_document(path)])

    # --- the service ---

    def _get(self, path: str) -> BinaryIO | None:
        try:
            return self._service.get(path)
        except LeftOut:
            return None

    def _read(self, path: str) -> bytes | None:
        file = self._get(path)
        if file is None:
            return None
        with file:
            return file.read()

    def _prepare(self) -> None:
        """Check once that what is there is a store of ours, or make it one."""
        if self._prepared_by == os.getpid():
            return
        about = self._read("store.json")
        if not about:  # none, or another is about to write it
            about = describe_store(self._hash_version)
            self._service.put("store.json", io.BytesIO(about), new=True)
        check_store(about, self.location)
        # Some servers overwrite what they were asked to create.
        if self._service.put("store.json", io.BytesIO(about), new=True):
            self._service.ignores_new = True
        self._sweep()
        self._prepared_by = os.getpid()

    def _sweep(self) -> None:
        """Remove the leases of those who died long ago."""
        now = time.time()
        found = self._service.find(".leases").items()
        self._service.remove(
            path
            for path, (_, at) in found
            if 0 < at < now - _ABANDONED_SECONDS and _LEASE.fullmatch(path)
        )


def _remote_store(
    url: str, options: dict[str, Any], hash_version: int | None, timeout: float
) -> RemoteStore:
    return RemoteStore(url, options, hash_version=hash_version, timeout=timeout)
