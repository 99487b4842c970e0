"""Any store and a `DictStore` that are told the same answer the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from cachekit.errors import EntryNotFound
from cachekit.stores import (
    DictStore,
    EntryKey,
    LocalStore,
    RemoteStore,
    Store,
    TieredStore,
)
from cachekit.stores.names import PIN, RECORD, VALUE
from tests.stores.entries import FINGERPRINT, OTHER_FINGERPRINT, value_of
from tests.stores.servers import Remote

functions = st.sampled_from(["analysis.fit", "analysis.<locals>.Fit", "other"])
keys = st.builds(
    EntryKey,
    functions,
    st.sampled_from([FINGERPRINT, OTHER_FINGERPRINT]),
    st.sampled_from(["ab" * 16, "ab" + "cd" * 15, "cd" * 16]),
)
contents = st.binary(max_size=8)
files = st.fixed_dictionaries({VALUE: contents}, optional={RECORD: contents})


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
    """Drives the oracle and a store, of which a subclass says how it is opened.

    Each writer of ours writes a record too. Where a record goes before the value, one
    who comes second would add his to an entry without one.
    """

    always_with_record = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.opened = self.open_at(Path(self.folder.name))
        self.memory = DictStore()

    def open_at(self, folder: Path) -> Store:
        raise NotImplementedError

    @property
    def store(self) -> Store:
        """The store, when all that it was told is where it will stay."""
        self.opened.flush()
        return self.opened

    def teardown(self) -> None:
        self.opened.flush()
        self.folder.cleanup()

    @rule()
    def reopen(self) -> None:
        self.opened.flush()
        self.opened = self.open_at(Path(self.folder.name))

    @rule(
        key=keys, content=files, how=st.sampled_from(["commit", "replace", "abandon"])
    )
    def write(self, key: EntryKey, content: dict[str, bytes], how: str) -> None:
        if self.always_with_record:
            content = {RECORD: b"", **content}
        expected = put(self.memory, key, content, how=how)

        assert put(self.store, key, content, how=how) == expected

    @rule(key=keys)
    def open(self, key: EntryKey) -> None:
        assert value_of(self.store, key) == value_of(self.memory, key)

    @rule(key=keys, name=st.sampled_from([VALUE, "record.json", PIN, "absent"]))
    def read(self, key: EntryKey, name: str) -> None:
        assert self.store.read(key, name) == self.memory.read(key, name)

    @rule(key=keys)
    def delete(self, key: EntryKey) -> None:
        self.store.delete(key)
        self.memory.delete(key)

    @rule(several=st.lists(keys, max_size=3))
    def delete_many(self, several: list[EntryKey]) -> None:
        self.store.delete_many(several)
        self.memory.delete_many(several)

    @rule(key=keys)
    def pin(self, key: EntryKey) -> None:
        assert can_pin(self.store, key) == can_pin(self.memory, key)

    @rule(key=keys)
    def unpin(self, key: EntryKey) -> None:
        self.store.unpin(key)
        self.memory.unpin(key)

    @rule(function=st.none() | functions)
    def clear(self, function: str | None) -> None:
        self.store.clear(function)
        self.memory.clear(function)

    @rule(key=keys, content=contents)
    def write_code(self, key: EntryKey, content: bytes) -> None:
        self.store.write_code(key, content)
        self.memory.write_code(key, content)

    @rule(key=keys)
    def read_code(self, key: EntryKey) -> None:
        assert self.store.read_code(key) == self.memory.read_code(key)

    @rule(hits=st.dictionaries(keys, st.integers(0, 5), max_size=3))
    def add_hits(self, hits: dict[EntryKey, int]) -> None:
        self.store.add_hits(hits)
        self.memory.add_hits(hits)

    @rule(function=functions)
    def list_one_function(self, function: str) -> None:
        assert listing(self.store, function) == listing(self.memory, function)

    @invariant()
    def entries_agree(self) -> None:
        assert listing(self.store) == listing(self.memory)

    @invariant()
    def hits_agree(self) -> None:
        assert self.store.hits() == self.memory.hits()


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


def assert_agree(
    open_at: Callable[[Path], Store], *, examples: int, with_record: bool = False
) -> None:
    class Machine(StoresAgree):
        always_with_record = with_record

        def open_at(self, folder: Path) -> Store:
            return open_at(folder)

    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=examples, stateful_step_count=25, deadline=None),
    )


def test_a_folder_agrees() -> None:
    assert_agree(LocalStore, examples=40)


def test_a_remote_folder_agrees() -> None:
    assert_agree(
        lambda folder: RemoteStore(f"memory:/{folder}"), examples=40, with_record=True
    )


def test_tiers_agree() -> None:
    def open_at(folder: Path) -> Store:
        far = RemoteStore(f"memory:/{folder}")
        return TieredStore(LocalStore(folder / "near"), far)

    assert_agree(open_at, examples=25)


@pytest.mark.slow
def test_a_bucket_agrees(moto_s3_server: Remote) -> None:
    def open_at(folder: Path) -> Store:
        return RemoteStore(
            f"{moto_s3_server.url}/{folder.name}", moto_s3_server.options
        )

    assert_agree(open_at, examples=3, with_record=True)


@pytest.mark.slow
def test_a_folder_by_sftp_agrees(sftp_server: Remote) -> None:
    def open_at(folder: Path) -> Store:
        return RemoteStore(f"{sftp_server.url}/{folder.name}", sftp_server.options)

    assert_agree(open_at, examples=3, with_record=True)
