"""Decide which entries leave a store that is over its limits, and when to look.

`to_evict` is pure: it gets a listing and returns keys; nothing here touches a disk.
`Budget` counts a process's own commits, so that few of them need a listing.
`Memory` brings the two together; deletion is `Store.delete`.
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Literal, NamedTuple, get_args

from cachekit.stores.base import EntryKey

Policy = Literal["lru", "cost"]

# This part of a limit may be committed between two scans of a store...
SHARE = 0.1

# ...and is free after one that found the store over its limit.
KEEP = 1 - SHARE

# `EntryInfo.last_used` is exact to an hour: smaller differences mean nothing.
_EXACTNESS = 3600.0

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
        Whether the code that made it is no longer there.
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


def _is_amount(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf


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
    present = list(candidates)
    expired = [one for one in present if _is_expired(one, limits.max_age, now)]
    leaving = [one.key for one in sorted(expired, key=_by_last_use)]
    size = sum(one.size for one in present) - sum(one.size for one in expired)
    count = len(present) - len(expired)
    if size <= _or_endless(limits.max_bytes) and count <= _or_endless(
        limits.max_entries
    ):
        return leaving

    most_bytes = _part(limits.max_bytes, keep)
    most_entries = _part(limits.max_entries, keep)
    room = most_bytes - sum(one.size for one in present if one.is_pinned)
    fresh = [
        one
        for one in present
        if not one.is_pinned and not _is_expired(one, limits.max_age, now)
    ]
    worth = _worth_by(policy, fresh, now)
    order = sorted(
        fresh,
        key=lambda one: (
            one.size <= room,
            not one.is_stale,
            worth(one),
            one.last_used,
            one.key,
        ),
    )
    for one in order:
        if size <= most_bytes and count <= most_entries:
            break
        leaving.append(one.key)
        size -= one.size
        count -= 1
    return leaving


def _is_expired(one: Candidate, max_age: float | None, now: float) -> bool:
    # A clock that is ahead makes a use of tomorrow; its age is 0.
    return (
        max_age is not None
        and not one.is_pinned
        and max(0.0, now - one.last_used) >= max_age
    )


def _by_last_use(one: Candidate) -> tuple[float, EntryKey]:
    return one.last_used, one.key


def _or_endless(limit: float | None) -> float:
    return math.inf if limit is None else limit


def _part(limit: int | None, keep: float) -> float:
    # Rounded up: 0.9 of one entry is that entry, not an empty store.
    return math.inf if limit is None else min(limit, math.ceil(keep * limit))


def _worth_by(
    policy: Policy, candidates: Sequence[Candidate], now: float
) -> Callable[[Candidate], float]:
    """Return the function by which those that are worth least leave first."""
    if policy == "lru":
        return lambda one: one.last_used
    known = sorted(one.seconds for one in candidates if _is_known(one.seconds))
    median = known[len(known) // 2] if known else 1.0

    def profit(one: Candidate) -> float:
        seconds = one.seconds if _is_known(one.seconds) else median
        # Without the hour an entry used a second ago would be worth 3600 times as
        # much as one used an hour ago, and both may be as recent.
        age = max(0.0, now - one.last_used) + _EXACTNESS
        return seconds / (max(one.size, 1) * age)

    return profit
