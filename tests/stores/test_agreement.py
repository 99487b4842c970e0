"""A `LocalStore` and a `DictStore` that are told the same answer the same."""

from __future__ import annotations

import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cachekit.errors import EntryNotFound
from cachekit.stores import DictStore, EntryKey, LocalStore, Store
from cachekit.stores.base import PIN, VALUE
from tests.stores.entries import FINGERPRINT, OTHER_FINGERPRINT, value_of

functions = st.sampled_from(["analysis.fit", "analysis.<locals>.Fit", "other"])
keys = st.builds(
    EntryKey,
    functions,
    st.sampled_from([FINGERPRINT, OTHER_FINGERPRINT]),
    st.sampled_from(["ab" * 16, "ab" + "cd" * 15, "cd" * 16]),
)
contents = st.binary(max_size=8)
files = st.fixed_dictionaries({VALUE: contents}, optional={"record.json": contents})


def put(
    store: Store, key: EntryKey, content: dict[str, bytes], *, how: str
) -> bool | None:
    with store.stage(key) as staging:
        for name, data in content.items():
            with staging.open(name) as file:
                file.write(data)
        if how == "commit":
            return staging.commit()
        if how == "replace":
            staging.replace()
    return None


class StoresAgree(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.local = LocalStore(self.folder.name)
        self.memory = DictStore()

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule()
    def reopen(self) -> None:
        self.local = LocalStore(self.folder.name)

    @rule(
        key=keys, content=files, how=st.sampled_from(["commit", "replace", "abandon"])
    )
    def write(self, key: EntryKey, content: dict[str, bytes], how: str) -> None:
        expected = put(self.memory, key, content, how=how)

        assert put(self.local, key, content, how=how) == expected

    @rule(key=keys)
    def open(self, key: EntryKey) -> None:
        assert value_of(self.local, key) == value_of(self.memory, key)

    @rule(key=keys, name=st.sampled_from([VALUE, "record.json", PIN, "absent"]))
    def read(self, key: EntryKey, name: str) -> None:
        assert self.local.read(key, name) == self.memory.read(key, name)

    @rule(key=keys)
    def delete(self, key: EntryKey) -> None:
        self.local.delete(key)
        self.memory.delete(key)

    @rule(several=st.lists(keys, max_size=3))
    def delete_many(self, several: list[EntryKey]) -> None:
        self.local.delete_many(several)
        self.memory.delete_many(several)

    @rule(key=keys)
    def pin(self, key: EntryKey) -> None:
        assert can_pin(self.local, key) == can_pin(self.memory, key)

    @rule(key=keys)
    def unpin(self, key: EntryKey) -> None:
        self.local.unpin(key)
        self.memory.unpin(key)

    @rule(function=st.none() | functions)
    def clear(self, function: str | None) -> None:
        self.local.clear(function)
        self.memory.clear(function)

    @rule(key=keys, content=contents)
    def write_code(self, key: EntryKey, content: bytes) -> None:
        self.local.write_code(key, content)
        self.memory.write_code(key, content)

    @rule(key=keys)
    def read_code(self, key: EntryKey) -> None:
        assert self.local.read_code(key) == self.memory.read_code(key)

    @rule(hits=st.dictionaries(keys, st.integers(0, 5), max_size=3))
    def add_hits(self, hits: dict[EntryKey, int]) -> None:
        self.local.add_hits(hits)
        self.memory.add_hits(hits)

    @rule(function=functions)
    def list_one_function(self, function: str) -> None:
        assert listing(self.local, function) == listing(self.memory, function)

    @invariant()
    def entries_agree(self) -> None:
        assert listing(self.local) == listing(self.memory)

    @invariant()
    def hits_agree(self) -> None:
        assert self.local.hits() == self.memory.hits()


def can_pin(store: Store, key: EntryKey) -> bool:
    try:
        store.pin(key)
    except EntryNotFound:
        return False
    return True


def listing(
    store: Store, function: str | None = None
) -> list[tuple[EntryKey, int, bool]]:
    return sorted(
        (info.key, info.size, info.is_pinned) for info in store.entries(function)
    )


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None
)
