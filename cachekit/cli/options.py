"""Options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--store``, which names the store."""
    return click.option(
        "--store",
        "location",
        metavar="URL",
        help="The store; else $CACHEKIT_DIR, else what [tool.cachekit] in "
        "pyproject.toml names, else the system's folder for caches.",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, which prints one document and nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
