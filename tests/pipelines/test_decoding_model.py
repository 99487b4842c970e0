"""Known answers of the steps of the decoding pipeline, without any cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.errors import PipelineError
from cachekit.pipelines.decoding.data import assign_folds, load_stimuli
from cachekit.pipelines.decoding.encoding import (
    make_voxels,
    respond,
    simulate_run,
    time_stimuli,
)
from cachekit.pipelines.decoding.haemodynamics import (
    glover_hrf,
    haemodynamic_courses,
    scan_times,
)
from cachekit.pipelines.decoding.model import (
    classify_fold,
    estimate_responses,
    permuted_accuracy,
    reconstruct_fold,
)
from cachekit.pipelines.decoding.report import choose_examples
from cachekit.pipelines.decoding.scores import (
    confusion_shares,
    correlate_rows,
    identification_rate,
    p_value,
)

RANDOM = np.random.default_rng(0)


def scan(responses: Any, onsets: Any, **given: Any) -> Any:
    """Simulate a run: without noise and drift, unless they are asked for."""
    settings: dict[str, Any] = {
        "duration": 2.0,
        "repetition_time": 2.0,
        "noise_sd": 0.0,
        "autocorrelation": 0.3,
        "drift": 0.0,
        "seed": (0,),
    }
    latencies = np.zeros(responses.shape[1])
    return simulate_run(responses, onsets, latencies, **(settings | given))


def estimate(scans: Any, onsets: Any, **given: Any) -> Any:
    settings = {"duration": 2.0, "repetition_time": 2.0, "high_pass": 128.0}
    return estimate_responses(scans, onsets, **(settings | given))


def test_digits_come_as_often_in_runs_as_long() -> None:
    stimuli = load_stimuli(trials_per_digit=12, n_runs=7, seed=(0,))

    assert np.bincount(stimuli.labels).tolist() == [12] * 10
    assert set(np.bincount(stimuli.runs)) == {17, 18}
    assert stimuli.images.min() == 0.0
    assert stimuli.images.max() == 1.0
    # No image is shown twice: it could be remembered.
    assert len(np.unique(stimuli.images, axis=0)) == 120


def test_folds_leave_out_whole_runs_and_never_what_has_no_class() -> None:
    labels = np.array([0, 1, 0, 1, 0, -1, -1])
    runs = np.array([0, 0, 1, 1, 2, 3, 4])

    folds = assign_folds(labels, runs, n_folds=2)

    assert folds.tolist() == [0, 0, 1, 1, 0, -1, -1]


def test_more_folds_than_runs_are_an_error() -> None:
    with pytest.raises(PipelineError, match="lower N_FOLDS"):
        assign_folds(np.zeros(4, int), np.array([0, 0, 1, 1]), n_folds=3)


def test_the_canonical_response_has_its_peak_at_five_seconds_and_an_undershoot() -> (
    None
):
    times = np.arange(-5.0, 30.0, 0.01)
    response = glover_hrf(times)

    assert times[response.argmax()] == pytest.approx(5.1, abs=0.3)
    assert response[times <= 0].tolist() == [0.0] * int((times <= 0).sum())
    assert -0.4 < response.min() < -0.1
    assert 10 < times[response.argmin()] < 14
    # By the formula: at 5.4 s the first term is 1.
    second = 0.35 * (0.5**12) * np.exp(12 - 6)
    assert glover_hrf(np.array([5.4]))[0] == pytest.approx(1 - second)


def test_the_course_of_an_event_has_its_peak_at_one_and_moves_with_it() -> None:
    times, courses = haemodynamic_courses(np.array([0.0, 10.0]), duration=2.0, end=60.0)

    assert courses.max(axis=0) == pytest.approx([1.0, 1.0], abs=1e-6)
    peaks = times[courses.argmax(axis=0)]
    assert peaks[1] - peaks[0] == pytest.approx(10.0)


def test_a_field_is_at_its_place_and_sums_to_one() -> None:
    voxels = make_voxels(
        shape=(8, 8),
        n_voxels=50,
        kind="gaussian",
        sizes=(0.6, 1.6),
        latency_sd=0.5,
        seed=(1,),
    )

    assert voxels.filters.shape == (1, 50, 64)
    assert voxels.filters.sum(axis=2) == pytest.approx(np.ones((1, 50)))
    assert voxels.latencies.std() == pytest.approx(0.5, abs=0.2)
    # Only the light in its field makes a voxel respond.
    at_peak = np.eye(64)[voxels.filters[0].argmax(axis=1)]
    responses = respond(at_peak, voxels.filters, exponent=1.0, amplitude=1.0)
    assert np.diag(responses) == pytest.approx(voxels.filters[0].max(axis=1))


def test_edge_energy_does_not_care_for_the_sign_but_for_the_orientation() -> None:
    voxels = make_voxels(
        shape=(16, 16),
        n_voxels=40,
        kind="gabor",
        sizes=(1.6,),
        latency_sd=0.0,
        seed=(1,),
    )
    rows, columns = np.mgrid[:16, :16]
    wave = 2 * np.pi / 4.0
    gratings = [np.cos(wave * columns), -np.cos(wave * columns), np.cos(wave * rows)]
    images = np.stack([grating.ravel() for grating in gratings])

    one, negative, turned = respond(images, voxels.filters, exponent=1.0, amplitude=1.0)

    assert one == pytest.approx(negative)
    assert np.abs(one - turned).max() > 5 * np.abs(one - turned).min() > 0


def test_responses_grow_by_the_exponent() -> None:
    images = np.array([[0.25], [1.0]])
    filters = np.ones((1, 1, 1))

    responses = respond(images, filters, exponent=0.5, amplitude=2.0)

    assert responses[:, 0] == pytest.approx([1.0, 2.0])


def test_without_noise_responses_are_found_as_they_were() -> None:
    responses = RANDOM.uniform(0, 2, (20, 5))
    onsets = time_stimuli(20, gaps=(4.0, 6.0, 8.0), seed=(0,))

    found = estimate(scan(responses, onsets), onsets)

    assert found == pytest.approx(responses, abs=1e-6)


def test_drift_is_taken_from_the_responses() -> None:
    responses = RANDOM.uniform(0, 2, (20, 5))
    onsets = time_stimuli(20, gaps=(4.0, 6.0, 8.0), seed=(0,))
    drifting = scan(responses, onsets, drift=2.0)

    kept = estimate(drifting, onsets)
    lost = estimate(drifting, onsets, high_pass=1000.0)

    error = np.abs(kept - responses).mean()
    assert error < 0.2  # cosines are no sines: a little is left
    assert np.abs(lost - responses).mean() > 3 * error


def test_wrong_times_lose_the_responses() -> None:
    responses = RANDOM.uniform(0, 2, (20, 50))
    onsets = time_stimuli(20, gaps=(4.0, 6.0, 8.0), seed=(0,))
    scans = scan(responses, onsets, noise_sd=0.1)

    def agreement(found: Any) -> float:
        return float(np.corrcoef(found.ravel(), responses.ravel())[0, 1])

    late = np.roll(estimate(scans, onsets), 3, axis=0)
    assert agreement(estimate(scans, onsets)) > 0.9
    assert agreement(late) < 0.5


def test_noise_has_the_spread_and_the_correlation_that_it_is_given() -> None:
    onsets = np.array([4000.0])

    noise = scan(np.zeros((1, 20)), onsets, noise_sd=0.7, autocorrelation=0.4)

    assert noise.std() == pytest.approx(0.7, rel=0.05)
    neighbours = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]
    assert neighbours == pytest.approx(0.4, abs=0.05)


def test_later_voxels_are_measured_later() -> None:
    onsets = np.array([10.0])

    scans = simulate_run(
        np.ones((1, 2)),
        onsets,
        np.array([0.0, 4.0]),
        duration=2.0,
        repetition_time=2.0,
        noise_sd=0.0,
        autocorrelation=0.0,
        drift=0.0,
        seed=(0,),
    )

    assert scans[2:, 1] == pytest.approx(scans[:-2, 0], abs=1e-9)


def test_more_trials_than_volumes_are_an_error() -> None:
    onsets = np.arange(40.0)

    with pytest.raises(PipelineError, match="40 trials"):
        estimate(np.zeros((len(scan_times(onsets, repetition_time=2.0)), 3)), onsets)


def patterns_of(labels: Any, n_voxels: int = 30, noise: float = 0.5) -> Any:
    prototypes = RANDOM.normal(size=(labels.max() + 1, n_voxels))
    return prototypes[labels] + noise * RANDOM.normal(size=(len(labels), n_voxels))


def test_classes_that_differ_are_told_and_shuffled_ones_are_not() -> None:
    labels = np.tile(np.arange(4), 20)
    folds = np.repeat(np.arange(4), 20)
    patterns = patterns_of(labels)

    told = classify_fold(patterns, labels, folds, fold=0, c=1.0)
    shuffled = permuted_accuracy(patterns, labels, folds, folds, c=1.0, seed=(0,))

    assert np.mean(told == labels[folds == 0]) > 0.9
    assert shuffled < 0.5


def test_another_seed_is_another_permutation() -> None:
    labels = np.tile(np.arange(4), 20)
    folds = np.repeat(np.arange(4), 20)
    patterns = patterns_of(labels, noise=3.0)

    scores = {
        permuted_accuracy(patterns, labels, folds, folds, c=1.0, seed=(seed,))
        for seed in range(5)
    }

    assert len(scores) > 1


def test_images_that_voxels_add_up_are_drawn_exactly() -> None:
    images = RANDOM.uniform(size=(80, 6))
    patterns = images @ RANDOM.normal(size=(6, 12))
    folds = np.repeat(np.arange(4), 20)

    drawn = reconstruct_fold(
        patterns, images, np.zeros(80, int), folds, fold=1, penalties=(1e-6, 1.0)
    )

    assert drawn.images == pytest.approx(images[folds == 1], abs=1e-4)
    assert drawn.penalty == 1e-6
    assert drawn.mean_image == pytest.approx(images[folds != 1].mean(axis=0))


def test_images_with_a_class_are_not_learned_from_if_there_are_random_ones() -> None:
    images = np.concatenate([np.zeros((40, 3)), RANDOM.uniform(size=(40, 3))])
    labels = np.array([0, 1] * 20 + [-1] * 40)
    folds = np.array([0] * 20 + [1] * 20 + [-1] * 40)

    drawn = reconstruct_fold(images, images, labels, folds, fold=0, penalties=(1.0,))

    assert len(drawn.images) == 20
    assert drawn.mean_image == pytest.approx(images[40:].mean(axis=0))


@pytest.mark.parametrize(
    ("score", "by_chance", "p"),
    [(0.9, [0.1] * 99, 0.01), (0.1, [0.1] * 9, 1.0), (0.5, [0.6, 0.5, 0.4], 0.75)],
)
def test_the_p_value_counts_scores_that_are_as_high(
    score: float, by_chance: list[float], p: float
) -> None:
    assert p_value(score, by_chance) == pytest.approx(p)


def test_correlations_are_those_of_numpy_and_0_for_constant_rows() -> None:
    some, others = RANDOM.normal(size=(3, 9)), RANDOM.normal(size=(4, 9))
    others[2] = 0.3

    found = correlate_rows(some, others)

    known = [0, 1, 3]
    expected = np.corrcoef(some, others[known])[:3, 3:]
    assert found[:, known] == pytest.approx(expected)
    assert found[:, 2] == pytest.approx([0.0, 0.0, 0.0])


@given(st.integers(2, 12))
def test_identification_is_1_for_perfect_drawings_and_half_for_equal_ones(
    n: int,
) -> None:
    assert identification_rate(np.eye(n)) == 1.0
    assert identification_rate(np.ones((n, n))) == pytest.approx(0.5)
    assert identification_rate(-np.eye(n)) == 0.0


def test_confusion_is_shares_of_the_seen_class() -> None:
    found = confusion_shares(
        np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), n_classes=3
    )

    assert found == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [0, 1, 0], [0, 0, 0]]))


def test_examples_are_chosen_by_their_place_in_their_class() -> None:
    labels = np.array([0, 0, 0, 1, 1, -1])
    correlations = np.array([0.3, 0.1, 0.2, 0.9, 0.8, np.nan])

    assert choose_examples(labels, correlations, quantile=0.0).tolist() == [1, 4]
    assert choose_examples(labels, correlations, quantile=0.5).tolist() == [2, 4]
    assert choose_examples(labels, correlations, quantile=1.0).tolist() == [0, 3]
