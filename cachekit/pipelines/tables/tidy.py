"""Texts that are numbers or dates: what has to be done before `TableVectorizer`.

It reads numbers and dates itself, but of one format in a column, and without units.
No step here looks at the target, and only the kind of a column depends on other rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def tidy_columns(
    columns: Mapping[str, Sequence[str | None]],
    *,
    units: Sequence[str],
    date_formats: Sequence[str],
    min_parsed: float,
) -> dict[str, Any]:
    """Make numbers and dates of columns that hold them, and tidy the other texts.

    Parameters
    ----------
    columns : mapping of str to sequence
        Texts by the name of their column; None where there is none.
    units : sequence of str
        What may stand beside a number.
    date_formats : sequence of str
        As for `datetime.datetime.strptime`; the first that fits counts.
    min_parsed : float
        Share of the texts that have to be numbers, or dates, 0 to 1.

    Returns
    -------
    dict
        By name, an array of float64 or of datetime64[s], or a tuple of texts in lower
        case with single spaces. What is missing is nan, NaT or None.
    """
    tidied: dict[str, Any] = {}
    for name, texts in columns.items():
        numbers = parse_numbers(texts, units=units)
        dates = parse_dates(texts, formats=date_formats)
        if is_mostly(numbers, texts, min_parsed):
            tidied[name] = numbers
        elif is_mostly(dates, texts, min_parsed):
            tidied[name] = dates
        else:
            tidied[name] = tuple(
                None if text is None else " ".join(text.lower().split())
                for text in texts
            )
    return tidied


def parse_numbers(
    texts: Sequence[str | None], *, units: Sequence[str]
) -> NDArray[np.float64]:
    """Read numbers: ``"$ 61,250.50"``, ``"37.5 h"``, ``"-1e3"``; nan for what is none.

    Parameters
    ----------
    texts : sequence of str or None
        Commas are taken for separators of thousands, and only where these belong:
        ``"37,5"`` is no number.
    units : sequence of str
        What may stand before or after; ``"12A"`` is no number, unless ``"A"`` is one.
    """
    import numpy as np

    unit = "|".join(re.escape(unit) for unit in units)
    digits = r"(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][-+]?\d+)?"
    pattern = re.compile(rf"\s*(?:{unit})?\s*([-+]?{digits})\s*(?:{unit})?\s*")

    def parse(text: str | None) -> float:
        found = pattern.fullmatch(text or "")
        try:
            number = float(found[1].replace(",", "")) if found else math.nan
        except ValueError:  # a unit alone, or a point
            return math.nan
        return number if math.isfinite(number) else math.nan  # "1e999"

    return np.array([parse(text) for text in texts], np.float64)


def parse_dates(
    texts: Sequence[str | None], *, formats: Sequence[str]
) -> NDArray[np.datetime64]:
    """Read dates of several formats; NaT for what is none.

    Parameters
    ----------
    texts : sequence of str or None
        Dates, perhaps with times.
    formats : sequence of str
        As for `datetime.datetime.strptime`; the first that fits counts.
    """
    import numpy as np

    def parse(text: str | None) -> datetime | None:
        for wanted in formats:
            try:
                # Only the wall clock counts: arrays of NumPy have no time zones.
                return datetime.strptime((text or "").strip(), wanted).replace(
                    tzinfo=None
                )
            except ValueError:
                continue
        return None

    return np.array([parse(text) for text in texts], "datetime64[s]")


def is_mostly(
    parsed: NDArray[Any], texts: Sequence[str | None], min_parsed: float
) -> bool:
    """Tell whether enough of the texts could be read as what was tried."""
    n_texts = sum(bool(text and text.strip()) for text in texts)
    n_parsed = int((parsed == parsed).sum())  # neither nan nor NaT is itself
    return n_texts > 0 and n_parsed >= min_parsed * n_texts
