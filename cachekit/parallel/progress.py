"""A progress bar for a loop."""

from __future__ import annotations

from typing import Any


class Progress:
    """Shows how many tasks are done, how many of them were stored, how many failed.

    Parameters
    ----------
    total : int or None
        How many there are, if that is known.
    """

    def __init__(self, total: int | None) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(total=total, unit=" tasks", dynamic_ncols=True)
        self._counts = {"hits": 0, "failed": 0}

    def completed(self, tasks: int, *, hits: int = 0, failed: int = 0) -> None:
        """Count tasks that are done."""
        self._counts["hits"] += hits
        self._counts["failed"] += failed
        if hits or failed:
            shown = {word: n for word, n in self._counts.items() if n}
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(tasks)

    def total(self, tasks: int) -> None:
        """Say how many tasks there are, once that is known."""
        if self._bar.total != tasks:
            self._bar.total = tasks
            self._bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
