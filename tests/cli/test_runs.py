"""``runs``, ``repro``, ``checklist``, ``graph --run``, as they are read and piped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cachekit import Memory, inspection
from cachekit.cli import main
from cachekit.experiments import run, runs
from cachekit.stores import LocalStore
from tests.experiments.studies import HELPER, run_study, store_of, write_study
from tests.memoization.project import Project
from tests.stores.servers import Remote, environment_of


def load(n: int) -> list[int]:
    return list(range(n))


def fit(data: list[int], alpha: float) -> list[float]:
    return [alpha * x for x in data]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill a store that is the default one with three runs."""
    folder = tmp_path / "store"
    monkeypatch.setenv("CACHEKIT_DIR", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    memory = Memory(folder)
    for alpha in (0.5, 0.75):
        with run("ridge", {"alpha": alpha, "seed": 1}, memory=memory) as this:
            found = memory.cache(fit)(memory.cache(load)(4), alpha)
            this.log_metric("score", sum(found))
            this.log_dataset("numbers", source="counted", rows=4)
            Path("found.csv").write_text(f"{found}\n")
            this.log_artifact(Path("found.csv"))
    with pytest.raises(ValueError, match="too few"), run("lasso", memory=memory):
        raise ValueError("too few")
    return folder


def ids(root: Path) -> list[str]:
    """Return the ids of the runs, the newest first."""
    return [one.id for one in runs(LocalStore(root))]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def succeed(*arguments: object) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    return result.stdout


# --- runs ---


def test_runs_are_listed_the_newest_first(root: Path) -> None:
    lines = succeed("runs").splitlines()

    assert lines[0].split() == ["run", "name", "when", "took", "status", "metrics"]
    assert [line.split()[:2] for line in lines[1:]] == [
        [name, kind]
        for name, kind in zip(ids(root), ["lasso", "ridge", "ridge"], strict=True)
    ]
    assert " failed" in lines[1]
    assert lines[2].endswith("finished  score=4.5")


def test_fewer_runs_are_listed_if_asked_for(root: Path) -> None:
    assert len(ids(root)) == 3
    assert len(succeed("runs", "--name", "ridge").splitlines()) == 3
    assert len(json.loads(succeed_wide("runs", "--limit", 1, "--json"))) == 1


def succeed_wide(*arguments: object) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def test_a_store_without_runs_says_so(tmp_path: Path) -> None:
    Memory(tmp_path).cache(load)(3)

    text = succeed_wide("runs", "--store", tmp_path)

    assert text == f"No runs are recorded in {tmp_path}.\n"


def test_a_damaged_document_is_one_line_and_the_rest_is_listed(root: Path) -> None:
    (root / "runs" / f"{ids(root)[0]}.json").write_bytes(b"{")

    result = invoke("runs")

    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr.startswith("Warning: runs/")
    assert len(result.stderr.splitlines()) == 1


def test_all_of_a_run_is_shown(root: Path) -> None:
    text = invoke("runs", "show", ids(root)[1]).stdout

    for line in (
        "name        ridge",
        "status      finished",
        "parameters  alpha=0.75, seed=1",
        "seeds       seed=1",
        "metric      score=4.5",
        "data        numbers: counted; rows=4",
        "cache       1 hits, 1 misses",
    ):
        assert f"\n{line}" in text
    assert "found.csv" in text
    assert text.splitlines()[-1].split()[1:] == ["1", "1", "0"]  # fit was computed


def test_a_failure_is_shown_with_its_error(root: Path) -> None:
    assert "failed: ValueError: too few" in invoke("runs", "show", "last").stdout
    assert (
        json.loads(invoke("runs", "show", "last", "--json").stdout)["id"]
        == (ids(root)[0])
    )


def test_the_metrics_alone_are_json(root: Path) -> None:
    text = succeed("runs", "show", ids(root)[1], "--metrics")

    assert json.loads(text) == {"score": 4.5}


def test_two_runs_are_compared_in_one_table(root: Path) -> None:
    _, now, before = ids(root)

    lines = succeed("runs", "diff", before, now).splitlines()

    table = [line.split() for line in lines[4:]]
    assert table[0] == ["parameter", "alpha", "0.5", "0.75"]
    assert [row[0] for row in table[1:]] == ["result", "result", "metric"]
    assert table[-1] == ["metric", "score", "3", "4.5"]


def test_a_run_does_not_differ_from_itself(root: Path) -> None:
    text = succeed("runs", "diff", "last", ids(root)[0])

    assert text.endswith("nothing that is recorded differs.\n")


def test_edited_code_is_shown_with_its_lines(tmp_path: Path) -> None:
    project = write_study(_made(tmp_path / "study"))
    before = run_study(project)
    project.write("helper.py", HELPER.replace("x * alpha", "x * alpha + 1"))
    now = run_study(project)
    store = store_of(project).root

    text = succeed_wide("runs", "diff", before.id, now.id, "--store", store)
    facts = json.loads(
        succeed_wide("runs", "diff", before.id, now.id, "--store", store, "--json")
    )

    assert "  helper.scale  (changed)" in text
    assert "    +     return x * alpha + 1" in text
    assert [unit["name"] for unit in facts["units"]] == ["helper.scale"]
    subjects = {(one["subject"], one["name"]) for one in facts["changes"]}
    assert {("code", "study.fit"), ("result", "study.evaluate")} <= subjects
    assert ("code", "study.load") not in subjects


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_runs_are_removed_and_results_stay(root: Path) -> None:
    one, other, _ = ids(root)

    assert succeed("runs", "rm", one, other) == "Removed 2 runs.\n"

    assert len(ids(root)) == 1
    assert len(inspection.entries(LocalStore(root))) == 3


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    "command",
    [("runs", "show"), ("runs", "rm"), ("checklist",), ("repro",), ("runs", "plot")],
)
def test_what_is_not_there_is_one_error(command: tuple[str, ...]) -> None:
    result = invoke(*command, "19990101")

    assert result.exit_code == 1
    assert result.stderr.count("Error") == 1
    assert "no run" in result.stderr


@pytest.mark.usefixtures("root")
def test_wrong_usage_is_exit_code_2() -> None:
    assert invoke("runs", "show").exit_code == 2
    assert invoke("runs", "--limit", "0").exit_code == 2


def test_the_store_may_be_named_before_the_command(root: Path) -> None:
    text = succeed("runs", "--store", root, "show", "last", "--metrics")

    assert json.loads(text) == {}


def test_help_lists_the_commands_of_runs() -> None:
    text = invoke("--help").stdout

    part = text.split("\nRuns:\n")[1].split("\n\n")[0]
    assert [line.split()[0] for line in part.splitlines()] == [
        *("runs", "repro", "checklist")
    ]


# --- plot, graph, checklist ---


@pytest.mark.usefixtures("root")
def test_a_metric_is_drawn_over_runs(tmp_path: Path) -> None:
    text = succeed("runs", "plot", "score", "--name", "ridge", "--output", "a.png")

    assert text == "Wrote a.png: score of 2 runs.\n"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.glob(".*.part")) == []
    assert "there are score" in invoke("runs", "plot", "nosuch").stderr


def test_the_graph_of_a_run_has_its_calls_alone(root: Path) -> None:
    before = ids(root)[2]

    lines = succeed_wide("graph", "--run", before).splitlines()
    found = json.loads(succeed_wide("graph", "--run", before, "--json"))

    assert lines[0].startswith(f"{__name__}.fit(data=[0, 1, 2, 3], alpha=0.5)")
    assert lines[1].startswith(f"├── data: {__name__}.load(n=4)")
    assert lines[-1] == "2 calls; below each, what it was made of."
    assert len([one for one in found["nodes"] if one["kind"] == "call"]) == 2
    for form in ("mermaid", "dot"):
        assert "alpha=0.5" in succeed_wide("graph", "--run", before, "--format", form)


def test_the_graph_of_a_function_within_a_run(root: Path) -> None:
    text = succeed_wide("graph", "fit", "--run", ids(root)[1])

    assert f"{__name__}.fit  (1 call)" in text


def test_calls_inside_of_others_are_in_the_graph_of_a_run(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    inner = memory.cache(load)

    def outer(n: int) -> int:
        return sum(inner(n))

    with run("nested", memory=memory):
        memory.cache(outer)(5)

    found = json.loads(
        succeed_wide("graph", "--run", "last", "--store", tmp_path, "--json")
    )

    assert [one["kind"] for one in found["edges"]] == ["inside"]


def test_the_graph_of_a_run_whose_results_were_removed(root: Path) -> None:
    Memory(root).clear(warn=False)

    text = succeed_wide("graph", "--run", ids(root)[1])

    assert text == "Of what the run has called nothing is stored.\n"


def test_the_checklist_is_filled_in_from_the_record(root: Path) -> None:
    text = succeed_wide("checklist", ids(root)[1])

    assert text.startswith(f"# Reproducibility of ridge, run {ids(root)[1]}\n")
    for part in ("Models and algorithms", "Data sets", "Code", "Experiments"):
        assert f"\n## {part}\n" in text
    assert "- [x] Statistics of the data" in text
    assert "  - `numbers`: rows = 4" in text
    assert "- [ ] How the data was split" in text
    assert "  - Missing: the split of `numbers`" in text
    assert "Tried in 2 runs: `alpha` in 0.75, 0.5." in text
    assert "Pineau et al. (2021)" in text
    answered = int(text.split("\n\n")[1].split()[0])
    assert answered == text.count("- [x]")


def test_the_checklist_reports_the_spread_over_seeds(root: Path) -> None:
    for seed in (1, 2):
        with run("seeds", {"seed": seed}, memory=Memory(root)) as this:
            this.log_metric("score", seed)

    assert "score = 1.5 ± 0.71" in succeed_wide("checklist", "last")


# --- repro ---


def cachekit(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cachekit", *arguments],
        cwd=project.folder,
        env=project.environment(CACHEKIT_DIR=str(store_of(project).root), COLUMNS="80"),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_repro_says_what_it_does_and_what_came_of_it(tmp_path: Path) -> None:
    project = write_study(_made(tmp_path / "study"))
    recorded = run_study(project)

    same = cachekit(project, "repro", "last")
    project.write("helper.py", HELPER.replace("x * alpha", "x - alpha"))
    other = cachekit(project, "repro", recorded.id, "--json")
    told = cachekit(project, "repro", recorded.id)

    assert same.returncode == 0, same.stderr
    assert same.stdout.startswith("Reproduced: 3 steps and 1 metric, all the same.\n")
    assert same.stderr.startswith(f"Run {recorded.id} of study again:\n  python ")
    assert same.stderr.endswith(" study.py\n")
    assert other.returncode == told.returncode == 1
    facts: dict[str, Any] = json.loads(other.stdout)
    assert (facts["is_reproduced"], facts["step"]["function"]) == (False, "study.fit")
    assert told.stdout.splitlines()[:3] == [
        "Not reproduced. The first step that differs is 2 of 3, study.fit:",
        "  its code changed, and its result",
        "  result: ['coef'][0]: 0.0 -> -0.5",
    ]
    assert "    +     return x - alpha" in told.stdout
    assert "  metric score: 5.0 -> 7.5" in told.stdout


@pytest.mark.skipif(os.name == "nt", reason="needs the server")
def test_runs_in_a_bucket(
    tmp_path: Path, moto_s3_server: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(moto_s3_server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    bucket = moto_s3_server.fresh()
    for number in range(2):
        with run("far", memory=Memory(bucket)) as this:
            this.log_metric("number", number)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))

    listed = json.loads(succeed_wide("runs", "--store", bucket, "--json"))
    removed = succeed_wide("runs", "rm", this.id, "--store", bucket)

    assert [one["metrics"] for one in listed] == [{"number": 1.0}, {"number": 0.0}]
    assert [one["status"] for one in listed] == ["finished", "finished"]
    assert removed == "Removed 1 run.\n"
    assert len(json.loads(succeed_wide("runs", "--store", bucket, "--json"))) == 1
