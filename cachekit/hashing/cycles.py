"""Digests of values that contain themselves.

Such a value has no tree of digests, so its parts are taken as a graph. Nodes that
reach each other form a *component*; everything else is hashed as usual, from below.
In a component the nodes are numbered from one of them, each is written with numbers in
the place of its neighbours, and a node's digest is that of the whole component with
its number. All of this is linear in the size of the value.

The node to begin with, and the order of what has none (the items of a set), is chosen
by *colour*: a hash of the node and of what lies a few steps around it, or as far as it
takes where the items of a set or dict look alike. Those that look alike from any
distance come in the order in which they were met, the numbered ones first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from blake3 import blake3

from cachekit.errors import UnhashableArgument
from cachekit.hashing import forms, hasher, reducers
from cachekit.hashing.forms import path_from

# How far a colour looks around. Each step costs as much as hashing the component.
COLOUR_STEPS = 4

# How many nodes are written at most, in all steps, to tell items of a set apart. That
# is enough for any ring of 300 nodes; a larger one may have several digests.
COLOUR_WORK = 100_000

FormOf = Callable[[Any], forms.Form]


def digest_cyclic(value: object, form_of: FormOf) -> bytes:
    """Return the digest of a value, some part of which contains itself."""
    graph = _Graph(value, form_of)
    nodes = _Writer(graph)
    for component in _components(graph):
        if len(component) == 1 and component[0] not in graph.children[component[0]]:
            nodes.tokens[component[0]] = nodes.write(component[0])
        else:
            nodes.tokens.update(_digest_component(component, nodes))
    return nodes.tokens[id(value)]


class _Graph:
    """Every node that can be reached from a value, by identity."""

    def __init__(self, value: object, form_of: FormOf) -> None:
        self.nodes: dict[int, object] = {}
        self.forms: dict[int, forms.Form] = {}
        self.children: dict[int, list[int]] = {}
        waiting = [value]
        while waiting:
            node = waiting.pop()
            if id(node) in self.nodes:
                continue
            self.nodes[id(node)] = node
            try:
                self.forms[id(node)] = form = form_of(node)
            except UnhashableArgument as error:
                self._climb(node, error)
                raise
            found = list(_children(form))
            self.children[id(node)] = [id(child) for child in found]
            waiting.extend(reversed(found))

    def _climb(self, node: object, error: UnhashableArgument) -> None:
        """Lead the path of an error from a node out to the value."""
        parents: dict[int, int] = {}
        for parent, children in self.children.items():
            for child in children:
                parents.setdefault(child, parent)  # the first by which it was met
        top = next(iter(self.nodes))
        while id(node) != top:
            node = self.nodes[parents[id(node)]]
            error.climb(node, path_from(node, error.culprit, error.path))


def _children(form: forms.Form) -> Iterator[object]:
    for part in _parts(form):
        if hasher.is_node(part):
            yield part
        elif reducers.small_record(part) is not None:
            yield type(part)  # it is written in place, but its class by digest


def _parts(form: forms.Form) -> Iterator[object]:
    parts = form.parts
    if not isinstance(parts, forms.Unordered):
        yield from parts
        return
    items, values = parts
    if hasher.have_natural_order(items):  # or else as they come
        items = sorted(items)
    yield from items
    if values is not None:
        yield from map(values.__getitem__, items)


class _Writer(hasher.Nodes):
    """Writes nodes whose children have tokens already."""

    def __init__(self, graph: _Graph) -> None:
        super().__init__(graph.forms.__getitem__)
        self.graph = graph
        self.tokens: dict[int, bytes] = {}
        # While a component is numbered: the numbers, and what is sorted by.
        self.numbers: dict[int, int] | None = None
        self.order: list[int] = []
        self.colours: dict[int, bytes] = {}

    def digest(self, node: object) -> bytes:
        """Return the token of a node, numbering it when that is going on."""
        if type(node) is forms.Buffer:
            if id(node) not in self.tokens:  # its blocks may be had only once
                self.tokens[id(node)] = self.digest_buffer(node)
            return self.tokens[id(node)]
        if self.numbers is not None and id(node) in self.colours:
            if id(node) not in self.numbers:
                self.numbers[id(node)] = len(self.order)
                self.order.append(id(node))
            return b"node %d" % self.numbers[id(node)]
        return self.tokens[id(node)]

    def sort_key(self, value: object) -> bytes:
        """Return what an item of a set or dict is sorted by."""
        if self.numbers is not None and id(value) in self.colours:
            number = self.numbers.get(id(value))
            colour = self.colours[id(value)]
            return b"new " + colour if number is None else b"known %020d" % number
        if hasher.is_node(value):
            return self.tokens[id(value)]
        # Written in place, it has no token, but what is in it may have one.
        return self.digest_form(value, forms.Form(b"item:", (value,)))

    def write(self, identity: int) -> bytes:
        """Hash one node, with tokens for its children."""
        return self.digest_form(self.graph.nodes[identity], self.graph.forms[identity])


def _digest_component(component: list[int], nodes: _Writer) -> dict[int, bytes]:
    nodes.tokens.update(dict.fromkeys(component, b"in a cycle"))
    colours: dict[int, bytes] = {}
    steps = seen = 0
    while steps < COLOUR_STEPS or (
        steps * len(component) < COLOUR_WORK
        and (
            not _alone(component, colours)
            or _has_alike_items(component, colours, nodes.graph)
        )
    ):
        colours = {identity: nodes.write(identity) for identity in component}
        nodes.tokens.update(colours)
        steps += 1
        if len(set(colours.values())) == seen:  # no two were told apart any more
            break
        seen = len(set(colours.values()))
    together, numbers = _number(component, colours, nodes)
    return {
        identity: blake3(together + b"%d" % place).digest(hasher.DIGEST_BYTES)
        for identity, place in numbers.items()
    }


def _alone(component: list[int], colours: dict[int, bytes]) -> list[int]:
    """Return the nodes whose colour no other has."""
    counts = Counter(colours.values())
    return [identity for identity in component if counts[colours[identity]] == 1]


def _has_alike_items(
    component: list[int], colours: dict[int, bytes], graph: _Graph
) -> bool:
    """Tell whether two items of one set, or keys of one dict, have one colour."""
    for identity in component:
        parts = graph.forms[identity].parts
        if isinstance(parts, forms.Unordered):
            items = {id(item) for item in parts.items} & colours.keys()
            if len({colours[item] for item in items}) < len(items):
                return True
    return False


def _number(
    component: list[int], colours: dict[int, bytes], nodes: _Writer
) -> tuple[bytes, dict[int, int]]:
    """Hash a component, giving each node a number as it is met, breadth first."""
    # Where all have doubles, the first that was met of the kind that sorts first.
    first = min(_alone(component, colours) or component, key=colours.__getitem__)
    numbers = {first: 0}
    nodes.numbers, nodes.order, nodes.colours = numbers, [first], colours
    whole = blake3(b"cycle:")
    for identity in nodes.order:  # which grows as neighbours are met
        whole.update(nodes.write(identity))
    nodes.numbers = None
    return whole.digest(hasher.DIGEST_BYTES), numbers


def _components(graph: _Graph) -> Iterator[list[int]]:
    """Yield the strongly connected components, each after those that it leads to.

    Tarjan (1972), SIAM J. Comput. 1, 146, with a list in the place of recursion. The
    nodes of a component come in the order in which they were met.
    """
    met: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    root = next(iter(graph.nodes))
    work: list[tuple[int, Iterator[int]]] = []

    def enter(identity: int) -> None:
        met[identity] = low[identity] = len(met)
        path.append(identity)
        on_path.add(identity)
        work.append((identity, iter(graph.children[identity])))

    enter(root)
    while work:
        identity, children = work[-1]
        for child in children:
            if child not in met:
                enter(child)
                break
            if child in on_path:
                low[identity] = min(low[identity], met[child])
        else:
            work.pop()
            if work:
                parent = work[-1][0]
                low[parent] = min(low[parent], low[identity])
            if low[identity] == met[identity]:
                component = [path.pop()]
                while component[-1] != identity:
                    component.append(path.pop())
                on_path.difference_update(component)
                yield component[::-1]
