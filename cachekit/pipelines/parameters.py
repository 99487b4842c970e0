"""The hyper-parameters of a pipeline: its `const` module, and what a user sets instead.

A constant says in its annotation what it may be::

    N_FOLDS: Annotated[int, Between(2, 20)] = 5
    MODEL: Annotated[str, OneOf("ridge", "lasso")] = "ridge"
"""

from __future__ import annotations

import ast
import difflib
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from cachekit.errors import PipelineError


@dataclass(frozen=True)
class Between:
    """A number in a range, its ends included; of a tuple, each item.

    Parameters
    ----------
    low, high : float
        The ends.
    least : int, default 1
        How many items a tuple has at least.
    """

    low: float
    high: float
    least: int = 1

    def allows(self, value: Any) -> bool:
        """Tell whether a value is in the range."""
        items = value if isinstance(value, tuple) else (value,)
        is_long = len(items) >= self.least
        return is_long and all(self.low <= item <= self.high for item in items)

    def __str__(self) -> str:
        return f"{self.low:,} to {self.high:,}"


@dataclass(frozen=True, init=False)
class OneOf:
    """One of some values; of a tuple, each item, of one at least.

    Parameters
    ----------
    *choices : object
        The values.
    """

    choices: tuple[Any, ...]

    def __init__(self, *choices: Any) -> None:
        object.__setattr__(self, "choices", choices)

    def allows(self, value: Any) -> bool:
        """Tell whether a value is one of them."""
        items = value if isinstance(value, tuple) else (value,)
        return bool(items) and all(item in self.choices for item in items)

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.choices))


class Parameters(Mapping[str, Any]):
    """Hyper-parameters by name, also as attributes: ``parameters.N_FOLDS``.

    Parameters
    ----------
    values : mapping of str to object
        The values by name.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name in vars(self).get("_values", {}):
            return self._values[name]
        raise AttributeError(f"there is no parameter {name}")

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.items())
        return f"Parameters({inside})"


def read_parameters(const: ModuleType, **given: Any) -> Parameters:
    """Return the constants of a module, with other values for some of them.

    Parameters
    ----------
    const : module
        Its names in capitals are the parameters.
    **given : object
        Values by name, which are checked.

    Raises
    ------
    PipelineError
        If there is no such parameter, or it cannot have the value.

    Examples
    --------
    >>> from cachekit.pipelines.topics import const
    >>> read_parameters(const, N_TOPICS=3).N_TOPICS
    3
    """
    values = _defaults(const)
    for name, value in given.items():
        _check_name(name, values)
        values[name] = _checked(name, value, values[name], _limit(const, name))
    return Parameters(values)


def parse_settings(const: ModuleType, settings: Iterable[str]) -> Parameters:
    """Return the constants of a module, with values that a user has typed.

    Parameters
    ----------
    const : module
        Its names in capitals are the parameters.
    settings : iterable of str
        Each ``NAME=VALUE``: numbers, texts with or without quotes, ``True``, or tuples
        as in ``(0.1, 1, 10)`` or ``nmf, lda``. Of two for one name the last counts.

    Raises
    ------
    PipelineError
        If one of them has another form, no parameter, or not its type or range.
    """
    defaults = _defaults(const)
    given: dict[str, Any] = {}
    for setting in settings:
        name, is_setting, text = setting.partition("=")
        name = name.strip()
        if not is_setting:
            raise PipelineError(f"{setting!r} is no setting; write NAME=VALUE")
        _check_name(name, defaults)
        given[name] = _parse(text.strip(), defaults[name])
    return read_parameters(const, **given)


def describe_parameters(const: ModuleType) -> list[tuple[str, str]]:
    """Return name, and value and range, of each parameter; for people."""
    described = []
    for name, value in _defaults(const).items():
        limit = _limit(const, name)
        text = repr(value)
        if len(text) > 40:
            text = f"{text[:39]}…"
        described.append((name, text if limit is None else f"{text}  ({limit})"))
    return described


def _defaults(const: ModuleType) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(const).items()
        if name.isupper() and not name.startswith("_")
    }


def _limit(const: ModuleType, name: str) -> Between | OneOf | None:
    hints = typing.get_type_hints(const, include_extras=True)
    for said in getattr(hints.get(name), "__metadata__", ()):
        if isinstance(said, (Between, OneOf)):
            return said
    return None


def _check_name(name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(name.upper(), names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    raise PipelineError(f"there is no parameter {name}; {hint}")


def _parse(text: str, default: Any) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        if isinstance(default, tuple):  # texts without quotes
            return tuple(part.strip() for part in text.split(","))
        return text  # the check tells


def _checked(name: str, value: Any, default: Any, limit: Between | OneOf | None) -> Any:
    value = _as_type_of(name, value, default)
    if limit is not None and not limit.allows(value):
        raise PipelineError(f"{name}={value!r} is not possible: it is {limit}")
    return value


def _as_type_of(name: str, value: Any, default: Any) -> Any:
    """Return a value as what its constant is: a whole number as a float, if so."""
    if isinstance(default, tuple):
        items = value if isinstance(value, (tuple, list)) else (value,)
        like = default[0] if default else ""
        return tuple(_as_type_of(name, item, like) for item in items)
    if type(default) is float and type(value) is int:
        return float(value)
    if type(default) is str and type(value) in (int, float):  # a text of digits
        return str(value)
    if default is not None and type(value) is not type(default):
        is_now = _KINDS.get(type(value), "of another kind")
        has_to_be = _KINDS.get(type(default), type(default).__name__)
        raise PipelineError(
            f"{name}={value!r} is {is_now}, and has to be {has_to_be}, as {default!r}"
        )
    return value


_KINDS: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "True or False",
    tuple: "several values",
    list: "several values",
}
