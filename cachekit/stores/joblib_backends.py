"""Stores that were written for joblib: its words for them, and their names.

Such a *store backend* moves, opens and clears what is named by a path. It is
registered by a name, for ``backend=name`` of a `Memory`; `backend_store` makes a store
of ours of it.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, cast

from cachekit.stores.backend_store import BackendStore, told
from cachekit.stores.base import Store
from cachekit.stores.registry import open_store


class CacheItemInfo(NamedTuple):
    """What a backend says of something that it keeps.

    Attributes
    ----------
    path : str
        Where it is.
    size : int
        Bytes.
    last_access : datetime.datetime
        When it was used last; one without a time zone is in local time.
    """

    path: str
    size: int
    last_access: datetime


class StoreBackendBase(ABC):
    """What a store backend has to offer, in joblib's words: inherit, and register it.

    Each method may raise whatever it likes; a cached call makes a warning of it.

    Attributes
    ----------
    location : str or None
        The folder that everything is in; set by `configure`.
    """

    location: str | None = None

    @abstractmethod
    def _open_item(self, f: str, mode: str) -> Any:
        """Open an item, to read with mode ``"rb"`` and to write with ``"wb"``."""

    @abstractmethod
    def _item_exists(self, location: str) -> bool:
        """Tell whether there is an item."""

    @abstractmethod
    def _move_item(self, src: str, dst: str) -> None:
        """Move an item, in one step if that is possible."""

    @abstractmethod
    def create_location(self, location: str) -> None:
        """Make a folder and those that it is in, unless it is there."""

    @abstractmethod
    def clear_location(self, location: str) -> None:
        """Remove a folder with all that is in it."""

    @abstractmethod
    def get_items(self) -> list[Any]:
        """List what is kept, as `CacheItemInfo`, or nothing."""

    @abstractmethod
    def configure(
        self,
        location: str,
        verbose: int = 0,
        backend_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Get ready to be used at a location, with ``~`` expanded.

        The options are the user's, with ``compress`` and ``mmap_mode``. These need not
        be heeded: what is written is compressed already if it is to be.
        """


def register_store_backend(backend_name: str, backend: type[Any]) -> None:
    """Make a store backend known, for `Memory`, as ``backend=backend_name``.

    Parameters
    ----------
    backend_name : str
        What to call it. One that was registered before is replaced; ``"local"`` stands
        for cachekit's own stores and stays.
    backend : type
        Inherits `StoreBackendBase`, ours or joblib's.

    Raises
    ------
    ValueError
        If the name or the class is something else.
    """
    if not isinstance(backend_name, str):
        raise ValueError(
            f"Store backend name should be a string, {backend_name!r} given."
        )
    if not _is_backend_class(backend):
        raise ValueError(
            f"Store backend should inherit StoreBackendBase, {backend!r} given."
        )
    if backend_name == "local":
        raise ValueError(
            "'local' stands for cachekit's own stores: give the backend another name"
        )
    _backends[backend_name] = backend


def open_backend(
    name: str,
    location: str | os.PathLike[str] | StoreBackendBase,
    *,
    verbose: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Store:
    """Return the store that a registered backend keeps at a location.

    Parameters
    ----------
    name : str
        As registered; ``"local"`` is what `open_store` returns.
    location : str, path-like or StoreBackendBase
        Passed on to the backend. A backend that is configured is used as it is.
    verbose : int, default 0
        Passed on.
    options : mapping, optional
        Passed on; there are none for ``"local"``.

    Raises
    ------
    TypeError
        If there is no such backend, the location is of another type, or the backend's
        class lacks some of the methods.
    ValueError
        If there are options for ``"local"``, or a backend is not configured.
    StoreError, OSError
        If the backend cannot be configured.
    """
    if _is_backend_class(type(location)):
        return BackendStore(cast(StoreBackendBase, location))
    place = os.fspath(location) if isinstance(location, os.PathLike) else location
    if not isinstance(place, str) or name not in {"local", *_backends}:
        raise TypeError(f"Unknown location {location!r} or backend {name!r}")
    if name == "local":
        if options:
            raise ValueError(f"a local store has no options, {sorted(options)} given")
        return open_store(place)
    place = os.path.expanduser(place)  # noqa: PTH111  (it may be a URL)
    backend = _backends[name]()
    # Those of joblib's Memory, which some backends take for granted.
    complete = {"compress": False, "mmap_mode": None, **(options or {})}
    with told(f"store backend {name!r}"):
        backend.configure(place, verbose=verbose, backend_options=complete)
    return BackendStore(backend, place)


def _is_backend_class(cls: object) -> bool:
    """Tell whether a class inherits our base, or joblib's if that was imported."""
    theirs = getattr(
        sys.modules.get("joblib._store_backends"), "StoreBackendBase", None
    )
    bases = (StoreBackendBase, theirs) if isinstance(theirs, type) else StoreBackendBase
    return isinstance(cls, type) and issubclass(cls, bases)


_backends: dict[str, type[Any]] = {}
