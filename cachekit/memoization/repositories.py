"""Which commit of the user's repository the code of a function is of."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

# A repository that takes longer to tell its state is not waited for.
TIMEOUT_SECONDS = 10.0


def commit_of(source: str, *, patience: float) -> dict[str, Any] | None:
    """Return commit and dirtiness of the repository that a file is in.

    Git is asked once in a process, in the background: in a large repository it takes
    longer than many a call.

    Parameters
    ----------
    source : str
        Path of the file; what is no file is taken to be in the working directory.
    patience : float
        Seconds to wait for git at most.

    Returns
    -------
    dict or None
        ``commit`` and ``is_dirty``; None if there is no repository, no git, or no
        answer yet.
    """
    root = _repository_of(source)
    if root is None:
        return None
    try:
        answer = _asked(root)
    except RuntimeError:  # no threads can be started at the end
        return None
    if not answer.is_there.is_set():
        answer.is_there.wait(timeout=patience)
    return answer.commit


@functools.lru_cache(maxsize=1024)
def _repository_of(source: str) -> str | None:
    try:
        path = Path(source).absolute()
        inside = path.parent if path.is_file() else Path.cwd()
        folders = (inside, *inside.parents)
        return next((str(f) for f in folders if (f / ".git").exists()), None)
    except (OSError, ValueError):  # no such folder any more, or an odd name
        return None


class _Answer:
    """What git says of a repository, once it has said it."""

    def __init__(self) -> None:
        self.is_there = threading.Event()
        self.commit: dict[str, Any] | None = None


@functools.lru_cache(maxsize=64)
def _asked(root: str) -> _Answer:
    answer = _Answer()

    def ask() -> None:
        answer.commit = _ask(root)
        answer.is_there.set()

    threading.Thread(target=ask, name="cachekit-git", daemon=True).start()
    return answer


# In a forked child the thread that asks is not.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_asked.cache_clear)


def _ask(root: str) -> dict[str, Any] | None:
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "is_dirty": bool(changes)}


def git_command(folder: str | Path, *words: str) -> list[str]:
    """Return a command of git, to be run for a folder without disturbing the user.

    Raises
    ------
    FileNotFoundError
        If there is no git.
    """
    # Looked for here: when `subprocess` does that, it changes the filters of warnings,
    # which are those of all threads, and then sets them back.
    git = shutil.which("git")
    if git is None:
        raise FileNotFoundError(errno.ENOENT, "there is no such program", "git")
    # Without locks: a commit of the user's at this moment is not disturbed. Without
    # the program that a repository may name to watch its files.
    options = ["--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder)]
    return [git, *options, *words]


def _git(root: str, *words: str) -> str:
    done = subprocess.run(
        git_command(root, *words),
        capture_output=True,
        check=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.strip()
