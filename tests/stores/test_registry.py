"""What users write as a location, and the store they get."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from cachekit import Memory
from cachekit.errors import MissingExtra, StoreError
from cachekit.stores import (
    DictStore,
    LocalStore,
    RemoteStore,
    open_store,
    register_store,
    registry,
)
from tests.stores.entries import commit, key_of


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_local_store(tmp_path: Path, kind: type[str] | type[Path]) -> None:
    store = open_store(kind(tmp_path / "cache"))

    assert isinstance(store, LocalStore)
    assert store.location == str(tmp_path / "cache")


def test_a_tilde_is_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert open_store("~/cache").location == str(tmp_path / "cache")


def test_a_relative_path_is_fixed_when_the_store_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("cache")
    (tmp_path / "elsewhere").mkdir()

    monkeypatch.chdir(tmp_path / "elsewhere")

    assert store.location == str(tmp_path / "cache")


def test_opening_a_store_creates_nothing(tmp_path: Path) -> None:
    open_store(tmp_path / "cache")

    assert list(tmp_path.iterdir()) == []


def test_the_hash_version_is_passed_on(tmp_path: Path) -> None:
    store = open_store(tmp_path, hash_version=7)

    commit(store, key_of())

    assert json.loads((tmp_path / "store.json").read_bytes())["hash_version"] == 7


@pytest.mark.parametrize("location", ["memory://cache", "S3://bucket", "sftp://host/a"])
def test_a_scheme_that_fsspec_knows_is_a_remote_store(location: str) -> None:
    store = open_store(location, storage_options={"timeout": 1})

    assert isinstance(store, RemoteStore)
    assert store.location == location


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_a_url_of_this_machine_is_a_local_store(tmp_path: Path, scheme: str) -> None:
    store = open_store(f"{scheme}://{tmp_path}")

    assert isinstance(store, LocalStore)
    assert store.location == str(tmp_path)


@pytest.mark.parametrize("location", ["s3:/bucket/a", Path("s3://bucket/a")])
def test_a_url_with_one_slash_is_no_folder(location: str | Path) -> None:
    with pytest.raises(StoreError, match="with two"):
        open_store(location)


def test_options_for_a_client_that_a_folder_has_not_are_an_error(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match="storage_options"):
        open_store(tmp_path, storage_options={"key": "k"})


def test_a_client_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(registry._EXTRAS, "s3", ("no_such_package", "s3"))

    with pytest.raises(MissingExtra, match=r"pip install 'cachekit-lab\[s3\]'"):
        open_store("s3://bucket")


@pytest.mark.parametrize("location", ["x-y+z://b", "nothing://a/b"])
def test_a_scheme_that_nobody_serves_is_a_store_error(location: str) -> None:
    with pytest.raises(StoreError, match="://"):
        open_store(location)


@pytest.mark.parametrize("location", ["C:\\cache", "C:/cache", "a:b", "odd:"])
def test_a_path_with_a_colon_is_a_path(location: str) -> None:
    assert isinstance(open_store(location), LocalStore)


def test_a_scheme_that_was_made_known_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_factories", {})
    asked = []

    def factory(location: str) -> DictStore:
        asked.append(location)
        return DictStore()

    register_store("memo", factory)
    cached = Memory("MEMO://here/1").cache(abs)

    assert cached(-3) == cached(-3) == 3
    assert cached.check_call_in_cache(-3)
    assert asked == ["MEMO://here/1"]
    assert pickle.loads(pickle.dumps(cached)).check_call_in_cache(-3) is False
    assert asked == ["MEMO://here/1"] * 2


@pytest.mark.parametrize("scheme", ["", "c", "1a", "a b", "a://", None])
def test_what_is_no_scheme_is_refused(scheme: Any) -> None:
    with pytest.raises(ValueError, match="is no scheme"):
        register_store(scheme, lambda _: DictStore())


def test_a_factory_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        register_store("memo", DictStore())  # type: ignore[arg-type]
