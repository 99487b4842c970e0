"""Objects that pickle cannot send, wrapped so that cloudpickle does."""

from __future__ import annotations

from typing import Any


def wrap_non_picklable_objects(obj: Any, keep_wrapper: bool = True) -> Any:
    """Wrap a function, a class or an object so that any worker can be sent it.

    Parameters
    ----------
    obj : object
        What pickle by itself cannot take, such as a class inside a function.
    keep_wrapper : bool, default True
        Whether what arrives in the worker is wrapped as well.

    Returns
    -------
    object
        Behaves as `obj` does.
    """
    import loky

    return loky.wrap_non_picklable_objects(obj, keep_wrapper=keep_wrapper)
