"""Cached functions and memories cross processes."""

from __future__ import annotations

import copy
import os
import pickle
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachekit import Memory, digest
from cachekit.stores import LocalStore
from tests.memoization.project import Project, value_files


def roll(sides: int, offset: int = 0) -> str:
    return f"{sides}+{offset}:{secrets.token_hex(8)}"


@Memory(None).cache
def passed(x: int) -> int:
    return x


def test_a_function_cached_under_another_name_is_pickled_with_it(
    memory: Memory,
) -> None:
    cached = memory.cache(roll, ignore=["offset"])

    copied = pickle.loads(pickle.dumps(cached))

    assert copied(6, offset=1) == cached(6, offset=2)
    assert copied.func is roll


def test_a_function_cached_by_a_decorator_is_pickled_by_name(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "analysis.py",
        """
        import pickle
        from cachekit import Memory

        memory = Memory("store")

        @memory.cache
        def square(x):
            return x * x

        class Model:
            @memory.cache
            def fit(self, x):
                return x
        """,
    )

    answer = project.ask(
        "[analysis.pickle.loads(analysis.pickle.dumps(f)) is f"
        " for f in (analysis.square, analysis.Model.fit)]"
    )

    assert answer == ["[True, True]"]


def test_a_function_that_is_not_cached_is_pickled_too() -> None:
    copied = pickle.loads(pickle.dumps(passed))

    assert copied(3) == 3


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_cached_function_shares_its_results(
    memory: Memory, copied: Callable[[Any], Any]
) -> None:
    cached = memory.cache(roll)

    assert copied(cached)(6) == cached(6)


def test_spawned_workers_share_the_entries_of_the_script(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "script.py",
        """
        import multiprocessing
        from cachekit import Memory

        memory = Memory("store")

        @memory.cache
        def square(x):
            print("computing", flush=True)
            return x * x

        if __name__ == "__main__":
            print(square(3), flush=True)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(square, [3]))
                pool.close()
                pool.join()
        """,
    )

    assert project.run("script.py") == ["computing", "9", "[9]"]


PROMPT = """
import cloudpickle, sys
from cachekit import Memory

@Memory("store").cache
def square(x):
    print("computing")
    return x * x

with open("function", "wb") as file:
    cloudpickle.dump(square, file)
"""


def test_a_function_typed_at_a_prompt_reaches_a_worker(tmp_path: Path) -> None:
    # A notebook, say: its functions cannot be imported elsewhere.
    project = Project(tmp_path)
    project.run("-c", PROMPT)

    worker = "import pickle; print(pickle.load(open('function', 'rb'))(3))"

    assert project.run("-W", "ignore", "-c", worker) == ["computing", "9"]


def test_a_memory_is_pickled(memory: Memory) -> None:
    token = memory.cache(roll)(6)

    copied = pickle.loads(pickle.dumps(memory))

    assert copied.location == memory.location
    assert copied.cache(roll)(6) == token


def test_a_memory_without_a_location_is_pickled() -> None:
    assert pickle.loads(pickle.dumps(Memory(None))).location is None


def test_a_pickled_memory_keeps_its_options_and_its_store(tmp_path: Path) -> None:
    memory = Memory(LocalStore(tmp_path / "store"), compress=("zstd", 7))

    copied = pickle.loads(pickle.dumps(memory))

    assert copied.compress == ("zstd", 7)
    assert copied.location == memory.location


def test_a_pickled_memory_keeps_its_place_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Memory("store"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    copied = pickle.loads(content)

    assert copied.location == str(tmp_path / "store")


def test_a_memory_that_an_instance_holds_does_not_key_its_methods_by_place(
    tmp_path: Path,
) -> None:
    class Model:
        def __init__(self, memory: Memory) -> None:
            self.memory = memory

    one, other = Memory(tmp_path / "a"), Memory(str(tmp_path / "b"))

    assert digest(Model(one)) == digest(Model(other))


def test_two_processes_may_compute_the_same_call_at_once(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "analysis.py",
        """
        import sys
        from cachekit import Memory

        memory = Memory("store", compress=True)

        @memory.cache
        def fill(x):
            return [x] * 1000

        if __name__ == "__main__":
            sys.stdin.readline()
            print(all(fill(x) == [x] * 1000 for x in range(100)))
        """,
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning", "analysis.py"],
            cwd=project.folder,
            env=project.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]

    answers = [worker.communicate(os.linesep)[0] for worker in workers]

    assert answers == ["True\n"] * 3
    assert len(value_files(project.store)) == 100
    assert list((project.store / ".staging").iterdir()) == []
