"""Back from scans to what was seen: responses, classes, and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachekit.errors import PipelineError
from cachekit.pipelines.decoding.haemodynamics import haemodynamic_courses, scan_times
from cachekit.pipelines.threads import in_one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Reconstruction:
    """Images as they are read from scans.

    Attributes
    ----------
    images : ndarray, shape (n_test, n_pixels)
        For each trial that was left out.
    mean_image : ndarray, shape (n_pixels,)
        Of the trials that were learned from: what one would draw without any scan.
    penalty : float
        The one that was chosen.
    """

    images: NDArray[np.float64]
    mean_image: NDArray[np.float64]
    penalty: float


def estimate_responses(
    scans: NDArray[np.float64],
    onsets: NDArray[np.float64],
    *,
    duration: float,
    repetition_time: float,
    high_pass: float,
) -> NDArray[np.float64]:
    """Estimate the response of each voxel in each trial of a run, by least squares.

    The model of a run has a course for each trial, all at once ("least squares, all"),
    and cosines for what is slow.

    Parameters
    ----------
    scans : ndarray, shape (n_volumes, n_voxels)
        Per cent of signal change.
    onsets : ndarray, shape (n_trials,)
        When trials began, in seconds.
    duration : float
        How long a stimulus stood, in seconds.
    repetition_time : float
        Seconds for a volume.
    high_pass : float
        Cosines have periods down to this, in seconds.

    Returns
    -------
    ndarray, shape (n_trials, n_voxels)
        In the unit of `scans`.

    Raises
    ------
    PipelineError
        If there are fewer volumes than unknowns.

    References
    ----------
    Rissman et al. (2004), NeuroImage 23, 752-763; compared with other ways by Mumford
    et al. (2012), NeuroImage 59, 2636-2643.
    """
    import numpy as np

    times = scan_times(onsets, repetition_time=repetition_time)
    fine_times, courses = haemodynamic_courses(
        onsets, duration=duration, end=times[-1] + repetition_time
    )
    trials = [np.interp(times, fine_times, course) for course in courses.T]
    n_cosines = int(2 * len(times) * repetition_time / high_pass) + 1
    steps = (np.arange(len(times)) + 0.5) / len(times)
    cosines = [np.cos(np.pi * k * steps) for k in range(n_cosines)]
    design = np.stack([*trials, *cosines], axis=1)
    if len(design) < design.shape[1]:
        raise PipelineError(
            f"a run of {len(design)} volumes cannot tell {len(onsets)} trials and "
            f"{n_cosines} drifts apart: lengthen GAPS_SECONDS, or lower "
            "REPETITION_SECONDS"
        )
    found: NDArray[np.float64] = np.linalg.lstsq(design, scans, rcond=None)[0]
    return found[: len(onsets)].copy()  # the cosines are not kept alive


def classify_fold(
    patterns: NDArray[Any],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    fold: int,
    c: float,
) -> NDArray[np.int64]:
    """Tell the classes of a fold's trials by a logistic regression on the others.

    Parameters
    ----------
    patterns : ndarray, shape (n_trials, n_voxels)
        Responses; scaled by the variance of those learned from.
    labels : ndarray of int, shape (n_trials,)
        Classes; trials with -1 are left out.
    folds : ndarray of int, shape (n_trials,)
        In which fold each trial is tested.
    fold : int
        Which to test.
    c : float
        Inverse strength of the L2 penalty.

    Returns
    -------
    ndarray of int, shape (n_test,)
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    is_training = (folds != fold) & (labels >= 0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))
    # On matrices as small as these, two threads take five times as long as one.
    with in_one_thread():
        model.fit(patterns[is_training], labels[is_training])
    found: NDArray[np.int64] = model.predict(patterns[folds == fold])
    return found


def reconstruct_fold(
    patterns: NDArray[Any],
    images: NDArray[np.float64],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    fold: int,
    penalties: Sequence[float],
) -> Reconstruction:
    """Draw the images of a fold's trials by a ridge regression for all pixels at once.

    If some images have no class, it learns from them alone: they are random, and those
    with a class come again, so that one could draw them from memory.

    Parameters
    ----------
    patterns : ndarray, shape (n_trials, n_voxels)
        Responses; scaled by the variance of those learned from.
    images : ndarray, shape (n_trials, n_pixels)
        What was seen.
    labels, folds : ndarray of int, shape (n_trials,)
        Class of each trial, and fold in which it is tested.
    fold : int
        Which to test.
    penalties : sequence of float
        One is chosen, by leaving out one trial at a time of those learned from.

    Returns
    -------
    Reconstruction

    References
    ----------
    Miyawaki et al. (2008), Neuron 60, 915-929, who decode contrast in patches of
    several sizes and combine them; here each pixel has one linear decoder.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    is_training = folds != fold
    if (labels < 0).any():
        is_training &= labels < 0
    ridge = RidgeCV(alphas=list(penalties))  # it writes into a single one
    model = make_pipeline(StandardScaler(), ridge)
    model.fit(patterns[is_training], images[is_training])
    return Reconstruction(
        images=model.predict(patterns[folds == fold]),
        mean_image=images[is_training].mean(axis=0),
        penalty=float(ridge.alpha_),
    )


def permuted_accuracy(
    patterns: NDArray[Any],
    labels: NDArray[np.int64],
    runs: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    c: float,
    seed: tuple[int, ...],
) -> float:
    """Return the cross-validated accuracy for labels that are shuffled in each run.

    Parameters
    ----------
    patterns, labels, folds, c
        As of `classify_fold`.
    runs : ndarray of int, shape (n_trials,)
        Labels stay in their run: only there they could have stood in another order.
    seed : tuple of int
        Start of the random numbers; another one for each permutation.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    shuffled = labels.copy()
    for run in np.unique(runs):
        places = np.flatnonzero((runs == run) & (labels >= 0))
        shuffled[places] = labels[random.permutation(places)]
    predicted = np.full(len(labels), -1)
    for fold in range(folds.max() + 1):
        predicted[folds == fold] = classify_fold(
            patterns, shuffled, folds, fold=fold, c=c
        )
    is_tested = folds >= 0
    return float(np.mean(predicted[is_tested] == shuffled[is_tested]))
