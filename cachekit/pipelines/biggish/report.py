"""What the user gets to see: figures, which are cached like all else, and a table."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from cachekit.pipelines.biggish.checks import Check
from cachekit.pipelines.biggish.model import Places
from cachekit.pipelines.figures import COLOURS, new_figure, png_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MARKERS = "osD^vPX"


def draw_memory(
    memory: Mapping[str, NDArray[np.float64]],
    *,
    data_mb: float,
    budget_mb: float,
    dpi: int,
) -> bytes:
    """Draw what the passes add to the memory of the process while data goes by.

    Parameters
    ----------
    memory : mapping of str to ndarray, shape (n_chunks + 1,)
        Readings of each pass in MB, by what the pass is for; in the order of passes.
    data_mb : float
        Size of all records.
    budget_mb : float
        What may be added at most.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    import numpy as np

    figure = new_figure(6.6, 4.6)
    axes = figure.subplots()
    axes.plot([0, data_mb], [0, data_mb], color="0.6", label="the records themselves")
    axes.axhline(budget_mb, color="black", linestyle="--", label="the budget")
    seen, added = 0.0, 0.0
    for (name, readings), colour in zip(memory.items(), COLOURS, strict=False):
        gone_by = np.linspace(seen, seen + data_mb, len(readings))
        # What was added stays with the process; the libraries between do not count.
        axes.plot(gone_by, added + readings - readings[0], color=colour, label=name)
        seen, added = seen + data_mb, added + float(readings.max() - readings[0])
    axes.set(
        xlabel=f"records gone by (MB), {data_mb:,.0f} of them in each pass",
        ylabel="memory added, at the peak (MB)",
        title="Memory, while the records go by again and again",
        xlim=(0, seen),
        ylim=(0, 1.5 * max(budget_mb, added)),
    )
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return png_of(figure, dpi=dpi)


def draw_groups(places: Places, *, dpi: int) -> bytes:
    """Draw records in the plane of the principal directions, and the centres found.

    Parameters
    ----------
    places : Places
        Where they are.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    true, found = places.true, places.found
    figure = new_figure(6.0, 5.8)
    axes = figure.subplots()
    for group in range(len(true)):
        axes.scatter(
            places.records[places.groups == group, 0],
            places.records[places.groups == group, 1],
            s=9,
            alpha=0.6,
            linewidths=0,
            color=COLOURS[group],
            marker=_MARKERS[group],
        )
    axes.scatter(
        true[:, 0],
        true[:, 1],
        s=150,
        c="white",
        edgecolors="black",
        label="true centre",
    )
    axes.scatter(
        found[:, 0],
        found[:, 1],
        s=70,
        c="black",
        marker="x",
        label="found by k-means",
    )
    axes.set(
        xlabel="first principal direction (units of the noise)",
        ylabel="second principal direction (units of the noise)",
        title=f"The centres of {len(true)} groups, and {len(places.records):,} records",
        aspect="equal",
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return png_of(figure, dpi=dpi)


def draw_lessons(
    n_seen: NDArray[np.int64],
    accuracy: NDArray[np.float64],
    *,
    best: float,
    by_chance: float,
    dpi: int,
) -> bytes:
    """Draw how the accuracy of the classifier grows with the notes it has seen.

    Parameters
    ----------
    n_seen : ndarray of int, shape (n_times,)
        Notes seen by then.
    accuracy : ndarray, shape (n_times,)
        Share of right answers.
    best, by_chance : float
        The accuracy of an ideal reader, and of a guess.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    figure = new_figure(6.6, 4.4)
    axes = figure.subplots()
    axes.axhline(best, color="black", linestyle="--", label="the best possible")
    axes.axhline(by_chance, color="0.6", linestyle=":", label="by chance")
    axes.plot(
        n_seen,
        accuracy,
        color=COLOURS[0],
        marker="o",
        label="the classifier",
    )
    axes.set_xscale("log")
    axes.set(
        xlabel="notes learned from",
        ylabel="share of other notes told right",
        title="What a note is about, learned from a stream",
        ylim=(0, 1.02),
    )
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return png_of(figure, dpi=dpi)


def draw_distances(
    ratios: NDArray[np.float64],
    *,
    n_components: int,
    n_features: int,
    distortion: float,
    beyond: float,
    bound: float,
    dpi: int,
) -> bytes:
    """Draw by how much the projection changes distances.

    Parameters
    ----------
    ratios : ndarray, shape (n_pairs,)
        Squared distances after the projection, divided by those before.
    n_components, n_features : int
        Features after and before.
    distortion : float
        An error of them, which is marked.
    beyond, bound : float
        Share of the pairs that is beyond it, and that may be.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    from matplotlib.ticker import PercentFormatter

    figure = new_figure(6.6, 4.4)
    axes = figure.subplots()
    weights = [1 / len(ratios)] * len(ratios)
    axes.hist(ratios, bins=50, weights=weights, color=COLOURS[5])
    for side in (1 - distortion, 1 + distortion):
        axes.axvline(
            side,
            color="black",
            linestyle="--",
            label=f"beyond: {beyond:.1%} of the pairs; by theory, at most {bound:.0%}"
            if side < 1
            else None,
        )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(
        xlabel="squared distance after the projection / before",
        ylabel="share of pairs",
        title=f"Distances of {len(ratios):,} pairs, "
        f"{n_features} features projected onto {n_components}",
    )
    figure.legend(loc="outside lower center", frameon=False)
    return png_of(figure, dpi=dpi)


def print_checks(checks: Sequence[Check]) -> None:
    """Print a table with a row for each result."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("found", justify="right")
    table.add_column("at most", justify="right")
    table.add_column("")
    for check in checks:
        verdict = "right" if check.is_met else "[bold]off[/bold]"
        table.add_row(check.title, f"{check.found:.3g}", f"{check.limit:.3g}", verdict)
    Console(highlight=False).print(table)


def echo_memory(*, data_mb: float, budget_mb: float, peak_mb: float) -> None:
    """Tell what the memory and the disk are used for, sizes in MB."""
    text = (
        f"{data_mb:,.0f} MB of records went by, {data_mb / budget_mb:.1f} times the "
        f"budget of memory. The process, with Python and libraries, held "
        f"{peak_mb:,.0f} MB at most. The store keeps the records; to make room: "
        "cachekit rm stream_records project_records hash_notes"
    )
    click.echo(textwrap.fill(text, 79))
