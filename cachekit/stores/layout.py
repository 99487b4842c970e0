"""What stores that keep files have in common: ``store.json``, and where code is."""

from __future__ import annotations

import json
import os

from cachekit.errors import StoreError
from cachekit.stores.names import EntryKey, folder_name

FORMAT = 1


def describe_store(hash_version: int | None) -> bytes:
    """Return the content of ``store.json``."""
    facts: dict[str, object] = {"store": "cachekit", "format": FORMAT}
    if hash_version is not None:
        facts["hash_version"] = hash_version
    return (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()


def check_store(about: bytes, location: str) -> None:
    """Check that a ``store.json`` is of this kind and format of store.

    Raises
    ------
    StoreError
        If it is not.
    """
    try:
        facts = json.loads(about)
        kind, found = facts["store"], facts["format"]
    except (ValueError, KeyError, TypeError):
        kind = found = None
    if kind != "cachekit":
        raise StoreError(f"{location}/store.json is not one of cachekit's")
    if found != FORMAT:
        raise StoreError(
            f"the store at {location} has format {found}, this cachekit writes "
            f"{FORMAT}; use another folder, or the cachekit that made it"
        )


def code_path(key: EntryKey) -> str:
    """Return where the code version of a key is described."""
    return f"{folder_name(key.function)}/{key.fingerprint}/code.json"


def file_names(record: bytes | None) -> list[str]:
    """Return the names of the files that a call has made, as its record has them."""
    try:
        files = json.loads(record or b"{}").get("files") or {}
    except (ValueError, AttributeError):
        return []
    if not isinstance(files, dict):
        return []
    return [name for name in files if is_inside(name)]


def is_inside(name: str) -> bool:
    """Tell whether a name leads to a file below a folder, on this system."""
    if os.name == "nt" and ("\\" in name or ":" in name):
        return False
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and "\0" not in name
