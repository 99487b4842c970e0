"""Commands that copy entries to other stores and to files, and back."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import click

from cachekit import inspection
from cachekit.amounts import counted, format_size
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import echo, print_json
from cachekit.errors import StoreError
from cachekit.inspection import Listed, Transfer
from cachekit.stores import Store

_names = click.argument("names", nargs=-1, metavar="[NAME]...")


@click.command()
@click.argument("file")
@_names
@store_option
@json_option
def export(
    file: str, names: tuple[str, ...], location: str | None, as_json: bool
) -> None:
    """Write entries to FILE, all or those named, for another machine.

    FILE is a tar archive compressed by Zstandard, best named something.tar.zst; "-" is
    the standard output.
    """
    store = inspection.store_at(location)
    chosen = _chosen(store, names)
    with _written(file) as target, _progress("Writing", chosen) as progress:
        done = inspection.export_entries(store, chosen, target, progress=progress)
    _print_transfer(f"Wrote to {file}", done, as_json=as_json, err=file == "-")


@click.command("import", short_help="Read entries from FILE, written by `export`.")
@click.argument("file")
@click.option("--store", "location", metavar="URL", help="Where the entries go.")
@json_option
def import_(file: str, location: str | None, as_json: bool) -> None:
    """Read entries from FILE, written by `export`; "-" is the standard input.

    A result is unpickled when it is used: import only what you trust, or sign results.
    """
    store = inspection.place_at(inspection.location_for(location))
    size = 0 if file == "-" else Path(file).stat().st_size
    with _read(file) as source, _bar("Reading", size) as advance:
        done = inspection.import_entries(_Watched(source, advance), store)
    _print_transfer(f"Read from {file}", done, as_json=as_json)


@click.command()
@click.argument("url")
@_names
@store_option
@json_option
def push(url: str, names: tuple[str, ...], location: str | None, as_json: bool) -> None:
    """Copy to URL what is missing there: all entries, or those named."""
    store = inspection.store_at(location)
    _transfer(store, inspection.place_at(url), names, f"Pushed to {url}", as_json)


@click.command()
@click.argument("url")
@_names
@click.option("--store", "location", metavar="URL", help="Where the entries go.")
@json_option
def pull(url: str, names: tuple[str, ...], location: str | None, as_json: bool) -> None:
    """Copy from URL what is missing here: all entries, or those named."""
    source = inspection.place_at(url)
    if not source.exists:
        raise StoreError(f"there is no store at {source.location}")
    store = inspection.place_at(inspection.location_for(location))
    _transfer(source, store, names, f"Pulled from {url}", as_json)


@click.command(short_help="Copy what is missing both ways, to URL and from it.")
@click.argument("url")
@store_option
@json_option
def sync(url: str, location: str | None, as_json: bool) -> None:
    """Copy what is missing at URL to it, and what is missing here from it."""
    store, place = inspection.store_at(location), inspection.place_at(url)
    pushed = _copied(store, place, ())
    pulled = _copied(place, store, ())
    if as_json:
        print_json({"pushed": asdict(pushed), "pulled": asdict(pulled)})
    else:
        _say(f"Pushed to {url}", pushed)
        _say(f"Pulled from {url}", pulled)
    _exit_if_failed(pushed, pulled)


def _transfer(
    source: Store, target: Store, names: Sequence[str], done: str, as_json: bool
) -> None:
    _print_transfer(done, _copied(source, target, names), as_json=as_json)


def _copied(source: Store, target: Store, names: Sequence[str]) -> Transfer:
    wanted = _chosen(source, names)
    chosen = inspection.lacking(target, wanted)
    with _progress("Copying", chosen) as progress:
        done = inspection.copy_entries(source, target, chosen, progress=progress)
    return Transfer(done.copied, done.bytes, len(wanted) - len(chosen), done.failures)


def _chosen(store: Store, names: Sequence[str]) -> Sequence[Listed]:
    return inspection.select(store, names) if names else [*store.entries()]


def _print_transfer(
    what: str, done: Transfer, *, as_json: bool, err: bool = False
) -> None:
    if as_json:
        print_json(asdict(done), err=err)
    else:
        _say(what, done, err=err)
    _exit_if_failed(done)


def _say(what: str, done: Transfer, *, err: bool = False) -> None:
    there = f", {done.present:,} were there already" if done.present else ""
    size = format_size(done.bytes)
    echo(f"{what}: {counted(done.copied, 'entry')}, {size}{there}.", err=err)
    for path, why in done.failures:
        echo(f"Not copied: {path}: {why}", err=True)


def _exit_if_failed(*done: Transfer) -> None:
    if any(one.failures for one in done):
        raise SystemExit(1)


# --- files ---


@contextmanager
def _written(name: str) -> Iterator[BinaryIO]:
    """Open a file that appears when it is whole."""
    if name == "-":
        yield sys.stdout.buffer
        return
    path = Path(name).resolve()  # a link stays one
    if not path.parent.is_dir():
        reason = os.strerror(errno.ENOENT)
        raise FileNotFoundError(errno.ENOENT, reason, str(path.parent))
    if path.exists() and not path.is_file():  # a device, or a pipe
        with path.open("wb") as file:
            yield file
        return
    # With the number of the process: a file of that name is nobody else's.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        if error.filename == str(partial):  # nobody has typed that
            error.filename = name
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _read(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        yield file


class _Watched:
    """A file of which it is told how much was read."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], object]) -> None:
        self._file = file
        self._advance = advance

    def read(self, size: int = -1) -> bytes:
        found = self._file.read(size)
        self._advance(len(found))
        return found


# --- progress ---


@contextmanager
def _progress(what: str, chosen: Sequence[Listed]) -> Iterator[Callable[[int], object]]:
    with _bar(what, sum(one.size for one in chosen)) as advance:
        yield advance


@contextmanager
def _bar(what: str, size: int) -> Iterator[Callable[[int], object]]:
    """Show how much is done, on a terminal; take it away at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(what, *columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=size or None)
        yield lambda done: progress.advance(task, done)
