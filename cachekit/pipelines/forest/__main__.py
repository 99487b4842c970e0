"""The forest pipeline on one screen, and its command.

::

    split_digits -> number_folds -> score_fold, once a candidate and fold -> choose
         |                                                                     |
         '-- held out --> predict, shuffle_pixels  <-- fit, on all folds  <----'

What is held out comes in only at the end, when the choice is made: no argument of
`score_fold` knows of it. The functions know nothing of the cache; they become cached
calls here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cachekit.experiments import Run
from cachekit.memoization import Memory
from cachekit.parallel import Parallel, delayed
from cachekit.pipelines.command import list_parameters, pipeline_options, running
from cachekit.pipelines.files import write_file, write_table
from cachekit.pipelines.forest import const, report
from cachekit.pipelines.forest.data import (
    IMAGE_SHAPE,
    N_DIGITS,
    SOURCE,
    Split,
    number_folds,
    split_digits,
)
from cachekit.pipelines.forest.grid import Candidate, list_candidates
from cachekit.pipelines.forest.model import (
    choose,
    count_confusions,
    fit,
    predict,
    score_fold,
    shuffle_pixels,
    wilson_interval,
)
from cachekit.pipelines.parameters import Parameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PACKAGES = ("matplotlib", "sklearn")


@dataclass(frozen=True)
class Result:
    """What a run found, and where it wrote it.

    Attributes
    ----------
    split : Split
        The data.
    candidates : list of Candidate
        The grid.
    scores : ndarray, shape (n_candidates, n_folds)
        Accuracies in the folds.
    best : list of int
        The best candidate of each kind.
    chosen : int
        The best of all.
    curves : ndarray, shape (n_kinds, n_shares, n_folds)
        Learning curves of the best of each kind.
    confusions : ndarray, shape (10, 10)
        True digits down, seen ones across, of the images held out.
    interval : tuple of float
        Between which the true accuracy is likely to be.
    lost : ndarray, shape (8, 8)
        Accuracy lost when a pixel is shuffled.
    paths : list of Path
        The files written.
    """

    split: Split
    candidates: list[Candidate]
    scores: NDArray[np.float64]
    best: list[int]
    chosen: int
    curves: NDArray[np.float64]
    confusions: NDArray[np.int64]
    interval: tuple[float, float]
    lost: NDArray[np.float64]
    paths: list[Path]

    @property
    def test_accuracy(self) -> float:
        """Share of the images held out that were recognised."""
        return float(self.confusions.trace() / self.confusions.sum())


def run(parameters: Parameters, *, memory: Memory, output: Path) -> Result:
    """Choose a classifier of digits, and judge it on images held out.

    Parameters
    ----------
    parameters : Parameters
        As in `const`.
    memory : Memory
        Where results are kept.
    output : Path
        Folder for the files; made if needed.

    Returns
    -------
    Result

    Raises
    ------
    PipelineError
        If the grid is empty.
    OSError
        If the files cannot be written.
    """
    import numpy as np

    p = parameters
    candidates = list_candidates(p)
    split: Split = memory.cache(split_digits)(
        n_images=p.N_IMAGES, test_share=p.TEST_SHARE, seed=p.SEED
    )
    train = (split.train_images, split.train_labels)
    test = (split.test_images, split.test_labels)
    folds = memory.cache(number_folds)(train[1], n_folds=p.N_FOLDS, seed=p.SEED)
    parallel = Parallel(n_jobs=p.N_JOBS, progress=True)

    # A task for each candidate, share and fold. Each gets its own candidate and no
    # more of the grid, so that another grid leaves its key as it is.
    def score(compared: list[Candidate], shares: tuple[float, ...]) -> NDArray[Any]:
        task = delayed(memory.cache(score_fold))
        accuracies = parallel(
            task(candidate, *train, folds, fold=fold, share=share, seed=p.SEED)
            for candidate in compared
            for share in shares
            for fold in range(p.N_FOLDS)
        )
        return np.array(accuracies).reshape(len(compared), len(shares), p.N_FOLDS)

    scores = score(candidates, (1.0,))[:, 0]
    chosen = choose(scores)
    best = _best_of_each(candidates, scores)
    # What the curve has in common with the grid, the share of 1, is there already.
    curves = score([candidates[i] for i in best], p.LEARNING_SHARES)

    # A reference: the estimator stays in the store until something is to be computed.
    fitted = memory.cache(fit).call_and_shelve(candidates[chosen], *train, seed=p.SEED)
    seen = memory.cache(predict)(fitted, test[0])
    shuffle = delayed(memory.cache(shuffle_pixels))
    lost = parallel(
        shuffle(fitted, *test, seed=p.SEED, number=number)
        for number in range(p.N_SHUFFLES)
    )
    confusions = count_confusions(test[1], seen, n_classes=N_DIGITS)
    result = Result(
        split=split,
        candidates=candidates,
        scores=scores,
        best=best,
        chosen=chosen,
        curves=curves,
        confusions=confusions,
        interval=wilson_interval(
            int(confusions.trace()), int(confusions.sum()), z=p.INTERVAL_Z
        ),
        lost=np.mean(lost, axis=0).reshape(IMAGE_SHAPE),
        paths=[output / name for name in _FILES],
    )
    _write(result, p, memory)
    return result


def _best_of_each(
    candidates: list[Candidate], scores: NDArray[np.float64]
) -> list[int]:
    """Choose among the candidates of each kind."""
    kinds = dict.fromkeys(candidate.kind for candidate in candidates)
    of_kind = (
        [i for i, candidate in enumerate(candidates) if candidate.kind == kind]
        for kind in kinds
    )
    return [places[choose(scores[places])] for places in of_kind]


# --- what is written ---

_FILES = (
    "forest_grid.csv",
    "forest_learning.csv",
    "forest_learning.png",
    "forest_confusions.png",
    "forest_pixels.png",
)


def _write(result: Result, p: Parameters, memory: Memory) -> None:
    import numpy as np

    grid, learning, *figures = result.paths
    kinds = [result.candidates[i].kind for i in result.best]
    n_learned = len(result.split.train_labels) * (1 - 1 / p.N_FOLDS)
    n_images = np.rint(n_learned * np.array(p.LEARNING_SHARES)).astype(int)
    curves = (kinds, n_images, result.curves)

    rows = report.grid_rows(result.candidates, result.scores, result.chosen)
    write_table(grid, report.GRID_HEADER, rows)
    write_table(learning, report.LEARNING_HEADER, report.learning_rows(*curves))
    dpi = p.FIGURE_DPI
    images = (
        memory.cache(report.draw_learning)(*curves, dpi=dpi),
        memory.cache(report.draw_confusions)(
            result.confusions, title=_judgement(result), dpi=dpi
        ),
        memory.cache(report.draw_pixels)(
            result.split.test_images.mean(axis=0).reshape(IMAGE_SHAPE),
            result.lost,
            dpi=dpi,
        ),
    )
    for path, image in zip(figures, images, strict=True):
        write_file(path, image)


def _judgement(result: Result) -> str:
    low, high = result.interval
    return (
        f"{result.test_accuracy:.1%} of {result.confusions.sum()} images held out "
        f"({low:.1%} to {high:.1%})"
    )


# --- the command ---


@click.command("forest", epilog=list_parameters(const))
@pipeline_options(const)
def main(parameters: Parameters, memory: Memory, output: Path) -> None:
    """Choose a classifier for handwritten digits.

    Compares random forests, gradient boosting and support vector machines by
    cross-validation, and judges the best one on images held out. A value more in the
    grid costs that value only: everything else is in the cache.
    """
    with running("forest", parameters, memory, needs=_PACKAGES) as logged:
        result = run(parameters, memory=memory, output=output)
        _log(logged, result)
        report.print_best(result.candidates, result.scores, result.best)
        chosen = result.candidates[result.chosen]
        click.echo(f"Chosen: {chosen.kind}, {report.settings_text(chosen)}")
        click.echo(f"Right: {_judgement(result)}")


def _log(logged: Run, result: Result) -> None:
    split, scores = result.split, result.scores[result.chosen]
    for name, labels in (("train", split.train_labels), ("test", split.test_labels)):
        logged.log_dataset(
            name,
            source=SOURCE,
            split=f"{len(labels)} images, digits as frequent as in the whole; the "
            f"training images in {len(scores)} folds",
            images=len(labels),
            pixels=split.train_images.shape[1],
            digits=N_DIGITS,
        )
    logged.log_metric("folds_accuracy_mean", scores.mean())
    logged.log_metric("folds_accuracy_std", scores.std(ddof=1))
    for i in result.best:
        kind = result.candidates[i].kind
        logged.log_metric(f"{kind}_folds_accuracy", result.scores[i].mean())
    logged.log_metric("test_accuracy", result.test_accuracy)
    logged.log_metric("test_accuracy_low", result.interval[0])
    logged.log_metric("test_accuracy_high", result.interval[1])
    for path in result.paths:
        logged.log_artifact(path)


if __name__ == "__main__":
    main()
