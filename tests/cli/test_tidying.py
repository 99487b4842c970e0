"""`cachekit prune` and `cachekit sweep`."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cachekit
from cachekit import Memory, inspection
from cachekit.cli import main
from cachekit.stores import LocalStore

DAY = 86400.0


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Keep the tests away from the store of whoever runs them."""
    monkeypatch.setenv("CACHEKIT_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "80")
    return monkeypatch


def fit(x: int) -> int:
    return x


def plot(x: int) -> bytes:
    return b"." * 1000 * x


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Store three calls of two functions each; of one, two were not used for long."""
    store = LocalStore(tmp_path / "store")
    memory = Memory(store)
    for x in range(3):
        memory.cache(fit)(x)
        memory.cache(plot)(x)
    old = time.time() - 40 * DAY
    for entry in [one for one in inspection.entries(store) if ".fit" in one.function]:
        if entry.record and entry.record.arguments["x"]["repr"] != "0":
            os.utime(store.root / entry.key.path / "value", (old, old))
    return store


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def succeed(*arguments: str) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def number_of(store: LocalStore) -> int:
    return len(inspection.entries(store))


# --- prune ---


def test_prune_shows_what_would_leave_and_removes_nothing(store: LocalStore) -> None:
    header, line, total, hint = succeed("prune", "--older-than", "30d").splitlines()

    assert header.split() == ["function", "why", "calls", "size", "used"]
    assert line.split()[:4] == [f"{__name__}.fit", "not", "used", "2"]
    assert total.startswith("2 entries, ")
    assert total.endswith(f"would leave {store.root}")
    assert "--yes" in hint
    assert number_of(store) == 6


def test_prune_with_yes_removes_it(store: LocalStore) -> None:
    shown = succeed("prune", "--older-than", "30d", "--yes")

    assert shown.startswith("Removed 2 entries; freed ")
    assert number_of(store) == 4
    assert succeed("prune", "--older-than", "30d") == "Nothing would leave.\n"


def test_prune_gives_each_entry_one_reason(store: LocalStore) -> None:
    facts = json.loads(
        succeed("prune", "--older-than", "30d", "--larger-than", "1K", "--json")
    )

    assert facts["is_done"] is False
    assert facts["entries"] == 4
    assert [
        (one["function"], one["reason"], one["calls"]) for one in facts["functions"]
    ] == [(f"{__name__}.plot", "large", 2), (f"{__name__}.fit", "unused", 2)]
    assert facts["bytes"] == sum(one["size"] for one in facts["functions"])
    assert number_of(store) == 6


def test_prune_as_json_says_that_it_was_done(store: LocalStore) -> None:
    facts = json.loads(succeed("prune", "--function", "plot", "--yes", "--json"))

    assert (facts["is_done"], facts["entries"]) == (True, 3)
    assert number_of(store) == 3


def test_prune_down_to_a_size(store: LocalStore) -> None:
    succeed("prune", "--down-to", "3K", "--yes")

    assert sum(one.size for one in inspection.entries(store)) <= 3 * 1024
    assert number_of(store) > 0


def test_prune_leaves_what_is_pinned(store: LocalStore) -> None:
    for entry in inspection.entries(store):
        store.pin(entry.key)

    assert succeed("prune", "--down-to", "0") == "Nothing would leave.\n"
    assert number_of(store) == 6


@pytest.mark.usefixtures("store")
def test_prune_without_criteria_says_what_to_give() -> None:
    for arguments in (["prune"], ["prune", "--yes"], ["prune", "--json"]):
        result = invoke(*arguments)

        assert (result.exit_code, result.stdout) == (2, "")
        assert "--older-than" in result.stderr


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--older-than", "long"],
        ["--older-than", "-1d"],
        ["--larger-than", "big"],
        ["--down-to", "1X"],
        ["--expired"],
        ["--expired", "soon"],
    ],
)
def test_an_amount_that_is_not_understood_is_wrong_usage(arguments: list[str]) -> None:
    result = invoke("prune", *arguments)

    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.usefixtures("store")
def test_prune_of_an_unknown_function_is_an_error() -> None:
    result = invoke("prune", "--function", "nosuch")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "no function named 'nosuch'" in result.stderr


# --- sweep ---


def test_sweep_says_what_it_removed(store: LocalStore) -> None:
    (store.root / ".leases").mkdir(exist_ok=True)
    (store.root / ".leases/gone.waits").write_text("another")
    (store.root / ".stats").mkdir(exist_ok=True)
    (store.root / ".stats/damaged.json").write_text("{")

    *lines, total = succeed("sweep").splitlines()

    assert sorted(line.split()[:2] for line in lines) == [
        ["lease", "1"],
        ["statistics", "1"],
    ]
    assert total == "Removed 2 leftovers; freed 8 B."
    assert succeed("sweep") == "Nothing was left over.\n"
    assert number_of(store) == 6


def test_sweep_says_that_it_could_not_look(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refuse(self: Path) -> bytes:
        if self.name == "store.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)

    result = CliRunner().invoke(main, ["sweep"])

    assert (result.exit_code, result.stdout) == (1, "")
    told = " ".join(result.stderr.split())
    assert f"{store.root} could not be looked into for leftovers" in told


def test_sweep_as_json_lists_what_it_removed(store: LocalStore) -> None:
    (store.root / ".stats").mkdir(exist_ok=True)
    (store.root / ".stats/damaged.json").write_text("{")

    facts = json.loads(succeed("sweep", "--json"))

    assert (facts["removed"], facts["bytes"]) == (1, 1)
    assert facts["leftovers"] == [
        {
            "location": str(store.root),
            "kind": "statistics",
            "path": ".stats/damaged.json",
            "size": 1,
        }
    ]


@pytest.mark.parametrize("command", [["prune", "--stale"], ["sweep"]])
def test_without_a_store_there_is_one_error(tmp_path: Path, command: list[str]) -> None:
    result = invoke(*command)

    assert (result.exit_code, result.stdout) == (1, "")
    told = " ".join(result.stderr.split())
    assert f"there is no store at {tmp_path / 'store'}" in told


def test_the_commands_run_as_a_process(store: LocalStore) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cachekit", *arguments],
            cwd=Path(cachekit.__file__).parents[1],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    shown = run("prune", "--down-to", "1K")
    done = run("prune", "--down-to", "1K", "--yes")
    swept = run("sweep")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert all(len(line) <= 80 for line in shown.stdout.splitlines()[:-2])
    assert (done.returncode, done.stderr) == (0, "")
    assert sum(one.size for one in inspection.entries(store)) <= 1024
    assert (swept.returncode, swept.stdout) == (0, "Nothing was left over.\n")


def test_a_dry_run_is_the_default_and_can_be_said(store: LocalStore) -> None:
    count = sum(1 for _ in store.entries())

    done = CliRunner().invoke(
        main, ["prune", "--down-to", "0", "--dry-run", "--store", store.location]
    )

    assert done.exit_code == 0, done.output
    assert "Nothing was removed" in done.output
    assert sum(1 for _ in store.entries()) == count > 0
