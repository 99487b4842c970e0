"""A result that is not loaded yet: where it is, and its digest."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cachekit.errors import ContainerError, EntryNotFound
from cachekit.memoization.entries import Entries
from cachekit.memoization.lineage import Record
from cachekit.memoization.lookups import metadata
from cachekit.memoization.options import Policies, mmap_mode_from
from cachekit.memoization.streaming import StreamEntries
from cachekit.stores import EntryKey

if TYPE_CHECKING:
    from cachekit.memoization.memory import Memory


class MemorizedResult:
    """A stored result; made by `MemorizedFunc.call_and_shelve`.

    As an argument of a cached function it counts by the digest of its value, which is
    not loaded for that: two references to equal values are the same argument.

    Parameters
    ----------
    location : Memory, str, path or Store
        Where the result is.
    call_id : EntryKey or sequence of str
        Function, fingerprint and digest of the call.
    backend : str, default "local"
        As for `Memory`.
    mmap_mode : {"r", "r+", "w+", "c"}, optional
        How arrays are mapped; see `Memory`.
    verbose : int, default 0
        As for `Memory`.
    timestamp, metadata : object, optional
        Accepted for joblib's sake; the record is read instead.

    Examples
    --------
    >>> shelved = load_data.call_and_shelve("2026")  # doctest: +SKIP
    >>> shelved.get()  # doctest: +SKIP
    """

    __cachekit_reference__ = True  # for `Parallel`

    def __init__(
        self,
        location: Any,
        call_id: Any,
        backend: str = "local",
        mmap_mode: Any = None,
        verbose: int = 0,
        timestamp: object = None,  # noqa: ARG002
        metadata: object = None,  # noqa: ARG002
    ) -> None:
        from cachekit.memoization.memory import Memory

        memory = location
        if not isinstance(location, Memory):
            memory = Memory(location, backend, mmap_mode=mmap_mode, verbose=verbose)
        policies = memory.policies
        if mmap_mode is not None:
            policies = policies._replace(mmap_mode=mmap_mode_from(mmap_mode))
        key = _key_from(call_id)
        self._set(_entries_of(memory, key, policies), key)

    @classmethod
    def in_entries(cls, entries: Entries, key: EntryKey) -> MemorizedResult:
        """Return a reference to an entry of a function."""
        reference = cls.__new__(cls)
        reference._set(entries, key)
        return reference

    def _set(self, entries: Entries, key: EntryKey) -> None:
        self._entries = entries
        self.key = key

    def get(self) -> Any:
        """Load the result.

        Returns
        -------
        object
            The result; its arrays are mapped if the memory maps them.

        Raises
        ------
        EntryNotFound
            If the result is gone, or damaged; also a `KeyError`.
        StoreError, OSError
            If the store cannot be read.
        """
        try:
            hit = self._entries.open(self.key)
        except (ContainerError, IsADirectoryError) as error:
            raise EntryNotFound(
                f"the result {self.key.path} at {self.location} is corrupted: {error}; "
                f"call the function again to compute it anew"
            ) from error
        if hit is None:
            raise EntryNotFound(
                f"there is no result {self.key.path} at {self.location} any more; call "
                f"the function again to compute it anew"
            )
        return hit[0]

    def clear(self) -> None:
        """Remove the result from the store; silent if it is gone."""
        self._entries.forget(self.key)

    @property
    def location(self) -> str:
        """Where the result is kept."""
        return self._entries.store.location

    @property
    def store_backend(self) -> Any:
        """The store; joblib's name for it."""
        return self._entries.store

    @property
    def mmap_mode(self) -> str | None:
        """How arrays are mapped."""
        return self._entries.policies.mmap_mode

    @property
    def func(self) -> str:
        """The function's name, ``module.qualname``."""
        return self._entries.name

    @property
    def func_id(self) -> str:
        """The function's name; joblib's name for it."""
        return self._entries.name

    @property
    def args_id(self) -> str:
        """The digest of the call."""
        return self.key.digest

    @property
    def record(self) -> Record | None:
        """What is known of the call; None if that is gone."""
        return self._entries.facts(self.key)

    @property
    def metadata(self) -> dict[str, Any]:
        """What joblib has in its metadata: duration, time and arguments."""
        record = self.record
        return {} if record is None else metadata(record)

    @property
    def duration(self) -> float | None:
        """Seconds that the call took."""
        record = self.record
        return None if record is None else record.seconds_computing

    @property
    def timestamp(self) -> datetime | None:
        """When the call began."""
        record = self.record
        return None if record is None else datetime.fromisoformat(record.started)

    def __repr__(self) -> str:
        return (
            f'MemorizedResult(location="{self.location}", func="{self.func}", '
            f'args_id="{self.args_id}")'
        )

    def _repr_html_(self) -> str:
        from cachekit.memoization import html

        rows = [("location", self.location), *html.rows_of_record(self.record)]
        return html.table(f"a result of {self.func}", rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MemorizedResult):
            return NotImplemented
        return (self.key, self.location) == (other.key, other.location)

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        entries = self._entries
        return (_reference, (entries.memory, self.key, entries.policies.mmap_mode))

    def __cachekit_hash__(self) -> object:
        """Count by the digest of the value; where that has none, by what was called."""
        if self._entries.memory.signing_key is not None:
            # Records are not signed: who can write there could lead to another result.
            return ("a reference", tuple(self.key))
        # Read each time: another value may have been put in its place.
        record = self.record
        if record is None:
            return ("a reference", tuple(self.key))
        if record.value is None:
            return ("a reference", tuple(self.key), record.started)
        return ("a reference", record.value)


def _entries_of(memory: Memory, key: EntryKey, policies: Policies) -> Entries:
    if memory.store is None:
        raise TypeError("a memory without a store has no results")
    # Which reads plain values too.
    return StreamEntries(key.function, memory, memory.store, policies, "")


def _key_from(call_id: Any) -> EntryKey:
    """Return the key that a user has written out."""
    key = tuple(call_id)
    if len(key) != len(EntryKey._fields) or not all(isinstance(p, str) for p in key):
        raise ValueError(
            f"call_id={call_id!r} is not the function, the fingerprint and the digest "
            f"of a call: take the attribute `key` of another reference"
        )
    # They name folders: ".." would lead out of the store.
    if not (key[1].isalnum() and key[2].isalnum()):
        raise ValueError(f"call_id={call_id!r}: fingerprint and digest are hexadecimal")
    return EntryKey(*key)


def _reference(memory: Memory, key: EntryKey, mmap_mode: Any) -> MemorizedResult:
    policies = memory.policies._replace(mmap_mode=mmap_mode)
    return MemorizedResult.in_entries(_entries_of(memory, key, policies), key)
