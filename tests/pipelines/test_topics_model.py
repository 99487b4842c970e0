"""From texts to words, and from words to topics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from cachekit.errors import PipelineError
from cachekit.pipelines.topics.comparison import umass_coherence
from cachekit.pipelines.topics.const import TOKEN_PATTERN
from cachekit.pipelines.topics.model import (
    Factors,
    describe_topics,
    fit_lda,
    fit_minibatch_nmf,
    fit_nmf,
    heaviest_topics,
)
from cachekit.pipelines.topics.terms import TermTable, count_terms, weigh_terms
from tests.pipelines.website import ANIMALS, METALS

Fit = Callable[..., Factors]

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
    assert dense(table) == [[2, 1, 0, 0], [0, 0, 1, 1]]
    assert table.documents.tolist() == [0, 2]  # the second text has no word


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


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "'\\(' is no regular expression"), ("(a)(b)", "has 2 groups")],
)
def test_a_pattern_that_finds_no_words_is_an_error(pattern: str, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        count(token_pattern=pattern)


@pytest.mark.parametrize("texts", [["1 2 3"], ["the and of"], [""]])
def test_texts_without_words_are_an_error(texts: list[str]) -> None:
    with pytest.raises(PipelineError, match="no words in common"):
        count(texts)


def test_a_word_of_few_texts_weighs_more() -> None:
    gold, silver = dense(weigh_terms(count(["gold silver", "gold", "gold"])))[0]

    assert silver > gold
    assert gold**2 + silver**2 == pytest.approx(1)


def nmf(counts: TermTable, n_topics: int, *, seed: int = 0, rounds: int = 500) -> Any:
    return fit_nmf(weigh_terms(counts), n_topics=n_topics, seed=seed, max_rounds=rounds)


def minibatch_nmf(
    counts: TermTable, n_topics: int, *, seed: int = 0, rounds: int = 500
) -> Factors:
    return fit_minibatch_nmf(
        weigh_terms(counts),
        n_topics=n_topics,
        seed=seed,
        max_rounds=rounds,
        batch_size=8,
    )


def lda(
    counts: TermTable,
    n_topics: int,
    *,
    seed: int = 0,
    rounds: int = 100,
    learning_method: str = "batch",
) -> Factors:
    return fit_lda(
        counts,
        n_topics=n_topics,
        seed=seed,
        max_rounds=rounds,
        tolerance=0.1,
        learning_method=learning_method,
        batch_size=8,
        document_prior=0.1,
        term_prior=0.1,
    )


def online_lda(counts: TermTable, n_topics: int, **options: Any) -> Factors:
    return lda(counts, n_topics, learning_method="online", **options)


each_model = pytest.mark.parametrize("fit", [nmf, minibatch_nmf, lda, online_lda])


@each_model
def test_topics_gather_the_words_that_go_together(fit: Fit) -> None:
    # Each word several times: LDA learns little from so few words said once.
    texts = [" ".join([text] * 3) for text in [*TEXTS, " ".join(ANIMALS)]]
    counts = count(texts)

    heavier, lighter = describe_topics(
        fit(counts, 2),
        counts.terms,
        [f"/{i}" for i in range(len(texts))],
        n_words=5,
        n_documents=3,
    )

    assert {word for word, _ in heavier.words} < set(ANIMALS)
    assert {word for word, _ in lighter.words} < set(METALS)
    assert (heavier.number, lighter.number) == (1, 2)
    assert heavier.share > lighter.share
    assert heavier.share + lighter.share == pytest.approx(1)
    assert {int(page[1:]) % 2 for page in heavier.typical} == {0}
    assert len(heavier.typical) == 3


def simulated(seed: int) -> tuple[list[str], list[int]]:
    """Draw 60 texts of 20 words, each of them from one of three topics of 12 words.

    A third of the words is from anywhere.
    """
    random = np.random.default_rng(seed)
    words = np.array([f"{a}{b}" for a in "abc" for b in "defghijklmno"])
    topics = random.integers(3, size=60)
    texts = []
    for topic in topics:
        own = words[topic * 12 + random.integers(12, size=14)]
        texts.append(" ".join([*own, *random.choice(words, size=6)]))
    return texts, topics.tolist()


def shuffled(counts: TermTable) -> TermTable:
    """Break a table: the words of all texts together, dealt anew."""
    columns = np.random.default_rng(0).permutation(counts.columns)
    return dataclasses.replace(counts, columns=columns)


def quality(counts: TermTable, fit: Fit, truth: list[int]) -> tuple[float, float]:
    """Return the adjusted Rand index with the truth, and the mean coherence in nats."""
    factors = fit(counts, 3)
    coherences = umass_coherence(factors.topic_terms, counts, n_words=10)
    found = heaviest_topics(factors)
    return float(adjusted_rand_score(truth, found)), float(coherences.mean())


@each_model
@pytest.mark.parametrize("seed", range(3))
def test_topics_that_texts_were_drawn_from_are_found(fit: Fit, seed: int) -> None:
    texts, truth = simulated(seed)
    counts = count(texts, token_pattern=r"\w+")

    rand_index, coherence = quality(counts, fit, truth)

    assert rand_index > 0.9  # 1.0 is usual
    assert coherence > -0.65  # -0.55 to -0.47 are usual


@each_model
def test_a_broken_table_of_words_falls_below_what_is_asked_of_topics(fit: Fit) -> None:
    texts, truth = simulated(0)
    counts = shuffled(count(texts, token_pattern=r"\w+"))

    rand_index, coherence = quality(counts, fit, truth)

    assert rand_index < 0.3  # about 0 is usual
    assert coherence < -0.75  # -1.1 to -0.9 are usual


def test_words_are_ordered_by_weight_and_then_by_name() -> None:
    factors = Factors(np.ones((1, 1)), np.array([[0.2, 0.3, 0.2, 0.3, 0.0]]), True)

    (topic,) = describe_topics(factors, "abcde", ["/"], n_words=10, n_documents=2)

    assert topic.words == (("b", 0.3), ("d", 0.3), ("a", 0.2), ("c", 0.2))


@each_model
def test_the_same_seed_finds_the_same_topics(fit: Fit) -> None:
    first, second = fit(count(), 3, seed=7), fit(count(), 3, seed=7)

    assert np.array_equal(first.topic_terms, second.topic_terms)
    assert np.array_equal(first.document_topics, second.document_topics)


@each_model
def test_words_have_shares_of_topics(fit: Fit) -> None:
    factors = fit(count(), 3)

    assert factors.topic_terms.sum(axis=1) == pytest.approx(np.ones(3))
    totals = factors.document_topics.sum(axis=0).tolist()
    assert totals == sorted(totals, reverse=True)


def test_what_lda_says_of_a_page_are_shares() -> None:
    shares = lda(count(), 3).document_topics

    assert shares.sum(axis=1) == pytest.approx(np.ones(10))


@each_model
def test_more_topics_than_the_texts_hold_are_no_error(fit: Fit) -> None:
    texts = ["gold gold", "gold", "gold silver", "gold silver"]
    factors = fit(count(texts), 2)

    topics = describe_topics(
        factors, ("gold", "silver"), texts, n_words=3, n_documents=1
    )

    assert np.isfinite(factors.topic_terms).all()
    assert len(topics) == 2


@each_model
def test_equal_texts_are_no_error(fit: Fit) -> None:
    factors = fit(count(["gold silver iron"] * 7), 2)

    assert np.isfinite(factors.document_topics).all()


def test_a_page_without_any_of_the_topics_has_none() -> None:
    weights = np.array([[0.1, 0.2], [0.0, 0.0], [0.3, 0.3]])

    assert heaviest_topics(Factors(weights, np.eye(2), True)).tolist() == [2, 0, 1]


@each_model
@pytest.mark.parametrize(
    ("texts", "n_topics", "message"),
    [
        (TEXTS[:3], 4, "at least as many pages with text, and there are only 3"),
        (["gold silver"] * 5, 4, "as many words, and there are only 2"),
    ],
)
def test_too_many_topics_are_an_error_that_names_the_setting(
    fit: Fit, texts: list[str], n_topics: int, message: str
) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        fit(count(texts), n_topics)

    assert "--set N_TOPICS=" in str(caught.value)


@each_model
def test_too_few_rounds_are_told_without_a_warning(fit: Fit) -> None:
    assert not fit(count(), 3, rounds=1).has_converged
    assert fit(count(), 3).has_converged


def test_tables_hold_plain_arrays() -> None:
    for table in (count(), weigh_terms(count())):
        arrays = [table.values, table.columns, table.starts, table.documents]
        assert {type(array) for array in arrays} == {np.ndarray}
