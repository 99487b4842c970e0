"""What the user gets to see: two tables, two figures, and a summary."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from cachekit.pipelines.decoding.data import Stimuli
from cachekit.pipelines.decoding.scores import FoldScore
from cachekit.pipelines.figures import COLOURS, new_figure, png_of

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

SCORES_HEADER = (
    "fold",
    "n_test",
    "accuracy",
    "correlation",
    "mean_image_correlation",
    "identification",
)
_COLUMNS = ("fold", "trials", "accuracy", "correlation", "of mean", "identified")
PREDICTIONS_HEADER = ("trial", "run", "fold", "seen", "decoded", "correlation")

# --- the tables ---


def score_rows(scores: Sequence[FoldScore]) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each fold, counted from 1, as under `SCORES_HEADER`."""
    for fold, score in enumerate(scores):
        numbers = (
            score.accuracy,
            float(score.correlations.mean()),
            score.mean_image_correlation,
            score.identification,
        )
        yield (fold + 1, score.n_test, *map(_known, numbers))


def prediction_rows(
    stimuli: Stimuli,
    folds: NDArray[np.int64],
    predicted: NDArray[np.int64],
    correlations: NDArray[np.float64],
) -> Iterator[tuple[Any, ...]]:
    """Yield what was decoded in each trial that was tested; all are counted from 1.

    Parameters
    ----------
    stimuli : Stimuli
        What was shown.
    folds, predicted : ndarray of int, shape (n_trials,)
        In which fold each trial was tested, and as which class.
    correlations : ndarray, shape (n_trials,)
        Of drawing and image; NaN if there is none.
    """
    for trial in (folds >= 0).nonzero()[0]:
        yield (
            int(trial) + 1,
            int(stimuli.runs[trial]) + 1,
            int(folds[trial]) + 1,
            stimuli.classes[stimuli.labels[trial]],
            stimuli.classes[predicted[trial]],
            _known(float(correlations[trial])),
        )


def metrics_of(scores: Sequence[FoldScore]) -> dict[str, float]:
    """Return the means over folds of all scores that are known, by name."""
    columns = list(zip(*score_rows(scores), strict=True))[2:]
    return {
        name: statistics.fmean(column)
        for name, column in zip(SCORES_HEADER[2:], columns, strict=True)
        if "" not in column
    }


def print_scores(scores: Sequence[FoldScore], *, title: str) -> None:
    """Print the scores of the folds, and their means.

    Parameters
    ----------
    scores : sequence of FoldScore
        What to print.
    title : str
        Stands above.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for fold, n_test, *numbers in score_rows(scores):
        table.add_row(str(fold), str(n_test), *map(_shown, numbers))
    means = metrics_of(scores)
    numbers = [means.get(name, "") for name in SCORES_HEADER[2:]]
    n_tests = sum(score.n_test for score in scores)
    table.add_section()
    table.add_row("mean", str(n_tests), *map(_shown, numbers), style="bold")
    Console(highlight=False).print(table)


def echo_chance(accuracy: float, chance_scores: Sequence[float], *, p: float) -> None:
    """Tell how accuracy compares with chance.

    Parameters
    ----------
    accuracy : float
        Of all trials.
    chance_scores : sequence of float
        For shuffled labels.
    p : float
        How probable the accuracy is by chance.
    """
    click.echo(
        f"Accuracy {accuracy:.1%}; with shuffled labels "
        f"{statistics.fmean(chance_scores):.1%}, at most {max(chance_scores):.1%} "
        f"(p = {p:.2g})."
    )


def _known(number: float) -> Any:
    return "" if math.isnan(number) else number


def _shown(number: Any) -> str:
    return "-" if number == "" else f"{number:.3f}"


# --- the figures ---


def choose_examples(
    labels: NDArray[np.int64], correlations: NDArray[np.float64], *, quantile: float
) -> NDArray[np.int64]:
    """Choose a trial of each class by how good its drawing is among its class.

    Parameters
    ----------
    labels : ndarray of int, shape (n_trials,)
        Classes; trials with -1 are left out.
    correlations : ndarray, shape (n_trials,)
        Of drawing and image.
    quantile : float
        0 for the worst of each class, 1 for the best.

    Returns
    -------
    ndarray of int, shape (n_classes,)
        Numbers of trials.
    """
    import numpy as np

    chosen = []
    for label in np.unique(labels[labels >= 0]):
        trials = np.flatnonzero(labels == label)
        in_order = trials[np.argsort(correlations[trials], kind="stable")]
        chosen.append(in_order[round(quantile * (len(in_order) - 1))])
    return np.array(chosen, np.int64)


def draw_images(
    stimuli: Stimuli,
    drawn: NDArray[np.float64],
    predicted: NDArray[np.int64],
    correlations: NDArray[np.float64],
    *,
    dpi: int,
) -> bytes:
    """Draw what was seen above what was read from the scans, for two of each class.

    Neither the best nor the worst: better than three quarters of their class, and
    better than one.

    Parameters
    ----------
    stimuli : Stimuli
        What was shown.
    drawn : ndarray, shape (n_trials, n_pixels)
        What was reconstructed.
    predicted : ndarray of int, shape (n_trials,)
        Decoded classes.
    correlations : ndarray, shape (n_trials,)
        Of each drawing with its image; NaN if it was not tested.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    groups = [
        (name, choose_examples(stimuli.labels, correlations, quantile=quantile))
        for name, quantile in (("upper quartile", 0.75), ("lower quartile", 0.25))
    ]
    n = len(groups[0][1])
    figure = new_figure(max(0.95 * n, 6.0) + 0.4, 5.4)
    panels = figure.subplots(2 * len(groups), n, squeeze=False)
    for row, (name, trials) in enumerate(groups):
        for column, trial in enumerate(trials):
            seen, read = panels[2 * row : 2 * row + 2, column]
            _show(seen, stimuli.images[trial].reshape(stimuli.shape))
            _show(read, drawn[trial].reshape(stimuli.shape))
            taken_for = stimuli.classes[predicted[trial]]
            seen.set_title(f"{stimuli.classes[stimuli.labels[trial]]}", fontsize=9)
            read.set_title(f"→ {taken_for}   r = {correlations[trial]:.2f}", fontsize=8)
        panels[2 * row, 0].set_ylabel(f"{name}\nseen", fontsize=9)
        panels[2 * row + 1, 0].set_ylabel("read", fontsize=9)
    figure.suptitle("What was seen, and what was read from the scans", fontsize=11)
    figure.supxlabel(
        "Above what was read: the decoded class, and r, the correlation with what was "
        "seen.\n"
        "Upper and lower: better than three quarters of its class, and than one.",
        fontsize=8,
        color="0.3",
    )
    return png_of(figure, dpi=dpi)


def draw_accuracy(
    confusion: NDArray[np.float64],
    classes: Sequence[str],
    chance_scores: NDArray[np.float64],
    *,
    accuracy: float,
    dpi: int,
) -> bytes:
    """Draw what was taken for what, and the accuracy beside what chance gives.

    Parameters
    ----------
    confusion : ndarray, shape (n_classes, n_classes)
        Share of the trials of a class (row) that were taken for another (column).
    classes : sequence of str
        Their names.
    chance_scores : ndarray, shape (n_permutations,)
        Accuracies for shuffled labels.
    accuracy : float
        The one for the labels as they are.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    figure = new_figure(10.0, 4.4)
    left, right = figure.subplots(1, 2)
    _draw_confusion(left, confusion, classes)
    figure.colorbar(
        left.images[0], ax=left, label="share of the class, %", fraction=0.046
    )
    right.hist(100 * chance_scores, bins=12, color=COLOURS[5], label="shuffled labels")
    right.axvline(100 / len(classes), color="0.3", linestyle=":", label="1 / classes")
    right.axvline(100 * accuracy, color=COLOURS[4], linewidth=2, label="labels as seen")
    right.set_xlim(0, 100)
    right.set_xlabel("accuracy, %")
    right.set_ylabel("permutations")
    right.set_title("Accuracy, and what chance gives")
    right.legend(frameon=False)
    right.spines[["top", "right"]].set_visible(False)
    return png_of(figure, dpi=dpi)


def _draw_confusion(
    panel: Axes, confusion: NDArray[np.float64], classes: Sequence[str]
) -> None:
    panel.imshow(100 * confusion, cmap="cividis", vmin=0, vmax=100)
    places = range(len(classes))
    long = max(map(len, classes)) > 3
    panel.set_xticks(places, classes, rotation=45 if long else 0, fontsize=8)
    panel.set_yticks(places, classes, fontsize=8)
    for row in places:
        for column in places:
            share = 100 * confusion[row, column]
            if share >= 1:
                colour = "black" if share > 55 else "white"
                panel.text(
                    column, row, f"{share:.0f}",
                    ha="center", va="center", fontsize=7, color=colour,
                )  # fmt: skip
    panel.set_xlabel("decoded class")
    panel.set_ylabel("seen class")
    panel.set_title("What was taken for what")


def _show(panel: Axes, image: NDArray[np.float64]) -> None:
    # One scale for all: what the regression leaves grey is to look grey.
    panel.imshow(image, cmap="gray", vmin=0, vmax=1)
    panel.set_xticks([])
    panel.set_yticks([])
