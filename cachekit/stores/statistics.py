"""How often entries were used, and when last: files of JSON that add up.

Each process writes one of its own, which nobody has to wait for; when there are many,
one process merges them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from cachekit.stores.names import EntryKey, folder_name


class Uses(NamedTuple):
    """How often an entry was used, below 0 to take off; and when last.

    Attributes
    ----------
    times : int
        How often.
    last : float
        Seconds since 1970; 0 if that is told elsewhere.
    """

    times: int
    last: float = 0.0


def merge(total: dict[str, Uses], more: Mapping[str, Uses]) -> None:
    """Add uses, by the path of their entries, to a total."""
    for path, (times, last) in more.items():
        before = total.get(path, Uses(0))
        total[path] = Uses(before.times + times, max(before.last, last))


def to_json(uses: Mapping[str, Uses]) -> bytes:
    """Write one file: a number for each path, or that and the time of the last use.

    What has come to nothing, as the counts of an entry that was removed, is left out.
    """
    facts = {
        path: list(one) if one.last else one.times
        for path, one in uses.items()
        if one.times
    }
    return (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()


def from_json(content: bytes | None) -> dict[str, Uses]:
    """Read one file; a damaged one counts for nothing."""
    try:
        found = json.loads(content or b"{}")
        return {
            str(path): Uses(int(one[0]), float(one[1]))
            if isinstance(one, list)
            else Uses(int(one))
            for path, one in found.items()
        }
    except (ValueError, ArithmeticError, RecursionError):
        return {}
    except (AttributeError, TypeError, LookupError):  # JSON, but no counts
        return {}


# In statistics, in the place of an entry of a function: its calls that were computed.
_MISSES = "/misses"


def counts_by_path(
    hits: Mapping[EntryKey, int], misses: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Return what statistics say, by the paths that they say it by."""
    counts = {key.path: count for key, count in hits.items()}
    for function, count in (misses or {}).items():
        counts[folder_name(function) + _MISSES] = count
    return counts


def hits_among(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the uses of entries among what statistics say."""
    # Of two stores, one may have taken off what only the other had counted.
    return {path: n for path, n in counts.items() if n > 0 and path.count("/") == 3}


def misses_among(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the computed calls by function among what statistics say."""
    return {
        path.removesuffix(_MISSES): n
        for path, n in counts.items()
        if n > 0 and path.endswith(_MISSES) and path.count("/") == 1
    }
