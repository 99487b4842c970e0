"""The superpixels pipeline: what it costs, and what another cut recomputes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cachekit.errors import PipelineError
from cachekit.memoization import Memory
from cachekit.pipelines import PIPELINES
from cachekit.pipelines.parameters import Parameters, read_parameters
from cachekit.pipelines.superpixels import __main__ as superpixels
from cachekit.pipelines.superpixels import const
from cachekit.pipelines.superpixels.scores import measure
from tests.pipelines.programs import run_again, settings

SMALL: dict[str, Any] = {
    "WIDTH": 48,
    "N_SUPERPIXELS": (5, 40, 200),
    "N_FEATURES": (4, 16, 64),
    "FIGURE_DPI": 40,
}

# Decibels by which superpixels are better than as many blocks, which is 5.8 at least.
GAIN_FLOOR = 4.0


def small(**given: Any) -> Parameters:
    return read_parameters(const, **(SMALL | given))


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, superpixels.Result]:
    """Run from an empty store; the other tests go on from there."""
    folder = tmp_path_factory.mktemp("superpixels")
    memory = Memory(folder / "store")
    return folder / "store", superpixels.run(small(), memory=memory, output=folder)


def test_the_pipeline_is_in_the_table_of_the_command_line() -> None:
    assert "superpixels" in PIPELINES


def test_a_run_writes_its_files(first: tuple[Path, superpixels.Result]) -> None:
    _, result = first

    assert [path.name for path in result.paths] == [
        "superpixels.csv",
        "superpixels_features.csv",
        "superpixels_china.png",
        "superpixels_flower.png",
        "superpixels_costs.png",
    ]
    with result.paths[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3
    assert rows[0]["image"] == "china"
    assert rows[0]["superpixels"] == "5"
    assert float(rows[0]["psnr_db"]) == pytest.approx(
        result.costs["china", "ward"][0].psnr, rel=1e-5
    )
    for path in result.paths[2:]:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_more_superpixels_leave_more_of_the_image_and_take_more_bytes(
    first: tuple[Path, superpixels.Result],
) -> None:
    _, result = first

    for of_method in result.costs.values():
        assert of_method == sorted(of_method, key=lambda cost: cost.psnr)
        assert of_method == sorted(of_method, key=lambda cost: cost.n_bytes)
        for cost in of_method:
            assert 0 < cost.explained_variance < 1
            assert cost.ratio == pytest.approx(48 * 32 * 3 / cost.n_bytes)
    assert result.costs["flower", "ward"][-1].explained_variance > 0.95


def test_superpixels_are_better_than_blocks(
    first: tuple[Path, superpixels.Result],
) -> None:
    _, result = first

    for name in ("china", "flower"):
        pairs = zip(
            result.costs[name, "ward"], result.costs[name, "blocks"], strict=True
        )
        for ward, blocks in pairs:
            assert ward.psnr > blocks.psnr + GAIN_FLOOR


def test_superpixels_of_another_image_are_not(
    first: tuple[Path, superpixels.Result],
) -> None:
    _, result = first
    cuts, blocks = result.cuts["china", "ward"], result.costs["flower", "blocks"]

    for labels, block in zip(cuts, blocks, strict=True):
        wrong = measure(result.photographs["flower"], labels)
        assert wrong.psnr < block.psnr + GAIN_FLOOR


def test_few_features_cost_variance_and_accuracy(
    first: tuple[Path, superpixels.Result],
) -> None:
    _, result = first

    few, some, all_pixels = result.features
    assert some.accuracy > 0.85
    assert all_pixels.accuracy > some.accuracy > few.accuracy + 0.1
    assert all_pixels.explained_variance == pytest.approx(1.0)
    assert some.explained_variance > 0.6 > 0.4 > few.explained_variance
    # With a single digit for all one would be right a tenth of the time.
    assert few.accuracy > 0.4


def test_a_second_run_computes_nothing(
    first: tuple[Path, superpixels.Result], tmp_path: Path
) -> None:
    store, result = first
    memory = Memory(store)

    second = superpixels.run(small(), memory=memory, output=tmp_path)

    assert memory.tally().misses == 0
    assert memory.tally().hits == 2 + 2 + 6 + 12 + 2 + 1 + 3 + 3
    for old, new in zip(result.paths, second.paths, strict=True):
        assert old.read_bytes() == new.read_bytes()


@pytest.mark.parametrize(
    ("change", "computed"),
    [
        # No tree is grown: two cuts, their costs and those of two blocks, the figures.
        ({"N_SUPERPIXELS": (5, 40, 200, 400)}, 2 + 4 + 3),
        ({"N_SUPERPIXELS": (200, 5, 5)}, 3),  # known cuts; only the figures
        ({"WIDTH": 40}, 2 + 2 + 6 + 12 + 2 + 3),  # all but the digits
        ({"IMAGES": ("flower",)}, 1),
        ({"N_FEATURES": (4, 16, 32, 64)}, 1 + 1),
        ({"SEED": 1}, 1 + 3 + 1),
        ({"CLASSIFIER_C": 0.5}, 3 + 1),
        ({"MIN_PIXELS_FOR_BOUNDARIES": 300}, 2),
        ({"N_JOBS": 1}, 0),
    ],
)
def test_a_change_recomputes_what_depends_on_it(
    first: tuple[Path, superpixels.Result],
    tmp_path: Path,
    change: dict[str, Any],
    computed: int,
) -> None:
    store, _ = first
    memory = Memory(store)

    superpixels.run(small(**change), memory=memory, output=tmp_path)

    assert memory.tally().misses == computed


def test_as_many_superpixels_as_pixels_lose_nothing(
    first: tuple[Path, superpixels.Result], tmp_path: Path
) -> None:
    store, result = first
    n_pixels = result.photographs["china"][..., 0].size
    change = {"N_SUPERPIXELS": (n_pixels,), "IMAGES": ("china",)}

    whole = superpixels.run(small(**change), memory=Memory(store), output=tmp_path)

    [cost] = whole.costs["china", "ward"]
    assert cost.psnr == np.inf
    assert "inf" in whole.paths[0].read_text()


def test_more_superpixels_than_pixels_are_an_error(
    first: tuple[Path, superpixels.Result], tmp_path: Path
) -> None:
    store, _ = first

    with pytest.raises(PipelineError, match="lower N_SUPERPIXELS, or raise WIDTH"):
        superpixels.run(
            small(N_SUPERPIXELS=(2000,)), memory=Memory(store), output=tmp_path
        )


def test_the_command_tells_what_it_costs(
    first: tuple[Path, superpixels.Result], tmp_path: Path
) -> None:
    store, result = first
    given = [f"--set={name}={value}" for name, value in SMALL.items()]
    given += ["--store", str(store), "--output", str(tmp_path / "out")]

    done = CliRunner().invoke(superpixels.main, given)

    assert done.exit_code == 0, done.output
    assert f"{result.costs['china', 'ward'][0].psnr:.1f} dB" in done.output
    assert f"{result.features[1].accuracy:.1%}" in done.output
    assert "superpixels_costs.png" in done.output
    assert " 0 computed" in done.output


@pytest.mark.parametrize(
    "given", ["IMAGES=('china', 'cat')", "WIDTH=8", "N_FEATURES=65", "N_SUPERPIXEL=3"]
)
def test_wrong_usage_is_told_by_the_command_line(given: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        superpixels.main, ["--set", given, "--store", f"{tmp_path}/store"]
    )

    assert done.exit_code == 2


def test_the_package_is_a_program_and_a_second_run_imports_no_heavy_library(
    first: tuple[Path, superpixels.Result], tmp_path: Path
) -> None:
    store, _ = first
    arguments = [*settings(SMALL), f"--store={store}", f"--output={tmp_path}"]

    printed, imported = run_again("superpixels", arguments)

    assert " 0 computed" in printed
    assert imported == set()
