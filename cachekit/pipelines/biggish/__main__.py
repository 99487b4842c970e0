"""The biggish pipeline on one screen, and its command.

::

    stream_records ─┬─► running_moments
                    ├─► compare_distances
                    ├─► project_records ─┬─► find_directions ─┬─► place_groups
                    │                    └─► find_centres ────┘
                    └─► hash_notes ────────► learn_topics

`stream_records`, `project_records` and `hash_notes` are cached generators. What learns
from one is cached as well and goes through it by itself: what was learned before reads
nothing. There is no `Parallel` here, since two passes at once take twice the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from cachekit.errors import PipelineError
from cachekit.experiments import Run
from cachekit.memoization import Memory
from cachekit.pipelines.biggish import checks, const, data, model, reduction, report
from cachekit.pipelines.biggish.passes import MB
from cachekit.pipelines.command import list_parameters, pipeline_options, running
from cachekit.pipelines.files import write_file, write_table
from cachekit.pipelines.parameters import Parameters


@dataclass(frozen=True)
class Result:
    """What a run found, and where it wrote it.

    Attributes
    ----------
    found : Found
        What was learned.
    checks : list of Check
        What was found beside what is true.
    data_mb : float
        Size of the features, in MB.
    added_mb, peak_mb : float
        What the passes have added to the memory of the process, and the most that it
        held in a pass, its libraries included.
    paths : list of Path
        The files written.
    """

    found: model.Found
    checks: list[checks.Check]
    data_mb: float
    added_mb: float
    peak_mb: float
    paths: list[Path]


def run(parameters: Parameters, *, memory: Memory, output: Path) -> Result:
    """Learn from a stream of records, and write what was found.

    Parameters
    ----------
    parameters : Parameters
        Those of `const`.
    memory : Memory
        Where results are kept, and the streams, which take more than the data does.
    output : Path
        Folder for the files; made if needed.

    Returns
    -------
    Result

    Raises
    ------
    PipelineError
        If the parameters do not go together.
    OSError
        If the files cannot be written.
    """
    _check_sizes(parameters)
    output.mkdir(parents=True, exist_ok=True)  # now, rather than after the passes
    streams = _begin(parameters, memory)
    found = _learn(streams, parameters, memory)
    judged = checks.judge(
        streams,
        found,
        distortion=parameters.DISTORTION,
        budget_mb=parameters.BUDGET_MB,
        max_standard_errors=parameters.MAX_STANDARD_ERRORS,
        max_angle=parameters.MAX_ANGLE_DEGREES,
        max_centre_error=parameters.MAX_CENTRE_ERROR,
        max_accuracy_loss=parameters.MAX_ACCURACY_LOSS,
    )
    table = output / "biggish.csv"
    rows = [(one.name, one.found, one.limit, one.is_met) for one in judged]
    write_table(table, ["result", "found", "at_most", "is_right"], rows)
    figures = _draw(streams, found, parameters, memory)
    for name, figure in figures.items():
        write_file(output / name, figure)
    return Result(
        found=found,
        checks=judged,
        data_mb=_data_mb(parameters),
        added_mb=checks.memory_added(found.memory),
        peak_mb=max(float(readings.max()) for readings in found.memory.values()),
        paths=[table, *(output / name for name in figures)],
    )


def _begin(parameters: Parameters, memory: Memory) -> reduction.Streams:
    # Cached although it is quick: its last digits may differ between machines, and
    # with them the keys of half a gigabyte.
    truth = memory.cache(data.make_truth)(
        n_features=parameters.N_FEATURES,
        n_groups=parameters.N_GROUPS,
        n_directions=parameters.N_DIRECTIONS,
        radius=parameters.RADIUS,
        spread=parameters.SPREAD,
        noise=parameters.NOISE,
        seed=parameters.SEED,
    )
    wording = data.Wording(
        n_topics=parameters.N_TOPICS,
        words_per_note=parameters.WORDS_PER_NOTE,
        topic_share=parameters.TOPIC_SHARE,
        n_topic_words=parameters.N_TOPIC_WORDS,
        n_common_words=parameters.N_COMMON_WORDS,
    )
    projection = memory.cache(reduction.make_projection)(
        n_features=parameters.N_FEATURES,
        n_components=parameters.N_COMPONENTS,
        seed=parameters.SEED,
    )
    records = partial(
        memory.cache(data.stream_records),
        truth,
        wording,
        n_chunks=parameters.N_CHUNKS,
        chunk_rows=parameters.CHUNK_ROWS,
        seed=parameters.SEED,
    )
    projected = partial(memory.cache(reduction.project_records), records, projection)
    notes = partial(
        memory.cache(reduction.hash_notes), records, n_buckets=parameters.N_BUCKETS
    )
    return reduction.Streams(truth, wording, projection, records, projected, notes)


def _learn(
    streams: reduction.Streams, parameters: Parameters, memory: Memory
) -> model.Found:
    n_chunks, seed = parameters.N_CHUNKS, parameters.SEED
    return model.Found(
        moments=memory.cache(model.running_moments)(streams.records, n_chunks=n_chunks),
        directions=memory.cache(model.find_directions)(
            streams.projected,
            n_chunks=n_chunks,
            n_directions=parameters.N_DIRECTIONS,
        ),
        centres=memory.cache(model.find_centres)(
            streams.projected,
            n_chunks=n_chunks,
            n_groups=parameters.N_GROUPS,
            n_starts=parameters.N_STARTS,
            seed=seed,
        ),
        lessons=memory.cache(model.learn_topics)(
            streams.notes,
            n_chunks=n_chunks,
            n_topics=parameters.N_TOPICS,
            n_test_chunks=parameters.N_TEST_CHUNKS,
            penalty=parameters.PENALTY,
            seed=seed,
        ),
        ratios=memory.cache(model.compare_distances)(
            streams.records, streams.projection, n_points=parameters.N_POINTS
        ),
    )


def _draw(
    streams: reduction.Streams,
    found: model.Found,
    parameters: Parameters,
    memory: Memory,
) -> dict[str, bytes]:
    dpi = parameters.FIGURE_DPI
    # All that is computed for a figure is cached: the last digits of a product of
    # matrices can differ from run to run, and the figure would be drawn again.
    places = memory.cache(model.place_groups)(
        streams.projected,
        found.directions.mean,
        found.directions.directions,
        found.centres.centres,
        streams.truth.centres,
        streams.projection,
        n_points=parameters.N_PLOTTED,
    )
    return {
        "biggish_memory.png": memory.cache(report.draw_memory)(
            found.memory,
            data_mb=_data_mb(parameters),
            budget_mb=parameters.BUDGET_MB,
            dpi=dpi,
        ),
        "biggish_groups.png": memory.cache(report.draw_groups)(places, dpi=dpi),
        "biggish_topics.png": memory.cache(report.draw_lessons)(
            found.lessons.n_seen,
            found.lessons.accuracy,
            best=data.best_accuracy(streams.wording),
            by_chance=1 / parameters.N_TOPICS,
            dpi=dpi,
        ),
        "biggish_distances.png": memory.cache(report.draw_distances)(
            found.ratios,
            n_components=parameters.N_COMPONENTS,
            n_features=parameters.N_FEATURES,
            distortion=parameters.DISTORTION,
            beyond=checks.share_beyond(found.ratios, parameters.DISTORTION),
            bound=checks.share_bound(parameters.N_COMPONENTS, parameters.DISTORTION),
            dpi=dpi,
        ),
    }


def _check_sizes(parameters: Parameters) -> None:
    """Refuse numbers that do not go together.

    Raises
    ------
    PipelineError
        If two of them do not.
    """
    for smaller, larger in (
        ("N_COMPONENTS", "N_FEATURES"),
        ("N_DIRECTIONS", "N_COMPONENTS"),
        ("N_DIRECTIONS", "CHUNK_ROWS"),
        ("N_TEST_CHUNKS", "N_CHUNKS"),
    ):
        low, high = parameters[smaller], parameters[larger]
        if low > high or (low == high and smaller == "N_TEST_CHUNKS"):
            raise PipelineError(
                f"{smaller}={low} and {larger}={high} do not go together: set "
                f"{smaller} lower or {larger} higher"
            )


def _data_mb(parameters: Parameters) -> float:
    n_rows = parameters.N_CHUNKS * parameters.CHUNK_ROWS
    return float(n_rows * parameters.N_FEATURES * 4 / MB)  # four bytes: float32


@click.command("biggish", epilog=list_parameters(const))
@pipeline_options(const)
def main(parameters: Parameters, memory: Memory, output: Path) -> None:
    """Learn from more data than may be in memory, chunk by chunk.

    Streams simulated records through means and variances, random projection, principal
    directions, k-means and a classifier of text, and holds each result, and the memory
    it took, against what it should be. The records are kept in the store: by default
    some 620 MB. Every step is cached: a second run reads none of them.
    """
    with running("biggish", parameters, memory, needs=("matplotlib", "sklearn")) as log:
        result = run(parameters, memory=memory, output=output)
        _log(result, parameters, log)
        report.print_checks(result.checks)
        report.echo_memory(
            data_mb=result.data_mb,
            budget_mb=parameters.BUDGET_MB,
            peak_mb=result.peak_mb,
        )
        _check_budget(result, parameters)


def _check_budget(result: Result, parameters: Parameters) -> None:
    # At the end, and here: what was computed is right, and a notebook may not care.
    if result.added_mb > parameters.BUDGET_MB:
        raise PipelineError(
            f"the passes have added {result.added_mb:.0f} MB to the memory of the "
            f"process, and the budget is {parameters.BUDGET_MB:g} MB: make the chunks "
            f"smaller with --set CHUNK_ROWS={max(64, parameters.CHUNK_ROWS // 2)}, or "
            "the budget larger with --set BUDGET_MB"
        )


def _log(result: Result, parameters: Parameters, log: Run) -> None:
    for check in result.checks:
        log.log_metric(check.name, check.found)
    log.log_metric("test_accuracy", float(result.found.lessons.accuracy[-1]))
    log.log_metric("peak_memory_mb", result.peak_mb)
    n_test = parameters.N_TEST_CHUNKS * parameters.CHUNK_ROWS
    log.log_dataset(
        "records",
        source=f"simulated by cachekit.pipelines.biggish.data, seed {parameters.SEED}",
        split=f"topics: the first {n_test:,} notes are for the test only",
        rows=parameters.N_CHUNKS * parameters.CHUNK_ROWS,
        features=parameters.N_FEATURES,
        groups=parameters.N_GROUPS,
        topics=parameters.N_TOPICS,
        megabytes=result.data_mb,
        largest_mean=float(abs(result.found.moments.mean).max()),
        largest_variance=float(result.found.moments.variance.max()),
    )
    for path in result.paths:
        log.log_artifact(path)


if __name__ == "__main__":
    main()
