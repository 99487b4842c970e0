"""What of the user's a library's function holds: that of a decorator, of a factory.

``clip = limits.between(0, 3)(mine)`` is a library's function, yet what it does is the
user's: it holds ``mine``, 0 and 3. A library also keeps what is its own affair,
counters and caches, which change with every call and must not count. The line is drawn
so:

- In the closure of a function, in a partial, and in tuples there, everything was
  *told*: constants, a library's functions, the user's functions and objects.
- In lists, dicts and sets of at most a hundred items, and in the attributes of a
  library's objects, the user's functions count, and objects of his that can be called.
- A larger collection is a cache, as is a dict by other keys than constants and classes.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import functools
import operator
import pathlib
import re
import struct
import sys
import types
from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

from cachekit.hashing.boundary import home, is_standard, is_users
from cachekit.hashing.forms import ATOMS


class Held(NamedTuple):
    """What a library's object was made with.

    Attributes
    ----------
    parts : list of (str, object)
        Functions, classes, objects and constants, each with its place: a path, as in
        ``.handlers['start']``.
    is_fixed : bool
        Whether nothing was met in which another part could be put later.
    """

    parts: list[tuple[str, Any]]
    is_fixed: bool


def held_by(thing: Any, *, package: str = "") -> Held:
    """Return what counts of something that a library's function holds.

    Functions of libraries that hold something themselves are parts, to be looked into
    on their own.
    """
    parts: list[tuple[str, Any]] = []
    is_fixed = True
    for step in _walk(thing, package, through_functions=False):
        if _is_part(step, package):
            parts.append((step.place, step.part))
        elif _can_change(step):
            is_fixed = False
    return Held(parts, is_fixed)


def holds_users_code(thing: Any, *, package: str = "") -> bool:
    """Tell whether a library's function was made with functions of the user's."""
    steps = _walk(thing, package, through_functions=True)
    return any(is_users_part(step.part, step.is_told, package) for step in steps)


def is_made_by_call(thing: Any) -> bool:
    """Tell whether a call has made a function, and told it something."""
    return (
        isinstance(thing, types.FunctionType)
        and bool(thing.__closure__ or thing.__defaults__ or thing.__kwdefaults__)
        and "<locals>" in thing.__qualname__
    )


def is_constant(thing: Any) -> bool:
    """Tell whether a value can never change, and says itself what it is."""
    if type(thing) in (tuple, frozenset):
        return all(map(is_constant, thing))
    if type(thing) in _CONSTANTS or isinstance(thing, pathlib.PurePath):
        return True
    return isinstance(thing, (_numpys("generic"), _numpys("dtype")))


def is_users_part(part: Any, is_told: bool, package: str) -> bool:
    """Tell whether a part is a function, a class or a method of the user's.

    Or an object that can be called; of what a library was told, any object.
    """
    if isinstance(part, types.MethodType):
        owner = type(part.__self__)
        return is_users_part(part.__func__, False, package) or _is_of_user(
            owner, package
        )
    if type(part) is types.FunctionType or isinstance(part, type):
        return is_users(home(part), package=package)
    return (is_told or callable(part)) and _is_of_user(type(part), package)


class _Step(NamedTuple):
    """A way into an object.

    Attributes
    ----------
    place : str
        The path so far.
    part : object
        Where it leads.
    is_told : bool
        Whether that was told to a function, or may be a state.
    is_open : bool
        Whether collections and objects are looked into.
    """

    place: str
    part: Any
    is_told: bool
    is_open: bool


def _walk(thing: Any, package: str, *, through_functions: bool) -> Iterator[_Step]:
    """Yield what can be reached, except through the user's code and classes."""
    seen: dict[int, object] = {}
    waiting = [_Step("", thing, True, True)]
    while waiting and len(seen) < _MOST_PARTS:
        step = waiting.pop()
        part = step.part
        if is_constant(part):
            yield step
            continue
        if id(part) in seen:
            continue
        seen[id(part)] = part  # held, so that no other has its id
        yield step
        if isinstance(part, type) or is_users_part(part, step.is_told, package):
            continue
        if type(part) is types.FunctionType and not through_functions:
            continue
        waiting.extend(
            _Step(step.place + place, inner, is_told, is_open)
            for place, inner, is_told, is_open in reversed([*_steps_into(step)])
        )


def _is_part(step: _Step, package: str) -> bool:
    part, is_told = step.part, step.is_told
    if is_constant(part):
        return is_told
    if is_users_part(part, is_told, package):
        return True
    if type(part) is types.FunctionType:
        return (
            is_told or is_made_by_call(part) or holds_users_code(part, package=package)
        )
    return is_told and (isinstance(part, _TOOLS) or _is_numpys(part))


def _is_numpys(part: Any) -> bool:
    return type(part) is _numpys("ndarray") or isinstance(part, _numpys("ufunc"))


def _numpys(name: str) -> Any:
    """Return a type of numpy's; an empty tuple if there is none yet.

    Another thread may be importing numpy just now.
    """
    return getattr(sys.modules.get("numpy"), name, ())


def _can_change(step: _Step) -> bool:
    """Tell whether something else may be found there later."""
    if type(step.part) in (tuple, frozenset) or isinstance(step.part, _FIXED):
        return False
    return step.is_open


def _steps_into(step: _Step) -> Iterator[_Step]:
    _, part, is_told, is_open = step
    if type(part) is types.FunctionType:
        yield from _steps_into_function(part)
    elif isinstance(part, functools._lru_cache_wrapper):
        yield _Step(".__wrapped__", part.__wrapped__, True, True)
    elif isinstance(part, functools.partial):
        yield _Step("", (part.func, part.args), True, True)
        for name, item in part.keywords.items():
            yield _Step(f".{name}", item, True, True)
    elif isinstance(part, (types.MethodType, staticmethod, classmethod)):
        owner = getattr(part, "__self__", None)
        yield _Step("", (part.__func__, owner), False, True)
    elif isinstance(part, property):
        yield _Step("", (part.fget, part.fset, part.fdel), False, True)
    elif type(part) in _COLLECTIONS:
        if is_open or type(part) is tuple:
            yield from _steps_into_collection(part, is_told)
    elif is_open:
        yield from _steps_into_object(part, is_told)


def _steps_into_collection(part: Any, is_told: bool) -> Iterator[_Step]:
    can_change = type(part) not in (tuple, frozenset)
    if len(part) > _MOST_ITEMS:
        return
    keys = list(part)  # at once: threads may change it
    if isinstance(part, Mapping) and not all(map(_is_key, keys)):
        return
    for number, item in enumerate(keys):
        is_named = isinstance(part, (Mapping, Set))
        place = f"[{_name_of(item)}]" if is_named else f"[{number}]"
        inner = part.get(item) if isinstance(part, Mapping) else item
        yield _Step(place, inner, is_told and not can_change, True)


def _steps_into_object(part: Any, is_told: bool) -> Iterator[_Step]:
    """Look for functions in the attributes of a library's object, not any deeper."""
    if is_standard(_module_of(type(part))) or isinstance(part, types.ModuleType):
        return
    if is_told:
        yield _Step(".__class__", type(part), True, False)
    try:
        attributes = object.__getattribute__(part, "__dict__")
    except Exception:  # noqa: BLE001  (it may be a property of the library's)
        return
    if type(attributes) is dict and len(attributes) <= _MOST_ITEMS:
        for name, inner in attributes.copy().items():
            yield _Step(f".{name}", inner, False, False)


def _steps_into_function(function: types.FunctionType) -> Iterator[_Step]:
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    for name, cell in zip(names, cells, strict=True):
        if cell != _EMPTY_CELL:
            yield _Step(f".{name}", cell.cell_contents, True, True)
    yield _Step(".default", function.__defaults__, False, True)
    yield _Step(".default", function.__kwdefaults__, False, True)
    yield _Step(".__wrapped__", vars(function).get("__wrapped__"), False, True)


def _is_of_user(kind: type, package: str) -> bool:
    return is_users(_module_of(kind), package=package)


def _module_of(kind: type) -> str:
    module: object = kind.__module__
    return module if isinstance(module, str) else "builtins"  # it may be a property


def _is_key(key: Any) -> bool:
    return type(key) in ATOMS or isinstance(key, type)


def _name_of(key: Any) -> str:
    """Name the key of a dict, or an item of a set, alike in every process."""
    if type(key) in ATOMS:
        return ascii(key)
    return (key if isinstance(key, type) else type(key)).__qualname__


# Of a list or dict that a library's function holds. A larger one is a cache.
_MOST_ITEMS = 100

# Looked at in all.
_MOST_PARTS = 1000

_CONSTANTS = {
    *ATOMS,
    complex,
    range,
    slice,
    re.Pattern,
    struct.Struct,
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

# What a library may be told to use: `int`, `str.upper`, `math.sqrt`.
_TOOLS = (
    type,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    operator.attrgetter,
    operator.itemgetter,
    operator.methodcaller,
)

# Nothing can be put into these later that would not be looked at on its own.
_FIXED = (
    *_TOOLS,
    types.FunctionType,
    types.MethodType,
    types.ModuleType,
    staticmethod,
    classmethod,
    property,
    functools.partial,
    functools._lru_cache_wrapper,
)

_EMPTY_CELL = types.CellType()
