"""What cached functions and those that are not have in common: they wrap a function."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, cast

from cachekit.hashing import function_name

P = ParamSpec("P")
R = TypeVar("R")


class Wrapper(Generic[P, R]):
    """Looks like the function that it wraps, and binds like it to an instance.

    Parameters
    ----------
    function : callable
        The function.
    """

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[P, R]) -> None:
        # Names and docstring, but not the attributes: another cached function may be
        # what is wrapped, and its attributes are not ours.
        functools.update_wrapper(cast(Any, self), function, updated=())
        self.func = function

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance, which is then the first argument of each call."""
        return self if instance is None else BoundMethod(self, instance)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({function_name(self.func)})"

    def __cachekit_hash__(self) -> object:
        """Count, as an argument or a global, by the code of the function."""
        return self.func

    def global_name(self) -> str | None:
        """Return the name that leads to this very object in another process too."""
        name = getattr(self.func, "__qualname__", "")
        module = sys.modules.get(getattr(self.func, "__module__", None) or "")
        if module is None or not (module.__spec__ or hasattr(module, "__file__")):
            return None  # typed at a prompt
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else None


class BoundMethod:
    """A cached method of an instance, which is the first argument of what it calls.

    Parameters
    ----------
    cached : Wrapper
        The cached function.
    instance : object
        Its first argument.
    """

    def __init__(self, cached: Any, instance: object) -> None:
        self.__func__ = cached
        self.__self__ = instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the cached function with the instance."""
        return self.__func__(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Only what the class does not have: `__func__` is absent while unpickling.
        found = getattr(object.__getattribute__(self, "__func__"), name)
        if name == "put":
            return lambda value, *args, **kwargs: found(
                value, self.__self__, *args, **kwargs
            )
        if name in _OF_A_CALL:
            return functools.partial(found, self.__self__)
        return found

    def __repr__(self) -> str:
        return f"<bound {self.__func__!r} of {object.__repr__(self.__self__)}>"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BoundMethod)
            and self.__self__ is other.__self__
            and self.__func__ is other.__func__
        )

    def __hash__(self) -> int:
        return hash((id(self.__self__), id(self.__func__)))

    def __reduce__(self) -> tuple[Any, ...]:
        return (BoundMethod, (self.__func__, self.__self__))

    def __cachekit_hash__(self) -> object:
        """Count by the function's code and the instance's state, as a method does."""
        return types.MethodType(self.__func__.func, self.__self__)


# Methods of a cached function that take the arguments of a call.
_OF_A_CALL = frozenset(
    {
        "call",
        "call_and_shelve",
        "check_call_in_cache",
        "explain",
        "forget",
        "lookup",
    }
)
