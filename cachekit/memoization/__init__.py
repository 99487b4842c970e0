"""Function to cached function: the place where value, key and store meet."""

from cachekit.memoization.function import MemorizedFunc, NotMemorizedFunc
from cachekit.memoization.lineage import Record
from cachekit.memoization.locations import default_location
from cachekit.memoization.memory import Memory, cache, default_memory
from cachekit.memoization.tally import Tally

__all__ = [
    "MemorizedFunc",
    "Memory",
    "NotMemorizedFunc",
    "Record",
    "Tally",
    "cache",
    "default_location",
    "default_memory",
]
