"""The decoding pipeline on one screen, and its command.

::

    load_stimuli, make_voxels -> respond -> simulate_run -> estimate_responses, each run
    read_miyawaki or read_haxby ------------------------------------.  |
                                                                    v  v
    draw_images    <- reconstruct_fold, each fold <------------------ trials
    draw_accuracy  <- classify_fold, each fold; permuted_accuracy <--'

The functions know nothing of the cache. They become cached calls here, where they
meet, and get every hyper-parameter from here.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cachekit.memoization import File, Memory
from cachekit.parallel import Parallel, delayed
from cachekit.pipelines.command import list_parameters, pipeline_options, running
from cachekit.pipelines.decoding import const, report, scans
from cachekit.pipelines.decoding.data import Trials, assign_folds, load_stimuli
from cachekit.pipelines.decoding.encoding import (
    make_voxels,
    respond,
    simulate_run,
    time_stimuli,
)
from cachekit.pipelines.decoding.model import (
    Reconstruction,
    classify_fold,
    estimate_responses,
    permuted_accuracy,
    reconstruct_fold,
)
from cachekit.pipelines.decoding.scores import (
    FoldScore,
    confusion_shares,
    p_value,
    score_fold,
)
from cachekit.pipelines.files import write_file, write_table
from cachekit.pipelines.parameters import Parameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SOURCES = {
    "digits": "scikit-learn's handwritten digits, through simulated voxels",
    "miyawaki2008": "Miyawaki et al. (2008), Neuron 60, by nilearn",
    "haxby": "Haxby et al. (2001), Science 293, subject 2, by nilearn",
}


@dataclass(frozen=True)
class Result:
    """What was read from the scans, and where it was written.

    Attributes
    ----------
    trials : Trials
        What was shown, and the responses to it.
    folds, predicted : ndarray of int, shape (n_trials,)
        In which fold each trial was tested, and as which class; -1 if in none.
    drawings : list of Reconstruction or None
        Of each fold; None if it is not known what the images were.
    scores : list of FoldScore
        Of each fold.
    accuracy, p : float
        Share of trials whose class is right, and how probable as many are by chance.
    chance_scores : list of float
        Accuracies for shuffled labels.
    paths : tuple of Path
        The files.
    """

    trials: Trials
    folds: NDArray[np.int64]
    predicted: NDArray[np.int64]
    drawings: list[Reconstruction] | None
    scores: list[FoldScore]
    accuracy: float
    p: float
    chance_scores: list[float]
    paths: tuple[Path, ...] = ()


def run(
    parameters: Parameters, *, memory: Memory, output: Path, data: str = "digits"
) -> Result:
    """Read class and image from scans, and write tables and figures.

    Parameters
    ----------
    parameters : Parameters
        As in `const`.
    memory : Memory
        Where results are kept.
    output : Path
        Folder for the files; made if needed.
    data : {"digits", "miyawaki2008", "haxby"}
        Which scans.

    Returns
    -------
    Result

    Raises
    ------
    PipelineError
        If there are too few runs for the folds, or the scans cannot be had.
    OSError
        If the files cannot be written.
    """
    import numpy as np

    p, trials = parameters, _LOADERS[data](parameters, memory)
    stimuli = trials.stimuli
    folds = assign_folds(stimuli.labels, stimuli.runs, n_folds=p.N_FOLDS)
    predicted = _classify(trials, folds, p, memory)
    chance_scores = _classify_shuffled(trials, folds, p, memory)
    drawings = _reconstruct(trials, folds, p, memory) if stimuli.shape[0] else None

    tests = [folds == fold for fold in range(p.N_FOLDS)]
    accuracy = float(np.mean((predicted == stimuli.labels)[folds >= 0]))
    result = Result(
        trials=trials,
        folds=folds,
        predicted=predicted,
        drawings=drawings,
        scores=[
            score_fold(
                stimuli.labels[test],
                predicted[test],
                stimuli.images[test],
                None if drawings is None else drawings[fold],
            )
            for fold, test in enumerate(tests)
        ],
        accuracy=accuracy,
        p=p_value(accuracy, chance_scores),
        chance_scores=chance_scores,
    )
    return replace(result, paths=_write(result, p, memory, output))


def _simulate(p: Parameters, memory: Memory) -> Trials:
    """Show digits to simulated voxels, and estimate their responses, run by run."""
    import numpy as np

    # The second number of a seed keeps the random numbers of the steps apart.
    stimuli = memory.cache(load_stimuli)(
        trials_per_digit=p.TRIALS_PER_DIGIT, n_runs=p.N_RUNS, seed=(p.SEED, 0)
    )
    voxels = memory.cache(make_voxels)(
        shape=stimuli.shape,
        n_voxels=p.N_VOXELS,
        kind=p.RECEPTIVE_FIELDS,
        sizes=p.FIELD_SIZES,
        latency_sd=p.LATENCY_SD,
        seed=(p.SEED, 1),
    )
    responses = memory.cache(respond)(
        stimuli.images, voxels.filters, exponent=p.EXPONENT, amplitude=p.AMPLITUDE
    )
    in_runs = [np.flatnonzero(stimuli.runs == run) for run in range(p.N_RUNS)]
    onsets = [
        time_stimuli(len(trials), gaps=p.GAPS_SECONDS, seed=(p.SEED, 2, run))
        for run, trials in enumerate(in_runs)
    ]
    measured = Parallel(n_jobs=p.N_JOBS)(
        delayed(memory.cache(simulate_run))(
            responses[trials],
            onsets[run],
            voxels.latencies,
            duration=p.STIMULUS_SECONDS,
            repetition_time=p.REPETITION_SECONDS,
            noise_sd=p.NOISE_SD,
            autocorrelation=p.AUTOCORRELATION,
            drift=p.DRIFT,
            seed=(p.SEED, 3, run),
        )
        for run, trials in enumerate(in_runs)
    )
    estimates = Parallel(n_jobs=p.N_JOBS)(
        delayed(memory.cache(estimate_responses))(
            measured[run],
            onsets[run],
            duration=p.STIMULUS_SECONDS,
            repetition_time=p.REPETITION_SECONDS,
            high_pass=p.HIGH_PASS_SECONDS,
        )
        for run in range(p.N_RUNS)
    )
    return Trials(np.concatenate(estimates), stimuli)


def _scan_miyawaki(p: Parameters, memory: Memory) -> Trials:
    # A `File` counts by its content: scans that are fetched anew are no new scans.
    found = scans.fetch_miyawaki()
    trials: Trials = memory.cache(scans.read_miyawaki)(
        [File(path) for path in found.figure_scans],
        [File(path) for path in found.figure_labels],
        [File(path) for path in found.random_scans],
        [File(path) for path in found.random_labels],
        File(found.mask),
        delay=p.DELAY_VOLUMES,
    )
    return trials


def _scan_haxby(p: Parameters, memory: Memory) -> Trials:
    found = scans.fetch_haxby()
    trials: Trials = memory.cache(scans.read_haxby)(
        File(found.scans), File(found.labels), File(found.mask), delay=p.DELAY_VOLUMES
    )
    return trials


_LOADERS = {
    "digits": _simulate,
    "miyawaki2008": _scan_miyawaki,
    "haxby": _scan_haxby,
}


def _classify(
    trials: Trials, folds: NDArray[np.int64], p: Parameters, memory: Memory
) -> NDArray[np.int64]:
    import numpy as np

    found = Parallel(n_jobs=p.N_JOBS)(
        delayed(memory.cache(classify_fold))(
            trials.patterns, trials.stimuli.labels, folds, fold=fold, c=p.CLASSIFIER_C
        )
        for fold in range(p.N_FOLDS)
    )
    predicted = np.full(len(folds), -1)
    for fold, labels in enumerate(found):
        predicted[folds == fold] = labels
    return predicted


def _classify_shuffled(
    trials: Trials, folds: NDArray[np.int64], p: Parameters, memory: Memory
) -> list[float]:
    scores: list[float] = Parallel(n_jobs=p.N_JOBS, progress=True)(
        [  # a list, so that the progress bar knows how many
            delayed(memory.cache(permuted_accuracy))(
                trials.patterns,
                trials.stimuli.labels,
                trials.stimuli.runs,
                folds,
                c=p.CLASSIFIER_C,
                seed=(p.SEED, 4, number),
            )
            for number in range(p.N_PERMUTATIONS)
        ]
    )
    return scores


def _reconstruct(
    trials: Trials, folds: NDArray[np.int64], p: Parameters, memory: Memory
) -> list[Reconstruction]:
    drawings: list[Reconstruction] = Parallel(n_jobs=p.N_JOBS)(
        delayed(memory.cache(reconstruct_fold))(
            trials.patterns,
            trials.stimuli.images,
            trials.stimuli.labels,
            folds,
            fold=fold,
            penalties=p.RIDGE_PENALTIES,
        )
        for fold in range(p.N_FOLDS)
    )
    return drawings


def _write(
    result: Result, p: Parameters, memory: Memory, output: Path
) -> tuple[Path, ...]:
    """Write tables and figures, and return where they are."""
    import numpy as np

    stimuli, folds, predicted = result.trials.stimuli, result.folds, result.predicted
    paths = [output / "decoding_scores.csv", output / "decoding_predictions.csv"]
    correlations = np.full(len(folds), np.nan)
    for fold, score in enumerate(result.scores):
        correlations[folds == fold] = score.correlations
    rows = report.prediction_rows(stimuli, folds, predicted, correlations)
    write_table(paths[0], report.SCORES_HEADER, report.score_rows(result.scores))
    write_table(paths[1], report.PREDICTIONS_HEADER, rows)

    paths.append(output / "decoding_accuracy.png")
    confusion = confusion_shares(
        stimuli.labels[folds >= 0],
        predicted[folds >= 0],
        n_classes=len(stimuli.classes),
    )
    figure = memory.cache(report.draw_accuracy)(
        confusion,
        stimuli.classes,
        np.array(result.chance_scores),
        accuracy=result.accuracy,
        dpi=p.FIGURE_DPI,
    )
    write_file(paths[-1], figure)
    if result.drawings is not None:
        paths.append(output / "decoding_images.png")
        drawn = np.zeros_like(stimuli.images)
        for fold, drawing in enumerate(result.drawings):
            drawn[folds == fold] = drawing.images
        figure = memory.cache(report.draw_images)(
            stimuli, drawn, predicted, correlations, dpi=p.FIGURE_DPI
        )
        write_file(paths[-1], figure)
    return tuple(paths)


@click.command("decoding", epilog=list_parameters(const))
@click.option(
    "--data",
    type=click.Choice(list(_SOURCES)),
    default="digits",
    show_default=True,
    help="Which scans: simulated ones of digits, or real ones, which nilearn fetches.",
)
@pipeline_options(const)
def main(parameters: Parameters, memory: Memory, output: Path, data: str) -> None:
    """Read from brain scans what was seen.

    Decodes the class of what was shown and draws its image, cross-validated over runs,
    and compares accuracy with that for shuffled labels. Writes decoding_scores.csv,
    decoding_predictions.csv, decoding_images.png and decoding_accuracy.png.
    """
    needs = ("matplotlib", "scipy", "sklearn")
    with running("decoding", {"data": data, **parameters}, memory, needs=needs) as log:
        result = run(parameters, memory=memory, output=output, data=data)
        stimuli = result.trials.stimuli
        log.log_dataset(
            data,
            source=_SOURCES[data],
            split=f"{parameters.N_FOLDS} folds of whole runs",
            trials=len(stimuli.labels),
            voxels=result.trials.patterns.shape[1],
            pixels=stimuli.images.shape[1],
            runs=len(set(stimuli.runs.tolist())),
            classes=len(stimuli.classes),
        )
        for name, value in report.metrics_of(result.scores).items():
            log.log_metric(name, value)
        log.log_metric("chance_accuracy", statistics.fmean(result.chance_scores))
        log.log_metric("p_value", result.p)
        for path in result.paths:
            log.log_artifact(path)
        title = f"Decoding {data}: {len(stimuli.labels):,} trials"
        report.print_scores(result.scores, title=title)
        report.echo_chance(result.accuracy, result.chance_scores, p=result.p)


if __name__ == "__main__":
    main()
