"""List and measure the entries of a local store, of which there may be a million.

What takes the time is to ask the file system. A value that has nothing beside it but
its record says so by its own mode, the *plain* bit; and the size of records is that of
some others of the same code version, where there are many.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
from pathlib import Path

from cachekit.stores.names import FILES, PIN, RECORD, VALUE, EntryInfo, EntryKey

# The "sticky" bit, which means nothing for a file. Where a copy lost it, or a file
# system has none, all is asked for: slower, and as right.
PLAIN = stat.S_ISVTX

# So many records of a code version are measured.
_MEASURED = 100

_DIGEST = re.compile(r"[0-9a-f]{32}")
_PREFIX = re.compile(r"[0-9a-f]{2}")


def folders(path: Path) -> list[Path]:
    """Return the folders in a folder; none if it is gone."""
    try:
        with os.scandir(path) as found:
            return [Path(item.path) for item in found if item.is_dir()]
    except OSError as error:
        raise_unless_gone(error)
        return []


def code_versions(folder: Path) -> list[Path]:
    """Return the code versions in the folder of a function."""
    return [path for path in folders(folder) if _is_code_version(path)]


def _is_code_version(path: Path) -> bool:
    """Tell by what is inside: others name their folders by 32 digits too."""
    if _DIGEST.fullmatch(path.name) is None:
        return False
    try:
        names = os.listdir(path)  # noqa: PTH208
    except OSError as error:
        raise_unless_gone(error)
        return False
    return all(name == "code.json" or _PREFIX.fullmatch(name) for name in names)


def prefixes(version: Path) -> list[str]:
    """Return the folders of a code version that have entries in them."""
    try:
        with os.scandir(version) as found:
            return [item.path for item in found if len(item.name) == 2]
    except OSError as error:
        raise_unless_gone(error)
        return []


def entries_in(
    prefix: str, function: str, fingerprint: str, records: RecordSizes
) -> list[EntryInfo]:
    """List the entries in a folder of those whose digests begin alike.

    Parameters
    ----------
    prefix : str
        The folder.
    function, fingerprint : str
        Of their keys.
    records : RecordSizes
        What is known of their code version.
    """
    found = []
    first = prefix[-2:]
    try:
        names = os.listdir(prefix)  # noqa: PTH208  (as fast as can be)
        start, folder = _opened(prefix)
    except OSError as error:
        raise_unless_gone(error)
        return []
    try:
        for name in names:
            facts = _measure(f"{start}{name}/", folder, records)
            if facts is not None:
                size, used, is_pinned = facts
                key = EntryKey(function, fingerprint, first + name)
                found.append(EntryInfo(key, size, used, is_pinned))
    finally:
        if folder is not None:
            os.close(folder)
    return found


class RecordSizes:
    """How large the records of a code version are: their fields are the same."""

    def __init__(self) -> None:
        self._count = 0
        self._total = 0
        self._mean: int | None = None

    def of(self, entry: str, folder: int | None) -> int:
        """Return the bytes of a record, or the mean of many; 0 if it is missing."""
        if self._mean is not None:
            return self._mean
        try:
            size = os.stat(entry + RECORD, dir_fd=folder).st_size
        except OSError as error:
            raise_unless_gone(error)
            return 0
        self._count += 1
        self._total += size
        if self._count == _MEASURED:
            self._mean = round(self._total / self._count)
        return size


def raise_unless_gone(error: OSError) -> None:
    """Raise an error, unless it says that there is no such file or folder any more.

    A network file system says "stale" of what another host has just removed.
    """
    is_gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
    if not is_gone and error.errno != errno.ESTALE:
        raise error


def unmark(value: Path) -> None:
    """Have a listing look what there is beside a value."""
    facts = value.stat()
    if not facts.st_mode & PLAIN:
        return
    try:
        value.chmod(facts.st_mode & 0o777)
    except PermissionError:  # in a shared folder, a file of somebody else
        copy = value.with_name(f"{VALUE}.{uuid.uuid4().hex}")
        try:
            shutil.copyfile(value, copy)
            os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            copy.replace(value)  # who reads the other one goes on with it
        finally:
            copy.unlink(missing_ok=True)


def _opened(folder: str) -> tuple[str, int | None]:
    """Return what a short name is to begin with, and the open folder that it is in."""
    if os.stat not in os.supports_dir_fd:  # Windows
        return f"{folder}{os.sep}", None
    return "", os.open(folder, os.O_RDONLY)


def _measure(
    entry: str, folder: int | None, records: RecordSizes
) -> tuple[int, float, bool] | None:
    """Return size, last use and pin; None if it is just gone, or has no value.

    Asks for the files that an entry may have rather than which it has: to list
    its folder takes as long as all of that.
    """
    try:
        value = os.stat(entry + VALUE, dir_fd=folder)
    except OSError as error:
        raise_unless_gone(error)
        return None
    size = value.st_size + records.of(entry, folder)
    if value.st_mode & PLAIN:
        return size, value.st_mtime, False
    if os.access(entry + FILES, os.F_OK, dir_fd=folder):
        size += _size_of_files(entry, folder)
    is_pinned = os.access(entry + PIN, os.F_OK, dir_fd=folder)
    return size, value.st_mtime, is_pinned


def _size_of_files(entry: str, folder: int | None) -> int:
    """Return the bytes of the files that a call has made."""
    total = 0
    if folder is None:
        for where, _, names in os.walk(entry + FILES):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    total += os.lstat(f"{where}/{name}").st_size
        return total
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # just gone
        for _, _, names, opened in os.fwalk(entry + FILES, dir_fd=folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    total += os.stat(name, dir_fd=opened, follow_symlinks=False).st_size
    return total
