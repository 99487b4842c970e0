"""The cached call of a coroutine function: the same steps, off the event loop.

Arguments are hashed, and files read and written, in threads, so that other tasks go on.
Of the tasks that want one call at once, one computes it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from cachekit.memoization.call import CallKey
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.lookups import Hit
from cachekit.memoization.reference import MemorizedResult
from cachekit.memoization.running import Running
from cachekit.memoization.uncached import (
    NotMemorizedResult,
    mark_as_coroutine_function,
)
from cachekit.stores import Turn
from cachekit.stores.tasks import in_thread, to_its_end, turn_of_task

P = ParamSpec("P")
R = TypeVar("R")


class AsyncMemorizedFunc(MemorizedFunc[P, Awaitable[R]]):
    """A coroutine function whose calls are kept in a store; made by `Memory.cache`.

    Its parameters are those of `MemorizedFunc`. What `call` and `call_and_shelve`
    return is awaited.
    """

    __cachekit_plan__ = None  # type: ignore[assignment]  # a task that is awaited

    def __init__(
        self, func: Callable[P, Awaitable[R]], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(func, *args, **kwargs)
        mark_as_coroutine_function(self)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Return a coroutine for the result of the call."""
        bound = self._bind(*args, **kwargs)  # wrong arguments are told now
        return self._answer(bound, args, kwargs)

    async def _answer(
        self, bound: dict[str, object], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> R:
        key, hit = await in_thread(self._find, bound)
        if hit is None:
            hit = await self._compute_awaiting(key, bound, args, kwargs)
        return hit[0]  # type: ignore[no-any-return]

    def _find(self, bound: dict[str, object]) -> tuple[CallKey, Hit | None]:
        key = self._key(bound)
        return key, self._entries.look_up(key.entry)

    async def _compute_awaiting(
        self,
        key: CallKey,
        bound: dict[str, object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Hit:
        entries = self._entries
        await in_thread(entries.check_may_compute, key.entry)
        with await self._turn_of_task(key) as turn:
            if turn.hit is not None:
                return turn.hit
            call = await in_thread(self._begin, key, bound)
            hit = await self._run_awaiting(call, args, kwargs)
        await in_thread(entries.keep_small, call)
        return hit

    async def _turn_of_task(self, key: CallKey) -> Turn[Hit]:
        entries = self._entries
        if self.policies.on_conflict == "compute" or self._store.is_read_only:
            return Turn(None)
        return await turn_of_task(
            self._store.flights,
            key.entry.lease,
            functools.partial(entries.look_again, key.entry),
            timeout=self.policies.conflict_timeout,
        )

    async def _run_awaiting(
        self,
        call: Running,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        over: bool = False,
    ) -> Hit:
        with call:
            clock = time.perf_counter()
            value = await self.func(*args, **kwargs)
            seconds = time.perf_counter() - clock
        commit = functools.partial(self._entries.commit, over=over)
        # Also if it is cancelled: it is computed, and half an entry is of no use.
        return await to_its_end(commit, call, value, seconds) or (value,)

    async def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Compute the result in any case, and store it in the place of what is there.

        Returns
        -------
        value : object
            The result.
        metadata : dict
            As of `MemorizedFunc.call`.
        """
        bound = self._bind(*args, **kwargs)
        key = await in_thread(self._key, bound)
        call = await in_thread(self._begin, key, bound)
        hit = await self._run_awaiting(call, args, kwargs, over=True)
        await in_thread(self._entries.keep_small, call)
        return hit[0], await in_thread(self._metadata, call)

    async def call_and_shelve(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return a reference to the result, which is computed if need be.

        Returns
        -------
        MemorizedResult or NotMemorizedResult
            The latter if the result could not be stored.
        """
        bound = self._bind(*args, **kwargs)
        entries = self._entries
        key = await in_thread(self._key, bound)
        if not await in_thread(entries.use, key.entry):
            hit = await self._compute_awaiting(key, bound, args, kwargs)
            if not await in_thread(entries.contains, key.entry):
                return NotMemorizedResult(hit[0])
        return MemorizedResult.in_entries(entries, key.entry)
