"""The calls of a map that are computed, and the answers for all of its items.

An answer belongs to the position of its item. Items that are equal share a computation.
Errors say which item they come from.
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from cachekit.memoization.call import CallKey
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.lookups import Hit
from cachekit.stores import EntryKey


class Call(NamedTuple):
    """One item, of which the result is not stored."""

    position: int
    args: tuple[Any, ...]
    bound: dict[str, object]
    key: CallKey


class Answers:
    """The results so far, by the position of their items."""

    def __init__(self, cached: MemorizedFunc[..., Any], bar: Any) -> None:
        self.results: list[Any] = []
        self._entries = cached._entries
        self._bar = bar
        self._counts = {"hits": 0, "computed": 0}
        # The position of what was computed, and of what equals a call that runs.
        self._computed: dict[EntryKey, int] = {}
        self._waiting: dict[EntryKey, list[int]] = {}

    def find(self, key: EntryKey) -> Hit | None:
        """Return the result of a call that is stored or was computed in this map."""
        hit = self._entries.look_up(key)
        if hit is None and key in self._computed:  # it could not be stored
            return (self.results[self._computed[key]],)
        return hit

    def waits(self, position: int, key: EntryKey) -> bool:
        """Note that an item equals one that is being computed; False if none does."""
        if key not in self._waiting:
            return False
        self._waiting[key].append(position)
        return True

    def begin(self, call: Call) -> None:
        """Note that a call is being computed."""
        self._waiting[call.key.entry] = []

    def finish(self, call: Call, hit: Hit) -> None:
        """Take the result of a computed call, and answer the items that equal it."""
        key = call.key.entry
        self._computed[key] = call.position
        self.answer(call.position, hit, "computed")
        for position in self._waiting.pop(key):
            self.answer(position, self.find(key) or hit, "hits")

    def answer(self, position: int, hit: Hit, how: str = "hits") -> None:
        """Take the result of an item."""
        self.results[position] = hit[0]
        if self._bar is not None:
            self._counts[how] += 1
            self._bar.set_postfix(self._counts, refresh=False)
            self._bar.update()


@contextlib.contextmanager
def naming(position: int, item: object) -> Iterator[None]:
    """Note in an exception which item it comes from."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in map(), of {named(position, item)}")
        raise


def named(position: int, item: object) -> str:
    """Say which item it is, on one line."""
    # An own __repr__ may have lines, and anything may go wrong in it.
    try:
        text = " ".join(_SHORT.repr(item).split())
    except Exception:  # noqa: BLE001
        text = object.__repr__(item)
    return f"item {position}: {text}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
