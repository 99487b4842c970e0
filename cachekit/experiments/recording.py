"""Take note of a run while it goes on, and write it down at the start and the end.

Whatever fails here costs the record, with a `CacheWarning`, and never the run.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from cachekit import __version__
from cachekit.errors import CacheKitError, CacheWarning
from cachekit.experiments import environment
from cachekit.experiments.documents import write_run
from cachekit.experiments.record import (
    CallRecord,
    RunRecord,
    new_id,
    plain_values,
)
from cachekit.memoization import File, Memory, Tally, default_memory
from cachekit.memoization.lineage import timestamp
from cachekit.memoization.running import listing_calls, note_child
from cachekit.stores import EntryKey, Store, processes

if TYPE_CHECKING:
    from cachekit.experiments.run import Run

T = TypeVar("T")

# So many calls are listed: each takes some hundred bytes of the document.
MOST_CALLS = 5000

# Names a folder into which each run of a process writes its record as well, wherever
# its memory is: this is how a run that is done again is found.
COPIES_VARIABLE = "CACHEKIT_RUN_COPIES"

_LONGEST_ERROR = 500


class Recording:
    """Records the run of its ``with`` block.

    Parameters
    ----------
    run : Run
        What is logged in.
    memory : Memory or None
        Where the record goes; None for the default one.
    """

    def __init__(self, run: Run, memory: Memory | None) -> None:
        self._run = run
        self._memory = _default_memory() if memory is None else memory
        self._listing = listing_calls()

    def __enter__(self) -> None:
        self._started = time.time()
        self._clock = time.perf_counter()
        self._run.id = new_id(self._started)
        self._before = _tally(self._memory)
        self._record = RunRecord(
            id=self._run.id,
            name=self._run.name,
            status="running",
            started=timestamp(self._started),
            parameters=_or({}, lambda: plain_values(self._run.parameters)),
            git=_or(None, _repository),
            command=_or({}, environment.describe_command),
            python=platform.python_version(),
            host=socket.gethostname(),
            user=environment.user_name(),
            process=_or("", lambda: processes.name_of(os.getpid())),
            store=self._memory.location or "",
            cachekit=__version__,
        )
        self._write()
        self._calls = self._listing.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._clock
        with contextlib.suppress(ValueError):  # it ends in another context
            self._listing.__exit__(None, None, None)
        for key in self._calls:  # a run around this one has made them too
            note_child(key)
        nothing: dict[str, Any] = {}
        self._record = replace(
            self._record,
            status=_status(error),
            seconds=seconds,
            error=_error_text(error),
            **_or(nothing, self._logged),
            calls=_or([], self._list_calls),
            n_calls=len(self._calls),
            sources=_or([], environment.imported_sources),
            packages=_or({}, self._packages),
            hardware=_or({}, environment.describe_hardware),
            cache=self._cache(),
        )
        self._write()
        self._write_copy()

    def _logged(self) -> dict[str, Any]:
        run = self._run
        seeds = {
            name: value
            for name, value in run.parameters.items()
            if "seed" in str(name).lower()
        }
        return {
            "metrics": dict(run.metrics),
            "artifacts": [_describe_file(path) for path in run.artifacts],
            "datasets": {
                name: plain_values(asdict(one)) for name, one in run.datasets.items()
            },
            "seeds": plain_values({**seeds, **run.seeds}),
        }

    def _list_calls(self) -> list[CallRecord]:
        from cachekit.inspection.records import read_many, read_record

        keys = list(self._calls)[:MOST_CALLS]
        store = self._memory.store
        if store is None:
            return []
        records = read_many(store, keys, read_record)
        return [
            self._describe_call(key, record)
            for key, record in zip(keys, records, strict=True)
        ]

    def _packages(self) -> dict[str, str]:
        """Return versions of what was imported, and of what made the stored results."""
        from cachekit.inspection.records import read_many
        from cachekit.memoization.explaining import read_code

        versions = {key[:2]: key for key in self._calls}
        store, libraries = self._memory.store, dict[str, str]()
        if store is not None:
            for code in read_many(store, list(versions.values()), read_code):
                libraries |= {} if code is None else code.libraries
        found = environment.packages_of(libraries) | environment.imported_packages()
        return dict(sorted(found.items(), key=lambda one: one[0].lower()))

    def _describe_call(self, key: EntryKey, record: Any) -> CallRecord:
        about: dict[str, Any] = {}
        if record is not None:
            digests = {
                name: one.get("digest") for name, one in record.arguments.items()
            }
            about = {
                "arguments": {k: d for k, d in digests.items() if isinstance(d, str)},
                "value": record.value,
                # Records tell the microsecond.
                "is_made": record.began >= self._started - 1e-6,
            }
        name = key.function if record is None else record.function
        return CallRecord(
            path=key.path,
            function=name,
            fingerprint=key.fingerprint,
            key=key.digest,
            **about,
        )

    def _cache(self) -> dict[str, float]:
        now, before = _tally(self._memory), self._before
        return {
            "hits": now.hits - before.hits,
            "misses": now.misses - before.misses,
            "seconds_saved": now.seconds_saved - before.seconds_saved,
        }

    def _write(self) -> None:
        store: Store | None = self._memory.store
        if store is None:  # of Memory(None), which keeps nothing
            return
        try:
            write_run(store, self._record)
        except (OSError, ValueError, TypeError, CacheKitError) as error:
            _warn(f"run {self._run.id} is not recorded in {store.location}: {error}")

    def _write_copy(self) -> None:
        folder = os.environ.get(COPIES_VARIABLE)
        if folder:
            with contextlib.suppress(OSError, ValueError):
                path = Path(folder) / f"{self._record.id}.json"
                path.write_bytes(self._record.to_json())


def _default_memory() -> Memory:
    try:
        return default_memory()
    except (CacheKitError, OSError) as error:
        _warn(f"the run is not recorded: {error}")
        return Memory(None)


def _repository() -> dict[str, Any] | None:
    from cachekit.experiments.repositories import describe_repository

    script = environment.script_of_program()
    if script is None:
        folder = environment.describe_command()["folder"]
        return describe_repository(Path(folder)) if folder else None
    # The repository around an installed command, if there is one, is another project.
    return None if environment.is_installed(script) else describe_repository(script)


def _describe_file(path: Path) -> dict[str, Any]:
    from cachekit.hashing import digest

    facts: dict[str, Any] = {"path": str(path), "absolute": str(path.absolute())}
    try:
        size = _size(path)
        return {**facts, "bytes": size, "digest": digest(File(path))}
    except (OSError, ValueError, CacheKitError):  # not there any more
        return {**facts, "bytes": None, "digest": None}


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def _tally(memory: Memory) -> Tally:
    return _or(Tally(0, 0, 0.0, 0.0), memory.tally)


def _or(default: T, function: Callable[[], T]) -> T:
    """Return what a function returns; what fails is left out of the record."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001  (systems and stores fail in many ways)
        _warn(f"a part of the run is not recorded: {error}")
        return default


def _status(error: BaseException | None) -> str:
    if error is None or _is_success(error):
        return "finished"
    is_interrupted = isinstance(error, KeyboardInterrupt | GeneratorExit)
    return "interrupted" if is_interrupted else "failed"


def _is_success(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code in (None, 0)


def _error_text(error: BaseException | None) -> str:
    if error is None or _is_success(error):
        return ""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  (it is the user's code)
        text = ""
    kind = type(error).__name__
    return (f"{kind}: {text}" if text else kind)[:_LONGEST_ERROR]


def _warn(message: str) -> None:
    """Issue a `CacheWarning` at the line of the user's ``with``."""
    level = 3
    for module in _modules_above(sys._getframe(1)):
        if module not in _OURS:
            break
        level += 1
    warnings.warn(CacheWarning(message), stacklevel=level)


_OURS = {"cachekit.experiments.recording", "cachekit.experiments.run", "contextlib"}


def _modules_above(frame: Any) -> Iterable[str]:
    frame = frame.f_back
    while frame is not None:
        yield str(frame.f_globals.get("__name__"))
        frame = frame.f_back
