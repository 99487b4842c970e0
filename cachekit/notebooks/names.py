"""Which names of the notebook a cell reads, and which it binds.

Where a name may or may not be read, it counts as read: one too many costs a run of the
cell, one too few an answer that is wrong. So only what is bound in a straight line
above is taken as bound, and for all else the bytecode is asked which names it has.
"""

from __future__ import annotations

import ast
import dis
import gc
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cachekit.hashing.names import Import, Path, names_read

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Import = ast.Import | ast.ImportFrom

# Calls of these see names that do not stand in the code.
_SEEING_ALL = {"dir", "eval", "exec", "globals", "locals", "vars"}

# Methods with texts in which names of the notebook stand: ``df.query("a > @limit")``.
_READING_TEXTS = {"eval", "query", "sql"}

# Any other `with` may swallow an error, and leave what its block binds unbound.
_LETTING_ERRORS_PASS = {"catch_warnings", "errstate", "no_grad", "open"}


class Names(NamedTuple):
    """What a cell does to the names of the notebook.

    Attributes
    ----------
    paths : set of tuple of str
        What it may read from before: ``("helpers", "clean")``, ``("x",)``.
    imports : list of Import
        What it imports.
    defined, computed : set of str
        Bound by a ``def``, ``class`` or ``import`` at its top; by all else, perhaps.
    certain : set of str
        Bound whichever way it takes.
    changed : set of str
        What it sets an attribute or item of, at any depth.
    problem : str
        Why these cannot be relied on, or nothing.
    """

    paths: set[Path]
    imports: list[Import]
    defined: set[str]
    computed: set[str]
    certain: set[str]
    changed: set[str]
    problem: str

    @property
    def reads(self) -> set[str]:
        """The names that it may read from before."""
        return {path[0] for path in self.paths}


def names_of(tree: ast.Module) -> Names:
    """Find the names that a cell reads and binds."""
    try:
        return _names_of(tree)
    except RecursionError:
        nothing: set[Any] = set()
        why = "its code is nested too deeply"
        return Names(nothing, [], nothing, nothing, nothing, nothing, why)


def _names_of(tree: ast.Module) -> Names:
    code = _compiled(*tree.body)
    follower = _Follower()
    certain = follower.follow(tree.body, set())
    # What a name that is deleted has in the end hangs on whether it was there before.
    paths = follower.paths | {(name,) for name in _names_at(code, "DELETE")}
    paths |= {(word,) for word in _words_in_queries(tree)}
    defined = {name for node in definitions_in(tree) for name in _names_defined(node)}
    rest = [node for node in tree.body if not _names_defined(node)]
    computed = _globals_bound(code) | _names_at(_compiled(*rest), "STORE", "DELETE")
    return Names(
        {path for path in paths if not is_pythons(path[0])},
        names_read(code).imports,
        defined,
        computed,
        certain,
        changed={_root_of(node) for node in ast.walk(tree) if _is_part_set(node)},
        problem=_why_unclear(tree, defined, computed),
    )


def is_pythons(name: str) -> bool:
    """Tell names that Python binds itself: ``__annotations__``, ``__doc__``."""
    return name.startswith("__") and name.endswith("__")


def definitions_in(tree: ast.Module) -> list[ast.stmt]:
    """Return the statements of a cell that are to be run again on a hit."""
    return [node for node in tree.body if _names_defined(node)]


def names_held_by_functions(space: Mapping[str, object]) -> tuple[set[str], set[str]]:
    """Return the names in functions of the notebook, and those they bind as globals."""
    holders = gc.get_referrers(space)  # of classes and lists too, wherever they are
    codes = [each.__code__ for each in holders if isinstance(each, types.FunctionType)]
    inside = [inner for code in codes for inner in _codes_in(code)]
    mentioned = {name for code in inside for name in code.co_names}
    return mentioned, set().union(*map(_globals_bound, codes))


def _globals_bound(code: types.CodeType) -> set[str]:
    steps = ("STORE_GLOBAL", "DELETE_GLOBAL")
    return {name for inner in _codes_in(code) for name in _names_at(inner, *steps)}


def _names_at(code: types.CodeType, *steps: str) -> set[str]:
    """Return the names in instructions of some kinds, in this very code."""
    bare = code.replace(co_consts=(None,) * len(code.co_consts))  # see `hashing.names`
    return {
        str(step.argval)
        for step in dis.get_instructions(bare)
        if step.opname.startswith(steps) and step.opname.endswith(("_NAME", "_GLOBAL"))
    }


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _codes_in(part)


def _compiled(*nodes: ast.AST) -> types.CodeType:
    """Compile some statements and expressions of a cell by themselves."""
    body: list[Any] = [
        ast.Expr(node) if isinstance(node, ast.expr) else node
        for node in nodes
        if getattr(node, "module", "") != "__future__"
    ]
    # In a loop, where `break` may stand.
    loop = ast.While(ast.Constant(True), [*body, ast.Pass()], [])
    tree = ast.fix_missing_locations(ast.Module([loop], []))
    return compile(tree, "<cell>", "exec", dont_inherit=True)


def _loads(node: ast.AST) -> set[Path]:
    return set(names_read(_compiled(node)).paths)


# --- what is bound when a name is read ---


class _Follower:
    """Goes through statements in order, with the names that are bound for sure."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()

    def follow(self, body: list[ast.stmt], bound: set[str]) -> set[str]:
        """Note what some statements read; return what is bound at their end."""
        for node in body:
            if defined := _names_defined(node):
                is_called_later = not defined & _needs(node)
                self._note(_loads(node), bound | defined if is_called_later else bound)
                bound = bound | defined
            elif hasattr(node, "body") or isinstance(node, ast.Match):
                bound = self._follow_blocks(node, bound)
            else:
                self._note(_loads(node), bound)
                bound = bound | _names_assigned(node)
        return bound

    def _note(self, paths: set[Path], bound: set[str]) -> None:
        self.paths |= {path for path in paths if path[0] not in bound}

    def _follow_blocks(self, node: ast.AST, bound: set[str]) -> set[str]:
        """Follow each block of a statement as if it might be left out."""
        items = getattr(node, "items", [])
        targets = [getattr(node, "target", None), *(i.optional_vars for i in items)]
        inside = bound.union(*map(_targets_in, targets))
        in_items = [part for item in items for part in ast.iter_child_nodes(item)]
        for part in (*ast.iter_child_nodes(node), *in_items):
            if isinstance(part, (ast.excepthandler, ast.match_case)):
                self._follow_blocks(part, bound)
            elif isinstance(part, ast.expr) and part not in targets:
                self._note(_loads(part), bound)
            elif not isinstance(part, (ast.stmt, ast.withitem)):  # or a pattern
                self._note({(name,) for name in _names_in(part)}, inside)
        end = self.follow(getattr(node, "body", []), inside)
        other = self.follow(getattr(node, "orelse", []), bound)
        self.follow(getattr(node, "finalbody", []), bound)
        if isinstance(node, ast.With) and all(map(_lets_errors_pass, items)):
            return end
        return end & other if isinstance(node, ast.If) else bound


def _targets_in(node: ast.AST | None) -> set[str]:
    """Return the names in a target: not those that it is an item or attribute of."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, (ast.Tuple, ast.List, ast.Starred)):
        return set().union(*map(_targets_in, ast.iter_child_nodes(node)))
    return set()


def _names_assigned(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Assign):
        return set().union(*map(_targets_in, node.targets))
    has_value = getattr(node, "value", None) is not None
    return _targets_in(getattr(node, "target", None)) if has_value else set()


def _names_defined(node: ast.stmt) -> set[str]:
    if isinstance(node, _Function | ast.ClassDef):
        return {node.name}
    if isinstance(node, _Import):
        return {each.asname or each.name.partition(".")[0] for each in node.names}
    return set()


def _names_in(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _lets_errors_pass(item: ast.withitem) -> bool:
    function = getattr(item.context_expr, "func", None)
    name = getattr(function, "attr", getattr(function, "id", ""))
    return name in _LETTING_ERRORS_PASS


def _words_in_queries(tree: ast.Module) -> set[str]:
    nodes = list(ast.walk(tree))
    if not any(getattr(node, "attr", "") in _READING_TEXTS for node in nodes):
        return set()
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return {word for text in texts for word in re.findall(r"[^\W\d]\w*", str(text))}


def _is_part_set(node: ast.AST) -> bool:
    is_part = isinstance(node, (ast.Attribute, ast.Subscript))
    return is_part and not isinstance(getattr(node, "ctx", None), ast.Load)


def _root_of(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return getattr(node, "id", "")


# --- definitions: run again on a hit, before what was computed is bound ---


def _needs(node: ast.stmt) -> set[str]:
    """Return the names that a definition reads when it is run, not when it is called.

    A decorator, a metaclass or `__init_subclass__` may call what is defined.
    """
    if isinstance(node, _Function) and not node.decorator_list:
        return _names_in(node.args) | (
            _names_in(node.returns) if node.returns else set()
        )
    return {path[0] for path in _loads(node)}


def _why_unclear(tree: ast.Module, defined: set[str], computed: set[str]) -> str:
    """Say why what a cell does cannot be seen from its code."""
    for name in sorted(_SEEING_ALL & _names_in(tree)):
        return f"it calls {name}(), and so may read any name"
    if any(getattr(node, "name", "") == "*" for node in ast.walk(tree)):
        return "it imports *, which may bind any name: import the names"
    for name in sorted(defined & computed):
        return f"it binds {name} twice, once by a def, class or import"
    for node in ast.walk(tree):
        if _is_part_set(node) and _root_of(node) in defined:
            return f"it changes {_root_of(node)}, which it defines or imports itself"
    definitions = definitions_in(tree)
    needed: set[str] = set().union(*map(_needs, definitions))
    while called := [n for n in definitions if _names_defined(n) & needed]:
        definitions = [node for node in definitions if node not in called]
        needed |= {path[0] for node in called for path in _loads(node)}
    for name in sorted(needed & computed):
        return f"a definition in it needs {name} at once: compute that in a cell above"
    return ""
