"""When to look at a store for what is too much: few commits need a listing."""

from __future__ import annotations

import os
import threading

from cachekit.stores.eviction import SHARE, Limits, or_endless


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
    return or_endless(limit) * SHARE


def _free(limit: int | None, present: int) -> float:
    """Return what may be added before the next scan."""
    free, share = or_endless(limit) - present, _share(limit)
    # Pinned entries may fill the store up to its limit, or over it: without a least
    # step each commit would have it scanned.
    return min(max(free, share / 100), share) if free >= 0 else share


def _random() -> float:
    """Draw from [0, 1), and leave the numbers of the user's `random` as they are."""
    return int.from_bytes(os.urandom(4)) / 2**32
