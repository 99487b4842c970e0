"""From what a user writes as a location to the store of a `Memory`."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from cachekit.amounts import counted
from cachekit.errors import StoreError
from cachekit.hashing import HASH_VERSION
from cachekit.stores import (
    LocalStore,
    ReadOnlyStore,
    Store,
    TieredStore,
    is_remote,
    open_store,
)

Location: TypeAlias = str | os.PathLike[str] | Store


def default_location() -> str:
    """Return the place for results of which nobody has said where they go.

    Returns
    -------
    str
        A path, or a URL: that of ``CACHEKIT_DIR``, else of ``[tool.cachekit]`` in the
        nearest ``pyproject.toml``, else the system's folder for caches.

    Raises
    ------
    StoreError
        If the ``pyproject.toml`` decides, and cannot be read, or what it says is no
        location.
    """
    chosen = os.environ.get("CACHEKIT_DIR")
    if chosen:
        is_address = "://" in chosen
        return chosen if is_address else str(Path(chosen).expanduser().absolute())
    return configured_location() or system_location()


def system_location() -> str:
    """Return the folder for caches of this system and user."""
    from platformdirs import user_cache_path

    return str(user_cache_path("cachekit", appauthor=False))


def configured_location(folder: Path | None = None) -> str | None:
    """Return the location that the nearest ``pyproject.toml`` names.

    Parameters
    ----------
    folder : Path, optional
        Where to begin; else the current folder. Those above it follow.

    Returns
    -------
    str or None
        The ``location``, from the folder of the file if it is relative; None if there
        is no file, or it names none.

    Raises
    ------
    StoreError
        If the file cannot be read, or what it says is no location.
    """
    try:
        begin = (folder or Path.cwd()).absolute()
    except OSError:  # the current folder was removed
        return None
    files = [f"{place / 'pyproject.toml'}" for place in (begin, *begin.parents)]
    # Not `Path.is_file`, which raises where a folder above may not be looked into.
    nearest = next(filter(os.path.isfile, files), None)
    if nearest is None:
        return None
    try:
        facts = os.stat(nearest)  # noqa: PTH116  (of a text)
    except OSError as error:
        raise StoreError(f"{nearest} cannot be read: {error}") from error
    return _location_in(nearest, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=4)
def _location_in(file: str, changed: int, size: int) -> str | None:  # noqa: ARG001
    """Return the location that a ``pyproject.toml`` names, read once for each change.

    A module may have a hundred functions to decorate.
    """
    import tomllib

    try:
        location: Any = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read: {error}") from error
    for name in ("tool", "cachekit", "location"):
        location = location.get(name) if isinstance(location, dict) else None
    if location is None:
        return None
    if not isinstance(location, str) or not location:
        raise StoreError(f"location in {file} is to be a text, not {location!r}")
    if "://" in location:
        return location
    return str(Path(file).parent / os.path.expanduser(location))  # noqa: PTH111


def near_location(url: str) -> str:
    """Return the folder of this machine for what is read from a remote location."""
    from platformdirs import user_cache_path

    digest = hashlib.blake2b(url.rstrip("/").encode(), digest_size=8).hexdigest()
    return str(user_cache_path("cachekit-near", appauthor=False) / digest)


def store_for(
    location: Location | Sequence[Location] | None,
    *,
    read_only: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    backend: str = "local",
    backend_options: Mapping[str, Any] | None = None,
) -> Store | None:
    """Return the store at a location, as `Memory` describes it; None for None.

    Raises
    ------
    StoreError, MissingExtra
        As `open_store`.
    ValueError
        If it is an empty text, has a NUL character, is a list of fewer or more than
        two, or a folder with options.
    TypeError
        If it is of another type.
    """
    if location is None:
        return None
    if backend == "local":
        _check_location(location)
    only = os.environ.get("CACHEKIT_ONLY_STORE")
    if only:  # `cachekit repro` looks what comes out without what is stored
        return _store_at(only, None)
    if backend != "local":
        store = _store_of_backend(backend, location, dict(backend_options or {}))
        return ReadOnlyStore(store) if read_only else store
    if isinstance(location, (list, tuple)):
        near = _store_at(
            location[0], storage_options if is_remote(location[0]) else None
        )
        far = _store_at(location[1], storage_options)
        return TieredStore(near, ReadOnlyStore(far) if read_only else far)
    store = _store_at(cast(Location, location), storage_options)
    if read_only:
        store = ReadOnlyStore(store)
    if is_remote(location):
        return TieredStore(LocalStore(near_location(str(location))), store)
    return store


def absolute(location: Any) -> Any:
    """Return a location that leads to the same place from any folder."""
    if isinstance(location, (list, tuple)):
        return [absolute(place) for place in location]
    if isinstance(location, (str, os.PathLike)) and "://" not in os.fspath(location):
        return str(Path(location).expanduser().absolute())
    return location


def _check_location(location: Any) -> None:
    if isinstance(location, (list, tuple)):
        if len(location) != 2:
            number = len(location)
            has = "one location" if number == 1 else counted(number, "location")
            raise ValueError(f"location={location!r} has {has}: [near, far] has two")
        for place in location:
            _check_place(place)
    else:
        _check_place(location)


def _check_place(place: Any) -> None:
    if isinstance(place, Store):
        return
    path = os.fspath(place) if isinstance(place, os.PathLike) else place
    if not isinstance(path, str):
        raise TypeError(
            f"location={place!r} is no folder or URL: a text, a path, a store or None"
        )
    # A path of no parts would be this folder; it is likely a variable without a value.
    if not path:
        raise ValueError(
            "location is an empty text: Memory('.') is this folder, Memory(None) "
            "caches nothing"
        )
    if "\0" in path:
        raise ValueError(f"location={path!r} has a NUL character, as no folder has")


def _store_of_backend(backend: str, location: Any, options: dict[str, Any]) -> Store:
    from cachekit.stores.joblib_backends import open_backend

    verbose = options.pop("verbose", 0)
    return open_backend(backend, location, verbose=verbose, options=options)


def _store_at(location: Location, options: Mapping[str, Any] | None) -> Store:
    if isinstance(location, Store):
        return location
    return open_store(location, storage_options=options, hash_version=HASH_VERSION)
