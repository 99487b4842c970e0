"""The hyper-parameters of the superpixels pipeline, each with its reason.

Only `__main__` reads them, and hands them on as arguments: an edit here recomputes
what depends on it. Another number in `N_SUPERPIXELS` cuts the tree once more, and does
not grow it anew.
"""

from __future__ import annotations

from typing import Annotated

from cachekit.pipelines.parameters import Between, OneOf

# --- the photographs ---------------------------------------------------------------

# The two that scikit-learn has: a temple with fine detail, a flower on a soft ground.
IMAGES: Annotated[tuple[str, ...], OneOf("china", "flower")] = ("china", "flower")

# Pixels across; the height follows. A tree takes 1.5 s at 160, 4.5 s at 240, and about
# a minute at 640, which is all there is.
WIDTH: Annotated[int, Between(16, 640)] = 240

# Half a decade apart, from a few patches to a quarter of the pixels.
N_SUPERPIXELS: Annotated[tuple[int, ...], Between(1, 300_000)] = (
    10, 30, 100, 300, 1000, 3000, 10_000,
)  # fmt: skip

# --- the features ------------------------------------------------------------------

# Of the 64 pixels of a digit; with 64, nothing is merged.
N_FEATURES: Annotated[tuple[int, ...], Between(1, 64)] = (
    2,
    4,
    8,
    12,
    16,
    24,
    32,
    48,
    64,
)

# Share of the digits that nothing is learned from.
TEST_SHARE: Annotated[float, Between(0.1, 0.9)] = 0.5

# Decides which digits these are; any number will do.
SEED: Annotated[int, Between(0, 2**32 - 1)] = 0

# Inverse strength of the classifier's L2 penalty. Features vary by a tenth, so 1 is
# strong: it costs 3 points of accuracy with 8 features. From 10 on it is flat.
CLASSIFIER_C: Annotated[float, Between(1e-6, 1e6)] = 10.0

# --- the report and the machine ----------------------------------------------------

# Boundaries are drawn from this many pixels a superpixel on; else they hide it.
MIN_PIXELS_FOR_BOUNDARIES: Annotated[int, Between(1, 10_000)] = 30

# Dots per inch of the figures: sharp on a screen, still small files.
FIGURE_DPI: Annotated[int, Between(30, 600)] = 150

# Processes; no result depends on it.
N_JOBS: Annotated[int, Between(1, 256)] = 2
