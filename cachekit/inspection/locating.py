"""Where the store is that a person means, who may have named none.

What is given counts, then ``$CACHEKIT_DIR``, then ``[tool.cachekit]`` in the nearest
``pyproject.toml``, then the system's folder for caches.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from cachekit.errors import StoreError
from cachekit.memoization import default_location


def location_for(location: str | None = None) -> str:
    """Return the location of the store that is meant.

    Parameters
    ----------
    location : str, optional
        What was named: it counts before all else.

    Returns
    -------
    str
        `location` itself, else that of ``CACHEKIT_DIR``, else of ``[tool.cachekit]``
        in the nearest ``pyproject.toml``, else the system's folder for caches.

    Raises
    ------
    StoreError
        If nothing else says it, and the ``pyproject.toml`` cannot be read, or what it
        says is no location.
    """
    if location or os.environ.get("CACHEKIT_DIR"):
        return location or default_location()
    return configured_location() or default_location()


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
    begin = (folder or Path.cwd()).absolute()
    files = [place / "pyproject.toml" for place in (begin, *begin.parents)]
    nearest = next((file for file in files if file.is_file()), None)
    if nearest is None:
        return None
    try:
        facts: Any = tomllib.loads(nearest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{nearest} cannot be read: {error}") from error
    location = facts
    for name in ("tool", "cachekit", "location"):
        location = location.get(name) if isinstance(location, dict) else None
    if location is None:
        return None
    if not isinstance(location, str) or not location:
        raise StoreError(f"location in {nearest} is to be a text, not {location!r}")
    if "://" in location:
        return location
    return str(nearest.parent / os.path.expanduser(location))  # noqa: PTH111
