from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from cachekit import Parallel, delayed, parallel_config
from cachekit.parallel.clusters import DaskBackend
from tests.parallel.cluster_contract import PATIENCE, ClusterContract, square, total

distributed: Any = import_module("distributed")  # its types are incomplete


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            processes=True, n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def cluster(running: Any) -> Iterator[Any]:
    running.wait_for_workers(2, timeout=30)  # a test may have killed one
    with running.as_current():
        yield running


class TestDask(ClusterContract):
    name = "dask"
    kind = DaskBackend
    module = "distributed"
    lost_worker = "died while running it"
    once: dict[str, Any] = {}  # noqa: RUF012
    connect = "import distributed; client = distributed.Client({address!r})"

    def address(self, cluster: Any) -> str:
        return str(cluster.scheduler.address)

    def test_the_cluster_keeps_nothing_of_a_loop(self, cluster: Any) -> None:
        address = cluster.scheduler.address
        with (
            distributed.Client(address, set_as_default=False) as client,
            parallel_config("dask", client=client),
        ):
            Parallel()(delayed(total)(np.ones(1_000_000), x) for x in range(20))

            # The client forgets in a thread of its own.
            end = time.monotonic() + PATIENCE
            while client.futures:
                assert time.monotonic() < end, f"it has {list(client.futures)}"
                time.sleep(0.01)

    def test_loops_without_a_worker_say_so(self) -> None:
        with (
            distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
            distributed.Client(empty, set_as_default=False) as client,
            parallel_config("dask", client=client, wait_for_workers_timeout=0.2),
            pytest.raises(TimeoutError, match="no worker after"),
        ):
            Parallel()(delayed(square)(x) for x in range(2))


def test_a_client_can_be_named(running: Any) -> None:
    with parallel_config("dask", client=running):
        assert Parallel()(delayed(square)(x) for x in range(3)) == [0, 1, 4]


@pytest.mark.parametrize("word", ["address", "scheduler_host"])
def test_a_scheduler_can_be_named(running: Any, word: str) -> None:
    config = parallel_config("dask", **{word: running.scheduler.address})
    client = config.parallel_config["backend"].client
    with config:
        results = Parallel()(delayed(square)(x) for x in range(3))
    del config

    assert results == [0, 1, 4]
    assert client.status == "closed"


def test_without_a_client_it_says_how_to_make_one() -> None:
    with pytest.raises(ValueError, match=r"distributed\.Client\(\)"):
        parallel_config("dask")


def test_a_loop_ends_when_its_client_is_closed(running: Any) -> None:
    release = threading.Event()
    with distributed.Client(running.scheduler.address, set_as_default=False) as client:
        closing = threading.Thread(target=lambda: (release.wait(), client.close()))
        closing.start()

        def tasks() -> Iterator[Any]:
            yield from [delayed(square)(x) for x in range(5)]
            release.set()
            closing.join()
            yield delayed(square)(5)

        with (
            parallel_config("dask", client=client),
            pytest.raises(Exception, match=r"(?i)client|cancel|closed"),
        ):
            Parallel()(tasks())
