"""Large arrays reach workers as maps of files, and nothing stays behind."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cachekit.parallel import Parallel, delayed
from cachekit.parallel.sharing import Sharing
from tests.parallel.processes import SHARED_MEMORY, left_in, started

BACKENDS = ["loky", "multiprocessing"]

LARGE = 200_000  # numbers: over the megabyte from which arrays are shared


@dataclass
class Sample:
    name: str
    data: Any


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = left_in(SHARED_MEMORY)
    yield
    gc.collect()
    mine = [name for name in left_in(SHARED_MEMORY) if f"-{os.getpid()}-" in name]
    assert set(mine) <= set(before)


def file_of(array: Any) -> str | None:
    """Return the file that the memory of an array is a map of."""
    while array is not None:
        if isinstance(array, np.memmap):
            return str(array.filename)
        array = getattr(array, "base", None)
    return None


def look(value: Any) -> tuple[str | None, float]:
    array = {
        "Sample": lambda: value.data,
        "DataFrame": lambda: value["x"].to_numpy(),
        "Series": lambda: value.to_numpy(),
        "tuple": lambda: value[0],
        "list": lambda: value[0]["deep"],
    }.get(type(value).__name__, lambda: value)()
    return file_of(array), float(array.sum())


def shapes_of(data: Any) -> dict[str, Any]:
    return {
        "array": data,
        "dataclass": Sample("s", data),
        "tuple": (data, 1),
        "list of dicts": [{"deep": data}],
        "frame": pd.DataFrame({"x": data, "y": data}),
        "series": pd.Series(data),
        "Fortran order": np.asfortranarray(data.reshape(2, -1)),
        "transposed": data.reshape(2, -1).T,
        "of dates": data.astype("M8[ns]"),
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [*shapes_of(np.ones(2))][:-1])
def test_an_array_is_mapped_wherever_it_is(backend: str, name: str) -> None:
    value = shapes_of(np.arange(float(LARGE)))[name]

    found = Parallel(n_jobs=2, backend=backend)([delayed(look)(value)] * 3)

    (file,) = {file for file, _ in found}
    assert file is not None
    assert {total for _, total in found} == {float(np.arange(float(LARGE)).sum())}
    assert not Path(file).exists()


def same(value: Any) -> Any:
    return value


@pytest.mark.parametrize("limit", [0, 1, "1K", "1M", None])
@pytest.mark.parametrize("mode", [None, "r", "r+", "w+", "c"])
def test_values_arrive_as_they_are_with_all_settings(limit: Any, mode: Any) -> None:
    data = np.arange(float(LARGE)).reshape(100, -1)
    values = [data, data.T, data[::2], data[:, ::3], data[5:9], np.empty((0, 3)), 7]

    found = Parallel(n_jobs=2, max_nbytes=limit, mmap_mode=mode)(
        delayed(same)(value) for value in values
    )

    for value, one in zip(values, found, strict=True):
        np.testing.assert_array_equal(value, one)


def describe(array: Any) -> tuple[str | None, bool]:
    return file_of(array), array.flags.writeable


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_limit_maps_nothing(backend: str) -> None:
    data = np.ones(LARGE)

    found = Parallel(n_jobs=2, backend=backend, max_nbytes=None)(
        [delayed(describe)(data)] * 2
    )

    assert found == [(None, True)] * 2


@pytest.mark.parametrize(
    ("mode", "is_writeable"), [("r", False), ("r+", True), ("w+", True), ("c", True)]
)
def test_the_mode_is_that_of_the_map(mode: str, is_writeable: bool) -> None:
    data = np.ones(LARGE)

    found = Parallel(n_jobs=2, mmap_mode=mode)([delayed(describe)(data)] * 2)

    assert [writeable for _, writeable in found] == [is_writeable] * 2
    assert None not in [file for file, _ in found]
    assert data.sum() == LARGE


def files_in(folder: Path, array: Any) -> tuple[int, float]:
    del array
    sizes = []
    for path in folder.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile
            sizes += [path.stat().st_size] * (len(path.name) > 30)
    return len(sizes), float(sum(sizes))


def test_one_array_is_written_once(tmp_path: Path) -> None:
    data = np.ones(LARGE)

    found = Parallel(n_jobs=2, temp_folder=str(tmp_path), batch_size=1)(
        delayed(files_in)(tmp_path, data) for _ in range(20)
    )

    assert set(found) == {(1, 8.0 * LARGE)}
    assert left_in(tmp_path) == []


def test_views_of_one_array_are_written_once(tmp_path: Path) -> None:
    data = np.ones((8, LARGE))

    found = Parallel(n_jobs=2, temp_folder=str(tmp_path), batch_size=1)(
        delayed(files_in)(tmp_path, data[n : n + 1]) for n in range(8)
    )

    assert set(found) == {(1, 64.0 * LARGE)}


def test_arrays_that_nobody_needs_are_removed_while_the_loop_runs(
    tmp_path: Path,
) -> None:
    found = Parallel(n_jobs=2, temp_folder=str(tmp_path), batch_size=1)(
        delayed(files_in)(tmp_path, np.full(LARGE, n)) for n in range(60)
    )

    assert max(count for count, _ in found) < 12


@pytest.mark.parametrize("backend", [*BACKENDS, "threading"])
def test_arrays_are_not_kept_alive(backend: str, tmp_path: Path) -> None:
    alive = most = 0

    def count(step: int) -> None:
        nonlocal alive, most
        alive += step
        most = max(most, alive)

    def tasks() -> Iterator[Any]:
        for number in range(100):
            array = np.full(LARGE, number)
            count(+1)
            weakref.finalize(array, count, -1)
            yield delayed(total)(array)

    loop = Parallel(n_jobs=2, backend=backend, temp_folder=str(tmp_path), batch_size=1)
    loop(tasks())

    assert most < 20


def total(array: Any) -> float:
    return float(array.sum())


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_changed_between_two_loops_is_seen(backend: str) -> None:
    data = np.zeros(LARGE)

    with Parallel(n_jobs=2, backend=backend) as loop:
        before = loop([delayed(total)(data)] * 4)
        data += 1
        after = loop([delayed(total)(data)] * 4)

    assert before == [0.0] * 4
    assert after == [float(LARGE)] * 4


def test_an_array_where_one_lay_that_a_task_still_uses_has_its_own_file(
    tmp_path: Path,
) -> None:
    sharing = Sharing(str(tmp_path), 1, "r")
    memory = bytearray(LARGE)
    array = np.frombuffer(memory, "u1")
    under_way = sharing.pack([array])
    del array
    memory[:] = b"\1" * LARGE

    packed = sharing.pack([np.frombuffer(memory, "u1")])

    assert packed.unpack()[0].sum() == LARGE
    assert under_way.unpack()[0].sum() == 0
    sharing.close()


def test_arrays_of_one_address_are_told_apart() -> None:
    def tasks() -> Iterator[Any]:
        for number in range(40):
            array = np.full(LARGE, float(number))
            yield delayed(total)(array)
            del array  # so that the next one may lie where it lay

    found = Parallel(n_jobs=2, batch_size=1)(tasks())

    assert found == [float(number) * LARGE for number in range(40)]


def test_a_changed_shape_of_one_memory_is_seen() -> None:
    data = np.arange(float(LARGE))

    found = Parallel(n_jobs=2)(
        delayed(describe_values)(one)
        for one in (data, data.reshape(-1, 2), data[::-1], data.view("i8"))
    )

    assert found == [
        describe_values(one)
        for one in (data, data.reshape(-1, 2), data[::-1], data.view("i8"))
    ]


def describe_values(array: Any) -> Any:
    return array.dtype.str, array.shape, array.ravel()[:3].tolist()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("offset", [0, 4096, 12])
def test_a_map_of_a_file_is_passed_by_its_name(
    tmp_path: Path, order: Any, offset: int
) -> None:
    path, folder = tmp_path / "data", tmp_path / "folder"
    shape = (400, LARGE // 400)
    data: Any = np.memmap(path, "f8", "w+", offset=offset, shape=shape, order=order)
    data[...] = np.arange(float(LARGE)).reshape(shape)
    part = data[3:] if order == "C" else data[:, 3:]

    found = Parallel(n_jobs=2, temp_folder=str(folder))(
        delayed(look)(one) for one in (data, np.asarray(data), data.T, part)
    )

    assert found == [(str(path), float(one.sum())) for one in (data, data, data, part)]


def add_one(array: Any, row: int) -> None:
    array[row] += 1


def test_a_writable_map_is_written_by_workers(tmp_path: Path) -> None:
    data: Any = np.memmap(tmp_path / "data", "f8", "w+", shape=(4, LARGE))

    Parallel(n_jobs=2)(delayed(add_one)(data, row) for row in range(4))

    assert data.sum() == 4 * LARGE


def test_a_private_map_is_passed_as_it_is_here(tmp_path: Path) -> None:
    np.zeros(LARGE).tofile(tmp_path / "data")
    data: Any = np.memmap(tmp_path / "data", "f8", "c", shape=(LARGE,))
    data[:] = 2

    ((file, found), *_) = Parallel(n_jobs=2)([delayed(look)(data)] * 2)

    assert found == 2 * LARGE
    assert file != str(tmp_path / "data")


def test_a_map_of_a_file_that_is_gone_is_passed_as_it_is_here(tmp_path: Path) -> None:
    data: Any = np.memmap(tmp_path / "data", "f8", "w+", shape=(LARGE,))
    data[:] = 3
    (tmp_path / "data").unlink()

    assert Parallel(n_jobs=2)([delayed(total)(data)] * 2) == [3.0 * LARGE] * 2


def test_a_map_of_a_file_that_was_replaced_is_passed_as_it_is_here(
    tmp_path: Path,
) -> None:
    data: Any = np.memmap(tmp_path / "data", "f8", "w+", shape=(LARGE,))
    data[:] = 3
    np.zeros(LARGE).tofile(tmp_path / "other")
    (tmp_path / "other").replace(tmp_path / "data")

    assert Parallel(n_jobs=2)([delayed(total)(data)] * 2) == [3.0 * LARGE] * 2


# In a process of its own: a worker that takes the memory that torch does is recycled.
TENSORS = """
import torch
from cachekit.parallel import Parallel, delayed

def total(tensor):
    return float(tensor.sum()), tensor.numpy().base is not None

if __name__ == "__main__":
    data = torch.ones(200_000, dtype=torch.float64)
    print(set(Parallel(n_jobs=2)([delayed(total)(data)] * 2)))
"""


@pytest.mark.slow
def test_tensors_are_shared(tmp_path: Path) -> None:
    pytest.importorskip("torch")

    out, errors = started(TENSORS, tmp_path).communicate(timeout=60)

    assert out == "{(200000.0, True)}\n", errors
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_left_when_a_task_fails(backend: str, tmp_path: Path) -> None:
    data = np.ones(LARGE)

    with pytest.raises(ValueError, match="invalid literal"):
        Parallel(n_jobs=2, backend=backend, temp_folder=str(tmp_path))(
            delayed(int)(text) if text else delayed(total)(data)
            for text in ["", "", "x", "", ""]
        )

    assert left_in(tmp_path) == []


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "one"

    found = Parallel(n_jobs=2, temp_folder=str(folder))(
        [delayed(look)(np.ones(LARGE))] * 2
    )

    assert all(str(file).startswith(str(folder)) for file, _ in found)


def proportional_memory(array: Any) -> float:
    """Read all of an array, and return the memory that counts for this process."""
    array.sum()
    rollup = Path("/proc/self/smaps_rollup").read_text()
    (line,) = (line for line in rollup.splitlines() if line.startswith("Pss:"))
    return float(line.split()[1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="asks Linux for memory"
)
def test_workers_share_one_copy() -> None:
    data = np.ones(300_000_000 // 8)
    small = np.ones(10)

    with Parallel(n_jobs=2, batch_size=1) as loop:
        without = max(loop(delayed(proportional_memory)(small) for _ in range(8)))
        with_it = max(loop(delayed(proportional_memory)(data) for _ in range(8)))

    assert with_it - without < 1.1 * data.nbytes


def test_results_that_are_large_come_back_as_arrays_of_their_own() -> None:
    data = np.ones(LARGE)

    found = Parallel(n_jobs=2)(delayed(same)(data) for _ in range(3))

    for one in found:
        assert file_of(one) is None
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(found, 2))
