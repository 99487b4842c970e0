"""Large arrays in tasks: written once, and mapped by each worker.

::

    pack(batch) ──► pickle stream ────────────────────────────► to the worker
          └──────► buffers over max_nbytes ──► files in a folder ──► mapped there

Buffers are found wherever they are in the arguments: in tables, dataclasses, tensors.
One that is a map of a file already is mapped from that file. A file is removed when its
array is gone and no task needs it, and at the latest with the loop.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import sys
import tempfile
import threading
import uuid
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from cachekit.amounts import parse_size
from cachekit.parallel import leftovers
from cachekit.parallel.tasks import Batch, Done, Failure, Task, short_call
from cachekit.serialization import pickling

# So much must be free where memory is a file system, or a disk is used.
LEAST_FREE = 2 << 30

MEMORY_FOLDER = Path("/dev/shm")


class MappedPart(NamedTuple):
    """Where a worker finds the memory of an array.

    Attributes
    ----------
    path : str
        The file.
    offset, length : int
        The bytes in it.
    mode : str
        How to map it.
    """

    path: str
    offset: int
    length: int
    mode: str


class Packed:
    """A batch as it goes to a worker: called there, it calls the batch.

    Parameters
    ----------
    stream : bytes
        Its pickle.
    parts : list of bytes or MappedPart
        The buffers of the pickle.
    """

    def __init__(self, stream: bytes, parts: list[bytes | MappedPart]) -> None:
        self.stream = stream
        self.parts = parts

    def __call__(self) -> Packed:
        """Rebuild the batch, and call it; return what came of it, packed."""
        batch: Batch = self.unpack()
        done = batch()
        try:
            return _packed(done)
        except Exception:  # noqa: BLE001  (pickling runs the results' own code)
            outcomes = [
                _portable(outcome, batch.first + number, task)
                for number, (outcome, task) in enumerate(
                    zip(done.outcomes, batch.tasks, strict=False)
                )
            ]
            return _packed(done._replace(outcomes=outcomes))

    def unpack(self) -> Any:
        """Rebuild what was packed."""
        buffers = [
            _mapped(part) if isinstance(part, MappedPart) else bytearray(part)
            for part in self.parts
        ]
        file = io.BytesIO(self.stream)
        return pickling.Rebuilder(
            file, buffers=buffers, array_from=pickling.mapped_array
        ).load()


class Sharing:
    """Packs the batches of a loop, and keeps the files that they share.

    Parameters
    ----------
    temp_folder : str or None
        Where to make the folder; by default in memory if there is room.
    max_nbytes : int, str or None
        Buffers from this size on are shared; None for none.
    mmap_mode : {"r", "r+", "w+", "c"} or None
        How workers map them; None for none.
    """

    def __init__(
        self,
        temp_folder: str | None,
        max_nbytes: int | str | None,
        mmap_mode: str | None,
    ) -> None:
        self._limit: int | None = None
        if mmap_mode is not None and max_nbytes is not None:
            self._limit = parse_size(max_nbytes)
        self._mode = "r+" if mmap_mode == "w+" else mmap_mode or "r"
        self._place = temp_folder
        self._folder: Path | None = None
        self._lock = threading.RLock()
        self._files: dict[tuple[int, int], _SharedFile] = {}

    def pack(self, batch: Any) -> Packed:
        """Pickle a batch; its large buffers are written to files."""
        _send_script_by_value()
        stream = Stream()
        smallest = pickling.SMALLEST_BUFFER
        if self._limit is not None:
            smallest = max(min(self._limit, smallest), 1)
        parts: list[bytes | MappedPart] = []
        used: list[_SharedFile] = []
        for memory in pickling.write_by_value(batch, stream, smallest_buffer=smallest):
            blocks = list(memory.blocks)
            part, file = self._part_of(blocks)
            parts.append(part)
            if file is not None:
                used.append(file)
        packed = Packed(stream.getvalue(), parts)
        if used:
            with self._lock:
                for file in used:
                    file.users += 1
                _used[id(packed)] = used
        return packed

    def release(self, packed: Packed) -> None:
        """Note that the batch is done."""
        used = _used.pop(id(packed), ())
        with self._lock:
            for file in used:
                file.users -= 1
                self._remove_if_idle(file)

    @property
    def folder(self) -> Path:
        """The folder, made when it is first asked for."""
        if self._folder is None:
            place = Path(self._place) if self._place else _best_place()
            place.mkdir(parents=True, exist_ok=True)
            name = f"cachekit-{os.getpid()}-{uuid.uuid4().hex[:12]}"
            folder = place / name
            _track("register", folder)  # first, so that a kill leaves nothing
            folder.mkdir(mode=0o700)
            lock = leftovers.hold(folder)
            self._remove = weakref.finalize(self, _remove, folder, lock, os.getpid())
            leftovers.sweep(place, "cachekit-*-*")
            self._folder = folder
        return self._folder

    def clear(self) -> None:
        """Remove all files: arrays may be changed before the next loop."""
        with self._lock:
            for file in self._files.values():
                Path(file.path).unlink(missing_ok=True)
            self._files.clear()

    def close(self) -> None:
        """Remove the folder."""
        self.clear()
        if self._folder is not None:
            self._folder = None
            self._remove()

    def _part_of(
        self, blocks: list[memoryview]
    ) -> tuple[bytes | MappedPart, _SharedFile | None]:
        length = sum(block.nbytes for block in blocks)
        if self._limit is None or length < self._limit or length == 0:
            return b"".join(blocks), None
        array = blocks[0].obj if len(blocks) == 1 else None
        mapped = _map_of(array, blocks[0]) if array is not None else None
        if mapped is not None:
            return mapped, None
        root = root_of(array)
        offset = 0
        if root is not None and _is_worth_sharing_whole(root, length):
            # Other parts of it are to come, as in a loop over its pieces.
            whole = memoryview(root.reshape(-1, order="A")).cast("B")
            offset, blocks = _address(blocks[0]) - _address(whole), [whole]
        file = self._file_of(blocks, root)
        return MappedPart(file.path, offset, length, self._mode), file

    def _file_of(self, blocks: list[memoryview], root: Any) -> _SharedFile:
        key = (_address(blocks[0]), blocks[0].nbytes) if root is not None else None
        with self._lock:
            known = self._files.get(key) if key is not None else None
            # One that is gone may have had its memory where this array has it now.
            if known is not None and not known.is_gone:
                return known
            path = self._new_path()
            with path.open("wb") as target:
                for block in blocks:
                    target.write(block)
            file = _SharedFile(str(path), key)
            if key is not None:
                self._files[key] = file
                file.array = weakref.ref(root, lambda _: self._forget(file))
            return file

    def _forget(self, file: _SharedFile) -> None:
        file.is_gone = True
        with self._lock:
            self._remove_if_idle(file)

    def _remove_if_idle(self, file: _SharedFile) -> None:
        if file.users == 0 and (file.is_gone or file.key is None):
            if file.key is not None and self._files.get(file.key) is file:
                del self._files[file.key]
            Path(file.path).unlink(missing_ok=True)

    def _new_path(self) -> Path:
        return self.folder / uuid.uuid4().hex


def _send_script_by_value() -> None:
    """Have the functions of a script be sent by value in a spawned process too.

    There the script has another name, which its workers do not know.
    """
    script = sys.modules.get("__mp_main__")
    if script is not None:
        import cloudpickle

        cloudpickle.register_pickle_by_value(script)


def _packed(done: Done) -> Packed:
    stream = Stream()
    outside = pickling.write_by_value(done, stream)
    parts: list[bytes | MappedPart] = [b"".join(memory.blocks) for memory in outside]
    return Packed(stream.getvalue(), parts)


def _portable(outcome: Any, position: int, task: Task) -> Any:
    """Return a result, or the failure that says that it cannot be sent."""
    try:
        _packed(Done([outcome], 0.0))
    except Exception as error:  # noqa: BLE001  (pickling runs the result's own code)
        problem = pickle.PicklingError(
            f"the result, of type {type(outcome).__name__}, cannot be sent back from "
            f"its worker: {error!r}"
        )
        return Failure(problem, position, short_call(task), 1)
    return outcome


class _SharedFile:
    """A file with the memory of an array.

    Parameters
    ----------
    path : str
        The file.
    key : (int, int) or None
        Address and length of the memory; None if it was put together for one task.
    """

    def __init__(self, path: str, key: tuple[int, int] | None) -> None:
        self.path = path
        self.key = key
        self.users = 0
        self.is_gone = False
        self.array: weakref.ref[Any] | None = None


class Stream(io.BytesIO):
    """A sink for a pickle stream, in memory."""

    def restart(self) -> None:
        """Forget what was written, which is to be written anew."""
        self.seek(0)
        self.truncate()


def _mapped(part: MappedPart) -> Any:
    import numpy as np

    mode = cast(Literal["r", "r+", "c"], part.mode)
    return np.memmap(part.path, "u1", mode, offset=part.offset, shape=(part.length,))


def _map_of(array: Any, block: memoryview) -> MappedPart | None:
    """Return where the memory of an array is in a file, if it is a map of one."""
    import numpy as np

    root = root_of(array)
    if not isinstance(root, np.memmap) or root.mode == "c" or not root.filename:
        return None
    if not _is_file_behind(root):
        return None
    offset = root.offset + _address(block) - root.__array_interface__["data"][0]
    mode = "r" if root.mode == "r" else "r+"
    return MappedPart(str(root.filename), offset, block.nbytes, mode)


def _is_file_behind(root: Any) -> bool:
    """Tell whether a map is of the file that has its name now."""
    try:
        number = os.stat(root.filename).st_ino  # noqa: PTH116
        lines = Path("/proc/self/maps").read_text().splitlines()
    except FileNotFoundError:  # the file was removed, or this is not Linux
        return os.path.exists(root.filename)  # noqa: PTH110
    address = _start_of(root)
    for line in lines:
        # "7f00-7f10 r--s 00000000 08:01 1234   /the/file"
        places, _, _, _, its_number, *_ = line.split(maxsplit=5)
        first, end = (int(place, 16) for place in places.split("-"))
        if first <= address < end:
            return int(its_number) == number
    return False


def root_of(array: Any) -> Any:
    """Return the array that owns the memory of another; None for what is no array."""
    import numpy as np

    if not isinstance(array, np.ndarray):
        return None
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    return root


def _is_worth_sharing_whole(root: Any, length: int) -> bool:
    """Tell whether a part of an array is large enough to write all of it."""
    return (
        length < root.nbytes <= 16 * length
        and root.flags.forc
        and not root.dtype.hasobject
        and root.dtype.kind not in "mM"  # which have no buffer
    )


def _start_of(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _address(block: memoryview) -> int:
    import numpy as np

    return int(np.frombuffer(block, "u1").__array_interface__["data"][0])


def _best_place() -> Path:
    chosen = os.environ.get("JOBLIB_TEMP_FOLDER")
    if chosen:
        return Path(chosen)
    try:
        facts = os.statvfs(MEMORY_FOLDER)
        if facts.f_bavail * facts.f_frsize > LEAST_FREE:
            return MEMORY_FOLDER
    except (OSError, AttributeError):
        pass
    return Path(tempfile.gettempdir())


def _remove(folder: Path, lock: int, owner: int) -> None:
    """Remove the folder, also if the interpreter ends inside a block."""
    if os.getpid() == owner:  # and not a process that was forked from it
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        _track("unregister", folder)


def _track(verb: str, folder: Path) -> None:
    """Have loky's watching process remove a folder if this one is killed."""
    from loky.backend import resource_tracker

    getattr(resource_tracker, verb)(str(folder), "folder")


# The files that a batch under way uses, by its identity.
_used: dict[int, Iterable[_SharedFile]] = {}
