"""The entries of one function: looked up, waited for, committed.

What goes wrong with the cache in here becomes a `CacheWarning` and costs time; what
goes wrong in the user's function does not happen in here.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cachekit.errors import (
    CacheMiss,
    ContainerError,
    StoreError,
    UnsupportedContainer,
    warn,
)
from cachekit.hashing import CodeVersion
from cachekit.memoization import lineage, mapped
from cachekit.memoization.artifacts import reading_from
from cachekit.memoization.main_names import MainNames
from cachekit.memoization.options import Policies
from cachekit.memoization.repositories import commit_of
from cachekit.memoization.running import Running
from cachekit.memoization.tier import (
    MemoryTier,
    clear_everywhere,
    drop_everywhere,
)
from cachekit.memoization.verbosity import logger_for
from cachekit.serialization import Label, Seal, map_value, read_value, write_value_to
from cachekit.stores import EntryKey, Staging, Store, Turn
from cachekit.stores.base import RECORD

if TYPE_CHECKING:
    from cachekit.memoization.memory import Memory

# What a look-up returns, so that a cached None is a hit too: the value in a tuple.
Hit = tuple[Any]


class Entries:
    """The entries of one function.

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
    source : str
        The file that the function's code is in.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        store: Store,
        policies: Policies,
        source: str,
    ) -> None:
        self.name = name
        self.memory = memory
        self.store = store
        self.policies = policies
        self.source = source
        self._needs_facts = not (policies.is_valid is None and policies.max_age is None)
        self._tier: MemoryTier | None = None
        if policies.memory_tier:
            self._tier = MemoryTier(policies.memory_tier, store.location)
        # What is mapped may change once its signature was checked.
        self._maps = policies.mmap_mode is not None and memory.signing_key is None
        self._described: set[str] = set()
        self._log = logger_for(policies.verbose)

    # --- look up ---

    def look_up(self, key: EntryKey) -> Hit | None:
        """Return the value of an entry; None if there is none that can be used."""
        since = self._usable_since(key)
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
        since = self._usable_since(key)
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
            self.memory.counter.miss(self.name, seconds)
        return hit

    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry that can be used, without reading it."""
        try:
            if not self.store.contains(key):
                return False
        except (OSError, StoreError) as error:
            self.complain("could not be looked up", error)
            return False
        return self._usable_since(key) is not None

    def note_hit(self, key: EntryKey) -> None:
        """Count a use of an entry that was not opened for it."""
        self.memory.counter.hit(key)
        with contextlib.suppress(OSError, StoreError):
            self.store.note_use(key)

    def facts(self, key: EntryKey) -> lineage.Record | None:
        """Return the record of an entry; None if it is gone or makes no sense."""
        try:
            content = self.store.read(key, "record.json")
            return None if content is None else lineage.Record.from_json(content)
        except (OSError, StoreError, ValueError):
            return None

    def _read(self, key: EntryKey, since: str) -> Hit | None:
        tier = self._tier
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
        if self.policies.verbose > 0:
            self._log.debug("loaded %s, %s", self.name, key.digest)
        if tier is not None:
            record = self.facts(key)
            if record is not None and not record.files:  # which may be evicted
                tier.put(key, hit[0], since, drops=drops)
        return hit

    def open(self, key: EntryKey) -> Hit | None:
        """Return the value of an entry, whatever its age; None if it is absent."""
        if self._maps:
            path = self.store.locate(key)
            if path is not None:
                return self._map(path, key)
        file = self.store.open(key)
        if file is None:
            return None
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
            record = lineage.Record.from_json(Path(path).with_name(RECORD).read_bytes())
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
        return MainNames(functools.partial(self._script_of, key))

    def _script_of(self, key: EntryKey) -> str | None:
        record = self.facts(key)
        return None if record is None else record.main

    def seal(self, key: EntryKey) -> Seal | Label:
        """Return what the value of an entry is bound to it by."""
        secret, entry = self.memory.signing_key, key.digest.encode()
        return Label(entry) if secret is None else Seal(secret, entry)

    def _usable_since(self, key: EntryKey) -> str | None:
        """Return when an entry began that is not expired, and valid to who is asked.

        None if it is not to be used. Where nobody asks, nothing is read.
        """
        if not self._needs_facts:
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

    # --- one at a time ---

    def turn(self, key: EntryKey) -> Turn[Hit]:
        """Wait for whoever computes this call already; else it is our turn."""
        if self.policies.on_conflict == "compute" or self.store.is_read_only:
            return Turn(None)
        look_up = functools.partial(self.look_again, key)
        timeout = self.policies.conflict_timeout
        return self.store.flights.turn(key.lease, look_up, timeout=timeout)

    def check_may_compute(self, key: EntryKey) -> None:
        """Raise `CacheMiss` if the memory only answers what it has."""
        if self.memory.only_hits:
            raise CacheMiss(
                f"{self.name}() has no stored result for these arguments at "
                f"{self.store.location}, and computes none while only_hits is set "
                f"(entry {key.path})"
            )

    def is_new_code(self, key: EntryKey) -> bool:
        """Tell whether this code version was not described yet."""
        return key.fingerprint not in self._described

    # --- commit ---

    def commit(
        self, call: Running, value: object, seconds: float, *, over: bool = False
    ) -> Hit | None:
        """Store a result.

        Parameters
        ----------
        call : Running
            The call.
        value : object
            What it returned.
        seconds : float
            What it took.
        over : bool, default False
            Whether to replace what is there.

        Returns
        -------
        Hit or None
            What a hit returns from now on, where that differs from `value`: arrays
            that are mapped, files that have moved.
        """
        self._log.info("computed %s in %.3g s", self.name, seconds)
        self.memory.counter.miss(self.name, seconds)
        if self.store.is_read_only:
            return None
        size, drops = 0, 0 if self._tier is None else self._tier.drops
        try:
            if not self._is_wanted(call, value, seconds):
                return None
            size = self._store(call, value, seconds, over=over)
        except Exception as error:  # pickling runs the value's code
            if self.policies.on_error == "raise":
                raise
            self.complain("could not be stored", error)
            return None
        finally:
            call.size = size
            call.end(is_stored=size > 0)
        if over:
            drop_everywhere(self.store.location, call.key.entry)
        elif self._tier is not None and not self._maps and call.files is None:
            since = lineage.timestamp(call.started) if self._needs_facts else ""
            self._tier.put(call.key.entry, value, since, drops=drops)
        return self._as_stored(call)

    def _as_stored(self, call: Running) -> Hit | None:
        """Return what a hit returns, if that is another object than was stored."""
        key = call.key.entry
        try:
            if call.has_moved:
                hit = self.open(key)
                if hit is not None:
                    call.settle()
                return hit
            is_mapped = self._maps and self.store.locate(key) is not None
            return self.open(key) if is_mapped else None
        except (ContainerError, OSError, StoreError) as error:
            self.complain("was stored, but could not be read back", error)
            return None

    def _is_wanted(self, call: Running, value: object, seconds: float) -> bool:
        """Tell whether a result is to be stored."""
        changed = call.changed(value)
        if changed:
            names = ", ".join(changed)
            warn(
                f"a result of {self.name}() is not stored, since the call changed "
                f"its argument {names}, which a hit would not do: change a copy, or "
                f"leave the argument out of the key with ignore=[...]"
            )
            return False
        cache_if = self.policies.cache_if
        return cache_if is None or bool(cache_if(value, seconds))

    def _store(
        self, call: Running, value: object, seconds: float, *, over: bool
    ) -> int:
        key = call.key.entry
        staging = call.begin()
        clock = time.perf_counter()
        size = self._write(staging, call, value)
        if call.files is not None:  # also those that the value was found to name
            call.files.add_to(staging)
        self.write_record(staging, call, value, seconds, clock, size)
        is_there = not over and (
            staging.commit() or self._usable_since(key) is not None
        )
        if not is_there:
            staging.replace()
        return size

    def _write(self, staging: Staging, call: Running, value: object) -> int:
        codec, seal = self.policies.codec, self.seal(call.key.entry)
        with call.storing(signed=self.memory.signing_key is not None) as written:
            size = write_value_to(
                staging, "value", value, codec, seal, can_be_mapped=self._maps
            )
            written.check(value)
        return size

    def write_record(
        self,
        staging: Staging,
        call: Running,
        value: object,
        seconds: float,
        clock: float,
        size: int,
    ) -> None:
        """Write what is known of a call beside its value."""
        key = call.key.entry
        whole, items, arrays = lineage.value_digests(value)
        record = lineage.Record(
            function=self.name,
            fingerprint=key.fingerprint,
            key=key.digest,
            arguments=call.facts,
            started=lineage.timestamp(call.started),
            seconds_computing=round(seconds, 6),
            seconds_storing=round(time.perf_counter() - clock, 6),
            value_bytes=size,
            value=whole,
            items=items,
            arrays=arrays,
            parents=call.parents(),
            children=[child.path for child in call.children],
            files={} if call.files is None else call.files.names(),
            git=commit_of(self.source, patience=seconds / 10),
            **lineage.environment(),
        )
        staging.write("record.json", record.to_json())
        if call.code is not None:
            self._describe_code(key, call.code)

    def _describe_code(self, key: EntryKey, code: CodeVersion) -> None:
        if code.fingerprint != key.fingerprint:  # edited between two steps
            return
        about = {"function": self.name, **code._asdict()}
        self.store.write_code(key, (json.dumps(about, indent=1) + "\n").encode())
        self._described.add(key.fingerprint)

    def keep_small(self, call: Running) -> None:
        """Have the store stay within its limits, once a call was stored."""
        try:
            if call.size > 0:
                self.memory.after_commit(call.whole_size)
        except (OSError, StoreError) as error:
            self.complain("was stored, but its store could not be kept small", error)

    def put(self, call: Running, value: object) -> None:
        """Store a result that was not computed here; raise what goes wrong.

        Raises
        ------
        StoreError, OSError
            If it cannot be stored.
        Exception
            Whatever the value's own pickling raises.
        """
        try:
            call.size = self._store(call, value, 0.0, over=True)
        finally:
            call.end(is_stored=call.size > 0)
            drop_everywhere(self.store.location, call.key.entry)

    # --- remove ---

    def forget(self, key: EntryKey) -> None:
        """Remove an entry."""
        try:
            self.store.delete(key)
        finally:
            drop_everywhere(self.store.location, key)

    def clear(self, *, tell: bool) -> None:
        """Remove all entries of the function, of all versions of its code."""
        if tell:
            self._log.info("clearing the cache of %s", self.name)
        try:
            self.store.clear(self.name)
        finally:
            clear_everywhere(self.store.location)
        self._described.clear()

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
