"""Whose code is it? The user's is followed, a library's counts by its name.

The user's code is what lies outside of the standard library and of installed
distributions; an editable install is the user's. A library's version is recorded,
and takes part in a key only if the user asks for that.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import functools
import importlib.util
import itertools
import re
import site
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

from cachekit.hashing.forms import ATOMS

# The pipelines that come with cachekit are followed like a user's code; the rest of
# it is a library to them.
_OWN_PIPELINES = "cachekit.pipelines."

# Where other Pythons have what this one has elsewhere.
_MOVED = {"pathlib._local": "pathlib"}

# The script that is run; the second in the workers that it starts.
_MAIN = ("__main__", "__mp_main__")


def module_name(thing: Any) -> str:
    """Return the module of a function or class; ``__main__`` goes by its file."""
    return imported_name(str(getattr(thing, "__module__", None) or ""))


def imported_name(name: str) -> str:
    """Return the name that a module has, or would have, when it is imported."""
    if name in _MAIN:
        return main_name()
    return _MOVED.get(name, name)


def main_name() -> str:
    """Return the name under which the main module would be imported."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"


def is_users(name: str, *, package: str = "") -> bool:
    """Tell whether a module is the user's.

    Parameters
    ----------
    name : str
        Of the module.
    package : str, default ""
        A top-level package that counts as the user's wherever it is installed.
    """
    if name in _MAIN:
        return True
    top = name.partition(".")[0]
    if top == "cachekit":
        return name.startswith(_OWN_PIPELINES)
    if top == package:
        return True
    if name in sys.modules:
        return _is_users_file(top, getattr(sys.modules[name], "__file__", None))
    return _is_users_file(top, _file_of(top))


def is_standard(name: str) -> bool:
    """Tell whether a module is of the standard library."""
    return name.partition(".")[0] in sys.stdlib_module_names


@functools.lru_cache(maxsize=4096)
def _is_users_file(top: str, file: str | None) -> bool:
    if file is None:  # built in, or made at run time: by exec, in a notebook
        return top not in sys.stdlib_module_names
    return not Path(file).absolute().is_relative_to(_standard_library()) and not any(
        Path(file).absolute().is_relative_to(folder) for folder in _site_folders()
    )


@functools.lru_cache(maxsize=4096)
def _file_of(top: str) -> str | None:
    """Find the file of a module that is not imported, without importing it."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None else None


@functools.cache
def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


@functools.cache
def _site_folders() -> tuple[Path, ...]:
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    folders += [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    return tuple(Path(folder) for folder in dict.fromkeys(folders))


@functools.lru_cache(maxsize=1024)
def library_version(top: str) -> str:
    """Return the version of the library that a top-level module belongs to."""
    if top == "python" or top in sys.stdlib_module_names:
        return ".".join(map(str, sys.version_info[:3]))
    module = sys.modules.get(top)
    version = getattr(module, "__version__", None)
    if isinstance(version, str):  # the quickest, and what most packages have
        return version
    from importlib import metadata

    for distribution in [top, *metadata.packages_distributions().get(top, [])]:
        try:
            return metadata.version(distribution)
        except (metadata.PackageNotFoundError, ValueError):
            continue
    return "unknown"


def home(thing: Any) -> str:
    """Return the module that a function's code, or a class, was written in.

    ``__module__`` would not do: a decorator copies it from what it wraps.
    """
    if isinstance(thing, types.ModuleType):
        return thing.__name__
    if isinstance(thing, types.FunctionType):
        return str(thing.__globals__.get("__name__") or "")
    module = str(getattr(thing, "__module__", None) or "")
    if module == "types" and not hasattr(types, thing.__name__):
        return ""  # what Python 3.11 says of the classes that `make_dataclass` makes
    return module


class Held(NamedTuple):
    """What a library's function or object was made with.

    Attributes
    ----------
    parts : list of (str, object)
        Functions, classes, callable objects, and constants, each with its place: a
        path, as in ``.handlers['start']``.
    is_fixed : bool
        Whether nothing was met in which another part could be put later.
    """

    parts: list[tuple[str, Any]]
    is_fixed: bool


def holds_users_code(thing: Any, *, package: str = "") -> bool:
    """Tell whether a library's function was made with functions of the user's."""
    parts = held_by(thing, package=package).parts
    return any(_is_users_part(part, True, package) for _, part in parts)


def is_made_by_call(thing: Any) -> bool:
    """Tell whether it is a closure that a module does not keep under its name.

    A call has made it, and told it something: ``clip = limits.between(0, 3)``.
    """
    if not isinstance(thing, types.FunctionType) or thing.__closure__ is None:
        return False
    return not is_kept(thing)


def is_kept(thing: Any) -> bool:
    """Tell whether a function or class is found in its module under its name."""
    found: Any = sys.modules.get(str(thing.__module__))
    for part in str(getattr(thing, "__qualname__", "")).split("."):
        found = getattr(found, part, None)
    return found is thing


def held_by(thing: Any, *, package: str = "") -> Held:
    """Return what of the user's is in something that a library made.

    Functions are looked into (what they wrap, their closures and defaults), partials,
    methods, collections, and the attributes of a library's objects. What a decorator
    was told counts: constants and a library's functions in a closure or a partial, and
    any object of the user's there. In lists, dicts and objects, which may be caches
    and counters, only the user's code does.
    """
    parts: list[tuple[str, Any]] = []
    is_fixed = True
    seen: dict[int, object] = {}
    waiting = [_Step("", thing, is_told=True)]
    while waiting and len(seen) < _MOST_PARTS:
        place, part, is_told = waiting.pop()
        if is_constant(part):
            if is_told:
                parts.append((place, part))
            continue
        if id(part) in seen:
            continue
        seen[id(part)] = part  # held, so that no other has its id
        is_users_part = _is_users_part(part, is_told, package)
        if is_users_part or (is_told and _is_tool(part)):
            parts.append((place, part))
        if not is_users_part and not isinstance(part, type):
            is_fixed = is_fixed and isinstance(part, _FIXED)
            steps = _steps_into(part, is_told)
            waiting.extend(
                reversed([step._replace(place=place + step.place) for step in steps])
            )
    return Held(parts, is_fixed)


class _Step(NamedTuple):
    """A way into an object: where it leads, and whether its maker was told that."""

    place: str
    part: Any
    is_told: bool


def is_constant(thing: Any) -> bool:
    """Tell whether a value can never change, and says itself what it is."""
    if type(thing) in (tuple, frozenset):
        return all(map(is_constant, thing))
    return type(thing) in _CONSTANTS


def _is_users_part(part: Any, is_told: bool, package: str) -> bool:
    """Tell whether a part is a function, a class or a method of the user's.

    Or an object that can be called; of what a library was told, any object.
    """
    if isinstance(part, types.MethodType):
        return _is_users_part(part.__func__, False, package) or is_users(
            type(part.__self__).__module__, package=package
        )
    if isinstance(part, (types.FunctionType, type)):
        return is_users(home(part), package=package)
    return (is_told or callable(part)) and is_users(
        type(part).__module__, package=package
    )


def _is_tool(part: Any) -> bool:
    """Tell whether a library keeps this to be told of, as `int` and `numpy.mean`."""
    if isinstance(part, (types.FunctionType, type, types.BuiltinFunctionType)):
        return is_kept(part) and not is_users(str(part.__module__))
    return callable(part) and name_in_library(part) is not None


def _steps_into(thing: Any, is_told: bool) -> Iterator[_Step]:
    if isinstance(thing, types.FunctionType):
        yield from _steps_into_function(thing)
    elif isinstance(thing, functools._lru_cache_wrapper):
        yield _Step(".__wrapped__", thing.__wrapped__, is_told=True)
    elif isinstance(thing, functools.partial):
        yield _Step("", (thing.func, thing.args), is_told=True)
        for name, item in thing.keywords.items():
            yield _Step(f".{name}", item, is_told=True)
    elif isinstance(thing, types.MethodType):
        yield _Step("", (thing.__func__, thing.__self__), is_told=False)
    elif type(thing) in _COLLECTIONS:
        yield from _steps_into_collection(thing, is_told)
    elif not is_standard(type(thing).__module__) and hasattr(thing, "__dict__"):
        for name, item in itertools.islice(dict(vars(thing)).items(), _MOST_ITEMS):
            yield _Step(f".{name}", item, is_told=False)


def _steps_into_collection(thing: Any, is_told: bool) -> Iterator[_Step]:
    can_change = type(thing) not in (tuple, frozenset)
    first = list(itertools.islice(thing, _MOST_ITEMS))
    for number, item in enumerate(first):
        if isinstance(thing, (Mapping, Set)):
            place = f"[{_name_of(item)}]"
        else:
            place = f"[{number}]"
        part = thing.get(item) if isinstance(thing, Mapping) else item
        yield _Step(place, part, is_told and not can_change)


def _steps_into_function(function: types.FunctionType) -> Iterator[_Step]:
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    for name, cell in zip(names, cells, strict=True):
        if cell != _EMPTY_CELL:
            yield _Step(f".{name}", cell.cell_contents, True)
    # Of a function that a library's function makes; others have them from its source.
    is_told = "<locals>" in function.__qualname__
    yield _Step(".default", function.__defaults__, is_told)
    for name, default in (function.__kwdefaults__ or {}).items():
        yield _Step(f".default.{name}", default, is_told)
    yield _Step(".__wrapped__", getattr(function, "__wrapped__", None), False)


def _name_of(key: Any) -> str:
    """Name the key of a dict, or an item of a set, alike in every process."""
    if is_constant(key):
        return ascii(key)
    return str(getattr(key, "__qualname__", type(key).__qualname__))


def name_in_library(thing: Any) -> tuple[str, str] | None:
    """Return where a library keeps an object, as scipy.stats keeps `norm`.

    Such an object is the library's, with whatever state it has: that of
    `random.choice` is a generator, which is another in each process.
    """
    owner = getattr(thing, "__self__", None)
    kept_by = type(thing if owner is None else owner)
    for module in (kept_by.__module__, kept_by.__module__.partition(".")[0]):
        if module not in sys.modules or module == "builtins" or is_users(module):
            continue
        for name, found in list(vars(sys.modules[module]).items()):
            if found is not None and (found is thing or found is owner):
                return (module, f"{name}.{getattr(thing, '__name__', '')}")
    return None


# Looked at in a list or dict that a library's function holds: it may be a large cache.
_MOST_ITEMS = 100

# Looked at in all.
_MOST_PARTS = 1000

_CONSTANTS = {
    *ATOMS,
    complex,
    range,
    re.Pattern,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    fractions.Fraction,
}
_COLLECTIONS = {
    tuple,
    list,
    set,
    frozenset,
    dict,
    types.MappingProxyType,
    collections.OrderedDict,
    collections.defaultdict,
    collections.deque,
}

# Nothing of the user's can be put into these later.
_FIXED = (types.BuiltinFunctionType, types.ModuleType)

_EMPTY_CELL = types.CellType()
