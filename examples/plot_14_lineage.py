"""
What a result was made of
=========================

The record of a stored call has the digests of its arguments and of its result. Where
one call's result is another's argument, there is an edge. Nothing has to be declared:
this is a plain script.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine

from cachekit import Memory

folder = tempfile.TemporaryDirectory()
memory = Memory(folder.name)


@memory.cache
def load():
    wine = load_wine()
    return wine.data, wine.target


@memory.cache
def scale(table):
    return (table - table.mean(axis=0)) / table.std(axis=0)


@memory.cache
def centres(table, kinds):
    return np.array([table[kinds == kind].mean(axis=0) for kind in range(3)])


@memory.cache
def distances(table, centres):
    return np.linalg.norm(table[:, None] - centres, axis=2)


@memory.cache
def accuracy(distances, kinds):
    return float(np.mean(distances.argmin(axis=1) == kinds))


table, kinds = load()
scaled = scale(table)
score = accuracy(distances(scaled, centres(scaled, kinds)), kinds)
print(f"{score:.1%} of the wines are nearest to the centre of their kind")

# %%
# The same is printed by ``cachekit graph``, and as a table by ``to_frame``.

graph = memory.graph()
names = {node.name: node.title.rpartition(".")[2] for node in graph.nodes}
for edge in graph.edges:
    print(f"{names[edge.source]:9} -> {edge.argument:9} of {names[edge.target]}")

# %%
# Drawn with the depth of a step as its height.

depth = dict.fromkeys(names, 0)
for _ in names:
    for edge in graph.edges:
        depth[edge.target] = max(depth[edge.target], depth[edge.source] + 1)

figure, axes = plt.subplots(figsize=(4, 4.2), layout="constrained")
for edge in graph.edges:
    side = -1 if depth[edge.source] % 2 else 1
    jumps = depth[edge.target] - depth[edge.source] > 1
    arrow = {"arrowstyle": "-|>", "shrinkA": 14, "shrinkB": 14}
    arrow["connectionstyle"] = f"arc3,rad={side * 0.4 * jumps}"
    ends = (0, depth[edge.target]), (0, depth[edge.source])
    axes.annotate("", *ends, arrowprops=arrow)
box = {"boxstyle": "round,pad=0.5", "facecolor": "#d8e9f5", "edgecolor": "#0072b2"}
for name, level in depth.items():
    axes.text(0, level, names[name], ha="center", va="center", bbox=box)
axes.set(xlim=(-1, 1), ylim=(max(depth.values()) + 0.5, -0.5))
axes.set_axis_off()
plt.show()

folder.cleanup()
