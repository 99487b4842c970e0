"""Sizes and ages as options: ``10G``, ``30d``."""

from __future__ import annotations

import click

from cachekit.amounts import parse_age, parse_size


def as_size(
    ctx: click.Context,  # noqa: ARG001  (as click calls it)
    param: click.Parameter,  # noqa: ARG001
    value: str | None,
) -> int | None:
    """Read a number of bytes; the callback of an option."""
    try:
        return None if value is None else parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def as_age(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    value: str | None,
) -> float | None:
    """Read a length of time, in seconds; the callback of an option."""
    try:
        return None if value is None else parse_age(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
