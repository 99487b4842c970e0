"""What is shown and what is measured: trials, the digits, and the folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachekit.errors import PipelineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Stimuli:
    """Images in the order in which they are shown.

    Attributes
    ----------
    images : ndarray, shape (n_trials, n_pixels)
        Row after row; 0 is black and 1 white.
    labels : ndarray of int, shape (n_trials,)
        The class of each; -1 for none.
    runs : ndarray of int, shape (n_trials,)
        The run of the scanner that each is shown in.
    shape : tuple of int
        Height and width of an image; ``(0, 0)`` if it is not known what was shown.
    classes : tuple of str
        Names of the classes.
    """

    images: NDArray[np.float64]
    labels: NDArray[np.int64]
    runs: NDArray[np.int64]
    shape: tuple[int, int]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Trials:
    """What was shown, and how strongly each voxel responded.

    Attributes
    ----------
    patterns : ndarray, shape (n_trials, n_voxels)
        Responses.
    stimuli : Stimuli
        What was shown.
    """

    patterns: NDArray[Any]
    stimuli: Stimuli


def load_stimuli(
    *, trials_per_digit: int, n_runs: int, seed: tuple[int, ...]
) -> Stimuli:
    """Choose images of handwritten digits, and an order to show them in.

    Parameters
    ----------
    trials_per_digit : int
        Images of each digit, at most 174.
    n_runs : int
        Runs of the scanner, about equally long.
    seed : tuple of int
        Decides on images and order.

    Returns
    -------
    Stimuli

    References
    ----------
    Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository; as scikit-learn has them, 8 by 8 pixels.
    """
    import numpy as np
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    # The n-th image of a digit has rank n - 1: "3 7 3 3" -> 0 0 1 2
    ranks = np.zeros(len(order), int)
    for digit in range(10):
        places = np.flatnonzero(digits.target[order] == digit)
        ranks[places] = np.arange(len(places))
    chosen = order[ranks < trials_per_digit]
    return Stimuli(
        images=digits.data[chosen] / 16.0,  # has 17 levels of grey
        labels=digits.target[chosen].astype(np.int64),
        runs=np.arange(len(chosen)) * n_runs // len(chosen),
        shape=(8, 8),
        classes=tuple("0123456789"),
    )


def assign_folds(
    labels: NDArray[np.int64], runs: NDArray[np.int64], *, n_folds: int
) -> NDArray[np.int64]:
    """Say in which fold each trial is tested: whole runs, since their noise is shared.

    Parameters
    ----------
    labels, runs : ndarray of int, shape (n_trials,)
        Class and run of each trial.
    n_folds : int
        How many folds.

    Returns
    -------
    ndarray of int, shape (n_trials,)
        From 0 on; -1 for trials without a class, which are only learned from.

    Raises
    ------
    PipelineError
        If there are fewer runs than folds.
    """
    import numpy as np

    names, numbers = np.unique(runs[labels >= 0], return_inverse=True)
    if len(names) < n_folds:
        raise PipelineError(
            f"{n_folds} folds need at least as many runs to leave out, and there are "
            f"{len(names)}: lower N_FOLDS"
        )
    folds = np.full(len(runs), -1, np.int64)
    folds[labels >= 0] = numbers % n_folds
    return folds
