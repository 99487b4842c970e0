"""What dead processes have left is removed, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cachekit import Memory, inspection
from cachekit.errors import StoreError
from cachekit.inspection import put_away
from cachekit.stores import (
    DictStore,
    EntryKey,
    LocalStore,
    ReadOnlyStore,
    RemoteStore,
)

KEY = EntryKey("analysis.fit", "1" * 32, "2" * 32)

# It dies with a lease and an entry half written.
DIES = """
import os, sys
from cachekit.stores import EntryKey, LocalStore
store = LocalStore(sys.argv[1])
key = EntryKey("analysis.fit", "1" * 32, "3" * 32)
staging = store.stage(key)
staging.write("value", b"." * 1000)
lease = store.flights.leases[0].acquire(key.lease)
store.flights.leases[0].note_waiting(key.lease, "another")
os._exit(1)
"""


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def fit(x: int) -> int:
    return x


def die(store: LocalStore) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, str(store.root)], check=False)
    assert done.returncode == 1


def kinds(found: list[inspection.Leftover]) -> list[str]:
    return sorted(one.kind for one in found)


def test_what_a_dead_process_left_is_listed_and_removed(store: LocalStore) -> None:
    die(store)

    listed = inspection.leftovers(store)
    removed = inspection.sweep(store)

    assert kinds(listed) == ["lease", "staging"]
    assert {one.path for one in removed} == {one.path for one in listed}
    assert {one.kind: one.size for one in removed}["staging"] == 1000
    assert list((store.root / ".staging").iterdir()) == []
    assert list((store.root / ".leases").iterdir()) == []  # also what it waits for
    assert inspection.sweep(store) == []


def test_what_is_alive_stays(store: LocalStore) -> None:
    lease = store.flights.leases[0].acquire(KEY.lease)
    with store.stage(KEY) as staging:
        staging.write("value", b"half")

        assert inspection.sweep(store) == []

        staging.write("record.json", b"{}")
        assert staging.commit()
    assert lease is not None
    assert os.path.lexists(lease.place)
    lease.release()
    assert store.contains(KEY)


def test_a_lease_from_before_the_machine_was_started_again_is_removed(
    store: LocalStore,
) -> None:
    Memory(store).cache(fit)(1)
    folder = store.root / ".leases"
    folder.mkdir(exist_ok=True)
    for name in ("old", "young"):
        (folder / name).write_text("elsewhere.1234 77 88 nonce-1")
    two_days_ago = time.time() - 2 * 86400
    os.utime(folder / "old", (two_days_ago, two_days_ago))

    assert [one.path for one in inspection.sweep(store)] == [".leases/old"]


def test_who_waits_for_a_lease_that_is_gone_is_forgotten(store: LocalStore) -> None:
    Memory(store).cache(fit)(1)
    (store.root / ".leases").mkdir(exist_ok=True)
    (store.root / ".leases/gone.waits").write_text("another")

    assert [one.path for one in inspection.sweep(store)] == [".leases/gone.waits"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"a": "b"}'])
def test_damaged_statistics_are_removed_and_others_are_not(
    store: LocalStore, content: bytes
) -> None:
    store.add_hits({KEY: 3})
    (store.root / ".stats/damaged.json").write_bytes(content)

    assert [one.path for one in inspection.sweep(store)] == [".stats/damaged.json"]
    assert store.hits() == {KEY.path: 3}


def test_damaged_entries_go_when_they_were_kept_for_long(store: LocalStore) -> None:
    Memory(store).cache(fit)(1)
    (entry,) = inspection.entries(store)
    (store.root / entry.key.path / "value").write_bytes(b"")
    (found,) = inspection.verify(store)
    place = put_away(found)
    assert place is not None

    assert inspection.sweep(store) == []
    assert Path(place).exists()

    assert kinds(inspection.sweep(store, keep_damaged=0.0)) == ["damaged entry"]
    assert not (store.root / ".damaged").exists()


def test_entries_and_their_hits_stay(store: LocalStore) -> None:
    memory = Memory(store)
    for x in (1, 1, 2):
        memory.cache(fit)(x)
    memory.counter.save(store)
    die(store)
    before = inspection.entries(store)

    inspection.sweep(store)

    assert inspection.entries(store) == before


def test_a_store_that_is_not_there_is_not_made(store: LocalStore) -> None:
    assert inspection.sweep(store) == []
    assert not store.root.exists()


def test_a_staging_area_that_leads_elsewhere_is_left_alone(
    store: LocalStore, tmp_path: Path
) -> None:
    Memory(store).cache(fit)(1)
    elsewhere = tmp_path / "elsewhere"
    (store.root / ".staging").rename(elsewhere)
    make_old(elsewhere / "mine")
    (store.root / ".staging").symlink_to(elsewhere)

    assert inspection.sweep(store) == []
    assert (elsewhere / "mine").exists()


def test_a_folder_that_is_no_store_is_left_alone(store: LocalStore) -> None:
    names = (".staging", ".leases", ".stats", ".damaged")
    for name in names:
        (store.root / name).mkdir(parents=True)
        make_old(store.root / name / "mine.json")

    assert inspection.sweep(store, keep_damaged=0.0) == []
    assert all((store.root / name / "mine.json").exists() for name in names)


def make_old(path: Path) -> None:
    path.write_text("mine")
    two_days_ago = time.time() - 2 * 86400
    os.utime(path, (two_days_ago, two_days_ago))


def test_a_store_of_another_format_is_left_alone(store: LocalStore) -> None:
    die(store)
    (store.root / "store.json").write_text('{"store": "cachekit", "format": 99}')

    with pytest.raises(StoreError, match="format 99"):
        inspection.sweep(store)


def test_of_a_remote_store_what_is_old_or_damaged_goes(tmp_path: Path) -> None:
    store = RemoteStore(f"memory://{tmp_path.name}-sweep")
    Memory(store).cache(fit)(1)
    filesystem = store.service.client.connected()
    root = store.service.client.root
    filesystem.pipe_file(f"{root}/.stats/damaged.json", b"{")
    filesystem.pipe_file(f"{root}/.leases/{'1' * 48}", b"young")

    removed = inspection.sweep(store)

    assert [one.path for one in removed] == [".stats/damaged.json"]
    assert inspection.leftovers(store) == []
    assert len(inspection.entries(store)) == 1
    assert filesystem.exists(f"{root}/.leases/{'1' * 48}")


def test_what_is_in_memory_has_no_leftovers() -> None:
    assert inspection.sweep(DictStore()) == []


@pytest.mark.parametrize("name", [".damaged", ".leases", ".stats"])
def test_a_link_leads_to_files_of_somebody_else(tmp_path: Path, name: str) -> None:
    store = LocalStore(tmp_path / "store")
    Memory(store).cache(len)("abc")
    others = tmp_path / "others"
    (others / "inside").mkdir(parents=True)
    (others / "thesis.json").write_text("not for you")
    long_ago = time.time() - 1e8
    for path in (others / "thesis.json", others / "inside"):
        os.utime(path, (long_ago, long_ago))
    place = store.root / name
    if place.exists():
        shutil.rmtree(place)
    place.symlink_to(others)

    assert inspection.sweep(store) == []
    assert sorted(path.name for path in others.iterdir()) == ["inside", "thesis.json"]


def test_a_store_that_is_only_to_be_read_is_not_swept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    Memory(store).cache(len)("abc")
    (store.root / ".stats").mkdir(exist_ok=True)
    (store.root / ".stats" / "broken.json").write_text("{")

    assert inspection.sweep(ReadOnlyStore(store)) == []
    assert [one.kind for one in inspection.sweep(store)] == ["statistics"]
