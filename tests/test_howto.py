"""The how-to pages hold: what they show is printed, and what they say is so.

Their plain Python blocks are run with those of all other pages. Here run those that
make files with a name, and the commands between them, in their order; what a page says
of joblib, on joblib as well; and what needs a cluster or several users.
"""

from __future__ import annotations

import collections
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

import cachekit
from cachekit.memoization import MemorizedFunc
from tests.memoization.project import Project
from tests.test_transcript import comparable, environment

DOCS = Path(__file__).parents[1] / "docs"
HOWTO = DOCS / "howto"

# A file that the reader makes, or a transcript.
STEP = re.compile(
    r"```\{code-block\} python\n:caption: (\S+)\n\n(.*?)```|```console\n(.*?)```",
    re.DOTALL,
)


def steps(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the files and commands of a page, each with its content or output."""
    for name, content, transcript in STEP.findall(page.read_text("utf-8")):
        if name:
            yield name, content
        parts = re.split(r"^\$ (.*)\n", transcript, flags=re.MULTILINE)
        for command, output in zip(parts[1::2], parts[2::2], strict=True):
            yield f"$ {command}", output


TRANSCRIPTS = [DOCS / "functions.md", *sorted(HOWTO.glob("*.md"))]
TRANSCRIPTS = [page for page in TRANSCRIPTS if "```console" in page.read_text("utf-8")]


@pytest.mark.parametrize("page", TRANSCRIPTS, ids=lambda page: page.stem)
def test_commands_print_what_a_page_shows(page: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    variables = {**environment(tmp_path), "CACHEKIT_DIR": str(tmp_path / "default")}

    printed, shown = [], []
    for step, text in steps(page):
        if not step.startswith("$"):
            (study / step).write_text(text)
            continue
        done = subprocess.run(
            ["/bin/sh", "-c", step[2:]],
            cwd=study,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        printed.append(f"{step}\n{comparable(step, done.stdout)}")
        shown.append(f"{step}\n{comparable(step, text)}")

    assert "\n".join(printed) == "\n".join(shown)


def test_every_page_is_in_the_index() -> None:
    index = (HOWTO / "index.md").read_text("utf-8")
    tree = re.findall(r"^[\w./]+$", index.partition("{toctree}")[2], re.MULTILINE)
    linked = [target.removesuffix(".md") for target in re.findall(r"\]\((.*?)\)", index)]

    assert sorted(linked) == sorted(tree)
    assert {page.stem for page in HOWTO.glob("*.md")} - {"index"} <= set(linked)


def script(page: Path, name: str) -> str:
    """Return the file of a page that has the name."""
    return dict(steps(page))[name]


@pytest.mark.slow
def test_a_loop_runs_on_ray(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("sweep.py", script(HOWTO / "cluster.md", "sweep.py"))

    assert project.run("sweep.py", HOME=str(tmp_path))[-1] == "[0, 1, 4, 9, 16, 0] 5"
