"""The hyper-parameters of the decoding pipeline, each with its reason.

Only `__main__` reads them, and hands them on as arguments: an edit here recomputes
what depends on it. Another `RIDGE_PENALTIES` neither simulates nor classifies anew.
"""

from __future__ import annotations

from typing import Annotated

from cachekit.pipelines.parameters import Between, OneOf

# --- what is shown -----------------------------------------------------------------

# Images of each digit: 500 trials in all, a scanning session of 50 minutes.
TRIALS_PER_DIGIT: Annotated[int, Between(5, 170)] = 50

# A subject rests after five minutes; noise and drift begin anew with each run.
N_RUNS: Annotated[int, Between(2, 50)] = 10

# Seconds that an image stands. Longer ones raise the signal, and cost trials.
STIMULUS_SECONDS: Annotated[float, Between(0.5, 20.0)] = 2.0

# Seconds from an image to the next, drawn anew each time: responses last 15 s and
# overlap, and only gaps that vary tell them apart.
GAPS_SECONDS: Annotated[tuple[float, ...], Between(1.0, 60.0)] = (4.0, 6.0, 8.0)

# Any number will do; a fixed one makes two runs agree.
SEED: Annotated[int, Between(0, 2**32 - 1)] = 0

# --- simulated voxels --------------------------------------------------------------

# As many as a small region of interest; accuracy is still growing at 400.
N_VOXELS: Annotated[int, Between(10, 5000)] = 400

# "gaussian" sums light as population receptive fields do; "gabor" sums the energy of
# edges, whatever their sign, which makes it harder to draw the image.
RECEPTIVE_FIELDS: Annotated[str, OneOf("gaussian", "gabor")] = "gaussian"

# Smallest and largest standard deviation of a field, in pixels; images are 8 wide.
FIELD_SIZES: Annotated[tuple[float, ...], Between(0.2, 10.0)] = (0.6, 1.6)

# Response = sum ** exponent; 1 is linear. Visual cortex is compressive, the more so the
# later the area (Kay et al. 2013, J Neurophysiol 110).
EXPONENT: Annotated[float, Between(0.1, 1.0)] = 0.5

# Per cent of signal change that a white image would cause; 1 to 3 is usual at 3 T.
AMPLITUDE: Annotated[float, Between(0.0, 10.0)] = 2.0

# Seconds by which the haemodynamics of voxels differ (standard deviation). The
# analysis does not know: it takes the canonical course for all.
LATENCY_SD: Annotated[float, Between(0.0, 3.0)] = 0.5

# --- simulated scanner -------------------------------------------------------------

# Seconds for a volume.
REPETITION_SECONDS: Annotated[float, Between(0.5, 5.0)] = 2.0

# Standard deviation of the noise of a voxel, in per cent of its signal. A temporal
# signal-to-noise ratio of 100 to 200 is 1 to 0.5; at 1, accuracy falls to a half.
NOISE_SD: Annotated[float, Between(0.0, 20.0)] = 0.5

# Correlation of the noise from one volume to the next.
AUTOCORRELATION: Annotated[float, Between(0.0, 0.95)] = 0.3

# Amplitude of the scanner's slow drift, in per cent; as large as the signal.
DRIFT: Annotated[float, Between(0.0, 20.0)] = 2.0

# --- the analysis ------------------------------------------------------------------

# What is slower is taken for drift. As in SPM; a response is over in a fifth of it.
HIGH_PASS_SECONDS: Annotated[float, Between(20.0, 1000.0)] = 128.0

# Real scans: volumes by which the response lags, 4 to 5 s at 2 to 2.5 s a volume.
DELAY_VOLUMES: Annotated[int, Between(0, 5)] = 2

# Whole runs are left out, since the trials of a run share noise: here two in a fold.
N_FOLDS: Annotated[int, Between(2, 20)] = 5

# Inverse strength of the L2 penalty of the classifier, whose inputs have unit variance.
# Accuracy is flat from 0.01 to 0.1, and small values converge soonest.
CLASSIFIER_C: Annotated[float, Between(1e-6, 1e3)] = 0.01

# Each training set chooses one of them by leave-one-out; 316 is usual.
RIDGE_PENALTIES: Annotated[tuple[float, ...], Between(1e-6, 1e9)] = (
    10.0, 31.6, 100.0, 316.0, 1000.0, 3160.0, 10000.0,
)  # fmt: skip

# Shuffled labels that accuracy is compared with: 99 can give p = 0.01.
N_PERMUTATIONS: Annotated[int, Between(9, 10_000)] = 99

# --- the report and the machine ----------------------------------------------------

# Dots per inch of the figures: sharp on a screen, still small files.
FIGURE_DPI: Annotated[int, Between(30, 600)] = 150

# Processes; no result depends on it.
N_JOBS: Annotated[int, Between(1, 256)] = 2
