"""What a cell has bound, to bytes and back.

All in one pickle, so that values which share an object share one again. Functions and
classes of the notebook go by name: a copy would not be the notebook's, nor see its
edits. What pickle alone cannot take is therefore not kept.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Set
from typing import Any

from cachekit.serialization.pickling import flatten, rebuild

# A pickle, and the memory that it refers to.
Packed = tuple[bytes, list[Any]]


class Unkeepable(Exception):
    """A value would not come back as it was; says why."""


def pack(value: object, computed: Set[str]) -> Packed:
    """Pickle a value, or raise `Unkeepable`.

    Parameters
    ----------
    value : object
        What is to be kept.
    computed : set of str
        Names of the notebook that are not there when it is read on a hit.
    """
    try:
        stream, buffers = flatten(value)
        if b"cloudpickle" in stream or b"__main__" in stream:
            _Checker(stream, buffers, computed).load()
    except Unkeepable:
        raise
    except Exception as error:  # pickling runs the values' code
        raise Unkeepable(str(error) or type(error).__name__) from error
    return stream, [pickle.PickleBuffer(buffer) for buffer in buffers]


def unpack(packed: Packed) -> Any:
    """Return the value, which may be changed in place."""
    views = [memoryview(buffer) for buffer in packed[1]]
    # The stream says itself which of them were read-only.
    writable = [bytearray(view) if view.readonly else view for view in views]
    return rebuild(packed[0], writable)


class _Checker(pickle.Unpickler):
    """Reads a stream to see to which names it leads."""

    def __init__(self, stream: bytes, buffers: list[Any], computed: Set[str]) -> None:
        super().__init__(io.BytesIO(stream), buffers=buffers)
        self._computed = computed

    def find_class(self, module: str, name: str) -> Any:
        """Return a global of a module."""
        if module.startswith("cloudpickle"):
            raise Unkeepable("it holds a lambda, a module or the like, without a name")
        if module == "__main__" and name.partition(".")[0] in self._computed:
            raise Unkeepable(f"it leads to {name}, which is computed in this cell")
        return super().find_class(module, name)
