"""The topics pipeline on one screen, and its command.

::

    site -> fetch_page, once a page -> count_terms -> weigh_terms -> reduce_terms
                                            |              |              |
                                         fit_lda        fit_nmf      place_on_map,
                                            '------+-------'       cluster_documents
                                     scores, matches, figures, tables <---'

The functions know nothing of the cache. They become cached calls here, where they
meet, and get every hyper-parameter from here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from math import isnan
from pathlib import Path

import click

from cachekit.experiments import Run
from cachekit.memoization import Memory
from cachekit.parallel import Parallel, delayed
from cachekit.pipelines.command import list_parameters, pipeline_options, running
from cachekit.pipelines.files import write_file, write_table
from cachekit.pipelines.parameters import Parameters
from cachekit.pipelines.topics import const, report
from cachekit.pipelines.topics.comparison import (
    Match,
    match_topics,
    mean_scores,
    umass_coherence,
)
from cachekit.pipelines.topics.crawl import Crawl, Page, Progress, crawl, fetch_page
from cachekit.pipelines.topics.drawing import draw_map, draw_topics
from cachekit.pipelines.topics.findings import Finding, Layout, Result
from cachekit.pipelines.topics.model import (
    Factors,
    describe_topics,
    fit_lda,
    fit_minibatch_nmf,
    fit_nmf,
    heaviest_topics,
)
from cachekit.pipelines.topics.session import Limits, Session
from cachekit.pipelines.topics.similarity import (
    cluster_documents,
    place_on_map,
    reduce_terms,
    score_groups,
    score_map,
)
from cachekit.pipelines.topics.sites import PydocServer, Site, pydoc_site, web_site
from cachekit.pipelines.topics.terms import TermTable, count_terms, weigh_terms

_PACKAGES = ("bs4", "httpx", "matplotlib", "sklearn")


def run(
    parameters: Parameters,
    *,
    memory: Memory,
    url: str | None = None,
    output: Path,
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Find the topics of a site by several models, compare them, and write it all.

    Parameters
    ----------
    parameters : Parameters
        Those of `const`.
    memory : Memory
        Where results are kept. A page that it has is not fetched again.
    url : str, optional
        Page to begin with; its site is crawled. Python's own documentation if None.
    output : Path
        Folder for the files; made if needed.
    on_progress : callable, optional
        Called with a `Progress` after each page.

    Returns
    -------
    Result

    Raises
    ------
    PipelineError
        If the start page cannot be read, or its site has too little text.
    OSError
        If the files cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)  # now, rather than after the crawl

    site, found = _read_site(url, parameters, memory, on_progress)
    texts = [page for page in found.pages if page.text]
    counts = _count_terms(texts, site, parameters, memory)
    weights = memory.cache(weigh_terms)(counts)
    factors = _fit_models(counts, weights, parameters, memory)
    layout = _lay_out(weights, parameters, memory)

    pages = tuple(texts[row].path for row in counts.documents)
    first = next(iter(factors.values()))
    findings = {
        model: _judge(fitted, first, pages, counts, layout, parameters, memory)
        for model, fitted in factors.items()
    }
    result = Result(site.title, found, pages, counts.terms, findings, layout)
    return replace(result, files=_write(result, output, parameters, memory))


def _read_site(
    url: str | None,
    parameters: Parameters,
    memory: Memory,
    on_progress: Callable[[Progress], None] | None,
) -> tuple[Site, Crawl]:
    # Limits only decide which pages can be read, so they are in no key: pages that are
    # in the cache are taken whatever the limits.
    limits = Limits(
        operation_seconds=parameters.OPERATION_SECONDS,
        page_seconds=parameters.PAGE_SECONDS,
        page_bytes=parameters.PAGE_BYTES,
        tries=parameters.TRIES,
        backoff_seconds=parameters.BACKOFF_SECONDS,
    )
    with ExitStack() as stack:
        site = _site(url, parameters, stack)
        session = stack.enter_context(Session(site.connect, limits=limits))
        found = crawl(
            site,
            fetch=memory.cache(fetch_page, ignore=["session"]),
            session=session,
            max_pages=parameters.MAX_PAGES,
            max_failures_in_a_row=parameters.MAX_FAILURES_IN_A_ROW,
            on_progress=on_progress,
        )
    return site, found


def _site(url: str | None, parameters: Parameters, stack: ExitStack) -> Site:
    if url is not None:
        return web_site(url)
    server = PydocServer(start_seconds=parameters.SERVER_START_SECONDS)
    return pydoc_site(
        stack.enter_context(server),
        avoided=parameters.PYDOC_AVOIDED,
        stop_words=parameters.PYDOC_STOP_WORDS,
    )


def _count_terms(
    pages: list[Page], site: Site, parameters: Parameters, memory: Memory
) -> TermTable:
    counts: TermTable = memory.cache(count_terms)(
        [page.text for page in pages],
        token_pattern=parameters.TOKEN_PATTERN,
        stop_words=site.stop_words,
        min_documents=parameters.MIN_PAGES_PER_TERM,
        max_share=parameters.MAX_SHARE_OF_PAGES,
        small_collection=parameters.SMALL_SITE,
        max_terms=parameters.MAX_TERMS,
    )
    return counts


def _fit_models(
    counts: TermTable, weights: TermTable, parameters: Parameters, memory: Memory
) -> dict[str, Factors]:
    n_topics, seed = parameters.N_TOPICS, parameters.SEED
    # Tasks, which are called by the loop, and only those that are asked for.
    fits = {
        "nmf": delayed(memory.cache(fit_nmf))(
            weights,
            n_topics=n_topics,
            seed=seed,
            max_rounds=parameters.NMF_ROUNDS,
        ),
        "minibatch-nmf": delayed(memory.cache(fit_minibatch_nmf))(
            weights,
            n_topics=n_topics,
            seed=seed,
            max_rounds=parameters.NMF_ROUNDS,
            batch_size=parameters.BATCH_PAGES,
        ),
        "lda": delayed(memory.cache(fit_lda))(
            counts,
            n_topics=n_topics,
            seed=seed,
            max_rounds=parameters.LDA_ROUNDS,
            tolerance=parameters.LDA_TOLERANCE,
            learning_method=parameters.LEARNING_METHOD,
            batch_size=parameters.BATCH_PAGES,
            document_prior=parameters.PAGE_PRIOR,
            term_prior=parameters.WORD_PRIOR,
        ),
    }
    models = list(dict.fromkeys(parameters.MODELS))
    loop = Parallel(n_jobs=parameters.N_JOBS, progress=True)
    return dict(zip(models, loop([fits[model] for model in models]), strict=True))


def _lay_out(weights: TermTable, parameters: Parameters, memory: Memory) -> Layout:
    seed = parameters.SEED
    vectors = memory.cache(reduce_terms)(
        weights, n_dimensions=parameters.LSA_DIMENSIONS, seed=seed
    )
    points = memory.cache(place_on_map)(
        vectors, perplexity=parameters.PERPLEXITY, seed=seed
    )
    clusters = memory.cache(cluster_documents)(
        vectors,
        n_clusters=parameters.N_TOPICS,
        n_starts=parameters.CLUSTER_STARTS,
        seed=seed,
    )
    trustworthiness = memory.cache(score_map)(
        vectors, points, n_neighbours=parameters.MAP_NEIGHBOURS
    )
    return Layout(vectors, points, clusters, trustworthiness)


def _judge(
    factors: Factors,
    first: Factors,
    pages: tuple[str, ...],
    counts: TermTable,
    layout: Layout,
    parameters: Parameters,
    memory: Memory,
) -> Finding:
    topics = describe_topics(
        factors,
        counts.terms,
        pages,
        n_words=parameters.WORDS_PER_TOPIC,
        n_documents=parameters.PAGES_IN_TABLE,
    )
    coherences = memory.cache(umass_coherence)(
        factors.topic_terms, counts, n_words=parameters.TOP_WORDS
    )
    groups = memory.cache(score_groups)(
        heaviest_topics(factors), layout.clusters, layout.vectors
    )
    matches: list[Match] = []
    if factors is not first:
        matches = memory.cache(match_topics)(
            first.topic_terms, factors.topic_terms, n_words=parameters.TOP_WORDS
        )
    scores = {**mean_scores(coherences, matches), **groups}
    return Finding(factors, topics, coherences, matches, scores)


def _write(
    result: Result, output: Path, parameters: Parameters, memory: Memory
) -> tuple[Path, ...]:
    """Draw first, then write: an error leaves the files of an earlier run."""
    model, finding = next(iter(result.findings.items()))
    topics_figure = memory.cache(draw_topics)(
        finding.topics[: parameters.FIGURE_TOPICS],
        title=f"Topics of {model.upper()} in {result.title}",
        n_columns=parameters.FIGURE_COLUMNS,
        dpi=parameters.FIGURE_DPI,
    )
    map_figure = memory.cache(draw_map)(
        result.layout.points,
        heaviest_topics(finding.factors),
        names=report.short_names(finding.topics[: parameters.MAP_TOPICS]),
        labels=report.typical_pages(result),
        title=f"Map of {result.title}",
        dpi=parameters.FIGURE_DPI,
    )
    tables = report.tables(result)
    for name, (header, rows) in tables.items():
        write_table(output / name, header, rows)
    figures = {"topics.png": topics_figure, "map.png": map_figure}
    for name, image in figures.items():
        write_file(output / name, image)
    return tuple(output / name for name in (*tables, *figures))


@click.command("topics", epilog=list_parameters(const))
@click.option(
    "--url",
    help="Page to begin with; the crawl stays on its site.  [default: Python's own "
    "documentation, from a server on this machine]",
)
@pipeline_options(const)
def main(parameters: Parameters, memory: Memory, output: Path, url: str | None) -> None:
    """Find what the pages of a web site are about.

    Crawls the site, counts words, and fits several models of topics, which are
    compared; draws the topics and a map of the pages. Every step is cached: a second
    run is instant, an interrupted one goes on where it stopped, and another N_TOPICS
    fetches nothing.
    """
    chosen = {**parameters, "url": url}
    with running("topics", chosen, memory, needs=_PACKAGES) as this_run:
        with report.CrawlBar(max_pages=parameters.MAX_PAGES) as bar:
            result = run(
                parameters,
                memory=memory,
                url=url,
                output=output,
                on_progress=bar.update,
            )
        _log(result, this_run)
        _show(result, parameters)


def _log(result: Result, this_run: Run) -> None:
    this_run.log_dataset(
        "pages",
        source=result.site,
        split="none: topics are found in all pages, and scored on them",
        pages=len(result.pages),
        words=len(result.terms),
        broken=len(result.crawl.broken),
        skipped=len(result.crawl.skipped),
    )
    for model, finding in result.findings.items():
        for name, score in finding.scores.items():
            this_run.log_metric(f"{name}_{model}", score)
    if not isnan(result.layout.trustworthiness):
        this_run.log_metric("map_trustworthiness", result.layout.trustworthiness)
    for path in result.files:
        this_run.log_artifact(path)


def _show(result: Result, parameters: Parameters) -> None:
    report.print_topics(result, n_words=parameters.WORDS_IN_TABLE)
    report.print_scores(result)
    report.echo_crawl(result, max_listed=parameters.MAX_LISTED)
    report.echo_unsettled(result)


if __name__ == "__main__":
    main()
