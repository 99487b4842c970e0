"""Python's own unpickler, made to believe less than numpy does.

`dtype.__setstate__` takes the word of a stream for where the parts of an element lie
and which of them are objects, and an array of objects for how many there are. What is
wrong there, by damage or on purpose, is read from any place in memory, or ends the
process. So dtypes are made anew by numpy's own checks, and arrays of objects are
counted first.
"""

from __future__ import annotations

import math
import pickle
from typing import Any, ClassVar

from cachekit.serialization.allowed import is_numpy


class CarefulUnpickler(pickle._Unpickler):
    """An unpickler for streams that may be damaged."""

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: lambda self: self.load_build(),
        pickle.BYTEARRAY8[0]: lambda self: self.load_bytearray8(),
    }
    stack: list[Any]
    memo: dict[int, Any]

    def load_build(self) -> None:
        """Give an object its state."""
        state = self.stack.pop()
        target = self.stack[-1]
        if is_numpy("dtype", target):
            self.replace(target, _completed_dtype(target, state))
            return
        if is_numpy("ndarray", target):
            _check_objects(state)
        self.set_state(target, state)

    def set_state(self, target: Any, state: Any) -> None:  # noqa: ARG002
        """Do as Python does; `target` is on the stack."""
        self.stack.append(state)
        super().load_build()  # type: ignore[misc]  # not in the stubs

    def load_bytearray8(self) -> None:
        """Push a bytearray; Python would make room for it before it reads."""
        size = int.from_bytes(self.read(8), "little")  # type: ignore[attr-defined]
        self.stack.append(bytearray(self.read(size)))  # type: ignore[attr-defined]

    def replace(self, old: Any, new: Any) -> None:
        """Put another object in the place of one that was just made."""
        self.stack[-1] = new
        # It was remembered just before its state was read, so near the end.
        for place in reversed(self.memo):
            if self.memo[place] is old:
                self.memo[place] = new
                return


def _check_objects(state: Any) -> None:
    # Of too few objects, numpy would take the rest from behind the list's end.
    if not isinstance(state, tuple) or len(state) < 4:  # a subclass has what it likes
        return
    shape = state[0 if len(state) == 4 else 1]
    lists = [part for part in state if isinstance(part, list)]
    if not isinstance(shape, tuple) or not all(type(size) is int for size in shape):
        return
    if any(len(objects) != math.prod(shape) for objects in lists):
        raise pickle.UnpicklingError(f"an array of {shape} has other objects")


def _completed_dtype(dtype: Any, state: Any) -> Any:
    """Return a new dtype of that state, checked by numpy.

    `dtype.__setstate__` believes what the state says of itself: that bytes may be
    taken for the addresses of objects.
    """
    import numpy as np

    _, order, inner, names, fields, size, _, flags, *more = state
    metadata, unit = _metadata_and_unit(more)
    if names is not None:
        layout: Any = {
            "names": list(names),
            "formats": [fields[name][0] for name in names],
            "offsets": [fields[name][1] for name in names],
            "titles": [(*fields[name], None)[2] for name in names],
            "itemsize": size,
        }
        plain = np.dtype(layout, align=bool(flags & _ALIGNED))
        # Of records, the scalars have attributes.
        is_record = dtype.type is np.record
        whole = np.dtype((np.record, plain)) if is_record else plain
    elif inner is not None:
        whole = np.dtype(inner)
    elif unit is not None:
        whole = np.dtype(f"{order}{dtype.kind}8{unit}")
    else:
        whole = np.dtype(f"{order}{dtype.str[1:]}")
    return np.dtype(whole, metadata=metadata) if metadata else whole


_ALIGNED = 0x80  # NPY_ALIGNED_STRUCT


def _metadata_and_unit(more: list[Any]) -> tuple[dict[Any, Any] | None, str | None]:
    """Read what only some dtypes have: ``(None, (b"s", 25, 1, 1))`` -> ``[25s]``."""
    if not more or type(more[0]) is not tuple:
        return (more[0] if more else None), None
    metadata, (unit, count, *_) = more[0]
    text = unit.decode("ascii") if isinstance(unit, bytes) else str(unit)
    return metadata, "" if text == "generic" else f"[{int(count)}{text}]"
