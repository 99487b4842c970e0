"""What commands print in the documentation is what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "command.md"

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
    (r"\S*/results\b", "results"),
    (r" +", " "),
]


def transcript() -> list[tuple[str, str]]:
    """Return the commands of the page, and what they print."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
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
    return {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
        "CACHEKIT_DIR": "results",
        "PYTHONIOENCODING": "utf-8",
    }


def test_the_transcript_is_what_the_commands_print(tmp_path: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    study = tmp_path / "study"
    study.mkdir()
    (study / "analysis.py").write_text(script)
    variables = environment(tmp_path)

    printed, shown = [], []
    for command, output in transcript():
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
