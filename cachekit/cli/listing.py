"""Commands that show what is stored: ``ls`` and ``info``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from cachekit import inspection
from cachekit.amounts import counted, format_duration, format_size
from cachekit.cli.measures import as_age, as_size
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import (
    ago,
    call_text,
    echo,
    entry_facts,
    print_facts,
    print_json,
    print_table,
    with_progress,
)
from cachekit.errors import CacheKitError
from cachekit.stores import Store

# So many buffers, parents and children are shown; `--json` has them all.
MOST_SHOWN = 10

_CONDITIONS: dict[str, dict[str, Any]] = {
    "--older-than": {
        "callback": as_age,
        "metavar": "AGE",
        "help": "Not used for so long: 90min, 12h, 7d, 2w; exact to an hour.",
    },
    "--newer-than": {
        "callback": as_age,
        "metavar": "AGE",
        "help": "Used since then.",
    },
    "--larger-than": {
        "callback": as_size,
        "metavar": "SIZE",
        "help": "Single calls above a size: 500K, 10M, 2G.",
    },
    "--smaller-than": {
        "callback": as_size,
        "metavar": "SIZE",
        "help": "Single calls below a size.",
    },
    "--stale": {
        "is_flag": True,
        "help": "Of versions of the code other than the one used last.",
    },
    "--matching": {
        "metavar": "TEXT",
        "help": "With a text in the short form of the arguments; reads every record.",
    },
}


def _conditions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose calls."""
    for name, settings in reversed(_CONDITIONS.items()):
        command = click.option(name, **settings)(command)
    return command


@click.command(short_help="List the functions with stored calls, or the calls of one.")
@click.argument("function", required=False)
@_conditions
@click.option(
    "--sort",
    "order",
    type=click.Choice(["used", "size", "calls", "hits", "saved", "name"]),
    default="used",
    help="What comes first: the most, or A before Z.  [default: used]",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show so many lines.",
)
@store_option
@json_option
def ls(
    function: str | None,
    location: str | None,
    *,
    as_json: bool,
    order: inspection.Order,
    limit: int | None,
    **conditions: Any,
) -> None:
    """List the functions with stored calls, or the calls of one FUNCTION.

    A function may go by the end of its name, as in `fetch_page`. The options that
    choose calls work for both: a function is listed with the calls that are chosen.
    """
    if function is not None and order == "calls":
        raise click.UsageError("--sort calls is for functions; of calls: --sort hits")
    store = inspection.store_at(location)
    chosen = inspection.Conditions(**conditions)
    if function is not None:
        found = inspection.select(
            store, [function], chosen, order, limit=limit, watch=with_progress
        )
        if as_json:
            print_json([entry_facts(store, entry) for entry in found])
        else:
            _print_entries(found)
        return
    reports = inspection.functions(store, chosen, order, watch=with_progress)
    if as_json:
        print_json([asdict(report) for report in reports[:limit]])
    elif reports:
        _print_functions(store, reports, limit)
    elif chosen == inspection.Conditions():
        _print_empty(store)
    else:
        echo(f"No call at {store.location} is like that.")


@click.command(short_help="Show what is known of one stored call.")
@click.argument("entry")
@store_option
@json_option
def info(entry: str, location: str | None, as_json: bool) -> None:
    """Show what is known of one ENTRY, named by the first digits of its key.

    Its value is not unpickled; `cachekit show` prints it.
    """
    store = inspection.store_at(location)
    found = inspection.find(store, entry)
    if as_json:
        print_json(entry_facts(store, found))
    else:
        print_facts(_lines(store, found))


def _print_empty(store: Store) -> None:
    echo(
        f"Nothing is stored at {store.location} yet.\n"
        f"Decorate a function with @cachekit.cache and call it, or try: "
        f"cachekit run topics"
    )


def _print_functions(
    store: Store, reports: Sequence[inspection.FunctionReport], limit: int | None
) -> None:
    rows = [
        (
            report.function,
            f"{report.calls:,}",
            format_size(report.size),
            ago(report.last_used),
            f"{report.hits:,}",
            format_duration(report.seconds_saved),
        )
        for report in reports[:limit]
    ]
    print_table(("function", "calls", "size", "used", "hits", "saved"), rows)
    calls = sum(report.calls for report in reports)
    size = sum(report.size for report in reports)
    saved = sum(report.seconds_saved for report in reports)
    more = len(reports) - len(rows)
    echo(
        f"{counted(calls, 'call')}, {format_size(size)}, "
        f"{format_duration(saved)} saved, in {store.location}"
        + (f" (with {counted(more, 'function')} not shown)" if more else "")
    )


def _print_entries(chosen: Sequence[inspection.EntryReport]) -> None:
    header: tuple[str, ...] = ("entry", "arguments", "size", "used", "hits", "took")
    rows: list[tuple[str, ...]] = [
        (
            entry.key.digest[:12],
            call_text(entry),
            format_size(entry.size),
            ago(entry.last_used),
            f"{entry.hits:,}",
            format_duration(entry.record.seconds_computing) if entry.record else "?",
        )
        for entry in chosen
    ]
    if any(entry.is_pinned for entry in chosen):
        header = (*header, "pinned")
        rows = [
            (*row, "yes" if entry.is_pinned else "")
            for row, entry in zip(rows, chosen, strict=True)
        ]
    print_table(header, rows)


# --- one entry ---


def _lines(store: Store, entry: inspection.EntryReport) -> list[tuple[str, str]]:
    """Say what is known of an entry, a label and a text for each line."""
    record = entry.record
    lines = [("key", entry.key.digest), ("path", f"{store.location}/{entry.key.path}")]
    if record is None:
        lines.append(("record", "missing or damaged"))
    else:
        lines[:0] = [("function", record.function)]
        lines += [
            (f"  {name}", facts.get("repr", "(not recorded)"))
            for name, facts in record.arguments.items()
        ]
        lines += [
            ("computed", f"{_moment(record.started)} on {record.host}"),
            ("took", format_duration(record.seconds_computing)),
            ("versions", f"Python {record.python}, cachekit {record.cachekit}"),
        ]
        if record.git:
            is_dirty = (
                ", with uncommitted changes" if record.git.get("is_dirty") else ""
            )
            lines.append(("git", f"{record.git.get('commit', '?')}{is_dirty}"))
    lines += [
        ("code", f"version {entry.key.fingerprint}"),
        ("size", format_size(entry.size)),
        *_lines_of_value(store, entry),
    ]
    if record is not None:
        lines += _list(
            "files", [f"{n}, {format_size(s)}" for n, s in record.files.items()]
        )
        lines += _list("parents", record.parents)
        lines += _list("children", record.children)
        lines += _list("warnings", record.warnings)
    lines += [
        ("used", f"{ago(entry.last_used)}, {counted(entry.hits, 'hit')}"),
        ("saved", format_duration(entry.seconds_saved)),
    ]
    if entry.is_pinned:
        lines.append(("pinned", "yes; it stays when room is made"))
    return lines


def _moment(started: str) -> str:
    """Write a time of a record by the clock of this machine, to the minute."""
    try:
        return f"{datetime.fromisoformat(started).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):  # as another program wrote it
        return started


def _lines_of_value(
    store: Store, entry: inspection.EntryReport
) -> list[tuple[str, str]]:
    """Say what the value is made of; that it is damaged is part of what is known."""
    try:
        outline = inspection.outline(store, entry.key)
    except (CacheKitError, OSError) as error:
        return [("value", f"cannot be read: {error}")]
    if outline.items is not None:
        return [("value", f"{counted(outline.items, 'item')} of a generator")]
    assert outline.stream is not None
    lines = [("value", f"pickle stream of {_describe(outline.stream)}")]
    return lines + _list("buffers", [_describe(one) for one in outline.buffers])


def _describe(buffer: inspection.Buffer) -> str:
    text = format_size(buffer.size)
    if buffer.codec != "none":
        text += f", {format_size(buffer.stored)} as {buffer.codec}"
    return (
        f"{text}, items of {buffer.item_size} bytes" if buffer.item_size > 1 else text
    )


def _list(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Put a label before the first of some lines."""
    shown = list(texts[:MOST_SHOWN])
    if len(texts) > MOST_SHOWN:
        shown.append(f"and {len(texts) - MOST_SHOWN:,} more")
    return [(label if number == 0 else "", text) for number, text in enumerate(shown)]
