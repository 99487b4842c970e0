"""A folder with modules, run in processes of their own: no state can hide."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import cachekit

_ROOT = Path(cachekit.__file__).parents[1]


class Project:
    """Modules in a folder, as a researcher has them.

    Parameters
    ----------
    folder : Path
        Where they are, and where the processes run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"

    def write(self, name: str, source: str) -> None:
        """Write, or rewrite, one file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")

    def ask(self, expression: str, **environment: str) -> list[str]:
        """Import every module, print an expression; return the lines printed."""
        modules = sorted(path.stem for path in self.folder.glob("*.py"))
        return self.run(
            "-c", f"import {', '.join(modules)}\nprint({expression})", **environment
        )

    def run(self, *arguments: str, **environment: str) -> list[str]:
        """Run Python; return the lines printed."""
        done = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", *arguments],
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a process that finds cachekit."""
        # A module is rewritten within a second here, which compiled files miss.
        return {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(_ROOT),
            **more,
        }


def files_in(folder: Path) -> list[str]:
    """Return the relative paths of all files in a store, those staged included.

    But for those that say what the folder is.
    """
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in OF_THE_FOLDER
    )


OF_THE_FOLDER = {"store.json", ".gitignore", "CACHEDIR.TAG"}


def value_files(store: Path) -> list[Path]:
    """Return the files that hold the values of a store."""
    return sorted(store.glob("*/*/??/*/value"))


def only_value_file(store: Path) -> Path:
    """Return the file that holds the one value of a store."""
    (path,) = value_files(store)
    return path
