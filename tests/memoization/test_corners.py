"""What cached functions meet rarely: one test for each path that others pass by."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import secrets
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import cachekit
from cachekit import Memory
from cachekit.errors import CacheMiss, CacheWarning, ContainerError, CorruptedFile
from cachekit.memoization import MemorizedFunc, artifacts, comparing, file_reading
from cachekit.memoization.answers import named
from cachekit.memoization.making import statements_that_make
from cachekit.memoization.tier import MemoryTier
from cachekit.memoization.upkeep import _seconds_of
from cachekit.stores import DictStore
from tests.stores.entries import commit, key_of


def double(x: int) -> int:
    return 2 * x


async def double_later(x: int) -> int:
    return 2 * x


class Thing:
    def method(self, x: int) -> int:
        return x


# --- made otherwise than by a memory ---


def roll(sides: int, ignored: int) -> str:  # noqa: ARG001
    return f"{sides}:{secrets.token_hex(8)}"


def test_a_function_can_be_cached_by_hand_as_with_joblib(store: Path) -> None:
    cached = MemorizedFunc(roll, str(store), ignore=["ignored"], verbose=0)

    assert cached(6, 1) == cached(6, 2) != cached(7, 1)
    assert MemorizedFunc(roll, str(store), ignore=["ignored"])(6, 3) == cached(6, 1)


def test_an_option_that_there_is_not_is_an_error(memory: Memory) -> None:
    with pytest.raises(TypeError, match="no option speed, wisdom"):
        memory.cache(double, wisdom=1, speed=2)  # type: ignore[call-overload]


def test_an_option_that_was_likely_meant_is_named(memory: Memory) -> None:
    with pytest.raises(TypeError, match=r"no option ignor: did you mean ignore\?$"):
        memory.cache(double, ignor=["x"])  # type: ignore[call-overload]


def test_how_loud_a_cache_is_is_a_number(store: Path) -> None:
    with pytest.raises(TypeError, match=r"^verbose='yes' is no number$"):
        Memory(store, verbose="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^verbose='yes' is no number$"):
        Memory(store).cache(double, verbose="yes")  # type: ignore[call-overload]


def test_a_number_of_workers_that_is_none_is_named(memory: Memory) -> None:
    with pytest.raises(TypeError, match=r"^n_jobs='x' is no whole number$"):
        memory.cache(double).map([1], n_jobs="x")  # type: ignore[arg-type]


def test_a_memory_without_a_place_has_no_statistics() -> None:
    memory = Memory(None)

    assert list(memory.stats()) == []
    assert memory.graph().nodes == ()


def test_a_block_offline_ends_with_the_block(memory: Memory) -> None:
    cached = memory.cache(double)
    with cachekit.memoization.memory.all_offline(), pytest.raises(CacheMiss):
        cached(3)

    assert cached(3) == 6


# --- what a loop asks first ---


def test_a_plan_names_a_call_and_finds_its_result(memory: Memory) -> None:
    cached: Any = memory.cache(double)
    key, result = cached.__cachekit_plan__((3,), {})
    assert result is None

    cached(3)
    same_key, result = cached.__cachekit_plan__((), {"x": 3})

    assert same_key == key
    assert result is not None
    assert result.get() == 6


class BrokenStore(DictStore):
    """A store that answers nothing any more, once it is told to."""

    is_broken = False

    def contains(self, key: Any) -> bool:
        self.fail()
        return super().contains(key)

    def open(self, key: Any) -> Any:
        self.fail()
        return super().open(key)

    def fail(self) -> None:
        if self.is_broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_store_that_fails_has_no_results_and_says_so() -> None:
    store = BrokenStore()
    memory = Memory(store)
    cached: Any = memory.cache(double)
    cached(3)
    store.is_broken = True

    with pytest.warns(CacheWarning, match="could not be looked up"):
        assert cached.__cachekit_plan__((3,), {})[1] is None
    with pytest.warns(CacheWarning):
        assert not cached.check_call_in_cache(3)
    with pytest.warns(CacheWarning):
        assert cached(3) == 6


# --- as values ---


def test_bound_methods_are_equal_where_methods_would_be(memory: Memory) -> None:
    class Mine(Thing):
        cached = memory.cache(Thing.method)

    one, other = Mine(), Mine()

    assert one.cached == one.cached != other.cached
    assert hash(one.cached) == hash(one.cached)
    assert one.cached != Thing.method
    assert "bound" in repr(one.cached)


def test_a_tier_begins_empty_in_another_process() -> None:
    tier = MemoryTier(2, "place")
    tier.put(key_of(1), 3)

    again = pickle.loads(pickle.dumps(tier))

    assert (again._size, again._place) == (2, "place")
    assert not again._kept


def test_what_cannot_be_copied_is_kept_on_the_disk_alone(memory: Memory) -> None:
    cached = memory.cache(make_stubborn, memory_tier=2)

    first, second = cached(3), cached(3)

    assert first is not second
    assert second.x == 3


def make_stubborn(x: int) -> Stubborn:
    return Stubborn(x)


class Stubborn:
    """What pickles, and cannot be copied."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise RuntimeError("no")


def twins() -> tuple[Any, Any]:
    array = np.zeros(3)
    return array, array


def test_one_array_in_two_places_is_one_in_each_hit(memory: Memory) -> None:
    cached = memory.cache(twins, memory_tier=2)
    cached()

    for _ in range(2):
        first, second = cached()
        first[0] = 1

        assert second[0] == 1


def test_a_coroutine_without_a_cache_can_be_called_and_shelved() -> None:
    cached = Memory(None).cache(double_later)

    async def calls() -> tuple[Any, Any]:
        return await cached.call(3), await cached.call_and_shelve(3)

    called, shelved = asyncio.run(calls())

    assert called == (6, {})
    assert shelved.get() == 6
    assert repr(shelved) == "NotMemorizedResult(6)"
    shelved.clear()
    assert repr(shelved) == "NotMemorizedResult()"


def test_an_item_whose_text_fails_is_named_all_the_same() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise ValueError("no")

    assert named(3, Silent()).startswith("item 3: <")


# --- files ---


def test_a_folder_or_a_pipe_is_no_file_to_be_read(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        file_reading.look_at(str(tmp_path))

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        file_reading.look_at(str(tmp_path / "pipe"))


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd"])
def test_a_path_that_leads_out_of_its_entry_is_refused(
    tmp_path: Path, name: str
) -> None:
    store = cachekit.stores.LocalStore(tmp_path / "store")
    commit(store, key_of())

    with artifacts.reading_from(store, key_of()), pytest.raises(CorruptedFile):
        artifacts._found("made", False, "version", ((name, 1, None),))


def test_a_path_of_an_entry_is_found_by_a_call_alone() -> None:
    with pytest.raises(ContainerError, match="calling the function"):
        artifacts._found("made", False, "version", ())


# --- records, and what code was ---


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[" * 100_000,
        b'{"seconds_computing": "long"}',
        b'{"seconds_computing": 1%s}' % (b"0" * 400),
        b"[]",
        b"{}",
    ],
)
def test_a_record_that_makes_no_sense_tells_no_seconds(record: bytes) -> None:
    store = DictStore()
    with store.stage(key_of()) as staging:
        staging.write("value", b"value")
        staging.write("record.json", record)
        staging.commit()

    assert _seconds_of(store, key_of()) is None


def test_code_that_does_not_parse_has_no_syntax() -> None:
    assert comparing._syntax("def f(:", decorated=True) is None
    assert comparing._syntax("x = lambda: 1", decorated=False) is None
    assert comparing._syntax("@a\ndef f(): 1", decorated=False) == comparing._syntax(
        "@b\ndef f(): 1", decorated=False
    )
    assert comparing._syntax("@a\ndef f(): 1", decorated=True) != comparing._syntax(
        "@b\ndef f(): 1", decorated=True
    )


# --- the statements that make a value ---

MODULES = {
    "lab": "SCALE = 2\n",
    "lab.numbers": """
        from __future__ import annotations
        import math
        LIMIT: int = 3
        LIMIT += 1
        if LIMIT:
            FLAG = True
        class Base: pass
        class Kind(Base):
            size = 4
            def grow(self): return self.size
        def outer(step):
            def inner(x): return x + step
            return inner
        made = outer(5)
        """,
    "lab.study": """
        from lab.numbers import LIMIT as MOST, Kind
        from . import numbers
        from .numbers import FLAG
        from math import pi
        import lab.numbers
        def fit(): return MOST
        """,
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Import a package of the user's."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in MODULES.items():
        path = tmp_path / name.replace(".", "/")
        path = path / "__init__.py" if name == "lab" else path.with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in MODULES:
        __import__(name)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("lab.numbers.fit", "LIMIT", ["numbers.py:5: LIMIT += 1"]),
        ("lab.study.fit", "MOST", ["numbers.py:5: LIMIT += 1"]),
        ("lab.study.fit", "numbers.LIMIT", ["numbers.py:5: LIMIT += 1"]),
        ("lab.study.fit", "lab.numbers.FLAG", ["numbers.py:7: FLAG = True"]),
        ("lab.study.fit", "import lab.numbers.FLAG", ["numbers.py:7: FLAG = True"]),
        ("lab.study.fit", "FLAG", ["numbers.py:7: FLAG = True"]),
        ("lab.study.fit", "lab.SCALE", ["__init__.py:1: SCALE = 2"]),
        ("lab.study.fit", "pi", []),  # made in C
        ("lab.study.fit", "Kind", ["numbers.py:9: class Kind(Base):"]),
        ("lab.study.fit (2)", "FLAG", ["numbers.py:7: FLAG = True"]),
        ("lab.numbers.Kind", "size", ["numbers.py:10: size = 4"]),
        ("lab.numbers.Kind", "grow", []),  # a function, of which lines are shown
        ("lab.numbers.Kind", "gone", []),
        ("lab.numbers.Kind", "base 0", ["numbers.py:9: class Kind(Base):"]),
        (
            "lab.numbers.outer.<locals>.inner",
            "step",
            ["numbers.py:15: made = outer(5)"],
        ),
        ("lab.study.fit", "gone", []),
        ("lab.study.fit", "lab.numbers.gone", []),
        ("nowhere.fit", "SCALE", []),
    ],
)
@pytest.mark.usefixtures("lab")
def test_the_statement_that_makes_a_value_is_found(
    unit: str, value: str, expected: list[str]
) -> None:
    assert statements_that_make(unit, value) == expected


@pytest.mark.usefixtures("lab")
def test_in_a_file_that_does_not_parse_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "lab" / "numbers.py").write_text("def f(:\n")

    assert statements_that_make("lab.numbers.fit", "LIMIT") == []
