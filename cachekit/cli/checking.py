"""Commands that say whether all is well: ``verify`` and ``doctor``."""

from __future__ import annotations

import contextlib
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import click

from cachekit import inspection
from cachekit.amounts import counted, format_size
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import echo, print_json
from cachekit.stores import EntryKey, Store, TieredStore

# What is found is read in lines; wider ones are hard to read.
_WIDEST = 100

_INDENT = 12


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option(
    "--repair",
    is_flag=True,
    help="Move damaged calls away, below .damaged in the store; from a remote one "
    "they are removed. Their next call computes them again.",
)
@click.option(
    "--signing-key-env",
    "variable",
    metavar="VARIABLE",
    help="The environment variable with the key that values are signed with, if it "
    "is not CACHEKIT_SIGNING_KEY.",
)
@click.option(
    "--recompute",
    "most",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also run N of the calls again, each in a new process with another "
    "PYTHONHASHSEED, and compare: only calls of functions that can be imported here, "
    "with short literals as arguments. It runs your code.",
)
@store_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    names: tuple[str, ...],
    location: str | None,
    *,
    repair: bool,
    variable: str | None,
    most: int | None,
    as_json: bool,
) -> None:
    """Check stored calls byte by byte: all, or those named.

    NAME is a function, or the first digits of a key. Checked are every checksum, to
    which call a value belongs, its signature, its record and its files. Nothing is
    unpickled. Exit code 1 if something was wrong, repaired or not.
    """
    try:
        secret = inspection.signing_secret(variable)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    store = inspection.store_at(location)
    keys = [one.key for one in inspection.select(store, names)] if names else None
    tally = _Tally()
    with _progress(store, keys) as advance:
        for found in inspection.verify(store, keys, secret=secret):
            advance(found.size)
            tally.count(found)
            if found.problem is not None:
                moved = _put_away(found) if repair else None
                tally.note(found, moved)
                if not as_json:
                    _print_problem(store, found.problem, moved)
    if not as_json:
        _print_summary(tally, repair=repair)
    if most is not None:
        _recompute(store, keys, most, tally, as_json=as_json)
    if as_json:
        print_json(tally.facts())
    ctx.exit(0 if tally.is_well else 1)


@click.command()
@store_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, location: str | None, as_json: bool) -> None:
    """Look whether the store, its place and this machine are in order.

    Writes an entry of its own and removes it. Exit code 1 if there is a warning or a
    problem.
    """
    found = []
    place = ""
    for finding in inspection.examine(location):
        found.append(finding)
        if not as_json:
            if finding.place != place:
                place = finding.place
                echo(f"\n{place}")
            _print_finding(finding)
    counts = Counter[str](finding.severity for finding in found)
    is_well = not counts["warning"] + counts["problem"]
    if as_json:
        findings = [asdict(finding) for finding in found]
        print_json({"is_well": is_well, "findings": findings})
    else:
        echo(f"\n{_verdict(counts)}")
    ctx.exit(0 if is_well else 1)


# --- verify ---


@dataclass
class _Tally:
    """What was found so far."""

    entries: int = 0
    size: int = 0
    unknown: int = 0
    problems: list[inspection.Problem] = field(default_factory=list)
    moved: list[str | None] = field(default_factory=list)
    recomputed: list[inspection.Recomputed] | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        outcomes = {one.outcome for one in self.recomputed or ()}
        return not self.problems and outcomes <= {"same", "not run"}

    def count(self, found: inspection.Verified) -> None:
        """Count an entry."""
        self.entries += 1
        self.size += found.size
        self.unknown += found.is_signature_unknown

    def note(self, found: inspection.Verified, moved: str | None) -> None:
        """Note what is wrong with an entry, and where it is now."""
        if found.problem is not None:
            self.problems.append(found.problem)
            self.moved.append(moved)

    def facts(self) -> dict[str, object]:
        """Return what `--json` says."""
        facts: dict[str, object] = {
            "checked": self.entries,
            "bytes": self.size,
            "signatures_unknown": self.unknown,
            "problems": [
                {
                    "location": one.location,
                    "key": one.key.digest,
                    "path": f"{one.location}/{one.key.path}",
                    "function": one.function,
                    "kind": one.kind,
                    "what": one.what,
                    "advice": one.advice,
                    "repaired": moved,
                }
                for one, moved in zip(self.problems, self.moved, strict=True)
            ],
        }
        if self.recomputed is not None:
            facts["recomputed"] = [
                {**asdict(one), "key": one.key.digest} for one in self.recomputed
            ]
        return facts

    def summary(self) -> str:
        """Say in a line how it went."""
        done = f"Checked {counted(self.entries, 'entry')}, {format_size(self.size)}"
        kinds = Counter(one.kind for one in self.problems)
        wrong = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
        return f"{done}: {wrong or 'all is well'}."

    def advice(self, *, repair: bool) -> Iterator[str]:
        """Say what to do, once for each kind of problem."""
        if self.unknown:
            signed = counted(self.unknown, "signed value")
            yield f"{signed} checked without a key: name it by --signing-key-env."
        told = {one.kind: one.advice for one in self.problems}
        for kind, advice in told.items():
            if not (repair and kind == "damaged"):
                yield f"{kind}: {advice}."


def _put_away(found: inspection.Verified) -> str | None:
    """Repair what can be: say where the entry is now, or that it is removed."""
    if found.problem is None or found.problem.kind != "damaged":
        return None
    place = inspection.put_away(found)
    if place is None:
        return "left: it is read only, being written, or whole by now"
    if place == "removed":
        return place
    return f"moved to {place.removeprefix(found.store.location).lstrip('/')}"


def _print_summary(tally: _Tally, *, repair: bool) -> None:
    echo(tally.summary())
    for line in tally.advice(repair=repair):
        echo(line)


def _recompute(
    store: Store,
    keys: Sequence[EntryKey] | None,
    most: int,
    tally: _Tally,
    *,
    as_json: bool,
) -> None:
    """Run calls again; say which gave another result."""
    wrong = {one.key for one in tally.problems}
    chosen = (info.key for info in store.entries()) if keys is None else keys
    tally.recomputed = []
    whole = [key for key in chosen if key not in wrong]
    for found in inspection.recompute(store, whole, most):
        tally.recomputed.append(found)
        if found.outcome in ("different", "failed") and not as_json:
            digits = found.key.digest[:12]
            echo(f"{found.outcome:<{_INDENT}}{digits}  {found.function}")
            echo(_wrapped("", found.what))
    if not as_json:
        _print_recomputed(tally.recomputed)


def _print_recomputed(found: Sequence[inspection.Recomputed]) -> None:
    outcomes = Counter(one.outcome for one in found)
    idle = outcomes.pop("not run", 0)
    told = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.items())
    calls = counted(outcomes.total(), "call")
    echo(f"Ran {calls} again{': ' if told else ''}{told}.")
    if outcomes["different"]:
        echo(
            _wrapped(
                "",
                "different: such a function is not deterministic. Give it a seed, sort "
                "what has no order, or do not cache it.",
                indent=0,
            )
        )
    if idle:
        echo(f"{counted(idle, 'call')} could not be run:")
    reasons = Counter(one.what for one in found if one.outcome == "not run")
    for reason, number in reasons.most_common():
        echo(_wrapped(f"{number:>9,}", reason))


def _print_problem(
    store: Store, problem: inspection.Problem, moved: str | None
) -> None:
    digits = problem.key.digest[:12]
    echo(f"{problem.kind:<{_INDENT}}{digits}  {problem.function}")
    echo(_wrapped("", problem.what))
    # Paths are to be copied whole.
    if isinstance(store, TieredStore):
        echo(f"{'':<{_INDENT}}in {problem.location}")
    if moved is not None:
        echo(f"{'':<{_INDENT}}{moved}")


@contextlib.contextmanager
def _progress(
    store: Store, keys: Sequence[EntryKey] | None
) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far it is; give what counts an entry of so many bytes."""
    if not sys.stderr.isatty():
        yield lambda size: None  # noqa: ARG005
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    total = sum(1 for _ in store.entries()) if keys is None else len(keys)
    size = 0
    columns = (
        TextColumn("verifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[read]}"),
        Remaining(),
    )
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else what is piped would end up there
    ) as progress:
        task = progress.add_task("", total=total, read="")

        def advance(more: int) -> None:
            nonlocal size
            size += more
            progress.update(task, advance=1, read=format_size(size))

        yield advance


# --- doctor ---


def _print_finding(finding: inspection.Finding) -> None:
    first = f"{finding.severity:<9}{finding.topic}"
    echo(_wrapped(first, finding.what, indent=_TOPIC))
    if finding.advice:
        echo(_wrapped("", f"→ {finding.advice}", indent=_TOPIC))


# Where the texts of findings begin.
_TOPIC = 20


def _verdict(counts: Counter[str]) -> str:
    wrong = [
        counted(counts[severity], severity)
        for severity in ("problem", "warning", "note")
        if counts[severity]
    ]
    return f"{', '.join(wrong)}." if wrong else "All is well."


def _wrapped(first: str, text: str, *, indent: int = _INDENT) -> str:
    """Wrap a text to the terminal, to the right of a column."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    return textwrap.fill(
        text,
        max(width, 2 * indent),
        initial_indent=f"{first:<{indent}}",
        subsequent_indent=" " * indent,
        break_long_words=False,  # a path is to be copied whole
        break_on_hyphens=False,
    )
