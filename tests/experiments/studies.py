"""A study in files, whose runs are real processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cachekit.experiments import RunRecord, find_run
from cachekit.stores import LocalStore
from tests.memoization.project import Project

STUDY = """
import cachekit
from cachekit.experiments import run
from helper import scale


@cachekit.cache
def load(n):
    return list(range(n))


@cachekit.cache
def fit(data, alpha):
    return {"coef": [scale(x, alpha) for x in data]}


@cachekit.cache
def evaluate(model):
    return sum(model["coef"])


with run("study", {"alpha": 0.5}) as this:
    this.log_metric("score", evaluate(fit(load(5), 0.5)))
    this.log_metric("fit_seconds", __import__("time").perf_counter())
"""

HELPER = "def scale(x, alpha):\n    return x * alpha\n"


def write_study(folder: Path, **more: str) -> Project:
    """Write a study of three steps."""
    project = Project(folder)
    project.write("study.py", STUDY)
    project.write("helper.py", HELPER)
    for name, source in more.items():
        project.write(f"{name}.py", source)
    return project


def run_study(project: Project, *arguments: str) -> RunRecord:
    """Run it, with a store beside its folder; return what was recorded."""
    store = store_of(project)
    project.run(*(arguments or ("study.py",)), CACHEKIT_DIR=str(store.root))
    return find_run(store, "last")


def store_of(project: Project) -> LocalStore:
    """Return the store of a study, which is outside of its folder."""
    return LocalStore(project.folder.with_name("store of it"))


def commit(folder: Path) -> None:
    """Make a repository of a folder, or add a commit with all that is there."""
    names = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (
        ["init", "-q"],
        ["add", "."],
        [*names, "commit", "-q", "-m", "as it is"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
