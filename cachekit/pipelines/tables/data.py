"""How a table is read and checked; a simulated one, of `employees`, like one given."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachekit.errors import PipelineError
from cachekit.pipelines.tables.tidy import is_mostly, parse_numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame


@dataclass(frozen=True)
class Table:
    """A table as it was read, and what is to be predicted of it.

    Attributes
    ----------
    columns : dict of str to tuple
        Texts by the name of their column, as in the file; None where there is none.
    target : str
        Name of the column to predict.
    values : ndarray of float64, shape (n_rows,)
        Its numbers; of classes, their places in `classes`.
    classes : tuple of str
        Names of the classes; none if it is a number.
    rows : ndarray of int64, shape (n_rows,)
        Which rows of the file they are, from 1; those whose target is missing, or
        cannot be read, are left out.
    n_rows_in_file : int
        How many there are.
    """

    columns: dict[str, tuple[str | None, ...]]
    target: str
    values: NDArray[np.float64]
    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    n_rows_in_file: int


def read_table(
    file: os.PathLike[str],
    *,
    target: str,
    min_rows: int,
    max_classes: int,
    min_parsed: float,
    units: Sequence[str],
) -> Table:
    """Read a CSV file, and find out what there is to predict.

    Parameters
    ----------
    file : path-like
        With names in its first line, separated by commas, in UTF-8.
    target : str
        The column to predict. It is a number if most of its texts are and if there are
        more than `max_classes` different ones, and a class otherwise.
    min_rows : int
        How many rows with a target there have to be.
    max_classes : int
        How many different values a class may have.
    min_parsed : float
        Share of the texts that have to be numbers in a column of numbers, 0 to 1.
    units : sequence of str
        What may stand beside a number.

    Returns
    -------
    Table

    Raises
    ------
    PipelineError
        If it is no such file, or the target is not there or cannot be predicted.
    """
    import numpy as np

    frame = _read_csv(file)
    _check_target(frame, target, file)
    named = frame[frame[target].notna()]
    texts = [" ".join(text.split()) for text in named[target]]
    numbers = parse_numbers(texts, units=units)
    is_class = len(set(texts)) <= max_classes
    if not is_class and not is_mostly(numbers, texts, min_parsed):
        raise PipelineError(
            f"column {target!r} of {os.fspath(file)} has {len(set(texts))} different "
            f"texts, too many for classes ({max_classes}), and they are no numbers: "
            "name another --target, or set MAX_CLASSES"
        )
    kept = named if is_class else named[numbers == numbers]  # nan is not itself
    values = numbers[numbers == numbers]
    classes: tuple[str, ...] = ()
    if is_class:
        classes, values = _number_classes(texts)
    _check_values(values, classes, target=target, min_rows=min_rows)
    columns = {
        str(name): tuple(None if cell != cell else cell for cell in kept[name])
        for name in frame.columns
        if name != target
    }
    rows = kept.index.to_numpy(np.int64) + 1
    return Table(columns, target, values, classes, rows, len(frame))


def _read_csv(file: os.PathLike[str]) -> DataFrame:
    import pandas as pd

    path = os.fspath(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, dtype=str, index_col=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError as error:
        raise PipelineError(
            f"{path} is empty: give --csv a file with a table"
        ) from error
    except (ValueError, pd.errors.ParserWarning) as error:  # also of the encoding
        raise PipelineError(
            f"{path} is no CSV file in UTF-8, separated by commas: {error}"
        ) from error


def _check_target(frame: DataFrame, target: str, file: os.PathLike[str]) -> None:
    names = [str(name) for name in frame.columns]
    if target not in names:
        near = difflib.get_close_matches(target, names, n=1)
        shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        hint = f"did you mean {near[0]!r}?" if near else f"there are {shown}"
        raise PipelineError(f"{os.fspath(file)} has no column {target!r}; {hint}")
    if len(names) == 1:
        raise PipelineError(
            f"{os.fspath(file)} has only the column {target!r}: there is nothing to "
            "predict it from"
        )


def _check_values(
    values: NDArray[np.float64], classes: Sequence[str], *, target: str, min_rows: int
) -> None:
    if len(values) < min_rows:
        raise PipelineError(
            f"only {len(values)} rows have a value of {target!r}: at least {min_rows} "
            "are needed to learn and to judge"
        )
    if values.min() == values.max():
        raise PipelineError(
            f"{target!r} is the same in all {len(values)} rows: there is nothing to "
            "learn; name another --target"
        )
    for number, name in enumerate(classes):
        if (values == number).sum() < 2:
            raise PipelineError(
                f"only one row has {target!r} {name!r}: a class needs two, one to "
                "learn from and one to be judged by; rename it, or leave the row out"
            )


def _number_classes(
    texts: Sequence[str],
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    import numpy as np

    classes = tuple(sorted(set(texts)))
    places = {name: number for number, name in enumerate(classes)}
    return classes, np.array([places[text] for text in texts], np.float64)
