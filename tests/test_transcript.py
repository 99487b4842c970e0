"""What commands print in the documentation is what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"

# What differs from run to run, or from machine to machine.
VARIES = [
    (r"[0-9a-f]{32}", "DIGEST"),
    (r"\b[0-9a-f]{12}\b", "DIGEST"),
    (r"\b[0-9a-f]{8}\b", "DIGEST"),
    (r"\d{4}-\d\d-\d\d([ T][\d:.+]+)?", "DATE"),
    (r"\d+(\.\d+)? (ms|s|min)\b", "TIME"),
    (r"\d+(\.\d+)? [kM]?B\b", "SIZE"),
    (r"[█▉▊▋▌▍▎▏]+", "BAR"),
    (r"(Python|cachekit) \d+\.\d+\S*\b", "VERSION"),
    (r"\S*/(results|cachekit)\b", r"\1"),
    (r" +", " "),
]


def files(page: Path) -> dict[str, str]:
    """Return the files that a page shows: blocks that begin with ``# name``."""
    blocks = re.findall(
        r"```(?:python|toml)\n(# ([\w.]+)\n.*?)```", page.read_text("utf-8"), re.DOTALL
    )
    return {name: content for content, name in blocks}


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if files(page)]


def transcript(page: Path) -> list[tuple[str, str]]:
    """Return the commands of a page, and what they print."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    parts = re.split(r"^\$ (.*)\n", "".join(blocks), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def comparable(command: str, text: str) -> str:
    """Return what a command prints, without what varies."""
    for pattern, name in VARIES:
        text = re.sub(pattern, name, text)
    lines = [line.strip() for line in text.strip().splitlines()]
    # In an order by times that hardly differ here.
    is_by_time = re.search(r"cachekit (ls|stats)", command)
    return "\n".join(sorted(lines) if is_by_time else lines)


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which commands are those of this Python."""
    commands = folder / "bin"
    commands.mkdir()
    for name, arguments in (("python", ""), ("cachekit", " -m cachekit")):
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        command.chmod(0o755)
    variables = {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / ".cache"),
        "PYTHONIOENCODING": "utf-8",
    }
    variables.pop("CACHEKIT_DIR", None)
    return variables


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_transcript_is_what_the_commands_print(page: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    for name, content in files(page).items():
        (study / name).write_text(content, "utf-8")
    variables = environment(tmp_path)

    printed, shown = [], []
    for command, output in transcript(page):
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=study,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        printed.append(f"$ {command}\n{comparable(command, done.stdout)}")
        shown.append(f"$ {command}\n{comparable(command, output)}")

    assert len(shown) > 8
    assert "\n".join(printed) == "\n".join(shown)
