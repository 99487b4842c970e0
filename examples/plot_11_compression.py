"""
Smaller or sooner
=================

Results can be stored compressed. How much that saves, and how long it takes, depends on
the method and on the numbers: try a few on a result of yours. Here it is the brightness
of a part of a photograph, as 64-bit floats.
"""

import io
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from cachekit import dump, load

brightness = load_sample_image("china.jpg")[:200, :400].mean(axis=2)
print(f"{brightness.nbytes / 1e6:.1f} MB of floats")

# %%
# Methods are named in the same way for ``dump`` and for ``Memory``. With ``True``,
# cachekit chooses between zstd with and without ``shuffle``, which puts the first bytes
# of all numbers together, then the second bytes, and so on.

methods = [False, "lz4", "lz4+shuffle", "zstd", "zstd+shuffle", "gzip", "xz"]


def size_and_time(method):
    """Return the size in percent of the array, and the milliseconds to write it."""
    file = io.BytesIO()
    started = time.perf_counter()
    dump(brightness, file, compress=method)
    seconds = time.perf_counter() - started
    file.seek(0)
    assert np.array_equal(load(file), brightness)
    return 100 * len(file.getvalue()) / brightness.nbytes, 1000 * seconds


measured = {}
for method in methods:
    size_and_time(method)  # the first use of a method imports what it needs
    measured[method] = size_and_time(method)
    print(f"{method!s:12} {measured[method][0]:5.1f}%")
print(f"{True!s:12} {size_and_time(True)[0]:5.1f}%")

# %%
# To the left is quicker, below is smaller.

figure, axes = plt.subplots(figsize=(4.5, 3.6), layout="constrained")
for method, (percent, milliseconds) in measured.items():
    axes.plot(milliseconds, percent, "o", color="#0072b2")
    below = method in ("zstd+shuffle", "lz4", "xz")
    axes.annotate(
        str(method),
        (milliseconds, percent),
        (0, -14 if below else 6),
        textcoords="offset points",
        ha="center",
        fontsize=9,
    )
axes.set_xscale("log")
axes.set_xlabel("time to write (ms)")
axes.set_ylabel("size (% of the array)")
axes.set_ylim(0, 108)
axes.margins(x=0.2)
axes.spines[["top", "right"]].set_visible(False)
plt.show()
