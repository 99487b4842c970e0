"""Choose entries by what a person asks for, and put them in order."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from cachekit.memoization.accepting import (
    Acceptance,
    read_acceptances,
    resolved_versions,
)
from cachekit.stores import EntryKey, Store
from cachekit.stores.names import folder_name

if TYPE_CHECKING:
    from cachekit.inspection.reports import EntryReport

# What `entries` and `functions` can be sorted by.
Order = Literal["used", "size", "calls", "hits", "saved", "name"]


class _Listed(Protocol):
    """What is known of an entry without its record."""

    @property
    def key(self) -> EntryKey: ...
    @property
    def size(self) -> int: ...
    @property
    def last_used(self) -> float: ...


Listed = TypeVar("Listed", bound=_Listed)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What entries have to be like; all of it.

    Attributes
    ----------
    older_than, newer_than : float or None
        Seconds since the last use, which is exact to an hour.
    larger_than, smaller_than : int or None
        Bytes.
    stale : bool
        Whether only entries are wanted that are of a version of their function's code
        other than the one used last.
    matching : str or None
        What the short form of the arguments contains, as in ``name='a'``; upper and
        lower case are the same. Needs the record of each entry.
    """

    older_than: float | None = None
    newer_than: float | None = None
    larger_than: int | None = None
    smaller_than: int | None = None
    stale: bool = False
    matching: str | None = None

    def without_records(
        self,
        listed: Iterable[Listed],
        store: Store,
        *,
        now: float | None = None,
    ) -> Iterable[Listed]:
        """Choose by all but the arguments; the store tells what counts as what.

        Parameters
        ----------
        listed : iterable
            Entries, as `Store.entries` or `entries` lists them.
        store : Store
            Where they are.
        now : float, optional
            Seconds since 1970; by default the clock's.

        Returns
        -------
        iterable
            Those that are chosen.
        """
        if replace(self, matching=None) == NO_CONDITIONS:
            return listed
        return self._chosen(listed, store, time.time() if now is None else now)

    def _chosen(
        self, listed: Iterable[Listed], store: Store, now: float
    ) -> Iterator[Listed]:
        newest: dict[str, str] = {}
        if self.stale:
            listed = list(listed)
            newest = newest_versions(listed, read_acceptances(store))
        before, since = now - (self.older_than or 0), now - _or_endless(self.newer_than)
        least = -1 if self.larger_than is None else self.larger_than
        most = _or_endless(self.smaller_than)
        for one in listed:
            key = one.key
            if (
                (self.older_than is None or one.last_used < before)
                and one.last_used > since
                and least < one.size < most
                and newest.get(key.function) != key.fingerprint
            ):
                yield one

    def by_records(self, listed: Iterable[EntryReport]) -> Iterator[EntryReport]:
        """Choose by the arguments.

        Parameters
        ----------
        listed : iterable of EntryReport
            Entries; their records are read.

        Yields
        ------
        EntryReport
            One that is chosen.
        """
        text = (self.matching or "").casefold()
        for entry in listed:
            if not text or text in entry.call.casefold():
                yield entry


NO_CONDITIONS = Conditions()


def newest_versions(
    listed: Iterable[_Listed], accepted: Sequence[Acceptance] = ()
) -> dict[str, str]:
    """Return the code version of each function that was used last.

    Parameters
    ----------
    listed : iterable of EntryInfo
        Every entry of these functions.
    accepted : sequence of Acceptance, optional
        Code that counts as another version: it is that one which was used.

    Returns
    -------
    dict of str to str
        Fingerprints, by the folder names of functions.
    """
    newest: dict[str, tuple[float, str]] = {}
    for one in listed:
        use = one.last_used, one.key.fingerprint
        newest[one.key.function] = max(use, newest.get(one.key.function, use))
    found = {function: fingerprint for function, (_, fingerprint) in newest.items()}
    for function in {folder_name(one.function) for one in accepted} & found.keys():
        counts_as = resolved_versions(accepted, function)
        found[function] = counts_as.get(found[function], found[function])
    return found


def in_order(
    entries: Iterable[EntryReport], order: Order, limit: int | None = None
) -> list[EntryReport]:
    """Put entries in order, the most first, names from A to Z; keep so many."""
    if order == "name":
        found = sorted(entries, key=lambda one: (one.key.function, one.call, one.key))
    elif order == "saved":
        found = sorted(entries, key=lambda one: (-one.seconds_saved, one.key))
    elif order == "used":
        found = sorted(entries, key=lambda one: (-one.last_used, one.key))
    elif order == "size":
        found = sorted(entries, key=lambda one: (-one.size, one.key))
    else:
        found = sorted(entries, key=lambda one: (-one.hits, one.key))
    return found[:limit]


def _or_endless(limit: float | None) -> float:
    return math.inf if limit is None else limit
