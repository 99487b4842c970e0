"""Commands that show what is stored, what takes the room, and what was saved."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

import cachekit
from cachekit import Memory, inspection
from cachekit.cli import main
from cachekit.cli.printing import draw_bar, with_progress
from cachekit.stores import LocalStore, RemoteStore
from tests.stores.servers import Remote


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Keep the tests away from the store of whoever runs them."""
    monkeypatch.setenv("CACHEKIT_DIR", str(root))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CACHEKIT_SIGNING_KEY", raising=False)
    return monkeypatch


def fit(x: int, name: str = "a") -> str:
    time.sleep(0.0001)  # else it may take no time that a record can tell
    return name * x


def plot(x: int) -> int:
    time.sleep(0.0001)
    return -x


def load(size: int) -> Any:
    return np.arange(size * 100.0).reshape(size, 100)


def mean(values: Any) -> float:
    return float(load_cached(values).mean())


load_cached: Any = load


class Model:
    """What is no plain data."""

    def __repr__(self) -> str:
        return "a model"


def train() -> Model:
    return Model()


def steps(n: int) -> Iterator[int]:
    yield from range(n)


@pytest.fixture
def memory(root: Path) -> Memory:
    return Memory(root)


@pytest.fixture
def filled(root: Path, memory: Memory) -> Path:
    """Store calls of two functions, some of them old, one of them used."""
    for x in (1, 2, 3000):
        memory.cache(fit)(x)
    for _ in range(3):
        memory.cache(plot)(1)
    memory.counter.save(LocalStore(root))
    for entry in inspection.select(LocalStore(root), ["fit"]):
        if entry.call.startswith("x=1"):
            moment = time.time() - 10 * 86400
            os.utime(root / entry.key.path / "value", (moment, moment))
    return root


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def succeed(*arguments: str) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def fits(shown: str) -> bool:
    """Tell whether a table is no wider than the terminal."""
    rows = [line for line in shown.splitlines() if "/" not in line]  # but for the store
    return all(cell_len(row) <= 80 for row in rows)


def ask(*arguments: str) -> Any:
    return json.loads(succeed(*arguments, "--json"))


def key_of(root: Path, function: str) -> str:
    (entry,) = inspection.select(LocalStore(root), [function])
    return entry.key.digest


# --- ls ---


def calls(*arguments: str) -> set[str]:
    return {call["record"]["arguments"]["x"]["repr"] for call in ask("ls", *arguments)}


@pytest.mark.usefixtures("filled")
def test_ls_chooses_calls() -> None:
    assert calls("fit", "--older-than", "7d") == {"1"}
    assert calls("fit", "--newer-than", "7d") == {"2", "3000"}
    assert calls("fit", "--larger-than", "3K") == {"3000"}
    assert calls("fit", "--smaller-than", "3K", "--newer-than", "1w") == {"2"}
    assert calls("fit", "--matching", "X=3") == {"3000"}
    assert calls("fit", "--stale") == set()


@pytest.mark.usefixtures("filled")
def test_ls_sums_up_the_calls_that_are_chosen() -> None:
    (function,) = ask("ls", "--older-than", "7d")

    assert (function["function"], function["calls"]) == (f"{__name__}.fit", 1)
    assert "No call" in succeed("ls", "--older-than", "30d")
    assert ask("ls", "--older-than", "30d") == []


@pytest.mark.usefixtures("filled")
def test_ls_sorts_and_limits() -> None:
    names = [one["function"].rpartition(".")[2] for one in ask("ls", "--sort", "hits")]
    (largest,) = ask("ls", "fit", "--sort", "size", "--limit", "1")
    shown = succeed("ls", "--sort", "calls", "--limit", "1")

    assert names == ["plot", "fit"]
    assert largest["record"]["arguments"]["x"]["repr"] == "3000"
    _, line, footer = shown.splitlines()
    assert line.split()[:2] == [f"{__name__}.fit", "3"]
    assert footer.startswith("4 calls, ")
    assert "1 function not shown" in footer


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "wrong",
    [
        *(["--older-than", "soon"], ["--larger-than", "big"], ["--sort", "color"]),
        *(["--limit", "-1"], ["fit", "--sort", "calls"]),
    ],
)
def test_a_wrong_option_of_ls_is_exit_code_2(wrong: list[str]) -> None:
    result = invoke("ls", *wrong)

    assert (result.exit_code, result.stdout) == (2, "")


# --- info ---


def test_info_shows_what_a_value_is_made_of(root: Path, memory: Memory) -> None:
    memory.cache(load)(1000)

    shown = succeed("info", key_of(root, "load")[:8])

    assert re.search(r"^value +pickle stream of \d+ B$", shown, re.M)
    assert re.search(r"^buffers +800.0 kB, items of 8 bytes$", shown, re.M)
    assert re.search(r"^code +version [0-9a-f]{32}$", shown, re.M)


def test_info_shows_the_calls_that_a_call_made(
    root: Path, memory: Memory, environment: pytest.MonkeyPatch
) -> None:
    environment.setitem(globals(), "load_cached", memory.cache(load))
    memory.cache(mean)(10)

    shown = succeed("info", key_of(root, "mean")[:8])

    child = inspection.find(LocalStore(root), key_of(root, "load"))
    assert re.search(rf"^children +{re.escape(child.key.path)}$", shown, re.M)


def test_info_counts_the_items_of_a_generator(root: Path, memory: Memory) -> None:
    list(memory.cache(steps)(12))

    assert "12 items of a generator" in succeed("info", key_of(root, "steps")[:8])


def test_info_of_a_damaged_value_says_so(root: Path, memory: Memory) -> None:
    memory.cache(plot)(1)
    (path,) = root.glob("*/*/??/*/value")
    path.write_bytes(b"nothing")

    assert "cannot be read" in succeed("info", key_of(root, "plot")[:8])


# --- show ---


def test_show_prints_an_array_in_short_or_whole(root: Path, memory: Memory) -> None:
    memory.cache(load)(30)
    key = key_of(root, "load")

    short, full = succeed("show", key), succeed("show", key, "--full")

    assert short.startswith("numpy.ndarray (30, 100) of float64\n")
    assert "..." in short
    assert "..." not in full
    assert "2.999e+03" in full


def test_show_prints_the_head_of_a_table(root: Path, memory: Memory) -> None:
    def table() -> Any:
        return pd.DataFrame({"number": range(100, 150)})

    memory.cache(table)()
    key = key_of(root, "table")

    short = succeed("show", key)

    assert short.startswith("pandas.DataFrame (50, 1)\n")
    assert "109" in short
    assert "110" not in short
    assert "149" in succeed("show", key, "--full")


def test_show_abridges_a_long_text(root: Path, memory: Memory) -> None:
    memory.cache(fit)(9000)
    key = key_of(root, "fit")

    short = invoke("show", key).stdout

    assert short.startswith("str of 9,000\n")
    assert short.count("a") < 2100
    assert short.endswith("all of it with --full\n")
    assert "a" * 9000 in invoke("show", key, "--full").stdout


def test_show_prints_the_first_items_of_a_generator(root: Path, memory: Memory) -> None:
    list(memory.cache(steps)(25))
    key = key_of(root, "steps")

    assert succeed("show", key).splitlines() == [
        "items of a generator: 25, the first 10",
        *(f"[{n}] {n}" for n in range(10)),
    ]
    assert len(succeed("show", key, "--full").splitlines()) == 26


def test_show_unpickles_only_if_asked_for(root: Path, memory: Memory) -> None:
    memory.cache(train)()
    key = key_of(root, "train")

    refused = invoke("show", key[:8])

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"cachekit show {key[:8]} --unsafe" in refused.stderr
    assert "a model" in succeed("show", key[:8], "--unsafe")


def test_show_as_json_is_one_document(root: Path, memory: Memory) -> None:
    memory.cache(plot)(4)
    key = key_of(root, "plot")

    assert ask("show", key) == {"key": key, "value": "int", "items": None, "text": "-4"}


def test_what_was_shown_was_not_used(root: Path, filled: Path) -> None:
    (before,) = inspection.select(
        LocalStore(root), ["fit"], inspection.Conditions(older_than=86400)
    )

    succeed("show", before.key.digest)

    assert inspection.find(LocalStore(filled), before.key.digest) == before


def test_a_secret_that_is_too_short_is_told_so(
    root: Path, memory: Memory, environment: pytest.MonkeyPatch
) -> None:
    memory.cache(plot)(4)
    environment.setenv("CACHEKIT_SIGNING_KEY", "short")

    result = invoke("show", key_of(root, "plot"), "--unsafe")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "a secret needs" in result.stderr


# --- du and stats ---


@pytest.mark.usefixtures("filled")
def test_du_draws_a_bar_for_each_function() -> None:
    shown = succeed("du")

    first, second, footer = shown.splitlines()
    assert fits(shown)
    assert first.startswith(f"{__name__}.fit")
    assert first.count("█") > second.count("█")
    assert first.endswith("3 calls")
    assert footer.startswith("4 calls, ")


@pytest.mark.usefixtures("filled")
def test_du_can_be_by_code_and_by_age() -> None:
    by_code = ask("du", "--by", "code")
    by_age = ask("du", "--by", "age")

    assert [one["is_stale"] for one in by_code] == [False, False]
    assert {one["used"]: one["calls"] for one in by_age}["last month"] == 1
    for facts in (by_code, by_age, ask("du")):
        assert sum(one["calls"] for one in facts) == 4
    assert fits(succeed("du", "--by", "code"))
    assert "current" in succeed("du", "--by", "code")
    assert "last month" in succeed("du", "--by", "age")


def test_du_of_an_empty_store_is_nothing(root: Path) -> None:
    root.mkdir()

    assert succeed("du").startswith("0 calls, 0 B, in ")
    assert ask("du") == []


@pytest.mark.parametrize("part", [0.0, 1e-9, 0.01, 0.3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("blocks", [" ▏▎▍▌▋▊▉█", " #"])
def test_a_bar_is_as_long_as_its_part(part: float, blocks: str) -> None:
    bar = draw_bar(part, 20, blocks)

    assert bool(bar) == (part > 0)
    assert abs(len(bar) - 20 * part) <= 1


@pytest.mark.usefixtures("filled")
def test_stats_say_what_the_numbers_mean() -> None:
    shown = succeed("stats")

    header, first, second, total, *explained = shown.splitlines()
    assert header.split() == [
        "function",
        "hits",
        "misses",
        "rate",
        "saved",
        "reused",
    ]
    assert first.split()[:4] == [f"{__name__}.plot", "2", "1", "67%"]
    assert second.split()[:4] == [f"{__name__}.fit", "0", "3", "0%"]
    assert total.split()[:4] == ["all", "2", "4", "33%"]
    assert {line.partition(":")[0] for line in explained} == {"hits", "misses", "saved"}


@pytest.mark.usefixtures("filled")
def test_stats_as_json_have_the_documented_fields() -> None:
    plotted, _ = ask("stats")

    assert set(plotted) == {
        *("function", "hits", "misses", "hit_rate", "seconds_saved", "bytes_saved"),
    }
    assert plotted["bytes_saved"] > 0


@pytest.mark.parametrize("command", [["show", "abcd"], ["du"], ["stats"]])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_without_a_store_it_is_told_what_to_do(
    command: list[str], options: list[str]
) -> None:
    result = invoke(*command, *options)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no store at" in " ".join(result.stderr.split())


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (["show", "zzzz"], 1),
        (["show", "0000000000"], 1),
        *((wrong, 2) for wrong in (["show"], ["du", "--by", "size"], ["stats", "x"])),
    ],
)
def test_what_goes_wrong_has_its_exit_code(wrong: list[str], code: int) -> None:
    assert invoke(*wrong).exit_code == code


# --- progress ---


class Terminal(io.StringIO):
    """A terminal that keeps what is written on it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("step", "is_shown"), [(0.0, False), (0.01, True)])
def test_a_listing_that_takes_long_says_how_far_it_is(
    environment: pytest.MonkeyPatch, step: float, is_shown: bool
) -> None:
    clock = itertools.count(100.0, step)
    environment.setattr("cachekit.cli.printing.time.monotonic", lambda: next(clock))
    screen = Terminal()
    environment.setattr(sys, "stderr", screen)
    environment.setenv("TERM", "xterm")

    found = list(with_progress(range(100_000)))

    assert found == list(range(100_000))
    assert ("Listing" in screen.getvalue()) == is_shown


# --- as a process, and of other stores ---


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cachekit", *arguments],
        cwd=Path(cachekit.__file__).parents[1],
        encoding="utf-8",
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


@pytest.mark.usefixtures("filled")
def test_a_terminal_without_blocks_gets_other_bars() -> None:
    done = run("du", env={**os.environ, "PYTHONIOENCODING": "ascii"})

    assert (done.returncode, done.stderr) == (0, "")
    assert "####" in done.stdout
    assert "\\u" not in done.stdout


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("command", ["du", "stats"])
def test_a_reader_that_leaves_early_causes_no_message(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = run(command, stdout=writing)

    os.close(writing)
    assert done.stderr == ""


def test_the_commands_are_for_remote_stores_too(
    moto_s3_server: Remote, environment: pytest.MonkeyPatch
) -> None:
    url = moto_s3_server.fresh()
    store = RemoteStore(url, moto_s3_server.options)
    cached = Memory(store).cache(fit)
    for x in (1, 2, 3000):
        cached(x)
    store.flush()
    environment.setattr(inspection, "store_at", lambda _: store)

    (function,) = ask("ls", "--sort", "size")
    (largest,) = ask("ls", "fit", "--sort", "size", "--limit", "1")

    assert function["calls"] == 3
    assert largest["record"]["arguments"]["x"]["repr"] == "3000"
    assert calls("fit", "--matching", "x=2") == {"2"}
    assert "pickle stream of" in invoke("info", largest["key"]).stdout
    assert "str of 3,000" in invoke("show", largest["key"]).stdout
    assert ask("du")[0]["size"] == function["size"]
    assert ask("stats")[0]["misses"] == 3
