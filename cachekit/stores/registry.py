"""From what a user writes as a location to the store that serves it."""

from __future__ import annotations

import os
import re

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
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", os.fspath(location))
    if scheme is None:
        return LocalStore(location, hash_version=hash_version)
    raise StoreError(
        f"no store serves {scheme[1]}:// yet; give the path of a local folder "
        f"instead of {os.fspath(location)!r}"
    )
