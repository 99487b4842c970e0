"""Key to entry: where results are kept. Knows nothing of values and functions."""

from cachekit.stores.base import Staging, Store
from cachekit.stores.dict_store import DictStore
from cachekit.stores.flights import Turn
from cachekit.stores.joblib_backends import (
    StoreBackendBase,
    register_store_backend,
)
from cachekit.stores.local import LocalStore
from cachekit.stores.names import EntryInfo, EntryKey
from cachekit.stores.read_only import ReadOnlyStore
from cachekit.stores.registry import is_remote, open_store, register_store
from cachekit.stores.remote import RemoteStore
from cachekit.stores.tiered import TieredStore

__all__ = [
    "DictStore",
    "EntryInfo",
    "EntryKey",
    "LocalStore",
    "ReadOnlyStore",
    "RemoteStore",
    "Staging",
    "Store",
    "StoreBackendBase",
    "TieredStore",
    "Turn",
    "is_remote",
    "open_store",
    "register_store",
    "register_store_backend",
]
