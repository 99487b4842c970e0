"""Disks that are small, full, read-only or failing: real ones where we may mount.

The stand-in for those who may not, and for failures that no mount makes, is an audit
hook: Python announces each step to it just before it is taken, and the hook refuses.
"""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

CREATES = frozenset({"open", "os.mkdir"})
NEEDS_ROOM = CREATES | {"os.rename"}  # at times, for the new name
WRITES = NEEDS_ROOM | {"os.remove", "os.rmdir", "os.utime"}
LISTS = frozenset({"os.listdir", "os.scandir"})

FullDisk = Callable[[], AbstractContextManager[None]]


@contextmanager
def steps_in(
    folder: Path, kinds: frozenset[str], stop: Callable[[int], None] = lambda _: None
) -> Iterator[list[str]]:
    """Note the steps of this thread below a folder; `stop` may raise at any.

    An "open" is a step if it is for writing, an "os.mkdir" if the folder is new.
    """
    steps: list[str] = []
    thread = threading.get_ident()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event not in kinds or threading.get_ident() != thread:
            return
        if event == "open" and not _is_for_writing(arguments[2]):
            return
        path = str(arguments[0])
        if event == "os.mkdir" and os.path.lexists(path):
            return
        if path.startswith(str(folder)):
            steps.append(event)
            stop(len(steps) - 1)

    _watchers.append(watch)
    try:
        yield steps
    finally:
        _watchers.remove(watch)


@contextmanager
def failing(
    folder: Path, number: int, kinds: frozenset[str], *, after: int = 0
) -> Iterator[list[str]]:
    """Refuse every step below a folder but the first few."""

    def stop(step: int) -> None:
        if step >= after:
            raise OSError(number, os.strerror(number))

    with steps_in(folder, kinds, stop) as steps:
        yield steps


@contextmanager
def small_disk(folder: Path, scarce: str) -> Iterator[FullDisk]:
    """Mount a small disk; yield a context in which it is full.

    What is scarce is ``"bytes"`` or ``"files"``.
    """
    folder.mkdir()
    options = "size=256k" if scarce == "bytes" else "nr_inodes=64"
    if not _run("mount", "-t", "tmpfs", "-o", options, "none", str(folder)):
        yield lambda: _without_steps(failing(folder, errno.ENOSPC, CREATES))
        return
    try:
        yield lambda: _filled(folder, scarce)
    finally:
        assert _run("umount", "--lazy", str(folder))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder one of a disk that cannot be written to."""
    if not _run("mount", "--bind", str(folder), str(folder)):
        with failing(folder, errno.EROFS, WRITES):
            yield
        return
    try:
        assert _run("mount", "-o", "remount,bind,ro", str(folder))
        yield
    finally:
        assert _run("umount", "--lazy", str(folder))


@contextmanager
def _filled(folder: Path, scarce: str) -> Iterator[None]:
    filling = folder / "filling"
    filling.mkdir()
    try:
        for number in itertools.count():
            with (filling / str(number)).open("wb", buffering=0) as file:
                while scarce == "bytes":
                    file.write(bytes(4096))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    yield
    for path in filling.iterdir():
        path.unlink()


@contextmanager
def _without_steps(steps: AbstractContextManager[list[str]]) -> Iterator[None]:
    with steps:
        yield


def _run(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _is_for_writing(flags: object) -> bool:
    return isinstance(flags, int) and bool(
        flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )


_watchers: list[Callable[[str, tuple[object, ...]], None]] = []


def _tell_watchers(event: str, arguments: tuple[object, ...]) -> None:
    for watch in _watchers:
        watch(event, arguments)


sys.addaudithook(_tell_watchers)  # it stays: Python has no way to take one back
