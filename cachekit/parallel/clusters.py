"""Where tasks run on several machines: on the workers of Dask, or of Ray.

Batches are packed by `shipping`. A worker that is lost is the cluster's affair, which
runs its tasks elsewhere; what it cannot run is an error here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import uuid
import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from cachekit.amounts import parse_size
from cachekit.errors import MissingExtra
from cachekit.parallel import shipping
from cachekit.parallel.backends import ParallelBackendBase
from cachekit.parallel.cores import workers_for
from cachekit.parallel.sharing import Packed


class ClusterBackend(ParallelBackendBase):
    """What the backends of clusters have in common; its options go with each batch."""

    default_n_jobs = -1
    shares_arrays = True  # takes `max_nbytes` and `mmap_mode`
    # How many batches may be handed out: the cluster would run all of them at once.
    most_in_flight: int | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._options = self.backend_kwargs

    @property
    def runs_elsewhere(self) -> bool:
        """Whether even one worker is another; in a task it would wait for itself."""
        return not (self.nesting_level and shipping.is_worker())

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return how many tasks run at once; for -1 as many as the cluster can."""
        workers_for(n_jobs)  # 0 makes no sense here either
        if not self.runs_elsewhere:
            return 1
        slots = self._slots()
        return min(n_jobs, slots) if n_jobs > 0 else max(slots + 1 + n_jobs, 1)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        *,
        temp_folder: str | None = None,  # noqa: ARG002  (nothing is put into files)
        max_nbytes: int | str | None = "1M",
        mmap_mode: str | None = "r",
        **options: Any,
    ) -> int:
        """Connect to the cluster."""
        if mmap_mode in ("r+", "w+"):
            raise ValueError(
                f"mmap_mode={mmap_mode!r}: what tasks write into arrays does not come "
                f"back from a cluster; use 'r', or 'c' for copies"
            )
        limit = None if max_nbytes is None else parse_size(max_nbytes)
        self._shipping = shipping.Shipping(limit, copies=mmap_mode != "r")
        self._under_way: dict[Future[Packed], Any] = {}
        self._options = {**self.backend_kwargs, **options}
        workers = super().configure(n_jobs, parallel)
        self.most_in_flight = None if n_jobs == -1 else workers
        return workers

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> Any:
        """Have a worker call a function."""
        shipment, placed = self._shipping.pack(func, self._put)
        handle = self._send(shipping.name_of(func), shipment, placed)
        future = self._future_of(handle)
        self._under_way[future] = handle
        future.add_done_callback(functools.partial(self._finish, func, callback))
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return what came of a batch."""
        try:
            return out.future.result().unpack()
        except Exception as error:
            text = (
                f"The cluster did not do its part of {shipping.description(out.batch)}"
            )
            if text not in getattr(error, "__notes__", ()):  # it is read twice
                error.add_note(text)
            raise

    def stop_call(self) -> None:
        """Forget which arrays were put: they may change before the next loop."""
        self._shipping.clear()

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002
        """Cancel what was submitted."""
        under_way, self._under_way = self._under_way, {}
        self._cancel(list(under_way.values()))

    def _finish(
        self, batch: Any, callback: Callable[[Any], None], future: Future[Packed]
    ) -> None:
        # The result is here: without its handle the cluster forgets it.
        self._under_way.pop(future, None)
        callback(_Ended(future, batch))

    @abstractmethod
    def _slots(self) -> int:
        """Return how many tasks the whole cluster runs at once."""

    @abstractmethod
    def _put(self, memory: Any) -> Any:
        """Put an array of bytes into the cluster; return what stands for it."""

    @abstractmethod
    def _send(self, name: str, shipment: shipping.Shipment, placed: list[Any]) -> Any:
        """Have a worker run a batch."""

    @abstractmethod
    def _future_of(self, handle: Any) -> Future[Packed]:
        """Return what will have what comes of a batch, brought here."""

    @abstractmethod
    def _cancel(self, handles: list[Any]) -> None:
        """Have the cluster give up some batches."""


class _Ended(NamedTuple):
    """A batch that has ended, in any way."""

    future: Future[Packed]
    batch: Any


class DaskBackend(ClusterBackend):
    """Runs tasks on a cluster of Dask.

    A task that runs is not stopped when its loop is: Dask can only leave out those
    that wait.

    Parameters
    ----------
    client : distributed.Client, optional
        By default the current one.
    address : str, optional
        Of a scheduler, in the place of a client; joblib says `scheduler_host`.
    wait_for_workers_timeout : float, default 10
        Seconds to wait for the first worker of an empty cluster.
    scatter : list, optional
        Accepted for joblib's sake: large arrays are sent once without being named.
    **options
        For ``Client.submit``, such as `resources`, `workers` and `retries`.

    Raises
    ------
    MissingExtra
        If Dask is not installed.
    ValueError
        If there is no client, or an asynchronous one.
    """

    def __init__(
        self,
        client: Any = None,
        address: str | None = None,
        *,
        scheduler_host: str | None = None,
        wait_for_workers_timeout: float = 10,
        scatter: Sequence[Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if scatter is not None and not isinstance(scatter, (list, tuple)):
            raise TypeError(f"scatter must be a list, not a {type(scatter).__name__}")
        address = address or scheduler_host
        self.client = client or _dask_client(address)
        if client is None and address is not None:
            self._connection = _Connection(self.client)
        if self.client.asynchronous:
            raise ValueError(
                "the Dask client is asynchronous, and a loop waits for its results: "
                "give it one made with asynchronous=False"
            )
        self._patience = wait_for_workers_timeout

    def _slots(self) -> int:
        if not self.client.nthreads():
            # A cluster that adapts itself starts workers only when there is a task.
            probe = self.client.submit(int, pure=False)
            try:
                probe.result(timeout=self._patience)
            except TimeoutError as error:
                raise TimeoutError(
                    f"the Dask cluster has no worker after {self._patience} seconds: "
                    f"start some, or set wait_for_workers_timeout=..."
                ) from error
        threads: dict[str, int] = self.client.nthreads()
        return max(sum(threads.values()), 1)

    def _put(self, memory: Any) -> Any:
        # Without a hash, which would read all of it: it is known by its address.
        return self.client.scatter(memory, hash=False)

    def _send(self, name: str, shipment: shipping.Shipment, placed: list[Any]) -> Any:
        settings = {"key": f"{name}-{uuid.uuid4()}", "pure": False, **self._options}
        return self.client.submit(shipping.run_shipment, shipment, *placed, **settings)

    def _future_of(self, handle: Any) -> Future[Packed]:
        # In the client's own thread, where many are brought here at the same time.
        result = self.client.gather(handle, asynchronous=True)
        return asyncio.run_coroutine_threadsafe(result, self.client.loop.asyncio_loop)

    def _cancel(self, handles: list[Any]) -> None:
        with contextlib.suppress(TimeoutError, OSError):  # the scheduler is gone
            self.client.cancel(handles)


class RayBackend(ClusterBackend):
    """Runs tasks on a cluster of Ray; starts one if this process is in none.

    Parameters
    ----------
    address : str, optional
        Of the cluster to connect to, as for ``ray.init``.
    num_cpus : int, optional
        How many tasks a Ray that is started here runs at once; by default as many as
        there are cores.
    **options
        For the tasks, such as `num_gpus`, `max_retries` and `runtime_env`.

    Raises
    ------
    MissingExtra
        If Ray is not installed.
    """

    def __init__(
        self, address: str | None = None, num_cpus: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._ray = _imported("ray", "ray")
        self._run = self._ray.remote(shipping.run_shipment)
        self._beginning = {"address": address, "num_cpus": num_cpus}

    def _slots(self) -> int:
        if not self._ray.is_initialized():
            self._ray.init(include_dashboard=False, **self._beginning)
        return max(int(self._ray.cluster_resources().get("CPU", 0)), 1)

    def _put(self, memory: Any) -> Any:
        return self._ray.put(memory)

    def _send(self, name: str, shipment: shipping.Shipment, placed: list[Any]) -> Any:
        settings = {"name": name, "num_cpus": 1, **self._options}
        return self._run.options(**settings).remote(shipment, *placed)

    def _future_of(self, handle: Any) -> Future[Packed]:
        future: Future[Packed] = handle.future()
        return future

    def _cancel(self, handles: list[Any]) -> None:
        for handle in handles:
            self._ray.cancel(handle, force=True)


def _dask_client(address: str | None) -> Any:
    distributed = _imported("distributed", "dask")
    if address is not None:
        return distributed.Client(address, set_as_default=False)
    try:
        return distributed.get_client()
    except ValueError as error:
        raise ValueError(
            "there is no Dask client: make one first, as in `client = "
            "distributed.Client()`, or name one with parallel_config('dask', "
            "client=...) or address=..."
        ) from error


class _Connection:
    """Closes a client that was made here, once no loop has a backend with it."""

    def __init__(self, client: Any) -> None:
        weakref.finalize(self, client.close)


def _imported(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"the backend {extra!r}", extra) from error
