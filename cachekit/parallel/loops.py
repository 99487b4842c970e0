"""A loop that runs: tasks are handed out, results are gathered.

::

    dispatch   while there is room: take tasks, make a batch, submit it
    wait       for any batch to end: a condition variable, no polling
    gather     in the order of the tasks, or as they come

All of it happens in the thread that wants the results, also the taking of tasks from
the user's generator. Workers only run batches, and say when one is done.
"""

from __future__ import annotations

import ast
import itertools
import operator
import os
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing import TimeoutError as TaskTimeout
from typing import TYPE_CHECKING, Any

from cachekit.parallel import board
from cachekit.parallel.batching import BatchSizer
from cachekit.parallel.tasks import Batch, Done, Failure, Task, short_call

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
        if not self._is_over:
            self._is_over = True
            self._parallel.finish()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._parallel.finish()

    def _outcome(self, outcome: Any) -> Iterator[Any]:
        """Yield what becomes of the outcome of a task."""
        if type(outcome) is not Failure:
            yield outcome
        elif self._parallel.on_error == "return":
            outcome.error.add_note(outcome.note())
            yield outcome.error
        elif self._parallel.on_error == "raise":
            raise_failure(outcome)

    def _completed_tasks(self, count: int) -> None:
        self._parallel.n_completed_tasks += count
        self._parallel.print_progress()


class SequentialLoop(Loop):
    """One worker: this thread."""

    def results(self) -> Generator[Any, None, None]:
        """Run the tasks as their results are asked for."""
        parallel = self._parallel
        size = 1 if parallel.batch_size == "auto" else int(parallel.batch_size)
        is_plain = parallel.on_error == "raise" and parallel.retries == 0
        try:
            while tasks := list(itertools.islice(self._tasks, size)):
                for task in tasks:
                    parallel.n_dispatched_tasks += 1
                    if is_plain:  # the traceback is the user's alone
                        function, args, kwargs = task
                        yield function(*args, **kwargs)
                    else:
                        yield from self._tried(task, parallel.n_dispatched_tasks - 1)
                    self._completed_tasks(1)
            parallel.n_tasks = parallel.n_dispatched_tasks
        finally:
            self._end()

    def _tried(self, task: Task, position: int) -> Iterator[Any]:
        batch = Batch([task], position, retries=self._parallel.retries)
        (outcome,) = batch().outcomes
        return self._outcome(outcome)


class _Job:
    """A batch that was handed out."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.submitted = board.now()
        self.out: Any = None
        self.done: Done | None = None
        self.is_done = False


class WorkersLoop(Loop):
    """Several workers.

    Parameters
    ----------
    parallel, iterable
        As for `Loop`.
    workers : int
        How many there are.
    """

    def __init__(
        self, parallel: Parallel, iterable: Iterable[Task], workers: int
    ) -> None:
        super().__init__(parallel, iterable)
        self._backend = parallel._backend
        self._is_exhausted = False
        self._sizer = BatchSizer()
        self._most = most_in_flight(parallel.pre_dispatch, workers)
        self._changed = threading.Condition()
        self._in_flight = 0
        self._waiting: deque[_Job] = deque()  # whose results are to come, in order
        self._ended: deque[_Job] = deque()  # those of them that have just ended
        nested = self._backend.get_nested_backend()
        self._nested = nested if isinstance(nested, tuple) else (nested, None)
        self._board = getattr(self._backend, "board", None)
        self._backend.start_call()

    def start(self) -> None:
        """Hand out the first tasks."""
        try:
            self._dispatch()
        except BaseException:
            self._stop()
            raise

    def results(self) -> Generator[Any, None, None]:
        """Yield the results, and hand out the next tasks meanwhile."""
        try:
            with self._backend.retrieval_context():
                self._dispatch()
                while (job := self._next_job()) is not None:
                    for outcome in self._outcomes_of(job):
                        if type(outcome) is not Failure:
                            yield outcome
                        else:
                            yield from self._outcome(outcome)
        except GeneratorExit:
            self.abandon()
            raise
        except BaseException:
            self._stop()
            raise
        self._backend.stop_call()
        self._end()

    def abandon(self) -> None:
        """Stop what runs, since nobody wants the results."""
        if self._is_over:
            return
        if self._in_flight or not self._is_exhausted:
            warnings.warn(
                "the results of a parallel loop were given up before all of them were "
                "there: its tasks were stopped",
                stacklevel=3,
            )
        self._stop()

    def _stop(self) -> None:
        """Stop the workers, whatever they do."""
        if not self._is_over:
            if self._in_flight:
                self._parallel.restart()
            self._backend.stop_call()
            self._end()

    # --- hand out ---

    def _dispatch(self) -> None:
        parallel = self._parallel
        while not self._is_exhausted and self._in_flight < self._most:
            size = self._batch_size()
            tasks = list(itertools.islice(self._tasks, size))
            if len(tasks) < size:
                self._is_exhausted = True
                parallel.n_tasks = parallel.n_dispatched_tasks + len(tasks)
            if tasks:
                self._submit(tasks)

    def _batch_size(self) -> int:
        if self._parallel.batch_size != "auto":
            return int(self._parallel.batch_size)
        return max(self._sizer.size, self._backend.compute_batch_size())

    def _submit(self, tasks: list[Task]) -> None:
        parallel = self._parallel
        batch = Batch(
            tasks,
            parallel.n_dispatched_tasks,
            retries=parallel.retries,
            goes_on=parallel.on_error != "raise",
            nested=self._nested,
            board=self._board,
        )
        job = _Job(batch)
        with self._changed:
            self._in_flight += 1
            self._waiting.append(job)
        parallel.n_dispatched_tasks += len(tasks)
        parallel.n_dispatched_batches += 1
        self._backend.submit(batch, lambda out: self._note_end(job, out))

    def _note_end(self, job: _Job, out: Any) -> None:
        """Take note that a batch has ended; called in any thread."""
        with self._changed:
            job.out, job.is_done = out, True
            self._in_flight -= 1
            self._ended.append(job)
            self._changed.notify_all()

    # --- gather ---

    def _next_job(self) -> _Job | None:
        """Wait for a batch, handing out more as others end; None at the end."""
        while True:
            with self._changed:
                job = self._take()
                if job is not None:
                    return job
                if not self._waiting:
                    return None
                if self._is_exhausted or self._in_flight >= self._most:
                    self._wait()
            self._dispatch()

    def _take(self) -> _Job | None:
        """Return the batch whose results are next, if it has ended."""
        if not self._parallel.return_ordered:
            if not self._ended:
                return None
            job = self._ended.popleft()
            self._waiting.remove(job)
            return job
        failed = self._failed()
        if failed is not None:
            return failed
        if self._waiting and self._waiting[0].is_done:
            return self._waiting.popleft()
        return None

    def _failed(self) -> _Job | None:
        """Return a batch that has failed, which nobody should wait to hear."""
        while self._ended:
            job = self._ended.popleft()
            if self._parallel.on_error == "raise" and self._has_failed(job):
                return job
        return None

    def _outcomes_of(self, job: _Job) -> list[Any]:
        try:
            done = self._done_of(job)
        except BaseException as error:
            self._name_tasks(error, job)
            raise
        self._sizer.completed(len(job.batch), done.seconds)
        self._backend.batch_completed(len(job.batch), done.seconds)
        self._completed_tasks(len(done.outcomes))
        for number, outcome in enumerate(done.outcomes):
            if type(outcome) is Failure and outcome.position < 0:  # it was not sent
                outcome.position = job.batch.first + number
                outcome.call = short_call(job.batch.tasks[number])
        self._dispatch()
        return done.outcomes

    def _done_of(self, job: _Job) -> Done:
        """Return what came of a batch; it is read once."""
        if job.done is None:
            job.done = self._backend.retrieve_result_callback(job.out)
            job.out = None
        return job.done

    def _has_failed(self, job: _Job) -> bool:
        try:
            done = self._done_of(job)
        except BaseException:  # noqa: BLE001  (it is raised when its results are taken)
            return True
        return any(type(outcome) is Failure for outcome in done.outcomes[-1:])

    def _wait(self) -> None:
        """Wait until a batch ends, or a task takes too long."""
        timeout = self._parallel.timeout
        if timeout is None:
            self._changed.wait()
            return
        now = board.now()
        overdue = [one for one in self._at_work() if now - one.since >= timeout]
        if overdue:
            task = self._task_at(overdue[0].position)
            raise TaskTimeout(
                f"task {overdue[0].position} takes longer than timeout={timeout} "
                f"seconds: {short_call(task) if task else ''}"
            )
        first = min((one.since for one in self._at_work()), default=now)
        self._changed.wait(max(first + timeout - now, 0.001))

    def _at_work(self) -> list[board.AtWork]:
        if self._board is not None:
            return [one for one in self._board.at_work() if self._task_at(one.position)]
        return [
            board.AtWork(0, job.batch.first, job.submitted)
            for job in self._waiting
            if not job.is_done
        ]

    def _task_at(self, position: int) -> Task | None:
        for job in self._waiting:
            number = position - job.batch.first
            if not job.is_done and 0 <= number < len(job.batch):
                return job.batch.tasks[number]
        return None

    def _name_tasks(self, error: BaseException, job: _Job) -> None:
        """Say which tasks the workers that are gone were at."""
        at_work = [] if self._board is None else self._board.at_work()
        tasks = {job.batch.first + n: task for n, task in enumerate(job.batch.tasks)}
        for waiting in self._waiting:
            for number, task in enumerate(waiting.batch.tasks):
                tasks[waiting.batch.first + number] = task
        for one in at_work:
            if one.position in tasks and not _is_alive(one.worker):
                error.add_note(
                    f"Worker {one.worker} died at task {one.position}: "
                    f"{short_call(tasks[one.position])}"
                )


def raise_failure(failure: Failure) -> None:
    """Raise what a task has raised, and say which task it was."""
    error = failure.error
    error.add_note(failure.note())
    raise error


def most_in_flight(pre_dispatch: int | str, workers: int) -> int:
    """Return how many batches may be under way.

    Raises
    ------
    ValueError
        If `pre_dispatch` is not understood.
    """
    if pre_dispatch == "all":
        return 1 << 62
    if isinstance(pre_dispatch, str):
        value = _evaluate(pre_dispatch.replace("n_jobs", str(workers)))
    else:
        value = pre_dispatch
    return max(int(value), 1)


def _evaluate(text: str) -> float:
    if len(text) > 30:
        raise ValueError(f"pre_dispatch={text!r} is longer than it should be")
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError, KeyError, ZeroDivisionError) as error:
        raise ValueError(
            f"pre_dispatch={text!r} is neither 'all', nor a number, nor a sum such as "
            f"'2 * n_jobs'"
        ) from error


def _value(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.BinOp):
        return float(_OPERATORS[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    raise TypeError(node)


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
