"""The cached call. A reader starts here.

::

    f(x, y=2)
     1 bind      call.compile_binder: defaults filled in, ignored names dropped
     2 key       call.call_key: function, fingerprint, a digest for each argument
     3 look up   store.open(key)
     4 hit       serialization.read_value, every byte checked
     5 miss      (one process computes, the others wait: not yet)
     6 compute   f(x, y=2), outside every handler
     7 commit    value and record staged, then one atomic rename
     8 return    the value

Looking up and committing turn what goes wrong with the cache into a
`CacheWarning`; what goes wrong in the user's function is the user's.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import time
import types
import warnings
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar

from cachekit.errors import (
    CacheKitError,
    CacheWarning,
    ContainerError,
    StoreError,
    UnsupportedContainer,
)
from cachekit.hashing import Code, function_name
from cachekit.memoization import lineage
from cachekit.memoization.call import (
    Binder,
    CallKey,
    call_key,
    compile_binder,
    ignored_names,
)
from cachekit.serialization import read_value, write_value
from cachekit.stores import EntryKey

if TYPE_CHECKING:
    from cachekit.memoization.memory import Memory

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("cachekit")


class _Hit(NamedTuple):
    """What a look-up returns, so that a cached None is a hit too."""

    value: Any


class MemorizedFunc(Generic[P, R]):
    """A function whose calls are kept in a store; made by `Memory.cache`.

    Parameters
    ----------
    function : callable
        The function to cache.
    memory : Memory
        Where its results are kept.
    ignore : collection of str
        Parameters that take no part in the key.

    Attributes
    ----------
    func : callable
        The function itself; call it to compute without the cache.
    """

    __name__: str
    __qualname__: str

    def __init__(
        self,
        function: Callable[P, R],
        memory: Memory,
        *,
        ignore: Collection[str] = (),
    ) -> None:
        ignored_names(function, ignore)  # a wrong name is told at once
        functools.update_wrapper(self, function)
        self.func = function
        self.memory = memory
        self.ignore = tuple(ignore)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result of the call, from the store if it is there."""
        bound = self._bind(*args, **kwargs)
        key = self._key(bound)
        hit = self._look_up(key.entry)
        if hit is not None:
            return hit.value  # type: ignore[no-any-return]
        started = time.time()
        clock = time.perf_counter()
        value = self.func(*args, **kwargs)
        seconds = time.perf_counter() - clock
        self._commit(key, bound, value, started, seconds)
        return value

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance, which is then the first argument of each call."""
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"MemorizedFunc({self._name}, location={self.memory.location!r})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by name where the name leads here, else with the function."""
        found: Any = sys.modules.get(self.func.__module__)
        for name in self.func.__qualname__.split("."):
            found = getattr(found, name, None)
        if found is self:
            return str(self.func.__qualname__)
        return (_memorize, (self.func, self.memory, self.ignore))

    def __cachekit_hash__(self) -> object:
        """Count, as an argument, by the code of the function."""
        return self.func

    def check_call_in_cache(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Tell whether a call would be a hit, without reading or computing it."""
        key = self._key(self._bind(*args, **kwargs)).entry
        try:
            file = self._store.open(key)
        except (OSError, StoreError) as error:
            self._warn("looked up", error)
            return False
        if file is None:
            return False
        file.close()
        return True

    def clear(self, warn: bool = True) -> None:
        """Remove every result of this function, of all versions of its code.

        Parameters
        ----------
        warn : bool, default True
            Log that it was done.
        """
        if warn:
            _log.warning("clearing the cache of %s", self._name)
        self._store.clear(self._name)

    # --- the steps, in order ---

    @functools.cached_property
    def _bind(self) -> Binder:
        return compile_binder(self.func, self.ignore)

    @functools.cached_property
    def _code(self) -> Code:
        return Code(self.func)

    @functools.cached_property
    def _name(self) -> str:
        return function_name(self.func)

    @functools.cached_property
    def _store(self) -> Any:
        return self.memory.store

    def _key(self, bound: dict[str, object]) -> CallKey:
        return call_key(self._name, self._code.fingerprint(), bound)

    def _look_up(self, key: EntryKey) -> _Hit | None:
        try:
            file = self._store.open(key)
            if file is None:
                return None
            with file:
                value = read_value(file)
        except (OSError, StoreError, UnsupportedContainer) as error:
            self._warn("read", error)
            return None
        except ContainerError as error:
            self._warn("read", error)
            self._drop(key)
            return None
        self.memory.counter.hit(key)
        return _Hit(value)

    def _commit(
        self,
        key: CallKey,
        bound: dict[str, object],
        value: object,
        started: float,
        seconds: float,
    ) -> None:
        self.memory.counter.miss(seconds)
        _log.info("computed %s in %.3g s", self._name, seconds)
        try:
            with self._store.stage(key.entry) as staging:
                clock = time.perf_counter()
                with staging.open("value") as file:
                    size = write_value(file, value, self.memory.codec)
                record = lineage.Record(
                    function=self._name,
                    fingerprint=key.entry.fingerprint,
                    key=key.entry.digest,
                    arguments=lineage.describe_arguments(bound, key.arguments),
                    started=lineage.timestamp(started),
                    seconds_computing=round(seconds, 6),
                    seconds_storing=round(time.perf_counter() - clock, 6),
                    value_bytes=size,
                    **lineage.environment(),
                )
                with staging.open("record.json") as file:
                    file.write(record.to_json())
                self._describe_code(key.entry)
                staging.commit()
        except Exception as error:  # noqa: BLE001  (pickling runs the value's code)
            self._warn("stored", error)

    def _describe_code(self, key: EntryKey) -> None:
        about = {"function": self._name, **self._code.describe()._asdict()}
        self._store.write_code(key, (json.dumps(about, indent=1) + "\n").encode())

    def _drop(self, key: EntryKey) -> None:
        try:
            self._store.delete(key)
        except (OSError, CacheKitError) as error:
            self._warn("removed", error)

    def _warn(self, done: str, error: Exception) -> None:
        """Say that the cache failed, at the line of the user's call."""
        text = f"a result of {self._name}() could not be {done}: {error}"
        warnings.warn(CacheWarning(f"{text}; the call is computed"), stacklevel=4)


class NotMemorizedFunc(Generic[P, R]):
    """A function that is not cached, with the methods of one that is."""

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self.func = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.func(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance."""
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"NotMemorizedFunc({function_name(self.func)})"

    def check_call_in_cache(self, *args: P.args, **kwargs: P.kwargs) -> bool:  # noqa: ARG002
        """Return False: nothing is kept."""
        return False

    def clear(self, warn: bool = True) -> None:
        """Do nothing: nothing is kept."""


def _memorize(
    function: Callable[P, R], memory: Memory, ignore: tuple[str, ...]
) -> MemorizedFunc[P, R]:
    return MemorizedFunc(function, memory, ignore=ignore)
