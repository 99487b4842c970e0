"""Over a service too, one host computes and the others wait, unless that is in vain.

What is a matter of processes is done by processes, on a server; the rest on files in
memory, where another host is a lease that it has left there, and a minute is none.
"""

from __future__ import annotations

import _thread
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cachekit import Memory
from cachekit.errors import StoreError
from cachekit.stores import (
    EntryKey,
    LocalStore,
    RemoteStore,
    TieredStore,
    background,
    sending,
)
from cachekit.stores import client as client_module
from cachekit.stores import remote_leases as leases_module
from cachekit.stores.base import Staging
from cachekit.stores.client import Client
from cachekit.stores.flights import SingleFlight
from cachekit.stores.leases import Heart, Holder
from cachekit.stores.remote_leases import ServiceLeases
from cachekit.stores.service import Service
from tests.stores.entries import commit, key_of
from tests.stores.faulty import FaultyFileSystem
from tests.stores.servers import Remote

URL = "s3://bucket/store"
ANOTHER = b"elsewhere 1 2 ab-0"
LONG = 30.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def fs() -> Iterator[FaultyFileSystem]:
    filesystem = FaultyFileSystem()
    with filesystem.standing_for("s3"):  # which can refuse to write what exists
        yield filesystem


@pytest.fixture
def store(fs: FaultyFileSystem) -> RemoteStore:
    return at(fs)


def at(fs: FaultyFileSystem) -> RemoteStore:
    """Return a store that is prepared."""
    store = RemoteStore(URL, fs.options)
    store.stage(key_of()).discard()
    fs.requests.clear()
    return store


@pytest.fixture(params=["plain", "near"])
def memory(
    request: pytest.FixtureRequest, store: RemoteStore, tmp_path: Path
) -> Memory:
    is_plain = request.param == "plain"
    return Memory(store if is_plain else TieredStore(LocalStore(tmp_path), store))


class Clock:
    """Stands for `time`: to sleep is to be later at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.then: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.then()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases_module, "time", clock)
    return clock


def lease_of(fs: FaultyFileSystem, name: str) -> bytes:
    content: bytes = fs.inner.cat_file(f"/bucket/store/.leases/{name}")
    return content


def leave_lease(fs: FaultyFileSystem, name: str, text: bytes = ANOTHER) -> None:
    fs.inner.pipe_file(f"/bucket/store/.leases/{name}", text)


def take_lease(fs: FaultyFileSystem, name: str) -> None:
    fs.inner.rm_file(f"/bucket/store/.leases/{name}")


def leases_left(fs: FaultyFileSystem) -> list[str]:
    found = fs.inner.find("/bucket/store/.leases")
    return [path.rpartition("/")[2] for path in found]


def leases_at_rest(fs: FaultyFileSystem) -> list[str]:
    """Return those that are left when all is done that goes on."""
    for _ in range(2):  # what is sent gives back leases
        assert background_rests(LONG)
    return leases_left(fs)


def background_rests(seconds: float) -> bool:
    """Wait until nothing is left to do, for so long at most."""
    return all(one.wait(seconds) for one in list(background._all))


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def all_warnings() -> Iterator[list[str]]:
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield told
    told += [str(warning.message) for warning in caught]


@contextmanager
def ended_in(seconds: float) -> Iterator[None]:
    """Fail if what is done here takes longer, which may be for ever."""
    late = threading.Timer(seconds, _thread.interrupt_main)
    late.start()
    try:
        yield
    except KeyboardInterrupt:
        pytest.fail(f"it took more than {seconds} s")
    finally:
        late.cancel()


def nothing() -> int | None:
    return None


def twice(number: int) -> int:
    return 2 * number


# --- how many requests ---


def test_a_miss_with_a_lease_is_five_requests(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    double = Memory(store).cache(twice)
    double(1)
    assert leases_at_rest(fs) == []
    fs.requests.clear()

    double(2)

    assert leases_at_rest(fs) == []
    assert fs.requests == {"cat_file": 1, "pipe_file": 3, "rm_file": 1}


def test_who_does_not_wait_makes_no_request_for_a_lease(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    double = Memory(store, on_conflict="compute").cache(twice)
    double(1)
    fs.requests.clear()

    double(2)

    assert leases_at_rest(fs) == []
    assert fs.requests == {"cat_file": 1, "pipe_file": 2}


def test_who_waits_looks_seldom(
    fs: FaultyFileSystem, store: RemoteStore, clock: Clock
) -> None:
    leave_lease(fs, "key")
    before = clock.now

    with store.flights.turn("key", nothing):
        waited = clock.now - before

    assert fs.requests["cat_file"] <= waited / leases_module.LONGEST_PAUSE + 10
    assert leases_at_rest(fs) == []


def test_of_waiting_threads_one_looks(
    fs: FaultyFileSystem, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(leases_module, "FIRST_PAUSE", 0.01)
    leave_lease(fs, "key")
    who: list[int] = []
    text_at = leases_module._text_at

    def look(*place: Any) -> bytes | None:
        who.append(threading.get_ident())
        return text_at(*place)

    monkeypatch.setattr(leases_module, "_text_at", look)

    def work(_: int) -> None:
        with Memory(store).store.flights.turn("key", nothing):  # type: ignore[union-attr]
            pass

    with ThreadPoolExecutor(4) as pool:
        done = pool.map(work, range(4))
        until(lambda: len(who) > 20)
        take_lease(fs, "key")
        list(done)

    assert len(set(who)) == 1


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("text", [b"", b"nonsense", b"a b c d", b"\0\xff" * 300])
def test_a_damaged_lease_is_taken_over_without_haste(
    fs: FaultyFileSystem, store: RemoteStore, text: bytes
) -> None:
    leave_lease(fs, "key", text)

    with ended_in(LONG), store.flights.turn("key", nothing) as turn:
        assert turn.hit is None
        assert len(lease_of(fs, "key")) > 0

    assert fs.requests["cat_file"] < 60
    assert leases_at_rest(fs) == []


def test_who_waits_near_looks_far_more_and_more_seldom(
    fs: FaultyFileSystem,
    store: RemoteStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "ABSENT_SECONDS", 0.05)
    tiered = TieredStore(LocalStore(tmp_path), store)
    key = key_of()
    (tmp_path / ".leases").mkdir()
    (tmp_path / ".leases" / key.lease).write_bytes(ANOTHER)

    with tiered.flights.turn(key.lease, lambda: tiered.open(key), timeout=1.0) as turn:
        assert turn.hit is None

    assert 1 <= fs.requests["cat_file"] < 10


# --- who is followed, and when ---


def test_one_of_another_host_that_is_silent_is_followed(
    fs: FaultyFileSystem, store: RemoteStore, clock: Clock
) -> None:
    leave_lease(fs, "key")
    before = clock.now

    with store.flights.turn("key", nothing) as turn:
        assert turn.hit is None
        assert lease_of(fs, "key") != ANOTHER

    assert clock.now - before > leases_module.SILENT_SECONDS
    assert leases_at_rest(fs) == []


def test_one_of_another_host_that_beats_is_not_followed(
    fs: FaultyFileSystem, store: RemoteStore, clock: Clock
) -> None:
    leave_lease(fs, "key")
    end = clock.now + 20 * leases_module.SILENT_SECONDS
    beats = 0
    results: list[int] = []

    def beat() -> None:
        nonlocal beats
        assert lease_of(fs, "key").startswith(ANOTHER)
        if clock.now > end:
            results.append(7)
            take_lease(fs, "key")
            clock.then = lambda: None
        elif clock.now > 1000 + beats * leases_module.BEAT_SECONDS:
            beats += 1
            leave_lease(fs, "key", b"%s+%d" % (ANOTHER, beats))

    clock.then = beat

    turn = store.flights.turn("key", lambda: results[0] if results else None)

    assert turn.hit == 7
    assert beats > 50


def test_a_lease_is_shown_again_and_again(
    fs: FaultyFileSystem, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "heart", Heart(0.01))

    with store.flights.turn("key", nothing):
        texts = {lease_of(fs, "key")}

        def is_another() -> bool:
            texts.add(lease_of(fs, "key"))
            return len(texts) == 4

        until(is_another)

    assert leases_at_rest(fs) == []


def test_a_lease_that_another_has_taken_is_left_to_him(
    fs: FaultyFileSystem, store: RemoteStore, clock: Clock
) -> None:
    turn = store.flights.turn("key", nothing)
    clock.now += leases_module.SILENT_SECONDS
    leave_lease(fs, "key")

    with turn:
        pass

    assert leases_at_rest(fs) == ["key"]
    assert lease_of(fs, "key") == ANOTHER


def test_a_beat_leaves_the_lease_of_another_alone(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    lease = ServiceLeases(store._service).acquire("key")
    assert lease is not None
    leave_lease(fs, "key")

    lease.beat()

    assert lease_of(fs, "key") == ANOTHER


@pytest.mark.parametrize("method", ["cat_file", "pipe_file"])
def test_a_beat_at_the_end_does_not_bring_a_lease_back(
    fs: FaultyFileSystem, store: RemoteStore, method: str
) -> None:
    lease = ServiceLeases(store._service).acquire("key")
    assert lease is not None
    beating = threading.Thread(target=lease.beat)

    with fs.fault("hang", method=method) as fault:
        beating.start()
        assert fault.reached.wait(LONG)
        lease.release()
        background_rests(0.2)  # it may not remove anything now
        fault.release.set()
        beating.join()
    lease.beat()

    assert leases_at_rest(fs) == []


def test_one_who_gets_a_lease_whose_answer_was_lost_does_not_wait_for_himself(
    fs: FaultyFileSystem, store: RemoteStore, clock: Clock
) -> None:
    with (
        fs.fault("lost_ack", method="pipe_file", times=1) as fault,
        store.flights.turn("key", nothing) as turn,
    ):
        assert turn.hit is None
        assert leases_left(fs) == ["key"]

    assert fault.reached.is_set()
    assert clock.now == 1000.0
    assert leases_at_rest(fs) == []


def test_one_who_fails_and_tries_again_does_not_wait_for_himself(
    fs: FaultyFileSystem, tmp_path: Path, store: RemoteStore
) -> None:
    memory = Memory(TieredStore(LocalStore(tmp_path), store))
    tries: list[int] = []

    def fail_once() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("this time")
        return 7

    cached = memory.cache(fail_once, track="off")
    with ended_in(LONG), fs.fault("hang", method="rm_file"):
        with pytest.raises(ValueError, match="this time"):
            cached()
        assert cached() == 7

    assert leases_at_rest(fs) == []


# --- when two follow ---


def test_of_many_who_see_a_lease_lost_one_computes(
    fs: FaultyFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each thread is a host of its own here."""
    monkeypatch.setattr(
        leases_module,
        "who_am_i",
        lambda _: b"elsewhere%d 5 6 ab-" % threading.get_ident(),
    )
    for name, seconds in (("FIRST_PAUSE", 0.002), ("LONGEST_PAUSE", 0.002)):
        monkeypatch.setattr(leases_module, name, seconds)
    monkeypatch.setattr(leases_module, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(leases_module, "heart", Heart(0.05))
    text_at = leases_module._text_at

    def seen_late(*place: Any) -> bytes | None:
        text = text_at(*place)
        time.sleep(0.02)
        return text

    monkeypatch.setattr(leases_module, "_text_at", seen_late)
    hosts, rounds = 6, 4
    computed = 0

    for number in range(rounds):
        name = f"key{number}"
        leave_lease(fs, name)
        results: list[int] = []
        together = threading.Barrier(hosts)

        def host(
            _: int,
            name: str = name,
            results: list[int] = results,
            together: threading.Barrier = together,
        ) -> None:
            nonlocal computed
            service = Service(Client(URL, fs.options, timeout=LONG))
            flights = SingleFlight(ServiceLeases(service))
            together.wait()
            look_up = lambda: results[0] if results else None  # noqa: E731
            with flights.turn(name, look_up) as turn:
                if turn.hit is None:
                    computed += 1
                    time.sleep(0.05)
                    results.append(7)

        with ThreadPoolExecutor(hosts) as pool:
            list(pool.map(host, range(hosts)))

    assert computed == rounds
    assert leases_at_rest(fs) == []


def test_a_new_owner_is_left_alone_by_one_who_looked_before(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    leave_lease(fs, "key", b"elsewhere 1 2 new-0")

    ServiceLeases(store._service)._take_away(".leases/key", ANOTHER)

    assert leases_left(fs) == ["key"]


def test_a_lost_lease_that_another_removes_is_left_to_him(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    leases = ServiceLeases(store._service)
    leave_lease(fs, "key")

    with fs.fault("hang", method="rm_file", times=1) as fault:
        first = threading.Thread(
            target=leases._take_away, args=[".leases/key", ANOTHER]
        )
        first.start()
        assert fault.reached.wait(LONG)
        assert not leases._take_away(".leases/key", ANOTHER)
        fault.release.set()
        first.join()

    assert leases_left(fs) == []


@pytest.mark.usefixtures("clock")
def test_one_who_died_at_taking_over_is_not_waited_for_for_ever(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    leases = ServiceLeases(store._service)
    leave_lease(fs, "key")
    with fs.fault("dead", method="cat_file"), suppress(StoreError):
        leases._take_away(".leases/key", ANOTHER)
    for path in leases_left(fs):
        if path != "key":
            leave_lease(fs, path, b"")
    assert len(leases_left(fs)) == 2, "a claim was to be left"

    with ended_in(LONG), at(fs).flights.turn("key", nothing) as turn:
        assert turn.hit is None


# --- how it is given back ---


def test_a_lease_is_kept_until_the_result_is_far(
    fs: FaultyFileSystem, store: RemoteStore, tmp_path: Path
) -> None:
    memory = Memory(TieredStore(LocalStore(tmp_path), store))
    check_that_it_is_kept_until_sent(fs, memory)


def test_a_second_store_in_one_place_keeps_its_leases_too(
    fs: FaultyFileSystem, store: RemoteStore, tmp_path: Path
) -> None:
    first = TieredStore(LocalStore(tmp_path), store)
    second = TieredStore(LocalStore(tmp_path), at(fs))
    assert first.flights is second.flights

    check_that_it_is_kept_until_sent(fs, Memory(second))


def check_that_it_is_kept_until_sent(fs: FaultyFileSystem, memory: Memory) -> None:
    with ExitStack() as faults:

        def compute() -> int:
            assert len(leases_left(fs)) == 1
            fault = fs.fault("hang", method="pipe_file")
            hanging.append(faults.enter_context(fault))
            return 7

        hanging: list[Any] = []
        assert memory.cache(compute, track="off")() == 7
        assert hanging[0].reached.wait(LONG)

        # As long as it takes: it must not be given back by then.
        background_rests(0.2)
        assert len(leases_left(fs)) == 1

        hanging[0].release.set()
        assert leases_at_rest(fs) == []


def test_a_slow_upload_keeps_no_other_lease(
    fs: FaultyFileSystem, store: RemoteStore, tmp_path: Path
) -> None:
    tiered = TieredStore(LocalStore(tmp_path), store)

    def compute(number: int) -> None:
        with tiered.flights.turn(key_of(number).lease, nothing):
            commit(tiered, key_of(number))

    with store_hanging_at(store, key_of(0)) as release:
        for number in range(8):
            compute(number)

        until(lambda: leases_left(fs) == [key_of(0).lease])
        release.set()

    assert leases_at_rest(fs) == []


@contextmanager
def store_hanging_at(store: RemoteStore, key: EntryKey) -> Iterator[threading.Event]:
    """Let the store write all but this entry, until the event is set."""
    release = threading.Event()
    stage = store.stage

    def hang(key_: EntryKey) -> Staging:
        if key_ == key:
            assert release.wait(LONG)
        return stage(key_)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "stage", hang)
        try:
            yield release
        finally:
            release.set()


def test_one_who_has_waited_finds_the_result_of_another(
    fs: FaultyFileSystem, store: RemoteStore, tmp_path: Path
) -> None:
    first = TieredStore(LocalStore(tmp_path / "near"), store)
    second = TieredStore(LocalStore(tmp_path / "near"), at(fs))
    assert first.flights is second.flights
    elsewhere = TieredStore(LocalStore(tmp_path / "elsewhere"), at(fs))
    double = Memory(second).cache(twice)
    theirs = Memory(elsewhere, on_conflict="compute").cache(twice)
    take = leases_module.ServiceLeases.acquire
    taken: list[int] = []

    def acquire(leases: ServiceLeases, name: str) -> Any:
        if not taken:  # it is had by another, who is done before the first look
            taken.append(theirs(2))
            elsewhere.flush()
            fs.requests.clear()
            return None
        return take(leases, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases_module.ServiceLeases, "acquire", acquire)
        assert double(2) == 4

    assert taken == [4]
    assert fs.requests["pipe_file"] == 0, "it was computed again"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_lease_is_given_back_when_the_function_fails(
    fs: FaultyFileSystem, memory: Memory, error: type[BaseException]
) -> None:
    def fail() -> None:
        assert len(leases_left(fs)) == 1
        raise error

    with pytest.raises(error):
        memory.cache(fail, track="off")()

    assert leases_at_rest(fs) == []


def test_a_lease_is_given_back_when_the_result_cannot_be_stored(
    fs: FaultyFileSystem, memory: Memory
) -> None:
    def compute() -> Any:
        return threading.Lock()

    with pytest.warns(match="could not be stored"):
        memory.cache(compute, track="off")()

    assert leases_at_rest(fs) == []


@pytest.mark.parametrize("taken", [False, True])
def test_a_lease_that_is_interrupted_is_given_back_if_it_was_had(
    fs: FaultyFileSystem,
    memory: Memory,
    monkeypatch: pytest.MonkeyPatch,
    taken: bool,
) -> None:
    in_time = client_module._in_time

    def interrupted(
        request: Callable[[], Any], seconds: float, verb: str, **how: bool
    ) -> Any:
        if verb != "pipe_file":
            return in_time(request, seconds, verb, **how)
        monkeypatch.undo()
        with suppress(FileExistsError):
            in_time(request, seconds, verb, **how)
        raise KeyboardInterrupt

    assert memory.store is not None
    if taken:
        leave_lease(fs, "key")
    monkeypatch.setattr(client_module, "_in_time", interrupted)

    with pytest.raises(KeyboardInterrupt):
        memory.store.flights.turn("key", nothing)

    assert leases_at_rest(fs) == ["key"] * taken


# --- without leases ---


def test_where_nothing_can_be_refused_there_are_no_leases(fs: FaultyFileSystem) -> None:
    with fs.standing_for("sftp"), all_warnings() as told:
        store = RemoteStore("sftp://host/store", fs.options)
        double = Memory(store).cache(twice)
        double(1)
        fs.requests.clear()

        assert double(2) == 4

    assert fs.inner.find("/host/store/.leases") == []
    assert fs.requests["rm_file"] == 0
    assert told == []


def test_a_service_that_was_seen_to_overwrite_has_no_leases(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    store._service.ignores_new = True
    leave_lease(fs, "key")

    with store.flights.turn("key", nothing) as turn:
        assert turn.hit is None
        assert lease_of(fs, "key") == ANOTHER

    assert fs.requests == {}


def test_a_service_that_refuses_all_that_is_new_is_not_asked_for_ever(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    with (
        ended_in(LONG),
        fs.fault("precondition_failed", method="pipe_file"),
        store.flights.turn("key", nothing) as turn,
    ):
        assert turn.hit is None

    assert fs.requests["pipe_file"] < 100


@pytest.mark.parametrize("kind", ["read_only", "dead"])
def test_what_a_lease_lost_is_told_once(
    fs: FaultyFileSystem, memory: Memory, kind: Any
) -> None:
    double = memory.cache(twice)

    with fs.fault(kind, method="pipe_file"), all_warnings() as told:
        assert [double(number) for number in (1, 2, 3, 1)] == [2, 4, 6, 2]
        memory.flush()

    assert len(told) == 1, told


def test_what_a_beat_lost_is_told_once(
    fs: FaultyFileSystem, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "heart", Heart(0.01))
    double = memory.cache(twice)

    with ExitStack() as faults:

        def compute() -> int:
            fault = faults.enter_context(fs.fault("dead"))
            assert fault.reached.wait(LONG)
            time.sleep(0.1)
            return 7

        with all_warnings() as told:
            assert memory.cache(compute, track="off")() == 7
            assert [double(number) for number in (1, 2, 1)] == [2, 4, 2]
            memory.flush()

    assert len(told) == 1, told


def test_what_was_lost_while_waiting_is_told_once(
    fs: FaultyFileSystem, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_end = ServiceLeases._wait_for_end
    double = memory.cache(twice)
    key = double._key(double._bind(2)).entry  # type: ignore[union-attr]
    leave_lease(fs, key.lease)

    with ExitStack() as faults:

        def and_then_die(*how: Any) -> bool:
            take_lease(fs, key.lease)
            is_over = wait_for_end(*how)
            faults.enter_context(fs.fault("dead"))
            return is_over

        monkeypatch.setattr(ServiceLeases, "_wait_for_end", and_then_die)
        with all_warnings() as told:
            assert [double(number) for number in (2, 3, 2)] == [4, 6, 4]
            memory.flush()

    assert len(told) == 1, told


# --- the end of waiting ---


def test_a_timeout_ends_the_wait(
    fs: FaultyFileSystem, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "FIRST_PAUSE", 2 * LONG)
    double = Memory(store, conflict_timeout=0.1).cache(twice)
    key = double._key(double._bind(2)).entry  # type: ignore[union-attr]
    leave_lease(fs, key.lease)

    with ended_in(LONG):
        assert double(2) == 4

    assert leases_at_rest(fs) == [key.lease]
    assert store.contains(key)


def test_a_cached_function_calls_another(fs: FaultyFileSystem, memory: Memory) -> None:
    inner = memory.cache(twice)

    def outer(number: int) -> int:
        assert len(leases_left(fs)) == 1
        return inner(number) + 1

    with ended_in(LONG):
        assert memory.cache(outer, track="off")(2) == 5

    assert leases_at_rest(fs) == []


def test_two_stores_in_one_place_do_not_wait_for_each_other_in_a_thread(
    fs: FaultyFileSystem, tmp_path: Path
) -> None:
    near = TieredStore(LocalStore(tmp_path), at(fs))

    with (
        ended_in(LONG),
        near.flights.turn("key", nothing),
        at(fs).flights.turn("key", nothing) as turn,
    ):
        assert turn.hit is None

    assert leases_at_rest(fs) == []


def test_one_who_waits_for_nobody_gets_the_lease(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    holder = Holder()

    hit = ServiceLeases(store._service).wait("key", nothing, None, holder)

    assert hit is None
    assert [lease.text for lease in holder.leases] == [lease_of(fs, "key")]


# --- processes ---


FORKING = """
import os, sys, threading
from pathlib import Path
from cachekit import Memory
from cachekit.stores import LocalStore, RemoteStore, TieredStore, background
from cachekit.stores import remote_leases
from cachekit.stores.leases import Heart
from tests.stores.faulty import FaultyFileSystem

def settle():
    for _ in range(2):
        for one in list(background._all):
            assert one.wait(20), "it does not end"

def leases():
    found = fs.inner.find("/bucket/store/.leases")
    return {path.rpartition("/")[2]: fs.inner.cat_file(path) for path in found}

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return os.waitpid(child, 0)[1]

fs = FaultyFileSystem()
with fs.standing_for("s3"):
    far = RemoteStore("s3://bucket/store", fs.options)
    store = TieredStore(LocalStore(sys.argv[1]), far)
    ...
"""


def run_forking(body: str, near: Path) -> str:
    program = FORKING.replace(
        "    ...\n", textwrap.indent(textwrap.dedent(body), "    ")
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(near)],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@needs_fork
def test_a_forked_child_leaves_the_leases_of_its_parent_alone(tmp_path: Path) -> None:
    """Memory is copied by a fork: the child looks at what it would have done."""
    body = """
    remote_leases.heart = Heart(0.01)
    turn = store.flights.turn("key", lambda: None)

    def child():
        before = leases()
        assert list(before) == ["key"]
        with store.flights.turn("other", lambda: None):
            for _ in range(200):
                if b"+" in leases()["other"]:
                    break
                threading.Event().wait(0.05)  # its own lease beats
            assert b"+" in leases()["other"], leases()
        turn.__exit__()
        settle()
        assert leases() == before, leases()

    print(in_child(child))
    with turn:
        assert list(leases()) == ["key"]
    settle()
    print(leases())
    """

    assert run_forking(body, tmp_path) == "0\n{}\n"


@needs_fork
def test_a_child_gives_back_its_leases_while_its_parent_sends(tmp_path: Path) -> None:
    body = """
    double = Memory(store).cache(lambda number: 2 * number, track="off")
    double(0)
    settle()
    hang = None

    def compute():
        global hang
        hang = fs.fault("hang", method="pipe_file")
        hang.fault = hang.__enter__()
        return 7

    Memory(store).cache(compute, track="off")()
    assert hang.fault.reached.wait(20)
    before = leases()
    assert len(before) == 1

    def child():
        fs._faults.clear()
        done = []
        store._sending.after_sending(*before, lambda: done.append(1))
        assert done, "nobody sends that here"
        assert double(3) == 6
        settle()
        assert leases() == before, leases()

    print(in_child(child))
    hang.fault.release.set()
    settle()
    print(leases())
    """

    assert run_forking(body, tmp_path) == "0\n{}\n"


COMPUTING = """
import json, os, sys, time
from cachekit import Memory
from cachekit.stores import RemoteStore, background

def work(log, seconds):
    file = os.open(log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(file, b"%d\\n" % os.getpid())
    os.close(file)
    time.sleep(seconds)
    return 7

if __name__ == "__main__":
    about = json.loads(sys.argv[1])
    if about["near"]:
        memory = Memory([about["near"], about["url"]], storage_options=about["options"])
    elif about["kind"] == "plain":
        memory = Memory(RemoteStore(about["url"], about["options"]))
    else:
        memory = Memory(about["url"], storage_options=about["options"])
    cached = memory.cache(work, ignore=["seconds"])
    cached.check_call_in_cache(about["log"], 0)  # connect
    print("ready", flush=True)
    input()
    print(cached(about["log"], about["seconds"]), flush=True)
"""


class Hosts:
    """Processes that compute one key on a server, each with a folder of its own."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        self.log = folder / "log"
        self.started: list[subprocess.Popen[str]] = []
        self._remote = remote
        self._url = remote.fresh()
        self._folder = folder
        (folder / "computing.py").write_text(COMPUTING)

    def start(self, kind: str, seconds: float) -> subprocess.Popen[str]:
        mine = self._folder / f"host{len(self.started)}"
        about = {
            "kind": kind,
            "near": str(mine / "near") if kind == "near" else None,
            "url": self._url,
            "options": self._remote.options,
            "log": str(self.log),
            "seconds": seconds,
        }
        process = subprocess.Popen(
            [sys.executable, str(self._folder / "computing.py"), json.dumps(about)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(mine)},
        )
        self.started.append(process)
        return process

    def computed(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def leases_left(self) -> list[str]:
        filesystem = self._remote.filesystem()
        found: list[str] = filesystem.find(f"{self._url}/.leases")
        return found


@pytest.fixture
def hosts(moto_s3_server: Remote, tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(moto_s3_server, tmp_path)
    yield hosts
    for process in hosts.started:
        process.kill()
        process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def is_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()


@pytest.mark.slow
def test_of_four_hosts_one_computes(hosts: Hosts) -> None:
    kinds = ["plain", "plain", "near", "default"]
    for kind in kinds:
        hosts.start(kind, seconds=1.5)
    for process in hosts.started:
        is_ready(process)

    for process in hosts.started:
        go(process)
    said = [process.communicate(timeout=LONG) for process in hosts.started]

    assert said == [("7\n", "")] * 4
    assert hosts.computed() == 1
    assert hosts.leases_left() == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "near"])
def test_one_who_was_killed_on_this_host_is_followed_soon(
    hosts: Hosts, kind: str
) -> None:
    owner, other = hosts.start(kind, seconds=600), hosts.start(kind, seconds=0)
    is_ready(owner)
    go(owner)
    until(lambda: hosts.computed() == 1)
    is_ready(other)
    go(other)
    time.sleep(0.5)  # so that it waits, most likely

    owner.kill()
    owner.wait()

    # Far less than the silence after which one of another host is followed.
    assert other.communicate(timeout=leases_module.SILENT_SECONDS / 2) == ("7\n", "")
    assert hosts.computed() == 2
    assert hosts.leases_left() == []


@pytest.mark.slow
def test_one_who_was_interrupted_leaves_no_lease(hosts: Hosts) -> None:
    owner = hosts.start("near", seconds=600)
    is_ready(owner)
    go(owner)
    until(lambda: hosts.computed() == 1)
    assert len(hosts.leases_left()) == 1

    owner.send_signal(signal.SIGINT)
    _, error = owner.communicate(timeout=LONG)

    assert "KeyboardInterrupt" in error
    assert hosts.leases_left() == []


@pytest.mark.slow
@pytest.mark.parametrize("server", ["moto_s3_server", "azurite_server"])
def test_a_lease_is_taken_shown_taken_over_and_given_back(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "SILENT_SECONDS", 0.5)
    remote: Remote = request.getfixturevalue(server)
    url = remote.fresh()
    service = Service(Client(url, remote.options, timeout=LONG))
    leases = ServiceLeases(service)
    lease = leases.acquire("key")
    assert lease is not None
    assert leases.acquire("key") is None
    lease.beat()
    shown = service.get(".leases/key")
    assert shown is not None
    assert shown.read() == lease.text + b"+1"

    lease.release()
    leases.flush()
    assert service.find(".leases") == {}

    service.put(".leases/key", io.BytesIO(ANOTHER), new=False)
    with SingleFlight(leases).turn("key", nothing) as turn:
        assert turn.hit is None
        assert list(service.find(".leases")) == [".leases/key"]
    leases.flush()
    assert service.find(".leases") == {}
