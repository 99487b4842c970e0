"""From texts to topics."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from cachekit.errors import PipelineError
from cachekit.pipelines.topics.const import TOKEN_PATTERN
from cachekit.pipelines.topics.model import (
    Factors,
    TermTable,
    count_terms,
    describe_topics,
    factorise,
    weigh_terms,
)
from tests.pipelines.website import ANIMALS, METALS

TEXTS = [
    " ".join(words[i:] + words[:1]) for i in range(5) for words in (ANIMALS, METALS)
]


def count(texts: list[str] = TEXTS, **options: Any) -> TermTable:
    defaults: dict[str, Any] = {
        "token_pattern": TOKEN_PATTERN,
        "stop_words": (),
        "min_documents": 1,
        "max_share": 1.0,
        "small_collection": 0,
        "max_terms": 1000,
    }
    return count_terms(texts, **(defaults | options))


def dense(table: TermTable) -> list[list[float]]:
    rows = np.zeros((len(table.starts) - 1, len(table.terms)))
    for number, row in enumerate(rows):
        part = slice(table.starts[number], table.starts[number + 1])
        row[table.columns[part]] = table.values[part]
    return rows.tolist()


def test_words_are_counted_in_each_text() -> None:
    table = count(["Silver and GOLD gold", "gold_leaf silver2 au", "étain 漢字文"])

    assert table.terms == ("gold", "silver", "étain", "漢字文")
    assert dense(table) == [[2, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]


def test_stop_words_are_left_out() -> None:
    assert count(["the gold of the sea"], stop_words=("sea",)).terms == ("gold",)


def test_rare_and_common_words_are_left_out() -> None:
    texts = ["common half rare"] + ["common half"] * 9 + ["common"] * 10

    table = count(texts, min_documents=2, max_share=0.5)

    assert table.terms == ("half",)


def test_no_word_of_a_small_collection_is_too_rare_or_too_common() -> None:
    table = count(
        ["common rare", "common"], min_documents=5, max_share=0.1, small_collection=10
    )

    assert table.terms == ("common", "rare")


@pytest.mark.parametrize("texts", [["1 2 3"], ["the and of"], [""]])
def test_texts_without_words_are_an_error(texts: list[str]) -> None:
    with pytest.raises(PipelineError, match="no words in common"):
        count(texts)


def test_a_word_of_few_texts_weighs_more() -> None:
    gold, silver = dense(weigh_terms(count(["gold silver", "gold", "gold"])))[0]

    assert silver > gold
    assert gold**2 + silver**2 == pytest.approx(1)


def topics_of(texts: list[str], n_topics: int, seed: int = 0) -> Factors:
    weights = weigh_terms(count(texts))
    return factorise(weights, n_topics=n_topics, seed=seed, max_iterations=500)


def test_topics_gather_the_words_that_go_together() -> None:
    texts = [*TEXTS, " ".join(ANIMALS)]
    terms = count(texts).terms

    heavier, lighter = describe_topics(
        topics_of(texts, 2), terms, [f"/{i}" for i in range(len(texts))], n_words=5
    )

    assert {word for word, _ in heavier.words} < set(ANIMALS)
    assert {word for word, _ in lighter.words} < set(METALS)
    assert (heavier.number, lighter.number) == (1, 2)
    assert heavier.share > lighter.share
    assert heavier.share + lighter.share == pytest.approx(1)
    assert int(heavier.typical[1:]) in {0, 2, 4, 6, 8, 10}


def test_words_are_ordered_by_weight_and_then_by_name() -> None:
    factors = Factors(np.ones((1, 1)), np.array([[0.2, 0.3, 0.2, 0.3, 0.0]]), True)

    (topic,) = describe_topics(factors, "abcde", ["/"], n_words=10)

    assert topic.words == (("b", 0.3), ("d", 0.3), ("a", 0.2), ("c", 0.2))


def test_the_same_seed_finds_the_same_topics() -> None:
    first, second = topics_of(TEXTS, 3, seed=7), topics_of(TEXTS, 3, seed=7)

    assert np.array_equal(first.topic_terms, second.topic_terms)
    assert np.array_equal(first.document_topics, second.document_topics)


def test_more_topics_than_the_texts_hold_are_empty_not_an_error() -> None:
    texts = ["gold gold", "gold", "gold silver", "gold silver"]
    factors = topics_of(texts, 2)

    topics = describe_topics(factors, ("gold", "silver"), texts, n_words=3)

    assert np.isfinite(factors.topic_terms).all()
    assert len(topics) == 2


@pytest.mark.parametrize(
    ("texts", "n_topics", "message"),
    [
        (TEXTS[:3], 4, "4 topics need at least as many pages, and there are only 3"),
        (["gold silver"] * 5, 4, "different words, and there are only 2"),
    ],
)
def test_too_many_topics_are_an_error_that_names_the_option(
    texts: list[str], n_topics: int, message: str
) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        topics_of(texts, n_topics)

    assert "--topics" in str(caught.value)


def test_too_few_iterations_are_told_without_a_warning() -> None:
    weights = weigh_terms(count())

    factors = factorise(weights, n_topics=3, seed=0, max_iterations=1)

    assert not factors.has_converged
    assert topics_of(TEXTS, 3).has_converged


def test_tables_hold_plain_arrays() -> None:
    for table in (count(), weigh_terms(count())):
        arrays = dataclasses.astuple(table)[:3]
        assert {type(array) for array in arrays} == {np.ndarray}
