"""Check every byte of stored entries, without unpickling anything.

`verify` reads and changes nothing; `put_away` takes damaged entries out of the way, so
that their calls are computed again.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Literal, TypeVar

from cachekit.errors import (
    ContainerError,
    CorruptedFile,
    StoreError,
    UnsupportedContainer,
    UntrustedContent,
)
from cachekit.memoization import Record
from cachekit.memoization.options import secret_from
from cachekit.serialization import Label, Seal, check_items, is_items
from cachekit.serialization.container import SIGNATURE, TRAILER
from cachekit.serialization.items import HEAD
from cachekit.serialization.reading import check, is_damaged_in_its_version
from cachekit.stores import (
    EntryKey,
    LocalStore,
    ReadOnlyStore,
    RemoteStore,
    Store,
    TieredStore,
)
from cachekit.stores.layout import check_store, is_inside
from cachekit.stores.names import FILES, RECORD, folder_name

T = TypeVar("T")
R = TypeVar("R")

# Where damaged entries of a local store go, below its folder.
DAMAGED = ".damaged"

# Of a store that is asked over a network; it is waited for most of the time.
REMOTE_THREADS = 8

Kind = Literal["damaged", "untrusted", "unsupported", "unreadable"]

# An entry of a service is let alone for so long after a part of it was written.
UPLOAD_SECONDS = 600.0

_ADVICE: dict[Kind, str] = {
    "damaged": "--repair moves it away, and the next call computes it again",
    "untrusted": "with this signing key it is computed again; `cachekit rm` removes it",
    "unsupported": "it is left alone: read it with the version that wrote it",
    "unreadable": "look at the disk and at the rights of the file",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with an entry.

    Attributes
    ----------
    location : str
        The store that the entry is in: of two, each has its own.
    key : EntryKey
        The entry.
    function : str
        ``module.qualname``, or the name of its folder.
    kind : str
        ``damaged``; ``untrusted``, if it is whole but not signed with the key given;
        ``unsupported``, if another version of cachekit wrote it; ``unreadable``.
    what : str
        What is wrong.
    advice : str
        What to do.
    """

    location: str
    key: EntryKey
    function: str
    kind: Kind
    what: str
    advice: str


@dataclass(frozen=True)
class Verified:
    """One entry that was looked at.

    Attributes
    ----------
    store : Store
        Where it is.
    key : EntryKey
        What names it.
    size : int
        Bytes that were checked.
    is_signature_unknown : bool
        Whether it is signed, and there was no key to check that with.
    is_read_only : bool
        Whether the store is only to be read here.
    problem : Problem or None
        The first that was found.
    """

    store: Store
    key: EntryKey
    size: int
    is_signature_unknown: bool = False
    is_read_only: bool = False
    problem: Problem | None = None


def parts_of(store: Store) -> list[Store]:
    """Return the stores that a store is made of: each has entries of its own."""
    if isinstance(store, TieredStore):
        return [*parts_of(store.near), *parts_of(store.far)]
    return parts_of(store.store) if isinstance(store, ReadOnlyStore) else [store]


def parts_to_change(store: Store) -> list[Store]:
    """Return those of them that may be written to."""
    if isinstance(store, TieredStore):
        return [*parts_to_change(store.near), *parts_to_change(store.far)]
    return [] if isinstance(store, ReadOnlyStore) else [store]


def signing_secret(variable: str | None = None) -> bytes | None:
    """Return the secret in an environment variable, by default the usual one.

    Parameters
    ----------
    variable : str, optional
        Its name; ``CACHEKIT_SIGNING_KEY`` if not given.

    Returns
    -------
    bytes or None
        None if the usual variable is not set.

    Raises
    ------
    ValueError
        If it is too short, or the variable that was named is not there.
    """
    if variable is None:
        return secret_from(None)
    if variable not in os.environ:
        raise ValueError(f"there is no environment variable {variable}")
    return secret_from(os.environ[variable])


def verify(
    store: Store,
    keys: Iterable[EntryKey] | None = None,
    *,
    secret: bytes | None = None,
    threads: int | None = None,
) -> Iterator[Verified]:
    """Check entries one after the other, and say of each what was found.

    The structure of the value, every checksum, that the value is of this entry, its
    signature if there is a secret, the record, and the sizes of the files that the call
    has made. At most a mebibyte of a value is held in memory at a time, but one item of
    a generator whole. Entries that are removed meanwhile are left out.

    Parameters
    ----------
    store : Store
        Where they are; of a near and a far one both are checked.
    keys : iterable of EntryKey, optional
        Which to check, by default all.
    secret : bytes, optional
        What values are signed with.
    threads : int, optional
        How many look at the same time.

    Yields
    ------
    Verified
        One for each entry.

    Raises
    ------
    StoreError, OSError
        If the store itself cannot be read.
    """
    chosen = None if keys is None else list(keys)
    writable = parts_to_change(store)
    for part in parts_of(store):

        def look_at(key: EntryKey, part: Store = part) -> Verified | None:
            return _verify_entry(part, key, secret)

        count = _threads_for(part) if threads is None else threads
        found = chosen if chosen is not None else (one.key for one in part.entries())
        for verified in _in_order(look_at, found, count):
            if verified is not None:
                yield replace(verified, is_read_only=part not in writable)


def put_away(found: Verified) -> str | None:
    """Take a damaged entry out of the way; say what became of it.

    In a local store it goes below the folder ``.damaged``, to be looked at; elsewhere
    it is removed. It stays where it is if it is whole by now, or being written, if the
    store is only to be read, and if it is not damaged: what is not trusted with one key
    may be so with another.

    Parameters
    ----------
    found : Verified
        What `verify` has said of the entry.

    Returns
    -------
    str or None
        The folder that it is in now, or ``"removed"``; None if it stays.

    Raises
    ------
    StoreError
        If the store has another format, in which the entry may be right.
    """
    store, key = found.store, found.key
    if found.is_read_only or _is_being_written(store, key):
        return None
    again = _verify_entry(store, key, None)
    if again is None or again.problem is None or again.problem.kind != "damaged":
        return None
    if not isinstance(store, LocalStore):
        store.delete(key)
        return "removed"
    check_store((store.root / "store.json").read_bytes(), store.location)
    source = store.root / key.path
    name = f"{key.function}-{key.digest[:12]}-{time.time_ns():x}"
    target = store.root / DAMAGED / name
    target.parent.mkdir(exist_ok=True)
    try:
        source.rename(target)  # in one step, as a deletion
    except FileNotFoundError:  # somebody was quicker
        return None
    os.utime(target)  # from now on it is kept for a while
    return str(target)


def _is_being_written(store: Store, key: EntryKey) -> bool:
    """Tell whether parts of an entry are so new that others may be on their way.

    A local store shows an entry when it is whole; a service does so file by file.
    """
    if not isinstance(store, RemoteStore):
        return False
    now = time.time()
    ages = [now - at for _, at in store.service.find(key.path).values() if at > 0]
    return min(ages, default=math.inf) < UPLOAD_SECONDS


def _threads_for(store: Store) -> int:
    # On a disk, 5,000 small entries took 0.9 s with one thread and 1.2 s with two, and
    # large ones 0.10 s a 480 MB and 0.16 s.
    return 1 if isinstance(store, LocalStore) else REMOTE_THREADS


def _in_order(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Do work in a few threads, with few items ahead of who reads the results."""
    if threads <= 1:
        yield from map(work, items)
        return
    ahead: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, "cachekit-verify") as pool:
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


# --- one entry ---


def _verify_entry(store: Store, key: EntryKey, secret: bytes | None) -> Verified | None:
    """Check an entry; None if there is none any more."""
    for _ in range(2):
        found = _look_at(store, key, secret)
        # What was replaced while it was looked at is right the second time.
        if found is None or found.problem is None:
            return found
    return found


def _look_at(store: Store, key: EntryKey, secret: bytes | None) -> Verified | None:
    verified = Verified(store, key, 0)
    record: Record | None = None
    kind: Kind
    try:
        size, is_signed = _check_value(store, key, secret)
        unknown = is_signed and secret is None
        verified = replace(verified, size=size, is_signature_unknown=unknown)
        record, length = _checked_record(store, key)
        files = _checked_files(store, key, record)
        return replace(verified, size=size + length + files)
    except _Absent:
        return None
    except UnsupportedContainer as error:
        kind, what = "unsupported", str(error)
    except UntrustedContent as error:
        kind, what = "untrusted", str(error)
    except (ContainerError, IsADirectoryError) as error:
        kind, what = "damaged", _text_of(error)
    except OSError as error:
        kind, what = "unreadable", _text_of(error)
    function = record.function if record else _function_at(store, key)
    problem = Problem(store.location, key, function, kind, what, _ADVICE[kind])
    return replace(verified, problem=problem)


class _Absent(Exception):
    """There is no such entry any more."""


def _check_value(store: Store, key: EntryKey, secret: bytes | None) -> tuple[int, bool]:
    """Check the value; return its length, and whether it is signed."""
    entry = key.digest.encode()
    seal = Label(entry) if secret is None else Seal(secret, entry)
    file = store.peek(key)
    if file is None:
        raise _Absent
    with file:
        head = file.read(8)
        file.seek(0)
        if is_items(head):
            check_items(file, seal)
            length = file.tell()
            file.seek(0)
            return length, not any(HEAD.unpack(file.read(HEAD.size))[3])
        try:
            length = check(file, seal)
        except UnsupportedContainer:
            if is_damaged_in_its_version(file):
                text = "the version of the container was altered"
                raise CorruptedFile(text) from None
            raise
        return length, _is_signed(file, length)


def _is_signed(file: BinaryIO, length: int) -> bool:
    """Tell whether a container has a signature: a label ends in zeros."""
    file.seek(length - TRAILER.size)
    end = file.read(TRAILER.size)
    return any(end[SIGNATURE][16:])


def _checked_record(store: Store, key: EntryKey) -> tuple[Record, int]:
    """Return the record of an entry, and its length."""
    content = store.read(key, RECORD)
    if content is None:
        raise CorruptedFile("its record is missing")
    try:
        record = Record.from_json(content)
    except ValueError as error:
        raise CorruptedFile(f"its record is damaged: {error}") from error
    named = (record.function, record.fingerprint, record.key)
    if (folder_name(named[0]), *named[1:]) != (folder_name(key.function), *key[1:]):
        raise CorruptedFile("its record is of another entry")
    return record, len(content)


def _checked_files(store: Store, key: EntryKey, record: Record) -> int:
    """Check the files that the call has made; return how many bytes they have."""
    there = _sizes_of_files(store, key, record) if record.files else {}
    for name, size in record.files.items():
        if name not in there:
            raise CorruptedFile(f"its file {name!r} is gone")
        if there[name] != size:
            raise CorruptedFile(
                f"its file {name!r} has {there[name]:,} bytes, and had {size:,}"
            )
    return sum(record.files.values())


def _sizes_of_files(store: Store, key: EntryKey, record: Record) -> dict[str, int]:
    """Return the sizes of the files of an entry, as far as they are there."""
    names = [name for name in record.files if is_inside(name)]
    if isinstance(store, LocalStore):
        return dict(_sizes_below(store.root / key.path / FILES, names))
    if isinstance(store, RemoteStore):
        folder = f"{key.path}/{FILES}"
        found = store.service.find(folder)
        return {path[len(folder) + 1 :]: size for path, (size, _) in found.items()}
    contents = ((name, store.read(key, f"{FILES}/{name}")) for name in names)
    return {name: len(content) for name, content in contents if content is not None}


def _sizes_below(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    for name in names:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            facts = (folder / name).stat()
            if S_ISREG(facts.st_mode):
                yield name, facts.st_size


def _function_at(store: Store, key: EntryKey) -> str:
    try:
        return _checked_record(store, key)[0].function
    except (ContainerError, StoreError, OSError):
        return key.function


def _text_of(error: Exception) -> str:
    """Return what an error says, without a path, which is told beside it."""
    told = error.strerror if isinstance(error, OSError) else None
    return told or str(error) or type(error).__name__
