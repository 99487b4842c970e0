"""Key to entry: where results are kept. Knows nothing of values and functions."""

from cachekit.stores.base import DictStore, EntryInfo, EntryKey, Staging, Store
from cachekit.stores.leases import Turn
from cachekit.stores.local import LocalStore
from cachekit.stores.registry import open_store, register_store

__all__ = [
    "DictStore",
    "EntryInfo",
    "EntryKey",
    "LocalStore",
    "Staging",
    "Store",
    "Turn",
    "open_store",
    "register_store",
]
