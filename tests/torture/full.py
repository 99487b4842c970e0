"""Fill a small disk at random moments while it is written to."""

from __future__ import annotations

import contextlib
import errno
import random
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cachekit import Memory
from cachekit.stores import LocalStore
from tests.stores.disks import NEEDS_ROOM, FullDisk, failing, small_disk
from tests.torture.answers import (
    COMPRESSIONS,
    Caller,
    assert_all_is_whole,
    leftovers,
    only_cache_warnings,
)
from tests.torture.counts import counts

SPELLS = 12
CALLS = 30  # a spell
NUMBERS = 60  # whose answers come to more than the disk can hold
LONGEST_SPELL = 0.02  # seconds


def full(chance: random.Random, folder: Path) -> None:
    """Run out of bytes, then out of files."""
    for scarce in ("bytes", "files"):
        disk = folder / scarce
        with small_disk(disk, scarce) as fill:
            root = disk / "store"
            told = 0
            for _ in range(SPELLS):
                with only_cache_warnings() as caught, _at_times(disk, fill, chance):
                    _call(root, chance)
                told += len(caught)
                counts["writes to a full disk"] += len(caught)
                assert_all_is_whole(LocalStore(root))
                for name in (".staging", ".leases"):
                    left = leftovers(root, name)
                    assert not left, f"{name}: {left}"
            _assert_works(root)
            assert told > 0, "the disk was never full when it was written to"


def _call(root: Path, chance: random.Random) -> None:
    memory = Memory(root, compress=chance.choice(COMPRESSIONS))
    caller = Caller(memory)
    for _ in range(CALLS):
        ask = chance.choice([caller.ask, caller.ask_pair])
        ask(chance.randrange(NUMBERS))
        if chance.random() < 0.05:
            with contextlib.suppress(OSError):  # whoever asks for it is told
                memory.reduce_size(items_limit=chance.randrange(10))


@contextmanager
def _at_times(disk: Path, fill: FullDisk, chance: random.Random) -> Iterator[None]:
    """Have a disk full now and then, or from some step on if it is no real one."""
    if not disk.is_mount():
        with failing(disk, errno.ENOSPC, NEEDS_ROOM, after=chance.randrange(300)):
            yield
        return
    done = threading.Event()
    filling = random.Random(chance.getrandbits(32))

    def fill_at_times() -> None:
        while not done.wait(filling.uniform(0, LONGEST_SPELL)):
            # Without room for what fills it, it is full already.
            with contextlib.suppress(OSError), fill():
                done.wait(filling.uniform(0, LONGEST_SPELL))
            with contextlib.suppress(OSError):
                (disk / "filling").rmdir()

    thread = threading.Thread(target=fill_at_times)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _assert_works(root: Path) -> None:
    """Check that calls are stored and found, once there is room."""
    memory = Memory(root)
    memory.clear(warn=False)  # also its folders, of which there are too many
    caller = Caller(memory)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            for number in range(4):
                caller.ask(number)
    assert memory.tally()[:2] == (4, 4), "what was stored is not found"
