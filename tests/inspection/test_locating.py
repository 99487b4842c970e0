"""A project says where its store is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cachekit.errors import StoreError
from cachekit.inspection.locating import location_for
from cachekit.memoization.locations import configured_location
from tests.memoization.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    return tmp_path


def configure(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(text)


@pytest.mark.parametrize("folder", [".", "src", "src/deep"])
def test_a_location_is_seen_from_the_folder_of_the_file(
    project: Path, folder: str
) -> None:
    configure(project, '[tool.cachekit]\nlocation = "results"\n')

    assert configured_location(project / folder) == str(project / "results")


@pytest.mark.parametrize("location", ["s3://bucket/prefix", "/data/results"])
def test_a_location_that_is_whole_stays(project: Path, location: str) -> None:
    configure(project, f'[tool.cachekit]\nlocation = "{location}"\n')

    assert configured_location(project) == location


def test_the_nearest_file_counts(project: Path) -> None:
    configure(project, '[tool.cachekit]\nlocation = "results"\n')
    configure(project / "src", '[project]\nname = "other"\n')

    assert configured_location(project / "src" / "deep") is None


@pytest.mark.parametrize("text", ["", "[tool]", "[tool.cachekit]", "[tool.other]"])
def test_a_file_need_not_say_it(project: Path, text: str) -> None:
    configure(project, text)

    assert configured_location(project) is None


@pytest.mark.parametrize(
    "text", ["[tool", "[tool.cachekit]\nlocation = 3", '[tool.cachekit]\nlocation=""']
)
def test_what_cannot_be_meant_is_an_error(project: Path, text: str) -> None:
    configure(project, text)

    with pytest.raises(StoreError, match=r"pyproject\.toml"):
        configured_location(project)


def test_the_environment_goes_before_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(project, '[tool.cachekit]\nlocation = "results"\n')
    monkeypatch.chdir(project)
    monkeypatch.delenv("CACHEKIT_DIR", raising=False)

    assert location_for() == str(Path.cwd() / "results")
    assert location_for("named") == "named"

    monkeypatch.setenv("CACHEKIT_DIR", "/elsewhere")
    assert location_for() == "/elsewhere"
    assert location_for("named") == "named"


STUDY = """
import cachekit

@cachekit.cache
def double(x):
    return 2 * x

if __name__ == "__main__":
    print(double(4))
"""


def test_what_the_project_says_holds_for_scripts_and_commands(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("pyproject.toml", "[tool.cachekit]\nlocation = 'results'")
    project.write("study.py", STUDY)
    nowhere = {"CACHEKIT_DIR": "", "HOME": str(tmp_path)}

    assert project.run("study.py", **nowhere) == ["8"]

    assert list((tmp_path / "results").glob("study.double/*/*/*/value"))
    assert "study.double" in " ".join(project.run("-m", "cachekit", "ls", **nowhere))


def test_a_project_file_that_cannot_be_read_stops_no_work(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("pyproject.toml", "[tool.cachekit\n")
    project.write("study.py", STUDY)

    done = subprocess.run(
        [sys.executable, "study.py"],
        cwd=tmp_path,
        env=project.environment(CACHEKIT_DIR="", HOME=str(tmp_path), XDG_CACHE_HOME=""),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == "8\n"
    assert "pyproject.toml cannot be read" in done.stderr
    assert "results are kept in" in done.stderr
    assert list(tmp_path.rglob("study.double/*/*/*/value"))


def test_where_the_current_folder_is_gone_the_system_has_a_place(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path)
    project.write("study.py", STUDY)
    (tmp_path / "gone").mkdir()
    script = f"{sys.executable} {tmp_path}/study.py"

    done = subprocess.run(
        ["/bin/sh", "-c", f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && {script}"],
        env=project.environment(CACHEKIT_DIR="", HOME=str(tmp_path), XDG_CACHE_HOME=""),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("8\n", "")
    assert list(tmp_path.rglob("study.double/*/*/*/value"))


def test_a_change_of_the_projects_file_is_seen(project: Path) -> None:
    configure(project, "[tool.cachekit]\nlocation = 'first'")
    first = configured_location(project)
    configure(project, "[tool.cachekit]\nlocation = 'the second'")

    assert first == str(project / "first")
    assert configured_location(project) == str(project / "the second")


def test_folders_above_that_may_not_be_looked_into_have_no_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Any, *args: Any, **options: Any) -> Any:
        if str(path).endswith("pyproject.toml"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    real = os.stat
    monkeypatch.setattr(os, "stat", refuse)  # root may look everywhere

    assert configured_location(project) is None
