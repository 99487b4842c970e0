"""What the command line says when something fails: in words, and wrapped.

Every error of a command comes by here; `cachekit.cli` raises what it makes of it.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

import click

from cachekit.errors import CacheKitError
from cachekit.texts import plain

_ERRNO = re.compile(r"\[(Errno|WinError) -?\d+\] ")
_COMMAND = re.compile(r"`[^`\n]+`")
_LABEL = re.compile(r"^(\w+:) ")  # no line of its own, however long a path is

# Stands for a blank at which no line ends; nobody types it.
_UNBROKEN = "\x00"


class Wrapped(click.ClickException):
    """An error of click's, no wider than the terminal when it is shown."""

    def __init__(self, error: click.ClickException) -> None:
        super().__init__(error.message)
        self.exit_code = error.exit_code  # type: ignore[misc]  # of the class, there
        self._error = error

    def show(self, file: Any = None) -> None:
        """Print it, on standard error unless a file is given."""
        # What click would print, which is more than the message: for wrong usage a
        # line that says what is right.
        shown = io.StringIO()
        self._error.show(shown)
        lines = shown.getvalue().splitlines()
        click.echo("\n".join(map(wrap, map(plain, lines))), file=file, err=True)


def wrap(text: str) -> str:
    """Wrap a line to the terminal; words, paths and commands in `` ` `` stay whole."""
    width = shutil.get_terminal_size().columns
    if len(text) <= width:
        return text
    unbroken = _COMMAND.sub(lambda found: found[0].replace(" ", _UNBROKEN), text)
    unbroken = _LABEL.sub(rf"\g<1>{_UNBROKEN}", unbroken)
    wrapped = textwrap.fill(
        unbroken, width, break_long_words=False, break_on_hyphens=False
    )
    return wrapped.replace(_UNBROKEN, " ")


def words_of(error: CacheKitError | OSError, named: Iterable[str] = ()) -> str:
    """Say what went wrong: to what, and what to do; no numbers of the system.

    Parameters
    ----------
    error : CacheKitError or OSError
        What was raised.
    named : iterable of str
        What the user has typed: what is among it is no store that he may not know of.
    """
    if not isinstance(error, OSError) or error.errno is None:
        # Errors of services have no number, and say all in their text.
        return _ERRNO.sub("", str(error)) or type(error).__name__
    name = _path_of(error)
    reason = error.strerror or os.strerror(error.errno)
    if name is None:
        return _begun_small(reason)
    is_named = os.path.abspath(name) in map(os.path.abspath, named)  # noqa: PTH100
    other = "name another" if is_named else "name another store with --store"
    texts = {
        errno.ENOENT: f"there is no file or folder {name}",
        errno.EACCES: f"{name} cannot be read or written by this user "
        f"(permission denied); {other}",
        errno.EROFS: f"{name} cannot be written: the file system is only to be read; "
        f"{other}",
        errno.ENOSPC: f"{name} cannot be written: no space is left; make room, as with "
        f"`cachekit prune --stale`, or {other}",
        errno.EISDIR: f"{name} is a folder, where a file is wanted",
        errno.ENOTDIR: f"{name} is not in a folder: a part of this path is a file; "
        f"{other}",
        errno.EEXIST: f"{name} is there already",
    }
    texts[errno.EPERM] = texts[errno.EACCES]
    texts[errno.EDQUOT] = texts[errno.ENOSPC]
    return texts.get(error.errno, f"{name}: {_begun_small(reason)}")


def _path_of(error: OSError) -> str | None:
    name = error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else None


def _begun_small(text: str) -> str:
    """Write a text as the middle of a sentence: "No space" -> "no space"."""
    return text[:1].lower() + text[1:]
