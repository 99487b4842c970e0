"""Results whose arrays are mapped: read-only ones keep the digest they had.

Who hands such an array to another cached function need not wait until it is read and
hashed: nobody can have changed it.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator, Mapping
from typing import Any


def remember(value: Any, digest: str | None, items: Mapping[str, str]) -> None:
    """Remember the digests of a mapped result.

    Parameters
    ----------
    value : object
        The result. Arrays count that are the result or one of its items.
    digest : str or None
        Its digest, if it has one.
    items : mapping of str to str
        The digests of its items, by their key or their place.
    """
    for name, array in _arrays(value):
        known = digest if name is None else items.get(name)
        if known is None:
            continue
        number = id(array)
        _known[number] = (weakref.ref(array, functools.partial(_forget, number)), known)


def known_digest(value: Any) -> str | None:
    """Return the digest of an array that was mapped and cannot have changed."""
    known = _known.get(id(value))
    if known is None or known[0]() is not value or value.flags.writeable:  # type: ignore[union-attr]
        return None
    return known[1]


def _forget(number: int, _: object) -> None:
    _known.pop(number, None)


def _arrays(value: Any) -> Iterator[tuple[str | None, Any]]:
    """Yield the mapped, read-only arrays that a result is or has as its items."""
    if _is_mapped(value):
        yield None, value
    elif type(value) is tuple:
        yield from ((str(n), item) for n, item in enumerate(value) if _is_mapped(item))
    elif type(value) is dict:
        yield from (
            (name, item)
            for name, item in value.items()
            if type(name) is str and _is_mapped(item)
        )


def _is_mapped(value: Any) -> bool:
    return type(value).__name__ == "memmap" and value.mode == "r"


# By identity: a weak reference, with which an entry leaves, and the digest.
_known: dict[int, tuple[weakref.ref[Any], str]] = {}
