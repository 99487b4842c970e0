"""Files beside a value: removed with few requests, carried from store to store.

What every store does with them is in the contract.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pytest

from cachekit.errors import CacheWarning, EntryNotFound, StoreError
from cachekit.stores import (
    DictStore,
    EntryKey,
    LocalStore,
    ReadOnlyStore,
    RemoteStore,
    Store,
    TieredStore,
    base,
    service,
)
from cachekit.stores.base import temporary_folder
from cachekit.stores.layout import file_names, is_inside
from cachekit.stores.names import FILES, RECORD, VALUE
from tests.stores.entries import (
    OTHER_FINGERPRINT,
    commit,
    commit_files,
    digests,
    key_of,
    record_of,
    value_of,
)
from tests.stores.servers import Remote, counted

MADE = {"plot.png": b"drawn", "deep/er/data": b"numbers"}


@pytest.fixture
def bucket() -> Iterator[str]:
    fsspec.filesystem("memory").store.clear()
    yield "memory://bucket"
    fsspec.filesystem("memory").store.clear()


def objects_of(key: EntryKey) -> list[str]:
    names = fsspec.filesystem("memory").find("/bucket")
    return [name for name in names if key.path in name]


def assert_has(store: Store, key: EntryKey, made: dict[str, bytes] = MADE) -> None:
    folder = store.files(key, made)
    assert {name: (folder / name).read_bytes() for name in made} == made


# --- a bucket: removing ---


def test_a_batch_from_a_listing_removes_files_too(bucket: str) -> None:
    keys = [key_of(number) for number in range(5)]
    for key in keys:
        commit_files(RemoteStore(bucket), key, MADE)
    store = RemoteStore(bucket)
    listed = [info.key for info in store.entries()]

    store.delete_many(listed[:4])

    assert [len(objects_of(key)) for key in listed] == [0, 0, 0, 0, 4]
    assert_has(store, listed[4])


def test_a_batch_that_nobody_listed_removes_files_too(bucket: str) -> None:
    keys = [key_of(1), key_of(2, fingerprint=OTHER_FINGERPRINT)]
    for key in keys:
        commit_files(RemoteStore(bucket), key, MADE)

    RemoteStore(bucket).delete_many(keys)

    assert [objects_of(key) for key in keys] == [[], []]


def test_a_batch_removes_files_that_were_made_after_the_listing(bucket: str) -> None:
    store = RemoteStore(bucket)
    assert digests(store) == []
    commit_files(store, key_of(), MADE)

    store.delete_many([key_of()])

    assert objects_of(key_of()) == []


def test_a_hundred_entries_with_files_take_a_few_requests(
    moto_s3_server: Remote,
) -> None:
    url = moto_s3_server.fresh()
    store = RemoteStore(url, moto_s3_server.options)
    keys = [key_of(number) for number in range(100)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: commit_files(store, key, MADE), keys))
    again = RemoteStore(url, moto_s3_server.options)

    with counted(again) as requests:
        again.delete_many(keys)

    assert digests(again) == []
    assert sum(requests.values()) <= 6, requests
    left = moto_s3_server.filesystem().find(url)
    assert [name for name in left if key_of().function in name] == []


def test_a_batch_after_a_listing_needs_no_other(moto_s3_server: Remote) -> None:
    url = moto_s3_server.fresh()
    store = RemoteStore(url, moto_s3_server.options)
    for number in range(3):
        commit(store, key_of(number))
    keys = [info.key for info in store.entries()]

    with counted(store) as requests:
        store.delete_many(keys)

    assert not [name for name in requests if name.startswith("List")]


def test_files_without_a_value_are_no_entry_and_can_be_cleared(bucket: str) -> None:
    store = RemoteStore(bucket)
    commit_files(store, key_of(), MADE)
    fsspec.filesystem("memory").rm_file(f"/bucket/{key_of().path}/{VALUE}")

    assert list(store.entries()) == []
    store.clear()
    assert objects_of(key_of()) == []


# --- a bucket: fetching ---


def test_files_are_fetched_once_for_a_version(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RemoteStore(bucket)
    commit_files(store, key_of(), MADE)
    asked: list[str] = []
    get = service.Service.get

    def note(self: service.Service, path: str) -> BinaryIO | None:
        asked.append(path)
        return get(self, path)

    monkeypatch.setattr(service.Service, "get", note)
    folders = {store.files(key_of(), MADE, "one") for _ in range(3)}

    assert len(asked) == len(MADE)
    assert len(folders) == 1
    assert store.files(key_of(), MADE, "two") not in folders


def test_stores_do_not_take_each_others_files(bucket: str) -> None:
    one, other = RemoteStore(bucket), RemoteStore(f"{bucket}2")
    commit_files(one, key_of(), {"plot.png": b"one"})
    commit_files(other, key_of(), {"plot.png": b"other"})

    for store, content in ((one, b"one"), (other, b"other")):
        folder = store.files(key_of(), ["plot.png"], "version")
        assert (folder / "plot.png").read_bytes() == content


def test_a_large_file_is_fetched_in_parts(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(10_000)
    store = RemoteStore(bucket)
    commit_files(store, key_of(), {"large": content})
    monkeypatch.setattr(service, "PART_BYTES", 1000)

    assert_has(store, key_of(), {"large": content})


def test_a_file_that_is_gone_is_told(bucket: str) -> None:
    store = RemoteStore(bucket)
    commit_files(store, key_of(), MADE)
    fsspec.filesystem("memory").rm_file(f"/bucket/{key_of().path}/{FILES}/plot.png")

    with pytest.raises(EntryNotFound):
        store.files(key_of(), MADE)


def test_what_is_fetched_in_half_is_not_found_later(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RemoteStore(bucket)
    commit_files(store, key_of(), MADE)

    class Broken:
        def read(self, _: int) -> bytes:
            raise OSError("the line is cut")

        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(RemoteStore, "_open_file", lambda *_: Broken())
    with pytest.raises(OSError, match="cut"):
        store.files(key_of(), MADE, "half")
    monkeypatch.undo()

    folder = store.files(key_of(), MADE, "half")
    assert (folder / "plot.png").read_bytes() == b"drawn"
    assert list(temporary_folder().glob("*.partial")) == []


# --- near and far ---


def tiered(near: Path, bucket: str) -> TieredStore:
    return TieredStore(LocalStore(near), RemoteStore(bucket))


def test_files_are_sent_far(tmp_path: Path, bucket: str) -> None:
    store = tiered(tmp_path, bucket)
    commit_files(store, key_of(), MADE)
    store.flush()

    assert_has(store.far, key_of())


@pytest.mark.parametrize("size", [10, 2 * 2**20])
def test_files_are_brought_near(tmp_path: Path, bucket: str, size: int) -> None:
    with RemoteStore(bucket).stage(key_of()) as staging:
        for name, content in MADE.items():
            staging.write(f"{FILES}/{name}", content)
        staging.write(RECORD, record_of(MADE))
        staging.write(VALUE, bytes(size))
        staging.commit()
    store = tiered(tmp_path, bucket)

    assert value_of(store, key_of()) == bytes(size)
    folder = store.files(key_of(), MADE)
    store.flush()

    assert folder.is_relative_to(tmp_path)
    fsspec.filesystem("memory").store.clear()
    assert_has(store, key_of())


def test_files_are_brought_near_once(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_files(RemoteStore(bucket), key_of(), MADE)
    store = tiered(tmp_path, bucket)
    asked: list[str] = []
    open_file = RemoteStore._open_file

    def note(self: RemoteStore, key: EntryKey, name: str) -> BinaryIO | None:
        asked.append(name)
        return open_file(self, key, name)

    monkeypatch.setattr(RemoteStore, "_open_file", note)
    barrier = threading.Barrier(4)

    def use(_: int) -> None:
        barrier.wait()
        value_of(store, key_of())
        assert_has(store, key_of())

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, range(4)))
    store.flush()

    assert sorted(asked) == sorted(f"{FILES}/{name}" for name in MADE)


def test_an_entry_that_lost_files_far_is_not_brought_near(
    tmp_path: Path, bucket: str
) -> None:
    for number, size in enumerate([10, 2 * 2**20]):
        key = key_of(number)
        with RemoteStore(bucket).stage(key) as staging:
            staging.write(RECORD, record_of(["lost.png"]))
            staging.write(VALUE, bytes(size))
            staging.commit()
        store = tiered(tmp_path, bucket)

        assert value_of(store, key) == bytes(size)
        store.flush()

        assert not store.near.contains(key)
        with pytest.raises(EntryNotFound):
            store.files(key, ["lost.png"])


def use_and_flush(store: TieredStore) -> None:
    assert_has(store, key_of())
    store.flush()


def test_a_near_store_that_is_out_of_order_is_passed_over(
    tmp_path: Path, bucket: str
) -> None:
    commit_files(RemoteStore(bucket), key_of(), MADE)
    (tmp_path / "store").write_text("in the way")
    store = tiered(tmp_path / "store", bucket)

    with pytest.warns(CacheWarning, match="in the way|exists"):
        use_and_flush(store)


def test_a_near_store_that_is_read_only_is_not_filled(
    tmp_path: Path, bucket: str
) -> None:
    commit_files(RemoteStore(bucket), key_of(), MADE)
    near = ReadOnlyStore(LocalStore(tmp_path / "store"))

    assert_has(TieredStore(near, RemoteStore(bucket)), key_of())

    assert not (tmp_path / "store").exists()


def test_to_read_only_fills_no_near_store(tmp_path: Path, bucket: str) -> None:
    commit_files(RemoteStore(bucket), key_of(), MADE)
    store = ReadOnlyStore(tiered(tmp_path / "store", bucket))

    assert_has(store, key_of())
    assert store.locate(key_of()) is None

    assert not (tmp_path / "store").exists()


def test_hostile_names_in_a_record_lead_nowhere(tmp_path: Path, bucket: str) -> None:
    names = ["../../../../out", "/etc/out", "a/../../out", "", "a//b", ".", "nul\0"]
    with RemoteStore(bucket).stage(key_of()) as staging:
        staging.write(RECORD, record_of(names))
        staging.write(VALUE, b"value")
        staging.commit()
    store = tiered(tmp_path / "store", bucket)

    assert value_of(store, key_of()) == b"value"
    store.flush()

    assert not any(map(is_inside, names))
    assert list(tmp_path.rglob("out")) == []


@pytest.mark.parametrize(
    "record", [None, b"", b"no json", b"[]", b"{}", b'{"files": 3}', b'{"files": [1]}']
)
def test_a_record_that_makes_no_sense_names_no_files(record: bytes | None) -> None:
    assert file_names(record) == []


# --- a folder ---


def test_a_listing_passes_over_files_that_are_just_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    for number in range(3):
        commit_files(store, key_of(number), MADE)
    gone = FileNotFoundError()

    def walk(*_: Any, **__: Any) -> Any:
        raise gone

    monkeypatch.setattr(os, "fwalk", walk)

    assert len(digests(store)) == 3


def test_a_durable_store_syncs_files_and_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path, durable=True)
    synced: list[str] = []
    fsync = os.fsync

    def note(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    if not Path("/proc/self/fd").exists():
        pytest.skip("what a handle leads to is read from /proc")
    monkeypatch.setattr(os, "fsync", note)
    commit_files(store, key_of(), MADE)

    for name in (*MADE, "deep", "deep/er", ""):
        assert any(path.endswith(f"{FILES}/{name}".rstrip("/")) for path in synced)


def test_a_file_is_taken_in_without_a_copy(tmp_path: Path) -> None:
    source = tmp_path / "made"
    source.write_bytes(b"large")
    store = LocalStore(tmp_path / "store")

    with store.stage(key_of()) as staging:
        staging.add("made", source)
        staging.write(VALUE, b"value")
        staging.commit()

    assert (store.files(key_of(), ["made"]) / "made").samefile(source)


def test_a_file_is_copied_where_it_can_have_no_second_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "made"
    source.write_bytes(b"large")

    def refuse(*_: object) -> None:
        raise OSError("two disks")

    monkeypatch.setattr(os, "link", refuse)
    base.link_or_copy(source, tmp_path / "deep" / "copy")

    assert (tmp_path / "deep" / "copy").read_bytes() == b"large"
    assert not (tmp_path / "deep" / "copy").samefile(source)


def test_a_store_that_is_only_read_has_the_files(tmp_path: Path) -> None:
    for inner in (LocalStore(tmp_path), DictStore()):
        commit_files(inner, key_of(), MADE)

        assert_has(ReadOnlyStore(inner), key_of())
        with pytest.raises(StoreError, match="read-only"):
            ReadOnlyStore(inner).stage(key_of())
