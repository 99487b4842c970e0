"""
What a second run costs
=======================

A script that is run a hundred times with small changes should compute, each time, only
what is new. Here is such a script, run three times.
"""

import tempfile
import time

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from cachekit import Memory

folder = tempfile.TemporaryDirectory()  # in your script: Memory("results")
memory = Memory(folder.name)


@memory.cache
def accuracy(images, digits, penalty):
    return cross_val_score(SVC(C=penalty), images, digits, cv=3).mean()


# %%
# The script tries some penalties. In its third run, a fifth is added.

images, digits = load_digits(n_class=6, return_X_y=True)


def script(penalties):
    for penalty in penalties:
        accuracy(images, digits, penalty)


runs = {
    "first run": [0.1, 1, 10, 100],
    "second run": [0.1, 1, 10, 100],
    "one penalty\nmore": [0.1, 1, 10, 100, 1000],
}
seconds = []
for name, penalties in runs.items():
    before = memory.tally().misses
    started = time.perf_counter()
    script(penalties)
    seconds.append(time.perf_counter() - started)
    computed = memory.tally().misses - before
    print(f"{' '.join(name.split())}: computed {computed} of {len(penalties)}")

# %%
# The second run computes nothing, and the third only the penalty that is new.

figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
bars = axes.bar(list(runs), seconds, color="#0072b2")
axes.bar_label(bars, fmt="%.3f")
axes.set_ylabel("time (s)")
axes.margins(y=0.12)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

folder.cleanup()
