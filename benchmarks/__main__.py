"""Measure, print and draw: ``python -m benchmarks``; also ``compare``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import machine, report
from benchmarks.figures import draw
from benchmarks.others import absent
from benchmarks.page import publish
from benchmarks.report import Report
from benchmarks.rows import Case, Row, Setting, Topic, measure
from benchmarks.table import failed, number, print_rows, title

SHARED_MEMORY = Path("/dev/shm")

OUTPUT = Path("build/benchmarks")

WIDTH = 80


def topics() -> dict[str, Topic]:
    """Return what can be measured, in the order of the tables."""
    from benchmarks import (
        calls,
        entries,
        growth,
        hashing,
        imports,
        parallel,
        persistence,
    )

    return {
        "imports": imports.cases,
        "hashing": hashing.cases,
        "calls": calls.cases,
        "persistence": persistence.cases,
        "parallel": parallel.cases,
        "entries": entries.cases,
        "arrays": growth.arrays,
        "tasks": growth.tasks,
        "functions": growth.functions,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line says."""
    options = _options(arguments)
    console = Console(width=WIDTH)
    if options.command == "compare":
        _compare(console, options.before, options.after)
    elif options.command == "publish":
        publish(report.read(options.report))
    else:
        _run(console, options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that all works")
    parser.add_argument("--full", action="store_true", help="also 10⁶ entries: 25 GB")
    known = topics()
    add = parser.add_argument
    add("--only", nargs="+", choices=known, metavar="TOPIC", help=", ".join(known))
    add("--output", type=Path, default=OUTPUT, help=f"folder of the results ({OUTPUT})")
    add("--disk", type=Path, help="folder of the disk to measure on")
    add("--publish", action="store_true", help="make docs/performance.md anew, too")
    commands = parser.add_subparsers(dest="command")
    compare = commands.add_parser("compare", help="what two reports have in common")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    commands.add_parser("publish", help="as --publish, of a report that is there")
    commands.choices["publish"].add_argument("report", type=Path)
    return parser.parse_args(arguments)


def _run(console: Console, options: argparse.Namespace) -> None:
    for name in absent():
        console.print(f"{name} is not installed, and left out")
    options.output.mkdir(parents=True, exist_ok=True)
    with _places(options.disk) as places:
        made = Report((), machine.facts(places), options.quick)
    for name in options.only or topics():
        # Places for each topic: gigabytes of one are not to be in the way of the next.
        with _places(options.disk) as places:
            with console.status(f"{name} …"):
                found = list(_rows(name, Setting(places, options.quick, options.full)))
            print_rows(console, found)
            # After each topic, for who has no patience for all of them.
            made = replace(made, rows=(*made.rows, *found))
            made.write(options.output / "report.json")
    draw(made.rows, options.output)
    _sum_up(console, made, options.output)
    if options.publish:
        publish(made)


def _rows(name: str, setting: Setting) -> Iterator[Row]:
    for case in topics()[name](setting):
        for row in (
            measure(name, case, setting.pace) if isinstance(case, Case) else [case]
        ):
            # What is small and measured in passing proves nothing.
            yield replace(row, least=None, most=None) if setting.quick else row


def _sum_up(console: Console, made: Report, output: Path) -> None:
    if made.is_quick:
        console.print("A quick run: small amounts, few turns; nothing is judged.")
    else:
        missing = failed(made.rows)
        debts = sum(row.holds is not None for row in made.rows)
        console.print(f"{debts - len(missing)} of {debts} debts are paid; not these:")
        print_rows(console, missing)
    console.print(f"Report and figures: {output}")


@contextmanager
def _places(disk: Path | None) -> Iterator[dict[str, Path]]:
    """Make a folder in memory, if there is such a file system, and on a disk."""
    with ExitStack() as stack:
        places: dict[str, Path] = {}
        for parent in (SHARED_MEMORY, disk or Path(tempfile.gettempdir())):
            if parent.is_dir():
                made = tempfile.TemporaryDirectory(dir=parent, prefix="benchmarks-")
                folder = Path(stack.enter_context(made)).resolve()
                places.setdefault(machine.file_system(folder), folder)
        yield places


def _compare(console: Console, before: Path, after: Path) -> None:
    """Print what has changed by more than its noise."""
    pairs = report.compared(report.read(before).rows, report.read(after).rows)
    changed = [pair for pair in pairs if pair[3]]
    for _, row, gain, _ in sorted(changed, key=lambda pair: pair[2]):
        word = "better" if gain > 1 else "worse"
        factor = number(gain if gain > 1 else 1 / gain)
        beside = f" beside {row.beside}" if row.beside else ""
        console.print(f"{factor}x {word}: {row.topic}: {title(row)}{beside}")
    console.print(f"{len(changed)} of {len(pairs)} rows changed by more than noise")


if __name__ == "__main__":
    main()
