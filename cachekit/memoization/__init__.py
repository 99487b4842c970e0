"""Function to cached function: the place where value, key and store meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachekit import lazy

if TYPE_CHECKING:
    from cachekit.memoization.default import cache, default_memory
    from cachekit.memoization.files import File
    from cachekit.memoization.function import MemorizedFunc
    from cachekit.memoization.lineage import Record
    from cachekit.memoization.locations import default_location
    from cachekit.memoization.memory import Memory
    from cachekit.memoization.reference import MemorizedResult
    from cachekit.memoization.running import artifact
    from cachekit.memoization.tally import CacheInfo, Tally
    from cachekit.memoization.uncached import NotMemorizedFunc, NotMemorizedResult
    from cachekit.memoization.validity import expires_after

__all__ = [
    "CacheInfo",
    "File",
    "MemorizedFunc",
    "MemorizedResult",
    "Memory",
    "NotMemorizedFunc",
    "NotMemorizedResult",
    "Record",
    "Tally",
    "artifact",
    "cache",
    "default_location",
    "default_memory",
    "expires_after",
]

_HOME = {
    "CacheInfo": "cachekit.memoization.tally",
    "File": "cachekit.memoization.files",
    "MemorizedFunc": "cachekit.memoization.function",
    "MemorizedResult": "cachekit.memoization.reference",
    "Memory": "cachekit.memoization.memory",
    "NotMemorizedFunc": "cachekit.memoization.uncached",
    "NotMemorizedResult": "cachekit.memoization.uncached",
    "Record": "cachekit.memoization.lineage",
    "Tally": "cachekit.memoization.tally",
    "artifact": "cachekit.memoization.running",
    "cache": "cachekit.memoization.default",
    "default_location": "cachekit.memoization.locations",
    "default_memory": "cachekit.memoization.default",
    "expires_after": "cachekit.memoization.validity",
}

# Commands that read records need none of what makes cached calls.
__getattr__, __dir__ = lazy.attach(__name__, _HOME)
