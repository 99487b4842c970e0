"""Loops inside loops, in threads and in other processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cachekit.parallel import Parallel, delayed, effective_n_jobs, parallel_config
from cachekit.parallel.config import get_active_backend
from tests.parallel.processes import started
from tests.unguarded import imported

WORKERS = ["loky", "multiprocessing", "threading"]


def square(number: int) -> int:
    return number * number


def squares(count: int, backend: str | None = None) -> list[int]:
    found = Parallel(n_jobs=2, backend=backend)(
        delayed(square)(n) for n in range(count)
    )
    return list(found)


def levels(depth: int) -> list[tuple[str, int | None]]:
    loop = Parallel(n_jobs=2)
    here = [(type(loop._backend).__name__, loop._backend.nesting_level)]
    if depth == 0:
        return here
    inner = loop([delayed(levels)(depth - 1)] * 2)
    return here + list(inner[0])


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_there_are_threads_inside_and_one_thread_inside_those(backend: str) -> None:
    with parallel_config(backend, n_jobs=2):
        found = levels(3)

    assert found[1:] == [
        ("ThreadingBackend", 1),
        ("SequentialBackend", 2),
        ("SequentialBackend", 2),
    ]


@pytest.mark.parametrize("outer", WORKERS)
def test_loops_inside_tasks_give_their_results(outer: str) -> None:
    found = Parallel(n_jobs=2, backend=outer)([delayed(squares)(20)] * 6)

    assert found == [[n * n for n in range(20)]] * 6


def test_processes_may_have_processes() -> None:
    found = Parallel(n_jobs=2, backend="loky")([delayed(squares)(5, "loky")] * 2)

    assert found == [[0, 1, 4, 9, 16]] * 2


def fibonacci(number: int) -> int:
    if number < 2:
        return number
    parts = Parallel(n_jobs=2)(delayed(fibonacci)(n) for n in (number - 1, number - 2))
    return int(sum(parts))


@pytest.mark.parametrize("backend", WORKERS)
def test_a_function_may_call_itself_in_loops(backend: str) -> None:
    with parallel_config(backend, n_jobs=2):
        assert fibonacci(8) == 21


def limits() -> tuple[str | None, str | None]:
    return os.environ.get("OMP_NUM_THREADS"), os.environ.get("MKL_NUM_THREADS")


def test_workers_use_as_many_threads_as_they_are_told() -> None:
    with parallel_config("loky", n_jobs=2, inner_max_num_threads=3):
        assert set(Parallel()([delayed(limits)()] * 4)) == {("3", "3")}


def test_settings_belong_to_a_thread() -> None:
    seen: list[Any] = []

    with parallel_config("threading", n_jobs=7):
        other = threading.Thread(target=lambda: seen.append(effective_n_jobs(None)))
        other.start()
        other.join()
        seen.append(effective_n_jobs(None))

    assert seen == [1, 7]
    assert type(get_active_backend()[0]).__name__ == "LokyBackend"


@pytest.mark.parametrize("sizes", [(2, 2), (2, 3)])
@pytest.mark.parametrize("backend", WORKERS)
def test_threads_run_loops_at_once(backend: str, sizes: tuple[int, int]) -> None:
    def run(n_jobs: int) -> list[list[int]]:
        return [
            Parallel(n_jobs=n_jobs, backend=backend)(
                delayed(square)(n) for n in range(40)
            )
            for _ in range(4)
        ]

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(run, sizes))

    assert found == [[[n * n for n in range(40)]] * 4] * 2


def process_of(number: int) -> int:
    del number
    return os.getpid()


def test_workers_stay_for_the_next_loop() -> None:
    with Parallel(n_jobs=2) as loop:  # so that both are there
        before = set(loop([delayed(process_of)(0)] * 50))
    after = set(Parallel(n_jobs=2)([delayed(process_of)(0)] * 50))

    assert after & before


def forked(count: int) -> int:
    child = os.fork()
    if child == 0:
        found = Parallel(n_jobs=2, backend="threading")(
            delayed(square)(n) for n in range(count)
        )
        os._exit(len(found))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_worker_may_fork() -> None:
    assert Parallel(n_jobs=2)([delayed(forked)(5)] * 2) == [5, 5]


# A script that starts a process, which has loops of its own.
SCRIPT = """
import multiprocessing
from cachekit.parallel import Parallel, delayed

def square(number):
    return number * number

def squares(results):
    results.put(Parallel(n_jobs=2)(delayed(square)(n) for n in range(5)))

if __name__ == "__main__":
    context = multiprocessing.get_context({start!r})
    results = context.Queue()
    Parallel(n_jobs=2)(delayed(square)(n) for n in range(5))
    process = context.Process(target=squares, args=(results,))
    process.start()
    print(results.get(timeout=30))
    process.join()
"""


@pytest.mark.parametrize("start", multiprocessing.get_all_start_methods())
def test_another_process_has_its_own_workers(start: str, tmp_path: Path) -> None:
    process = started(SCRIPT.format(start=start), tmp_path)

    out, errors = process.communicate(timeout=60)

    assert out == "[0, 1, 4, 9, 16]\n", errors
    assert errors == ""


def test_a_daemon_runs_its_loops_alone() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(squares_quietly, (5,)) == [0, 1, 4, 9, 16]


def squares_quietly(count: int) -> list[int]:
    with pytest.warns(UserWarning, match="multiprocessing worker"):
        return squares(count, "multiprocessing")


UNGUARDED = """
from cachekit import Parallel, delayed

def double(number):
    return 2 * number

print(Parallel(n_jobs=2)(delayed(double)(n) for n in range(3)))
"""


def test_a_loop_that_is_imported_by_its_workers_starts_no_more_of_them(
    tmp_path: Path,
) -> None:
    printed, errors, processes = imported(UNGUARDED, tmp_path)

    assert printed[-1] == "[0, 2, 4]", errors
    assert processes <= 3
    assert "put the loop under `if __name__ == '__main__':`" in errors
