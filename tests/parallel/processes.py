"""Scripts that run loops, and what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]

SHARED_MEMORY = Path("/dev/shm")


def started(script: str, folder: Path) -> subprocess.Popen[str]:
    """Start a script in a process group of its own; its arrays go to a folder."""
    path = folder / "script.py"
    path.write_text(script)
    return subprocess.Popen(
        [sys.executable, str(path)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JOBLIB_TEMP_FOLDER": str(folder),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def members(session: int) -> list[int]:
    """Return the processes of a session that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name may hold anything; state, parent, group and session follow it.
            state, _, _, its = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has ended
            continue
        if int(its) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def left_in(folder: Path) -> list[str]:
    """Return the folders of loops that are there."""
    return [path.name for path in folder.glob("cachekit-*")]


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Wait until something holds; tell whether it does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
