"""A store is kept within its limits, by itself and when that is asked for."""

from __future__ import annotations

import datetime
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from cachekit import CacheWarning, Memory
from cachekit.stores import EntryKey, LocalStore


def big(x: int) -> bytes:
    return bytes([x % 256]) * 100_000


def entries_of(memory: Memory) -> int:
    assert memory.store is not None
    return sum(1 for _ in memory.store.entries())


def set_last_used(memory: Memory, call: Any, *args: Any, seconds_ago: float) -> None:
    assert isinstance(memory.store, LocalStore)
    key = call._key(call._bind(*args)).entry
    at = time.time() - seconds_ago
    os.utime(memory.store.root / key.path / "value", (at, at))


def test_a_store_stays_near_its_limit_by_itself(tmp_path: Path) -> None:
    memory = Memory(tmp_path, max_bytes="1M")
    cached = memory.cache(big)

    for number in range(100):
        assert cached(number) == big(number)

    assert 5 <= entries_of(memory) <= 11
    assert cached.check_call_in_cache(99)


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({}, 10),
        ({"bytes_limit": "550K"}, 5),
        ({"items_limit": 3}, 3),
        ({"age_limit": datetime.timedelta(hours=13)}, 6),
        ({"age_limit": "12h", "items_limit": 2}, 2),
        ({"bytes_limit": 0}, 0),
    ],
)
def test_what_was_not_used_for_longest_leaves_first(
    limits: dict[str, Any], left: int, tmp_path: Path
) -> None:
    memory = Memory(tmp_path)
    cached = memory.cache(big)
    for number in range(10):
        cached(number)
        set_last_used(memory, cached, number, seconds_ago=(number + 1) * 7200)

    memory.reduce_size(**limits)

    assert entries_of(memory) == left
    assert all(cached.check_call_in_cache(number) for number in range(left))


def test_what_is_slow_to_compute_stays(tmp_path: Path) -> None:
    def work(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    memory = Memory(tmp_path, policy="cost")
    cached = memory.cache(work)
    for seconds in (0.2, 0.0, 0.001):
        cached(seconds)

    memory.reduce_size(items_limit=1)

    assert cached.check_call_in_cache(0.2)
    assert entries_of(memory) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"max_bytes": "a lot"},
        {"max_bytes": -1},
        {"max_bytes": 1.5},
        {"max_entries": -1},
        {"max_entries": 0},
        {"max_entries": 1.5},
        {"max_age": -1},
        {"policy": "random"},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    options: dict[str, Any], tmp_path: Path
) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=rf"^{name}="):
        Memory(tmp_path, **options)


def test_a_limit_may_be_a_whole_number_in_any_form(tmp_path: Path) -> None:
    whole: Any = 1e9

    assert Memory(tmp_path, max_bytes=whole).limits.max_bytes == 10**9


@pytest.mark.parametrize("name", ["bytes_limit", "items_limit", "age_limit"])
def test_a_limit_for_once_is_named_when_it_is_wrong(name: str, tmp_path: Path) -> None:
    limits: dict[str, Any] = {name: "a lot"}
    with pytest.raises(ValueError, match=rf"^{name}='a lot': "):
        Memory(tmp_path).reduce_size(**limits)


def test_limits_go_to_other_processes(tmp_path: Path) -> None:
    memory = Memory(tmp_path, max_bytes="1M", max_age="7d", policy="cost")

    again = pickle.loads(pickle.dumps(memory))

    assert again.limits == memory.limits
    assert tuple(again.limits) == (1 << 20, None, 7 * 86400)
    assert again.policy == "cost"


class Unlistable(LocalStore):
    """A store that cannot be listed."""

    def entries(self, function: str | None = None) -> Any:  # noqa: ARG002
        raise OSError(5, "Input/output error")


def test_a_store_that_cannot_be_kept_small_is_a_warning(tmp_path: Path) -> None:
    cached = Memory(Unlistable(tmp_path), max_entries=1).cache(big)

    with pytest.warns(CacheWarning, match="could not be kept small"):
        results = [cached(number) for number in range(5)]

    assert results == [big(number) for number in range(5)]
    assert cached.check_call_in_cache(0)


def key_of_call(call: Any, *args: Any) -> EntryKey:
    key: EntryKey = call._key(call._bind(*args)).entry
    return key


def test_what_is_pinned_stays_by_itself_and_when_room_is_asked_for(
    tmp_path: Path,
) -> None:
    memory = Memory(tmp_path, max_entries=10)
    cached = memory.cache(big)
    cached(0)
    assert memory.store is not None
    memory.store.pin(key_of_call(cached, 0))
    set_last_used(memory, cached, 0, seconds_ago=1e6)

    for number in range(1, 40):
        cached(number)
    assert entries_of(memory) <= 11
    assert cached.check_call_in_cache(0)

    memory.reduce_size(items_limit=0, age_limit=0)
    assert cached.check_call_in_cache(0)
    assert entries_of(memory) == 1

    memory.store.unpin(key_of_call(cached, 0))
    memory.reduce_size(items_limit=0)
    assert entries_of(memory) == 0


@pytest.mark.parametrize("policy", ["lru", "cost"])
def test_results_of_a_dead_code_version_leave_first(
    tmp_path: Path, policy: Any
) -> None:
    memory = Memory(tmp_path, policy=policy)
    old = memory.cache(lambda x: x + 1)
    new = memory.cache(lambda x: x + 2)
    other = memory.cache(big)
    for call, days_ago in ((old, 3), (new, 1), (other, 300)):
        call(1)
        set_last_used(memory, call, 1, seconds_ago=days_ago * 86400)

    memory.reduce_size(items_limit=2)

    assert not old.check_call_in_cache(1)
    assert new.check_call_in_cache(1)
    assert other.check_call_in_cache(1), "old, but of code that is still in use"


def test_without_a_store_nothing_is_reduced() -> None:
    Memory(None).reduce_size(bytes_limit=0)


def test_what_is_being_read_can_leave(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    cached = memory.cache(big)
    cached(1)
    assert memory.store is not None
    key: EntryKey = cached._key(cached._bind(1)).entry  # type: ignore[union-attr]
    file = memory.store.open(key)
    assert file is not None

    memory.reduce_size(items_limit=0)

    with file:
        assert len(file.read()) > 100_000
    assert cached(1) == big(1)
