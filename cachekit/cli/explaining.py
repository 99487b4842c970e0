"""Commands that explain: ``why`` a call was computed, and the ``diff`` of two."""

from __future__ import annotations

import ast
import keyword
import textwrap
from dataclasses import asdict
from typing import Any

import click

from cachekit import inspection
from cachekit.amounts import counted, format_duration, format_size
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import echo, print_diff_line, print_json
from cachekit.texts import plain

# Places in which results differ that are shown.
_MOST_LEAVES = 20


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="FUNCTION|ENTRY")
@click.argument("values", nargs=-1, metavar="[ARGS]...")
@store_option
@json_option
@click.pass_context
def why(
    ctx: click.Context,
    name: str,
    values: tuple[str, ...],
    location: str | None,
    as_json: bool,
) -> None:
    """Say why a call is computed again: what has changed.

    That is an argument, or a line of code that the function runs or reads.

    ENTRY, by the first digits of its key: why that stored call was computed when it
    was.

    FUNCTION, as `module.function`, `module:Class.method` or `script.py:function`, is
    imported from the current folder; of a script, not what is under `if __name__ ==
    "__main__"`, and no cached function computes meanwhile. Without ARGS: whether the
    last call stored would be a hit by the code as it is now.

    ARGS are Python literals, `name=literal` for keywords; a text has quotes of its
    own: cachekit why analysis.fit 3 "'a'" order=2

    The store is the function's own, unless --store names another. Exit codes: 0 a
    hit, or a stored call; 1 it would be computed; 2 wrong usage, as a function that
    cannot be imported.
    """
    try:
        found = _explained(name, values, location)
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from error
    if as_json:
        print_json(_facts(found))
    else:
        _print_why(found)
    ctx.exit(0 if found.is_hit else 1)


@click.command()
@click.argument("before", metavar="ENTRY")
@click.argument("now", metavar="ENTRY")
@click.option(
    "--unsafe",
    is_flag=True,
    help="Load results of any class. That runs what the store's writers put there.",
)
@store_option
@json_option
@click.pass_context
def diff(
    ctx: click.Context,
    before: str,
    now: str,
    unsafe: bool,
    location: str | None,
    as_json: bool,
) -> None:
    """Show in what two stored calls differ: arguments, code, results.

    Each ENTRY goes by the first digits of its key. Results are loaded as plain data
    only: numbers, texts, containers, arrays, tables. Exit codes: 0 the results are
    equal; 1 they differ, or could not be compared.
    """
    found = inspection.compare_entries(
        inspection.store_at(location), before, now, unsafe=unsafe
    )
    if as_json:
        print_json(_facts_of_pair(found))
    else:
        _print_records(found)
        _print_values(found)
    ctx.exit(0 if found.is_equal else 1)


def _explained(
    name: str, values: tuple[str, ...], location: str | None
) -> inspection.Why:
    if not inspection.is_function_name(name):
        if values:
            raise ValueError(f"{name} names no function, so it takes no arguments")
        if name.isidentifier() and not set(name) <= set("0123456789abcdef"):
            raise ValueError(
                f"{name} names no entry; a function is named with its module, as in "
                f"module.{name} or script.py:{name}"
            )
        return inspection.why_entry(inspection.store_at(location), name)
    args, kwargs = _read_arguments(values)
    function = inspection.import_function(name)
    store = inspection.store_at(location) if location else None
    if store is None and not inspection.is_cached(function):
        store = inspection.store_at(None)
    if values:
        return inspection.why_call(function, args, kwargs, store=store)
    return inspection.why_function(function, store=store)


def _read_arguments(values: tuple[str, ...]) -> tuple[list[Any], dict[str, Any]]:
    """Read the arguments of a call: ``3 "'a'" order=2`` -> [3, "a"], {"order": 2}."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in values:
        name, equals, rest = text.partition("=")
        if equals and name.isidentifier() and not keyword.iskeyword(name):
            kwargs[name] = _read_literal(rest)
        elif kwargs:
            raise ValueError(f"{text} has no name, and stands behind one that has")
        else:
            args.append(_read_literal(text))
    return args, kwargs


def _read_literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise ValueError(
            f"{text} is no Python literal; if it is a text, write it as "
            f'"{text!r}", with both pairs of quotes'
        ) from None


def _facts(found: inspection.Why) -> dict[str, object]:
    """Return what `--json` says of an explanation."""
    facts: dict[str, object] = _facts_of(found.explanation)
    facts["is_cached"] = found.is_cached
    facts["last"] = _facts_of(found.last) if found.last else None
    return facts


def _facts_of(this: inspection.Explanation) -> dict[str, object]:
    facts = {
        **asdict(this),
        "is_hit": this.is_hit,
        "text": str(this),
    }
    for name in ("key", "nearest", "same_arguments"):
        key = getattr(this, name)
        facts[name] = None if key is None else key._asdict()
    return facts


def _print_why(found: inspection.Why) -> None:
    _print_explanation(found.explanation)
    if found.last is not None:
        echo("\nThe last time:")
        _print_explanation(found.last)
    if not found.is_cached:
        echo(
            "\nThe function is not cached where it is defined: it was taken as cached "
            "here,\nwithout options."
        )


def _print_explanation(this: inspection.Explanation) -> None:
    for line in str(this).splitlines():
        print_diff_line(line)


def _facts_of_pair(found: inspection.EntryDifferences) -> dict[str, object]:
    """Return what `--json` says of two entries."""
    return {
        "before": _facts_of_entry(found.before),
        "now": _facts_of_entry(found.now),
        "call": None if found.call is None else _facts_of(found.call),
        "is_equal": found.is_equal,
        "problem": found.problem,
        "values": None if found.values is None else asdict(found.values),
    }


def _facts_of_entry(entry: inspection.EntryReport) -> dict[str, object]:
    record = asdict(entry.record) if entry.record else None
    return {"key": entry.key.digest, "path": entry.key.path, "record": record}


def _print_records(found: inspection.EntryDifferences) -> None:
    rows = [
        (name, *(_shown_fact(entry, name) for entry in (found.before, found.now)))
        for name in ("entry", "function", "computed", "took", "size", "python", "host")
    ]
    width = max(len(one) for _, one, _ in rows)
    for name, one, other in rows:
        if one != other:
            echo(f"{name:<8}  {one:<{width}}  {other}".rstrip())
        elif name == "function":
            echo(f"{name:<8}  {one}")
    if found.call is None:
        echo("\nA record is missing or damaged: the calls cannot be compared.")
        return
    lines = found.call.differences
    echo("\nThe calls:" if lines else "\nThe calls are equal.")
    for line in lines:
        print_diff_line(line)


def _shown_fact(entry: inspection.EntryReport, name: str) -> str:
    if name == "entry":
        return entry.key.digest[:12]
    record = entry.record
    if name == "function":
        return entry.function
    if name == "size":
        return format_size(entry.size)
    if record is None:
        return "?"
    texts = {
        "computed": f"{record.started[:19].replace('T', ' ')} UTC",
        "took": format_duration(record.seconds_computing),
        "python": record.python,
        "host": record.host,
    }
    return texts[name]


def _print_values(found: inspection.EntryDifferences) -> None:
    if found.values is None:
        told = "" if found.is_equal is None else " differ, and"
        text = f"The results{told} cannot be compared: {plain(found.problem)}."
        echo("\n" + textwrap.fill(text, 80, break_long_words=False))
        return
    if found.values.is_equal:
        echo("\nThe results are equal.")
        return
    echo(f"\nThe results differ in {counted(found.values.count, 'place')}:")
    for leaf in found.values.leaves[:_MOST_LEAVES]:
        echo(f"  {leaf.path}: {leaf.text}" if leaf.path else f"  {leaf.text}")
        for line in leaf.lines:
            print_diff_line(plain(f"    {line}"))
        if leaf.cells:
            _print_cells(leaf.cells)
    more = found.values.count - _MOST_LEAVES
    if more > 0:
        echo(f"  … {counted(more, 'more place')}")


def _print_cells(cells: tuple[inspection.Cell, ...]) -> None:
    rows = [("row", "column", "before", "now")]
    rows += [(cell.row, cell.column, cell.before, cell.now) for cell in cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        texts = [
            f"{plain(text):<{width}}" for text, width in zip(row, widths, strict=True)
        ]
        echo(f"    {'  '.join(texts)}".rstrip())
