"""Decide which entries leave a store that is over its limits.

`to_evict` and `dead_versions` are pure: they get a listing and return what leaves, or
leaves first; nothing here touches a disk. `budget` tells when to look; `Memory` brings
the two together, and deletion is `Store.delete_many`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeGuard, get_args

from cachekit.stores.names import EntryInfo, EntryKey

Policy = Literal["lru", "cost"]

# This part of a limit may be committed between two scans of a store...
SHARE = 0.1

# ...and is free after one that found the store over its limit.
KEEP = 1 - SHARE

# `EntryInfo.last_used` is exact to an hour: smaller differences mean nothing.
_EXACTNESS = 3600.0

# A code version is dead when another was used so much later: less is two working
# copies in use on one day, or the hour by which its last use may be later than noted.
DEAD_AFTER = 86400 + _EXACTNESS


class Limits(NamedTuple):
    """What a store may hold; None is no limit.

    Attributes
    ----------
    max_bytes : int or None
        Bytes of all entries.
    max_entries : int or None
        Number of entries.
    max_age : float or None
        Seconds since the last use.
    """

    max_bytes: int | None = None
    max_entries: int | None = None
    max_age: float | None = None


class Candidate(NamedTuple):
    """What decides whether an entry leaves.

    Attributes
    ----------
    key : EntryKey
        Its name.
    size : int
        Bytes of all its files.
    last_used : float
        Seconds since 1970, exact to an hour.
    seconds : float or None
        How long it takes to compute; None, a negative number or NaN if unknown.
    is_pinned : bool
        Whether it is to stay whatever happens.
    is_stale : bool
        Whether it is of a code version that another has taken the place of.
    """

    key: EntryKey
    size: int
    last_used: float
    seconds: float | None = None
    is_pinned: bool = False
    is_stale: bool = False


def to_evict(
    candidates: Iterable[Candidate],
    limits: Limits,
    *,
    policy: Policy = "lru",
    now: float,
    keep: float = 1.0,
) -> list[EntryKey]:
    """Choose the entries that leave, in the order in which to remove them.

    Expired ones leave always. If the rest is over a limit, entries leave until bytes
    and entries are within `keep` times their limits, and no more than that: first
    those too large to stay beside the pinned ones, then stale ones, then as `policy`
    says. Ties are broken by the key, so that processes that evict at the same time
    choose the same entries.

    Parameters
    ----------
    candidates : iterable of Candidate
        Every entry of the store. Pinned ones count, and stay: if they alone are over
        a limit, all others leave.
    limits : Limits
        What the store may hold.
    policy : {"lru", "cost"}, default "lru"
        Which entries leave first: those not used for longest, or those that save
        least: seconds to compute, per byte, per hour since the last use. That is the
        profit of LNC-R [1]_ with its rate of use taken from the last one. One whose
        seconds are unknown counts as the median of the others.
    now : float
        Seconds since 1970.
    keep : float, default 1
        The part of each limit down to which entries leave, from 0 to 1; rounded up
        to whole entries and bytes.

    Returns
    -------
    list of EntryKey
        Empty if the store is within its limits.

    Raises
    ------
    ValueError
        If there is no such policy.

    Notes
    -----
    Takes time n log n, and memory for all candidates at once.

    References
    ----------
    .. [1] Scheuermann, Shim and Vingralek (1996), WATCHMAN: a data warehouse
       intelligent cache manager, VLDB, pp. 51-62.
    """
    if policy not in get_args(Policy):
        raise ValueError(f"policy has to be 'lru' or 'cost', not {policy!r}")
    pinned: list[Candidate] = []
    expired: list[Candidate] = []
    fresh: list[Candidate] = []
    for one in candidates:
        is_expired = _age(one, now) >= or_endless(limits.max_age)
        group = pinned if one.is_pinned else expired if is_expired else fresh
        group.append(one)

    leaving = [one.key for one in sorted(expired, key=_by_last_use)]
    pinned_size = sum(one.size for one in pinned)
    size = pinned_size + sum(one.size for one in fresh)
    count = len(pinned) + len(fresh)
    most_bytes, most_entries = _goal(limits, size, count, keep)
    order = _in_order(fresh, policy, now, room=most_bytes - pinned_size)
    while size > most_bytes or count > most_entries:
        first = next(order, None)
        if first is None:  # all that is left is pinned
            break
        leaving.append(first.key)
        size -= first.size
        count -= 1
    return leaving


def dead_versions(entries: Iterable[EntryInfo]) -> set[tuple[str, str]]:
    """Find the code versions that another has taken the place of.

    Parameters
    ----------
    entries : iterable of EntryInfo
        Every entry of the store.

    Returns
    -------
    set of tuple of str
        Function and fingerprint of each version that was not used any more when, for
        a day or longer, another version of the same function was. Versions in use
        side by side, as in two working copies, are all alive; so is one that nobody
        has used for long, if none came after it.
    """
    used: dict[tuple[str, str], float] = {}
    latest: dict[str, float] = {}
    for key, _, last_used, _ in entries:
        version = key.function, key.fingerprint
        used[version] = max(last_used, used.get(version, -math.inf))
    for (function, _), last_used in used.items():
        latest[function] = max(last_used, latest.get(function, -math.inf))
    return {
        version
        for version, last_used in used.items()
        if latest[version[0]] - last_used > DEAD_AFTER
    }


def or_endless(limit: float | None) -> float:
    """Return a limit as a number; no limit is infinity."""
    return math.inf if limit is None else limit


class _Ranked(NamedTuple):
    """Compared from the left: the least leaves first."""

    worth: float
    last_used: float
    key: EntryKey
    size: int


def _goal(limits: Limits, size: int, count: int, keep: float) -> tuple[float, float]:
    """Return how many bytes and entries may stay."""
    most = or_endless(limits.max_bytes), or_endless(limits.max_entries)
    if size <= most[0] and count <= most[1]:
        return most
    # Rounded up: 0.9 of one entry is that entry, not an empty store.
    return _part(most[0], keep), _part(most[1], keep)


def _part(limit: float, keep: float) -> float:
    return limit if limit == math.inf else min(limit, math.ceil(keep * limit))


def _age(one: Candidate, now: float) -> float:
    # Where another clock is ahead, the last use may be yet to come.
    return max(0.0, now - one.last_used)


def _by_last_use(one: Candidate) -> tuple[float, EntryKey]:
    return one.last_used, one.key


def _in_order(
    candidates: Sequence[Candidate], policy: Policy, now: float, *, room: float
) -> Iterator[_Ranked]:
    """Give the first to leave first; none above `room` bytes can stay."""
    worth = _profit_at(now, candidates) if policy == "cost" else _last_use
    too_large: list[_Ranked] = []
    stale: list[_Ranked] = []
    current: list[_Ranked] = []
    for one in candidates:
        group = too_large if one.size > room else stale if one.is_stale else current
        group.append(_Ranked(worth(one), one.last_used, one.key, one.size))
    for group in (too_large, stale, current):
        # Few of many leave: if 10**5 of 10**6, a sort took 5 s and this takes 2.
        heapq.heapify(group)
        while group:
            yield heapq.heappop(group)


def _last_use(one: Candidate) -> float:
    return one.last_used


def _profit_at(
    now: float, candidates: Sequence[Candidate]
) -> Callable[[Candidate], float]:
    known = sorted(one.seconds for one in candidates if _is_known(one.seconds))
    median = known[len(known) // 2] if known else 1.0

    def profit(one: Candidate) -> float:
        seconds = one.seconds if _is_known(one.seconds) else median
        # Without the hour, a use a second ago would count 3600 times as much as one
        # that is noted as an hour ago, and may have been at the same time.
        return seconds / (max(one.size, 1) * (_age(one, now) + _EXACTNESS))

    return profit


def _is_known(seconds: float | None) -> TypeGuard[float]:
    return seconds is not None and 0 <= seconds < math.inf
