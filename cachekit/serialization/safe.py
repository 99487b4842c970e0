"""Unpickle values without running the file's code: only what is on a list.

A pickle is a program: it names classes and functions, and calls them. Here it finds
only those in `allowed.CALLS`, each with a check of its arguments, and those that the
user trusts. Python's own unpickler does the rest (the C one cannot be asked what it is
about to call or alter): `SafeUnpickler` checks each call, and that nothing but new
values is altered. `pickling` writes the streams.

What safe loading does not promise: that numbers make sense. A file can still hold a
sparse matrix with indices outside of it, take much memory and time, or crash Python.
"""

from __future__ import annotations

import _compat_pickle
import builtins
import enum
import functools
import importlib
import pickle
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, ClassVar

from cachekit.errors import UntrustedContent
from cachekit.serialization import pickling
from cachekit.serialization.allowed import (
    CALLS,
    Check,
    anything,
    is_numpy,
    is_subclass,
    name_of,
    nothing,
)
from cachekit.serialization.careful import CarefulUnpickler


def find_trusted(module: str, name: str, trusted: Sequence[object] = ()) -> Any:
    """Find a class or a function that a file names, if safe loading allows it.

    Parameters
    ----------
    module, name : str
        As the file has them.
    trusted : sequence of classes, functions or str
        What is allowed besides plain data: objects, full names as in
        ``"package.module.Name"``, and names of modules. A module stands for the
        classes defined in it, and neither for its functions, nor for what it
        imports, nor for modules below it.

    Returns
    -------
    object
        What was found; functions that are not the user's come wrapped, and check
        their arguments.

    Raises
    ------
    UntrustedContent
        If it is not allowed.
    ImportError, AttributeError
        If it is allowed, and not there.
    """
    return _find(module, name, _as_sequence(trusted))[0]


class SafeUnpickler(CarefulUnpickler):
    """An unpickler that refuses what is neither plain data nor trusted.

    Parameters
    ----------
    file : binary file
        The stream.
    buffers : iterable of buffers, optional
        The memory that the stream refers to.
    trusted : sequence of classes, functions or str
        What is allowed besides plain data; see `find_trusted`.
    encoding, errors : str
        How the strings of Python 2 are decoded.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(CarefulUnpickler.dispatch)

    def __init__(
        self,
        file: BinaryIO,
        *,
        buffers: Iterable[Any] | None = None,
        trusted: Sequence[object] = (),
        encoding: str = "ASCII",
        errors: str = "strict",
    ) -> None:
        super().__init__(file, buffers=buffers, encoding=encoding, errors=errors)
        self._trusted = _as_sequence(trusted)
        # By address: what was found, so that it lives on, and how it may be called.
        self._found: dict[int, tuple[Any, Check]] = {}

    def load(self) -> Any:
        """Read the value.

        Raises
        ------
        UntrustedContent
            If the stream asks for what is not allowed.
        pickle.UnpicklingError
            If it is malformed, or what it asks for fails.
        """
        try:
            return super().load()
        except (UntrustedContent, pickle.UnpicklingError, ImportError, MemoryError):
            raise
        except Exception as error:
            # Not its `repr`, which would ask the half-made values of the file.
            what = [text for text in error.args if type(text) is str]
            message = ": ".join(["malformed pickle", type(error).__name__, *what])
            raise pickle.UnpicklingError(message) from error

    # --- what is found ---

    def find_class(self, module: str, name: str) -> Any:
        """Return what the stream names, if it is allowed."""
        if self.proto < 3:  # type: ignore[attr-defined]  # not in the stubs
            module, name = _name_in_python_3(module, name)
        found = _find(module, name, self._trusted)
        self._found[id(found[0])] = found
        return found[0]

    def get_extension(self, code: int) -> None:
        """Refuse: Python would take it from a table, without asking `find_class`."""
        raise UntrustedContent(f"the file names a class by the number {code}")

    def persistent_load(self, pid: object) -> Any:  # noqa: ARG002  # not shown: half-made
        """Refuse: there is nothing outside of the file."""
        raise UntrustedContent("the file refers to an object outside of itself")

    # --- what is called ---

    def _check_call(self, callee: Any, arguments: Any) -> None:
        _, check = self._found.get(id(callee), (None, anything))
        is_known = id(callee) in self._found or isinstance(callee, _CALLABLES)
        # A value that happens to be callable was never meant to be called.
        if not is_known or type(arguments) is not tuple:
            raise pickle.UnpicklingError(f"the file calls a {type(callee).__name__}")
        if not check(*arguments):
            raise _refusal(name_of(callee), "to be called with unusual arguments")

    def _load_reduce(self) -> None:
        arguments = self.stack.pop()
        callee = self.stack[-1]
        self._check_call(callee, arguments)
        self.stack[-1] = callee(*arguments)

    def _load_newobj(self) -> None:
        arguments = self.stack.pop()
        cls = self.stack.pop()
        self._new(cls, arguments, {})

    def _load_newobj_ex(self) -> None:
        options = self.stack.pop()
        arguments = self.stack.pop()
        cls = self.stack.pop()
        # No class of the list is pickled in this way.
        if not self._trusts(cls):
            raise _refusal(name_of(cls), "to be made with keywords")
        self._new(cls, arguments, options)

    def _new(self, cls: Any, arguments: Any, options: dict[str, Any]) -> None:
        self._check_call(cls, arguments)
        if not isinstance(cls, type):
            raise pickle.UnpicklingError(f"the file makes a {cls!r} as if of a class")
        self.stack.append(cls.__new__(cls, *arguments, **options))

    def _instantiate(self, cls: Any, arguments: Sequence[Any]) -> None:
        """Make an object as Python 2 did, for the opcodes INST and OBJ."""
        self._check_call(cls, tuple(arguments))
        self.stack.append(cls(*arguments))

    # --- what is altered ---

    def set_state(self, target: Any, state: Any) -> None:
        """Give a new object of an allowed class its state."""
        is_trusted = self._trusts(type(target))
        _check_target(target, is_trusted=is_trusted)
        # Asked of the class: an attribute of the object may be the file's.
        set_state = getattr(type(target), "__setstate__", None)
        if not is_numpy("ndarray", target):
            # What a trusted class keeps deeper in its state is its own affair.
            _check_names(state, depth=0 if is_trusted and set_state else 2)
        elif target.size > 0 and not is_trusted:
            # Filled again, it would free memory that another array may look at.
            raise UntrustedContent("the file fills an array that has been filled")
        if set_state is not None:
            set_state(target, state)
        else:
            _set_attributes(target, state)

    def _load_append(self) -> None:
        item = self.stack.pop()
        self._add_items("extend", list | deque, [item])

    def _load_appends(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]  # not in the stubs
        self._add_items("extend", list | deque, items)

    def _load_additems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]  # not in the stubs
        self._add_items("update", set, items)

    def _add_items(self, method: str, kind: Any, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, kind) and not self._trusts(type(target)):
            raise _refusal(name_of(type(target)), "to add items to it")
        getattr(type(target), method)(target, items)

    def _load_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._set_items([key, value])

    def _load_setitems(self) -> None:
        self._set_items(self.pop_mark())  # type: ignore[attr-defined]  # as above

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) and not self._trusts(type(target)):
            raise _refusal(name_of(type(target)), "to set its items")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key] = value

    def _trusts(self, cls: Any) -> bool:
        module, name = getattr(cls, "__module__", ""), getattr(cls, "__qualname__", "")
        return _find_trusted_by_user(module, name, self._trusted) is cls

    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.NEWOBJ[0]] = _load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = _load_newobj_ex
    dispatch[pickle.APPEND[0]] = _load_append
    dispatch[pickle.APPENDS[0]] = _load_appends
    dispatch[pickle.ADDITEMS[0]] = _load_additems
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.SETITEMS[0]] = _load_setitems


# --- finding ---


class _Guarded:
    """A function of the list, which checks its arguments whoever calls it.

    Others may: functions of numpy and pandas call what they are given.
    """

    def __init__(self, name: str, function: Callable[..., Any], check: Check) -> None:
        self._name = name
        self._function = function
        self._check = check

    def __call__(self, *arguments: Any) -> Any:
        for argument in arguments:
            if type(argument) is dict:  # these become attributes
                _check_names(argument, depth=0)
        if not self._check(*arguments):
            raise _refusal(self._name, "to be called with unusual arguments")
        return self._function(*arguments)


_CALLABLES = (type, types.FunctionType, types.BuiltinFunctionType, _Guarded)

_NOT_VALUES = (*_CALLABLES, types.ModuleType, enum.Enum)

# Classes that hand out the same object again and again.
_SHARED = {
    "dateutil.tz.tz.tzutc",
    "pandas.PeriodDtype",
    "pandas.core.dtypes.dtypes.PeriodDtype",
}


def _find(module: str, name: str, trusted: tuple[object, ...]) -> tuple[Any, Check]:
    """Find what a file names, and the check of its arguments."""
    found = _find_trusted_by_user(module, name, trusted)
    if found is not _NOTHING:
        return found, anything
    module, name = _present_name(module, name)
    check = _check_of(module, name)
    if check is None:
        raise _refusal(f"{module}.{name}", "")
    found = _attribute(module, name)
    if found is type or (callable(found) and not isinstance(found, type)):
        return _Guarded(f"{module}.{name}", found, check), anything
    return found, check


_NOTHING = object()


def _find_trusted_by_user(module: str, name: str, trusted: tuple[object, ...]) -> Any:
    for item in trusted:
        if isinstance(item, str):
            if item == f"{module}.{name}":
                return _attribute(module, name)
            if item == module and _is_defined_in(module, name):
                return _attribute(module, name)
        elif _is_named(item, module, name):
            return item
    return _NOTHING


def _is_named(item: object, module: str, name: str) -> bool:
    own_name = getattr(item, "__module__", None), getattr(item, "__qualname__", None)
    # The second way is for what does not know its name, as ufuncs. Looked up in the
    # dictionary: modules may import others when they are asked for an attribute.
    contents = getattr(sys.modules.get(module), "__dict__", {})
    return own_name == (module, name) or contents.get(name, _NOTHING) is item


def _is_defined_in(module: str, name: str) -> bool:
    found = _attribute(module, name)
    return isinstance(found, type) and (found.__module__, found.__qualname__) == (
        module,
        name,
    )


def _attribute(module: str, name: str) -> Any:
    """Find a name, dotted or not, in a module; only for names that are allowed."""
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def _check_of(module: str, name: str) -> Check | None:
    """Return the check of a name's arguments, or None if it is not on the list."""
    full_name = f"{module}.{name}"
    if full_name in CALLS:
        return CALLS[full_name]
    if module == "builtins" and is_subclass(vars(builtins).get(name), BaseException):
        return anything
    if module == "numpy" and _is_scalar_type(name):
        return nothing
    if module == pickling.__name__ and name in _names_of_rebuilders():
        return anything
    return None


def _is_scalar_type(name: str) -> bool:
    import numpy as np

    return is_subclass(vars(np).get(name), np.generic)


def _names_of_rebuilders() -> set[str]:
    return {function.__name__ for function in pickling.REBUILDERS}


def _name_in_python_3(module: str, name: str) -> tuple[str, str]:
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


def _present_name(module: str, name: str) -> tuple[str, str]:
    """Name what has moved: ``numpy.core.multiarray`` -> ``numpy._core.multiarray``."""
    if module == "pathlib._local":  # only in Python 3.13
        return "pathlib", name
    module = re.sub(r"^numpy\.core\.", "numpy._core.", module)
    module = re.sub(r"^scipy\.sparse\.([a-z]{3})$", r"scipy.sparse._\1", module)
    if name == "recarray" and module in ("numpy", "numpy._core.records"):
        return "numpy.rec", name
    if name == "chararray" and module in ("numpy", "numpy._core.defchararray"):
        return "numpy.char", name
    return module, name


def _as_sequence(trusted: Sequence[object]) -> tuple[object, ...]:
    if isinstance(trusted, str):  # its letters would be taken for names
        raise TypeError(f"trusted= takes a list: trusted=[{trusted!r}]")
    return tuple(trusted)


def _refusal(full_name: str, what_for: str) -> UntrustedContent:
    wish = f"{full_name} {what_for}".strip()
    return UntrustedContent(
        f"the file asks for {wish}, which safe loading does not allow; if you know "
        f"that it does no harm, pass trusted=[{full_name!r}]"
    )


# --- states ---


def _check_target(target: Any, *, is_trusted: bool) -> None:
    """Refuse to alter what is not a new object of an allowed class."""
    cls = type(target)
    name = name_of(cls)
    if isinstance(target, _NOT_VALUES) or name in _SHARED:
        raise UntrustedContent(f"the file alters {target!r}, which others use")
    if not is_trusted and _check_of(cls.__module__, cls.__qualname__) is None:
        raise _refusal(name, "to set its state")


def _check_names(state: Any, depth: int) -> None:
    """Refuse names such as ``__class__`` and ``__array_interface__`` in a state.

    With the second, numpy would take any address for the memory of an array.
    """
    for attributes in _dicts_of(state, depth):
        for name in attributes:
            is_special = isinstance(name, str) and re.fullmatch(r"__\w+__", name)
            if is_special and name != "__notes__":  # of exceptions
                raise UntrustedContent(f"the file sets the attribute {name}")


def _dicts_of(state: Any, depth: int) -> Iterator[dict[Any, Any]]:
    if isinstance(state, dict):
        yield state
    elif isinstance(state, tuple | list) and depth > 0:
        for part in state:
            yield from _dicts_of(part, depth - 1)


def _set_attributes(target: Any, state: Any) -> None:
    """Set the attributes of an object whose class has no ``__setstate__``."""
    is_pair = isinstance(state, tuple) and len(state) == 2
    attributes, slots = state if is_pair else (state, None)
    for names in (attributes, slots):
        is_state = names is None or type(names) is dict
        if not is_state or any(type(name) is not str for name in names or ()):
            raise pickle.UnpicklingError(f"this is no state of a {type(target)!r}")
    if attributes:
        target.__dict__.update(
            {sys.intern(name): value for name, value in attributes.items()}
        )
    for name, value in (slots or {}).items():
        setattr(target, name, value)
