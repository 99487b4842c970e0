"""`cachekit verify` and `cachekit doctor`."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cachekit
from cachekit import Memory, inspection
from cachekit.cli import main
from cachekit.stores import LocalStore, TieredStore

SECRET = "0123456789abcdef"


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Keep the tests away from the store of whoever runs them."""
    monkeypatch.setenv("CACHEKIT_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CACHEKIT_SIGNING_KEY", raising=False)
    return monkeypatch


def fit(x: int) -> int:
    return x


def plot(x: int) -> bytes:
    return b"." * 1000 * x


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Store three calls of two functions each."""
    store = LocalStore(tmp_path / "store")
    fill(Memory(store))
    return store


def fill(memory: Memory) -> None:
    for x in range(3):
        memory.cache(fit)(x)
        memory.cache(plot)(x)


def spoil(store: LocalStore, function: str = "fit") -> str:
    """Alter a byte of a value; return its key."""
    for entry in inspection.entries(store):
        if entry.function.endswith(f".{function}"):
            path = store.root / entry.key.path / "value"
            content = bytearray(path.read_bytes())
            content[40] ^= 1
            path.write_bytes(content)
            return entry.key.digest
    raise LookupError(function)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def succeed(*arguments: str) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def fail(*arguments: str) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (1, "")
    return result.stdout


# --- verify ---


@pytest.mark.usefixtures("store")
def test_verify_says_that_all_is_well() -> None:
    shown = succeed("verify")

    assert re.fullmatch(r"Checked 6 entries, [\d.]+ kB: all is well\.\n", shown)


def test_verify_says_which_entry_is_damaged_and_what_to_do(store: LocalStore) -> None:
    key = spoil(store)

    first, second, summary, advice = fail("verify").splitlines()

    assert first.split() == ["damaged", key[:12], f"{__name__}.fit"]
    assert "altered" in second
    assert summary.endswith(": 1 damaged.")
    assert "--repair" in advice


def test_verify_of_a_function_or_a_key_checks_that_alone(store: LocalStore) -> None:
    key = spoil(store)

    assert "Checked 3 entries" in succeed("verify", "plot")
    assert "Checked 3 entries" in fail("verify", "fit")
    assert "Checked 1 entry" in fail("verify", key[:10])


def test_verify_as_json(store: LocalStore) -> None:
    key = spoil(store)

    facts = json.loads(fail("verify", "--json"))
    (problem,) = facts["problems"]

    assert facts["checked"] == 6
    assert (problem["key"], problem["kind"]) == (key, "damaged")
    assert Path(problem["path"]).is_relative_to(store.root)
    assert problem["repaired"] is None
    assert json.loads(succeed("verify", "plot", "--json"))["problems"] == []


def test_verify_says_in_which_of_two_stores_an_entry_is_damaged(
    store: LocalStore, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    both = TieredStore(store, LocalStore(tmp_path / "far"))
    environment.setattr(inspection, "store_at", lambda _: both)
    spoil(store)

    shown = fail("verify")

    assert f"in {store.root}" in shown
    assert "Checked 6 entries" in shown


def test_verify_repairs_what_is_damaged(store: LocalStore) -> None:
    key = spoil(store)

    shown = fail("verify", "--repair")

    assert f"moved to .damaged/{__name__}.fit-{key[:12]}-" in shown
    assert len(list((store.root / ".damaged").iterdir())) == 1
    assert "Checked 5 entries" in succeed("verify")
    fill(Memory(store))
    assert "Checked 6 entries" in succeed("verify")


def test_verify_repairs_nothing_that_another_key_may_have_signed(
    store: LocalStore, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("CACHEKIT_SIGNING_KEY", SECRET)

    shown = fail("verify", "--repair")

    assert shown.count("the value is not signed") == 6
    assert "6 untrusted" in shown
    assert len(inspection.entries(store)) == 6


def test_verify_checks_signatures_with_the_key_that_is_named(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    fill(Memory(tmp_path / "store", signing_key=SECRET))
    environment.setenv("RIGHT", SECRET)
    environment.setenv("WRONG", SECRET[::-1])
    environment.setenv("SHORT", "a")

    assert "6 signed values checked without a key" in succeed("verify")
    assert "all is well" in succeed("verify", "--signing-key-env", "RIGHT")
    assert "6 untrusted" in fail("verify", "--signing-key-env", "WRONG")
    for name in ("SHORT", "NOSUCH"):
        assert invoke("verify", "--signing-key-env", name).exit_code == 2
    environment.setenv("CACHEKIT_SIGNING_KEY", SECRET)
    assert "all is well" in succeed("verify")


@pytest.mark.usefixtures("store")
def test_verify_of_an_unknown_name_is_an_error() -> None:
    result = invoke("verify", "nosuch")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "nosuch" in result.stderr


def test_without_a_store_there_is_nothing_to_verify(tmp_path: Path) -> None:
    result = invoke("verify")

    assert (result.exit_code, result.stdout) == (1, "")
    told = " ".join(result.stderr.split())
    assert f"there is no store at {tmp_path / 'store'}" in told


MODULE = """
import random
from cachekit import Memory

memory = Memory("store")

@memory.cache
def double(n):
    return 2 * n

@memory.cache
def roll(n):
    return [n, random.random()]

@memory.cache
def total(numbers):
    return sum(numbers)
"""


def test_verify_runs_calls_again(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.chdir(tmp_path)
    Path("work.py").write_text(MODULE)
    calls = "from work import *\ndouble(1)\ndouble(2)\ntotal((1,) * 99)"
    subprocess.run([sys.executable, "-c", calls], check=True)

    well = succeed("verify", "--recompute", "9").splitlines()
    subprocess.run([sys.executable, "-c", "from work import *\nroll(1)"], check=True)
    shown = fail("verify", "--recompute", "9").splitlines()
    facts = json.loads(fail("verify", "--recompute", "9", "--json"))

    assert well[1:3] == ["Ran 2 calls again: 2 same.", "1 call could not be run:"]
    assert "not whole in its record" in well[3]
    assert any(line.split()[0] == "different" for line in shown)
    assert any("not deterministic" in line for line in shown)
    outcomes = sorted(one["outcome"] for one in facts["recomputed"])
    assert outcomes == ["different", "not run", "same", "same"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_verify_shows_how_far_it_is(
    store: LocalStore, environment: pytest.MonkeyPatch, capsys: Any
) -> None:
    spoil(store)
    screen = Terminal()
    environment.setattr(sys, "stderr", screen)
    environment.setenv("TERM", "xterm")

    with pytest.raises(SystemExit) as ended:
        main(["verify"])

    assert ended.value.code == 1
    assert "verifying" in screen.getvalue()
    assert "1 damaged" in capsys.readouterr().out  # and not on the other


# --- doctor ---


@pytest.mark.usefixtures("store")
def test_doctor_finds_that_all_is_well(store: LocalStore) -> None:
    shown = succeed("doctor")

    assert str(store.root) in shown.splitlines()
    assert "an entry was written, read and removed" in shown
    lines = [line for line in shown.splitlines() if str(store.root) not in line]
    assert all(len(line) <= 80 for line in lines)


def test_doctor_tells_what_is_wrong(store: LocalStore) -> None:
    (store.root / ".stats").mkdir(exist_ok=True)
    (store.root / ".stats/damaged.json").write_text("{")

    shown = fail("doctor")

    (line,) = (line for line in shown.splitlines() if line.startswith("warning"))
    assert line.split()[:4] == ["warning", "leftovers", "1", "damaged"]
    assert "→ remove it with: cachekit sweep" in shown
    assert "1 warning" in shown.splitlines()[-1]


def test_doctor_as_json(store: LocalStore) -> None:
    facts = json.loads(succeed("doctor", "--json"))

    assert facts["is_well"] is True
    assert {tuple(one) for one in facts["findings"]} == {
        ("severity", "place", "topic", "what", "advice")
    }
    assert {one["place"] for one in facts["findings"]} == {"", str(store.root)}


def test_doctor_of_a_place_that_is_not_there(tmp_path: Path) -> None:
    shown = succeed("doctor")

    assert "not there yet" in shown
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("store")
def test_doctor_of_a_broken_store_is_no_error(store: LocalStore) -> None:
    (store.root / "store.json").write_text("garbage")

    assert "not one of cachekit's" in fail("doctor")
    assert "nosuch://" in fail("doctor", "--store", "nosuch://bucket")


# --- as a process ---


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cachekit", *arguments],
        cwd=Path(cachekit.__file__).parents[1],
        encoding="utf-8",
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def test_the_commands_run_as_a_process(store: LocalStore) -> None:
    spoil(store)

    verified, examined = command("verify"), command("doctor")

    assert (verified.returncode, verified.stderr) == (1, "")
    assert (examined.returncode, examined.stderr) == (0, "")


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """Give a pipe that nobody reads: what `head` leaves when it has seen enough."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("name", ["verify", "doctor"])
def test_a_reader_that_leaves_early_causes_no_message(
    store: LocalStore, closed_pipe: int, name: str
) -> None:
    spoil(store)

    assert command(name, stdout=closed_pipe).stderr == ""
