"""Commands about runs: ``runs`` lists them, ``runs show`` tells all of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cachekit import inspection
from cachekit.amounts import counted, format_duration
from cachekit.cli.columns import print_columns
from cachekit.cli.exporting import export
from cachekit.cli.finding import run_at, store_meant, telling_warnings
from cachekit.cli.groups import HintingGroup
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import ago, echo, print_diff_line, print_facts, print_json
from cachekit.cli.run_facts import fact_lines, print_steps
from cachekit.experiments import RunRecord, remove_run
from cachekit.experiments import runs as list_runs


@click.group(cls=HintingGroup, invoke_without_command=True)
@click.option("--name", help="Only runs of this pipeline or script.")
@click.option("--limit", type=click.IntRange(min=1), help="So many at most.")
@store_option
@json_option
@click.pass_context
def runs(
    ctx: click.Context,
    name: str | None,
    limit: int | None,
    location: str | None,
    as_json: bool,
) -> None:
    """List the runs that were recorded, the newest first.

    One is named by its ID, the first digits of it, or "last".
    """
    if ctx.invoked_subcommand is not None:
        return
    store = inspection.store_at(location)
    with telling_warnings():
        found = [one for one in list_runs(store) if name in (None, one.name)]
    found = found[:limit]
    if as_json:
        print_json([facts_of(run) for run in found])
    elif not found:
        echo(f"No runs are recorded in {store.location}.")
    else:
        header = ("run", "name", "when", "took", "status", "metrics")
        print_columns(header, [_row(run) for run in found], longest=23)


def _row(run: RunRecord) -> tuple[str, ...]:
    took = format_duration(run.seconds) if run.has_end else ""
    metrics = "  ".join(f"{name}={value:.4g}" for name, value in run.metrics.items())
    return (run.id, run.name, ago(run.began), took, run.status, metrics)


def facts_of(run: RunRecord) -> dict[str, Any]:
    """Return what `--json` says of a run."""
    facts: dict[str, Any] = json.loads(run.to_json())
    return facts


# --- one run ---


@runs.command()
@click.argument("id")
@click.option(
    "--metrics", "only_metrics", is_flag=True, help="Print the metrics alone, as JSON."
)
@store_option
@json_option
def show(
    id: str,  # noqa: A002
    only_metrics: bool,
    location: str | None,
    as_json: bool,
) -> None:
    """Show all that was recorded of a run."""
    _, run = run_at(id, location)
    if only_metrics:
        print_json(run.metrics)
    elif as_json:
        print_json(facts_of(run))
    else:
        print_facts([(name, text) for name, text in fact_lines(run) if text])
        print_steps(run)


# --- two runs ---


@runs.command(short_help="Show in what two runs differ: settings, code, data, results.")
@click.argument("before")
@click.argument("now")
@store_option
@json_option
def diff(before: str, now: str, location: str | None, as_json: bool) -> None:
    """Show in what two runs differ: parameters, code, data, metrics, environment."""
    from dataclasses import asdict

    from cachekit.experiments.comparing import compare_runs

    store, one = run_at(before, location)
    _, other = run_at(now, location)
    found = compare_runs(one, other, store)
    if as_json:
        print_json(
            {
                "before": one.id,
                "now": other.id,
                "changes": [asdict(change) for change in found.changes],
                "units": [asdict(unit) for unit in found.units],
                "note": found.note,
            }
        )
        return
    if not found.changes:
        echo(f"{one.id} and {other.id}:\nnothing that is recorded differs.")
        return
    for label, run in (("before", one), ("now", other)):
        echo(f"{label:<6}  {run.id}  {run.name}, {ago(run.began)}")
    echo("")
    rows = [(this.subject, this.name, this.before, this.now) for this in found.changes]
    print_columns(("what", "name", "before", "now"), rows, longest=30)
    if found.units:
        echo("\nThe code:")
    for unit in found.units:
        for line in inspection.unit_lines(unit):
            print_diff_line(line)
    if found.note:
        echo(f"\nNot compared: {found.note}.")


@runs.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@store_option
def rm(ids: tuple[str, ...], location: str | None) -> None:
    """Remove the records of runs; the results that they have made stay."""
    found = [run_at(one, location) for one in ids]
    for store, run in found:
        remove_run(store, run.id)
    echo(f"Removed {counted(len({run.id for _, run in found}), 'run')}.")


@runs.command()
@click.argument("metric")
@click.option("--name", help="Only runs of this pipeline or script.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: METRIC.png]",
)
@store_option
def plot(
    metric: str, name: str | None, output: Path | None, location: str | None
) -> None:
    """Draw a metric over runs, the oldest first."""
    from cachekit.experiments.plotting import plot_metric

    store = store_meant(location)
    with telling_warnings():
        found = [one for one in list_runs(store) if name in (None, one.name)]
    path = output or Path(f"{metric}.png".replace("/", "_"))
    number = plot_metric(found, metric, path)
    echo(f"Wrote {path}: {metric} of {counted(number, 'run')}.")


runs.add_command(export)
