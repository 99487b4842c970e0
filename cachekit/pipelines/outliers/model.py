"""How a detector is scored on a draw of rows, and what it takes for odd in a plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachekit.pipelines.outliers.data import Draw, Table, draw_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of rows to learn from, rows to score, and `seed=`.
Detector = Callable[..., "NDArray[np.float64]"]

# False positive rates at which curves are read, to be averaged over draws.
N_RATES = 101


@dataclass(frozen=True)
class Score:
    """How well a detector ranks the rows of one draw.

    Attributes
    ----------
    roc_auc : float
        How probable it is that an outlier is ranked above a usual row; 0.5 by chance.
    average_precision : float
        Area below precision against recall; the share of outliers by chance.
    hit_rates : ndarray, shape (N_RATES,)
        Share of the outliers that are found, while a share of 0, 0.01, …, 1 of the
        usual rows is taken for outliers.
    """

    roc_auc: float
    average_precision: float
    hit_rates: NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """The rows of a draw in two dimensions, and a grid around them.

    Attributes
    ----------
    draw : Draw
        Rows along the first two principal directions of those learned from.
    across, up : ndarray, shape (n_grid,)
        Places of the grid, around all but the farthest rows.
    """

    draw: Draw
    across: NDArray[np.float64]
    up: NDArray[np.float64]


def score_detector(
    detector: Detector, table: Table, *, contamination: float, seed: int
) -> Score:
    """Score a detector on a draw of rows.

    Parameters
    ----------
    detector : callable
        As those of `detectors`, with its settings.
    table : Table
        Where rows are drawn from.
    contamination : float
        Share of outliers.
    seed : int
        Of the draw, and of the detector.

    Returns
    -------
    Score

    References
    ----------
    Campos et al. (2016), Data Mining and Knowledge Discovery 30: both measures, and why
    one draw is not enough.
    """
    draw = draw_rows(table, contamination=contamination, seed=seed)
    return score_ranking(detector(draw.train, draw.test, seed=seed), draw.is_outlier)


def score_ranking(oddness: NDArray[np.float64], is_outlier: NDArray[np.bool_]) -> Score:
    """Score a ranking of rows.

    Parameters
    ----------
    oddness : ndarray, shape (n_rows,)
        The higher, the odder.
    is_outlier : ndarray of bool, shape (n_rows,)
        What is true.

    Returns
    -------
    Score
    """
    import numpy as np
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    false_rates, hit_rates, _ = roc_curve(is_outlier, oddness)
    return Score(
        float(roc_auc_score(is_outlier, oddness)),
        float(average_precision_score(is_outlier, oddness)),
        np.interp(np.linspace(0, 1, N_RATES), false_rates, hit_rates),
    )


def lay_plane(table: Table, *, contamination: float, seed: int, n_grid: int) -> Plane:
    """Put a draw of rows into the plane in which they differ most.

    Parameters
    ----------
    table : Table
        Where rows are drawn from.
    contamination : float
        Share of outliers.
    seed : int
        Of the draw.
    n_grid : int
        Points along each side of the grid.

    Returns
    -------
    Plane
    """
    import numpy as np

    draw = draw_rows(table, contamination=contamination, seed=seed)
    middle = draw.train.mean(axis=0)
    _, _, directions = np.linalg.svd(draw.train - middle, full_matrices=False)
    plane = directions[:2].T
    train, test = (draw.train - middle) @ plane, (draw.test - middle) @ plane
    # A few outliers are so far away that all else would be a dot: they are left out.
    low, high = np.percentile(test, [3, 97], axis=0)
    margin = 0.25 * (high - low)
    across, up = np.linspace(low - margin, high + margin, n_grid).T
    return Plane(Draw(train, test, draw.is_outlier), across, up)


def map_plane(detector: Detector, plane: Plane, *, seed: int) -> NDArray[np.float64]:
    """Tell how odd each place of a plane is.

    Parameters
    ----------
    detector : callable
        As those of `detectors`, with its settings.
    plane : Plane
        The rows, and the grid.
    seed : int
        Of the detector.

    Returns
    -------
    ndarray, shape (n_grid, n_grid)
        Share of the test rows that are less odd; a row of it is one place of `up`.
        Scores of detectors are in units of their own, such shares compare.
    """
    import numpy as np

    places = np.stack(np.meshgrid(plane.across, plane.up), axis=-1).reshape(-1, 2)
    rows = np.concatenate([plane.draw.test, places])
    oddness = detector(plane.draw.train, rows, seed=seed)
    n_test = len(plane.draw.test)
    shares = np.searchsorted(np.sort(oddness[:n_test]), oddness[n_test:]) / n_test
    return np.asarray(shares.reshape(len(plane.up), len(plane.across)))
