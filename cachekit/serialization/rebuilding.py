"""Unpicklers of containers that do more than usual: distrust, or change byte order.

They are Python's own, and so many times slower for Python objects than the C one in
`cachekit.serialization.pickling`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from cachekit.serialization.careful import CarefulUnpickler
from cachekit.serialization.pickling import Finder
from cachekit.serialization.safe import SafeUnpickler


def rebuild_safely(
    stream: bytes | memoryview,
    buffers: Sequence[Any],
    trusted: Sequence[object],
    *,
    array_from: Callable[..., Any] | None = None,
    native: bool = False,
) -> Any:
    """Unpickle a value that is plain data, or made of what is trusted.

    Parameters
    ----------
    stream, buffers
        What the container holds.
    trusted : sequence
        See `cachekit.serialization.safe.find_trusted`.
    array_from : callable, optional
        Makes an array of a buffer, a dtype, a shape and an order.
    native : bool, default False
        Whether to bring arrays in the stream to the byte order of this machine.
    """
    kind = _SafeNative if native else _Safe
    file = io.BytesIO(stream)
    return kind(file, buffers=buffers, trusted=trusted, array_from=array_from).load()


def rebuild_natively(
    stream: bytes | memoryview,
    buffers: Sequence[Any],
    *,
    array_from: Callable[..., Any],
) -> Any:
    """Unpickle a value with all arrays in the byte order of this machine."""
    file = io.BytesIO(stream)
    return _Native(file, buffers=buffers, array_from=array_from).load()


class _ChangesOrder:
    """Replaces arrays of the other byte order; goes before an unpickler."""

    def set_state(self, target: Any, state: Any) -> None:
        super().set_state(target, state)  # type: ignore[misc]
        dtype = getattr(target, "dtype", None)
        if getattr(dtype, "isnative", True) is False and hasattr(target, "astype"):
            self.replace(target, target.astype(dtype.newbyteorder("=")))  # type: ignore[attr-defined,union-attr]


class _Native(_ChangesOrder, Finder, CarefulUnpickler):
    pass


class _Safe(Finder, SafeUnpickler):
    pass


class _SafeNative(_ChangesOrder, Finder, SafeUnpickler):
    pass
