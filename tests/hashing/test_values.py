"""Each hard case of `tests.hashing.cases`, in this process and in another."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachekit.errors import UnhashableArgument
from cachekit.hashing import digest, hash, register_hasher  # noqa: A004
from cachekit.hashing.hasher import RECURSION_LIMIT
from cachekit.serialization import codec_from, read_value, write_value
from tests.hashing import cases

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden.json")


@pytest.mark.parametrize("values", cases.EQUAL.values(), ids=cases.EQUAL.keys())
def test_equal_values_share_a_digest(values: cases.Values) -> None:
    digests = {digest(value) for value in values()}

    assert len(digests) == 1


@pytest.mark.parametrize("values", cases.DIFFERENT.values(), ids=cases.DIFFERENT.keys())
def test_different_values_have_different_digests(values: cases.Values) -> None:
    digests = [digest(value) for value in values()]

    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("values", cases.EQUAL.values(), ids=cases.EQUAL.keys())
def test_a_value_hashed_twice_is_not_changed(values: cases.Values) -> None:
    value = values()[0]

    assert digest(value) == digest(value)


@pytest.mark.parametrize(
    "values",
    [*cases.EQUAL.values(), *cases.DIFFERENT.values()],
    ids=[*cases.EQUAL, *(f"different {name}" for name in cases.DIFFERENT)],
)
def test_a_digest_survives_storing(values: cases.Values) -> None:
    for value in values():
        if isinstance(value, memoryview):
            continue  # pickle knows no memoryview

        file = io.BytesIO()
        write_value(file, value, codec_from(False))
        file.seek(0)

        assert digest(read_value(file)) == digest(value)


@pytest.mark.parametrize(
    ("make", "path"), cases.REFUSED.values(), ids=cases.REFUSED.keys()
)
def test_what_has_no_content_is_refused_with_its_path(
    make: Callable[[], Any], path: str
) -> None:
    value = make()

    with pytest.raises(UnhashableArgument) as caught:
        digest(value)
    if hasattr(value, "close"):
        value.close()

    assert caught.value.path == path
    assert "ignore=" in str(caught.value)
    assert "register_hasher" in str(caught.value)


def test_a_generator_that_is_refused_is_not_consumed() -> None:
    numbers = iter(range(3))

    with pytest.raises(UnhashableArgument):
        digest(["a", numbers])

    assert list(numbers) == [0, 1, 2]


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_another_process_with_another_hash_seed_finds_the_same_digests(
    seed: str,
) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.hashing.cases"]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, check=True
    )

    assert json.loads(done.stdout) == cases.all_digests()


def test_digests_are_those_of_every_python_and_of_last_year() -> None:
    """If this fails on purpose, raise HASH_VERSION and write golden.json anew."""
    golden = json.loads(GOLDEN.read_text())

    assert cases.all_digests() == golden


def test_nesting_of_a_hundred_thousand_levels_is_hashed() -> None:
    value, other = cases.nested(100_000), cases.nested(100_001)

    assert digest(value) != digest(other)
    assert digest(value) == digest(cases.nested(100_000))


def test_recursion_and_the_list_of_nodes_give_the_same_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = [
        cases.nested(RECURSION_LIMIT + 20),
        {"deep": {"deeper": cases.cyclic_object, 1: {2, (3, 4)}}},
        cases.Plain(inner=cases.Plain(inner=[cases.Point(1, 2)] * 50)),
    ]
    by_recursion = digest(value)
    monkeypatch.setattr("cachekit.hashing.hasher.RECURSION_LIMIT", 2)

    assert digest(value) == by_recursion


def test_a_graph_that_doubles_sixty_times_is_hashed_at_once() -> None:
    # Unfolded it has 10¹⁸ leaves: this ends only because it is not.
    assert digest(cases.doubled(60)) != digest(cases.doubled(59))


def test_a_long_chain_of_objects_that_know_each_other_is_hashed() -> None:
    def chain(length: int) -> cases.Plain:
        first = node = cases.Plain(value=0, before=None)
        for value in range(1, length):
            after = cases.Plain(value=value, before=node)
            node.after = after  # type: ignore[attr-defined]
            node = after
        return first

    assert digest(chain(2000)) == digest(chain(2000))
    assert digest(chain(2000)) != digest(chain(2001))


def test_sets_of_objects_that_know_each_other_have_one_digest() -> None:
    def ring(names: str) -> set[cases.Plain]:
        nodes = [cases.Plain(name=name) for name in names]
        for node, neighbour in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
            node.around = {neighbour, node}  # type: ignore[attr-defined]
        return set(nodes)

    assert digest(ring("abcde")) == digest(ring("abcde"))
    assert digest(ring("abcde")) != digest(ring("abdce"))


def test_a_registered_type_counts_by_what_its_function_returns() -> None:
    class Connection:
        def __init__(self, address: str) -> None:
            self.address = address
            self.lock = object()

    with pytest.raises(UnhashableArgument):
        digest(Connection("a"))
    register_hasher(Connection, lambda connection: connection.address)

    assert digest([Connection("a")]) == digest([Connection("a")])
    assert digest(Connection("a")) != digest(Connection("b"))


def test_a_subclass_is_hashed_as_its_registered_base() -> None:
    class Base:
        name = "a"

    class Derived(Base):
        def __init__(self) -> None:
            self.lock = object()

    register_hasher(Base, lambda value: value.name)

    assert digest(Derived()) == digest(Derived())
    assert digest(Derived()) != digest(Base())


def test_register_hasher_wants_a_type() -> None:
    with pytest.raises(TypeError, match="takes a type first"):
        register_hasher("Connection", len)  # type: ignore[arg-type]


def test_hash_has_the_signature_of_joblib() -> None:
    assert hash([1], hash_name="sha1", coerce_mmap=True) == digest([1])
    assert hash({"a": {1, 2}}) == digest({"a": {2, 1}})
    with pytest.raises(ValueError, match="Valid options for 'hash_name' are"):
        hash([1], hash_name="sha256")  # type: ignore[arg-type]


def test_an_object_and_its_copies_share_a_digest_after_pickling_twice() -> None:
    value = {"a": [cases.Point(1, 2)] * 2, "b": cases.Slotted(1, 2)}
    twice = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(value))))

    assert digest(value) == digest(twice) == digest(copy.deepcopy(value))


def test_text_with_lone_surrogates_is_hashed() -> None:
    assert digest("\ud800") != digest("\ud801")


def test_the_layout_of_a_struct_is_what_it_is_made_of() -> None:
    layouts = [struct.Struct("<i"), struct.Struct("<q"), "<i"]

    digests = [digest(one) for one in layouts]

    assert digests[0] == digest(struct.Struct("<i"))
    assert digests[0] == "d0c5dfff7f7af0568aba8050de1d03ac"  # on every Python
    assert len({*digests}) == 3
