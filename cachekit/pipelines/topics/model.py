"""From words to topics: three models, and what their topics are called.

Each model is a function to be cached. All return the same `Factors`: plain arrays, so
that reading them back imports neither scikit-learn nor scipy.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachekit.errors import PipelineError
from cachekit.pipelines.threads import in_one_thread
from cachekit.pipelines.topics.terms import TermTable, sparse_matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Factors:
    """What a model found: documents by topics, and topics by terms.

    Attributes
    ----------
    document_topics : ndarray, shape (n_documents, n_topics)
        How much of each topic is in each document; the heaviest topic first. Of LDA,
        shares that sum to 1.
    topic_terms : ndarray, shape (n_topics, n_terms)
        The share of each term in each topic; rows sum to 1, or to 0 where the
        documents hold fewer topics than were asked for.
    has_converged : bool
        Whether more rounds would have changed little.
    """

    document_topics: NDArray[np.float64]
    topic_terms: NDArray[np.float64]
    has_converged: bool


@dataclass(frozen=True)
class Topic:
    """A topic as people see it.

    Attributes
    ----------
    number : int
        1 for the heaviest topic.
    share : float
        Its part of the weight of all topics, 0 to 1.
    words : tuple of (str, float)
        The heaviest words and their shares in the topic, heaviest first.
    typical : tuple of str
        Names of the documents that hold most of it, that with most first.
    """

    number: int
    share: float
    words: tuple[tuple[str, float], ...]
    typical: tuple[str, ...]


def fit_nmf(
    weights: TermTable, *, n_topics: int, seed: int, max_rounds: int
) -> Factors:
    """Find topics: non-negative factors whose product is close to `weights`.

    Parameters
    ----------
    weights : TermTable
        TF-IDF weights, non-negative.
    n_topics : int
        How many topics to find.
    seed : int
        Start of the random numbers; the same seed finds the same topics.
    max_rounds : int
        When to stop if the factors keep changing.

    Returns
    -------
    Factors

    Raises
    ------
    PipelineError
        If there are fewer documents or terms than topics.

    References
    ----------
    Lee and Seung (1999), Nature 401; start values by Boutsidis and Gallopoulos
    (2008), Pattern Recognition 41.
    """
    from sklearn.decomposition import NMF

    _check_size(weights, n_topics)
    model = NMF(n_topics, init="nndsvda", random_state=seed, max_iter=max_rounds)
    with in_one_thread(), _without_warnings():
        document_topics = model.fit_transform(sparse_matrix(weights))
    return _rescaled(document_topics, model, max_rounds)


def fit_minibatch_nmf(
    weights: TermTable, *, n_topics: int, seed: int, max_rounds: int, batch_size: int
) -> Factors:
    """Find topics as `fit_nmf` does, from some of the documents at a time.

    Parameters
    ----------
    weights : TermTable
        TF-IDF weights, non-negative.
    n_topics, seed, max_rounds
        As in `fit_nmf`.
    batch_size : int
        How many documents to take at a time.

    Returns
    -------
    Factors

    Raises
    ------
    PipelineError
        If there are fewer documents or terms than topics.

    References
    ----------
    Lefèvre, Bach and Févotte (2011), IEEE WASPAA, 313-316.
    """
    from sklearn.decomposition import MiniBatchNMF

    _check_size(weights, n_topics)
    model = MiniBatchNMF(
        n_topics,
        init="nndsvda",
        random_state=seed,
        max_iter=max_rounds,
        batch_size=batch_size,
    )
    with in_one_thread(), _without_warnings():
        document_topics = model.fit_transform(sparse_matrix(weights))
    return _rescaled(document_topics, model, max_rounds)


def fit_lda(
    counts: TermTable,
    *,
    n_topics: int,
    seed: int,
    max_rounds: int,
    tolerance: float,
    learning_method: str,
    batch_size: int,
    document_prior: float,
    term_prior: float,
) -> Factors:
    """Find topics: of each word of a document, which topic it was drawn from.

    Latent Dirichlet allocation, by variational Bayes.

    Parameters
    ----------
    counts : TermTable
        How often each term is in each document. Counts, for it is counts that the
        model explains; weights have no likelihood.
    n_topics : int
        How many topics to find.
    seed : int
        Start of the random numbers; the same seed finds the same topics.
    max_rounds : int
        When to stop if the topics keep changing.
    tolerance : float
        The topics have settled when the perplexity changes by less in ten rounds.
    learning_method : {"batch", "online"}
        Learn from all documents at once, or from some at a time.
    batch_size : int
        How many documents to take at a time, if online.
    document_prior, term_prior : float
        Parameters of the symmetric Dirichlet distributions of topics in a document,
        and of terms in a topic; the smaller, the fewer.

    Returns
    -------
    Factors

    Raises
    ------
    PipelineError
        If there are fewer documents or terms than topics.

    References
    ----------
    Blei, Ng and Jordan (2003), Journal of Machine Learning Research 3, 993-1022;
    online: Hoffman, Blei and Bach (2010), NIPS 23.
    """
    from sklearn.decomposition import LatentDirichletAllocation

    _check_size(counts, n_topics)
    model = LatentDirichletAllocation(
        n_topics,
        random_state=seed,
        max_iter=max_rounds,
        evaluate_every=10,  # to evaluate takes as long as three rounds
        perp_tol=tolerance,
        learning_method=learning_method,
        batch_size=batch_size,
        doc_topic_prior=document_prior,
        topic_word_prior=term_prior,
    )
    with in_one_thread():
        shares = model.fit_transform(sparse_matrix(counts))
    topic_terms = model.components_ / model.components_.sum(axis=1, keepdims=True)
    return _in_order(shares, topic_terms, model.n_iter_ < max_rounds)


def describe_topics(
    factors: Factors,
    terms: Sequence[str],
    documents: Sequence[str],
    *,
    n_words: int,
    n_documents: int,
) -> list[Topic]:
    """Name what each topic is made of.

    Parameters
    ----------
    factors : Factors
        What to name.
    terms, documents : sequence of str
        Names of the columns and of the rows of the table that was fitted.
    n_words, n_documents : int
        How many words and documents to name for a topic, at most: those without weight
        are left out.

    Returns
    -------
    list of Topic
        The heaviest first.
    """
    weights = factors.document_topics.sum(axis=0)
    total = weights.sum() or 1.0
    return [
        Topic(
            number=number,
            share=float(weight / total),
            words=tuple((terms[i], float(row[i])) for i in heaviest(row, n_words)),
            typical=tuple(documents[i] for i in heaviest(column, n_documents)),
        )
        for number, weight, row, column in zip(
            range(1, len(weights) + 1),
            weights,
            factors.topic_terms,
            factors.document_topics.T,
            strict=True,
        )
    ]


def heaviest(weights: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    """Return where the largest weights above 0 are, at most `n`, the largest first.

    Of equal ones the first comes first: words stay in the order of the alphabet.
    """
    order: NDArray[np.intp] = (-weights).argsort(kind="stable")[:n]
    return order[weights[order] > 0]


def heaviest_topics(factors: Factors) -> NDArray[np.intp]:
    """Return the number of each document's heaviest topic, from 1.

    0 for documents that hold none of the topics.
    """
    weights = factors.document_topics
    numbers: NDArray[np.intp] = weights.argmax(axis=1) + 1
    numbers[weights.max(axis=1) <= 0] = 0
    return numbers


def _check_size(table: TermTable, n_topics: int) -> None:
    n_documents, n_terms = len(table.documents), len(table.terms)
    for number, noun in ((n_documents, "pages with text"), (n_terms, "words")):
        if number < n_topics:
            raise PipelineError(
                f"{n_topics} topics need at least as many {noun}, and there are only "
                f"{number}: ask for fewer with --set N_TOPICS={number}, or read more "
                "with a larger MAX_PAGES"
            )


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep NMF from warning of what is told elsewhere, or is no harm.

    That it has not converged is in `Factors`. Its error, which is not used, is the root
    of a number just below 0 where the factors are exact.
    """
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _rescaled(document_topics: NDArray[Any], model: Any, max_rounds: int) -> Factors:
    """Scale the topics to shares of terms, and the documents the other way."""
    import numpy as np

    sizes = model.components_.sum(axis=1)
    topic_terms = model.components_ / np.where(sizes > 0, sizes, 1.0)[:, None]
    return _in_order(document_topics * sizes, topic_terms, model.n_iter_ < max_rounds)


def _in_order(
    document_topics: NDArray[Any], topic_terms: NDArray[Any], has_converged: bool
) -> Factors:
    """Put the heaviest topic first."""
    import numpy as np

    order = np.argsort(-document_topics.sum(axis=0), kind="stable")
    return Factors(
        np.ascontiguousarray(document_topics[:, order]),
        np.ascontiguousarray(topic_terms[order]),
        bool(has_converged),
    )
