"""`RemoteStore` keeps the contract on real servers, of which no two are alike.

Memory is fsspec's own. moto and Azurite refuse to create what exists, as Amazon and
Azure do; rclone's S3 does not; by SFTP a file is written beside and renamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import pytest

from cachekit.stores import EntryKey, RemoteStore
from tests.stores.contract import StoreContract
from tests.stores.entries import commit, key_of, value_of
from tests.stores.servers import Remote, counted


class RemoteContract(StoreContract[RemoteStore]):
    """What all of them share; a class for each server says which it is."""

    @pytest.fixture
    def store(self, remote: Remote) -> RemoteStore:
        return RemoteStore(remote.fresh(), remote.options)

    def put(self, store: RemoteStore, key: EntryKey, files: dict[str, bytes]) -> None:
        filesystem, root = client(store)
        for name, content in files.items():
            filesystem.makedirs(f"{root}/{key.path}", exist_ok=True)
            filesystem.pipe_file(f"{root}/{key.path}/{name}", content)

    def take(self, store: RemoteStore, key: EntryKey) -> dict[str, bytes]:
        filesystem, root = client(store)
        found = filesystem.find(f"{root}/{key.path}")
        return {path.rpartition("/")[2]: filesystem.cat_file(path) for path in found}

    def lose(self, store: RemoteStore, key: EntryKey, name: str) -> None:
        filesystem, root = client(store)
        filesystem.rm_file(f"{root}/{key.path}/{name}")

    def age(self, store: RemoteStore, key: EntryKey, seconds: float) -> None:  # noqa: ARG002
        """Let the store believe it: a service tells its own time."""
        service = store._service
        found = service.find

        def find(folder: str = "") -> dict[str, tuple[int, float]]:
            return {
                path: (size, at - seconds) for path, (size, at) in found(folder).items()
            }

        service.find = find  # type: ignore[method-assign]

    def litter(self, store: RemoteStore) -> list[str]:
        """Name files that are of no entry, and of no part of a store."""
        filesystem, root = client(store)
        found = [path[len(root) + 1 :] for path in filesystem.find(root)]
        return [path for path in found if ".staging/" in path or ".leases/" in path]


class LastWins:
    """For servers which cannot refuse to write what exists."""

    def test_many_threads_that_commit_one_key_make_one_entry(
        self, store: RemoteStore
    ) -> None:
        values = [bytes([number]) * 100_000 for number in range(8)]

        with ThreadPoolExecutor(len(values)) as threads:
            won = list(
                threads.map(lambda value: commit(store, key_of(), value), values)
            )

        assert any(won)
        assert value_of(store, key_of()) in values


class TestInMemory(RemoteContract):
    @pytest.fixture
    def remote(self) -> Iterator[Remote]:
        yield Remote("memory://stores", {})
        fsspec.filesystem("memory").store.clear()


@pytest.mark.slow
class TestOnS3(RemoteContract):
    @pytest.fixture
    def remote(self, moto_s3_server: Remote) -> Remote:
        return moto_s3_server


@pytest.mark.slow
class TestOnS3WithoutConditions(LastWins, RemoteContract):
    @pytest.fixture
    def remote(self, rclone_s3_server: Remote) -> Remote:
        return rclone_s3_server

    def test_commits_survive_clearing_at_the_same_time(
        self, store: RemoteStore
    ) -> None:
        # rclone's server removes a folder that became empty also while it writes into
        # it, and then never answers: so here they take turns.
        for number in range(5):
            store.write_code(key_of(number), b"{}")
            commit(store, key_of(number))
            store.clear()

        assert list(store.entries()) == []


# What aiohttp thinks of how adlfs sends a file.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.slow
class TestOnAzure(RemoteContract):
    @pytest.fixture
    def remote(self, azurite_server: Remote) -> Remote:
        return azurite_server


@pytest.mark.slow
class TestBySFTP(LastWins, RemoteContract):
    @pytest.fixture
    def remote(self, sftp_server: Remote) -> Remote:
        return sftp_server


def client(store: RemoteStore) -> tuple[Any, str]:
    """Return a client of one's own, and the path of the store there."""
    url, options = store._made_of[:2]
    filesystem, root = fsspec.core.url_to_fs(url, **options)
    filesystem.dircache.use_listings_cache = False
    return filesystem, root.rstrip("/")


def test_a_folder_of_others_is_left_alone_by_clearing() -> None:
    others = fsspec.filesystem("memory")
    others.pipe_file("/others/.stats/report.csv", b"1,2")
    others.pipe_file("/others/.staging/draft", b"text")

    RemoteStore("memory://others").clear()
    store = RemoteStore("memory://others")
    commit(store, key_of())
    store.add_hits({key_of(): 1})
    store.clear()

    assert others.cat_file("/others/.stats/report.csv") == b"1,2"
    assert others.cat_file("/others/.staging/draft") == b"text"
    assert list(store.entries()) == []


def test_a_name_with_wildcards_stands_for_itself() -> None:
    one, other = RemoteStore("memory://data[1]"), RemoteStore("memory://data1")
    for number in range(3):
        commit(one, key_of(number))
        commit(other, key_of(number))

    one.clear()

    assert list(one.entries()) == []
    assert len(list(other.entries())) == 3


@pytest.mark.slow
def test_a_hit_is_one_request_and_a_miss_is_three(moto_s3_server: Remote) -> None:
    store = RemoteStore(moto_s3_server.fresh(), moto_s3_server.options)
    commit(store, key_of(1))

    with counted(store) as requests:
        assert value_of(store, key_of(1)) == b"value"
    assert requests == {"GetObject": 1}

    with counted(store) as requests:
        assert value_of(store, key_of(2)) is None
        commit(store, key_of(2))
    assert requests == {"GetObject": 1, "PutObject": 2}


@pytest.mark.slow
def test_a_listing_of_many_takes_few_requests(moto_s3_server: Remote) -> None:
    store = RemoteStore(moto_s3_server.fresh(), moto_s3_server.options)
    for number in range(20):
        commit(store, key_of(number))

    with counted(store) as requests:
        assert len(list(store.entries())) == 20

    assert requests.total() <= 5


@pytest.mark.slow
def test_clearing_many_takes_few_requests(moto_s3_server: Remote) -> None:
    store = RemoteStore(moto_s3_server.fresh(), moto_s3_server.options)
    for number in range(20):
        commit(store, key_of(number))

    with counted(store) as requests:
        store.clear()

    assert list(store.entries()) == []
    assert requests.total() <= 12
