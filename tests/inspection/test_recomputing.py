"""Stored calls that are run again in new processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from cachekit import inspection
from cachekit.inspection import Recomputed
from cachekit.stores import EntryKey, LocalStore

MODULE = """
import os
import random
from cachekit import Memory, artifact

memory = Memory("store")

@memory.cache
def square(x, *more, name="a", **others):
    return [x * x, list(more), name, others]

@memory.cache
def words(n):
    return {"first": "same", "second": list({"a", "b", "c", "d", "e", "f", "g"})[:n]}

@memory.cache
def roll(n):
    return {"first": n, "rolled": [1, random.random()]}

@memory.cache
def fragile(path):
    if os.path.exists(path):
        raise RuntimeError("it is there by now")
    return 1

@memory.cache
def total(numbers):
    return sum(numbers)

@memory.cache
def draw(n):
    path = artifact("plot.png")
    path.write_bytes(b"." * n)
    return path

@memory.cache
def count(n):
    yield from range(n)

@memory.cache(ignore=["verbose"])
def quiet(n, verbose):
    return n
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("work.py").write_text(textwrap.dedent(MODULE))
    return tmp_path


def call(folder: Path, calls: str) -> None:
    """Run calls in a process, as the user did."""
    subprocess.run(
        [sys.executable, "-c", f"from work import *\n{calls}"],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=True,
    )


def recomputed(folder: Path, most: int = 9) -> list[Recomputed]:
    store = LocalStore(folder / "store")
    keys = [info.key for info in store.entries()]
    return list(inspection.recompute(store, keys, most))


def only(folder: Path) -> Recomputed:
    (found,) = recomputed(folder)
    return found


def test_a_call_that_gives_the_same_is_said_to(folder: Path) -> None:
    call(folder, "square(3, 'b', 4.5, name=None, z=(1, 2))")

    found = only(folder)

    assert (found.outcome, found.function) == ("same", "work.square")


def test_what_differs_is_named(folder: Path) -> None:
    call(folder, "roll(1)")

    found = only(folder)

    assert found.outcome == "different"
    assert found.what.startswith("['rolled'][1]: ")


def test_an_order_that_depends_on_the_hash_seed_is_found(folder: Path) -> None:
    call(folder, "words(7)")

    found = only(folder)

    assert found.outcome == "different"
    assert "['second']" in found.what


def test_a_call_that_fails_now_is_said_to(folder: Path) -> None:
    call(folder, "fragile('gone')")
    (folder / "gone").touch()

    found = only(folder)

    assert (found.outcome, found.what) == (
        "failed",
        "RuntimeError: it is there by now",
    )


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ("total(tuple(range(500)))", "whole"),
        ("import numpy; total(numpy.arange(3))", "no literal"),
        ("draw(3)", "files"),
        ("list(count(3))", "generator|digest"),
        ("quiet(1, True)", "no part"),
    ],
)
def test_what_cannot_be_run_is_told_with_the_reason(
    folder: Path, calls: str, reason: str
) -> None:
    call(folder, calls)

    found = only(folder)

    assert found.outcome == "not run"
    assert any(word in found.what for word in reason.split("|"))


def test_code_that_was_edited_is_not_run(folder: Path) -> None:
    call(folder, "total((1, 2))\ntotal((1, 3))")
    text = (folder / "work.py").read_text()
    (folder / "work.py").write_text(text.replace("sum(numbers)", "sum(numbers) + 1"))

    found = recomputed(folder)

    assert [one.what for one in found] == ["its code has changed"] * 2


def test_a_module_that_is_gone_is_told(folder: Path) -> None:
    call(folder, "total((1, 2))")
    (folder / "work.py").unlink()

    found = only(folder)

    assert found.outcome == "not run"
    assert "no module work" in found.what


def test_no_more_are_run_than_were_asked_for(folder: Path) -> None:
    call(folder, "for i in range(5): square(i)\ndraw(1)")

    outcomes = Counter(one.outcome for one in recomputed(folder, most=2))

    assert outcomes["same"] == 2
    assert outcomes["not run"] <= 1


def test_nothing_is_stored(folder: Path) -> None:
    call(folder, "square(3)")
    before = inspection.entries(LocalStore(folder / "store"))

    recomputed(folder)

    assert inspection.entries(LocalStore(folder / "store")) == before


def test_a_record_names_no_file_to_be_run(folder: Path) -> None:
    call(folder, "square(3)")
    (path,) = (folder / "store").rglob("record.json")
    (folder / "evil.py").write_text("open('ran', 'w').close()\ndef f(x): return x\n")
    key = next(iter(LocalStore(folder / "store").entries())).key
    evil = f"{folder}/evil.py:f"
    other = LocalStore(folder / "store").root / EntryKey(evil, *key[1:]).path
    other.mkdir(parents=True)
    record = json.loads(path.read_text())
    (other / "record.json").write_text(json.dumps({**record, "function": evil}))
    (other / "value").write_bytes((path.parent / "value").read_bytes())

    found = recomputed(folder)

    assert "its function is not in a module" in {one.what for one in found}
    assert not (folder / "ran").exists()
