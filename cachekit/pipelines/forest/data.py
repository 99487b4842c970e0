"""The images, what is held out of them, and the folds of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SOURCE = (
    "UCI, Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), the "
    "part for tests, as in sklearn.datasets.load_digits"
)
N_DIGITS = 10
IMAGE_SHAPE = (8, 8)


@dataclass(frozen=True)
class Split:
    """Images to learn from, and images to be judged by.

    Attributes
    ----------
    train_images, test_images : ndarray of float32, shape (n_images, 64)
        Rows of eight pixels one after the other; ink from 0 to 1.
    train_labels, test_labels : ndarray of int64, shape (n_images,)
        The digits, 0 to 9.
    """

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]


def split_digits(*, n_images: int, test_share: float, seed: int) -> Split:
    """Load the digits, and hold out some of each.

    Parameters
    ----------
    n_images : int
        How many to use, of 1,797; drawn so that all digits stay as frequent.
    test_share : float
        How many of them to hold out, 0 to 1.
    seed : int
        Start of the random numbers.

    Returns
    -------
    Split

    Notes
    -----
    The images are of 13 people, and nobody knows which are whose: the same people write
    in both parts. Expect less for the hand of somebody else.

    References
    ----------
    Alpaydin and Kaynak (1998), https://doi.org/10.24432/C50P49.
    """
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, digits = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32)  # counts of ink from 0 to 16
    labels = digits.astype(np.int64)
    if n_images < len(labels):
        images, _, labels, _ = train_test_split(
            images, labels, train_size=n_images, random_state=seed, stratify=labels
        )
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=test_share, random_state=seed, stratify=labels
    )
    return Split(train_images, train_labels, test_images, test_labels)


def number_folds(
    labels: NDArray[np.int64], *, n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Say which fold each image is in.

    Parameters
    ----------
    labels : ndarray of int64, shape (n_images,)
        The digits; each is as frequent in every fold, give or take one image.
    n_folds : int
        How many folds.
    seed : int
        Start of the random numbers.

    Returns
    -------
    ndarray of int64, shape (n_images,)
        From 0 to ``n_folds - 1``.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    folds = np.empty(len(labels), np.int64)
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(labels, labels)):
        folds[held_out] = fold
    return folds
