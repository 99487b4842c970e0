"""The fingerprint of a function: a digest of the code that a call runs.

So far a fingerprint covers the function's own syntax tree, its defaults and the
values in its closure; what it calls and the globals it reads are not yet followed.
Comments, docstrings, annotations and formatting take no part.
"""

from __future__ import annotations

import ast
import inspect
import site
import sys
import sysconfig
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cachekit.errors import UnhashableArgument


class CodeVersion(NamedTuple):
    """What a fingerprint was made of, kept so that a miss can be explained.

    Attributes
    ----------
    fingerprint : str
        32 hexadecimal digits.
    units : dict of str to str
        Digest of each function or value that takes part, by name.
    sources : dict of str to str
        Source of each unit that has one.
    """

    fingerprint: str
    units: dict[str, str]
    sources: dict[str, str]


def fingerprint(function: Callable[..., Any]) -> str:
    """Hash the code of a function, as 32 hexadecimal digits.

    Parameters
    ----------
    function : callable
        A Python function; for anything else that can be called, its digest.

    Returns
    -------
    str
        Unchanged by comments, docstrings, annotations, formatting and line shifts.
    """
    return code_version(function).fingerprint


def code_version(function: Callable[..., Any]) -> CodeVersion:
    """Describe the code of a function: its fingerprint, units and sources."""
    from cachekit.hashing.hasher import digest

    if not isinstance(function, types.FunctionType):
        made_of = digest(function)
        return CodeVersion(made_of, {function_name(function): made_of}, {})
    name = function_name(function)
    source = _source(function)
    units = {name: _syntax_digest(function, source)}
    for part, value in _values_held(function).items():
        units[f"{name}:{part}"] = _value_digest(value, function)
    sources = {name: source} if source is not None else {}
    return CodeVersion(digest(units), units, sources)


def function_name(function: Any) -> str:
    """Return ``module.qualname``, the same when the module is run as a script."""
    target = getattr(function, "func", function)  # a partial goes by what it calls
    if not hasattr(target, "__qualname__"):
        target = type(target)
    return f"{module_name(target)}.{target.__qualname__}"


def module_name(thing: Any) -> str:
    """Return the module of a function or class; ``__main__`` goes by its file."""
    name = thing.__module__ or ""
    if name != "__main__":
        return name
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"


def is_users(thing: Any) -> bool:
    """Tell whether code is the user's: not the standard library, not installed."""
    name = thing.__module__ or ""
    if name.partition(".")[0] in sys.stdlib_module_names and name != "__main__":
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or not file.startswith(_installed_folders())


def _installed_folders() -> tuple[str, ...]:
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    folders += [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    return tuple(folders)


def _source(function: types.FunctionType) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):  # made by exec, typed at a prompt, compiled
        return None


def _syntax_digest(function: types.FunctionType, source: str | None) -> str:
    from cachekit.hashing.hasher import digest

    if source is not None:
        try:
            statement = ast.parse(source).body[0]
        except SyntaxError:  # a piece of a statement: the line around a lambda
            statement = ast.Pass()
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            statement.decorator_list = []
            return digest(_syntax(statement))
    python = f"{sys.implementation.cache_tag}"
    return digest(("bytecode", python, _bytecode(function.__code__)))


def _syntax(node: object) -> object:
    """Write a syntax tree as nested lists, without what a call cannot see.

    Empty fields are left out, so that a field which a later Python adds changes
    nothing where it is not used.
    """
    if isinstance(node, list):
        return [_syntax(item) for item in node]
    if not isinstance(node, ast.AST):
        return node
    fields = {
        name: value for name, value in ast.iter_fields(node) if value not in (None, [])
    }
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        fields["body"] = (
            node.body[1:]
            if ast.get_docstring(node, clean=False) is not None
            else node.body
        )
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        fields.pop("returns", None)
    if isinstance(node, ast.arg):
        fields.pop("annotation", None)
    fields.pop("type_comment", None)
    fields.pop("kind", None)  # the u of u"text"
    return [
        type(node).__name__,
        *([name, _syntax(fields[name])] for name in sorted(fields)),
    ]


def _bytecode(code: types.CodeType) -> tuple[object, ...]:
    constants = tuple(
        _bytecode(item) if isinstance(item, types.CodeType) else item
        for item in code.co_consts
    )
    return (code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars)


def _values_held(function: types.FunctionType) -> dict[str, object]:
    """Return the values that a function carries: defaults and closure."""
    held: dict[str, object] = {}
    if function.__defaults__:
        held["defaults"] = function.__defaults__
    if function.__kwdefaults__:
        held["keyword defaults"] = function.__kwdefaults__
    for name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        try:
            held[name] = cell.cell_contents
        except ValueError:  # not yet filled
            held[name] = None
    return held


def _value_digest(value: object, owner: types.FunctionType) -> str:
    from cachekit.hashing.hasher import digest

    if value is owner:
        return "itself"
    try:
        return digest(value)
    except UnhashableArgument:
        return f"unhashable {type(value).__qualname__}"
