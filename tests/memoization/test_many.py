"""One call for each of many items, here and in real worker processes."""

from __future__ import annotations

import functools
import itertools
import operator
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from cachekit import Memory
from cachekit.errors import CacheMiss, CacheWarning, UnhashableArgument
from cachekit.memoization.many import count_workers, map_calls
from cachekit.stores import DictStore, LocalStore, TieredStore
from cachekit.stores.processes import is_running, start_of
from tests.memoization.project import Project
from tests.unguarded import imported

# Read by `raised`: workers, which import this module, find the first value.
POWER = 2


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture(params=[1, 2], ids=["here", "workers"])
def n_jobs(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def square(x: int, log: Path) -> list[int]:
    with log.open("a") as file:
        file.write(f"{os.getpid()} {x}\n")
    return [x * x]


def squaring(memory: Memory, log: Path, **options: Any) -> Any:
    """Cache a function that notes in a file what it computes, and in which process."""

    def logged(x: int) -> list[int]:
        return square(x, log)

    return memory.cache(logged, track="off", **options)


def cache(memory: Memory, function: Callable[..., Any], **options: Any) -> Any:
    """Cache a function; typed as anything, for that of `Memory(None)` has no map."""
    return memory.cache(function, **options)


def computed(log: Path) -> list[int]:
    return sorted(int(line.split()[1]) for line in log.read_text().splitlines())


def processes(log: Path) -> set[int]:
    return {int(line.split()[0]) for line in log.read_text().splitlines()}


# --- results ---


def test_results_are_in_the_order_of_the_items(
    memory: Memory, log: Path, n_jobs: int
) -> None:
    results = squaring(memory, log).map([3, 1, 2], n_jobs=n_jobs)

    assert results == [[9], [1], [4]]


def test_without_items_there_are_no_results(
    memory: Memory, log: Path, n_jobs: int
) -> None:
    assert squaring(memory, log).map([], n_jobs=n_jobs) == []


def test_items_may_come_from_a_generator(
    memory: Memory, log: Path, n_jobs: int
) -> None:
    results = squaring(memory, log).map((x for x in range(5)), n_jobs=n_jobs)

    assert results == [[0], [1], [4], [9], [16]]


def test_a_tuple_is_one_argument(memory: Memory, n_jobs: int) -> None:
    assert cache(memory, len).map([(1, 2), (3,)], n_jobs=n_jobs) == [2, 1]


def test_equal_items_are_computed_once_and_have_results_of_their_own(
    memory: Memory, log: Path, n_jobs: int
) -> None:
    results = squaring(memory, log).map([1, 2, 1, 2, 1], n_jobs=n_jobs)

    assert results == [[1], [4], [1], [4], [1]]
    assert computed(log) == [1, 2]
    assert len({id(result) for result in results}) == 5


def test_equal_items_are_computed_once_even_if_that_is_not_stored(
    memory: Memory, log: Path, n_jobs: int
) -> None:
    fleeting = squaring(memory, log, cache_if=lambda *_: False)

    assert fleeting.map([1, 2, 1], n_jobs=n_jobs) == [[1], [4], [1]]
    assert computed(log) == [1, 2]


def test_stored_results_go_to_no_worker(memory: Memory, log: Path) -> None:
    cached = squaring(memory, log)
    first = cached.map(range(4), n_jobs=2)
    log.write_text("")

    assert cached.map(range(4), n_jobs=2) == first
    assert computed(log) == []


def test_only_what_is_not_stored_is_computed(
    memory: Memory, log: Path, n_jobs: int
) -> None:
    cached = squaring(memory, log)
    cached(1)
    cached(3)
    log.write_text("")

    assert cached.map(range(5), n_jobs=n_jobs) == [[0], [1], [4], [9], [16]]
    assert computed(log) == [0, 2, 4]


def test_workers_are_other_processes_and_no_more_than_asked_for(
    memory: Memory, log: Path
) -> None:
    squaring(memory, log).map(range(8), n_jobs=2)

    assert os.getpid() not in processes(log)
    assert len(processes(log)) <= 2


def test_calls_stay_in_this_process_by_default(memory: Memory, log: Path) -> None:
    squaring(memory, log).map(range(3))

    assert processes(log) == {os.getpid()}


def test_what_workers_stored_is_a_hit_of_a_plain_call(
    memory: Memory, log: Path
) -> None:
    cached = squaring(memory, log)
    cached.map(range(3), n_jobs=2)

    assert cached(2) == [4]
    assert computed(log) == [0, 1, 2]


def test_an_expired_result_is_computed_once(
    memory: Memory, log: Path, n_jobs: int
) -> None:
    stale = squaring(memory, log, cache_validation_callback=lambda _: False)

    assert stale.map([1, 2, 1], n_jobs=n_jobs) == [[1], [4], [1]]
    assert computed(log) == [1, 2]


def test_large_arrays_come_back_mapped(memory: Memory, n_jobs: int) -> None:
    def zeros(n: int) -> Any:
        return np.zeros(n)

    arrays = cache(memory, zeros, mmap_mode="r").map([100_000, 200_000], n_jobs=n_jobs)

    assert [type(array) for array in arrays] == [np.memmap, np.memmap]
    assert [array.size for array in arrays] == [100_000, 200_000]


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor


def scaled(self: Scale, x: int) -> int:
    return self.factor * x


def test_a_method_has_its_instance_before_each_item(
    memory: Memory, n_jobs: int
) -> None:
    cached = cache(memory, scaled)

    for factor in (2, 3):
        results = map_calls(cached, [1, 2], n_jobs=n_jobs, bound=(Scale(factor),))
        assert results == [factor, 2 * factor]


def test_results_in_memory_are_stored_where_the_map_was_asked_for(log: Path) -> None:
    cached = squaring(Memory(DictStore()), log)

    assert cached.map([1, 2, 1], n_jobs=2) == [[1], [4], [1]]
    assert cached.map([1, 2, 1], n_jobs=2) == [[1], [4], [1]]
    assert computed(log) == [1, 2]
    assert cached.cache_info().misses == 2


def test_a_tier_in_memory_is_no_obstacle(tmp_path: Path, log: Path) -> None:
    store = TieredStore(DictStore(), LocalStore(tmp_path / "far"))
    cached = squaring(Memory(store), log)

    assert cached.map([1, 2], n_jobs=2) == [[1], [4]]
    assert cached.map([1, 2], n_jobs=2) == [[1], [4]]
    assert computed(log) == [1, 2]


def test_what_may_not_be_written_is_computed_all_the_same(
    tmp_path: Path, log: Path, n_jobs: int
) -> None:
    cached = squaring(Memory(tmp_path / "store", read_only=True), log)

    assert cached.map([1, 2, 1], n_jobs=n_jobs) == [[1], [4], [1]]
    assert computed(log) == [1, 2]


def test_the_calls_of_a_map_are_children_of_the_call_that_maps(
    memory: Memory, log: Path
) -> None:
    cached = squaring(memory, log)

    @memory.cache(track="off")
    def outer() -> int:
        return len(cached.map(range(2), n_jobs=2))

    record = outer.call_and_shelve().record

    assert record is not None
    assert len(record.children) == 2


def doubled(x: Any) -> float:
    return float(POWER * x[0])


@pytest.mark.parametrize("kind", ["shared", "in memory", "other code"])
def test_an_item_counts_as_it_was_when_it_was_yielded(
    memory: Memory, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refilled() -> Iterator[Any]:
        array = np.zeros(1)
        for x in range(5):
            array[0] = x
            yield array

    if kind == "other code":
        monkeypatch.setattr(sys.modules[__name__], "POWER", 2.0)
    cached = cache(Memory(DictStore()) if kind == "in memory" else memory, doubled)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if kind == "other code" else "error")
        results = cached.map(refilled(), n_jobs=2)

    assert results == [0, 2, 4, 6, 8]
    with cached.memory.offline():
        assert cached.map(refilled()) == results


# --- how many ---


def test_negative_numbers_of_workers_count_from_all_cores() -> None:
    assert 1 <= count_workers(-1) <= (os.cpu_count() or 1)
    assert count_workers(-2) == max(1, count_workers(-1) - 1)
    assert count_workers(-1000) == 1
    assert count_workers(3) == 3


def test_all_cores_can_be_asked_for(memory: Memory, log: Path) -> None:
    assert squaring(memory, log).map(range(3), n_jobs=-1) == [[0], [1], [4]]


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (1.5, TypeError)])
def test_a_number_of_workers_that_has_no_meaning_is_told(
    memory: Memory, log: Path, wrong: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        squaring(memory, log).map([1], n_jobs=wrong)


def test_items_are_taken_as_they_can_be_computed(memory: Memory, n_jobs: int) -> None:
    ahead = []

    def endless() -> Iterator[int]:
        for x in itertools.count():
            stored = sum(1 for _ in memory.store_backend.entries())
            ahead.append(x - stored)  # so many are computed now, or have failed
            yield x

    with pytest.raises(ZeroDivisionError):
        cache(memory, fails_at_five).map(endless(), n_jobs=n_jobs)

    assert max(ahead) <= n_jobs + 1


def fails_at_five(x: int) -> float:
    return x / (x - 5)


# --- what is refused ---


async def fetch(x: int) -> int:
    return x


def count_to(x: int) -> Iterator[int]:
    yield from range(x)


@pytest.mark.parametrize(
    ("function", "advice"), [(fetch, "gather"), (count_to, r"\[f\(item\)")]
)
def test_functions_of_other_kinds_are_refused_with_what_to_do(
    memory: Memory, function: Callable[[int], Any], advice: str
) -> None:
    with pytest.raises(TypeError, match=advice):
        cache(memory, function).map([1])


def test_a_memory_that_computes_nothing_says_which_item_is_missing(
    memory: Memory, log: Path, n_jobs: int
) -> None:
    cached = squaring(memory, log)
    cached(1)

    with memory.offline(), pytest.raises(CacheMiss) as caught:
        cached.map([1, 2, 3], n_jobs=n_jobs)

    assert "item 1: 2" in caught.value.__notes__[0]
    assert computed(log) == [1]


def test_an_item_without_a_digest_is_named(memory: Memory, n_jobs: int) -> None:
    with pytest.raises(UnhashableArgument) as caught:
        cache(memory, id).map([1, threading.Lock()], n_jobs=n_jobs)

    assert "item 1: <unlocked" in caught.value.__notes__[0]


# --- errors ---


class TwoReasonsError(Exception):
    """An error that pickle cannot make again: it has not both arguments."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")
        self.one = one


class LockedError(Exception):
    """An error that cannot be pickled at all."""

    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


def fail(kind: str) -> NoReturn:
    if kind == "plain":
        error: Exception = ValueError("bad value")
        error.add_note("my note")
        raise error
    if kind == "two":
        raise TwoReasonsError("this", "that")
    raise LockedError


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("plain", ValueError, "bad value"),
        ("two", TwoReasonsError, "this and that"),
        ("locked", LockedError, "locked"),
    ],
)
def test_an_error_keeps_its_type_and_says_of_which_item_it_is(
    memory: Memory, n_jobs: int, kind: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        cache(memory, fail).map([kind], n_jobs=n_jobs)

    assert str(caught.value) == text
    assert caught.value.__notes__[-1] == f"in map(), of item 0: {kind!r}"


def test_an_error_in_a_worker_has_its_notes_and_where_it_was_raised(
    memory: Memory,
) -> None:
    with pytest.raises(ValueError, match="bad value") as caught:
        cache(memory, fail).map(["plain"], n_jobs=2)

    assert caught.value.__notes__[0] == "my note"
    assert "in fail" in str(caught.value.__cause__)


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_an_item_that_cannot_be_shown_is_named_by_its_place(memory: Memory) -> None:
    def refuse(x: object) -> NoReturn:
        raise LookupError(x)

    with pytest.raises(LookupError) as caught:
        cache(memory, refuse).map([Unspeakable()])

    assert "item 0: <" in caught.value.__notes__[0]


def test_an_error_of_the_iterable_is_its_own(memory: Memory, n_jobs: int) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError) as caught:
        cache(memory, abs).map(broken(), n_jobs=n_jobs)

    assert not hasattr(caught.value, "__notes__")


def test_after_an_error_no_call_is_begun_and_the_rest_is_kept(
    memory: Memory, log: Path, n_jobs: int
) -> None:
    trouble = log.with_name("trouble")
    trouble.touch()

    @functools.partial(cache, memory, track="off")
    def careful(x: int) -> list[int]:
        if x == 3 and trouble.exists():
            raise ValueError("trouble")
        while x > 3 and trouble.exists():  # the other worker: until the map has ended
            time.sleep(0.01)
        return square(x, log)

    with pytest.raises(ValueError, match="trouble"):
        careful.map(range(20), n_jobs=n_jobs)
    before = computed(log)
    trouble.unlink()

    assert careful.map(range(20), n_jobs=n_jobs) == [[x * x] for x in range(20)]
    assert set(before) <= {0, 1, 2}
    assert computed(log) == list(range(20))


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_worker_that_dies_is_an_error_that_names_the_item(
    tmp_path: Path, log: Path, how: str
) -> None:
    memory = Memory(tmp_path / "left")  # what it had begun stays until it is swept

    @functools.partial(cache, memory, track="off")
    def deadly(x: int) -> list[int]:
        if x == 2:
            os._exit(3) if how == "exit" else os.kill(os.getpid(), signal.SIGKILL)
        return square(x, log)

    with pytest.raises(BrokenProcessPool, match=r"deadly.* of item 2: 2;"):
        deadly.map(range(4), n_jobs=2)

    assert set(computed(log)) & {0, 1}


def test_a_result_that_cannot_leave_a_worker_is_an_error_that_names_the_item(
    memory: Memory,
) -> None:
    def lock(x: int) -> Any:
        return threading.Lock() if x else None

    cached = cache(memory, lock)
    cached(0)  # no worker is to be at it when the others are killed

    with pytest.raises(TypeError, match="pickle") as caught:
        cached.map([0, 1], n_jobs=2)

    assert "item 1: 1" in caught.value.__notes__[-1]


def test_an_item_that_cannot_go_to_a_worker_is_named(memory: Memory) -> None:
    cached = cache(memory, abs, ignore=["x"])

    with pytest.raises(TypeError, match="pickle") as caught:
        cached.map([threading.Lock()], n_jobs=2)

    assert "item 0: <unlocked" in caught.value.__notes__[-1]


def test_a_function_that_cannot_go_to_workers_is_told_of(memory: Memory) -> None:
    lock = threading.Lock()

    def locked(x: int) -> int:
        with lock:
            return x

    with pytest.raises(TypeError, match="pickle") as caught:
        cache(memory, locked, track="off").map([1], n_jobs=2)

    assert "n_jobs=1" in caught.value.__notes__[0]


# --- the same code ---


def raised(x: int) -> int:
    return int(x**POWER)


def test_values_that_were_changed_since_the_import_count_in_workers_too(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "POWER", 3)
    cached = cache(memory, raised)

    with pytest.warns(CacheWarning, match="without workers"):
        results = cached.map([1, 2, 3], n_jobs=2)

    assert results == [1, 8, 27] == cached.map([1, 2, 3])


def test_where_workers_have_other_code_this_process_computes(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("rates.py", "RATE = 2\ndef times(x):\n    return x * RATE\n")
    project.write(
        "script.py",
        """
        import warnings
        import rates
        from cachekit import Memory

        rates.RATE = 5
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(Memory("store").cache(rates.times).map([1, 2], n_jobs=2))
        print({warning.category.__name__ for warning in caught})
        """,
    )

    assert project.run("script.py") == ["[5, 10]", "{'CacheWarning'}"]


SCRIPT = """
    import os, sys
    from cachekit import Memory

    memory = Memory("store", verbose=0)
    RATE = 3

    class Model:
        def __init__(self, x):
            self.x = x

    @memory.cache
    def inner(x):
        return x + 1

    @memory.cache
    def outer(x):
        with open("log", "a") as log:
            print(os.getpid(), x, file=log)
        return Model(inner(x) * RATE)

    models = outer.map(range(4), n_jobs=2)
    print([model.x for model in models], {type(model) is Model for model in models})
    print(memory.cache(lambda x: x * RATE).map(range(3), n_jobs=2))

    def unpacked(model):
        with open("log", "a") as log:
            print(os.getpid(), 10 + model.x, file=log)
        return model.x

    print(memory.cache(unpacked).map([Model(0), Model(1)], n_jobs=2))
    print(type(outer(0)) is Model, inner.check_call_in_cache(3))
"""


def test_functions_of_a_script_and_its_classes_go_to_workers_and_back(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path)
    project.write("script.py", SCRIPT)

    first = project.run("script.py")
    second = project.run("script.py")

    assert first == second
    assert first == [
        "[3, 6, 9, 12] {True}",
        "[0, 3, 6]",
        "[0, 1]",
        "True True",
    ]
    assert computed(tmp_path / "log") == [0, 1, 2, 3, 10, 11]
    assert project.ask("script.outer(1).x, type(script.outer(1)).__module__")[-1] == (
        "6 script"
    )
    assert computed(tmp_path / "log") == [0, 1, 2, 3, 10, 11]


def test_functions_of_a_notebook_go_to_workers(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "notebook.py",
        """
        from IPython.core.interactiveshell import InteractiveShell

        shell = InteractiveShell.instance()
        shell.run_cell("import os; from cachekit import Memory; m = Memory('store')")
        shell.run_cell("def helper(x):\\n    # doubled\\n    return 2 * x")
        shell.run_cell("@m.cache\\ndef f(x):\\n    return helper(x), os.getpid()")
        shell.run_cell("print([v for v, _ in f.map(range(3), n_jobs=2)])")
        shell.run_cell("print(os.getpid() in {p for _, p in f.map(range(3))})")
        """,
    )

    assert project.run("notebook.py")[-2:] == ["[0, 2, 4]", "False"]


# --- Ctrl-C ---


LONG = """
    import os, signal, sys, time
    from cachekit import Memory

    memory = Memory("store")

    @memory.cache
    def wait(x):
        with open("log", "a") as log:
            print(os.getpid(), x, file=log)
        if x >= 3 and not os.path.exists("finish"):
            os.write(1, b"waiting\\n")  # whole, also beside another worker's
            while True:
                try:
                    time.sleep(60)
                except KeyboardInterrupt:
                    if HARD:
                        continue  # it does not listen
                    raise
        return x

    HARD = len(sys.argv) > 1
    if __name__ == "__main__":
        print(wait.map(range(5), n_jobs=2))
"""


@pytest.mark.parametrize("arguments", [[], ["hard"]])
def test_ctrl_c_leaves_no_process_and_the_results_so_far(
    tmp_path: Path, arguments: list[str]
) -> None:
    project = Project(tmp_path)
    project.write("script.py", LONG)
    command = [sys.executable, "script.py"]
    script = subprocess.Popen(
        [*command, *arguments],
        cwd=tmp_path,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    assert script.stdout is not None
    assert [script.stdout.readline() for _ in range(2)] == ["waiting\n"] * 2

    os.killpg(script.pid, signal.SIGINT)
    _, errors = script.communicate(timeout=60)

    assert "KeyboardInterrupt" in errors
    assert script.returncode in (1, -signal.SIGINT)
    assert not any(is_alive(pid) for pid in processes(tmp_path / "log"))

    (tmp_path / "finish").touch()
    (tmp_path / "log").write_text("")
    assert project.run("script.py", *arguments) == ["[0, 1, 2, 3, 4]"]
    assert computed(tmp_path / "log") == [3, 4]


def test_workers_end_when_the_process_that_maps_was_killed(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("script.py", LONG)
    script = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=project.environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert script.stdout is not None
    assert [script.stdout.readline() for _ in range(2)] == ["waiting\n"] * 2

    script.kill()

    output, _ = script.communicate(timeout=60)
    assert output == ""  # the end of it: they have it open too


def is_alive(pid: int) -> bool:
    return is_running(pid) and start_of(pid) != "0"


def test_the_workers_end_with_the_map(memory: Memory, log: Path) -> None:
    squaring(memory, log).map(range(4), n_jobs=2)

    assert not any(is_alive(pid) for pid in processes(log))


# --- progress ---


def test_a_bar_on_stderr_counts_hits_and_what_was_computed(
    memory: Memory, log: Path, n_jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = squaring(memory, log)
    cached(1)

    cached.map([1, 2, 3], n_jobs=n_jobs, progress=True)

    out, errors = capsys.readouterr()
    assert out == ""
    assert "3/3" in errors
    assert "hits=1, computed=2" in errors


def test_a_bar_has_no_total_where_none_is_known(
    memory: Memory, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    squaring(memory, log).map(iter([1, 2]), progress=True)

    assert "2 items" in capsys.readouterr().err


def test_a_bar_is_shown_for_what_has_no_name_of_its_own(
    memory: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = memory.cache(functools.partial(max, 2))

    assert cached.map([1, 3], progress=True) == [2, 3]

    assert "2/2" in capsys.readouterr().err


def test_nothing_is_shown_by_default(
    memory: Memory, log: Path, n_jobs: int, capfd: pytest.CaptureFixture[str]
) -> None:
    squaring(memory, log).map([1, 2], n_jobs=n_jobs)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_workers_compute_counts_as_computed(tmp_path: Path, n_jobs: int) -> None:
    cached = Memory(tmp_path).cache(operator.neg)

    first = cached.map([1, 2, 3, 1], n_jobs=n_jobs)
    second = cached.map([1, 2, 3, 1], n_jobs=n_jobs)

    assert first == second == [-1, -2, -3, -1]
    assert cached.cache_info().misses == 3
    assert cached.cache_info().hits >= 4


UNGUARDED = """
from cachekit import Memory

@Memory("store").cache
def double(number):
    return 2 * number

if __name__ == "study":
    print(double.map(range(os.getpid(), os.getpid() + 3), n_jobs=2)[0] % 2)
"""


def test_a_map_that_is_imported_by_its_workers_starts_no_more_of_them(
    tmp_path: Path,
) -> None:
    printed, errors, processes = imported(UNGUARDED, tmp_path)

    assert printed[-1] == "0", errors
    assert processes <= 3
    assert "put the map under `if __name__ == '__main__':`" in errors
