"""
A parallel loop takes what is stored
====================================

In a loop over a cached function, only what is not stored goes to the workers, and each
result is stored as soon as it is there. A loop that was stopped goes on where it was,
and one that is made longer computes the rest. Here a bootstrap grows.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes

from cachekit import Memory, Parallel, delayed

folder = tempfile.TemporaryDirectory()
memory = Memory(folder.name)


@memory.cache
def slope(x, y, seed):
    """Fit a line to a sample that is drawn with replacement."""
    sample = np.random.default_rng(seed).integers(len(x), size=len(x))
    return float(np.polyfit(x[sample], y[sample], 1)[0])


# %%
# A hundred samples first. They are too few, so three hundred.

data, progression = load_diabetes(return_X_y=True)
pressure = data[:, 3]

for samples in (100, 300):
    before = memory.tally().misses
    calls = (delayed(slope)(pressure, progression, seed) for seed in range(samples))
    slopes = Parallel(n_jobs=2)(calls)
    low, high = np.percentile(slopes, [2.5, 97.5])
    print(f"{samples} samples, {memory.tally().misses - before} computed:")
    print(f"  slope {np.mean(slopes):.0f}, 95% between {low:.0f} and {high:.0f}")

# %%

figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
axes.hist(
    [slopes[:100], slopes[100:]],
    bins=20,
    stacked=True,
    color=["#0072b2", "#e69f00"],
    label=["taken", "computed"],
)
axes.set_xlabel("progression per unit of blood pressure")
axes.set_ylabel("samples")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

folder.cleanup()
