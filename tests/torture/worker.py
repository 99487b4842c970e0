"""A process that uses stores, to be killed or waited for.

Run as ``python -m tests.torture.worker COMMAND ...`` by `tests.torture.children`. It
says ``ready`` when it begins. Any warning ends it: nothing here gives a reason for one.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from cachekit import Memory
from cachekit.stores import LocalStore
from tests.stores.entries import key_of
from tests.stores.writer import STEPS
from tests.torture.answers import Caller
from tests.torture.children import say
from tests.torture.churning import MOST_ENTRIES, NUMBERS, Churner

NEVER = "never"


def keep(root: str, seed: str, death: str) -> None:
    """Store answers, and say of which numbers; until killed."""
    chance = random.Random(seed)
    caller = Caller(Memory(root, compress=True))
    caller.ask(0)
    _begin(death)
    while _is_wanted():
        number = chance.randrange(200)
        caller.ask(number)
        say(str(number))


def churn(root: str, seed: str, death: str, acts: str) -> None:
    """Do whatever may be done to a store; until killed, or so many times."""
    churner = Churner(root, random.Random(seed))
    _begin(death)
    for _ in _times(acts):
        churner.act()


def survive(kept: str, churned: str, number: str) -> None:
    """Use the stores as if nothing had happened, and store something new."""
    say("ready")
    caller = Caller(Memory(kept))
    caller.ask(int(number))
    caller.ask_pair(int(number))
    caller = Caller(Memory(churned, max_entries=MOST_ENTRIES))
    for other in range(NUMBERS):
        caller.ask(other)
        caller.ask_pair(other)


def hold(root: str, lease: str) -> None:
    """Hold a lease and stage half an entry; until killed."""
    store = LocalStore(root)
    with (
        store.flights.turn(lease, lambda: None),
        store.stage(key_of()) as staging,
        staging.open("value") as file,
    ):
        file.write(b"half of the va")
        file.flush()
        _begin(NEVER)
        sys.stdin.readline()


def compute_once(root: str, log: str, number: str, seconds: str) -> None:
    """Have sixteen threads call one slow function when told to."""
    memory, together = Memory(root), threading.Barrier(16)
    slow = memory.cache(slow_square, ignore=["log", "seconds"])

    def call(_: int) -> int:
        together.wait()
        return slow(int(number), log, float(seconds))

    _begin(NEVER)
    sys.stdin.readline()
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(call, range(16))) == [int(number) ** 2] * 16


def slow_square(number: int, log: str, seconds: float) -> int:
    """Note who computes, and take a while for it."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{os.getpid()}\n".encode())
    os.close(file)
    time.sleep(seconds)
    return number**2


def _begin(death: str) -> None:
    """Say so; from now on, so many steps on the disk are left before death."""
    say("ready")
    if death == NEVER:
        return
    left = int(death)

    def count(event: str, _: tuple[object, ...]) -> None:
        nonlocal left
        if event in STEPS:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def _is_wanted() -> bool:
    """Tell whether the parent is still there: it may have been killed itself."""
    return os.getppid() == _parent


def _times(acts: str) -> Iterator[None]:
    left = float("inf") if acts == NEVER else int(acts)
    while left > 0 and _is_wanted():
        left -= 1
        yield


_parent = os.getppid()

COMMANDS: dict[str, Callable[..., None]] = {
    "keep": keep,
    "churn": churn,
    "survive": survive,
    "hold": hold,
    "compute_once": compute_once,
}

if __name__ == "__main__":
    warnings.simplefilter("error")
    COMMANDS[sys.argv[1]](*sys.argv[2:])
