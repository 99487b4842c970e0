"""Results kept in memory, decoded: the least recently used leave first.

A caller may change what he was given. So what can change is copied on its way in and
out, but for arrays, which are kept once and given out read-only.
"""

from __future__ import annotations

import copy
import sys
import threading
from collections import OrderedDict
from typing import Any

from cachekit.stores import EntryKey


class MemoryTier:
    """The results that a function returned last.

    Parameters
    ----------
    size : int
        How many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[EntryKey, tuple[Any, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return (MemoryTier, (self._size,))

    def get(self, key: EntryKey) -> tuple[Any] | None:
        """Return a result, in a tuple; None if it is not kept."""
        try:
            value, is_shared = self._kept[key]
            self._kept.move_to_end(key)
        except KeyError:  # also if another thread has just removed it
            return None
        return (value if is_shared else copy.deepcopy(value),)

    def put(self, key: EntryKey, value: Any) -> None:
        """Keep a result, if it can be copied."""
        try:
            kept = _to_keep(value)
        except Exception:  # noqa: BLE001  (copying runs the value's own code)
            return
        with self._lock:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def drop(self, key: EntryKey) -> None:
        """Forget a result."""
        with self._lock:
            self._kept.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()


def _to_keep(value: Any) -> tuple[Any, bool]:
    """Return what to keep of a value, and whether it may be given out as it is."""
    if _never_changes(value):
        return value, True
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.memmap and value.mode == "r":
        return value, True
    if numpy is not None and type(value) is numpy.ndarray and not value.dtype.hasobject:
        value = value.copy(order="K")
        value.flags.writeable = False
        return value, True
    return copy.deepcopy(value), False


def _never_changes(value: Any) -> bool:
    kind = type(value)
    if kind is tuple or kind is frozenset:
        return all(map(_never_changes, value))
    return kind in _UNCHANGING


_UNCHANGING = frozenset({int, float, complex, bool, str, bytes, type(None), range})
