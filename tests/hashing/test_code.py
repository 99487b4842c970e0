"""Fingerprints in a running process: what the guard sees, and the options."""

from __future__ import annotations

import ast
import functools
import importlib
import linecache
import sys
import textwrap
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cachekit.errors import CacheWarning, UnhashableArgument
from cachekit.hashing import Code, digest, fingerprint

LOADED = "guarded_module"


@pytest.fixture
def load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Any]]:
    """Write and import a module of the user's; a second time, reload it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load_module(text: str) -> Any:
        (tmp_path / f"{LOADED}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        if LOADED in sys.modules:
            return importlib.reload(sys.modules[LOADED])
        return importlib.import_module(LOADED)

    yield load_module
    sys.modules.pop(LOADED, None)


PROGRAM = """
    import numpy as np

    SCALE = 1
    TABLE = {"a": [1, 2]}
    WEIGHTS = np.zeros(3)

    def helper(x, power=1):
        return x ** power

    def f(x):
        return helper(x) * SCALE + TABLE["a"][0] + WEIGHTS.sum()
"""


def run_cell(namespace: dict[str, Any], text: str, number: int) -> None:
    """Run code as IPython does: its source is known to linecache, not to a disk."""
    name = f"<ipython-input-{number}>"
    text = textwrap.dedent(text)
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), namespace)


@pytest.fixture
def notebook() -> dict[str, Any]:
    return {"__name__": "__main__"}


def test_nothing_changed_is_seen_without_reading_a_source(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = Code(load(PROGRAM).f)
    before = code.fingerprint()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a source was read")

    monkeypatch.setattr(linecache, "getlines", refuse)
    monkeypatch.setattr(linecache, "checkcache", refuse)
    monkeypatch.setattr(ast, "parse", refuse)

    assert code.fingerprint() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda module: setattr(module, "SCALE", 2),
        lambda module: module.TABLE.update(b=1),
        lambda module: module.TABLE["a"].append(3),
        lambda module: module.WEIGHTS.fill(1),
        lambda module: setattr(module, "helper", lambda x: x),
        lambda module: setattr(module.helper, "__defaults__", (2,)),
        lambda module: setattr(module.helper, "__code__", (lambda x: x).__code__),
        lambda module: setattr(module, "sum", len),
        lambda module: delattr(module, "SCALE"),
    ],
    ids=[
        "a global is bound anew",
        "a dict grows in place",
        "a list in a dict grows in place",
        "an array is filled in place",
        "a helper is replaced",
        "a helper's defaults are replaced",
        "a helper's code is replaced",
        "an unrelated global appears",
        "a global is deleted",
    ],
)
def test_a_change_in_the_running_process_is_seen(
    load: Callable[[str], Any], change: Callable[[Any], None], request: Any
) -> None:
    module = load(PROGRAM)
    code = Code(module.f)
    before = code.fingerprint()

    change(module)

    is_unrelated = "unrelated" in request.node.name
    assert (code.fingerprint() == before) == is_unrelated


def test_undoing_a_change_brings_the_fingerprint_back(
    load: Callable[[str], Any],
) -> None:
    module = load(PROGRAM)
    code = Code(module.f)
    before = code.fingerprint()

    module.TABLE["a"][0] = 5
    changed = code.fingerprint()
    module.TABLE["a"][0] = 1

    assert changed != before
    assert code.fingerprint() == before


def test_a_reloaded_module_is_seen(load: Callable[[str], Any]) -> None:
    module = load(PROGRAM)
    caller = types.FunctionType(
        (lambda x: module.helper(x)).__code__,
        {"module": module, "__name__": "__main__"},
        closure=(types.CellType(module),),
    )
    code = Code(caller)
    before = code.fingerprint()

    load(PROGRAM.replace("x ** power", "x ** power + 1"))

    assert code.fingerprint() != before


def test_a_class_changed_in_place_is_seen(load: Callable[[str], Any]) -> None:
    module = load(
        """
        class Model:
            rate = 1

            def fit(self, x):
                return x * self.rate

        def f(x):
            return Model().fit(x)
        """
    )
    code = Code(module.f)
    before = code.fingerprint()

    module.Model.rate = 2
    with_rate = code.fingerprint()
    module.Model.predict = lambda self, x: (self, x)

    assert len({before, with_rate, code.fingerprint()}) == 3


def test_a_closure_that_is_filled_anew_is_seen() -> None:
    def make() -> tuple[Callable[[], int], Callable[[int], None]]:
        step = 1

        def read() -> int:
            return step

        def write(value: int) -> None:
            nonlocal step
            step = value

        return read, write

    read, write = make()
    code = Code(read)
    before = code.fingerprint()

    write(2)

    assert code.fingerprint() != before


# --- where functions come from ---


def test_a_function_of_a_notebook_is_followed(notebook: dict[str, Any]) -> None:
    run_cell(notebook, "def helper(x):\n    return x + 1\n", 1)
    run_cell(notebook, "def f(x):\n    return helper(x)\n", 2)
    code = Code(notebook["f"])
    before = code.fingerprint()

    run_cell(notebook, "def helper(x):\n    # the same\n    return x + 1\n", 3)
    same = code.fingerprint()
    run_cell(notebook, "def helper(x):\n    return x + 2\n", 4)

    assert same == before
    assert code.fingerprint() != before


def test_a_cell_with_magics_is_followed_by_its_bytecode(
    notebook: dict[str, Any],
) -> None:
    text = "def f(x):\n    return x + 1\n"
    run_cell(notebook, text, 11)
    linecache.cache["<ipython-input-11>"] = (9, None, ["%timeit f(1)\n", text], "")

    first = fingerprint(notebook["f"])

    assert first == fingerprint(notebook["f"])


def test_a_function_made_by_exec_is_hashed_by_its_bytecode() -> None:
    def make(text: str) -> Any:
        namespace: dict[str, Any] = {"__name__": "made_up"}
        exec(text, namespace)
        return namespace["f"]

    first = fingerprint(make("def f(x): return x + 1"))

    assert first == fingerprint(make("\n\ndef f(x): return x + 1"))
    assert first != fingerprint(make("def f(x): return x + 2"))


def test_lambdas_on_one_line_are_told_apart() -> None:
    pair = (lambda x: x + 1, lambda x: x + 2)
    triple = [lambda x: lambda: x, lambda x: lambda: -x, lambda x: lambda: x]

    assert fingerprint(pair[0]) != fingerprint(pair[1])
    assert fingerprint(triple[0]) != fingerprint(triple[1])
    assert fingerprint(triple[0]) == fingerprint(triple[2])


def test_the_kinds_of_functions_are_told_apart() -> None:
    async def asked(x: int) -> int:
        return x

    def given(x: int) -> Iterator[int]:
        yield x

    def plain(x: int) -> int:
        return x

    assert len({fingerprint(f) for f in (asked, given, plain)}) == 3


def test_builtin_and_compiled_functions_have_fingerprints() -> None:
    functions: list[Any] = [
        len,
        sorted,
        np.linalg.svd,
        np.add,
        "a".join,
        "b".join,
        np.dot,
        dict,
    ]

    prints = [fingerprint(function) for function in functions]

    assert len(set(prints)) == len(functions)
    assert prints == [fingerprint(function) for function in functions]


def test_a_callable_instance_counts_by_class_and_state() -> None:
    class Adder:
        def __init__(self, step: int) -> None:
            self.step = step

        def __call__(self, x: int) -> int:
            return x + self.step

    assert fingerprint(Adder(1)) == fingerprint(Adder(1))
    assert fingerprint(Adder(1)) != fingerprint(Adder(2))


def test_a_recursive_function_and_a_table_that_holds_it_end() -> None:
    table: dict[str, Callable[[int], int]] = {}

    def f(n: int) -> int:
        return table["f"](n - 1) + f(n - 2) if n else 0

    table["f"] = f

    assert fingerprint(f) == fingerprint(f)
    assert digest(table) == digest({"f": f})


def test_a_function_of_two_hundred_helpers_is_followed_to_the_last(
    load: Callable[[str], Any],
) -> None:
    helpers = [f"def f{i}(x):\n    return f{i + 1}(x) + {i}\n" for i in range(200)]
    text = "\n\n".join([*helpers, "def f200(x):\n    return x\n"])
    code = Code(load(text).f0)
    before = code.fingerprint()

    load(text.replace("return x\n", "return x + 1\n"))

    assert code.fingerprint() != before
    assert len(code.describe().units) == 201


def test_a_library_function_wrapped_around_the_users_is_seen_through() -> None:
    def make(step: int) -> Any:
        @functools.lru_cache
        def f(x: int) -> int:
            return x + step

        return f

    def caller(function: Any) -> Callable[[int], int]:
        return lambda x: int(function(x))

    assert fingerprint(caller(make(1))) == fingerprint(caller(make(1)))
    assert fingerprint(caller(make(1))) != fingerprint(caller(make(2)))


# --- globals without a digest ---


def test_a_global_without_a_digest_counts_by_its_statement_and_is_told_once(
    load: Callable[[str], Any],
) -> None:
    program = textwrap.dedent(
        """
        import threading

        lock = threading.Lock()

        def f(x):
            with lock:
                return x
        """
    )
    module = load(program)
    with pytest.warns(CacheWarning, match=f"{LOADED}.lock .*the statement") as caught:
        before = fingerprint(module.f)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = Code(module.f).fingerprint()
        same = Code(load(program + "\nother = 1\n").f).fingerprint()
        changed = Code(load(program.replace("Lock()", "RLock()")).f)

    assert len(caught) == 1
    assert before == again == same
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another type of lock: told anew
        assert changed.fingerprint() != before


def test_a_closure_over_a_value_without_a_digest_is_an_error() -> None:
    lock = threading.Lock()

    def f(x: int) -> int:
        with lock:
            return x

    with pytest.raises(UnhashableArgument, match=r"lock, in the closure of .*f\(\)"):
        fingerprint(f)


def test_a_logger_is_no_reason_to_warn(load: Callable[[str], Any]) -> None:
    module = load(
        """
        import logging

        log = logging.getLogger(__name__)

        def f(x):
            log.info("called")
            return x
        """
    )

    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert fingerprint(module.f) == fingerprint(module.f)


# --- options ---


def helper(x: int) -> int:
    return x + 1


def f(x: int) -> int:
    return helper(x)


def g(x: int) -> int:
    return x


def test_track_self_leaves_out_what_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    deep, own = Code(f), Code(f, track="self")
    before = deep.fingerprint(), own.fingerprint()

    monkeypatch.setitem(f.__globals__, "helper", g)

    assert deep.fingerprint() != before[0]
    assert own.fingerprint() == before[1]
    assert own.fingerprint() != Code(g, track="self").fingerprint()


def test_track_off_leaves_out_all_code() -> None:
    assert Code(f, track="off").fingerprint() == Code(g, track="off").fingerprint()


def test_a_version_takes_part() -> None:
    prints = {Code(f, version=version).fingerprint() for version in (None, 1, 2, "2")}

    assert len(prints) == 4


def test_functions_and_values_to_depend_on_take_part() -> None:
    depends: list[list[Any]] = [[], [g], [f], [1], [{"a": 1}], [g, 1]]

    assert len({Code(g, depends=each).fingerprint() for each in depends}) == 6


def test_a_file_to_depend_on_takes_part_when_it_changes(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1")
    code = Code(g, depends=[data])
    before = code.fingerprint()

    data.write_text("12")
    changed = code.fingerprint()
    data.unlink()

    assert len({before, changed, code.fingerprint()}) == 3


def test_an_exact_environment_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(x: int) -> Any:
        return np.arange(x)

    recorded = Code(count).fingerprint()
    exact = Code(count, environment="exact").fingerprint()
    monkeypatch.setattr(
        "cachekit.hashing.boundary.library_version", lambda name: f"{name} of tomorrow"
    )

    assert Code(count).fingerprint() == recorded
    assert Code(count, environment="exact").fingerprint() != exact


def test_the_versions_of_the_libraries_called_are_recorded() -> None:
    def count(x: int) -> Any:
        return np.arange(x)

    assert Code(count).describe().libraries["numpy"] == np.__version__


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="track='all' is not"):
        Code(f, track="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="environment='frozen' is not"):
        Code(f, environment="frozen")  # type: ignore[arg-type]


# --- what libraries make of functions ---


def test_a_compiled_function_counts_by_the_function_that_was_compiled() -> None:
    class Compiled:
        """What numba makes: callable, and new in each process."""

        def __init__(self, function: Callable[..., Any]) -> None:
            self.py_func = function
            self.identity = object()

        def __call__(self, *args: Any) -> Any:
            return self.py_func(*args)

    Compiled.__module__ = "numpy"  # a library, as far as anyone can tell

    assert digest(Compiled(f)) == digest(Compiled(f))
    assert digest(Compiled(f)) != digest(Compiled(g))


def test_a_function_that_numpy_hides_has_no_digest() -> None:
    hidden = np.frompyfunc(f, 1, 1)

    with pytest.raises(UnhashableArgument, match=r"numpy\.ufunc"):
        digest(hidden)


def test_the_getattr_of_a_module_is_followed(load: Callable[[str], Any]) -> None:
    text = """
        def __getattr__(name):
            return len(name) + 1
    """
    module = load(text)
    space: dict[str, Any] = {"module": module, "__name__": "__main__"}
    exec("def reader():\n    return module.rate", space)
    code = Code(space["reader"])
    before = code.fingerprint()

    load(text.replace("+ 1", "+ 2"))

    assert code.fingerprint() != before
