"""
Which edits compute again
=========================

A result is taken if the arguments, the code that the call runs and the values that this
code reads are the same as when it was stored. Here a small module is edited, one thing
at a time, and each time its function is called again.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from cachekit import Memory

folder = tempfile.TemporaryDirectory()
memory = Memory(folder.name + "/results")
study = Path(folder.name, "study.py")

SOURCE = '''
RATE = 0.5

def weight(place):
    return RATE / (1 + place)

def unused(place):
    return place

def score(values, order=2):
    """Weigh the first values."""
    return sum(value * weight(i) for i, value in enumerate(values[:order]))
'''


def is_computed(source, call):
    """Write the module, make a call, and tell whether it was computed."""
    study.write_text(source)
    module = {"__name__": "study"}
    exec(compile(source, study, "exec"), module)
    module["score"] = memory.cache(module["score"])
    before = memory.tally().misses
    eval(call, module)
    return memory.tally().misses > before


# %%
# Each line has what is replaced in the module, and by what; or another way to call it.

CALL = "score([3, 1, 2])"
edits = {
    "nothing": ("", "", CALL),
    "a comment": ("weight(place):", "weight(place):  # falls", CALL),
    "the docstring": ("Weigh the first", "Sum up the first", CALL),
    "a function not called": ("return place", "return -place", CALL),
    "order=2, spelled out": ("", "", "score(values=[3, 1, 2], order=2)"),
    "the function": ("values[:order]", "values[order:]", CALL),
    "a helper": ("1 + place", "2 + place", CALL),
    "a constant": ("RATE = 0.5", "RATE = 0.6", CALL),
    "a default": ("order=2", "order=3", CALL),
    "3 is now 3.0": ("", "", "score([3.0, 1, 2])"),
    "all edits undone": ("", "", CALL),
}
is_computed(SOURCE, CALL)
answers = {
    name: is_computed(SOURCE.replace(old, new) if old else SOURCE, call)
    for name, (old, new, call) in edits.items()
}
for name, computed in answers.items():
    print(f"{name:22} {'computed' if computed else 'taken'}")

# %%

figure, axes = plt.subplots(figsize=(4.5, 3.6), layout="constrained")
for row, computed in enumerate(answers.values()):
    shape, colour = ("s", "#e69f00") if computed else ("o", "#0072b2")
    axes.plot(int(computed), row, shape, color=colour, markersize=9)
axes.set_xticks([0, 1], ["taken", "computed"])
axes.set_yticks(range(len(answers)), list(answers))
axes.set_xlim(-0.5, 1.5)
axes.invert_yaxis()
axes.grid(axis="y", alpha=0.4)
plt.show()

folder.cleanup()
