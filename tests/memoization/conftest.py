"""A store in which nothing may be left half done, for tests that ask for no other."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachekit import Memory


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a store."""
    folder = tmp_path / "store"
    yield folder
    until = time.monotonic() + 10
    while left_in(folder) and time.monotonic() < until:
        gc.collect()  # not each time: it takes long where much was imported
        time.sleep(0.01)  # workers that nobody waits for, after an error, are to end
    assert left_in(folder) == []


def left_in(folder: Path) -> list[Path]:
    """Return what is being written, or computed, by what the store has of it."""
    places = [folder / ".staging", folder / ".leases"]
    return [path for place in places if place.exists() for path in place.iterdir()]


@pytest.fixture
def memory(store: Path) -> Memory:
    """Return a memory that keeps results there."""
    return Memory(store)
