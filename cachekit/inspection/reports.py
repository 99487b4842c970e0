"""The entries of a store, and the functions that they are of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cachekit.errors import EntryNotFound, StoreError
from cachekit.memoization import Record, default_location
from cachekit.memoization.locations import store_for
from cachekit.stores import EntryInfo, EntryKey, LocalStore, Store
from cachekit.stores.base import folder_name

# A digest is found by its first digits, but not by fewer than these.
SHORTEST_PREFIX = 4
_LIKE_A_DIGEST = re.compile(r"[0-9a-f]{1,32}")


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
    record : Record or None
        The facts about the call; None if its record is missing or damaged.
    is_pinned : bool
        Whether it stays when room is made.
    """

    key: EntryKey
    size: int
    last_used: float
    hits: int
    record: Record | None
    is_pinned: bool = False

    @property
    def seconds_saved(self) -> float:
        """What the uses of this entry would have taken to compute."""
        return self.hits * self.record.seconds_computing if self.record else 0.0


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


def store_at(location: str | None) -> Store:
    """Return the store at a location, or at the default one.

    Raises
    ------
    StoreError
        If there is no store at the location.
    """
    store = store_for(location or default_location())
    assert store is not None
    if isinstance(store, LocalStore) and not store.root.is_dir():
        raise StoreError(
            f"there is no store at {store.location}. One is made when a cached "
            f"function is first called; name another with --store or $CACHEKIT_DIR"
        )
    return store


def functions(store: Store) -> list[FunctionReport]:
    """Sum up the entries of a store by function, the last used first."""
    groups: dict[str, list[EntryReport]] = {}
    for entry in entries(store):
        groups.setdefault(_function_of(entry), []).append(entry)
    reports = [_sum_up(function, group) for function, group in groups.items()]
    return sorted(reports, key=lambda report: -report.last_used)


def entries(store: Store, function: str | None = None) -> list[EntryReport]:
    """Return the entries of a store, or of one function, the last used first."""
    hits = store.hits()
    found = [_report(store, info, hits) for info in store.entries(function)]
    return sorted(found, key=lambda entry: (-entry.last_used, entry.key))


def find(store: Store, name: str) -> EntryReport:
    """Find the entry that a person means.

    Parameters
    ----------
    store : Store
        Where to look.
    name : str
        The first digits of its key, at least 4, or its path in the store.

    Raises
    ------
    EntryNotFound
        If no entry is so named, or several are.
    """
    # A path "f/3f9c…/ab/cdef…" ends in the digest "abcdef…".
    digits = "".join(name.rstrip("/").split("/")[-2:]) if "/" in name else name
    if not _LIKE_A_DIGEST.fullmatch(digits):
        raise EntryNotFound(f"{store.location} has no function or entry named {name!r}")
    if len(digits) < SHORTEST_PREFIX:
        raise EntryNotFound(
            f"{name!r} is no function, and too short to name an entry: give "
            f"{SHORTEST_PREFIX} digits of its key or more"
        )
    found = [info for info in store.entries() if info.key.digest.startswith(digits)]
    if not found:
        raise EntryNotFound(f"no entry of {store.location} has a key like {name!r}")
    if len(found) > 1:
        some = ", ".join(sorted(info.key.digest[:12] for info in found)[:4])
        raise EntryNotFound(f"{name!r} names {len(found)} entries: {some}; give more")
    return _report(store, found[0], store.hits())


def select(store: Store, names: Iterable[str]) -> list[EntryReport]:
    """Collect the entries that names stand for: functions, or single entries.

    A function goes by its name, or by the end of it: ``fetch_page``.

    Raises
    ------
    EntryNotFound
        If one of the names stands for nothing; then nothing is selected.
    """
    chosen: dict[str, EntryReport] = {}
    stored = entries(store)
    for name in names:
        matches = [entry for entry in stored if _is_named(entry, name)]
        for entry in matches or [find(store, name)]:
            chosen[entry.key.path] = entry
    return list(chosen.values())


def _report(store: Store, info: EntryInfo, hits: dict[str, int]) -> EntryReport:
    record = _record(store, info.key)
    count = hits.get(info.key.path, 0)
    return EntryReport(
        info.key, info.size, info.last_used, count, record, info.is_pinned
    )


def _record(store: Store, key: EntryKey) -> Record | None:
    try:
        content = store.read(key, "record.json")
        return Record.from_json(content) if content is not None else None
    except (OSError, ValueError):  # a damaged record hides nothing but itself
        return None


def _function_of(entry: EntryReport) -> str:
    return entry.record.function if entry.record else entry.key.function


def _is_named(entry: EntryReport, name: str) -> bool:
    function = _function_of(entry)
    is_end = bool(name) and function.endswith(f".{name}")
    return is_end or name == function or folder_name(name) == entry.key.function


def _sum_up(function: str, group: list[EntryReport]) -> FunctionReport:
    return FunctionReport(
        function=function,
        calls=len(group),
        size=sum(entry.size for entry in group),
        last_used=max(entry.last_used for entry in group),
        hits=sum(entry.hits for entry in group),
        seconds_saved=sum(entry.seconds_saved for entry in group),
    )
