"""Leases: who is computing a key, told to other processes and hosts.

A *lease* is a file that only one of them can create::

    <root>/.leases/
      <name>          host, process, its start and a nonce; touched by a heartbeat
      <name>.waits    the name that its owner waits for meanwhile, if any
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import secrets
import shutil
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cachekit.stores import processes

H = TypeVar("H")

_log = logging.getLogger("cachekit")

HEARTBEAT_SECONDS = 1.0

# An owner whose lease was not touched for so long has lost it: one of another host,
# and one of this host that is running, but may have been stopped.
SILENT_SECONDS = 10.0
SILENT_BUT_RUNNING_SECONDS = 60.0

# How often a waiting process looks, at first and later.
FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.1

# Who waits so long says so.
LONG_WAIT = 60.0


class Lease(ABC):
    """What says that this process computes a key.

    Parameters
    ----------
    place : str
        Where it is, unlike that of any other.
    text : bytes
        What this process has written there.
    """

    def __init__(self, place: str, text: bytes) -> None:
        self.place = place
        self.text = text
        self.process = os.getpid()

    @abstractmethod
    def beat(self) -> None:
        """Show that the owner is there; called now and then, by a thread."""

    @abstractmethod
    def release(self) -> None:
        """Give it back, unless another has taken it since."""


class Holder:
    """Whoever holds leases, to give them back in the end."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []


class Leases(ABC):
    """The leases of one place.

    Attributes
    ----------
    looks_again : bool
        Whether to look for the result once more when a lease was taken: it may have
        come since the first look.
    """

    looks_again = True

    @abstractmethod
    def acquire(self, name: str) -> Lease | None:
        """Take a lease; None if another has it."""

    @abstractmethod
    def wait(
        self,
        name: str,
        look_up: Callable[[], H | None],
        until: float | None,
        holder: Holder,
    ) -> H | None:
        """Wait for a result, or for the lease if its owner is no more.

        Parameters
        ----------
        name : str
            Of the key.
        look_up : callable
            Returns the stored result, or None.
        until : float or None
            When to give up, by the monotonic clock.
        holder : Holder
            Gets the lease, if that could be had.

        Returns
        -------
        object or None
            The result, if it is there.
        """

    def flush(self) -> None:
        """Wait until leases that were released are given back: here it is at once."""
        return

    @abstractmethod
    def note_waiting(self, name: str, waits_for: str | None) -> None:
        """Say what the owner of a lease waits for, or that it goes on."""

    @abstractmethod
    def waits_for(self, name: str) -> str | None:
        """Return what the owner of a lease waits for, if it does."""


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
        self._prepare = prepare
        self._swept_by: int | None = None

    def acquire(self, name: str) -> Lease | None:
        """Take a lease; None if another has it.

        Raises
        ------
        OSError
            If none can be written there.
        """
        path = f"{self._folder}{os.sep}{name}"
        me = who_am_i(os.getpid())
        lease = _FileLease(path, b"%s%x" % (me, next(_count)))
        try:
            file = os.open(path, _NEW_FILE, 0o600)
        except FileExistsError:
            if _read(path).startswith(me):  # of a turn of ours that was lost
                _take_away(Path(path), _read(path))
            return None
        except FileNotFoundError:
            self._prepare()
            self._folder.mkdir(exist_ok=True)
            return self.acquire(name)
        try:
            try:
                os.write(file, lease.text)
            finally:
                os.close(file)
            heart.beat_for(lease)
            if self._swept_by != os.getpid():
                self._swept_by = os.getpid()
                self.sweep(_touched(Path(path)))
        except BaseException:  # a full disk, Ctrl-C: it would be waited for
            heart.stop_for(lease)
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108
            raise
        return lease

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
                if _take_away(path, seen.text):
                    continue
                return None  # it cannot be removed: a store that is read-only
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
        return found if found and (self._folder / name).exists() else None

    def sweep(self, now: float) -> None:
        """Remove what dead processes of this host have left.

        Parameters
        ----------
        now : float
            By the clock of the file server, which ours may not agree with.
        """
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if path.suffix == ".waits":
                    if not path.with_suffix("").exists():
                        path.unlink(missing_ok=True)
                    continue
                text = _read(path)
                # One without a text, of whom died before he wrote it, is nobody's.
                is_dead = processes.is_gone(*owner_of(text))
                if is_dead or (not text and now - _touched(path) > SILENT_SECONDS):
                    _take_away(path, text)


class _FileLease(Lease):
    def __init__(self, place: str, text: bytes) -> None:
        super().__init__(place, text)
        self._since = time.monotonic()

    def beat(self) -> None:
        with contextlib.suppress(OSError):
            os.utime(self.place)

    def _is_mine(self) -> bool:
        return _read(self.place) == self.text

    def release(self) -> None:
        heart.stop_for(self)
        # Nobody takes over what is as young as that; then its text need not be read.
        is_young = time.monotonic() - self._since < SILENT_SECONDS / 2
        if self.process == os.getpid() and (is_young or self._is_mine()):
            with contextlib.suppress(OSError):
                os.unlink(self.place)  # noqa: PTH108  (half the time of a Path's)


class _Seen:
    """What was last seen of a lease, and since when it is the same."""

    def __init__(self) -> None:
        self.text = b""
        self._touched: float | None = None
        self._since = time.monotonic()

    def is_lost(self, path: Path) -> bool:
        """Look again; tell whether its owner is dead, or silent for too long."""
        try:
            touched = path.stat().st_mtime
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


def _take_away(path: Path, text: bytes) -> bool:
    """Remove a lease that was judged lost, unless it is another one by now.

    Returns False if that is not allowed here.
    """
    away = path.with_name(f".lost-{secrets.token_hex(8)}")
    try:
        path.rename(away)  # of several who try this, one succeeds
    except FileNotFoundError:
        return True
    except OSError:
        return False
    with contextlib.suppress(OSError):
        if _read(away) != text:  # a new owner was quicker: give it back
            with contextlib.suppress(OSError):
                os.link(away, path)
        else:
            path.with_name(f"{path.name}.waits").unlink(missing_ok=True)
        if away.is_dir():
            shutil.rmtree(away)
        else:
            away.unlink()
    return True


def _touched(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return math.inf


def owner_of(text: bytes) -> tuple[str, int, str]:
    """Return host, process and its start from what a lease says."""
    try:
        host, pid, start, _ = text.decode().split(" ")
        return host, int(pid), start
    except ValueError:
        return "", -1, ""


def _read(path: Path | str) -> bytes:
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


class Heart:
    """One thread that shows that the owner of the leases of this process is there.

    Parameters
    ----------
    seconds : float
        How often.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Begin anew, in a forked child: the leases are its parent's."""
        self._lock = threading.RLock()
        # Weak, so that a lease ends with its turn, however that is lost.
        self._held: weakref.WeakValueDictionary[str, Lease] = (
            weakref.WeakValueDictionary()
        )
        self._thread: threading.Thread | None = None

    def beat_for(self, lease: Lease) -> None:
        """Show it of this lease from now on."""
        with self._lock:
            self._held[lease.place] = lease
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._beat, name="cachekit-leases", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError:  # there are too many, or Python is about to exit
                    self._thread = None

    def stop_for(self, lease: Lease) -> None:
        """Leave this lease alone."""
        with self._lock:
            self._held.pop(lease.place, None)

    def _beat(self) -> None:
        while True:
            time.sleep(self._seconds)
            with self._lock:
                held = list(self._held.values())
            for lease in held:
                try:
                    lease.beat()
                except Exception as error:  # noqa: BLE001  (others are to beat on)
                    _log.debug("no sign of life at %s: %r", lease.place, error)


@functools.lru_cache(maxsize=1)
def who_am_i(pid: int) -> bytes:
    """Return what begins the leases of this process: host, process, start, nonce."""
    start, nonce = processes.start_of(pid), secrets.token_hex(8)
    return f"{processes.host()} {pid} {start} {nonce}-".encode()


class Notice:
    """Says once, in the log, that something is waited for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._due = time.monotonic() + LONG_WAIT

    def tell_if_long(self) -> None:
        """Say so if it is long by now."""
        if time.monotonic() > self._due:
            self._due = math.inf
            _log.warning(
                "waiting since %.0f s for another to compute %s; if that one waits for "
                "this call in turn, give Memory a conflict_timeout",
                LONG_WAIT,
                self._name,
            )


_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY

heart = Heart(HEARTBEAT_SECONDS)
_count = itertools.count()
