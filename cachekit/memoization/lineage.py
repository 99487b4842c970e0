"""The record of a call: what made a result, kept beside it as plain JSON."""

from __future__ import annotations

import functools
import json
import platform
import reprlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from cachekit import __version__
from cachekit.hashing import HASH_VERSION

# What a person sees of an argument. Longer, and records outweigh results.
LONGEST_REPR = 80


@dataclass(frozen=True, kw_only=True)
class Record:
    """The facts about one call.

    Attributes
    ----------
    function : str
        ``module.qualname``.
    fingerprint, key : str
        Digests of the code and of the whole call.
    arguments : dict of str to dict
        For each argument its ``digest`` and a short ``repr``.
    started : str
        When the call began, ISO 8601, UTC.
    seconds_computing, seconds_storing : float
        What the call took, and then to write its value.
    value_bytes : int
        Size of the stored value.
    host, python, cachekit : str
        Where it ran, and on which versions.
    hash_version : int
        Of the digests above.
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

    def to_json(self) -> bytes:
        """Write the record as JSON, a line for each field."""
        # With `indent` json is written by Python's own code, which takes five times as
        # long: a tenth of a small miss.
        return f"{_encode(vars(self))}\n".encode()

    @classmethod
    def from_json(cls, content: bytes) -> Record:
        """Read a record; fields of a later version are left out.

        Raises
        ------
        ValueError
            If the content is not a record.
        """
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError("not the record of a call: no JSON object")
        known: dict[str, Any] = {
            field.name: found.get(field.name) for field in fields(cls)
        }
        for field in fields(cls):
            wanted = _TYPES[str(field.type).partition("[")[0]]
            if not isinstance(known[field.name], wanted):
                raise ValueError(
                    f"not the record of a call: {field.name} is {known[field.name]!r}"
                )
        if not all(isinstance(facts, dict) for facts in known["arguments"].values()):
            raise ValueError("not the record of a call: arguments without facts")
        return cls(**known)


_encode = json.JSONEncoder(separators=(",\n ", ": ")).encode

# By annotation. A number that JSON wrote without a point is an int.
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "dict": (dict,),
}


def describe_arguments(
    bound: Mapping[str, object], digests: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Put a digest and a short, bounded text beside each argument's name."""
    return {
        name: {"digest": digest, "repr": _describe(bound[name])}
        for name, digest in digests.items()
    }


@functools.cache
def environment() -> dict[str, Any]:
    """Return the fields of a record that are the same for the whole process."""
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "cachekit": __version__,
        "hash_version": HASH_VERSION,
    }


def timestamp(seconds: float) -> str:
    """Write seconds since 1970 as ISO 8601, UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _describe(value: object) -> str:
    """Describe a value in one short line, whatever its own code does."""
    try:
        text = _shape_or_text(value)
    except Exception as error:  # noqa: BLE001  (attributes and repr are user's code)
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= LONGEST_REPR else text[: LONGEST_REPR - 1] + "…"


def _shape_or_text(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape != ():  # its content would not fit
        dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
        return f"<{type(value).__name__} {shape}{dtype}>"
    if isinstance(value, (bytes, bytearray, str)):  # reprlib would take all of it
        return repr(value[:LONGEST_REPR])
    return _Repr.repr(value)


class _ShortRepr(reprlib.Repr):
    """Short texts; what a repr raises is not hidden."""

    def repr_instance(self, x: object, level: int) -> str:  # noqa: ARG002
        """Write an object that is no container."""
        return repr(x)[: LONGEST_REPR + 1]


_Repr = _ShortRepr()
_Repr.maxstring = _Repr.maxother = _Repr.maxlong = LONGEST_REPR
