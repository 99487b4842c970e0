"""Clusters are tested in a process of their own: see `.ci/run`.

`distributed` changes how every exception of its process is pickled, also those of other
tests.
"""

from __future__ import annotations

import os

collect_ignore = (
    [] if os.environ.get("CACHEKIT_TEST_CLUSTERS") else ["test_dask.py", "test_ray.py"]
)
