"""A store that is only read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from cachekit.errors import StoreError
from cachekit.stores.base import Staging, Store
from cachekit.stores.names import EntryInfo, EntryKey
from cachekit.stores.tiered import TieredStore


class ReadOnlyStore(Store):
    """A store of which nothing is changed, not even the times of last use.

    Parameters
    ----------
    store : Store
        The store to read.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        # What is asked for a place on this machine; two stores would fill the near one.
        self._placing = store
        if isinstance(store, TieredStore):
            near, far = ReadOnlyStore(store.near), ReadOnlyStore(store.far)
            self._placing = TieredStore(near, far)

    def __repr__(self) -> str:
        return f"ReadOnlyStore({self.store!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (ReadOnlyStore, (self.store,))

    @property
    def location(self) -> str:
        """The location of the store that is read."""
        return self.store.location

    @property
    def place(self) -> str:
        """The place of the store that is read."""
        return self.store.place

    @property
    def is_read_only(self) -> bool:
        """True."""
        return True

    @property
    def is_connected(self) -> bool:
        """Whether the store that is read can be asked at once."""
        return self.store.is_connected

    @property
    def kept_small(self) -> Store:
        """The near one of two, read only; else this one."""
        placing = self._placing
        return placing.kept_small if isinstance(placing, TieredStore) else self

    def open(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry; None if absent."""
        return self.store.peek(key)

    def peek(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry; None if absent."""
        return self.store.peek(key)

    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry."""
        return self.store.contains(key)

    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry, or None if it is absent."""
        return self.store.read(key, name)

    def locate(self, key: EntryKey) -> str | None:
        """Return the path of a value, to be mapped; None if there is none."""
        return self._placing.locate(key)

    def files(self, key: EntryKey, names: Iterable[str], version: str = "") -> Path:
        """Return the folder in which files of an entry are on this machine."""
        return self._placing.files(key, names, version)

    def entries(self, function: str | None = None) -> Iterator[EntryInfo]:
        """List the entries, or those of one function, in no order."""
        return self.store.entries(function)

    def read_code(self, key: EntryKey) -> bytes | None:
        """Return the description of the code version of `key`, or None."""
        return self.store.read_code(key)

    def hits(self) -> dict[str, int]:
        """Return how many times each entry was used, by `EntryKey.path`."""
        return self.store.hits()

    def misses(self) -> dict[str, int]:
        """Return how many calls of each function were computed, by its folder."""
        return self.store.misses()

    def read_document(self, path: str) -> bytes | None:
        """Return a small file, or None if it is absent."""
        return self.store.read_document(path)

    def documents(self, folder: str) -> list[str]:
        """Return the paths of the small files in a folder."""
        return self.store.documents(folder)

    def write_document(self, path: str, content: bytes) -> None:  # noqa: ARG002
        """Refuse."""
        raise self._refusal()

    def remove_document(self, path: str) -> None:  # noqa: ARG002
        """Refuse."""
        raise self._refusal()

    def stage(self, key: EntryKey) -> Staging:  # noqa: ARG002
        """Refuse."""
        raise self._refusal()

    def delete(self, key: EntryKey) -> None:  # noqa: ARG002
        """Refuse."""
        raise self._refusal()

    def clear(self, function: str | None = None) -> None:  # noqa: ARG002
        """Refuse."""
        raise self._refusal()

    def pin(self, key: EntryKey) -> None:  # noqa: ARG002
        """Refuse."""
        raise self._refusal()

    def unpin(self, key: EntryKey) -> None:  # noqa: ARG002
        """Refuse."""
        raise self._refusal()

    def write_code(self, key: EntryKey, content: bytes) -> None:  # noqa: ARG002
        """Refuse."""
        raise self._refusal()

    def add_hits(
        self,
        hits: Mapping[EntryKey, int],  # noqa: ARG002
        misses: Mapping[str, int] | None = None,  # noqa: ARG002
    ) -> None:
        """Refuse."""
        raise self._refusal()

    def _refusal(self) -> StoreError:
        return StoreError(f"{self.location} is read-only here: nothing is changed")
