"""What an edit recomputes, and which functions share results: no stale hit.

Each version of a module runs in a process of its own.
"""

from __future__ import annotations

import functools
import json
import math
import operator
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cachekit import CacheWarning, Memory, UnhashableArgument
from tests.memoization.project import Project, value_files


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


PREAMBLE = """\
from cachekit import Memory

memory = Memory("store")


"""

ORIGINAL = '''\
@memory.cache
def scale(x, factor=2, *, shift=0):
    """Scale and shift."""
    def apply(value):
        return value * factor
    print("computing")
    label = "a b"
    return apply(x) + shift, label  # done
'''


def ask_version(project: Project, source: str) -> list[str]:
    (project.folder / "analysis.py").write_text(PREAMBLE + source)
    return project.ask("analysis.scale(3)")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# done", "# finished"),
        ("    print", "    # A comment on its own line.\n\n    print"),
        ("Scale and shift.", "Shift and scale.\n\n    At once."),
        ('    """Scale and shift."""\n', ""),
        ("def apply(value):\n", 'def apply(value):\n        """Multiply."""\n'),
        ('"a b"', "'a b'"),
        ('"a b"', '"a " "b"'),
        ("value * factor", "(value*factor)"),
        ("x, factor=2, *, shift=0", "\n    x,\n    factor=2,\n    *,\n    shift=0,\n"),
        ("x, factor=2, *, shift=0", "x: float, factor: int = 2, *, shift: int = 0"),
        ("shift=0):", "shift=0) -> tuple[float, str]:"),
        ("@memory.cache", "def unrelated(): ...\n\n\n@memory.cache"),
        ("@memory.cache", "UNRELATED = 5\n@memory.cache"),
        ("@memory.cache\n", "@memory.cache()\n"),
    ],
)
def test_an_edit_that_a_call_cannot_see_recomputes_nothing(
    project: Project, old: str, new: str
) -> None:
    edited = ORIGINAL.replace(old, new)
    assert edited != ORIGINAL
    ask_version(project, ORIGINAL)

    answer = ask_version(project, edited)

    assert answer == ["(6, 'a b')"]


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ("value * factor", "value + factor", "(5, 'a b')"),
        ("factor=2", "factor=5", "(15, 'a b')"),
        ("shift=0", "shift=1", "(7, 'a b')"),
        ('"a b"', '"a  b"', "(6, 'a  b')"),
        ('"a b"', 'b"a b"', "(6, b'a b')"),
        ("+ shift,", "+ 0.0 + shift,", "(6.0, 'a b')"),
        ("apply(x) + shift", "...", "(Ellipsis, 'a b')"),
        ("apply(x) + shift", "None", "(None, 'a b')"),
        ("apply(x) + shift", "True", "(True, 'a b')"),
        ("apply(x) + shift", "1", "(1, 'a b')"),
    ],
)
def test_an_edit_of_the_body_recomputes(
    project: Project, old: str, new: str, result: str
) -> None:
    edited = ORIGINAL.replace(old, new)
    assert edited != ORIGINAL
    ask_version(project, ORIGINAL)

    answer = ask_version(project, edited)

    assert answer == ["computing", result]


def test_reverting_an_edit_hits_again_and_the_old_entries_stay(
    project: Project,
) -> None:
    edited = ORIGINAL.replace("* factor", "** factor")

    answers = [
        ask_version(project, source) for source in (ORIGINAL, edited, ORIGINAL, edited)
    ]

    computed = ["computing", "(6, 'a b')"], ["computing", "(9, 'a b')"]
    assert answers == [*computed, ["(6, 'a b')"], ["(9, 'a b')"]]
    assert len(value_files(project.store)) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a\n   \nb", "a\n\nb"),  # what is blank in a text is content
        ("a\n    b", "a\nb"),
        ("a\tb", "a    b"),
    ],
)
def test_white_space_within_a_text_is_content(
    project: Project, one: str, other: str
) -> None:
    source = '''\
@memory.cache
def scale(x):
    return """{}"""
'''
    ask_version(project, source.format(one))

    answer = ask_version(project, source.format(other))

    assert "\n".join(answer) == other


def test_indenting_a_function_changes_the_text_in_it(project: Project) -> None:
    source = '''\
@memory.cache
def scale(x):
    return """
    text"""
'''
    indented = "if True:\n" + "".join(
        f"    {line}\n" for line in source.splitlines() if line
    )
    ask_version(project, source)

    answer = ask_version(project, indented)

    assert answer == ["", "        text"]


def test_a_function_counts_as_loaded_not_as_edited_since(project: Project) -> None:
    # A long run: the file is edited after the import, before the first call.
    project.write("analysis.py", PREAMBLE + ORIGINAL)
    edited = PREAMBLE + ORIGINAL.replace("* factor", "** factor")
    project.write("edited.txt", edited)
    project.run(
        "-c",
        "import analysis, shutil\n"
        "shutil.copy('edited.txt', 'analysis.py')\n"
        "assert analysis.scale(3) == (6, 'a b')",
    )

    answer = project.ask("analysis.scale(3)")

    assert answer[-1] == "(9, 'a b')"


def test_the_folder_of_a_project_does_not_matter(tmp_path: Path) -> None:
    answers = []
    for folder in ("one", "two"):
        project = Project(tmp_path / folder)
        project.write("analysis.py", PREAMBLE.replace("store", "../store") + ORIGINAL)
        answers.append(project.ask("analysis.scale(3)"))

    assert answers == [["computing", "(6, 'a b')"], ["(6, 'a b')"]]


def test_a_script_and_its_import_share_entries(project: Project) -> None:
    source = PREAMBLE + ORIGINAL + "\nif __name__ == '__main__':\n    print(scale(3))\n"
    project.write("analysis.py", source)

    answers = [
        project.run("analysis.py"),
        project.run("-m", "analysis"),
        project.ask("analysis.scale(3)"),
    ]

    assert answers == [["computing", "(6, 'a b')"], *[["(6, 'a b')"]] * 2]


def test_a_hit_in_a_script_has_the_class_of_the_script(project: Project) -> None:
    project.write(
        "shapes.py",
        PREAMBLE
        + """\
class Point:
    pass

@memory.cache
def make():
    return Point()

if __name__ == "__main__":
    print(type(make()) is Point)
""",
    )
    project.ask("type(shapes.make()) is shapes.Point")

    assert project.run("-W", "ignore", "shapes.py") == ["True"]
    assert project.ask("type(shapes.make()) is shapes.Point") == ["True"]


# --- functions that must not share ---


def test_functions_of_the_same_name_in_two_modules_do_not_share(
    project: Project,
) -> None:
    source = """
    from cachekit import Memory

    @Memory("store").cache
    def where():
        return __name__
    """
    project.write("one.py", source)
    project.write("two.py", source)

    for _ in range(2):
        assert project.ask("one.where(), two.where()") == ["one two"]


def check_that_each_keeps_its_own(
    memory: Memory, functions: list[Callable[[int], Any]], expected: list[Any]
) -> None:
    cached = [memory.cache(function) for function in functions]

    for _ in range(2):
        assert [function(1) for function in cached] == expected


def test_lambdas_on_other_lines_do_not_share(memory: Memory) -> None:
    functions = [
        lambda x: x + 1,
        lambda x: x + 2,
    ]

    check_that_each_keeps_its_own(memory, functions, [2, 3])


def test_lambdas_on_one_line_do_not_share(memory: Memory) -> None:
    functions = [lambda x: x + 1, lambda x: x + 2]

    check_that_each_keeps_its_own(memory, functions, [2, 3])


def test_lambdas_among_the_defaults_of_a_function_do_not_share(memory: Memory) -> None:
    def outer(one: Any = lambda x: x + 1, two: Any = lambda x: x + 2) -> None: ...

    check_that_each_keeps_its_own(memory, list(outer.__defaults__ or ()), [2, 3])


def pick(n: int) -> Any: return (lambda x: x + 1, lambda x: x + 2)[n]  # fmt: skip


def test_lambdas_in_a_function_of_one_line_do_not_share(memory: Memory) -> None:
    check_that_each_keeps_its_own(memory, [pick(0), pick(1)], [2, 3])


def test_functions_without_a_source_do_not_share(memory: Memory) -> None:
    functions = []
    for number in (1, 2):
        namespace: dict[str, Any] = {"__name__": "typed"}
        exec(f"def f(x): return x + {number}", namespace)
        functions.append(namespace["f"])

    check_that_each_keeps_its_own(memory, functions, [2, 3])


def test_a_function_may_hold_an_ellipsis(memory: Memory) -> None:
    check_that_each_keeps_its_own(memory, [lambda x: [x, ...]], [[1, ...]])


def test_closures_with_other_values_do_not_share(memory: Memory) -> None:
    def add(n: Any) -> Callable[[int], Any]:
        return lambda x: x + n

    check_that_each_keeps_its_own(memory, [add(1), add(2), add(2.0)], [2, 3, 3.0])


def test_closures_over_other_functions_do_not_share(memory: Memory) -> None:
    def twice(function: Callable[[int], int]) -> Callable[[int], int]:
        return lambda x: function(function(x))

    functions = [twice(lambda x: x + 1), twice(lambda x: x + 2)]

    check_that_each_keeps_its_own(memory, functions, [3, 5])


class Client:
    """Something with a value that matters, and a lock that has no digest."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.Lock()


def test_closures_over_values_without_a_digest_do_not_share(memory: Memory) -> None:
    def fetch_from(client: Client) -> Callable[[int], str]:
        return lambda page: f"{client.url}/{page}"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)  # to warn is right
        try:
            answers = [memory.cache(fetch_from(Client(url)))(1) for url in "ab"]
        except UnhashableArgument:
            return  # and so is to refuse

    assert answers == ["a/1", "b/1"]


def test_a_closure_value_that_is_rebound_is_seen(memory: Memory) -> None:
    factor = 2

    @memory.cache
    def scale(x: int) -> int:
        return x * factor

    before = scale(10)
    factor = 3

    assert (before, scale(10)) == (20, 30)


def test_a_closure_value_that_is_changed_in_place_is_seen(memory: Memory) -> None:
    factors = [2]

    @memory.cache
    def scale(x: int) -> int:
        return x * sum(factors)

    before = scale(10)
    factors.append(1)

    assert (before, scale(10)) == (20, 30)


def test_a_mutable_default_counts_as_it_is_at_the_call(memory: Memory) -> None:
    @memory.cache
    def count(x: int, seen: list[int] = []) -> int:  # noqa: B006
        seen.append(x)
        return len(seen)

    with pytest.warns(CacheWarning, match="changed its argument seen"):
        assert [count(1), count(1)] == [1, 2]


def test_the_description_of_a_code_version_is_of_the_code_that_ran(
    memory: Memory, tmp_path: Path
) -> None:
    seen: list[int] = []

    @memory.cache
    def note(x: int) -> int:
        seen.append(x)  # the call itself changes what it reads
        return x

    note(1)
    note(1)

    for path in (tmp_path / "store").glob("*/*/code.json"):
        assert json.loads(path.read_bytes())["fingerprint"] == path.parent.name


class AddOne:
    def __call__(self, x: int) -> int:
        return x + 1


class AddTwo:
    def __call__(self, x: int) -> int:
        return x + 2


AddTwo.__qualname__ = AddOne.__qualname__ = "Add"  # as two versions of a class have


def square_int(x: int) -> int:
    return x * x


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        (
            [
                functools.lru_cache(lambda x: x + 1),
                functools.lru_cache(lambda x: x + 2),
            ],
            [2, 3],
        ),
        (
            [functools.partial(lambda x, y: x + y, y) for y in (1, 2)],
            [2, 3],
        ),
        (
            [functools.partial(lambda x: x + 1), functools.partial(lambda x: x + 2)],
            [2, 3],
        ),
        (
            [functools.singledispatch(lambda x: x + n) for n in (1, 2)],  # noqa: B023
            [3, 3],
        ),
        ([AddOne(), AddTwo()], [2, 3]),
        ([AddOne().__call__, AddTwo().__call__], [2, 3]),
        ([np.vectorize(lambda x: x + 1), np.vectorize(lambda x: x + 2)], [2, 3]),
        ([operator.methodcaller("__add__", n) for n in (1, 2)], [2, 3]),
        ([range(5, 9).__getitem__, range(6, 9).__getitem__], [6, 7]),
        ([math.factorial, square_int], [1, 1]),
    ],
    ids=[
        *("lru_cache", "partial_values", "partial_lambdas", "singledispatch"),
        *("instances", "bound", "vectorize", "methodcaller", "builtin_method", "names"),
    ],
)
def test_callables_of_every_kind_do_not_share(
    memory: Memory, functions: list[Callable[[int], Any]], expected: list[Any]
) -> None:
    check_that_each_keeps_its_own(memory, functions, expected)


# --- decorators below the cache ---


def times(factor: int) -> Callable[[Callable[[int], int]], Callable[[int], int]]:
    def decorate(function: Callable[[int], int]) -> Callable[[int], int]:
        @functools.wraps(function)
        def wrapper(x: int) -> int:
            return factor * function(x)

        return wrapper

    return decorate


def negate(function: Callable[[int], int]) -> Callable[[int], int]:
    @functools.wraps(function)
    def wrapper(x: int) -> int:
        return -function(x)

    return wrapper


def increment(function: Callable[[int], int]) -> Callable[[int], int]:
    @functools.wraps(function)
    def wrapper(x: int) -> int:
        return 1 + function(x)

    return wrapper


def identity(x: int) -> int:
    return x


def test_functions_decorated_with_other_arguments_do_not_share(memory: Memory) -> None:
    functions = [identity, times(2)(identity), times(3)(identity)]

    check_that_each_keeps_its_own(memory, functions, [1, 2, 3])


def test_functions_decorated_by_other_decorators_do_not_share(memory: Memory) -> None:
    functions = [identity, negate(identity), increment(identity)]

    check_that_each_keeps_its_own(memory, functions, [1, -1, 2])


def test_a_function_wrapped_at_module_level_does_not_share(project: Project) -> None:
    project.write(
        "analysis.py",
        PREAMBLE
        + """\
import functools

@memory.cache
def inner(x):
    return x

@memory.cache
@functools.wraps(inner)
def outer(x):
    return 2 * inner(x)
""",
    )

    for _ in range(2):
        assert project.ask("analysis.inner(1), analysis.outer(1)") == ["1 2"]


def test_a_wrapper_with_defaults_of_its_own_keys_by_them(memory: Memory) -> None:
    def tenfold(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def wrapper(x: int, factor: int = 10) -> int:
            return function(x, factor)

        return wrapper

    @memory.cache
    @tenfold
    def scale(x: int, factor: int = 1) -> int:
        return x * factor

    assert [scale(3), scale(3, 1), scale(3, 10)] == [30, 3, 30]


def test_a_wrapper_that_adds_an_argument_can_be_cached(memory: Memory) -> None:
    def with_unit(function: Callable[[str, int], str]) -> Callable[[int], str]:
        @functools.wraps(function)
        def wrapper(x: int) -> str:
            return function("m", x)

        return wrapper

    @memory.cache
    @with_unit
    def show(unit: str, x: int) -> str:
        return f"{x} {unit}"

    assert [show(3), show(3), show(4)] == ["3 m", "3 m", "4 m"]


def test_ignore_names_the_parameters_of_a_decorated_function(memory: Memory) -> None:
    cached = memory.cache(times(2)(identity), ignore=["x"])

    assert [cached(1), cached(2)] == [2, 2]
