"""A stream of simulated records, chunk by chunk, and what is true of them.

`stream_records` stands for whatever reads your data piece by piece: files of a folder,
pages of a database. A record has features, and a note in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Truth:
    """What the features are drawn from: groups that differ in a few directions.

    Attributes
    ----------
    centres : ndarray, shape (n_groups, n_features)
        Mean of each group; all groups are of one size.
    directions : ndarray, shape (n_features, n_directions)
        Orthogonal and of length 1.
    spread : float
        Standard deviation within a group, along each direction.
    noise : float
        Standard deviation of each feature besides.
    """

    centres: NDArray[np.float64]
    directions: NDArray[np.float64]
    spread: float
    noise: float


@dataclass(frozen=True)
class Wording:
    """What the notes are made of: words of a topic, and words of all of them.

    Attributes
    ----------
    n_topics : int
        Topics, which are equally frequent.
    words_per_note : int
        Words of a note.
    topic_share : float
        How probable it is that a word is one of the topic.
    n_topic_words, n_common_words : int
        Words of each topic, and of all of them; each is as frequent as the next.
    """

    n_topics: int
    words_per_note: int
    topic_share: float
    n_topic_words: int
    n_common_words: int


@dataclass(frozen=True)
class Records:
    """A chunk of the data.

    Attributes
    ----------
    features : ndarray of float32, shape (n_rows, n_features)
        Numbers of each record.
    groups : ndarray of int8, shape (n_rows,)
        Which group a record is of; for figures and checks only.
    notes : list of str
        Text of each record.
    topics : ndarray of int8, shape (n_rows,)
        What each note is about.
    """

    features: NDArray[np.float32]
    groups: NDArray[np.int8]
    notes: list[str]
    topics: NDArray[np.int8]


def make_truth(
    *,
    n_features: int,
    n_groups: int,
    n_directions: int,
    radius: float,
    spread: float,
    noise: float,
    seed: int,
) -> Truth:
    """Choose directions, and put groups on a circle in the plane of the first two.

    Parameters
    ----------
    n_features, n_groups, n_directions : int
        Sizes; not more directions than features.
    radius : float
        Of the circle.
    spread, noise : float
        As of `Truth`.
    seed : int
        Start of the random numbers.

    Returns
    -------
    Truth
    """
    import numpy as np

    random = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(random.standard_normal((n_features, n_directions)))
    angles = 2 * np.pi * np.arange(n_groups) / n_groups
    circle = radius * np.column_stack([np.cos(angles), np.sin(angles)])
    # Away from zero, as data is: who forgets to subtract the mean is to be found out.
    offset = random.normal(scale=3 * noise, size=n_features)
    return Truth(circle @ directions[:, :2].T + offset, directions, spread, noise)


def stream_records(
    truth: Truth, wording: Wording, *, n_chunks: int, chunk_rows: int, seed: int
) -> Iterator[Records]:
    """Draw records, and yield them in chunks.

    Parameters
    ----------
    truth : Truth
        What the features are drawn from.
    wording : Wording
        What the notes are drawn from.
    n_chunks : int
        How many chunks to yield.
    chunk_rows : int
        Records of each.
    seed : int
        Start of the random numbers.

    Yields
    ------
    Records
    """
    import numpy as np

    vocabulary = _vocabulary(wording)
    for number in range(n_chunks):
        random = np.random.default_rng([seed, number])  # a chunk is the same in any run
        groups = random.integers(len(truth.centres), size=chunk_rows, dtype=np.int8)
        topics = random.integers(wording.n_topics, size=chunk_rows, dtype=np.int8)
        words = _draw_words(topics, wording, random)
        notes = [" ".join(note) for note in vocabulary[words].tolist()]
        yield Records(_draw_features(groups, truth, random), groups, notes, topics)


def covariance(truth: Truth) -> NDArray[np.float64]:
    """Return the exact covariance of the features, shape (n_features, n_features)."""
    import numpy as np

    apart = truth.centres - truth.centres.mean(axis=0)
    along = truth.directions * truth.spread
    between = apart.T @ apart / len(apart)
    return np.asarray(
        between + along @ along.T + truth.noise**2 * np.eye(len(truth.directions))
    )


def best_accuracy(wording: Wording) -> float:
    """Return the share of notes whose topic can be known: that of an ideal reader.

    A note with a word of its topic gives the topic away. Of the others nothing can be
    known, and a guess is right for one in `n_topics`.
    """
    silent = (1 - wording.topic_share) ** wording.words_per_note
    return 1 - silent * (1 - 1 / wording.n_topics)


def _draw_features(
    groups: NDArray[np.int8], truth: Truth, random: np.random.Generator
) -> NDArray[np.float32]:
    import numpy as np

    n_features, n_directions = truth.directions.shape
    shape = (len(groups), n_features)
    features = random.standard_normal(shape, dtype=np.float32)
    features *= np.float32(truth.noise)
    features += truth.centres.astype(np.float32)[groups]
    along = random.standard_normal((len(groups), n_directions), dtype=np.float32)
    features += along @ (truth.spread * truth.directions.T).astype(np.float32)
    return features


def _draw_words(
    topics: NDArray[np.int8], wording: Wording, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return numbers of words: first those of topic 0, of topic 1, …, then the rest."""
    import numpy as np

    shape = (len(topics), wording.words_per_note)
    of_topic = random.integers(wording.n_topic_words, size=shape)
    of_topic += topics.astype(np.int64)[:, None] * wording.n_topic_words
    common = random.integers(wording.n_common_words, size=shape)
    common += wording.n_topics * wording.n_topic_words
    return np.where(random.random(shape) < wording.topic_share, of_topic, common)


def _vocabulary(wording: Wording) -> NDArray[Any]:
    import numpy as np

    words = [
        f"topic{topic}word{word}"
        for topic in range(wording.n_topics)
        for word in range(wording.n_topic_words)
    ]
    words += [f"word{word}" for word in range(wording.n_common_words)]
    return np.array(words, dtype=object)  # of objects: rows of it are lists of str
