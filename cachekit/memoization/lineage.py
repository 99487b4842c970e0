"""The record of a call: what made a result, kept beside it as plain JSON."""

from __future__ import annotations

import json
import platform
import reprlib
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from cachekit import __version__
from cachekit.hashing import HASH_VERSION

# What a person sees of an argument. Longer, and records outweigh results.
LONGEST_REPR = 80

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = LONGEST_REPR


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
        """Write the record as indented JSON."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Record:
        """Read a record; fields of a later version are left out.

        Raises
        ------
        ValueError
            If the content is not a record.
        """
        found = json.loads(content)
        names = {field.name for field in fields(cls)}
        try:
            return cls(**{name: found[name] for name in found if name in names})
        except TypeError as error:
            raise ValueError(f"not the record of a call: {error}") from error


def describe_arguments(
    bound: Mapping[str, object], digests: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Put a digest and a short, bounded text beside each argument's name."""
    return {
        name: {"digest": digest, "repr": _describe(bound[name])}
        for name, digest in digests.items()
    }


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
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):  # an array or a table: its content would not fit
        dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
        return f"<{type(value).__name__} {shape}{dtype}>"[:LONGEST_REPR]
    try:
        text = _shorten.repr(value)
    except Exception as error:  # noqa: BLE001  (a repr is the user's code)
        text = f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    return text if len(text) <= LONGEST_REPR else text[: LONGEST_REPR - 1] + "…"
