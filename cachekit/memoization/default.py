"""`cache`, for who names no place: results are kept where this system keeps caches."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from cachekit.errors import StoreError, warn
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.locations import default_location, system_location
from cachekit.memoization.memory import Memory
from cachekit.memoization.options import CacheOptions
from cachekit.memoization.uncached import NotMemorizedFunc

P = ParamSpec("P")
R = TypeVar("R")


@overload
def cache(
    func: Callable[P, R],
    **options: Unpack[CacheOptions],
) -> MemorizedFunc[P, R] | NotMemorizedFunc[P, R]: ...


@overload
def cache(
    func: None = None,
    **options: Unpack[CacheOptions],
) -> Callable[[Callable[P, R]], MemorizedFunc[P, R] | NotMemorizedFunc[P, R]]: ...


def cache(func: Any = None, **options: Any) -> Any:
    """Cache a function in the default place; a decorator.

    The place is what the environment variable ``CACHEKIT_DIR`` names when the function
    is decorated, else the ``location`` of ``[tool.cachekit]`` in the ``pyproject.toml``
    of the current folder or the nearest one above it, else the system's folder for
    caches.

    Parameters
    ----------
    func : callable
        The function.
    **options
        See `Memory.cache` for all, and for the errors. The common ones:

        - ``ignore=["log"]``: parameters that take no part in the key;
        - ``expires="12h"``: compute a result again when it is older;
        - ``version=2``: a value that counts as the code does, to be changed by hand;
        - ``compress=True``: store results compressed;
        - ``memory_tier=100``: keep so many results in memory as well.

    Returns
    -------
    MemorizedFunc
        To be called as the function is.

    Examples
    --------
    >>> @cache(ignore=["log"])  # doctest: +SKIP
    ... def slow_square(x, log=None):
    ...     return x * x
    """
    return default_memory().cache(func, **options)


def default_memory() -> Memory:
    """Return the memory of `cache`: one for each place in each process.

    Returns
    -------
    Memory
        With all its options as they are by default.
    """
    try:
        location = default_location()
    except StoreError as error:  # which has nothing to do with the work
        location = system_location()
        warn(f"{error}; results are kept in {location}")
    try:
        return _memory_at(location)
    except Exception as error:
        if os.environ.get("CACHEKIT_DIR"):
            error.add_note("The location is that of the variable CACHEKIT_DIR.")
        raise


@functools.cache
def _memory_at(location: str) -> Memory:
    return Memory(location)
