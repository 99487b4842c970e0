"""Work that a program need not wait for, done by the end of it at the latest."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  (it ends its threads at exit: after us)
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable

_log = logging.getLogger("cachekit")

# How long the end of a program is held up before a word is said of it.
QUIET_SECONDS = 2.0


class Background:
    """Runs tasks in a few threads, in the order in which they come.

    A fork has none of its parent's tasks, which the parent does.

    Parameters
    ----------
    purpose : str
        What is told if the end of the program waits for it.
    threads : int, default 4
        How many tasks run at once.
    most : int, default 256
        How many tasks may wait; who brings one more waits himself.
    """

    def __init__(self, purpose: str, *, threads: int = 4, most: int = 256) -> None:
        self.purpose = purpose
        self._most_threads = threads
        self._most = most
        self._begin_anew()
        _all.add(self)

    def _begin_anew(self) -> None:
        self._process = os.getpid()
        self._changed = threading.Condition(threading.RLock())
        self._tasks: deque[Callable[[], None]] = deque()
        self._threads = 0

    def run(self, task: Callable[[], None]) -> None:
        """Have a task done, which is to handle its own errors."""
        if self._process != os.getpid():
            self._begin_anew()
        with self._changed:
            while len(self._tasks) >= self._most:
                self._changed.wait()
            self._tasks.append(task)
            is_alone = not self._has_thread()
        if is_alone:
            self._work()

    def _has_thread(self) -> bool:
        """Start one more thread if there may be; tell whether there is any."""
        if self._threads == self._most_threads:
            return True
        name = f"cachekit: {self.purpose}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads += 1
        try:
            thread.start()
        except RuntimeError:  # there are too many, or Python is about to exit
            is_first = self._threads == 1  # then the caller works, and counts as it
            self._threads -= not is_first
            return not is_first
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all is done; return False if the seconds are up before."""
        if self._process != os.getpid():
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not self._threads, timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._tasks:
                    self._threads -= 1
                    self._changed.notify_all()
                    return
                task = self._tasks.popleft()
                self._changed.notify_all()
            try:
                do_quietly(task, self.purpose)
            except KeyboardInterrupt:  # in the caller's thread
                with self._changed:
                    self._threads -= 1
                    self._changed.notify_all()
                raise


def do_quietly(task: Callable[[], object], purpose: str) -> None:
    """Do something that is to handle its own errors, and tell the log if it did not."""
    try:
        task()
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  (asyncio has some that are no Exception)
        _log.warning("failed while %s", purpose, exc_info=True)


def at_exit(callback: Callable[[], object]) -> None:
    """Call a function when the program ends, while threads can still be started.

    `atexit` is too late for that: the pools of `concurrent.futures`, by which clients
    look up names of hosts, have ended then.
    """
    register = getattr(threading, "_register_atexit", atexit.register)
    # An error here would keep the threads of the user's from being waited for.
    register(lambda: do_quietly(callback, "ending the program"))


def wait_for_all() -> None:
    """Wait until nothing is left to do; Ctrl-C ends that."""
    try:
        # One may bring work to another that was waited for already.
        while busy := [background for background in _all if not background.wait(0)]:
            for background in busy:
                if not background.wait(QUIET_SECONDS):
                    _log.warning("still %s; Ctrl-C leaves the rest", background.purpose)
                    background.wait()
    except KeyboardInterrupt:
        _all.clear()


_all: weakref.WeakSet[Background] = weakref.WeakSet()
at_exit(wait_for_all)
atexit.register(wait_for_all)  # what other threads brought after the main one's end
