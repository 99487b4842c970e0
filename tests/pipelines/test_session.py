"""Reading single pages: what is refused, what may pass, and what never ends."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from cachekit.pipelines.topics.session import Limits, Refused, Session, Unreadable
from tests.pipelines.website import (
    Handler,
    Reply,
    Website,
    drip_body,
    drip_headers,
    fail_once,
    hang,
    serve,
)


@pytest.fixture
def session(website: Website, limits: Limits) -> Iterator[Session]:
    with Session(lambda: website.url, limits=limits) as session:
        yield session


def test_a_page_comes_with_its_address_and_content(
    website: Website, session: Session
) -> None:
    website.page("/a", "hello")

    answer = session.read("/a")

    assert answer.url == f"{website.url}/a"
    assert b"hello" in answer.body
    assert answer.charset == "utf-8"


def test_nothing_is_connected_before_the_first_page(limits: Limits) -> None:
    def connect() -> str:
        raise AssertionError("nobody asked for a page")

    with Session(connect, limits=limits) as session:
        assert session.pages_read == 0


@pytest.mark.parametrize(
    ("reply", "reason", "is_broken"),
    [
        (Reply(status=404), "404 Not Found", True),
        (Reply(status=410), "410 Gone", True),
        (Reply(status=299), "status 299", True),
        (
            Reply(b"%PDF", media_type="application/pdf"),
            "not HTML: application/pdf",
            False,
        ),
        (Reply(b"?", media_type=""), "not HTML: no content type", False),
        (Reply(status=302, location="http://127.0.0.2/"), "to another site", False),
        (Reply(status=302, location="ftp://127.0.0.1/"), "to another site", False),
        (Reply(status=302, location="/a"), "more than 5 redirects", True),
    ],
)
def test_what_will_not_change_is_refused_at_once(
    website: Website, session: Session, reply: Reply, reason: str, is_broken: bool
) -> None:
    website.routes["/a"] = reply

    with pytest.raises(Refused, match=reason) as caught:
        session.read("/a")

    assert caught.value.is_broken == is_broken


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again_and_then_unreadable(
    website: Website, session: Session, status: int
) -> None:
    website.routes["/a"] = Reply(status=status)

    with pytest.raises(Unreadable, match=str(status)):
        session.read("/a")

    assert website.requests["/a"] == 2


def test_a_server_error_may_pass(website: Website, session: Session) -> None:
    website.routes["/a"] = fail_once(Reply(b"fine"))

    assert session.read("/a").body == b"fine"


def test_a_closed_port_is_unreadable(closed_port: str, limits: Limits) -> None:
    with (
        Session(lambda: closed_port, limits=limits) as session,
        pytest.raises(Unreadable, match="cannot connect"),
    ):
        session.read("/")


@pytest.mark.parametrize("drip", [drip_body, drip_headers])
def test_a_page_that_never_ends_is_ended(
    website: Website, limits: Limits, drip: Callable[[Handler], None]
) -> None:
    website.routes["/a"] = drip
    limits = dataclasses.replace(limits, page_seconds=0.5, page_bytes=10**9)

    with (
        Session(lambda: website.url, limits=limits) as session,
        pytest.raises(Unreadable, match=r"it was not complete after 0\.5 s"),
    ):
        session.read("/a")


def test_a_server_that_says_nothing_is_given_up(
    website: Website, limits: Limits
) -> None:
    website.routes["/a"] = hang
    limits = dataclasses.replace(limits, operation_seconds=0.2, tries=1)

    with (
        Session(lambda: website.url, limits=limits) as session,
        pytest.raises(Unreadable, match="no answer in time"),
    ):
        session.read("/a")


def test_a_page_may_not_be_larger_than_the_limit(
    website: Website, session: Session
) -> None:
    website.page("/a", "x" * 20_000)

    with pytest.raises(Unreadable, match="larger than 20,000 bytes"):
        session.read("/a")


def test_redirects_are_followed_within_the_site(
    website: Website, session: Session
) -> None:
    website.routes["/a"] = Reply(status=301, location="b/")
    website.routes["/b/"] = Reply(status=302, location=f"{website.url}/c")
    website.page("/c", "hello")

    assert session.read("/a").url == f"{website.url}/c"


def test_another_site_is_not_asked(website: Website, session: Session) -> None:
    with serve(Website()) as elsewhere:
        website.routes["/a"] = Reply(status=302, location=elsewhere.url)

        with pytest.raises(Refused):
            session.read("/a")

        assert not elsewhere.requests


def test_robots_txt_is_obeyed_and_read_once(website: Website, session: Session) -> None:
    rules = b"User-agent: *\nDisallow: /private\n"
    website.routes["/robots.txt"] = Reply(rules, media_type="text/plain")
    website.routes["/way-in"] = Reply(status=302, location="/private/a")
    website.page("/a")

    session.read("/a")
    for path in ("/private/a", "/way-in"):
        with pytest.raises(Refused, match=r"robots\.txt disallows it"):
            session.read(path)

    assert website.requests == {"/robots.txt": 1, "/a": 1, "/way-in": 1}


@pytest.mark.parametrize(
    "robots",
    [
        Reply(status=404),
        Reply(status=500),
        Reply(b"User-agent: *\nDisallow: /"),  # sent as HTML
        Reply(b"User-agent: *\nDisallow: /", status=403, media_type="text/plain"),
        Reply(status=302, location="http://127.0.0.2/robots.txt"),
    ],
)
def test_what_is_no_robots_txt_forbids_nothing(
    website: Website, session: Session, robots: Reply
) -> None:
    website.routes["/robots.txt"] = robots
    website.page("/a")

    session.read("/a")

    assert website.requests["/a"] == 1


def test_an_endless_robots_txt_is_named_as_the_reason(
    website: Website, limits: Limits
) -> None:
    website.routes["/robots.txt"] = drip_headers
    limits = dataclasses.replace(limits, page_seconds=0.3)

    with (
        Session(lambda: website.url, limits=limits) as session,
        pytest.raises(Unreadable, match=r"robots\.txt was not complete"),
    ):
        session.read("/a")


def test_an_interrupted_page_leaves_no_thread_behind(
    website: Website, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def tell_and_hang(handler: Handler) -> None:
        asked.set()
        hang(handler)

    def interrupt(future: Future[object]) -> None:
        del future
        assert asked.wait(5)
        monkeypatch.undo()
        raise KeyboardInterrupt

    website.routes["/a"] = tell_and_hang
    monkeypatch.setattr(Future, "result", interrupt)

    with (
        pytest.raises(KeyboardInterrupt),
        Session(lambda: website.url, limits=limits) as session,
    ):
        session.read("/a")

    assert not [thread for thread in threading.enumerate() if "loop" in thread.name]
