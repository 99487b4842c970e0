"""The ``cachekit`` command: arguments and printing only.

Exit codes: 0 done; 1 not found, or failed; 2 wrong usage; 130 interrupted.
With ``--json``, standard output holds one JSON document and nothing else.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib import import_module
from typing import Any

import click

from cachekit import __version__, inspection
from cachekit.amounts import format_duration, format_size
from cachekit.errors import CacheKitError
from cachekit.pipelines import PIPELINES
from cachekit.stores import Store


class _Group(click.Group):
    """Commands whose errors are one line on standard error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader has left, as in `cachekit ls | head`
            raise
        except (CacheKitError, OSError) as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)


class _Pipelines(click.Group):
    """The bundled pipelines, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(PIPELINES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in PIPELINES:
            return None
        module = import_module(f"cachekit.pipelines.{name}.__main__")
        command: click.Command = module.main
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Pipelines"):
            formatter.write_dl(sorted(PIPELINES.items()))


def _store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--store",
        "location",
        help="The store; else $CACHEKIT_DIR, else the system's folder for caches.",
    )(command)


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cachekit")
def main() -> None:
    """Look into a cache, and run cached analyses.

    Exit codes: 0 done, 1 not found or failed, 2 wrong usage.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A narrow terminal encoding shows some characters as \\x…, and goes on.
        sys.stdout.reconfigure(errors="backslashreplace")


@main.command()
@click.argument("function", required=False)
@_store_option
@_json_option
def ls(function: str | None, location: str | None, as_json: bool) -> None:
    """List the functions with stored calls, or the calls of one FUNCTION.

    A function may go by the end of its name, as in `fetch_page`.
    """
    store = inspection.store_at(location)
    if function is None:
        reports = inspection.functions(store)
        if as_json:
            _print_json([asdict(report) for report in reports])
        elif not reports:
            _print_empty(store)
        else:
            _print_functions(store, reports)
        return
    chosen = inspection.select(store, [function])
    if as_json:
        _print_json([_entry_facts(store, entry) for entry in chosen])
    else:
        _print_entries(chosen)


@main.command()
@click.argument("entry")
@_store_option
@_json_option
def info(entry: str, location: str | None, as_json: bool) -> None:
    """Show what is known of one ENTRY, named by the first digits of its key."""
    store = inspection.store_at(location)
    found = inspection.find(store, entry)
    if as_json:
        _print_json(_entry_facts(store, found))
    else:
        _print_entry(store, found)


@main.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_store_option
@_json_option
def rm(names: tuple[str, ...], location: str | None, as_json: bool) -> None:
    """Remove stored calls: of a function, or single entries by their key."""
    store = inspection.store_at(location)
    chosen = inspection.select(store, names)
    inspection.remove(store, chosen)
    _print_count("removed", chosen, as_json=as_json)


@main.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_store_option
@_json_option
def pin(names: tuple[str, ...], location: str | None, as_json: bool) -> None:
    """Have stored calls stay when room is made; `rm` removes them still."""
    store = inspection.store_at(location)
    chosen = inspection.select(store, names)
    inspection.pin(store, chosen)
    _print_count("pinned", chosen, as_json=as_json)


@main.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_store_option
@_json_option
def unpin(names: tuple[str, ...], location: str | None, as_json: bool) -> None:
    """Let stored calls leave again when room is made."""
    store = inspection.store_at(location)
    chosen = inspection.select(store, names)
    inspection.unpin(store, chosen)
    _print_count("unpinned", chosen, as_json=as_json)


@main.group(cls=_Pipelines)
def run() -> None:
    """Run a bundled pipeline; its calls are cached."""


# --- printing ---


def _print_json(facts: object) -> None:
    click.echo(json.dumps(facts, indent=1))


def _print_count(
    done: str, chosen: Sequence[inspection.EntryReport], *, as_json: bool
) -> None:
    size = sum(entry.size for entry in chosen)
    if as_json:
        _print_json({done: len(chosen), "bytes": size})
    else:
        count = _count(len(chosen), "entry")
        click.echo(f"{done.capitalize()} {count}, {format_size(size)}.")


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
            _ago(report.last_used),
            f"{report.hits:,}",
            format_duration(report.seconds_saved),
        )
        for report in reports
    ]
    _print_table(("function", "calls", "size", "used", "hits", "saved"), rows)
    calls = sum(report.calls for report in reports)
    size = sum(report.size for report in reports)
    saved = sum(report.seconds_saved for report in reports)
    click.echo(
        f"{_count(calls, 'call')}, {format_size(size)}, "
        f"{format_duration(saved)} saved, in {store.location}"
    )


def _print_entries(chosen: Sequence[inspection.EntryReport]) -> None:
    header: tuple[str, ...] = ("entry", "arguments", "size", "used", "hits", "took")
    rows: list[tuple[str, ...]] = [
        (
            entry.key.digest[:12],
            _call_text(entry),
            format_size(entry.size),
            _ago(entry.last_used),
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
    _print_table(header, rows)


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
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
        shortened[flexible] = _shorten(
            row[flexible], widths[flexible], at_start=flexible == 0
        )
        style = "bold" if number == 0 else ""
        table.add_row(*(Text(cell, style, no_wrap=True) for cell in shortened))
    console.print(table)


def _shorten(text: str, width: int, *, at_start: bool) -> str:
    """Cut a text: a function's name at its start, since its end tells it apart."""
    if len(text) <= width:
        return text
    return f"…{text[-width + 1 :]}" if at_start else f"{text[: width - 1]}…"


def _width_of_a_pipe() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) > 0 else 200


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
        ("used", f"{_ago(entry.last_used)}, {_count(entry.hits, 'hit')}"),
        ("saved", format_duration(entry.seconds_saved)),
    ]
    if entry.is_pinned:
        lines.append(("pinned", "yes; it stays when room is made"))
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        click.echo(f"{label:<{width}}  {text}")


def _entry_facts(store: Store, entry: inspection.EntryReport) -> dict[str, object]:
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


def _call_text(entry: inspection.EntryReport) -> str:
    if entry.record is None:
        return "record missing or damaged"
    arguments = entry.record.arguments.items()
    return ", ".join(f"{name}={facts.get('repr', '?')}" for name, facts in arguments)


def _count(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            if unit == "d" and seconds >= 60 * length:
                return f"{datetime.fromtimestamp(moment):%Y-%m-%d}"
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"
