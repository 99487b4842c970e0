"""The cached call. A reader starts here.

::

    f(x, y=2)
     1 bind      call.compile_binder: defaults filled in, ignored names dropped
     2 key       call.call_key: function, fingerprint, a digest for each argument
     3 look up   store.open(key)
     4 hit       serialization.read_value, every byte checked
     5 miss      stores.flights: one computes, the others wait and look up again
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
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar, cast

from cachekit.errors import (
    ContainerError,
    StoreError,
    UnsupportedContainer,
    warn,
)
from cachekit.hashing import Code, CodeVersion, function_name, main_name
from cachekit.memoization import lineage
from cachekit.memoization.call import (
    Binder,
    CallKey,
    call_key,
    compile_binder,
    ignored_names,
)
from cachekit.serialization import Label, Seal, read_value, write_value
from cachekit.stores import EntryKey, Store, Turn

if TYPE_CHECKING:
    from cachekit.memoization.memory import Memory

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("cachekit")


class CodeOptions(NamedTuple):
    """How the code of a function counts; see `Memory.cache`."""

    track: Any = "deep"
    version: object = None
    depends: Sequence[Any] = ()
    environment: Any = "record"


# What a look-up returns, so that a cached None is a hit too: the value in a tuple.
_Hit = tuple[Any]


class _Miss(NamedTuple):
    """What is known of a call before it is computed, which may change its arguments."""

    key: CallKey
    arguments: dict[str, dict[str, str]]
    code: CodeVersion | None
    started: float


class _Wrapper(Generic[P, R]):
    """What cached functions and those that are not have in common."""

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[P, R]) -> None:
        # Names and docstring, but not the attributes: another cached function may be
        # what is wrapped, and its attributes are not ours.
        functools.update_wrapper(cast(Any, self), function, updated=())
        self.func = function

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance, which is then the first argument of each call."""
        return self if instance is None else types.MethodType(cast(Any, self), instance)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({function_name(self.func)})"

    def __cachekit_hash__(self) -> object:
        """Count, as an argument or a global, by the code of the function."""
        return self.func

    def _global_name(self) -> str | None:
        """Return the name that leads to this very object in another process too."""
        name = getattr(self.func, "__qualname__", "")
        module = sys.modules.get(getattr(self.func, "__module__", None) or "")
        if module is None or not (module.__spec__ or hasattr(module, "__file__")):
            return None  # typed at a prompt
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else None


class MemorizedFunc(_Wrapper[P, R]):
    """A function whose calls are kept in a store; made by `Memory.cache`.

    Parameters
    ----------
    function : callable
        The function to cache.
    memory : Memory
        Where its results are kept.
    ignore : collection of str
        Parameters that take no part in the key.
    options : CodeOptions
        How the function's code counts.

    Attributes
    ----------
    func : callable
        The function itself; call it to compute without the cache.
    """

    def __init__(
        self,
        function: Callable[P, R],
        memory: Memory,
        *,
        ignore: Collection[str] = (),
        options: CodeOptions | None = None,
    ) -> None:
        super().__init__(function)
        ignored_names(function, ignore)  # a wrong name is told at once
        self.memory = memory
        self.ignore = tuple(ignore)
        self._options = options or CodeOptions()
        self._code = Code(function, **self._options._asdict())
        self._described: set[str] = set()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result of the call, from the store if it is there."""
        bound = self._bind(*args, **kwargs)
        key = self._key(bound)
        hit = self._look_up(key.entry)
        if hit is not None:
            return hit[0]  # type: ignore[no-any-return]
        with self._turn(key.entry) as turn:
            if turn.hit is not None:
                return turn.hit[0]  # type: ignore[no-any-return]
            miss = self._note(key, bound)
            clock = time.perf_counter()
            value = self.func(*args, **kwargs)
            size = self._commit(miss, value, time.perf_counter() - clock)
        self._keep_small(size)
        return value

    def __repr__(self) -> str:
        return f"MemorizedFunc({self._name}, location={self.memory.location!r})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by name where the name leads here, else with the function."""
        made_of = (self.func, self.memory, self.ignore, tuple(self._options))
        return self._global_name() or (_memorize, made_of)

    def __cachekit_hash__(self) -> object:
        """Count, as an argument or a global, by the code of the function."""
        if self._options == CodeOptions():
            return self.func
        return (self.func, tuple(self._options))

    def check_call_in_cache(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Tell whether a result of the call is stored, without reading it."""
        key = self._key(self._bind(*args, **kwargs)).entry
        try:
            return self._store.contains(key)
        except (OSError, StoreError) as error:
            self._warn("could not be looked up", error)
            return False

    def clear(self, warn: bool = True) -> None:
        """Remove every result of this function, of all versions of its code.

        Parameters
        ----------
        warn : bool, default True
            Log that it was done.
        """
        if warn:
            _log.info("clearing the cache of %s", self._name)
        self._store.clear(self._name)
        self._described.clear()

    # --- the steps, in order ---

    @functools.cached_property
    def _bind(self) -> Binder:
        return compile_binder(self.func, self.ignore)

    @functools.cached_property
    def _name(self) -> str:
        return function_name(self.func)

    @functools.cached_property
    def _store(self) -> Store:
        if self.memory.store is None:
            raise TypeError("a memory without a store makes no cached functions")
        return self.memory.store

    @functools.cached_property
    def _main_alias(self) -> dict[str, str]:
        """Name the classes of a script alike, run as a script or imported."""
        module = getattr(self.func, "__module__", None)
        if module in ("__main__", "__mp_main__"):
            return {main_name(): "__main__"}
        return {"__main__": module, "__mp_main__": module} if module else {}

    def _key(self, bound: dict[str, object]) -> CallKey:
        return call_key(self._name, self._code.fingerprint(), bound)

    def _look_up(self, key: EntryKey) -> _Hit | None:
        try:
            return self._read(key)
        except (ContainerError, IsADirectoryError) as error:
            self._warn("could not be read, and is computed again", error)
            if not isinstance(error, UnsupportedContainer):
                self._drop(key)
            return None
        except (OSError, StoreError) as error:
            self._warn("could not be read, and is computed again", error)
            return None

    def _look_again(self, key: EntryKey) -> _Hit | None:
        """Look up while another may be computing; what is damaged was told before."""
        try:
            return self._read(key)
        except (ContainerError, OSError):
            return None
        except StoreError as error:
            self._warn("could not be looked up again", error)
            return None

    def _read(self, key: EntryKey) -> _Hit | None:
        file = self._store.open(key)
        if file is None:
            return None
        with file:
            value = read_value(file, modules=self._main_alias, seal=self._seal(key))
        self.memory.counter.hit(key)
        return (value,)

    def _seal(self, key: EntryKey) -> Seal | Label:
        secret, entry = self.memory.signing_key, key.digest.encode()
        return Label(entry) if secret is None else Seal(secret, entry)

    def _turn(self, key: EntryKey) -> Turn[_Hit]:
        """Wait for whoever computes this call already; else it is our turn."""
        if self.memory.on_conflict == "compute" or self._store.is_read_only:
            return Turn(None)
        look_up = functools.partial(self._look_again, key)
        timeout = self.memory.conflict_timeout
        return self._store.flights.turn(key.lease, look_up, timeout=timeout)

    def _note(self, key: CallKey, bound: dict[str, object]) -> _Miss:
        is_new = key.entry.fingerprint not in self._described
        code = self._code.describe() if is_new else None
        arguments = lineage.describe_arguments(bound, key.arguments)
        return _Miss(key, arguments, code, time.time())

    def _commit(self, miss: _Miss, value: object, seconds: float) -> int:
        """Store a result; return its size, 0 if that failed."""
        self.memory.counter.miss(seconds)
        _log.info("computed %s in %.3g s", self._name, seconds)
        if self._store.is_read_only:
            return 0
        key = miss.key.entry
        try:
            with self._store.stage(key) as staging:
                clock = time.perf_counter()
                with staging.open("value") as file:
                    size = write_value(file, value, self.memory.codec, self._seal(key))
                record = lineage.Record(
                    function=self._name,
                    fingerprint=key.fingerprint,
                    key=key.digest,
                    arguments=miss.arguments,
                    started=lineage.timestamp(miss.started),
                    seconds_computing=round(seconds, 6),
                    seconds_storing=round(time.perf_counter() - clock, 6),
                    value_bytes=size,
                    **lineage.environment(),
                )
                staging.write("record.json", record.to_json())
                if miss.code is not None:
                    self._describe_code(key, miss.code)
                staging.commit()
        except Exception as error:  # noqa: BLE001  (pickling runs the value's code)
            self._warn("could not be stored", error)
            return 0
        return size

    def _keep_small(self, size: int) -> None:
        try:
            if size > 0:
                self.memory.after_commit(size)
        except (OSError, StoreError) as error:
            self._warn("was stored, but its store could not be kept small", error)

    def _describe_code(self, key: EntryKey, code: CodeVersion) -> None:
        if code.fingerprint != key.fingerprint:  # edited between two steps
            return
        about = {"function": self._name, **code._asdict()}
        self._store.write_code(key, (json.dumps(about, indent=1) + "\n").encode())
        self._described.add(key.fingerprint)

    def _drop(self, key: EntryKey) -> None:
        if self._store.is_read_only:
            return
        try:
            self._store.drop(key)
        except (OSError, StoreError) as error:
            self._warn("could not be removed", error)

    def _warn(self, what: str, error: Exception) -> None:
        """Say that the cache failed, at the line of the user's call."""
        cause: object = error
        if isinstance(error, OSError) and error.strerror:
            # Without the path, which has a new name in it each time: Python then
            # shows the same failure once and not a thousand times.
            cause = f"{error.strerror} in {self._store.location}"
        warn(f"a result of {self._name}() {what}: {cause}")


class NotMemorizedFunc(_Wrapper[P, R]):
    """A function that is not cached, with the methods of one that is."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.func(*args, **kwargs)

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self._global_name() or (NotMemorizedFunc, (self.func,))

    def check_call_in_cache(self, *args: P.args, **kwargs: P.kwargs) -> bool:  # noqa: ARG002
        """Return False: nothing is kept."""
        return False

    def clear(self, warn: bool = True) -> None:
        """Do nothing: nothing is kept."""


def _memorize(
    function: Callable[P, R],
    memory: Memory,
    ignore: tuple[str, ...],
    options: tuple[Any, ...],
) -> MemorizedFunc[P, R]:
    return MemorizedFunc(function, memory, ignore=ignore, options=CodeOptions(*options))
