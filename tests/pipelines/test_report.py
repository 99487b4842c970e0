"""The files, the table, and the lines below it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from PIL import Image

from cachekit.memoization import Tally
from cachekit.pipelines.topics import report
from cachekit.pipelines.topics.crawl import Crawl, NoPage, Progress
from cachekit.pipelines.topics.model import Topic

TOPICS = [
    Topic(1, 0.75, (("gold", 0.5), ('sil"ver, [b]', 0.25)), "/a"),
    Topic(2, 0.25, (), ""),
]


@pytest.mark.parametrize("n_topics", [1, 2, 5, 20])
def test_the_figure_is_an_image_for_any_number_of_topics(n_topics: int) -> None:
    words = tuple((f"word $a{i}" * (i + 1), 1 / (i + 1)) for i in range(10))
    topics = [Topic(i + 1, 0.1, words[i:], "/") for i in range(n_topics)]

    image = report.draw_topics(topics, title="A $title % " * 9, n_columns=4, dpi=40)

    with Image.open(io.BytesIO(image)) as figure:
        figure.verify()
        assert figure.format == "PNG"
        assert min(figure.size) > 100


def test_letters_that_the_font_lacks_are_no_warning() -> None:
    topic = Topic(1, 1.0, (("漢字", 1.0),), "/")

    assert report.draw_topics([topic], title="漢字", n_columns=1, dpi=40)


def test_the_table_of_words_is_csv(tmp_path: Path) -> None:
    path = tmp_path / "topics.csv"

    report.write_topics(path, TOPICS)

    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["topic", "rank", "word", "weight"],
            ["1", "1", "gold", "0.500000"],
            ["1", "2", 'sil"ver, [b]', "0.250000"],
        ]


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "topics.png"
    report.write_file(path, b"old")

    def interrupt(partial: Path, target: Path) -> None:
        assert partial.read_bytes() == b"new"
        assert target.read_bytes() == b"old"
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        report.write_file(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_table_fits_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    words = tuple((f"internationalisation{i}", 0.1) for i in range(20))
    topics = [Topic(i, 0.05, words, f"/a/long/path/{i}.html" * 5) for i in range(1, 21)]

    report.print_topics(topics, title="Topics in a site [b]", n_words=8)

    lines = capsys.readouterr().out.splitlines()
    assert "Topics in a site [b]" in lines[0]
    assert max(map(len, lines)) <= 80
    assert "internationalisation7" in "".join(lines)
    assert "internationalisation8" not in "".join(lines)


def test_missing_pages_are_told_a_few_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = [NoPage(f"/{i}", "404 Not Found", True) for i in range(7)]
    skipped = [NoPage("/" + "long" * 99, "not HTML: application/pdf", False)]

    report.echo_crawl(Crawl([], skipped, broken), max_listed=2)

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


def test_a_whole_crawl_needs_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    report.echo_crawl(Crawl(), max_listed=5)

    assert capsys.readouterr().out == ""


def test_a_site_that_has_gone_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    report.echo_crawl(Crawl(gave_up=True), max_listed=5)

    assert "stopped answering" in capsys.readouterr().out


def test_the_cost_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    report.echo_cost(Tally(302, 0, 41.23, 0.0), seconds=0.42)

    assert capsys.readouterr().out == (
        "302 calls: 302 from the cache, 0 computed; 41.2 s saved. 0.4 s in all.\n"
    )


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
