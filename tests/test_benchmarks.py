"""The benchmarks run, notice wrong results, and their page says what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import page, report
from benchmarks.calls import hits, misses, stamp
from benchmarks.report import Report, compared
from benchmarks.rows import Case, Row, Spread, measure, row_from, spread
from benchmarks.table import markdown
from benchmarks.timing import Pace, Work, WrongResult, take_turns
from cachekit import Memory

ROOT = Path(__file__).parents[1]

ONCE = Pace(seconds=0, budget=0, fewest=1, most=1)


def reported(*seconds: float) -> Work:
    """Return work that says it took so long, in each turn; the first is a try."""
    found = iter((seconds[0], *seconds))
    return Work(lambda: next(found), has_clock=True)


def some_row() -> Row:
    return Row(
        "calls", "hit", "joblib", "s", spread([1.0]), spread([5.0]), spread([5.0])
    )


def test_a_quick_run_writes_rows_with_units_and_versions(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "hashing"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["quick"]
    assert found["machine"]["versions"]["joblib"]
    assert {row["unit"] for row in found["rows"]} == {"s"}
    assert {row["beside"] for row in found["rows"]} >= {"joblib", "BLAKE3"}
    assert not any(row["most"] or row["least"] for row in found["rows"])


def test_a_ratio_is_the_median_of_the_ratios_within_each_turn() -> None:
    ours, theirs = reported(1.0, 2.0, 8.0), reported(3.0, 4.0, 40.0)
    case = Case("a", ours, {"other": theirs}, {"other": 2.5})

    (row,) = measure("topic", case, Pace(0, 1000, 3, 3))

    assert row.ours.median == 2.0
    assert row.other is not None
    assert row.other.median == 4.0
    assert row.ratio == Spread(median=3.0, low=2.5, high=4.0)
    assert row.holds


def test_what_is_owed_in_seconds_has_a_row_of_its_own() -> None:
    case = Case("a", reported(2.0), {"other": reported(3.0)}, most=1.0)

    limit, ratio = measure("topic", case, ONCE)

    assert (limit.beside, limit.ratio, limit.holds) == ("", None, False)
    assert (ratio.beside, ratio.holds) == ("other", None)


def test_functions_are_called_in_turns_and_the_order_is_turned() -> None:
    called: list[str] = []
    works = {name: Work(lambda name=name: called.append(name)) for name in "ab"}  # type: ignore[misc]

    take_turns(works, ONCE, turns=3)

    assert "".join(called) == "abbaab"


def test_a_wrong_result_stops_the_run() -> None:
    with pytest.raises(WrongResult, match="ours: 3"):
        take_turns({"ours": Work(lambda: 3, (2).__eq__)}, ONCE)


def test_a_hit_that_was_computed_is_noticed() -> None:
    with pytest.raises(WrongResult):
        take_turns({"no cache": hits(stamp)}, ONCE)


def test_a_miss_that_was_stored_is_noticed(tmp_path: Path) -> None:
    cached = Memory(tmp_path).cache(stamp)
    take_turns({"ours": misses(cached, start=0)}, ONCE)

    with pytest.raises(WrongResult):
        take_turns({"again": misses(cached, start=0)}, ONCE)


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = Report((some_row(),), {"cores": 2}, is_quick=True)

    written.write(tmp_path / "report.json")

    assert report.read(tmp_path / "report.json") == written


def test_a_change_counts_if_the_middle_halves_do_not_overlap() -> None:
    before = some_row()
    noisy = replace(before, ratio=Spread(6.0, 4.0, 7.0))
    better = replace(before, ratio=Spread(10.0, 9.0, 11.0))

    assert compared([before], [noisy]) == [(before, noisy, 1.2, False)]
    assert compared([before], [better]) == [(before, better, 2.0, True)]
    assert compared([before], [replace(before, name="another")]) == []


def test_quicker_is_better_also_where_there_is_no_other() -> None:
    slow = replace(some_row(), beside="", other=None, ratio=None)
    quick = replace(slow, ours=Spread(0.5, 0.5, 0.5))

    ((_, _, gain, is_sure),) = compared([slow], [quick])

    assert (gain, is_sure) == (2.0, True)


def test_a_row_of_a_table_has_what_is_owed_and_whether_it_holds() -> None:
    row = replace(some_row(), least=6.0, place="tmpfs")

    assert markdown([row]).splitlines()[-1] == (
        "| hit, tmpfs | joblib | 1.00 s | 5.00 s | 5.00x |  | ≥ 6.00x | no |"
    )
    assert row_from(row.to_json()) == row


def test_the_page_says_what_the_latest_report_says() -> None:
    latest = report.read(max(page.HISTORY.glob("*.json")))
    text = page.PAGE.read_text()

    assert page.filled(text, latest) == text
