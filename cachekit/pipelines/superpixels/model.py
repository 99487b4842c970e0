"""Ward's tree over the pixels of an image, its cuts, and trees over features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachekit.errors import PipelineError
from cachekit.pipelines.superpixels.data import Digits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Tree:
    """How the pixels of an image were merged.

    Attributes
    ----------
    merges : ndarray of int, shape (n_pixels - 1, 2)
        Which two nodes became one, in the order of the merges. Pixels are nodes 0 to
        ``n_pixels - 1``, row after row; merge ``i`` makes node ``n_pixels + i``.
    distances : ndarray, shape (n_pixels - 1,)
        Of the two. Half the square is by how much the merge raises the squared error.
    """

    merges: NDArray[np.int64]
    distances: NDArray[np.float64]


@dataclass(frozen=True)
class FeatureCost:
    """What it costs to describe digits by few features.

    Attributes
    ----------
    n_features : int
        Each the mean over pixels that touch.
    rmse : float
        Error of the digits that were not learned from, painted from their features;
        white is 1.
    explained_variance : float
        Share of their variance, around the mean image, that is left.
    accuracy : float
        Share of them that a classifier tells from the features.
    labels : ndarray of int, shape (height, width)
        Which feature each pixel went into.
    """

    n_features: int
    rmse: float
    explained_variance: float
    accuracy: float
    labels: NDArray[np.int64]


def grow_tree(image: NDArray[Any]) -> Tree:
    """Merge touching pixels of an image, those first that raise the error least.

    Parameters
    ----------
    image : ndarray, shape (height, width, n_channels)
        Pixels touch at their sides, not at their corners.

    Returns
    -------
    Tree

    References
    ----------
    Ward (1963), J Am Stat Assoc 58, 236-244, under the constraint that clusters
    touch; as in scikit-learn's `ward_tree`.
    """
    import numpy as np
    from sklearn.cluster import ward_tree
    from sklearn.feature_extraction.image import grid_to_graph

    height, width, n_channels = image.shape
    pixels = image.reshape(-1, n_channels).astype(np.float64)
    merges, _, _, _, distances = ward_tree(
        pixels, connectivity=grid_to_graph(height, width), return_distance=True
    )
    return Tree(merges.astype(np.int64), distances)


def cut_tree(
    tree: Tree, *, shape: tuple[int, int], n_clusters: int
) -> NDArray[np.int64]:
    """Undo the last merges of a tree, until there are enough clusters.

    Parameters
    ----------
    tree : Tree
        Of an image.
    shape : tuple of int
        Height and width of the image.
    n_clusters : int
        How many there are to be.

    Returns
    -------
    ndarray of int, shape (height, width)
        The cluster of each pixel, numbered as they come, row after row.

    Raises
    ------
    PipelineError
        If the image has fewer pixels.
    """
    import numpy as np

    n_pixels = len(tree.merges) + 1
    if n_clusters > n_pixels:
        raise PipelineError(
            f"an image of {shape[1]} by {shape[0]} pixels has {n_pixels:,}, and cannot "
            f"have {n_clusters:,} superpixels: lower N_SUPERPIXELS, or raise WIDTH"
        )
    n_merges = n_pixels - n_clusters
    parents = np.arange(n_pixels + n_merges)
    parents[tree.merges[:n_merges]] = n_pixels + np.arange(n_merges)[:, None]
    # Each round doubles how far up a pixel looks: "0 -> 5 -> 7 -> 8" is 0 -> 7, 0 -> 8.
    while (parents[parents] != parents).any():
        parents = parents[parents]
    return number_in_order(parents[:n_pixels].reshape(shape))


def cut_blocks(shape: tuple[int, int], *, n_clusters: int) -> NDArray[np.int64]:
    """Divide an image into about equal rectangles, which do not look at it.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image.
    n_clusters : int
        How many there are to be. They are as square as can be, so that there are some
        more or fewer.

    Returns
    -------
    ndarray of int, shape (height, width)
        The rectangle of each pixel.
    """
    import numpy as np

    height, width = shape
    side = np.sqrt(height * width / n_clusters)
    n_rows = int(np.clip(round(height / side), 1, min(height, n_clusters)))
    n_columns = int(np.clip(round(n_clusters / n_rows), 1, width))
    rows = np.arange(height) * n_rows // height
    columns = np.arange(width) * n_columns // width
    return number_in_order(rows[:, None] * n_columns + columns)


def number_in_order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give clusters new numbers, in the order of their first pixels: 772 -> 001.

    Parameters
    ----------
    labels : ndarray of int
        Any numbers.
    """
    import numpy as np

    _, firsts, numbers = np.unique(labels, return_index=True, return_inverse=True)
    new = np.empty(len(firsts), np.int64)
    new[np.argsort(firsts)] = np.arange(len(firsts))
    return new[numbers.reshape(labels.shape)]


def agglomerate_features(digits: Digits, *, n_features: int, c: float) -> FeatureCost:
    """Merge the pixels of digits into few features, and classify by them.

    The mean image is taken from all digits first: what is merged is how they differ.

    Parameters
    ----------
    digits : Digits
        Pixels are merged that touch, and are alike in the digits to learn from.
    n_features : int
        How many are to be left.
    c : float
        Inverse strength of the L2 penalty of the logistic regression.

    Returns
    -------
    FeatureCost
    """
    from sklearn.cluster import FeatureAgglomeration
    from sklearn.feature_extraction.image import grid_to_graph
    from sklearn.linear_model import LogisticRegression

    shape = digits.training.shape[1:]
    merging = FeatureAgglomeration(
        n_clusters=n_features, connectivity=grid_to_graph(*shape), linkage="ward"
    )
    mean_image = digits.training.mean(axis=0)
    training = merging.fit_transform(_flat(digits.training - mean_image))
    test = _flat(digits.test - mean_image)
    features = merging.transform(test)
    error = float(((merging.inverse_transform(features) - test) ** 2).mean())
    classifier = LogisticRegression(C=c, max_iter=5000)
    classifier.fit(training, digits.training_labels)
    return FeatureCost(
        n_features=n_features,
        rmse=error**0.5,
        explained_variance=1 - error / float((test**2).mean()),
        accuracy=float(classifier.score(features, digits.test_labels)),
        labels=number_in_order(merging.labels_.reshape(shape)),
    )


def _flat(images: NDArray[np.float64]) -> NDArray[np.float64]:
    return images.reshape(len(images), -1)
