"""`LocalStore` keeps the contract, whatever dies, and is a good guest in a folder."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from cachekit.errors import EntryNotFound, StoreError
from cachekit.stores import EntryKey, LocalStore
from cachekit.stores.layout import FORMAT
from cachekit.stores.local import MOST_STATS_FILES
from tests.stores.contract import CODE, StoreContract
from tests.stores.disks import LISTS, steps_in
from tests.stores.entries import (
    FINGERPRINT,
    commit,
    commit_files,
    digests,
    key_of,
    pinned,
    replace,
    value_of,
)

HOUR = 3600
DAY = 24 * HOUR

unix_only = pytest.mark.skipif(os.name == "nt", reason="kills or limits processes")


def folder_of(store: LocalStore, key: EntryKey) -> Path:
    """Where an entry belongs, if its function's name is harmless."""
    first, rest = key.digest[:2], key.digest[2:]
    return store.root / key.function / key.fingerprint / first / rest


def tree(root: Path) -> dict[str, bytes | None]:
    """Every file below a folder and its content; None for a folder."""
    return {
        path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
    }


def staged(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob(".staging/*"))


class TestLocalStore(StoreContract[LocalStore]):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "cache")

    def put(self, store: LocalStore, key: EntryKey, files: dict[str, bytes]) -> None:
        folder = folder_of(store, key)
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)

    def take(self, store: LocalStore, key: EntryKey) -> dict[str, bytes]:
        found = folder_of(store, key).glob("*")
        return {path.name: path.read_bytes() for path in found}

    def lose(self, store: LocalStore, key: EntryKey, name: str) -> None:
        (folder_of(store, key) / name).unlink()

    def age(self, store: LocalStore, key: EntryKey, seconds: float) -> None:
        then = time.time() - seconds
        os.utime(folder_of(store, key) / "value", (then, then))

    def litter(self, store: LocalStore) -> list[str]:
        return staged(store.root)

    def test_pins_set_while_entries_are_removed_bring_none_back(
        self, store: LocalStore
    ) -> None:
        super().test_pins_set_while_entries_are_removed_bring_none_back(store)

        assert self.take(store, key_of()) == {}, "not even a folder with a pin"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "cache")


# --- the layout ---


def test_the_layout_is_what_the_docstring_draws(store: LocalStore) -> None:
    key = EntryKey("analysis.fit", FINGERPRINT, "ab" + "cd" * 15)

    store.write_code(key, CODE)
    commit(store, key, b"the value")

    version = f"analysis.fit/{FINGERPRINT}"
    entry = f"{version}/ab/{'cd' * 15}"
    found = tree(store.root)
    assert found.pop(".gitignore") is not None
    assert found.pop("CACHEDIR.TAG") is not None
    assert found.pop("store.json") is not None
    assert found == {
        ".staging": None,
        "analysis.fit": None,
        version: None,
        f"{version}/code.json": CODE,
        f"{version}/ab": None,
        entry: None,
        f"{entry}/value": b"the value",
        f"{entry}/record.json": b"{}",
    }


def test_statistics_are_one_file_of_counts(store: LocalStore) -> None:
    commit(store, key_of())

    store.add_hits({key_of(): 3})

    (path,) = store.root.glob(".stats/*")
    assert path.suffix == ".json"
    assert json.loads(path.read_bytes()) == {key_of().path: 3}


@pytest.mark.parametrize("hash_version", [None, 3])
def test_the_store_says_what_it_is(tmp_path: Path, hash_version: int | None) -> None:
    commit(LocalStore(tmp_path, hash_version=hash_version), key_of())

    expected = {"store": "cachekit", "format": FORMAT}
    if hash_version is not None:
        expected["hash_version"] = hash_version
    assert json.loads((tmp_path / "store.json").read_bytes()) == expected


def test_what_the_store_says_is_written_once(tmp_path: Path) -> None:
    commit(LocalStore(tmp_path, hash_version=1), key_of(1))
    before = (tmp_path / "store.json").read_bytes()

    commit(LocalStore(tmp_path, hash_version=2), key_of(2))

    assert (tmp_path / "store.json").read_bytes() == before


def test_a_new_store_is_hidden_from_git(store: LocalStore) -> None:
    commit(store, key_of())

    assert "*" in (store.root / ".gitignore").read_text().splitlines()


def test_a_new_store_is_passed_by_by_backups(store: LocalStore) -> None:
    commit(store, key_of())

    tag = (store.root / "CACHEDIR.TAG").read_bytes()
    assert tag.startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")


@pytest.mark.parametrize("written", [(), ("CACHEDIR.TAG",), ("CACHEDIR.TAG", "x")])
def test_a_store_whose_making_was_cut_short_is_made_whole(
    store: LocalStore, written: tuple[str, ...]
) -> None:
    for folder in (".staging", ".leases", ".stats"):
        (store.root / folder).mkdir(parents=True)
    for name in written:
        (store.root / name).write_bytes(b"as it was")

    commit(store, key_of())

    names = {path.name for path in store.root.iterdir()}
    assert {"CACHEDIR.TAG", "store.json"} - {*written} <= names
    assert (".gitignore" in names) is ("x" not in written)
    for name in written:
        assert (store.root / name).read_bytes() == b"as it was"


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@unix_only
@pytest.mark.usefixtures("usual_umask")
@pytest.mark.parametrize("verb", ["stage", "write_code", "add_hits"])
def test_a_new_store_is_for_its_owner_alone(tmp_path: Path, verb: str) -> None:
    store = LocalStore(tmp_path / "deep" / "store")

    WRITES[verb](store)

    assert mode_of(store.root) == 0o700
    assert mode_of(tmp_path / "deep") == 0o755, "which is not the store's"


@unix_only
@pytest.mark.usefixtures("usual_umask")
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(mode)

    commit(LocalStore(tmp_path / "store"), key_of())

    assert mode_of(tmp_path / "store") == mode


@unix_only
def test_a_store_that_is_deleted_while_it_is_written_comes_back_private(
    store: LocalStore,
) -> None:
    with store.stage(key_of()) as staging:
        staging.open("value").close()
        shutil.rmtree(store.root)
        with pytest.raises(FileNotFoundError):
            staging.commit()
    assert not store.root.exists()

    assert commit(store, key_of())

    assert mode_of(store.root) == 0o700
    assert (store.root / "store.json").is_file()


def test_nothing_is_created_before_the_first_commit(store: LocalStore) -> None:
    store.open(key_of())
    store.read(key_of(), "record.json")
    store.read_code(key_of())
    store.hits()
    list(store.entries())
    store.clear()
    store.clear("analysis.fit")
    store.delete(key_of())

    assert not store.root.exists()


def test_bookkeeping_may_be_deleted_at_any_time(store: LocalStore) -> None:
    commit(store, key_of(1))
    store.add_hits({key_of(1): 1})

    for folder in (".staging", ".stats"):
        shutil.rmtree(store.root / folder)

    commit(store, key_of(2))
    store.delete(key_of(1))
    store.write_code(key_of(), CODE)
    store.add_hits({key_of(2): 1})
    assert digests(store) == [key_of(2).digest]
    assert store.hits() == {key_of(2).path: 1}


def test_a_store_whose_folder_was_deleted_starts_again(store: LocalStore) -> None:
    commit(store, key_of(), b"old")
    shutil.rmtree(store.root)

    assert store.open(key_of()) is None
    assert commit(store, key_of(), b"new")
    assert json.loads((store.root / "store.json").read_bytes())["format"] == FORMAT


def test_a_store_that_lost_its_store_json_writes_it_again(store: LocalStore) -> None:
    commit(store, key_of(1))
    (store.root / "store.json").unlink()

    commit(store, key_of(2))

    assert json.loads((store.root / "store.json").read_bytes())["format"] == FORMAT


def test_a_store_can_be_sent_to_another_process(store: LocalStore) -> None:
    commit(store, key_of(), b"value")

    with store.flights.turn(key_of(1).lease, lambda: None):
        copy = pickle.loads(pickle.dumps(store))

    assert value_of(copy, key_of()) == b"value"
    assert copy.location == store.location


def test_a_pin_survives_reopening_and_copying(
    store: LocalStore, tmp_path: Path
) -> None:
    commit(store, key_of(1))
    commit(store, key_of(2))
    store.pin(key_of(2))
    shutil.copytree(store.root, tmp_path / "copy")

    assert pinned(LocalStore(store.root)) == [key_of(2).digest]
    assert pinned(LocalStore(tmp_path / "copy")) == [key_of(2).digest]


def test_a_pin_for_an_entry_removed_meanwhile_makes_no_folder(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, key_of())
    store.delete(key_of())
    monkeypatch.setattr(LocalStore, "contains", lambda *_: True)  # so it was, just now

    with pytest.raises(EntryNotFound, match="removed meanwhile"):
        store.pin(key_of())

    assert not folder_of(store, key_of()).exists()


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("left", ["link", "file", "folder", "more", "value a folder"])
def test_whatever_is_in_the_place_of_an_entry_is_deleted_and_nothing_else(
    tmp_path: Path, left: str, durable: bool
) -> None:
    store = LocalStore(tmp_path / "cache", durable=durable)
    commit(store, key_of(1))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "value").write_text("of somebody else")
    place = folder_of(store, key_of())
    if left == "link":
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(mine)
    elif left == "file":
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("?")
    elif left == "value a folder":
        (place / "value" / "deep").mkdir(parents=True)
    else:
        place.mkdir(parents=True)
    if left == "more":
        for name in ("value", "record.json", "notes.txt"):
            (place / name).write_text("?")

    store.delete_many([key_of()])

    assert not os.path.lexists(place)
    assert (mine / "value").read_text() == "of somebody else"
    assert staged(store.root) == []
    assert digests(store) == [key_of(1).digest]


def test_a_copied_folder_is_the_same_store(store: LocalStore, tmp_path: Path) -> None:
    commit(store, key_of(), b"value")
    shutil.copytree(store.root, tmp_path / "copy")

    copy = LocalStore(tmp_path / "copy")

    assert value_of(copy, key_of()) == b"value"
    assert not commit(copy, key_of())


# --- a guest in a folder ---


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a folder with a person's own work in it."""
    root = tmp_path / "project"
    for folder in ("src/deep", "empty", "results"):
        (root / folder).mkdir(parents=True)
    (root / "src" / "deep" / "main.py").write_text("print('hello')\n")
    (root / "data.csv").write_text("a,b\n1,2\n")
    (root / "results" / "figure.png").write_bytes(b"\x89PNG")
    return root


def test_clearing_leaves_the_work_of_others_alone(project: Path) -> None:
    before = tree(project)
    store = LocalStore(project)
    commit(store, key_of(function="src.deep"))
    commit(store, key_of(function="results"))

    store.clear()

    after = tree(project)
    assert {name: after.get(name, "gone") for name in before} == before


def test_clearing_leaves_folders_that_are_named_by_digests_alone(project: Path) -> None:
    # Experiment trackers name their runs by 32 hexadecimal digits, as we do.
    run = project / "runs" / FINGERPRINT
    run.mkdir(parents=True)
    (run / "metrics.csv").write_text("loss\n0.1\n")
    (run / "weights").mkdir()
    (run / "weights" / "value").write_bytes(b"0.1")
    store = LocalStore(project)
    commit(store, key_of())

    listed = digests(store)
    store.clear()
    store.clear("runs")

    assert listed == [key_of().digest]
    assert (run / "metrics.csv").read_text() == "loss\n0.1\n"
    assert (run / "weights" / "value").read_bytes() == b"0.1"


def test_clearing_a_function_named_like_a_folder_leaves_the_folder(
    project: Path,
) -> None:
    LocalStore(project).clear("empty")

    assert (project / "empty").is_dir()


def test_a_gitignore_is_never_overwritten(project: Path) -> None:
    (project / ".gitignore").write_text("*.pyc\n")

    commit(LocalStore(project), key_of())

    assert (project / ".gitignore").read_text() == "*.pyc\n"


def test_the_work_of_others_is_not_hidden_from_git(project: Path) -> None:
    commit(LocalStore(project), key_of())

    assert not (project / ".gitignore").exists()
    assert not (project / "CACHEDIR.TAG").exists()


# --- roots that are no store of ours ---

NOT_OURS = {
    "newer": json.dumps({"store": "cachekit", "format": FORMAT + 1}).encode(),
    "foreign with a format": b'{"format": 1, "items": []}',
    "foreign object": b'{"name": "corner shop"}',
    "foreign list": b"[1, 2]",
    "number": b"1",
    "no text": b"\xff\xfe\x00",
}

WRITES: dict[str, Callable[[LocalStore], object]] = {
    "stage": lambda store: store.stage(key_of()),
    "write_code": lambda store: store.write_code(key_of(), CODE),
    "add_hits": lambda store: store.add_hits({key_of(): 1}),
    "delete": lambda store: store.delete(key_of()),
    "delete_many": lambda store: store.delete_many([key_of()]),
    "pin": lambda store: store.pin(key_of()),
    "unpin": lambda store: store.unpin(key_of()),
    "clear": lambda store: store.clear(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("about", NOT_OURS.values(), ids=NOT_OURS.keys())
def test_a_root_that_is_not_ours_is_refused_and_left_alone(
    store: LocalStore, about: bytes, write: Callable[[LocalStore], object]
) -> None:
    entry = folder_of(store, key_of())
    entry.mkdir(parents=True)
    (entry / "value").write_bytes(b"of a layout we do not know")
    (store.root / "store.json").write_bytes(about)
    before = tree(store.root)

    with pytest.raises(StoreError, match=r"store\.json|format"):
        write(store)

    assert tree(store.root) == before


def test_an_empty_store_json_is_written_again(store: LocalStore) -> None:
    # A power cut leaves such files: renamed in time, but never filled.
    commit(store, key_of(1))
    (store.root / "store.json").write_bytes(b"")

    commit(LocalStore(store.root), key_of(2))

    assert json.loads((store.root / "store.json").read_bytes())["format"] == FORMAT


@pytest.mark.parametrize("below", ["file", "file/cache", "file/deep/cache"])
def test_a_root_that_cannot_be_made_is_an_os_error(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("a regular file")
    store = LocalStore(tmp_path / below)

    assert store.open(key_of()) is None
    assert store.read(key_of(), "value") is None
    assert list(store.entries()) == []
    assert store.hits() == {}
    for write in (WRITES["stage"], WRITES["write_code"], WRITES["add_hits"]):
        with pytest.raises(OSError, match="file"):
            write(store)
    assert (tmp_path / "file").read_text() == "a regular file"


# --- processes ---


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run `tests.stores.writer`; it is killed, if it must be, when the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.stores.writer", *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def line_from(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def tell(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


@unix_only
def test_several_processes_that_commit_one_key_make_one_entry(
    store: LocalStore,
) -> None:
    with (
        process("race", store.root, "a") as a,
        process("race", store.root, "b") as b,
        process("race", store.root, "c") as c,
    ):
        children = {"a": a, "b": b, "c": c}
        assert [line_from(child) for child in children.values()] == ["ready"] * 3
        for child in children.values():
            tell(child)
        said = {name: line_from(child) for name, child in children.items()}

    assert sorted(said.values()) == ["lost", "lost", "won"]
    (winner,) = [name for name, word in said.items() if word == "won"]
    assert value_of(store, key_of()) == winner.encode() * 1000
    assert staged(store.root) == []


@unix_only
def test_staging_of_a_dead_process_is_swept(store: LocalStore) -> None:
    with process("hold", store.root) as child:
        assert line_from(child) == "staged"
    assert len(staged(store.root)) == 1

    commit(store, key_of(1))

    assert staged(store.root) == []
    assert digests(store) == [key_of(1).digest]


@unix_only
def test_staging_of_a_living_process_is_not_swept(store: LocalStore) -> None:
    with process("hold", store.root) as child:
        assert line_from(child) == "staged"
        before = staged(store.root)

        commit(store, key_of(1))

        assert staged(store.root) == before
        tell(child)
        assert child.wait() == 0
    assert staged(store.root) == []


@pytest.mark.parametrize(("days", "left"), [(0.9, 1), (1.1, 0)])
def test_staging_of_another_host_is_swept_when_it_is_old(
    store: LocalStore, days: float, left: int
) -> None:
    folder = store.root / ".staging" / f"elsewhere-{os.getpid()}-{FINGERPRINT}"
    folder.mkdir(parents=True)
    then = time.time() - days * DAY
    os.utime(folder, (then, then))

    commit(store, key_of())

    assert len(staged(store.root)) == left


def test_a_clock_that_is_fast_makes_no_staging_of_another_host_old(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    young = store.root / ".staging" / f"elsewhere-1-2-{FINGERPRINT}"
    young.mkdir(parents=True)
    monkeypatch.setattr(time, "time", lambda: 4e9)

    commit(store, key_of())

    assert young.is_dir()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no start is known")
def test_staging_of_an_earlier_process_of_the_same_number_is_swept(
    store: LocalStore,
) -> None:
    # As in a container that was killed and started again.
    with store.stage(key_of()):
        (name,) = staged(store.root)
        host, pid, start, unique = name.split("-")
        earlier = f"{host}-{pid}-{int(start) - 1}-{unique}"
        (store.root / ".staging" / earlier / "folder").mkdir(parents=True)

        commit(LocalStore(store.root), key_of(1))

        assert staged(store.root) == [name]


def test_links_in_the_staging_folder_are_swept_and_not_followed(
    store: LocalStore, project: Path
) -> None:
    before = tree(project)
    left = store.root / ".staging" / f"elsewhere-1-2-{FINGERPRINT}"
    left.mkdir(parents=True)
    (left / "link").symlink_to(project)
    os.utime(left, (0, 0))
    targets = [project, project / "data.csv", Path("nowhere")]
    for number, target in enumerate(targets):
        link = left.with_name(f"elsewhere-{number}-3-{FINGERPRINT}")
        link.symlink_to(target)
        os.utime(link, (0, 0), follow_symlinks=False)

    commit(store, key_of())

    assert staged(store.root) == []
    assert tree(project) == before


def test_a_staging_folder_that_is_a_link_is_not_swept(
    store: LocalStore, project: Path
) -> None:
    for path in [*project.rglob("*"), project]:
        os.utime(path, (0, 0))
    before = tree(project)
    (project / "new").mkdir()
    store.root.mkdir()
    (store.root / ".staging").symlink_to(project)

    commit(store, key_of())

    after = tree(project)
    assert {name: after.get(name, "gone") for name in before} == before


@pytest.mark.parametrize("process_id", ["", "x", "-1", "²", "0", str(2**70)])
def test_strange_names_in_the_staging_folder_do_no_harm(
    store: LocalStore, process_id: str
) -> None:
    with store.stage(key_of()):
        (name,) = staged(store.root)
    host, _, start, unique = name.split("-")
    for strange in (f"{process_id}-{start}-{unique}", f"{process_id}-{unique}", ""):
        (store.root / ".staging" / f"{host}-{strange}").mkdir()

    committed = commit(LocalStore(store.root), key_of())

    assert committed


OLD = {"value": b"old value", "record.json": b"{}"}
NEW = {"value": b"new value", "record.json": b"{}"}
NEW_WITHOUT_RECORD = {"value": b"new value"}


def entry_in(store: LocalStore) -> dict[str, bytes] | None:
    """Return the files of an entry; None if it has no folder."""
    folder = folder_of(store, key_of())
    if not folder.exists():
        return None
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@unix_only
@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("commit", None, NEW),
        ("replace", OLD, NEW_WITHOUT_RECORD),
        ("delete", OLD, None),
    ],
)
def test_killed_at_any_step_an_entry_is_whole_or_not_there(
    tmp_path: Path,
    verb: str,
    before: dict[str, bytes] | None,
    after: dict[str, bytes] | None,
) -> None:
    def run(last_step: int) -> tuple[LocalStore, str]:
        store = LocalStore(tmp_path / str(last_step))
        if before is not None:
            commit(store, key_of(), before["value"])
        with process("die", store.root, verb, last_step) as child:
            said = line_from(child)
            child.wait()
        return store, said

    undisturbed, steps = run(-1)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        killed = list(threads.map(run, range(int(steps))))

    assert entry_in(undisturbed) == after
    assert len(killed) > 3
    for store, said in killed:
        assert not said, "it should have died"
        assert entry_in(store) in (before, after, None)
        assert commit(LocalStore(store.root), key_of(1)), "it should work as before"
        assert staged(store.root) == [], "the next writer should sweep"


@unix_only
@pytest.mark.parametrize("verb", ["commit much", "describe much code", "add many hits"])
def test_a_full_disk_is_an_os_error_and_leaves_nothing(
    store: LocalStore, verb: str
) -> None:
    commit(store, key_of(1))
    before = tree(store.root)

    with process("fill", store.root, verb) as child:
        said = line_from(child)
        left = staged(store.root)

    assert said.startswith("OSError")
    assert left == []
    after = {name for name, content in tree(store.root).items() if content is not None}
    assert after == {name for name, content in before.items() if content is not None}


# --- many entries ---


def fill(store: LocalStore, entries: int) -> None:
    """Make entries, 50 in each folder, as there are 4000 of a million."""
    commit(store, key_of())
    version = folder_of(store, key_of()).parents[1]
    for number in range(1, entries):
        folder = version / f"{number // 50:02x}" / f"{number:030x}"
        folder.mkdir(parents=True)
        (folder / "value").write_bytes(b"")


def test_a_listing_holds_one_folder_at_a_time(tmp_path: Path) -> None:
    def most_memory(entries: int) -> int:
        store = LocalStore(tmp_path / str(entries))
        fill(store, entries)
        tracemalloc.start()
        try:
            assert sum(1 for _ in store.entries()) == entries
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = most_memory(300), most_memory(3000)

    assert many < 2 * few


def test_finding_and_committing_list_no_folder(store: LocalStore) -> None:
    fill(store, 100)
    with steps_in(store.root, LISTS) as steps:
        list(store.entries())
        listed = len(steps)

        for number in range(1, 5):
            store.open(key_of(number))
            store.contains(key_of(number))
            store.write_code(key_of(number), CODE)
            commit(store, key_of(number))
            value_of(store, key_of(number))

        assert listed > 0
        assert len(steps) == listed


# --- when an entry was used ---


@pytest.mark.parametrize(("age", "noted"), [(0.5 * HOUR, False), (1.1 * HOUR, True)])
def test_a_use_is_noted_once_an_hour(
    store: LocalStore, age: float, noted: bool
) -> None:
    commit(store, key_of())
    path = folder_of(store, key_of()) / "value"
    then = time.time() - age
    os.utime(path, (then, then))

    value_of(store, key_of())

    assert (path.stat().st_mtime > then + 1) is noted


def test_reading_the_record_is_no_use(store: LocalStore) -> None:
    commit(store, key_of())
    path = folder_of(store, key_of()) / "value"
    os.utime(path, (1e9, 1e9))

    store.read(key_of(), "record.json")
    store.read(key_of(), "value")

    assert path.stat().st_mtime == 1e9


# --- statistics ---


def test_many_files_of_statistics_are_merged_and_no_hit_is_lost(
    store: LocalStore,
) -> None:
    adds = 3 * MOST_STATS_FILES
    for number in range(adds):
        store.add_hits({key_of(number % 5): 1, key_of(7): 2})

        assert len(list(store.root.glob(".stats/*"))) <= MOST_STATS_FILES

    hits = store.hits()
    assert hits[key_of(7).path] == 2 * adds
    assert sum(hits.values()) == 3 * adds


def test_statistics_forget_an_entry_whose_uses_were_taken_off(
    store: LocalStore,
) -> None:
    for _ in range(MOST_STATS_FILES // 2):
        store.add_hits({key_of(1): 1})
        store.add_hits({key_of(1): -1})

    store.add_hits({key_of(2): 1})  # merges all of them

    (merged,) = store.root.glob(".stats/*")
    assert list(json.loads(merged.read_bytes())) == [key_of(2).path]


def test_threads_that_merge_statistics_at_once_lose_no_hit(store: LocalStore) -> None:
    for _ in range(MOST_STATS_FILES):
        store.add_hits({key_of(): 1})
    barrier = threading.Barrier(6)

    def add_with_others(_: int) -> None:
        barrier.wait()
        store.add_hits({key_of(): 1})

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(add_with_others, range(6)))

    assert store.hits() == {key_of().path: MOST_STATS_FILES + 6}


DAMAGED = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"12",
    b'{"a": null}',
    b'{"a": "many"}',
    b'{"a": [1]}',
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content)[:20])
def test_a_damaged_file_of_statistics_counts_for_nothing(
    store: LocalStore, content: bytes
) -> None:
    store.add_hits({key_of(): 2})
    (store.root / ".stats" / "damaged.json").write_bytes(content)

    assert store.hits() == {key_of().path: 2}


def test_damaged_files_of_statistics_are_merged_away(store: LocalStore) -> None:
    store.add_hits({key_of(): 2})
    for number, content in enumerate(DAMAGED + DAMAGED):
        (store.root / ".stats" / f"damaged-{number}.json").write_bytes(content)

    store.add_hits({key_of(): 1})

    assert len(list(store.root.glob(".stats/*"))) == 1
    assert store.hits() == {key_of().path: 3}
    assert staged(store.root) == []


# --- what others leave where an entry belongs ---


def test_an_empty_folder_does_not_stand_in_the_way(store: LocalStore) -> None:
    folder_of(store, key_of()).mkdir(parents=True)

    assert store.open(key_of()) is None
    assert list(store.entries()) == []
    assert commit(store, key_of())


def test_a_file_in_the_place_of_a_function_is_an_os_error(store: LocalStore) -> None:
    commit(store, key_of(1))
    (store.root / "taken").write_text("a regular file")

    with pytest.raises(OSError, match="taken"):
        commit(store, key_of(2, function="taken"))

    assert store.open(key_of(2, function="taken")) is None
    assert staged(store.root) == []


def test_replacing_needs_no_lull(store: LocalStore) -> None:
    commit(store, key_of(), b"old")
    done = threading.Event()

    def commit_again_and_again() -> None:
        while not done.is_set():
            commit(store, key_of(), b"other")

    with ThreadPoolExecutor(1) as threads:
        committing = threads.submit(commit_again_and_again)
        try:
            for _ in range(50):
                replace(store, key_of(), b"new")
        finally:
            done.set()

    committing.result()
    assert value_of(store, key_of()) in {b"new", b"other"}


def test_nobody_waits_for_a_pipe_in_the_place_of_a_value(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    commit(store, key_of())
    value = tmp_path / key_of().path / "value"
    value.unlink()
    os.mkfifo(value)

    for look in (store.open, store.peek):
        with pytest.raises(OSError, match="there is no file"):
            look(key_of())


# --- what a listing need not ask for ---


def entry_of(store: LocalStore) -> Path:
    return store.root / key_of().path


def is_plain(store: LocalStore) -> bool:
    return bool((entry_of(store) / "value").stat().st_mode & stat.S_ISVTX)


def test_a_value_with_nothing_beside_it_says_so(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    commit(store, key_of())
    assert is_plain(store)

    store.pin(key_of())

    assert not is_plain(store)
    assert pinned(store) == [key_of().digest]


def test_a_value_with_files_does_not(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    commit_files(store, key_of(), {"value": b"." * 1000})

    assert not is_plain(store)
    assert next(store.entries()).size > 1000


def test_what_was_copied_without_its_mode_is_looked_at(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    commit(store, key_of())
    (entry_of(store) / "value").chmod(0o644)
    (entry_of(store) / "pinned").touch()  # as a bucket has it

    assert pinned(store) == [key_of().digest]


def test_an_entry_of_somebody_else_can_be_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    commit(store, key_of(), b"theirs")
    used = next(store.entries()).last_used

    def refuse(path: Path, mode: int) -> None:  # noqa: ARG001
        raise PermissionError(errno.EPERM, "Operation not permitted", path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", refuse)
        store.pin(key_of())

    assert not is_plain(store)
    assert value_of(store, key_of()) == b"theirs"
    assert pinned(store) == [key_of().digest]
    assert next(store.entries()).last_used == pytest.approx(used)
    assert {path.name for path in entry_of(store).iterdir()} == {
        "value",
        "record.json",
        "pinned",
    }


def test_sizes_of_many_records_are_as_good_as_exact(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    sizes = {}
    for number in range(300):
        key = key_of(number)
        record = b"{}" + b" " * (500 + number % 7)
        with store.stage(key) as staging:
            staging.write("value", b"." * number)
            staging.write("record.json", record)
            staging.commit()
        sizes[key.digest] = number + len(record)

    listed = {info.key.digest: info.size for info in store.entries()}

    assert listed.keys() == sizes.keys()
    assert all(abs(listed[name] - size) <= 7 for name, size in sizes.items())
    assert sum(listed.values()) == pytest.approx(sum(sizes.values()), rel=1e-3)
