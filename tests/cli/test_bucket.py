"""Every command that looks at a store looks into a bucket as well, by its URL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cachekit import Memory
from cachekit.cli import main
from tests.stores.servers import Remote, environment_of


def double(x: int) -> list[int]:
    return [2 * x]


def half(y: list[int]) -> float:
    return y[0] / 2


@pytest.fixture
def bucket(
    moto_s3_server: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    """Fill a bucket, which the commands find by its URL and the environment."""
    for name, value in environment_of(moto_s3_server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    url = moto_s3_server.fresh()
    memory = Memory(url)
    for x in (100_001, 100_002):
        memory.cache(half)(memory.cache(double)(x))
    memory.cache(double)(100_001)
    memory.flush()
    memory.counter.save(memory.store)  # type: ignore[arg-type]  # it has one
    return url


def invoke(url: str, *arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [*map(str, arguments), "--store", url])
    assert done.exit_code == code, done.output
    return done


def ask(url: str, *arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(main, [*map(str, arguments), "--store", url, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def key_of(url: str, function: str, text: str) -> str:
    (entry,) = ask(url, "ls", function, "--matching", text)
    return str(entry["key"])


def test_what_is_there_is_shown(bucket: str) -> None:
    key = key_of(bucket, "double", "100001")

    assert {one["calls"] for one in ask(bucket, "ls")} == {2}
    assert "hits" in invoke(bucket, "ls").stdout
    assert ask(bucket, "info", key)["record"]["value_bytes"] > 0
    assert "100001" in invoke(bucket, "info", key).stdout
    assert "[200002]" in invoke(bucket, "show", key).stdout
    assert len(ask(bucket, "du")) == len(ask(bucket, "du", "--by", "code")) == 2
    statistics = {one["function"]: one for one in ask(bucket, "stats")}
    assert [one["misses"] for one in statistics.values()] == [2, 2]
    assert sum(one["hits"] for one in statistics.values()) == 1


def test_it_is_explained(bucket: str) -> None:
    one, other = (key_of(bucket, "double", text) for text in ("100001", "100002"))

    assert "no earlier call of it was found" in invoke(bucket, "why", one).stdout
    assert "100001 -> 100002" in invoke(bucket, "diff", one, other, code=1).stdout
    graph = ask(bucket, "graph", "--format", "json")
    assert [edge["count"] for edge in graph["edges"]] == [2]
    assert "half" in invoke(bucket, "graph", one).stdout


def test_it_is_checked(bucket: str) -> None:
    # Each of the four in the bucket, and its copy in the folder of this machine.
    assert ask(bucket, "verify")["checked"] == 8
    assert invoke(bucket, "verify").exit_code == 0
    findings = ask(bucket, "doctor", code=0)["findings"]
    assert "problem" not in {one["severity"] for one in findings}


def test_it_is_tidied(bucket: str) -> None:
    one, other = (key_of(bucket, "double", text) for text in ("100001", "100002"))

    invoke(bucket, "pin", one)
    assert ask(bucket, "info", one)["is_pinned"]
    assert ask(bucket, "prune", "--function", "double")["entries"] == 1
    invoke(bucket, "prune", "--function", "double", "--yes")
    invoke(bucket, "rm", other, code=1)  # it has left
    invoke(bucket, "unpin", one)
    invoke(bucket, "rm", one)
    invoke(bucket, "sweep")
    assert [report["calls"] for report in ask(bucket, "ls")] == [2]


def test_it_is_taken_elsewhere(bucket: str, tmp_path: Path) -> None:
    here = tmp_path / "here"

    invoke(bucket, "export", tmp_path / "all.tar.zst")
    invoke(bucket, "push", here)
    invoke(str(here), "rm", "half")
    invoke(str(here), "pull", bucket, "half")
    invoke(bucket, "sync", here)

    assert sum(one["calls"] for one in ask(str(here), "ls")) == 4


def run(url: str, *arguments: str) -> list[str]:
    """Run the real command, as another process; its output goes into a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "cachekit", *arguments, "--store", url],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_another_process_finds_the_bucket(bucket: str) -> None:
    table, functions = (
        run(bucket, "ls"),
        json.loads("".join(run(bucket, "ls", "--json"))),
    )

    assert all(len(line) <= 80 for line in table)
    assert sorted(one["function"].rpartition(".")[2] for one in functions) == [
        "double",
        "half",
    ]
    assert len(run(bucket, "du")) == 3
    assert any("half" in line for line in run(bucket, "graph"))


def test_an_edit_is_accepted(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    # Python takes an edit of the same second for what it has compiled.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    script = tmp_path / "faster.py"
    source = f"from cachekit import Memory\nm = Memory({bucket!r})\n\n@m.cache\n"
    script.write_text(f"{source}def fit(x):\n    return x * 2\n")
    import faster  # type: ignore[import-not-found]  # just written

    faster.fit(3)
    faster.m.flush()
    script.write_text(f"{source}def fit(x):\n    return x + x\n")
    monkeypatch.delitem(sys.modules, "faster")

    invoke(bucket, "accept", "faster.fit", "--yes")

    assert invoke(bucket, "why", "faster.fit", "3").stdout.startswith("faster.fit(")
