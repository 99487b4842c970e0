"""`delayed`: a call as a task."""

from __future__ import annotations

import functools
import inspect
import pickle

import pytest

from cachekit import delayed


def scaled(value: float, *, by: float = 2.0) -> float:
    """Return a multiple."""
    return value * by


def test_a_delayed_call_is_a_task() -> None:
    assert delayed(scaled)(1.0, by=3.0) == (scaled, (1.0,), {"by": 3.0})


def test_a_delayed_function_is_still_to_be_recognised() -> None:
    later = delayed(scaled)

    assert later.__name__ == "scaled"
    assert later.__qualname__ == "scaled"
    assert later.__doc__ == "Return a multiple."
    assert inspect.signature(later) == inspect.signature(scaled)
    assert inspect.unwrap(later) is scaled


def test_arguments_may_have_any_name() -> None:
    def echo(**kwargs: int) -> dict[str, int]:
        return kwargs

    function, args, kwargs = delayed(echo)(self=1, function=2)

    assert function(*args, **kwargs) == {"self": 1, "function": 2}


def test_what_has_no_name_can_be_delayed() -> None:
    later = delayed(functools.partial(scaled, by=4.0))

    function, args, kwargs = later(2.0)

    assert function(*args, **kwargs) == 8.0
    with pytest.raises(AttributeError, match="__name__"):
        _ = later.__name__


def test_what_cannot_be_called_is_not_delayed() -> None:
    with pytest.raises(TypeError, match=r"^delayed\(\) takes a function, not 3$"):
        delayed(3)  # type: ignore[arg-type]  # on purpose


def test_a_delayed_function_can_be_sent() -> None:
    later = pickle.loads(pickle.dumps(delayed(scaled)))

    assert later(1.0) == (scaled, (1.0,), {})


def test_a_method_can_be_delayed_where_it_is_defined() -> None:
    class Model:
        @delayed
        def fit(self, order: int) -> int:
            return order

    model = Model()

    function, args, kwargs = model.fit(3)

    assert args == (model, 3)
    assert function(*args, **kwargs) == 3
