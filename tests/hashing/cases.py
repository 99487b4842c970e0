"""Values whose digests must be equal, must differ, or must be refused.

Each case makes its values anew, so that a second process, under another hash seed or
another Python, makes them again. Run as a script, this prints all digests as JSON.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import json
import operator
import pathlib
import pickle
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cachekit.hashing import digest

Values = Callable[[], list[Any]]


class Pair(NamedTuple):
    x: int
    y: int


class OtherPair(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Point:
    x: int
    y: int


@dataclasses.dataclass
class OtherPoint:
    x: int
    y: int


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: int, b: int) -> None:
        self.a = a
        self.b = b


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    @functools.cached_property
    def costly(self) -> int:
        return 42

    def method(self) -> int:
        return 1


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Fruit(enum.Enum):
    RED = 1


class Listed(list[int]):
    pass


class Mapped(dict[Any, Any]):
    pass


class Gathered(set[int]):
    pass


class Worded(str):
    pass


class Numbered(int):
    pass


class Told:
    """Says itself what counts."""

    def __init__(self, name: str, session: object) -> None:
        self.name = name
        self.session = session

    def __cachekit_hash__(self) -> object:
        return self.name


def with_attribute(value: Any, name: str, content: object) -> Any:
    setattr(value, name, content)
    return value


def after(value: Any, *steps: Callable[[Any], object]) -> Any:
    for step in steps:
        step(value)
    return value


def joined(*parts: str) -> str:
    """Make a string that is an object of its own."""
    return "".join(parts)


def cyclic_list() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def cyclic_dict() -> dict[str, Any]:
    value: dict[str, Any] = {"a": 1}
    value["self"] = [value]
    return value


def cyclic_object() -> Plain:
    parent, child = Plain(name="parent"), Plain(name="child")
    parent.child, child.parent = child, parent  # type: ignore[attr-defined]
    return parent


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def doubled(depth: int) -> list[Any]:
    value: list[Any] = [1]
    for _ in range(depth):
        value = [value, value]
    return value


def unfolded(depth: int) -> list[Any]:
    return [1] if depth == 0 else [unfolded(depth - 1), unfolded(depth - 1)]


def adder(step: int) -> Callable[[int], int]:
    def add(x: int, scale: int = 1) -> int:
        return (x + step) * scale

    return add


def counter() -> Iterator[int]:
    yield 1


EQUAL: dict[str, Values] = {
    "one string or two": lambda: [
        ["aa"] * 2,
        [joined("a", "a"), joined("a", "a")],
    ],
    "one list or two": lambda: [[t := [*range(50)], t], [[*range(50)], [*range(50)]]],
    "one small list or two": lambda: [[t := [1, 2], t], [[1, 2], [1, 2]]],
    "one tuple or two": lambda: [[t := (1, "a"), t], [(1, "a"), (1, joined("a"))]],
    "one object or two": lambda: [[t := Point(1, 2), t], [Point(1, 2), Point(1, 2)]],
    "dict order": lambda: [{"a": 1, "b": [2]}, {"b": [2], "a": 1}],
    "dict order, mixed keys": lambda: [
        {"a": 1, 2: 3, (1, 2): 4, None: 5, frozenset([1]): 6},
        {frozenset([1]): 6, None: 5, (1, 2): 4, 2: 3, "a": 1},
    ],
    "dict order, keys that cannot be compared": lambda: [
        {1j: 1, Colour.RED: 2, Colour.BLUE: 3},
        {Colour.BLUE: 3, Colour.RED: 2, 1j: 1},
    ],
    "defaultdict and Counter order": lambda: [
        [collections.defaultdict(int, a=1, b=2), collections.Counter("aab")],
        [collections.defaultdict(int, b=2, a=1), collections.Counter("baa")],
    ],
    "set order": lambda: [
        {"a", "b", "c", 1, None, (1, 2)},
        {(1, 2), None, 1, "c", "b", "a"},
    ],
    "set order, tuples that cannot be compared": lambda: [
        {("a", 1), ("a", None)},
        {("a", None), ("a", 1)},
    ],
    "set order, tuples of several lengths": lambda: [
        {("a",), ("a", 1), ("a", None)},
        {("a", None), ("a", 1), ("a",)},
    ],
    "nested frozensets": lambda: [
        {frozenset("ab"): frozenset([frozenset("cd"), 1])},
        {frozenset("ba"): frozenset([1, frozenset("dc")])},
    ],
    "set subclass order": lambda: [Gathered([1, 200, 3]), Gathered([3, 200, 1])],
    "NaN of the same bits": lambda: [
        [float("nan"), {"x": float("nan")}],
        [float("nan"), {"x": float("nan")}],
    ],
    "attribute order": lambda: [Plain(a=1, b=2), Plain(b=2, a=1)],
    "slots": lambda: [Slotted(1, 2), Slotted(1, 2)],
    "cached property filled or not": lambda: [
        Plain(a=1),
        after(Plain(a=1), lambda value: value.costly),
    ],
    "before and after pickling": lambda: [
        value := [Point(1, 2), Plain(a=[1]), Pair(1, 2), Colour.RED, Listed([1])],
        pickle.loads(pickle.dumps(value)),
        copy.deepcopy(value),
    ],
    "cyclic list": lambda: [cyclic_list(), cyclic_list(), copy.deepcopy(cyclic_list())],
    "cyclic dict": lambda: [cyclic_dict(), copy.deepcopy(cyclic_dict())],
    "cyclic object": lambda: [cyclic_object(), copy.deepcopy(cyclic_object())],
    "cyclic value beside others": lambda: [
        [c := cyclic_list(), c, [1]],
        [c := cyclic_list(), c, [1]],
    ],
    "doubling graph and its tree": lambda: [doubled(10), unfolded(10)],
    "random generators of one seed": lambda: [random.Random(1), random.Random(1)],
    "functions of one source": lambda: [adder(1), adder(1)],
    "partials": lambda: [
        functools.partial(int, base=2),
        functools.partial(int, base=2),
    ],
    "bound methods": lambda: [Plain(a=1).method, Plain(a=1).method],
    "what a value says of itself": lambda: [Told("a", object()), Told("a", object())],
    "memoryview of bytes": lambda: [memoryview(b"ab"), memoryview(b"ab")],
}

DIFFERENT: dict[str, Values] = {
    "numbers": lambda: [1, 1.0, True, decimal.Decimal(1), 1 + 0j, "1", b"1", [1], (1,)],
    "zero and False": lambda: [0, False, 0.0, -0.0, None],
    "signed zeros": lambda: [complex(0, 0.0), complex(0, -0.0), complex(-0.0, 0.0)],
    "close numbers": lambda: [0.1, 0.1 + 1e-12, -1, 255, 128, -128, 10**40, 10**40 + 1],
    "kinds of text": lambda: [
        b"a",
        "a",
        bytearray(b"a"),
        memoryview(b"a"),
        Worded("a"),
    ],
    "where text is cut": lambda: [["ab", "c"], ["a", "bc"], ["abc"]],
    "where lists nest": lambda: [[[], [[]]], [[[]], []], [[[], []]], [[], [], []]],
    "text that looks like a stream": lambda: [["a", "b"], ["astr:b"], ["a\x8c\x01b"]],
    "empty values": lambda: [
        [],
        (),
        {},
        set(),
        frozenset(),
        "",
        b"",
        None,
        0,
        collections.OrderedDict(),
    ],
    "OrderedDict order and content": lambda: [
        collections.OrderedDict(a=1, b=2),
        collections.OrderedDict(b=2, a=1),
        collections.OrderedDict([("a", 1), (1, 2)]),
        collections.OrderedDict([("a", 1), (1, 99)]),
        {"a": 1, "b": 2},
    ],
    "dict subclasses with keys that have no order": lambda: [
        collections.defaultdict(int, {1: 1, "a": 2}),
        collections.defaultdict(int, {1: 1, "a": 99}),
        collections.defaultdict(list, {1: 1, "a": 2}),
        Mapped({1: 1, "a": 2}),
        Mapped({1: 1, "a": 99}),
        Mapped(),
    ],
    "Counter and dict": lambda: [collections.Counter("a"), {"a": 1}, Mapped({"a": 1})],
    "namedtuples": lambda: [Pair(1, 2), OtherPair(1, 2), (1, 2), Pair(1, 3)],
    "subclasses and their state": lambda: [
        [1],
        Listed([1]),
        with_attribute(Listed([1]), "unit", "m"),
        {1},
        Gathered([1]),
        1,
        Numbered(1),
    ],
    "str subclass state": lambda: [
        "a",
        Worded("a"),
        with_attribute(Worded("a"), "language", "en"),
    ],
    "dataclasses": lambda: [
        Point(1, 2),
        OtherPoint(1, 2),
        {"x": 1, "y": 2},
        Point(2, 1),
        with_attribute(Point(1, 2), "extra", 1),
    ],
    "enums": lambda: [Colour.RED, Fruit.RED, Colour.BLUE, 1, "RED"],
    "slotted": lambda: [Slotted(1, 2), Slotted(2, 1), Plain(a=1, b=2)],
    "random generators": lambda: [
        random.Random(1),
        random.Random(2),
        after(random.Random(1), lambda generator: generator.random()),
    ],
    "functions": lambda: [
        lambda x: x,
        lambda x: x + 1,
        lambda x=1: x,
        lambda x=2: x,
        adder(1),
        adder(2),
        len,
        operator.add,
    ],
    "partials": lambda: [
        functools.partial(int),
        functools.partial(int, base=2),
        functools.partial(int, base=3),
        functools.partial(float),
        int,
    ],
    "bound methods": lambda: [
        Plain(a=1).method,
        Plain(a=2).method,
        "a".upper,
        "b".upper,
        "a".lower,
    ],
    "paths and text": lambda: [
        pathlib.PurePosixPath("a"),
        "a",
        pathlib.PurePosixPath("b"),
    ],
    "regular expressions": lambda: [
        re.compile("a"),
        re.compile("a", re.I),
        re.compile("b"),
    ],
    "times": lambda: [
        datetime.datetime(2020, 1, 1),
        datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        datetime.datetime(
            2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))
        ),
        datetime.date(2020, 1, 1),
    ],
    "ranges and slices": lambda: [range(3), range(4), slice(3), slice(4), [0, 1, 2]],
    "types": lambda: [int, float, Point, OtherPoint, type(None), type],
    "modules": lambda: [re, json, "re"],
    "cycles": lambda: [cyclic_list(), [1, [1]], [1], cyclic_dict(), cyclic_object()],
    "constants": lambda: [Ellipsis, NotImplemented, None, "Ellipsis"],
    "doubling graph": lambda: [doubled(10), doubled(11)],
    "exceptions": lambda: [ValueError("a"), ValueError("b"), KeyError("a")],
    "the most that is written in place, and more": lambda: [
        [[*range(32)]],
        [[*range(33)]],
        {"a": [*range(32)]},
        {"a": [*range(33)]},
        [dict.fromkeys(map(str, range(32)))],
        [dict.fromkeys(map(str, range(33)))],
        [[*range(32)], [[]]],
        [[*range(33)], [[]]],
        [[None, True, 1, 1.0, "a", b"a"], [[]]],
    ],
    "fractions of a list": lambda: [[*range(100)], [*range(99), 100], (*range(100),)],
}

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a bare object": (object, ""),
    "an object in a list in a dict": (lambda: {"a": [1, object()]}, "['a'][1]"),
    "a lock": (threading.Lock, ""),
    "a lock in an object": (lambda: Plain(steps=[threading.Lock()]), ".steps[0]"),
    "a file": (lambda: open(__file__, "rb"), ""),  # noqa: PTH123, SIM115
    "a socket": (lambda: socket.socket(), ""),
    "a generator": (counter, ""),
    "an iterator": (lambda: iter([1, 2]), ""),
    "a map": (lambda: map(len, ["a"]), ""),
    "a file in memory, half read": (lambda: (1, io.TextIOWrapper(io.BytesIO())), "[1]"),
}


def all_digests() -> dict[str, list[str]]:
    """Hash every value of every case."""
    found = {}
    for group, cases in (("equal", EQUAL), ("different", DIFFERENT)):
        for name, values in cases.items():
            found[f"{group}: {name}"] = [digest(value) for value in values()]
    return found


if __name__ == "__main__":
    print(json.dumps(all_digests()))  # noqa: T201
