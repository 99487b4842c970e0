"""Threads that compress and expand: of one file, and gone when it is closed.

A pool that lives longer would hang in a forked child, which has none of its threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from cachekit.cores import count_cores

# Each holds a chunk and what it became, with xz some 13 MB more.
MOST_THREADS = 16


def usable_cores() -> int:
    """Return how many threads are worth having."""
    return count_cores(MOST_THREADS)


def submit(pool: ThreadPoolExecutor, work: Callable[..., Any], *of: Any) -> Future[Any]:
    """Have work done in a pool; or here, if no thread can be started.

    There are too many then, or Python is about to exit.
    """
    try:
        return pool.submit(work, *of)
    except RuntimeError:
        done: Future[Any] = Future()
        done.set_result(work(*of))
        return done
