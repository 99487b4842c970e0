"""Decide which entries leave a store that is over its limits, and when to look.

`to_evict` and `dead_versions` are pure: they get a listing and return what leaves, or
leaves first; nothing here touches a disk.
`Budget` counts a process's own commits, so that few of them need a listing.
`Memory` brings the two together; deletion is `Store.delete`.
"""

from __future__ import annotations

import heapq
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Literal, NamedTuple, TypeGuard, get_args

from cachekit.stores.base import EntryInfo, EntryKey

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

# joblib reads "10K" as 10 * 1024 bytes; so do we, and "KB" and "KiB" are the same.
_SIZE = re.compile(
    r"(\d{1,18}(?:\.\d{1,18})?)\s*(?:([KMGTP])i?)?B?", re.ASCII | re.IGNORECASE
)
_SIZE_UNITS = {unit: 1024**power for power, unit in enumerate(["", *"KMGTP"])}

_AGE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(s|min|h|d|w)?", re.ASCII)
_AGE_UNITS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}


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


def parse_size(size: float | str) -> int:
    """Read a number of bytes.

    Parameters
    ----------
    size : int, float or str
        Bytes, or a text such as ``"500"``, ``"10K"``, ``"1.5 GB"`` or ``"2GiB"``. The
        units K, M, G, T and P are powers of 1024, as in joblib, also before ``B``.

    Returns
    -------
    int
        Bytes, rounded down.

    Raises
    ------
    ValueError
        If `size` is negative, not finite, or not understood.
    """
    if isinstance(size, str):
        found = _SIZE.fullmatch(size.strip())
        if found:
            unit = _SIZE_UNITS[(found[2] or "").upper()]
            return int(_product(found[1], unit))
    elif _is_amount(size):
        return int(size)
    raise ValueError(
        f"a size has to be a number of bytes, or a text such as '500', '10K', '1.5M', "
        f"'2GiB' or '1T' (units of 1024), not {size!r}"
    )


def parse_age(age: float | str | timedelta) -> float:
    """Read a length of time.

    Parameters
    ----------
    age : float, str or timedelta
        Seconds, or a text such as ``"90s"``, ``"30min"``, ``"12h"``, ``"1.5d"`` or
        ``"2w"``.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    ValueError
        If `age` is negative, not finite, or not understood.
    """
    seconds = age.total_seconds() if isinstance(age, timedelta) else age
    if isinstance(seconds, str):
        found = _AGE.fullmatch(seconds.strip())
        if found:
            return float(_product(found[1], _AGE_UNITS[found[2] or ""]))
    elif _is_amount(seconds):
        return float(seconds)
    raise ValueError(
        f"an age has to be a positive timedelta, a number of seconds, or a text such "
        f"as '90s', '30min', '12h', '7d' or '2w', not {age!r}"
    )


def _is_amount(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value < math.inf


def _product(number: str, unit: int) -> float:
    return float(number) * unit if "." in number else int(number) * unit


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
        is_expired = _age(one, now) >= _or_endless(limits.max_age)
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


def _or_endless(limit: float | None) -> float:
    return math.inf if limit is None else limit


class _Ranked(NamedTuple):
    """Compared from the left: the least leaves first."""

    worth: float
    last_used: float
    key: EntryKey
    size: int


def _goal(limits: Limits, size: int, count: int, keep: float) -> tuple[float, float]:
    """Return how many bytes and entries may stay."""
    most = _or_endless(limits.max_bytes), _or_endless(limits.max_entries)
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


class Budget:
    """Tells at which commits a store is to be scanned, for next to nothing.

    A process knows what it commits, and what the last scan found; not what others
    commit meanwhile. So a scan is due when the own commits would take the store over
    a limit, and at the latest when they come to a tenth of one. The first is due
    sooner, after a random part of that: then many processes, however few commits each
    of them makes, together scan about once for each tenth that they commit. A process
    alone passes a limit by one commit, or a thousandth; a hundred of them, simulated,
    pass it by a third at the worst moment of 50 evictions.

    Safe in threads, and in a process after ``fork``.

    Parameters
    ----------
    limits : Limits
        What the store may hold. With `max_age` a scan is also due when the last one
        is a tenth of that ago.
    scanned_at : float, optional
        Seconds since 1970 of the last scan by any process, if known; else one is
        due at the first commit if there is a `max_age`.
    first : float, optional
        The part of a tenth after which the first scan is due; random by default.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        scanned_at: float | None = None,
        first: float | None = None,
    ) -> None:
        self._limits = limits
        self._scanned_at = scanned_at
        self._start(_random() if first is None else first)

    def add(self, size: int, *, now: float) -> bool:
        """Count a commit, and tell whether to scan the store now.

        The caller that is told so is the only one in this process for the next tenth,
        also if its scan fails.

        Parameters
        ----------
        size : int
            Bytes of the entry.
        now : float
            Seconds since 1970.
        """
        if self._process != os.getpid():
            self._start(_random())
        with self._lock:
            self._bytes_left -= size
            self._entries_left -= 1
            is_over = self._bytes_left < 0 or self._entries_left < 0
            if not is_over and not self._is_long_ago(now):
                return False
            self._allow(
                _share(self._limits.max_bytes), _share(self._limits.max_entries)
            )
            self._scanned_at = now
            return True

    def set(self, size: int, entries: int, *, now: float) -> None:
        """Take over what is in the store after a scan and what was evicted then.

        Parameters
        ----------
        size, entries : int
            Bytes and number of the entries that are left.
        now : float
            Seconds since 1970.
        """
        with self._lock:
            self._allow(
                _free(self._limits.max_bytes, size),
                _free(self._limits.max_entries, entries),
            )
            self._scanned_at = now

    def _start(self, part: float) -> None:
        # Also after a fork: another thread may have held the lock, and the children
        # of a pool are not to scan all at the same commit.
        self._lock = threading.Lock()
        self._allow(
            part * _share(self._limits.max_bytes),
            part * _share(self._limits.max_entries),
        )
        self._process = os.getpid()

    def _allow(self, size: float, entries: float) -> None:
        self._bytes_left = size
        self._entries_left = entries

    def _is_long_ago(self, now: float) -> bool:
        if self._limits.max_age is None:
            return False
        if self._scanned_at is None:
            return True
        # Either way: a clock that was ahead is not to stop the scans.
        return abs(now - self._scanned_at) > _share(self._limits.max_age)


def _share(limit: float | None) -> float:
    return _or_endless(limit) * SHARE


def _free(limit: int | None, present: int) -> float:
    """Return what may be added before the next scan."""
    free, share = _or_endless(limit) - present, _share(limit)
    # Pinned entries may fill the store up to its limit, or over it: without a least
    # step each commit would have it scanned.
    return min(max(free, share / 100), share) if free >= 0 else share


def _random() -> float:
    """Draw from [0, 1), and leave the numbers of the user's `random` as they are."""
    return int.from_bytes(os.urandom(4)) / 2**32
