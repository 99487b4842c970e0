"""What learns from a stream, a chunk at a time; each function is one pass over it.

Each is to be cached. Its first argument begins the stream, as of `reduction`. All
return plain arrays, and the memory that they saw, as `passes.one_pass` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachekit.pipelines.biggish.data import Records
from cachekit.pipelines.biggish.passes import one_pass
from cachekit.pipelines.biggish.reduction import HashedNotes, Projected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each feature.

    Attributes
    ----------
    count : int
        Of how many rows.
    mean, variance : ndarray of float64, shape (n_features,)
        The variance is the unbiased one.
    memory : ndarray, shape (n_chunks + 1,)
        Readings in MB.
    """

    count: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    memory: NDArray[np.float64]


@dataclass(frozen=True)
class Directions:
    """Principal directions.

    Attributes
    ----------
    mean : ndarray, shape (n_features,)
        Where they start.
    directions : ndarray, shape (n_directions, n_features)
        Of length 1, that of the largest variance first.
    memory : ndarray, shape (n_chunks + 1,)
        Readings in MB.
    """

    mean: NDArray[np.floating[Any]]
    directions: NDArray[np.floating[Any]]
    memory: NDArray[np.float64]


@dataclass(frozen=True)
class Centres:
    """Centres of the groups that k-means has found.

    Attributes
    ----------
    centres : ndarray, shape (n_groups, n_features)
        In no particular order.
    memory : ndarray, shape (n_chunks + 1,)
        Readings in MB.
    """

    centres: NDArray[np.floating[Any]]
    memory: NDArray[np.float64]


@dataclass(frozen=True)
class Lessons:
    """How well topics were told apart while more and more notes were seen.

    Attributes
    ----------
    n_seen : ndarray of int, shape (n_times,)
        Notes seen by then: after 1, 2, 4, … chunks, and after the last.
    accuracy : ndarray, shape (n_times,)
        Share of right answers about notes that were not learned from.
    memory : ndarray, shape (n_chunks + 1,)
        Readings in MB.
    """

    n_seen: NDArray[np.int64]
    accuracy: NDArray[np.float64]
    memory: NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What was learned from the streams.

    Attributes
    ----------
    moments, directions, centres, lessons
        What each pass has returned.
    ratios : ndarray, shape (n_pairs,)
        Of squared distances, by the projection.
    """

    moments: Moments
    directions: Directions
    centres: Centres
    lessons: Lessons
    ratios: NDArray[np.float64]

    @property
    def memory(self) -> dict[str, NDArray[np.float64]]:
        """Readings of each pass in MB, as measured when it was computed."""
        return {
            "mean and variance": self.moments.memory,
            "principal directions": self.directions.memory,
            "centres of groups": self.centres.memory,
            "topics of notes": self.lessons.memory,
        }


@dataclass(frozen=True)
class Places:
    """Where things are in the plane of the first two principal directions.

    Attributes
    ----------
    records : ndarray, shape (n_points, 2)
        Some records.
    groups : ndarray of int8, shape (n_points,)
        Which groups they are of.
    found, true : ndarray, shape (n_groups, 2)
        Centres.
    """

    records: NDArray[np.floating[Any]]
    groups: NDArray[np.int8]
    found: NDArray[np.floating[Any]]
    true: NDArray[np.floating[Any]]


def running_moments(
    records: Callable[[], Iterator[Records]], *, n_chunks: int
) -> Moments:
    """Compute mean and variance of each feature without a second look at the data.

    Parameters
    ----------
    records : callable
        Begins the stream.
    n_chunks : int
        Its length.

    Returns
    -------
    Moments

    References
    ----------
    Chan, Golub and LeVeque (1983), The American Statistician 37, eq. 2.1: Welford's
    update for whole chunks. Sums of squares, from which a square is subtracted at the
    end, lose all digits where the mean is large.
    """
    import numpy as np

    readings: list[float] = []
    count, mean, squares = 0, np.float64(0), np.float64(0)
    for chunk in one_pass(
        records(), n_chunks=n_chunks, name="moments", readings=readings
    ):
        rows = len(chunk.features)
        chunk_mean = chunk.features.mean(axis=0, dtype=np.float64)
        apart = chunk.features - chunk_mean
        chunk_squares = np.einsum("ij,ij->j", apart, apart)
        difference, total = chunk_mean - mean, count + rows
        squares = squares + chunk_squares + difference**2 * (count * rows / total)
        mean, count = mean + difference * (rows / total), total
    variance = np.asarray(squares / (count - 1))
    return Moments(count, np.asarray(mean), variance, np.array(readings))


def find_directions(
    projected: Callable[[], Iterator[Projected]], *, n_chunks: int, n_directions: int
) -> Directions:
    """Find the directions in which the records differ most.

    Parameters
    ----------
    projected : callable
        Begins the stream.
    n_chunks : int
        Its length.
    n_directions : int
        How many to find.

    Returns
    -------
    Directions

    References
    ----------
    Ross, Lim, Lin and Yang (2008), International Journal of Computer Vision 77.
    """
    import numpy as np
    from sklearn.decomposition import IncrementalPCA

    readings: list[float] = []
    model = IncrementalPCA(n_directions)
    for chunk in one_pass(
        projected(), n_chunks=n_chunks, name="directions", readings=readings
    ):
        model.partial_fit(chunk.features)
    return Directions(model.mean_, model.components_, np.array(readings))


def find_centres(
    projected: Callable[[], Iterator[Projected]],
    *,
    n_chunks: int,
    n_groups: int,
    n_starts: int,
    seed: int,
) -> Centres:
    """Find groups by k-means: the best of some starts on the first chunk, then on.

    Parameters
    ----------
    projected : callable
        Begins the stream.
    n_chunks : int
        Its length.
    n_groups : int
        How many centres to find.
    n_starts : int
        How often k-means is started on the first chunk.
    seed : int
        Start of the random numbers.

    Returns
    -------
    Centres

    References
    ----------
    Sculley (2010), WWW, algorithm 1.
    """
    import numpy as np
    from sklearn.cluster import KMeans, MiniBatchKMeans

    readings: list[float] = []
    model = None
    for chunk in one_pass(
        projected(), n_chunks=n_chunks, name="centres", readings=readings
    ):
        if model is None:
            first = KMeans(n_groups, n_init=n_starts, random_state=seed)
            starts = first.fit(chunk.features).cluster_centers_
            model = MiniBatchKMeans(n_groups, init=starts, n_init=1, random_state=seed)
        model.partial_fit(chunk.features)
    assert model is not None, "a stream has a chunk"
    return Centres(model.cluster_centers_, np.array(readings))


def learn_topics(
    notes: Callable[[], Iterator[HashedNotes]],
    *,
    n_chunks: int,
    n_topics: int,
    n_test_chunks: int,
    penalty: float,
    seed: int,
) -> Lessons:
    """Learn to tell what a note is about, by logistic regression.

    Parameters
    ----------
    notes : callable
        Begins the stream.
    n_chunks : int
        Its length.
    n_topics : int
        Topics are 0 to ``n_topics - 1``.
    n_test_chunks : int
        The first so many chunks are kept to measure the accuracy, as counts of words,
        and never learned from.
    penalty : float
        L2 penalty of the weights.
    seed : int
        Start of the random numbers: the order in which the notes of a chunk are taken.

    Returns
    -------
    Lessons

    References
    ----------
    Bottou (2010), COMPSTAT: stochastic gradient descent.
    """
    import numpy as np
    from scipy.sparse import vstack
    from sklearn.linear_model import SGDClassifier

    readings: list[float] = []
    model = SGDClassifier(loss="log_loss", alpha=penalty, random_state=seed)
    kept: list[HashedNotes] = []
    seen, lessons = 0, []
    stream = one_pass(notes(), n_chunks=n_chunks, name="topics", readings=readings)
    for number, chunk in enumerate(stream, start=1 - n_test_chunks):
        if number <= 0:
            kept.append(chunk)
            continue
        if number == 1:
            test = vstack([some.counts for some in kept], format="csr")
            answers = np.concatenate([some.topics for some in kept])
        model.partial_fit(chunk.counts, chunk.topics, classes=np.arange(n_topics))
        seen += len(chunk.topics)
        if number & (number - 1) == 0 or number == n_chunks - n_test_chunks:
            lessons.append((seen, float(model.score(test, answers))))
    n_seen, accuracy = zip(*lessons, strict=True)
    return Lessons(np.array(n_seen), np.array(accuracy), np.array(readings))


def compare_distances(
    records: Callable[[], Iterator[Records]],
    projection: NDArray[np.float64],
    *,
    n_points: int,
) -> NDArray[np.float64]:
    """Compare the distances of some records before and after the projection.

    Parameters
    ----------
    records : callable
        Begins the stream, of which the first chunk is read.
    projection : ndarray, shape (n_components, n_features)
        As `reduction.make_projection` returns it.
    n_points : int
        Records to take.

    Returns
    -------
    ndarray, shape (n_pairs,)
        Squared distance after the projection divided by that before, of each pair.
    """
    import numpy as np
    from scipy.spatial.distance import pdist

    points = next(records()).features[:n_points].astype(np.float64)
    after = pdist(points @ projection.T, "sqeuclidean")
    return np.asarray(after / pdist(points, "sqeuclidean"))


def place_groups(
    projected: Callable[[], Iterator[Projected]],
    mean: NDArray[np.floating[Any]],
    directions: NDArray[np.floating[Any]],
    found: NDArray[np.floating[Any]],
    true: NDArray[np.float64],
    projection: NDArray[np.float64],
    *,
    n_points: int,
) -> Places:
    """Put centres and some records into the plane of the first two directions.

    Parameters
    ----------
    projected : callable
        Begins the stream, of which the first chunk is read.
    mean : ndarray, shape (n_components,)
        Where the directions start.
    directions : ndarray, shape (n_directions, n_components)
        At least two.
    found : ndarray, shape (n_groups, n_components)
        Centres of projected records.
    true : ndarray, shape (n_groups, n_features)
        Centres of records.
    projection : ndarray, shape (n_components, n_features)
        What projects them.
    n_points : int
        Records to take.

    Returns
    -------
    Places
    """
    import numpy as np

    def place(rows: NDArray[Any]) -> NDArray[np.floating[Any]]:
        return np.asarray((rows - mean) @ directions[:2].T)

    chunk = next(projected())
    return Places(
        place(chunk.features[:n_points]),
        chunk.groups[:n_points],
        place(found),
        place(true @ projection.T),
    )
