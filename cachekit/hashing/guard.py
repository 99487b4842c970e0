"""Tell, without reading a source, whether what a survey looked at is still the same.

Everything is compared by identity, since whoever defines a function or binds a name
again makes another object; only values that can change in place are hashed again. A
hit pays for this at each call, so it is counted in microseconds.
"""

from __future__ import annotations

import functools
import re
import struct
import types
from collections.abc import Callable, Collection, Mapping, Sized
from pathlib import Path
from typing import Any

from cachekit.hashing import stamps
from cachekit.hashing.forms import ATOMS
from cachekit.hashing.held import held_by

MISSING = object()


class Guard:
    """What was seen. It holds the objects, so no other can take their identity."""

    def __init__(self) -> None:
        self._kept: list[object] = []
        self._spaces: dict[int, tuple[Mapping[str, Any], dict[str, object]]] = {}
        self._cells: list[tuple[types.CellType, object]] = []
        self._functions: list[tuple[types.FunctionType, object, object, object]] = []
        self._classes: list[tuple[type, int, tuple[type, ...]]] = []
        self._sizes: list[tuple[Sized, int]] = []
        self._held: list[tuple[object, str, list[tuple[str, Any]]]] = []
        self._made: list[tuple[types.ModuleType, str, object]] = []
        self._values: dict[int, tuple[object, str]] = {}
        self._stamped: _Stamped | None = None
        self._files: list[tuple[Path, object]] = []

    def keep(self, thing: object) -> None:
        """Hold an object that goes by its identity elsewhere."""
        self._kept.append(thing)

    def watch_name(self, space: Mapping[str, Any], name: str, thing: object) -> None:
        """Watch that a name in a namespace stands for a thing, or is `MISSING`."""
        self._spaces.setdefault(id(space), (space, {}))[1][name] = thing

    def watch_cell(self, cell: types.CellType, content: object) -> None:
        """Watch that a cell of a closure holds a thing."""
        self._cells.append((cell, content))

    def watch_function(self, function: types.FunctionType) -> None:
        """Watch the code and the defaults, and that no attribute is added."""
        parts = (function.__code__, function.__defaults__, function.__kwdefaults__)
        self._functions.append((function, *parts))
        self._sizes.append((vars(function), len(vars(function))))
        keywords = function.__kwdefaults__ or {}
        for name, default in keywords.items():
            self.watch_name(keywords, name, default)

    def watch_class(self, kind: type) -> None:
        """Watch everything that a class defines."""
        space = vars(kind)
        self._classes.append((kind, len(space), kind.__bases__))
        for name, thing in space.items():
            self.watch_name(space, name, thing)

    def watch_module(self, module: types.ModuleType) -> None:
        """Watch that no name is added to a module."""
        self._sizes.append((vars(module), len(vars(module))))

    def watch_held(
        self, thing: object, package: str, parts: list[tuple[str, Any]]
    ) -> None:
        """Watch that a library's object holds the same of the user's."""
        self._held.append((thing, package, parts))

    def watch_made(self, module: types.ModuleType, name: str, thing: object) -> None:
        """Watch that a module makes the same thing on demand."""
        self._made.append((module, name, thing))

    def watch_value(self, value: object, digest: str) -> None:
        """Watch that a value, which can change in place, keeps its digest."""
        self._values[id(value)] = (value, digest)

    def watch_file(self, path: Path) -> None:
        """Watch the size and the time of change of a file."""
        self._files.append((path, _stamp_of_file(path)))

    def is_current(self, digest: Callable[[object], str]) -> bool:
        """Tell whether all is as it was; `digest` hashes the values again."""
        # Plain loops: most of these lists are empty or short, and then a loop takes a
        # third of the time of `all` with a generator or a `map`.
        for space, names in self._spaces.values():
            for name, thing in names.items():
                if space.get(name, MISSING) is not thing:
                    return False
        if not self._has_same_code():
            return False
        has_rest = self._classes or self._made or self._held or self._files
        if has_rest and not self._has_same_rest():
            return False
        return not self._values or self._has_same_values(digest)

    def _has_same_code(self) -> bool:
        for function, code, defaults, keywords in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keywords
            ):
                return False
        for space, size in self._sizes:
            if len(space) != size:
                return False
        for cell, content in self._cells:  # noqa: SIM110  (as said above)
            if content_of(cell) is not content:
                return False
        return True

    def _has_same_rest(self) -> bool:
        for kind, count, bases in self._classes:
            if len(vars(kind)) != count or kind.__bases__ is not bases:
                return False
        for module, name, thing in self._made:
            if made_on_demand(module, name) is not thing:
                return False
        for thing, package, parts in self._held:
            if not _is_same(held_by(thing, package=package).parts, parts):
                return False
        for path, stamp in self._files:  # noqa: SIM110  (as said above)
            if _stamp_of_file(path) != stamp:
                return False
        return True

    def _has_same_values(self, digest: Callable[[object], str]) -> bool:
        known = self._stamped  # another thread may put another one there
        if known is not None and known.is_current():
            return all(digest(value) == before for value, before in known.others)
        stamped = _Stamped(self._values.values())
        if any(digest(value) != before for value, before in self._values.values()):
            return False
        # What a thread changes while it is hashed gets no stamp that would last.
        self._stamped = stamped if stamped.is_current() else None
        return True


class _Stamped:
    """Values that go by one stamp as long as it stays the same, and the others."""

    def __init__(self, watched: Collection[tuple[object, str]]) -> None:
        self.values = [value for value, _ in watched if stamps.has_stamp(value)]
        # Held, so that no other object takes the identity of one in the stamp.
        self.stamp, self.held = stamps.stamp_and_held(self.values)
        by_stamp = set(map(id, self.values))
        self.others = [pair for pair in watched if id(pair[0]) not in by_stamp]

    def is_current(self) -> bool:
        return self.stamp is not None and stamps.stamp_of(self.values) == self.stamp


def made_on_demand(module: types.ModuleType, name: str) -> Any:
    """Ask a module for a name, which its own ``__getattr__`` may provide."""
    try:
        return getattr(module, name, MISSING)
    except Exception:  # noqa: BLE001  (it is the user's code)
        return MISSING


def content_of(cell: types.CellType) -> object:
    """Return what a cell of a closure holds, or `MISSING`."""
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return MISSING


def is_frozen(value: Any) -> bool:
    """Tell whether a value can never change in place."""
    if type(value) in _FROZEN_TYPES or isinstance(value, type):
        return True
    if isinstance(value, types.BuiltinFunctionType):
        return value.__self__ is None or isinstance(value.__self__, types.ModuleType)
    if type(value) in (staticmethod, classmethod):  # their functions are watched
        return is_frozen(value.__func__)
    if type(value) is property:
        return all(map(is_frozen, (value.fget, value.fset, value.fdel)))
    if type(value) is functools._lru_cache_wrapper:
        return is_frozen(value.__wrapped__)
    if type(value) in (tuple, frozenset):
        return all(map(is_frozen, value))
    return False


def _is_same(parts: list[tuple[str, Any]], before: list[tuple[str, Any]]) -> bool:
    return len(parts) == len(before) and all(
        part is old and place == old_place
        for (place, part), (old_place, old) in zip(parts, before, strict=True)
    )


def _stamp_of_file(path: Path) -> object:
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        facts = [(str(file), file.stat()) for file in files]
    except OSError:
        return None
    return [(name, fact.st_mtime_ns, fact.st_size) for name, fact in facts]


_FROZEN_TYPES = {
    *ATOMS,
    complex,
    range,
    re.Pattern,
    struct.Struct,
    types.FunctionType,
    types.CodeType,
}
