"""What is on its way from a near store to a far one, and leases that wait for it."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from cachekit.stores.background import Background, do_quietly
from cachekit.stores.base import Store
from cachekit.stores.leases import Holder, Lease, Leases

H = TypeVar("H")

# What was not in the far store is not looked for there again so soon, and then later
# and later: a call looks before it has its turn, after that, and while it waits.
ABSENT_SECONDS = 1.0
LONGEST_ABSENT = 30.0
MOST_ABSENT = 10_000


class Sending:
    """What is on its way to a far store, and what was not found there.

    Shared by all stores of a process that have the same near and far store: who waits
    for the one's lease waits for what it sends.

    Parameters
    ----------
    purpose : str
        What is told if the end of the program waits for it.
    """

    def __init__(self, purpose: str) -> None:
        self._background = Background(purpose)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        # By the name of the lease: what is to be done once that is sent.
        self._next: dict[str, list[Callable[[], None]]] = {}
        # By path: when it was looked for in vain, and for how long not to look again.
        self._absent: dict[str, tuple[float, float]] = {}

    def send(self, name: str, send: Callable[[], None]) -> None:
        """Send an entry in the background, after an earlier one of that name.

        A worker of `multiprocessing.Pool` does it at once: it is terminated without
        being asked, as soon as its last result was returned.
        """
        with self._locked:
            if name in self._next:
                self._next[name].append(send)
                return
            self._next[name] = [send]
        try:
            if _may_be_terminated():
                self._work_on(name)
            else:
                self._background.run(lambda: self._work_on(name))
        except BaseException:  # Ctrl-C, while it waits for room: the rest is done
            with self._locked, contextlib.suppress(KeyError, ValueError):
                self._next[name].remove(send)
            self._work_on(name)
            raise

    def after_sending(self, name: str, work: Callable[[], None]) -> None:
        """Do something once that is sent; at once if nothing is under way."""
        with self._locked:
            if name in self._next:
                self._next[name].append(work)
                return
        work()

    def later(self, work: Callable[[], None]) -> None:
        """Do something in the background."""
        self._background.run(work)

    def wait(self) -> None:
        """Wait until all of it is done."""
        self._background.wait()

    @property
    def _locked(self) -> contextlib.AbstractContextManager[object]:
        if self._process != os.getpid():  # what the parent sends, it sends itself
            self._begin_anew()
        return self._lock

    def _work_on(self, name: str) -> None:
        while True:
            with self._lock:
                if not self._next.get(name):
                    self._next.pop(name, None)
                    return
                work = self._next[name].pop(0)
            do_quietly(work, self._background.purpose)

    # --- what is not there ---

    def is_absent(self, path: str) -> bool:
        """Tell whether it was looked for in vain just now."""
        since, seconds = self._absent.get(path, (-math.inf, 0.0))
        return time.monotonic() - since < seconds

    def note_absent(self, path: str) -> None:
        """Note that it was looked for in vain: not to look so soon again."""
        if len(self._absent) > MOST_ABSENT:
            self._absent.clear()
        _, seconds = self._absent.get(path, (0.0, ABSENT_SECONDS / 2))
        self._absent[path] = (time.monotonic(), min(2 * seconds, LONGEST_ABSENT))

    def look_again(self) -> None:
        """Forget what was not there: it may have come."""
        self._absent.clear()


def _may_be_terminated() -> bool:
    module = sys.modules.get("multiprocessing.process")
    current_process = getattr(module, "current_process", None)  # half imported, perhaps
    return current_process is not None and bool(current_process().daemon)


def sending_between(near: Store, far: Store) -> Sending:
    """Return what is on its way between two stores: one for each pair in a process."""
    place = f"{near.place} {far.place}"
    with _finding:
        known = _known.get(place)
        if known is None:
            known = _known[place] = Sending(f"writing results to {far.location}")
        return known


_known: weakref.WeakValueDictionary[str, Sending] = weakref.WeakValueDictionary()
_finding = threading.RLock()


class UntilSent(Leases):
    """Leases of a far store, kept until what was computed is there.

    Parameters
    ----------
    sending : Sending
        What is on its way there.
    leases : Leases
        Of the far store.
    """

    def __init__(self, sending: Sending, leases: Leases) -> None:
        self._sending = sending
        self._leases = leases
        self.looks_again = leases.looks_again

    def acquire(self, name: str) -> Lease | None:
        """Take a lease; None if another has it."""
        lease = self._leases.acquire(name)
        return None if lease is None else _ReleasedWhenSent(self._sending, name, lease)

    def wait(
        self,
        name: str,
        look_up: Callable[[], H | None],
        until: float | None,
        holder: Holder,
    ) -> H | None:
        """Wait for a result, or for the lease if its owner is no more."""

        def look_far_too() -> H | None:
            self._sending.look_again()
            return look_up()

        mine = Holder()
        try:
            return self._leases.wait(name, look_far_too, until, mine)
        finally:
            holder.leases += [
                _ReleasedWhenSent(self._sending, name, lease) for lease in mine.leases
            ]

    def flush(self) -> None:
        """Wait until leases that were released are given back."""
        self._leases.flush()

    def note_waiting(self, name: str, waits_for: str | None) -> None:
        """Say what the owner of a lease waits for, or that it goes on."""
        self._leases.note_waiting(name, waits_for)

    def waits_for(self, name: str) -> str | None:
        """Return what the owner of a lease waits for, if it does."""
        return self._leases.waits_for(name)


class _ReleasedWhenSent(Lease):
    def __init__(self, sending: Sending, name: str, lease: Lease) -> None:
        super().__init__(lease.place, lease.text)
        self._sending = sending
        self._name = name
        self._lease = lease

    def beat(self) -> None:
        self._lease.beat()

    def release(self) -> None:
        self._sending.after_sending(self._name, self._lease.release)


def _begin_anew_in_child() -> None:
    global _finding
    _finding = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)
