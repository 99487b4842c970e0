"""One call of a `Parallel`, by whom it is run: here by this thread alone.

`workers` has the loop that hands tasks out.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any

from cachekit.parallel.cached import Value, is_reference
from cachekit.parallel.progress import Progress
from cachekit.parallel.tasks import Batch, Failure, Task, parts_of

if TYPE_CHECKING:
    from cachekit.parallel.dispatch import Parallel


class Loop(ABC):
    """One call of a `Parallel`.

    Parameters
    ----------
    parallel : Parallel
        Its settings; its counters are kept up to date.
    iterable : iterable of tasks
        The tasks.
    """

    def __init__(self, parallel: Parallel, iterable: Iterable[Task]) -> None:
        self._parallel = parallel
        self._tasks: Iterator[Task] = iter(iterable)
        self._began = time.perf_counter()
        self._is_over = False
        total = len(iterable) if isinstance(iterable, Sized) else None
        self._progress = Progress(total) if parallel.progress else None

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._began

    def start(self) -> None:  # noqa: B027
        """Hand out the first tasks, before anybody asks for a result."""

    @abstractmethod
    def results(self) -> Generator[Any, None, None]:
        """Yield the results."""

    def abandon(self) -> None:
        """Stop what runs, since nobody wants the results; once is enough."""
        self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            if self._progress is not None:
                self._progress.close()
            self._parallel.finish()

    def _outcome(self, outcome: Any) -> Iterator[Any]:
        """Yield what becomes of the outcome of a task."""
        if type(outcome) is not Failure:
            wants_reference = self._parallel.return_as == "reference"
            is_value = wants_reference and not is_reference(outcome)
            yield Value(outcome) if is_value else outcome
        elif self._parallel.on_error == "return":
            outcome.error.add_note(outcome.note())
            yield outcome.error
        elif self._parallel.on_error == "raise":
            raise_failure(outcome)

    def _completed_tasks(self, count: int, *, hits: int = 0, failed: int = 0) -> None:
        self._parallel.n_completed_tasks += count
        self._parallel.print_progress()
        if self._progress is not None:
            self._progress.completed(count, hits=hits, failed=failed)

    def _note_total(self, tasks: int) -> None:
        self._parallel.n_tasks = tasks
        if self._progress is not None:
            self._progress.total(tasks)


class SequentialLoop(Loop):
    """One worker: this thread."""

    def results(self) -> Generator[Any, None, None]:
        """Run the tasks as their results are asked for."""
        parallel = self._parallel
        is_plain = parallel.on_error == "raise" and parallel.retries == 0
        is_plain &= self._progress is None and parallel.return_as != "reference"
        try:
            for task in self._in_order():
                parallel.n_dispatched_tasks += 1
                if is_plain:  # the traceback is the user's alone
                    function, args, kwargs = parts_of(task)
                    value = function(*args, **kwargs)
                    parallel.n_completed_tasks += 1
                    parallel.print_progress()
                    yield value
                else:
                    yield from self._tried(task, parallel.n_dispatched_tasks - 1)
            self._note_total(parallel.n_dispatched_tasks)
        finally:
            self._end()

    def _in_order(self) -> Iterator[Task]:
        """Yield the tasks, taking as many at once as go into a batch."""
        size = self._parallel.batch_size
        if isinstance(size, str):
            yield from self._tasks
            return
        while tasks := list(itertools.islice(self._tasks, size)):
            yield from tasks

    def _tried(self, task: Task, position: int) -> Iterator[Any]:
        batch = Batch([task], position, retries=self._parallel.retries)
        (outcome,) = batch().outcomes
        self._completed_tasks(1, failed=int(type(outcome) is Failure))
        return self._outcome(outcome)


def raise_failure(failure: Failure) -> None:
    """Raise what a task has raised, and say which task it was."""
    error = failure.error
    error.add_note(failure.note())
    raise error
