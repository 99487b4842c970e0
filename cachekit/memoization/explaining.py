"""Explain why a call would be a hit or a miss.

A call is compared with the stored one that is nearest to it: which argument is
another, or which unit of code, and in which lines. Here the nearest is found and
read; how two calls are compared is `comparing`, what a person reads is `wording`.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from cachekit.hashing import HASH_VERSION, CodeVersion
from cachekit.memoization.call import CallKey, key_of_digests
from cachekit.memoization.comparing import (
    ArgumentChange,
    LibraryChange,
    UnitChange,
    compare_arguments,
    compare_code,
    compare_libraries,
)
from cachekit.memoization.lineage import Record
from cachekit.memoization.making import statements_that_make
from cachekit.memoization.wording import difference_lines, explanation_lines
from cachekit.stores import EntryInfo, EntryKey, Store
from cachekit.stores.names import RECORD

Reason = Literal[
    "hit",
    "expired",
    "no entries",
    "removed",
    "unreadable",
    "arguments",
    "code",
    "arguments and code",
]

# Records read at most: so many of the same code version, and so many of others. Of a
# remote store each takes a request.
MOST_READ = 100


@dataclass(frozen=True)
class Explanation:
    """Why a call is a hit or a miss; as a text, what a person wants to read.

    Attributes
    ----------
    function : str
        ``module.qualname``.
    key : EntryKey
        Of the call.
    reason : str
        "hit"; "expired", if there is a result that is not to be used any more;
        "removed", if there was one, which was used; "no entries" of the function;
        "unreadable", if none of them has a record that can be compared; or what
        differs from the nearest entry: "arguments", "code", or "arguments and code".
    entries : int
        How many calls of the function are stored.
    nearest : EntryKey or None
        The stored call that is most like this one; of a hit, its entry.
    started : str
        When that was computed, ISO 8601; empty if not known.
    arguments : tuple of ArgumentChange
        The arguments that differ from the nearest entry.
    units : tuple of UnitChange
        The units of code that differ.
    libraries : tuple of LibraryChange
        The libraries that differ.
    same_arguments : EntryKey or None
        Where the nearest entry has other arguments: one with the same, of other code.
    note : str
        What else there is to say.
    is_stored : bool
        Whether it is explained why the call was computed when it was.
    """

    function: str
    key: EntryKey
    reason: Reason
    entries: int = 0
    nearest: EntryKey | None = None
    started: str = ""
    arguments: tuple[ArgumentChange, ...] = ()
    units: tuple[UnitChange, ...] = ()
    libraries: tuple[LibraryChange, ...] = ()
    same_arguments: EntryKey | None = None
    note: str = ""
    is_stored: bool = False

    @property
    def is_hit(self) -> bool:
        """Whether the call would be a hit."""
        return self.reason == "hit"

    @property
    def differences(self) -> list[str]:
        """The lines of its text that say what differs."""
        return list(difference_lines(self))

    def __str__(self) -> str:
        return "\n".join(explanation_lines(self))


class Call(NamedTuple):
    """What is compared of a call, stored or not.

    Attributes
    ----------
    key : EntryKey
        Function, fingerprint and digest.
    arguments : dict of str to dict
        For each argument its ``digest`` and, unless redacted, a short ``repr``.
    code : CodeVersion or None
        What the fingerprint was made of; None if that is not known.
    started : str
        When it was computed, ISO 8601; empty if it was not yet.
    """

    key: EntryKey
    arguments: Mapping[str, Mapping[str, str]]
    code: CodeVersion | None
    started: str = ""


# --- the nearest ---


def explain(
    store: Store,
    key: CallKey,
    arguments: Mapping[str, Mapping[str, str]],
    code: CodeVersion,
    *,
    ignored: Collection[str] = (),
    is_expired: bool = False,
) -> Explanation:
    """Say whether a call would be a hit, or in what it differs from the nearest entry.

    Nearest is an entry of the same code with the fewest arguments that differ, and of
    those the last one computed; else one of other code with all arguments the same;
    else the one with the fewest differences in arguments and code. It is sought among
    the last used: 100 of the same code version and 100 of others. That the value of a
    hit can be read is not checked.

    Parameters
    ----------
    store : Store
        Where results are kept.
    key : CallKey
        Of the call.
    arguments : mapping
        What `lineage.describe_arguments` says of its arguments.
    code : CodeVersion
        The function's code now.
    ignored : collection of str, optional
        Parameters that take no part in the key.
    is_expired : bool, default False
        Whether a result of the call, if there is one, is not to be used any more.

    Raises
    ------
    OSError, StoreError
        If the store cannot be read; damaged records and descriptions are passed over.
    """
    now = Call(key.entry, arguments, code)
    if store.contains(key.entry):
        return _present(store, now, "expired" if is_expired else "hit")
    found = _miss(store, now, ignored)
    return replace(found, units=tuple(map(with_statements, found.units)))


def explain_again(
    store: Store,
    function: str,
    code: CodeVersion,
    parameters: Mapping[str, Mapping[str, str]],
    *,
    ignored: Collection[str] = (),
    is_expired: Callable[[EntryKey], bool],
) -> Explanation | None:
    """Say whether the stored call that was computed last would be a hit now.

    Sought among the 100 entries of the function that were used last.

    Parameters
    ----------
    store : Store
        Where results are kept.
    function : str
        ``module.qualname``.
    code : CodeVersion
        The function's code now.
    parameters : mapping
        What `lineage.describe_arguments` says of the default of each parameter that
        counts now; nothing of those without a default.
    ignored : collection of str, optional
        Parameters that take no part in the key.
    is_expired : callable
        Tells whether a result is not to be used any more.

    Returns
    -------
    Explanation or None
        Whose `nearest` is the call itself, as it was stored; None if there is none
        whose record can be read.
    """
    before, count = _last(store, function)
    if before is None:
        return None
    arguments = {
        name: before.arguments.get(name, default)
        for name, default in parameters.items()
    }
    digests = {name: str(facts.get("digest")) for name, facts in arguments.items()}
    key = key_of_digests(function, code.fingerprint, digests).entry
    now = Call(key, arguments, code)
    if store.contains(key):
        return _present(store, now, "expired" if is_expired(key) else "hit")
    found = replace(compare_calls(before, now, ignored=ignored), entries=count)
    if key == before.key:  # removed meanwhile
        return replace(found, reason="removed")
    return replace(found, units=tuple(map(with_statements, found.units)))


def _last(store: Store, function: str) -> tuple[Call | None, int]:
    """Return the call that was computed last, and how many are stored."""
    count = 0
    used: list[tuple[float, EntryInfo]] = []
    for info in store.entries(function):
        count += 1
        add = heapq.heappush if len(used) < MOST_READ else heapq.heappushpop
        add(used, (info.last_used, info))
    last: tuple[str, EntryKey] | None = None
    for _, info in used:
        record = _read_record(store, info.key)
        if record is None or record.hash_version != HASH_VERSION:
            continue
        if last is None or last[0] < record.started:
            last = (record.started, info.key)
    return (None if last is None else read_call(store, last[1])), count


def explain_entry(store: Store, key: EntryKey) -> Explanation | None:
    """Say why a stored call was computed, by what was stored before it.

    If it was computed before by other code, it is compared with that.

    Returns
    -------
    Explanation or None
        None if the entry, or its record, is missing or damaged.

    Raises
    ------
    OSError, StoreError
        If the store cannot be read.
    """
    call = read_call(store, key)
    return None if call is None else _miss(store, call)


def read_call(store: Store, key: EntryKey) -> Call | None:
    """Read what can be compared of an entry; None without a record that is whole."""
    record = _read_record(store, key)
    if record is None:
        return None
    named = key._replace(function=record.function)
    if named.path == key.path:  # else the record is of another entry
        key = named
    return Call(key, record.arguments, read_code(store, key), record.started)


def _present(store: Store, now: Call, reason: Reason) -> Explanation:
    record = _read_record(store, now.key)
    return Explanation(
        now.key.function,
        now.key,
        reason,
        nearest=now.key,
        started=record.started if record else "",
    )


def _miss(store: Store, now: Call, ignored: Collection[str] = ()) -> Explanation:
    listed = _Listed(store, now.key)
    found = Explanation(
        now.key.function,
        now.key,
        "no entries",
        entries=listed.count,
        is_stored=bool(now.started),
    )
    if not now.started and now.key.path in store.hits():
        return replace(found, reason="removed")
    stored = list(_comparable(store, listed.chosen, now))
    if stored:
        nearest, same = _nearest(store, stored, now)
        if now.started and same is not None:
            # It was computed again, and not because another call has other arguments.
            nearest, same = next(call for call in stored if call.key == same), None
        nearest = nearest._replace(code=read_code(store, nearest.key))
        compared = compare_calls(nearest, now, ignored=ignored)
        return replace(compared, entries=listed.count, same_arguments=same)
    if listed.chosen and not now.started:
        return replace(found, reason="unreadable")
    if len(listed.chosen) < listed.count:
        read = f"the {len(listed.chosen)} last used of its {listed.count:,} entries"
        return replace(found, note=f"{read} were looked at")
    return found


def _comparable(store: Store, infos: Sequence[EntryInfo], now: Call) -> Iterator[Call]:
    """Read the calls whose digests mean the same; of a stored one, those before it."""
    for info in infos:
        record = _read_record(store, info.key)
        if record is None or record.hash_version != HASH_VERSION:
            continue
        if not now.started or record.started < now.started:
            key = info.key._replace(function=now.key.function)
            yield Call(key, record.arguments, None, record.started)


class _Listed:
    """The entries of a function: how many, and those last used."""

    def __init__(self, store: Store, key: EntryKey) -> None:
        self.count = 0
        # Of a million, only those to be read are kept.
        groups: tuple[list[tuple[float, EntryInfo]], ...] = ([], [])
        for info in store.entries(key.function):
            if info.key.path == key.path:  # which is to be explained
                continue
            self.count += 1
            group = groups[info.key.fingerprint != key.fingerprint]
            add = heapq.heappush if len(group) < MOST_READ else heapq.heappushpop
            add(group, (info.last_used, info))
        self.chosen = [info for group in groups for _, info in group]


def _nearest(
    store: Store, stored: Sequence[Call], now: Call
) -> tuple[Call, EntryKey | None]:
    """Choose the nearest call; and if it has other arguments, one with the same."""
    differing = {
        call.key: len(compare_arguments(call.arguments, now.arguments))
        for call in stored
    }
    own = [call for call in stored if call.key.fingerprint == now.key.fingerprint]
    same = [call for call in stored if not differing[call.key] and call not in own]
    if not own and not same:
        codes = {call.key.fingerprint: read_code(store, call.key) for call in stored}
        for call in stored:
            differing[call.key] += _distance(codes[call.key.fingerprint], now.code)
    last = max(same, key=lambda call: call.started, default=None)
    nearest = max(
        own or same or stored,
        key=lambda call: (-differing[call.key], call.started),
    )
    is_other = last is not None and last.key != nearest.key
    return nearest, last.key if last is not None and is_other else None


def _distance(before: CodeVersion | None, now: CodeVersion | None) -> int:
    """Count the units that differ; those unknown count for more than any."""
    if before is None or now is None:
        return 1_000_000
    return len({name for name, _ in before.units.items() ^ now.units.items()})


def _read_record(store: Store, key: EntryKey) -> Record | None:
    content = store.read(key, RECORD)
    try:
        return None if content is None else Record.from_json(content)
    except ValueError:  # a damaged record hides nothing but itself
        return None


def read_code(store: Store, key: EntryKey) -> CodeVersion | None:
    """Read the description of a code version; None if it is missing or damaged."""
    content = store.read_code(key)
    try:
        found = json.loads(content or b"null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("fingerprint") != key.fingerprint:
        return None
    parts: list[Any] = [found.get(name) for name in ("units", "sources", "libraries")]
    if not all(isinstance(part, dict) for part in parts):
        return None
    texts = [text for part in parts for text in part.values()]
    if not all(isinstance(text, str) for text in texts):
        return None
    reads = found.get("reads")
    if not isinstance(reads, dict):  # an earlier version wrote none
        reads = {}
    reads = {name: of for name, of in reads.items() if isinstance(of, dict)}
    units, sources, libraries = parts
    return CodeVersion(key.fingerprint, units, sources, libraries, reads)


def with_statements(unit: UnitChange) -> UnitChange:
    """Add to a unit of loaded code the statements that make what it reads."""
    found = [statements_that_make(unit.name, name) for name in unit.values]
    statements = dict.fromkeys(statement for some in found for statement in some)
    return replace(unit, statements=tuple(statements))


# --- two calls ---


def compare_calls(
    before: Call, now: Call, *, ignored: Collection[str] = ()
) -> Explanation:
    """Tell in what two calls of one function differ.

    Parameters
    ----------
    before, now : Call
        The stored call, and the one to be explained.
    ignored : collection of str, optional
        Parameters that do not count now.
    """
    arguments = compare_arguments(before.arguments, now.arguments, ignored=ignored)
    found = Explanation(
        now.key.function,
        now.key,
        "hit" if before.key == now.key else "arguments",
        nearest=before.key,
        started=before.started,
        arguments=arguments,
        is_stored=bool(now.started),
    )
    if before.key.fingerprint != now.key.fingerprint:
        found = replace(found, reason="arguments and code" if arguments else "code")
        return _with_code(found, before.code, now.code)
    if before.key != now.key and not arguments:  # where code does not count
        return replace(found, note="the order of the parameters has changed")
    return found


def _with_code(
    found: Explanation, before: CodeVersion | None, now: CodeVersion | None
) -> Explanation:
    if before is None or now is None:
        return replace(found, note="the description of that code is missing or damaged")
    units = compare_code(before, now)
    note = "" if units else _WITHOUT_A_UNIT
    libraries = compare_libraries(before, now)
    return replace(found, units=units, libraries=libraries, note=note)


_WITHOUT_A_UNIT = (
    "no function or class differs by itself: an option of the cache does, as version= "
    "or environment=, or a name now leads to another of them"
)
