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
import inspect
import pathlib
import pickle
import re
import sys
import threading
import types
import zoneinfo
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
    if kind in _WRITTEN_IN_PLACE:
        raise TypeError(
            f"{kind.__name__} is hashed by its content; register a subclass"
        )

    def reduce(value: Any) -> Form:
        counts = function(value)
        if counts is value:  # as it would be otherwise
            return _reduce_object(value)
        return Form(b"registered:", (type(value), counts))

    _INHERITED[kind] = _EXACT[kind] = reduce
    _resolved.clear()


def path_from(parent: Any, child: object, rest: str) -> str:
    """Put the step from `parent` to `child` before a path: ``[2]``, ``['key']``."""
    if isinstance(parent, (list, tuple)):
        steps = (f"[{i}]" for i, item in enumerate(parent) if item is child)
    elif isinstance(parent, dict):
        items = dict.items(parent)  # a subclass may load on each look-up
        steps = (f"[{key!r:.40}]" for key, item in items if item is child)
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
    counts = value.__cachekit_hash__()
    if counts is value:  # as it would be without the method
        return _reduce_object(value)
    return Form(b"custom:", (type(value), counts))


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
    try:
        plain = value.cast("B") if value.c_contiguous else memoryview(value.tobytes())
    except (ValueError, TypeError) as error:  # it was released
        raise UnhashableArgument(_describe(value), culprit=value) from error
    return Form(b"memoryview:", (value.format, value.shape, Buffer([plain])))


def _reduce_pickle_buffer(value: pickle.PickleBuffer) -> Form:
    try:
        return Form(b"memory:", (Buffer([value.raw()]),))
    except BufferError:  # it is strided
        return Form(b"memory:", (Buffer([memoryview(memoryview(value).tobytes())]),))
    except ValueError as error:  # it was released
        raise UnhashableArgument(_describe(value), culprit=value) from error


def _reduce_complex(value: complex) -> Form:
    return Form(b"complex:", (value.real, value.imag))


def _reduce_slice(value: slice) -> Form:
    return Form(b"slice:", (value.start, value.stop, value.step))


def _reduce_enum(value: enum.Enum) -> Form:
    return Form(b"enum:", (type(value), value.name, value.value))


def _reduce_path(value: pathlib.PurePath) -> Form:
    kind = type(value)
    if kind.__module__.partition(".")[0] == "pathlib":
        # Python 3.13 moved the classes to another module, so the name alone is kept.
        return Form(b"path:", (kind.__name__, str(value)))
    return Form(b"path:", (kind, str(value), getattr(value, "__dict__", None)))


def _reduce_time_zone(value: zoneinfo.ZoneInfo) -> Form:
    if value.key is None:  # read from a file without a name
        raise UnhashableArgument(_describe(value), culprit=value)
    return Form(b"zoneinfo:", (type(value), value.key))


def _reduce_pattern(value: re.Pattern[Any]) -> Form:
    return Form(b"pattern:", (value.pattern, value.flags))


def _reduce_timezone(value: datetime.timezone) -> Form:
    return Form(b"timezone:", (value.utcoffset(None), value.tzname(None)))


def _reduce_mapping_proxy(value: types.MappingProxyType[Any, Any]) -> Form:
    return Form(b"mappingproxy:", (dict(value),))


def _reduce_module(value: types.ModuleType) -> Form:
    from cachekit.hashing import boundary, code

    name = value.__name__
    if name == "__main__":
        name = boundary.main_name()
    if boundary.is_users(value.__name__):
        return Form(b"module:", (name, code.fingerprint(value)))
    return Form(b"module:", (name, vars(value).get("__version__")))


# --- code ---------------------------------------------------------------------


def _reduce_function(value: types.FunctionType) -> Form:
    from cachekit.hashing import code

    if code.is_followed(value):
        return Form(b"function:", (code.fingerprint(value),))
    name = (value.__module__, value.__qualname__)
    if value.__closure__ is None:
        return Form(b"named:", name)
    # One of many that a library's function has made: told apart by what it holds.
    held = [cell.cell_contents for cell in value.__closure__ if cell != _EMPTY_CELL]
    return Form(b"closure:", (*name, held, value.__defaults__, value.__kwdefaults__))


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
    functions = (value.fget, value.fset, value.fdel)
    return Form(b"property:", (type(value), *functions))


def _reduce_cached_property(value: functools.cached_property[Any]) -> Form:
    return Form(b"property:", (type(value), value.func))


def _reduce_dispatch_method(value: functools.singledispatchmethod[Any]) -> Form:
    return Form(b"dispatch:", (value.func, dict(value.dispatcher.registry)))


def _reduce_partial(value: functools.partial[Any]) -> Form:
    keywords = dict(value.keywords)
    made_of = (type(value), value.func, value.args, keywords, vars(value) or None)
    return Form(b"partial:", made_of)


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
    if "__wrapped__" in found or "pyfunc" in found:  # of a decorator that is a class
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
        if name == "_attrs_cached_hash"
        or (
            isinstance(name, str)
            and isinstance(inspect.getattr_static(kind, name, None), _CACHED)
        )
    ]
    # None and no attributes are the same: pickle writes either.
    return {name: state[name] for name in state if name not in cached} or None


def _reduction(value: Any) -> tuple[Any, Any, Any, Any, Any]:
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        reduced = reduce(value) if reduce else value.__reduce_ex__(5)
    except Exception as error:  # a reduction is the user's code
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


_CACHED = functools.cached_property
_EMPTY_CELL = types.CellType()
_WRITTEN_IN_PLACE = (type(None), bool, int, float, str, bytes, list, tuple, dict)

# Types made of attributes, for which pickle was asked once whether that is all.
_known_to_pickle: set[type] = set()


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
    types.ModuleType: _reduce_module,
}

# Of this type or a subclass of it.
_INHERITED: dict[type, Callable[[Any], Form]] = {
    type: _reduce_class,
    enum.Enum: _reduce_enum,
    pathlib.PurePath: _reduce_path,
    zoneinfo.ZoneInfo: _reduce_time_zone,
    functools.partial: _reduce_partial,
    functools.cached_property: _reduce_cached_property,
    staticmethod: _reduce_wrapper,
    classmethod: _reduce_wrapper,
    property: _reduce_property,
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
    "scipy.spatial": "tensors:scipy_tree_reducers",
    "sklearn": "tensors:sklearn_reducers",
    "torch": "tensors:torch_reducers",
}
