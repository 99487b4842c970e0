"""A store in a directory that a person can read with ``ls`` and ``cat``.

::

    <root>/
      store.json                            formats, written once
      <function>/<fingerprint>/code.json    one code version
      <function>/<fingerprint>/<aa>/<rest>/ one ENTRY: value, record.json
      .staging/<process>-<uuid>/            entries being written
      .leases/<key>                         who is computing an entry
      .stats/<process>-<uuid>.json          how often entries were used

Everything is written into ``.staging`` and renamed to its final name: readers see a
whole entry or none, whatever dies in between. Anything under a name that begins
with a dot may be deleted at any time. A folder that holds nothing else also gets a
``.gitignore`` and a ``CACHEDIR.TAG``, so that git and backups pass it by.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from cachekit.errors import StoreError
from cachekit.stores.base import (
    VALUE,
    EntryInfo,
    EntryKey,
    Staging,
    Store,
    folder_name,
)
from cachekit.stores.leases import SingleFlight, single_flight_at
from cachekit.stores.staging import StagingArea

FORMAT = 1

# A use is noted at most so often: one more system call an hour, not one a hit.
TOUCH_SECONDS = 3600

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
_OF_A_NEW_STORE = {*_PASS_BY, ".staging", ".leases", ".stats"}

_DIGEST = re.compile(r"[0-9a-f]{32}")
_PREFIX = re.compile(r"[0-9a-f]{2}")


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

    @functools.cached_property
    def flights(self) -> SingleFlight:
        """Who computes what, among all processes that use this directory."""
        return single_flight_at(self.root / ".leases", self._prepare)

    # --- look up ---

    def open(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, and note that it was used; None if absent."""
        path = f"{self._base}{key.path}/{VALUE}"
        try:
            file = open(path, "rb", buffering=0)  # noqa: SIM115, PTH123  (hot path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if time.time() - os.fstat(file.fileno()).st_mtime > TOUCH_SECONDS:
            with contextlib.suppress(OSError):  # a shared cache may be read-only
                os.utime(path)
        return file

    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry."""
        try:
            return S_ISREG((self.root / key.path / VALUE).stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry, or None if it is absent."""
        return _read(self.root / key.path / name)

    # --- commit ---

    def stage(self, key: EntryKey) -> Staging:
        """Start to write an entry."""
        self._prepare()
        return _LocalStaging(self._staging, self.root / key.path)

    def delete(self, key: EntryKey) -> None:
        """Remove an entry: away in one rename, then file by file."""
        if not self._is_ours():
            return
        self._staging.remove(self.root / key.path)

    def clear(self, function: str | None = None) -> None:
        """Remove every entry, or every entry of one function.

        Only what has the shape of a store is removed, so that a store made in a
        folder with other things in it leaves them alone.
        """
        if not self._is_ours():
            return
        if function is None:
            self._staging.remove(self.root / ".stats")
        for folder in self._function_folders(function):
            versions = _code_versions(folder)
            for version in versions:
                self._staging.remove(version)
            if versions:
                with contextlib.suppress(OSError):  # something else lives there
                    folder.rmdir()
        if function is not None:  # last, since it writes: the disk may be full
            start = f"{folder_name(function)}/"
            self._add_counts(
                {path: -n for path, n in self.hits().items() if path.startswith(start)}
            )

    def _prepare(self) -> None:
        """Make the root, check that it is ours, sweep what dead processes left."""
        if self._prepared_by == os.getpid() and (self.root / "store.json").is_file():
            return
        self._staging.make_root()
        if not self._is_ours():
            self._make_ours()
        self._staging.sweep()
        self._prepared_by = os.getpid()

    def _make_ours(self) -> None:
        """Make the root a store; only a folder of its own is to be passed by."""
        facts: dict[str, object] = {"store": "cachekit", "format": FORMAT}
        if self._hash_version is not None:
            facts["hash_version"] = self._hash_version
        if all(path.name in _OF_A_NEW_STORE for path in self.root.iterdir()):
            for name, content in _PASS_BY.items():
                self._staging.write_once(self.root / name, content)
        self._staging.write(self.root / "store.json", _to_json(facts))

    def _is_ours(self) -> bool:
        """Tell whether this is a store; one of another kind or format is an error."""
        about = _read(self.root / "store.json")
        if not about:  # none, or emptied by a power cut
            return False
        try:
            facts = json.loads(about)
            kind, found = facts["store"], facts["format"]
        except (ValueError, KeyError, TypeError):
            kind = found = None
        if kind != "cachekit":
            raise StoreError(f"{self.root}/store.json is not one of cachekit's")
        if found != FORMAT:
            raise StoreError(
                f"the store at {self.root} has format {found}, this cachekit writes "
                f"{FORMAT}; use another folder, or the cachekit that made it"
            )
        return True

    # --- listing ---

    def entries(self, function: str | None = None) -> Iterator[EntryInfo]:
        """List the entries, or those of one function, in no order."""
        for folder in self._function_folders(function):
            for version in _code_versions(folder):
                for prefix in _folders(version):
                    for entry in _folders(prefix):
                        key = EntryKey(
                            folder.name, version.name, prefix.name + entry.name
                        )
                        info = _describe(key, entry)
                        if info is not None:
                            yield info

    def _function_folders(self, function: str | None) -> list[Path]:
        if function is not None:
            return [self.root / folder_name(function)]
        return [path for path in _folders(self.root) if not path.name.startswith(".")]

    # --- code versions and statistics ---

    def write_code(self, key: EntryKey, content: bytes) -> None:
        """Keep a description of the code version of `key`, unless there is one."""
        self._prepare()
        self._staging.write_once(self._code_path(key), content)

    def read_code(self, key: EntryKey) -> bytes | None:
        """Return the description of the code version of `key`, or None."""
        return _read(self._code_path(key))

    def _code_path(self, key: EntryKey) -> Path:
        return self.root / folder_name(key.function) / key.fingerprint / "code.json"

    def add_hits(self, hits: Mapping[EntryKey, int]) -> None:
        """Write this process's counts into a file of their own."""
        self._add_counts({key.path: count for key, count in hits.items()})

    def _add_counts(self, counts: dict[str, int]) -> None:
        if not counts:
            return
        self._prepare()
        folder = self.root / ".stats"
        folder.mkdir(exist_ok=True)
        others = list(folder.glob("*.json"))
        if len(others) >= MOST_STATS_FILES:
            _merge(counts, self._adopt(others))
        self._staging.write(
            folder / f"{self._staging.new_path().name}.json", _to_json(counts)
        )

    def hits(self) -> dict[str, int]:
        """Return how many times each entry was used, by `EntryKey.path`."""
        total: dict[str, int] = {}
        for path in (self.root / ".stats").glob("*.json"):
            _merge(total, _counts_in(path))
        return {path: count for path, count in total.items() if count}

    def _adopt(self, paths: list[Path]) -> dict[str, int]:
        """Take over the counts in some files; a rename decides who gets each."""
        total: dict[str, int] = {}
        for path in paths:
            mine = self._staging.new_path()
            with contextlib.suppress(FileNotFoundError):
                path.rename(mine)
                _merge(total, _counts_in(mine))
                mine.unlink()
        return total


class _LocalStaging(Staging):
    def __init__(self, area: StagingArea, final: Path) -> None:
        self._area = area
        self._final = final
        self._folder = area.new_folder()

    def open(self, name: str) -> BinaryIO:
        return (self._folder / name).open("wb")

    def commit(self) -> bool:
        return self._area.publish(self._folder, self._final)

    def replace(self) -> None:
        # Two steps: between them a reader misses, and recomputes. A third writer
        # may publish in between, hence the loop.
        while not self._area.publish(self._folder, self._final):
            self._area.remove(self._final)

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _to_json(facts: Mapping[str, object]) -> bytes:
    return (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as found:
            return [Path(item.path) for item in found if item.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _code_versions(folder: Path) -> list[Path]:
    return [path for path in _folders(folder) if _is_code_version(path)]


def _is_code_version(path: Path) -> bool:
    """Tell by what is inside: others name their folders by 32 digits too."""
    if _DIGEST.fullmatch(path.name) is None:
        return False
    with contextlib.suppress(FileNotFoundError):
        names = [item.name for item in path.iterdir()]
        return all(name == "code.json" or _PREFIX.fullmatch(name) for name in names)
    return False


def _describe(key: EntryKey, entry: Path) -> EntryInfo | None:
    """Measure an entry; None if it has just been removed, or has no value."""
    size, last_used = 0, None
    with contextlib.suppress(FileNotFoundError), os.scandir(entry) as files:
        for file in files:
            facts = file.stat()
            size += facts.st_size
            if file.name == VALUE:
                last_used = facts.st_mtime
    return None if last_used is None else EntryInfo(key, size, last_used)


def _merge(total: dict[str, int], more: Mapping[str, int]) -> None:
    for path, count in more.items():
        total[path] = total.get(path, 0) + count


def _counts_in(path: Path) -> dict[str, int]:
    """Read one file of counts; a damaged one counts for nothing."""
    try:
        found = json.loads(path.read_bytes())
        return {str(name): int(count) for name, count in found.items()}
    except (OSError, ValueError, ArithmeticError, RecursionError):
        return {}
    except (AttributeError, TypeError):  # JSON, but no counts
        return {}
