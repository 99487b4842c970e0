"""Who may import whom: the table of the design, checked on the source."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import cachekit

ROOT = Path(cachekit.__file__).parent

# Room -> the rooms that it may import, besides itself and those on the ground.
MAY_IMPORT: dict[str, set[str]] = {
    "amounts": set(),
    "cores": set(),
    "lazy": set(),
    "nesting": set(),
    "logger": set(),
    "texts": set(),
    "errors": set(),
    "hashing": set(),
    "serialization": set(),
    "stores": set(),
    "memoization": {"hashing", "serialization", "stores"},
    "parallel": {"serialization"},
    "inspection": {"hashing", "serialization", "stores", "memoization"},
    "experiments": {"hashing", "stores", "memoization", "inspection"},
    "notebooks": {"hashing", "serialization", "memoization"},
    "pipelines": {"memoization", "parallel", "experiments"},
    "cli": {"inspection", "experiments", "stores", "pipelines"},
    "__main__": {"cli"},
}

# What a user asks a memory for, and the room above tells: imported when it is asked.
DOORS = {"memoization/memory.py": {"inspection"}}

# Who imports nothing of ours, and is imported by everybody.
GROUND = {"amounts", "cores", "errors", "lazy", "logger", "nesting", "texts"}

# The public names, imported lazily: it leads everywhere.
FACE = "__init__"

MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def room_of(module: str) -> str:
    """Name the room of a file: ``stores/local.py`` -> ``stores``."""
    return module.partition("/")[0].removesuffix(".py")


def syntax_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def imported_by(module: str) -> Iterator[str]:
    """Name all that a module imports of ours, anywhere in it: ``stores.local``."""
    for node in ast.walk(syntax_of(module)):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = [f"{node.module}.{name.name}" for name in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "cachekit" and rest != "__version__":
                yield rest


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__.py"])
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = room_of(module)
    allowed = MAY_IMPORT[room] | {room} | GROUND | DOORS.get(module, set())

    imported = {name.partition(".")[0] for name in imported_by(module)}

    assert imported <= allowed


@pytest.mark.parametrize("room", sorted(GROUND))
def test_what_everybody_imports_imports_nothing_of_ours(room: str) -> None:
    assert list(imported_by(f"{room}.py")) == []


def test_the_command_line_knows_the_pipelines_by_name_only() -> None:
    imported = imported_by("cli/__init__.py")
    known = {name for name in imported if name.startswith("pipelines")}

    assert known <= {"pipelines.PIPELINES"}


def test_the_table_of_pipelines_imports_none_of_them() -> None:
    assert list(imported_by("pipelines/__init__.py")) == []


def test_the_face_of_the_library_imports_nothing_when_it_is_imported() -> None:
    at_import = [
        node
        for node in syntax_of("__init__.py").body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]

    imported = [ast.unparse(node) for node in at_import]
    assert imported == [
        "from __future__ import annotations",
        "from typing import TYPE_CHECKING",
        "from cachekit import lazy",
    ]


def test_every_room_has_its_line_in_the_table() -> None:
    assert {room_of(module) for module in MODULES} - {FACE} <= set(MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for(module: str) -> None:
    text = ast.get_docstring(syntax_of(module))

    assert text
    assert text.splitlines()[0].endswith((".", "!"))


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    names = {part for module in MODULES for part in Path(module).with_suffix("").parts}

    assert names.isdisjoint({"utils", "util", "common", "helpers", "misc"})


def test_nothing_but_modules_is_shipped() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "."], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [
        name
        for name in tracked.stdout.splitlines()
        if not name.endswith(".py") and name != "py.typed"
    ] == []
