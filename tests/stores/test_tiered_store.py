"""`TieredStore` keeps the contract, and each of its two stores may fail on its own."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import fsspec
import pytest

from cachekit.errors import CacheWarning, StoreError
from cachekit.stores import (
    DictStore,
    EntryKey,
    LocalStore,
    ReadOnlyStore,
    RemoteStore,
    Staging,
    TieredStore,
    sending,
)
from cachekit.stores.names import PIN, VALUE
from tests.stores.contract import StoreContract
from tests.stores.entries import commit, digests, key_of, replace, value_of


class TestTieredStore(StoreContract[TieredStore]):
    """A folder before a bucket; what is put there from outside is in the bucket."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[TieredStore]:
        store = TieredStore(LocalStore(tmp_path / "near"), RemoteStore("memory://far"))
        yield store
        store.flush()
        fsspec.filesystem("memory").store.clear()

    def put(self, store: TieredStore, key: EntryKey, files: dict[str, bytes]) -> None:
        with store.far.stage(key) as staging:
            for name, content in files.items():
                with staging.open(name) as file:
                    file.write(content)
            staging.commit()

    def take(self, store: TieredStore, key: EntryKey) -> dict[str, bytes]:
        store.flush()
        near = {
            path.name: path.read_bytes()
            for path in Path(store.near.location, key.path).glob("*")
        }
        for name in near.keys() - {PIN}:  # which is for the near store alone
            assert store.far.read(key, name) == near[name]
        return near

    def lose(self, store: TieredStore, key: EntryKey, name: str) -> None:
        store.flush()
        Path(store.near.location, key.path, name).unlink()
        fsspec.filesystem("memory").rm_file(f"/far/{key.path}/{name}")

    def age(self, store: TieredStore, key: EntryKey, seconds: float) -> None:
        store.flush()
        store.far.clear()
        then = time.time() - seconds
        _set_times(Path(store.near.location, key.path, VALUE), then)

    def litter(self, store: TieredStore) -> list[str]:
        store.flush()
        staging = Path(store.near.location, ".staging")
        return [path.name for path in staging.glob("*")]


class TestReadOnlyStore:
    @pytest.fixture
    def inner(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path)

    @pytest.fixture
    def store(self, inner: LocalStore) -> ReadOnlyStore:
        return ReadOnlyStore(inner)

    def test_what_is_there_is_read(
        self, inner: LocalStore, store: ReadOnlyStore
    ) -> None:
        commit(inner, key_of(), b"value")
        inner.write_code(key_of(), b"code")
        inner.add_hits({key_of(): 2})

        assert store.is_read_only
        assert value_of(store, key_of()) == b"value"
        assert store.contains(key_of())
        assert store.read(key_of(), "record.json") == b"{}"
        assert store.read_code(key_of()) == b"code"
        assert store.hits() == {key_of().path: 2}
        assert digests(store) == digests(inner)
        assert store.location == inner.location

    def test_a_use_is_not_noted(self, inner: LocalStore, store: ReadOnlyStore) -> None:
        commit(inner, key_of())
        path = Path(inner.location, key_of().path, VALUE)
        _set_times(path, time.time() - 10_000)
        before = path.stat().st_mtime

        value_of(store, key_of())

        assert path.stat().st_mtime == before

    def test_nothing_is_changed(self, inner: LocalStore, store: ReadOnlyStore) -> None:
        commit(inner, key_of())
        before = _everything_in(inner.root)

        for change in (
            lambda: store.stage(key_of(1)),
            lambda: store.delete(key_of()),
            lambda: store.clear(),
            lambda: store.pin(key_of()),
            lambda: store.unpin(key_of()),
            lambda: store.write_code(key_of(), b"code"),
            lambda: store.add_hits({key_of(): 1}),
        ):
            with pytest.raises(StoreError, match="read-only"):
                change()

        assert _everything_in(inner.root) == before

    def test_a_store_that_is_not_there_is_empty(self, store: ReadOnlyStore) -> None:
        assert store.open(key_of()) is None
        assert list(store.entries()) == []


# --- near and far ---


def test_what_is_committed_comes_to_both() -> None:
    near, far = DictStore(), DictStore()
    store = TieredStore(near, far)

    commit(store, key_of(), b"value")
    store.write_code(key_of(), b"code")
    store.flush()

    assert value_of(near, key_of()) == value_of(far, key_of()) == b"value"
    assert far.read(key_of(), "record.json") == b"{}"
    assert far.read_code(key_of()) == near.read_code(key_of()) == b"code"


def test_what_is_only_far_is_brought_near() -> None:
    near, far = DictStore(), DictStore()
    commit(far, key_of(), b"value")
    store = TieredStore(near, far)

    assert value_of(store, key_of()) == b"value"
    store.flush()

    assert value_of(near, key_of()) == b"value"
    assert near.read(key_of(), "record.json") == b"{}"


def test_what_is_near_is_not_looked_for_far() -> None:
    near, far = DictStore(), DownStore()
    commit(near, key_of(), b"value")

    assert value_of(TieredStore(near, far), key_of()) == b"value"
    assert far.asked == 0


def test_one_call_looks_far_once() -> None:
    far = CountingStore()
    store = TieredStore(DictStore(), far)

    for _ in range(3):
        assert store.open(key_of()) is None

    assert far.opened == 1


def test_after_a_while_it_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "ABSENT_SECONDS", 0.0)
    far = CountingStore()
    store = TieredStore(DictStore(), far)
    assert store.open(key_of()) is None

    commit(far, key_of(), b"by another")

    assert value_of(store, key_of()) == b"by another"


def test_a_commit_does_not_wait_for_the_far_store() -> None:
    far = SlowStore()
    store = TieredStore(DictStore(), far)

    commit(store, key_of(), b"value")

    assert far.reached.wait(10)
    assert not far.contains(key_of())
    far.go_on.set()
    store.flush()
    assert value_of(far, key_of()) == b"value"


def test_what_was_evicted_near_before_it_was_sent_is_left() -> None:
    near, far = DictStore(), SlowStore()
    store = TieredStore(near, far)
    commit(store, key_of(0))
    for number in range(1, 8):  # more than there are threads
        commit(store, key_of(number))

    near.clear()
    far.go_on.set()
    store.flush()

    assert set(digests(far)) <= {key_of(number).digest for number in range(8)}


def test_replacing_replaces_both() -> None:
    near, far = DictStore(), DictStore()
    store = TieredStore(near, far)
    commit(store, key_of(), b"old")
    store.flush()

    replace(store, key_of(), b"new")
    store.flush()

    assert value_of(near, key_of()) == value_of(far, key_of()) == b"new"


def test_a_far_store_that_is_down_is_told_of_once() -> None:
    near = DictStore()
    store = TieredStore(near, DownStore())

    commit(store, key_of(1))
    with pytest.warns(CacheWarning, match="down") as told:
        store.flush()
    commit(store, key_of(2))
    store.flush()

    assert len(told) == 1
    assert len(digests(near)) == 2


def test_a_near_store_that_is_down_is_passed_by() -> None:
    far = DictStore()
    store = TieredStore(DownStore(), far)

    with pytest.warns(CacheWarning, match="down"):
        commit(store, key_of(), b"value")

    assert value_of(far, key_of()) == b"value"
    assert value_of(store, key_of()) == b"value"


def test_a_near_store_that_is_read_only_is_passed_by() -> None:
    far = DictStore()
    store = TieredStore(ReadOnlyStore(DictStore()), far)

    commit(store, key_of(), b"value")
    store.write_code(key_of(), b"code")
    store.add_hits({key_of(): 1})
    store.flush()

    assert value_of(far, key_of()) == value_of(store, key_of()) == b"value"
    assert not store.is_read_only


def test_a_far_store_that_is_read_only_is_read() -> None:
    inner = DictStore()
    commit(inner, key_of(1), b"theirs")
    store = TieredStore(DictStore(), ReadOnlyStore(inner))

    assert value_of(store, key_of(1)) == b"theirs"
    commit(store, key_of(2), b"mine")
    store.delete(key_of(2))
    store.flush()

    assert digests(inner) == [key_of(1).digest]


def test_both_read_only_is_read_only() -> None:
    read_only = ReadOnlyStore(DictStore())

    assert TieredStore(read_only, read_only).is_read_only


def test_an_entry_is_listed_once() -> None:
    near, far = DictStore(), DictStore()
    commit(near, key_of(1))
    commit(far, key_of(1))
    commit(far, key_of(2))

    assert len(digests(TieredStore(near, far))) == 2


def test_many_entries_are_removed_far_by_one_request() -> None:
    near, far = DictStore(), CountingStore()
    store = TieredStore(near, far)
    for number in range(5):
        commit(store, key_of(number))

    store.delete_many(key_of(number) for number in range(3))

    assert far.removed == [3]
    assert digests(near) == digests(far) == digests(store) != []


def test_limits_are_for_the_near_store() -> None:
    near = DictStore()

    assert TieredStore(near, DictStore()).kept_small is near


def test_hits_of_this_machine_are_not_counted_twice() -> None:
    store = TieredStore(DictStore(), DictStore())

    store.add_hits({key_of(): 2})
    store.far.add_hits({key_of(): 5})  # on other machines

    assert store.hits() == {key_of().path: 7}


def test_it_goes_to_another_process(tmp_path: Path) -> None:
    store = TieredStore(LocalStore(tmp_path), ReadOnlyStore(RemoteStore("memory://a")))

    other = pickle.loads(pickle.dumps(store))

    assert repr(other) == repr(store)


class DownStore(DictStore):
    """One that refuses everything."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def open(self, key: EntryKey) -> None:  # noqa: ARG002
        self._refuse()

    def stage(self, key: EntryKey) -> Staging:  # noqa: ARG002
        return self._refuse()

    def write_code(self, key: EntryKey, content: bytes) -> None:  # noqa: ARG002
        self._refuse()

    def _refuse(self) -> Staging:
        self.asked += 1
        raise StoreError("it is down")


class CountingStore(DictStore):
    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self.removed: list[int] = []  # how many at once

    def delete_many(self, keys: Iterable[EntryKey]) -> None:
        keys = list(keys)
        self.removed.append(len(keys))
        super().delete_many(keys)

    def open(self, key: EntryKey):  # type: ignore[no-untyped-def]
        self.opened += 1
        return super().open(key)


class SlowStore(DictStore):
    """One that takes nothing before it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def stage(self, key: EntryKey) -> Staging:
        self.reached.set()
        assert self.go_on.wait(60)
        return super().stage(key)


def _set_times(path: Path, seconds: float) -> None:
    import os

    os.utime(path, (seconds, seconds))


def _everything_in(folder: Path) -> dict[str, tuple[float, bytes]]:
    return {
        str(path): (path.stat().st_mtime, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }
