"""A unit: a piece of the user's code, by its own content and by what it reads.

A function, a class or a module. `survey` finds them, and follows their edges.
"""

from __future__ import annotations

import types
from typing import Any

from cachekit.hashing import boundary, hasher
from cachekit.hashing.syntax import shallow

# Where an edge leads: ("unit", 3), ("value", digest), ("library", "numpy"), …
Target = tuple[object, ...]
Edge = tuple[str, Target]


class Unit:
    """A piece of code that was met: its name, its own content and its edges."""

    __slots__ = ("content", "edges", "name", "source")

    def __init__(self, name: str) -> None:
        self.name = name
        self.content: list[object] = []
        self.edges: list[Edge] = []
        self.source: str | None = None

    @property
    def digest(self) -> str:
        """Digest of the unit and the values that it reads, without other units."""
        values = [
            (name, _unnumbered(target))
            for name, target in self.edges
            if target[0] != "unit"
        ]
        return hasher.digest([self.content, values])

    @property
    def values(self) -> dict[str, str]:
        """Digests of what names lead to that are no units: values, files."""
        found = [edge for edge in self.edges if edge[1][0] != "unit"]
        return {name: hasher.digest(_unnumbered(target)) for name, target in found}


def unit_name(thing: Any) -> str:
    """Return ``module.qualname`` of a function or class, or the name of a module."""
    if isinstance(thing, types.ModuleType):
        return thing.__name__
    return f"{boundary.module_name(thing)}.{thing.__qualname__}"


def shallow_digest(thing: Any) -> str:
    """Return the digest of a function's own code; classes and modules have none."""
    if isinstance(thing, types.FunctionType):
        return hasher.digest(shallow(thing.__code__, thing.__globals__).content)
    return ""


def _unnumbered(target: Target) -> Target:
    """Leave out the numbers of units: that of each shifts when one is added.

    A unit that changed has changed by itself, and what holds it has its name.
    """
    if target[0] in ("unit", "value"):
        return target[: 1 if target[0] == "unit" else 2]
    return tuple(
        _unnumbered(part) if isinstance(part, tuple) and part else part
        for part in target
    )
