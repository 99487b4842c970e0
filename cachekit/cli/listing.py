"""Commands that show what is stored: ``ls`` and ``info``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from cachekit import inspection
from cachekit.amounts import counted, format_duration, format_size
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import (
    ago,
    call_text,
    entry_facts,
    print_json,
    print_table,
)
from cachekit.stores import Store


@click.command()
@click.argument("function", required=False)
@store_option
@json_option
def ls(function: str | None, location: str | None, as_json: bool) -> None:
    """List the functions with stored calls, or the calls of one FUNCTION.

    A function may go by the end of its name, as in `fetch_page`.
    """
    store = inspection.store_at(location)
    if function is None:
        reports = inspection.functions(store)
        if as_json:
            print_json([asdict(report) for report in reports])
        elif not reports:
            _print_empty(store)
        else:
            _print_functions(store, reports)
        return
    chosen = inspection.select(store, [function])
    if as_json:
        print_json([entry_facts(store, entry) for entry in chosen])
    else:
        _print_entries(chosen)


@click.command()
@click.argument("entry")
@store_option
@json_option
def info(entry: str, location: str | None, as_json: bool) -> None:
    """Show what is known of one ENTRY, named by the first digits of its key."""
    store = inspection.store_at(location)
    found = inspection.find(store, entry)
    if as_json:
        print_json(entry_facts(store, found))
    else:
        _print_entry(store, found)


def _print_empty(store: Store) -> None:
    click.echo(
        f"Nothing is stored at {store.location} yet.\n"
        f"Decorate a function with @cachekit.cache and call it, or try: "
        f"cachekit run topics"
    )


def _print_functions(
    store: Store, reports: Sequence[inspection.FunctionReport]
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
        for report in reports
    ]
    print_table(("function", "calls", "size", "used", "hits", "saved"), rows)
    calls = sum(report.calls for report in reports)
    size = sum(report.size for report in reports)
    saved = sum(report.seconds_saved for report in reports)
    click.echo(
        f"{counted(calls, 'call')}, {format_size(size)}, "
        f"{format_duration(saved)} saved, in {store.location}"
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


def _print_entry(store: Store, entry: inspection.EntryReport) -> None:
    record = entry.record
    lines = [("key", entry.key.digest), ("path", f"{store.location}/{entry.key.path}")]
    if record is None:
        lines.append(("record", "missing or damaged"))
    else:
        lines[:0] = [("function", record.function)]
        lines += [
            (f"  {name}", facts.get("repr", "?"))
            for name, facts in record.arguments.items()
        ]
        lines += [
            ("computed", f"{record.started} on {record.host}"),
            ("took", format_duration(record.seconds_computing)),
            ("versions", f"Python {record.python}, cachekit {record.cachekit}"),
        ]
    lines += [
        ("size", format_size(entry.size)),
        ("used", f"{ago(entry.last_used)}, {counted(entry.hits, 'hit')}"),
        ("saved", format_duration(entry.seconds_saved)),
    ]
    if entry.is_pinned:
        lines.append(("pinned", "yes; it stays when room is made"))
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        click.echo(f"{label:<{width}}  {text}")
