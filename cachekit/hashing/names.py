"""The global names that a function reads, found in its bytecode.

``helpers.clean(x) + SCALE`` reads the paths ``("helpers", "clean")`` and
``("SCALE",)``. The bytecode is that of the function which will run, needs no
source, and names the same things on every Python.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from typing import NamedTuple

Path = tuple[str, ...]


class Import(NamedTuple):
    """Something imported inside a function's body.

    ``from ..helpers import clean`` is level 2, module ``helpers``, path ``("clean",)``.
    """

    level: int
    module: str
    path: Path


class Reads(NamedTuple):
    """What a function reads from outside of itself, sorted."""

    paths: list[Path]
    imports: list[Import]


# Instructions between a name and its attributes that change nothing for us.
_SILENT = {"CACHE", "COPY_FREE_VARS", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL"}
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_FREE = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}

# Of a relative import: ``from .... import name`` has four.
_MOST_DOTS = 256


def names_read(code: types.CodeType) -> Reads:
    """Return the paths and imports that some code, and code nested in it, reads."""
    free = set(code.co_freevars)
    # Python 3.11 does not load __class__ for super(), later ones do.
    paths: set[Path] = {("__class__",)} if "__class__" in free else set()
    imports: set[Import] = set()
    _scan(code, free, {}, paths, imports)
    return Reads(sorted(paths), sorted(imports))


def names_in_annotation(annotation: str) -> list[Path]:
    """Return the paths that an annotation in text reads; none if it is no code."""
    try:
        return names_read(compile(annotation, "<annotation>", "eval")).paths
    except (SyntaxError, ValueError):
        return []


def names_bound_again(code: types.CodeType) -> set[str]:
    """Return the names of its closure that a function binds again: its state."""
    steps = dis.get_instructions(code)
    return {str(step.argval) for step in steps if step.opname == "STORE_DEREF"}


def _scan(
    code: types.CodeType,
    free: set[str],
    imported: dict[str, Import],
    paths: set[Path],
    imports: set[Import],
) -> None:
    instructions = [
        instruction
        for instruction in dis.get_instructions(_without_numbers(code))
        if instruction.opname not in _SILENT
    ]
    imported = imported | dict(_imports_in(instructions))
    imports.update(found for found in imported.values() if found.path)
    held = {*code.co_cellvars, *code.co_freevars}
    asks_getattr = False
    for place, instruction in enumerate(instructions):
        for base, is_last in _names_loaded(instruction, free, imported, held):
            path: Path = (base,)
            if is_last:
                path += tuple(_attributes_after(instructions, place + 1))
            if asks_getattr:  # getattr(helpers, "clean") reads helpers.clean
                path += _constant_name_at(instructions, place + len(path))
            asks_getattr = path == ("getattr",)
            if base in imported:
                known = imported[base]
                imports.add(known._replace(path=known.path + path[1:]))
            else:
                paths.add(path)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _scan(constant, free, imported, paths, imports)


def _without_numbers(code: types.CodeType) -> types.CodeType:
    """Drop constants that say nothing here; `dis` fails at very long numbers."""
    kept = (item if _matters(item) else None for item in code.co_consts)
    return code.replace(co_consts=tuple(kept))


def _matters(constant: object) -> bool:
    """Tell whether a constant may be a name, code, or belong to an import."""
    if isinstance(constant, tuple):
        return set(map(type, constant)) <= {str}
    if isinstance(constant, int):
        return 0 <= constant < _MOST_DOTS
    return isinstance(constant, (str, types.CodeType))


def _names_loaded(
    instruction: dis.Instruction,
    free: set[str],
    imported: dict[str, Import],
    held: set[str],
) -> Iterator[tuple[str, bool]]:
    """Yield the names from outside that an instruction loads.

    Python 3.13 may load two locals at once; attributes that follow are the last's.
    """
    kind, name = instruction.opname, instruction.argval
    if kind in _GLOBAL or (kind in _FREE and (name in free or name in imported)):
        yield str(name), True
    elif "LOAD_FAST" in kind:
        names = name if isinstance(name, tuple) else (name,)
        if kind.startswith("STORE"):
            names = names[1:]
        for local in names:
            # One in `held` is a cell on its way into a nested function, not a value.
            if local in imported and local not in held:
                yield local, local == names[-1]


def _attributes_after(instructions: list[dis.Instruction], place: int) -> Iterator[str]:
    while place < len(instructions) and instructions[place].opname in _ATTRIBUTE:
        yield instructions[place].argval
        place += 1


def _constant_name_at(instructions: list[dis.Instruction], place: int) -> Path:
    if place < len(instructions):
        value = instructions[place].argval
        if instructions[place].opname == "LOAD_CONST" and isinstance(value, str):
            return (value,)
    return ()


def _imports_in(
    instructions: list[dis.Instruction],
) -> Iterator[tuple[str, Import]]:
    """Yield the local names that imports bind, with what each stands for.

    The bytecode of ``from m import a as b`` is: level, ("a",), IMPORT_NAME m,
    IMPORT_FROM a, STORE b, POP_TOP; of ``import m.n`` it is: 0, None, IMPORT_NAME m.n,
    STORE m; and of ``import m.n as b``: 0, None, IMPORT_NAME m.n, IMPORT_FROM n, …,
    STORE b.
    """
    for place, instruction in enumerate(instructions):
        if instruction.opname != "IMPORT_NAME":
            continue
        level, wanted = (instructions[place - 2].argval, instructions[place - 1].argval)
        module = instruction.argval
        rest = instructions[place + 1 :]
        if wanted is not None:
            for source, target in zip(rest[::2], rest[1::2], strict=False):
                if source.opname != "IMPORT_FROM":
                    break
                yield target.argval, Import(level, module, (source.argval,))
        elif rest[0].opname == "IMPORT_FROM":
            stored = next(i for i in rest if i.opname.startswith("STORE_"))
            yield stored.argval, Import(level, module, ())
        else:
            # `import m.n` binds m; that n is there then is part of what it does.
            top, _, below = module.partition(".")
            stored = rest[0].argval
            name = stored[0] if isinstance(stored, tuple) else stored
            yield name, Import(level, top, ())
            if below:
                yield f"{name}.{below}", Import(level, module, ("__name__",))
