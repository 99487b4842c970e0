"""
A parameter sweep that grows
============================

One seldom knows beforehand where the best parameters are. One begins with a coarse
grid, looks, and makes it wider or finer. With a cached score, what was in the earlier
grid is taken from there.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from cachekit import Memory

folder = tempfile.TemporaryDirectory()
memory = Memory(folder.name)


@memory.cache
def accuracy(images, digits, penalty, width):
    model = SVC(C=10.0**penalty, gamma=10.0**width)
    return cross_val_score(model, images, digits, cv=3).mean()


def sweep(penalties, widths):
    """Score a grid; say which of its points had to be computed."""
    images, digits = load_digits(return_X_y=True)
    images, digits = images[:300], digits[:300]
    scores = np.empty((len(penalties), len(widths)))
    computed = np.empty(scores.shape, bool)
    for point in np.ndindex(scores.shape):
        call = (images, digits, penalties[point[0]], widths[point[1]])
        computed[point] = not accuracy.check_call_in_cache(*call)
        scores[point] = accuracy(*call)
    print(f"{scores.size} points, {computed.sum()} computed, best {scores.max():.3f}")
    return scores, computed


# %%
# A coarse grid, of powers of ten; then one around its best points that has them halved.

sweep([-1.0, 0.0, 1.0, 2.0], [-5.0, -4.0, -3.0, -2.0])
penalties, widths = [0.0, 0.5, 1.0, 1.5, 2.0], [-4.5, -4.0, -3.5, -3.0, -2.5, -2.0]
scores, computed = sweep(penalties, widths)

# %%
# Dots are points of the second grid that the first had computed already.

figure, axes = plt.subplots(figsize=(4.5, 3.4), layout="constrained")
image = axes.pcolormesh(widths, penalties, 100 * scores, cmap="cividis", vmin=90)
known = np.argwhere(~computed)
axes.plot(np.take(widths, known[:, 1]), np.take(penalties, known[:, 0]), "wo", mec="k")
figure.colorbar(image, label="accuracy (%)", extend="min")
axes.set_xlabel("log10 of gamma")
axes.set_ylabel("log10 of C")
plt.show()

folder.cleanup()
