"""A cache that fails costs time and a warning, never the answer."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import pytest

from cachekit import CacheWarning, Memory
from cachekit.stores import EntryKey, LocalStore, Staging
from tests.memoization.project import Project, files_in, only_value_file


def square(x: int) -> int:
    return x * x


def this_line() -> int:
    return sys._getframe(1).f_lineno


def assert_blames(caught: pytest.WarningsRecorder, line: int) -> None:
    """Check that one warning was given, and points at a line of this file."""
    (warning,) = caught
    assert (warning.filename, warning.lineno) == (__file__, line)


# --- damaged entries ---


def empty(value: Path) -> None:
    value.write_bytes(b"")


def truncate(value: Path) -> None:
    value.write_bytes(value.read_bytes()[:-1])


def halve(value: Path) -> None:
    content = value.read_bytes()
    value.write_bytes(content[: len(content) // 2])


def flip_first(value: Path) -> None:
    flip(value, 0)


def flip_middle(value: Path) -> None:
    flip(value, value.stat().st_size // 2)


def flip_last(value: Path) -> None:
    flip(value, -1)


def flip(value: Path, place: int) -> None:
    content = bytearray(value.read_bytes())
    content[place] ^= 1
    value.write_bytes(content)


def append(value: Path) -> None:
    value.write_bytes(value.read_bytes() + b"\0")


def fill_with_garbage(value: Path) -> None:
    value.write_bytes(b"\x80garbage" * 100)


def put_a_plain_pickle(value: Path) -> None:
    value.write_bytes(pickle.dumps(-1))


def put_a_folder(value: Path) -> None:
    value.unlink()
    value.mkdir()


def put_a_full_folder(value: Path) -> None:
    put_a_folder(value)
    (value / "file").write_bytes(b"")


DAMAGES = [
    *(empty, truncate, halve, flip_first, flip_middle, flip_last, append),
    *(fill_with_garbage, put_a_plain_pickle, put_a_folder, put_a_full_folder),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_value_is_a_warning_and_a_recompute(
    memory: Memory, store: Path, damage: Callable[[Path], None]
) -> None:
    cached = memory.cache(square)
    cached(3)
    damage(only_value_file(store))

    with pytest.warns(CacheWarning, match=r"square\(\) could not be read") as caught:
        result, line = cached(3), this_line()

    assert result == 9
    assert_blames(caught, line)
    assert memory.tally()[:2] == (0, 2)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_whole_after_the_recompute(
    memory: Memory, store: Path, damage: Callable[[Path], None]
) -> None:
    cached = memory.cache(square)
    cached(3)
    damage(only_value_file(store))
    with pytest.warns(CacheWarning):
        cached(3)

    again = cached(3)  # a warning would be an error here

    assert again == 9
    assert memory.tally().hits == 1
    assert only_value_file(store).with_name("record.json").is_file()
    assert files_in(store / ".staging") == []


def test_a_damaged_array_is_never_returned(memory: Memory, store: Path) -> None:
    cached = memory.cache(lambda: np.arange(100_000))
    cached()
    flip_middle(only_value_file(store))

    with pytest.warns(CacheWarning):
        result = cached()

    assert (result == np.arange(100_000)).all()


def test_a_value_in_the_place_of_another_one_is_never_returned(
    memory: Memory, store: Path
) -> None:
    squared = memory.cache(square)
    assert squared(2) == 4
    value = only_value_file(store)
    assert squared(3) == 9
    (other,) = set(store.rglob("value")) - {value}

    shutil.copy(value, other)

    with pytest.warns(CacheWarning, match="another entry"):
        assert squared(3) == 9
    assert squared(3) == 9


def test_an_entry_without_its_value_is_written_anew(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(square)
    cached(3)
    value = only_value_file(store)
    value.unlink()

    results = [cached(3), cached(3)]

    assert results == [9, 9]
    assert value.is_file()
    assert memory.tally().hits == 1


def test_an_entry_that_is_a_file_is_written_anew(memory: Memory, store: Path) -> None:
    cached = memory.cache(square)
    cached(3)
    entry = only_value_file(store).parent
    shutil.rmtree(entry)
    entry.write_bytes(b"")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        results = [cached(3), cached(3)]

    assert results == [9, 9]
    assert memory.tally().hits == 1


def test_a_result_whose_record_is_missing_is_still_a_hit(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(square)
    cached(3)
    only_value_file(store).with_name("record.json").unlink()

    assert cached(3) == 9
    assert memory.tally() == (1, 1, 0.0, memory.tally().seconds_computed)


def test_a_result_whose_class_is_gone_is_computed_anew(tmp_path: Path) -> None:
    project = Project(tmp_path)
    module = """
        import warnings
        from cachekit import Memory

        warnings.simplefilter("ignore")

        class {name}:
            pass

        @Memory("store").cache
        def make():
            return globals()["Old" if "Old" in globals() else "New"]()
        """
    project.write("shapes.py", module.format(name="Old"))
    project.ask("shapes.make()")
    project.write("shapes.py", module.format(name="New"))

    assert project.ask("type(shapes.make()).__name__") == ["New"]


def test_a_store_that_vanishes_is_made_again(memory: Memory, store: Path) -> None:
    cached = memory.cache(square)
    cached(3)
    shutil.rmtree(store)

    assert [cached(3), cached(3)] == [9, 9]
    assert memory.tally().hits == 1


def test_bookkeeping_may_be_deleted_at_any_time(memory: Memory, store: Path) -> None:
    cached = memory.cache(square)
    cached(3)
    shutil.rmtree(store / ".staging")
    shutil.rmtree(store / ".stats", ignore_errors=True)

    assert [cached(3), cached(4)] == [9, 16]


# --- stores that cannot be used ---


def test_a_root_below_a_file_is_a_warning_and_an_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cached = Memory(tmp_path / "file" / "store").cache(square)

    with pytest.warns(CacheWarning, match="could not be stored") as caught:
        result, line = cached(3), this_line()

    assert result == 9
    assert_blames(caught, line)


def test_a_root_that_is_a_file_is_a_warning_and_an_answer(store: Path) -> None:
    store.write_text("mine")

    with pytest.warns(CacheWarning, match="could not be stored"):
        result = Memory(store).cache(square)(3)

    assert result == 9
    assert store.read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (json.dumps({"store": "cachekit", "format": 999}), "has format 999"),
        ("{}", "is not one of cachekit"),
        ("[1]", "is not one of cachekit"),
        ("\xff", "is not one of cachekit"),
    ],
)
def test_a_store_of_another_format_is_left_alone(
    store: Path, content: str, told: str
) -> None:
    store.mkdir()
    (store / "store.json").write_text(content, encoding="latin-1")

    with pytest.warns(CacheWarning, match=told) as caught:
        result, line = Memory(store).cache(square)(3), this_line()

    assert result == 9
    assert_blames(caught, line)
    assert [path.name for path in store.rglob("*")] == ["store.json"]


class FullStore(LocalStore):
    """On a disk without room."""

    def stage(self, key: EntryKey) -> Staging:
        raise OSError(errno.ENOSPC, f"no space for {key.path}")


class UnreachableStore(LocalStore):
    """On a network that is down."""

    def open(self, key: EntryKey) -> BinaryIO | None:
        raise OSError(errno.EHOSTDOWN, f"no host has {key.path}")

    def contains(self, key: EntryKey) -> bool:
        raise OSError(errno.EHOSTDOWN, f"no host has {key.path}")


class StubbornStore(LocalStore):
    """Where nothing can be deleted."""

    def delete(self, key: EntryKey) -> None:
        raise PermissionError(f"may not delete {key.path}")


def test_a_full_disk_is_a_warning_and_an_answer(store: Path) -> None:
    cached = Memory(FullStore(store)).cache(square)

    with pytest.warns(CacheWarning, match="no space") as caught:
        result, line = cached(3), this_line()

    assert result == 9
    assert_blames(caught, line)


def test_an_unreachable_store_is_a_warning_and_an_answer(store: Path) -> None:
    cached = Memory(UnreachableStore(store)).cache(square)

    with pytest.warns(CacheWarning, match="no host") as caught:
        result, line = cached(3), this_line()

    assert result == 9
    assert_blames(caught, line)


def test_a_damaged_entry_that_cannot_be_removed_blames_the_callers_line(
    store: Path,
) -> None:
    cached = Memory(StubbornStore(store)).cache(square)
    cached(3)
    empty(only_value_file(store))

    with pytest.warns(CacheWarning) as caught:
        result, line = cached(3), this_line()

    assert result == 9
    assert {(w.filename, w.lineno) for w in caught} == {(__file__, line)}


def test_checking_an_unreachable_store_blames_the_callers_line(store: Path) -> None:
    cached = Memory(UnreachableStore(store)).cache(square)

    with pytest.warns(CacheWarning, match="no host") as caught:
        found, line = cached.check_call_in_cache(3), this_line()

    assert not found
    assert_blames(caught, line)
    assert "computed" not in str(caught[0].message)


def test_the_line_that_calls_a_method_is_blamed(store: Path) -> None:
    class Model:
        @Memory(FullStore(store)).cache
        def fit(self, x: int) -> int:
            return x

    with pytest.warns(CacheWarning) as caught:
        _, line = Model().fit(3), this_line()

    assert_blames(caught, line)


def test_with_warnings_as_errors_the_failure_is_raised(store: Path) -> None:
    cached = Memory(FullStore(store)).cache(square)

    with warnings.catch_warnings():
        warnings.simplefilter("error", CacheWarning)
        with pytest.raises(CacheWarning, match="no space"):
            cached(3)


def test_a_function_whose_name_is_that_of_a_file_of_the_store_is_cached(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path / "code")
    project.write(
        "store.py",
        """
        from cachekit import Memory

        memory = Memory("cache")

        @memory.cache
        def json():
            return 1
        """,
    )

    assert project.ask("store.json(), store.json()") == ["1 1"]


# --- results that cannot be stored ---


class Refuses:
    """A result whose pickling fails in its own way."""

    def __reduce__(self) -> NoReturn:
        raise ValueError("not me")


def generator() -> Any:
    return (x for x in [1, 2])


@pytest.mark.parametrize("make", [threading.Lock, Refuses, generator])
def test_a_result_that_cannot_be_pickled_is_returned_and_not_published(
    memory: Memory, store: Path, make: Callable[[], object]
) -> None:
    def call() -> object:
        return make()

    with pytest.warns(CacheWarning, match="could not be stored") as caught:
        result, line = memory.cache(call)(), this_line()

    assert type(result) is type(make())
    assert_blames(caught, line)
    assert files_in(store) == []


def test_an_iterator_that_cannot_be_stored_is_not_consumed(memory: Memory) -> None:
    with pytest.warns(CacheWarning):
        result = memory.cache(generator)()

    assert list(result) == [1, 2]


class Bomb:
    """A result that stops the process while it is pickled."""

    def __reduce__(self) -> NoReturn:
        raise KeyboardInterrupt


def test_an_interrupt_while_storing_leaves_nothing(memory: Memory, store: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        memory.cache(lambda: [np.zeros(10_000), Bomb()])()

    assert files_in(store) == []


class InterruptedStore(LocalStore):
    """Interrupted when the entry is written, but not yet published."""

    def write_code(self, key: EntryKey, content: bytes) -> None:
        raise KeyboardInterrupt(key, content)


def test_an_interrupt_before_the_commit_leaves_nothing(store: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Memory(InterruptedStore(store)).cache(square)(3)

    # That it was computed may have been noted.
    assert [name for name in files_in(store) if not name.startswith(".stats/")] == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "analysis.py",
        """
        import os, signal
        from cachekit import Memory

        memory = Memory("store")

        class Deadly:
            def __reduce__(self):
                os.kill(os.getpid(), signal.SIGKILL)

        @memory.cache
        def make(kind):
            return {"deadly": Deadly, "harmless": int}[kind]()
        """,
    )
    killed = subprocess.run(
        [sys.executable, "-c", "import analysis; analysis.make('deadly')"],
        cwd=project.folder,
        env=project.environment(),
        check=False,
    )
    left = list((project.store / ".staging").iterdir())

    answer = project.ask("analysis.make('harmless')")

    assert killed.returncode == -signal.SIGKILL
    assert len(left) == 1
    assert answer == ["0"]
    assert list((project.store / ".staging").iterdir()) == []
    only_value_file(project.store)
