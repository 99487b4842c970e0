"""What a run records, however it ends."""

from __future__ import annotations

import contextvars
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cachekit import Memory, Parallel, delayed
from cachekit.errors import CacheWarning
from cachekit.experiments import RunRecord, run, runs
from cachekit.experiments.documents import write_run
from cachekit.stores import LocalStore, processes
from tests.memoization.project import Project

REPOSITORY = """
from cachekit import Memory
from cachekit.experiments import run
import helper

memory = Memory("store")

with run("study", {"alpha": 0.5}, memory=memory) as this:
    this.log_metric("score", memory.cache(helper.fit)(3))
"""


def load(n: int) -> Any:
    return np.arange(n)


def total(data: Any) -> float:
    return float(data.sum())


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "store")


def only_run(memory: Memory) -> RunRecord:
    (found,) = runs(memory.store_backend)
    return found


def git(folder: Path, *words: str) -> None:
    names = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *names, *words], cwd=folder, check=True, capture_output=True)


def test_what_is_logged_is_recorded(memory: Memory, tmp_path: Path) -> None:
    file = tmp_path / "found.csv"

    with run("study", {"alpha": 0.5, "SEED": 3}, memory=memory) as this:
        this.log_metric("score", np.float32(0.25))
        file.write_text("1,2\n")
        this.log_artifact(file)
        this.log_dataset(
            "digits", source="somewhere", split="5 folds", rows=np.int64(4)
        )
        this.log_seed("shuffle", 7)

    found = only_run(memory)
    assert (found.id, found.name, found.status) == (this.id, "study", "finished")
    assert found.parameters == {"alpha": 0.5, "SEED": 3}
    assert found.seeds == {"SEED": 3, "shuffle": 7}
    assert found.metrics == {"score": 0.25}
    (artifact,) = found.artifacts
    assert (artifact["path"], artifact["bytes"]) == (str(file), 4)
    assert len(artifact["digest"]) == 32
    assert found.datasets["digits"]["statistics"] == {"rows": 4}
    assert found.seconds > 0
    assert found.store == memory.location


def test_the_calls_are_listed_with_what_was_read_and_made(memory: Memory) -> None:
    data = memory.cache(load)(5)

    with run("study", memory=memory):
        memory.cache(load)(5)
        memory.cache(total)(data)

    found = only_run(memory)
    assert [(call.function, call.is_made) for call in found.calls] == [
        (f"{__name__}.load", False),
        (f"{__name__}.total", True),
    ]
    assert found.calls[1].arguments == {"data": found.calls[0].value}
    assert (found.cache["hits"], found.cache["misses"]) == (1, 1)


def test_the_machine_is_described(memory: Memory) -> None:
    with run("study", memory=memory):
        pass

    found = only_run(memory)
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.packages["numpy"] == np.__version__
    assert found.hardware["cores"] == os.cpu_count()
    assert found.command["original"] == sys.orig_argv
    assert found.command["folder"] == str(Path.cwd())
    assert found.host


def test_a_run_that_fails_is_recorded_and_its_error_passes(memory: Memory) -> None:
    def fail() -> None:
        with run("study", memory=memory) as this:
            this.log_metric("steps", 3)
            raise ValueError("no convergence")

    with pytest.raises(ValueError, match="no convergence"):
        fail()

    found = only_run(memory)
    assert (found.status, found.error) == ("failed", "ValueError: no convergence")
    assert found.metrics == {"steps": 3}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(3), "failed"),
        (SystemExit(0), "finished"),
    ],
)
def test_other_ways_to_leave(memory: Memory, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), run("study", memory=memory):
        raise error

    assert only_run(memory).status == status


@pytest.mark.parametrize(
    ("name", "status", "has_end"),
    [("SIGINT", "interrupted", True), ("SIGKILL", "killed", False)],
)
def test_a_signal_ends_the_run_of_a_process(
    tmp_path: Path, name: str, status: str, has_end: bool
) -> None:
    project = Project(tmp_path)
    project.write(
        "study.py",
        f"""
        import os, signal
        from cachekit import Memory
        from cachekit.experiments import run

        with run("study", memory=Memory("store")):
            os.kill(os.getpid(), signal.{name})
            signal.pause()
        """,
    )

    done = subprocess.run(
        [sys.executable, "study.py"],
        cwd=tmp_path,
        env=project.environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == -signal.Signals[name]
    (found,) = runs(LocalStore(project.store))
    assert (found.status, found.has_end) == (status, has_end)


def test_while_it_goes_on_it_is_running(memory: Memory) -> None:
    with run("study", {"a": 1}, memory=memory) as this:
        found = only_run(memory)

    assert (found.id, found.status, found.parameters) == (this.id, "running", {"a": 1})


def test_packages_are_those_of_the_code_too_where_nothing_is_computed(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path)
    project.write(
        "study.py",
        """
        import sys
        from cachekit import Memory
        from cachekit.experiments import run

        memory = Memory("store")

        @memory.cache
        def name(x):
            import markupsafe
            return str(markupsafe.escape(x))

        with run("study", memory=memory):
            print(name("<"), "markupsafe" in sys.modules)
        """,
    )

    assert project.run("study.py") == ["&lt; True"]
    assert project.run("study.py") == ["&lt; False"]

    again, before = runs(LocalStore(project.store))
    assert (before.cache["misses"], again.cache["misses"]) == (1, 0)
    assert before.packages["MarkupSafe"] == metadata.version("markupsafe")
    assert again.packages == before.packages


def test_what_another_machine_does_is_not_known(memory: Memory) -> None:
    with run("study", memory=memory):
        going_on = only_run(memory)
    _, number, start = going_on.process.split(" ")

    for process in (f"elsewhere {number} 1", "", "nothing of the kind"):
        write_run(memory.store_backend, replace(going_on, process=process))
        assert only_run(memory).status == "running"
    write_run(memory.store_backend, going_on)
    assert only_run(memory).status == "running"
    ours = f"{processes.host()} {number} {start}0"
    write_run(memory.store_backend, replace(going_on, process=ours))
    assert only_run(memory).status == "killed"


def test_the_default_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHEKIT_DIR", str(tmp_path / "default"))

    with run("study"):
        pass

    assert len(runs(LocalStore(tmp_path / "default"))) == 1


def test_without_a_store_nothing_is_recorded() -> None:
    with run("study", memory=Memory(None)) as this:
        this.log_metric("score", 1)

    assert this.metrics == {"score": 1}


def test_a_store_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    Memory(tmp_path).cache(load)(3)
    memory = Memory(tmp_path, read_only=True)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with run("study", memory=memory) as this:
            this.log_metric("score", 1)

    assert {one.category for one in caught} == {CacheWarning}
    assert caught[0].filename == __file__
    assert "is not recorded in" in str(caught[0].message)
    assert runs(LocalStore(tmp_path)) == []


def test_numbers_that_json_has_not_come_back(memory: Memory) -> None:
    with run("study", {"limit": float("inf")}, memory=memory) as this:
        this.log_metric("loss", float("nan"))
        this.log_metric("best", float("-inf"))

    found = only_run(memory)
    assert np.isnan(found.metrics["loss"])
    assert found.metrics["best"] == float("-inf")
    assert found.parameters == {"limit": "inf"}
    content = memory.store_backend.read_document(f"runs/{this.id}.json")
    json.loads(content, parse_constant=pytest.fail)


def test_parameters_of_any_kind_are_told_apart(memory: Memory) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    values = {
        "path": Path("a"),
        "many": (1, [2.5, None]),
        "array": np.arange(1000),
        "other": np.arange(1000) + 1,
        "odd": Odd(),
    }

    with run("study", values, memory=memory):
        pass

    found = only_run(memory).parameters
    assert (found["path"], found["many"]) == ("a", [1, [2.5, None]])
    assert found["array"].startswith("<ndarray (1000,)")
    assert found["array"] != found["other"]
    assert "its repr raised" in found["odd"]


def test_what_cannot_be_described_is_a_warning(memory: Memory) -> None:
    endless: list[Any] = []
    endless.append(endless)

    def work() -> None:
        with run("study", {"endless": endless}, memory=memory) as this:
            this.log_dataset("numbers", source="here", endless=endless)

    with pytest.warns(CacheWarning, match="a part of the run is not recorded"):
        work()

    assert only_run(memory).status == "finished"


def test_calls_of_workers_are_listed(memory: Memory) -> None:
    with run("loop", memory=memory):
        Parallel(n_jobs=2)(delayed(memory.cache(load))(n) for n in range(3))

    assert [call.is_made for call in only_run(memory).calls] == [True] * 3


def test_a_run_that_ends_in_another_context_is_recorded(memory: Memory) -> None:
    def steps() -> Iterator[None]:
        with run("study", memory=memory):
            yield

    iterator = steps()
    contextvars.copy_context().run(next, iterator)
    assert list(iterator) == []

    assert only_run(memory).status == "finished"


def test_a_file_that_was_removed_is_told_of(memory: Memory) -> None:
    with run("study", memory=memory) as this:
        this.log_artifact("nowhere.csv")

    (artifact,) = only_run(memory).artifacts
    assert (artifact["path"], artifact["bytes"]) == ("nowhere.csv", None)


def test_a_run_around_others_has_their_calls(memory: Memory) -> None:
    with run("outer", memory=memory), run("inner", memory=memory):
        memory.cache(load)(5)

    outer, inner = sorted(runs(memory.store_backend), key=lambda one: one.started)
    assert outer.name == "outer"
    assert outer.calls == inner.calls != []


# --- the repository ---


@pytest.fixture
def repository(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write("study.py", REPOSITORY)
    project.write("helper.py", "def fit(x):\n    return x\n")
    project.write(".gitignore", "store/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return project


def state_of(project: Project) -> dict[str, Any]:
    project.run("study.py")
    found = runs(LocalStore(project.store))[0].git
    assert found is not None
    return found


def test_commit_and_changes_are_recorded(repository: Project) -> None:
    clean = state_of(repository)
    repository.write("helper.py", "def fit(x):\n    return 2 * x\n")
    repository.write("extra.py", "ONE = 1\n")
    repository.write("data.csv", "1\n")
    changed = state_of(repository)

    assert clean["diff"] == ""
    assert len(clean["commit"]) == 40
    assert Path(clean["root"]).samefile(repository.folder)
    assert changed["commit"] == clean["commit"]
    assert "+    return 2 * x" in changed["diff"]
    assert "+ONE = 1" in changed["diff"]  # a source that was not added yet
    assert changed["untracked"] == ["data.csv"]
    assert not changed["is_cut"]


def test_changes_are_bounded(repository: Project) -> None:
    repository.write("data.txt", "a line of data\n" * 100_000)
    git(repository.folder, "add", "data.txt")

    found = state_of(repository)

    assert found["is_cut"]
    assert len(found["diff"]) == 1_000_000


def test_outside_of_a_repository_there_is_none(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("study.py", REPOSITORY)
    project.write("helper.py", "def fit(x):\n    return x\n")
    project.run("study.py", GIT_CEILING_DIRECTORIES=str(tmp_path.parent))

    (found,) = runs(LocalStore(project.store))

    assert found.git is None
    assert found.command["script"] == str(tmp_path / "study.py")
    assert found.command["paths"][0] == str(tmp_path)
