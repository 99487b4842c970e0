"""Which run a command means, and in which store."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import click

from cachekit import inspection
from cachekit.cli.printing import echo
from cachekit.errors import CacheWarning
from cachekit.experiments import RunRecord, find_run
from cachekit.stores import Store


def run_at(id: str, location: str | None) -> tuple[Store, RunRecord]:  # noqa: A002
    """Return the store that is meant, and the run in it."""
    store = store_meant(location)
    with telling_warnings():
        return store, find_run(store, id)


def store_meant(location: str | None) -> Store:
    """Return the store that is named, perhaps before the command.

    As in ``cachekit runs --store URL show ID``.
    """
    context: click.Context | None = click.get_current_context()
    while location is None and context is not None:
        location = context.params.get("location")
        context = context.parent
    return inspection.store_at(location)


@contextlib.contextmanager
def telling_warnings() -> Iterator[None]:
    """In its block, the warnings of the cache become lines on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CacheWarning)
        try:
            yield
        finally:
            texts = [str(one.message) for one in caught]
            for text in dict.fromkeys(texts):
                echo(f"Warning: {text}", err=True)
