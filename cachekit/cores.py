"""How many cores a process may use, without a library that asks the system for more.

`cachekit.cpu_count` also knows of control groups, and takes longer to import.
"""

from __future__ import annotations

import os


def count_cores(most: int) -> int:
    """Return on how many cores this process may run, or `most` if there are more."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(most, cores)
