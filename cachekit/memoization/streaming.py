"""Items of a generator in an entry: appended one by one, and read back one by one.

Nobody waits for a generator that another is going through: it may be paused for ever,
or by him who waits. So two who begin at once compute twice, and the first to end is
the one whose items stay.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, BinaryIO, NoReturn, TypeVar

from cachekit.errors import (
    ContainerError,
    CorruptedFile,
    EntryNotFound,
    StoreError,
    UnsupportedContainer,
)
from cachekit.memoization.artifact_folders import writing_files
from cachekit.memoization.artifacts import reading_from
from cachekit.memoization.entries import Entries
from cachekit.memoization.lookups import Hit
from cachekit.memoization.options import Policies
from cachekit.memoization.running import Running
from cachekit.serialization import ItemWriter, is_items, read_items
from cachekit.stores import EntryKey, Staging
from cachekit.stores.names import VALUE

R = TypeVar("R")

# So long items are read ahead for who has to change threads for it, in seconds.
READ_AHEAD = 0.002


class _Closable:
    """Something closed at once, or by who is in the midst of using it.

    A task that is cancelled, or a coroutine that is thrown away, may leave a thread
    behind that still reads or writes: a file that is closed under it could be another
    one by then.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._is_over = False
        self._process = os.getpid()

    @property
    def is_usable(self) -> bool:
        """Whether it is neither closed nor the parent's, with whom a file is shared."""
        return not self._is_over and os.getpid() == self._process

    def close(self) -> None:
        """Close it, now or as soon as the step that is being taken has ended."""
        self._is_over = True
        if self._turn.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._turn.release()

    def _take(self, step: Callable[..., R], *args: Any) -> R:
        """Take a step; no other one is taken meanwhile."""
        try:
            with self._turn:
                return step(*args)
        finally:
            if self._is_over:
                self.close()

    def _close(self) -> None:
        raise NotImplementedError

    def __del__(self) -> None:
        # Of those who have not come to the end: a loop that has ended closes nothing.
        if not vars(self).get("_is_over", True):
            self.close()


class Stream(_Closable, Iterator[Any]):
    """The stored items of a call, read one by one.

    Parameters
    ----------
    entries : StreamEntries
        Where they are.
    key : EntryKey
        Of which entry they are.
    file : binary file
        Open at the start of the items; closed at their end.

    Attributes
    ----------
    count : int
        How many were read.
    is_whole : bool
        Whether all were.
    returned : object
        What the generator has returned, then.
    """

    def __init__(self, entries: StreamEntries, key: EntryKey, file: BinaryIO) -> None:
        self._entries = entries
        self._key = key
        self._file = file
        self._items: Generator[Any, None, Any] = read_items(
            file, modules=entries.modules(key), seal=entries.seal(key)
        )
        self._problem: Exception | None = None
        self.count = 0
        self.returned: Any = None
        self.is_whole = False
        super().__init__()

    def next(self) -> tuple[Any] | None:
        """Return the next item, in a tuple; None at the end, or where it is damaged.

        The latter is told, and the entry removed.
        """
        item = self._take(self._read)
        if item is None and self._problem is not None and not self._is_over:
            self._entries.give_up(self._key, self._problem)
        if item is None:
            self.close()
        return item

    def some(self) -> list[Any]:
        """Return the next items, as many as are read in a moment; at the end none."""
        until, items = time.perf_counter() + READ_AHEAD, []
        while (item := self.next()) is not None:
            items.append(item[0])
            if time.perf_counter() > until:
                break
        return items

    def __next__(self) -> Any:
        """Return the next item.

        Raises
        ------
        StopIteration
            At the end, with what the generator has returned.
        EntryNotFound
            If it is damaged; also a `KeyError`.
        """
        item = self._take(self._read)
        if item is not None:
            return item[0]
        self.close()
        if self.is_whole:
            raise StopIteration(self.returned)
        problem = self._problem or "it was closed, or begun by another process"
        raise EntryNotFound(
            f"the items of {self._key.path} at {self._entries.store.location} cannot "
            f"be read to their end: {problem}"
        ) from self._problem

    def _read(self) -> tuple[Any] | None:
        if not self.is_usable or self._problem is not None:
            return None
        try:
            with reading_from(self._entries.store, self._key):
                item = next(self._items)
        except StopIteration as end:
            self.returned, self.is_whole = end.value, True
            return None
        except (ContainerError, OSError, StoreError) as error:
            self._problem = error
            return None
        self.count += 1
        return (item,)

    def _close(self) -> None:
        self._items.close()
        self._file.close()


class Recorder(_Closable):
    """Appends the items of a call to its entry, as long as that goes well.

    Parameters
    ----------
    entries : StreamEntries
        Where the entry will be.
    call : Running
        The call.
    over : bool, default False
        Whether to replace what is there.
    is_strict : bool, default False
        Whether to raise what goes wrong, whatever the policies say.
    """

    def __init__(
        self,
        entries: StreamEntries,
        call: Running,
        *,
        over: bool = False,
        is_strict: bool = False,
    ) -> None:
        self._entries = entries
        self._call = call
        self._over = over
        self._is_strict = is_strict or entries.policies.on_error == "raise"
        self._is_settled = False
        self._file: BinaryIO | None = None
        self._writer: ItemWriter | None = None
        super().__init__()

    def begin(self) -> None:
        """Begin the entry."""
        self._take(self._try, self._open)

    def append(self, item: object) -> None:
        """Write an item, which may be changed afterwards."""
        if self._writer is not None:
            self._take(self._try, self._append, item)

    def commit(self, returned: object, seconds: float) -> None:
        """Publish the items; without all of them, nothing."""
        self._take(self._commit, returned, seconds)

    def put(self, returned: object) -> None:
        """Publish items that were not computed here; raise what goes wrong."""
        self._is_settled = True
        Entries.put(self._entries, self._call, _Items(self, returned))

    def finish(self, returned: object) -> int:
        """Write the end of the items; return the size of all."""
        if self._writer is None or self._file is None:
            return 0
        with self._storing() as written:
            size = self._writer.close(returned)
            written.check(returned)
        self._file.close()
        return size

    @property
    def has_all(self) -> bool:
        """Whether every item was written so far."""
        return self._writer is not None and self.is_usable

    def _open(self) -> None:
        if self._entries.store.is_read_only and not self._is_strict:
            return
        self._file = self._call.begin().open(VALUE)
        seal = self._entries.seal(self._call.key.entry)
        self._writer = ItemWriter(self._file, self._entries.policies.codec, seal)

    def _append(self, item: object) -> None:
        if self._writer is not None and self.is_usable:
            with self._storing() as written:
                self._writer.append(item)
                written.check(item)

    def _storing(self) -> writing_files:
        return self._call.storing(signed=self._entries.memory.signing_key is not None)

    def _try(self, write: Callable[..., None], *args: Any) -> None:
        try:
            write(*args)
        except Exception as error:
            self._drop()
            if self._is_strict:
                raise
            self._entries.complain("could not be stored", error)

    def _drop(self) -> None:
        """Drop the items; files that the call has made are in use perhaps."""
        self._close_file()
        if self._call.files is None:
            self._call.discard()

    def _commit(self, returned: object, seconds: float) -> None:
        if not self.is_usable:
            return
        self._is_settled = True  # what is left over is cleared away by this
        value = _Items(self, returned)
        self._entries.commit(self._call, value, seconds, over=self._over)
        self._entries.keep_small(self._call)

    def _close(self) -> None:
        if os.getpid() != self._process:  # all of it belongs to the parent
            if self._file is not None:
                getattr(self._file, "raw", self._file).close()  # and nothing is flushed
            return
        self._close_file()
        if not self._is_settled:
            self._is_settled = True
            self._call.discard()

    def _close_file(self) -> None:
        file, self._file, self._writer = self._file, None, None
        if file is not None:
            with contextlib.suppress(OSError):  # a full disk: it is dropped anyway
                file.close()


class _Items:
    """What a generator has yielded and returned, as the value of an entry.

    It has no digest: a reference to it counts by the call.
    """

    def __init__(self, recorder: Recorder, returned: object) -> None:
        self.recorder = recorder
        self.returned = returned

    def __cachekit_hash__(self) -> NoReturn:
        raise TypeError("the items of a generator have no digest")


class StreamEntries(Entries):
    """The entries of a generator function."""

    def stream(self, key: EntryKey) -> Stream | None:
        """Return the stored items of a call; None if there are none."""
        hit = self.look_up(key)
        if hit is None or isinstance(hit[0], Stream):
            return None if hit is None else hit[0]
        error = CorruptedFile("the entry holds a value, and no items of a generator")
        self.give_up(key, error)
        return None

    def open(self, key: EntryKey) -> Hit | None:
        """Return the items of an entry as a `Stream`, another value as it is."""
        file = self.store.open(key)
        if file is None:
            return None
        try:
            head = file.read(8)
            if is_items(head):
                file.seek(0)
                return (Stream(self, key, file),)
        except BaseException:
            file.close()
            raise
        file.close()
        return super().open(key)

    def _as_stored(self, call: Running) -> None:  # noqa: ARG002
        """Return None: what was yielded cannot be taken back."""
        return

    def put(self, call: Running, value: Iterable[Any]) -> None:  # type: ignore[override]
        """Store items that were not computed here; raise what goes wrong."""
        recorder, items = Recorder(self, call, is_strict=True), iter(value)
        with contextlib.closing(recorder):
            recorder.begin()
            while True:
                try:
                    item = next(items)
                except StopIteration as end:
                    returned = end.value
                    break
                recorder.append(item)
            recorder.put(returned)

    def give_up(self, key: EntryKey, error: Exception) -> None:
        """Say that items are damaged, and remove them."""
        self.complain("could not be read to its end, and is computed again", error)
        if not isinstance(error, (OSError, StoreError, UnsupportedContainer)):
            self._drop(key)

    def _write(self, staging: Staging, call: Running, value: Any) -> int:  # noqa: ARG002
        return int(value.recorder.finish(value.returned))

    def _is_wanted(self, call: Running, value: Any, seconds: float) -> bool:
        return value.recorder.has_all and super()._is_wanted(
            call, value.returned, seconds
        )


def check_policies(policies: Policies) -> None:
    """Refuse what makes no sense for items.

    Raises
    ------
    ValueError
        If they are to be kept in memory.
    """
    if policies.memory_tier:
        raise ValueError(
            f"memory_tier={policies.memory_tier}: the items of a generator are not "
            f"kept in memory; cache a function that returns a list of them"
        )


def refuse(sent: object) -> None:
    """Refuse what was sent to a generator.

    Raises
    ------
    TypeError
        If it is anything.
    """
    if sent is not None:
        raise TypeError(
            "a cached generator takes nothing by send(): its items would depend on it"
        )
