"""`cachekit graph` and `cachekit diff`, as they are read and piped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import cachekit
from cachekit import Memory, inspection
from cachekit.cli import main
from cachekit.stores import LocalStore


def load(name: str) -> Any:
    assert name
    return np.arange(6.0)


def scale(data: Any, by: int = 2) -> Any:
    return data * by


def total(data: Any, scaled: Any) -> Any:
    return {"sum": [float(data.sum() + scaled.sum())], "text": "one\ntwo\n"}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill a store that is the default one."""
    folder = tmp_path / "store"
    monkeypatch.setenv("CACHEKIT_DIR", str(folder))
    memory = Memory(folder)
    data = memory.cache(load)("a.csv")
    for by in (2, 3):
        memory.cache(total)(data, memory.cache(scale)(data, by))
    return folder


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def succeed(*arguments: str) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def keys(root: Path, function: Any) -> list[str]:
    found = inspection.entries(LocalStore(root), f"{__name__}.{function.__name__}")
    return [entry.key.digest for entry in found]


# --- graph ---


def test_all_functions_are_shown_as_a_tree() -> None:
    lines = succeed("graph").splitlines()

    assert lines[:4] == [
        f"{__name__}.total  (2 calls)",
        f"├── data, 2 times: {__name__}.load  (1 call)",
        f"└── scaled, 2 times: {__name__}.scale  (2 calls)",
        f"    └── data, 2 times: {__name__}.load  (1 call)",
    ]


def test_what_has_branches_of_its_own_is_shown_once(root: Path) -> None:
    memory = Memory(root)
    data = memory.cache(load)("a.csv")
    twice = memory.cache(scale)(memory.cache(scale)(data, 2), 7)
    memory.cache(total)(twice, memory.cache(scale)(data, 2))

    shown = succeed("graph", keys(root, total)[0])

    assert "see above" in shown or shown.count(".scale(") == 1


def test_of_one_function_both_directions_are_shown() -> None:
    shown = succeed("graph", "scale")

    up, down = shown.split("Used by:")
    assert up.startswith("Made of:\n")
    assert f"data, 2 times: {__name__}.load" in up
    assert f"scaled, 2 times: {__name__}.total" in down


def test_one_direction_has_no_title_and_an_end_says_so() -> None:
    assert succeed("graph", "load", "--up").splitlines() == [
        f"{__name__}.load  (1 call)",
        "It was made of no stored result.",
    ]
    assert succeed("graph", "total", "--down").splitlines()[-1] == (
        "No stored result was made of it."
    )


def test_of_one_entry_its_calls_are_shown_with_their_arguments(root: Path) -> None:
    shown = succeed("graph", keys(root, total)[0][:8], "--up", "--depth", "1")

    assert "scaled: " in shown
    assert "by=" in shown


@pytest.mark.parametrize("form", [["--json"], ["--format", "json"]])
def test_json_is_one_document(form: list[str]) -> None:
    found = json.loads(succeed("graph", *form))

    assert set(found) == {"nodes", "edges", "start"}
    assert len(found["nodes"]) == 3


def test_the_languages_of_others_are_written() -> None:
    assert succeed("graph", "--format", "mermaid").startswith("flowchart LR\n")
    assert succeed("graph", "--format", "dot").startswith("digraph {\n")


def test_without_graphviz_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)

    result = invoke("graph", "--format", "svg")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "install graphviz" in result.stderr


def test_svg_is_what_dot_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho '<svg>'; head -c 7\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(program))

    assert succeed("graph", "--format", "svg") == "<svg>\ndigraph"


def test_a_store_with_nothing_in_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert "Nothing is stored" in succeed("graph", "--store", str(tmp_path / "empty"))


def test_what_is_not_there_is_exit_code_1() -> None:
    result = invoke("graph", "nosuch")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "nosuch" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["--depth", "0"], ["--format", "png"], ["a", "b"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert invoke("graph", *arguments).exit_code == 2


# --- diff ---


def test_the_diff_of_two_calls_shows_arguments_and_results(root: Path) -> None:
    one, other = keys(root, scale)

    result = invoke("diff", one[:10], other[:10])

    assert result.exit_code == 1
    shown = result.stdout
    assert one[:12] in shown.splitlines()[0]
    assert "  by: " in shown
    assert "The results differ in 1 place:\n  5 of 6 elements differ, by 5" in shown


def test_the_diff_of_a_call_with_itself_is_exit_code_0(root: Path) -> None:
    one = keys(root, scale)[0]

    shown = succeed("diff", one, one)

    assert "The calls are equal." in shown
    assert "The results are equal." in shown


def test_the_diff_as_json_is_one_document(root: Path) -> None:
    result = invoke("diff", *keys(root, total), "--json")

    found = json.loads(result.stdout)
    assert (result.exit_code, found["is_equal"], found["problem"]) == (1, False, "")
    (leaf,) = found["values"]["leaves"]
    assert leaf["path"] == "['sum'][0]"
    assert found["before"]["record"]["function"] == f"{__name__}.total"


# --- as processes ---


@pytest.mark.parametrize(
    "arguments",
    [["graph"], ["graph", "--json"], ["graph", "--format", "dot"], ["why", "--help"]],
)
def test_a_reader_that_leaves_early_causes_no_message(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cachekit", *arguments],
            cwd=Path(cachekit.__file__).parents[1],
            stdout=writing,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    finally:
        os.close(writing)

    assert done.stderr == ""


def test_a_narrow_encoding_shows_what_it_can() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cachekit", "graph"],
        cwd=Path(cachekit.__file__).parents[1],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"`-- " in done.stdout
