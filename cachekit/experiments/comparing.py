"""In what two runs differ: parameters, code, data, results, metrics, environment."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cachekit.amounts import counted
from cachekit.experiments.record import CallRecord, RunRecord
from cachekit.memoization.comparing import UnitChange, compare_code
from cachekit.memoization.explaining import read_code
from cachekit.stores import EntryKey, Store

Subject = Literal["parameter", "code", "data", "result", "metric", "environment"]

# So many digits of a digest tell it from others.
DIGITS = 12


@dataclass(frozen=True)
class Change:
    """A thing that differs between two runs.

    Attributes
    ----------
    subject : {"parameter", "code", "data", "result", "metric", "environment"}
        What kind of thing it is.
    name : str
        Of the parameter, function, data, metric or package.
    before, now : str
        What it is in each, in short; empty where there is none.
    """

    subject: Subject
    name: str
    before: str
    now: str


@dataclass(frozen=True)
class RunDifferences:
    """In what two runs differ.

    Attributes
    ----------
    before, now : RunRecord
        The two.
    changes : tuple of Change
        What differs, by subject.
    units : tuple of UnitChange
        The functions and classes that differ, each once, with the lines that do.
    note : str
        What could not be compared; empty if all could.
    """

    before: RunRecord
    now: RunRecord
    changes: tuple[Change, ...]
    units: tuple[UnitChange, ...]
    note: str = ""


def compare_runs(before: RunRecord, now: RunRecord, store: Store) -> RunDifferences:
    """Find in what two runs differ.

    Parameters
    ----------
    before, now : RunRecord
        The two.
    store : Store
        Where their code is described.

    Returns
    -------
    RunDifferences
    """
    one, other = _functions(before), _functions(now)
    units, unknown = _units(one, other, store)
    changes = [
        *_differing("parameter", before.parameters, now.parameters),
        *_code(one, other),
        *_differing("data", _data(before), _data(now)),
        *_results(one, other),
        *_differing("result", files_of(before), files_of(now)),
        *_differing("metric", _metrics(before), _metrics(now)),
        *environment_changes(before, now),
    ]
    note = ""
    if unknown:
        note = f"the code of {', '.join(unknown)} is not described in the store"
    return RunDifferences(before, now, tuple(changes), units, note)


def environment_changes(before: RunRecord, now: RunRecord) -> list[Change]:
    """Find in what the environments of two runs differ: commit, packages, machine."""
    return list(_differing("environment", _environment(before), _environment(now)))


def _differing(
    subject: Subject, before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[Change]:
    for name in [*before, *(name for name in now if name not in before)]:
        one, other = (short_text(some.get(name)) for some in (before, now))
        if before.get(name) != now.get(name) or (name in before) != (name in now):
            yield Change(subject, name, one * (name in before), other * (name in now))


def short_text(value: Any) -> str:
    """Write a value of a record in one line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else str(value)


# --- code and results ---


def _functions(run: RunRecord) -> dict[str, list[CallRecord]]:
    found: dict[str, list[CallRecord]] = {}
    for call in run.calls:
        found.setdefault(call.function, []).append(call)
    return found


def _code(
    before: Mapping[str, list[CallRecord]], now: Mapping[str, list[CallRecord]]
) -> Iterator[Change]:
    for name in [*before, *(name for name in now if name not in before)]:
        one, other = (_versions(some.get(name, [])) for some in (before, now))
        if one != other:
            yield Change("code", name, one or "not called", other or "not called")


def _versions(calls: list[CallRecord]) -> str:
    """Name the versions of a function's code, most often one."""
    return ", ".join(dict.fromkeys(call.fingerprint[:DIGITS] for call in calls))


def _results(
    before: Mapping[str, list[CallRecord]], now: Mapping[str, list[CallRecord]]
) -> Iterator[Change]:
    for name, calls in before.items():
        if name in now:
            one, other = _values(calls), _values(now[name])
            if one != other:
                yield Change("result", name, *map(_summed_up, (one, other)))


def _values(calls: list[CallRecord]) -> list[str]:
    """Return the digests of results, in an order that threads do not change."""
    return sorted(call.value or "unknown" for call in calls)


def _summed_up(values: list[str]) -> str:
    if len(values) == 1:
        return values[0][:DIGITS]
    whole = hashlib.blake2b("".join(values).encode(), digest_size=DIGITS // 2)
    return f"{whole.hexdigest()} of {counted(len(values), 'call')}"


def _units(
    before: Mapping[str, list[CallRecord]],
    now: Mapping[str, list[CallRecord]],
    store: Store,
) -> tuple[tuple[UnitChange, ...], list[str]]:
    """Return the units that differ, and the functions whose code is not described."""
    units: dict[tuple[str, str], UnitChange] = {}
    unknown = []
    for name in before:
        if name not in now or _versions(before[name]) == _versions(now[name]):
            continue
        pair = [entry_key(calls[-1]) for calls in (before[name], now[name])]
        one, other = (read_code(store, key) for key in pair)
        if one is None or other is None:
            unknown.append(name)
            continue
        for unit in compare_code(one, other):
            units.setdefault((unit.name, unit.kind), unit)
    return tuple(units.values()), unknown


def entry_key(call: CallRecord) -> EntryKey:
    """Return what names the entry of a call."""
    return EntryKey(call.function, call.fingerprint, call.key)


# --- data, metrics, environment ---


def _data(run: RunRecord) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, facts in run.datasets.items():
        found[f"{name} source"] = facts.get("source", "")
        if facts.get("split"):
            found[f"{name} split"] = facts["split"]
        statistics = facts.get("statistics")
        if isinstance(statistics, dict):
            found |= {f"{name} {what}": number for what, number in statistics.items()}
    return found


def files_of(run: RunRecord) -> dict[str, str]:
    """Return a few digits of the digest of each file that a run has written."""
    digests = {facts["path"]: facts.get("digest") for facts in run.artifacts}
    return {
        path: digest[:DIGITS] if isinstance(digest, str) else "missing"
        for path, digest in digests.items()
    }


def _metrics(run: RunRecord) -> dict[str, Any]:
    # NaN is equal to itself here.
    return {
        name: "nan" if math.isnan(value) else value
        for name, value in run.metrics.items()
    }


def _environment(run: RunRecord) -> dict[str, Any]:
    git = run.git or {}
    diff = git.get("diff")
    facts: dict[str, Any] = {
        "commit": str(git.get("commit") or "none")[:DIGITS],
        "changes to it": digest_of_text(diff) if isinstance(diff, str) else "none",
        "python": run.python,
        **dict(sorted(run.packages.items())),
        "host": run.host,
        "user": run.user,
    }
    for name in ("cpu", "cores", "gpus", "system"):
        facts[name] = run.hardware.get(name)
    variables = run.command.get("environment")
    return facts | (variables if isinstance(variables, dict) else {})


def digest_of_text(text: str) -> str:
    """Return a few digits that stand for a text; "none" for an empty one."""
    if not text:
        return "none"
    content = text.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(content, digest_size=DIGITS // 2).hexdigest()
