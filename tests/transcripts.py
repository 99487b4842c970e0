"""Commands of the documentation, run as a reader runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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


def output_of(command: str, folder: Path, variables: dict[str, str]) -> str:
    """Return what a command prints that is typed in a folder, errors too."""
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    return comparable(command, done.stdout)


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
