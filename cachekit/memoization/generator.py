"""The cached call of a generator function: its items stream through.

They are kept once it has ended, and then stream back lazily. A generator that fails,
or that nobody follows to its end, stores nothing.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Generator
from typing import Any, ParamSpec, TypeVar

from cachekit.memoization.entries import Entries
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.reference import MemorizedResult
from cachekit.memoization.running import Running
from cachekit.memoization.streaming import (
    Recorder,
    StreamEntries,
    check_policies,
    refuse,
)
from cachekit.memoization.uncached import NotMemorizedItems

P = ParamSpec("P")
R = TypeVar("R")


class MemorizedGeneratorFunc(MemorizedFunc[P, Generator[R, None, Any]]):
    """A generator function whose items are kept; made by `Memory.cache`.

    Its parameters are those of `MemorizedFunc`; what `put` is given are the items, and
    `cache_if` gets what the generator returned. Arrays are read, whatever `mmap_mode`
    says.
    """

    __cachekit_plan__ = None  # type: ignore[assignment]  # items are no one result
    _entries_type: type[Entries] = StreamEntries
    _entries: StreamEntries

    def __init__(
        self, func: Callable[P, Generator[R, None, Any]], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(func, *args, **kwargs)
        check_policies(self.policies)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Generator[R, None, Any]:
        """Return a generator of the items of the call."""
        bound = self._bind(*args, **kwargs)  # wrong arguments are told now
        return self._items(bound, functools.partial(self.func, *args, **kwargs))

    def _items(
        self, bound: dict[str, object], begin: Callable[[], Generator[R, None, Any]]
    ) -> Generator[R, None, Any]:
        key = self._key(bound)
        done = 0
        stream = self._entries.stream(key.entry)
        if stream is not None:
            with contextlib.closing(stream):
                while (item := stream.next()) is not None:
                    refuse((yield item[0]))
                    del item  # or it would be in memory beside the next one
            if stream.is_whole:
                return stream.returned
            done = stream.count
        self._entries.check_may_compute(key.entry)
        call = self._begin(key, bound)
        return (yield from self._recorded(call, begin(), done))

    def _recorded(
        self,
        call: Running,
        generator: Generator[R, None, Any],
        done: int = 0,
        *,
        over: bool = False,
    ) -> Generator[R, None, Any]:
        """Yield what a generator yields but for the first, and store all of it."""
        recorder, seconds, count = Recorder(self._entries, call, over=over), 0.0, 0
        with contextlib.closing(recorder), _closing(call, generator):
            recorder.begin()
            while True:
                clock = time.perf_counter()
                try:
                    item = call.step(next, generator)
                except StopIteration as end:
                    returned = end.value
                    break
                finally:
                    seconds += time.perf_counter() - clock
                recorder.append(item)
                count += 1
                if count > done:
                    refuse((yield item))
                del item  # or it would be in memory beside the next one
            recorder.commit(returned, seconds)
        return returned

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Compute the items in any case, and store them in the place of what is there.

        Returns
        -------
        items : generator
            The items, which are stored at their end.
        metadata : dict
            As of `MemorizedFunc.call`, but empty before the end.
        """
        bound = self._bind(*args, **kwargs)
        metadata: dict[str, Any] = {}

        def items() -> Generator[R, None, Any]:
            call = self._begin(self._key(bound), bound)
            generator = self.func(*args, **kwargs)
            returned = yield from self._recorded(call, generator, over=True)
            metadata.update(self._metadata(call))
            return returned

        return items(), metadata

    def call_and_shelve(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return a reference to the items, which are all computed if need be.

        Returns
        -------
        MemorizedResult or NotMemorizedItems
            Its `get` returns another iterator each time. The latter if the items could
            not be stored: they are then computed for each.
        """
        bound = self._bind(*args, **kwargs)
        key, entries = self._key(bound), self._entries
        if entries.use(key.entry):
            return MemorizedResult.in_entries(entries, key.entry)
        entries.check_may_compute(key.entry)
        begin = functools.partial(self.func, *args, **kwargs)
        if not self._store.is_read_only:
            for _ in self._recorded(self._begin(key, bound), begin()):
                pass
        if not entries.contains(key.entry):
            return NotMemorizedItems(begin)
        return MemorizedResult.in_entries(entries, key.entry)


@contextlib.contextmanager
def _closing(
    call: Running, generator: Generator[Any, None, Any]
) -> Generator[None, None, None]:
    """Close a generator after the block; what it calls meanwhile is its own."""
    try:
        yield
    finally:
        call.step(generator.close)
