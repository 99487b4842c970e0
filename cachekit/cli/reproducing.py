"""Commands that show a run can be trusted: ``repro`` and ``checklist``."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cachekit import inspection
from cachekit.amounts import counted
from cachekit.cli.finding import run_at, telling_warnings
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import echo, print_diff_line, print_json

if TYPE_CHECKING:
    from cachekit.experiments.again import Plan
    from cachekit.experiments.reproducing import Reproduction
    from cachekit.experiments.steps import StepDifference

_REASONS = {
    "code": "its code changed, and its result",
    "result": "the same code and arguments gave another result",
    "arguments": "it was called with other arguments",
    "absent": "it was not called",
}


@click.command(short_help="Do a run again from nothing, and compare the outcome.")
@click.argument("id")
@click.option(
    "--with",
    "linked",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="Data that git does not have, linked into the checkout; may be repeated.",
)
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the repository is, if not where it was.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    help="By how much metrics may differ, in relation to the larger.  [default: 0]",
)
@store_option
@json_option
@click.pass_context
def repro(
    ctx: click.Context,
    id: str,  # noqa: A002
    linked: tuple[Path, ...],
    repository: Path | None,
    tolerance: float,
    location: str | None,
    as_json: bool,
) -> None:
    """Do a run again from nothing, and say whether it comes out the same.

    The recorded commit, with the recorded changes, is checked out into a temporary
    folder, and the recorded command is run there with an empty cache: only do that
    with a store that you trust. A bundled pipeline is run as it is installed.

    Exit codes: 0 reproduced, 1 not, 2 wrong usage.
    """
    from cachekit.experiments.reproducing import reproduce

    store, run = run_at(id, location)

    def tell(plan: Plan) -> None:
        echo(f"Run {run.id} of {run.name} again:", err=True)
        echo(f"  {shlex.join(['python', *plan.words[1:]])}", err=True)

    found = reproduce(
        run,
        store,
        repository=repository,
        linked=linked,
        tolerance=tolerance,
        watch=tell,
    )
    if as_json:
        print_json(_facts(found))
    else:
        _print(found)
    ctx.exit(0 if found.is_reproduced else 1)


def _facts(found: Reproduction) -> dict[str, object]:
    return {
        "run": found.run.id,
        "is_reproduced": found.is_reproduced,
        "problem": found.problem,
        "step": None if found.step is None else asdict(found.step),
        "metrics": [asdict(one) for one in found.metrics],
        "notes": found.notes,
        "output": found.output,
    }


def _print(found: Reproduction) -> None:
    from cachekit.experiments.steps import is_measured

    steps = counted(len(found.run.calls), "step")
    compared = [name for name in found.run.metrics if not is_measured(name)]
    metrics = counted(len(compared), "metric")
    if found.is_reproduced:
        echo(f"Reproduced: {steps} and {metrics}, all the same.")
    elif found.problem:
        echo(f"Not reproduced: {found.problem}.")
        for line in found.output.splitlines():
            echo(f"  | {line}")
    elif found.step is not None:
        _print_step(found.step)
    else:
        echo(f"Not reproduced, though the results of {steps} are the same: what is")
        echo("not cached differs.")
    for one in found.metrics:
        echo(f"  metric {one.name}: {one.before or 'none'} -> {one.now or 'none'}")
    for note in found.notes:
        echo(f"Note: {note}.")


def _print_step(step: StepDifference) -> None:
    echo(
        f"Not reproduced. The first step that differs is {step.number} of "
        f"{step.count}, {step.function}:"
    )
    echo(f"  {_REASONS[step.reason]}")
    if step.detail:
        label = "arguments" if step.reason == "arguments" else "result"
        echo(f"  {label}: {step.detail}")
    for unit in step.units:
        for line in inspection.unit_lines(unit):
            print_diff_line(line)


@click.command()
@click.argument("id")
@store_option
def checklist(id: str, location: str | None) -> None:  # noqa: A002
    """Print the reproducibility checklist of a run, as Markdown.

    The points are those of Pineau et al. (2021), JMLR 22(164). What the record does not
    answer is left open, with what is missing.
    """
    from cachekit.experiments import checklist as points
    from cachekit.experiments import runs

    store, run = run_at(id, location)
    with telling_warnings():
        text = points.checklist(run, runs(store))
    # Lines of Markdown may be long; nothing in them is obeyed by a terminal.
    echo(text.rstrip("\n"))
