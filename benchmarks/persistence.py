"""`dump` and `load` side by side with others, as ratios within one run.

Needs joblib and safetensors besides cachekit: ``python benchmarks/persistence.py
[FOLDER]``. The folder, by default one for temporary files, decides what is measured:
on a disk it is the disk. Each row is timed in turns; the median of the turns counts.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from safetensors.numpy import load_file, save_file
from timing import show, times

import cachekit

Row = tuple[str, Callable[[], Any], Callable[[], Any], float]

GIGABYTE = """
import resource, sys
import numpy as np, cachekit
array = np.ones(2**27) if sys.argv[1] == "dump" else None
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
before = peak()
if sys.argv[1] == "dump":
    cachekit.dump(array, sys.argv[2], compress=sys.argv[3])
else:
    value = cachekit.load(sys.argv[2])
print(f"{before:.2f} GiB before, {peak():.2f} GiB at the peak")
"""


def main() -> None:
    """Time every row, print the table, and the memory that a gigabyte takes."""
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=folder) as place:
        print(f"{'':46}{'cachekit':>10}{'other':>10}{'ratio':>7}{'owed':>6}")
        for name, ours, other, owed in _rows(Path(place)):
            mine, theirs = times(ours, other)
            ratio = f"{theirs / mine:.1f}"
            print(f"{name:46}{show(mine):>10}{show(theirs):>10}{ratio:>7}{owed:>6}")
        print()
        _show_sizes(Path(place, "sizes"))
        print()
        for compress in ("none", "zstd"):
            for action in ("dump", "load"):
                command = [sys.executable, "-c", GIGABYTE, action, f"{place}/gigabyte"]
                done = subprocess.run(
                    [*command, compress], capture_output=True, text=True, check=True
                )
                print(f"{action} of 1 GiB, {compress}: {done.stdout.strip()}")


def _rows(place: Path) -> list[Row]:
    random = np.random.default_rng(0)
    noise = random.normal(size=8_000_000)
    array = noise.round(2)
    memory = array.view(np.uint8).data
    objects = [{"name": f"n{i}", "place": (i, i / 3), "tags": ["a", i]} for i in _N]
    ours, other = str(place / "ours"), str(place / "other")
    zlib, small = place / "zlib", place / "zstd"
    joblib.dump(array, zlib, compress=3)
    cachekit.dump(array, small, compress=True)
    files = {name: str(place / name) for name in ("c", "j", "p", "n", "s", "co", "jo")}
    cachekit.dump(array, files["c"])
    joblib.dump(array, files["j"])
    _pickle(array, files["p"])
    np.save(files["n"], array)
    save_file({"a": array}, files["s"])
    cachekit.dump(objects, files["co"])
    joblib.dump(objects, files["jo"])

    def dump(**options: Any) -> Callable[[], Any]:
        return lambda: cachekit.dump(array, ours, **options)

    def load() -> Any:
        return cachekit.load(files["c"])

    return [
        ("dump 64 MB, a plain write", dump(), lambda: _write(memory, other), 0.9),
        ("dump 64 MB, joblib", dump(), lambda: joblib.dump(array, other), 1),
        ("dump 64 MB, pickle 5", dump(), lambda: _pickle(array, other), 1),
        ("dump 64 MB, numpy.save", dump(), lambda: np.save(other, array), 1),
        ("dump 64 MB, safetensors", dump(), lambda: save_file({"a": array}, other), 1),
        (
            "dump 64 MB rounded, True, joblib zlib-3",
            dump(compress=True),
            lambda: joblib.dump(array, other, compress=3),
            12,
        ),
        (
            "dump 64 MB of noise, True, joblib zlib-3",
            lambda: cachekit.dump(noise, ours, compress=True),
            lambda: joblib.dump(noise, other, compress=3),
            12,
        ),
        (
            "dump 64 MB of noise, True, zstd",
            lambda: cachekit.dump(noise, ours, compress=True),
            lambda: cachekit.dump(noise, ours, compress="zstd"),
            0,
        ),
        (
            "dump 64 MB by lz4, joblib by lz4",
            dump(compress="lz4"),
            lambda: joblib.dump(array, other, compress="lz4"),
            1,
        ),
        (
            "dump 64 MB as .gz, joblib as .gz",
            lambda: cachekit.dump(array, ours + ".gz"),
            lambda: joblib.dump(array, other + ".gz"),
            1,
        ),
        ("load 64 MB, joblib", load, lambda: joblib.load(files["j"]), 1),
        ("load 64 MB, pickle 5", load, lambda: _unpickle(files["p"]), 1),
        ("load 64 MB, numpy.load", load, lambda: np.load(files["n"] + ".npy"), 1),
        ("load 64 MB, safetensors", load, lambda: load_file(files["s"]), 1),
        (
            "load 64 MB of zstd, joblib of zlib",
            lambda: cachekit.load(small),
            lambda: joblib.load(zlib),
            1,
        ),
        (
            "load 64 MB, mapped",
            lambda: cachekit.load(files["c"], mmap_mode="r"),
            lambda: joblib.load(files["j"], mmap_mode="r"),
            1,
        ),
        (
            "dump 10⁵ Python objects",
            lambda: cachekit.dump(objects, ours),
            lambda: joblib.dump(objects, other),
            3,
        ),
        (
            "load 10⁵ Python objects",
            lambda: cachekit.load(files["co"]),
            lambda: joblib.load(files["jo"]),
            1,
        ),
        (
            "dump a small dict",
            lambda: cachekit.dump({"a": 1}, ours),
            lambda: joblib.dump({"a": 1}, other),
            1,
        ),
    ]


def _show_sizes(path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=8_000_000)
    kinds = {
        "noise": noise,
        "noise, rounded to two decimals": noise.round(2),
        "sorted noise": np.sort(noise),
        "a random walk": np.cumsum(noise),
    }
    forms = ("zstd", "zstd+shuffle", True)
    print(
        f"{'64 MB of floats':32}{'zlib-3':>8}{'zstd':>8}{'zstd+shuffle':>14}{'True':>8}"
    )
    for name, array in kinds.items():
        sizes = []
        joblib.dump(array, path, compress=3)
        sizes.append(path.stat().st_size / array.nbytes)
        for compress in forms:
            cachekit.dump(array, path, compress=compress)
            sizes.append(path.stat().st_size / array.nbytes)
        zlib, zstd, shuffled, chosen = sizes
        print(f"{name:32}{zlib:8.2f}{zstd:8.2f}{shuffled:14.2f}{chosen:8.2f}")


def _write(memory: memoryview, path: str) -> None:
    with Path(path).open("wb") as file:
        file.write(memory)


def _pickle(value: object, path: str) -> None:
    with Path(path).open("wb") as file:
        pickle.dump(value, file, protocol=5)


def _unpickle(path: str) -> Any:
    with Path(path).open("rb") as file:
        return pickle.load(file)


_N = range(10**5)

if __name__ == "__main__":
    main()
