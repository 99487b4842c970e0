"""A store bears whatever is done to it: one round of each scenario.

``python -m tests.torture --rounds 100`` plays many, with a seed of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.torture.scenarios import SCENARIOS, play

SEED = int(os.environ.get("CACHEKIT_TORTURE_SEED", "0"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills processes as POSIX does")
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_lost_or_wrong(name: str, tmp_path: Path) -> None:
    play(name, tmp_path, seed=SEED)
