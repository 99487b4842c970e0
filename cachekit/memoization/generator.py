"""The cached call of a generator function: its items stream through.

They are kept once it has ended, and then stream back lazily. A generator that fails,
or that nobody follows to its end, stores nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, ParamSpec, TypeVar

from cachekit.memoization.entries import Entries
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.streaming import Recorder, StreamEntries

P = ParamSpec("P")
R = TypeVar("R")


class MemorizedGeneratorFunc(MemorizedFunc[P, Generator[R, None, Any]]):
    """A generator function whose items are kept; made by `Memory.cache`.

    Its parameters are those of `MemorizedFunc`.
    """

    _entries_type: type[Entries] = StreamEntries
    _entries: StreamEntries

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Generator[R, None, Any]:
        """Return a generator of the items of the call."""
        bound = self._bind(*args, **kwargs)  # wrong arguments are told now
        return self._items(bound, lambda: self.func(*args, **kwargs))

    def _items(
        self, bound: dict[str, object], begin: Callable[[], Generator[R, None, Any]]
    ) -> Generator[R, None, Any]:
        key = self._key(bound)
        done = 0
        stream = self._entries.stream(key.entry)
        if stream is not None:
            try:
                while (item := stream.next()) is not None:
                    _refuse((yield item[0]))
                if stream.is_whole:
                    return stream.returned
            finally:
                stream.close()
            done = stream.count
        self._entries.check_may_compute(key.entry)
        return (yield from self._recorded(self._begin(key, bound), begin(), done))

    def _recorded(
        self, call: Any, generator: Generator[R, None, Any], done: int
    ) -> Generator[R, None, Any]:
        """Yield what a generator yields but for the first, and store all of it."""
        recorder, seconds, count = Recorder(self._entries, call), 0.0, 0
        try:
            while True:
                clock = time.perf_counter()
                try:
                    item = call.step(next, generator)
                except StopIteration as end:
                    seconds += time.perf_counter() - clock
                    recorder.commit(end.value, seconds)
                    return end.value
                seconds += time.perf_counter() - clock
                recorder.append(item)
                count += 1
                if count > done:
                    _refuse((yield item))
        finally:
            generator.close()
            if call.size == 0:
                recorder.discard()


def _refuse(sent: object) -> None:
    if sent is not None:
        raise TypeError(
            "a cached generator takes nothing by send(): its items would depend on it"
        )
