"""The topics pipeline as a whole: `run`, the command, and what a second run does."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cachekit
from cachekit.errors import PipelineError
from cachekit.experiments import Run
from cachekit.memoization import Memory, Tally
from cachekit.pipelines import PIPELINES, command
from cachekit.pipelines.command import running
from cachekit.pipelines.parameters import Parameters, read_parameters
from cachekit.pipelines.topics import __main__ as topics
from cachekit.pipelines.topics import const
from cachekit.pipelines.topics.crawl import Progress
from cachekit.pipelines.topics.findings import Result as Findings
from cachekit.pipelines.topics.report import CrawlBar
from cachekit.pipelines.topics.sites import PydocServer
from tests.pipelines.programs import run_again
from tests.pipelines.website import (
    ANIMALS,
    METALS,
    Reply,
    Website,
    add_two_topics,
    drip_body,
    serve,
)

# Short limits, small figures, and what suits a site of two topics of eight words.
QUICK = {
    "OPERATION_SECONDS": 1.0,
    "PAGE_SECONDS": 1.0,
    "PAGE_BYTES": 20_000,
    "TRIES": 2,
    "BACKOFF_SECONDS": 0.001,
    "FIGURE_DPI": 30,
    "N_TOPICS": 2,
    "TOP_WORDS": 8,
}
FILES = {
    *("topics.csv", "matches.csv", "clusters.csv", "contingency.csv", "map.csv"),
    *("topics.png", "map.png"),
}
SCORES = ("coherence_nats", "silhouette", "adjusted_rand_index", "mutual_information")
# count_terms, weigh_terms, two models; reduce_terms, place_on_map, score_map,
# cluster_documents; umass_coherence and score_groups twice, match_topics; two figures.
CALLS = 15
# Both models put the pages into the same groups, which are scored once.
COMPUTED = 14

Command = Callable[..., Result]


def settings(**given: Any) -> Parameters:
    return read_parameters(const, **{**QUICK, **given})


def fill(website: Website, *more_links: str) -> None:
    """Make a site of seven pages about animals, the first among them, and six others.

    So the topic of the animals is the heaviest of any model.
    """
    add_two_topics(website)
    names = (f"/{number}.html" for number in range(12))
    website.page("/", " ".join(ANIMALS[:4]), (*names, *more_links))


@pytest.fixture
def invoke(store: Path, tmp_path: Path) -> Command:
    """Run the command with the quick settings of the tests."""

    def run(*arguments: object, **given: object) -> Result:
        chosen = [f"--set={name}={value}" for name, value in {**QUICK, **given}.items()]
        places = ["--store", store, "--output", tmp_path / "out"]
        return CliRunner().invoke(
            topics.main, list(map(str, [*places, *chosen, *arguments]))
        )

    return run


@dataclass
class Ran:
    """A run over the site of two topics, which many tests look at."""

    website: Website
    store: Path
    memory: Memory
    output: Path
    result: Findings

    def again(self, **given: Any) -> Findings:
        return topics.run(
            settings(**given),
            memory=self.memory,
            url=self.website.url,
            output=self.output,
        )

    def arguments(self, output: Path) -> list[str]:
        """Return what the command is to be given for the same run."""
        chosen = [f"--set={name}={value}" for name, value in QUICK.items()]
        places = ["--url", self.website.url, "--store", str(self.store)]
        return [*chosen, *places, "--output", str(output)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("ran")
    store, output = folder / "store", folder / "new" / "out"
    memory = Memory(store)
    with serve(Website()) as website:
        fill(website)
        result = topics.run(settings(), memory=memory, url=website.url, output=output)
        yield Ran(website, store, memory, output, result)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_the_pipeline_is_in_the_table_of_the_command_line() -> None:
    assert "topics" in PIPELINES


# --- what is found ---


@pytest.mark.parametrize("model", ["nmf", "lda"])
def test_each_model_finds_the_two_topics_of_a_site(ran: Ran, model: str) -> None:
    found = [row for row in rows(ran.output / "topics.csv") if row["model"] == model]

    found = [row for row in found if int(row["rank"]) <= 8]  # of ten that are told
    first = {row["word"] for row in found if row["topic"] == "1"}
    second = {row["word"] for row in found if row["topic"] == "2"}
    assert (first, second) == (set(ANIMALS), set(METALS))


@pytest.mark.parametrize("model", ["nmf", "lda"])
def test_the_scores_of_a_site_of_two_topics_are_high(ran: Ran, model: str) -> None:
    scores = ran.result.findings[model].scores

    # Topics of random words score -0.6 and less: see the tests of the models.
    assert scores["coherence_nats"] > -0.2
    assert scores["adjusted_rand_index"] == 1
    assert scores["mutual_information"] == 1
    assert scores["silhouette"] > 0.5
    if model == "lda":
        assert scores["match_cosine"] > 0.99
        assert scores["match_jaccard"] == 1


def test_pages_are_listed_under_their_heaviest_topic(ran: Ran) -> None:
    listed = [row for row in rows(ran.output / "clusters.csv") if row["model"] == "lda"]

    assert len(listed) == 13
    # The site has its pages about animals and about metals in turn.
    for topic in "12":
        pages = [row for row in listed if row["topic"] == topic]
        names = [row["page"] for row in pages if row["page"] != "/"]
        assert len({int(Path(name).stem) % 2 for name in names}) == 1
        assert [row["rank"] for row in pages] == [str(i + 1) for i in range(len(pages))]
        weights = [float(row["weight"]) for row in pages]
        assert weights == sorted(weights, reverse=True)


def test_the_other_tables_say_what_they_are_of(ran: Ran) -> None:
    matches = rows(ran.output / "matches.csv")
    table = rows(ran.output / "contingency.csv")
    places = rows(ran.output / "map.csv")

    assert {(row["model"], row["other_model"]) for row in matches} == {("nmf", "lda")}
    assert {len(row["shared_words"].split()) for row in matches} == {8}
    assert [(row["model"], row["topic"]) for row in table] == [
        *(("nmf", "1"), ("nmf", "2"), ("lda", "1"), ("lda", "2"))
    ]
    assert sum(int(row["cluster_1"]) + int(row["cluster_2"]) for row in table) == 26
    assert [row["page"] for row in places[:2]] == ["/", "/0.html"]
    for row in places[1:]:
        assert row["topic_nmf"] in "12"
        assert abs(float(row["x"])) < 1e4


def test_pages_about_one_topic_are_neighbours_on_the_map(ran: Ran) -> None:
    places = rows(ran.output / "map.csv")[1:]
    points = [complex(float(row["x"]), float(row["y"])) for row in places]

    for number, point in enumerate(points):
        others = sorted(range(12), key=lambda other: abs(points[other] - point))
        assert others[1] % 2 == number % 2  # the nearest but itself


def test_all_files_are_written_and_named(ran: Ran) -> None:
    assert files(ran.output) == {path.name for path in ran.result.files} == FILES
    assert {path.parent for path in ran.result.files} == {ran.output}
    for name in ("topics.png", "map.png"):
        assert (ran.output / name).read_bytes().startswith(b"\x89PNG")
    assert ran.website.url in ran.result.title
    assert "13 pages" in ran.result.title


def test_models_can_be_chosen(ran: Ran, tmp_path: Path) -> None:
    chosen = settings(MODELS=("minibatch-nmf", "lda"), LEARNING_METHOD="online")

    result = topics.run(chosen, memory=ran.memory, url=ran.website.url, output=tmp_path)

    assert list(result.findings) == ["minibatch-nmf", "lda"]
    for finding in result.findings.values():
        assert finding.scores["adjusted_rand_index"] == 1
        assert finding.scores["coherence_nats"] > -0.2


def test_models_fitted_at_once_are_the_same(ran: Ran) -> None:
    before = ran.memory.tally()
    other = ran.again(N_JOBS=2, LDA_TOLERANCE=3.0, NMF_ROUNDS=999)

    assert ran.memory.tally().misses - before.misses == 2
    for model, finding in other.findings.items():
        assert finding.topics == ran.result.findings[model].topics


def test_the_same_seed_finds_the_same(ran: Ran, tmp_path: Path) -> None:
    for name in ("first", "second"):
        topics.run(
            settings(SEED=5),
            memory=Memory(None),
            url=ran.website.url,
            output=tmp_path / name,
        )

    for name in FILES:
        first, second = tmp_path / "first" / name, tmp_path / "second" / name
        assert first.read_bytes() == second.read_bytes()


# --- what is computed ---


def test_a_second_run_computes_nothing_and_asks_for_nothing(
    website: Website, invoke: Command
) -> None:
    fill(website, "/dead", "/a.pdf")
    website.routes["/a.pdf"] = Reply(media_type="application/pdf")
    calls, computed = 15 + CALLS, 15 + COMPUTED
    first = invoke("--url", website.url)
    assert first.exit_code == 0, first.output
    assert f"{calls} calls: 1 from the cache, {computed} computed" in first.stdout
    website.requests.clear()

    second = invoke("--url", website.url)

    assert f"{calls} calls: {calls} from the cache, 0 computed" in second.stdout
    assert first.stdout.splitlines()[:-2] == second.stdout.splitlines()[:-2]
    assert not website.requests


@pytest.mark.parametrize(
    ("setting", "computed"),
    [
        # Two models, clusters, two coherences, one group, a match, and both figures.
        ({"N_TOPICS": 1}, 9),
        # One round more than it may take changes nothing that comes after.
        ({"LDA_ROUNDS": 201}, 1),
        ({"PERPLEXITY": 2.0}, 3),  # place_on_map, score_map, draw_map
        ({"TOP_WORDS": 5}, 3),  # umass_coherence twice, match_topics
        ({"WORDS_PER_TOPIC": 5}, 1),  # draw_topics
        ({"FIGURE_DPI": 31}, 2),
        ({"MODELS": ("nmf",)}, 0),
        ({"PAGE_SECONDS": 2.0, "N_JOBS": 2, "WORDS_IN_TABLE": 3}, 0),
    ],
)
def test_another_value_computes_what_depends_on_it_and_fetches_nothing(
    ran: Ran, setting: dict[str, Any], computed: int
) -> None:
    ran.website.requests.clear()
    before = ran.memory.tally()

    ran.again(**setting)

    assert ran.memory.tally().misses - before.misses == computed
    assert not ran.website.requests


def test_the_default_site_is_the_documentation_of_python(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[Any] = []

    class Watched(PydocServer):
        def __init__(self, *, start_seconds: float) -> None:
            super().__init__(start_seconds=start_seconds)
            servers.append(self)

    monkeypatch.setattr(topics, "PydocServer", Watched)
    chosen = settings(MAX_PAGES=6, PAGE_BYTES=5_000_000, PAGE_SECONDS=20.0)

    first, second = (
        topics.run(chosen, memory=memory, output=tmp_path) for _ in range(2)
    )

    assert first.crawl == second.crawl
    assert len(first.crawl.pages) == 6
    assert not first.crawl.broken
    first_server, second_server = servers
    assert first_server.process.poll() is not None
    assert second_server.process is None
    assert memory.tally().misses == 6 + CALLS  # and none by the second


def test_a_second_run_imports_no_heavy_library(ran: Ran, tmp_path: Path) -> None:
    printed, imported = run_again("topics", ran.arguments(tmp_path))

    assert " 0 computed" in printed
    assert imported == set()


def test_without_a_cache_everything_is_computed(ran: Ran, tmp_path: Path) -> None:
    memory = Memory(None)

    topics.run(settings(), memory=memory, url=ran.website.url, output=tmp_path)

    assert memory.tally() == Tally(0, 0, 0.0, 0.0)


# --- the command ---


def test_the_module_is_the_command(ran: Ran, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cachekit.pipelines.topics", *ran.arguments(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(cachekit.__file__).parents[1],
        env={**os.environ, "COLUMNS": "80"},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Topics of nmf in {ran.website.url}, 13 pages")
    lines = [line for line in done.stdout.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 80
    assert files(tmp_path) == FILES


def test_what_a_run_finds_is_logged(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Run] = []

    @contextmanager
    def watched(*arguments: Any, **options: Any) -> Iterator[Run]:
        with running(*arguments, **options) as run:
            runs.append(run)
            yield run

    monkeypatch.setattr(topics, "running", watched)
    done = CliRunner().invoke(topics.main, ran.arguments(tmp_path))

    assert done.exit_code == 0, done.output
    (run,) = runs
    assert run.parameters["N_TOPICS"] == 2
    assert run.parameters["url"] == ran.website.url
    assert run.metrics.keys() == {
        *(f"{name}_{model}" for name in SCORES for model in ("nmf", "lda")),
        *("match_cosine_lda", "match_jaccard_lda", "map_trustworthiness"),
    }
    assert run.metrics["adjusted_rand_index_lda"] == 1
    assert run.datasets["pages"].source == ran.website.url
    numbers = {"pages": 13, "words": 16, "broken": 0, "skipped": 0}
    assert run.datasets["pages"].statistics == numbers
    assert {path.name for path in run.artifacts} == FILES


def test_ctrl_c_tells_how_many_pages_are_kept_and_how_to_go_on(
    website: Website, invoke: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(website)
    update = CrawlBar.update

    def interrupt(bar: CrawlBar, progress: Progress) -> None:
        update(bar, progress)
        if progress.visited == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CrawlBar, "update", interrupt)
        stopped = invoke("--url", website.url)

    assert stopped.exit_code == 130
    assert "5 pages read so far, and kept in the cache." in stopped.stderr
    assert stopped.stderr.endswith("the same command goes on from there.\n")
    assert files(tmp_path / "out") == set()
    website.requests.clear()
    assert invoke("--url", website.url).exit_code == 0
    assert sum(website.pages_asked_for().values()) == 8


@pytest.mark.parametrize(
    "start", [Reply(status=500), Reply(status=404), drip_body, None]
)
def test_an_unreadable_start_page_is_one_line_and_no_files(
    website: Website, invoke: Command, tmp_path: Path, start: Any, closed_port: str
) -> None:
    website.routes["/"] = start or Reply()
    url = website.url if start else closed_port

    failed = invoke("--url", url)

    assert failed.exit_code == 1
    assert failed.stderr.startswith(f"Error: cannot read the start page {url}/: ")
    assert failed.stderr.count("\n") == 1
    assert failed.stdout == ""
    assert files(tmp_path / "out") == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "N_TOPICS=0"],
        ["--set", "MAX_PAGES=0"],
        ["--set", "SEED=-1"],
        ["--set", "N_TOPICS=many"],
        ["--set", "MODELS=gpt"],
        ["--topics", "3"],
        ["--output", __file__],
    ],
)
def test_wrong_usage_is_told_by_the_command_line(
    invoke: Command, arguments: list[str]
) -> None:
    assert invoke(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("N_TOPICS=12", "ask for fewer with --set N_TOPICS=1, or read more"),
        ("TOKEN_PATTERN=(", "'(' is no regular expression"),
    ],
)
def test_settings_that_find_no_topics_are_an_error(
    website: Website, invoke: Command, setting: str, message: str
) -> None:
    website.page("/", "only a few words here")

    failed = invoke("--url", website.url, "--set", setting)

    assert failed.exit_code == 1
    assert message in failed.stderr


def test_an_address_without_a_scheme_is_an_error(invoke: Command) -> None:
    failed = invoke("--url", "example.org")

    assert failed.exit_code == 1
    assert "give one like https://" in failed.stderr


def test_a_folder_that_cannot_be_written_is_an_error(
    website: Website, invoke: Command, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    failed = invoke("--url", website.url, "--output", tmp_path / "file" / "out")

    assert failed.exit_code == 1
    assert not website.requests


def test_missing_packages_are_told_before_any_work(
    website: Website, invoke: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        command, "find_spec", lambda name: None if name == "bs4" else find_spec(name)
    )

    failed = invoke("--url", website.url)

    assert failed.exit_code == 1
    assert "cachekit-lab[ml]" in failed.stderr
    assert not website.requests


def test_topics_that_do_not_settle_are_told(ran: Ran, tmp_path: Path) -> None:
    rounds = ["--set=NMF_ROUNDS=1", "--set=LDA_ROUNDS=1"]

    done = CliRunner().invoke(topics.main, [*ran.arguments(tmp_path), *rounds])

    assert done.exit_code == 0, done.output
    for model in ("nmf", "lda"):
        assert f"The topics of {model} were still changing" in done.stdout


def test_a_site_of_one_page_has_one_topic(website: Website, invoke: Command) -> None:
    website.page("/", "gold and silver and iron")

    done = invoke("--url", website.url, "--set", "N_TOPICS=1")

    assert done.exit_code == 0, done.output
    assert "gold, iron, silver" in done.stdout


def test_an_error_leaves_the_files_of_an_earlier_run(ran: Ran) -> None:
    before = {path: path.read_bytes() for path in ran.result.files}

    with pytest.raises(PipelineError):
        ran.again(N_TOPICS=99)

    assert {path: path.read_bytes() for path in ran.output.iterdir()} == before
