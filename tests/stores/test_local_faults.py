"""Whatever the disk does, a cached call returns its answer and warns once.

Seen from the call down to real disks: these go through `Memory`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cachekit import CacheWarning, Memory
from cachekit.stores import LocalStore
from tests.stores.contract import CODE
from tests.stores.disks import NEEDS_ROOM, WRITES, failing, read_only, small_disk
from tests.stores.entries import commit, digests, key_of, replace, value_of

REPOSITORY = Path(__file__).parents[2]


def square(x: int) -> int:
    return x * x


@contextmanager
def caught_by_default() -> Iterator[list[warnings.WarningMessage]]:
    """Catch what Python's default filter lets through: each text once a line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield caught


def squares(memory: Memory, numbers: range) -> list[int]:
    cached = memory.cache(square)
    return [cached(number) for number in numbers]


def files(root: Path) -> dict[str, bytes]:
    """Every file of a store but the leases, which are not its own."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.parent.name != ".leases"
    }


def staged(memory: Memory) -> list[Path]:
    return list(Path(memory.location or "").glob(".staging/*"))


def assert_works(memory: Memory) -> None:
    """Check that a call is stored and found; a warning would be an error here."""
    before = memory.tally().hits

    for _ in range(2):
        assert squares(memory, range(90, 93)) == [8100, 8281, 8464]

    assert memory.tally().hits == before + 3


# --- no room ---


@pytest.mark.parametrize("scarce", ["bytes", "files"])
def test_on_a_full_disk_calls_return_and_warn_once(tmp_path: Path, scarce: str) -> None:
    with small_disk(tmp_path / "disk", scarce) as full:
        memory = Memory(tmp_path / "disk" / "store")
        squares(memory, range(3))
        before = files(tmp_path / "disk" / "store")

        with full(), caught_by_default() as caught:
            results = squares(memory, range(8))
            left = files(tmp_path / "disk" / "store")

        assert results == [0, 1, 4, 9, 16, 25, 36, 49]
        (warning,) = caught
        assert warning.category is CacheWarning
        assert os.strerror(errno.ENOSPC) in str(warning.message)
        assert left == before
        assert_works(memory)
        assert staged(memory) == []


@pytest.mark.parametrize("scarce", ["bytes", "files"])
def test_a_store_begun_on_a_full_disk_works_when_there_is_room(
    tmp_path: Path, scarce: str
) -> None:
    with small_disk(tmp_path / "disk", scarce) as full:
        memory = Memory(tmp_path / "disk" / "store")

        with full(), caught_by_default() as caught:
            results = squares(memory, range(4))

        assert results == [0, 1, 4, 9]
        assert len(caught) == 1
        assert_works(memory)
        assert staged(memory) == []
        assert {"store.json", "CACHEDIR.TAG", ".gitignore"} <= set(
            files(tmp_path / "disk" / "store")
        )


@pytest.mark.parametrize("scarce", ["bytes", "files"])
def test_a_full_disk_can_be_cleared(tmp_path: Path, scarce: str) -> None:
    with small_disk(tmp_path / "disk", scarce) as full:
        store = LocalStore(tmp_path / "disk" / "store")
        for number in range(4):
            commit(store, key_of(number))
        commit(store, key_of(9, function="analysis.kept"))
        store.add_hits({key_of(1): 2})

        with full():
            store.delete(key_of(0))
            deleted = digests(store)
            with contextlib.suppress(OSError):  # counts may find no room, even so
                store.clear("analysis.fit")

            assert len(deleted) == 4
            assert digests(store) == [key_of(9).digest]
            assert list(store.root.glob(".staging/*")) == []


# --- failures at any step ---

FAILURES = {
    errno.ENOSPC: NEEDS_ROOM,
    errno.EDQUOT: NEEDS_ROOM,
    errno.EACCES: WRITES,
    errno.EROFS: WRITES,
    errno.EIO: WRITES,
}


@pytest.mark.parametrize("number", FAILURES, ids=errno.errorcode.get)
def test_from_whichever_step_the_disk_fails_a_call_returns_and_warns_once(
    tmp_path: Path, number: int
) -> None:
    def fail(after: int) -> int:
        # Leases fail silently, which is not what is counted here.
        memory = Memory(tmp_path / str(after), on_conflict="compute")
        with (
            failing(tmp_path / str(after), number, FAILURES[number], after=after) as s,
            caught_by_default() as caught,
        ):
            results = squares(memory, range(3))
        taken = len(s)
        assert results == [0, 1, 4]
        assert [w.category for w in caught] == [CacheWarning] * (taken > after)
        if FAILURES[number] == NEEDS_ROOM:
            assert staged(memory) == []
        assert_works(Memory(memory.location))
        return taken

    after = 0
    while fail(after) > after:
        after += 1

    assert after > 15, "so many steps have three calls"


@pytest.mark.parametrize("verb", ["commit", "replace", "write_code", "add_hits"])
def test_whichever_step_has_no_room_nothing_half_is_left(
    tmp_path: Path, verb: str
) -> None:
    verbs: dict[str, Callable[[LocalStore], object]] = {
        "commit": lambda store: commit(store, key_of(1)),
        "replace": lambda store: replace(store, key_of(), b"new"),
        "write_code": lambda store: store.write_code(key_of(), CODE),
        "add_hits": lambda store: store.add_hits({key_of(): 1}),
    }
    after = 0
    while True:
        store = LocalStore(tmp_path / str(after))
        commit(store, key_of(), b"old")
        before = files(store.root)
        with failing(store.root, errno.ENOSPC, NEEDS_ROOM, after=after):
            failed = _fails(verbs[verb], store)
        if not failed:
            break
        # Between its two renames a replaced entry is missing.
        assert files(store.root).items() <= before.items()
        after += 1

    assert after >= 2


def _fails(act: Callable[[LocalStore], object], store: LocalStore) -> bool:
    try:
        act(store)
    except OSError:
        return True
    return False


# --- read-only ---


def test_what_a_read_only_store_has_is_found_and_the_rest_computed(
    tmp_path: Path,
) -> None:
    root = tmp_path / "store"
    squares(Memory(root), range(3))
    before = files(root)

    with read_only(root), caught_by_default() as caught:
        memory = Memory(root)
        results = squares(memory, range(6))
        tally = memory.tally()
        memory.counter.save(LocalStore(root))

    assert results == [0, 1, 4, 9, 16, 25]
    assert tally[:2] == (3, 3)
    assert len(caught) == 1
    assert os.strerror(errno.EROFS) in str(caught[0].message)
    assert files(root) == before


def test_a_store_that_cannot_be_made_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    memory = Memory(tmp_path / "disk" / "deep" / "store")

    with read_only(tmp_path / "disk"), caught_by_default() as caught:
        results = squares(memory, range(3))

    assert results == [0, 1, 4]
    assert len(caught) == 1
    assert list((tmp_path / "disk").iterdir()) == []
    assert_works(memory)


# --- something in the way ---


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_file_in_the_way_is_left_and_costs_a_warning(
    tmp_path: Path, depth: int
) -> None:
    squares(Memory(tmp_path / "whole"), range(1))
    (value,) = (tmp_path / "whole").glob("*/*/??/*/value")
    parts = value.relative_to(tmp_path / "whole").parts[:depth]
    blocked = (tmp_path / "blocked").joinpath(*parts)
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("mine")

    with caught_by_default() as caught:
        results = [*squares(Memory(tmp_path / "blocked"), range(1))] * 3

    assert results == [0, 0, 0]
    assert len(caught) == 1
    assert blocked.read_text() == "mine"
    assert list((tmp_path).glob("*/.staging/*")) == []


@pytest.mark.parametrize("name", [".staging", "store.json"])
def test_something_in_the_place_of_our_own_costs_a_warning(
    tmp_path: Path, name: str
) -> None:
    root = tmp_path / "store"
    root.mkdir()
    if name == "store.json":
        (root / name).mkdir()
    else:
        (root / name).write_text("mine")

    with caught_by_default() as caught:
        results = squares(Memory(root, on_conflict="compute"), range(3))

    assert results == [0, 1, 4]
    assert len(caught) == 1


@pytest.mark.parametrize("target", ["nowhere", "empty", "file", "."])
def test_a_link_in_the_place_of_an_entry_is_replaced(
    tmp_path: Path, target: str
) -> None:
    memory = Memory(tmp_path / "store")
    squares(memory, range(1))
    (value,) = (tmp_path / "store").glob("*/*/??/*/value")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    shutil.rmtree(value.parent)
    value.parent.symlink_to(tmp_path / target)

    squares(memory, range(1))

    assert value.is_file()
    assert not value.parent.is_symlink()
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "empty").is_dir()


# --- what file systems say of the same thing ---


def rename_of_sshfs(staged: str | Path, final: str | Path, /) -> None:
    """Refuse a name that is taken as sshfs does: as if it were not allowed."""
    try:
        rename(staged, final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        raise PermissionError(errno.EPERM, "Operation not permitted", final) from None


rename = os.rename


def test_on_sshfs_the_first_writer_wins_and_a_replacement_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "rename", rename_of_sshfs)
    store = LocalStore(tmp_path / "store")

    assert commit(store, key_of(), b"first")
    assert not commit(store, key_of(), b"second")
    assert value_of(store, key_of()) == b"first"
    replace(store, key_of(), b"third")
    assert value_of(store, key_of()) == b"third"
    (store.root / key_of().path / "value").unlink()
    assert commit(store, key_of(), b"fourth")  # over an entry that is damaged
    assert list((store.root / ".staging").iterdir()) == []


def test_a_rename_that_is_never_permitted_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(staged: str | Path, final: str | Path) -> None:
        if ".staging" in str(final):
            return rename(staged, final)
        raise PermissionError(errno.EPERM, "Operation not permitted", final)

    store = LocalStore(tmp_path / "store")
    commit(store, key_of())

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        with pytest.raises(PermissionError):
            commit(store, key_of(1))

    assert digests(store) == [key_of().digest]


def test_an_entry_that_another_host_has_just_removed_hides_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path / "store")
    here, gone = (
        key_of()._replace(digest="a" * 32),
        key_of()._replace(digest="a" * 30 + "bb"),
    )
    commit(store, here)
    commit(store, gone)
    really_stat = os.stat

    def stat_late(path: str | Path, **options: Any) -> os.stat_result:
        if str(path).startswith("a" * 28 + "bb"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return really_stat(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat_late)
        patched.setattr(os, "supports_dir_fd", os.supports_dir_fd | {stat_late})
        listed = digests(store)

    assert listed == [here.digest]


@pytest.mark.parametrize("look", ["listdir", "scandir", "stat"])
def test_what_another_host_has_just_removed_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """A network file system says so in another way than a disk."""
    store = LocalStore(tmp_path / "store")
    commit(store, key_of())
    gone = key_of(function="analysis.gone")
    commit(store, gone)
    really_look = getattr(os, look)
    prefix = (store.root / gone.path).parent.stat().st_ino

    def look_at(path: str | Path, *, dir_fd: int | None = None) -> object:
        is_gone = gone.function in str(path)
        if dir_fd is not None:
            is_gone = os.fstat(dir_fd).st_ino == prefix
        if is_gone:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return really_look(path) if dir_fd is None else really_look(path, dir_fd=dir_fd)

    with monkeypatch.context() as patched:  # pytest looks at files too
        patched.setattr(os, look, look_at)
        patched.setattr(os, "supports_dir_fd", os.supports_dir_fd | {look_at})
        listed = list(store.entries())

    assert [info.key.function for info in listed] == ["analysis.fit"]


@pytest.mark.parametrize("step", ["open", "read"])
def test_what_another_host_has_just_removed_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store = LocalStore(tmp_path / "store")
    commit(store, key_of())

    def be_late(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patched:
        patched.setattr(os, step, be_late)
        found = store.open(key_of())

    assert found is None


# --- odd places ---


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "[a-z]*?",
        "line\nbreak",
        "größe.日本語.🙂",
        "-rf",
        "%s{x}$HOME",
        os.fsdecode(b"\xff\xfe"),
        "x" * 255,
    ],
    ids=ascii,
)
def test_a_store_can_be_anywhere(tmp_path: Path, name: str) -> None:
    memory = Memory(tmp_path / name)

    assert_works(memory)
    memory.clear()
    assert_works(memory)


@pytest.mark.parametrize("root", ["x" * 256, "/".join(["x" * 250] * 17)])
def test_a_place_with_too_long_a_name_costs_a_warning(
    tmp_path: Path, root: str
) -> None:
    memory = Memory(tmp_path / root)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = squares(memory, range(1))

    assert results == [0]
    assert {w.category for w in caught} == {CacheWarning}
    assert all(os.strerror(errno.ENAMETOOLONG) in str(w.message) for w in caught)


def test_the_longest_paths_work_or_cost_a_warning(tmp_path: Path) -> None:
    # The root is made, then an entry's path goes over what the system allows.
    longest = os.pathconf(tmp_path, "PC_PATH_MAX")
    room = longest - len(str(tmp_path)) - 40
    root = tmp_path.joinpath(*["x" * 200] * (room // 201))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = squares(Memory(root), range(2))

    assert results == [0, 1]
    assert {w.category for w in caught} <= {CacheWarning}


# --- processes ---


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks what it kills")
def test_writers_killed_at_random_moments_leave_nothing_half(tmp_path: Path) -> None:
    said = run("-m", "tests.stores.killing", str(tmp_path / "store"), "50")

    found, swept = map(int, said.split())
    assert found > 0, "readers should have met entries"
    assert swept > 0, "writers should have been killed in the middle"


def test_importing_and_decorating_touch_no_disk(tmp_path: Path) -> None:
    script = """
        import sys
        touched = []
        kinds = ("os.mkdir", "os.rename", "os.remove", "os.utime")
        def watch(event, arguments):
            writes = event == "open" and isinstance(arguments[2], int) \
                and arguments[2] & 3
            if event in kinds or writes:
                touched.append((event, arguments))
        sys.addaudithook(watch)
        import cachekit
        memory = cachekit.Memory(sys.argv[1])
        @memory.cache
        def f(x): return x
        @cachekit.cache
        def g(x): return x
        f.check_call_in_cache(1)
        print(touched, end="")
    """
    lines = [line[8:] for line in script.splitlines()]

    # -B: what Python compiles, it would write beside the source.
    said = run("-B", "-c", "\n".join(lines), str(tmp_path / "store"))

    assert said == "[]"
    assert list(tmp_path.iterdir()) == []
