"""Count the calls of this process, and hand the counts to the store.

At the end of the process, and every ten seconds while it calls, so that a process that
is killed loses few of them.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple, TypeVar

from cachekit.errors import CacheKitError
from cachekit.memoization.lineage import seconds_in
from cachekit.stores import EntryKey, Store
from cachekit.stores.names import RECORD

T = TypeVar("T")

# Calls are noted, and counted when there are so many.
MOST_RECENT = 1000

# The clock is looked at for one hit of so many: it takes half as long as all the rest.
HITS_PER_LOOK = 8

# Hits are handed to a store on this machine at most so often, while there are calls.
SAVE_SECONDS = 10.0


class Tally(NamedTuple):
    """What a cache did for this process.

    Attributes
    ----------
    hits, misses : int
        Calls answered from the store, and calls computed.
    seconds_saved : float
        What the hits had taken to compute.
    seconds_computed : float
        What the misses took.
    """

    hits: int
    misses: int
    seconds_saved: float
    seconds_computed: float


class CacheInfo(NamedTuple):
    """What a cache did for one function in this process.

    Attributes
    ----------
    hits, misses : int
        Calls answered from the store, and calls computed.
    bytes : int
        Size of all stored results of the function, also of other processes.
    seconds_saved : float
        What the hits had taken to compute.
    """

    hits: int
    misses: int
    bytes: int
    seconds_saved: float


class CallCounter:
    """Counts calls; one for each `Memory`.

    Parameters
    ----------
    clock : callable
        Returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._store: Store | None = None
        self.begin()
        _all_counters.add(self)

    def begin(self) -> None:
        """Begin to count, as a new process does: what was before is its parent's."""
        self._lock = threading.RLock()  # a signal handler may call too
        self._recent: deque[EntryKey] = deque()
        self._computed: deque[tuple[str, float]] = deque()
        self._hits: Counter[EntryKey] = Counter()
        self._unsaved: Counter[EntryKey] = Counter()
        self._misses: Counter[str] = Counter()
        self._unsaved_misses: Counter[str] = Counter()
        self._seconds_computed = 0.0
        self._due = math.inf if self._store is None else self._next()

    def keep_in(self, store: Store) -> None:
        """Hand the hits to a store from time to time, which is not to take long."""
        self._store = store
        self._due = self._next()

    def hit(self, key: EntryKey) -> None:
        """Count a call that was answered from the store."""
        # Appending needs no lock, and takes half the time of counting.
        self._recent.append(key)
        if len(self._recent) % HITS_PER_LOOK == 0:
            self._look()

    def miss(self, function: str, seconds: float) -> None:
        """Count a call that was computed."""
        self._computed.append((function, seconds))
        if len(self._computed) >= MOST_RECENT:
            self._count_recent()
        if self._clock() >= self._due:
            self._save_now()

    def miss_elsewhere(self, function: str, seconds: float) -> None:
        """Count a call that another process has computed, which saves that itself."""
        with self._lock:
            self._misses[function] += 1
            self._seconds_computed += seconds

    def tally(self, store: Store) -> Tally:
        """Sum up, reading from the records what each hit has saved."""
        self._count_recent()
        with self._lock:
            hits = dict(self._hits)
            misses, computed = self._misses.total(), self._seconds_computed
        saved = sum(count * _seconds(store, key) for key, count in hits.items())
        return Tally(sum(hits.values()), misses, saved, computed)

    def info(self, store: Store, function: str) -> CacheInfo:
        """Sum up for one function."""
        self._count_recent()
        with self._lock:
            hits = {key: n for key, n in self._hits.items() if key.function == function}
            misses = self._misses[function]
        saved = sum(count * _seconds(store, key) for key, count in hits.items())
        size = sum(info.size for info in store.entries(function))
        return CacheInfo(sum(hits.values()), misses, size, saved)

    def save(self, store: Store) -> None:
        """Add what was counted since the last time to the store's statistics."""
        self._count_recent()
        with self._lock:
            hits, misses = _taken(self._unsaved), _taken(self._unsaved_misses)
        if hits or misses:
            _add_quietly(store, hits, misses)

    def _look(self) -> None:
        if len(self._recent) >= MOST_RECENT:
            self._count_recent()
        if self._clock() >= self._due:
            self._save_now()

    def _next(self) -> float:
        return self._clock() + SAVE_SECONDS

    def _save_now(self) -> None:
        with self._lock:
            if self._clock() < self._due:  # another thread does it
                return
            self._due = self._next()
        if self._store is not None:
            self.save(self._store)

    def _count_recent(self) -> None:
        # A signal handler in the midst of this may have taken the last one.
        with self._lock, contextlib.suppress(IndexError):
            while self._recent:
                key = self._recent.popleft()
                self._hits[key] += 1
                self._unsaved[key] += 1
            while True:
                function, seconds = self._computed.popleft()
                self._misses[function] += 1
                self._unsaved_misses[function] += 1
                self._seconds_computed += seconds


_all_counters: weakref.WeakSet[CallCounter] = weakref.WeakSet()


def _begin_in_child() -> None:
    for counter in list(_all_counters):
        counter.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


def _taken(counts: Counter[T]) -> Counter[T]:
    """Take all counts out of a counter."""
    taken: Counter[T] = Counter()
    with contextlib.suppress(KeyError):
        while True:  # one by one, for a signal handler may save in the midst of it
            name, count = counts.popitem()
            taken[name] = count
    return taken


def _seconds(store: Store, key: EntryKey) -> float:
    try:
        return seconds_in(store.read(key, RECORD)) or 0.0
    except (OSError, CacheKitError):
        return 0.0


def _add_quietly(
    store: Store, hits: Mapping[EntryKey, int], misses: Mapping[str, int]
) -> None:
    # Statistics of a cache that is read-only or gone are worth no warning.
    try:
        # What is gone, perhaps with its whole store, needs no statistics.
        there = {key: n for key, n in hits.items() if store.contains(key)}
        if there or (misses and store.exists):
            store.add_hits(there, misses)
    except (OSError, CacheKitError):
        return
