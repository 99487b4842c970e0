"""Kill writers at random moments, read meanwhile, and look at what they leave.

Run as ``python -m tests.stores.killing ROOT ROUNDS`` by `test_local_faults`: it forks,
which pytest's process should not. It fails with an AssertionError, or says how many
of its reads found an entry, and how much was left to be swept.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from cachekit.stores import LocalStore, Store
from tests.stores.entries import commit, key_of, value_of

KEYS = [key_of(number) for number in range(3)]

LONGEST_LIFE = 0.15  # seconds


def main(root: str, rounds: str) -> None:
    """Kill one writer after another."""
    chance = random.Random(root)
    found = swept = 0
    for number in range(int(rounds)):
        writer = os.fork()
        if writer == 0:  # it never leaves
            write_for_ever(LocalStore(root, durable=number % 10 == 0))
        store = LocalStore(root)
        end = time.monotonic() + chance.uniform(0, LONGEST_LIFE)
        while time.monotonic() < end:
            found += is_found_whole(store)
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)

        assert_all_is_whole(Path(root))
        swept += len(list(Path(root).glob(".staging/*")))
        commit_in_another_process(root)
        assert list(Path(root).glob(".staging/*")) == [], "it should be swept"
    sys.stdout.write(f"{found} {swept}\n")


def write_for_ever(store: Store) -> NoReturn:
    """Commit, replace and delete, until killed."""
    while True:
        key = random.choice(KEYS)
        verb = random.choice(["commit", "replace", "delete"])
        if verb == "delete":
            store.delete(key)
            continue
        mark = random.randbytes(1)
        with store.stage(key) as staging:
            for name in ("value", "record.json"):
                with staging.open(name) as file:
                    for _ in range(random.randrange(1, 4)):
                        file.write(mark * 10_000)
                    file.write(b"end")
            staging.commit() if verb == "commit" else staging.replace()


def is_found_whole(store: Store) -> bool:
    """Read an entry, if it is there."""
    value = value_of(store, random.choice(KEYS))
    if value is not None:
        mark_of(value)
    return value is not None


def mark_of(content: bytes) -> int:
    """Return the byte that all of a whole file is made of."""
    assert content.endswith(b"end")
    (mark,) = set(content[:-3])
    return mark


def assert_all_is_whole(root: Path) -> None:
    """Check each entry: both files, both whole, both of one writer's turn."""
    for entry in root.glob("*.*/*/??/*"):
        files = {path.name: path.read_bytes() for path in entry.iterdir()}
        assert set(files) == {"value", "record.json"}
        assert mark_of(files["value"]) == mark_of(files["record.json"])


def commit_in_another_process(root: str) -> None:
    """Commit an entry of another function, so that the store is used again."""
    child = os.fork()
    if child == 0:
        store = LocalStore(root)
        key = key_of(function="other")
        store.delete(key)
        os._exit(0 if commit(store, key) else 1)
    assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
