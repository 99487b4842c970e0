"""Binding arguments, and making the key of a call."""

from __future__ import annotations

import functools
import inspect
import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachekit import UnhashableArgument, digest
from cachekit.memoization.call import CallKey, call_key, compile_binder

# Names that might clash with what the binder itself is made of, and others.
NAMES = [
    *("x", "y", "self", "cls", "args", "kwargs", "bind", "defaults", "default_0"),
    *("default_1", "größe", "π", "_", "__class__x", "function", "dict", "match"),
]


class Case(NamedTuple):
    """A function, and a call of it that may be wrong."""

    source: str
    args: tuple[int, ...]
    kwargs: dict[str, int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw ``def f(...): return locals()`` with any kinds of parameters."""
    names = iter(draw(st.permutations(NAMES)))
    count = st.integers(0, 2)
    declared, given_names = [], []
    has_default = False
    positional_only, either = draw(count), draw(count)
    for number in range(positional_only + either):
        name = next(names)
        given_names.append(name)
        has_default = has_default or draw(st.booleans())
        declared.append(f"{name}={number + 100}" if has_default else name)
        if number + 1 == positional_only:
            declared.append("/")
    keyword_only = draw(count)
    if draw(st.booleans()):
        declared.append(f"*{next(names)}")
    elif keyword_only:
        declared.append("*")
    for number in range(keyword_only):
        name = next(names)
        given_names.append(name)
        declared.append(f"{name}={number + 200}" if draw(st.booleans()) else name)
    if draw(st.booleans()):
        declared.append(f"**{next(names)}")
    args = draw(st.lists(st.integers(0, 9), max_size=5))
    keywords = st.sampled_from([*given_names, "unknown"])
    kwargs = draw(st.dictionaries(keywords, st.integers(10, 19), max_size=3))
    return Case(f"def f({', '.join(declared)}): return locals()", tuple(args), kwargs)


@given(cases())
@settings(deadline=None)
def test_a_call_binds_as_the_function_itself_binds_it(case: Case) -> None:
    namespace: dict[str, Any] = {}
    exec(case.source, namespace)
    function = namespace["f"]
    bind = compile_binder(function)

    expected = outcome(function, case)

    assert outcome(bind, case) == expected


def outcome(function: Callable[..., object], case: Case) -> object:
    """Return what a call returns, or the text of its `TypeError`."""
    try:
        return function(*case.args, **case.kwargs)
    except TypeError as error:
        return str(error)


class Model:
    """Something to take methods of."""

    def fit(self, data: int, *, rounds: int = 10) -> tuple[int, int]:
        return data, rounds

    @classmethod
    def load(cls, path: str = "model") -> str:
        return path

    @staticmethod
    def score(a: int, /, b: int = 2) -> int:
        return a + b

    def __call__(self, x: int, y: int = 1) -> int:
        return x + y


def keyed(value: int, key: Callable[[int], int] = lambda value: -value) -> int:
    return key(value)


def power(base: float, /, exponent: float = 2, *, modulus: int = 7) -> float:
    return float(base**exponent % modulus)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (power, (3,), {}),
        (power, (3, 4), {"modulus": 5}),
        (keyed, (3,), {}),
        (functools.partial(power, 3), (), {}),
        (functools.partial(power, exponent=3), (2,), {}),
        (functools.partial(power, exponent=3), (2,), {"exponent": 4}),
        (Model().fit, (1,), {}),
        (Model.fit, (Model(), 1), {"rounds": 2}),
        (Model.load, (), {}),
        (Model.score, (1,), {}),
        (Model(), (1,), {"y": 5}),
        (Model, (), {}),
        (len, ([1, 2],), {}),
        (sorted, ([2, 1],), {"reverse": True}),
        (str.join, (",", ["a"]), {}),
        (operator.add, (1, 2), {}),
    ],
)
def test_every_kind_of_callable_binds_as_its_signature_says(
    function: Callable[..., object], args: Sequence[object], kwargs: dict[str, object]
) -> None:
    expected = inspect.signature(function).bind(*args, **kwargs)
    expected.apply_defaults()

    bound = compile_binder(function)(*args, **kwargs)

    assert bound == expected.arguments


def test_a_builtin_without_a_signature_keeps_all_that_it_is_given() -> None:
    with pytest.raises(ValueError, match="signature"):
        inspect.signature(getattr)

    bound = compile_binder(getattr)(1, "real", key=2)

    assert bound == {"args": (1, "real"), "kwargs": {"key": 2}}


def test_a_mutable_default_is_the_functions_own_object() -> None:
    def collect(item: int, into: list[int] = []) -> list[int]:  # noqa: B006
        into.append(item)
        return into

    bind = compile_binder(collect)
    before = bind(1)["into"] == []
    collect(7)

    assert before
    assert bind(1)["into"] == [7]


@pytest.mark.parametrize("function", [functools.partial(power, 3), Model().fit, len])
def test_a_call_with_wrong_arguments_raises_a_type_error(
    function: Callable[..., object],
) -> None:
    with pytest.raises(TypeError):
        compile_binder(function)(1, 2, 3, unknown=4)


def test_a_decorator_that_adds_an_argument_is_called_as_it_wants() -> None:
    def with_connection(query: Callable[[str, str], str]) -> Callable[[str], str]:
        @functools.wraps(query)
        def wrapper(text: str) -> str:
            return query("connection", text)

        return wrapper

    @with_connection
    def query(connection: str, text: str) -> str:
        return connection + text

    bound = compile_binder(query)("select")

    assert "select" in bound.values()


# --- ignore ---


def many(a: int, b: int = 1, *rest: int, c: int = 2, **options: int) -> None:
    """Have every kind of parameter."""


@pytest.mark.parametrize(
    ("ignore", "kept"),
    [
        ([], {"a", "b", "rest", "c", "options"}),
        (["b"], {"a", "rest", "c", "options"}),
        (("a", "c"), {"b", "rest", "options"}),
        ({"*"}, {"a", "b", "c", "options"}),
        (["**"], {"a", "b", "rest", "c"}),
        (["*", "**"], {"a", "b", "c"}),
        (["rest", "options"], {"a", "b", "c"}),
        (["a", "b", "c", "*", "**"], set()),
    ],
)
def test_ignored_parameters_are_left_out(ignore: Sequence[str], kept: set[str]) -> None:
    bound = compile_binder(many, ignore)(1, 2, 3, d=4)

    assert set(bound) == kept


def test_an_unknown_ignored_name_is_told_with_those_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"power\(\) has no parameter 'bse'.*base, exp"
    ):
        compile_binder(power, ["bse"])


@pytest.mark.parametrize("star", ["*", "**"])
def test_a_star_needs_variable_arguments(star: str) -> None:
    with pytest.raises(ValueError, match="has no parameter"):
        compile_binder(power, [star])


def test_a_bare_string_to_ignore_is_refused_with_the_right_spelling() -> None:
    with pytest.raises(ValueError, match=r"write ignore=\['base'\]"):
        compile_binder(power, "base")


# --- the key ---


def key_of(function: Callable[..., object], *args: object, **kwargs: object) -> CallKey:
    bound = compile_binder(function)(*args, **kwargs)
    return call_key(f"module.{function.__name__}", "f" * 32, bound)


def test_positional_keyword_and_default_arguments_make_one_key() -> None:
    def f(x: int, y: int = 2) -> None: ...

    keys = {key_of(f, 1).entry, key_of(f, 1, 2).entry, key_of(f, y=2, x=1).entry}

    assert len(keys) == 1


def test_the_order_of_extra_keywords_does_not_matter() -> None:
    def f(**options: int) -> None: ...

    assert key_of(f, a=1, b=2).entry == key_of(f, b=2, a=1).entry


def test_values_that_trade_places_make_another_key() -> None:
    def f(x: object, y: object) -> None: ...

    assert key_of(f, 1, 2).entry != key_of(f, 2, 1).entry


def test_one_and_true_make_different_keys() -> None:
    def f(x: object) -> None: ...

    assert len({key_of(f, x).entry for x in [1, 1.0, True, "1"]}) == 4


def test_a_key_depends_on_function_and_fingerprint() -> None:
    digests = {
        call_key(function, fingerprint, {"x": 1}).entry.digest
        for function in ("m.f", "m.g")
        for fingerprint in ("0" * 32, "1" * 32)
    }

    assert len(digests) == 4


def test_a_name_that_is_no_longer_ignored_makes_another_key() -> None:
    def f(x: int, y: int) -> None: ...

    keys = {
        call_key("m.f", "f" * 32, compile_binder(f, ignore)(1, 1)).entry
        for ignore in ([], ["x"], ["y"], ["x", "y"])
    }

    assert len(keys) == 4


def test_the_digest_of_each_argument_is_kept_apart() -> None:
    def f(x: object, y: object = "y") -> None: ...

    one, other = key_of(f, 1), key_of(f, 2)

    assert one.arguments == {"x": digest(1), "y": digest("y")}
    assert {name for name in "xy" if one.arguments[name] != other.arguments[name]} == {
        "x"
    }


def test_an_unhashable_argument_is_named_with_the_path_to_the_culprit() -> None:
    def f(data: object, config: object = None) -> None: ...

    with pytest.raises(UnhashableArgument) as caught:
        key_of(f, 1, config={"callbacks": [print, threading.Lock()]})

    assert caught.value.path == "config['callbacks'][1]"
    assert "at config['callbacks'][1]" in str(caught.value)


def test_an_unhashable_variable_argument_is_named_with_its_place() -> None:
    def f(*args: object, **kwargs: object) -> None: ...

    with pytest.raises(UnhashableArgument) as positional:
        key_of(f, 1, threading.Lock())
    with pytest.raises(UnhashableArgument) as keyword:
        key_of(f, lock=threading.Lock())

    assert positional.value.path == "args[1]"
    assert keyword.value.path == "kwargs['lock']"
