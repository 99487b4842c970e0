"""Where a memory keeps results, how it stores them, and what it counts."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cachekit
from cachekit import Memory, StoreError
from cachekit.memoization import (
    MemorizedFunc,
    NotMemorizedFunc,
    default_location,
    default_memory,
)
from cachekit.stores import DictStore, LocalStore
from tests.memoization.project import Project, files_in, only_value_file, value_files


def roll(sides: int, offset: int = 0) -> str:
    return f"{sides}+{offset}:{secrets.token_hex(8)}"


# --- locations ---


def test_a_location_may_be_text_or_a_path_or_a_store(store: Path) -> None:
    memories = [Memory(str(store)), Memory(store), Memory(LocalStore(store))]

    tokens = {memory.cache(roll)(6) for memory in memories}

    assert len(tokens) == 1
    assert {memory.location for memory in memories} == {str(store)}


def test_a_tilde_is_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    memory = Memory("~/results")

    assert memory.location == str(tmp_path / "results")


def test_a_relative_location_stays_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cached = Memory("store").cache(roll)
    token = cached(6)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert cached(6) == token
    assert list(Path.cwd().iterdir()) == []


def test_nothing_is_made_before_the_first_result(store: Path) -> None:
    memory = Memory(store)
    cached = memory.cache(roll)
    cached.check_call_in_cache(6)
    cached.clear()
    memory.clear()
    memory.tally()

    assert not store.exists()


def test_without_a_location_functions_are_not_cached() -> None:
    memory = Memory()

    assert memory.location is None
    assert isinstance(memory.cache(roll), NotMemorizedFunc)


def test_a_dictionary_can_be_the_store() -> None:
    memory = Memory(DictStore())
    cached = memory.cache(roll)

    assert cached(6) == cached(6)
    assert memory.location == "memory"


def test_a_scheme_that_no_store_serves_is_an_error() -> None:
    with pytest.raises(StoreError, match=r"no store serves nosuch://"):
        Memory("nosuch://bucket/cache")


@pytest.mark.parametrize("location", [3, {}, b"bytes", object()])
def test_a_location_of_another_type_is_an_error(location: Any) -> None:
    with pytest.raises(TypeError, match=r"^location=.* is no folder or URL: a text,"):
        Memory(location)


def test_an_empty_text_is_no_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    for location in ("", ["", "far"], ["near", ""]):
        with pytest.raises(ValueError, match=r"an empty text: Memory\('\.'\) is this"):
            Memory(location)

    assert list(tmp_path.iterdir()) == []


def test_no_location_has_a_nul_character() -> None:
    with pytest.raises(ValueError, match=r"location='a\\x00b' has a NUL"):
        Memory("a\0b")


@pytest.mark.parametrize("location", [[], ["near"], ["near", "middle", "far"]])
def test_more_or_fewer_than_two_locations_are_an_error(location: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^location=\[.* location.* has two$"):
        Memory(location)


def test_a_store_is_hidden_from_git_in_a_folder_of_its_own(store: Path) -> None:
    Memory(store).cache(roll)(6)

    assert "*" in (store / ".gitignore").read_text().splitlines()


def test_a_store_among_other_files_does_not_hide_them_from_git(store: Path) -> None:
    store.mkdir()
    (store / "analysis.py").write_text("")

    Memory(store).cache(roll)(6)

    assert not (store / ".gitignore").exists()


def test_the_users_own_gitignore_is_kept(store: Path) -> None:
    store.mkdir()
    (store / ".gitignore").write_text("*.pyc\n")

    Memory(store).cache(roll)(6)

    assert (store / ".gitignore").read_text() == "*.pyc\n"


def test_the_repr_shows_the_location(store: Path) -> None:
    assert repr(Memory(store)) == f"Memory(location={str(store)!r})"
    assert repr(Memory(None)) == "Memory(location=None)"


# --- compression ---


@pytest.mark.parametrize("compress", [True, 1, 3, "zstd", ("zstd", 5), ("zstd", 22)])
def test_compressed_results_are_smaller_and_the_same(
    store: Path, compress: Any
) -> None:
    memory = Memory(store, compress=compress)
    cached = memory.cache(lambda: (np.zeros(50_000), "text" * 1000))
    cached()

    array, text = cached()

    assert memory.tally().hits == 1
    assert (array == 0).all()
    assert text == "text" * 1000
    assert only_value_file(store).stat().st_size < 20_000


@pytest.mark.parametrize("compress", [False, 0, "none"])
def test_results_are_stored_raw_when_asked(store: Path, compress: Any) -> None:
    cached = Memory(store, compress=compress).cache(lambda: np.zeros(50_000))
    cached()

    assert cached().shape == (50_000,)
    assert only_value_file(store).stat().st_size > 400_000


@pytest.mark.parametrize(
    "compress",
    [-1, 23, "nosuch", ("nosuch", 3), ("zstd", 99), ("zstd",), ("zstd", "5"), (), 3.5],
)
def test_a_compression_that_is_not_understood_is_a_value_error(compress: Any) -> None:
    with pytest.raises(ValueError, match=r"[cC]ompress|levels"):
        Memory(None, compress=compress)


def test_results_are_read_whatever_they_were_compressed_with(store: Path) -> None:
    token = Memory(store, compress=True).cache(roll)(6)

    assert Memory(store, compress=False).cache(roll)(6) == token


# --- the decorator ---


def test_the_decorator_is_used_bare_or_with_arguments(store: Path) -> None:
    memory = Memory(store)

    @memory.cache
    def bare(x: int) -> str:
        return f"{x} {secrets.token_hex()}"

    @memory.cache()
    def called(x: int) -> str:
        return f"{x} {secrets.token_hex()}"

    @memory.cache(ignore=["loud"])
    def with_arguments(x: int, loud: bool = False) -> str:
        return f"{x} {loud} {secrets.token_hex()}"

    assert bare(1) == bare(1)
    assert called(1) == called(1)
    assert with_arguments(1) == with_arguments(1, loud=True)


@pytest.mark.parametrize("thing", [3, "f", [], property(roll)])
def test_only_what_can_be_called_is_cached(store: Path, thing: Any) -> None:
    with pytest.raises(TypeError, match="a function is cached, not"):
        Memory(store).cache(thing)


def test_a_wrong_name_to_ignore_is_told_when_decorating(store: Path) -> None:
    with pytest.raises(ValueError, match="no parameter 'side'"):
        Memory(store).cache(roll, ignore=["side"])


# --- the default place ---


@pytest.fixture
def no_default(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("CACHEKIT_DIR", raising=False)
    return monkeypatch


def test_the_default_place_is_what_the_environment_names(
    tmp_path: Path, no_default: pytest.MonkeyPatch
) -> None:
    no_default.setenv("CACHEKIT_DIR", str(tmp_path / "place"))
    cached = cachekit.cache(roll)

    assert isinstance(cached, MemorizedFunc)
    assert cached(6) == cached(6)
    assert len(value_files(tmp_path / "place")) == 1


def test_the_default_decorator_takes_arguments(
    tmp_path: Path, no_default: pytest.MonkeyPatch
) -> None:
    no_default.setenv("CACHEKIT_DIR", str(tmp_path))

    @cachekit.cache(ignore=["offset"])
    def draw(sides: int, offset: int = 0) -> str:
        return roll(sides, offset)

    assert draw(6, offset=1) == draw(6, offset=2)


def test_one_default_memory_serves_each_place(
    tmp_path: Path, no_default: pytest.MonkeyPatch
) -> None:
    no_default.setenv("CACHEKIT_DIR", str(tmp_path / "a"))
    first, again = default_memory(), default_memory()
    no_default.setenv("CACHEKIT_DIR", str(tmp_path / "b"))

    assert first is again
    assert default_memory() is not first


def test_a_tilde_in_the_environment_is_the_home_directory(
    tmp_path: Path, no_default: pytest.MonkeyPatch
) -> None:
    no_default.setenv("HOME", str(tmp_path))
    no_default.setenv("USERPROFILE", str(tmp_path))
    no_default.setenv("CACHEKIT_DIR", "~/place")

    assert default_location() == str(tmp_path / "place")


def test_a_scheme_in_the_environment_that_no_store_serves_is_an_error(
    tmp_path: Path, no_default: pytest.MonkeyPatch
) -> None:
    no_default.chdir(tmp_path)
    no_default.setenv("CACHEKIT_DIR", "nosuch://bucket/cache")

    with pytest.raises(StoreError, match=r"nosuch://") as caught:
        cachekit.cache(roll)

    assert "CACHEKIT_DIR" in caught.value.__notes__[0]


@pytest.mark.skipif(sys.platform != "linux", reason="each system has its own place")
@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"XDG_CACHE_HOME": "{}/caches"}, "caches/cachekit"),
        ({"HOME": "{}", "XDG_CACHE_HOME": ""}, ".cache/cachekit"),
    ],
)
def test_without_the_environment_the_systems_cache_folder_is_used(
    tmp_path: Path, environment: dict[str, str], place: str
) -> None:
    project = Project(tmp_path)
    project.write(
        "analysis.py",
        """
        import cachekit

        @cachekit.cache
        def square(x):
            return x * x
        """,
    )
    chosen = {name: value.format(tmp_path) for name, value in environment.items()}

    project.ask("analysis.square(3)", CACHEKIT_DIR="", **chosen)

    assert len(value_files(tmp_path / place)) == 1


# --- clear and count ---


def test_clear_forgets_every_function(store: Path) -> None:
    memory = Memory(store)
    cached, other = memory.cache(roll), memory.cache(lambda: secrets.token_hex())
    before = cached(6), other()

    memory.clear(warn=False)

    assert value_files(store) == []
    assert before[0] != cached(6)
    assert before[1] != other()


def test_clear_leaves_what_is_not_of_the_store(store: Path) -> None:
    memory = Memory(store)
    memory.cache(roll)(6)
    (store / "notes").mkdir()
    (store / "notes" / "today.txt").write_text("mine")

    memory.clear(warn=False)

    assert (store / "notes" / "today.txt").read_text() == "mine"


def test_clear_says_so_in_the_log_if_asked(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory(store)

    with caplog.at_level(logging.INFO, "cachekit"):
        memory.clear(warn=False)
        quiet = list(caplog.messages)
        memory.clear()

    assert quiet == []
    assert str(store) in caplog.text


def test_the_tally_counts_hits_misses_and_what_they_saved() -> None:
    memory = Memory(DictStore())
    cached = memory.cache(sum_slowly)

    for _ in range(4):
        cached(50_000)

    tally = memory.tally()
    assert (tally.hits, tally.misses) == (3, 1)
    assert tally.seconds_computed > 0
    assert tally.seconds_saved == pytest.approx(3 * tally.seconds_computed, rel=0.01)


def sum_slowly(n: int) -> int:
    return sum(x * x for x in range(n))


def test_a_failing_call_is_no_miss_of_the_tally() -> None:
    memory = Memory(DictStore())

    with pytest.raises(ZeroDivisionError):
        memory.cache(lambda: 1 / 0)()

    assert memory.tally()[:2] == (0, 0)


def test_the_tally_outlives_the_entries(store: Path) -> None:
    memory = Memory(store)
    cached = memory.cache(roll)
    cached(6)
    cached(6)
    shutil.rmtree(store)

    assert memory.tally()[:3] == (1, 1, 0.0)


COUNTED = """
    from cachekit import Memory

    memory = Memory("store")

    @memory.cache
    def square(x):
        return x * x

    for _ in range(3):
        square(4)
    """


def hits_of(store: Path) -> int:
    return sum(LocalStore(store).hits().values())


def test_hits_reach_the_store_when_the_process_ends(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("script.py", COUNTED)

    counts = []
    for _ in range(2):
        project.run("script.py")
        counts.append(hits_of(project.store))

    assert counts == [2, 5]


def test_hits_reach_the_store_when_the_memory_is_no_longer_used(store: Path) -> None:
    memory = Memory(store)
    cached = memory.cache(roll)
    cached(6)
    cached(6)

    del memory, cached
    gc.collect()

    assert hits_of(store) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_does_not_count_the_hits_of_its_parent(tmp_path: Path) -> None:
    project = Project(tmp_path)
    fork = """
    import os, sys

    child = os.fork()
    if not child:
        sys.exit()
    os.waitpid(child, 0)
    """
    project.write("script.py", COUNTED + fork)

    project.run("script.py")

    assert hits_of(project.store) == 2


def test_hits_of_a_store_that_is_gone_do_not_bring_it_back(store: Path) -> None:
    memory = Memory(store)
    cached = memory.cache(roll)
    cached(6)
    cached(6)
    shutil.rmtree(store)

    del memory, cached
    gc.collect()

    assert not store.exists()


def test_a_process_without_hits_leaves_no_statistics(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("analysis.py", COUNTED.replace("range(3)", "range(1)"))

    project.ask("analysis.square(4)", PYTHONHASHSEED="1")
    names = files_in(project.store)

    assert hits_of(project.store) == 1
    assert sum(name.startswith(".stats/") for name in names) == 1
