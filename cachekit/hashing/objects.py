"""The canonical form of any object: taken apart as pickle would, in canonical order.

What pickle would store counts, but for what can be computed from the rest of it, such
as the content of a `cached_property`.
"""

from __future__ import annotations

import collections
import copyreg
import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from cachekit.errors import UnhashableArgument
from cachekit.hashing import boundary
from cachekit.hashing.classes import is_cached_property
from cachekit.hashing.forms import Form, describe


def reduce_object(value: Any) -> Form:
    """Take an object apart as pickle would, and put the pieces in canonical order."""
    kind = type(value)
    if kind is object or _is_consumed_by_reading(value):
        raise UnhashableArgument(describe(value), culprit=value)
    name = boundary.name_in_library(value) if callable(value) else None
    if name is not None:  # as `scipy.stats.norm`, whatever its state
        return Form(b"named:", name)
    wrapped = _function_wrapped(value)
    if wrapped is not None:
        # How a library compiles a function (numba, jax) is no content, what it was
        # told about it is.
        return Form(b"wrapper:", (kind, wrapped, getattr(value, "targetoptions", None)))
    if _is_plainly_stored(kind):
        if kind not in _known_to_pickle:  # pickle refuses some types written in C
            _reduction(value)
            _known_to_pickle.add(kind)
        return Form(b"object:", (kind, attributes(value)))
    function, arguments, state, items, pairs = _reduction(value)
    if isinstance(value, (set, frozenset)) and _is_reduced_as_a_set(kind):
        arguments, state = (frozenset(value),), attributes(value)
    if pairs is not None:
        pairs = list(pairs)
        if isinstance(value, dict) and not isinstance(value, collections.OrderedDict):
            pairs = dict(pairs)
    items = list(items) if items is not None else None
    # copyreg's constructors are written by name: they are how, not what.
    is_how = any(function is constructor for constructor in _CONSTRUCTORS)
    maker = function.__name__ if is_how else function
    made_of = (maker, arguments, _without_caches(kind, state), items, pairs)
    return Form(b"reduced:", made_of)


def address_reducers() -> dict[type, Callable[[Any], Form]]:
    """Return the reducer of addresses, of which Python before 3.11.4 forgets a part."""
    import ipaddress

    return {ipaddress.IPv6Address: _reduce_address}


def _reduce_address(value: Any) -> Form:
    return Form(b"reduced:", (type(value), (str(value),), None, None, None))


def is_record(value: Any) -> bool:
    """Tell whether objects of its type are all their class and what is in `vars`."""
    kind = type(value)
    if callable(value) or kind is object or not _is_plainly_stored(kind):
        return False
    if copyreg._slotnames(kind) or type(getattr(value, "__dict__", None)) is not dict:  # type: ignore[attr-defined]
        return False
    members = (member for base in kind.__mro__ for member in vars(base).values())
    if any(isinstance(member, functools.cached_property) for member in members):
        return False
    try:
        _reduction(value)
    except UnhashableArgument:  # the error is for the reducer to raise
        return False
    return not isinstance(value, Iterator)


def _is_reduced_as_a_set(kind: type) -> bool:
    """Tell whether a kind of set is pickled as sets are: a list in no order."""
    reduction: Any = kind.__reduce__
    return reduction is set.__reduce__ or reduction is frozenset.__reduce__


def _is_consumed_by_reading(value: object) -> bool:
    return isinstance(value, Iterator) and type(value).__module__ in {
        "builtins",
        "itertools",
    }


def _is_plainly_stored(kind: type) -> bool:
    """Tell whether the instances are their class and their attributes, no more."""
    slots = copyreg._slotnames(kind)  # type: ignore[attr-defined]
    return (
        all(getattr(kind, name) is getattr(object, name) for name in _PICKLE_HOOKS)
        and not hasattr(kind, "__getnewargs__")
        and not hasattr(kind, "__getnewargs_ex__")
        and kind not in copyreg.dispatch_table
        # A type written in C may keep more than attributes: it is larger.
        and kind.__basicsize__ <= _PLAIN_SIZE + 8 * len(slots)
        and kind.__itemsize__ == 0
    )


def attributes(value: object) -> dict[str, object]:
    """Collect the attributes, in slots too, but not what a property has cached."""
    kind = type(value)
    found = getattr(value, "__dict__", None)
    found = dict(found) if isinstance(found, dict) else {}
    for name in copyreg._slotnames(kind):  # type: ignore[attr-defined]
        try:
            found[name] = object.__getattribute__(value, name)
        except AttributeError:  # an empty slot
            continue
    if not _WRAPPED.isdisjoint(found):  # it is a decorator that is a class
        for name in functools.WRAPPER_ASSIGNMENTS:
            found.pop(name, None)
    return _without_caches(kind, found) or {}


def _without_caches(kind: type, state: Any) -> Any:
    """Drop from a state what can be computed from the rest of it."""
    if isinstance(state, tuple):  # of an object with attributes and slots
        return tuple(_without_caches(kind, part) for part in state)
    if type(state) is not dict:
        return state
    cached = [
        name
        for name in state
        if name in _CACHES or (isinstance(name, str) and is_cached_property(kind, name))
    ]
    # None and no attributes are the same: pickle writes either.
    return {name: state[name] for name in state if name not in cached} or None


def _reduction(value: Any) -> tuple[Any, Any, Any, Any, Any]:
    reduce = copyreg.dispatch_table.get(type(value))
    if getattr(reduce, "__module__", None) == _OF_TRACEBACKS:
        # dask has it registered for every exception; how these are told from one
        # another is not to depend on whether dask was imported.
        reduce = None
    try:
        reduced = reduce(value) if reduce else value.__reduce_ex__(5)
    except Exception as error:  # a reduction is the user's code
        raise UnhashableArgument(describe(value), culprit=value) from error
    if isinstance(reduced, str):
        return (reduced, _module_of_global(value, reduced), None, None, None)
    return (*reduced, None, None, None)[:5]


# What makes exceptions pickle with their tracebacks, which are not what they are.
_OF_TRACEBACKS = "tblib.pickling_support"


def _module_of_global(value: object, name: str) -> str:
    """Return the module where a value is found by its name.

    One that cannot be found so shares its name with others, as do the functions that
    `numpy.frompyfunc` makes.
    """
    kind = str(type(value).__module__)  # of Cython a descriptor
    for module in (
        getattr(value, "__module__", None),
        "builtins",
        kind,
        kind.partition(".")[0],
    ):
        found: Any = sys.modules.get(module or "")
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is value:
            return boundary.imported_name(str(module))
    raise UnhashableArgument(describe(value), culprit=value)


def _function_wrapped(value: Any) -> types.FunctionType | None:
    """Return the function inside an object that a library made of it."""
    module: object = type(value).__module__  # of Cython's functions a descriptor
    if not callable(value) or not isinstance(module, str) or boundary.is_users(module):
        return None
    for name in ("py_func", "__wrapped__"):
        function = getattr(value, name, None)
        if isinstance(function, types.FunctionType):
            return function
    return None


class _Plain:
    pass


# Attributes that can be computed from the others.
_CACHES = frozenset({"_attrs_cached_hash"})

# Where classes that decorate a function keep it.
_WRAPPED = frozenset({"__wrapped__", "pyfunc"})

# Attributes with which not all that is in `vars` counts.
LEFT_OUT = _CACHES | _WRAPPED

# The size of an object that is its attributes, no more.
_PLAIN_SIZE = _Plain.__basicsize__

_PICKLE_HOOKS = ("__reduce_ex__", "__reduce__", "__getstate__")

_CONSTRUCTORS = (
    copyreg.__newobj__,  # type: ignore[attr-defined]
    copyreg.__newobj_ex__,  # type: ignore[attr-defined]
    copyreg._reconstructor,  # type: ignore[attr-defined]
)

# Types made of attributes, for which pickle was asked once whether that is all.
_known_to_pickle: set[type] = set()
