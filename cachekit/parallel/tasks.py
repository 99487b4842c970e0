"""Tasks: a function and its arguments, run in batches, and what became of them.

A batch is what goes to a worker. It never raises what a task raises: it brings that
back as a `Failure`, which knows which task it was and where in its code.
"""

from __future__ import annotations

import pickle
import reprlib
import time
import traceback
import types
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, ParamSpec, TypeVar

from cachekit.parallel.board import Board
from cachekit.parallel.relay import Messages, Relay
from cachekit.texts import cut

P = ParamSpec("P")
R = TypeVar("R")

# A function, its positional and its keyword arguments.
Task = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]


def delayed(function: Callable[P, R]) -> Callable[P, Task]:
    """Make of a call a task for `Parallel`: ``delayed(f)(1, y=2)``.

    Parameters
    ----------
    function : callable
        The function.

    Returns
    -------
    callable
        Takes the arguments; returns function and arguments, and calls nothing.

    Raises
    ------
    TypeError
        If `function` cannot be called.
    """
    if not callable(function):
        raise TypeError(f"delayed() takes a function, not {_short(function)}")
    return _Delayed(function)


class _Delayed:
    """A function that is not called when it is called.

    Not a function in ``functools.wraps``: to make one takes longer than to send a task.
    """

    __slots__ = ("__wrapped__",)

    __doc__ = property(lambda self: self.__wrapped__.__doc__)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function

    def __call__(self, /, *args: Any, **kwargs: Any) -> Task:
        return self.__wrapped__, args, kwargs

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # it is just being unpickled
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)


class Failure:
    """What a task has raised, and where.

    Parameters
    ----------
    error : BaseException
        What was raised.
    position : int
        Which task it was, counted from 0.
    call : str
        The call in short, as in ``fit(<ndarray (3, 2)>, order=2)``.
    attempts : int
        How many times it was tried.
    """

    def __init__(
        self, error: BaseException, position: int, call: str, attempts: int
    ) -> None:
        self.error = error
        self.position = position
        self.call = call
        self.attempts = attempts
        self.text = "".join(traceback.format_exception(error))

    def __reduce__(self) -> tuple[Any, ...]:
        about = (self.position, self.call, self.attempts, self.text)
        return (_failure, (_portable(self.error), *about))

    def note(self) -> str:
        """Say in one line which task it was."""
        tried = f", tried {self.attempts} times" if self.attempts > 1 else ""
        return f"It was raised by task {self.position}{tried}: {self.call}"


class RemoteTraceback(Exception):
    """The traceback of an error in a worker; the cause of the error here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class Done(NamedTuple):
    """What came of a batch.

    Attributes
    ----------
    outcomes : list
        Of each task its result, or a `Failure`; fewer than tasks if one failed.
    seconds : float
        What the batch took.
    messages : Messages or None
        What it has logged and printed, if that was caught.
    """

    outcomes: list[Any]
    seconds: float
    messages: Messages | None = None


class Batch:
    """Some tasks that are run one after the other by one worker.

    Parameters
    ----------
    tasks : list of tasks
        What to run.
    first : int
        The position of the first.
    retries : int
        How many times a task that fails is run again.
    goes_on : bool
        Whether the others are run when one has failed.
    nested : object
        The backend and number of jobs for loops inside.
    board : Board, optional
        Where to say which task is being run.
    relay : Relay, optional
        Catches what the tasks log and print.
    """

    def __init__(
        self,
        tasks: list[Task],
        first: int,
        *,
        retries: int = 0,
        goes_on: bool = False,
        nested: Any = None,
        board: Board | None = None,
        relay: Relay | None = None,
    ) -> None:
        self.tasks = tasks
        self.first = first
        self.retries = retries
        self.goes_on = goes_on
        self.nested = nested
        self.board = board
        self.relay = relay

    def __len__(self) -> int:
        return len(self.tasks)

    def forget_arguments(self) -> None:
        """Let go of what the tasks were called with; they are done."""
        self.tasks = [_done_task] * len(self.tasks)

    def __call__(self) -> Done:
        """Run the tasks."""
        from cachekit.parallel.config import inside

        outcomes: list[Any] = []
        began = time.perf_counter()
        catching = nullcontext() if self.relay is None else self.relay.catching()
        with inside(self.nested), catching as messages:
            for position, task in enumerate(self.tasks, self.first):
                if self.board is not None:
                    self.board.begin(position)
                outcome = self._run(task, position)
                outcomes.append(outcome)
                if type(outcome) is Failure and not self.goes_on:
                    break
            if self.board is not None:
                self.board.end()
        return Done(outcomes, time.perf_counter() - began, messages)

    def _run(self, task: Task, position: int) -> Any:
        function, args, kwargs = parts_of(task)
        for attempt in range(self.retries + 1):
            try:
                return function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001  (it is raised where it belongs)
                is_last = attempt == self.retries or not isinstance(error, Exception)
                if is_last:
                    return Failure(error, position, short_call(task), attempt + 1)
        raise AssertionError("unreachable")


def _gone() -> None:
    """Stand for a function that was called."""


_done_task: Task = (_gone, (), {})


def parts_of(task: Task) -> Task:
    """Return a task, to be taken apart.

    Raises
    ------
    TypeError
        If it is none.
    """
    try:
        _, _, _ = task
    except (TypeError, ValueError):
        raise TypeError(f"a task is delayed(f)(x), not {_short(task)}") from None
    return task


def short_call(task: Task) -> str:
    """Write a call in short, whatever its arguments' own code does."""
    function, args, kwargs = task
    name = getattr(function, "__qualname__", None) or type(function).__name__
    words = [_short(value) for value in args]
    words += [f"{key}={_short(value)}" for key, value in kwargs.items()]
    text = f"{name}({', '.join(words)})"
    return cut(text, LONGEST_CALL)


LONGEST_CALL = 200


def _short(value: Any) -> str:
    try:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and shape:
            return f"<{type(value).__name__} {shape}>"
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001  (attributes and repr are the user's code)
        return f"<{type(value).__name__}>"


def _portable(error: BaseException) -> BaseException:
    """Return the error, or one that says the same if it cannot be sent."""
    try:
        import cloudpickle

        pickle.loads(cloudpickle.dumps(error))
    except Exception:  # noqa: BLE001  (pickling runs the error's own code)
        name = type(error).__qualname__
        return RuntimeError(f"{name}: {error} (the error itself cannot be pickled)")
    return error


def _failure(
    error: BaseException, position: int, call: str, attempts: int, text: str
) -> Failure:
    failure = Failure(error, position, call, attempts)
    failure.text = text
    error.__cause__ = RemoteTraceback(text)
    return failure
