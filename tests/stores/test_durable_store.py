"""With ``durable=True`` the disk has an entry before its name, and then its name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cachekit.stores import LocalStore
from tests.stores import test_local_store
from tests.stores.contract import CODE
from tests.stores.entries import FINGERPRINT, commit, digests, key_of, replace

unix_only = pytest.mark.skipif(os.name == "nt", reason="where folders have no sync")


class TestDurableStore(test_local_store.TestLocalStore):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "cache", durable=True)


class Recorder:
    """What was synced and renamed, in order, by the name that it has in the end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._seen: list[int | str] = []
        self._real_rename = os.rename
        monkeypatch.setattr(os, "fsync", self._fsync)
        monkeypatch.setattr(os, "rename", self._rename)

    def _fsync(self, file: int) -> None:
        self._seen.append(os.fstat(file).st_ino)

    def _rename(self, *paths: Path) -> None:
        self._real_rename(*paths)
        self._seen.append("rename")

    def take(self, folder: Path) -> list[str]:
        """Return what was seen since the last time, in a folder and below it."""
        names = {path.stat().st_ino: path.name for path in folder.rglob("*")}
        names[folder.stat().st_ino] = folder.name
        seen = [names.get(i, "?") if isinstance(i, int) else i for i in self._seen]
        self._seen.clear()
        return seen


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


@unix_only
def test_a_durable_store_syncs_before_and_after_each_rename(
    tmp_path: Path, recorder: Recorder
) -> None:
    store = LocalStore(tmp_path / "a" / "store", durable=True)
    above = [key_of().digest[:2], FINGERPRINT, "analysis.fit", "store"]
    entry = [key_of().digest[2:], "rename", *above]

    store.stage(key_of()).discard()
    made = recorder.take(tmp_path)
    commit(store, key_of())
    committed = recorder.take(tmp_path)
    store.write_code(key_of(), CODE)
    described = recorder.take(tmp_path)
    replace(store, key_of(), b"new")
    replaced = recorder.take(tmp_path)
    store.delete(key_of())
    deleted = recorder.take(tmp_path)

    assert made[:2] == ["a", tmp_path.name], "two folders were made"
    assert made[-3:] == ["store.json", "rename", "store"]
    assert sorted(committed[:2]) == ["record.json", "value"]
    assert committed[2:] == entry
    assert described == ["code.json", "rename", *above[1:]]
    # It finds another, renames that away, and then takes its place.
    assert replaced[2:7] == ["rename", *above]
    assert replaced[7:] == ["value", *entry]
    assert deleted == ["rename", "?", *above[1:]], "the first is gone, being empty"


@unix_only
def test_a_store_that_is_not_durable_syncs_nothing(
    tmp_path: Path, recorder: Recorder
) -> None:
    store = LocalStore(tmp_path / "store")

    commit(store, key_of())
    replace(store, key_of(), b"new")
    store.delete(key_of())

    assert set(recorder.take(tmp_path)) == {"rename"}


def test_what_cannot_be_synced_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path / "store", durable=True)
    commit(store, key_of(1))

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "the disk lost it")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk lost it"):
        commit(store, key_of(2))

    assert digests(store) == [key_of(1).digest]
    assert list(store.root.glob(".staging/*")) == []


@unix_only
def test_a_folder_that_comes_back_while_it_is_synced_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path / "store", durable=True)
    commit(store, key_of())

    # Another clears it as it is looked at, and a third makes it again.
    monkeypatch.setattr(Path, "is_dir", lambda path: path.name == ".staging")
    store.delete(key_of())
    monkeypatch.undo()

    assert digests(store) == []
