"""How loud a cache is: loggers below ``cachekit`` that print for who asked."""

from __future__ import annotations

import functools
import logging
import sys
from typing import TextIO

# With `verbose` above this, hits are told as well.
TELLS_HITS = 10


@functools.cache
def logger_for(verbose: int) -> logging.Logger:
    """Return the logger for a `verbose` option.

    Parameters
    ----------
    verbose : int
        With 0 nothing is printed; what is computed is logged to ``cachekit``. From 1
        on, that is printed to the standard error; above 10, hits as well.
    """
    if verbose <= 0:
        return logging.getLogger("cachekit")
    is_loud = verbose > TELLS_HITS
    logger = logging.getLogger("cachekit.loud" if is_loud else "cachekit.verbose")
    logger.setLevel(logging.DEBUG if is_loud else logging.INFO)
    if not logger.handlers:
        handler = _ToStandardError()
        handler.setFormatter(logging.Formatter("[cachekit] %(message)s"))
        logger.addHandler(handler)
    return logger


class _ToStandardError(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is now: notebooks and tests exchange it."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        pass
