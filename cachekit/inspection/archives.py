"""Entries in a file: a tar archive of a store's layout, compressed by Zstandard.

Each is written byte for byte as it is, and read whole or not at all. What a store has
already is passed over.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from cachekit.errors import CacheKitError, StoreError
from cachekit.hashing import HASH_VERSION
from cachekit.inspection.transfer import Listed, Progress, Transfer
from cachekit.serialization.streams import (
    PREFIX_LENGTH,
    method_of_start,
    open_decompressing,
)
from cachekit.stores import EntryKey, Store
from cachekit.stores.base import Staging
from cachekit.stores.layout import (
    check_store,
    code_path,
    describe_store,
    file_names,
    is_inside,
)
from cachekit.stores.names import FILES, PIN, RECORD, VALUE, folder_name

# The description of a code version has kilobytes.
LARGEST = 64 << 20

# An entry of the store's own layout, and the description of code.
_MEMBER = re.compile(
    r"(?P<function>[^/]+)/(?P<fingerprint>[0-9a-f]{32})/"
    r"(?:(?P<first>[0-9a-f]{2})/(?P<rest>[0-9a-f]{30})/(?P<name>.+)|code\.json)"
)


class Readable(Protocol):
    """A binary file that is read from its beginning to its end."""

    def read(self, size: int = -1, /) -> bytes:
        """Return so many bytes, or all."""


def export_entries(
    store: Store,
    chosen: Iterable[Listed],
    file: BinaryIO,
    *,
    progress: Progress | None = None,
) -> Transfer:
    """Write entries to a file: a tar archive of the store's layout, in Zstandard.

    Parameters
    ----------
    store : Store
        Where they are.
    chosen : iterable of entries
        As `entries` returns them.
    file : binary file
        Where to write.
    progress : callable, optional
        Called with the bytes of each entry that is done.

    Returns
    -------
    Transfer
        What was written, and what failed.
    """
    import zstandard

    done, failures, described = Transfer(), [], set()
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    with (
        compressor.stream_writer(file, closefd=False) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, "store.json", describe_store(HASH_VERSION))
        for one in chosen:
            code = code_path(one.key)
            try:
                if code not in described:
                    _add(archive, code, _code_of(store, one.key))
                    described.add(code)
                failure = _add_entry(archive, store, one)
            except _Unreadable as error:
                failure = str(error)
            if failure is None:
                size = done.bytes + one.size
                done = replace(done, copied=done.copied + 1, bytes=size)
            else:
                failures.append((one.key.path, failure))
            _forget_members(archive)
            if progress is not None:
                progress(one.size)
    return replace(done, failures=tuple(failures))


class _Unreadable(Exception):
    """A part of an entry that cannot be read, before anything of it was written."""


def _code_of(store: Store, key: EntryKey) -> bytes | None:
    """Return the description of an entry's code."""
    try:
        return store.read_code(key)
    except (OSError, CacheKitError) as error:
        raise _Unreadable(str(error)) from error


def _add_entry(archive: tarfile.TarFile, store: Store, one: Listed) -> str | None:
    """Write an entry; return why it was not written, or only in part.

    The value comes last, and makes the entry: without it the rest is passed over.
    """
    with ExitStack() as opened:
        try:
            record = store.read(one.key, RECORD)
            value = store.peek(one.key)
            if value is None:
                return "it has gone"
            opened.enter_context(value)
            files = _files_of(store, one.key, record, opened)
            if store.read(one.key, RECORD) != record:  # all of it belongs together
                return "it was replaced meanwhile"
        except (OSError, CacheKitError) as error:
            raise _Unreadable(str(error)) from error
        _add(archive, f"{one.key.path}/{RECORD}", record)
        for name, path in files.items():
            with path.open("rb") as file:
                _add_file(archive, f"{one.key.path}/{FILES}/{name}", file)
        _add(archive, f"{one.key.path}/{PIN}", b"" if one.is_pinned else None)
        _add_file(archive, f"{one.key.path}/{VALUE}", value)
    return None


def _files_of(
    store: Store, key: EntryKey, record: bytes | None, opened: ExitStack
) -> dict[str, Path]:
    """Return where the files of an entry are on this machine."""
    names = file_names(record)
    if not names:
        return {}
    folder = store.files(key, names)
    for name in names:
        opened.enter_context((folder / name).open("rb"))  # it can be read
    return {name: folder / name for name in names}


def _forget_members(archive: Any) -> None:
    """Let go of the list that an archive keeps: a million entries take a gigabyte."""
    archive.members = []


def _add(archive: tarfile.TarFile, name: str, content: bytes | None) -> None:
    if content is not None:
        _add_file(archive, name, BytesIO(content))


def _add_file(archive: tarfile.TarFile, name: str, file: BinaryIO) -> None:
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, 2)
    member.mode = 0o600
    file.seek(0)
    archive.addfile(member, file)


def import_entries(file: Readable, store: Store) -> Transfer:
    """Read entries from a file that `export_entries` has written.

    Parameters
    ----------
    file : binary file
        What was written; read from its beginning to its end.
    store : Store
        Where they go.

    Returns
    -------
    Transfer
        What was read, what was there already, and what failed.

    Raises
    ------
    StoreError
        If the file is no such archive, or ends early; what was read before stays.
    """
    reader = _Reader(store)
    try:
        with _opened(file) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is None:
                    raise StoreError(f"{member.name!r} is no file")
                reader.take(member.name, content)
                _forget_members(archive)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise StoreError(
            f"no archive of entries, or a damaged one: {error}; "
            f"{reader.done.copied} entries were read"
        ) from error
    finally:
        reader.close()
    if not reader.is_ours:
        raise StoreError("no archive of entries: it has no store.json")
    return reader.done


@contextmanager
def _opened(file: Readable) -> Iterator[tarfile.TarFile]:
    start = file.read(PREFIX_LENGTH)
    plain: BinaryIO = _Rejoined(start, file)
    if method := method_of_start(start):
        plain = open_decompressing(plain, method)
    with tarfile.open(fileobj=plain, mode="r|") as archive:
        yield archive
    while plain.read(1 << 20):  # the checksum comes behind the archive's own end
        pass


class _Rejoined(BytesIO):
    """A file of which the first bytes were read already."""

    def __init__(self, start: bytes, rest: Readable) -> None:
        super().__init__()
        self._start = start
        self._rest = rest

    def read(self, size: int | None = -1, /) -> bytes:
        start, self._start = self._start, b""
        if size is None or size < 0:
            return start + self._rest.read()
        self._start = start[size:]
        return start[:size] or self._rest.read(size)


def _small(content: IO[bytes]) -> bytes:
    """Read what is held in memory, which somebody may have made large."""
    found = content.read(LARGEST + 1)
    if len(found) > LARGEST:
        raise StoreError(f"a description in the archive has more than {LARGEST} bytes")
    return found


class _Reader:
    """Puts the members of an archive into a store, an entry at a time."""

    def __init__(self, store: Store) -> None:
        self.done = Transfer()
        self.is_ours = False
        self._store = store
        self._there = {info.key.path for info in store.entries()}
        self._staging: Staging | None = None
        self._key: EntryKey | None = None
        self._is_pinned = False
        self._size = 0

    def take(self, name: str, content: IO[bytes]) -> None:
        if name == "store.json":
            check_store(_small(content), "the archive")
            self.is_ours = True
            return
        found = _MEMBER.fullmatch(name)
        if not self.is_ours or found is None:
            raise StoreError(f"no archive of entries: {name!r} is no part of one")
        digest = f"{found['first'] or ''}{found['rest'] or ''}"
        key = EntryKey(found["function"], found["fingerprint"], digest)
        if folder_name(key.function) != key.function:
            raise StoreError(f"no archive of entries: {name!r} is no part of one")
        if not digest:
            if self._store.read_code(key) is None:
                self._store.write_code(key, _small(content))
        elif key.path not in self._there:
            self._take_part(key, found["name"], content)
        elif found["name"] == VALUE:
            self.done = replace(self.done, present=self.done.present + 1)

    def _take_part(self, key: EntryKey, name: str, content: IO[bytes]) -> None:
        is_file = name.startswith(f"{FILES}/") and is_inside(name)
        if name not in (VALUE, RECORD, PIN) and not is_file:
            raise StoreError(f"no archive of entries: {name!r} is no part of one")
        if key != self._key:
            self.close()
            self._key, self._staging = key, self._store.stage(key)
        if name == PIN:
            self._is_pinned = True
            return
        assert self._staging is not None
        with self._staging.open(name) as file:
            while block := content.read(1 << 20):
                self._size += file.write(block)
        if name == VALUE:
            self._commit(key)

    def _commit(self, key: EntryKey) -> None:
        assert self._staging is not None
        self._staging.commit()
        if self._is_pinned:
            self._store.pin(key)
        done = self.done
        self.done = replace(done, copied=done.copied + 1, bytes=done.bytes + self._size)
        self._there.add(key.path)
        self.close()

    def close(self) -> None:
        """Drop what was begun and has no value yet."""
        if self._staging is not None:
            self._staging.discard()
        self._staging, self._key = None, None
        self._is_pinned, self._size = False, 0
