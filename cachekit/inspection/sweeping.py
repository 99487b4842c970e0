"""Leftovers of a store: what those have left who are no more, and what is of no use.

What is dead is for the stores to say: they sweep by the same rules, when they are
first written to. Here it is listed, and removed when somebody asks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cachekit.errors import StoreError
from cachekit.inspection.verification import DAMAGED, parts_to_change
from cachekit.stores import LocalStore, RemoteStore, Store, statistics
from cachekit.stores.file_leases import FileLeases
from cachekit.stores.layout import check_store
from cachekit.stores.staging import StagingArea

LeftoverKind = Literal["staging", "lease", "statistics", "damaged entry"]

# Damaged entries are kept so long, to be looked at.
KEEP_DAMAGED_SECONDS = 7 * 86400.0

# Of a service it is only known when a file was written, and no process lives so long
# without writing its lease anew.
ABANDONED_SECONDS = 24 * 3600.0

STORE = "store.json"
_STATISTICS = ".stats"


@dataclass(frozen=True)
class Leftover:
    """Something that nobody needs.

    Attributes
    ----------
    location : str
        The store that it is in.
    kind : str
        ``staging``, ``lease``, ``statistics`` or ``damaged entry``.
    path : str
        Relative to the store.
    size : int
        Bytes.
    """

    location: str
    kind: LeftoverKind
    path: str
    size: int


def leftovers(
    store: Store, *, keep_damaged: float = KEEP_DAMAGED_SECONDS
) -> list[Leftover]:
    """List what `sweep` would remove.

    Parameters
    ----------
    store : Store
        Where to look; of a near and a far one in both, but not in one that is only to
        be read.
    keep_damaged : float, default a week
        For so many seconds entries stay that were put away as damaged.

    Returns
    -------
    list of Leftover
        Files and folders, with their sizes in bytes.

    Raises
    ------
    StoreError
        If what is there is a store of another kind or format, or cannot be reached.
    """
    found: list[Leftover] = []
    for part in parts_to_change(store):
        if isinstance(part, LocalStore):
            if _is_ours(_about(part), part):
                found += _local_leftovers(part, keep_damaged)
        elif isinstance(part, RemoteStore) and _is_ours(_read(part, STORE), part):
            found += _remote_leftovers(part)
    return found


def _about(store: LocalStore) -> bytes | None:
    """Read what says that a folder is a store; None if nothing does."""
    try:
        return (store.root / STORE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # that nothing is left over there would be a guess
        raise StoreError(
            f"{store.location} could not be looked into for leftovers: "
            f"{error.strerror or error}"
        ) from error


def _is_ours(about: bytes | None, store: Store) -> bool:
    """Tell whether there is a store: another folder may have a ``.staging`` too."""
    if about:
        check_store(about, store.location)
    return bool(about)


def sweep(
    store: Store, *, keep_damaged: float = KEEP_DAMAGED_SECONDS
) -> list[Leftover]:
    """Remove leftovers; return those that are gone.

    Parameters
    ----------
    store, keep_damaged
        As for `leftovers`.

    Returns
    -------
    list of Leftover
        Those that were removed.
    """
    found = leftovers(store, keep_damaged=keep_damaged)
    removed: list[Leftover] = []
    for part in parts_to_change(store):
        mine = [one for one in found if one.location == part.location]
        if isinstance(part, LocalStore) and mine:
            removed += _sweep_local(part, mine)
        elif isinstance(part, RemoteStore):
            part.service.remove(one.path for one in mine)
            removed += mine
    return removed


def server_time(store: LocalStore) -> float:
    """Return the time by the clock of whoever keeps the files of a store.

    Raises
    ------
    OSError
        If nothing can be written there.
    """
    folder = Path(StagingArea(store.root, durable=False).new_folder())
    try:
        return folder.stat().st_mtime
    finally:
        folder.rmdir()


# --- a local store ---


def _local_leftovers(store: LocalStore, keep_damaged: float) -> Iterator[Leftover]:
    root = store.root
    now = _time_there(store)

    def leftover(kind: LeftoverKind, path: Path) -> Leftover:
        name = path.relative_to(root).as_posix()
        return Leftover(store.location, kind, name, _size_of(path))

    for path in StagingArea(root, durable=False).abandoned():
        yield leftover("staging", path)
    for path in _leases_of(store).abandoned(now):
        yield leftover("lease", path)
    for path in _below(root / _STATISTICS):
        if path.suffix == ".json" and is_damaged(_content(path)):
            yield leftover("statistics", path)
    for path in _below(root / DAMAGED):
        with contextlib.suppress(OSError):
            if now - path.lstat().st_mtime >= keep_damaged:
                yield leftover("damaged entry", path)


def _sweep_local(store: LocalStore, found: list[Leftover]) -> list[Leftover]:
    kinds = {one.kind for one in found}
    if "staging" in kinds:
        StagingArea(store.root, durable=False).sweep()
    if "lease" in kinds:
        _leases_of(store).sweep(_time_there(store))
    for one in found:
        if one.kind in ("statistics", "damaged entry"):
            _remove(store.root / one.path)
    with contextlib.suppress(OSError):  # something is in it still
        (store.root / DAMAGED).rmdir()
    return [one for one in found if not os.path.lexists(store.root / one.path)]


def _leases_of(store: LocalStore) -> FileLeases:
    return FileLeases(store.root / ".leases", prepare=lambda: None)


def _time_there(store: LocalStore) -> float:
    try:
        return server_time(store)
    except OSError:  # nothing can be written, so nothing will be removed
        return time.time()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _below(folder: Path) -> list[Path]:
    try:
        # A link would lead to files of somebody else.
        return [] if folder.is_symlink() else sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _size_of(path: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        total = path.lstat().st_size if not path.is_dir() else 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(folder, name).lstat().st_size
    return total


def is_damaged(content: bytes | None) -> bool:
    """Tell whether a file of statistics is there and counts for nothing."""
    if content is None:
        return False
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError):
        return True
    return facts != {} and not statistics.from_json(content)


# --- a service ---


def _remote_leftovers(store: RemoteStore) -> Iterator[Leftover]:
    now = time.time()
    kinds: dict[str, LeftoverKind] = {".staging": "staging", ".leases": "lease"}
    for folder, kind in kinds.items():
        for path, (size, at) in store.service.find(folder).items():
            if 0 < at < now - ABANDONED_SECONDS:
                yield Leftover(store.location, kind, path, size)
    for path, (size, _) in store.service.find(_STATISTICS).items():
        if path.endswith(".json") and is_damaged(_read(store, path)):
            yield Leftover(store.location, "statistics", path, size)


def _read(store: RemoteStore, path: str) -> bytes | None:
    file = store.service.get(path)
    if file is None:
        return None
    with file:
        return file.read()
