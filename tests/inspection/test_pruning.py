"""What leaves a store when somebody asks for that, and why."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from cachekit import Memory, inspection
from cachekit.errors import EntryNotFound
from cachekit.inspection import Criteria, EntryReport
from cachekit.stores import DictStore, LocalStore, RemoteStore, Store, TieredStore

DAY = 86400.0


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def fit(x: int) -> int:
    return x


def plot(x: int) -> bytes:
    return b"." * 1000 * x


def fill(store: Store, *, calls: int = 3) -> None:
    memory = Memory(store)
    for x in range(calls):
        memory.cache(fit)(x)
        memory.cache(plot)(x)
    memory.flush()


def entry_of(store: Store, function: str, x: int) -> EntryReport:
    for entry in inspection.entries(store):
        record = entry.record
        assert record is not None
        is_its = record.function == f"{__name__}.{function}"
        if is_its and record.arguments["x"]["repr"] == str(x):
            return entry
    raise LookupError(x)


def age(store: LocalStore, entry: EntryReport, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(store.root / entry.key.path / "value", (moment, moment))


def leaving(store: Store, **criteria: object) -> set[tuple[str, str]]:
    """Return short function and argument of what leaves."""
    chosen = inspection.to_prune(store, Criteria(**criteria))  # type: ignore[arg-type]
    keys = {one.key for one in chosen}
    return {
        (record.function.rpartition(".")[2], record.arguments["x"]["repr"])
        for entry in inspection.entries(store)
        if entry.key in keys and (record := entry.record)
    }


def test_without_criteria_nothing_leaves(store: LocalStore) -> None:
    fill(store)

    assert Criteria().is_empty
    assert inspection.to_prune(store, Criteria()) == []


def test_what_was_not_used_for_long_leaves(store: LocalStore) -> None:
    fill(store)
    age(store, entry_of(store, "fit", 1), 31 * DAY)
    age(store, entry_of(store, "plot", 2), 29 * DAY)

    assert leaving(store, older_than=30 * DAY) == {("fit", "1")}


def test_what_is_large_leaves(store: LocalStore) -> None:
    fill(store)
    limit = entry_of(store, "plot", 1).size

    assert leaving(store, larger_than=limit) == {("plot", "2")}


def test_a_function_named_alone_leaves_whole(store: LocalStore) -> None:
    fill(store)
    whole = {("fit", "0"), ("fit", "1"), ("fit", "2")}

    assert leaving(store, function=f"{__name__}.fit") == whole
    assert leaving(store, function="fit") == whole


def test_a_function_narrows_what_leaves(store: LocalStore) -> None:
    fill(store)
    for name in ("fit", "plot"):
        age(store, entry_of(store, name, 1), 31 * DAY)

    assert leaving(store, older_than=DAY, function="plot") == {("plot", "1")}


@pytest.mark.parametrize("name", ["nosuch", "", "t"])
def test_a_function_that_is_not_there_is_an_error(store: LocalStore, name: str) -> None:
    fill(store)

    with pytest.raises(EntryNotFound, match="no function named"):
        inspection.to_prune(store, Criteria(function=name))


def test_older_code_leaves_and_the_code_used_last_stays(store: LocalStore) -> None:
    memory = Memory(store)

    def version(number: int) -> None:
        memory.cache(lambda x: x + number)(1)

    version(1)
    for entry in inspection.entries(store):
        age(store, entry, DAY)
        old = entry.key
    version(2)
    memory.cache(fit)(1)

    chosen = inspection.to_prune(store, Criteria(stale=True))

    assert [one.key for one in chosen] == [old]
    assert [one.reason for one in chosen] == ["stale"]


def test_code_that_was_gone_back_to_stays(store: LocalStore) -> None:
    memory = Memory(store)

    def version(number: int) -> None:
        memory.cache(lambda x: x + number)(1)

    version(1)
    first = inspection.entries(store)[0]
    age(store, first, 3 * DAY)
    version(2)
    (second,) = (e for e in inspection.entries(store) if e.key != first.key)
    age(store, second, 2 * DAY)

    version(1)  # a hit, which is noted

    chosen = inspection.to_prune(store, Criteria(stale=True))
    assert [one.key for one in chosen] == [second.key]


def test_what_is_expired_goes_by_when_the_call_began(store: LocalStore) -> None:
    fill(store, calls=1)
    later = time.time() + DAY

    young = inspection.to_prune(store, Criteria(expired=2 * DAY), now=later)
    old = inspection.to_prune(store, Criteria(expired=DAY / 2), now=later)

    assert young == []
    assert [one.reason for one in old] == ["expired", "expired"]


def test_what_has_no_record_is_not_known_to_be_expired(store: LocalStore) -> None:
    fill(store, calls=1)
    (store.root / entry_of(store, "fit", 0).key.path / "record.json").unlink()

    assert leaving(store, expired=0.0) == {("plot", "0")}
    assert len(inspection.to_prune(store, Criteria(expired=0.0))) == 1


def test_down_to_a_size_those_leave_that_were_not_used_for_longest(
    store: LocalStore,
) -> None:
    fill(store)
    for name in ("fit", "plot"):
        for x in range(3):
            age(store, entry_of(store, name, x), (3 - x) * DAY)
    size = sum(entry.size for entry in inspection.entries(store))

    chosen = inspection.to_prune(store, Criteria(down_to=size - 1))

    assert [one.reason for one in chosen] == ["room"]
    assert leaving(store, down_to=size) == set()
    assert leaving(store, down_to=size - 1) < {("fit", "0"), ("plot", "0")}
    assert len(leaving(store, down_to=0)) == 6


def test_what_leaves_anyway_makes_room_first(store: LocalStore) -> None:
    fill(store)
    big = entry_of(store, "plot", 2)
    rest = sum(e.size for e in inspection.entries(store)) - big.size

    chosen = inspection.to_prune(
        store, Criteria(larger_than=big.size - 1, down_to=rest)
    )

    assert [(one.key, one.reason) for one in chosen] == [(big.key, "large")]


@pytest.mark.parametrize(
    "criteria",
    [
        Criteria(older_than=0.0),
        Criteria(larger_than=0),
        Criteria(down_to=0),
        Criteria(expired=0.0),
        Criteria(function="fit"),
    ],
)
def test_what_is_pinned_stays(store: LocalStore, criteria: Criteria) -> None:
    fill(store)
    for entry in inspection.entries(store):
        age(store, entry, DAY)
    pinned = entry_of(store, "fit", 1)
    store.pin(pinned.key)

    chosen = inspection.to_prune(store, criteria)

    assert chosen
    assert pinned.key not in {one.key for one in chosen}


@pytest.mark.parametrize("kind", ["local", "memory", "bucket"])
def test_what_was_chosen_is_removed_with_its_hits(tmp_path: Path, kind: str) -> None:
    store: Store
    if kind == "local":
        store = LocalStore(tmp_path / "store")
    elif kind == "memory":
        store = DictStore()
    else:
        store = RemoteStore(f"memory://{tmp_path.name}-pruning")
    memory = Memory(store)
    for _ in range(3):
        memory.cache(fit)(1)
        memory.cache(plot)(1)
    memory.counter.save(store)
    chosen = inspection.to_prune(store, Criteria(function="fit"))

    freed = inspection.prune(store, chosen)

    assert freed == sum(one.size for one in chosen) > 0
    (left,) = inspection.entries(store)
    assert left.record is not None
    assert left.record.function == f"{__name__}.plot"
    assert store.hits() == {left.key.path: 2}
    assert inspection.prune(store, chosen) == freed  # of no harm when they are gone


def test_what_leaves_is_summed_up_by_function_and_reason(store: LocalStore) -> None:
    fill(store)
    age(store, entry_of(store, "fit", 1), DAY)
    limit = entry_of(store, "plot", 0).size

    chosen = inspection.to_prune(store, Criteria(older_than=3600.0, larger_than=limit))
    reports = inspection.sum_up_pruned(store, chosen)

    assert [(report.function, report.reason, report.calls) for report in reports] == [
        (f"{__name__}.plot", "large", 2),
        (f"{__name__}.fit", "unused", 1),
    ]
    assert sum(report.size for report in reports) == sum(one.size for one in chosen)


def test_what_is_pinned_or_used_far_away_stays_there(tmp_path: Path) -> None:
    near, far = LocalStore(tmp_path / "near"), LocalStore(tmp_path / "far")
    both = TieredStore(near, far)
    fill(both, calls=3)
    for x in range(3):
        for function in ("fit", "plot"):
            age(near, entry_of(near, function, x), 90 * DAY)
            age(far, entry_of(far, function, x), 90 * DAY)
    far.pin(entry_of(far, "fit", 0).key)
    age(far, entry_of(far, "fit", 1), 0)

    assert leaving(both, older_than=30 * DAY, function=f"{__name__}.fit") == {
        ("fit", "2")
    }


def test_a_version_that_was_taken_up_again_within_the_hour_stays(
    tmp_path: Path,
) -> None:
    def by(factor: int) -> Any:
        def fit(x: int) -> int:
            return factor * x

        return fit

    store = LocalStore(tmp_path / "again")
    for factor in (2, 3, 2):  # an edit that was taken back
        memory = Memory(store)
        memory.cache(by(factor))(1)
        memory.counter.save(store)

    leaving = inspection.to_prune(store, Criteria(stale=True))

    assert len(leaving) == 1
    assert leaving[0].key.fingerprint != Memory(store).cache(by(2)).fingerprint()
