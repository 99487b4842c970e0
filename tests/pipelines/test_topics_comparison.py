"""Coherence of topics, and which topics of two models are alike."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cachekit.pipelines.topics.comparison import (
    Match,
    match_topics,
    mean_scores,
    umass_coherence,
)
from cachekit.pipelines.topics.terms import TermTable, count_terms


def table_of(*texts: str) -> TermTable:
    """Count one-letter words."""
    return count_terms(
        texts,
        token_pattern=r"\w",
        stop_words=(),
        min_documents=1,
        max_share=1.0,
        small_collection=0,
        max_terms=100,
    )


def test_coherence_is_what_the_paper_says() -> None:
    # b is in 3 texts, c in 2, d in 1; b and c in 2, b and d in 1, c and d in none.
    counts = table_of("b b b c", "b c", "b d")
    assert counts.terms == ("b", "c", "d")
    first, second = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.0, 0.9])

    scores = umass_coherence(np.array([first, second]), counts, n_words=3)

    c_with_b, d_with_b, d_with_c = math.log(3 / 3), math.log(2 / 3), math.log(1 / 2)
    b_with_d = math.log(2 / 1)  # d is the heavier one here
    assert scores.tolist() == pytest.approx(
        [(c_with_b + d_with_b + d_with_c) / 3, b_with_d]
    )


def test_only_the_heaviest_words_are_looked_at() -> None:
    counts = table_of("b c", "b c", "d", "e")

    (score,) = umass_coherence(np.array([[0.4, 0.3, 0.2, 0.1]]), counts, n_words=2)

    assert score == pytest.approx(math.log(3 / 2))


def test_words_that_go_together_are_more_coherent() -> None:
    counts = table_of("b c d", "b c d", "e f g", "e f g")
    together = np.array([0.5, 0.3, 0.2, 0.0, 0.0, 0.0])
    mixed = np.array([0.5, 0.0, 0.0, 0.3, 0.0, 0.2])

    good, bad = umass_coherence(np.array([together, mixed]), counts, n_words=3)

    assert good > bad


def test_a_topic_without_two_words_has_no_coherence() -> None:
    counts = table_of("b c", "b c")

    scores = umass_coherence(np.array([[1.0, 0.0], [0.0, 0.0]]), counts, n_words=5)

    assert np.isnan(scores).all()
    assert mean_scores(scores, []) == {}


def test_the_topics_of_a_model_match_those_of_itself_in_any_order() -> None:
    random = np.random.default_rng(0)
    topics = random.dirichlet(np.full(30, 0.1), size=6)
    order = [3, 1, 5, 0, 4, 2]

    matches = match_topics(topics, topics[order], n_words=5)

    assert [match.first for match in matches] == [1, 2, 3, 4, 5, 6]
    assert [order[match.second - 1] + 1 for match in matches] == [1, 2, 3, 4, 5, 6]
    assert [match.cosine for match in matches] == pytest.approx([1.0] * 6)
    assert [match.jaccard for match in matches] == [1.0] * 6


def test_the_assignment_is_the_best_in_all_and_not_one_by_one() -> None:
    # Both are most like the other model's first; the second has nothing else.
    first = np.array([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
    second = np.array([[1.0, 0.1, 0.0], [0.2, 1.0, 0.0]])

    matches = match_topics(first, second, n_words=2)

    assert [match.second for match in matches] == [2, 1]


def test_words_in_both_are_counted_and_named() -> None:
    first = np.array([[0.4, 0.3, 0.2, 0.1, 0.0]])
    second = np.array([[0.0, 0.3, 0.2, 0.1, 0.4]])

    (match,) = match_topics(first, second, n_words=3)

    # b c d and f c d: two of four
    assert match.shared == (1, 2)
    assert match.jaccard == 0.5


def test_models_with_more_topics_keep_some_alone() -> None:
    matches = match_topics(np.eye(3), np.eye(3)[1:], n_words=1)

    assert [(match.first, match.second) for match in matches] == [(2, 1), (3, 2)]


def test_an_empty_topic_is_like_none() -> None:
    matches = match_topics(np.zeros((1, 3)), np.eye(3)[:1], n_words=3)

    assert matches == [Match(1, 1, 0.0, 0.0, ())]


def test_scores_are_means_over_topics() -> None:
    matches = [Match(1, 1, 0.5, 0.2, ()), Match(2, 2, 1.0, 0.4, ())]

    scores = mean_scores(np.array([-1.0, np.nan, -2.0]), matches)

    assert scores == pytest.approx(
        {"coherence_nats": -1.5, "match_cosine": 0.75, "match_jaccard": 0.3}
    )
