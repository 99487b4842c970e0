"""A painted image as bytes: which neighbours are of one superpixel, and the colours.

::

    file    = height, width (2 bytes each), deflated(right, down), colours
    right   = a bit for each pixel that has one to its right: of the same superpixel?
    down    = likewise for the one below
    colours = red, green, blue of each superpixel, in the order of their first pixels

Superpixels hang together, so these bits are enough to find them again.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

from cachekit.pipelines.superpixels.model import number_in_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SIZE = "<HH"


def mean_colours(
    image: NDArray[np.uint8], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean colour of each superpixel.

    Parameters
    ----------
    image : ndarray, shape (height, width, 3)
        From 0 to 255.
    labels : ndarray of int, shape (height, width)
        The superpixel of each pixel, from 0 on.

    Returns
    -------
    ndarray, shape (n_superpixels, 3)
    """
    import numpy as np

    flat = labels.ravel()
    sums = [np.bincount(flat, channel.ravel()) for channel in np.moveaxis(image, -1, 0)]
    means: NDArray[np.float64] = np.stack(sums, axis=1) / np.bincount(flat)[:, None]
    return means


def encode(labels: NDArray[np.int64], colours: NDArray[np.float64]) -> bytes:
    """Return a painted image as bytes.

    Parameters
    ----------
    labels : ndarray of int, shape (height, width)
        The superpixel of each pixel, numbered in the order of their first pixels. Each
        hangs together.
    colours : ndarray, shape (n_superpixels, 3)
        From 0 to 255; they are rounded.
    """
    import numpy as np

    bits = np.concatenate([same.ravel() for same in _same_as_neighbours(labels)])
    return b"".join(
        [
            struct.pack(_SIZE, *labels.shape),
            zlib.compress(np.packbits(bits).tobytes(), level=9),
            np.rint(colours).astype(np.uint8).tobytes(),
        ]
    )


def decode(content: bytes) -> NDArray[np.uint8]:
    """Return the image that `encode` has made bytes of.

    Parameters
    ----------
    content : bytes
        From `encode`.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    import numpy as np

    height, width = struct.unpack_from(_SIZE, content)
    inflating = zlib.decompressobj()
    packed = inflating.decompress(content[struct.calcsize(_SIZE) :])
    n_right, n_down = height * (width - 1), (height - 1) * width
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=n_right + n_down)
    labels = _components(
        bits[:n_right].reshape(height, width - 1),
        bits[n_right:].reshape(height - 1, width),
    )
    colours = np.frombuffer(inflating.unused_data, np.uint8).reshape(-1, 3)
    image: NDArray[np.uint8] = colours[labels]
    return image


def png_size(image: NDArray[np.uint8]) -> int:
    """Return how many bytes an image takes as a PNG file, which loses nothing.

    Parameters
    ----------
    image : ndarray, shape (height, width, 3)
        From 0 to 255.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG", optimize=True)
    return len(file.getvalue())


def _same_as_neighbours(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return labels[:, 1:] == labels[:, :-1], labels[1:] == labels[:-1]


def _components(right: NDArray[Any], down: NDArray[Any]) -> NDArray[np.int64]:
    """Find what hangs together; numbered in the order of the first pixels."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    height, width = len(right), down.shape[1]
    pixels = np.arange(height * width).reshape(height, width)
    from_right, from_down = right.astype(bool), down.astype(bool)
    starts = np.concatenate([pixels[:, :-1][from_right], pixels[:-1][from_down]])
    ends = np.concatenate([pixels[:, 1:][from_right], pixels[1:][from_down]])
    links = coo_matrix(
        (np.ones(len(starts), bool), (starts, ends)), shape=(pixels.size, pixels.size)
    )
    _, labels = connected_components(links, directed=False)
    return number_in_order(labels.reshape(height, width))
