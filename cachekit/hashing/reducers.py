"""The canonical form of each type: what of a value goes into its digest.

A *form* is a tag, which keeps kinds apart, and the parts to write. Parts may be
any values; `cachekit.hashing.hasher` writes them and hashes nodes among them in
turn. Forms hold values only, never identities, and are the same on every Python.

Types of the standard library are here; arrays are in `cachekit.hashing.arrays`
and functions in `cachekit.hashing.code`.
"""

from __future__ import annotations

import collections
import copyreg
import datetime
import enum
import functools
import pathlib
import pickle
import re
import sys
import threading
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from cachekit.errors import UnhashableArgument


class Form(NamedTuple):
    """What is written for a node: a tag that names its kind, and its parts."""

    tag: bytes
    parts: Sequence[object] | Unordered


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


def canonical(value: Any) -> Form:
    """Return the canonical form of a value that is not an atom.

    Raises
    ------
    UnhashableArgument
        If the value has no stable content.
    """
    kind = type(value)
    reduce = _resolved.get(kind)
    if reduce is None:
        reduce = _resolved[kind] = _reducer_for(kind)
    return reduce(value)


def register_hasher(kind: type, function: Callable[[Any], object]) -> None:
    """Say what counts of the values of a type, and of its subclasses.

    Parameters
    ----------
    kind : type
        The type. For a class of your own, a method ``__cachekit_hash__(self)`` that
        returns the same does as well.
    function : callable
        Takes a value, returns another value to hash in its place, such as a tuple
        of those attributes that results depend on.

    Examples
    --------
    >>> import threading
    >>> register_hasher(type(threading.Lock()), lambda lock: None)
    """
    if not isinstance(kind, type):
        raise TypeError(f"register_hasher() takes a type first, not {kind!r}")

    def reduce(value: Any) -> Form:
        return Form(b"registered:", (type(value), function(value)))

    _INHERITED[kind] = _EXACT[kind] = reduce
    _resolved.clear()


def path_from(parent: Any, child: object, rest: str) -> str:
    """Put the step from `parent` to `child` before a path: ``[2]``, ``['key']``."""
    if isinstance(parent, (list, tuple)):
        steps = (f"[{i}]" for i, item in enumerate(parent) if item is child)
    elif isinstance(parent, dict):
        steps = (f"[{key!r:.40}]" for key in parent if parent[key] is child)
    else:  # an object's attributes were hashed as a dict: ['lock'] -> .lock
        return re.sub(r"^\['(\w+)'\]", r".\1", rest)
    return next(steps, "") + rest


def _reducer_for(kind: type) -> Callable[[Any], Form]:
    """Find the reducer of a type, or else of the nearest of its base classes."""
    for base in kind.__mro__:
        module = str(base.__module__)
        for package in (module.partition(".")[0], ".".join(module.split(".")[:2])):
            if package in _LOADED_WHEN_SEEN:
                _load_reducers(package)
    if kind in _EXACT:
        return _EXACT[kind]
    if hasattr(kind, "__cachekit_hash__"):
        return _reduce_as_told
    for base in kind.__mro__:
        if base in _INHERITED:
            return _INHERITED[base]
    return _reduce_object


def _load_reducers(package: str) -> None:
    with _loading:  # a thread that comes second waits until they are there
        if package in _LOADED_WHEN_SEEN:
            home, maker = _LOADED_WHEN_SEEN[package].split(":")
            found = getattr(import_module(f"cachekit.hashing.{home}"), maker)()
            for registered, reduce in found.items():
                _INHERITED.setdefault(registered, reduce)
            del _LOADED_WHEN_SEEN[package]


def _reduce_as_told(value: Any) -> Form:
    return Form(b"custom:", (type(value), value.__cachekit_hash__()))


# --- containers ---------------------------------------------------------------


def _reduce_sequence(value: list[Any] | tuple[Any, ...]) -> Form:
    return Form(b"", value)


def _reduce_dict(value: dict[Any, Any]) -> Form:
    return Form(b"dict:", Unordered(value, value))


def _reduce_set(value: set[Any]) -> Form:
    return Form(b"set:", Unordered(value, None))


def _reduce_frozenset(value: frozenset[Any]) -> Form:
    return Form(b"frozenset:", Unordered(value, None))


# --- values of the standard library -------------------------------------------


def _reduce_bytearray(value: bytearray) -> Form:
    return Form(b"bytearray:", (Buffer([memoryview(value)]),))


def _reduce_memoryview(value: memoryview) -> Form:
    contiguous = value if value.c_contiguous else memoryview(value.tobytes())
    return Form(b"memoryview:", (value.format, value.shape, Buffer([contiguous])))


def _reduce_pickle_buffer(value: pickle.PickleBuffer) -> Form:
    return Form(b"memory:", (Buffer([value.raw()]),))


def _reduce_complex(value: complex) -> Form:
    return Form(b"complex:", (value.real, value.imag))


def _reduce_slice(value: slice) -> Form:
    return Form(b"slice:", (value.start, value.stop, value.step))


def _reduce_enum(value: enum.Enum) -> Form:
    return Form(b"enum:", (type(value), value.name, value.value))


def _reduce_path(value: pathlib.PurePath) -> Form:
    # Python 3.13 moved the classes to another module, so the name alone is kept.
    return Form(b"path:", (type(value).__name__, str(value)))


def _reduce_pattern(value: re.Pattern[Any]) -> Form:
    return Form(b"pattern:", (value.pattern, value.flags))


def _reduce_timezone(value: datetime.timezone) -> Form:
    return Form(b"timezone:", (value.utcoffset(None), value.tzname(None)))


def _reduce_mapping_proxy(value: types.MappingProxyType[Any, Any]) -> Form:
    return Form(b"mappingproxy:", (dict(value),))


def _reduce_module(value: types.ModuleType) -> Form:
    return Form(b"module:", (value.__name__, getattr(value, "__version__", None)))


# --- code ---------------------------------------------------------------------


def _reduce_function(value: types.FunctionType) -> Form:
    from cachekit.hashing import code

    if code.is_followed(value):
        return Form(b"function:", (code.fingerprint(value),))
    return Form(b"named:", (value.__module__, value.__qualname__))


def _reduce_class(value: type) -> Form:
    from cachekit.hashing import boundary, code

    name = (boundary.module_name(value), value.__qualname__)
    if code.is_followed(value):
        return Form(b"class:", (*name, code.fingerprint(value)))
    return Form(b"class:", name)


def _reduce_builtin(value: types.BuiltinFunctionType) -> Form:
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return Form(b"named:", (value.__module__, value.__qualname__))
    return Form(b"method:", (owner, value.__name__))


def _reduce_method(value: types.MethodType) -> Form:
    return Form(b"method:", (value.__self__, value.__func__))


def _reduce_descriptor(value: Any) -> Form:
    return Form(b"named:", (value.__objclass__, value.__name__))


def _reduce_wrapper(value: Any) -> Form:
    return Form(b"wrapper:", (type(value), value.__wrapped__))


def _reduce_property(value: property) -> Form:
    return Form(b"property:", (value.fget, value.fset, value.fdel))


def _reduce_cached_property(value: functools.cached_property[Any]) -> Form:
    return Form(b"property:", (type(value), value.func))


def _reduce_dispatch_method(value: functools.singledispatchmethod[Any]) -> Form:
    return Form(b"dispatch:", (value.func, dict(value.dispatcher.registry)))


def _reduce_partial(value: functools.partial[Any]) -> Form:
    keywords = dict(value.keywords)
    return Form(b"partial:", (type(value), value.func, value.args, keywords))


# --- every other object -------------------------------------------------------


def _reduce_object(value: Any) -> Form:
    """Take an object apart as pickle would, and put the pieces in canonical order."""
    kind = type(value)
    if kind is object or _is_consumed_by_reading(value):
        raise UnhashableArgument(_describe(value), culprit=value)
    wrapped = _function_wrapped(value)
    if wrapped is not None:
        # How a library compiles a function (numba, jax) is no content, what it was
        # told about it is.
        return Form(b"wrapper:", (kind, wrapped, getattr(value, "targetoptions", None)))
    if _is_plainly_stored(kind):
        return Form(b"object:", (kind, _attributes(value)))
    function, arguments, state, items, pairs = _reduction(value)
    if isinstance(value, (set, frozenset)):
        arguments, state = (frozenset(value),), getattr(value, "__dict__", None)
    if isinstance(pairs, Iterator):
        pairs = list(pairs)
        if not isinstance(value, collections.OrderedDict):
            pairs = dict(pairs)
    items = list(items) if items is not None else None
    # copyreg's constructors are written by name: they are how, not what.
    maker = function.__name__ if function in _CONSTRUCTORS else function
    return Form(b"reduced:", (maker, arguments, state, items, pairs))


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


def _attributes(value: object) -> dict[str, object]:
    """Collect the attributes, in slots too, but not what a property has cached."""
    kind = type(value)
    attributes = dict(getattr(value, "__dict__", {}))
    for name in copyreg._slotnames(kind):  # type: ignore[attr-defined]
        if hasattr(value, name):
            attributes[name] = getattr(value, name)
    for name in list(attributes):
        if isinstance(getattr(kind, name, None), functools.cached_property):
            del attributes[name]
    return attributes


def _reduction(value: Any) -> tuple[Any, Any, Any, Any, Any]:
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        reduced = reduce(value) if reduce else value.__reduce_ex__(5)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise UnhashableArgument(_describe(value), culprit=value) from error
    if isinstance(reduced, str):
        return (reduced, _module_of_global(value, reduced), None, None, None)
    return (*reduced, None, None, None)[:5]


def _module_of_global(value: object, name: str) -> str:
    """Return the module where a value is found by its name.

    One that cannot be found so shares its name with others, as do the functions that
    `numpy.frompyfunc` makes.
    """
    kind = type(value).__module__
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
            return str(module)
    raise UnhashableArgument(_describe(value), culprit=value)


def _function_wrapped(value: Any) -> types.FunctionType | None:
    """Return the function inside an object that a library made of it."""
    from cachekit.hashing import boundary

    if not callable(value) or boundary.is_users(type(value).__module__):
        return None
    for name in ("py_func", "__wrapped__"):
        function = getattr(value, name, None)
        if isinstance(function, types.FunctionType):
            return function
    return None


def _describe(value: object) -> str:
    kind = type(value)
    return f"an object of type {kind.__module__}.{kind.__qualname__}"


class _Plain:
    pass


_PLAIN_SIZE = _Plain.__basicsize__
_PICKLE_HOOKS = ("__reduce_ex__", "__reduce__", "__getstate__")

_CONSTRUCTORS = (
    copyreg.__newobj__,  # type: ignore[attr-defined]
    copyreg.__newobj_ex__,  # type: ignore[attr-defined]
    copyreg._reconstructor,  # type: ignore[attr-defined]
)

# Of exactly this type.
_EXACT: dict[type, Callable[[Any], Form]] = {
    list: _reduce_sequence,
    tuple: _reduce_sequence,
    dict: _reduce_dict,
    set: _reduce_set,
    frozenset: _reduce_frozenset,
    bytearray: _reduce_bytearray,
    memoryview: _reduce_memoryview,
    pickle.PickleBuffer: _reduce_pickle_buffer,
    complex: _reduce_complex,
    slice: _reduce_slice,
    re.Pattern: _reduce_pattern,
    datetime.timezone: _reduce_timezone,
    types.MappingProxyType: _reduce_mapping_proxy,
    types.FunctionType: _reduce_function,
    types.BuiltinFunctionType: _reduce_builtin,
    types.MethodType: _reduce_method,
    types.MethodDescriptorType: _reduce_descriptor,
    types.WrapperDescriptorType: _reduce_descriptor,
    types.GetSetDescriptorType: _reduce_descriptor,
    types.MemberDescriptorType: _reduce_descriptor,
    types.ClassMethodDescriptorType: _reduce_descriptor,
    functools._lru_cache_wrapper: _reduce_wrapper,
    functools.singledispatchmethod: _reduce_dispatch_method,
    staticmethod: _reduce_wrapper,
    classmethod: _reduce_wrapper,
    property: _reduce_property,
    types.ModuleType: _reduce_module,
}

# Of this type or a subclass of it.
_INHERITED: dict[type, Callable[[Any], Form]] = {
    type: _reduce_class,
    enum.Enum: _reduce_enum,
    pathlib.PurePath: _reduce_path,
    functools.partial: _reduce_partial,
    functools.cached_property: _reduce_cached_property,
}

# What was found for each type that was met.
_resolved: dict[type, Callable[[Any], Form]] = {}

_loading = threading.RLock()

# Package -> who has the reducers for its types, imported when one is met.
_LOADED_WHEN_SEEN = {
    "numpy": "arrays:numpy_reducers",
    "pandas": "tables:pandas_reducers",
    "polars": "tables:polars_reducers",
    "pyarrow": "tables:pyarrow_reducers",
    "scipy.sparse": "tensors:scipy_reducers",
    "torch": "tensors:torch_reducers",
}
