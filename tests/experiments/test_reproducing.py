"""Doing a run again: in real repositories, by real processes."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cachekit.errors import CacheKitError
from cachekit.experiments import RunRecord, find_run
from cachekit.experiments.again import bundled, plan_again
from cachekit.experiments.reproducing import Reproduction, reproduce
from cachekit.stores import LocalStore
from tests.experiments.studies import STUDY, commit, run_study, store_of, write_study
from tests.memoization.project import Project


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give the processes what finds cachekit, and no repository around the folder."""
    for name, value in Project(tmp_path).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    return folder


def again(project: Project, run: RunRecord, *linked: Path) -> Reproduction:
    return reproduce(run, store_of(project), linked=linked)


def test_a_fresh_run_is_reproduced_from_its_commit_and_changes(folder: Path) -> None:
    project = write_study(folder)
    (folder / "ends.txt").write_bytes(b"one\r\ntwo\r\n")
    commit(folder)
    (folder / "ends.txt").write_bytes(b"one\r\nthree\r\n")
    project.write("helper.py", "from more import FACTOR\n\n" + _scale("FACTOR * x"))
    project.write("more.py", "FACTOR = 2.0\n")
    run = run_study(project)
    project.write("helper.py", _scale("0 * x"))
    (folder / "more.py").unlink()

    found = again(project, run)

    assert found.is_reproduced, found
    assert found.again is not None
    assert found.again.metrics["score"] == run.metrics["score"] == 20.0
    assert all(call.is_made for call in found.again.calls)
    assert any("fit_seconds" in note for note in found.notes)
    assert not (folder / ".git" / "worktrees").exists()
    assert len(store_of(project).documents("runs")) == 1


def _scale(expression: str) -> str:
    return f"def scale(x, alpha):\n    return {expression}\n"


def test_without_a_repository_it_runs_where_it_was(folder: Path) -> None:
    project = write_study(folder)
    run = run_study(project)

    found = again(project, run)

    assert found.is_reproduced
    assert "in no repository" in found.notes[0]


TIMED = """
import time

import cachekit
from cachekit.experiments import run


@cachekit.cache
def fit(alpha):
    return {"coef": [alpha, 2 * alpha], "fit_time": time.perf_counter()}


@cachekit.cache
def score(found):
    return sum(found["coef"])


@cachekit.cache
def draw(fit_time):
    return f"{fit_time} s"


with run("study", {"alpha": 0.5}) as this:
    found = fit(0.5)
    this.log_metric("score", score(found))
    draw(found["fit_time"])
"""


def test_results_that_also_measure_time_are_compared_in_the_rest(folder: Path) -> None:
    project = write_study(folder)
    project.write("study.py", TIMED)
    run = run_study(project)

    same = again(project, run)
    project.write("study.py", TIMED.replace("2 * alpha", "3 * alpha"))
    other = again(project, run)

    assert same.is_reproduced, same.step
    assert "results that also measure time or memory: " in " ".join(same.notes)
    assert other.step is not None
    assert other.step.function.endswith("fit")
    assert other.step.detail == "['coef'][1]: 1.0 -> 1.5"


def test_an_edited_step_is_named_with_the_lines(folder: Path) -> None:
    project = write_study(folder)
    run = run_study(project)
    project.write("helper.py", _scale("x * alpha + 1"))

    found = again(project, run)

    assert not found.is_reproduced
    assert found.step is not None
    assert (found.step.number, found.step.count) == (2, 3)
    assert (found.step.function, found.step.reason) == ("study.fit", "code")
    assert found.step.detail == "['coef'][0]: 0.0 -> 1.0"
    (unit,) = found.step.units
    assert "+     return x * alpha + 1" in unit.diff
    assert [(one.name, one.before, one.now) for one in found.metrics] == [
        ("score", "5.0", "10.0")
    ]


def test_an_edit_that_changes_no_result_is_a_note(folder: Path) -> None:
    project = write_study(folder)
    run = run_study(project)
    project.write("helper.py", _scale("alpha * x"))

    found = again(project, run)

    assert found.is_reproduced
    assert "other code than then: study.fit" in found.notes


def test_a_step_that_is_not_deterministic_is_named(folder: Path) -> None:
    project = write_study(folder)
    chance = "import random\n\n\n" + _scale("random.random()")
    project.write("helper.py", chance)
    run = run_study(project)

    found = again(project, run)

    assert found.step is not None
    assert (found.step.function, found.step.reason) == ("study.fit", "result")
    assert found.step.detail.startswith("['coef'][0]: 0.")


def test_chance_outside_of_steps_shows_in_their_arguments(folder: Path) -> None:
    project = write_study(folder)
    project.write(
        "study.py", STUDY.replace("(5), 0.5)", "(5), __import__('random').random())")
    )
    run = run_study(project)

    found = again(project, run)

    assert found.step is not None
    assert (found.step.function, found.step.reason) == ("study.fit", "arguments")
    assert found.step.detail == "alpha"


def test_a_step_that_is_not_called_any_more_is_named(folder: Path) -> None:
    project = write_study(folder)
    run = run_study(project)
    project.write(
        "study.py", STUDY.replace("evaluate(fit(load(5), 0.5))", "load(5)[1]")
    )

    found = again(project, run)

    assert found.step is not None
    assert (found.step.function, found.step.reason) == ("study.fit", "absent")


def test_what_is_not_cached_may_differ(folder: Path) -> None:
    project = write_study(folder)
    run = run_study(project)
    project.write("study.py", STUDY.replace("evaluate(fit", "2 * evaluate(fit"))

    found = again(project, run)

    assert found.step is None
    assert not found.is_reproduced
    assert found.metrics[0].now == "10.0"


DATA = STUDY.replace("list(range(n))", "[float(x) for x in open('data.txt')]")


def test_data_that_git_does_not_have_is_linked(folder: Path) -> None:
    project = write_study(folder)
    project.write("study.py", DATA)
    commit(folder)
    (folder / "data.txt").write_text("1\n2\n")
    run = run_study(project)

    without, linked = again(project, run), again(project, run, folder / "data.txt")

    assert without.problem == "it finished, and now it failed (FileNotFoundError: " + (
        "[Errno 2] No such file or directory: 'data.txt')"
    )
    assert "FileNotFoundError" in without.output
    assert "git does not have data.txt" in without.notes[0]
    assert linked.is_reproduced


def test_a_script_in_a_folder_of_a_repository_with_arguments(folder: Path) -> None:
    (folder / "code").mkdir()
    inner = folder / "code"
    write_study(inner)
    project = Project(folder)
    project.write("code/study.py", STUDY.replace("0.5", "float(sys.argv[1])", 1))
    project.write("code/study.py", "import sys\n" + (inner / "study.py").read_text())
    commit(folder)
    run = run_study(project, "-X", "utf8", str(inner / "study.py"), "0.5")
    project.write("code/helper.py", _scale("0"))

    found = again(project, run)

    assert found.is_reproduced, found


@pytest.mark.parametrize("words", [("-m", "study"), ("-c", "import study")])
def test_modules_and_programs_of_one_line(folder: Path, words: tuple[str, str]) -> None:
    project = write_study(folder)
    commit(folder)
    run = run_study(project, *words)
    project.write("helper.py", _scale("0"))

    found = again(project, run)

    assert found.is_reproduced, found


def test_a_script_that_names_its_own_store_is_run_without_it(folder: Path) -> None:
    project = write_study(folder)
    own = STUDY.replace("import cachekit\n", "from cachekit import Memory\n")
    own = own.replace("@cachekit.cache", "@memory.cache")
    own = own.replace("from helper", "memory = Memory('own')\nfrom helper")
    project.write("study.py", own.replace("0.5}", "0.5}, memory=memory"))
    project.run("study.py")

    found = again(project, find_run(LocalStore(folder / "own"), "last"))

    assert found.is_reproduced, found
    assert found.problem == ""


# --- what cannot be done again ---

RUN = RunRecord(
    id="20261122-101500-1233f9c",
    name="study",
    status="finished",
    started="2026-11-22T10:15:00+00:00",
    git={"root": "/nowhere/at/all", "commit": "0" * 40, "diff": "", "is_cut": False},
    command={"original": ["python", "study.py"], "script": "/nowhere/at/all/study.py"},
)


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (RUN, "say where it is with --repository"),
        (replace(RUN, status="running"), "goes on, or was killed"),
        (replace(RUN, status="killed"), "was killed: nothing"),
        (
            replace(RUN, git={"root": "/", "is_cut": True}),
            "were too large to be recorded",
        ),
        (
            replace(RUN, git=None, command={"original": ["python"], "script": None}),
            "in an interpreter or a notebook",
        ),
        (
            replace(RUN, git=None, command={**RUN.command, "folder": "/nowhere/here"}),
            "is not there",
        ),
    ],
)
def test_what_cannot_be_done_again_says_why(
    run: RunRecord, text: str, folder: Path
) -> None:
    with pytest.raises(CacheKitError, match=text):
        again(Project(folder), run)


def test_a_commit_that_is_gone_says_so(folder: Path) -> None:
    project = write_study(folder)
    commit(folder)
    git = {**(RUN.git or {}), "root": str(folder)}

    with pytest.raises(CacheKitError, match="commit 000000000000 of"):
        again(project, replace(RUN, git=git))


# --- bundled pipelines ---


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "cachekit", "run", "topics", "--seed", "1"],
        ["-m", "cachekit.pipelines.topics", "--seed", "1"],
        ["-X", "utf8", "/home/me/bin/cachekit", "run", "topics", "--seed", "1"],
    ],
)
def test_bundled_pipelines_are_known(words: list[str]) -> None:
    assert bundled(words) == ["run", "topics", "--seed", "1"]


@pytest.mark.parametrize(
    "words",
    [[], ["study.py", "run"], ["-m", "study"], ["-m", "cachekit", "ls"], ["-c", "1"]],
)
def test_other_commands_are_not_taken_for_them(words: list[str]) -> None:
    assert bundled(words) is None


def test_a_bundled_pipeline_writes_to_other_places(tmp_path: Path) -> None:
    words = "python -m cachekit run topics --store here --set A=1 --output=there"
    run = replace(RUN, command={"original": words.split(), "folder": str(tmp_path)})

    plan = plan_again(run, tmp_path / "work", None)

    assert plan.folder == tmp_path
    assert list(plan.words) == [
        *(sys.executable, "-m", "cachekit", "run", "topics", "--set", "A=1"),
        *("--store", str(tmp_path / "work" / "store")),
        *("--output", str(tmp_path / "work" / "output")),
    ]
    assert plan.environment["CACHEKIT_DIR"] == str(tmp_path / "work" / "store")


def test_recorded_variables_are_set(tmp_path: Path) -> None:
    command = {
        "original": ["python", "study.py"],
        "script": str(tmp_path / "study.py"),
        "folder": str(tmp_path),
        "paths": [str(tmp_path), "/nowhere/at/all"],
        "environment": {"PYTHONHASHSEED": "3"},
    }

    plan = plan_again(replace(RUN, git=None, command=command), tmp_path, None)

    assert plan.environment["PYTHONHASHSEED"] == "3"
    assert plan.environment["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)
    assert "/nowhere/at/all" not in plan.environment["PYTHONPATH"]
