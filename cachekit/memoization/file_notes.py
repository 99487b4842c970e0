"""Remember the digests of files: in the process, and the costly ones on disk.

A digest belongs to a path and a *stamp*, and is remembered only if any later change of
the file shows in its stamp. What is not remembered is read again: a file that cannot be
noted costs time, and is no error.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
import secrets
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from blake3 import blake3

from cachekit.memoization.file_reading import READ_ONLY, Sight, add_fields
from cachekit.memoization.locations import default_location

# A stamp is settled if the last change is so much older than the reading. Timestamps
# tick every 4 ms on most disks, every 2 s on FAT; a file server's clock may lag behind.
# What needs a minute is a memory map: Linux notes the first store to a page, and none
# of the next before the page is written back, half a minute later. Until then content
# changes under the same stamp (seen on ext4).
SETTLED_NS = 60 * 10**9

# So many stamps are always remembered in a process, and at most twice as many: 50 MB.
MOST_REMEMBERED = 1 << 16

# What takes 5 ms to read, or more, is remembered on disk too.
LARGE_BYTES = 16 << 20

# Notes on disk, of half a kilobyte each. At so many, the oldest quarter goes.
MOST_NOTES = 4096

# Changes whenever digests or notes change their meaning.
NOTE_FORMAT = 1

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK


class _Memo:
    """Digests by path and stamp: in this process, and on disk if they are costly.

    Without locks: two threads at once may forget something, which costs time only.
    """

    def __init__(self) -> None:
        self.clock = time.time_ns
        self.forget()

    def forget(self) -> None:
        """Forget what this process remembers."""
        self._young: dict[str, tuple[str, bytes]] = {}
        self._old: dict[str, tuple[str, bytes]] = {}

    def is_settled(self, sight: Sight, now: int) -> bool:
        """Tell whether any change after `now` must show in the stamp."""
        return sight.changed_ns < now - SETTLED_NS

    def recall(self, path: str, sight: Sight, now: int) -> bytes | None:
        """Return the digest that was had under the same stamp, or None."""
        if not self.is_settled(sight, now):
            return None
        place = os.path.abspath(path)  # noqa: PTH100  (hot path)
        known = self._young.get(place)
        if known is None:
            known = self._old.get(place)
            if known is not None:
                self._put(place, known)
        if known is not None and known[0] == sight.stamp:
            return known[1]
        if sight.size < LARGE_BYTES:
            return None
        digest = _recall_from_disk(path, sight.stamp)
        if digest is not None:
            self._put(place, (sight.stamp, digest))
        return digest

    def remember(self, path: str, sight: Sight, now: int, digest: bytes) -> None:
        """Remember the digest of what was read after `now`, if it is settled."""
        if not self.is_settled(sight, now):
            return
        self._put(os.path.abspath(path), (sight.stamp, digest))  # noqa: PTH100
        if sight.size >= LARGE_BYTES:
            _remember_on_disk(path, sight.stamp, digest)

    def _put(self, place: str, known: tuple[str, bytes]) -> None:
        """Put among the young; when these are many, they become the old."""
        if len(self._young) >= MOST_REMEMBERED:
            self._old, self._young = self._young, {}
        self._young[place] = known


memo = _Memo()


# --- notes on disk ---

# Whoever can write a note can have a file taken for another. So the folder and the
# note must belong to this user, and nobody else may write there; or there are no notes.
# They are reached through the opened folder, which no one can exchange after the check.


def _recall_from_disk(path: str, stamp: str) -> bytes | None:
    about = _about(path, stamp)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
        with _notes() as folder:
            handle = os.open(_note_name(about), READ_ONLY | _NO_LINK, dir_fd=folder)
            with io.FileIO(handle) as file:
                _check_private(handle)
                check, _, text = file.read(1 << 16).partition(b"\n")
        if check == _checksum(text):
            note = json.loads(text)
            digest = bytes.fromhex(note.pop("digest"))
            return digest if note == about else None
    return None


def _remember_on_disk(path: str, stamp: str, digest: bytes) -> None:
    about = _about(path, stamp)
    text = json.dumps({**about, "digest": digest.hex()}).encode()
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        folder = _notes_path()
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        with _notes() as opened:
            _make_room(opened)
            _publish(opened, _note_name(about), _checksum(text) + b"\n" + text)


def _about(path: str, stamp: str) -> dict[str, object]:
    """Return all that must be the same for a note to hold."""
    return {
        "format": NOTE_FORMAT,
        "machine": _machine(),
        "path": os.path.realpath(path),
        "stamp": stamp,
    }


@functools.cache
def _machine() -> str:
    """Name the machine as no other is that may see the notes, also when restarted."""
    with contextlib.suppress(OSError):
        known = Path("/etc/machine-id").read_text(errors="replace").strip()
        if known:
            return f"{socket.gethostname()}.{known}"
    return f"{socket.gethostname()}.{uuid.getnode():x}"


def _note_name(about: dict[str, object]) -> str:
    content = blake3()
    for key in ("machine", "path"):
        add_fields(content, os.fsencode(str(about[key])))
    return content.hexdigest(16)


def _checksum(text: bytes) -> bytes:
    return blake3(text).hexdigest(16).encode()


def _notes_path() -> Path:
    place = default_location()
    if "://" in place:
        from platformdirs import user_cache_path

        return user_cache_path("cachekit", appauthor=False) / ".files"
    return Path(place) / ".files"


@contextlib.contextmanager
def _notes() -> Iterator[int]:
    """Open the folder of the notes; an OSError unless it is ours alone."""
    is_folder = getattr(os, "O_DIRECTORY", 0)
    folder = os.open(_notes_path(), os.O_RDONLY | is_folder | _NO_LINK)
    try:
        _check_private(folder)
        yield folder
    finally:
        os.close(folder)


def _check_private(handle: int) -> None:
    facts = os.fstat(handle)
    is_plain = S_ISREG(facts.st_mode) or S_ISDIR(facts.st_mode)
    if not is_plain or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "not ours, or others may write to it")


def _publish(folder: int, name: str, content: bytes) -> None:
    staged = f".{secrets.token_hex(8)}"
    try:
        with os.fdopen(os.open(staged, _NEW_FILE, 0o600, dir_fd=folder), "wb") as file:
            file.write(content)
        os.replace(staged, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(staged, dir_fd=folder)
        raise


def _make_room(folder: int) -> None:
    names = os.listdir(folder)
    if len(names) < MOST_NOTES:
        return
    ages = {}
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # removed by another process
            ages[name] = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
    for name in sorted(ages, key=ages.__getitem__)[: len(ages) // 4]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
