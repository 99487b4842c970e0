"""Explain why a call would be a hit or a miss.

A call is compared with the stored one that is nearest to it: which argument is
another, or which unit of code, and in which lines. First how two calls are compared,
which needs no store; then how the nearest is found; last what a person reads.
"""

from __future__ import annotations

import ast
import difflib
import heapq
import json
import textwrap
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple

from cachekit.hashing import HASH_VERSION, CodeVersion
from cachekit.hashing.syntax import write_syntax
from cachekit.memoization.call import CallKey
from cachekit.memoization.lineage import Record
from cachekit.stores import EntryInfo, EntryKey, Store
from cachekit.stores.base import RECORD

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

# What is shown at most.
LONGEST_DIFF = 40
MOST_ARGUMENTS = 20
MOST_UNITS = 10
WIDTH = 80

# Lines around each change.
_CONTEXT = 2

# To compare more lines than these may take seconds.
_MOST_COMPARED = 2000


@dataclass(frozen=True)
class ArgumentChange:
    """An argument that differs between two calls.

    Attributes
    ----------
    name : str
        Of the parameter.
    kind : {"changed", "added", "removed", "ignored"}
        Added to or removed from what counts; ignored, if it counted before.
    before, now : str or None
        Short forms of the values, None if there is none; two values may share one.
    before_digest, now_digest : str or None
        Their digests.
    """

    name: str
    kind: Literal["changed", "added", "removed", "ignored"]
    before: str | None
    now: str | None
    before_digest: str | None
    now_digest: str | None


@dataclass(frozen=True)
class UnitChange:
    """A function, class or module that differs between two versions of code.

    Attributes
    ----------
    name : str
        ``module.qualname``.
    kind : {"changed", "added", "removed"}
        What happened to it.
    before, now : str or None
        Its sources, None where there is none; classes and modules have none.
    diff : tuple of str
        The lines that differ, begun with ``-`` and ``+``, and some around them, at
        most 40. Empty if the source is the same: then a default is another, or a
        value that the unit reads.
    values : tuple of str
        Names of the defaults, globals and files that the unit reads and that differ.
    """

    name: str
    kind: Literal["changed", "added", "removed"]
    before: str | None
    now: str | None
    diff: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class LibraryChange:
    """A library of which the version differs; None where it was not called.

    It counts only for functions cached with ``environment="exact"``.
    """

    name: str
    before: str | None
    now: str | None


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

    def __str__(self) -> str:
        return "\n".join(_lines(self))


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


def compare_arguments(
    before: Mapping[str, Mapping[str, str]],
    now: Mapping[str, Mapping[str, str]],
    *,
    ignored: Collection[str] = (),
) -> tuple[ArgumentChange, ...]:
    """Find the arguments that differ, as two records describe them."""
    changes = []
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        old_digest, new_digest = _digest(old), _digest(new)
        if old is not None and new is not None:
            if old_digest == new_digest is not None:
                continue
            kind: Literal["changed", "added", "removed", "ignored"] = "changed"
        elif old is None:
            kind = "added"
        else:
            kind = "ignored" if name in ignored else "removed"
        changes.append(
            ArgumentChange(name, kind, _short(old), _short(new), old_digest, new_digest)
        )
    return tuple(changes)


def _digest(facts: Mapping[str, object] | None) -> str | None:
    """Return a digest from a record, in which anything may stand."""
    found = None if facts is None else facts.get("digest")
    return found if isinstance(found, str) else None


def _short(facts: Mapping[str, object] | None) -> str | None:
    if facts is None:
        return None
    text = facts.get("repr", "(redacted)")
    return text if isinstance(text, str) else "?"


def compare_code(before: CodeVersion, now: CodeVersion) -> tuple[UnitChange, ...]:
    """Find the units that differ: those of now in their order, then those removed."""
    changes = []
    for name, digest in now.units.items():
        old, new = before.sources.get(name), now.sources.get(name)
        if name not in before.units:
            changes.append(UnitChange(name, "added", None, new))
            continue
        is_changed = digest != before.units[name]
        is_edited = _is_edited(old, new, decorated=is_changed)
        if is_changed or is_edited:
            diff = diff_lines(old or "", new or "") if is_edited else ()
            values = _values_changed(before.reads.get(name), now.reads.get(name))
            changes.append(UnitChange(name, "changed", old, new, diff, values))
    changes += [
        UnitChange(name, "removed", before.sources.get(name), None)
        for name in before.units
        if name not in now.units
    ]
    return tuple(changes)


def _values_changed(
    before: Mapping[str, str] | None, now: Mapping[str, str] | None
) -> tuple[str, ...]:
    """Name the values that differ; none where an old description has none."""
    if before is None or now is None:
        return ()
    names = sorted({*before, *now})
    return tuple(name for name in names if before.get(name) != now.get(name))


def _is_edited(before: str | None, now: str | None, *, decorated: bool) -> bool:
    """Tell whether two sources differ in more than remarks.

    Also those of one digest, for a wrapper has the name of what it wraps, and then one
    of the two stands for both. Decorators are units of their own.
    """
    if before is None or now is None or before == now:
        return False
    old, new = (_syntax(source, decorated=decorated) for source in (before, now))
    if old is None or new is None:  # lines of a lambda, from the middle of a statement
        return decorated
    return old != new


def _syntax(source: str, *, decorated: bool) -> list[object] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what was compiled long ago
            tree = ast.parse(source)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.decorator_list *= decorated
            elif not decorated:  # a lambda in a statement that does more
                return None
        return list(write_syntax(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def compare_libraries(
    before: CodeVersion, now: CodeVersion
) -> tuple[LibraryChange, ...]:
    """Find the libraries of which the versions differ."""
    return tuple(
        LibraryChange(name, before.libraries.get(name), now.libraries.get(name))
        for name in sorted({*before.libraries, *now.libraries})
        if before.libraries.get(name) != now.libraries.get(name)
    )


def diff_lines(before: str, now: str) -> tuple[str, ...]:
    r"""Show what was edited: at most 40 lines, begun with ``-``, ``+`` or a blank.

    >>> diff_lines("def f(x):\n    return 1\n", "def f(x):\n    return 2\n")
    ('  def f(x):', '-     return 1', '+     return 2')
    """
    old, new = before.splitlines(), now.splitlines()
    same = _length_in_common(old, new)
    start = max(0, same - _CONTEXT)
    old, new = (lines[start : start + _MOST_COMPARED] for lines in (old, new))
    found = list(difflib.unified_diff(old, new, n=_CONTEXT, lineterm=""))[2:]
    lines: list[str] = []
    for line in found:
        if not line.startswith("@@"):
            lines.append(f"{line[0]} {line[1:]}")
        elif lines:  # where a part is left out
            lines.append("…")
    if len(lines) > LONGEST_DIFF:
        more = len(lines) - LONGEST_DIFF
        lines[LONGEST_DIFF:] = [f"… {_count(more, 'more line')}"]
    return tuple(lines)


def _length_in_common(old: list[str], new: list[str]) -> int:
    pairs = enumerate(zip(old, new, strict=False))
    differing = (number for number, (one, other) in pairs if one != other)
    return next(differing, min(len(old), len(new)))


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
    return _miss(store, now, ignored)


def explain_entry(store: Store, key: EntryKey) -> Explanation | None:
    """Say why a stored call was computed, by what was stored before it.

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
    return Call(key, record.arguments, _read_code(store, key), record.started)


def _present(store: Store, now: Call, reason: Reason) -> Explanation:
    record = _read_record(store, now.key)
    return Explanation(
        *(now.key.function, now.key, reason),
        nearest=now.key,
        started=record.started if record else "",
    )


def _miss(store: Store, now: Call, ignored: Collection[str] = ()) -> Explanation:
    listed = _Listed(store, now.key)
    found = Explanation(
        *(now.key.function, now.key, "no entries"),
        entries=listed.count,
        is_stored=bool(now.started),
    )
    if not now.started and now.key.path in store.hits():
        return replace(found, reason="removed")
    stored = list(_comparable(store, listed.chosen, now))
    if stored:
        nearest, same = _nearest(store, stored, now)
        nearest = nearest._replace(code=_read_code(store, nearest.key))
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
        codes = {call.key.fingerprint: _read_code(store, call.key) for call in stored}
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
    except (ValueError, RecursionError):
        return None


def _read_code(store: Store, key: EntryKey) -> CodeVersion | None:
    content = store.read_code(key)
    try:
        found = json.loads(content or b"null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("fingerprint") != key.fingerprint:
        return None
    parts = [found.get(name) for name in ("units", "sources", "libraries")]
    if not all(isinstance(part, dict) for part in parts):
        return None
    texts = [text for part in parts for text in part.values()]  # type: ignore[union-attr]
    if not all(isinstance(text, str) for text in texts):
        return None
    reads = found.get("reads")
    if not isinstance(reads, dict):  # an earlier version wrote none
        reads = {}
    reads = {name: of for name, of in reads.items() if isinstance(of, dict)}
    return CodeVersion(key.fingerprint, *parts, reads)  # type: ignore[arg-type]


# --- what a person reads ---


def _lines(this: Explanation) -> Iterator[str]:
    yield from _wrapped(f"{_plain(this.function)}(...) {_verdict(this)}", "", "    ")
    for change in this.arguments[:MOST_ARGUMENTS]:
        yield from _argument_lines(change)
    yield from _more(len(this.arguments) - MOST_ARGUMENTS, "argument")
    for unit in this.units[:MOST_UNITS]:
        yield from _unit_lines(unit)
    yield from _more(len(this.units) - MOST_UNITS, "unit")
    for library in this.libraries[:MOST_UNITS]:
        versions = f"{library.before or 'absent'} -> {library.now or 'absent'}"
        text = f'{library.name}: {versions} (counts if environment="exact")'
        yield from _wrapped(_plain(text))
    yield from _more(len(this.libraries) - MOST_UNITS, "library")
    if this.note:
        yield from _wrapped(f"{this.note}.")
    if this.same_arguments is not None:
        entry = this.same_arguments.digest[:12]
        text = f"With the same arguments it was computed by other code: entry {entry}."
        yield from _wrapped(text)


def _verdict(this: Explanation) -> str:
    moment = _moment(this.started)
    if this.reason == "hit":
        return "would be a hit" + (f": computed {moment}" if moment else "")
    verb = "was computed" if this.is_stored else "would be computed"
    moment = f" ({moment})" if moment else ""
    count = f" (of {this.entries:,})" if this.entries > 1 and not this.is_stored else ""
    number = _count(len(this.arguments), "argument")
    why = {
        "expired": f"its result{moment} is not to be used any more",
        "no entries": "no earlier call of it was found"
        if this.is_stored
        else "nothing is stored of it yet",
        "removed": "its result was stored, and has been removed or evicted",
        "unreadable": f"no record of its {_count(this.entries, 'entry')} can be "
        "compared: they are damaged, or of another version of cachekit",
        "arguments": f"{number} {'differs' if len(this.arguments) == 1 else 'differ'} "
        f"from the nearest entry{count}",
        "code": f"its code changed since the nearest entry{moment}",
        "arguments and code": f"{number} and its code differ from the nearest "
        f"entry{count}",
    }
    return f"{verb}: {why[this.reason]}"


def _argument_lines(change: ArgumentChange) -> Iterator[str]:
    name = _cut(_plain(change.name), 40)
    before, now = (_plain(text or "") for text in (change.before, change.now))
    if change.kind == "added":
        yield _cut(f"  {name}: new, {now}")
    elif change.kind != "changed":
        was = "now ignored" if change.kind == "ignored" else "removed"
        yield _cut(f"  {name}: {was}, was {before}")
    elif before == now:
        digests = [
            (digest or "?")[:8] for digest in (change.before_digest, change.now_digest)
        ]
        yield from _wrapped(
            f"{name}: {_cut(now, 60)}, with other content "
            f"(digest {_plain(digests[0])} -> {_plain(digests[1])})"
        )
    elif len(line := f"  {name}: {before} -> {now}") <= WIDTH:
        yield line
    else:
        start = _length_in_common(list(before), list(now))
        yield f"  {name}:"
        yield f"    - {_window(before, start, WIDTH - 6)}"
        yield f"    + {_window(now, start, WIDTH - 6)}"


def _unit_lines(unit: UnitChange) -> Iterator[str]:
    source = unit.now or unit.before
    if unit.kind != "changed":
        size = f", {_count(len(source.splitlines()), 'line')}" if source else ""
        about = f"{unit.kind}{size}"
    elif unit.diff:
        about = "changed"
    elif unit.values:
        about = "another value"
    elif unit.now and unit.before:
        about = "same source; a default, or a value that it reads, changed"
    else:
        about = "changed; no source of it is stored"
    yield from _wrapped(f"{_plain(unit.name)}  ({about})")
    if unit.values:
        yield from _wrapped(_plain(", ".join(unit.values[:MOST_UNITS])), "    ~ ")
    for line in unit.diff:
        sign, text = line[:1], _plain(line[2:].expandtabs(4))
        if sign == "…":
            yield f"    {line}"
        else:
            yield from _wrapped_code(text, sign)


def _wrapped_code(text: str, sign: str) -> Iterator[str]:
    """Break a line of code, for what was edited may stand at its end."""
    width = WIDTH - 6
    yield f"    {sign} {text[:width]}".rstrip()
    parts = [text[start : start + width] for start in range(width, len(text), width)]
    for part in parts[:3]:
        yield f"      {part}"
    if len(parts) > 3:
        yield "      …"


def _wrapped(text: str, first: str = "  ", rest: str = "      ") -> list[str]:
    return textwrap.wrap(
        *(text, WIDTH),
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def _more(number: int, noun: str) -> Iterator[str]:
    if number > 0:
        yield f"  … {_count(number, f'more {noun}')}"


def _cut(text: str, width: int = WIDTH) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _window(text: str, start: int, width: int) -> str:
    """Cut a text at both ends, around where it begins to differ."""
    if len(text) <= width:
        return text
    start = max(0, min(start - width // 2, len(text) - width + 1))
    return _cut(f"…{text[start:]}" if start else text, width)


def _plain(text: str) -> str:
    """Write out what a terminal would obey; a store may hold what others wrote."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _moment(started: str) -> str:
    try:
        return f"{datetime.fromisoformat(started).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return ""


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
