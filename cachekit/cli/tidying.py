"""Commands that remove entries, or have them stay; and those that remove leftovers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import click

from cachekit import inspection
from cachekit.amounts import counted, format_size
from cachekit.cli.measures import as_age, as_size
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import ago, echo, print_count, print_json, print_table
from cachekit.stores import Store


@click.command(short_help="Remove stored calls: of a function, or single ones.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@store_option
@json_option
def rm(names: tuple[str, ...], location: str | None, as_json: bool) -> None:
    """Remove stored calls: of a function, or single entries by their key."""
    store = inspection.store_at(location)
    chosen = inspection.select(store, names)
    inspection.remove(store, chosen)
    print_count("removed", chosen, as_json=as_json)


@click.command(short_help="Have stored calls stay when room is made.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@store_option
@json_option
def pin(names: tuple[str, ...], location: str | None, as_json: bool) -> None:
    """Have stored calls stay when room is made; `rm` removes them still."""
    store = inspection.store_at(location)
    chosen = inspection.select(store, names)
    inspection.pin(store, chosen)
    print_count("pinned", chosen, as_json=as_json)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@store_option
@json_option
def unpin(names: tuple[str, ...], location: str | None, as_json: bool) -> None:
    """Let stored calls leave again when room is made."""
    store = inspection.store_at(location)
    chosen = inspection.select(store, names)
    inspection.unpin(store, chosen)
    print_count("unpinned", chosen, as_json=as_json)


# --- prune ---


# What a person reads of `inspection.Leaving.reason`.
_REASONS = {
    "stale": "older code",
    "unused": "not used",
    "expired": "expired",
    "large": "large",
    "room": "for room",
    "asked": "asked for",
}


@click.command()
@click.option(
    "--stale",
    is_flag=True,
    help="Of each function, all but the version of its code that was used last. "
    "Values that the code reads are part of it.",
)
@click.option(
    "--older-than",
    callback=as_age,
    metavar="AGE",
    help="Not used for so long, as in 30d, 12h or 2w; exact to an hour.",
)
@click.option(
    "--expired",
    callback=as_age,
    metavar="AGE",
    help="Computed longer ago than that: what the function's `expires` says. The "
    "store does not know it.",
)
@click.option(
    "--larger-than",
    callback=as_size,
    metavar="SIZE",
    help="Single entries above a size, as in 500M.",
)
@click.option(
    "--down-to",
    callback=as_size,
    metavar="SIZE",
    help="Those not used for longest, until the rest is no larger, as in 10G.",
)
@click.option("--function", metavar="NAME", help="Only calls of this function.")
@click.option(
    "--yes/--dry-run",
    "yes",
    default=False,
    help="Remove them, or only show them, which is the default.",
)
@store_option
@json_option
def prune(
    location: str | None,
    *,
    yes: bool,
    as_json: bool,
    stale: bool,
    older_than: float | None,
    expired: float | None,
    larger_than: int | None,
    down_to: int | None,
    function: str | None,
) -> None:
    """Show what would leave by age, size or code; --yes removes it.

    A call leaves if any of the options applies to it, and never if it is pinned. Of a
    remote store, it leaves the bucket and the folder of this machine.
    """
    criteria = inspection.Criteria(
        stale=stale,
        older_than=older_than,
        expired=expired,
        larger_than=larger_than,
        down_to=down_to,
        function=function,
    )
    if criteria.is_empty:
        raise click.UsageError(
            "say what is to leave: --stale, --older-than AGE, --expired AGE, "
            "--larger-than SIZE, --down-to SIZE or --function NAME"
        )
    store = inspection.store_at(location)
    leaving = inspection.to_prune(store, criteria)
    reports = inspection.sum_up_pruned(store, leaving)
    size = sum(one.size for one in leaving)
    if yes:
        inspection.prune(store, leaving)
    if as_json:
        functions = [asdict(report) for report in reports]
        facts = {"is_done": yes, "entries": len(leaving), "bytes": size}
        print_json({**facts, "functions": functions})
    elif yes:
        echo(f"Removed {counted(len(leaving), 'entry')}; freed {format_size(size)}.")
    elif not leaving:
        echo("Nothing would leave.")
    else:
        _print_pruned(store, reports)


def _print_pruned(store: Store, reports: Sequence[inspection.PrunedFunction]) -> None:
    rows = [
        (
            report.function,
            _REASONS[report.reason],
            f"{report.calls:,}",
            format_size(report.size),
            ago(report.last_used),
        )
        for report in reports
    ]
    print_table(("function", "why", "calls", "size", "used"), rows)
    calls = sum(report.calls for report in reports)
    size = format_size(sum(report.size for report in reports))
    echo(
        f"{counted(calls, 'entry')}, {size}, would leave {store.location}\n"
        f"Nothing was removed; --yes does that."
    )


# --- sweep ---


@click.command()
@click.option(
    "--keep-damaged",
    callback=as_age,
    metavar="AGE",
    default="7d",
    show_default=True,
    help="How long entries stay that `verify --repair` has put away.",
)
@store_option
@json_option
def sweep(location: str | None, keep_damaged: float, as_json: bool) -> None:
    """Remove what dead processes have left, and what is of no use.

    Nothing of a process that lives is touched, and no entry.
    """
    store = inspection.store_at(location)
    removed = inspection.sweep(store, keep_damaged=keep_damaged)
    size = sum(one.size for one in removed)
    if as_json:
        facts = [asdict(one) for one in removed]
        print_json({"removed": len(removed), "bytes": size, "leftovers": facts})
    elif not removed:
        echo("Nothing was left over.")
    else:
        for kind, number in Counter(one.kind for one in removed).items():
            of_kind = sum(one.size for one in removed if one.kind == kind)
            echo(f"{kind:<14}{number:>7,}{format_size(of_kind):>10}")
        things = counted(len(removed), "leftover")
        echo(f"Removed {things}; freed {format_size(size)}.")
