"""``accept``: an edit changes no result, says the user."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from cachekit import inspection
from cachekit.amounts import counted, format_size
from cachekit.cli.options import json_option, store_option
from cachekit.cli.printing import ago, echo, print_diff_line, print_json


@click.command(short_help="Say that an edit of the code changes no result.")
@click.argument("function")
@click.option(
    "--check",
    "most",
    type=click.IntRange(min=1),
    metavar="N",
    help="First run N of the stored calls again by the code as it is now, each in a "
    "new process, and compare: only calls with short literals as arguments.",
)
@click.option(
    "--version",
    metavar="DIGITS",
    help="The first digits of the version to count as, as `du --by code` names them.  "
    "[default: the one used last]",
)
@click.option("--undo", is_flag=True, help="Take back what was accepted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_option
@json_option
@click.pass_context
def accept(
    ctx: click.Context,
    function: str,
    most: int | None,
    version: str | None,
    location: str | None,
    *,
    undo: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Say that an edit changes no result: older ones count for the new code.

    FUNCTION, as `module.function` or `script.py:function`, is imported from the
    current folder. Shows what has changed since the older version, and asks. From then
    on calls of the function find what that version has stored, and store there; the
    code that calls it is accepted by itself. It holds for this code: after another
    edit, it is asked anew.

    Exit code 1 if a result differs, or nothing was accepted.
    """
    try:
        store = inspection.store_at(location) if location else None
        if undo:
            _undo(ctx, inspection.withdraw(function, store=store), as_json=as_json)
            return
        proposal = inspection.propose(function, store=store, version=version)
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from error
    if not as_json:
        _print_proposal(proposal)
    checked = _check(proposal, most, as_json=as_json)
    is_equal = all(one.outcome in ("same", "not run") for one in checked)
    times = sum(one.outcome == "same" for one in checked)
    is_accepted = is_equal and (most is None or times > 0)
    if is_accepted and not yes:
        is_accepted = _ask(as_json=as_json)
    if is_accepted:
        inspection.accept(proposal, checked=times)
    if as_json:
        print_json(_facts(proposal, checked, is_accepted=is_accepted))
    else:
        _print_outcome(checked, is_accepted=is_accepted, is_equal=is_equal, most=most)
    ctx.exit(0 if is_accepted else 1)


def _undo(
    ctx: click.Context, found: list[inspection.Acceptance], *, as_json: bool
) -> None:
    if as_json:
        print_json({"withdrawn": [asdict(one) for one in found]})
    elif found:
        for one in found:
            echo(f"{one.function}() counts as its own version again.")
    else:
        echo("Nothing was accepted.", err=True)
    ctx.exit(0 if found else 1)


def _print_proposal(proposal: inspection.Proposal) -> None:
    size = sum(info.size for info in proposal.entries)
    calls = counted(len(proposal.entries), "call")
    echo(
        f"{proposal.function}() is to count as its version {proposal.counts_as[:12]}:\n"
        f"{calls}, {format_size(size)}, last used {ago(proposal.last_used)}."
    )
    if proposal.own:
        own = counted(proposal.own, "call")
        echo(f"By the code as it is now, {own} stored: not used any more then.")
    echo("\nWhat has changed:" if proposal.units else "\nNo line has changed.")
    for unit in proposal.units:
        for line in inspection.unit_lines(unit):
            print_diff_line(line)
    echo("")


def _check(
    proposal: inspection.Proposal, most: int | None, *, as_json: bool
) -> list[inspection.Recomputed]:
    if most is None:
        return []
    found = []
    for one in inspection.check(proposal, most):
        found.append(one)
        if not as_json and one.outcome in ("different", "failed"):
            echo(f"{one.key.digest[:12]}  {one.outcome}: {one.what}")
    return found


class _NobodyToAsk(click.ClickException):
    """Wrong usage, but of a form that is right: no help with that is shown."""

    exit_code = 2


def _ask(*, as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        raise _NobodyToAsk("nobody can be asked here; add --yes")
    return click.confirm("Is every result the same by the new code?")


def _print_outcome(
    checked: list[inspection.Recomputed],
    *,
    is_accepted: bool,
    is_equal: bool,
    most: int | None,
) -> None:
    same = sum(one.outcome == "same" for one in checked)
    if same:
        echo(f"{counted(same, 'call')} computed again, with the same results.")
    if is_accepted:
        echo("Accepted; --undo takes it back.")
    elif not is_equal:
        echo("Not accepted: results differ.", err=True)
    elif most is not None and not same:
        reason = checked[0].what if checked else "nothing is stored"
        echo(f"Not accepted: no call could be run again, for {reason}.", err=True)
    else:
        echo("Not accepted.", err=True)


def _facts(
    proposal: inspection.Proposal,
    checked: list[inspection.Recomputed],
    *,
    is_accepted: bool,
) -> dict[str, object]:
    return {
        "function": proposal.function,
        "fingerprint": proposal.fingerprint,
        "counts_as": proposal.counts_as,
        "calls": len(proposal.entries),
        "units": [asdict(unit) for unit in proposal.units],
        "checked": [{**asdict(one), "key": one.key._asdict()} for one in checked],
        "is_accepted": is_accepted,
    }
