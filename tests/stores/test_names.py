"""Folder names: safe everywhere, bounded, and different for different functions."""

from __future__ import annotations

import doctest
import itertools
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cachekit.stores import EntryKey, base
from cachekit.stores.names import LONGEST_NAME, folder_name
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

    assert re.fullmatch(r"[A-Za-z0-9_-]([A-Za-z0-9._-]*[A-Za-z0-9_-])?", name)
    assert len(name) <= LONGEST_NAME


@settings(deadline=None)
@given(names)
@example("")
def test_a_folder_name_stands_for_itself(function: str) -> None:
    name = folder_name(function)

    assert folder_name(name) == name


@pytest.mark.parametrize("function", ["f", "analysis.fit", "a_b.c.d2", "x" * 120])
def test_a_safe_name_stays_as_it_is(function: str) -> None:
    assert folder_name(function) == function


# Names of functions that there can be, and others like them.
python_names = st.text("aBb_.<>é", max_size=12)


@settings(deadline=None)
@given(python_names, python_names)
@example("Fit", "fit")
@example("analysis.Model.fit", "analysis.model.fit")
@example("ß", "SS")
def test_different_functions_have_folders_that_differ_in_more_than_case(
    one: str, other: str
) -> None:
    same = folder_name(one).lower() == folder_name(other).lower()

    assert same is (one == other)


@pytest.mark.parametrize("function", ["analysis.Model.fit", "F", "X" * 120, "größe"])
def test_a_name_that_is_not_plain_is_still_readable(function: str) -> None:
    name, _, suffix = folder_name(function).rpartition("-")

    assert function.startswith(name.split("_")[0])
    assert re.fullmatch("[0-9a-f]{8}", suffix)


DEVICES = ["con", "nul", "aux", "prn", "com1", "lpt9", "CON", "Nul"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rest", ["", ".fit", ".Model.fit", ".", "-0123abcd"])
def test_no_folder_is_named_like_a_device_of_windows(device: str, rest: str) -> None:
    name = folder_name(device + rest)

    assert name.partition(".")[0].lower() not in [one.lower() for one in DEVICES]
    assert folder_name(name) == name


@pytest.mark.parametrize("function", ["console.fit", "null", "auxiliary", "my.nul.con"])
def test_a_name_that_only_begins_like_a_device_stays(function: str) -> None:
    assert folder_name(function) == function


@pytest.mark.parametrize("function", ["store.json", "cachedir.tag", "CACHEDIR.TAG"])
def test_no_folder_is_named_like_a_file_of_the_store(function: str) -> None:
    assert folder_name(function).lower() not in {"store.json", "cachedir.tag"}


def test_no_folder_ends_in_a_dot_which_windows_drops() -> None:
    assert not folder_name("analysis.").endswith(".")


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
