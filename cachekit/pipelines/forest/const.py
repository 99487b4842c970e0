"""The hyper-parameters of the forest pipeline, each with its reason and range.

Only `__main__` reads them, and hands them on as arguments: ``--set NAME=VALUE``
computes what depends on a value, and nothing else. The grid is the product of the
tuples of each kind of model; an empty one, as in ``--set "BOOSTING_RATES=()"``, leaves
that kind out.
"""

from __future__ import annotations

from typing import Annotated

from cachekit.pipelines.parameters import Between

# --- the data ----------------------------------------------------------------------

# All there are. Digits rather than breast_cancer, the other small set of scikit-learn
# to classify: a quarter of that is 142 patients, so 0.7 points each, too coarse to tell
# good models apart; and of ten classes one sees which are mistaken for which.
N_IMAGES: Annotated[int, Between(400, 1797)] = 1797

# A quarter: 450 images know an accuracy of 98 % to within about 1.3 points.
TEST_SHARE: Annotated[float, Between(0.1, 0.5)] = 0.25

# Five is a common compromise: at ten, each candidate would cost twice as much.
N_FOLDS: Annotated[int, Between(2, 10)] = 5

# Any number will do; a fixed one makes two runs agree.
SEED: Annotated[int, Between(0, 2**32 - 1)] = 0

# --- the grid: a kind of which a tuple is empty is left out --------------------------

# More trees never hurt; 200 gain 0.1 points here, a fifth of what folds differ by.
FOREST_TREES: Annotated[int, Between(10, 2000)] = 100

# Share of the pixels tried at each split. A tenth is the root of 64, Breiman's choice
# for classification; fewer make the trees more different, more make each one better.
FOREST_MAX_FEATURES: Annotated[tuple[float, ...], Between(0.01, 1.0, least=0)] = (
    0.05,
    0.1,
    0.3,
)

# Images in a leaf: 1 grows trees to the end, as forests like it; 5 smooths.
FOREST_MIN_LEAF: Annotated[tuple[int, ...], Between(1, 100, least=0)] = (1, 5)

# Rounds of ten trees, one for each digit. Few, with quick learning rates to match:
# twice as many rounds at half the rate score the same here.
BOOSTING_ROUNDS: Annotated[int, Between(5, 1000)] = 50

# How much of each tree is believed.
BOOSTING_RATES: Annotated[tuple[float, ...], Between(0.01, 1.0, least=0)] = (0.1, 0.3)

# Leaves of a tree: 4 combine two or three pixels, 8 at most seven.
BOOSTING_LEAVES: Annotated[tuple[int, ...], Between(2, 128, least=0)] = (4, 8)

# Cost of an error (C), in powers of ten: only the order of magnitude matters.
SVM_PENALTIES: Annotated[tuple[float, ...], Between(1e-3, 1e6, least=0)] = (
    1.0,
    10.0,
    100.0,
)

# Inverse squared reach of an image (gamma), its pixels from 0 to 1. scikit-learn's
# own guess for these images is 0.11; a grid that goes a factor of ten around it.
SVM_GAMMAS: Annotated[tuple[float, ...], Between(1e-4, 100.0, least=0)] = (
    0.01,
    0.03,
    0.1,
    0.3,
    1.0,
)

# --- what is learned about the best -------------------------------------------------

# Shares of the training images in the learning curve, closer together where it bends.
LEARNING_SHARES: Annotated[tuple[float, ...], Between(0.1, 1.0)] = (
    0.1,
    0.2,
    0.4,
    0.7,
    1.0,
)

# Times that each pixel is shuffled: the noise of an importance goes with its root.
N_SHUFFLES: Annotated[int, Between(1, 100)] = 4

# Standard errors of the interval around the test accuracy; 1.96 make it 95 %.
INTERVAL_Z: Annotated[float, Between(0.5, 4.0)] = 1.96

# --- the run -----------------------------------------------------------------------

# Processes that fit; no part of any key.
N_JOBS: Annotated[int, Between(1, 256)] = 2

# Dots per inch of the figures: sharp on a screen, still small files.
FIGURE_DPI: Annotated[int, Between(50, 600)] = 150
