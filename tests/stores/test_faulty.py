from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import pytest

from tests.stores.faulty import LISTINGS, READS, WRITES, FaultyFileSystem, Kind
from tests.stores.servers import moto_s3

FILE = "/place/file"


@pytest.fixture
def filesystem() -> FaultyFileSystem:
    faulty = FaultyFileSystem()
    faulty.inner.pipe_file(FILE, b"content")
    return faulty


def test_requests_are_passed_on_and_counted(filesystem: FaultyFileSystem) -> None:
    filesystem.pipe_file("/place/other", b"other", mode="create")

    assert filesystem.cat_file("/place/other", start=1, end=3) == b"th"
    assert sorted(filesystem.find("/place", detail=True)) == [FILE, "/place/other"]
    assert filesystem.requests == {"pipe_file": 1, "cat_file": 1, "find": 1}


def test_every_method_that_may_fail_is_counted(filesystem: FaultyFileSystem) -> None:
    methods = READS | LISTINGS | WRITES

    with filesystem.fault("dead"):
        for method in methods:
            with pytest.raises(ConnectionRefusedError):
                getattr(filesystem, method)(FILE)

    assert filesystem.requests == dict.fromkeys(methods, 1)


def test_what_is_not_acknowledged_is_done(filesystem: FaultyFileSystem) -> None:
    with filesystem.fault("lost_ack"), pytest.raises(ConnectionResetError):
        filesystem.pipe_file(FILE, b"new")

    assert filesystem.cat_file(FILE) == b"new"


def test_what_is_late_is_not_done(filesystem: FaultyFileSystem) -> None:
    with filesystem.fault("timeout"), pytest.raises(TimeoutError):
        filesystem.pipe_file(FILE, b"new")

    assert filesystem.cat_file(FILE) == b"content"


def test_what_hangs_is_done_when_it_is_released(filesystem: FaultyFileSystem) -> None:
    with (
        ThreadPoolExecutor() as pool,
        filesystem.fault("hang", method="cat_file") as fault,
    ):
        reading = pool.submit(filesystem.cat_file, FILE)
        assert fault.reached.wait(60)
        filesystem.pipe_file(FILE, b"new")  # others need not wait
        assert not reading.done()

        fault.release.set()

        assert reading.result(60) == b"new"


def test_what_still_hangs_fails_in_the_end(filesystem: FaultyFileSystem) -> None:
    with ThreadPoolExecutor() as pool:
        with filesystem.fault("hang") as fault:
            writing = pool.submit(filesystem.pipe_file, FILE, b"new")
            assert fault.reached.wait(60)

        with pytest.raises(TimeoutError):
            writing.result(60)

    assert filesystem.cat_file(FILE) == b"content"


def test_half_of_a_body_is_missing(filesystem: FaultyFileSystem) -> None:
    with filesystem.fault("truncated"):
        assert filesystem.cat_file(FILE) == b"con"


def test_listings_stay_as_they_were(filesystem: FaultyFileSystem) -> None:
    with filesystem.fault("stale"):
        filesystem.rm_file(FILE)
        filesystem.pipe_file("/place/other", b"other")

        assert filesystem.find("/place") == [FILE]
        assert filesystem.ls("/place", detail=False) == [FILE]
        assert filesystem.glob("/place/*") == [FILE]
        assert not filesystem.exists(FILE)

    assert filesystem.find("/place") == ["/place/other"]


def test_writes_are_refused_and_reads_are_not(filesystem: FaultyFileSystem) -> None:
    with filesystem.fault("read_only"):
        for method in WRITES:
            with pytest.raises(PermissionError):
                getattr(filesystem, method)(FILE, FILE)

        assert filesystem.cat_file(FILE) == b"content"


def test_a_fault_ends_after_so_many_times(filesystem: FaultyFileSystem) -> None:
    with filesystem.fault("dead", method="exists", times=2):
        assert filesystem.cat_file(FILE) == b"content"
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                filesystem.exists(FILE)

        assert filesystem.exists(FILE)


def test_of_two_faults_the_last_counts(filesystem: FaultyFileSystem) -> None:
    with (
        filesystem.fault("dead", times=1),
        filesystem.fault("timeout", times=1),
    ):
        with pytest.raises(TimeoutError):
            filesystem.cat_file(FILE)
        with pytest.raises(ConnectionRefusedError):
            filesystem.cat_file(FILE)


def test_the_error_can_be_that_of_a_client(filesystem: FaultyFileSystem) -> None:
    class ClientError(Exception):
        """Not of the system's, as with S3, Azure and SFTP."""

    with filesystem.fault("dead", error=ClientError), pytest.raises(ClientError):
        filesystem.exists(FILE)


def test_one_of_many_creates_a_file(filesystem: FaultyFileSystem) -> None:
    start = threading.Barrier(8)

    def create(number: int) -> bool:
        start.wait(60)
        try:
            filesystem.pipe_file("/place/new", b"%d" % number, mode="create")
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1


def test_a_url_leads_to_the_same_files(filesystem: FaultyFileSystem) -> None:
    with filesystem.standing_for("s3"):
        for url in ("faulty://place/file", "s3://place/file"):
            other, path = fsspec.core.url_to_fs(url, **filesystem.options)

            with filesystem.fault("dead"), pytest.raises(ConnectionRefusedError):
                other.cat_file(path)
            assert other.cat_file(path) == b"content"

    assert filesystem.requests["cat_file"] == 4
    assert fsspec.get_filesystem_class("s3") is not FaultyFileSystem


@pytest.mark.parametrize(
    ("kind", "raised", "number"),
    [
        ("conflict", OSError, 5),
        ("precondition_failed", FileExistsError, None),
        ("precondition_failed_bare", OSError, 22),
    ],
)
def test_only_conditional_writes_are_refused_as_s3fs_has_it(
    filesystem: FaultyFileSystem, kind: Kind, raised: type[OSError], number: int | None
) -> None:
    with filesystem.fault(kind):
        filesystem.pipe_file(FILE, b"new")
        with pytest.raises(raised) as refusal:
            filesystem.pipe_file("/place/other", b"other", mode="create")

    assert (type(refusal.value), refusal.value.errno) == (raised, number)
    assert filesystem.find("/place") == [FILE]


def test_what_exists_is_refused_as_a_server_does(filesystem: FaultyFileSystem) -> None:
    with moto_s3() as remote:
        real = _refusal(remote.filesystem(), remote.path)
    with filesystem.fault("precondition_failed"):
        imitated = _refusal(filesystem, "")

    assert imitated == real


def _refusal(filesystem: Any, place: str) -> tuple[Any, ...]:
    filesystem.pipe_file(f"{place}/file", b"")
    with pytest.raises(FileExistsError) as refusal:
        filesystem.pipe_file(f"{place}/file", b"", mode="create")
    error = refusal.value
    cause: Any = error.__cause__
    said = {name: cause.response["Error"][name] for name in ("Code", "Condition")}
    return type(error), error.errno, error.args, str(cause), said
