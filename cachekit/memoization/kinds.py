"""Which class a cached function is of: that of functions, coroutines or generators."""

from __future__ import annotations

import inspect
from typing import Any

from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.uncached import (
    AsyncGeneratorNotMemorizedFunc,
    AsyncNotMemorizedFunc,
    GeneratorNotMemorizedFunc,
    NotMemorizedFunc,
)


def memorized_type(func: Any) -> type[MemorizedFunc[Any, Any]]:
    """Return the class of cached functions for a kind of function."""
    if inspect.iscoroutinefunction(func):
        from cachekit.memoization.coroutine import AsyncMemorizedFunc

        return AsyncMemorizedFunc
    if inspect.isgeneratorfunction(func):
        from cachekit.memoization.generator import MemorizedGeneratorFunc

        return MemorizedGeneratorFunc
    if inspect.isasyncgenfunction(func):
        from cachekit.memoization.async_generator import MemorizedAsyncGeneratorFunc

        return MemorizedAsyncGeneratorFunc
    return MemorizedFunc


def not_memorized(func: Any) -> NotMemorizedFunc[Any, Any]:
    """Return a function as it is where nothing is cached."""
    if inspect.iscoroutinefunction(func):
        return AsyncNotMemorizedFunc(func)
    if inspect.isgeneratorfunction(func):
        return GeneratorNotMemorizedFunc(func)
    if inspect.isasyncgenfunction(func):
        return AsyncGeneratorNotMemorizedFunc(func)
    return NotMemorizedFunc(func)
