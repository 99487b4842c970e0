"""
What leaves a full cache
========================

Without limits nothing ever leaves. With ``max_bytes``, or when you call
``reduce_size``, those results leave that were not used for longest; or, with
``policy="cost"``, those that are quickest to compute again for their size.
"""

import tempfile
import time

import matplotlib.pyplot as plt
import numpy as np

from cachekit import Memory

rng = np.random.default_rng(0)
work = rng.permutation(np.geomspace(0.001, 0.05, 30))  # seconds, in a random order
length = rng.permutation(np.geomspace(1_000, 100_000, 30)).astype(int)


def simulate(seconds, length):
    time.sleep(seconds)  # here, your work
    return np.zeros(length, "uint8")


# %%
# Thirty results are stored, and half of the bytes are to go. What would it take to
# compute again what has left?


def fill_and_reduce(policy):
    """Return which results stayed."""
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(folder, policy=policy)
        cached = memory.cache(simulate)
        calls = list(zip(work, length, strict=True))
        for call in calls:
            cached(*call)
        memory.reduce_size(bytes_limit=int(length.sum() / 2))
        return np.array([cached.check_call_in_cache(*call) for call in calls])


stays = {policy: fill_and_reduce(policy) for policy in ("lru", "cost")}
for policy, kept in stays.items():
    print(f"{policy}: {kept.sum()} of 30 stay; {work[~kept].sum():.2f} s of work leave")

# %%

figure, panels = plt.subplots(
    1, 2, figsize=(4.8, 3.2), layout="constrained", sharex=True, sharey=True
)
for axes, (policy, kept) in zip(panels, stays.items(), strict=True):
    size, duration = length / 1000, 1000 * work
    axes.loglog(size[kept], duration[kept], "o", color="#0072b2", label="stays")
    axes.loglog(size[~kept], duration[~kept], "x", color="#d55e00", label="leaves")
    axes.set_title(policy)
    axes.set_xlabel("size (kB)")
panels[0].set_ylabel("time to compute (ms)")
figure.legend(
    *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2
)
plt.show()
