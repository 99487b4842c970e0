"""scikit-learn runs on our loops as it does on joblib's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parallel.processes import started

# In a process of its own: scikit-learn derives a class from joblib's when imported.
SCRIPT = """
import joblib
import numpy as np
import cachekit.parallel as ours

for name in ("Parallel", "delayed", "effective_n_jobs", "parallel_config"):
    setattr(joblib, name, getattr(ours, name))

from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import parallel

def forest(n_jobs):
    model = RandomForestClassifier(20, random_state=0, n_jobs=n_jobs).fit(x, y)
    return model.predict_proba(x)

def search(n_jobs):
    grid = {"C": [0.01, 0.1, 1.0], "fit_intercept": [True, False]}
    found = GridSearchCV(LogisticRegression(), grid, n_jobs=n_jobs).fit(x, y)
    return found.cv_results_["mean_test_score"]

def scores(n_jobs):
    return cross_val_score(LogisticRegression(), x, y, n_jobs=n_jobs)

if __name__ == "__main__":
    assert issubclass(parallel.Parallel, ours.Parallel)
    x, y = make_classification(300, random_state=0)
    for compute in (forest, search, scores):
        alone = compute(1)
        assert np.array_equal(alone, compute(2)), compute
        for backend in ("loky", "threading", "multiprocessing"):
            with ours.parallel_config(backend, n_jobs=2):
                assert np.array_equal(alone, compute(None)), (compute, backend)
    print("equal")
"""


@pytest.mark.slow
def test_models_are_those_of_a_sequential_fit(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")

    out, errors = started(SCRIPT, tmp_path).communicate(timeout=120)

    assert out == "equal\n", errors
    assert errors == ""
