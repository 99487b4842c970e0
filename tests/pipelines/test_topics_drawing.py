"""The figures, for sites of all sizes and scripts."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cachekit.pipelines.topics.drawing import draw_map, draw_topics
from cachekit.pipelines.topics.model import Topic


def size_of(image: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(image)) as figure:
        figure.verify()
        assert figure.format == "PNG"
        return figure.size


@pytest.mark.parametrize("n_topics", [1, 2, 5, 20])
def test_topics_are_drawn_whatever_their_number(n_topics: int) -> None:
    words = tuple((f"word $a{i}" * (i + 1), 1 / (i + 1)) for i in range(10))
    topics = [Topic(i + 1, 0.1, words[i:], ("/",)) for i in range(n_topics)]

    image = draw_topics(topics, title="A $title % " * 9, n_columns=4, dpi=40)

    assert min(size_of(image)) > 100


@pytest.mark.parametrize(("n_pages", "n_topics"), [(1, 1), (3, 2), (200, 14)])
def test_a_map_is_drawn_whatever_the_number_of_pages(
    n_pages: int, n_topics: int
) -> None:
    random = np.random.default_rng(0)
    points = random.normal(size=(n_pages, 2))
    topics = random.integers(0, n_topics + 2, size=n_pages)  # some have no name
    labels = {row: f"a $page {row} " * (row % 5 + 1) for row in range(n_pages)}

    image = draw_map(
        points,
        topics,
        names=[f"{i + 1} $word" for i in range(n_topics)],
        labels=labels,
        title="A $title",
        dpi=40,
    )

    assert size_of(image) == (400, 256)


def test_pages_at_one_place_are_no_error() -> None:
    assert draw_map(
        np.zeros((3, 2)), np.ones(3, int), names=["1"], labels={}, title="", dpi=40
    )


def test_letters_that_the_font_lacks_are_no_warning() -> None:
    topic = Topic(1, 1.0, (("漢字", 1.0),), ("/",))

    assert draw_topics([topic], title="漢字", n_columns=1, dpi=40)
    assert draw_map(
        np.eye(2),
        np.ones(2, int),
        names=["1 漢字"],
        labels={0: "漢字"},
        title="漢字",
        dpi=40,
    )


def test_a_figure_of_the_same_is_the_same() -> None:
    topic = Topic(1, 1.0, (("gold", 1.0),), ("/",))

    first, second = (
        draw_topics([topic], title="", n_columns=1, dpi=40) for _ in range(2)
    )

    assert first == second
