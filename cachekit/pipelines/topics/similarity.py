"""Pages near each other: a map of them, clusters, and how topics agree with these.

None of it knows the topics, but for the functions that compare with them: so a topic
whose pages lie together has been found twice.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from cachekit.pipelines.threads import in_one_thread
from cachekit.pipelines.topics.terms import TermTable, sparse_matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def reduce_terms(
    weights: TermTable, *, n_dimensions: int, seed: int
) -> NDArray[np.float64]:
    """Give each document few coordinates: latent semantic analysis.

    Parameters
    ----------
    weights : TermTable
        TF-IDF weights.
    n_dimensions : int
        How many coordinates, if there are as many documents and terms.
    seed : int
        Start of the random numbers.

    Returns
    -------
    ndarray, shape (n_documents, n_dimensions)
        Rows have length 1: how near two are is the cosine between the documents.

    References
    ----------
    Deerwester et al. (1990), Journal of the American Society for Information Science
    41, 391-407; randomised: Halko, Martinsson and Tropp (2011), SIAM Review 53.
    """
    import numpy as np
    from sklearn.utils.extmath import randomized_svd

    matrix = sparse_matrix(weights)
    n_dimensions = min(n_dimensions, *matrix.shape)
    with in_one_thread():
        left, sizes, _ = randomized_svd(matrix, n_dimensions, random_state=seed)
    vectors: NDArray[np.float64] = left * sizes
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def place_on_map(
    vectors: NDArray[np.float64], *, perplexity: float, seed: int
) -> NDArray[np.float64]:
    """Place documents on a map, those near each other that are alike: t-SNE.

    Parameters
    ----------
    vectors : ndarray, shape (n_documents, n_dimensions)
        Where they really are.
    perplexity : float
        About how many neighbours of a document to keep; at most a third of all.
    seed : int
        Start of the random numbers.

    Returns
    -------
    ndarray, shape (n_documents, 2)
        Without a unit: what is near is alike; how far away the rest is says little.

    References
    ----------
    Van der Maaten and Hinton (2008), Journal of Machine Learning Research 9,
    2579-2605; from the principal components: Kobak and Berens (2019), Nature
    Communications 10, 5416.
    """
    import numpy as np
    from sklearn.manifold import TSNE

    start = np.zeros((len(vectors), 2))
    start[:, : vectors.shape[1]] = vectors[:, :2]
    if len(vectors) < 4:  # too few to have neighbours
        return start
    # The first two dimensions, small, as scikit-learn does with principal components.
    start *= 1e-4 / (start.std() or 1.0)
    model = TSNE(
        perplexity=min(perplexity, (len(vectors) - 1) / 3),
        init=start.astype(np.float32),
        random_state=seed,
    )
    with in_one_thread():
        points: NDArray[np.float64] = model.fit_transform(vectors).astype(np.float64)
    return points


def score_map(
    vectors: NDArray[np.float64], points: NDArray[np.float64], *, n_neighbours: int
) -> float:
    """Score whether documents that are near on the map are near.

    Parameters
    ----------
    vectors : ndarray, shape (n_documents, n_dimensions)
        Where they really are.
    points : ndarray, shape (n_documents, 2)
        Where they are on the map.
    n_neighbours : int
        How many neighbours to look at; of few documents, fewer than half.

    Returns
    -------
    float
        Trustworthiness: 1 if all neighbours on the map are neighbours, about 0.5 for a
        random map. NaN for fewer than three documents.

    References
    ----------
    Venna and Kaski (2001), ICANN, 485-491.
    """
    from sklearn.manifold import trustworthiness

    n_neighbours = min(n_neighbours, (len(vectors) - 1) // 2)
    if n_neighbours < 1:
        return float("nan")
    return float(trustworthiness(vectors, points, n_neighbors=n_neighbours))


def cluster_documents(
    vectors: NDArray[np.float64], *, n_clusters: int, n_starts: int, seed: int
) -> NDArray[np.intp]:
    """Gather documents that are near each other: k-means.

    Parameters
    ----------
    vectors : ndarray, shape (n_documents, n_dimensions)
        Where they are.
    n_clusters : int
        How many clusters, at most as many as documents.
    n_starts : int
        How often to begin; the tightest clusters are kept.
    seed : int
        Start of the random numbers.

    Returns
    -------
    ndarray of int, shape (n_documents,)
        Number of each document's cluster, 1 for the largest.

    References
    ----------
    Lloyd (1982), IEEE Transactions on Information Theory 28; start values by Arthur
    and Vassilvitskii (2007), SODA, 1027-1035.
    """
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    model = KMeans(n_clusters, n_init=n_starts, random_state=seed)
    with in_one_thread(), warnings.catch_warnings():
        # Equal documents: fewer clusters than asked for, which one sees.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = model.fit_predict(vectors)
    sizes = np.bincount(labels, minlength=n_clusters)
    numbers = np.empty(n_clusters, dtype=np.intp)
    numbers[np.argsort(-sizes, kind="stable")] = np.arange(1, n_clusters + 1)
    clusters: NDArray[np.intp] = numbers[labels]
    return clusters


def score_groups(
    topics: NDArray[np.intp],
    clusters: NDArray[np.intp],
    vectors: NDArray[np.float64],
) -> dict[str, float]:
    """Score topics as groups of documents.

    Parameters
    ----------
    topics, clusters : ndarray of int, shape (n_documents,)
        Number of each document's heaviest topic, and of its cluster. Documents of
        topic 0 have none, and are left out.
    vectors : ndarray, shape (n_documents, n_dimensions)
        Where the documents are.

    Returns
    -------
    dict of str to float
        ``silhouette``: how much nearer documents are to their own topic's than to
        those of the next topic, -1 to 1. ``adjusted_rand_index``: pairs of documents
        that topics and clusters both put together, or both apart; 1 for the same
        groups, about 0 for unrelated ones. ``mutual_information``: normalised by the
        mean of the entropies; 0 to 1. Nothing if all documents are in one group, or
        each in its own.

    References
    ----------
    Rousseeuw (1987), Journal of Computational and Applied Mathematics 20, 53-65; Hubert
    and Arabie (1985), Journal of Classification 2, 193-218; Strehl and Ghosh (2002),
    Journal of Machine Learning Research 3, 583-617.
    """
    from sklearn import metrics

    has_one = topics > 0
    topics, clusters, vectors = topics[has_one], clusters[has_one], vectors[has_one]
    if not 1 < len(set(topics.tolist())) < len(topics):
        return {}
    return {
        "silhouette": float(metrics.silhouette_score(vectors, topics, metric="cosine")),
        "adjusted_rand_index": float(metrics.adjusted_rand_score(clusters, topics)),
        "mutual_information": float(
            metrics.normalized_mutual_info_score(clusters, topics)
        ),
    }


def count_pairs(
    topics: NDArray[np.intp], clusters: NDArray[np.intp], *, n_topics: int
) -> NDArray[np.intp]:
    """Count the documents of each topic in each cluster.

    Parameters
    ----------
    topics, clusters : ndarray of int, shape (n_documents,)
        Number of each document's heaviest topic, 0 for none, and of its cluster.
    n_topics : int
        How many topics there are.

    Returns
    -------
    ndarray of int, shape (n_topics + 1, n_clusters)
        The first row: documents without a topic.
    """
    import numpy as np

    table = np.zeros((n_topics + 1, clusters.max()), dtype=np.intp)
    np.add.at(table, (topics, clusters - 1), 1)
    return table
