"""How many threads numerical libraries use: one, where matrices are small."""

from __future__ import annotations

from typing import Any


def in_one_thread() -> Any:
    """Return a ``with`` block in which BLAS and OpenMP use one thread each.

    On cores that others use too, threads that wait for each other take longer than one
    alone: measured here on two, 4 to 30 times for matrices of some hundred rows. And
    sums are then added in one order, so that a step gives the same digits in each run.

    References
    ----------
    https://github.com/joblib/threadpoolctl, which scikit-learn brings along.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)
