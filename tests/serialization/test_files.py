"""Paths, links, pipes and URLs: a file is replaced at the end, or stays as it was."""

from __future__ import annotations

import gzip
import io
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from cachekit import MissingExtra, dump, load
from cachekit.serialization import files

ROOT = Path(__file__).parents[2]
LARGE = np.arange(300_000)


class Stubborn:
    """Cannot be pickled."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> str:
        raise self.error("never")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file in a folder of its own, which holds ``["old"]``."""
    path = tmp_path / "folder" / "value"
    path.parent.mkdir()
    dump(["old"], path)
    return path


def neighbours(path: Path) -> list[str]:
    return sorted(other.name for other in path.parent.iterdir() if other != path)


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that runs `code`; ``sys.argv[1]`` is the first argument."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


# --- a failure leaves the old file, and nothing else ---


@pytest.mark.parametrize("name", ["value", "value.gz", "value.z"])
@pytest.mark.parametrize(
    "error", [ValueError, TypeError, MemoryError, KeyboardInterrupt, SystemExit]
)
def test_a_failing_value_leaves_the_old_file(
    path: Path, name: str, error: type[BaseException]
) -> None:
    target = path.with_name(name)
    dump(["old"], target)

    with pytest.raises(error, match="never"):
        dump([LARGE, list(range(200_000)), Stubborn(error), LARGE], target)

    assert load(target) == ["old"]
    assert set(neighbours(target)) <= {"value"}


def test_a_failing_value_makes_no_file(path: Path) -> None:
    with pytest.raises(ValueError, match="never"):
        dump([LARGE, Stubborn(ValueError)], path.with_name("new"))

    assert neighbours(path) == []


def test_a_wrong_option_touches_nothing(path: Path) -> None:
    with pytest.raises(ValueError, match="brotli"):
        dump(1, path, compress="brotli")

    assert load(path) == ["old"]
    assert neighbours(path) == []


FILL_THE_DISK = """
import resource, sys
from cachekit import dump
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    dump(bytes(5 << 20), sys.argv[1])
except OSError as error:
    print(error.errno)
"""


def test_a_full_disk_leaves_the_old_file(path: Path) -> None:
    other = python(FILL_THE_DISK, path)

    printed, errors = other.communicate()

    assert printed.strip(), errors
    assert load(path) == ["old"]
    assert neighbours(path) == []


def test_a_full_device_is_an_error() -> None:
    with pytest.raises(OSError, match="No space left"):
        dump(LARGE, "/dev/full")


HALT_IN_THE_MIDDLE = """
import sys
from cachekit import dump
class Halt:
    def __reduce__(self):
        print("halfway", flush=True)
        sys.stdin.read()
dump([bytes(5 << 20), Halt()], sys.argv[1])
"""


def test_a_killed_process_leaves_the_old_file_and_a_hidden_one(path: Path) -> None:
    other = python(HALT_IN_THE_MIDDLE, path)
    assert other.stdout is not None
    assert other.stdout.readline() == b"halfway\n"

    other.kill()
    other.communicate()

    assert load(path) == ["old"]
    (partial,) = neighbours(path)
    assert partial.startswith(".value.")
    assert partial.endswith(".partial")


def test_an_interrupt_leaves_nothing_but_the_old_file(path: Path) -> None:
    other = python(HALT_IN_THE_MIDDLE, path)
    assert other.stdout is not None
    assert other.stdout.readline() == b"halfway\n"

    other.send_signal(signal.SIGINT)
    other.communicate()

    assert load(path) == ["old"]
    assert neighbours(path) == []


DUMP_OFTEN = """
import sys
import numpy
from cachekit import dump
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    dump(numpy.full(200_000, int(sys.argv[2])), sys.argv[1])
"""


def test_two_processes_that_dump_to_one_path_leave_a_whole_file(path: Path) -> None:
    others = [python(DUMP_OFTEN, path, number) for number in (1, 2)]
    for other in others:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()
        other.stdin.write(b"\n")
        other.stdin.flush()

    seen = [load(path)]
    while any(other.poll() is None for other in others):
        seen.append(load(path))
    seen.append(load(path))

    assert all(other.communicate()[1] == b"" for other in others)
    assert all(len(set(np.asarray(value).tolist())) == 1 for value in seen)
    assert seen[-1][0] in (1, 2)
    assert neighbours(path) == []


# --- what stands at the path ---


def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        dump(1, tmp_path / "value")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "value").stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_a_replaced_file_keeps_its_mode(path: Path, mode: int) -> None:
    path.chmod(mode)

    dump(["new"], path)

    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert load(path) == ["new"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(path: Path) -> None:
    link, to_link = path.with_name("link"), path.with_name("to link")
    link.symlink_to("value")
    to_link.symlink_to("link")

    dump(["new"], to_link)

    assert to_link.is_symlink()
    assert link.is_symlink()
    assert not path.is_symlink()
    assert load(path) == load(link) == ["new"]


def test_a_link_to_nothing_yet_is_followed(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to("new")

    dump(["new"], link)

    assert link.is_symlink()
    assert load(path.with_name("new")) == ["new"]


def test_another_name_of_the_old_file_keeps_the_old_value(path: Path) -> None:
    other = path.with_name("other")
    other.hardlink_to(path)

    dump(["new"], path)

    assert load(other) == ["old"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("absent/value", FileNotFoundError),
        ("folder", IsADirectoryError),
        ("folder/", IsADirectoryError),
        ("new/", IsADirectoryError),
        ("folder/value/below", NotADirectoryError),
        ("x" * 300, OSError),
    ],
)
def test_where_no_file_can_be_the_error_names_the_path(
    path: Path, name: str, error: type[OSError]
) -> None:
    target = f"{path.parents[1]}/{name}"

    with pytest.raises(error) as caught:
        dump(1, target)

    assert str(caught.value.filename).rstrip("/") == target.rstrip("/")
    assert ".partial" not in str(caught.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_an_error(path: Path) -> None:
    path.parent.chmod(0o555)
    try:
        with pytest.raises(PermissionError) as caught:
            dump(1, path.with_name("new"))
    finally:
        path.parent.chmod(0o755)

    assert caught.value.filename == str(path.with_name("new"))


@pytest.mark.parametrize(
    "name", ["ü" * 120, "😀" * 60, "x" * 250, "a\nb", "a b#?%", "\udcff", ".hidden"]
)
def test_any_name_that_the_system_allows_is_a_good_one(
    tmp_path: Path, name: str
) -> None:
    dump([name], tmp_path / name)

    assert load(tmp_path / name) == [name]


def test_a_relative_path_is_taken_from_where_the_process_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert dump([1], "value") == ["value"]

    assert load("value") == load(tmp_path / "value") == [1]


@pytest.mark.parametrize("compress", [0, True, "gzip", "zlib"])
def test_a_named_pipe_carries_a_value(tmp_path: Path, compress: Any) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[Any] = []
    reader = threading.Thread(target=lambda: received.append(load(pipe)))
    reader.start()

    dump({"large": LARGE}, pipe, compress)
    reader.join()

    assert received[0]["large"].tolist() == LARGE.tolist()
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_null_device_takes_a_value_and_stays() -> None:
    dump(LARGE, os.devnull)

    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_the_standard_output_takes_a_value() -> None:
    other = python("from cachekit import dump; dump(['out'], '/dev/stdout')")

    printed, errors = other.communicate()

    assert load(io.BytesIO(printed)) == ["out"], errors


# --- URLs ---


@pytest.fixture
def memory() -> Iterator[Any]:
    """Empty the file system in memory, before and after."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.mark.parametrize("compress", [0, True, "gzip"])
def test_a_url_takes_a_value(memory: Any, compress: Any) -> None:
    url = "memory://folder/value"

    assert dump({"large": LARGE}, url, compress) == [url]

    assert load(url)["large"].tolist() == LARGE.tolist()
    assert memory.find("") == ["/folder/value"]


def test_the_ending_of_a_url_counts(memory: Any) -> None:
    dump([1], "memory://value.gz")

    assert load(io.BytesIO(gzip.decompress(memory.cat("/value.gz")))) == [1]


def test_a_large_upload_is_sent_in_parts(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SMALL_UPLOAD", 1000)

    dump(LARGE, "memory://value")

    assert load("memory://value").tolist() == LARGE.tolist()
    assert memory.find("") == ["/value"]


def test_a_failing_value_leaves_the_old_object(memory: Any) -> None:
    dump(["old"], "memory://value")

    with pytest.raises(ValueError, match="never"):
        dump([LARGE, Stubborn(ValueError)], "memory://value")

    assert load("memory://value") == ["old"]
    assert memory.find("") == ["/value"]


def test_a_failing_upload_leaves_the_old_object(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump(["old"], "memory://value")

    def fail(*_: object) -> None:
        raise ConnectionError("unplugged")

    monkeypatch.setattr(type(memory), "pipe_file", fail)
    with pytest.raises(ConnectionError, match="unplugged"):
        dump(["new"], "memory://value")

    assert load("memory://value") == ["old"]


def test_nothing_at_a_url_is_a_missing_file(memory: Any) -> None:
    assert memory.find("") == []

    with pytest.raises(FileNotFoundError):
        load("memory://absent")


def test_a_url_is_not_mapped_with_one_warning(memory: Any) -> None:
    dump(LARGE, "memory://value{}")
    assert memory.exists("/value{}")

    with pytest.warns(UserWarning, match="is not a raw file") as caught:
        result = load("memory://value{}", mmap_mode="r")

    assert type(result) is np.ndarray
    assert [warning.filename for warning in caught] == [__file__]


def test_a_file_url_is_a_file(path: Path) -> None:
    path.chmod(0o600)
    link = path.with_name("link")
    link.symlink_to(path)

    dump(LARGE, f"file://{link}")

    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert type(load(f"file://{link}", mmap_mode="r")) is np.memmap
    with pytest.raises(ValueError, match="never"):
        dump(Stubborn(ValueError), f"file://{path}")
    assert len(load(path)) == len(LARGE)


@pytest.mark.parametrize("scheme", ["s3", "gs", "abfs", "sftp"])
def test_a_missing_file_system_names_the_extra(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("no such package")

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    extras = {"s3": "s3", "gs": "gcs", "abfs": "azure", "sftp": "ssh"}

    with pytest.raises(MissingExtra, match=rf"cachekit-lab\[{extras[scheme]}\]"):
        load(f"{scheme}://bucket/value")
    with pytest.raises(MissingExtra, match=rf"cachekit-lab\[{extras[scheme]}\]"):
        dump(Stubborn(ValueError), f"{scheme}://bucket/value")  # before any work


def test_of_another_missing_file_system_fsspec_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("install aiohttp")

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)

    with pytest.raises(ImportError, match="install aiohttp"):
        load("http://localhost/value")


def test_a_file_that_fsspec_opened_is_read_and_left_behind_the_value(
    memory: Any,
) -> None:
    with memory.open("/value", "wb") as file:
        dump({"large": LARGE}, file)
        dump(["next"], file)

    with memory.open("/value", "rb") as file:
        first, second = load(file), load(file)

    assert first["large"].tolist() == LARGE.tolist()
    assert second == ["next"]


# --- what is told of open files ---


def test_what_can_be_written_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as plain, path.open("ab") as at_end, path.open("r+b") as both:
        assert files.can_go_back(plain)
        assert files.can_go_back(both)
        assert not files.can_go_back(at_end)
    assert files.can_go_back(io.BytesIO())
    with gzip.open(path, "wb") as compressing:
        assert not files.can_go_back(compressing)


def test_a_forward_file_gives_its_head_back_first() -> None:
    file, head = files.with_head(gzip.GzipFile(fileobj=_gzipped(b"abcdef")), 4)

    assert head == b"abcd"
    assert isinstance(file, files.Forward)
    assert [file.read(2), file.read(9), file.read()] == [b"ab", b"cd", b"ef"]


def test_the_head_may_be_longer_than_the_file() -> None:
    file, head = files.with_head(gzip.GzipFile(fileobj=_gzipped(b"ab")), 9)

    assert head == b"ab"
    assert file.read() == b"ab"
    assert file.read(1) == b""


def _gzipped(content: bytes) -> io.BytesIO:
    return io.BytesIO(gzip.compress(content))
