"""Ways to find outliers: each is a function that scores rows by others.

All have the same form: rows to learn from, rows to score, a seed; and they return how
odd each of the latter is, in units of their own. A detector of yours is one more such
function. They do not stand in a table here: a cached call gets one as an argument, and
so depends on the code of that one only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def isolation_forest(
    train: NDArray[np.float64], test: NDArray[np.float64], *, seed: int, n_trees: int
) -> NDArray[np.float64]:
    """Score rows by how few random cuts set them apart.

    Parameters
    ----------
    train, test : ndarray, shape (n_rows, n_features)
        Rows to learn from, and to score.
    seed : int
        Start of the random numbers.
    n_trees : int
        Trees of cuts.

    Returns
    -------
    ndarray, shape (n_rows,)
        The higher, the odder.

    References
    ----------
    Liu, Ting and Zhou (2008), ICDM.
    """
    import numpy as np
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=n_trees, random_state=seed).fit(train)
    return -np.asarray(forest.score_samples(test))


def one_class_svm(
    train: NDArray[np.float64],
    test: NDArray[np.float64],
    *,
    seed: int,  # noqa: ARG001  # nothing is random
    nu: float,
) -> NDArray[np.float64]:
    """Score rows by their distance to a border around most of the others.

    Parameters
    ----------
    train, test : ndarray, shape (n_rows, n_features)
        Rows to learn from, and to score.
    seed : int
        Not used.
    nu : float
        Share of rows that may lie outside, at most.

    Returns
    -------
    ndarray, shape (n_rows,)
        The higher, the odder.

    References
    ----------
    Schölkopf et al. (2001), Neural Computation 13.
    """
    import numpy as np
    from sklearn.svm import OneClassSVM

    return -np.asarray(OneClassSVM(nu=nu).fit(train).score_samples(test))


def robust_covariance(
    train: NDArray[np.float64], test: NDArray[np.float64], *, seed: int
) -> NDArray[np.float64]:
    """Score rows by their distance to the middle, in units of the tightest half.

    Parameters
    ----------
    train, test : ndarray, shape (n_rows, n_features)
        Rows to learn from, and to score.
    seed : int
        Start of the random numbers.

    Returns
    -------
    ndarray, shape (n_rows,)
        Squared Mahalanobis distances.

    References
    ----------
    Rousseeuw and Van Driessen (1999), Technometrics 41.
    """
    import numpy as np
    from sklearn.covariance import EllipticEnvelope

    envelope = EllipticEnvelope(random_state=seed).fit(train)
    return -np.asarray(envelope.score_samples(test))


def local_outlier_factor(
    train: NDArray[np.float64],
    test: NDArray[np.float64],
    *,
    seed: int,  # noqa: ARG001  # nothing is random
    n_neighbours: int,
) -> NDArray[np.float64]:
    """Score rows by how thinly they are surrounded, compared with their neighbours.

    Parameters
    ----------
    train, test : ndarray, shape (n_rows, n_features)
        Rows to learn from, and to score.
    seed : int
        Not used.
    n_neighbours : int
        Neighbours to look at; all rows if there are fewer.

    Returns
    -------
    ndarray, shape (n_rows,)
        About 1 for usual rows; the higher, the odder.

    References
    ----------
    Breunig, Kriegel, Ng and Sander (2000), SIGMOD.
    """
    import numpy as np
    from sklearn.neighbors import LocalOutlierFactor

    # A row is no neighbour of its own.
    factor = LocalOutlierFactor(min(n_neighbours, len(train) - 1), novelty=True)
    return -np.asarray(factor.fit(train).score_samples(test))


def plain_covariance(
    train: NDArray[np.float64],
    test: NDArray[np.float64],
    *,
    seed: int,  # noqa: ARG001  # nothing is random
) -> NDArray[np.float64]:
    """Score rows by their distance to the mean, in units of the covariance of all.

    Parameters
    ----------
    train, test : ndarray, shape (n_rows, n_features)
        Rows to learn from, and to score.
    seed : int
        Not used.

    Returns
    -------
    ndarray, shape (n_rows,)
        Squared Mahalanobis distances. Outliers in `train` widen the covariance, and so
        hide themselves.
    """
    import numpy as np
    from sklearn.covariance import EmpiricalCovariance

    return np.asarray(EmpiricalCovariance().fit(train).mahalanobis(test))
