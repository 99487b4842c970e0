"""What the commands of the pipelines share: their options, and how a run is told of.

::

    @click.command("forest", epilog=list_parameters(const))
    @pipeline_options(const)
    def main(parameters, memory, output):
        with running("forest", parameters, memory) as run:
            result = ...
"""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from cachekit.amounts import counted
from cachekit.errors import CacheKitError, MissingExtra, PipelineError
from cachekit.experiments import Run
from cachekit.experiments import run as recorded_run
from cachekit.memoization import Memory, Tally, default_memory
from cachekit.pipelines.parameters import (
    Parameters,
    describe_parameters,
    parse_settings,
)


def pipeline_options(
    const: ModuleType,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options that all pipelines have to a command.

    Parameters
    ----------
    const : module
        Its names in capitals are the hyper-parameters.

    Returns
    -------
    callable
        A decorator. The command gets `parameters`, with what ``--set`` says; `memory`,
        which ``--store`` names; and `output`, a folder.
    """
    options = [
        click.option(
            "--set",
            "parameters",
            metavar="NAME=VALUE",
            multiple=True,
            callback=partial(_parameters, const),
            help="Another value for a parameter of those below; may be repeated.",
        ),
        click.option(
            "--output",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path(),
            help="Folder for what is written; made if needed.  [default: this one]",
        ),
        click.option(
            "--store",
            "memory",
            metavar="URL",
            callback=_memory,
            help="The store; else $CACHEKIT_DIR, else what [tool.cachekit] in "
            "pyproject.toml names, else the system's folder for caches.",
        ),
    ]

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def list_parameters(const: ModuleType) -> str:
    """Return the parameters of a pipeline as the end of its help."""
    rows = describe_parameters(const)
    width = max(len(name) for name, _ in rows)
    lines = [
        line
        for name, text in rows
        for line in textwrap.wrap(
            f"  {name:<{width}}  {text}", 78, subsequent_indent=" " * (width + 4)
        )
    ]
    return "\n".join(["\b", "Parameters:", *lines])  # \b: click is not to fill them


@contextmanager
def running(
    name: str, parameters: Mapping[str, Any], memory: Memory, *, needs: tuple[str, ...]
) -> Iterator[Run]:
    """Record a run, and tell at its end what the cache did and what went wrong.

    Parameters
    ----------
    name : str
        Of the pipeline.
    parameters : mapping
        Its hyper-parameters.
    memory : Memory
        What its calls are cached in.
    needs : tuple of str
        The modules that it needs of the extra ``ml``.

    Yields
    ------
    Run
        To log metrics, data and files.
    """
    if not all(map(find_spec, needs)):
        raise click.ClickException(str(MissingExtra(f"cachekit run {name}", "ml")))
    started, before = time.perf_counter(), memory.tally()
    try:
        with recorded_run(name, parameters, memory=memory) as run:
            yield run
    except (CacheKitError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo(
            "Interrupted. What was computed is in the cache; the same command goes on "
            "from there.",
            err=True,
        )
        sys.exit(130)
    for path in run.artifacts:
        click.echo(f"Wrote {path}")
    seconds = time.perf_counter() - started
    click.echo(f"Run {run.id}: see `cachekit runs show last`")
    echo_cost(_since(before, memory.tally()), seconds=seconds)


def echo_cost(tally: Tally, *, seconds: float) -> None:
    """Tell what the cache did for a run, and how long the run took."""
    click.echo(
        f"{counted(tally.hits + tally.misses, 'call')}: {tally.hits:,} from the cache, "
        f"{tally.misses:,} computed; {tally.seconds_saved:.1f} s saved. "
        f"{seconds:.1f} s in all."
    )


def _parameters(
    const: ModuleType, ctx: click.Context, option: click.Parameter, values: Any
) -> Parameters:
    try:
        return parse_settings(const, values)
    except PipelineError as error:
        raise click.BadParameter(str(error), ctx, option) from error


def _memory(
    ctx: click.Context,  # noqa: ARG001
    option: click.Parameter,  # noqa: ARG001
    value: str | None,
) -> Memory:
    try:
        return default_memory() if value is None else Memory(value)
    except (CacheKitError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _since(before: Tally, now: Tally) -> Tally:
    """Take what this run did: the default memory counts for the whole process."""
    return Tally(
        now.hits - before.hits,
        now.misses - before.misses,
        now.seconds_saved - before.seconds_saved,
        now.seconds_computed - before.seconds_computed,
    )
