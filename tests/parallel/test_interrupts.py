"""Nothing is left of a loop that was interrupted or killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cachekit.parallel import Parallel, delayed
from tests.parallel.processes import eventually, left_in, members, started

pytestmark = [
    pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes there"),
    pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"]),
]

# Says when two tasks run, each with a map of a large array.
SCRIPT = """
import pathlib, sys, threading, time
import numpy as np
from cachekit.parallel import Parallel, delayed

HERE = pathlib.Path({folder!r})

def work(number, array):
    (HERE / f"began-{{number}}").touch()
    time.sleep({seconds})
    return float(array[number])

if __name__ == "__main__":
    array = np.ones(1_000_000)
    Parallel(n_jobs=2, backend={backend!r})(delayed(work)(n, array) for n in range(8))
"""


def script_of(backend: str, folder: Path) -> str:
    seconds = 1 if backend == "threading" else 60  # a thread cannot be stopped
    return SCRIPT.format(folder=str(folder), backend=backend, seconds=seconds)


def test_an_interrupt_ends_workers_at_once_and_quietly(
    backend: str, tmp_path: Path
) -> None:
    process = started(script_of(backend, tmp_path), tmp_path)
    assert eventually(lambda: (tmp_path / "began-1").exists(), 30)

    os.killpg(process.pid, signal.SIGINT)

    assert eventually(lambda: members(process.pid) == [], 5)
    _, errors = process.communicate(timeout=10)
    assert errors.count("KeyboardInterrupt") == 1, errors
    assert errors.count("Traceback") == 1, errors
    assert "resource_tracker" not in errors
    assert "leaked" not in errors
    assert left_in(tmp_path) == []
    assert process.returncode != 0


def test_an_interrupt_of_the_parent_alone_ends_the_workers(
    backend: str, tmp_path: Path
) -> None:
    process = started(script_of(backend, tmp_path), tmp_path)
    assert eventually(lambda: (tmp_path / "began-1").exists(), 30)

    process.send_signal(signal.SIGINT)

    assert eventually(lambda: members(process.pid) == [], 5)
    _, errors = process.communicate(timeout=10)
    assert errors.count("Traceback") == 1, errors
    assert left_in(tmp_path) == []


def test_nothing_is_left_of_a_parent_that_was_killed(
    backend: str, tmp_path: Path
) -> None:
    process = started(script_of(backend, tmp_path), tmp_path)
    assert eventually(lambda: (tmp_path / "began-1").exists(), 30)

    process.kill()

    assert eventually(lambda: members(process.pid) == [], 20), members(process.pid)
    assert eventually(lambda: left_in(tmp_path) == [], 10), left_in(tmp_path)
    process.communicate(timeout=10)


def test_what_is_left_when_all_were_killed_is_removed_by_the_next(
    backend: str, tmp_path: Path
) -> None:
    process = started(script_of(backend, tmp_path), tmp_path)
    assert eventually(lambda: (tmp_path / "began-1").exists(), 30)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    for name in left_in(tmp_path):
        os.utime(tmp_path / name, (0, 0))  # as if it had been a while ago

    Parallel(n_jobs=2, temp_folder=str(tmp_path))([delayed(abs)(1)] * 3)

    assert left_in(tmp_path) == []


def test_a_script_that_ends_leaves_nothing(backend: str, tmp_path: Path) -> None:
    script = script_of(backend, tmp_path).replace("time.sleep(60)", "time.sleep(0)")
    process = started(script, tmp_path)

    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert errors == ""
    assert eventually(lambda: members(process.pid) == [], 10)
    assert left_in(tmp_path) == []
