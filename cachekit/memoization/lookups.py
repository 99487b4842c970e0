"""Entries of one function, as far as they are read: looked up, opened, mapped.

An entry that is damaged becomes a `CacheWarning` and costs time: it is computed again.
How entries are committed and removed is next door, in `entries`; nothing here knows it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

from cachekit.errors import (
    ContainerError,
    StoreError,
    UnsupportedContainer,
    warn,
)
from cachekit.memoization import lineage, mapped
from cachekit.memoization.artifacts import reading_from
from cachekit.memoization.main_names import MainNames
from cachekit.memoization.options import Policies
from cachekit.memoization.tier import MemoryTier
from cachekit.memoization.verbosity import logger_for
from cachekit.serialization import Label, Seal, map_value, read_plain, read_value
from cachekit.stores import EntryKey, Store
from cachekit.stores.names import RECORD

if TYPE_CHECKING:
    from cachekit.memoization.memory import Memory

# What a look-up returns, so that a cached None is a hit too: the value in a tuple.
Hit = tuple[Any]


class ReadableEntries:
    """The entries of one function, to be read.

    Parameters
    ----------
    name : str
        Of the function, ``module.qualname``.
    memory : Memory
        Where they are kept.
    store : Store
        The memory's.
    policies : Policies
        How they are kept.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        store: Store,
        policies: Policies,
    ) -> None:
        self.name = name
        self.memory = memory
        self.store = store
        self.policies = policies
        self.needs_facts = not (policies.is_valid is None and policies.max_age is None)
        self.tier: MemoryTier | None = None
        if policies.memory_tier:
            self.tier = MemoryTier(policies.memory_tier, store.location)
        # What is mapped may change once its signature was checked.
        self.maps = policies.mmap_mode is not None and memory.signing_key is None
        self.log = logger_for(policies.verbose)

    def look_up(self, key: EntryKey) -> Hit | None:
        """Return the value of an entry; None if there is none that can be used."""
        since = self.usable_since(key) if self.needs_facts else ""
        if since is None:
            return None
        try:
            return self._read(key, since)
        except (ContainerError, IsADirectoryError) as error:
            self.complain("could not be read, and is computed again", error)
            if not isinstance(error, UnsupportedContainer):
                self._drop(key)
            return None
        except (OSError, StoreError) as error:
            self.complain("could not be read, and is computed again", error)
            return None

    def look_again(self, key: EntryKey) -> Hit | None:
        """Look up while another may be computing; what is damaged was told before."""
        since = self.usable_since(key) if self.needs_facts else ""
        if since is None:
            return None
        try:
            return self._read(key, since)
        except (ContainerError, OSError):
            return None
        except StoreError as error:
            self.complain("could not be looked up again", error)
            return None

    def read_computed(self, key: EntryKey, seconds: float) -> Hit | None:
        """Return what a worker has just computed and stored, which is no hit."""
        try:
            hit = self.open(key)
        except (ContainerError, OSError, StoreError) as error:
            self.complain("could not be read, and is computed again", error)
            return None
        if hit is not None:
            self.memory.counter.miss_elsewhere(self.name, seconds)
        return hit

    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry that can be used, without reading it."""
        try:
            if not self.store.contains(key):
                return False
        except (OSError, StoreError) as error:
            self.complain("could not be looked up", error)
            return False
        return self.usable_since(key) is not None

    def use(self, key: EntryKey) -> bool:
        """Tell whether there is an entry that can be used; then it counts as a hit."""
        if self.needs_facts and self.usable_since(key) is None:
            return False
        try:
            is_there = self.store.use(key)
        except (OSError, StoreError) as error:
            self.complain("could not be looked up", error)
            return False
        if is_there:
            self.memory.counter.hit(key)
        return is_there

    def facts(self, key: EntryKey) -> lineage.Record | None:
        """Return the record of an entry; None if it is gone or makes no sense."""
        try:
            content = self.store.read(key, RECORD)
            return None if content is None else lineage.Record.from_json(content)
        except (OSError, StoreError, ValueError):
            return None

    def _read(self, key: EntryKey, since: str) -> Hit | None:
        tier = self.tier
        if tier is not None:
            kept = tier.get(key, since)
            if kept is not None:
                self.memory.counter.hit(key)
                return kept
            drops = tier.drops
        hit = self.open(key)
        if hit is None:
            return None
        self.memory.counter.hit(key)
        if self.policies.verbose > 0:  # else each hit would wait for the logger
            self.log.debug("loaded %s, %s", self.name, key.digest)
        if tier is not None:
            record = self.facts(key)
            if record is not None and not record.files:  # which may be evicted
                tier.put(key, hit[0], since, drops=drops)
        return hit

    def open(self, key: EntryKey) -> Hit | None:
        """Return the value of an entry, whatever its age; None if it is absent."""
        if self.maps:
            path = self.store.locate(key)
            if path is not None:
                return self._map(path, key)
        file = self.store.open(key)
        if file is None:
            return None
        if type(file) is BytesIO:
            hit = read_plain(file.getvalue(), self.seal(key))
            if hit is not None:
                return hit
        with file, reading_from(self.store, key):
            return (self.load(file, key),)

    def _map(self, path: str, key: EntryKey) -> Hit | None:
        """Return the value in a file of this machine, its arrays as maps."""
        mode = self.policies.mmap_mode or "r"
        label = Label(key.digest.encode())
        try:
            file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115  (as stores do)
        except FileNotFoundError:  # removed just now
            return None
        with file, reading_from(self.store, key):
            value = map_value(file, mode, modules=self.modules(key), label=label)
            if mode == "r":
                self._remember_digests(value, key, path, file)
        self.store.note_use(key)
        return (value,)

    def _remember_digests(
        self, value: object, key: EntryKey, path: str, file: BinaryIO
    ) -> None:
        """Note the digests of mapped arrays that the record has, if it is theirs."""
        try:
            # The one beside the value: the other store of two may have a record of
            # another value.
            folder = os.path.dirname(path)  # noqa: PTH120  (`Path` takes ten times as long)
            with open(f"{folder}/{RECORD}", "rb", buffering=0) as record_file:  # noqa: PTH123
                record = lineage.Record.from_json(record_file.read())
            # The value is still there, so it was there when its record was read; and
            # as long as it is open, no other file has its number.
            is_its = os.path.samestat(os.stat(path), os.fstat(file.fileno()))  # noqa: PTH116
        except (OSError, ValueError):
            return
        if is_its and record.key == key.digest:
            mapped.remember(value, record.value, record.items, record.arrays)

    def load(self, file: BinaryIO, key: EntryKey) -> Any:
        """Return the value in an open file."""
        return read_value(file, modules=self.modules(key), seal=self.seal(key))

    def modules(self, key: EntryKey) -> Mapping[str, str]:
        """Return under which names the modules in the value of an entry are found."""
        return MainNames(self.script_of, key)

    def script_of(self, key: EntryKey) -> str | None:
        """Return the name of the script that stored an entry, if it was one."""
        record = self.facts(key)
        return None if record is None else record.main

    def seal(self, key: EntryKey) -> Seal | Label:
        """Return what the value of an entry is bound to it by."""
        secret = self.memory.signing_key
        if secret is None:
            return Label(key.digest.encode())
        return Seal(secret, key.digest.encode())

    def usable_since(self, key: EntryKey) -> str | None:
        """Return when an entry began that is not expired, and valid to who is asked.

        None if it is not to be used. Where nobody asks, nothing is read.
        """
        if not self.needs_facts:
            return ""
        record = self.facts(key)
        if record is None:
            return None
        max_age, is_valid = self.policies.max_age, self.policies.is_valid
        if max_age is not None and time.time() - record.began >= max_age:
            return None
        if is_valid is not None and not is_valid(metadata(record)):
            return None
        return record.started

    def _drop(self, key: EntryKey) -> None:
        if self.store.is_read_only:
            return
        try:
            self.store.drop(key)
        except (OSError, StoreError) as error:
            self.complain("could not be removed", error)

    def complain(self, what: str, error: Exception) -> None:
        """Say that the cache failed, at the line of the user's call."""
        cause: object = error
        if isinstance(error, OSError) and error.strerror:
            # Without the path, which has a new name in it each time: Python then
            # shows the same failure once and not a thousand times.
            cause = f"{error.strerror} in {self.store.location}"
        warn(f"a result of {self.name}() {what}: {cause}")


def metadata(record: lineage.Record) -> dict[str, Any]:
    """Return what joblib's users find in the metadata of a call."""
    return {
        "duration": record.seconds_computing,
        "time": record.began,
        "input_args": {
            name: facts.get("repr", "") for name, facts in record.arguments.items()
        },
    }
