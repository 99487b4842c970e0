"""
Equal values have equal digests
===============================

A call is found again if its arguments are equal, however they came about. Here are
pairs of equal values, and whether ``cachekit.digest`` and ``joblib.hash`` say so. Where
a hash says that they differ, a call is computed twice.
"""

import tempfile
from functools import cached_property
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np

from cachekit import digest

folder = tempfile.TemporaryDirectory()


class Sample:
    values = (1.5, 2.5)

    @cached_property
    def mean(self):
        return sum(self.values) / len(self.values)


used = Sample()
print("mean", used.mean)  # kept in the object from now on

table = np.arange(12.0).reshape(4, 3)
np.save(Path(folder.name, "table.npy"), table)
mapped = np.load(Path(folder.name, "table.npy"), mmap_mode="r")
fixed = table.copy()
fixed.flags.writeable = False
point = [0.5, 1.5]

pairs = {
    "dict, filled in another order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "array, read-only": (table, fixed),
    "array, mapped from a file": (table, mapped),
    "slice, and its copy": (table[::2], table[::2].copy()),
    "one list twice, or two": ([point, point], [point, list(point)]),
    "object, a property in use": (Sample(), used),
}

# %%
# These are to differ: types and the order in memory can change a result.

others = {
    "1 and 1.0": (1, 1.0),
    "list and tuple": (point, tuple(point)),
    "C and Fortran order": (table, np.asfortranarray(table)),
}

hashes = {"cachekit": digest, "joblib": joblib.hash}
answers = {
    what: [function(one) == function(other) for function in hashes.values()]
    for what, (one, other) in {**pairs, **others}.items()
}
for what, (ours, theirs) in answers.items():
    print(f"{what:30} {'=' if ours else '≠'} {'=' if theirs else '≠'}")

# %%
# Above the line are equal values, below it different ones.

figure, axes = plt.subplots(figsize=(4.5, 3.4), layout="constrained")
for row, equal in enumerate(answers.values()):
    for column, same in enumerate(equal):
        colour = "#0072b2" if same else "#e69f00"
        axes.text(column, row, "=" if same else "≠", color=colour, size=18, va="center")
axes.axhline(len(pairs) - 0.5, color="0.7")
axes.set_xticks([0, 1], list(hashes))
axes.set_yticks(range(len(answers)), list(answers))
axes.set(xlim=(-0.5, 1.5), ylim=(len(answers) - 0.5, -0.5))
axes.xaxis.tick_top()
axes.tick_params(length=0)
axes.spines[:].set_visible(False)
plt.show()

folder.cleanup()
