"""One computes and the others wait, unless they would wait for ever."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cachekit.stores import LocalStore, processes
from cachekit.stores import file_leases as leases
from cachekit.stores import flights as flights_module
from cachekit.stores.file_leases import FileLeases
from cachekit.stores.flights import SingleFlight
from cachekit.stores.leases import who_am_i


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store" / ".leases"


def flights_at(folder: Path) -> SingleFlight:
    """Return those of the store that has this folder."""
    return LocalStore(folder.parent).flights


@pytest.fixture(params=["threads", "files"])
def flights(request: pytest.FixtureRequest, folder: Path) -> SingleFlight:
    if request.param == "threads":
        return SingleFlight()
    return flights_at(folder)


def nothing() -> int | None:
    return None


@pytest.fixture(params=["links", "files"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have leases be links, or files, as where no links can be made."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if request.param == "files":
        monkeypatch.setattr(os, "symlink", refuse)
    elif os.utime not in os.supports_follow_symlinks:
        pytest.skip("leases are no links here")
    form: str = request.param
    return form


def say(lease: Path, text: str, form: str) -> None:
    """Make a lease of another process, or change what one says."""
    lease.unlink(missing_ok=True)
    if form == "links":
        lease.symlink_to(text)
    else:
        lease.write_text(text)


def litter(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


class Computing:
    """A result that is there once somebody has computed it, and how often that was."""

    def __init__(self) -> None:
        self.results: dict[str, int] = {}
        self.computed = 0

    def get(self, flights: SingleFlight, name: str, **options: Any) -> int:
        found = self.results.get(name)
        if found is not None:
            return found
        with flights.turn(name, lambda: self.results.get(name), **options) as turn:
            if turn.hit is None:
                self.computed += 1
                time.sleep(0.02)
                self.results[name] = 1
            return self.results[name]


def test_of_sixteen_threads_one_computes(flights: SingleFlight, folder: Path) -> None:
    computing, start = Computing(), threading.Barrier(16)

    def work(_: int) -> int:
        start.wait()
        return computing.get(flights, "key")

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(16))) == [1] * 16

    assert computing.computed == 1
    assert litter(folder) == []


def test_other_keys_do_not_wait(flights: SingleFlight) -> None:
    with flights.turn("one", nothing), flights.turn("two", nothing) as turn:
        assert turn.hit is None


def test_who_asks_for_what_it_computes_itself_does_not_wait(
    flights: SingleFlight, folder: Path
) -> None:
    with flights.turn("key", nothing), flights.turn("key", nothing) as inner:
        assert inner.hit is None

    assert litter(folder) == []
    with flights.turn("key", nothing) as turn:  # the inner one has ended nothing
        assert turn.hit is None


def test_an_error_hands_the_turn_on(flights: SingleFlight, folder: Path) -> None:
    computing, first = Computing(), threading.Event()

    def fail() -> None:
        with flights.turn("key", nothing):
            first.set()
            time.sleep(0.05)
            raise ValueError("mine")

    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(fail)
        first.wait()
        assert pool.submit(computing.get, flights, "key").result(timeout=20) == 1
        with pytest.raises(ValueError, match="mine"):
            failing.result()

    assert litter(folder) == []


class Watched(SingleFlight):
    """Tells how often somebody has looked who computes a key."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = threading.Semaphore(0)

    def _flight_of(self, name: str) -> Any:
        self.looks.release()
        return super()._flight_of(name)


def test_a_turn_that_is_lost_is_waited_for_no_longer_however_long_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flights_module, "LONGEST_WAIT", 0.01)
    flights = Watched()
    turn = flights.turn("key", nothing)

    def wait() -> object:
        with flights.turn("key", nothing) as other:
            return other.hit

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        for _ in range(6):  # the first two are those of the turns
            assert flights.looks.acquire(timeout=10)
        del turn  # as of a coroutine that nobody goes on with

        assert waiting.result(timeout=10) is None


def test_turns_that_were_lost_are_forgotten() -> None:
    flights = SingleFlight()
    for number in range(10):
        flights.turn(str(number), nothing)

    with flights.turn("key", nothing), ThreadPoolExecutor(1) as pool:
        pool.submit(flights.turn, "key", nothing, timeout=0).result(timeout=10)

        assert list(flights._flights) == ["key"]


def test_who_will_not_wait_longer_computes_too(flights: SingleFlight) -> None:
    computing = Computing()
    with flights.turn("key", nothing), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(computing.get, flights, "key", timeout=0.05)

        assert waiting.result(timeout=20) == 1


def test_threads_that_need_each_others_key_do_not_wait_for_ever(
    flights: SingleFlight, folder: Path
) -> None:
    both = threading.Barrier(3)
    rings = ["a", "b", "c"]

    def work(place: int) -> bool:
        with flights.turn(rings[place], nothing):
            both.wait()
            with flights.turn(rings[place - 1], nothing) as turn:
                return turn.hit is None

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, range(3), timeout=30)) == [True] * 3

    assert litter(folder) == []


# --- processes ---

OWNER = """
import os, sys, time
from pathlib import Path
from cachekit.stores.file_leases import FileLeases
folder = Path(sys.argv[1])
leases = FileLeases(folder, lambda: folder.parent.mkdir(exist_ok=True))
{before}
lease = leases.acquire(sys.argv[2])
{more}
print("mine", flush=True)
time.sleep(600)
"""

NO_LINKS = """
def refuse(*_):
    raise PermissionError(1, "Operation not permitted")
os.symlink = refuse
"""


@pytest.fixture
def owner(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start another process that takes a lease and keeps it."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *, before: str = "", more: str = "") -> subprocess.Popen[str]:
        program = textwrap.dedent(OWNER).format(before=before, more=more)
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(folder), name],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_another_process_is_waited_for(
    owner: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    owner("key")
    flights = flights_at(folder)

    with flights.turn("key", nothing, timeout=0.3) as turn:
        assert turn.hit is None
        assert len(litter(folder)) == 1  # the other one's still
    results = iter([None, None, 5])
    with flights.turn("key", lambda: next(results)) as turn:
        assert turn.hit == 5


@pytest.mark.parametrize("is_reaped", [True, False])
def test_a_killed_owner_is_followed_within_seconds(
    owner: Callable[..., subprocess.Popen[str]], folder: Path, is_reaped: bool
) -> None:
    process = owner("key")
    flights = flights_at(folder)
    process.kill()
    if is_reaped:
        process.wait()
    else:
        while processes.start_of(process.pid) != "0":  # it has not ended yet
            time.sleep(0.001)

    started = time.monotonic()
    with flights.turn("key", nothing) as turn:
        assert turn.hit is None

    assert time.monotonic() - started < leases.SILENT_SECONDS / 2
    assert litter(folder) == []


def test_a_stopped_owner_is_followed_after_its_silence(
    owner: Callable[..., subprocess.Popen[str]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "SILENT_BUT_RUNNING_SECONDS", 0.5)
    process = owner("key")
    process.send_signal(signal.SIGSTOP)

    with flights_at(folder).turn("key", nothing) as turn:
        assert turn.hit is None


def test_an_owner_with_a_pulse_is_not_silent(
    owner: Callable[..., subprocess.Popen[str]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        leases, "SILENT_BUT_RUNNING_SECONDS", 2.5 * leases.HEARTBEAT_SECONDS
    )
    owner("key")
    wait = 3.5 * leases.HEARTBEAT_SECONDS

    with flights_at(folder).turn("key", nothing, timeout=wait):
        assert len(litter(folder)) == 1


def test_an_owner_of_another_host_is_followed_after_its_silence(
    folder: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SILENT_SECONDS", 0.2)
    folder.mkdir(parents=True)
    say(folder / "key", f"elsewhere {os.getpid()} 5 ab", form)

    with flights_at(folder).turn("key", nothing) as turn:
        assert turn.hit is None

    assert litter(folder) == []


def test_a_lease_says_who_has_it_until_it_is_given_back(
    folder: Path, form: str
) -> None:
    first = FileLeases(folder, lambda: folder.parent.mkdir(parents=True, exist_ok=True))

    lease = first.acquire("key")

    assert lease is not None
    path = folder / "key"
    assert path.is_symlink() == (form == "links")
    said = str(path.readlink()) if form == "links" else path.read_text()
    assert said.startswith(f"{processes.name_of(os.getpid())} ")
    os.utime(path, (0, 0), follow_symlinks=False)
    lease.beat()
    assert time.time() - path.lstat().st_mtime < 60
    lease.release()
    assert litter(folder) == []


def test_a_process_waits_for_one_whose_leases_are_of_the_other_form(
    owner: Callable[..., subprocess.Popen[str]],
    folder: Path,
    form: str,
) -> None:
    process = owner("key", before="" if form == "files" else NO_LINKS)

    with flights_at(folder).turn("key", nothing, timeout=0.1) as turn:
        assert turn.hit is None
    assert (folder / "key").is_symlink() == (form == "files")
    process.kill()
    process.wait()
    with flights_at(folder).turn("key", nothing) as turn:
        assert turn.hit is None
        assert len(litter(folder)) == 1
    assert litter(folder) == []


def test_where_links_cannot_be_touched_leases_are_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = os.utime

    def touch_files(path: Any, *args: Any, **options: Any) -> None:
        if Path(path).is_symlink():
            raise FileNotFoundError(2, "No such file or directory")
        touch(path, *args, **options)

    monkeypatch.setattr(os, "utime", touch_files)

    with flights_at(folder).turn("key", nothing):
        assert (folder / "key").is_file()
        assert litter(folder) == ["key"]


def test_where_links_only_seem_to_fail_leases_are_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "symlink", fail)

    with flights_at(folder).turn("key", nothing):
        assert litter(folder) == ["key"]


def test_an_interrupt_as_soon_as_there_is_a_lease_leaves_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases_there = FileLeases(folder, lambda: folder.parent.mkdir(exist_ok=True))
    first = leases_there.acquire("first")
    assert first is not None
    first.release()
    create = leases_there._create

    def create_and_stop(path: str, text: bytes) -> None:
        create(path, text)
        raise KeyboardInterrupt

    monkeypatch.setattr(leases_there, "_create", create_and_stop)

    with pytest.raises(KeyboardInterrupt):
        leases_there.acquire("key")

    assert litter(folder) == []


def test_a_folder_that_is_removed_is_made_again_but_not_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flights = flights_at(folder)
    with flights.turn("first", nothing):
        pass
    shutil.rmtree(folder)
    with flights.turn("second", nothing):
        assert litter(folder) == ["second"]

    def removed(_: str, __: bytes) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    (found,) = flights.leases
    monkeypatch.setattr(leases, "_create_link", removed)
    monkeypatch.setattr(leases, "_create_file", removed)
    monkeypatch.setattr(found, "_create", removed)
    with pytest.raises(FileNotFoundError):
        found.acquire("third")
    with flights.turn("third", nothing) as turn:
        assert turn.hit is None


def test_a_link_that_is_no_lease_leads_to_nothing_that_is_changed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SILENT_SECONDS", 0.1)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("kept")
    before = theirs.stat().st_mtime_ns
    folder.mkdir(parents=True)
    (folder / "key").symlink_to(theirs)

    with flights_at(folder).turn("key", nothing) as turn:
        assert turn.hit is None
        assert (theirs.stat().st_mtime_ns, litter(theirs)) == (before, ["file"])

    assert litter(folder) == []
    assert (theirs / "file").read_text() == "kept"


@pytest.mark.parametrize("text", ["", "nonsense", "a b c d", "\0\xff" * 300])
def test_a_damaged_lease_is_taken_over(
    text: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SILENT_SECONDS", 0.2)
    folder.mkdir(parents=True)
    (folder / "key").write_text(text)

    with flights_at(folder).turn("key", nothing) as turn:
        assert turn.hit is None


def test_processes_that_need_each_others_key_do_not_wait_for_ever(
    owner: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    owner("theirs", more='leases.note_waiting("theirs", "mine")')
    flights = flights_at(folder)

    with flights.turn("mine", nothing), flights.turn("theirs", nothing) as turn:
        assert turn.hit is None


def test_a_lease_that_another_has_taken_is_not_given_back(
    folder: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SILENT_SECONDS", 0.0)
    first = FileLeases(folder, lambda: folder.parent.mkdir(parents=True, exist_ok=True))
    lease = first.acquire("key")
    assert lease is not None
    say(folder / "key", "elsewhere 1 2 ab", form)

    lease.release()

    assert litter(folder) == ["key"]


def test_a_new_owner_is_left_alone_by_one_who_looked_before(
    folder: Path, form: str
) -> None:
    folder.mkdir(parents=True)
    say(folder / "key", "elsewhere 1 2 new", form)

    leases._take_away(folder / "key", b"elsewhere 1 2 old")

    assert leases._read(folder / "key") == b"elsewhere 1 2 new"
    assert litter(folder) == ["key"]


def claim_of(lease: Path, text: str) -> Path:
    """Return what says that a lost lease is being removed."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return lease.with_name(f"{lease.name}.{digest[:16]}.lost")


def test_of_several_who_see_a_lease_lost_one_removes_it(
    folder: Path, form: str
) -> None:
    """Else the second of them takes away what the first one has taken."""
    folder.mkdir(parents=True)
    lease, text = folder / "key", "elsewhere 1 2 old"
    say(lease, text, form)
    claim = claim_of(lease, text)
    claim.write_bytes(who_am_i(os.getpid()))

    assert not leases._take_away(lease, text.encode())
    assert leases._read(lease) == text.encode()

    claim.unlink()
    assert leases._take_away(lease, text.encode())
    assert litter(folder) == []


def test_whoever_died_while_he_removed_a_lost_lease_is_not_waited_for(
    owner: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    process = owner("theirs")
    text = leases._read(folder / "theirs").decode()
    claim_of(folder / "theirs", text).write_text(text)
    process.kill()
    process.wait()

    assert not leases._take_away(folder / "theirs", text.encode())
    assert leases._take_away(folder / "theirs", text.encode())
    assert litter(folder) == []


def test_a_lost_lease_that_nobody_gets_removed_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another host has died at that."""
    monkeypatch.setattr(leases, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(leases, "SILENT_BUT_RUNNING_SECONDS", 0.1)
    folder.mkdir(parents=True)
    (folder / "key").write_text("elsewhere 1 2 ab")
    claim_of(folder / "key", "elsewhere 1 2 ab").write_text("elsewhere 3 4 cd")

    with flights_at(folder).turn("key", nothing) as turn:
        assert turn.hit is None
        assert leases._read(folder / "key") == b"elsewhere 1 2 ab"


def test_a_lease_of_another_is_one_though_sshfs_says_not_permitted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = os.open

    def open_by_sshfs(path: str, flags: int, mode: int = 0o777) -> int:
        try:
            return really_open(path, flags, mode)
        except FileExistsError as error:
            raise PermissionError(errno.EPERM, "Operation not permitted") from error

    monkeypatch.setattr(os, "open", open_by_sshfs)
    folder.mkdir(parents=True)
    (folder / "key").write_text("elsewhere 1 2 ab")

    with pytest.raises(FileExistsError):
        leases._create_file(str(folder / "key"), b"mine")

    assert (folder / "key").read_text() == "elsewhere 1 2 ab"


def test_what_dead_processes_left_is_swept(
    owner: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    process = owner("theirs", more='leases.note_waiting("theirs", "mine")')
    process.kill()
    process.wait()

    with flights_at(folder).turn("other", nothing):
        assert [name for name in litter(folder) if "theirs" in name] in (
            [],
            ["theirs.waits"],  # swept next time
        )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_wait_for_threads_that_it_has_not() -> None:
    program = """
    import os, threading
    from pathlib import Path
    from cachekit.stores.flights import SingleFlight
    flights, held, go = SingleFlight(), threading.Event(), threading.Event()
    def hold():
        with flights.turn("key", lambda: None):
            held.set()
            go.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        with flights.turn("key", lambda: None) as turn:
            os._exit(0 if turn.hit is None else 1)
    _, status = os.waitpid(child, 0)
    go.set()
    thread.join()
    print(status)
    """

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == "0\n", done.stderr


def test_where_no_lease_can_be_written_all_compute(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    flights = flights_at(tmp_path / "file" / ".leases")

    with flights.turn("key", nothing) as turn:
        assert turn.hit is None


def test_a_lease_that_a_full_disk_cut_off_is_not_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flights = flights_at(folder)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with flights.turn("other", nothing):
        monkeypatch.setattr(os, "symlink", full)
        monkeypatch.setattr(os, "write", full)
        with flights.turn("key", nothing) as turn:
            assert turn.hit is None
        monkeypatch.undo()
        assert litter(folder) == ["other"]


def test_a_lost_lease_that_cannot_be_removed_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SILENT_SECONDS", 0.1)
    folder.mkdir(parents=True)
    (folder / "key").write_text("elsewhere 1 2 ab")

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)

    with flights_at(folder).turn("key", nothing) as turn:
        assert turn.hit is None


def test_a_store_that_cannot_be_prepared_has_no_leases(tmp_path: Path) -> None:
    def fail() -> None:
        raise FileExistsError(17, "File exists")

    leases_of_it = FileLeases(tmp_path / "store" / ".leases", fail)

    with SingleFlight(leases_of_it).turn("key", nothing) as turn:
        assert turn.hit is None


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_a_turn_that_is_interrupted_holds_nobody_up(
    stop: type[BaseException], flights: SingleFlight, folder: Path
) -> None:
    def interrupted() -> int | None:
        raise stop

    with suppress(stop):
        flights.turn("key", interrupted).__exit__()

    with ThreadPoolExecutor(1) as pool:
        computing = Computing()
        assert pool.submit(computing.get, flights, "key").result(timeout=20) == 1
    assert litter(folder) == []


def test_a_turn_that_nobody_holds_any_more_is_not_waited_for(
    flights: SingleFlight, folder: Path
) -> None:
    flights.turn("key", nothing)  # and never entered or left

    with ThreadPoolExecutor(1) as pool:
        computing = Computing()
        assert pool.submit(computing.get, flights, "key").result(timeout=20) == 1
    assert litter(folder) == []


def test_two_ways_to_one_folder_are_one_place(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "store")
    straight = flights_at(folder)

    assert flights_at(tmp_path / "link" / ".leases") is straight


def test_failures_are_not_queued(flights: SingleFlight) -> None:
    together = threading.Barrier(4, timeout=20)

    def work(_: int) -> None:
        with flights.turn("key", nothing):
            started.set()
            go.wait()
            if threading.current_thread() is not first:
                together.wait()  # all others at once

    started, go = threading.Event(), threading.Event()
    first = threading.Thread(target=work, args=[0])
    first.start()
    started.wait()
    others = [threading.Thread(target=work, args=[0]) for _ in range(4)]
    for thread in others:
        thread.start()
    go.set()
    for thread in (first, *others):
        thread.join(timeout=30)

    assert not together.broken


def test_a_process_may_be_called_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    about = b"7 (\xd0\xb0\xd0) x) S " + b" ".join(b"%d" % n for n in range(4, 30))
    monkeypatch.setattr(Path, "read_bytes", lambda _: about)

    assert processes.start_of(7) == "22"


def test_a_number_that_another_process_has_now_is_no_owner() -> None:
    host, start = processes.host(), processes.start_of(os.getpid())

    assert not processes.is_gone(host, os.getpid(), start)
    assert processes.is_gone(host, os.getpid(), "1")
    assert not processes.is_gone("elsewhere", os.getpid(), "1")
    assert not processes.is_gone(host, 1, "-")
