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

from cachekit import lazy

if TYPE_CHECKING:
    from cachekit.errors import (
        CacheKitError,
        CacheMiss,
        CacheWarning,
        ContainerError,
        CorruptedFile,
        EntryNotFound,
        MissingExtra,
        StoreError,
        UnhashableArgument,
        UntrustedContent,
    )
    from cachekit.hashing import digest, fingerprint, hash, register_hasher  # noqa: A004
    from cachekit.logger import Logger, PrintTime
    from cachekit.memoization import (
        File,
        MemorizedResult,
        Memory,
        artifact,
        cache,
        expires_after,
    )
    from cachekit.parallel import (
        Parallel,
        ParallelBackendBase,
        cpu_count,
        delayed,
        effective_n_jobs,
        parallel_backend,
        parallel_config,
        register_parallel_backend,
        wrap_non_picklable_objects,
    )
    from cachekit.serialization import dump, load, register_compressor
    from cachekit.stores import StoreBackendBase, register_store, register_store_backend

__version__ = "0.1.0.dev0"

__all__ = [
    "CacheKitError",
    "CacheMiss",
    "CacheWarning",
    "ContainerError",
    "CorruptedFile",
    "EntryNotFound",
    "File",
    "Logger",
    "MemorizedResult",
    "Memory",
    "MissingExtra",
    "Parallel",
    "ParallelBackendBase",
    "PrintTime",
    "StoreBackendBase",
    "StoreError",
    "UnhashableArgument",
    "UntrustedContent",
    "__version__",
    "artifact",
    "cache",
    "cpu_count",
    "delayed",
    "digest",
    "dump",
    "effective_n_jobs",
    "expires_after",
    "fingerprint",
    "hash",
    "load",
    "parallel_backend",
    "parallel_config",
    "register_compressor",
    "register_hasher",
    "register_parallel_backend",
    "register_store",
    "register_store_backend",
    "wrap_non_picklable_objects",
]

_HOME = {
    "CacheKitError": "cachekit.errors",
    "CacheMiss": "cachekit.errors",
    "CacheWarning": "cachekit.errors",
    "ContainerError": "cachekit.errors",
    "CorruptedFile": "cachekit.errors",
    "EntryNotFound": "cachekit.errors",
    "File": "cachekit.memoization",
    "Logger": "cachekit.logger",
    "MemorizedResult": "cachekit.memoization",
    "Memory": "cachekit.memoization",
    "MissingExtra": "cachekit.errors",
    "Parallel": "cachekit.parallel",
    "ParallelBackendBase": "cachekit.parallel",
    "PrintTime": "cachekit.logger",
    "StoreBackendBase": "cachekit.stores",
    "StoreError": "cachekit.errors",
    "UnhashableArgument": "cachekit.errors",
    "UntrustedContent": "cachekit.errors",
    "artifact": "cachekit.memoization",
    "cache": "cachekit.memoization",
    "cpu_count": "cachekit.parallel",
    "delayed": "cachekit.parallel",
    "digest": "cachekit.hashing",
    "dump": "cachekit.serialization",
    "effective_n_jobs": "cachekit.parallel",
    "expires_after": "cachekit.memoization",
    "fingerprint": "cachekit.hashing",
    "hash": "cachekit.hashing",
    "load": "cachekit.serialization",
    "parallel_backend": "cachekit.parallel",
    "parallel_config": "cachekit.parallel",
    "register_compressor": "cachekit.serialization",
    "register_hasher": "cachekit.hashing",
    "register_parallel_backend": "cachekit.parallel",
    "register_store": "cachekit.stores",
    "register_store_backend": "cachekit.stores",
    "wrap_non_picklable_objects": "cachekit.parallel",
}

__getattr__, __dir__ = lazy.attach(__name__, _HOME)


def load_ipython_extension(shell: object) -> None:
    """Bring ``%%cache`` into a notebook: ``%load_ext cachekit``."""
    from cachekit import notebooks

    notebooks.load_ipython_extension(shell)


def unload_ipython_extension(shell: object) -> None:
    """Take ``%%cache`` away again."""
    from cachekit import notebooks

    notebooks.unload_ipython_extension(shell)
