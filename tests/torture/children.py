"""Processes that are started, killed and waited for, none of which outlives a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.torture.counts import counts

REPOSITORY = Path(__file__).parents[2]

# What takes longer hangs. An owner that is only silent would be waited for longer.
PATIENCE = 55.0

_WORKER = [sys.executable, "-X", "faulthandler", "-m", "tests.torture.worker"]


class Child:
    """One process that runs a command of `tests.torture.worker`.

    Parameters
    ----------
    errors : Path
        Where its stderr goes: whatever it says there is a failure.
    command : str
        What it does.
    *arguments : object
        Of the command.
    """

    def __init__(self, errors: Path, command: str, *arguments: object) -> None:
        self.name = f"{command} {' '.join(map(str, arguments))}"
        self._errors = errors
        with errors.open("wb") as file:
            self.process = subprocess.Popen(
                [*_WORKER, command, *map(str, arguments)],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def await_ready(self) -> None:
        """Wait until it says that it has begun."""
        line = _open(self.process.stdout).readline()
        assert line == "ready\n", f"{self.name} said {line!r}: {self._complaints()}"

    def go(self) -> None:
        """Tell it to go on."""
        stdin = _open(self.process.stdin)
        stdin.write("go\n")
        stdin.flush()

    def kill(self) -> None:
        """Kill it, whatever it does just now."""
        self.process.kill()

    def finish(self, status: int = 0) -> list[str]:
        """Wait for its end, check it, and return the lines that it has said."""
        try:
            said, _ = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # it says where it hangs
            self.process.wait()
            raise AssertionError(f"{self.name} hangs: {self._complaints()}") from None
        complaints = self._complaints()
        assert not complaints, f"{self.name} complains: {complaints}"
        ended = self.process.returncode
        assert ended == status, f"{self.name} ended with {ended}, not {status}"
        counts["processes killed"] += status == -signal.SIGKILL
        return said.splitlines()

    def end(self) -> None:
        """Take care that it is gone."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            _open(pipe).close()

    def _complaints(self) -> str:
        return self._errors.read_text(errors="replace")


class Children:
    """Starts processes, and ends with them.

    Parameters
    ----------
    folder : Path
        For what they say on stderr.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: list[Child] = []

    def __enter__(self) -> Children:
        self._folder.mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for child in self._all:
            child.end()

    def start(self, command: str, *arguments: object) -> Child:
        """Start a process; `Child` says with what."""
        errors = self._folder / f"{len(self._all)}.txt"
        self._all.append(Child(errors, command, *arguments))
        counts["processes started"] += 1
        return self._all[-1]


def say(line: str) -> None:
    """Say a line to the parent: in one system call, whole or not at all."""
    os.write(1, f"{line}\n".encode())


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
