"""Where the pages come from: a web site, or the documentation server of Python.

A `Site` says how the site is called in cache keys, where it begins, and how to reach
it. Reaching it can mean to start a server, so that is done only when a page is really
fetched: `session.Session` calls `Site.connect` before its first request.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from cachekit.errors import PipelineError
from cachekit.pipelines.topics.addresses import origin_of, path_of

_READY = "Server ready at "


@dataclass(frozen=True, kw_only=True)
class Site:
    """A site to crawl.

    Attributes
    ----------
    label : str
        Names the site in cache keys; equal labels must mean equal pages.
    title : str
        Names the site to people.
    address : str
        What goes before a path to tell it to people.
    start : str
        Path of the page that the crawl begins with.
    connect : callable
        Makes the site reachable and returns its origin, as in
        ``"http://127.0.0.1:8000"``. May be slow the first time.
    avoided : tuple of str, default ()
        Paths that are never visited, as `fnmatch` patterns.
    stop_words : tuple of str, default ()
        Words that say nothing on this site.
    """

    label: str
    title: str
    address: str
    start: str
    connect: Callable[[], str]
    avoided: tuple[str, ...] = ()
    stop_words: tuple[str, ...] = ()


def web_site(url: str) -> Site:
    """Describe the site that `url` is a page of; the crawl starts there.

    Raises
    ------
    PipelineError
        If `url` is not the address of a page on the web.
    """
    try:
        origin = origin_of(url)
    except ValueError as error:
        raise PipelineError(
            f"{url!r} is not the address of a web page: {error}; "
            "give one like https://example.org/docs/"
        ) from error
    return Site(
        label=origin,
        title=origin,
        address=origin,
        start=path_of(url),
        connect=lambda: origin,
    )


def pydoc_site(
    server: PydocServer, *, avoided: tuple[str, ...], stop_words: tuple[str, ...]
) -> Site:
    """Describe the documentation of this Python, as `server` shows it."""
    version = platform.python_version()
    return Site(
        # The port is another one in each run, so it must not be part of the label.
        label=f"pydoc {version} {sys.prefix}",
        title=f"the documentation of Python {version}",
        address="pydoc:",
        start="/index.html",  # what the pages call it; "/" would be a second copy
        connect=server.start,
        avoided=avoided,
        stop_words=stop_words,
    )


class PydocServer:
    """Python's own documentation server, in a process of its own.

    Parameters
    ----------
    start_seconds : float
        How long the server may take until it is ready.

    Notes
    -----
    Serving a page imports the module that it documents. The server therefore sees the
    standard library only (``-I -S``): no script of the current folder and no
    installed package runs because somebody wanted an example.
    """

    def __init__(self, *, start_seconds: float) -> None:
        self._start_seconds = start_seconds
        self._ready: Future[str] = Future()
        self._listener: threading.Thread | None = None
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> str:
        """Start the server unless it runs, and return its origin.

        Raises
        ------
        PipelineError
            If the server does not get ready in time.
        """
        if self.process is None:
            self.process = _spawn_server()
            self._listener = threading.Thread(
                target=_listen, args=(self.process, self._ready), daemon=True
            )
            self._listener.start()
        try:
            return self._ready.result(timeout=self._start_seconds)
        except TimeoutError as error:
            raise PipelineError(
                "the documentation server of Python (python -m pydoc) was not ready "
                f"after {self._start_seconds:g} s; try again, or crawl another site "
                "with --url"
            ) from error

    def stop(self) -> None:
        """Stop the server; does nothing if it was not started."""
        if self.process is None:
            return
        # Not by closing its input, which takes it up to a second to notice.
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self._listener is not None:
            self._listener.join(timeout=5)


def _spawn_server() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-u", "-m", "pydoc", "-n", "127.0.0.1", "-p", "0"],
        # An open pipe: the server ends at the end of its input, so it cannot outlive
        # us even if we are killed.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        # pydoc puts the current folder on the path; this one is there already.
        cwd=sysconfig.get_path("stdlib"),
        # Ctrl-C in the terminal is for us: we stop the server when we are done.
        start_new_session=True,
    )


def _listen(process: subprocess.Popen[str], ready: Future[str]) -> None:
    """Find the address in the server's output, and drain the rest of it."""
    assert process.stdout is not None
    last_lines: deque[str] = deque(maxlen=3)
    # A full pipe would block the server, so this goes on until the server ends.
    with process.stdout as output:
        for line in output:
            last_lines.append(line.strip())
            if line.startswith(_READY) and not ready.done():
                ready.set_result(line.split()[-1].rstrip("/"))
    if not ready.done():
        ready.set_exception(
            PipelineError(
                "the documentation server of Python (python -m pydoc) did not start: "
                f"{' / '.join(last_lines) or 'it said nothing'}"
            )
        )
