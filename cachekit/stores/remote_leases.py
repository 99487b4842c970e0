"""Leases on a service: who of all hosts is computing a key.

As with files, but each look is a request: the owner shows every quarter of a minute
that he is there, others look every few seconds, and a lease is given back in the
background. Whether the result has come since the first look is not asked again once a
lease was taken: that it came just then is rare, and would cost one computation.

A file there can be created, but not replaced or removed on a condition. So who removes
a lost lease first creates a *claim* to it, and looks once more: else the second of two
who see it lost would remove the new lease of the first::

    .leases/<name>                host, process, its start, nonce and beats
    .leases/<name>.<text>.lost    there while that lease is being removed
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from cachekit.errors import StoreError
from cachekit.stores.background import Background
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
from cachekit.stores.processes import is_gone
from cachekit.stores.service import Service

H = TypeVar("H")

BEAT_SECONDS = 15.0

# An owner of another host that was silent for so long has lost his lease.
SILENT_SECONDS = 60.0

# How often one who waits looks, at first and later.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0

# Who comes too late for a lease so many times computes without: some services may
# refuse for another reason than that it is there.
MOST_TRIES = 20


class ServiceLeases(Leases):
    """Leases as files of a service that can refuse to create one twice.

    Parameters
    ----------
    service : Service
        Where they are.
    """

    looks_again = False

    def __init__(self, service: Service) -> None:
        self._service = service
        self._background = Background(f"giving back leases at {service.client.name}")

    def acquire(self, name: str) -> Lease | None:
        """Take a lease; None if another has it.

        Raises
        ------
        StoreError
            If there can be none.
        """
        if not self._service.can_refuse:
            raise StoreError(f"{self._service.client.name} has no leases")
        lease = _ServiceLease(self._service, self._background, name)
        _of_this_process[lease.text] = lease
        try:
            with self._service.client.telling_later():
                if not self._service.put(lease.path, io.BytesIO(lease.text), new=True):
                    # If it is there all the same, the answer was lost: nobody has it.
                    del _of_this_process[lease.text]
                    return None
            heart.beat_for(lease)
        except StoreError:
            raise
        except BaseException:  # Ctrl-C: it may be there, and would be waited for
            lease.release_if_had()
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
        notice = Notice(name)
        for _ in range(MOST_TRIES):
            with self._service.client.telling_later():
                is_over = self._wait_for_end(_path(name), until, notice)
            hit = look_up()
            if hit is not None or not is_over:
                return hit
            lease = self.acquire(name)
            if lease is not None:
                holder.leases.append(lease)
                return look_up()
        return None

    def _wait_for_end(self, path: str, until: float | None, notice: Notice) -> bool:
        """Wait until a lease is given back or lost; False if that is in vain."""
        seen, pause = _Seen(), FIRST_PAUSE
        while True:
            text = _text_at(self._service, path)
            if text is None:
                return True
            seen.note(text)
            if _is_held_here(text) or seen.is_stuck():
                return False
            if seen.is_lost() and self._take_away(path, text):
                return True
            notice.tell_if_long()
            left = math.inf if until is None else until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _take_away(self, path: str, text: bytes) -> bool:
        """Remove a lease that was judged lost; False if another is about to."""
        claim = claim_to(path, text)
        mine = io.BytesIO(who_am_i(os.getpid()))
        if not self._service.put(claim, mine, new=True):
            return False
        try:
            if _text_at(self._service, path) == text:
                self._service.remove([path])
        finally:
            self._service.remove([claim])
        return True

    def flush(self) -> None:
        """Wait until leases that were released are given back."""
        self._background.wait()

    def note_waiting(self, name: str, waits_for: str | None) -> None:
        """Say nothing: that would be a request for each."""

    def waits_for(self, name: str) -> str | None:  # noqa: ARG002
        """Return None: nobody says so here."""
        return None


class _ServiceLease(Lease):
    def __init__(self, service: Service, background: Background, name: str) -> None:
        self.path = _path(name)
        mine = b"%s%x" % (who_am_i(os.getpid()), next(_count))
        # Services with one URL may be two, by their options.
        super().__init__(f"{service.client.url}/{self.path} {mine.decode()}", mine)
        self.process = os.getpid()
        self._service = service
        self._background = background
        self._shown = time.monotonic()
        self._beats = 0
        # Else a beat that looks before the end and writes after it brings it back.
        self._busy = threading.Lock()

    def beat(self) -> None:
        with (
            self._busy,
            contextlib.suppress(StoreError),
            self._service.client.telling_later(),
        ):
            if self._is_mine():
                self._beats += 1
                text = b"%s+%d" % (self.text, self._beats)
                self._service.put(self.path, io.BytesIO(text), new=False)
                self._shown = time.monotonic()

    def release(self) -> None:
        heart.stop_for(self)
        if self.process == os.getpid():
            self._background.run(self._remove)

    def release_if_had(self) -> None:
        """Give it back if it is there: nobody has said so."""
        self._shown = -math.inf
        self.release()

    def _remove(self) -> None:
        with (
            self._busy,
            contextlib.suppress(StoreError),
            self._service.client.telling_later(),
        ):
            is_fresh = time.monotonic() - self._shown < SILENT_SECONDS / 2
            if is_fresh or self._is_mine():
                self._service.remove([self.path])

    def _is_mine(self) -> bool:
        text = _text_at(self._service, self.path)
        return text is not None and _without_beats(text) == self.text


class _Seen:
    """What was last seen of a lease, and since when it is the same."""

    def __init__(self) -> None:
        self._text: bytes | None = None
        self._since = 0.0

    def note(self, text: bytes) -> None:
        """Note what it says now."""
        if text != self._text:
            self._text = text
            self._since = time.monotonic()  # no clock but our own can be compared

    def is_lost(self) -> bool:
        """Tell whether its owner is dead, or silent for too long."""
        text = self._text or b""
        is_nobodys = _is_of_this_process(text)  # created, and then taken for another's
        return is_nobodys or self._is_same(SILENT_SECONDS) or is_gone(*owner_of(text))

    def is_stuck(self) -> bool:
        """Tell whether one who was about to remove it has died at that."""
        return self._is_same(2 * SILENT_SECONDS)

    def _is_same(self, seconds: float) -> bool:
        return time.monotonic() - self._since > seconds


def _is_held_here(text: bytes) -> bool:
    """Tell whether a lease is this process's own, which would wait for itself.

    Its threads wait for each other elsewhere, but not those with two kinds of stores
    in one place; and a lease is still there while it is being given back.
    """
    return _without_beats(text) in _of_this_process and _is_of_this_process(text)


def _is_of_this_process(text: bytes) -> bool:
    return text.startswith(who_am_i(os.getpid()))


def _without_beats(text: bytes) -> bytes:
    return text.partition(b"+")[0]


def _path(name: str) -> str:
    return f".leases/{name}"


def _text_at(service: Service, path: str) -> bytes | None:
    file = service.get(path)
    if file is None:
        return None
    with file:
        return file.read()


heart = Heart(BEAT_SECONDS)
_count = itertools.count()

# Those that are held, or being given back; a forked child finds none of its own here.
_of_this_process: weakref.WeakValueDictionary[bytes, _ServiceLease] = (
    weakref.WeakValueDictionary()
)
