"""The data: which rows are outliers, and draws of rows to learn from and to test on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachekit.errors import PipelineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """Rows, of which some are outliers.

    Attributes
    ----------
    features : ndarray, shape (n_rows, n_features)
        In units of their own.
    is_outlier : ndarray of bool, shape (n_rows,)
        Known here, and told to no detector.
    source : str
        Where the data is from.
    """

    features: NDArray[np.float64]
    is_outlier: NDArray[np.bool_]
    source: str


@dataclass(frozen=True)
class Draw:
    """Rows to learn from, and others to test on; both hold outliers.

    Attributes
    ----------
    train, test : ndarray, shape (n_rows, n_features)
        Scaled: the median of `train` is 0, and its middle half is 1 wide.
    is_outlier : ndarray of bool, shape (n_rows,)
        Of the rows of `test`.
    """

    train: NDArray[np.float64]
    test: NDArray[np.float64]
    is_outlier: NDArray[np.bool_]


# Name -> the class that outliers are of, and the source.
_TABLES = {
    "breast_cancer": (
        0,
        "Breast Cancer Wisconsin (Diagnostic), UCI, 1993, as in scikit-learn; "
        "outliers: malignant",
    ),
    "wine": (2, "Wine, UCI, 1991, as in scikit-learn; outliers: the third grower"),
}


def load_table(name: str) -> Table:
    """Load a table that comes with scikit-learn.

    Parameters
    ----------
    name : {"breast_cancer", "wine"}
        Which one.

    Returns
    -------
    Table

    References
    ----------
    Wolberg, Mangasarian, Street and Street (1993), doi:10.24432/C5DW2B; Aeberhard and
    Forina (1991), doi:10.24432/C5PC7J.
    """
    from sklearn.datasets import load_breast_cancer, load_wine

    load = {"breast_cancer": load_breast_cancer, "wine": load_wine}[name]
    features, classes = load(return_X_y=True)
    outlier, source = _TABLES[name]
    return Table(features, classes == outlier, source)


def draw_rows(table: Table, *, contamination: float, seed: int) -> Draw:
    """Draw half of the usual rows to learn from and half to test on, and outliers.

    Parameters
    ----------
    table : Table
        Where to draw from.
    contamination : float
        Share of outliers in both parts.
    seed : int
        Start of the random numbers.

    Returns
    -------
    Draw

    Raises
    ------
    PipelineError
        If there are too few outliers for that.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    usual = random.permutation(np.flatnonzero(~table.is_outlier))
    odd = random.permutation(np.flatnonzero(table.is_outlier))
    n_usual = len(usual) // 2
    n_odd = max(1, round(n_usual * contamination / (1 - contamination)))
    if 2 * n_odd > len(odd):
        raise PipelineError(
            f"a share of {contamination:g} outliers takes {2 * n_odd} of them, and "
            f"there are {len(odd)}: set CONTAMINATION lower"
        )
    train = table.features[np.r_[usual[:n_usual], odd[:n_odd]]]
    tested = np.r_[usual[n_usual:], odd[n_odd : 2 * n_odd]]
    # Median and quartiles: the outliers in `train` would move a mean and a deviation.
    low, middle, high = np.percentile(train, [25, 50, 75], axis=0)
    width = np.where(high > low, high - low, 1.0)
    return Draw(
        (train - middle) / width,
        (table.features[tested] - middle) / width,
        table.is_outlier[tested],
    )
