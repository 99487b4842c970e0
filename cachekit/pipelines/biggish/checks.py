"""What was found beside what is true: one number for each result, and its limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachekit.pipelines.biggish.data import Truth, best_accuracy, covariance
from cachekit.pipelines.biggish.model import Found, Moments
from cachekit.pipelines.biggish.reduction import Streams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Check:
    """How far a result is from the truth.

    Attributes
    ----------
    name : str
        Of the number, as of a metric, with its unit.
    title : str
        What it says, to people.
    found, limit : float
        The number, and what it may be at most.
    """

    name: str
    title: str
    found: float
    limit: float

    @property
    def is_met(self) -> bool:
        """Whether the result is right."""
        return self.found <= self.limit


def judge(
    streams: Streams,
    found: Found,
    *,
    distortion: float,
    budget_mb: float,
    max_standard_errors: float,
    max_angle: float,
    max_centre_error: float,
    max_accuracy_loss: float,
) -> list[Check]:
    """Hold what was found against the truth.

    Parameters
    ----------
    streams, found : Streams, Found
        The data, and what was learned from it.
    distortion : float
        Of squared distances: pairs beyond it are counted.
    budget_mb, max_standard_errors, max_angle, max_centre_error, max_accuracy_loss
        What counts as right; the angle in degrees.

    Returns
    -------
    list of Check
        In the order of the passes.
    """
    truth, projection = streams.truth, streams.projection
    of_mean, of_variance = standard_errors(found.moments, truth)
    directions = found.directions.directions
    true_directions = principal_directions(truth, projection, len(directions))
    accuracy = float(found.lessons.accuracy[-1])
    return [
        Check(
            "mean_standard_errors",
            "mean: error of the worst feature (standard errors)",
            of_mean,
            max_standard_errors,
        ),
        Check(
            "variance_standard_errors",
            "variance: error of the worst feature (the same)",
            of_variance,
            max_standard_errors,
        ),
        Check(
            "distances_share_beyond",
            f"random projection: pairs off by more than {distortion:.0%} (share)",
            share_beyond(found.ratios, distortion),
            share_bound(len(projection), distortion),
        ),
        Check(
            "directions_angle_degrees",
            "principal directions: angle to the true ones (°)",
            angle_between(directions, true_directions),
            max_angle,
        ),
        Check(
            "centre_error",
            "k-means: error of the worst centre (share of a gap)",
            centre_error(found.centres.centres, truth.centres @ projection.T),
            max_centre_error,
        ),
        Check(
            "accuracy_loss",
            f"topics: {accuracy:.1%} right, behind the best possible by",
            best_accuracy(streams.wording) - accuracy,
            max_accuracy_loss,
        ),
        Check(
            "memory_added_mb",
            "memory: what the passes add to the process (MB)",
            memory_added(found.memory),
            budget_mb,
        ),
    ]


def standard_errors(moments: Moments, truth: Truth) -> tuple[float, float]:
    """Return how wrong the worst mean and the worst variance are, in standard errors.

    Parameters
    ----------
    moments : Moments
        As found.
    truth : Truth
        What the records are drawn from.

    Returns
    -------
    of_mean, of_variance : float
        The standard error of a variance is that of a normal distribution; features of
        groups that lie apart vary less, so that it is an upper one.
    """
    import numpy as np

    variance = covariance(truth).diagonal()
    of_mean = (moments.mean - truth.centres.mean(axis=0)) / np.sqrt(variance)
    of_variance = (moments.variance / variance - 1) / math.sqrt(2)
    n = moments.count
    return (
        math.sqrt(n) * float(np.abs(of_mean).max()),
        math.sqrt(n - 1) * float(np.abs(of_variance).max()),
    )


def angle_between(some: NDArray[np.floating[Any]], other: NDArray[Any]) -> float:
    """Return the largest angle between two subspaces, in degrees.

    Parameters
    ----------
    some, other : ndarray, shape (n_directions, n_features)
        Directions that span each; their rows are orthogonal and of length 1.

    References
    ----------
    Björck and Golub (1973), Mathematics of Computation 27: the cosines of the principal
    angles are the singular values of the product.
    """
    import numpy as np

    cosines = np.linalg.svd(some @ other.T, compute_uv=False)
    return math.degrees(math.acos(min(1.0, float(cosines.min()))))


def principal_directions(
    truth: Truth, projection: NDArray[np.float64], n_directions: int
) -> NDArray[np.float64]:
    """Return the exact principal directions of the projected records, as rows."""
    import numpy as np

    _, vectors = np.linalg.eigh(projection @ covariance(truth) @ projection.T)
    return np.asarray(vectors[:, ::-1][:, :n_directions].T)  # ascending before


def centre_error(
    found: NDArray[np.floating[Any]], true: NDArray[np.floating[Any]]
) -> float:
    """Return how far a true centre is from the next one found, at most.

    Parameters
    ----------
    found, true : ndarray, shape (n_groups, n_features)
        Centres, in any order.

    Returns
    -------
    float
        As a share of the distance of the two nearest true centres: above a half if a
        group was missed.
    """
    import numpy as np

    apart = _distances(true, true) + np.diag(np.full(len(true), np.inf))
    return float(_distances(true, found).min(axis=1).max() / apart.min())


def share_beyond(ratios: NDArray[np.float64], distortion: float) -> float:
    """Return the share of pairs whose squared distance is off by more than that."""
    import numpy as np

    return float((np.abs(ratios - 1) > distortion).mean())


def share_bound(n_components: int, distortion: float) -> float:
    """Return which share of pairs may be off by more than that, at most.

    References
    ----------
    Dasgupta and Gupta (2003), Random Structures and Algorithms 22, lemma 2.2: both
    tails are below ``exp(-k (e²/2 - e³/3) / 2)`` for k components.
    """
    exponent = n_components * (distortion**2 / 2 - distortion**3 / 3) / 2
    return min(1.0, 2 * math.exp(-exponent))


def memory_added(memory: Mapping[str, NDArray[np.float64]]) -> float:
    """Return what all passes together have added to the memory, in MB.

    Parameters
    ----------
    memory : mapping of str to ndarray
        Readings of each pass; the first is from before it.

    Returns
    -------
    float
        An upper bound: what a pass frees may stay with the process, and serve the next.
        Libraries that are imported before a pass do not count.
    """
    return sum(float(readings.max() - readings[0]) for readings in memory.values())


def _distances(
    some: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    import numpy as np

    return np.asarray(np.linalg.norm(some[:, None] - other[None], axis=2))
