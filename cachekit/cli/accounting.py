"""Commands that add up: ``du``, what takes the room, and ``stats``, what it saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from cachekit import inspection
from cachekit.amounts import counted, format_duration, format_size
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import (
    ago,
    echo,
    print_bars,
    print_json,
    print_table,
    with_progress,
)

# So many digits of a fingerprint tell the versions of a function apart.
DIGITS = 8


@click.command()
@click.option(
    "--by",
    type=click.Choice(["function", "code", "age"]),
    default="function",
    help="What is added up: functions, versions of their code, or times since the last "
    "use.  [default: function]",
)
@store_option
@json_option
def du(location: str | None, *, by: str, as_json: bool) -> None:
    """Show what takes the room."""
    store = inspection.store_at(location)
    reports: Sequence[Any]
    if by == "function":
        reports = inspection.functions(store, order="size", watch=with_progress)
        bars = [(one.function, one.size, _calls(one)) for one in reports]
    elif by == "code":
        reports = inspection.versions(store, watch=with_progress)
        bars = [(_version(one), one.size, _state(one)) for one in reports]
    else:
        reports = inspection.ages(store, watch=with_progress)
        bars = [(one.used, one.size, _calls(one)) for one in reports]
    if as_json:
        print_json([asdict(one) for one in reports])
        return
    print_bars(bars)
    calls = sum(one.calls for one in reports)
    size = format_size(sum(one.size for one in reports))
    echo(f"{counted(calls, 'call')}, {size}, in {store.location}")


def _calls(report: Any) -> str:
    return counted(report.calls, "call")


def _version(report: inspection.VersionReport) -> str:
    return f"{report.function} {report.fingerprint[:DIGITS]}"


def _state(report: inspection.VersionReport) -> str:
    state = "stale" if report.is_stale else "current"
    return f"{state}, {ago(report.last_used)}"


@click.command()
@store_option
@json_option
def stats(location: str | None, *, as_json: bool) -> None:
    """Show hits, misses, and what the hits have saved, by function.

    Hits, and what they saved, are those of calls that are stored now: what was removed
    counts no more. Misses are all calls that were computed.
    """
    store = inspection.store_at(location)
    reports = inspection.statistics(store, watch=with_progress)
    if as_json:
        print_json([asdict(report) for report in reports])
        return
    rows = [_row(report) for report in reports]
    if len(rows) != 1:
        rows.append(_row(_sum(reports)))
    print_table(("function", "hits", "misses", "rate", "saved", "reused"), rows)
    echo(
        f"hits: calls answered by what is stored at {store.location} now\n"
        f"misses: calls that were computed; rate: hits of both\n"
        f"saved: time the hits would have taken; reused: bytes that they read"
    )


def _row(report: inspection.FunctionStatistics) -> tuple[str, ...]:
    return (
        report.function,
        f"{report.hits:,}",
        f"{report.misses:,}",
        f"{report.hit_rate:.0%}",
        format_duration(report.seconds_saved),
        format_size(report.bytes_saved),
    )


def _sum(
    reports: Sequence[inspection.FunctionStatistics],
) -> inspection.FunctionStatistics:
    hits, misses = sum(one.hits for one in reports), sum(one.misses for one in reports)
    return inspection.FunctionStatistics(
        function="all",
        hits=hits,
        misses=misses,
        hit_rate=hits / max(hits + misses, 1),
        seconds_saved=sum(one.seconds_saved for one in reports),
        bytes_saved=sum(one.bytes_saved for one in reports),
    )
