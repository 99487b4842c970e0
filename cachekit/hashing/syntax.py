"""The shallow digest of a piece of code: its syntax tree, without what cannot matter.

Comments, docstrings, positions, formatting and annotations are left out, and the rest
is written by us, so that it is the same on every Python. The source is believed only
if compiling it gives the code that is loaded: a file may have been edited since.
Without such a source, the bytecode counts, together with the version of Python.
"""

from __future__ import annotations
import __future__

import ast
import functools
import linecache
import os
import sys
import textwrap
import threading
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FUTURE = functools.reduce(
    int.__or__,
    (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names),
)

# Fields that a call cannot see, whatever the node.
_UNSEEN = {"type_comment", "kind", "type_ignores"}


class Shallow(NamedTuple):
    """A piece of code by itself, without what it calls.

    Attributes
    ----------
    content : list
        Atoms to be hashed: the syntax tree, or the bytecode.
    source : str or None
        Its source, if that is known.
    """

    content: list[object]
    source: str | None


def shallow(code: types.CodeType, namespace: dict[str, Any]) -> Shallow:
    """Describe the code of a function.

    Parameters
    ----------
    code : code
        As it is loaded.
    namespace : dict
        The function's globals, whose loader may know the source.
    """
    known = _described.get(id(code))
    if known is None:
        if len(_described) >= _MOST_DESCRIBED:
            _described.clear()
        # The code is kept with its description, so that its id stays its own.
        known = _described[id(code)] = (code, _describe(code, namespace))
    return known[1]


class Making(NamedTuple):
    """The statement that binds a name at the top of a module or of a class.

    Attributes
    ----------
    content : list
        Its syntax, as atoms.
    names : list of str
        The names that it reads.
    origin : (int, str, str) or None
        For ``from ..module import name``: level, module and name.
    """

    content: list[object]
    names: list[str]
    origin: tuple[int, str, str] | None


def statement_that_makes(name: str, filename: str) -> Making | None:
    """Return the last statement in a file that binds ``name`` or ``Class.name``."""
    file = _parsed(filename, {})
    return file.bindings.get(name) if file is not None else None


_described: dict[int, tuple[types.CodeType, Shallow]] = {}
_MOST_DESCRIBED = 10_000


def _describe(code: types.CodeType, namespace: dict[str, Any]) -> Shallow:
    try:
        return _describe_syntax(code, namespace)
    except RecursionError:  # a sum of a thousand terms
        return _describe_bytecode(code)


def _describe_bytecode(code: types.CodeType) -> Shallow:
    python = str(sys.implementation.cache_tag)
    return Shallow(["bytecode", python, *_flatten(_behaviour(code))], None)


def _describe_syntax(code: types.CodeType, namespace: dict[str, Any]) -> Shallow:
    found = _find_source(code, namespace)
    if found is None:
        linecache.checkcache(code.co_filename)  # read before the last edit?
        found = _find_source(code, namespace)
    if found is None:
        return _describe_bytecode(code)
    node, source = found
    return Shallow(["syntax", *write_syntax(node)], source)


def write_syntax(node: object, *, in_function: bool = True) -> Iterator[object]:
    """Write a syntax tree as atoms, each node with the number of parts that follow.

    Empty fields are not written, so that a field which a later Python adds changes
    nothing where it is not used.
    """
    if isinstance(node, list):
        yield from ("list", len(node))
        for item in node:
            yield from write_syntax(item, in_function=in_function)
    elif isinstance(node, ast.AST):
        inside = not isinstance(node, ast.ClassDef) and (
            in_function or isinstance(node, _FunctionNode)
        )
        fields = _fields_seen(node)
        yield from (type(node).__name__, len(fields))
        for name in sorted(fields):
            content = fields[name]
            if isinstance(content, list) and inside:
                content = [_without_annotation(item) for item in content]
            yield name
            yield from write_syntax(content, in_function=inside)
    else:
        # Text tells apart what pickle would write alike or not at all: 1j, ...; in
        # ASCII, since a later Python knows more letters; a long int only in hex.
        text = hex(node) if type(node) is int else ascii(node)
        yield from (type(node).__name__, text)


def _fields_seen(node: ast.AST) -> dict[str, Any]:
    fields = {
        name: value
        for name, value in ast.iter_fields(node)
        if value not in (None, []) and name not in _UNSEEN
    }
    if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty texts
        fields["values"] = [
            part for part in node.values if getattr(part, "value", None) != ""
        ]
    has_docstring = isinstance(
        node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    ) and (ast.get_docstring(node, clean=False) is not None)
    if has_docstring:
        fields["body"] = fields["body"][1:]
    # A decorator sees annotations: `register` of `functools.singledispatch` does.
    is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    if is_function and not fields.get("decorator_list"):
        fields.pop("returns", None)
        fields["args"] = _unannotated(fields["args"])
    return fields


def _unannotated(arguments: ast.arguments) -> ast.arguments:
    fields = dict(ast.iter_fields(arguments))
    for name, value in fields.items():
        if isinstance(value, ast.arg):
            fields[name] = ast.arg(arg=value.arg)
        elif isinstance(value, list):
            fields[name] = [
                ast.arg(arg=item.arg) if isinstance(item, ast.arg) else item
                for item in value
            ]
    return ast.arguments(**fields)


def _without_annotation(item: object) -> object:
    """Inside a function ``x: int = 1`` is ``x = 1``, and ``x: int`` does nothing."""
    if not isinstance(item, ast.AnnAssign):
        return item
    if item.value is None:
        return ast.Pass()
    return ast.Assign(targets=[item.target], value=item.value)


# --- finding the source -------------------------------------------------------


class _ParsedFile(NamedTuple):
    lines: list[str]
    codes: dict[str, list[types.CodeType]]  # by qualified name
    nodes: dict[int, list[_FunctionNode]]  # by first line, decorators included
    bindings: dict[str, Making]  # by name bound at the top


def _find_source(
    code: types.CodeType, namespace: dict[str, Any]
) -> tuple[_FunctionNode, str] | None:
    # What a notebook has imported from the future holds for all of its cells.
    future = code.co_flags & _FUTURE
    return _find_compiled(code, namespace, future, by_cells=False) or _find_compiled(
        code, namespace, future, by_cells=True
    )


def _find_compiled(
    code: types.CodeType, namespace: dict[str, Any], future: int, *, by_cells: bool
) -> tuple[_FunctionNode, str] | None:
    file = _parsed(code.co_filename, namespace, future, by_cells=by_cells)
    if file is None:
        return None
    wanted = _behaviour(code)
    # Nearest first: of equal functions in one file, any is as good a source.
    candidates = sorted(
        file.codes.get(code.co_qualname, []),
        key=lambda other: abs(other.co_firstlineno - code.co_firstlineno),
    )
    for candidate in candidates:
        if _behaviour(candidate) == wanted:
            node = _node_of(candidate, file)
            if node is not None:
                lines = file.lines[candidate.co_firstlineno - 1 : node.end_lineno]
                return _undecorated(node), textwrap.dedent("".join(lines))
    return None


def _parsed(
    filename: str, namespace: dict[str, Any], future: int = 0, *, by_cells: bool = False
) -> _ParsedFile | None:
    # The lines are the same list until `linecache` reads the file again.
    lines = linecache.getlines(filename, namespace)
    known = _files.get((filename, future, by_cells))
    if known is None or known[0] is not lines:
        parsed = _parse(filename, "".join(lines), future, by_cells) if lines else None
        if len(_files) >= _MOST_FILES:
            _files.clear()
        known = _files[filename, future, by_cells] = (lines, parsed)
    return known[1]


_files: dict[tuple[str, int, bool], tuple[list[str], _ParsedFile | None]] = {}
_MOST_FILES = 1000


def _parse(filename: str, text: str, future: int, by_cells: bool) -> _ParsedFile | None:
    try:
        tree = _tree_of(text)
        code: Any = _WithoutImports().visit(_tree_of(text)) if by_cells else text
        module = compile(code, filename, "exec", flags=future, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # A notebook's magics, a file that is no Python, an expression without end.
        return None
    codes: dict[str, list[types.CodeType]] = {}
    for code in _codes_in(module):
        codes.setdefault(code.co_qualname, []).append(code)
    nodes: dict[int, list[_FunctionNode]] = {}
    for node in ast.walk(tree):
        if isinstance(node, _FunctionNode):
            decorators = getattr(node, "decorator_list", [])
            line = min([node.lineno, *(item.lineno for item in decorators)])
            nodes.setdefault(line, []).append(node)
    # Where Python ends a line; `splitlines` would at a form feed too.
    lines = [line + "\n" for line in text.split("\n")]
    return _ParsedFile(lines, codes, nodes, _bindings(tree))


def _tree_of(text: str) -> ast.Module:
    """Parse in one thread at a time.

    Before 3.11.8 and 3.12.2, Python counts the depth of all trees that are made at once
    as that of one, and raises SystemError (https://github.com/python/cpython/issues/106905).
    """
    with _parsing:
        for _ in range(_MOST_ATTEMPTS):
            try:
                return ast.parse(text)
            except SystemError:  # somebody else has parsed meanwhile
                continue
        return ast.parse(text)


_parsing = threading.RLock()  # what is collected meanwhile may parse too
_MOST_ATTEMPTS = 10


def _begin_in_child() -> None:
    global _parsing
    _parsing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


class _WithoutImports(ast.NodeTransformer):
    """Leaves out what a module imports, but for the future.

    Python calls ``np.ones`` by other bytecode if the same piece of source imports `np`.
    Who runs a script cell by cell compiles each by itself, and most import nothing.
    """

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            return node
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            is_future = getattr(node, "module", None) == "__future__"
            return node if is_future else ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes_in(constant)


def _bindings(tree: ast.Module) -> dict[str, Making]:
    """Map each name bound outside of functions to the last statement that does it."""
    bound: dict[str, Making] = {}
    waiting: list[tuple[str, ast.AST]] = [("", node) for node in reversed(tree.body)]
    while waiting:
        prefix, node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.ClassDef):
            prefix += f"{node.name}."
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                origin = (node.level, node.module or "", alias.name)
                name = alias.asname or alias.name
                bound[prefix + name] = Making(list(write_syntax(node)), [], origin)
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.With, ast.For)):
            names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
            read = sorted({n.id for n in names if isinstance(n.ctx, ast.Load)})
            making = Making(list(write_syntax(node)), read, None)
            for part in names:
                if isinstance(part.ctx, ast.Store):
                    bound[prefix + part.id] = making
        inside = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
        waiting.extend((prefix, child) for child in inside)
    return bound


def _node_of(code: types.CodeType, file: _ParsedFile) -> _FunctionNode | None:
    name = code.co_name
    found = [
        node
        for node in file.nodes.get(code.co_firstlineno, [])
        if getattr(node, "name", "<lambda>") == name
    ]
    if len(found) > 1:  # lambdas on one line: the one whose body the code was made of
        ranges = set(code.co_positions())
        found = [
            node
            for node in found
            if isinstance(node, ast.Lambda)
            and (
                node.body.lineno,
                node.body.end_lineno,
                node.body.col_offset,
                node.body.end_col_offset,
            )
            in ranges
        ]
    return found[0] if len(found) == 1 else None


def _undecorated(node: _FunctionNode) -> _FunctionNode:
    """Drop the decorators: what they made is found in the object that they made."""
    if isinstance(node, ast.Lambda) or not node.decorator_list:
        return node
    plain = type(node)(**dict(ast.iter_fields(node)))
    plain.decorator_list = []
    return plain


def _behaviour(code: types.CodeType) -> tuple[object, ...]:
    """Everything of a code object that decides what it does; positions are not."""
    return (
        code.co_code,
        tuple(map(_constant, code.co_consts)),
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        code.co_flags,
        code.co_exceptiontable,
    )


def _constant(value: object) -> object:
    if isinstance(value, types.CodeType):
        return _behaviour(value)
    if isinstance(value, tuple):
        return ("constants", *map(_constant, value))
    if isinstance(value, frozenset):
        return ("frozenset", *sorted(map(repr, map(_constant, value))))
    return hex(value) if type(value) is int else repr(value)


def _flatten(value: object) -> Iterator[object]:
    if isinstance(value, tuple):
        yield from ("tuple", len(value))
        for item in value:
            yield from _flatten(item)
    else:
        yield value
