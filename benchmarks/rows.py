"""Cases, which are measured, and rows, which are what came out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.timing import Pace, Work, take_turns

OURS = "cachekit"


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to measure.

    Attributes
    ----------
    places : dict of str to Path
        A folder of each file system, by its kind: ``{"tmpfs": …, "ext4": …}``. The
        first is the quickest, the last a disk.
    quick : bool
        Whether to try only that everything works.
    full : bool
        Whether to measure also what takes very long.
    """

    places: Mapping[str, Path]
    quick: bool = False
    full: bool = False

    @property
    def pace(self) -> Pace:
        """How long to measure each case."""
        return Pace(0.005, 0.2, 2, 3) if self.quick else Pace()

    @property
    def memory(self) -> tuple[str, Path]:
        """The quickest file system, and its folder."""
        return next(iter(self.places.items()))

    @property
    def disk(self) -> tuple[str, Path]:
        """The last file system, and its folder."""
        return list(self.places.items())[-1]

    def folder(self, place: str, name: str) -> Path:
        """Make a folder in a place."""
        folder = self.places[place] / name
        folder.mkdir(parents=True)
        return folder


@dataclass(frozen=True)
class Case:
    """One thing that cachekit does, and others that do the same.

    Attributes
    ----------
    name : str
        What is done.
    ours : Work
        By cachekit.
    others : dict of str to Work
        By others; what is not installed is left out.
    owed : dict of str to float
        So many times as long as cachekit the others have to take.
    most : float or None
        Seconds that cachekit may take.
    place : str
        The kind of file system, if it matters.
    x : float or None
        How much there is of it, if this is a point of a curve.
    are_large, turns
        As for `take_turns`.
    """

    name: str
    ours: Work
    others: Mapping[str, Work] = field(default_factory=dict)
    owed: Mapping[str, float] = field(default_factory=dict)
    most: float | None = None
    place: str = ""
    x: float | None = None
    are_large: bool = False
    turns: int | None = None


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, and between what half of them lie."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """What cachekit took, and what another took in the same turns.

    Attributes
    ----------
    topic, name, place, x
        What was measured: the topic it belongs to, and as in `Case`.
    beside : str
        The other; empty if the row is about what cachekit takes at most.
    unit : str
        Of `ours` and `other`: "s", "B", "requests", or "" for a part of something.
    ours, other : Spread
        Of all turns.
    ratio : Spread or None
        Of the ratios within each turn; more than 1 means that the other took more.
    least : float or None
        The ratio that is owed.
    most : float or None
        What ours may be.
    """

    topic: str
    name: str
    beside: str
    unit: str
    ours: Spread
    other: Spread | None = None
    ratio: Spread | None = None
    least: float | None = None
    most: float | None = None
    place: str = ""
    x: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether what is owed was measured; None if nothing is owed."""
        if self.most is not None:
            return self.ours.median <= self.most
        if self.least is not None and self.ratio is not None:
            return self.ratio.median >= self.least
        return None

    @property
    def key(self) -> tuple[object, ...]:
        """What the row is about: the same in another run."""
        return self.topic, self.name, self.beside, self.place, self.x, self.most is None

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain data, with the verdict."""
        return {**asdict(self), "holds": self.holds}


def row_from(plain: Mapping[str, Any]) -> Row:
    """Make a row of what `Row.to_json` returned."""
    facts = {name: value for name, value in plain.items() if name != "holds"}
    for name in ("ours", "other", "ratio"):
        if facts[name] is not None:
            facts[name] = Spread(**facts[name])
    return Row(**facts)


def measure(topic: str, case: Case, pace: Pace) -> Iterator[Row]:
    """Time a case, and yield a row for each of the others and for what is owed."""
    works = {OURS: case.ours, **case.others}
    found = take_turns(works, pace, are_large=case.are_large, turns=case.turns)
    ours = found.pop(OURS)
    if case.most is not None or not found:
        yield Row(
            topic, case.name, "", "s", spread(ours), None, None,
            None, case.most, case.place, case.x,
        )  # fmt: skip
    for name, other in found.items():
        ratios = [theirs / mine for mine, theirs in zip(ours, other, strict=True)]
        yield Row(
            topic, case.name, name, "s", spread(ours), spread(other), spread(ratios),
            case.owed.get(name), None, case.place, case.x,
        )  # fmt: skip


def fact(
    topic: str,
    name: str,
    unit: str,
    value: float,
    *,
    beside: tuple[str, float] | None = None,
    least: float | None = None,
    most: float | None = None,
) -> Row:
    """Make a row of what was counted and not timed."""
    ours = Spread(value, value, value)
    if beside is None:
        return Row(topic, name, "", unit, ours, most=most)
    other, there = beside
    ratio = there / value
    return Row(
        topic, name, other, unit, ours, Spread(there, there, there),
        Spread(ratio, ratio, ratio), least, most,
    )  # fmt: skip


def spread(numbers: Sequence[float]) -> Spread:
    """Return the median and the quartiles."""
    if len(numbers) == 1:
        return Spread(numbers[0], numbers[0], numbers[0])
    low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return Spread(median, low, high)


Topic = Callable[[Setting], Iterator[Case | Row]]
