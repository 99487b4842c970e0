"""Entries that were damaged in many ways, found without unpickling any."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cachekit import Memory, artifact, inspection
from cachekit.errors import CacheWarning, StoreError
from cachekit.inspection import EntryReport, Verified, put_away, verification
from cachekit.serialization.container import HEADER, TRAILER
from cachekit.stores import (
    DictStore,
    LocalStore,
    ReadOnlyStore,
    RemoteStore,
    Store,
    TieredStore,
)
from tests.stores.servers import Remote, moto_s3_server

__all__ = ["moto_s3_server"]

SECRET = b"0123456789abcdef"
SIZES = {"small": 3, "large": 300_000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root)


def make(n: int) -> dict[str, Any]:
    return {"numbers": np.arange(n), "text": "a" * n}


def count(n: int) -> Iterator[Any]:
    for number in range(n):
        yield np.arange(1000 * number)


def draw(n: int) -> Any:
    path = artifact("plots/first.png")
    path.write_bytes(b"." * n)
    return path


class Trap:
    """Says so when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


def only_entry(store: Store) -> EntryReport:
    (entry,) = inspection.entries(store)
    return entry


def value_of(store: LocalStore, entry: EntryReport | None = None) -> Path:
    return store.root / (entry or only_entry(store)).key.path / "value"


def problems(store: Store, **how: Any) -> list[inspection.Problem]:
    return [one.problem for one in inspection.verify(store, **how) if one.problem]


def only_problem(store: Store, **how: Any) -> inspection.Problem:
    (problem,) = problems(store, **how)
    return problem


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


# --- what is whole ---


@pytest.mark.parametrize("secret", [None, SECRET])
@pytest.mark.parametrize("compress", [None, "zstd", "lz4"])
def test_whole_entries_are_well(
    store: LocalStore, secret: bytes | None, compress: str | None
) -> None:
    memory = Memory(store, signing_key=secret, compress=compress or False)
    for n in SIZES.values():
        memory.cache(make)(n)
    list(memory.cache(count)(30))
    memory.cache(draw)(100)

    found = list(inspection.verify(store, secret=secret))

    assert len(found) == 4
    assert [one.problem for one in found] == [None] * 4
    total = sum(entry.size for entry in inspection.entries(store))
    assert sum(one.size for one in found) == total
    assert not any(one.is_signature_unknown for one in found)


def test_several_threads_find_the_same(store: LocalStore) -> None:
    memory = Memory(store)
    for n in range(40):
        memory.cache(make)(n)
    for number, entry in enumerate(inspection.entries(store)):
        if number % 3 == 0:
            flip(value_of(store, entry), 40)

    one = [problem.key for problem in problems(store, threads=1)]

    assert len(one) == 14
    assert [problem.key for problem in problems(store, threads=4)] == one


def test_nothing_is_unpickled(store: LocalStore, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    Memory(store).cache(lambda: Trap(str(trap)))()
    assert not trap.exists()

    assert problems(store) == []

    assert not trap.exists()


def test_only_what_is_asked_for_is_checked(store: LocalStore) -> None:
    memory = Memory(store)
    memory.cache(make)(1)
    memory.cache(make)(2)
    first, second = inspection.entries(store)
    flip(value_of(store, first), 40)

    assert problems(store, keys=[second.key]) == []
    assert len(problems(store, keys=[first.key])) == 1


def test_a_store_that_is_not_there_has_nothing_to_check(store: LocalStore) -> None:
    assert list(inspection.verify(store)) == []
    assert not store.root.exists()


# --- damage ---


def of_header(_: bytes) -> int:
    return 3


def of_version(_: bytes) -> int:
    return 8


def of_stream(_: bytes) -> int:
    return HEADER.size + 5


def of_buffer(content: bytes) -> int:
    return len(content) // 2


def of_index(content: bytes) -> int:
    offset: int = struct.unpack_from("<Q", content, len(content) - TRAILER.size)[0]
    return offset + 20


def of_trailer(content: bytes) -> int:
    return len(content) - TRAILER.size


def of_label(content: bytes) -> int:
    return len(content) - TRAILER.size + 17


def of_end(content: bytes) -> int:
    return len(content) - 1


PLACES = [
    *(of_header, of_version, of_stream, of_buffer, of_index, of_trailer, of_label),
    of_end,
]


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_byte_that_was_altered_is_found(
    store: LocalStore,
    size: str,
    place: Callable[[bytes], int],
    secret: bytes | None,
) -> None:
    Memory(store, signing_key=secret).cache(make)(SIZES[size])
    path = value_of(store)
    flip(path, place(path.read_bytes()))

    problem = only_problem(store, secret=secret)

    assert problem.kind == "damaged"
    assert problem.function == f"{__name__}.make"
    assert problem.key == only_entry(store).key
    assert problem.location == store.location
    assert problem.what
    assert "computes it again" in problem.advice


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("left", [0, 1, 10, 70, -1])
def test_a_truncated_value_is_found(store: LocalStore, size: str, left: int) -> None:
    Memory(store).cache(make)(SIZES[size])
    path = value_of(store)
    content = path.read_bytes()
    path.write_bytes(content[:left])

    assert only_problem(store).kind == "damaged"


def test_what_follows_a_value_is_found(store: LocalStore) -> None:
    Memory(store).cache(make)(3)
    path = value_of(store)
    path.write_bytes(path.read_bytes() + b"\0")

    assert "follows" in only_problem(store).what


@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.999])
def test_damaged_items_are_found(store: LocalStore, part: float) -> None:
    list(Memory(store).cache(count)(30))
    path = value_of(store)
    flip(path, int(part * path.stat().st_size))

    assert only_problem(store).kind == "damaged"


def test_truncated_items_are_found(store: LocalStore) -> None:
    list(Memory(store).cache(count)(30))
    path = value_of(store)
    path.write_bytes(path.read_bytes()[:-100])

    assert "truncated" in only_problem(store).what


@pytest.mark.parametrize("secret", [None, SECRET])
def test_values_that_changed_places_are_found(
    store: LocalStore, secret: bytes | None
) -> None:
    memory = Memory(store, signing_key=secret)
    memory.cache(make)(1)
    memory.cache(make)(2)
    first, second = (value_of(store, entry) for entry in inspection.entries(store))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)

    found = problems(store, secret=secret)

    assert len(found) == 2
    assert "another entry" in found[0].what


def test_a_missing_record_is_found(store: LocalStore) -> None:
    Memory(store).cache(make)(1)
    value_of(store).with_name("record.json").unlink()

    problem = only_problem(store)

    assert (problem.kind, problem.what) == ("damaged", "its record is missing")
    assert problem.function == only_entry(store).key.function


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_damaged_record_is_found(store: LocalStore, content: bytes) -> None:
    Memory(store).cache(make)(1)
    value_of(store).with_name("record.json").write_bytes(content)

    assert "its record is damaged" in only_problem(store).what


def test_the_record_of_another_entry_is_found(store: LocalStore) -> None:
    memory = Memory(store)
    memory.cache(make)(1)
    memory.cache(make)(2)
    first, second = (value_of(store, entry) for entry in inspection.entries(store))
    shutil.copy(first.with_name("record.json"), second.with_name("record.json"))

    assert "of another entry" in only_problem(store).what


def test_a_folder_in_the_place_of_a_value_is_found(store: LocalStore) -> None:
    Memory(store).cache(make)(1)
    path = value_of(store)
    path.unlink()
    path.mkdir()

    assert only_problem(store).kind == "damaged"


@pytest.mark.skipif(os.name == "nt", reason="as it is on POSIX")
def test_a_value_that_cannot_be_read_is_told_and_is_not_damaged(
    store: LocalStore,
) -> None:
    Memory(store).cache(make)(1)
    path = value_of(store)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")

    assert only_problem(store).kind == "unreadable"


@pytest.mark.parametrize("change", ["shorter", "longer", "gone", "folder"])
def test_a_file_of_a_call_that_was_altered_is_found(
    store: LocalStore, change: str
) -> None:
    Memory(store).cache(draw)(10)
    path = value_of(store).with_name("files") / "plots/first.png"
    if change in ("gone", "folder"):
        path.unlink()
    if change == "folder":
        path.mkdir()
    if change in ("shorter", "longer"):
        path.write_bytes(b"." * {"shorter": 9, "longer": 11}[change])

    problem = only_problem(store)

    assert problem.kind == "damaged"
    assert "'plots/first.png'" in problem.what


def test_a_file_that_would_lie_elsewhere_is_no_file(store: LocalStore) -> None:
    Memory(store).cache(draw)(10)
    path = value_of(store).with_name("record.json")
    facts = json.loads(path.read_bytes())
    path.write_text(json.dumps({**facts, "files": {"../value": 3}}))

    assert "'../value'" in only_problem(store).what


# --- signatures ---


def test_what_another_key_signed_is_not_trusted(store: LocalStore) -> None:
    Memory(store, signing_key=SECRET).cache(make)(1)
    list(Memory(store, signing_key=SECRET).cache(count)(3))

    found = problems(store, secret=b"another secret of us")

    assert [problem.kind for problem in found] == ["untrusted", "untrusted"]


def test_what_is_not_signed_is_not_trusted(store: LocalStore) -> None:
    Memory(store).cache(make)(1)

    problem = only_problem(store, secret=SECRET)

    assert problem.kind == "untrusted"
    assert "not signed" in problem.what


def test_without_a_key_signatures_are_counted_and_not_judged(
    store: LocalStore,
) -> None:
    memory = Memory(store, signing_key=SECRET)
    memory.cache(make)(1)
    list(memory.cache(count)(3))
    Memory(store, signing_key=None).cache(make)(2)

    found = list(inspection.verify(store))

    assert [one.problem for one in found] == [None] * 3
    assert sum(one.is_signature_unknown for one in found) == 2


def test_the_key_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CACHEKIT_SIGNING_KEY", raising=False)
    assert inspection.signing_secret() is None

    monkeypatch.setenv("CACHEKIT_SIGNING_KEY", SECRET.decode())
    monkeypatch.setenv("OTHER", "fedcba9876543210")
    assert inspection.signing_secret() == SECRET
    assert inspection.signing_secret("OTHER") == b"fedcba9876543210"

    monkeypatch.setenv("OTHER", "short")
    for name in ("OTHER", "NOSUCH"):
        with pytest.raises(ValueError, match=r"least|no environment variable"):
            inspection.signing_secret(name)


# --- put away ---


def damaged(store: Store) -> Verified:
    (found,) = (one for one in inspection.verify(store) if one.problem)
    return found


def test_a_damaged_entry_is_put_away_and_computed_again(store: LocalStore) -> None:
    cached = Memory(store).cache(make)
    cached(1)
    flip(value_of(store), 40)

    place = put_away(damaged(store))

    assert place is not None
    assert Path(place).parent == store.root / ".damaged"
    assert {path.name for path in Path(place).iterdir()} == {"value", "record.json"}
    assert inspection.entries(store) == []
    assert cached(1)["text"] == "a"  # without a warning
    assert problems(store) == []


def test_an_entry_that_is_whole_by_now_stays(store: LocalStore) -> None:
    cached = Memory(store).cache(make)
    cached(1)
    flip(value_of(store), 40)
    found = damaged(store)
    with pytest.warns(CacheWarning):
        cached(1)  # computed again, and stored

    assert put_away(found) is None
    assert problems(store) == []
    assert len(inspection.entries(store)) == 1


def test_what_is_only_to_be_read_stays(store: LocalStore) -> None:
    Memory(store).cache(make)(1)
    flip(value_of(store), 40)
    found = damaged(ReadOnlyStore(store))

    assert found.is_read_only
    assert put_away(found) is None
    assert len(inspection.entries(store)) == 1


def test_a_store_of_another_format_stays(store: LocalStore) -> None:
    Memory(store).cache(make)(1)
    flip(value_of(store), 40)
    found = damaged(store)
    (store.root / "store.json").write_text('{"store": "cachekit", "format": 99}')

    with pytest.raises(StoreError, match="format 99"):
        put_away(found)


def test_an_entry_that_is_gone_need_not_be_put_away(store: LocalStore) -> None:
    Memory(store).cache(make)(1)
    flip(value_of(store), 40)
    found = damaged(store)
    store.delete(found.key)

    assert put_away(found) is None


def test_without_repair_a_damaged_entry_is_found_by_its_call(store: LocalStore) -> None:
    cached = Memory(store).cache(make)
    cached(1)
    flip(value_of(store), 40)
    assert problems(store)

    with pytest.warns(CacheWarning):
        cached(1)

    assert problems(store) == []


# --- other stores ---


def spoil(store: Store, entry: EntryReport) -> None:
    content = bytearray(store.read(entry.key, "value") or b"")
    record = store.read(entry.key, "record.json") or b""
    content[40] ^= 1
    with store.stage(entry.key) as staging:
        staging.write("record.json", record)
        staging.write("value", bytes(content))
        staging.replace()


def check_store(store: Store) -> None:
    memory = Memory(store)
    for n in range(12):
        memory.cache(make)(n)
    memory.cache(draw)(10)
    list(memory.cache(count)(5))
    memory.flush()
    assert problems(store) == []
    entry = next(e for e in inspection.entries(store) if e.function.endswith("make"))
    spoil(store, entry)

    found = damaged(store)

    assert found.key == entry.key
    if isinstance(store, RemoteStore):
        assert put_away(found) is None  # others of its files may be on their way
    with pytest.MonkeyPatch.context() as later:
        later.setattr(verification, "UPLOAD_SECONDS", 0.0)
        assert put_away(found) == "removed"
    assert problems(store) == []
    assert len(inspection.entries(store)) == 13


def test_entries_in_memory_are_checked() -> None:
    check_store(DictStore())


def test_a_remote_store_is_checked(tmp_path: Path) -> None:
    check_store(RemoteStore(f"memory://{tmp_path.name}-verify"))


@pytest.mark.slow
def test_a_bucket_is_checked(moto_s3_server: Remote) -> None:
    check_store(RemoteStore(moto_s3_server.fresh(), moto_s3_server.options))


def test_a_file_that_is_missing_in_a_remote_store_is_found(tmp_path: Path) -> None:
    store = RemoteStore(f"memory://{tmp_path.name}-file")
    Memory(store).cache(draw)(10)
    key = only_entry(store).key
    store.service.remove([f"{key.path}/files/plots/first.png"])

    assert "is gone" in only_problem(store).what


def test_of_a_near_and_a_far_store_both_are_checked(
    store: LocalStore, tmp_path: Path
) -> None:
    far = LocalStore(tmp_path / "far")
    both = TieredStore(store, far)
    Memory(both).cache(make)(1)
    both.flush()
    assert len(list(inspection.verify(both))) == 2
    flip(value_of(far), 40)

    assert only_problem(both).location == far.location

    put_away(damaged(both))
    assert len(inspection.entries(store)) == 1
    assert inspection.entries(far) == []
