"""What a person reads of an explanation: lines that fit a terminal.

What stands in a store may have been written by others, so nothing of it reaches a
terminal that it would obey.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from cachekit.amounts import counted
from cachekit.memoization.comparing import (
    ArgumentChange,
    UnitChange,
    length_in_common,
)
from cachekit.texts import cut, plain

if TYPE_CHECKING:
    from cachekit.memoization.explaining import Explanation

# What is shown at most.
MOST_ARGUMENTS = 20
MOST_UNITS = 10
MOST_LINES = 6
WIDTH = 80


def explanation_lines(this: Explanation) -> Iterator[str]:
    """Yield the lines that say why a call is a hit or a miss, of 80 letters at most."""
    yield from _wrapped(f"{plain(this.function)}(...) {_verdict(this)}", "", "    ")
    yield from difference_lines(this)


def difference_lines(this: Explanation) -> Iterator[str]:
    """Yield the lines that say in what a call differs from the nearest."""
    for change in this.arguments[:MOST_ARGUMENTS]:
        yield from _argument_lines(change)
    yield from _more(len(this.arguments) - MOST_ARGUMENTS, "argument")
    for unit in this.units[:MOST_UNITS]:
        yield from unit_lines(unit)
    yield from _more(len(this.units) - MOST_UNITS, "unit")
    for library in this.libraries[:MOST_UNITS]:
        versions = f"{library.before or 'absent'} -> {library.now or 'absent'}"
        text = f'{library.name}: {versions} (counts if environment="exact")'
        yield from _wrapped(plain(text))
    yield from _more(len(this.libraries) - MOST_UNITS, "library")
    if this.note:
        yield from _wrapped(f"{this.note}.")
    if this.same_arguments is not None:
        entry = this.same_arguments.digest[:12]
        text = f"With the same arguments it was computed by other code: entry {entry}."
        yield from _wrapped(text)


def _verdict(this: Explanation) -> str:
    moment = _moment(this.started)
    if this.reason == "hit":
        return "would be a hit" + (f": computed {moment}" if moment else "")
    verb = "was computed" if this.is_stored else "would be computed"
    moment = f" ({moment})" if moment else ""
    count = f" (of {this.entries:,})" if this.entries > 1 and not this.is_stored else ""
    number = counted(len(this.arguments), "argument")
    why = {
        "expired": f"its result{moment} is not to be used any more",
        "no entries": "no earlier call of it was found"
        if this.is_stored
        else "nothing is stored of it yet",
        "removed": "its result was stored, and has been removed or evicted",
        "unreadable": f"no record of its {counted(this.entries, 'entry')} can be "
        "compared: they are damaged, or of another version of cachekit",
        "arguments": f"{number} {'differs' if len(this.arguments) == 1 else 'differ'} "
        f"from the nearest entry{count}",
        "code": f"its code changed since the nearest entry{moment}",
        "arguments and code": f"{number} and its code differ from the nearest "
        f"entry{count}",
    }
    return f"{verb}: {why[this.reason]}"


def _argument_lines(change: ArgumentChange) -> Iterator[str]:
    name = cut(plain(change.name), 40)
    before, now = (plain(text or "") for text in (change.before, change.now))
    if change.kind == "added":
        yield cut(f"  {name}: new, {now}", WIDTH)
    elif change.kind != "changed":
        was = "now ignored" if change.kind == "ignored" else "removed"
        yield cut(f"  {name}: {was}, was {before}", WIDTH)
    elif before == now:
        digests = [
            (digest or "?")[:8] for digest in (change.before_digest, change.now_digest)
        ]
        yield from _wrapped(
            f"{name}: {cut(now, 60)}, with other content "
            f"(digest {plain(digests[0])} -> {plain(digests[1])})"
        )
    elif len(line := f"  {name}: {before} -> {now}") <= WIDTH:
        yield line
    else:
        start = length_in_common(before, now)
        yield f"  {name}:"
        yield f"    - {_window(before, start, WIDTH - 6)}"
        yield f"    + {_window(now, start, WIDTH - 6)}"


def unit_lines(unit: UnitChange) -> Iterator[str]:
    """Say in lines what has changed in a unit of code.

    Parameters
    ----------
    unit : UnitChange
        One of the ``units`` of an `Explanation`.

    Yields
    ------
    str
        A line, without its end.
    """
    source = unit.now or unit.before
    if unit.kind != "changed":
        size = f", {counted(len(source.splitlines()), 'line')}" if source else ""
        about = f"{unit.kind}{size}"
    elif unit.diff:
        about = "changed"
    elif unit.values:
        about = "another value"
    elif unit.now and unit.before:
        about = "same source; a default, or a value that it reads, changed"
    else:
        about = "changed; no source of it is stored"
    yield from _wrapped(f"{plain(unit.name)}  ({about})")
    if unit.values:
        yield from _wrapped(plain(", ".join(unit.values[:MOST_UNITS])), "    ~ ")
    if not unit.diff:  # else it shows as much
        for statement in unit.statements[:MOST_UNITS]:
            yield from _statement_lines(statement)
    for line in unit.diff:
        sign, text = line[:1], plain(line[2:].expandtabs(4))
        if sign == "…":
            yield f"    {line}"
        else:
            yield from _wrapped_code(text, sign)


def _statement_lines(statement: str) -> Iterator[str]:
    lines = statement.splitlines()
    for line in lines[:MOST_LINES]:
        yield from _wrapped_code(plain(line.expandtabs(4)), " ")
    yield from (f"    {line}" for line in _more(len(lines) - MOST_LINES, "line"))


def _wrapped_code(text: str, sign: str) -> Iterator[str]:
    """Break a line of code, for what was edited may stand at its end."""
    width = WIDTH - 6
    yield f"    {sign} {text[:width]}".rstrip()
    parts = [text[start : start + width] for start in range(width, len(text), width)]
    for part in parts[:3]:
        yield f"      {part}"
    if len(parts) > 3:
        yield "      …"


def _wrapped(text: str, first: str = "  ", rest: str = "      ") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def _more(number: int, noun: str) -> Iterator[str]:
    if number > 0:
        yield f"  … {counted(number, f'more {noun}')}"


def _window(text: str, start: int, width: int) -> str:
    """Cut a text at both ends, around where it begins to differ."""
    if len(text) <= width:
        return text
    start = max(0, min(start - width // 2, len(text) - width + 1))
    return cut(f"…{text[start:]}" if start else text, width)


def _moment(started: str) -> str:
    try:
        return f"{datetime.fromisoformat(started).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return ""
