"""Times of functions that are called in turns, so that a slow moment meets them all."""

from __future__ import annotations

import gc
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Any, NamedTuple


class WrongResult(Exception):
    """What was timed did not do what it says."""


class Work(NamedTuple):
    """What is timed.

    Attributes
    ----------
    call : callable
        Without arguments.
    is_right : callable
        Tells of a result of `call` whether it is what it should be. Not timed.
    has_clock : bool
        Whether `call` returns the seconds that count: of a process that it started, or
        of the part that is of interest.
    """

    call: Callable[[], Any]
    is_right: Callable[[Any], bool] = lambda _: True
    has_clock: bool = False


class Pace(NamedTuple):
    """How long to measure.

    Attributes
    ----------
    seconds : float
        What one function should take at least in one turn; it is called again and
        again for so long.
    budget : float
        What all turns should take together; there are fewer of them if they are slow.
    fewest, most : int
        Turns.
    """

    seconds: float = 0.05
    budget: float = 5.0
    fewest: int = 3
    most: int = 9


# All results of a turn are checked if they are small, and these are enough.
MOST_KEPT = 100_000


def take_turns(
    works: Mapping[str, Work],
    pace: Pace,
    *,
    are_large: bool = False,
    turns: int | None = None,
) -> dict[str, list[float]]:
    """Return the seconds that a call took in each turn.

    Parameters
    ----------
    works : mapping
        What is called, in this order in every second turn and backwards in the others.
    pace : Pace
        How long to measure.
    are_large : bool, default False
        Whether only the last result of a turn is kept, and checked.
    turns : int, optional
        So many turns, each of one call, without trying how long they take: for what
        can be done but once.

    Raises
    ------
    WrongResult
        If a result is not right.
    """
    kept = 1 if are_large else MOST_KEPT
    gc.collect()
    gc.freeze()  # what was there before is looked at no more
    try:
        if turns is None:
            counts, turns = _plan(works, pace, kept)
        else:
            counts = dict.fromkeys(works, 1)
        seconds: dict[str, list[float]] = {name: [] for name in works}
        names = list(works)
        for _ in range(turns):
            for name in names:
                seconds[name].append(_seconds_of(name, works[name], counts[name], kept))
            names.reverse()
        return seconds
    finally:
        gc.unfreeze()


def _plan(
    works: Mapping[str, Work], pace: Pace, kept: int
) -> tuple[dict[str, int], int]:
    """Choose how often to call each in a turn, and how many turns there are."""
    counts, turn = {}, 0.0
    for name, work in works.items():
        if not work.has_clock:
            _seconds_of(name, work, 1, kept)  # the first call may be a slow one
        started = time.perf_counter()
        seconds = _seconds_of(name, work, 1, kept)
        passed = time.perf_counter() - started
        counts[name] = 1 if work.has_clock else max(1, int(pace.seconds / seconds))
        turn += counts[name] * (passed if work.has_clock else seconds)
    return counts, min(pace.most, max(pace.fewest, int(pace.budget / turn)))


def _seconds_of(name: str, work: Work, count: int, kept: int) -> float:
    """Return the mean seconds of some calls, having checked what they returned."""
    results: deque[Any] = deque(maxlen=kept)
    gc.collect()  # so that each pays for what it leaves itself, and for no others
    keep, call = results.append, work.call
    started = time.perf_counter()
    for _ in repeat(None, count):
        keep(call())
    seconds = (time.perf_counter() - started) / count
    for result in results:
        if not work.is_right(result):
            raise WrongResult(f"{name}: {str(result)[:200]}")
    return statistics.mean(results) if work.has_clock else seconds
