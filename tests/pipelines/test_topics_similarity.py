"""The map, the clusters, and how topics agree with them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cachekit.pipelines.topics.similarity import (
    cluster_documents,
    count_pairs,
    place_on_map,
    reduce_terms,
    score_groups,
    score_map,
)
from cachekit.pipelines.topics.terms import TermTable, count_terms, weigh_terms

TRUTH = np.repeat([1, 2, 3], [24, 18, 12])


def groups(seed: int = 0) -> NDArray[np.float64]:
    """Return 54 directions of 20 dimensions about three of them."""
    random = np.random.default_rng(seed)
    vectors = np.eye(20)[TRUTH] + random.normal(scale=0.12, size=(len(TRUTH), 20))
    normed: NDArray[np.float64] = vectors / np.linalg.norm(
        vectors, axis=1, keepdims=True
    )
    return normed


def weights_of(*texts: str) -> TermTable:
    return weigh_terms(
        count_terms(
            texts,
            token_pattern=r"\w+",
            stop_words=(),
            min_documents=1,
            max_share=1.0,
            small_collection=10,
            max_terms=100,
        )
    )


def test_documents_with_the_same_words_have_the_same_direction() -> None:
    table = weights_of("gold silver", "gold silver", "cat dog", "cat dog horse")

    vectors = reduce_terms(table, n_dimensions=2, seed=0)

    cosines = vectors @ vectors.T
    assert vectors.shape == (4, 2)
    assert cosines[0, 1] == pytest.approx(1)
    assert cosines[2, 3] > 0.99
    assert abs(cosines[0, 2]) < 0.01


@pytest.mark.parametrize(
    "texts", [("gold",), ("gold silver", "cat dog"), ("gold silver",) * 7]
)
def test_few_or_equal_documents_can_be_reduced_and_placed(
    texts: tuple[str, ...],
) -> None:
    vectors = reduce_terms(weights_of(*texts), n_dimensions=50, seed=0)
    points = place_on_map(vectors, perplexity=30.0, seed=0)

    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(texts)))
    assert points.shape == (len(texts), 2)
    assert np.isfinite(points).all()


def test_the_map_keeps_neighbours() -> None:
    vectors = groups()

    points = place_on_map(vectors, perplexity=8.0, seed=0)

    assert score_map(vectors, points, n_neighbours=5) > 0.85  # 0.93 is usual
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (TRUTH[distances.argmin(axis=1)] == TRUTH).all()


def test_a_map_of_shuffled_pages_is_not_to_be_trusted() -> None:
    vectors = groups()
    points = place_on_map(vectors, perplexity=8.0, seed=0)

    shuffled = np.random.default_rng(0).permutation(points)

    assert score_map(vectors, shuffled, n_neighbours=5) < 0.65  # 0.5 is usual


def test_the_same_seed_makes_the_same_map() -> None:
    first, second = (place_on_map(groups(), perplexity=8.0, seed=3) for _ in range(2))

    assert np.array_equal(first, second)


def test_two_pages_have_no_neighbours_to_keep() -> None:
    assert np.isnan(score_map(np.eye(2), np.eye(2), n_neighbours=10))


def test_clusters_are_numbered_by_size() -> None:
    clusters = cluster_documents(groups(), n_clusters=3, n_starts=3, seed=0)

    assert clusters.tolist() == TRUTH.tolist()


def test_equal_documents_are_one_cluster_without_a_warning() -> None:
    clusters = cluster_documents(np.ones((6, 2)), n_clusters=3, n_starts=2, seed=0)

    assert clusters.tolist() == [1] * 6


def test_topics_that_are_the_groups_score_high_and_others_low() -> None:
    vectors = groups()
    random = np.random.default_rng(0).permutation(TRUTH)

    right = score_groups(TRUTH, TRUTH, vectors)
    wrong = score_groups(random, TRUTH, vectors)

    assert right["adjusted_rand_index"] == right["mutual_information"] == 1
    assert right["silhouette"] > 0.5
    assert abs(wrong["adjusted_rand_index"]) < 0.15
    assert wrong["mutual_information"] < 0.2
    assert wrong["silhouette"] < 0.1


@pytest.mark.parametrize("topics", [[1, 1, 1], [1, 2, 3], [0, 1, 1]])
def test_topics_that_do_not_divide_the_pages_have_no_score(topics: list[int]) -> None:
    numbers = np.array(topics)

    assert score_groups(numbers, np.array([1, 1, 2]), np.eye(3)) == {}


def test_pages_without_a_topic_do_not_count() -> None:
    vectors = groups()
    topics = TRUTH.copy()
    topics[::5] = 0

    assert score_groups(topics, TRUTH, vectors)["adjusted_rand_index"] == 1


def test_pages_are_counted_by_topic_and_cluster() -> None:
    topics, clusters = np.array([1, 1, 2, 0, 2]), np.array([1, 2, 2, 2, 2])

    table = count_pairs(topics, clusters, n_topics=3)

    assert table.tolist() == [[0, 1], [1, 1], [0, 2], [0, 0]]
