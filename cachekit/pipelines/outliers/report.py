"""What the user gets to see: figures, which are cached like all else, and a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cachekit.pipelines.figures import COLOURS, new_figure, png_of
from cachekit.pipelines.outliers.model import Plane, Score

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def draw_regions(
    maps: Mapping[str, NDArray[np.float64]],
    plane: Plane,
    *,
    contamination: float,
    n_columns: int,
    dpi: int,
) -> bytes:
    """Draw what each detector takes for odd in a plane, in a panel for each.

    Parameters
    ----------
    maps : mapping of str to ndarray, shape (n_grid, n_grid)
        As of `model.map_plane`, by detector.
    plane : Plane
        The rows, of which those of the test are drawn.
    contamination : float
        The line has so many of the test rows outside.
    n_columns : int
        Panels side by side, at most.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    n_columns = min(n_columns, len(maps))
    n_rows = math.ceil(len(maps) / n_columns)
    figure = new_figure(2.9 * n_columns + 1.4, 2.7 * n_rows + 1.1)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    panels = grid.flatten().tolist()
    for panel, (name, shares) in zip(panels, maps.items(), strict=False):
        shades = panel.contourf(
            plane.across,
            plane.up,
            shares,
            levels=[0, 0.25, 0.5, 0.75, 0.9, 1.0],
            cmap="Greys",
            vmax=1.8,  # light enough for the rows to stand out
        )
        line = [1 - contamination]
        panel.contour(plane.across, plane.up, shares, levels=line, colors="black")
        _draw_rows(panel, plane)
        panel.set(title=name, xlim=plane.across[[0, -1]], ylim=plane.up[[0, -1]])
    for panel in panels[len(maps) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(maps) - n_columns) : len(maps)]:
        panel.set_xlabel("1st principal direction\n(features scaled)")
        panel.tick_params(labelbottom=True)
    for panel in grid[:, 0]:
        panel.set_ylabel("2nd principal direction\n(features scaled)")
    figure.suptitle(
        f"What each detector takes for odd: outside the line, {contamination:.0%} of "
        "the rows\n(some are beyond the picture)"
    )
    figure.colorbar(shades, ax=panels, label="share of the rows that are less odd")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return png_of(figure, dpi=dpi)


def draw_curves(scores: Mapping[str, Sequence[Score]], *, dpi: int) -> bytes:
    """Draw how many outliers are found against how many usual rows are suspected.

    Parameters
    ----------
    scores : mapping of str to sequence of Score
        Of each draw, by detector.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image: means over the draws.
    """
    import numpy as np

    figure = new_figure(5.6, 5.6)
    axes = figure.subplots()
    for (name, some), colour, style in zip(
        scores.items(),
        COLOURS,
        ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))),
        strict=False,
    ):
        rates = np.array([score.hit_rates for score in some])
        suspected = np.linspace(0, 1, rates.shape[1])
        mean_auc = np.mean([score.roc_auc for score in some])
        axes.plot(
            suspected,
            rates.mean(axis=0),
            color=colour,
            linestyle=style,
            label=f"{name}, {mean_auc:.2f}",
        )
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, label="by chance, 0.50")
    axes.set(
        xlabel="usual rows taken for outliers (share)",
        ylabel="outliers found (share)",
        title="ROC curves, means over the draws",
        xlim=(0, 1),
        ylim=(0, 1.01),
        aspect="equal",
    )
    axes.legend(loc="lower right", title="area below the curve", frameon=False)
    return png_of(figure, dpi=dpi)


def draw_spread(
    scores: Mapping[str, Sequence[Score]], *, contamination: float, dpi: int
) -> bytes:
    """Draw the scores of each draw, and their means.

    Parameters
    ----------
    scores : mapping of str to sequence of Score
        Of each draw, by detector.
    contamination : float
        The average precision by chance.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    import numpy as np

    figure = new_figure(8.0, 0.5 * len(scores) + 2.0)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, chance, title, values in (
        (
            left,
            0.5,
            "area below the ROC curve",
            [[score.roc_auc for score in some] for some in scores.values()],
        ),
        (
            right,
            contamination,
            "average precision",
            [[score.average_precision for score in some] for some in scores.values()],
        ),
    ):
        for place, (some_values, colour) in enumerate(
            zip(values, COLOURS, strict=False)
        ):
            # Side by side in the order of draws: many have nearly the same score.
            beside = place + np.linspace(-0.25, 0.25, len(some_values))
            axes.scatter(
                some_values, beside, s=12, color=colour, alpha=0.7, linewidths=0
            )
            axes.plot([np.mean(some_values)] * 2, [place - 0.35, place + 0.35], "k-")
        axes.axvline(chance, color="0.6", linestyle=":", label="by chance")
        axes.set(xlabel=title, xlim=(0, 1.02))
    left.set_yticks(range(len(scores)), list(scores))
    left.invert_yaxis()
    figure.suptitle("Each draw of rows is a dot, the mean of all a line")
    left.legend(loc="upper left", frameon=False)
    return png_of(figure, dpi=dpi)


def print_scores(
    scores: Mapping[str, Sequence[Score]], *, title: str, contamination: float
) -> None:
    """Print a table with a row for each detector, the best first."""
    from statistics import mean, stdev

    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("detector")
    for name in ("ROC AUC", "average precision"):
        table.add_column(name, justify="right")
    measured = {
        name: (
            [score.roc_auc for score in some],
            [score.average_precision for score in some],
        )
        for name, some in scores.items()
    }
    for name, values in sorted(measured.items(), key=lambda item: -mean(item[1][0])):
        cells = [f"{mean(some):.3f} ± {stdev(some):.3f}" for some in values]
        table.add_row(name, *cells)
    table.add_row("by chance", *(f"{by:.3f}        " for by in (0.5, contamination)))
    Console(highlight=False).print(table)


def _draw_rows(panel: Axes, plane: Plane) -> None:
    for is_odd, label, colour, marker in (
        (False, "usual rows", COLOURS[5], "o"),
        (True, "outliers", COLOURS[4], "^"),
    ):
        rows = plane.draw.test[plane.draw.is_outlier == is_odd]
        panel.scatter(
            rows[:, 0],
            rows[:, 1],
            s=14,
            color=colour,
            marker=marker,
            label=label,
            edgecolors="white",
            linewidths=0.3,
        )
