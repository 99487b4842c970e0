"""Keys, and what tests do with an entry again and again.

Light to import, since `tests.stores.writer` runs in many processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from cachekit.stores import EntryKey, Store
from cachekit.stores.names import FILES, RECORD, VALUE

FINGERPRINT = "0f" * 16
OTHER_FINGERPRINT = "f0" * 16


def key_of(
    number: int = 0,
    *,
    function: str = "analysis.fit",
    fingerprint: str = FINGERPRINT,
) -> EntryKey:
    return EntryKey(function, fingerprint, f"{number:032x}"[::-1])


def commit(store: Store, key: EntryKey, value: bytes = b"value") -> bool:
    with store.stage(key) as staging:
        with staging.open(VALUE) as file:
            file.write(value)
        with staging.open("record.json") as file:
            file.write(b"{}")
        return staging.commit()


def commit_files(
    store: Store, key: EntryKey, made: dict[str, bytes], *, over: bool = False
) -> bool:
    """Commit an entry with files that its call has made."""
    with store.stage(key) as staging:
        for name, content in made.items():
            with staging.open(f"{FILES}/{name}") as file:
                file.write(content)
        staging.write(VALUE, b"value")
        staging.write(RECORD, record_of(made))
        if not over:
            return staging.commit()
        staging.replace()
        return True


def record_of(made: Iterable[str]) -> bytes:
    return json.dumps({"files": dict.fromkeys(made, 0)}).encode()


def replace(store: Store, key: EntryKey, value: bytes) -> None:
    with store.stage(key) as staging:
        with staging.open(VALUE) as file:
            file.write(value)
        staging.replace()


def value_of(store: Store, key: EntryKey) -> bytes | None:
    file = store.open(key)
    if file is None:
        return None
    with file:
        return file.read()


def digests(store: Store, function: str | None = None) -> list[str]:
    return sorted(info.key.digest for info in store.entries(function))


def pinned(store: Store) -> list[str]:
    return sorted(info.key.digest for info in store.entries() if info.is_pinned)
