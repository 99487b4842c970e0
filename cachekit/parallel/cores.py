"""How many cores there are, and what `n_jobs` makes of them."""

from __future__ import annotations

import functools
import os
from typing import Any


def cpu_count(only_physical_cores: bool = False) -> int:
    """Return the number of cores that this process may use.

    Looks at the affinity of the process, the quota of its control group and
    ``LOKY_MAX_CPU_COUNT``.

    Parameters
    ----------
    only_physical_cores : bool, default False
        Count two hardware threads of one core once.

    Returns
    -------
    int
        At least 1.
    """
    return _counted(only_physical_cores, os.environ.get("LOKY_MAX_CPU_COUNT"))


@functools.lru_cache(maxsize=8)
def _counted(only_physical_cores: bool, most: str | None) -> int:  # noqa: ARG001
    # Asked tens of thousands of times by some; the control group is a file.
    import loky

    return int(loky.cpu_count(only_physical_cores=only_physical_cores))


def whole_n_jobs(n_jobs: Any) -> int:
    """Return `n_jobs` as an integer, as it may be written: 2, 2.3 or ``"2"``.

    Raises
    ------
    ValueError
        If it is no number.
    """
    try:
        return int(n_jobs)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"n_jobs could not be converted to int: it is {n_jobs!r}"
        ) from error


def workers_for(n_jobs: int | None) -> int:
    """Return the number of workers: -1 for one each core, -2 for one fewer, and so on.

    Raises
    ------
    ValueError
        If it is 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 in Parallel has no meaning")
    if n_jobs is None:
        return 1
    return n_jobs if n_jobs > 0 else max(cpu_count() + 1 + n_jobs, 1)
