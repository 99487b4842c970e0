"""Pools of worker processes, which stay for the next loop.

::

    take(settings) ──► a pool that nobody uses ──► give_back(pool) ──► kept
                  └──► or a new one          └──► discard(pool)   ──► its workers go

A loop has its pool for itself while it runs: when it fails, its workers are killed, and
nobody else's tasks are to die with them. One pool at a time is kept.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Settings(NamedTuple):
    """How the workers of a pool are; one serves whoever wants the same.

    Attributes
    ----------
    n_jobs : int
        How many there are.
    idle_seconds : float
        After so long without a task a worker ends.
    environment : mapping
        What they have in their environment.
    context : object
        How they are started; None for loky's own way.
    initializer, initargs : callable or None, tuple
        What each calls first.
    """

    n_jobs: int
    idle_seconds: float
    environment: Mapping[str, str]
    context: Any = None
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()


def take(settings: Settings) -> Any:
    """Return a pool that nobody uses."""
    kept = _swap(None)
    if kept is not None:
        pool, its = kept
        if is_well(pool) and _are_alike(its, settings):
            return pool
        discard(pool)
    return _new_pool(settings)


def give_back(pool: Any, settings: Settings) -> None:
    """Keep a pool for the next loop; its tasks are all done."""
    if not is_well(pool):
        discard(pool)
        return
    _end_with_process()
    kept = _swap((pool, settings))
    if kept is not None:
        discard(kept[0])


def discard(pool: Any, *, kill: bool = False) -> None:
    """End the workers, and wait until they are gone."""
    pool.shutdown(wait=True, kill_workers=kill)


def begin_worker(
    parent: int, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> None:
    """Be a worker: go when the parent is gone, whatever the task would still do."""
    watch = threading.Thread(
        target=_go_with, args=(parent,), name="cachekit-parent", daemon=True
    )
    watch.start()
    if initializer is not None:
        initializer(*initargs)


def _go_with(parent: int) -> None:
    # What tells at once on Linux looks at a thread of the parent, which may end.
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    known = multiprocessing.parent_process()
    if known is not None and known.sentinel is not None:
        known.join()  # a server has started this process, not the parent itself
    os._exit(1)


# How often a worker that has no other means looks whether its parent is there.
PARENT_SECONDS = 1.0


def is_well(pool: Any) -> bool:
    """Tell whether a pool takes tasks: no worker has died, and nobody has ended it."""
    return pool._flags.broken is None and not pool._flags.shutdown


def _new_pool(settings: Settings) -> Any:
    import loky.backend
    from loky.process_executor import ProcessPoolExecutor

    context = settings.context
    if isinstance(context, str):
        context = loky.backend.get_context(context)
    return ProcessPoolExecutor(
        settings.n_jobs,
        timeout=settings.idle_seconds,
        context=context,
        env=settings.environment,
        initializer=begin_worker,
        initargs=(os.getpid(), settings.initializer, settings.initargs),
    )


def _are_alike(one: Settings, other: Settings) -> bool:
    if one[:-1] != other[:-1]:
        return False
    # Arrays among them could not be compared, and would have to be each time.
    pairs = zip(one.initargs, other.initargs, strict=False)
    return len(one.initargs) == len(other.initargs) and all(
        a is b or (type(a) is type(b) and isinstance(a, (str, int, float)) and a == b)
        for a, b in pairs
    )


_Kept = tuple[Any, Settings] | None

_lock = threading.Lock()
_kept: _Kept = None


def _swap(pool: _Kept) -> _Kept:
    """Keep this one; return the one that was kept."""
    global _kept
    with _lock:
        before, _kept = _kept, pool
    return before


def _end_with_process() -> None:
    """See that a process that `multiprocessing` has started waits for no worker.

    At its end it joins its own processes, and idle workers are among these.
    """
    global _has_end
    if not _has_end:
        _has_end = True
        multiprocessing.util.Finalize(None, _end, exitpriority=100)


def _end() -> None:
    kept = _swap(None)
    if kept is not None:
        discard(kept[0])


def _forget() -> None:
    """Begin anew in a forked process: the workers are those of the other one."""
    global _lock, _kept, _has_end
    _inherited.append(_kept)  # whose end would tell them to go
    _lock, _kept, _has_end = threading.Lock(), None, False


_has_end = False


_inherited: list[_Kept] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
