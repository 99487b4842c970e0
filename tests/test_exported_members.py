"""The public names: listed once each, found, documented."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import cachekit

PACKAGES = ["hashing", "memoization", "parallel", "serialization", "stores"]


def test_the_names_listed_are_those_that_can_be_imported() -> None:
    assert sorted(cachekit.__all__) == dir(cachekit)
    assert {*cachekit._HOME, "__version__"} == set(cachekit.__all__)


def test_the_names_for_type_checkers_are_the_same() -> None:
    tree = ast.parse(Path(cachekit.__file__).read_text(encoding="utf-8"))
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

    assert declared == cachekit._HOME


def test_the_list_of_names_is_sorted_and_without_doubles() -> None:
    names = [name for name in cachekit.__all__ if name != "__version__"]

    assert names == sorted(set(names), key=lambda name: (name.islower(), name))


@pytest.mark.parametrize("name", cachekit.__all__)
def test_a_public_name_is_found_and_documented(name: str) -> None:
    thing = getattr(cachekit, name)

    assert name == "__version__" or inspect.getdoc(thing)


def test_a_public_name_is_the_one_of_its_home() -> None:
    for name, home in cachekit._HOME.items():
        assert getattr(cachekit, name) is getattr(import_module(home), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'cachekit' has no attribute 'nosuch'"):
        cachekit.nosuch  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_the_names_of_a_package_are_found_and_documented(package: str) -> None:
    module = import_module(f"cachekit.{package}")

    for name in module.__all__:
        thing = getattr(module, name)
        assert not callable(thing) or inspect.getdoc(thing), name


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
