"""Leases: who is computing a key, told to other processes and hosts.

A *lease* is something that only one of them can create: a file (`file_leases`), or a
file of a service (`remote_leases`).
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import os
import secrets
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from cachekit.stores import processes

H = TypeVar("H")

_log = logging.getLogger("cachekit")

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

    Attributes
    ----------
    taken : float
        When, by the monotonic clock.
    """

    def __init__(self, place: str, text: bytes) -> None:
        self.place = place
        self.text = text
        self.taken = time.monotonic()

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


def owner_of(text: bytes) -> tuple[str, int, str]:
    """Return host, process and its start from what a lease says."""
    try:
        host, pid, start, _ = text.decode().split(" ")
        return host, int(pid), start
    except ValueError:
        return "", -1, ""


def claim_to(place: str, text: bytes) -> str:
    """Name what is there while a lost lease, of this text, is being removed."""
    return f"{place}.{hashlib.sha256(text).hexdigest()[:16]}.lost"


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
        # Weak, so that a lease ends with its turn, however that is lost. Not a
        # `WeakValueDictionary`, which takes three times as long.
        self._held: dict[str, weakref.ref[Lease]] = {}
        self._thread: threading.Thread | None = None

    def beat_for(self, lease: Lease) -> None:
        """Show it of this lease from now on."""
        self._held[lease.place] = weakref.ref(lease)
        if self._thread is None:
            self._start()

    def stop_for(self, lease: Lease) -> bool:
        """Leave this lease alone; False if it is not of this process."""
        held = self._held.get(lease.place)
        if held is None or held() is not lease:
            return False
        self._held.pop(lease.place, None)
        return True

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:  # another was quicker
                return
            self._thread = threading.Thread(
                target=self._beat, name="cachekit-leases", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:  # there are too many, or Python is about to exit
                self._thread = None

    def _beat(self) -> None:
        while True:
            time.sleep(self._seconds)
            for lease in self._living():
                try:
                    lease.beat()
                except Exception as error:  # noqa: BLE001  (others are to beat on)
                    _log.debug("no sign of life at %s: %r", lease.place, error)

    def _living(self) -> list[Lease]:
        """Return the leases that are held, and forget those that are lost."""
        living = []
        for place, held in self._held.copy().items():
            lease = held()
            if lease is not None:
                living.append(lease)
                continue
            gone = self._held.pop(place, None)
            if gone is not None and gone is not held:  # of a new lease
                self._held.setdefault(place, gone)
        return living


@functools.lru_cache(maxsize=1)
def who_am_i(pid: int) -> bytes:
    """Return what begins the leases of this process: host, process, start, nonce."""
    return f"{processes.name_of(pid)} {secrets.token_hex(4)}-".encode()


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
