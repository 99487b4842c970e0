"""What of a value goes into its digest, in the words that all reducers share.

A *form* is a tag, which keeps kinds apart, and the parts to write. Parts may be
any values; `cachekit.hashing.hasher` writes them and hashes nodes among them in
turn. Forms hold values only, never identities, and are the same on every Python.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# The types that pickle writes by value alone: no memo, no reduction.
ATOMS = frozenset({type(None), bool, int, float, str, bytes})

# A list or tuple of at most so many atoms, or a dict of them by text, is written in
# place rather than by its digest: many times faster, and 32 bound what sharing costs.
SMALL = 32


class Form(NamedTuple):
    """What is written for a node: a tag that names its kind, and its parts."""

    tag: bytes
    parts: Sequence[object] | Unordered


# What each type of a library is reduced by.
Reducers = dict[type, Callable[[Any], Form]]


class Buffer:
    """Memory to feed to the hash as it lies, block by block, without a copy.

    Parameters
    ----------
    blocks : iterable of memoryview
        The memory.
    size : int, default 0
        Bytes of a block, if it is large.
    """

    __slots__ = ("blocks", "size")

    def __init__(self, blocks: Iterable[memoryview], size: int = 0) -> None:
        self.blocks = blocks
        self.size = size


class Unordered(NamedTuple):
    """The parts of a dict or set, to be put in an order of their content."""

    items: Collection[Any]
    values: Mapping[Any, Any] | None


def path_from(parent: Any, child: object, rest: str) -> str:
    """Put the step from `parent` to `child` before a path: ``[2]``, ``['key']``."""
    if isinstance(parent, (list, tuple)):
        steps = (f"[{i}]" for i, item in enumerate(parent) if item is child)
    elif isinstance(parent, dict):
        items = dict.items(parent)  # a subclass may load on each look-up
        steps = (f"[{key!r:.40}]" for key, item in items if item is child)
        pair = re.match(r"\[(\d+)\]\[1\]", rest)
        if isinstance(parent, OrderedDict) and pair and int(pair[1]) < len(parent):
            key = [*parent][int(pair[1])]  # it was hashed as a list of pairs
            return f"[{key!r:.40}]" + rest[pair.end() :]
    else:  # an object's attributes were hashed as a dict: ['lock'] -> .lock
        return re.sub(r"^\['(\w+)'\]", r".\1", rest)
    return next(steps, "") + rest


def describe(value: object) -> str:
    """Name the type of a value, for an error."""
    kind = type(value)
    return f"an object of type {kind.__module__}.{kind.__qualname__}"


def is_small_dict(items: dict[Any, Any]) -> bool:
    """Tell whether a dict is written in place: of text to atoms, and few."""
    return (
        len(items) <= SMALL
        and set(map(type, items)) <= {str}
        and set(map(type, items.values())) <= ATOMS
    )
