"""How the results of one run were made: the graph of its calls."""

from __future__ import annotations

from collections.abc import Iterator

from cachekit.experiments.record import RunRecord
from cachekit.inspection import Edge, Graph, Node, graph
from cachekit.inspection.records import key_of, read_record
from cachekit.stores import EntryInfo, EntryKey, ReadOnlyStore, Store

# Of more calls, the graph of their functions says more.
MOST_CALLS = 100


class RunEntries(ReadOnlyStore):
    """The entries that a run has called, and those called inside of them.

    Parameters
    ----------
    store : Store
        Where they are.
    run : RunRecord
        The run.
    """

    def __init__(self, store: Store, run: RunRecord) -> None:
        super().__init__(store)
        self._files: dict[tuple[str, str], bytes | None] = {}
        self._keys = list(self._find(run))

    def _find(self, run: RunRecord) -> Iterator[EntryKey]:
        waiting = [call.path for call in reversed(run.calls)]
        met: set[str] = set()
        while waiting:
            path = waiting.pop()
            key = key_of(path)
            record = None if key is None or path in met else read_record(self, key)
            met.add(path)
            if key is not None and record is not None:
                yield key
                waiting += reversed(record.children)

    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry, which is read once."""
        place = (key.path, name)
        if place not in self._files:
            self._files[place] = super().read(key, name)
        return self._files[place]

    def entries(self, function: str | None = None) -> Iterator[EntryInfo]:
        """List the entries that are there still."""
        for key in self._keys:
            if function is None or key.function == function:
                yield EntryInfo(key, 0, 0.0)

    def hits(self) -> dict[str, int]:
        """Return nothing: it is not asked here."""
        return {}


def entries_of_run(store: Store, run: RunRecord) -> RunEntries:
    """Return the entries of a run, as a store that cannot be written."""
    return RunEntries(store, run)


def graph_of_run(entries: RunEntries) -> Graph:
    """Find how the results of a run were made.

    Parameters
    ----------
    entries : RunEntries
        What it has called.

    Returns
    -------
    Graph
        Of calls; of more than a hundred, of their functions.
    """
    keys = [info.key for info in entries.entries()]
    if len(keys) > MOST_CALLS:
        return graph(entries)
    nodes: dict[str, Node] = {}
    edges: dict[Edge, None] = {}
    for key in keys:
        found = graph(entries, key.path, down=False, depth=1)
        nodes.update((node.name, node) for node in found.nodes)
        edges.update(dict.fromkeys(found.edges))
    return Graph(tuple(nodes.values()), tuple(edges))
