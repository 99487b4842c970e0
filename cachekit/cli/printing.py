"""What commands print: tables that fit the terminal, counts, times, JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

import click

from cachekit import inspection
from cachekit.amounts import counted, format_size
from cachekit.stores import Store


def print_json(facts: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(facts, indent=1))


def print_count(
    done: str, chosen: Sequence[inspection.EntryReport], *, as_json: bool
) -> None:
    """Say how many entries were dealt with, and their size."""
    size = sum(entry.size for entry in chosen)
    if as_json:
        print_json({done: len(chosen), "bytes": size})
    else:
        entries = counted(len(chosen), "entry")
        click.echo(f"{done.capitalize()} {entries}, {format_size(size)}.")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in the width there is; only names and arguments are shortened."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Piped, a table keeps its full width: a script or a pager wants whole lines.
    console = Console(
        width=None if sys.stdout.isatty() else _width_of_a_pipe(), highlight=False
    )
    rows = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    flexible = 0 if header[0] == "function" else 1
    rest = sum(widths) - widths[flexible] + 2 * (len(header) - 1)
    widths[flexible] = min(widths[flexible], max(12, console.width - rest))
    table = Table(box=None, pad_edge=False, show_header=False)
    for column, width in zip(header, widths, strict=True):
        is_text = column in {"function", "entry", "arguments"}
        table.add_column(justify="left" if is_text else "right", width=width)
    for number, row in enumerate(rows):
        shortened = list(row)
        shortened[flexible] = shorten(
            row[flexible], widths[flexible], at_start=flexible == 0
        )
        style = "bold" if number == 0 else ""
        table.add_row(*(Text(cell, style, no_wrap=True) for cell in shortened))
    console.print(table)


def shorten(text: str, width: int, *, at_start: bool) -> str:
    """Cut a text: a function's name at its start, since its end tells it apart."""
    if len(text) <= width:
        return text
    return f"…{text[-width + 1 :]}" if at_start else f"{text[: width - 1]}…"


def _width_of_a_pipe() -> int:
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
    if entry.record is None:
        return "record missing or damaged"
    arguments = entry.record.arguments.items()
    return ", ".join(f"{name}={facts.get('repr', '?')}" for name, facts in arguments)


def ago(moment: float) -> str:
    """Write how long ago a moment was, or the date if that is long."""
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            if unit == "d" and seconds >= 60 * length:
                return f"{datetime.fromtimestamp(moment):%Y-%m-%d}"
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"
