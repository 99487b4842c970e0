"""Run the pipelines as programs, as users do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

# What a run whose results are known has no need of.
HEAVY = {"PIL", "bs4", "httpx", "matplotlib", "nilearn", "pandas", "scipy"} | {
    "sklearn",
    "skrub",
}

_PROGRAM = """
import json, runpy, sys
name = sys.argv.pop(1)
try:
    runpy.run_module(f"cachekit.pipelines.{name}", run_name="__main__")
finally:
    print(json.dumps(sorted(sys.modules)))
"""


def settings(values: Mapping[str, Any]) -> list[str]:
    """Return the options that set parameters."""
    return [f"--set={name}={value}" for name, value in values.items()]


def run_again(name: str, arguments: Iterable[str]) -> tuple[str, set[str]]:
    """Run ``python -m cachekit.pipelines.NAME`` in a process of its own.

    Returns
    -------
    stdout : str
        What it has printed.
    imported : set of str
        The heavy libraries that it has imported.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, name, *arguments],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    *lines, modules = done.stdout.splitlines()
    return "\n".join(lines), HEAVY & set(json.loads(modules))
