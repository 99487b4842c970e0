"""Tasks go to workers in batches of a size that fits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cachekit.parallel import Parallel, delayed
from cachekit.parallel.batching import LARGEST_STEP, BatchSizer

WORKERS = ["loky", "multiprocessing", "threading"]


def echo(number: int) -> int:
    return number


@pytest.mark.parametrize("backend", WORKERS)
def test_many_small_tasks_go_in_few_batches(backend: str) -> None:
    loop = Parallel(n_jobs=2, backend=backend)

    assert loop(delayed(echo)(n) for n in range(100_000)) == list(range(100_000))
    assert loop.n_completed_tasks == loop.n_dispatched_tasks == 100_000
    assert loop.n_dispatched_batches < 5_000


@pytest.mark.parametrize("size", [1, 3, 64, "auto"])
@pytest.mark.parametrize("ahead", [1, "all", "3 * n_jobs", "n_jobs + 1"])
@pytest.mark.parametrize("count", [0, 1, 2, 65])
def test_all_tasks_are_run_once(size: Any, ahead: Any, count: int) -> None:
    loop = Parallel(n_jobs=2, backend="threading", batch_size=size, pre_dispatch=ahead)

    assert loop(delayed(echo)(n) for n in range(count)) == list(range(count))


def test_a_size_that_is_given_is_kept() -> None:
    loop = Parallel(n_jobs=2, backend="threading", batch_size=7)

    loop(delayed(echo)(n) for n in range(70))

    assert loop.n_dispatched_batches == 10


def test_slow_tasks_go_one_at_a_time() -> None:
    loop = Parallel(n_jobs=2)

    loop(delayed(time.sleep)(0.1) for _ in range(8))

    assert loop.n_dispatched_batches == 8


def test_a_slow_task_does_not_keep_those_behind_it_waiting() -> None:
    release = threading.Event()
    done: list[int] = []

    def task(number: int) -> int:
        if number == 0:
            assert release.wait(30)
        done.append(number)
        return number

    def tasks() -> Iterator[Any]:
        for number in range(64):
            if number == 63:  # all but the last are handed out, and some are done
                assert len(done) > 50
                release.set()
            yield delayed(task)(number)

    loop = Parallel(n_jobs=2, backend="threading", batch_size=1)

    assert loop(tasks()) == list(range(64))


def test_batches_grow_step_by_step_and_shrink() -> None:
    sizer = BatchSizer()

    sizer.completed(1, 1e-6)
    first = sizer.size
    sizer.completed(first, 1e-6)
    second = sizer.size
    sizer.completed(second, 10.0)

    assert 1 < first <= LARGEST_STEP
    assert first < second <= LARGEST_STEP * first
    assert sizer.size < second


@pytest.mark.parametrize("text", ["n_jobs()", "__import__('os')", "2 **", "x", "1/0"])
def test_how_far_ahead_is_no_code(text: str) -> None:
    with pytest.raises(ValueError, match="pre_dispatch"):
        Parallel(n_jobs=2, pre_dispatch=text)([delayed(echo)(1)] * 3)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_what_a_function_reads_is_what_it_was_when_its_task_was_taken(
    backend: str,
) -> None:
    scale = 0

    def scaled() -> int:
        return scale

    def tasks() -> Iterator[Any]:
        nonlocal scale
        for scale in range(6):  # noqa: B007  (read by the function)
            yield delayed(scaled)()

    loop = Parallel(n_jobs=2, backend=backend, batch_size=1, pre_dispatch=1)

    assert loop(tasks()) == [0, 1, 2, 3, 4, 5]
