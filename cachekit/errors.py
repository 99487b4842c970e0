"""Every exception and warning of cachekit; this module imports nothing of ours.

::

    CacheKitError                 catch this for anything that cachekit raises
    ├── UnhashableArgument        a value has no stable digest (also a PicklingError)
    ├── ContainerError            a file from which no value can be read
    │   ├── CorruptedFile         it is truncated, altered, or of another format
    │   ├── UnsupportedContainer  a whole one that this version cannot read
    │   └── UntrustedContent      safe loading refuses it, or it is not signed by us
    ├── StoreError                a store cannot be used: foreign, newer, unreachable
    ├── EntryNotFound             there is no such entry, or several (also a KeyError)
    ├── CacheMiss                 a call has no result, and is not to be computed
    ├── MissingExtra              an optional dependency is absent (also an ImportError)
    └── PipelineError             a bundled pipeline cannot go on: says what and why
    CacheWarning                  the cache failed; the answer was computed instead

The cache itself fails softly: `ContainerError`, `StoreError` and `OSError` inside a
cached call become a `CacheWarning`, and the function is run.
"""

from __future__ import annotations

import pickle
import sys
import types
import warnings


class CacheKitError(Exception):
    """Base of every exception that cachekit raises on purpose."""


class UnhashableArgument(CacheKitError, pickle.PicklingError):
    """A value has no stable digest.

    Also a `pickle.PicklingError`, which is what joblib raises in this place.

    Parameters
    ----------
    reason : str
        What was met, as in ``"a lock"``.
    culprit : object
        The object that was met, used to find the path to it.
    path : str
        The way to it from the value being hashed, as in ``"[2].lock"``.

    Attributes
    ----------
    reason, culprit, path
        As given; the path grows while the error climbs out of nested values.
    """

    def __init__(self, reason: str, *, culprit: object = None, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.culprit = culprit
        self.path = path

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return (
            f"no stable digest for {self.reason}{where}: leave the argument out of the "
            f"key with ignore=[...], or say what counts of such values with "
            f"register_hasher"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (_unhashable, (self.reason, self.path))

    def climb(self, parent: object, path: str) -> None:
        """Go one step out, to `parent`, from which `path` leads to the culprit."""
        self.path = path
        self.culprit = parent


def _unhashable(reason: str, path: str) -> UnhashableArgument:
    # The culprit stays behind when the error goes to another process.
    return UnhashableArgument(reason, path=path)


class ContainerError(CacheKitError, ValueError):
    """A file from which no value can be read."""


class CorruptedFile(ContainerError):
    """Bytes that should hold a value are damaged, truncated or of another format."""


class UnsupportedContainer(ContainerError):
    """A container of a later format, or compressed in a way that is not known here.

    It is not damaged, so a cached call leaves it where it is.
    """


class UntrustedContent(ContainerError):
    """A file asks for what safe loading does not allow, or is not signed as it should.

    The signature is that of another secret or another entry, or there is none.
    """


class StoreError(CacheKitError):
    """A store cannot be used: it is foreign, of a newer format, or unreachable."""


class EntryNotFound(CacheKitError, KeyError):
    """What was asked for is no entry of the store, or more than one matches.

    Also a `KeyError`, which is what joblib raises where a result is gone.
    """

    def __str__(self) -> str:
        return Exception.__str__(self)  # a KeyError would show its repr


class CacheMiss(CacheKitError, LookupError):
    """A call has no stored result, and only stored results were asked for."""


class MissingExtra(CacheKitError, ImportError):
    """An optional dependency is not installed.

    Parameters
    ----------
    needed_for : str
        What the user asked for, as in ``"cachekit run topics"``.
    extra : str
        The extra of the ``cachekit-lab`` distribution that brings it.
    """

    def __init__(self, needed_for: str, extra: str) -> None:
        super().__init__(
            f"{needed_for} needs packages that are not installed; "
            f"get them with: python -m pip install 'cachekit-lab[{extra}]'"
        )
        self.needed_for = needed_for
        self.extra = extra

    def __reduce__(self) -> tuple[object, ...]:
        return (MissingExtra, (self.needed_for, self.extra))


class PipelineError(CacheKitError):
    """A bundled pipeline cannot go on."""


class CacheWarning(UserWarning):
    """The cache could not be read or written; the call was computed instead."""


def warn(message: str) -> None:
    """Issue a `CacheWarning` at the line of the user's that called the cache."""
    frame: types.FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and _is_of_the_cache(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(CacheWarning(message), stacklevel=level)


def _is_of_the_cache(frame: types.FrameType) -> bool:
    ours = ("cachekit.hashing.", "cachekit.memoization.", "cachekit.stores.")
    return str(frame.f_globals.get("__name__")).startswith(ours)
