"""Tasks of asyncio: threads work for them, and of those that want one key one computes.

Others go on while one waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from cachekit.stores.flights import SingleFlight, Turn

H = TypeVar("H")
P = ParamSpec("P")
R = TypeVar("R")

# Those who read, hash and write; as many as asyncio has by default.
MOST_THREADS = min(32, (os.cpu_count() or 1) + 4)


# --- threads that work for tasks ---


async def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do something in a thread, while other tasks go on.

    A task that is cancelled meanwhile does not wait until it is done.

    Parameters
    ----------
    work : callable
        What to do.
    *args, **kwargs
        Its arguments.
    """
    future = _submit(functools.partial(work, *args, **kwargs))
    return _result(await asyncio.wrap_future(future))


async def to_its_end(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do something in a thread, and wait until it is done, also if one is cancelled.

    Then one is cancelled afterwards. Without a loop, as when a coroutine is thrown
    away, it is done here and now.

    Parameters
    ----------
    work : callable
        What to do: something short, or that would leave a half behind.
    *args, **kwargs
        Its arguments.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work(*args, **kwargs)
    future = asyncio.wrap_future(_submit(functools.partial(work, *args, **kwargs)))
    cancelled = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return _result(future.result())


# What a piece of work has returned or raised: as a value, since the future of a loop
# takes no StopIteration, and whoever awaits it would wait for ever.
_Outcome = tuple[R | None, BaseException | None]


def _submit(work: Callable[[], R]) -> Future[_Outcome[R]]:
    context, is_taken = copy_context(), threading.Lock()

    def do() -> _Outcome[R]:
        if not is_taken.acquire(blocking=False):
            return None, None
        try:
            return context.run(work), None
        except BaseException as error:  # noqa: BLE001  (told to who waits)
            return None, error

    try:
        return _pool().submit(do)
    except RuntimeError:  # Python is about to exit, or there are too many threads
        done: Future[_Outcome[R]] = Future()
        done.set_result(do())
        return done


def _result(outcome: _Outcome[R]) -> R:
    value, error = outcome
    if error is None:
        return value  # type: ignore[return-value]
    try:
        raise error
    finally:
        del outcome, error  # or they and this frame would keep each other


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads of the cache.

    Not those of the loop, which are the user's: if each of them waited for a cached
    call, nobody could answer it.
    """
    return ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="cachekit-tasks")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


# --- single flight ---


async def turn_of_task(
    flights: SingleFlight,
    name: str,
    look_up: Callable[[], H | None],
    *,
    timeout: float | None = None,
) -> Turn[H]:
    """Wait until a key is stored, or it is the turn of this task to compute it.

    A task that computes a key is not waited for by those that it starts meanwhile, as
    it waits for them. If it is cancelled, another has its turn.

    Parameters
    ----------
    flights : SingleFlight
        Who computes what; the same for tasks and for threads.
    name, look_up, timeout
        As for `SingleFlight.turn`. `look_up` is called in another thread.
    """
    above, place = _above.get(), (id(flights), name)
    if above is not None and above.computes(place):  # it calls itself
        return Turn(None)
    lines = _here.lines.setdefault(asyncio.get_running_loop(), {})
    line: _Line[H] | None = lines.get((place, id(above)))
    if line is None:
        take = functools.partial(flights.turn, name, timeout=timeout)
        forget = functools.partial(lines.pop, (place, id(above)), None)
        line = _Line(_Caller(place, above), take, forget)
        lines[place, id(above)] = line
        line.send(look_up)
        timeout = None  # which is the thread's
    try:
        turn, was_anothers = await line.wait(timeout)
    except TimeoutError:
        return _TurnOfTask(None, Turn(None), _Caller(place, above))
    if turn is None:
        # If it has failed, it fails for all: they need not do so one by one.
        return Turn(await in_thread(look_up))
    if turn.hit is not None:
        return turn
    mine = _TurnOfTask(line, turn, _Caller(place, line.caller))
    hit = await mine.looked_up(look_up) if was_anothers else None
    return mine if hit is None else Turn(hit)


class _Caller:
    """Who computes a key, and on whose behalf.

    It equals those below it: what it computes is theirs too, as it waits for them. So a
    flight sees who waits for himself, and does not take siblings for one and the same.

    Parameters
    ----------
    place : (int, str)
        Flights and name of the key.
    above : _Caller or None
        Who has called.
    """

    def __init__(self, place: tuple[int, str], above: _Caller | None) -> None:
        self._place = place
        self._above = above
        self.is_computing = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Caller) and any(one is self for one in other._chain())

    __hash__ = object.__hash__

    def computes(self, place: tuple[int, str]) -> bool:
        """Tell whether it, or one above it, computes a key."""
        return any(one._place == place and one.is_computing for one in self._chain())

    def _chain(self) -> Iterator[_Caller]:
        one: _Caller | None = self
        while one is not None:
            yield one
            one = one._above


class _TurnOfTask(Turn[H]):
    """The turn of a task, which what it starts from now on finds as its own, too."""

    def __init__(self, line: _Line[H] | None, turn: Turn[H], caller: _Caller) -> None:
        super().__init__(None, self._end)
        self._line = line
        self._turn = turn
        self._caller = caller
        self._before = _above.get()
        caller.is_computing = True
        _above.set(caller)

    async def looked_up(self, look_up: Callable[[], H | None]) -> H | None:
        """Look for the result of a task that was cancelled; if it is there, end."""
        try:
            hit = await in_thread(look_up)
        except BaseException as error:
            self.__exit__(type(error))
            raise
        if hit is not None:
            self._end()
        return hit

    def __exit__(self, *error: object) -> None:
        kind = error[0]
        self._end(hand_on=isinstance(kind, type) and issubclass(kind, _CANCELLED))

    def _end(self, *, hand_on: bool = False) -> None:
        self._caller.is_computing = False
        if _above.get() is self._caller:  # else a coroutine was thrown away, elsewhere
            _above.set(self._before)
        if self._line is not None:
            self._line.end(self._turn, hand_on=hand_on)


_CANCELLED = (asyncio.CancelledError, GeneratorExit)

# A turn, and whether another task had it before.
_Answer = tuple[Turn[H] | None, bool]


class _Line(Generic[H]):
    """The tasks of a loop that want one key and have the same tasks above them.

    One thread waits for all of them.

    Parameters
    ----------
    caller : _Caller
        Above those who have their turn, one after another.
    take : callable
        Waits for a turn.
    forget : callable
        Called when nobody is to join this line any more.
    """

    def __init__(
        self,
        caller: _Caller,
        take: Callable[..., Turn[H]],
        forget: Callable[[], object],
    ) -> None:
        self.caller = caller
        self._take = take
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[_Answer[H]]] = deque()

    async def wait(self, timeout: float | None) -> _Answer[H]:
        """Wait for a turn; without one, somebody else has computed.

        Raises
        ------
        TimeoutError
            If the time is up.
        """
        place: asyncio.Future[_Answer[H]] = self._loop.create_future()
        self._waiting.append(place)
        try:
            await asyncio.wait([place], timeout=timeout)
        except BaseException:
            self._leave(place)
            raise
        if not place.done():
            self._leave(place)
            raise TimeoutError
        return place.result()

    def _leave(self, place: asyncio.Future[_Answer[H]]) -> None:
        if not place.done():
            self._waiting.remove(place)
        elif place.exception() is None:  # it came, and nobody takes it any more
            turn = place.result()[0]
            if turn is not None and turn.hit is None:
                self.end(turn, hand_on=True)

    def send(self, look_up: Callable[[], H | None]) -> None:
        """Send a thread of its own to wait: there may be as many as there are keys.

        Those that read and write are few, and if all of them waited here, nobody could
        finish what they wait for.
        """
        take = functools.partial(self._take, look_up, owner=self.caller)
        run = functools.partial(copy_context().run, self._wait_in_thread, take)
        thread = threading.Thread(target=run, name="cachekit-turn", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are too many
            self._loop.call_soon(self._deliver, Turn(None), None)

    def _wait_in_thread(self, take: Callable[[], Turn[H]]) -> None:
        turn, problem = None, None
        try:
            turn = take()
        except BaseException as error:  # noqa: BLE001  (told to who waits)
            problem = error
        try:
            self._loop.call_soon_threadsafe(self._deliver, turn, problem)
        except RuntimeError:  # the loop has ended
            if turn is not None:
                with contextlib.suppress(OSError):
                    turn.end()

    def _deliver(self, turn: Turn[H] | None, error: BaseException | None) -> None:
        if turn is not None and turn.hit is None:
            self._hand_on(turn, is_new=True)
            return
        if self._waiting:
            first = self._waiting.popleft()
            if error is not None:
                first.set_exception(_without_stop(error))
            else:
                first.set_result((turn, False))
        self._disperse()

    def end(self, turn: Turn[H], *, hand_on: bool) -> None:
        """End a turn, or leave it to the next who waits."""
        if self._loop.is_closed():
            turn.end()
        elif hand_on:
            self._hand_on(turn, is_new=False)
        else:
            try:
                turn.end()
            finally:
                self._disperse()

    def _hand_on(self, turn: Turn[H], *, is_new: bool) -> None:
        if self._waiting:
            self._waiting.popleft().set_result((turn, not is_new))
        else:
            self._forget()
            turn.end()

    def _disperse(self) -> None:
        """Have all who wait look for the result."""
        self._forget()
        while self._waiting:
            self._waiting.popleft().set_result((None, False))


def _without_stop(error: BaseException) -> BaseException:
    """Return what a future takes, as Python does in a coroutine."""
    if not isinstance(error, StopIteration):
        return error
    instead = RuntimeError("a look-up raised StopIteration")
    instead.__cause__ = error
    return instead


# Who computes here, the innermost one.
_above: ContextVar[_Caller | None] = ContextVar("_above", default=None)


class _Here(threading.local):
    """The lines of this thread, by its loop: a loop runs in one thread at a time."""

    def __init__(self) -> None:
        self.lines: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[tuple[tuple[int, str], int], _Line[Any]]
        ] = WeakKeyDictionary()


_here = _Here()
