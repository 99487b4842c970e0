"""Commands that remove entries, or have them stay."""

from __future__ import annotations

import click

from cachekit import inspection
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import print_count


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@store_option
@json_option
def rm(names: tuple[str, ...], location: str | None, as_json: bool) -> None:
    """Remove stored calls: of a function, or single entries by their key."""
    store = inspection.store_at(location)
    chosen = inspection.select(store, names)
    inspection.remove(store, chosen)
    print_count("removed", chosen, as_json=as_json)


@click.command()
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
