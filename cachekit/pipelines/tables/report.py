"""What the user gets to see: the figures, the rows of the files, and the table.

Figures are meant to be cached like the rest of the pipeline, and take plain arrays.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cachekit.pipelines.figures import COLOURS, new_figure, png_of
from cachekit.pipelines.tables.data import Table
from cachekit.pipelines.tables.recipes import Recipe
from cachekit.texts import cut

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# --- the figures ---


def draw_predictions(
    values: NDArray[np.float64],
    panels: Sequence[tuple[str, NDArray[np.float64]]],
    *,
    classes: Sequence[str],
    target: str,
    dpi: int,
) -> bytes:
    """Draw what is predicted against what is true, in a panel for each recipe.

    Parameters
    ----------
    values : ndarray, shape (n_rows,)
        The truth: numbers, or numbers of classes.
    panels : sequence of (str, ndarray)
        The title of each, and its predictions, which like `values` are in the order of
        the rows.
    classes : sequence of str
        Their names; none for numbers.
    target : str
        What is predicted.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    figure = new_figure(0.8 + 4.2 * len(panels), 4.6)
    shown = figure.subplots(
        1, len(panels), squeeze=False, sharex=not classes, sharey=True
    )
    name = cut(target, 40)
    for axes, (title, predicted) in zip(shown[0], panels, strict=True):
        if classes:
            _draw_confusions(axes, values, predicted, classes)
        else:
            _draw_scatter(axes, values, predicted)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(f"{name}, predicted", parse_math=False)
    shown[0][0].set_ylabel(f"{name}, true", parse_math=False)
    return png_of(figure, dpi=dpi)


def draw_columns(
    names: Sequence[str],
    lost: NDArray[np.float64],
    *,
    title: str,
    score_name: str,
    n_columns: int,
    dpi: int,
) -> bytes:
    """Draw what each column is good for, the best above.

    Parameters
    ----------
    names : sequence of str
        Of the columns.
    lost : ndarray, shape (n_folds, n_columns)
        Score lost when a column is shuffled.
    title : str
        Stands above.
    score_name : str
        What is lost.
    n_columns : int
        How many to draw at most, the most important ones.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    mean, spread = lost.mean(axis=0), lost.std(axis=0, ddof=1)
    order = (-mean).argsort(kind="stable")[:n_columns]
    figure = new_figure(6.4, 1.4 + 0.3 * len(order))
    axes = figure.subplots()
    places = range(len(order))
    axes.barh(places, mean[order], xerr=spread[order], color=COLOURS[0], capsize=3)
    labels = [cut(names[i], 30) for i in order]
    axes.set_yticks(places, labels, parse_math=False)
    axes.invert_yaxis()
    axes.axvline(0, color="0.4", lw=0.8)
    axes.set_xlabel(
        f"{score_name} lost when the column is shuffled (mean ± std of folds)"
    )
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return png_of(figure, dpi=dpi)


def _draw_scatter(
    axes: Axes, values: NDArray[np.float64], predicted: NDArray[np.float64]
) -> None:
    ends = float(values.min()), float(values.max())
    axes.plot(ends, ends, color="black", lw=1, ls="--", label="right", zorder=3)
    axes.scatter(predicted, values, s=8, alpha=0.35, color=COLOURS[0], lw=0)
    axes.legend(loc="lower right", frameon=False)
    axes.grid(alpha=0.3)
    if values.max() >= 10_000:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,.0f}")


def _draw_confusions(
    axes: Axes,
    values: NDArray[np.float64],
    predicted: NDArray[np.float64],
    classes: Sequence[str],
) -> None:
    """Draw which share of each class, a row, was taken for each other, a column."""
    import numpy as np

    n = len(classes)
    pairs = (values * n + predicted).astype(int)
    counts = np.bincount(pairs, minlength=n * n).reshape(n, n)
    shares = counts / counts.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    size = 9 if n <= 8 else 6
    for (row, column), share in np.ndenumerate(shares):
        colour = "black" if share > 0.5 else "white"
        axes.text(
            column,
            row,
            f"{share:.0%}",
            ha="center",
            va="center",
            color=colour,
            size=size,
        )
    labels = [cut(name, 14) for name in classes]
    axes.set_yticks(range(n), labels, parse_math=False)
    axes.set_xticks(
        range(n),
        labels,
        rotation=45,
        ha="right",
        rotation_mode="anchor",
        parse_math=False,
    )


# --- the files ---

SCORES_HEADER = ("encoder", "model", "score", "mean", "std")
PREDICTIONS_HEADER = ("row", "fold", "true", "predicted")


def score_name(table: Table) -> str:
    """Return what predictions are judged by."""
    return "accuracy" if table.classes else "R²"


def score_rows(
    table: Table, recipes: Sequence[Recipe], scores: NDArray[np.float64]
) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each recipe: mean and deviation over the folds."""
    for recipe, row in zip(recipes, scores, strict=True):
        spread = float(row.std(ddof=1))
        yield recipe.encoder, recipe.model, score_name(table), float(row.mean()), spread


def prediction_rows(
    table: Table, folds: NDArray[np.int64], predicted: NDArray[np.float64]
) -> Iterator[tuple[Any, ...]]:
    """Yield what was predicted for each row by a model that had not seen it."""
    rows = (table.rows, folds, table.values, predicted)
    for row, fold, true, said in zip(*(each.tolist() for each in rows), strict=True):
        if table.classes:
            true, said = table.classes[int(true)], table.classes[int(said)]
        yield row, fold, true, said


# --- the terminal ---


def print_scores(
    table: Table, recipes: Sequence[Recipe], scores: NDArray[np.float64]
) -> None:
    """Print a table with a row for each recipe."""
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(box=None, pad_edge=False)
    grid.add_column("encoder")
    grid.add_column("model")
    grid.add_column(f"{score_name(table)} in {scores.shape[1]} folds", justify="right")
    for recipe, row in zip(recipes, scores, strict=True):
        mean_and_spread = f"{row.mean():.3f} ± {row.std(ddof=1):.3f}"
        grid.add_row(recipe.encoder, recipe.model, mean_and_spread)
    Console(highlight=False).print(grid)


def describe_table(table: Table, source: str) -> str:
    """Return what was read, and what is predicted, in a sentence or two."""
    n_rows = len(table.rows)
    what = f"one of {len(table.classes)} classes" if table.classes else "a number"
    text = (
        f"{n_rows:,} rows and {len(table.columns)} columns of {source}, to predict "
        f"{table.target!r}, {what}."
    )
    if n_rows < table.n_rows_in_file:
        text += (
            f" {table.n_rows_in_file - n_rows:,} more rows have no {table.target!r} "
            "that can be read, and are left out."
        )
    return textwrap.fill(text, 79)
