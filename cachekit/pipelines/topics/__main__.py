"""The topics pipeline on one screen, and its command.

::

    site -> fetch_page, once a page -> count_terms -> weigh_terms -> factorise -> topics
                                                   topics.csv, topics.png, a table  <-'

The functions know nothing of the cache. They become cached calls here, where they
meet, and get every hyper-parameter from here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click

from cachekit.errors import CacheKitError, MissingExtra
from cachekit.memoization import Memory, Tally, default_memory
from cachekit.pipelines.topics import const, report
from cachekit.pipelines.topics.crawl import Crawl, Page, Progress, crawl, fetch_page
from cachekit.pipelines.topics.model import (
    Factors,
    Topic,
    count_terms,
    describe_topics,
    factorise,
    weigh_terms,
)
from cachekit.pipelines.topics.session import Limits, Session
from cachekit.pipelines.topics.sites import PydocServer, Site, pydoc_site, web_site

_PACKAGES = ("bs4", "httpx", "matplotlib", "sklearn")

_LIMITS = Limits(
    operation_seconds=const.OPERATION_SECONDS,
    page_seconds=const.PAGE_SECONDS,
    page_bytes=const.PAGE_BYTES,
    tries=const.TRIES,
    backoff_seconds=const.BACKOFF_SECONDS,
)


@dataclass(frozen=True)
class Result:
    """What a run found, and where it wrote it.

    Attributes
    ----------
    title : str
        What was looked at, for people.
    topics : list of Topic
        The heaviest first.
    crawl : Crawl
        The pages read, skipped and broken.
    has_converged : bool
        Whether the factorisation had enough iterations.
    csv_path, figure_path : Path
        The files written.
    """

    title: str
    topics: list[Topic]
    crawl: Crawl
    has_converged: bool
    csv_path: Path
    figure_path: Path


def run(
    *,
    memory: Memory,
    url: str | None = None,
    max_pages: int = const.MAX_PAGES,
    n_topics: int = const.N_TOPICS,
    seed: int = const.SEED,
    output: Path | str = ".",
    limits: Limits = _LIMITS,
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Find the topics of a site, and write them to ``topics.csv`` and ``topics.png``.

    Parameters
    ----------
    memory : Memory
        Where results are kept. A page that it has is not fetched again.
    url : str, optional
        Page to begin with; its site is crawled. Python's own documentation if None.
    max_pages : int, default `const.MAX_PAGES`
        Pages to visit at most.
    n_topics : int, default `const.N_TOPICS`
        Topics to find.
    seed : int, default `const.SEED`
        The same seed finds the same topics in the same pages.
    output : path-like, default "."
        Folder for the files; made if needed.
    limits : Limits, optional
        Time and space that a page may take. They only decide which pages can be
        read, so pages that are in the cache are taken whatever the limits.
    on_progress : callable, optional
        Called with a `Progress` after each page.

    Returns
    -------
    Result

    Raises
    ------
    MissingExtra
        If a package that the pipeline needs is not installed.
    PipelineError
        If the start page cannot be read, or its site has too little text.
    OSError
        If the files cannot be written.
    """
    if not all(map(find_spec, _PACKAGES)):
        raise MissingExtra("cachekit run topics", "ml")
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)  # now, rather than after the crawl

    with ExitStack() as stack:
        site = _site(url, stack)
        session = stack.enter_context(Session(site.connect, limits=limits))
        found = crawl(
            site,
            fetch=memory.cache(fetch_page, ignore=["session"]),
            session=session,
            max_pages=max_pages,
            max_failures_in_a_row=const.MAX_FAILURES_IN_A_ROW,
            on_progress=on_progress,
        )
    pages = [page for page in found.pages if page.text]
    title = f"Topics in {site.title}, {len(pages)} pages"
    topics, has_converged = _find_topics(pages, site, n_topics, seed, memory)
    figure = memory.cache(report.draw_topics)(
        topics[: const.FIGURE_TOPICS],
        title=title,
        n_columns=const.FIGURE_COLUMNS,
        dpi=const.FIGURE_DPI,
    )
    result = Result(
        title=title,
        topics=topics,
        crawl=found,
        has_converged=has_converged,
        csv_path=output / "topics.csv",
        figure_path=output / "topics.png",
    )
    report.write_topics(result.csv_path, topics)
    report.write_file(result.figure_path, figure)
    return result


def _site(url: str | None, stack: ExitStack) -> Site:
    if url is not None:
        return web_site(url)
    server = PydocServer(start_seconds=const.SERVER_START_SECONDS)
    return pydoc_site(
        stack.enter_context(server),
        avoided=const.PYDOC_AVOIDED,
        stop_words=const.PYDOC_STOP_WORDS,
    )


def _find_topics(
    pages: list[Page], site: Site, n_topics: int, seed: int, memory: Memory
) -> tuple[list[Topic], bool]:
    counts = memory.cache(count_terms)(
        [page.text for page in pages],
        token_pattern=const.TOKEN_PATTERN,
        stop_words=site.stop_words,
        min_documents=const.MIN_PAGES_PER_TERM,
        max_share=const.MAX_SHARE_OF_PAGES,
        small_collection=const.SMALL_SITE,
        max_terms=const.MAX_TERMS,
    )
    weights = memory.cache(weigh_terms)(counts)
    factors: Factors = memory.cache(factorise)(
        weights, n_topics=n_topics, seed=seed, max_iterations=const.MAX_ITERATIONS
    )
    paths = [page.path for page in pages]
    topics = describe_topics(
        factors, weights.terms, paths, n_words=const.WORDS_PER_TOPIC
    )
    return topics, factors.has_converged


@click.command("topics")
@click.option(
    "--url",
    help="Page to begin with; the crawl stays on its site.  [default: Python's own "
    "documentation, from a server on this machine]",
)
@click.option(
    "--max-pages",
    type=click.IntRange(min=1),
    default=const.MAX_PAGES,
    show_default=True,
    help="Pages to visit at most.",
)
@click.option(
    "--topics",
    "n_topics",
    type=click.IntRange(min=1),
    default=const.N_TOPICS,
    show_default=True,
    help="Topics to find.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**32 - 1),
    default=const.SEED,
    show_default=True,
    help="The same seed finds the same topics.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder for topics.csv and topics.png.  [default: this one]",
)
@click.option(
    "--store",
    help="The store; else $CACHEKIT_DIR, else the system's folder for caches.",
)
def main(
    url: str | None,
    max_pages: int,
    n_topics: int,
    seed: int,
    output: Path,
    store: str | None,
) -> None:
    """Find what the pages of a web site are about.

    Crawls the site, counts words, factorises them into topics, and writes topics.csv
    and topics.png. Every step is cached: a second run is instant, an interrupted one
    goes on where it stopped, and another --topics fetches nothing.
    """
    started = time.perf_counter()
    bar = report.CrawlBar(max_pages=max_pages)
    try:
        memory = default_memory() if store is None else Memory(store)
        before = memory.tally()
        with bar:
            result = run(
                memory=memory,
                url=url,
                max_pages=max_pages,
                n_topics=n_topics,
                seed=seed,
                output=output,
                on_progress=bar.update,
            )
    except (CacheKitError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo(
            f"Interrupted: {bar.pages_kept} pages are kept in the cache; "
            "the same command goes on from there.",
            err=True,
        )
        sys.exit(130)
    seconds = time.perf_counter() - started
    _print(result, _since(before, memory.tally()), seconds=seconds)


def _since(before: Tally, now: Tally) -> Tally:
    """Take what this run did: the default memory counts for the whole process."""
    return Tally(
        now.hits - before.hits,
        now.misses - before.misses,
        now.seconds_saved - before.seconds_saved,
        now.seconds_computed - before.seconds_computed,
    )


def _print(result: Result, tally: Tally, *, seconds: float) -> None:
    report.print_topics(result.topics, title=result.title, n_words=const.WORDS_IN_TABLE)
    report.echo_crawl(result.crawl, max_listed=const.MAX_LISTED)
    if not result.has_converged:
        click.echo(
            f"The topics were still changing after {const.MAX_ITERATIONS} rounds; "
            "fewer --topics may settle."
        )
    click.echo(f"Wrote {result.csv_path} and {result.figure_path}")
    report.echo_cost(tally, seconds=seconds)


if __name__ == "__main__":
    main()
