"""What cached functions and those that are not have in common: they wrap a function."""

from __future__ import annotations

import functools
import inspect
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

    def by_value(self) -> tuple[Any, ...]:
        """Return what it is made anew of where its name leads nowhere."""
        raise NotImplementedError

    def global_name(self) -> str | None:
        """Return the name that leads to this very object in another process too."""
        name = getattr(self.func, "__qualname__", "")
        home = getattr(self.func, "__module__", None) or ""
        if home == "__main__" and _is_pickled_by_value():
            return None
        module = sys.modules.get(home)
        if module is None or not (module.__spec__ or hasattr(module, "__file__")):
            return None  # typed at a prompt
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else None


def _is_pickled_by_value() -> bool:
    """Tell whether cloudpickle asks, whose reader may run another script, or none.

    Of all that asks how an object is to be pickled, it alone is written in Python.
    """
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    while frame is not None and frame.f_code.co_name in ("__reduce__", "__reduce_ex__"):
        frame = frame.f_back
    where = "" if frame is None else str(frame.f_globals.get("__name__"))
    return where.startswith("cloudpickle.")


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
        self.__doc__ = cached.__doc__
        self.__module__ = cached.__module__

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the cached function with the instance."""
        return self.__func__(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Only what the class does not have: `__func__` is absent while unpickling.
        found = getattr(object.__getattribute__(self, "__func__"), name)
        if name == "put":
            return lambda value, /, *args, **kwargs: found(
                value, self.__self__, *args, **kwargs
            )
        if name == "map":
            return functools.partial(_map_with, self.__func__, self.__self__)
        if name in _OF_A_CALL:
            return functools.partial(found, self.__self__)
        return found

    @property
    def __signature__(self) -> inspect.Signature:
        """The parameters but for the first, which has its argument."""
        return inspect.signature(types.MethodType(self.__func__.func, self.__self__))

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
        owner, name = self.__self__, self.__func__.__name__
        if isinstance(owner, type) and getattr(owner, name, None) == self:
            return (getattr, (owner, name))  # the function has no name of its own
        return (BoundMethod, (self.__func__, owner))

    def __cachekit_hash__(self) -> object:
        """Count by the function's code and the instance's state, as a method does."""
        return types.MethodType(self.__func__.func, self.__self__)


class CachedClassMethod(classmethod):  # type: ignore[type-arg]
    """A cached class method.

    From Python 3.13 on, a plain one no longer asks what it holds to bind itself, and
    gives out a method without `lookup` and the others.
    """

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return BoundMethod(self.__func__, type(instance) if owner is None else owner)


def _map_with(cached: Any, instance: object, iterable: Any, **options: Any) -> Any:
    """Call a cached method of an instance with each item."""
    from cachekit.memoization.many import map_calls
    from cachekit.memoization.uncached import NotMemorizedFunc

    if isinstance(cached, NotMemorizedFunc):
        return [cached(instance, item) for item in iterable]
    return map_calls(cached, iterable, bound=(instance,), **options)


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
