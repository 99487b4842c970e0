"""Which entries leave a store that is over its limits, and when it is scanned."""

from __future__ import annotations

import itertools
import math
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cachekit.amounts import parse_age, parse_size
from cachekit.stores import EntryInfo, EntryKey
from cachekit.stores.budget import Budget
from cachekit.stores.eviction import (
    DEAD_AFTER,
    KEEP,
    SHARE,
    Candidate,
    Limits,
    Policy,
    dead_versions,
    to_evict,
)
from tests.stores.entries import key_of

NOW = 1_700_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR

POLICIES: list[Policy] = ["lru", "cost"]

# --- sizes and ages as users write them ---


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500", 500),
        ("500B", 500),
        ("10K", 10 * 1024),
        ("10k", 10 * 1024),
        ("10 MB", 10 * 1024**2),
        ("1.5M", 3 * 512 * 1024),
        ("1.4M", int(1.4 * 1024**2)),
        ("2G", 2 * 1024**3),
        ("2GiB", 2 * 1024**3),
        ("2gib", 2 * 1024**3),
        (" 1T ", 1024**4),
        ("1P", 1024**5),
        ("9007199254740993", 2**53 + 1),
        (500, 500),
        (0, 0),
        (2.5e9, 2_500_000_000),
    ],
)
def test_a_size_is_read(text: float | str, size: int) -> None:
    assert parse_size(text) == size
    assert type(parse_size(text)) is int


@pytest.mark.parametrize(
    "text",
    [
        *("", "K", "fooG", "1.4N", "-1", "-1K", "1e3", "1.K", ".5K", "10iB", "1 2K"),
        *("1_000", "nan", "inf", "\u0661K", "1\u212a", "9" * 400 + ".5", "9" * 5000),
        *(-1, -0.5, math.nan, math.inf, True, None, b"10K", [1]),
    ],
    ids=lambda text: repr(text)[:20],
)
def test_what_is_no_size_is_named_in_the_error(text: object) -> None:
    with pytest.raises(ValueError, match=r"a size has to be .*'2GiB'.*") as raised:
        parse_size(text)  # type: ignore[arg-type]  # on purpose

    assert repr(text) in str(raised.value)


@given(st.integers(0, 10**15), st.sampled_from(["", "K", "M", "G", "T", "P"]))
def test_a_larger_number_is_a_larger_size(number: int, unit: str) -> None:
    assert parse_size(f"{number + 1}{unit}") > parse_size(f"{number}{unit}")


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        (0, 0.0),
        (90, 90.0),
        (0.5, 0.5),
        ("90", 90.0),
        ("90s", 90.0),
        ("30min", 1800.0),
        ("12 h", 12 * HOUR),
        ("1.5d", 36 * HOUR),
        ("2w", 14 * DAY),
        (timedelta(0), 0.0),
        (timedelta(days=1, seconds=1), DAY + 1),
    ],
)
def test_an_age_is_read(age: float | str | timedelta, seconds: float) -> None:
    assert parse_age(age) == seconds
    assert type(parse_age(age)) is float


@pytest.mark.parametrize(
    "age",
    [
        *("", "d", "-1d", "3 months", "5m", "1D", math.nan, math.inf, -1, True, None),
        *(timedelta(seconds=-1), timedelta(microseconds=-1)),
    ],
    ids=repr,
)
def test_what_is_no_age_is_named_in_the_error(age: object) -> None:
    # joblib's tests look for these words.
    with pytest.raises(ValueError, match="has to be a positive timedelta") as raised:
        parse_age(age)  # type: ignore[arg-type]  # on purpose

    assert repr(age) in str(raised.value)


# --- which entries leave ---


def entry(
    number: int,
    *,
    size: int = 100,
    age: float = 0.0,
    seconds: float | None = 1.0,
    is_pinned: bool = False,
    is_stale: bool = False,
) -> Candidate:
    return Candidate(key_of(number), size, NOW - age, seconds, is_pinned, is_stale)


def numbers(keys: Iterable[EntryKey]) -> list[int]:
    return [int(key.digest[::-1], 16) for key in keys]


def evicted(
    entries: Iterable[Candidate],
    limits: Limits,
    policy: Policy = "lru",
    keep: float = 1.0,
) -> list[int]:
    return numbers(to_evict(entries, limits, policy=policy, now=NOW, keep=keep))


def test_the_least_recently_used_leave_first() -> None:
    entries = [entry(1, age=5), entry(2, age=30), entry(3, age=10), entry(4, age=20)]

    assert evicted(entries, Limits(max_bytes=250)) == [2, 4]
    assert evicted(entries, Limits(max_entries=1)) == [2, 4, 3]


def test_entries_leave_down_to_a_part_of_the_limit() -> None:
    entries = [entry(number, age=-number) for number in range(101)]

    assert evicted(entries, Limits(max_entries=100), keep=KEEP) == list(range(11))
    assert evicted(entries, Limits(max_bytes=10_000), keep=KEEP) == list(range(11))


def test_within_the_limit_nothing_leaves_though_it_is_nearly_full() -> None:
    entries = [entry(number) for number in range(100)]

    assert evicted(entries, Limits(10_000, 100), keep=KEEP) == []


@pytest.mark.parametrize("most", range(1, 10))
def test_a_small_number_of_entries_can_be_kept(most: int) -> None:
    entries = [entry(number, age=-number) for number in range(most + 1)]

    left = most + 1 - len(evicted(entries, Limits(max_entries=most), keep=KEEP))

    assert left == most


def test_an_expired_entry_leaves_though_there_is_room() -> None:
    entries = [entry(1, age=10 * DAY), entry(2, age=9 * DAY), entry(3, age=30 * DAY)]

    assert evicted(entries, Limits(max_age=10 * DAY)) == [3, 1]


def test_with_an_age_of_zero_everything_leaves() -> None:
    ahead = entry(2, age=-HOUR)  # written by a host whose clock is ahead

    assert evicted([entry(1), ahead], Limits(max_age=0)) == [1, 2]


def test_expired_then_too_large_then_stale_ones_leave_first() -> None:
    entries = [
        entry(1, age=2 * HOUR),
        entry(2, age=HOUR, is_stale=True),
        entry(3, size=1000, age=0),
        entry(4, age=2 * DAY),
        entry(5, age=0),
    ]

    limits = Limits(max_bytes=900, max_entries=1, max_age=DAY)

    assert evicted(entries, limits) == [4, 3, 2, 1]


def test_only_as_many_stale_ones_leave_as_need_to() -> None:
    entries = [entry(number, age=number, is_stale=number > 2) for number in range(6)]

    assert evicted(entries, Limits(max_entries=5)) == [5]


def test_one_result_too_large_for_the_store_does_not_empty_it() -> None:
    entries = [entry(1, age=DAY), entry(2, age=HOUR), entry(3, size=10_000)]

    assert evicted(entries, Limits(max_bytes=9_999), keep=KEEP) == [3]


def test_one_that_cannot_stay_beside_pinned_ones_does_not_drive_out_others() -> None:
    entries = [entry(1, age=DAY), entry(2, size=500), entry(3, size=500)]
    pinned = entry(4, size=500, is_pinned=True)

    assert evicted([*entries, pinned], Limits(max_bytes=999)) == [2, 3]


def test_pinned_ones_that_fill_the_store_drive_out_all_others() -> None:
    pinned = [entry(number, is_pinned=True, age=DAY) for number in range(3)]

    assert evicted([*pinned, entry(8, age=1), entry(9)], Limits(max_entries=2)) == [
        8,
        9,
    ]


def test_what_took_little_time_for_its_size_leaves_first() -> None:
    entries = [
        entry(1, seconds=3600, size=10**9),
        entry(2, seconds=1, size=10**9),
        entry(3, seconds=1, size=10),
    ]

    assert evicted(entries, Limits(max_entries=0), "cost") == [2, 1, 3]


def test_what_took_long_leaves_when_it_has_not_been_used_for_long() -> None:
    entries = [entry(1, seconds=10, age=100 * DAY), entry(2, seconds=1, age=DAY)]

    assert evicted(entries, Limits(max_entries=1), "cost") == [1]


def test_differences_below_the_exactness_of_a_use_count_for_little() -> None:
    entries = [entry(1, seconds=10, age=HOUR), entry(2, seconds=1, age=1)]

    assert evicted(entries, Limits(max_entries=1), "cost") == [2]


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, -1.0])
def test_unknown_seconds_count_as_the_median(unknown: float | None) -> None:
    entries = [
        entry(1, seconds=1),
        entry(2, seconds=unknown),
        entry(3, seconds=10),
        entry(4, seconds=100),
        entry(5, seconds=9),
    ]

    assert evicted(entries, Limits(max_entries=0), "cost") == [1, 5, 2, 3, 4]


def test_without_any_known_seconds_large_and_old_ones_leave_first() -> None:
    entries = [
        entry(1, size=10, seconds=None),
        entry(2, size=20, seconds=None),
        entry(3, size=10, seconds=None, age=DAY),
    ]

    assert evicted(entries, Limits(max_entries=0), "cost") == [3, 2, 1]


def test_the_policy_is_checked_also_when_nothing_has_to_leave() -> None:
    with pytest.raises(ValueError, match=r"'lru' or 'cost', not 'fifo'"):
        to_evict([], Limits(), policy="fifo", now=NOW)  # type: ignore[arg-type]


# Few different values, so that ties and exact fits are common.
candidates = st.lists(
    st.builds(
        entry,
        st.integers(0, 10**6),
        size=st.sampled_from([0, 0, 1, 10, 100, 1000]) | st.integers(0, 10**12),
        age=st.integers(-2, 10).map(lambda hours: hours * HOUR),
        seconds=st.sampled_from([None, math.nan, -1.0, 0.0, 1.0])
        | st.floats(0, 10**9, allow_subnormal=False),
        is_pinned=st.sampled_from([False, False, False, True]),
        is_stale=st.booleans(),
    ),
    max_size=30,
    unique_by=lambda one: one.key,
)
some_limits = st.builds(
    Limits,
    st.none() | st.integers(0, 3000) | st.integers(0, 10**13),
    st.none() | st.integers(0, 30),
    st.none() | st.integers(0, 10).map(lambda hours: hours * HOUR),
)
policies = st.sampled_from(POLICIES)
parts = st.sampled_from([0.0, 0.5, KEEP, 1.0])


def within(entries: Iterable[Candidate], limits: Limits, part: float = 1.0) -> bool:
    """Tell by the definition, apart from the code."""
    left = list(entries)
    bytes_fit = limits.max_bytes is None or (
        sum(one.size for one in left) <= math.ceil(part * limits.max_bytes)
    )
    entries_fit = limits.max_entries is None or (
        len(left) <= math.ceil(part * limits.max_entries)
    )
    return bytes_fit and entries_fit


def without(entries: Iterable[Candidate], keys: Iterable[EntryKey]) -> list[Candidate]:
    gone = set(keys)
    return [one for one in entries if one.key not in gone]


def is_expired(one: Candidate, limits: Limits) -> bool:
    return limits.max_age is not None and max(0, NOW - one.last_used) >= limits.max_age


@given(candidates, some_limits, policies, parts)
def test_pinned_entries_never_leave_and_none_leaves_twice(
    entries: list[Candidate], limits: Limits, policy: Policy, keep: float
) -> None:
    leaving = to_evict(entries, limits, policy=policy, now=NOW, keep=keep)

    assert len(set(leaving)) == len(leaving)
    assert set(leaving) <= {one.key for one in entries if not one.is_pinned}


@given(candidates, some_limits, policies, parts)
def test_what_is_left_is_within_the_limits_or_pinned(
    entries: list[Candidate], limits: Limits, policy: Policy, keep: float
) -> None:
    leaving = to_evict(entries, limits, policy=policy, now=NOW, keep=keep)

    left = without(entries, leaving)
    has_evicted = any(
        not is_expired(one, limits) for one in entries if one.key in set(leaving)
    )
    assert all(one.is_pinned or not is_expired(one, limits) for one in left)
    assert (
        all(one.is_pinned for one in left)
        or within(left, limits, keep)
        or (not has_evicted and within(left, limits))
    )


@given(candidates, some_limits, policies, parts)
def test_nothing_leaves_without_need(
    entries: list[Candidate], limits: Limits, policy: Policy, keep: float
) -> None:
    leaving = to_evict(entries, limits, policy=policy, now=NOW, keep=keep)

    expired = [
        one.key for one in entries if is_expired(one, limits) and not one.is_pinned
    ]
    assert set(leaving[: len(expired)]) == set(expired)
    if within(without(entries, expired), limits):
        assert len(leaving) == len(expired)
    elif len(leaving) > len(expired):
        assert not within(without(entries, leaving[:-1]), limits, keep)


@given(candidates, st.integers(0, 30), parts)
def test_the_rest_leaves_in_the_order_of_the_last_use(
    entries: list[Candidate], most: int, keep: float
) -> None:
    current = {one.key: one._replace(is_stale=False) for one in entries}

    leaving = to_evict(current.values(), Limits(max_entries=most), now=NOW, keep=keep)

    uses = [current[key].last_used for key in leaving]
    left = [one for one in without(entries, leaving) if not one.is_pinned]
    assert uses == sorted(uses)
    assert all(one.last_used >= use for one in left for use in uses)


@given(candidates, some_limits, policies, parts, st.randoms(use_true_random=False))
def test_the_order_of_the_listing_changes_nothing(
    entries: list[Candidate],
    limits: Limits,
    policy: Policy,
    keep: float,
    chance: random.Random,
) -> None:
    expected = to_evict(entries, limits, policy=policy, now=NOW, keep=keep)
    chance.shuffle(entries)

    again = to_evict(iter(entries), limits, policy=policy, now=NOW, keep=keep)

    assert again == expected


@given(candidates, some_limits, policies, parts)
def test_after_eviction_nothing_more_leaves(
    entries: list[Candidate], limits: Limits, policy: Policy, keep: float
) -> None:
    def choose(those: list[Candidate]) -> list[EntryKey]:
        return to_evict(those, limits, policy=policy, now=NOW, keep=keep)

    assert choose(without(entries, choose(entries))) == []


@given(candidates, st.floats(1, 10))
def test_a_cheaper_entry_never_outlives_a_dearer_one_like_it(
    entries: list[Candidate], factor: float
) -> None:
    one = entry(1, size=100, age=HOUR, seconds=5.0)
    dearer = entry(2, size=100, age=HOUR, seconds=5.0 * factor)
    others = without(entries, [one.key, dearer.key])

    order = evicted([*others, one, dearer], Limits(max_entries=0), "cost")

    assert order.index(1) < order.index(2)


def test_a_key_listed_twice_does_no_harm() -> None:
    twice = [entry(1, seconds=None), entry(1, seconds=1.0)]

    for policy in POLICIES:
        assert evicted(twice, Limits(max_entries=0), policy) == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
def test_a_large_store_is_no_trouble(policy: Policy) -> None:
    many = [entry(number, age=number % 997) for number in range(200_000)]

    leaving = to_evict(
        many, Limits(max_entries=199_999), policy=policy, now=NOW, keep=KEEP
    )

    assert len(leaving) == 200_000 - math.ceil(KEEP * 199_999)


# --- code versions that others have taken the place of ---


def used(
    version: str, days_ago: float, *, function: str = "f", number: int = 0
) -> EntryInfo:
    key = key_of(number, function=function, fingerprint=version)
    return EntryInfo(key, 10, NOW - days_ago * DAY)


@pytest.mark.parametrize(
    ("days_ago", "is_dead"),
    [(0, False), (0.9, False), (1.0, False), (1.04, False), (1.05, True), (400, True)],
)
def test_a_version_dies_when_another_is_used_for_more_than_a_day(
    days_ago: float, is_dead: bool
) -> None:
    dead = dead_versions([used("old", days_ago), used("new", 0)])

    assert dead == ({("f", "old")} if is_dead else set())


def test_a_version_lives_by_the_last_used_of_its_entries() -> None:
    entries = [used("a", 90, number=number) for number in range(3)]
    entries += [used("a", 0.1, number=3), used("b", 0)]

    assert dead_versions(entries) == set()
    assert dead_versions(reversed(entries)) == set()


def test_versions_used_side_by_side_in_turn_all_live() -> None:
    for day in range(10):
        entries = [used("a", day + 0.5 * (day % 2)), used("b", day + 0.4)]

        assert dead_versions(entries) == set()


def test_what_nobody_has_used_for_long_is_not_dead_if_nothing_came_after() -> None:
    assert dead_versions([used("a", 400), used("b", 400.5)]) == set()
    assert dead_versions([used("a", 400)]) == set()
    assert dead_versions([]) == set()


def test_another_function_takes_the_place_of_nothing() -> None:
    entries = [used("a", 30, function="f"), used("b", 0, function="g")]

    assert dead_versions(entries) == set()


def test_two_functions_of_one_fingerprint_die_apart() -> None:
    entries = [
        *(used("a", 30, function="f"), used("b", 0, function="f")),
        *(used("a", 30, function="g"), used("b", 29.5, function="g")),
    ]

    assert dead_versions(entries) == {("f", "a")}


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            used,
            st.sampled_from("abc"),
            st.floats(0, 5),
            function=st.sampled_from("fg"),
        ),
        max_size=12,
    )
)
def test_the_version_used_last_is_alive_and_the_order_means_nothing(
    entries: list[EntryInfo],
) -> None:
    dead = dead_versions(iter(entries))

    assert dead == dead_versions(entries[::-1])
    for function in {info.key.function for info in entries}:
        of_it = [info for info in entries if info.key.function == function]
        latest = max(info.last_used for info in of_it)
        for info in of_it:
            if info.last_used >= latest - DEAD_AFTER:
                assert (function, info.key.fingerprint) not in dead


# --- when to scan ---


def commits_until_due(budget: Budget, size: int = 1, *, now: float = NOW) -> int:
    return next(n for n in itertools.count(1) if budget.add(size, now=now))


def test_without_limits_no_scan_is_ever_due() -> None:
    budget = Budget(Limits())

    assert not any(budget.add(10**18, now=NOW + DAY * day) for day in range(100))


@pytest.mark.parametrize(
    ("limits", "commits"),
    [
        (Limits(max_entries=1000), 101),
        (Limits(max_bytes=10_000), 11),
        (Limits(max_bytes=10_000, max_entries=50), 6),
        (Limits(max_bytes=100), 1),
    ],
)
def test_a_scan_is_due_after_a_tenth_of_the_limit(limits: Limits, commits: int) -> None:
    budget = Budget(limits, first=1.0)

    assert commits_until_due(budget, 100) == commits
    assert commits_until_due(budget, 100) == commits  # also if that scan failed


def test_the_first_scan_is_due_after_a_random_part_of_that() -> None:
    first = {commits_until_due(Budget(Limits(max_entries=10_000))) for _ in range(100)}

    assert len(first) > 20
    assert max(first) <= 1001


def test_the_numbers_of_the_user_stay_as_they_are() -> None:
    state = random.getstate()

    Budget(Limits(max_entries=10)).add(1, now=NOW)

    assert random.getstate() == state


def test_a_scan_is_due_when_the_known_total_passes_the_limit() -> None:
    budget = Budget(Limits(max_entries=1000), first=1.0)

    budget.set(0, 997, now=NOW)

    assert commits_until_due(budget) == 4


def test_pinned_entries_over_the_limit_do_not_make_each_commit_scan() -> None:
    budget = Budget(Limits(max_entries=100_000), first=1.0)

    budget.set(0, 200_000, now=NOW)
    over = commits_until_due(budget)
    budget.set(0, 100_000, now=NOW)
    full = commits_until_due(budget)

    assert over == 10_001
    assert full == 101


@pytest.mark.parametrize("most", [1, 3, 10, 50, 100])
def test_a_process_alone_keeps_a_small_store_within_its_limit(most: int) -> None:
    shared = SharedStore(Limits(max_entries=most), start=0)

    shared.work(1, commits=5 * most + 5)

    assert shared.peak <= most + 1  # that one commit is scanned for at once
    assert shared.entries <= most


def test_with_an_age_a_scan_is_due_when_the_last_is_long_ago() -> None:
    limits = Limits(max_age=10 * DAY)

    assert Budget(limits).add(1, now=NOW)
    assert not Budget(limits, scanned_at=NOW - DAY).add(1, now=NOW)
    assert Budget(limits, scanned_at=NOW - DAY - 1).add(1, now=NOW)
    assert Budget(limits, scanned_at=NOW + 2 * DAY).add(1, now=NOW)  # a wrong clock


def test_with_an_age_a_scan_is_due_once() -> None:
    budget = Budget(Limits(max_age=10 * DAY))

    due = [hour for hour in range(60) if budget.add(1, now=NOW + hour * HOUR)]
    budget.set(1, 1, now=NOW + 70 * HOUR)

    assert due == [0, 25, 50]
    assert not budget.add(1, now=NOW + 94 * HOUR)
    assert budget.add(1, now=NOW + 95 * HOUR)


class SharedStore:
    """A store of equal entries, filled by processes that know nothing of each other."""

    def __init__(self, limits: Limits, *, start: int) -> None:
        assert limits.max_entries is not None
        self.limits = limits
        self.most = limits.max_entries
        self.entries = self.peak = start
        self.scans = 0
        self.chance = random.Random(0)

    def work(self, processes: int, *, commits: int) -> None:
        budgets = [
            Budget(self.limits, first=self.chance.random()) for _ in range(processes)
        ]
        for _ in range(commits):
            for budget in budgets:
                self.entries += 1
                self.peak = max(self.peak, self.entries)
                if budget.add(1, now=NOW):
                    self._scan(budget)

    def _scan(self, budget: Budget) -> None:
        self.scans += 1
        if self.entries > self.most:
            self.entries = math.ceil(KEEP * self.most)
        budget.set(self.entries, self.entries, now=NOW)


@pytest.mark.parametrize("processes", [1, 2, 10, 100])
def test_many_processes_stay_near_the_limit_and_seldom_scan(processes: int) -> None:
    shared = SharedStore(Limits(max_entries=10_000), start=9_000)

    shared.work(processes, commits=50_000 // processes)

    # 50 tenths are committed: about 50 scans, whoever commits them.
    assert shared.scans <= 2 * 50 + processes
    assert shared.peak <= (10_001 if processes == 1 else 16_000)


@pytest.mark.parametrize("commits", [1, 10, 100])
def test_processes_of_a_few_commits_keep_the_store_near_its_limit(commits: int) -> None:
    shared = SharedStore(Limits(max_entries=10_000), start=9_000)

    for _ in range(50_000 // commits):
        shared.work(1, commits=commits)

    assert 20 <= shared.scans <= 100
    assert shared.peak <= 16_000


@given(
    st.lists(st.integers(0, 3000), max_size=200),
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
)
@example([0] * 200, 1, 0.0)
def test_a_process_alone_passes_the_limit_by_no_more_than_a_step(
    sizes: list[int], most: int, first: float
) -> None:
    budget = Budget(Limits(max_bytes=most), first=first)
    total = 0

    for size in sizes:
        total += size
        if budget.add(size, now=NOW):
            total = min(total, math.ceil(KEEP * most)) if total > most else total
            budget.set(total, 1, now=NOW)
        assert total <= most * (1 + SHARE / 100)


def in_threads(work: Callable[[], None], threads: int) -> None:
    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def test_threads_lose_no_commit_and_one_of_them_scans() -> None:
    budget = Budget(Limits(max_entries=1000), first=1.0)
    due: list[int] = []

    in_threads(
        lambda: due.extend(n for n in range(2020) if budget.add(1, now=NOW)), threads=5
    )

    assert len(due) == 5 * 2020 // 101


FORK = """
import os
from cachekit.stores.budget import Budget
from cachekit.stores.eviction import Limits

budget = Budget(Limits(max_entries=10**6), first=1.0)
budget._lock.acquire()  # as another thread would hold it at the wrong moment
for _ in range(8):
    if os.fork() == 0:
        commits = 1
        while not budget.add(1, now=0.0):
            commits += 1
        print(commits, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_each_child_has_a_first_scan_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    first = [int(line) for line in done.stdout.split()]
    assert done.returncode == 0, done.stderr
    assert len(first) == 8
    assert len(set(first)) > 4
    assert max(first) <= 10**5 + 1
