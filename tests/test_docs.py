"""What the README and the documentation show does run, and does what they say.

What commands print is held against the pages in `test_transcript.py`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from cachekit.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = {"_build", "gallery"}
PAGES = [
    ROOT / "README.md",
    *(
        page
        for page in sorted(DOCS.rglob("*.md"))
        if page.relative_to(DOCS).parts[0] not in GENERATED
    ),
]
REFERENCE = DOCS / "reference"
ROOMS = [
    "cachekit",
    "cachekit.errors",
    "cachekit.experiments",
    "cachekit.hashing",
    "cachekit.inspection",
    "cachekit.memoization",
    "cachekit.notebooks",
    "cachekit.parallel",
    "cachekit.serialization",
    "cachekit.stores",
]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


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


WITH_EXAMPLES = [page for page in PAGES if examples(page)]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name_of)
def test_the_python_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(examples(page))

    run(script)


ONE_LINERS = [page for page in PAGES if one_liners(page)]


@pytest.mark.parametrize("page", ONE_LINERS, ids=name_of)
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


def test_the_home_page_begins_as_the_readme_does() -> None:
    home, readme = examples(DOCS / "index.md"), examples(ROOT / "README.md")

    assert home.split() == re.sub(r" +#.*", "", readme).split()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_installs_somebody_elses_package(page: Path) -> None:
    assert not re.search(r"pip install ['\"]?cachekit(?!-lab)", page.read_text())


# --- links ---


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub and the site make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        for title in titles
    }


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)

    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        other = page.parent / target if target else page
        assert other.exists(), target
        if anchor:
            assert anchor in headings(other), f"{target}#{anchor}"


# --- the reference ---


def shown() -> list[object]:
    """Return what the pages of the reference show, by their directives."""
    directive = re.compile(
        r"^\.\. (?:auto(?:class|exception|function)|py:data):: (.*)$", re.M
    )
    names = [
        name
        for page in sorted(REFERENCE.glob("*.md"))
        for name in directive.findall(page.read_text())
    ]
    return [
        getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
        for name in names
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_in_the_reference(room: str) -> None:
    module = import_module(room)
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == room
    ]
    known = {id(thing) for thing in shown()}

    missing = [name for name in names if id(getattr(module, name)) not in known]

    assert [name for name in missing if name != "__version__"] == []


def test_the_reference_shows_everything_once() -> None:
    known = [id(thing) for thing in shown()]

    assert len(known) == len(set(known))


def test_every_command_is_in_the_reference() -> None:
    page = (REFERENCE / "commands.md").read_text()
    known = re.findall(r"^   :prog: cachekit (\S+)$", page, re.MULTILINE)

    assert known == main.list_commands(click.Context(main))
