"""Where tasks run: in other processes of this machine."""

from __future__ import annotations

import functools
import multiprocessing
import multiprocessing.connection
import os
import pickle
import threading
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Future
from types import MappingProxyType
from typing import Any

from cachekit import nesting
from cachekit.parallel import pools
from cachekit.parallel.backends import ParallelBackendBase
from cachekit.parallel.board import FileBoard
from cachekit.parallel.cores import cpu_count, workers_for
from cachekit.parallel.tasks import short_call

# A worker process that has nothing to do for so long ends.
IDLE_SECONDS = 300

# Of two threads that ask how a process ended, the system tells only one.
_asks_how_it_ended = threading.Lock()

# Where numerical libraries read how many threads they may use.
THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class ProcessBackend(ParallelBackendBase):
    """What the backends of processes on this machine have in common.

    Batches are packed by `sharing`, which keeps large arrays out of the pickles.
    """

    shares_arrays = True

    _executor: Any = None
    _sharing: Any = None
    _parallel: Any = None
    _of_one_loop = ("_executor", "_sharing", "_parallel", "_processes", "died")

    # Those that have run batches of this loop, and how those of them ended that died.
    _processes: Mapping[int, Any] = MappingProxyType({})
    died: Mapping[int, int] = MappingProxyType({})

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return the number of processes; 1 where none can be started."""
        n_jobs = 1 if nesting.is_alone() else workers_for(n_jobs)
        obstacle = self._obstacle() if n_jobs > 1 else None
        if obstacle is None:
            return n_jobs
        name = type(self).__name__.removesuffix("Backend")
        warnings.warn(
            f"{name}-backed parallel loops cannot {obstacle}, setting n_jobs=1",
            stacklevel=3,
        )
        return 1

    def _obstacle(self) -> str | None:
        """Say why no processes can be started here."""
        if multiprocessing.current_process().daemon or _is_pool_worker:
            return "be called in a multiprocessing worker"
        is_main = threading.current_thread() is threading.main_thread()
        if self.nesting_level and not is_main:
            return "be nested below threads"
        if nesting.is_importing_in_worker():
            return (
                "run while a worker imports their module (put the loop under "
                "`if __name__ == '__main__':`)"
            )
        return None

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        *,
        temp_folder: str | None = None,
        max_nbytes: int | str | None = "1M",
        mmap_mode: str | None = "r",
        **options: Any,
    ) -> int:
        """Get processes, and a place for large arrays."""
        from cachekit.parallel.sharing import Sharing

        self.n_jobs = self.effective_n_jobs(n_jobs)
        if parallel is not None:
            self._parallel = parallel
        self._options = {**self.backend_kwargs, **options}
        self._executor = self._start(self.n_jobs)
        self._sharing = Sharing(temp_folder, max_nbytes, mmap_mode)
        return self.n_jobs

    @abstractmethod
    def _start(self, n_jobs: int) -> Any:
        """Return an executor."""

    def submit(self, func: Any, callback: Callable[[Any], None]) -> Any:
        """Have a process call a function."""
        try:
            packed = self._sharing.pack(func)
        except Exception as error:
            raise self._cannot_send(func, error) from error
        if self._executor is None:
            self._executor = self._start(self.n_jobs)
        future: Future[Any]
        try:
            future = self._executor.submit(packed)
        except BrokenExecutor as error:  # the loop hears of it as of any other
            future = Future()
            future.set_exception(error)
        self._processes = {**self._processes, **(self._executor._processes or {})}
        finish = functools.partial(self._finish, packed, func, callback)
        future.add_done_callback(finish)
        return future

    @property
    def board(self) -> FileBoard:
        """Where processes say what they are doing."""
        return FileBoard(self._sharing.folder)

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return what came of a batch."""
        return out.result().unpack()

    def _cannot_send(self, batch: Any, error: Exception) -> pickle.PicklingError:
        """Return the error that says which task it is that cannot be sent."""
        for position, task in enumerate(batch.tasks, batch.first):
            try:
                self._sharing.release(self._sharing.pack(task))
            except Exception:  # noqa: BLE001  (as above)
                return pickle.PicklingError(
                    f"Could not pickle the task to send to the workers, task "
                    f"{position}: {short_call(task)}: {error!r}"
                )
        return pickle.PicklingError(f"Could not pickle the task to send: {error!r}")

    def _finish(
        self, packed: Any, batch: Any, callback: Callable[[Any], None], out: Any
    ) -> None:
        sharing = self._sharing  # the loop's own thread may be ending it
        if sharing is not None:
            sharing.release(packed)
        error = None if out.cancelled() else out.exception()
        if isinstance(error, BrokenExecutor):
            with _asks_how_it_ended:
                self._note_deaths()
        elif error is None:
            batch.forget_arguments()  # now, for they may be large, and more are to come
        callback(out)

    def _note_deaths(self) -> None:
        """Look who is dead, before the executor kills the others."""
        if self.died:
            return
        ended = multiprocessing.connection.wait(
            [process.sentinel for process in self._processes.values()], timeout=0
        )
        dead = [one for one in self._processes.values() if one.sentinel in ended]
        for process in dead:
            process.join(1)  # it may be about to be gone
        self.died = {one.pid: one.exitcode for one in dead if one.exitcode}

    def start_call(self) -> None:
        """See that there are processes, though some died in the last loop."""
        self._processes, self.died = {}, {}
        if self._executor is not None and self._is_broken(self._executor):
            self._stop(kill=True)
        if self._executor is None:
            self._executor = self._start(self.n_jobs)

    @abstractmethod
    def _is_broken(self, executor: Any) -> bool:
        """Tell whether a process has died."""

    def stop_call(self) -> None:
        """Forget which arrays were written: they may change before the next loop."""
        if self._sharing is not None:
            self._sharing.clear()

    def terminate(self) -> None:
        """Let the processes go, and remove what they shared."""
        if self._sharing is not None:
            self._sharing.close()
            self._sharing = None
        self._stop(kill=False)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Kill the processes."""
        self._stop(kill=True)
        if self._sharing is not None:
            self._sharing.clear()
        if ensure_ready:
            self._executor = self._start(self.n_jobs)

    @abstractmethod
    def _stop(self, *, kill: bool) -> None:
        """Let the executor go."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.nesting_level, self.inner_max_num_threads))


class LokyBackend(ProcessBackend):
    """Runs tasks in processes that stay for the next loop; the default."""

    supports_inner_max_num_threads = True

    def _start(self, n_jobs: int) -> Any:
        known = {
            name: self._options[name]
            for name in ("context", "initializer", "initargs")
            if name in self._options
        }
        self._pool_settings = pools.Settings(
            n_jobs,
            self._options.get("idle_worker_timeout", IDLE_SECONDS),
            thread_limits(n_jobs, self.inner_max_num_threads),
            **known,
        )
        return pools.take(self._pool_settings)

    def _is_broken(self, executor: Any) -> bool:
        return not pools.is_well(executor)

    def _stop(self, *, kill: bool) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        if kill:
            pools.discard(executor, kill=True)
        else:
            pools.give_back(executor, self._pool_settings)


class MultiprocessingBackend(ProcessBackend):
    """Runs tasks in processes that `multiprocessing` starts."""

    supports_return_generator = False

    def _obstacle(self) -> str | None:
        """Say why no processes can be started here."""
        if nesting.depth_in_loky() > 0:
            return "be nested"
        return super()._obstacle()

    def _start(self, n_jobs: int) -> Any:
        from concurrent.futures import ProcessPoolExecutor

        context = self._options.get("context") or multiprocessing.get_context()
        return ProcessPoolExecutor(
            n_jobs,
            mp_context=context,
            initializer=_begin_as_pool_worker,
            initargs=(
                os.getpid(),
                self._options.get("initializer"),
                self._options.get("initargs", ()),
            ),
        )

    def _is_broken(self, executor: Any) -> bool:
        return bool(executor._broken)

    def _stop(self, *, kill: bool) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        processes = list((executor._processes or {}).values())
        executor.shutdown(wait=not kill, cancel_futures=True)
        if kill:
            for process in processes:
                process.kill()
            for process in processes:
                process.join()


def _begin_as_pool_worker(
    parent: int, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> None:
    # A pool below it would keep this process from ending.
    global _is_pool_worker
    _is_pool_worker = True
    pools.begin_worker(parent, initializer, initargs)


_is_pool_worker = False


def _begin_anew_in_child() -> None:
    global _asks_how_it_ended
    _asks_how_it_ended = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)


def thread_limits(n_jobs: int, most: int | None) -> Mapping[str, str]:
    """Return the environment by which each worker uses its share of the cores.

    What the user has set stays, unless a number was asked for.
    """
    limit = str(max(cpu_count() // n_jobs, 1) if most is None else most)
    return {
        name: limit if most is not None else os.environ.get(name, limit)
        for name in THREAD_LIMITS
    }
