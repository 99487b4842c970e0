"""The command that shows how results were made: ``graph``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cachekit import inspection
from cachekit.amounts import counted
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import print_json, with_progress
from cachekit.experiments import find_run
from cachekit.experiments.tracing import entries_of_run, graph_of_run

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

# Who is beside a node, in the direction of a tree: what was it made of, for example.
Beside = dict[str, list[tuple[inspection.Edge, str]]]


@click.command()
@click.argument("name", required=False, metavar="[FUNCTION|ENTRY]")
@click.option("--up", is_flag=True, help="Only what it was made of.")
@click.option("--down", is_flag=True, help="Only what was made of it.")
@click.option("--depth", type=click.IntRange(min=1), help="Steps to go at most.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "mermaid", "dot", "json", "svg"]),
    default="tree",
    help="How to show it; svg needs the program dot of Graphviz.",
)
@click.option("--run", "run_id", metavar="ID", help="Only what one run has called.")
@store_option
@json_option
def graph(
    name: str | None,
    up: bool,
    down: bool,
    depth: int | None,
    form: str,
    run_id: str | None,
    location: str | None,
    as_json: bool,
) -> None:
    """Show how results were made, and what was made of them.

    Without a name, all functions. Of one FUNCTION, those that its results were made
    with and used by. Of one ENTRY, named by the first digits of its key, all calls,
    with the arguments that no stored call has made.

    A result is known by its digest, in the arguments of another call, by itself or as
    an item of a tuple or dict. Small numbers and short texts are not followed. Where
    several calls have made the same value, it is either of them.

    Of a run, all calls are shown, and those inside of them; of more than a hundred,
    their functions.
    """
    store = inspection.store_at(location)
    if up == down:  # neither was asked for
        up = down = True
    of_run = None
    if run_id is not None:
        store = of_run = entries_of_run(store, find_run(store, run_id))
    if of_run is not None and name is None:
        found = graph_of_run(of_run)
    else:
        found = inspection.graph(
            store, name, up=up, down=down, depth=depth, watch=with_progress
        )
    if as_json or form == "json":
        print_json(asdict(found))
    elif form == "mermaid":
        click.echo(inspection.mermaid(found), nl=False)
    elif form == "dot":
        click.echo(inspection.dot(found), nl=False)
    elif form == "svg":
        click.echo(_svg(inspection.dot(found)), nl=False)
    elif not found.nodes:
        click.echo(
            f"Nothing is stored at {store.location} yet."
            if run_id is None
            else "Of what the run has called nothing is stored."
        )
    elif found.start:
        _print_trees(found, up=up, down=down)
    else:
        _print_functions(found)


def _svg(text: str) -> str:
    program = shutil.which("dot")
    if program is None:
        raise click.ClickException(
            "--format svg needs the program dot, which is part of Graphviz: get it "
            "with apt, brew or conda install graphviz; --format mermaid needs nothing"
        )
    done = subprocess.run(
        [program, "-Tsvg"],
        input=text,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"dot failed: {done.stderr.strip()}")
    return done.stdout


# --- trees ---


def _print_trees(found: inspection.Graph, *, up: bool, down: bool) -> None:
    nodes = {node.name: node for node in found.nodes}
    made_of, made_into = _beside(found)
    trees = []
    if up:
        trees.append(("Made of:", "It was made of no stored result.", made_of))
    if down:
        trees.append(("Used by:", "No stored result was made of it.", made_into))
    for number, (title, nothing, beside) in enumerate(trees):
        if number:
            click.echo()
        if number and not beside.get(found.start):
            click.echo(nothing)
            continue
        _Tree(nodes, beside).print(found.start, title if len(trees) > 1 else "")
        if not beside.get(found.start):
            click.echo(nothing)


def _print_functions(found: inspection.Graph) -> None:
    nodes = {node.name: node for node in found.nodes}
    made_of, made_into = _beside(found)
    tree = _Tree(nodes, made_of)
    ends = [name for name in nodes if not _others(name, made_into)]
    for name in [*ends, *nodes]:  # functions in a circle have no end
        if name not in tree.shown:
            tree.print(name)
    kinds = {node.kind for node in found.nodes}
    if "function" in kinds:
        count, whose = counted(len(nodes), "function"), "its results were"
    else:  # of a run
        calls = [node for node in found.nodes if node.kind == "call"]
        count, whose = counted(len(calls), "call"), "it was"
    click.echo(f"\n{count}; below each, what {whose} made of.")


def _beside(found: inspection.Graph) -> tuple[Beside, Beside]:
    made_of: Beside = {}
    made_into: Beside = {}
    for edge in found.edges:
        made_of.setdefault(edge.target, []).append((edge, edge.source))
        made_into.setdefault(edge.source, []).append((edge, edge.target))
    return made_of, made_into


def _others(name: str, beside: Beside) -> list[str]:
    return [other for _, other in beside.get(name, ()) if other != name]


class _Tree:
    """Prints trees, in which each node has its branches once."""

    def __init__(self, nodes: dict[str, inspection.Node], beside: Beside) -> None:
        self._nodes = nodes
        self._beside = beside
        self.shown: set[str] = set()

    def print(self, start: str, title: str = "") -> None:
        from rich.console import Console
        from rich.tree import Tree

        if title:
            click.echo(click.style(title, bold=True))
        root = Tree(_text(self._label(start)))
        self.shown.add(start)
        deepest = 1
        waiting = self._branches(start, root, 1)
        while waiting:
            tree, edge, other, depth = waiting.pop()
            deepest = max(deepest, depth)
            label = f"{inspection.edge_label(edge)}: {self._label(other)}"
            if other in self.shown and self._beside.get(other):
                tree.add(_text(f"{label}, see above"))
                continue
            branch = tree.add(_text(label))
            if other not in self.shown:
                self.shown.add(other)
                waiting += self._branches(other, branch, depth + 1)
        # Of a long chain, some lines are longer than the terminal is wide.
        width = 4 * deepest + 60
        if sys.stdout.isatty():
            width = max(Console().width, width if deepest > 5 else 0)
        else:
            width += 140
        Console(width=width, highlight=False).print(root)

    def _branches(
        self, name: str, tree: Tree, depth: int
    ) -> list[tuple[Tree, inspection.Edge, str, int]]:
        """Return what is beside a node, the first one last."""
        beside = reversed(self._beside.get(name, []))
        return [(tree, edge, other, depth) for edge, other in beside]

    def _label(self, name: str) -> str:
        node = self._nodes[name]
        if node.kind == "input":
            return f"{inspection.label_lines(node)[0]}, no stored result"
        lines = inspection.label_lines(node)
        if node.kind == "function":
            return f"{lines[0]}  ({lines[1]})"
        digest = "".join(name.split("/")[-2:])[:12]
        detail = "removed" if node.kind == "gone" else f"({', '.join(lines[1:])})"
        space = " " if node.kind == "gone" else ""
        return f"{lines[0]}{space}{detail}  {digest}"


def _text(label: str) -> Text:
    from rich.text import Text

    return Text(label, no_wrap=True, overflow="ellipsis")
