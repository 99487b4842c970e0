"""The pipeline as a whole: `run`, the command, and what a second run does."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cachekit.errors import MissingExtra, PipelineError
from cachekit.memoization import Memory, Tally
from cachekit.pipelines import PIPELINES
from cachekit.pipelines.topics import __main__ as topics
from cachekit.pipelines.topics import const
from cachekit.pipelines.topics.crawl import Progress
from cachekit.pipelines.topics.report import CrawlBar
from cachekit.pipelines.topics.session import Limits
from cachekit.pipelines.topics.sites import PydocServer
from tests.pipelines.website import (
    ANIMALS,
    METALS,
    Reply,
    Website,
    add_two_topics,
    drip_body,
)

Command = Callable[..., Result]


@pytest.fixture
def command(
    store: Path, tmp_path: Path, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run the command with the quick limits of the tests."""

    def run(*arguments: object) -> Result:
        given = ["--store", store, "--output", tmp_path / "out", *arguments]
        return CliRunner().invoke(topics.main, list(map(str, given)))

    real = topics.run
    monkeypatch.setattr(topics, "run", lambda **given: real(**given, limits=limits))
    return run


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_the_pipeline_is_in_the_table_of_the_command_line() -> None:
    assert "topics" in PIPELINES


def test_a_run_writes_the_topics_of_a_site(
    website: Website, memory: Memory, tmp_path: Path
) -> None:
    add_two_topics(website)

    result = topics.run(url=website.url, n_topics=2, memory=memory, output=tmp_path)

    with result.csv_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    words = [{row["word"] for row in rows if row["topic"] == number} for number in "12"]
    animals, metals = sorted(words, key=lambda some: "cat" not in some)
    assert animals >= set(ANIMALS)
    assert metals >= set(METALS)
    assert result.figure_path.read_bytes().startswith(b"\x89PNG")
    assert files(tmp_path) >= {"topics.csv", "topics.png"}
    assert website.url in result.title
    assert "13 pages" in result.title


def test_a_second_run_computes_nothing_and_asks_for_nothing(
    website: Website, command: Command
) -> None:
    add_two_topics(website)
    website.page(
        "/", "welcome", (*(f"/{i}.html" for i in range(12)), "/dead", "/a.pdf")
    )
    website.routes["/a.pdf"] = Reply(media_type="application/pdf")
    first = command("--url", website.url, "--topics", 2)
    assert first.exit_code == 0, first.output
    assert "19 calls: 0 from the cache, 19 computed" in first.stdout
    website.requests.clear()

    second = command("--url", website.url, "--topics", 2)

    assert "19 calls: 19 from the cache, 0 computed" in second.stdout
    assert first.stdout.splitlines()[:-1] == second.stdout.splitlines()[:-1]
    assert not website.requests


def test_another_number_of_topics_fits_again_but_fetches_nothing(
    website: Website, memory: Memory, tmp_path: Path
) -> None:
    add_two_topics(website)
    topics.run(url=website.url, n_topics=2, memory=memory, output=tmp_path)
    website.requests.clear()
    before = memory.tally()

    result = topics.run(url=website.url, n_topics=3, memory=memory, output=tmp_path)

    assert len(result.topics) == 3
    assert not website.requests
    assert memory.tally().misses - before.misses == 2  # factorise, draw_topics


def test_the_same_seed_finds_the_same_topics(website: Website, tmp_path: Path) -> None:
    add_two_topics(website)

    first, second = (
        topics.run(
            url=website.url, n_topics=3, seed=5, memory=Memory(None), output=tmp_path
        )
        for _ in range(2)
    )

    assert first.topics == second.topics


def test_the_default_site_is_the_documentation_of_python(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[Any] = []

    class Watched(PydocServer):
        def __init__(self, *, start_seconds: float) -> None:
            super().__init__(start_seconds=start_seconds)
            servers.append(self)

    monkeypatch.setattr(topics, "PydocServer", Watched)

    def run() -> topics.Result:
        return topics.run(max_pages=6, n_topics=2, memory=memory, output=tmp_path)

    first, second = run(), run()

    assert first.crawl == second.crawl
    assert len(first.crawl.pages) == 6
    assert not first.crawl.broken
    first_server, second_server = servers
    assert first_server.process.poll() is not None
    assert second_server.process is None
    assert memory.tally().misses == 10


def test_a_second_run_imports_no_heavy_library(
    website: Website, command: Command, store: Path, tmp_path: Path
) -> None:
    add_two_topics(website)
    arguments = ["--url", website.url, "--topics", "2"]
    command(*arguments)
    arguments += ["--store", str(store), "--output", str(tmp_path)]
    script = f"""
import json, sys
from cachekit.pipelines.topics.__main__ import main
main({arguments}, standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert " 0 computed" in done.stdout
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert not imported & {"bs4", "httpx", "matplotlib", "scipy", "sklearn"}


def test_ctrl_c_tells_how_to_go_on(
    website: Website, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_two_topics(website)
    update = CrawlBar.update

    def interrupt(bar: CrawlBar, progress: Progress) -> None:
        update(bar, progress)
        if progress.visited == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CrawlBar, "update", interrupt)
        stopped = command("--url", website.url, "--topics", 2)

    assert stopped.exit_code == 130
    assert stopped.stderr.endswith(
        "Interrupted: 5 pages are kept in the cache; "
        "the same command goes on from there.\n"
    )
    assert files(tmp_path / "out") == set()
    website.requests.clear()
    assert command("--url", website.url, "--topics", 2).exit_code == 0
    assert sum(website.pages_asked_for().values()) == 8


@pytest.mark.parametrize(
    "start", [Reply(status=500), Reply(status=404), drip_body, None]
)
def test_an_unreadable_start_page_is_one_line_and_no_files(
    website: Website, command: Command, tmp_path: Path, start: Any, closed_port: str
) -> None:
    website.routes["/"] = start or Reply()
    url = website.url if start else closed_port

    failed = command("--url", url)

    assert failed.exit_code == 1
    assert failed.stderr.startswith(f"Error: cannot read the start page {url}/: ")
    assert failed.stderr.count("\n") == 1
    assert failed.stdout == ""
    assert files(tmp_path / "out") == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--topics", "0"],
        ["--max-pages", "0"],
        ["--seed", "-1"],
        ["--topics", "many"],
        ["--output", __file__],
    ],
)
def test_wrong_usage_is_told_by_the_command_line(
    command: Command, arguments: list[str]
) -> None:
    assert command(*arguments).exit_code == 2


def test_an_address_without_a_scheme_is_an_error(command: Command) -> None:
    failed = command("--url", "example.org")

    assert failed.exit_code == 1
    assert "give one like https://" in failed.stderr


def test_too_many_topics_for_the_site_are_an_error(
    website: Website, command: Command
) -> None:
    website.page("/", "only a few words here")

    failed = command("--url", website.url)

    assert failed.exit_code == 1
    assert "--topics" in failed.stderr


def test_a_folder_that_cannot_be_written_is_an_error(
    website: Website, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    failed = command("--url", website.url, "--output", tmp_path / "file" / "out")

    assert failed.exit_code == 1
    assert not website.requests


def test_missing_packages_are_told_before_any_work(
    website: Website, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        topics, "find_spec", lambda name: None if name == "bs4" else find_spec(name)
    )

    with pytest.raises(MissingExtra, match=r"cachekit-lab\[ml\]"):
        topics.run(url=website.url, memory=memory, output=tmp_path)

    assert not website.requests


def test_topics_that_do_not_settle_are_told(
    website: Website, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_two_topics(website)
    monkeypatch.setattr(const, "MAX_ITERATIONS", 1)

    done = command("--url", website.url, "--topics", 2)

    assert done.exit_code == 0, done.output
    assert "still changing after 1 rounds" in done.stdout


def test_without_a_cache_everything_is_computed(
    website: Website, tmp_path: Path
) -> None:
    add_two_topics(website)
    memory = Memory(None)

    topics.run(url=website.url, n_topics=2, memory=memory, output=tmp_path)

    assert memory.tally() == Tally(0, 0, 0.0, 0.0)


def test_an_error_leaves_the_files_of_an_earlier_run(
    website: Website, memory: Memory, tmp_path: Path
) -> None:
    add_two_topics(website)
    result = topics.run(url=website.url, n_topics=2, memory=memory, output=tmp_path)
    before = result.csv_path.read_bytes()

    with pytest.raises(PipelineError):
        topics.run(url=website.url, n_topics=99, memory=memory, output=tmp_path)

    assert result.csv_path.read_bytes() == before
