"""The choice of a classifier: what it finds, and what a change of the grid costs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cachekit.errors import PipelineError
from cachekit.memoization import Memory
from cachekit.pipelines.forest import __main__ as forest
from cachekit.pipelines.forest import const
from cachekit.pipelines.forest.data import Split, number_folds, split_digits
from cachekit.pipelines.forest.grid import Candidate, list_candidates
from cachekit.pipelines.forest.model import (
    choose,
    count_confusions,
    score_fold,
    shuffle_pixels,
    wilson_interval,
)
from cachekit.pipelines.forest.report import settings_text
from cachekit.pipelines.parameters import Parameters, read_parameters
from tests.pipelines.programs import run_again, settings

# Three candidates, two folds, and a learning curve with one share of its own.
SMALL: dict[str, Any] = {
    "N_IMAGES": 400,
    "N_FOLDS": 2,
    "FOREST_TREES": 20,
    "FOREST_MAX_FEATURES": (0.1,),
    "FOREST_MIN_LEAF": (1,),
    "BOOSTING_ROUNDS": 5,
    "BOOSTING_RATES": (0.3,),
    "BOOSTING_LEAVES": (4,),
    "SVM_PENALTIES": (10.0,),
    "SVM_GAMMAS": (0.1,),
    "LEARNING_SHARES": (0.3, 1.0),
    "N_SHUFFLES": 1,
    "N_JOBS": 1,
    "FIGURE_DPI": 50,
}
SVM = Candidate("svm", {"C": 1.0, "gamma": 0.1})


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store that a small run has filled; tests work on it in turn."""
    folder = tmp_path_factory.mktemp("warm")
    forest.run(small(), memory=Memory(folder), output=folder / "out")
    return folder


@pytest.fixture(scope="module")
def split() -> Split:
    return split_digits(n_images=600, test_share=0.25, seed=0)


def small(**given: Any) -> Parameters:
    return read_parameters(const, **(SMALL | given))


def computed(folder: Path, **given: Any) -> int:
    """Count the calls that a run computes, where a small run has been."""
    memory = Memory(folder)
    forest.run(small(**given), memory=memory, output=folder / "out")
    return memory.tally().misses


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# --- the pipeline ---


def test_a_run_writes_its_files(warm: Path, tmp_path: Path) -> None:
    result = forest.run(small(), memory=Memory(warm), output=tmp_path / "out")

    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "forest_grid.csv",
        "forest_learning.csv",
        "forest_learning.png",
        "forest_confusions.png",
        "forest_pixels.png",
    }
    grid, learning, *figures = result.paths
    rows = read_csv(grid)
    assert [row["model"] for row in rows] == ["forest", "boosting", "svm"]
    assert [row["chosen"] for row in rows].index("1") == result.chosen
    assert float(rows[0]["mean_accuracy"]) == pytest.approx(
        result.scores[0].mean(), rel=1e-5
    )
    assert len(read_csv(learning)) == 3 * 2
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures)


def test_a_second_run_computes_nothing(warm: Path) -> None:
    assert computed(warm) == 0


def test_a_point_more_in_the_grid_computes_that_point_in_each_fold(warm: Path) -> None:
    # A poor one, so that the choice and all that follows from it stay.
    one_more = computed(warm, SVM_PENALTIES=(0.001, 10.0))
    two_more = computed(warm, SVM_GAMMAS=(0.0001, 0.0002, 0.1))

    assert one_more == 1 * 2  # points x folds
    assert two_more == 2 * 2


def test_a_point_less_in_the_grid_computes_nothing(warm: Path) -> None:
    # The figure of the curves has one curve less.
    assert computed(warm, BOOSTING_RATES=()) == 1


def test_another_number_of_trees_scores_the_forest_anew(warm: Path) -> None:
    # Two folds and two points of its curve, one of which is in the grid; one figure.
    assert computed(warm, FOREST_TREES=10) == 2 + 2 + 1


def test_another_share_computes_that_point_of_each_curve(warm: Path) -> None:
    assert computed(warm, LEARNING_SHARES=(0.3, 0.6, 1.0)) == 3 * 2 + 1


def test_another_shuffle_computes_that_one_and_its_figure(warm: Path) -> None:
    assert computed(warm, N_SHUFFLES=2) == 1 + 1


def test_other_folds_leave_the_fitted_model_as_it_is(warm: Path) -> None:
    # The folds, three candidates and three curves in each of three, and the curves'
    # figure; not the data, nor what is told of the images held out.
    assert computed(warm, N_FOLDS=3) == 1 + (3 + 3) * 3 + 1


def test_another_resolution_computes_the_figures(warm: Path) -> None:
    assert computed(warm, FIGURE_DPI=60) == 3


def test_workers_find_what_one_process_finds(warm: Path, tmp_path: Path) -> None:
    memory = Memory(tmp_path / "store")
    one, two = (small(BOOSTING_RATES=(), N_JOBS=n_jobs) for n_jobs in (1, 2))

    alone = forest.run(one, memory=Memory(warm), output=tmp_path / "out")
    both = forest.run(two, memory=memory, output=tmp_path / "out")

    assert np.array_equal(alone.scores, both.scores)
    assert np.array_equal(alone.lost, both.lost)
    # Data and folds; grid; curves; fit and predict; shuffle; figures.
    assert memory.tally().misses == 2 + 2 * 2 + 2 * 2 + 2 + 1 + 3


# --- what it finds ---


def test_the_images_held_out_do_not_touch_the_choice(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = forest.run(small(), memory=Memory(warm), output=tmp_path)
    memory = Memory(warm)

    def split_and_spoil(**given: Any) -> Split:
        split = split_digits(**given)
        noise = np.random.default_rng(0).random(split.test_images.shape, np.float32)
        return Split(split.train_images, split.train_labels, noise, split.test_labels)

    monkeypatch.setattr(forest, "split_digits", split_and_spoil)
    spoilt = forest.run(small(), memory=memory, output=tmp_path)

    assert spoilt.chosen == before.chosen
    assert spoilt.test_accuracy < 0.3 < 0.9 < before.test_accuracy
    # Split, predict, shuffle and two figures: no score, no curve, no fit.
    assert memory.tally().misses == 5


def test_the_model_chosen_reads_digits(memory: Memory, tmp_path: Path) -> None:
    more = small(N_IMAGES=1200, BOOSTING_RATES=())

    result = forest.run(more, memory=memory, output=tmp_path)

    assert result.candidates[result.chosen].kind == "svm"
    assert result.test_accuracy > 0.96
    low, high = result.interval
    assert low < result.test_accuracy < high
    assert np.array_equal(result.confusions.sum(axis=1), counts(result.split))
    # More images help each kind, and the margins of the images say nothing.
    assert (result.curves.mean(axis=2)[:, 0] < result.curves.mean(axis=2)[:, 1]).all()
    assert abs(result.lost[:, 0]).max() <= 0.01
    assert result.lost.max() > 0.005


def counts(split: Split) -> Any:
    return np.bincount(split.test_labels)


@pytest.mark.parametrize(
    ("candidate", "floor"),
    [
        (Candidate("forest", {"n_estimators": 50, "max_features": 0.1}), 0.92),
        (Candidate("boosting", {"max_iter": 15, "max_leaf_nodes": 4}), 0.8),
        (SVM, 0.94),
    ],
)
def test_each_kind_learns_and_learns_nothing_from_shuffled_digits(
    split: Split, candidate: Candidate, floor: float
) -> None:
    images, labels = split.train_images, split.train_labels
    shuffled = np.random.default_rng(0).permutation(labels)
    folds = number_folds(labels, n_folds=3, seed=0)

    learned, guessed = (
        score_fold(candidate, images, said, folds, fold=0, share=1.0, seed=0)
        for said in (labels, shuffled)
    )

    assert learned > floor
    assert guessed < 0.25


# --- the functions ---


def test_the_split_keeps_digits_as_frequent_and_no_image_twice() -> None:
    split = split_digits(n_images=1797, test_share=0.25, seed=3)

    train, test = np.bincount(split.train_labels), np.bincount(split.test_labels)
    assert train.sum() + test.sum() == 1797
    assert np.allclose(test / test.sum(), train / train.sum(), atol=0.005)
    known = {image.tobytes() for image in split.train_images}
    assert not [image for image in split.test_images if image.tobytes() in known]
    assert split.train_images.min() == 0
    assert split.train_images.max() == 1


def test_folds_are_of_one_size_and_have_all_digits(split: Split) -> None:
    folds = number_folds(split.train_labels, n_folds=4, seed=0)

    sizes = [np.bincount(split.train_labels[folds == fold]) for fold in range(4)]
    assert np.ptp(sizes, axis=0).max() <= 1
    assert not np.array_equal(
        folds, number_folds(split.train_labels, n_folds=4, seed=1)
    )


def test_a_score_is_of_the_fold_left_out() -> None:
    # Each fold has labels of its own, which nobody can know who has not seen it.
    images = np.linspace(0, 1, 12, dtype=np.float32)[:, None]
    labels = np.repeat([0, 1, 2], 4)

    score = score_fold(SVM, images, labels, labels, fold=2, share=1.0, seed=0)

    assert score == 0


def test_of_equal_candidates_the_first_is_chosen() -> None:
    scores = np.array([[0.8, 0.9], [0.7, 1.0], [1.0, 0.9], [0.9, 1.0]])

    assert choose(scores) == 2


def test_a_pixel_that_decides_is_the_one_that_matters() -> None:
    class Fitted:
        def get(self) -> Any:
            return self

        def predict(self, images: Any) -> Any:
            return (images[:, 1] > 0.5).astype(int)

    images = np.random.default_rng(0).random((1000, 3), np.float32)
    labels = (images[:, 1] > 0.5).astype(np.int64)

    lost = shuffle_pixels(Fitted(), images, labels, seed=0, number=0)

    assert lost[[0, 2]].tolist() == [0, 0]
    assert lost[1] == pytest.approx(0.5, abs=0.05)


def test_confusions_are_counted() -> None:
    labels, seen = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])

    counted = count_confusions(labels, seen, n_classes=3)

    assert counted.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilsons_interval_is_as_published(
    right: int, n: int, low: float, high: float
) -> None:
    # The last is the example of Newcombe (1998), Statistics in Medicine 17, table I.
    found = wilson_interval(right, n, z=1.959964)

    assert found == pytest.approx((low, high), abs=5e-5)


def test_the_grid_has_each_point_once() -> None:
    candidates = list_candidates(
        small(SVM_PENALTIES=(10, 10.0), FOREST_MIN_LEAF=(1, 2))
    )

    assert [candidate.kind for candidate in candidates] == [
        "forest",
        "forest",
        "boosting",
        "svm",
    ]
    assert settings_text(candidates[-1]) == "C=10 gamma=0.1"


# --- the command ---


def test_an_empty_grid_is_an_error(memory: Memory, tmp_path: Path) -> None:
    nothing = small(FOREST_MIN_LEAF=(), BOOSTING_RATES=(), SVM_GAMMAS=())

    with pytest.raises(PipelineError, match="the grid is empty"):
        forest.run(nothing, memory=memory, output=tmp_path)

    assert not list(tmp_path.glob("*.csv"))


def test_the_command_tells_what_it_found(warm: Path, tmp_path: Path) -> None:
    given = [*settings(SMALL), f"--store={warm}", f"--output={tmp_path}"]

    done = CliRunner().invoke(forest.main, given)

    assert done.exit_code == 0, done.output
    assert "Chosen: svm, C=10 gamma=0.1" in done.stdout
    assert "of 100 images held out" in done.stdout
    assert f"Wrote {tmp_path / 'forest_grid.csv'}" in done.stdout
    assert " 0 computed" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("N_FOLDS=1", "N_FOLDS=1 is not possible: it is 2 to 10"),
        ("SVM_GAMMAS=(0.1, -1)", "is not possible"),
        ("N_TREES=5", "there is no parameter N_TREES"),
    ],
)
def test_a_wrong_setting_is_told(tmp_path: Path, setting: str, message: str) -> None:
    given = ["--set", setting, f"--store={tmp_path}"]

    failed = CliRunner().invoke(forest.main, given)

    assert failed.exit_code == 2
    assert message in failed.output


def test_a_second_run_imports_no_heavy_library(warm: Path, tmp_path: Path) -> None:
    arguments = [*settings(SMALL), f"--store={warm}", f"--output={tmp_path}"]

    printed, imported = run_again("forest", arguments)

    assert " 0 computed" in printed
    assert imported == set()


@pytest.mark.slow
def test_the_default_run_is_right(memory: Memory, tmp_path: Path) -> None:
    result = forest.run(read_parameters(const), memory=memory, output=tmp_path)

    best = result.scores[result.best].mean(axis=1)
    assert result.test_accuracy > 0.975
    assert best.min() > 0.955
    assert best.max() > 0.98
