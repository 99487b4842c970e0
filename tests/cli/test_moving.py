"""``export``, ``import``, ``push``, ``pull`` and ``sync``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cachekit import Memory
from cachekit.cli import main
from cachekit.stores import LocalStore
from tests.stores.servers import Remote, environment_of


def fit(x: int) -> list[int]:
    return [x] * 100


def fill(root: Path, *numbers: int) -> None:
    cached = Memory(root).cache(fit, track="off")
    for x in numbers:
        cached(x)


def stored(root: Path) -> int:
    return len([*LocalStore(root).entries()])


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture
def here(tmp_path: Path) -> Path:
    fill(tmp_path / "here", 1, 2, 3)
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there"


def test_entries_go_through_a_file(here: Path, there: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.tar.zst"

    written = invoke("export", file, "--store", here)
    read = invoke("import", file, "--store", there)

    assert (written.exit_code, read.exit_code) == (0, 0), read.output
    assert written.output.startswith(f"Wrote to {file}: 3 entries, ")
    assert read.output.startswith(f"Read from {file}: 3 entries, ")
    assert stored(there) == 3
    assert Memory(there).cache(fit, track="off").check_call_in_cache(2)


def test_entries_go_through_a_pipe(here: Path, there: Path) -> None:
    command = [sys.executable, "-m", "cachekit"]

    written = subprocess.run(
        [*command, "export", "-", "fit", "--store", str(here)],
        capture_output=True,
        check=True,
    )
    read = subprocess.run(
        [*command, "import", "-", "--store", str(there), "--json"],
        input=written.stdout,
        capture_output=True,
        check=True,
    )

    assert b"3 entries" in written.stderr
    assert json.loads(read.stdout)["copied"] == stored(there) == 3


def test_an_export_that_fails_leaves_no_file(here: Path, tmp_path: Path) -> None:
    result = invoke("export", tmp_path / "no" / "file", "--store", here)

    assert result.exit_code == 1
    assert "there is no file or folder" in result.stderr

    result = invoke("export", tmp_path / "file", "nosuchname", "--store", here)

    assert result.exit_code == 1
    assert not (tmp_path / "file").exists()
    assert list(tmp_path.glob("*.partial")) == []


def test_a_damaged_file_is_one_error(there: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"not at all")

    result = invoke("import", tmp_path / "file", "--store", there)

    assert result.exit_code == 1
    assert result.stderr.count("Error") == 1
    assert "no archive of entries" in result.stderr


def test_push_and_pull_copy_what_is_missing(here: Path, there: Path) -> None:
    fill(there, 3, 4)

    pushed = invoke("push", there, "--store", here, "--json")

    assert {**json.loads(pushed.stdout), "bytes": 0} == {
        "copied": 2,
        "bytes": 0,
        "present": 1,
        "failures": [],
    }
    assert stored(there) == 4

    pulled = invoke("pull", there, "--store", here)

    assert "1 entry" in pulled.output
    assert "3 were there already" in pulled.output
    assert stored(here) == 4


def test_sync_goes_both_ways(here: Path, there: Path) -> None:
    fill(there, 4)

    result = invoke("sync", there, "--store", here)

    assert result.exit_code == 0
    assert [line.split(",")[0] for line in result.output.splitlines()] == [
        f"Pushed to {there}: 3 entries",
        f"Pulled from {there}: 1 entry",
    ]
    assert stored(here) == stored(there) == 4


def test_entries_may_be_chosen(here: Path, there: Path) -> None:
    key = next(iter(LocalStore(here).entries())).key

    assert invoke("push", there, key.digest, "--store", here).exit_code == 0

    assert [info.key for info in LocalStore(there).entries()] == [key]


def test_a_bucket_is_a_place_like_any(
    here: Path, there: Path, moto_s3_server: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(moto_s3_server).items():
        monkeypatch.setenv(name, value)
    bucket = moto_s3_server.fresh()

    assert "3 entries" in invoke("push", bucket, "--store", here).output
    assert "0 entries" in invoke("push", bucket, "--store", here).output
    assert "3 entries" in invoke("pull", bucket, "--store", there).output

    assert Memory(there).cache(fit, track="off").check_call_in_cache(2)


@pytest.mark.skipif(os.name == "nt", reason="a pipe is closed otherwise there")
@pytest.mark.parametrize("command", ["export", "push", "pull", "sync"])
def test_a_store_that_is_not_there_is_an_error(command: str, tmp_path: Path) -> None:
    absent = tmp_path / "absent"

    result = invoke(command, tmp_path / "target", "--store", absent)

    if command != "pull":  # which makes it
        assert result.exit_code == 1
        assert "there is no store" in " ".join(result.stderr.split())
    assert not absent.exists()


def test_an_export_goes_through_a_link_and_into_a_device(
    here: Path, tmp_path: Path
) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"before")
    link.symlink_to(target)
    mine = tmp_path / "target.partial"
    mine.write_bytes(b"of somebody")

    results = [invoke("export", name, "--store", here) for name in (link, os.devnull)]

    assert [result.exit_code for result in results] == [0, 0], results[1].output
    assert link.is_symlink()
    assert target.stat().st_size > 100
    assert mine.read_bytes() == b"of somebody"
    assert not Path(os.devnull).is_file()


def test_a_place_to_pull_from_has_to_be_there(here: Path, tmp_path: Path) -> None:
    result = invoke("pull", tmp_path / "mistyped", "--store", here)

    assert result.exit_code == 1
    told = " ".join(result.stderr.split())
    assert f"there is no store at {tmp_path / 'mistyped'}" in told
    assert not (tmp_path / "mistyped").exists()
