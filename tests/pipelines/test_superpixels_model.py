"""Known answers of the steps of the superpixels pipeline, without any cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.image import grid_to_graph

from cachekit.errors import PipelineError
from cachekit.pipelines.superpixels.coding import (
    decode,
    encode,
    mean_colours,
    png_size,
)
from cachekit.pipelines.superpixels.data import load_digits, load_photograph
from cachekit.pipelines.superpixels.model import (
    agglomerate_features,
    cut_blocks,
    cut_tree,
    grow_tree,
    number_in_order,
)
from cachekit.pipelines.superpixels.scores import (
    mean_squared_error,
    measure,
    psnr,
)


@pytest.fixture(scope="module")
def photograph() -> Any:
    return load_photograph("flower", width=36)


@pytest.fixture(scope="module")
def tree(photograph: Any) -> Any:
    return grow_tree(photograph)


def cut(photograph: Any, tree: Any, n_clusters: int) -> Any:
    return cut_tree(tree, shape=photograph.shape[:2], n_clusters=n_clusters)


def test_a_photograph_keeps_its_proportions() -> None:
    photograph = load_photograph("china", width=64)

    assert photograph.shape == (43, 64, 3)
    assert photograph.dtype == np.uint8
    assert photograph[0].mean() > photograph[-1].mean()  # sky above trees


def test_digits_are_split_alike() -> None:
    digits = load_digits(test_share=0.25, seed=0)

    assert len(digits.training) + len(digits.test) == 1797
    assert len(digits.test) == 450
    assert np.bincount(digits.test_labels).min() > 40
    assert digits.training.max() == 1.0


@pytest.mark.parametrize("n_clusters", [1, 2, 7, 100, 36 * 24])
def test_a_cut_has_the_superpixels_of_scikit_learn(
    photograph: Any, tree: Any, n_clusters: int
) -> None:
    model = AgglomerativeClustering(
        n_clusters=n_clusters, connectivity=grid_to_graph(24, 36), linkage="ward"
    )
    expected = model.fit_predict(photograph.reshape(-1, 3).astype(float))

    labels = cut(photograph, tree, n_clusters)

    assert labels.max() + 1 == n_clusters
    assert (labels.ravel() == number_in_order(expected)).all()


def test_the_distances_of_the_undone_merges_are_the_error_that_is_left_out(
    photograph: Any, tree: Any
) -> None:
    for n_clusters in (1, 5, 50, 500):
        labels = cut(photograph, tree, n_clusters)
        painted = mean_colours(photograph, labels)[labels]
        error = ((photograph - painted) ** 2).sum()
        merged = tree.distances[: len(tree.distances) + 1 - n_clusters]
        assert error == pytest.approx((merged**2).sum() / 2)


def test_a_coarse_cut_is_made_of_the_superpixels_of_a_fine_one(
    photograph: Any, tree: Any
) -> None:
    coarse, fine = cut(photograph, tree, 10), cut(photograph, tree, 80)

    pairs = set(zip(fine.ravel(), coarse.ravel(), strict=True))

    assert len(pairs) == 80


def test_flat_regions_are_found_exactly() -> None:
    image = np.zeros((12, 16, 3), np.uint8)  # two black ones, which do not touch
    image[:5, :9] = (200, 30, 30)
    image[5:, 4:] = (20, 90, 160)

    labels = cut_tree(grow_tree(image), shape=(12, 16), n_clusters=4)

    cost = measure(image, labels)
    assert cost.rmse == 0.0
    assert cost.psnr == math.inf
    assert cost.explained_variance == 1.0


def test_a_tree_cannot_be_cut_into_more_than_its_pixels(
    photograph: Any, tree: Any
) -> None:
    with pytest.raises(PipelineError, match="an image of 36 by 24 pixels has 864"):
        cut(photograph, tree, 865)


def test_blocks_are_as_square_as_can_be() -> None:
    labels = cut_blocks((30, 40), n_clusters=12)

    assert np.bincount(labels.ravel()).tolist() == [100] * 12
    assert (labels[:10, :10] == 0).all()


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 2000))
def test_blocks_are_about_as_many_as_asked_for(
    height: int, width: int, n_clusters: int
) -> None:
    labels = cut_blocks((height, width), n_clusters=n_clusters)

    assert labels.shape == (height, width)
    assert labels.max() + 1 <= 1.5 * n_clusters


@given(arrays.arrays(np.int64, (3, 4), elements=st.integers(-5, 5)))
def test_new_numbers_come_in_order_and_keep_the_clusters(labels: Any) -> None:
    numbers = number_in_order(labels)

    firsts = list(dict.fromkeys(numbers.ravel().tolist()))
    assert firsts == list(range(len(firsts)))
    same = labels.ravel()[:, None] == labels.ravel()
    assert ((numbers.ravel()[:, None] == numbers.ravel()) == same).all()


@settings(max_examples=30)
@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(2, 6), st.integers(2, 6), st.just(3))
    ),
    st.integers(1, 4),
)
def test_a_painted_image_is_read_back_as_it_was_written(
    image: Any, n_clusters: int
) -> None:
    labels = cut_tree(grow_tree(image), shape=image.shape[:2], n_clusters=n_clusters)
    colours = mean_colours(image, labels)

    painted = decode(encode(labels, colours))

    assert np.abs(painted - colours[labels]).max() <= 0.5


def test_what_is_measured_is_what_is_read_back(photograph: Any, tree: Any) -> None:
    labels = cut(photograph, tree, 60)
    content = encode(labels, mean_colours(photograph, labels))

    cost = measure(photograph, labels)

    assert cost.n_bytes == len(content)
    error = mean_squared_error(photograph, decode(content))
    assert cost.rmse == pytest.approx(math.sqrt(error))
    assert cost.psnr == pytest.approx(20 * math.log10(255 / cost.rmse))
    assert cost.ratio == pytest.approx(36 * 24 * 3 / len(content))


@pytest.mark.parametrize(
    ("error", "decibels"), [(255.0**2, 0.0), (2.55**2, 40.0), (0.0, math.inf)]
)
def test_the_ratio_of_peak_and_noise_is_in_decibels(
    error: float, decibels: float
) -> None:
    assert psnr(error) == pytest.approx(decibels)


def test_a_flat_image_is_a_smaller_png_than_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)

    assert png_size(np.zeros_like(noise)) < 200 < 40 * 40 * 3 <= png_size(noise)


def test_features_are_superpixels_with_a_channel_for_each_digit() -> None:
    digits = load_digits(test_share=0.5, seed=0)
    channels = np.moveaxis(digits.training - digits.training.mean(axis=0), 0, -1)

    cost = agglomerate_features(digits, n_features=9, c=1.0)

    expected = cut_tree(grow_tree(channels), shape=(8, 8), n_clusters=9)
    assert (cost.labels == expected).all()
