"""Figures of a report: what is owed, and how cost grows; all axes are logarithmic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rows import OURS, Row
from benchmarks.table import owed, seconds, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours of Okabe and Ito, which colour-blind people tell apart, each with a marker.
STYLES = {
    OURS: ("#0072B2", "o", "-"),
    "joblib": ("#D55E00", "s", "--"),
    "BLAKE3": ("#009E73", "^", ":"),
    "plain write": ("#009E73", "^", ":"),
    "plain read": ("#009E73", "^", ":"),
    "ThreadPoolExecutor": ("#009E73", "^", ":"),
    "numpy.save": ("#CC79A7", "v", "-."),
}

# Of each topic that grows: what the axis has, and the panels.
CURVES: dict[str, tuple[str, tuple[str, ...]]] = {
    "entries": ("entries in the store", ("hit", "miss", "list")),
    "arrays": ("bytes", ("digest", "hit, array", "dump array", "load array")),
    "tasks": ("tasks", ("trivial tasks, threading", "trivial tasks, loky")),
    "functions": ("functions that one calls", ("hit", "first fingerprint")),
}


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw what the rows allow into SVG files of a folder; return their paths."""
    import matplotlib as mpl

    mpl.use("svg")
    # The same rows make the same file: no date, and names that are no accident.
    mpl.rcParams["svg.hashsalt"] = "cachekit"
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["font.size"] = 9
    drawn = []
    debts = [row for row in rows if row.holds is not None and row.unit == "s"]
    if debts:
        drawn.append(_draw_debts(debts, folder / "owed.svg"))
    for topic, (label, names) in CURVES.items():
        points = [row for row in rows if row.topic == topic and row.x is not None]
        if points:
            drawn.append(_draw_curves(points, label, names, folder / f"{topic}.svg"))
    return drawn


def _draw_debts(rows: Sequence[Row], path: Path) -> Path:
    """Draw each ratio divided by what is owed: right of the line is paid."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 1.2 + 0.2 * len(rows)))
    for place, row in enumerate(rows):
        low, median, high = _shares(row)
        colour, marker = ("#0072B2", "o") if row.holds else ("#D55E00", "X")
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot([median], [place], marker, color=colour, markersize=5)
    axes.axvline(1, color="black", linewidth=1)
    names = [f"{title(row)}: {owed(row)} {row.beside}".strip() for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    _name_ticks(axes.xaxis, lambda value, _: f"{value:g}")
    axes.set_xlabel("measured / owed: right of the line is better than owed")
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    return _saved(figure, path)


def _shares(row: Row) -> tuple[float, float, float]:
    """Return how many times as good as owed the quartiles and the median are."""
    if row.most is not None:
        found = row.ours
        return tuple(row.most / n for n in (found.high, found.median, found.low))  # type: ignore[return-value]
    assert row.ratio is not None
    assert row.least is not None
    found = row.ratio
    return tuple(n / row.least for n in (found.low, found.median, found.high))  # type: ignore[return-value]


def _draw_curves(
    rows: Sequence[Row], label: str, names: Iterable[str], path: Path
) -> Path:
    from matplotlib import pyplot

    shown = [name for name in names if any(row.name == name for row in rows)]
    width = len(shown) if len(shown) < 4 else 2
    height = -(-len(shown) // width)
    figure, grid = pyplot.subplots(
        height, width, figsize=(3.0 * width + 0.8, 2.7 * height), squeeze=False
    )
    for axes, name in zip(grid.flat, shown, strict=True):
        _draw_panel(axes, [row for row in rows if row.name == name])
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(label)
    for row in grid:
        row[0].set_ylabel("time")
    return _saved(figure, path)


def _draw_panel(axes: Axes, rows: Sequence[Row]) -> None:
    series: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in rows:
        assert row.x is not None
        for name, found in ((OURS, row.ours), (row.beside, row.other)):
            point = found and (row.x, found.low, found.median, found.high)
            points = series.setdefault(name, []) if point else []
            if point and name in STYLES and row.x not in [x for x, *_ in points]:
                points.append(point)
    for name, points in series.items():
        if not points:
            continue
        colour, marker, line = STYLES[name]
        x, low, median, high = zip(*points, strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            x, median, line, marker=marker, color=colour, label=name, markersize=4
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    _name_ticks(axes.yaxis, _name_of_seconds)
    axes.grid(color="#dddddd")
    axes.legend(fontsize=7, frameon=False)


def _name_of_seconds(value: float, _: object) -> str:
    """Write a power of ten: ``"10 ms"``."""
    amount, unit = seconds(value).split()
    return f"{float(amount):g} {unit}"


def _name_ticks(axis: Any, name: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(name))
    axis.set_minor_formatter(NullFormatter())


def _saved(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
