"""The staging area of a local store: write first, then rename, in one step.

Whatever a process writes lies under a name of its own in ``.staging`` until it is
whole. A rename on the same file system then makes it appear, or takes something away:
at no moment is half of it there. What a dead process left is swept by a later one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import itertools
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from cachekit.stores import processes
from cachekit.stores.base import Staging
from cachekit.stores.listing import PLAIN, unmark
from cachekit.stores.names import FILES, RECORD, VALUE

# Staging left by another host is not known to be dead before it is this old.
FOREIGN_STAGING_SECONDS = 24 * 3600

# How often a commit tries again when another process clears the folder under it.
MOST_RENAMES = 100

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)

_numbers = itertools.count()

# How systems say that a folder with something in it has the name; sshfs the last.
_ALREADY_THERE = {errno.EEXIST, errno.ENOTEMPTY, errno.EPERM}


class StagingArea:
    """The folder ``.staging`` of a store.

    Parameters
    ----------
    root : Path
        The folder of the store; whoever removes it stops what is being written.
    durable : bool
        Wait until the disk has what is renamed, and then until it has the new name.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.folder = root / ".staging"
        self._base = f"{self.folder}{os.sep}"
        self._root = root
        self._durable = durable

    def make_root(self) -> None:
        """Make the folder of the store, unless it is there, for its owner alone."""
        missing = [
            path for path in (self._root, *self._root.parents) if not path.exists()
        ]
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._durable:
            for path in missing:
                _sync(path.parent)

    def new_path(self) -> Path:
        """Return a path that no other process or thread will ever use."""
        return Path(self._new_name())

    def new_folder(self) -> str:
        """Make a folder to write into."""
        folder = self._new_name()
        try:
            os.mkdir(folder)  # noqa: PTH102  (a path takes as long as the call)
        except FileNotFoundError:
            self._make_folder(Path(folder))
        return folder

    def _new_name(self) -> str:
        return f"{self._base}{_process(os.getpid())}.{next(_numbers):x}"

    def write(self, path: Path, content: bytes) -> None:
        """Publish a single file whole."""
        staged = self.new_path()
        self._make_folder(self.folder)
        try:
            staged.write_bytes(content)
            self._rename_into_place(staged, path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise

    def write_once(self, path: Path, content: bytes) -> None:
        """Publish a single file whole, unless there is one."""
        if not path.exists():
            self.write(path, content)

    def publish(self, staged: str, final: str, prepare: Callable[[], object]) -> bool:
        """Rename a staged folder to its final name; False if there is one already.

        `prepare` is called unless one rename is enough: the store may be gone, all but
        what is staged.
        """
        if not self._durable and _is_renamed(staged, final):
            return True
        if os.path.isdir(staged):  # noqa: PTH112
            prepare()
        if not self._durable and _is_renamed_into_new(staged, final):
            return True
        return self._publish(Path(staged), Path(final))

    def _publish(self, staged: Path, final: Path) -> bool:
        for left in reversed(range(MOST_RENAMES)):
            try:
                self._rename_into_place(staged, final)
            except OSError as error:
                is_no_folder = error.errno == errno.ENOTDIR and os.path.lexists(final)
                is_there = error.errno in _ALREADY_THERE or is_no_folder
                if not is_there or not left:
                    raise
                if (final / VALUE).is_file():
                    return False
                self.remove(final)  # damaged: an entry without a value
            else:
                break
        return True

    def remove(self, folder: Path) -> None:
        """Rename a folder away, then empty it: readers see all of it or nothing."""
        away = self.new_path()
        try:
            self._make_folder(self.folder)
            folder.rename(away)
        except FileNotFoundError:
            return
        self._sync_above(folder)
        # A commit that had found its way before the rename may still arrive.
        for _ in range(MOST_RENAMES):
            shutil.rmtree(away, ignore_errors=True)
            with contextlib.suppress(OSError):
                away.unlink()  # it was a file
            if not away.exists():
                return

    def sweep(self) -> None:
        """Remove what processes that are no more have left."""
        for left in self.abandoned():
            shutil.rmtree(left, ignore_errors=True)
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)

    def abandoned(self) -> list[Path]:
        """Return what processes that are no more have left."""
        if self.folder.is_symlink():  # it leads to what may not be ours
            return []
        try:
            return [left for left in self.folder.iterdir() if self._is_abandoned(left)]
        except FileNotFoundError:
            return []

    def _is_abandoned(self, left: Path) -> bool:
        host, pid, start = _owner(left.name)
        if host == processes.host() and os.name != "nt":
            return processes.is_gone(host, pid, start)
        try:
            # Both by the clock of the file server, which ours may not agree with.
            age = self.folder.stat().st_mtime - left.lstat().st_mtime
        except FileNotFoundError:
            return False
        return age > FOREIGN_STAGING_SECONDS

    def _rename_into_place(self, staged: Path, final: Path) -> None:
        if self._durable:
            for path in (*staged.rglob("*"), staged):
                _sync(path)
        self._rename(staged, final)
        self._sync_above(final)

    def _rename(self, staged: Path, final: Path) -> None:
        """Rename, making the folders above, which a `clear` may take away meanwhile."""
        for _ in range(MOST_RENAMES):
            try:
                self._make_folder(final.parent)
            except FileExistsError:
                if final.parent.exists():  # a file is in the way
                    raise
                continue
            except FileNotFoundError:  # taken away between two of them
                if not staged.exists():
                    raise
                continue
            try:
                staged.rename(final)
            except FileNotFoundError:
                if not staged.exists():
                    raise
            else:
                return
        raise FileNotFoundError(
            errno.ENOENT, "its folder is cleared again and again", final
        )

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, but not the root, which is private."""
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError:
            if folder.parent == self._root:
                raise
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)

    def _sync_above(self, path: Path) -> None:
        """Wait until the disk has a new name, and the folders that lead to it."""
        if not self._durable:
            return
        with contextlib.suppress(FileNotFoundError):  # taken away meanwhile
            for folder in path.parents:
                _sync(folder)
                if folder == self._root:
                    return


class LocalStaging(Staging):
    """An entry being written, in a folder of its own in the staging area.

    Parameters
    ----------
    area : StagingArea
        Where to write.
    final : str
        Where the entry is to appear.
    prepare : callable
        Makes what a store has above its entries, if that is gone.
    """

    def __init__(
        self, area: StagingArea, final: str, prepare: Callable[[], object]
    ) -> None:
        self._area = area
        self._final = final
        self._prepare = prepare
        self._folder = area.new_folder()
        self._is_published = False
        self._is_plain = True  # but for a value and a record there is nothing

    def folder(self) -> Path:
        """Return the folder whose files become those of the entry."""
        self._is_plain = False
        folder = Path(self._folder, FILES)
        folder.mkdir(exist_ok=True)
        return folder

    def open(self, name: str) -> BinaryIO:
        """Open one file of the entry for writing."""
        if "/" in name:
            Path(self._folder, name).parent.mkdir(parents=True, exist_ok=True)
        # What `open` does, but for asking whether it is a terminal.
        raw = io.FileIO(self._create(name), "wb")
        return io.BufferedWriter(raw)

    def _create(self, name: str) -> int:
        """Create a file; a value is marked as one with nothing beside it."""
        mode = 0o666
        if name == VALUE:
            mode |= PLAIN
        elif name != RECORD:
            self._is_plain = False
        return os.open(f"{self._folder}/{name}", _NEW_FILE, mode)

    def write(self, name: str, content: bytes) -> None:
        """Write one file of the entry, in three system calls."""
        handle = self._create(name)
        try:
            written = os.write(handle, content)
            while written < len(content):  # as when a disk fills
                written += os.write(handle, memoryview(content)[written:])
        finally:
            os.close(handle)

    def commit(self) -> bool:
        """Publish the entry; return False if another writer was first."""
        if not self._is_plain:
            unmark(Path(self._folder, VALUE))
        self._is_published = self._area.publish(
            self._folder, self._final, self._prepare
        )
        return self._is_published

    def replace(self) -> None:
        """Publish the entry in the place of whatever is there."""
        # Two steps: between them a reader misses, and recomputes. A third writer
        # may publish in between, hence the loop.
        while not self.commit():
            self._area.remove(Path(self._final))

    def discard(self) -> None:
        """Drop what was written; after a commit this does nothing."""
        if not self._is_published:
            shutil.rmtree(self._folder, ignore_errors=True)


def _is_renamed(staged: str, final: str) -> bool:
    """Rename in one call, the usual case; False if that is not possible."""
    try:
        os.rename(staged, final)  # noqa: PTH104  (paths took half of the time)
    except OSError:
        return False
    return True


def _is_renamed_into_new(staged: str, final: str) -> bool:
    """Rename into a folder that is not there yet, as those of a small store are not."""
    try:
        os.mkdir(os.path.dirname(final))  # noqa: PTH102, PTH120
    except OSError:  # it is there, or those above it are not
        return False
    return _is_renamed(staged, final)


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    is_windows = os.name == "nt"
    if is_windows and path.is_dir():  # for which it cannot be asked
        return
    file = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> str:
    """Name a process of this host as no other ever is; no part has a ``-`` in it.

    A number alone is not enough: in a container that starts again, the new process
    has the one of the old. Nor is its start, where that is not known.
    """
    start = processes.start_of(pid).replace("-", "unknown")
    return f"{processes.host()}-{pid}-{start}-{uuid.uuid4().hex[:12]}"


def _owner(name: str) -> tuple[str, int, str]:
    """Return host, process and its start from the name of what is staged."""
    try:
        host, pid, start, _ = name.split("-")
        return host, int(pid), start
    except ValueError:
        return "", -1, ""
