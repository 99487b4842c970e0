"""Real scans: two published experiments, as nilearn fetches them.

`fetch_miyawaki` and `fetch_haxby` say where the files are; `read_miyawaki` and
`read_haxby` make trials of them, and need no network. A trial is a block, the volumes
that one image or one class stood for.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cachekit.errors import PipelineError
from cachekit.pipelines.decoding.data import Stimuli, Trials

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MIYAWAKI_SHAPE = (10, 10)


@dataclass(frozen=True)
class MiyawakiFiles:
    """The files of Miyawaki et al. (2008).

    Attributes
    ----------
    figure_scans, random_scans : list of Path
        A NIfTI image each run: of letters and shapes, and of random patches.
    figure_labels, random_labels : list of Path
        A CSV file each run, with a row for each volume: 100 patches, first column
        first, 1 where it flickered; or -1 all over for rest.
    mask : Path
        NIfTI image of the voxels to take.
    """

    figure_scans: list[Path]
    figure_labels: list[Path]
    random_scans: list[Path]
    random_labels: list[Path]
    mask: Path


@dataclass(frozen=True)
class HaxbyFiles:
    """The files of a subject of Haxby et al. (2001).

    Attributes
    ----------
    scans : Path
        NIfTI image of all runs.
    labels : Path
        Text with the columns ``labels`` and ``chunks``, which are the runs, and a row
        for each volume; the label ``rest`` is between blocks.
    mask : Path
        NIfTI image of the voxels to take.
    """

    scans: Path
    labels: Path
    mask: Path


def fetch_miyawaki() -> MiyawakiFiles:
    """Fetch the scans of Miyawaki et al. (2008), 153 MB, unless they are there.

    Raises
    ------
    PipelineError
        If nilearn is not installed, or cannot fetch them.

    References
    ----------
    Miyawaki et al. (2008), Neuron 60, 915-929.
    """
    found = _fetch("miyawaki2008", "fetch_miyawaki2008")
    scans, labels = list(map(Path, found.func)), list(map(Path, found.label))
    return MiyawakiFiles(  # nilearn has the 12 runs of figures first
        scans[:12], labels[:12], scans[12:], labels[12:], Path(found.mask)
    )


def fetch_haxby() -> HaxbyFiles:
    """Fetch the scans of subject 2 of Haxby et al. (2001), 300 MB, likewise.

    The mask is that of the ventral temporal cortex.

    Raises
    ------
    PipelineError
        If nilearn is not installed, or cannot fetch them.

    References
    ----------
    Haxby et al. (2001), Science 293, 2425-2430.
    """
    found = _fetch("haxby", "fetch_haxby", subjects=[2])
    return HaxbyFiles(
        Path(found.func[0]), Path(found.session_target[0]), Path(found.mask_vt[0])
    )


def read_miyawaki(
    figure_scans: Sequence[PathLike[str]],
    figure_labels: Sequence[PathLike[str]],
    random_scans: Sequence[PathLike[str]],
    random_labels: Sequence[PathLike[str]],
    mask: PathLike[str],
    *,
    delay: int,
) -> Trials:
    """Make trials of the scans of Miyawaki et al. (2008).

    Parameters
    ----------
    figure_scans, figure_labels, random_scans, random_labels, mask : path-like
        As in `MiyawakiFiles`.
    delay : int
        Volumes by which responses lag.

    Returns
    -------
    Trials
        Letters and shapes are classes, which their numbers name; random images have
        none.

    Raises
    ------
    PipelineError
        If a file is not as described.
    """
    import numpy as np

    is_in_mask = _read_mask(mask)
    patterns, images, runs = [], [], []
    files = [*zip(figure_scans, figure_labels, strict=True)]
    files += zip(random_scans, random_labels, strict=True)
    n_figures = 0
    for run, (scans_path, labels_path) in enumerate(files):
        seen = _read_patches(labels_path)
        scans = standardise(_read_scans(scans_path, is_in_mask, n_volumes=len(seen)))
        averages, blocks = average_blocks(scans, seen, delay=delay)
        is_stimulus = seen[blocks, 0] >= 0
        patterns.append(averages[is_stimulus])
        images.append(seen[blocks[is_stimulus]])
        runs.append(np.full(is_stimulus.sum(), run))
        if run < len(figure_scans):
            n_figures += int(is_stimulus.sum())
    shown = np.concatenate(images)
    figures, labels = np.unique(shown[:n_figures], axis=0, return_inverse=True)
    n_random = len(shown) - n_figures
    stimuli = Stimuli(
        images=_by_rows(shown),
        labels=np.concatenate([labels.reshape(-1), np.full(n_random, -1)]),
        runs=np.concatenate(runs),
        shape=_MIYAWAKI_SHAPE,
        classes=tuple(str(n + 1) for n in range(len(figures))),
    )
    return Trials(np.concatenate(patterns), _checked(stimuli, fspath(mask)))


def read_haxby(
    scans: PathLike[str], labels: PathLike[str], mask: PathLike[str], *, delay: int
) -> Trials:
    """Make trials of the scans of Haxby et al. (2001).

    Parameters
    ----------
    scans, labels, mask : path-like
        As in `HaxbyFiles`.
    delay : int
        Volumes by which responses lag.

    Returns
    -------
    Trials
        Without images: only what kind of thing was seen is known.

    Raises
    ------
    PipelineError
        If a file is not as described.
    """
    import numpy as np

    names, chunks = _read_labels(labels)
    measured = _read_scans(scans, _read_mask(mask), n_volumes=len(names))
    classes = tuple(sorted(set(names) - {"rest"}))
    codes = np.array([classes.index(n) if n != "rest" else -1 for n in names], int)
    patterns, found, runs = [], [], []
    for run in np.unique(chunks):
        in_run = chunks == run
        averages, blocks = average_blocks(
            standardise(measured[in_run]), codes[in_run][:, None], delay=delay
        )
        is_stimulus = codes[in_run][blocks] >= 0
        patterns.append(averages[is_stimulus])
        found.append(codes[in_run][blocks[is_stimulus]])
        runs.append(np.full(is_stimulus.sum(), run))
    shown = np.concatenate(found)
    stimuli = Stimuli(
        images=np.empty((len(shown), 0)),
        labels=shown,
        runs=np.concatenate(runs),
        shape=(0, 0),
        classes=classes,
    )
    return Trials(np.concatenate(patterns), _checked(stimuli, fspath(labels)))


def standardise(scans: NDArray[Any]) -> NDArray[Any]:
    """Take from each voxel of a run its linear trend, and scale it to unit variance.

    Parameters
    ----------
    scans : ndarray, shape (n_volumes, n_voxels)
        One run. Voxels that do not vary become 0.
    """
    import numpy as np
    from scipy.signal import detrend

    flat: NDArray[Any] = detrend(scans, axis=0)
    spread = flat.std(axis=0)
    # What the rounding leaves of a constant voxel must not be scaled to noise.
    varies = spread > 1e-5 * (np.abs(scans).max(axis=0) + 1e-12)
    return np.where(varies, flat / np.where(varies, spread, 1.0), 0.0)


def average_blocks(
    scans: NDArray[Any], seen: NDArray[Any], *, delay: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Average the volumes of each block, later by what the response lags.

    Parameters
    ----------
    scans : ndarray, shape (n_volumes, n_voxels)
        One run.
    seen : ndarray, shape (n_volumes, n)
        What was shown; equal rows that follow each other are a block.
    delay : int
        Volumes by which responses lag.

    Returns
    -------
    averages : ndarray, shape (n_blocks, n_voxels)
        A block whose response the run has not measured is left out.
    begins : ndarray of int, shape (n_blocks,)
        The first volume of each block, without the delay.
    """
    import numpy as np

    # "a a b b" -> 0 2, and 4 for the end
    changes = np.flatnonzero((seen[1:] != seen[:-1]).any(axis=1)) + 1
    edges = np.concatenate([[0], changes, [len(seen)]])
    begins = edges[:-1][edges[:-1] + delay < len(scans)]
    ends = edges[1:][: len(begins)] + delay
    averages = [
        scans[begin + delay : end].mean(axis=0)
        for begin, end in zip(begins, ends, strict=True)
    ]
    return np.stack(averages), begins


def _fetch(data: str, name: str, **given: Any) -> Any:
    if find_spec("nilearn") is None:
        raise PipelineError(
            f"--data {data} needs nilearn, which is not installed; "
            "get it with: python -m pip install nilearn"
        )
    fetch = getattr(import_module("nilearn.datasets"), name)
    try:
        return fetch(**given, verbose=0)
    except Exception as error:  # nilearn raises plain Exception, too
        reason = str(error).partition("\n")[0][:200]
        raise PipelineError(
            f"the scans of {data} could not be fetched ({reason}); nilearn takes them "
            "from the network, or from the folder that $NILEARN_DATA names"
        ) from error


def _read_mask(path: PathLike[str]) -> NDArray[np.bool_]:
    import numpy as np

    mask = np.asarray(_open_image(path).dataobj)
    if mask.ndim == 4 and mask.shape[3] == 1:
        mask = mask[..., 0]
    if mask.ndim != 3 or not mask.any():
        raise PipelineError(f"{fspath(path)} is no mask: it needs 3 axes, and a voxel")
    is_in_mask: NDArray[np.bool_] = mask > 0
    return is_in_mask


def _read_scans(
    path: PathLike[str], is_in_mask: NDArray[np.bool_], *, n_volumes: int
) -> NDArray[np.float32]:
    """Read the voxels of a mask: volumes by voxels."""
    import numpy as np

    image = _open_image(path)
    if image.shape != (*is_in_mask.shape, n_volumes):
        raise PipelineError(
            f"{fspath(path)} has the shape {image.shape}, and its mask and labels "
            f"{(*is_in_mask.shape, n_volumes)}: they do not belong together"
        )
    voxels = np.asarray(image.dataobj, np.float32)[is_in_mask]
    return np.ascontiguousarray(voxels.T)


def _open_image(path: PathLike[str]) -> Any:
    nibabel = import_module("nibabel")  # comes with nilearn
    try:
        return nibabel.load(fspath(path))
    except nibabel.filebasedimages.ImageFileError as error:
        raise PipelineError(f"{fspath(path)} is no NIfTI image: {error}") from error


def _read_patches(path: PathLike[str]) -> NDArray[np.float64]:
    import numpy as np

    n_patches = _MIYAWAKI_SHAPE[0] * _MIYAWAKI_SHAPE[1]
    try:
        seen = np.loadtxt(fspath(path), delimiter=",", ndmin=2)
    except ValueError as error:
        raise PipelineError(
            f"{fspath(path)} is no table of numbers: {error}"
        ) from error
    if seen.shape[1] != n_patches:
        raise PipelineError(
            f"{fspath(path)} has {seen.shape[1]} columns; it needs {n_patches}"
        )
    return seen


def _by_rows(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reorder pixels from column after column, as the files have them."""
    import numpy as np

    turned = images.reshape(-1, *_MIYAWAKI_SHAPE).transpose(0, 2, 1)
    return np.ascontiguousarray(turned).reshape(len(images), -1)


def _read_labels(path: PathLike[str]) -> tuple[list[str], NDArray[np.int64]]:
    import numpy as np

    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=" "))
    try:
        return [row["labels"] for row in rows], np.array(
            [int(row["chunks"]) for row in rows]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"{fspath(path)} has not the columns labels and chunks, which are runs"
        ) from error


def _checked(stimuli: Stimuli, path: str) -> Stimuli:
    """Return the stimuli if there is something to tell apart."""
    if len(stimuli.classes) < 2:
        raise PipelineError(
            f"the labels that belong to {path} name {len(stimuli.classes)} classes, "
            "and there is nothing to tell apart: are they all of the experiment?"
        )
    return stimuli
