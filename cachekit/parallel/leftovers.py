"""Folders that nobody could remove, since everybody who knew of them was killed.

The process that shares a folder holds a lock in it; the next one that makes a folder in
the same place removes those whose locks are free.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import Any

try:
    fcntl: Any = import_module("fcntl")
except ImportError:  # on Windows; what is left stays there
    fcntl = None

OWNER = "owner"

# One that is so new may be about to be locked.
NEW_SECONDS = 60.0


def hold(folder: Path) -> int:
    """Lock a folder, until what is returned is closed or this process ends."""
    lock = os.open(folder / OWNER, os.O_CREAT | os.O_RDWR, 0o600)
    if fcntl is not None:
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def sweep(place: Path, pattern: str) -> None:
    """Remove the folders of processes that are gone."""
    for folder in place.glob(pattern):
        with contextlib.suppress(OSError):
            if _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    about = folder.stat()
    if os.name != "posix" or about.st_uid != os.getuid():
        return False
    if time.time() - about.st_mtime < NEW_SECONDS:
        return False
    lock = os.open(folder / OWNER, os.O_RDWR)  # without one it is not ours to judge
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(lock)
    return True
