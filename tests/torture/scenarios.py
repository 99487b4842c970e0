"""The scenarios, and how one round of one is played."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tests.torture.cleared import cleared
from tests.torture.damaged import damaged
from tests.torture.full import full
from tests.torture.killed import killed
from tests.torture.single import single

SCENARIOS: dict[str, Callable[[random.Random, Path], None]] = {
    "killed": killed,
    "damaged": damaged,
    "full": full,
    "cleared": cleared,
    "single": single,
}


def play(name: str, folder: Path, *, seed: int, number: int = 0) -> None:
    """Play one round of a scenario in a fresh folder.

    Raises
    ------
    AssertionError
        If a store did not bear it, with all that is needed to do it again; what the
        operating system does meanwhile is not the same twice.
    """
    chance = random.Random(f"{name} {seed} {number}")
    try:
        SCENARIOS[name](chance, folder)
    except Exception as error:
        message = f"{name}, seed {seed}, round {number}: {error!r}"
        raise AssertionError(message) from error
