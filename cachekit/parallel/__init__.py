"""Many calls at once: loops over threads, processes and machines."""

from cachekit.parallel.backends import ParallelBackendBase
from cachekit.parallel.config import (
    effective_n_jobs,
    get_active_backend,
    parallel_backend,
    parallel_config,
    register_parallel_backend,
)
from cachekit.parallel.cores import cpu_count
from cachekit.parallel.dispatch import Parallel
from cachekit.parallel.tasks import delayed
from cachekit.parallel.wrapping import wrap_non_picklable_objects

__all__ = [
    "Parallel",
    "ParallelBackendBase",
    "cpu_count",
    "delayed",
    "effective_n_jobs",
    "get_active_backend",
    "parallel_backend",
    "parallel_config",
    "register_parallel_backend",
    "wrap_non_picklable_objects",
]
