"""Keep a store within its limits: after commits, and when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator

from cachekit.errors import StoreError
from cachekit.memoization.lineage import seconds_in
from cachekit.stores import EntryKey, Store
from cachekit.stores.budget import Budget
from cachekit.stores.eviction import (
    KEEP,
    Candidate,
    Limits,
    Policy,
    dead_versions,
    to_evict,
)
from cachekit.stores.names import RECORD


class Upkeep:
    """Evicts by itself what is too much, looking at the store only now and then.

    Parameters
    ----------
    store : Store
        What is kept within limits.
    limits : Limits
        What it may hold.
    policy : {"lru", "cost"}
        Whether what was not used for longest leaves first, or what is cheapest to
        compute again for its size.
    """

    def __init__(self, store: Store, limits: Limits, policy: Policy) -> None:
        self._store = store
        self._limits = limits
        self._policy: Policy = policy
        self._budget = Budget(limits)

    def after_commit(self, size: int) -> None:
        """Count an entry of so many bytes, and evict if it is time to look.

        Raises
        ------
        OSError, StoreError
            If the store cannot be listed, or entries not removed.
        """
        if self._budget.add(size, now=time.time()):
            left = evict(self._store, self._limits, policy=self._policy, keep=KEEP)
            self._budget.set(*left, now=time.time())


def evict(
    store: Store, limits: Limits, *, policy: Policy = "lru", keep: float = 1.0
) -> tuple[int, int]:
    """Remove entries until a store is within its limits.

    Parameters
    ----------
    store : Store
        Where to remove entries; readers of theirs go on reading.
    limits : Limits
        What the store may hold.
    policy : {"lru", "cost"}, default "lru"
        Which entries leave first.
    keep : float, default 1
        The part of the limits down to which entries leave.

    Returns
    -------
    size, entries : int
        What is left, as far as this process knows.
    """
    found = list(_candidates(store, policy))
    leaving = to_evict(found, limits, policy=policy, now=time.time(), keep=keep)
    store.delete_many(leaving)
    gone = set(leaving)
    left = [one.size for one in found if one.key not in gone]
    return sum(left), len(left)


def _candidates(store: Store, policy: Policy) -> Iterator[Candidate]:
    listed = list(store.entries())
    dead = dead_versions(listed)
    for key, size, last_used, is_pinned in listed:
        seconds = _seconds_of(store, key) if policy == "cost" else None
        is_stale = (key.function, key.fingerprint) in dead
        yield Candidate(key, size, last_used, seconds, is_pinned, is_stale)


def _seconds_of(store: Store, key: EntryKey) -> float | None:
    """Return how long an entry took to compute, from its record."""
    try:
        return seconds_in(store.read(key, RECORD))
    except (OSError, StoreError):
        return None
