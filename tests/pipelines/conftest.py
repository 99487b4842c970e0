"""What the tests of the pipelines share: a site, a store, and short time limits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachekit.memoization import Memory
from cachekit.pipelines.topics.session import Limits
from tests.pipelines.website import Website, serve


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    # On busy cores, threads that wait for one another take longer than one.
    import sklearn.ensemble  # noqa: F401  (what is loaded later is not limited)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


@pytest.fixture
def website() -> Iterator[Website]:
    with serve(Website()) as website:
        yield website


@pytest.fixture
def closed_port() -> Iterator[str]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # ours, so nobody else's; but we do not listen
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def memory(store: Path) -> Memory:
    return Memory(store)


@pytest.fixture
def limits() -> Limits:
    return Limits(
        operation_seconds=1.0,
        page_seconds=1.0,
        page_bytes=20_000,
        tries=2,
        backoff_seconds=0.001,
    )
