"""joblib's own tests of public behaviour, run on cachekit.

They ship inside joblib's wheel. What is left out, and why, is said beside each name.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LEFT_OUT = {
    "test_hashing": {
        "test_hashes_stay_the_same": "digests are ours, not joblib's",
        "test_hashes_stay_the_same_with_numpy_objects": "digests are ours too",
        "test_bound_methods_hash": "uses joblib's private filter_args",
        "test_bound_cached_methods_hash": "uses joblib's private filter_args",
        "test_hash_numpy_noncontiguous": "waived: a strided view equals its copy",
        "test_hashing_pickling_error": "local functions have digests here",
        "test_hash_numpy_performance": "waived: fails if hashing is faster than md5",
    },
    "test_numpy_pickle": {
        "test_object_array_inner_stream": "subclasses joblib's private unpickler",
        "test_compressed_pickle_dump_and_load": "arrays keep their byte order here",
        "test_joblib_pickle_across_python": "wants warnings about files that we read",
        "(test_register_compressor and not invalid)": "reads joblib's private table",
        "test_memory_usage": "needs memory_profiler; our own tests measure the peak",
    },
}


@pytest.mark.parametrize("module", LEFT_OUT)
def test_the_tests_of_joblib_pass(module: str, tmp_path: Path) -> None:
    names = " or ".join(LEFT_OUT[module])
    # Without settings: ours, warnings as errors among them, are not for joblib.
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\n")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", str(settings)),
            *("--pyargs", f"joblib.test.{module}", "-k", f"not ({names})"),
            *("-p", "tests.joblib_suite.substitute", "-p", "no:cacheprovider"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
