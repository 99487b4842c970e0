"""Why a call was computed: of a stored call, or of a function as its code is now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachekit.errors import EntryNotFound
from cachekit.inspection.importing import import_function
from cachekit.inspection.reports import find
from cachekit.memoization import Memory
from cachekit.memoization.explaining import Explanation, explain_entry
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.uncached import NotMemorizedFunc
from cachekit.memoization.wrapping import BoundMethod
from cachekit.stores import EntryKey, Store


@dataclass(frozen=True)
class Why:
    """Why a call would be a hit or a miss, or was computed.

    Attributes
    ----------
    explanation : Explanation
        What there is to say of the call.
    last : Explanation or None
        Of a function that was asked about without arguments, and of which the last
        call would be a hit: why that was computed when it was.
    is_cached : bool
        Whether the function is cached where it is defined. If not, it is taken as
        cached without options.
    """

    explanation: Explanation
    last: Explanation | None = None
    is_cached: bool = True

    @property
    def is_hit(self) -> bool:
        """Whether the call would be a hit, or is a stored one."""
        return self.explanation.is_hit or self.explanation.is_stored


def why_entry(store: Store, name: str) -> Why:
    """Say why a stored call was computed when it was.

    Parameters
    ----------
    store : Store
        Where it is.
    name : str
        The first digits of its key, or its path.

    Returns
    -------
    Why
        With the nearest call that was stored before.

    Raises
    ------
    EntryNotFound
        If there is no such entry, or its record cannot be read.
    """
    key = find(store, name).key
    found = explain_entry(store, key)
    if found is None:
        raise EntryNotFound(f"the record of {key.path} is missing or damaged")
    return Why(found)


def why_call(
    function: object,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    store: Store | None = None,
) -> Why:
    """Say whether a call would be a hit, or else what differs from the nearest entry.

    Parameters
    ----------
    function : callable or str
        A function, cached or not, or the name of one: see `import_function`.
    args, kwargs
        The arguments.
    store : Store, optional
        In the place of the function's own; needed if the function is not cached.

    Returns
    -------
    Why
        Print its ``explanation`` to read it.

    Raises
    ------
    ValueError
        If there is no such function, or it does not take these arguments.
    """
    cached, first, is_cached = as_cached(function, store)
    arguments, named = (*first, *args), dict(kwargs or {})
    if isinstance(cached, MemorizedFunc):
        try:
            cached._bind(*arguments, **named)
        except TypeError as error:
            raise ValueError(str(error)) from error
    return Why(cached.explain(*arguments, **named), is_cached=is_cached)


def why_function(function: object, *, store: Store | None = None) -> Why:
    """Say whether the last call of a function would be a hit by its code now.

    Parameters
    ----------
    function, store
        As for `why_call`.

    Returns
    -------
    Why
        With the last call, and why it would be a hit or a miss.

    Raises
    ------
    ValueError
        If there is no such function.
    """
    cached, _, is_cached = as_cached(function, store)
    if not isinstance(cached, MemorizedFunc):  # of a memory without a store
        return Why(cached.explain(), is_cached=is_cached)
    found = cached.explain_again()
    if found is None:
        return Why(_of_nothing(cached), is_cached=is_cached)
    last = None
    if found.is_hit and found.nearest is not None:
        last = explain_entry(cached.store_backend, found.nearest)
    return Why(found, last, is_cached)


def is_cached(function: object) -> bool:
    """Tell whether a function is cached, or wraps one that is.

    Parameters
    ----------
    function : object
        Anything.

    Returns
    -------
    bool
        False for what is no function.
    """
    return isinstance(cached_within(function), _KINDS)


_KINDS = (MemorizedFunc, NotMemorizedFunc, BoundMethod)


def cached_within(function: Any) -> Any:
    """Return the cached function that others are wrapped around."""
    while not isinstance(function, _KINDS) and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def as_cached(
    function: object, store: Store | None
) -> tuple[MemorizedFunc[Any, Any] | NotMemorizedFunc[Any, Any], Any, bool]:
    """Return a function as it is cached in a store, and what it is bound to."""
    name = function if isinstance(function, str) else repr(function)
    if isinstance(function, str):
        function = import_function(function)
    first: tuple[Any, ...] = ()
    found = cached_within(function)
    if isinstance(found, BoundMethod):
        first, found = (found.__self__,), found.__func__
    if isinstance(found, MemorizedFunc):
        if store is not None:
            found = type(found)(found.func, Memory(store), options=found._options)
        return found, first, True
    if store is None and isinstance(found, NotMemorizedFunc):
        return found, first, True
    plain: Any = found.func if isinstance(found, NotMemorizedFunc) else function
    if not callable(plain):
        raise ValueError(f"{name} is no function, but of type {type(plain).__name__}")
    if store is None:
        raise ValueError(f"{name} is not cached, and no store was named")
    return Memory(store).cache(plain), first, False


def _of_nothing(cached: MemorizedFunc[Any, Any]) -> Explanation:
    """Say that nothing is stored, and where something may be that was meant."""
    name, store = cached.func_id, cached.store_backend
    key = EntryKey(name, cached.fingerprint(), "")
    count = sum(1 for _ in store.entries(name))
    if count:
        return Explanation(name, key, "unreadable", entries=count)
    end = f".{name.rpartition('.')[2]}"
    alike = {one.key.function for one in store.entries()}
    others = sorted(other for other in alike if other.endswith(end))[:3]
    note = f"there are calls of {', '.join(others)}" if others else ""
    note = note or f"it was looked for in {store.location}"
    return Explanation(name, key, "no entries", note=note)
