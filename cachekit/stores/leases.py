"""Single flight: of all who want one key at once, one computes and the others wait.

Threads of a process wait for each other by an event; processes and hosts by a *lease*,
a file that only one of them can create::

    <root>/.leases/
      <name>          host, process, its start and a nonce; touched by a heartbeat
      <name>.waits    the name that its owner waits for meanwhile, if any

A lease is advice: losing one costs work, never an answer. So nothing here is an error,
and whoever cannot have a lease computes without. Nobody waits for an owner that is dead
or silent, nor for one that waits, at whatever remove, for himself.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

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

# A waiting thread looks so often whether the turn it waits for is lost, and says so
# long after that it waits.
LONGEST_WAIT = 0.5
LONG_WAIT = 60.0

# How far a chain of those who wait for each other is followed.
LONGEST_CHAIN = 1000


class Turn(Generic[H]):
    """What a caller gets: the result that another has computed, or leave to compute.

    Attributes
    ----------
    hit : object or None
        The result; None if it is the caller's turn to compute, before leaving the
        ``with`` block.
    """

    def __init__(self, hit: H | None, end: Callable[[], None] = lambda: None) -> None:
        self.hit = hit
        self._end = end

    def __enter__(self) -> Turn[H]:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


class SingleFlight:
    """Who computes what, among the threads of this process and beyond.

    Parameters
    ----------
    leases : FileLeases, optional
        Shared with other processes; without, threads alone are told apart.
    """

    def __init__(self, leases: FileLeases | None = None) -> None:
        self._leases = leases
        self._forget()
        _all_flights.add(self)

    def _forget(self) -> None:
        """Begin anew: in a forked child, no other thread of its parent is there."""
        # A signal handler or a `__del__` may call a cached function in the midst.
        self._lock = threading.RLock()
        # Weak, so that a flight ends with its turn, however that is lost.
        self._flights: weakref.WeakValueDictionary[str, _Flight] = (
            weakref.WeakValueDictionary()
        )
        self._waits: dict[str, str] = {}  # name being computed -> name waited for
        # What the thread that was forked computes: it waits for its child perhaps.
        self._inherited: set[str] = set()

    def begin_anew_in_child(self) -> None:
        """Forget the threads of the parent, but for what the forked one computes."""
        me = threading.get_ident()
        mine = {name for name, one in self._flights.items() if one.owner == me}
        mine |= self._inherited
        self._forget()
        self._inherited = mine

    def turn(
        self,
        name: str,
        look_up: Callable[[], H | None],
        *,
        timeout: float | None = None,
    ) -> Turn[H]:
        """Wait until a key is stored, or it is one's turn to compute it.

        Parameters
        ----------
        name : str
            Of the key; a file name.
        look_up : callable
            Returns the stored result, or None.
        timeout : float, optional
            Seconds to wait at most, before computing beside another.
        """
        me = threading.get_ident()
        until = None if timeout is None else time.monotonic() + timeout
        flight = _Flight(me)
        try:
            with self._lock:
                if name in self._inherited:
                    return Turn(None)
                other = self._flights.setdefault(name, flight)
            if other is flight:
                return self._turn_among_processes(name, flight, look_up, until)
            if other.owner == me:  # it calls itself
                return Turn(None)
            done = other.done
            del other  # nobody but its turn may keep it
            with self._waiting_for(name, me) as is_in_vain:
                if is_in_vain or not self._wait(name, done, until):
                    return Turn(None)
        except BaseException:
            self._end(name, flight)
            raise
        # If it has failed, it fails for all: they need not do so one by one.
        return Turn(look_up())

    def _wait(self, name: str, done: threading.Event, until: float | None) -> bool:
        """Wait for the end of a flight; False if the time is up."""
        notice = _Notice(name)
        while not done.wait(_seconds_left(until, LONGEST_WAIT)):
            notice.tell_if_long()
            with self._lock:
                flight = self._flights.get(name)
                if flight is None or flight.done is not done:
                    return True  # its turn was lost
            if until is not None and time.monotonic() >= until:
                return False
        return True

    def _turn_among_processes(
        self,
        name: str,
        flight: _Flight,
        look_up: Callable[[], H | None],
        until: float | None,
    ) -> Turn[H]:
        end = functools.partial(self._end, name, flight)
        if self._leases is None:
            return Turn(None, end)
        hit = None
        try:
            flight.lease = self._leases.acquire(name)
            if flight.lease is not None:
                hit = look_up()  # it may have come since the first look
            else:
                with self._waiting_for(name, flight.owner) as is_in_vain:
                    if not is_in_vain:
                        hit = self._leases.wait(name, look_up, until, flight)
        except Exception as error:  # noqa: BLE001  (a lease is advice)
            _log.debug("no lease for %s: %r", name, error)
        if hit is not None:
            end()
            return Turn(hit)
        return Turn(None, end)

    def _end(self, name: str, flight: _Flight) -> None:
        try:
            if flight.lease is not None:
                flight.lease.release()
        finally:
            with self._lock:
                if self._flights.get(name) is flight:
                    del self._flights[name]
            flight.done.set()

    @contextlib.contextmanager
    def _waiting_for(self, name: str, me: int) -> Iterator[bool]:
        """Note what this thread waits for, and tell whether that waits for it."""
        with self._lock:
            mine = [
                held
                for held, flight in self._flights.items()
                if flight.owner == me and held != name
            ]
            for held in mine:
                self._waits[held] = name
        if self._leases is not None:
            for held in mine:
                self._leases.note_waiting(held, name)
        try:
            yield bool(mine) and self._leads_to(name, mine)
        finally:
            with self._lock:
                for held in mine:
                    self._waits.pop(held, None)
            if self._leases is not None:
                for held in mine:
                    self._leases.note_waiting(held, None)

    def _leads_to(self, name: str, mine: list[str]) -> bool:
        """Tell whether those who wait for each other end at one of my own keys."""
        for _ in range(LONGEST_CHAIN):
            with self._lock:
                following = self._waits.get(name)
            if following is None and self._leases is not None:
                following = self._leases.waits_for(name)
            if following is None:
                return False
            if following in mine:
                return True
            name = following
        return True


class _Flight:
    """A key being computed: by which thread, the event of its end, and the lease."""

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.done = threading.Event()
        self.lease: Lease | None = None


class _Notice:
    """Says once, in the log, that something is waited for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._due = time.monotonic() + LONG_WAIT

    def tell_if_long(self) -> None:
        if time.monotonic() > self._due:
            self._due = math.inf
            _log.warning(
                "waiting since %.0f s for another to compute %s; if that one waits for "
                "this call in turn, give Memory a conflict_timeout",
                LONG_WAIT,
                self._name,
            )


def _seconds_left(until: float | None, most: float) -> float:
    if until is None:
        return most
    return min(most, max(0.0, until - time.monotonic()))


class FileLeases:
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
        me = _who_am_i(os.getpid())
        lease = Lease(path, b"%s%x" % (me, next(_count)))
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
            _heart.beat_for(lease)
            if self._swept_by != os.getpid():
                self._swept_by = os.getpid()
                self.sweep()
        except BaseException:  # a full disk, Ctrl-C: it would be waited for
            _heart.stop_for(lease)
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108
            raise
        return lease

    def wait(
        self,
        name: str,
        look_up: Callable[[], H | None],
        until: float | None,
        flight: _Flight,
    ) -> H | None:
        """Wait for a result, or for the lease if its owner is no more.

        Parameters
        ----------
        name, look_up
            As for `SingleFlight.turn`.
        until : float or None
            When to give up, by the monotonic clock.
        flight : _Flight
            Gets the lease, if that could be had.

        Returns
        -------
        object or None
            The result, if it is there.
        """
        path = self._folder / name
        seen, notice = _Seen(), _Notice(name)
        pause = FIRST_PAUSE
        while True:
            flight.lease = self.acquire(name)
            hit = look_up()
            if flight.lease is not None or hit is not None:
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

    def sweep(self) -> None:
        """Remove what dead processes of this host have left."""
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if path.suffix == ".waits":
                    if not path.with_suffix("").exists():
                        path.unlink(missing_ok=True)
                    continue
                text = _read(path)
                if text and processes.is_gone(*_owner(text)):
                    _take_away(path, text)


class Lease:
    """A file that says who computes a key.

    Parameters
    ----------
    path : str
        Of the file.
    text : bytes
        What this process has written into it.
    """

    def __init__(self, path: str, text: bytes) -> None:
        self.path = path
        self.text = text
        self._pid = os.getpid()

    def release(self) -> None:
        """Give it back, unless another has taken it since."""
        _heart.stop_for(self)
        if self._pid == os.getpid() and _read(self.path) == self.text:
            with contextlib.suppress(OSError):
                os.unlink(self.path)  # noqa: PTH108  (half the time of a Path's)


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
        host, pid, start = _owner(text)
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
        away.unlink()
    return True


def _owner(text: bytes) -> tuple[str, int, str]:
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


class _Heart:
    """One thread that touches the leases which this process holds."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a forked child: the leases are its parent's."""
        self._lock = threading.RLock()
        self._held: dict[str, Lease] = {}
        self._thread: threading.Thread | None = None

    def beat_for(self, lease: Lease) -> None:
        with self._lock:
            self._held[lease.path] = lease
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._beat, name="cachekit-leases", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError:  # there are too many, or Python is about to exit
                    self._thread = None

    def stop_for(self, lease: Lease) -> None:
        with self._lock:
            self._held.pop(lease.path, None)

    def _beat(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            with self._lock:
                held = list(self._held)
            for path in held:
                with contextlib.suppress(OSError):
                    os.utime(path)


@functools.lru_cache(maxsize=1)
def _who_am_i(pid: int) -> bytes:
    start, nonce = processes.start_of(pid), secrets.token_hex(8)
    return f"{processes.host()} {pid} {start} {nonce}-".encode()


def single_flight_at(folder: Path, prepare: Callable[[], object]) -> SingleFlight:
    """Return the flights of a folder of leases, one object for each in a process.

    Two stores in one place must not wait for each other in one thread.

    Parameters
    ----------
    folder, prepare
        As for `FileLeases`.
    """
    place = os.path.realpath(folder)  # whatever links lead there
    with _at_lock:
        known = _flights_at.get(place)
        if known is None:
            known = _flights_at[place] = SingleFlight(FileLeases(folder, prepare))
        return known


_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY

_heart = _Heart()
_count = itertools.count()
_all_flights: weakref.WeakSet[SingleFlight] = weakref.WeakSet()
_flights_at: weakref.WeakValueDictionary[str, SingleFlight] = (
    weakref.WeakValueDictionary()
)
_at_lock = threading.RLock()


def _begin_anew_in_child() -> None:
    global _at_lock
    _at_lock = threading.RLock()
    _heart.forget()
    for flights in list(_all_flights):
        flights.begin_anew_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)
