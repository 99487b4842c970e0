"""A file system that fails on demand, and counts what it is asked.

It stands before another one, in memory unless told otherwise, which a test may look
at and change behind its back::

    filesystem = FaultyFileSystem()
    store = RemoteStore("faulty://place", filesystem.options)
    with filesystem.fault("lost_ack", method="pipe_file", times=1):
        ...
    assert filesystem.requests["pipe_file"] == 2
"""

from __future__ import annotations

import importlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

Kind = Literal[
    "lost_ack",  # it is done, but the answer is lost
    "conflict",  # S3's 409: another such request is under way
    "precondition_failed",  # S3's 412: it exists
    "precondition_failed_bare",  # the same from a server that does not say of what
    "timeout",  # nothing is done
    "hang",  # no answer until `Fault.release` is set; then it is done
    "truncated",  # half of the bytes
    "stale",  # listings are those of the time when the fault began
    "read_only",
    "dead",
]

READS = {"cat_file", "get_file", "exists", "info", "modified", "created"}
LISTINGS = {"find", "glob", "ls"}
WRITES = {
    *("cp_file", "makedirs", "mkdir", "mv", "pipe_file", "put_file"),
    *("rm", "rm_file", "rmdir"),
}

_METHODS: dict[Kind, set[str]] = {
    "lost_ack": WRITES,
    "conflict": {"pipe_file", "put_file"},
    "precondition_failed": {"pipe_file", "put_file"},
    "precondition_failed_bare": {"pipe_file", "put_file"},
    "timeout": READS | LISTINGS | WRITES,
    "hang": READS | LISTINGS | WRITES,
    "truncated": {"cat_file"},
    "stale": LISTINGS,
    "read_only": WRITES,
    "dead": READS | LISTINGS | WRITES,
}

_PRECONDITION = "At least one of the pre-conditions you specified did not hold"

_ERRORS: dict[Kind, Callable[[], Exception]] = {
    "lost_ack": lambda: ConnectionResetError("the connection was closed"),
    "conflict": lambda: _s3_error(
        409,
        "ConditionalRequestConflict",
        "The conditional request cannot succeed due to a conflicting operation "
        "against this resource.",
    ),
    "precondition_failed": lambda: _s3_error(
        412, "PreconditionFailed", _PRECONDITION, Condition="If-None-Match"
    ),
    "precondition_failed_bare": lambda: _s3_error(
        412, "PreconditionFailed", _PRECONDITION
    ),
    "timeout": lambda: TimeoutError("no answer in time"),
    "hang": lambda: TimeoutError("the test is over"),
    "read_only": lambda: PermissionError("Access Denied"),
    "dead": lambda: ConnectionRefusedError("nobody is there"),
}


class Fault:
    """One fault, as long as its block lasts.

    Attributes
    ----------
    reached : threading.Event
        Set when a request has met it.
    release : threading.Event
        Set by the test to let those that hang go on.
    """

    def __init__(
        self,
        kind: Kind,
        methods: set[str],
        times: int | None,
        error: Callable[[], Exception] | None,
        snapshot: fsspec.AbstractFileSystem | None,
    ) -> None:
        self.reached = threading.Event()
        self.release = threading.Event()
        self._kind = kind
        self._methods = methods
        self._times_left = times
        self._error = error or _ERRORS.get(kind)
        self._snapshot = snapshot
        self._is_over = False

    def meets(self, method: str, how: dict[str, Any]) -> bool:
        """Tell whether a request meets the fault, which is then used up once."""
        is_conditional = how.get("mode") == "create"
        if method not in self._methods or self._times_left == 0:
            return False
        if self._kind.startswith(("conflict", "precondition")) and not is_conditional:
            return False
        if self._times_left is not None:
            self._times_left -= 1
        self.reached.set()
        return True

    def answer(self, do: Callable[[], Any], ask: Callable[[Any], Any]) -> Any:
        """Answer a request.

        Parameters
        ----------
        do : callable
            Makes the request of the file system that stands behind.
        ask : callable
            Makes it of another.
        """
        if self._kind == "truncated":
            content: bytes = do()
            return content[: len(content) // 2]
        if self._kind == "stale":
            return ask(self._snapshot)
        if self._kind == "lost_ack":
            do()
        if self._kind == "hang":
            self.release.wait()
            if not self._is_over:
                return do()
        assert self._error is not None
        raise self._error()

    def end(self) -> None:
        """Let those who hang fail."""
        self._is_over = not self.release.is_set()
        self.release.set()


def _passed_on(method: str) -> Callable[..., Any]:
    def pass_on(self: FaultyFileSystem, *arguments: Any, **how: Any) -> Any:
        return self._pass_on(method, arguments, how)

    pass_on.__name__ = method
    return pass_on


class FaultyFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]  # untyped
    """Passes each request to another file system, unless a fault meets it.

    Requests wait for each other, so that to create a file is atomic.

    Parameters
    ----------
    inner : AbstractFileSystem, optional
        Stands behind; an empty one in memory by default.
    like : FaultyFileSystem, optional
        Another whose files, faults and counts are shared, for those who make their
        own instance of a URL: see `options`.
    """

    protocol = "faulty"
    root_marker = "/"
    cachable = False

    def __init__(
        self,
        inner: fsspec.AbstractFileSystem | None = None,
        *,
        like: FaultyFileSystem | None = None,
        **_options: Any,
    ) -> None:
        super().__init__()
        self.inner: fsspec.AbstractFileSystem = (
            like.inner if like else inner or _memory()
        )
        self.requests: Counter[str] = like.requests if like else Counter()
        self._faults: list[Fault] = like._faults if like else []
        self._lock: threading.RLock = like._lock if like else threading.RLock()

    @property
    def options(self) -> dict[str, Any]:
        """The storage options with which a URL leads to these files."""
        return {"like": self}

    @contextmanager
    def fault(
        self,
        kind: Kind,
        *,
        method: str | None = None,
        times: int | None = None,
        error: Callable[[], Exception] | None = None,
    ) -> Iterator[Fault]:
        """Let requests fail until the block ends; of several faults, the last counts.

        Parameters
        ----------
        kind : str
            How they fail.
        method : str, optional
            Which of them; by default all that can fail so.
        times : int, optional
            How many of them; by default each.
        error : callable, optional
            Makes what is raised in place of the usual error.
        """
        methods = _METHODS[kind] if method is None else {method}
        assert methods <= _METHODS[kind], f"{method} cannot fail so: {kind}"
        snapshot = _copy_of(self.inner) if kind == "stale" else None
        fault = Fault(kind, methods, times, error, snapshot)
        with self._lock:
            self._faults.append(fault)
        try:
            yield fault
        finally:
            with self._lock:
                self._faults.remove(fault)
            fault.end()

    @contextmanager
    def standing_for(self, protocol: str) -> Iterator[None]:
        """Let URLs of another protocol lead here, for code that goes by its name."""
        before = fsspec.get_filesystem_class(protocol)
        fsspec.register_implementation(protocol, FaultyFileSystem, clobber=True)
        try:
            yield
        finally:
            fsspec.register_implementation(protocol, before, clobber=True)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        """Return the path of a URL, whatever its protocol."""
        stripped = path.rpartition("://")[2].strip("/")
        return f"/{stripped}" if stripped else ""

    cat_file = _passed_on("cat_file")
    get_file = _passed_on("get_file")
    exists = _passed_on("exists")
    info = _passed_on("info")
    modified = _passed_on("modified")
    created = _passed_on("created")

    find = _passed_on("find")
    glob = _passed_on("glob")
    ls = _passed_on("ls")

    cp_file = _passed_on("cp_file")
    makedirs = _passed_on("makedirs")
    mkdir = _passed_on("mkdir")
    mv = _passed_on("mv")
    pipe_file = _passed_on("pipe_file")
    put_file = _passed_on("put_file")
    rm = _passed_on("rm")
    rm_file = _passed_on("rm_file")
    rmdir = _passed_on("rmdir")

    def _pass_on(self, method: str, arguments: tuple[Any, ...], how: Any) -> Any:
        def ask(filesystem: Any) -> Any:
            with self._lock:
                return getattr(filesystem, method)(*arguments, **how)

        with self._lock:
            self.requests[method] += 1
            met = (fault for fault in self._faults[::-1] if fault.meets(method, how))
            fault = next(met, None)
        if fault is None:
            return ask(self.inner)
        return fault.answer(lambda: ask(self.inner), ask)


def _memory() -> MemoryFileSystem:
    """Return a file system in memory that shares nothing with others."""
    memory = MemoryFileSystem(skip_instance_cache=True)
    memory.store = {}
    memory.pseudo_dirs = [""]
    return memory


def _copy_of(memory: fsspec.AbstractFileSystem) -> MemoryFileSystem:
    assert isinstance(memory, MemoryFileSystem), "no other listing can be kept"
    copy = _memory()
    copy.store.update(memory.store)
    copy.pseudo_dirs[:] = memory.pseudo_dirs
    return copy


def _s3_error(status: int, code: str, message: str, **more: str) -> Exception:
    """Return what s3fs makes of an answer to a conditional write."""
    client = importlib.import_module("botocore.exceptions")  # neither has types
    s3fs = importlib.import_module("s3fs.errors")
    answer = {
        "Error": {"Code": code, "Message": message, **more},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    error: Exception = s3fs.translate_boto_error(
        client.ClientError(answer, "PutObject")
    )
    return error


fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
