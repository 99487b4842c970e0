"""Leases on a service: who of all hosts is computing a key.

As with files, but each look is a request: the owner shows every quarter of a minute
that he is there, others look every few seconds, and a lease is given back in the
background. Whether the result has come since the first look is not asked again once a
lease was taken: that it came just then is rare, and would cost one computation.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import time
from collections.abc import Callable
from typing import TypeVar

from cachekit.errors import StoreError
from cachekit.stores import processes
from cachekit.stores.background import Background
from cachekit.stores.leases import (
    Heart,
    Holder,
    Lease,
    Leases,
    Notice,
    owner_of,
    who_am_i,
)
from cachekit.stores.service import Service

H = TypeVar("H")

BEAT_SECONDS = 15.0

# An owner of another host that was silent for so long has lost his lease.
SILENT_SECONDS = 60.0

# How often one who waits looks, at first and later.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


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
        self._background = Background(f"giving back leases at {service.name}")

    def acquire(self, name: str) -> Lease | None:
        """Take a lease; None if another has it.

        Raises
        ------
        StoreError
            If there can be none.
        """
        if not self._service.can_refuse:
            raise StoreError(f"{self._service.name} has no leases")
        lease = _ServiceLease(self._service, self._background, name)
        with self._service.telling_later():
            if not self._service.put(lease.path, io.BytesIO(lease.text), new=True):
                return None
        heart.beat_for(lease)
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
        while True:
            with self._service.telling_later():
                is_over = self._wait_for_end(name, until, notice)
            hit = look_up()
            if hit is not None or not is_over:
                return hit
            lease = self.acquire(name)
            if lease is not None:
                holder.leases.append(lease)
                return look_up()

    def _wait_for_end(self, name: str, until: float | None, notice: Notice) -> bool:
        """Wait until a lease is given back or lost; False if the time is up."""
        seen, since, pause = b"", time.monotonic(), FIRST_PAUSE
        while True:
            text = _text_at(self._service, _path(name))
            if not text:
                return True
            if text != seen:
                seen, since = text, time.monotonic()
            is_silent = time.monotonic() - since > SILENT_SECONDS
            if is_silent or processes.is_gone(*owner_of(text)):
                self._service.remove([_path(name)])
                return True
            notice.tell_if_long()
            if until is not None and time.monotonic() >= until:
                return False
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

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
        super().__init__(f"{service.url}/{self.path}", mine)
        self._service = service
        self._background = background
        self._shown = time.monotonic()
        self._beats = 0

    def beat(self) -> None:
        self._beats += 1
        with contextlib.suppress(StoreError), self._service.telling_later():
            if self._is_mine():
                text = b"%s.%d" % (self.text, self._beats)
                self._service.put(self.path, io.BytesIO(text), new=False)
                self._shown = time.monotonic()

    def release(self) -> None:
        heart.stop_for(self)
        if self.process == os.getpid():
            self._background.run(self._remove)

    def _remove(self) -> None:
        is_fresh = time.monotonic() - self._shown < SILENT_SECONDS / 2
        with contextlib.suppress(StoreError), self._service.telling_later():
            if is_fresh or self._is_mine():
                self._service.remove([self.path])

    def _is_mine(self) -> bool:
        return _text_at(self._service, self.path).startswith(self.text)


def _path(name: str) -> str:
    return f".leases/{name}"


def _text_at(service: Service, path: str) -> bytes:
    file = service.get(path)
    if file is None:
        return b""
    with file:
        return file.read()


heart = Heart(BEAT_SECONDS)
_count = itertools.count()
