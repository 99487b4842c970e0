"""How functions, items and errors get to the workers of a map and back.

A worker does not import the main module: what that defines goes by value, and with the
lines of its source. An error comes back as itself, or as much of it as can be raised.
"""

from __future__ import annotations

import io
import linecache
import pickle
import sys
import traceback
import types
from typing import Any, NamedTuple

import cloudpickle

from cachekit.memoization.wrapping import Wrapper
from cachekit.stores import DictStore

# --- there ---


def pack(value: object) -> bytes:
    """Pickle what goes to a worker."""
    stream = io.BytesIO()
    packer = _Packer(stream, protocol=pickle.HIGHEST_PROTOCOL)
    packer.dump(value)
    return pickle.dumps((packer.sources, stream.getvalue()))


def unpack(message: bytes) -> Any:
    """Return what was packed; its source can be read from now on."""
    sources, content = pickle.loads(message)
    for name, lines in sources.items():
        # With no time of a file, they stay, and what was parsed of them.
        linecache.cache.setdefault(name, (len(lines), None, lines, name))
    return pickle.loads(content)


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles what the main module defines, which a worker does not import.

    Attributes
    ----------
    sources : dict of str to list of str
        For each file with code in the pickle, its lines as they were read here: in a
        notebook there is no file, and a script may have been edited since.
    has_met_memory : bool
        Whether there was a store in memory, of which an empty one is sent.
    """

    def __init__(self, stream: io.BytesIO, *, protocol: int) -> None:
        super().__init__(stream, protocol)
        self.sources: dict[str, list[str]] = {}
        self.has_met_memory = False

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, Wrapper) and _is_of_main(thing.func):
            return thing.by_value()  # its own name would lead nowhere
        if isinstance(thing, DictStore):
            self.has_met_memory = True
            return (DictStore, ())
        reduced = super().reducer_override(thing)
        if isinstance(thing, (types.FunctionType, type)) and isinstance(reduced, tuple):
            self._note_source(thing)
            if _is_of_main(thing) and _main_has(thing):
                reduced = (_place, (thing.__name__, *reduced[:2]), *reduced[2:])
        return reduced

    def _note_source(self, thing: Any) -> None:
        code = getattr(thing, "__code__", None)
        if code is not None:
            entry = linecache.cache.get(code.co_filename, ())
            if len(entry) == 4:  # else it was not read
                self.sources[code.co_filename] = list(entry[2])


def holds_memory(store: object) -> bool:
    """Tell whether a store, or a part of it, is in the memory of this process."""
    packer = _Packer(io.BytesIO(), protocol=pickle.HIGHEST_PROTOCOL)
    packer.dump(store)
    return packer.has_met_memory


def _is_of_main(thing: Any) -> bool:
    return getattr(thing, "__module__", None) == "__main__"


def _main_has(thing: Any) -> bool:
    return vars(sys.modules["__main__"]).get(thing.__qualname__) is thing


def _place(name: str, make: Any, parts: tuple[Any, ...]) -> Any:
    """Make a function or class of the main module, and have it found there by name.

    Results are then pickled by that name, and have the class of the script when they
    are loaded.
    """
    thing = make(*parts)
    vars(sys.modules["__main__"]).setdefault(name, thing)
    return thing


# --- and back ---


def packed_error(error: BaseException) -> bytes:
    """Pickle an error as it is, or else as much of it as can be raised again."""
    text = "".join(traceback.format_exception(error))
    for candidate in (
        error,
        _Renewed(type(error), error.args, vars(error)),
        _Renewed(type(error), (str(error),), {}),
    ):
        try:
            content: bytes = cloudpickle.dumps((candidate, text))
            if type(pickle.loads(content)[0]) is type(error):
                return content
        except Exception:  # noqa: BLE001  (it is the user's code)
            continue
    return pickle.dumps((RuntimeError(text.splitlines()[-1]), text))


class _Renewed(NamedTuple):
    """An error whose class cannot be called with its arguments."""

    kind: type[BaseException]
    arguments: tuple[Any, ...]
    state: dict[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return (_renew, tuple(self))


def _renew(
    kind: type[BaseException], arguments: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    vars(error).update(state)
    return error


def error_from(content: bytes) -> BaseException:
    """Return an error that was packed, caused by its traceback in the worker."""
    error, text = pickle.loads(content)
    error.__cause__ = _InWorker(text)
    return error  # type: ignore[no-any-return]


class _InWorker(Exception):
    """The traceback of an error in a worker, as text: the cause of it here."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"
