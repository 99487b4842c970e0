"""The walk: what is followed, what is counted, and what a second walk asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from cachekit.errors import PipelineError
from cachekit.memoization import Memory
from cachekit.pipelines.topics.crawl import Crawl, NoPage, Page, Progress, fetch_page
from cachekit.pipelines.topics.crawl import crawl as walk
from cachekit.pipelines.topics.session import Limits, Session
from cachekit.pipelines.topics.sites import web_site
from tests.pipelines.website import Reply, Website, drip_body, fail_once, serve

Walk = Callable[..., Crawl]


@pytest.fixture
def crawl(website: Website, limits: Limits, memory: Memory) -> Walk:
    """Walk over the site with a session of its own, as each run does."""

    def crawl(
        start: str = "/", *, avoided: tuple[str, ...] = (), **options: Any
    ) -> Crawl:
        site = dataclasses.replace(web_site(website.url + start), avoided=avoided)
        defaults: dict[str, Any] = {"max_pages": 100, "max_failures_in_a_row": 100}
        with Session(site.connect, limits=limits) as session:
            return walk(
                site,
                fetch=memory.cache(fetch_page, ignore=["session"]),
                session=session,
                **(defaults | options),
            )

    return crawl


def paths(pages: list[Page]) -> list[str]:
    return [page.path for page in pages]


def test_links_are_followed_breadth_first_each_once(
    website: Website, crawl: Walk
) -> None:
    website.page("/", "start", ("/a", "b#part", "/a", "/a#top", "/", "x/../c"))
    website.page("/a", "a", ("/a1", "/b", f"{website.url}/a2"))
    website.page("/b", "b", ("/a1", "/"))
    for leaf in ("/c", "/a1", "/a2"):
        website.page(leaf, leaf, ("/",))

    found = crawl()

    assert paths(found.pages) == ["/", "/a", "/b", "/c", "/a1", "/a2"]
    assert set(website.pages_asked_for().values()) == {1}


def test_a_page_is_its_title_its_visible_text_and_its_links(
    website: Website, crawl: Walk
) -> None:
    html = """<!doctype html><title> Two
        lines </title><style>p {}</style><script>let x = "<p>no"</script>
        <p>Visible&nbsp;&amp; <b>bold</b><a href="b">link</a><a name="x">no link</a>"""
    website.routes["/a"] = Reply(html.encode())

    found = crawl("/a", max_pages=1)

    assert found.pages == [
        Page("/a", "Two lines", "Visible & bold link no link", ("/b",))
    ]


@pytest.mark.parametrize(
    "body", [b"", b"plain", b"<p>" * 500, b"\xff\xfe\x00", b"<?xml?>"]
)
def test_odd_markup_is_no_reason_to_stop(
    website: Website, crawl: Walk, body: bytes
) -> None:
    website.page("/", "text", ("/odd",))
    website.routes["/odd"] = Reply(body, media_type="application/xhtml+xml")

    assert paths(crawl().pages) == ["/", "/odd"]


def test_the_encoding_that_the_server_names_is_used(
    website: Website, crawl: Walk
) -> None:
    website.routes["/"] = Reply(
        "naïve".encode("latin-1"), media_type="text/html; charset=latin-1"
    )

    assert crawl().pages[0].text == "naïve"


def test_other_sites_are_not_asked(website: Website, crawl: Walk) -> None:
    with serve(Website()) as elsewhere:
        website.page("/", "text", (f"{elsewhere.url}/a", "mailto:a@b.c", "/away"))
        website.routes["/away"] = Reply(status=302, location=elsewhere.url)

        found = crawl()

        assert not elsewhere.requests
    assert paths(found.pages) == ["/"]
    assert [(visit.path, visit.is_broken) for visit in found.skipped] == [
        ("/away", False)
    ]


def test_what_is_broken_or_skipped_is_told_with_its_reason(
    website: Website, crawl: Walk
) -> None:
    rules = b"User-agent: *\nDisallow: /private\n"
    website.routes["/robots.txt"] = Reply(rules, media_type="text/plain")
    website.page(
        "/", "text", ("/dead", "/500", "/once", "/a.pdf", "/big", "/drip", "/private")
    )
    website.routes["/500"] = Reply(status=500)
    website.routes["/once"] = fail_once(Reply(b"<p>fine"))
    website.routes["/a.pdf"] = Reply(b"%PDF", media_type="application/pdf")
    website.page("/big", "x" * 20_000)
    website.routes["/drip"] = drip_body

    found = crawl()

    assert paths(found.pages) == ["/", "/once"]
    assert found.broken == [
        NoPage("/dead", "404 Not Found", True),
        NoPage("/500", "500 Internal Server Error", True),
        NoPage("/big", "larger than 20,000 bytes", True),
        NoPage("/drip", "it was not complete after 1 s", True),
    ]
    assert found.skipped == [
        NoPage("/a.pdf", "not HTML: application/pdf", False),
        NoPage("/private", "robots.txt disallows it", False),
    ]
    assert website.requests["/private"] == 0


def test_a_page_behind_a_redirect_counts_once(website: Website, crawl: Walk) -> None:
    website.page("/", "text", ("/old", "/new", "/older"))
    website.routes["/old"] = Reply(status=301, location="/new")
    website.routes["/older"] = Reply(status=301, location="/newer")
    website.page("/new", "new")
    website.page("/newer", "newer", ("/newer", "/last"))
    website.page("/last", "last")

    assert paths(crawl().pages) == ["/", "/new", "/newer", "/last"]
    assert website.requests["/newer"] == 1


def test_no_more_pages_than_wanted_are_asked_for(website: Website, crawl: Walk) -> None:
    website.page("/", "text", ("/a", "/b", "/dead", "/c"))
    for path in ("/a", "/b", "/c"):
        website.page(path, "text")

    crawl(max_pages=3)

    assert set(website.pages_asked_for()) == {"/", "/a", "/b"}


def test_avoided_paths_are_not_visited(website: Website, crawl: Walk) -> None:
    website.page("/", "text", ("/a", "/test.a.html", "/test.html"))
    website.page("/a", "text")

    found = crawl(avoided=("/test.*",))

    assert paths(found.pages) == ["/", "/a"]
    assert not found.broken


def test_a_second_walk_asks_for_nothing(website: Website, crawl: Walk) -> None:
    website.page("/", "text", ("/a", "/dead", "/a.pdf", "/old", "/private"))
    website.page("/a", "a")
    website.routes["/a.pdf"] = Reply(media_type="application/pdf")
    website.routes["/old"] = Reply(status=301, location="/new")
    website.page("/new", "new")
    rules = b"User-agent: *\nDisallow: /private\n"
    website.routes["/robots.txt"] = Reply(rules, media_type="text/plain")
    first = crawl()
    website.requests.clear()

    assert crawl() == first
    assert not website.requests


def test_pages_that_may_pass_are_tried_again_by_the_next_walk(
    website: Website, crawl: Walk
) -> None:
    website.page("/", "text", ("/a", "/ill"))
    website.page("/a", "a")
    website.routes["/ill"] = Reply(status=503)
    assert len(crawl().broken) == 1
    website.page("/ill", "well again")
    website.requests.clear()

    assert paths(crawl().pages) == ["/", "/a", "/ill"]
    assert website.pages_asked_for() == {"/ill": 1}


def test_an_interrupted_walk_goes_on_where_it_stopped(
    website: Website, crawl: Walk
) -> None:
    names = [f"/{number}" for number in range(6)]
    website.page("/", "text", tuple(names))
    for name in names:
        website.page(name, name)

    def interrupt(progress: Progress) -> None:
        if progress.visited == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crawl(on_progress=interrupt)
    assert set(website.pages_asked_for()) == {"/", "/0", "/1", "/2"}
    website.requests.clear()

    assert paths(crawl().pages) == ["/", *names]
    assert website.pages_asked_for() == {"/3": 1, "/4": 1, "/5": 1}


def test_progress_tells_the_cache_from_the_site(website: Website, crawl: Walk) -> None:
    website.page("/", "text", ("/a", "/ill", "/b"))
    website.page("/a", "a")
    website.page("/b", "b")
    website.routes["/ill"] = Reply(status=503)
    seen: list[Progress] = []
    crawl(max_pages=2)

    crawl(on_progress=seen.append)

    assert seen == [
        Progress(visited=1, waiting=3, fetched=0, unreadable=0),
        Progress(visited=2, waiting=2, fetched=0, unreadable=0),
        Progress(visited=3, waiting=1, fetched=1, unreadable=1),
        Progress(visited=4, waiting=0, fetched=2, unreadable=1),
    ]


def test_a_site_that_has_gone_is_given_up(website: Website, crawl: Walk) -> None:
    names = tuple(f"/{number}" for number in range(9))
    website.page("/", "text", names)
    for name in names:
        website.routes[name] = Reply(status=503)
    website.page("/1", "a page between failures")

    found = crawl(max_failures_in_a_row=3)

    assert found.gave_up
    assert [visit.path for visit in found.broken] == ["/0", "/2", "/3", "/4"]


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (Reply(status=500), "500 Internal"),
        (Reply(status=404), "404 Not Found"),
        (Reply(media_type="text/plain"), "not HTML: text/plain"),
        (
            Reply(status=302, location="http://127.0.0.2/"),
            "another site: http://127.0.0.2/",
        ),
        (drip_body, "not complete after"),
    ],
)
def test_a_start_page_that_cannot_be_read_is_an_error(
    website: Website, crawl: Walk, start: Reply, reason: str
) -> None:
    website.routes["/docs/"] = start

    with pytest.raises(PipelineError, match=reason) as caught:
        crawl("/docs/")

    assert f"{website.url}/docs/" in str(caught.value)
    assert "--url" in str(caught.value)


def test_a_site_without_text_is_an_error(website: Website, crawl: Walk) -> None:
    website.routes["/"] = Reply(b"<title>Only a title</title><img src='a.png'>")

    with pytest.raises(PipelineError, match="has text"):
        crawl()
