"""Sizes as joblib's users write them: ``"1M"``."""

from __future__ import annotations

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def bytes_from(size: int | str | None) -> int | None:
    """Return a number of bytes; None for None.

    Raises
    ------
    ValueError
        If it is no number, and no text as ``"10K"``, ``"1M"`` or ``"2G"``.
    """
    if size is None:
        return None
    try:
        if isinstance(size, str) and size[-1:] in _UNITS:
            return int(float(size[:-1]) * _UNITS[size[-1]])
        return int(size)
    except ValueError:
        raise ValueError(
            f"max_nbytes={size!r} is not a number of bytes, nor a text such as '10K', "
            f"'1M' or '2G'"
        ) from None
