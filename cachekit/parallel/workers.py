"""A loop over several workers: tasks are handed out, results are gathered.

::

    dispatch   while there is room: take tasks, make a batch, submit it
    wait       for any batch to end: a condition variable, no polling
    gather     in the order of the tasks, or as they come

All of it happens in the thread that wants the results, also the taking of tasks from
the user's generator. Workers only run batches, and say when one is done.
"""

from __future__ import annotations

import itertools
import signal
import threading
import warnings
from collections import deque
from collections.abc import Generator, Hashable, Iterable
from multiprocessing import TimeoutError as TaskTimeout
from typing import TYPE_CHECKING, Any

from cachekit.errors import CacheKitError
from cachekit.parallel import board
from cachekit.parallel.batching import BatchSizer, most_in_flight
from cachekit.parallel.cached import (
    Plan,
    Reference,
    note_computed,
    plan_of,
    shelving,
)
from cachekit.parallel.loops import Loop
from cachekit.parallel.process_backends import ProcessBackend
from cachekit.parallel.relay import Relay
from cachekit.parallel.tasks import Batch, Done, Failure, Task, short_call

if TYPE_CHECKING:
    from cachekit.parallel.dispatch import Parallel

# Results that are stored wait here to be asked for, but not more than so many.
MOST_READY = 100


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
        bound = getattr(self._backend, "most_in_flight", None)
        if bound is not None:  # the cluster would run more at once
            self._most = min(self._most, bound)
        self._changed = threading.Condition()
        self._in_flight = 0
        # Whose results are to come, in order, by the position of their first task.
        self._waiting: dict[int, _Job] = {}
        self._ended: deque[_Job] = deque()  # those of them that have just ended
        self._board = getattr(self._backend, "board", None)
        is_alone = isinstance(self._backend, ProcessBackend)  # each batch in a process
        self._relay = Relay() if is_alone else None
        # Threads find what is stored by themselves, and wait for one another.
        self._plans = not self._backend.uses_threads
        self._under_way: dict[Hashable, tuple[_Job, int]] = {}
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
                as_references = self._parallel.return_as == "reference"
                while (job := self._next_job()) is not None:
                    for outcome in self._outcomes_of(job):
                        if type(outcome) is not Failure and not as_references:
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
        """Hand out as many batches as there is room for now.

        What becomes free meanwhile waits for the next time: else short tasks would
        run far ahead of their results.
        """
        parallel = self._parallel
        most = parallel.n_dispatched_batches + self._most - self._in_flight
        while parallel.n_dispatched_batches < most and self._has_room():
            size = self._batch_size()
            tasks = list(itertools.islice(self._tasks, size))
            if len(tasks) < size:
                self._is_exhausted = True
                self._note_total(parallel.n_dispatched_tasks + len(tasks))
            to_compute: list[Task] = []
            keys: list[Hashable] = []
            for task in tasks:
                plan = plan_of(task) if self._plans else None
                if plan is not None and self._is_known(task, plan, to_compute, keys):
                    to_compute, keys = [], []
                    continue
                keys.append(None if plan is None else plan.key)
                to_compute.append(task)
            self._submit(to_compute, keys)

    def _has_room(self) -> bool:
        """Tell whether to hand out more: not so much that results pile up."""
        return (
            not self._is_exhausted
            and self._in_flight < self._most
            and len(self._waiting) < self._most + MOST_READY
        )

    def _is_known(
        self, task: Task, plan: Plan, before: list[Task], keys: list[Hashable]
    ) -> bool:
        """Take note of a task that need not be computed, behind those before it."""
        if plan.stored is None and plan.key in keys:  # twice in one batch
            self._submit(before, keys)
            before = []
        same = None if plan.stored is not None else self._under_way.get(plan.key)
        if plan.stored is None and same is None:
            return False
        if before:
            self._submit(before, keys)
        batch = Batch([task], self._parallel.n_dispatched_tasks)
        job = _Job(batch, stored=plan.stored, same_as=same)
        self._parallel.n_dispatched_tasks += 1
        with self._changed:
            self._waiting[batch.first] = job
            if job.is_done:
                self._ended.append(job)
            elif same is not None:
                same[0].followers.append(job)
        return True

    def _batch_size(self) -> int:
        if self._parallel.batch_size != "auto":
            return int(self._parallel.batch_size)
        return max(self._sizer.size, self._backend.compute_batch_size())

    def _submit(self, tasks: list[Task], keys: list[Hashable]) -> None:
        if not tasks:
            return
        parallel = self._parallel
        sent = [
            task if key is None else shelving(task)
            for task, key in zip(tasks, keys, strict=True)
        ]
        batch = Batch(
            sent,
            parallel.n_dispatched_tasks,
            retries=parallel.retries,
            goes_on=parallel.on_error != "raise",
            nested=self._nested(),
            board=self._board,
            relay=self._relay,
        )
        job = _Job(batch)
        job.keys = keys
        if any(key is not None for key in keys):
            job.given = tasks
        for number, key in enumerate(keys):
            if key is not None:
                self._under_way[key] = (job, number)
        with self._changed:
            self._in_flight += 1
            self._waiting[batch.first] = job
        parallel.n_dispatched_tasks += len(tasks)
        parallel.n_dispatched_batches += 1
        self._backend.submit(batch, lambda out: self._note_end(job, out))

    def _nested(self) -> tuple[Any, int | None]:
        """Return what holds inside a batch; of its own, for batches run at once."""
        nested = self._backend.get_nested_backend()
        return nested if isinstance(nested, tuple) else (nested, None)

    def _note_end(self, job: _Job, out: Any) -> None:
        """Take note that a batch has ended; called in any thread."""
        with self._changed:
            job.out, job.has_ended = out, True
            self._in_flight -= 1
            self._ended += [job, *job.followers]
            self._changed.notify_all()

    # --- gather ---

    def _next_job(self) -> _Job | None:
        """Wait for a batch, handing out more as others end; None at the end."""
        while True:
            if self._is_over:
                raise RuntimeError(
                    "the loop was stopped, for its block was left before all of its "
                    "results were read"
                )
            with self._changed:
                job = self._take()
                if job is not None:
                    return job
                if self._is_exhausted and not self._waiting:
                    return None
                if not self._has_room():
                    self._wait()
            self._dispatch()

    def _take(self) -> _Job | None:
        """Return the batch whose results are next, if it has ended."""
        if not self._parallel.return_ordered:
            if not self._ended:
                return None
            job = self._ended.popleft()
            return self._waiting.pop(job.batch.first)
        failed = self._failed()
        if failed is not None:
            return failed
        first = next(iter(self._waiting.values()), None)
        if first is not None and first.is_done:
            return self._waiting.pop(first.batch.first)
        return None

    def _failed(self) -> _Job | None:
        """Return a batch that has failed, which nobody should wait to hear."""
        while self._ended:
            job = self._ended.popleft()
            if not job.is_handed_out:
                continue
            if self._parallel.on_error == "raise" and self._has_failed(job):
                return job
        return None

    def _outcomes_of(self, job: _Job) -> list[Any]:
        if not job.is_handed_out:
            outcomes = [self._known_outcome(job)]
            self._count(outcomes, hits=int(job.stored is not None))
            return outcomes
        try:
            done = self._done_of(job)
        except BaseException as error:
            self._name_tasks(error, job)
            raise
        self._sizer.completed(len(job.batch), done.seconds)
        self._backend.batch_completed(len(job.batch), done.seconds)
        self._count(done.outcomes)
        self._dispatch()
        if job.given:
            self._note_computed(job, done)
        values = [
            outcome if key is None else self._loaded(outcome, job, number)
            for number, (outcome, key) in enumerate(
                zip(done.outcomes, job.keys, strict=False)
            )
        ]
        job.forget_arguments()
        # What was stored is found in the store from now on. What was not would be kept
        # for an equal task that may never come.
        for key in job.keys:
            self._under_way.pop(key, None)
        return values

    def _count(self, outcomes: list[Any], *, hits: int = 0) -> None:
        failed = sum(type(outcome) is Failure for outcome in outcomes)
        self._completed_tasks(len(outcomes), hits=hits, failed=failed)

    def _note_computed(self, job: _Job, done: Done) -> None:
        computed = [
            task
            for task, outcome in zip(job.given, done.outcomes, strict=False)
            if type(outcome) is not Failure
        ]
        note_computed(computed, done.seconds / len(done.outcomes))

    def _known_outcome(self, job: _Job) -> Any:
        """Return the result of a task that was not handed out."""
        if job.stored is not None:
            return self._loaded(job.stored, job, 0)
        assert job.same_as is not None
        other, number = job.same_as
        outcomes = self._done_of(other).outcomes
        if number < len(outcomes):
            return self._loaded(outcomes[number], job, 0)
        return self._computed_here(job, 0)

    def _loaded(self, outcome: Any, job: _Job, number: int) -> Any:
        """Return the value that a reference stands for, unless that is asked for."""
        if type(outcome) is Failure or self._parallel.return_as == "reference":
            return outcome
        try:
            return outcome.get()
        except (CacheKitError, OSError):  # it was evicted meanwhile, or is damaged
            return self._computed_here(job, number)

    def _computed_here(self, job: _Job, number: int) -> Any:
        position = job.batch.first + number
        batch = Batch([job.given[number]], position, retries=self._parallel.retries)
        return batch().outcomes[0]

    def _done_of(self, job: _Job) -> Done:
        """Return what came of a batch; it is read once."""
        if job.done is None:
            job.done = self._backend.retrieve_result_callback(job.out)
            job.out = None
            job.batch.forget_arguments()  # they may be large; the next are to come
            if job.done.messages is not None:
                job.done.messages.tell()
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
            for job in self._waiting.values()
            if not job.is_done
        ]

    def _task_at(self, position: int) -> Task | None:
        for job in self._waiting.values():
            number = position - job.batch.first
            if not job.is_done and 0 <= number < len(job.batch):
                return job.batch.tasks[number]
        return None

    def _name_tasks(self, error: BaseException, job: _Job) -> None:
        """Say which tasks the workers that have died were at."""
        died: dict[int, int] = getattr(self._backend, "died", {})
        at_work = self._board.at_work() if died and self._board is not None else []
        tasks = {job.batch.first + n: task for n, task in enumerate(job.batch.tasks)}
        for waiting in self._waiting.values():
            for number, task in enumerate(waiting.batch.tasks):
                tasks[waiting.batch.first + number] = task
        for one in at_work:
            if one.position in tasks and one.worker in died:
                how = _exit_name(died[one.worker])
                error.add_note(
                    f"Worker {one.worker} died, {how}, at task {one.position}: "
                    f"{short_call(tasks[one.position])}"
                )


class _Job:
    """A batch that was handed out, or a task whose result is to be had otherwise.

    Parameters
    ----------
    batch : Batch
        The tasks.
    stored : Reference, optional
        The result of the only task, which is not handed out.
    same_as : (_Job, int), optional
        The job that computes what this one waits for, and which of its tasks does.
    """

    def __init__(
        self,
        batch: Batch,
        *,
        stored: Reference | None = None,
        same_as: tuple[_Job, int] | None = None,
    ) -> None:
        self.batch = batch
        self.stored = stored
        self.same_as = same_as
        self.submitted = board.now()
        self.out: Any = None
        self.done: Done | None = None
        self.has_ended = stored is not None
        self.keys: list[Hashable] = []
        # The tasks as they were given, where a result may have to be computed here.
        self.given: list[Task] = [] if self.is_handed_out else batch.tasks
        self.followers: list[_Job] = []

    @property
    def is_handed_out(self) -> bool:
        """Whether a worker runs it."""
        return self.stored is None and self.same_as is None

    def forget_arguments(self) -> None:
        """Let go of what the tasks were called with; they are done."""
        self.batch.forget_arguments()
        self.given = []

    @property
    def is_done(self) -> bool:
        """Whether its results are there."""
        return self.has_ended if self.same_as is None else self.same_as[0].has_ended


def _exit_name(code: int) -> str:
    """Write an exit code: below 0 it is the signal that ended the process."""
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"with exit code {code}"
