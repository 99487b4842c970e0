"""Learning from a messy table: what it finds, what a change costs, wrong tables."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cachekit.errors import PipelineError
from cachekit.memoization import Memory
from cachekit.pipelines.parameters import Parameters, read_parameters
from cachekit.pipelines.tables import __main__ as tables
from cachekit.pipelines.tables import const
from cachekit.pipelines.tables.data import Table, read_table
from cachekit.pipelines.tables.employees import simulate_employees
from cachekit.pipelines.tables.model import (
    guess_score,
    number_folds,
    score,
    shuffle_columns,
)
from cachekit.pipelines.tables.recipes import list_recipes, make_frame
from cachekit.pipelines.tables.report import prediction_rows
from cachekit.pipelines.tables.tidy import parse_dates, parse_numbers, tidy_columns
from tests.pipelines.programs import run_again, settings

# Two encoders, one of which tidies, and two folds.
SMALL: dict[str, Any] = {
    "N_ROWS": 150,
    "N_FOLDS": 2,
    "ENCODERS": ("tidied", "onehot"),
    "MODELS": ("ridge",),
    "TEXT_COMPONENTS": 20,
    "BOOSTING_ROUNDS": 20,
    "N_JOBS": 1,
    "FIGURE_DPI": 50,
}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store that a small run has filled; tests work on it in turn."""
    folder = tmp_path_factory.mktemp("warm")
    tables.run(small(), memory=Memory(folder), output=folder / "out")
    return folder


def small(**given: Any) -> Parameters:
    return read_parameters(const, **(SMALL | given))


def computed(folder: Path, csv: Path | None = None, **given: Any) -> int:
    """Count the calls that a run computes, where a small run has been."""
    memory = Memory(folder)
    target = None if csv is None else "y"
    tables.run(
        small(**given), memory=memory, output=folder / "out", csv=csv, target=target
    )
    return memory.tally().misses


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_numbers(path: Path, *, n_rows: int = 60, first: str = "0") -> Path:
    """Write a table of a number, a text and a third of the number."""
    rows = [f"{first if i == 0 else i},t{i % 3},{i // 3}" for i in range(n_rows)]
    path.write_text("\n".join(["x,text,y", *rows]))
    return path


# --- the pipeline ---


def test_a_run_writes_its_files(warm: Path, tmp_path: Path) -> None:
    result = tables.run(small(), memory=Memory(warm), output=tmp_path / "out")

    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "employees.csv",
        "tables_scores.csv",
        "tables_predictions.csv",
        "tables_predictions.png",
        "tables_columns.png",
    }
    scores, predictions, *figures = result.paths
    rows = read_csv(scores)
    assert [row["encoder"] for row in rows] == ["tidied", "onehot"]
    assert float(rows[0]["mean"]) == pytest.approx(result.scores[0].mean(), rel=1e-5)
    assert [row["row"] for row in read_csv(predictions)] == [
        str(number) for number in range(1, 151)
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures)


def test_a_second_run_computes_nothing(warm: Path) -> None:
    assert computed(warm) == 0


def test_other_salaries_are_learned_anew(warm: Path) -> None:
    # Table and reading, but not tidying: the salary is no part of it. Two recipes and
    # the columns in two folds; two figures.
    assert computed(warm, NOISE=0.09) == 2 + (2 + 1) * 2 + 2


def test_another_way_to_tidy_leaves_the_hasty_recipes_alone(warm: Path) -> None:
    # Without a format a third of the dates is no date: tidying, the folds of who
    # tidies, the columns in two folds, and the figures.
    assert computed(warm, DATE_FORMATS=("%Y-%m-%d", "%d.%m.%Y")) == 1 + 2 + 2 + 2


def test_tidying_that_changes_nothing_computes_no_more_than_itself(warm: Path) -> None:
    formats = (*const.DATE_FORMATS, "%Y/%m/%d")

    assert computed(warm, DATE_FORMATS=formats) == 1


def test_one_more_encoder_is_computed_in_each_fold(warm: Path) -> None:
    # The best two stay, and with them the figures.
    assert computed(warm, ENCODERS=("tidied", "onehot", "numbers")) == 2


def test_settings_of_what_is_not_compared_do_not_matter(warm: Path) -> None:
    assert computed(warm, TEXT_COMPONENTS=10, BOOSTING_ROUNDS=10) == 0


def test_another_resolution_computes_the_figures(warm: Path) -> None:
    assert computed(warm, FIGURE_DPI=60) == 2


def test_a_table_counts_by_its_content(warm: Path, tmp_path: Path) -> None:
    first = write_numbers(tmp_path / "first.csv")
    second = tmp_path / "another.csv"

    assert computed(warm, csv=first) > 0
    first.rename(second)
    assert computed(warm, csv=second) == 0
    write_numbers(second, first="17")
    # Reading, tidying; two recipes and the columns in two folds; two figures.
    assert computed(warm, csv=second) == 2 + (2 + 1) * 2 + 2


def test_workers_find_what_one_process_finds(warm: Path, tmp_path: Path) -> None:
    memory = Memory(tmp_path / "store")
    one, two = (small(ENCODERS=("onehot",), N_JOBS=n_jobs) for n_jobs in (1, 2))

    alone = tables.run(one, memory=Memory(warm), output=tmp_path)
    both = tables.run(two, memory=memory, output=tmp_path)

    # Not to the last bit: it depends on how many threads add up.
    assert np.allclose(alone.predictions, both.predictions)
    assert np.allclose(alone.lost, both.lost)
    assert memory.tally().misses == 3 + (1 + 1) * 2 + 2


# --- what it finds ---


@pytest.fixture(scope="module")
def thorough(tmp_path_factory: pytest.TempPathFactory) -> tables.Result:
    encoders = ("skrub", "tidied", "onehot", "numbers")
    parameters = small(N_ROWS=800, ENCODERS=encoders, TEXT_COMPONENTS=30)
    output = tmp_path_factory.mktemp("thorough")
    return tables.run(parameters, memory=Memory(output / "store"), output=output)


def test_skrub_comes_near_the_best_that_is_possible(thorough: tables.Result) -> None:
    skrub, tidied, onehot, numbers = thorough.scores.mean(axis=1)

    assert thorough.ceiling is not None
    assert 0.8 < skrub < thorough.ceiling
    assert onehot + 0.05 < tidied < skrub - 0.2
    assert numbers == pytest.approx(0, abs=0.05)


def test_what_matters_is_found(thorough: tables.Result) -> None:
    names = list(thorough.table.columns)
    lost = dict(zip(names, thorough.lost.mean(axis=0), strict=True))

    assert lost["job_title"] > 0.5
    assert lost["weekly_hours"] > 0.2
    assert lost["hired"] > 0.03
    assert max(abs(lost[name]) for name in ("badge", "commute", "birth_year")) < 0.02


def test_shuffled_salaries_are_not_learned(memory: Memory, tmp_path: Path) -> None:
    rows = read_csv(simulated(tmp_path))
    salaries = np.random.default_rng(0).permutation([r["salary_usd"] for r in rows])
    path = tmp_path / "shuffled.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        for row, salary in zip(rows, salaries, strict=True):
            writer.writerow([*list(row.values())[:-1], salary])

    result = tables.run(
        small(), memory=memory, output=tmp_path, csv=path, target="salary_usd"
    )

    assert result.ceiling is None
    assert result.scores.max() < 0.15


def test_dates_that_are_not_understood_cost_accuracy(
    memory: Memory, tmp_path: Path, thorough: tables.Result
) -> None:
    parameters = small(
        N_ROWS=800, ENCODERS=("skrub",), TEXT_COMPONENTS=30, DATE_FORMATS=()
    )

    result = tables.run(parameters, memory=memory, output=tmp_path)

    assert result.scores.mean() < thorough.scores[0].mean() - 0.015


def test_boosting_learns_too(memory: Memory, tmp_path: Path) -> None:
    parameters = small(N_ROWS=500, ENCODERS=("skrub",), MODELS=("boosting",))

    result = tables.run(parameters, memory=memory, output=tmp_path)

    assert result.scores.mean() > 0.5


@pytest.mark.parametrize("model", ["ridge", "boosting"])
def test_classes_are_told_apart(memory: Memory, tmp_path: Path, model: str) -> None:
    random = np.random.default_rng(0)
    kinds = random.choice(
        ["herring gull", "puffin", "razorbill"], 300, p=[0.5, 0.3, 0.2]
    )
    rows = [
        f"{kind.upper() if i % 2 else kind},{random.random():.2f},{kind[0]}"
        for i, kind in enumerate(kinds)
    ]
    path = tmp_path / "birds.csv"
    path.write_text("\n".join(["seen,noise,letter", *rows]))

    result = tables.run(
        small(MODELS=(model,)),
        memory=memory,
        output=tmp_path,
        csv=path,
        target="letter",
    )

    assert result.table.classes == ("h", "p", "r")
    assert result.scores[0].mean() > 0.97
    assert 0.4 < result.guess < 0.6
    assert result.lost.mean(axis=0)[0] > 0.3
    rows_written = read_csv(result.paths[1])
    assert {row["true"] for row in rows_written} == {"h", "p", "r"}


# --- the functions ---


def simulated(tmp_path: Path, **given: Any) -> Path:
    settings = {
        "n_rows": 300,
        "typo_share": 0.2,
        "missing_share": 0.1,
        "noise": 0.08,
        "seed": 0,
    }
    path = tmp_path / "simulated.csv"
    path.write_bytes(simulate_employees(**(settings | given)).content)
    return path


def test_a_simulated_table_is_as_messy_as_asked_for(tmp_path: Path) -> None:
    clean = read_csv(simulated(tmp_path, typo_share=0.0, missing_share=0.0))
    messy = read_csv(simulated(tmp_path, typo_share=1.0, missing_share=0.5))

    assert len({row["department"].lower() for row in clean}) == 8
    assert len({row["department"].lower() for row in messy}) > 60
    assert not any(cell == "" for row in clean for cell in row.values())
    gaps = np.mean([row["hired"] == "" for row in messy])
    assert gaps == pytest.approx(0.5, abs=0.1)
    assert all(row["badge"] and row["salary_usd"].startswith("$") for row in messy)


def test_without_noise_the_salaries_are_as_expected() -> None:
    employees = simulate_employees(
        n_rows=100, typo_share=0, missing_share=0, noise=0, seed=1
    )

    assert employees.salaries == pytest.approx(employees.expected, abs=0.51)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12.0),
        (" -3.5 ", -3.5),
        ("$61,250", 61250.0),
        ("$ 1,061,250.75", 1061250.75),
        ("37.5 h", 37.5),
        ("40hours", 40.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("37,5", None),  # a comma of decimals: not for us to guess
        ("12A", None),
        ("h", None),
        (".", None),
        ("1e999", None),
        ("inf", None),
        ("12 13", None),
        ("", None),
        (None, None),
    ],
)
def test_numbers_are_read(text: str | None, number: float | None) -> None:
    (found,) = parse_numbers([text], units=("$", "h", "hours"))

    assert found == number if number is not None else np.isnan(found)


def test_dates_are_read_in_several_formats() -> None:
    texts = ["2020-02-29", "29.02.2020", " February 29, 2020 ", "2021-02-29", "", None]

    found = parse_dates(texts, formats=("%Y-%m-%d", "%d.%m.%Y", "%B %d, %Y"))

    assert (found[:3] == np.datetime64("2020-02-29")).all()
    assert np.isnat(found[3:]).all()


def test_a_column_is_what_most_of_it_is() -> None:
    columns = {
        "number": ("1 km", "2", None, "3", "?"),
        "text": ("1", "2", "three", "four", "5"),
        "date": ("2020-01-01", None, "2020-01-02", "", "2020-01-03"),
        "title": ("Sr.  Nurse", " nurse", None, "NURSE", "nurse"),
        "empty": (None, None, None, None, ""),
    }

    tidied = tidy_columns(
        columns, units=("km",), date_formats=("%Y-%m-%d",), min_parsed=0.75
    )

    assert np.array_equal(tidied["number"], [1, 2, np.nan, 3, np.nan], equal_nan=True)
    assert tidied["text"] == columns["text"]
    assert tidied["date"].dtype == "datetime64[s]"
    assert tidied["title"] == ("sr. nurse", "nurse", None, "nurse", "nurse")
    assert tidied["empty"] == (None, None, None, None, "")


def test_r2_and_accuracy_have_their_known_values() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])

    assert score(values, values, is_class=False) == 1
    assert score(values, np.full(4, 2.5), is_class=False) == 0
    assert score(values, values + 1, is_class=False) == pytest.approx(1 - 4 / 5)
    assert score(np.ones(3), np.ones(3), is_class=False) == 1
    assert score(np.ones(3), np.zeros(3), is_class=False) == 0
    assert score(values, np.array([1.0, 2.0, 0.0, 0.0]), is_class=True) == 0.5
    assert guess_score(np.array([0.0, 1.0, 1.0, 2.0]), is_class=True) == 0.5
    assert guess_score(values, is_class=False) == 0


def test_two_rows_of_a_class_are_in_two_folds() -> None:
    values = np.array([0.0] * 30 + [1.0] * 2 + [2.0] * 5)

    folds = number_folds(values, is_class=True, n_folds=5, seed=0)

    assert len(set(folds[values == 1])) == 2
    assert sorted(folds[values == 2]) == [0, 1, 2, 3, 4]
    assert np.ptp(np.bincount(folds)) <= 1


def test_the_column_that_decides_is_the_one_that_matters() -> None:
    random = np.random.default_rng(0)
    columns = {"x": random.random(200), "noise": random.random(200)}
    (recipe,) = list_recipes(small(ENCODERS=("skrub",)))
    folds = np.arange(200) % 2

    lost = shuffle_columns(
        recipe,
        columns,
        3 * columns["x"],
        folds,
        fold=0,
        is_class=False,
        n_shuffles=5,
        seed=0,
    )

    assert lost[0] == pytest.approx(2, abs=0.4)  # R² of one shuffled against itself: -1
    assert lost[1] == pytest.approx(0, abs=0.01)


def test_who_does_not_tidy_gets_plain_numbers_only() -> None:
    onehot, numbers = list_recipes(small(ENCODERS=("onehot", "numbers")))
    columns = {"plain": ("1", None, "2.5"), "unit": ("1 km", "2 km", None)}

    as_read, numbers_only = make_frame(columns, onehot), make_frame(columns, numbers)

    assert as_read["plain"].fillna(-1).tolist() == [1, -1, 2.5]
    assert as_read["unit"].tolist()[:2] == ["1 km", "2 km"]
    assert list(numbers_only) == ["plain", ""]


# --- reading ---


def read(path: Path, target: str = "y", **given: Any) -> Table:
    settings: dict[str, Any] = {
        "min_rows": 40,
        "max_classes": 5,
        "min_parsed": 0.95,
        "units": ("$",),
    }
    return read_table(path, target=target, **(settings | given))


def test_the_target_says_what_is_to_be_done(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_numbers(path)

    number, few, text = read(path), read(path, max_classes=20), read(path, "text")

    assert number.classes == ()
    assert number.values.tolist() == [i // 3 for i in range(60)]
    assert len(few.classes) == 20
    assert text.classes == ("t0", "t1", "t2")
    assert list(text.columns) == ["x", "y"]
    assert text.columns["x"][:2] == ("0", "1")


def test_rows_without_a_target_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write_numbers(tmp_path / "table.csv")
    path.write_text(path.read_text() + "\n5,t0,\n6,t1,?\n,,7\n")

    table = read(path)

    assert table.n_rows_in_file == 63
    assert table.rows.tolist() == [*range(1, 61), 63]
    assert table.columns["x"][-1] is None
    assert list(prediction_rows(table, table.rows, table.values))[-1] == (
        63,
        63,
        7.0,
        7.0,
    )


def a_picture(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00")


def nothing(path: Path) -> None:
    path.write_text("")


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "there is no file"),  # noqa: ARG005
        (lambda path: path.mkdir(), "there is no file"),
        (nothing, "is empty: give --csv a file with a table"),
        (a_picture, "is no CSV file in UTF-8, separated by commas"),
        (text("x,y\n1,2,3,4\n5,6\n"), "is no CSV file"),
        (text('x,y\n"1,2\n'), "is no CSV file"),
        (text("x,why\n1,2\n"), "no column 'y'; there are x, why"),
        (text("x,yy\n1,2\n"), "no column 'y'; did you mean 'yy'?"),
        (text("x;y\n1;2\n"), "no column 'y'; there are x;y"),
        (text("y\n1\n2\n"), "has only the column 'y'"),
        (text("x,y\n"), "only 0 rows have a value of 'y': at least 50"),
        (text("x,y\n" + "1,\n" * 60), "only 0 rows have a value"),
        (text("x,y\n" + "1,2\n3,4\n" * 20), "only 40 rows have a value"),
        (text("x,y\n" + "1,2\n" * 60), "'y' is the same in all 60 rows"),
        (text("x,y\n" + "1,a\n" * 60 + "1,b\n"), "only one row has 'y' 'b'"),
        (
            text("x,y\n" + "".join(f"1,a{i}\n" for i in range(60))),
            "has 60 different texts, too many for classes (10), and they are no ",
        ),
    ],
)
def test_a_wrong_table_is_told(
    tmp_path: Path, write: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "given.csv"
    write(path)
    given = [f"--csv={path}", "--target=y", f"--store={tmp_path}/store"]

    failed = CliRunner().invoke(tables.main, given)

    assert failed.exit_code == 1
    assert message in failed.output
    assert failed.stdout == ""
    assert "Traceback" not in failed.output


def test_odd_tables_are_learned_from(memory: Memory, tmp_path: Path) -> None:
    """Gaps only, one value only, names twice or of other scripts, huge numbers."""
    rows = [
        f",same,{'no' if i % 3 else 'yes'},{i}e30{i}, été ,{'' if i % 9 else 'inf'},{i}"
        for i in range(60)
    ]
    path = tmp_path / "odd.csv"
    path.write_text("\n".join(["gap,one,名,名,e$^,$x$,y", *rows]), encoding="utf-8-sig")
    encoders = ("skrub", "tidied", "onehot", "numbers")
    parameters = small(ENCODERS=encoders, MODELS=("boosting", "ridge"))

    result = tables.run(
        parameters, memory=memory, output=tmp_path, csv=path, target="y"
    )

    assert np.isfinite(result.predictions).all()


def test_nothing_to_compare_is_an_error(memory: Memory, tmp_path: Path) -> None:
    for missing in ({"ENCODERS": ()}, {"MODELS": ()}, {"RIDGE_PENALTIES": ()}):
        with pytest.raises(PipelineError):
            tables.run(small(**missing), memory=memory, output=tmp_path)


# --- the command ---


def test_the_command_tells_what_it_found(warm: Path, tmp_path: Path) -> None:
    given = [*settings(SMALL), f"--store={warm}", f"--output={tmp_path}"]

    done = CliRunner().invoke(tables.main, given)

    assert done.exit_code == 0, done.output
    assert "150 rows and 8 columns of simulated employees" in done.stdout
    assert "R² in 2 folds" in done.stdout
    assert "Who knows how it was simulated: R² 0.9" in done.stdout
    assert f"Wrote {tmp_path / 'tables_scores.csv'}" in done.stdout
    assert " 0 computed" in done.stdout


def test_the_command_takes_a_table(warm: Path, tmp_path: Path) -> None:
    path = write_numbers(tmp_path / "given.csv")
    given = [f"--csv={path}", "--target=text", f"--store={warm}"]

    done = CliRunner().invoke(
        tables.main, [*settings(SMALL), *given, f"--output={tmp_path}"]
    )

    assert done.exit_code == 0, done.output
    assert "one of 3 classes" in " ".join(done.stdout.split())
    assert "Who always says the same: accuracy 0.333" in done.stdout
    assert not (tmp_path / "employees.csv").exists()


def test_a_table_without_a_target_is_an_error(tmp_path: Path) -> None:
    path = write_numbers(tmp_path / "given.csv")

    failed = CliRunner().invoke(tables.main, [f"--csv={path}", f"--store={tmp_path}"])

    assert failed.exit_code == 1
    assert "to predict, with --target" in failed.output


def test_a_second_run_imports_no_heavy_library(warm: Path, tmp_path: Path) -> None:
    arguments = [*settings(SMALL), f"--store={warm}", f"--output={tmp_path}"]

    printed, imported = run_again("tables", arguments)

    assert " 0 computed" in printed
    assert imported == set()
