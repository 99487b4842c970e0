"""Stamps: whether values are what they were, told quickly and for this process alone.

A stamp is a checksum of the pickle stream, in which functions, classes and modules go
by identity. Values with equal stamps have equal digests; the reverse does not hold, and
then the digests are compared. A stamp takes a fifth of the time of a digest.
"""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Sequence
from typing import Any

import xxhash

from cachekit.hashing import boundary, reducers


def stamp_of(values: Sequence[object]) -> bytes | None:
    """Return the stamp of some values together, or None if pickle refuses them."""
    content = _Checksum()
    return content.digest() if _Stamper(content).takes(values) else None


def stamp_and_held(values: Sequence[object]) -> tuple[bytes | None, list[object]]:
    """Return the stamp, and the objects that go by their identity in it.

    Who keeps a stamp keeps these, or else another object may take their identity.
    """
    content = _Checksum()
    checker = _Checker(content)
    return content.digest() if checker.takes(values) else None, checker.held


def has_stamp(value: object) -> bool:
    """Tell whether a value can go by its stamp.

    Not if pickle refuses it or leaves out what counts, nor if something in it says
    itself what counts, which may lie outside of it, as the content of a file does.
    """
    return not any(map(reducers.is_told, _NEVER_REDUCED)) and (
        _Checker(_Checksum()).takes([value])
    )


class _Stamper(pickle.Pickler):
    def __init__(self, content: _Checksum) -> None:
        super().__init__(content, 5, buffer_callback=content.take)

    def takes(self, values: Sequence[object]) -> bool:
        """Write some values, and tell whether that went well."""
        try:
            self.dump(values)
        except Exception:  # noqa: BLE001  (pickling runs the user's code)
            return False
        return True

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _BY_IDENTITY) and obj is not _identified:
            return (_identified, (id(obj),))
        return NotImplemented


class _Checker(_Stamper):
    def __init__(self, content: _Checksum) -> None:
        super().__init__(content)
        self.held: list[object] = []

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if isinstance(obj, types.MethodType):  # pickle tells them by name alone
            raise pickle.PicklingError("its function is no part of its pickle")
        if _is_library_closure(obj):
            raise pickle.PicklingError("what it holds is watched by no one")
        if not isinstance(obj, _BY_IDENTITY) and (
            reducers.is_told(kind)
            or _is_special_array(obj)
            or (boundary.is_users(kind.__module__) and not reducers.is_pickled(kind))
        ):
            raise pickle.PicklingError("what counts of it may be no part of its pickle")
        if isinstance(obj, _BY_IDENTITY):
            self.held.append(obj)
        return super().reducer_override(obj)


def _is_library_closure(obj: object) -> bool:
    return (
        isinstance(obj, types.FunctionType)
        and obj.__closure__ is not None
        and not boundary.is_users(boundary.home(obj))
    )


def _is_special_array(obj: object) -> bool:
    """Tell whether it is a subclass of numpy's array, which pickles no attributes."""
    numpy = sys.modules.get("numpy")  # which another thread may be importing just now
    if numpy is None or not isinstance(obj, getattr(numpy, "ndarray", ())):
        return False
    return type(obj) not in (numpy.ndarray, numpy.memmap)


class _Checksum:
    """What a pickler writes to: the stream, and the buffers that it hands out."""

    def __init__(self) -> None:
        content = xxhash.xxh3_128()
        self.write = content.update
        self.digest = content.digest

    def take(self, buffer: pickle.PickleBuffer) -> None:
        self.write(buffer.raw())


def _identified(identity: int) -> None:
    """Stand in a stream for what goes by its identity; it is never unpickled."""


_BY_IDENTITY = (types.FunctionType, type, types.ModuleType)

# A pickler asks no `reducer_override` about these.
_NEVER_REDUCED = (set, frozenset, bytearray)
