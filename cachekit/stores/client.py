"""A client of fsspec's that is asked with patience, and given up when that is vain.

What clients leave open is here: a limit on the time of each request, a few more
attempts after what may pass, and what happens when a service does not answer. Then it
is *lost*: every request fails at once from then on, so that a run goes on at its usual
speed without it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from cachekit.errors import StoreError

# Who moves fewer bytes a second is too slow to be worth waiting for.
SLOWEST_BYTES = 2**20

# Pauses before further attempts, in seconds, each made up to twice as long by chance;
# there is none after so many seconds, in which the client tried again by itself.
PAUSES = (0.1, 0.4, 1.6)
LONGEST_TRIED = 10.0

_WRITES = {"pipe_file", "put_file", "rm_file", "rm", "mv", "makedirs"}


class LeftOut(StoreError):
    """A service that was given up before, which was told then."""


class Client:
    """Asks for what is below one folder of a service.

    Parameters
    ----------
    url : str
        Of the folder, as fsspec understands it.
    options : mapping
        For fsspec's client, such as keys or the address of the server.
    timeout : float
        Seconds that a request may take; one of many bytes a second more for each
        mebibyte.

    Attributes
    ----------
    name : str
        The URL, without a password.
    scheme : str
        What it begins with.
    is_read_lost, is_write_lost : bool
        Whether it was given up.
    is_untold : bool
        Whether it is left to the next request to say so.
    """

    def __init__(self, url: str, options: Mapping[str, Any], *, timeout: float) -> None:
        self.url = url
        self.name = _without_password(url)
        self.scheme = url.partition("://")[0].lower()
        self.is_read_lost = self.is_write_lost = False
        self.is_untold = False
        self._options = dict(options)
        self._timeout = timeout
        self._reason = ""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._process = os.getpid()  # clients cannot be used after a fork
        self._connecting = threading.RLock()
        self._losing = threading.RLock()
        self._filesystem: Any = None
        self._is_second_try = False
        self.root = ""

    @property
    def is_connected(self) -> bool:
        """Whether there is a client already."""
        return self._filesystem is not None and self._process == os.getpid()

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

    def ask(self, verb: str, path: str, *, size: int = 0, **how: Any) -> Any:
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
            if is_out_of_range(error):
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
        filesystem = self.connected()
        place = f"{self.root}/{path}".rstrip("/")
        options = dict(how)
        arguments: tuple[Any, ...] = (place,)
        if verb == "pipe_file":
            arguments = (place, options.pop("content"))
        elif verb == "put_file":
            arguments = (options.pop("local"), place)
        elif verb == "rm":
            arguments = ([f"{self.root}/{each}" for each in options.pop("paths")],)
        elif verb == "mv":
            arguments = (place, f"{self.root}/{options.pop('to')}")
        return getattr(filesystem, verb)(*arguments, **options)

    def _try(self, verb: str, request: Callable[[], Any], seconds: float) -> Any:
        """Make a request, and again, with a new connection, while that may help."""
        started = time.monotonic()
        for pause in PAUSES:
            tried = time.monotonic() - started
            try:
                return self._once(verb, request, seconds - tried)
            except Exception as error:
                tried = time.monotonic() - started
                if tried > LONGEST_TRIED or not _may_pass(error):
                    raise
            time.sleep(pause * (1 + random.SystemRandom().random()))
            self._filesystem, self._is_second_try = None, True
        return self._once(verb, request, seconds - (time.monotonic() - started))

    def _once(self, verb: str, request: Callable[[], Any], seconds: float) -> Any:
        return _in_time(request, seconds, verb, can_do_without=self.is_connected)

    def connected(self) -> Any:
        """Return fsspec's client; `root` is then the path of the folder for it."""
        with self._connecting:
            if self._filesystem is None:
                import fsspec

                kind: Any = fsspec.get_filesystem_class(self.scheme)
                options = kind._get_kwargs_from_urls(self.url)
                options.update(self._options_for_client())
                self._filesystem = _client(kind, options, new=self._is_second_try)
                self.root = str(kind._strip_protocol(self.url)).rstrip("/")
            return self._filesystem

    def _options_for_client(self) -> dict[str, Any]:
        if self.scheme not in ("s3", "s3a"):
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
    # Another thread may have held its lock, or have been importing it.
    reset = getattr(sys.modules.get("fsspec.asyn"), "reset_lock", None)
    if reset is not None:
        reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)


class _TooSlow(Exception):
    """The time of a request is up."""


def _in_time(
    request: Callable[[], Any], seconds: float, verb: str, *, can_do_without: bool
) -> Any:
    """Run a request in a thread that can be left alone if it never returns.

    Clients have limits of their own at best for some of what may hang. Without a
    thread it is done here, unless the client would have to start one, to connect.
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
    except RuntimeError as error:  # there are too many, or Python is about to exit
        if not can_do_without:
            raise ConnectionError(f"no thread could be started: {error}") from None
        run()
    try:
        return answer.result(max(seconds, 0.0))
    except TimeoutError:
        if answer.done():  # a request that failed so
            return answer.result()
        raise _TooSlow(f"no answer in {seconds:.0f} s") from None


def _may_pass(error: Exception) -> bool:
    """Tell whether it may be worth while to try again."""
    if is_out_of_range(error) or _is_taken(error):
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


def is_out_of_range(error: BaseException) -> bool:
    """Tell whether a service says that a file is shorter than the part asked for."""
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
