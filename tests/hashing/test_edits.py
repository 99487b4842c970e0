"""A project is edited, and a new process asks whether a call must be computed again."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

ANALYSIS = '''
import functools
import math

import helpers
import package.tools
from helpers import clean, Model
from helpers import TABLE as table
from package import tools as kit

SCALE = 2
NAMES = {"a": 1}
UNUSED = 1
LIMITS = [1, 2]
TEXT = "text"


def near(x, power=1, *, offset=0):
    """Say something."""
    # a remark
    return x ** power + offset + deeper(x)


def deeper(x):
    return x + 1


def unrelated(x):
    return x


def even(n):
    return True if n == 0 else odd(n - 1)


def odd(n):
    return False if n == 0 else even(n - 1)


def twice(factor):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args):
            return factor * function(*args)
        return wrapper
    return decorate


@twice(3)
def decorated(x):
    return x + 7


@functools.lru_cache(maxsize=None)
def remembered(x):
    return x + 11


@functools.singledispatch
def shown(x):
    return "thing"


@shown.register
def _(x: int):
    return "number"


def make(step):
    def stepped(x):
        return x + step
    return stepped


closed = make(5)
part = functools.partial(near, power=3)
DISPATCH = {"first": near, "second": lambda x: x - 13}
pair = (lambda x: x + 17, lambda x: x + 19)


class Base:
    rate = 1

    def inherited(self):
        return 23


class Tool(Base):
    level = 29

    def __init__(self, state):
        self.state = state

    def work(self, x):
        return x + self.state + self.helper()

    @staticmethod
    def still():
        return 31

    @classmethod
    def classy(cls):
        return cls.level

    @property
    def proper(self):
        return 37

    def helper(self):
        return 41

    def __call__(self, x):
        return x + 43


tool = Tool(47)
method = tool.work


def f(x: int = 0, y=2, *, z=3):
    """Document f."""
    def inner(v):
        return v + 53

    from late import imported

    total = near(x) + helpers.reached(x) + package.tools.used(x) + kit.second(x)
    total += clean(x) + SCALE + NAMES["a"] + LIMITS[0] + len(TEXT) + table["k"]
    total += getattr(helpers, "by_name")(x) + imported(x) + inner(x) + math.floor(2.5)
    total += DISPATCH["first"](x) + DISPATCH["second"](x) + pair[0](x) + pair[1](x)
    total += decorated(x) + part(x) + remembered(x) + len(shown(x)) + closed(x)
    total += Tool(1).work(x) + Tool.still() + tool.proper + tool(x) + method(x)
    total += Model().fit(x) + even(4)
    return total
'''

HELPERS = """
from helpers2 import far
import numpy as np

TABLE = {"k": 1}
WEIGHTS = np.arange(3.0)


def clean(x):
    return far(x) + WEIGHTS.sum()


def reached(x):
    return x + 59


def by_name(x):
    return x + 61


def lonely(x):
    return x


class Model:
    def fit(self, x):
        return x + 67
"""

FILES = {
    "analysis.py": ANALYSIS,
    "helpers.py": HELPERS,
    "helpers2.py": "CONSTANT = 71\n\n\ndef far(x):\n    return x + CONSTANT\n",
    "late.py": "def imported(x):\n    return x + 73\n",
    "package/__init__.py": "",
    "package/tools.py": (
        "def used(x):\n    return x + 79\n\n\ndef second(x):\n    return x + 83\n"
    ),
}


class Edit(NamedTuple):
    file: str
    old: str
    new: str


def a(old: str, new: str) -> Edit:
    return Edit("analysis.py", old, new)


RECOMPUTE = {
    "the body": a("+ even(4)", "+ even(5)"),
    "a default": a("y=2, *", "y=4, *"),
    "a keyword-only default": a("z=3)", "z=4)"),
    "a helper's body": a("+ offset + deeper", "- offset + deeper"),
    "a helper's helper": a("return x + 1\n", "return x + 2\n"),
    "a helper's default": a("power=1,", "power=2,"),
    "a helper's keyword-only default": a("offset=0)", "offset=1)"),
    "a helper as module.name": Edit("helpers.py", "x + 59", "x + 60"),
    "a helper as package.module.name": Edit("package/tools.py", "x + 79", "x + 80"),
    "a helper of a module under another name": Edit(
        "package/tools.py", "x + 83", "x + 84"
    ),
    "a helper two modules away": Edit("helpers2.py", "x + CON", "x - CON"),
    "a global two modules away": Edit("helpers2.py", "71", "72"),
    "a global number": a("SCALE = 2", "SCALE = 3"),
    "a global string": a('"text"', '"texts"'),
    "a global dict": a('NAMES = {"a": 1}', 'NAMES = {"a": 2}'),
    "a global list": a("[1, 2]", "[3, 2]"),
    "a global array": Edit("helpers.py", "arange(3.0)", "arange(4.0)"),
    "an imported dict": Edit("helpers.py", '{"k": 1}', '{"k": 2}'),
    "a method": a("x + self.state", "x - self.state"),
    "a method that a method calls": a("return 41", "return 42"),
    "a static method": a("return 31", "return 32"),
    "a property": a("return 37", "return 38"),
    "a class attribute": a("level = 29", "level = 30"),
    "a base class's method": a("return 23", "return 24"),
    "a base class's attribute": a("rate = 1", "rate = 2"),
    "the base class": a("class Tool(Base)", "class Tool"),
    "the call of an instance": a("x + 43", "x + 44"),
    "the state of an instance": a("Tool(47)", "Tool(48)"),
    "a method of an imported class": Edit("helpers.py", "x + 67", "x + 68"),
    "a function imported in the body": Edit("late.py", "73", "74"),
    "a function by getattr": Edit("helpers.py", "x + 61", "x + 62"),
    "a function in a dispatch table": a('"first": near', '"first": deeper'),
    "a lambda in a dispatch table": a("x - 13", "x - 14"),
    "the first of two lambdas on a line": a("x + 17", "x + 18"),
    "the second of two lambdas on a line": a("x + 19", "x + 20"),
    "the arguments of a decorator": a("@twice(3)", "@twice(4)"),
    "the implementation of a decorator": a("factor * f", "factor + f"),
    "what a decorator wraps": a("x + 7\n", "x + 8\n"),
    "the arguments of a partial": a("power=3", "power=4"),
    "the function of a partial": a("partial(near", "partial(deeper"),
    "what an lru_cache wraps": a("x + 11", "x + 12"),
    "what a singledispatch registers": a('"number"', '"figure"'),
    "the default of a singledispatch": a('"thing"', '"stuff"'),
    "the other half of a mutual recursion": a("return False if", "return None if"),
    "a nested function": a("v + 53", "v + 54"),
    "a value in a closure": a("make(5)", "make(6)"),
    "the body of a closure": a("x + step", "x - step"),
    "a function removed": a("def deeper(x):", "def renamed(x):"),
}

KEEP = {
    "a comment": a("# a remark", "# another remark"),
    "a comment taken out": a("    # a remark\n", ""),
    "its docstring": a('"""Document f."""', '"""Tell of f."""'),
    "its docstring taken out": a('    """Document f."""\n', ""),
    "a helper's docstring": a('"""Say something."""', '"""Say nothing."""'),
    "lines shifted": a("SCALE = 2", "\n\n\n\nSCALE = 2"),
    "a call over several lines": a(
        "total = near(x)", "total = near(\n        x,\n    )"
    ),
    "spaces": a("x ** power", "x**power"),
    "parentheses": a("return x + 1\n", "return (x + 1)\n"),
    "quotes": a('NAMES["a"]', "NAMES['a']"),
    "an unrelated function": a("def unrelated(x):\n    return x", "def other(x): pass"),
    "an unrelated function of a helper's module": Edit(
        "helpers.py", "def lonely(x):\n    return x", "def lonely(x):\n    return 2"
    ),
    "an unrelated global": a("UNUSED = 1", "UNUSED = 2\nMORE = 3"),
    "an annotation": a("def deeper(x):", "def deeper(x: int) -> int:"),
    "an annotation of f": a("def f(x: int = 0, y=2", "def f(x=0, y: float=2"),
    "the annotation of a local": a("    total = near", "    total: int = near"),
    "the order of definitions": a(
        'SCALE = 2\nNAMES = {"a": 1}', 'NAMES = {"a": 1}\nSCALE = 2'
    ),
}

ASK = "import analysis, cachekit; print(cachekit.fingerprint(analysis.f))"


def write_project(folder: Path) -> Path:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def ask(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-B", *(arguments or ("-c", ASK))]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


def edit_project(folder: Path, edit: Edit) -> Path:
    path = write_project(folder) / edit.file
    text = path.read_text()
    assert text.count(edit.old) >= 1, f"{edit.old!r} is not in {edit.file}"
    path.write_text(text.replace(edit.old, edit.new, 1))
    return folder


@pytest.fixture(scope="module")
def fingerprint_before(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ask(write_project(tmp_path_factory.mktemp("before")))


@pytest.mark.parametrize("edit", RECOMPUTE.values(), ids=RECOMPUTE.keys())
def test_an_edit_that_matters_recomputes(
    edit: Edit, tmp_path: Path, fingerprint_before: str
) -> None:
    folder = edit_project(tmp_path, edit)

    assert ask(folder) != fingerprint_before


@pytest.mark.parametrize("edit", KEEP.values(), ids=KEEP.keys())
def test_an_edit_that_does_not_matter_recomputes_nothing(
    edit: Edit, tmp_path: Path, fingerprint_before: str
) -> None:
    folder = edit_project(tmp_path, edit)

    assert ask(folder) == fingerprint_before


def test_a_module_run_as_a_script_has_the_same_fingerprint(
    tmp_path: Path, fingerprint_before: str
) -> None:
    write_project(tmp_path)
    script = tmp_path / "analysis.py"
    script.write_text(ANALYSIS + "\nimport cachekit\nprint(cachekit.fingerprint(f))\n")

    assert ask(tmp_path, "analysis.py") == fingerprint_before
    assert ask(tmp_path, "-m", "analysis") == fingerprint_before


def test_an_object_of_a_script_equals_the_same_object_when_imported(
    tmp_path: Path,
) -> None:
    write_project(tmp_path)
    (tmp_path / "script.py").write_text(
        textwrap.dedent(
            """
            import cachekit

            class Model:
                def __init__(self, rate):
                    self.rate = rate

                def fit(self, x):
                    return self.rate * x

            def make():
                return cachekit.digest([Model(1), Model, Model(2).fit])

            if __name__ == "__main__":
                print(make())
            """
        )
    )

    as_script = ask(tmp_path, "script.py")

    assert as_script == ask(tmp_path, "-c", "import script; print(script.make())")


def test_a_project_imported_from_a_zip_file_has_the_same_fingerprint(
    tmp_path: Path, fingerprint_before: str
) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "project.zip", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    program = f"import sys; sys.path.insert(0, 'project.zip'); {ASK}"

    assert ask(tmp_path, "-c", program) == fingerprint_before


def test_compiled_modules_without_source_have_a_stable_fingerprint(
    tmp_path: Path, fingerprint_before: str
) -> None:
    import compileall

    write_project(tmp_path)
    compileall.compile_dir(tmp_path, legacy=True, quiet=1)
    for source in tmp_path.rglob("*.py"):
        source.unlink()

    first, second = ask(tmp_path), ask(tmp_path)

    assert first == second
    assert first != fingerprint_before  # bytecode counts where source cannot be had


def test_a_source_edited_after_import_is_not_mistaken_for_the_loaded_code(
    tmp_path: Path, fingerprint_before: str
) -> None:
    write_project(tmp_path)
    program = textwrap.dedent(
        """
        import analysis, cachekit, pathlib
        source = pathlib.Path("analysis.py")
        text = source.read_text()
        source.write_text(text.replace("return x + 1\\n", "return x + 2\\n"))
        print(cachekit.fingerprint(analysis.f))
        """
    )

    while_old_is_loaded = ask(tmp_path, "-c", program)
    afterwards = ask(tmp_path)

    assert while_old_is_loaded != afterwards
    assert afterwards != fingerprint_before
