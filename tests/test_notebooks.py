"""`%%cache` in a notebook: in a shell of this process, and in real kernels."""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import CapturedIO, capture_output
from traitlets.config import Config

from cachekit import CacheWarning
from cachekit.notebooks.names import names_of


class Notebook:
    """A notebook in a shell of this process; `restart` gives it a new one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown: CapturedIO = CapturedIO(None, None)
        self.restart()

    def restart(self) -> None:
        """Forget every name."""
        InteractiveShell.clear_instance()
        config = Config()
        config.HistoryManager.enabled = False
        instance: Any = InteractiveShell.instance
        self.shell = instance(config=config)
        self.shell.extension_manager.load_extension("cachekit")

    def run(self, cell: str) -> Any:
        """Run a cell; return what it shows as its value, and raise what it raises."""
        # Each run notes itself where no cache looks.
        self.shell.user_ns_hidden["ran"] = self.shell.user_ns["ran"] = self._note
        with capture_output() as self.shown:
            done = self.shell.run_cell(textwrap.dedent(cell), store_history=True)
        done.raise_error()
        return done.result

    def _note(self) -> None:
        with (self.folder / "runs").open("a") as file:
            file.write("x")

    def cached(self, cell: str, options: str = "") -> Any:
        """Run a cell with the magic."""
        return self.run(f"%%cache {options}\n" + textwrap.dedent(cell))

    @property
    def runs(self) -> int:
        """How often `ran()` was called since it was asked last."""
        file = self.folder / "runs"
        count = len(file.read_text()) if file.exists() else 0
        file.unlink(missing_ok=True)
        return count

    def __getitem__(self, name: str) -> Any:
        return self.shell.user_ns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.shell.user_ns


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("CACHEKIT_DIR", str(tmp_path / "results"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module, name in ((sys, "displayhook"), (sys, "excepthook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    yield Notebook(tmp_path)
    InteractiveShell.clear_instance()


# --- hits and misses ---


def test_a_cell_runs_once(notebook: Notebook) -> None:
    cell = "ran()\ny = 2 * x\ny + 1"
    notebook.run("x = 3")

    first = notebook.cached(cell)
    second = notebook.cached(cell)

    assert (first, second, notebook["y"]) == (7, 7, 6)
    assert notebook.runs == 1


def test_a_hit_binds_what_the_cell_did_in_a_new_kernel(notebook: Notebook) -> None:
    cell = "ran()\na, (b, *c) = 1, (2, 3, 4)\nd = [a, c]\ne = c"
    notebook.cached(cell)
    notebook.restart()

    notebook.cached(cell)

    assert notebook.runs == 1
    assert [notebook[name] for name in "abcd"] == [1, 2, [3, 4], [1, [3, 4]]]
    assert notebook["d"][1] is notebook["c"] is notebook["e"]


def test_another_value_of_an_input_runs_the_cell_again(notebook: Notebook) -> None:
    cell = "ran()\ny = 2 * x"
    notebook.run("x = 1")
    notebook.cached(cell)
    notebook.run("x = 2")

    notebook.cached(cell)
    notebook.run("x = 1")
    notebook.cached(cell)

    assert notebook.runs == 2
    assert notebook["y"] == 2


def test_comments_formatting_and_docstrings_do_not_count(notebook: Notebook) -> None:
    notebook.cached("ran()\ndef f(x):\n    return [x, 1]\ny = f(1)")

    notebook.cached(
        """
        # what this is
        ran( )
        def f(x: int) -> list:
            "Another one."
            return [x,  # one
                    1]

        y = f( 1 )
        """
    )

    assert notebook.runs == 1


def test_an_edit_runs_the_cell_again_and_its_undoing_hits(notebook: Notebook) -> None:
    for cell in ("ran()\ny = 1", "ran()\ny = 2", "ran()\ny = 1"):
        notebook.cached(cell)

    assert notebook.runs == 2
    assert notebook["y"] == 1


def test_the_helper_of_a_helper_is_seen_when_it_is_edited(notebook: Notebook) -> None:
    cell = "ran()\ny = f(1)"
    notebook.run("def g(x):\n    return x + 1")
    notebook.run("def f(x):\n    return g(x)")
    notebook.cached(cell)
    notebook.run("def g(x):\n    # one more\n    return x + 1")
    notebook.cached(cell)
    assert notebook.runs == 1

    notebook.run("def g(x):\n    return x + 2")
    notebook.cached(cell)

    assert notebook.runs == 1
    assert notebook["y"] == 3


def test_an_edited_class_is_seen_through_its_instance(notebook: Notebook) -> None:
    cell = "ran()\ny = model.fit()"
    for number in (1, 1, 2):
        notebook.run(f"class Model:\n    def fit(self):\n        return {number}")
        notebook.run("model = Model()")
        notebook.cached(cell)

    assert notebook.runs == 2
    assert notebook["y"] == 2


@pytest.mark.parametrize(
    ("imports", "reads"),
    [
        ("", "import helping\ny = helping.f()"),
        ("", "from helping import f\ny = f()"),
        ("", "def inner():\n    import helping\n    return helping.f()\ny = inner()"),
        ("import helping", "y = helping.f()"),
        ("from helping import f", "y = f()"),
    ],
)
def test_an_edited_module_is_seen_in_a_new_kernel(
    notebook: Notebook, imports: str, reads: str
) -> None:
    module = notebook.folder / "helping.py"
    for number, unrelated in ((1, 1), (1, 2), (23, 2)):
        text = f"def f():\n    return {number}\n\ndef g():\n    return {unrelated}\n"
        module.write_text(text)
        for name in [name for name in sys.modules if name == "helping"]:
            del sys.modules[name]
        notebook.restart()
        notebook.run(f"import importlib; importlib.invalidate_caches()\n{imports}")
        notebook.cached(f"ran()\n{reads}")

    assert notebook["y"] == 23
    assert notebook.runs == 2


def test_an_augmented_name_is_read_and_bound(notebook: Notebook) -> None:
    notebook.run("x = 1")

    for _ in range(3):
        notebook.cached("ran()\nx += 1")
    assert notebook["x"] == 4
    notebook.run("x = 1")
    notebook.cached("ran()\nx += 1")

    assert notebook.runs == 3
    assert notebook["x"] == 2


@pytest.mark.parametrize(
    "cell",
    [
        "for i in [1, 2]:\n    y = i * 2",
        "for i, (j, *k) in [(1, [2])]:\n    y = i + j",
        "with open(__import__('os').devnull) as file:\n    y = file.read()\nz = y",
        "if len('a'):\n    y = 1\nelse:\n    y = 2\nz = y",
        "try:\n    y = 1\nexcept ValueError as error:\n    y = 2",
        "y = [i for i in range(3) if (last := i)]",
        "i = 0\nwhile i < 3:\n    i += 1\n    y = i",
        "if True:\n    y = 1",
        "k = 2\ndef f(n):\n    return f(n - 1) if n else k\ny = f(1)",
        "class A:\n    b = 1\n    c = b\ny = A.c",
        "y = f'{1:{2}}'",
        "y: int = 1\nz: int",
        "(lambda: 1)()\ny = {k: v for k, v in {1: 2}.items()}",
    ],
)
def test_a_cell_that_is_run_again_in_one_kernel_hits(
    notebook: Notebook, cell: str
) -> None:
    notebook.cached(f"ran()\n{cell}")
    expected = notebook["y"]

    notebook.cached(f"ran()\n{cell}")
    notebook.restart()
    notebook.cached(f"ran()\n{cell}")

    assert notebook.runs == 1
    assert notebook["y"] == expected


def test_a_loop_variable_of_another_cell_does_not_count(notebook: Notebook) -> None:
    cell = "ran()\ny = 0\nfor i in range(3):\n    y += i"
    notebook.cached(cell)
    notebook.run("for i in range(9): pass")

    notebook.cached(cell)
    assert notebook["i"] == 2
    notebook.run("i = 7")
    notebook.cached(cell)

    assert notebook.runs == 1


def test_what_a_loop_over_nothing_leaves_alone_stays(notebook: Notebook) -> None:
    notebook.run("xs = []\ni = 5")

    notebook.cached("ran()\nfor i in xs: pass")
    assert notebook["i"] == 5
    notebook.run("i = 6")
    notebook.cached("ran()\nfor i in xs: pass")

    assert notebook.runs == 1
    assert notebook["i"] == 6


def test_what_was_there_before_counts_where_no_branch_binds(notebook: Notebook) -> None:
    cell = "ran()\nif flag:\n    z = 1\ny = z"
    notebook.run("flag = False\nz = 5")
    notebook.cached(cell)
    notebook.run("z = 6")

    notebook.cached(cell)

    assert notebook["y"] == 6
    assert notebook.runs == 2


def test_what_a_helper_binds_counts_though_it_was_that_before(
    notebook: Notebook,
) -> None:
    notebook.run("n = 1\ndef f():\n    global n\n    n = 1")
    notebook.cached("ran()\nf()")
    notebook.run("n = 5")

    with pytest.warns(CacheWarning, match="bound n out of sight"):
        notebook.cached("ran()\nf()")

    assert notebook["n"] == 1


def test_what_is_bound_after_an_error_that_with_swallows_counts(
    notebook: Notebook,
) -> None:
    cell = "ran()\nwith suppress(ValueError):\n    int('a')\n    x = 3\ny = x"
    for x in (1, 2):
        notebook.run(f"from contextlib import suppress\nx = {x}")
        notebook.cached(cell)

    assert notebook["y"] == 2


def test_a_name_that_is_tried_counts(notebook: Notebook) -> None:
    cell = "ran()\ntry:\n    x\nexcept NameError:\n    x = 1"
    notebook.cached(cell)
    notebook.run("x = 7")

    notebook.cached(cell)

    assert notebook["x"] == 7


def test_what_a_helper_reads_is_there_while_the_cell_runs(notebook: Notebook) -> None:
    notebook.run("i = 5\nxs = []\ndef helper():\n    return i")

    notebook.cached("y = helper()\nfor i in xs: pass")

    assert notebook["y"] == 5


def test_a_name_that_is_not_bound_is_an_error_and_nothing_is_kept(
    notebook: Notebook,
) -> None:
    with pytest.raises(NameError, match="missing"):
        notebook.cached("ran()\ny = missing")
    notebook.run("missing = 1")
    notebook.cached("ran()\ny = missing")

    assert notebook["y"] == 1
    assert notebook.runs == 2


def test_a_name_in_a_query_counts(notebook: Notebook) -> None:
    notebook.run("import pandas as pd\ndf = pd.DataFrame({'a': [1, 2, 3]})")
    for limit in (1, 2):
        notebook.run(f"limit = {limit}")
        notebook.cached("ran()\nn = len(df.query('a > @limit'))")

    assert notebook["n"] == 1


def test_a_deleted_name_is_gone_after_a_hit(notebook: Notebook) -> None:
    for _ in range(2):
        notebook.run("x = 1")
        notebook.cached("ran()\ny = x\ndel x")
        assert "x" not in notebook

    assert notebook.runs == 1


# --- what is not cached, and says so ---


@pytest.mark.parametrize(
    ("before", "cell", "says"),
    [
        ("xs = [1]", "xs.append(2)", "changes xs in place"),
        ("d = {'a': [1]}", "d['a'] += [2]", "changes d in place"),
        (
            "import numpy as np\nrng = np.random.default_rng(0)",
            "y = rng.normal()",
            "changes rng in place",
        ),
        ("n = 0\ndef f():\n    global n\n    n += 1", "f()", "bound n out of sight"),
        ("n = 0\ndef f():\n    global n\n    n = 1", "f()", "bound n out of sight"),
        ("g = (i for i in [1])", "y = list(g)", "g has no stable digest"),
        ("", "y = eval('1')", r"calls eval\(\)"),
        ("", "import threading\nlock = threading.Lock()", "lock cannot be kept"),
        ("", "import io\nf = io.BufferedReader(io.BytesIO())", "f cannot be kept"),
        ("", "fs = [lambda: 1]", "fs cannot be kept"),
        ("", "class A:\n    pass\n(lambda: A)", "its last value cannot be kept"),
        (
            "",
            "from collections import namedtuple\nP = namedtuple('P', 'x')",
            "leads to",
        ),
        ("", "if True:\n    def f(): return 1", "f cannot be kept"),
        ("", "if True:\n    import math", "math cannot be kept"),
        ("", "k = 1\ndef f(x=k): return x", "needs k at once"),
        ("k = 1", "k = 2\ndef g(): return k\nclass A:\n    x = g()", "needs k"),
        ("def g(): return k\nk = 1", "k = 2\nclass A:\n    x = g()", "changes g"),
        ("", "def f(): pass\nf.x = 1", "changes f, which it defines"),
        ("", "import os\nos.environ['A_B'] = 'c'", "changes os"),
        ("import os", "os.environ['A_B'] = 'c'", "sets something in os"),
        ("", "def f(): pass\nf = 1", "binds f twice"),
        ("", "from string import *", "imports \\*"),
    ],
)
def test_what_would_come_back_wrong_runs_each_time(
    notebook: Notebook, before: str, cell: str, says: str
) -> None:
    for _ in range(2):
        notebook.run(before or "pass")
        with pytest.warns(CacheWarning, match=says):
            notebook.cached(f"ran()\n{cell}")

    assert notebook.runs == 2


def test_a_changed_copy_is_cached(notebook: Notebook) -> None:
    cell = "ran()\nys = list(xs)\nys.append(2)"
    notebook.run("xs = [1]")
    notebook.cached(cell)

    notebook.cached(cell)

    assert notebook.runs == 1
    assert notebook["ys"] == [1, 2]


def test_an_unhashable_input_can_be_ignored(notebook: Notebook) -> None:
    notebook.run("import threading\nlock = threading.Lock()\nx = 2")

    for _ in range(2):
        notebook.cached("ran()\nwith lock:\n    y = x", "--ignore lock")

    assert notebook.runs == 1
    assert notebook["y"] == 2


def test_the_outputs_can_be_chosen(notebook: Notebook) -> None:
    cell = "ran()\nlock = __import__('threading').Lock()\ny = 1\nz = 2"
    notebook.cached(cell, "--outputs y,z")
    notebook.restart()

    notebook.cached(cell, "--outputs y,z")

    assert notebook.runs == 1
    assert (notebook["y"], notebook["z"], "lock" in notebook) == (1, 2, False)


@pytest.mark.parametrize(
    ("options", "cell", "says"),
    [
        ("", "x = !ls", "runs a magic or a shell command"),
        ("", "y = 1\n%time y", "runs a magic"),
        ("", "y = await f()", "the cell awaits"),
        ("--memory nothing", "y = 1", "--memory nothing: that is no Memory"),
        ("--memory m --location here", "y = 1", "not both"),
        ("--outputs z", "y = 1", "computes no z, only y"),
        ("--ignore z", "y = x", "reads no z, only x"),
        ("--unknown", "y = 1", "unrecognized arguments"),
    ],
)
def test_what_cannot_work_is_refused(
    notebook: Notebook, options: str, cell: str, says: str
) -> None:
    from IPython.core.error import UsageError

    with pytest.raises(UsageError, match=says):
        notebook.cached(cell, options)

    assert "y" not in notebook


def test_an_error_is_shown_as_the_cells_own_and_nothing_is_kept(
    notebook: Notebook,
) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            notebook.cached("ran()\ny = 1\n1 / 0")
        shown = notebook.shown.stdout + notebook.shown.stderr
        assert "line 4" in shown
        assert "notebooks.py" not in shown
        assert "run_cell_magic" not in shown

    assert notebook.runs == 2


@pytest.mark.parametrize("cell", ["y = 1\ndef f(:", "y = 1\nreturn y"])
def test_an_error_of_syntax_is_shown_at_its_line(notebook: Notebook, cell: str) -> None:
    with pytest.raises(SyntaxError):
        notebook.cached(cell)

    shown = notebook.shown.stdout + notebook.shown.stderr
    assert "line 3" in shown
    assert "y" not in notebook


def test_an_interrupt_leaves_nothing(notebook: Notebook) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            notebook.cached("ran()\nfor i in [1]:\n    raise KeyboardInterrupt")

    assert notebook.runs == 2
    assert sys.stdout.__class__.__name__ != "_Tee"


def test_a_damaged_entry_is_computed_again(notebook: Notebook) -> None:
    notebook.cached("ran()\ny = [1] * 100")
    for value in (notebook.folder / "results").glob("*/*/??/*/value"):
        value.write_bytes(value.read_bytes()[:-9])

    with pytest.warns(CacheWarning):
        notebook.cached("ran()\ny = [1] * 100")

    assert notebook.runs == 2
    assert notebook["y"] == [1] * 100


# --- definitions ---


def test_definitions_belong_to_the_notebook_after_a_hit(notebook: Notebook) -> None:
    cell = """
        import json
        from collections import Counter as C
        import os.path
        scale = 2
        def f(x, k=C("a")["a"]):
            return g(x) * scale * k
        class A:
            def m(self):
                return h(1)
        def h(x):
            return x + 1
        a = A()
        ran()
    """
    notebook.run("def g(x):\n    return x")
    notebook.cached(cell)
    notebook.restart()
    notebook.run("def g(x):\n    return x")

    notebook.cached(cell)

    assert notebook.runs == 1
    assert notebook["f"](3) == 6
    assert notebook["a"].m() == 2
    assert type(notebook["a"]) is notebook["A"]
    assert notebook["f"].__globals__ is notebook.shell.user_ns
    assert notebook["f"].__module__ == "__main__"
    assert notebook["json"].dumps(notebook["C"]("a")) == '{"a": 1}'
    notebook.run("def g(x):\n    return 10 * x")
    assert notebook["f"](3) == 60


def test_what_definitions_print_is_shown_once(notebook: Notebook) -> None:
    cell = "class A:\n    print('made')\ny = 1"
    notebook.cached(cell)

    notebook.cached(cell)

    assert notebook.shown.stdout == "made\n"


# --- what it shows ---


def test_what_the_cell_shows_is_shown_again_in_its_order(notebook: Notebook) -> None:
    cell = """
        import sys
        from IPython.display import HTML, display
        ran()
        print("one")
        display(HTML("<b>two</b>"))
        print("three", file=sys.stderr)
        print("four")
    """
    notebook.cached(cell)
    first = notebook.shown

    notebook.cached(cell)

    again = notebook.shown
    assert again.stdout == first.stdout == "one\nfour\n"
    assert again.stderr == first.stderr == "three\n"
    assert [out.data for out in again.outputs] == [out.data for out in first.outputs]
    assert again.outputs[0].data["text/html"] == "<b>two</b>"
    assert notebook.runs == 1


def test_a_semicolon_silences_the_last_expression(notebook: Notebook) -> None:
    assert notebook.cached("1 + 1;  # nothing") is None
    assert notebook.cached("1 + 1;  # nothing") is None
    assert notebook.cached("1 + 1") == 2


def test_figures_are_shown_again(notebook: Notebook) -> None:
    cell = """
        ran()
        fig, ax = plt.subplots()
        ax.plot([1, 2])
        None
    """
    notebook.shell.enable_gui = lambda _gui=None: None
    notebook.run("%matplotlib inline\nimport matplotlib.pyplot as plt")
    notebook.cached(cell)
    assert [set(out.data) for out in notebook.shown.outputs] == [
        {"image/png", "text/plain"}
    ]

    notebook.cached(cell)

    assert "image/png" in notebook.shown.outputs[0].data
    assert len(notebook.shown.outputs) == 1
    assert notebook["ax"].figure is notebook["fig"]
    assert notebook.runs == 1


def test_it_is_quiet_unless_asked(notebook: Notebook) -> None:
    notebook.cached("y = 1")
    assert notebook.shown.stdout == ""

    notebook.cached("y = 1", "--verbose")

    assert notebook.shown.stdout == "cache: hit, saved 0.0 s\n"


# --- where ---


def test_results_go_where_they_are_told_to(notebook: Notebook) -> None:
    here, there = notebook.folder / "here", notebook.folder / "there"
    notebook.run(f"from cachekit import Memory\nmemory = Memory({str(there)!r})")

    notebook.cached("ran()\ny = 1", f"--location {here}")
    notebook.cached("ran()\ny = 1", "--memory memory")
    notebook.cached("ran()\ny = 1")

    assert notebook.runs == 3
    for folder in (here, there, notebook.folder / "results"):
        assert len(list(folder.glob("*/*/??/*/value"))) == 1


def test_nothing_is_kept_by_a_memory_without_a_place(notebook: Notebook) -> None:
    notebook.run("from cachekit import Memory\nmemory = Memory(None)")

    for _ in range(2):
        assert notebook.cached("ran()\ny = 1\ny", "--memory memory") == 1

    assert notebook.runs == 2


def test_the_extension_can_be_unloaded(notebook: Notebook) -> None:
    notebook.shell.extension_manager.unload_extension("cachekit")

    assert notebook.shell.find_cell_magic("cache") is None


def test_arrays_come_back_as_they_were(notebook: Notebook) -> None:
    cell = """
        import numpy as np
        a = np.arange(2_000_000.0).reshape(2, -1)
        b = a[:, ::2]
        c = a[0]
        c.flags.writeable = False
        ran()
    """
    notebook.cached(cell)
    before = [notebook[name].copy() for name in "abc"]

    notebook.cached(cell)

    assert notebook.runs == 1
    assert [notebook[name].flags.writeable for name in "abc"] == [True, True, False]
    for name, array in zip("abc", before, strict=True):
        assert (notebook[name] == array).all()


# --- names, by themselves ---


@pytest.mark.parametrize(
    ("cell", "reads", "binds"),
    [
        ("y = x", "x", "y"),
        ("x += 1", "x", "x"),
        ("x = 1\nx += 1", "", "x"),
        ("x = [i + k for i in xs]", "k xs", "x"),
        ("x = [j for i in xs for j in i]", "xs", "x"),
        ("f = lambda a, b=c: a + d", "c d", "f"),
        ("def f(a=b):\n    return c", "b c", "f"),
        ("def f():\n    return c\nf()", "c", "f"),
        ("c = 1\ndef f():\n    return c + f()\nf()", "", "f c"),
        ("def f():\n    global n\n    n = m\nf()", "m", "f n"),
        ("@d\ndef f():\n    return c", "c d", "f"),
        ("class A(B):\n    x = y\n    z = x", "B x y", "A"),
        ("class A:\n    def m(self):\n        return c\nA().m()", "c", "A"),
        ("del x", "x", "x"),
        ("print(y := x)", "print x", "y"),
        ("import a.b, c as d\nfrom e import f as g", "", "a d g"),
        ("y = f'{x!r:{w}}'", "w x", "y"),
        ("match x:\n    case {'a': b, **c} if d: pass", "d x", "b c"),
        ("try:\n    a.b\n    import a\nexcept B as c: pass", "B a c", "a c"),
        ("with a as b.c, open(d) as e: e", "a b d open", "e"),
        ("with a: x = 1\nx", "a x", "x"),
        ("with open(a): x = 1\nx", "a open", "x"),
        ("match x:\n    case A(y=[*z]): pass", "A x", "z"),
        ("a[i].b = c", "a c i", ""),
        ("for a.b in xs: pass", "a xs", ""),
        ("with x as (y, z): pass", "x", "y z"),
        ("try:\n    x = 1\nfinally:\n    print(x)", "print x", "x"),
        ("if a:\n    x = 1\nelse:\n    x = 2\nx", "a", "x"),
        ("for i in []:\n    pass\nelse:\n    i", "i", "i"),
        ("a and (x := 1)\nx", "a x", "x"),
        ("x: T = 1", "T", "x"),
        ("x = x", "x", "x"),
        ("f = [lambda a=b: [c for c in d] for e in g if (w := e)]", "b d g", "f w"),
        ("x = {**{i: j for i, j in k}, **{i: 1 for i in [l for l in m]}}", "k m", "x"),
    ],
)
def test_the_names_of_a_cell_are_found(cell: str, reads: str, binds: str) -> None:
    found = names_of(ast.parse(cell))

    assert " ".join(sorted(found.reads)) == reads
    assert found.computed | found.defined == set(binds.split())


def test_a_cell_that_is_nested_too_deeply_is_not_looked_into() -> None:
    deep: ast.expr = ast.Constant(1)
    for _ in range(9000):
        deep = ast.UnaryOp(ast.Not(), deep)
    tree = ast.Module([ast.Expr(deep)], [])

    assert names_of(tree).problem == "its code is nested too deeply"


# --- a real kernel ---


class Kernels:
    """Runs the same cells in one new kernel after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *cells: str) -> list[str]:
        """Run cells in a new kernel; return the text that each shows."""
        nodes = [nbformat.v4.new_code_cell(textwrap.dedent(cell)) for cell in cells]  # type: ignore[no-untyped-call]
        book = nbformat.v4.new_notebook(cells=nodes)  # type: ignore[no-untyped-call]
        client = nbclient.NotebookClient(
            book,
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(self.folder)}},
        )
        client.execute()
        return [
            "".join(
                out.get("text", "") or out.get("data", {}).get("text/plain", "")
                for out in cell.outputs
            )
            for cell in book.cells
        ]


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernels:
    monkeypatch.setenv("CACHEKIT_DIR", str(tmp_path / "results"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    return Kernels(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_cell_hits_in_the_next_kernel(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = "%load_ext cachekit"
    helper = "def helper(x):\n    return {} * x"
    cell = """
        %%cache --verbose
        from IPython.display import Markdown, display
        class Point:
            def __init__(self, x):
                self.x = x
        points = [Point(helper(i)) for i in range(3)]
        names = {str(i) for i in range(9)}
        print("computing")
        display(Markdown("*shown*"))
        len(points)
    """
    use = "isinstance(points[0], Point), points[2].x, sorted(names)[0]"
    shown = []
    for seed, factor, comment in ((0, 2, ""), (1, 2, "# why\n"), (2, 3, "")):
        monkeypatch.setenv("PYTHONHASHSEED", str(seed))
        shown.append(
            kernels.run(load, comment + helper.format(factor), cell, cell, use)
        )

    told = [["miss" in cells[2], "miss" in cells[3]] for cells in shown]
    assert told == [[True, False], [False, False], [True, False]]
    assert [cells[4] for cells in shown] == [
        "(True, 4, '0')",
        "(True, 4, '0')",
        "(True, 6, '0')",
    ]
    for cells in shown:
        assert cells[2].startswith("computing\n<IPython.core.display.Markdown object>")
        assert cells[2].endswith("3")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_cached_function_in_a_notebook_does_as_a_reader_expects(
    kernels: Kernels,
) -> None:
    begin = "from cachekit import cache"
    helper = "def helper(x):\n    return x + 1"
    edited = "def helper(x):\n    return x + 2"
    slow = "@cache\ndef slow(x):\n    print('computing')\n    return helper(x)"
    commented = slow.replace("    print", "    # as it is\n    print")
    call = "slow(1)"

    first = kernels.run(
        begin, helper, slow, call, call, commented, call, slow, call, edited, call
    )
    second = kernels.run(begin, helper, slow, call, edited, call)

    assert [text for text in first if text] == [
        "computing\n2",  # a miss
        "2",  # run again
        "2",  # with a comment
        "2",  # defined again
        "computing\n3",  # its helper edited in another cell
    ]
    assert [text for text in second if text] == ["2", "3"]  # after a restart


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_error_in_a_cached_cell_stops_the_notebook(kernels: Kernels) -> None:
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError) as raised:
        kernels.run("%load_ext cachekit", "%%cache\nx = 1\n1 / 0", "x")

    text = str(raised.value)
    assert "line 3" in text
    assert "run_cell_magic" not in text
