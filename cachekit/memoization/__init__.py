"""Function to cached function: the place where value, key and store meet."""

from cachekit.memoization.files import File
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.lineage import Record
from cachekit.memoization.locations import default_location
from cachekit.memoization.memory import Memory, cache, default_memory
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
