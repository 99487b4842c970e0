"""The grid: which models may be chosen, and what each is in scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from cachekit.errors import PipelineError
from cachekit.pipelines.parameters import Parameters


@dataclass(frozen=True)
class Candidate:
    """A model that may be chosen: a point of the grid.

    Attributes
    ----------
    kind : {"forest", "boosting", "svm"}
        What sort of classifier.
    settings : dict
        Its hyper-parameters, by scikit-learn's names.
    """

    kind: str
    settings: dict[str, float]


def list_candidates(parameters: Parameters) -> list[Candidate]:
    """Return all points of the grid, each once.

    Parameters
    ----------
    parameters : Parameters
        As in `const`.

    Raises
    ------
    PipelineError
        If the grid is empty.
    """
    candidates: list[Candidate] = []
    for candidate in _grid(parameters):
        if candidate not in candidates:
            candidates.append(candidate)
    if not candidates:
        raise PipelineError(
            "the grid is empty: FOREST_*, BOOSTING_* and SVM_* each have a tuple "
            "without values; give at least one kind of model a value for each"
        )
    return candidates


def make_estimator(candidate: Candidate, seed: int) -> Any:
    """Return the estimator of a candidate, not fitted.

    Each runs on its own: `Parallel` keeps all cores busy with candidates and folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.svm import SVC

    if candidate.kind == "forest":
        return RandomForestClassifier(**candidate.settings, random_state=seed, n_jobs=1)
    if candidate.kind == "boosting":
        return HistGradientBoostingClassifier(**candidate.settings, random_state=seed)
    return SVC(**candidate.settings)  # exact: it draws no random numbers


def _grid(p: Parameters) -> Iterator[Candidate]:
    for share, leaf in product(p.FOREST_MAX_FEATURES, p.FOREST_MIN_LEAF):
        settings = {"max_features": share, "min_samples_leaf": leaf}
        yield Candidate("forest", {"n_estimators": p.FOREST_TREES, **settings})
    for rate, leaves in product(p.BOOSTING_RATES, p.BOOSTING_LEAVES):
        settings = {"learning_rate": rate, "max_leaf_nodes": leaves}
        yield Candidate("boosting", {"max_iter": p.BOOSTING_ROUNDS, **settings})
    for penalty, gamma in product(p.SVM_PENALTIES, p.SVM_GAMMAS):
        yield Candidate("svm", {"C": penalty, "gamma": gamma})
