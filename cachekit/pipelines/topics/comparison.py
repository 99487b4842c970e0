"""Which topics hang together, and which ones two models agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cachekit.pipelines.topics.model import heaviest
from cachekit.pipelines.topics.terms import TermTable, sparse_matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Match:
    """A topic of one model, and the topic of another that is like it.

    Attributes
    ----------
    first, second : int
        Numbers of the topics, from 1.
    cosine : float
        Of the angle between their shares of words: 0 nothing in common, 1 the same.
    jaccard : float
        Of their heaviest words, those in both over those in either: 0 to 1.
    shared : tuple of int
        Columns of the heaviest words that are in both.
    """

    first: int
    second: int
    cosine: float
    jaccard: float
    shared: tuple[int, ...]


def umass_coherence(
    topic_terms: NDArray[np.float64], counts: TermTable, *, n_words: int
) -> NDArray[np.float64]:
    """Score how often the heaviest words of a topic are on the same pages.

    Of words ``v[1], v[2], …``, the heaviest first, the mean over all pairs ``l < m`` of
    ``log((D(v[m], v[l]) + 1) / D(v[l]))``, where ``D`` counts the documents that hold a
    word, or both. The mean and not the sum: so topics with few words compare.

    Parameters
    ----------
    topic_terms : ndarray, shape (n_topics, n_terms)
        The share of each term in each topic.
    counts : TermTable
        The documents that the topics were found in.
    n_words : int
        How many words stand for a topic.

    Returns
    -------
    ndarray, shape (n_topics,)
        Coherence in nats, at most log 2. The higher, the better: about 0 where each
        word is on all pages that a heavier one is on. NaN for topics with fewer than
        two words.

    Notes
    -----
    Compare models by it that know the same words of the same documents: it is higher
    for frequent words.

    References
    ----------
    Mimno, Wallach, Talley, Leenders and McCallum (2011), Optimizing semantic coherence
    in topic models, EMNLP, 262-272, equation 1.
    """
    import numpy as np

    table = sparse_matrix(counts).tocsc()
    scores = np.full(len(topic_terms), np.nan)
    for topic, row in enumerate(topic_terms):
        words = heaviest(row, n_words)
        if len(words) > 1:
            scores[topic] = _umass(table[:, words])
    return scores


def _umass(counts: Any) -> float:
    """Score one topic by the columns of its words, the heaviest first."""
    import numpy as np

    holds = (counts > 0).astype(np.int64)
    together = (holds.T @ holds).toarray()  # the diagonal: documents with each word
    lighter, heavier = np.tril_indices(len(together), -1)
    ratios = (together[lighter, heavier] + 1) / together[heavier, heavier]
    return float(np.log(ratios).mean())


def match_topics(
    first: NDArray[np.float64], second: NDArray[np.float64], *, n_words: int
) -> list[Match]:
    """Pair the topics of two models so that the pairs are most alike in all.

    Parameters
    ----------
    first, second : ndarray, shape (n_topics, n_terms)
        The share of each term in each topic. If one has more topics, some of them stay
        alone.
    n_words : int
        How many words stand for a topic where words are counted.

    Returns
    -------
    list of Match
        In the order of the first model's topics.

    References
    ----------
    The assignment with the largest sum of cosines: Kuhn (1955), Naval Research
    Logistics Quarterly 2, 83-97. To compare topics so: Greene, O'Callaghan and
    Cunningham (2014), ECML PKDD, 498-513.
    """
    from scipy.optimize import linear_sum_assignment

    cosines = _of_length_1(first) @ _of_length_1(second).T
    pairs = zip(*linear_sum_assignment(cosines, maximize=True), strict=True)
    return [
        _match(int(i), int(j), float(cosines[i, j]), first[i], second[j], n_words)
        for i, j in pairs
    ]


def _match(
    i: int,
    j: int,
    cosine: float,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    n_words: int,
) -> Match:
    ours, theirs = heaviest(first, n_words).tolist(), heaviest(second, n_words).tolist()
    shared = tuple(word for word in ours if word in theirs)
    either = len(ours) + len(theirs) - len(shared)
    return Match(i + 1, j + 1, cosine, len(shared) / max(either, 1), shared)


def mean_scores(
    coherences: NDArray[np.float64], matches: Sequence[Match]
) -> dict[str, float]:
    """Return the means over topics: ``coherence_nats``, ``match_cosine``, and so on.

    Topics without a coherence are left out; what nothing is left of is not there.
    """
    scored = coherences[coherences == coherences].tolist()  # without NaN
    scores = {"coherence_nats": fmean(scored)} if scored else {}
    if matches:
        scores["match_cosine"] = fmean(match.cosine for match in matches)
        scores["match_jaccard"] = fmean(match.jaccard for match in matches)
    return scores


def _of_length_1(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    normed: NDArray[np.float64] = rows / np.where(lengths > 0, lengths, 1.0)
    return normed
