"""What `RemoteStore` makes of a service that fails, and what a call makes of that."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from cachekit import CacheWarning, Memory
from cachekit.errors import StoreError
from cachekit.stores import (
    EntryKey,
    LocalStore,
    ReadOnlyStore,
    RemoteStore,
    TieredStore,
)
from cachekit.stores import client as client_module
from cachekit.stores import remote as remote_module
from cachekit.stores import remote_staging as staging_module
from cachekit.stores import service as service_module
from cachekit.stores.names import VALUE
from cachekit.stores.remote import MOST_STATS_FILES
from tests.stores.entries import commit, digests, key_of, pinned, replace, value_of
from tests.stores.faulty import FaultyFileSystem, Kind

RECORD = "record.json"
PART = 1000
LONG = 60.0

# By which a service that hangs is given up, where a test waits for that.
SHORT = 0.3


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not pause, and let files of some bytes be large."""
    monkeypatch.setattr(client_module, "PAUSES", (0.0, 0.0, 0.0))
    for module in (service_module, staging_module):
        monkeypatch.setattr(module, "PART_BYTES", PART)


@pytest.fixture
def fs() -> Iterator[FaultyFileSystem]:
    filesystem = FaultyFileSystem()
    with filesystem.standing_for("s3"):  # which can refuse to write what exists
        yield filesystem


@pytest.fixture
def store(fs: FaultyFileSystem) -> RemoteStore:
    return at(fs)


def at(fs: FaultyFileSystem, *, timeout: float = LONG) -> RemoteStore:
    """Return a store that is prepared."""
    store = RemoteStore("s3://bucket/store", fs.options, timeout=timeout)
    store.stage(key_of()).discard()
    fs.requests.clear()
    return store


def files(fs: FaultyFileSystem) -> dict[str, bytes]:
    """Return what is there of the entry, without the store."""
    root = f"/bucket/store/{key_of().path}/"
    content = {path: fs.inner.cat_file(path) for path in fs.inner.find("/bucket/store")}
    return {
        path.removeprefix(root): content[path]
        for path in content
        if path.startswith(root)
    }


def put(fs: FaultyFileSystem, **content: bytes) -> None:
    """Write files of the entry, without the store."""
    for name, some in content.items():
        name = RECORD if name == "record" else name
        fs.inner.pipe_file(f"/bucket/store/{key_of().path}/{name}", some)


def commit_with_record(store: RemoteStore, value: bytes, record: bytes) -> bool:
    with store.stage(key_of()) as staging:
        with staging.open(VALUE) as file:
            file.write(value)
        with staging.open(RECORD) as file:
            file.write(record)
        return staging.commit()


def is_in_use(store: RemoteStore) -> bool:
    return commit(store, key_of(99)) and value_of(store, key_of(99)) == b"value"


# --- how many requests ---


def test_a_hit_is_one_request(fs: FaultyFileSystem, store: RemoteStore) -> None:
    commit(store, key_of())
    fs.requests.clear()

    assert value_of(store, key_of()) == b"value"

    assert fs.requests == {"cat_file": 1}


def test_a_miss_is_three_requests(fs: FaultyFileSystem, store: RemoteStore) -> None:
    assert store.open(key_of()) is None
    assert commit(store, key_of())

    assert fs.requests == {"cat_file": 1, "pipe_file": 2}


def test_a_call_makes_no_more_requests(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    double = Memory(store, on_conflict="compute").cache(twice)  # without a lease
    double(1)
    fs.requests.clear()

    double(2)
    assert fs.requests == {"cat_file": 1, "pipe_file": 2}

    fs.requests.clear()
    double(2)
    assert fs.requests == {"cat_file": 1}


# --- what may pass ---


@pytest.mark.parametrize("times", [1, 2])
def test_a_commit_whose_answer_is_lost_is_there(
    fs: FaultyFileSystem, store: RemoteStore, times: int
) -> None:
    with fs.fault("lost_ack", method="pipe_file", times=times):
        commit(store, key_of())

    assert files(fs) == {VALUE: b"value", RECORD: b"{}"}
    assert is_in_use(store)


def test_a_commit_in_conflict_with_another_is_tried_again(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    with fs.fault("conflict", times=2):
        assert commit(store, key_of())

    assert files(fs) == {VALUE: b"value", RECORD: b"{}"}
    assert fs.requests["pipe_file"] == 4


@pytest.mark.parametrize("kind", ["precondition_failed", "precondition_failed_bare"])
def test_a_commit_that_is_refused_is_not_the_first(
    fs: FaultyFileSystem, store: RemoteStore, kind: Kind
) -> None:
    put(fs, value=b"of another", record=b"[1]")

    with fs.fault(kind):
        assert not commit(store, key_of())

    assert files(fs) == {VALUE: b"of another", RECORD: b"[1]"}
    assert fs.requests == {"pipe_file": 2}
    assert is_in_use(store)


@pytest.mark.parametrize("method", ["cat_file", "pipe_file", "find", "rm_file"])
def test_what_is_late_once_is_asked_for_again(
    fs: FaultyFileSystem, store: RemoteStore, method: str
) -> None:
    commit(store, key_of())

    with fs.fault("timeout", method=method, times=1) as fault:
        assert value_of(store, key_of()) == b"value"
        assert len(list(store.entries())) == 1
        store.delete(key_of())
        commit(store, key_of(1))

    assert fault.reached.is_set()
    assert digests(store) == [key_of(1).digest]


# --- what does not pass ---


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.open(key_of()),
        lambda store: store.contains(key_of()),
        lambda store: commit(store, key_of()),
        lambda store: store.read(key_of(), RECORD),
        lambda store: list(store.entries()),
        lambda store: store.delete(key_of()),
    ],
)
@pytest.mark.parametrize("kind", ["hang", "dead"])
def test_a_service_that_is_lost_is_told_of_once(
    fs: FaultyFileSystem, kind: Kind, use: Callable[[RemoteStore], object]
) -> None:
    store = at(fs, timeout=SHORT)

    with fs.fault(kind):
        with ended_in(10), pytest.raises(StoreError, match="left out for the rest"):
            use(store)
        fs.requests.clear()

        assert store.open(key_of()) is None
        assert not store.contains(key_of())
        assert store.read(key_of(), VALUE) is None
        assert store.read_code(key_of()) is None
        assert not commit(store, key_of())
        replace(store, key_of(), b"value")
        store.write_code(key_of(), b"{}")
        assert store.is_read_only

    assert fs.requests == {}


def test_one_service_that_hangs_does_not_hold_up_another(fs: FaultyFileSystem) -> None:
    released = threading.Event()

    class Stuck(FaultyFileSystem):
        def __init__(self, **options: Any) -> None:
            if "asks" in options:
                released.wait(LONG)
            super().__init__(**options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fsspec.get_filesystem_class", lambda _: Stuck)
        stuck = RemoteStore("s3://a", {**fs.options, "asks": True}, timeout=SHORT)
        with pytest.raises(StoreError):
            stuck.contains(key_of())
        try:
            other = RemoteStore("s3://b", fs.options, timeout=5)
            assert not other.contains(key_of())
        finally:
            released.set()


def test_a_client_that_is_cancelled_is_no_end_of_the_program(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    cancelled = cast(Callable[[], Exception], asyncio.CancelledError)

    with (
        fs.fault("dead", error=cancelled),
        pytest.warns(CacheWarning, match="could not be read"),
    ):
        assert Memory(store).cache(twice)(2) == 4


@pytest.mark.parametrize("kind", ["hang", "dead"])
def test_a_run_goes_on_without_a_service_and_says_so_once(
    fs: FaultyFileSystem, kind: Kind
) -> None:
    memory = Memory(at(fs, timeout=SHORT))
    double = memory.cache(twice)

    with fs.fault(kind), all_warnings() as told:
        assert [double(number) for number in (1, 2, 3, 1)] == [2, 4, 6, 2]
        memory.flush()

    assert len(told) == 1, told


@pytest.mark.parametrize("kind", ["hang", "dead"])
@pytest.mark.parametrize("method", [None, "pipe_file"])
def test_a_run_with_a_near_store_goes_on_and_says_so_once(
    fs: FaultyFileSystem, tmp_path: Path, kind: Kind, method: str | None
) -> None:
    memory = Memory(TieredStore(LocalStore(tmp_path), at(fs, timeout=SHORT)))
    double = memory.cache(twice)

    with fs.fault(kind, method=method), all_warnings() as told:
        assert [double(number) for number in (1, 2, 3, 1)] == [2, 4, 6, 2]
        memory.flush()

    assert len(told) == 1, told
    assert len(digests_near(tmp_path)) == 3


def test_threads_that_lose_a_service_at_once_say_so_once(
    fs: FaultyFileSystem,
) -> None:
    double = Memory(at(fs, timeout=SHORT)).cache(twice)
    threads = [threading.Thread(target=double, args=(number,)) for number in range(4)]

    with fs.fault("hang"), all_warnings() as told:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)

    assert len(told) == 1, told


def test_a_look_up_and_a_write_that_lose_a_service_say_so_once(
    fs: FaultyFileSystem, tmp_path: Path
) -> None:
    far = at(fs, timeout=SHORT)
    memory = Memory(TieredStore(LocalStore(tmp_path), far))
    double = memory.cache(twice)

    with all_warnings() as told, fs.fault("hang", method="pipe_file") as writing:
        double(1)
        assert writing.reached.wait(LONG)
        with fs.fault("hang", method="cat_file"):
            double(2)
        memory.flush()

    assert len(told) == 1, told


def test_a_far_value_whose_record_cannot_be_had_is_kept_near(
    fs: FaultyFileSystem, tmp_path: Path
) -> None:
    Memory(at(fs)).cache(twice)(1)
    far = at(fs)
    memory = Memory(TieredStore(LocalStore(tmp_path), far))

    def fail(key: EntryKey, name: str) -> bytes | None:  # noqa: ARG001
        raise StoreError("the service is lost")

    far.read = fail  # type: ignore[method-assign]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        assert memory.cache(twice)(1) == 2
        memory.flush()

    assert len(digests_near(tmp_path)) == 1


def test_in_a_fork_a_lost_service_is_still_said_to_be_so(fs: FaultyFileSystem) -> None:
    store = at(fs)
    with fs.fault("dead"), pytest.raises(StoreError) as told:
        store.open(key_of())

    store._service.client._process = -1  # as if it were another's

    with pytest.raises(StoreError) as told_again:
        store.delete(key_of())
    assert str(told_again.value) == str(told.value)


# --- what is refused ---


def test_where_writing_is_refused_reading_goes_on(fs: FaultyFileSystem) -> None:
    Memory(at(fs)).cache(twice)(1)
    double = Memory(at(fs)).cache(twice)

    with fs.fault("read_only"), all_warnings() as told:
        assert [double(number) for number in (1, 2, 3, 1)] == [2, 4, 6, 2]
        fs.requests.clear()
        double(1)
        double(4)

    assert len(told) == 1, told
    assert fs.requests == {"cat_file": 2}
    assert double.check_call_in_cache(1)
    assert not double.check_call_in_cache(2)


def test_a_store_that_was_refused_is_read_by_a_near_one(
    fs: FaultyFileSystem, tmp_path: Path
) -> None:
    Memory(at(fs)).cache(twice)(1)
    fresh = RemoteStore("s3://bucket/store", fs.options)
    memory = Memory(TieredStore(LocalStore(tmp_path), fresh))
    double = memory.cache(twice)

    with fs.fault("read_only"), all_warnings() as told:
        assert [double(number) for number in (2, 3, 1)] == [4, 6, 2]
        memory.flush()

    assert len(told) == 1, told
    assert len(digests_near(tmp_path)) == 3


# --- what is damaged or out of date ---


def test_a_truncated_value_is_computed_again_and_repaired(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    double = Memory(store, on_conflict="compute").cache(twice)
    double(2)

    with (
        fs.fault("truncated", times=1),
        pytest.warns(CacheWarning, match="computed again"),
    ):
        assert double(2) == 4

    fs.requests.clear()
    assert double(2) == 4
    assert fs.requests == {"cat_file": 1}


def test_a_truncated_far_value_does_not_stay_near(
    fs: FaultyFileSystem, store: RemoteStore, tmp_path: Path
) -> None:
    Memory(store).cache(twice)(2)
    near = Memory(TieredStore(LocalStore(tmp_path), at(fs)))
    double = near.cache(twice)

    with (
        fs.fault("truncated", times=1),
        pytest.warns(CacheWarning, match="computed again"),
    ):
        assert double(2) == 4
    near.flush()

    assert double(2) == 4
    assert Memory(LocalStore(tmp_path)).cache(twice).check_call_in_cache(2)
    assert Memory(at(fs)).cache(twice)(2) == 4


def test_by_a_stale_listing_nothing_else_is_deleted(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    commit(store, key_of(0))
    commit(store, key_of(1))

    with fs.fault("stale"):
        store.delete(key_of(0))
        store.delete(key_of(0))
        commit(store, key_of(2))
        store.clear()
        assert store.open(key_of(0)) is None
        assert store.open(key_of(1)) is None
        assert value_of(store, key_of(2)) == b"value"  # it was not listed yet

    assert digests(store) == [key_of(2).digest]
    store.clear()
    assert digests(store) == []


def test_an_entry_is_whole_again_after_a_stale_delete(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    with fs.fault("stale"):
        commit_with_record(store, b"old", b"[1]")
        store.delete(key_of())  # does not see the record
        assert store.open(key_of()) is None
        assert commit_with_record(store, b"new", b"[2]")

    assert files(fs) == {VALUE: b"new", RECORD: b"[2]"}


def test_a_pin_goes_with_its_entry_also_by_a_stale_listing(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    with fs.fault("stale"):
        commit(store, key_of())
        store.pin(key_of())
        store.delete(key_of())
        commit(store, key_of())

    assert pinned(store) == []


def test_without_a_value_there_is_no_entry(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    put(fs, record=b"[1]", pinned=b"")

    assert store.open(key_of()) is None
    assert not store.contains(key_of())
    assert list(store.entries()) == []


# --- who wins ---


def test_the_record_of_a_writer_that_died_does_not_survive(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    put(fs, record=b"[1]")

    assert commit_with_record(store, b"value", b"[2]")

    assert files(fs) == {VALUE: b"value", RECORD: b"[2]"}


@pytest.mark.parametrize("first_record", [0, 1])
@pytest.mark.parametrize("first_value", [0, 1])
def test_of_two_writers_the_record_is_of_the_one_whose_value_won(
    fs: FaultyFileSystem, first_record: int, first_value: int
) -> None:
    """Run two commits, and let their four requests come in any order."""
    stores = [at(fs), at(fs)]
    done = [[threading.Event(), threading.Event()] for _ in stores]
    writers = []
    for me, store in enumerate(stores):
        other = 1 - me
        original = store._service.put
        waits = [
            done[other][0] if me != first_record else None,
            done[other][1] if me != first_value else done[other][0],
        ]

        def put_in_turn(
            path: str,
            file: Any,
            *,
            new: bool,
            me: int = me,
            waits: list[threading.Event | None] = waits,
            original: Any = original,
        ) -> bool:
            which = int(path.endswith(VALUE))
            if new and (event := waits[which]) is not None:
                assert event.wait(LONG)
            is_mine: bool = original(path, file, new=new)
            done[me][which].set()
            return is_mine

        store._service.put = put_in_turn  # type: ignore[method-assign]
        mine = b"%d" % me
        writers.append(
            threading.Thread(target=commit_with_record, args=(store, mine, mine))
        )
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(LONG)

    won = b"%d" % first_value
    assert files(fs) == {VALUE: won, RECORD: won}


# --- in which order ---


def test_the_value_is_removed_first_and_written_last(
    fs: FaultyFileSystem, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, str]] = []

    def note(verb: str) -> None:
        do = getattr(fs.inner, verb)

        def noted(path: str, *arguments: Any, **options: Any) -> Any:
            order.append((verb, path.rpartition("/")[2]))
            return do(path, *arguments, **options)

        monkeypatch.setattr(fs.inner, verb, noted)

    note("pipe_file")
    note("rm_file")

    commit(store, key_of())
    assert order == [("pipe_file", RECORD), ("pipe_file", VALUE)]

    order.clear()
    with store.stage(key_of()) as staging:
        for name in (VALUE, RECORD):
            staging.open(name).write(b"new")
        staging.replace()
    assert order == [("pipe_file", RECORD), ("pipe_file", VALUE)]

    commit(store, key_of())
    order.clear()
    store.delete(key_of())
    assert order[0] == ("rm_file", VALUE)
    assert files(fs) == {}

    commit(store, key_of())
    order.clear()
    store.clear()
    assert order == [("rm_file", VALUE), ("rm_file", RECORD)]


# --- large and empty files ---


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


SIZES = [0, 1, PART - 1, PART, PART + 1, 2 * PART, 5 * PART + 7]


@pytest.mark.parametrize("scheme", ["s3", "faulty"])
@pytest.mark.parametrize("size", SIZES)
def test_values_of_every_size_come_back(
    fs: FaultyFileSystem, temporary: Path, scheme: str, size: int
) -> None:
    store = RemoteStore(f"{scheme}://bucket/store", fs.options)
    value = os.urandom(size)

    assert commit(store, key_of(), value)

    assert files(fs)[VALUE] == value
    assert value_of(store, key_of()) == value
    assert store.read(key_of(), VALUE) == value
    assert list(temporary.iterdir()) == []
    replace(store, key_of(), value[::-1])
    assert value_of(store, key_of()) == value[::-1]
    assert list(temporary.iterdir()) == []
    assert not fs.inner.find("/bucket/store/.staging")


@pytest.mark.parametrize("size", SIZES)
def test_values_come_back_by_a_client_without_parts(
    fs: FaultyFileSystem,
    store: RemoteStore,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    read = fs.inner.cat_file
    monkeypatch.setattr(fs.inner, "cat_file", lambda path, **_: read(path))
    value = os.urandom(size)
    commit(store, key_of(), value)
    fs.requests.clear()

    assert value_of(store, key_of()) == value
    assert fs.requests["cat_file"] == 1


def test_an_empty_value_by_a_client_that_calls_it_out_of_range(
    fs: FaultyFileSystem, store: RemoteStore
) -> None:
    commit(store, key_of(), b"")
    error = OSError(22, "An error occurred (InvalidRange) when calling GetObject")

    with fs.fault("dead", method="cat_file", error=lambda: error):
        assert value_of(store, key_of()) == b""

    assert is_in_use(store)


def test_no_temporary_file_stays_when_a_large_value_fails(
    fs: FaultyFileSystem, store: RemoteStore, temporary: Path
) -> None:
    commit(store, key_of(), b"v" * 3 * PART)

    with fs.fault("read_only"), pytest.raises(StoreError):
        replace(store, key_of(), b"w" * 3 * PART)

    assert list(temporary.iterdir()) == []
    assert value_of(store, key_of()) == b"v" * 3 * PART


def test_a_large_value_that_is_deleted_while_it_is_read_is_absent(
    fs: FaultyFileSystem, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, key_of(), b"v" * 3 * PART)
    size = fs.inner.info

    def info(path: str) -> Any:
        about = size(path)
        fs.inner.rm_file(path)
        return about

    monkeypatch.setattr(fs.inner, "info", info)

    with all_warnings() as told:
        assert store.open(key_of()) is None
        gc.collect()
    assert told == []  # of a file that was not closed


# --- in the background ---


def test_many_threads_fill_the_queue_and_it_empties(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""{CREATING}
from cachekit.stores.background import Background

memory.store._background = Background("testing", threads=4, most=4)
cached = memory.cache(float, track="off")

def work(start):
    for number in range(start, start + 10):
        cached(number)

for start in range(16):
    threading.Thread(target=work, args=(1000 * start,)).start()
"""
    )

    run_script(script, tmp_path)

    assert len(list((tmp_path / "far").rglob(VALUE))) == 16 * 10


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows only spawns")
def test_no_lease_is_left_at_the_end_of_a_child(tmp_path: Path, context: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""{CREATING}
def work():
    for number in range(3):
        memory.cache(float, track="off")(number)

if __name__ == "__main__":
    children = [
        multiprocessing.get_context({context!r}).Process(target=work)
        for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
"""
    )

    run_script(script, tmp_path)

    assert len(list((tmp_path / "far").rglob(VALUE))) == 3
    assert list((tmp_path / "far" / ".leases").iterdir()) == []


@needs_fork
def test_a_fork_does_not_wait_for_what_its_parent_sends(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""{CREATING}
gate, put = threading.Event(), far._service.put

def held(path, *arguments, **options):
    if path.endswith("value"):
        gate.wait()
    return put(path, *arguments, **options)

memory.cache(float, track="off")(0)
memory.flush()
far._service.put = held
memory.cache(float, track="off")(1)
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later(10, exit=True)
    far._service.put = put
    memory.cache(float, track="off")(2)
    memory.flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
gate.set()
"""
    )

    run_script(script, tmp_path)

    assert len(list((tmp_path / "far").rglob(VALUE))) == 3


# Files that can be refused, as in a bucket, and are seen by every process.
CREATING = """
import faulthandler, multiprocessing, os, sys, threading, time
from pathlib import Path
import fsspec
from fsspec.implementations.local import LocalFileSystem
from cachekit import Memory
from cachekit.stores import LocalStore, RemoteStore, TieredStore

class Creating(LocalFileSystem):
    def pipe_file(self, path, value, mode="overwrite", **_):
        time.sleep(0.01)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb" if mode == "create" else "wb") as file:
            file.write(value)

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("memory://")

fsspec.register_implementation("memory", Creating, clobber=True)
folder = sys.argv[1]
far = RemoteStore("memory://" + folder + "/far")
memory = Memory(TieredStore(LocalStore(folder + "/near"), far))
"""


def run_script(script: Path, folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, script, folder], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, errors


# --- statistics ---


def test_counts_stay_right_when_files_are_merged(fs: FaultyFileSystem) -> None:
    expected: Counter[str] = Counter()

    for number in range(2 * MOST_STATS_FILES + 3):
        key = key_of(number % 5)
        at(fs).add_hits({key: number + 1})
        expected[key.path] += number + 1

    assert at(fs).hits() == expected
    assert len(stats(fs)) <= MOST_STATS_FILES


def test_a_merger_that_died_does_not_block_for_ever(
    fs: FaultyFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(MOST_STATS_FILES):
        at(fs).add_hits({key_of(): 1})
    fs.inner.pipe_file("/bucket/store/.stats/merging", b"")

    at(fs).add_hits({key_of(): 1})
    assert len(stats(fs)) == MOST_STATS_FILES + 2  # another may be at it

    monkeypatch.setattr(remote_module, "_LONGEST_MERGE", -1.0)
    for _ in range(2):
        at(fs).add_hits({key_of(): 1})
    assert len(stats(fs)) == 1
    assert at(fs).hits() == {key_of().path: MOST_STATS_FILES + 3}


def test_a_merge_that_fails_loses_no_more_than_it_must(fs: FaultyFileSystem) -> None:
    for _ in range(MOST_STATS_FILES):
        at(fs).add_hits({key_of(): 1})

    with fs.fault("dead", method="pipe_file"), pytest.raises(StoreError):
        at(fs).add_hits({key_of(): 1})

    assert at(fs).hits() == {key_of().path: MOST_STATS_FILES}


def stats(fs: FaultyFileSystem) -> list[str]:
    found: list[str] = fs.inner.find("/bucket/store/.stats")
    return found


# --- processes ---

SHARED = """
import faulthandler, os, pickle, sys, threading, traceback
from cachekit import Memory
from cachekit.stores import LocalStore, RemoteStore, TieredStore
from tests.stores.entries import commit, key_of, value_of

folder = sys.argv[1]
far = RemoteStore("dir://store", {"path": folder + "/far", "target_protocol": "file"})
tiered = TieredStore(LocalStore(folder + "/near"), far)

def in_child(work):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
"""


@needs_fork
@pytest.mark.parametrize("store", ["far", "tiered"])
def test_a_store_that_was_used_works_in_a_fork(tmp_path: Path, store: str) -> None:
    run(
        tmp_path,
        f"""
        store = {store}
        commit(store, key_of(0), b"of the parent")
        store.flush()

        def work():
            assert value_of(store, key_of(0)) == b"of the parent"
            assert commit(store, key_of(1), b"of the child")
            store.flush()
            assert value_of(far, key_of(1)) == b"of the child"

        in_child(work)
        assert value_of(store, key_of(1)) == b"of the child"
        assert commit(store, key_of(2))
        """,
    )


@needs_fork
def test_a_fork_works_while_threads_of_its_parent_write(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        commit(tiered, key_of())
        tiered.flush()
        stop = threading.Event()
        def write():
            number = 1000
            while not stop.is_set():
                number += 1
                commit(tiered, key_of(number))
        threading.Thread(target=write, daemon=True).start()

        def work():
            faulthandler.dump_traceback_later(20, exit=True)
            number = 10**9 + os.getpid()  # none of the parent's
            assert commit(tiered, key_of(number))
            tiered.flush()
            assert far.contains(key_of(number))

        try:
            for _ in range(10):
                in_child(work)
        finally:
            stop.set()
        """,
    )


@needs_fork
def test_a_fork_works_while_a_thread_of_its_parent_starts_the_client(
    tmp_path: Path,
) -> None:
    run(
        tmp_path,
        """
        import fsspec.asyn

        def work():
            faulthandler.dump_traceback_later(10, exit=True)
            assert commit(far, key_of())

        with fsspec.asyn.get_lock():
            in_child(work)
        """,
    )


@pytest.mark.parametrize("what", ["far", "tiered"])
def test_a_memory_works_in_another_process(tmp_path: Path, what: str) -> None:
    run(
        tmp_path,
        f"""
        import operator
        memory = Memory({what})
        memory.cache(operator.index, track="off")(1)
        memory.flush()
        with open(folder + "/memory", "wb") as file:
            pickle.dump(memory, file)
        """,
    )

    run(
        tmp_path,
        """
        import operator
        with open(folder + "/memory", "rb") as file:
            memory = pickle.load(file)
        cached = memory.cache(operator.index, track="off")
        assert cached.check_call_in_cache(1)
        assert cached(2) == 2
        memory.flush()
        assert far.location == memory.location
        assert len(list(far.entries())) == 2
        """,
    )


def run(folder: Path, script: str) -> None:
    (folder / "far").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", SHARED + textwrap.dedent(script), str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_stores_are_pickled_as_they_were_made(tmp_path: Path) -> None:
    store = RemoteStore("memory://pickled", {"a": 1}, hash_version=3, timeout=7.0)

    for whole in (store, TieredStore(LocalStore(tmp_path), ReadOnlyStore(store))):
        copy = pickle.loads(pickle.dumps(whole))
        assert repr(copy) == repr(whole)
        assert copy.is_read_only == whole.is_read_only
    assert pickle.loads(pickle.dumps(store))._made_of == store._made_of


# --- secrets ---

WITH_SECRETS = [
    "s3://user:secret@host/x",
    "s3://user:top@secret@host/x",
    "s3://:secret@host/x",
]


@pytest.mark.parametrize("url", WITH_SECRETS)
def test_a_password_is_not_shown(
    fs: FaultyFileSystem, tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = RemoteStore(url, fs.options, timeout=SHORT)
    tiered = TieredStore(LocalStore(tmp_path), store)
    memory = Memory(tiered)
    shown = [repr(store), store.location, repr(tiered), repr(memory)]
    shown += [tiered.location, str(memory.location)]
    shown += [tiered._sending._background.purpose]

    def refuse() -> Exception:
        return ConnectionRefusedError(f"nobody at {url}")

    with fs.fault("dead", error=refuse), all_warnings() as told:
        memory.cache(twice)(2)
        memory.flush()
        with pytest.raises(StoreError) as error:
            store.delete(key_of())

    assert told
    shown += [*told, str(error.value), caplog.text]
    assert [text for text in shown if "secret" in text] == []


def test_a_password_is_not_shown_where_no_store_serves() -> None:
    with pytest.raises(StoreError) as error:
        Memory("nobody-serves://user:secret@host/x")

    assert "secret" not in str(error.value)


def test_a_container_of_azure_is_shown() -> None:
    url = "abfs://container@account.dfs.core.windows.net/x"

    assert RemoteStore(url).location == url


# --- helpers ---


def twice(number: int) -> int:
    return 2 * number


def digests_near(folder: Path) -> list[str]:
    return digests(cast(Any, LocalStore(folder)))


class all_warnings:  # noqa: N801  (used as a function)
    """Collect the texts of all warnings, also those that are alike."""

    def __enter__(self) -> list[str]:
        self._catching = warnings.catch_warnings()
        self._catching.__enter__()
        self._texts: list[str] = []
        warnings.simplefilter("always")

        def keep(message: Warning | str, *_: object, **__: object) -> None:
            self._texts.append(str(message))

        warnings.showwarning = keep
        return self._texts

    def __exit__(self, *error: Any) -> None:
        self._catching.__exit__(*error)


class ended_in:  # noqa: N801  (used as a function)
    """Fail rather than wait if a service is waited for much longer than it may be."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._timer = threading.Timer(self._seconds, self._complain)
        self._is_late = False
        self._timer.start()

    def _complain(self) -> None:
        self._is_late = True

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        assert not self._is_late, f"it took more than {self._seconds} s"
