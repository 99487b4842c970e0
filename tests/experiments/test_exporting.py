"""Runs in MLflow and DVC, as these read them themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cachekit.cli import main
from cachekit.errors import CacheKitError, MissingExtra
from cachekit.experiments import RunRecord
from cachekit.experiments.to_dvc import _yaml, export_to_dvc
from cachekit.experiments.to_mlflow import export_to_mlflow
from tests.experiments.studies import STUDY, commit, run_study, store_of, write_study
from tests.memoization.project import Project

WRITING = """
    open("coefficients.csv", "w").write("0.5\\n")
    this.log_artifact("coefficients.csv")
    this.log_artifact("gone.csv")
    this.log_dataset("numbers", source="counted", rows=5)
    this.log_seed("shuffle", 7)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    folder = tmp_path / "study"
    folder.mkdir()
    project = write_study(folder)
    study = STUDY.replace('"alpha": 0.5', '"alpha": 0.5, "names, of": ["a", 1]')
    study = study.replace('    this.log_metric("fit_seconds"', "    #")
    project.write("study.py", study + WRITING)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    return project


def invoke(project: Project, *arguments: object) -> Result:
    words = [*map(str, arguments), "--store", str(store_of(project).root)]
    return CliRunner().invoke(main, words)


# --- MLflow ---

# Its own code warns of what it uses itself.
quiet = pytest.mark.filterwarnings("ignore")


@quiet
def test_a_run_is_read_back_by_mlflow(project: Project, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    run = run_study(project)
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    first = invoke(project, "runs", "export", "mlflow", "last", "--uri", uri)
    second = invoke(project, "runs", "export", "mlflow", "last", "--uri", uri, "--json")

    assert first.exit_code == 0, first.output
    assert f"Run {run.id} is now run " in first.stdout
    assert first.stderr.endswith("Left out: gone.csv\n")
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == run.id
    assert found.info.status == "FINISHED"
    assert found.data.params == {"alpha": "0.5", "names_ of": "['a', 1]"}
    assert found.data.metrics == {"score": 5.0}
    assert found.data.tags["cachekit.run"] == run.id
    assert found.data.tags["cachekit.data.numbers"] == "counted"
    assert found.data.tags["cachekit.seed.shuffle"] == "7"
    files = {one.path for one in client.list_artifacts(found.info.run_id)}
    assert files == {"coefficients.csv", "cachekit-run.json"}
    copied = client.download_artifacts(found.info.run_id, "coefficients.csv")
    assert Path(copied).read_text() == "0.5\n"
    assert json.loads(second.stdout)["is_new"] is False
    assert json.loads(second.stdout)["run"] == found.info.run_id


@quiet
def test_a_tracking_store_that_cannot_be_used_is_one_line(project: Project) -> None:
    run_study(project)

    result = invoke(project, "runs", "export", "mlflow", "last", "--uri", "odd://x")

    assert result.exit_code == 1
    assert "MLflow at odd://x refuses" in result.stderr


def test_without_mlflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)

    with pytest.raises(MissingExtra, match=r"'cachekit-lab\[mlflow\]'"):
        export_to_mlflow(RUN)


# --- DVC ---


def dvc(project: Project, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=project.folder,
        env=environment(project),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment(project: Project) -> dict[str, str]:
    # The stage runs `python`, which is to be this one.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return project.environment(
        PATH=path,
        CACHEKIT_DIR=str(store_of(project).root),
        DVC_NO_ANALYTICS="1",
        HOME=str(project.folder.parent),
    )


def test_dvc_takes_a_run_for_a_stage_that_is_up_to_date(project: Project) -> None:
    run_study(project)
    commit(project.folder)
    dvc(project, "init", "-q")

    result = invoke(project, "runs", "export", "dvc", "last")

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "Wrote dvc.yaml"
    assert "study" in dvc(project, "dag")
    assert "up to date" in dvc(project, "status")
    assert "5" in dvc(project, "metrics", "show")
    assert "didn't change, skipping" in dvc(project, "repro")


def test_dvc_runs_it_again_after_an_edit(project: Project) -> None:
    run_study(project)
    commit(project.folder)
    dvc(project, "init", "-q")
    assert invoke(project, "runs", "export", "dvc", "last").exit_code == 0
    project.write("helper.py", "def scale(x, alpha):\n    return 2 * x\n")

    assert "helper.py" in dvc(project, "status")
    dvc(project, "repro")

    assert json.loads((project.folder / "metrics.json").read_text()) == {"score": 20.0}
    assert "up to date" in dvc(project, "status")


def test_another_folder_leads_back_to_that_of_the_run(project: Project) -> None:
    run_study(project)
    commit(project.folder)
    dvc(project, "init", "-q")

    result = invoke(project, "runs", "export", "dvc", "last", "--output", "dvc/one")

    assert result.exit_code == 0, result.output
    assert "up to date" in dvc(project, "status", "dvc/one/dvc.yaml")


RUN = RunRecord(
    id="20261122-101500-1233f9c",
    name="study, of it",
    status="finished",
    started="2026-11-22T10:15:00+00:00",
    command={"original": ["python", "a b.py", "${HOME}"], "folder": "/nowhere"},
)


def test_files_that_are_there_already_stay(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("mine")

    with pytest.raises(CacheKitError, match=r"has dvc\.yaml already"):
        export_to_dvc(RUN, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["dvc.yaml"]


def test_names_and_commands_are_written_as_dvc_reads_them(tmp_path: Path) -> None:
    stage = export_to_dvc(RUN, tmp_path / "new")

    assert stage.name == "study__of_it"
    found = read_yaml((tmp_path / "new" / "dvc.yaml").read_text())
    command = found["stages"]["study__of_it"]["cmd"][0]
    assert command == "python 'a b.py' '\\${HOME}'"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"yes": "no", "3": 3, "a: b": None, "x": "- 1 # 2", "ü": "\n"},
        {"many": [1, [2, {"a": []}], {"b": 1, "c": [True]}], "none": {}, "empty": []},
        {"deep": {"er": {"est": [{"a": {"b": [0.5, 1e-7, "1e-7"]}}]}}},
    ],
)
def test_yaml_is_read_back(facts: dict[str, Any]) -> None:
    assert read_yaml(_yaml(facts)) == facts


def read_yaml(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(text)
