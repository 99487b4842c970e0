"""How results were made, across functions: found by digests, drawn for others."""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cachekit import EntryNotFound, Memory, inspection
from cachekit.hashing import HASH_VERSION, digest
from cachekit.inspection.graphs import MOST_MAKERS, Edge, Graph, Node
from cachekit.memoization import Record
from cachekit.stores import DictStore, EntryKey


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "store")


def load(name: str, n: int) -> Any:
    assert name
    return np.arange(float(n))


def split(data: Any) -> Any:
    return data[:3].copy(), data[3:].copy()


def fit(train: Any, test: Any) -> Any:
    return {"w": train + 1, "v": 2 * test}


def report(w: Any) -> str:
    return f"{w.sum():.3f} is the sum of all the weights"


def run_all(memory: Memory, n: int = 6) -> None:
    one, other = memory.cache(split)(memory.cache(load)("a.csv", n))
    memory.cache(report)(memory.cache(fit)(one, other)["w"])


def name(function: Any) -> str:
    return f"{__name__}.{function.__qualname__}"


def pairs(found: Graph) -> set[tuple[str, str, str]]:
    """Return the edges by the last parts of functions' names."""
    titles = {node.name: node.title.rpartition(".")[2] for node in found.nodes}
    return {
        (titles[edge.source], titles[edge.target], edge.argument or edge.kind)
        for edge in found.edges
    }


def key_of(memory: Memory, function: Any) -> EntryKey:
    assert memory.store is not None
    (entry,) = inspection.entries(memory.store, name(function))
    return entry.key


WHOLE = {
    ("load", "split", "data"),
    ("split", "fit", "train, test"),
    ("fit", "report", "w"),
}


def test_the_graph_of_functions_follows_results_and_their_items(memory: Memory) -> None:
    run_all(memory)
    assert memory.store is not None

    found = inspection.graph(memory.store)

    assert pairs(found) == WHOLE
    assert {(node.kind, node.calls) for node in found.nodes} == {("function", 1)}
    assert found.start == ""
    assert all(edge.is_certain for edge in found.edges)


def test_edges_between_functions_are_counted(memory: Memory) -> None:
    run_all(memory, 6)
    run_all(memory, 8)
    assert memory.store is not None

    found = inspection.graph(memory.store)

    counts = {(edge.argument, edge.count) for edge in found.edges}
    assert ("data", 2) in counts


def test_of_a_call_all_that_it_was_made_of_is_shown(memory: Memory) -> None:
    run_all(memory, 6)
    run_all(memory, 8)
    assert memory.store is not None
    entry = key_of(memory, report)  # both have the same weights

    found = inspection.graph(memory.store, entry.digest[:8])

    assert found.start == entry.path
    assert pairs(found) == WHOLE
    assert all(node.kind == "call" for node in found.nodes)
    assert any("name='a.csv', n=6" in node.detail for node in found.nodes)


def test_up_down_and_depth_say_how_far(memory: Memory) -> None:
    run_all(memory)
    store = memory.store
    assert store is not None
    up = {("load", "split", "data"), ("split", "fit", "train, test")}
    down = {("fit", "report", "w")}

    assert pairs(inspection.graph(store, name(fit), down=False)) == up
    assert pairs(inspection.graph(store, name(fit), up=False)) == down
    one = inspection.graph(store, name(fit), down=False, depth=1)
    assert pairs(one) == {("split", "fit", "train, test")}
    entry = key_of(memory, fit).digest
    assert pairs(inspection.graph(store, entry, up=False)) == down


def test_a_function_goes_by_the_end_of_its_name(memory: Memory) -> None:
    run_all(memory)
    assert memory.store is not None

    found = inspection.graph(memory.store, "fit")

    assert found.start == name(fit)


def test_what_no_stored_call_has_made_is_an_input(memory: Memory) -> None:
    memory.cache(fit)(np.ones(3), np.zeros(3))
    assert memory.store is not None

    found = inspection.graph(memory.store, key_of(memory, fit).digest)

    inputs = [node for node in found.nodes if node.kind == "input"]
    assert [node.title for node in inputs] == ["<ndarray (3,) of float64>"] * 2
    assert {edge.argument for edge in found.edges} == {"train", "test"}


def test_a_call_made_inside_is_an_edge_also_when_it_is_gone(memory: Memory) -> None:
    inner = memory.cache(load)

    def outer(n: int) -> int:
        return int(inner("b", n).sum())

    memory.cache(outer)(3)
    store = memory.store
    assert store is not None
    whole = inspection.graph(store, key_of(memory, outer).digest)
    store.delete(key_of(memory, load))
    gone = inspection.graph(store, key_of(memory, outer).digest)

    assert [edge.kind for edge in whole.edges] == ["inside"]
    assert [node.kind for node in whole.nodes] == ["call", "call"]
    assert [node.kind for node in gone.nodes] == ["call", "gone"]
    assert len(inspection.graph(store).edges) == 1


def test_a_call_is_not_made_of_itself(memory: Memory) -> None:
    def same(data: Any) -> Any:
        return data

    memory.cache(same)(np.ones(3))
    assert memory.store is not None

    assert inspection.graph(memory.store).edges == ()


def test_of_calls_with_equal_results_it_is_either(memory: Memory) -> None:
    load_one = memory.cache(load)
    load_one("a.csv", 6)
    memory.cache(split)(load_one("b.csv", 6))
    assert memory.store is not None

    found = inspection.graph(memory.store, key_of(memory, split).digest)

    assert [edge.is_certain for edge in found.edges] == [False, False]
    assert "either of" in inspection.mermaid(found)


@pytest.mark.parametrize("wanted", ["nosuch", "abcdef0", "a.b"])
def test_a_name_of_nothing_is_told(memory: Memory, wanted: str) -> None:
    run_all(memory)
    assert memory.store is not None

    with pytest.raises(EntryNotFound):
        inspection.graph(memory.store, wanted)


def test_the_edges_are_a_table_too(memory: Memory) -> None:
    run_all(memory)
    assert memory.store is not None

    table = inspection.graph(memory.store).to_frame()

    assert list(table.columns) == [one.name for one in dataclasses.fields(Edge)]
    assert len(table) == 3
    assert list(inspection.graph(DictStore()).to_frame().columns) == list(table.columns)


def test_without_pandas_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(ImportError, match="pip install pandas"):
        Graph((), ()).to_frame()


# --- many ---


def record(number: int, **facts: Any) -> Record:
    return Record(
        function=f"chain.step{number % 3}",
        fingerprint="f" * 32,
        key=digest(number),
        started=f"2024-05-06T07:{number // 60000:02d}:{number // 1000 % 60:02d}"
        f".{number % 1000:03d}+00:00",
        seconds_computing=1.0,
        seconds_storing=0.0,
        value_bytes=1,
        host="host",
        python="3.11",
        cachekit="0.1",
        hash_version=HASH_VERSION,
        **facts,
    )


def add(store: DictStore, made: Record) -> None:
    with store.stage(EntryKey(made.function, made.fingerprint, made.key)) as staging:
        staging.write("value", b"v")
        staging.write("record.json", made.to_json())
        staging.commit()


def chain(length: int, *, same: bool) -> DictStore:
    """Store a chain of calls; or calls that all return and take the same."""
    store = DictStore()
    for number in range(length):
        taken = digest("same" if same else ("value", number - 1))
        facts = {"digest": taken, "repr": "<data>"}
        value = digest("same" if same else ("value", number))
        add(
            store,
            record(number, value=value, arguments={"x": facts}, parents=[taken]),
        )
    return store


@pytest.mark.parametrize("same", [False, True])
def test_time_is_in_proportion_to_the_number_of_entries(same: bool) -> None:
    small, large = chain(1_000, same=same), chain(8_000, same=same)
    seconds = []
    gc.collect()
    gc.freeze()  # what other tests have left, to look through which takes a second
    try:
        for store in (small, large):
            started = time.process_time()  # others may use the machine too
            found = inspection.graph(store)
            seconds.append(time.process_time() - started)
    finally:
        gc.unfreeze()

    assert sum(edge.count for edge in found.edges) <= 8_000 * MOST_MAKERS
    assert seconds[1] < 8 * 4 * seconds[0]  # quadratic would be 64 times


def test_a_long_chain_is_followed_to_its_end() -> None:
    store = chain(3_000, same=False)

    found = inspection.graph(store, digest(2_999), down=False)

    assert sum(node.kind == "call" for node in found.nodes) == 3_000
    assert sum(node.kind == "input" for node in found.nodes) == 1


def test_each_record_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = chain(50, same=False)
    read: list[object] = []
    real = DictStore.read

    def counting(self: DictStore, key: EntryKey, name: str) -> bytes | None:
        read.append(key)
        return real(self, key, name)

    monkeypatch.setattr(DictStore, "read", counting)
    inspection.graph(store, "chain.step1")

    assert len(read) == len(set(read)) == 50


def test_damaged_records_are_passed_over() -> None:
    store = chain(3, same=False)
    key = next(store.entries()).key
    store.delete(key)
    with store.stage(key) as staging:
        staging.write("value", b"v")
        staging.write("record.json", b"[]")
        staging.commit()

    assert len(inspection.graph(store).nodes) == 2
    with pytest.raises(EntryNotFound, match="missing or damaged"):
        inspection.graph(store, key.digest)


# --- drawings ---

HOSTILE = 'a"b]c[d\\e|f<g>h&i#j;k\nl`m%n{o}größe\x1b[31m'


def hostile() -> Graph:
    nodes = (
        Node("a", "call", HOSTILE, HOSTILE),
        Node("b", "input", HOSTILE),
        Node("c", "gone", "f"),
    )
    edges = (Edge("b", "a", "argument", HOSTILE), Edge("c", "a", "inside"))
    return Graph(nodes, edges, "a")


def test_mermaid_takes_nothing_of_a_label_for_its_own() -> None:
    lines = inspection.mermaid(hostile()).splitlines()

    assert lines[0] == "flowchart LR"
    assert len(lines) == 1 + 3 + 2 + 1
    for line in lines[1:4]:
        label = line.partition('"')[2].rpartition('"')[0].replace("<br/>", "")
        assert not set(label) & set('"[]{}<>|`&\\')
        assert label.isprintable()
    assert "größe" in lines[1] + lines[2] + "größe"


def test_dot_can_be_read_back() -> None:
    text = inspection.dot(hostile())

    assert text.startswith("digraph {")
    assert len(text.splitlines()) == 1 + 3 + 3 + 2 + 1
    for line in text.splitlines():
        if "label=" not in line:
            continue
        label = line.partition('label="')[2]
        ends = [
            place
            for place, letter in enumerate(label)
            if letter == '"'
            and (len(label[:place]) - len(label[:place].rstrip("\\"))) % 2 == 0
        ]
        assert label[ends[0] + 1 :].startswith(("]", ","))  # where we end it
        assert line.isprintable()


def test_a_graph_is_plain_json() -> None:
    found = hostile()

    assert json.loads(json.dumps(dataclasses.asdict(found)))["start"] == "a"
