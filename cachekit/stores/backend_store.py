"""A store backend that was written for joblib, as a store of ours: a bridge.

Such a *store backend* moves, opens and clears what is named by a path. Below its
location it gets a folder ``cachekit``, with the layout of `LocalStore`, so that what is
beside it, joblib's own results too, is left alone. What a backend cannot promise, this
store cannot either:

- A file is written under another name, then moved. Of two processes that commit one
  entry at once the first wins if the backend refuses to move over what is there, and
  the last if it does not; in one process it is always the first.
- There are no leases: two processes may compute the same call.
- Nobody can list a folder, so an entry is listed if ``get_items`` finds it: its folder
  or its files, with ``path``, ``size`` and ``last_access``. Most backends look for
  joblib's files alone: then the listing is empty, and nothing is evicted or pruned.
- Counts of hits are in one file: two processes that add to it at once may lose some.
- What a process that was killed has left in ``.staging`` stays until all is cleared.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import posixpath
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from cachekit.errors import StoreError
from cachekit.stores import statistics
from cachekit.stores.base import Staging, Store, absent_entry
from cachekit.stores.flights import SingleFlight, single_flight_at
from cachekit.stores.kept_files import KeptFile
from cachekit.stores.layout import check_store, code_path, describe_store
from cachekit.stores.names import (
    PIN,
    RUNS,
    VALUE,
    EntryInfo,
    EntryKey,
    check_document,
    folder_name,
)
from cachekit.stores.statistics import Uses, counts_by_path, hits_among, misses_among

if TYPE_CHECKING:
    from cachekit.stores.joblib_backends import StoreBackendBase

# What is larger goes by way of a temporary file.
_MOST_IN_MEMORY = 64 * 2**20

_HITS = ".stats/hits.json"
_ABOUT = "store.json"

_ENTRY = re.compile(
    r"(?:^|/)([^/]+)/([0-9a-f]{32})/([0-9a-f]{2})/([0-9a-f]{30})(?:/(.*))?\Z"
)


class BackendStore(Store):
    """Entries kept by a store backend that was written for joblib.

    Parameters
    ----------
    backend : StoreBackendBase
        Ours or joblib's, configured. Goes along when the store is pickled.
    location : str, optional
        Where it keeps things, if its own `location` does not tell.

    Attributes
    ----------
    backend : StoreBackendBase
        As given.
    """

    def __init__(self, backend: StoreBackendBase, location: str | None = None) -> None:
        told = backend.location if location is None else backend.location or location
        if told is None:
            raise ValueError(f"{backend!r} has no location: call its configure() first")
        self.backend = backend
        self._location = os.fspath(told)
        self._root = posixpath.join(self._location, "cachekit")
        self._is_prepared = False
        self._used: dict[str, float] = {}  # path -> when, by this process

    def __repr__(self) -> str:
        return f"BackendStore({self.backend!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (BackendStore, (self.backend, self._location))

    @property
    def location(self) -> str:
        """Where the backend keeps things."""
        return self._location

    @property
    def place(self) -> str:
        """The kind of backend, and its location."""
        kind = type(self.backend)
        return f"{kind.__module__}.{kind.__qualname__} {self._location}"

    @functools.cached_property
    def flights(self) -> SingleFlight:
        """Who computes what, among the threads of this process."""
        return single_flight_at(self.place, list)

    # --- look up ---

    def open(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, and note that it was used; None if absent."""
        file = self.peek(key)
        if file is not None:
            self.note_use(key)
        return file

    def note_use(self, key: EntryKey) -> None:
        """Note that an entry was used, to be told with its hits."""
        self._used[key.path] = time.time()

    def peek(self, key: EntryKey) -> BinaryIO | None:
        """Open the value of an entry, which does not count as a use; None if absent."""
        return self._get(f"{key.path}/{VALUE}")

    def contains(self, key: EntryKey) -> bool:
        """Tell whether there is an entry."""
        return self._exists(f"{key.path}/{VALUE}")

    def read(self, key: EntryKey, name: str) -> bytes | None:
        """Return one file of an entry, or None if it is absent."""
        return self._read(f"{key.path}/{name}")

    def _open_file(self, key: EntryKey, name: str) -> BinaryIO | None:
        return self._get(f"{key.path}/{name}")

    # --- commit ---

    def stage(self, key: EntryKey) -> Staging:
        """Start to write an entry."""
        self._prepare()
        return _BackendStaging(self, key)

    def delete(self, key: EntryKey) -> None:
        """Remove an entry."""
        with self._writing:
            self._clear(key.path, sign=f"{key.path}/{VALUE}")

    def pin(self, key: EntryKey) -> None:
        """Have an entry stay when room is made."""
        with self._writing:
            if not self.contains(key):
                raise absent_entry(self, key)
            self._put(f"{key.path}/{PIN}", b"")

    def unpin(self, key: EntryKey) -> None:
        """Take the pin off an entry."""
        with self._writing:
            if self._exists(f"{key.path}/{PIN}"):
                self._remove(f"{key.path}/{PIN}")

    def clear(self, function: str | None = None) -> None:
        """Remove every entry, or every entry of one function."""
        with self._writing:
            about = self._read(_ABOUT)
            if not about:
                return
            check_store(about, self.location)
            if function is None:
                runs = self._read(f"{RUNS}/all.json")
                self._clear("", sign=_ABOUT)
                self._put(_ABOUT, about)
                if runs:
                    self._put(f"{RUNS}/all.json", runs)
                return
            folder = folder_name(function)
            self._clear(folder)
            uses = self._uses()
            left = {
                path: n for path, n in uses.items() if not path.startswith(f"{folder}/")
            }
            if left != uses:
                self._put(_HITS, statistics.to_json(left))

    def publish(
        self, key: EntryKey, files: Mapping[str, BinaryIO], *, over: bool
    ) -> bool:
        """Have an entry appear; return False if there is one and it is to stay."""
        with self._aside() as aside:
            # It may take long, so others need not wait; if it fails, or is cleared by
            # one of them, it is done once more.
            with contextlib.suppress(OSError, StoreError):
                for name, file in files.items():
                    self._send(file, f"{aside}/{name}")
            with self._writing:
                if over:
                    self.delete(key)
                elif self.contains(key):
                    return False
                # The value is last: with it the entry is there.
                for name in sorted(files, key=lambda name: name == VALUE):
                    staged, path = f"{aside}/{name}", f"{key.path}/{name}"
                    stays = name == VALUE and not over
                    if not self._move(staged, path, files[name], over=not stays):
                        return False
            return True

    # --- listing ---

    def entries(self, function: str | None = None) -> Iterator[EntryInfo]:
        """List the entries, or those of one function, so far as the backend does."""
        with told(self.location):
            items = list(self.backend.get_items() or ())
        found: dict[EntryKey, tuple[int, float]] = {}
        for item in items:
            about = _entry_of(item)
            if about is not None:
                size, used = found.get(about.key, (0, 0.0))
                found[about.key] = (size + about.size, max(used, about.last_used))
        uses = self._uses() if found else {}
        for key, (size, used) in found.items():
            path = key.path
            is_wanted = function is None or key.function == folder_name(function)
            # An item may be of a folder beside ours, or of an entry that is gone.
            if is_wanted and self.contains(key):
                noted = uses.get(path, Uses(0)).last
                used = max(used, noted, self._used.get(path, 0.0))
                yield EntryInfo(key, size, used, self._exists(f"{path}/{PIN}"))

    # --- code versions and statistics ---

    def write_code(self, key: EntryKey, content: bytes) -> None:
        """Keep a description of the code version of `key`, unless there is one."""
        self._prepare()
        with self._writing:
            if not self._exists(code_path(key)):
                self._put(code_path(key), content)

    def read_code(self, key: EntryKey) -> bytes | None:
        """Return the description of the code version of `key`, or None."""
        return self._read(code_path(key))

    def add_hits(
        self, hits: Mapping[EntryKey, int], misses: Mapping[str, int] | None = None
    ) -> None:
        """Add to the number of times that each entry was used."""
        counts = counts_by_path(hits, misses)
        if not counts:
            return
        self._prepare()
        with self._writing:
            uses = self._uses()
            for path, count in counts.items():
                last = self._used.get(path, 0.0)
                statistics.merge(uses, {path: Uses(count, last)})
            self._put(_HITS, statistics.to_json(uses))

    def hits(self) -> dict[str, int]:
        """Return how many times each entry was used, by `EntryKey.path`."""
        return hits_among({path: n for path, (n, _) in self._uses().items()})

    def misses(self) -> dict[str, int]:
        """Return how many calls of each function were computed, by its folder."""
        return misses_among({path: n for path, (n, _) in self._uses().items()})

    def _uses(self) -> dict[str, Uses]:
        return statistics.from_json(self._read(_HITS))

    # --- documents: all of a folder in one file, for only entries can be listed ---

    def write_document(self, path: str, content: bytes) -> None:
        """Keep a small file, in the place of what is there."""
        self._change_document(path, content.decode())

    def read_document(self, path: str) -> bytes | None:
        """Return a small file, or None if it is absent."""
        folder = check_document(path).partition("/")[0]
        text = self._documents(folder).get(path)
        return None if text is None else text.encode()

    def documents(self, folder: str) -> list[str]:
        """Return the paths of the small files in a folder."""
        return sorted(self._documents(folder))

    def remove_document(self, path: str) -> None:
        """Remove a small file; silent if it is absent."""
        if path in self._documents(check_document(path).partition("/")[0]):
            self._change_document(path, None)

    def _documents(self, folder: str) -> dict[str, str]:
        path = f"{folder}/all.json"
        try:
            found = json.loads(self._read(path) or b"{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise StoreError(f"{self._at(path)} is damaged: remove it, or mend it")
        return {str(name): str(text) for name, text in found.items()}

    def _change_document(self, path: str, text: str | None) -> None:
        folder = check_document(path).partition("/")[0]
        self._prepare()
        with self._writing:
            found = self._documents(folder)
            if text is None:
                del found[path]
            else:
                found[path] = text
            self._put(f"{folder}/all.json", json.dumps(found).encode())

    # --- the backend ---

    @property
    def _writing(self) -> threading.RLock:
        # By process: another thread may have held that of the parent.
        return _locks.setdefault((os.getpid(), self.place), threading.RLock())

    def _prepare(self) -> None:
        """Check once that what is there is a store of ours, or make it one."""
        if self._is_prepared:
            return
        with self._writing:
            about = self._read(_ABOUT)
            if not about:  # none, or another is about to write it
                about = describe_store(None)
                self._put(_ABOUT, about)
        check_store(about, self.location)
        self._is_prepared = True

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _ask(self, method: str, *paths: str) -> Any:
        with told(self.location):
            return getattr(self.backend, method)(*map(self._at, paths))

    def _exists(self, path: str) -> bool:
        return bool(self._ask("_item_exists", path))

    def _get(self, path: str) -> BinaryIO | None:
        """Return a file, open for reading; None if there is none.

        What is absent is an error to most backends, and empty to some. So either is
        asked about; and if it is there, it may have appeared only now.
        """
        try:
            return self._fetch(path, is_there=False)
        except (OSError, StoreError):
            if not self._exists(path):
                return None
        return self._fetch(path, is_there=True)

    def _fetch(self, path: str, *, is_there: bool) -> BinaryIO:
        file = tempfile.SpooledTemporaryFile(_MOST_IN_MEMORY)  # noqa: SIM115  (returned)
        try:
            with (
                told(self.location),
                self.backend._open_item(self._at(path), "rb") as source,
            ):
                shutil.copyfileobj(source, file)
            if file.tell() == 0 and not is_there:
                raise FileNotFoundError(path)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return cast(BinaryIO, file)

    def _read(self, path: str) -> bytes | None:
        file = self._get(path)
        if file is None:
            return None
        with file:
            return file.read()

    def _send(self, file: BinaryIO, path: str) -> None:
        file.seek(0)
        self._make_folder_of(path)
        with (
            told(self.location),
            self.backend._open_item(self._at(path), "wb") as target,
        ):
            shutil.copyfileobj(file, target)

    def _make_folder_of(self, path: str) -> None:
        with contextlib.suppress(FileExistsError):
            self._ask("create_location", posixpath.dirname(path))

    def _put(self, path: str, content: bytes) -> None:
        """Write a file, in the place of what is there."""
        with self._aside() as aside:
            staged, file = f"{aside}/{posixpath.basename(path)}", io.BytesIO(content)
            self._send(file, staged)
            self._move(staged, path, file, over=True)

    def _move(self, staged: str, path: str, file: BinaryIO, *, over: bool) -> bool:
        """Have what was sent appear; return False if there is something else."""
        self._make_folder_of(path)
        try:
            self._ask("_move_item", staged, path)
        except (OSError, StoreError):
            if self._exists(path):
                if not over:
                    return False
                self._remove(path)  # some do not move over what is there
            self._send(file, staged)  # which was cleared meanwhile
            self._make_folder_of(path)
            self._ask("_move_item", staged, path)
        return True

    def _remove(self, path: str) -> None:
        """Remove one file: clearing is for folders, and joblib's own does no files."""
        with self._aside() as aside:
            self._make_folder_of(f"{aside}/removed")
            self._ask("_move_item", path, f"{aside}/removed")

    def _clear(self, folder: str, *, sign: str | None = None) -> None:
        """Remove a folder, and see that a file that was in it, if told, is gone.

        To some backends it is an error that there is no such folder; some keep quiet
        when they cannot remove it. What is there still may be of another process.
        """
        failure: Exception | None = None
        for _ in range(3):
            try:
                self._ask("clear_location", folder)
            except (OSError, StoreError) as error:
                failure = error
            if not (failure or sign) or not self._exists(sign or folder):
                return
            if failure is not None:
                break
        reason = f": {failure}" if failure else ""
        raise StoreError(f"{self._at(folder)} cannot be removed{reason}") from failure

    @contextlib.contextmanager
    def _aside(self) -> Iterator[str]:
        """Name a folder for what is not to be seen, and clear it in the end."""
        folder = f".staging/{uuid.uuid4().hex}"
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError, StoreError):
                self._ask("clear_location", folder)


class _BackendStaging(Staging):
    """Keeps the files here until the entry is published."""

    def __init__(self, store: BackendStore, key: EntryKey) -> None:
        self._store = store
        self._key = key
        self._files: dict[str, KeptFile] = {}

    def open(self, name: str) -> BinaryIO:
        if name in self._files:
            self._files[name].give_back()
        file = self._files[name] = KeptFile(_MOST_IN_MEMORY)
        return cast(BinaryIO, file)

    def commit(self) -> bool:
        return self._publish(over=False)

    def replace(self) -> None:
        self._publish(over=True)

    def discard(self) -> None:
        for file in self._files.values():
            file.give_back()
        self._files.clear()

    def _publish(self, *, over: bool) -> bool:
        files = cast(Mapping[str, BinaryIO], self._files)
        return self._store.publish(self._key, files, over=over)


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """Make a `StoreError` of whatever the code of others raises; `OSError` is fine."""
    try:
        yield
    except (OSError, StoreError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        # Without names of the moment: Python shows the same warning once.
        reason = re.sub(r"\.staging/[0-9a-f]{32}", ".staging/*", reason)
        raise StoreError(f"{where} failed with {reason}") from error


def _entry_of(item: Any) -> EntryInfo | None:
    """Return what an item of a backend's listing says of an entry, or None."""
    try:
        found = _ENTRY.search(os.fspath(item.path).replace("\\", "/"))
        size, used = int(item.size), item.last_access
        used = used.timestamp() if isinstance(used, datetime) else float(used)
    except (AttributeError, TypeError, ValueError, ArithmeticError, OSError):
        return None
    if found is None:
        return None
    folder, fingerprint, prefix, rest, name = found.groups()
    is_of_use = name in (None, "", VALUE)  # a pin or a record is not used
    key = EntryKey(folder, fingerprint, prefix + rest)
    return EntryInfo(key, size, used if is_of_use else 0.0)


_locks: dict[tuple[int, str], threading.RLock] = {}
