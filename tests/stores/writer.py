"""A process that writes into a store, and is stopped, killed or limited on the way.

Run as ``python -m tests.stores.writer COMMAND ROOT ...`` by `test_local_store`.
It says a line when it has come to a certain point, and waits for a line to go on:
nobody sleeps.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable

from cachekit.stores import LocalStore
from tests.stores.entries import commit, key_of, replace

# What a write does to a disk, as the interpreter announces it just before.
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "test"}

LARGEST_FILE = 1 << 16


def hold(root: str) -> None:
    """Stage half an entry, say so, and wait."""
    with LocalStore(root).stage(key_of()) as staging, staging.open("value") as file:
        file.write(b"half of the va")
        file.flush()
        _say("staged")
        _wait()


def race(root: str, name: str) -> None:
    """Commit when told to, and say whether that won."""
    store = LocalStore(root)
    _say("ready")
    _wait()
    _say("won" if commit(store, key_of(), name.encode() * 1000) else "lost")


def die(root: str, verb: str, last: str) -> None:
    """Do something with an entry, but die before a step; say how many there were."""
    store = LocalStore(root)
    done = 0

    def count(event: str, _: tuple[object, ...]) -> None:
        nonlocal done
        if event in STEPS:
            if done == int(last):
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(count)
    VERBS[verb](store)
    steps = done
    _say(str(steps))


def fill(root: str, verb: str) -> None:
    """Do something with a store when files cannot grow, and say what became of it."""
    store = LocalStore(root)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    try:
        VERBS[verb](store)
    except OSError as error:
        _say(f"OSError {error.errno}")
    else:
        _say("done")


def _commit_in_two_pieces(store: LocalStore) -> None:
    with store.stage(key_of()) as staging:
        with staging.open("value") as file:
            file.write(b"new")
            file.flush()
            sys.audit("test")
            file.write(b" value")
        with staging.open("record.json") as file:
            file.write(b"{}")
        staging.commit()


def _commit_much(store: LocalStore) -> None:
    commit(store, key_of(), bytes(4 * LARGEST_FILE))


def _describe_much_code(store: LocalStore) -> None:
    store.write_code(key_of(), bytes(4 * LARGEST_FILE))


def _add_many_hits(store: LocalStore) -> None:
    store.add_hits({key_of(number): 1 for number in range(2000)})


VERBS: dict[str, Callable[[LocalStore], None]] = {
    "commit": _commit_in_two_pieces,
    "replace": lambda store: replace(store, key_of(), b"new value"),
    "delete": lambda store: store.delete(key_of()),
    "commit much": _commit_much,
    "describe much code": _describe_much_code,
    "add many hits": _add_many_hits,
}


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _wait() -> None:
    sys.stdin.readline()


COMMANDS: dict[str, Callable[..., None]] = {
    "hold": hold,
    "race": race,
    "die": die,
    "fill": fill,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
