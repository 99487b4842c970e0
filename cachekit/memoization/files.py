"""A file as an argument, which counts by its content; a folder likewise.

::

    File("data.csv").__cachekit_hash__()
     1 stat      a file, a folder, or neither
     2 open      it may be read, and its *stamp*: device, inode, size, mtime, ctime
     3 recall    the digest that was had under this stamp, in this process or on disk
     4 read      in pieces, through BLAKE3; the stamp is taken once more
     5 remember  if the stamp is the same, and *settled*: any later change shows in it

A folder goes the same way. Its stamp covers the names and stamps of all that is below.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
import secrets
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple, final

from blake3 import blake3

from cachekit.hashing.hasher import MOST_THREADS, THREADED_BYTES
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

# Whole, it stays in the processor's cache: twice as fast as 64 MB at a time.
PIECE_BYTES = 8 << 20

_READ_ONLY = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe that has taken the place is not waited for
)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK

# The time of change of what must not be remembered.
_NEVER = 1 << 80


@final
class File:
    """A file or a folder, as an argument that counts by its content.

    The same content under another name is the same argument; one byte changed makes
    another. It is path-like: ``open(file)``, ``pandas.read_csv(file)`` and
    ``Path(file)`` take it as it is.

    Parameters
    ----------
    path : str or path-like
        Where it is. Nothing is looked at before the digest is asked for. A relative
        path is taken from the working folder of that moment, as `open` does.

    Attributes
    ----------
    path : pathlib.Path
        As given.

    Raises
    ------
    OSError
        From the cached call, or from `digest`, as opening the file would: a
        `FileNotFoundError` or `PermissionError` that names it. A pipe, socket or device
        is a `shutil.SpecialFileError`.

    Notes
    -----
    Two are equal if their paths are, but count as the same argument if their contents
    are. The name does not count: a function that uses it should take it as text, too.

    A folder counts by the names and contents of everything below it, hidden files and
    empty folders included. Symbolic links are followed; one that leads to a folder
    around itself is an `OSError`, one that leads nowhere counts by its name.

    A file that was not changed for a minute is read once: then its digest is remembered
    with device, inode, size and both times, in the process, and from 16 MB on in the
    user's cache folder too. Files in memory (tmpfs) and on Windows are read each time,
    since their times do not tell of every change. A change through a memory map counts
    from when it is flushed.

    Examples
    --------
    >>> File("data.csv")
    File('data.csv')
    >>> File("data.csv").path.suffix
    '.csv'
    """

    __slots__ = ("_path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = os.fspath(path)
        if not isinstance(text, str):
            raise TypeError(f"File() takes a path of text, not {text!r}")
        if not text:  # `Path` would make it the working folder
            raise ValueError("File() takes the path of a file or folder, not ''")
        self._path = Path(text)

    @property
    def path(self) -> Path:
        """The path, as it was given."""
        return self._path

    def __fspath__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"File({str(self._path)!r})"

    def __eq__(self, other: object) -> bool:
        return self._path == other._path if type(other) is File else NotImplemented

    def __hash__(self) -> int:
        return hash((File, self._path))

    def __reduce__(self) -> tuple[type[File], tuple[str]]:
        return File, (str(self._path),)

    def __cachekit_hash__(self) -> tuple[str, bytes]:
        """Count by content."""
        path = str(self._path)
        mode = os.stat(path).st_mode  # noqa: PTH116  (hot path)
        if S_ISDIR(mode):
            return ("folder", _digest_folder(path))
        if S_ISREG(mode):
            return ("file", _digest_file(path)[1])
        raise _special(path)


# --- a file ---


class _Sight(NamedTuple):
    """What is seen of a file or folder without reading it."""

    stamp: str
    changed_ns: int
    size: int


def _digest_file(path: str) -> tuple[str, bytes]:
    """Return stamp and digest; no stamp if the file was changed while it was read."""
    now = memo.clock()
    handle = os.open(path, _READ_ONLY)
    try:
        sight = _sight_of(handle, path)
        known = memo.recall(path, sight, now)
        if known is not None:
            return sight.stamp, known
        size, digest = _read(handle, sight.size)
        # Files of /proc have content but no size, and change without a sign.
        if size != sight.size or _sight_of(handle, path) != sight:
            return "", digest
        memo.remember(path, sight, now, digest)
        return sight.stamp, digest
    finally:
        os.close(handle)


def _sight_of(handle: int, path: str) -> _Sight:
    facts = os.fstat(handle)
    if not S_ISREG(facts.st_mode):
        if S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise _special(path)
    device, inode, size = facts.st_dev, facts.st_ino, facts.st_size
    modified, changed = facts.st_mtime_ns, facts.st_ctime_ns
    newest = max(modified, changed) if inode and _tells_changes(device) else _NEVER
    return _Sight(f"{device}:{inode}:{size}:{modified}:{changed}", newest, size)


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


def _read(handle: int, size: int) -> tuple[int, bytes]:
    """Hash a file in pieces; return how many bytes there were, and the digest.

    Never through a map: a file that is cut meanwhile would end the process.
    """
    threads = min(MOST_THREADS, os.cpu_count() or 1) if size >= THREADED_BYTES else 1
    content = blake3(max_threads=threads)
    piece = memoryview(bytearray(max(min(size + 1, PIECE_BYTES), 1 << 12)))
    total = 0
    with io.FileIO(handle, closefd=False) as file:
        while got := file.readinto(piece):
            content.update(piece[:got])
            total += got
    return total, content.digest()


def _special(path: str) -> shutil.SpecialFileError:
    what = "neither a file nor a folder, and so without content"
    return shutil.SpecialFileError(errno.EINVAL, what, path)


# --- a folder ---


class _Folder(NamedTuple):
    """A folder and what is in it, in the order of the names."""

    path: str
    sight: _Sight
    parts: list[tuple[bytes, bytes, _Folder | str]]  # kind, name, folder or stamp


_FILE, _FOLDER, _NOWHERE = b"file", b"folder", b"nowhere"


def _digest_folder(path: str) -> bytes:
    now = memo.clock()
    folder = _look_into(path)
    known = memo.recall(path, folder.sight, now)
    if known is not None:
        return known
    changed: list[str] = []
    digest = _digest_parts(folder, {}, changed)
    if not changed:
        memo.remember(path, folder.sight, now, digest)
    return digest


def _look_into(path: str) -> _Folder:
    real = os.path.realpath(path)
    return _walk(path, real, {real}, {})


def _walk(path: str, real: str, around: set[str], seen: dict[str, _Folder]) -> _Folder:
    """Look at all that is in a folder, where links may lead to one twice.

    `real` is its path without links, `around` those of it and of the folders that led
    to it, `seen` has all that are done.
    """
    stamps, newest, size = blake3(), 0, 0
    parts: list[tuple[bytes, bytes, _Folder | str]] = []
    with os.scandir(path) as found:
        entries = sorted(found, key=_name)
    for entry in entries:
        kind = _kind(entry)
        sight = _Sight("", 0, 0)
        below: _Folder | str = ""
        if kind == _FILE:
            sight = _look_at(entry.path)
            below = sight.stamp
        elif kind == _FOLDER:
            is_link = entry.is_symlink() or os.name == "nt"  # which has other kinds
            inner = os.path.realpath(entry.path) if is_link else f"{real}/{entry.name}"
            if inner in around:
                what = "this link leads to a folder that it is in"
                raise OSError(errno.ELOOP, what, entry.path)
            if inner not in seen:
                seen[inner] = _walk(entry.path, inner, around | {inner}, seen)
            below = seen[inner]
            sight = seen[inner].sight
        parts.append((kind, _name(entry), below))
        newest, size = max(newest, sight.changed_ns), size + sight.size
        _add(stamps, kind, _name(entry), sight.stamp.encode())
    return _Folder(path, _Sight(stamps.hexdigest(), newest, size), parts)


def _name(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _kind(entry: os.DirEntry[str]) -> bytes:
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        if entry.is_symlink():
            return _NOWHERE
        raise
    if S_ISDIR(mode):
        return _FOLDER
    if S_ISREG(mode):
        return _FILE
    raise _special(entry.path)


def _look_at(path: str) -> _Sight:
    """Open a file and look at it: a file server is asked anew at each opening."""
    handle = os.open(path, _READ_ONLY)
    try:
        return _sight_of(handle, path)
    finally:
        os.close(handle)


def _digest_parts(
    folder: _Folder, known: dict[int, bytes], changed: list[str]
) -> bytes:
    """Hash the contents of a folder.

    `known` has the folders that are done, by `id`. To `changed` go the files that are
    no longer those that were looked at: a link may lead elsewhere and then back.
    """
    if id(folder) in known:
        return known[id(folder)]
    content = blake3()
    for kind, name, below in folder.parts:
        inside = b""
        if isinstance(below, _Folder):
            inside = _digest_parts(below, known, changed)
        elif kind == _FILE:
            path = os.path.join(folder.path, os.fsdecode(name))  # noqa: PTH118
            stamp, inside = _digest_file(path)
            if stamp != below:
                changed.append(path)
        _add(content, kind, name, inside)
    known[id(folder)] = content.digest()
    return known[id(folder)]


def _add(content: blake3, *fields: bytes) -> None:
    """Hash some fields, each with its length before it."""
    for field in fields:
        content.update(len(field).to_bytes(8, "little") + field)


# --- what is remembered ---


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

    def is_settled(self, sight: _Sight, now: int) -> bool:
        """Tell whether any change after `now` must show in the stamp."""
        return sight.changed_ns < now - SETTLED_NS

    def recall(self, path: str, sight: _Sight, now: int) -> bytes | None:
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

    def remember(self, path: str, sight: _Sight, now: int, digest: bytes) -> None:
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
            handle = os.open(_note_name(about), _READ_ONLY | _NO_LINK, dir_fd=folder)
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
        _add(content, os.fsencode(str(about[key])))
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
