"""Bring a run into MLflow: parameters, metrics, files, tags."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachekit.errors import MissingExtra, StoreError
from cachekit.experiments.files import unchanged_files
from cachekit.experiments.record import RunRecord

# What MLflow takes of a text.
_LONGEST_PARAMETER = 6000
_LONGEST_TAG = 5000

_STATUSES = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "killed": "KILLED",
}


@dataclass(frozen=True)
class Exported:
    """Where a run is in MLflow.

    Attributes
    ----------
    uri : str
        The tracking store.
    run : str
        The id that MLflow gave it.
    is_new : bool
        Whether it was not there already.
    left_out : tuple of str
        Files that were not copied: they are gone, or not what they were.
    """

    uri: str
    run: str
    is_new: bool = True
    left_out: tuple[str, ...] = ()


def export_to_mlflow(run: RunRecord, uri: str | None = None) -> Exported:
    """Bring a run into a tracking store of MLflow; once, however often it is asked.

    The experiment has the name of the run, and the run its id.

    Parameters
    ----------
    run : RunRecord
        The run.
    uri : str, optional
        The tracking store, ``"sqlite:///mlflow.db"`` or a server; else what MLflow
        takes by itself, which ``$MLFLOW_TRACKING_URI`` names.

    Returns
    -------
    Exported

    Raises
    ------
    MissingExtra
        If MLflow is not installed.
    StoreError
        If the tracking store cannot be used.
    """
    with _quiet():
        try:
            import mlflow
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise MissingExtra("cachekit runs export mlflow", "mlflow") from error
        place = uri or str(mlflow.get_tracking_uri())
        try:
            return _export(mlflow.MlflowClient(tracking_uri=place), place, run)
        except (MlflowException, OSError) as error:
            raise StoreError(f"MLflow at {place} refuses run {run.id}: {error}") from (
                error
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """In its block, what MLflow's own code warns of is not told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _export(client: Any, uri: str, run: RunRecord) -> Exported:
    known = client.get_experiment_by_name(run.name)
    if known is None:
        experiment = client.create_experiment(run.name)
    else:
        experiment = known.experiment_id
        same = client.search_runs([experiment], f"tags.`cachekit.run` = '{run.id}'")
        if same:
            return Exported(uri, same[0].info.run_id, is_new=False)
    start = round(1000 * run.began)
    end = start + round(1000 * run.seconds)
    made = client.create_run(
        experiment, start_time=start, tags=_tags(run), run_name=run.id
    )
    name = made.info.run_id
    for key, value in run.parameters.items():
        client.log_param(name, _key(key), str(value)[:_LONGEST_PARAMETER])
    for key, number in run.metrics.items():
        client.log_metric(name, _key(key), number, timestamp=end)
    files, left_out = unchanged_files(run)
    for path in files:
        _copy(client, name, path)
    client.log_text(name, run.to_json().decode(), "cachekit-run.json")
    client.set_terminated(name, _STATUSES.get(run.status, "RUNNING"), end)
    return Exported(uri, name, left_out=tuple(left_out))


def _copy(client: Any, name: str, path: Path) -> None:
    if path.is_dir():
        client.log_artifacts(name, str(path), path.name)
    else:
        client.log_artifact(name, str(path))


def _tags(run: RunRecord) -> dict[str, str]:
    git = run.git or {}
    tags = {
        "cachekit.run": run.id,
        "cachekit.store": run.store,
        "cachekit.host": run.host,
        "cachekit.python": run.python,
        "mlflow.user": run.user,
        "mlflow.source.name": str(run.command.get("script") or ""),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": str(git.get("commit") or ""),
    }
    for name, facts in run.datasets.items():
        tags[_key(f"cachekit.data.{name}")] = str(facts.get("source") or "")
    for name, seed in run.seeds.items():
        tags[_key(f"cachekit.seed.{name}")] = str(seed)
    return {name: text[:_LONGEST_TAG] for name, text in tags.items() if text}


def _key(name: str) -> str:
    """Make a name that MLflow takes; it wants no commas or brackets, say."""
    return re.sub(r"[^\w\-. /:]", "_", name)[:250]
