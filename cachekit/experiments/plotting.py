"""Draw a metric over runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cachekit.errors import EntryNotFound, MissingExtra
from cachekit.experiments.record import RunRecord

# Told apart by people of all kinds of colour vision: Okabe and Ito (2008),
# https://jfly.uni-koeln.de/color/, without the yellow, which is faint on white.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000")
_MARKERS = "osD^vPX"

# So many dates fit below a figure.
_MOST_DATES = 8


def plot_metric(runs: Sequence[RunRecord], metric: str, path: Path) -> int:
    """Draw a metric over runs into a PNG file.

    Parameters
    ----------
    runs : sequence of RunRecord
        In any order; those that do not have the metric are left out.
    metric : str
        Its name.
    path : Path
        The file to write.

    Returns
    -------
    int
        How many runs were drawn.

    Raises
    ------
    EntryNotFound
        If no run has the metric.
    MissingExtra
        If matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    chosen = sorted(
        (run for run in runs if metric in run.metrics), key=lambda run: run.started
    )
    if not chosen:
        known = sorted({name for run in runs for name in run.metrics})
        some = f"; there are {', '.join(known[:8])}" if known else ""
        raise EntryNotFound(f"no run has a metric {metric!r}{some}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("cachekit runs plot", "ml") from error

    figure = Figure(figsize=(7, 4), layout="constrained")
    # A canvas of our own: pyplot would look for a screen, and keep the figure.
    FigureCanvasAgg(figure)
    _draw(figure.add_subplot(), chosen, metric)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        figure.savefig(partial, format="png", dpi=150)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return len(chosen)


def _draw(axes: Any, runs: Sequence[RunRecord], metric: str) -> None:
    names = list(dict.fromkeys(run.name for run in runs))
    for number, name in enumerate(names):
        points = [(x, one) for x, one in enumerate(runs, 1) if one.name == name]
        axes.plot(
            [x for x, _ in points],
            [run.metrics[metric] for _, run in points],
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            linewidth=1.2,
            label=_plain(name),
        )
    failed = [(x, one) for x, one in enumerate(runs, 1) if one.status != "finished"]
    if failed:
        axes.plot(
            [x for x, _ in failed],
            [run.metrics[metric] for _, run in failed],
            linestyle="none",
            marker="o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor="#555555",
            label="did not finish",
        )
    step = max(1, -(-len(runs) // _MOST_DATES))
    shown = range(0, len(runs), step)
    axes.set_xticks(
        [place + 1 for place in shown], [_moment(runs[place]) for place in shown]
    )
    axes.set_xlabel("Run, the oldest first (date and time, UTC)")
    axes.set_ylabel(_plain(metric))
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(names) + bool(failed) > 1:
        axes.legend(frameon=False)
    else:
        axes.set_title(_plain(names[0]))


def _moment(run: RunRecord) -> str:
    return f"{datetime.fromisoformat(run.started):%m-%d\n%H:%M}"


def _plain(text: str) -> str:
    """Keep matplotlib from reading a formula, or hiding what begins with ``_``."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
