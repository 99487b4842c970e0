"""The first step in which two runs differ that should be the same, and how.

Steps are the cached calls. One is known again by its function and its arguments, in
whatever order threads make them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

from cachekit.errors import CacheKitError, UntrustedContent
from cachekit.experiments.comparing import Change, entry_key, short_text
from cachekit.experiments.record import CallRecord, RunRecord
from cachekit.inspection import Leaf, compare_values, load_value
from cachekit.memoization.comparing import UnitChange, compare_code
from cachekit.memoization.explaining import read_code
from cachekit.stores import Store

# What measures the machine: no two runs have the same.
_MEASURED = re.compile(
    r"(?:^|[_\W])(?:s|secs?|seconds?|ms|minutes|hours|time|duration|elapsed|memory|mem"
    r"|rss|mb|gb|speedup|throughput)(?:$|[_\W])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class StepDifference:
    """The first step that differs.

    Attributes
    ----------
    number, count : int
        It is this of so many, counted from 1.
    function : str
        Its name.
    reason : {"code", "result", "arguments", "absent"}
        Its code is another, and its result; its result alone; it was called with other
        arguments; or not at all.
    detail : str
        Of results, the first place that differs; of arguments, their names.
    units : tuple of UnitChange
        What differs in its code.
    """

    number: int
    count: int
    function: str
    reason: Literal["code", "result", "arguments", "absent"]
    detail: str = ""
    units: tuple[UnitChange, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """What came of comparing the steps of two runs.

    Attributes
    ----------
    difference : StepDifference or None
        The first step that differs.
    measured : tuple of str
        Functions whose results differ, until then, in nothing but what measures time
        or memory.
    """

    difference: StepDifference | None
    measured: tuple[str, ...] = ()


def compare_steps(
    before: RunRecord, store: Store, now: RunRecord, other_store: Store
) -> Comparison:
    """Find the first step of a run that another run did not repeat.

    What measures time or memory, by its name, is not compared: a part of a result, or
    an argument, and then neither is the result of whoever takes it.

    Parameters
    ----------
    before, now : RunRecord
        The two.
    store, other_store : Store
        Where their results are.

    Returns
    -------
    Comparison
        Without a difference if each step was made again, with the same result.
    """
    left = _by_arguments(now.calls)
    measured: dict[str, None] = {}
    renamed: dict[str, str] = {}  # digests of what measures, to those of now
    for number, call in enumerate(before.calls, 1):
        place = (number, len(before.calls), call.function)
        expected = replace(
            call,
            arguments={
                name: renamed.get(one, one) for name, one in call.arguments.items()
            },
        )
        same = left.get(_called(expected), [])
        again = _same_call(call, same)
        if again is None:
            others = [*chain(*left.values())]
            found = _other_arguments(place, expected, others)
            return Comparison(found, tuple(measured))
        same.remove(again)
        if again.value == call.value and call.value is not None:
            continue
        detail: str | None = None
        if again.arguments == call.arguments:
            leaves = _leaves(call, store, again, other_store)
            if not leaves:  # they have no digests, and are equal
                continue
            plain = [leaf for leaf in leaves if not is_measured(leaf.path)]
            detail = _text(plain[0]) if plain else None
        if detail is not None:
            if again.fingerprint == call.fingerprint:
                step = StepDifference(*place, "result", detail)
            else:
                units = _units(call, store, again, other_store)
                step = StepDifference(*place, "code", detail, units)
            return Comparison(step, tuple(measured))
        measured[call.function] = None
        if call.value is not None and again.value is not None:
            renamed[call.value] = again.value
    return Comparison(None, tuple(measured))


# A function's name, and the digests of the arguments that are compared.
_Called = tuple[str, frozenset[tuple[str, str]]]


def _called(call: CallRecord) -> _Called:
    arguments = call.arguments.items()
    return call.function, frozenset(one for one in arguments if not is_measured(one[0]))


def _by_arguments(calls: Iterable[CallRecord]) -> dict[_Called, list[CallRecord]]:
    """Put the calls of one function with the same arguments together.

    A run may list thousands, of which each would be compared with each.
    """
    found: dict[_Called, list[CallRecord]] = {}
    for call in calls:
        found.setdefault(_called(call), []).append(call)
    return found


def _same_call(call: CallRecord, same: Sequence[CallRecord]) -> CallRecord | None:
    """Choose of calls with the same arguments one by the same code, if there is one."""
    by_same_code = [one for one in same if one.key == call.key]
    return next(iter(by_same_code or same), None)


def _other_arguments(
    place: tuple[int, int, str], call: CallRecord, calls: Sequence[CallRecord]
) -> StepDifference:
    nearest: list[str] | None = None
    for one in calls:
        if one.function == call.function:
            names = [*call.arguments, *set(one.arguments) - set(call.arguments)]
            differing = [
                name
                for name in names
                if call.arguments.get(name) != one.arguments.get(name)
            ]
            if nearest is None or len(differing) < len(nearest):
                nearest = differing
    if nearest is None:
        return StepDifference(*place, "absent")
    return StepDifference(*place, "arguments", ", ".join(nearest))


def _leaves(
    call: CallRecord, store: Store, again: CallRecord, other_store: Store
) -> tuple[Leaf, ...]:
    """Find the places in which two results differ; none if they do not after all."""
    try:
        one, other = _load(store, call), _load(other_store, again)
    except (OSError, CacheKitError) as error:
        text = f"where is not known: {str(error).partition(';')[0]}"
        return (Leaf("", text),)
    found = compare_values(one, other)
    if found.count > len(found.leaves):  # the rest need not be measured
        return (*found.leaves, Leaf("", f"{found.count:,} places differ"))
    return found.leaves


def _load(store: Store, call: CallRecord) -> Any:
    try:
        return load_value(store, entry_key(call)).value
    except UntrustedContent:
        # Whoever does a run again trusts its store: what it names has just been run.
        return load_value(store, entry_key(call), unsafe=True).value


def _text(leaf: Leaf) -> str:
    return f"{leaf.path}: {leaf.text}" if leaf.path else leaf.text


def _units(
    call: CallRecord, store: Store, again: CallRecord, other_store: Store
) -> tuple[UnitChange, ...]:
    one = two = None
    with contextlib.suppress(OSError, CacheKitError):
        one = read_code(store, entry_key(call))
        two = read_code(other_store, entry_key(again))
    return () if one is None or two is None else compare_code(one, two)


def code_changes(before: RunRecord, now: RunRecord) -> list[str]:
    """Name the functions that have other code, called with the same arguments."""
    found: dict[str, None] = {}
    calls = _by_arguments(now.calls)
    for call in before.calls:
        again = _same_call(call, calls.get(_called(call), []))
        if again is not None and again.fingerprint != call.fingerprint:
            found[call.function] = None
    return list(found)


def metric_changes(
    before: RunRecord, now: RunRecord, *, tolerance: float = 0.0
) -> list[Change]:
    """Find the metrics that differ, but for those that measure time or memory.

    Parameters
    ----------
    before, now : RunRecord
        The two.
    tolerance : float, default 0
        What may differ, in relation to the larger of two numbers.
    """
    changes = []
    for name in [*before.metrics, *(n for n in now.metrics if n not in before.metrics)]:
        if is_measured(name):
            continue
        one, other = before.metrics.get(name), now.metrics.get(name)
        if one is None or other is None or not _is_close(one, other, tolerance):
            texts = ["" if x is None else short_text(repr(x)) for x in (one, other)]
            changes.append(Change("metric", name, *texts))
    return changes


def is_measured(name: str) -> bool:
    """Tell whether a metric, or a part of a value, measures time or memory: by name.

    >>> is_measured("fit_seconds"), is_measured("['fit_time'][3]"), is_measured("r2")
    (True, True, False)
    """
    return _MEASURED.search(name) is not None


def _is_close(one: float, other: float, tolerance: float) -> bool:
    if one == other or (one != one and other != other):
        return True
    return abs(one - other) <= tolerance * max(abs(one), abs(other))
