"""What a loop does when tasks fail, die or take too long."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future
from multiprocessing import TimeoutError as TaskTimeout
from pathlib import Path
from typing import Any

import pytest

from cachekit.parallel import Parallel, delayed, parallel_config
from cachekit.parallel.backends import ThreadingBackend
from cachekit.parallel.process_backends import MultiprocessingBackend

PROCESSES = ["loky", "multiprocessing"]
WORKERS = ["loky", "multiprocessing", "threading"]
ALL = [*WORKERS, "sequential"]


class Finicky(Exception):
    """One whose arguments are not those of its constructor."""

    def __init__(self, code: int, place: str) -> None:
        super().__init__(f"{code} at {place}")
        self.code = code


class Unsendable(Exception):
    """One that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Unshowable:
    """A value without a representation."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def fail_at(number: int, culprit: int, error: BaseException) -> int:
    if number == culprit:
        raise error
    return number


def nothing(value: Any) -> None:
    del value


@pytest.mark.parametrize("backend", WORKERS)
def test_an_error_has_its_type_its_message_and_the_name_of_its_task(
    backend: str,
) -> None:
    tasks = (delayed(fail_at)(n, 5, ValueError("bad")) for n in range(20))

    with pytest.raises(ValueError, match="bad") as caught:
        Parallel(n_jobs=2, backend=backend)(tasks)

    (note,) = caught.value.__notes__
    assert "task 5: fail_at(5, 5, ValueError('bad'))" in note


@pytest.mark.parametrize("backend", PROCESSES)
def test_the_cause_of_an_error_is_its_traceback_in_the_worker(backend: str) -> None:
    with pytest.raises(ValueError, match="bad") as caught:
        Parallel(n_jobs=2, backend=backend)(
            delayed(fail_at)(n, 1, ValueError("bad")) for n in range(3)
        )

    shown = "".join(traceback.format_exception(caught.value))
    assert "in fail_at" in str(caught.value.__cause__)
    assert "raise error" in shown


@pytest.mark.parametrize("backend", WORKERS)
def test_an_error_with_a_constructor_of_its_own_arrives(backend: str) -> None:
    with pytest.raises((Finicky, RuntimeError), match="7 at home"):
        Parallel(n_jobs=2, backend=backend)(delayed(raise_finicky)() for _ in range(4))


def raise_finicky() -> None:
    raise Finicky(7, "home")


def raise_unsendable() -> None:
    raise Unsendable("locked up")


@pytest.mark.parametrize("backend", PROCESSES)
def test_an_error_that_cannot_be_sent_still_says_what_it_was(backend: str) -> None:
    with pytest.raises(RuntimeError, match="Unsendable: locked up") as caught:
        Parallel(n_jobs=2, backend=backend)(
            delayed(raise_unsendable)() for _ in range(4)
        )

    assert "raise_unsendable" in str(caught.value.__cause__)


@pytest.mark.parametrize("backend", WORKERS)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_arrives_too(
    backend: str, kind: type[BaseException]
) -> None:
    with pytest.raises(kind):
        Parallel(n_jobs=2, backend=backend)(
            delayed(fail_at)(n, 3, kind("stop")) for n in range(6)
        )

    assert Parallel(n_jobs=2, backend=backend)([delayed(abs)(-1)] * 3) == [1] * 3


def raise_with_cause() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("outer") from error


def test_the_causes_in_a_worker_are_shown() -> None:
    with pytest.raises(ValueError, match="outer") as caught:
        Parallel(n_jobs=2)(delayed(raise_with_cause)() for _ in range(2))

    assert "KeyError: 'inner'" in str(caught.value.__cause__)


@pytest.mark.parametrize("backend", ALL)
def test_an_error_of_the_users_generator_is_raised_as_it_is(backend: str) -> None:
    def tasks() -> Iterator[Any]:
        yield from (delayed(abs)(n) for n in range(10))
        raise LookupError("no more data")

    with pytest.raises(LookupError, match="no more data") as caught:
        Parallel(n_jobs=2, backend=backend)(tasks())

    assert not hasattr(caught.value, "__notes__")
    assert caught.value.__cause__ is None
    assert Parallel(n_jobs=2, backend=backend)([delayed(abs)(-1)] * 3) == [1] * 3


@pytest.mark.parametrize("backend", PROCESSES)
def test_an_error_of_the_users_generator_waits_for_no_worker(backend: str) -> None:
    def tasks() -> Iterator[Any]:
        yield delayed(time.sleep)(60)
        yield delayed(time.sleep)(60)
        raise LookupError("no more data")

    began = time.monotonic()
    with pytest.raises(LookupError):
        Parallel(n_jobs=2, backend=backend)(tasks())

    assert time.monotonic() - began < 30


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_what_is_no_task_is_named(backend: str, on_error: str) -> None:
    loop = Parallel(n_jobs=2, backend=backend, on_error=on_error)

    wrong: list[tuple[Any, str]] = [([1, 2], "1"), ([delayed(abs)(1), None], "None")]
    for tasks, text in wrong:
        with pytest.raises(
            TypeError, match=rf"a task is delayed\(f\)\(x\), not {text}"
        ):
            loop(tasks)

    assert loop([delayed(abs)(-1)]) == [1]


@pytest.mark.parametrize(
    ("wrong", "right"), [("njobs", "n_jobs"), ("Verbose", "verbose")]
)
def test_an_option_that_is_written_wrongly_is_refused(wrong: str, right: str) -> None:
    options: dict[str, Any] = {wrong: 2}
    text = rf"^Parallel\(\) has no option {wrong}: did you mean {right}\?$"
    with pytest.raises(TypeError, match=text):
        Parallel(**options)

    with pytest.raises(TypeError, match=text.replace("Parallel", "parallel_config")):
        parallel_config(backend="loky", **options)
    assert Parallel().n_jobs == 1  # nothing was set


def test_an_option_that_the_backend_has_is_not_taken_for_another() -> None:
    class Odd(ThreadingBackend):
        def configure(
            self,
            n_jobs: int = 1,
            parallel: Any = None,
            *,
            njobs: int = 0,
            **options: Any,
        ) -> int:
            self.seen = njobs
            return super().configure(n_jobs, parallel, **options)

    backend = Odd()

    Parallel(n_jobs=2, backend=backend, njobs=3)(delayed(abs)(n) for n in (1, 2))

    assert backend.seen == 3


def test_an_argument_that_cannot_be_sent_names_its_task() -> None:
    tasks = [delayed(nothing)(n) for n in range(5)]
    tasks[3] = delayed(nothing)(threading.Lock())

    with pytest.raises(pickle.PicklingError, match=r"task 3: nothing\(<unlocked"):
        Parallel(n_jobs=2)(tasks)


@pytest.mark.parametrize("backend", PROCESSES)
def test_a_result_that_cannot_be_sent_names_its_task(backend: str) -> None:
    tasks = [delayed(abs)(1), delayed(threading.Lock)(), delayed(abs)(2)]

    with pytest.raises(pickle.PicklingError, match="type lock") as caught:
        Parallel(n_jobs=2, backend=backend)(tasks)

    assert "task 1: " in caught.value.__notes__[0]


def test_a_representation_that_raises_hides_no_error() -> None:
    with pytest.raises(ValueError, match="bad") as caught:
        Parallel(n_jobs=2, backend="threading")(
            delayed(fail_with)(Unshowable()) for _ in range(2)
        )

    assert "Unshowable" in caught.value.__notes__[0]


def fail_with(value: object) -> None:
    raise ValueError(f"bad {type(value)}")


def die(number: int, how: str) -> int:
    if number == 2:
        if how == "exit":
            os._exit(7)
        elif how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            ctypes.string_at(0)
    return number


@pytest.mark.skipif(os.name == "nt", reason="dies as POSIX does")
@pytest.mark.parametrize("backend", PROCESSES)
@pytest.mark.parametrize(
    ("how", "code"), [("exit", "7"), ("kill", "SIGKILL"), ("fault", "SIGSEGV")]
)
def test_a_worker_that_dies_is_named_with_its_task_and_its_exit_code(
    backend: str, how: str, code: str
) -> None:
    with pytest.raises(BrokenExecutor) as caught:
        Parallel(n_jobs=2, backend=backend)(delayed(die)(n, how) for n in range(6))

    said = f"{caught.value} {caught.value.__notes__}"
    assert "task 2: die(2" in said
    assert code in said


class DeadProcess:
    """One that has ended; of two threads that ask how, only the first is told."""

    pid = 1
    exitcode: int | None = None

    def __init__(self) -> None:
        self.sentinel, writer = os.pipe()
        os.close(writer)  # it is over
        self.is_asked = threading.Event()
        self.other_is_done = threading.Event()

    def join(self, _timeout: float) -> None:
        if not self.is_asked.is_set():
            self.is_asked.set()
            self.other_is_done.wait(0.2)
            self.exitcode = 7


@pytest.mark.skipif(os.name == "nt", reason="waits for a pipe")
def test_a_loop_that_hears_of_a_death_with_the_executor_knows_who_died() -> None:
    """A batch is handed out to an executor that is just telling of the death."""
    process = DeadProcess()
    backend = MultiprocessingBackend()
    backend._processes, backend.died = {1: process}, {}
    broken: Future[Any] = Future()
    broken.set_exception(BrokenExecutor())
    finish = functools.partial(backend._finish, None, None, print, broken)
    executor = threading.Thread(target=finish)
    executor.start()
    process.is_asked.wait()

    finish()

    assert backend.died == {1: 7}
    process.other_is_done.set()
    executor.join()
    os.close(process.sentinel)


@pytest.mark.skipif(os.name == "nt", reason="dies as POSIX does")
@pytest.mark.parametrize("backend", PROCESSES)
def test_a_loop_goes_on_in_its_block_after_a_worker_died(backend: str) -> None:
    with Parallel(n_jobs=2, backend=backend) as parallel:
        with pytest.raises(BrokenExecutor):
            parallel(delayed(die)(n, "kill") for n in range(6))

        assert parallel(delayed(abs)(-n) for n in range(20)) == list(range(20))


@pytest.mark.parametrize("backend", ALL)
def test_errors_are_returned_in_their_places(backend: str) -> None:
    results = Parallel(n_jobs=2, backend=backend, on_error="return", batch_size=3)(
        delayed(fail_at)(n, 4, ValueError("bad")) for n in range(8)
    )

    assert isinstance(results[4], ValueError)
    assert results[:4] + results[5:] == [0, 1, 2, 3, 5, 6, 7]


@pytest.mark.parametrize("backend", ALL)
def test_tasks_that_fail_are_left_out(backend: str) -> None:
    results = Parallel(n_jobs=2, backend=backend, on_error="skip", batch_size=3)(
        delayed(fail_at)(n, 4, ValueError("bad")) for n in range(8)
    )

    assert results == [0, 1, 2, 3, 5, 6, 7]


def fail_twice(place: Path, number: int) -> int:
    with (place / f"{number}").open("a") as file:
        file.write("x")
    if len((place / f"{number}").read_text()) < 3:
        raise OSError("not yet")
    return number


@pytest.mark.parametrize("backend", ALL)
def test_a_task_is_run_again_so_often(backend: str, tmp_path: Path) -> None:
    tasks = [delayed(fail_twice)(tmp_path, n) for n in range(4)]

    assert Parallel(n_jobs=2, backend=backend, retries=2)(tasks) == [0, 1, 2, 3]


def test_a_task_that_fails_each_time_says_how_often_it_was_tried() -> None:
    with pytest.raises(ValueError, match="bad") as caught:
        Parallel(n_jobs=2, retries=3)(
            delayed(fail_at)(n, 1, ValueError("bad")) for n in range(2)
        )

    assert "tried 4 times" in caught.value.__notes__[0]


@pytest.mark.parametrize("backend", WORKERS)
def test_the_time_a_task_may_take_is_counted_from_its_own_start(backend: str) -> None:
    loop = Parallel(n_jobs=2, backend=backend, timeout=0.5, pre_dispatch="all")

    loop(delayed(time.sleep)(0.3) for _ in range(10))  # 1.5 seconds for all


@pytest.mark.parametrize("backend", WORKERS)
def test_a_task_that_takes_too_long_is_named(backend: str) -> None:
    release = threading.Event()
    slow = delayed(release.wait)(30) if backend == "threading" else None
    tasks = [delayed(abs)(1), delayed(abs)(2), slow or delayed(time.sleep)(30)]

    with pytest.raises(TaskTimeout, match=r"task 2 takes longer than timeout=0\.2"):
        Parallel(n_jobs=2, backend=backend, timeout=0.2)(tasks)

    release.set()


def test_what_one_batch_holds_may_take_longer_than_one_task() -> None:
    loop = Parallel(n_jobs=2, timeout=1.0, batch_size=8)

    loop(delayed(time.sleep)(0.2) for _ in range(16))


def test_an_error_does_not_wait_for_the_results_before_it() -> None:
    began = time.monotonic()

    with pytest.raises(ValueError, match="bad"):
        Parallel(n_jobs=2)(
            itertools.chain(
                [delayed(time.sleep)(60)],
                (delayed(fail_at)(n, 1, ValueError("bad")) for n in range(5)),
            )
        )

    assert time.monotonic() - began < 30
