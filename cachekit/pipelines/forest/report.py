"""What the user gets to see: the figures, the rows of the files, and the table.

Figures are meant to be cached like the rest of the pipeline, and take plain arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cachekit.pipelines.figures import COLOURS, new_figure, png_of
from cachekit.pipelines.forest.grid import Candidate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MARKERS = "osD"
_NAMES = {
    "forest": "random forest",
    "boosting": "gradient boosting",
    "svm": "support vectors",
}

# --- the figures ---


def draw_learning(
    kinds: Sequence[str],
    n_images: NDArray[Any],
    curves: NDArray[np.float64],
    *,
    dpi: int,
) -> bytes:
    """Draw how accuracy grows with the number of images, with its spread over folds.

    Parameters
    ----------
    kinds : sequence of str
        What sort of model each curve is of.
    n_images : ndarray, shape (n_shares,)
        Images learned from.
    curves : ndarray, shape (n_kinds, n_shares, n_folds)
        Accuracies, 0 to 1.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for kind, curve, colour, marker in zip(
        kinds, 100 * curves, COLOURS, _MARKERS, strict=False
    ):
        mean, spread = curve.mean(axis=1), curve.std(axis=1, ddof=1)
        axes.fill_between(
            n_images, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0
        )
        axes.plot(n_images, mean, color=colour, marker=marker, label=_NAMES[kind])
    axes.set_xlabel("images learned from")
    axes.set_ylabel("accuracy on the fold left out, %")
    axes.set_title("Learning curves: mean and standard deviation over folds")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False, title="best of each kind")
    return png_of(figure, dpi=dpi)


def draw_confusions(counts: NDArray[np.int64], *, title: str, dpi: int) -> bytes:
    """Draw a confusion matrix: how often each digit was seen as each other.

    Parameters
    ----------
    counts : ndarray of int64, shape (n_classes, n_classes)
        True digits down, seen ones across.
    title : str
        Stands above.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    figure = new_figure(5.6, 5.0)
    axes = figure.subplots()
    picture = axes.imshow(counts, cmap="cividis", vmin=0)
    figure.colorbar(picture, ax=axes, label="test images", shrink=0.85)
    for (row, column), count in _cells(counts):
        if count:
            colour = "black" if count > counts.max() / 2 else "white"
            axes.text(
                column, row, str(count), ha="center", va="center", color=colour, size=9
            )
    digits = range(len(counts))
    axes.set_xticks(digits)
    axes.set_yticks(digits)
    axes.set_xlabel("digit seen")
    axes.set_ylabel("true digit")
    axes.set_title(title)
    return png_of(figure, dpi=dpi)


def draw_pixels(
    mean_image: NDArray[np.float64], lost: NDArray[np.float64], *, dpi: int
) -> bytes:
    """Draw where the ink is, and which pixels the model needs.

    Parameters
    ----------
    mean_image : ndarray, shape (height, width)
        Ink from 0 to 1.
    lost : ndarray, shape (height, width)
        Accuracy lost when a pixel is shuffled, 0 to 1.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    figure = new_figure(8.0, 3.8)
    left, right = figure.subplots(1, 2)
    panels = [
        (left, mean_image, "Mean test image", "ink, 0 to 1"),
        (right, 100 * lost, "Importance of each pixel", "accuracy lost, points"),
    ]
    for axes, values, title, label in panels:
        picture = axes.imshow(values, cmap="cividis")
        figure.colorbar(picture, ax=axes, label=label, shrink=0.9)
        axes.set_title(title)
        axes.set_xlabel("column of pixels")
        axes.set_ylabel("row of pixels")
    return png_of(figure, dpi=dpi)


def _cells(counts: NDArray[Any]) -> Iterator[tuple[tuple[int, ...], int]]:
    import numpy as np

    return ((place, int(count)) for place, count in np.ndenumerate(counts))


# --- the files ---

GRID_HEADER = ("model", "settings", "mean_accuracy", "std_accuracy", "chosen")
LEARNING_HEADER = ("model", "images", "mean_accuracy", "std_accuracy")


def grid_rows(
    candidates: Sequence[Candidate], scores: NDArray[np.float64], chosen: int
) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each point of the grid: mean and deviation over the folds."""
    for i, (candidate, row) in enumerate(zip(candidates, scores, strict=True)):
        mean, std = float(row.mean()), float(row.std(ddof=1))
        yield candidate.kind, settings_text(candidate), mean, std, int(i == chosen)


def learning_rows(
    kinds: Sequence[str], n_images: NDArray[Any], curves: NDArray[np.float64]
) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each point of the learning curves."""
    for kind, curve in zip(kinds, curves, strict=True):
        for n, row in zip(n_images.tolist(), curve, strict=True):
            yield kind, n, float(row.mean()), float(row.std(ddof=1))


def settings_text(candidate: Candidate) -> str:
    """Return settings for people: ``C=10 gamma=0.1``."""
    return " ".join(f"{name}={value:g}" for name, value in candidate.settings.items())


# --- the terminal ---


def print_best(
    candidates: Sequence[Candidate], scores: NDArray[np.float64], best: Sequence[int]
) -> None:
    """Print a table with a row for the best of each kind."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("best of each kind")
    table.add_column("accuracy", justify="right")
    table.add_column("settings")
    for i in best:
        accuracy = f"{scores[i].mean():.1%} ± {scores[i].std(ddof=1):.1%}"
        table.add_row(
            _NAMES[candidates[i].kind], accuracy, settings_text(candidates[i])
        )
    Console(highlight=False).print(table)
