"""One call for each of many items: `MemorizedFunc.map`.

Keys are computed and stored results read in this process; only what has to be computed
goes to workers. Next door are the `answers`, and who else computes: the `workers`.
"""

from __future__ import annotations

import contextlib
import inspect
import operator
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from cachekit import nesting
from cachekit.errors import warn
from cachekit.memoization.answers import Answers, Call, naming
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.workers import Pool


def map_calls(
    cached: MemorizedFunc[..., Any],
    iterable: Iterable[Any],
    *,
    n_jobs: int = 1,
    progress: bool = False,
    bound: tuple[Any, ...] = (),
) -> list[Any]:
    """Call a cached function with each item; see `MemorizedFunc.map`.

    Items that are equal share a computation, but each has a result of its own where
    that was stored.

    Parameters
    ----------
    cached : MemorizedFunc
        The function; neither a coroutine nor a generator function.
    iterable : iterable
        The items, taken one by one as they can be computed.
    n_jobs : int, default 1
        Processes that compute: 1 is this one; -1 one for each core, -2 one fewer.
    progress : bool, default False
        Show a bar on stderr, with what was stored and what was computed.
    bound : tuple, optional
        Arguments before the item: of a method, the instance.

    Returns
    -------
    list
        The results, in the order of the items.

    Raises
    ------
    Exception
        The first that a call raises, with a note which item that was. Calls not yet
        begun are given up; workers finish and commit those that run.
    BrokenProcessPool
        If a worker ends in the midst of a call.
    CacheMiss
        At the first result that is not stored, if the memory computes none.
    TypeError
        If the function is of another kind, or `n_jobs` no whole number.
    ValueError
        If `n_jobs` is 0.
    """
    _check_kind(cached)
    most = count_workers(n_jobs)
    if nesting.is_alone():
        most = 1
    if most > 1 and nesting.is_importing_in_worker():
        warn(
            f"{cached.func_id}() is computed without workers, for a worker imports the "
            f"module that maps it: put the map under `if __name__ == '__main__':`"
        )
        most = 1
    with _shown(iterable, cached) if progress else contextlib.nullcontext() as bar:
        answers = Answers(cached, bar)
        calls = _misses(cached, iterable, bound, answers)
        if most == 1:
            _compute_here(cached, calls, answers)
        else:
            _compute_in_workers(cached, calls, answers, most)
    return answers.results


def _check_kind(cached: MemorizedFunc[..., Any]) -> None:
    name = cached.func_id
    if inspect.iscoroutinefunction(cached.func):
        raise TypeError(
            f"{name}() is a coroutine function, of which map() would only collect "
            f"coroutines: write await asyncio.gather(*[f(item) for item in items])"
        )
    kinds = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_of_kind(cached.func) for is_of_kind in kinds):
        raise TypeError(
            f"{name}() is a generator function, whose results are streams: write "
            f"[f(item) for item in items], or have it return a list"
        )


def count_workers(n_jobs: int) -> int:
    """Return how many processes are meant: of negative numbers, -1 is all cores."""
    try:
        number = operator.index(n_jobs)
    except TypeError:
        raise TypeError(f"n_jobs={n_jobs!r} is no whole number") from None
    if number == 0:
        raise ValueError(
            "n_jobs=0 has no meaning: 1 is no worker, -1 one for each core"
        )
    if number > 0:
        return number
    import loky

    cores: int = loky.cpu_count()
    return max(1, cores + 1 + number)


@contextlib.contextmanager
def _shown(iterable: Iterable[Any], cached: MemorizedFunc[..., Any]) -> Iterator[Any]:
    from tqdm.auto import tqdm

    try:
        total = len(iterable)  # type: ignore[arg-type]
    except TypeError:
        total = None
    name = cached.func_id.rpartition(".")[2]  # partials have no other
    with tqdm(total=total, desc=name, unit=" items", file=sys.stderr) as bar:
        yield bar


# --- what is not stored ---


def _misses(
    cached: MemorizedFunc[..., Any],
    iterable: Iterable[Any],
    first: tuple[Any, ...],
    answers: Answers,
) -> Iterator[Call]:
    """Answer the items with stored results, and yield those to be computed."""
    for position, item in enumerate(iterable):
        args = (*first, item)
        with naming(position, item):
            bound = cached._bind(*args)
            key = cached._key(bound)
            answers.results.append(None)
            if answers.waits(position, key.entry):
                continue
            hit = answers.find(key.entry)
            if hit is None:
                cached._entries.check_may_compute(key.entry)
        if hit is None:
            call = Call(position, args, bound, key)
            answers.begin(call)
            yield call
        else:
            answers.answer(position, hit)


# --- who computes ---


def _compute_here(
    cached: MemorizedFunc[..., Any], calls: Iterable[Call], answers: Answers
) -> None:
    for call in calls:
        with naming(call.position, call.args[-1]):
            hit = cached._compute(call.key, call.bound, call.args, {})
        answers.finish(call, hit)


def _compute_in_workers(
    cached: MemorizedFunc[..., Any],
    calls: Iterable[Call],
    answers: Answers,
    most: int,
) -> None:
    pool = Pool(cached, answers, most)
    try:
        for call in calls:
            pool.begin(call)
        pool.wait_for_all()
    except Exception:
        pool.end(wait=False)
        raise
    except BaseException:  # Ctrl-C
        pool.end(kill=True)
        raise
    pool.end()
