"""What `cachekit doctor` finds, in places that are well and in broken ones."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from cachekit import Memory, inspection
from cachekit.inspection import Finding, health, places
from cachekit.stores import LocalStore, RemoteStore
from tests.stores.servers import Remote, moto_s3_server, rclone_s3_server

__all__ = ["moto_s3_server", "rclone_s3_server"]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CACHEKIT_SIGNING_KEY", raising=False)
    return monkeypatch


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def fit(x: int) -> int:
    return x


def fill(root: Path) -> LocalStore:
    store = LocalStore(root)
    memory = Memory(store)
    memory.cache(fit)(1)
    memory.cache(fit)(1)
    memory.counter.save(store)
    return store


def found(root: Path | str, topic: str) -> list[Finding]:
    return [one for one in inspection.examine(str(root)) if one.topic == topic]


def severities(root: Path | str) -> set[str]:
    return {one.severity for one in inspection.examine(str(root))}


def contents(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def test_a_store_that_is_well_is_said_to_be(root: Path) -> None:
    fill(root)

    assert severities(root) <= {"ok", "note"}
    (writing,) = found(root, "writing")
    assert (writing.severity, writing.place) == ("ok", str(root))


def test_nothing_is_left_behind(root: Path) -> None:
    store = fill(root)
    before = contents(root)

    list(inspection.examine(str(root)))

    assert contents(root) == before
    assert len(inspection.entries(store)) == 1


def test_a_place_that_is_not_there_is_not_made(root: Path) -> None:
    (finding,) = found(root, "folder")

    assert finding.severity == "note"
    assert "not there yet" in finding.what
    assert not root.exists()


def test_a_folder_that_is_no_store_does_not_become_one(root: Path) -> None:
    root.mkdir()
    (root / "thesis.txt").touch()

    (finding,) = found(root, "store")

    assert finding.severity == "note"
    assert contents(root) == {"thesis.txt"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"garbage", "not one of cachekit's"),
        (b'{"store": "cachekit", "format": 99}', "format 99"),
        (b"[]", "not one of cachekit's"),
    ],
)
def test_a_foreign_or_newer_store_is_a_problem(
    root: Path, content: bytes, told: str
) -> None:
    fill(root)
    (root / "store.json").write_bytes(content)

    (finding,) = found(root, "store")

    assert finding.severity == "problem"
    assert told in finding.what


def test_another_hash_version_is_a_warning(root: Path) -> None:
    fill(root)
    facts = json.loads((root / "store.json").read_bytes())
    (root / "store.json").write_text(json.dumps({**facts, "hash_version": 99}))

    (finding,) = found(root, "store")

    assert finding.severity == "warning"
    assert "hash version 99" in finding.what


def test_a_file_in_the_place_of_the_store_is_a_problem(root: Path) -> None:
    root.touch()

    assert "problem" in severities(root)


def test_an_address_that_nobody_serves_is_a_problem() -> None:
    *_, last = inspection.examine("nosuch://bucket")

    assert last.severity == "problem"
    assert "nosuch://" in last.what


@pytest.mark.parametrize(
    ("mode", "severity"), [(0o700, "ok"), (0o750, "note"), (0o770, "warning")]
)
@pytest.mark.skipif(os.name == "nt", reason="there are no such modes")
def test_who_else_may_use_the_folder_is_told(
    root: Path, mode: int, severity: str
) -> None:
    fill(root)
    root.chmod(mode)

    access = found(root, "access")

    assert [one.severity for one in access] == [severity]
    if severity != "ok":
        assert access[0].advice.startswith(f"chmod 700 {root}")


def test_a_disk_that_is_nearly_full_is_a_warning(
    root: Path, environment: pytest.MonkeyPatch
) -> None:
    fill(root)
    usage = namedtuple("usage", "total used free")
    for free, severity in ((9 * 10**8, "warning"), (9 * 10**10, "ok")):
        environment.setattr(
            shutil, "disk_usage", lambda _, free=free: usage(10**11, 0, free)
        )
        first, *_ = found(root, "space")
        assert first.severity == severity


def test_a_folder_that_cannot_be_written_to_is_a_problem(
    root: Path, environment: pytest.MonkeyPatch
) -> None:
    fill(root)

    def refuse(*_: object) -> Any:
        raise PermissionError(13, "Permission denied")

    environment.setattr(os, "mkdir", refuse)

    (finding,) = found(root, "writing")
    assert finding.severity == "problem"
    assert "nothing can be stored" in finding.what
    assert found(root, "abilities") == []


def test_leftovers_and_damage_are_told(root: Path) -> None:
    store = fill(root)
    (root / ".leases/gone.waits").write_text("another")
    (root / ".stats/damaged.json").write_bytes(b"{")
    (entry,) = inspection.entries(store)
    (root / entry.key.path / "value").write_bytes(b"")
    for verified in inspection.verify(store):
        inspection.put_away(verified)

    left = {one.severity: one for one in found(root, "leftovers")}

    assert "1 lease" in left["note"].what
    assert "statistics" in left["warning"].what
    assert "cachekit sweep" in left["note"].advice
    (damaged,) = found(root, "damaged")
    assert "1 damaged entry" in damaged.what


@pytest.mark.parametrize(
    ("ahead", "severity"),
    [(0.5, "ok"), (-0.5, "ok"), (30.0, "note"), (-3600.0, "warning")],
)
def test_a_clock_that_goes_wrong_is_told(
    root: Path, environment: pytest.MonkeyPatch, ahead: float, severity: str
) -> None:
    fill(root)
    environment.setattr(places, "seconds_ahead", lambda _: ahead)

    (finding,) = found(root, "clock")

    assert finding.severity == severity


def test_a_file_system_that_cannot_what_is_needed_is_told(
    root: Path, environment: pytest.MonkeyPatch
) -> None:
    fill(root)

    def refuse(*_: object) -> Any:
        raise OSError(95, "Operation not supported")

    environment.setattr(os, "link", refuse)
    environment.setitem(places._ATTEMPTS, "creating a file once", refuse)

    note, problem = found(root, "abilities")

    assert (note.severity, problem.severity) == ("note", "problem")
    assert "hard links" in note.what
    assert "creating a file once" in problem.what


def test_the_folder_of_a_test_can_what_is_needed(tmp_path: Path) -> None:
    assert dict(places.failures(tmp_path)) == {}
    assert places.ignores_case(tmp_path) == (sys.platform in ("darwin", "win32"))
    assert abs(places.seconds_ahead(tmp_path)) < 2
    assert list(tmp_path.iterdir()) == []


def test_a_network_is_known_by_its_mount(tmp_path: Path) -> None:
    place = tmp_path / "a b"
    place.mkdir()
    point = str(tmp_path).replace(" ", "\\040")
    mounts = (
        "/dev/sda / ext4 rw 0 0\n"
        f"server:/data {point}/a\\040b nfs4 rw 0 0\n"
        f"tmpfs {point}/other tmpfs rw 0 0\n"
        "half a line\n"
    )

    there, above = (places.file_system_of(at, mounts) for at in (place, tmp_path))

    assert (there.kind, there.is_network) == ("nfs4", True)
    assert (above.kind, above.is_network, above.is_in_memory) == ("ext4", False, False)
    assert places.file_system_of(tmp_path, "") == places.FileSystem("")


@pytest.mark.parametrize(
    ("key", "severity"), [(None, "ok"), ("0123456789abcdef", "ok"), ("a", "problem")]
)
def test_the_signing_key_is_told_but_never_shown(
    root: Path, environment: pytest.MonkeyPatch, key: str | None, severity: str
) -> None:
    if key is not None:
        environment.setenv("CACHEKIT_SIGNING_KEY", key)

    (finding,) = found(root, "signing")

    assert finding.severity == severity
    assert "0123456789abcdef" not in repr(finding)


def test_what_fails_unforeseen_is_a_finding(
    root: Path, environment: pytest.MonkeyPatch
) -> None:
    fill(root)

    def fail(*_: object) -> Any:
        raise RuntimeError("all is lost")

    environment.setattr(health, "leftovers", fail)

    (finding,) = found(root, "leftovers")
    assert (finding.severity, finding.what) == ("problem", "all is lost")


# --- remote stores ---


def examine_remote(
    remote: Remote, url: str, environment: pytest.MonkeyPatch
) -> dict[str, Finding]:
    def parts(_: object) -> list[RemoteStore]:
        return [RemoteStore(url, remote.options, timeout=10)]

    environment.setattr(health, "parts_of", parts)
    return {one.topic: one for one in inspection.examine(url) if one.place}


def test_a_remote_store_is_looked_at(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}-health"
    Memory(RemoteStore(url)).cache(fit)(1)

    assert severities(url) <= {"ok", "note"}
    assert found(url, "reading")[0].place == url
    assert "the first wins" in found(url, "files")[0].what
    store = RemoteStore(url)
    assert len(inspection.entries(store)) == 1
    assert set(store.service.find(".staging")) == set()


@pytest.mark.slow
def test_a_bucket_is_looked_at(
    moto_s3_server: Remote, environment: pytest.MonkeyPatch
) -> None:
    url = moto_s3_server.fresh()
    Memory(RemoteStore(url, moto_s3_server.options)).cache(fit)(1)

    topics = examine_remote(moto_s3_server, url, environment)

    assert {one.severity for one in topics.values()} == {"ok"}
    assert "the first wins" in topics["files"].what
    assert "was written" in topics["writing"].what


@pytest.mark.slow
def test_a_service_that_creates_what_exists_is_found_out(
    rclone_s3_server: Remote, environment: pytest.MonkeyPatch
) -> None:
    url = rclone_s3_server.fresh()
    Memory(RemoteStore(url, rclone_s3_server.options)).cache(fit)(1)

    topics = examine_remote(rclone_s3_server, url, environment)

    assert "created twice" in topics["files"].what


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_a_problem(
    moto_s3_server: Remote, environment: pytest.MonkeyPatch
) -> None:
    topics = examine_remote(moto_s3_server, "s3://nosuch-bucket/here", environment)

    assert "problem" in {one.severity for one in topics.values()}
