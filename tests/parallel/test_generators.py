"""Loops whose results are taken one by one."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cachekit.parallel import Parallel, delayed, parallel_config

BACKENDS = ["loky", "threading"]
RETURNS = ["generator", "generator_unordered"]

pytestmark = [
    pytest.mark.parametrize("backend", BACKENDS),
    pytest.mark.parametrize("return_as", RETURNS),
]


def echo(number: int) -> int:
    return number


def loop_of(backend: str, return_as: str, **options: Any) -> Parallel:
    return Parallel(n_jobs=2, backend=backend, return_as=return_as, **options)


def test_all_results_come(backend: str, return_as: str) -> None:
    results = loop_of(backend, return_as)(delayed(echo)(n) for n in range(200))

    assert sorted(results) == list(range(200))


def test_one_that_is_exhausted_stays_so(backend: str, return_as: str) -> None:
    results = loop_of(backend, return_as)(delayed(echo)(n) for n in range(3))

    assert sorted(results) == [0, 1, 2]
    assert list(results) == []


def test_one_that_is_closed_frees_its_object(backend: str, return_as: str) -> None:
    loop = loop_of(backend, return_as)
    results = loop(delayed(echo)(n) for n in itertools.count())
    next(results)

    with pytest.warns(UserWarning, match="given up"):
        results.close()

    assert sorted(loop(delayed(echo)(n) for n in range(9))) == list(range(9))


def test_one_that_is_dropped_frees_its_object(backend: str, return_as: str) -> None:
    loop = loop_of(backend, return_as)
    results = loop(delayed(echo)(n) for n in itertools.count())
    next(results)

    with pytest.warns(UserWarning, match="given up"):
        del results

    assert sorted(loop(delayed(echo)(n) for n in range(9))) == list(range(9))


def test_one_that_was_never_begun_frees_its_object(
    backend: str, return_as: str
) -> None:
    loop = loop_of(backend, return_as)
    results = loop(delayed(echo)(n) for n in itertools.count())

    with pytest.warns(UserWarning, match="given up"):
        del results

    assert sorted(loop(delayed(echo)(n) for n in range(9))) == list(range(9))


def test_an_object_runs_one_loop_at_a_time(backend: str, return_as: str) -> None:
    loop = loop_of(backend, return_as)
    results = loop(delayed(echo)(n) for n in range(50))

    with pytest.raises(RuntimeError, match="is already running"):
        loop(delayed(echo)(n) for n in range(3))

    assert sorted(results) == list(range(50))


def test_two_objects_run_at_once(backend: str, return_as: str) -> None:
    first = loop_of(backend, return_as)(delayed(echo)(n) for n in range(50))
    second = loop_of(backend, return_as)(delayed(echo)(n) for n in range(50))

    pairs = list(zip(first, second, strict=True))

    assert sorted(a for a, _ in pairs) == sorted(b for _, b in pairs) == [*range(50)]


def test_to_give_one_up_leaves_the_other_alone(backend: str, return_as: str) -> None:
    first = loop_of(backend, return_as)(delayed(echo)(n) for n in itertools.count())
    second = loop_of(backend, return_as)(delayed(echo)(n) for n in range(50))
    next(first)

    with pytest.warns(UserWarning, match="given up"):
        first.close()

    assert sorted(second) == list(range(50))


def test_loops_in_one_block_of_settings_are_apart(backend: str, return_as: str) -> None:
    with parallel_config(backend, n_jobs=2):
        results = Parallel(return_as=return_as)(delayed(echo)(n) for n in range(50))
        Parallel()(delayed(echo)(n) for n in range(9))

        assert sorted(results) == list(range(50))


def test_one_may_be_read_in_another_thread(backend: str, return_as: str) -> None:
    results = loop_of(backend, return_as)(delayed(echo)(n) for n in range(100))
    found: list[int] = []
    reader = threading.Thread(target=lambda: found.extend(results))

    reader.start()
    reader.join(60)

    assert sorted(found) == list(range(100))


def test_a_slow_reader_holds_up_the_tasks(backend: str, return_as: str) -> None:
    taken = 0

    def tasks() -> Iterator[Any]:
        nonlocal taken
        for number in itertools.count():
            taken = number + 1
            yield delayed(echo)(number)

    results = loop_of(backend, return_as, batch_size=1)(tasks())
    for read in range(1, 50):
        next(results)
        assert taken - read < 1000
    time.sleep(0.2)  # nothing may happen meanwhile
    before = taken

    time.sleep(0.2)

    assert taken == before
    with pytest.warns(UserWarning, match="given up"):
        results.close()


def test_a_block_keeps_its_workers(backend: str, return_as: str) -> None:
    with loop_of(backend, return_as) as loop:
        for _ in range(3):
            assert sorted(loop(delayed(echo)(n) for n in range(9))) == list(range(9))


def test_a_block_that_is_left_early_stops_its_loop(
    backend: str, return_as: str
) -> None:
    loop = loop_of(backend, return_as)
    loop.__enter__()
    results = loop(delayed(echo)(n) for n in itertools.count())
    next(results)

    with pytest.warns(UserWarning, match="given up"):
        loop.__exit__(None, None, None)

    with pytest.raises(RuntimeError, match="block was left"):
        for _ in results:
            pass


def test_an_error_ends_it(backend: str, return_as: str) -> None:
    loop = loop_of(backend, return_as)
    results = loop(delayed(int)("x" if n == 7 else n) for n in range(20))

    with pytest.raises(ValueError, match="invalid literal"):
        list(results)

    assert list(results) == []
    assert sorted(loop(delayed(echo)(n) for n in range(9))) == list(range(9))


def test_the_tasks_of_one_may_come_from_another(backend: str, return_as: str) -> None:
    inner = loop_of(backend, return_as)(delayed(echo)(n) for n in range(30))

    results = loop_of(backend, return_as)(delayed(echo)(n + 1) for n in inner)

    assert sorted(results) == list(range(1, 31))
