"""The entries of a store, and the functions that they are of."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from cachekit.errors import EntryNotFound, StoreError
from cachekit.inspection.choosing import NO_CONDITIONS, Conditions, Order, in_order
from cachekit.inspection.locating import location_for
from cachekit.inspection.records import (
    SAMPLES,
    Watch,
    folders_named,
    function_names,
    hits_by_key,
    read_many,
    read_record,
    seconds_computing,
    unwatched,
)
from cachekit.memoization import Record
from cachekit.memoization.locations import store_for
from cachekit.stores import EntryInfo, EntryKey, LocalStore, Store
from cachekit.texts import hint_for

# A digest is found by its first digits, but not by fewer than these.
SHORTEST_PREFIX = 4
_LIKE_A_DIGEST = re.compile(r"[0-9a-f]{1,32}")

Group = TypeVar("Group", bound=Hashable)


@dataclass(frozen=True)
class EntryReport:
    """One stored call.

    Attributes
    ----------
    key : EntryKey
        What names it in the store.
    size : int
        Bytes on the store, record included.
    last_used : float
        Seconds since 1970, exact to an hour.
    hits : int
        How often it was used instead of computed.
    is_pinned : bool
        Whether it stays when room is made.
    store : Store or None
        Where its record is read, when that is asked for.
    """

    key: EntryKey
    size: int
    last_used: float
    hits: int
    is_pinned: bool = False
    store: Store | None = field(default=None, repr=False, compare=False)

    @cached_property
    def record(self) -> Record | None:
        """The facts about the call, read when first asked for.

        None if the record is missing or damaged.
        """
        return None if self.store is None else read_record(self.store, self.key)

    @property
    def function(self) -> str:
        """``module.qualname``; the name of its folder, if there is no record."""
        return self.record.function if self.record else self.key.function

    @property
    def call(self) -> str:
        """The arguments in short: ``x=2, name='a'``; empty if there is no record."""
        arguments = self.record.arguments.items() if self.record else ()
        return ", ".join(
            f"{name}={facts.get('repr', '?')}" for name, facts in arguments
        )

    @property
    def seconds_saved(self) -> float:
        """What the uses of this entry would have taken to compute."""
        if not self.hits or not self.record:  # most were not used: nothing is read
            return 0.0
        return self.hits * self.record.seconds_computing


@dataclass(frozen=True)
class FunctionReport:
    """The stored calls of one function, of all versions of its code.

    Attributes
    ----------
    function : str
        ``module.qualname``.
    calls : int
        Number of entries.
    size : int
        Bytes on the store.
    last_used : float
        Seconds since 1970, of the entry used last.
    hits : int
        How often its entries were used.
    seconds_saved : float
        What those uses would have taken to compute.
    """

    function: str
    calls: int
    size: int
    last_used: float
    hits: int
    seconds_saved: float


@dataclass
class Sum:
    """What a group of entries comes to, as it is added up.

    Attributes
    ----------
    calls, size, last_used, hits, seconds_saved
        As in `FunctionReport`.
    bytes_saved : int
        Of each entry its size, as often as it was used.
    samples : list of EntryKey
        Some of the entries.
    """

    calls: int = 0
    size: int = 0
    last_used: float = 0.0
    hits: int = 0
    seconds_saved: float = 0.0
    bytes_saved: int = 0
    samples: list[EntryKey] = field(default_factory=list)


def store_at(location: str | None) -> Store:
    """Return the store at a location, or at the default one.

    Parameters
    ----------
    location : str or None
        A folder, a URL, or None for what `location_for` says.

    Returns
    -------
    Store
        As a `Memory` there would have it.

    Raises
    ------
    StoreError
        If there is no store at the location.
    """
    store = store_for(location_for(location))
    assert store is not None
    check_no_file(store)
    if isinstance(store, LocalStore) and not store.root.is_dir():
        raise StoreError(
            f"there is no store at {store.location}. One is made when a cached "
            f"function is first called; name another with --store or $CACHEKIT_DIR"
        )
    return store


def check_no_file(store: Store) -> None:
    """Raise a StoreError if a file is where the store was to be."""
    if isinstance(store, LocalStore) and store.root.is_file():
        raise StoreError(
            f"{store.location} is a file, not a folder: name a store with --store"
        )


def functions(
    store: Store,
    conditions: Conditions = NO_CONDITIONS,
    order: Order = "used",
    *,
    watch: Watch = unwatched,
) -> list[FunctionReport]:
    """Sum up the entries of a store by function.

    Parameters
    ----------
    store : Store
        Where they are.
    conditions : Conditions, optional
        Which entries are summed up.
    order : {"used", "size", "calls", "hits", "saved", "name"}, default "used"
        What the functions are in the order of: the most first, names from A to Z.
    watch : callable, optional
        Is given the entries while they are listed, and returns them.

    Returns
    -------
    list of FunctionReport
        One for each function, in the order that was asked for.
    """
    sums = sum_up(store, lambda key: key.function, conditions, watch=watch)
    names = function_names(store, {name: one.samples for name, one in sums.items()})
    reports = [
        FunctionReport(
            function=names[folder],
            calls=one.calls,
            size=one.size,
            last_used=one.last_used,
            hits=one.hits,
            seconds_saved=one.seconds_saved,
        )
        for folder, one in sums.items()
    ]
    ranks: dict[Order, Callable[[FunctionReport], float]] = {
        "used": lambda report: -report.last_used,
        "size": lambda report: -report.size,
        "calls": lambda report: -report.calls,
        "hits": lambda report: -report.hits,
        "saved": lambda report: -report.seconds_saved,
        "name": lambda _: 0.0,
    }
    return sorted(reports, key=lambda report: (ranks[order](report), report.function))


def sum_up(
    store: Store,
    group_of: Callable[[EntryKey], Group],
    conditions: Conditions = NO_CONDITIONS,
    *,
    watch: Watch = unwatched,
) -> dict[Group, Sum]:
    """Sum up the entries of a store by groups; only those with hits are read.

    Parameters
    ----------
    store : Store
        Where they are.
    group_of : callable
        Tells the group of an entry.
    conditions : Conditions, optional
        Which entries are summed up.
    watch : callable, optional
        Is given the entries while they are listed, and returns them.
    """
    hits = hits_by_key(store)
    found = conditions.without_records(watch(store.entries()), store)
    listed: Iterable[EntryInfo | EntryReport] = found
    if conditions.matching:
        reports = [_report(store, info, hits) for info in found]
        read_ahead(store, reports)
        listed = conditions.by_records(reports)
    sums: dict[Group, Sum] = {}
    used: list[tuple[EntryKey, int, Sum]] = []
    for one in listed:  # a hundred thousand: without what could be left out
        key, size, last_used = one.key, one.size, one.last_used
        group = group_of(key)
        total = sums.get(group)
        if total is None:
            total = sums[group] = Sum()
        total.calls += 1
        total.size += size
        if last_used > total.last_used:
            total.last_used = last_used
        if total.calls <= SAMPLES:
            total.samples.append(key)
        count = hits.get(key) if hits else 0
        if count:
            total.hits += count
            total.bytes_saved += count * size
            used.append((key, count, total))
    seconds = seconds_computing(store, [key for key, _, _ in used])
    for (_, count, total), each in zip(used, seconds, strict=True):
        total.seconds_saved += count * each
    return sums


def entries(
    store: Store,
    function: str | None = None,
    conditions: Conditions = NO_CONDITIONS,
    order: Order = "used",
    *,
    limit: int | None = None,
    watch: Watch = unwatched,
) -> list[EntryReport]:
    """Return the entries of a store, or of one function.

    Their records are read when they are asked for.

    Parameters
    ----------
    store : Store
        Where they are.
    function : str, optional
        ``module.qualname``.
    conditions : Conditions, optional
        What entries have to be like.
    order : {"used", "size", "hits", "saved", "name"}, default "used"
        What they are in the order of: the most first, names from A to Z.
    limit : int, optional
        How many are wanted at most, the first of that order.
    watch : callable, optional
        Is given the entries while they are listed, and returns them.

    Returns
    -------
    list of EntryReport
        In the order that was asked for.
    """
    listed = conditions.without_records(watch(store.entries(function)), store)
    return _reports(store, listed, conditions, order, limit)


def find(store: Store, name: str) -> EntryReport:
    """Find the entry that a person means.

    Parameters
    ----------
    store : Store
        Where to look.
    name : str
        The first digits of its key, at least 4, or its path in the store.

    Returns
    -------
    EntryReport
        The only one that is so named.

    Raises
    ------
    EntryNotFound
        If no entry is so named, or several are.
    """
    stored = list(store.entries())
    try:
        info = _named(store, name, stored)
    except EntryNotFound:
        if folders_named(_folders(store, stored), name, store):
            raise EntryNotFound(
                f"{name} is a function, where one entry is wanted: "
                f"`cachekit ls {name}` lists its entries"
            ) from None
        raise
    return _report(store, info, hits_by_key(store))


def _named(
    store: Store, name: str, stored: Iterable[EntryInfo], known: Iterable[str] = ()
) -> EntryInfo:
    """Find the entry that a person means; what is known are names of functions."""
    # A path "f/3f9c…/ab/cdef…" ends in the digest "abcdef…".
    digits = "".join(name.rstrip("/").split("/")[-2:]) if "/" in name else name
    if not _LIKE_A_DIGEST.fullmatch(digits):
        hint = hint_for(name, known)
        raise EntryNotFound(
            f"{store.location} has no function or entry named {name!r}{hint}"
        )
    if len(digits) < SHORTEST_PREFIX:
        raise EntryNotFound(
            f"{name!r} is no function, and too short to name an entry: give "
            f"{SHORTEST_PREFIX} digits of its key or more"
        )
    found = [info for info in stored if info.key.digest.startswith(digits)]
    if not found:
        raise EntryNotFound(f"no entry of {store.location} has a key like {name!r}")
    if len(found) > 1:
        some = ", ".join(sorted(info.key.digest[:12] for info in found)[:4])
        raise EntryNotFound(f"{name!r} names {len(found)} entries: {some}; give more")
    return found[0]


def select(
    store: Store,
    names: Iterable[str],
    conditions: Conditions = NO_CONDITIONS,
    order: Order = "used",
    *,
    limit: int | None = None,
    watch: Watch = unwatched,
) -> list[EntryReport]:
    """Collect the entries that names stand for: functions, or single entries.

    A function goes by its name, or by the end of it: ``fetch_page``.

    Parameters
    ----------
    store : Store
        Where they are.
    names : iterable of str
        The names.
    conditions, order, limit, watch
        As for `entries`.

    Returns
    -------
    list of EntryReport
        Each entry once, in the order that was asked for.

    Raises
    ------
    EntryNotFound
        If one of the names stands for nothing, or may be several functions; then
        nothing is selected.
    """
    stored = list(watch(store.entries()))
    functions = _folders(store, stored)
    chosen: set[str] = set()
    keys: set[EntryKey] = set()
    for name in names:
        folders = folders_named(functions, name, store)
        chosen.update(folders)
        if not folders:
            known = functions.values()
            keys.add(_named(store, name, stored, known).key)
    wanted = [
        info for info in stored if info.key.function in chosen or info.key in keys
    ]
    if conditions.stale:  # of what is a code version the newest: of all its entries
        there = {info.key.function for info in wanted}
        stale = conditions.without_records(
            (info for info in stored if info.key.function in there), store
        )
        listed: Iterable[EntryInfo] = _both(wanted, stale)
    else:
        listed = conditions.without_records(wanted, store)
    return _reports(store, listed, conditions, order, limit)


def _both(some: Iterable[EntryInfo], others: Iterable[EntryInfo]) -> list[EntryInfo]:
    keys = {info.key for info in others}
    return [info for info in some if info.key in keys]


def _folders(store: Store, stored: Iterable[EntryInfo]) -> dict[str, str]:
    """Return the names of the functions that there are, by folder."""
    samples: dict[str, list[EntryKey]] = {}
    for info in stored:
        group = samples.setdefault(info.key.function, [])
        if len(group) < SAMPLES:
            group.append(info.key)
    return function_names(store, {**samples})


def _reports(
    store: Store,
    listed: Iterable[EntryInfo],
    conditions: Conditions,
    order: Order,
    limit: int | None,
) -> list[EntryReport]:
    hits = hits_by_key(store)
    reports = [_report(store, info, hits) for info in listed]
    if conditions.matching or order == "name":
        read_ahead(store, reports)
    elif order == "saved":
        read_ahead(store, [entry for entry in reports if entry.hits])
    return in_order(conditions.by_records(reports), order, limit)


def read_ahead(store: Store, reports: Iterable[EntryReport]) -> None:
    """Read the records of entries; of a remote store, many at once."""
    unread = [entry for entry in reports if "record" not in vars(entry)]
    records = read_many(store, [entry.key for entry in unread], read_record)
    for entry, record in zip(unread, records, strict=True):
        vars(entry)["record"] = record


def _report(store: Store, info: EntryInfo, hits: dict[EntryKey, int]) -> EntryReport:
    count = hits.get(info.key, 0)
    return EntryReport(
        info.key, info.size, info.last_used, count, info.is_pinned, store
    )
