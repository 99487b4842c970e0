"""What commands print: tables that fit the terminal, counts, times, JSON."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TypeVar

import click

from cachekit import inspection
from cachekit.amounts import counted, format_size
from cachekit.stores import Store
from cachekit.texts import cut, plain

T = TypeVar("T")

# What takes longer than so many seconds says how far it is.
PATIENCE = 1.0

# Eighths of a block, for bars; and for a terminal that cannot show them.
_BLOCKS = " ▏▎▍▌▋▊▉█"
_PLAIN_BLOCKS = " #"

_SIGNS = {"    -": "red", "    +": "green"}

# How wide bars and the labels before them may be.
_WIDEST_BAR = 40
_NARROWEST_BAR = 8


def echo(text: str, *, err: bool = False) -> None:
    """Print lines; what a terminal would obey is written out.

    A store may hold what others wrote.
    """
    click.echo("\n".join(plain(line) for line in text.split("\n")), err=err)


def print_diff_line(line: str) -> None:
    """Print a line, on a terminal those of a diff in colour."""
    colour = _SIGNS.get(line[:5])
    click.echo(click.style(line, fg=colour) if colour else line)


def print_json(facts: object, *, err: bool = False) -> None:
    """Print one JSON document, in which numbers that JSON has not are null."""
    click.echo(json.dumps(_in_json(facts), indent=1, allow_nan=False), err=err)


def _in_json(facts: object) -> object:
    if isinstance(facts, dict):
        return {key: _in_json(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [_in_json(value) for value in facts]
    return None if isinstance(facts, float) and not math.isfinite(facts) else facts


def print_count(
    done: str, chosen: Sequence[inspection.EntryReport], *, as_json: bool
) -> None:
    """Say how many entries were dealt with, and their size."""
    size = sum(entry.size for entry in chosen)
    if as_json:
        print_json({done: len(chosen), "bytes": size})
    else:
        entries = counted(len(chosen), "entry")
        echo(f"{done.capitalize()} {entries}, {format_size(size)}.")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in the width there is; only names and arguments are shortened."""
    # Not a table of rich's: five thousand rows of those take two seconds.
    whole = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    flexible = 0 if header[0] == "function" else 1
    rest = sum(widths) - widths[flexible] + 2 * (len(header) - 1)
    # Piped, a table keeps its full width: a script or a pager wants whole lines.
    widths[flexible] = min(widths[flexible], max(12, line_width() - rest))
    is_text = [column in {"function", "entry", "arguments"} for column in header]
    lines = []
    for row in whole:
        cells = list(row)
        cells[flexible] = shorten(
            row[flexible], widths[flexible], at_start=flexible == 0
        )
        filled = map(_fill, cells, widths, is_text)
        lines.append("  ".join(filled).rstrip())
    click.secho(lines[0], bold=True)
    if len(lines) > 1:
        echo("\n".join(lines[1:]))


def _fill(cell: str, width: int, is_text: bool) -> str:
    """Bring a text to a width on the screen, where some characters take two places."""
    if cell.isascii():
        return cell.ljust(width) if is_text else cell.rjust(width)
    from rich.cells import set_cell_size

    return set_cell_size(cell, width)


def shorten(text: str, width: int, *, at_start: bool) -> str:
    """Cut a text: a function's name at its start, since its end tells it apart."""
    if len(text) <= width:
        return text
    return f"…{text[-width + 1 :]}" if at_start else cut(text, width)


def print_facts(lines: Sequence[tuple[str, str]]) -> None:
    """Print labels and texts, texts wrapped to the width there is.

    A path stays whole, whatever its length, so that it can be copied.
    """
    width = max(len(label) for label, _ in lines)
    room = max(20, line_width() - width - 2)
    for label, text in lines:
        pieces = textwrap.wrap(
            text, room, break_long_words=False, break_on_hyphens=False
        ) or [""]
        for number, piece in enumerate(pieces):
            echo(f"{'' if number else label:<{width}}  {piece}")


def print_bars(rows: Sequence[tuple[str, float, str]]) -> None:
    """Print a chart of bars: a label, a size, and what more there is to say of each."""
    if not rows:
        return
    sizes = [format_size(size) for _, size, _ in rows]
    columns = max(map(len, sizes)), max(len(note) for _, _, note in rows)
    room = line_width() - sum(columns) - 6
    widest = max(len(label) for label, _, _ in rows)
    # Long labels take of the bars what is more than these need to tell sizes apart.
    length = min(_WIDEST_BAR, max(_NARROWEST_BAR, room - widest))
    labels = max(12, min(widest, room - length))
    most = max(size for _, size, _ in rows) or 1
    blocks = _BLOCKS if _can_show(_BLOCKS) else _PLAIN_BLOCKS
    for (label, size, note), text in zip(rows, sizes, strict=True):
        name = shorten(label, labels, at_start=True)
        bar = draw_bar(size / most, length, blocks)
        echo(
            f"{name:<{labels}}  {text:>{columns[0]}}  {bar:<{length}}  {note}".rstrip()
        )


def draw_bar(part: float, length: int, blocks: str = _BLOCKS) -> str:
    """Draw a bar for a part of 1; what is there at all has a mark."""
    steps = len(blocks) - 1
    whole, rest = divmod(round(part * length * steps), steps)
    if part > 0 and not whole and not rest:
        rest = 1
    return f"{blocks[-1] * whole}{blocks[rest] if rest else ''}"


def with_progress(found: Iterable[T]) -> Iterator[T]:
    """Return what is found; in a terminal, say how much it is if that takes long."""
    if not sys.stderr.isatty():
        yield from found
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("Listing: {task.completed:,.0f} calls"),
        TimeElapsedColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task("", total=None)
    until, is_shown = time.monotonic() + PATIENCE, False
    try:
        for number, one in enumerate(found):
            if number % 256 == 0:
                if not is_shown and time.monotonic() > until:
                    progress.start()
                    is_shown = True
                progress.update(task, completed=number)
            yield one
    finally:
        if is_shown:
            progress.stop()


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def line_width() -> int:
    """Return how wide lines may be: a pipe takes more than a terminal."""
    if sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) > 0 else 200


def entry_facts(store: Store, entry: inspection.EntryReport) -> dict[str, object]:
    """Return what `--json` says of an entry."""
    return {
        "key": entry.key.digest,
        "path": f"{store.location}/{entry.key.path}",
        "size": entry.size,
        "last_used": entry.last_used,
        "hits": entry.hits,
        "seconds_saved": entry.seconds_saved,
        "is_pinned": entry.is_pinned,
        "record": asdict(entry.record) if entry.record else None,
    }


def call_text(entry: inspection.EntryReport) -> str:
    """Write the arguments of a call in short."""
    return entry.call if entry.record else "record missing or damaged"


def ago(moment: float) -> str:
    """Write how long ago a moment was, or the date if that is long."""
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            if unit == "d" and seconds >= 60 * length:
                return f"{datetime.fromtimestamp(moment):%Y-%m-%d}"
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"
