"""What users write as options of a `Memory`, checked."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from typing import Any

from cachekit.stores.amounts import parse_age, parse_size
from cachekit.stores.eviction import Limits

# The environment variable with the secret of every memory that is given none.
SIGNING_KEY = "CACHEKIT_SIGNING_KEY"

# Fewer could be found by trying.
SHORTEST_SECRET = 16


def seconds_from(timeout: Any) -> float | None:
    """Return a `conflict_timeout` in seconds; None for no end."""
    if timeout is None or timeout == math.inf:
        return None
    if not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise ValueError(f"conflict_timeout={timeout!r} is no number of seconds")
    return float(timeout)


def limits_from(
    max_bytes: int | str | None,
    max_entries: Any,
    max_age: float | str | timedelta | None,
) -> Limits:
    """Return what a store may hold."""
    if max_entries is not None and (
        not isinstance(max_entries, int) or max_entries < 0
    ):
        raise ValueError(f"a number of entries is not {max_entries!r}")
    return Limits(
        None if max_bytes is None else parse_size(max_bytes),
        max_entries,
        None if max_age is None else parse_age(max_age),
    )


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
