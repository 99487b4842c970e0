"""Reading runs, also where documents are damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.errors import CacheWarning, EntryNotFound
from cachekit.experiments import RunRecord, find_run, remove_run, runs
from cachekit.experiments.documents import write_run
from cachekit.experiments.record import CallRecord, new_id
from cachekit.stores import DictStore, LocalStore

RUN = RunRecord(
    id="20261122-101500-1233f9c",
    name="study",
    status="finished",
    started="2026-11-22T10:15:00.123000+00:00",
    parameters={"alpha": 0.5},
    metrics={"score": 0.25},
    artifacts=[{"path": "a.csv", "absolute": "/a.csv", "bytes": 3, "digest": "ab"}],
    calls=[CallRecord(path="a/b/c/d", function="a", fingerprint="b", key="cd")],
)


@pytest.fixture
def store() -> DictStore:
    store = DictStore()
    write_run(store, RUN)
    write_run(store, replace(RUN, id="20261122-101501-0000001"))
    write_run(store, replace(RUN, id="20261123-101500-0000002"))
    return store


def test_a_record_comes_back(store: DictStore) -> None:
    assert find_run(store, RUN.id) == RUN


def test_the_newest_comes_first(store: DictStore) -> None:
    assert [one.id[:15] for one in runs(store)] == [
        "20261123-101500",
        "20261122-101501",
        "20261122-101500",
    ]


def test_a_later_id_sorts_behind() -> None:
    ids = [new_id(1_700_000_000 + number / 500) for number in range(20)]

    assert ids == sorted(ids)
    assert new_id(0).startswith("19700101-000000-000")


@pytest.mark.parametrize("name", ["20261122-101500", "1233f9c", RUN.id])
def test_a_run_is_found_by_a_part_of_its_id(store: DictStore, name: str) -> None:
    assert find_run(store, name) == RUN


def test_the_last_run_has_a_name(store: DictStore) -> None:
    assert find_run(store, "last").id == "20261123-101500-0000002"


@pytest.mark.parametrize(
    ("name", "text"),
    [("2026112", "names 3 runs"), ("1999", "has no run '1999'"), ("", "has no run ''")],
)
def test_what_names_no_run_or_several_is_an_error(
    store: DictStore, name: str, text: str
) -> None:
    with pytest.raises(EntryNotFound, match=text):
        find_run(store, name)


def test_an_empty_store_has_no_last_run() -> None:
    with pytest.raises(EntryNotFound, match="has no runs"):
        find_run(DictStore(), "last")


def test_a_run_is_removed(store: DictStore) -> None:
    remove_run(store, RUN.id)
    remove_run(store, RUN.id)

    assert len(runs(store)) == 2


DAMAGED: list[Any] = [
    None,
    [],
    {},
    {"format": 2},
    {"metrics": {"score": "high"}},
    {"metrics": 3},
    {"calls": [3]},
    {"calls": [{"path": 1}]},
    {"calls": [{"path": "a"}]},
    {"started": "yesterday"},
    {"artifacts": ["a.csv"]},
    {"artifacts": [{"path": 3}]},
    {"packages": {"numpy": 2}},
    {"git": "none"},
    {"git": {"commit": "--upload-pack=x"}},
    {"git": {"commit": 3}},
    {"git": {"untracked": [1]}},
    {"command": {"original": "python"}},
    {"command": {"environment": {"A": 1}}},
    {"hardware": {"cores": "many"}},
    {"sources": [1]},
    {"id": "20991122-101500-1233f9c"},
    {"name": None},
]


@pytest.mark.parametrize("damage", DAMAGED, ids=repr)
def test_a_damaged_document_is_passed_over_with_a_warning(
    store: DictStore, damage: Any
) -> None:
    facts = json.loads(RUN.to_json())
    content = {**facts, **damage} if damage and isinstance(damage, dict) else damage
    store.write_document(f"runs/{RUN.id}.json", json.dumps(content).encode())

    with pytest.warns(CacheWarning, match="is passed over"):
        found = runs(store)
    with pytest.warns(CacheWarning), pytest.raises(EntryNotFound, match="is damaged"):
        find_run(store, RUN.id)

    assert len(found) == 2


@given(st.binary(max_size=50) | st.integers(0, len(RUN.to_json()) - 1))
def test_bytes_of_any_kind_are_a_record_or_a_value_error(content: bytes | int) -> None:
    if isinstance(content, int):  # cut there
        content = RUN.to_json()[:content]

    with pytest.raises(ValueError):  # noqa: PT011  (of many kinds)
        RunRecord.from_json(content)


def test_fields_of_a_later_version_are_left_out(store: DictStore) -> None:
    facts = {**json.loads(RUN.to_json()), "weather": "fine"}
    store.write_document(f"runs/{RUN.id}.json", json.dumps(facts).encode())

    assert find_run(store, RUN.id) == RUN


def test_other_files_are_no_runs(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_run(store, RUN)
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    (tmp_path / "runs" / f"{new_id()}.json").mkdir()

    with pytest.warns(CacheWarning, match="is passed over"):
        assert runs(store) == [RUN]


def test_a_name_that_leads_elsewhere_removes_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / "mine.json").write_text("{}")

    with pytest.raises(ValueError, match="no place for a document"):
        remove_run(store, "../mine")
