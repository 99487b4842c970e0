"""Copies of entries, from one store into another, byte for byte."""

from __future__ import annotations

import hashlib
import shutil
from typing import BinaryIO

from cachekit.errors import EntryNotFound
from cachekit.stores.base import Staging, Store, temporary_folder
from cachekit.stores.layout import file_names
from cachekit.stores.names import RECORD, VALUE, EntryKey


def copy_entry(source: Store, target: Store, key: EntryKey) -> bool:
    """Copy an entry, with its files and the description of its code.

    Parameters
    ----------
    source, target : Store
        From where, and to where.
    key : EntryKey
        The entry. One that the target has already stays as it is there.

    Returns
    -------
    bool
        False if it has gone from the source, or was replaced meanwhile.
    """
    record = source.read(key, RECORD)
    value = source.peek(key)
    if value is None:
        return False
    with value:
        # The record has the digest of the value: the two belong together.
        if source.read(key, RECORD) != record:
            return False
        copied = write_copy(target, key, value, record, source)
    if copied and target.read_code(key) is None:
        code = source.read_code(key)
        if code is not None:
            target.write_code(key, code)
    return copied


def write_copy(
    store: Store,
    key: EntryKey,
    value: BinaryIO,
    record: bytes | None,
    source: Store,
    *,
    over: bool = False,
) -> bool:
    """Write an entry of another store, of which value and record are here.

    Returns
    -------
    bool
        False if its files are those of another entry by now; then nothing is written.
    """
    with store.stage(key) as staging:
        if record is not None and not _add_files(staging, key, record, source):
            return False
        with staging.open(VALUE) as file:
            shutil.copyfileobj(value, file, 1 << 20)
        if record is not None:
            with staging.open(RECORD) as file:
                file.write(record)
        if over:
            staging.replace()
        else:
            staging.commit()
    return True


def _add_files(staging: Staging, key: EntryKey, record: bytes, source: Store) -> bool:
    """Copy the files of an entry; return False if it was replaced meanwhile."""
    names = file_names(record)
    if not names:
        return True
    version = hashlib.blake2b(record, digest_size=16).hexdigest()
    try:
        folder = source.files(key, names, version)
        for name in names:
            staging.add(name, folder / name)
    except (FileNotFoundError, EntryNotFound):
        if source.read(key, RECORD) == record:
            raise
        return False
    if folder.is_relative_to(temporary_folder()):  # fetched for this alone
        shutil.rmtree(folder, ignore_errors=True)
    return source.read(key, RECORD) == record
