"""In what two values differ: arrays, tables, texts, and what is nested in them."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cachekit.amounts import counted
from cachekit.hashing import digest
from cachekit.memoization.comparing import diff_lines
from cachekit.texts import cut, plain

# What is told at most.
MOST_LEAVES = 100
MOST_CELLS = 10
MOST_PARTS = 1_000_000


@dataclass(frozen=True)
class ArrayDifference:
    """In what two arrays differ.

    Attributes
    ----------
    shapes, dtypes : (str, str)
        Of the first and of the second.
    size : int
        Elements that were compared; 0 where the shapes differ.
    differing : int
        How many of them differ; two NaN do not.
    largest, largest_relative : float or None
        The largest difference, and in relation to the larger of the two numbers; None
        where nothing can be subtracted.
    """

    shapes: tuple[str, str]
    dtypes: tuple[str, str]
    size: int
    differing: int
    largest: float | None = None
    largest_relative: float | None = None


@dataclass(frozen=True)
class Cell:
    """A cell of a table that differs: its row's label, its column, both contents."""

    row: str
    column: str
    before: str
    now: str


@dataclass(frozen=True)
class Leaf:
    """A place in which two values differ.

    Attributes
    ----------
    path : str
        How to reach it, as in ``['a'][3].x``; empty for the values themselves.
    text : str
        What differs, in one line.
    lines : tuple of str
        Of texts, the lines that differ, begun with ``-`` and ``+``.
    array : ArrayDifference or None
        Of two arrays.
    cells : tuple of Cell
        Of two tables, the first cells that differ.
    """

    path: str
    text: str
    lines: tuple[str, ...] = ()
    array: ArrayDifference | None = None
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class ValueDifferences:
    """In what two values differ.

    Attributes
    ----------
    count : int
        The number of places that differ.
    leaves : tuple of Leaf
        The first 100 of them.
    """

    count: int
    leaves: tuple[Leaf, ...]

    @property
    def is_equal(self) -> bool:
        """Whether the values are equal."""
        return self.count == 0


def compare_values(before: object, now: object) -> ValueDifferences:
    """Find the places in which two values differ.

    Values are equal if their digests are: in type and dtype as well, and two NaN are.
    Dicts are compared by key, lists and tuples by place, objects by attribute.

    Parameters
    ----------
    before, now : object
        The values. What they hold may not be changed meanwhile.

    Returns
    -------
    ValueDifferences
        The places, in order.
    """
    count = 0
    leaves: list[Leaf] = []
    for leaf in _leaves(before, now):
        count += 1
        if len(leaves) < MOST_LEAVES:
            leaves.append(leaf)
    if not count and not _is_same(before, now):
        text = "equal in all that was compared, but not in their digests"
        return ValueDifferences(1, (Leaf("", f"{text}, as by the order of a dict"),))
    return ValueDifferences(count, tuple(leaves))


def _leaves(before: object, now: object) -> Iterator[Leaf]:
    """Walk through both values at once; not by recursion, for they may be deep."""
    waiting: list[tuple[str, Any, Any]] = [("", before, now)]
    met: set[tuple[int, int]] = set()
    while waiting and len(met) < MOST_PARTS:
        path, one, other = waiting.pop()
        if one is other or (id(one), id(other)) in met:
            continue
        if type(one) is not type(other):
            yield Leaf(path, f"{_typed(one)} -> {_typed(other)}")
            continue
        found = _whole(path, one, other)
        if found is not None:
            yield from found
            continue
        met.add((id(one), id(other)))  # both are held, so these numbers stay theirs
        parts, others = _parts(one), _parts(other)
        if not parts and not others:
            if not _is_same(one, other):
                yield Leaf(path, _changed(one, other))
            continue
        yield from _only_in_one(path, parts, others)
        waiting += [
            (path + step, parts[step], others[step])
            for step in reversed(parts)
            if step in others
        ]


def _whole(path: str, one: Any, other: Any) -> list[Leaf] | None:
    """Compare two values of one type as a whole; None if they are compared by part."""
    kind = type(one)
    if isinstance(one, str):
        return [] if one == other else [_text(path, one, other)]
    if kind in _PLAIN:
        return [] if _is_same(one, other) else [Leaf(path, _changed(one, other))]
    if isinstance(one, (set, frozenset)):
        return _set(path, one, other)
    if _is_of(one, "numpy", "ndarray"):
        return _array(path, one, other)
    if _is_of(one, "pandas", "DataFrame"):
        return _table(path, one, other)
    if _is_of(one, "pandas", "Series"):
        name = "values" if one.name is None else one.name
        found = _table(path, one.to_frame(name), other.to_frame(name))
        if one.name != other.name:
            found.append(Leaf(f"{path}.name", _changed(one.name, other.name)))
        return found
    return None


_PLAIN = (int, float, complex, bool, bytes, bytearray, type(None), type, range)


def _is_of(value: object, library: str, name: str) -> bool:
    module = sys.modules.get(library)
    return module is not None and isinstance(value, getattr(module, name))


def _is_same(one: object, other: object) -> bool:
    try:
        return digest(one) == digest(other)
    except Exception:  # noqa: BLE001  (hashing may run the value's own code)
        try:
            return bool(one == other)
        except Exception:  # noqa: BLE001  (and so may this)
            return False


def _parts(value: Any) -> dict[str, Any]:
    """Return what a value holds, each by the step that leads there: ``[3]``, ``.x``."""
    found: dict[str, Any] = {}
    if isinstance(value, dict):
        found = {f"[{_short(key)}]": item for key, item in value.items()}
        if len(found) < len(value):  # two keys that look alike
            keys = enumerate(value.items())
            found = {f"[{_short(key)} #{n}]": item for n, (key, item) in keys}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        found = {f".{name}": getattr(value, name) for name in value._fields}
    elif isinstance(value, (list, tuple)):
        found = {f"[{place}]": item for place, item in enumerate(value)}
    return found | {f".{name}": item for name, item in _attributes(value)}


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, type) or callable(value):
        return
    try:
        yield from vars(value).items()
    except TypeError:  # it has none, or slots
        for kind in type(value).__mro__:
            slots = vars(kind).get("__slots__", ())
            for name in [slots] if isinstance(slots, str) else slots:
                if hasattr(value, name) and not name.startswith("__"):
                    yield name, getattr(value, name)


def _only_in_one(
    path: str, parts: Mapping[str, Any], others: Mapping[str, Any]
) -> Iterator[Leaf]:
    for step in parts:
        if step not in others:
            yield Leaf(path + step, f"removed, was {_short(parts[step])}")
    for step in others:
        if step not in parts:
            yield Leaf(path + step, f"new, {_short(others[step])}")


def _text(path: str, one: str, other: str) -> Leaf:
    if "\n" not in one + other:
        return Leaf(path, _changed(one, other))
    lines = diff_lines(one, other)
    return Leaf(path, "texts of other lines" if lines else "other ends of lines", lines)


def _set(path: str, one: Any, other: Any) -> list[Leaf]:
    gone, new = one - other, other - one
    if not gone and not new:
        return []
    parts = [
        f"{word} {', '.join(sorted(map(_short, some))[:5])}"
        + (f" and {counted(len(some) - 5, 'other')}" if len(some) > 5 else "")
        for word, some in (("without", gone), ("with", new))
        if some
    ]
    return [Leaf(path, "; ".join(parts))]


# --- arrays ---


def _array(path: str, one: Any, other: Any) -> list[Leaf]:
    shapes, dtypes = (
        (str(getattr(one, name)), str(getattr(other, name)))
        for name in ("shape", "dtype")
    )
    if shapes[0] != shapes[1]:
        found = ArrayDifference(shapes, dtypes, 0, 0)
        return [Leaf(path, _array_text(found), array=found)]
    found = _elements(one, other, shapes, dtypes)
    if found.differing == 0 and dtypes[0] == dtypes[1]:
        if _is_same(one, other):
            return []
        text = "equal elements, but another order in memory, sign of a zero or type"
        return [Leaf(path, text, array=found)]
    return [Leaf(path, _array_text(found), array=found)]


def _elements(
    one: Any, other: Any, shapes: tuple[str, str], dtypes: tuple[str, str]
) -> ArrayDifference:
    import numpy as np

    one, other = np.asarray(one), np.asarray(other)
    with np.errstate(all="ignore"):
        differs = np.asarray(_unequal(one, other))
        number = int(np.count_nonzero(differs))
        largest = relative = None
        is_numeric = one.dtype.kind in "biufc" and other.dtype.kind in "biufc"
        if number and is_numeric:
            is_complex = "c" in (one.dtype.kind, other.dtype.kind)
            kind = np.clongdouble if is_complex else np.longdouble
            before, now = (part[differs].astype(kind) for part in (one, other))
            change = np.abs(now - before)
            scale = np.maximum(np.abs(before), np.abs(now))
            largest, relative = _largest(change), _largest(change / scale)
    return ArrayDifference(shapes, dtypes, one.size, number, largest, relative)


def _unequal(one: Any, other: Any) -> Any:
    """Say of each element whether it differs; NaN and NaT are equal to themselves."""
    import numpy as np

    try:
        differs = np.asarray(one != other)
        if differs.shape == one.shape:
            return differs & ((one == one) | (other == other))
    except Exception:  # noqa: BLE001  (elements of dtype object, records)
        pass
    pairs = zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)
    same = [not _is_same(before, now) for before, now in pairs]
    return np.array(same, bool).reshape(one.shape)


def _largest(numbers: Any) -> float | None:
    """Return the largest of those that are no NaN, of which infinity is one."""
    numbers = numbers[numbers == numbers]
    return float(numbers.max()) if numbers.size else None


def _array_text(found: ArrayDifference) -> str:
    parts = [
        f"{what} {before} -> {now}"
        for what, (before, now) in (("shape", found.shapes), ("dtype", found.dtypes))
        if before != now
    ]
    if found.size:
        parts.append(f"{found.differing:,} of {counted(found.size, 'element')} differ")
    if found.largest is not None:
        parts.append(f"by {found.largest:.4g} at most")
    if found.largest_relative is not None:
        parts.append(f"relative {found.largest_relative:.2g}")
    return ", ".join(parts)


# --- tables ---


def _table(path: str, one: Any, other: Any) -> list[Leaf]:
    leaves = _labels(path, "column", one.columns, other.columns)
    leaves += _labels(path, "row", one.index, other.index)
    if not (one.columns.is_unique and other.columns.is_unique):
        return leaves or _fallback(path, one, other)
    columns = [name for name in one.columns if name in other.columns]
    if not one.index.equals(other.index):
        if not (one.index.is_unique and other.index.is_unique):
            return leaves
        rows = one.index.intersection(other.index, sort=False)
        one, other = one.loc[rows], other.loc[rows]
    number = 0
    cells: list[Cell] = []
    for name in columns:
        before, now = one[name], other[name]
        if before.dtype != now.dtype:
            step = f"{path}[{_short(name)}].dtype"
            leaves.append(Leaf(step, f"{before.dtype} -> {now.dtype}"))
        places = _cells_that_differ(before, now)
        number += len(places)
        cells += [
            Cell(
                row=str(one.index[place]),
                column=str(name),
                before=_short(before.iloc[place]),
                now=_short(now.iloc[place]),
            )
            for place in places[: MOST_CELLS - len(cells)]
        ]
    if number:
        text = f"{number:,} of {counted(len(one) * len(columns), 'cell')} differ"
        leaves.append(Leaf(path, text, cells=tuple(cells)))
    return leaves or _fallback(path, one, other)


def _labels(path: str, what: str, one: Any, other: Any) -> list[Leaf]:
    """Tell of the labels that only one of two tables has, and of another order."""
    gone, new = one.difference(other, sort=False), other.difference(one, sort=False)
    text = "; ".join(
        f"{counted(len(some), what)} {word}: {', '.join(map(_short, some[:5]))}"
        + (", …" if len(some) > 5 else "")
        for word, some in (("removed", gone), ("new", new))
        if len(some)
    )
    if not text and not one.equals(other):
        text = f"the {what}s are in another order, or of another number"
    return [Leaf(path, text)] if text else []


def _cells_that_differ(before: Any, now: Any) -> list[int]:
    import numpy as np

    missing = before.isna().to_numpy() & now.isna().to_numpy()
    one, other = (part.to_numpy(dtype=object) for part in (before, now))
    differs = np.asarray(_unequal(one, other), bool) & ~missing
    return [int(place) for place in np.flatnonzero(differs)]


def _fallback(path: str, one: object, other: object) -> list[Leaf]:
    if _is_same(one, other):
        return []
    return [Leaf(path, "equal cells; names, types of labels or attributes differ")]


# --- short forms ---


def _short(value: object) -> str:
    """Write a value in one short line, whatever its own code does."""
    if _is_of(value, "numpy", "generic"):
        value = value.item()  # type: ignore[attr-defined]  # 2, not np.int64(2)
    try:
        text = _SHORT.repr(value)
    except Exception as error:  # noqa: BLE001  (its repr is the user's code)
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    return cut(plain(text), _LONGEST)


_LONGEST = 60

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = _LONGEST


def _typed(value: object) -> str:
    return f"{type(value).__name__} {_short(value)}"


def _changed(one: object, other: object) -> str:
    before, now = _short(one), _short(other)
    if before != now:
        return f"{before} -> {now}"
    return f"{before}, with other content"
