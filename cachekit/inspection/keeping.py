"""Choose what stays in a store: pin entries, unpin them, remove them."""

from __future__ import annotations

from collections.abc import Iterable

from cachekit.inspection.reports import EntryReport
from cachekit.stores import Store


def pin(store: Store, chosen: Iterable[EntryReport]) -> None:
    """Have entries stay when room is made.

    Parameters
    ----------
    store : Store
        Where they are.
    chosen : iterable of EntryReport
        The entries.

    Raises
    ------
    EntryNotFound
        If one of them has been removed meanwhile.
    """
    for entry in chosen:
        store.pin(entry.key)


def unpin(store: Store, chosen: Iterable[EntryReport]) -> None:
    """Let entries leave again when room is made.

    Parameters
    ----------
    store : Store
        Where they are.
    chosen : iterable of EntryReport
        The entries.
    """
    for entry in chosen:
        store.unpin(entry.key)


def remove(store: Store, chosen: Iterable[EntryReport]) -> int:
    """Remove entries, pinned or not; return how many bytes that freed.

    Parameters
    ----------
    store : Store
        Where they are.
    chosen : iterable of EntryReport
        The entries.

    Returns
    -------
    int
        Bytes freed.
    """
    leaving = list(chosen)
    store.delete_many(entry.key for entry in leaving)
    store.add_hits({entry.key: -entry.hits for entry in leaving if entry.hits})
    return sum(entry.size for entry in leaving)
