"""Commands that bring a run into other tools: ``runs export mlflow`` and ``dvc``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cachekit.cli.finding import run_at
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import echo, print_json


@click.group()
def export() -> None:
    """Bring a run into other tools."""


@export.command()
@click.argument("id")
@click.option("--uri", help="The tracking store.  [default: $MLFLOW_TRACKING_URI]")
@store_option
@json_option
def mlflow(
    id: str,  # noqa: A002
    uri: str | None,
    location: str | None,
    as_json: bool,
) -> None:
    """Bring a run into a tracking store of MLflow.

    Parameters, metrics, files and tags; the experiment has the name of the run. A run
    that is there already stays as it is.
    """
    from cachekit.experiments.to_mlflow import export_to_mlflow

    _, run = run_at(id, location)
    found = export_to_mlflow(run, uri)
    if as_json:
        print_json(asdict(found))
        return
    verb = "is now" if found.is_new else "was already"
    echo(f"Run {run.id} {verb} run {found.run} of\n{found.uri}.")
    _tell_left_out(found.left_out)


@export.command()
@click.argument("id")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder for the files; made if needed.  [default: this one]",
)
@store_option
def dvc(id: str, output: Path, location: str | None) -> None:  # noqa: A002
    """Write a run as a stage of DVC, which is up to date.

    Writes dvc.yaml, params.yaml, dvc.lock and metrics.json. The stage runs the recorded
    command; whether the script reads params.yaml is up to it.
    """
    from cachekit.experiments.to_dvc import export_to_dvc

    _, run = run_at(id, location)
    stage = export_to_dvc(run, output)
    for path in stage.paths:
        echo(f"Wrote {path}")
    _tell_left_out(stage.left_out)


def _tell_left_out(paths: tuple[str, ...]) -> None:
    for path in paths:
        echo(f"Left out: {path}", err=True)
