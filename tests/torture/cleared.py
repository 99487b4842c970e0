"""Clear and evict beside those who read and write."""

from __future__ import annotations

import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cachekit import Memory
from cachekit.stores import LocalStore
from tests.torture.answers import Caller, assert_all_is_whole, leftovers
from tests.torture.children import Children
from tests.torture.churning import NUMBERS, Churner

THREADS, PROCESSES = 4, 2
ACTS = 150  # of each


def cleared(chance: random.Random, folder: Path) -> None:
    """Have threads and processes do whatever they like to one store."""
    root = folder / "store"
    seeds = [chance.getrandbits(32) for _ in range(THREADS + PROCESSES)]

    def churn(seed: int) -> None:
        churner = Churner(str(root), random.Random(seed))
        for _ in range(ACTS):
            churner.act()

    with Children(folder / "errors") as children, warnings.catch_warnings():
        warnings.simplefilter("error")
        others = [
            children.start("churn", root, seed, "never", ACTS)
            for seed in seeds[THREADS:]
        ]
        for other in others:
            other.await_ready()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(churn, seeds[:THREADS]))
        for other in others:
            other.finish()

        assert_all_is_whole(LocalStore(root))
        for name in (".staging", ".leases"):  # nobody died, so nothing is swept
            assert not leftovers(root, name), f"{name}: {leftovers(root, name)}"
        _assert_works(root)


def _assert_works(root: Path) -> None:
    for wanted in (None, 0):  # the second time all is found
        memory = Memory(root)
        for number in range(NUMBERS):
            Caller(memory).ask(number)
        assert wanted is None or memory.tally().misses == wanted
