"""A remote file system that is asked with patience, and given up when that is vain.

fsspec speaks to it; what its clients leave open is here: a limit on the time of each
request, a few more attempts after what may pass, whole files or none, and what happens
when it does not answer. Then it is *lost*: every request fails at once from then on, so
that a run goes on at its usual speed without it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, BinaryIO

from cachekit.errors import StoreError

# A file up to this size is one request; of a larger one, each part is.
PART_BYTES = 64 * 2**20

# Who moves fewer bytes a second is too slow to be worth waiting for.
SLOWEST_BYTES = 2**20

# Pauses before further attempts, in seconds, each made up to twice as long by chance;
# there is none after so many seconds, in which the client tried again by itself.
PAUSES = (0.1, 0.4, 1.6)
LONGEST_TRIED = 10.0

# Where a file appears whole, in one request that can be refused if there is one.
# Elsewhere a file is written under another name, and renamed.
_WITH_CREATE = {
    *("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"),
}

_WRITES = {"pipe_file", "put_file", "rm_file", "rm", "mv", "makedirs"}

# Left there by a process that is no more, at this age.
_ABANDONED_SECONDS = 24 * 3600

# How clients call the time of the last change, in the order of preference.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class LeftOut(StoreError):
    """A service that was given up before, which was told then."""


class Service:
    """Files on a remote file system, below one folder of it.

    Paths are given and returned relative to that folder, with ``/`` between parts.

    Parameters
    ----------
    url : str
        Of the folder, as fsspec understands it.
    options : mapping
        For fsspec's client, such as keys or the address of the server.
    timeout : float
        Seconds that a request may take; one of many bytes a second more for each
        mebibyte.
    """

    def __init__(self, url: str, options: Mapping[str, Any], *, timeout: float) -> None:
        self.url = url
        self.name = _without_password(url)
        self.is_read_lost = self.is_write_lost = False
        self.is_untold = False
        # Whether it was seen to overwrite what it was to create.
        self.ignores_new = False
        self._options = dict(options)
        self._timeout = timeout
        self._reason = ""
        self._scheme = url.partition("://")[0].lower()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._process = os.getpid()  # clients cannot be used after a fork
        self._connecting = threading.RLock()
        self._losing = threading.RLock()
        self._filesystem: Any = None
        self._is_second_try = False
        self._root = ""
        self._folders: set[str] = set()
        self._has_staging = False

    @contextlib.contextmanager
    def telling_later(self) -> Iterator[None]:
        """Leave it to the next request to say that the service was lost in here."""
        try:
            yield
        except LeftOut:
            raise
        except StoreError:
            self.is_untold = True
            raise

    # --- files ---

    def get(self, path: str) -> BinaryIO | None:
        """Return a file, open for reading at its start; None if there is none."""
        import io
        import tempfile

        try:
            first = self._part(path, 0)
            if len(first) < PART_BYTES:
                return io.BytesIO(first)
            size = int(self._ask("info", path)["size"])
            file = tempfile.TemporaryFile()  # noqa: SIM115  (returned)
            try:
                file.write(first)
                while file.tell() < size:
                    part = self._part(path, file.tell())
                    if not part:  # replaced by a shorter one meanwhile
                        break
                    file.write(part)
            except BaseException:
                file.close()
                raise
            file.seek(0)
        except FileNotFoundError:
            return None
        return file

    def put(self, path: str, file: BinaryIO, *, new: bool) -> bool:
        """Write a file whole, in one step; with `new`, return False if there is one.

        Where the service cannot refuse, two that write the same new file at the same
        time both succeed, and the last one's stays.

        Parameters
        ----------
        path : str
            Where to write.
        file : binary file
            What to write, from its start; one larger than `PART_BYTES` has a `name`,
            which is its path.
        new : bool
            Whether to write only if there is no such file.
        """
        if new and not self.can_refuse and self.exists(path):
            return False
        if self._scheme in _WITH_CREATE:
            try:
                self._upload(path, file, mode="create" if new else "overwrite")
            except FileExistsError:
                return False
            return True
        self._upload_and_rename(path, file)
        return True

    @property
    def can_refuse(self) -> bool:
        """Whether of two who create the same file, one is told that there is one."""
        return self._scheme in _WITH_CREATE and not self.ignores_new

    def exists(self, path: str) -> bool:
        """Tell whether there is a file."""
        return bool(self._ask("exists", path))

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; what is absent is passed over."""
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self._ask("rm_file", path)

    def find(self, folder: str = "") -> dict[str, tuple[int, float]]:
        """Return the files below a folder: bytes, and seconds since 1970 of each."""
        try:
            found = self._ask("find", folder, detail=True)
        except FileNotFoundError:
            return {}
        start = len(self._root) + 1
        return {
            about["name"][start:]: (int(about["size"] or 0), _time_of(about))
            for about in found.values()
            if about["type"] == "file"
        }

    # --- how they are moved ---

    def _part(self, path: str, start: int) -> bytes:
        try:
            part: bytes = self._ask(
                "cat_file", path, start=start, end=start + PART_BYTES
            )
        except Exception as error:
            if _is_out_of_range(error):  # it is empty
                return b""
            raise
        # Some clients do not know of parts, and return the whole.
        return part[start:] if start and len(part) > PART_BYTES else part

    def _upload(self, path: str, file: BinaryIO, **how: str) -> None:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size <= PART_BYTES:
            self._ask("pipe_file", path, content=file.read(), size=size, **how)
        else:
            file.flush()
            self._ask("put_file", path, local=file.name, size=size, **how)

    def _upload_and_rename(self, path: str, file: BinaryIO) -> None:
        if not self._has_staging:
            self._ask("makedirs", ".staging", exist_ok=True)
            self._sweep()
            self._has_staging = True
        staged = f".staging/{uuid.uuid4().hex}"
        try:
            self._upload(staged, file)
            for _ in range(2):
                self._make_folder_of(path)
                try:
                    self._ask("mv", staged, to=path)
                except FileNotFoundError:  # the folder was removed meanwhile
                    self._folders.clear()
                else:
                    return
            raise StoreError(f"{self.name}/{path} is removed again and again")
        except BaseException:
            with contextlib.suppress(FileNotFoundError, StoreError):
                self._ask("rm_file", staged)
            raise

    def _make_folder_of(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        if folder not in self._folders:
            self._ask("makedirs", folder, exist_ok=True)
            self._folders.add(folder)

    def _sweep(self) -> None:
        """Remove what others have left half written."""
        now = time.time()
        left = self.find(".staging").items()
        self.remove(path for path, (_, at) in left if 0 < at < now - _ABANDONED_SECONDS)

    # --- requests ---

    def _ask(self, verb: str, path: str, *, size: int = 0, **how: Any) -> Any:
        """Make a request, again if it fails for what may pass; else give up.

        Raises
        ------
        FileNotFoundError, FileExistsError
            As the service says.
        StoreError
            If it is lost by this, and `LeftOut` if it was lost before.
        """
        self._check_is_in_use(verb)
        try:
            request = functools.partial(self._request, verb, path, how)
            return self._try(verb, request, self._timeout + size / SLOWEST_BYTES)
        except FileNotFoundError:
            # Of what is written, it is the place that is missing.
            if verb in ("pipe_file", "put_file"):
                raise self._lose(verb, "there is no such bucket or folder") from None
            raise
        except FileExistsError:
            raise
        except Exception as error:
            if _is_out_of_range(error):
                raise
            if _is_taken(error):
                raise FileExistsError(path) from error
            raise self._lose(verb, _describe(error), error) from error

    def _check_is_in_use(self, verb: str) -> None:
        if self._process != os.getpid():
            self._begin_anew()
        if self.is_read_lost or (self.is_write_lost and verb in _WRITES):
            error = StoreError if self.is_untold else LeftOut
            self.is_untold = False
            raise error(self._reason)

    def _request(self, verb: str, path: str, how: dict[str, Any]) -> Any:
        filesystem = self._connected()
        place = f"{self._root}/{path}".rstrip("/")
        options = dict(how)
        arguments: tuple[Any, ...] = (place,)
        if verb == "pipe_file":
            arguments = (place, options.pop("content"))
        elif verb == "put_file":
            arguments = (options.pop("local"), place)
        elif verb == "mv":
            arguments = (place, f"{self._root}/{options.pop('to')}")
        return getattr(filesystem, verb)(*arguments, **options)

    def _try(self, verb: str, request: Callable[[], Any], seconds: float) -> Any:
        """Make a request, and again, with a new connection, while that may help."""
        started = time.monotonic()
        for pause in PAUSES:
            tried = time.monotonic() - started
            try:
                return _in_time(request, seconds - tried, verb)
            except Exception as error:
                tried = time.monotonic() - started
                if tried > LONGEST_TRIED or not _may_pass(error):
                    raise
            time.sleep(pause * (1 + random.SystemRandom().random()))
            self._filesystem, self._is_second_try = None, True
        return _in_time(request, seconds - (time.monotonic() - started), verb)

    def _connected(self) -> Any:
        with self._connecting:
            if self._filesystem is None:
                import fsspec

                kind: Any = fsspec.get_filesystem_class(self._scheme)
                options = kind._get_kwargs_from_urls(self.url)
                options.update(self._options_for_client())
                self._filesystem = _client(kind, options, new=self._is_second_try)
                self._root = str(kind._strip_protocol(self.url)).rstrip("/")
            return self._filesystem

    def _options_for_client(self) -> dict[str, Any]:
        if self._scheme not in ("s3", "s3a"):
            return self._options
        # A container has checksums of its own, and some servers send that of the whole
        # with a part.
        config = {
            "response_checksum_validation": "when_required",
            "retries": {"max_attempts": 1},
            **self._options.get("config_kwargs", {}),
        }
        return {**self._options, "config_kwargs": config}

    def _lose(
        self, verb: str, reason: str, error: BaseException | None = None
    ) -> StoreError:
        """Give up the service, or to write there; return what to raise."""
        with self._losing:
            return self._lose_once(verb, reason, error)

    def _lose_once(
        self, verb: str, reason: str, error: BaseException | None
    ) -> StoreError:
        if self.is_read_lost or (self.is_write_lost and verb in _WRITES):
            return LeftOut(self._reason)  # another thread was quicker
        refuses = isinstance(error, (PermissionError, NotImplementedError))
        self.is_write_lost = True
        if verb in _WRITES and refuses:
            what = "cannot be written to"
        else:
            what = "cannot be used"
            self.is_read_lost = True
        self._reason = (
            f"{self.name} {what}, and is left out for the rest of this run: "
            f"{reason.replace(self.url, self.name)}"
        )
        return StoreError(self._reason)


def _client(kind: Any, options: dict[str, Any], *, new: bool) -> Any:
    """Return a client, the same for all services that it can serve: it is costly."""
    place = (os.getpid(), kind, repr(sorted(options.items())))
    with _making_clients:
        making = _making_client.setdefault(place, threading.RLock())
    with making:  # one that hangs holds up no others
        if new or place not in _clients:
            client = kind(**options, skip_instance_cache=True)
            # What others write is to be seen at once.
            client.dircache.use_listings_cache = False
            # It is tried again here, not five times for each of these.
            if hasattr(client, "retries"):
                client.retries = 1
            _clients[place] = client
        return _clients[place]


_clients: dict[tuple[int, Any, str], Any] = {}
_making_client: dict[tuple[int, Any, str], threading.RLock] = {}
_making_clients = threading.RLock()


def _begin_anew_in_child() -> None:
    global _making_clients
    _making_clients = threading.RLock()
    fsspec_asyn = sys.modules.get("fsspec.asyn")
    if fsspec_asyn is not None:  # another thread may have held its lock
        fsspec_asyn.reset_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)


class _TooSlow(Exception):
    """The time of a request is up."""


def _in_time(request: Callable[[], Any], seconds: float, verb: str) -> Any:
    """Run a request in a thread that can be left alone if it never returns.

    Clients have limits of their own at best for some of what may hang.
    """
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(request())
        except Exception as error:  # noqa: BLE001  (told to who waits)
            answer.set_exception(error)
        except BaseException as error:  # noqa: BLE001  (as asyncio's, not the user's)
            answer.set_exception(ConnectionError(repr(error)))

    try:
        threading.Thread(target=run, name=f"cachekit-{verb}", daemon=True).start()
    except RuntimeError:  # Python is about to exit
        run()
    try:
        return answer.result(max(seconds, 0.0))
    except TimeoutError:
        if answer.done():  # a request that failed so
            return answer.result()
        raise _TooSlow(f"no answer in {seconds:.0f} s") from None


def _may_pass(error: Exception) -> bool:
    """Tell whether it may be worth while to try again."""
    if _is_out_of_range(error) or _is_taken(error):
        return False
    return not isinstance(
        error,
        (
            _TooSlow,
            FileNotFoundError,
            FileExistsError,
            PermissionError,
            NotADirectoryError,
            IsADirectoryError,
            NotImplementedError,
            ImportError,
            TypeError,
            ValueError,
        ),
    )


def _is_taken(error: BaseException) -> bool:
    """Tell whether a service says, in words of its own, that there is one already."""
    return "PreconditionFailed" in f"{error} {error.__cause__}"


def _is_out_of_range(error: BaseException) -> bool:
    return "InvalidRange" in f"{error} {error.__cause__}"


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{path}"


def _describe(error: Exception) -> str:
    text = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {text[:200]}" if text else name


def _time_of(about: Mapping[str, Any]) -> float:
    """Return when a file was written, in seconds since 1970; 0 if that is not told."""
    for name in _TIMES:
        at = about.get(name)
        if isinstance(at, str):
            with contextlib.suppress(ValueError):
                at = datetime.fromisoformat(at)
        if isinstance(at, datetime):
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        if isinstance(at, (int, float)):
            return float(at)
    return 0.0
