"""What entries and documents are called, the same on every store."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import NamedTuple

# The file whose presence makes an entry, and the facts about it.
VALUE = "value"
RECORD = "record.json"

# The folder of the files that a call has made.
FILES = "files"

# An empty file beside them, so that a pin goes where the entry goes.
PIN = "pinned"

# Many filesystems stop at 255 bytes a name.
LONGEST_NAME = 120

# Where `Fit` and `fit` are one folder, names all in lower case still differ.
_PLAIN_NAME = re.compile(r"[a-z0-9_-]([a-z0-9._-]*[a-z0-9_-])?")

# A name that got a suffix; those of Python's functions have no "-".
_MADE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*-[0-9a-f]{8}")

# The folders of documents: results of runs, and which code counts as which.
RUNS = "runs"
ACCEPTED = ".accepted"
DOCUMENT_FOLDERS = (RUNS, ACCEPTED)

# Taken by the store itself.
_NAMES_OF_THE_STORE = {"store.json", "cachedir.tag", RUNS}

# To Windows these are devices, also as ``nul.txt``.
_DEVICES = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(?=\.|$)", re.IGNORECASE)


class EntryKey(NamedTuple):
    """What names an entry.

    Attributes
    ----------
    function : str
        ``module.qualname``, or the folder name made of it.
    fingerprint : str
        Hash of the function's code, 32 hexadecimal digits.
    digest : str
        Hash of the whole call, 32 hexadecimal digits.
    """

    function: str
    fingerprint: str
    digest: str

    @property
    def lease(self) -> str:
        """The name under which it is said who computes the entry."""
        return f"{self.fingerprint[:16]}{self.digest}"

    @property
    def path(self) -> str:
        """The place of the entry, the same on every store, with ``/`` between parts."""
        folder = folder_name(self.function)
        return f"{folder}/{self.fingerprint}/{self.digest[:2]}/{self.digest[2:]}"


class EntryInfo(NamedTuple):
    """What a listing says of an entry.

    Attributes
    ----------
    key : EntryKey
        Its ``function`` is the folder name.
    size : int
        Bytes of all its files.
    last_used : float
        Seconds since 1970, exact to an hour.
    is_pinned : bool
        Whether it stays when room is made.
    """

    key: EntryKey
    size: int
    last_used: float
    is_pinned: bool = False


@lru_cache(maxsize=4096)
def folder_name(function: str) -> str:
    """Make a file name of a function's name; plain ones in lower case stay.

    Functions whose names differ have folders that differ, also where upper and lower
    case are the same. The name of a folder stands for itself.

    >>> folder_name("analysis.fit")
    'analysis.fit'
    >>> folder_name("analysis.Model.fit")
    'analysis.Model.fit-79219874'
    >>> folder_name("analysis.make.<locals>.fit")
    'analysis.make._locals_.fit-39456dd9'
    """
    if _is_kept(function):
        return function
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", function).lstrip(".")
    safe = _DEVICES.sub(r"\1_", safe)
    suffix = hashlib.blake2b(function.encode(), digest_size=4).hexdigest()
    return f"{safe[: LONGEST_NAME - 9]}-{suffix}"


def _is_kept(name: str) -> bool:
    is_safe = len(name) <= LONGEST_NAME and not _DEVICES.match(name)
    is_plain = _PLAIN_NAME.fullmatch(name) and name not in _NAMES_OF_THE_STORE
    return is_safe and bool(is_plain or _MADE_NAME.fullmatch(name))


def check_document(path: str) -> str:
    """Return the path of a document, if it is one.

    Raises
    ------
    ValueError
        If it leads elsewhere.
    """
    folder, *names = path.split("/")
    is_plain = all(
        re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) for name in names
    )
    if folder not in DOCUMENT_FOLDERS or not names or not is_plain:
        raise ValueError(f"{path!r} is no place for a document")
    return path
