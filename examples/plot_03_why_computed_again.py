"""
Why was it computed again?
==========================

When a call that you thought was stored is computed, ``explain`` tells what differs from
the nearest stored result: an argument, a value, or lines of code, in the function or in
whatever it calls.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np

from cachekit import Memory

folder = tempfile.TemporaryDirectory()
memory = Memory(folder.name)


def window(width):
    return np.ones(width)


@memory.cache
def smooth(signal, width=25):
    weights = window(width)
    return np.convolve(signal, weights / weights.sum(), mode="same")


rng = np.random.default_rng(0)
signal = np.sign(np.sin(np.linspace(0, 12, 300))) + rng.normal(0, 0.3, 300)
boxed = smooth(signal)
print(smooth.explain(signal))

# %%
# Another argument:

print(smooth.explain(signal, width=51))

# %%
# A helper is edited; ``smooth`` itself is not.


def window(width):
    return np.hanning(width)


print(smooth.explain(signal))

# %%
# So the call is computed again, and the result is that of the code as it is now.

rounded = smooth(signal)
print(smooth.cache_info().misses, "calls computed")

figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
axes.plot(signal, color="0.8", label="signal")
axes.plot(boxed, color="#e69f00", label="before the edit")
axes.plot(rounded, color="#0072b2", linestyle="--", label="after it")
axes.set_xlim(100, 260)
axes.set_xlabel("sample")
axes.set_ylabel("amplitude (V)")
axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=3, frameon=False)
plt.show()

folder.cleanup()
