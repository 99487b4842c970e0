"""The outliers pipeline on one screen, and its command.

::

    load_table ─┬─► score_detector, once a detector and draw ─► curves, spread, a table
                └─► lay_plane ─► map_plane, once a detector ──► regions

The functions know nothing of the cache. They become cached calls here, where they
meet, and get every hyper-parameter from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import click

from cachekit.experiments import Run
from cachekit.memoization import Memory
from cachekit.parallel import Parallel, delayed
from cachekit.pipelines.command import list_parameters, pipeline_options, running
from cachekit.pipelines.files import write_file, write_table
from cachekit.pipelines.outliers import const, data, detectors, model, report
from cachekit.pipelines.outliers.model import Detector, Score
from cachekit.pipelines.parameters import Parameters


@dataclass(frozen=True)
class Result:
    """What a run found, and where it wrote it.

    Attributes
    ----------
    table : Table
        The data.
    scores : dict of str to list of Score
        Of each draw, by detector.
    paths : list of Path
        The files written.
    """

    table: data.Table
    scores: dict[str, list[Score]]
    paths: list[Path]


def run(parameters: Parameters, *, memory: Memory, output: Path) -> Result:
    """Compare detectors of outliers, and write what was found.

    Parameters
    ----------
    parameters : Parameters
        Those of `const`.
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
        If there is no detector, or the data has too few outliers for their share.
    OSError
        If the files cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)  # now, rather than after the work
    table = memory.cache(data.load_table)(parameters.DATA)
    compared = _choose(parameters)
    scores = _score(compared, table, parameters, memory)
    rows = [
        (name, parameters.SEED + number, score.roc_auc, score.average_precision)
        for name, some in scores.items()
        for number, score in enumerate(some)
    ]
    csv_path = output / "outliers.csv"
    write_table(csv_path, ["detector", "seed", "roc_auc", "average_precision"], rows)
    figures = {
        "outliers_regions.png": _draw_regions(compared, table, parameters, memory),
        "outliers_roc.png": memory.cache(report.draw_curves)(
            scores, dpi=parameters.FIGURE_DPI
        ),
        "outliers_spread.png": memory.cache(report.draw_spread)(
            scores, contamination=parameters.CONTAMINATION, dpi=parameters.FIGURE_DPI
        ),
    }
    for name, figure in figures.items():
        write_file(output / name, figure)
    return Result(table, scores, [csv_path, *(output / name for name in figures)])


def _choose(parameters: Parameters) -> dict[str, Detector]:
    """Return the detectors to compare, with their settings, in the order given."""
    known: dict[str, Detector] = {
        "isolation forest": partial(
            detectors.isolation_forest, n_trees=parameters.N_TREES
        ),
        "one-class SVM": partial(detectors.one_class_svm, nu=parameters.NU),
        "robust covariance": detectors.robust_covariance,
        "local outlier factor": partial(
            detectors.local_outlier_factor, n_neighbours=parameters.N_NEIGHBOURS
        ),
        "plain covariance": detectors.plain_covariance,
    }
    return {name: known[name] for name in parameters.DETECTORS}


def _score(
    compared: Mapping[str, Detector],
    table: data.Table,
    parameters: Parameters,
    memory: Memory,
) -> dict[str, list[Score]]:
    """Score each detector on each draw."""
    score = memory.cache(model.score_detector)
    seeds = range(parameters.SEED, parameters.SEED + parameters.N_DRAWS)
    tasks = [
        delayed(score)(
            detector, table, contamination=parameters.CONTAMINATION, seed=seed
        )
        for detector in compared.values()
        for seed in seeds
    ]
    # A list, whose length the progress bar knows.
    scores = iter(Parallel(n_jobs=parameters.N_JOBS, progress=True)(tasks))
    return {name: [next(scores) for _ in seeds] for name in compared}


def _draw_regions(
    compared: Mapping[str, Detector],
    table: data.Table,
    parameters: Parameters,
    memory: Memory,
) -> bytes:
    plane = memory.cache(model.lay_plane)(
        table,
        contamination=parameters.CONTAMINATION,
        seed=parameters.SEED,
        n_grid=parameters.N_GRID,
    )
    map_plane = memory.cache(model.map_plane)
    maps = Parallel(n_jobs=parameters.N_JOBS)(
        delayed(map_plane)(detector, plane, seed=parameters.SEED)
        for detector in compared.values()
    )
    return memory.cache(report.draw_regions)(
        dict(zip(compared, maps, strict=True)),
        plane,
        contamination=parameters.CONTAMINATION,
        n_columns=parameters.FIGURE_COLUMNS,
        dpi=parameters.FIGURE_DPI,
    )


@click.command("outliers", epilog=list_parameters(const))
@pipeline_options(const)
def main(parameters: Parameters, memory: Memory, output: Path) -> None:
    """Compare ways to find outliers that nobody has marked.

    Scores each detector on many draws of rows with a few outliers among them, and
    writes the scores, ROC curves, and maps of what each takes for odd. Every score is
    cached: one more detector, or one more draw, computes only that.
    """
    with running(
        "outliers", parameters, memory, needs=("matplotlib", "sklearn")
    ) as log:
        result = run(parameters, memory=memory, output=output)
        _log(result, parameters, log)
        report.print_scores(
            result.scores,
            title=f"{parameters.DATA}: means and deviations of "
            f"{parameters.N_DRAWS} draws",
            contamination=parameters.CONTAMINATION,
        )


def _log(result: Result, parameters: Parameters, log: Run) -> None:
    for name, some in result.scores.items():
        for measure in ("roc_auc", "average_precision"):
            values = [getattr(score, measure) for score in some]
            log.log_metric(f"{name}: {measure}", mean(values))
            log.log_metric(f"{name}: {measure}, deviation", stdev(values))
    n_rows, n_features = result.table.features.shape
    log.log_dataset(
        parameters.DATA,
        source=result.table.source,
        split=f"{parameters.N_DRAWS} draws: half of the usual rows to learn from, half "
        f"to test on, {parameters.CONTAMINATION:g} outliers in both",
        rows=n_rows,
        features=n_features,
        outliers=int(result.table.is_outlier.sum()),
    )
    for path in result.paths:
        log.log_artifact(path)


if __name__ == "__main__":
    main()
