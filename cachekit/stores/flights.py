"""Single flight: of all who want one key at once, one computes and the others wait.

Threads of a process wait for each other by an event; processes and hosts by *leases*,
where the store has them. A lease is advice: losing one costs work, never an answer. So
nothing here is an error, and whoever cannot have a lease computes without. Nobody waits
for an owner that is dead or silent, nor for one that waits, at whatever remove, for
himself.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from cachekit.stores.leases import Holder, Leases, Notice

H = TypeVar("H")

_log = logging.getLogger("cachekit")

# A waiting thread looks so often whether the turn it waits for is lost.
LONGEST_WAIT = 0.5

# How far a chain of those who wait for each other is followed.
LONGEST_CHAIN = 1000


class Turn(Generic[H]):
    """What a caller gets: the result that another has computed, or leave to compute.

    Attributes
    ----------
    hit : object or None
        The result; None if it is the caller's turn to compute, before leaving the
        ``with`` block.
    end : callable
        What leaving the block does.
    """

    def __init__(self, hit: H | None, end: Callable[[], None] = lambda: None) -> None:
        self.hit = hit
        self.end = end

    def __enter__(self) -> Turn[H]:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class SingleFlight:
    """Who computes what, among the threads of this process and beyond.

    Parameters
    ----------
    *leases : Leases
        Shared with other processes and hosts, the nearest first; without any, threads
        alone are told apart.

    Attributes
    ----------
    leases : tuple of Leases
        As given.
    """

    def __init__(self, *leases: Leases) -> None:
        self.leases = leases
        self._forget()
        _all_flights.add(self)

    def _forget(self) -> None:
        """Begin anew: in a forked child, no other thread of its parent is there."""
        # A signal handler or a `__del__` may call a cached function in the midst.
        self._lock = threading.RLock()
        # Weak, so that a flight ends with its turn, however that is lost. Not a
        # `WeakValueDictionary`, which takes four times as long.
        self._flights: dict[str, weakref.ref[_Flight]] = {}
        self._waits: dict[str, str] = {}  # name being computed -> name waited for
        # What the thread that was forked computes: it waits for its child perhaps.
        self._inherited: set[str] = set()

    def begin_anew_in_child(self) -> None:
        """Forget the threads of the parent, but for what the forked one computes."""
        me = threading.get_ident()
        mine = set(self._names_of(me))
        mine |= self._inherited
        self._forget()
        self._inherited = mine

    def turn(
        self,
        name: str,
        look_up: Callable[[], H | None],
        *,
        timeout: float | None = None,
        owner: object = None,
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
        owner : object, optional
            Whose turn it is, if not the thread's.
        """
        me = threading.get_ident() if owner is None else owner
        until = None if timeout is None else time.monotonic() + timeout
        flight = _Flight(me)
        try:
            with self._lock:
                if name in self._inherited:
                    return Turn(None)
                other = self._flight_of(name)
                if other is None:
                    self._flights[name] = weakref.ref(flight)
                done = None if other is None else other.awaited()
            if other is None or done is None:
                return self._turn_among_processes(name, flight, look_up, until)
            if owner is None and other.owner == me:  # it calls itself
                return Turn(None)
            del other  # nobody but its turn may keep it
            with self._waiting_for(name, me) as is_in_vain:
                if is_in_vain or not self._wait(name, done, until):
                    return Turn(None)
        except BaseException:
            self._end(name, flight)
            raise
        # If it has failed, it fails for all: they need not do so one by one.
        return Turn(look_up())

    def _flight_of(self, name: str) -> _Flight | None:
        """Return who computes a key; to be asked under the lock, as the next one."""
        known = self._flights.get(name)
        return None if known is None else known()

    def _names_of(self, owner: object) -> list[str]:
        """Return what somebody computes, and forget the turns that were lost."""
        names = []
        for name, known in list(self._flights.items()):
            flight = known()
            if flight is None:
                del self._flights[name]
            elif flight.owner == owner:
                names.append(name)
        return names

    def _wait(self, name: str, done: threading.Event, until: float | None) -> bool:
        """Wait for the end of a flight; False if the time is up."""
        notice = Notice(name)
        while not done.wait(_seconds_left(until, LONGEST_WAIT)):
            notice.tell_if_long()
            with self._lock:
                flight = self._flight_of(name)
                is_over = flight is None or flight.done is not done
                del flight  # nobody but its turn may keep it
            if is_over:
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
        hit = None
        try:
            for leases in self.leases:
                lease = leases.acquire(name)
                if lease is None:
                    hit = self._wait_at(leases, name, flight, look_up, until)
                else:
                    flight.leases.append(lease)
                    hit = look_up() if leases.looks_again else None
                if hit is not None:
                    break
        except Exception as error:  # noqa: BLE001  (a lease is advice)
            _log.debug("no lease for %s: %r", name, error)
        if hit is not None:
            end()
            return Turn(hit)
        return Turn(None, end)

    def _wait_at(
        self,
        leases: Leases,
        name: str,
        flight: _Flight,
        look_up: Callable[[], H | None],
        until: float | None,
    ) -> H | None:
        with self._waiting_for(name, flight.owner) as is_in_vain:
            return None if is_in_vain else leases.wait(name, look_up, until, flight)

    def _end(self, name: str, flight: _Flight) -> None:
        try:
            while flight.leases:
                flight.leases.pop().release()
        finally:
            with self._lock:
                if self._flight_of(name) is flight:
                    del self._flights[name]
                done = flight.done
            if done is not None:
                done.set()

    @contextlib.contextmanager
    def _waiting_for(self, name: str, me: object) -> Iterator[bool]:
        """Note what this thread waits for, and tell whether that waits for it."""
        with self._lock:
            mine = [held for held in self._names_of(me) if held != name]
            for held in mine:
                self._waits[held] = name
        for leases in self.leases:
            for held in mine:
                leases.note_waiting(held, name)
        try:
            yield bool(mine) and self._leads_to(name, mine)
        finally:
            with self._lock:
                for held in mine:
                    self._waits.pop(held, None)
            for leases in self.leases:
                for held in mine:
                    leases.note_waiting(held, None)

    def _leads_to(self, name: str, mine: list[str]) -> bool:
        """Tell whether those who wait for each other end at one of my own keys."""
        for _ in range(LONGEST_CHAIN):
            with self._lock:
                following = self._waits.get(name)
            for leases in self.leases:
                following = following or leases.waits_for(name)
            if following is None:
                return False
            if following in mine:
                return True
            name = following
        return True


class _Flight(Holder):
    """A key being computed: by whom, the event of its end, and the leases."""

    def __init__(self, owner: object) -> None:
        super().__init__()
        self.owner = owner
        self.done: threading.Event | None = None

    def awaited(self) -> threading.Event:
        """Return the event of its end, made for whoever is the first to wait."""
        if self.done is None:
            self.done = threading.Event()
        return self.done


def _seconds_left(until: float | None, most: float) -> float:
    if until is None:
        return most
    return min(most, max(0.0, until - time.monotonic()))


def single_flight_at(place: str, make: Callable[[], Sequence[Leases]]) -> SingleFlight:
    """Return the flights of a place, one object for each in a process.

    Two stores in one place must not wait for each other in one thread.

    Parameters
    ----------
    place : str
        What names it, however one comes there.
    make : callable
        Returns its leases; called if nobody has asked for this place before.
    """
    with _at_lock:
        known = _flights_at.get(place)
        if known is None:
            known = _flights_at[place] = SingleFlight(*make())
        return known


_all_flights: weakref.WeakSet[SingleFlight] = weakref.WeakSet()
_flights_at: weakref.WeakValueDictionary[str, SingleFlight] = (
    weakref.WeakValueDictionary()
)
_at_lock = threading.RLock()


def _begin_anew_in_child() -> None:
    global _at_lock
    _at_lock = threading.RLock()
    for flights in list(_all_flights):
        flights.begin_anew_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)
