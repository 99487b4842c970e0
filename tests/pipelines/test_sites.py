"""Where pages come from: addresses, and the documentation server."""

from __future__ import annotations

import sys
import urllib.request

import pytest

from cachekit.errors import PipelineError
from cachekit.pipelines.topics.const import SERVER_START_SECONDS
from cachekit.pipelines.topics.sites import PydocServer, pydoc_site, web_site


def test_a_web_site_is_named_by_its_origin() -> None:
    site = web_site("http://Example.org:80/docs/index.html#top")

    assert (site.label, site.start) == ("http://example.org", "/docs/index.html")
    assert site.connect() == "http://example.org"


@pytest.mark.parametrize(
    "url", ["example.org", "/index.html", "file:///etc/passwd", ""]
)
def test_what_is_no_web_address_is_an_error_that_shows_how(url: str) -> None:
    with pytest.raises(PipelineError, match="give one like https://"):
        web_site(url)


def test_the_documentation_server_is_not_started_for_nothing() -> None:
    with PydocServer(start_seconds=SERVER_START_SECONDS) as server:
        pass
    assert server.process is None


def test_the_documentation_server_starts_once_and_is_gone_afterwards() -> None:
    with PydocServer(start_seconds=SERVER_START_SECONDS) as server:
        origin = server.start()

        assert server.start() == origin
        assert server.process is not None
        with urllib.request.urlopen(f"{origin}/index.html", timeout=10) as page:
            assert b"Index of Modules" in page.read()
        assert server.process.poll() is None
    assert server.process.poll() is not None


def test_the_documentation_server_ends_with_its_input() -> None:
    # That is what it gets when we are killed, and cannot stop it.
    with PydocServer(start_seconds=SERVER_START_SECONDS) as server:
        server.start()
        assert server.process is not None
        assert server.process.stdin is not None

        server.process.stdin.close()

        assert server.process.wait(timeout=10) == 0


def test_the_documentation_server_is_stopped_on_errors() -> None:
    server = PydocServer(start_seconds=SERVER_START_SECONDS)
    server.start()

    def interrupt() -> None:
        with server:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()

    assert server.process is not None
    assert server.process.poll() is not None


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    with (
        PydocServer(start_seconds=SERVER_START_SECONDS) as server,
        pytest.raises(PipelineError, match="did not start: -I -S"),
    ):
        server.start()


def test_a_server_that_is_late_is_stopped() -> None:
    with (
        PydocServer(start_seconds=0) as server,
        pytest.raises(PipelineError, match="not ready after 0 s"),
    ):
        server.start()
    assert server.process is not None
    assert server.process.poll() is not None


def test_the_label_of_the_documentation_knows_the_python_but_no_port() -> None:
    with PydocServer(start_seconds=SERVER_START_SECONDS) as server:
        site = pydoc_site(server, avoided=(), stop_words=())
        before = site.label
        server.start()

        assert site.label == before
        assert sys.prefix in site.label
