"""
A damaged byte costs time, not the answer
=========================================

Disks fail, and copies break off. Every byte of a stored result is checked when it is
read: what is damaged is computed again, with a ``CacheWarning``. Here one bit after the
other is flipped in a stored image, and in the one that joblib stores.
"""

import logging
import tempfile
import warnings
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from cachekit import Memory
from cachekit.errors import CacheWarning

folder = tempfile.TemporaryDirectory()


def brightness(name):
    """Return the middle of a photograph, in grey."""
    return load_sample_image(name)[200:232, 300:332].mean(axis=2)


answer = brightness("flower.jpg")

# %%
# A bit is flipped at 100 places all over the file. After each, the call is made again,
# and its answer compared with the right one.

logging.disable()  # joblib logs a traceback where it cannot read a file


def flip_bits(memory, file_name):
    """Return how many answers were right, of calls with a damaged result."""
    cached = memory.cache(brightness)
    cached("flower.jpg")
    [path] = Path(memory.location).rglob(file_name)
    intact = path.read_bytes()
    right = 0
    for place in np.linspace(0, len(intact) - 1, 100).astype(int):
        damaged = bytearray(intact)
        damaged[place] ^= 0b0100_0000
        path.write_bytes(damaged)
        right += np.array_equal(cached("flower.jpg"), answer)
    return right


joblibs = joblib.Memory(folder.name + "/theirs", verbose=0)
memory = Memory(folder.name + "/ours")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    theirs = flip_bits(joblibs, "output.pkl")
    ours = flip_bits(memory, "value")
told = sum(warning.category is CacheWarning for warning in caught)

print(f"joblib: {theirs} of 100 answers right")
print(f"cachekit: {ours} of 100 answers right, {told} warnings")

# %%

figure, axes = plt.subplots(figsize=(4.5, 2.4), layout="constrained")
names, right = ["cachekit", "joblib"], np.array([ours, theirs])
axes.barh(names, right, color="#0072b2", label="right answer")
axes.barh(names, 100 - right, left=right, color="#d55e00", label="wrong answer")
axes.set_xlabel("calls after a bit was flipped")
axes.invert_yaxis()
axes.spines[["top", "right"]].set_visible(False)
figure.legend(loc="outside upper center", ncols=2, frameon=False)
plt.show()

folder.cleanup()
