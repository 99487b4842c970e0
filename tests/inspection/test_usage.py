"""What takes the room of a store, what it has saved, and what values are made of."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cachekit import Memory, inspection
from cachekit.errors import CorruptedFile, EntryNotFound, UntrustedContent
from cachekit.inspection import Conditions
from cachekit.stores import DictStore, EntryKey, LocalStore, RemoteStore, Store

HOUR, DAY = 3600.0, 86400.0


class CountingStore(LocalStore):
    """A local store that counts what is read of its entries."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads = 0

    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry."""
        self.reads += 1
        return super().read(key, name)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


@pytest.fixture
def memory(store: LocalStore) -> Memory:
    return Memory(store)


@pytest.fixture(params=["dict", "local", "remote"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Give a store in memory, in a folder, and on a filesystem of fsspec."""
    if request.param == "dict":
        yield DictStore()
    elif request.param == "local":
        yield LocalStore(tmp_path / "any")
    else:
        yield RemoteStore(f"memory://{uuid.uuid4().hex}")


def fit(x: int, name: str = "a") -> str:
    time.sleep(0.0001)  # else it may take no time that a record can tell
    return name * x


def plot(x: int) -> int:
    time.sleep(0.0001)
    return -x


def save(memory: Memory) -> None:
    assert memory.store is not None
    memory.counter.save(memory.store)


def age(store: LocalStore, entry: inspection.EntryReport, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(store.root / entry.key.path / "value", (moment, moment))


def arguments(entries: list[inspection.EntryReport]) -> list[str]:
    return [entry.call for entry in entries]


def version(memory: Memory, number: int) -> None:
    """Call a function whose code is another for each number."""

    def scale(x: int) -> int:
        return x * number

    memory.cache(scale)(1)


# --- what is read ---


def test_functions_are_summed_up_from_one_record_of_each_and_those_with_hits(
    store: CountingStore, memory: Memory
) -> None:
    cached = memory.cache(fit)
    for x in range(20):
        cached(x)
    cached(3)
    cached(3)
    memory.cache(plot)(1)
    save(memory)
    store.reads = 0

    reports = inspection.functions(store, order="hits")

    assert [(one.calls, one.hits) for one in reports] == [(20, 2), (1, 0)]
    assert reports[0].seconds_saved > 0
    assert store.reads == 2 + 1


def test_of_a_limited_listing_only_what_is_shown_is_read(
    store: CountingStore, memory: Memory
) -> None:
    for x in range(20):
        memory.cache(fit)(x)
    store.reads = 0

    found = inspection.select(store, ["fit"], order="size", limit=3)

    assert store.reads == 1  # for the function's name
    assert all(entry.record for entry in found)
    assert store.reads == 1 + 3


def test_the_function_of_a_damaged_record_is_told_by_another(
    store: CountingStore, memory: Memory
) -> None:
    name = "analysis.Model.fit"  # whose folder is called otherwise
    first, second = (EntryKey(name, "f" * 32, digit * 32) for digit in "ab")
    for x in (1, 2):
        memory.cache(fit)(x)
    one, two = inspection.entries(store)
    for key, record in ((first, b"[]"), (second, (store.read(one.key, "record.json")))):
        assert record is not None
        with store.stage(key) as staging:
            staging.write("value", b"value")
            staging.write(
                "record.json", record.replace(one.function.encode(), name.encode())
            )
            staging.commit()
    inspection.remove(store, [one, two])

    (report,) = inspection.functions(store)

    assert (report.function, report.calls) == (name, 2)


# --- conditions and order ---


def test_entries_are_chosen_by_size_and_age(
    store: CountingStore, memory: Memory
) -> None:
    for x in (1, 5000):
        memory.cache(fit)(x)
    small, large = inspection.entries(store, order="size")[::-1]
    age(store, small, 3 * DAY)
    age(store, large, 2 * HOUR)

    def chosen(**conditions: Any) -> list[str]:
        return arguments(inspection.entries(store, None, Conditions(**conditions)))

    assert chosen(older_than=DAY) == chosen(smaller_than=5000) == [small.call]
    assert chosen(newer_than=DAY) == chosen(larger_than=4000) == [large.call]
    assert chosen(newer_than=HOUR) == chosen(older_than=4 * DAY) == []
    assert chosen(larger_than=4000, older_than=DAY) == []
    assert chosen(smaller_than=small.size) == chosen(larger_than=large.size) == []


def test_entries_are_chosen_by_their_arguments_in_any_case(
    any_store: Store,
) -> None:
    memory = Memory(any_store)
    for name in ("Alpha", "beta"):
        memory.cache(fit)(1, name)
    any_store.flush()

    found = inspection.entries(any_store, None, Conditions(matching="NAME='alp"))
    (report,) = inspection.functions(any_store, Conditions(matching="alpha"))

    assert arguments(found) == ["x=1, name='Alpha'"]
    assert report.calls == 1
    assert inspection.functions(any_store, Conditions(matching="gamma")) == []


def test_stale_entries_are_those_of_all_versions_but_the_one_used_last(
    store: CountingStore, memory: Memory
) -> None:
    version(memory, 2)
    (first,) = inspection.entries(store)
    age(store, first, HOUR)
    version(memory, 3)
    memory.cache(fit)(1)

    stale = inspection.entries(store, None, Conditions(stale=True))

    assert [entry.key for entry in stale] == [first.key]
    assert inspection.select(store, ["scale"], Conditions(stale=True)) == stale
    assert inspection.select(store, ["fit"], Conditions(stale=True)) == []
    assert inspection.select(store, [first.key.digest], Conditions(stale=True)) == stale
    (report,) = inspection.functions(store, Conditions(stale=True))
    assert report.calls == 1


def test_entries_are_put_in_order(store: CountingStore, memory: Memory) -> None:
    cached = memory.cache(fit)
    for x in (30, 1, 200, 1):
        cached(x)
    save(memory)
    for entry in inspection.entries(store):
        age(store, entry, HOUR * int(entry.call.partition(",")[0][2:]))

    def ordered(order: inspection.Order) -> list[str]:
        found = inspection.entries(store, order=order)
        return [call.partition(",")[0] for call in arguments(found)]

    assert ordered("used") == ordered("size")[::-1] == ["x=1", "x=30", "x=200"]
    assert ordered("name") == ["x=1", "x=200", "x=30"]
    assert ordered("hits")[0] == ordered("saved")[0] == "x=1"
    assert len(inspection.entries(store, order="size", limit=2)) == 2


@pytest.mark.parametrize("order", ["used", "size", "calls", "hits", "saved", "name"])
def test_functions_are_put_in_order(
    store: CountingStore, memory: Memory, order: inspection.Order
) -> None:
    fitted, plotted = memory.cache(fit), memory.cache(plot)
    fitted(1)
    for entry in inspection.entries(store):
        age(store, entry, HOUR)
    for x in (1, 2, 1):
        plotted(x)
    save(memory)

    names = [
        one.function.rpartition(".")[2]
        for one in inspection.functions(store, order=order)
    ]

    assert names == (["fit", "plot"] if order == "name" else ["plot", "fit"])


def test_who_watches_is_given_every_entry(any_store: Store) -> None:
    memory = Memory(any_store)
    for x in range(4):
        memory.cache(fit)(x)
    any_store.flush()
    seen = []

    def watch(found: Any) -> Any:
        for one in found:
            seen.append(one)
            yield one

    for listing in (
        inspection.functions,
        inspection.entries,
        inspection.versions,
        inspection.ages,
        inspection.statistics,
    ):
        seen.clear()
        listing(any_store, watch=watch)
        assert len(seen) == 4


# --- usage ---


def test_versions_tell_which_is_current(store: CountingStore, memory: Memory) -> None:
    version(memory, 2)
    (first,) = inspection.entries(store)
    age(store, first, DAY)
    version(memory, 3)

    versions = {one.fingerprint: one for one in inspection.versions(store)}

    assert len(versions) == 2
    stale = versions.pop(first.key.fingerprint)
    (current,) = versions.values()
    assert (stale.is_stale, current.is_stale) == (True, False)
    assert stale.function == current.function == first.function
    assert (stale.calls, stale.size) == (1, first.size)


def test_a_version_that_is_in_use_again_is_current(
    store: CountingStore, memory: Memory
) -> None:
    version(memory, 2)
    (first,) = inspection.entries(store)
    version(memory, 3)
    for entry in inspection.entries(store):
        age(store, entry, 2 * HOUR)

    version(memory, 2)  # the edit is taken back: a hit

    current = [one for one in inspection.versions(store) if not one.is_stale]
    assert [one.fingerprint for one in current] == [first.key.fingerprint]


def test_entries_are_summed_up_by_age(store: CountingStore, memory: Memory) -> None:
    for x in range(4):
        memory.cache(fit)(x)
    entries = inspection.entries(store)
    for entry, seconds in zip(entries, (0, 2 * HOUR, 40 * DAY, 500 * DAY), strict=True):
        age(store, entry, seconds)

    ages = inspection.ages(store)

    assert {one.used: one.calls for one in ages} == {
        "last hour": 1,
        "last day": 1,
        "last week": 0,
        "last month": 0,
        "last year": 1,
        "older": 1,
    }
    assert sum(one.size for one in ages) == sum(entry.size for entry in entries)


def test_statistics_tell_hits_misses_and_what_was_saved(any_store: Store) -> None:
    memory = Memory(any_store)
    cached = memory.cache(fit)
    for x in (1, 2, 2, 2):
        cached(x)
    any_store.flush()
    save(memory)

    (report,) = inspection.statistics(any_store)

    used = max(inspection.entries(any_store), key=lambda entry: entry.hits)
    assert (report.hits, report.misses, report.hit_rate) == (2, 2, 0.5)
    assert report.seconds_saved == pytest.approx(used.seconds_saved)
    assert report.bytes_saved == 2 * used.size


def test_of_an_empty_store_there_is_nothing_to_tell(any_store: Store) -> None:
    assert not inspection.statistics(any_store)
    assert not inspection.versions(any_store)
    assert sum(one.calls for one in inspection.ages(any_store)) == 0


# --- tables ---


def test_entries_become_a_table(any_store: Store) -> None:
    memory = Memory(any_store)
    for x in (1, 2):
        memory.cache(fit)(x)
    any_store.flush()

    frame = inspection.to_frame(inspection.entries(any_store))

    assert sorted(frame["argument.x"]) == ["1", "2"]
    assert set(frame["function"]) == {f"{__name__}.fit"}
    for name in ("last_used", "started"):
        assert frame[name].dtype.kind == "M"
    assert (frame["size"] > 0).all()


def test_other_reports_become_tables_too(memory: Memory) -> None:
    assert memory.store is not None
    memory.cache(fit)(1)

    for listing in (inspection.functions, inspection.versions, inspection.statistics):
        frame = inspection.to_frame(listing(memory.store))
        assert list(frame["function"]) == [f"{__name__}.fit"]
    assert list(inspection.to_frame(inspection.ages(memory.store))["calls"]) == [
        1,
        *[0] * 5,
    ]
    assert inspection.to_frame([]).empty


def test_without_pandas_it_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(ImportError, match="pip install pandas"):
        inspection.to_frame([])


# --- values ---


def stored(store: Store, value: object, **options: Any) -> EntryKey:
    """Store a value as the result of a call."""

    def make() -> object:
        return value

    Memory(store, **options).cache(make, version=1, track="off")()
    store.flush()
    (info,) = store.entries()
    return info.key


def test_the_outline_of_a_value_has_its_buffers(any_store: Store) -> None:
    key = stored(any_store, {"x": np.zeros(10_000), "y": np.zeros(7000, "i2")})

    outline = inspection.outline(any_store, key)

    assert outline.stream is not None
    assert outline.stream.size > 0
    assert [(one.size, one.stored) for one in outline.buffers] == [
        *((80_000, 80_000), (14_000, 14_000)),
    ]
    assert {one.codec for one in outline.buffers} == {"none"}
    assert outline.items is None


def test_the_outline_of_a_compressed_value_has_both_sizes(store: LocalStore) -> None:
    key = stored(store, np.zeros(100_000), compress=True)

    (buffer,) = inspection.outline(store, key).buffers

    assert buffer.size == 800_000
    assert buffer.stored < 8000
    assert buffer.codec != "none"


def count_to(n: int) -> Iterator[Any]:
    for number in range(n):
        yield np.full(100, number)


def test_items_of_a_generator_are_counted_and_loaded(any_store: Store) -> None:
    assert len(list(Memory(any_store).cache(count_to)(500))) == 500
    any_store.flush()
    (info,) = any_store.entries()

    loaded = inspection.load_value(any_store, info.key, most_items=3)

    assert inspection.outline(any_store, info.key).items == loaded.items == 500
    assert [int(item[0]) for item in loaded.value] == [0, 1, 2]
    assert len(inspection.load_value(any_store, info.key).value) == 500


def test_plain_data_is_loaded_safely(any_store: Store) -> None:
    value = {"a": np.arange(5), "b": pd.DataFrame({"x": [1, 2]}), "c": "größe"}
    key = stored(any_store, value)
    before = any_store.hits()

    loaded = inspection.load_value(any_store, key).value

    assert (loaded["a"] == value["a"]).all()
    pd.testing.assert_frame_equal(loaded["b"], value["b"])  # type: ignore[arg-type]
    assert loaded["c"] == "größe"
    assert any_store.hits() == before


class Trap:
    """What says whether it was unpickled."""

    sprung = 0

    def __reduce__(self) -> Any:
        return (spring, ())


def spring() -> int:
    Trap.sprung += 1
    return Trap.sprung


@pytest.mark.parametrize("as_items", [False, True])
def test_what_is_no_plain_data_is_loaded_only_if_asked_for(
    any_store: Store, as_items: bool
) -> None:
    if as_items:
        list(Memory(any_store).cache(traps)())
        any_store.flush()
        key = next(iter(any_store.entries())).key
    else:
        key = stored(any_store, Trap())
    before = Trap.sprung

    with pytest.raises(UntrustedContent, match="spring"):
        inspection.load_value(any_store, key)
    assert Trap.sprung == before

    inspection.load_value(any_store, key, unsafe=True)
    assert Trap.sprung == before + 1


def traps() -> Iterator[Trap]:
    yield Trap()


def test_a_damaged_or_absent_value_is_told_so(store: LocalStore) -> None:
    key = stored(store, np.zeros(10_000))
    path = store.root / key.path / "value"
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(CorruptedFile):
        inspection.outline(store, key)
    with pytest.raises(CorruptedFile):
        inspection.load_value(store, key)
    store.delete(key)
    with pytest.raises(EntryNotFound):
        inspection.outline(store, key)
    with pytest.raises(EntryNotFound):
        inspection.load_value(store, key)


def test_a_truncated_file_of_items_is_told_so(store: LocalStore) -> None:
    list(Memory(store).cache(count_to)(500))
    (info,) = store.entries()
    path = store.root / info.key.path / "value"
    path.write_bytes(path.read_bytes()[:-1000])

    with pytest.raises(CorruptedFile):
        inspection.outline(store, info.key)


def test_a_memory_tells_what_is_in_its_store(memory: Memory) -> None:
    cached = memory.cache(plot)
    for x in (1, 1, 2):
        cached(x)
    assert memory.store is not None

    entries, stats = memory.entries(), memory.stats()

    assert entries == inspection.entries(memory.store)
    assert sorted(entries.to_frame()["argument.x"]) == ["1", "2"]
    assert memory.entries("no.such") == []
    assert [(one.hits, one.misses) for one in stats] == [(1, 2)]
    assert list(stats.to_frame()["hit_rate"]) == [1 / 3]
    assert [node.calls for node in memory.graph().nodes] == [2]


def test_a_memory_without_a_store_has_nothing_to_tell() -> None:
    memory = Memory(None)

    assert memory.entries() == []
    assert memory.stats() == []
    assert memory.graph().nodes == ()


def test_calls_that_were_computed_are_counted_when_their_results_have_left(
    memory: Memory,
) -> None:
    cached = memory.cache(plot)
    for _ in range(3):
        cached(1)
        cached.forget(1)
    cached(1)
    cached(1)

    (found,) = memory.stats()

    assert (found.hits, found.misses, found.hit_rate) == (1, 4, 1 / 5)
