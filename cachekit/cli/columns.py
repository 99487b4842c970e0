"""Tables of texts, for runs: all columns begin at the left, the last one is cut."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cachekit.cli.printing import echo, line_width, shorten
from cachekit.texts import plain


def print_columns(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, longest: int = 34
) -> None:
    """Print rows in the width there is.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequences
        What is in them.
    longest : int, default 34
        Letters of a cell, but in the last column, which takes the rest of the line.
    """
    whole = [
        [shorten(plain(cell), longest, at_start=False) for cell in row[:-1]]
        for row in (header, *rows)
    ]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    room = max(12, line_width() - sum(widths) - 2 * len(widths))
    for number, row in enumerate((header, *rows)):
        cells = [
            f"{cell:<{width}}"
            for cell, width in zip(whole[number], widths, strict=True)
        ]
        last = shorten(plain(row[-1]), room, at_start=False)
        line = "  ".join([*cells, last]).rstrip()
        if number:
            echo(line)
        else:
            click.secho(line, bold=True)
