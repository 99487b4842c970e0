"""What the user gets to see: the CSV files, the tables, and how the crawl goes."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from cachekit.amounts import counted
from cachekit.pipelines.topics.crawl import NoPage, Progress
from cachekit.pipelines.topics.findings import Result
from cachekit.pipelines.topics.model import Topic, heaviest, heaviest_topics
from cachekit.pipelines.topics.similarity import count_pairs
from cachekit.texts import cut

if TYPE_CHECKING:
    from rich.table import Table
    from tqdm import tqdm

# --- the files ---


def tables(result: Result) -> dict[str, tuple[list[str], list[tuple[Any, ...]]]]:
    """Return header and rows of each CSV file, by its name."""
    models = list(result.findings)
    n_clusters = int(result.layout.clusters.max())
    return {
        "topics.csv": (
            ["model", "topic", "rank", "word", "weight"],
            list(_topic_rows(result)),
        ),
        "matches.csv": (
            [
                "model",
                "topic",
                "other_model",
                "other_topic",
                "cosine",
                "jaccard",
                "shared_words",
            ],
            list(_match_rows(result)),
        ),
        "clusters.csv": (
            ["model", "topic", "rank", "page", "weight", "cluster"],
            list(_cluster_rows(result)),
        ),
        "contingency.csv": (
            ["model", "topic", *(f"cluster_{n + 1}" for n in range(n_clusters))],
            list(_contingency_rows(result)),
        ),
        "map.csv": (
            ["page", "x", "y", "cluster", *(f"topic_{model}" for model in models)],
            list(_map_rows(result)),
        ),
    }


def _topic_rows(result: Result) -> Iterator[tuple[Any, ...]]:
    for model, finding in result.findings.items():
        for topic in finding.topics:
            for rank, (word, weight) in enumerate(topic.words, start=1):
                yield model, topic.number, rank, word, weight


def _match_rows(result: Result) -> Iterator[tuple[Any, ...]]:
    first = next(iter(result.findings))
    for model, finding in result.findings.items():
        for match in finding.matches:
            words = " ".join(result.terms[column] for column in match.shared)
            pair = (first, match.first, model, match.second)
            yield *pair, match.cosine, match.jaccard, words


def _cluster_rows(result: Result) -> Iterator[tuple[Any, ...]]:
    """Yield pages under their heaviest topic, those with most of it first.

    Those that hold none of the topics are the last, under topic 0.
    """
    for model, finding in result.findings.items():
        topics = heaviest_topics(finding.factors)
        weights = finding.factors.document_topics.max(axis=1)
        for topic in [*(topic.number for topic in finding.topics), 0]:
            members = (topics == topic).nonzero()[0]
            members = members[(-weights[members]).argsort(kind="stable")]
            for rank, row in enumerate(members.tolist(), start=1):
                cluster = int(result.layout.clusters[row])
                place = (model, topic, rank, result.pages[row])
                yield *place, float(weights[row]), cluster


def _contingency_rows(result: Result) -> Iterator[tuple[Any, ...]]:
    """Yield how many pages of each topic are in each cluster."""
    for model, finding in result.findings.items():
        table = count_pairs(
            heaviest_topics(finding.factors),
            result.layout.clusters,
            n_topics=len(finding.topics),
        )
        for topic, row in enumerate(table.tolist()):
            if topic or any(row):  # 0: the pages without a topic, if there are any
                yield model, topic, *row


def _map_rows(result: Result) -> Iterator[tuple[Any, ...]]:
    layout = result.layout
    topics = [heaviest_topics(one.factors).tolist() for one in result.findings.values()]
    columns = (result.pages, *layout.points.T.tolist(), layout.clusters.tolist())
    return zip(*columns, *topics, strict=True)


# --- the words in the map ---


def short_names(topics: Sequence[Topic]) -> list[str]:
    """Return a name for each topic: its number and its first words."""
    first_words = [
        ", ".join(cut(word, 15) for word, _ in topic.words[:3]) for topic in topics
    ]
    return [f"{n} {words}" for n, words in enumerate(first_words, start=1)]


def typical_pages(result: Result) -> dict[int, str]:
    """Return the row and the name of the page that holds most of each topic."""
    finding = next(iter(result.findings.values()))
    rows = [heaviest(column, 1) for column in finding.factors.document_topics.T]
    return {int(row): _page_name(result.pages[row]) for found in rows for row in found}


def _page_name(path: str) -> str:
    """Return what tells a page: "/library/os.html" -> "library/os"."""
    return path.removeprefix("/").removesuffix(".html") or path


# --- the terminal ---


class CrawlBar:
    """A progress bar for the crawl, on standard error; a context manager."""

    def __init__(self, *, max_pages: int) -> None:
        self._max_pages = max_pages
        self._bar: tqdm[Any] | None = None
        self.pages_kept = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if isinstance(error, KeyboardInterrupt):
            pages = counted(self.pages_kept, "page")
            click.echo(f"{pages} read so far, and kept in the cache.", err=True)

    def update(self, progress: Progress) -> None:
        """Show how far the crawl is."""
        from tqdm import tqdm

        total = min(self._max_pages, progress.visited + progress.waiting)
        if self._bar is None:
            self._bar = tqdm(
                total=total, unit=" pages", file=sys.stderr, dynamic_ncols=True
            )
        self._bar.total = total  # grows with the links that are found
        self.pages_kept = progress.visited - progress.unreadable
        from_cache = progress.visited - progress.fetched
        self._bar.set_postfix_str(f"{from_cache} from the cache", refresh=False)
        self._bar.update(progress.visited - self._bar.n)
        if progress.visited == total:
            self._bar.close()  # the last page: what comes next has a bar of its own


def print_topics(result: Result, *, n_words: int) -> None:
    """Print a table with a row for each topic of the first model."""
    model, finding = next(iter(result.findings.items()))
    table = _table(f"Topics of {model} in {result.title}")
    table.add_column("", justify="right")
    table.add_column("share", justify="right")
    table.add_column("coherence", justify="right")
    table.add_column("words")
    # A long address must not take the room of the words.
    table.add_column("typical pages", max_width=22, overflow="ellipsis", no_wrap=True)
    for topic, coherence in zip(finding.topics, finding.coherences, strict=True):
        words = ", ".join(word for word, _ in topic.words[:n_words])
        pages = "\n".join(map(_page_name, topic.typical))
        share = f"{topic.share:.1%}"
        _add_row(table, str(topic.number), share, _number(coherence), words, pages)
    _print(table)


def print_scores(result: Result) -> None:
    """Print a table with a row for each model, and a column for each score."""
    scores = {model: finding.scores for model, finding in result.findings.items()}
    names = list(dict.fromkeys(name for row in scores.values() for name in row))
    click.echo()
    table = _table("The models compared")
    table.add_column("")
    for name in names:
        table.add_column(name.replace("_", "\n"), justify="right")
    for model, row in scores.items():
        _add_row(table, model, *(_number(row.get(name, math.nan)) for name in names))
    _print(table)
    note = "The higher, the better."
    if len(scores) > 1:
        note += f" Matches are with the topics of {next(iter(scores))}."
    click.echo(note)


def echo_crawl(result: Result, *, max_listed: int) -> None:
    """Tell which pages are missing, and why."""
    crawl = result.crawl
    _echo_missing("broken", crawl.broken, max_listed)
    _echo_missing("skipped", crawl.skipped, max_listed)
    if n_wordless := len(crawl.pages) - len(result.pages):
        pages = counted(n_wordless, "page")
        click.echo(f"{pages} left out: without any of the words that are counted.")
    if crawl.gave_up:
        click.echo(
            "The site stopped answering, so the rest of it is missing; "
            "the same command tries again."
        )


def echo_unsettled(result: Result) -> None:
    """Tell which models would have needed more rounds."""
    for model, finding in result.findings.items():
        if not finding.factors.has_converged:
            click.echo(
                f"The topics of {model} were still changing in the last round; more "
                "rounds or fewer topics may settle (LDA_ROUNDS, NMF_ROUNDS, N_TOPICS)."
            )


def _echo_missing(kind: str, missing: Sequence[NoPage], max_listed: int) -> None:
    if not missing:
        return
    click.echo(f"{counted(len(missing), 'page')} {kind}:")
    for visit in missing[:max_listed]:
        # A long path must not hide the reason.
        path, reason = cut(visit.path, 38), cut(visit.reason, 37)
        click.echo(f"  {path}: {reason}")
    if len(missing) > max_listed:
        click.echo(f"  and {len(missing) - max_listed} more")


def _table(title: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    return Table(title=Text(title), title_justify="left", box=None, pad_edge=False)


def _add_row(table: Table, *cells: str) -> None:
    from rich.text import Text

    table.add_row(*map(Text, cells))  # not markup: words may have brackets


def _print(table: Table) -> None:
    from rich.console import Console

    Console(highlight=False).print(table)


def _number(score: float) -> str:
    return "" if math.isnan(score) else f"{score:.2f}"
