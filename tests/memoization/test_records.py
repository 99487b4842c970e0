"""Records: what a result is made of, which calls it made, and of which commit."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cachekit
from cachekit import Memory
from cachekit.memoization import Record
from cachekit.memoization.repositories import commit_of
from tests.memoization.project import Project, only_value_file


def record_of(cached: Any, *args: Any) -> Record:
    reference = cached.lookup(*args)
    assert reference is not None
    assert reference.record is not None
    return reference.record  # type: ignore[no-any-return]


def add(a: Any, b: Any) -> Any:
    return a + b


# --- values, parents, children ---


def test_a_record_has_the_digests_of_the_value_and_its_items(memory: Memory) -> None:
    array = np.arange(10.0)
    pair = memory.cache(lambda: (array, "name"))
    table = memory.cache(lambda: {"a": array, "b": [1], "c": True, 3: "no name"})
    alone = memory.cache(lambda: array)
    for cached in (pair, table, alone):
        cached()

    found = record_of(pair)
    assert found.value == cachekit.digest((array, "name"))
    assert found.items == {"0": cachekit.digest(array)}
    assert found.arrays == ["0"]
    found = record_of(table)
    assert found.items == {"a": cachekit.digest(array), "b": cachekit.digest([1])}
    assert found.arrays == ["a"]
    found = record_of(alone)
    assert (found.value, found.items, found.arrays) == (
        cachekit.digest(array),
        {},
        [""],
    )


class Nameless:
    """Can be stored, and has no digest."""

    def __cachekit_hash__(self) -> Any:
        raise RuntimeError("no digest")


def test_a_value_without_a_digest_is_stored_all_the_same(memory: Memory) -> None:
    cached = memory.cache(lambda: (Nameless(), 1.5))
    cached()

    found = record_of(cached)

    assert found.value is None
    assert found.items == {"1": cachekit.digest(1.5)}


def test_a_long_tuple_has_no_digest_for_each_item(memory: Memory) -> None:
    cached = memory.cache(lambda: tuple(map(float, range(10_000))))
    cached()

    assert record_of(cached).items == {}


def test_the_parents_of_a_result_are_found_by_their_digests(memory: Memory) -> None:
    begin, step = memory.cache(lambda: np.arange(9.0)), memory.cache(add)
    array = begin()
    step(array, 3)

    found = record_of(step, array, 3)

    assert found.parents == [record_of(begin).value]


def test_the_inner_calls_of_a_call_are_its_children(memory: Memory) -> None:
    inner = memory.cache(add)
    inner(1, 1)

    def fails() -> None:
        inner(3, 3)
        raise RuntimeError("inner")

    failing = memory.cache(fails)

    def call() -> int:
        total = inner(1, 1) + inner(2, 2) + inner(1, 1)  # a hit, a miss, and again
        try:
            failing()
        except RuntimeError:
            total += 1
        inner.check_call_in_cache(9, 9)
        inner.lookup(9, 9)
        inner.forget(9, 9)
        return total  # type: ignore[no-any-return]

    outer = memory.cache(call)
    outer()

    children = record_of(outer).children
    paths = [inner.lookup(n, n).key.path for n in (1, 2)]  # type: ignore[union-attr]
    assert children[:2] == paths
    assert len(children) == 3
    assert "fails" in children[2]


def test_calls_after_one_that_failed_are_children_of_who_makes_them(
    memory: Memory,
) -> None:
    def fails() -> None:
        raise RuntimeError("inner")

    failing, inner = memory.cache(fails), memory.cache(add)
    with pytest.raises(RuntimeError):
        failing()
    inner(1, 2)

    outer = memory.cache(lambda: inner(1, 2))
    outer()

    assert [path.split("/")[-4] for path in record_of(outer).children] == [
        inner.lookup(1, 2).key.path.split("/")[0]  # type: ignore[union-attr]
    ]


def test_each_thread_has_the_calls_of_its_own(memory: Memory) -> None:
    meet = threading.Barrier(2)
    inner = memory.cache(add)

    def call(n: int, meet: Any) -> int:
        meet.wait(timeout=30)
        result = inner(n, n)
        meet.wait(timeout=30)
        return result  # type: ignore[no-any-return]

    outer = memory.cache(call, ignore=["meet"])
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(functools.partial(outer, meet=meet), (1, 2)))

    for n in (1, 2):
        expected = inner.lookup(n, n).key.path  # type: ignore[union-attr]
        assert record_of(outer, n, None).children == [expected]


def test_a_loop_of_many_calls_has_a_record_of_bounded_size(memory: Memory) -> None:
    inner = memory.cache(add)
    outer = memory.cache(lambda: sum(inner(n, 1) for n in range(1100)))
    outer()

    assert len(record_of(outer).children) == 1000


# --- what is read ---


def facts_of(memory: Memory, store: Path) -> dict[str, Any]:
    memory.cache(lambda: np.zeros(3))()
    content = only_value_file(store).with_name("record.json").read_bytes()
    return json.loads(content)  # type: ignore[no-any-return]


def test_a_record_of_the_first_days_is_read(memory: Memory, store: Path) -> None:
    facts = facts_of(memory, store)
    added = ("value", "items", "arrays", "parents", "children", "files", "git")
    for name in added:
        facts.pop(name, None)

    record = Record.from_json(json.dumps(facts).encode())

    assert (record.value, record.items, record.arrays) == (None, {}, [])
    assert (record.parents, record.children) == ([], [])
    assert (record.files, record.git) == ({}, None)


def test_what_is_written_is_what_is_read(memory: Memory, store: Path) -> None:
    record = Record.from_json(json.dumps(facts_of(memory, store)).encode())
    full = dataclasses.replace(
        record,
        items={"a": "1" * 32},
        parents=["2" * 32],
        children=["f/g/h"],
        files={"plot.png": 3},
        git={"commit": "3" * 40, "is_dirty": True},
    )

    for one in (record, full):
        assert Record.from_json(one.to_json()) == one
        assert json.loads(one.to_json()) == dataclasses.asdict(one)


@pytest.mark.parametrize(
    "change",
    [
        {"items": {"a": 3}},
        {"items": ["a"]},
        {"arrays": [3]},
        {"parents": "x"},
        {"parents": [None]},
        {"children": {}},
        {"files": {"a": "large"}},
        {"git": "main"},
        {"value": 3},
        {"started": "yesterday"},
        {"arguments": {"x": 3}},
        {"seconds_computing": 10**400},
        {"seconds_computing": None},
    ],
)
def test_a_hostile_record_is_none(
    memory: Memory, store: Path, change: dict[str, Any]
) -> None:
    content = json.dumps({**facts_of(memory, store), **change}).encode()

    with pytest.raises(ValueError, match=r"not the record of a call|integer string"):
        Record.from_json(content)


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"a":' * 200_000, b"1" * 9999])
def test_a_record_that_is_too_deep_or_too_large_is_none(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (JSON has its own texts)
        Record.from_json(content)


def test_a_hostile_record_costs_no_answer(memory: Memory, store: Path) -> None:
    cached = memory.cache(add, expires="1h", mmap_mode="r", memory_tier=2)
    cached(1, 2)
    only_value_file(store).with_name("record.json").write_bytes(b"[" * 200_000)

    assert cached(1, 2) == 3
    reference = cached.call_and_shelve(1, 2)
    assert memory.cache(lambda r: r.get())(reference) == 3
    assert cached.cache_info().misses == 2


# --- git ---

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git")

_AS_NOBODY = {
    "GIT_AUTHOR_NAME": "nobody",
    "GIT_AUTHOR_EMAIL": "nobody@example.org",
    "GIT_COMMITTER_NAME": "nobody",
    "GIT_COMMITTER_EMAIL": "nobody@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    environment = {**os.environ, **_AS_NOBODY}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "code.py").write_text("x = 1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "First")
    return folder


@needs_git
def test_a_record_names_the_commit_of_the_source(repository: Path) -> None:
    project = Project(repository)
    project.write(
        "work.py",
        """
        import time
        from cachekit import Memory
        memory = Memory("../store")

        @memory.cache
        def compute(n):
            time.sleep(0.5)
            return n

        def commit(n):
            compute(n)
            for _ in range(3):  # git is asked in the background
                git = compute.lookup(n).record.git
                if git is not None:
                    return git
                compute.call(n)
        """,
    )
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "Second")
    head = git(repository, "rev-parse", "HEAD")

    clean = project.ask("work.commit(1)")
    with (repository / "package" / "code.py").open("a") as file:
        file.write("y = 2\n")
    dirty = project.ask("work.commit(2)")

    assert clean == [str({"commit": head, "is_dirty": False})]
    assert dirty == [str({"commit": head, "is_dirty": True})]


@needs_git
def test_a_file_that_git_does_not_know_leaves_it_clean(repository: Path) -> None:
    (repository / "notes.txt").write_text("not added")

    found = commit_of(str(repository / "package" / "code.py"), patience=30)

    assert found is not None
    assert not found["is_dirty"]


@needs_git
def test_git_is_asked_without_a_change_to_the_filters_of_warnings(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They are those of the whole process: another thread may be changing them too.
    changes: list[str] = []
    monkeypatch.setattr(
        "warnings._filters_mutated",
        lambda: changes.append(threading.current_thread().name),
    )

    assert commit_of(str(repository / "package" / "code.py"), patience=30) is not None

    assert changes == []


@needs_git
def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("")

    assert commit_of(str(tmp_path / "code.py"), patience=30) is None


@needs_git
def test_a_program_that_a_repository_names_is_not_run(
    repository: Path, tmp_path: Path
) -> None:
    program = tmp_path / "watch.sh"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    program.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(program))

    found = commit_of(str(repository / "package" / "code.py"), patience=30)

    assert found is not None
    assert not (tmp_path / "was-run").exists()


def test_a_source_outside_of_a_repository_has_no_commit(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("")

    assert commit_of(str(tmp_path / "code.py"), patience=30) is None


@pytest.mark.parametrize("source", ["<stdin>", "", "no/such/file.py", "\0"])
def test_a_source_that_is_no_file_is_no_error(source: str) -> None:
    commit_of(source, patience=0)


def fake_git(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put another git before the real one; return a source in a repository."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "work" / ".git").mkdir(parents=True)
    source = tmp_path / "work" / "code.py"
    source.write_text("")
    return source


@pytest.mark.skipif(os.name == "nt", reason="a script of a shell")
@pytest.mark.parametrize(
    "script", ["exit 1", "echo lost >&2; exit 128", "printf '\\377\\376'", "kill -9 $$"]
)
def test_a_git_that_fails_is_no_error(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = fake_git(tmp_path, script, monkeypatch)

    assert commit_of(str(source), patience=30) is None


def test_without_git_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "code.py").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))

    assert commit_of(str(tmp_path / "code.py"), patience=30) is None


@pytest.mark.skipif(os.name == "nt", reason="a script of a shell")
def test_no_call_waits_longer_for_git_than_a_tenth_of_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = fake_git(tmp_path, f"read line < {pipe}; exit 1", monkeypatch)
    try:
        durations = []
        for patience in (0.0, 0.0, 0.2):
            clock = time.perf_counter()
            assert commit_of(str(source), patience=patience) is None
            durations.append(time.perf_counter() - clock)
    finally:
        # Opened for both, so that it is not waited for who is not there.
        handle = os.open(pipe, os.O_RDWR)
        os.write(handle, b"done\n" * 2)

    assert max(durations[:2]) < durations[2]
    assert commit_of(str(source), patience=30) is None
    os.close(handle)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_asks_git_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = fake_git(
        tmp_path,
        f"[ -e {tmp_path}/second ] && {{ echo abc; exit; }}\n"
        f"read line < {pipe}; exit 1",
        monkeypatch,
    )
    commit_of(str(source), patience=0)  # goes on in a thread

    child = os.fork()
    if child == 0:
        try:
            (tmp_path / "second").touch()
            os._exit(0 if commit_of(str(source), patience=30) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    handle = os.open(pipe, os.O_RDWR)
    os.write(handle, b"done\n")

    assert os.waitstatus_to_exitcode(status) == 0
    commit_of(str(source), patience=30)
    os.close(handle)
