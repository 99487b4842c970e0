"""The images: two photographs, and handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Digits:
    """Handwritten digits, some to learn from and others to test on.

    Attributes
    ----------
    training, test : ndarray, shape (n, height, width)
        From 0 to 1.
    training_labels, test_labels : ndarray of int, shape (n,)
        Which digit each is.
    """

    training: NDArray[np.float64]
    test: NDArray[np.float64]
    training_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]


def load_photograph(name: str, *, width: int) -> NDArray[np.uint8]:
    """Load a photograph, made smaller.

    Parameters
    ----------
    name : {"china", "flower"}
        One of those that scikit-learn has, 640 pixels wide and 427 high.
    width : int
        How wide it is to be, in pixels; the height follows.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        Red, green and blue.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_image

    image = Image.fromarray(load_sample_image(f"{name}.jpg"))
    height = round(image.height * width / image.width)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def load_digits(*, test_share: float, seed: int) -> Digits:
    """Load handwritten digits, and split them alike for each digit.

    Parameters
    ----------
    test_share : float
        Share of them to test on.
    seed : int
        Decides which.

    Returns
    -------
    Digits

    References
    ----------
    Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository; as scikit-learn has them, 8 by 8 pixels.
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    digits: Any = datasets.load_digits()
    training, test, training_labels, test_labels = train_test_split(
        digits.images / 16.0,  # has 17 levels of grey
        digits.target,
        test_size=test_share,
        random_state=seed,
        stratify=digits.target,
    )
    return Digits(training, test, training_labels, test_labels)
