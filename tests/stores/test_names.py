"""Folder names: safe everywhere, bounded, and different for different functions."""

from __future__ import annotations

import doctest
import itertools
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cachekit.stores import EntryKey, base
from cachekit.stores.base import LONGEST_NAME, folder_name
from tests.stores.contract import ODD_NAMES

names = st.text(max_size=200) | st.text("ab._-</>", max_size=150)


@settings(deadline=None)
@given(names)
@example("")
@example(".")
@example("..")
@example("x" * LONGEST_NAME)
@example("x" * (LONGEST_NAME + 1))
@example("." + "x" * LONGEST_NAME)
def test_a_folder_name_is_safe_and_bounded(function: str) -> None:
    name = folder_name(function)

    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name)
    assert len(name) <= LONGEST_NAME


@settings(deadline=None)
@given(names)
@example("")
def test_a_folder_name_stands_for_itself(function: str) -> None:
    name = folder_name(function)

    assert folder_name(name) == name


@pytest.mark.parametrize("function", ["f", "analysis.fit", "a_b.C.d2", "x" * 120])
def test_a_safe_name_stays_as_it_is(function: str) -> None:
    assert folder_name(function) == function


def test_names_of_odd_characters_differ() -> None:
    functions = ["".join(parts) for parts in itertools.product("a_</.é", repeat=4)]

    folders = {folder_name(function) for function in functions}

    assert len(folders) == len(functions)


@settings(deadline=None)
@given(st.text("a</", min_size=1, max_size=30), st.integers(1, 9), st.integers(1, 9))
def test_long_names_that_end_differently_differ(text: str, one: int, two: int) -> None:
    start = "module." * 30 + text

    same = folder_name(f"{start}{one}") == folder_name(f"{start}{two}")

    assert same is (one == two)


@pytest.mark.parametrize("function", ODD_NAMES, ids=lambda name: repr(name)[:20])
def test_a_path_has_four_safe_parts(function: str) -> None:
    key = EntryKey(function, "0f" * 16, "ab" + "cd" * 15)

    assert key.path == f"{folder_name(function)}/{'0f' * 16}/ab/{'cd' * 15}"
    assert key.path.count("/") == 3


def test_the_folder_of_a_nested_function_never_changes() -> None:
    folder = "analysis.make._locals_.fit-39456dd9"

    assert folder_name("analysis.make.<locals>.fit") == folder


def test_the_examples_in_the_docstring_are_true() -> None:
    assert doctest.testmod(base).failed == 0
