"""Scripts that are run cell by cell, under a ``__main__`` that is not the process's."""

from __future__ import annotations

import importlib.util
import multiprocessing  # noqa: F401  (makes __mp_main__ an alias of the main module)
import sys
import types
from pathlib import Path

import pytest

from cachekit.hashing import Code, fingerprint, main_name

SCRIPT = """
import math

# %%
def root(x):
    return math.sqrt(x)

# %%
def f(x):
    return root(x)
"""


def run_cells(script: Path) -> types.ModuleType:
    """Run a script as sphinx-gallery does: each cell is compiled by itself."""
    spec = importlib.util.spec_from_loader("__main__", None)
    assert spec is not None
    main = importlib.util.module_from_spec(spec)
    line = 0
    for cell in script.read_text().split("# %%\n"):
        exec(compile("\n" * line + cell, str(script), "exec"), main.__dict__)
        line += cell.count("\n") + 1
    return main


def run_whole(script: Path) -> types.ModuleType:
    module = types.ModuleType("__main__")
    exec(compile(script.read_text(), str(script), "exec"), module.__dict__)
    return module


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_a_function_of_a_later_cell_has_its_source(script: Path) -> None:
    main = run_cells(script)

    sources = Code(main.f).describe().sources

    assert any("math.sqrt" in source for source in sources.values())


def test_cells_and_the_whole_script_share_results(script: Path) -> None:
    assert fingerprint(run_cells(script).f) == fingerprint(run_whole(script).f)


def test_another_main_module_has_a_name_of_its_own(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", run_cells(script))

    assert main_name() == "__main__"
