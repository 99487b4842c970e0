"""How a recipe is judged: folds, predictions for what was left out, and columns.

What is handed on is plain arrays: reading them back from a cache imports neither
pandas nor skrub.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cachekit.pipelines.tables.recipes import Recipe, make_frame, make_pipeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def number_folds(
    values: NDArray[np.float64], *, is_class: bool, n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Say which fold each row is in.

    Parameters
    ----------
    values : ndarray, shape (n_rows,)
        The target. A class is as frequent in every fold, give or take one row; of two
        rows of a class, each is in another fold.
    is_class : bool
        Whether they are classes.
    n_folds : int
        How many folds.
    seed : int
        Start of the random numbers.

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        From 0 to ``n_folds - 1``.
    """
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(values))
    if is_class:
        order = order[np.argsort(values[order], kind="stable")]
    folds = np.empty(len(values), np.int64)
    folds[order] = np.arange(len(values)) % n_folds  # dealt out like cards
    return folds


def predict_fold(
    recipe: Recipe,
    columns: Mapping[str, Any],
    values: NDArray[np.float64],
    folds: NDArray[np.int64],
    *,
    fold: int,
    is_class: bool,
    seed: int,
) -> NDArray[np.float64]:
    """Learn from all folds but one, and predict that one.

    Parameters
    ----------
    recipe : Recipe
        What learns.
    columns : mapping
        Arrays, or sequences of texts, by name.
    values : ndarray, shape (n_rows,)
        The target: numbers, or numbers of classes.
    folds : ndarray, shape (n_rows,)
        Number of the fold of each row.
    fold : int
        Which one is left out.
    is_class : bool
        Whether the target is a class.
    seed : int
        Start of the random numbers.

    Returns
    -------
    ndarray of float64, shape (n_left_out,)
        What is predicted for the rows of the fold.
    """
    import numpy as np

    frame, left_out = make_frame(columns, recipe), folds == fold
    pipeline = make_pipeline(recipe, is_class=is_class, seed=seed)
    with _new_categories_expected():
        pipeline.fit(frame[~left_out], values[~left_out])
        return np.asarray(pipeline.predict(frame[left_out]), np.float64)


def shuffle_columns(
    recipe: Recipe,
    columns: Mapping[str, Any],
    values: NDArray[np.float64],
    folds: NDArray[np.int64],
    *,
    fold: int,
    is_class: bool,
    n_shuffles: int,
    seed: int,
) -> NDArray[np.float64]:
    """Measure how much worse predictions get when a column is taken from other rows.

    Parameters
    ----------
    recipe, columns, values, folds, fold, is_class, seed
        As for `predict_fold`.
    n_shuffles : int
        Times that each column is shuffled; the mean counts.

    Returns
    -------
    ndarray of float64, shape (n_columns,)
        Score lost for each column of the table, before it is encoded; about 0 for one
        that does not help, or that says what another says too.

    References
    ----------
    Breiman (2001), Machine Learning 45, section 10; for any model: Fisher, Rudin and
    Dominici (2019), JMLR 20(177).
    """
    import numpy as np

    frame, left_out = make_frame(columns, recipe), folds == fold
    pipeline = make_pipeline(recipe, is_class=is_class, seed=seed)
    rows, true = frame[left_out], values[left_out]
    random = np.random.default_rng([seed, fold])
    lost = np.zeros(len(columns))
    with _new_categories_expected():
        pipeline.fit(frame[~left_out], values[~left_out])
        whole = score(true, pipeline.predict(rows), is_class=is_class)
        for i, name in enumerate(columns):
            if name not in rows:  # "numbers" never looks at it
                continue
            for _ in range(n_shuffles):
                other = rows[name].iloc[random.permutation(len(rows))]
                shuffled = rows.assign(**{name: other.set_axis(rows.index)})
                said = pipeline.predict(shuffled)
                lost[i] += (whole - score(true, said, is_class=is_class)) / n_shuffles
    return lost


@contextmanager
def _new_categories_expected() -> Iterator[None]:
    """Be silent about texts that only the fold left out has: there always are some."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found unknown categories", UserWarning)
        yield


def score(
    values: NDArray[np.float64], predicted: NDArray[np.float64], *, is_class: bool
) -> float:
    """Return the accuracy of classes, or the share of the variance explained (R²).

    Parameters
    ----------
    values, predicted : ndarray, shape (n_rows,)
        The truth, and what was said.
    is_class : bool
        Whether they are classes.

    Returns
    -------
    float
        1 is perfect. R² is 0 for who always says the mean, and below for who does
        worse; 0, too, where all values are the same and some were missed.
    """
    if is_class:
        return float((values == predicted).mean())
    missed = float(((values - predicted) ** 2).sum())
    spread = float(((values - values.mean()) ** 2).sum())
    return 1 - missed / spread if spread else float(missed == 0)


def guess_score(values: NDArray[np.float64], *, is_class: bool) -> float:
    """Return the score of who says the most frequent class, or the mean, of all rows.

    Parameters
    ----------
    values : ndarray, shape (n_rows,)
        The target.
    is_class : bool
        Whether it is a class.
    """
    import numpy as np

    counts = np.bincount(values.astype(int)) if is_class else np.zeros(1)
    return float(counts.max() / len(values))
