"""Importing cachekit costs next to nothing: heavy libraries wait for their use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cachekit

HEAVY = {
    *(
        "IPython",
        "bs4",
        "click",
        "cloudpickle",
        "dask",
        "fsspec",
        "httpx",
        "joblib",
        "loky",
    ),
    *("matplotlib", "numpy", "pandas", "platformdirs", "pyarrow", "ray", "rich"),
    *("scipy", "sklearn", "torch", "tqdm", "zstandard"),
}


def loaded_by(statement: str) -> set[str]:
    """Return the packages that a statement loads in a fresh interpreter."""
    shown = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys; print(*sys.modules)"],
        cwd=Path(cachekit.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in shown.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import cachekit",
        "from cachekit import Memory, cache, digest, fingerprint",
        "import cachekit; memory = cachekit.Memory('results')",
        "import cachekit; cachekit.digest({'a': [1.5, (2, None)]})",
        "import cachekit; cachekit.Memory(None).cache(lambda x: x)(1)",
    ],
)
def test_no_heavy_library_is_loaded_before_it_is_needed(statement: str) -> None:
    assert loaded_by(statement) & HEAVY == set()


def test_importing_cachekit_loads_none_of_its_rooms() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "import cachekit, sys; print(*sys.modules)"],
        cwd=Path(cachekit.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )

    ours = [name for name in shown.stdout.split() if name.startswith("cachekit")]
    assert sorted(ours) == ["cachekit", "cachekit.lazy"]


def test_the_help_of_the_command_loads_no_pipeline_and_no_tables() -> None:
    statement = (
        "from cachekit.cli import main\nmain(['run', '--help'], standalone_mode=False)"
    )

    assert loaded_by(statement) & (HEAVY - {"click", "platformdirs"}) == set()
