"""Is a store in order, and its place fit for one? `examine` makes findings of it.

Whatever is broken is a finding, never an exception. It writes an entry of its own and
removes it; what the file system can do is tried out next door, in `places`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shlex
import shutil
import stat
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from cachekit import __version__
from cachekit.amounts import counted, format_duration, format_size
from cachekit.errors import StoreError
from cachekit.hashing import HASH_VERSION
from cachekit.inspection import places
from cachekit.inspection.locating import location_for
from cachekit.inspection.sweeping import leftovers
from cachekit.inspection.verification import DAMAGED, parts_of
from cachekit.memoization.locations import store_for
from cachekit.memoization.options import SIGNING_KEY, secret_from
from cachekit.serialization.container import VERSION as CONTAINER_VERSION
from cachekit.stores import EntryKey, LocalStore, RemoteStore, Store
from cachekit.stores.layout import FORMAT, check_store
from cachekit.stores.names import RECORD, VALUE
from cachekit.stores.staging import StagingArea

Severity = Literal["ok", "note", "warning", "problem"]

# Less is near full.
LEAST_FREE_SHARE = 0.05
LEAST_FREE_BYTES = 10**9

# Others take what is older than some seconds for lost; a day is what sweeping is by.
CLOCK_NOTED = 5.0
CLOCK_WRONG = 60.0

# The libraries that keys and values depend on.
LIBRARIES = ("blake3", "xxhash", "cloudpickle", "numpy", "zstandard", "lz4", "fsspec")

_SCRATCH = "cachekit.doctor"
_SWEEP = "remove it with: cachekit sweep"


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Attributes
    ----------
    severity : str
        ``ok``; ``note``, which is good to know; ``warning``, which may cost time or
        space; ``problem``, because of which the cache does not work.
    place : str
        The store that it is about; empty if it is about this machine.
    topic : str
        What was looked at, in a word or two.
    what : str
        What was found.
    advice : str
        What to do, if there is something.
    """

    severity: Severity
    place: str
    topic: str
    what: str
    advice: str = ""


# What a check yields: a finding without its place and topic.
_Result = tuple[Severity, str, str]
_Check = Callable[[], Iterable[_Result]]


def examine(location: str | None = None) -> Iterator[Finding]:
    """Look at a store, its place and this machine.

    Parameters
    ----------
    location : str, optional
        Where the store is, by default the usual place.

    Yields
    ------
    Finding
        One at least for each thing that was looked at, as it is found.
    """
    yield from _findings("", {"versions": _versions, "signing": _signing})
    place = location_for(location)
    try:
        store = store_for(place)
        parts = [] if store is None else parts_of(store)
    except Exception as error:  # noqa: BLE001  (what is broken is a finding)
        yield Finding(
            "problem", place, "store", _told(error), "name another one with --store"
        )
        return
    for part in parts:
        yield from _findings(part.location, _checks_of(part))


def _findings(place: str, checks: dict[str, _Check]) -> Iterator[Finding]:
    for topic, check in checks.items():
        try:
            for severity, what, advice in check():
                yield Finding(severity, place, topic, what, advice)
        except _Stop:
            return
        except _CannotBeTried:
            continue
        except Exception as error:  # noqa: BLE001  (what is broken is a finding)
            yield Finding("problem", place, topic, _told(error))


class _Stop(Exception):
    """There is nothing more to look at in this place."""


class _CannotBeTried(Exception):
    """Nothing can be written, as was found when an entry was to be."""


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _checks_of(store: Store) -> dict[str, _Check]:
    """Return what there is to look at, by topic, in order."""
    if isinstance(store, LocalStore):
        return _LocalChecks(store).all()
    if isinstance(store, RemoteStore):
        return _RemoteChecks(store).all()
    return {"writing": lambda: _writing(store)}


# --- this machine ---


def _versions() -> Iterator[_Result]:
    found = ", ".join(f"{name} {_version_of(name)}" for name in LIBRARIES)
    yield "ok", f"Python {platform.python_version()}, cachekit {__version__}", ""
    yield "ok", found, ""
    formats = (
        f"store format {FORMAT}, value format {CONTAINER_VERSION}, "
        f"hash version {HASH_VERSION}"
    )
    yield "ok", formats, ""


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _signing() -> Iterator[_Result]:
    try:
        secret = secret_from(None)
    except ValueError as error:
        yield "problem", str(error), f"set another {SIGNING_KEY}"
        return
    if secret is None:
        yield "ok", f"{SIGNING_KEY} is not set: values are not signed", ""
    else:
        yield "ok", f"{SIGNING_KEY} is set: values are signed, and checked", ""


# --- any store ---


def _about(content: bytes | None, location: str) -> Iterator[_Result]:
    """Look at a ``store.json``."""
    if not content:
        yield "note", "nothing was stored yet: there is no store.json", ""
        raise _Stop
    try:
        check_store(content, location)
    except StoreError as error:
        yield "problem", str(error), "name another one with --store"
        raise _Stop from None
    found = json.loads(content).get("hash_version")
    if found not in (None, HASH_VERSION):
        yield (
            "warning",
            f"it was made with hash version {found}, this cachekit has {HASH_VERSION}: "
            f"results from before are not found",
            "remove them with: cachekit prune --older-than 30d",
        )
    else:
        yield "ok", f"a store of format {FORMAT}", ""


def _writing(store: Store) -> Iterator[_Result]:
    """Store an entry, read it and remove it."""
    key = EntryKey(_SCRATCH, "0" * 32, uuid.uuid4().hex)
    started = time.perf_counter()
    try:
        with store.stage(key) as staging:
            staging.write(RECORD, b"{}")
            staging.write(VALUE, b"cachekit doctor")
            staging.commit()
        file = store.peek(key)
        content = b"" if file is None else file.read()
        if file is not None:
            file.close()
        is_right = content == b"cachekit doctor"
    except (OSError, StoreError) as error:
        yield (
            "problem",
            f"nothing can be stored: {_told(error)}",
            "what is there is used, new results are not kept: make it writable",
        )
        return
    finally:
        with contextlib.suppress(OSError, StoreError):
            store.delete(key)
            store.clear(_SCRATCH)
    if not is_right:
        yield "problem", "an entry that was written could not be read back", ""
    elif store.contains(key):
        yield "problem", "an entry that was written could not be removed", ""
    else:
        took = format_duration(time.perf_counter() - started)
        yield "ok", f"an entry was written, read and removed in {took}", ""


def _left(store: Store) -> Iterator[_Result]:
    """Look for what nobody needs."""
    found = leftovers(store)
    for kind, number in Counter(one.kind for one in found).items():
        size = format_size(sum(one.size for one in found if one.kind == kind))
        if kind == "statistics":
            files = counted(number, "damaged file")
            what = f"{files} of statistics, {size}: some hits are not counted"
            yield "warning", what, _SWEEP
        elif kind == "damaged entry":
            yield "note", f"old damaged entries: {number:,}, {size}", _SWEEP
        else:
            yield "note", f"left by dead processes: {number:,} {kind}, {size}", _SWEEP
    if not found:
        yield "ok", "nothing is left over", ""


def _clock(ahead: float) -> _Result:
    distance = abs(ahead)
    side = "ahead of" if ahead > 0 else "behind"
    what = f"the clock there is {format_duration(distance)} {side} this machine's"
    if distance < CLOCK_NOTED:
        return "ok", "the clock there agrees with this machine's", ""
    severity: Severity = "warning" if distance > CLOCK_WRONG else "note"
    return severity, what, "set both by NTP: ages of entries are wrong by that"


# --- a folder ---


class _LocalChecks:
    """What there is to look at in a local store."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._root = store.root

    def all(self) -> dict[str, _Check]:
        return {
            "folder": self._folder,
            "system": self._system,
            "space": self._space,
            "access": self._access,
            "store": lambda: _about(_content(self._root / "store.json"), self._place),
            "writing": lambda: _writing(self._store),
            "abilities": self._abilities,
            "clock": self._clock,
            "leftovers": lambda: _left(self._store),
            "damaged": self._damaged,
        }

    @property
    def _place(self) -> str:
        return self._store.location

    def _folder(self) -> Iterator[_Result]:
        if self._root.is_dir():
            return
        if os.path.lexists(self._root):
            yield "problem", "it is not a folder", "name another one with --store"
            raise _Stop
        above = next(path for path in self._root.parents if path.exists())
        if os.access(above, os.W_OK | os.X_OK):
            yield "note", "it is not there yet; the first cached call makes it", ""
        else:
            yield (
                "problem",
                f"it is not there, and cannot be made in {above}",
                "set CACHEKIT_DIR to a folder that you can write to",
            )
        raise _Stop

    def _system(self) -> Iterator[_Result]:
        found = places.file_system_of(self._root)
        if found.is_network:
            yield (
                "note",
                f"it is on a network ({found.kind}): processes of other machines see "
                f"what is stored after a moment",
                "for much speed: Memory([a local folder, this one])",
            )
        elif found.is_in_memory:
            yield "note", f"it is in memory ({found.kind}), gone at the next start", ""
        elif found.kind:
            yield "ok", f"a file system of this machine ({found.kind})", ""

    def _space(self) -> Iterator[_Result]:
        total, _, free = shutil.disk_usage(self._root)
        what = f"{format_size(free)} of {format_size(total)} are free"
        if free < max(LEAST_FREE_SHARE * total, LEAST_FREE_BYTES):
            yield (
                "warning",
                f"{what}: it is nearly full",
                "make room: cachekit prune --stale, or --down-to 10G",
            )
        else:
            yield "ok", what, ""
        if hasattr(os, "statvfs"):
            facts = os.statvfs(self._root)
            if facts.f_files and facts.f_favail < LEAST_FREE_SHARE * facts.f_files:
                yield (
                    "warning",
                    f"only {facts.f_favail:,} more files can be made",
                    "remove small entries: cachekit prune --older-than 30d",
                )

    def _access(self) -> Iterator[_Result]:
        facts = self._root.stat()
        mode = stat.S_IMODE(facts.st_mode)
        private = f"chmod 700 {shlex.quote(str(self._root))}"
        if hasattr(os, "getuid") and facts.st_uid != os.getuid():
            yield "note", f"it belongs to another user ({facts.st_uid})", ""
        if os.name == "nt" or not mode & 0o077:
            yield "ok", f"for its owner alone (mode {mode:04o})", ""
        elif mode & 0o022:
            yield (
                "warning",
                f"others may write there (mode {mode:04o}), and so run code in your "
                f"processes",
                f"{private}, or sign what is shared: set {SIGNING_KEY}",
            )
        else:
            yield "note", f"others may read there (mode {mode:04o})", private

    def _abilities(self) -> Iterator[_Result]:
        with self._scratch() as folder:
            failed = dict(places.failures(folder))
            ignores_case = places.ignores_case(folder)
        if failed.pop(places.HARD_LINKS, None) is not None:
            yield "note", "no hard links: files of results are copied instead", ""
        for name, reason in failed.items():
            yield (
                "problem",
                f"{name} does not work: {reason}",
                "put the store on another file system",
            )
        if not failed:
            yield "ok", "renaming, creating once and reading while removing work", ""
        if ignores_case:
            yield "ok", "upper and lower case are one there, which does no harm", ""

    def _clock(self) -> Iterator[_Result]:
        with self._scratch() as folder:
            yield _clock(places.seconds_ahead(folder))

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Make a folder to try things out in, swept by others if this process dies."""
        try:
            folder = Path(StagingArea(self._root, durable=False).new_folder())
        except OSError as error:
            raise _CannotBeTried from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _damaged(self) -> Iterator[_Result]:
        with contextlib.suppress(OSError):
            number = len(list((self._root / DAMAGED).iterdir()))
            if number:
                entries = counted(number, "damaged entry")
                yield (
                    "note",
                    f"{entries} put away in {DAMAGED}",
                    "look at them; a week later `cachekit sweep` removes them",
                )


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


# --- a service ---


class _RemoteChecks:
    """What there is to look at in a remote store."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store
        self._service = store.service
        self._scratch = f".staging/{uuid.uuid4().hex}"
        self._ahead: float | None = None  # once that is known

    def all(self) -> dict[str, _Check]:
        return {
            "reading": self._reading,
            "files": self._files,
            "clock": self._clock,
            "store": self._about,
            "writing": lambda: _writing(self._store),
            "leftovers": lambda: _left(self._store),
        }

    def _reading(self) -> Iterator[_Result]:
        started = time.perf_counter()
        try:
            self._service.find(".stats")
            connected = time.perf_counter()
            self._service.exists("store.json")
        except (OSError, StoreError, ImportError) as error:
            yield "problem", _told(error), "look at the address and the credentials"
            raise _Stop from None
        request = format_duration(time.perf_counter() - connected)
        took = format_duration(connected - started)
        yield "ok", f"connected in {took}; a request takes {request}", ""

    def _files(self) -> Iterator[_Result]:
        """Write a file twice, and look at its time."""
        try:
            self._put()
            is_refused = self._service.can_refuse and not self._put()
            before = time.time()
            at = self._service.find(".staging").get(self._scratch, (0, 0.0))[1]
        except (OSError, StoreError) as error:
            yield (
                "problem",
                f"nothing can be written: {_told(error)}",
                "results from there are used, and none are added",
            )
            raise _Stop from None
        finally:
            with contextlib.suppress(OSError, StoreError):
                self._service.remove([self._scratch])
        if is_refused:
            yield "ok", "two who write one entry: the first wins; leases work", ""
        else:
            yield (
                "note",
                "a file can be created twice: of two who write one entry the last "
                "wins, and no machine waits for what another computes",
                "",
            )
        self._ahead = at - before if at else None

    def _clock(self) -> Iterator[_Result]:
        if self._ahead is not None:
            # A service tells whole seconds, of when it was written a moment ago.
            yield _clock(0.0 if abs(self._ahead) < 2 else self._ahead)

    def _put(self) -> bool:
        return self._service.put(self._scratch, io.BytesIO(b"doctor"), new=True)

    def _about(self) -> Iterator[_Result]:
        file = self._service.get("store.json")
        content = None if file is None else file.read()
        yield from _about(content, self._store.location)
