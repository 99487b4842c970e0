"""What a folder can do that a store is in: tried out, in a folder of its own.

Nothing here knows of stores; `health` makes findings of it.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Whose files are kept by another machine.
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|afs|ceph|lustre|gpfs|beegfs|glusterfs|9p|davfs2?"
    r"|fuse\.(sshfs|s3fs|rclone|glusterfs|ceph.*|gcsfuse|goofys|davfs.*)"
)

# Whose files are gone with the machine.
_IN_MEMORY = {"tmpfs", "ramfs"}

_MOUNTS = Path("/proc/self/mounts")


@dataclass(frozen=True)
class FileSystem:
    """The kind of file system that a path is on.

    Attributes
    ----------
    kind : str
        As ``mount`` has it, such as ``ext4``; empty if that is not known.
    """

    kind: str

    @property
    def is_network(self) -> bool:
        """Whether another machine keeps the files."""
        return _NETWORK.fullmatch(self.kind) is not None

    @property
    def is_in_memory(self) -> bool:
        """Whether files are gone when the machine stops."""
        return self.kind in _IN_MEMORY


def file_system_of(path: Path, mounts: str | None = None) -> FileSystem:
    """Return the file system that a path is on, as far as the system says so.

    Parameters
    ----------
    path : Path
        A folder that is there.
    mounts : str, optional
        What ``/proc/self/mounts`` says.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
        except OSError:  # not Linux
            return FileSystem("")
    place = path.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", _character, fields[1]))
        length = len(point.parts)
        # Of several at one place, the last one hides the others.
        if place.is_relative_to(point) and length >= best:
            best, kind = length, fields[2]
    return FileSystem(kind)


def _character(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))


# --- tried out ---


def failures(folder: Path) -> Iterator[tuple[str, str]]:
    """Try what a store relies on, in a folder that is there for that alone.

    Yields
    ------
    name, reason : str
        Of each thing that does not work.
    """
    for number, (name, attempt) in enumerate(_ATTEMPTS.items()):
        place = folder / f"{number}"
        try:
            place.mkdir()
            attempt(place)
        except OSError as error:
            yield name, error.strerror or str(error)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def ignores_case(folder: Path) -> bool:
    """Tell whether ``a`` and ``A`` are one file there."""
    path = folder / "case"
    path.touch()
    try:
        return (folder / "CASE").exists()
    finally:
        path.unlink()


def seconds_ahead(folder: Path) -> float:
    """Return by how much the clock of who keeps the files is ahead of ours."""
    path = folder / "clock"
    before = time.time()
    path.touch()
    after = time.time()
    try:
        there = path.stat().st_mtime
    finally:
        path.unlink()
    # A file system notes the time at the last tick, up to some milliseconds ago.
    return there - min(max(there, before), after)


def _rename_a_folder(place: Path) -> None:
    staged, final = place / "staged", place / "final"
    staged.mkdir()
    (staged / "value").write_bytes(b"1")
    staged.rename(final)
    if (final / "value").read_bytes() != b"1" or staged.exists():
        raise OSError("the folder was not there afterwards")


def _refuse_to_replace(place: Path) -> None:
    first, second = place / "first", place / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "value").write_bytes(b"1")
    try:
        first.rename(second)
    except OSError:
        return
    raise OSError("it was renamed, and the other is lost")


def _create_once(place: Path) -> None:
    path = place / "lease"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return
    raise OSError("it was created twice")


def _read_what_is_removed(place: Path) -> None:
    path = place / "open"
    path.write_bytes(b"1")
    with path.open("rb") as file:
        path.rename(place / "away")
        (place / "away").unlink()
        if file.read() != b"1":
            raise OSError("an open file was lost when it was removed")


def _link(place: Path) -> None:
    path = place / "one"
    path.write_bytes(b"1")
    os.link(path, place / "other")


HARD_LINKS = "hard links"

_ATTEMPTS: dict[str, Callable[[Path], None]] = {
    "renaming a folder in one step": _rename_a_folder,
    "refusing to rename over a folder with files": _refuse_to_replace,
    "creating a file once": _create_once,
    "reading a file that is removed meanwhile": _read_what_is_removed,
    HARD_LINKS: _link,
}
