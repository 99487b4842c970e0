"""Cached generators: items stream through, and are kept once all of them are there."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cachekit import CacheMiss, CacheWarning, Memory
from cachekit.errors import EntryNotFound
from cachekit.memoization import MemorizedFunc
from tests.memoization.project import only_value_file, value_files
from tests.stores.disks import CREATES, NEEDS_ROOM, failing
from tests.stores.faulty import FaultyFileSystem


def count_to(n: int, log: list[str]) -> Generator[int, None, str]:
    log.append(f"{n} begun")
    yield from range(n)
    log.append(f"{n} ended")
    return f"{n} items"


class Numbers:
    """A cached `count_to`, and what it has computed."""

    def __init__(self, memory: Memory, **options: Any) -> None:
        self.log: list[str] = []
        self.cached: Any = memory.cache(count_to, ignore=["log"], **options)

    def __call__(self, n: int) -> Generator[int, None, str]:
        made: Generator[int, None, str] = self.cached(n, self.log)
        return made

    @property
    def computed(self) -> int:
        return sum("begun" in line for line in self.log)


@pytest.fixture
def numbers(memory: Memory) -> Numbers:
    return Numbers(memory)


def returned_by(generator: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


# --- hits ---


def test_a_hit_yields_and_returns_the_same(numbers: Numbers) -> None:
    def outer() -> Generator[int, None, str]:
        return (yield from numbers(3))

    for _ in range(2):
        assert list(numbers(3)) == [0, 1, 2]
        assert returned_by(outer()) == "3 items"
    assert numbers.computed == 1


def test_no_items_are_a_hit_too(numbers: Numbers) -> None:
    assert [list(numbers(0)), list(numbers(0))] == [[], []]
    assert numbers.computed == 1


def test_nothing_is_computed_before_it_is_asked_for(numbers: Numbers) -> None:
    items = numbers(3)
    assert numbers.computed == 0

    assert next(items) == 0
    assert numbers.log == ["3 begun"]
    items.close()


def test_wrong_arguments_are_told_at_once(numbers: Numbers) -> None:
    with pytest.raises(TypeError, match="count_to"):
        numbers.cached(1, [], 2)


@pytest.mark.parametrize(
    "options",
    [
        {"compress": "zstd"},
        {"mmap_mode": "r"},
        {"signing_key": b"0123456789abcdef"},
        {"max_entries": 10},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_memory_of_any_kind_keeps_items(options: Any, store: Path) -> None:
    memory = Memory(store, **options)

    @memory.cache
    def arrays(n: int) -> Iterator[Any]:
        for number in range(n):
            yield np.full(50_000, number)

    for _ in range(2):
        assert [item[-1] for item in arrays(4)] == [0, 1, 2, 3]
    assert memory.tally()[:2] == (1, 1)


@pytest.mark.parametrize("is_tiered", [False, True])
def test_items_are_kept_at_a_remote_location(is_tiered: bool, tmp_path: Path) -> None:
    filesystem = FaultyFileSystem()
    place: Any = "faulty://place"
    where = [tmp_path / "near", place] if is_tiered else [tmp_path / "unused", place]
    for near in (tmp_path / "near", tmp_path / "far"):  # the second one has no copy
        memory = Memory([near, where[1]], storage_options=filesystem.options)
        numbers = Numbers(memory)
        assert list(numbers(3)) == [0, 1, 2]
        memory.flush()
    assert numbers.computed == 0


def test_a_value_of_a_plain_function_is_no_hit(memory: Memory) -> None:
    def make(source: str) -> Any:
        names: dict[str, Any] = {"__name__": "made"}
        exec(source, names)
        return memory.cache(names["f"], track="off")

    assert make("def f(): return [1, 2]")() == [1, 2]
    with pytest.warns(CacheWarning, match="holds a value"):
        assert list(make("def f(): yield from [1, 2]")()) == [1, 2]
    assert list(make("def f(): yield 3")()) == [1, 2]


# --- what is published ---


def test_an_abandoned_generator_stores_nothing(numbers: Numbers, store: Path) -> None:
    for n in (1, 2, 3):
        items = numbers(5)
        assert list(islice(items, n)) == list(range(n))
        items.close()
    dropped = numbers(5)
    next(dropped)
    del dropped

    assert value_files(store) == []


def test_the_end_of_an_infinite_generator_need_not_come(
    memory: Memory, store: Path
) -> None:
    @memory.cache
    def naturals() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    assert list(islice(naturals(), 5)) == [0, 1, 2, 3, 4]
    assert value_files(store) == []


@pytest.mark.parametrize(
    "problem", [ValueError("at 2"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()]
)
def test_a_failure_is_the_users_and_is_not_stored(
    problem: BaseException, memory: Memory, store: Path
) -> None:
    def fail(problem: BaseException) -> Iterator[int]:
        yield 1
        raise problem

    cached = memory.cache(fail, ignore=["problem"])

    for _ in range(2):
        items = cached(problem)
        assert next(items) == 1
        with pytest.raises(type(problem)) as caught:
            next(items)
        assert caught.value is problem
        assert list(items) == []
    assert value_files(store) == []


def test_a_stray_stop_is_an_error_as_in_any_generator(memory: Memory) -> None:
    @memory.cache
    def stray() -> Iterator[int]:
        yield 1
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(stray())


def test_what_is_thrown_in_ends_it(numbers: Numbers, store: Path) -> None:
    for expected in (0, 1):  # a miss, then a hit
        items = numbers(3)
        next(items)
        with pytest.raises(KeyError, match="thrown"):
            items.throw(KeyError("thrown"))
        assert list(items) == []
        assert len(value_files(store)) == expected
        list(numbers(3))


def test_nothing_can_be_sent(numbers: Numbers) -> None:
    for _ in range(2):
        items = numbers(3)
        next(items)
        with pytest.raises(TypeError, match="send"):
            items.send(7)  # type: ignore[arg-type]
        list(numbers(3))


def test_a_generator_that_fails_as_it_is_closed_leaves_nothing(memory: Memory) -> None:
    @memory.cache
    def stubborn() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            raise OSError("in the user's finally")

    items = stubborn()
    next(items)

    with pytest.raises(OSError, match="in the user's finally"):
        items.close()


def test_items_are_stored_as_they_were_yielded(memory: Memory) -> None:
    @memory.cache
    def lists() -> Iterator[list[int]]:
        for number in range(3):
            yield [number]

    for item in lists():
        item.append(7)

    assert list(lists()) == [[0], [1], [2]]


def test_an_array_may_be_filled_again_for_each_item(memory: Memory) -> None:
    @memory.cache
    def pages(size: int) -> Iterator[Any]:
        page = np.zeros(size)
        for number in range(3):
            page[:] = number
            yield page

    for size in (10, 100_000):
        assert [page[0] for page in pages(size)] == [0, 1, 2]
        assert [page[0] for page in list(pages(size))] == [0, 1, 2]


def test_a_changed_argument_stores_nothing(memory: Memory, store: Path) -> None:
    @memory.cache
    def drain(items: list[int]) -> Iterator[int]:
        while items:
            yield items.pop()

    with pytest.warns(CacheWarning, match="changed its argument items"):
        assert list(drain([1, 2])) == [2, 1]
    assert value_files(store) == []


def test_the_record_has_no_digest_of_the_items(numbers: Numbers) -> None:
    list(numbers(3))
    list(numbers(4))

    three = numbers.cached.lookup(3, [])
    four = numbers.cached.lookup(4, [])

    assert three.record.value is None
    assert three.record.items == {}
    assert three.__cachekit_hash__() != four.__cachekit_hash__()


# --- more than one ---


def test_two_who_go_through_one_call_do_not_wait(numbers: Numbers) -> None:
    for _ in range(2):
        assert list(zip(numbers(3), numbers(3), strict=True)) == [
            (0, 0),
            (1, 1),
            (2, 2),
        ]


def test_two_threads_go_through_one_call(numbers: Numbers) -> None:
    both = threading.Barrier(2)
    found: list[list[int]] = []

    def work() -> None:
        items = []
        for item in numbers(20):
            both.wait(20)
            items.append(item)
        found.append(items)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [list(range(20))] * 2


def test_a_generator_may_go_from_thread_to_thread(numbers: Numbers) -> None:
    items, found = numbers(4), []
    for _ in range(4):
        thread = threading.Thread(target=lambda: found.append(next(items)))
        thread.start()
        thread.join()

    assert list(items) == []
    assert found == [0, 1, 2, 3]
    assert list(numbers(4)) == found
    assert numbers.computed == 1


def test_a_cached_generator_may_call_itself(memory: Memory) -> None:
    def countdown(n: int, self: Any, log: list[int]) -> Iterator[int]:
        log.append(n)
        yield n
        if n > 0:
            yield from self(n - 1, self, log)

    cached = memory.cache(countdown, ignore=["self", "log"])
    log: list[int] = []

    assert list(cached(5, cached, log)) == [5, 4, 3, 2, 1, 0]
    assert list(cached(4, cached, log)) == [4, 3, 2, 1, 0]
    assert log == [5, 4, 3, 2, 1, 0]


def test_calls_of_the_consumer_are_not_the_generators(memory: Memory) -> None:
    @memory.cache
    def of_the_consumer(x: int) -> int:
        return x

    @memory.cache
    def of_the_generator(x: int) -> int:
        return x

    @memory.cache
    def items(n: int) -> Iterator[int]:
        try:
            for number in range(n):
                yield of_the_generator(number)
        finally:
            of_the_generator(-1)

    @memory.cache
    def consume(n: int) -> int:
        return sum(of_the_consumer(item) for item in items(n))

    consume(2)

    def names(of: Any) -> list[str]:
        paths = of.lookup(2).record.children
        return [path.split("-")[0].rsplit(".", 1)[-1].split("/")[0] for path in paths]

    assert names(items) == ["of_the_generator"] * 3
    assert names(consume) == ["items", "of_the_consumer", "of_the_consumer"]


def test_a_child_of_a_fork_leaves_the_generator_of_its_parent_alone(
    tmp_path: Path,
) -> None:
    program = """
import os, sys
from cachekit import Memory
memory = Memory(sys.argv[1])

@memory.cache
def items(n):
    for number in range(n):
        yield bytes([number]) * 1_000_000

def step(iterator):
    return [item[0] for item in iterator]

for _ in range(2):  # a miss, then a hit
    iterator = items(8)
    next(iterator)
    child = os.fork()
    if child == 0:
        assert step(iterator) == list(range(1, 8))
        del iterator
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert step(iterator) == list(range(1, 8))
print(memory.tally()[:2], os.listdir(sys.argv[1] + "/.staging"))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("(1, 1) []\n", "")


# --- what goes wrong ---


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("is not to be pickled")


def spoilt(n: int) -> Iterator[Any]:
    for number in range(n):
        yield Unpicklable() if number == 1 else number


def test_an_item_that_cannot_be_stored_warns_once_and_all_go_on(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(spoilt)

    with pytest.warns(CacheWarning, match="not to be pickled") as caught:
        items = list(cached(5))

    assert [items[0], *items[2:]] == [0, 2, 3, 4]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert value_files(store) == []


def test_an_item_that_cannot_be_stored_is_an_error_if_asked_for(memory: Memory) -> None:
    closed: list[bool] = []

    def items(log: list[bool]) -> Iterator[Any]:
        try:
            yield Unpicklable()
        finally:
            log.append(True)

    cached = memory.cache(items, ignore=["log"], on_error="raise")

    with pytest.raises(TypeError, match="not to be pickled"):
        next(cached(closed))
    assert closed == [True]


def big_items(n: int) -> Iterator[bytes]:
    for number in range(n):
        yield bytes([number]) * 300_000  # each of them a part of its own


@pytest.mark.parametrize("place", [0.2, 0.5, 0.99])
def test_damage_in_the_midst_doubles_no_item_and_loses_none(
    place: float, memory: Memory, store: Path
) -> None:
    cached = memory.cache(big_items)
    expected = list(cached(6))
    value = only_value_file(store)
    content = bytearray(value.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    value.write_bytes(content)

    with pytest.warns(CacheWarning, match="could not be read to its end"):
        assert list(cached(6)) == expected

    assert list(cached(6)) == expected
    assert memory.tally()[:2] == (2, 2)


@pytest.mark.parametrize("length", [0, 5, 60, 500_000])
def test_a_truncated_entry_is_computed_again(
    length: int, memory: Memory, store: Path
) -> None:
    cached = memory.cache(big_items)
    expected = list(cached(4))
    os.truncate(only_value_file(store), length)

    with pytest.warns(CacheWarning):
        assert list(cached(4)) == expected
    assert list(cached(4)) == expected


@pytest.mark.parametrize("is_miss", [True, False])
def test_a_store_may_be_cleared_while_items_stream(
    is_miss: bool, memory: Memory
) -> None:
    cached = memory.cache(big_items)
    if not is_miss:
        list(cached(4))
    items = cached(4)
    assert next(items)[0] == 0

    memory.clear(warn=False)

    assert [item[0] for item in items] == [1, 2, 3]


def test_an_entry_may_be_forgotten_while_it_is_read(memory: Memory) -> None:
    cached = memory.cache(big_items)
    list(cached(4))
    items = cached(4)
    next(items)

    cached.forget(4)

    assert [item[0] for item in items] == [1, 2, 3]
    assert not cached.check_call_in_cache(4)


@pytest.mark.parametrize("kinds", [CREATES, NEEDS_ROOM], ids=["creates", "renames"])
def test_a_full_disk_costs_a_warning_at_any_step(
    kinds: frozenset[str], tmp_path: Path
) -> None:
    for after in range(12):
        store = tmp_path / f"store{after}"
        cached = Memory(store).cache(big_items)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with failing(store, errno.ENOSPC, kinds, after=after) as steps:
                assert [item[0] for item in cached(3)] == [0, 1, 2]
        assert len(caught) == (1 if len(steps) > after else 0)
        assert [item[0] for item in cached(3)] == [0, 1, 2]
        assert [*(store / ".staging").iterdir()] == []


def test_a_full_disk_in_the_midst_of_writing_costs_a_warning(
    memory: Memory, store: Path
) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    cached = memory.cache(big_items)
    list(cached(1))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.warns(CacheWarning, match="could not be stored"):
            assert len(list(cached(10))) == 10
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)

    assert len(value_files(store)) == 1


def test_a_stream_that_is_dropped_closes_its_file(memory: Memory) -> None:
    cached: Any = memory.cache(big_items)
    list(cached(4))

    for stream in (cached(4), cached.lookup(4).get()):  # warnings are errors here
        next(stream)
        del stream
        gc.collect()


# --- options ---


def test_a_read_only_memory_computes_what_it_has_not(store: Path) -> None:
    list(Numbers(Memory(store))(3))
    numbers = Numbers(Memory(store, read_only=True))

    assert [list(numbers(n)) for n in (3, 4, 4)] == [
        [0, 1, 2],
        [0, 1, 2, 3],
        [0, 1, 2, 3],
    ]
    assert numbers.computed == 2
    assert len(value_files(store)) == 1


def test_without_a_location_it_is_the_function() -> None:
    numbers = Numbers(Memory(None))

    assert [list(numbers(2)), list(numbers(2))] == [[0, 1], [0, 1]]
    assert numbers.computed == 2


def test_without_a_store_a_reference_computes_the_items_for_each_reader() -> None:
    numbers = Numbers(Memory(None))

    shelved = numbers.cached.call_and_shelve(2, numbers.log)

    assert [list(shelved.get()), list(shelved.get())] == [[0, 1], [0, 1]]
    with pytest.raises(TypeError):
        numbers.cached.call_and_shelve()


def test_an_expired_entry_is_computed_again(memory: Memory) -> None:
    numbers = Numbers(memory, expires=0)

    assert [list(numbers(2)), list(numbers(2))] == [[0, 1], [0, 1]]
    assert numbers.computed == 2


def test_a_callback_tells_whether_items_are_valid(memory: Memory) -> None:
    numbers = Numbers(memory, cache_validation_callback=lambda _: False)

    assert [list(numbers(2)), list(numbers(2))] == [[0, 1], [0, 1]]
    assert numbers.computed == 2


def test_cache_if_gets_what_the_generator_returned(memory: Memory) -> None:
    numbers = Numbers(memory, cache_if=lambda value, _: value == "3 items")

    for _ in range(2):
        list(numbers(2))
        list(numbers(3))

    assert [line for line in numbers.log if "begun" in line] == [
        "2 begun",
        "3 begun",
        "2 begun",
    ]


def test_items_are_not_kept_in_memory(memory: Memory) -> None:
    with pytest.raises(ValueError, match="memory_tier"):
        memory.cache(count_to, memory_tier=3)


def test_only_hits_stream(numbers: Numbers, memory: Memory) -> None:
    list(numbers(3))

    with memory.offline():
        assert list(numbers(3)) == [0, 1, 2]
        with pytest.raises(CacheMiss):
            next(numbers(4))


# --- methods ---


def test_call_computes_in_any_case_and_replaces(memory: Memory, tmp_path: Path) -> None:
    rising = tmp_path / "calls"

    def calls(path: str) -> Iterator[int]:
        with Path(path).open("a") as file:
            file.write("x")
        yield Path(path).stat().st_size

    cached: MemorizedFunc[Any, Any] = memory.cache(calls)  # type: ignore[assignment]
    assert list(cached(str(rising))) == [1]

    items, metadata = cached.call(str(rising))

    assert metadata == {}
    assert list(items) == [2]
    assert set(metadata) == {"duration", "time", "input_args"}
    assert list(cached(str(rising))) == [2]


def test_a_reference_gives_another_iterator_each_time(numbers: Numbers) -> None:
    reference = numbers.cached.call_and_shelve(3, numbers.log)
    again = numbers.cached.call_and_shelve(3, numbers.log)

    first = reference.get()

    assert next(first) == 0
    assert list(reference.get()) == [0, 1, 2]
    assert [*first] == [1, 2]
    assert returned_by(again.get()) == "3 items"
    assert numbers.computed == 1


def test_a_reference_that_could_not_be_stored_computes_each_time(store: Path) -> None:
    numbers = Numbers(Memory(store, read_only=True))

    reference = numbers.cached.call_and_shelve(3, numbers.log)

    assert [list(reference.get()), list(reference.get())] == [[0, 1, 2]] * 2
    assert numbers.computed == 2


def test_a_damaged_reference_says_so(memory: Memory, store: Path) -> None:
    cached: Any = memory.cache(big_items)
    items = cached.call_and_shelve(4).get()
    next(items)
    os.truncate(only_value_file(store), 700_000)

    for _ in range(2):
        with pytest.raises(EntryNotFound, match="cannot be read to their end"):
            list(items)


def test_put_stores_items_and_what_a_generator_returned(numbers: Numbers) -> None:
    numbers.cached.put([7, 8], 3, numbers.log)
    assert list(numbers(3)) == [7, 8]

    numbers.cached.put(count_to(5, []), 3, numbers.log)

    assert returned_by(numbers(3)) == "5 items"
    assert numbers.computed == 0


def test_what_cannot_be_put_is_an_error(memory: Memory, store: Path) -> None:
    numbers = Numbers(memory)

    with pytest.raises(TypeError, match="not iterable"):
        numbers.cached.put(3, 3, [])
    with pytest.raises(TypeError, match="not to be pickled"):
        numbers.cached.put([1, Unpicklable()], 3, [])
    with pytest.raises(ZeroDivisionError):
        numbers.cached.put((1 // n for n in (1, 0)), 3, [])
    assert value_files(store) == []


def test_an_entry_is_looked_up_and_forgotten(numbers: Numbers) -> None:
    cached = numbers.cached
    assert cached.lookup(3, []) is None
    assert not cached.check_call_in_cache(3, [])

    list(numbers(3))

    assert list(cached.lookup(3, []).get()) == [0, 1, 2]
    assert cached.check_call_in_cache(3, [])
    assert cached.cache_info()[:2] == (0, 1)
    cached.forget(3, [])
    assert not cached.check_call_in_cache(3, [])


def test_a_pickled_function_still_hits(memory: Memory) -> None:
    cached: Any = memory.cache(big_items)
    list(cached(2))

    again = pickle.loads(pickle.dumps(cached))

    assert again.check_call_in_cache(2)
    assert [item[0] for item in again(2)] == [0, 1]


def test_a_pickled_reference_still_gives_the_items(numbers: Numbers) -> None:
    reference = numbers.cached.call_and_shelve(3, numbers.log)

    again = pickle.loads(pickle.dumps(reference))

    assert [list(again.get()), list(again.get())] == [[0, 1, 2]] * 2


def test_a_method_is_cached(memory: Memory) -> None:
    class Range:
        def __init__(self, n: int) -> None:
            self.n = n

        @memory.cache
        def items(self, factor: int) -> Iterator[int]:
            yield from (factor * number for number in range(self.n))

    for _ in range(2):
        assert list(Range(3).items(2)) == [0, 2, 4]
    assert memory.tally()[:2] == (1, 1)
    assert list(Range(3).items.call_and_shelve(2).get()) == [0, 2, 4]


# --- memory ---

FLAT = """
import resource, sys
import numpy as np
from cachekit import Memory

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

memory = Memory(sys.argv[1])

@memory.cache
def pages(n):
    for number in range(n):
        yield np.full(2_000_000, number)  # 16 MB

@memory.cache
def lines(n):
    for number in range(n):
        yield f"line {number} " * 20

list(pages(3)), list(pages(3))
before = peak()
for _ in range(2):
    assert sum(int(page[-1]) for page in pages(60)) == 1770
    assert sum(1 for _ in lines(100_000)) == 100_000
print(peak() - before, memory.tally()[:2])
"""


@pytest.mark.slow
def test_memory_stays_flat_while_gigabytes_stream(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FLAT, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.stderr == ""
    grown, tally = done.stdout.split(" ", 1)
    assert tally == "(3, 3)\n"
    assert int(grown) < 64  # of 2000 MB
