"""Stores written for joblib keep the contract, so far as they can, and serve a memory.

Two kinds of them: joblib's own, in a folder, which moves over what is there and keeps
quiet when it cannot clear; and one in memory, which refuses the first and complains of
the second.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from joblib._store_backends import FileSystemStoreBackend
from joblib._store_backends import StoreBackendBase as BaseOfJoblib

from cachekit import Memory
from cachekit.errors import CacheWarning, StoreError
from cachekit.stores import DictStore, EntryKey, LocalStore, backend_store
from cachekit.stores.backend_store import BackendStore
from cachekit.stores.joblib_backends import (
    CacheItemInfo,
    StoreBackendBase,
    open_backend,
    register_store_backend,
)
from cachekit.stores.names import VALUE
from tests.stores.contract import StoreContract
from tests.stores.entries import commit, digests, key_of, pinned, replace, value_of
from tests.stores.test_agreement import assert_agree


class FolderBackend(FileSystemStoreBackend):  # type: ignore[misc]  # it has no types
    """joblib's own, but that it lists the folders of our entries."""

    def get_items(self) -> list[CacheItemInfo]:
        values = Path(self.location).rglob(VALUE)
        return [_item(path.parent) for path in values if ".staging" not in path.parts]


def _item(folder: Path) -> CacheItemInfo:
    used = datetime.fromtimestamp((folder / VALUE).stat().st_mtime)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return CacheItemInfo(str(folder), size, used)


class MemoryBackend(StoreBackendBase):
    """Files in a dict, with the bad manners that a backend may have."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, float]] = {}
        self.configured: dict[str, Any] = {}
        self._lock = threading.RLock()

    def _open_item(self, f: str, mode: str) -> Any:
        if mode == "wb":
            return _Written(lambda content: self._write(f, content))
        return io.BytesIO(self.files[f][0])  # a KeyError if it is absent

    def _write(self, path: str, content: bytes) -> None:
        self.files[path] = (content, time.time())

    def _item_exists(self, location: str) -> bool:
        return location in self.files

    def _move_item(self, src: str, dst: str) -> None:
        with self._lock:
            if dst in self.files:
                raise RuntimeError(f"{dst} is taken")
            self.files[dst] = self.files.pop(src)

    def create_location(self, location: str) -> None:
        """There are no folders."""

    def clear_location(self, location: str) -> None:
        with self._lock:
            found = [path for path in self.files if path.startswith(f"{location}/")]
            if not found:
                raise LookupError(f"there is no {location}")
            for path in found:
                del self.files[path]

    def get_items(self) -> list[CacheItemInfo]:
        return [
            CacheItemInfo(path, len(content), datetime.fromtimestamp(at))
            for path, (content, at) in list(self.files.items())
        ]

    def configure(
        self,
        location: str,
        verbose: int = 0,
        backend_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.location = location
        self.configured = {"verbose": verbose, **(backend_options or {})}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock())


class _Written(io.BytesIO):
    def __init__(self, keep: Callable[[bytes], None]) -> None:
        super().__init__()
        self._keep = keep

    def close(self) -> None:
        if not self.closed:
            self._keep(self.getvalue())
        super().close()


def memory_backend_of(store: BackendStore) -> MemoryBackend:
    assert isinstance(store.backend, MemoryBackend)
    return store.backend


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_store_backend("folder", FolderBackend)
    register_store_backend("in memory", MemoryBackend)


def opened(name: str, location: object) -> BackendStore:
    store = open_backend(name, location)  # type: ignore[arg-type]
    assert isinstance(store, BackendStore)
    return store


class TestInAFolder(StoreContract[BackendStore]):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BackendStore:
        return opened("folder", tmp_path / "cache")

    def folder_of(self, store: BackendStore, key: EntryKey) -> Path:
        return Path(store.location, "cachekit", key.path)

    def put(self, store: BackendStore, key: EntryKey, files: dict[str, bytes]) -> None:
        self.folder_of(store, key).mkdir(parents=True)
        for name, content in files.items():
            (self.folder_of(store, key) / name).write_bytes(content)

    def take(self, store: BackendStore, key: EntryKey) -> dict[str, bytes]:
        found = self.folder_of(store, key).glob("*")
        return {path.name: path.read_bytes() for path in found}

    def lose(self, store: BackendStore, key: EntryKey, name: str) -> None:
        (self.folder_of(store, key) / name).unlink()

    def age(self, store: BackendStore, key: EntryKey, seconds: float) -> None:
        then = time.time() - seconds
        os.utime(self.folder_of(store, key) / VALUE, (then, then))

    def litter(self, store: BackendStore) -> list[str]:
        return [str(p) for p in Path(store.location, "cachekit").glob(".staging/*")]

    @pytest.mark.slow  # whoever clears without a pause leaves the lock to few others
    def test_commits_survive_clearing_at_the_same_time(
        self, store: BackendStore
    ) -> None:
        super().test_commits_survive_clearing_at_the_same_time(store)


class TestInMemory(StoreContract[BackendStore]):
    @pytest.fixture
    def store(self) -> BackendStore:
        return opened("in memory", "some/place")

    def put(self, store: BackendStore, key: EntryKey, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            path = f"some/place/cachekit/{key.path}/{name}"
            memory_backend_of(store)._write(path, content)

    def take(self, store: BackendStore, key: EntryKey) -> dict[str, bytes]:
        start = f"some/place/cachekit/{key.path}/"
        files = memory_backend_of(store).files
        return {p[len(start) :]: files[p][0] for p in files if p.startswith(start)}

    def lose(self, store: BackendStore, key: EntryKey, name: str) -> None:
        del memory_backend_of(store).files[f"some/place/cachekit/{key.path}/{name}"]

    def age(self, store: BackendStore, key: EntryKey, seconds: float) -> None:
        files = memory_backend_of(store).files
        for path in [path for path in files if key.path in path]:
            files[path] = (files[path][0], files[path][1] - seconds)

    def litter(self, store: BackendStore) -> list[str]:
        return [path for path in memory_backend_of(store).files if ".staging" in path]

    @pytest.mark.slow  # as above
    def test_commits_survive_clearing_at_the_same_time(
        self, store: BackendStore
    ) -> None:
        super().test_commits_survive_clearing_at_the_same_time(store)


@pytest.fixture
def store() -> BackendStore:
    return opened("in memory", "some/place")


def test_a_backend_agrees_with_the_oracle() -> None:
    assert_agree(lambda folder: open_backend("folder", folder), examples=25)


# --- registering and opening ---


@pytest.mark.parametrize("name", [None, {}, [], 3, b"bytes"])
def test_a_backend_is_registered_under_a_string(name: Any) -> None:
    with pytest.raises(ValueError, match="Store backend name should be a string"):
        register_store_backend(name, MemoryBackend)


@pytest.mark.parametrize("cls", [None, int, "text", MemoryBackend(), DictStore])
def test_a_backend_is_a_class_that_inherits_the_base(cls: Any) -> None:
    with pytest.raises(ValueError, match="Store backend should inherit StoreBackendB"):
        register_store_backend("fs", cls)


def test_the_name_of_our_own_stores_is_not_taken() -> None:
    with pytest.raises(ValueError, match="another name"):
        register_store_backend("local", MemoryBackend)


def test_local_is_a_store_of_ours(tmp_path: Path) -> None:
    store = open_backend("local", tmp_path)

    assert isinstance(store, LocalStore)
    assert store.location == str(tmp_path)
    with pytest.raises(ValueError, match="no options"):
        open_backend("local", tmp_path, options={"bucket": "b"})


def test_a_backend_registered_again_is_replaced(store: BackendStore) -> None:
    class Other(MemoryBackend):
        pass

    register_store_backend("in memory", Other)

    assert type(store.backend) is MemoryBackend
    assert type(opened("in memory", "place").backend) is Other


@pytest.mark.parametrize(("name", "location"), [("nosuch", "x"), ("in memory", 3)])
def test_what_is_unknown_is_a_type_error(name: str, location: Any) -> None:
    with pytest.raises(TypeError, match=r"Unknown location .* or backend"):
        open_backend(name, location)


@pytest.mark.parametrize("base", [StoreBackendBase, BaseOfJoblib])
def test_a_class_without_some_of_the_methods_cannot_be_opened(base: type) -> None:
    register_store_backend("incomplete", type("Incomplete", (base,), {}))

    with pytest.raises(TypeError, match="abstract class Incomplete"):
        open_backend("incomplete", "somewhere")


def test_a_backend_is_configured_as_by_joblib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    store = open_backend("in memory", "~/c", verbose=3, options={"bucket": "b"})

    assert isinstance(store, BackendStore)
    assert memory_backend_of(store).configured == {
        "verbose": 3,
        "bucket": "b",
        "compress": False,
        "mmap_mode": None,
    }
    assert store.location == store.backend.location == f"{tmp_path}/c"
    assert opened("in memory", tmp_path).location == str(tmp_path)


def test_a_configured_backend_is_used_as_it_is(store: BackendStore) -> None:
    commit(store, key_of())

    again = opened("whatever", store.backend)

    assert value_of(again, key_of()) == b"value"
    with pytest.raises(ValueError, match="configure"):
        opened("whatever", MemoryBackend())


def test_a_backend_that_does_not_keep_its_location_is_told_it() -> None:
    class Forgetful(MemoryBackend):
        def configure(self, *_: Any, **__: Any) -> None:
            pass

    register_store_backend("forgetful", Forgetful)
    store = opened("forgetful", "place")

    commit(store, key_of())

    assert store.location == "place"
    assert all(path.startswith("place/") for path in memory_backend_of(store).files)


def test_joblib_is_not_imported_for_it() -> None:
    program = (
        "import sys\n"
        "from cachekit.stores.joblib_backends import register_store_backend\n"
        "try: register_store_backend('x', int)\n"
        "except ValueError: print('joblib' in sys.modules)\n"
    )

    assert run(program) == "False\n"


def run(program: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


# --- the layout ---


def test_the_layout_is_that_of_a_local_store(tmp_path: Path) -> None:
    store = opened("folder", tmp_path)

    store.write_code(key_of(), b"{}")
    commit(store, key_of())
    store.pin(key_of())

    local = LocalStore(tmp_path / "cachekit")
    assert value_of(local, key_of()) == b"value"
    assert local.read_code(key_of()) == b"{}"
    assert pinned(local) == [key_of().digest]


def test_what_lies_beside_it_is_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / "thesis.tex", tmp_path / "joblib" / "f" / "output.pkl"]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"years of work")
    store = opened("folder", tmp_path)
    commit(store, key_of())

    store.clear("analysis.fit")
    commit(store, key_of())
    store.clear()

    assert store.open(key_of()) is None
    assert [path.read_bytes() for path in others] == [b"years of work"] * 2


def test_a_store_of_a_later_format_is_refused(store: BackendStore) -> None:
    about = json.dumps({"store": "cachekit", "format": 99}).encode()
    memory_backend_of(store)._write("some/place/cachekit/store.json", about)

    with pytest.raises(StoreError, match="format 99"):
        store.stage(key_of())
    with pytest.raises(StoreError, match="format 99"):
        store.clear()


def test_values_too_large_for_memory_go_by_way_of_the_disk(
    store: BackendStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_store, "_MOST_IN_MEMORY", 1000)
    value = bytes(range(256)) * 50

    commit(store, key_of(), value)

    assert value_of(store, key_of()) == value


# --- listing ---


def test_a_backend_that_looks_for_files_of_joblibs_lists_nothing(
    tmp_path: Path,
) -> None:
    register_store_backend("joblib's own", FileSystemStoreBackend)
    store = opened("joblib's own", tmp_path)
    commit(store, key_of())
    store.write_code(key_of(), b"{}")

    assert list(store.entries()) == []
    assert value_of(store, key_of()) == b"value"

    store.clear("analysis.fit")
    assert store.open(key_of()) is None


def test_items_that_are_none_of_our_entries_are_passed_over(
    store: BackendStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, key_of(1))
    (known,) = store.entries()
    now = datetime.now()
    beside = f"elsewhere/{key_of(2).path}"
    items = [
        "a path alone",
        None,
        CacheItemInfo("other/output.pkl", 1, now),
        CacheItemInfo(beside, 1, now),
        CacheItemInfo(key_of(1).path, "large", now),  # type: ignore[arg-type]
        CacheItemInfo(f"C:\\{key_of(1).path}\\".replace("/", "\\"), 7, now),
    ]
    monkeypatch.setattr(store.backend, "get_items", lambda: iter(items))

    (info,) = store.entries()

    assert info == known._replace(size=7, last_used=now.timestamp())


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_a_backend_may_list_nothing(
    store: BackendStore, monkeypatch: pytest.MonkeyPatch, nothing: Any
) -> None:
    commit(store, key_of())
    monkeypatch.setattr(store.backend, "get_items", lambda: nothing)

    assert list(store.entries()) == []


def test_uses_are_told_to_other_processes_with_the_hits(store: BackendStore) -> None:
    commit(store, key_of())
    files = memory_backend_of(store).files
    for path, (content, at) in files.items():
        files[path] = (content, at - 10_000)

    value_of(store, key_of())
    store.add_hits({key_of(): 1})

    (info,) = BackendStore(store.backend).entries()
    assert info.last_used > time.time() - 5000


def test_what_is_absent_may_be_empty_to_a_backend(
    store: BackendStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = memory_backend_of(store).files
    commit(store, key_of(1), b"")

    def open_item(f: str, mode: str) -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(files.get(f, (b"", 0.0))[0])

    monkeypatch.setattr(store.backend, "_open_item", open_item)

    assert value_of(store, key_of(1)) == b""
    assert value_of(store, key_of(2)) is None


# --- failures ---

METHODS = [
    "_open_item",
    "_item_exists",
    "_move_item",
    "create_location",
    "clear_location",
    "get_items",
]

VERBS: dict[str, Callable[[BackendStore], object]] = {
    "open": lambda store: value_of(store, key_of()),
    "peek": lambda store: closed(store.peek(key_of())),
    "contains": lambda store: store.contains(key_of()),
    "read": lambda store: store.read(key_of(), "record.json"),
    "commit": lambda store: commit(store, key_of(9)),
    "replace": lambda store: replace(store, key_of(), b"new"),
    "delete": lambda store: store.delete(key_of()),
    "pin": lambda store: store.pin(key_of()),
    "unpin": lambda store: store.unpin(key_of()),
    "clear": lambda store: store.clear(),
    "clear one": lambda store: store.clear("analysis.fit"),
    "entries": lambda store: list(store.entries()),
    "write_code": lambda store: store.write_code(key_of(9), b"{}"),
    "read_code": lambda store: store.read_code(key_of()),
    "add_hits": lambda store: store.add_hits({key_of(): 1}),
    "hits": lambda store: store.hits(),
}


@pytest.mark.parametrize("error", [RuntimeError, ConnectionError])
@pytest.mark.parametrize("verb", VERBS)
def test_whatever_a_backend_raises_is_an_error_of_the_store(
    store: BackendStore,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    error: type[Exception],
) -> None:
    def fail(*_: object) -> None:
        raise error("the network is down")

    failures: list[Exception] = []
    for method in METHODS:
        fresh = BackendStore(pickle.loads(pickle.dumps(store.backend)))
        commit(fresh, key_of())
        fresh.pin(key_of())
        monkeypatch.setattr(fresh.backend, method, fail)
        try:  # not every verb asks for every method
            VERBS[verb](fresh)
        except (OSError, StoreError) as raised:
            failures.append(raised)

    assert failures
    for failure in failures:
        assert "network is down" in str(failure)
        assert error in map(type, causes_of(failure))


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def closed(file: BinaryIO | None) -> None:
    if file is not None:
        file.close()


def test_a_backend_that_cannot_be_configured_is_an_error_of_the_store() -> None:
    class Unconfigured(MemoryBackend):
        def configure(self, *_: Any, **__: Any) -> None:
            raise KeyError("bucket")

    register_store_backend("unconfigured", Unconfigured)

    with pytest.raises(StoreError, match="'unconfigured' failed with KeyError: 'buck"):
        open_backend("unconfigured", "place")


def test_what_could_not_be_removed_in_silence_is_told(
    store: BackendStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, key_of())
    monkeypatch.setattr(store.backend, "clear_location", lambda _: None)

    with pytest.raises(StoreError, match="cannot be removed"):
        store.delete(key_of())
    with pytest.raises(StoreError, match="cannot be removed"):
        store.clear()


@pytest.mark.parametrize("is_absent_empty", [False, True])
def test_an_entry_that_appears_while_it_is_looked_up_is_none_or_whole(
    store: BackendStore, monkeypatch: pytest.MonkeyPatch, is_absent_empty: bool
) -> None:
    backend = memory_backend_of(store)
    usual, asked = backend._open_item, []

    def appear_after_the_first(f: str, mode: str) -> Any:
        asked.append(f)
        if len(asked) > 1:
            return usual(f, mode)
        monkeypatch.setattr(backend, "_open_item", usual)
        commit(store, key_of())
        monkeypatch.setattr(backend, "_open_item", appear_after_the_first)
        if is_absent_empty:
            return io.BytesIO()
        raise KeyError(f)

    monkeypatch.setattr(backend, "_open_item", appear_after_the_first)

    assert value_of(store, key_of()) == b"value"


def test_what_was_cleared_on_its_way_is_sent_again(
    store: BackendStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = memory_backend_of(store)
    move, moves = backend._move_item, []

    def clear_and_move(src: str, dst: str) -> None:
        moves.append(dst)
        if len(moves) == 1:
            backend.clear_location("some/place/cachekit")
        move(src, dst)

    commit(store, key_of(1))
    monkeypatch.setattr(backend, "_move_item", clear_and_move)

    assert commit(store, key_of(2), b"sent twice")
    assert value_of(store, key_of(2)) == b"sent twice"


def test_of_two_processes_the_first_wins_if_the_backend_refuses_the_second(
    store: BackendStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = memory_backend_of(store)
    path = f"some/place/cachekit/{key_of().path}/{VALUE}"
    move = backend._move_item

    def be_second(src: str, dst: str) -> None:
        if dst == path:
            backend._write(path, b"of another process")
        move(src, dst)

    monkeypatch.setattr(backend, "_move_item", be_second)

    assert not commit(store, key_of(), b"mine")
    assert value_of(store, key_of()) == b"of another process"
    assert [path for path in backend.files if ".staging" in path] == []


def test_two_stores_of_one_place_publish_one_entry(tmp_path: Path) -> None:
    stores = [opened("folder", tmp_path) for _ in range(6)]
    barrier = threading.Barrier(len(stores))

    def commit_with_others(number: int) -> bool:
        barrier.wait()
        return commit(stores[number], key_of(), b"%d" % number)

    with ThreadPoolExecutor(len(stores)) as threads:
        won = list(threads.map(commit_with_others, range(len(stores))))

    assert sum(won) == 1
    assert value_of(stores[0], key_of()) == b"%d" % won.index(True)


@pytest.mark.parametrize("method", ["_open_item", "_move_item"])
def test_an_interrupt_on_the_way_publishes_nothing_and_leaves_nothing(
    store: BackendStore, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    commit(store, key_of(1))
    usual = getattr(store.backend, method)

    def interrupt(first: str, second: str) -> Any:
        if second == "rb":
            return usual(first, second)
        usual(first, second)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.backend, method, interrupt)
        with pytest.raises(KeyboardInterrupt):
            commit(store, key_of(2))

    assert digests(store) == [key_of(1).digest]
    files = memory_backend_of(store).files
    assert [path for path in files if ".staging" in path] == []
    assert commit(store, key_of(2))


# --- in a memory ---


class Calls:
    def __init__(self) -> None:
        self.count = 0


calls = Calls()


def double(x: int) -> int:
    calls.count += 1
    return 2 * x


@pytest.fixture(params=["folder", "in memory"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Memory:
    calls.count = 0
    return Memory(opened(request.param, tmp_path))


def cached(memory: Memory) -> Callable[[int], int]:
    return memory.cache(double, track="self")


def test_a_result_is_computed_once(memory: Memory) -> None:
    assert [cached(memory)(21), cached(memory)(21)] == [42, 42]
    assert calls.count == 1


def test_threads_that_want_one_result_compute_it_once(memory: Memory) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: cached(memory)(21), range(8)))

    assert results == [42] * 8
    assert calls.count == 1


def test_a_memory_takes_its_backend_along_when_it_is_pickled(memory: Memory) -> None:
    cached(memory)(21)

    again = pickle.loads(pickle.dumps(memory))

    assert cached(again)(21) == 42
    assert calls.count == 1


@pytest.mark.parametrize("damage", [b"", b"half", b"\0" * 1000])
def test_a_damaged_value_is_computed_again(memory: Memory, damage: bytes) -> None:
    cached(memory)(21)
    store = memory.store
    assert isinstance(store, BackendStore)
    (info,) = store.entries()
    replace(store, info.key, damage)

    with pytest.warns(CacheWarning, match="could not be read"):
        assert cached(memory)(21) == 42

    assert cached(memory)(21) == 42
    assert calls.count == 2


@pytest.mark.parametrize("damage", [b"half", b"\xff\xfe", b"[]"])
def test_damaged_documents_cost_a_warning_and_never_the_answer(
    store: BackendStore, damage: bytes
) -> None:
    calls.count = 0
    store.write_document(".accepted/f.json", b"{}")
    path = "some/place/cachekit/.accepted/all.json"
    memory_backend_of(store)._write(path, damage)

    with pytest.warns(CacheWarning, match=r"accepted/all\.json is damaged: remove it"):
        assert cached(Memory(store))(21) == 42


@pytest.mark.parametrize("method", METHODS[:4])
def test_a_failing_backend_costs_a_warning_and_never_the_answer(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no more")

    assert isinstance(memory.store, BackendStore)
    monkeypatch.setattr(memory.store.backend, method, fail)

    with pytest.warns(CacheWarning, match="failed with RuntimeError: no more"):
        assert cached(memory)(21) == 42


def test_a_backend_that_does_nothing_costs_a_warning_and_never_the_answer() -> None:
    nothing = {name: lambda *_, **__: None for name in [*METHODS, "configure"]}
    idle = type("Idle", (StoreBackendBase,), nothing)
    register_store_backend("idle", idle)
    memory = Memory(open_backend("idle", "nowhere"))

    with pytest.warns(CacheWarning, match="could not be stored"):
        assert cached(memory)(21) == 42


def test_the_same_failure_is_told_in_the_same_words(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(src: str, dst: str) -> None:  # noqa: ARG001
        raise RuntimeError(f"cannot move {src}")

    cached(memory)(21)
    assert isinstance(memory.store, BackendStore)
    monkeypatch.setattr(memory.store.backend, "_move_item", fail)

    with pytest.warns(CacheWarning) as warned:
        [cached(memory)(22) for _ in range(2)]

    assert len({str(one.message) for one in warned}) == 1


def test_another_process_finds_the_results(tmp_path: Path) -> None:
    program = (
        "from cachekit import Memory\n"
        "from cachekit.stores.joblib_backends import *\n"
        "from tests.stores.test_joblib_backends import FolderBackend, cached, calls\n"
        "register_store_backend('folder', FolderBackend)\n"
        f"memory = Memory(open_backend('folder', {str(tmp_path)!r}))\n"
        "print(cached(memory)(21), calls.count)\n"
    )

    assert run(program, PYTHONHASHSEED="1") == "42 1\n"
    assert run(program, PYTHONHASHSEED="2") == "42 0\n"
