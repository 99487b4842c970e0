"""The public names: listed once each, found, documented."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import cachekit
from cachekit import inspection, memoization

# Packages whose names are imported when they are first asked for.
LAZY = pytest.mark.parametrize("package", [cachekit, inspection, memoization])

PACKAGES = [
    "experiments",
    "hashing",
    "inspection",
    "memoization",
    "parallel",
    "serialization",
    "stores",
]


@LAZY
def test_the_names_listed_are_those_that_can_be_imported(package: Any) -> None:
    assert sorted(package.__all__) == dir(package)
    assert {*package._HOME} == set(package.__all__) - {"__version__"}


@LAZY
def test_the_names_for_type_checkers_are_the_same(package: Any) -> None:
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )

    declared = {
        name.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }

    assert declared == package._HOME


def test_the_list_of_names_is_sorted_and_without_doubles() -> None:
    names = [name for name in cachekit.__all__ if name != "__version__"]

    assert names == sorted(set(names), key=lambda name: (name.islower(), name))


@pytest.mark.parametrize("name", cachekit.__all__)
def test_a_public_name_is_found_and_documented(name: str) -> None:
    thing = getattr(cachekit, name)

    assert name == "__version__" or inspect.getdoc(thing)


@LAZY
def test_a_public_name_is_the_one_of_its_home(package: Any) -> None:
    for name, home in package._HOME.items():
        assert getattr(package, name) is getattr(import_module(home), name)
        # A module of that name would take its place when it is imported.
        assert not Path(package.__file__).with_name(f"{name}.py").exists()


@LAZY
def test_an_unknown_name_is_an_attribute_error(package: Any) -> None:
    with pytest.raises(AttributeError, match=r"' has no attribute 'nosuch'"):
        _ = package.nosuch


@pytest.mark.parametrize("package", PACKAGES)
def test_the_names_of_a_package_are_found_and_documented(package: str) -> None:
    module = import_module(f"cachekit.{package}")

    for name in module.__all__:
        thing = getattr(module, name)
        is_to_be_read = inspect.isclass(thing) or inspect.isroutine(thing)
        assert not is_to_be_read or inspect.getdoc(thing), name


@pytest.mark.parametrize("name", [n for n in cachekit.__all__ if n != "__version__"])
def test_the_public_methods_of_a_public_class_are_documented(name: str) -> None:
    thing = getattr(cachekit, name)
    if not inspect.isclass(thing):
        return

    for member, value in vars(thing).items():
        if not member.startswith("_") and (
            callable(value) or isinstance(value, property)
        ):
            assert inspect.getdoc(value), f"{name}.{member}"
