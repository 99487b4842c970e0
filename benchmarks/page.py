"""Fill `docs/performance.md`: its tables and figures are made from a report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.figures import draw
from benchmarks.report import Report, read
from benchmarks.table import failed, markdown

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
HISTORY = ROOT / "benchmarks" / "history"


def publish(report: Report) -> None:
    """Write the tables and figures of the page, and keep the report in the history."""
    if report.is_quick:
        raise SystemExit("a quick run says nothing; publish a whole one")
    machine = report.machine
    moment = machine["date"][:16].replace("T", "-").replace(":", "")
    name = f"{moment}-{machine['commit'].rstrip('+')}.json"
    HISTORY.mkdir(exist_ok=True)
    report.write(HISTORY / name)
    kept = read(HISTORY / name)  # rounded, as whoever makes the page again will find it
    figures = ROOT / "docs" / "figures"
    figures.mkdir(exist_ok=True)
    draw(kept.rows, figures)
    PAGE.write_text(filled(PAGE.read_text(), kept))


def filled(text: str, report: Report) -> str:
    """Return the page with each part between its marks made anew.

    A part begins with ``<!-- made: NAME -->`` and ends with ``<!-- end -->``.
    """
    parts = {
        "machine": _machine(report),
        "owed": markdown(row for row in report.rows if row.holds is not None),
        "missing": _missing(report),
        "all": "\n\n".join(_tables(report)),
    }
    return re.sub(
        r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{parts[found[2]]}\n\n{found[3]}",
        text,
        flags=re.DOTALL,
    )


def _machine(report: Report) -> str:
    """Say on what it was measured, and what somebody wrote by hand into the report."""
    facts = report.machine
    versions = (f"{name} {found}" for name, found in facts["versions"].items() if found)
    note = f"**{facts['note']}**\n\n" if "note" in facts else ""
    return (
        f"{note}Measured on {facts['date'][:10]} at commit `{facts['commit']}`: "
        f"{facts['processor']}, {facts['cores']} cores, "
        f"{facts['memory'] / 2**30:.0f} GiB, {' and '.join(facts['file systems'])}, "
        f"load {facts['load'][0]:.1f} when it began; "
        f"Python {facts['python']}, {', '.join(versions)}."
    )


def _missing(report: Report) -> str:
    debts = [row for row in report.rows if row.holds is not None]
    missing = failed(debts)
    if not missing:
        return f"All {len(debts)} debts of this run are paid."
    return (
        f"Of {len(debts)} debts, {len(missing)} fall short in this run:\n\n"
        f"{markdown(missing)}"
    )


def _tables(report: Report) -> Iterable[str]:
    for topic in dict.fromkeys(row.topic for row in report.rows):
        rows = [row for row in report.rows if row.topic == topic and row.x is None]
        if rows:
            yield f"### {topic.capitalize()}\n\n{markdown(rows)}"
