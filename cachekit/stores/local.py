"""A store in a directory that a person can read with ``ls`` and ``cat``.

::

    <root>/
      store.json                            formats, written once
      <function>/<fingerprint>/code.json    one code version
      <function>/<fingerprint>/<aa>/<rest>/ one ENTRY: value, record.json, pinned
      .staging/<process>-<uuid>/            entries being written
      .leases/<key>                         who is computing an entry
      .stats/<process>-<uuid>.json          how often entries were used
      .accepted/<function>.<code>.json      which code counts as which
      runs/<id>.json                        what a run was, and what it gave
      .files/<digest>                       digests of large files, in the default store

Everything is written into ``.staging`` and renamed to its final name: readers see a
whole entry or none, whatever dies in between. Anything under a name that begins
with a dot may be deleted at any time. A folder that holds nothing else also gets a
``.gitignore`` and a ``CACHEDIR.TAG``, so that git and backups pass it by.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from cachekit.stores import statistics
from cachekit.stores.base import Staging, Store, absent_entry
from cachekit.stores.file_leases import FileLeases
from cachekit.stores.flights import SingleFlight, single_flight_at
from cachekit.stores.layout import check_store, code_path, describe_store
from cachekit.stores.listing import (
    RecordSizes,
    code_versions,
    entries_in,
    folders,
    prefixes,
    raise_unless_gone,
    unmark,
)
from cachekit.stores.names import (
    ACCEPTED,
    FILES,
    PIN,
    RECORD,
    VALUE,
    EntryInfo,
    EntryKey,
    check_document,
    folder_name,
)
from cachekit.stores.staging import LocalStaging, StagingArea
from cachekit.stores.statistics import Uses, counts_by_path, hits_among, misses_among

# A use is noted at most so often: one more system call an hour, not one a hit.
TOUCH_SECONDS = 3600

# A value of fewer bytes is read as it is opened.
SMALL_VALUE = 1 << 16

# Most records are read in one piece.
_PIECE = 1 << 14

# Each process adds one file of statistics; so many are merged into one.
MOST_STATS_FILES = 16

# What makes git and backups (https://bford.info/cachedir/) pass a folder by.
_PASS_BY = {
    "CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# This file is a cache directory tag created by cachekit.\n"
    b"# For information about cache directory tags see https://bford.info/cachedir/\n",
    ".gitignore": b"# Made by cachekit: not for git.\n*\n",
}

# What is found in a folder that a store has for itself, before it is one.
_OF_A_NEW_STORE = {*_PASS_BY, ".files", ".staging", ".leases", ".stats"}

# A pipe in the place of a value is not waited for.
_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class LocalStore(Store):
    """Entries in a directory, on a local disk or a network file system.

    Parameters
    ----------
    root : str or path-like
        The directory; made when first written to, for its owner alone (mode 0700).
        One that is there keeps its mode. ``~`` is the home directory.
    hash_version : int, optional
        Written to ``store.json``, for the reader's information.
    durable : bool, default False
        Have a commit wait until the disk has it: what was committed outlives a power
        cut, and an entry is never there with its name alone. Takes milliseconds.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        hash_version: int | None = None,
        durable: bool = False,
    ) -> None:
        self.root = Path(root).expanduser().absolute()
        self._base = f"{self.root}{os.sep}"
        self._staging = StagingArea(self.root, durable=durable)
        self._durable = durable
        self._hash_version = hash_version
        self._prepared_by: int | None = None

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    def __getstate__(self) -> dict[str, object]:
        """Leave behind who computes what: another process has its own to ask."""
        return {name: value for name, value in vars(self).items() if name != "flights"}

    @property
    def location(self) -> str:
        """The directory."""
        return str(self.root)

    @property
    def exists(self) -> bool:
        """Whether something was ever stored here, and not removed with the folder."""
        return self._is_ours()

    @functools.cached_property
    def place(self) -> str:
        """The directory, whatever links lead there."""
        return os.path.realpath(self.root)

    @functools.cached_property
    def flights(self) -> SingleFlight:
        """Who computes what, among all processes that use this directory."""
        folder = self.root / ".leases"
        return single_flight_at(self.place, lambda: [FileLeases(folder, self._prepare)])

    # --- look up ---

    def open(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, and note that it was used; None if absent."""
        path = f"{self._base}{key.path}/{VALUE}"
        try:
            handle = os.open(path, _READ_ONLY)
            return _small(handle, path) or open(path, "rb", buffering=0)  # noqa: PTH123  (hot path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise_unless_gone(error)
            return None

    def peek(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, which does not count as a use; None if absent."""
        path = f"{self._base}{key.path}/{VALUE}"
        try:
            file = open(path, "rb", buffering=0, opener=_open_to_read)  # noqa: SIM115  (returned)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise IsADirectoryError(errno.EISDIR, "there is no file", path)
        return file

    def locate(self, key: EntryKey) -> str | None:
        """Return the path of a value; None if it is absent."""
        path = f"{self._base}{key.path}/{VALUE}"
        return path if os.path.isfile(path) else None  # noqa: PTH113

    def note_use(self, key: EntryKey) -> None:
        """Note that an entry was used."""
        path = f"{self._base}{key.path}/{VALUE}"
        try:
            _touch(path, os.stat(path).st_mtime)  # noqa: PTH116
        except OSError:
            return

    def use(self, key: EntryKey) -> bool:
        """Tell whether there is an entry, which counts as a use."""
        path = f"{self._base}{key.path}/{VALUE}"
        try:
            facts = os.stat(path)  # noqa: PTH116  (once for each task of a loop)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not S_ISREG(facts.st_mode):
            return False
        _touch(path, facts.st_mtime)
        return True

    def files(
        self,
        key: EntryKey,
        names: Iterable[str],  # noqa: ARG002
        version: str = "",  # noqa: ARG002
    ) -> Path:
        """Return the folder of the files of an entry: they are there already."""
        return self.root / key.path / FILES

    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry."""
        try:
            path = f"{self._base}{key.path}/{VALUE}"
            return S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry, or None if it is absent."""
        return _read(f"{self._base}{key.path}/{name}")

    # --- commit ---

    def stage(self, key: EntryKey) -> Staging:
        """Start to write an entry."""
        if self._prepared_by != os.getpid():
            self._prepare()
        path = f"{self._base}{key.path}"
        try:
            return LocalStaging(self._staging, path, self._prepare)
        except FileNotFoundError:  # the store was removed
            self._prepare()
            return LocalStaging(self._staging, path, self._prepare)

    def delete(self, key: EntryKey) -> None:
        """Remove an entry: away in one rename, then file by file."""
        self.delete_many([key])

    def delete_many(self, keys: Iterable[EntryKey]) -> None:
        """Remove entries, each of them away in one rename, then file by file."""
        if not self._is_ours():
            return
        away = self._staging.new_path()
        prefixes = set()
        for number, key in enumerate(keys):
            is_done = not self._durable and self._delete_quickly(
                f"{self._base}{key.path}", f"{away}.{number}"
            )
            if not is_done:
                self._staging.remove(self.root / key.path)
            prefixes.add(os.path.dirname(f"{self._base}{key.path}"))  # noqa: PTH120
        for prefix in prefixes:
            with contextlib.suppress(OSError):  # there are more entries in it
                os.rmdir(prefix)  # noqa: PTH106

    def _delete_quickly(self, entry: str, away: str) -> bool:
        """Remove an entry by way of a free name; False if it cannot be renamed."""
        try:
            os.rename(entry, away)  # noqa: PTH104  (paths took half of the time)
        except OSError:
            return False
        if not os.path.islink(away):  # noqa: PTH114  (it leads to what is not ours)
            with contextlib.suppress(OSError):
                os.unlink(f"{away}/{VALUE}")  # noqa: PTH108
                os.unlink(f"{away}/{RECORD}")  # noqa: PTH108
                os.rmdir(away)  # noqa: PTH106
                return True
        self._staging.remove(Path(away))  # pinned, or something came in meanwhile
        return True

    def pin(self, key: EntryKey) -> None:
        """Have an entry stay when room is made."""
        if not self._is_ours() or not self.contains(key):
            raise absent_entry(self, key)
        try:
            unmark(self.root / key.path / VALUE)
            # Makes no folder: an entry that was removed meanwhile does not come back.
            (self.root / key.path / PIN).touch()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise absent_entry(self, key) from error

    def unpin(self, key: EntryKey) -> None:
        """Take the pin off an entry."""
        if self._is_ours():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                (self.root / key.path / PIN).unlink()

    def clear(self, function: str | None = None) -> None:
        """Remove every entry, or every entry of one function.

        Only what has the shape of a store is removed, so that a store made in a
        folder with other things in it leaves them alone.
        """
        if not self._is_ours():
            return
        if function is None:
            self._staging.remove(self.root / ".stats")
            self._staging.remove(self.root / ACCEPTED)
        for folder in self._function_folders(function):
            versions = code_versions(folder)
            for version in versions:
                self._staging.remove(version)
            if versions:
                with contextlib.suppress(OSError):  # something else lives there
                    folder.rmdir()
        if function is not None:  # last, since it writes: the disk may be full
            start = f"{folder_name(function)}/"
            ours = {
                path: n for path, n in self._counts().items() if path.startswith(start)
            }
            self._add_uses({path: Uses(-n) for path, n in ours.items()})

    def _prepare(self) -> None:
        """Make the root, check that it is ours, sweep what dead processes left."""
        if self._prepared_by == os.getpid() and os.access(
            f"{self._base}store.json", os.F_OK
        ):
            return
        self._staging.make_root()
        if not self._is_ours():
            self._make_ours()
        self._staging.sweep()
        self._prepared_by = os.getpid()

    def _make_ours(self) -> None:
        """Make the root a store; only a folder of its own is to be passed by."""
        if all(path.name in _OF_A_NEW_STORE for path in self.root.iterdir()):
            for name, content in _PASS_BY.items():
                self._staging.write_once(self.root / name, content)
        about = describe_store(self._hash_version)
        self._staging.write(self.root / "store.json", about)

    def _is_ours(self) -> bool:
        """Tell whether this is a store; one of another kind or format is an error."""
        about = _read(self.root / "store.json")
        if not about:  # none, or emptied by a power cut
            return False
        check_store(about, self.location)
        return True

    # --- listing ---

    def entries(self, function: str | None = None) -> Iterator[EntryInfo]:
        """List the entries, or those of one function, in no order."""
        for folder in self._function_folders(function):
            for version in code_versions(folder):
                sizes = RecordSizes()
                for prefix in prefixes(version):
                    yield from entries_in(prefix, folder.name, version.name, sizes)

    def _function_folders(self, function: str | None) -> list[Path]:
        if function is not None:
            return [self.root / folder_name(function)]
        return [path for path in folders(self.root) if not path.name.startswith(".")]

    # --- code versions and statistics ---

    def write_code(self, key: EntryKey, content: bytes) -> None:
        """Keep a description of the code version of `key`, unless there is one."""
        self._prepare()
        self._staging.write_once(self.root / code_path(key), content)

    def read_code(self, key: EntryKey) -> bytes | None:
        """Return the description of the code version of `key`, or None."""
        return _read(self.root / code_path(key))

    def add_hits(
        self, hits: Mapping[EntryKey, int], misses: Mapping[str, int] | None = None
    ) -> None:
        """Write this process's counts into a file of their own."""
        counts = counts_by_path(hits, misses)
        self._add_uses({path: Uses(count) for path, count in counts.items()})
        # Which code version of a function was used last is to be told exactly.
        used = {key[:2]: key for key, count in hits.items() if count > 0}
        for key in used.values():
            with contextlib.suppress(OSError):
                os.utime(f"{self._base}{key.path}/{VALUE}")

    def _add_uses(self, uses: dict[str, Uses]) -> None:
        if not uses:
            return
        self._prepare()
        folder = self.root / ".stats"
        folder.mkdir(exist_ok=True)
        others = list(folder.glob("*.json"))
        if len(others) >= MOST_STATS_FILES:
            statistics.merge(uses, self._adopt(others))
        name = f"{self._staging.new_path().name}.json"
        self._staging.write(folder / name, statistics.to_json(uses))

    def hits(self) -> dict[str, int]:
        """Return how many times each entry was used, by `EntryKey.path`."""
        return hits_among(self._counts())

    def misses(self) -> dict[str, int]:
        """Return how many calls of each function were computed, by its folder."""
        return misses_among(self._counts())

    def _counts(self) -> dict[str, int]:
        total: dict[str, Uses] = {}
        for path in (self.root / ".stats").glob("*.json"):
            statistics.merge(total, _uses_in(path))
        return {path: uses.times for path, uses in total.items() if uses.times}

    def write_document(self, path: str, content: bytes) -> None:
        """Keep a small file, in the place of what is there."""
        self._prepare()
        self._staging.write(self.root / check_document(path), content)

    def read_document(self, path: str) -> bytes | None:
        """Return a small file, or None if it is absent."""
        return _read(self.root / check_document(path))

    def documents(self, folder: str) -> list[str]:
        """Return the paths of the small files in a folder."""
        try:
            names = os.listdir(f"{self._base}{folder}")  # noqa: PTH208  (in each process)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(f"{folder}/{name}" for name in names)

    def remove_document(self, path: str) -> None:
        """Remove a small file; silent if it is absent."""
        (self.root / check_document(path)).unlink(missing_ok=True)

    def _adopt(self, paths: list[Path]) -> dict[str, Uses]:
        """Take over the counts in some files; a rename decides who gets each."""
        total: dict[str, Uses] = {}
        for path in paths:
            mine = self._staging.new_path()
            with contextlib.suppress(FileNotFoundError):
                path.rename(mine)
                statistics.merge(total, _uses_in(mine))
                self._staging.remove(mine)
        return total


def _small(handle: int, path: str) -> BinaryIO | None:
    """Read a small value, and note that it was used; None if it is large.

    A file object would take as long as all the rest.
    """
    try:
        facts = os.fstat(handle)
        if not S_ISREG(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, "there is no file", path)
        _touch(path, facts.st_mtime)
        if facts.st_size > SMALL_VALUE:
            return None
        content = os.read(handle, facts.st_size)
        return io.BytesIO(content) if len(content) == facts.st_size else None
    finally:
        os.close(handle)


def _open_to_read(path: str, flags: int) -> int:  # noqa: ARG001
    return os.open(path, _READ_ONLY)


def _touch(path: str, last: float) -> None:
    """Note that a value was used, unless that was noted just now."""
    if time.time() - last > TOUCH_SECONDS:
        with contextlib.suppress(OSError):  # a shared cache may be read-only
            os.utime(path)


def _read(path: str | Path) -> bytes | None:
    try:
        handle = os.open(path, _READ_ONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:  # in four system calls; a file object takes seven
        pieces = []
        while piece := os.read(handle, _PIECE):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(handle)


def _uses_in(path: Path) -> dict[str, Uses]:
    try:
        return statistics.from_json(path.read_bytes())
    except OSError:
        return {}
