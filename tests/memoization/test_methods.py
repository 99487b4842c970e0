"""Methods, wrappers and signatures: a cached function is used as the function is."""

from __future__ import annotations

import abc
import asyncio
import copy
import dataclasses
import enum
import functools
import inspect
import pickle
import secrets
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import pytest

from cachekit import Memory
from tests.memoization.project import Project, value_files

# --- every spelling is one entry ---


def every(a: int, /, b: int, c: int = 3, *rest: int, d: int, e: int = 5, **more: int):  # type: ignore[no-untyped-def]
    return (a, b, c, rest, d, e, sorted(more.items()))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1, 2), {"d": 4}),
        ((1, 2, 3), {"d": 4}),
        ((1,), {"b": 2, "d": 4}),
        ((1,), {"d": 4, "b": 2, "c": 3}),
        ((1, 2), {"e": 5, "d": 4, "c": 3}),
    ],
)
def test_every_spelling_of_a_call_is_one_entry(
    memory: Memory, store: Path, args: Any, kwargs: Any
) -> None:
    cached = memory.cache(every)
    cached(1, 2, 3, d=4, e=5)

    assert cached(*args, **kwargs) == every(*args, **kwargs)
    assert cached.check_call_in_cache(*args, **kwargs)
    assert cached.lookup(*args, **kwargs) is not None
    assert len(value_files(store)) == 1


def test_the_order_of_keywords_does_not_count(memory: Memory, store: Path) -> None:
    cached = memory.cache(every)

    assert cached(1, 2, d=4, x=1, y=2) == cached(1, 2, y=2, x=1, d=4)
    assert len(value_files(store)) == 1


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1, 2, 3, 4), {"d": 4}),
        ((1, 2, 3), {"d": 4, "f": 1}),
        ((1, 2, 3), {"d": 4, "a": 1}),
        ((1, 2, 3), {"d": 4.0}),
        ((1, 2, True), {"d": 4}),
    ],
)
def test_other_calls_are_other_entries(
    memory: Memory, store: Path, args: Any, kwargs: Any
) -> None:
    cached = memory.cache(every)
    cached(1, 2, 3, d=4)

    assert cached(*args, **kwargs) == every(*args, **kwargs)
    assert len(value_files(store)) == 2


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1,), {"d": 4}),
        ((1, 2), {}),
        ((1, 2), {"d": 4, "b": 2}),
        ((), {"a": 1, "b": 2, "d": 4}),
    ],
)
def test_a_wrong_call_is_pythons_own_error(
    memory: Memory, store: Path, args: Any, kwargs: Any
) -> None:
    cached = memory.cache(every)
    with pytest.raises(TypeError) as expected:
        every(*args, **kwargs)

    for call in (
        cached,
        cached.call,
        cached.call_and_shelve,
        cached.lookup,
        cached.check_call_in_cache,
        cached.forget,
    ):
        with pytest.raises(TypeError) as raised:
            call(*args, **kwargs)
        assert str(raised.value) == str(expected.value)
    assert not store.exists()


async def waits_named(self: int) -> int:
    return self


def counts_named(self: int) -> Any:
    yield from range(self)


def test_parameters_may_have_any_name(memory: Memory) -> None:
    def odd(bind: int, default_1: int = 1, self: int = 2, *, key: int = 3) -> Any:
        return bind, default_1, self, key

    def named(func: int = 1, args: int = 2, kwargs: int = 3, value: int = 4) -> Any:
        return func, args, kwargs, value

    assert memory.cache(odd)(1, self=5, key=6) == (1, 1, 5, 6)
    cached = memory.cache(named)
    assert cached(kwargs=9, value=8) == memory.eval(named, kwargs=9, value=8)
    cached.put("mine", func=7, value=8)
    assert cached(func=7, value=8) == "mine"
    assert asyncio.run(memory.cache(waits_named)(self=3)) == 3
    assert list(memory.cache(counts_named)(self=3)) == [0, 1, 2]
    assert Memory().cache(odd)(1, self=5, key=6) == (1, 1, 5, 6)


# --- looks like the function ---


def documented(x: int, *, y: str = "a") -> list[str]:
    """Say something."""
    return [y] * x


async def waits(x: int) -> int:
    """Wait."""
    return x


def test_a_cached_function_is_told_as_the_function(memory: Memory) -> None:
    for function in (documented, waits):
        cached: Any = memory.cache(function)
        assert inspect.signature(cached) == inspect.signature(function)
        assert inspect.getdoc(cached) == inspect.getdoc(function)
        assert cached.__annotations__ == function.__annotations__
        assert cached.__module__ == function.__module__
        assert cached.__qualname__ == function.__qualname__
        assert inspect.unwrap(cached) is function
        is_coroutine = function is waits
        assert asyncio.iscoroutinefunction(cached) == is_coroutine


def test_a_function_can_be_wrapped_again(memory: Memory) -> None:
    cached = memory.cache(documented)

    @functools.wraps(cached)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return cached(*args, **kwargs)

    assert wrapper.__name__ == "documented"
    assert wrapper(2, y="b") == ["b", "b"]
    assert functools.partial(cached, y="c")(1) == ["c"]


# --- methods ---


class Base:
    """Something with cached methods, bound by `cached_methods`."""

    def __init__(self, factor: int) -> None:
        self.factor = factor


def classes(memory: Memory) -> Any:
    class Scale(Base):
        unit = "m"

        @memory.cache
        def apply(self, x: int, *, y: int = 0) -> tuple[int, str]:
            """Scale something."""
            return self.factor * x + y, secrets.token_hex()

        @memory.cache
        async def later(self, x: int) -> tuple[int, str]:
            return self.factor * x, secrets.token_hex()

        @classmethod
        @memory.cache
        def below(cls, x: int) -> tuple[str, str]:
            return f"{x} {cls.unit}", secrets.token_hex()

        @memory.cache
        @classmethod
        def above(cls, x: int) -> tuple[str, str]:
            return f"{x} {cls.unit}", secrets.token_hex()

        @staticmethod
        @memory.cache
        def inner(x: int) -> tuple[int, str]:
            return x, secrets.token_hex()

        @memory.cache
        @staticmethod
        def outer(x: int) -> tuple[int, str]:
            return x, secrets.token_hex()

        @property
        @memory.cache
        def half(self) -> tuple[float, str]:
            return self.factor / 2, secrets.token_hex()

        twice = functools.partialmethod(apply, y=100)

    class Miles(Scale):
        unit = "mi"

    class Louder(Scale):
        @memory.cache
        def apply(self, x: int, *, y: int = 0) -> tuple[int, str]:
            return super().apply(x, y=y)[0] + 1000, secrets.token_hex()

    return Scale, Miles, Louder


def test_methods_of_all_kinds_are_cached(memory: Memory) -> None:
    scale, _, _ = classes(memory)
    one, other = scale(2), scale(2)

    assert one.apply(3) == other.apply(x=3, y=0)
    assert one.apply(3)[0] == 6
    assert one.half == other.half
    assert one.twice(3) == other.twice(3)
    assert one.twice(3)[0] == 106
    for name in ("below", "above", "inner", "outer"):
        assert getattr(one, name)(3) == getattr(scale, name)(3)


def test_a_class_method_below_the_cache_has_the_methods_of_a_function(
    memory: Memory,
) -> None:
    scale, miles, _ = classes(memory)
    first = scale.above(3)

    assert scale.above.lookup(3).get() == first
    assert scale(1).above.check_call_in_cache(3)
    assert miles.above.lookup(3) is None
    assert scale.inner.lookup(3) is None
    assert scale.outer(3) == scale(1).outer.lookup(3).get()


def test_a_subclass_shares_what_is_the_same_and_no_more(memory: Memory) -> None:
    scale, miles, louder = classes(memory)

    assert miles(2).apply(3)[0] == 6
    assert louder(2).apply(3)[0] == 1006
    assert louder(2).apply(3) == louder(2).apply(3)
    for name in ("below", "above"):
        assert getattr(scale, name)(3)[0] == "3 m"
        assert getattr(miles, name)(3)[0] == "3 mi"
        assert getattr(miles(1), name)(3) == getattr(miles, name)(3)


def test_a_bound_method_has_the_methods_of_the_function(memory: Memory) -> None:
    scale, _, _ = classes(memory)
    method = scale(2).apply
    assert not method.check_call_in_cache(3)
    assert method.lookup(3) is None

    first = method(3)

    assert method.check_call_in_cache(3)
    assert method.lookup(3).get() == first
    assert method.call_and_shelve(3).get() == first
    assert method.call(3)[0] != first
    assert method.explain(3).is_hit
    assert method.cache_info()[:2] == (1, 2)
    method.put((0, "mine"), 3, y=0)
    assert scale(2).apply(3) == (0, "mine")
    method.forget(3)
    assert method.lookup(3) is None


def test_a_bound_method_maps_over_its_other_argument(memory: Memory) -> None:
    scale, _, _ = classes(memory)

    results = scale(2).apply.map([1, 2, 1])

    assert [result[0] for result in results] == [2, 4, 2]
    assert scale(2).apply(1) == results[0]


def test_a_bound_method_is_told_as_a_method(memory: Memory) -> None:
    scale, _, _ = classes(memory)
    method = scale(2).apply

    assert str(inspect.signature(method)).startswith("(x: 'int', *, y: 'int' = 0)")
    assert inspect.getdoc(method) == "Scale something."
    assert method.__name__ == "apply"
    assert method.__module__ == __name__
    assert method.__self__.factor == 2
    assert asyncio.iscoroutinefunction(scale(2).later)
    assert not asyncio.iscoroutinefunction(method)


def test_a_method_that_is_a_coroutine_is_awaited(memory: Memory) -> None:
    scale, _, _ = classes(memory)

    async def both() -> list[Any]:
        return [await scale(2).later(3), await scale(2).later(3)]

    one, two = asyncio.run(both())

    assert one == two
    assert one[0] == 6


def test_bound_methods_are_equal_as_those_of_python_are(memory: Memory) -> None:
    scale, _, _ = classes(memory)
    one, other = scale(2), scale(2)

    assert one.apply == one.apply
    assert len({one.apply, one.apply}) == 1
    assert one.apply != other.apply
    assert one.apply != one.later


def test_a_wrong_call_of_a_method_is_pythons_own_error(memory: Memory) -> None:
    scale, _, _ = classes(memory)

    with pytest.raises(TypeError, match=r"apply\(\) missing 1 required positional"):
        scale(2).apply()


@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_a_bound_method_can_be_pickled(tmp_path: Path, library: Any) -> None:
    method = Kept(tmp_path, 2).apply

    other = library.loads(library.dumps(method))

    assert other(3) == method(3)
    assert other.lookup(3) is not None


class Kept:
    """Something whose class can be found by name."""

    def __init__(self, place: Path, factor: int) -> None:
        self.place = place
        self.factor = factor

    @property
    def apply(self) -> Any:
        return _MEMORIES.setdefault(self.place, Memory(self.place)).cache(
            _apply,
        )

    def __cachekit_hash__(self) -> int:
        return self.factor


_MEMORIES: dict[Path, Memory] = {}


def _apply(x: int) -> tuple[int, str]:
    return x, secrets.token_hex()


def test_a_method_is_pickled_by_its_name(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "shapes.py",
        """
        import pickle, secrets
        from concurrent.futures import ProcessPoolExecutor
        import multiprocessing
        from cachekit import Memory
        memory = Memory("store")

        class Shape:
            def __init__(self, n):
                self.n = n

            @memory.cache
            def area(self, x):
                return self.n * x, secrets.token_hex()

            @memory.cache
            @classmethod
            def kind(cls, x):
                return cls.__name__, x

        class Circle(Shape):
            pass

        def there_and_back():
            for method in (Shape.kind, Circle.kind, Circle(1).kind):
                assert pickle.loads(pickle.dumps(method))(3) == method(3)
            return go(Shape(2).area)

        def go(method):
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                there = pool.submit(method, 3).result()
            copy = pickle.loads(pickle.dumps(method))
            return there == method(3) == copy(3)
        """,
    )

    assert project.ask("shapes.there_and_back()") == ["True"]


# --- instances ---


class Slotted:
    """An instance without a dictionary."""

    __slots__ = ("__weakref__", "x")

    def __init__(self, x: int) -> None:
        self.x = x


class Connected:
    """An instance with something in it that does not count."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.handle = object()

    def __cachekit_hash__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A value."""

    x: int


class Pair(NamedTuple):
    """A tuple."""

    x: int


class Colour(enum.Enum):
    """A member of an enumeration."""

    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (Slotted(1), Slotted(1), Slotted(2)),
        (Connected("a"), Connected("a"), Connected("b")),
        (Frozen(1), Frozen(1), Frozen(2)),
        (Pair(1), Pair(1), Pair(2)),
        (Colour.RED, copy.deepcopy(Colour.RED), Colour.BLUE),
        (Base(1), Base(1), Base(2)),
    ],
)
def test_an_instance_counts_by_its_state(
    memory: Memory, one: Any, same: Any, other: Any
) -> None:
    def call(self: Any) -> str:  # noqa: ARG001  (it is in the key)
        return secrets.token_hex()

    cached = memory.cache(call)
    method = cached.__get__(one, type(one))

    assert method() == cached.__get__(same, type(same))()
    assert method() != cached.__get__(other, type(other))()


def test_a_cached_method_may_be_abstract(memory: Memory) -> None:
    class Shape(abc.ABC):
        @memory.cache
        @abc.abstractmethod
        def area(self) -> int: ...

        @abc.abstractmethod
        def name(self) -> str: ...

    with pytest.raises(TypeError, match="abstract"):
        Shape()  # type: ignore[abstract]


def test_without_a_location_methods_work_too() -> None:
    memory = Memory()
    scale, miles, louder = classes(memory)

    assert scale(2).apply(3)[0] == 6
    assert louder(2).apply(3)[0] == 1006
    assert miles.above(3)[0] == "3 mi"
    assert [r[0] for r in scale(2).apply.map([1, 2])] == [2, 4]
    assert scale(2).apply.lookup(3) is None
