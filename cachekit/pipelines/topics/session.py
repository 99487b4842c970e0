"""HTTP with limits: one page of one site at a time, and never for ever.

A `Session` connects when the first page is asked for. What it cannot bring comes in
two kinds, and the difference decides what is cached: `Refused` lasts (the page is
gone, is not HTML, robots.txt forbids it), `Unreadable` may pass (no answer, a server
error, too slow, too large for today's limits).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from cachekit.pipelines.topics.addresses import origin_of

if TYPE_CHECKING:
    import httpx

_T = TypeVar("_T")
_USER_AGENT = "cachekit-topics"
_MAX_REDIRECTS = 5
_HTML = ("text/html", "application/xhtml+xml")


class Refused(Exception):
    """There is no such page, and trying again will not change that."""

    def __init__(self, reason: str, *, is_broken: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_broken = is_broken


class Unreadable(Exception):
    """The page could not be read this time."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much time and space a page may take.

    Attributes
    ----------
    operation_seconds : float
        For one connect, read or write.
    page_seconds : float
        For a page, with its redirects and all its tries.
    page_bytes : int
        For the content of a page, uncompressed.
    tries : int
        How often a page is asked for when there is no answer or a server error.
    backoff_seconds : float
        Pause before the second try, doubled before each later one.
    """

    operation_seconds: float
    page_seconds: float
    page_bytes: int
    tries: int
    backoff_seconds: float


@dataclass(frozen=True)
class Answer:
    """What a server said; `body` is empty where nobody wanted to read it."""

    url: str
    status: int
    media_type: str
    charset: str | None
    location: str | None
    body: bytes


class Session:
    """Reads pages of one site; a context manager.

    Parameters
    ----------
    connect : callable
        Makes the site reachable and returns its origin; called before the first
        request, so never if every page comes from the cache.
    limits : Limits
        What a page may take.

    Notes
    -----
    The requests run on an event loop in a thread of their own. Only there can a page
    be given a total time: the time-outs of blocking sockets start again with each
    byte. A thread, because notebooks already run a loop in the main one.
    """

    def __init__(self, connect: Callable[[], str], *, limits: Limits) -> None:
        self._connect = connect
        self._limits = limits
        self._open: tuple[_LoopThread, _Reader] | None = None
        self.pages_read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is not None:
            loop, reader = self._open
            loop.run(reader.close())
            loop.stop()

    def read(self, path: str) -> Answer:
        """Return the HTML page at `path`, following redirects within the site.

        Raises
        ------
        Refused
            If there is no such page for us, now and later.
        Unreadable
            If the page could not be read this time.
        """
        if self._open is None:
            reader = _Reader(self._connect(), self._limits)
            self._open = _LoopThread(), reader
        loop, reader = self._open
        self.pages_read += 1
        return loop.run(reader.read(path))


class _Reader:
    """Asks one origin for pages, within the limits and what robots.txt allows."""

    def __init__(self, origin: str, limits: Limits) -> None:
        import httpx

        self._origin = origin
        self._limits = limits
        self._robots: RobotFileParser | None = None
        self._client = httpx.AsyncClient(
            headers={"User-Agent": _USER_AGENT, "Accept": "text/html"},
            timeout=limits.operation_seconds,
            # A proxy named in the environment cannot reach our own loopback.
            trust_env=not _is_loopback(origin),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def read(self, path: str) -> Answer:
        seconds = self._limits.page_seconds
        try:
            async with asyncio.timeout(seconds):
                if self._robots is None:
                    self._robots = await self._read_robots()
                answer = await self._follow(f"{self._origin}{path}", self._robots)
        except TimeoutError as error:
            what = "robots.txt" if self._robots is None else "it"
            raise Unreadable(f"{what} was not complete after {seconds:g} s") from error
        if _is_passing(answer.status):
            raise Unreadable(_status_text(answer.status))
        if answer.status != HTTPStatus.OK:
            raise Refused(_status_text(answer.status), is_broken=True)
        if answer.media_type not in _HTML:
            raise Refused(f"not HTML: {answer.media_type}", is_broken=False)
        return answer

    async def _read_robots(self) -> RobotFileParser:
        """Return the rules of the site; without a usable robots.txt it has none."""
        robots = RobotFileParser()
        lines: list[str] = []
        with contextlib.suppress(Refused):
            answer = await self._follow(f"{self._origin}/robots.txt", None)
            # Many servers answer anything with a page, pydoc among them.
            if answer.status == HTTPStatus.OK and answer.media_type not in _HTML:
                lines = answer.body.decode("utf-8-sig", errors="replace").splitlines()
        robots.parse(lines)
        return robots

    async def _follow(self, url: str, robots: RobotFileParser | None) -> Answer:
        """Ask for `url` and for what it redirects to, as long as we may."""
        for _ in range(_MAX_REDIRECTS + 1):
            if robots is not None and not robots.can_fetch(_USER_AGENT, url):
                raise Refused("robots.txt disallows it", is_broken=False)
            answer = await self._ask(url)
            if answer.location is None:
                return answer
            url = urljoin(url, answer.location)
            if not self._is_ours(url):
                raise Refused(f"redirects to another site: {url}", is_broken=False)
        raise Refused(f"more than {_MAX_REDIRECTS} redirects", is_broken=True)

    def _is_ours(self, url: str) -> bool:
        try:
            return origin_of(url) == self._origin
        except ValueError:
            return False

    async def _ask(self, url: str) -> Answer:
        """Ask for `url`, again if there is no answer or one that may pass."""
        import httpx

        pause = self._limits.backoff_seconds
        for tries_left in reversed(range(self._limits.tries)):
            try:
                answer = await self._ask_once(url)
            except httpx.RequestError as error:
                if not tries_left:
                    raise Unreadable(_reason(error)) from error
            except httpx.InvalidURL as error:
                reason = f"not a valid address: {error}"
                raise Refused(reason, is_broken=True) from error
            else:
                if not tries_left or not _is_passing(answer.status):
                    return answer
            await asyncio.sleep(pause)
            pause *= 2
        raise AssertionError("limits.tries is at least 1")

    async def _ask_once(self, url: str) -> Answer:
        async with self._client.stream("GET", url) as response:
            headers = response.headers
            media_type = headers.get("content-type", "").partition(";")[0]
            media_type = media_type.strip().lower() or "no content type"
            is_wanted = media_type in _HTML or url.endswith("/robots.txt")
            is_read = response.is_success and is_wanted
            is_redirect = response.has_redirect_location
            return Answer(
                url=url,
                status=response.status_code,
                media_type=media_type,
                charset=response.charset_encoding,
                location=headers["location"] if is_redirect else None,
                body=await self._body(response) if is_read else b"",
            )

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > self._limits.page_bytes:
                raise Unreadable(f"larger than {self._limits.page_bytes:,} bytes")
        return bytes(body)


class _LoopThread:
    """An event loop in a thread, for callers that wait."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="session-loop", daemon=True
        )
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C while we wait: the request must end as well
            future.cancel()
            raise

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _is_passing(status: int) -> bool:
    """Tell whether the same request may have another answer soon."""
    return status >= 500 or status in (
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    )


def _status_text(status: int) -> str:
    """Say 404 as in "404 Not Found"."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"


def _reason(error: httpx.RequestError) -> str:
    """Say what went wrong; some of these exceptions have no text."""
    import httpx

    if isinstance(error, httpx.ConnectError):
        return "cannot connect"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _is_loopback(origin: str) -> bool:
    host = urlsplit(origin).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
