"""`Memory`, which ties functions to a store."""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from cachekit.hashing import main_name
from cachekit.hashing.boundary import sent_from
from cachekit.logger import Logger
from cachekit.memoization.accepting import AcceptedVersions
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.kinds import memorized_type, not_memorized
from cachekit.memoization.locations import (
    Location,
    absolute,
    store_for,
)
from cachekit.memoization.options import (
    CacheOptions,
    MmapMode,
    OnConflict,
    Policies,
    kept_limits_from,
    limits_from,
    mmap_mode_from,
    one_of,
    policies_from,
    seconds_from,
    secret_from,
    verbosity_from,
)
from cachekit.memoization.tally import CallCounter, Tally
from cachekit.memoization.tier import clear_everywhere
from cachekit.memoization.uncached import NotMemorizedFunc
from cachekit.memoization.upkeep import Upkeep, evict
from cachekit.memoization.verbosity import logger_for
from cachekit.memoization.wrapping import CachedClassMethod, Wrapper
from cachekit.serialization import codec_from
from cachekit.stores import DictStore, LocalStore, Store
from cachekit.stores.background import at_exit
from cachekit.stores.eviction import Policy
from cachekit.texts import hint_for

if TYPE_CHECKING:
    from cachekit.inspection import EntryReport, FunctionStatistics, Graph, Reports

P = ParamSpec("P")
R = TypeVar("R")


class Memory(Logger):
    """A place where results of functions are kept.

    Parameters
    ----------
    location : str, path-like, Store, [near, far] or None, default None
        A folder, made when the first result is stored; ``~`` is the home
        directory. Or the URL of a bucket or another remote folder, as in
        ``"s3://bucket/prefix"``: results are then also kept in a folder of this
        machine, which is asked first, and sent in the background. A list of two
        names that folder as well. A `cachekit.stores.Store` is used as it is. With None
        nothing is cached and every call goes straight to its function.
    backend : str, default "local"
        Another kind of store, by the name that `register_store_backend` gave it.
    mmap_mode : {"r", "r+", "w+", "c"}, optional
        Do not read the arrays of a result but map them, also at the first call:
        read-only, or copy-on-write. The modes that would write into the file are
        copy-on-write too: a stored result does not change.
    compress : bool, int, str or (str, int), default False
        How values are stored: False raw, True with zstd, a number from 1 to 9 for a
        level of zstd, a method as in ``"lz4"`` or ``"zstd+shuffle"``, or a method and
        its level.
    verbose : int, default 0
        With 1 to 10, say what is computed; above, what is loaded as well.
    backend_options : mapping, optional
        For the store of another `backend`.
    only_hits : bool, default False
        Raise `CacheMiss` rather than compute; see `offline`.
    on_conflict : {"wait", "compute"}, default "wait"
        What to do when another thread, process or host computes the same call
        already: wait for its result, or compute it too.
    conflict_timeout : float, optional
        Seconds to wait at most; by default as long as the other one is alive.
    max_bytes : int or str, optional
        What the results may take: a number, or a text as ``"500M"``, ``"10G"``,
        ``"2GiB"``, in units of 1024. When more was stored, entries leave until nine
        tenths are left; that is looked at after one commit in some.
    max_entries : int, optional
        How many results there may be, 1 at least.
    max_age : float, str or timedelta, optional
        Results that were not used for so long leave: seconds, or ``"30min"``, ``"7d"``.
    policy : {"lru", "cost"}, default "lru"
        Which entries leave first: those not used for longest, or those that are
        quickest to compute again for their size.
    read_only : bool, default False
        Change nothing at the location: what is not there is computed at each call.
        What is read from a remote location is still kept near.
    signing_key : bytes or str, optional
        A secret of 16 bytes or more. Results are signed with it, and none is read
        that was not: without it, whoever can write at the location can have Python
        run what he likes. By default that of the environment variable
        ``CACHEKIT_SIGNING_KEY``, if there is one.
    storage_options : mapping, optional
        For fsspec's client of a remote location, such as the address of a server.

    Raises
    ------
    StoreError
        If the location has a scheme that no store serves.
    MissingExtra
        If what serves it is not installed.
    ValueError
        If one of the values is not understood: `compress`, `on_conflict`,
        `conflict_timeout`, a limit, `policy`, a `signing_key` of fewer than 16 bytes,
        a location that is an empty text, a list of fewer or more than two locations,
        `storage_options` for a folder.
    TypeError
        If `location`, `verbose` or `signing_key` is of another type.

    Examples
    --------
    >>> from cachekit import Memory
    >>> memory = Memory("results")  # doctest: +SKIP
    >>> @memory.cache  # doctest: +SKIP
    ... def slow_square(x):
    ...     return x * x
    """

    def __init__(
        self,
        location: Location | Sequence[Location] | None = None,
        backend: str = "local",
        mmap_mode: MmapMode | None = None,
        compress: bool | int | str | tuple[str, int] = False,
        verbose: int = 0,
        backend_options: Mapping[str, Any] | None = None,
        *,
        only_hits: bool = False,
        on_conflict: OnConflict = "wait",
        conflict_timeout: float | None = None,
        max_bytes: int | str | None = None,
        max_entries: int | None = None,
        max_age: float | str | timedelta | None = None,
        policy: Policy = "lru",
        read_only: bool = False,
        signing_key: bytes | str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.backend = backend
        self.backend_options = dict(backend_options or {})
        self.mmap_mode = mmap_mode
        self.compress = compress
        self.verbose = verbose
        self.on_conflict = on_conflict
        self.policies = Policies(
            codec_from(compress),
            mmap_mode_from(mmap_mode),
            verbosity_from(verbose),
            one_of("on_conflict", on_conflict, OnConflict),
            seconds_from(conflict_timeout),
        )
        if mmap_mode is not None and compress:
            warnings.warn(
                "compressed results cannot be mapped: leave out compress or mmap_mode",
                stacklevel=2,
            )
        self.counter = CallCounter()
        self._only_hits = only_hits
        self._times_offline = 0
        self.store = store_for(
            location,
            read_only=read_only,
            storage_options=storage_options,
            backend=backend,
            backend_options={
                "compress": compress,
                "mmap_mode": mmap_mode,
                "verbose": verbose,
                **self.backend_options,
            },
        )
        # What leads to the store in another process.
        self._place = absolute(location) if backend == "local" else self.store
        self._way = {"read_only": read_only, "storage_options": storage_options}
        self.signing_key = secret_from(signing_key)
        # One that the environment has, it has for workers too.
        self._given_key = None if signing_key is None else self.signing_key
        self.policy: Policy = one_of("policy", policy, Policy)
        self.limits = kept_limits_from(max_bytes, max_entries, max_age)
        self._upkeep: Upkeep | None = None
        if self.store is not None and any(limit is not None for limit in self.limits):
            self._upkeep = Upkeep(self.store.kept_small, self.limits, policy)
        if self.store is not None:
            # At the end of the process, or when the memory is no longer used; but the
            # garbage collector, which may run anywhere, is not to wait for a service.
            if isinstance(self.store, (DictStore, LocalStore)):
                self.counter.keep_in(self.store)
                weakref.finalize(self, self.counter.save, self.store)
            _all_memories.add(self)

    @functools.cached_property
    def accepted(self) -> AcceptedVersions:
        """Which code counts as an older version of itself."""
        assert self.store is not None, "without a store nothing is cached"
        return AcceptedVersions(self.store, self.signing_key)

    @property
    def location(self) -> str | None:
        """Where results are kept; None if nowhere."""
        return None if self.store is None else self.store.location

    def __repr__(self) -> str:
        return f"Memory(location={self.location!r})"

    def _repr_html_(self) -> str:
        from cachekit.memoization import html

        return html.table(repr(self), html.rows_of_tally(self.tally()))

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "mmap_mode": self.mmap_mode,
            "compress": self.compress,
            "verbose": self.verbose,
            "backend_options": self.backend_options,
            "only_hits": self._only_hits,
            "on_conflict": self.on_conflict,
            "conflict_timeout": self.policies.conflict_timeout,
            "policy": self.policy,
            "signing_key": self._given_key,
            **self._way,
            **self.limits._asdict(),
        }
        return (_open_memory, (type(self), self._place, options, main_name()))

    def __cachekit_hash__(self) -> object:
        """Count for nothing: where results are kept does not change them."""
        return None

    @property
    def store_backend(self) -> Any:
        """The store; joblib's name for it."""
        return self.store

    @property
    def only_hits(self) -> bool:
        """Whether calls without a stored result raise `CacheMiss`."""
        return self._only_hits or self._times_offline > 0 or _is_all_offline.get()

    @overload
    def cache(
        self,
        func: Callable[P, R],
        **options: Unpack[CacheOptions],
    ) -> MemorizedFunc[P, R] | NotMemorizedFunc[P, R]: ...

    @overload
    def cache(
        self,
        func: None = None,
        **options: Unpack[CacheOptions],
    ) -> Callable[[Callable[P, R]], MemorizedFunc[P, R] | NotMemorizedFunc[P, R]]: ...

    def cache(
        self,
        func: Any = None,
        ignore: Any = None,
        verbose: Any = None,
        mmap_mode: Any = False,
        cache_validation_callback: Any = None,
        **options: Any,
    ) -> Any:
        """Cache a function; a decorator, with or without arguments.

        Coroutine functions, generator functions and asynchronous generator functions
        stay what they are; methods, class methods and static methods too.

        Parameters
        ----------
        func : callable
            The function. One that is cached already is unwrapped first.
        ignore : collection of str, optional
            Parameters that take no part in the key, such as a connection or a
            verbosity: calls that differ only in them share a result. ``"*"`` and
            ``"**"`` stand for the variable arguments.
        verbose : int, optional
            As for `Memory`, whose it is by default.
        mmap_mode : {"r", "r+", "w+", "c"} or None, optional
            As for `Memory`, whose it is by default.
        cache_validation_callback : callable, optional
            Given the metadata of a stored result (``duration`` in seconds, ``time``
            when it began, ``input_args``), tells whether it is still valid; see
            `expires_after`.
        track : {"deep", "self", "off"}, default "deep"
            Which code counts: all that the function can run and read; its own body,
            defaults and nothing else; or none.
        version : object, optional
            A value that counts as well, to be changed by hand.
        depends : sequence, optional
            More functions, values or files (as `pathlib.Path`) that count.
        environment : {"record", "exact"}, default "record"
            Whether the versions of Python and of the libraries that are called are
            only recorded, or count as well.
        expires : float, str or timedelta, optional
            A result is computed again when it is older: seconds, or ``"12h"``.
        compress, on_conflict : optional
            As for `Memory`, whose they are by default.
        on_error : {"warn", "raise"}, default "warn"
            What to do when a result cannot be stored.
        cache_if : callable, optional
            Given a result and the seconds that it took, tells whether to store it.
        redact : collection of str, optional
            Arguments whose values are not to be read in the record.
        memory_tier : int, default 0
            So many results are kept in memory as well, decoded. Arrays come from there
            read-only; what else can change is copied.

        Returns
        -------
        MemorizedFunc or NotMemorizedFunc
            To be called as the function is.

        Raises
        ------
        TypeError
            If `func` cannot be called.
        ValueError
            If `ignore` names a parameter that the function does not have, or another
            option has a value that is not understood.
        """
        unknown = options.keys() - CacheOptions.__annotations__.keys()
        if unknown:
            first, *_ = names = sorted(unknown)
            hint = hint_for(first, CacheOptions.__annotations__)
            raise TypeError(f"cache() has no option {', '.join(names)}{hint}")
        given: CacheOptions = {**options}  # type: ignore[typeddict-item]
        if ignore is not None:
            given["ignore"] = ignore
        if verbose is not None:
            given["verbose"] = verbose
        if mmap_mode is not False:
            given["mmap_mode"] = mmap_mode
        if cache_validation_callback is not None:
            given["cache_validation_callback"] = cache_validation_callback
        policies_from(self.policies, given)  # what is wrong is told at once
        return self._decorate(func, given)

    def _decorate(self, func: Any, options: CacheOptions) -> Any:
        if func is None:
            return functools.partial(self._decorate, options=options)
        if isinstance(func, classmethod):
            return CachedClassMethod(self._decorate(func.__func__, options))
        if isinstance(func, staticmethod):
            return staticmethod(self._decorate(func.__func__, options))
        if isinstance(func, Wrapper):
            func = func.func
        if not callable(func):
            raise TypeError(f"a function is cached, not {func!r}")
        if self.store is None:
            return not_memorized(func)
        return memorized_type(func)(func, self, options=options)

    def eval(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function through the cache.

        Parameters
        ----------
        func : callable
            The function.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        object
            What the function returns, computed or stored.
        """
        return self.cache(func)(*args, **kwargs)

    @contextlib.contextmanager
    def offline(self) -> Iterator[None]:
        """Have no function of this memory compute, in all threads, in a ``with`` block.

        A call without a stored result raises `CacheMiss`.
        """
        self._times_offline += 1
        try:
            yield
        finally:
            self._times_offline -= 1

    def clear(self, warn: bool = True) -> None:
        """Remove every result in the store.

        Parameters
        ----------
        warn : bool, default True
            Log that it was done.

        Raises
        ------
        StoreError
            If the memory is read-only.
        """
        if self.store is None:
            return
        if warn:
            logger_for(self.verbose).info("clearing the cache at %s", self.location)
        try:
            self.store.clear()
        finally:
            clear_everywhere(self.store.location)

    def reduce_size(
        self,
        bytes_limit: int | str | None = None,
        items_limit: int | None = None,
        age_limit: float | str | timedelta | None = None,
    ) -> None:
        """Remove results until the store is within limits; without any, do nothing.

        Of a remote location, it is the folder on this machine that is made smaller.

        Parameters
        ----------
        bytes_limit : int or str, optional
            Bytes to be left at most, as for `max_bytes`.
        items_limit : int, optional
            Results to be left at most.
        age_limit : timedelta, float or str, optional
            Results not used for longer leave.

        Raises
        ------
        ValueError
            If a limit is not understood, or negative.
        """
        names = ("bytes_limit", "items_limit", "age_limit")
        limits = limits_from(bytes_limit, items_limit, age_limit, names=names)
        if self.store is not None and any(limit is not None for limit in limits):
            evict(self.store.kept_small, limits, policy=self.policy)

    def flush(self) -> None:
        """Wait until every result is at the location, also a remote one.

        The end of the program does so too.
        """
        if self.store is not None:
            self.store.flush()

    def after_commit(self, size: int) -> None:
        """Note that an entry of so many bytes was stored; evict what is too much."""
        if self._upkeep is not None:
            self._upkeep.after_commit(size)

    def _log(self) -> logging.Logger:
        """Return where `warn`, `info` and `debug` log; librosa's cache uses them."""
        return logger_for(self.verbose)

    def tally(self) -> Tally:
        """Sum up what the cache did for this process so far.

        Returns
        -------
        Tally
            Hits, misses, and the seconds that both took or saved, of all functions.
        """
        return self.counter.tally(self.store or DictStore())

    # --- what is in the store: `cachekit.inspection` has more of it ---

    def entries(self, function: str | None = None) -> Reports[EntryReport]:
        """List the stored calls, those used last first.

        Parameters
        ----------
        function : str, optional
            Only those of one function, ``module.qualname``.

        Returns
        -------
        list of EntryReport
            Each with its ``function``, ``size`` in bytes, ``last_used`` in seconds
            since 1970, ``hits``, and ``record``, which is read when it is
            asked for. The list has ``to_frame()``, a table of pandas.
        """
        from cachekit import inspection

        store = self._counted_store()
        return inspection.Reports(inspection.entries(store, function))

    def stats(self) -> Reports[FunctionStatistics]:
        """Tell what the store has saved everybody who uses it, by function.

        Returns
        -------
        list of FunctionStatistics
            Each with ``hits``, ``misses``, ``hit_rate``, ``seconds_saved`` and
            ``bytes_saved``; what this process did so far is counted. The list has
            ``to_frame()``, a table of pandas.
        """
        from cachekit import inspection

        return inspection.Reports(inspection.statistics(self._counted_store()))

    def graph(self, name: str | None = None) -> Graph:
        """Find how stored results were made, and what was made of them.

        Parameters
        ----------
        name : str, optional
            A function, or the first digits of the key of an entry; all functions if
            not given.

        Returns
        -------
        Graph
            With ``nodes`` and ``edges``, and ``to_frame()``, a table of the edges.

        Raises
        ------
        EntryNotFound
            If nothing is so named, or several functions are.
        """
        from cachekit import inspection

        return inspection.graph(self.store or DictStore(), name)

    def _counted_store(self) -> Store:
        """Return the store, in which the hits of this process are counted."""
        if self.store is None:
            return DictStore()
        self.counter.save(self.store)
        return self.store


@contextlib.contextmanager
def all_offline() -> Iterator[None]:
    """Have no function of any memory compute in a ``with`` block.

    A call without a stored result raises `CacheMiss`. It holds for what this thread, or
    this task, does.
    """
    before = _is_all_offline.set(True)
    try:
        yield
    finally:
        _is_all_offline.reset(before)


_is_all_offline: ContextVar[bool] = ContextVar("all offline", default=False)


def _open_memory(
    kind: type[Memory], place: Any, options: dict[str, Any], sender: str
) -> Memory:
    sent_from(sender)
    return kind(place, **options)


def _save_all() -> None:
    for memory in list(_all_memories):
        if memory.store is not None:
            memory.counter.save(memory.store)


_all_memories: weakref.WeakSet[Memory] = weakref.WeakSet()
at_exit(_save_all)
