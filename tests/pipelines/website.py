"""A small web site over real HTTP, with everything that goes wrong on large ones."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANIMALS = ["cat", "dog", "horse", "rabbit", "sheep", "goat", "donkey", "hen"]
METALS = ["iron", "copper", "silver", "gold", "nickel", "zinc", "tin", "lead"]


@dataclass(frozen=True)
class Reply:
    body: bytes = b""
    status: int = 200
    media_type: str = "text/html; charset=utf-8"
    location: str | None = None


Route = Reply | Callable[["Handler"], None]


@dataclass
class Website:
    """Answers from `routes`; counts the requests for each path."""

    routes: dict[str, Route] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    closing: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def page(self, path: str, text: str = "", links: tuple[str, ...] = ()) -> None:
        anchors = " ".join(f'<a href="{link}">x</a>' for link in links)
        html = f"<title>Page {path}</title><body><p>{text}</p>{anchors}"
        self.routes[path] = Reply(html.encode())

    def pages_asked_for(self) -> Counter[str]:
        return self.requests - Counter({"/robots.txt": self.requests["/robots.txt"]})


class Handler(BaseHTTPRequestHandler):
    website: Website

    def do_GET(self) -> None:
        self.website.requests[self.path] += 1
        route = self.website.routes.get(self.path, Reply(b"nothing here", 404))
        if isinstance(route, Reply):
            self.answer(route)
        else:
            route(self)

    def answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.media_type)
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.location is not None:
            self.send_header("Location", reply.location)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are what some tests are about


@contextmanager
def serve(website: Website) -> Iterator[Website]:
    handler = type("BoundHandler", (Handler,), {"website": website})
    with _Server(("127.0.0.1", 0), handler) as server:
        website.url = f"http://127.0.0.1:{server.server_port}"
        # A short poll: shutting down waits for it, once a test.
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield website
        finally:
            website.closing.set()
            server.shutdown()
            thread.join()


def drip_body(handler: Handler) -> None:
    """Send a page that never ends, a few bytes at a time."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    while not handler.website.closing.wait(0.02):
        handler.wfile.write(b"<p>more ")


def drip_headers(handler: Handler) -> None:
    """Never come to the page at all."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
    while not handler.website.closing.wait(0.02):
        handler.wfile.write(b"X-More: and more\r\n")


def hang(handler: Handler) -> None:
    """Say nothing."""
    handler.website.closing.wait()


def fail_once(reply: Reply) -> Callable[[Handler], None]:
    """Fail for the first request, then answer."""

    def answer(handler: Handler) -> None:
        is_first = handler.website.requests[handler.path] == 1
        handler.answer(Reply(status=500) if is_first else reply)

    return answer


def add_two_topics(website: Website, *, pages: int = 12) -> None:
    """Fill a site with pages about animals and pages about metals, in turn."""
    names = [f"/{number}.html" for number in range(pages)]
    website.page("/", "welcome to this place", links=tuple(names))
    for number, name in enumerate(names):
        words = (ANIMALS, METALS)[number % 2]
        turned = words[number % 8 :] + words[: number % 8]
        website.page(name, " ".join(turned[:6] * 2), links=("/",))
