"""How results were made, across functions: which results are arguments of which calls.

Found by digests. A record has those of its result, of the items of a tuple or a dict,
and of its arguments; where one of the former is one of the latter, an edge leads from
the call that made it to the call that took it. Small numbers, flags and short texts
lead nowhere: too many calls return them. Calls that a cached call made inside are in
its record too.

All of it takes time in proportion to the number of entries; each record is read once.
"""

from __future__ import annotations

import itertools
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from cachekit.errors import EntryNotFound
from cachekit.inspection.frames import imported_pandas
from cachekit.inspection.records import Watch, read_many, read_record, unwatched
from cachekit.inspection.reports import find
from cachekit.memoization import Record
from cachekit.stores import EntryKey, Store
from cachekit.stores.names import folder_name

# Of more calls with equal results, those count that began last before the result was
# taken: a thousand that return the same would have a million edges.
MOST_MAKERS = 10

# Records that are in memory at once.
_AT_ONCE = 1000

# What a call is to another: it made an argument of it, or was called by it.
Kind = Literal["argument", "inside"]


@dataclass(frozen=True)
class Node:
    """A function, a stored call, or an argument that no stored call has made.

    Attributes
    ----------
    name : str
        What edges call it: a function's name, the path of an entry, or a digest.
    kind : {"function", "call", "gone", "input"}
        Gone is a call whose entry was removed.
    title : str
        The function's name; of an input, its value in short.
    detail : str
        Of a call, its arguments in short.
    calls : int
        How many calls it stands for.
    """

    name: str
    kind: Literal["function", "call", "gone", "input"]
    title: str
    detail: str = ""
    calls: int = 1


@dataclass(frozen=True)
class Edge:
    """That one thing has a part in another.

    Attributes
    ----------
    source, target : str
        Names of nodes: what came first, and what was made with it.
    kind : {"argument", "inside"}
        The source made an argument of the target, or was called inside of it.
    argument : str
        The arguments' names, with commas.
    count : int
        How many pairs of calls it stands for.
    is_certain : bool
        False if other calls have made the same value: it is either of them.
    """

    source: str
    target: str
    kind: Kind
    argument: str = ""
    count: int = 1
    is_certain: bool = True


@dataclass(frozen=True)
class Graph:
    """How results were made.

    Attributes
    ----------
    nodes : tuple of Node
        Functions, or calls and their inputs.
    edges : tuple of Edge
        What led to what.
    start : str
        The name of the node that was asked about; empty if none was.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    start: str = ""

    def to_frame(self) -> Any:
        """Return the edges as a table of pandas, one a row.

        Returns
        -------
        pandas.DataFrame
            With the fields of `Edge` as columns.
        """
        pd = imported_pandas()
        columns = list(Edge.__dataclass_fields__)
        return pd.DataFrame([asdict(edge) for edge in self.edges], columns=columns)


def graph(
    store: Store,
    name: str | None = None,
    *,
    up: bool = True,
    down: bool = True,
    depth: int | None = None,
    watch: Watch = unwatched,
) -> Graph:
    """Find how results were made, and what was made of them.

    Parameters
    ----------
    store : Store
        Where they are.
    name : str, optional
        A function, by its name or the end of it: all functions that its results were
        made with or used by. Or an entry, by the first digits of its key: all calls.
        None: all functions of the store.
    up, down : bool, default True
        Whether to go from a result to what it was made of, and to what was made of it.
    depth : int, optional
        How many steps to go at most.
    watch : callable, optional
        Is given the entries while they are read, and returns them.

    Returns
    -------
    Graph
        Of functions, or of calls.

    Raises
    ------
    EntryNotFound
        If nothing is so named, or several functions are.
    """
    calls = _Calls(store, watch, with_texts=name is not None)
    if name is None:
        return _of_functions(calls, range(len(calls.all)), calls.edges(), "")
    function = calls.function_named(name)
    if function is not None:
        starts = [n for n, call in enumerate(calls.all) if call.function == function]
        numbers, edges = _reached(calls, starts, up, down, depth)
        return _of_functions(calls, numbers, edges, function)
    key = find(store, name).key
    if key.path not in calls.numbers:
        raise EntryNotFound(f"the record of {key.path} is missing or damaged")
    numbers, edges = _reached(calls, [calls.numbers[key.path]], up, down, depth)
    return _of_calls(calls, numbers, edges, key.path, with_inputs=up)


# --- the calls ---


class _Input(NamedTuple):
    name: str
    digest: bytes
    text: str


class _Call(NamedTuple):
    """What is kept of a record."""

    path: str
    function: str
    began: float
    text: str
    inputs: tuple[_Input, ...]
    inside: tuple[str, ...]


class _Link(NamedTuple):
    """An edge between two calls, by their numbers; a path if a call is gone."""

    source: int | str
    target: int
    kind: Kind
    argument: str = ""
    is_certain: bool = True


@dataclass
class _Calls:
    """All calls of a store, and which of them made what."""

    store: Store
    watch: Watch
    with_texts: bool
    all: list[_Call] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    makers: dict[bytes, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        same: dict[str, str] = {}  # one text for each function, not one for each call
        for key, record in _records(self.store, self.watch):
            self.numbers[key.path] = number = len(self.all)
            function = record.function
            if folder_name(function) != key.function:  # a record of another function
                function = key.function
            function = same.setdefault(function, function)
            call = _call(key.path, function, record, with_texts=self.with_texts)
            self.all.append(call)
            for digest in {record.value, *record.items.values()}:
                made = _bytes(digest)
                if made:
                    self.makers.setdefault(made, []).append(number)
        for numbers in self.makers.values():
            numbers.sort(key=self._began)

    def _began(self, number: int) -> float:
        return self.all[number].began

    def function_named(self, name: str) -> str | None:
        """Return the function that has the name, or the one that ends with it."""
        functions = {call.function for call in self.all}
        same = [one for one in functions if folder_name(one) == folder_name(name)]
        ends = sorted(one for one in functions if one.endswith(f".{name}"))
        found = same or ends
        if len(found) > 1:
            some = ", ".join(found[:4])
            raise EntryNotFound(f"{name!r} names {len(found)} functions: {some}")
        return found[0] if found else None

    def edges(self) -> Iterator[_Link]:
        """Yield every edge."""
        for number in range(len(self.all)):
            yield from self.into(number)

    def into(self, number: int) -> Iterator[_Link]:
        """Yield the edges that lead to a call."""
        call = self.all[number]
        for one in call.inputs:
            makers = self._makers_of(one.digest, number)
            is_certain = len(makers) == 1
            for maker in makers:
                yield _Link(maker, number, "argument", one.name, is_certain)
        for path in call.inside:
            yield _Link(self.numbers.get(path, path), number, "inside")

    def _makers_of(self, digest: bytes, number: int) -> list[int]:
        """Return the calls that may have made an argument of a call.

        Not the call itself, which may return its argument; nor one made inside.
        """
        makers = self.makers.get(digest)
        if not makers:
            return []
        call = self.all[number]
        place = bisect_left(makers, call.began, key=self._began)
        some = makers[max(0, place - MOST_MAKERS - 1) : place]
        found = self._others(some, number)
        # One that began later stands for one that was removed and computed again.
        return found or self._others(makers[place : place + MOST_MAKERS + 1], number)

    def _others(self, makers: list[int], number: int) -> list[int]:
        inside = self.all[number].inside
        others = [one for one in makers if one != number]
        if inside:
            others = [one for one in others if self.all[one].path not in inside]
        return others[-MOST_MAKERS:]


def _records(store: Store, watch: Watch) -> Iterator[tuple[EntryKey, Record]]:
    listed = (info.key for info in watch(store.entries()))
    while keys := list(itertools.islice(listed, _AT_ONCE)):
        records = read_many(store, keys, read_record)
        for key, record in zip(keys, records, strict=True):
            if record is not None:
                yield key, record


def _call(path: str, function: str, record: Record, *, with_texts: bool) -> _Call:
    arguments = record.arguments.items()
    text = ", ".join(f"{name}={_text_of(facts)}" for name, facts in arguments)
    wanted = set(record.parents)
    inputs = [
        _Input(
            sys.intern(name),
            _bytes(facts["digest"]),
            _text_of(facts) if with_texts else "",
        )
        for name, facts in arguments
        if facts.get("digest") in wanted
    ]
    return _Call(
        path,
        function,
        record.began,
        text[:200] if with_texts else "",
        tuple(one for one in inputs if one.digest),
        tuple(record.children),
    )


def _text_of(facts: dict[str, Any]) -> str:
    return str(facts.get("repr", "(redacted)"))


def _bytes(digest: object) -> bytes:
    """Return a digest in half the memory; nothing of what is none."""
    try:
        return bytes.fromhex(digest) if isinstance(digest, str) else b""
    except ValueError:
        return b""


# --- what leads to what ---


def _reached(
    calls: _Calls, starts: Iterable[int], up: bool, down: bool, depth: int | None
) -> tuple[list[int], list[_Link]]:
    """Go from some calls upwards and downwards; return the calls met, and the edges."""
    starts = list(starts)
    numbers = dict.fromkeys(starts)
    links: dict[_Link, None] = {}
    if up:
        _walk(starts, depth, numbers, links, lambda one: list(calls.into(one)), 0)
    if down:
        out: dict[int, list[_Link]] = {}
        for link in calls.edges():
            if isinstance(link.source, int):
                out.setdefault(link.source, []).append(link)
        _walk(starts, depth, numbers, links, lambda one: out.get(one, []), 1)
    return list(numbers), list(links)


def _walk(
    starts: list[int],
    depth: int | None,
    numbers: dict[int, None],
    links: dict[_Link, None],
    edges_of: Any,
    end: Literal[0, 1],
) -> None:
    waiting, met, steps = starts, set(starts), 0
    while waiting and (depth is None or steps < depth):
        steps += 1
        after: list[int] = []
        for link in (link for one in waiting for link in edges_of(one)):
            links[link] = None
            found = link[end]
            if isinstance(found, int) and found not in met:
                met.add(found)
                after.append(found)
                numbers[found] = None
        waiting = after


def _of_functions(
    calls: _Calls, numbers: Iterable[int], links: Iterable[_Link], start: str
) -> Graph:
    """Draw edges together that lead from one function to another."""
    counts = Counter(calls.all[number].function for number in numbers)
    names = {folder_name(name): name for name in counts}
    sums: dict[tuple[str, str, Kind], tuple[int, int, dict[str, None]]] = {}
    for link in links:
        if isinstance(link.source, str):
            folder = link.source.partition("/")[0]
            source = names.setdefault(folder, folder)
            counts.setdefault(source, 0)
        else:
            source = calls.all[link.source].function
        target = calls.all[link.target].function
        count, certain, arguments = sums.get((source, target, link.kind), (0, 0, {}))
        if link.argument:
            arguments[link.argument] = None
        key = (source, target, link.kind)
        sums[key] = (count + 1, certain + link.is_certain, arguments)
    nodes = [
        Node(name, "function", name, calls=number)
        for name, number in sorted(counts.items())
    ]
    edges = [
        Edge(*key, ", ".join(arguments), count, certain == count)
        for key, (count, certain, arguments) in sorted(sums.items())
    ]
    return Graph(tuple(nodes), tuple(edges), start)


def _of_calls(
    calls: _Calls,
    numbers: Iterable[int],
    links: Iterable[_Link],
    start: str,
    *,
    with_inputs: bool,
) -> Graph:
    numbers = list(numbers)
    nodes: dict[str, Node] = {}
    for number in numbers:
        call = calls.all[number]
        nodes[call.path] = Node(call.path, "call", call.function, call.text)
    edges: dict[tuple[str, str, Kind], Edge] = {}
    for link in links:
        source = link.source
        if isinstance(source, int):
            source = calls.all[source].path
        elif source not in nodes:
            nodes[source] = Node(source, "gone", source.partition("/")[0])
        target = calls.all[link.target].path
        _add(edges, Edge(source, target, link.kind, link.argument, 1, link.is_certain))
    for number in [one for one in numbers if with_inputs]:
        call = calls.all[number]
        for one in call.inputs:
            if not calls._makers_of(one.digest, number):
                name = one.digest.hex()
                nodes.setdefault(name, Node(name, "input", one.text))
                _add(edges, Edge(name, call.path, "argument", one.name))
    return Graph(tuple(nodes.values()), tuple(edges.values()), start)


def _add(edges: dict[tuple[str, str, Kind], Edge], edge: Edge) -> None:
    """Add an edge; one result may be two arguments of a call."""
    key = (edge.source, edge.target, edge.kind)
    known = edges.get(key)
    if known is None:
        edges[key] = edge
        return
    arguments = f"{known.argument}, {edge.argument}".strip(", ")
    certain = known.is_certain and edge.is_certain
    edges[key] = Edge(*key, arguments, 1, certain)
