"""Entries go to other stores and into files, whole, and are hits there."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

import cachekit
from cachekit import Memory, inspection
from cachekit.errors import StoreError
from cachekit.inspection import archives
from cachekit.stores import EntryKey, LocalStore, Store

CALLS: list[Any] = []


def scale(x: int, by: float = 2.0) -> Any:
    CALLS.append(x)
    return np.full(10_000, x * by)


def report(name: str) -> Path:
    CALLS.append(name)
    path = cachekit.artifact(f"{name}.txt")
    path.write_text(name)
    return path


def count(limit: int) -> Iterator[int]:
    CALLS.append(limit)
    yield from range(limit)


def use(store: Store | Path) -> list[Any]:
    """Call everything once; return what was computed."""
    CALLS.clear()
    memory = Memory(store)
    for x in range(3):
        assert memory.cache(scale, track="off")(x)[0] == 2 * x
    assert memory.cache(report, track="off")("a").read_text() == "a"
    assert list(memory.cache(count, track="off")(4)) == [0, 1, 2, 3]
    memory.flush()
    return CALLS


@pytest.fixture
def source(tmp_path: Path) -> LocalStore:
    """Return a store with five entries, one of them pinned."""
    store = LocalStore(tmp_path / "source")
    assert len(use(store)) == 5
    store.pin(next(iter(store.entries())).key)
    return store


@pytest.fixture
def target(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "target")


def facts(store: Store) -> set[Any]:
    return {(info.key, info.size, info.is_pinned) for info in store.entries()}


def exported(store: Store) -> bytes:
    file = io.BytesIO()
    done = inspection.export_entries(store, store.entries(), file)
    assert done.copied == len(facts(store))
    return file.getvalue()


# --- from store to store ---


def test_copied_entries_are_hits(source: LocalStore, target: LocalStore) -> None:
    sizes: list[int] = []

    done = inspection.copy_entries(
        source, target, source.entries(), progress=sizes.append
    )

    assert use(target) == []
    assert facts(target) == facts(source)
    assert (done.copied, done.failures) == (5, ())
    assert done.bytes == sum(sizes) == sum(size for _, size, _ in facts(source))
    key = next(iter(source.entries())).key
    assert target.read_code(key) == source.read_code(key)


def test_only_what_is_missing_is_copied(source: LocalStore, target: LocalStore) -> None:
    all_of_them = list(source.entries())
    inspection.copy_entries(source, target, all_of_them[:2])

    missing = inspection.lacking(target, source.entries())

    assert {one.key for one in missing} == {one.key for one in all_of_them[2:]}


def test_what_goes_meanwhile_is_told(source: LocalStore, target: LocalStore) -> None:
    chosen = list(source.entries())
    source.delete(chosen[0].key)

    done = inspection.copy_entries(source, target, chosen)

    assert done.copied == 4
    assert [path for path, _ in done.failures] == [chosen[0].key.path]


class Full(LocalStore):
    """A store on a disk that is full."""

    def stage(self, key: EntryKey) -> Any:  # noqa: ARG002
        raise OSError(28, "No space left on device")


def test_one_entry_that_fails_does_not_stop_the_others(
    source: LocalStore, tmp_path: Path
) -> None:
    done = inspection.copy_entries(source, Full(tmp_path / "full"), source.entries())

    assert done.copied == 0
    assert len(done.failures) == 5
    assert "No space left" in done.failures[0][1]


def test_a_place_that_is_gone_is_given_up(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "many")
    memory = Memory(store)
    for x in range(30):
        memory.cache(scale, track="off")(x)

    with pytest.raises(StoreError, match=r"10 failures in a row.*No space left"):
        inspection.copy_entries(store, Full(tmp_path / "full"), store.entries())


# --- files ---


def test_a_file_brings_everything(source: LocalStore, target: LocalStore) -> None:
    done = inspection.import_entries(io.BytesIO(exported(source)), target)

    assert use(target) == []
    assert facts(target) == facts(source)
    assert (done.copied, done.present) == (5, 0)
    key = next(iter(source.entries())).key
    assert target.read_code(key) == source.read_code(key)


def test_a_file_that_was_read_already_brings_nothing(
    source: LocalStore, target: LocalStore
) -> None:
    content = exported(source)
    inspection.import_entries(io.BytesIO(content), target)

    done = inspection.import_entries(io.BytesIO(content), target)

    assert (done.copied, done.present) == (0, 5)


def test_a_file_without_compression_is_read(
    source: LocalStore, target: LocalStore
) -> None:
    import zstandard

    with zstandard.ZstdDecompressor().stream_reader(exported(source)) as plain:
        done = inspection.import_entries(io.BytesIO(plain.read()), target)

    assert done.copied == 5


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_a_file_that_ends_early_is_an_error_and_brings_whole_entries(
    source: LocalStore, target: LocalStore, part: float
) -> None:
    content = exported(source)

    with pytest.raises(StoreError, match="entries were read"):
        inspection.import_entries(
            io.BytesIO(content[: int(part * len(content))]), target
        )

    there = facts(target)
    assert there <= facts(source)
    assert len(use(target)) == 5 - len(there)


@pytest.mark.parametrize("missing", [1, 4, 5])
def test_a_file_without_its_last_bytes_is_an_error(
    source: LocalStore, target: LocalStore, missing: int
) -> None:
    # A checksum of four bytes comes last, behind all that the archive holds.
    with pytest.raises(StoreError, match="ends too early"):
        inspection.import_entries(io.BytesIO(exported(source)[:-missing]), target)

    assert facts(target) <= facts(source)


@pytest.mark.parametrize("place", [-1, -4])
def test_a_wrong_checksum_is_an_error(
    source: LocalStore, target: LocalStore, place: int
) -> None:
    content = bytearray(exported(source))
    content[place] ^= 1

    with pytest.raises(StoreError, match="does not decompress"):
        inspection.import_entries(io.BytesIO(content), target)


def test_a_flipped_byte_is_an_error(source: LocalStore, target: LocalStore) -> None:
    content = bytearray(exported(source))
    content[len(content) // 2] ^= 1

    with pytest.raises(StoreError, match=r"damaged|no part of one"):
        inspection.import_entries(io.BytesIO(content), target)

    assert facts(target) <= facts(source)


def archive_of(*members: tuple[str, bytes]) -> BinaryIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    file.seek(0)
    return file


OURS = ("store.json", b'{"store": "cachekit", "format": 1}')
ENTRY = f"f/{'0' * 32}/00/{'0' * 30}"


@pytest.mark.parametrize(
    "name",
    [
        "../value",
        "/value",
        f"../../{'0' * 32}/00/{'0' * 30}/value",
        f"../{'0' * 32}/00/{'0' * 30}/value",
        f"..//{'0' * 32}/00/{'0' * 30}/value",
        f"{ENTRY}/../../value",
        f"{ENTRY}/files/../../value",
        f"{ENTRY}/files/",
        f"{ENTRY}/files//value",
        f"{ENTRY}/other",
        f"A/{'0' * 32}/00/{'0' * 30}/value",
        f".staging/{'0' * 32}/code.json",
    ],
)
def test_names_that_lead_elsewhere_are_refused(
    name: str, target: LocalStore, tmp_path: Path
) -> None:
    before = {*tmp_path.rglob("*")}

    with pytest.raises(StoreError, match="is no part of one"):
        inspection.import_entries(archive_of(OURS, (name, b"x")), target)

    left = {*tmp_path.rglob("*")} - before
    assert not [path for path in left if path.name in ("value", "code.json", "other")]


@pytest.mark.parametrize(
    "file",
    [
        io.BytesIO(b""),
        io.BytesIO(b"something else" * 100),
        io.BytesIO(b"\x28\xb5\x2f\xfd and more"),
        archive_of(),
        archive_of(("notes.txt", b"")),
        archive_of(("store.json", b"{}")),
        archive_of(("store.json", b'{"store": "cachekit", "format": 99}')),
    ],
)
def test_what_is_no_export_is_an_error(file: io.BytesIO, target: LocalStore) -> None:
    file.seek(0)

    with pytest.raises(StoreError):
        inspection.import_entries(file, target)

    assert facts(target) == set()


def test_an_entry_without_a_value_is_dropped(target: LocalStore) -> None:
    other = f"f/{'0' * 32}/11/{'0' * 30}"
    file = archive_of(OURS, (f"{ENTRY}/record.json", b"{}"), (f"{other}/value", b"v"))

    assert inspection.import_entries(file, target).copied == 1
    assert [info.key.digest[:2] for info in target.entries()] == ["11"]
    assert [*(target.root / ".staging").iterdir()] == []


def test_an_entry_that_cannot_be_read_does_not_stop_the_others(
    source: LocalStore, target: LocalStore
) -> None:
    (path,) = source.root.rglob("a.txt")
    path.unlink()
    file = io.BytesIO()

    done = inspection.export_entries(source, source.entries(), file)

    assert done.copied == 4
    assert len(done.failures) == 1
    file.seek(0)
    assert inspection.import_entries(file, target).copied == 4


class Forgetful(LocalStore):
    """A store that cannot read how the code of one function is described."""

    def read_code(self, key: EntryKey) -> bytes | None:
        if "scale" in key.function:
            raise OSError(5, "Input/output error")
        return super().read_code(key)


def test_code_that_cannot_be_read_does_not_stop_the_others(source: LocalStore) -> None:
    store = Forgetful(source.root)

    done = inspection.export_entries(store, store.entries(), io.BytesIO())

    assert (done.copied, len(done.failures)) == (2, 3)
    assert {why for _, why in done.failures} == {"[Errno 5] Input/output error"}


def test_a_description_that_is_too_large_is_refused(
    target: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LARGEST", 100)

    with pytest.raises(StoreError, match="more than 100 bytes"):
        inspection.import_entries(archive_of(("store.json", b" " * 101)), target)
