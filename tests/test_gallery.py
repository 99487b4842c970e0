"""The examples of the gallery run as they are, and show what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

# What each example prints, as regular expressions: that which it is there to show.
FACTS = {
    "01_first_and_second_run": [
        "first run: computed 4 of 4",
        "second run: computed 0 of 4",
        "one penalty more: computed 1 of 5",
    ],
    "02_what_changes_a_key": [
        "a comment              taken",
        "the docstring          taken",
        "a helper               computed",
        "a constant             computed",
        "all edits undone       taken",
    ],
    "03_why_computed_again": [
        "would be a hit",
        "width: 25 -> 51",
        r"-     return np.ones\(width\)",
        r"\+     return np.hanning\(width\)",
        "2 calls computed",
    ],
    "04_equal_values": [
        "dict, filled in another order  = =",
        "array, mapped from a file      = ≠",
        "slice, and its copy            = ≠",
        "one list twice, or two         = ≠",
        "object, a property in use      = ≠",
        "C and Fortran order            ≠ ≠",
    ],
    "05_growing_sweep": ["16 points, 16 computed", "30 points, 21 computed"],
    "06_parallel_loop": ["100 samples, 100 computed", "300 samples, 200 computed"],
    "07_pipeline_search": [
        "fits of the first two steps: 48 without a cache, 9 with it"
    ],
    "08_async_fetches": ["30 answers, 3 requests"],
    "09_mapped_slice": ["film of 33.6 MB: 33.. MB read, 3. kB mapped"],
    "10_streamed_chunks": ["computed 4 streams for 12 passes", "mean 2.000"],
    "11_compression": ["False +100", "xz +[0-9]\\."],
    "12_what_leaves": [
        r"lru: .* 0\.[1-3]. s of work leave",
        r"cost: .* 0\.0. s of work leave",
    ],
    "13_damaged_bytes": ["cachekit: 100 of 100 answers right, 100 warnings"],
    "14_lineage": [
        "load      -> table     of scale",
        "scale     -> table     of centres",
        "scale     -> table     of distances",
        "distances -> distances of accuracy",
    ],
    "15_repeated_run": ["Reproduced: 1 step and 1 metric, all the same."],
}


@pytest.mark.parametrize("name", FACTS)
def test_an_example_shows_what_it_says(name: str, tmp_path: Path) -> None:
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()

    printed = run(EXAMPLES / f"plot_{name}.py", work, temporary)

    for fact in FACTS[name]:
        assert re.search(fact, printed)
    assert [*work.iterdir(), *temporary.iterdir()] == []


def test_every_example_is_tested() -> None:
    assert {f"plot_{name}.py" for name in FACTS} == {
        path.name for path in EXAMPLES.glob("*.py")
    }


def run(script: Path, work: Path, temporary: Path) -> str:
    done = subprocess.run(
        # A warning that there is no window to show is for those who have a screen.
        [sys.executable, "-W", "error", "-W", "ignore:FigureCanvasAgg", str(script)],
        cwd=work,
        env={
            **os.environ,
            "MPLBACKEND": "Agg",
            "CACHEKIT_DIR": str(work / "cache"),
            "TMPDIR": str(temporary),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout
