"""Detectors of outliers: how good they are, and what one more of them computes."""

from __future__ import annotations

import csv
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cachekit.errors import PipelineError
from cachekit.memoization import Memory
from cachekit.pipelines import PIPELINES
from cachekit.pipelines.outliers import __main__ as outliers
from cachekit.pipelines.outliers import const, data, detectors, model
from cachekit.pipelines.parameters import Parameters, read_parameters
from tests.pipelines.programs import run_again, settings

SMALL: dict[str, Any] = {
    "N_DRAWS": 4,
    "N_TREES": 20,
    "N_GRID": 20,
    "N_JOBS": 1,
    "FIGURE_DPI": 50,
}
FILES = {
    "outliers.csv",
    "outliers_regions.png",
    "outliers_roc.png",
    "outliers_spread.png",
}
ALL: dict[str, model.Detector] = {
    "isolation forest": partial(detectors.isolation_forest, n_trees=50),
    "one-class SVM": partial(detectors.one_class_svm, nu=0.1),
    "robust covariance": detectors.robust_covariance,
    "local outlier factor": partial(detectors.local_outlier_factor, n_neighbours=20),
    "plain covariance": detectors.plain_covariance,
}


def small(**given: Any) -> Parameters:
    return read_parameters(const, **{**SMALL, **given})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, outliers.Result]:
    """Return a store that a run has filled, and what the run has found."""
    folder = tmp_path_factory.mktemp("outliers")
    memory = Memory(folder / "store")
    return folder / "store", outliers.run(small(), memory=memory, output=folder / "out")


@pytest.fixture(scope="module")
def table() -> data.Table:
    return data.load_table("breast_cancer")


def computed(store: Path, output: Path, **given: Any) -> Counter[str]:
    """Run with other parameters, and count the calls of each name that computes."""
    memory = Memory(store)
    assert memory.store is not None
    before = {entry.key for entry in memory.store.entries()}
    outliers.run(small(**given), memory=memory, output=output)
    new = [entry.key for entry in memory.store.entries() if entry.key not in before]
    assert memory.tally().misses == len(new)
    return Counter(key.function.rpartition(".")[2] for key in new)


# --- the pipeline ---


def test_the_pipeline_is_in_the_table_of_the_command_line() -> None:
    assert "outliers" in PIPELINES


def test_a_run_writes_its_files(done: tuple[Path, outliers.Result]) -> None:
    _, result = done

    assert {path.name for path in result.paths} == FILES
    for path in result.paths[1:]:
        assert path.read_bytes().startswith(b"\x89PNG")
    with result.paths[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 4
    assert {row["detector"] for row in rows} == set(const.DETECTORS)
    assert {row["seed"] for row in rows} == {"0", "1", "2", "3"}
    first = result.scores[rows[0]["detector"]][0]
    assert float(rows[0]["roc_auc"]) == pytest.approx(first.roc_auc, rel=1e-5)


def test_detectors_find_outliers(done: tuple[Path, outliers.Result]) -> None:
    _, result = done

    roc, precision = (
        {
            name: np.mean([getattr(score, measure) for score in some])
            for name, some in result.scores.items()
        }
        for measure in ("roc_auc", "average_precision")
    )

    assert min(roc.values()) > 0.75
    assert min(roc[name] for name in roc if name != "one-class SVM") > 0.84
    assert min(precision.values()) > 0.25


def test_a_second_run_computes_nothing(
    done: tuple[Path, outliers.Result], tmp_path: Path
) -> None:
    store, first = done
    memory = Memory(store)

    outliers.run(small(), memory=memory, output=tmp_path)

    # A table, 20 scores, a plane, five maps and three figures.
    assert (memory.tally().misses, memory.tally().hits) == (0, 30)
    for path in first.paths:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        # The draws there are stay as they are: one more of each detector.
        ({"N_DRAWS": 5}, {"score_detector": 5, "draw_curves": 1, "draw_spread": 1}),
        # The setting of one detector is no matter of the others.
        (
            {"N_NEIGHBOURS": 15},
            {
                "score_detector": 4,
                "map_plane": 1,
                "draw_regions": 1,
                "draw_curves": 1,
                "draw_spread": 1,
            },
        ),
        ({"N_GRID": 30}, {"lay_plane": 1, "map_plane": 5, "draw_regions": 1}),
        ({"N_JOBS": 2}, {}),
        ({"FIGURE_COLUMNS": 2}, {"draw_regions": 1}),
    ],
)
def test_another_constant_computes_what_depends_on_it(
    done: tuple[Path, outliers.Result],
    tmp_path: Path,
    given: dict[str, Any],
    counts: dict[str, int],
) -> None:
    store, _ = done

    assert computed(store, tmp_path, **given) == counts


def test_one_more_detector_computes_only_that(tmp_path: Path) -> None:
    store, names = tmp_path / "store", const.DETECTORS[1:]
    computed(store, tmp_path, DETECTORS=names[:2], N_DRAWS=2)

    added = computed(store, tmp_path, DETECTORS=names[:3], N_DRAWS=2)

    assert added == {
        "score_detector": 2,
        "map_plane": 1,
        "draw_regions": 1,
        "draw_curves": 1,
        "draw_spread": 1,
    }


def test_what_workers_compute_is_counted_and_the_same(
    done: tuple[Path, outliers.Result], tmp_path: Path
) -> None:
    _, first = done
    memory = Memory(tmp_path / "store")
    name = "isolation forest"
    parameters = small(N_JOBS=2, DETECTORS=(name,))

    second = outliers.run(parameters, memory=memory, output=tmp_path)

    assert memory.tally().misses == 1 + 4 + 1 + 1 + 3
    for some, other in zip(first.scores[name], second.scores[name], strict=True):
        assert some.roc_auc == pytest.approx(other.roc_auc)


# --- the data ---


@pytest.mark.parametrize(
    ("name", "shape", "n_outliers"),
    [("breast_cancer", (569, 30), 212), ("wine", (178, 13), 48)],
)
def test_tables_have_their_outliers(
    name: str, shape: tuple[int, int], n_outliers: int
) -> None:
    table = data.load_table(name)

    assert table.features.shape == shape
    assert table.is_outlier.sum() == n_outliers


def test_a_draw_holds_the_share_of_outliers_and_no_row_twice(
    table: data.Table,
) -> None:
    n_rows = len(table.features)
    numbers = np.arange(n_rows, dtype=np.float64)[:, None]
    numbered = data.Table(numbers, table.is_outlier, "")

    draw = data.draw_rows(numbered, contamination=0.1, seed=3)

    assert (len(draw.train), len(draw.test)) == (198, 199)
    assert draw.is_outlier.sum() == 20
    assert np.unique(np.concatenate([draw.train, draw.test])).size == 397
    low, middle, high = np.percentile(draw.train, [25, 50, 75])
    assert (high - low, middle) == (pytest.approx(1), pytest.approx(0))


def test_the_test_rows_do_not_scale_what_is_learned_from(table: data.Table) -> None:
    draw = data.draw_rows(table, contamination=0.1, seed=0)

    np.testing.assert_allclose(np.median(draw.train, axis=0), 0, atol=1e-12)
    assert not np.allclose(np.median(draw.test, axis=0), 0)


def test_a_feature_that_is_always_the_same_is_no_division_by_zero() -> None:
    features = np.ones((40, 2))
    table = data.Table(features, np.arange(40) < 10, "")

    draw = data.draw_rows(table, contamination=0.1, seed=0)

    assert not draw.train.any()


def test_seeds_draw_other_rows(table: data.Table) -> None:
    one, same, other = (
        data.draw_rows(table, contamination=0.1, seed=seed) for seed in (1, 1, 2)
    )

    np.testing.assert_array_equal(one.train, same.train)
    assert not np.array_equal(one.train, other.train)


def test_too_few_outliers_are_an_error() -> None:
    wine = data.load_table("wine")

    with pytest.raises(PipelineError, match="takes 56 of them, and there are 48"):
        data.draw_rows(wine, contamination=0.3, seed=0)


# --- the detectors ---


@pytest.mark.parametrize("name", ALL)
def test_a_detector_finds_what_is_far_away(name: str) -> None:
    random = np.random.default_rng(0)
    train = random.standard_normal((200, 2))
    test = np.array([[0.0, 0.0], [0.5, -0.5], [30.0, 30.0], [-40.0, 20.0]])

    oddness = ALL[name](train, test, seed=0)

    assert oddness.shape == (4,)
    assert oddness[:2].max() < oddness[2:].min()


def test_a_robust_covariance_is_not_deceived_by_outliers() -> None:
    random = np.random.default_rng(0)
    usual, odd = random.standard_normal((80, 2)), random.normal(8, 0.1, (20, 2))
    test = np.array([[8.0, 8.0], [2.5, -2.5]])

    def prefers_odd(detector: model.Detector) -> bool:
        far, near = detector(np.concatenate([usual, odd]), test, seed=0)
        return bool(far > near)

    assert prefers_odd(detectors.robust_covariance)
    assert not prefers_odd(detectors.plain_covariance)


def test_robustness_pays_on_wine() -> None:
    wine = data.load_table("wine")

    def areas(detector: model.Detector) -> Any:
        return np.array(
            [
                model.score_detector(
                    detector, wine, contamination=0.1, seed=seed
                ).roc_auc
                for seed in range(4)
            ]
        )

    robust, plain = areas(detectors.robust_covariance), areas(ALL["plain covariance"])

    assert robust.mean() > 0.9
    assert (robust > plain).all()


def test_few_rows_have_few_neighbours() -> None:
    train = np.array([[0.0], [1.0], [2.0], [3.0]])

    oddness = detectors.local_outlier_factor(
        train, np.array([[1.5], [50.0]]), seed=0, n_neighbours=20
    )

    assert oddness[0] < oddness[1]


# --- the scores ---


def test_rankings_have_their_scores() -> None:
    is_outlier = np.array([False, False, True, True])

    perfect = model.score_ranking(np.array([1.0, 2.0, 3.0, 4.0]), is_outlier)
    middling = model.score_ranking(np.array([1.0, 3.0, 2.0, 4.0]), is_outlier)
    wrong = model.score_ranking(np.array([4.0, 3.0, 2.0, 1.0]), is_outlier)

    assert (perfect.roc_auc, perfect.average_precision) == (1.0, 1.0)
    assert middling.roc_auc == 0.75
    assert middling.average_precision == pytest.approx(5 / 6)
    assert wrong.roc_auc == 0.0
    assert perfect.hit_rates.tolist() == [1.0] * model.N_RATES
    assert wrong.hit_rates[:-1].max() == 0.0


def test_shuffled_truth_is_found_by_chance_only(table: data.Table) -> None:
    shuffled = data.Table(
        table.features, np.random.default_rng(0).permutation(table.is_outlier), ""
    )

    for detector in ALL.values():
        areas = [
            model.score_detector(
                detector, shuffled, contamination=0.1, seed=seed
            ).roc_auc
            for seed in range(4)
        ]
        assert 0.3 < np.mean(areas) < 0.7


def test_a_map_tells_how_odd_places_are(table: data.Table) -> None:
    plane = model.lay_plane(table, contamination=0.1, seed=0, n_grid=15)

    shares = model.map_plane(detectors.plain_covariance, plane, seed=0)

    assert shares.shape == (15, 15)
    assert 0 <= shares.min() < 0.5 < shares.max() <= 1
    middle = plane.draw.train.mean(axis=0)
    nearest = (
        np.abs(plane.up - middle[1]).argmin(),
        np.abs(plane.across - middle[0]).argmin(),
    )
    assert shares[nearest] < 0.5
    assert shares[0, 0] > 0.5


# --- the command ---


def test_the_command_tells_the_scores_the_best_first(
    done: tuple[Path, outliers.Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, result = done
    monkeypatch.setenv("COLUMNS", "80")
    given = [*settings(SMALL), "--store", str(store), "--output", str(tmp_path)]

    ran = CliRunner().invoke(outliers.main, given)

    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert "means and deviations of 4 draws" in lines[0]
    best = max(
        result.scores,
        key=lambda name: np.mean([score.roc_auc for score in result.scores[name]]),
    )
    assert lines[2].startswith(best)
    assert "30 calls: 30 from the cache, 0 computed" in lines[-1]
    assert all(len(line) <= 80 for line in lines if not line.startswith("Wrote"))


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"CONTAMINATION": 0.4}, 1, "there are 212: set CONTAMINATION lower"),
        ({"DETECTORS": ()}, 2, "DETECTORS=() is not possible: it is one of"),
        ({"DETECTORS": "guessing"}, 2, "is one of isolation forest, one-class SVM"),
        ({"DATA": "iris"}, 2, "DATA='iris' is not possible"),
    ],
)
def test_what_cannot_be_is_told(
    tmp_path: Path, given: dict[str, Any], code: int, message: str
) -> None:
    options = ["--store", f"{tmp_path}/s", "--output", f"{tmp_path}/o"]

    ran = CliRunner().invoke(outliers.main, [*settings({**SMALL, **given}), *options])

    assert ran.exit_code == code
    assert message in " ".join(ran.output.split())
    assert "Traceback" not in ran.output


def test_a_second_run_imports_no_heavy_library(
    done: tuple[Path, outliers.Result], tmp_path: Path
) -> None:
    store, _ = done
    arguments = [*settings(SMALL), "--store", str(store), "--output", str(tmp_path)]

    printed, imported = run_again("outliers", arguments)

    assert " 0 computed" in printed
    assert imported == set()
