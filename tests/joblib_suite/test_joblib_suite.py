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
    "test_memory": {
        # Two functions never collide here, so nothing warns of it.
        "test_memory_name_collision": "wants a warning of a collision",
        "test_memory_warning_lambda_collisions": "wants four such warnings",
        "test_memory_warning_collision_detection": "wants two such warnings",
        "test_memory_in_memory_function_code_change": "wants such a warning",
        "test_memory_func_with_kwonly_args": "a wrong call is Python's own TypeError",
        "test_memory_creates_gitignore": "wants joblib's name in the file",
        "test_memory_objects_repr": "our repr has the name, not the function's address",
        "test_info_log": "wants joblib's words in the log",
        "test_partial_decoration": "reads the private _verbose",
        "test_memorized_result_forwards_mmap_mode": "reads the private _call_id",
        "test_persistence": "calls the private _get_args_id",
        "test_memory_reduce_size": "calls the private _get_args_id",
        "test_memory_clear": "calls the private _get_args_id",
        "test_call_and_shelve_lazily": "calls the private _get_args_id",
        "test__get_items": "calls the private _get_args_id",
        "test_memory_pickle_dump_load": "compares private attributes of the stores",
        "test_func_dir": "joblib's layout and private functions",
        "test_parallel_call_cached_function_defined": "lists joblib's folders",
        "test_memory_numpy_check_mmap_mode": "writes into joblib's output.pkl",
        "test_memory_recomputes_after_an_error": "writes into joblib's output.pkl",
        "test_instanciate": "calls joblib's private factory of stores",
        "test_dummy_store_backend": "calls joblib's private factory of stores",
        "test_warning_on_unknown_location": "calls joblib's private factory of stores",
        "test_filesystem_store_backend_repr": "of a class of joblib's",
    },
    "test_memory_async": {
        "test_memory_numpy_check_mmap_mode": "writes into joblib's output.pkl",
    },
    "test_parallel": {
        "back_compat_backend": "a subclass of a backend of joblib's",
        "test_error_capture": "reads the private pool of a backend",
        "test_invalid_njobs": "calls the private _initialize_backend",
        "test_default_mp_context": "reads the private context of a backend",
        "test_backend_batch_statistics_reset": "reads private figures of a backend",
        "test_multiple_generator_call_separated_gc": "reads the private _aborting",
        "test_backend_hinting_and_constraints_with_custom": "wants joblib's words",
        # Its object is the same as that of parallel_config, which is tried with all.
        "(parallel_backend and (threadpool or initializer or nest))": "done twice",
        "test_parallel_with_interactively_defined_bound_method": (
            "takes it that joblib has imported multiprocessing.util"
        ),
    },
    "test_memmapping": {
        "test_memmap_based_array_reducing": "of joblib's reducers",
        "test_high_dimension_memmap": "of joblib's reducers",
        "test__strided_from_memmap": "of joblib's reducers",
        "test_resource_tracker_retains_temp": "of joblib's manager of folders",
        "test_pool_": "of joblib's pools",
        "test_memmapping_on_": "of joblib's pools",
        "test_memmapping_pool_": "of joblib's pools",
        "test_workaround_against_bad_memmap": "of joblib's pools",
        "test_weak_array_key_map": "of joblib's map of arrays",
        "test_child_raises_parent_exits_cleanly": "reads private attributes",
    },
}

# Seconds; the longest takes less than one on two cores.
TIMEOUT = 240


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
        timeout=TIMEOUT,
    )

    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
