"""The call that is being computed: what it is, and which cached calls it makes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from cachekit.errors import StoreError
from cachekit.hashing import CodeVersion
from cachekit.memoization.artifact_folders import (
    ArtifactFolder,
    keep_until_exit,
    let_go,
    loose_folder,
    writing_files,
)
from cachekit.memoization.artifacts import Artifact, check_name
from cachekit.memoization.call import CallKey, changed_arguments, is_small
from cachekit.memoization.warned import MOST_WARNINGS, WarningNotes
from cachekit.stores import EntryKey, Staging, Store

T = TypeVar("T")

# So many inner calls are in a record; a loop may make millions.
MOST_CHILDREN = 1000


class Running:
    """A call that is being computed; in its ``with`` block, the innermost one.

    Parameters
    ----------
    key : CallKey
        Its key, in parts.
    bound : dict of str to object
        Its arguments.
    facts : dict of str to dict
        What the record says of them, as they were before the call.
    code : CodeVersion or None
        The function's code, if the store has no description of it yet.
    store : Store
        Where its entry will be.

    Attributes
    ----------
    started : float
        Seconds since 1970.
    children : dict of EntryKey to None
        The entries of the cached calls that it made, in order.
    staging : Staging or None
        Its entry, once it was begun.
    files : ArtifactFolder or None
        The files that it has made.
    size : int
        Bytes of its value once it is stored, else 0.
    warnings : list of str
        What it has warned of so far.
    """

    def __init__(
        self,
        key: CallKey,
        bound: dict[str, object],
        facts: dict[str, dict[str, str]],
        code: CodeVersion | None,
        store: Store,
    ) -> None:
        self.key = key
        self._store = store
        self.bound = bound
        self.facts = facts
        self.code = code
        self.started = time.time()
        self.children: dict[EntryKey, None] = {}
        self.staging: Staging | None = None
        self.files: ArtifactFolder | None = None
        self.size = 0
        self.warnings: list[str] = []
        self._is_streaming = False  # its parts run one by one, as a generator's do
        self._outer: Running | None = None

    def __enter__(self) -> Running:
        self._outer = _enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _leave(self, self._outer)
        if error is not None:
            self.discard()

    def step(self, function: Callable[..., T], *args: Any) -> T:
        """Run a part of the call, in which it is the innermost one."""
        self._is_streaming = True
        outer = _enter(self)
        try:
            return function(*args)
        finally:
            _leave(self, outer)

    @contextlib.contextmanager
    def innermost(self) -> Iterator[None]:
        """In its block, a part of the call runs; what fails there drops nothing."""
        self._is_streaming = True
        outer = _enter(self)
        try:
            yield
        finally:
            _leave(self, outer)

    def begin(self) -> Staging:
        """Begin the entry, if it was not begun yet."""
        if self.staging is None:
            self.staging = self._store.stage(self.key.entry)
        return self.staging

    def parents(self) -> list[str]:
        """Return the digests of the arguments that may be results of other calls."""
        return [
            self.key.arguments[name]
            for name, value in self.bound.items()
            if not is_small(value)
        ]

    def changed(self, value: object) -> list[str]:
        """Return the names of the arguments that the call has changed.

        But for an estimator that it hands back among what it returns, as the steps of
        scikit-learn's pipelines do: to fit it is what such a call is for, and who
        unpacks the result has the fitted one from a hit too.
        """
        changed = changed_arguments(self.bound, self.key.arguments)
        if not changed or not isinstance(value, tuple):
            return changed
        handed_back = {id(part) for part in value}
        return [
            name
            for name in changed
            if not (
                id(self.bound[name]) in handed_back and is_estimator(self.bound[name])
            )
        ]

    def folder(self) -> Path:
        """Return the folder for files of the entry; made when first asked for."""
        if self.files is None:
            staging = None
            with contextlib.suppress(OSError, StoreError):  # a commit tells
                staging = self._staging_for_files()
            entry = self.key.entry
            self.files = ArtifactFolder(
                self._store, entry, staging, grows=self._is_streaming
            )
        return self.files.path

    def _staging_for_files(self) -> Staging:
        if not self._is_streaming:
            return self.begin()
        # Who takes an item has its path before the rest is there. So the files stay
        # where they are, and the entry has second names for them.
        staging = self._store.stage(self.key.entry)
        keep_until_exit(staging)
        return staging

    def storing(self, *, signed: bool) -> writing_files:
        """In its block, a value that may name files is written into the entry.

        Parameters
        ----------
        signed : bool
            Whether the content of the files is signed with the value.
        """
        return writing_files(self, signed=signed)

    @property
    def has_moved(self) -> bool:
        """Whether paths in the value, as it was returned, are not those of a hit."""
        if self._is_streaming:
            return False
        return self.files is not None and self.files.is_named

    @property
    def whole_size(self) -> int:
        """Bytes of the value and of the files, once they are stored; else 0."""
        if self.size == 0 or self.files is None:
            return self.size
        return self.size + self.files.size

    def end(self, *, is_stored: bool) -> None:
        """Drop what was begun of the entry, but for files that a result names."""
        if self.staging is None:
            return
        if self.files is not None and self.files.is_needed(self.staging, is_stored):
            keep_until_exit(self.staging)
        else:
            self.staging.discard()

    def settle(self) -> None:
        """Drop what was begun: paths into the entry have taken its place."""
        if self.staging is not None:
            let_go(self.staging)

    def discard(self) -> None:
        """Drop what was begun of the entry."""
        if self.files is not None and not self._is_streaming:  # it has given out none
            self.files.remove()
            self.files = None
        if self.staging is not None:
            self.staging.discard()
            self.staging = None


def artifact(name: str | os.PathLike[str]) -> Path:
    """Return the path for a file that belongs to the result of the cached call.

    Inside a cached function, the path leads into the entry of the call: what is
    written there is stored with the result. A path that the function returns, by
    itself or anywhere in its result, leads to the stored file on each hit.

    Parameters
    ----------
    name : str
        A name, also with folders: ``"plots/first.png"``. The folders are made. The
        same name is the same file.

    Returns
    -------
    pathlib.Path
        Where to write: a file, or a folder to be made with ``mkdir``.

    Raises
    ------
    ValueError
        If the name leads out of the entry.

    Notes
    -----
    Return the path itself, not ``str(path)``: the file moves when the call is stored. A
    result with its path as a text is not stored, with a warning.

    Files stay as long as their entry: copy what is to outlive an eviction. They are
    not to be changed; one that was cut or removed has its call computed again. If
    nothing is cached, or the result could not be stored, they stay until the process
    ends. A thread that the function starts does not know of the call: what it makes is
    stored if its path is in the result. So is a file that another cached call made.

    Examples
    --------
    >>> @memory.cache  # doctest: +SKIP
    ... def plot(data):
    ...     path = cachekit.artifact("plot.png")
    ...     draw(data).savefig(path)
    ...     return path
    """
    place = check_name(name)
    call = _current.get()
    path = Artifact((loose_folder() if call is None else call.folder()) / place)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def is_estimator(value: object) -> bool:
    """Tell what is there to be fitted, in scikit-learn's sense, from data."""
    return hasattr(type(value), "fit") or hasattr(type(value), "fit_transform")


def current() -> Running | None:
    """Return the call that is being computed here, the innermost one."""
    return _current.get()


def note_child(key: EntryKey) -> None:
    """Note in the call that is being computed that it has called another."""
    parent = _current.get()
    if parent is not None:
        if len(parent.children) < MOST_CHILDREN:
            parent.children[key] = None
        return
    listed = _listed.get()
    if listed is not None:
        listed[key] = None


@contextlib.contextmanager
def listing_calls() -> Iterator[dict[EntryKey, None]]:
    """In its block, list the cached calls that are made, but for those inside others.

    Yields
    ------
    dict of EntryKey to None
        Their entries, in the order of their first call. Of calls that could not be
        stored there is none.
    """
    listed: dict[EntryKey, None] = {}
    token = _listed.set(listed)
    try:
        yield listed
    finally:
        _listed.reset(token)


def _enter(call: Running) -> Running | None:
    """Make a call the innermost one; return the one that was."""
    outer = _current.get()
    _current.set(call)
    _warning_notes.begin()
    return outer


def _leave(call: Running, outer: Running | None) -> None:
    _warning_notes.end()
    # A coroutine that is thrown away may end in another context, where nothing was set.
    if _current.get() is call:
        _current.set(outer)


_current: ContextVar[Running | None] = ContextVar("_current", default=None)


def _note_warning(text: str) -> None:
    call = _current.get()
    if call is not None and len(call.warnings) < MOST_WARNINGS:
        call.warnings.append(text)


_warning_notes = WarningNotes(_note_warning)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_warning_notes.begin_in_process)

_listed: ContextVar[dict[EntryKey, None] | None] = ContextVar("_listed", default=None)
