"""Look at a file, and read it: what the digests of files and folders are made from.

What is seen without reading has to tell of every change. Where it cannot, as in memory,
it says so.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import shutil
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

from blake3 import blake3

from cachekit.hashing.large import LARGE_BYTES, large_hasher

# Whole, it stays in the processor's cache: twice as fast as 64 MB at a time.
PIECE_BYTES = 8 << 20

READ_ONLY = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe that has taken the place is not waited for
)

# The time of change of what must not be remembered.
_NEVER = 1 << 80


class Sight(NamedTuple):
    """What is seen of a file or folder without reading it."""

    stamp: str
    changed_ns: int
    size: int


def look_at(path: str) -> Sight:
    """Open a file and look at it: a file server is asked anew at each opening."""
    handle = os.open(path, READ_ONLY)
    try:
        return sight_of(handle, path)
    finally:
        os.close(handle)


def sight_of(handle: int, path: str) -> Sight:
    """Look at an open file; refuse what is none."""
    facts = os.fstat(handle)
    if not S_ISREG(facts.st_mode):
        if S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise special(path)
    device, inode, size = facts.st_dev, facts.st_ino, facts.st_size
    modified, changed = facts.st_mtime_ns, facts.st_ctime_ns
    newest = max(modified, changed) if inode and _tells_changes(device) else _NEVER
    return Sight(f"{device}:{inode}:{size}:{modified}:{changed}", newest, size)


@functools.lru_cache(maxsize=256)
def _tells_changes(device: int) -> bool:
    """Tell whether every change shows in the times of a file, sooner or later.

    In memory a store to a map never shows, not even when it is flushed. The ctime of
    Windows is when the file was made.
    """
    if os.name == "nt":
        return False
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return True
    # 36 35 0:32 / /tmp rw,nosuid shared:1 - tmpfs tmpfs rw,size=8192k
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {
        line.partition(" - ")[2].partition(" ")[0]
        for line in mounts
        if line.split(maxsplit=3)[2:3] == [number]
    }
    return kinds.isdisjoint({"tmpfs", "ramfs", "devtmpfs"})


def read(handle: int, size: int) -> tuple[int, bytes]:
    """Hash a file in pieces; return how many bytes there were, and the digest.

    Never through a map: a file that is cut meanwhile would end the process.
    """
    if size < LARGE_BYTES:
        return _read_into(blake3(), handle, size)
    with large_hasher() as hasher:
        return _read_into(hasher, handle, size)


def _read_into(content: blake3, handle: int, size: int) -> tuple[int, bytes]:
    piece = memoryview(bytearray(max(min(size + 1, PIECE_BYTES), 1 << 12)))
    total = 0
    with io.FileIO(handle, closefd=False) as file:
        while got := file.readinto(piece):
            content.update(piece[:got])
            total += got
    return total, content.digest()


def special(path: str) -> shutil.SpecialFileError:
    """Return the error of a pipe, a socket or a device."""
    what = "neither a file nor a folder, and so without content"
    return shutil.SpecialFileError(errno.EINVAL, what, path)


def add_fields(content: blake3, *fields: bytes) -> None:
    """Hash some fields, each with its length before it."""
    for field in fields:
        content.update(len(field).to_bytes(8, "little") + field)
