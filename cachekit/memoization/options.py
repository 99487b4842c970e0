"""What users write as options of a `Memory` or a cached function, checked."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar, get_args

from cachekit.amounts import parse_age, parse_size
from cachekit.hashing.code import Environment, Track
from cachekit.serialization import Codec, codec_from
from cachekit.stores.eviction import Limits

T = TypeVar("T")

MmapMode = Literal["r", "r+", "w+", "c"]
OnConflict = Literal["wait", "compute"]
OnError = Literal["warn", "raise"]

# The environment variable with the secret of every memory that is given none.
SIGNING_KEY = "CACHEKIT_SIGNING_KEY"

# Fewer could be found by trying.
SHORTEST_SECRET = 16


class CacheOptions(TypedDict, total=False):
    """The options of `cache`, for type checkers; `Memory.cache` says what they do."""

    ignore: Collection[str] | None
    verbose: int | None
    mmap_mode: MmapMode | Literal[False] | None
    cache_validation_callback: Callable[[dict[str, Any]], object] | None
    track: Track
    version: object
    depends: Sequence[Any]
    environment: Environment
    expires: float | str | timedelta | None
    compress: bool | int | str | tuple[str, int] | None
    on_conflict: OnConflict | None
    on_error: OnError
    cache_if: Callable[[Any, float], object] | None
    redact: Collection[str]
    memory_tier: int


class CodeOptions(NamedTuple):
    """How the code of a function counts; see `Memory.cache`."""

    track: Any = "deep"
    version: object = None
    depends: Sequence[Any] = ()
    environment: Any = "record"


class Policies(NamedTuple):
    """How the results of a function are kept; see `Memory.cache`.

    Attributes
    ----------
    codec : Codec
        Compresses values.
    mmap_mode : {"r", "c"} or None
        How arrays are mapped, if they are.
    verbose : int
        How much is said.
    on_conflict, conflict_timeout, on_error, cache_if
        As the user gave them.
    is_valid : callable or None
        Of joblib: what `cache_validation_callback` was.
    max_age : float or None
        Seconds after which a result is computed again.
    redact : frozenset of str
        Arguments whose values are not to be read in the record.
    memory_tier : int
        How many results are kept in memory, decoded.
    """

    codec: Codec
    mmap_mode: Literal["r", "c"] | None = None
    verbose: int = 0
    on_conflict: OnConflict = "wait"
    conflict_timeout: float | None = None
    on_error: OnError = "warn"
    is_valid: Callable[[dict[str, Any]], object] | None = None
    max_age: float | None = None
    cache_if: Callable[[Any, float], object] | None = None
    redact: frozenset[str] = frozenset()
    memory_tier: int = 0


def policies_from(defaults: Policies, given: CacheOptions) -> Policies:
    """Return the policies of a function: those of its memory, but for what is given.

    Raises
    ------
    ValueError
        If a value is not understood.
    TypeError
        If something that is to be called cannot be.
    """
    callback = given.get("cache_validation_callback")
    if callback is not None and not callable(callback):
        raise ValueError(
            f"cache_validation_callback needs to be callable. Got {callback!r}."
        )
    cache_if = given.get("cache_if")
    if cache_if is not None and not callable(cache_if):
        raise TypeError(f"cache_if={cache_if!r} is no function")
    redact: Any = given.get("redact", ())
    if isinstance(redact, str):
        raise ValueError(f"redact is a list of names: write redact=[{redact!r}]")
    tier: Any = given.get("memory_tier", 0)
    if not isinstance(tier, int) or tier < 0:
        raise ValueError(f"memory_tier={tier!r} is no number of results")
    expires = given.get("expires")
    chosen: dict[str, Any] = {
        "is_valid": callback,
        "max_age": _read("expires", parse_age, expires),
        "on_error": one_of("on_error", given.get("on_error", "warn"), OnError),
        "cache_if": cache_if,
        "redact": frozenset(redact),
        "memory_tier": tier,
    }
    if given.get("verbose") is not None:
        chosen["verbose"] = verbosity_from(given["verbose"])
    if given.get("mmap_mode", False) is not False:
        chosen["mmap_mode"] = mmap_mode_from(given["mmap_mode"])
    compress = given.get("compress")
    if compress is not None:
        chosen["codec"] = codec_from(compress)
    if given.get("on_conflict") is not None:
        chosen["on_conflict"] = one_of("on_conflict", given["on_conflict"], OnConflict)
    return defaults._replace(**chosen)


def code_options_from(given: CacheOptions) -> CodeOptions:
    """Return how the code of a function counts."""
    return CodeOptions(
        given.get("track", "deep"),
        given.get("version"),
        tuple(given.get("depends", ())),
        given.get("environment", "record"),
    )


def mmap_mode_from(mode: Any) -> Literal["r", "c"] | None:
    """Return how arrays are mapped.

    A result that a program could change in its file would no longer be what the
    function returned, so the modes that would write are copy-on-write.
    """
    if mode is not None and mode not in get_args(MmapMode):
        raise ValueError(f"mmap_mode={mode!r} is not None, 'r', 'r+', 'w+' or 'c'")
    return mode if mode in (None, "r") else "c"


def one_of(name: str, value: Any, choices: Any) -> Any:
    """Check that a value is one of those that a `Literal` lists."""
    if value not in get_args(choices):
        listed = " or ".join(map(repr, get_args(choices)))
        raise ValueError(f"{name}={value!r} is not {listed}")
    return value


def seconds_from(timeout: Any) -> float | None:
    """Return a `conflict_timeout` in seconds; None for no end."""
    if timeout is None or timeout == math.inf:
        return None
    if not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise ValueError(f"conflict_timeout={timeout!r} is no number of seconds")
    return float(timeout)


def verbosity_from(verbose: Any) -> Any:
    """Return a `verbose` option, which joblib takes as any number.

    Raises
    ------
    TypeError
        If it is no number.
    """
    if not isinstance(verbose, numbers.Real):
        raise TypeError(f"verbose={verbose!r} is no number")
    return verbose


def kept_limits_from(max_bytes: Any, max_entries: Any, max_age: Any) -> Limits:
    """Return what a store may always hold: an entry at least.

    Raises
    ------
    ValueError
        If a limit is not understood.
    """
    limits = limits_from(max_bytes, max_entries, max_age)
    if max_entries == 0:
        raise ValueError("max_entries=0 keeps nothing: Memory(None) caches nothing")
    if isinstance(max_bytes, float) and not max_bytes.is_integer():
        raise ValueError(f"max_bytes={max_bytes!r} is no whole number of bytes")
    return limits


def limits_from(
    most_bytes: Any,
    most_entries: Any,
    most_age: Any,
    *,
    names: tuple[str, str, str] = ("max_bytes", "max_entries", "max_age"),
) -> Limits:
    """Return what a store may hold.

    Raises
    ------
    ValueError
        If a limit is not understood; its name is that of `names`.
    """
    of_bytes, of_entries, of_age = names
    if most_entries is not None and (
        not isinstance(most_entries, int) or most_entries < 0
    ):
        raise ValueError(
            f"{of_entries}={most_entries!r}: a limit of entries has to be a whole "
            f"number, 0 or more"
        )
    return Limits(
        _read(of_bytes, parse_size, most_bytes),
        most_entries,
        _read(of_age, parse_age, most_age),
    )


def _read(name: str, parse: Callable[[Any], T], given: Any) -> T | None:
    """Read an amount, or say of which option it is."""
    if given is None:
        return None
    try:
        return parse(given)
    except ValueError as error:
        raise ValueError(f"{name}={given!r}: {error}") from error


def secret_from(key: bytes | str | None) -> bytes | None:
    """Return the secret to sign with, given or from the environment."""
    origin = "signing_key" if key is not None else SIGNING_KEY
    # One that is there and empty is an error: somebody meant to have one.
    key = key if key is not None else os.environ.get(SIGNING_KEY)
    if key is None:
        return None
    if not isinstance(key, (bytes, str)):
        raise TypeError(f"{origin} is bytes or a text, not {type(key).__name__}")
    secret = key.encode() if isinstance(key, str) else key
    if len(secret) < SHORTEST_SECRET:
        raise ValueError(
            f"{origin} has {len(secret)} bytes; a secret needs {SHORTEST_SECRET} at "
            f"least: make one with python -c 'import secrets; "
            f"print(secrets.token_hex(32))'"
        )
    return secret
