"""What the README and the documentation show does run, and does what they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def examples(page: Path) -> str:
    """Return the Python blocks of a page, one after the other."""
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))


def one_liners(page: Path) -> list[tuple[str, str]]:
    """Return what ``$ python -c "…"`` lines run, and what they are said to print."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    found = []
    for command, output in re.findall(r"\$ (.*)\n((?:[^$].*\n)*)", "".join(blocks)):
        words = shlex.split(command)
        if words[:2] == ["python", "-c"]:
            found.append((words[2], output))
    return found


def run(script: Path) -> str:
    return run_python(script.name, folder=script.parent)


def run_python(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env={**os.environ, "CACHEKIT_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(examples(page))

    run(script)


ONE_LINERS = [page for page in PAGES if one_liners(page)]


@pytest.mark.parametrize("page", ONE_LINERS, ids=lambda page: page.name)
def test_the_one_liners_of_a_page_print_what_it_says(
    page: Path, tmp_path: Path
) -> None:
    for program, output in one_liners(page):
        assert run_python("-c", program, folder=tmp_path) == output


def test_the_first_example_computes_once(tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(examples(ROOT / "README.md"))

    assert run(script) == "computing…\n16\n"
    assert run(script) == "16\n"


def test_the_readme_never_installs_somebody_elses_package() -> None:
    readme = (ROOT / "README.md").read_text()

    assert not re.search(r"pip install ['\"]?cachekit(?!-lab)", readme)


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")))
def test_an_example_script_runs(script: Path, tmp_path: Path) -> None:
    copy = tmp_path / script.name
    copy.write_text(script.read_text())

    assert run(copy)
