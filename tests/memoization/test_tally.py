"""How the counts of calls reach the store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cachekit.memoization.tally import HITS_PER_LOOK, SAVE_SECONDS, CallCounter
from cachekit.stores import DictStore, EntryKey, LocalStore
from tests.memoization.project import Project

KEY = EntryKey("module.f", "f" * 32, "a" * 32)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> DictStore:
    store = DictStore()
    with store.stage(KEY) as staging:
        staging.write("value", b"value")
        staging.commit()
    return store


def test_hits_reach_the_store_every_ten_seconds_while_there_are_calls(
    store: DictStore, clock: Clock
) -> None:
    counter = CallCounter(clock)
    counter.keep_in(store)
    for _ in range(HITS_PER_LOOK):
        counter.hit(KEY)
    assert store.hits() == {}

    clock.now += SAVE_SECONDS
    for _ in range(HITS_PER_LOOK + 1):
        counter.hit(KEY)

    assert store.hits() == {KEY.path: 2 * HITS_PER_LOOK}
    clock.now += SAVE_SECONDS
    counter.miss("module.g", 1.0)  # also a call
    assert store.hits() == {KEY.path: 2 * HITS_PER_LOOK + 1}


def test_the_counts_of_two_counters_add_up(store: DictStore, clock: Clock) -> None:
    for _ in range(2):
        counter = CallCounter(clock)
        counter.hit(KEY)
        counter.save(store)
        counter.save(store)

    assert store.hits() == {KEY.path: 2}


def test_without_a_store_to_keep_them_in_hits_wait(
    store: DictStore, clock: Clock
) -> None:
    counter = CallCounter(clock)
    counter.hit(KEY)
    clock.now += 100 * SAVE_SECONDS
    for _ in range(2 * HITS_PER_LOOK):
        counter.hit(KEY)

    assert store.hits() == {}


SQUARE = """
    import multiprocessing, os
    from cachekit import Memory

    memory = Memory("store")

    @memory.cache
    def square(x):
        return x * x

    def call(times):
        for _ in range(times):
            square(4)
    """


def hits_of(project: Project) -> int:
    return sum(LocalStore(project.store).hits().values())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_the_hits_of_forked_workers_count_once_each(tmp_path: Path) -> None:
    project = Project(tmp_path)
    fork = """
    call(4)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=call, args=[5]) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    """
    project.write("script.py", SQUARE + fork)

    project.run("script.py")

    assert hits_of(project) == 3 + 2 * 5


def test_a_killed_process_loses_only_its_last_hits(tmp_path: Path) -> None:
    project = Project(tmp_path)
    kill = """
    call(5)
    memory.counter._due = 0.0  # as after ten seconds
    call(7)
    os._exit(0)  # nothing is done at the end
    """
    project.write("script.py", SQUARE + kill)

    project.run("script.py")

    assert hits_of(project) == 8
