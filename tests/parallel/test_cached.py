"""Tasks whose function is cached: what is stored is not computed, nor sent."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cachekit import Memory, Parallel, delayed
from cachekit.memoization import MemorizedResult
from cachekit.parallel.workers import MOST_READY

RETURNS = ["list", "generator", "generator_unordered", "reference"]


def square(x: int, log: Path) -> int:
    """Return the square, and note who has computed it."""
    with log.open("a") as file:
        file.write(f"{x} {os.getpid()}\n")
    return x * x


def numbers(count: int) -> Any:
    return np.arange(count)


def computed(log: Path) -> list[int]:
    return sorted(int(line.split()[0]) for line in log.read_text().splitlines())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "store")


def cache(memory: Memory) -> Any:
    return memory.cache(square, ignore=["log"])


def values(results: Any, return_as: str) -> list[Any]:
    if return_as == "reference":
        return [result.get() for result in results]
    return list(results)


@pytest.mark.parametrize(
    ("backend", "return_as"),
    [
        *(("loky", return_as) for return_as in RETURNS),
        ("multiprocessing", "list"),
        ("multiprocessing", "reference"),
    ],
)
def test_equal_tasks_are_computed_once_by_workers(
    memory: Memory, log: Path, backend: str, return_as: str
) -> None:
    loop = Parallel(n_jobs=2, backend=backend, return_as=return_as)

    results = values(
        loop(delayed(cache(memory))(n % 5, log) for n in range(20)), return_as
    )

    assert sorted(results) == sorted((n % 5) ** 2 for n in range(20))
    if return_as != "generator_unordered":
        assert results == [(n % 5) ** 2 for n in range(20)]
    assert computed(log) == [0, 1, 2, 3, 4]
    assert str(os.getpid()) not in log.read_text().split()


@pytest.mark.parametrize("return_as", RETURNS)
def test_what_is_stored_is_not_computed_again(
    memory: Memory, log: Path, return_as: str
) -> None:
    cached = cache(memory)
    for n in range(0, 12, 2):
        cached(n, log)
    loop = Parallel(n_jobs=2, return_as=return_as)

    results = values(loop(delayed(cached)(n, log) for n in range(12)), return_as)

    assert sorted(results) == [n * n for n in range(12)]
    assert computed(log) == list(range(12))


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_a_loop_over_more_hits_than_may_wait_returns_all(
    memory: Memory, log: Path, return_as: str
) -> None:
    cached = cache(memory)
    count = 2 * MOST_READY + 50
    for n in range(count):
        cached(n, log)

    results = Parallel(n_jobs=2, return_as=return_as)(
        delayed(cached)(n, log) for n in range(count)
    )

    assert sorted(results) == [n * n for n in range(count)]


def test_a_loop_over_hits_sends_nothing_to_workers(memory: Memory, log: Path) -> None:
    cached = cache(memory)
    for n in range(50):
        cached(n, log)
    loop = Parallel(n_jobs=2)

    results = loop(delayed(cached)(n, log) for n in range(50))

    assert results == [n * n for n in range(50)]
    assert loop.n_dispatched_batches == 0
    assert loop.n_completed_tasks == loop.n_dispatched_tasks == 50


def test_references_lead_to_the_store_and_values_are_references_too(
    memory: Memory, log: Path
) -> None:
    tasks = [delayed(cache(memory))(3, log), delayed(abs)(-4)]

    stored, plain = Parallel(n_jobs=2, return_as="reference")(tasks)

    assert isinstance(stored, MemorizedResult)
    assert [stored.get(), plain.get()] == [9, 4]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_value_with_a_method_get_becomes_a_reference_too(n_jobs: int) -> None:
    loop = Parallel(n_jobs=n_jobs, return_as="reference")

    (result,) = loop([delayed(dict)(a=1)])

    assert result.get() == {"a": 1}


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_references_that_tasks_return_stay_what_they_are(
    memory: Memory, log: Path, n_jobs: int
) -> None:
    loop = Parallel(n_jobs=n_jobs, return_as="reference")

    (result,) = loop([delayed(cache(memory).call_and_shelve)(3, log)])

    assert isinstance(result, MemorizedResult)
    assert result.get() == 9


@pytest.mark.parametrize("return_as", ["list", "generator_unordered"])
def test_a_result_that_was_evicted_at_once_is_computed_again(
    tmp_path: Path, log: Path, return_as: str
) -> None:
    cached = cache(Memory(tmp_path / "store", max_entries=1))

    results = Parallel(n_jobs=2, return_as=return_as)(
        delayed(cached)(n % 6, log) for n in range(18)
    )

    assert sorted(results) == sorted((n % 6) ** 2 for n in range(18))


@pytest.mark.filterwarnings("ignore:a result of .*square")
def test_a_damaged_result_is_computed_again(memory: Memory, log: Path) -> None:
    cached = cache(memory)
    cached(3, log)
    (value,) = Path(str(memory.location)).glob("*/*/??/*/value")
    value.write_bytes(b"\0" * value.stat().st_size)

    assert Parallel(n_jobs=2)([delayed(cached)(3, log)] * 2) == [9, 9]


def test_an_error_of_a_cached_function_names_its_task(memory: Memory) -> None:
    @memory.cache
    def inverse(x: int) -> float:
        return 1 / x

    with pytest.raises(ZeroDivisionError) as caught:
        Parallel(n_jobs=2)(delayed(inverse)(x) for x in (1, 0, 2))

    assert "task 1" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("on_error", ["return", "skip", "raise"])
@pytest.mark.parametrize("backend", ["loky", "threading", "sequential"])
def test_a_cached_call_with_wrong_arguments_fails_as_any_other(
    memory: Memory, log: Path, backend: str, on_error: str
) -> None:
    cached = cache(memory)
    loop = Parallel(n_jobs=2, backend=backend, on_error=on_error)
    tasks = [delayed(cached)(1, log), delayed(cached)(), delayed(cached)(3, log)]

    if on_error == "raise":
        with pytest.raises(TypeError, match="missing"):
            loop(tasks)
        return
    results = loop(tasks)

    errors = [one for one in results if isinstance(one, TypeError)]
    assert len(errors) == (on_error == "return")
    assert [one for one in results if one not in errors] == [1, 9]


def test_large_results_come_back_mapped(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "store", mmap_mode="r")
    cached = memory.cache(numbers)

    results = Parallel(n_jobs=2)(delayed(cached)(n) for n in (100_000, 200_000))

    assert all(isinstance(result, np.memmap) for result in results)
    assert [len(result) for result in results] == [100_000, 200_000]


@pytest.mark.parametrize("backend", ["threading", "sequential"])
def test_threads_and_plain_loops_use_the_cache_as_well(
    memory: Memory, log: Path, backend: str
) -> None:
    cached = cache(memory)

    for _ in range(2):
        results = Parallel(n_jobs=2, backend=backend)(
            delayed(cached)(n % 3, log) for n in range(9)
        )
        assert results == [(n % 3) ** 2 for n in range(9)]

    assert computed(log) == [0, 1, 2]


def sum_of_squares(count: int, backend: str, memory: Memory, log: Path) -> int:
    """Return a sum, the terms of which are cached calls made by workers."""
    tasks = (delayed(cache(memory))(x, log) for x in range(count))
    return sum(Parallel(n_jobs=2, backend=backend)(tasks))


@pytest.mark.parametrize(
    "backend", ["sequential", "threading", "loky", "multiprocessing"]
)
def test_calls_that_workers_compute_are_counted_and_known_to_their_caller(
    memory: Memory, log: Path, backend: str
) -> None:
    outer = memory.cache(sum_of_squares, ignore=["memory", "log"])

    reference = outer.call_and_shelve(3, backend, memory, log)

    assert memory.tally().misses == 4
    assert len(reference.record.children) == 3


def test_threads_see_the_context_of_their_caller() -> None:
    with np.errstate(divide="raise"):
        seen = Parallel(n_jobs=2, backend="threading")(
            delayed(np.geterr)() for _ in range(2)
        )

    assert [one["divide"] for one in seen] == ["raise", "raise"]


def test_a_result_that_is_not_stored_is_let_go_once_it_was_taken(
    memory: Memory,
) -> None:
    cached = memory.cache(numbers, cache_if=lambda *_: False)
    loop = Parallel(n_jobs=2, return_as="generator", batch_size=1)
    results = loop(delayed(cached)(n) for n in range(20))

    taken = [weakref.ref(next(results)) for _ in range(10)]

    gc.collect()
    assert [reference() for reference in taken[:5]] == [None] * 5
    assert len(list(results)) == 10
