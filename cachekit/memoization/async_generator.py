"""The cached call of an asynchronous generator function: as `generator`, awaited.

Items are written and read in threads, so that other tasks go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import ParamSpec, TypeVar

from cachekit.memoization.call import CallKey
from cachekit.memoization.entries import Entries
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.streaming import Recorder, Stream, StreamEntries

P = ParamSpec("P")
R = TypeVar("R")


class MemorizedAsyncGeneratorFunc(MemorizedFunc[P, AsyncGenerator[R, None]]):
    """An asynchronous generator function whose items are kept.

    Made by `Memory.cache`. Its parameters are those of `MemorizedFunc`.
    """

    _entries_type: type[Entries] = StreamEntries
    _entries: StreamEntries

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, None]:
        """Return an asynchronous generator of the items of the call."""
        bound = self._bind(*args, **kwargs)  # wrong arguments are told now
        return self._items(bound, lambda: self.func(*args, **kwargs))

    async def _items(
        self, bound: dict[str, object], begin: Callable[[], AsyncGenerator[R, None]]
    ) -> AsyncGenerator[R, None]:
        key, stream = await asyncio.to_thread(self._find, bound)
        done = 0
        if stream is not None:
            try:
                while (item := await asyncio.to_thread(stream.next)) is not None:
                    yield item[0]
                if stream.is_whole:
                    return
            finally:
                stream.close()
            done = stream.count
        self._entries.check_may_compute(key.entry)
        call = await asyncio.to_thread(self._begin, key, bound)
        generator = begin()
        recorder = await asyncio.to_thread(Recorder, self._entries, call)
        seconds, count = 0.0, 0
        try:
            while True:
                clock = time.perf_counter()
                try:
                    with call.innermost():
                        item_now = await anext(generator)
                except StopAsyncIteration:
                    seconds += time.perf_counter() - clock
                    await asyncio.to_thread(recorder.commit, None, seconds)
                    return
                seconds += time.perf_counter() - clock
                await asyncio.to_thread(recorder.append, item_now)
                count += 1
                if count > done:
                    yield item_now
        finally:
            await generator.aclose()
            if call.size == 0:
                recorder.discard()

    def _find(self, bound: dict[str, object]) -> tuple[CallKey, Stream | None]:
        key = self._key(bound)
        return key, self._entries.stream(key.entry)
