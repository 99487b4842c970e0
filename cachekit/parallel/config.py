"""Which backend runs tasks, and with which settings: said once for a block of code.

Settings belong to a thread. A worker has those of its level: loops inside tasks run in
threads, and those inside these one after the other.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeGuard

from cachekit.parallel.backends import (
    ParallelBackendBase,
    SequentialBackend,
    ThreadingBackend,
)
from cachekit.parallel.cores import whole_n_jobs
from cachekit.parallel.process_backends import LokyBackend, MultiprocessingBackend
from cachekit.texts import hint_for

PREFERENCES = (None, "processes", "threads")
REQUIREMENTS = (None, "sharedmem")

DEFAULT_BACKEND = "loky"


class Unset:
    """A parameter that was not given; shows what it is then.

    Parameters
    ----------
    value : object
        The default.
    """

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


DEFAULTS: dict[str, Any] = {
    "backend": None,
    "n_jobs": None,
    "verbose": 0,
    "temp_folder": None,
    "max_nbytes": "1M",
    "mmap_mode": "r",
    "prefer": None,
    "require": None,
}


class _Settings(threading.local):
    """What holds in a thread."""

    chosen: Mapping[str, Any] = DEFAULTS


_settings = _Settings()


def setting(name: str, given: Any) -> Any:
    """Return what was given, or else what holds here."""
    if not isinstance(given, Unset):
        return given
    chosen = _settings.chosen[name]
    return DEFAULTS[name] if isinstance(chosen, Unset) else chosen


class parallel_config:  # noqa: N801  (joblib's name)
    """Set defaults for `Parallel` in a block of code, or until `unregister`.

    What is set holds in this thread, from when the object is made.

    Parameters
    ----------
    backend : str, ParallelBackendBase or multiprocessing context, optional
        ``"loky"``, ``"multiprocessing"``, ``"threading"``, ``"sequential"``,
        ``"dask"``, ``"ray"``, or one that was registered.
    n_jobs, verbose, temp_folder, max_nbytes, mmap_mode, prefer, require
        As for `Parallel`.
    inner_max_num_threads : int, optional
        Threads that numerical libraries may use in each worker; needs a backend.
    **backend_params
        For the backend.

    Raises
    ------
    ValueError
        If a value is not understood, or there are options and no backend.
    TypeError
        If an option is written wrongly.

    Examples
    --------
    >>> from cachekit import Parallel, delayed, parallel_config
    >>> with parallel_config(backend="threading", n_jobs=2):
    ...     Parallel()(delayed(abs)(x) for x in (-1, -2))
    [1, 2]
    """

    def __init__(
        self,
        backend: Any = Unset(None),  # noqa: B008
        *,
        n_jobs: Any = Unset(None),  # noqa: B008
        verbose: Any = Unset(0),  # noqa: B008
        temp_folder: Any = Unset(None),  # noqa: B008
        max_nbytes: Any = Unset("1M"),  # noqa: B008
        mmap_mode: Any = Unset("r"),  # noqa: B008
        prefer: Any = Unset(None),  # noqa: B008
        require: Any = Unset(None),  # noqa: B008
        inner_max_num_threads: int | None = None,
        **backend_params: Any,
    ) -> None:
        if isinstance(backend, Unset) or backend is None:
            if inner_max_num_threads is not None or backend_params:
                raise ValueError(
                    "inner_max_num_threads and options of a backend need a backend: "
                    "parallel_config(backend='loky', ...)"
                )
        else:
            backend = backend_from(
                backend, inner_max_num_threads=inner_max_num_threads, **backend_params
            )
            check_options(parallel_config, backend_params, backend)
        given = {
            "backend": backend,
            "n_jobs": n_jobs,
            "verbose": verbose,
            "temp_folder": temp_folder,
            "max_nbytes": max_nbytes,
            "mmap_mode": mmap_mode,
            "prefer": prefer,
            "require": require,
        }
        check_hints(setting("prefer", prefer), setting("require", require))
        self.old_parallel_config = _settings.chosen
        chosen = {
            name: self.old_parallel_config[name] if isinstance(value, Unset) else value
            for name, value in given.items()
        }
        if chosen["n_jobs"] is not None:
            chosen["n_jobs"] = whole_n_jobs(chosen["n_jobs"])
        self.parallel_config: Mapping[str, Any] = chosen
        _settings.chosen = chosen

    def __enter__(self) -> Any:
        return self.parallel_config

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unregister()

    def unregister(self) -> None:
        """Have what held before hold again."""
        _settings.chosen = self.old_parallel_config


class parallel_backend(parallel_config):  # noqa: N801  (joblib's name)
    """Set the backend of `Parallel` for a block of code; `parallel_config` does more.

    Parameters
    ----------
    backend : str, ParallelBackendBase or multiprocessing context
        As for `parallel_config`.
    n_jobs : int, default -1
        As for `Parallel`; all cores by default.
    inner_max_num_threads : int, optional
        As for `parallel_config`.
    **backend_params
        For the backend.
    """

    def __init__(
        self,
        backend: Any,
        n_jobs: int | None = -1,
        inner_max_num_threads: int | None = None,
        **backend_params: Any,
    ) -> None:
        super().__init__(
            backend,
            n_jobs=n_jobs,
            inner_max_num_threads=inner_max_num_threads,
            **backend_params,
        )
        self.new_backend_and_jobs = (
            self.parallel_config["backend"],
            self.parallel_config["n_jobs"],
        )

    def __enter__(self) -> Any:
        return self.new_backend_and_jobs


def register_parallel_backend(
    name: str, factory: Callable[..., ParallelBackendBase], make_default: bool = False
) -> None:
    """Make a backend of your own known by a name.

    Parameters
    ----------
    name : str
        As it is given to `Parallel` and `parallel_config`.
    factory : callable
        Returns a `ParallelBackendBase`; usually its class.
    make_default : bool, default False
        Whether it is used where no backend is named.
    """
    global DEFAULT_BACKEND
    BACKENDS[name] = factory
    if make_default:
        DEFAULT_BACKEND = name


def effective_n_jobs(n_jobs: int | None = -1) -> int:
    """Return how many tasks would run at once.

    Parameters
    ----------
    n_jobs : int, default -1
        As for `Parallel`; None for what holds here.

    Returns
    -------
    int
        At least 1.
    """
    if n_jobs == 1:
        return 1
    backend, active = get_active_backend()
    wanted = active if n_jobs is None else n_jobs
    return int(backend.effective_n_jobs(n_jobs=1 if wanted is None else wanted))


def get_active_backend(
    prefer: str | None = None, require: str | None = None, verbose: int = 0
) -> tuple[Any, int | None]:
    """Return the backend that would be used here, and its number of jobs.

    Parameters
    ----------
    prefer, require : str, optional
        As for `Parallel`.
    verbose : int, default 0
        Accepted for joblib's sake.

    Returns
    -------
    backend : ParallelBackendBase
        The backend.
    n_jobs : int or None
        How many jobs were asked for; None if nobody has said.
    """
    del verbose
    check_hints(prefer, require)
    chosen, n_jobs = setting("backend", Unset(None)), setting("n_jobs", Unset(None))
    backend = chosen if chosen is not None else backend_named(DEFAULT_BACKEND)
    wants_threads = chosen is None and prefer == "threads" and not backend.uses_threads
    needs_threads = require == "sharedmem" and not backend.supports_sharedmem
    if wants_threads or needs_threads:
        threads = ThreadingBackend(nesting_level=backend.nesting_level or 0)
        return threads, 1 if needs_threads else n_jobs
    return backend, n_jobs


def check_hints(prefer: str | None, require: str | None) -> None:
    """Check `prefer` and `require`.

    Raises
    ------
    ValueError
        If one is not understood, or they contradict each other.
    """
    if prefer not in PREFERENCES:
        raise ValueError(
            f"prefer={prefer!r} is not a valid backend hint, expected one of "
            f"{PREFERENCES}"
        )
    if require not in REQUIREMENTS:
        raise ValueError(
            f"require={require!r} is not a valid backend constraint, expected one of "
            f"{REQUIREMENTS}"
        )
    if prefer == "processes" and require == "sharedmem":
        raise ValueError(
            "prefer='processes' and require='sharedmem' are inconsistent settings: "
            "processes share no memory"
        )


def check_options(taker: type, options: Iterable[str], backend: Any) -> None:
    """Refuse what would go to the backend only since it is written wrongly.

    Raises
    ------
    TypeError
        If one is not the backend's, and nearly one that `taker` has itself.
    """
    for name in options:
        hint = hint_for(name, inspect.signature(taker).parameters, likeness=0.8)
        if hint and name not in _options_of(backend):
            raise TypeError(f"{taker.__name__}() has no option {name}{hint}")


def _options_of(backend: Any) -> set[str]:
    methods = (backend.__init__, backend.configure)
    return {name for one in methods for name in inspect.signature(one).parameters}


def backend_from(backend: Any, **options: Any) -> ParallelBackendBase:
    """Return the backend that a user names, at the level of nesting of this thread.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    active = setting("backend", Unset(None))
    level = 0 if active is None else active.nesting_level or 0
    if _is_one(backend):
        if backend.nesting_level is None:
            backend.nesting_level = level
        return backend
    if hasattr(backend, "Process") and hasattr(backend, "get_start_method"):
        options["context"] = backend
        backend = "multiprocessing"
    return backend_named(backend, nesting_level=level, **options)


def _is_one(backend: Any) -> TypeGuard[ParallelBackendBase]:
    """Tell whether it is a backend, perhaps one that was written for joblib."""
    return hasattr(backend, "effective_n_jobs") and hasattr(backend, "submit")


@contextlib.contextmanager
def inside(nested: tuple[ParallelBackendBase, int | None] | None) -> Iterator[None]:
    """Have a backend hold for the loops inside tasks; None changes nothing."""
    if nested is None:
        yield
        return
    backend, n_jobs = nested
    before = _settings.chosen
    _settings.chosen = {**DEFAULTS, "backend": backend, "n_jobs": n_jobs}
    try:
        yield
    finally:
        _settings.chosen = before


def backend_named(name: Any, **options: Any) -> ParallelBackendBase:
    """Return a backend by its name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in BACKENDS and name in _ELSEWHERE:
        BACKENDS[name] = _ELSEWHERE[name]()
    if name not in BACKENDS:
        known = sorted({*BACKENDS, *_ELSEWHERE})
        raise ValueError(f"Invalid backend: {name}, expected one of {known}")
    options = {key: value for key, value in options.items() if value is not None}
    level = options.pop("nesting_level", None)
    backend = BACKENDS[name](**options)
    if getattr(backend, "nesting_level", None) is None:
        backend.nesting_level = level or 0
    return backend


def _dask() -> Any:
    from cachekit.parallel.clusters import DaskBackend

    return DaskBackend


def _ray() -> Any:
    from cachekit.parallel.clusters import RayBackend

    return RayBackend


# By the name that users write.
BACKENDS: dict[str, Callable[..., ParallelBackendBase]] = {
    "loky": LokyBackend,
    "multiprocessing": MultiprocessingBackend,
    "sequential": SequentialBackend,
    "threading": ThreadingBackend,
}

# Those that need what may not be installed.
_ELSEWHERE: dict[str, Callable[[], Any]] = {"dask": _dask, "ray": _ray}
