"""BLAKE3 of large memory, by several threads that are kept for the next one.

To start them takes 0.2 ms. A fork leaves a child without them, where a hasher that
counts on them waits for ever: so they end before it, and nobody uses `blake3.AUTO`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from blake3 import blake3

from cachekit.cores import count_cores

# From this size on two threads are quicker than one.
LARGE_BYTES = 2 << 20

MOST_THREADS = 8


@contextmanager
def large_hasher() -> Iterator[blake3]:
    """Lend a hasher with threads, which has been given nothing yet."""
    try:
        hasher = _idle.pop()
    except IndexError:  # at first, and where several threads hash at once
        hasher = blake3(max_threads=count_cores(MOST_THREADS))
    yield hasher
    hasher.reset()
    if not _idle:
        _idle.append(hasher)


_idle: list[blake3] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_idle.clear)
