"""The tools that cachekit is compared with; some of them need not be there."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

OPTIONAL = ("diskcache", "cachier", "safetensors")


def absent() -> list[str]:
    """Return the tools that are not installed, and so are left out."""
    return [name for name in OPTIONAL if find_spec(name) is None]


def optional(name: str) -> Any:
    """Import a module of a tool; return None if it is not installed."""
    return None if name.partition(".")[0] in absent() else import_module(name)
