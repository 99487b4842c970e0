"""From texts to topics: term counts, TF-IDF, non-negative matrix factorisation.

Three functions to be cached, each of its arguments alone, and one that makes the
result readable. They hand on plain arrays: reading them back from a cache imports
neither scikit-learn nor scipy, which would take longer than all the rest of a run
whose results are known.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachekit.errors import PipelineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TermTable:
    """A sparse table with a row for each document and a column for each term.

    Compressed sparse rows: row ``i`` holds ``values[starts[i]:starts[i + 1]]``, in the
    columns ``columns[starts[i]:starts[i + 1]]``.
    """

    values: NDArray[Any]
    columns: NDArray[Any]
    starts: NDArray[Any]
    terms: tuple[str, ...]


@dataclass(frozen=True)
class Factors:
    """A factorised table: documents by topics, and topics by terms.

    Attributes
    ----------
    document_topics : ndarray, shape (n_documents, n_topics)
        How much of each topic is in each document; the heaviest topic first.
    topic_terms : ndarray, shape (n_topics, n_terms)
        The share of each term in each topic; rows sum to 1, or to 0 where the
        documents hold fewer topics than were asked for.
    has_converged : bool
        Whether more iterations would have changed little.
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
    typical : str
        Name of the document that holds most of it.
    """

    number: int
    share: float
    words: tuple[tuple[str, float], ...]
    typical: str


def count_terms(
    texts: Sequence[str],
    *,
    token_pattern: str,
    stop_words: Sequence[str],
    min_documents: int,
    max_share: float,
    small_collection: int,
    max_terms: int,
) -> TermTable:
    """Count the terms of each text.

    Parameters
    ----------
    texts : sequence of str
        The documents.
    token_pattern : str
        Regular expression of a term; texts are in lower case when it is applied.
    stop_words : sequence of str
        Terms to leave out, besides the English ones of scikit-learn.
    min_documents : int
        Leave out terms that are in fewer documents. In a collection of less than ten
        times as many documents, a tenth of them is enough.
    max_share : float
        Leave out terms that are in a larger share of the documents.
    small_collection : int
        In how many documents a term may be in any case, whatever their share.
    max_terms : int
        How many terms to keep at most, the most frequent ones.

    Returns
    -------
    TermTable

    Raises
    ------
    PipelineError
        If no term is left.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    vectorizer = CountVectorizer(
        token_pattern=token_pattern,
        stop_words=sorted(ENGLISH_STOP_WORDS.union(stop_words)),
        min_df=max(1, min(min_documents, len(texts) // 10)),
        max_df=max(small_collection, int(max_share * len(texts))),
        max_features=max_terms,
    )
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError as error:  # "empty vocabulary", "no terms remain"
        raise PipelineError(
            f"the {len(texts)} pages have no words in common to find topics in; "
            "read more of them with --max-pages, or begin at another page with --url"
        ) from error
    return _table(counts, tuple(vectorizer.get_feature_names_out().tolist()))


def weigh_terms(counts: TermTable) -> TermTable:
    """Weigh counts by TF-IDF, with logarithmic counts and rows of length 1.

    Parameters
    ----------
    counts : TermTable

    Returns
    -------
    TermTable
        Of the same shape; terms that tell documents apart weigh more.
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    weights = TfidfTransformer(sublinear_tf=True).fit_transform(_matrix(counts))
    return _table(weights, counts.terms)


def factorise(
    weights: TermTable, *, n_topics: int, seed: int, max_iterations: int
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
    max_iterations : int
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
    from sklearn.exceptions import ConvergenceWarning

    _check_size(weights, n_topics)
    model = NMF(
        n_components=n_topics,
        init="nndsvda",
        random_state=seed,
        max_iter=max_iterations,
    )
    with warnings.catch_warnings():
        # Told in `has_converged`, and so to the user in words of ours.
        warnings.simplefilter("ignore", ConvergenceWarning)
        document_topics = model.fit_transform(_matrix(weights))
    return _in_order(document_topics, model.components_, model.n_iter_ < max_iterations)


def describe_topics(
    factors: Factors, terms: Sequence[str], documents: Sequence[str], *, n_words: int
) -> list[Topic]:
    """Name what each topic is made of.

    Parameters
    ----------
    factors : Factors
        What to name.
    terms, documents : sequence of str
        Names of the columns and of the rows of the factorised table.
    n_words : int
        How many words to name for a topic, at most: words without weight are left out.

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
            words=_heaviest(row, terms, n_words),
            typical=documents[int(column.argmax())] if weight else "",
        )
        for number, weight, row, column in zip(
            range(1, len(weights) + 1),
            weights,
            factors.topic_terms,
            factors.document_topics.T,
            strict=True,
        )
    ]


def _check_size(weights: TermTable, n_topics: int) -> None:
    n_documents, n_terms = len(weights.starts) - 1, len(weights.terms)
    for number, noun in ((n_documents, "pages"), (n_terms, "different words")):
        if number < n_topics:
            raise PipelineError(
                f"{n_topics} topics need at least as many {noun}, and there are only "
                f"{number}: ask for fewer with --topics, or read more with --max-pages"
            )


def _in_order(
    document_topics: NDArray[Any], topic_terms: NDArray[Any], has_converged: bool
) -> Factors:
    """Scale the topics to shares of terms, and put the heaviest first."""
    import numpy as np

    sizes = topic_terms.sum(axis=1)
    topic_terms = topic_terms / np.where(sizes > 0, sizes, 1.0)[:, None]
    document_topics = document_topics * sizes
    order = np.argsort(-document_topics.sum(axis=0), kind="stable")
    return Factors(
        np.ascontiguousarray(document_topics[:, order]),
        np.ascontiguousarray(topic_terms[order]),
        bool(has_converged),
    )


def _heaviest(
    row: NDArray[Any], terms: Sequence[str], n_words: int
) -> tuple[tuple[str, float], ...]:
    # A stable sort: words of equal weight stay in the order of the alphabet.
    order = (-row).argsort(kind="stable")[:n_words]
    return tuple((terms[i], float(row[i])) for i in order if row[i] > 0)


def _matrix(table: TermTable) -> Any:
    from scipy.sparse import csr_matrix

    shape = (len(table.starts) - 1, len(table.terms))
    return csr_matrix((table.values, table.columns, table.starts), shape=shape)


def _table(matrix: Any, terms: tuple[str, ...]) -> TermTable:
    matrix = matrix.tocsr()
    return TermTable(matrix.data, matrix.indices, matrix.indptr, terms)
