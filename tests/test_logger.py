"""The classes that joblib's are built on."""

from __future__ import annotations

import re
from pathlib import Path

import joblib
import numpy as np
import pytest

from cachekit import Logger, Memory, Parallel, PrintTime


class Model(Logger):
    """What says something."""

    def __repr__(self) -> str:
        return "Model()"


def test_lines_begin_with_what_says_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        Model().warn("careful")
        Model(name="mine").debug("in detail")

    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("cachekit", "WARNING"),
        ("mine", "DEBUG"),
    ]
    assert caplog.messages == ["Model(): careful", "Model(): in detail"]


@pytest.mark.parametrize("value", [{"a": [[[[1]]]]}, np.arange(1000), [1.0] * 40])
def test_objects_are_written_as_by_joblib(value: object) -> None:
    for depth in (1, 3):
        expected = joblib.Logger(depth=depth).format(value, indent=2)

        assert Logger(depth=depth).format(value, indent=2) == expected


def test_memories_and_loops_are_loggers() -> None:
    assert isinstance(Memory(None), Logger)
    assert isinstance(Parallel(n_jobs=1), Logger)
    assert Memory(None).depth == 3


def test_times_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_time = PrintTime()
    print_time.start_time -= 120

    print_time("one")
    print_time("all", total=True)

    one, everything = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"one: \d\.\ds, 0\.\dmin", one)
    assert re.fullmatch(r"all: 12\d\.\ds, 2\.\dmin", everything)


def test_times_go_to_a_file_and_older_files_are_kept(tmp_path: Path) -> None:
    for run in range(12):
        PrintTime(logdir=tmp_path / "logs")(f"run {run}")

    log = tmp_path / "logs" / "cachekit.log"
    assert log.read_text().startswith("run 11: ")
    assert Path(f"{log}.1").read_text().startswith("run 10: ")
    assert len(list(log.parent.iterdir())) == 10


def test_one_place_is_enough() -> None:
    with pytest.raises(ValueError, match="one is enough"):
        PrintTime(logfile="a", logdir="b")
