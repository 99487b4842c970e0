"""Results kept in memory, decoded: the least recently used leave first.

A caller may change what he was given. So arrays are given out as views of one that is
read-only, and what else can change as a copy, made in the way in which a file is read:
it is the same as what a hit on the disk returns.

What another process removes or puts into the store is not noticed here. Within this
one, what removes an entry asks all tiers at its place to drop it.
"""

from __future__ import annotations

import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from cachekit.memoization import mapped
from cachekit.serialization.pickling import flatten, rebuild
from cachekit.stores import EntryKey


class MemoryTier:
    """The results that a function returned last.

    Parameters
    ----------
    size : int
        How many.
    place : str
        The location of their store.

    Attributes
    ----------
    drops : int
        Grows whenever results are dropped that the store has no more.
    """

    # No lock: each step on the dictionary is one of the interpreter's, and a lock that
    # another thread holds at a fork would stay locked in the child.

    def __init__(self, size: int, place: str) -> None:
        self._size = size
        self._place = place
        self.drops = 0
        self._kept: OrderedDict[EntryKey, tuple[str, Callable[[], Any]]] = OrderedDict()
        _all_tiers.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return (MemoryTier, (self._size, self._place))

    def get(self, key: EntryKey, since: str = "") -> tuple[Any] | None:
        """Return a result, in a tuple; None if it is not kept.

        Parameters
        ----------
        key : EntryKey
            Which.
        since : str, optional
            When the entry began that is in the store now: one that is older does not
            count.
        """
        kept = self._kept.get(key)
        if kept is None or kept[0] != since:
            return None
        try:
            self._kept.move_to_end(key)
        except KeyError:  # another thread has just removed it
            return None
        try:
            return (kept[1](),)
        except Exception:  # noqa: BLE001  (copying runs the value's own code)
            self._kept.pop(key, None)
            return None

    def put(
        self, key: EntryKey, value: Any, since: str = "", *, drops: int | None = None
    ) -> None:
        """Keep a result, if it can be copied.

        Parameters
        ----------
        key : EntryKey
            Which.
        value : object
            The result.
        since : str, optional
            When its entry began.
        drops : int, optional
            The attribute as it was before the value was read: another thread may have
            put another one into the store since.
        """
        try:
            make = _maker(value)
        except Exception:  # noqa: BLE001  (copying runs the value's own code)
            make = None
        if make is None:
            self._kept.pop(key, None)  # one that was kept before is another
            return
        self._kept[key] = (since, make)
        try:
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        except KeyError:  # other threads have made room
            return
        finally:
            if drops not in (None, self.drops):
                self._kept.pop(key, None)

    def drop(self, key: EntryKey) -> None:
        """Forget a result."""
        self.drops += 1
        self._kept.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self.drops += 1
        self._kept.clear()

    def is_at(self, place: str) -> bool:
        """Tell whether the results are of a store at this location."""
        return self._place == place


def drop_everywhere(place: str, key: EntryKey) -> None:
    """Forget a result of a store in all tiers of this process."""
    for tier in list(_all_tiers):
        if tier.is_at(place):
            tier.drop(key)


def clear_everywhere(place: str) -> None:
    """Forget all results of a store in all tiers of this process."""
    for tier in list(_all_tiers):
        if tier.is_at(place):
            tier.clear()


def _maker(value: Any) -> Callable[[], Any] | None:
    """Return a function that gives out a value; None for what is not to be kept."""
    if _never_changes(value):
        return lambda: value
    if mapped.is_mapped(value):
        # A file of the user's may change; what is mapped with leave to change it is
        # mapped anew for each caller.
        return mapped.views_of(value)
    if type(value).__name__ == "memmap" or _holds_maps(value):
        return None
    if _is_plain_array(value):
        return _views_of_copy(value)
    if type(value) is tuple:
        make = _maker_of_tuple(value)
        if make is not None:
            return make
    stream, buffers = flatten(value)
    kept = [(bytes(buffer), buffer.readonly) for buffer in buffers]
    return lambda: rebuild(
        stream,
        [memory if is_constant else bytearray(memory) for memory, is_constant in kept],
    )


def _holds_maps(value: Any) -> bool:
    """Tell whether a result has mapped arrays as its items: to copy reads them all."""
    items: Any = ()
    if type(value) in (tuple, list):
        items = value
    elif type(value) is dict:
        items = value.values()
    return any(type(item).__name__ == "memmap" for item in items)


def _is_plain_array(value: Any) -> bool:
    # Another thread may be importing numpy just now.
    ndarray = getattr(sys.modules.get("numpy"), "ndarray", None)
    return (
        type(value) is ndarray
        and not value.dtype.hasobject
        and value.dtype.names is None  # which can be changed in place
    )


def _views_of_copy(array: Any) -> Callable[[], Any]:
    # As a file would bring it back: a strided one in C order.
    kept = array.copy(order="A")
    kept.flags.writeable = False
    # A view, for nobody can make that writeable again, and its shape is its own.
    return kept.view  # type: ignore[no-any-return]


def _maker_of_tuple(value: tuple[Any, ...]) -> Callable[[], Any] | None:
    """Return what gives out a tuple of arrays and of values that never change."""
    arrays = [item for item in value if _is_plain_array(item)]
    if len({id(array) for array in arrays}) < len(arrays):
        return None  # one array in two places is to stay one
    if not all(_is_plain_array(item) or _never_changes(item) for item in value):
        return None
    makers = [
        _views_of_copy(item) if _is_plain_array(item) else _always(item)
        for item in value
    ]
    return lambda: tuple([make() for make in makers])


def _always(value: Any) -> Callable[[], Any]:
    return lambda: value


def _never_changes(value: Any) -> bool:
    kind = type(value)
    if kind is tuple or kind is frozenset:
        return all(map(_never_changes, value))
    return kind in _UNCHANGING


_UNCHANGING = frozenset({int, float, complex, bool, str, bytes, type(None), range})

_all_tiers: weakref.WeakSet[MemoryTier] = weakref.WeakSet()
