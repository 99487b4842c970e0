"""The cached call: hits, misses, and what it gives back."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from cachekit import CacheWarning, Memory, UnhashableArgument, digest
from cachekit.memoization import Record
from cachekit.stores import EntryKey, LocalStore
from tests.memoization.project import Project, files_in, only_value_file, value_files


def roll(sides: int, offset: int = 0) -> str:
    """Return something else each time it is computed."""
    return f"{sides}+{offset}:{secrets.token_hex(8)}"


# --- hit and miss ---


def test_a_repeated_call_returns_the_stored_result(memory: Memory) -> None:
    cached = memory.cache(roll)

    first = cached(6)

    assert cached(6) == first
    assert cached(7) != first


def test_a_second_process_hits(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "analysis.py",
        """
        from cachekit import Memory

        @Memory("store").cache
        def square(x):
            print("computing")
            return x * x
        """,
    )

    first = project.ask("analysis.square(3)", PYTHONHASHSEED="1")
    second = project.ask("analysis.square(3)", PYTHONHASHSEED="2")

    assert first == ["computing", "9"]
    assert second == ["9"]


def test_a_second_memory_at_the_same_place_hits(memory: Memory, store: Path) -> None:
    first = memory.cache(roll)(6)

    assert Memory(store).cache(roll)(6) == first


def test_a_cached_none_is_a_hit(memory: Memory) -> None:
    cached = memory.cache(lambda: None)

    results = [cached(), cached()]

    assert results == [None, None]
    assert memory.tally()[:2] == (1, 1)


def test_default_positional_and_keyword_arguments_share_an_entry(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(roll)

    results = {cached(6), cached(6, 0), cached(sides=6), cached(offset=0, sides=6)}

    assert len(results) == len(value_files(store)) == 1


def test_equal_arguments_of_other_types_do_not_share_a_result(memory: Memory) -> None:
    cached = memory.cache(lambda x: type(x).__name__)

    assert [cached(x) for x in (1, True, 1.0)] == ["int", "bool", "float"]


def test_a_function_without_arguments_is_cached(memory: Memory) -> None:
    cached = memory.cache(lambda: secrets.token_hex())

    assert cached() == cached()


def test_ignored_arguments_share_a_result(memory: Memory) -> None:
    cached = memory.cache(roll, ignore=["offset"])

    assert cached(6, offset=1) == cached(6, offset=2)
    assert cached(6) != cached(7)


def test_an_ignored_argument_may_be_unhashable(memory: Memory) -> None:
    cached = memory.cache(lambda x, lock: (x, lock.locked()), ignore=["lock"])

    assert cached(1, threading.Lock()) == cached(1, threading.Lock())


def test_an_unhashable_argument_is_an_error_and_nothing_runs(memory: Memory) -> None:
    ran = []
    cached = memory.cache(lambda lock: ran.append(lock))

    with pytest.raises(UnhashableArgument, match="at lock"):
        cached(threading.Lock())

    assert ran == []


def test_an_iterator_as_an_argument_is_refused_and_not_consumed(
    memory: Memory,
) -> None:
    numbers = (x for x in [1, 2])

    with pytest.raises(UnhashableArgument, match="at numbers"):
        memory.cache(lambda numbers: sum(numbers))(numbers)

    assert list(numbers) == [1, 2]


class HitsOnly(LocalStore):
    """Where a hit is one look at one file, and anything else is a fault."""

    def read(self, key: EntryKey, name: str) -> NoReturn:
        raise AssertionError(key, name)

    def stage(self, key: EntryKey) -> NoReturn:
        raise AssertionError(key)

    def write_code(self, key: EntryKey, content: bytes) -> NoReturn:
        raise AssertionError(key, content)


def test_a_hit_only_opens_the_value(store: Path) -> None:
    token = Memory(store).cache(roll)(6)

    assert Memory(HitsOnly(store)).cache(roll)(6) == token


def test_wrong_arguments_raise_the_functions_own_error(memory: Memory) -> None:
    with pytest.raises(TypeError) as own:
        roll()  # type: ignore[call-arg]
    with pytest.raises(TypeError) as cached:
        memory.cache(roll)()  # type: ignore[call-arg]

    assert str(cached.value) == str(own.value)


# --- what comes back ---


class Point:
    """A value of the user's own."""

    def __init__(self, x: int) -> None:
        self.x = x


RESULTS: list[Callable[[], Any]] = [
    lambda: None,
    lambda: -0.0,
    lambda: float("nan"),
    lambda: 10**5000,
    lambda: "größe \ud800",
    lambda: {3: "c", 1: "a"},
    lambda: ({1, 2}, frozenset("ab"), [()], b"", bytearray(b"x")),
    lambda: Point(3),
    lambda: np.float32(0.1),
    lambda: np.array(3),
    lambda: np.arange(6, dtype=">i4").reshape(2, 3),
    lambda: np.asfortranarray(np.ones((100, 200))),
    lambda: np.zeros((0, 3)),
    lambda: np.array(["2020-01-01"], dtype="M8[D]"),
    lambda: np.array([{"a": 1}, None], dtype=object),
    lambda: np.ma.masked_array(np.arange(5000), mask=np.arange(5000) > 9),
    lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
]


@pytest.mark.parametrize("make", RESULTS, ids=range(len(RESULTS)))
def test_a_hit_equals_what_the_first_call_returned(
    memory: Memory, make: Callable[[], Any]
) -> None:
    cached = memory.cache(make)

    first, again = cached(), cached()

    assert memory.tally()[:2] == (1, 1)
    assert type(again) is type(first)
    assert digest(again) == digest(first)


def test_the_memory_order_of_an_array_survives(memory: Memory) -> None:
    cached = memory.cache(lambda: np.asfortranarray(np.ones((100, 200))))
    cached()

    array = cached()

    assert array.flags.f_contiguous
    assert array.dtype == float


def test_shared_parts_of_a_result_stay_shared(memory: Memory) -> None:
    cached = memory.cache(lambda: [[1]] * 2)
    cached()

    one, other = cached()

    assert one is other


def test_the_order_of_a_dictionary_survives(memory: Memory) -> None:
    cached = memory.cache(lambda: {"b": 1, "a": 2})
    cached()

    assert list(cached()) == ["b", "a"]


def test_a_caller_may_change_what_a_hit_returned(memory: Memory) -> None:
    cached = memory.cache(lambda: [np.zeros(3), np.zeros(5000)])
    cached()
    small, large = cached()
    small += 1
    large += 1

    assert [array.sum() for array in cached()] == [0, 0]


def test_a_local_class_and_a_lambda_can_be_results(memory: Memory) -> None:
    def make() -> tuple[Any, Any]:
        class Local:
            x = 3

        return Local(), lambda y: y + 1

    cached = memory.cache(make)
    cached()

    instance, function = cached()

    assert instance.x == 3
    assert function(1) == 2


def test_a_call_that_changes_its_argument_is_not_stored(
    memory: Memory, store: Path
) -> None:
    def drain(items: list[int]) -> int:
        total = sum(items)
        items.clear()
        return total

    cached = memory.cache(drain)

    with pytest.warns(CacheWarning, match="changed its argument items"):
        results = [cached([1, 2]), cached([1, 2]), cached([])]

    assert results == [3, 3, 0]
    assert len(value_files(store)) == 1  # of the empty list, which stayed as it was


def test_the_record_tells_what_was_passed_not_what_the_call_made_of_it(
    memory: Memory, store: Path
) -> None:
    class Thing:
        def __init__(self) -> None:
            self.name = "before"

        def __repr__(self) -> str:
            return self.name

        def __cachekit_hash__(self) -> object:
            return "the same thing"

    cached = memory.cache(lambda thing: setattr(thing, "name", "after"))
    cached(Thing())

    content = only_value_file(store).with_name("record.json").read_bytes()

    assert Record.from_json(content).arguments["thing"]["repr"] == "before"


# --- exceptions of the user ---


def test_an_exception_passes_through_untouched_and_is_not_cached(
    memory: Memory, store: Path
) -> None:
    problem = ZeroDivisionError("mine")

    def fail() -> NoReturn:
        raise problem

    cached = memory.cache(fail)

    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            cached()
        assert caught.value is problem
        assert caught.value.__context__ is None
        assert caught.traceback[-1].name == "fail"
    assert files_in(store) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupted_call_publishes_nothing(
    memory: Memory, store: Path, stop: type[BaseException]
) -> None:
    def interrupted(stop: type[BaseException]) -> NoReturn:
        raise stop

    with pytest.raises(stop):
        memory.cache(interrupted)(stop)

    assert files_in(store) == []


def test_a_call_that_failed_is_computed_when_it_can_be(memory: Memory) -> None:
    def read(path: Path) -> str:
        return path.read_text()

    cached = memory.cache(read, ignore=["path"])
    with pytest.raises(FileNotFoundError):
        cached(Path("missing"))

    assert cached(Path(__file__)).startswith('"""The cached call')


# --- check and clear ---


def test_checking_tells_a_hit_from_a_miss(memory: Memory) -> None:
    cached = memory.cache(roll)
    cached(6)

    assert cached.check_call_in_cache(6)
    assert cached.check_call_in_cache(sides=6, offset=0)
    assert not cached.check_call_in_cache(7)


def test_checking_has_no_side_effects(memory: Memory, store: Path) -> None:
    cached = memory.cache(roll)
    assert not cached.check_call_in_cache(6)
    created_by_a_check = store.exists()
    cached(6)
    before = state_of(store), memory.tally()

    cached.check_call_in_cache(6)
    cached.check_call_in_cache(7)

    assert not created_by_a_check
    assert (state_of(store), memory.tally()) == before


def test_checking_does_not_count_as_a_use(memory: Memory, store: Path) -> None:
    cached = memory.cache(roll)
    cached(6)
    long_ago = time.time() - 1_000_000
    os.utime(only_value_file(store), (long_ago, long_ago))

    cached.check_call_in_cache(6)

    assert only_value_file(store).stat().st_mtime == pytest.approx(long_ago)


def state_of(folder: Path) -> list[tuple[str, float, bytes]]:
    return [
        (name, (folder / name).stat().st_mtime, (folder / name).read_bytes())
        for name in files_in(folder)
    ]


def test_clear_forgets_that_function_only(memory: Memory) -> None:
    def outer(x: int) -> tuple[int, str]:
        return x, secrets.token_hex()

    def outer_2(x: int) -> tuple[int, str]:
        return x, secrets.token_hex()

    one, other = memory.cache(outer), memory.cache(outer_2)
    before = one(1), one(2), other(1)

    one.clear(warn=False)

    assert not one.check_call_in_cache(1)
    assert not one.check_call_in_cache(2)
    assert other(1) == before[2]
    assert one(1) != before[0]


def test_clearing_a_function_keeps_those_nested_in_it(memory: Memory) -> None:
    def outer() -> Callable[[], str]:
        def inner() -> str:
            return secrets.token_hex()

        return inner

    inner = memory.cache(outer())
    token = inner()

    memory.cache(outer).clear(warn=False)

    assert inner() == token


def test_clearing_what_was_never_called_does_nothing(
    memory: Memory, store: Path
) -> None:
    memory.cache(roll).clear()

    assert not store.exists()


# --- recursion and threads ---


def test_a_cached_function_may_call_itself(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "analysis.py",
        """
        from cachekit import Memory

        memory = Memory("store")

        @memory.cache
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        """,
    )

    answer = project.ask("analysis.fib(20), analysis.memory.tally().misses")

    assert answer == ["6765 21"]


def test_a_local_cached_function_may_call_itself(memory: Memory) -> None:
    @memory.cache
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert fib(20) == 6765


def test_two_local_cached_functions_may_call_each_other(memory: Memory) -> None:
    @memory.cache
    def is_even(n: int) -> bool:
        return n == 0 or is_odd(n - 1)

    @memory.cache
    def is_odd(n: int) -> bool:
        return n != 0 and is_even(n - 1)

    assert [is_even(4), is_odd(4)] == [True, False]


def test_many_threads_get_right_answers(memory: Memory, store: Path) -> None:
    cached = memory.cache(lambda x: (x, list(range(x))))
    start = threading.Barrier(8)

    def call(number: int) -> bool:
        start.wait()
        return all(cached(x) == (x, list(range(x))) for x in range(number, number + 10))

    with ThreadPoolExecutor(8) as pool:
        right = list(pool.map(call, range(8)))

    assert right == [True] * 8
    assert len(value_files(store)) == 17
    assert files_in(store / ".staging") == []


def test_threads_that_meet_arrays_first_at_once_make_the_same_keys(
    tmp_path: Path,
) -> None:
    # The reducers of arrays are loaded at that moment.
    project = Project(tmp_path)
    project.write(
        "race.py",
        """
        import sys, threading
        import numpy as np
        from cachekit import digest

        sys.setswitchinterval(1e-6)
        start = threading.Barrier(8)
        found, array = set(), np.arange(3)

        def work():
            start.wait()
            found.add(digest(array))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(found))
        """,
    )

    assert [project.run("race.py") for _ in range(3)] == [["1"]] * 3


# --- without a location ---


def test_without_a_location_every_call_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    memory = Memory(None)
    cached = memory.cache(roll)

    assert cached(6) != cached(6)
    assert not cached.check_call_in_cache(6)
    cached.clear()
    memory.clear()
    assert memory.tally()[:2] == (0, 0)
    assert list(tmp_path.iterdir()) == []
