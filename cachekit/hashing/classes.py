"""What counts of a class: its members and fields, without what Python puts there.

Machinery differs between versions of Python and is left out: what dataclasses, attrs,
enum, typing and abc generate follows from what is kept, and counts by name.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import types
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

_MACHINERY = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__callable_proto_members_only__",
    "__final__",
    "__mutable_keys__",
    "__non_callable_proto_members__",
    "__optional_keys__",
    "__protocol_attrs__",
    "__readonly_keys__",
    "__required_keys__",
    "__attrs_attrs__",
    "__attrs_own_setattr__",
    "__attrs_props__",
    "__attrs_types_resolved__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__orig_bases__",
    "__parameters__",
    "__qualname__",
    "__slotnames__",
    "__static_attributes__",
    "__type_params__",
    "__weakref__",
    "_abc_impl",
}

_MACHINERY_OF_ENUMS = {
    "_all_bits_",
    "_flag_mask_",
    "_hashable_values_",
    "_inverted_",
    "_member_map_",
    "_member_names_",
    "_member_type_",
    "_new_member_",
    "_singles_mask_",
    "_unhashable_values_",
    "_unhashable_values_map_",
    "_use_args_",
    "_value2member_map_",
    "_value_repr_",
}

# What of an enum a user may take from the library: ``__str__ = enum.global_str``.
_WAYS_TO_SHOW = {"__format__", "__repr__", "__str__"}

# What a member of an enum may be besides its value.
_PLAIN_TYPES: tuple[Any, ...] = (int, float, complex, str, bytes, tuple)

# What a field of attrs may compute with.
_ROLES = ("default", "converter", "validator", "on_setattr", "eq_key", "order_key")

# Modules that put functions of their own into classes.
_GENERATORS = {"attr._make", "collections", "dataclasses", "enum", "typing"}


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the methods and attributes that the class body defines, by name."""
    if issubclass(kind, enum.Enum):
        yield from _enum_members(kind)
    else:
        yield from _field_functions(kind)
        yield from _attrs_functions(kind)
    yield from _kept_beside_types(kind)
    for name, member in sorted(vars(kind).items()):
        if name == "_generate_next_value_":  # a static method since Python 3.12
            member = getattr(member, "__func__", member)
        if not _is_machinery(kind, name, member):
            yield name, member


def fields(kind: type) -> Iterator[object]:
    """Yield facts about a class and its fields, as atoms."""
    space = vars(kind)
    yield "annotated"
    yield from annotated(kind)
    bases = [base for base in space.get("__orig_bases__", ()) if get_args(base)]
    yield from ("bases", *map(_type_text, bases))  # as `Base[int]`
    yield from ("abstract", *sorted(space.get("__abstractmethods__", ())))
    yield from ("required", *sorted(space.get("__required_keys__", ())))
    if _is_record(kind):
        yield from ("generated", *_generated_names(kind))
    for field in space.get("__dataclass_fields__", {}).values():
        yield from (field.name, field.init, field.compare, field.hash, field.kw_only)
        yield field.repr
    if "__dataclass_params__" in space:
        params = space["__dataclass_params__"]
        yield from ("dataclass", params.eq, params.order, params.frozen)
        yield from (params.repr, params.unsafe_hash)
    yield from _facts_of_attrs(kind)


def annotated(thing: Any) -> Iterator[str]:
    """Yield each name that a class or a function annotates, and its type as text."""
    for name, annotation in _annotations(thing).items():
        yield from (name, _annotation_text(annotation))


def _annotations(thing: Any) -> dict[str, Any]:
    # Of a class its own only: as an attribute they might be those of its base.
    own = vars(thing).get("__annotations__") if isinstance(thing, type) else None
    own = thing.__annotations__ if isinstance(thing, types.FunctionType) else own
    return own or {}


def _annotation_text(annotation: object) -> str:
    """Write a type as it was written, or as its name."""
    return annotation if isinstance(annotation, str) else _type_text(annotation)


def _type_text(annotation: Any) -> str:
    """Write a type by names without modules, since a script's are ``__main__``."""
    parts = annotation if isinstance(annotation, list) else get_args(annotation)
    if parts:
        origin = get_origin(annotation)
        name = getattr(origin, "__qualname__", repr(origin))
        return f"{name}[{', '.join(map(_type_text, parts))}]"
    if isinstance(annotation, (type, types.FunctionType)):
        return annotation.__qualname__
    text = repr(annotation)
    return type(annotation).__qualname__ if " at 0x" in text else text


def _kept_beside_types(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield what ``Annotated`` keeps beside the types in a class, such as checks."""
    for name, annotation in _annotations(kind).items():
        waiting = [annotation]
        while waiting:
            part = waiting.pop()
            inside = get_args(part)
            if get_origin(part) is Annotated:
                yield f"{name} annotated", inside[1:]
                inside = inside[:1]
            waiting.extend(reversed(inside))


# --- fields of dataclasses and of attrs ---


def _field_functions(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield what the fields of a dataclass compute with."""
    for field in vars(kind).get("__dataclass_fields__", {}).values():
        if field.default_factory is not dataclasses.MISSING:
            yield f"{field.name} factory", field.default_factory
        if field.default is not dataclasses.MISSING:  # with slots, only here
            yield f"{field.name} default", field.default
        if field.metadata:
            yield f"{field.name} metadata", field.metadata


def _attrs_functions(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield what the fields of an attrs class compute with."""
    if "__attrs_attrs__" not in vars(kind):
        return
    for attribute in vars(kind)["__attrs_attrs__"]:
        for role in _ROLES:
            function = getattr(attribute, role, None)
            if function is not None:
                yield f"{attribute.name} {role}", function
        if callable(attribute.repr):
            yield f"{attribute.name} repr", attribute.repr
        if attribute.metadata:
            yield f"{attribute.name} metadata", attribute.metadata
    for name, hook in _hooks_on_setting(kind):
        yield f"{name} set", hook
    yield from _moved_by_attrs(kind)


def _hooks_on_setting(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield what attrs was told, for the whole class, to run when a field is set."""
    function = vars(kind).get("__setattr__")
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    if "sa_attrs" in names:
        held = function.__closure__[names.index("sa_attrs")].cell_contents  # type: ignore[union-attr]
        for name, (_, hook) in sorted(held.items()):
            yield name, hook


def _moved_by_attrs(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the cached properties of a class with slots: its __getattr__ has them."""
    function = vars(kind).get("__getattr__")
    if _is_generated("__getattr__", function):
        space = function.__globals__  # type: ignore[union-attr]
        yield from sorted(space.get("cached_properties", {}).items())
        yield "__getattr__", space.get("original_getattr")


def _facts_of_attrs(kind: type) -> Iterator[object]:
    """Yield facts about the fields, and the options so far as attrs keeps them."""
    for attribute in vars(kind).get("__attrs_attrs__", ()):
        yield from (attribute.name, attribute.init, bool(attribute.eq))
        yield from (attribute.order, attribute.hash, attribute.kw_only)
        yield from (bool(attribute.repr), getattr(attribute, "alias", None))
        if not attribute.inherited and attribute.name not in _annotations(kind):
            yield _annotation_text(attribute.type)  # from `attr.ib(type=int)`
    options = vars(kind).get("__attrs_props__")
    for name in getattr(options, "__slots__", ()):
        value = getattr(options, name)
        if isinstance(value, enum.Enum):
            yield from (name, value.name)
        elif isinstance(value, (bool, int, str)):
            yield from (name, value)


def _generated_names(kind: type) -> list[str]:
    """List the methods that were generated, but for the one of Python 3.13."""
    return sorted(
        name
        for name, member in vars(kind).items()
        if _is_generated(name, member)
        and name != "__replace__"
        and not _is_of_typing(kind, name, member)
    )


# --- members of enums ---


def _enum_members(kind: type[enum.Enum]) -> Iterator[tuple[str, Any]]:
    """Yield the members, and what ``__new__`` and ``__init__`` gave to each."""
    yield "order of members", tuple(kind.__members__)
    for name, member in kind.__members__.items():
        yield name, member.value
        for plain in _PLAIN_TYPES:
            if isinstance(member, plain):
                yield f"{name} as {plain.__name__}", plain.__getnewargs__(member)
        for attribute, value in sorted(vars(member).items()):
            is_machinery = attribute.startswith("_") and attribute.endswith("_")
            if not is_machinery and not is_cached_property(kind, attribute):
                yield f"{name}.{attribute}", value


def is_cached_property(kind: type, name: str) -> bool:
    """Tell whether an attribute was computed when it was first read."""
    static = inspect.getattr_static(kind, name, None)
    return isinstance(static, functools.cached_property)


# --- what is machinery ---


def _is_machinery(kind: type, name: str, member: Any) -> bool:
    if name in _MACHINERY or _is_slot(name, member):
        return True
    if _is_of_typing(kind, name, member):
        return True
    if issubclass(kind, enum.Enum):
        return (
            name in kind.__members__
            or name in _MACHINERY_OF_ENUMS
            or (name not in _WAYS_TO_SHOW and _is_generated(name, member))
        )
    if issubclass(kind, tuple) and "_fields" in vars(kind):  # a named tuple
        return type(member).__name__ == "_tuplegetter" or _is_generated(name, member)
    return _is_record(kind) and _is_generated(name, member)


def _is_slot(name: str, member: Any) -> bool:
    """Tell whether Python made a descriptor, rather than a user for another name."""
    is_descriptor = isinstance(
        member, (types.MemberDescriptorType, types.GetSetDescriptorType)
    )
    return is_descriptor and member.__name__ == name


def _is_record(kind: type) -> bool:
    """Tell whether dataclasses or attrs made a class what it is, not its base."""
    return "__dataclass_fields__" in vars(kind) or "__attrs_attrs__" in vars(kind)


def _is_of_typing(kind: type, name: str, member: Any) -> bool:
    """Tell whether typing put a function into a protocol, or into its subclass.

    Into a subclass it puts, as the first instance is made, the first ``__init__`` of
    its bases that is not of typing.
    """
    if name not in {"__init__", "__subclasshook__"}:
        return False
    function = getattr(member, "__func__", member)
    module = getattr(function, "__globals__", {}).get("__name__")
    if module in {"typing", "typing_extensions"}:
        return True
    if not any("_is_protocol" in vars(base) for base in kind.__mro__):
        return False
    for base in kind.__mro__[1:]:
        inherited = vars(base).get(name)
        if inherited is not None and not _is_of_typing(base, name, inherited):
            return inherited is member
    return False


def _is_generated(name: str, member: Any) -> bool:
    """Tell whether a function was made by a library for this class."""
    function = getattr(member, "__func__", member)
    if not name.startswith("_") or not isinstance(function, types.FunctionType):
        return False
    if function.__globals__.get("__name__") == "reprlib":  # around a generated __repr__
        function = inspect.unwrap(function)
    code = function.__code__
    space = str(function.__globals__.get("__name__"))
    return (
        code.co_qualname.startswith("__create_fn__")
        or code.co_filename.startswith("<attrs generated")
        or space.startswith("namedtuple_")
        or space in _GENERATORS
    )
