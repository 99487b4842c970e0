"""Where workers say what they are doing: which task, and since when.

So that a time-out counts from the task's own start, and so that it can be said which
task a worker that died was at.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_ENTRY = struct.Struct("<qd")  # position, or -1; start

# What is written is the system's clock, which all processes of a machine share.
now = time.monotonic


class AtWork(NamedTuple):
    """What a worker is doing.

    Attributes
    ----------
    worker : int
        Number of the process, or of the thread.
    position : int
        Of the task.
    since : float
        When it was begun, by `now`.
    """

    worker: int
    position: int
    since: float


class Board(ABC):
    """Where workers say what they are doing."""

    @abstractmethod
    def begin(self, position: int) -> None:
        """Say that this worker begins a task."""

    @abstractmethod
    def end(self) -> None:
        """Say that this worker is idle."""

    @abstractmethod
    def at_work(self) -> list[AtWork]:
        """Return what every worker is doing."""


class ThreadBoard(Board):
    """For threads of this process."""

    def __init__(self) -> None:
        self._known: dict[int, AtWork] = {}

    def begin(self, position: int) -> None:
        """Say that this thread begins a task."""
        me = threading.get_ident()
        self._known[me] = AtWork(me, position, now())

    def end(self) -> None:
        """Say that this thread is idle."""
        self._known.pop(threading.get_ident(), None)

    def at_work(self) -> list[AtWork]:
        """Return what every thread is doing."""
        return list(self._known.values())


class FileBoard(Board):
    """For processes of this machine: a file of sixteen bytes for each.

    Parameters
    ----------
    folder : Path
        Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._slot: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (FileBoard, (self._folder,))

    def begin(self, position: int) -> None:
        """Say that this process begins a task."""
        self._write(position)

    def end(self) -> None:
        """Say that this process is idle."""
        self._write(-1)

    def at_work(self) -> list[AtWork]:
        """Return what every process is doing."""
        return list(self._read())

    def _write(self, position: int) -> None:
        if self._slot is None:
            self._slot = _slot_for(str(self._folder), os.getpid())
        _ENTRY.pack_into(self._slot, 0, position, now())

    def _read(self) -> Iterator[AtWork]:
        with contextlib.suppress(FileNotFoundError):
            for path in self._folder.glob("worker-*"):
                content = path.read_bytes()
                if len(content) == _ENTRY.size:
                    position, since = _ENTRY.unpack(content)
                    if position >= 0:
                        yield AtWork(int(path.name.partition("-")[2]), position, since)


# The map of this process's file, by its path; of the last loop alone.
_slots: dict[str, Any] = {}


def _slot_for(folder: str, process: int) -> Any:
    path = f"{folder}/worker-{process}"
    slot = _slots.get(path)
    if slot is None:
        _slots.clear()
        try:
            with open(path, "w+b") as file:  # noqa: PTH123
                file.write(_ENTRY.pack(-1, 0.0))
                file.flush()
                slot = mmap.mmap(file.fileno(), _ENTRY.size)
        except OSError:  # the loop is over
            slot = bytearray(_ENTRY.size)
        _slots[path] = slot
    return slot
