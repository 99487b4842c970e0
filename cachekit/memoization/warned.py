"""Note the warnings that a call gives while it is computed, for its record.

A hit does not give them again: that a fit has not converged would be known to the first
run alone. What the call catches itself, and what the filters pass over, is not noted.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import PurePath
from typing import TextIO

from cachekit.texts import cut, plain

# So many warnings of a call are noted, and so much of each.
MOST_WARNINGS = 20
LONGEST_WARNING = 300


class WarningNotes:
    """Notes warnings while any call is computed; one for the process.

    Parameters
    ----------
    note : callable
        Given a warning as a text, keeps it for the call that runs in this thread.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._show = warnings.showwarning
        self._ours = self._noted  # the method anew each time would be another object
        self._calls = 0
        self.begin_in_process()

    def begin_in_process(self) -> None:
        """Take a lock of one's own: another thread may have held the parent's."""
        self._lock = threading.RLock()  # a signal handler may call too

    def begin(self) -> None:
        """Note warnings from now on."""
        with self._lock:
            self._calls += 1
            # Whoever catches warnings puts back what was there, which may be us.
            if warnings.showwarning is not self._ours:
                self._show = warnings.showwarning
                warnings.showwarning = self._ours

    def end(self) -> None:
        """Note warnings no more, if this was the last call."""
        with self._lock:
            self._calls -= 1
            if self._calls == 0 and warnings.showwarning is self._ours:
                warnings.showwarning = self._show

    def _noted(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        self._note(_text_of(message, category, filename, lineno))
        self._show(message, category, filename, lineno, file, line)


def _text_of(
    message: Warning | str, category: type[Warning], filename: str, lineno: int
) -> str:
    """Write a warning on one line, with its place first: it may be long."""
    try:
        said = " ".join(str(message).split())
    except Exception as error:  # noqa: BLE001  (its text is made by code of the user's)
        said = f"<its text raised {type(error).__name__}>"
    text = f"{category.__name__} at {PurePath(filename).name}:{lineno}: {said}"
    return cut(plain(text), LONGEST_WARNING)
