"""A key that many want at once is computed once: by threads and by processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cachekit import Memory

PROGRAM = """
import os, sys, time
from cachekit import Memory
memory = Memory(sys.argv[1])

@memory.cache
def slow(x):
    with open(sys.argv[2], "a") as log:
        log.write("computed\\n")
    time.sleep(0.5)
    return x * 2

sys.stdin.readline()
print(slow(int(sys.argv[3])))
"""


def test_eight_processes_compute_once(tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(PROGRAM)
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "store"), str(log), "4"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    results = [process.communicate(timeout=120)[0] for process in started]

    assert results == ["8\n"] * 8
    assert log.read_text() == "computed\n"
    assert [*(tmp_path / "store" / ".leases").iterdir()] == []


@pytest.mark.parametrize("on_conflict", ["wait", "compute"])
def test_threads_compute_once_if_they_wait(on_conflict: str, tmp_path: Path) -> None:
    memory = Memory(tmp_path, on_conflict=on_conflict)  # type: ignore[arg-type]
    computed: list[int] = []
    start = threading.Barrier(8)

    @memory.cache(ignore=["log"])
    def slow(x: int, log: list[int]) -> int:
        log.append(x)
        time.sleep(0.1)
        return x * 2

    def work(_: int) -> int:
        start.wait()
        return slow(4, computed)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [8] * 8

    assert len(computed) == 1 if on_conflict == "wait" else len(computed) > 1


def test_two_memories_of_one_place_do_not_wait_for_each_other(tmp_path: Path) -> None:
    def countdown(x: int, memory: Memory) -> int:
        again = memory.cache(countdown, ignore=["memory"])
        return 0 if x == 0 else again(x - 1, Memory(tmp_path)) + 1

    memory = Memory(tmp_path)

    assert memory.cache(countdown, ignore=["memory"])(3, memory) == 3
    # The same call within itself, as only an ignored argument can tell apart.
    assert nested(memory, 2) == 2


def nested(memory: Memory, depth: int) -> int:
    @memory.cache(ignore=["depth", "self"])
    def deeper(depth: int, self: object) -> int:
        other = Memory(memory.location).cache(deeper.func, ignore=["depth", "self"])
        return 0 if depth == 0 else other(depth - 1, self) + 1

    return deeper(depth, None)


def test_an_option_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on_conflict='fight'"):
        Memory(tmp_path, on_conflict="fight")  # type: ignore[arg-type]
