"""What counts of a class: its members and fields, without what Python puts there.

Machinery differs between versions of Python and is left out: what dataclasses, attrs,
enum, typing and abc generate follows from what is kept.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
from collections.abc import Iterator
from typing import Any, Protocol

_MACHINERY = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__callable_proto_members_only__",
    "__mutable_keys__",
    "__non_callable_proto_members__",
    "__optional_keys__",
    "__protocol_attrs__",
    "__readonly_keys__",
    "__required_keys__",
    "__attrs_attrs__",
    "__attrs_own_setattr__",
    "__attrs_props__",
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


# What a field of attrs may compute with.
_ROLES = ("default", "converter", "validator", "on_setattr", "eq_key", "order_key")

# Modules that put functions of their own into classes.
_GENERATORS = {"attr._make", "collections", "dataclasses", "enum", "typing"}

_NOT_DEFINED_HERE = (types.MemberDescriptorType, types.GetSetDescriptorType)


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the methods and attributes that the class body defines, by name."""
    if issubclass(kind, enum.Enum):
        yield from sorted(_enum_members(kind))
        return
    yield from _field_functions(kind)
    is_record = hasattr(kind, "__dataclass_fields__") or hasattr(
        kind, "__attrs_attrs__"
    )
    is_named_tuple = issubclass(kind, tuple) and hasattr(kind, "_fields")
    for name, member in sorted(vars(kind).items()):
        if name in _MACHINERY or isinstance(member, _NOT_DEFINED_HERE):
            continue
        if (is_record or is_named_tuple) and _is_generated(name, member):
            continue
        if is_record and name == "__hash__" and member is None:
            continue
        if _is_of_typing(kind, name, member):
            continue
        if is_named_tuple and name in kind._fields:  # type: ignore[attr-defined]
            continue
        yield name, member


def fields(kind: type) -> Iterator[object]:
    """Yield facts about the fields of a class, as atoms."""
    yield "annotated"
    yield from annotated(kind)
    for field in vars(kind).get("__dataclass_fields__", {}).values():
        yield from (field.name, field.init, field.compare, field.hash, field.kw_only)
        yield from (field.repr, repr(dict(field.metadata)))
    if "__dataclass_params__" in vars(kind):
        params = vars(kind)["__dataclass_params__"]
        yield from ("dataclass", params.eq, params.order, params.frozen)
        yield from (params.repr, params.unsafe_hash)
    for attribute in vars(kind).get("__attrs_attrs__", ()):
        yield from (attribute.name, attribute.init, bool(attribute.eq))
        yield from (attribute.order, attribute.hash, attribute.kw_only)
        yield from (bool(attribute.repr), repr(dict(attribute.metadata)))


def annotated(thing: Any) -> Iterator[str]:
    """Yield each name that a class or a function annotates, and its type as text."""
    # Of a class its own only: as an attribute they might be those of its base.
    own = vars(thing).get("__annotations__") if isinstance(thing, type) else None
    own = thing.__annotations__ if isinstance(thing, types.FunctionType) else own
    for name, annotation in (own or {}).items():
        yield from (name, _annotation_text(annotation))


def _annotation_text(annotation: object) -> str:
    """Write a type as it was written, or as its name."""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__qualname__
    return repr(annotation)


def _field_functions(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield what the fields of a dataclass or an attrs class compute with."""
    for field in vars(kind).get("__dataclass_fields__", {}).values():
        if field.default_factory is not dataclasses.MISSING:
            yield f"{field.name} factory", field.default_factory
        if field.default is not dataclasses.MISSING:  # with slots, only here
            yield f"{field.name} default", field.default
    for attribute in vars(kind).get("__attrs_attrs__", ()):
        for role in _ROLES:
            function = getattr(attribute, role, None)
            if function is not None:
                yield f"{attribute.name} {role}", function
    if "__attrs_attrs__" in vars(kind):
        for name, hook in _hooks_on_setting(kind):
            yield f"{name} set", hook


def _hooks_on_setting(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield what attrs was told, for the whole class, to run when a field is set."""
    function = vars(kind).get("__setattr__")
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    if "sa_attrs" in names:
        held = function.__closure__[names.index("sa_attrs")].cell_contents  # type: ignore[union-attr]
        for name, (_, hook) in sorted(held.items()):
            yield name, hook


def _enum_members(kind: type[enum.Enum]) -> Iterator[tuple[str, Any]]:
    for name, member in kind.__members__.items():
        yield name, member.value
    yield "order of members", tuple(kind.__members__)
    for name, member in vars(kind).items():
        is_machinery = name.startswith("_") and name.endswith("_")
        is_method = isinstance(member, types.FunctionType)
        if name in kind.__members__ or (is_machinery and not is_method):
            continue
        if not _is_generated(name, member):
            yield name, member


def _is_of_typing(kind: type, name: str, member: Any) -> bool:
    """Tell whether typing put a function into a protocol, or into its subclass.

    Into a subclass it puts, as the first instance is made, the ``__init__`` that this
    inherits.
    """
    if name not in {"__init__", "__subclasshook__"}:
        return False
    function = getattr(member, "__func__", member)
    if getattr(function, "__globals__", {}).get("__name__") == "typing":
        return True
    return Protocol in kind.__mro__ and any(
        vars(base).get(name) is member for base in kind.__mro__[1:]
    )


def _is_generated(name: str, member: Any) -> bool:
    """Tell whether a function was made by a library for this class."""
    function = inspect.unwrap(getattr(member, "__func__", member))
    if not name.startswith("_") or not isinstance(function, types.FunctionType):
        return False
    code = function.__code__
    space = str(function.__globals__.get("__name__"))
    return (
        code.co_qualname.startswith("__create_fn__")
        or code.co_filename.startswith("<attrs generated")
        or space.startswith("namedtuple_")
        or space in _GENERATORS
    )
