"""What a run found, as a file: rows, and on what they were measured."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, Spread, row_from

FORMAT = 1


@dataclass(frozen=True)
class Report:
    """The rows of a run, the machine, and whether it was a quick one."""

    rows: tuple[Row, ...]
    machine: dict[str, Any]
    is_quick: bool = False

    def write(self, path: Path) -> None:
        """Write the report as JSON, a row on a line, so that a diff can be read."""
        rows = ",\n".join(json.dumps(_rounded(row.to_json())) for row in self.rows)
        head = {"format": FORMAT, "quick": self.is_quick, "machine": self.machine}
        text = json.dumps(head, indent=1)
        path.write_text(f'{text[:-2]},\n "rows": [\n{rows}\n]}}\n')


def read(path: Path) -> Report:
    """Read what `Report.write` wrote."""
    plain = json.loads(path.read_text())
    if plain["format"] != FORMAT:
        raise SystemExit(f"{path} has format {plain['format']}, and not {FORMAT}")
    rows = tuple(map(row_from, plain["rows"]))
    return Report(rows, plain["machine"], plain["quick"])


def _rounded(value: Any) -> Any:
    """Leave four digits, which is more than a machine repeats."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return value


def compared(
    before: Iterable[Row], after: Iterable[Row]
) -> list[tuple[Row, Row, float, bool]]:
    """Pair the rows of two runs.

    Returns
    -------
    list of tuple
        Both rows; how many times as good the later is; and whether that is more than
        noise: the middle halves of what was measured do not overlap. What counts is
        the ratio to the other, which is less the machine's, or ours where there is
        none.
    """
    earlier = {row.key: row for row in before}
    pairs = []
    for row in after:
        old = earlier.get(row.key)
        if old is None:
            continue
        if row.ratio is not None and old.ratio is not None:
            gain, is_sure = _gain(old.ratio, row.ratio)
        else:
            gain, is_sure = _gain(row.ours, old.ours)  # of seconds, fewer are better
        pairs.append((old, row, gain, is_sure))
    return pairs


def _gain(old: Spread, new: Spread) -> tuple[float, bool]:
    gain = new.median / old.median if old.median else 1.0
    return gain, new.low > old.high or new.high < old.low
