"""The entries of one function: waited for, committed, removed.

How they are looked up is next door, in `lookups`. What goes wrong with the cache in
here becomes a `CacheWarning` and costs time; what goes wrong in the user's function
does not happen in here.
"""

from __future__ import annotations

import functools
import json
import time
from typing import TYPE_CHECKING

from cachekit.errors import CacheMiss, ContainerError, StoreError, warn
from cachekit.hashing import CodeVersion
from cachekit.memoization import lineage
from cachekit.memoization.lookups import Hit, ReadableEntries
from cachekit.memoization.options import Policies
from cachekit.memoization.repositories import commit_of
from cachekit.memoization.running import Running
from cachekit.memoization.tier import clear_everywhere, drop_everywhere
from cachekit.serialization import write_value_to
from cachekit.stores import EntryKey, Staging, Store, Turn
from cachekit.stores.names import RECORD, VALUE

if TYPE_CHECKING:
    from cachekit.memoization.memory import Memory


class Entries(ReadableEntries):
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
        super().__init__(name, memory, store, policies)
        self.source = source
        self._described: set[str] = set()

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
        self.memory.accepted.look_far()
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
        self.log.info("computed %s in %.3g s", self.name, seconds)
        self.memory.counter.miss(self.name, seconds)
        if self.store.is_read_only:
            return None
        size, drops = 0, 0 if self.tier is None else self.tier.drops
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
        elif self.tier is not None and not self.maps and call.files is None:
            since = lineage.timestamp(call.started) if self.needs_facts else ""
            self.tier.put(call.key.entry, value, since, drops=drops)
        if call.files is None and not self.maps:
            return None
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
            is_mapped = self.maps and self.store.locate(key) is not None
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
        is_there = not over and (staging.commit() or self.usable_since(key) is not None)
        if not is_there:
            staging.replace()
        return size

    def _write(self, staging: Staging, call: Running, value: object) -> int:
        codec, seal = self.policies.codec, self.seal(call.key.entry)
        with call.storing(signed=self.memory.signing_key is not None) as written:
            size = write_value_to(
                staging, VALUE, value, codec, seal, can_be_mapped=self.maps
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
            warnings=call.warnings,
            git=commit_of(self.source, patience=seconds / 10),
            **lineage.environment(),
        )
        staging.write(RECORD, record.to_json())
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
            self.log.info("clearing the cache of %s", self.name)
        try:
            self.store.clear(self.name)
        finally:
            clear_everywhere(self.store.location)
        self._described.clear()
