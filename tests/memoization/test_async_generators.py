"""Cached asynchronous generators: as generators, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from cachekit import CacheMiss, CacheWarning, Memory
from tests.memoization.loops import LONG, run
from tests.memoization.project import only_value_file, value_files

R = TypeVar("R")


async def to_list(items: AsyncIterator[R]) -> list[R]:
    return [item async for item in items]


async def count_to(n: int, log: list[str]) -> AsyncGenerator[int, None]:
    log.append(f"{n} begun")
    try:
        for number in range(n):
            await asyncio.sleep(0)
            yield number
        log.append(f"{n} ended")
    finally:
        log.append(f"{n} closed")


class Numbers:
    """A cached `count_to`, and what it has computed."""

    def __init__(self, memory: Memory, **options: Any) -> None:
        self.log: list[str] = []
        self.cached: Any = memory.cache(count_to, ignore=["log"], **options)

    def __call__(self, n: int) -> AsyncGenerator[int, None]:
        made: AsyncGenerator[int, None] = self.cached(n, self.log)
        return made

    @property
    def computed(self) -> int:
        return sum("begun" in line for line in self.log)


@pytest.fixture
def numbers(memory: Memory) -> Numbers:
    return Numbers(memory)


async def big_items(n: int) -> AsyncIterator[bytes]:
    for number in range(n):
        yield bytes([number]) * 300_000  # each of them a part of its own


# --- hits ---


def test_a_hit_yields_the_same(numbers: Numbers) -> None:
    for n in (0, 3, 5000):
        for _ in range(2):
            assert run(to_list(numbers(n))) == list(range(n))
    assert numbers.computed == 3


def test_wrong_arguments_are_told_at_once(numbers: Numbers) -> None:
    with pytest.raises(TypeError, match="count_to"):
        numbers.cached(1, [], 2)


def test_large_items_are_not_read_far_ahead(memory: Memory) -> None:
    cached: Any = memory.cache(big_items)

    for _ in range(2):
        assert [item[0] for item in run(to_list(cached(30)))] == list(range(30))
    assert memory.tally()[:2] == (1, 1)


def test_two_tasks_that_go_through_one_call_do_not_wait(numbers: Numbers) -> None:
    async def both() -> list[tuple[int, int]]:
        first, second = numbers(3), numbers(3)
        return [(await anext(first), await anext(second)) for _ in range(3)]

    assert run(both()) == [(0, 0), (1, 1), (2, 2)]


# --- what is published ---


def test_an_abandoned_generator_stores_nothing(numbers: Numbers, store: Path) -> None:
    async def begin_some() -> None:
        closed, dropped, left = numbers(5), numbers(5), numbers(5)
        for items in (closed, dropped, left):
            assert await anext(items) == 0
        await closed.aclose()
        del items, dropped
        gc.collect()

    run(begin_some())

    assert value_files(store) == []
    assert numbers.log.count("5 closed") == 3


@pytest.mark.parametrize(
    "problem", [ValueError("at 1"), asyncio.CancelledError("mine")]
)
def test_a_failure_is_the_users_and_is_not_stored(
    problem: BaseException, memory: Memory, store: Path
) -> None:
    async def fail(problem: BaseException) -> AsyncIterator[int]:
        yield 1
        raise problem

    cached: Any = memory.cache(fail, ignore=["problem"])

    async def go_on() -> list[int]:
        items = cached(problem)
        assert await anext(items) == 1
        with pytest.raises(type(problem)) as caught:
            await anext(items)
        assert caught.value is problem
        return [item async for item in items]

    assert run(go_on()) == []
    assert value_files(store) == []


def test_nothing_can_be_sent_and_what_is_thrown_in_ends_it(numbers: Numbers) -> None:
    async def send_and_throw() -> None:
        for _ in range(2):
            items = numbers(3)
            await anext(items)
            with pytest.raises(TypeError, match="send"):
                await items.asend(7)  # type: ignore[arg-type]
            items = numbers(3)
            await anext(items)
            with pytest.raises(KeyError, match="thrown"):
                await items.athrow(KeyError("thrown"))
            assert await to_list(items) == []
            await to_list(numbers(3))

    run(send_and_throw())
    assert numbers.computed == 3


def test_items_are_stored_as_they_were_yielded(memory: Memory) -> None:
    async def pages(size: int) -> AsyncIterator[Any]:
        page = np.zeros(size)
        for number in range(3):
            page[:] = number
            yield page

    cached: Any = memory.cache(pages)

    async def first_elements(size: int) -> list[float]:
        found = []
        async for page in cached(size):
            found.append(float(page[0]))
            page[:] = 9
        return found

    for size in (10, 100_000):
        assert run(first_elements(size)) == [0, 1, 2]
        assert run(first_elements(size)) == [0, 1, 2]


def test_calls_of_the_consumer_are_not_the_generators(memory: Memory) -> None:
    @memory.cache
    async def of_the_consumer(x: int) -> int:
        return x

    @memory.cache
    async def of_the_generator(x: int) -> int:
        return x

    @memory.cache
    async def items(n: int) -> AsyncIterator[int]:
        try:
            for number in range(n):
                yield await of_the_generator(number)
        finally:
            await of_the_generator(-1)

    @memory.cache
    async def consume(n: int) -> int:
        return sum([await of_the_consumer(item) async for item in items(n)])

    run(consume(2))

    def path(cached: Any, x: int) -> str:
        return str(cached.lookup(x).key.path)

    def children(cached: Any) -> list[str]:
        return list(cached.lookup(2).record.children)

    inner = [path(of_the_generator, x) for x in (0, 1, -1)]
    outer = [path(of_the_consumer, x) for x in (0, 1)]
    assert children(items) == inner
    assert children(consume) == [path(items, 2), *outer]


# --- cancelled ---


def after_steps(steps: int, cancel: Callable[[], object]) -> None:
    """Cancel after so many rounds of the loop."""
    if steps == 0:
        cancel()
    else:
        loop = asyncio.get_running_loop()
        loop.call_later(0.0005, after_steps, steps - 1, cancel)


@pytest.mark.parametrize("is_miss", [True, False])
@pytest.mark.parametrize("steps", range(0, 30, 3))
def test_whenever_it_is_cancelled_all_is_given_back(
    steps: int, is_miss: bool, memory: Memory
) -> None:
    cached: Any = memory.cache(big_items)

    async def cancel_one() -> list[bytes]:
        if not is_miss:
            await to_list(cached(8))
        task = asyncio.create_task(to_list(cached(8)))
        after_steps(steps, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return await to_list(cached(8))

    assert [item[0] for item in run(cancel_one())] == list(range(8))


class Slow:
    """Takes its time to be pickled."""

    def __init__(self) -> None:
        self.pickling = threading.Event()
        self.go_on = threading.Event()

    def __reduce__(self) -> Any:
        self.pickling.set()
        assert self.go_on.wait(LONG)
        return (int, (7,))


def test_what_is_being_written_when_it_is_cancelled_is_dropped_afterwards(
    memory: Memory, store: Path
) -> None:
    async def give(value: Slow) -> AsyncIterator[Slow]:
        yield value

    cached: Any = memory.cache(give, ignore=["value"])
    slow = Slow()

    async def cancel_an_append() -> None:
        task = asyncio.create_task(to_list(cached(slow)))
        while not slow.pickling.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, slow.go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [*(store / ".staging").iterdir()] == []

    run(cancel_an_append())
    assert value_files(store) == []


def test_a_loop_that_ends_before_its_generators_leaves_no_file_open(
    memory: Memory,
) -> None:
    cached: Any = memory.cache(big_items)
    run(to_list(cached(8)))

    async def begin(n: int) -> Any:
        items = cached(n)
        await anext(items)
        return items

    for n in (8, 9):  # a hit, then a miss
        loop = asyncio.new_event_loop()
        items = loop.run_until_complete(begin(n))
        loop.close()
        del items
        gc.collect()  # warnings are errors here


# --- what goes wrong ---


def test_damage_in_the_midst_doubles_no_item_and_loses_none(
    memory: Memory, store: Path
) -> None:
    cached: Any = memory.cache(big_items)
    expected = run(to_list(cached(40)))
    value = only_value_file(store)
    content = bytearray(value.read_bytes())
    content[len(content) // 2] ^= 0xFF
    value.write_bytes(content)

    with pytest.warns(CacheWarning, match="could not be read to its end"):
        assert run(to_list(cached(40))) == expected
    assert run(to_list(cached(40))) == expected
    assert memory.tally()[:2] == (2, 2)


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("is not to be pickled")


def test_an_item_that_cannot_be_stored_is_a_warning_or_an_error(
    memory: Memory, store: Path
) -> None:
    async def spoilt(n: int) -> AsyncIterator[Any]:
        for number in range(n):
            yield Unpicklable() if number == 1 else number

    lenient: Any = memory.cache(spoilt)
    strict: Any = memory.cache(spoilt, on_error="raise")

    with pytest.warns(CacheWarning, match="not to be pickled") as caught:
        items = run(to_list(lenient(4)))
    with pytest.raises(TypeError, match="not to be pickled"):
        run(to_list(strict(4)))

    assert [items[0], *items[2:]] == [0, 2, 3]
    assert len(caught) == 1
    assert value_files(store) == []


def test_the_store_may_be_cleared_while_items_stream(memory: Memory) -> None:
    cached: Any = memory.cache(big_items)

    async def clear_in_the_midst() -> list[bytes]:
        items = cached(40)
        await anext(items)
        memory.clear(warn=False)
        return await to_list(items)

    for _ in range(2):
        assert [item[0] for item in run(clear_in_the_midst())] == list(range(1, 40))


# --- options and methods ---


def test_read_only_and_without_a_location_each_call_computes(store: Path) -> None:
    run(to_list(Numbers(Memory(store))(1)))
    for memory in (Memory(store, read_only=True), Memory(None)):
        numbers = Numbers(memory)
        assert [run(to_list(numbers(2))), run(to_list(numbers(2)))] == [[0, 1]] * 2
        assert numbers.computed == 2


def test_without_a_store_a_reference_computes_the_items_for_each_reader() -> None:
    numbers = Numbers(Memory(None))

    async def read_twice() -> list[list[int]]:
        shelved = await numbers.cached.call_and_shelve(2, numbers.log)
        return [await to_list(shelved.get()) for _ in range(2)]

    assert run(read_twice()) == [[0, 1], [0, 1]]


def test_offline_it_has_hits_alone(numbers: Numbers, memory: Memory) -> None:
    run(to_list(numbers(3)))

    with memory.offline():
        assert run(to_list(numbers(3))) == [0, 1, 2]
        with pytest.raises(CacheMiss):
            run(to_list(numbers(4)))


def test_items_are_not_kept_in_memory(memory: Memory) -> None:
    with pytest.raises(ValueError, match="memory_tier"):
        memory.cache(count_to, memory_tier=3)


def test_call_computes_in_any_case(numbers: Numbers) -> None:
    run(to_list(numbers(3)))

    items, metadata = numbers.cached.call(3, numbers.log)

    assert run(to_list(items)) == [0, 1, 2]
    assert set(metadata) == {"duration", "time", "input_args"}
    assert numbers.computed == 2


def test_a_reference_gives_another_iterator_each_time(
    numbers: Numbers, store: Path
) -> None:
    for _ in range(2):
        reference = run(numbers.cached.call_and_shelve(3, numbers.log))
        assert [list(reference.get()), list(reference.get())] == [[0, 1, 2]] * 2
    assert numbers.computed == 1

    unstored = Numbers(Memory(store, read_only=True))
    reference = run(unstored.cached.call_and_shelve(4, unstored.log))
    assert run(to_list(reference.get())) == [0, 1, 2, 3]
    assert run(to_list(reference.get())) == [0, 1, 2, 3]


def test_put_lookup_and_forget(numbers: Numbers) -> None:
    cached = numbers.cached
    cached.put([7, 8], 3, [])

    assert run(to_list(numbers(3))) == [7, 8]
    assert list(cached.lookup(3, []).get()) == [7, 8]
    cached.forget(3, [])
    assert not cached.check_call_in_cache(3, [])


def test_a_method_is_cached(memory: Memory) -> None:
    class Range:
        def __init__(self, n: int) -> None:
            self.n = n

        @memory.cache
        async def items(self, factor: int) -> AsyncIterator[int]:
            for number in range(self.n):
                yield factor * number

    for _ in range(2):
        assert run(to_list(Range(3).items(2))) == [0, 2, 4]
    assert memory.tally()[:2] == (1, 1)


# --- the loop goes on ---


@pytest.mark.slow
def test_the_loop_goes_on_while_large_items_stream(memory: Memory) -> None:
    array = np.arange(5_000_000)  # 40 MB

    async def arrays(n: int) -> AsyncIterator[Any]:
        for _ in range(n):
            yield array

    cached: Any = memory.cache(arrays, track="off")

    async def ask() -> tuple[float, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.create_task(tick())
        # Of processors, and not of clocks: others may have them meanwhile.
        here, everywhere = time.thread_time(), time.process_time()
        assert len([array.size async for array in cached(10)]) == 10
        ticking.cancel()
        here, everywhere = time.thread_time() - here, time.process_time() - everywhere
        return here / everywhere, ticks

    for _ in range(2):  # a miss, then a hit
        part_of_loop, ticks = run(ask())
        assert ticks > 10
        assert part_of_loop < 1 / 2
