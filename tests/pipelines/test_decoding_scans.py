"""Real scans: parsed from small files of the same form, which the tests write."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cachekit.errors import PipelineError
from cachekit.memoization import Memory
from cachekit.pipelines.decoding import __main__ as decoding
from cachekit.pipelines.decoding import const, scans
from cachekit.pipelines.decoding.scans import (
    HaxbyFiles,
    MiyawakiFiles,
    average_blocks,
    read_haxby,
    read_miyawaki,
    standardise,
)
from cachekit.pipelines.parameters import read_parameters

DELAY = 2
GRID = (4, 5, 6)
N_VOXELS = 110  # of the 120, in the mask
RANDOM = np.random.default_rng(0)

# How voxels see patches: each its own patch, most of all.
WEIGHTS = np.eye(100, N_VOXELS) + 0.1 * RANDOM.normal(size=(100, N_VOXELS))


def write_image(path: Path, volumes: Any) -> Path:
    nibabel: Any = import_module("nibabel")  # has no annotations

    nibabel.save(nibabel.Nifti1Image(volumes, np.eye(4)), path)
    return path


def write_mask(path: Path) -> Path:
    mask = np.zeros(GRID, np.int16)
    mask.ravel()[:N_VOXELS] = 1
    return write_image(path, mask)


def write_scans(path: Path, signal: Any) -> Path:
    """Write what voxels do, `DELAY` volumes late, on a baseline that drifts."""
    late = np.zeros_like(signal)
    late[DELAY:] = signal[:-DELAY]
    late += 100 + np.linspace(0, 5, len(late))[:, None]
    late += 0.05 * RANDOM.normal(size=late.shape)
    volumes = np.zeros((np.prod(GRID), len(late)), np.float32)
    volumes[:N_VOXELS] = late.T
    return write_image(path, volumes.reshape(*GRID, len(late)))


def write_miyawaki_run(folder: Path, name: str, images: Any) -> tuple[Path, Path]:
    """Write a run: each image for 3 volumes, with rest around it."""
    rest = np.full((3, 100), -1)
    rows = [rest]
    for image in images:
        # The files go down the first column first.
        rows += [np.repeat(image.T.reshape(1, -1), 3, axis=0), rest]
    seen = np.concatenate(rows).astype(int)
    labels = folder / f"data_{name}_label.csv"
    np.savetxt(labels, seen, fmt="%d", delimiter=",")
    by_row = np.clip(seen, 0, 1).reshape(-1, 10, 10).transpose(0, 2, 1)
    signal = by_row.reshape(len(seen), -1) @ WEIGHTS
    return write_scans(folder / f"data_{name}.nii.gz", signal), labels


@pytest.fixture
def figures() -> Any:
    """Three figures, none of which is the same when it is turned."""
    images = np.zeros((3, 10, 10), int)
    images[0, 2:8, 3] = images[0, 7, 3:6] = 1
    images[1, 1:4, 1:8] = 1
    images[2, 5:9, 5:9] = 1
    return images


@pytest.fixture
def miyawaki(tmp_path: Path, figures: Any) -> MiyawakiFiles:
    shown = [figures[[0, 1, 2]], figures[[2, 0, 1]]]
    runs = [
        write_miyawaki_run(tmp_path, f"figure_run{n}", images)
        for n, images in enumerate(shown)
    ]
    chance = RANDOM.integers(0, 2, (3, 40, 10, 10))
    random = [
        write_miyawaki_run(tmp_path, f"random_run{n}", images)
        for n, images in enumerate(chance)
    ]
    return MiyawakiFiles(
        figure_scans=[scan for scan, _ in runs],
        figure_labels=[labels for _, labels in runs],
        random_scans=[scan for scan, _ in random],
        random_labels=[labels for _, labels in random],
        mask=write_mask(tmp_path / "mask.nii.gz"),
    )


def read(files: MiyawakiFiles) -> Any:
    return read_miyawaki(
        files.figure_scans,
        files.figure_labels,
        files.random_scans,
        files.random_labels,
        files.mask,
        delay=DELAY,
    )


@pytest.fixture
def haxby(tmp_path: Path) -> HaxbyFiles:
    prototypes = RANDOM.normal(size=(3, N_VOXELS))
    lines, signal = ["labels chunks"], []
    for chunk in range(4):
        for name, prototype in zip(("cat", "face", "house"), prototypes, strict=True):
            lines += [f"rest {chunk}"] * 3 + [f"{name} {chunk}"] * 4
            signal += [np.zeros(N_VOXELS)] * 3 + [prototype] * 4
        lines += [f"rest {chunk}"] * 3
        signal += [np.zeros(N_VOXELS)] * 3
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(lines) + "\n")
    return HaxbyFiles(
        scans=write_scans(tmp_path / "bold.nii.gz", np.array(signal)),
        labels=labels,
        mask=write_mask(tmp_path / "mask4_vt.nii.gz"),
    )


def test_blocks_are_averaged_later_by_the_delay() -> None:
    volumes = np.arange(8.0)[:, None]
    seen = np.array([0, 0, 1, 1, 1, 0, 2, 2])[:, None]

    averages, begins = average_blocks(volumes, seen, delay=1)

    assert begins.tolist() == [0, 2, 5, 6]
    assert averages[:, 0].tolist() == [1.5, 4.0, 6.0, 7.0]


def test_a_block_whose_response_was_not_measured_is_left_out() -> None:
    averages, begins = average_blocks(
        np.arange(4.0)[:, None], np.array([0, 0, 0, 1])[:, None], delay=2
    )

    assert begins.tolist() == [0]
    assert averages[:, 0].tolist() == [2.5]


def test_runs_are_freed_from_trends_and_scaled() -> None:
    volumes = RANDOM.normal(size=(50, 3)) + np.arange(50.0)[:, None]
    volumes[:, 1] = 700.0

    found = standardise(volumes)

    assert found.std(axis=0) == pytest.approx([1.0, 0.0, 1.0])
    assert np.abs(np.polyfit(np.arange(50), found, 1)).max() < 1e-9


def test_the_scans_of_miyawaki_become_trials(
    miyawaki: MiyawakiFiles, figures: Any
) -> None:
    trials = read(miyawaki)

    stimuli = trials.stimuli
    assert trials.patterns.shape == (2 * 3 + 3 * 40, N_VOXELS)
    assert stimuli.classes == ("1", "2", "3")
    assert (stimuli.labels[6:] == -1).all()
    assert stimuli.labels[:3].tolist() == stimuli.labels[[4, 5, 3]].tolist()
    assert stimuli.images[:3].tolist() == figures.reshape(3, -1).tolist()
    assert np.bincount(stimuli.runs).tolist() == [3, 3, 40, 40, 40]


def test_the_scans_of_haxby_become_trials(haxby: HaxbyFiles) -> None:
    trials = read_haxby(haxby.scans, haxby.labels, haxby.mask, delay=DELAY)

    stimuli = trials.stimuli
    assert trials.patterns.shape == (12, N_VOXELS)
    assert stimuli.classes == ("cat", "face", "house")
    assert stimuli.labels.tolist() == [0, 1, 2] * 4
    assert stimuli.runs.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    # Blocks of one class are alike, those of others are not.
    alike = np.corrcoef(trials.patterns)
    same = stimuli.labels[:, None] == stimuli.labels
    assert alike[same].min() > 0.5 > alike[~same].max()


def test_the_pipeline_reads_figures_from_the_scans_of_miyawaki(
    miyawaki: MiyawakiFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "fetch_miyawaki", lambda: miyawaki)
    parameters = read_parameters(const, N_FOLDS=2, N_PERMUTATIONS=9, N_JOBS=1)
    memory = Memory(tmp_path / "store")

    def run() -> decoding.Result:
        return decoding.run(
            parameters, memory=memory, output=tmp_path, data="miyawaki2008"
        )

    result = run()

    assert result.accuracy == 1.0
    for score in result.scores:
        assert score.correlations.mean() > 0.5
        assert score.mean_image_correlation < 0.2
    assert memory.tally().misses == 1 + 2 + 9 + 2 + 2
    run()
    assert memory.tally().misses == 1 + 2 + 9 + 2 + 2


def test_the_pipeline_reads_classes_from_the_scans_of_haxby(
    haxby: HaxbyFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "fetch_haxby", lambda: haxby)
    parameters = read_parameters(const, N_FOLDS=4, N_PERMUTATIONS=9, N_JOBS=1)

    result = decoding.run(
        parameters, memory=Memory(tmp_path / "store"), output=tmp_path, data="haxby"
    )

    assert result.accuracy == 1.0
    assert result.drawings is None
    names = [path.name for path in result.paths]
    assert names == [
        "decoding_scores.csv",
        "decoding_predictions.csv",
        "decoding_accuracy.png",
    ]


def _shorten(files: HaxbyFiles) -> None:
    lines = files.labels.read_text().splitlines()
    files.labels.write_text("\n".join(lines[:-5]))


def _rename(files: HaxbyFiles) -> None:
    text = files.labels.read_text()
    files.labels.write_text(text.replace("labels chunks", "label run"))


def _put_to_rest(files: HaxbyFiles) -> None:
    text = files.labels.read_text()
    files.labels.write_text(text.replace("cat", "rest").replace("face", "rest"))


def _break(files: HaxbyFiles) -> None:
    files.scans.write_bytes(b"not an image")


def _empty(files: HaxbyFiles) -> None:
    write_image(files.mask, np.zeros(GRID, np.int16))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_shorten, "do not belong together"),
        (_rename, "has not the columns labels and chunks"),
        (_put_to_rest, "nothing to tell apart"),
        (_break, "is no NIfTI image"),
        (_empty, "is no mask"),
    ],
)
def test_files_of_another_form_are_told(
    haxby: HaxbyFiles, damage: Callable[[HaxbyFiles], None], message: str
) -> None:
    damage(haxby)

    with pytest.raises(PipelineError, match=message):
        read_haxby(haxby.scans, haxby.labels, haxby.mask, delay=DELAY)


@pytest.mark.parametrize(
    ("text", "message"),
    [("0,1\n1,0\n", "has 2 columns; it needs 100"), ("a,b\n", "no table of numbers")],
)
def test_labels_of_another_form_are_told(
    miyawaki: MiyawakiFiles, text: str, message: str
) -> None:
    miyawaki.random_labels[1].write_text(text)

    with pytest.raises(PipelineError, match=message):
        read(miyawaki)


def pretend_nilearn(monkeypatch: pytest.MonkeyPatch, **fetchers: Any) -> None:
    """Put a nilearn with these fetchers in the place of any that is installed."""
    datasets = ModuleType("nilearn.datasets")
    vars(datasets).update(fetchers)
    monkeypatch.setattr(scans, "find_spec", lambda _: object())
    monkeypatch.setitem(sys.modules, "nilearn", ModuleType("nilearn"))
    monkeypatch.setitem(sys.modules, "nilearn.datasets", datasets)


def test_the_files_are_taken_as_nilearn_orders_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Any]] = []

    def fetch_miyawaki2008(**given: Any) -> Any:
        asked.append(given)
        return SimpleNamespace(
            func=[f"f{n}" for n in range(32)],
            label=[f"l{n}" for n in range(32)],
            mask="mask",
        )

    def fetch_haxby(**given: Any) -> Any:
        asked.append(given)
        return SimpleNamespace(func=["f"], session_target=["l"], mask_vt=["m"])

    pretend_nilearn(
        monkeypatch, fetch_miyawaki2008=fetch_miyawaki2008, fetch_haxby=fetch_haxby
    )

    files = scans.fetch_miyawaki()

    assert files.figure_scans[-1] == Path("f11")
    assert files.random_scans[0] == Path("f12")
    assert (len(files.figure_labels), len(files.random_labels)) == (12, 20)
    assert scans.fetch_haxby() == HaxbyFiles(Path("f"), Path("l"), Path("m"))
    assert asked == [{"verbose": 0}, {"subjects": [2], "verbose": 0}]


def test_a_failed_fetch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> Any:
        raise Exception(["no network"])  # as nilearn does

    pretend_nilearn(monkeypatch, fetch_haxby=fail)

    with pytest.raises(PipelineError, match=r"could not be fetched .*no network"):
        scans.fetch_haxby()
