"""The record of a call: what made a result, kept beside it as plain JSON."""

from __future__ import annotations

import functools
import json
import json.encoder
import math
import platform
import re
import reprlib
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from cachekit import __version__
from cachekit.hashing import HASH_VERSION, main_name
from cachekit.memoization.call import digest_of, is_small
from cachekit.texts import cut, plain

# What a person sees of an argument. Longer, and records outweigh results.
LONGEST_REPR = 80

# So many items of a result have digests of their own.
MOST_ITEMS = 100


# Not frozen, which would take a small miss two microseconds.
@dataclass(kw_only=True)
class Record:
    """The facts about one call.

    Attributes
    ----------
    function : str
        ``module.qualname``.
    fingerprint, key : str
        Digests of the code and of the whole call.
    arguments : dict of str to dict
        For each argument its ``digest`` and a short ``repr``, but no ``repr`` of those
        that are redacted.
    started : str
        When the call began, ISO 8601, UTC.
    seconds_computing, seconds_storing : float
        What the call took, and then to write its value.
    value_bytes : int
        Size of the stored value.
    value : str or None
        Digest of the value, if it has one.
    items : dict of str to str
        Digests of the items of a tuple or a dict, by place or key, but of small
        numbers, flags and short texts: of an argument that is one of these, nobody can
        tell where it is from.
    arrays : list of str
        Which of the items are plain arrays; that the value itself is one, an empty
        name says.
    parents : list of str
        Digests of the arguments that may be results of other calls: of all but small
        numbers, flags and short texts.
    children : list of str
        Paths of the entries of the cached calls that this one made.
    files : dict of str to int
        Size of each file that the call has made.
    warnings : list of str
        What the call has warned of, at most 20: a hit does not say it again.
    git : dict or None
        The ``commit`` of the repository that the function's source is in, and whether
        it ``is_dirty``.
    host, python, cachekit : str
        Where it ran, and on which versions.
    hash_version : int
        Of the digests above.
    main : str or None
        The module that ``__main__`` was, by the name under which it is imported.
    """

    function: str
    fingerprint: str
    key: str
    arguments: dict[str, dict[str, str]]
    started: str
    seconds_computing: float
    seconds_storing: float
    value_bytes: int
    host: str
    python: str
    cachekit: str
    hash_version: int
    main: str | None = None
    value: str | None = None
    items: dict[str, str] = field(default_factory=dict)
    arrays: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    git: dict[str, Any] | None = None

    @property
    def began(self) -> float:
        """When the call began, in seconds since 1970; 0 if no clock has that date."""
        try:
            return datetime.fromisoformat(self.started).timestamp()
        except (ValueError, OverflowError, OSError):
            return 0.0

    def to_json(self) -> bytes:
        """Write the record as JSON, a line for each field."""
        # By hand what each record has: with `json` alone a small miss takes a tenth
        # longer, and with its `indent`, which is done in Python, a third.
        lines = (
            f'{{"function": {_quote(self.function)}',
            f'"fingerprint": {_quote(self.fingerprint)}',
            f'"key": {_quote(self.key)}',
            f'"arguments": {_encode_arguments(self.arguments)}',
            f'"started": {_quote(self.started)}',
            f'"seconds_computing": {_encode_number(self.seconds_computing)}',
            f'"seconds_storing": {_encode_number(self.seconds_storing)}',
            f'"value_bytes": {self.value_bytes}',
            _encode_process(
                self.host, self.python, self.cachekit, self.hash_version, self.main
            ),
            f'"value": {"null" if self.value is None else _quote(self.value)}',
            f'"git": {_encode_git(self.git)}',
            f"{self._encode_more()}}}\n",
        )
        return _NEXT.join(lines).encode()

    def _encode_more(self) -> str:
        """Write the other fields, in which most records have nothing."""
        facts = vars(self)
        if not any(map(facts.get, _MORE)):
            return _ENCODED_NOTHING_MORE
        return _encode({name: facts[name] for name in _MORE})[1:-1]

    @classmethod
    def from_json(cls, content: bytes) -> Record:
        """Read a record; fields of a later version are left out.

        Raises
        ------
        ValueError
            If the content is not a record.
        """
        try:
            found = json.loads(content)
        except RecursionError as error:
            raise ValueError("not the record of a call: nested too deeply") from error
        if not isinstance(found, dict):
            raise ValueError("not the record of a call: no JSON object")
        known: dict[str, Any] = {
            name: found[name] for name in _ANNOTATIONS if name in found
        }
        for name, annotation in _ANNOTATIONS.items():
            if name not in known and name in _ADDED:  # by a later version
                continue
            value = known.get(name)
            if value is None and annotation.endswith("| None"):
                continue
            if not _check_of(annotation)(value):
                raise ValueError(f"not the record of a call: {name} is {value!r}")
        try:
            float(known["seconds_computing"]), float(known["seconds_storing"])
            datetime.fromisoformat(known["started"])
        except (ValueError, OverflowError) as error:
            raise ValueError(f"not the record of a call: {error}") from error
        return cls(**known)


def seconds_in(content: bytes | None) -> float | None:
    """Return what a call took to compute, from the content of its record.

    To read all of a record takes ten times as long. None if it does not say so.
    """
    found = _SECONDS.search(content or b"")
    try:
        seconds = float(found[1]) if found else math.nan
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


# In a text a quote has a backslash before it, so that this is found in none.
_SECONDS = re.compile(rb'"seconds_computing": ?([0-9][0-9.e+-]*)[,\s}]')

_NEXT = ",\n "
_encode = json.JSONEncoder(separators=(_NEXT, ": ")).encode
_quote: Callable[[str], str] = json.encoder.encode_basestring_ascii


@functools.cache
def _check_of(annotation: str) -> Callable[[object], bool]:
    """Return what tells whether a value from JSON is what a field's annotation says.

    ``"dict[str, dict[str, str]]"`` -> a dict, the values of which are dicts of texts
    """
    kind, _, inner = annotation.removesuffix(" | None").partition("[")
    types = _TYPES[kind]
    if kind == "dict":
        inner = inner.partition(", ")[2]
    inner = inner.removesuffix("]")
    if inner in ("", "Any"):
        return lambda value: isinstance(value, types)
    check = _check_of(inner)
    if kind == "dict":
        return lambda value: isinstance(value, dict) and all(map(check, value.values()))
    return lambda value: isinstance(value, list) and all(map(check, value))


# By annotation. A number that JSON wrote without a point is an int.
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "dict": (dict,),
    "list": (list,),
}

_ANNOTATIONS = {one.name: str(one.type) for one in fields(Record)}
_ANNOTATIONS["arguments"] = "dict[str, dict[str, Any]]"  # only people read them

# Fields that records of the first days did not have.
_ADDED = {
    "main",
    "value",
    "items",
    "arrays",
    "parents",
    "children",
    "files",
    "warnings",
    "git",
}

# The fields that `Record.to_json` does not write by hand; at first they are empty.
_MORE = {
    one.name: one.default_factory
    for one in fields(Record)
    if one.default_factory is not MISSING
}
_ENCODED_NOTHING_MORE = _encode({name: make() for name, make in _MORE.items()})[1:-1]


def _encode_arguments(arguments: Mapping[str, Mapping[str, str]]) -> str:
    described = []
    for name, facts in arguments.items():
        texts = [f"{_quote(what)}: {_quote(text)}" for what, text in facts.items()]
        described.append(f"{_quote(name)}: {{{_NEXT.join(texts)}}}")
    return f"{{{_NEXT.join(described)}}}"


def _encode_number(number: float) -> str:
    return repr(number) if math.isfinite(number) else _encode(number)


def _encode_git(git: dict[str, Any] | None) -> str:
    if git is None:
        return "null"
    commit, is_dirty = git.get("commit"), git.get("is_dirty")
    if type(commit) is str and type(is_dirty) is bool and len(git) == 2:
        dirty = "true" if is_dirty else "false"
        return f'{{"commit": {_quote(commit)}{_NEXT}"is_dirty": {dirty}}}'
    return _encode(git)


@functools.lru_cache(maxsize=4)
def _encode_process(
    host: str, python: str, cachekit: str, hash_version: int, main: str | None
) -> str:
    made_by = {
        "host": host,
        "python": python,
        "cachekit": cachekit,
        "hash_version": hash_version,
        "main": main,
    }
    return _encode(made_by)[1:-1]


def describe_arguments(
    bound: Mapping[str, object],
    digests: Mapping[str, str],
    redact: Collection[str] = (),
) -> dict[str, dict[str, str]]:
    """Put a digest and a short, bounded text beside each argument's name.

    Of those to be redacted there is the digest alone.
    """
    facts = {}
    for name, digest in digests.items():
        if name in redact:
            facts[name] = {"digest": digest}
        else:
            facts[name] = {"digest": digest, "repr": _describe(bound[name])}
    return facts


def value_digests(value: Any) -> tuple[str | None, dict[str, str], list[str]]:
    """Return the digest of a result, those of its items, and which are of arrays.

    The items are those of a tuple or a dict, by place or key, but for small numbers,
    flags and short texts. What has no digest has None, or is left out: it is stored all
    the same.
    """
    items: dict[str, str] = {}
    arrays: list[str] = []
    for name, item in _items_of(value):
        if is_small(item):
            continue
        found = _digest_or_none(item)
        if found is not None:
            items[str(name)] = found
        if name != "" and _is_array(item):
            arrays.append(str(name))
    if _is_array(value):
        arrays.append("")
    return _digest_or_none(value), items, arrays


def _items_of(value: Any) -> Iterable[tuple[int | str, object]]:
    """Return the items of a tuple or a dict that is not too long, with their names."""
    if isinstance(value, tuple) and len(value) <= MOST_ITEMS:
        return enumerate(value)
    if type(value) is dict and len(value) <= MOST_ITEMS:
        return [(name, item) for name, item in value.items() if type(name) is str]
    return ()


def _is_array(value: object) -> bool:
    kind = type(value)
    return kind.__module__ == "numpy" and kind.__name__ in ("ndarray", "memmap")


def _digest_or_none(value: object) -> str | None:
    try:
        return digest_of(value)
    except Exception:  # noqa: BLE001  (hashing may run the value's own code)
        return None


def environment() -> dict[str, Any]:
    """Return the fields of a record that are the same for the whole process."""
    return _environment(main_name())


@functools.lru_cache(maxsize=4)
def _environment(main: str) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "cachekit": __version__,
        "hash_version": HASH_VERSION,
        "main": main,
    }


def timestamp(seconds: float) -> str:
    """Write seconds since 1970 as ISO 8601, UTC, to the microsecond."""
    # Of two small calls it is told which began first: one may be made of the other.
    whole, millionths = divmod(round(1e6 * seconds), 1_000_000)
    return f"{_to_the_second(whole)}.{millionths:06d}+00:00"


@functools.lru_cache(maxsize=1)
def _to_the_second(seconds: int) -> str:
    # Many small misses begin in one second.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _describe(value: Any) -> str:
    """Describe a value in one short line, whatever its own code does."""
    kind = type(value)
    if kind is float or kind is bool or (kind is int and value.bit_length() <= 64):
        return repr(value)
    try:
        text = _shape_or_text(value)
    except Exception as error:  # noqa: BLE001  (attributes and repr are user's code)
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    return cut(plain(text), LONGEST_REPR)


def _shape_or_text(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape != ():  # its content would not fit
        dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
        return f"<{type(value).__name__} {shape}{dtype}>"
    if isinstance(value, (bytes, bytearray, str)):  # reprlib would take all of it
        return repr(value[:LONGEST_REPR])
    return _SHORT.repr(value)


class _ShortRepr(reprlib.Repr):
    """Short texts; what a repr raises is not hidden."""

    def repr_instance(self, x: object, level: int) -> str:  # noqa: ARG002
        """Write an object that is no container."""
        return repr(x)[: LONGEST_REPR + 1]


_SHORT = _ShortRepr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = LONGEST_REPR
