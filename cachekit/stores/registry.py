"""From what a user writes as a location to the store that serves it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from cachekit.errors import StoreError
from cachekit.stores.base import Store
from cachekit.stores.local import LocalStore


def open_store(
    location: str | os.PathLike[str], *, hash_version: int | None = None
) -> Store:
    """Return the store at a location; nothing is created or contacted yet.

    Raises
    ------
    StoreError
        If the location has a scheme, as in ``s3://``, that no store serves.
    """
    scheme = re.match(rf"({_SCHEME})://", os.fspath(location))
    if scheme is None:
        return LocalStore(location, hash_version=hash_version)
    factory = _factories.get(scheme[1].lower())
    if factory is not None:
        return factory(os.fspath(location))
    raise StoreError(
        f"no store serves {scheme[1]}:// yet; give the path of a local folder "
        f"instead of {os.fspath(location)!r}, or make one known by register_store"
    )


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


# Of two letters or more: c://folder is on a disk of Windows.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+"

_factories: dict[str, Callable[[str], Store]] = {}
