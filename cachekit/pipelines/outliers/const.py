"""The hyper-parameters of the outliers pipeline, each with its reason and its range.

Only `__main__` reads them, and hands them on as arguments. They are therefore part of
the keys of the cached calls: another `N_TREES` grows forests again, and leaves the
other detectors alone.
"""

from __future__ import annotations

from typing import Annotated

from cachekit.pipelines.parameters import Between, OneOf

# --- the data ----------------------------------------------------------------------

# Both come with scikit-learn. Tumours: 357 benign rows, and malignant outliers. Wines:
# 130 rows of two growers, and outliers of a third; few rows, so the spread is larger.
DATA: Annotated[str, OneOf("breast_cancer", "wine")] = "breast_cancer"

# Share of outliers among the rows that are learned from, and among those of the test.
# There are enough malignant tumours for 0.3, and enough wines for 0.2.
CONTAMINATION: Annotated[float, Between(0.01, 0.4)] = 0.1

# Any number will do; a fixed one makes two runs agree. Draws have this seed and those
# that follow.
SEED: Annotated[int, Between(0, 2**31)] = 0

# Draws of rows. A test has 20 outliers only, and one of them moves the average
# precision by several per cent; the mean of 20 draws is good to two.
N_DRAWS: Annotated[int, Between(2, 1000)] = 20

# --- the detectors -----------------------------------------------------------------

# The plain covariance is what the robust one is to be better than.
DETECTORS: Annotated[
    tuple[str, ...],
    OneOf(
        "isolation forest",
        "one-class SVM",
        "robust covariance",
        "local outlier factor",
        "plain covariance",
    ),
] = (
    "isolation forest",
    "one-class SVM",
    "robust covariance",
    "local outlier factor",
    "plain covariance",
)

# The scores settle from 100 trees on, says the paper; they cost little.
N_TREES: Annotated[int, Between(1, 10_000)] = 200

# Share of the rows that the one-class SVM may leave out: what one would guess.
NU: Annotated[float, Between(0.001, 1.0)] = 0.1

# More than the outliers that may lie together, fewer than the usual rows.
N_NEIGHBOURS: Annotated[int, Between(1, 500)] = 20

# --- the work ----------------------------------------------------------------------

# Processes. The results are the same for any number, so it is part of no key.
N_JOBS: Annotated[int, Between(-1, 1024)] = 2

# --- the report --------------------------------------------------------------------

# Points along each side of the map of a detector: the line looks smooth from 80 on.
N_GRID: Annotated[int, Between(10, 1000)] = 120

# Panels side by side: three still leave room for the names.
FIGURE_COLUMNS: Annotated[int, Between(1, 10)] = 3

# Dots per inch of the figures: sharp on a screen, still small files.
FIGURE_DPI: Annotated[int, Between(50, 600)] = 150
