"""What `Memory(None)` makes: functions that are not cached, with the same methods."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from cachekit.errors import EntryNotFound
from cachekit.hashing import function_name
from cachekit.memoization.tally import CacheInfo
from cachekit.memoization.wrapping import Wrapper
from cachekit.stores import EntryKey

if TYPE_CHECKING:
    from cachekit.memoization.explaining import Explanation

P = ParamSpec("P")
R = TypeVar("R")


class NotMemorizedResult(Generic[R]):
    """A result that is in memory alone, with the methods of a reference.

    Parameters
    ----------
    value : object
        The result.
    """

    __slots__ = ("_value",)
    __cachekit_reference__ = True  # for `Parallel`

    def __init__(self, value: R) -> None:
        self._value: tuple[R] | None = (value,)

    def get(self) -> R:
        """Return the result.

        Returns
        -------
        object
            The very one that the call returned.

        Raises
        ------
        EntryNotFound
            If it was cleared; also a `KeyError`.
        """
        if self._value is None:
            raise EntryNotFound("the result was cleared, and was not stored anywhere")
        return self._value[0]

    def clear(self) -> None:
        """Forget the result."""
        self._value = None

    def __repr__(self) -> str:
        if self._value is None:
            return "NotMemorizedResult()"
        return f"NotMemorizedResult({self._value[0]!r})"

    def __cachekit_hash__(self) -> object:
        """Count by the value."""
        return ("not memorized", self._value)


class NotMemorizedItems(NotMemorizedResult[Callable[[], Any]]):
    """Items that were not stored: computed whenever they are asked for.

    Parameters
    ----------
    value : callable
        Begins to compute them.
    """

    __slots__ = ()

    def get(self) -> Any:
        """Return a new generator.

        Raises
        ------
        EntryNotFound
            If it was cleared; also a `KeyError`.
        """
        return super().get()()


class NotMemorizedFunc(Wrapper[P, R]):
    """A function that is not cached, with the methods of one that is.

    Parameters
    ----------
    function : callable
        The function.
    """

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.func(*args, **kwargs)

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self.global_name() or self.by_value()

    def by_value(self) -> tuple[Any, ...]:
        """Return what it is made anew of, as `__reduce__` does."""
        return (type(self), (self.func,))

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function; return its result, and no metadata."""
        return self.func(*args, **kwargs), {}

    def call_and_shelve(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function; return its result as a reference to memory."""
        return NotMemorizedResult(self.func(*args, **kwargs))

    def check_call_in_cache(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:  # noqa: ARG002
        """Return False: nothing is kept."""
        return False

    def lookup(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Return None: nothing is kept."""

    def put(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Do nothing: nothing is kept."""

    def forget(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Do nothing: nothing is kept."""

    def clear(self, warn: bool = True) -> None:
        """Do nothing: nothing is kept."""

    def explain(self, /, *args: P.args, **kwargs: P.kwargs) -> Explanation:  # noqa: ARG002
        """Say that nothing is kept."""
        from cachekit.memoization.explaining import Explanation

        name = function_name(self.func)
        note = "it is not cached: its memory has no location"
        return Explanation(name, EntryKey(name, "", ""), "no entries", note=note)

    def explain_again(self) -> None:
        """Return None: nothing is kept."""

    def cache_info(self) -> CacheInfo:
        """Return zeros: nothing is kept."""
        return CacheInfo(0, 0, 0, 0.0)

    def map(
        self,
        iterable: Iterable[Any],
        *,
        n_jobs: int = 1,  # noqa: ARG002
        progress: bool = False,  # noqa: ARG002
    ) -> list[R]:
        """Call the function with each item, one after another, in this process."""
        return [self.func(item) for item in iterable]  # type: ignore[call-arg]


class AsyncNotMemorizedFunc(NotMemorizedFunc[P, Awaitable[R]]):
    """A coroutine function that is not cached, with the methods of one that is."""

    def __init__(self, function: Callable[P, Awaitable[R]]) -> None:
        super().__init__(function)
        mark_as_coroutine_function(self)

    async def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Await the function; return its result, and no metadata."""
        return await self.func(*args, **kwargs), {}

    async def call_and_shelve(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Await the function; return its result as a reference to memory."""
        return NotMemorizedResult(await self.func(*args, **kwargs))


class GeneratorNotMemorizedFunc(NotMemorizedFunc[P, R]):
    """A generator function that is not cached, with the methods of one that is."""

    def call_and_shelve(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return a reference to the items, which are computed for each `get`."""
        return _items_of(self.func, *args, **kwargs)


class AsyncGeneratorNotMemorizedFunc(NotMemorizedFunc[P, R]):
    """An asynchronous generator function that is not cached, likewise."""

    async def call_and_shelve(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return a reference to the items, which are computed for each `get`."""
        return _items_of(self.func, *args, **kwargs)


def _items_of(
    function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
) -> NotMemorizedItems:
    function(*args, **kwargs)  # computes nothing; wrong arguments are told now
    return NotMemorizedItems(functools.partial(function, *args, **kwargs))


def mark_as_coroutine_function(function: Any) -> None:
    """Have `inspect` and asyncio see that calling an object gives a coroutine."""
    import asyncio  # takes 30 ms: only where there are coroutines
    import inspect

    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        mark(function)
    else:  # before Python 3.12, asyncio alone can be told
        function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
