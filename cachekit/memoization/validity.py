"""`expires_after`: a validation callback that goes by age."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


def expires_after(
    days: float = 0,
    seconds: float = 0,
    microseconds: float = 0,
    milliseconds: float = 0,
    minutes: float = 0,
    hours: float = 0,
    weeks: float = 0,
) -> Callable[[dict[str, Any]], bool]:
    """Return a `cache_validation_callback` for results that are valid so long.

    ``expires="12h"`` says the same in one word.

    Parameters
    ----------
    days, seconds, microseconds, milliseconds, minutes, hours, weeks : float, default 0
        Added up, from when the call began.

    Returns
    -------
    callable
        To be given to `Memory.cache`.
    """
    limit = timedelta(
        days, seconds, microseconds, milliseconds, minutes, hours, weeks
    ).total_seconds()
    return _IsYounger(limit)


@dataclass(frozen=True)
class _IsYounger:
    """Tells whether a result is younger than so many seconds; can be pickled."""

    limit: float

    def __call__(self, metadata: dict[str, Any]) -> bool:
        return bool(time.time() - metadata["time"] < self.limit)
