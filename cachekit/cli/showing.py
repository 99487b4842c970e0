"""The command that prints a stored value: ``show``."""

from __future__ import annotations

import sys
from typing import Any

import click

from cachekit import inspection
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import echo, print_json
from cachekit.errors import CacheKitError, UntrustedContent

# What is shown without `--full`: characters, lines, items of a generator, and rows.
MOST_CHARACTERS = 2000
MOST_LINES = 40
MOST_ITEMS = 10
MOST_ROWS = 10


@click.command(short_help="Print the value of one stored call.")
@click.argument("entry")
@click.option(
    "--unsafe",
    is_flag=True,
    help="Load any value, which runs its own code: only of a store that you trust.",
)
@click.option("--full", is_flag=True, help="Print all of it, however long.")
@store_option
@json_option
def show(
    entry: str, location: str | None, *, unsafe: bool, full: bool, as_json: bool
) -> None:
    """Print the value of one ENTRY, named by the first digits of its key.

    Only plain data is loaded: builtins, numpy, pandas and scipy.sparse. That it was
    looked at does not count as a use.
    """
    store = inspection.store_at(location)
    key = inspection.find(store, entry).key
    most = None if full else MOST_ITEMS
    try:
        loaded = inspection.load_value(store, key, unsafe=unsafe, most_items=most)
    except UntrustedContent as error:
        if unsafe:
            raise
        raise click.ClickException(
            f"{error}. This is no plain data; if you trust who wrote it, load it "
            f"all the same with: cachekit show {entry} --unsafe"
        ) from error
    except CacheKitError:
        raise
    except ValueError as error:  # a secret that is too short
        raise click.ClickException(str(error)) from error
    heading = _heading(loaded)
    text = _text_of(loaded, full=full)
    is_whole = full or _is_short(text)
    if as_json:
        facts = {"key": key.digest, "value": heading, "items": loaded.items}
        print_json({**facts, "text": text if is_whole else _abridged(text)})
        return
    echo(heading)
    shown = text if is_whole else f"{_abridged(text)}\n… all of it with --full"
    if sys.stdout.isatty():
        echo(shown)
    else:  # a program gets the text as it is
        click.echo(shown)


def _heading(loaded: inspection.Loaded) -> str:
    """Say of what kind a value is: ``numpy.ndarray (1000, 3) of float64``."""
    if loaded.items is not None:
        shown = len(loaded.value)
        part = "" if shown == loaded.items else f", the first {shown}"
        return f"items of a generator: {loaded.items:,}{part}"
    value = loaded.value
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__.partition('.')[0]}.{name}"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        name += f" {shape}"
    elif isinstance(value, (str, bytes, list, tuple, dict, set, frozenset)):
        name += f" of {len(value):,}"
    dtype = getattr(value, "dtype", None)
    return name if dtype is None else f"{name} of {dtype}"


def _text_of(loaded: inspection.Loaded, *, full: bool) -> str:
    if loaded.items is None:
        return _text(loaded.value, full=full)
    texts = [_text(item, full=full) for item in loaded.value]
    return "\n".join(f"[{number}] {text}" for number, text in enumerate(texts))


def _text(value: Any, *, full: bool) -> str:
    """Write a value as its library does, in short unless all of it is wanted."""
    library = type(value).__module__.partition(".")[0]
    if library == "numpy":
        import numpy as np

        most = sys.maxsize if full else 1000
        with np.printoptions(threshold=most):
            return str(value)
    if library == "pandas" and hasattr(value, "to_string"):
        return str(value.to_string() if full else value.head(MOST_ROWS).to_string())
    if isinstance(value, str):
        return value
    return _pretty(value, full=full)


def _pretty(value: Any, *, full: bool) -> str:
    """Write a value of Python; arrays in it as numpy abridges them."""
    from rich.pretty import pretty_repr

    length, most = (None, None) if full else (100, MOST_CHARACTERS)
    return pretty_repr(value, max_width=80, max_length=length, max_string=most)


def _is_short(text: str) -> bool:
    return len(text) <= MOST_CHARACTERS and text.count("\n") < MOST_LINES


def _abridged(text: str) -> str:
    """Cut a long text at the end of a line, if there is one near."""
    lines = text[:MOST_CHARACTERS].splitlines()[:MOST_LINES]
    return "\n".join(lines)
