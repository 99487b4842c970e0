"""What stores meet rarely: one test for each path that others pass by."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cachekit.errors import StoreError
from cachekit.stores import (
    DictStore,
    LocalStore,
    ReadOnlyStore,
    TieredStore,
    file_leases,
    layout,
    leases,
    listing,
    local,
    service,
    staging,
)
from cachekit.stores.copying import copy_entry
from cachekit.stores.file_leases import FileLeases
from cachekit.stores.leases import Heart, Holder, Lease
from cachekit.stores.names import RECORD, VALUE
from cachekit.stores.sending import Sending, UntilSent
from cachekit.stores.service import Service
from tests.stores.entries import commit, commit_files, key_of, replace, value_of

LONG = 20.0


# --- documents of two stores, and of one that is only read ---

RUN = "runs/20261122-101500-3f9c.json"


def test_documents_go_to_both_stores_and_from_both() -> None:
    near, far = DictStore(), DictStore()
    store = TieredStore(near, far)

    store.write_document(RUN, b"{}")

    assert near.read_document(RUN) == far.read_document(RUN) == b"{}"
    assert store.documents("runs") == [RUN]
    store.remove_document(RUN)
    assert near.documents("runs") == far.documents("runs") == []


def test_a_document_that_is_only_far_is_found() -> None:
    far = DictStore()
    far.write_document(RUN, b"{}")
    store = TieredStore(DictStore(), far)

    assert store.read_document(RUN) == b"{}"
    assert store.documents("runs") == [RUN]


@pytest.mark.parametrize("which", [0, 1], ids=["near", "far"])
def test_documents_pass_by_a_store_that_is_read_only(which: int) -> None:
    stores = [DictStore(), DictStore()]
    for store in stores:
        store.write_document("runs/old.json", b"{}")
    pair: list[Any] = [*stores]
    pair[which] = ReadOnlyStore(stores[which])
    tiered = TieredStore(*pair)

    tiered.write_document(RUN, b"{}")
    tiered.remove_document("runs/old.json")

    assert stores[which].documents("runs") == ["runs/old.json"]
    assert stores[1 - which].documents("runs") == [RUN]


def test_a_store_that_is_only_read_shows_its_documents_and_keeps_them() -> None:
    inner = DictStore()
    inner.write_document(RUN, b"{}")
    store = ReadOnlyStore(inner)

    for change in (store.remove_document, lambda path: store.write_document(path, b"")):
        with pytest.raises(StoreError, match="read-only"):
            change(RUN)

    assert store.read_document(RUN) == b"{}"
    assert store.documents("runs") == [RUN]


def test_a_store_that_is_only_read_tells_what_was_computed() -> None:
    inner = DictStore()
    inner.add_hits({key_of(): 2}, {"analysis.fit": 3})
    store = ReadOnlyStore(inner)

    assert store.hits() == inner.hits() != {}
    assert store.misses() == inner.misses() != {}


# --- copies ---


def test_a_copy_has_value_record_files_and_code(tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "from"), LocalStore(tmp_path / "to")
    commit_files(source, key_of(), {"a/b.txt": b"made"})
    source.write_code(key_of(), b"code")

    assert copy_entry(source, target, key_of())

    for name in (VALUE, RECORD, "files/a/b.txt"):
        assert target.read(key_of(), name) == source.read(key_of(), name) is not None
    assert target.read_code(key_of()) == b"code"


def test_a_copy_leaves_the_entry_and_the_code_that_are_there() -> None:
    source, target = DictStore(), DictStore()
    for store, text in ((source, b"source"), (target, b"target")):
        commit(store, key_of(), text)
        store.write_code(key_of(), text)

    assert copy_entry(source, target, key_of())

    assert value_of(target, key_of()) == b"target"
    assert target.read_code(key_of()) == b"target"


def test_what_is_absent_is_not_copied() -> None:
    target = DictStore()

    assert not copy_entry(DictStore(), target, key_of())
    assert list(target.entries()) == []


def test_what_is_replaced_while_it_is_copied_is_not_copied() -> None:
    class Replaced(DictStore):
        def peek(self, key: Any) -> Any:
            file = super().peek(key)
            replace(self, key, b"new")  # and this one has no record
            return file

    source, target = Replaced(), DictStore()
    commit(source, key_of(), b"old")

    assert not copy_entry(source, target, key_of())
    assert list(target.entries()) == []


# --- listing ---


def test_a_listing_is_the_same_where_folders_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path / "store")
    commit(store, key_of(1), b"value")
    commit_files(store, key_of(2), {"a/b.txt": b"made", "c": b"more"})
    store.pin(key_of(2))
    expected = sorted(store.entries(), key=lambda info: info.key.digest)

    monkeypatch.setattr(os, "supports_dir_fd", set())  # as on Windows
    found = sorted(store.entries(), key=lambda info: info.key.digest)

    assert found == expected
    assert [info.is_pinned for info in found] == [
        info.key == key_of(2) for info in found
    ]


def test_folders_that_are_gone_are_empty(tmp_path: Path) -> None:
    records = listing.RecordSizes()

    assert listing.folders(tmp_path / "gone") == []
    assert listing.prefixes(tmp_path / "gone") == []
    assert listing.entries_in(str(tmp_path / "gone"), "f", "0" * 32, records) == []


def test_a_file_among_the_entries_is_none(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    commit(store, key_of(1))
    prefix = Path(store.locate(key_of(1)) or "").parents[1]
    (prefix / ("2" * 30)).write_text("a file")
    (prefix / ("3" * 30)).mkdir()

    assert [info.key for info in store.entries()] == [key_of(1)]


# --- a disk that gives less than it was asked for ---


def test_what_is_written_in_pieces_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, real = LocalStore(tmp_path / "store"), os.write

    def write_a_little(handle: int, content: Any) -> int:
        return real(handle, memoryview(content)[:3])

    with store.stage(key_of()) as writing:
        monkeypatch.setattr(os, "write", write_a_little)
        writing.write(VALUE, b"longer than three")
        monkeypatch.undo()
        writing.commit()

    assert value_of(store, key_of()) == b"longer than three"


def test_statistics_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    assert local._uses_in(tmp_path / "gone") == {}


def test_use_counts_where_there_is_a_value_and_only_there(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    commit(store, key_of(1))
    path = Path(store.locate(key_of(1)) or "")
    os.utime(path, (0, 0))
    Path(store.locate(key_of(1)) or "").with_name("beside").mkdir()

    assert store.use(key_of(1))
    assert not store.use(key_of(2))

    assert path.stat().st_mtime > 0
    path.unlink()
    path.mkdir()  # damaged
    assert not store.use(key_of(1))


def test_a_store_says_where_it_is(tmp_path: Path) -> None:
    assert repr(LocalStore(tmp_path)) == f"LocalStore({str(tmp_path)!r})"


def test_a_file_in_the_place_of_an_entry_is_no_entry(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    commit(store, key_of(1))
    entry = Path(store.locate(key_of(1)) or "").parent
    shutil.rmtree(entry)
    entry.write_text("a file")

    assert not store.contains(key_of(1))
    assert not store.use(key_of(1))
    assert store.locate(key_of(1)) is None
    assert store.read(key_of(1), VALUE) is None
    assert store.open(key_of(1)) is None


def test_what_is_cleared_leaves_no_folder_and_no_count(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    commit(store, key_of(1))
    store.add_hits({key_of(1): 2})

    store.clear()

    assert not (store.root / "analysis.fit").exists()
    assert store.hits() == {}
    assert not (store.root / ".stats").exists()


def test_to_count_what_was_not_used_is_no_use(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    commit(store, key_of(1))
    path = Path(store.locate(key_of(1)) or "")
    os.utime(path, (0, 0))

    store.add_hits({key_of(1): 0})
    assert path.stat().st_mtime == 0
    store.add_hits({key_of(1): 1})

    assert path.stat().st_mtime > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what is open")
def test_nothing_stays_open(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    commit(store, key_of(0))
    before = len([*Path("/proc/self/fd").iterdir()])

    for number in range(20):
        with store.stage(key_of(number)) as writing:
            writing.write(VALUE, b"value")
            writing.write(RECORD, b"{}")
            writing.commit()
        store.read(key_of(number), RECORD)
        assert value_of(store, key_of(number)) == b"value"

    assert len([*Path("/proc/self/fd").iterdir()]) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_files_have_the_permissions_that_the_user_gives(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    before = os.umask(0o026)
    try:
        commit_files(store, key_of(), {"a": b"made"})
    finally:
        os.umask(before)

    entry = Path(store.locate(key_of()) or "").parent
    modes = {path.name: path.stat().st_mode & 0o7777 for path in entry.iterdir()}

    assert modes == {VALUE: 0o640, RECORD: 0o640, "files": 0o751}
    assert (entry / "files" / "a").stat().st_mode & 0o7777 == 0o640


@pytest.fixture
def value_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a marked value whose mode we may not change."""
    store = LocalStore(tmp_path / "store")
    commit(store, key_of())
    path = Path(store.locate(key_of()) or "")
    os.utime(path, (1, 2))

    def refuse(*_: object) -> NoReturn:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refuse)
    return path


def test_a_value_of_somebody_else_is_unmarked_by_a_copy(
    value_of_somebody_else: Path,
) -> None:
    path = value_of_somebody_else

    listing.unmark(path)

    assert not path.stat().st_mode & listing.PLAIN
    assert (path.read_bytes(), path.stat().st_mtime) == (b"value", 2)


def test_a_copy_that_fails_leaves_nothing(
    value_of_somebody_else: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = value_of_somebody_else
    before = sorted(path.parent.iterdir())

    def fill_the_disk(source: Path, target: Path) -> NoReturn:
        target.write_bytes(source.read_bytes()[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", fill_the_disk)

    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        listing.unmark(path)

    assert sorted(path.parent.iterdir()) == before
    assert path.read_bytes() == b"value"


# --- staging ---


def area_of(folder: Path) -> staging.StagingArea:
    return staging.StagingArea(folder / "store", durable=False)


def test_nothing_is_abandoned_where_nothing_was_staged(tmp_path: Path) -> None:
    assert area_of(tmp_path).abandoned() == []


def test_what_is_gone_before_it_was_looked_at_is_not_abandoned(tmp_path: Path) -> None:
    area = area_of(tmp_path)
    area.folder.mkdir(parents=True)

    assert not area._is_abandoned(area.folder / "elsewhere-1-2-3")


def test_a_folder_that_is_cleared_again_and_again_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area = area_of(tmp_path)
    area.make_root()
    staged = Path(area.new_folder())
    tries = []

    def is_cleared(_: Path, target: Path) -> NoReturn:
        tries.append(target)
        raise FileNotFoundError(errno.ENOENT, "cleared", target)

    monkeypatch.setattr(Path, "rename", is_cleared)

    with pytest.raises(FileNotFoundError, match="again and again"):
        area._rename(staged, tmp_path / "store" / "a" / "b")

    assert len(tries) == staging.MOST_RENAMES
    assert staged.exists()


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    area = area_of(tmp_path)
    area.make_root()
    staged = Path(area.new_folder())
    (tmp_path / "store" / "a").write_text("a file")

    with pytest.raises(OSError, match="a"):
        area._rename(staged, tmp_path / "store" / "a" / "b")


def test_the_folder_of_the_store_is_not_made_again(tmp_path: Path) -> None:
    area = area_of(tmp_path)
    area.make_root()
    staged = Path(area.new_folder())
    (tmp_path / "store").rename(tmp_path / "moved")

    with pytest.raises(FileNotFoundError):
        area._rename(staged, tmp_path / "store" / "a" / "b")

    assert not (tmp_path / "store").exists()


def test_a_name_of_windows_leads_nowhere_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert layout.is_inside("a/b:c")

    monkeypatch.setattr("cachekit.stores.layout.os.name", "nt")

    assert not layout.is_inside("C:a")
    assert not layout.is_inside("..\\a")
    assert layout.is_inside("a/b")


# --- leases ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "store" / ".leases"
    folder.mkdir(parents=True)
    return folder


def leases_in(folder: Path) -> FileLeases:
    return FileLeases(folder, lambda: None)


def no_result() -> int | None:
    return None


def test_who_waits_for_long_says_so_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "LONG_WAIT", 0.0)
    (folder / "key").write_text("elsewhere 1 2 ab")
    caplog.set_level(logging.WARNING, "cachekit")

    until = time.monotonic() + 0.3
    assert leases_in(folder).wait("key", no_result, until, Holder()) is None

    (said,) = caplog.messages
    assert "compute key" in said


def test_a_folder_in_the_place_of_a_lease_is_taken_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_leases, "SILENT_SECONDS", 0.0)
    (folder / "key" / "inside").mkdir(parents=True)
    holder = Holder()

    leases_in(folder).wait("key", no_result, time.monotonic() + LONG, holder)

    (lease,) = holder.leases
    assert os.fsencode((folder / "key").readlink()) == lease.text
    assert [path.name for path in folder.iterdir()] == ["key"]


def test_a_lease_that_is_gone_is_neither_lost_nor_in_the_way(folder: Path) -> None:
    gone = folder / "gone"

    assert not file_leases._Seen().is_lost(gone)
    assert file_leases._take_away(gone, b"")
    assert file_leases._touched(gone) == float("inf")


def test_a_lease_that_somebody_removed_is_given_back_in_silence(folder: Path) -> None:
    lease = leases_in(folder).acquire("key")
    assert lease is not None
    (folder / "key").unlink()

    lease.release()

    assert list(folder.iterdir()) == []


def test_what_was_waited_for_is_swept_when_nobody_waits(folder: Path) -> None:
    (folder / "dead.waits").write_text("other")
    (folder / "alive").write_text("elsewhere 1 2 ab")
    (folder / "alive.waits").write_text("other")
    swept = leases_in(folder)

    swept.sweep(time.time())

    assert sorted(path.name for path in folder.iterdir()) == ["alive", "alive.waits"]


def test_leases_in_a_folder_of_somebody_else_are_let_alone(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "dead.waits").write_text("other")
    link = tmp_path / "link"
    link.symlink_to(folder)

    assert leases_in(folder).abandoned(time.time()) == [folder / "dead.waits"]
    assert leases_in(link).abandoned(time.time()) == []


class _Beaten(Lease):
    """A lease that counts, and fails if it is told to."""

    def __init__(self, place: str, beat: Callable[[], None]) -> None:
        super().__init__(place, b"")
        self._beat = beat

    def beat(self) -> None:
        self._beat()

    def release(self) -> None:
        """Nothing is held."""


def test_a_lease_that_cannot_be_touched_does_not_stop_the_heart() -> None:
    beats = threading.Semaphore(0)

    def fail() -> None:
        raise OSError("the folder is gone")

    heart = Heart(0.05)
    held = [_Beaten("one", fail), _Beaten("other", beats.release)]
    for lease in held:
        heart.beat_for(lease)

    assert beats.acquire(timeout=LONG)
    assert beats.acquire(timeout=LONG)
    for lease in held:
        heart.stop_for(lease)


def test_where_no_thread_can_be_started_leases_are_taken_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heart = Heart(1.0)
    monkeypatch.setattr(file_leases, "heart", heart)

    def refuse(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    lease = leases_in(folder).acquire("key")

    assert lease is not None
    assert heart._thread is None  # the next one tries again
    lease.release()
    assert list(folder.iterdir()) == []


def test_leases_of_a_far_store_say_what_is_waited_for(folder: Path) -> None:
    inner = leases_in(folder)
    outer = UntilSent(Sending("sending"), inner)
    lease = outer.acquire("mine")
    assert lease is not None

    outer.note_waiting("mine", "theirs")

    assert outer.waits_for("mine") == inner.waits_for("mine") == "theirs"
    outer.note_waiting("mine", None)
    assert outer.waits_for("mine") is None
    lease.beat()
    lease.release()
    outer.flush()
    assert list(folder.iterdir()) == []


def test_ctrl_c_while_an_entry_waits_for_room_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sending = Sending("sending")
    done: list[str] = []

    def interrupt(_: Callable[[], object]) -> NoReturn:
        sending.after_sending("key", lambda: done.append("given back"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sending._background, "run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sending.send("key", lambda: done.append("sent"))
    assert done == ["given back"]

    sending.send("key", lambda: done.append("sent later"))
    sending.wait()

    assert done == ["given back", "sent later"]


# --- services ---


class _Client:
    """A service that answers as it is told; it renames, as SFTP does."""

    scheme, root, url, name = "sftp", "root", "sftp://host/root", "sftp://host"

    def __init__(self, **answers: Callable[..., Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def ask(self, verb: str, path: str, **how: Any) -> Any:
        self.asked.append(verb)
        answer = self.answers.get(verb)
        return answer(path, **how) if answer else None


def service_of(**answers: Callable[..., Any]) -> tuple[Service, _Client]:
    client = _Client(**answers)
    return Service(client), client  # type: ignore[arg-type]


def absent(*_: Any, **__: Any) -> NoReturn:
    raise FileNotFoundError


def test_a_folder_that_is_removed_again_and_again_is_an_error() -> None:
    files, client = service_of(mv=absent, find=absent)

    with pytest.raises(StoreError, match="again and again"):
        files.put("a/b", io.BytesIO(b"content"), new=False)

    assert client.asked.count("mv") == 2
    assert client.asked.count("makedirs") == 3  # that of staging, and the folder twice
    assert client.asked[-1] == "rm_file"


def test_a_file_that_becomes_shorter_while_it_is_read_ends_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "PART_BYTES", 4)
    files, _ = service_of(
        cat_file=lambda _, start, end: b"abcdef"[start:end],
        info=lambda _: {"size": 100},
    )

    found = files.get("a")

    assert found is not None
    with found:
        assert found.read() == b"abcdef"


def test_a_large_file_that_fails_in_its_midst_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "PART_BYTES", 4)

    def part(_: str, start: int, **__: int) -> bytes:
        if start:
            raise StoreError("it is gone")
        return b"abcd"

    files, _ = service_of(cat_file=part, info=lambda _: {"size": 100})

    with pytest.raises(StoreError, match="it is gone"):
        files.get("a")


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("about", "at"),
    [
        ({"mtime": NOON.timestamp()}, NOON.timestamp()),
        ({"LastModified": NOON}, NOON.timestamp()),
        ({"updated": "2026-11-22T12:00:00Z"}, NOON.timestamp()),
        ({"created": "2026-11-22T13:00:00+01:00"}, NOON.timestamp()),
        ({"modified": NOON.replace(tzinfo=None)}, NOON.timestamp()),
        ({"modified": NOON.astimezone(timezone(timedelta(hours=3)))}, NOON.timestamp()),
        ({"updated": "yesterday", "created": NOON}, NOON.timestamp()),
        ({"updated": "yesterday"}, 0.0),
        ({}, 0.0),
    ],
)
def test_times_are_understood_however_a_client_tells_them(
    about: dict[str, Any], at: float
) -> None:
    assert service._time_of(about) == at
