"""Tasks whose function is cached: what is stored is not computed, nor sent.

A cached function is met through three methods, which `cachekit.memoization` has:
``__cachekit_plan__`` names a call and gives its stored result, if there is one,
``call_and_shelve`` computes it and gives a reference in the place of the value, and
``__cachekit_computed__`` hears of each call that another process has computed. A
reference has the mark ``__cachekit_reference__``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple, Protocol

from cachekit.parallel.tasks import Task, parts_of


class Reference(Protocol):
    """A result that is not loaded yet."""

    def get(self) -> Any:
        """Load it."""
        ...


class Plan(NamedTuple):
    """What is known of a task before it is run.

    Attributes
    ----------
    key : Hashable
        Equal for tasks that have the same result.
    stored : Reference or None
        Its result, if that is stored.
    """

    key: Hashable
    stored: Reference | None


def plan_of(task: Task) -> Plan | None:
    """Return what is known of a task; None if its function is not cached.

    Nor is anything known of a call that cannot be named, for want of an argument say:
    it fails where it is run, and is retried, returned or left out as others are.
    """
    function, args, kwargs = parts_of(task)
    plan = getattr(type(function), "__cachekit_plan__", None)
    if plan is None:
        return None
    try:
        return Plan(*plan(function, args, kwargs))
    except Exception:  # noqa: BLE001  (hashing runs the arguments' own code)
        return None


def is_reference(outcome: object) -> bool:
    """Tell a reference from a value, which may have a method `get` as dicts do."""
    return getattr(type(outcome), "__cachekit_reference__", False)


def shelving(task: Task) -> Task:
    """Return the task that gives a reference in the place of the result."""
    function, args, kwargs = task
    method: Any = function
    return method.call_and_shelve, args, kwargs


def note_computed(tasks: Iterable[Task], seconds: float) -> None:
    """Tell the functions of tasks that these were computed, in so many seconds each."""
    for function, _, _ in tasks:
        note = getattr(type(function), "__cachekit_computed__", None)
        if note is not None:
            note(function, seconds)


class Value:
    """A result as a reference, for those that are nowhere else.

    Parameters
    ----------
    value : object
        The result.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def get(self) -> Any:
        """Return the result."""
        return self._value

    def __repr__(self) -> str:
        return f"Value({self._value!r})"
