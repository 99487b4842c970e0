"""Where tasks run: the contract of backends, and those within this process.

A backend runs batches and says when one is done; what is dispatched when, and what
becomes of the results, is decided in `loops`. Those of other processes are in
`process_backends`, those of several machines in `clusters`.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from cachekit.parallel.board import ThreadBoard
from cachekit.parallel.cores import workers_for


class ParallelBackendBase(ABC):
    """The contract of a backend; also of those written for joblib.

    Parameters
    ----------
    nesting_level : int, optional
        How many loops are around the one that it serves.
    inner_max_num_threads : int, optional
        Threads that numerical libraries may use in each worker.
    **options
        For the backend's own use.
    """

    default_n_jobs = 1
    supports_inner_max_num_threads = False
    supports_retrieve_callback = True
    supports_return_generator = True
    supports_timeout = True
    supports_sharedmem = False
    uses_threads = False
    nesting_level: int | None = None

    # What belongs to the loop that uses it; another loop's copy is without.
    _of_one_loop: tuple[str, ...] = ()

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        if (
            inner_max_num_threads is not None
            and not self.supports_inner_max_num_threads
        ):
            raise ValueError(
                f"{type(self).__name__} cannot limit the threads of its workers: leave "
                f"inner_max_num_threads out"
            )
        self.nesting_level = nesting_level
        self.inner_max_num_threads = inner_max_num_threads
        self.backend_kwargs = options

    @abstractmethod
    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return how many workers there would be."""

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> Any:
        """Have a worker call a function; then call back, with what gives the result.

        One that was written for an old joblib has `apply_async` in its place.
        """
        return self.apply_async(func, callback)

    def apply_async(
        self, func: Callable[[], Any], callback: Callable[[Any], None]
    ) -> Any:
        """Do what `submit` does."""
        raise NotImplementedError(f"{type(self).__name__} has no method submit")

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the result, given what was called back with; or raise."""
        return out.result()

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,  # noqa: ARG002
        **options: Any,  # noqa: ARG002
    ) -> int:
        """Get workers; return how many."""
        return self.effective_n_jobs(n_jobs)

    def start_call(self) -> None:  # noqa: B027
        """Take note that a loop begins."""

    def stop_call(self) -> None:  # noqa: B027
        """Take note that a loop has ended."""

    def terminate(self) -> None:  # noqa: B027
        """Let the workers go."""

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop what runs; get new workers if `ensure_ready`."""
        self.terminate()
        if ensure_ready:
            self.configure(n_jobs=getattr(self, "n_jobs", 1))

    def compute_batch_size(self) -> int:
        """Return how many tasks are to go to a worker at once."""
        return 1

    def batch_completed(self, batch_size: int, duration: float) -> None:  # noqa: B027
        """Take note of how long a batch took, in seconds."""

    def get_nested_backend(self) -> Any:
        """Return the backend, and the number of jobs, for loops inside tasks."""
        level = (self.nesting_level or 0) + 1
        if level > 1:
            return SequentialBackend(nesting_level=level), None
        return ThreadingBackend(nesting_level=level), None

    @contextlib.contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Be around the waiting for results."""
        yield


def claimed(backend: Any, user: Any) -> Any:
    """Return a backend for a loop: it, or a copy while another loop uses it.

    One that was set by `parallel_config` is there for all loops of its block, of which
    there may be two at once.
    """
    with _claiming:
        owner = _owners.get(backend)
        if owner is not None and owner() not in (None, user):
            copy = object.__new__(type(backend))
            own = getattr(backend, "_of_one_loop", ())
            vars(copy).update(
                (name, it) for name, it in vars(backend).items() if name not in own
            )
            backend = copy
        _owners[backend] = weakref.ref(user)
    return backend


def let_go(backend: Any, user: Any) -> None:
    """Take note that a loop has no use for its backend any more."""
    with _claiming:
        owner = _owners.get(backend)
        if owner is not None and owner() is user:
            del _owners[backend]


_claiming = threading.Lock()
_owners: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()


class SequentialBackend(ParallelBackendBase):
    """Runs tasks here, one after the other."""

    uses_threads = True
    supports_sharedmem = True
    supports_timeout = False

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return 1."""
        workers_for(n_jobs)  # 0 makes no sense here either
        return 1

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> Any:
        """Call the function now."""
        future: Future[Any] = Future()
        try:
            future.set_result(func())
        except BaseException as error:  # noqa: BLE001  (it is raised where it is read)
            future.set_exception(error)
        callback(future)
        return future

    def get_nested_backend(self) -> Any:
        """Return what holds here: a loop of one worker is no level."""
        from cachekit.parallel.config import get_active_backend

        return get_active_backend()


class ThreadingBackend(ParallelBackendBase):
    """Runs tasks in threads of this process, which share its memory."""

    uses_threads = True
    supports_sharedmem = True

    _executor: Executor | None = None
    _of_one_loop = ("_executor", "board")

    @functools.cached_property
    def board(self) -> ThreadBoard:
        """Where threads say what they are doing."""
        return ThreadBoard()

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return the number of threads."""
        return workers_for(n_jobs)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Get threads."""
        self.n_jobs = super().configure(n_jobs, parallel, **options)
        return self.n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> Any:
        """Have a thread call a function."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self.n_jobs, "cachekit-worker")
        # In a context like the caller's: a cached call knows of those it makes so.
        future = self._executor.submit(contextvars.copy_context().run, func)
        future.add_done_callback(callback)
        return future

    def terminate(self) -> None:
        """Let the threads end, once they have nothing to do."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.nesting_level,))
