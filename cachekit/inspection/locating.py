"""Where the store is that a person means, who may have named none."""

from __future__ import annotations

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
    return location or default_location()
