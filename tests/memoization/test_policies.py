"""Policies per function: how long results hold, which are stored, and what is told."""

from __future__ import annotations

import functools
import json
import logging
import os
import pickle
import random
import secrets
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from cachekit import CacheMiss, CacheWarning, File, Memory, expires_after
from cachekit.memoization import Record
from cachekit.stores import LocalStore
from tests.memoization.project import Project, only_value_file, value_files


def roll(sides: int = 6, **more: Any) -> str:
    """Return something else each time it is computed."""
    return f"{sides}{sorted(more)}:{secrets.token_hex(8)}"


def age(store: Path, seconds: float) -> None:
    """Have the one entry of a store begin earlier than it did."""
    path = only_value_file(store).with_name("record.json")
    facts = json.loads(path.read_bytes())
    began = Record.from_json(path.read_bytes()).began - seconds
    moment = time.gmtime(began)
    facts["started"] = time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", moment)
    path.write_text(json.dumps(facts))


# --- results that expire ---


@pytest.mark.parametrize(
    "options",
    [
        {"expires": "1h"},
        {"expires": 3600},
        {"cache_validation_callback": expires_after(hours=1)},
        {"expires": "1h", "memory_tier": 5},
        {"expires": "1h", "mmap_mode": "r"},
    ],
)
def test_an_expired_result_is_computed_again_and_replaced(
    memory: Memory, store: Path, options: dict[str, Any]
) -> None:
    cached = memory.cache(roll, **options)
    first = cached()
    assert cached() == first

    age(store, 3601)
    second = cached()

    assert second != first
    assert [cached(), memory.cache(roll)()] == [second, second]


def test_a_result_that_is_younger_is_a_hit(memory: Memory, store: Path) -> None:
    cached = memory.cache(roll, expires="1h")
    first = cached()

    age(store, 3500)

    assert cached() == first


def test_a_result_that_is_expired_at_once_is_always_computed(memory: Memory) -> None:
    cached = memory.cache(roll, expires=0, memory_tier=3)

    assert len({cached() for _ in range(3)}) == 3
    assert not cached.check_call_in_cache()
    assert cached.lookup() is None


def test_a_result_expires_for_who_says_so(memory: Memory, store: Path) -> None:
    first = memory.cache(roll)()

    age(store, 7200)

    assert memory.cache(roll)() == first
    assert memory.cache(roll, expires="1h")() != first


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"started": "0001-01-01T00:00:00"}',
        b"\xff" * 10,
    ],
)
def test_a_result_with_a_damaged_record_counts_as_expired(
    memory: Memory, store: Path, content: bytes
) -> None:
    cached = memory.cache(roll, expires="1h")
    first = cached()
    only_value_file(store).with_name("record.json").write_bytes(content)

    second = cached()

    assert second != first
    assert cached() == second


def test_a_date_that_no_clock_has_is_no_record(memory: Memory, store: Path) -> None:
    cached = memory.cache(roll, expires="1h")
    first = cached()
    path = only_value_file(store).with_name("record.json")
    facts = {**json.loads(path.read_bytes()), "started": "0001-01-01T00:00:00"}
    path.write_text(json.dumps(facts))

    assert cached() != first


def test_what_a_validation_callback_raises_reaches_the_user(memory: Memory) -> None:
    def is_valid(metadata: dict[str, Any]) -> bool:  # noqa: ARG001
        raise OSError("the user's own")

    cached = memory.cache(roll, cache_validation_callback=is_valid)
    cached()

    with pytest.raises(OSError, match="the user's own"):
        cached()
    with pytest.raises(OSError, match="the user's own"):
        cached.check_call_in_cache()


def test_a_validation_callback_is_told_of_the_call(memory: Memory) -> None:
    told: list[dict[str, Any]] = []

    def is_valid(metadata: dict[str, Any]) -> bool:
        told.append(metadata)
        return True

    cached = memory.cache(roll, cache_validation_callback=is_valid)
    before = time.time()
    cached(8)
    cached(8)

    assert told[0]["input_args"] == {"sides": "8", "more": "{}"}
    assert before - 1 < told[0]["time"] < time.time() + 1
    assert 0 <= told[0]["duration"] < 60


def test_a_function_with_an_age_can_be_pickled(memory: Memory) -> None:
    options: Any = {"cache_validation_callback": expires_after(hours=1)}
    cached = memory.cache(roll, **options)
    first = cached()

    assert pickle.loads(pickle.dumps(cached))() == first
    assert cloudpickle.loads(cloudpickle.dumps(cached))() == first


def test_processes_that_see_an_expired_result_compute_it_once(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "work.py",
        """
        import os, time
        from cachekit import Memory
        memory = Memory("store")

        @memory.cache(expires="1h")
        def compute():
            with open("computed.txt", "a") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(0.2)
            return os.getpid()

        def of_eight():
            import multiprocessing
            context = multiprocessing.get_context("spawn")
            with context.Pool(8) as pool:
                return len(set(pool.map(work_of_one, range(8), chunksize=1)))

        def work_of_one(number):
            return compute()
        """,
    )
    project.ask("work.compute()")
    age(project.store, 3601)

    project.ask("work.of_eight()")

    assert len((tmp_path / "computed.txt").read_text().split()) == 2


def test_threads_that_see_an_expired_result_compute_it_once(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(roll, expires="1h")
    first = cached()
    age(store, 3601)
    meet = threading.Barrier(8)

    def call(_: int) -> str:
        meet.wait(timeout=30)
        return cached()

    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(call, range(8)))

    assert len(results) == 1
    assert first not in results


# --- which results are stored ---


def test_cache_if_decides_by_result_and_seconds(memory: Memory) -> None:
    asked: list[tuple[Any, float]] = []

    def is_wanted(result: Any, seconds: float) -> bool:
        asked.append((result, seconds))
        return result.startswith("6")  # type: ignore[no-any-return]

    cached = memory.cache(roll, cache_if=is_wanted)

    assert cached(6) == cached(6)
    assert cached(8) != cached(8)
    assert [result[0] for result, _ in asked] == ["6", "8", "8"]
    assert all(0 <= seconds < 60 for _, seconds in asked)


def test_what_is_not_wanted_leaves_nothing(memory: Memory, store: Path) -> None:
    memory.cache(roll, cache_if=lambda *_: False)()

    assert value_files(store) == []
    assert list((store / ".staging").glob("*")) == []


def test_cache_if_that_fails_costs_the_entry_and_not_the_result(
    memory: Memory,
) -> None:
    cached = memory.cache(roll, cache_if=lambda *_: 1 / 0)

    with pytest.warns(CacheWarning, match="could not be stored: division by zero"):
        assert cached().startswith("6")


def test_cache_if_that_fails_is_raised_by_who_asks_for_errors(memory: Memory) -> None:
    cached = memory.cache(roll, cache_if=lambda *_: 1 / 0, on_error="raise")

    with pytest.raises(ZeroDivisionError):
        cached()


def test_a_result_that_cannot_be_pickled_is_a_warning_or_an_error(
    memory: Memory,
) -> None:
    def lock() -> Any:
        return threading.Lock()

    with pytest.warns(CacheWarning, match="could not be stored"):
        assert memory.cache(lock)() is not None
    with pytest.raises(TypeError, match="pickle"):
        memory.cache(lock, on_error="raise")()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_that_cannot_be_written_is_an_error_for_who_asks(
    tmp_path: Path,
) -> None:
    (tmp_path / "store").mkdir(mode=0o500)

    with pytest.raises(OSError, match="denied"):
        Memory(tmp_path / "store").cache(roll, on_error="raise")()


def test_a_store_that_is_a_file_is_an_error_for_who_asks(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    cached = Memory(tmp_path / "store").cache(roll, on_error="raise")

    with pytest.raises(OSError):  # noqa: PT011  (each system has its own text)
        cached()


def test_compression_is_chosen_for_each_function(memory: Memory, store: Path) -> None:
    def zeros() -> bytes:
        return bytes(1_000_000)

    sizes = []
    for compress in (False, True, "lz4", ("zstd", 9)):
        memory.cache(zeros, compress=compress)()
        sizes.append(only_value_file(store).stat().st_size)
        memory.clear(warn=False)

    assert sizes[0] > 1_000_000
    assert max(sizes[1:]) < 100_000


def test_conflicts_are_handled_for_each_function(memory: Memory) -> None:
    meet = threading.Barrier(2)

    def both(sides: int, meet: Any) -> str:
        meet.wait(timeout=30)  # breaks if one waits for the other
        return roll(sides)

    cached = memory.cache(both, on_conflict="compute", ignore=["meet"])

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(cached, 6, meet) for _ in range(2)]

    assert len({result.result() for result in results}) == 2


# --- what is not to be read ---

SECRET = "correct horse battery staple"


def contents(store: Path) -> bytes:
    return b"".join(
        str(path).encode() + path.read_bytes()
        for path in store.rglob("*")
        if path.is_file()
    )


def log_in(user: str, password: str) -> int:
    return len(user + password)


@pytest.mark.parametrize("value", [SECRET, {"key": [SECRET]}, (SECRET,)])
def test_a_redacted_argument_is_nowhere_in_the_store(
    memory: Memory, store: Path, value: Any
) -> None:
    def use(user: str, password: Any) -> int:
        return len(user) + len(password)

    cached = memory.cache(use, redact=["password"], verbose=0)
    results = [cached("me", value), cached("me", password=value)]
    memory.tally()

    assert results[0] == results[1]
    assert memory.tally().hits == 1
    assert SECRET.encode() not in contents(store)
    assert SECRET not in str(cached.explain("you", value))
    assert b"'me'" in contents(store)


def test_redacted_variable_arguments_are_nowhere_in_the_store(
    memory: Memory, store: Path
) -> None:
    def use(*args: str, **options: str) -> int:
        return len(args) + len(options)

    memory.cache(use, redact=["*", "**"])(SECRET, password=SECRET)
    memory.cache(use, redact=["args", "options"])(SECRET, SECRET)

    assert len(value_files(store)) == 2
    assert SECRET.encode() not in contents(store)


@pytest.mark.parametrize("name", ["pasword", "*", "**"])
def test_a_name_to_be_redacted_that_is_none_is_an_error(
    memory: Memory, name: str
) -> None:
    with pytest.raises(ValueError, match=r"redact=.*no parameter"):
        memory.cache(log_in, redact=[name])


def test_a_keyword_that_has_no_parameter_cannot_be_redacted_by_its_name(
    memory: Memory,
) -> None:
    def connect(**options: str) -> None: ...

    with pytest.raises(ValueError, match="only options"):
        memory.cache(connect, redact=["password"])


def test_redact_is_no_bare_text(memory: Memory) -> None:
    with pytest.raises(ValueError, match="list of names"):
        memory.cache(log_in, redact="password")


def test_warnings_say_nothing_of_a_redacted_value(
    store: Path,
) -> None:
    def use(user: str, password: list[str]) -> Any:
        password.append(user)
        return threading.Lock()

    cached = Memory(store).cache(use, redact=["password"])
    with pytest.warns(CacheWarning) as caught:
        cached("me", [SECRET])
    with pytest.raises(Exception, match=r"Lock|lock") as raised:
        cached("me", [SECRET, threading.Lock()])  # type: ignore[list-item]

    told = [str(warning.message) for warning in caught] + [str(raised.value)]
    assert all(SECRET not in text for text in told)


# --- arguments that the call changes ---


class Model:
    def __init__(self) -> None:
        self.rounds = 0

    @functools.cached_property
    def squares(self) -> list[int]:
        return [n * n for n in range(10)]

    def train(self) -> int:
        self.rounds += 1
        return self.rounds


def changes() -> dict[str, tuple[Any, Any]]:
    return {
        "array": (np.array([3, 1, 2]), lambda x: x.sort()),
        "list": ([1], lambda x: x.append(1)),
        "dict": ({}, lambda x: x.update(a=1)),
        "set": ({1}, lambda x: x.add(2)),
        "frame": (pd.DataFrame({"a": [1]}), lambda x: x.insert(0, "b", 1)),
        "object": (Model(), lambda x: x.train()),
        "estimator": (
            LogisticRegression(),
            lambda x: x.fit([[0.0], [1.0]], [0, 1]),
        ),
        "generator": (np.random.default_rng(0), lambda x: x.random()),
        "state": (np.random.RandomState(0), lambda x: x.rand()),
        "random": (random.Random(0), lambda x: x.random()),
        "nested": ({"a": [[1]]}, lambda x: x["a"][0].append(1)),
    }


@pytest.mark.parametrize("kind", changes())
def test_a_call_that_changes_its_argument_is_not_stored(
    memory: Memory, store: Path, kind: str
) -> None:
    argument, change = changes()[kind]

    def call(x: Any, change: Any) -> int:
        change(x)
        return 42

    cached = memory.cache(call, ignore=["change"])
    with pytest.warns(CacheWarning, match=r"call changed its argument x"):
        result = cached(argument, change)

    assert result == 42
    assert value_files(store) == []


def test_changes_are_noticed_in_variable_arguments(memory: Memory, store: Path) -> None:
    def positional(*args: list[int]) -> None:
        args[0].append(1)

    def named(**options: list[int]) -> None:
        options["x"].append(1)

    def default(x: list[int] = [1]) -> None:  # noqa: B006
        x.append(1)

    with pytest.warns(CacheWarning, match="its argument args"):
        memory.cache(positional)([1])
    with pytest.warns(CacheWarning, match="its argument options"):
        memory.cache(named)(x=[1])
    with pytest.warns(CacheWarning, match="its argument x"):
        memory.cache(default)()
    assert value_files(store) == []


def test_a_method_that_changes_its_instance_is_not_stored(memory: Memory) -> None:
    class Counting:
        def __init__(self) -> None:
            self.count = 0

        @memory.cache
        def count_up(self) -> int:
            self.count += 1
            return self.count

    counting = Counting()
    with pytest.warns(CacheWarning, match="its argument self"):
        results = [counting.count_up() for _ in range(3)]

    assert results == [1, 2, 3]


def test_a_file_that_the_call_rewrites_is_noticed(
    memory: Memory, tmp_path: Path, store: Path
) -> None:
    path = tmp_path / "data.txt"
    path.write_text("abc")

    def rewrite(file: Any) -> int:
        return Path(file).write_text("xyz")

    with pytest.warns(CacheWarning, match="its argument file"):
        memory.cache(rewrite)(File(path))
    assert value_files(store) == []


def test_an_ignored_argument_may_change(memory: Memory) -> None:
    def call(sides: int, log: list[int]) -> str:
        log.append(sides)
        return roll(sides)

    cached = memory.cache(call, ignore=["log"])

    assert cached(6, []) == cached(6, [1])


def reads() -> dict[str, tuple[Any, Any]]:
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    frame = pd.DataFrame({"a": range(5), "b": list("abcde")})
    return {
        "estimator": (model, lambda x: x.predict([[2.0]])),
        "cached property": (Model(), lambda x: len(x.squares)),
        "frame": (
            frame,
            lambda x: (x.iloc[0]["a"], x.index.get_loc(3), x.groupby("b").sum()),
        ),
        "index": (frame.set_index("b").index, lambda x: (x.get_loc("c"), x.is_unique)),
        "dates": (
            pd.date_range("2020", periods=5),
            lambda x: (x.get_loc("2020-01-02"), x.year, x.is_monotonic_increasing),
        ),
        "module": (np, lambda x: x.linspace(0, 1)),
        "path": (Path("/a/b"), lambda x: (x.parts, hash(x))),
        "array": (np.arange(10), lambda x: (x.sum(), x[::2])),
    }


@pytest.mark.parametrize("kind", reads())
def test_a_call_that_only_reads_its_argument_is_stored(
    memory: Memory, kind: str
) -> None:
    argument, read = reads()[kind]

    def call(x: Any, read: Any) -> str:
        read(x)
        return secrets.token_hex()

    cached = memory.cache(call, ignore=["read"])

    assert cached(argument, read) == cached(argument, read)


# --- answers only ---


def test_offline_holds_for_all_threads_until_its_end(memory: Memory) -> None:
    cached = memory.cache(roll)
    first = cached(6)

    with memory.offline(), ThreadPoolExecutor(1) as pool:
        with memory.offline():
            assert pool.submit(cached, 6).result() == first
        with pytest.raises(CacheMiss, match="only_hits"):
            pool.submit(cached, 8).result()
        assert not cached.check_call_in_cache(8)
        with pytest.raises(CacheMiss):
            cached.call_and_shelve(8)

    assert cached(8).startswith("8")


def test_a_cached_miss_inside_a_stored_call_is_not_asked_for(store: Path) -> None:
    inner = Memory(store).cache(roll)
    outer = Memory(store).cache(lambda: inner(6))
    first = outer()
    inner.forget(6)
    offline = Memory(store, only_hits=True)

    assert offline.cache(outer.func)() == first
    with pytest.raises(CacheMiss):
        offline.cache(roll)(6)


# --- by hand ---


def test_a_value_put_by_hand_is_what_a_call_returns(memory: Memory) -> None:
    cached = memory.cache(roll, memory_tier=2)
    cached(6)

    cached.put("mine", 6)

    assert cached(6) == "mine"
    assert memory.cache(roll)(sides=6) == "mine"


def test_a_put_that_fails_raises(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="pickle"):
        memory.cache(roll).put(threading.Lock(), 6)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):  # noqa: PT011  (each system has its own text)
        Memory(tmp_path / "file").cache(roll).put("mine", 6)


def test_a_result_can_be_forgotten(memory: Memory) -> None:
    cached = memory.cache(roll, memory_tier=2)
    first, other = cached(6), cached(8)

    cached.forget(6)
    cached.forget(6)

    assert cached.lookup(6) is None
    assert cached(6) != first
    assert cached(8) == other


def test_asking_changes_nothing_in_the_store(memory: Memory, store: Path) -> None:
    cached = memory.cache(roll)
    cached.check_call_in_cache(6)
    cached.lookup(6)
    cached.forget(6)
    cached.explain(6)
    cached.cache_info()
    assert not store.exists()

    cached(6)
    before = {path: path.stat() for path in store.rglob("*")}
    assert cached.check_call_in_cache(6)
    assert cached.lookup(6) is not None
    cached.cache_info()

    after = {path: path.stat() for path in store.rglob("*")}
    assert [(path, s.st_mtime_ns) for path, s in before.items()] == [
        (path, s.st_mtime_ns) for path, s in after.items()
    ]


def test_cache_info_counts_for_one_function(memory: Memory, store: Path) -> None:
    cached, other = memory.cache(roll), memory.cache(log_in)
    assert cached.cache_info() == (0, 0, 0, 0.0)

    for _ in range(3):
        cached(6)
    cached(8)
    other("a", "b")

    info = cached.cache_info()
    assert info[:2] == (2, 2)
    sizes = [path.stat().st_size for path in store.glob("*roll/*/??/*/*")]
    assert info.bytes == sum(sizes)
    assert 0 <= info.seconds_saved < 60


@pytest.mark.parametrize("options", [{"mmap_mode": "r"}, {"memory_tier": 2}, {}])
def test_a_first_call_is_a_miss_and_no_hit(
    memory: Memory, options: dict[str, Any]
) -> None:
    cached = memory.cache(lambda: np.zeros(10_000), **options)

    cached()
    assert cached.cache_info()[:2] == (0, 1)
    cached()
    assert cached.cache_info()[:2] == (1, 1)


def test_a_memory_without_a_location_has_the_same_methods() -> None:
    cached = Memory().cache(log_in)

    assert cached.cache_info() == (0, 0, 0, 0.0)
    assert cached.lookup("a", "b") is None
    assert "not cached" in str(cached.explain("a", "b"))
    assert Memory().cache(len).map([[1], [1, 2]]) == [1, 2]


# --- how much is said ---


def test_verbose_says_what_is_computed_and_then_what_is_loaded(
    memory: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for verbose in (0, 1, 11):
        cached = memory.cache(roll, verbose=verbose)
        cached(verbose)
        cached(verbose)
        told.append(capsys.readouterr().err)

    assert told[0] == ""
    assert "computed" in told[1]
    assert "loaded" not in told[1]
    assert "loaded" in told[2]


def test_what_is_computed_is_logged_in_any_case(
    memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="cachekit"):
        memory.cache(roll)()

    assert "computed" in caplog.text


# --- what is written wrong ---


@pytest.mark.parametrize(
    "options",
    [
        {"expires": -1},
        {"expires": "soon"},
        {"expires": float("nan")},
        {"compress": "nosuch"},
        {"on_error": "ignore"},
        {"on_conflict": "fight"},
        {"memory_tier": -1},
        {"memory_tier": 2.5},
        {"mmap_mode": "w"},
        {"cache_validation_callback": 3},
    ],
)
def test_an_option_that_is_not_understood_is_told_at_once(
    memory: Memory, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (each option has its own text)
        memory.cache(roll, **options)


def test_cache_if_that_is_no_function_is_told_at_once(memory: Memory) -> None:
    with pytest.raises(TypeError, match="cache_if=3"):
        memory.cache(roll, cache_if=3)  # type: ignore[call-overload]


def test_no_warning_is_given_where_all_is_well(store: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached = Memory(LocalStore(store)).cache(
            roll, expires="1h", memory_tier=1, cache_if=lambda *_: True
        )
        assert cached() == cached()
