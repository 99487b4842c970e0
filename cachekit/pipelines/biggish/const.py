"""The hyper-parameters of the biggish pipeline, each with its reason and its range.

Only `__main__` reads them, and hands them on as arguments. They are therefore part of
the keys of the cached calls: an edit here recomputes the steps that depend on it, and
nothing else. Megabytes are of 1,048,576 bytes.
"""

from __future__ import annotations

from typing import Annotated

from cachekit.pipelines.parameters import Between

# --- the records -------------------------------------------------------------------

# Any number will do; a fixed one makes two runs agree.
SEED: Annotated[int, Between(0, 2**32 - 1)] = 0

# What the passes may add to the memory of the process. Measured: 44 to 48 MB,
# whatever the number of chunks. Python and the libraries take up to 200 MB besides.
BUDGET_MB: Annotated[float, Between(1.0, 1e6)] = 128.0

# 128 chunks of 4 MB are four times the budget. The store needs a fifth more than
# that on disk.
N_CHUNKS: Annotated[int, Between(2, 1_000_000)] = 128

# Rows of a chunk: 2,048 of 512 features are 4 MB. What a step holds is some 10 chunks;
# smaller ones cost time, since each call of `partial_fit` has its own.
CHUNK_ROWS: Annotated[int, Between(64, 1_000_000)] = 2048

# Wide enough that a projection is worth it.
N_FEATURES: Annotated[int, Between(8, 100_000)] = 512

# Groups of records, on a circle: as many as there are colours to tell apart.
N_GROUPS: Annotated[int, Between(2, 7)] = 6

# Radius of that circle. Neighbours are then 36 apart, five times the spread below
# with the noise on top: k-means errs for one record in a hundred.
RADIUS: Annotated[float, Between(0.0, 1e6)] = 36.0

# Directions in which records of one group differ: two are the plane of the circle.
N_DIRECTIONS: Annotated[int, Between(2, 50)] = 4

# Standard deviation along each of them: after the projection still twice the noise,
# so that the principal directions are well defined.
SPREAD: Annotated[float, Between(0.0, 1e6)] = 6.0

# Standard deviation of each single feature besides; the unit of the two above.
NOISE: Annotated[float, Between(1e-6, 1e6)] = 1.0

# --- the notes in the records ------------------------------------------------------

# What a note can be about. Another thing than the group of its record.
N_TOPICS: Annotated[int, Between(2, 20)] = 4

# Short, as remarks in a table are.
WORDS_PER_NOTE: Annotated[int, Between(1, 100)] = 6

# Share of the words that belong to the topic. One note in thirteen has no such word,
# so that nothing can be right about more than 94 % of them.
TOPIC_SHARE: Annotated[float, Between(0.0, 1.0)] = 0.35

# Words of each topic, and of all of them: so many that one chunk does not teach them.
N_TOPIC_WORDS: Annotated[int, Between(1, 100_000)] = 500
N_COMMON_WORDS: Annotated[int, Between(1, 1_000_000)] = 2000

# --- the reductions ----------------------------------------------------------------

# Features that random projection leaves of 512: an eighth of the data, and squared
# distances that are right to 18 %.
N_COMPONENTS: Annotated[int, Between(2, 10_000)] = 64

# An error of squared distances, for which the share of pairs beyond it is compared
# with the bound of Johnson and Lindenstrauss: 14 % at 64 components.
DISTORTION: Annotated[float, Between(0.01, 0.99)] = 0.5

# Records whose distances are compared: 200 have 19,900 pairs.
N_POINTS: Annotated[int, Between(2, 2000)] = 200

# Buckets that words are hashed into: sixteen for each of the 4,000 words. With four,
# more of them share one, which costs the classifier a per cent.
N_BUCKETS: Annotated[int, Between(2, 2**22)] = 2**16

# --- the models --------------------------------------------------------------------

# Starts of k-means on the first chunk. With one start it may put two centres into one
# group, and later chunks do not mend that.
N_STARTS: Annotated[int, Between(1, 1000)] = 10

# L2 penalty of the classifier. A smaller one makes the first steps so large that the
# last notes are still busy mending them: 1e-6 is a per cent worse.
PENALTY: Annotated[float, Between(1e-9, 1.0)] = 1e-4

# Chunks that the classifier is not shown: 8,192 notes tell its accuracy to 0.3 %.
N_TEST_CHUNKS: Annotated[int, Between(1, 1000)] = 4

# --- what counts as right ----------------------------------------------------------

# Of 512 means, none is further than this from the truth in 99.97 % of all runs.
MAX_STANDARD_ERRORS: Annotated[float, Between(0.0, 1e6)] = 5.0

# Between the true principal directions and the ones found.
MAX_ANGLE_DEGREES: Annotated[float, Between(0.0, 90.0)] = 5.0

# Of a centre, as a share of the distance of the two nearest ones.
MAX_CENTRE_ERROR: Annotated[float, Between(0.0, 1.0)] = 0.05

# By how much the accuracy may stay behind the best that is possible.
MAX_ACCURACY_LOSS: Annotated[float, Between(0.0, 1.0)] = 0.02

# --- the report --------------------------------------------------------------------

# Records in the figure of the groups; more hide one another.
N_PLOTTED: Annotated[int, Between(1, 100_000)] = 1500

# Dots per inch of the figures: sharp on a screen, still small files.
FIGURE_DPI: Annotated[int, Between(50, 600)] = 150
