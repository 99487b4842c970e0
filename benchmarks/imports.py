"""What an import costs, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.others import optional
from benchmarks.rows import Case, Row, Setting
from benchmarks.timing import Work

_PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
started = time.perf_counter()
import {module}
print(time.perf_counter() - started)
"""


def cases(_: Setting) -> Iterator[Case | Row]:
    """Yield the one case."""
    others = [name for name in ("diskcache", "cachier") if optional(name)]
    yield Case(
        "import",
        _import("cachekit"),
        {name: _import(name) for name in ("joblib", *others)},
        most=0.03,
    )


def _import(module: str) -> Work:
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", _PROGRAM.format(module=module), root]
    return Work(
        lambda: float(subprocess.run(command, capture_output=True, check=True).stdout),
        has_clock=True,
    )
