"""Single flight for the tasks of asyncio: others go on while one waits."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from cachekit.stores.flights import SingleFlight, Turn

H = TypeVar("H")


async def turn_of_task(
    flights: SingleFlight,
    name: str,
    look_up: Callable[[], H | None],
    *,
    timeout: float | None = None,
) -> Turn[H]:
    """Wait until a key is stored, or it is the turn of this task to compute it.

    A task that computes a key is not waited for by those that it starts meanwhile, as
    it waits for them.

    Parameters
    ----------
    flights : SingleFlight
        Who computes what; the same for tasks and for threads.
    name, look_up, timeout
        As for `SingleFlight.turn`. `look_up` is called in another thread.
    """
    held, place = _held.get(), (id(flights), name)
    if place in held:  # it calls itself
        return Turn(None)
    family = _family.get() or object()
    turn = await _in_thread(
        functools.partial(flights.turn, name, look_up, timeout=timeout, owner=family)
    )
    if turn.hit is not None:
        return turn
    # What tasks that it starts from now on find as theirs, too.
    before = _family.get()
    _held.set(held | {place})
    _family.set(family)

    def end() -> None:
        _held.set(held)
        _family.set(before)
        turn.end()

    return Turn(None, end)


async def _in_thread(take: Callable[[], Turn[H]]) -> Turn[H]:
    """Wait for a turn in a thread of its own.

    Not one of the loop's: these are few, and if all of them waited here, nobody could
    finish what they wait for.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Turn[H]] = loop.create_future()

    def deliver(turn: Turn[H] | None, error: BaseException | None) -> None:
        if turn is not None and answer.cancelled():
            turn.end()  # nobody takes it any more
        elif turn is not None:
            answer.set_result(turn)
        elif error is not None and not answer.cancelled():
            answer.set_exception(error)

    def run() -> None:
        turn, problem = None, None
        try:
            turn = take()
        except BaseException as error:  # noqa: BLE001  (told to who waits)
            problem = error
        try:
            loop.call_soon_threadsafe(deliver, turn, problem)
        except RuntimeError:  # the loop has ended
            if turn is not None:
                with contextlib.suppress(OSError):
                    turn.end()

    threading.Thread(target=run, name="cachekit-turn", daemon=True).start()
    return await answer


# The keys that this task or one above it computes, by their flights, and a mark of all
# tasks that come from the same outermost one.
_held: ContextVar[frozenset[tuple[int, str]]] = ContextVar("_held", default=frozenset())
_family: ContextVar[object | None] = ContextVar("_family", default=None)
