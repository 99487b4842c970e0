"""
A run that is recorded, compared and done again
===============================================

``experiments.run`` records with which parameters, code and packages a number came out.
``cachekit repro`` checks out that code and runs it with an empty cache, to see whether
it comes out again. For that, a study is a script in a git repository.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from cachekit import experiments, inspection

folder = tempfile.TemporaryDirectory()
study = Path(folder.name)

(study / "study.py").write_text("""
import sys

import numpy as np

from cachekit import Memory
from cachekit.experiments import run

memory = Memory("results")


@memory.cache
def error(order):
    rng = np.random.default_rng(0)
    x = np.linspace(0, 6, 40)
    y = np.sin(x) + rng.normal(0, 0.2, 40)
    curve = np.polynomial.Polynomial.fit(x[::2], y[::2], order)
    return float(np.std(curve(x[1::2]) - y[1::2]))


for order in range(1, 10):
    with run("curve", {"order": order}, memory=memory) as this:
        this.log_metric("error", error(order))
""")
(study / ".gitignore").write_text("results/\n")


def call(*command):
    done = subprocess.run(
        command, cwd=study, capture_output=True, text=True, check=True
    )
    return done.stdout


call("git", "init", "--quiet")
call("git", "add", ".")
author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
call("git", *author, "commit", "--quiet", "-m", "Fit curves of nine orders")

# %%
# The study fits curves of nine orders to every other point of a noisy sine, and
# measures how far they are from the points between. Its nine records:

call(sys.executable, "study.py")
records = experiments.runs(inspection.store_at(study / "results"))
for record in reversed(records):
    print(f"order {record.parameters['order']}: {record.metrics['error']:.3f}")

# %%
# The last of them, done again from the commit:

cachekit = [sys.executable, "-m", "cachekit"]
print(call(*cachekit, "repro", "last", "--store", str(study / "results")))

# %%

orders = [record.parameters["order"] for record in records]
errors = [record.metrics["error"] for record in records]
figure, axes = plt.subplots(figsize=(4.5, 3.0), layout="constrained")
axes.plot(orders, errors, "o-", color="#0072b2")
axes.set_xlabel("order of the curve")
axes.set_ylabel("error between the points")
axes.set_ylim(bottom=0)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

folder.cleanup()
