"""Which processes of this host are there."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
import uuid
from pathlib import Path


@functools.cache
def host() -> str:
    """Return a name for the machine, which no other has that may see our files.

    Two may be called alike, so that the start of the machine takes part, and
    containers that share it differ in their processes.
    """
    name = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())
    with contextlib.suppress(OSError):
        start = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return f"{name}.{start}.{Path('/proc/self/ns/pid').stat().st_ino}"
    return f"{name}.{uuid.getnode():x}"


def is_running(pid: int) -> bool:
    """Tell whether a process of this host is there."""
    if os.name == "nt":  # where a signal of 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def start_of(pid: int) -> str:
    """Return when a process was started, in ticks since the machine was.

    A number that was given to another process since has another start. It is ``-``
    where that cannot be had, and ``0`` for a process that has ended but is still
    listed, since its parent did not ask for its end.
    """
    try:
        about = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "-"
    # The name, in brackets, may hold anything; state and start are the 1st and the
    # 20th field after it.
    fields = about.rpartition(b")")[2].decode("ascii", "replace").split()
    if len(fields) < 20:
        return "-"
    return "0" if fields[0] in "ZX" else fields[19]


def name_of(pid: int) -> str:
    """Return host, number and start of a process of this host, as one text."""
    return f"{host()} {pid} {start_of(pid)}"


def is_named_one_gone(name: str) -> bool:
    """Tell whether a process is known to be no more, by what `name_of` said of it."""
    try:
        host_name, pid, start = name.split(" ")
        return is_gone(host_name, int(pid), start)
    except ValueError:  # it names none
        return False


def is_gone(host_name: str, pid: int, start: str) -> bool:
    """Tell whether a process is known to be no more: one of this host."""
    if host_name != host() or pid <= 0:
        return False
    if not is_running(pid):
        return True
    now = start_of(pid)
    return "-" not in (start, now) and start != now
