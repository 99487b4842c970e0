"""Which things can be cached, and what decorating makes of them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import secrets
from pathlib import Path
from typing import Any

import pytest

from cachekit import Memory
from cachekit.memoization import MemorizedFunc
from tests.memoization.project import value_files


def roll(sides: int, offset: int = 0) -> str:
    """Return something else each time it is computed."""
    return f"{sides}+{offset}:{secrets.token_hex(8)}"


# --- kinds of functions ---


def cached_class(memory: Memory) -> Any:
    class Scale:
        unit = "m"

        def __init__(self, factor: int) -> None:
            self.factor = factor

        @memory.cache
        def apply(self, x: int) -> tuple[int, str]:
            return self.factor * x, secrets.token_hex()

        @staticmethod
        @memory.cache
        def double(x: int) -> int:
            return 2 * x

        @classmethod
        @memory.cache
        def named(cls, x: int) -> str:
            return f"{x} {cls.unit}"

        @property
        @memory.cache
        def half(self) -> float:
            return self.factor / 2

    return Scale


def test_a_method_is_keyed_by_the_state_of_its_instance(memory: Memory) -> None:
    scale = cached_class(memory)
    two, also_two, three = scale(2), scale(2), scale(3)

    result = two.apply(10)

    assert result == also_two.apply(10)
    assert three.apply(10)[0] == 30
    two.factor = 5
    assert two.apply(10)[0] == 50


def test_static_and_class_methods_and_properties_are_cached(memory: Memory) -> None:
    scale = cached_class(memory)

    for _ in range(2):
        assert scale.double(4) == 8
        assert scale(1).double(4) == 8
        assert scale.named(4) == "4 m"
        assert scale(5).half == 2.5


def test_a_cached_static_method_works_on_instances(memory: Memory) -> None:
    class Calculator:
        @memory.cache
        @staticmethod
        def double(x: int) -> int:
            return 2 * x

    assert [Calculator.double(4), Calculator().double(4)] == [8, 8]


def test_a_class_method_below_the_cache_stays_one(memory: Memory) -> None:
    class Model:
        @memory.cache
        @classmethod
        def load(cls, name: str) -> tuple[str, str]:
            return cls.__name__, name

    assert [Model.load("a"), Model.load("a")] == [("Model", "a")] * 2
    assert memory.tally()[:2] == (1, 1)


def test_a_cached_bound_method_sees_that_its_instance_changed(memory: Memory) -> None:
    scale = Bound(2)
    apply = memory.cache(scale.apply)
    before = apply(10)

    scale.factor = 3

    assert (before, apply(10)) == (20, 30)


def test_a_cached_callable_instance_sees_that_it_changed(memory: Memory) -> None:
    scale = Bound(2)
    apply = memory.cache(scale)
    before = apply(10)

    scale.factor = 3

    assert (before, apply(10)) == (20, 30)


def test_a_method_can_be_replaced_by_its_cached_form(memory: Memory) -> None:
    scale = Bound(2)
    scale.apply = memory.cache(scale.apply)  # type: ignore[method-assign]

    assert [scale.apply(10), scale.apply(10)] == [20, 20]


class Bound:
    """Something with a method."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def apply(self, x: int) -> int:
        return self.factor * x

    def __call__(self, x: int) -> int:
        return self.factor * x


def test_partials_are_keyed_by_what_they_hold(memory: Memory) -> None:
    two = memory.cache(functools.partial(pow, 2))
    three = memory.cache(functools.partial(pow, 3))

    assert [two(3), three(3), two(3), three(3)] == [8, 27, 8, 27]
    assert memory.tally()[:2] == (2, 2)


def test_a_builtin_is_cached(memory: Memory) -> None:
    cached = memory.cache(len)

    assert [cached([1, 2]), cached([1, 2]), cached([1])] == [2, 2, 1]


def test_a_coroutine_that_a_plain_function_returns_can_be_awaited(
    memory: Memory,
) -> None:
    async def answer() -> int:
        return 42

    def plain() -> Any:
        return answer()

    cached = memory.cache(plain)

    with pytest.warns(UserWarning, match="could not be stored"):
        waiting = cached()

    assert asyncio.run(waiting) == 42


# --- decorating ---


def test_a_cached_function_looks_like_the_function(memory: Memory) -> None:
    cached = memory.cache(roll)

    assert isinstance(cached, MemorizedFunc)
    assert cached.__name__ == "roll"
    assert cached.__doc__ == roll.__doc__
    assert inspect.signature(cached) == inspect.signature(roll)
    assert cached.func is roll


def test_the_repr_names_function_and_location(memory: Memory, store: Path) -> None:
    text = repr(memory.cache(roll))

    assert "roll" in text
    assert str(store) in text


def test_caching_a_cached_function_unwraps_it(memory: Memory, store: Path) -> None:
    cached = memory.cache(memory.cache(roll))

    assert cached.func is roll
    cached(6)
    assert len(value_files(store)) == 1


def test_to_ignore_none_is_to_ignore_nothing(memory: Memory) -> None:
    cached = memory.cache(roll, ignore=None)

    assert cached(6) != cached(7)


def test_a_function_wrapped_around_a_cached_one_is_another_function(
    memory: Memory,
) -> None:
    @memory.cache
    def inner(x: int) -> int:
        return x

    inner(1)

    @memory.cache
    @functools.wraps(inner)
    def outer(x: int) -> int:
        return 2 * inner(x)

    assert [inner(1), outer(1), inner(2), outer(2)] == [1, 2, 2, 4]


def test_attributes_of_a_function_do_not_disturb_its_cache(memory: Memory) -> None:
    def f(x: int) -> int:
        return x

    vars(f).update(_name="other", _store=None, _code="", _bind=print, func=len)

    assert memory.cache(f)(3) == 3


def test_a_cached_function_as_an_argument_counts_by_its_code(memory: Memory) -> None:
    apply = memory.cache(lambda function, x: function(x))
    increment, decrement = (
        memory.cache(lambda x: x + 1),
        memory.cache(lambda x: x - 1),
    )

    assert [apply(increment, 5), apply(decrement, 5)] == [6, 4]


def test_without_a_location_methods_work_and_names_stay(memory: Memory) -> None:
    scale = cached_class(Memory(None))

    assert scale(2).apply(10)[0] == 20
    assert scale.apply.__name__ == "apply"
    assert memory.cache(Memory(None).cache(roll)).func is roll
