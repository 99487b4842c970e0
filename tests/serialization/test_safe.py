"""Safe loading gives back plain data, and runs nothing that a file brings along."""

from __future__ import annotations

import array
import collections
import copyreg
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import io
import ipaddress
import operator
import os
import pathlib
import pickle
import random
import re
import struct
import subprocess
import sys
import time
import types
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from scipy import sparse

from cachekit.errors import UntrustedContent
from cachekit.hashing import digest
from cachekit.serialization.pickling import flatten, rebuild
from cachekit.serialization.safe import SafeUnpickler, find_trusted
from tests.strategies import Thing, values

REFUSALS = (UntrustedContent, pickle.UnpicklingError)


def load(stream: bytes, buffers: Sequence[Any] = (), trusted: Any = ()) -> Any:
    return SafeUnpickler(io.BytesIO(stream), buffers=buffers, trusted=trusted).load()


def round_trip(value: Any, trusted: Any = ()) -> Any:
    stream, buffers = flatten(value)
    return load(stream, [bytearray(buffer) for buffer in buffers], trusted)


def content(value: Any) -> bytes:
    """Write down a value in full, whether or not its parts are shared."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5)
    pickler.fast = True
    pickler.dump(value)
    return file.getvalue()


def with_note(error: Exception) -> Exception:
    error.add_note("note")
    return error


# --- what loads ---

STANDARD = [
    *(None, True, 10**50, 1.5, 2j, "s", b"b", bytearray(b"abc"), ..., NotImplemented),
    *([1], (1,), {1: 2}, {1}, frozenset({1}), range(10**18), slice(1, 2)),
    *(int, float, bool, str, bytes, list, tuple, dict, set, bytearray, type(None)),
    *(ValueError, ValueError("x"), with_note(KeyError("k")), OSError(2, "no", "f")),
    *(ExceptionGroup("g", [StopIteration(1)]), ImportError("x", name="y")),
    *(UnicodeDecodeError("utf8", b"x", 0, 1, "r"), SystemExit(1), Warning("w")),
    *(dt.date(2020, 1, 1), dt.time(1, 2), dt.timedelta(1), dt.UTC),
    *(dt.datetime(2020, 1, 1, fold=1), dt.timezone(dt.timedelta(hours=1), "X")),
    dt.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
    *(decimal.Decimal("1.5"), fractions.Fraction(-1, 3), time.gmtime(0)),
    *(uuid.UUID(int=3), uuid.uuid1(), random.Random(3), types.SimpleNamespace(a=1)),
    *(pathlib.Path("a/b"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")),
    *(collections.OrderedDict(a=1), collections.Counter("aab")),
    *(collections.deque([1, 2], maxlen=3), collections.ChainMap({1: 2}, {3: 4})),
    *(collections.defaultdict(list, a=[1]), collections.defaultdict(None, a=1)),
    *(array.array("d", [1, 2]), array.array("b")),
    *(ipaddress.ip_address("1.2.3.4"), ipaddress.ip_network("::/16")),
    *(ipaddress.ip_interface("1.2.3.4/8"), ipaddress.ip_interface("::1/8")),
    *(ipaddress.ip_address("::1"), ipaddress.ip_address("::1%eth0")),
    *(re.compile("a+"), re.compile(b"a", re.IGNORECASE)),
]

FIELDS = np.dtype([("a", "i4"), ("b", "f8", (2,)), ("c", [("x", "U3")])], align=True)
WITH_OBJECTS = np.dtype([("a", "i4"), ("b", "O")])
RECORDS = np.zeros(2, [("a", "i4"), ("b", "f8")]).view(np.recarray)
DTYPES = [
    *(np.dtype(code) for code in "?bhilqBHILQefdgFDGO"),
    *(np.dtype(text) for text in ("S3", "U3", "V3", ">i4", "m8[s]", ">M8[25us]")),
    *(FIELDS, WITH_OBJECTS, RECORDS.dtype, np.dtype([(("title", "a"), "i4")])),
    np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [8], "itemsize": 16}),
    *(np.dtype("M8"), np.dtype("f8", metadata={"a": 1}), np.dtype([])),
]
NUMPY = [
    *DTYPES,
    *(np.zeros(3, dtype) for dtype in DTYPES),
    *(np.zeros(1, dtype)[0] for dtype in DTYPES if dtype.kind != "O"),
    *(np.zeros((1000, 3)), np.zeros((9, 999), order="F"), np.zeros((999, 9))[::2]),
    *(np.zeros((1000, 3), "M8[ns]"), np.zeros((50, 50), object), np.array(3.0)),
    *(np.array([1, "a", None, dt.date(2020, 1, 1)], object), np.zeros((0, 3))),
    *(np.ma.array([1, 2], mask=[False, True]), np.ma.masked, np.ma.zeros(3, FIELDS)),
    *(np.matrix([[1, 2]]), RECORDS, RECORDS[0]),
    *(np.array(["a", "bc"], np.dtypes.StringDType()), np.float64, np.ndarray),
    *(np.random.RandomState(3), np.random.default_rng(3), np.random.MT19937(1)),
    *(np.random.Philox(1), np.random.SFC64(1), np.random.PCG64DXSM(1)),
    *(np.random.Generator(np.random.Philox(3)), np.random.SeedSequence(3)),
    *(np.poly1d([1, 2]), np.polynomial.Polynomial([1, 2])),
]

array_of: Any = pd.array  # the stubs know no type of it for None
DATES = pd.date_range("2020", periods=2, freq="ME")
COLUMNS: dict[str, Any] = {
    "int": [1, 2],
    "float": [1.0, 2],
    "complex": [1j, 2],
    "text": ["a", "b"],
    "object": [1, "x"],
    "bool": [True, False],
    "dates": DATES,
    "zoned": DATES.tz_localize("Europe/Paris"),
    "utc": DATES.tz_localize("UTC"),
    "spans": pd.to_timedelta([1, 2]),
    "periods": pd.period_range("2020", periods=2, freq="M"),
    "categories": pd.Categorical(["a", "b"], ordered=True),
    "intervals": pd.interval_range(0, 2),
    "sparse": pd.arrays.SparseArray([0, 1]),
    "blocks": pd.arrays.SparseArray([0, 1.0], kind="block"),
    **{
        name: array_of([1, None], name)
        for name in ["Int8", "Int64", "UInt16", "Float32", "Float64", "boolean"]
    },
    **{
        name: array_of(["a", None], name)
        for name in ("string[python]", "string[pyarrow]", "str", "category")
    },
    **{
        f"{name}[pyarrow]": array_of([None, None], f"{name}[pyarrow]")
        for name in [
            "int64",
            "double",
            "bool",
            "string",
            "binary",
            "date32",
            "time64[us]",
        ]
    },
    "stamps[pyarrow]": array_of([None, None], "timestamp[ns, tz=UTC][pyarrow]"),
}
FRAME = pd.DataFrame(COLUMNS)
FRAME.attrs["source"] = "test"
OFFSETS = [
    getattr(pd.offsets, name)()
    for name in dir(pd.offsets)
    if isinstance(getattr(pd.offsets, name), type) and not name.startswith("FY")
]
PANDAS = [
    *(FRAME, FRAME.set_index("text"), FRAME.T, FRAME.iloc[:, :0]),
    *(pd.DataFrame(np.zeros((1000, 3))), *(FRAME[name] for name in FRAME)),
    *(FRAME[name].array for name in FRAME),
    *(pd.Index(FRAME[name]) for name in FRAME if name not in ("sparse", "blocks")),
    *(FRAME[name].dtype for name in FRAME),
    *(DATES, pd.timedelta_range(0, periods=3, freq="h"), pd.RangeIndex(3)),
    pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", "y"]),
    *(pd.Interval(0, 1), pd.Period("2020-01", "M"), pd.Timedelta(1), pd.NaT, pd.NA),
    *(pd.Timestamp("2020"), pd.Timestamp("2020", tz="Europe/Paris")),
    *(*OFFSETS, pd.DateOffset(months=1), pd.offsets.Week(weekday=2)),
    pd.offsets.CustomBusinessDay(holidays=["2020-01-01"]),
    pd.offsets.FY5253(startingMonth=1, weekday=2, variation="last"),
]

SPARSE = [
    getattr(sparse, f"{name}_{kind}")(np.eye(3))
    for name in ["csr", "csc", "coo", "bsr", "dia", "dok", "lil"]
    for kind in ("matrix", "array")
]


@pytest.mark.parametrize(
    "value",
    [*STANDARD, *NUMPY, *PANDAS, *SPARSE],
    ids=lambda value: type(value).__name__,
)
def test_plain_data_loads_as_it_does_otherwise(value: Any) -> None:
    stream, buffers = flatten(value)
    expected = rebuild(stream, buffers)

    result = round_trip(value)

    assert type(result) is type(expected)
    assert content(result) == content(expected)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    "value",
    [*STANDARD, FRAME["zoned"], *SPARSE, *NUMPY],
    ids=lambda value: type(value).__name__,
)
def test_older_protocols_load(value: Any, protocol: int) -> None:
    stream = pickle.dumps(value, protocol)
    expected = pickle.loads(stream)

    result = load(stream)

    assert content(result) == content(expected)


@given(values())
def test_drawn_values_load(value: Any) -> None:
    stream, buffers = flatten(value)

    assert digest(round_trip(value, [Thing])) == digest(rebuild(stream, buffers))


def test_shared_and_recursive_values_keep_their_shape() -> None:
    inner: list[Any] = [1]
    inner.append(inner)

    left, right = round_trip((inner, inner))

    assert left is right
    assert left[1] is left


def test_a_dtype_used_twice_is_completed_in_both_places() -> None:
    dtype = np.dtype([("a", "i4")])

    first, second = round_trip([dtype, np.zeros(2, dtype)])

    assert first == second.dtype == dtype


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy", "recarray"),
        ("numpy", "str_"),
        ("pandas.core.frame", "DataFrame"),
        ("pandas.core.indexes.base", "_new_Index"),
        ("pandas.core.series", "Series"),
        ("pathlib._local", "PosixPath"),
        ("scipy.sparse.csr", "csr_matrix"),
    ],
)
def test_former_names_are_found(module: str, name: str) -> None:
    find_trusted(module, name)


def test_nothing_heavy_is_imported() -> None:
    heavy = {"numpy", "pandas", "scipy", "pyarrow", "torch"}
    code = f"import sys, cachekit.serialization.safe; print({heavy} & set(sys.modules))"

    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert output.stdout.strip() == "set()"


# --- what the user trusts ---


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int


@dataclasses.dataclass
class Config:
    rate: float


@dataclasses.dataclass(slots=True)
class Slotted:
    rate: float


class Basket(list[Any]):
    class Inner:
        """A class in a class."""


def double(x: int) -> int:
    return 2 * x


class Doubled:
    """Rebuilt by a function."""

    def __reduce__(self) -> Any:
        return double, (21,)


class Keyed:
    """Made with keywords."""

    def __new__(cls, *, key: int) -> Keyed:
        made = super().__new__(cls)
        made.key = key
        return made

    key: int

    def __getnewargs_ex__(self) -> Any:
        return (), {"key": self.key}


@pytest.mark.parametrize(
    ("value", "trusted"),
    [
        (Colour.RED, Colour),
        (Point(1), Point),
        (Config(1.0), Config),
        (Slotted(1.0), Slotted),
        (Basket([1]), Basket),
        (Keyed(key=3), Keyed),
        (Basket.Inner, Basket.Inner),
        (np.sin, np.sin),
        (os.path.join, os.path.join),
    ],
)
def test_trusted_objects_load_by_themselves_and_by_their_name(
    value: Any, trusted: Any
) -> None:
    name = f"{trusted.__module__}.{trusted.__qualname__}" if value is not np.sin else ""
    with pytest.raises(UntrustedContent):
        round_trip(value)

    result = round_trip(value, [trusted])

    assert content(result) == content(value)
    assert content(round_trip(value, [name or "numpy.sin"])) == content(value)


def test_a_trusted_module_stands_for_the_classes_defined_in_it() -> None:
    here = [__name__]

    assert round_trip(Config(1.0), here) == Config(1.0)
    assert round_trip(Basket.Inner, here) is Basket.Inner
    for name in ("double", "Any", "os.system", "zoneinfo.ZoneInfo", "Config.__init__"):
        with pytest.raises(UntrustedContent):
            find_trusted(__name__, name, here)


def test_a_trusted_function_may_be_called() -> None:
    with pytest.raises(UntrustedContent):
        round_trip(Doubled())

    assert round_trip(Doubled(), [double]) == 42


def test_trust_does_not_reach_below_a_module_or_name() -> None:
    for given_name in ("o", "os.", "posix.", "tests", "*"):
        with pytest.raises(UntrustedContent):
            find_trusted("os", "system", [given_name])


def test_a_text_alone_is_not_a_list() -> None:
    with pytest.raises(TypeError, match=r"trusted=\['os'\]"):
        find_trusted("os", "system", "os")


def test_a_refusal_says_what_was_refused_and_how_to_trust_it() -> None:
    with pytest.raises(UntrustedContent, match=r"asks for os\.system.*trusted=\['os\."):
        find_trusted("os", "system")


# --- what does not load ---

CANARY: list[str] = []


def sing(*_: Any) -> str:
    CANARY.append("was called")
    return "sung"


@pytest.fixture(autouse=True)
def canary() -> Any:
    CANARY.clear()
    before = {thing: set(vars(thing)) - ADDED for thing in WATCHED}
    yield
    assert not CANARY, "the file has run code"
    assert before == {thing: set(vars(thing)) - ADDED for thing in WATCHED}


ADDED = {"__slotnames__"}  # by pickling itself


class Reduced:
    """Is pickled as told."""

    def __init__(self, *reduction: Any) -> None:
        self.reduction = reduction

    def __reduce__(self) -> Any:
        return self.reduction


class Tint(enum.Flag):
    LIGHT = 1
    WARM = 2


def test_members_load_as_python_3_11_2_has_pickled_them() -> None:
    member = Reduced(getattr, (Colour, "RED"))
    both = Reduced(operator.or_, (Tint.LIGHT, Tint.WARM))

    loaded = round_trip([member, both], [Colour, Tint])

    assert loaded == [Colour.RED, Tint.LIGHT | Tint.WARM]


@pytest.mark.parametrize(
    "reduction",
    [
        (getattr, (Colour, "mro")),
        (getattr, (Colour, "__init__")),
        (operator.or_, (1, 2)),
    ],
)
def test_nothing_else_of_a_class_is_read(reduction: Any) -> None:
    with pytest.raises(UntrustedContent):
        round_trip(Reduced(*reduction), [Colour])


WATCHED = (Config, Colour, pd.DataFrame, collections.OrderedDict, pd.NaT, pd, np, sing)


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


MEMORY = pa.py_buffer(b"12345678")


class Sings(Calls):
    def __init__(self) -> None:
        super().__init__(sing)


@pytest.mark.parametrize(
    "value",
    [
        Sings(),
        [{"a": (1, Sings())}],
        {"k": Sings()},
        np.array([1, Sings()], object),
        np.array([(1, Sings())], WITH_OBJECTS),
        np.ma.array([Sings()], dtype=object),
        pd.DataFrame({"a": [1, Sings()]}),
        pd.Series([Sings()], index=[Sings()]),
        pd.Series([1]).set_axis(pd.MultiIndex.from_arrays([[1], [2]], names=[sing, 2])),
        collections.defaultdict(sing),
        collections.OrderedDict(a=Sings()),
        ValueError(Sings()),
        types.SimpleNamespace(a=sing),
        Calls(os.system, "exit 3"),
        Calls(eval, "CANARY.append(1)"),
        Calls(exec, "raise KeyboardInterrupt"),
        Calls(getattr, os, "system"),
        Calls(getattr, zoneinfo.ZoneInfo, "from_file"),
        Calls(getattr, "".__class__, "__base__"),
        Calls(__import__, "os"),
        Calls(open, "/dev/null"),
        Calls(io.FileIO, "/dev/null"),
        Calls(type, "X", (), {}),
        Calls(type, 3),
        Calls(vars),
        Calls(globals),
        Calls(compile, "1", "f", "eval"),
        Calls(setattr, Config, "rate", 3),
        Calls(map, sing, [1]),
        Calls(iter, [1]),
        Calls(bytearray, 10**12),
        Calls(bytes, 10**12),
        Calls(list, range(10**12)),
        Calls(set, range(10**12)),
        Calls(collections.deque, range(10**12)),
        Calls(collections.Counter, range(10**12)),
        Calls(fractions.Fraction, "1e999999999"),
        Calls(fractions.Fraction, decimal.Decimal("1e999999999")),
        Calls(array.array, "b", range(10**12)),
        Calls(types.SimpleNamespace, {"__array_interface__": 1}),
        Calls(np.memmap, "file"),
        Calls(np.load, "file"),
        Calls(np.ndarray, (10**6,)),
        Calls(np.void, 10**12),
        Calls(np.testing.assert_raises, ValueError, sing),
        Calls(np.vectorize, sing),
        Calls(pd.eval, "1"),
        Calls(pd.read_pickle, "file"),
        Calls(pd.HDFStore, "file"),
        Calls(copyreg._reconstructor, bytearray, bytearray, 10**12),  # type: ignore[attr-defined]
        Calls(copyreg._reconstructor, Config, object, None),  # type: ignore[attr-defined]
        Calls(np.zeros(2).__reduce_ex__(4)[0], np.ndarray, (10**6,), b"b"),
        Calls(np.zeros(2).__reduce_ex__(4)[0], np.memmap, (0,), b"b"),
        Calls(np.zeros(2).__reduce_ex__(5)[0], np.array([1], object), "i8", (1,), "C"),
        Calls(pa.lib._restore_array, (pa.int64(), 99, 0, 0, [None, MEMORY], [], None)),
        Calls(pa.lib._restore_array, (pa.int64(), 1, 0, 0, [], [], None)),
        Calls(pa.lib._restore_array, (pa.list_(pa.int8()), 1, 0, 0, [], [], None)),
        Calls(pd.RangeIndex(3).__reduce__()[0], bytes, {"source": 10**12}),
        Calls(pd.RangeIndex(3).__reduce__()[0], pd.Index, {"__class__": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_file_that_asks_for_more_is_refused(value: Any) -> None:
    stream, buffers = flatten(value)

    with pytest.raises(REFUSALS):
        load(stream, buffers)


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_in_every_protocol(protocol: int) -> None:
    with pytest.raises(UntrustedContent):
        load(pickle.dumps([Sings()], protocol))


OFF_THE_LIST = """
    os.system posix.system nt.system builtins.eval builtins.exec builtins.__import__
    builtins.open builtins.vars builtins.globals builtins.compile builtins.setattr
    builtins.delattr builtins.breakpoint builtins.input builtins.memoryview
    builtins.property builtins.super builtins.map builtins.filter builtins.print
    functools.partial functools.reduce operator.attrgetter operator.methodcaller
    operator.itemgetter types.FunctionType types.CodeType types.MethodType
    types.ModuleType types.LambdaType copyreg.add_extension copyreg.pickle
    copyreg.__newobj__ importlib.import_module runpy.run_path subprocess.Popen
    ctypes.CDLL pickle.loads shelve.open code.interact pdb.run timeit.timeit
    webbrowser.open io.open _io.open _io.FileIO tempfile.NamedTemporaryFile
    logging.config.fileConfig pydoc.locate pkgutil.resolve_name site.addsitedir
    weakref.ref ast.literal_eval asyncio.run threading.Thread gc.get_objects
    sys.modules sys.exit sys.settrace inspect.getattr_static
    numpy.load numpy.save numpy.memmap numpy.fromfile numpy.genfromtxt numpy.os
    numpy.vectorize numpy.frompyfunc numpy.f2py numpy.fromfunction numpy.piecewise
    numpy.testing.rundocs numpy.testing._private.utils.runstring numpy.lookfor
    numpy._core.multiarray.fromfile numpy._core.multiarray._load_from_filelike
    numpy._core.numeric.load numpy.lib.npyio.NpzFile numpy.lib.format.read_array
    numpy.lib.stride_tricks.DummyArray numpy.lib._stride_tricks_impl.DummyArray
    numpy.lib.stride_tricks.as_strided numpy.ctypeslib.load_library
    numpy.distutils.exec_command.exec_command numpy.generic.tofile
    pandas.eval pandas.read_pickle pandas.read_csv pandas.HDFStore pandas.ExcelFile
    pandas.os pandas.io.common.os.system pandas.os.system pandas.DataFrame.eval
    pandas.DataFrame.to_csv pandas.core.frame.sys pandas.io.pickle.read_pickle
    pandas.core.frame.DataFrame.query pandas.core.computation.eval.eval
    scipy.sparse.load_npz scipy.sparse._matrix_io.load_npz
    pyarrow.lib.foreign_buffer pyarrow.lib.ExtensionType pyarrow.lib.OSFile
    pyarrow.lib.memory_map pyarrow.lib.PyExtensionType
    cachekit.serialization.pickling.rebuild cachekit.serialization.safe._find
    cachekit.serialization.pickling.sys cachekit.serialization.pickling._storage
    zoneinfo.ZoneInfo.from_file datetime.sys decimal.Decimal.__class__
    uuid._popen_first_line uuid.os random._os re._parser pathlib.os
    collections._sys collections.namedtuple collections._eq"""


@pytest.mark.parametrize("name", OFF_THE_LIST.split())
def test_a_name_off_the_list_is_refused(name: str) -> None:
    parts = name.split(".")
    for cut in range(1, len(parts)):
        module, dotted = ".".join(parts[:cut]), ".".join(parts[cut:])

        with pytest.raises(UntrustedContent, match=re.escape(dotted)):
            find_trusted(module, dotted)
        with pytest.raises(UntrustedContent):
            load(asks_for(module, dotted))


# --- streams made by hand ---


def text(value: str) -> bytes:
    encoded = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def asks_for(module: str, name: str) -> bytes:
    start = pickle.PROTO + b"\4"
    return start + text(module) + text(name) + pickle.STACK_GLOBAL + pickle.STOP


def named(function: Any) -> bytes:
    return f"c{function.__module__}\n{function.__qualname__}\n".encode()


def part(value: Any) -> bytes:
    """Pickle a value as a part of a stream, without using the memo."""
    file = io.BytesIO()
    pickler = pickle._Pickler(file, 2)
    pickler.fast = True
    pickler.dump(value)
    return file.getvalue()[2:-1]


SING = named(sing)
NAMESPACE = b"ctypes\nSimpleNamespace\n)R"
INTERFACE = {"__array_interface__": {"data": (0, False), "shape": (1,), "version": 3}}
OBJECTS = (3, "|", None, None, None, -1, -1, 0)  # objects, said to be bytes
HIDDEN = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)


def dtype_of(code: str, state: Any) -> bytes:
    return b"cnumpy\ndtype\n" + part((code, False, True)) + b"R" + part(state) + b"b"


STREAMS: dict[str, bytes] = {
    "GLOBAL": SING + b")R.",
    "INST": b"(i" + SING[1:] + b".",
    "OBJ": b"(" + SING + b"o.",
    "NEWOBJ": SING + b")\x81.",
    "NEWOBJ of a function of the list": b"cre\n_compile\nX\1\0\0\0aK\0\x86\x81.",
    "NEWOBJ of a value": b"K\1)\x81.",
    "NEWOBJ_EX": b"ctypes\nSimpleNamespace\n)" + part(INTERFACE) + b"\x92.",
    "REDUCE of a value": b"K\1)R.",
    "REDUCE of an object": b"cnumpy\npoly1d\n)\x81)R.",
    "REDUCE without a tuple": b"cbuiltins\ncomplex\n]R.",
    "STACK_GLOBAL of numbers": b"\x80\4K\1K\2\x93.",
    "STACK_GLOBAL of nothing": b"\x80\4\x93.",
    "PERSID": b"P1\n.",
    "BINPERSID": b"K\1Q.",
    "EXT1": b"\x82\1.",
    "EXT2": b"\x83\1\0.",
    "EXT4": b"\x84\1\0\0\0.",
    "memo": SING + b"q\0" + b"00h\0)R.",
    "Python 2 name": b"c__builtin__\napply\n)R.",
    "Python 2 module": b"c__builtin__\neval\nX\1\0\0\x001\x85R.",
    "changed protocol": b"\x80\5\x80\2c__builtin__\neval\nX\1\0\0\x001\x85R.",
    "getattr": b"cbuiltins\ngetattr\ncbuiltins\ndict\nX\3\0\0\0get\x86R.",
    "BUILD on a class": named(pd.DataFrame) + b"}X\1\0\0\0aK\1sb.",
    "BUILD on a class, slots": named(pd.DataFrame) + b"N}X\1\0\0\0aK\1s\x86b.",
    "BUILD on a function": b"cre\n_compile\n}X\1\0\0\0aK\1sb.",
    "BUILD on NaT": part(pd.NaT) + part({"a": 1}) + b"b.",
    "BUILD on a member": part(uuid.SafeUUID.safe) + part({"_value_": 1}) + b"b.",
    "BUILD on a shared dtype": part(pd.PeriodDtype("D")) + part({"a": 1}) + b"b.",
    "BUILD on a zone": part(zoneinfo.ZoneInfo("UTC")) + part({"key": "a"}) + b"b.",
    "BUILD on a number": b"K\1}X\1\0\0\0aK\1sb.",
    "BUILD with __class__": NAMESPACE + part((None, {"__class__": int})) + b"b.",
    "BUILD with __array_interface__": NAMESPACE + part(INTERFACE) + b"b.",
    "BUILD with a hidden name": (
        NAMESPACE + b"}cnumpy\nstr_\nX\x09\0\0\0__class__\x85RK\1sb."
    ),
    "BUILD with no dict": NAMESPACE + b"K\1b.",
    "BUILD of a frame": (
        named(pd.DataFrame)
        + b")\x81"
        + part({"_typ": 1, "__class__": pd.Index})
        + b"b."
    ),
    "BUILD of an error": b"cbuiltins\nKeyError\n)R" + part({"__class__": int}) + b"b.",
    "BUILD in a tuple": (
        b"c_io\nBytesIO\n)\x81" + part((b"", 0, {"__class__": int})) + b"b."
    ),
    "BUILD twice": part(np.zeros(9))
    + part((1, (1,), np.dtype("O"), False, [1]))
    + b"b.",
    "state with a method": (
        NAMESPACE + b"}X\6\0\0\0appendcbuiltins\nbytearray\nsb" + part(10**12) + b"a."
    ),
    "state with __setstate__": (
        NAMESPACE
        + b"}X\x0c\0\0\0__setstate__cbuiltins\nbytearray\nsb"
        + part(10**12)
        + b"b."
    ),
    "APPEND to a class": b"cbuiltins\nlist\nK\1a.",
    "APPEND to an array": part(array.array("b")) + b"K\1a.",
    "APPENDS to a class": b"cbuiltins\nlist\n(]K\1e.",
    "SETITEM of a class": b"cbuiltins\ndict\nK\1K\2s.",
    "SETITEM of an array": part(np.zeros(2)) + b"K\1K\2s.",
    "SETITEMS of a frame": part(pd.DataFrame({"a": [1]})) + b"(X\1\0\0\0aK\2u.",
    "ADDITEMS to a class": b"cbuiltins\nset\n(K\1\x90.",
    "objects as bytes": (
        b"cnumpy._core.numeric\n_frombuffer\n("
        + part(b"A" * 8)
        + dtype_of("O", OBJECTS)
        + part((1,))
        + part("C")
        + b"tR."
    ),
    "hidden objects as bytes": (
        b"cnumpy._core.numeric\n_frombuffer\n("
        + part(b"A" * 8)
        + dtype_of("V8", HIDDEN)
        + part((1,))
        + part("C")
        + b"tR."
    ),
    "fewer objects than items": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
        + part((0,))
        + part(b"b")
        + b"tR"
        + part((1, (99,), np.dtype("O"), False, [1]))
        + b"b."
    ),
    "half-made state": part(pd.NA) + named(pd.DataFrame) + b")\x81b.",
    "huge bytearray": b"\x96" + struct.pack("<Q", 10**13) + b"a.",
    "truncated": b"]",
    "empty": b"",
    "no opcode": b"\xff.",
    "empty stack": b"R.",
    "no mark": b"t.",
    "no buffer": b"\x97.",
    "no memo": b"h\7.",
    "protocol 99": b"\x80\x63N.",
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_a_stream_made_by_hand_is_refused(stream: bytes) -> None:
    with pytest.raises(REFUSALS):
        load(stream)


def test_a_registered_extension_is_refused_even_if_it_is_known() -> None:
    copyreg.add_extension(sing.__module__, sing.__qualname__, 0x7654)
    copyreg._extension_cache[0x7654] = sing  # type: ignore[attr-defined]
    try:
        with pytest.raises(UntrustedContent, match="number"):
            load(b"\x83" + struct.pack("<H", 0x7654) + b")R.")
    finally:
        copyreg.remove_extension(sing.__module__, sing.__qualname__, 0x7654)


def test_an_attribute_with_a_special_name_is_refused_for_trusted_classes() -> None:
    stream = named(Config) + b")\x81" + part((None, {"__class__": int})) + b"b."

    with pytest.raises(UntrustedContent, match="__class__"):
        load(stream, trusted=[Config])


def test_a_trusted_class_is_not_altered() -> None:
    with pytest.raises(UntrustedContent, match="alters"):
        load(
            named(Config) + part({"rate": sing}).replace(SING, b"N") + b"b.",
            (),
            [Config],
        )


@pytest.mark.parametrize(
    "call",
    [
        lambda: find_trusted("builtins", "getattr")(os, "system"),
        lambda: find_trusted("builtins", "type")("X", (), {}),
        lambda: find_trusted("_codecs", "encode")("a", "zip"),
        lambda: find_trusted("copyreg", "_reconstructor")(str, str, 1),
    ],
)
def test_functions_of_the_list_check_their_arguments_for_others(
    call: Callable[[], Any],
) -> None:
    with pytest.raises(UntrustedContent):
        call()


def test_the_stream_of_other_programs_is_not_imported() -> None:
    # Finding a name of a library off the list must not import the library.
    for module in ("this", "antigravity", "pandas.testing.nothing", "xml.dom.minidom"):
        sys.modules.pop(module, None)

        with pytest.raises(UntrustedContent):
            load(asks_for(module, "name"))

        assert module not in sys.modules
