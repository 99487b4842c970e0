"""The hyper-parameters of the tables pipeline, each with its reason and range.

Only `__main__` reads them, and hands them on as arguments: ``--set NAME=VALUE``
computes what depends on a value, and nothing else. Other `DATE_FORMATS`, say, concern
the recipes that tidy the table, and leave the hasty ones as they are.
"""

from __future__ import annotations

from typing import Annotated

from cachekit.pipelines.parameters import Between, OneOf

# --- the simulated table -----------------------------------------------------------

# Two to four rows for each spelling of a job title. With 4,000, R² of boosting is 0.92
# rather than 0.85, and a run takes longer.
N_ROWS: Annotated[int, Between(100, 100_000)] = 1500

# Texts with a letter dropped, doubled or swapped: a form filled in by hand.
TYPO_SHARE: Annotated[float, Between(0.0, 1.0)] = 0.2

# Cells without a value, in the columns that may be empty.
MISSING_SHARE: Annotated[float, Between(0.0, 0.9)] = 0.05

# Standard deviation of the logarithm of a salary, given all that it depends on; so
# nobody explains more than 97 % of the variance.
NOISE: Annotated[float, Between(0.0, 2.0)] = 0.08

# Any number will do; a fixed one makes two runs agree.
SEED: Annotated[int, Between(0, 2**32 - 1)] = 0

# --- how a table is read -----------------------------------------------------------

# Below, a fold has too few rows for its score to mean anything.
MIN_ROWS: Annotated[int, Between(40, 10_000)] = 50

# A target with more different values is a number to predict, with fewer a class.
MAX_CLASSES: Annotated[int, Between(2, 100)] = 10

# A column is of numbers, or of dates, if so many of its texts are. The rest counts as
# missing; a looser rule would lose more of it.
MIN_PARSED: Annotated[float, Between(0.5, 1.0)] = 0.95

# What may stand before or after a number.
UNITS = ("$", "€", "£", "%", "km", "h", "hrs", "hours", "years", "yrs")

# The first that fits counts. Day and month are never guessed: of 03/04/2020 there is
# no telling, so a format with slashes is for who knows the table.
DATE_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%B %d, %Y")

# --- what is compared --------------------------------------------------------------

# "skrub" tidies and encodes. "tidied" only tidies, and takes each text for a category:
# the difference is what skrub adds. "onehot" does not even tidy, and "numbers" leaves
# out all that is not a plain number.
ENCODERS: Annotated[tuple[str, ...], OneOf("skrub", "tidied", "onehot", "numbers")] = (
    "skrub",
    "tidied",
    "onehot",
    "numbers",
)

# "boosting" of trees, or "ridge": linear, with the penalty chosen inside each fold.
MODELS: Annotated[tuple[str, ...], OneOf("boosting", "ridge")] = ("boosting", "ridge")

# Directions that the spellings of a column are described by. skrub's own choice is 30;
# with 15 a ridge loses 0.18, with 60 nothing gains.
TEXT_COMPONENTS: Annotated[int, Between(2, 200)] = 30

# Most frequent texts of a column that are categories of their own: without a limit,
# badges would make a column for each row. With 300, the scores are 0.02 lower.
ONEHOT_CATEGORIES: Annotated[int, Between(2, 1000)] = 50

# Trees, one after the other. The score is the same with 300.
BOOSTING_ROUNDS: Annotated[int, Between(5, 2000)] = 100

# How much of each tree is believed.
BOOSTING_RATE: Annotated[float, Between(0.01, 1.0)] = 0.1

# Tried inside each fold, in powers of ten: from hardly any to most of what it learns.
RIDGE_PENALTIES: Annotated[tuple[float, ...], Between(1e-6, 1e9)] = (
    0.1,
    1.0,
    10.0,
    100.0,
    1000.0,
)

# Five is a common compromise: four fifths of the table are nearly all of it.
N_FOLDS: Annotated[int, Between(2, 20)] = 5

# Times that each column is shuffled in each fold, to see what it is good for; once in
# each of five folds is five times, each with another model.
N_SHUFFLES: Annotated[int, Between(1, 100)] = 1

# --- the run -----------------------------------------------------------------------

# Processes that fit; no part of any key.
N_JOBS: Annotated[int, Between(1, 256)] = 2

# Columns in the figure of importances: more could not be read.
FIGURE_COLUMNS: Annotated[int, Between(1, 60)] = 20

# Dots per inch of the figures: sharp on a screen, still small files.
FIGURE_DPI: Annotated[int, Between(50, 600)] = 150
