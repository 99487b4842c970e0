"""The tree of exceptions is the one drawn, and its members cross processes."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cachekit import digest, errors
from cachekit.errors import (
    CacheKitError,
    CacheWarning,
    MissingExtra,
    UnhashableArgument,
)

DEFINED = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and kind.__module__ == errors.__name__
}


def drawn_tree() -> dict[str, str | None]:
    """Read the drawing: each name, and the name that it hangs from."""
    drawn: dict[str, str | None] = {}
    above: list[str] = []  # the names on the way from the root to the last one
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r" {4}([│├└─ ]*)([A-Z]\w+)  ", line)
        if found is None:
            continue
        depth = len(found[1]) // 4  # "│   └── " is two levels
        above[depth:] = [found[2]]
        drawn[found[2]] = above[depth - 1] if depth else None
    return drawn


def test_the_tree_that_is_drawn_is_the_real_one() -> None:
    real = {
        name: next((b.__name__ for b in kind.__bases__ if b in DEFINED.values()), None)
        for name, kind in DEFINED.items()
    }

    assert drawn_tree() == real


@pytest.mark.parametrize(
    ("name", "builtin"),
    re.findall(r"── (\w+) .*\(also an? (\w+)\)", errors.__doc__ or ""),
)
def test_an_error_is_also_what_the_drawing_says(name: str, builtin: str) -> None:
    also = getattr(pickle, builtin, None) or getattr(builtins, builtin)

    assert issubclass(DEFINED[name], also)


def test_every_exception_is_an_error_of_cachekit_and_the_warning_is_not() -> None:
    assert not issubclass(CacheWarning, CacheKitError)
    assert issubclass(CacheWarning, UserWarning)
    assert all(issubclass(k, (CacheKitError, CacheWarning)) for k in DEFINED.values())


@pytest.mark.parametrize("kind", DEFINED.values())
def test_every_error_says_when_it_is_raised(kind: type) -> None:
    assert kind.__doc__


def test_a_missing_extra_names_the_command_that_gets_it() -> None:
    error = MissingExtra("cachekit run topics", "ml")

    assert str(error) == (
        "cachekit run topics needs packages that are not installed; "
        "get them with: python -m pip install 'cachekit-lab[ml]'"
    )


def test_an_unhashable_argument_names_kind_path_and_remedy() -> None:
    error = UnhashableArgument("a lock", path="config.lock")

    assert "a lock at config.lock" in str(error)
    assert "ignore=[...]" in str(error)


def test_the_path_to_a_culprit_grows_outwards() -> None:
    error = UnhashableArgument("a lock", path=".lock")

    error.climb({}, "['a']" + error.path)
    error.climb({}, "config" + error.path)

    assert "at config['a'].lock" in str(error)


def met_error() -> UnhashableArgument:
    with pytest.raises(UnhashableArgument) as caught:
        digest({"a": [threading.Lock()]})
    return caught.value


@pytest.mark.parametrize(
    "make",
    [
        met_error,
        lambda: UnhashableArgument("a lock", path="x[0]"),
        lambda: MissingExtra("cachekit run topics", "ml"),
        *(
            lambda kind=kind: kind("what happened")
            for kind in DEFINED.values()
            if kind not in (UnhashableArgument, MissingExtra)
        ),
    ],
)
@pytest.mark.parametrize(
    "duplicate", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_an_error_keeps_its_message_on_its_way_to_another_process(
    make: Callable[[], Exception], duplicate: Callable[[Any], Any]
) -> None:
    error = make()

    copied = duplicate(error)

    assert type(copied) is type(error)
    assert str(copied) == str(error)


def test_an_error_does_not_keep_the_arguments_alive() -> None:
    # An error is often kept, with a whole notebook behind it.
    error = met_error()

    assert not isinstance(error.culprit, dict)
