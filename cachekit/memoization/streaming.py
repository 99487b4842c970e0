"""Items of a generator in an entry: appended one by one, and read back one by one.

Nobody waits for a generator that another is going through: it may be paused for ever,
or by him who waits. So two who begin at once compute twice, and the first to end is
the one whose items stay.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, BinaryIO

from cachekit.errors import (
    ContainerError,
    CorruptedFile,
    StoreError,
    UnsupportedContainer,
)
from cachekit.memoization.artifacts import reading_from
from cachekit.memoization.entries import Entries
from cachekit.memoization.running import Running
from cachekit.serialization import ItemWriter, is_items, read_items
from cachekit.stores import EntryKey, Staging


class Stream:
    """The stored items of a call, from a place on; ends early if they are damaged.

    Parameters
    ----------
    entries : StreamEntries
        Where it is.
    key : EntryKey
        Which it is.
    file : binary file
        Open at the start of the items; closed at their end.
    """

    def __init__(self, entries: StreamEntries, key: EntryKey, file: BinaryIO) -> None:
        self._entries = entries
        self._key = key
        self._file = file
        self._items: Generator[Any, None, Any] = read_items(
            file, modules=entries.modules, seal=entries.seal(key)
        )
        self.count = 0
        self.returned: Any = None
        self.is_whole = False

    def next(self) -> tuple[Any] | None:
        """Return the next item, in a tuple; None at the end, or where it is damaged."""
        try:
            with reading_from(self._entries.store, self._key):
                item = next(self._items)
        except StopIteration as end:
            self.returned, self.is_whole = end.value, True
            return None
        except (ContainerError, OSError, StoreError) as error:
            self._entries.give_up(self._key, error)
            return None
        self.count += 1
        return (item,)

    def close(self) -> None:
        """Close the file."""
        self._items.close()
        self._file.close()


class Recorder:
    """Appends the items of a call to its entry, as long as that goes well.

    Parameters
    ----------
    entries : StreamEntries
        Where the entry will be.
    call : Running
        The call.
    """

    def __init__(self, entries: StreamEntries, call: Running) -> None:
        self._entries = entries
        self._call = call
        self._file: BinaryIO | None = None
        self._writer: ItemWriter | None = None
        self._try(self._open)

    def _open(self) -> None:
        if self._entries.store.is_read_only:
            return
        self._file = self._call.begin().open("value")
        seal = self._entries.seal(self._call.key.entry)
        self._writer = ItemWriter(self._file, self._entries.policies.codec, seal)

    def append(self, item: object) -> None:
        """Write an item, which may be changed afterwards."""
        if self._writer is not None:
            self._try(self._writer.append, item)

    def commit(self, returned: object, seconds: float) -> None:
        """Publish the items; without all of them, nothing."""
        self._entries.commit(self._call, (self, returned), seconds)
        self._entries.keep_small(self._call)

    def finish(self, returned: object) -> int:
        """Write the end of the items; return the size of all."""
        if self._writer is None or self._file is None:
            return 0
        size = self._writer.close(returned)
        self._file.close()
        return size

    @property
    def has_all(self) -> bool:
        """Whether every item was written so far."""
        return self._writer is not None

    def discard(self) -> None:
        """Drop what was written."""
        if self._file is not None:
            self._file.close()
        self._writer = self._file = None
        self._call.discard()

    def _try(self, write: Any, *args: Any) -> None:
        try:
            write(*args)
        except Exception as error:
            self.discard()
            if self._entries.policies.on_error == "raise":
                raise
            self._entries.complain("could not be stored", error)


class StreamEntries(Entries):
    """The entries of a generator function."""

    def stream(self, key: EntryKey) -> Stream | None:
        """Return the stored items of a call; None if there are none."""
        hit = self.look_up(key)
        return None if hit is None else hit[0]

    def open(self, key: EntryKey) -> tuple[Any] | None:
        """Return the items of an entry as a `Stream`; None if it is absent."""
        file = self.store.open(key)
        if file is None:
            return None
        try:
            head = file.read(8)
            file.seek(0)
            if not is_items(head):
                raise CorruptedFile("the entry holds no items of a generator")
            return (Stream(self, key, file),)
        except BaseException:
            file.close()
            raise

    def give_up(self, key: EntryKey, error: Exception) -> None:
        """Say that items are damaged, and remove them."""
        self.complain("could not be read to its end, and is computed again", error)
        if not isinstance(error, (OSError, StoreError, UnsupportedContainer)):
            self._drop(key)

    def _write(self, staging: Staging, call: Running, value: Any) -> int:  # noqa: ARG002
        recorder, returned = value
        return int(recorder.finish(returned))

    def _is_wanted(self, call: Running, value: Any, seconds: float) -> bool:
        recorder, returned = value
        return recorder.has_all and super()._is_wanted(call, returned, seconds)
