"""Let many want one key at once: one computes."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from tests.torture.answers import leftovers
from tests.torture.children import Child, Children

PROCESSES = 8
LONGEST_SECONDS = 0.3


def single(chance: random.Random, folder: Path) -> None:
    """Start processes of 16 threads; in some rounds, kill the one that computes."""
    root, log = folder / "store", folder / "log"
    is_killed = chance.random() < 0.5
    number = chance.randrange(1000)
    # So long that it is killed before it is done.
    seconds = 1.0 if is_killed else chance.uniform(0, LONGEST_SECONDS)
    with Children(folder / "errors") as children:
        started = [
            children.start("compute_once", root, log, number, seconds)
            for _ in range(PROCESSES)
        ]
        for child in started:
            child.await_ready()
        for child in started:
            child.go()
        killed = _kill_computing(started, log) if is_killed else None
        for child in started:
            child.finish(-signal.SIGKILL if child is killed else 0)

    computed = log.read_text().splitlines()
    assert len(computed) == 1 + is_killed, f"computed by {computed}"
    assert not leftovers(root, ".leases"), leftovers(root, ".leases")


def _kill_computing(started: list[Child], log: Path) -> Child:
    while not log.exists() or not log.read_text().endswith("\n"):
        assert any(child.process.poll() is None for child in started), "none computes"
    pid = int(log.read_text().splitlines()[0])
    (child,) = [child for child in started if child.process.pid == pid]
    child.kill()
    return child
