"""Values as users pass them, and ways to change one of them in one place."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
from hypothesis import strategies as st


class Thing:
    """An object with attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


def atoms() -> st.SearchStrategy[Any]:
    """Draw plain values."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=True),
        st.complex_numbers(),
        st.text(),
        st.binary(),
    )


def arrays() -> st.SearchStrategy[Any]:
    """Draw small arrays of many types, contiguous and not."""
    return npst.arrays(
        dtype=st.one_of(
            npst.integer_dtypes(endianness="="),
            npst.floating_dtypes(endianness="="),
            npst.boolean_dtypes(),
            npst.datetime64_dtypes(endianness="="),
            npst.unicode_string_dtypes(endianness="=", max_len=4),
        ),
        shape=npst.array_shapes(max_dims=3, max_side=4, min_side=0),
    ).flatmap(lambda a: st.sampled_from([a, a.T, a[::-1], np.asfortranarray(a)]))


def values() -> st.SearchStrategy[Any]:
    """Draw nested values; none of them contains itself."""
    hashable = st.recursive(
        atoms(),
        lambda inner: st.tuples(inner, inner) | st.frozensets(inner),
        max_leaves=5,
    )
    return st.recursive(
        atoms() | arrays() | st.sets(hashable, max_size=5),
        lambda inner: st.one_of(
            st.lists(inner, max_size=5),
            st.tuples(inner, inner),
            st.dictionaries(hashable, inner, max_size=5),
            st.builds(lambda a, b: Thing(a=a, b=b), inner, inner),
            st.builds(lambda a: [a, a], inner),
        ),
        max_leaves=20,
    )


def mutate(value: Any, data: st.DataObject) -> Any:
    """Return a copy that differs from `value` in one place."""
    if isinstance(value, list):
        return _mutate_sequence(value, data)
    if isinstance(value, tuple):
        return tuple(_mutate_sequence(list(value), data))
    if isinstance(value, dict) and value:
        key = data.draw(st.sampled_from(list(value)))
        return {**value, key: mutate(value[key], data)}
    if isinstance(value, Thing):
        name = data.draw(st.sampled_from(sorted(vars(value))))
        return Thing(**{**vars(value), name: mutate(vars(value)[name], data)})
    if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "iub":
        changed = value.copy(order="K")
        place = data.draw(st.integers(0, value.size - 1))
        changed.flat[place] = not changed.flat[place]  # 0 -> 1, 5 -> 0
        return changed
    return _mutate_plain(value)


def _mutate_plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return type(value)([*value, ("one more", len(value))])
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, bytes):
        return value + b"x"
    if isinstance(value, int) and not isinstance(value, bool):
        return value + 1
    return ("instead of", type(value).__name__)


def _mutate_sequence(items: list[Any], data: st.DataObject) -> list[Any]:
    if not items or data.draw(st.booleans()):
        return [*items, None]
    place = data.draw(st.integers(0, len(items) - 1))
    return [*items[:place], mutate(items[place], data), *items[place + 1 :]]
