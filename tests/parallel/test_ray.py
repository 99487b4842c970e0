from __future__ import annotations

import secrets
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from cachekit.parallel.clusters import RayBackend
from tests.parallel.cluster_contract import ClusterContract

ray: Any = import_module("ray")  # its types are incomplete


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text(secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        # Otherwise it would write one to the home directory.
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        yield ray.init(num_cpus=2, include_dashboard=False)
        ray.shutdown()


class TestRay(ClusterContract):
    name = "ray"
    kind = RayBackend
    module = "ray"
    lost_worker = "died|crashed"
    once: dict[str, Any] = {"max_retries": 0}  # noqa: RUF012
    connect = "import ray; ray.init({address!r})"

    def address(self, cluster: Any) -> str:
        return str(cluster.address_info["gcs_address"])
