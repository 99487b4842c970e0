"""cachekit: cache what your research code has already computed.

Welcome to the source. A good order to read it in:

1. `cachekit.memoization.function`, the cached call, in eight numbered steps;
2. `cachekit.hashing.hasher`, how a value becomes a digest;
3. `cachekit.stores.local`, how an entry reaches the disk, whole or not at all;
4. `cachekit.serialization.container`, the file that holds a value.

The names below are the public ones. They are imported when first used, so that
``import cachekit`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cachekit.errors import (
        CacheKitError,
        CacheWarning,
        ContainerError,
        CorruptedFile,
        MissingExtra,
        StoreError,
        UnhashableArgument,
        UntrustedContent,
    )
    from cachekit.hashing import digest, fingerprint, hash, register_hasher  # noqa: A004
    from cachekit.memoization import Memory, cache
    from cachekit.serialization import dump, load, register_compressor
    from cachekit.stores import register_store

__version__ = "0.1.0.dev0"

__all__ = [
    "CacheKitError",
    "CacheWarning",
    "ContainerError",
    "CorruptedFile",
    "Memory",
    "MissingExtra",
    "StoreError",
    "UnhashableArgument",
    "UntrustedContent",
    "__version__",
    "cache",
    "digest",
    "dump",
    "fingerprint",
    "hash",
    "load",
    "register_compressor",
    "register_hasher",
    "register_store",
]

_HOME = {
    "CacheKitError": "cachekit.errors",
    "CacheWarning": "cachekit.errors",
    "ContainerError": "cachekit.errors",
    "CorruptedFile": "cachekit.errors",
    "Memory": "cachekit.memoization",
    "MissingExtra": "cachekit.errors",
    "StoreError": "cachekit.errors",
    "UnhashableArgument": "cachekit.errors",
    "UntrustedContent": "cachekit.errors",
    "cache": "cachekit.memoization",
    "digest": "cachekit.hashing",
    "dump": "cachekit.serialization",
    "fingerprint": "cachekit.hashing",
    "hash": "cachekit.hashing",
    "load": "cachekit.serialization",
    "register_compressor": "cachekit.serialization",
    "register_hasher": "cachekit.hashing",
    "register_store": "cachekit.stores",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
