"""Damage every file of a store in turn, in six ways, and call again."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from cachekit import Memory, inspection
from cachekit.errors import StoreError
from cachekit.stores import LocalStore
from cachekit.stores import file_leases as leases
from tests.torture.answers import (
    Caller,
    leftovers,
    only_cache_warnings,
)
from tests.torture.children import Children
from tests.torture.counts import counts

# A number and an array as they are; a dict and bytes compressed.
RAW, COMPRESSED = (4, 6), (41, 43)
STORED = (*RAW, *COMPRESSED)
MISSING = 11  # a process that is dead holds its lease

SILENT_SECONDS = 0.05

LONGEST_LINK = 1000


def damaged(chance: random.Random, folder: Path) -> None:
    """Damage one file at a time: calls are answered, and the next run finds all."""
    whole, root = folder / "whole", folder / "damaged"
    _make_store(whole, folder)
    files = sorted(path for path in whole.rglob("*") if not path.is_dir())
    with (
        mock.patch.object(leases, "SILENT_SECONDS", SILENT_SECONDS),
        mock.patch.object(leases, "SILENT_BUT_RUNNING_SECONDS", SILENT_SECONDS),
    ):
        for path in files:
            for way, damage in WAYS.items():
                shutil.copytree(whole, root, symlinks=True)
                name = path.relative_to(whole).as_posix()
                damage(root / name, chance)
                counts["files damaged"] += 1
                try:
                    _check(root, name, way)
                except Exception as error:
                    raise AssertionError(f"{name} {way}: {error!r}") from error
                shutil.rmtree(root)


def _make_store(root: Path, folder: Path) -> None:
    """Make a store with entries of several kinds, and what processes left there."""
    memory, compressed = Memory(root), Memory(root, compress=True)
    for number in RAW:
        Caller(memory).ask(number)
        Caller(memory).ask(number)  # a hit, for the statistics
    for number in COMPRESSED:
        Caller(compressed).ask(number)
    memory.counter.save(LocalStore(root))
    store = LocalStore(root)
    present = {info.key for info in store.entries()}
    Caller(memory).ask(MISSING)
    (missing,) = {info.key for info in store.entries()} - present
    store.delete(missing)
    with Children(folder / "errors") as children:
        owner = children.start("hold", root, missing.lease)
        owner.await_ready()
        owner.kill()
        owner.finish(-signal.SIGKILL)
    for name in (".staging", ".leases", ".stats"):
        assert len(leftovers(root, name)) == 1, f"nothing to damage in {name}"


# --- the six ways ---


def _content_of(path: Path) -> bytes:
    """Return what a file holds, or a lease says, which may be a link."""
    return os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    """Give a file other content; a link leads elsewhere, or becomes a file."""
    can_be_link = content and b"\0" not in content and len(content) < LONGEST_LINK
    was_link = path.is_symlink()
    path.unlink()
    if was_link and can_be_link:
        path.symlink_to(os.fsdecode(content))
    else:
        path.write_bytes(content)


def _empty(path: Path, _: random.Random) -> None:
    _write(path, b"")


def _truncate(path: Path, chance: random.Random) -> None:
    content = _content_of(path)
    _write(path, content[: chance.randrange(len(content))])


def _flip(path: Path, chance: random.Random) -> None:
    content = bytearray(_content_of(path))
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    _write(path, bytes(content))


def _append(path: Path, chance: random.Random) -> None:
    _write(path, _content_of(path) + chance.randbytes(chance.randrange(1, 5000)))


def _make_folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if chance.random() < 0.5:
        (path / "mine").write_text("in the way")


def _swap(path: Path, chance: random.Random) -> None:
    """Remove it, or give it what a file of another name holds."""
    root = next(above for above in path.parents if above.name == "damaged")
    others = [one for one in root.rglob("*") if one.is_file() and one.name != path.name]
    path.unlink()
    if chance.random() < 0.5:
        shutil.copyfile(chance.choice(sorted(others)), path)


WAYS: dict[str, Callable[[Path, random.Random], None]] = {
    "emptied": _empty,
    "truncated": _truncate,
    "with a bit flipped": _flip,
    "with something appended": _append,
    "made a folder": _make_folder,
    "swapped or removed": _swap,
}


# --- what is promised ---


def _check(root: Path, name: str, way: str) -> None:
    is_store_json = name == "store.json"
    may_be_told = name.endswith("/value") and not name.startswith(".")

    told, _ = _calls(root)
    assert told <= is_store_json + may_be_told, f"{told} warnings"

    told, misses = _calls(root)
    if not is_store_json:
        assert (told, misses) == (0, 0), f"{told} warnings, {misses} misses next time"
    # A store that is not known to be ours is read but not written to: a warning for
    # each call that is computed. One whose `store.json` is gone gets a new one.
    assert told <= misses <= 1, f"{told} warnings, {misses} misses"
    if way == "emptied":
        assert misses == 0, "store.json is not made again"

    # What changes a store as a whole may refuse one that is not known to be ours.
    expected = (StoreError, OSError) if is_store_json else ()
    with contextlib.suppress(*expected):
        _keep_house(root)


def _calls(root: Path) -> tuple[int, int]:
    """Call all, as a new process; return how many warnings and misses there were."""
    with only_cache_warnings() as caught:
        memory = Memory(root)
        caller = Caller(memory)
        for number in (*STORED, MISSING):
            caller.ask(number)
    return len(caught), memory.tally().misses


def _keep_house(root: Path) -> None:
    """List, evict, count and clear."""
    memory, store = Memory(root, policy="cost"), LocalStore(root)
    listed = inspection.entries(store)
    assert len(listed) >= len(STORED), f"{len(listed)} entries are listed"
    memory.reduce_size(items_limit=2)
    left = list(store.entries())
    assert len(left) == 2, f"{len(left)} entries are left"
    store.add_hits({left[0].key: 1})
    assert store.hits()[left[0].key.path] >= 1
    memory.clear(warn=False)
    assert not [*store.entries()], "cleared"
