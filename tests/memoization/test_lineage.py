"""The record of a call: plain JSON, bounded, whatever the arguments are."""

from __future__ import annotations

import dataclasses
import json
import math
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import cachekit
from cachekit import Memory, Parallel, delayed
from cachekit.hashing import HASH_VERSION
from cachekit.memoization import Record
from cachekit.memoization.lineage import LONGEST_REPR, describe_arguments
from cachekit.memoization.running import listing_calls
from tests.memoization.project import only_value_file

RECORD = Record(
    function="analysis.fit",
    fingerprint="f" * 32,
    key="0" * 32,
    arguments={"x": {"digest": "1" * 32, "repr": "3"}},
    started="2024-05-06T07:08:09.010+00:00",
    seconds_computing=1.5,
    seconds_storing=0.25,
    value_bytes=100,
    host="host",
    python="3.11.7",
    cachekit="0.1",
    hash_version=1,
)


def described(value: object) -> str:
    """Return the text that stands for an argument in a record."""
    facts = describe_arguments({"x": value}, {"x": "0" * 32})
    return facts["x"]["repr"]


# --- JSON ---


def test_a_record_is_the_same_after_a_round_trip() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD


def test_a_record_is_plain_json_that_a_person_can_read() -> None:
    content = RECORD.to_json()

    assert json.loads(content) == dataclasses.asdict(RECORD)
    assert content.endswith(b"}\n")
    assert content.count(b"\n") > len(dataclasses.fields(Record))


def test_a_stored_call_has_a_record_of_the_facts(tmp_path: Path) -> None:
    def fit(x: int, *rest: int, rounds: int = 10, verbose: bool = False) -> int:
        return x + sum(rounds for _ in rest) + verbose

    before = datetime.now(UTC)
    memory = Memory(tmp_path / "store")
    memory.cache(fit, ignore=["verbose"])(3, 4)

    value = only_value_file(tmp_path / "store")
    record = Record.from_json(value.with_name("record.json").read_bytes())

    assert record.function == f"{__name__}.{fit.__qualname__}"
    assert (record.fingerprint, record.key) == (
        value.parents[2].name,
        value.parents[1].name + value.parent.name,
    )
    assert {name: facts["repr"] for name, facts in record.arguments.items()} == {
        "x": "3",
        "rest": "(4,)",
        "rounds": "10",
    }
    assert record.arguments["x"]["digest"] == cachekit.digest(3)
    started = datetime.fromisoformat(record.started)
    assert -0.001 <= (started - before).total_seconds() < 60
    assert record.value_bytes == value.stat().st_size
    assert 0 <= record.seconds_computing < 60
    assert 0 <= record.seconds_storing < 60
    assert (record.cachekit, record.hash_version) == (
        cachekit.__version__,
        HASH_VERSION,
    )


def test_fields_of_a_later_version_are_left_out() -> None:
    facts = {**dataclasses.asdict(RECORD), "mood": "good"}

    assert Record.from_json(json.dumps(facts).encode()) == RECORD


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff\xfe\xfa", b"\0" * 100, b"not json"),
        *(b"null", b"true", b"3", b'"text"', b"[]", b"[1]", b"{}"),
        b'["function", "key"]',
        b'{"function": "f"}',
        RECORD.to_json()[:-20],
        RECORD.to_json() * 2,
    ],
)
def test_what_is_no_record_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (JSON has its own texts)
        Record.from_json(content)


@pytest.mark.parametrize(
    "facts",
    [
        {"seconds_computing": None},
        {"seconds_computing": "long"},
        {"function": 3},
        {"arguments": None},
        {"arguments": ["x"]},
        {"arguments": {"x": "3"}},
    ],
)
def test_a_field_of_another_type_is_a_value_error(facts: dict[str, Any]) -> None:
    content = json.dumps({**dataclasses.asdict(RECORD), **facts}).encode()

    with pytest.raises(ValueError, match="not the record of a call"):
        Record.from_json(content)


# --- the text of an argument ---


class Raises:
    def __repr__(self) -> NoReturn:
        raise RuntimeError("no")


class Huge:
    def __repr__(self) -> str:
        return "x" * 10_000_000


class Lines:
    def __repr__(self) -> str:
        return "one\n   two\tthree\r\x1b[31m"


class HostileAttributes:
    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"no {name} here")


class ShapeRaises:
    """As a closed file of arrays is."""

    @property
    def shape(self) -> NoReturn:
        raise ValueError("closed")


class Endless:
    def __repr__(self) -> str:
        return repr(self)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (0.1, "0.1"),
        (None, "None"),
        ("text", "'text'"),
        ([1, 2], "[1, 2]"),
        ({"a": (1,)}, "{'a': (1,)}"),
        (np.zeros((3, 4)), "<ndarray (3, 4) of float64>"),
        (len, "<built-in function len>"),
    ],
)
def test_an_argument_is_described_as_a_person_would_write_it(
    value: object, text: str
) -> None:
    assert described(value) == text


def test_a_scalar_is_shown_with_its_value() -> None:
    assert "0.25" in described(np.float32(0.25))


@pytest.mark.parametrize(
    "value",
    [
        *("x" * 1000, b"x" * 1000, list(range(10_000)), dict.fromkeys(range(10_000))),
        *(10**4000, 10**10_000, set(range(10_000)), [[[[[[["deep"] * 9]]]]]] * 9),
        *(np.zeros(10_000), np.zeros((1,) * 60), [np.zeros(10_000)]),
        *(Huge(), Raises(), Endless(), HostileAttributes(), ShapeRaises()),
        *({"key" * 100: Huge()}, [Raises()] * 100, "größe" * 100, "\ud800" * 100),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_argument_is_described_in_bounded_text(value: object) -> None:
    text = described(value)

    assert 0 < len(text) <= LONGEST_REPR
    json.dumps(text).encode()


def test_a_repr_that_raises_is_named() -> None:
    assert "Raises" in described(Raises())


def test_a_hostile_argument_does_not_keep_a_result_from_being_stored(
    tmp_path: Path,
) -> None:
    memory = Memory(tmp_path)
    cached = memory.cache(lambda *, text, array: len([text, array]))

    assert [cached(text=Raises(), array=ShapeRaises()) for _ in range(2)] == [2, 2]
    assert memory.tally().hits == 1


@pytest.mark.parametrize("value", [Lines(), [Lines()], [np.eye(3)], {"a": np.eye(3)}])
def test_a_description_is_one_line(value: object) -> None:
    text = described(value)

    assert text.isprintable()


@pytest.mark.parametrize(
    "value", [b"x" * 4_000_000, bytearray(4_000_000), "x" * 4_000_000]
)
def test_describing_a_large_argument_takes_little_memory(value: object) -> None:
    tracemalloc.start()
    try:
        described(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000


def test_a_number_that_is_not_finite_can_be_read_back() -> None:
    record = dataclasses.replace(RECORD, seconds_computing=math.inf)

    assert Record.from_json(record.to_json()) == record


def test_calls_of_a_block_are_listed_but_for_those_inside_others(
    memory: Memory,
) -> None:
    @memory.cache
    def inner(x: int) -> int:
        return x

    @memory.cache
    def outer(x: int) -> int:
        return inner(x) + 1

    inner(0)
    with listing_calls() as listed:
        outer(1)
        tasks = (delayed(inner)(x) for x in (2, 2))
        Parallel(n_jobs=2, backend="threading")(tasks)
        outer(1)
    inner(3)

    names = [key.function.rpartition(".")[2] for key in listed]
    assert names == ["outer", "inner"]
