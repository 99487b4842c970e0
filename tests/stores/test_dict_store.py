"""`DictStore` keeps the contract; being the oracle of others, it has to."""

from __future__ import annotations

import pytest

from cachekit.stores import DictStore, EntryKey
from tests.stores.contract import StoreContract
from tests.stores.entries import commit, key_of


class TestDictStore(StoreContract[DictStore]):
    @pytest.fixture
    def store(self) -> DictStore:
        return DictStore()

    def put(self, store: DictStore, key: EntryKey, files: dict[str, bytes]) -> None:
        # There is no way round this store: what it holds is its own.
        with store.stage(key) as staging:
            for name, content in files.items():
                with staging.open(name) as file:
                    file.write(content)
            staging.commit()

    def take(self, store: DictStore, key: EntryKey) -> dict[str, bytes]:
        return store._entries.get(key.path, {})

    def lose(self, store: DictStore, key: EntryKey, name: str) -> None:
        del store._entries[key.path][name]

    def age(self, store: DictStore, key: EntryKey, seconds: float) -> None:
        about, used = store._about[key.path]
        store._about[key.path] = (about, used - seconds)

    def litter(self, store: DictStore) -> list[str]:
        return sorted(set(store._about) - set(store._entries))


def test_it_is_told_apart_from_a_folder() -> None:
    assert DictStore().location == "memory"


def test_two_of_them_share_nothing() -> None:
    one, other = DictStore(), DictStore()

    commit(one, key_of())

    assert list(other.entries()) == []


def test_deleted_entries_take_no_memory() -> None:
    store = DictStore()
    commit(store, key_of())

    store.delete(key_of())

    assert [*store._entries, *store._about] == []
