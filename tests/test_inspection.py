"""What is in a store, as dataclasses."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachekit import Memory, inspection
from cachekit.errors import EntryNotFound
from cachekit.inspection import EntryReport
from cachekit.memoization import Record
from cachekit.stores import DictStore, EntryKey, LocalStore, Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root)


@pytest.fixture
def memory(store: LocalStore) -> Iterator[Memory]:
    memory = Memory(store)
    yield memory
    save_hits(memory)


def save_hits(memory: Memory) -> None:
    """Hand the hits to the store, as the end of the process does."""
    assert memory.store is not None
    memory.counter.save(memory.store)


def fit(x: int) -> int:
    return x


def plot(x: int) -> int:
    return -x


def name_of(function: object) -> str:
    return f"{__name__}.{getattr(function, '__qualname__', '')}"


def folder_of(store: LocalStore, entry: EntryReport) -> Path:
    return store.root / entry.key.path


def age(store: LocalStore, entry: EntryReport, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(folder_of(store, entry) / "value", (moment, moment))


# --- entries ---


def test_an_empty_or_absent_store_holds_nothing(store: LocalStore) -> None:
    assert inspection.entries(store) == []
    assert inspection.functions(store) == []
    assert not store.root.exists()


def test_an_entry_is_reported_with_its_record(
    store: LocalStore, memory: Memory
) -> None:
    memory.cache(fit)(3)

    (entry,) = inspection.entries(store)

    assert entry.record is not None
    assert entry.record.function == name_of(fit)
    assert entry.record.arguments["x"]["repr"] == "3"
    assert entry.key.digest == entry.record.key
    assert entry.size == sum(
        file.stat().st_size for file in folder_of(store, entry).iterdir()
    )
    assert entry.last_used == pytest.approx(time.time(), abs=60)
    assert entry.hits == 0
    assert entry.seconds_saved == 0


def test_hits_and_what_they_saved_are_reported(
    store: LocalStore, memory: Memory
) -> None:
    cached = memory.cache(fit)
    for _ in range(4):
        cached(3)
    save_hits(memory)

    (entry,) = inspection.entries(store)

    assert entry.record is not None
    assert entry.hits == 3
    assert entry.seconds_saved == 3 * entry.record.seconds_computing


def test_entries_come_with_the_last_used_first(
    store: LocalStore, memory: Memory
) -> None:
    cached = memory.cache(fit)
    for x in range(3):
        cached(x)
    for entry in inspection.entries(store):
        assert entry.record is not None
        age(store, entry, seconds=100 * int(entry.record.arguments["x"]["repr"]))

    ordered = inspection.entries(store)

    assert [e.record and e.record.arguments["x"]["repr"] for e in ordered] == [
        *("0", "1", "2")
    ]


def test_the_entries_of_one_function_are_those_of_all_its_versions(
    store: LocalStore, memory: Memory
) -> None:
    def version(number: int) -> None:
        memory.cache(lambda x: x + number)(1)

    version(1)
    version(2)
    memory.cache(fit)(1)

    (name,) = (
        f.function for f in inspection.functions(store) if "lambda" in f.function
    )
    chosen = inspection.select(store, [name])

    assert len({entry.key.fingerprint for entry in chosen}) == 2


# --- functions ---


def test_functions_are_summed_up_with_the_last_used_first(
    store: LocalStore, memory: Memory
) -> None:
    fitted, plotted = memory.cache(fit), memory.cache(plot)
    for call in (fitted, plotted, fitted, plotted):
        call(1)
    plotted(2)
    save_hits(memory)
    for entry in inspection.entries(store):
        assert entry.record is not None
        age(store, entry, seconds=100 if entry.record.function == name_of(fit) else 50)

    plots, fits = inspection.functions(store)

    assert (plots.function, plots.calls, plots.hits) == (name_of(plot), 2, 1)
    assert (fits.function, fits.calls, fits.hits) == (name_of(fit), 1, 1)
    entries = inspection.entries(store)
    assert plots.size + fits.size == sum(entry.size for entry in entries)
    assert plots.last_used == max(entry.last_used for entry in entries)
    assert plots.seconds_saved + fits.seconds_saved == pytest.approx(
        sum(entry.seconds_saved for entry in entries)
    )


def test_a_store_in_memory_is_reported_as_well() -> None:
    memory = Memory(DictStore())
    cached = memory.cache(fit)
    cached(1)
    cached(1)
    save_hits(memory)
    assert memory.store is not None

    (report,) = inspection.functions(memory.store)

    assert (report.function, report.calls, report.hits) == (name_of(fit), 1, 1)
    (entry,) = inspection.select(memory.store, [name_of(fit)])
    assert inspection.find(memory.store, entry.key.path) == entry


# --- find ---


@pytest.fixture
def entry(store: LocalStore, memory: Memory) -> EntryReport:
    memory.cache(fit)(1)
    (entry,) = inspection.entries(store)
    return entry


def test_an_entry_is_found_by_the_first_digits_of_its_key(
    store: LocalStore, entry: EntryReport
) -> None:
    digits = entry.key.digest

    for length in (4, 12, 32):
        assert inspection.find(store, digits[:length]) == entry


def test_an_entry_is_found_by_its_path(store: LocalStore, entry: EntryReport) -> None:
    path = entry.key.path

    for name in (path, f"{path}/", f"{store.location}/{path}"):
        assert inspection.find(store, name) == entry


@pytest.mark.parametrize("name", ["", "a", "abc", "a/b", "/"])
def test_a_name_too_short_for_an_entry_is_told_so(
    store: LocalStore, entry: EntryReport, name: str
) -> None:
    assert entry.hits == 0

    with pytest.raises(EntryNotFound, match=r"too short|no function or entry"):
        inspection.find(store, name)


def test_a_name_of_no_entry_is_told_with_the_place(
    store: LocalStore, entry: EntryReport
) -> None:
    absent = "0000" if not entry.key.digest.startswith("0000") else "1111"

    with pytest.raises(
        EntryNotFound, match=f"no entry of .*{store.root.name}.*{absent}"
    ):
        inspection.find(store, absent)


def test_a_name_of_several_entries_is_told_with_some_of_them() -> None:
    store = DictStore()
    for last in "789":
        stage_one(store, digest="abcdef" + "0" * 25 + last)

    with pytest.raises(EntryNotFound, match="names 3 entries: abcdef0") as caught:
        inspection.find(store, "abcd")

    assert "give more" in str(caught.value)


def stage_one(store: Store, digest: str, function: str = "module.f") -> None:
    with store.stage(EntryKey(function, "f" * 32, digest)) as staging:
        with staging.open("value") as file:
            file.write(b"value")
        staging.commit()


def test_an_unknown_function_is_not_called_too_short(
    store: LocalStore, entry: EntryReport
) -> None:
    assert entry.record is not None

    for name in ("fits", "f", "m.f"):
        with pytest.raises(EntryNotFound, match="function"):
            inspection.select(store, [name])


# --- select and remove ---


def test_a_function_goes_by_the_end_of_its_name(
    store: LocalStore, entry: EntryReport
) -> None:
    assert entry.record is not None
    name = entry.record.function

    for end in (name, name.partition(".")[2], name.rpartition(".")[2]):
        assert entry.key in [found.key for found in inspection.select(store, [end])]


def test_a_whole_name_goes_before_the_end_of_another(store: LocalStore) -> None:
    put(store, "analysis.fit", "1")
    put(store, "deep.analysis.fit", "2")

    (chosen,) = inspection.select(store, ["analysis.fit"])

    assert chosen.key.function == "analysis.fit"
    assert inspection.select(store, ["deep.analysis.fit"]) != [chosen]
    for choose in (
        lambda: inspection.select(store, ["fit"]),
        lambda: inspection.to_prune(store, inspection.Criteria(function="fit")),
    ):
        with pytest.raises(EntryNotFound, match=r"analysis\.fit, deep\.analysis\.fit"):
            choose()


def put(store: LocalStore, function: str, digit: str) -> None:
    key = EntryKey(function, digit * 32, digit * 32)
    record = Record(
        function=function,
        fingerprint=key.fingerprint,
        key=key.digest,
        arguments={},
        started="2026-01-01T00:00:00+00:00",
        seconds_computing=1.0,
        seconds_storing=0.0,
        value_bytes=1,
        host="here",
        python="3.11",
        cachekit="0",
        hash_version=1,
    )
    with store.stage(key) as staging:
        staging.write("value", b".")
        staging.write("record.json", record.to_json())
        staging.commit()


def test_functions_and_entries_are_selected_once_each(
    store: LocalStore, memory: Memory, entry: EntryReport
) -> None:
    memory.cache(fit)(2)
    memory.cache(plot)(1)

    chosen = inspection.select(
        store, [name_of(fit), entry.key.digest[:8], entry.key.path, name_of(fit)]
    )

    assert len(chosen) == 2
    assert entry in chosen


def test_one_wrong_name_selects_nothing(store: LocalStore, entry: EntryReport) -> None:
    with pytest.raises(EntryNotFound):
        inspection.select(store, [entry.key.digest, "nosuchname"])


def test_removing_frees_what_the_entries_took(
    store: LocalStore, memory: Memory, entry: EntryReport
) -> None:
    memory.cache(plot)(1)

    freed = inspection.remove(store, [entry])

    assert freed == entry.size
    assert not folder_of(store, entry).exists()
    (left,) = inspection.functions(store)
    assert left.function == name_of(plot)


def test_removing_twice_is_silent(store: LocalStore, entry: EntryReport) -> None:
    inspection.remove(store, [entry])

    inspection.remove(store, [entry])

    assert inspection.entries(store) == []


def test_a_pin_is_reported(
    store: LocalStore, memory: Memory, entry: EntryReport
) -> None:
    memory.cache(plot)(1)

    inspection.pin(store, [entry])
    assert [e.key for e in inspection.entries(store) if e.is_pinned] == [entry.key]
    assert inspection.find(store, entry.key.digest).is_pinned

    inspection.unpin(store, [entry])
    assert inspection.find(store, entry.key.digest) == entry
    assert not entry.is_pinned


def test_what_was_removed_meanwhile_cannot_be_pinned(
    store: LocalStore, entry: EntryReport
) -> None:
    inspection.remove(store, [entry])

    with pytest.raises(EntryNotFound, match=entry.key.path):
        inspection.pin(store, [entry])
    inspection.unpin(store, [entry])


def test_the_hits_of_many_removed_entries_are_taken_off_at_once(
    store: LocalStore, memory: Memory
) -> None:
    cached = memory.cache(fit)
    for x in (1, 2, 3, 1, 2, 3):
        cached(x)
    save_hits(memory)
    before = len(list(store.root.glob(".stats/*")))

    inspection.remove(store, inspection.entries(store))

    assert store.hits() == {}
    assert len(list(store.root.glob(".stats/*"))) == before + 1


def test_a_removed_call_starts_again_without_hits(
    store: LocalStore, memory: Memory
) -> None:
    cached = memory.cache(fit)
    cached(1)
    cached(1)
    save_hits(memory)
    inspection.remove(store, inspection.entries(store))
    cached(1)

    (entry,) = inspection.entries(store)

    assert entry.hits == 0


# --- damage ---


RECORD_JSON = [
    *(b"", b"{", b"[]", b"3", b"null", b"\xff", b"\0" * 50, b'{"function": "f"}'),
]


@pytest.mark.parametrize("content", RECORD_JSON)
def test_an_entry_with_a_damaged_record_is_listed_without_it(
    store: LocalStore, entry: EntryReport, content: bytes
) -> None:
    (folder_of(store, entry) / "record.json").write_bytes(content)

    (damaged,) = inspection.entries(store)

    assert damaged.record is None
    assert damaged.seconds_saved == 0
    (report,) = inspection.functions(store)
    assert report.function == entry.key.function
    assert inspection.select(store, [report.function]) == [damaged]


def test_an_entry_without_a_record_goes_by_its_name_and_by_that_of_its_folder() -> None:
    store = DictStore()
    name = "analysis.Model.fit"
    stage_one(store, digest="ab" * 16, function=name)
    stage_one(store, digest="cd" * 16, function="analysis.Model.plot")

    (entry,) = inspection.select(store, [name])

    assert entry.key.digest == "ab" * 16
    assert inspection.select(store, [entry.key.function]) == [entry]


def test_an_entry_without_a_record_is_listed_and_removed(
    store: LocalStore, entry: EntryReport
) -> None:
    (folder_of(store, entry) / "record.json").unlink()

    (damaged,) = inspection.entries(store)
    inspection.remove(store, [damaged])

    assert damaged.record is None
    assert inspection.entries(store) == []


def test_a_record_that_cannot_be_read_does_not_stop_the_listing(
    store: LocalStore, entry: EntryReport
) -> None:
    record = folder_of(store, entry) / "record.json"
    record.unlink()
    record.mkdir()  # as good as a file of somebody else

    (damaged,) = inspection.entries(store)

    assert damaged.record is None


@pytest.mark.parametrize(
    "facts", [{"seconds_computing": "long"}, {"arguments": 3}, {"function": None}]
)
def test_a_record_with_a_field_of_another_type_counts_as_damaged(
    store: LocalStore, entry: EntryReport, facts: dict[str, object]
) -> None:
    path = folder_of(store, entry) / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **facts}))

    (damaged,) = inspection.entries(store)

    assert damaged.record is None


def test_an_entry_without_its_value_is_not_listed(
    store: LocalStore, entry: EntryReport
) -> None:
    (folder_of(store, entry) / "value").unlink()

    assert inspection.entries(store) == []


def test_other_things_in_the_folder_are_not_listed(
    store: LocalStore, entry: EntryReport
) -> None:
    (store.root / "notes.txt").write_text("mine")
    (store.root / "data" / "2024" / "05" / "06").mkdir(parents=True)
    (store.root / "data" / "2024" / "05" / "06" / "value").write_text("mine")

    assert inspection.entries(store) == [entry]
