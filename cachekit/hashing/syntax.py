"""The shallow digest of a piece of code: its syntax tree, without what cannot matter.

Comments, docstrings, positions, formatting and annotations are left out, and the rest
is written by us, so that it is the same on every Python. The source is believed only
if compiling it gives the code that is loaded: a file may have been edited since.
Without such a source, the bytecode counts, together with the version of Python.
"""

from __future__ import annotations

import ast
import functools
import linecache
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

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


def statement_that_makes(name: str, filename: str) -> list[object] | None:
    """Return the syntax of the statement at the top of a file that binds a name."""
    file = _parsed(filename, {})
    return file.bindings.get(name) if file is not None else None


_described: dict[int, tuple[types.CodeType, Shallow]] = {}
_MOST_DESCRIBED = 10_000


def _describe(code: types.CodeType, namespace: dict[str, Any]) -> Shallow:
    found = _find_source(code, namespace)
    if found is None:
        linecache.checkcache(code.co_filename)  # read before the last edit?
        found = _find_source(code, namespace)
    if found is None:
        python = str(sys.implementation.cache_tag)
        return Shallow(["bytecode", python, *_flatten(_behaviour(code))], None)
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
            if name == "body" and isinstance(content, list) and inside:
                content = [_without_annotation(statement) for statement in content]
            yield name
            yield from write_syntax(content, in_function=inside)
    else:
        # repr tells apart what pickle would write alike or not at all: 1j, ...
        yield from (type(node).__name__, repr(node))


def _fields_seen(node: ast.AST) -> dict[str, Any]:
    fields = {
        name: value
        for name, value in ast.iter_fields(node)
        if value not in (None, []) and name not in _UNSEEN
    }
    has_docstring = isinstance(
        node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    ) and (ast.get_docstring(node, clean=False) is not None)
    if has_docstring:
        fields["body"] = fields["body"][1:]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        fields.pop("returns", None)
    if isinstance(node, ast.arg):
        fields.pop("annotation", None)
    return fields


def _without_annotation(statement: ast.stmt) -> ast.stmt:
    """Inside a function ``x: int = 1`` is ``x = 1``, and ``x: int`` does nothing."""
    if not isinstance(statement, ast.AnnAssign):
        return statement
    if statement.value is None:
        return ast.Pass()
    return ast.Assign(targets=[statement.target], value=statement.value)


# --- finding the source -------------------------------------------------------


class _ParsedFile(NamedTuple):
    lines: list[str]
    codes: dict[str, list[types.CodeType]]  # by qualified name
    nodes: dict[int, list[_FunctionNode]]  # by first line, decorators included
    bindings: dict[str, list[object]]  # by name bound at the top


def _find_source(
    code: types.CodeType, namespace: dict[str, Any]
) -> tuple[_FunctionNode, str] | None:
    file = _parsed(code.co_filename, namespace)
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


def _parsed(filename: str, namespace: dict[str, Any]) -> _ParsedFile | None:
    text = "".join(linecache.getlines(filename, namespace))
    return _parse(filename, text) if text else None


@functools.lru_cache(maxsize=256)
def _parse(filename: str, text: str) -> _ParsedFile | None:
    try:
        tree = ast.parse(text)
        module = compile(text, filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):  # a notebook's magics, a file that is no Python
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
    return _ParsedFile(text.splitlines(keepends=True), codes, nodes, _bindings(tree))


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes_in(constant)


def _bindings(tree: ast.Module) -> dict[str, list[object]]:
    """Map each name bound outside of functions and classes to its last statement."""
    bound = {}
    waiting: list[ast.AST] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.With, ast.For)):
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    bound[part.id] = list(write_syntax(node))
        waiting.extend(
            child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)
        )
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
    if isinstance(value, frozenset):
        return ("frozenset", *sorted(map(repr, value)))
    return repr(value)


def _flatten(value: object) -> Iterator[object]:
    if isinstance(value, tuple):
        yield from ("tuple", len(value))
        for item in value:
            yield from _flatten(item)
    else:
        yield value
