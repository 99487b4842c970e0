"""The staging area of a local store: write first, then rename, in one step.

Whatever a process writes lies under a name of its own in ``.staging`` until it is
whole. A rename on the same file system then makes it appear, or takes something away:
at no moment is half of it there. What a dead process left is swept by a later one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import shutil
import socket
import time
import uuid
from pathlib import Path

from cachekit.stores.base import VALUE

# Staging left by another host is not known to be dead before it is this old.
FOREIGN_STAGING_SECONDS = 24 * 3600

# How often a commit tries again when another process clears the folder under it.
MOST_RENAMES = 100

_ALREADY_THERE = {errno.EEXIST, errno.ENOTEMPTY}


class StagingArea:
    """The folder ``.staging`` of a store.

    Parameters
    ----------
    root : Path
        The folder of the store.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / ".staging"

    def new_path(self) -> Path:
        """Return a path that no other process or thread will ever use."""
        return self.folder / f"{_host()}-{os.getpid()}-{uuid.uuid4().hex}"

    def write(self, path: Path, content: bytes) -> None:
        """Publish a single file whole."""
        staged = self.new_path()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            staged.write_bytes(content)
            _rename_into_place(staged, path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise

    def write_once(self, path: Path, content: bytes) -> None:
        """Publish a single file whole, unless there is one."""
        if not path.exists():
            self.write(path, content)

    def publish(self, staged: Path, final: Path) -> bool:
        """Rename a staged folder to its final name; False if there is one already."""
        while True:
            try:
                _rename_into_place(staged, final)
            except OSError as error:
                is_in_the_way = error.errno == errno.ENOTDIR and final.is_file()
                if error.errno not in _ALREADY_THERE and not is_in_the_way:
                    raise
                if (final / VALUE).is_file():
                    return False
                self.remove(final)  # damaged: an entry without a value
            else:
                return True

    def remove(self, folder: Path) -> None:
        """Rename a folder away, then empty it: readers see all of it or nothing."""
        away = self.new_path()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            folder.rename(away)
        except FileNotFoundError:
            return
        # A commit that had found its way before the rename may still arrive.
        for _ in range(MOST_RENAMES):
            shutil.rmtree(away, ignore_errors=True)
            with contextlib.suppress(OSError):
                away.unlink()  # it was a file
            if not away.exists():
                return

    def sweep(self) -> None:
        """Remove the staging folders of processes that are no more."""
        with contextlib.suppress(FileNotFoundError):
            for left in list(self.folder.iterdir()):
                if _is_abandoned(left):
                    shutil.rmtree(left, ignore_errors=True)
                    with contextlib.suppress(OSError):
                        left.unlink(missing_ok=True)


def _rename_into_place(staged: Path, final: Path) -> None:
    """Rename, making the folders above it, which a `clear` may take away meanwhile."""
    for _ in range(MOST_RENAMES):
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:  # taken away between two of them
            continue
        except FileExistsError:
            if final.parent.exists():  # a file is in the way
                raise
            continue
        try:
            staged.rename(final)
        except FileNotFoundError:
            if not staged.exists():
                raise
        else:
            return
    raise FileNotFoundError(
        errno.ENOENT, "its folder is cleared again and again", final
    )


def _is_abandoned(staging: Path) -> bool:
    host, _, pid = staging.name.rpartition("-")[0].rpartition("-")
    if host == _host() and pid.isascii() and pid.isdigit() and os.name != "nt":
        return not _is_running(int(pid))
    try:
        return time.time() - staging.stat().st_mtime > FOREIGN_STAGING_SECONDS
    except FileNotFoundError:
        return False


@functools.cache
def _host() -> str:
    """Return a name for the machine; containers that share one differ in processes."""
    name = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())
    with contextlib.suppress(OSError):
        return f"{name}.{Path('/proc/self/ns/pid').stat().st_ino}"
    return name


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
