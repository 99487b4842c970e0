"""Tasks of asyncio wait for each other, for threads and for other processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextvars import Context
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cachekit.stores import LocalStore
from cachekit.stores.flights import SingleFlight
from cachekit.stores.tasks import turn_of_task

R = TypeVar("R")

LONG = 20.0

# A task with a context of its own is no child of the one that starts it.


@pytest.fixture(params=["alone", "files"])
def flights(request: pytest.FixtureRequest, tmp_path: Path) -> SingleFlight:
    if request.param == "alone":
        return SingleFlight()
    return LocalStore(tmp_path / "store").flights


class Work:
    """Something computed by tasks, at most once if all goes well."""

    def __init__(self, flights: SingleFlight) -> None:
        self.flights = flights
        self.result: int | None = None
        self.computed = 0

    async def get(self, name: str = "key") -> int | None:
        with await turn_of_task(self.flights, name, lambda: self.result) as turn:
            if turn.hit is not None:
                return turn.hit
            self.computed += 1
            await asyncio.sleep(0.05)
            self.result = 7
            return self.result


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    async def limited() -> R:
        return await asyncio.wait_for(coroutine, LONG)

    return asyncio.run(limited())


def nothing() -> int | None:
    return None


def test_of_many_tasks_one_computes(flights: SingleFlight) -> None:
    work = Work(flights)

    async def together() -> list[int | None]:
        return await asyncio.gather(*(work.get() for _ in range(50)))

    assert run(together()) == [7] * 50
    assert work.computed == 1


def test_others_go_on_while_one_waits(flights: SingleFlight) -> None:
    async def wait_for_each_other() -> None:
        first, second = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            with await turn_of_task(flights, "key", nothing):
                first.set()
                await second.wait()

        async def wait() -> None:
            await first.wait()
            with await turn_of_task(flights, "key", nothing):
                pass

        async def go_on() -> None:
            await first.wait()
            await asyncio.sleep(0.01)
            second.set()

        await asyncio.gather(hold(), wait(), go_on())

    run(wait_for_each_other())


def test_a_task_waits_for_a_thread(flights: SingleFlight) -> None:
    work, taken, go_on = Work(flights), threading.Event(), threading.Event()

    def compute() -> None:
        with flights.turn("key", nothing):
            taken.set()
            assert go_on.wait(LONG)
            work.result = 8

    thread = threading.Thread(target=compute)
    thread.start()

    async def wait() -> int | None:
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        return await work.get()

    assert taken.wait(LONG)
    assert run(wait()) == 8
    thread.join()
    assert work.computed == 0


def test_a_task_that_calls_itself_does_not_wait(flights: SingleFlight) -> None:
    async def outer() -> str:
        with await turn_of_task(flights, "key", nothing):
            with await turn_of_task(flights, "key", nothing) as turn:
                assert turn.hit is None
            return "done"

    assert run(outer()) == "done"


def test_a_task_does_not_wait_for_the_one_that_waits_for_it(
    flights: SingleFlight,
) -> None:
    async def inner() -> int:
        with await turn_of_task(flights, "key", nothing):
            return 1

    async def outer() -> int:
        with await turn_of_task(flights, "key", nothing):
            return sum(await asyncio.gather(inner(), inner()))

    assert run(outer()) == 2


def test_tasks_that_one_has_started_wait_for_each_other(flights: SingleFlight) -> None:
    work = Work(flights)

    async def outer() -> list[int | None]:
        with await turn_of_task(flights, "outer", nothing):
            return list(await asyncio.gather(work.get(), work.get(), work.get()))

    assert run(outer()) == [7] * 3
    assert work.computed == 1


def test_tasks_that_wait_for_each_other_in_a_circle_go_on(
    flights: SingleFlight,
) -> None:
    both = asyncio.Barrier(2)

    async def one(mine: str, others: str) -> None:
        with await turn_of_task(flights, mine, nothing):
            await both.wait()
            with await turn_of_task(flights, others, nothing):
                pass

    async def circle() -> None:
        await asyncio.gather(one("a", "b"), one("b", "a"))

    run(circle())


def test_a_turn_that_nobody_takes_any_more_is_given_back(flights: SingleFlight) -> None:
    work = Work(flights)

    async def cancel_one_who_waits() -> int | None:
        with await turn_of_task(flights, "key", nothing):
            waiting = asyncio.create_task(work.get(), context=Context())
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        return await work.get()

    assert run(cancel_one_who_waits()) == 7
    assert work.computed == 1


def test_after_its_turn_a_task_waits_as_any_other(flights: SingleFlight) -> None:
    work = Work(flights)

    async def again() -> list[int | None]:
        with await turn_of_task(flights, "key", nothing):
            pass
        return list(await asyncio.gather(work.get(), work.get()))

    assert run(again()) == [7, 7]
    assert work.computed == 1


def test_a_task_waits_no_longer_than_it_was_told(flights: SingleFlight) -> None:
    async def wait() -> bool:
        with await turn_of_task(flights, "key", nothing):

            async def other() -> bool:
                with await turn_of_task(flights, "key", nothing, timeout=0.05) as turn:
                    return turn.hit is None

            return await asyncio.create_task(other(), context=Context())

    assert run(wait()) is True
