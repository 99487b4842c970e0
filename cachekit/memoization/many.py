"""One call for each of many items: `MemorizedFunc.map`.

Keys are computed and stored results read in this process; only what has to be computed
goes to workers. A worker is a process with one call at a time, so that it is known
which call was lost with it, and none waits behind a long one. It commits its result
itself, and says no more than that it did.

First the calls and their answers, then who computes: this process or workers; then
what happens in a worker; last how functions, items and errors get there and back.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import linecache
import operator
import os
import pickle
import queue
import reprlib
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.machinery import ModuleSpec
from typing import Any, Literal, NamedTuple

import cloudpickle

from cachekit.errors import warn
from cachekit.memoization.call import CallKey
from cachekit.memoization.entries import Hit
from cachekit.memoization.function import MemorizedFunc
from cachekit.memoization.wrapping import Wrapper
from cachekit.stores import DictStore, EntryKey


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
    with _shown(iterable, cached) if progress else contextlib.nullcontext() as bar:
        answers = _Answers(cached, bar)
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
    number = operator.index(n_jobs)
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
    with tqdm(total=total, desc=cached.__name__, file=sys.stderr) as bar:
        yield bar


# --- the calls and their answers ---


class _Call(NamedTuple):
    """One item, of which the result is not stored."""

    position: int
    args: tuple[Any, ...]
    bound: dict[str, object]
    key: CallKey


class _Answers:
    """The results so far, by the position of their items."""

    def __init__(self, cached: MemorizedFunc[..., Any], bar: Any) -> None:
        self.results: list[Any] = []
        self._entries = cached._entries
        self._bar = bar
        self._counts = {"hits": 0, "computed": 0}
        # The position of what was computed, and of what equals a call that runs.
        self._computed: dict[EntryKey, int] = {}
        self._waiting: dict[EntryKey, list[int]] = {}

    def find(self, key: EntryKey) -> Hit | None:
        """Return the result of a call that is stored or was computed in this map."""
        hit = self._entries.look_up(key)
        if hit is None and key in self._computed:  # it could not be stored
            return (self.results[self._computed[key]],)
        return hit

    def waits(self, position: int, key: EntryKey) -> bool:
        """Note that an item equals one that is being computed; False if none does."""
        if key not in self._waiting:
            return False
        self._waiting[key].append(position)
        return True

    def begin(self, call: _Call) -> None:
        """Note that a call is being computed."""
        self._waiting[call.key.entry] = []

    def finish(self, call: _Call, hit: Hit) -> None:
        """Take the result of a computed call, and answer the items that equal it."""
        key = call.key.entry
        self._computed[key] = call.position
        self.answer(call.position, hit, "computed")
        for position in self._waiting.pop(key):
            self.answer(position, self.find(key) or hit, "hits")

    def answer(self, position: int, hit: Hit, how: str = "hits") -> None:
        """Take the result of an item."""
        self.results[position] = hit[0]
        if self._bar is not None:
            self._counts[how] += 1
            self._bar.set_postfix(self._counts, refresh=False)
            self._bar.update()


def _misses(
    cached: MemorizedFunc[..., Any],
    iterable: Iterable[Any],
    first: tuple[Any, ...],
    answers: _Answers,
) -> Iterator[_Call]:
    """Answer the items with stored results, and yield those to be computed."""
    for position, item in enumerate(iterable):
        args = (*first, item)
        with _naming(position, item):
            bound = cached._bind(*args)
            key = cached._key(bound)
            answers.results.append(None)
            if answers.waits(position, key.entry):
                continue
            hit = answers.find(key.entry)
            if hit is None:
                cached._entries.check_may_compute(key.entry)
        if hit is None:
            call = _Call(position, args, bound, key)
            answers.begin(call)
            yield call
        else:
            answers.answer(position, hit)


@contextlib.contextmanager
def _naming(position: int, item: object) -> Iterator[None]:
    """Note in an exception which item it comes from."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in map(), of {_named(position, item)}")
        raise


def _named(position: int, item: object) -> str:
    # An own __repr__ may have lines, and anything may go wrong in it.
    try:
        text = " ".join(_SHORT.repr(item).split())
    except Exception:  # noqa: BLE001
        text = object.__repr__(item)
    return f"item {position}: {text}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


# --- who computes ---


def _compute_here(
    cached: MemorizedFunc[..., Any], calls: Iterable[_Call], answers: _Answers
) -> None:
    for call in calls:
        with _naming(call.position, call.args[-1]):
            hit = cached._compute(call.key, call.bound, call.args, {})
        answers.finish(call, hit)


def _compute_in_workers(
    cached: MemorizedFunc[..., Any],
    calls: Iterable[_Call],
    answers: _Answers,
    most: int,
) -> None:
    pool = _Pool(cached, answers, most)
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


class _Worker:
    """A process that computes one call at a time."""

    def __init__(self, setup: _Setup) -> None:
        import loky

        self._executor = loky.ProcessPoolExecutor(
            1, initializer=_begin_worker, initargs=(setup,)
        )
        self.call: _Call | None = None
        self.message = b""
        self.answer: Future[_Answer] | None = None

    def begin(self, call: _Call, done: queue.SimpleQueue[_Worker]) -> None:
        """Have a call computed; the worker is then put into the queue."""
        self.call, self.message = call, _pack((call.key, call.args))
        self.answer = self._executor.submit(_compute_message, self.message)
        self.answer.add_done_callback(lambda _: done.put(self))

    def end(self, *, wait: bool, kill: bool) -> None:
        """End the process; if it is not killed, once its call is done."""
        self._executor.shutdown(wait=wait, kill_workers=kill)


class _Pool:
    """Workers, started as they are needed."""

    def __init__(
        self, cached: MemorizedFunc[..., Any], answers: _Answers, most: int
    ) -> None:
        self._cached = cached
        self._answers = answers
        self._most = most
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._done: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    @functools.cached_property
    def _setup(self) -> _Setup:
        """What a worker begins with: the function is pickled once."""
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        # What is in memory, also in a tier of a store, workers do not share.
        memory = self._cached.memory
        try:
            is_shared = not _holds_memory(self._cached.store_backend)
            function = _pack((self._cached, memory if is_shared else None))
        except Exception as error:
            error.add_note(
                f"in map(), which sends {self._cached.func_id}() to other processes, "
                f"and all that it refers to; with n_jobs=1 it stays in this one"
            )
            raise
        return _Setup(
            os.getpid(),
            function,
            is_shared,
            getattr(main, "__file__", None),
            None if spec is None else spec.name,
        )

    def begin(self, call: _Call) -> None:
        """Give a call to a worker, as soon as one is free."""
        while not self._done.empty():  # what has failed is told at once
            self._take(self._done.get())
        if not self._idle and len(self._workers) < self._most:
            worker = _Worker(self._setup)
            self._workers.append(worker)
            self._idle.append(worker)
        while not self._idle:
            self._take(self._next())
        with _naming(call.position, call.args[-1]):
            self._idle.pop().begin(call, self._done)

    def wait_for_all(self) -> None:
        """Wait until no worker computes."""
        while len(self._idle) < len(self._workers):
            self._take(self._next())

    def _next(self) -> _Worker:
        while True:
            with contextlib.suppress(queue.Empty):
                # On Windows, a wait without an end could not be interrupted.
                return self._done.get(timeout=1)

    def _take(self, worker: _Worker) -> None:
        call, answer = worker.call, worker.answer
        assert call is not None
        assert answer is not None
        with _naming(call.position, call.args[-1]):
            self._answers.finish(call, self._hit(call, worker.message, answer))
        worker.call = worker.answer = None
        self._idle.append(worker)

    def _hit(self, call: _Call, message: bytes, answer: Future[_Answer]) -> Hit:
        cached = self._cached
        try:
            found = answer.result()
        except BrokenProcessPool as error:
            raise BrokenProcessPool(
                f"a worker ended while it computed {cached.func_id}() of "
                f"{_named(call.position, call.args[-1])}; it was killed, perhaps for "
                f"want of memory, or it crashed"
            ) from error
        if found.kind == "raised":
            raise _error_from(found.content)
        if found.kind == "other code":
            warn(
                f"{cached.func_id}() is computed without workers, which find other "
                f"code or values than this process has: a module was edited after its "
                f"import, or changed while it runs"
            )
        elif found.kind == "stored":
            hit = cached._entries.read_computed(call.key.entry, found.seconds)
            if hit is not None:
                return hit
        else:
            hit = (pickle.loads(found.content),)
            if found.kind == "to be stored":
                self._store(self._sent(call, message), hit, found.seconds)
            return hit
        call = self._sent(call, message)
        return cached._compute(call.key, call.bound, call.args, {})

    def _sent(self, call: _Call, message: bytes) -> _Call:
        """Return a call as it was sent: who yields items may fill the same one anew."""
        args = _unpack(message)[1]
        return call._replace(args=args, bound=self._cached._bind(*args))

    def _store(self, call: _Call, hit: Hit, seconds: float) -> None:
        running = self._cached._begin(call.key, call.bound)
        self._cached._entries.commit(running, hit[0], seconds)
        self._cached._entries.keep_small(running)

    def end(self, *, wait: bool = True, kill: bool = False) -> None:
        """End the workers, all at once; also if another Ctrl-C comes meanwhile."""
        if self._workers:
            with ThreadPoolExecutor(len(self._workers)) as threads:
                for worker in self._workers:
                    threads.submit(worker.end, wait=wait, kill=kill)


# --- in a worker ---


class _Setup(NamedTuple):
    """What a worker has to know before its first call."""

    parent: int
    function: bytes
    is_shared: bool
    main_file: str | None
    main_name: str | None


class _Answer(NamedTuple):
    """What a worker says of a call: that it is done, or a value or an error."""

    kind: Literal["stored", "to be stored", "not stored", "other code", "raised"]
    content: bytes = b""
    seconds: float = 0.0


def _begin_worker(setup: _Setup) -> None:
    """Be the same script as the parent, by whose name its functions and classes go."""
    main: Any = types.ModuleType("__main__")
    main.__file__ = setup.main_file
    if setup.main_name is not None:
        main.__spec__ = ModuleSpec(setup.main_name, None)
    _of_this_worker.update(setup=setup, replaced=sys.modules["__main__"])
    sys.modules["__main__"] = main
    threading.Thread(target=_end_with, args=(setup.parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, which nobody else tells it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


_of_this_worker: dict[str, Any] = {}


@functools.cache
def _function() -> MemorizedFunc[..., Any]:
    cached: MemorizedFunc[..., Any]
    cached, memory = _unpack(_of_this_worker["setup"].function)
    if memory is None:
        from cachekit.memoization.memory import Memory

        memory = Memory(DictStore())
    # A function that is found by its name may have made itself another memory.
    return type(cached)(cached.func, memory, options=cached._options)


def _compute_message(message: bytes) -> _Answer:
    try:
        key, args = _unpack(message)
        return _compute_call(_function(), key, args)
    except BaseException as error:  # noqa: BLE001  (raised again in the parent)
        return _Answer("raised", _packed_error(error))


def _compute_call(
    cached: MemorizedFunc[..., Any], key: CallKey, args: tuple[Any, ...]
) -> _Answer:
    # What is committed under the parent's key must be what the parent would compute.
    if cached._code.fingerprint() != key.entry.fingerprint:
        return _Answer("other code")
    entries, is_shared = cached._entries, _of_this_worker["setup"].is_shared
    clock = time.perf_counter()
    hit = cached._compute(key, cached._bind(*args), args, {})
    seconds = time.perf_counter() - clock
    is_stored = entries.contains(key.entry)
    if is_stored and is_shared:
        return _Answer("stored", seconds=seconds)
    if is_stored:
        entries.forget(key.entry)
    kind: Literal["to be stored", "not stored"]
    kind = "to be stored" if is_stored else "not stored"
    return _Answer(kind, cloudpickle.dumps(hit[0]), seconds)


# --- there and back ---


def _pack(value: object) -> bytes:
    """Pickle what goes to a worker."""
    stream = io.BytesIO()
    packer = _Packer(stream, protocol=pickle.HIGHEST_PROTOCOL)
    packer.dump(value)
    return pickle.dumps((packer.sources, stream.getvalue()))


def _unpack(message: bytes) -> Any:
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
            return _by_value(thing)  # its own name would lead nowhere
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


def _holds_memory(store: object) -> bool:
    packer = _Packer(io.BytesIO(), protocol=pickle.HIGHEST_PROTOCOL)
    packer.dump(store)
    return packer.has_met_memory


def _is_of_main(thing: Any) -> bool:
    return getattr(thing, "__module__", None) == "__main__"


def _main_has(thing: Any) -> bool:
    return vars(sys.modules["__main__"]).get(thing.__qualname__) is thing


def _by_value(cached: Any) -> tuple[Any, ...]:
    if isinstance(cached, MemorizedFunc):
        parts = (cached.func, cached.memory, cached._options)
        return (_memorized, (type(cached), *parts))
    return (type(cached), (cached.func,))


def _memorized(kind: Any, function: Any, memory: Any, options: Any) -> Any:
    return kind(function, memory, options=options)


def _place(name: str, make: Any, parts: tuple[Any, ...]) -> Any:
    """Make a function or class of the main module, and have it found there by name.

    Results are then pickled by that name, and have the class of the script when they
    are loaded.
    """
    thing = make(*parts)
    vars(sys.modules["__main__"]).setdefault(name, thing)
    return thing


def _packed_error(error: BaseException) -> bytes:
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


def _error_from(content: bytes) -> BaseException:
    error, text = pickle.loads(content)
    error.__cause__ = _InWorker(text)
    return error  # type: ignore[no-any-return]


class _InWorker(Exception):
    """The traceback of an error in a worker, as text: the cause of it here."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"
