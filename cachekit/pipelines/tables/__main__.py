"""The tables pipeline on one screen, and its command.

::

    simulate_employees, or --csv -> read_table -> tidy_columns
                                        |              |
                     onehot, numbers <--'              '--> skrub
                            '-- predict_fold, once a recipe and fold --> the best
                                                 shuffle_columns, once a fold <--'

The functions know nothing of the cache. They become cached calls here, where they
meet, and get every hyper-parameter from here. The file is an argument by its content.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cachekit.errors import PipelineError
from cachekit.experiments import Run
from cachekit.memoization import File, Memory
from cachekit.parallel import Parallel, delayed
from cachekit.pipelines.command import list_parameters, pipeline_options, running
from cachekit.pipelines.files import write_file, write_table
from cachekit.pipelines.parameters import Parameters
from cachekit.pipelines.tables import const, report
from cachekit.pipelines.tables.data import Table, read_table
from cachekit.pipelines.tables.employees import TARGET, Employees, simulate_employees
from cachekit.pipelines.tables.model import (
    guess_score,
    number_folds,
    predict_fold,
    score,
    shuffle_columns,
)
from cachekit.pipelines.tables.recipes import Recipe, list_recipes
from cachekit.pipelines.tables.tidy import tidy_columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PACKAGES = ("matplotlib", "pandas", "skrub", "sklearn")


@dataclass(frozen=True)
class Result:
    """What a run found, and where it wrote it.

    Attributes
    ----------
    table : Table
        What was learned from.
    source : str
        Where it is from.
    recipes : list of Recipe
        What was compared.
    folds : ndarray, shape (n_rows,)
        Number of the fold of each row.
    predictions : ndarray, shape (n_recipes, n_rows)
        What each recipe said of the rows that it had not seen.
    scores : ndarray, shape (n_recipes, n_folds)
        R², or the accuracy of classes.
    best : int
        The recipe with the best mean score, which is a little too good: it was chosen
        by it.
    lost : ndarray, shape (n_folds, n_columns)
        Score that it loses when a column is shuffled.
    guess : float
        Score of who says the same of all rows.
    ceiling : float or None
        Score of who knows how the salaries were simulated.
    paths : list of Path
        The files written.
    """

    table: Table
    source: str
    recipes: list[Recipe]
    folds: NDArray[np.int64]
    predictions: NDArray[np.float64]
    scores: NDArray[np.float64]
    best: int
    lost: NDArray[np.float64]
    guess: float
    ceiling: float | None
    paths: list[Path]


def run(
    parameters: Parameters,
    *,
    memory: Memory,
    output: Path,
    csv: Path | None = None,
    target: str | None = None,
) -> Result:
    """Compare ways to learn from a messy table.

    Parameters
    ----------
    parameters : Parameters
        As in `const`.
    memory : Memory
        Where results are kept.
    output : Path
        Folder for the files; made if needed.
    csv : Path, optional
        The table; a simulated one if None.
    target : str, optional
        The column to predict; of the simulated table, the salary if None.

    Returns
    -------
    Result

    Raises
    ------
    PipelineError
        If the table cannot be read or learned from.
    OSError
        If the files cannot be read or written.
    """
    import numpy as np

    p = parameters
    recipes = list_recipes(p)
    path, source, target, ceiling = _find_table(p, memory, output, csv, target)
    table: Table = memory.cache(read_table)(
        File(path.resolve()),  # for workers, which may be in another folder
        target=target,
        min_rows=p.MIN_ROWS,
        max_classes=p.MAX_CLASSES,
        min_parsed=p.MIN_PARSED,
        units=p.UNITS,
    )
    tidied = memory.cache(tidy_columns)(
        table.columns,
        units=p.UNITS,
        date_formats=p.DATE_FORMATS,
        min_parsed=p.MIN_PARSED,
    )
    values, is_class = table.values, bool(table.classes)
    folds = number_folds(values, is_class=is_class, n_folds=p.N_FOLDS, seed=p.SEED)
    parallel = Parallel(n_jobs=p.N_JOBS, progress=True)

    # Who is hasty gets the table as it was read, and so another key than who tidies:
    # how it is tidied does not concern the others.
    def in_each_fold(function: Any, recipe: Recipe, **settings: Any) -> list[Any]:
        columns = tidied if recipe.is_tidy else table.columns
        return [
            delayed(memory.cache(function))(
                recipe,
                columns,
                values,
                folds,
                fold=fold,
                is_class=is_class,
                seed=p.SEED,
                **settings,
            )
            for fold in range(p.N_FOLDS)
        ]

    tasks = [task for recipe in recipes for task in in_each_fold(predict_fold, recipe)]
    parts = parallel(tasks)
    predictions, scores = _gather(parts, values, folds, is_class=is_class)
    best = int(scores.mean(axis=1).argmax())
    shuffles = in_each_fold(shuffle_columns, recipes[best], n_shuffles=p.N_SHUFFLES)
    result = Result(
        table=table,
        source=source,
        recipes=recipes,
        folds=folds,
        predictions=predictions,
        scores=scores,
        best=best,
        lost=np.array(parallel(shuffles)),
        guess=guess_score(values, is_class=is_class),
        ceiling=ceiling,
        paths=[output / name for name in _FILES],
    )
    _write(result, p, memory)
    return result


def _find_table(
    p: Parameters, memory: Memory, output: Path, csv: Path | None, target: str | None
) -> tuple[Path, str, str, float | None]:
    """Return path, source, target, and the best possible score if it is known."""
    if csv is not None:
        if target is None:
            raise PipelineError(f"name the column of {csv} to predict, with --target")
        if not csv.is_file():
            raise PipelineError(
                f"there is no file {csv}: give --csv the path of a table"
            )
        return csv, str(csv), target, None
    employees: Employees = memory.cache(simulate_employees)(
        n_rows=p.N_ROWS,
        typo_share=p.TYPO_SHARE,
        missing_share=p.MISSING_SHARE,
        noise=p.NOISE,
        seed=p.SEED,
    )
    path = output / "employees.csv"
    write_file(path, employees.content)
    best = score(employees.salaries, employees.expected, is_class=False)
    is_salary = target in (None, TARGET)
    return path, "simulated employees", target or TARGET, best if is_salary else None


def _gather(
    parts: list[NDArray[np.float64]],
    values: NDArray[np.float64],
    folds: NDArray[np.int64],
    *,
    is_class: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Put predictions in the order of the rows, and score each fold of each recipe."""
    import numpy as np

    n_folds = int(folds.max()) + 1
    n_recipes = len(parts) // n_folds
    predictions = np.empty((n_recipes, len(values)))
    scores = np.empty((n_recipes, n_folds))
    for task, predicted in enumerate(parts):
        recipe, fold = divmod(task, n_folds)
        predictions[recipe, folds == fold] = predicted
        scores[recipe, fold] = score(
            values[folds == fold], predicted, is_class=is_class
        )
    return predictions, scores


# --- what is written ---

_FILES = (
    "tables_scores.csv",
    "tables_predictions.csv",
    "tables_predictions.png",
    "tables_columns.png",
)


def _write(result: Result, p: Parameters, memory: Memory) -> None:
    table, best = result.table, result.best
    scores, predictions, predictions_figure, columns_figure = result.paths
    rows = report.score_rows(table, result.recipes, result.scores)
    write_table(scores, report.SCORES_HEADER, rows)
    rows = report.prediction_rows(table, result.folds, result.predictions[best])
    write_table(predictions, report.PREDICTIONS_HEADER, rows)
    figure = memory.cache(report.draw_predictions)(
        table.values,
        [(_title(result, i), result.predictions[i]) for i in _compared(result)],
        classes=table.classes,
        target=table.target,
        dpi=p.FIGURE_DPI,
    )
    write_file(predictions_figure, figure)
    figure = memory.cache(report.draw_columns)(
        tuple(table.columns),
        result.lost,
        title=f"What {result.recipes[best].name} learns from",
        score_name=report.score_name(table),
        n_columns=p.FIGURE_COLUMNS,
        dpi=p.FIGURE_DPI,
    )
    write_file(columns_figure, figure)


def _compared(result: Result) -> list[int]:
    """Return the best recipe, and the best of those with another encoder, if any."""
    encoder = result.recipes[result.best].encoder
    order = (-result.scores.mean(axis=1)).argsort(kind="stable").tolist()
    others = [i for i in order if result.recipes[i].encoder != encoder]
    return [result.best, *others[:1]]


def _title(result: Result, i: int) -> str:
    mean = result.scores[i].mean()
    return f"{result.recipes[i].name}: {report.score_name(result.table)} {mean:.3f}"


# --- the command ---


@click.command("tables", epilog=list_parameters(const))
@click.option(
    "--csv",
    type=click.Path(path_type=Path),
    help="A table of yours, with names in its first line.  [default: a simulated one]",
)
@click.option(
    "--target",
    metavar="COLUMN",
    help="What to predict: a number or a class.  [default: salary_usd, if simulated]",
)
@pipeline_options(const)
def main(
    parameters: Parameters,
    memory: Memory,
    output: Path,
    csv: Path | None,
    target: str | None,
) -> None:
    """Learn from a messy table: typos, dates, numbers as text, gaps.

    Compares skrub's TableVectorizer, after a little tidying, to what one does in haste:
    each text a category, or no texts at all; with boosted trees and with a ridge.
    """
    chosen = {"csv": "" if csv is None else str(csv), "target": target or ""}
    settings = {**parameters, **chosen}
    with running("tables", settings, memory, needs=_PACKAGES) as logged:
        result = run(parameters, memory=memory, output=output, csv=csv, target=target)
        _log(logged, result)
        click.echo(report.describe_table(result.table, result.source))
        report.print_scores(result.table, result.recipes, result.scores)
        if result.ceiling is not None:
            click.echo(f"Who knows how it was simulated: R² {result.ceiling:.3f}")
        if result.table.classes:
            click.echo(f"Who always says the same: accuracy {result.guess:.3f}")
        if len(result.recipes) > 1:
            click.echo(
                "The best was chosen by these scores: of new rows, expect a bit less."
            )


def _log(logged: Run, result: Result) -> None:
    table = result.table
    logged.log_dataset(
        "table",
        source=result.source,
        split=f"{result.scores.shape[1]} folds, at random; classes stratified",
        rows=len(table.rows),
        rows_left_out=table.n_rows_in_file - len(table.rows),
        columns=len(table.columns),
        target=table.target,
        classes=len(table.classes),
    )
    kind = "accuracy" if table.classes else "r2"
    for recipe, scores in zip(result.recipes, result.scores, strict=True):
        name = f"{recipe.encoder}_{recipe.model}_{kind}"
        logged.log_metric(f"{name}_mean", scores.mean())
        logged.log_metric(f"{name}_std", scores.std(ddof=1))
    logged.log_metric(f"guess_{kind}", result.guess)
    if result.ceiling is not None:
        logged.log_metric(f"ceiling_{kind}", result.ceiling)
    for path in result.paths:
        logged.log_artifact(path)


if __name__ == "__main__":
    main()
