"""Read the pages of a site, following its links breadth-first.

`fetch_page` is one page and is meant to be cached; `crawl` is the walk and never is:
it only decides which page comes next, so an interrupted walk is repeated in no time
from the pages that are in the cache, and goes on from there.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol

from cachekit.errors import PipelineError
from cachekit.pipelines.topics.addresses import path_of, same_site_path
from cachekit.pipelines.topics.session import Answer, Refused, Session, Unreadable
from cachekit.pipelines.topics.sites import Site


@dataclass(frozen=True)
class Page:
    """What is kept of an HTML page; `links` are paths of the same site, in order."""

    path: str
    title: str
    text: str
    links: tuple[str, ...]


@dataclass(frozen=True)
class NoPage:
    """A path without a page for us: broken, or something that we do not read."""

    path: str
    reason: str
    is_broken: bool


def fetch_page(site: str, path: str, session: Session) -> Page | NoPage:
    """Read one page of a site.

    Meant to be cached, ignoring `session`. What a later run would find again (a dead
    link, a picture, a path that robots.txt forbids) is a result and therefore cached,
    so that a second run asks the site for nothing. What may pass (no answer, a server
    error) is an exception and is therefore tried again.

    Parameters
    ----------
    site : str
        Label of the site; here it only takes part in the key.
    path : str
        Path within the site, as in ``"/docs/index.html"``.
    session : Session
        Does the reading.

    Returns
    -------
    Page or NoPage

    Raises
    ------
    Unreadable
        If the page could not be read this time.
    """
    del site  # the session knows where it is
    try:
        answer = session.read(path)
    except Refused as refusal:
        return NoPage(path, refusal.reason, refusal.is_broken)
    return _parse_page(answer)


def _parse_page(answer: Answer) -> Page:
    """Take title, visible text and links from HTML."""
    from bs4 import BeautifulSoup
    from bs4.exceptions import ParserRejectedMarkup

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # opinions on the author's markup
            soup = BeautifulSoup(
                answer.body, "html.parser", from_encoding=answer.charset
            )
    except ParserRejectedMarkup as error:
        raise Unreadable(f"not readable as HTML: {error}") from error
    links = (
        same_site_path(answer.url, str(anchor["href"]))
        for anchor in soup.find_all("a", href=True)
    )
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for element in soup.find_all(["script", "style", "template", "title"]):
        element.decompose()
    return Page(
        path=path_of(answer.url),
        title=title,
        text=" ".join(soup.get_text(" ").split()),
        links=tuple(dict.fromkeys(link for link in links if link is not None)),
    )


class Fetch(Protocol):
    """`fetch_page`, or what a cache made of it."""

    def __call__(self, site: str, path: str, session: Session) -> Page | NoPage:
        """Read one page of a site."""
        ...


@dataclass(frozen=True)
class Progress:
    """How far a crawl is.

    Attributes
    ----------
    visited, waiting : int
        Paths that were asked for, and that are known but were not.
    fetched : int
        Visits that went to the site, not to the cache.
    unreadable : int
        Visits to pages that could not be read this time; they are not cached.
    """

    visited: int
    waiting: int
    fetched: int
    unreadable: int


@dataclass
class Crawl:
    """What a crawl found.

    Attributes
    ----------
    pages : list of Page
        In the order of the walk.
    skipped : list of NoPage
        Not HTML, forbidden by robots.txt, or redirected to another site.
    broken : list of NoPage
        Dead links, and pages that could not be read this time.
    gave_up : bool
        Whether the site seemed gone before all was visited.
    """

    pages: list[Page] = field(default_factory=list)
    skipped: list[NoPage] = field(default_factory=list)
    broken: list[NoPage] = field(default_factory=list)
    gave_up: bool = False


def crawl(
    site: Site,
    *,
    fetch: Fetch,
    session: Session,
    max_pages: int,
    max_failures_in_a_row: int,
    on_progress: Callable[[Progress], None] | None = None,
) -> Crawl:
    """Visit up to `max_pages` paths of a site, breadth-first from its start page.

    Parameters
    ----------
    site : Site
        Where to begin, and what to avoid.
    fetch : callable
        `fetch_page`, cached or not.
    session : Session
        Handed to `fetch`.
    max_pages : int
        Paths to visit at most; broken and skipped ones count.
    max_failures_in_a_row : int
        After so many unreadable pages in a row the site counts as gone, and the walk
        ends with what it has.
    on_progress : callable, optional
        Called after each visit.

    Returns
    -------
    Crawl

    Raises
    ------
    PipelineError
        If the start page cannot be read, or no page has text.
    """
    found = Crawl()
    waiting, seen = deque([site.start]), {site.start}
    failures = failures_in_a_row = 0
    for visited in range(1, max_pages + 1):
        if not waiting or found.gave_up:
            break
        path = waiting.popleft()
        try:
            visit = fetch(site.label, path, session)
            failures_in_a_row = 0
        except Unreadable as error:
            visit = NoPage(path, str(error), is_broken=True)
            failures += 1
            failures_in_a_row += 1
            found.gave_up = failures_in_a_row == max_failures_in_a_row
        if isinstance(visit, NoPage):
            if path == site.start:
                raise _start_page_error(site, visit)
            (found.broken if visit.is_broken else found.skipped).append(visit)
        # A redirect may lead to a page that has a visit of its own.
        elif visit.path == path or visit.path not in seen:
            found.pages.append(visit)
            seen.add(visit.path)
            fresh = _unseen(visit.links, seen, site.avoided)
            seen.update(fresh)
            waiting.extend(fresh)
        if on_progress is not None:
            on_progress(Progress(visited, len(waiting), session.pages_read, failures))
    if not any(page.text for page in found.pages):
        raise PipelineError(
            f"none of the {len(found.pages)} pages read from {site.title} has text; "
            "begin at another page with --url"
        )
    return found


def _unseen(
    links: Iterable[str], seen: Container[str], avoided: Iterable[str]
) -> list[str]:
    return [
        link
        for link in links
        if link not in seen
        and not any(fnmatchcase(link, pattern) for pattern in avoided)
    ]


def _start_page_error(site: Site, visit: NoPage) -> PipelineError:
    return PipelineError(
        f"cannot read the start page {site.address}{visit.path}: {visit.reason}; "
        "check the address, try again later, or begin at another page with --url"
    )
