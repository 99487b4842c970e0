"""Each of the bundled pipelines, done again in an empty store, comes to the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines import (
    test_biggish,
    test_decoding,
    test_forest,
    test_outliers,
    test_superpixels,
    test_tables,
)
from tests.pipelines.programs import settings

SMALL: dict[str, Mapping[str, Any]] = {
    "topics": {"MAX_PAGES": 20, "FIGURE_DPI": 50},
    "decoding": test_decoding.SMALL,
    "biggish": test_biggish.SMALL,
    "forest": test_forest.SMALL,
    "outliers": test_outliers.SMALL,
    "superpixels": test_superpixels.SMALL,
    "tables": test_tables.SMALL,
}


def cachekit(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cachekit", *arguments, f"--store={folder / 'store'}"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_pipeline_is_left_out() -> None:
    import cachekit.pipelines

    folder = Path(cachekit.pipelines.__file__ or "").parent
    assert SMALL.keys() == {path.parent.name for path in folder.glob("*/__main__.py")}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_pipeline_is_reproduced(name: str, tmp_path: Path) -> None:
    options = [*settings(SMALL[name]), f"--output={tmp_path}"]
    cachekit("run", name, *options, folder=tmp_path)

    run = json.loads(cachekit("runs", "show", "last", "--json", folder=tmp_path))
    again = json.loads(cachekit("repro", "last", "--json", folder=tmp_path))

    assert run["calls"]
    assert run["metrics"]
    assert again["is_reproduced"], again
    assert again["run"] == run["id"]
