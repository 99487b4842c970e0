"""Whatever happens to a loop, it ends, and nothing is left of it.

More rounds: ``CACHEKIT_STRESS_ROUNDS=50``; others: ``CACHEKIT_STRESS_SEED=7``.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.parallel.processes import (
    SHARED_MEMORY,
    eventually,
    left_in,
    members,
    started,
)

ROUNDS = int(os.environ.get("CACHEKIT_STRESS_ROUNDS", "6"))
SEED = int(os.environ.get("CACHEKIT_STRESS_SEED", "0"))

# Two loops in one block, in which a task may meet with an accident.
SCRIPT = """
import ctypes, os, pathlib, random, signal, sys, time
import numpy as np
from cachekit.parallel import Parallel, delayed

HERE = pathlib.Path({folder!r})

def work(number, array, accident):
    (HERE / "began").touch()
    if accident == "error":
        raise ValueError(number)
    if accident == "system exit":
        sys.exit(3)
    if accident == "exit":
        os._exit(3)
    if accident == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if accident == "fault":
        ctypes.string_at(0)
    time.sleep({seconds} * random.random())
    return float(array[number % len(array)])

def tasks(accident):
    shared = np.ones({size})
    for number in range({count}):
        if accident == "generator" and number == {culprit}:
            raise LookupError(number)
        array = shared if number % 2 else np.ones({size})
        yield delayed(work)(number, array, accident if number == {culprit} else "")

if __name__ == "__main__":
    expected = {{
        "error": (ValueError,),
        "system exit": (SystemExit,),
        "generator": (LookupError,),
    }}.get({accident!r}, (Exception,))
    with Parallel({n_jobs}, {backend!r}, batch_size={batch_size!r}) as loop:
        try:
            found = loop(tasks({accident!r}))
        except expected as error:
            assert {accident!r}, error
        else:
            assert found == [1.0] * {count} and not {accident!r}
        assert loop(tasks("")) == [1.0] * {count}
    print("done")
"""

ACCIDENTS = ["", "error", "system exit", "generator", "exit", "kill", "fault"]
SIGNALS = [None, None, signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes there")
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_loop_ends_and_leaves_nothing(number: int, tmp_path: Path) -> None:
    chance = random.Random(f"{SEED} {number}")
    backend = chance.choice(["loky", "multiprocessing", "threading"])
    in_threads = backend == "threading"
    count = chance.choice([5, 40, 200])
    sent = chance.choice(SIGNALS)
    script = SCRIPT.format(
        folder=str(tmp_path),
        backend=backend,
        accident=chance.choice(ACCIDENTS[:2] if in_threads else ACCIDENTS),
        culprit=chance.randrange(count),
        count=count,
        size=chance.choice([10, 1_000, 300_000]),
        n_jobs=chance.choice([2, 3]),
        batch_size=chance.choice([1, 7, "auto"]),
        seconds=chance.choice([0, 0.01]),
    )

    before = {*SHARED_MEMORY.iterdir()}  # of a process that had the same number, maybe
    process = started(script, tmp_path)
    if sent is not None:
        assert eventually((tmp_path / "began").exists, 30)
        if sent != signal.SIGKILL and chance.random() < 0.5:
            os.killpg(process.pid, sent)
        else:  # if all were killed, nobody could remove a thing
            process.send_signal(sent)
    try:
        out, errors = process.communicate(timeout=60)  # the watchdog
    finally:
        is_gone = eventually(lambda: members(process.pid) == [], 20)
        for one in members(process.pid):
            os.kill(one, signal.SIGKILL)

    assert out == "done\n" or sent is not None, errors
    assert is_gone, script
    assert eventually(lambda: left_in(tmp_path) == [], 10), script
    assert not {*SHARED_MEMORY.glob(f"*-{process.pid}-*")} - before, script
