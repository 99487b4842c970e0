"""Listing a store of 100,000 entries, beside joblib's own listing of as many.

From the root of the project: ``PYTHONPATH=. python benchmarks/listing.py [FOLDER]
[--entries N]``. The entries are those of 20 functions, written as files with the
record of a real call; a tenth of them have hits. Each row is a process of its own,
which tells its peak of memory, or that of this one if it is more; rows are run in
turns, and the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import joblib

from cachekit import Memory
from cachekit.amounts import format_size
from cachekit.stores import EntryKey, LocalStore

FUNCTIONS = 20
TURNS = 5

# What is owed: seconds, bytes at the peak, and times joblib's.
MOST_SECONDS = 3.0
MOST_MEMORY = 200e6
OWED = 3

# One of so many entries has hits.
USED = 10

# What a row runs, given the folder as its argument; {} is what is timed.
_PROGRAM = """
import resource, sys, time
{imports}
started = time.perf_counter()
{work}
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, peak, file=sys.stderr)
"""


class Row(NamedTuple):
    """What is timed, in a process of its own."""

    name: str
    imports: str
    work: str
    is_joblib: bool = False


def _command(*arguments: str) -> str:
    listed = ", ".join(map(repr, arguments))
    return f"main([{listed}, '--store', sys.argv[1]], standalone_mode=False)"


_IMPORT_MAIN = "from cachekit.cli import main"

ROWS = (
    Row(
        "joblib, get_items()",
        "import joblib\nmemory = joblib.Memory(sys.argv[2], verbose=0)",
        "assert memory.store_backend.get_items()",
        is_joblib=True,
    ),
    Row(
        "inspection.functions()",
        "from cachekit import inspection\nstore = inspection.store_at(sys.argv[1])",
        "assert inspection.functions(store)",
    ),
    Row("cachekit ls", _IMPORT_MAIN, _command("ls")),
    Row("cachekit ls --stale", _IMPORT_MAIN, _command("ls", "--stale")),
    Row(
        "cachekit ls FUNCTION",
        _IMPORT_MAIN,
        _command("ls", "function_3"),
    ),
    Row(
        "cachekit ls FUNCTION --sort size --limit 20",
        _IMPORT_MAIN,
        _command("ls", "function_3", "--sort", "size", "--limit", "20"),
    ),
    Row("cachekit du", _IMPORT_MAIN, _command("du")),
    Row("cachekit du --by code", _IMPORT_MAIN, _command("du", "--by", "code")),
    Row("cachekit stats", _IMPORT_MAIN, _command("stats")),
)


def main() -> None:
    """Make the stores, run every row in turns, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", help="where to make the stores")
    parser.add_argument("--entries", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        ours, theirs = Path(place, "ours"), Path(place, "joblib")
        _fill(ours, theirs, options.entries)
        found: dict[str, list[tuple[float, int]]] = {row.name: [] for row in ROWS}
        for _ in range(TURNS):
            for row in ROWS:
                found[row.name].append(_run(row, ours, theirs))
    _show(found)


def _show(found: dict[str, list[tuple[float, int]]]) -> None:
    medians = {
        name: statistics.median(seconds for seconds, _ in turns)
        for name, turns in found.items()
    }
    (theirs,) = (medians[row.name] for row in ROWS if row.is_joblib)
    print(f"{'':46}{'seconds':>8}{'joblib /':>10}{'memory':>10}")
    for row in ROWS:
        seconds = medians[row.name]
        memory = max(memory for _, memory in found[row.name])
        is_late = not row.is_joblib and seconds > MOST_SECONDS
        is_slow = not row.is_joblib and theirs / seconds < OWED
        is_large = not row.is_joblib and memory > MOST_MEMORY
        failed = [
            text
            for text, fails in (
                ("too late", is_late),
                (f"owed {OWED}", is_slow),
                ("too much memory", is_large),
            )
            if fails
        ]
        print(
            f"{row.name:46}{seconds:>8.2f}{theirs / seconds:>10.1f}"
            f"{format_size(memory):>10}  {', '.join(failed)}"
        )


def _run(row: Row, ours: Path, theirs: Path) -> tuple[float, int]:
    """Return the seconds and the peak of memory of one row, in bytes."""
    program = _PROGRAM.format(imports=row.imports, work=row.work)
    done = subprocess.run(
        [sys.executable, "-c", program, str(ours), str(theirs)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    if done.returncode:
        raise SystemExit(f"{row.name}: {done.stderr}")
    seconds, peak = done.stderr.split()
    unit = 1 if sys.platform == "darwin" else 1024
    return float(seconds), int(peak) * unit


# --- stores ---


def analyse(x: int, name: str = "a", rate: float = 0.5) -> dict[str, float]:
    """Stand for a function of a few arguments."""
    return {"x": x, "rate": rate, "length": len(name)}


def _fill(ours: Path, theirs: Path, entries: int) -> None:
    """Write the files of so many calls: to make the calls would take minutes."""
    memory = Memory(ours / "first")
    memory.cache(analyse)(1)
    other = joblib.Memory(theirs, verbose=0)
    other.cache(analyse)(1)
    assert isinstance(memory.store, LocalStore)
    first = memory.store.root / next(iter(memory.store.entries())).key.path
    first_of_theirs = Path(other.store_backend.get_items()[0].path)

    store = LocalStore(ours)
    value, code = (first / "value").read_bytes(), first.parents[1] / "code.json"
    record = json.loads((first / "record.json").read_bytes())
    files = {path.name: path.read_bytes() for path in first_of_theirs.iterdir()}
    hits = {}
    for number in range(entries):
        name = f"project.analysis.function_{number % FUNCTIONS}"
        # Two code versions of each function, one of them in a tenth of its entries.
        version = f"{number % FUNCTIONS:x}{number // FUNCTIONS % 10 == 0:d}"
        fingerprint = blake2b(version.encode(), digest_size=16).hexdigest()
        digest = blake2b(b"%d" % number, digest_size=16).hexdigest()
        key = EntryKey(name, fingerprint, digest)
        facts = {"function": name, "fingerprint": fingerprint, "key": digest}
        with store.stage(key) as staging:
            staging.write("value", value)
            staging.write("record.json", _encode({**record, **facts}))
            staging.commit()
        if number % USED == 0:
            hits[key.path] = 1 + number % 7
        if number < 10 * 2 * FUNCTIONS:  # each of the versions, some more than once
            store.write_code(key, code.read_bytes())
        there = theirs / "joblib" / "project" / f"function_{number % FUNCTIONS}"
        _write(there / digest, files)
    (ours / ".stats").mkdir(exist_ok=True)
    (ours / ".stats" / "first.json").write_text(json.dumps(hits, indent=1))
    _remove(ours / "first")
    _remove(first_of_theirs)
    assert sum(1 for _ in store.entries()) == entries
    assert len(other.store_backend.get_items()) == entries


def _encode(facts: object) -> bytes:
    return json.dumps(facts, indent=1).encode()


def _write(folder: Path, files: dict[str, bytes]) -> None:
    os.makedirs(folder)  # noqa: PTH103  (a hundred thousand times)
    for name, content in files.items():
        with open(f"{folder}/{name}", "wb", buffering=0) as file:  # noqa: PTH123
            file.write(content)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


if __name__ == "__main__":
    main()
