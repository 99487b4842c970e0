"""Compare two stored calls: what was called, by which code, and what came out."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachekit.errors import ContainerError, UntrustedContent
from cachekit.inspection.differences import ValueDifferences, compare_values
from cachekit.inspection.reports import EntryReport, find
from cachekit.inspection.values import load_value
from cachekit.memoization.explaining import Explanation, compare_calls, read_call
from cachekit.stores import Store


@dataclass(frozen=True)
class EntryDifferences:
    """In what two stored calls differ.

    Attributes
    ----------
    before, now : EntryReport
        The two.
    call : Explanation or None
        In what the calls differ: arguments, code, libraries. None if a record is
        missing or damaged.
    values : ValueDifferences or None
        In what the results differ; None if they were not compared.
    is_equal : bool or None
        Whether the results are equal; None if that is not known.
    problem : str
        Why the results were not compared; empty if they were.
    """

    before: EntryReport
    now: EntryReport
    call: Explanation | None
    values: ValueDifferences | None
    is_equal: bool | None
    problem: str = ""


def compare_entries(
    store: Store, before: str, now: str, *, unsafe: bool = False
) -> EntryDifferences:
    """Compare two stored calls.

    Results are loaded only if their digests differ, and as plain data only: numbers,
    texts, containers, arrays, tables.

    Parameters
    ----------
    store : Store
        Where they are.
    before, now : str
        The first digits of their keys, or their paths.
    unsafe : bool, default False
        Whether to unpickle the results, whatever classes they have. That runs what the
        writer of the store has put there; modules are looked for in the current folder.

    Returns
    -------
    EntryDifferences
        What differs of arguments, code and results.

    Raises
    ------
    EntryNotFound
        If one of them is not there.
    """
    one, other = find(store, before), find(store, now)
    calls = read_call(store, one.key), read_call(store, other.key)
    call = None
    if calls[0] is not None and calls[1] is not None:
        call = compare_calls(calls[0], calls[1])
    digests = [entry.record.value if entry.record else None for entry in (one, other)]
    if digests[0] is not None and digests[0] == digests[1]:
        return EntryDifferences(one, other, call, ValueDifferences(0, ()), True)
    is_equal = None if None in digests else False
    try:
        values = compare_values(
            _load(store, one, unsafe=unsafe), _load(store, other, unsafe=unsafe)
        )
    except UntrustedContent as error:
        problem = f"{str(error).partition(';')[0]}; --unsafe loads it all the same"
        return EntryDifferences(one, other, call, None, is_equal, problem)
    except ContainerError as error:
        return EntryDifferences(one, other, call, None, is_equal, str(error))
    return EntryDifferences(one, other, call, values, values.is_equal)


def _load(store: Store, entry: EntryReport, *, unsafe: bool) -> Any:
    """Return a result; of a generator, the list of its items."""
    if not unsafe:
        return load_value(store, entry.key).value
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with contextlib.redirect_stdout(sys.stderr):  # what its modules print
        return load_value(store, entry.key, unsafe=True).value
