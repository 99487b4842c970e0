"""Run stored calls again, each in a new process, and compare the results.

The arguments of a call are not stored, only their digests and a short text of each. So
a call can be run again if these texts are literals, such as ``3`` or ``'a'``, that have
the digests of the record; if its function can be imported by its name; and if its code
is the same. Of the others it is said why not.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cachekit.errors import CacheKitError
from cachekit.inspection.differences import compare_values
from cachekit.inspection.importing import import_function, is_module_name
from cachekit.inspection.records import read_record
from cachekit.inspection.reports import store_at
from cachekit.inspection.values import load_value
from cachekit.memoization import Record
from cachekit.memoization.call import digest_of, key_of_digests
from cachekit.memoization.function import MemorizedFunc
from cachekit.stores import EntryKey, Store

Outcome = Literal["same", "different", "failed", "not run"]

# A call that takes so much longer than it did is given up.
_LONGEST = 10.0
_LEAST_SECONDS = 60.0

_CHILD = "from cachekit.inspection.recomputing import answer; answer()"


@dataclass(frozen=True)
class Recomputed:
    """What became of a call that was to be run again.

    Attributes
    ----------
    key : EntryKey
        Its entry.
    function : str
        ``module.qualname``.
    outcome : str
        ``same``, ``different``, ``failed`` or ``not run``.
    what : str
        The first place in which the results differ, or why it failed or was not run.
    """

    key: EntryKey
    function: str
    outcome: Outcome
    what: str = ""


def recompute(
    store: Store, keys: Iterable[EntryKey], most: int, *, by_new_code: bool = False
) -> Iterator[Recomputed]:
    """Run calls again under another ``PYTHONHASHSEED``, and compare the results.

    This runs the user's functions, with all that they do besides. Nothing is stored of
    the result; cached calls in it are looked up and stored as ever.

    Parameters
    ----------
    store : Store
        Where they are.
    keys : iterable of EntryKey
        Which may be run; a sample of them is.
    most : int
        How many are run at most.
    by_new_code : bool, default False
        Whether calls are run by the code as it is now, where that has changed. Else
        they are not.

    Yields
    ------
    Recomputed
        One for each call that was run, and for each that could not be.
    """
    times = 0
    # What holds for one call of a code version, and for all of them.
    hopeless: dict[tuple[str, str], str] = {}
    # Digests are random: the first ones of their order are a sample.
    for key in sorted(keys, key=lambda key: key.digest):
        if times >= most:
            return
        record = read_record(store, key)
        if record is None:
            yield Recomputed(key, key.function, "not run", "its record is missing")
            continue
        reason = _reason_against(record) or hopeless.get(key[:2])
        if reason is None:
            answer = _run_in_process(store, record, by_new_code=by_new_code)
            if answer.pop("is_hopeless", False):
                hopeless[key[:2]] = answer["what"]
            found = Recomputed(key, record.function, **answer)
        else:
            found = Recomputed(key, record.function, "not run", reason)
        times += found.outcome != "not run"
        yield found


def _reason_against(record: Record) -> str | None:
    """Return why a call cannot be run again, as far as its record tells."""
    if record.value is None:
        return "its result has no digest"
    if record.files:
        return "it makes files"
    if "<" in record.function:
        return "its function is made inside of another"
    if not is_module_name(record.function):  # records are not signed
        return "its function is not in a module"
    try:
        for facts in record.arguments.values():
            value = ast.literal_eval(facts["repr"])
            if digest_of(value) != facts["digest"]:
                return "an argument is not whole in its record"
    except KeyError:
        return "an argument is not in its record"
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return "an argument is no literal, or not whole in its record"
    return None


def _run_in_process(
    store: Store, record: Record, *, by_new_code: bool
) -> dict[str, Any]:
    request = {
        "location": store.location,
        "record": record.to_json().decode(),
        "by_new_code": by_new_code,
    }
    seed = str(secrets.randbelow(2**32))
    patience = max(_LEAST_SECONDS, _LONGEST * record.seconds_computing)
    with tempfile.TemporaryDirectory(prefix="cachekit-") as folder:
        path = Path(folder, "answer")
        try:
            subprocess.run(
                [sys.executable, "-c", _CHILD, str(path)],
                input=json.dumps(request).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONHASHSEED": seed},
                timeout=patience,
                check=False,
            )
            found: dict[str, Any] = json.loads(path.read_bytes())
        except subprocess.TimeoutExpired:
            return {"outcome": "failed", "what": f"it took more than {patience:.0f} s"}
        except (FileNotFoundError, ValueError):
            return {"outcome": "failed", "what": "its process died"}
    return found


# --- in the new process ---


def answer() -> None:
    """Run the call that standard input names; write what became of it into a file."""
    path = Path(sys.argv[1])
    request = json.load(sys.stdin)
    sys.argv = [""]
    with contextlib.redirect_stdout(sys.stderr):
        found = _run_again(
            Record.from_json(request["record"]),
            request["location"],
            by_new_code=request["by_new_code"],
        )
    path.write_text(json.dumps(found))


def _run_again(record: Record, location: str, *, by_new_code: bool) -> dict[str, Any]:
    try:
        cached: Any = import_function(record.function)
    except ValueError as error:
        return _not_run(str(error))
    reason = _reason_against_kind(cached)
    if reason is not None:
        return _not_run(reason)
    function = cached.func
    arguments = {
        name: ast.literal_eval(facts["repr"])
        for name, facts in record.arguments.items()
    }
    try:
        bound = inspect.BoundArguments(
            inspect.signature(function),
            arguments,
        )
        key = cached._key_of(*bound.args, **bound.kwargs)
    except TypeError:
        return _not_run("an argument takes no part in its key")
    if key.entry.fingerprint != record.fingerprint:
        if not by_new_code:
            return _not_run("its code has changed")
        key = key_of_digests(record.function, record.fingerprint, key.arguments)
    if key.entry.digest != record.key:
        return _not_run("its arguments cannot be made of its record", is_hopeless=False)
    try:
        value = function(*bound.args, **bound.kwargs)
    except Exception as error:  # noqa: BLE001  (the user's function may raise anything)
        return {"outcome": "failed", "what": f"{type(error).__name__}: {error}"}
    if digest_of(value) == record.value:
        return {"outcome": "same", "what": ""}
    entry = EntryKey(record.function, record.fingerprint, record.key)
    return {"outcome": "different", "what": _first_leaf(location, entry, value)}


def _reason_against_kind(cached: Any) -> str | None:
    if not isinstance(cached, MemorizedFunc):
        return "its name is not that of a cached function"
    function = cached.func
    if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):
        return "it is asynchronous"
    return "it is a generator" if inspect.isgeneratorfunction(function) else None


def _not_run(reason: str, *, is_hopeless: bool = True) -> dict[str, Any]:
    return {"outcome": "not run", "what": reason, "is_hopeless": is_hopeless}


def _first_leaf(location: str, key: EntryKey, value: object) -> str:
    """Name the first place in which a result differs from the stored one."""
    try:
        stored = load_value(store_at(location), key).value
    except (CacheKitError, OSError, ValueError):
        return "the results differ; the stored one is not plain data"
    found = compare_values(stored, value)
    if found.is_equal:  # loaded, it is what it is now: it was another object
        return "the digests of the results differ, and nothing that could be compared"
    leaf = found.leaves[0]
    more = f", and {found.count - 1:,} more" if found.count > 1 else ""
    return f"{leaf.path or 'the result'}: {leaf.text}{more}"
