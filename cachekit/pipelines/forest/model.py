"""What candidates are judged by, which one is the best, and what it looks at.

What is handed on is plain arrays, so that reading it back from a cache does not import
scikit-learn. Only `fit` returns an estimator; who needs it gets a reference to the
stored one, and loads it if there is something left to compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from cachekit.pipelines.forest.grid import Candidate, make_estimator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Fitted(Protocol):
    """A reference to a fitted estimator."""

    def get(self) -> Any:
        """Load it."""


def score_fold(
    candidate: Candidate,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    fold: int,
    share: float,
    seed: int,
) -> float:
    """Learn from all folds but one, and count what is right in that one.

    Parameters
    ----------
    candidate : Candidate
        The model.
    images : ndarray, shape (n_images, n_pixels)
        Ink from 0 to 1.
    labels : ndarray, shape (n_images,)
        The digits.
    folds : ndarray, shape (n_images,)
        Number of the fold of each image.
    fold : int
        Which one is left out.
    share : float
        How much of the other folds is learned from, 0 to 1. What is in a smaller share
        is in a larger one, too.
    seed : int
        Start of the random numbers.

    Returns
    -------
    float
        The accuracy, 0 to 1.
    """
    import numpy as np

    others = np.flatnonzero(folds != fold)
    drawn = np.random.default_rng([seed, fold]).permutation(others)
    learned = drawn[: max(1, round(share * len(drawn)))]
    estimator = make_estimator(candidate, seed)
    estimator.fit(images[learned], labels[learned])
    left_out = folds == fold
    return float(np.mean(estimator.predict(images[left_out]) == labels[left_out]))


def choose(scores: NDArray[np.float64]) -> int:
    """Return the candidate with the best mean; of equal ones, the first.

    Parameters
    ----------
    scores : ndarray, shape (n_candidates, n_folds)
        Accuracies.
    """
    return int(scores.mean(axis=1).argmax())


def fit(
    candidate: Candidate,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    seed: int,
) -> Any:
    """Return an estimator that has learned from all images given."""
    return make_estimator(candidate, seed).fit(images, labels)


def predict(fitted: Fitted, images: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the digits that a fitted estimator sees in images."""
    import numpy as np

    return np.asarray(fitted.get().predict(images), np.int64)


def shuffle_pixels(
    fitted: Fitted,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    seed: int,
    number: int,
) -> NDArray[np.float64]:
    """Measure how much worse a model gets when one pixel is taken from other images.

    Parameters
    ----------
    fitted : Fitted
        The model.
    images : ndarray, shape (n_images, n_pixels)
        Images that it has not learned from.
    labels : ndarray, shape (n_images,)
        Their digits.
    seed, number : int
        Start of the random numbers, and which of several repetitions it is.

    Returns
    -------
    ndarray, shape (n_pixels,)
        Accuracy lost, for each pixel; about 0 where a model does not look, or where
        neighbours say the same.

    References
    ----------
    Breiman (2001), Machine Learning 45, section 10; for any model: Fisher, Rudin and
    Dominici (2019), JMLR 20(177).
    """
    import numpy as np

    random = np.random.default_rng([seed, number])
    estimator = fitted.get()
    shuffled = images.copy()
    right = np.empty(images.shape[1])
    for pixel in range(images.shape[1]):
        shuffled[:, pixel] = random.permutation(images[:, pixel])
        right[pixel] = np.mean(estimator.predict(shuffled) == labels)
        shuffled[:, pixel] = images[:, pixel]
    lost: NDArray[np.float64] = np.mean(estimator.predict(images) == labels) - right
    return lost


def count_confusions(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], *, n_classes: int
) -> NDArray[np.int64]:
    """Return how often each class, a row, was seen as each other, a column."""
    import numpy as np

    pairs = labels * n_classes + predicted
    counts = np.bincount(pairs, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes)


def wilson_interval(n_right: int, n: int, *, z: float) -> tuple[float, float]:
    """Return between which accuracies the true one is likely to be.

    Parameters
    ----------
    n_right, n : int
        How many were right, of how many.
    z : float
        Standard errors; 1.96 for 95 %.

    References
    ----------
    Wilson (1927), JASA 22. Unlike the share plus or minus its standard error it stays
    below 1, and is right near it.
    """
    share, slack = n_right / n, z * z / n
    middle = (share + slack / 2) / (1 + slack)
    half = (share * (1 - share) * slack + slack * slack / 4) ** 0.5 / (1 + slack)
    return middle - half, middle + half
