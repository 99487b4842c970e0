"""The processes that compute the calls of a map.

A worker is a process with one call at a time, so that it is known which call was lost
with it, and none waits behind a long one. It commits its result itself, and says no
more than that it did.

First the pool and its workers, as this process knows them; then what happens in a
worker. How functions, items and errors get there and back is in `sending`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import queue
import sys
import threading
import time
import types
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.machinery import ModuleSpec
from typing import Any, Literal, NamedTuple

import cloudpickle

from cachekit.errors import warn
from cachekit.memoization.answers import Answers, Call, named, naming
from cachekit.memoization.call import CallKey
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.lookups import Hit
from cachekit.memoization.sending import (
    error_from,
    holds_memory,
    pack,
    packed_error,
    unpack,
)
from cachekit.stores import DictStore


class Pool:
    """Workers, started as they are needed."""

    def __init__(
        self, cached: MemorizedFunc[..., Any], answers: Answers, most: int
    ) -> None:
        self._cached = cached
        self._answers = answers
        self._most = most
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._done: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    @functools.cached_property
    def _setup(self) -> _Setup:
        """What a worker begins with: the function is pickled once."""
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        # What is in memory, also in a tier of a store, workers do not share.
        memory = self._cached.memory
        try:
            is_shared = not holds_memory(self._cached.store_backend)
            function = pack((self._cached, memory if is_shared else None))
        except Exception as error:
            error.add_note(
                f"in map(), which sends {self._cached.func_id}() to other processes, "
                f"and all that it refers to; with n_jobs=1 it stays in this one"
            )
            raise
        return _Setup(
            os.getpid(),
            function,
            is_shared,
            getattr(main, "__file__", None),
            None if spec is None else spec.name,
        )

    def begin(self, call: Call) -> None:
        """Give a call to a worker, as soon as one is free."""
        while not self._done.empty():  # what has failed is told at once
            self._take(self._done.get())
        if not self._idle and len(self._workers) < self._most:
            worker = _Worker(self._setup)
            self._workers.append(worker)
            self._idle.append(worker)
        while not self._idle:
            self._take(self._next())
        with naming(call.position, call.args[-1]):
            self._idle.pop().begin(call, self._done)

    def wait_for_all(self) -> None:
        """Wait until no worker computes."""
        while len(self._idle) < len(self._workers):
            self._take(self._next())

    def _next(self) -> _Worker:
        while True:
            with contextlib.suppress(queue.Empty):
                # On Windows, a wait without an end could not be interrupted.
                return self._done.get(timeout=1)

    def _take(self, worker: _Worker) -> None:
        call, answer = worker.call, worker.answer
        assert call is not None
        assert answer is not None
        with naming(call.position, call.args[-1]):
            self._answers.finish(call, self._hit(call, worker.message, answer))
        worker.call = worker.answer = None
        self._idle.append(worker)

    def _hit(self, call: Call, message: bytes, answer: Future[_Answer]) -> Hit:
        cached = self._cached
        try:
            found = answer.result()
        except BrokenProcessPool as error:
            raise BrokenProcessPool(
                f"a worker ended while it computed {cached.func_id}() of "
                f"{named(call.position, call.args[-1])}; it was killed, perhaps for "
                f"want of memory, or it crashed"
            ) from error
        if found.kind == "raised":
            raise error_from(found.content)
        if found.kind == "other code":
            warn(
                f"{cached.func_id}() is computed without workers, which find other "
                f"code or values than this process has: a module was edited after its "
                f"import, or changed while it runs"
            )
        elif found.kind == "stored":
            hit = cached._entries.read_computed(call.key.entry, found.seconds)
            if hit is not None:
                return hit
        else:
            hit = (pickle.loads(found.content),)
            if found.kind == "to be stored":
                self._store(self._sent(call, message), hit, found.seconds)
            return hit
        call = self._sent(call, message)
        return cached._compute(call.key, call.bound, call.args, {})

    def _sent(self, call: Call, message: bytes) -> Call:
        """Return a call as it was sent: who yields items may fill the same one anew."""
        args = unpack(message)[1]
        return call._replace(args=args, bound=self._cached._bind(*args))

    def _store(self, call: Call, hit: Hit, seconds: float) -> None:
        running = self._cached._begin(call.key, call.bound)
        self._cached._entries.commit(running, hit[0], seconds)
        self._cached._entries.keep_small(running)

    def end(self, *, wait: bool = True, kill: bool = False) -> None:
        """End the workers, all at once; also if another Ctrl-C comes meanwhile."""
        if self._workers:
            with ThreadPoolExecutor(len(self._workers)) as threads:
                for worker in self._workers:
                    threads.submit(worker.end, wait=wait, kill=kill)


class _Worker:
    """A process that computes one call at a time."""

    def __init__(self, setup: _Setup) -> None:
        import loky

        self._executor = loky.ProcessPoolExecutor(
            1, initializer=_begin_worker, initargs=(setup,)
        )
        self.call: Call | None = None
        self.message = b""
        self.answer: Future[_Answer] | None = None

    def begin(self, call: Call, done: queue.SimpleQueue[_Worker]) -> None:
        """Have a call computed; the worker is then put into the queue."""
        self.call, self.message = call, pack((call.key, call.args))
        self.answer = self._executor.submit(_compute_message, self.message)
        self.answer.add_done_callback(lambda _: done.put(self))

    def end(self, *, wait: bool, kill: bool) -> None:
        """End the process; if it is not killed, once its call is done."""
        self._executor.shutdown(wait=wait, kill_workers=kill)


# --- in a worker ---


class _Setup(NamedTuple):
    """What a worker has to know before its first call."""

    parent: int
    function: bytes
    is_shared: bool
    main_file: str | None
    main_name: str | None


class _Answer(NamedTuple):
    """What a worker says of a call: that it is done, or a value or an error."""

    kind: Literal["stored", "to be stored", "not stored", "other code", "raised"]
    content: bytes = b""
    seconds: float = 0.0


def _begin_worker(setup: _Setup) -> None:
    """Be the same script as the parent, by whose name its functions and classes go."""
    main: Any = types.ModuleType("__main__")
    main.__file__ = setup.main_file
    if setup.main_name is not None:
        main.__spec__ = ModuleSpec(setup.main_name, None)
    _of_this_worker.update(setup=setup, replaced=sys.modules["__main__"])
    sys.modules["__main__"] = main
    threading.Thread(target=_end_with, args=(setup.parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, which nobody else tells it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


_of_this_worker: dict[str, Any] = {}


@functools.cache
def _function() -> MemorizedFunc[..., Any]:
    cached: MemorizedFunc[..., Any]
    cached, memory = unpack(_of_this_worker["setup"].function)
    if memory is None:
        from cachekit.memoization.memory import Memory

        memory = Memory(DictStore())
    # A function that is found by its name may have made itself another memory.
    return type(cached)(cached.func, memory, options=cached._options)


def _compute_message(message: bytes) -> _Answer:
    try:
        key, args = unpack(message)
        return _compute_call(_function(), key, args)
    except BaseException as error:  # noqa: BLE001  (raised again in the parent)
        return _Answer("raised", packed_error(error))


def _compute_call(
    cached: MemorizedFunc[..., Any], key: CallKey, args: tuple[Any, ...]
) -> _Answer:
    # What is committed under the parent's key must be what the parent would compute.
    if cached.fingerprint() != key.entry.fingerprint:
        return _Answer("other code")
    entries, is_shared = cached._entries, _of_this_worker["setup"].is_shared
    clock = time.perf_counter()
    hit = cached._compute(key, cached._bind(*args), args, {})
    seconds = time.perf_counter() - clock
    is_stored = entries.contains(key.entry)
    if is_stored and is_shared:
        return _Answer("stored", seconds=seconds)
    if is_stored:
        entries.forget(key.entry)
    kind: Literal["to be stored", "not stored"]
    kind = "to be stored" if is_stored else "not stored"
    return _Answer(kind, cloudpickle.dumps(hit[0]), seconds)
