"""What an image loses, and what it takes, when it is painted by superpixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachekit.pipelines.superpixels.coding import decode, encode, mean_colours

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Cost:
    """What a painted image costs.

    Attributes
    ----------
    n_superpixels : int
        How many there are.
    rmse : float
        Root of the mean squared error over pixels and channels; levels run to 255.
    psnr : float
        Peak signal-to-noise ratio, in dB; infinite if nothing is lost.
    explained_variance : float
        Share of the variance of the image, around its mean colour, that is left.
    n_bytes : int
        Size of the painted image.
    ratio : float
        How many times smaller it is than three bytes a pixel.
    """

    n_superpixels: int
    rmse: float
    psnr: float
    explained_variance: float
    n_bytes: int
    ratio: float


def measure(image: NDArray[np.uint8], labels: NDArray[np.int64]) -> Cost:
    """Paint an image by superpixels, write it as bytes, and compare what is read back.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        Red, green and blue.
    labels : ndarray of int, shape (height, width)
        The superpixel of each pixel, numbered in the order of their first pixels.

    Returns
    -------
    Cost
    """
    content = encode(labels, mean_colours(image, labels))
    error = mean_squared_error(image, decode(content))
    variance = float(((image - image.mean(axis=(0, 1))) ** 2).mean())
    return Cost(
        n_superpixels=int(labels.max()) + 1,
        rmse=math.sqrt(error),
        psnr=psnr(error),
        explained_variance=1 - error / variance if variance else 1.0,
        n_bytes=len(content),
        ratio=image.nbytes / len(content),
    )


def mean_squared_error(image: NDArray[np.uint8], painted: NDArray[np.uint8]) -> float:
    """Return the mean squared error of an image, over pixels and channels.

    Parameters
    ----------
    image, painted : ndarray of uint8, of one shape
        As it is, and as it is shown.
    """
    return float(((image.astype(float) - painted) ** 2).mean())


def psnr(mean_squared_error: float) -> float:
    """Return the peak signal-to-noise ratio in dB, for levels up to 255.

    Parameters
    ----------
    mean_squared_error : float
        In squared levels; 0 gives infinity.
    """
    if mean_squared_error == 0:
        return math.inf
    return 10 * math.log10(255**2 / mean_squared_error)
