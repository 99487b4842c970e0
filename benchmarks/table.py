"""Rows as tables: in a terminal of 80 columns, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row, Spread

HEAD = ("what", "beside", "ours", "theirs", "ratio", "half of them", "owed", "holds")


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print a table for each topic: under what cachekit takes, what the others do."""
    for topic, group in groupby(rows, key=lambda row: row.topic):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True)
        table.add_column(topic)
        for name in ("takes", "ratio", "half of them", "owed", "holds"):
            table.add_column(name, justify="right", no_wrap=True)
        for name, same in groupby(group, key=title):
            _add(table, name, list(same))
        console.print(table)


def _add(table: Table, name: str, rows: Sequence[Row]) -> None:
    """Add what cachekit takes, and a line for each of the others."""
    first = rows[0]
    limit = (owed(first), verdict(first)) if first.most is not None else ("", "")
    table.add_row(name, amount(first.ours, first.unit), "", "", *limit, style="bold")
    for row in rows:
        if row.ratio is not None:
            took, ratio = amount(row.other, row.unit), f"{number(row.ratio.median)}x"
            beside = f"  {row.beside}"
            table.add_row(beside, took, ratio, half(row), owed(row), verdict(row))


def markdown(rows: Iterable[Row]) -> str:
    """Return a table of rows."""
    lines = [HEAD, ("---", "---", *["---:"] * 5, "---")]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*lines, *_cells(rows)])


def failed(rows: Iterable[Row]) -> list[Row]:
    """Return the rows whose debt is not paid."""
    return [row for row in rows if row.holds is False]


def title(row: Row) -> str:
    """Say what a row measures, and where."""
    amount = "" if row.x is None else f" ({row.x:,.0f})"
    place = f", {row.place}" if row.place else ""
    return f"{row.name}{amount}{place}"


def _cells(rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    before = ""
    for row in rows:
        name = title(row)
        yield (
            name if name != before else "",
            row.beside,
            amount(row.ours, row.unit),
            amount(row.other, row.unit),
            f"{number(row.ratio.median)}x" if row.ratio else "",
            half(row),
            owed(row),
            verdict(row),
        )
        before = name


def half(row: Row) -> str:
    """Say between what half of the ratios lie."""
    if row.ratio is None or row.ratio.low == row.ratio.high:
        return ""
    return f"{number(row.ratio.low)}-{number(row.ratio.high)}"


def verdict(row: Row) -> str:
    """Say whether what is owed was measured."""
    return {True: "yes", False: "no", None: ""}[row.holds]


def owed(row: Row) -> str:
    """Say what is owed."""
    if row.most is not None:
        return f"≤ {amount(Spread(row.most, 0, 0), row.unit)}"
    return f"≥ {number(row.least)}x" if row.least else ""


def amount(found: Spread | None, unit: str) -> str:
    """Write a median with its unit, for people."""
    if found is None:
        return ""
    value = found.median
    if unit == "s":
        return seconds(value)
    if unit == "B":
        return f"{value / 1e6:.0f} MB"
    return f"{value:.2f}" if not unit else f"{value:g}"


def seconds(value: float) -> str:
    """Write a time with three digits at most."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{number(value / scale)} {unit}"
    return f"{value * 1e9:.0f} ns"


def number(value: float) -> str:
    """Write a number with three digits, a small one with fewer."""
    if value >= 99.5:
        return f"{value:.0f}"
    if value >= 9.95:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.095 else f"{value:.1g}"
