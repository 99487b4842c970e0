"""The record of a run: one JSON document in the store, ``runs/<id>.json``.

What stands in a store may have been written by others, or be damaged: nothing is taken
from a document that has not the type it should have, and nothing in it is code.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from cachekit.memoization.lineage import describe_arguments

# A document of a later format is passed over.
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """A cached call that a run has made, but not one inside another.

    Attributes
    ----------
    path : str
        Its entry in the store.
    function, fingerprint, key : str
        The function's name, the hash of its code, and that of the whole call.
    arguments : dict of str to str
        Digests of the arguments.
    value : str or None
        Digest of the result, if it has one.
    is_made : bool or None
        Whether it was computed by the run; else it was read. None if its record is
        not in the store of the run.
    """

    path: str
    function: str
    fingerprint: str
    key: str
    arguments: dict[str, str] = field(default_factory=dict)
    value: str | None = None
    is_made: bool | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """All that is known of a run.

    Attributes
    ----------
    id : str
        Time and some digits, so that a later run sorts behind an earlier one.
    name : str
        Of the pipeline or script.
    status : {"running", "finished", "failed", "interrupted", "killed"}
        Killed is what a reader finds who sees that the process is no more: its document
        still says running, as one of another machine does to everybody.
    started : str
        ISO 8601, UTC.
    seconds : float
        How long it took.
    error : str
        With what it failed.
    parameters : dict
        Hyper-parameters by name, as JSON has them; what JSON has not is a short text
        with a digest.
    metrics : dict of str to float
        Results that are numbers.
    artifacts : list of dict
        The files it has written: ``path`` as it was given, ``absolute``, ``bytes`` and
        ``digest``, the last two None if there was no such file at the end.
    datasets : dict of str to dict
        The data it has used: ``source``, ``split``, ``statistics``.
    seeds : dict
        Parameters whose names say that they are seeds, and those that were logged.
    calls : list of CallRecord
        The cached calls, in order.
    n_calls : int
        How many there were; of very many only the first are listed.
    git : dict or None
        Of the repository that the script is in: ``root``, ``commit``, ``diff`` to it,
        whether that ``is_cut``, and files that are ``untracked``.
    command : dict
        ``arguments`` of the script, the ``original`` command line, ``executable``,
        ``folder``, ``script``, ``paths`` and ``environment``.
    sources : list of str
        Files of the user's own modules that were imported.
    python : str
        Its version.
    packages : dict of str to str
        Versions of the installed packages that were imported; and of those that the
        cached functions use, as they were when these were first run.
    hardware : dict
        ``cpu``, ``cores``, ``memory`` in bytes, ``gpus``, ``system``.
    host, user : str
        Where, and by whom.
    process : str
        Machine, number and start of the process.
    cache : dict
        ``hits``, ``misses``, ``seconds_saved``.
    store : str
        Where the results are.
    cachekit : str
        Its version.
    """

    id: str
    name: str
    status: str
    started: str
    seconds: float = 0.0
    error: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: dict[str, Any] = field(default_factory=dict)
    calls: list[CallRecord] = field(default_factory=list)
    n_calls: int = 0
    git: dict[str, Any] | None = None
    command: dict[str, Any] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    host: str = ""
    user: str = ""
    process: str = ""
    cache: dict[str, float] = field(default_factory=dict)
    store: str = ""
    cachekit: str = ""

    @property
    def began(self) -> float:
        """When it began, in seconds since 1970; 0 if no clock has that date."""
        try:
            return datetime.fromisoformat(self.started).timestamp()
        except (ValueError, OverflowError, OSError):
            return 0.0

    @property
    def has_end(self) -> bool:
        """Whether it is known how it ended, and when."""
        return self.status not in ("running", "killed")

    def to_json(self) -> bytes:
        """Write the record as JSON; numbers that JSON has not are texts."""
        facts = {"format": FORMAT, **asdict(self)}
        facts["metrics"] = {name: _number(one) for name, one in self.metrics.items()}
        return json.dumps(facts, indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> RunRecord:
        """Read a record; fields of a later version are left out.

        Raises
        ------
        ValueError
            If the content is not the record of a run.
        """
        try:
            found = json.loads(content)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        if found.get("format") != FORMAT:
            raise ValueError(f"format {found.get('format')!r} is not {FORMAT}")
        known = {name: found[name] for name in _TYPES if name in found}
        for name, kinds in _TYPES.items():
            if name in known and not isinstance(known[name], kinds):
                raise ValueError(f"{name} is {known[name]!r:.80}")
        if missing := {"id", "name", "status", "started"} - set(known):
            raise ValueError(f"no {min(missing)}")
        try:
            datetime.fromisoformat(known["started"])
            _read_parts(known)
        except (TypeError, AttributeError, KeyError, OverflowError) as error:
            raise ValueError(str(error)) from error
        return cls(**known)


_TYPES: dict[str, tuple[type, ...]] = {
    one.name: {
        "str": (str,),
        "int": (int,),
        "float": (float, int),
        "list": (list,),
        "dict": (dict,),
    }[str(one.type).partition("[")[0]]
    + ((type(None),) if str(one.type).endswith("None") else ())
    for one in fields(RunRecord)
}


def _read_parts(known: dict[str, Any]) -> None:
    """Give what is inside of the fields its types, or raise."""
    known["metrics"] = {
        name: float(one) for name, one in known.get("metrics", {}).items()
    }
    known["calls"] = [_read_call(one) for one in known.get("calls", [])]
    known["cache"] = {name: float(one) for name, one in known.get("cache", {}).items()}
    for name, kinds in _PARTS.items():
        _check_parts(known.get(name) or {}, kinds)
    dicts = [*known.get("artifacts", []), *known.get("datasets", {}).values()]
    if not all(isinstance(one, dict) for one in dicts):
        raise ValueError("artifacts or datasets are not described by objects")
    texts = [*known.get("packages", {}).values()]
    texts += known.get("sources", [])
    texts += [one.get("path") for one in known.get("artifacts", [])]
    if not all(isinstance(one, str) for one in texts):
        raise ValueError("versions and paths are not all texts")


_OPTIONAL_INT = (int, type(None))
_PARTS: dict[str, dict[str, tuple[type, ...]]] = {
    "git": {
        "root": (str,),
        "commit": (str,),
        "diff": (str,),
        "is_cut": (bool,),
        "untracked": (list,),
    },
    "command": {
        "arguments": (list,),
        "original": (list,),
        "executable": (str,),
        "folder": (str,),
        "script": (str, type(None)),
        "paths": (list,),
        "environment": (dict,),
    },
    "hardware": {
        "cpu": (str,),
        "cores": _OPTIONAL_INT,
        "memory": _OPTIONAL_INT,
        "gpus": (list,),
        "system": (str,),
    },
}


def _check_parts(found: dict[str, Any], kinds: dict[str, tuple[type, ...]]) -> None:
    """Raise if a part is not what it should be; lists and dicts are of texts."""
    for name, value in found.items():
        if name in kinds and not isinstance(value, kinds[name]):
            raise ValueError(f"{name} is {value!r:.80}")
        inside = value.values() if isinstance(value, dict) else value
        is_many = isinstance(value, list | dict)
        if is_many and not all(isinstance(one, str) for one in inside):
            raise ValueError(f"{name} is not all texts")
    commit = found.get("commit", "0")
    if not set(commit) <= set("0123456789abcdef"):  # git might take it for an option
        raise ValueError(f"commit is {commit!r:.80}")


def _read_call(found: dict[str, Any]) -> CallRecord:
    names = [one.name for one in fields(CallRecord)]
    call = CallRecord(**{name: found[name] for name in names if name in found})
    texts = (call.path, call.function, call.fingerprint, call.key)
    if not all(isinstance(text, str) for text in (*texts, *call.arguments.values())):
        raise ValueError("a call is not described by texts")
    odd: list[Any] = [call.value, call.is_made]  # whatever the annotations say
    if not isinstance(odd[0], str | None) or not isinstance(odd[1], bool | None):
        raise ValueError("a call has an odd value")
    return call


def _number(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)


def new_id(seconds: float | None = None) -> str:
    """Make a name for a run: ``20261122-101500-4173f9c``.

    Date, time (UTC), milliseconds, and four digits at random.
    """
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    milliseconds = moment.microsecond // 1000
    return f"{moment:%Y%m%d-%H%M%S}-{milliseconds:03d}{secrets.token_hex(2)}"


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make JSON of values by name; what JSON has not becomes a short text."""
    return {str(name): plain_value(value) for name, value in values.items()}


def plain_value(value: Any) -> Any:
    """Make JSON of a value: numbers, texts, lists and dicts stay what they are."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    if isinstance(value, dict):
        return plain_values(value)
    if isinstance(value, PurePath):
        return str(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return plain_value(value.item())
    return _described(value)


def _described(value: Any) -> str:
    """Describe a value in one line; two that differ are not to look alike."""
    from cachekit.hashing import digest

    try:
        found = digest(value)[:12]
    except Exception:  # noqa: BLE001  (hashing may run the value's own code)
        found = "unknown"
    text = describe_arguments({"value": value}, {"value": found})["value"]["repr"]
    return f"{text} (digest {found})"
