"""Batches on their way to a cluster: what many of them need is sent once.

::

    pack(batch) ──► pickle stream, small buffers ──► with each batch
          └──────► buffers over max_nbytes ──► once to the cluster, referred to

Workers there cannot map files of this machine, as those of `sharing` do. The cluster
hands a buffer from worker to worker, and keeps it while a task needs it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from cachekit.parallel.sharing import Packed, Stream, root_of
from cachekit.parallel.tasks import short_call
from cachekit.serialization import pickling


class Shipping:
    """Packs batches, and knows which buffers the cluster has.

    Parameters
    ----------
    limit : int, optional
        Buffers from this size on are put there; None for none.
    copies : bool, default False
        Whether each task has copies of its own, which it may write to.
    """

    def __init__(self, limit: int | None, *, copies: bool = False) -> None:
        self._limit = limit
        self._copies = copies
        self._placed: dict[tuple[int, int], _Placed] = {}

    def pack(self, batch: Any, put: Callable[[Any], Any]) -> tuple[Shipment, list[Any]]:
        """Pickle a batch; also return what stands for its large buffers.

        `put` puts an array of bytes into the cluster, and returns what stands for it.
        """
        stream = Stream()
        outside = pickling.write_by_value(batch, stream)
        pieces = [[stream.getbuffer()], *(list(memory.blocks) for memory in outside)]
        parts: list[bytes | None] = []
        references: list[Any] = []
        for blocks in pieces:
            length = sum(block.nbytes for block in blocks)
            if self._limit is None or length < max(self._limit, 1):
                parts.append(b"".join(blocks))
            else:
                parts.append(None)
                references.append(self._reference_to(blocks, put))
        return Shipment(parts, copies=self._copies), references

    def clear(self) -> None:
        """Forget what was put: arrays may be changed before the next loop."""
        self._placed.clear()

    def _reference_to(self, blocks: list[memoryview], put: Callable[[Any], Any]) -> Any:
        import numpy as np

        memory = np.frombuffer(
            blocks[0] if len(blocks) == 1 else b"".join(blocks), "u1"
        )
        owner = _owner(blocks)
        if owner is None:
            return put(memory)
        key = (int(memory.__array_interface__["data"][0]), memory.nbytes)
        placed = self._placed.get(key)
        if placed is None:
            # The cluster itself keeps it for the tasks that were submitted.
            gone = weakref.ref(owner, lambda _: self._placed.pop(key, None))
            placed = self._placed[key] = _Placed(put(memory), gone)
        return placed.reference


class _Placed(NamedTuple):
    """What stands for a buffer, and the array that it is the memory of."""

    reference: Any
    owner: weakref.ref[Any]


def _owner(blocks: list[memoryview]) -> Any:
    """Return the array with whose end the memory ends; None for what is no array.

    For part of an array that is the part: a loop over pieces is not to have the cluster
    keep all of them.
    """
    import numpy as np

    array: Any = blocks[0].obj
    if len(blocks) != 1 or not isinstance(array, np.ndarray):
        return None
    root = root_of(array)
    return root if root.nbytes == blocks[0].nbytes else array


def name_of(batch: Any) -> str:
    """Return what the cluster is to call a batch: its function's name."""
    tasks = getattr(batch, "tasks", None)
    function = tasks[0][0] if tasks else batch
    return str(getattr(function, "__name__", None) or type(function).__name__)


def description(batch: Any) -> str:
    """Say in short which tasks a batch is of."""
    tasks = getattr(batch, "tasks", None)
    if not tasks:
        return repr(batch)
    last = f" to {batch.first + len(tasks) - 1}" if len(tasks) > 1 else ""
    return f"task {batch.first}{last}: {short_call(tasks[0])}"


# --- on the worker ---


class Shipment:
    """A batch as it arrives at a worker.

    Parameters
    ----------
    parts : list of bytes or None
        The stream and its buffers; None for those that the cluster has.
    copies : bool
        As for `Shipping`.
    """

    def __init__(self, parts: list[bytes | None], *, copies: bool) -> None:
        self.parts = parts
        self.copies = copies

    def unpacked(self, placed: Iterable[Any]) -> Any:
        """Rebuild the batch."""
        left = iter(placed)
        parts: list[Any] = []
        for part in self.parts:
            if part is not None:
                parts.append(bytearray(part))
            elif self.copies:
                parts.append(bytearray(memoryview(next(left))))
            else:  # other tasks see the same memory
                parts.append(memoryview(next(left)).toreadonly())
        stream, *buffers = parts
        return pickling.rebuild(memoryview(stream), buffers)


class _Arrived(Packed):
    """Packs what comes of a batch that was unpacked already."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def unpack(self) -> Any:
        """Return the batch."""
        return self._batch


def run_shipment(shipment: Shipment, *placed: Any) -> Packed:
    """Run a batch in this worker, given what the cluster has of it."""
    me = threading.get_ident()
    _at_work.add(me)
    try:
        return _Arrived(shipment.unpacked(placed))()
    finally:
        _at_work.discard(me)


def is_worker() -> bool:
    """Tell whether this process is running a batch for a cluster."""
    return bool(_at_work)


# The threads that do.
_at_work: set[int] = set()
