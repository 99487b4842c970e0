"""The canonical form of each type: what of a value goes into its digest.

`canonical` finds the reducer of a type. Those of the standard library are here; those
of arrays in `arrays`, of tables in `tables`, of tensors, estimators and sparse matrices
in `tensors`, and that of any other object in `objects`. What a *form* is says `forms`.
"""

from __future__ import annotations

import copyreg
import datetime
import enum
import functools
import logging
import pathlib
import pickle
import re
import struct
import threading
import types
import zoneinfo
from collections.abc import Callable
from importlib import import_module
from typing import Any

from cachekit.errors import UnhashableArgument
from cachekit.hashing import objects
from cachekit.hashing.forms import (
    Buffer,
    Form,
    Reducers,
    Unordered,
    describe,
    is_small_dict,
)
from cachekit.hashing.objects import reduce_object


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
        counts = _ask(value, function, "")
        if counts is value:  # as it would be otherwise
            return reduce_object(value)
        return Form(b"registered:", (type(value), counts))

    _INHERITED[kind] = _EXACT[kind] = reduce
    _registered.append(kind)
    _resolved.clear()
    _records.clear()


def small_record(value: Any) -> dict[str, object] | None:
    """Return the attributes of an object if it is its class and a few atoms, no more.

    Such an object is written in the place where it is met, not by a digest of its own.
    """
    kind = type(value)
    is_record = _records.get(kind)
    if is_record is None:
        is_record = _reducer_for(kind) is reduce_object and objects.is_record(value)
        _records[kind] = is_record
    if kind in copyreg.dispatch_table:  # which may come after the first of its objects
        return None
    if not is_record:
        return None
    state: dict[str, object] = value.__dict__
    if not objects.LEFT_OUT.isdisjoint(state):
        state = objects.attributes(value)
    return state if is_small_dict(state) else None


def is_pickled(kind: type) -> bool:
    """Tell whether what counts of a type is what pickle would store."""
    return kind in _EXACT or _reducer_for(kind) is reduce_object


def is_told(kind: type) -> bool:
    """Tell whether someone has said what counts of a type, by method or by call."""
    return hasattr(kind, "__cachekit_hash__") or issubclass(kind, tuple(_registered))


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
    return reduce_object


def _load_reducers(package: str) -> None:
    with _loading:  # a thread that comes second waits until they are there
        if package in _LOADED_WHEN_SEEN:
            home, maker = _LOADED_WHEN_SEEN[package].split(":")
            found = getattr(import_module(f"cachekit.hashing.{home}"), maker)()
            for registered, reduce in found.items():
                _INHERITED.setdefault(registered, reduce)
            del _LOADED_WHEN_SEEN[package]


def _reduce_as_told(value: Any) -> Form:
    counts = _ask(value, type(value).__cachekit_hash__, ".__cachekit_hash__()")
    if counts is value:  # as it would be without the method
        return reduce_object(value)
    if _contains(counts, value):  # as by itself, with what it is put together with
        return Form(b"custom:", (type(value), counts, *reduce_object(value)))
    return Form(b"custom:", (type(value), counts))


def _ask(value: Any, function: Callable[[Any], object], step: str) -> object:
    """Call a user's function, which may hash in turn, and lead errors out of it."""
    try:
        return function(value)
    except UnhashableArgument as error:
        error.climb(value, step + error.path)
        raise


def _contains(counts: object, value: object) -> bool:
    """Tell whether lists, tuples or dicts lead back to a value."""
    waiting, seen = [counts], {}
    while waiting:
        part = waiting.pop()
        if part is value:
            return True
        if isinstance(part, (list, tuple, dict)) and id(part) not in seen:
            seen[id(part)] = part
            waiting.extend(part.values() if isinstance(part, dict) else part)
    return False


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
        # Python casts no view of a shape with a zero in it.
        can_be_cast = value.c_contiguous and value.nbytes > 0
        plain = value.cast("B") if can_be_cast else memoryview(value.tobytes())
    except (ValueError, TypeError) as error:  # it was released
        raise UnhashableArgument(describe(value), culprit=value) from error
    return Form(b"memoryview:", (value.format, value.shape, Buffer([plain])))


def _reduce_pickle_buffer(value: pickle.PickleBuffer) -> Form:
    try:
        return Form(b"memory:", (Buffer([value.raw()]),))
    except BufferError:  # it is strided
        return Form(b"memory:", (Buffer([memoryview(memoryview(value).tobytes())]),))
    except ValueError as error:  # it was released
        raise UnhashableArgument(describe(value), culprit=value) from error


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
        raise UnhashableArgument(describe(value), culprit=value)
    return Form(b"zoneinfo:", (type(value), value.key))


def _reduce_pattern(value: re.Pattern[Any]) -> Form:
    return Form(b"pattern:", (value.pattern, value.flags))


def _reduce_struct(value: struct.Struct) -> Form:
    return Form(b"struct:", (type(value), value.format))


def _reduce_timezone(value: datetime.timezone) -> Form:
    return Form(b"timezone:", (value.utcoffset(None), value.tzname(None)))


def _reduce_mapping_proxy(value: types.MappingProxyType[Any, Any]) -> Form:
    return Form(b"mappingproxy:", (dict(value),))


def _reduce_module(value: types.ModuleType) -> Form:
    from cachekit.hashing import boundary, code

    name = boundary.imported_name(value.__name__)
    if boundary.is_users(value.__name__):
        return Form(b"module:", (name, code.fingerprint(value)))
    return Form(b"module:", (name, vars(value).get("__version__")))


def _reduce_logger(value: logging.Logger) -> Form:
    from cachekit.hashing import boundary

    return Form(b"logger:", (type(value), boundary.imported_name(value.name)))


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
    return _reduce_bound(value, owner, value.__name__)


def _reduce_method(value: types.MethodType) -> Form:
    return _reduce_bound(value, value.__self__, value.__func__)


def _reduce_bound(value: object, owner: object, method: object) -> Form:
    from cachekit.hashing import boundary

    name = boundary.name_in_library(value)
    if name is not None:  # as `random.choice`, whose state is the library's affair
        return Form(b"named:", name)
    return Form(b"method:", (owner, method))


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


_EMPTY_CELL = types.CellType()
_WRITTEN_IN_PLACE = (type(None), bool, int, float, str, bytes, list, tuple, dict)

# Of exactly this type.
_EXACT: Reducers = {
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
    struct.Struct: _reduce_struct,
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
_INHERITED: Reducers = {
    type: _reduce_class,
    enum.Enum: _reduce_enum,
    pathlib.PurePath: _reduce_path,
    zoneinfo.ZoneInfo: _reduce_time_zone,
    functools.partial: _reduce_partial,
    logging.Logger: _reduce_logger,
    functools.cached_property: _reduce_cached_property,
    staticmethod: _reduce_wrapper,
    classmethod: _reduce_wrapper,
    property: _reduce_property,
}

# Whether the objects of a type are records, see `small_record`.
_records: dict[type, bool] = {}

_registered: list[type] = []

# What was found for each type that was met.
_resolved: Reducers = {}

_loading = threading.RLock()

# Package -> who has the reducers for its types, imported when one is met.
_LOADED_WHEN_SEEN = {
    "ipaddress": "objects:address_reducers",
    "numpy": "arrays:numpy_reducers",
    "pandas": "tables:pandas_reducers",
    "polars": "tables:polars_reducers",
    "pyarrow": "tables:pyarrow_reducers",
    "scipy.sparse": "tensors:scipy_reducers",
    "scipy.spatial": "tensors:scipy_tree_reducers",
    "sklearn": "tensors:sklearn_reducers",
    "torch": "tensors:torch_reducers",
}
