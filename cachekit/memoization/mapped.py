"""Results whose arrays are mapped: read-only ones keep the digest they had.

Who hands such an array to another cached function need not wait until it is read and
hashed: nobody can have changed it.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple


class _Known(NamedTuple):
    """What is known of an array.

    Attributes
    ----------
    reference : weakref
        With it the array leaves, so that another one may have its identity.
    digest : str
        Its digest.
    form : dict
        Shape, strides, type and address: an array that nobody can write to can still
        be given another shape.
    """

    reference: weakref.ref[Any]
    digest: str
    form: dict[str, Any]


def remember(
    value: Any,
    digest: str | None,
    items: Mapping[str, str],
    arrays: Collection[str],
) -> None:
    """Remember the digests of a mapped result.

    Parameters
    ----------
    value : object
        The result. Arrays count that are the result or one of its items.
    digest : str or None
        Its digest, if it has one.
    items : mapping of str to str
        The digests of its items, by their key or their place.
    arrays : collection of str
        Which of them are of arrays, with ``""`` for the result itself. An object of
        another type, of which an array is all that was stored, has another digest.
    """
    for name, array in _arrays(value):
        known = items.get(name) if name else digest
        if known is not None and name in arrays:
            _remember(array, known)


def known_digest(value: Any) -> str | None:
    """Return the digest of an array that was mapped and cannot have changed."""
    known = _known.get(id(value))
    array: Any = None if known is None else known.reference()
    if known is None or array is not value or array.flags.writeable:
        return None
    return known.digest if array.__array_interface__ == known.form else None


def is_mapped(value: Any) -> bool:
    """Tell whether a value is an array mapped from an entry, with a digest known."""
    return id(value) in _known and known_digest(value) is not None


def views_of(array: Any) -> Callable[[], Any]:
    """Return what gives out views of a mapped array, with its digest known too."""
    digest = known_digest(array)

    def view() -> Any:
        other = array.view()
        if digest is not None:
            _remember(other, digest)
        return other

    return view


def _remember(array: Any, digest: str) -> None:
    number = id(array)
    reference = weakref.ref(array, functools.partial(_forget, number))
    _known[number] = _Known(reference, digest, array.__array_interface__)


def _forget(number: int, reference: weakref.ref[Any]) -> None:
    known = _known.get(number)
    if known is not None and known.reference is reference:
        _known.pop(number, None)


def _arrays(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the mapped, read-only arrays that a result is or has as its items."""
    if _is_map(value):
        yield "", value
    elif type(value) is tuple:
        yield from ((str(n), item) for n, item in enumerate(value) if _is_map(item))
    elif type(value) is dict:
        yield from (
            (name, item)
            for name, item in value.items()
            if type(name) is str and name and _is_map(item)
        )


def _is_map(value: Any) -> bool:
    return (
        type(value).__name__ == "memmap"
        and value.mode == "r"
        and not value.flags.writeable
    )


# By identity.
_known: dict[int, _Known] = {}
