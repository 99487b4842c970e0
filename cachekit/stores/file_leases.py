"""Leases as files: who is computing a key, told to other processes and hosts.

Only one of them can create a file::

    <root>/.leases/
      <name>                host, process, its start and a nonce; touched by a heartbeat
      <name>.waits          the name that its owner waits for meanwhile, if any
      <name>.<text>.lost    there while that lease, which is lost, is being removed

A lease is a symbolic link that leads nowhere, where there are such links: what it says
is there as soon as it is, and it takes half as long as a file.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cachekit.stores import processes
from cachekit.stores.leases import (
    Heart,
    Holder,
    Lease,
    Leases,
    Notice,
    claim_to,
    owner_of,
    who_am_i,
)

H = TypeVar("H")

HEARTBEAT_SECONDS = 1.0

# An owner whose lease was not touched for so long has lost it: one of another host,
# and one of this host that is running, but may have been stopped.
SILENT_SECONDS = 10.0
SILENT_BUT_RUNNING_SECONDS = 60.0

# After that it is swept, whoever it was of: a machine that was started again is another
# host, and knows nothing of its own leases from before.
FOREIGN_SECONDS = 24 * 3600

# How often a lease is tried to be made where another removes the folder.
MOST_ATTEMPTS = 10

# How often a waiting process looks, at first and later.
FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.1


class FileLeases(Leases):
    """Leases as files in a folder, on a local disk or a network file system.

    Parameters
    ----------
    folder : Path
        Made when the first lease is taken.
    prepare : callable
        Called before that, to make what lies above it.
    """

    def __init__(self, folder: Path, prepare: Callable[[], object]) -> None:
        self._folder = folder
        self._base = f"{folder}{os.sep}"
        self._prepare = prepare
        self._create = _create_file
        self._begun_by: int | None = None

    def acquire(self, name: str) -> Lease | None:
        """Take a lease; None if another has it.

        Raises
        ------
        OSError
            If none can be written there.
        """
        process = os.getpid()
        path, me = self._base + name, who_am_i(process)
        lease = _FileLease(path, b"%s%x" % (me, next(_count)))
        for _ in range(MOST_ATTEMPTS):
            if self._begun_by != process:
                self._begin(me)
                self._begun_by = process
            try:
                self._create(path, lease.text)
                heart.beat_for(lease)
                return lease
            except FileExistsError:
                found = _read(path)
                if found.startswith(me):  # of a turn of ours that was lost
                    _take_away(Path(path), found)
                return None
            except FileNotFoundError:  # the folder was removed
                self._begun_by = None
            except BaseException:  # Ctrl-C: it would be waited for
                heart.stop_for(lease)
                if _read(path) == lease.text:
                    _unlink(path)
                raise
        raise FileNotFoundError(
            errno.ENOENT, "it is removed again and again", str(self._folder)
        )

    def _begin(self, me: bytes) -> None:
        """Make the folder, find out whether leases can be links there, and sweep it."""
        self._prepare()
        self._folder.mkdir(exist_ok=True)
        trial = f"{self._base}.{secrets.token_hex(8)}"
        try:
            create = _create_link
            if not _is_link_made(trial, me):
                _unlink(trial)
                create = _create_file
                create(trial, me)
            self._create = create
            self.sweep(_touched(Path(trial)))
        finally:
            _unlink(trial)

    def wait(
        self,
        name: str,
        look_up: Callable[[], H | None],
        until: float | None,
        holder: Holder,
    ) -> H | None:
        """Wait for a result, or for the lease if its owner is no more."""
        path = self._folder / name
        seen, notice = _Seen(), Notice(name)
        pause = FIRST_PAUSE
        while True:
            lease = self.acquire(name)
            if lease is not None:
                holder.leases.append(lease)
            hit = look_up()
            if lease is not None or hit is not None:
                return hit
            notice.tell_if_long()
            if seen.is_lost(path):
                try:
                    if _take_away(path, seen.text):
                        continue
                except OSError:  # it cannot be removed: a store that is read-only
                    return None
                if seen.is_stuck():
                    return None
            if until is not None and time.monotonic() >= until:
                return None
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def note_waiting(self, name: str, waits_for: str | None) -> None:
        """Say what the owner of a lease waits for, or that it goes on."""
        path = self._folder / f"{name}.waits"
        with contextlib.suppress(OSError):
            if waits_for is None:
                path.unlink(missing_ok=True)
            else:
                path.write_text(waits_for)

    def waits_for(self, name: str) -> str | None:
        """Return what the owner of a lease waits for, if it does."""
        try:
            found = (self._folder / f"{name}.waits").read_text()
        except OSError:
            return None
        return found if found and os.path.lexists(self._base + name) else None

    def sweep(self, now: float) -> None:
        """Remove what dead processes have left.

        Parameters
        ----------
        now : float
            By the clock of the file server, which ours may not agree with.
        """
        for path, text in self._abandoned(now):
            if path.suffix == ".waits":
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            else:
                with contextlib.suppress(OSError):
                    _take_away(path, text)

    def abandoned(self, now: float) -> list[Path]:
        """Return what `sweep` would remove."""
        return [path for path, _ in self._abandoned(now)]

    def _abandoned(self, now: float) -> list[tuple[Path, bytes]]:
        """Return what nobody holds any more, and what it says."""
        found: list[tuple[Path, bytes]] = []
        if self._folder.is_symlink():  # to files of somebody else
            return found
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if path.suffix == ".waits":
                    if not os.path.lexists(path.with_suffix("")):
                        found.append((path, b""))
                    continue
                text = _read(path)
                silence = now - _touched(path)
                # One without a text, of whom died before he wrote it, is nobody's.
                longest = FOREIGN_SECONDS if text else SILENT_SECONDS
                if processes.is_gone(*owner_of(text)) or silence > longest:
                    found.append((path, text))
        return found


class _FileLease(Lease):
    def beat(self) -> None:
        with contextlib.suppress(OSError):
            _touch(self.place)

    def _is_mine(self) -> bool:
        return _read(self.place) == self.text

    def release(self) -> None:
        # Nobody takes over what is as young as that; then its text need not be read.
        is_young = time.monotonic() - self.taken < SILENT_SECONDS / 2
        if heart.stop_for(self) and (is_young or self._is_mine()):
            _unlink(self.place)


class _Seen:
    """What was last seen of a lease, and since when it is the same."""

    def __init__(self) -> None:
        self.text = b""
        self._touched: float | None = None
        self._since = time.monotonic()

    def is_lost(self, path: Path) -> bool:
        """Look again; tell whether its owner is dead, or silent for too long."""
        try:
            touched = path.lstat().st_mtime
        except OSError:
            return False  # it was given back just now
        text = _read(path)
        if (touched, text) != (self._touched, self.text):
            self.text, self._touched = text, touched
            self._since = time.monotonic()  # no clock but our own can be compared
        if not text:  # created, and not written yet
            return time.monotonic() - self._since > SILENT_SECONDS
        host, pid, start = owner_of(text)
        if processes.is_gone(host, pid, start):
            return True
        is_here = host == processes.host()
        silence = SILENT_BUT_RUNNING_SECONDS if is_here else SILENT_SECONDS
        return time.monotonic() - self._since > silence

    def is_stuck(self) -> bool:
        """Tell whether one who was about to remove it has died at that."""
        longest = SILENT_BUT_RUNNING_SECONDS + SILENT_SECONDS
        return time.monotonic() - self._since > longest


def _take_away(path: Path, text: bytes) -> bool:
    """Remove a lease that was judged lost, unless it is another one by now.

    Returns False if somebody else is about to.

    Raises
    ------
    OSError
        If that is not allowed here.
    """
    # Of several who see it lost, one may remove it: the second would remove the lease
    # that the first has taken meanwhile.
    claim = claim_to(str(path), text)
    try:
        _create_file(claim, who_am_i(os.getpid()))
    except FileExistsError:
        if processes.is_gone(*owner_of(_read(claim))):
            _unlink(claim)
        return False
    try:
        if _read(path) == text:
            _unlink(f"{path}.waits")
            _remove(path)
    finally:
        _unlink(claim)
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():  # somebody's
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _touched(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return math.inf


def _create_link(path: str, text: bytes) -> None:
    """Make a lease, unless there is one, as a link."""
    os.symlink(text, path)  # noqa: PTH211  (for each miss)


def _create_file(path: str, text: bytes) -> None:
    """Make a lease, unless there is one, as a file."""
    # Others of a group, if its folder is theirs too, see here who has died.
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except PermissionError as error:
        if os.path.lexists(path):  # sshfs says so of a name that is taken
            raise FileExistsError(errno.EEXIST, error.strerror, path) from error
        raise
    try:
        try:
            os.write(file, text)
        finally:
            os.close(file)
    except BaseException:  # cut off, it would not be known as one's own
        _unlink(path)
        raise


def _is_link_made(path: str, text: bytes) -> bool:
    """Try whether a link can be made, touched and read."""
    try:
        _create_link(path, text)
        _touch(path)
    except (OSError, NotImplementedError):  # as with some that are mounted by FUSE
        return False
    return _read(path) == text


def _touch(path: str) -> None:
    os.utime(path, follow_symlinks=not os.path.islink(path))  # noqa: PTH114


def _unlink(path: str) -> None:
    try:  # noqa: SIM105  (for each miss)
        os.unlink(path)  # noqa: PTH108  (half the time of a Path's)
    except OSError:
        pass


def _read(path: Path | str) -> bytes:
    try:
        return os.fsencode(os.readlink(path))  # noqa: PTH115
    except OSError:  # a file, as where there are no links
        pass
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(file, 1024)
    except OSError:
        return b""
    finally:
        os.close(file)


heart = Heart(HEARTBEAT_SECONDS)
_count = itertools.count()
