"""The cached call. A reader starts here.

::

    f(x, y=2)
     1 bind      call.compile_binder: defaults filled in, ignored names dropped
     2 key       call.call_key: function, fingerprint, a digest for each argument
     3 look up   Entries.look_up: the tier in memory, then the store
     4 hit       serialization.read_value, every byte checked; or map_value
     5 miss      stores.flights: one computes, the others wait and look up again
     6 compute   f(x, y=2), outside every handler, inside a `Running`
     7 commit    Entries.commit: value and record staged, then one atomic rename
     8 return    the value

Looking up and committing turn what goes wrong with the cache into a
`CacheWarning`; what goes wrong in the user's function is the user's. Coroutines
(`coroutine`) and generators (`generator`) take the same steps.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from cachekit.errors import UnhashableArgument
from cachekit.hashing import Code, CodeVersion, function_name
from cachekit.hashing.code import code_of
from cachekit.memoization import lineage
from cachekit.memoization.call import (
    Binder,
    CallKey,
    call_key,
    compile_binder,
    digest_of,
    ignored_names,
    parameters_of,
    redacted_names,
)
from cachekit.memoization.entries import Entries
from cachekit.memoization.lookups import Hit, metadata
from cachekit.memoization.options import (
    CacheOptions,
    CodeOptions,
    code_options_from,
    policies_from,
)
from cachekit.memoization.reference import MemorizedResult
from cachekit.memoization.running import Running, note_child
from cachekit.memoization.tally import CacheInfo
from cachekit.memoization.uncached import NotMemorizedResult
from cachekit.memoization.wrapping import Wrapper
from cachekit.stores import EntryKey, Store

if TYPE_CHECKING:
    from cachekit.memoization.explaining import Explanation
    from cachekit.memoization.memory import Memory

P = ParamSpec("P")
R = TypeVar("R")


class MemorizedFunc(Wrapper[P, R]):
    """A function whose calls are kept in a store; made by `Memory.cache`.

    Parameters
    ----------
    func : callable
        The function to cache.
    location : Memory, str, path or Store
        Where its results are kept.
    backend, ignore, mmap_mode, compress, verbose, cache_validation_callback
        As for `Memory` and `Memory.cache`.
    timestamp : object, optional
        Accepted for joblib's sake.
    options : CacheOptions, optional
        The options of `Memory.cache`, in the place of those before.

    Attributes
    ----------
    func : callable
        The function itself; call it to compute without the cache.
    memory : Memory
        Where its results are kept.
    ignore : list of str
        Parameters that take no part in the key.
    policies : Policies
        How its results are kept.
    """

    def __init__(
        self,
        func: Callable[P, R],
        location: Any,
        backend: str = "local",
        ignore: Iterable[str] | None = None,
        mmap_mode: Any = None,
        compress: Any = False,
        verbose: int = 0,
        timestamp: object = None,  # noqa: ARG002
        cache_validation_callback: Callable[[dict[str, Any]], object] | None = None,
        *,
        options: CacheOptions | None = None,
    ) -> None:
        super().__init__(func)
        if options is None:
            from cachekit.memoization.memory import Memory

            location = Memory(
                location, backend, mmap_mode, compress=compress, verbose=verbose
            )
            options = {"cache_validation_callback": cache_validation_callback}
            if ignore is not None:
                options["ignore"] = tuple(ignore)
        self.memory: Memory = location
        self._options = options
        self.ignore = options.get("ignore") or ()
        ignored_names(func, self.ignore)  # a wrong name is told at once
        self.ignore = list(self.ignore)
        policies = policies_from(self.memory.policies, options)
        redact = redacted_names(func, policies.redact, self.ignore)
        self.policies = policies._replace(redact=redact)
        self._code_options = code_options_from(options)
        self._code = _code_for(func, self._code_options)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result of the call, from the store if it is there."""
        bound = self._bind(*args, **kwargs)
        key = self._key(bound)
        hit = self._entries.look_up(key.entry)
        if hit is None:
            hit = self._compute(key, bound, args, kwargs)
        return hit[0]  # type: ignore[no-any-return]

    def _compute(
        self,
        key: CallKey,
        bound: dict[str, object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Hit:
        """Compute a result in one's turn, or have it from who computed it first."""
        entries = self._entries
        entries.check_may_compute(key.entry)
        with entries.turn(key.entry) as turn:
            if turn.hit is not None:
                return turn.hit
            call = self._begin(key, bound)
            hit = self._run(call, args, kwargs)
        entries.keep_small(call)
        return hit

    def _run(
        self,
        call: Running,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        over: bool = False,
    ) -> Hit:
        """Compute a result and store it, in the place of what is there if `over`."""
        with call:
            clock = time.perf_counter()
            value = self.func(*args, **kwargs)
            seconds = time.perf_counter() - clock
        return self._entries.commit(call, value, seconds, over=over) or (value,)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Compute the result in any case, and store it in the place of what is there.

        Returns
        -------
        value : object
            The result.
        metadata : dict
            What is known of the call: ``duration`` in seconds, ``time`` when it began
            in seconds since 1970, ``input_args``. Empty if it could not be stored.
        """
        bound = self._bind(*args, **kwargs)
        call = self._begin(self._key(bound), bound)
        hit = self._run(call, args, kwargs, over=True)
        self._entries.keep_small(call)
        return hit[0], self._metadata(call)

    def call_and_shelve(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return a reference to the result, which is computed if need be.

        A stored result is neither loaded nor hashed for that.

        Returns
        -------
        MemorizedResult or NotMemorizedResult
            The latter if the result could not be stored.
        """
        bound = self._bind(*args, **kwargs)
        key = self._key(bound)
        if not self._entries.use(key.entry):
            hit = self._compute(key, bound, args, kwargs)
            if not self._entries.contains(key.entry):
                return NotMemorizedResult(hit[0])
        return MemorizedResult.in_entries(self._entries, key.entry)

    def check_call_in_cache(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Tell whether a result of the call is stored, without reading it.

        Returns
        -------
        bool
            It says nothing of whether the result can be read.
        """
        return self._entries.contains(self._key_of(*args, **kwargs).entry)

    def lookup(self, /, *args: P.args, **kwargs: P.kwargs) -> MemorizedResult | None:
        """Return a reference to the stored result of a call; None if there is none.

        Returns
        -------
        MemorizedResult or None
            Its ``get()`` loads the result.
        """
        key = self._key_of(*args, **kwargs).entry
        if not self._entries.contains(key):
            return None
        return MemorizedResult.in_entries(self._entries, key)

    def put(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Store a value as the result of a call, in the place of what is there.

        Parameters
        ----------
        value : object
            The result.
        *args, **kwargs
            The arguments of the call.

        Raises
        ------
        StoreError, OSError
            If it cannot be stored.
        Exception
            Whatever the value's own pickling raises.
        """
        bound = self._bind(*args, **kwargs)
        call = self._begin(self._key(bound), bound)
        self._entries.put(call, value)
        self._entries.keep_small(call)

    def forget(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Remove the result of a call; silent if there is none."""
        self._entries.forget(self._key_of(*args, **kwargs).entry)

    def clear(self, warn: bool = True) -> None:
        """Remove every result of this function, of all versions of its code.

        Parameters
        ----------
        warn : bool, default True
            Log that it was done.
        """
        self._entries.clear(tell=warn)

    def explain(self, /, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Say whether a call is a hit, or else what differs from the nearest result.

        Returns
        -------
        Explanation
            Which arguments and which units of code differ; print it to read it.
        """
        from cachekit.memoization.explaining import explain

        bound = self._bind(*args, **kwargs)
        key = call_key(self._name, self.fingerprint(), bound)
        return explain(
            self._store,
            key,
            self._facts(key, bound),
            self._description(),
            ignored=self.ignore,
            is_expired=self._entries.usable_since(key.entry) is None,
        )

    def explain_again(self) -> Explanation | None:
        """Say whether the last call would be a hit now, by the code as it is now.

        The last is the one computed last of those stored.

        Returns
        -------
        Explanation or None
            In what the call differs from itself; None if none is stored whose record
            can be read.
        """
        from cachekit.memoization.explaining import explain_again

        return explain_again(
            self._store,
            self._name,
            self._description(),
            self._facts_by_default(),
            ignored=self.ignore,
            is_expired=lambda key: self._entries.usable_since(key) is None,
        )

    def _description(self) -> CodeVersion:
        """Describe the code, or the version that it was accepted as."""
        from cachekit.memoization.explaining import read_code

        version = self.fingerprint()
        if version == self._code.fingerprint():
            return self._code.describe()
        found = read_code(self._store, EntryKey(self._name, version, ""))
        return found or self._code.describe()._replace(fingerprint=version)

    def _facts_by_default(self) -> dict[str, dict[str, str]]:
        """Say of each parameter what its default is; nothing of those without one."""
        kinds: dict[Any, object] = {
            inspect.Parameter.VAR_POSITIONAL: (),
            inspect.Parameter.VAR_KEYWORD: {},
        }
        dropped = ignored_names(self.func, self.ignore)
        facts: dict[str, dict[str, str]] = {}
        for name, parameter in parameters_of(self.func, self.ignore).items():
            if name in dropped:
                continue
            default = kinds.get(parameter.kind, parameter.default)
            facts[name] = {}
            if default is not inspect.Parameter.empty:
                # One without a digest was not the argument of a stored call.
                with contextlib.suppress(UnhashableArgument):
                    digests = {name: digest_of(default)}
                    redact = self.policies.redact
                    facts |= lineage.describe_arguments(
                        {name: default}, digests, redact
                    )
        return facts

    def __cachekit_plan__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[object, MemorizedResult | None]:
        """Name a call, and give its stored result; what `Parallel` asks first."""
        key = self._key(self._bind(*args, **kwargs)).entry
        if not self._entries.use(key):
            return key, None
        return key, MemorizedResult.in_entries(self._entries, key)

    def __cachekit_computed__(self, seconds: float) -> None:
        """Count a call that another process has computed; `Parallel` tells of it."""
        self.memory.counter.miss_elsewhere(self._name, seconds)

    def cache_info(self) -> CacheInfo:
        """Say what the cache did for this function in this process.

        Returns
        -------
        CacheInfo
            Hits, misses, seconds saved, and the bytes of all its stored results.
        """
        return self.memory.counter.info(self._store, self._name)

    def map(
        self, iterable: Iterable[Any], *, n_jobs: int = 1, progress: bool = False
    ) -> list[R]:
        """Call the function with each item, and return the results in order.

        Stored results are read, equal items are computed once, and each result is
        stored as soon as it is there: what is interrupted goes on where it was.

        Parameters
        ----------
        iterable : iterable
            The only argument of each call; tuples are taken as they are.
        n_jobs : int, default 1
            Processes that compute; -1 for one each core.
        progress : bool, default False
            Show a progress bar.

        Returns
        -------
        list
            The results.

        Raises
        ------
        Exception
            The first that a call raises; calls not yet begun are given up.
        """
        from cachekit.memoization.many import map_calls

        return map_calls(self, iterable, n_jobs=n_jobs, progress=progress)

    def __repr__(self) -> str:
        return f"MemorizedFunc({self._name}, location={self.memory.location!r})"

    def _repr_html_(self) -> str:
        from cachekit.memoization import html

        signature = f"{self._name}{inspect.signature(self.func)}"
        where = ("location", str(self.memory.location))
        return html.table(signature, [where, *html.rows_of_info(self.cache_info())])

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by name where the name leads here, else with the function."""
        return self.global_name() or self.by_value()

    def by_value(self) -> tuple[Any, ...]:
        """Return what it is made anew of, as `__reduce__` does."""
        return (_memorize, (type(self), self.func, self.memory, self._options))

    def __cachekit_hash__(self) -> object:
        """Count, as an argument or a global, by the code of the function."""
        if self._code_options == type(self._code_options)():
            return self.func
        return (self.func, tuple(self._code_options))

    # --- joblib's names ---

    @property
    def func_id(self) -> str:
        """The function's name, ``module.qualname``."""
        return self._name

    @property
    def store_backend(self) -> Store:
        """The store."""
        return self._store

    @property
    def mmap_mode(self) -> str | None:
        """How arrays of results are mapped."""
        return self.policies.mmap_mode

    @property
    def compress(self) -> Any:
        """How results are compressed, as it was given."""
        given = self._options.get("compress")
        return self.memory.compress if given is None else given

    @property
    def cache_validation_callback(self) -> Callable[[dict[str, Any]], object] | None:
        """What tells whether a stored result is still valid."""
        return self.policies.is_valid

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
    def _entries(self) -> Entries:
        code = getattr(self.func, "__code__", None)
        return self._entries_type(
            self._name,
            self.memory,
            self._store,
            self.policies,
            getattr(code, "co_filename", ""),
        )

    _entries_type: type[Entries] = Entries

    @functools.cached_property
    def _versions(self) -> dict[str, str]:
        return self.memory.accepted.of(self._name)

    def fingerprint(self) -> str:
        """Return the digest of the code, or of the version that it was accepted as.

        Returns
        -------
        str
            32 hexadecimal digits.
        """
        digest = self._code.fingerprint()
        version = self._versions.get(digest)
        return version or self.memory.accepted.find(self._name, digest)

    def _key(self, bound: dict[str, object]) -> CallKey:
        key = call_key(self._name, self.fingerprint(), bound)
        note_child(key.entry)
        return key

    def _key_of(self, /, *args: P.args, **kwargs: P.kwargs) -> CallKey:
        """Return the key of a call that is only asked about, not made."""
        bound = self._bind(*args, **kwargs)
        return call_key(self._name, self.fingerprint(), bound)

    def _begin(self, key: CallKey, bound: dict[str, object]) -> Running:
        """Note what is known of a call before it is computed."""
        is_new = self._entries.is_new_code(key.entry)
        code = None
        if is_new and key.entry.fingerprint == self._code.fingerprint():
            code = self._code.describe()
        return Running(key, bound, self._facts(key, bound), code, self._store)

    def _facts(
        self, key: CallKey, bound: Mapping[str, object]
    ) -> dict[str, dict[str, str]]:
        return lineage.describe_arguments(bound, key.arguments, self.policies.redact)

    def _metadata(self, call: Running) -> dict[str, Any]:
        record = self._entries.facts(call.key.entry) if call.size > 0 else None
        return {} if record is None else metadata(record)


def _code_for(function: Callable[..., Any], options: CodeOptions) -> Code:
    """Return the code of a function; that of one in a module is surveyed once.

    Some libraries cache the same functions again for each call.
    """
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    name = getattr(function, "__name__", "")
    is_global = name != "" and getattr(module, name, None) is function
    if is_global and options == CodeOptions():
        return code_of(function)
    return Code(function, **options._asdict())


def _memorize(
    kind: type[MemorizedFunc[P, R]],
    function: Callable[P, R],
    memory: Memory,
    options: CacheOptions,
) -> MemorizedFunc[P, R]:
    return kind(function, memory, options=options)
