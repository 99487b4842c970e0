"""
Chunks that never are in memory together
========================================

A cached generator hands out its items as they come, and stores them one by one. A
second pass reads them from the disk, one by one. So a mean and a variance over more
data than there is memory need one chunk at a time (Chan, Golub and LeVeque 1979).
"""

import tempfile
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

from cachekit import Memory

folder = tempfile.TemporaryDirectory()
memory = Memory(folder.name)


@memory.cache
def chunks(count):
    """Yield chunks of 1 MB."""
    for seed in range(count):
        yield np.random.default_rng(seed).gamma(2.0, size=125_000)


def mean_and_variance(parts):
    """Merge the moments of one part after the other."""
    count, mean, squares = 0, 0.0, 0.0
    for part in parts:
        total = count + len(part)
        step = part.mean() - mean
        squares += part.var() * len(part) + step**2 * count * len(part) / total
        mean += step * len(part) / total
        count = total
    return mean, squares / count


# %%
# How much memory does that take, if the chunks are streamed, and if they are collected?


def peak_megabytes(parts):
    tracemalloc.start()
    mean_and_variance(parts())
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return peak


counts = [4, 8, 16, 32]
first = [peak_megabytes(lambda n=n: chunks(n)) for n in counts]
second = [peak_megabytes(lambda n=n: chunks(n)) for n in counts]
collected = [peak_megabytes(lambda n=n: list(chunks(n))) for n in counts]
print("computed", memory.tally().misses, "streams for", 3 * len(counts), "passes")
print("mean {:.3f}, variance {:.3f}".format(*mean_and_variance(chunks(32))))

# %%

figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
axes.plot(counts, collected, "^-", color="#000000", label="collected")
axes.plot(counts, first, "s-", color="#e69f00", label="streamed, computed")
axes.plot(counts, second, "o--", color="#0072b2", label="streamed, stored")
axes.set_xlabel("data (MB)")
axes.set_ylabel("peak memory (MB)")
axes.set_ylim(bottom=0)
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

folder.cleanup()
