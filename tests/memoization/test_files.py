"""Files and folders as arguments: they count by content, and are read once."""

from __future__ import annotations

import copy
import errno
import mmap
import os
import pickle
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cachekit
from cachekit import Memory, digest
from cachekit.memoization import file_notes, file_reading, files
from cachekit.memoization.files import File

LARGE = file_notes.LARGE_BYTES + 1
HOUR_NS = 3600 * 10**9

as_root = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the notes on disk, which is not there yet."""
    monkeypatch.setenv("CACHEKIT_DIR", str(tmp_path / "cache"))
    file_notes.memo.forget()
    return tmp_path / "cache" / ".files"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_bytes(b"x,y\n1,2\n")
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(1 << 20) * (LARGE // (1 << 20) + 1))
    return path


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an hour gone by since anything was written."""
    if not file_reading._tells_changes(tmp_path.stat().st_dev):
        pytest.skip("what lies in memory, or on Windows, is not remembered")
    monkeypatch.setattr(file_notes.memo, "clock", lambda: time.time_ns() + HOUR_NS)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of all that was read, as it grows."""
    sizes: list[int] = []
    read = file_reading.read

    def counted(handle: int, size: int) -> tuple[int, bytes]:
        sizes.append(size)
        return read(handle, size)

    monkeypatch.setattr(files, "read", counted)
    return sizes


def rewrite(path: Path, content: bytes, change: Callable[[], Any] = int) -> None:
    """Write until the clock of the file system has gone on."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.write_bytes(content)
        change()


def make_tree(root: Path, tree: dict[str, Any]) -> Path:
    root.mkdir()
    for name, inside in tree.items():
        if isinstance(inside, dict):
            make_tree(root / name, inside)
        else:
            (root / name).write_bytes(inside)
    return root


TREE: dict[str, Any] = {
    "a.png": b"a",
    "b": {"c.png": b"c", "d": {"e.png": b"e"}},
    "empty": {},
    ".hidden": b"h",
}


# --- what a File is ---


def test_a_file_is_path_like(path: Path) -> None:
    file = File(path)

    with open(file, "rb") as opened:  # noqa: PTH123  (what users write)
        assert opened.read() == path.read_bytes()
    assert Path(file) == file.path == path
    assert os.fspath(file) == str(path)
    assert isinstance(file, os.PathLike)
    assert pd.read_csv(file).to_dict("list") == {"x": [1], "y": [2]}


def test_the_repr_makes_an_equal_file() -> None:
    assert repr(File(Path("data.csv"))) == "File('data.csv')"
    assert eval(repr(File("data.csv"))) == File("data.csv")


def test_files_are_equal_by_path(path: Path, tmp_path: Path) -> None:
    other = shutil.copy(path, tmp_path / "copy.csv")

    assert File(path) == File(str(path)) == File(File(path))
    assert hash(File(path)) == hash(File(str(path)))
    assert File(path) != File(other)
    assert File(path) != path
    assert len({File(path), File(str(path)), File(other)}) == 2


def test_a_file_cannot_be_changed(path: Path) -> None:
    with pytest.raises(AttributeError):
        File(path).path = Path("other")  # type: ignore[misc]
    with pytest.raises(AttributeError):
        File(path).other = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_file_goes_through_pickle_and_copy(path: Path, protocol: int) -> None:
    file = File(path)

    assert pickle.loads(pickle.dumps(file, protocol)) == file
    assert copy.copy(file) == copy.deepcopy(file) == file


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(ValueError, match="not ''"):
        File("")
    with pytest.raises(TypeError, match="a path of text"):
        File(b"data.csv")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        File(3)  # type: ignore[arg-type]


# --- by content ---


@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_digests_are_equal_if_and_only_if_contents_are(
    first: bytes, second: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "first").write_bytes(first)
    (folder / "second").write_bytes(second)
    (folder / "copy").write_bytes(first)

    digests = [digest(File(folder / name)) for name in ("first", "second", "copy")]

    assert (digests[0] == digests[1]) == (first == second)
    assert digests[0] == digests[2]


def test_neither_name_nor_folder_nor_times_count(path: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    moved = Path(shutil.copy(path, tmp_path / "sub" / "other.txt"))
    os.utime(moved, (1, 1))
    moved.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(moved)

    assert digest(File(path)) == digest(File(moved)) == digest(File(link))


def test_a_file_is_neither_its_content_nor_its_path(path: Path) -> None:
    content = path.read_bytes()
    others = [content, bytearray(content), content.decode(), path, str(path)]
    told = File(path).__cachekit_hash__()

    assert digest(File(path)) not in {digest(other) for other in [*others, told]}


def test_a_file_inside_of_other_values_counts_by_content(path: Path) -> None:
    before = digest({"files": [File(path)]})
    path.write_bytes(b"x,y\n1,3\n")

    assert digest({"files": [File(path)]}) != before


def test_a_file_has_the_same_digest_in_all_processes(path: Path) -> None:
    program = "import sys; from cachekit import digest\n"
    program += "from cachekit.memoization.files import File\n"
    program += "print(digest(File(sys.argv[1])))"

    assert run(program, path, PYTHONHASHSEED="7") == [digest(File(path))]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, (1 << 20) + 1, (9 << 20) + 17])
def test_the_pieces_do_not_count(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes((bytes(range(251)) * (size // 251 + 1))[:size])
    whole = digest(File(path))

    monkeypatch.setattr(file_reading, "PIECE_BYTES", 1 << 16)

    assert digest(File(path)) == whole


def test_a_large_file_is_not_read_into_memory(large: Path) -> None:
    program = """
import resource, sys
from cachekit import digest
from cachekit.memoization.files import File
digest(File(sys.executable))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
digest(File(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    with large.open("r+b") as file:
        file.truncate(256 << 20)

    (grown_by,) = run(program, large)

    assert int(grown_by) < 64 << 10  # of 262144 kB


# --- what cannot be read ---


def test_a_missing_file_is_named_by_the_error_of_open(tmp_path: Path) -> None:
    calls: list[File] = []
    cached = Memory(tmp_path / "store").cache(calls.append)
    missing = tmp_path / "missing.csv"

    with pytest.raises(FileNotFoundError) as caught:
        cached(File(missing))

    assert type(caught.value) is FileNotFoundError
    assert caught.value.filename == str(missing)
    assert calls == []


def test_a_path_through_a_file_is_not_a_folder(path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        digest(File(path / "below"))


@pytest.mark.skipif(as_root, reason="root may read everything")
@pytest.mark.usefixtures("later")
def test_a_file_that_may_not_be_read_is_an_error_even_if_it_is_known(
    path: Path,
) -> None:
    digest(File(path))
    path.chmod(0)

    with pytest.raises(PermissionError, match=r"data\.csv"):
        digest(File(path))


def test_a_link_to_itself_is_an_error(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)

    with pytest.raises(OSError, match="loop") as caught:
        digest(File(loop))

    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_neither_file_nor_folder_is_refused(
    kind: str, inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    special = Path("folder/special")
    special.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(special)
    elif kind == "device":
        special.symlink_to("/dev/null")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(special))

    with pytest.raises(shutil.SpecialFileError, match="special"):
        digest(File(special.parent if inside else special))


# --- remembered in the process ---


@pytest.mark.usefixtures("later")
def test_a_file_that_is_not_changed_is_read_once(path: Path, reads: list[int]) -> None:
    digests = {digest(File(path)) for _ in range(5)}

    assert len(digests) == len(reads) == 1


def test_a_file_that_was_just_changed_is_read_each_time(
    path: Path, reads: list[int]
) -> None:
    for _ in range(3):
        digest(File(path))

    assert len(reads) == 3


@pytest.mark.usefixtures("later")
def test_a_file_from_the_future_is_read_each_time(path: Path, reads: list[int]) -> None:
    ahead = (time.time_ns() + 2 * HOUR_NS) // 10**9
    os.utime(path, (ahead, ahead))

    for _ in range(3):
        digest(File(path))

    assert len(reads) == 3


@pytest.mark.usefixtures("later")
def test_a_change_of_the_same_size_with_the_time_put_back_is_seen(path: Path) -> None:
    before, times = digest(File(path)), path.stat()

    def put_back() -> None:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    rewrite(path, b"x,y\n1,3\n", put_back)

    assert path.stat().st_mtime_ns == times.st_mtime_ns
    assert path.stat().st_size == times.st_size
    assert digest(File(path)) != before


@pytest.mark.usefixtures("later")
def test_another_file_of_the_same_size_and_time_in_its_place_is_seen(
    path: Path, tmp_path: Path
) -> None:
    before, times = digest(File(path)), path.stat()
    other = tmp_path / "other"
    other.write_bytes(b"x,y\n1,3\n")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))

    other.replace(path)

    assert digest(File(path)) != before


def test_every_one_of_many_quick_changes_of_the_same_size_is_seen(path: Path) -> None:
    digests = []
    for number in range(200):
        path.write_bytes(b"%08d" % number)
        digests.append(digest(File(path)))

    assert len(set(digests)) == 200


def test_every_one_of_many_changes_through_a_map_is_seen(path: Path) -> None:
    # All but the first leave the times as they are.
    digests = []
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        for number in range(200):
            mapped[0] = number
            digests.append(digest(File(path)))

    assert len(set(digests)) == 200


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("content", [b"x,y\n1,3\n", b"longer than before"])
def test_a_file_that_is_changed_while_it_is_read_is_read_again(
    content: bytes, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = file_reading.read

    def read_and_change(handle: int, size: int) -> tuple[int, bytes]:
        done = read(handle, size)
        rewrite(path, content)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(files, "read", read_and_change)
        before = digest(File(path))

    assert digest(File(path)) != before


@pytest.mark.usefixtures("later")
def test_a_change_by_the_function_that_was_given_the_file_is_seen(path: Path) -> None:
    def change(file: File) -> None:
        rewrite(file.path, b"x,y\n1,3\n")

    file = File(path)
    before = digest(file)
    change(file)

    assert digest(file) != before


@pytest.mark.skipif(not Path("/proc/uptime").exists(), reason="needs Linux's /proc")
@pytest.mark.usefixtures("later")
def test_a_file_that_has_no_size_is_read_each_time(reads: list[int]) -> None:
    for _ in range(3):
        digest(File("/proc/uptime"))

    assert len(reads) == 3


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs Linux's /dev/shm")
def test_a_file_in_memory_is_read_each_time(
    reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_notes.memo, "clock", lambda: time.time_ns() + HOUR_NS)
    path = Path(f"/dev/shm/cachekit-test-{os.getpid()}")
    try:
        path.write_bytes(b"12345678")
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[0] = 1
            before = digest(File(path))
            mapped[0] = 0  # leaves no trace in the times, not even when flushed
            mapped.flush()
            assert digest(File(path)) != before
    finally:
        path.unlink(missing_ok=True)

    assert len(reads) == 2


@pytest.mark.usefixtures("later")
def test_a_relative_path_is_taken_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").write_bytes(name.encode())
        monkeypatch.chdir(tmp_path / name)
        found.append(digest(File("data")))

    assert found[0] != found[1]


@pytest.mark.usefixtures("later")
def test_what_is_remembered_has_a_bound(
    tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_notes, "MOST_REMEMBERED", 4)
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths:
        path.write_bytes(b"x")
        digest(File(path))

    for path in paths[-4:]:
        digest(File(path))

    assert len(reads) == 20
    assert len(file_notes.memo._young) + len(file_notes.memo._old) <= 8


@pytest.mark.usefixtures("later")
def test_threads_that_ask_while_files_change_get_digests_of_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_notes, "MOST_REMEMBERED", 3)
    paths = [tmp_path / str(number) for number in range(10)]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number)
    expected = [digest(File(path)) for path in paths]
    start = threading.Barrier(8)

    def ask(_: int) -> list[str]:
        start.wait()
        return [digest(File(path)) for _ in range(30) for path in paths]

    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected * 30 for found in pool.map(ask, range(8)))


# --- remembered on disk ---

COUNTING = """
import sys, time
from cachekit import digest
from cachekit.memoization import file_notes, files
file_notes.memo.clock = lambda: time.time_ns() + 7200 * 10**9
read, reads = files.read, []
def counted(handle, size):
    reads.append(size)
    return read(handle, size)
files.read = counted
print(digest(files.File(sys.argv[1])), len(reads))
"""


def run(program: str, *arguments: Path, **environment: str) -> list[str]:
    """Run a program in another process; return the lines printed."""
    root = Path(cachekit.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.usefixtures("later")
def test_a_second_process_does_not_read_a_large_file(large: Path) -> None:
    expected = digest(File(large))

    assert run(COUNTING, large) == [f"{expected} 0"]


@pytest.mark.usefixtures("later")
def test_a_second_process_reads_a_large_file_that_has_changed(large: Path) -> None:
    before, times = digest(File(large)), large.stat()
    content = bytearray(large.read_bytes())
    content[-1] ^= 1
    rewrite(large, bytes(content))
    os.utime(large, ns=(times.st_atime_ns, times.st_mtime_ns))

    ((found, reads),) = map(str.split, run(COUNTING, large))

    assert found != before
    assert reads == "1"


@pytest.mark.usefixtures("later")
def test_a_second_process_does_not_read_a_large_folder(
    tmp_path: Path, reads: list[int]
) -> None:
    half = b"x" * (file_notes.LARGE_BYTES // 2 + 1)
    folder = make_tree(tmp_path / "folder", {"a": half, "b": {"c": half}})
    expected = digest(File(folder))

    assert len(reads) == 2
    assert run(COUNTING, folder) == [f"{expected} 0"]


@pytest.mark.usefixtures("later")
def test_a_small_file_leaves_no_note(path: Path, notes: Path) -> None:
    digest(File(path))

    assert not notes.exists()


def test_a_large_file_that_was_just_changed_leaves_no_note(
    large: Path, notes: Path
) -> None:
    digest(File(large))

    assert not notes.exists()


@pytest.mark.usefixtures("later")
def test_notes_are_private_small_and_one_a_path(large: Path, notes: Path) -> None:
    digest(File(large))
    rewrite(large, large.read_bytes() + b"x")
    digest(File(large))

    (note,) = notes.iterdir()

    assert stat.S_IMODE(notes.stat().st_mode) == 0o700
    assert stat.S_IMODE(notes.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert note.stat().st_size < 4096


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[:-20],
    "digest": lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    "checksum": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "noise": lambda _: os.urandom(500),
    "huge": lambda content: content + b"x" * 100_000,
    "list": lambda _: file_notes._checksum(b"[]") + b"\n[]",
    "no JSON": lambda _: file_notes._checksum(b"{") + b"\n{",
    "other machine": lambda content: resealed(content, '"machine": "', '"machine": "x'),
    "other format": lambda content: resealed(content, '"format": ', '"format": 9'),
    "other stamp": lambda content: resealed(content, '"stamp": "', '"stamp": "9'),
    "other path": lambda content: resealed(content, '"path": "', '"path": "x'),
}


def resealed(content: bytes, old: str, new: str) -> bytes:
    """Change a note, and the checksum with it."""
    text = content.partition(b"\n")[2].decode()
    changed = text.replace(old, new).encode()
    return file_notes._checksum(changed) + b"\n" + changed


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_note_costs_time_only(
    damage: str, large: Path, notes: Path, reads: list[int]
) -> None:
    expected = digest(File(large))
    (note,) = notes.iterdir()
    good = note.read_bytes()
    note.write_bytes(DAMAGE[damage](good))
    file_notes.memo.forget()

    assert digest(File(large)) == expected
    assert len(reads) == 2
    assert note.read_bytes() == good
    assert [*notes.iterdir()] == [note]


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("thing", ["pipe", "folder", "link"])
def test_what_is_no_note_costs_time_only(
    thing: str, large: Path, notes: Path, tmp_path: Path, reads: list[int]
) -> None:
    expected = digest(File(large))
    (note,) = notes.iterdir()
    moved = note.rename(tmp_path / "moved")
    if thing == "pipe":
        os.mkfifo(note)
    elif thing == "folder":
        note.mkdir()
    else:
        note.symlink_to(moved)
    file_notes.memo.forget()

    assert digest(File(large)) == expected
    assert len(reads) == 2
    assert len([*notes.iterdir()]) == 1


def open_to_others(notes: Path) -> None:
    notes.chmod(0o770)


def is_a_link(notes: Path) -> None:
    notes.rename(notes.with_name("elsewhere")).chmod(0o700)
    notes.symlink_to("elsewhere")


def open_notes(notes: Path) -> None:
    for note in notes.iterdir():
        note.chmod(0o622)


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("opened", [open_to_others, is_a_link, open_notes])
def test_notes_that_others_may_have_written_are_not_trusted(
    opened: Callable[[Path], None], large: Path, notes: Path, reads: list[int]
) -> None:
    expected = digest(File(large))
    opened(notes)
    file_notes.memo.forget()

    assert digest(File(large)) == expected
    assert len(reads) == 2


@pytest.mark.skipif(not as_root, reason="only root can give a folder away")
@pytest.mark.usefixtures("later")
def test_notes_of_another_user_are_not_trusted(
    large: Path, notes: Path, reads: list[int]
) -> None:
    expected = digest(File(large))
    os.chown(notes, 65534, -1)
    file_notes.memo.forget()

    assert digest(File(large)) == expected
    assert len(reads) == 2


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "place", ["/dev/full/x", "/proc/x", "~nobody-of-this-name", "{}"]
)
def test_a_place_that_cannot_be_used_costs_time_only(
    place: str, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CACHEKIT_DIR", place.format(tmp_path / "file"))

    found = digest(File(large))
    file_notes.memo.forget()

    assert digest(File(large)) == found


@pytest.mark.usefixtures("later")
def test_notes_for_a_remote_default_are_kept_on_this_machine(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHEKIT_DIR", "s3://bucket/cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    digest(File(large))

    assert not (tmp_path / "s3:").exists()
    assert file_notes._notes_path().name == ".files"
    assert "://" not in str(file_notes._notes_path())


@pytest.mark.usefixtures("later")
def test_a_full_disk_costs_time_only_and_leaves_nothing(
    large: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "replace", full)

    digest(File(large))

    assert [*notes.iterdir()] == []


@pytest.mark.usefixtures("later")
def test_an_interrupt_while_a_note_is_written_leaves_nothing(
    large: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)

    with pytest.raises(KeyboardInterrupt):
        digest(File(large))
    assert [*notes.iterdir()] == []


@pytest.mark.usefixtures("later")
def test_the_oldest_notes_make_room(
    tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_notes, "MOST_NOTES", 8)
    monkeypatch.setattr(file_notes, "LARGE_BYTES", 1)
    for number in range(30):
        (tmp_path / str(number)).write_bytes(b"x")
        digest(File(tmp_path / str(number)))

    assert 4 < len([*notes.iterdir()]) <= 8


# --- folders ---


def test_a_folder_counts_by_names_and_contents(tmp_path: Path) -> None:
    first = make_tree(tmp_path / "first", TREE)
    second = make_tree(tmp_path / "second", dict(reversed(TREE.items())))

    assert digest(File(first)) == digest(File(second))


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: rewrite(root / "b" / "d" / "e.png", b"E"),
    "new file": lambda root: (root / "b" / "new").write_bytes(b""),
    "new folder": lambda root: (root / "b" / "new").mkdir(),
    "no file": lambda root: (root / "a.png").unlink(),
    "no folder": lambda root: (root / "empty").rmdir(),
    "hidden": lambda root: (root / ".hidden").write_bytes(b""),
    "name": lambda root: (root / "a.png").rename(root / "A.png"),
    "place": lambda root: (root / "a.png").rename(root / "empty" / "a.png"),
    "folder name": lambda root: (root / "b").rename(root / "B"),
    "link to nowhere": lambda root: (root / "nowhere").symlink_to("gone"),
    "swap": lambda root: (
        (root / "a.png").rename(root / "t"),
        (root / ".hidden").rename(root / "a.png"),
        (root / "t").rename(root / ".hidden"),
    ),
}


@pytest.mark.parametrize("clock", ["now", "later"])
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_in_a_folder_is_seen(
    change: str, clock: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if clock == "later":
        request.getfixturevalue("later")
    root = make_tree(tmp_path / "root", TREE)
    before = digest(File(root))

    CHANGES[change](root)

    assert digest(File(root)) != before


trees: st.SearchStrategy[Any] = st.recursive(
    st.binary(max_size=3),
    lambda inside: st.dictionaries(
        st.sampled_from(["a", "b", "ab", "a.b", "é", "B"]), inside, max_size=3
    ),
    max_leaves=6,
)


@given(first=trees, second=trees)
def test_digests_of_folders_are_equal_if_and_only_if_the_folders_are(
    first: Any, second: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("trees")
    one = make_tree(root / "one", {"x": first})
    two = make_tree(root / "two", {"x": second})

    assert (digest(File(one)) == digest(File(two))) == (first == second)


def test_a_folder_is_no_file_and_an_empty_one_is_no_empty_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()

    assert digest(File(tmp_path / "file")) != digest(File(tmp_path / "folder"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_names_may_be_any_bytes(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", {})
    found = {digest(File(root))}
    for name in (b"\xff", b"\xfe", "é".encode(), b"a\nb"):
        (root / os.fsdecode(name)).write_bytes(b"x")
        found.add(digest(File(root)))
        (root / os.fsdecode(name)).unlink()

    assert len(found) == 5


def test_links_in_a_folder_count_as_what_they_lead_to(tmp_path: Path) -> None:
    plain = make_tree(tmp_path / "plain", TREE)
    linked = make_tree(tmp_path / "linked", {"empty": {}, ".hidden": b"h"})
    (linked / "a.png").symlink_to(plain / "a.png")
    (linked / "b").symlink_to("../plain/b")
    (tmp_path / "link").symlink_to(linked)

    assert (
        digest(File(plain)) == digest(File(linked)) == digest(File(tmp_path / "link"))
    )


@pytest.mark.parametrize("target", [".", "..", "../..", "../../other/back"])
def test_a_link_back_to_a_folder_around_it_is_an_error(
    target: str, tmp_path: Path
) -> None:
    root = make_tree(tmp_path / "root", {"b": {"c": b"c"}})
    make_tree(tmp_path / "other", {})
    (tmp_path / "other" / "back").symlink_to(root)
    (root / "b" / "loop").symlink_to(target)

    with pytest.raises(OSError, match=r"loop|back") as caught:
        digest(File(root))

    assert caught.value.errno == errno.ELOOP


def test_links_that_double_at_each_level_are_followed_once_each(tmp_path: Path) -> None:
    for level in range(30):  # Linux follows 40 links in a path
        folder = make_tree(tmp_path / f"level{level}", {})
        if level:
            (folder / "left").symlink_to(tmp_path / f"level{level - 1}")
            (folder / "right").symlink_to(tmp_path / f"level{level - 1}")

    assert digest(File(tmp_path / "level29")) != digest(File(tmp_path / "level28"))


@pytest.mark.usefixtures("later")
def test_one_changed_file_of_a_folder_is_read_again_alone(
    tmp_path: Path, reads: list[int]
) -> None:
    root = make_tree(tmp_path / "root", TREE)
    digest(File(root))
    assert len(reads) == 4
    digest(File(root))
    assert len(reads) == 4

    rewrite(root / "a.png", b"longer")
    digest(File(root))

    assert reads[4:] == [6]


@pytest.mark.usefixtures("later")
def test_a_folder_that_is_changed_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree(tmp_path / "root", TREE)
    read = file_reading.read

    def read_and_change(handle: int, size: int) -> tuple[int, bytes]:
        (root / "new").write_bytes(b"new")
        return read(handle, size)

    with monkeypatch.context() as patch:
        patch.setattr(files, "read", read_and_change)
        before = digest(File(root))

    assert digest(File(root)) != before


@pytest.mark.usefixtures("later")
def test_a_link_that_leads_elsewhere_for_a_while_leaves_no_wrong_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree(tmp_path / "root", {"a": b"a"})
    targets = make_tree(tmp_path / "targets", {"here": b"1", "elsewhere": b"2"})
    link = root / "z"
    link.symlink_to(targets / "here")
    expected = digest(File(root))
    file_notes.memo.forget()
    read = file_reading.read

    def read_and_lead_away(handle: int, size: int) -> tuple[int, bytes]:
        link.unlink()
        link.symlink_to(targets / "elsewhere")
        return read(handle, size)

    with monkeypatch.context() as patch:
        patch.setattr(files, "read", read_and_lead_away)
        assert digest(File(root)) != expected
    link.unlink()
    link.symlink_to(targets / "here")

    assert digest(File(root)) == expected


# --- in a cached call ---


def test_a_cached_call_reads_a_file_again_when_its_content_is_new(
    path: Path, tmp_path: Path
) -> None:
    memory = Memory(tmp_path / "store")
    computed: list[str] = []

    @memory.cache(ignore=["log"])
    def read(file: File, log: list[str]) -> str:
        log.append(str(file))
        with open(file) as opened:  # noqa: PTH123  (what users write)
            return opened.read()

    moved = shutil.copy(path, tmp_path / "moved.csv")

    assert read(File(path), computed) == read(File(moved), computed) == "x,y\n1,2\n"
    assert len(computed) == 1
    path.write_text("x,y\n1,3\n")
    assert read(File(path), computed) == "x,y\n1,3\n"
    path.write_text("x,y\n1,2\n")
    assert read(File(path), computed) == "x,y\n1,2\n"
    assert len(computed) == 2


def test_a_file_may_be_a_global_that_a_cached_function_reads(
    path: Path, tmp_path: Path
) -> None:
    data = File(path)

    @Memory(tmp_path / "store").cache
    def read() -> str:
        return data.path.read_text()

    assert read() == "x,y\n1,2\n"
    path.write_text("x,y\n1,3\n")
    assert read() == "x,y\n1,3\n"


def test_a_file_may_be_the_result_of_a_cached_call(path: Path, tmp_path: Path) -> None:
    make = Memory(tmp_path / "store").cache(File)

    assert make(str(path)) == make(str(path)) == File(path)
