"""One spelling for each address."""

from __future__ import annotations

import pytest

from cachekit.pipelines.topics.addresses import origin_of, path_of, same_site_path


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://example.org/a?b#c", "http://example.org"),
        ("HTTP://Example.ORG:80", "http://example.org"),
        ("https://example.org:443/", "https://example.org"),
        ("https://example.org:80/", "https://example.org:80"),
        ("http://user:secret@example.org/", "http://example.org"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_an_origin_has_one_spelling(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url", ["example.org", "ftp://example.org", "http://", "http://a:99999", "http://["]
)
def test_what_is_no_web_address_has_no_origin(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        origin_of(url)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://example.org", "/"),
        ("http://example.org?a=b", "/?a=b"),
        ("http://example.org/a/../b/./c#d", "/b/c"),
        ("http://example.org/../../a", "/a"),
        ("http://example.org/%7ea%2fb c%c3%a9é", "/~a%2Fb%20c%C3%A9%C3%A9"),
        ("http://example.org//a/../b", "//a/../b"),
    ],
)
def test_a_path_has_one_spelling(url: str, path: str) -> None:
    assert path_of(url) == path
    assert path_of(f"http://example.org{path}") == path


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("b.html", "/a/b.html"),
        ("b.html#part", "/a/b.html"),
        ("#part", "/a/index.html"),
        ("", "/a/index.html"),
        ("?page=2", "/a/index.html?page=2"),
        ("/", "/"),
        (" /b\n", "/b"),
        ("http://EXAMPLE.org:80/b", "/b"),
        ("https://example.org/b", None),
        ("//elsewhere.org/b", None),
        ("http://example.org:8000/b", None),
        ("mailto:someone@example.org", None),
        ("javascript:void(0)", None),
        ("http://[", None),
    ],
)
def test_a_link_leads_to_a_path_of_the_same_site_or_nowhere(
    link: str, path: str | None
) -> None:
    assert same_site_path("http://example.org/a/index.html", link) == path
