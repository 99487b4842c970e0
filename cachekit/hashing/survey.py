"""Follow what a function can run and read, and hash all of it.

A *unit* (`units`) is a piece of the user's code: a function, a class, a module. Each
has a shallow digest and edges: the names it reads, and what they lead to, which is
another unit or a value. Units are numbered as they are met, edges are sorted by name,
so two processes number them alike, and cycles end by themselves::

    f ──"clean"──► clean ──"re.sub"──► (library)
    │                └──"PATTERN"──► (value 3f9c…)
    └──"Model"──► class Model ──"fit"──► Model.fit ──"clean"──► …

While it goes, the survey notes each thing that it looked at, so that it can be told
later, in no time, whether all is still as it was.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
import typing
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from cachekit.errors import UnhashableArgument, warn
from cachekit.hashing import boundary, classes, hasher, held, reducers
from cachekit.hashing.forms import Form
from cachekit.hashing.guard import (
    MISSING,
    Guard,
    content_of,
    is_frozen,
    made_on_demand,
)
from cachekit.hashing.names import (
    Import,
    names_bound_again,
    names_in_annotation,
    names_read,
)
from cachekit.hashing.syntax import shallow, statement_that_makes
from cachekit.hashing.units import Edge, Target, Unit, shallow_digest, unit_name


class Survey:
    """The units that can be reached from a function or class, and the guard on them.

    Parameters
    ----------
    root : function or class
        Where to start.
    deep : bool, default True
        Whether to follow what the root reads, or to take it by itself.
    """

    def __init__(self, root: Any, *, deep: bool = True) -> None:
        # Installed or not, the package of the function itself is the user's.
        package = boundary.home(root).partition(".")[0]
        self._package = "" if boundary.is_standard(package) else package
        self._deep = deep
        self.units: list[Unit] = []
        self.libraries: set[str] = set()
        self._numbers: dict[int, int] = {}
        self._pending: list[Any] = []
        self._guard = Guard()
        self._number(root)
        self.follow()

    def follow(self) -> None:
        """Visit every unit that was met and not visited yet."""
        while self._pending:
            thing = self._pending.pop(0)
            unit = self.units[self._numbers[id(thing)]]
            if isinstance(thing, types.FunctionType):
                self._visit_function(thing, unit)
            elif isinstance(thing, type):
                self._visit_class(thing, unit)
            else:
                self._visit_module(thing, unit)

    def content(self) -> list[object]:
        """Return all units, in the order of their numbers, to be hashed."""
        return [[unit.content, unit.edges] for unit in self.units]

    def is_current(self) -> bool:
        """Tell whether everything that was looked at is still the same."""
        try:
            return self._guard.is_current(self._digest_now)
        except UnhashableArgument:  # a value has come to hold a lock
            return False

    # --- what the names lead to ---

    def depend_on(self, name: str, thing: Any) -> None:
        """Add an edge from the root to a function, a value or a file."""
        target = self._file(thing) if isinstance(thing, Path) else self._target(thing)
        self.units[0].edges.append((name, target))
        self.follow()

    def _number(self, thing: Any) -> int:
        """Return the number of a unit; one that is new will be visited."""
        if id(thing) not in self._numbers:
            self._numbers[id(thing)] = len(self.units)
            self._guard.keep(thing)
            self.units.append(Unit(unit_name(thing)))
            self._pending.append(thing)
        return self._numbers[id(thing)]

    def _target(self, thing: Any, made_by: tuple[str, str] | None = None) -> Target:
        """Return the end of an edge: a unit, a library, or the digest of a value."""
        if thing is MISSING:
            return ("missing",)
        if isinstance(thing, types.ModuleType):
            if self._is_users(thing.__name__):
                return ("unit", self._number(thing))
            return ("library", self._library(thing.__name__))
        if isinstance(thing, (types.FunctionType, type)):
            return self._code_target(thing)
        name = boundary.name_in_library(thing)
        if name is not None:
            self._library(name[0])
            return ("named", *name)
        try:
            digest, inside = self._digest_watched(thing)
        except UnhashableArgument as error:
            if made_by is None:
                raise
            return self._creation(thing, error, *made_by)
        return ("value", digest, *map(self._number, inside))

    def _code_target(self, thing: Any) -> Target:
        if self._is_followed(thing):
            return ("unit", self._number(thing))
        self._library(boundary.home(thing))
        if isinstance(thing, types.FunctionType) and thing.__closure__ is None:
            # Not by its other name: attrs gives some of its own those of classes.
            return ("named", boundary.home(thing), thing.__code__.co_qualname)
        return ("named", boundary.module_name(thing), thing.__qualname__)

    def _digest_watched(self, value: object) -> tuple[str, list[Any]]:
        """Hash a value, and have it watched from the moment at which it was hashed."""
        digest, inside = self._digest_value(value)
        if is_frozen(value):
            return digest, inside
        if not inside:  # the guard takes the same digest
            self._guard.watch_value(value, digest)
            return digest, inside
        for part in inside:
            self._number(part)
        now = self._digest_now(value)
        if self._digest_value(value) != (digest, inside):  # changed by a thread
            now = ""  # which no digest equals: look again at the next call
        self._guard.watch_value(value, now)
        return digest, inside

    def _digest_value(self, value: object) -> tuple[str, list[Any]]:
        """Hash a value, and return the units that it holds.

        In the digest these go by name and code, and they are returned in that order:
        an order of their own is what the items of a set do not have.
        """
        inside: dict[int, tuple[str, str, Any]] = {}

        def form(part: Any) -> Form:
            if not self._is_unit(part):
                return reducers.canonical(part)
            about = (unit_name(part), shallow_digest(part))
            inside[id(part)] = (*about, part)
            return Form(b"unit:", about)

        digest = hasher.digest_with(value, form)
        met = sorted(inside.values(), key=itemgetter(0, 1))
        return digest, [part for *_, part in met]

    def _digest_now(self, value: object) -> str:
        """Hash a value for the guard: the units that it holds go by identity."""

        def form(part: Any) -> Form:
            if self._is_unit(part):
                return Form(b"unit:", (self._numbers.get(id(part)),))
            return reducers.canonical(part)

        return hasher.digest_with(value, form)

    def _is_unit(self, thing: Any) -> bool:
        if isinstance(thing, types.ModuleType):
            return self._is_users(thing.__name__)
        return isinstance(thing, (types.FunctionType, type)) and self._is_followed(
            thing
        )

    def _is_followed(self, thing: Any) -> bool:
        return (
            self._is_users(boundary.home(thing))
            or held.is_made_by_call(thing)
            or held.holds_users_code(thing, package=self._package)
        )

    def _creation(
        self,
        thing: object,
        error: UnhashableArgument,
        module: str,
        name: str,
    ) -> Target:
        """Let a value without a digest count by the statement that creates it.

        And by its class, and by what the names in that statement stand for.
        """
        if type(thing) is object:  # a sentinel: itself and nothing else
            return ("sentinel", module, name)
        space = vars(sys.modules.get(module, functools))
        file = space.get("__file__")
        making = statement_that_makes(name, file) if file else None
        if making is not None and making.origin is not None:
            level, source, original = making.origin
            package = space.get("__package__") or ""
            source = importlib.util.resolve_name("." * level + source, package)
            return self._creation(thing, error, source, original)
        if boundary.is_users(module):  # the user can do nothing about a library's
            _warn_once(
                f"{module}.{name} is read by cached code and has no stable digest "
                f"({error.reason}{error.path and ' at '}{error.path}); it counts by "
                + ("the statement that creates it" if making else "its type")
            )
        kind = self._code_target(type(thing))
        if making is None:
            return ("created", kind)
        made_of = []
        for part in making.names:
            read = space.get(part, MISSING)
            if read is not thing and read is not MISSING:
                self._guard.watch_name(space, part, read)
                made_of.append((part, self._target(read, (module, part))))
        return ("created", kind, making.content, made_of)

    def _file(self, path: Path) -> Target:
        self._guard.watch_file(path)
        try:
            if path.is_dir():
                files = sorted(file for file in path.rglob("*") if file.is_file())
                names = [file.relative_to(path).as_posix() for file in files]
                contents = [hasher.digest(file.read_bytes()) for file in files]
                return ("folder", [*zip(names, contents, strict=True)])
            return ("file", hasher.digest(path.read_bytes()))
        except OSError:
            return ("missing",)

    def _compiled(self, module: str, file: str) -> Target:
        """Take the user's by its file, which differs for each Python; else its name."""
        if boundary.is_users(module):
            return self._file(Path(file))
        return ("library", self._library(module))

    def _is_users(self, module: str) -> bool:
        return boundary.is_users(module, package=self._package)

    def _library(self, module: str) -> str:
        top = module.partition(".")[0]
        if not top or boundary.is_standard(module):
            top = "python"
        self.libraries.add(top)
        return top

    # --- functions ---

    def _visit_function(self, function: types.FunctionType, unit: Unit) -> None:
        self._guard.watch_function(function)
        if not self._is_users(boundary.home(function)):
            unit.content = [
                "library",
                boundary.home(function),
                function.__code__.co_qualname,
            ]
            unit.edges = list(self._held(function))
            return
        unit.content, unit.source = shallow(function.__code__, function.__globals__)
        unit.edges = list(self._defaults(function))
        if self._deep:
            unit.edges += self._reads(function)

    def _defaults(self, function: types.FunctionType) -> Iterator[Edge]:
        for name, default in _defaults_of(function):
            yield name, self._default(default)
        for name, thing in sorted(vars(function).items()):
            if not name.startswith("__"):
                self._guard.watch_name(vars(function), name, thing)
                yield f"attribute {name}", self._default(thing)

    def _default(self, default: object) -> Target:
        try:
            return self._target(default)
        except UnhashableArgument:
            # Of the cached function it is an argument too: ignored, or an error there.
            return ("default", f"{type(default).__module__}.{type(default).__name__}")

    def _reads(self, function: types.FunctionType) -> Iterator[Edge]:
        """Yield what the names in a function's bytecode lead to."""
        reads = names_read(function.__code__)
        cells = dict(_cells_of(function))
        for path in reads.paths:
            if path[0] in cells:
                yield ".".join(path), self._read_cell(function, cells[path[0]], path)
            else:
                target = self._read_global(function, path)
                if target is not None:
                    yield ".".join(path), target
        for wanted in reads.imports:
            name = "." * wanted.level + ".".join((wanted.module, *wanted.path))
            yield f"import {name}", self._import(function, wanted)

    def _read_cell(
        self,
        function: types.FunctionType,
        cell: types.CellType,
        path: tuple[str, ...],
    ) -> Target:
        """Follow a path from the closure, where each call may have put another value.

        One without a digest is an error, since no statement tells the values apart.
        """
        thing = content_of(cell)
        self._guard.watch_cell(cell, thing)
        try:
            return self._walk(thing, path[1:], None)
        except UnhashableArgument as error:
            where = (
                f"{path[0]}{error.path}, in the closure of {function.__qualname__}()"
            )
            error.climb(None, where)
            raise

    def _read_global(
        self, function: types.FunctionType, path: tuple[str, ...]
    ) -> Target | None:
        """Follow a path from the globals; None if there is nothing to follow."""
        name, space = path[0], function.__globals__
        if name in _NAMES_OF_MODULES:
            return None  # __name__, __file__: where the code is, not what it does
        thing = space.get(name, MISSING)
        self._guard.watch_name(space, name, thing)
        if thing is MISSING and name in _BUILTINS:
            return None  # the name stands in the syntax tree already
        return self._walk(thing, path[1:], (boundary.home(function), name))

    def _walk(
        self, thing: Any, path: tuple[str, ...], made_by: tuple[str, str] | None
    ) -> Target:
        """Follow attributes for as long as they are those of the user's modules."""
        makers = []
        for name in path:
            if not isinstance(thing, types.ModuleType):
                break
            if not self._is_users(thing.__name__) or name == "__dict__":
                break
            made_by = (thing.__name__, name)
            space = vars(thing)
            self._guard.watch_name(space, name, space.get(name, MISSING))
            if name in space:
                thing = space[name]
                continue
            made = MISSING
            if "__getattr__" in space:
                made = made_on_demand(thing, name)
                self._guard.watch_name(space, name, space.get(name, MISSING))
                if name not in space:  # or else it will be found there from now on
                    self._guard.watch_made(thing, name, made)
                    makers.append(self._target(space["__getattr__"], made_by))
            thing = _submodule(thing, name) if made is MISSING else made
        target = self._target(thing, made_by)
        return ("on demand", *makers, target) if makers else target

    def _import(self, function: types.FunctionType, wanted: Import) -> Target:
        package = function.__globals__.get("__package__") or ""
        name = "." * wanted.level + wanted.module
        try:
            name = importlib.util.resolve_name(name, package)
        except ImportError:
            return ("missing",)
        if name not in sys.modules and not self._is_users(name):
            return ("library", self._library(name))
        module = _imported(name)
        if module is None:
            return ("missing",)
        first = wanted.path[0] if wanted.path else "__name__"
        if self._is_users(name) and made_on_demand(module, first) is MISSING:
            _imported(f"{name}.{first}")  # a submodule, as yet unknown
        return self._walk(module, wanted.path, (name, ""))

    def _held(self, function: types.FunctionType) -> Iterator[Edge]:
        """Yield what of the user's a library's function was made with.

        Its other contents (counters, locks, caches) are its own affair.
        """
        state = names_bound_again(function.__code__)
        for name, cell in sorted(_cells_of(function), key=itemgetter(0)):
            thing = content_of(cell)
            edges = list(self._held_by(name, thing, is_state=name in state))
            if edges:
                self._guard.watch_cell(cell, thing)
            yield from edges
        is_made = "<locals>" in function.__qualname__
        for name, default in _defaults_of(function):
            if is_made or not held.is_constant(default):
                yield from self._held_by(name, default)
        wrapped = getattr(function, "__wrapped__", None)
        if isinstance(wrapped, types.FunctionType):
            yield "__wrapped__", self._target(wrapped)
            if not boundary.is_standard(boundary.home(function)):
                # Standard decorators do not act by them; one that validates does.
                yield from self._annotations(wrapped)
        registry = getattr(function, "registry", None)  # of functools.singledispatch
        if isinstance(registry, types.MappingProxyType):
            yield "registry", self._target(registry)

    def _held_by(
        self, name: str, thing: object, *, is_state: bool = False
    ) -> Iterator[Edge]:
        """Yield what counts of something that a library's function holds.

        Of a name that the function binds again, only the user's.
        """
        parts, is_fixed = held.held_by(thing, package=self._package)
        if not is_fixed:
            self._guard.watch_held(thing, self._package, parts)
        found = []
        for place, part in parts:
            if not is_state or held.is_users_part(part, False, self._package):
                found.append((name + place, self._order_of(part), part))
        for place, _, part in sorted(found, key=itemgetter(0, 1)):
            yield place, self._told(part)

    def _order_of(self, part: Any) -> str:
        """Return what tells apart those that have one place, as in a set."""
        if self._is_unit(part):
            return shallow_digest(part)
        try:
            return self._digest_value(part)[0]
        except UnhashableArgument:
            return ""

    def _told(self, part: Any) -> Target:
        """Return what an object of the user's leads to: itself, or else its class."""
        try:
            return self._target(part)
        except UnhashableArgument:
            method = getattr(part, "__func__", None)
            return ("created", *map(self._target, (type(part), method)))

    def _annotations(self, function: types.FunctionType) -> Iterator[Edge]:
        """Yield what a function's annotations stand for, in text that they are too."""
        for name, annotation in function.__annotations__.items():
            self._guard.watch_name(function.__annotations__, name, annotation)
            yield f"annotation {name}", self._annotation(annotation)
            if isinstance(annotation, str):
                for path in names_in_annotation(annotation):
                    target = self._read_global(function, path)
                    if target is not None:
                        yield f"annotation {'.'.join(path)}", target

    def _annotation(self, annotation: Any) -> Target:
        """Take ``dict[str, T]`` apart: Pythons differ in what they make of it."""
        if isinstance(annotation, list):  # the arguments of a callable
            return ("list", *map(self._annotation, annotation))
        inner = typing.get_args(annotation)
        if not inner:
            return self._told(annotation)
        origin = typing.get_origin(annotation)
        name = getattr(origin, "__name__", None) or str(origin)
        return ("generic", name, *map(self._annotation, inner))

    # --- classes and modules ---

    def _visit_class(self, kind: type, unit: Unit) -> None:
        self._guard.watch_class(kind)
        file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
        if file.endswith((".so", ".pyd")):  # there is no code in it to be followed
            unit.content = [kind.__qualname__]
            unit.edges = [("file", self._compiled(kind.__module__, file))]
            return
        unit.content = [kind.__qualname__, *classes.fields(kind)]
        edges: list[Edge] = [
            (f"base {number}", self._target(base))
            for number, base in enumerate((*kind.__bases__, type(kind)))
        ]
        for name, member in classes.members(kind):
            made_by = (kind.__module__, f"{kind.__qualname__}.{name}")
            edges.append((name, self._target(member, made_by)))
        unit.edges = edges

    def _visit_module(self, module: types.ModuleType, unit: Unit) -> None:
        """Take all that is in a module, which is passed around as a whole."""
        unit.content = [module.__name__]
        self._guard.watch_module(module)
        file = vars(module).get("__file__") or ""
        if file.endswith((".so", ".pyd")):
            unit.edges = [("file", self._file(Path(file)))]
            return
        for name, thing in sorted(vars(module).items()):
            if not name.startswith("__"):
                self._guard.watch_name(vars(module), name, thing)
                unit.edges.append((name, self._target(thing, (module.__name__, name))))


def _defaults_of(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    for number, default in enumerate(function.__defaults__ or ()):
        yield f"default {number}", default
    for name, default in sorted((function.__kwdefaults__ or {}).items()):
        yield f"default {name}", default


def _cells_of(
    function: types.FunctionType,
) -> Iterator[tuple[str, types.CellType]]:
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    return zip(names, cells, strict=True)


def _imported(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001  (importing runs the user's code)
        return None


def _submodule(package: types.ModuleType, name: str) -> Any:
    return sys.modules.get(f"{package.__name__}.{name}", MISSING)


_warned: set[str] = set()


def _warn_once(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        warn(text)


_BUILTINS = vars(importlib.import_module("builtins"))
_NAMES_OF_MODULES = {"__name__", "__file__", "__doc__", "__spec__", "__package__"}
