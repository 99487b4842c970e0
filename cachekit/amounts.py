"""Amounts as people write them: ``"10G"`` of bytes, ``"7d"`` of time."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import TypeGuard

# joblib reads "10K" as 10 * 1024 bytes; so do we, and "KB" and "KiB" are the same.
_SIZE = re.compile(
    r"(\d{1,18}(?:\.\d{1,18})?)\s*(?:([KMGTP])i?)?B?", re.ASCII | re.IGNORECASE
)
_SIZE_UNITS = {unit: 1024**power for power, unit in enumerate(["", *"KMGTP"])}

_AGE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(s|min|h|d|w)?", re.ASCII)
_AGE_UNITS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_size(size: float | str) -> int:
    """Read a number of bytes.

    Parameters
    ----------
    size : int, float or str
        Bytes, or a text such as ``"500"``, ``"10K"``, ``"1.5 GB"`` or ``"2GiB"``. The
        units K, M, G, T and P are powers of 1024, as in joblib, also before ``B``.

    Returns
    -------
    int
        Bytes, rounded down.

    Raises
    ------
    ValueError
        If `size` is negative, not finite, or not understood.
    """
    if isinstance(size, str):
        found = _SIZE.fullmatch(size.strip())
        if found:
            unit = _SIZE_UNITS[(found[2] or "").upper()]
            return int(_product(found[1], unit))
    elif _is_amount(size):
        return int(size)
    raise ValueError(
        f"a size has to be a number of bytes, or a text such as '500', '10K', '1.5M', "
        f"'2GiB' or '1T' (units of 1024), not {size!r}"
    )


def parse_age(age: float | str | timedelta) -> float:
    """Read a length of time.

    Parameters
    ----------
    age : float, str or timedelta
        Seconds, or a text such as ``"90s"``, ``"30min"``, ``"12h"``, ``"1.5d"`` or
        ``"2w"``.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    ValueError
        If `age` is negative, not finite, or not understood.
    """
    seconds = age.total_seconds() if isinstance(age, timedelta) else age
    if isinstance(seconds, str):
        found = _AGE.fullmatch(seconds.strip())
        if found:
            return float(_product(found[1], _AGE_UNITS[found[2] or ""]))
    elif _is_amount(seconds):
        return float(seconds)
    raise ValueError(
        f"an age has to be a positive timedelta, a number of seconds, or a text such "
        f"as '90s', '30min', '12h', '7d' or '2w', not {age!r}"
    )


def _is_amount(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value < math.inf


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts: ``1 entry``, ``2 entries``."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def format_size(size: float) -> str:
    """Write a number of bytes, in units of 1000: ``512 B``, ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def format_duration(seconds: float) -> str:
    """Write a length of time: ``120 ms``, ``1.5 s``, ``2.0 h``."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _product(number: str, unit: int) -> float:
    return float(number) * unit if "." in number else int(number) * unit
