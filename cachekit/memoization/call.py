"""From a call to its key: bind the arguments, hash each, hash them all.

The digests of the arguments are kept apart, so that it can be told which of them
made a call new.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from cachekit.errors import UnhashableArgument
from cachekit.hashing import HASH_VERSION, digest
from cachekit.memoization.mapped import known_digest
from cachekit.stores import EntryKey

# What joblib's users write for the variable arguments.
_STARS: dict[str, inspect._ParameterKind] = {
    "*": inspect.Parameter.VAR_POSITIONAL,
    "**": inspect.Parameter.VAR_KEYWORD,
}

_STAR_OF = {kind: star for star, kind in _STARS.items()}

Binder = Callable[..., dict[str, object]]


class CallKey(NamedTuple):
    """What identifies a call, in parts.

    Attributes
    ----------
    entry : EntryKey
        Function, fingerprint and digest of the whole call.
    arguments : dict of str to str
        Digest of each bound argument that takes part.
    """

    entry: EntryKey
    arguments: dict[str, str]


def call_key(function: str, fingerprint: str, bound: dict[str, object]) -> CallKey:
    """Hash a call.

    Parameters
    ----------
    function : str
        ``module.qualname``.
    fingerprint : str
        Of the function's code.
    bound : dict of str to object
        The arguments, as a binder returns them.

    Raises
    ------
    UnhashableArgument
        If an argument has no digest; the message begins its path with the
        argument's name.
    """
    values = bound.values()
    if len(values) <= _FEW and all(map(is_small, values)):
        return _key_of_small(function, fingerprint, tuple(bound), *values)
    return _key_of(function, fingerprint, bound)


def _key_of(function: str, fingerprint: str, bound: Mapping[str, object]) -> CallKey:
    arguments = {}
    for name, value in bound.items():
        try:
            arguments[name] = digest_of(value)
        except UnhashableArgument as error:
            error.climb(None, name + error.path)
            raise
    return key_of_digests(function, fingerprint, arguments)


def key_of_digests(
    function: str, fingerprint: str, arguments: dict[str, str]
) -> CallKey:
    """Return the key of a call of which the digests of the arguments are known."""
    parts = [str(HASH_VERSION), function, fingerprint]
    for item in arguments.items():
        parts += item
    whole = digest("\n".join(parts))
    return CallKey(EntryKey(function, fingerprint, whole), arguments)


@functools.lru_cache(maxsize=4096, typed=True)
def _key_of_small(
    function: str, fingerprint: str, names: tuple[str, ...], *values: object
) -> CallKey:
    # A loop that makes the same calls again has their keys in a fifth of the time.
    arguments = dict(zip(names, map(_digest_small, values), strict=True))
    return key_of_digests(function, fingerprint, arguments)


def changed_arguments(
    bound: Mapping[str, Any], digests: Mapping[str, str]
) -> list[str]:
    """Return the names of the arguments that are not what they were.

    Parameters
    ----------
    bound : mapping of str to object
        The arguments, after the call.
    digests : mapping of str to str
        Their digests before it.
    """
    return [
        name
        for name, before in digests.items()
        if type(bound[name]) not in _UNCHANGING and not _is_still(bound[name], before)
    ]


def _is_still(value: object, before: str) -> bool:
    try:
        return digest_of(value) == before
    except Exception:  # noqa: BLE001  (it had a digest, and its own code may fail now)
        return False


_UNCHANGING = frozenset({int, float, complex, bool, str, bytes, type(None)})


def digest_of(value: Any) -> str:
    """Return the digest of an argument or a result; small ones are remembered."""
    if is_small(value):
        return _digest_small(value)
    if type(value).__name__ == "memmap":
        known = known_digest(value)
        if known is not None:
            return known
    return digest(value)


def is_small(value: Any) -> bool:
    """Tell a small number, a flag or a short text from all else."""
    kind = type(value)
    return (
        (kind is str and len(value) <= _LONGEST_TEXT)
        or (kind is int and -_LARGEST <= value <= _LARGEST)
        or kind is bool
        or value is None
    )


# Defaults, names and flags are the same in one call after another. By type too, for
# 1 == True; but no floats, for 0.0 == -0.0, and these have two digests.
_digest_small = functools.lru_cache(maxsize=4096, typed=True)(digest)

# So that what is kept takes a few megabytes at most.
_FEW = 8
_LONGEST_TEXT = 64
_LARGEST = 2**63


def compile_binder(
    function: Callable[..., Any], ignore: Collection[str] = ()
) -> Binder:
    """Make a function that binds arguments as `function` would.

    Python itself does the binding, through a function compiled with the same
    parameters: ten times faster than `inspect.Signature.bind`, and the errors for
    wrong arguments read as if the user's function had raised them.

    Parameters
    ----------
    function : callable
        Whose parameters to take.
    ignore : collection of str
        Parameters that take no part in the key.

    Returns
    -------
    callable
        Takes the arguments of a call; returns parameter names and values, with
        defaults filled in and ignored ones left out.
    """
    try:
        parameters = list(parameters_of(function, ignore).values())
    except ValueError:  # some C functions say nothing of their parameters
        return lambda *args, **kwargs: {"args": args, "kwargs": kwargs}
    defaults = {f"default_{i}": p.default for i, p in enumerate(parameters)}
    dropped = ignored_names(function, ignore)
    kept = [p.name for p in parameters if p.name not in dropped]
    body = ", ".join(f"{name!r}: {name}" for name in kept)
    source = f"def bind({_declare(parameters)}): return {{{body}}}"
    exec(source, defaults)
    binder: Any = defaults.pop("bind")
    binder.__name__ = getattr(function, "__name__", type(function).__name__)
    binder.__qualname__ = getattr(function, "__qualname__", binder.__name__)
    return binder  # type: ignore[no-any-return]


def ignored_names(
    function: Callable[..., Any], ignore: Collection[str]
) -> frozenset[str]:
    """Return the parameters that an `ignore` option names.

    Raises
    ------
    ValueError
        If the function has no such parameter, or `ignore` is a bare string.
    """
    if isinstance(ignore, str):
        raise ValueError(f"ignore is a list of names: write ignore=[{ignore!r}]")
    if not ignore:
        return frozenset()
    return _named("ignore", function, ignore, parameters_of(function, ignore))


def redacted_names(
    function: Callable[..., Any], redact: Collection[str], ignore: Collection[str]
) -> frozenset[str]:
    """Return the parameters that a `redact` option names, as calls are bound.

    Raises
    ------
    ValueError
        If there is no such parameter: what was meant would be in the record.
    """
    if not redact:
        return frozenset()
    return _named("redact", function, redact, parameters_of(function, ignore))


def _named(
    option: str,
    function: Callable[..., Any],
    wanted_names: Collection[str],
    parameters: Mapping[str, inspect.Parameter],
) -> frozenset[str]:
    """Return the parameters that an option names, with the stars spelled out."""
    kinds = {parameter.kind: name for name, parameter in parameters.items()}
    names = set()
    for wanted in wanted_names:
        name = kinds.get(_STARS[wanted]) if wanted in _STARS else wanted
        if name not in parameters:
            called = getattr(function, "__name__", function)
            raise ValueError(
                f"{option}={list(wanted_names)!r}: {called}() has no parameter "
                f"{wanted!r}, only {', '.join(parameters) or 'none'}"
            )
        names.add(str(name))
    return frozenset(names)


def parameters_of(
    function: Callable[..., Any], ignore: Collection[str]
) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function, or of the one that it wraps.

    A wrapper binds by its own parameters, which may differ from those of what it
    wraps. Where `ignore` names one of the latter's, calls are bound by them.
    """
    own = inspect.signature(function, follow_wrapped=False).parameters
    if all(name in own or name in _STARS for name in ignore):
        return own
    return inspect.signature(function).parameters


def _declare(parameters: list[inspect.Parameter]) -> str:
    """Write a parameter list; each default goes by a name, not by its value.

    (a, /, b=1, *, c)  ->  "a, /, b=default_1, *, c"
    """
    declared = []
    positional_only = keyword_only = False
    for number, parameter in enumerate(parameters):
        if positional_only and parameter.kind is not parameter.POSITIONAL_ONLY:
            declared.append("/")
        positional_only = parameter.kind is parameter.POSITIONAL_ONLY
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            declared.append("*")
        keyword_only |= parameter.kind in (
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        )
        text = _STAR_OF.get(parameter.kind, "") + parameter.name
        if parameter.default is not parameter.empty:
            text += f"=default_{number}"
        declared.append(text)
    if positional_only:
        declared.append("/")
    return ", ".join(declared)
