"""`cachekit accept`, after real edits of a project, each command a process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.memoization.project import Project

SCRIPT = """
from cachekit import Memory

memory = Memory("store")


def double(x):
    return x * 2


@memory.cache
def fit(x, order=1):
    print("computing", x)
    return double(x) + order


if __name__ == "__main__":
    print([fit(x) for x in range(3)])
"""

FASTER = SCRIPT.replace("return x * 2", "return x + x")
WRONG = SCRIPT.replace("return x * 2", "return x * 3")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write("ana.py", SCRIPT)
    assert project.run("ana.py")[-1] == "[1, 3, 5]"
    return project


def accept(
    project: Project, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cachekit", "accept", "ana.py:fit", *arguments],
        cwd=project.folder,
        env=project.environment(COLUMNS="80", **environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_an_edit_that_changes_no_result_computes_nothing(project: Project) -> None:
    project.write("ana.py", FASTER)

    done = accept(project, "--check", "2", "--yes")

    assert done.returncode == 0, done.stderr
    assert "3 calls, " in done.stdout
    assert "    -     return x * 2\n    +     return x + x" in done.stdout
    assert "2 calls computed again, with the same results." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert project.run("ana.py") == ["[1, 3, 5]"]


def test_an_edit_that_changes_results_is_refused(project: Project) -> None:
    project.write("ana.py", WRONG)

    done = accept(project, "--check", "3", "--yes")

    assert done.returncode == 1
    assert "different: the result: 5 -> 7" in done.stdout
    assert done.stderr == "Not accepted: results differ.\n"
    assert project.run("ana.py")[-1] == "[1, 4, 7]"


def test_it_can_be_taken_back(project: Project) -> None:
    project.write("ana.py", FASTER)
    accept(project, "--yes")

    done = accept(project, "--undo")
    again = accept(project, "--undo")

    assert done.stdout == "ana.fit() counts as its own version again.\n"
    assert (again.returncode, again.stderr) == (1, "Nothing was accepted.\n")
    assert len(project.run("ana.py")) == 4


def test_it_asks_unless_told(project: Project) -> None:
    project.write("ana.py", FASTER)

    done = accept(project)

    assert done.returncode == 2
    assert done.stderr == "Error: nobody can be asked here; add --yes\n"
    assert len(project.run("ana.py")) == 4


def test_it_says_so_in_json(project: Project) -> None:
    project.write("ana.py", FASTER)

    done = accept(project, "--yes", "--check", "1", "--json")

    facts = json.loads(done.stdout)
    assert facts["is_accepted"]
    assert facts["calls"] == 3
    assert [unit["name"] for unit in facts["units"]] == ["ana.double"]
    assert [one["outcome"] for one in facts["checked"]] == ["same"]


def test_calls_that_cannot_be_run_again_prove_nothing(project: Project) -> None:
    shutil.rmtree(project.store)
    project.write("ana.py", SCRIPT.replace("range(3)", "[float('nan')]"))
    project.run("ana.py")
    project.write("ana.py", FASTER)

    done = accept(project, "--yes", "--check", "1")

    assert done.returncode == 1
    assert "Not accepted: no call could be run again, for " in done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ana.py:nosuch", "has no function 'nosuch'"),
        ("ana.py:double", "ana.py:double is not a cached function"),
        ("nosuch.fit", "there is no module nosuch"),
    ],
)
def test_a_wrong_name_is_wrong_usage(project: Project, name: str, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cachekit", "accept", name, "--store", "store"],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert message in done.stderr


def test_nothing_older_is_told(project: Project) -> None:
    done = accept(project, "--yes")

    assert done.returncode == 1
    assert "nothing is stored of an older version of ana.fit()" in done.stderr
