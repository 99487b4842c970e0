"""Take entries from one store to another; `archives` takes them into a file.

Entries are copied as they are, byte for byte, each of them whole or not at all, and
only those that are missing: what was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

from cachekit.errors import StoreError
from cachekit.hashing import HASH_VERSION
from cachekit.inspection.reports import check_no_file
from cachekit.stores import EntryKey, Store, open_store
from cachekit.stores.copying import copy_entry

# So many entries are copied at once: each waits for the network most of its time.
AT_ONCE = 8

# After so many failures, one after the other, the place is thought to be gone.
MOST_FAILURES = 10

# Told of each entry that is done: its bytes.
Progress = Callable[[int], object]


class Listed(Protocol):
    """What a listing says of an entry: an `EntryReport` does."""

    @property
    def key(self) -> EntryKey:
        """What names it."""

    @property
    def size(self) -> int:
        """Bytes of all its files."""

    @property
    def is_pinned(self) -> bool:
        """Whether it stays when room is made."""


@dataclass(frozen=True)
class Transfer:
    """What came of copying entries.

    Attributes
    ----------
    copied : int
        How many entries were copied.
    bytes : int
        Their size.
    present : int
        How many were there already.
    failures : tuple of (str, str)
        The paths of entries that could not be copied, and why.
    """

    copied: int = 0
    bytes: int = 0
    present: int = 0
    failures: tuple[tuple[str, str], ...] = ()


def place_at(url: str) -> Store:
    """Return the store at a URL or in a folder, to copy entries to or from.

    Unlike the store of a `Memory`, a remote one has no folder of this machine in front.

    Parameters
    ----------
    url : str
        A folder or a URL.

    Returns
    -------
    Store
        Nothing is created or contacted yet.

    Raises
    ------
    StoreError
        If it is a file.
    """
    store = open_store(url, hash_version=HASH_VERSION)
    check_no_file(store)
    return store


def lacking(target: Store, chosen: Iterable[Listed]) -> list[Listed]:
    """Return those of some entries that a store has not.

    Parameters
    ----------
    target : Store
        Where they may be.
    chosen : iterable of entries
        As `entries` returns them.

    Returns
    -------
    list of entries
        Those of them that are to be copied.
    """
    there = {info.key.path for info in target.entries()}
    return [one for one in chosen if one.key.path not in there]


def copy_entries(
    source: Store,
    target: Store,
    chosen: Iterable[Listed],
    *,
    progress: Progress | None = None,
) -> Transfer:
    """Copy entries from one store to another, several at once.

    Parameters
    ----------
    source, target : Store
        From where, and to where.
    chosen : iterable of entries
        As `lacking` or `entries` return them.
    progress : callable, optional
        Called with the bytes of each entry that is done.

    Returns
    -------
    Transfer
        What was copied. One entry that fails does not stop the others.

    Raises
    ------
    StoreError
        If ten fail one after the other.
    """
    done, failures, in_a_row = Transfer(), [], 0
    for one, failure in _all_of(source, target, chosen):
        if progress is not None:
            progress(one.size)
        if failure is None:
            in_a_row = 0
            done = replace(done, copied=done.copied + 1, bytes=done.bytes + one.size)
            continue
        failures.append((one.key.path, failure))
        in_a_row += 1
        if in_a_row >= MOST_FAILURES:
            raise StoreError(
                f"gave up after {in_a_row} failures in a row and {done.copied} entries "
                f"copied: {failure}"
            )
    return replace(done, failures=tuple(failures))


def _all_of(
    source: Store, target: Store, chosen: Iterable[Listed]
) -> Iterator[tuple[Listed, str | None]]:
    """Yield each entry when it is done, and why it failed, if it did."""

    def copied(one: Listed) -> str | None:
        try:
            if not copy_entry(source, target, one.key):
                return "it has gone, or was replaced meanwhile"
            if one.is_pinned:
                target.pin(one.key)
        except (OSError, StoreError) as error:
            return str(error) or type(error).__name__
        return None

    under_way: dict[Future[str | None], Listed] = {}
    pool = ThreadPoolExecutor(AT_ONCE, "cachekit-copy")
    try:
        for one in chosen:
            under_way[pool.submit(copied, one)] = one
            if len(under_way) >= 2 * AT_ONCE:
                yield from _taken(under_way)
        while under_way:
            yield from _taken(under_way)
    finally:
        pool.shutdown(cancel_futures=True)


def _taken(
    under_way: dict[Future[str | None], Listed],
) -> Iterator[tuple[Listed, str | None]]:
    ended, _ = wait(under_way, return_when=FIRST_COMPLETED)
    for future in ended:
        yield under_way.pop(future), future.result()
