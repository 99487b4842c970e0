"""A `Memory` in a bucket, on a real S3 server, shared by several machines.

A machine is a process with a cache folder of its own.
"""

from __future__ import annotations

import pickle
import secrets
import socket
from pathlib import Path

import fsspec
import pytest

from cachekit import Memory
from cachekit.errors import CacheWarning, StoreError
from cachekit.memoization.locations import near_location
from cachekit.stores import (
    LocalStore,
    ReadOnlyStore,
    RemoteStore,
    TieredStore,
)
from tests.memoization.project import Project
from tests.stores.servers import Remote, moto_s3_server

__all__ = ["moto_s3_server"]

MODULE = """
    from cachekit import Memory

    memory = Memory({url!r}, storage_options={options!r})

    @memory.cache
    def double(x):
        print("computing", x)
        return 2 * x
"""


def roll(sides: int) -> str:
    return f"{sides}:{secrets.token_hex(8)}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def bucket(moto_s3_server: Remote) -> Remote:
    return Remote(moto_s3_server.fresh(), moto_s3_server.options)


@pytest.mark.slow
def test_machines_share_what_they_computed(tmp_path: Path, bucket: Remote) -> None:
    project = Project(tmp_path / "project")
    project.write("work.py", MODULE.format(url=bucket.url, options=bucket.options))

    def run(machine: str) -> list[str]:
        home = str(tmp_path / machine)
        return project.ask("work.double(3), work.double(3)", XDG_CACHE_HOME=home)

    # Written by the end of the process, at the latest.
    assert run("one") == ["computing 3", "6 6"]
    assert run("two") == ["6 6"]
    fsspec.filesystem("s3", **bucket.options).rm(bucket.path, recursive=True)
    assert run("two") == ["6 6"]  # it has its own copy
    assert run("three") == ["computing 3", "6 6"]


@pytest.mark.slow
def test_the_command_removes_from_both(tmp_path: Path, bucket: Remote) -> None:
    project = Project(tmp_path / "project")
    project.write("work.py", MODULE.format(url=bucket.url, options=bucket.options))
    environment = {
        "FSSPEC_S3_KEY": "any",
        "FSSPEC_S3_SECRET": "any",
        "FSSPEC_S3_ENDPOINT_URL": bucket.options["endpoint_url"],
    }
    assert project.ask("work.double(3)") == ["computing 3", "6"]

    arguments = ["-m", "cachekit", "rm", "work.double", "--store", bucket.url]
    assert project.run(*arguments, **environment)

    assert project.ask("work.double(3)") == ["computing 3", "6"]


@pytest.mark.slow
def test_entries_of_a_folder_are_hits_in_a_bucket(
    tmp_path: Path, bucket: Remote
) -> None:
    local = Memory(tmp_path / "store")
    known = [local.cache(roll)(sides) for sides in range(3)]

    filesystem, root = bucket.filesystem(), bucket.path
    filesystem.put(f"{tmp_path / 'store'}/", f"{root}/", recursive=True)
    memory = Memory(RemoteStore(bucket.url, bucket.options))

    assert [memory.cache(roll)(sides) for sides in range(3)] == known


@pytest.mark.slow
def test_entries_of_a_bucket_are_hits_in_a_folder(
    tmp_path: Path, bucket: Remote
) -> None:
    memory = Memory(RemoteStore(bucket.url, bucket.options))
    known = memory.cache(roll)(6)

    bucket.filesystem().get(f"{bucket.path}/", str(tmp_path / "copy"), recursive=True)

    assert Memory(tmp_path / "copy").cache(roll)(6) == known


def test_a_url_is_kept_near_too(home: Path) -> None:
    memory = Memory("s3://bucket/prefix/")

    assert isinstance(memory.store, TieredStore)
    assert isinstance(memory.store.far, RemoteStore)
    assert isinstance(memory.store.near, LocalStore)
    assert memory.store.near.root.is_relative_to(home)
    assert memory.location == "s3://bucket/prefix"
    assert near_location("s3://bucket/prefix") == near_location("s3://bucket/prefix/")
    assert near_location("s3://bucket/prefix") != near_location("s3://bucket/other")
    assert not home.exists()


def test_a_run_of_hits_needs_no_network(tmp_path: Path) -> None:
    near = str(tmp_path / "near")
    project = Project(tmp_path / "project")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        options = {"endpoint_url": address, "key": "any", "secret": "any"}
        project.write(
            "work.py",
            f"""
            import sys
            from cachekit import Memory

            def double(x):
                return 2 * x

            far = {{"storage_options": {options!r}}}
            Memory({near!r}).cache(double)(3)
            print(Memory([{near!r}, "s3://bucket/a"], **far).cache(double)(3))
            """,
        )

        assert project.run("work.py") == ["6"]

        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()


def test_near_and_far_may_be_named(tmp_path: Path) -> None:
    memory = Memory([tmp_path / "near", "memory://named"])
    token = memory.cache(roll)(6)
    memory.flush()

    assert Memory(tmp_path / "near").cache(roll)(6) == token
    assert Memory("memory://named").cache(roll)(6) == token


def test_memory_that_ends_with_the_process_is_not_kept_near() -> None:
    assert isinstance(Memory("memory://alone").store, RemoteStore)


def test_a_memory_in_a_bucket_goes_to_another_process() -> None:
    memory = Memory("s3://bucket/a", storage_options={"anon": True}, read_only=True)

    other = pickle.loads(pickle.dumps(memory))

    assert repr(other.store) == repr(memory.store)
    assert other.store.far.store._made_of == memory.store.far.store._made_of  # type: ignore[union-attr]


def test_what_the_workers_of_a_pool_computed_is_sent(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.write(
        "work.py",
        f"""
        import multiprocessing
        import time
        from cachekit import Memory
        from cachekit.stores import LocalStore, TieredStore

        class SlowStore(LocalStore):
            def stage(self, key):
                time.sleep(0.3)
                return super().stage(key)

        near, far = {str(tmp_path / "near")!r}, {str(tmp_path / "far")!r}
        memory = Memory(TieredStore(LocalStore(near), SlowStore(far)))

        @memory.cache
        def double(x):
            return 2 * x

        if __name__ == "__main__":
            with multiprocessing.Pool(2) as pool:
                print(pool.map(double, range(6)))
        """,
    )

    assert project.run("work.py") == ["[0, 2, 4, 6, 8, 10]"]

    assert len(list(LocalStore(tmp_path / "far").entries())) == 6


def test_limits_are_for_the_near_folder(tmp_path: Path) -> None:
    far = LocalStore(tmp_path / "far")
    memory = Memory(TieredStore(LocalStore(tmp_path / "near"), far))
    for sides in range(4):
        memory.cache(roll)(sides)
    memory.flush()

    memory.reduce_size(items_limit=1)

    assert len(list(memory.store.near.entries())) == 1  # type: ignore[union-attr]
    assert len(list(far.entries())) == 4


def test_what_is_refused_afar_is_computed_once(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    theirs = Memory(far).cache(roll)(6)  # not signed
    memory = Memory([near, far], read_only=True, signing_key="a secret of the team")

    with pytest.warns(CacheWarning, match="not signed") as told:
        tokens = {memory.cache(roll)(6) for _ in range(3)}

    assert len(tokens - {theirs}) == 1
    assert len(told) == 1
    assert Memory(far).cache(roll)(6) == theirs


def test_a_damaged_copy_is_fetched_again(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    known = Memory(far).cache(roll)(6)
    memory = Memory([near, far])
    assert memory.cache(roll)(6) == known
    memory.flush()
    (value,) = near.rglob("value")
    value.write_bytes(value.read_bytes()[:-1])

    with pytest.warns(CacheWarning, match="truncated"):
        assert memory.cache(roll)(6) == known

    assert Memory(far).cache(roll)(6) == known


def test_a_damaged_value_afar_is_replaced_there(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    Memory(far).cache(roll)(6)
    (value,) = far.rglob("value")
    value.write_bytes(value.read_bytes()[:-1])
    memory = Memory([near, far])

    with pytest.warns(CacheWarning, match="truncated"):
        mine = memory.cache(roll)(6)
    memory.flush()

    assert Memory(far).cache(roll)(6) == Memory(near).cache(roll)(6) == mine


# --- read-only ---


def test_a_read_only_memory_reads_and_changes_nothing(tmp_path: Path) -> None:
    known = Memory(tmp_path).cache(roll)(6)
    before = sorted(tmp_path.rglob("*"))
    memory = Memory(tmp_path, read_only=True)

    assert memory.cache(roll)(6) == known
    assert memory.cache(roll)(7) != memory.cache(roll)(7)
    with pytest.raises(StoreError, match="read-only"):
        memory.clear()
    memory.reduce_size()

    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_entry_of_a_read_only_memory_stays(tmp_path: Path) -> None:
    known = Memory(tmp_path).cache(roll)(6)
    (value,) = tmp_path.rglob("value")
    value.write_bytes(value.read_bytes()[:-1])

    with pytest.warns(CacheWarning, match="computed again") as told:
        assert Memory(tmp_path, read_only=True).cache(roll)(6) != known

    assert len(told) == 1
    assert value.exists()


def test_what_is_read_from_afar_is_kept_near_also_if_read_only(tmp_path: Path) -> None:
    known = Memory(tmp_path / "far").cache(roll)(6)
    memory = Memory([tmp_path / "near", tmp_path / "far"], read_only=True)

    assert memory.cache(roll)(6) == known
    memory.cache(roll)(7)
    memory.flush()

    assert isinstance(memory.store, TieredStore)
    assert isinstance(memory.store.far, ReadOnlyStore)
    assert Memory(tmp_path / "near").cache(roll)(6) == known
    assert len(list(LocalStore(tmp_path / "far").entries())) == 1
