"""An edit that changes no result, as its author says: older results count."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachekit import CacheMiss, Memory, Parallel, delayed, inspection
from cachekit.memoization.accepting import (
    Acceptance,
    read_acceptances,
    resolved_versions,
    write_acceptance,
)
from cachekit.stores import DictStore, LocalStore, ReadOnlyStore, TieredStore

computed: list[Any] = []

OLD, NEW, OTHER = "2 * x", "x + x", "x * 2 + 0"

KINDS = {
    "function": "def f(x):\n    computed.append(x)\n    return {}",
    "coroutine": "async def f(x):\n    computed.append(x)\n    return {}",
    "generator": "def f(x):\n    computed.append(x)\n    yield {}",
    "async generator": "async def f(x):\n    computed.append(x)\n    yield {}",
}


async def last_of(items: Any) -> Any:
    return [item async for item in items].pop()


CALLS: dict[str, Callable[[Any, int], Any]] = {
    "function": lambda f, x: f(x),
    "coroutine": lambda f, x: asyncio.run(f(x)),
    "generator": lambda f, x: list(f(x))[-1],
    "async generator": lambda f, x: asyncio.run(last_of(f(x))),
}


def version(body: str, kind: str = "function") -> Any:
    """Return a function of the one name, as code has it now."""
    names: dict[str, Any] = {"__name__": "lab", "computed": computed}
    exec(KINDS[kind].format(body), names)
    return names["f"]


def cached(memory: Memory, body: str, kind: str = "function") -> Any:
    return memory.cache(version(body, kind), track="self")


@pytest.fixture(autouse=True)
def nothing_computed() -> None:
    computed.clear()


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_older_version_has_stored_is_a_hit(store: Path, kind: str) -> None:
    call = CALLS[kind]
    assert call(cached(Memory(store), OLD, kind), 3) == 6
    new = cached(Memory(store), NEW, kind)

    inspection.accept(inspection.propose(new))

    assert call(new, 3) == 6
    assert computed == [3]
    assert call(new, 4) == 8
    assert call(cached(Memory(store), OLD, kind), 4) == 8
    assert computed == [3, 4]


def test_every_way_to_ask_finds_it(store: Path) -> None:
    old = cached(Memory(store), OLD)
    reference = old.call_and_shelve(3)
    new = cached(Memory(store), NEW)
    inspection.accept(inspection.propose(new))

    assert new.check_call_in_cache(3)
    assert new.lookup(3) == reference
    assert new.call_and_shelve(3) == reference
    assert new.map([3, 3]) == [6, 6]
    assert new.explain(3).is_hit
    assert new.explain_again().is_hit
    assert Parallel(n_jobs=1)([delayed(new)(3)]) == [6]
    assert new.fingerprint() == old.fingerprint()
    assert computed == [3]


def test_it_holds_for_the_code_that_was_accepted(store: Path) -> None:
    cached(Memory(store), OLD)(3)
    inspection.accept(inspection.propose(cached(Memory(store), NEW)))

    cached(Memory(store), OTHER)(3)

    assert computed == [3, 3]


def test_it_holds_for_the_function_that_was_accepted(store: Path) -> None:
    cached(Memory(store), OLD)(3)
    inspection.accept(inspection.propose(cached(Memory(store), NEW)))
    (one,) = inspection.read_acceptances(LocalStore(store))

    assert resolved_versions([one], "lab.f") == {one.fingerprint: one.counts_as}
    assert resolved_versions([one], "lab.g") == {}


def test_a_second_edit_counts_as_the_first_version(store: Path) -> None:
    memory = Memory(store)
    cached(memory, OLD)(3)
    inspection.accept(inspection.propose(cached(memory, NEW)))

    inspection.accept(inspection.propose(cached(memory, OTHER)))

    assert cached(memory, OTHER)(3) == 6
    assert computed == [3]
    inspection.withdraw(cached(memory, NEW))
    assert cached(memory, OTHER)(3) == 6
    assert computed == [3, 3]


def test_of_two_that_count_as_each_other_the_last_said_holds(store: Path) -> None:
    memory = Memory(store)
    old, new = cached(memory, OLD), cached(memory, NEW)
    old(3)
    new(3)
    inspection.accept(inspection.propose(new))
    prints = old.fingerprint()
    assert new.fingerprint() == prints

    inspection.accept(inspection.propose(old))

    assert new.fingerprint() == old.fingerprint() != prints
    assert len(inspection.read_acceptances(LocalStore(store))) == 1


def test_a_circle_of_documents_has_an_end() -> None:
    circle = [
        Acceptance(function="lab.f", fingerprint=one, counts_as=other, at="", by="")
        for one, other in ("ab", "bc", "ca")
    ]

    assert resolved_versions(circle, "lab.f").keys() == {"a", "b", "c"}


def test_a_version_whose_results_are_gone_does_not_count(store: Path) -> None:
    memory = Memory(store)
    old = cached(memory, OLD)
    old(3)
    new = cached(memory, NEW)
    inspection.accept(inspection.propose(new))

    memory.clear(warn=False)

    assert inspection.read_acceptances(LocalStore(store)) == []
    new = cached(Memory(store), NEW)
    assert new(3) == 6
    assert new.fingerprint() != old.fingerprint()
    (path,) = store.glob("lab.f/*/code.json")
    assert path.parent.name == new.fingerprint()


def test_another_process_needs_the_secret_to_accept(store: Path) -> None:
    secret = "0123456789abcdef"
    cached(Memory(store, signing_key=secret), OLD)(3)
    proposal = inspection.propose(cached(Memory(store, signing_key=secret), NEW))
    forged = Acceptance(
        function="lab.f",
        fingerprint=proposal.fingerprint,
        counts_as=proposal.counts_as,
        at="2026-11-22T00:00:00+00:00",
        by="mallory",
    )
    write_acceptance(LocalStore(store), forged, None)
    cached(Memory(store, signing_key=secret), NEW)(3)
    assert computed == [3, 3]

    inspection.accept(proposal)

    cached(Memory(store, signing_key=secret), NEW)(3)
    assert computed == [3, 3]
    assert len(read_acceptances(LocalStore(store), secret.encode())) == 1


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"function": 3}']
)
def test_what_is_damaged_is_not_accepted(store: Path, content: bytes) -> None:
    cached(Memory(store), OLD)(3)
    inspection.accept(inspection.propose(cached(Memory(store), NEW)))
    (path,) = (store / ".accepted").iterdir()
    path.write_bytes(content)

    assert cached(Memory(store), NEW)(3) == 6

    assert computed == [3, 3]


@pytest.mark.parametrize("counts_as", [["x"], {}, 3, None, "../..", ""])
def test_an_odd_version_is_not_accepted(store: Path, counts_as: object) -> None:
    cached(Memory(store), OLD)(3)
    inspection.accept(inspection.propose(cached(Memory(store), NEW)))
    (path,) = (store / ".accepted").iterdir()
    facts = json.loads(path.read_bytes())
    path.write_text(json.dumps({**facts, "counts_as": counts_as}))

    assert cached(Memory(store), NEW)(3) == 6

    assert computed == [3, 3]


def test_it_is_plain_json(store: Path) -> None:
    cached(Memory(store), OLD)(3)
    proposal = inspection.propose(cached(Memory(store), NEW))

    inspection.accept(proposal, checked=2)

    (path,) = (store / ".accepted").iterdir()
    facts = json.loads(path.read_bytes())
    assert path.name == f"lab.f.{proposal.fingerprint}.json"
    assert facts["counts_as"] == proposal.counts_as
    assert facts["checked"] == 2


def test_a_far_store_is_asked_when_it_is_needed(tmp_path: Path) -> None:
    near, far = LocalStore(tmp_path / "near"), _Far()
    memory = Memory([near, far])
    cached(memory, OLD)(3)
    memory.flush()
    inspection.accept(inspection.propose(cached(memory, NEW)))
    far.is_at_hand, far.listings = False, 0
    other = Memory([LocalStore(tmp_path / "other"), far])
    new = cached(other, NEW)

    new(5)  # which asks the far store anyway
    hits = [new(3), new(3)]

    assert hits == [6, 6]
    assert computed == [3, 5]
    assert far.listings == 1


@pytest.mark.parametrize("kind", ["coroutine", "async generator"])
def test_the_loop_goes_on_while_a_far_store_is_asked(tmp_path: Path, kind: str) -> None:
    far = _Far()
    far.is_at_hand = False
    new = cached(Memory([LocalStore(tmp_path), far]), NEW, kind)

    assert CALLS[kind](new, 3) == 6

    assert far.listings == 1
    assert threading.get_ident() not in far.listed_by


class _Far(DictStore):
    """A store that takes a connection, and notes how often it is listed, and where."""

    is_at_hand = True
    listings = 0

    def __init__(self) -> None:
        super().__init__()
        self.listed_by: list[int] = []

    @property
    def is_connected(self) -> bool:
        return self.is_at_hand

    def documents(self, folder: str) -> list[str]:
        self.listings += 1
        self.listed_by.append(threading.get_ident())
        return super().documents(folder)


def test_a_run_of_hits_near_connects_to_no_far_store(tmp_path: Path) -> None:
    near, far = LocalStore(tmp_path / "near"), _Far()
    memory = Memory([near, far])
    cached(memory, OLD)(3)
    memory.flush()
    far.is_at_hand, far.listings = False, 0

    cached(Memory([near, far]), OLD)(3)

    assert far.listings == 0
    assert isinstance(memory.store, TieredStore)


def test_a_memory_that_computes_nothing_counts_it_too(store: Path) -> None:
    cached(Memory(store), OLD)(3)
    inspection.accept(inspection.propose(cached(Memory(store), NEW)))

    frozen = cached(Memory(store, only_hits=True, read_only=True), NEW)

    assert isinstance(frozen.store_backend, ReadOnlyStore)
    assert frozen(3) == 6
    with pytest.raises(CacheMiss):
        frozen(4)


def test_what_counts_is_not_stale(store: Path) -> None:
    memory = Memory(store)
    cached(memory, OLD)(3)
    cached(memory, NEW)(3)  # used last
    inspection.accept(inspection.propose(cached(memory, NEW)))
    local = LocalStore(store)

    reports = {one.fingerprint: one.is_stale for one in inspection.versions(local)}
    leaving = inspection.to_prune(local, inspection.Criteria(stale=True))

    proposal = inspection.propose(cached(memory, NEW))
    assert reports == {proposal.counts_as: False, proposal.fingerprint: True}
    assert [one.key.fingerprint for one in leaving] == [proposal.fingerprint]


def test_nothing_older_is_told(store: Path) -> None:
    new = cached(Memory(store), NEW)
    new(3)

    with pytest.raises(KeyError, match="nothing is stored of an older version of lab"):
        inspection.propose(new)
    with pytest.raises(ValueError, match="is not a cached function"):
        inspection.propose(version(NEW), store=LocalStore(store))


def test_a_version_goes_by_its_first_digits(store: Path) -> None:
    memory = Memory(store)
    cached(memory, OLD)(3)
    cached(memory, OTHER)(3)
    older = cached(memory, OLD).fingerprint()
    new = cached(memory, NEW)

    assert inspection.propose(new, version=older[:6]).counts_as == older
    with pytest.raises(KeyError, match="no older version begins with zz: there are"):
        inspection.propose(new, version="zz")
    with pytest.raises(KeyError, match="several versions begin with"):
        inspection.propose(new, version="")


def test_a_lost_description_is_told(store: Path) -> None:
    cached(Memory(store), OLD)(3)
    (path,) = store.glob("lab.f/*/code.json")
    path.unlink()

    with pytest.raises(KeyError, match=r"the description of version .* is missing"):
        inspection.propose(cached(Memory(store), NEW))
