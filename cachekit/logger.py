"""What joblib's classes are built on: lines in the log, and times between them."""

from __future__ import annotations

import logging
import os
import pprint
import sys
import time
from pathlib import Path

# So many older files are kept beside the log of a `PrintTime`.
OLDER_FILES = 9


class Logger:
    """Logs lines that begin with what says them.

    Parameters
    ----------
    depth : int, default 3
        How many levels of an object `format` shows.
    name : str, default "cachekit"
        The logger of the module `logging` that gets the lines.
    """

    depth = 3
    _log_name = "cachekit"

    def __init__(self, depth: int = 3, name: str | None = None) -> None:
        self.depth = depth
        if name:
            self._log_name = name

    def warn(self, msg: object) -> None:
        """Log a warning.

        Parameters
        ----------
        msg : object
            What to log, after the name of what says it.
        """
        self._log().warning("%r: %s", self, msg)

    def info(self, msg: object) -> None:
        """Log what is going on.

        Parameters
        ----------
        msg : object
            As for `warn`.
        """
        self._log().info("%r: %s", self, msg)

    def debug(self, msg: object) -> None:
        """Log a detail.

        Parameters
        ----------
        msg : object
            As for `warn`.
        """
        self._log().debug("%r: %s", self, msg)

    def format(self, obj: object, indent: int = 0) -> str:
        """Write an object over several lines; long arrays are abridged.

        Parameters
        ----------
        obj : object
            What to write.
        indent : int, default 0
            Spaces before each level.

        Returns
        -------
        str
            Its text, to the depth of this logger.
        """
        if "numpy" not in sys.modules:
            return pprint.pformat(obj, indent=indent, depth=self.depth)
        import numpy as np

        with np.printoptions(precision=6, threshold=64, edgeitems=1):
            return pprint.pformat(obj, indent=indent, depth=self.depth)

    def _log(self) -> logging.Logger:
        return logging.getLogger(self._log_name)


class PrintTime:
    """Prints messages with the time since the last one, and since the first.

    Parameters
    ----------
    logfile : str or os.PathLike, optional
        A file that gets the lines too. One that is there already is renamed: the last
        9 are kept, as ``logfile.1`` and so on.
    logdir : str or os.PathLike, optional
        A folder in which that is ``cachekit.log``.

    Raises
    ------
    ValueError
        If both are given.

    Examples
    --------
    >>> from cachekit import PrintTime
    >>> print_time = PrintTime()
    >>> print_time("data read")  # doctest: +SKIP
    data read: 1.2s, 0.0min
    """

    def __init__(
        self,
        logfile: str | os.PathLike[str] | None = None,
        logdir: str | os.PathLike[str] | None = None,
    ) -> None:
        if logfile is not None and logdir is not None:
            raise ValueError("logfile and logdir are both given: one is enough")
        if logdir is not None:
            logfile = Path(logdir, "cachekit.log")
        self.logfile = logfile
        self.start_time = self.last_time = time.time()
        if logfile is not None:
            _begin_file(Path(logfile))

    def __call__(self, msg: str = "", total: bool = False) -> None:
        """Print a message and a time.

        Parameters
        ----------
        msg : str
            The message.
        total : bool, default False
            Whether to count from the beginning, and not from the last message.
        """
        seconds = time.time() - (self.start_time if total else self.last_time)
        line = f"{msg}: {seconds:.1f}s, {seconds / 60:.1f}min"
        sys.stderr.write(f"{line}\n")
        if self.logfile is not None:
            with Path(self.logfile).open("a") as file:
                file.write(f"{line}\n")
        self.last_time = time.time()


def _begin_file(path: Path) -> None:
    from logging.handlers import RotatingFileHandler

    path.parent.mkdir(parents=True, exist_ok=True)
    files = RotatingFileHandler(path, backupCount=OLDER_FILES, delay=True)
    if path.exists():
        files.doRollover()
    files.close()
