"""The tables, in files and on the terminal, and the lines below them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from cachekit.pipelines.topics import report
from cachekit.pipelines.topics.comparison import Match
from cachekit.pipelines.topics.crawl import Crawl, NoPage, Page, Progress
from cachekit.pipelines.topics.findings import Finding, Layout, Result
from cachekit.pipelines.topics.model import Factors, Topic

PAGES = ("/", "/a.html", "/b/c.html", "/d")
FIRST = Finding(
    Factors(
        np.array([[0.1, 0.2], [0.5, 0.1], [0.7, 0.0], [0.0, 0.0]]),
        np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 0.0]]),
        True,
    ),
    [
        Topic(1, 0.75, (("gold", 0.5), ('sil"ver, [b]', 0.25)), ("/b/c.html",)),
        Topic(2, 0.25, (), ("/",)),
    ],
    np.array([-0.123, np.nan]),
    [],
    {"coherence_nats": -0.123, "silhouette": 0.5},
)
SECOND = dataclasses.replace(
    FIRST,
    factors=dataclasses.replace(FIRST.factors, has_converged=False),
    matches=[Match(1, 2, 0.9, 0.5, (0, 2))],
    scores={"coherence_nats": -1.0, "match_cosine": 0.9},
)
RESULT = Result(
    site="a site [b]",
    crawl=Crawl(pages=[Page(path, "", "text", ()) for path in (*PAGES, "/empty")]),
    pages=PAGES,
    terms=("gold", "iron", "silver"),
    findings={"nmf": FIRST, "lda": SECOND},
    layout=Layout(np.eye(4), np.arange(8.0).reshape(4, 2), np.array([1, 1, 2, 2]), 0.9),
)


def table(name: str) -> list[dict[str, Any]]:
    header, rows = report.tables(RESULT)[name]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_words_are_listed_by_model_and_topic() -> None:
    assert report.tables(RESULT)["topics.csv"] == (
        ["model", "topic", "rank", "word", "weight"],
        [
            ("nmf", 1, 1, "gold", 0.5),
            ("nmf", 1, 2, 'sil"ver, [b]', 0.25),
            ("lda", 1, 1, "gold", 0.5),
            ("lda", 1, 2, 'sil"ver, [b]', 0.25),
        ],
    )


def test_pages_are_listed_under_their_heaviest_topic_and_then_those_without() -> None:
    rows = [row for row in table("clusters.csv") if row["model"] == "nmf"]

    assert [(row["topic"], row["rank"], row["page"]) for row in rows] == [
        (1, 1, "/b/c.html"),
        (1, 2, "/a.html"),
        (2, 1, "/"),
        (0, 1, "/d"),
    ]
    assert [row["weight"] for row in rows] == [0.7, 0.5, 0.2, 0.0]
    assert [row["cluster"] for row in rows] == [2, 1, 1, 2]


def test_topics_are_counted_in_clusters() -> None:
    rows = [row for row in table("contingency.csv") if row["model"] == "nmf"]

    assert [tuple(row.values()) for row in rows] == [
        ("nmf", 0, 0, 1),
        ("nmf", 1, 1, 1),
        ("nmf", 2, 1, 0),
    ]


def test_matches_name_both_models_and_their_words() -> None:
    assert table("matches.csv") == [
        {
            "model": "nmf",
            "topic": 1,
            "other_model": "lda",
            "other_topic": 2,
            "cosine": 0.9,
            "jaccard": 0.5,
            "shared_words": "gold silver",
        }
    ]


def test_the_map_has_a_place_and_topics_for_each_page() -> None:
    header, rows = report.tables(RESULT)["map.csv"]

    assert header == ["page", "x", "y", "cluster", "topic_nmf", "topic_lda"]
    assert rows[2] == ("/b/c.html", 4.0, 5.0, 2, 1, 1)


def test_words_in_the_map_are_short() -> None:
    long = [(f"internationalisation{i}", 0.1) for i in range(9)]

    (name,) = report.short_names([Topic(1, 0.1, tuple(long), ())])

    assert name == ", ".join(["1 internationali…"] + ["internationali…"] * 2)
    assert report.typical_pages(RESULT) == {2: "b/c", 0: "/"}


def test_the_table_of_topics_fits_into_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = tuple((f"internationalisation{i}", 0.1) for i in range(20))
    typical = tuple(f"/a/long/path/{i}.html" * 5 for i in range(2))
    many = dataclasses.replace(
        FIRST,
        topics=[Topic(i, 0.05, words, typical) for i in range(1, 21)],
        coherences=np.full(20, -1.25),
    )

    report.print_topics(dataclasses.replace(RESULT, findings={"nmf": many}), n_words=8)

    lines = capsys.readouterr().out.splitlines()
    assert "Topics of nmf in a site [b], 4 pages" in lines[0]
    assert max(map(len, lines)) <= 80
    assert "internationalisation7" in "".join(lines)
    assert "internationalisation8" not in "".join(lines)
    assert sum("a/long/path/" in line for line in lines) == 40


def test_models_are_compared_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    names = [
        *("coherence_nats", "silhouette", "adjusted_rand_index"),
        *("mutual_information", "match_cosine", "match_jaccard"),
    ]
    scored = dataclasses.replace(FIRST, scores=dict.fromkeys(names, -0.125))
    models = ("minibatch-nmf", "nmf", "lda")

    report.print_scores(
        dataclasses.replace(RESULT, findings=dict.fromkeys(models, scored))
    )

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert lines[-4].split() == ["minibatch-nmf"] + ["-0.12"] * 6


def test_scores_that_a_model_does_not_have_stay_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report.print_scores(RESULT)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[-3:-1]] == [
        ["nmf", "-0.12", "0.50"],
        ["lda", "-1.00", "0.90"],
    ]
    assert lines[-1].endswith("Matches are with the topics of nmf.")


def test_missing_pages_are_told_a_few_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = [NoPage(f"/{i}", "404 Not Found", True) for i in range(7)]
    skipped = [NoPage("/" + "long" * 99, "not HTML: application/pdf", False)]
    crawl = dataclasses.replace(RESULT.crawl, skipped=skipped, broken=broken)

    report.echo_crawl(dataclasses.replace(RESULT, crawl=crawl), max_listed=2)

    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "7 pages broken:",
        "  /0: 404 Not Found",
        "  /1: 404 Not Found",
        "  and 5 more",
    ]
    assert lines[4] == "1 page skipped:"
    assert len(lines[5]) < 80
    assert lines[5].endswith(": not HTML: application/pdf")
    assert lines[6].startswith("1 page left out")


def test_a_whole_crawl_needs_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    crawl = Crawl(pages=RESULT.crawl.pages[:4])

    report.echo_crawl(dataclasses.replace(RESULT, crawl=crawl), max_listed=5)

    assert capsys.readouterr().out == ""


def test_a_site_that_has_gone_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    crawl = dataclasses.replace(RESULT.crawl, gave_up=True)

    report.echo_crawl(dataclasses.replace(RESULT, crawl=crawl), max_listed=5)

    assert "stopped answering" in capsys.readouterr().out


def test_models_that_have_not_settled_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report.echo_unsettled(RESULT)

    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("The topics of lda were still changing")


def test_the_bar_shows_pages_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with report.CrawlBar(max_pages=10) as bar:
        bar.update(Progress(visited=1, waiting=30, fetched=0, unreadable=0))
        bar.update(Progress(visited=2, waiting=2, fetched=1, unreadable=1))
        bar.update(Progress(visited=4, waiting=0, fetched=3, unreadable=1))

    output = capsys.readouterr()
    assert output.out == ""
    assert "4/4" in output.err
    assert "1 from the cache" in output.err
    assert bar.pages_kept == 3
