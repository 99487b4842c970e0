"""Reports as tables of pandas, where that is installed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from cachekit.inspection.reports import EntryReport, read_ahead

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class Reports(list[T]):
    """A list of dataclasses, which can be a table as well."""

    def to_frame(self) -> pd.DataFrame:
        """Return a table, a row for each; see `cachekit.inspection.to_frame`.

        Returns
        -------
        pandas.DataFrame
            Empty if there are no reports.
        """
        return to_frame(self)


def to_frame(reports: Iterable[Any]) -> pd.DataFrame:
    """Make a table of reports, a row for each: of entries, of functions, of versions.

    Times become times of pandas, in UTC. Of entries there are the facts of the record
    besides, and each argument in short, in columns like ``argument.x``.

    Parameters
    ----------
    reports : iterable of dataclasses
        As the functions of this package return them.

    Returns
    -------
    pandas.DataFrame
        Empty if there are no reports.

    Raises
    ------
    ImportError
        If pandas is not installed.
    """
    pandas = imported_pandas()
    made = list(reports)
    _read_records(made)
    frame: pd.DataFrame = pandas.DataFrame([_row(report) for report in made])
    for name in ("last_used", "started"):
        if name in frame:
            frame[name] = pandas.to_datetime(frame[name], utc=True)
    return frame


def imported_pandas() -> Any:
    """Return pandas, or say how to get it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "to_frame() needs pandas, which is not installed; get it with: "
            "python -m pip install pandas"
        ) from error
    return pandas


def _read_records(reports: Iterable[Any]) -> None:
    """Read the records of entries; of a remote store, many at once."""
    groups: dict[int, list[EntryReport]] = {}
    for one in reports:
        if isinstance(one, EntryReport):
            groups.setdefault(id(one.store), []).append(one)
    for group in groups.values():
        if group[0].store is not None:
            read_ahead(group[0].store, group)


def _row(report: Any) -> dict[str, Any]:
    row = _row_of_entry(report) if isinstance(report, EntryReport) else asdict(report)
    if "last_used" in row:
        row["last_used"] = datetime.fromtimestamp(row["last_used"], UTC)
    return row


def _row_of_entry(entry: EntryReport) -> dict[str, Any]:
    record = entry.record
    row = {
        "function": entry.function,
        "fingerprint": entry.key.fingerprint,
        "key": entry.key.digest,
        "size": entry.size,
        "last_used": entry.last_used,
        "hits": entry.hits,
        "seconds_saved": entry.seconds_saved,
        "is_pinned": entry.is_pinned,
        "started": datetime.fromtimestamp(record.began, UTC) if record else None,
        "seconds_computing": record.seconds_computing if record else None,
    }
    for name, facts in (record.arguments if record else {}).items():
        row[f"argument.{name}"] = facts.get("repr")
    return row
