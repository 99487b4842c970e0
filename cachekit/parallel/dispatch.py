"""`Parallel`: what a loop is to be like. `loops` and `workers` run it."""

from __future__ import annotations

import sys
import threading
import warnings
import weakref
from collections.abc import Iterable, Sized
from types import TracebackType
from typing import Any

from cachekit.logger import Logger
from cachekit.parallel.backends import (
    ParallelBackendBase,
    claimed,
    let_go,
)
from cachekit.parallel.config import (
    Unset,
    backend_from,
    check_options,
    get_active_backend,
    setting,
)
from cachekit.parallel.cores import whole_n_jobs
from cachekit.parallel.loops import Loop, SequentialLoop
from cachekit.parallel.tasks import Task
from cachekit.parallel.workers import WorkersLoop

RETURNS = ("list", "generator", "generator_unordered", "reference")

# From this verbosity on, messages go to the standard output, as joblib has it.
LOUD = 50


class Parallel(Logger):
    """A loop whose steps run at once.

    Parameters
    ----------
    n_jobs : int, optional
        How many tasks run at once: -1 for one each core, -2 for one fewer. By default
        1, or what `parallel_config` says.
    backend : str, ParallelBackendBase or multiprocessing context, optional
        What runs them; by default ``"loky"``, which is processes.
    return_as : {"list", "generator", "generator_unordered", "reference"}
        Whether to return all results, or to yield them: in the order of the tasks, or
        as they come. With ``"reference"``, what is returned has a method `get`, which
        loads the result of a cached function when it is called.
    verbose : int, default 0
        Print how far it is: now and then, and above 10 for every batch.
    timeout : float, optional
        Seconds that a task may take, from its own start.
    pre_dispatch : int or str, default "2 * n_jobs"
        How many tasks are handed out at first, and so how far the loop is ahead of
        its results; ``"all"`` for all.
    batch_size : int or "auto", default "auto"
        How many tasks go to a worker at once; by default as many as take a moment.
    temp_folder : str, optional
        Where large arrays are put for the workers; by default in memory.
    max_nbytes : int, str or None, default "1M"
        Arrays from this size on are not sent but mapped; None for none.
    mmap_mode : {"r", "r+", "w+", "c"} or None, default "r"
        How workers map them.
    prefer : {"processes", "threads"}, optional
        What to use if no backend was chosen.
    require : {"sharedmem"}, optional
        What the backend has to be able to do: share the memory of this process.
    on_error : {"raise", "return", "skip"}, default "raise"
        What to do with a task that raises: raise its error and stop; return the error
        in the place of the result; or leave the result out.
    retries : int, default 0
        How many times a task that raises is run again.
    progress : bool, default False
        Show a progress bar.
    **backend_kwargs
        For the backend, such as `initializer` and `initargs`.

    Attributes
    ----------
    n_jobs, verbose, timeout, return_as
        As given.
    n_dispatched_tasks, n_dispatched_batches, n_completed_tasks : int
        How far the loop is.

    Raises
    ------
    ValueError
        If a value is not understood.
    TypeError
        If an option is none that the backend has, and is nearly one of the above.

    Examples
    --------
    >>> from math import sqrt
    >>> from cachekit import Parallel, delayed
    >>> Parallel(n_jobs=2, prefer="threads")(delayed(sqrt)(n * n) for n in range(3))
    [0.0, 1.0, 2.0]
    """

    def __init__(
        self,
        n_jobs: Any = Unset(None),  # noqa: B008
        backend: Any = Unset(None),  # noqa: B008
        return_as: str = "list",
        verbose: Any = Unset(0),  # noqa: B008
        timeout: float | None = None,
        pre_dispatch: int | str = "2 * n_jobs",
        batch_size: int | str = "auto",
        temp_folder: Any = Unset(None),  # noqa: B008
        max_nbytes: Any = Unset("1M"),  # noqa: B008
        mmap_mode: Any = Unset("r"),  # noqa: B008
        prefer: Any = Unset(None),  # noqa: B008
        require: Any = Unset(None),  # noqa: B008
        *,
        on_error: str = "raise",
        retries: int = 0,
        progress: bool = False,
        **backend_kwargs: Any,
    ) -> None:
        self.verbose = setting("verbose", verbose)
        self.timeout = timeout
        self.pre_dispatch = pre_dispatch
        self.return_as = _one_of("return_as", return_as, RETURNS)
        self.return_generator = return_as.startswith("generator")
        self.return_ordered = return_as != "generator_unordered"
        self.on_error = _one_of("on_error", on_error, ("raise", "return", "skip"))
        self.retries = _count("retries", retries)
        self.progress = progress
        if batch_size != "auto" and not (
            isinstance(batch_size, int) and batch_size > 0
        ):
            raise ValueError(
                f"batch_size must be 'auto' or a positive integer, got: {batch_size!r}"
            )
        self.batch_size = batch_size
        self._backend_kwargs = backend_kwargs
        self._shared = {
            "temp_folder": setting("temp_folder", temp_folder),
            "max_nbytes": setting("max_nbytes", max_nbytes),
            "mmap_mode": setting("mmap_mode", mmap_mode),
        }
        self._backend, chosen_n_jobs = _choose_backend(
            backend, setting("prefer", prefer), setting("require", require)
        )
        if backend_kwargs:
            check_options(Parallel, backend_kwargs, self._backend)
        jobs = chosen_n_jobs if isinstance(n_jobs, Unset) else n_jobs
        if jobs is None:
            jobs = chosen_n_jobs
        if jobs is None:
            jobs = self._backend.default_n_jobs
        self.n_jobs = whole_n_jobs(jobs)
        if self.return_generator and not self._backend.supports_return_generator:
            raise ValueError(
                f"the backend {type(self._backend).__name__} cannot return as it goes: "
                f"return_as={return_as!r} needs another"
            )
        self.n_tasks: int | None = None
        self.n_dispatched_tasks = 0
        self.n_dispatched_batches = 0
        self.n_completed_tasks = 0
        self._is_managed = False
        self._is_ready = False
        self._running: Loop | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> Parallel:
        self._is_managed = True
        self._prepare()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_managed = False
        if self._running is not None:
            self._running.abandon()
        self.finish()

    def __call__(self, iterable: Iterable[Task]) -> Any:
        """Run the tasks.

        Parameters
        ----------
        iterable : iterable of tasks
            Calls that `delayed` has made, or triples of a function, its positional
            arguments and its keyword arguments. Taken as there is room for them.

        Returns
        -------
        list or generator
            The results.

        Raises
        ------
        RuntimeError
            If this object is running a loop already.
        multiprocessing.TimeoutError
            If a task takes longer than `timeout`.
        Exception
            The first that a task raises; its cause is the traceback in the worker.
        """
        with self._starting:
            if self._running is not None:
                raise RuntimeError(
                    "This Parallel instance is already running: exhaust or close the "
                    "generator of its last call first"
                )
            loop = self._running = self._begin(iterable)
        results = loop.results()
        if not self.return_generator:
            return list(results)
        # A generator that was never begun would have nothing to clean up.
        weakref.finalize(results, loop.abandon)
        loop.start()
        return results

    def _begin(self, iterable: Iterable[Task]) -> Loop:
        """Get workers, and make the loop that uses them."""
        workers = self._prepare()
        self.n_tasks = len(iterable) if isinstance(iterable, Sized) else None
        self.n_dispatched_tasks = self.n_dispatched_batches = 0
        self.n_completed_tasks = 0
        if not self._is_spread():
            return SequentialLoop(self, iterable)
        return WorkersLoop(self, iterable, workers)

    def __repr__(self) -> str:
        return f"Parallel(n_jobs={self.n_jobs})"

    def print_progress(self) -> None:
        """Print how far the loop is; progress packages replace it."""
        if not self.verbose or self._running is None:
            return
        done, elapsed = self.n_completed_tasks, self._running.elapsed
        if self.n_tasks is not None:
            if done < self.n_tasks and self.verbose <= 10 and not _is_round(done):
                return
            left = elapsed / max(done, 1) * (self.n_tasks - done)
            so_far = f"{done:{len(str(self.n_tasks))}d} out of {self.n_tasks}"
            remaining = f" remaining: {left:.1f}s"
        else:
            if self.verbose <= 10 and not _is_round(done):
                return
            so_far, remaining = f"{done:3d} tasks", ""
        self._print(f"Done {so_far} | elapsed: {elapsed:.1f}s{remaining}")

    def _print(self, message: str) -> None:
        stream = sys.stdout if self.verbose >= LOUD else sys.stderr
        stream.write(f"[{self!r}]: {message}\n")
        stream.flush()

    def _effective_n_jobs(self) -> int:
        return self._backend.effective_n_jobs(self.n_jobs)

    def _prepare(self) -> int:
        """Get workers, and return how many."""
        if not self._is_ready:
            self._backend = claimed(self._backend, self)
            self._workers = self._effective_n_jobs()
            if self._workers == 0:
                name = type(self._backend).__name__
                raise RuntimeError(f"{name} has no active worker")
            if self._is_spread():
                self._workers = self._backend.configure(
                    n_jobs=self.n_jobs, parallel=self, **self._options()
                )
            elif self.timeout is not None:
                warnings.warn(
                    f"The backend class 'SequentialBackend' does not support timeout. "
                    f"You have set 'timeout={self.timeout}' in Parallel but the "
                    f"'timeout' parameter will not be used.",
                    stacklevel=4,
                )
            self._is_ready = True
        return self._workers

    def _is_spread(self) -> bool:
        """Tell whether tasks run elsewhere than in this thread."""
        return self._workers > 1 or getattr(self._backend, "runs_elsewhere", False)

    def _options(self) -> dict[str, Any]:
        is_shared = getattr(self._backend, "shares_arrays", False)
        return {**(self._shared if is_shared else {}), **self._backend_kwargs}

    def finish(self) -> None:
        """Let the workers go, unless the object is managed by a ``with`` block."""
        self._running = None
        if not self._is_managed and self._is_ready:
            self._is_ready = False
            if self._is_spread():
                self._backend.terminate()
            let_go(self._backend, self)

    def restart(self) -> None:
        """Stop what the workers do, and get new ones if more loops are to come."""
        self._backend.abort_everything(ensure_ready=self._is_managed)


def _choose_backend(
    backend: Any, prefer: str | None, require: str | None
) -> tuple[ParallelBackendBase, int | None]:
    """Return the backend, and the number of jobs that holds here."""
    active, n_jobs = get_active_backend(prefer, require)
    if isinstance(backend, Unset) or backend is None:
        return active, n_jobs
    chosen = backend_from(backend)
    if require == "sharedmem" and not chosen.supports_sharedmem:
        raise ValueError(f"Backend {backend} does not support shared memory")
    return chosen, n_jobs


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(choices)}")
    return value


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name}={value!r} is not a number of times")
    return value


def _is_round(number: int) -> bool:
    """Tell whether a number is worth a message: 1, 2, 4, 8, …, and the hundreds."""
    return number % 100 == 0 or (number & (number - 1)) == 0
