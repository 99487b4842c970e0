"""`dump` and `load`, beside others and beside a plain write of the same bytes.

`dump` replaces the file that is there in one step; the others write into it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import zstandard

import cachekit
from benchmarks.hashing import are_equal, megabytes
from benchmarks.others import optional
from benchmarks.rows import Case, Row, Setting, fact
from benchmarks.timing import Work
from cachekit.serialization.container import CHUNK_BYTES

# What is owed of zstd: bytes per second, by each processor.
ZSTD = 0.7e9

_SECONDS_ON_ONE_PROCESSOR = """
import os, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.path.insert(0, sys.argv[1])
import numpy as np, cachekit
array, path, found = np.load(sys.argv[2]), sys.argv[3], []
for _ in range(4):
    started = time.perf_counter()
    cachekit.dump(array, path, compress="zstd")
    found.append(time.perf_counter() - started)
print(min(found[1:]))
"""

_MEMORY = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, cachekit
from benchmarks.machine import peak
size, action, path, compress = int(sys.argv[2]), *sys.argv[3:]
array = np.ones(size // 8) if action == "dump" else None
before = peak()
if action == "dump":
    cachekit.dump(array, path, compress=compress)
else:
    value = cachekit.load(path)
print(peak() - before)
"""

_ROOT = str(Path(__file__).parents[1])


def cases(setting: Setting) -> Iterator[Case | Row]:
    """Yield dumps and loads of an array at each place, then other forms and objects."""
    size = 640_000 if setting.quick else 64_000_000
    for place in setting.places:
        yield from raw_cases(setting, place, size, place=place)
    folder = setting.folder(setting.memory[0], "persistence")
    noise = np.random.default_rng(0).normal(size=size // 8)
    yield from _compressed(folder, noise)
    yield from _objects(folder, 1_000 if setting.quick else 100_000)
    yield from _sizes(folder / "sizes", noise)
    if sys.platform == "linux":  # which can tell
        yield from _peaks(folder, 2**20 if setting.quick else 2**30)


# --- arrays as they are ---


def raw_cases(
    setting: Setting, where: str, size: int, *, place: str = "", x: float | None = None
) -> Iterator[Case]:
    """Yield a dump, a load and a mapped load of so many bytes."""
    folder = setting.folder(where, f"raw-{size}-{x}")
    array = np.random.default_rng(0).random(size // 8)
    memory = array.view(np.uint8).data
    text = "array" if x else megabytes(size)
    names = ("cachekit", "joblib", "pickle", "numpy.save", "safetensors", "plain write")
    files = {name: str(folder / name.replace(" ", "-")) for name in names}
    files["numpy.save"] += ".npy"
    tensors = optional("safetensors.numpy")
    writers: dict[str, Callable[[str], Any]] = {
        "cachekit": lambda path: cachekit.dump(array, path),
        "joblib": lambda path: joblib.dump(array, path),
        "pickle": lambda path: _pickle(array, path),
        "numpy.save": lambda path: np.save(path, array),
        "plain write": lambda path: _write(memory, path),
    }
    readers: dict[str, Callable[[str], Any]] = {
        "cachekit": cachekit.load,
        "joblib": joblib.load,
        "pickle": _unpickle,
        "numpy.save": np.load,
        "plain write": lambda path: _read(path, array),
    }
    if tensors is not None:
        writers["safetensors"] = lambda path: tensors.save_file({"a": array}, path)
        readers["safetensors"] = lambda path: tensors.load_file(path)["a"]
    is_right = are_equal(array)
    dumps = {
        name: _dumps(write, readers[name], files[name], is_right)
        for name, write in writers.items()
    }
    owed = {} if x else {"plain write": 0.9, "joblib": 1.0}
    yield _case(f"dump {text}", dumps, owed, place, x)
    loads = {
        name: _loads(files[name], read, is_right) for name, read in readers.items()
    }
    loads["plain read"] = loads.pop("plain write")
    yield _case(f"load {text}", loads, {} if x else {"joblib": 1.0}, place, x)
    if not x:
        maps = {
            "cachekit": _mapped(cachekit.load, files["cachekit"], is_right),
            "joblib": _mapped(joblib.load, files["joblib"], is_right),
        }
        yield _case(f"load {text}, mapped", maps, {"joblib": 1.0}, place, x)
    for file in files.values():
        Path(file).unlink(missing_ok=True)


def _case(
    name: str,
    works: dict[str, Work],
    owed: dict[str, float],
    place: str = "",
    x: float | None = None,
) -> Case:
    others = {other: work for other, work in works.items() if other != "cachekit"}
    return Case(name, works["cachekit"], others, owed, place=place, x=x, are_large=True)


def _dumps(
    write: Callable[[str], Any],
    read: Callable[[str], Any],
    path: str,
    is_right: Callable[[Any], bool],
) -> Work:
    write(path)
    return Work(lambda: write(path), lambda _: is_right(read(path)))


def _loads(
    path: str, read: Callable[[str], Any], is_right: Callable[[Any], bool]
) -> Work:
    return Work(lambda: read(path), is_right)


def _mapped(load: Any, path: str, is_right: Callable[[Any], bool]) -> Work:
    return Work(
        lambda: load(path, mmap_mode="r"),
        lambda found: isinstance(found, np.memmap) and is_right(found),
    )


def _write(memory: memoryview, path: str) -> None:
    with Path(path).open("wb") as file:
        file.write(memory)


def _read(path: str, like: Any) -> Any:
    array = np.empty_like(like)
    with Path(path).open("rb", buffering=0) as file:
        file.readinto(array.view(np.uint8).data)
    return array


def _pickle(value: object, path: str) -> None:
    with Path(path).open("wb") as file:
        pickle.dump(value, file, protocol=5)


def _unpickle(path: str) -> Any:
    with Path(path).open("rb") as file:
        return pickle.load(file)


# --- compressed ---


def _compressed(folder: Path, noise: Any) -> Iterator[Case]:
    rounded = noise.round(2)
    ours, theirs = str(folder / "ours"), str(folder / "theirs")
    text = megabytes(noise.nbytes)
    most = noise.nbytes / ZSTD / (os.cpu_count() or 1)

    def dump(array: Any, compress: Any, end: str = "") -> Work:
        return _dumps(
            lambda path: cachekit.dump(array, path, compress=compress),
            cachekit.load,
            ours + end,
            are_equal(array),
        )

    def dump_there(array: Any, compress: Any, end: str = "") -> Work:
        return _dumps(
            lambda path: joblib.dump(array, path, compress=compress),
            joblib.load,
            theirs + end,
            are_equal(array),
        )

    for name, array in (("rounded", rounded), ("noise", noise)):
        yield Case(
            f"dump {text} {name}, zstd",
            dump(array, "zstd"),
            {
                "zstandard": _by_zstandard(folder, array),
                "1 processor": _on_one_processor(folder, array),
            },
            most=most,
            are_large=True,
        )
        yield Case(
            f"dump {text} {name}, compress=True",
            dump(array, True),
            {"joblib, zlib-3": dump_there(array, 3)},
            {"joblib, zlib-3": 12},
            are_large=True,
        )
    lz4 = {"cachekit": dump(rounded, "lz4"), "joblib": dump_there(rounded, "lz4")}
    yield _case(f"dump {text} rounded, lz4", lz4, {"joblib": 1.0})
    gz = {
        "cachekit": dump(rounded, 0, ".gz"),
        "joblib": dump_there(rounded, 0, ".gz"),
    }
    yield _case(f"dump {text} rounded, .gz", gz, {"joblib": 1.0})
    cachekit.dump(rounded, ours, compress=True)
    joblib.dump(rounded, theirs, compress=3)
    loads = {
        "cachekit": _loads(ours, cachekit.load, are_equal(rounded)),
        "joblib, zlib-3": _loads(theirs, joblib.load, are_equal(rounded)),
    }
    yield _case(f"load {text} rounded", loads, {"joblib, zlib-3": 1.0})


def _by_zstandard(folder: Path, array: Any) -> Work:
    """Return what the compressor itself takes for the same chunks, in threads."""
    memory, path = array.view(np.uint8).data, folder / "zstandard"
    chunks = [memory[n : n + CHUNK_BYTES] for n in range(0, len(memory), CHUNK_BYTES)]
    pool, of_thread = ThreadPoolExecutor(os.cpu_count()), threading.local()

    def compress(chunk: memoryview) -> bytes:
        if not hasattr(of_thread, "compressor"):
            of_thread.compressor = zstandard.ZstdCompressor()
        return bytes(of_thread.compressor.compress(chunk))

    def write() -> list[int]:
        with path.open("wb") as file:
            return [file.write(packed) for packed in pool.map(compress, chunks)]

    def is_right(sizes: list[int]) -> bool:
        with path.open("rb") as file:
            expanded = b"".join(zstandard.decompress(file.read(n)) for n in sizes)
        return bool(expanded == memory)

    return Work(write, is_right)


def _on_one_processor(folder: Path, array: Any) -> Work:
    """Return the same dump in a process that has one processor."""
    source, target = folder / f"{id(array)}.npy", folder / "one"
    np.save(source, array)
    arguments = [_ROOT, str(source), str(target)]
    return Work(lambda: _run(_SECONDS_ON_ONE_PROCESSOR, *arguments), has_clock=True)


# --- objects ---


def _objects(folder: Path, many: int) -> Iterator[Case]:
    objects = [
        {"name": f"n{i}", "place": (i, i / 3), "tags": ["a", i]} for i in range(many)
    ]
    for text, value, owed in (
        (f"{many:,} Python objects", objects, 3.0),
        ("a small dict", {"a": 1}, 1.0),
    ):
        libraries: dict[str, tuple[Any, Any]] = {
            "cachekit": (cachekit.dump, cachekit.load),
            "joblib": (joblib.dump, joblib.load),
            "pickle": (_pickle, _unpickle),
        }
        dumps, loads = {}, {}
        for name, (dump, load) in libraries.items():
            path = str(folder / f"objects-{name}")
            dumps[name] = _dumps(partial(dump, value), load, path, value.__eq__)
            loads[name] = _loads(path, load, value.__eq__)
        yield _case(f"dump {text}", dumps, {"joblib": owed})
        yield _case(f"load {text}", loads, {})


# --- sizes and memory ---


def _sizes(path: Path, noise: Any) -> Iterator[Row]:
    """Yield what part of an array's bytes its file has."""
    kinds = {
        "noise": noise,
        "rounded noise": noise.round(2),
        "sorted noise": np.sort(noise),
        "a random walk": np.cumsum(noise),
    }
    for name, array in kinds.items():
        joblib.dump(array, path, compress=3)
        zlib = path.stat().st_size / array.nbytes
        for compress in ("zstd", "zstd+shuffle", True):
            cachekit.dump(array, path, compress=compress)
            part = path.stat().st_size / array.nbytes
            yield fact(
                "persistence", f"size of {name}, {compress}", "", part,
                beside=("joblib, zlib-3", zlib),
            )  # fmt: skip


def _peaks(folder: Path, size: int) -> Iterator[Row]:
    """Yield the memory that is needed besides the value."""
    for compress in ("none", "zstd"):
        for action, most in (("dump", 0.1 * size), ("load", 1.1 * size)):
            arguments = [_ROOT, str(size), action, str(folder / "peak"), compress]
            name = f"memory to {action} {size / 2**20:g} MiB, {compress}"
            # Of a small array, the threads and the codec are what counts.
            owed = most if size >= 2**30 else None
            value = _run(_MEMORY, *arguments)
            yield fact("persistence", name, "B", value, most=owed)
    (folder / "peak").unlink()


def _run(program: str, *arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, check=True
    )
    return float(done.stdout)
