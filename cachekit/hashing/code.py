"""The fingerprint of a function: a digest of the code that a call can run.

It covers the function, what it calls and the values that this code reads, so far as
they are the user's (`cachekit.hashing.boundary`), however far they are
(`cachekit.hashing.survey`). It is computed once in a process, and then guarded.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from cachekit.hashing import boundary, hasher
from cachekit.hashing.held import holds_users_code
from cachekit.hashing.survey import Survey
from cachekit.hashing.units import unit_name

Track = Literal["deep", "self", "off"]
Environment = Literal["record", "exact"]


class CodeVersion(NamedTuple):
    """What a fingerprint was made of, kept so that a miss can be explained.

    Attributes
    ----------
    fingerprint : str
        32 hexadecimal digits.
    units : dict of str to str
        Digest of each function, class and module that takes part, by name, without
        what it calls in turn.
    sources : dict of str to str
        Source of each unit that has one.
    libraries : dict of str to str
        Version of each library that is called.
    reads : dict of str to dict
        For each unit, digests of the values that it reads, by name; no texts, for
        some are secrets.
    """

    fingerprint: str
    units: dict[str, str]
    sources: dict[str, str]
    libraries: dict[str, str]
    reads: dict[str, dict[str, str]]


class Code:
    """The code of one function, and whether it is still what it was.

    Parameters
    ----------
    function : callable
        A function or class; anything else that can be called counts as a value.
    track : {"deep", "self", "off"}, default "deep"
        Follow what the function reads; take its own code alone; or take none.
    version : object, optional
        Any value that takes part in the fingerprint, to be changed by hand.
    depends : sequence, optional
        More functions, values, or files (as `pathlib.Path`) that take part.
    environment : {"record", "exact"}, default "record"
        Whether the versions of Python and of the libraries that are called take part.
    """

    def __init__(
        self,
        function: Callable[..., Any] | types.ModuleType,
        *,
        track: Track = "deep",
        version: object = None,
        depends: Sequence[Any] = (),
        environment: Environment = "record",
    ) -> None:
        _check_options(track, environment)
        self._function = function
        self._track = track
        self._salt = version
        self._depends = tuple(depends)
        self._environment = environment
        self._known: tuple[Survey, str] | None = None

    def fingerprint(self) -> str:
        """Return the fingerprint, computed anew if anything it covers has changed.

        Returns
        -------
        str
            32 hexadecimal digits.
        """
        known = self._known
        if known is None or not known[0].is_current():
            survey = self._take_survey()
            known = self._known = (survey, self._digest(survey))
        return known[1]

    def describe(self) -> CodeVersion:
        """Say what the present fingerprint is made of.

        Returns
        -------
        CodeVersion
            What a store keeps beside the entries of that version.
        """
        self.fingerprint()
        assert self._known is not None
        survey, fingerprint = self._known  # at once: a thread may take another survey
        units: dict[str, str] = {}
        sources: dict[str, str] = {}
        reads: dict[str, dict[str, str]] = {}
        for unit, name in zip(survey.units, self._names(survey), strict=True):
            units[name] = unit.digest
            if unit.source:
                sources[name] = unit.source
            if unit.values:
                reads[name] = unit.values
        return CodeVersion(fingerprint, units, sources, _versions(survey), reads)

    def _names(self, survey: Survey) -> list[str]:
        """Name each unit: a wrapper has the name of what it wraps, and comes first."""
        names: list[str] = []
        met: dict[str, int] = {}
        for unit in survey.units:
            name = unit.name
            if unit is survey.units[0] and name == unit_name(_no_code):
                name = function_name(self._function)
            met[name] = met.get(name, 0) + 1
            names.append(name if met[name] == 1 else f"{name} ({met[name]})")
        return names

    def _take_survey(self) -> Survey:
        root, deep = self._function, self._track == "deep"
        if self._track == "off":
            survey = Survey(_no_code, deep=deep)
        elif isinstance(root, (types.FunctionType, types.ModuleType)) or (
            isinstance(root, type) and is_followed(root)
        ):
            survey = Survey(root, deep=deep)
        else:
            # It goes by what it is made of: the functions of a partial, the class and
            # the state of an instance; or by name and version, if a library's.
            survey = Survey(_no_code, deep=deep)
            survey.depend_on("callable", root)
            library = _library_of(root)
            if library is not None:
                survey.depend_on("version", boundary.library_version(library))
        for number, thing in enumerate(self._depends):
            survey.depend_on(f"depends {number}", thing)
        return survey

    def _digest(self, survey: Survey) -> str:
        content: list[object] = [survey.content(), self._salt]
        if self._environment == "exact":
            content.append(["exact", sys.version, _versions(survey)])
        return hasher.digest(content)


def fingerprint(function: Callable[..., Any] | types.ModuleType) -> str:
    """Hash the code of a function, and of all that it can run and read.

    Parameters
    ----------
    function : callable or module
        A function, a class, a module, or anything else that can be called.

    Returns
    -------
    str
        32 hexadecimal digits, unchanged by comments, docstrings, annotations,
        formatting, line shifts and code that the function does not use.
    """
    return code_of(function).fingerprint()


def function_name(function: Any) -> str:
    """Return ``module.qualname``, the same when the module is run as a script.

    Parameters
    ----------
    function : callable
        The function; of a partial, what it calls counts, of an object, its class.

    Returns
    -------
    str
        As in ``"analysis.Model.fit"``.
    """
    target = getattr(function, "func", function)  # a partial goes by what it calls
    if not hasattr(target, "__qualname__"):
        target = type(target)
    return f"{boundary.module_name(target)}.{target.__qualname__}"


def is_followed(thing: Any) -> bool:
    """Tell whether a function or class counts by its code: is or holds the user's."""
    return boundary.is_users(boundary.home(thing)) or holds_users_code(thing)


# Functions and classes that were met in arguments. Bounded, since a lambda in an
# argument may be a new object at every call; the function is kept, so its id is too.
_codes: dict[int, Code] = {}
_MOST_CODES = 4096


def code_of(function: Any) -> Code:
    """Return the code of a function, the same object at every call."""
    code = _codes.get(id(function))
    if code is None:
        if len(_codes) >= _MOST_CODES:
            _codes.clear()
        code = _codes[id(function)] = Code(function)
    return code


def _library_of(thing: Any) -> str | None:
    """Return the installed package that a callable comes from, if it is from one."""
    module = str(getattr(thing, "__module__", None) or type(thing).__module__)
    top = module.partition(".")[0]
    if boundary.is_users(module) or top in sys.stdlib_module_names:
        return None
    return top


def _versions(survey: Survey) -> dict[str, str]:
    """Return the version of each library that is called."""
    names = sorted(survey.libraries | {"python"})
    return {name: boundary.library_version(name) for name in names}


def _check_options(track: str, environment: str) -> None:
    if track not in ("deep", "self", "off"):
        raise ValueError(f"track={track!r} is not 'deep', 'self' or 'off'")
    if environment not in ("record", "exact"):
        raise ValueError(f"environment={environment!r} is not 'record' or 'exact'")


def _no_code() -> None:
    """Stand in for the code of a function whose code is not tracked."""
