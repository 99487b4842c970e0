"""Write a graph in the languages that others draw: Mermaid and Graphviz' DOT."""

from __future__ import annotations

from collections.abc import Iterator

from cachekit.amounts import counted
from cachekit.inspection.graphs import Edge, Graph, Node
from cachekit.texts import cut, plain

# Letters of a label: arguments may be long.
LONGEST_LABEL = 60

# What Mermaid might take for its own, and so is written by number.
_OF_MERMAID = set('"#&;<>`|[]{}()\\*_~%@')


def mermaid(graph: Graph) -> str:
    """Write a graph as a flowchart of Mermaid, which GitHub and notebooks draw.

    Parameters
    ----------
    graph : Graph
        What to draw.

    Returns
    -------
    str
        The flowchart, without a fence around it.
    """
    return "\n".join(_mermaid_lines(graph)) + "\n"


def _mermaid_lines(graph: Graph) -> Iterator[str]:
    numbers = {node.name: f"n{number}" for number, node in enumerate(graph.nodes)}
    yield "flowchart LR"
    for node in graph.nodes:
        text = "<br/>".join(map(_mermaid_text, label_lines(node)))
        shape = '(["{}"])' if node.kind == "input" else '["{}"]'
        yield f"    {numbers[node.name]}{shape.format(text)}"
    for edge in graph.edges:
        arrow = "-->" if edge.kind == "argument" else "-.->"
        label = _mermaid_text(edge_label(edge))
        middle = f'|"{label}"|' if label else ""
        yield f"    {numbers[edge.source]} {arrow}{middle} {numbers[edge.target]}"
    if graph.start:
        yield f"    style {numbers[graph.start]} stroke-width:3px"


def _mermaid_text(text: str) -> str:
    return "".join(f"#{ord(c)};" if c in _OF_MERMAID else c for c in text)


def dot(graph: Graph) -> str:
    """Write a graph in DOT, the language of Graphviz.

    Parameters
    ----------
    graph : Graph
        What to draw.

    Returns
    -------
    str
        A ``digraph``.
    """
    return "\n".join(_dot_lines(graph)) + "\n"


def _dot_lines(graph: Graph) -> Iterator[str]:
    numbers = {node.name: f"n{number}" for number, node in enumerate(graph.nodes)}
    yield "digraph {"
    yield "    rankdir=LR"
    yield '    node [shape=box, style=rounded, fontname="sans-serif"]'
    yield '    edge [fontname="sans-serif"]'
    for node in graph.nodes:
        text = "\\n".join(map(_dot_text, label_lines(node)))
        more = ", shape=ellipse" if node.kind == "input" else ""
        more += ", style=dashed" if node.kind == "gone" else ""
        more += ", penwidth=3" if node.name == graph.start else ""
        yield f'    {numbers[node.name]} [label="{text}"{more}]'
    for edge in graph.edges:
        style = "" if edge.kind == "argument" else ", style=dashed"
        label = _dot_text(edge_label(edge))
        ends = f"{numbers[edge.source]} -> {numbers[edge.target]}"
        yield f'    {ends} [label="{label}"{style}]'
    yield "}"


def _dot_text(text: str) -> str:
    # Graphviz reads entities, as HTML has them, in every label.
    text = text.replace("&", "&amp;")
    return text.replace("\\", "\\\\").replace('"', '\\"')


def label_lines(node: Node) -> list[str]:
    """Return what a node is called, in one or two short lines.

    Parameters
    ----------
    node : Node
        A node of a graph.

    Returns
    -------
    list of str
        One line, or two.
    """
    if node.kind == "function":
        return [_short(node.title), counted(node.calls, "call")]
    detail = "removed" if node.kind == "gone" else node.detail
    return [_short(line) for line in (node.title, detail) if line]


def edge_label(edge: Edge) -> str:
    """Return what is written on an edge: argument, count, and if it is uncertain.

    Parameters
    ----------
    edge : Edge
        An edge of a graph.

    Returns
    -------
    str
        ``"inside"`` for a call that was made by another.
    """
    text = edge.argument if edge.kind == "argument" else "inside"
    if edge.count > 1:
        text += f", {edge.count:,} times"
    return _short(text if edge.is_certain else f"{text} (either of)")


def _short(text: str) -> str:
    return cut(plain(text), LONGEST_LABEL)
