"""What an attacker tried on classes of all kinds: options, fields, members, bases.

Each program defines ``f()``. An edit that changes what it returns must change its
fingerprint; an edit that does not, the use of a class, and another process must not.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cachekit.hashing import Code

Load = Callable[[str], Any]


class Attack(NamedTuple):
    """A program, and an edit to it."""

    text: str
    old: str
    new: str


IMPORTS = (
    "import abc, copy, collections, dataclasses, enum, functools, inspect, reprlib\n"
    "import attr, attrs\n"
    "from dataclasses import dataclass, field\n"
    "from typing import *\n"
)


def tries(expression: str) -> str:
    """Write an ``f()`` that returns what an expression gives, or the error's name."""
    return (
        f"def f():\n    try: return {expression}\n"
        "    except Exception as error: return type(error).__name__\n"
    )


def sets(name: str) -> str:
    """Write an ``f()`` that sets an attribute of ``A()``, and returns it."""
    return (
        f"def f():\n    a = A()\n    try: a.{name} = 9\n"
        f"    except Exception as error: return type(error).__name__\n"
        f"    return a.{name}\n"
    )


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a program anew, each time from a folder of its own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    count = iter(range(1000))

    def load_program(text: str) -> Any:
        folder = tmp_path / str(next(count))
        folder.mkdir()
        (folder / "attacked_class.py").write_text(IMPORTS + text)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "attacked_class", raising=False)
        importlib.invalidate_caches()
        return importlib.import_module("attacked_class")

    return load_program


def outcome(program: Any) -> tuple[str, str]:
    """Return the fingerprint, taken before the first call, and what a call returns."""
    return Code(program.f).fingerprint(), repr(program.f())


# --- edits that must be seen ---


def option(name: str, body: str, *, head: str = "attrs.define(slots=True, {})") -> str:
    """Write a class of attrs or dataclasses with an option that is on."""
    return (
        f"@{head.format(f'{name}=True')}\n"
        f"class A:\n    x: int = 1\n    y: int = 2\n{body}"
    )


ATTRS_FIELD = "@attrs.define\nclass A:\n    x: int = attrs.field(default=1, {})\n"
OLD_ATTRS = "attr.s(auto_attribs=True, {})"

OPTIONS = {
    "eq of attrs": option("eq", tries("A() == A()")),
    "frozen of attrs": option("frozen", sets("x")),
    "repr of attrs": option("repr", tries("repr(A()) == 'A(x=1, y=2)'")),
    "order of attrs": option("order", tries("A() < A()")),
    "hash of attrs": option("unsafe_hash", tries("bool(hash(A()))")),
    "init of attrs": option("init", tries("A(3).x")),
    "str of attrs": option("str", tries("A.__str__ is object.__str__"), head=OLD_ATTRS),
    "pickling of attrs": option(
        "getstate_setstate", tries("'__getstate__' in vars(A)")
    ),
    "a cached hash of attrs": option(
        "cache_hash",
        tries("hash(a := A()) and '_attrs_cached_hash' in vars(a)"),
        head="attrs.define(slots=False, frozen=True, {})",
    ),
    "keywords of attrs": option("kw_only", tries("A(3).x")),
    "init of a dataclass": option("init", tries("A(3).x"), head="dataclass({})"),
    "slots of a dataclass": option("slots", sets("z"), head="dataclass({})"),
}

WRAPPED = (
    "def wrap(cls):\n    old = cls.__init__\n    @functools.wraps(old)\n"
    "    def init(self):\n        old(self)\n        self.x = 3\n"
    "    cls.__init__ = init\n    return cls\n"
)
TUPLE_IN_BASE = "class B(NamedTuple):\n    x: int\nclass A(B):\n"
PROTOCOLS = (
    "class P1(Protocol):\n    def __init__(self): self.x = 1\n"
    "class P2(Protocol):\n    def __init__(self): self.x = 2\n"
)
ENUM = "class A(enum.Enum):\n    X = 1\n    Y = 2\n"

EDITS = {
    **{name: Attack(text, "=True)\n", "=False)\n") for name, text in OPTIONS.items()},
    # the fields of attrs
    "how attrs shows a field": Attack(
        ATTRS_FIELD.format("repr=lambda v: '3'") + tries("repr(A())"), "'3'", "'4'"
    ),
    "by what name attrs takes a field": Attack(
        ATTRS_FIELD.format("alias='p'") + tries("A(p=3).x"), "'p'", "'q'"
    ),
    "the key by which attrs orders": Attack(
        "@attrs.define(order=True)\nclass A:\n"
        "    x: int = attrs.field(order=lambda v: v)\n" + tries("A(1) < A(2)"),
        ": v)",
        ": -v)",
    ),
    "the type of a field without annotation": Attack(
        "@attr.s\nclass A:\n    x = attr.ib(type=int)\n"
        + tries("attr.fields(A).x.type('3')"),
        "=int",
        "=float",
    ),
    "a cached property of an attrs class with slots": Attack(
        "@attrs.define\nclass A:\n    @functools.cached_property\n"
        "    def k(self): return 3\n" + tries("A().k"),
        "return 3",
        "return 4",
    ),
    "a __getattr__ beside a cached property": Attack(
        "@attrs.define\nclass A:\n    @functools.cached_property\n"
        "    def k(self): return 1\n    def __getattr__(self, name): return 3\n"
        + tries("A().other"),
        "return 3",
        "return 4",
    ),
    "a function in the metadata of attrs": Attack(
        ATTRS_FIELD.format("metadata={'check': lambda: 3}")
        + tries("attrs.fields(A).x.metadata['check']()"),
        ": 3}",
        ": 4}",
    ),
    # dataclasses
    "a function in the metadata of a dataclass": Attack(
        "@dataclass\nclass A:\n    x: int = field(metadata={'check': lambda: 3})\n"
        + tries("dataclasses.fields(A)[0].metadata['check']()"),
        ": 3}",
        ": 4}",
    ),
    "what a decorator put around the __init__ of a dataclass": Attack(
        WRAPPED + "@wrap\n@dataclass\nclass A:\n    x: int = 1\n" + tries("A().x"),
        "= 3",
        "= 4",
    ),
    "what a decorator put around the __init__ of attrs": Attack(
        WRAPPED + "@wrap\n@attrs.define\nclass A:\n    x: int = 1\n" + tries("A().x"),
        "= 3",
        "= 4",
    ),
    "a recursive __repr__ written by hand": Attack(
        "@dataclass\nclass A:\n    @reprlib.recursive_repr()\n"
        "    def __repr__(self): return '3'\n" + tries("repr(A())"),
        "'3'",
        "'4'",
    ),
    "a subclass that has no hash": Attack(
        "@dataclass(frozen=True)\nclass B: pass\nclass A(B):\n    __hash__ = None\n"
        + tries("bool(hash(A()))"),
        "__hash__ = None",
        "pass",
    ),
    # named tuples and dicts
    "a property in place of a field": Attack(
        TUPLE_IN_BASE + "    @property\n    def x(self): return 3\n"
        "def f(): return A(1).x",
        "3",
        "4",
    ),
    "a constant in place of a field": Attack(
        TUPLE_IN_BASE + "    x = 3\ndef f(): return A(1).x", "3", "4"
    ),
    "the keys that a base requires": Attack(
        "class B(TypedDict, total=True):\n    x: int\nclass A(B):\n    y: int\n"
        "def f(): return sorted(A.__required_keys__)",
        "total=True",
        "total=False",
    ),
    # enums
    "how an enum finds what is missing": Attack(
        ENUM + "    @classmethod\n    def _missing_(cls, value): return cls.X\n"
        "def f(): return A(9)",
        "cls.X",
        "cls.Y",
    ),
    "how an enum finds what is missing, without its class": Attack(
        ENUM + "    @staticmethod\n    def _missing_(value): return A.X\n"
        "def f(): return A(9)",
        "return A.X",
        "return A.Y",
    ),
    "how an enum names the next value": Attack(
        "class A(enum.Enum):\n"
        "    def _generate_next_value_(name, *others): return name + '3'\n"
        "def f(): return A('B', 'X').X.value",
        "'3'",
        "'4'",
    ),
    "how an enum of strings is shown": Attack(
        "class A(str, enum.Enum):\n    X = 'x'\n    __str__ = str.__str__\n"
        "def f(): return str(A.X)",
        "    __str__ = str.__str__\n",
        "",
    ),
    "how an enum is shown, by a function of enum": Attack(
        ENUM + "    __str__ = enum.global_str\ndef f(): return str(A.X)",
        "    __str__ = enum.global_str\n",
        "",
    ),
    "a property of an enum that looks like Python's": Attack(
        ENUM + "    @property\n    def __k__(self): return 3\n"
        "def f(): return A.X.__k__",
        "3",
        "4",
    ),
    "the bits that a flag allows": Attack(
        "class A(enum.Flag, boundary=enum.KEEP):\n    X = 1\n" + tries("A(9).value"),
        "enum.KEEP",
        "enum.CONFORM",
    ),
    "what a member has besides its value": Attack(
        "class A(enum.Enum):\n    def __new__(cls, value, label):\n"
        "        self = object.__new__(cls)\n"
        "        self._value_, self.label = value, label\n        return self\n"
        "    X = 1, 'three'\ndef f(): return A.X.label",
        "three",
        "four",
    ),
    "the number that a member is, when its value is another": Attack(
        "class A(int, enum.Enum):\n    def __new__(cls, number, value):\n"
        "        self = int.__new__(cls, number)\n        self._value_ = value\n"
        "        return self\n    X = 3, 1\ndef f(): return A.X + 0",
        "3, 1",
        "4, 1",
    ),
    # protocols and abstract classes
    "whose __init__ a subclass of protocols takes": Attack(
        PROTOCOLS + "class A(P1, P2): __init__ = P1.__init__\ndef f(): return A().x",
        "= P1.",
        "= P2.",
    ),
    "a subclass of protocols that takes no __init__": Attack(
        PROTOCOLS + "class A(P1):\n    x = 3\n    __init__ = object.__init__\n"
        "def f(): return A().x",
        "    __init__ = object.__init__\n",
        "",
    ),
    "whether a method is abstract": Attack(
        "class A(abc.ABC):\n    @abc.abstractmethod\n    def m(self): pass\n"
        + tries("bool(A())"),
        "    @abc.abstractmethod\n",
        "",
    ),
    "whether a property is abstract": Attack(
        "class A(abc.ABC):\n    @property\n    @abc.abstractmethod\n"
        "    def m(self): pass\n" + tries("bool(A())"),
        "    @abc.abstractmethod\n",
        "",
    ),
    "another name for a field of a named tuple": Attack(
        "class B(NamedTuple):\n    x: int = 3\n    y: int = 4\n"
        "class A(B):\n    z = B.x\ndef f(): return A().z",
        "B.x",
        "B.y",
    ),
    "a generated method of another class's": Attack(
        "@dataclass\nclass B:\n    x: int = 3\n@dataclass\nclass C:\n    x: int = 4\n"
        "class A:\n    __init__ = B.__init__\ndef f(): return A().x",
        "= B.",
        "= C.",
    ),
    # annotations, bases, attributes
    "what stands beside a type": Attack(
        "class V:\n    def __init__(self, k): self.k = k\n"
        "@dataclass\nclass A:\n    x: Optional[Annotated[int, V(3)]]\n"
        "def f():\n    hint = get_args(A.__annotations__['x'])[0]\n"
        "    return hint.__metadata__[0].k",
        "V(3)",
        "V(4)",
    ),
    "a function that stands beside a type": Attack(
        "def check(): return 3\nclass A:\n    x: Annotated[int, check]\n"
        "def f(): return A.__annotations__['x'].__metadata__[0]()",
        "return 3",
        "return 4",
    ),
    "a literal that was a number": Attack(
        "class A:\n    x: Literal[1]\ndef f(): return get_args(A.__annotations__['x'])",
        "[1]",
        "['1']",
    ),
    "what a generic base is of": Attack(
        "T = TypeVar('T')\nclass B(Generic[T]): pass\nclass A(B[int]): pass\n"
        "def f(): return get_args(A.__orig_bases__[0])[0]('3')",
        "B[int]",
        "B[float]",
    ),
    "another name for a slot": Attack(
        "class A:\n    __slots__ = ('x', 'y')\n"
        "    def __init__(self): self.x, self.y = 3, 4\n"
        "A.z = A.x\ndef f(): return A().z",
        "A.z = A.x",
        "A.z = A.y",
    ),
    "a class whose metaclass fails on what it lacks": Attack(
        "class M(type):\n    def __getattr__(cls, name): raise KeyError(name)\n"
        "class A(metaclass=M):\n    k = 3\ndef f(): return A.k",
        "3",
        "4",
    ),
}


@pytest.mark.parametrize("attack", EDITS.values(), ids=EDITS.keys())
def test_an_edit_that_changes_the_result_changes_the_fingerprint(
    attack: Attack, load: Load
) -> None:
    assert attack.old in attack.text

    before = outcome(load(attack.text))
    after = outcome(load(attack.text.replace(attack.old, attack.new)))

    assert before[1] != after[1]
    assert before[0] != after[0]


# --- edits that must not ---

HARMLESS = {
    "a class that may have no subclass": Attack(
        "@final\nclass A: k = 3\ndef f(): return A.k", "@final\n", ""
    ),
    "the order of attributes": Attack(
        "class A:\n    x = 1\n    y = 2\ndef f(): return A.x",
        "x = 1\n    y = 2",
        "y = 2\n    x = 1",
    ),
    "the docstring of an enum": Attack(
        "class A(enum.Enum):\n    'one'\n    X = 1\ndef f(): return A.X", "one", "two"
    ),
    "the docstring of a field of a named tuple": Attack(
        "class A(NamedTuple):\n    x: int = 3\nA.x.__doc__ = 'one'\n"
        "def f(): return A().x",
        "one",
        "two",
    ),
    "another class of attrs before it": Attack(
        "# B\n@attrs.define\nclass A:\n    x: int = 1\ndef f(): return A().x",
        "# B",
        "@attrs.define\nclass B: y: int = 1",
    ),
    "a protocol's __init__, taken by name": Attack(
        PROTOCOLS + "class A(P1, P2): __init__ = P1.__init__\ndef f(): return A().x",
        "__init__ = P1.__init__",
        "pass",
    ),
}


@pytest.mark.parametrize("attack", HARMLESS.values(), ids=HARMLESS.keys())
def test_an_edit_that_does_not_matter_changes_nothing(
    attack: Attack, load: Load
) -> None:
    before = outcome(load(attack.text))
    after = outcome(load(attack.text.replace(attack.old, attack.new)))

    assert before == after


# --- what use must not change ---

USES = {
    "a dataclass": (
        "@dataclass(frozen=True, order=True)\nclass A:\n"
        "    x: 'int' = field(default=1, metadata={'unit': 'm'})\n"
        "    y: list['A'] = field(default_factory=list)\n"
        "def f():\n    a = A()\n    copy.deepcopy(a), get_type_hints(A), repr(a)\n"
        "    inspect.signature(A), dataclasses.replace(a, x=2)\n"
        "    return dataclasses.asdict(a)"
    ),
    "a class of attrs": (
        "@attrs.define\nclass A:\n    x: 'int' = 1\n"
        "    y: 'Optional[list[A]]' = attrs.field(factory=list)\n"
        "    @functools.cached_property\n    def k(self): return 3\n"
        "def f():\n    a = A()\n    copy.deepcopy(a), a.k, get_type_hints(A), repr(a)\n"
        "    attrs.resolve_types(A), inspect.signature(A)\n    return attrs.asdict(a)"
    ),
    "a flag": (
        "class A(enum.Flag):\n    X = 1\n    Y = 2\n"
        "    @functools.cached_property\n    def k(self): return 3\n"
        "def f(): return A.X | A.Y, ~A.X, A.X.k, A(3).k, [*A], repr(A(0)), dir(A)"
    ),
    "a protocol with a base that had no __init__": (
        "class P(Protocol): pass\n"
        "class Q(Protocol):\n    def __init__(self): self.x = 1\n"
        "class B(P): pass\nclass A(B, Q): pass\n"
        "@runtime_checkable\nclass R(Protocol):\n    def m(self): ...\n"
        "def f():\n    A(), B(), A()\n    return isinstance(3, R), issubclass(A, R)"
    ),
    "a record that is a protocol": (
        "@dataclass(init=False)\nclass P(Protocol):\n    x: int = 1\n"
        "class Q(Protocol):\n    def __init__(self): self.x = 2\n"
        "@dataclass(init=False)\nclass A(P, Q): pass\n"
        "@attrs.define(init=False, slots=False)\nclass B(P, Q): pass\n"
        "def f(): return A().x, B().x"
    ),
    "an abstract class": (
        "class A(abc.ABC): pass\nclass B(A): pass\n"
        "def f(): return isinstance(3, A), isinstance(B(), A), issubclass(int, A)"
    ),
    "a class with slots": (
        "class A:\n    __slots__ = ('x',)\n    def __init__(self): self.x = 3\n"
        "def f(): return copy.deepcopy(A()).x"
    ),
    "a typed dict": (
        "class A(TypedDict):\n    x: 'list[A]'\n"
        "def f(): return get_type_hints(A), A(x=[])"
    ),
}


@pytest.mark.parametrize("text", USES.values(), ids=USES.keys())
def test_the_use_of_a_class_changes_nothing(text: str, load: Load) -> None:
    program = load(text)
    code = Code(program.f)
    before = code.fingerprint()

    program.f()

    assert code.fingerprint() == before
    assert Code(program.f).fingerprint() == before


# --- another process ---

IN_ANOTHER_PROCESS = (
    "def check(): pass\n"
    "class V: pass\n"
    "@dataclass\nclass A:\n"
    "    x: Annotated[int, check] = field(metadata={'f': check, 's': {'a', 'b'}})\n"
    "    y: Annotated[int, V()] = 1\n    z: check = 1\n"
    "@attrs.define\nclass B:\n"
    "    x: int = attrs.field(repr=check, metadata={'f': check, 's': {'a', 'b'}})\n"
    "class C(TypedDict):\n    a: int\n    b: int\n"
    "class D(abc.ABC):\n    @abc.abstractmethod\n    def a(self): pass\n"
    "    @abc.abstractmethod\n    def b(self): pass\n"
    "class E(enum.IntFlag, boundary=enum.KEEP):\n    X = 1\n    Y = 2\n"
    "def f(): return A, B, C, D, E\n"
)
PRINT_FINGERPRINT = (
    "import sys\nsys.path.insert(0, {folder!r})\n{before}\n"
    "import program\nfrom cachekit.hashing import fingerprint\n"
    "print(fingerprint(program.f))\n"
)


def test_a_class_has_the_same_fingerprint_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(IMPORTS + IN_ANOTHER_PROCESS)

    def run(seed: str, before: str) -> str:
        script = PRINT_FINGERPRINT.format(folder=str(tmp_path), before=before)
        path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert run("1", "") == run("2", "taken = [object() for _ in range(9999)]")
