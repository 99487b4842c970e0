"""Files that values are read from and written to: paths, URLs and open files.

A file that is written replaces another at the end, all at once. A file that is read
may be able to go back and forth, as one on a disk, or only forward, as a socket.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cachekit.errors import MissingExtra

# A file up to this size is sent to another machine in one request.
SMALL_UPLOAD = 16 << 20


def is_url(path: str) -> bool:
    """Tell whether a path names a file that fsspec opens."""
    return "://" in path


def plain_path(path: str) -> str:
    """Return the path that a URL of this machine stands for: ``file:///a`` -> ``/a``.

    So that it is replaced all at once, and can be mapped.
    """
    return _file_system(path)[1] if path.startswith(("file://", "local://")) else path


@contextlib.contextmanager
def replacing(path: str) -> Iterator[Any]:
    """Open a file that takes the place of another one, unless something fails.

    Parameters
    ----------
    path : str
        A path or a URL. Where a link leads to is replaced, not the link.
    """
    if is_url(path):
        system, inside = _file_system(path)  # first, for it may not be installed
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder, "upload")
            with local.open("wb") as file:
                yield file
            _upload(local, system, inside)
        return
    target, mode = _target_and_mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        with open(path, "wb") as file:  # noqa: PTH123  (a folder: an error; a pipe: so)
            yield file
        return
    if path.endswith(("/", os.sep)):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    folder, name = os.path.split(target)
    # A name may have 255 bytes, up to 4 of them a character.
    hidden = f".{name[:50]}.{os.urandom(8).hex()}.partial"
    partial = os.path.join(folder, hidden)  # noqa: PTH118
    with _created(partial, path) as file:
        try:
            yield file
            file.close()
            if mode is not None:
                os.chmod(partial, stat.S_IMODE(mode))  # noqa: PTH101
            os.replace(partial, target)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):  # of a full disk, once more
                file.close()
            Path(partial).unlink(missing_ok=True)
            raise


def _target_and_mode(path: str) -> tuple[str, int | None]:
    """Return where a path leads to, and the mode of what is there, if anything is."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return path, None
    if not stat.S_ISLNK(mode):
        return path, mode
    target = os.path.realpath(path)
    try:
        return target, Path(path).stat().st_mode  # a pipe has no path of its own
    except FileNotFoundError:
        return target, None


def _created(partial: str, path: str) -> BinaryIO:
    try:
        return open(partial, "xb")  # noqa: PTH123
    except OSError as error:
        error.filename = path  # which the user knows
        raise


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open a path or a URL for reading."""
    if is_url(path):
        system, inside = _file_system(path)
        with system.open(inside, "rb") as file:
            yield file
    else:
        with open(path, "rb") as file:  # noqa: PTH123  (`Path` costs as much as a file)
            yield file


def write_all(file: Any, piece: bytes | memoryview) -> None:
    """Write all of it, also where a file takes less at a time."""
    written = file.write(piece)
    # A file opened with buffering=0 may take only a part, as when a disk fills.
    while isinstance(file, io.RawIOBase) and written < len(piece):
        piece = memoryview(piece)[written:]
        written = file.write(piece)


def can_go_back(file: Any) -> bool:
    """Tell whether what was written into an open file can be written over."""
    return (
        isinstance(file, (io.BytesIO, io.FileIO, io.BufferedWriter, io.BufferedRandom))
        and file.seekable()
        and "a" not in str(getattr(file, "mode", ""))
    )


def path_of(file: Any) -> str | None:
    """Return the path of an open file whose bytes can be mapped."""
    name = getattr(file, "name", None)
    is_plain = _is_random(file) and not isinstance(file, io.BytesIO)
    return name if is_plain and isinstance(name, str) and Path(name).is_file() else None


def with_head(file: Any, size: int) -> tuple[Any, bytes]:
    """Return a file to be read from where it stands, and how it goes on from there."""
    if _is_random(file):
        place = file.tell()
        head = file.read(size)
        file.seek(place)
        return file, head
    head = b""
    while len(head) < size and (more := file.read(size - len(head))):
        head += more
    return Forward(file, head), head


class Forward(io.RawIOBase):
    """A file that is read from front to end: a socket, a compressed file.

    Parameters
    ----------
    file : binary file
        Read no further than it is asked for; never closed.
    head : bytes
        What was read of it already.
    """

    def __init__(self, file: Any, head: bytes) -> None:
        self._file = file
        self._head = head

    def readable(self) -> bool:
        """Say yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, fewer only where the file has no more at the moment."""
        if size < 0:
            head, self._head = self._head, b""
            return head + bytes(self._file.read())
        head, self._head = self._head[:size], self._head[size:]
        return head or bytes(self._file.read(size))

    def readinto(self, target: Any) -> int:
        """Read into memory."""
        content = self.read(len(target))
        target[: len(content)] = content
        return len(content)


def _upload(local: Path, system: Any, path: str) -> None:
    """Send a file in one request, or in parts that become visible all at once."""
    if local.stat().st_size > SMALL_UPLOAD:
        system.put_file(str(local), path)
    else:
        system.pipe_file(path, local.read_bytes())


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(url.partition("://")[0])
        if extra is None:  # fsspec says what to install
            raise
        raise MissingExtra(url, extra) from error
    return system, path


def _is_random(file: Any) -> bool:
    """Tell whether going back and forth in a file costs nothing."""
    raw = getattr(file, "raw", file)  # also of what tempfile wraps
    if isinstance(raw, (io.BytesIO, io.FileIO)):
        return bool(file.seekable())
    return hasattr(file, "fs")  # fsspec's fetch ranges


_EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "azure"),
    **dict.fromkeys(("ssh", "sftp"), "ssh"),
}
