"""Hyper-parameters: read from `const` modules, and set by users."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cachekit.errors import PipelineError
from cachekit.experiments import Run
from cachekit.memoization import Memory
from cachekit.pipelines.command import list_parameters, pipeline_options, running
from cachekit.pipelines.parameters import parse_settings, read_parameters

SOURCE = """
from __future__ import annotations
from typing import Annotated
from cachekit.pipelines.parameters import Between, OneOf

N_FOLDS: Annotated[int, Between(2, 20)] = 5
PENALTIES: Annotated[tuple[float, ...], Between(0.0, 100.0)] = (0.1, 1.0)
MODEL: Annotated[str, OneOf("ridge", "lasso")] = "ridge"
SHARE = 0.5
IS_SCALED = True
NAMES = ("a", "b")
_PRIVATE = 3
"""


@pytest.fixture
def const() -> ModuleType:
    module = ModuleType("const")
    exec(SOURCE, vars(module))  # as if imported
    return module


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("N_FOLDS=3", 3),
        ("N_FOLDS = 20", 20),
        ("PENALTIES=(1, 2.5)", (1.0, 2.5)),
        ("PENALTIES=[1]", (1.0,)),
        ("PENALTIES=7", (7.0,)),
        ("MODEL=lasso", "lasso"),
        ("MODEL='lasso'", "lasso"),
        ("SHARE=1", 1.0),
        ("IS_SCALED=False", False),
        ("NAMES=c", ("c",)),
        ("NAMES=c, d", ("c", "d")),
        ("NAMES=('x', 'y', 'z')", ("x", "y", "z")),
    ],
)
def test_a_setting_takes_the_place_of_a_constant(
    const: ModuleType, setting: str, value: object
) -> None:
    found = parse_settings(const, [setting])

    name = setting.partition("=")[0].strip()
    assert found[name] == value
    assert type(found[name]) is type(value)
    assert {**found, name: 0} == {**read_parameters(const), name: 0}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("N_FOLDS", "'N_FOLDS' is no setting; write NAME=VALUE"),
        ("N_FOLD=3", "there is no parameter N_FOLD; did you mean N_FOLDS?"),
        ("n_folds=3", "there is no parameter n_folds; did you mean N_FOLDS?"),
        ("_PRIVATE=4", "there is no parameter _PRIVATE"),
        ("=4", "there is no parameter ; there are N_FOLDS, "),
        ("N_FOLDS=1", "N_FOLDS=1 is not possible: it is 2 to 20"),
        (
            "N_FOLDS=many",
            "N_FOLDS='many' is a text, and has to be a whole number, as 5",
        ),
        ("N_FOLDS=2.0", "N_FOLDS=2.0 is a number, and has to be a whole number, as 5"),
        ("N_FOLDS=True", "N_FOLDS=True is True or False, and has to be a whole number"),
        ("N_FOLDS=", "N_FOLDS='' is a text"),
        ("PENALTIES=(1, -1)", "PENALTIES=(1.0, -1.0) is not possible"),
        ("PENALTIES=(1, 'x')", "PENALTIES='x' is a text, and has to be a number"),
        ("PENALTIES=1e999", "PENALTIES=(inf,) is not possible: it is 0.0 to 100.0"),
        ("PENALTIES=()", "PENALTIES=() is not possible: it is 0.0 to 100.0"),
        ("MODEL=tree", "MODEL='tree' is not possible: it is one of ridge, lasso"),
        ("SHARE={}", "SHARE={} is of another kind, and has to be a number, as 0.5"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(
    const: ModuleType, setting: str, message: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        parse_settings(const, [setting])

    assert message in str(caught.value)


def test_parameters_are_attributes(const: ModuleType) -> None:
    found = read_parameters(const, N_FOLDS=7)

    assert found.N_FOLDS == 7
    assert found.SHARE == 0.5
    with pytest.raises(AttributeError, match="no parameter N_FOLD"):
        _ = found.N_FOLD


def command(const: ModuleType, error: BaseException | None = None) -> click.Command:
    @click.command("demo", epilog=list_parameters(const))
    @pipeline_options(const)
    def main(parameters: Any, memory: Memory, output: Path) -> None:
        """Double a number of folds."""
        with running("demo", parameters, memory, needs=("json",)) as run:
            double(memory, run, parameters.N_FOLDS, output)
            if error is not None:
                raise error

    return main


def double(memory: Memory, run: Run, number: int, output: Path) -> None:
    run.log_metric("double", memory.cache(times_two)(number))
    run.log_artifact(output / "double.csv")


def times_two(number: int) -> int:
    return 2 * number


def test_a_command_runs_with_the_parameters_it_is_given(
    const: ModuleType, tmp_path: Path
) -> None:
    given = ["--set", "N_FOLDS=9", "--store", f"{tmp_path}/store", "--output", "out"]

    first = CliRunner().invoke(command(const), given)
    second = CliRunner().invoke(command(const), given)

    assert first.exit_code == second.exit_code == 0
    assert "Wrote out/double.csv" in first.output
    assert "1 call: 0 from the cache, 1 computed" in first.output
    assert "1 call: 1 from the cache, 0 computed" in second.output


def test_the_help_lists_the_parameters(const: ModuleType) -> None:
    shown = CliRunner().invoke(command(const), ["--help"])

    assert "--set NAME=VALUE" in shown.output
    assert "N_FOLDS    5  (2 to 20)" in shown.output
    assert "MODEL      'ridge'  (one of ridge, lasso)" in shown.output


def test_a_wrong_setting_is_wrong_usage(const: ModuleType, tmp_path: Path) -> None:
    given = ["--set", "N_FOLDS=1", "--store", f"{tmp_path}/store"]

    result = CliRunner().invoke(command(const), given)

    assert result.exit_code == 2
    assert "N_FOLDS=1 is not possible: it is 2 to 20" in result.output


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PipelineError("no data"), 1, "Error: no data"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, "the same command goes on from there"),
    ],
)
def test_what_goes_wrong_is_one_line(
    const: ModuleType, tmp_path: Path, error: BaseException, code: int, message: str
) -> None:
    result = CliRunner().invoke(command(const, error), ["--store", f"{tmp_path}/s"])

    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_mistake_in_a_pipeline_keeps_its_traceback(
    const: ModuleType, tmp_path: Path
) -> None:
    error = ZeroDivisionError()

    result = CliRunner().invoke(command(const, error), ["--store", f"{tmp_path}/s"])

    assert result.exception is error
