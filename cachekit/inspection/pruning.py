"""Choose the entries that leave a store, and why, when somebody asks for that.

`to_prune` chooses and changes nothing; `prune` removes what was chosen. What leaves by
itself, when a store is over its limits, is evicted: see `cachekit.stores.eviction`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cachekit.errors import EntryNotFound
from cachekit.inspection.choosing import newest_versions
from cachekit.inspection.records import (
    SAMPLES,
    folders_named,
    function_names,
    read_many,
    read_record,
)
from cachekit.memoization.accepting import read_acceptances
from cachekit.stores import EntryInfo, EntryKey, Store
from cachekit.stores.eviction import Candidate, Limits, or_endless, to_evict

Reason = Literal["stale", "unused", "expired", "large", "room", "asked"]


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """What leaves: an entry to which any of these applies, and that is not pinned.

    Attributes
    ----------
    stale : bool
        Whether entries leave that are of a version of their function's code other than
        the one used last, as processes tell when they end, or after ten seconds. What
        the code reads counts as code: a function that was made with other values in
        it has another version.
    older_than : float or None
        Seconds since the last use, which is exact to an hour.
    expired : float or None
        Seconds since the call began, as the `expires` of a function has them. An entry
        does not say when it expires: that is known to the decorated function alone.
    larger_than : int or None
        Bytes of one entry.
    down_to : int or None
        Bytes that may stay, of all entries that are looked at: those that were not used
        for longest leave until that is so.
    function : str or None
        Only entries of this function, which may go by the end of its name; without any
        other criterion, all of them.
    """

    stale: bool = False
    older_than: float | None = None
    expired: float | None = None
    larger_than: int | None = None
    down_to: int | None = None
    function: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said, so that nothing is meant."""
        return self == Criteria()


@dataclass(frozen=True)
class Leaving:
    """An entry that leaves.

    Attributes
    ----------
    key : EntryKey
        What names it.
    size : int
        Bytes on the store.
    last_used : float
        Seconds since 1970.
    reason : str
        The first that applies: ``stale``, ``unused``, ``large``, ``expired``, ``room``,
        or ``asked`` if the function alone was named.
    """

    key: EntryKey
    size: int
    last_used: float
    reason: Reason


@dataclass(frozen=True)
class PrunedFunction:
    """What leaves of one function, for one reason.

    Attributes
    ----------
    function : str
        ``module.qualname``.
    reason : str
        As in `Leaving`.
    calls : int
        Number of entries.
    size : int
        Bytes of them.
    last_used : float
        Seconds since 1970, of the one used last.
    """

    function: str
    reason: Reason
    calls: int
    size: int
    last_used: float


def to_prune(
    store: Store, criteria: Criteria, *, now: float | None = None
) -> list[Leaving]:
    """Choose the entries that leave; pinned ones stay.

    Parameters
    ----------
    store : Store
        Where to look.
    criteria : Criteria
        What leaves.
    now : float, optional
        Seconds since 1970.

    Returns
    -------
    list of Leaving
        Nothing is removed yet: `prune` does that.

    Raises
    ------
    EntryNotFound
        If there is no function of that name, or it is the end of several.
    """
    if criteria.is_empty:
        return []
    now = time.time() if now is None else now
    listed = _entries_of(store, criteria.function)
    newest = {}
    if criteria.stale:
        newest = newest_versions(listed, read_acceptances(store))
    reasons: dict[EntryKey, Reason] = {}
    undecided = []
    for info in listed:
        reason = None if info.is_pinned else _reason(info, criteria, newest, now)
        if reason is not None:
            reasons[info.key] = reason
        elif not info.is_pinned:
            undecided.append(info.key)
    if criteria.expired is not None:
        expired = _expired(store, undecided, now - criteria.expired)
        reasons.update(dict.fromkeys(expired, "expired"))
    if criteria.down_to is not None:
        rest = [info for info in listed if info.key not in reasons]
        no_room = _for_room(rest, criteria.down_to, now)
        reasons.update(dict.fromkeys(no_room, "room"))
    facts = {info.key: info for info in listed if info.key in reasons}
    return [
        Leaving(key, facts[key].size, facts[key].last_used, reason)
        for key, reason in reasons.items()
    ]


def prune(store: Store, leaving: Sequence[Leaving]) -> int:
    """Remove entries that were chosen; return how many bytes that freed.

    The code of a version stays described, also when no entry of it is left.

    Parameters
    ----------
    store : Store
        Where they are.
    leaving : sequence of Leaving
        What `to_prune` has chosen.

    Returns
    -------
    int
        Bytes freed.
    """
    hits = store.hits()
    store.delete_many(one.key for one in leaving)
    gone = {one.key: -hits.get(one.key.path, 0) for one in leaving}
    store.add_hits({key: count for key, count in gone.items() if count})
    return sum(one.size for one in leaving)


def sum_up_pruned(store: Store, leaving: Iterable[Leaving]) -> list[PrunedFunction]:
    """Sum up what leaves by function and reason, the most bytes first.

    To be called before it is removed: the names of functions are in the records.

    Parameters
    ----------
    store : Store
        Where they are still.
    leaving : iterable of Leaving
        What `to_prune` has chosen.

    Returns
    -------
    list of PrunedFunction
        One for each function and reason.
    """
    groups: dict[tuple[str, Reason], list[Leaving]] = {}
    for one in leaving:
        groups.setdefault((one.key.function, one.reason), []).append(one)
    names = function_names(
        store, {folder: _keys(group) for (folder, _), group in groups.items()}
    )
    reports = [
        PrunedFunction(
            function=names[folder],
            reason=reason,
            calls=len(group),
            size=sum(one.size for one in group),
            last_used=max(one.last_used for one in group),
        )
        for (folder, reason), group in groups.items()
    ]
    return sorted(reports, key=lambda report: (-report.size, report.function))


# --- which function ---


def _entries_of(store: Store, function: str | None) -> list[EntryInfo]:
    if function is None:
        return list(store.entries())
    whole = list(store.entries(function))
    if whole:
        return whole
    groups: dict[str, list[EntryInfo]] = {}
    for info in store.entries():
        groups.setdefault(info.key.function, []).append(info)
    names = function_names(store, {name: _keys(one) for name, one in groups.items()})
    wanted = folders_named(names, function, store)
    if not wanted:
        raise EntryNotFound(f"{store.location} has no function named {function!r}")
    return [info for folder in wanted for info in groups[folder]]


def _keys(some: Sequence[EntryInfo | Leaving]) -> list[EntryKey]:
    """Return the keys of a few: one that has a record tells the function's name."""
    return [one.key for one in some[:SAMPLES]]


# --- which entries ---


def _reason(
    info: EntryInfo, criteria: Criteria, newest: dict[str, str], now: float
) -> Reason | None:
    """Return why an entry leaves, as far as that is known without its record."""
    key = info.key
    if newest.get(key.function, key.fingerprint) != key.fingerprint:
        return "stale"
    if now - info.last_used > or_endless(criteria.older_than):
        return "unused"
    if info.size > or_endless(criteria.larger_than):
        return "large"
    if criteria == Criteria(function=criteria.function):
        return "asked"
    return None


def _expired(store: Store, keys: Sequence[EntryKey], since: float) -> list[EntryKey]:
    """Return the entries whose calls began at some time or before.

    Where there is no record nobody knows, and no function with `expires` uses it.
    """
    records = read_many(store, keys, read_record)
    return [
        key
        for key, record in zip(keys, records, strict=True)
        if record is not None and record.began <= since
    ]


def _for_room(rest: Iterable[EntryInfo], down_to: int, now: float) -> list[EntryKey]:
    """Choose what leaves until the rest is small enough."""
    candidates = (
        Candidate(info.key, info.size, info.last_used, is_pinned=info.is_pinned)
        for info in rest
    )
    return to_evict(candidates, Limits(max_bytes=down_to), now=now)
