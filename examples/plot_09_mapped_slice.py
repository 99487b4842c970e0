"""
A slice of a large result
=========================

With ``mmap_mode="r"`` a stored array is not read but mapped: the system fetches the
part that you touch, when you touch it. So a frame of a film costs the memory of a
frame, however long the film is.
"""

import tempfile
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

from cachekit import Memory

folder = tempfile.TemporaryDirectory()
memory = Memory(folder.name)


def film(frames):
    """Simulate a wave, as frames of 64 by 64 pixels."""
    x, y = np.mgrid[:64, :64] / 8
    time = np.arange(frames)[:, None, None] / 10
    return np.sin(np.hypot(x, y) - time)


reading = memory.cache(film)
mapping = memory.cache(film, mmap_mode="r")  # the same results, taken in another way

# %%
# The films are computed once. Then one frame of each is taken, in both ways.


def peak_megabytes(cached, frames):
    tracemalloc.start()
    frame = np.array(cached(frames)[frames // 2])
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert frame.shape == (64, 64)
    return peak


lengths = [64, 128, 256, 512, 1024]
for frames in lengths:
    reading(frames)

read = [peak_megabytes(reading, frames) for frames in lengths]
mapped = [peak_megabytes(mapping, frames) for frames in lengths]
sizes = [frames * 64 * 64 * 8 / 1e6 for frames in lengths]
for size, whole, part in zip(sizes, read, mapped, strict=True):
    print(f"film of {size:4.1f} MB: {whole:4.1f} MB read, {1000 * part:.0f} kB mapped")

# %%
# All that is counted here is what Python has asked for; pages of a mapped file are the
# system's, and it may drop them whenever it needs room.

figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
axes.plot(sizes, read, "s-", color="#e69f00", label="read")
axes.plot(sizes, mapped, "o-", color="#0072b2", label="mapped")
axes.set_xlabel("size of the film (MB)")
axes.set_ylabel("peak memory for a frame (MB)")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

folder.cleanup()
