"""From what a user writes as a location to the store that serves it."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from cachekit.errors import MissingExtra, StoreError
from cachekit.stores.base import Store
from cachekit.stores.local import LocalStore
from cachekit.stores.remote import RemoteStore


def open_store(
    location: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    hash_version: int | None = None,
) -> Store:
    """Return the store at a location; nothing is created or contacted yet.

    Parameters
    ----------
    location : str or path-like
        A folder, or a URL that `register_store` or fsspec knows.
    storage_options : mapping, optional
        For fsspec's client.
    hash_version : int, optional
        Written to ``store.json``, for the reader's information.

    Returns
    -------
    Store
        A `LocalStore`, a `RemoteStore`, or what was registered for the scheme.

    Raises
    ------
    StoreError
        If the location has a scheme, as in ``s3://``, that no store serves.
    MissingExtra
        If what serves it is not installed.
    ValueError
        If there are options for a client, and it is a folder.
    """
    place = os.fspath(location)
    if _HALF_A_SCHEME.match(place):
        raise StoreError(
            f"{place!r} looks like a URL with one slash: write it with two, and as a "
            f"text, for a path has one; or ./{place} if it is a folder"
        )
    scheme = _scheme_of(place)
    if scheme in _factories:
        return _factories[scheme](place)
    if scheme not in _FOLDERS:
        _check_is_served(scheme)
        return RemoteStore(place, storage_options, hash_version=hash_version)
    if storage_options:
        raise ValueError(f"storage_options are for a remote location, not {place!r}")
    folder = place.partition("://")[2] if scheme else place
    return LocalStore(folder, hash_version=hash_version)


def is_remote(location: object) -> bool:
    """Tell whether a location is that of a `RemoteStore` on another machine.

    Parameters
    ----------
    location : object
        As for `Memory`.

    Returns
    -------
    bool
        False for a folder, also as ``file://``.
    """
    if not isinstance(location, (str, os.PathLike)):
        return False
    scheme = _scheme_of(os.fspath(location))
    return scheme not in _factories and scheme not in {*_FOLDERS, "memory"}


def register_store(scheme: str, factory: Callable[[str], Store]) -> None:
    """Make a kind of store known, for locations that start with a scheme.

    Parameters
    ----------
    scheme : str
        As in ``"redis"``, for locations such as ``redis://host/1``. One that is known
        already is replaced.
    factory : callable
        Takes the whole location, returns a `Store`; it should contact nothing yet.

    Raises
    ------
    ValueError
        If the scheme is not of letters, digits, ``+``, ``-`` and ``.``, two at least.
    TypeError
        If the factory cannot be called.

    Examples
    --------
    >>> from cachekit.stores import DictStore
    >>> register_store("memo", lambda location: DictStore())
    """
    if not re.fullmatch(_SCHEME, scheme or ""):
        raise ValueError(f"{scheme!r} is no scheme, as 's3' is one of 's3://bucket'")
    if not callable(factory):
        raise TypeError(f"a factory takes a location; {factory!r} cannot be called")
    _factories[scheme.lower()] = factory


def _scheme_of(place: str) -> str:
    found = re.match(rf"({_SCHEME})://", place)
    return "" if found is None else found[1].lower()


def _check_is_served(scheme: str) -> None:
    from fsspec.registry import available_protocols, registry

    package, extra = _EXTRAS.get(scheme, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        raise MissingExtra(f"a store at {scheme}://", extra)
    if scheme not in (*available_protocols(), *registry):
        raise StoreError(
            f"no store serves {scheme}://: give a local folder, a URL that fsspec "
            f"knows, or make the scheme known by register_store"
        )


# What installs the client of a scheme: a package, and the extra that brings it.
_EXTRAS = {
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "abfs": ("adlfs", "azure"),
    "abfss": ("adlfs", "azure"),
    "az": ("adlfs", "azure"),
    "ssh": ("sshfs", "ssh"),
    "sftp": ("sshfs", "ssh"),
}

# Of places in the file system of this machine.
_FOLDERS = {"", "file", "local"}

_HALF_A_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")

# Of two letters or more: c://folder is on a disk of Windows.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+"

_factories: dict[str, Callable[[str], Store]] = {}
