"""More data than memory: what is learned from it, what it takes, what is kept."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cachekit import digest
from cachekit.errors import PipelineError
from cachekit.memoization import Memory
from cachekit.pipelines import PIPELINES
from cachekit.pipelines.biggish import __main__ as biggish
from cachekit.pipelines.biggish import checks, const, data, model, passes, reduction
from cachekit.pipelines.parameters import Parameters, read_parameters
from tests.pipelines.programs import run_again, settings

SMALL: dict[str, Any] = {
    "N_CHUNKS": 12,
    "CHUNK_ROWS": 256,
    "N_FEATURES": 64,
    "N_COMPONENTS": 32,
    "N_BUCKETS": 2**12,
    "N_TOPIC_WORDS": 40,
    "N_COMMON_WORDS": 100,
    "N_TEST_CHUNKS": 2,
    "MAX_ACCURACY_LOSS": 0.05,  # 512 notes tell it to 1 %
    "N_POINTS": 50,
    "N_PLOTTED": 100,
    "FIGURE_DPI": 50,
}
FILES = {
    "biggish.csv",
    "biggish_memory.png",
    "biggish_groups.png",
    "biggish_topics.png",
    "biggish_distances.png",
}

TRUTH = data.make_truth(
    n_features=64,
    n_groups=3,
    n_directions=3,
    radius=30.0,
    spread=6.0,
    noise=1.0,
    seed=1,
)
WORDING = data.Wording(
    n_topics=3,
    words_per_note=5,
    topic_share=0.4,
    n_topic_words=20,
    n_common_words=50,
)
PROJECTION = reduction.make_projection(n_features=64, n_components=32, seed=1)


def small(**given: Any) -> Parameters:
    return read_parameters(const, **{**SMALL, **given})


def records(n_chunks: int = 10) -> Iterator[data.Records]:
    return data.stream_records(
        TRUTH, WORDING, n_chunks=n_chunks, chunk_rows=200, seed=1
    )


def projected() -> Iterator[reduction.Projected]:
    return reduction.project_records(records, PROJECTION)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, biggish.Result]:
    """Return a store that a run has filled, and what the run has found."""
    folder = tmp_path_factory.mktemp("biggish")
    memory = Memory(folder / "store")
    return folder / "store", biggish.run(small(), memory=memory, output=folder / "out")


def computed(
    store: Path, output: Path, **given: Any
) -> tuple[set[str], biggish.Result]:
    """Run with other parameters; return the names of what that computed, and found."""
    memory = Memory(store)
    assert memory.store is not None
    before = {entry.key for entry in memory.store.entries()}
    result = biggish.run(small(**given), memory=memory, output=output)
    new = [entry.key for entry in memory.store.entries() if entry.key not in before]
    assert memory.tally().misses == len(new)
    return {key.function.rpartition(".")[2] for key in new}, result


# --- the pipeline ---


def test_the_pipeline_is_in_the_table_of_the_command_line() -> None:
    assert "biggish" in PIPELINES


def test_a_run_writes_its_files(done: tuple[Path, biggish.Result]) -> None:
    _, result = done

    assert {path.name for path in result.paths} == FILES
    for path in result.paths[1:]:
        assert path.read_bytes().startswith(b"\x89PNG")
    with result.paths[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["result"] for row in rows] == [check.name for check in result.checks]
    assert float(rows[-1]["found"]) == pytest.approx(result.added_mb, rel=1e-5)


def test_all_that_is_found_is_right(done: tuple[Path, biggish.Result]) -> None:
    _, result = done

    assert [check.name for check in result.checks if not check.is_met] == []
    assert len(result.checks) == 7


def test_a_second_run_computes_nothing(
    done: tuple[Path, biggish.Result], tmp_path: Path
) -> None:
    store, first = done
    memory = Memory(store)

    biggish.run(small(), memory=memory, output=tmp_path)

    assert (memory.tally().misses, memory.tally().hits) == (0, 12)
    for path in first.paths:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("given", "names"),
    [
        # What is seen of the report alone.
        ({"BUDGET_MB": 99.0}, {"draw_memory"}),
        ({"MAX_ANGLE_DEGREES": 1.0}, set()),
        ({"N_PLOTTED": 50}, {"place_groups", "draw_groups"}),
        # A late step: neither records nor notes are read again.
        ({"PENALTY": 1e-3}, {"learn_topics", "draw_lessons"}),
        # A step between: a new stream, made of the old one.
        ({"N_BUCKETS": 2**11}, {"hash_notes", "learn_topics", "draw_lessons"}),
        # An early one: all that has to do with the projection.
        (
            {"N_COMPONENTS": 16},
            {
                "make_projection",
                "project_records",
                "find_directions",
                "find_centres",
                "compare_distances",
                "place_groups",
                "draw_groups",
                "draw_distances",
            },
        ),
    ],
)
def test_another_constant_computes_what_depends_on_it(
    done: tuple[Path, biggish.Result],
    tmp_path: Path,
    given: dict[str, Any],
    names: set[str],
) -> None:
    store, before = done
    shutil.copytree(store, tmp_path / "store")

    found, result = computed(tmp_path / "store", tmp_path / "out", **given)

    # What was measured again may be as before, in a process that has been larger.
    if digest(result.found.memory) != digest(before.found.memory):
        names = names | {"draw_memory"}
    assert found == names


def test_results_outlive_the_streams(tmp_path: Path) -> None:
    parameters = small(SEED=7, N_CHUNKS=6)
    memory = Memory(tmp_path / "store")
    biggish.run(parameters, memory=memory, output=tmp_path)
    for stream in (data.stream_records, reduction.project_records):
        memory.cache(stream).clear(warn=False)
    before = memory.tally().misses

    biggish.run(parameters, memory=memory, output=tmp_path)

    assert memory.tally().misses == before


# --- memory ---

RUN = """
import json, sys
from pathlib import Path
from cachekit.memoization import Memory
from cachekit.pipelines.biggish import __main__ as biggish, const, passes
from cachekit.pipelines.parameters import read_parameters
passes.forget_peak = lambda: None  # the peak is then of the whole process
given = json.loads(sys.argv[1])
parameters = read_parameters(const, CHUNK_ROWS=256, FIGURE_DPI=50, **given)
memory = Memory(sys.argv[2])
result = biggish.run(parameters, memory=memory, output=Path(sys.argv[2], "out"))
print(result.data_mb, result.peak_mb)
"""


@pytest.mark.skipif(passes.peak_memory() == 0, reason="nothing tells the memory here")
def test_a_process_adds_less_memory_than_a_quarter_of_the_data(tmp_path: Path) -> None:
    budget = 32.0

    def measure(n_chunks: int) -> tuple[float, float]:
        """Return size of the data, and peak of a process that learns from it."""
        given, folder = f'{{"N_CHUNKS": {n_chunks}}}', tmp_path / f"{n_chunks}"
        command = [sys.executable, "-c", RUN, given, str(folder)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        size, peak = map(float, ran.stdout.split())
        return size, peak

    small_size, small_peak = measure(6)
    size, peak = measure(256)

    assert size == 4 * budget
    # The small run tells what libraries take; its data may all be in memory there.
    assert peak - small_peak < budget - small_size


def test_the_passes_keep_to_the_budget(done: tuple[Path, biggish.Result]) -> None:
    _, result = done

    assert {len(readings) for readings in result.found.memory.values()} == {13}
    assert 0 <= result.added_mb < const.BUDGET_MB
    assert result.peak_mb > 0


def test_what_the_passes_add_is_summed_up() -> None:
    memory = {"a": np.array([1.0, 3.0, 2.0]), "b": np.array([2.0, 4.0])}

    assert checks.memory_added(memory) == 4.0


# Runs in a process of its own: here, there may be free memory that is used first.
KEEPING = """
import sys
import numpy as np
from cachekit.pipelines.biggish import checks, passes

def chunks():
    for _ in range(10):
        yield np.ones(2**18)  # 2 MB

keep = {"keep": list, "forget": lambda some: sum(chunk[0] for chunk in some)}
readings = []
keep[sys.argv[1]](passes.one_pass(chunks(), n_chunks=10, name="", readings=readings))
print(checks.memory_added({"": np.array(readings)}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a peak is not forgotten")
def test_a_pass_that_keeps_the_chunks_is_found_out() -> None:
    def added(what: str) -> float:
        command = [sys.executable, "-c", KEEPING, what]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(ran.stdout)

    assert added("forget") < 10 < added("keep")


def test_memory_is_read_without_linux_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = passes.peak_memory()
    monkeypatch.setattr(passes, "_PROC", tmp_path / "none")

    passes.forget_peak()

    assert passes.peak_memory() == pytest.approx(here, rel=0.5)


def test_a_budget_that_is_passed_is_an_error(
    done: tuple[Path, biggish.Result],
) -> None:
    _, result = done
    parameters = small(BUDGET_MB=1.0)

    with pytest.raises(PipelineError, match="set CHUNK_ROWS=128, or the budget larger"):
        biggish._check_budget(
            biggish.Result(**{**vars(result), "added_mb": 4.0}), parameters
        )


# --- what is learned ---


def test_a_chunk_is_the_same_in_a_longer_stream() -> None:
    short, long = list(records(2)), list(records(5))

    assert len(long) == 5
    for some, same in zip(short, long, strict=False):
        np.testing.assert_array_equal(some.features, same.features)
        assert some.notes == same.notes
    assert not np.array_equal(long[0].features, long[1].features)
    assert long[0].features.dtype == np.float32


def test_records_have_the_covariance_that_is_said() -> None:
    features = np.concatenate([chunk.features for chunk in records(100)])

    found = np.cov(features, rowvar=False)

    expected = data.covariance(TRUTH)
    assert np.abs(found - expected).max() < 0.05 * expected.max()
    np.testing.assert_allclose(
        features.mean(axis=0), TRUTH.centres.mean(axis=0), atol=0.2
    )


def test_an_ideal_reader_knows_the_topic_of_a_note_with_a_word_of_it() -> None:
    assert data.best_accuracy(WORDING) == pytest.approx(1 - 0.6**5 * 2 / 3)
    chunks = list(records(20))
    notes = [note for chunk in chunks for note in chunk.notes]
    topics = np.concatenate([chunk.topics for chunk in chunks])

    silent = [
        f"topic{topic}" not in note for topic, note in zip(topics, notes, strict=True)
    ]

    assert np.mean(silent) == pytest.approx(0.6**5, abs=0.02)
    assert all(len(note.split()) == 5 for note in notes)


def test_running_moments_are_those_of_all_rows() -> None:
    offset = 1e4  # far from zero: sums of squares would lose the variance in float32

    def shifted() -> Iterator[data.Records]:
        for chunk in records():
            features = chunk.features + np.float32(offset)
            yield data.Records(features, chunk.groups, chunk.notes, chunk.topics)

    found = model.running_moments(shifted, n_chunks=10)

    everything = np.concatenate([chunk.features for chunk in shifted()])
    whole = everything.astype(np.float64)
    assert found.count == 2000
    np.testing.assert_allclose(found.mean, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.variance, whole.var(axis=0, ddof=1), rtol=1e-9)


def test_one_row_in_a_chunk_is_enough_for_moments() -> None:
    def rows() -> Iterator[data.Records]:
        for value in (1.0, 2.0, 6.0):
            none = np.zeros(1, dtype=np.int8)
            yield data.Records(np.full((1, 1), value, np.float32), none, [""], none)

    found = model.running_moments(rows, n_chunks=3)

    assert (found.mean[0], found.variance[0]) == (3.0, 7.0)


def test_wrong_moments_are_found_out() -> None:
    found = model.running_moments(records, n_chunks=10)
    n, mean, variance = found.count, found.mean, found.variance
    readings = found.memory

    assert max(checks.standard_errors(found, TRUTH)) < const.MAX_STANDARD_ERRORS
    for wrong in (
        model.Moments(n, mean * 0, variance, readings),
        model.Moments(n, mean, variance + mean**2, readings),  # without the mean off
    ):
        assert max(checks.standard_errors(wrong, TRUTH)) > 2 * const.MAX_STANDARD_ERRORS


def test_principal_directions_are_the_true_ones_and_others_are_found_out() -> None:
    true = checks.principal_directions(TRUTH, PROJECTION, 3)

    found = model.find_directions(projected, n_chunks=10, n_directions=3)

    assert checks.angle_between(found.directions, true) < const.MAX_ANGLE_DEGREES
    random = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 3)))[0].T
    assert checks.angle_between(random, true) > 45


def test_angles_of_subspaces() -> None:
    axes = np.eye(3)
    tilted = np.array([[1, 0, 0], [0, np.cos(0.1), np.sin(0.1)]])

    assert checks.angle_between(axes[:2], axes[[1, 0]]) == 0
    assert checks.angle_between(axes[:1], axes[1:2]) == 90
    assert checks.angle_between(axes[:2], tilted) == pytest.approx(np.degrees(0.1))


def test_centres_are_the_true_ones_and_a_missed_group_is_found_out() -> None:
    true = TRUTH.centres @ PROJECTION.T

    def centres(n_groups: int) -> Any:
        return model.find_centres(
            projected, n_chunks=10, n_groups=n_groups, n_starts=5, seed=0
        ).centres

    assert checks.centre_error(centres(3), true) < const.MAX_CENTRE_ERROR
    assert checks.centre_error(centres(2), true) > 5 * const.MAX_CENTRE_ERROR


def learn(notes: Any, *, n_chunks: int = 10) -> model.Lessons:
    return model.learn_topics(
        notes, n_chunks=n_chunks, n_topics=3, n_test_chunks=2, penalty=1e-4, seed=0
    )


def test_topics_are_learned_and_shuffled_ones_are_not() -> None:
    best = data.best_accuracy(WORDING)
    notes = partial(reduction.hash_notes, records, n_buckets=2**10)

    def shuffled() -> Iterator[reduction.HashedNotes]:
        random = np.random.default_rng(0)
        for chunk in notes():
            yield reduction.HashedNotes(chunk.counts, random.permutation(chunk.topics))

    lessons = learn(notes)

    assert lessons.n_seen.tolist() == [200, 400, 800, 1600]
    # 400 notes tell an accuracy to some 1.3 %.
    assert best - 0.06 < lessons.accuracy[-1] < best + 0.04
    assert lessons.accuracy[0] < lessons.accuracy[-1]
    assert learn(shuffled).accuracy[-1] < 0.5


def test_words_are_counted_in_buckets() -> None:
    hashed = next(reduction.hash_notes(records, n_buckets=64))

    assert hashed.counts.shape == (200, 64)
    assert (hashed.counts.sum(axis=1) == 5).all()


def test_distances_are_kept_and_a_wrong_scale_is_found_out() -> None:
    n_pairs, bound = 50 * 49 // 2, checks.share_bound(32, 0.6)

    ratios = model.compare_distances(records, PROJECTION, n_points=50)
    wrong = model.compare_distances(records, PROJECTION * 1.5, n_points=50)

    assert ratios.shape == (n_pairs,)
    assert checks.share_beyond(ratios, 0.6) < bound < checks.share_beyond(wrong, 0.6)
    assert bound == pytest.approx(2 * np.exp(-32 * (0.18 - 0.072) / 2))
    assert checks.share_bound(2, 0.1) == 1.0


# --- the command ---


def test_the_command_tells_what_is_right_and_what_was_computed(
    done: tuple[Path, biggish.Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = done
    monkeypatch.setenv("COLUMNS", "80")

    ran = CliRunner().invoke(
        biggish.main,
        [*settings(SMALL), "--store", str(store), "--output", str(tmp_path)],
    )

    assert ran.exit_code == 0, ran.output
    assert "memory: what the passes add to the process (MB)" in ran.output
    assert "cachekit rm stream_records" in ran.output
    assert "12 calls: 12 from the cache, 0 computed" in ran.output
    rest = ran.output.replace(f"{tmp_path}/", "")
    assert all(len(line) <= 80 for line in rest.splitlines())


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"N_COMPONENTS": 65}, 1, "N_COMPONENTS=65 and N_FEATURES=64 do not go"),
        ({"N_TEST_CHUNKS": 12}, 1, "set N_TEST_CHUNKS lower or N_CHUNKS higher"),
        ({"N_DIRECTIONS": 33}, 1, "N_DIRECTIONS=33 and N_COMPONENTS=32"),
        ({"N_CHUNKS": 1}, 2, "N_CHUNKS=1 is not possible"),
    ],
)
def test_numbers_that_cannot_be_are_told(
    tmp_path: Path, given: dict[str, int], code: int, message: str
) -> None:
    ran = CliRunner().invoke(
        biggish.main, [*settings({**SMALL, **given}), "--store", f"{tmp_path}/s"]
    )

    assert ran.exit_code == code
    assert message in " ".join(ran.output.split())
    assert "Traceback" not in ran.output


def test_a_second_run_imports_no_heavy_library(
    done: tuple[Path, biggish.Result], tmp_path: Path
) -> None:
    store, _ = done
    arguments = [*settings(SMALL), "--store", str(store), "--output", str(tmp_path)]

    printed, imported = run_again("biggish", arguments)

    assert " 0 computed" in printed
    assert imported == set()
