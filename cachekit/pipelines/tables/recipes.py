"""What is compared: ways to make numbers of a table, and models that learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachekit.errors import PipelineError
from cachekit.pipelines.parameters import Parameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame


@dataclass(frozen=True)
class Recipe:
    """An encoder of columns and a model, with what concerns each.

    Attributes
    ----------
    encoder : {"skrub", "tidied", "onehot", "numbers"}
        What becomes of texts.
    encoder_settings : dict
        ``n_components`` for skrub, ``max_categories`` for categories.
    model : {"boosting", "ridge"}
        What learns.
    model_settings : dict
        By scikit-learn's names.
    """

    encoder: str
    encoder_settings: dict[str, int]
    model: str
    model_settings: dict[str, Any]

    @property
    def name(self) -> str:
        """For people: ``skrub + ridge``."""
        return f"{self.encoder} + {self.model}"

    @property
    def is_tidy(self) -> bool:
        """Whether it gets the tidied table rather than the table as it is."""
        return self.encoder in ("skrub", "tidied")


def list_recipes(parameters: Parameters) -> list[Recipe]:
    """Return all pairs of an encoder and a model, each once.

    Parameters
    ----------
    parameters : Parameters
        As in `const`.

    Raises
    ------
    PipelineError
        If there are none.
    """
    p = parameters
    encoders: dict[str, dict[str, int]] = {
        "skrub": {"n_components": p.TEXT_COMPONENTS},
        "tidied": {"max_categories": p.ONEHOT_CATEGORIES},
        "onehot": {"max_categories": p.ONEHOT_CATEGORIES},
        "numbers": {},
    }
    models = {
        "boosting": {"max_iter": p.BOOSTING_ROUNDS, "learning_rate": p.BOOSTING_RATE},
        "ridge": {"alphas": p.RIDGE_PENALTIES},
    }
    if "ridge" in p.MODELS and not p.RIDGE_PENALTIES:
        raise PipelineError("a ridge needs a penalty: give RIDGE_PENALTIES a value")
    if not (p.ENCODERS and p.MODELS):
        raise PipelineError("there is nothing to compare: ENCODERS or MODELS is empty")
    return [
        Recipe(encoder, encoders[encoder], model, models[model])
        for encoder in dict.fromkeys(p.ENCODERS)
        for model in dict.fromkeys(p.MODELS)
    ]


def make_frame(columns: Mapping[str, Any], recipe: Recipe) -> DataFrame:
    """Return columns as a table for a recipe.

    Parameters
    ----------
    columns : mapping
        Arrays, or sequences of texts with None where there is none, by name.
    recipe : Recipe
        Who tidies nothing gets numbers where a whole column is of plain ones, as from
        `pandas.read_csv`; with "numbers", these columns alone.

    Returns
    -------
    DataFrame
    """
    import pandas as pd

    frame = pd.DataFrame({name: pd.Series(column) for name, column in columns.items()})
    if recipe.encoder == "tidied":
        for name in frame.select_dtypes("datetime"):
            frame[name] = (frame[name] - pd.Timestamp(0)) / pd.Timedelta(days=1)
    if recipe.is_tidy:
        return frame
    for name in frame:
        try:
            frame[name] = pd.to_numeric(frame[name]).astype(float)
        except ValueError:
            continue
    if recipe.encoder == "numbers":
        # Without numbers it predicts the same for each row: so does a column of 0.
        return frame.select_dtypes("number").assign(**{"": 0.0})
    return frame


def make_pipeline(recipe: Recipe, *, is_class: bool, seed: int) -> Any:
    """Return the estimator of a recipe, not fitted.

    Parameters
    ----------
    recipe : Recipe
        What it is made of.
    is_class : bool
        Whether it tells classes, rather than numbers.
    seed : int
        Start of the random numbers.

    References
    ----------
    Texts by the counts of their pieces of three or four letters, weighed by TF-IDF and
    reduced by a truncated SVD (latent semantic analysis: Deerwester et al. 1990, JASIS
    41), so that a misspelt title is close to the right one; why pieces of words:
    Cerda and Varoquaux (2022), IEEE TKDE 34.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    # Trees need no scale and bear gaps, but no column that has gaps only.
    return make_pipeline(
        _encoder(recipe, seed),
        FunctionTransformer(take_huge_for_missing),
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        _model(recipe, is_class=is_class, seed=seed),
    )


def take_huge_for_missing(numbers: Any) -> NDArray[np.float64]:
    """Return numbers as an array, with nan for infinity and what is nearly so.

    No model takes ``"inf"``, and squares of what a float32 cannot hold overflow.
    """
    import numpy as np

    array = np.asarray(numbers, np.float64)
    return np.where(np.abs(array) < 3e38, array, np.nan)


def _encoder(recipe: Recipe, seed: int) -> Any:
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    if recipe.encoder == "skrub":
        from skrub import StringEncoder, TableVectorizer

        texts = StringEncoder(**recipe.encoder_settings, random_state=seed)
        return TableVectorizer(high_cardinality=texts, n_jobs=1)
    if recipe.encoder in ("tidied", "onehot"):
        categories = OneHotEncoder(
            **recipe.encoder_settings,
            handle_unknown="infrequent_if_exist",
            sparse_output=False,
        )
        texts = make_column_selector(dtype_exclude="number")
        return make_column_transformer((categories, texts), remainder="passthrough")
    return "passthrough"


def _model(recipe: Recipe, *, is_class: bool, seed: int) -> Any:
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )
    from sklearn.linear_model import RidgeClassifierCV, RidgeCV

    if recipe.model == "ridge":
        return (RidgeClassifierCV if is_class else RidgeCV)(**recipe.model_settings)
    boosting = (
        HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    )
    # As many rounds as were asked for, however large the table.
    return boosting(**recipe.model_settings, early_stopping=False, random_state=seed)
