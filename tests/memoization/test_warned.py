"""Warnings of a call are in its record, and are shown as ever."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from cachekit import Memory, Parallel, delayed
from cachekit.memoization import Record
from cachekit.memoization.warned import LONGEST_WARNING, MOST_WARNINGS


def warn_of(text: Any) -> int:
    warnings.warn(text, stacklevel=1)
    return 1


def noted(memory: Memory, function: Any, *args: Any) -> list[str]:
    record = memory.cache(function).call_and_shelve(*args).record
    assert isinstance(record, Record)
    return record.warnings


def test_a_warning_is_shown_and_noted(memory: Memory) -> None:
    before = warnings.showwarning

    with pytest.warns(UserWarning, match="not converged") as shown:
        (text,) = noted(memory, warn_of, "not converged")

    assert len(shown) == 1
    assert text.startswith("UserWarning at test_warned.py:")
    assert text.endswith(": not converged")
    assert warnings.showwarning is before


def test_a_hit_does_not_warn_again(memory: Memory) -> None:
    cached = memory.cache(warn_of)
    with pytest.warns(UserWarning, match="once"):
        cached("once")

    assert cached("once") == 1


def test_what_the_call_catches_is_not_noted(memory: Memory) -> None:
    def careful() -> int:
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            return warn_of("caught")

    assert noted(memory, careful) == []


def test_what_is_passed_over_is_not_noted(memory: Memory) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert noted(memory, warn_of, "passed over") == []


def test_a_call_inside_another_has_its_own(memory: Memory) -> None:
    inner = memory.cache(warn_of)

    def outer() -> int:
        value = inner("inside")
        warnings.warn("outside", stacklevel=1)
        return value

    with pytest.warns(UserWarning, match="inside|outside") as shown:
        (text,) = noted(memory, outer)

    assert text.endswith(": outside")
    assert inner.call_and_shelve("inside").record.warnings[0].endswith(": inside")
    assert len(shown) == 2


def test_generators_and_coroutines_have_theirs(memory: Memory) -> None:
    @memory.cache
    def items() -> Iterator[int]:
        for number in range(2):
            warnings.warn(f"item {number}", stacklevel=1)
            yield number

    @memory.cache
    async def soon() -> int:
        await asyncio.sleep(0)
        return warn_of("soon")

    with pytest.warns(UserWarning, match="item"):
        assert list(items()) == [0, 1]
    with pytest.warns(UserWarning, match="soon"):
        assert asyncio.run(soon()) == 1

    texts = [
        text for one in memory.entries() if one.record for text in one.record.warnings
    ]
    assert sorted(text.rpartition(": ")[2] for text in texts) == [
        "item 0",
        "item 1",
        "soon",
    ]


def test_of_many_and_long_ones_some_are_noted(memory: Memory) -> None:
    def loud() -> None:
        for number in range(MOST_WARNINGS + 5):
            warnings.warn(f"{number} {'a' * 1000}\x1b[31m\n", stacklevel=1)

    with pytest.warns(UserWarning, match="aaa") as shown:
        found = noted(memory, loud)

    assert len(shown) == MOST_WARNINGS + 5
    assert len(found) == MOST_WARNINGS
    assert {len(text) for text in found} == {LONGEST_WARNING}


def test_a_warning_without_a_text_is_noted(memory: Memory) -> None:
    class Mute(UserWarning):
        def __str__(self) -> str:
            raise ZeroDivisionError

    def warn_mutely() -> None:
        warnings.showwarning(Mute(), Mute, "a.py", 3)

    shown: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings, "showwarning", lambda *args: shown.append(args))
        found = noted(memory, warn_mutely)

    assert found == ["Mute at a.py:3: <its text raised ZeroDivisionError>"]
    assert len(shown) == 1


def test_threads_keep_theirs_apart_and_leave_nothing(memory: Memory) -> None:
    before = warnings.showwarning
    cached = memory.cache(warn_of)

    with pytest.warns(UserWarning, match="thread"):
        Parallel(n_jobs=4, backend="threading")(
            delayed(cached)(f"thread {number}") for number in range(20)
        )

    records = [one.record for one in memory.entries()]
    assert {len(one.warnings) for one in records if one} == {1}
    assert warnings.showwarning is before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_of_a_process_that_computes_is_not_stuck(memory: Memory) -> None:
    cached = memory.cache(warn_of)
    runs, goes_on = threading.Event(), threading.Event()

    def slow() -> None:
        runs.set()
        goes_on.wait(10)

    thread = threading.Thread(target=memory.cache(slow, track="off"))
    thread.start()
    runs.wait(10)
    child = os.fork()
    if child == 0:
        try:
            warnings.simplefilter("ignore")
            os._exit(cached("of the child") - 1)
        finally:
            os._exit(1)
    goes_on.set()
    thread.join()

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
