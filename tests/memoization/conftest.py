"""A store in which nothing may be left half done, for tests that ask for no other."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachekit import Memory


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a store."""
    folder = tmp_path / "store"
    yield folder
    gc.collect()
    for name in (".staging", ".leases"):
        left = [*(folder / name).iterdir()] if (folder / name).exists() else []
        assert left == []


@pytest.fixture
def memory(store: Path) -> Memory:
    """Return a memory that keeps results there."""
    return Memory(store)
