"""Files that a call makes: where they are, when they are kept, and what moves them.

Witnesses of a computation are files of the test, since a cached function counts by the
values that it reads.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import os
import pickle
import shutil
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest

from cachekit import Memory, artifact
from cachekit.errors import CacheWarning, StoreError
from cachekit.memoization.artifacts import OTHERS, Artifact
from cachekit.stores import (
    DictStore,
    LocalStore,
    ReadOnlyStore,
    RemoteStore,
    Store,
    TieredStore,
)
from cachekit.stores.base import temporary_folder
from tests.memoization.project import value_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def memory(root: Path) -> Memory:
    return Memory(root)


@pytest.fixture
def bucket() -> Iterator[str]:
    fsspec.filesystem("memory").store.clear()
    yield "memory://bucket"
    fsspec.filesystem("memory").store.clear()


class Counter:
    """Counts computations in a file, out of sight of fingerprints."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self) -> None:
        with self.path.open("a") as file:
            file.write(".")

    @property
    def count(self) -> int:
        return len(self.path.read_text()) if self.path.exists() else 0

    def __cachekit_hash__(self) -> object:
        return "the counter"


@pytest.fixture
def counter(tmp_path: Path) -> Counter:
    return Counter(tmp_path / "computed")


def staged(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".staging").glob("*"))


def inside(root: Path, path: Path) -> bool:
    """Tell whether a path leads into an entry of a store, and not into the staging."""
    return path.is_relative_to(root) and ".staging" not in path.parts


def write(name: str, text: str = "drawn") -> Path:
    path = artifact(name)
    path.write_text(text)
    return path


# --- a path inside the entry ---


def plot(counter: Counter, text: str = "drawn") -> Path:
    counter.add()
    return write("plot.png", text)


def test_the_first_call_and_a_hit_return_the_same_path(
    memory: Memory, root: Path, counter: Counter
) -> None:
    cached = memory.cache(plot)

    first, second = cached(counter), cached(counter)

    assert first == second
    assert inside(root, first)
    assert first.read_text() == "drawn"
    assert first.name == "plot.png"
    assert counter.count == 1
    assert staged(root) == []


def test_another_process_finds_the_file(root: Path) -> None:
    program = (
        "import sys\n"
        "from cachekit import Memory, artifact\n"
        "def draw():\n"
        "    path = artifact('plot.png')\n"
        "    path.write_text('drawn')\n"
        "    print('computed', end=' ')\n"
        "    return path\n"
        f"print(Memory({str(root)!r}).cache(draw)().read_text())\n"
    )

    def run(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-W", "error", "-c", program]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert run("1") == "computed drawn\n"
    assert run("2") == "drawn\n"


@dataclasses.dataclass
class Report:
    title: str
    pages: list[Path]


def in_tuple() -> Any:
    return (1, write("a"), write("b"))


def in_dict() -> Any:
    return {"plot": write("a"), "more": [write("b")]}


def in_dataclass() -> Any:
    return Report("title", [write("a"), write("b")])


def in_frame() -> Any:
    return pd.DataFrame({"path": [write("a"), write("b")], "n": [1, 2]})


def in_array() -> Any:
    return np.array([write("a"), write("b"), None], dtype=object)


def paths_in(value: Any) -> list[Path]:
    if isinstance(value, Path):
        return [value]
    if isinstance(value, Report):
        return value.pages
    if isinstance(value, pd.DataFrame):
        return list(value["path"])
    items = value.values() if isinstance(value, dict) else value
    if isinstance(items, (int, type(None))):
        return []
    return [path for item in items for path in paths_in(item)]


@pytest.mark.parametrize(
    "function", [in_tuple, in_dict, in_dataclass, in_frame, in_array]
)
def test_a_path_anywhere_in_the_result_leads_into_the_entry(
    memory: Memory, root: Path, function: Callable[[], Any]
) -> None:
    cached = memory.cache(function)

    first, second = paths_in(cached()), paths_in(cached())

    assert first == second
    assert len(first) == 2
    assert all(inside(root, path) and path.read_text() == "drawn" for path in first)


def test_a_folder_can_be_an_artifact(memory: Memory, root: Path) -> None:
    @memory.cache
    def render(count: int) -> Path:
        frames = artifact("frames")
        for number in range(count):
            frame = frames / "deep" / f"{number}.txt"
            frame.parent.mkdir(parents=True, exist_ok=True)
            frame.write_text(str(number))
        return frames

    for _ in range(2):
        frames = render(300)
        assert inside(root, frames)
        assert len(list((frames / "deep").iterdir())) == 300
        assert (frames / "deep" / "7.txt").read_text() == "7"


@pytest.mark.parametrize("how", ["folder", "bucket"])
def test_an_empty_folder_stays_one(root: Path, bucket: str, how: str) -> None:
    @Memory(root if how == "folder" else bucket).cache
    def render() -> Path:
        frames = artifact("frames")
        frames.mkdir()
        return frames

    assert [render().is_dir() for _ in range(3)] == [True] * 3


def test_paths_made_of_an_artifact_are_artifacts(memory: Memory, root: Path) -> None:
    @memory.cache
    def render() -> tuple[Path, Path]:
        frame = artifact("frames/0.txt")
        frame.write_text("zero")
        return frame.parent, frame.with_name("0.txt")

    render()

    folder, frame = render()
    assert inside(root, folder)
    assert frame == folder / "0.txt"
    assert frame.read_text() == "zero"


def test_the_folder_of_all_files_can_be_returned(memory: Memory, root: Path) -> None:
    @memory.cache
    def render() -> Path:
        write("b.txt")
        return write("a.txt").parent

    for _ in range(2):
        assert sorted(path.name for path in render().iterdir()) == ["a.txt", "b.txt"]
        assert inside(root, render())


def test_the_same_name_is_the_same_file(memory: Memory) -> None:
    @memory.cache
    def draw() -> list[Path]:
        write("plot.png", "one")
        return [write("plot.png", "two"), artifact("./plot.png")]

    assert {path.read_text() for path in draw()} == {"two"}
    assert len(set(draw())) == 1


def test_a_file_that_is_not_returned_is_kept_all_the_same(
    memory: Memory, root: Path
) -> None:
    @memory.cache
    def draw() -> str:
        write("log.txt")
        return "done"

    assert [draw(), draw()] == ["done", "done"]

    (value,) = value_files(root)
    assert (value.parent / "files" / "log.txt").read_text() == "drawn"


# --- names ---


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/../../x", "/etc/x", "a:b", "a\0b", f"{OTHERS}/0"]
)
def test_a_name_that_leads_out_is_refused(memory: Memory, name: str) -> None:
    def draw() -> Path:
        return artifact(name)

    with pytest.raises(ValueError, match="artifact"):
        draw()
    with pytest.raises(ValueError, match="artifact"):
        memory.cache(draw)()


@pytest.mark.parametrize("name", [5, None, b"bytes"])
def test_a_name_is_a_text(name: Any) -> None:
    with pytest.raises(TypeError):
        artifact(name)


@pytest.mark.parametrize(
    "name",
    ["größe 日本語 🙂.png", "plots/first.png", "./a//b", ".hidden", "x" * 250, "a b"],
)
def test_other_names_are_fine(memory: Memory, bucket: str, name: str) -> None:
    def draw() -> Path:
        return write(name)

    for at in (memory, Memory(bucket)):
        cached = at.cache(draw)
        assert [cached().read_text() for _ in range(2)] == ["drawn", "drawn"]
        assert cached().name == Path(name).name


def test_a_name_that_the_disk_refuses_is_the_error_of_the_function(
    memory: Memory, root: Path
) -> None:
    @memory.cache
    def draw() -> Path:
        return write("x" * 300)

    with pytest.raises(OSError, match="too long"):
        draw()

    assert staged(root) == []


# --- what would lead to nothing ---


def as_text() -> Any:
    return str(write("plot.png"))


def in_sentence() -> Any:
    return {"message": f"see {write('plot.png')}"}


def as_plain_path() -> Any:
    return Path(str(write("plot.png")))


def in_array_of_texts() -> Any:
    return np.array([str(write("plot.png"))] * 1000)


def as_bytes() -> Any:
    return bytes(write("plot.png"))


def folder_above() -> Any:
    return write("plot.png").parent.parent


@pytest.mark.parametrize(
    "function",
    [
        as_text,
        in_sentence,
        as_plain_path,
        in_array_of_texts,
        as_bytes,
        folder_above,
    ],
)
@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_path_as_text_is_not_stored_and_told(
    root: Path, bucket: str, place: str, function: Callable[[], Any]
) -> None:
    memory = Memory(root if place == "folder" else bucket)

    with pytest.warns(CacheWarning, match="as a text"):
        result = memory.cache(function)()

    assert memory.store is not None
    assert list(memory.store.entries()) == []
    if isinstance(result, str):
        assert Path(result).read_text() == "drawn", "the caller may have it"


def test_a_path_as_text_can_be_an_error(memory: Memory) -> None:
    with pytest.raises(StoreError, match=r"cachekit\.artifact"):
        memory.cache(as_text, on_error="raise")()


def test_text_that_names_no_folder_is_fine(memory: Memory) -> None:
    @memory.cache
    def draw() -> tuple[Path, str, Any]:
        path = write("plot.png")
        return path, path.name, np.zeros(5_000_000)

    assert draw()[1] == "plot.png"
    assert memory.tally()[:2] == (0, 1)
    draw()
    assert memory.tally()[:2] == (1, 1)


def test_a_file_that_was_not_written_is_told(memory: Memory, root: Path) -> None:
    @memory.cache
    def draw() -> Path:
        return artifact("plot.png")

    with pytest.warns(CacheWarning, match=r"not there: 'plot\.png'"):
        draw()

    assert value_files(root) == []


def test_a_link_that_leads_out_is_told(memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("large")

    @memory.cache
    def take() -> Path:
        path = artifact("data")
        path.symlink_to(tmp_path / "data")
        return path

    with pytest.warns(CacheWarning, match="is a link"):
        assert take().read_text() == "large"


def test_a_link_between_the_files_is_kept(memory: Memory) -> None:
    @memory.cache
    def draw() -> Path:
        write("plots/1.png")
        latest = artifact("latest")
        latest.symlink_to("plots/1.png")
        return latest

    for _ in range(2):
        assert draw().read_text() == "drawn"


# --- calls within calls ---


def test_nested_calls_have_files_of_their_own(memory: Memory) -> None:
    @memory.cache
    def inner(n: int) -> Path:
        return write("plot.png", f"inner {n}")

    @memory.cache
    def outer() -> list[Path]:
        mine = artifact("plot.png")
        inners = [inner(n) for n in range(3)]
        mine.write_text("outer")
        return [mine, *inners]

    for _ in range(2):
        texts = [path.read_text() for path in outer()]
        assert texts == ["outer", "inner 0", "inner 1", "inner 2"]


def test_a_file_of_an_inner_call_outlives_its_entry(
    memory: Memory, root: Path, counter: Counter
) -> None:
    inner = memory.cache(plot)

    @memory.cache
    def outer(counter: Counter) -> dict[str, Path]:
        return {"plot": inner(counter)}

    first = outer(counter)["plot"]
    inner.clear(warn=False)

    assert inside(root, first)
    assert first == outer(counter)["plot"]
    assert first.read_text() == "drawn"
    assert counter.count == 1


def test_a_folder_of_an_inner_call_is_taken_over_whole(memory: Memory) -> None:
    @memory.cache
    def inner() -> Path:
        write("frames/0")
        return write("frames/deep/1").parent.parent

    @memory.cache
    def outer() -> Path:
        return inner()

    outer()
    inner.clear(warn=False)

    assert (outer() / "deep" / "1").read_text() == "drawn"
    assert outer().name == "frames"


def test_a_file_handed_to_an_inner_call_and_back_is_one_of_both(memory: Memory) -> None:
    @memory.cache
    def same(path: Path) -> Path:
        return path

    @memory.cache
    def outer() -> tuple[Path, Path]:
        mine = write("plot.png")
        return mine, same(mine)

    for _ in range(2):
        mine, theirs = outer()
        assert mine.read_text() == theirs.read_text() == "drawn"
    same.clear(warn=False)
    assert outer()[1].read_text() == "drawn"


def test_a_file_of_a_thread_is_stored_if_it_is_returned(
    memory: Memory, root: Path
) -> None:
    @memory.cache
    def draw() -> list[Path]:
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(write, ["a.png", "b.png"], ["A", "B"]))

    for _ in range(2):
        paths = draw()
        assert [path.read_text() for path in paths] == ["A", "B"]
        assert all(inside(root, path) for path in paths)


def test_the_path_as_text_of_a_thread_is_told(memory: Memory) -> None:
    @memory.cache
    def draw() -> str:
        with ThreadPoolExecutor(1) as threads:
            return str(threads.submit(write, "a.png").result())

    with pytest.warns(CacheWarning, match="as a text"):
        draw()


def test_a_thread_that_was_given_a_path_writes_into_the_entry(
    memory: Memory, root: Path
) -> None:
    @memory.cache
    def draw() -> Path:
        path = artifact("plot.png")
        thread = threading.Thread(target=path.write_text, args=["drawn"])
        thread.start()
        thread.join()
        return path

    assert inside(root, draw())
    assert draw().read_text() == "drawn"


# --- coroutines and generators ---


def test_a_coroutine_has_files(memory: Memory, root: Path) -> None:
    @memory.cache
    async def draw(text: str) -> Path:
        path = artifact("plot.png")
        await asyncio.sleep(0)
        await asyncio.to_thread(path.write_text, text)
        return path

    async def two() -> list[Path]:
        return list(await asyncio.gather(draw("A"), draw("B")))

    first, second = asyncio.run(two()), asyncio.run(two())

    assert first == second
    assert [path.read_text() for path in first] == ["A", "B"]
    assert all(inside(root, path) for path in first)


@pytest.mark.parametrize("place", ["folder", "bucket", "tiered"])
def test_a_generator_yields_paths_that_stay(
    root: Path, bucket: str, place: str
) -> None:
    memory = Memory(stores(root, bucket)[place])

    @memory.cache
    def frames(count: int) -> Iterator[Path]:
        for number in range(count):
            yield write(f"{number}.txt", str(number))

    for _ in range(3):
        seen = []
        for path in frames(5):
            assert path.exists(), "while it goes on"
            seen.append(path)
        assert [path.read_text() for path in seen] == list("01234"), "and afterwards"


def test_items_of_a_generator_are_files_of_its_entry(
    memory: Memory, root: Path
) -> None:
    @memory.cache
    def frames() -> Iterator[Path]:
        yield write("0.txt")
        yield write("1.txt")

    list(frames())

    assert all(inside(root, path) for path in frames())
    (info,) = LocalStore(root).entries()
    assert info.size > 2 * len("drawn")


def test_an_abandoned_generator_stores_nothing_and_its_paths_stay(
    memory: Memory, root: Path
) -> None:
    @memory.cache
    def frames() -> Generator[Path, None, None]:
        yield write("0.txt")
        yield write("1.txt")

    generator = frames()
    first = next(generator)
    generator.close()
    gc.collect()

    assert first.read_text() == "drawn"
    assert value_files(root) == []


def test_a_generator_takes_a_file_of_another_call_and_writes_its_own(
    memory: Memory,
) -> None:
    @memory.cache
    def inner() -> Path:
        return write("plot.png", "inner")

    @memory.cache
    def outer() -> Iterator[Path]:
        yield inner()
        yield write("plot.png", "outer")

    for _ in range(2):
        assert [path.read_text() for path in outer()] == ["inner", "outer"]
    assert inner().read_text() == "inner"


def test_a_text_among_items_is_told(memory: Memory, root: Path) -> None:
    @memory.cache
    def frames() -> Iterator[str]:
        yield str(write("0.txt"))

    with pytest.warns(CacheWarning, match="as a text"):
        (path,) = frames()

    assert Path(path).read_text() == "drawn"
    assert value_files(root) == []


def test_an_asynchronous_generator_yields_paths_that_stay(memory: Memory) -> None:
    @memory.cache
    async def frames() -> AsyncIterator[Path]:
        for number in range(3):
            yield write(f"{number}.txt", str(number))

    async def all_of_them() -> list[Path]:
        return [path async for path in frames()]

    for _ in range(2):
        assert [p.read_text() for p in asyncio.run(all_of_them())] == ["0", "1", "2"]


# --- what is not stored ---


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_call_that_fails_leaves_nothing(
    root: Path, bucket: str, place: str, error: type[BaseException]
) -> None:
    before = set(temporary_folder().rglob("plot.png"))

    @Memory(root if place == "folder" else bucket).cache
    def draw() -> None:
        write("plot.png")
        raise error

    with pytest.raises(error):
        draw()

    assert staged(root) == []
    assert value_files(root) == []
    assert set(temporary_folder().rglob("plot.png")) == before


def unpicklable() -> Any:
    return write("plot.png"), threading.Lock()


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_files_of_an_unpicklable_result_stay_for_the_caller(
    root: Path, bucket: str, place: str
) -> None:
    memory = Memory(root if place == "folder" else bucket)

    with pytest.warns(CacheWarning, match="could not be stored"):
        path, _ = memory.cache(unpicklable)()

    assert path.read_text() == "drawn"


def test_files_that_stay_for_the_caller_go_with_the_process(root: Path) -> None:
    program = (
        "from cachekit import Memory, artifact\n"
        "def draw():\n"
        "    path = artifact('plot.png')\n"
        "    path.write_text('drawn')\n"
        "    return path\n"
        f"memory = Memory({str(root)!r})\n"
        "stored_not = memory.cache(draw, cache_if=lambda value, seconds: False)()\n"
        "assert stored_not.exists()\n"
        "print(stored_not)\n"
        "print(Memory(None).cache(draw)())\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert len(done.stdout.split()) == 2
    assert not any(map(os.path.exists, done.stdout.split()))
    assert staged(root) == []


def test_files_of_what_is_not_wanted_stay_for_the_caller(
    memory: Memory, root: Path, counter: Counter
) -> None:
    cached = memory.cache(plot, cache_if=lambda *_: False)

    paths = [cached(counter), cached(counter)]

    assert [path.read_text() for path in paths] == ["drawn", "drawn"]
    assert counter.count == 2
    assert value_files(root) == []


def test_files_stay_where_an_argument_was_changed(memory: Memory) -> None:
    @memory.cache
    def draw(numbers: list[int]) -> Path:
        numbers.append(1)
        return write("plot.png")

    with pytest.warns(CacheWarning, match="changed its argument"):
        path = draw([0])

    assert path.read_text() == "drawn"


def test_a_changed_file_of_another_call_is_a_changed_argument(memory: Memory) -> None:
    @memory.cache
    def draw() -> Path:
        return write("plot.png")

    @memory.cache
    def spoil(path: Path) -> int:
        path.write_text("spoiled")
        return 1

    with pytest.warns(CacheWarning, match="changed its argument path"):
        spoil(draw())


def test_files_of_a_read_only_store_stay_for_the_caller(root: Path) -> None:
    memory = Memory(ReadOnlyStore(LocalStore(root)))

    @memory.cache
    def draw() -> Path:
        return write("plot.png")

    assert draw().read_text() == "drawn"
    assert not root.exists()
    assert pickle.loads(pickle.dumps(draw())).read_text() == "drawn"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write")
def test_files_stay_where_the_store_cannot_be_written(
    root: Path, counter: Counter
) -> None:
    root.mkdir(mode=0o500)

    with pytest.warns(CacheWarning, match="could not be stored"):
        path = Memory(root).cache(plot)(counter)

    assert path.read_text() == "drawn"


def test_files_stay_where_a_file_is_in_the_place_of_the_store(
    root: Path, counter: Counter
) -> None:
    root.write_text("in the way")

    with pytest.warns(CacheWarning):
        path = Memory(root).cache(plot)(counter)

    assert path.read_text() == "drawn"


def test_without_a_memory_there_is_a_temporary_file(counter: Counter) -> None:
    one, two = Memory(None).cache(plot)(counter), plot(counter)

    assert one != two
    assert one.read_text() == two.read_text() == "drawn"


# --- replacing, losing, evicting ---


class Together:
    """Has two calls go on at the same time; always the same argument."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2)

    def wait(self) -> None:
        self.barrier.wait(30)

    def __cachekit_hash__(self) -> object:
        return "together"


def test_a_call_that_was_slower_returns_the_files_of_the_first(
    memory: Memory, root: Path
) -> None:
    def draw(together: Together) -> tuple[int, Path]:
        together.wait()
        me = threading.get_ident()
        return me, write("plot.png", str(me))

    together = Together()
    cached = memory.cache(draw, on_conflict="compute")
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(cached, [together, together])

    assert first == second
    assert first[1].read_text() == str(first[0])
    assert inside(root, first[1])
    assert staged(root) == []


@pytest.mark.parametrize("place", ["folder", "bucket", "tiered", "dict"])
def test_a_call_again_has_new_files(root: Path, bucket: str, place: str) -> None:
    memory = Memory(stores(root, bucket)[place])

    def draw(counter: Counter) -> tuple[int, Path]:
        counter.add()
        return counter.count, write("plot.png", str(counter.count))

    counter = Counter(root.with_name("counter"))
    cached = memory.cache(draw)
    cached(counter)
    (number, path), _ = cached.call(counter)

    assert (number, path.read_text()) == (2, "2")
    again, path = cached(counter)
    assert (again, path.read_text()) == (2, "2")


def test_an_expired_result_has_new_files(memory: Memory, counter: Counter) -> None:
    cached = memory.cache(plot, cache_validation_callback=lambda _: False)

    for text in ("drawn", "drawn"):
        assert cached(counter).read_text() == text
    assert counter.count == 2


@pytest.mark.parametrize("damage", ["removed", "cut", "folder", "all"])
def test_a_damaged_file_is_computed_again(
    memory: Memory, counter: Counter, damage: str
) -> None:
    cached = memory.cache(plot)
    path = cached(counter)
    if damage == "cut":
        path.write_text("dr")
    else:
        path.unlink()
    if damage == "folder":
        path.mkdir()
    if damage == "all":
        path.parent.rmdir()

    with pytest.warns(CacheWarning, match=r"file 'plot\.png'"):
        again = cached(counter)

    assert again.read_text() == "drawn"
    assert cached(counter).read_text() == "drawn"
    assert counter.count == 2


def test_a_file_that_is_missing_in_a_folder_is_computed_again(memory: Memory) -> None:
    @memory.cache
    def render() -> Path:
        for number in range(3):
            write(f"frames/{number}")
        return artifact("frames")

    (render() / "1").unlink()

    with pytest.warns(CacheWarning, match="frames/1"):
        assert len(list(render().iterdir())) == 3


def test_removing_an_entry_removes_its_files(memory: Memory, root: Path) -> None:
    @memory.cache
    def draw(n: int) -> Path:
        write(f"deep/{n}/more")
        return write("plot.png")

    paths = [draw(n) for n in range(3)]

    draw.forget(0)
    assert not paths[0].exists()
    draw.clear(warn=False)
    assert not any(path.exists() for path in paths)
    assert list(root.rglob("files")) == []


def test_files_count_in_sizes_and_are_evicted(root: Path) -> None:
    memory = Memory(root, max_bytes="100 kB")

    @memory.cache
    def draw(n: int) -> Path:
        path = artifact(f"plot{n}.png")
        path.write_bytes(bytes(40_000))
        return path

    for n in range(12):
        draw(n)
    memory.reduce_size(bytes_limit="100 kB")

    infos = list(LocalStore(root).entries())
    assert 1 <= len(infos) <= 2
    assert all(info.size > 40_000 for info in infos)


def test_the_budget_sees_the_files(root: Path) -> None:
    memory = Memory(root, max_bytes="100 kB")

    @memory.cache
    def draw(n: int) -> int:
        artifact("plot.png").write_bytes(bytes(60_000))
        return n

    for n in range(40):
        draw(n)

    assert sum(info.size for info in LocalStore(root).entries()) < 400_000


# --- arguments, digests, pickles ---


def test_a_file_is_an_argument_by_its_content(memory: Memory, counter: Counter) -> None:
    draw = memory.cache(plot)

    @memory.cache
    def measure(path: Path, counter: Counter) -> int:
        counter.add()
        return len(path.read_text())

    measured = Counter(counter.path.with_name("measured"))
    first = draw(counter)
    assert measure(first, measured) == 5
    draw.clear(warn=False)
    assert measure(draw(counter), measured) == 5
    assert measured.count == 1
    assert measure(draw(counter, "drawn otherwise"), measured) == 15
    assert measured.count == 2


def test_the_record_has_files_and_their_digest(
    memory: Memory, counter: Counter
) -> None:
    draw = memory.cache(plot)
    draw(counter)

    shelved = draw.call_and_shelve(counter)

    assert shelved.record is not None
    assert shelved.record.files == {"plot.png": 5}
    assert shelved.record.value is not None
    assert shelved.get().read_text() == "drawn"

    @memory.cache
    def measure(path: Path) -> int:
        return len(path.read_text())

    measure(shelved.get())
    record = measure.lookup(shelved.get()).record  # type: ignore[union-attr]
    assert record is not None
    assert record.parents == [shelved.record.value]


def test_a_path_can_be_put_as_a_result(memory: Memory, counter: Counter) -> None:
    draw, other = memory.cache(plot), memory.cache(in_tuple)

    other.put((1, draw(counter)))
    draw.clear(warn=False)

    assert other()[1].read_text() == "drawn"


def test_a_path_survives_pickling_and_copying(memory: Memory, counter: Counter) -> None:
    path = memory.cache(plot)(counter)

    for other in (pickle.loads(pickle.dumps(path)), copy.deepcopy(path)):
        assert other == path
        assert type(other) is Artifact


def test_a_path_above_the_store_is_a_path(memory: Memory, root: Path) -> None:
    @memory.cache
    def draw() -> Path:
        return write("plot.png")

    @memory.cache
    def parent(path: Path) -> Path:
        return path.parents[5]

    place = parent(draw())

    assert place == root == parent(draw())
    assert type(place) is type(parent(draw()))
    assert memory.tally()[:2] == (4, 2)


def test_a_path_is_compared_and_hashed_as_any(memory: Memory, counter: Counter) -> None:
    path = memory.cache(plot)(counter)

    assert path == Path(str(path))
    assert hash(path) == hash(Path(str(path)))
    assert {path: 1}[Path(str(path))] == 1


def test_results_with_files_are_not_given_from_memory_when_these_are_gone(
    memory: Memory, counter: Counter
) -> None:
    cached = memory.cache(plot, memory_tier=10)
    for _ in range(3):
        path = cached(counter)
    path.unlink()

    with pytest.warns(CacheWarning, match=r"plot\.png"):
        assert cached(counter).exists()


def test_mapped_results_have_files(root: Path) -> None:
    @Memory(root, mmap_mode="r").cache
    def draw() -> tuple[Path, Any]:
        return write("plot.png"), np.arange(100_000)

    for _ in range(2):
        path, array = draw()
        assert isinstance(array, np.memmap)
        assert path.read_text() == "drawn"


def test_a_miss_is_no_hit(memory: Memory, counter: Counter) -> None:
    memory.cache(plot)(counter)

    assert memory.tally()[:2] == (0, 1)


# --- signed memories ---

SECRET = "a secret that is long enough"


def test_a_signed_file_is_believed_only_as_it_was(root: Path, counter: Counter) -> None:
    cached = Memory(root, signing_key=SECRET).cache(plot)
    path = cached(counter)
    assert cached(counter).read_text() == "drawn"

    path.write_text("DRAWN")
    with pytest.warns(CacheWarning, match="signed"):
        again = cached(counter)

    assert again.read_text() == "drawn"
    assert counter.count == 2


def test_a_signed_file_beside_another_is_checked_too(root: Path) -> None:
    @Memory(root, signing_key=SECRET).cache
    def report() -> Path:
        write("script.js", "harmless")
        return write("report.html")

    report().with_name("script.js").write_text("hostile!")

    with pytest.warns(CacheWarning, match="signed"):
        assert report().with_name("script.js").read_text() == "harmless"


def test_signed_items_of_a_generator_are_checked(root: Path) -> None:
    @Memory(root, signing_key=SECRET).cache
    def frames() -> Iterator[Path]:
        yield write("0.txt")

    list(frames())
    (path,) = frames()
    path.unlink()
    path.write_text("DRAWN")

    with pytest.warns(CacheWarning, match="signed"):
        (path,) = frames()
    assert path.read_text() == "drawn"


# --- other stores ---


def stores(root: Path, bucket: str) -> dict[str, Store]:
    return {
        "folder": LocalStore(root),
        "durable": LocalStore(root, durable=True),
        "dict": DictStore(),
        "bucket": RemoteStore(bucket),
        "tiered": TieredStore(LocalStore(root), RemoteStore(bucket)),
        "near in memory": TieredStore(DictStore(), RemoteStore(bucket)),
    }


@pytest.mark.parametrize("place", stores(Path(), "memory://bucket"))
def test_every_store_keeps_files(root: Path, bucket: str, place: str) -> None:
    memory = Memory(stores(root, bucket)[place])

    @memory.cache
    def render(n: int) -> tuple[Path, Path, int]:
        write("frames/deep/1", "one")
        write("beside")
        return artifact("frames"), write("empty", ""), n

    for n in (1, 1, 2, 1):
        frames, empty, number = render(n)
        assert (frames / "deep" / "1").read_text() == "one"
        assert empty.read_text() == ""
        assert (empty.parent / "beside").read_text() == "drawn"
        assert number == n
    assert memory.store is not None
    memory.store.flush()
    infos = list(memory.store.entries())
    assert len(infos) == 2
    assert memory.tally()[:2] == (2, 2)


def test_a_second_machine_has_the_files(
    root: Path, bucket: str, counter: Counter
) -> None:
    def machine(name: str) -> Memory:
        near = LocalStore(root / name)
        return Memory(TieredStore(near, RemoteStore(bucket)))

    one, other = machine("one"), machine("other")
    one.cache(plot)(counter)
    assert one.store is not None
    one.store.flush()

    first = other.cache(plot)(counter)
    fsspec.filesystem("memory").store.clear()
    second = other.cache(plot)(counter)

    assert first == second
    assert inside(root / "other", first)
    assert first.read_text() == "drawn"
    assert counter.count == 1


def test_a_file_that_is_lost_near_comes_from_far(
    root: Path, bucket: str, counter: Counter
) -> None:
    memory = Memory(TieredStore(LocalStore(root), RemoteStore(bucket)))
    cached = memory.cache(plot)
    path = cached(counter)
    assert memory.store is not None
    memory.store.flush()
    path.unlink()

    assert cached(counter).read_text() == "drawn"
    assert counter.count == 1


def test_an_inner_file_goes_to_the_second_machine_with_the_outer_result(
    root: Path, bucket: str, counter: Counter
) -> None:
    def outer_on(name: str) -> tuple[Memory, Any, Any]:
        near = LocalStore(root / name)
        memory = Memory(TieredStore(near, RemoteStore(bucket)))
        inner = memory.cache(plot)

        @memory.cache(track="off", version=1)
        def outer(counter: Counter) -> list[Path]:
            return [inner(counter)]

        return memory, inner, outer

    memory, inner, outer = outer_on("one")
    outer(counter)
    assert memory.store is not None
    memory.store.flush()
    inner.clear(warn=False)
    memory, _, outer = outer_on("other")

    (path,) = outer(counter)

    assert path.read_text() == "drawn"
    assert inside(root / "other", path)
    assert counter.count == 1


def test_a_service_that_fails_has_not_lost_the_files(
    bucket: str, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RemoteStore(bucket)
    shutil.rmtree(Memory(store).cache(plot)(counter).parent)  # fetched already
    again = RemoteStore(bucket, timeout=61)
    get = type(again._service).get

    def fail(service: Any, path: str) -> Any:
        if "/files/" in path:
            raise StoreError("the line is cut")
        return get(service, path)

    monkeypatch.setattr(type(again._service), "get", fail)
    with pytest.warns(CacheWarning, match="the line is cut"):
        Memory(again).cache(plot)(counter)
    monkeypatch.undo()

    assert len(list(store.entries())) == 1
    assert RemoteStore(bucket).open(next(store.entries()).key) is not None


@pytest.mark.parametrize("kind", ["folder to bucket", "bucket to folder"])
def test_an_entry_that_is_copied_keeps_its_files(
    root: Path, bucket: str, counter: Counter, kind: str
) -> None:
    local, remote = LocalStore(root), RemoteStore(bucket)
    source, target = (local, remote) if kind == "folder to bucket" else (remote, local)
    Memory(source).cache(plot)(counter)
    source.flush()
    filesystem = fsspec.filesystem("memory")
    if source is local:
        filesystem.put(str(root), "/bucket", recursive=True)
    else:
        filesystem.get("/bucket", str(root), recursive=True)

    assert Memory(target).cache(plot)(counter).read_text() == "drawn"
    assert counter.count == 1


def test_a_large_file_is_neither_copied_nor_read_into_memory(
    memory: Memory, root: Path
) -> None:
    @memory.cache
    def make() -> tuple[Path, int]:
        path = artifact("large")
        with path.open("wb") as file:
            file.truncate(2**28)
        return path, path.stat().st_ino

    @memory.cache
    def outer() -> Path:
        return make()[0]

    make()
    tracemalloc.start()
    try:
        path = outer()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert path.stat().st_ino == make()[1]
    assert path != make()[0]
    assert peak < 2**25
    assert staged(root) == []
