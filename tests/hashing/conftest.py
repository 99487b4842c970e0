"""Hard cases that are not right yet are expected to fail, by a list anyone can read."""

from __future__ import annotations

from pathlib import Path

import pytest

LIST = Path(__file__).with_name("known_gaps.txt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests on the list; one that passes fails the suite."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    gaps = {line for line in lines if line and not line.startswith("#")}
    for item in items:
        if item.path.parent == LIST.parent and item.name in gaps:
            item.add_marker(pytest.mark.xfail(strict=True, reason="a known gap"))
