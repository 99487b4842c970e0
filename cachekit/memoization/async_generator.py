"""The cached call of an asynchronous generator function: as `generator`, awaited.

Items are written and read in threads, so that other tasks go on.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, ParamSpec, TypeVar

from cachekit.memoization.call import CallKey
from cachekit.memoization.entries import Entries
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.reference import MemorizedResult
from cachekit.memoization.running import Running
from cachekit.memoization.streaming import (
    Recorder,
    Stream,
    StreamEntries,
    check_policies,
    refuse,
)
from cachekit.memoization.uncached import NotMemorizedItems
from cachekit.stores.tasks import in_thread, to_its_end

P = ParamSpec("P")
R = TypeVar("R")


class MemorizedAsyncGeneratorFunc(MemorizedFunc[P, AsyncGenerator[R, None]]):
    """An asynchronous generator function whose items are kept.

    Made by `Memory.cache`. Its parameters are those of `MemorizedFunc`; what `put` is
    given are the items, and `cache_if` gets None. What `call_and_shelve` returns is
    awaited. Arrays are read, whatever `mmap_mode` says.
    """

    __cachekit_plan__ = None  # type: ignore[assignment]  # items are no one result
    _entries_type: type[Entries] = StreamEntries
    _entries: StreamEntries

    def __init__(
        self, func: Callable[P, AsyncGenerator[R, None]], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(func, *args, **kwargs)
        check_policies(self.policies)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, None]:
        """Return an asynchronous generator of the items of the call."""
        bound = self._bind(*args, **kwargs)  # wrong arguments are told now
        return self._items(bound, functools.partial(self.func, *args, **kwargs))

    async def _items(
        self, bound: dict[str, object], begin: Callable[[], AsyncGenerator[R, None]]
    ) -> AsyncGenerator[R, None]:
        key, stream = await in_thread(self._find, bound)
        done = 0
        if stream is not None:
            with contextlib.closing(stream):
                while items := await in_thread(stream.some):
                    items.reverse()
                    while items:  # none is to stay in memory beside the next ones
                        refuse((yield items.pop()))
            if stream.is_whole:
                return
            done = stream.count
        await in_thread(self._entries.check_may_compute, key.entry)
        call = await in_thread(self._begin, key, bound)
        async with contextlib.aclosing(self._recorded(call, begin(), done)) as recorded:
            async for item in recorded:
                refuse((yield item))
                del item

    def _find(self, bound: dict[str, object]) -> tuple[CallKey, Stream | None]:
        key = self._key(bound)
        return key, self._entries.stream(key.entry)

    async def _recorded(
        self,
        call: Running,
        generator: AsyncGenerator[R, None],
        done: int = 0,
        *,
        over: bool = False,
    ) -> AsyncGenerator[R, None]:
        """Yield what a generator yields but for the first, and store all of it."""
        recorder, seconds, count = Recorder(self._entries, call, over=over), 0.0, 0
        async with _closing(call, generator, recorder):
            await to_its_end(recorder.begin)
            while True:
                clock = time.perf_counter()
                try:
                    with call.innermost():
                        item = await anext(generator)
                except StopAsyncIteration:
                    break
                finally:
                    seconds += time.perf_counter() - clock
                await to_its_end(recorder.append, item)
                count += 1
                if count > done:
                    yield item
                del item  # or it would be in memory beside the next one
            await to_its_end(recorder.commit, None, seconds)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Compute the items in any case, and store them in the place of what is there.

        Returns
        -------
        items : asynchronous generator
            The items, which are stored at their end.
        metadata : dict
            As of `MemorizedFunc.call`, but empty before the end.
        """
        bound = self._bind(*args, **kwargs)
        metadata: dict[str, Any] = {}

        async def items() -> AsyncGenerator[R, None]:
            key = await in_thread(self._key, bound)
            call = await in_thread(self._begin, key, bound)
            recorded = self._recorded(call, self.func(*args, **kwargs), over=True)
            async with contextlib.aclosing(recorded):
                async for item in recorded:
                    refuse((yield item))
                    del item
            metadata.update(await in_thread(self._metadata, call))

        return items(), metadata

    async def call_and_shelve(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return a reference to the items, which are all computed if need be.

        Returns
        -------
        MemorizedResult or NotMemorizedItems
            The `get` of the former returns another iterator each time, a plain one. The
            latter if the items could not be stored: its `get` returns an asynchronous
            generator that computes them.
        """
        bound = self._bind(*args, **kwargs)
        entries = self._entries
        key = await in_thread(self._key, bound)
        if await in_thread(entries.use, key.entry):
            return MemorizedResult.in_entries(entries, key.entry)
        await in_thread(entries.check_may_compute, key.entry)
        begin = functools.partial(self.func, *args, **kwargs)
        if not self._store.is_read_only:
            call = await in_thread(self._begin, key, bound)
            async with contextlib.aclosing(self._recorded(call, begin())) as recorded:
                async for _ in recorded:
                    pass
        if not await in_thread(entries.contains, key.entry):
            return NotMemorizedItems(begin)
        return MemorizedResult.in_entries(entries, key.entry)


@contextlib.asynccontextmanager
async def _closing(
    call: Running, generator: AsyncGenerator[Any, None], recorder: Recorder
) -> AsyncIterator[None]:
    """Close both after the block; what the generator calls meanwhile is its own."""
    try:
        yield
    finally:
        try:
            with call.innermost():
                await generator.aclose()
        finally:
            await to_its_end(recorder.close)
