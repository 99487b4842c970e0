"""The decoding pipeline: what it finds, and what a change of a constant recomputes."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cachekit.errors import PipelineError
from cachekit.memoization import Memory
from cachekit.pipelines import PIPELINES
from cachekit.pipelines.decoding import __main__ as decoding
from cachekit.pipelines.decoding import const, scans
from cachekit.pipelines.parameters import Parameters, read_parameters
from tests.pipelines.programs import run_again, settings

SMALL: dict[str, Any] = {
    "TRIALS_PER_DIGIT": 20,
    "N_RUNS": 4,
    "N_VOXELS": 120,
    "NOISE_SD": 0.25,
    "N_FOLDS": 2,
    "N_PERMUTATIONS": 9,
    "FIGURE_DPI": 40,
}

# A good half of what is reached, and four times what shuffled labels reach.
ACCURACY_FLOOR = 0.4

# Above what the mean image reaches, 0.70.
CORRELATION_FLOOR = 0.8


def small(**given: Any) -> Parameters:
    return read_parameters(const, **(SMALL | given))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, decoding.Result]:
    """Run from an empty store; the other tests go on from there."""
    folder = tmp_path_factory.mktemp("decoding")
    memory = Memory(folder / "store")
    return folder / "store", decoding.run(small(), memory=memory, output=folder)


def count_computed(store: Path, output: Path, **given: Any) -> int:
    memory = Memory(store)
    decoding.run(small(**given), memory=memory, output=output)
    return memory.tally().misses


def test_the_pipeline_is_in_the_table_of_the_command_line() -> None:
    assert "decoding" in PIPELINES


def test_a_run_writes_its_files(first: tuple[Path, decoding.Result]) -> None:
    _, result = first

    scores, predictions, accuracy, images = result.paths
    with scores.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["1", "2"]
    assert sum(int(row["n_test"]) for row in rows) == 200
    with predictions.open(newline="") as file:
        decoded = list(csv.DictReader(file))
    right = sum(row["seen"] == row["decoded"] for row in decoded)
    assert right / len(decoded) == pytest.approx(result.accuracy)
    assert accuracy.read_bytes().startswith(b"\x89PNG")
    assert images.read_bytes().startswith(b"\x89PNG")


def test_digits_are_read_from_the_scans(first: tuple[Path, decoding.Result]) -> None:
    _, result = first

    assert result.accuracy > ACCURACY_FLOOR
    assert result.p == pytest.approx(0.1)  # none of 9 permutations is as good
    for score in result.scores:
        assert score.correlations.mean() > CORRELATION_FLOOR
        assert score.identification > 0.9


def test_the_floors_are_above_what_needs_no_scans(
    first: tuple[Path, decoding.Result],
) -> None:
    _, result = first

    assert max(result.chance_scores) < ACCURACY_FLOOR / 2
    assert np.mean(result.chance_scores) == pytest.approx(0.1, abs=0.05)
    for score in result.scores:
        assert score.mean_image_correlation < CORRELATION_FLOOR


def test_each_run_is_tested_in_one_fold(first: tuple[Path, decoding.Result]) -> None:
    _, result = first

    pairs = set(zip(result.trials.stimuli.runs, result.folds, strict=True))
    assert len(pairs) == 4


def test_a_second_run_computes_nothing(
    first: tuple[Path, decoding.Result], tmp_path: Path
) -> None:
    store, result = first
    memory = Memory(store)

    second = decoding.run(small(), memory=memory, output=tmp_path)

    assert memory.tally().misses == 0
    assert memory.tally().hits == 1 + 1 + 1 + 4 + 4 + 2 + 9 + 2 + 2
    for old, new in zip(result.paths, second.paths, strict=True):
        assert old.read_bytes() == new.read_bytes()


@pytest.mark.parametrize(
    ("change", "computed"),
    [
        ({"NOISE_SD": 0.3}, 4 + 4 + 2 + 9 + 2 + 2),  # all from the scans on
        ({"HIGH_PASS_SECONDS": 90.0}, 4 + 2 + 9 + 2 + 2),  # from the responses on
        ({"CLASSIFIER_C": 0.3}, 2 + 9 + 1 + 1),  # classes, and both figures
        ({"RIDGE_PENALTIES": (50.0,)}, 2 + 1),  # drawings, and what shows them
        ({"N_PERMUTATIONS": 12}, 3 + 1),  # the new ones, and what shows them
        ({"N_JOBS": 1}, 0),
    ],
)
def test_a_change_recomputes_what_depends_on_it(
    first: tuple[Path, decoding.Result],
    tmp_path: Path,
    change: dict[str, Any],
    computed: int,
) -> None:
    store, _ = first

    assert count_computed(store, tmp_path, **change) == computed


def test_scans_without_signal_are_not_decoded(
    first: tuple[Path, decoding.Result], tmp_path: Path
) -> None:
    store, _ = first

    result = decoding.run(small(AMPLITUDE=0.0), memory=Memory(store), output=tmp_path)

    assert result.accuracy < ACCURACY_FLOOR / 2
    for score in result.scores:
        assert score.correlations.mean() < CORRELATION_FLOOR
        assert score.identification == pytest.approx(0.5, abs=0.15)


def test_edges_are_read_too(
    first: tuple[Path, decoding.Result], tmp_path: Path
) -> None:
    store, _ = first
    parameters = small(RECEPTIVE_FIELDS="gabor", FIELD_SIZES=(1.0,))

    result = decoding.run(parameters, memory=Memory(store), output=tmp_path)

    assert result.accuracy > ACCURACY_FLOOR


def test_the_command_tells_what_it_found(
    first: tuple[Path, decoding.Result], tmp_path: Path
) -> None:
    store, result = first
    given = [f"--set={name}={value}" for name, value in SMALL.items()]
    given += ["--store", str(store), "--output", str(tmp_path / "out")]

    done = CliRunner().invoke(decoding.main, given)

    assert done.exit_code == 0, done.output
    assert "Decoding digits: 200 trials" in done.output
    assert f"Accuracy {result.accuracy:.1%}; with shuffled labels" in done.output
    assert "(p = 0.1)" in done.output
    assert "decoding_images.png" in done.output
    assert " 0 computed" in done.output


def test_a_second_run_imports_no_heavy_library(
    first: tuple[Path, decoding.Result], tmp_path: Path
) -> None:
    store, _ = first
    arguments = [*settings(SMALL), f"--store={store}", f"--output={tmp_path}"]

    printed, imported = run_again("decoding", arguments)

    assert " 0 computed" in printed
    assert imported == set()


def test_the_package_is_a_program(
    first: tuple[Path, decoding.Result], tmp_path: Path
) -> None:
    store, _ = first
    given = [f"--set={name}={value}" for name, value in SMALL.items()]
    given += ["--store", str(store), "--output", str(tmp_path)]

    done = subprocess.run(
        [sys.executable, "-m", "cachekit.pipelines.decoding", *given],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "Decoding digits: 200 trials" in done.stdout
    assert " 0 computed" in done.stdout  # what was imported has the same keys
    assert (tmp_path / "decoding_scores.csv").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"N_FOLDS": 5}, "5 folds need at least as many runs"),
        ({"GAPS_SECONDS": (1.0,)}, "lengthen GAPS_SECONDS"),
    ],
)
def test_what_cannot_be_done_is_told(
    first: tuple[Path, decoding.Result],
    tmp_path: Path,
    change: dict[str, Any],
    message: str,
) -> None:
    store, _ = first

    with pytest.raises(PipelineError, match=message):
        decoding.run(small(**change), memory=Memory(store), output=tmp_path)


@pytest.mark.parametrize(
    "given", [["--data", "mice"], ["--set", "NOISE_SD=-1"], ["--set", "NOISE=1"]]
)
def test_wrong_usage_is_told_by_the_command_line(
    given: list[str], tmp_path: Path
) -> None:
    done = CliRunner().invoke(decoding.main, [*given, "--store", f"{tmp_path}/store"])

    assert done.exit_code == 2


@pytest.mark.parametrize("data", ["miyawaki2008", "haxby"])
def test_real_scans_need_nilearn(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "find_spec", lambda _: None)
    given = ["--data", data, "--store", f"{tmp_path}/store", "--output", str(tmp_path)]

    done = CliRunner().invoke(decoding.main, given)

    assert done.exit_code == 1
    assert f"--data {data} needs nilearn" in done.output
    assert "pip install nilearn" in done.output
