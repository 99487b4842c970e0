"""Find the statements that make what code reads: of ``SCALE``, ``SCALE = 3``.

Of a value that changed, a store has the digests alone, for some values are secrets. In
the code that is loaded stands how it is made now.
"""

from __future__ import annotations

import ast
import functools
import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from cachekit.hashing import main_name

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# Imports that are followed, one after another.
_MOST_IMPORTS = 20


def statements_that_make(unit: str, value: str) -> list[str]:
    """Return the statements that make a value that a unit reads, if they are found.

    Parameters
    ----------
    unit : str
        Its name, ``module.qualname``.
    value : str
        By what name it reads the value, as `UnitChange.values` has it.

    Returns
    -------
    list of str
        Each after its file and line: ``"analysis.py:3: SCALE = 3"``.
    """
    unit = unit.partition(" (")[0]
    module = _module_of(unit)
    if module is None:
        return []
    qualname = unit[len(_name_of(module)) + 1 :]
    path = value.removeprefix("import ").lstrip(".").split(".")
    owner = _definition(module, qualname)
    if isinstance(owner, ast.ClassDef):
        inside = _binding(owner.body, path[0])
        if inside is not None:
            return _shown(module, inside)
        return _shown(module, owner) if value.startswith("base ") else []
    found = _follow(module, path)
    if found is None and "<locals>" in qualname:  # what made it was told the value
        names = _names_of(module, qualname)
        makers = [_follow(module, [name]) for name in names]
        return [text for maker in makers if maker for text in _shown(*maker)]
    return [] if found is None else _shown(*found)


def _module_of(unit: str) -> ModuleType | None:
    """Return the loaded module that a unit is in: the longest name that fits."""
    parts = unit.split(".")
    for length in range(len(parts), 0, -1):
        module = _loaded(".".join(parts[:length]))
        if module is not None:
            return module
    return None


def _loaded(name: str) -> ModuleType | None:
    if name not in sys.modules and name == main_name():
        name = "__main__"
    return sys.modules.get(name)


def _name_of(module: ModuleType) -> str:
    return main_name() if module.__name__ == "__main__" else module.__name__


def _follow(module: ModuleType, path: list[str]) -> tuple[ModuleType, ast.stmt] | None:
    """Follow a name through imports to the statement that makes what it stands for."""
    for _ in range(_MOST_IMPORTS):
        statement = _binding(_tree(module).body, path[0])
        found = vars(module).get(path[0])
        if isinstance(found, ModuleType) and len(path) > 1:
            module, path = found, path[1:]
        elif path[0] == module.__name__.partition(".")[0] and len(path) > 1:
            inner = _module_of(".".join(path))  # of an import in the body
            if inner is None or inner is module:
                return None
            path = ".".join(path)[len(inner.__name__) + 1 :].split(".")
            module = inner
        elif isinstance(statement, ast.ImportFrom):
            source = _source_of(module, statement)
            if source is None:
                return module, statement
            original = next(
                alias.name
                for alias in statement.names
                if path[0] in (alias.asname, alias.name)
            )
            module, path = source, [original, *path[1:]]
        elif statement is None:
            return None
        else:
            return module, statement
    return None


def _source_of(module: ModuleType, statement: ast.ImportFrom) -> ModuleType | None:
    name = statement.module or ""
    if statement.level:
        package = (module.__package__ or "").split(".")
        parents = package[: len(package) - statement.level + 1]
        name = ".".join([*parents, *filter(None, [name])])
    return sys.modules.get(name)


def _names_of(module: ModuleType, qualname: str) -> list[str]:
    """Return the names of the functions of a module that were made by one inside."""
    return [
        name
        for name, thing in vars(module).items()
        if _qualname(thing) == qualname and not name.startswith("__")
    ]


def _qualname(thing: Any) -> object:
    return getattr(getattr(thing, "__code__", None), "co_qualname", None)


def _definition(module: ModuleType, qualname: str) -> _Definition | None:
    """Return the class or function of a module that has the name."""
    body: list[ast.stmt] = _tree(module).body
    found: _Definition | None = None
    for name in qualname.split("."):
        wanted = [
            node for node in body if isinstance(node, _Definition) and node.name == name
        ]
        if not wanted:
            return None
        found = wanted[-1]
        body = found.body
    return found


def _binding(body: list[ast.stmt], name: str) -> ast.stmt | None:
    """Return the last statement that binds a name, outside of functions."""
    found = None
    for statement in _statements(body):
        if name in _bound(statement):
            found = statement
    return found


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if not isinstance(node, _Definition):
            inside = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
            yield from _statements(inside)


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, _Definition):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if not isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return set()
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    return {part.id for part in names if isinstance(part.ctx, ast.Store)}


def _shown(module: ModuleType, statement: ast.stmt) -> list[str]:
    """Write a statement after its place; of a class, the line that begins it.

    Functions are units, of which the lines that differ are shown.
    """
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    file = str(module.__file__)
    is_class = isinstance(statement, ast.ClassDef)
    last = statement.lineno if is_class else statement.end_lineno
    lines = linecache.getlines(file, vars(module))[statement.lineno - 1 : last]
    text = "".join(lines)[statement.col_offset :].rstrip()
    return [f"{Path(file).name}:{statement.lineno}: {text}"]


def _tree(module: ModuleType) -> ast.Module:
    file = getattr(module, "__file__", None)
    lines = linecache.getlines(file, vars(module)) if file else []
    return _parsed("".join(lines))


@functools.lru_cache(maxsize=32)
def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])
