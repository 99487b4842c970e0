"""Streams made of the stream of records: an eighth of the features, and hashed notes.

Both are generators to be cached, whose argument is a stream: a function that begins it.
A generator itself has no content that a key could be made of, and can be followed only
once; a `functools.partial` of a cached generator function counts by the code and by the
arguments of that function, which are small, and may be called for every pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachekit.pipelines.biggish.data import Records, Truth, Wording

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Projected:
    """A chunk of records after the projection.

    Attributes
    ----------
    features : ndarray of float32, shape (n_rows, n_components)
        What is left of the features.
    groups : ndarray of int8, shape (n_rows,)
        As of `Records`.
    """

    features: NDArray[np.float32]
    groups: NDArray[np.int8]


@dataclass(frozen=True)
class HashedNotes:
    """A chunk of notes as counts of words.

    Attributes
    ----------
    counts : csr_matrix of float64, shape (n_rows, n_buckets)
        How often words of each bucket are in each note.
    topics : ndarray of int8, shape (n_rows,)
        As of `Records`.
    """

    counts: Any
    topics: NDArray[np.int8]


@dataclass(frozen=True)
class Streams:
    """The data: what is true of it, and streams that can be begun as often as need be.

    Attributes
    ----------
    truth, wording : Truth, Wording
        What it is drawn from.
    projection : ndarray, shape (n_components, n_features)
        Of `projected`.
    records, projected, notes : callable
        Begin a stream.
    """

    truth: Truth
    wording: Wording
    projection: NDArray[np.float64]
    records: Callable[[], Iterator[Records]]
    projected: Callable[[], Iterator[Projected]]
    notes: Callable[[], Iterator[HashedNotes]]


def make_projection(
    *, n_features: int, n_components: int, seed: int
) -> NDArray[np.float64]:
    """Draw a random projection, which nearly keeps the distances of points.

    Parameters
    ----------
    n_features, n_components : int
        From how many features to how many, which are not more.
    seed : int
        Start of the random numbers.

    Returns
    -------
    ndarray, shape (n_components, n_features)
        Normal numbers of variance ``1 / n_components``.

    References
    ----------
    Dasgupta and Gupta (2003), Random Structures and Algorithms 22; after Johnson and
    Lindenstrauss (1984).
    """
    import numpy as np
    from sklearn.random_projection import GaussianRandomProjection

    projection = GaussianRandomProjection(n_components, random_state=seed)
    projection.fit(np.zeros((1, n_features)))  # it looks at the shape only
    return np.asarray(projection.components_)


def project_records(
    records: Callable[[], Iterator[Records]], projection: NDArray[np.float64]
) -> Iterator[Projected]:
    """Project the features of each chunk.

    Parameters
    ----------
    records : callable
        Begins the stream.
    projection : ndarray, shape (n_components, n_features)
        As `make_projection` returns it.

    Yields
    ------
    Projected
    """
    import numpy as np

    matrix = projection.T.astype(np.float32)
    for chunk in records():
        yield Projected(chunk.features @ matrix, chunk.groups)


def hash_notes(
    records: Callable[[], Iterator[Records]], *, n_buckets: int
) -> Iterator[HashedNotes]:
    """Count the words of each note, without a list of all words.

    Parameters
    ----------
    records : callable
        Begins the stream.
    n_buckets : int
        The hash of a word says which of so many buckets it counts in.

    Yields
    ------
    HashedNotes

    References
    ----------
    Weinberger et al. (2009), ICML; here without their random signs, which would make
    counts of words negative.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        n_features=n_buckets, alternate_sign=False, norm=None
    )
    for chunk in records():
        yield HashedNotes(vectorizer.transform(chunk.notes), chunk.topics)
