"""How good the decoding is: accuracy beside chance, drawings beside images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachekit.pipelines.decoding.model import Reconstruction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class FoldScore:
    """How well a fold was decoded. What cannot be known, for want of images, is NaN.

    Attributes
    ----------
    n_test : int
        Trials tested.
    accuracy : float
        Share of them whose class is right.
    correlations : ndarray, shape (n_test,)
        Of each drawing with its image.
    mean_image_correlation : float
        What one reaches without any scan, by always drawing the mean image.
    identification : float
        How often a drawing is closer to its image than to another one.
    """

    n_test: int
    accuracy: float
    correlations: NDArray[np.float64]
    mean_image_correlation: float
    identification: float


def score_fold(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    images: NDArray[np.float64],
    drawings: Reconstruction | None,
) -> FoldScore:
    """Compare what was decoded in a fold with what was seen.

    Parameters
    ----------
    labels, predicted : ndarray of int, shape (n_test,)
        True and decoded classes.
    images : ndarray, shape (n_test, n_pixels)
        What was seen.
    drawings : Reconstruction, optional
        None if the images are not known.

    Returns
    -------
    FoldScore
    """
    import numpy as np

    accuracy = float(np.mean(labels == predicted))
    if drawings is None:
        nothing = np.full(len(labels), np.nan)
        return FoldScore(len(labels), accuracy, nothing, np.nan, np.nan)
    pairs = correlate_rows(drawings.images, images)
    of_mean = correlate_rows(drawings.mean_image[None], images)
    return FoldScore(
        len(labels),
        accuracy,
        np.diag(pairs).copy(),
        float(of_mean.mean()),
        identification_rate(pairs),
    )


def p_value(score: float, chance_scores: Sequence[float]) -> float:
    """Return how probable a score as high is by chance, from scores by chance.

    Parameters
    ----------
    score : float
        What was reached.
    chance_scores : sequence of float
        What was reached with permuted labels.

    References
    ----------
    Phipson and Smyth (2010), Stat Appl Genet Mol Biol 9, 39: ``(b + 1) / (m + 1)``,
    which is never 0.
    """
    as_high = sum(by_chance >= score for by_chance in chance_scores)
    return (as_high + 1) / (len(chance_scores) + 1)


def correlate_rows(
    some: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return Pearson's correlation of each row with each row; 0 for constant rows.

    Parameters
    ----------
    some : ndarray, shape (n, n_pixels)
        Images.
    others : ndarray, shape (m, n_pixels)
        Images.

    Returns
    -------
    ndarray, shape (n, m)
    """
    import numpy as np

    def units(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        centred = rows - rows.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        found: NDArray[np.float64] = centred / np.where(lengths > 1e-12, lengths, 1.0)
        return found

    return units(some) @ units(others).T


def identification_rate(correlations: NDArray[np.float64]) -> float:
    """Return how often a drawing is closer to its image than to another one.

    Parameters
    ----------
    correlations : ndarray, shape (n, n)
        Of drawings (rows) with images (columns); pairs that belong together are on
        the diagonal.

    Returns
    -------
    float
        From 0 to 1; chance is 0.5. Ties count half.
    """
    import numpy as np

    own = np.diag(correlations)[:, None]
    wins = (own > correlations) + 0.5 * (own == correlations)
    n = len(correlations)
    return float((wins.sum() - 0.5 * n) / (n * (n - 1)))


def confusion_shares(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], *, n_classes: int
) -> NDArray[np.float64]:
    """Return the share of each class (row) that was taken for each (column).

    Parameters
    ----------
    labels, predicted : ndarray of int, shape (n_trials,)
        True and decoded classes.
    n_classes : int
        How many there are; the row of one that was not tested is 0.

    Returns
    -------
    ndarray, shape (n_classes, n_classes)
    """
    import numpy as np

    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (labels, predicted), 1)
    shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True).clip(1)
    return shares
