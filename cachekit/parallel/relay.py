"""What workers log and print reaches the process that waits for them.

Workers write to the same terminal as their parent, so what they print is seen there
at once. In a notebook, where the parent has another output, it is caught and shown when
the batch is done; so is, everywhere, what they log.
"""

from __future__ import annotations

import contextlib
import io
import logging
import logging.handlers
import os
import sys
from collections.abc import Iterator
from typing import Any


class Relay:
    """How a worker is to catch what tasks log and print; made in the parent.

    Attributes
    ----------
    level : int
        Below which nothing is logged in the parent.
    catches_prints : bool
        Whether the parent's output is elsewhere than the worker's.
    """

    def __init__(self) -> None:
        self.level = logging.getLogger().getEffectiveLevel()
        self.catches_prints = not _is_inherited(sys.stdout)
        self.parent = os.getpid()

    @contextlib.contextmanager
    def catching(self) -> Iterator[Messages | None]:
        """In its block, in a worker, catch; None in the parent itself."""
        if os.getpid() == self.parent:
            yield None
            return
        messages = Messages()
        root, handler = logging.getLogger(), _Catching(messages.records)
        before, level = root.handlers[:], root.level
        root.handlers[:] = [handler]
        root.setLevel(self.level)
        try:
            with contextlib.ExitStack() as stack:
                if self.catches_prints:
                    out, err = io.StringIO(), io.StringIO()
                    stack.enter_context(contextlib.redirect_stdout(out))
                    stack.enter_context(contextlib.redirect_stderr(err))
                    stack.callback(lambda: messages.take(out, err))
                yield messages
        finally:
            root.handlers[:] = before
            root.setLevel(level)


class Messages:
    """What a batch has logged and printed.

    Attributes
    ----------
    records : list of logging.LogRecord
        Logged.
    printed, printed_to_stderr : str
        Printed, if that was caught.
    """

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.printed = ""
        self.printed_to_stderr = ""

    def take(self, out: io.StringIO, err: io.StringIO) -> None:
        """Take over what was printed."""
        self.printed, self.printed_to_stderr = out.getvalue(), err.getvalue()

    def tell(self) -> None:
        """Log and print it here."""
        for record in self.records:
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        if self.printed:
            sys.stdout.write(self.printed)
        if self.printed_to_stderr:
            sys.stderr.write(self.printed_to_stderr)


class _Catching(logging.handlers.QueueHandler):
    """Keeps records in a form that can be sent."""

    def __init__(self, records: list[Any]) -> None:
        super().__init__(records)  # type: ignore[arg-type]

    def enqueue(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.queue.append(record)  # type: ignore[attr-defined]


def _is_inherited(stream: Any) -> bool:
    """Tell whether workers write to the same place as this stream."""
    try:
        return bool(stream.fileno() == 1)
    except (AttributeError, OSError, ValueError):
        return False
