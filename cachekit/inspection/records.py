"""Read the records of entries, and of as few as will do.

To read a record takes longer than to list its entry, and on a remote store a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cachekit.errors import EntryNotFound, StoreError
from cachekit.memoization import Record
from cachekit.memoization.lineage import seconds_in
from cachekit.stores import DictStore, EntryInfo, EntryKey, LocalStore, Store
from cachekit.stores.names import RECORD, folder_name

T = TypeVar("T")
Name = TypeVar("Name")

# What may be looked at while a store is listed: to show how far that is.
Watch = Callable[[Iterable[EntryInfo]], Iterable[EntryInfo]]

# Requests to a remote store at once. Files of this machine are read by one thread:
# four took three times as long.
READERS = 16

# A record may be damaged; that of another entry of the function then has its name. So
# many are tried.
SAMPLES = 5


def unwatched(found: Iterable[EntryInfo]) -> Iterable[EntryInfo]:
    """Return what was found: nobody looks."""
    return found


def read_record(store: Store, key: EntryKey) -> Record | None:
    """Return the record of an entry; None if it is missing or damaged."""
    content = _read(store, key)
    try:
        return Record.from_json(content) if content is not None else None
    except ValueError:  # a damaged record hides nothing but itself
        return None


def seconds_computing(store: Store, keys: Sequence[EntryKey]) -> list[float]:
    """Return what calls took to compute, without reading all of their records."""
    return read_many(store, keys, _seconds_of)


def read_many(
    store: Store, names: Sequence[Name], read: Callable[[Store, Name], T]
) -> list[T]:
    """Read something of each entry or document; of a remote store, many at once."""
    if isinstance(store, (LocalStore, DictStore)) or len(names) < 2:
        return [read(store, name) for name in names]
    with ThreadPoolExecutor(READERS, "cachekit-records") as pool:
        return list(pool.map(lambda name: read(store, name), names))


def function_names(
    store: Store, folders: dict[str, Sequence[EntryKey]]
) -> dict[str, str]:
    """Return the names of functions, by their folders.

    Parameters
    ----------
    store : Store
        Where they are.
    folders : dict of str to sequence of EntryKey
        For each folder some of its entries; none but the first is read if that is
        whole. A function of which no record is left goes by its folder.
    """
    keys = list(folders.values())
    firsts = read_many(store, [group[0] for group in keys], _function_of)
    names = {}
    for group, first in zip(keys, firsts, strict=True):
        name = first
        for key in group[1:SAMPLES]:
            name = name or _function_of(store, key)
        names[group[0].function] = name or group[0].function
    return names


def folders_named(names: Mapping[str, str], wanted: str, store: Store) -> list[str]:
    """Return the folder of the function that a person means; none if there is none.

    Parameters
    ----------
    names : mapping of str to str
        The names of functions, by their folders.
    wanted : str
        A function's name, the end of it, or its folder.
    store : Store
        Where they are.

    Raises
    ------
    EntryNotFound
        If it is the end of several names.
    """
    whole = [
        folder
        for folder, name in names.items()
        if wanted == name or folder_name(wanted) == folder
    ]
    if whole or not wanted:
        return whole
    ends = {
        folder: name for folder, name in names.items() if name.endswith(f".{wanted}")
    }
    if len(ends) > 1:
        some = ", ".join(sorted(ends.values())[:4])
        raise EntryNotFound(
            f"{wanted!r} may be {len(ends)} functions of {store.location}: {some}; "
            f"give more of its name"
        )
    return list(ends)


def hits_by_key(store: Store) -> dict[EntryKey, int]:
    """Return how often each entry was used, by the key that a listing has."""
    found = {}
    for path, count in store.hits().items():
        key = key_of(path)
        if key is not None:
            found[key] = count
    return found


def key_of(path: str) -> EntryKey | None:
    """Read the path of an entry: ``"f/3f9c…/ab/cdef…"``; None of another one."""
    parts = path.split("/")
    if len(parts) != 4:
        return None
    folder, fingerprint, prefix, rest = parts
    return EntryKey(folder, fingerprint, prefix + rest)


def _function_of(store: Store, key: EntryKey) -> str | None:
    record = read_record(store, key)
    # A record that was put into the folder of another function says nothing of it.
    if record is None or folder_name(record.function) != folder_name(key.function):
        return None
    return record.function


def _seconds_of(store: Store, key: EntryKey) -> float:
    return seconds_in(_read(store, key)) or 0.0


def _read(store: Store, key: EntryKey) -> bytes | None:
    try:
        return store.read(key, RECORD)
    except (OSError, StoreError):
        return None
