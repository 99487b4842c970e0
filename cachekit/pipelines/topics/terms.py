"""From texts to numbers: how often each word is on each page, and what it weighs.

The tables are plain arrays: reading them back from a cache imports neither scikit-learn
nor scipy, which would take longer than all the rest of a run whose results are known.
"""

from __future__ import annotations

import re
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

    Attributes
    ----------
    values, columns, starts : ndarray
        The table.
    terms : tuple of str
        Names of the columns.
    documents : ndarray of int, shape (n_documents,)
        Which of the texts each row is: texts without any of the terms have none.
    """

    values: NDArray[Any]
    columns: NDArray[Any]
    starts: NDArray[Any]
    terms: tuple[str, ...]
    documents: NDArray[np.intp]


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
        If no term is left, or the pattern is none.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    _check_pattern(token_pattern)
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
            f"the {len(texts)} pages have no words in common to find topics in; read "
            "more of them with a larger MAX_PAGES, or begin at another page with --url"
        ) from error
    documents = counts.getnnz(axis=1).nonzero()[0]
    terms = tuple(vectorizer.get_feature_names_out().tolist())
    return _table(counts[documents], terms, documents)


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

    weights = TfidfTransformer(sublinear_tf=True).fit_transform(sparse_matrix(counts))
    return _table(weights, counts.terms, counts.documents)


def sparse_matrix(table: TermTable) -> Any:
    """Return a table as scipy's sparse matrix, sharing its arrays."""
    from scipy.sparse import csr_matrix

    shape = (len(table.documents), len(table.terms))
    return csr_matrix((table.values, table.columns, table.starts), shape=shape)


def _table(
    matrix: Any, terms: tuple[str, ...], documents: NDArray[np.intp]
) -> TermTable:
    matrix = matrix.tocsr()
    return TermTable(matrix.data, matrix.indices, matrix.indptr, terms, documents)


def _check_pattern(pattern: str) -> None:
    try:
        n_groups = re.compile(pattern).groups
    except re.error as error:
        raise PipelineError(
            f"TOKEN_PATTERN={pattern!r} is no regular expression: {error}"
        ) from error
    if n_groups > 1:
        raise PipelineError(
            f"TOKEN_PATTERN={pattern!r} has {n_groups} groups, and only one can be the "
            "word; write (?:…) for the others"
        )
