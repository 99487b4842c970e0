"""Write what a pipeline has found: files that are there whole or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that the replacement is one step of the file system.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_table(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write a table as CSV.

    Parameters
    ----------
    path : Path
        Where to.
    header : sequence of str
        Names of the columns, with units.
    rows : iterable of sequences
        What is in them: texts as they are, floats to six significant digits.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(
            [f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row]
        )
    write_file(path, text.getvalue().encode())
