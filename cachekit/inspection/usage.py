"""What takes the room of a store, and what the store has saved."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from cachekit.inspection.choosing import newest_versions
from cachekit.inspection.records import Watch, function_names, unwatched
from cachekit.inspection.reports import sum_up
from cachekit.memoization.accepting import read_acceptances
from cachekit.stores import EntryInfo, EntryKey, Store

# Ages by their names, each up to so many seconds; what is older comes last.
AGES = (
    ("last hour", 3600.0),
    ("last day", 86400.0),
    ("last week", 7 * 86400.0),
    ("last month", 30 * 86400.0),
    ("last year", 365 * 86400.0),
    ("older", float("inf")),
)


@dataclass(frozen=True)
class VersionReport:
    """The stored calls of one version of the code of a function.

    Attributes
    ----------
    function : str
        ``module.qualname``.
    fingerprint : str
        Hash of the code.
    calls, size : int
        Number of entries, and their bytes.
    last_used : float
        Seconds since 1970, exact to an hour.
    is_stale : bool
        Whether another version of the function was used after it.
    """

    function: str
    fingerprint: str
    calls: int
    size: int
    last_used: float
    is_stale: bool


@dataclass(frozen=True)
class AgeReport:
    """The stored calls that were used last at about the same time.

    Attributes
    ----------
    used : str
        When: ``last hour``, ``last day`` and so on; each without those before it.
    calls, size : int
        Number of entries, and their bytes.
    """

    used: str
    calls: int
    size: int


@dataclass(frozen=True)
class FunctionStatistics:
    """What the store has done for one function of which entries are there.

    Attributes
    ----------
    function : str
        ``module.qualname``.
    hits : int
        Calls answered by the entries that are stored now.
    misses : int
        Calls that were computed, on all hosts, also those that were not stored or have
        left. As many at least as are stored: some processes are killed before they
        say what they did.
    hit_rate : float
        Hits among hits and misses.
    seconds_saved : float
        What the hits would have taken to compute.
    bytes_saved : int
        Bytes that the hits read and did not make: of each entry its size, as often as
        it was used.
    """

    function: str
    hits: int
    misses: int
    hit_rate: float
    seconds_saved: float
    bytes_saved: int


def versions(store: Store, *, watch: Watch = unwatched) -> list[VersionReport]:
    """Sum up the entries of a store by versions of code, the largest first.

    Which is the current version, the last use of each says, so that it is the one that
    is in use again after an edit was taken back.

    Parameters
    ----------
    store : Store
        Where to look.
    watch : callable, optional
        Is given the entries while they are listed, and returns them.

    Returns
    -------
    list of VersionReport
        One for each function and fingerprint.
    """
    listed: list[EntryInfo] = []
    groups: dict[tuple[str, str], list[EntryInfo]] = {}
    for info in watch(store.entries()):
        groups.setdefault((info.key.function, info.key.fingerprint), []).append(info)
        listed.append(info)
    newest = newest_versions(listed, read_acceptances(store))
    samples: dict[str, Sequence[EntryKey]] = {
        folder: [info.key for info in group] for (folder, _), group in groups.items()
    }
    names = function_names(store, samples)
    reports = [
        VersionReport(
            function=names[folder],
            fingerprint=fingerprint,
            calls=len(group),
            size=sum(info.size for info in group),
            last_used=max(info.last_used for info in group),
            is_stale=newest[folder] != fingerprint,
        )
        for (folder, fingerprint), group in groups.items()
    ]
    return sorted(reports, key=lambda one: (-one.size, one.function, one.fingerprint))


def ages(
    store: Store, *, now: float | None = None, watch: Watch = unwatched
) -> list[AgeReport]:
    """Sum up the entries of a store by their last use, the latest first.

    All ages are there, also those of no entry.

    Parameters
    ----------
    store : Store
        Where to look.
    now : float, optional
        Seconds since 1970; by default the clock's.
    watch : callable, optional
        Is given the entries while they are listed, and returns them.

    Returns
    -------
    list of AgeReport
        One for each age, also those of no entry.
    """
    now = time.time() if now is None else now
    calls, sizes = [0] * len(AGES), [0] * len(AGES)
    for info in watch(store.entries()):
        age = now - info.last_used
        place = next((n for n, (_, most) in enumerate(AGES) if age < most), -1)
        calls[place] += 1
        sizes[place] += info.size
    names = [name for name, _ in AGES]
    return [AgeReport(*one) for one in zip(names, calls, sizes, strict=True)]


def statistics(store: Store, *, watch: Watch = unwatched) -> list[FunctionStatistics]:
    """Tell what a store has saved by function, those that saved most time first.

    Processes write their counts when they end; those whose store is on their machine
    also every ten seconds while they call.

    Parameters
    ----------
    store : Store
        Where to look.
    watch : callable, optional
        Is given the entries while they are listed, and returns them.

    Returns
    -------
    list of FunctionStatistics
        One for each function of which there are entries.
    """
    sums = sum_up(store, lambda key: key.function, watch=watch)
    names = function_names(store, {name: one.samples for name, one in sums.items()})
    counted = store.misses()
    reports = []
    for folder, one in sums.items():
        misses = max(counted.get(folder, 0), one.calls)
        reports.append(
            FunctionStatistics(
                function=names[folder],
                hits=one.hits,
                misses=misses,
                hit_rate=one.hits / max(one.hits + misses, 1),
                seconds_saved=one.seconds_saved,
                bytes_saved=one.bytes_saved,
            )
        )
    return sorted(reports, key=lambda one: (-one.seconds_saved, one.function))
