"""What notebooks show of a memory, a cached function and a reference."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from cachekit.amounts import format_duration, format_size
from cachekit.memoization.lineage import Record
from cachekit.memoization.tally import CacheInfo, Tally

Row = tuple[str, str]


def table(title: str, rows: Iterable[Row]) -> str:
    """Return a small table with a title; both are escaped.

    Parameters
    ----------
    title : str
        What is shown.
    rows : iterable of (str, str)
        A word and its value.
    """
    # The colours are the notebook's own, in the light and in the dark.
    body = "".join(
        f'<tr><th style="text-align:left">{escape(word)}</th>'
        f'<td style="text-align:left">{escape(value)}</td></tr>'
        for word, value in rows
    )
    return (
        f'<table><caption style="text-align:left"><code>{escape(title)}</code>'
        f"</caption><tbody>{body}</tbody></table>"
    )


def rows_of_tally(tally: Tally) -> list[Row]:
    """Return what a memory did in this process."""
    saved = format_duration(tally.seconds_saved)
    took = format_duration(tally.seconds_computed)
    return [
        ("hits", f"{tally.hits}, which saved {saved}"),
        ("misses", f"{tally.misses}, which took {took}"),
    ]


def rows_of_info(info: CacheInfo) -> list[Row]:
    """Return what a memory did for a function in this process."""
    return [
        ("hits", f"{info.hits}, which saved {format_duration(info.seconds_saved)}"),
        ("misses", str(info.misses)),
        ("stored", format_size(info.bytes)),
    ]


def rows_of_record(record: Record | None) -> list[Row]:
    """Return what is known of a call."""
    if record is None:
        return [("result", "gone")]
    arguments = [
        (name, facts.get("repr", "(redacted)"))
        for name, facts in record.arguments.items()
    ]
    return [
        *arguments,
        ("computed", f"{record.started[:19].replace('T', ' ')} UTC"),
        ("took", format_duration(record.seconds_computing)),
        ("size", format_size(record.value_bytes + sum(record.files.values()))),
    ]
