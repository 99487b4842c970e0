"""Modules that run a loop when they are imported, as workers import them too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cachekit

# Each process that imports it leaves a file.
NOTE = "import os, pathlib; pathlib.Path(f'imported-{os.getpid()}').touch()\n"


def imported(source: str, folder: Path) -> tuple[list[str], str, int]:
    """Import such a module; return what it prints, its errors, and how many did so."""
    (folder / "study.py").write_text(NOTE + source)
    done = subprocess.run(
        [sys.executable, "-c", "import study"],
        cwd=folder,
        # Without an end it would be four processes here, and then an error.
        env={
            **os.environ,
            "PYTHONPATH": str(Path(cachekit.__file__).parents[1]),
            "LOKY_MAX_DEPTH": "2",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.splitlines(), done.stderr, len([*folder.glob("imported-*")])
