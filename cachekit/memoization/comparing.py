"""Find in what two calls of one function differ: in which arguments, in which code.

Pure functions over what records and descriptions of code say; nothing here reads a
store. `explaining` finds what to compare, `wording` says it.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cachekit.amounts import counted
from cachekit.hashing import CodeVersion
from cachekit.hashing.syntax import write_syntax

# Lines of a difference that are shown at most.
LONGEST_DIFF = 40

# Lines around each change.
_CONTEXT = 2

# To compare more lines than these may take seconds.
_MOST_COMPARED = 2000


@dataclass(frozen=True)
class ArgumentChange:
    """An argument that differs between two calls.

    Attributes
    ----------
    name : str
        Of the parameter.
    kind : {"changed", "added", "removed", "ignored"}
        Added to or removed from what counts; ignored, if it counted before.
    before, now : str or None
        Short forms of the values, None if there is none; two values may share one.
    before_digest, now_digest : str or None
        Their digests.
    """

    name: str
    kind: Literal["changed", "added", "removed", "ignored"]
    before: str | None
    now: str | None
    before_digest: str | None
    now_digest: str | None


@dataclass(frozen=True)
class UnitChange:
    """A function, class or module that differs between two versions of code.

    Attributes
    ----------
    name : str
        ``module.qualname``.
    kind : {"changed", "added", "removed"}
        What happened to it.
    before, now : str or None
        Its sources, None where there is none; classes and modules have none.
    diff : tuple of str
        The lines that differ, begun with ``-`` and ``+``, and some around them, at
        most 40. Empty if the source is the same: then a default is another, or a
        value that the unit reads.
    values : tuple of str
        Names of the defaults, globals and files that the unit reads and that differ.
    statements : tuple of str
        Of code that is loaded, the statements that make these values now, each after
        its file and line: ``"analysis.py:3: RATE = 0.2"``. What they were is not
        stored.
    """

    name: str
    kind: Literal["changed", "added", "removed"]
    before: str | None
    now: str | None
    diff: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()


@dataclass(frozen=True)
class LibraryChange:
    """A library of which the version differs; None where it was not called.

    It counts only for functions cached with ``environment="exact"``.
    """

    name: str
    before: str | None
    now: str | None


def compare_arguments(
    before: Mapping[str, Mapping[str, str]],
    now: Mapping[str, Mapping[str, str]],
    *,
    ignored: Collection[str] = (),
) -> tuple[ArgumentChange, ...]:
    """Find the arguments that differ, as two records describe them."""
    changes = []
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        old_digest, new_digest = _digest(old), _digest(new)
        if old is not None and new is not None:
            if old_digest == new_digest is not None:
                continue
            kind: Literal["changed", "added", "removed", "ignored"] = "changed"
        elif old is None:
            kind = "added"
        else:
            kind = "ignored" if name in ignored else "removed"
        changes.append(
            ArgumentChange(name, kind, _short(old), _short(new), old_digest, new_digest)
        )
    return tuple(changes)


def _digest(facts: Mapping[str, object] | None) -> str | None:
    """Return a digest from a record, in which anything may stand."""
    found = None if facts is None else facts.get("digest")
    return found if isinstance(found, str) else None


def _short(facts: Mapping[str, object] | None) -> str | None:
    if facts is None:
        return None
    text = facts.get("repr", "(redacted)")
    return text if isinstance(text, str) else "?"


def compare_code(before: CodeVersion, now: CodeVersion) -> tuple[UnitChange, ...]:
    """Find the units that differ: those of now in their order, then those removed."""
    changes = []
    for name, digest in now.units.items():
        old, new = before.sources.get(name), now.sources.get(name)
        if name not in before.units:
            changes.append(UnitChange(name, "added", None, new))
            continue
        is_changed = digest != before.units[name]
        # What a decorator was told is a value of the wrapper, which comes first.
        wrapper = name.partition(" (")[0]
        is_rewrapped = now.units.get(wrapper) != before.units.get(wrapper)
        is_edited = _is_edited(old, new, decorated=is_changed or is_rewrapped)
        if is_changed or is_edited:
            diff = diff_lines(old or "", new or "") if is_edited else ()
            values = _values_changed(before.reads.get(name), now.reads.get(name))
            changes.append(UnitChange(name, "changed", old, new, diff, values))
    changes += [
        UnitChange(name, "removed", before.sources.get(name), None)
        for name in before.units
        if name not in now.units
    ]
    return tuple(changes)


def _values_changed(
    before: Mapping[str, str] | None, now: Mapping[str, str] | None
) -> tuple[str, ...]:
    """Name the values that differ; none where an old description has none."""
    if before is None or now is None:
        return ()
    names = sorted({*before, *now})
    return tuple(name for name in names if before.get(name) != now.get(name))


def _is_edited(before: str | None, now: str | None, *, decorated: bool) -> bool:
    """Tell whether two sources differ in more than remarks.

    Also those of one digest, for a wrapper has the name of what it wraps, and then one
    of the two stands for both. Decorators are units of their own.
    """
    if before is None or now is None or before == now:
        return False
    old, new = (_syntax(source, decorated=decorated) for source in (before, now))
    if old is None or new is None:  # lines of a lambda, from the middle of a statement
        return decorated
    return old != new


def _syntax(source: str, *, decorated: bool) -> list[object] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what was compiled long ago
            tree = ast.parse(source)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.decorator_list *= decorated
            elif not decorated:  # a lambda in a statement that does more
                return None
        return list(write_syntax(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def compare_libraries(
    before: CodeVersion, now: CodeVersion
) -> tuple[LibraryChange, ...]:
    """Find the libraries of which the versions differ."""
    return tuple(
        LibraryChange(name, before.libraries.get(name), now.libraries.get(name))
        for name in sorted({*before.libraries, *now.libraries})
        if before.libraries.get(name) != now.libraries.get(name)
    )


def diff_lines(before: str, now: str) -> tuple[str, ...]:
    r"""Show what was edited: at most 40 lines, begun with ``-``, ``+`` or a blank.

    >>> diff_lines("def f(x):\n    return 1\n", "def f(x):\n    return 2\n")
    ('  def f(x):', '-     return 1', '+     return 2')
    """
    old, new = before.splitlines(), now.splitlines()
    same = length_in_common(old, new)
    start = max(0, same - _CONTEXT)
    old, new = (lines[start : start + _MOST_COMPARED] for lines in (old, new))
    found = list(difflib.unified_diff(old, new, n=_CONTEXT, lineterm=""))[2:]
    lines: list[str] = []
    for line in found:
        if not line.startswith("@@"):
            lines.append(f"{line[0]} {line[1:]}")
        elif lines:  # where a part is left out
            lines.append("…")
    if len(lines) > LONGEST_DIFF:
        more = len(lines) - LONGEST_DIFF
        lines[LONGEST_DIFF:] = [f"… {counted(more, 'more line')}"]
    return tuple(lines)


def length_in_common(old: Sequence[str], new: Sequence[str]) -> int:
    """Return how many lines, or letters, two texts begin with alike."""
    pairs = enumerate(zip(old, new, strict=False))
    differing = (number for number, (one, other) in pairs if one != other)
    return next(differing, min(len(old), len(new)))
