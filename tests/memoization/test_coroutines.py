"""Cached coroutines: one computes for all tasks, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from cachekit import CacheMiss, CacheWarning, Memory
from tests.memoization.loops import LONG, run
from tests.memoization.project import only_value_file, value_files

R = TypeVar("R")


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def begun_then_awaited(
    call: Callable[[], Coroutine[Any, Any, R]],
    has_begun: Callable[[], object],
    others: int = 1,
) -> list[asyncio.Task[R]]:
    """Return the task that computes, and others that wait for it."""
    first = asyncio.create_task(call())
    await until(has_begun)
    tasks = [first, *(asyncio.create_task(call()) for _ in range(others))]
    await asyncio.sleep(0.05)  # who is late finds the same
    return tasks


class Work:
    """What a cached coroutine does, and how often it has begun."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.pause = 0.01
        self.problem: BaseException | None = None

    async def do(self, x: Any) -> Any:
        self.begun.append(x)
        await asyncio.sleep(self.pause)
        if self.problem is not None:
            raise self.problem
        return x


async def worked(x: Any, work: Work) -> Any:
    return await work.do(x)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def cached(memory: Memory) -> Any:
    return memory.cache(worked, ignore=["work"])


# --- hits ---


def test_a_cached_coroutine_is_one(cached: Any, work: Work) -> None:
    assert inspect.iscoroutinefunction(cached) or sys.version_info < (3, 12)
    assert asyncio.iscoroutinefunction(cached)

    for value in (None, 7, [1, 2]):
        assert run(cached(value, work)) == value
        assert run(cached(value, work)) == value
    assert work.begun == [None, 7, [1, 2]]


def test_wrong_arguments_are_told_at_once(cached: Any) -> None:
    with pytest.raises(TypeError, match="worked"):
        cached(1, 2, 3)


def test_each_task_has_a_result_of_its_own(cached: Any, work: Work) -> None:
    async def together() -> list[Any]:
        return list(await asyncio.gather(*(cached([1], work) for _ in range(5))))

    results = run(together())
    for result in results:
        result.append(2)

    assert results == [[1, 2]] * 5
    assert run(cached([1], work)) == [1]


# --- one computation ---


def test_a_thousand_tasks_of_twenty_keys_compute_twenty(
    cached: Any, work: Work
) -> None:
    most = 0

    async def together() -> list[Any]:
        nonlocal most
        tasks = [asyncio.create_task(cached(n % 20, work)) for n in range(1000)]
        while not all(task.done() for task in tasks):
            most = max(most, threading.active_count())
            await asyncio.sleep(0.005)
        return [task.result() for task in tasks]

    assert run(together()) == [n % 20 for n in range(1000)]
    assert sorted(work.begun) == list(range(20))
    assert most < 100


def test_calls_are_answered_while_all_threads_of_the_loop_wait_for_them(
    cached: Any, work: Work
) -> None:
    async def together() -> list[Any]:
        loop = asyncio.get_running_loop()

        def ask(n: int) -> Any:
            future = asyncio.run_coroutine_threadsafe(cached(n % 20, work), loop)
            return future.result(LONG)

        return list(
            await asyncio.gather(*(asyncio.to_thread(ask, n) for n in range(200)))
        )

    assert run(together()) == [n % 20 for n in range(200)]
    assert sorted(work.begun) == list(range(20))


def test_two_loops_in_two_threads_compute_once(cached: Any, work: Work) -> None:
    work.pause = 0.2
    results: list[Any] = []
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait(LONG)
        results.append(run(cached(3, work)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [3] * 4
    assert work.begun == [3]


PROGRAM = """
import asyncio, sys
from cachekit import Memory
memory = Memory(sys.argv[1])

@memory.cache
async def slow(x):
    with open(sys.argv[2], "a") as log:
        log.write("computed\\n")
    await asyncio.sleep(0.5)
    return x * 2

async def main():
    return await asyncio.gather(*(slow(4) for _ in range(10)))

sys.stdin.readline()
print(asyncio.run(main()))
"""


def test_tasks_of_four_processes_compute_once(store: Path, tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(PROGRAM)
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(script), str(store), str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    results = [process.communicate(timeout=120)[0] for process in started]

    assert results == [f"{[8] * 10}\n"] * 4
    assert log.read_text() == "computed\n"


def test_a_task_may_wait_for_what_its_own_child_computes(memory: Memory) -> None:
    async def inner(x: int, log: list[str]) -> int:
        log.append("inner")
        await asyncio.sleep(0.05)
        return x + 1

    cached_inner: Any = memory.cache(inner, ignore=["log"])

    async def outer(x: int, inner: Any, log: list[str]) -> int:
        log.append("outer")
        child = asyncio.create_task(inner(x, log))
        await asyncio.sleep(0.01)
        return int(await inner(x, log) + await child)

    cached_outer: Any = memory.cache(outer, ignore=["inner", "log"])
    log: list[str] = []

    assert run(cached_outer(1, cached_inner, log)) == 4
    assert log == ["outer", "inner"]


def test_a_cached_coroutine_may_call_itself(memory: Memory) -> None:
    async def fibonacci(n: int, self: Any, log: list[int]) -> int:
        log.append(n)
        if n < 2:
            return n
        return sum(await asyncio.gather(self(n - 1, self, log), self(n - 2, self, log)))

    cached: Any = memory.cache(fibonacci, ignore=["self", "log"])
    log: list[int] = []

    assert run(cached(20, cached, log)) == 6765
    assert sorted(log) == list(range(21))


def test_a_coroutine_that_calls_itself_does_not_wait_for_itself(
    memory: Memory,
) -> None:
    async def again(x: int, self: Any, log: list[int]) -> int:
        log.append(x)
        if len(log) == 1:
            await asyncio.sleep(LONG)
        return int(await self(x, self, log)) if len(log) == 2 else x

    cached: Any = memory.cache(again, ignore=["self", "log"])
    log: list[int] = []

    async def have_the_turn_of_one_who_was_cancelled() -> int:
        first, second = await begun_then_awaited(
            lambda: cached(1, cached, log), lambda: log
        )
        first.cancel()
        return int(await second)

    assert run(have_the_turn_of_one_who_was_cancelled()) == 1
    assert log == [1, 1, 1]


def test_a_failure_is_everybodys_own_and_not_stored(
    cached: Any, work: Work, store: Path
) -> None:
    work.problem = ValueError("the user's")

    async def together() -> list[Any]:
        calls = (cached(1, work) for _ in range(3))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    assert run(together()) == [work.problem] * 3
    assert value_files(store) == []


@pytest.mark.parametrize(
    "problem",
    [KeyError("a"), asyncio.CancelledError("mine"), SystemExit(3), KeyboardInterrupt()],
)
def test_the_users_errors_pass_through(
    problem: BaseException, cached: Any, work: Work, store: Path
) -> None:
    work.problem = problem

    with pytest.raises(type(problem)):
        asyncio.run(cached(1, work))

    assert value_files(store) == []
    work.problem = None
    assert run(cached(1, work)) == 1


def test_a_stray_stop_is_an_error_as_in_any_coroutine(memory: Memory) -> None:
    @memory.cache
    async def stray() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        run(stray())


class Stopping:
    def __cachekit_hash__(self) -> object:
        return next(iter(()))


def test_a_stray_stop_in_a_thread_is_an_error_and_no_hang(
    cached: Any, work: Work, memory: Memory
) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        run(cached(Stopping(), work))

    picky: Any = memory.cache(
        worked, ignore=["work"], cache_validation_callback=lambda _: next(iter(()))
    )
    run(picky(1, work))
    with pytest.raises(RuntimeError, match="StopIteration"):
        run(picky(1, work))


# --- cancelled ---


def after_steps(loop_steps: int, cancel: Callable[[], object]) -> None:
    """Cancel after so many rounds of the loop."""
    loop = asyncio.get_running_loop()
    if loop_steps == 0:
        cancel()
    else:
        loop.call_later(0.0005, after_steps, loop_steps - 1, cancel)


@pytest.mark.parametrize("steps", range(0, 30, 2))
def test_whenever_it_is_cancelled_the_next_is_answered(
    steps: int, cached: Any, work: Work, store: Path
) -> None:
    async def cancel_one() -> Any:
        task = asyncio.create_task(cached(np.ones(10_000), work))
        after_steps(steps, task.cancel)
        with suppress(asyncio.CancelledError):
            await task
        return await cached(np.ones(10_000), work)

    assert run(cancel_one()).sum() == 10_000
    assert len(value_files(store)) == 1


def test_if_who_computes_is_cancelled_one_of_those_who_wait_does(
    cached: Any, work: Work
) -> None:
    work.pause = LONG

    async def cancel_the_first() -> list[Any]:
        tasks = await begun_then_awaited(
            lambda: cached(1, work), lambda: work.begun, others=19
        )
        work.pause = 0.05
        tasks[0].cancel()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    results = run(cancel_the_first())

    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [1] * 19
    assert work.begun == [1, 1]


def test_who_is_cancelled_as_his_turn_comes_gives_it_back(
    cached: Any, work: Work
) -> None:
    async def cancel_all_at_once() -> Any:
        for pause in range(20):
            tasks = [asyncio.create_task(cached(1, work)) for _ in range(3)]
            await asyncio.sleep(pause / 4000)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await cached(1, work)

    work.pause = 0.001
    assert run(cancel_all_at_once()) == 1


def test_a_time_out_ends_the_wait_alone(cached: Any, work: Work) -> None:
    work.pause = 0.3

    async def some_wait() -> Any:
        task = asyncio.create_task(cached(1, work))
        await until(lambda: work.begun)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cached(1, work), 0.05)
        return await task

    assert run(some_wait()) == 1
    assert work.begun == [1]


class Slow:
    """Takes its time to be pickled."""

    def __init__(self) -> None:
        self.pickling = threading.Event()
        self.go_on = threading.Event()

    def __reduce__(self) -> Any:
        self.pickling.set()
        assert self.go_on.wait(LONG)
        return (int, (7,))


def test_who_is_cancelled_as_his_result_is_stored_has_stored_it(
    memory: Memory, store: Path
) -> None:
    async def give(value: Slow) -> Slow:
        return value

    cached: Any = memory.cache(give, ignore=["value"])
    slow = Slow()

    async def cancel_the_commit() -> Any:
        task, waiting = await begun_then_awaited(
            lambda: cached(slow), slow.pickling.is_set
        )
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, slow.go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(value_files(store)) == 1
        return await waiting

    assert run(cancel_the_commit()) == 7
    assert memory.tally()[:2] == (1, 1)


def test_a_loop_that_ends_in_the_midst_leaves_nothing(cached: Any, work: Work) -> None:
    work.pause = LONG

    async def leave_behind() -> None:
        asyncio.create_task(cached(1, work)).add_done_callback(print)
        asyncio.create_task(cached(1, work)).add_done_callback(print)
        await until(lambda: work.begun)

    asyncio.run(leave_behind())  # cancels them

    work.pause = 0
    assert run(cached(1, work)) == 1


def test_a_loop_that_is_closed_in_the_midst_leaves_nothing(
    cached: Any, work: Work
) -> None:
    work.pause = LONG
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it tells of tasks that are pending

    async def begin(loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(2):
            loop.create_task(cached(1, work))
        await until(lambda: work.begun)

    loop.run_until_complete(begin(loop))
    loop.close()
    del loop
    gc.collect()

    work.pause = 0
    assert run(cached(1, work)) == 1


# --- the loop goes on ---


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """Note how long the loop was held up."""
    pauses: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            pauses.append(time.perf_counter() - last)
            last = time.perf_counter()

    task = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    pauses.clear()
    try:
        yield pauses
    finally:
        task.cancel()


@pytest.mark.slow
def test_the_loop_goes_on_while_large_values_are_hashed_and_stored(
    cached: Any, work: Work
) -> None:
    large = np.arange(25_000_000)  # 200 MB

    async def ask() -> tuple[float, list[float]]:
        async with ticking() as pauses:
            begin = time.perf_counter()
            assert (await cached(large, work))[-1] == 24_999_999
            return time.perf_counter() - begin, pauses

    for _ in range(2):  # a miss, then a hit
        took, pauses = run(ask())
        assert len(pauses) > 10
        assert sum(pause for pause in pauses if pause > 0.02) < took / 2


# --- whose child ---


def test_calls_are_recorded_with_the_task_that_made_them(memory: Memory) -> None:
    @memory.cache
    async def inner(x: int) -> int:
        await asyncio.sleep(0.01)
        return x

    @memory.cache
    def plain(x: int) -> int:
        return x

    @memory.cache
    async def outer(x: int) -> int:
        return int(sum(await asyncio.gather(inner(x), inner(x + 1))) + plain(x))

    async def together() -> None:
        await asyncio.gather(outer(1), outer(10), inner(100))

    run(together())

    def path(cached: Any, x: int) -> str:
        return str(cached.lookup(x).key.path)

    for x in (1, 10):
        reference: Any = outer.lookup(x)
        made = {path(inner, x), path(inner, x + 1), path(plain, x)}
        assert set(reference.record.children) == made


# --- what goes wrong ---


def test_damage_is_a_warning_and_computed_again(
    cached: Any, work: Work, store: Path
) -> None:
    run(cached(1, work))
    only_value_file(store).write_bytes(b"damaged")

    with pytest.warns(CacheWarning, match="could not be read"):
        assert run(cached(1, work)) == 1
    assert run(cached(1, work)) == 1
    assert work.begun == [1, 1]


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("is not to be pickled")


def test_what_cannot_be_stored_is_a_warning_or_an_error(memory: Memory) -> None:
    async def make() -> Unpicklable:
        return Unpicklable()

    with pytest.warns(CacheWarning, match="not to be pickled"):
        assert isinstance(run(memory.cache(make)()), Unpicklable)
    strict: Any = memory.cache(make, on_error="raise")
    with pytest.raises(TypeError, match="not to be pickled"):
        run(strict())


def test_read_only_and_without_a_location_each_call_computes(
    store: Path, work: Work, cached: Any
) -> None:
    run(cached(1, work))
    for other in (Memory(store, read_only=True), Memory(None)):
        there: Any = other.cache(worked, ignore=["work"])
        assert [run(there(2, work)), run(there(2, work))] == [2, 2]
    assert work.begun == [1] + [2] * 4


def test_offline_it_has_hits_alone(memory: Memory, cached: Any, work: Work) -> None:
    run(cached(1, work))

    with memory.offline():
        assert run(cached(1, work)) == 1
        with pytest.raises(CacheMiss):
            run(cached(2, work))


# --- methods ---


def test_call_computes_in_any_case(cached: Any, work: Work) -> None:
    run(cached(1, work))

    value, metadata = run(cached.call(1, work))

    assert value == 1
    assert set(metadata) == {"duration", "time", "input_args"}
    assert work.begun == [1, 1]


def test_a_reference_is_loaded_later(cached: Any, work: Work) -> None:
    for _ in range(2):
        assert run(cached.call_and_shelve([1], work)).get() == [1]
    assert work.begun == [[1]]
    assert cached.lookup([1], work).get() == [1]
    assert cached.check_call_in_cache([1], work)
    cached.forget([1], work)
    cached.put([2], [1], work)
    assert run(cached([1], work)) == [2]


def test_a_cached_coroutine_is_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(of_this_module)) is of_this_module


@Memory(None).cache
async def of_this_module() -> None:
    """Do nothing."""


def test_a_method_is_cached(memory: Memory) -> None:
    class Client:
        def __init__(self, name: str) -> None:
            self.name = name

        @memory.cache
        async def get(self, page: str) -> str:
            return hashlib.sha256(f"{self.name}{page}".encode()).hexdigest()

    async def twice() -> list[str]:
        return [await Client("a").get("x"), await Client("a").get("x")]

    first, second = run(twice())

    assert first == second
    assert memory.tally()[:2] == (1, 1)
    assert asyncio.iscoroutinefunction(Client("a").get)
