"""What an attacker of fingerprints tried: what users write, and then change.

Each program defines ``f()``. An edit that changes what it returns must change its
fingerprint; one that does not, nor a call, another process or a reload, must not.
"""

from __future__ import annotations
import __future__

import ast
import collections.abc
import importlib
import linecache
import os
import pathlib
import subprocess
import sys
import textwrap
import threading
import typing
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cachekit.errors import CacheWarning
from cachekit.hashing import Code, boundary, classes, digest, fingerprint
from cachekit.hashing.names import names_read
from cachekit.hashing.syntax import write_syntax

# The modules that the programs consist of.
MODULES = ("attacked", "other", "pack")

Load = Callable[..., Any]


class Attack(NamedTuple):
    """A program, and an edit to it."""

    text: str
    old: str
    new: str


class FarAttack(NamedTuple):
    """A program that uses another module, in which a 3 becomes a 4."""

    text: str
    other: str = "def run(): return 3"
    package: str = ""
    submodule: str = ""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a program anew, each time from a folder of its own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    count = iter(range(1000))

    def load_program(
        text: str, *, other: str = "", package: str = "", submodule: str = ""
    ) -> Any:
        folder = tmp_path / str(next(count))
        (folder / "pack").mkdir(parents=True)
        (folder / "attacked.py").write_text(textwrap.dedent(text))
        (folder / "other.py").write_text(textwrap.dedent(other))
        (folder / "pack" / "__init__.py").write_text(textwrap.dedent(package))
        (folder / "pack" / "part.py").write_text(textwrap.dedent(submodule))
        monkeypatch.syspath_prepend(folder)
        for name in [*sys.modules]:
            if name.partition(".")[0] in MODULES:
                monkeypatch.delitem(sys.modules, name)
        importlib.invalidate_caches()
        return importlib.import_module("attacked")

    return load_program


def outcome(program: Any) -> tuple[str, str]:
    """Return the fingerprint, taken before the first call, and what a call returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Code(program.f).fingerprint(), repr(program.f())


def quiet_fingerprint(function: Callable[..., Any]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        return Code(function).fingerprint()


@pytest.fixture
def other_is_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "_is_users_file", lambda top, _: top == "attacked")


# --- edits that must be seen ---

RECORD = "from dataclasses import dataclass, field, fields\nimport enum\n"

EDITS = {
    # records
    "the default of a field": Attack(
        RECORD + "@dataclass\nclass A:\n    x: int = 3\ndef f(): return A().x", "3", "4"
    ),
    "the default of a field in a slot": Attack(
        RECORD + "@dataclass(slots=True)\nclass A:\n    x: int = 3\n"
        "def f(): return A().x",
        "3",
        "4",
    ),
    "the factory of a field": Attack(
        RECORD + "@dataclass\nclass A:\n"
        "    x: list = field(default_factory=lambda: [3])\ndef f(): return A().x",
        "3",
        "4",
    ),
    "the type of a field, by which a table is read": Attack(
        RECORD + "@dataclass\nclass A:\n    x: int\n"
        "def f(): return [field.type('3') for field in fields(A)]",
        "x: int",
        "x: float",
    ),
    "the annotations of a plain class": Attack(
        "class A:\n    x: int\ndef f(): return A.__annotations__['x']('3')",
        "x: int",
        "x: float",
    ),
    "the annotations of a class in a function": Attack(
        "def f():\n    class A:\n        if f:\n            x: int\n"
        "    return A.__annotations__['x']('3')",
        "x: int",
        "x: float",
    ),
    "the metadata of a field": Attack(
        RECORD + "@dataclass\nclass A:\n"
        "    x: int = field(default=1, metadata={'unit': 'm'})\n"
        "def f(): return [field.metadata['unit'] for field in fields(A)]",
        "'m'",
        "'km'",
    ),
    "whether a field is shown": Attack(
        RECORD + "@dataclass\nclass A:\n    x: int = field(default=3, repr=True)\n"
        "def f(): return repr(A())",
        "repr=True",
        "repr=False",
    ),
    "the hash of a dataclass, written by hand": Attack(
        RECORD + "@dataclass\nclass A:\n    x: int = 1\n"
        "    def __hash__(self): return 3\ndef f(): return hash(A())",
        "3",
        "4",
    ),
    "the hook of an attrs field": Attack(
        "import attrs\n@attrs.define\nclass A:\n"
        "    x: int = attrs.field(default=1, on_setattr=lambda i, a, v: v + 3)\n"
        "def f():\n    a = A()\n    a.x = 1\n    return a.x",
        "3",
        "4",
    ),
    "the comparison of an attrs field": Attack(
        "import attrs\n@attrs.define\nclass A:\n"
        "    x: int = attrs.field(eq=lambda v: 1)\n"
        "def f(): return A(1) == A(2)",
        "v: 1",
        "v: v",
    ),
    "the arguments that a pattern matches by": Attack(
        "class A:\n    __match_args__ = ('x',)\n    x, y = 3, 4\n"
        "def f():\n    match A():\n        case A(v): return v",
        "('x',)",
        "('y',)",
    ),
    "the default of a named tuple": Attack(
        "from typing import NamedTuple\nclass A(NamedTuple):\n    x: int = 3\n"
        "def f(): return A().x",
        "3",
        "4",
    ),
    # enumerations
    "a method of an enum": Attack(
        RECORD + "class A(enum.Enum):\n    X = 1\n    def m(self): return 3\n"
        "def f(): return A.X.m()",
        "3",
        "4",
    ),
    "a cached method of an enum": Attack(
        RECORD + "import functools\nclass A(enum.Enum):\n    X = 1\n"
        "    @functools.lru_cache\n    def m(self): return 3\ndef f(): return A.X.m()",
        "3",
        "4",
    ),
    "a private constant of an enum": Attack(
        RECORD + "class A(enum.Enum):\n    X = 1\n    __k = 3\n"
        "    def m(self): return self.__k\ndef f(): return A.X.m()",
        "3",
        "4",
    ),
    "a constant of an enum that is no member": Attack(
        RECORD + "class A(enum.Enum):\n    X = 1\n    K = enum.nonmember(3)\n"
        "def f(): return A.K",
        "3",
        "4",
    ),
    "the order of the members of an enum": Attack(
        RECORD + "class A(enum.Enum):\n    X = 'x'\n    Y = 'y'\ndef f(): return [*A]",
        "X = 'x'\n    Y = 'y'",
        "Y = 'y'\n    X = 'x'",
    ),
    # classes
    "a property of a subclass of property": Attack(
        "class classproperty(property):\n"
        "    def __get__(self, obj, owner=None): return self.fget(owner)\n"
        "class A:\n    @classproperty\n    def k(cls): return 3\ndef f(): return A.k",
        "3",
        "4",
    ),
    "a method of a metaclass": Attack(
        "class M(type):\n    def __call__(cls): return 3\n"
        "class A(metaclass=M): pass\ndef f(): return A()",
        "3",
        "4",
    ),
    "a keyword for __init_subclass__": Attack(
        "class B:\n    def __init_subclass__(cls, k): cls.k = k\n"
        "class A(B, k=3): pass\ndef f(): return A.k",
        "3",
        "4",
    ),
    "the state of a descriptor": Attack(
        "class D:\n    def __init__(self, k): self.k = k\n"
        "    def __get__(self, obj, owner=None): return self.k\n"
        "class A:\n    x = D(3)\ndef f(): return A().x",
        "3",
        "4",
    ),
    "what super() leads to": Attack(
        "class B:\n    def m(self): return 3\nclass M:\n"
        "    def m(self): return super().m()\nclass A(M, B): pass\n"
        "def f(): return A().m()",
        "3",
        "4",
    ),
    "the order of base classes": Attack(
        "class X:\n    k = 3\nclass Y:\n    k = 4\nclass A(X, Y): pass\n"
        "def f(): return A().k",
        "(X, Y)",
        "(Y, X)",
    ),
    "a method of a generic class's alias": Attack(
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass A(Generic[T]):\n"
        "    def m(self): return 3\nB = A[int]\ndef f(): return B().m()",
        "3",
        "4",
    ),
    "a function assigned onto a class": Attack(
        "class A: pass\ndef m(self): return 3\nA.m = m\ndef f(): return A().m()",
        "3",
        "4",
    ),
    # functions
    "an attribute of a function": Attack(
        "def g(): return g.k\ng.k = 3\ndef f(): return g()", "3", "4"
    ),
    "an attribute that a decorator gives to a function": Attack(
        "def tag(k):\n    def decorate(function):\n        function.k = k\n"
        "        return function\n    return decorate\n"
        "@tag(3)\ndef g(): pass\nALL = [g]\ndef f(): return [g.k for g in ALL]",
        "tag(3)",
        "tag(4)",
    ),
    "an attribute of a partial": Attack(
        "import functools\np = functools.partial(int)\np.k = 3\ndef f(): return p.k",
        "3",
        "4",
    ),
    "the annotation by which a nested function is dispatched": Attack(
        "import functools\ndef f():\n    @functools.singledispatch\n"
        "    def g(x): return 1\n    @g.register\n    def _(x: int): return 2\n"
        "    return g(3)",
        "x: int",
        "x: float",
    ),
    "which closure of two stands in a table": Attack(
        "def make(k):\n    def g(): return k\n    return g\n"
        "T = [make(1), make(2)]\ndef f(): return T[0]()",
        "make(1), make(2)",
        "make(2), make(1)",
    ),
    "what a ufunc was made of": Attack(
        "import numpy as np\ndef g(x): return x + 3\nu = np.frompyfunc(g, 1, 1)\n"
        "def f(): return u(1)",
        "3",
        "4",
    ),
    "what a sort key was made of": Attack(
        "import functools\ndef g(a, b): return a - b\nk = functools.cmp_to_key(g)\n"
        "def f(): return sorted([1, 2], key=k)",
        "a - b",
        "b - a",
    ),
    "what an itemgetter gets": Attack(
        "import operator\nget = operator.itemgetter(1)\ndef f(): return get([3, 4])",
        "(1)",
        "(0)",
    ),
    "a generator that becomes a function": Attack(
        "def g():\n    yield 3\ndef f(): return type(g())", "yield 3", "return 3"
    ),
    "a bound builtin's owner": Attack(
        "T = {'a': 3}\nget = T.get\ndef f(): return get('a')", "3", "4"
    ),
    "what a view of a dict shows": Attack(
        "T = {'a': 3}\nV = T.values()\ndef f(): return list(V)", "3", "4"
    ),
    # values that have no digest
    "the code of a global that holds a lock": Attack(
        "import threading\nclass A:\n    def __init__(self):\n"
        "        self.lock = threading.Lock()\n    def m(self): return 3\n"
        "a = A()\ndef f(): return a.m()",
        "3",
        "4",
    ),
    "a number from which a global that holds a lock was made": Attack(
        "import threading\nK = 3\nclass A:\n    def __init__(self, k):\n"
        "        self.lock, self.k = threading.Lock(), k\n"
        "a = A(K)\ndef f(): return a.k",
        "K = 3",
        "K = 4",
    ),
    "an attribute of a class that holds a lock": Attack(
        "import threading\nclass A:\n    def __init__(self, k):\n"
        "        self.lock, self.k = threading.Lock(), k\n"
        "class B:\n    a = A(3)\ndef f(): return B.a.k",
        "3",
        "4",
    ),
    "an object that stands in a list after a lock": Attack(
        "import threading\nclass A:\n    def m(self): return 3\n"
        "L = [threading.Lock(), A()]\ndef f(): return L[1].m()",
        "3",
        "4",
    ),
}


@pytest.mark.parametrize("attack", EDITS.values(), ids=EDITS.keys())
def test_an_edit_that_changes_the_result_is_seen(attack: Attack, load: Load) -> None:
    before = outcome(load(attack.text))

    after = outcome(load(attack.text.replace(attack.old, attack.new)))

    assert before[1] != after[1]
    assert before[0] != after[0]


LAZY = """
import importlib
def __getattr__(name):
    if name == "run":
        return importlib.import_module("pack.part").run
    raise AttributeError(name)
"""
RUN = "def run(): return 3"

FAR_EDITS = {
    "a module in a table": FarAttack(
        "import other\nT = {'a': other}\ndef f(): return T['a'].run()"
    ),
    "a module in an object": FarAttack(
        "import other, types\nN = types.SimpleNamespace(m=other)\n"
        "def f(): return N.m.run()"
    ),
    "a module in a partial": FarAttack(
        "import functools, other\ndef g(m): return m.run()\n"
        "p = functools.partial(g, other)\ndef f(): return p()"
    ),
    "a module as a default": FarAttack(
        "import other\ndef f(m=other): return m.run()",
    ),
    "a module as an attribute of a class": FarAttack(
        "class A:\n    import other\ndef f(): return A.other.run()",
    ),
    "a module handed on in a body": FarAttack(
        "def g(m): return m.run()\ndef f():\n    import other\n    return g(other)",
    ),
    "a module by its namespace": FarAttack(
        "import other\ndef f(): return other.__dict__['run']()"
    ),
    "a module imported and used on one line": FarAttack(
        "def f():\n    import other; return other.run()"
    ),
    "a name of a module, made when it is asked for": FarAttack(
        "import other\ndef f(): return other.K",
        other="def __getattr__(name):\n    if name == 'K': return 3\n"
        "    raise AttributeError(name)",
    ),
    "everything imported from a module": FarAttack(
        "from other import *\ndef f(): return run()"
    ),
    "a function of a package that loads its parts when asked": FarAttack(
        "import pack\ndef f(): return pack.run()", package=LAZY, submodule=RUN
    ),
    "a submodule imported in a body": FarAttack(
        "def f():\n    import pack.part\n    return pack.part.run()", submodule=RUN
    ),
    "a submodule imported in a body under another name": FarAttack(
        "def f():\n    import pack.part as p\n    return p.run()", submodule=RUN
    ),
    "a submodule imported in a body from its package": FarAttack(
        "def f():\n    from pack import part\n    return part.run()", submodule=RUN
    ),
    "a neighbour imported in a body": FarAttack(
        "from pack import f",
        package="def f():\n    from . import part\n    return part.run()",
        submodule=RUN,
    ),
    "a function passed on by a package": FarAttack(
        "from pack import *\ndef f(): return run()",
        package="from .part import run\n__all__ = ['run']",
        submodule=RUN,
    ),
    "an object with a lock, imported by name": FarAttack(
        "from other import a\ndef f(): return a.k",
        other="import threading\nclass A:\n    def __init__(self, k):\n"
        "        self.lock, self.k = threading.Lock(), k\na = A(3)",
    ),
}


@pytest.mark.parametrize("attack", FAR_EDITS.values(), ids=FAR_EDITS.keys())
def test_an_edit_to_another_module_is_seen(attack: FarAttack, load: Load) -> None:
    text, *others = attack
    roles = ("other", "package", "submodule")
    edited = [other.replace("3", "4") for other in others]
    before = outcome(load(text, **dict(zip(roles, others, strict=True))))

    after = outcome(load(text, **dict(zip(roles, edited, strict=True))))

    assert before[1] != after[1]
    assert before[0] != after[0]


# --- changes in a running process ---

Change = Callable[[Any], object]

CHANGES: dict[str, tuple[str, Change]] = {
    "a dict is changed whose method is a global": (
        "T = {'a': 3}\nget = T.get\ndef f(): return get('a')",
        lambda module: module.T.update(a=4),
    ),
    "a dict is changed whose method stands in a tuple": (
        "T = {'a': 3}\nget = (T.get,)\ndef f(): return get[0]('a')",
        lambda module: module.T.update(a=4),
    ),
    "a default is changed in place": (
        "def g(x=[3]): return list(x)\ndef f(): return g()",
        lambda module: module.g.__defaults__[0].append(4),
    ),
    "an attribute of a function is set": (
        "def g(): return g.k\ng.k = 3\ndef f(): return g()",
        lambda module: setattr(module.g, "k", 4),
    ),
    "a method is replaced": (
        "class A:\n    def m(self): return 3\ndef f(): return A().m()",
        lambda module: setattr(module.A, "m", lambda _: 4),
    ),
    "a method of a base class is hidden": (
        "class B:\n    k = 3\nclass A(B): pass\ndef f(): return A.k",
        lambda module: setattr(module.A, "k", 4),
    ),
    "a class gets other bases": (
        "class B: pass\nclass X(B):\n    k = 3\nclass Y(B):\n    k = 4\n"
        "class A(X): pass\ndef f(): return A.k",
        lambda module: setattr(module.A, "__bases__", (module.Y,)),
    ),
    "an object becomes one of another class": (
        "class A:\n    k = 3\nclass B:\n    k = 4\na = A()\ndef f(): return a.k",
        lambda module: setattr(module.a, "__class__", module.B),
    ),
    "a cell of a closure is bound anew": (
        "def make():\n    k = 3\n    def put(v):\n        nonlocal k\n        k = v\n"
        "    return lambda: k, put\nget, put = make()\ndef f(): return get()",
        lambda module: module.put(4),
    ),
    "a type is registered": (
        "import functools\n@functools.singledispatch\ndef g(x): return 3\n"
        "def f(): return g(1)",
        lambda module: module.g.register(int, lambda _: 4),
    ),
    "a name hides a builtin": (
        "def f(): return len([1])",
        lambda module: setattr(module, "len", lambda _: 4),
    ),
    "the memory below a view is filled": (
        "import numpy as np\na = np.zeros(3)\nb = a[:1]\ndef f(): return b.sum()",
        lambda module: module.a.fill(4),
    ),
    "a module gains a name": (
        "import other\ndef f():\n    m = other\n    return sorted(vars(m))",
        lambda module: setattr(module.other, "added", 4),
    ),
    "a module gains the name that was missing": (
        "import other\ndef f():\n    try:\n        return other.added\n"
        "    except AttributeError:\n        return None",
        lambda module: setattr(module.other, "added", 4),
    ),
    "a list gets a part that has no digest": (
        "L = [3]\ndef f(): return len(L)",
        lambda module: module.L.append(threading.Lock()),
    ),
    "a default gets a part that has no digest": (
        "def f(x=[3]): return len(x)",
        lambda module: module.f.__defaults__[0].append(threading.Lock()),
    ),
}


@pytest.mark.parametrize(("text", "change"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_in_the_running_process_is_seen(
    text: str, change: Change, load: Load
) -> None:
    module = load(text)
    code = Code(module.f)
    before = code.fingerprint(), repr(module.f())

    change(module)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        assert repr(module.f()) != before[1]
        assert code.fingerprint() != before[0]


# --- what must change nothing ---

COUNTING = """
import functools
class Counted:
    def __init__(self, function):
        functools.update_wrapper(self, function)
        self.function = function
    def __call__(self, *arguments):
        return self.function(*arguments)
"""
HARMLESS = {
    "a docstring below a decorator that is a class": Attack(
        COUNTING + "@Counted\ndef g():\n    'Old.'\n    return 3\ndef f(): return g()",
        "Old.",
        "New.",
    ),
    "an annotation below a decorator that is a class": Attack(
        COUNTING + "@Counted\ndef g(x: int): return 3\ndef f(): return g(1)",
        "x: int",
        "x: float",
    ),
    "the annotation of a local, in a branch": Attack(
        "def f():\n    if f:\n        x: int = 3\n    return x", "x: int", "x"
    ),
    "the annotation of a local, below else": Attack(
        "def f():\n    if not f:\n        pass\n    else:\n        x: int = 3\n"
        "    return x",
        "x: int",
        "x",
    ),
    "the annotation of a local, below finally": Attack(
        "def f():\n    try:\n        pass\n    finally:\n        x: int = 3\n"
        "    return x",
        "x: int",
        "x",
    ),
    "the annotation of a local, in a method of a class in a function": Attack(
        "def f():\n    class A:\n        def m(self):\n            x: int = 3\n"
        "            return x\n    return A().m()",
        "x: int",
        "x",
    ),
    "the docstring of a vectorized function": Attack(
        "import numpy as np\n@np.vectorize\ndef g(x):\n    'Old.'\n    return x\n"
        "def f(): return g(1)",
        "Old.",
        "New.",
    ),
    "the ends of the lines": Attack("def f():\n    return 3\n", "\n", "   \r\n"),
    "tabs": Attack("def f():\n    return 3\n", "    ", "\t"),
    "a byte order mark": Attack("def f():\n    return 'é'\n", "def f", "\ufeffdef f"),
    "a mark of typing's": Attack(
        "import typing\n@typing.final\ndef f(): return 3", "@typing.final\n", ""
    ),
    "the order in which a function gets its attributes": Attack(
        "def f(): return 3\nf.a = 1\nf.b = 1", "f.a = 1\nf.b = 1", "f.b = 1\nf.a = 1"
    ),
    "an unused import": Attack("def f(): return 3", "def", "import json\ndef"),
    "the order in which a dict is filled with classes": Attack(
        "class A: pass\nclass B: pass\nT = {A: 1, B: 2}\ndef f(): return len(T)",
        "A: 1, B: 2",
        "B: 2, A: 1",
    ),
}


@pytest.mark.parametrize("attack", HARMLESS.values(), ids=HARMLESS.keys())
def test_an_edit_that_does_not_matter_changes_nothing(
    attack: Attack, load: Load
) -> None:
    before = Code(load(attack.text).f).fingerprint()

    after = Code(load(attack.text.replace(attack.old, attack.new)).f).fingerprint()

    assert after == before


CALLS = {
    "a class that inherits from a protocol": (
        "from typing import Protocol\nclass P(Protocol):\n    def m(self): return 3\n"
        "class A(P): pass\ndef f(): return A().m()"
    ),
    "a function of random, imported by name": (
        "from random import random\ndef f(): return random()"
    ),
    "a method of random, imported by name": (
        "from random import choice\ndef f(): return choice([1, 2, 3])"
    ),
    "a function of numpy.random, imported by name": (
        "from numpy.random import rand\ndef f(): return rand()"
    ),
    "a distribution of scipy, imported by name": (
        "from scipy.stats import norm\ndef f(): return norm.rvs()"
    ),
    "a cached property": (
        "import functools\nclass A:\n    @functools.cached_property\n"
        "    def k(self): return 3\na = A()\ndef f(): return a.k"
    ),
    "a function that remembers": (
        "import functools\n@functools.lru_cache\ndef g(x): return x\n"
        "def f(): return g(1)"
    ),
    "a function that dispatches on an abstract class": (
        "import functools, collections.abc as abc\n@functools.singledispatch\n"
        "def g(x): return 1\n@g.register(abc.Sequence)\ndef _(x): return 2\n"
        "def f(): return g([])"
    ),
    "an object that is pickled": (
        "import pickle\nclass A:\n    __slots__ = ('k',)\na = A()\n"
        "def f(): return pickle.dumps(a)"
    ),
    "an abstract class that is asked about": (
        "import abc\nclass A(abc.ABC): pass\nclass B(A): pass\n"
        "def f(): return isinstance(B(), A), isinstance(3, A)"
    ),
    "a submodule imported in the body": (
        "def f():\n    import pack.part\n    return pack.part.__name__"
    ),
}


@pytest.mark.parametrize("text", CALLS.values(), ids=CALLS.keys())
def test_a_call_leaves_the_fingerprint_as_it_was(text: str, load: Load) -> None:
    f = load(text).f
    before = quiet_fingerprint(f)

    f()

    assert quiet_fingerprint(f) == before


def test_the_order_of_a_set_of_functions_does_not_matter(load: Load) -> None:
    text = "def a(): return 1\ndef b(): return 2\ndef c(): return 3\nS = {a, b, c}\n"
    programs = [load(text + "def f(): return [g() for g in S]") for _ in range(10)]

    prints = {fingerprint(program.f) for program in programs}

    assert len(prints) == 1


def test_an_environment_imported_by_name_is_no_part_of_the_code(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    f = load("from os import environ\ndef f(): return environ").f
    before = Code(f).fingerprint()

    monkeypatch.setenv("ATTACKED", "yes")

    assert Code(f).fingerprint() == before


def test_a_sentinel_is_no_reason_to_warn(load: Load) -> None:
    f = load("MISSING = object()\ndef f(x=1): return x is MISSING").f

    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert Code(f).fingerprint()


SCRIPT = {
    "a logger": "import logging\nk = logging.getLogger(__name__)",
    "a type variable": "import typing\nk = typing.TypeVar('k')",
    "a decorator that is a class": COUNTING + "@Counted\ndef k(): return 1",
    "an object and its class": "class A: pass\nk = [A, A()]",
}


def test_a_script_and_a_module_have_the_same_fingerprints(
    load: Load, tmp_path: Path
) -> None:
    ask = "\nfrom cachekit.hashing import fingerprint\n"
    for name, text in SCRIPT.items():
        number = [*SCRIPT].index(name)
        ask += f"{textwrap.dedent(text)}\ndef f{number}(): return k\n"
        ask += f"prints = [*globals().get('prints', ()), fingerprint(f{number})]\n"
    module = load(ask)
    run = "if __name__ == '__main__': print(*prints)"
    (tmp_path / "attacked.py").write_text(ask + run)

    printed = subprocess.run(
        [sys.executable, "-B", "attacked.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert dict(zip(SCRIPT, printed, strict=True)) == dict(
        zip(SCRIPT, module.prints, strict=True)
    )


# --- notebooks, and code that is typed ---


def run_cell(text: str, filename: str, flags: int = 0) -> Any:
    """Run code as a notebook does: its source is known to linecache alone."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    lines = text.splitlines(keepends=True)
    linecache.cache[filename] = (len(text), None, lines, filename)
    exec(compile(text, filename, "exec", flags, dont_inherit=True), namespace)
    return namespace["f"]


def test_a_notebook_that_imports_annotations_from_the_future_has_a_source() -> None:
    flag = __future__.annotations.compiler_flag

    first = run_cell("def f(x):\n    'Old.'\n    return x\n", "<ipython-1>", flag)
    second = run_cell("def f(x):\n    'New.'\n    return x\n", "<ipython-2>", flag)

    assert fingerprint(first) == fingerprint(second)


@pytest.mark.parametrize("filename", ["<timed exec>", "<python-input-0>", "<string>"])
@pytest.mark.parametrize("method", ["m", "_m", "__call__", "__post_init__"])
def test_the_methods_of_a_record_that_was_typed_are_seen(
    filename: str, method: str
) -> None:
    def make(number: int) -> Any:
        text = (
            f"{RECORD}@dataclass\nclass A:\n    x: int = 1\n"
            f"    def {method}(self): return {number}\ndef f(): return A"
        )
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, filename, "exec"), namespace)
        return namespace["f"]

    assert fingerprint(make(3)) != fingerprint(make(4))


def test_a_cell_that_is_run_again_changes_nothing() -> None:
    cell = "K = {'a': 1}\nclass A:\n    k = K\ndef f(): return A().k\n"

    first, second = run_cell(cell, "<ipython-3>"), run_cell(cell, "<ipython-4>")

    assert fingerprint(first) == fingerprint(second)


# --- other Pythons ---


def test_super_reads_the_class_on_every_python() -> None:
    class Child(list[int]):
        def total(self) -> int:
            return super().__len__()

    assert ("__class__",) in names_read(Child.total.__code__).paths


def test_text_is_written_the_same_whatever_unicode_a_python_knows() -> None:
    tree = ast.parse("'\N{LATIN SMALL LETTER E WITH ACUTE}\U0001fae8'")

    assert all(str(atom).isascii() for atom in write_syntax(tree))


def test_a_nested_format_is_written_the_same_on_every_python() -> None:
    tree = ast.parse("f'{x!r:>{w}}'")

    assert "''" not in write_syntax(tree)


def test_a_class_goes_by_the_module_that_it_is_imported_from() -> None:
    assert boundary.module_name(pathlib.Path) == "pathlib"


def test_what_typing_puts_into_classes_is_not_theirs() -> None:
    class Runs(typing.Protocol):
        k: int

        def run(self) -> int: ...

    class Options(typing.TypedDict):
        k: int

    kept = {name for name, _ in (*classes.members(Runs), *classes.members(Options))}

    assert kept <= {"run", "_is_protocol", "__total__"} | {
        "__required_keys__",
        "__optional_keys__",
    }


# --- what must not fail ---


def test_a_long_sum_and_a_long_chain_of_branches_have_fingerprints(load: Load) -> None:
    branches = "".join(f"    elif x == {i}: return {i}\n" for i in range(400))
    module = load(
        f"Y = {' + '.join(['1'] * 1500)}\n"
        f"def g(x): return {' + '.join(['x'] * 1500)}\n"
        f"def f(x=1):\n    if x == -1: return 0\n{branches}    return g(x)\n"
    )

    assert Code(module.f).fingerprint() == Code(module.f).fingerprint()


def test_a_number_of_many_digits_has_a_fingerprint(load: Load) -> None:
    module = load(f"def f(): return 0x{'f' * 6000}")

    assert fingerprint(module.f)


def test_an_object_that_refuses_to_be_pickled_counts_like_one_that_cannot(
    load: Load,
) -> None:
    module = load(
        "class A:\n    def __getstate__(self): raise ValueError('no')\n"
        "a = A()\ndef f(): return a"
    )

    with pytest.warns(CacheWarning, match=r"attacked\.a .*no stable digest") as caught:
        assert Code(module.f).fingerprint()
    assert caught[0].filename == __file__


def test_an_attribute_of_a_function_that_has_no_digest_counts_by_its_type(
    load: Load,
) -> None:
    text = "import threading\ndef f(): return 3\nf.lock = threading.Lock()"
    before = Code(load(text).f).fingerprint()

    after = Code(load(text.replace("Lock()", "RLock()")).f).fingerprint()

    assert Code(load(text).f).fingerprint() == before
    assert after != before


def test_a_class_whose_metaclass_has_no_hash_has_a_fingerprint(load: Load) -> None:
    module = load(
        "class M(type):\n    def __eq__(cls, other): return True\n"
        "class A(metaclass=M): pass\na = A()\ndef f(): return A, a"
    )

    with pytest.warns(CacheWarning, match=r"attacked\.a .*no stable digest"):
        assert fingerprint(module.f)


def test_a_folder_to_depend_on_is_not_taken_for_a_missing_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("1")
    there = Code(run_cell, depends=[data])
    before = there.fingerprint()

    (data / "a.csv").write_text("12")

    assert there.fingerprint() != before


def test_the_time_for_a_module_grows_with_its_size(load: Load) -> None:
    import time

    def seconds(size: int) -> float:
        functions = "".join(f"def g{i}(x): return x + {i}\n\n" for i in range(size))
        text = "import other\ndef f():\n    m = other\n    return m"
        module = load(text, other=functions)
        clock = time.perf_counter()
        Code(module.f).fingerprint()
        return time.perf_counter() - clock

    assert min(seconds(4000), seconds(4000)) < 12 * min(seconds(1000), seconds(1000))


def test_sources_are_those_of_the_functions_below_a_form_feed(load: Load) -> None:
    module = load(
        "def g(): return 1\n\x0c\nX = '\x1c \u2028'\n\ndef f(): return g(), X\n"
    )

    sources = Code(module.f).describe().sources

    assert sources["attacked.g"] == "def g(): return 1\n"
    assert sources["attacked.f"] == "def f(): return g(), X\n"


def test_threads_agree_on_a_fingerprint_while_values_change(load: Load) -> None:
    module = load("T = {}\nclass A:\n    t = T\ndef f(): return A, T")
    code = Code(module.f)
    failed: list[BaseException] = []

    def ask(number: int) -> None:
        try:
            for turn in range(50):
                code.describe()
                if number == 0:
                    module.T[turn] = lambda x, turn=turn: x + turn
        except BaseException as error:  # noqa: BLE001  (told by the test)
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failed
    assert code.fingerprint() == Code(module.f).fingerprint()


def test_a_helper_of_an_installed_package_is_the_users_below_a_decorator(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package of the cached function counts as the user's, installed or not."""
    monkeypatch.setattr(boundary, "_is_users_file", lambda top, _: top == "attacked")
    package = (
        "from contextlib import contextmanager\n@contextmanager\ndef g(): yield 3\n"
        "def f():\n    with g() as x: return x"
    )
    before = outcome(load("from pack import f", package=package))

    after = outcome(load("from pack import f", package=package.replace("3", "4")))

    assert before[0] != after[0]


BY_A_LIBRARY = {
    "a function in a closure": (
        "def compose(a, b):\n    return lambda x: a(b(x))",
        "def g(x): return x + 3\nh = other.compose(g, abs)",
    ),
    "a function in a list in a closure": (
        "def chain(*parts):\n    def run(x):\n        for part in parts: x = part(x)\n"
        "        return x\n    return run",
        "def g(x): return x + 3\nh = other.chain(abs, g)",
    ),
    "a function in a list of a hundred": (
        "def chain(*parts):\n    kept = [*parts]\n    return lambda x: kept[99](x)",
        "def g(x): return x + 3\nh = other.chain(*[abs] * 99, g)",
    ),
    "a function in a list in a table": (
        "def switch(**parts): return lambda x: parts['g'][0](x)",
        "def g(x): return x + 3\nh = other.switch(g=[g])",
    ),
    "what a function in a list was told": (
        "def plus(k): return lambda x: x + k\n"
        "def chain(*parts):\n    kept = [*parts]\n    return lambda x: kept[0](x)",
        "h = other.chain(other.plus(int('7') and 3))",
    ),
    "the default of a function in a list": (
        "def late(part):\n    def run(x, part=part): return part(x)\n    return run\n"
        "def chain(*parts):\n    kept = [*parts]\n    return lambda x: kept[0](x)",
        "def g(x): return x + 3\nh = other.chain(other.late(g))",
    ),
    "what a function in a list wraps": (
        "import functools\ndef wrapped(part):\n    @functools.wraps(part)\n"
        "    def run(x): return part(x)\n    return run\n"
        "def chain(*parts):\n    kept = [*parts]\n    return lambda x: kept[0](x)",
        "def g(x): return x + 3\nh = other.chain(other.wrapped(g))",
    ),
    "what a function in a list wraps, and has as a default": (
        "import functools\ndef wrapped(part):\n    @functools.wraps(part)\n"
        "    def run(x, part=part): return part(x)\n    return run\n"
        "def chain(*parts):\n    kept = [*parts]\n    return lambda x: kept[0](x)",
        "def g(x): return x + 3\nh = other.chain(other.wrapped(g))",
    ),
    "a function in a table in a closure": (
        "def switch(**parts): return lambda x: parts['g'](x)",
        "def g(x): return x + 3\nh = other.switch(g=g)",
    ),
    "a partial as a default": (
        "def late(part):\n    def run(x, part=part): return part(x)\n    return run",
        "import functools\ndef g(a, x): return x + 3\n"
        "h = other.late(functools.partial(g, 1))",
    ),
    "a constant as a default": (
        "def late(k):\n    def run(x, k=k): return x + k\n    return run",
        "h = other.late(int('7') and 3)",
    ),
    "a constant as a default by keyword": (
        "def late(k):\n    def run(x, *, k=k): return x + k\n    return run",
        "h = other.late(int('7') and 3)",
    ),
    "a number of numpy's": (
        "def plus(k): return lambda x: x + k",
        "import numpy as np\nh = other.plus(np.float64(int('7') and 3))",
    ),
    "a type of numpy's": (
        "def sized(kind): return lambda x: kind.itemsize",
        "import numpy as np\nh = other.sized(np.dtype(('S2', 'S4')[int('3') and 0]))",
    ),
    "an array": (
        "def plus(k): return lambda x: x + k[0]",
        "import numpy as np\nh = other.plus(np.array([int('7') and 3]))",
    ),
    "a function of numpy's": (
        "def folded(part): return lambda x: part(x, 2)",
        "import numpy as np\nh = other.folded((np.add, np.power)[int('3') and 0])",
    ),
    "a frozen set of many numbers": (
        "def among(kept): return lambda x: x in kept",
        "h = other.among(frozenset(range(-200, 1 + (int('7') and 0))))",
    ),
    "a builtin in a frozen set": (
        "def every(parts):\n    kept = frozenset(parts)\n"
        "    return lambda x: [part(x) for part in kept]",
        "h = other.every([(float, str)[int('3') and 0]])",
    ),
    "one of a library's functions": (
        "def one(x): return x\ndef two(x): return -x\n"
        "def optional(part): return lambda x: part(x)",
        "h = other.optional((other.one, other.two)[int('3') and 0])",
    ),
    "a constant in a tuple": (
        "def clip(bounds): return lambda x: x + bounds[1]",
        "h = other.clip((0, int('7') and 3))",
    ),
    "a function of a library's": (
        "def optional(kind): return lambda x: kind(x)",
        "h = other.optional((float, str)[int('3') and 0])",
    ),
    "an argument of a partial": (
        "def compose(*parts): return lambda x: parts[0](x)",
        "import functools\ndef g(x, k): return x + k\n"
        "h = other.compose(functools.partial(g, k=int('7') and 3))",
    ),
    "a table by type": (
        "def dispatch(table): return lambda x: table[type(x)](x)",
        "def g(x): return x + 3\nh = other.dispatch({int: g})",
    ),
    "a frozen set": (
        "def every(parts):\n    kept = frozenset(parts)\n"
        "    return lambda x: [part(x) for part in kept]",
        "def g(x): return x + 3\nh = other.every([g])",
    ),
    "an ordered dict": (
        "import collections\ndef every(**parts):\n"
        "    kept = collections.OrderedDict(parts)\n"
        "    return lambda x: [part(x) for part in kept.values()]",
        "def g(x): return x + 3\nh = other.every(g=g)",
    ),
    "a deque": (
        "import collections\ndef every(*parts):\n"
        "    kept = collections.deque(parts)\n"
        "    return lambda x: [part(x) for part in kept]",
        "def g(x): return x + 3\nh = other.every(g)",
    ),
    "an object of the library's": (
        "class Box:\n    def __init__(self, part): self.part = part\n"
        "def boxed(part):\n    box = Box(part)\n    return lambda x: box.part(x)",
        "def g(x): return x + 3\nh = other.boxed(g)",
    ),
    "the state of an object whose method it is": (
        "def compose(*parts): return lambda x: parts[0](x)",
        "class C:\n    def __init__(self, k): self.k = k\n"
        "    def run(self, x): return x + self.k\n"
        "h = other.compose(C(int('7') and 3).run)",
    ),
    "a method": (
        "def compose(*parts): return lambda x: parts[0](x)",
        "class C:\n    def run(self, x): return x + 3\nh = other.compose(C().run)",
    ),
    "the state of an object that can be called": (
        "def compose(*parts): return lambda x: parts[0](x)",
        "class C:\n    def __init__(self, k): self.k = k\n"
        "    def __call__(self, x): return x + self.k\n"
        "h = other.compose(C(int('7') and 3))",
    ),
    "what an object does when it is called": (
        "def compose(*parts): return lambda x: parts[0](x)",
        "import threading\nclass C:\n"
        "    def __init__(self): self.lock = threading.Lock()\n"
        "    def __call__(self, x): return x + 3\nh = other.compose(C(), 1)",
    ),
    "a setting of the user's": (
        "def scaled(by): return lambda x: x + by.k",
        "import dataclasses\n@dataclasses.dataclass\nclass By:\n    k: int\n"
        "h = other.scaled(By(int('7') and 3))",
    ),
    "a class in an annotation": (
        "import functools\ndef checked(g):\n    @functools.wraps(g)\n    def run(x):\n"
        "        return x + g.__annotations__['x']().size()\n    return run",
        "class T:\n    def size(self, x=1): return x + 3\n"
        "@other.checked\ndef h(x: T): return x",
    ),
    "a name in an annotation that is a text": (
        "import functools, typing\ndef checked(g):\n    @functools.wraps(g)\n"
        "    def run(x):\n        return typing.get_type_hints(g)['x'](x)\n"
        "    return run",
        "def plus3(x): return x + 3\ndef plus4(x): return x + 4\nT = plus3\n"
        "@other.checked\ndef h(x: 'T'): return x",
    ),
    "the annotations that a decorator reads": (
        "import functools\ndef checked(g):\n    @functools.wraps(g)\n    def run(x):\n"
        "        return x + g.__annotations__['x'].size\n    return run",
        "class T:\n    size = 1\nclass T3(T): pass\nclass T4(T):\n    size = 2\n"
        "@other.checked\ndef h(x: T3): return x",
    ),
}


@pytest.mark.usefixtures("other_is_a_library")
@pytest.mark.parametrize(
    ("library", "use"), BY_A_LIBRARY.values(), ids=BY_A_LIBRARY.keys()
)
def test_what_a_library_was_given_is_seen(library: str, use: str, load: Load) -> None:
    text = f"import other\n{use}\ndef f(): return h(1)"
    edited = text
    for old, new in (
        ("x + 3", "x + 4"),
        ("and 3", "and 4"),
        ("and 0", "and 1"),
        ("T = plus3", "T = plus4"),
    ):
        edited = edited.replace(old, new)
    edited = edited.replace("x: T3", "x: T4")
    before = outcome(load(text, other=library))

    after = outcome(load(edited, other=library))

    assert before[1] != after[1]
    assert before[0] != after[0]


def test_a_part_that_a_package_keeps_once_it_is_loaded_changes_nothing(
    load: Load,
) -> None:
    keeping = LAZY.replace("return importlib", "globals()[name] = importlib").replace(
        "    raise", "        return globals()[name]\n    raise"
    )
    text = "import pack\ndef f(): return pack.run()\ndef g(): return pack.run()"
    program = load(text, package=keeping, submodule=RUN)
    before = Code(program.f).fingerprint()

    assert program.f() == 3
    assert Code(program.f).fingerprint() == before


CHAIN = """
def chain(*first):
    parts = list(first)
    def run(x, more=[]):
        for part in (*parts, *more): x = part(x)
        return x
    run.add = parts.append
    return run
"""

CHAINED = """
import other
def a(x): return x + 1
def b(x): return x * 2
g = other.chain({first})
def f(): return g(3)
"""


@pytest.mark.usefixtures("other_is_a_library")
@pytest.mark.parametrize("first", ["a", "", "len, a"])
def test_what_is_put_later_into_what_a_library_keeps_is_seen(
    first: str, load: Load
) -> None:
    program = load(CHAINED.format(first=first), other=CHAIN)
    code = Code(program.f)
    before = code.fingerprint()
    assert code.fingerprint() == before

    program.g.add(program.b)

    assert code.fingerprint() != before
    before = code.fingerprint()
    program.g.__defaults__[0].append(program.a)
    assert code.fingerprint() != before


COUNTING = """
import functools
def counted(g):
    calls, names, cache = 0, [], {}
    @functools.wraps(g)
    def run(x):
        nonlocal calls
        calls += 1
        names.append("x")
        cache[x] = g(x)
        return cache[x]
    return run
"""


@pytest.mark.usefixtures("other_is_a_library")
def test_what_a_library_counts_and_keeps_changes_nothing(load: Load) -> None:
    text = "import other\n@other.counted\ndef g(x): return x\ndef f(): return g(3)"
    program = load(text, other=COUNTING)
    code = Code(program.f)
    before = code.fingerprint()

    assert program.f() == 3

    assert code.fingerprint() == Code(program.f).fingerprint() == before


ODD_OBJECTS = """
class Answers:
    def __getattr__(self, name): return lambda *a, **k: self
class Raises:
    @property
    def __dict__(self): raise RuntimeError("unbound")
class Nameless:
    __module__ = property(lambda self: 1)
def holds(thing): return lambda x: (x, thing)[0]
"""


@pytest.mark.usefixtures("other_is_a_library")
@pytest.mark.parametrize("kind", ["Answers", "Raises", "Nameless"])
def test_odd_objects_that_a_library_holds_are_left_alone(kind: str, load: Load) -> None:
    text = f"import other\ng = other.holds(other.{kind}())\ndef f(): return g(3)"
    code = Code(load(text, other=ODD_OBJECTS).f)

    assert code.fingerprint() == code.fingerprint()


KEEPING = """
import functools
def memo(g):
    cache = {"calls": 0}
    def run(*x):
        cache["calls"] += 1
        if x not in cache: cache[x] = g(*x)
        return cache[x]
    return run
def listed(g):
    results = []
    def run(x):
        results.append(g(x))
        return results[-1]
    return run
def named(g):
    def run(x):
        nonlocal g
        if isinstance(g, str): g = globals()[g]
        return g(x)
    return run
def counted(g):
    count = 0
    def run(x):
        nonlocal count
        count += 1
        return g(x)
    return run
"""


TOLD = """
import functools
def times(k):
    def decorate(g):
        @functools.wraps(g)
        def run(x): return k * g(x)
        return run
    return decorate
@times(2)
def g(x): return x
"""


@pytest.mark.usefixtures("other_is_a_library")
def test_what_a_name_that_is_bound_again_holds_of_the_users_is_seen(load: Load) -> None:
    text = (
        "import other\ndef g(x): return x + 3\nh = other.named(g)\ndef f(): return h(1)"
    )
    before = outcome(load(text, other=KEEPING))

    after = outcome(load(text.replace("+ 3", "+ 4"), other=KEEPING))

    assert before[0] != after[0]


@pytest.mark.usefixtures("other_is_a_library")
@pytest.mark.parametrize(
    "use",
    [
        "class A: pass\n@other.memo\ndef g(x): return A",
        "@other.memo\ndef g(x): return lambda: x",
        "@other.listed\ndef g(x): return len",
        "@other.listed\ndef g(x): return len, x",
        "import numpy as np\n@other.listed\ndef g(x): return np.ones(x)",
        "@other.counted\n@other.counted\ndef g(x): return x",
        "import functools, abc\n"
        "class Base(abc.ABC): pass\n"
        "@functools.singledispatch\ndef g(x): return x\n"
        "@g.register\ndef _(x: Base): return 0",
    ],
)
def test_what_a_library_keeps_of_calls_changes_nothing(use: str, load: Load) -> None:
    program = load(f"import other\n{use}\ndef f(): return g(3)", other=KEEPING)
    code = Code(program.f)
    before = code.fingerprint()

    program.f()
    collections.abc.Sized.register(type("New", (), {}))

    assert code.fingerprint() == Code(program.f).fingerprint() == before


@pytest.mark.usefixtures("other_is_a_library")
def test_what_a_library_tells_its_own_decorators_is_its_own_affair(load: Load) -> None:
    text = "from other import g\ndef f(): return g(1)"
    before = Code(load(text, other=TOLD).f).fingerprint()

    after = Code(load(text, other=TOLD.replace("(2)", "(3)")).f).fingerprint()

    assert after == before


@pytest.mark.usefixtures("other_is_a_library")
def test_a_library_that_is_loaded_again_is_the_same(load: Load) -> None:
    text = "from other import mean\ndef f(): return mean([3])"
    program = load(text, other="def mean(x): return sum(x) / len(x)")
    before = Code(program.f).fingerprint()

    importlib.reload(sys.modules["other"])

    assert Code(program.f).fingerprint() == before


IN_HASH_ORDER = """
import enum, functools, sys
sys.path.insert(0, {folder!r})
import other
from cachekit.hashing import boundary, fingerprint
boundary._is_users_file = lambda top, _: top == "__main__"
class Colour(enum.Enum):
    RED, BLUE, GREEN = range(3)
def one(x): return x
def two(x): return -x
g = other.hold(frozenset(Colour), frozenset([one, two]), {{frozenset("abc"): one}})
def f(): return g(3)
print(fingerprint(f))
"""


def test_sets_that_a_library_holds_have_no_order(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(
        "def hold(*things): return lambda x: (x, things)[0]"
    )

    def run(seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", IN_HASH_ORDER.format(folder=str(tmp_path))],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert run("1") == run("2") == run("3")


@pytest.mark.usefixtures("other_is_a_library")
def test_an_annotation_has_no_address_in_it(load: Load) -> None:
    text = """
    import other, typing
    class V:
        def __init__(self, check): self.check = check
    def even(x): return x % 2
    @other.counted
    def g(x: typing.Annotated[int, V(even)]) -> list[int | None] | typing.Any: return x
    def f(): return g(3)
    """

    assert outcome(load(text, other=COUNTING)) == outcome(load(text, other=COUNTING))


FROM_LAZY = "def f():\n    from pack import run\n    return run()"


@pytest.mark.parametrize("text", ["import pack\ndef f(): return pack.run()", FROM_LAZY])
def test_what_a_package_makes_anew_at_each_look_is_seen(text: str, load: Load) -> None:
    program = load(text, package=LAZY, submodule=RUN)
    code = Code(program.f)
    before = code.fingerprint()
    assert code.fingerprint() == before

    sys.modules["pack.part"].run = lambda: 4  # type: ignore[attr-defined]

    assert program.f() == 4
    assert code.fingerprint() != before


def test_a_fingerprint_leaves_a_lazy_package_as_it_is(load: Load) -> None:
    # `part` is a function that hides the submodule of the same name.
    package = """
    def __getattr__(name):
        if name == "part":
            return lambda: 3
        raise AttributeError(name)
    """
    program = load(
        "def f():\n    from pack import part\n    return part()", package=package
    )

    Code(program.f).fingerprint()

    assert program.f() == 3


def test_a_package_that_cannot_load_its_part_has_a_fingerprint(load: Load) -> None:
    broken = "def __getattr__(name): raise RuntimeError(name)"
    program = load("import pack\ndef f(): return pack.run()", package=broken)

    assert Code(program.f).fingerprint()


def test_an_argument_that_is_a_module_counts_with_what_is_in_it(load: Load) -> None:
    before = digest(load("import other\nf = [other]", other="K = 3").f)

    after = digest(load("import other\nf = [other]", other="K = 4").f)

    assert before != after
