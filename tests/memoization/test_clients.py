"""Libraries that take a `joblib.Memory` take ours, and their calls hit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import OPTICS, FeatureAgglomeration
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_memory

from cachekit import CacheWarning, Memory
from tests.memoization.project import Project, value_files

Array = np.ndarray[Any, Any]


class Centred(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Subtracts the mean, and writes a line into a file each time it is fitted."""

    def __init__(self, witness: str, factor: float = 1.0) -> None:
        self.witness = witness
        self.factor = factor

    def fit(self, X: Array, y: object = None) -> Centred:  # noqa: ARG002, N803
        with Path(self.witness).open("a") as file:
            file.write("fitted\n")
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X: Array) -> Array:  # noqa: N803
        centred: Array = (X - self.mean_) * self.factor
        return centred


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    path = tmp_path / "fits"
    path.touch()
    return path


@pytest.fixture
def data() -> tuple[Array, Array]:
    points = np.random.default_rng(0).random((60, 6))
    return points, (points[:, 0] > 0.5).astype(int)


def pipeline(memory: Memory | None, witness: Path, factor: float = 1.0) -> Pipeline:
    steps = [
        ("centre", Centred(str(witness), factor)),
        ("reduce", PCA(3)),
        ("decide", LogisticRegression()),
    ]
    return Pipeline(steps, memory=memory)


def times_fitted(witness: Path) -> int:
    return len(witness.read_text().splitlines())


# --- scikit-learn ---


def test_the_steps_of_a_pipeline_are_fitted_once(
    memory: Memory, store: Path, witness: Path, data: tuple[Array, Array]
) -> None:
    first = pipeline(memory, witness).fit(*data)
    second = pipeline(Memory(store), witness).fit(*data)

    assert times_fitted(witness) == 1
    assert len(value_files(store)) == 2  # a step each, but for the last one
    np.testing.assert_array_equal(second["centre"].mean_, first["centre"].mean_)
    np.testing.assert_array_equal(second.predict(data[0]), first.predict(data[0]))


def test_a_pipeline_gives_what_it_gives_without_a_memory(
    memory: Memory, witness: Path, data: tuple[Array, Array]
) -> None:
    expected = pipeline(None, witness).fit(*data).predict_proba(data[0])

    for _ in range(2):
        fitted = pipeline(memory, witness).fit(*data)
        np.testing.assert_array_equal(fitted.predict_proba(data[0]), expected)


def test_the_steps_of_a_script_are_fitted_once_in_all_its_runs(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "script.py",
        """
        import numpy as np
        from cachekit import Memory
        from sklearn.base import BaseEstimator, TransformerMixin
        from sklearn.pipeline import make_pipeline
        from sklearn.linear_model import LinearRegression

        class Doubled(TransformerMixin, BaseEstimator):
            def fit(self, X, y=None):
                print("fitting")
                self.fitted_ = True
                return self

            def transform(self, X):
                return 2 * X

        X = np.arange(12.0).reshape(6, 2)
        steps = make_pipeline(Doubled(), LinearRegression(), memory=Memory("store"))
        steps.fit(X, X[:, 0])
        print(type(steps[0]) is Doubled and steps[0].fitted_)
        """,
    )

    assert project.run("script.py") == ["fitting", "True"]
    assert project.run("script.py") == ["True"]


def test_only_the_steps_behind_a_change_are_fitted_again(
    memory: Memory, store: Path, witness: Path, data: tuple[Array, Array]
) -> None:
    pipeline(memory, witness).fit(*data)
    pipeline(memory, witness).set_params(reduce__n_components=2).fit(*data)
    assert times_fitted(witness) == 1

    pipeline(memory, witness, factor=2.0).fit(*data)
    pipeline(memory, witness).fit(data[0] + 1, data[1])

    assert times_fitted(witness) == 3
    assert len(value_files(store)) == 2 + 1 + 2 + 2


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_fits_the_first_steps_once_for_each_part_of_the_data(
    memory: Memory, witness: Path, data: tuple[Array, Array], n_jobs: int
) -> None:
    search = GridSearchCV(
        pipeline(memory, witness), {"decide__C": [0.1, 1, 10]}, cv=2, n_jobs=n_jobs
    )

    search.fit(*data)

    assert times_fitted(witness) == 2 + 1  # the folds, and all of the data
    assert search.best_estimator_["centre"].mean_.shape == (6,)


def test_the_pipeline_that_is_given_stays_as_it_is(
    memory: Memory, witness: Path, data: tuple[Array, Array]
) -> None:
    centre = Centred(str(witness))
    for _ in range(2):
        Pipeline([("centre", centre), ("reduce", PCA(3))], memory=memory).fit(*data)

    assert not hasattr(centre, "mean_")


def test_a_pipeline_in_a_pipeline_is_cached_too(
    memory: Memory, witness: Path, data: tuple[Array, Array]
) -> None:
    inner = pipeline(memory, witness)[:-1]
    for _ in range(2):
        outer = Pipeline([("inner", inner), ("scale", StandardScaler())], memory=memory)
        clone(outer).fit(*data)

    assert times_fitted(witness) == 1


def test_a_step_that_changes_the_data_itself_is_not_stored(
    memory: Memory, store: Path, data: tuple[Array, Array]
) -> None:
    points = data[0].copy()
    in_place = Pipeline(
        [("scale", StandardScaler(copy=False)), ("reduce", PCA(3))], memory=memory
    )

    with pytest.warns(CacheWarning, match="changed its argument X"):
        in_place.fit(points)

    assert not np.array_equal(points, data[0])
    assert value_files(store) == []


def test_without_a_location_a_pipeline_fits_what_it_is_given(
    witness: Path, data: tuple[Array, Array]
) -> None:
    steps = pipeline(Memory(None), witness)
    centre = steps["centre"]

    steps.fit(*data)

    assert hasattr(centre, "mean_")  # scikit-learn reads `memory.location` for this


# Of what is compiled in scikit-learn, which its own cached functions lead to.
@pytest.mark.filterwarnings("ignore:sklearn.*has no stable digest")
@pytest.mark.parametrize("estimator", [FeatureAgglomeration, OPTICS])
def test_clusterings_are_computed_once(
    memory: Memory, data: tuple[Array, Array], estimator: Any
) -> None:
    labels = [estimator(memory=memory).fit(data[0]).labels_ for _ in range(2)]

    np.testing.assert_array_equal(*labels)
    assert memory.tally()[:2] == (1, 1)  # hits and misses


def test_scikit_learn_takes_ours_for_a_memory(memory: Memory) -> None:
    assert check_memory(memory) is memory
    assert clone(memory, safe=False).location == memory.location


# --- what a pipeline's steps ask for: an estimator that is fitted and handed back ---


def fit_and_transform(points: Array, estimator: Any) -> tuple[Array, Any]:
    return estimator.fit_transform(points), estimator


def fit_only(points: Array, estimator: Any) -> int:
    estimator.fit(points)
    return len(points)


def fit_and_return(points: Array, estimator: Any) -> Any:
    return estimator.fit(points)


def double_in_place(points: Array) -> tuple[Array, float]:
    points *= 2
    return points, points.sum()


def test_an_estimator_that_is_fitted_and_handed_back_is_stored(
    memory: Memory, data: tuple[Array, Array]
) -> None:
    cached = memory.cache(fit_and_transform)
    cached(data[0], PCA(2))
    mine = PCA(2)

    _, fitted = cached(data[0], mine)

    assert fitted.components_.shape == (2, 6)
    assert not hasattr(mine, "components_")


@pytest.mark.parametrize("function", [fit_only, fit_and_return])
def test_an_estimator_that_the_caller_may_not_look_for_is_not(
    memory: Memory, store: Path, data: tuple[Array, Array], function: Any
) -> None:
    cached = memory.cache(function)
    mine = PCA(2)

    with pytest.warns(CacheWarning, match="changed its argument estimator"):
        cached(data[0], mine)

    assert hasattr(mine, "components_")
    assert value_files(store) == []


def test_data_that_is_changed_is_not_stored_though_it_is_handed_back(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(double_in_place)

    with pytest.warns(CacheWarning, match="changed its argument points"):
        cached(np.ones(3))

    assert value_files(store) == []


def test_scikit_learn_is_not_imported_for_that(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "analysis.py",
        """
        import sys
        from cachekit import Memory

        @Memory("store").cache
        def extended(items):
            return items + [1], items
        """,
    )

    assert project.ask("analysis.extended([2]), 'sklearn' in analysis.sys.modules") == [
        "([2, 1], [2]) False"
    ]
    assert "sklearn" in sys.modules
