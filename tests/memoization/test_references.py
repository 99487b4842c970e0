"""References: results that are not loaded, and count by their value's digest."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import secrets
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import cachekit
from cachekit import CacheWarning, EntryNotFound, MemorizedResult, Memory
from cachekit.memoization import NotMemorizedResult
from cachekit.stores import DictStore, EntryKey
from tests.memoization.project import Project, only_value_file, value_files


def roll(sides: int = 6) -> str:
    """Return something else each time it is computed."""
    return f"{sides}:{secrets.token_hex(8)}"


def square(x: int) -> int:
    return x * x


def use(reference: Any) -> str:  # noqa: ARG001  (it is in the key)
    """Return something else each time it is computed."""
    return secrets.token_hex()


def get(reference: Any) -> Any:
    """Get a result in another process."""
    return reference.get()


def hide(value: Path) -> None:
    """Have a value be unreadable, so that who loads it cannot go on."""
    value.write_bytes(b"garbage")


# --- get and clear ---


def test_a_reference_gives_the_result(memory: Memory) -> None:
    cached = memory.cache(roll)

    reference = cached.call_and_shelve(6)

    assert reference.get() == cached(6) == reference.get()
    assert memory.tally().misses == 1


def test_shelving_a_stored_result_does_not_load_it(memory: Memory, store: Path) -> None:
    cached = memory.cache(roll)
    cached(6)
    hide(only_value_file(store))

    reference = cached.call_and_shelve(6)

    assert isinstance(reference, MemorizedResult)
    assert cached.cache_info()[:2] == (1, 1)


@pytest.mark.parametrize("mode", ["r", "c", None])
def test_a_reference_maps_as_its_function_does(store: Path, mode: Any) -> None:
    cached = Memory(store).cache(lambda: np.zeros(1000), mmap_mode=mode)
    reference = cached.call_and_shelve()

    for each in (reference, pickle.loads(pickle.dumps(reference))):
        assert each.mmap_mode == mode
        assert isinstance(each.get(), np.memmap) == (mode is not None)


def test_a_cleared_result_is_gone_for_all(memory: Memory) -> None:
    cached = memory.cache(roll)
    reference, other = cached.call_and_shelve(6), cached.call_and_shelve(6)

    reference.clear()
    reference.clear()

    with pytest.raises(KeyError, match="there is no result"):
        other.get()
    assert cached.lookup(6) is None


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 10_000])
def test_a_damaged_result_is_a_key_error(
    memory: Memory, store: Path, content: bytes
) -> None:
    reference = memory.cache(roll).call_and_shelve(6)
    only_value_file(store).write_bytes(content)

    with pytest.raises(KeyError, match="corrupted"):
        reference.get()
    with pytest.raises(EntryNotFound):
        reference.get()


def test_a_truncated_result_that_is_mapped_is_a_key_error(
    memory: Memory, store: Path
) -> None:
    cached = memory.cache(lambda: np.zeros(10_000), mmap_mode="r")
    reference = cached.call_and_shelve()
    os.truncate(only_value_file(store), 5000)

    with pytest.raises(KeyError, match="corrupted"):
        reference.get()


def test_what_cannot_be_stored_is_shelved_in_memory(memory: Memory) -> None:
    cached = memory.cache(threading.Lock)

    with pytest.warns(CacheWarning, match="could not be stored"):
        shelved = cached.call_and_shelve()

    assert isinstance(shelved, NotMemorizedResult)
    assert shelved.get().acquire(blocking=False)
    shelved.clear()
    with pytest.raises(KeyError):
        shelved.get()


def test_without_a_location_results_are_shelved_in_memory() -> None:
    shelved = Memory().cache(square).call_and_shelve(3)

    assert isinstance(shelved, NotMemorizedResult)
    assert shelved.get() == 9
    assert repr(shelved) == "NotMemorizedResult(9)"
    assert pickle.loads(pickle.dumps(shelved)).get() == 9


# --- what it says ---


def test_a_reference_tells_what_is_known_of_the_call(
    memory: Memory, store: Path
) -> None:
    cached: Any = memory.cache(roll)

    reference = cached.call_and_shelve(6)

    assert reference.func == reference.func_id == cached.func_id
    assert reference.location == str(store)
    assert reference.args_id in repr(reference)
    assert "roll" in repr(reference)
    assert reference.metadata["input_args"] == {"sides": "6"}
    assert 0 <= reference.duration < 60
    assert abs(reference.timestamp - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_reference_to_a_result_that_is_gone_says_nothing(memory: Memory) -> None:
    reference = memory.cache(roll).call_and_shelve(6)
    assert reference.metadata

    reference.clear()

    assert (reference.metadata, reference.duration, reference.timestamp) == (
        {},
        None,
        None,
    )


def test_references_to_one_call_are_equal(memory: Memory, tmp_path: Path) -> None:
    cached = memory.cache(roll)
    one, two = cached.call_and_shelve(6), cached.call_and_shelve(sides=6)
    elsewhere = Memory(tmp_path / "other").cache(roll).call_and_shelve(6)

    assert one == two
    assert len({one, two, pickle.loads(pickle.dumps(one))}) == 1
    assert one != cached.call_and_shelve(8)
    assert one != elsewhere
    assert one != "text"


# --- elsewhere ---


@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_a_reference_survives_a_pickle(memory: Memory, library: Any) -> None:
    cached = memory.cache(roll)
    reference = cached.call_and_shelve(6)

    other = library.loads(library.dumps(reference))

    assert other == reference
    assert other.get() == reference.get()
    assert cachekit.digest(other) == cachekit.digest(reference)


def test_a_spawned_process_gets_the_result(memory: Memory) -> None:
    reference = memory.cache(roll).call_and_shelve(6)

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(get, (reference,))

    assert result == reference.get()


def test_a_worker_of_loky_gets_the_result(memory: Memory) -> None:
    loky = pytest.importorskip("loky")
    reference = memory.cache(lambda: roll(6)).call_and_shelve()
    executor = loky.ProcessPoolExecutor(1)
    try:
        result = executor.submit(get, reference).result(timeout=60)
    finally:
        executor.shutdown(wait=True)

    assert result == reference.get()


def test_a_reference_can_be_written_out(memory: Memory, store: Path) -> None:
    reference = memory.cache(roll).call_and_shelve(6)
    project = Project(store.parent)
    project.write(
        "other.py",
        f"""
        from cachekit import MemorizedResult
        reference = MemorizedResult("store", {tuple(reference.key)!r})
        """,
    )

    assert project.ask("other.reference.get()") == [reference.get()]


@pytest.mark.parametrize(
    "call_id",
    [
        (),
        ("f", "abc"),
        ("f", "abc", 3),
        ("f", "..", ".."),
        ("f", "a/../..", "00"),
        ("f", "", ""),
    ],
)
def test_a_call_that_is_none_is_an_error(store: Path, call_id: Any) -> None:
    with pytest.raises(ValueError, match="call_id="):
        MemorizedResult(store, call_id)


def test_a_reference_written_out_maps_as_it_is_told(store: Path) -> None:
    key = Memory(store).cache(lambda: np.zeros(1000)).call_and_shelve().key

    read = MemorizedResult(store, key).get()
    mapped = MemorizedResult(Memory(store), key, mmap_mode="r").get()

    assert type(read) is np.ndarray
    assert isinstance(mapped, np.memmap)
    with pytest.raises(ValueError, match="mmap_mode"):
        MemorizedResult(store, key, mmap_mode="x")


def test_a_call_of_an_empty_store_has_no_result(store: Path) -> None:
    reference = MemorizedResult(store, EntryKey("f", "0" * 32, "1" * 32))

    with pytest.raises(KeyError):
        reference.get()
    assert reference.metadata == {}
    assert not store.exists()


def test_a_signed_result_is_got_with_the_secret_alone(store: Path) -> None:
    secret = secrets.token_bytes(32)
    reference = Memory(store, signing_key=secret).cache(roll).call_and_shelve(6)
    assert pickle.loads(pickle.dumps(reference)).get() == reference.get()

    other = Memory(store, signing_key=secrets.token_bytes(32))
    with pytest.raises(KeyError):
        MemorizedResult(other, reference.key).get()


# --- as an argument ---


def test_references_to_equal_values_are_one_argument(memory: Memory) -> None:
    cached, step = memory.cache(square), memory.cache(use)

    result = step(cached.call_and_shelve(3))

    assert step(cached.call_and_shelve(-3)) == result
    assert step(cached.call_and_shelve(4)) != result
    assert step(9) != result


@pytest.mark.parametrize(
    "wrap",
    [
        lambda reference: reference,
        lambda reference: [reference],
        lambda reference: {"a": (reference, 1)},
    ],
)
def test_a_reference_as_an_argument_is_never_loaded(
    memory: Memory, store: Path, wrap: Any
) -> None:
    cached, step = memory.cache(lambda: np.zeros(1000)), memory.cache(use)
    reference = cached.call_and_shelve()
    hide(only_value_file(store))

    result = step(wrap(reference))

    assert step(wrap(cached.call_and_shelve())) == result
    assert step(wrap(pickle.loads(pickle.dumps(reference)))) == result


def test_a_reference_to_a_value_that_was_replaced_is_another_argument(
    memory: Memory,
) -> None:
    cached, step = memory.cache(square), memory.cache(lambda r: r.get())
    reference = cached.call_and_shelve(3)
    assert step(reference) == 9

    cached.put(10, 3)

    assert reference.get() == 10
    assert step(reference) == 10
    assert step(cached.call_and_shelve(3)) == 10


class Nameless:
    """Can be stored, and has no digest."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __cachekit_hash__(self) -> Any:
        raise cachekit.UnhashableArgument("no digest")


def test_a_value_without_a_digest_counts_by_its_call(memory: Memory) -> None:
    cached, step = memory.cache(Nameless), memory.cache(lambda r: r.get().x)
    reference = cached.call_and_shelve(3)

    assert [step(reference), step(reference)] == [3, 3]
    assert memory.tally().hits == 1
    cached.put(Nameless(4), 3)
    assert step(reference) == 4


def test_a_generator_can_be_shelved(memory: Memory) -> None:
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    cached, step = memory.cache(count), memory.cache(use)
    list(cached(3))

    reference = cached.lookup(3)

    assert reference is not None
    results = {step(reference) for _ in range(2)}
    assert len(results) == 1


def test_a_reference_to_a_result_that_is_gone_can_be_handed_on(memory: Memory) -> None:
    cached = memory.cache(roll)
    reference = cached.call_and_shelve(6)
    reference.clear()

    with pytest.raises(KeyError, match="there is no result"):
        memory.cache(lambda r: r.get())(reference)

    again = cached.call_and_shelve(6)
    assert memory.cache(lambda r: r.get())(again) == again.get()


def test_a_shelved_value_in_memory_counts_by_the_value(memory: Memory) -> None:
    uncached, step = Memory().cache(square), memory.cache(use)

    result = step(uncached.call_and_shelve(3))

    assert step(uncached.call_and_shelve(-3)) == result
    assert step(uncached.call_and_shelve(4)) != result


def test_references_to_a_dictionary_work_too() -> None:
    memory = Memory(DictStore())
    cached, step = memory.cache(square), memory.cache(use)

    assert cached.call_and_shelve(3).get() == 9
    assert step(cached.call_and_shelve(3)) == step(cached.call_and_shelve(-3))


def test_a_chain_by_references_loads_nothing(memory: Memory, store: Path) -> None:
    begin = memory.cache(lambda: np.arange(100_000.0))
    step = memory.cache(lambda reference, k: reference.get() + k)

    def chain() -> Any:
        reference = begin.call_and_shelve()
        for k in range(4):
            reference = step.call_and_shelve(reference, k)
        return reference

    first = chain()
    expected = first.get()
    for path in value_files(store):
        hide(path)

    assert chain() == first
    assert memory.tally()[:2] == (5, 5)
    assert expected[-1] == 99_999 + 6
