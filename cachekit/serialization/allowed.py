"""What safe loading allows: names of classes and functions, and their arguments.

Three things go by rule, in `cachekit.serialization.safe`; the rest is named here.
"""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

# Says of the positional arguments of a call whether an honest pickle has them.
Check = Callable[..., bool]


def is_subclass(found: object, base: type) -> bool:
    """Tell whether something is a class below another one."""
    return isinstance(found, type) and issubclass(found, base)


def is_numpy(name: str, value: object) -> bool:
    """Tell whether a value is of one of numpy's types, without importing numpy."""
    # If it is not imported, or another thread does so just now, there is none.
    return isinstance(value, getattr(sys.modules.get("numpy"), name, ()))


def name_of(found: Any) -> str:
    """Return the full name of a class or function, or of the class of a value."""
    module = getattr(found, "__module__", type(found).__module__)
    return f"{module}.{getattr(found, '__qualname__', type(found).__qualname__)}"


def anything(*arguments: Any) -> bool:  # noqa: ARG001  # one of the checks
    """Allow all arguments."""
    return True


def nothing(*arguments: Any) -> bool:  # noqa: ARG001  # it is a value only
    """Allow no call at all."""
    return False


def _no_arguments(*arguments: Any) -> bool:
    return not arguments


def _plain(*arguments: Any) -> bool:
    """Say whether no argument makes more of itself, as ``range(10**12)`` does."""
    return all(type(argument) in _PLAIN for argument in arguments)


_PLAIN = {type(None), int, float, str, bytes, list, tuple, dict, set, frozenset}


def _is_of_bytes(*arguments: Any) -> bool:
    return not arguments or type(arguments[0]) in (bytes, str)


def _is_latin1(text: Any, encoding: Any) -> bool:
    # So pickles before protocol 3 hold bytes; another encoding would be looked up.
    return type(text) is str and encoding == "latin1"


def _is_pattern(pattern: Any, flags: Any) -> bool:
    return type(pattern) in (str, bytes) and type(flags) is int


def _is_fraction(*arguments: Any) -> bool:
    # Not "1e999999999", which is a long number.
    return all(
        type(part) is int or (type(part) is str and re.fullmatch(r"[-\d/]+", part))
        for part in arguments
    )


def _is_single(*arguments: Any) -> bool:
    """Check ``type(None)``: the only way in which pickles write these types."""
    return len(arguments) == 1 and type(arguments[0]) in _SINGLES


_SINGLES = {type(None), type(...), type(NotImplemented)}


def _is_readable(owner: Any, name: Any) -> bool:
    """Tell what may be read of a class: members of enums, as Python 3.11.2 pickles."""
    if isinstance(owner, enum.EnumMeta):
        return isinstance(name, str) and name in owner.__members__
    return name_of(owner) == "zoneinfo.ZoneInfo" and name == "_unpickle"


def _are_flags(*arguments: Any) -> bool:
    return all(isinstance(argument, enum.Flag) for argument in arguments)


def _is_factory(*arguments: Any) -> bool:
    return len(arguments) <= 1 and all(
        argument is None or isinstance(argument, type) for argument in arguments
    )


def _is_reconstruction(cls: Any, base: Any, state: Any) -> bool:
    if base is object:
        return isinstance(cls, type) and state is None
    return base in _PLAIN and cls is not base and type(state) is base


def _is_empty_array(cls: Any, shape: Any, *_: Any) -> bool:
    numpy = sys.modules["numpy"]
    return is_subclass(cls, numpy.ndarray) and type(shape) is tuple and shape == (0,)


def _is_empty_masked(cls: Any, base: Any, shape: Any, *_: Any) -> bool:
    return _is_empty_array(cls, shape) and _is_empty_array(base, shape)


def _is_memory(buffer: Any, *_: Any) -> bool:
    # Not an array of objects, whose addresses could then be changed as numbers.
    return not getattr(getattr(buffer, "dtype", None), "hasobject", False)


def _is_dtype_first(dtype: Any, *_: Any) -> bool:
    return is_numpy("dtype", dtype)


def _is_generator(*arguments: Any) -> bool:
    return all(not isinstance(argument, type) for argument in arguments)


def _is_index(cls: Any, attributes: Any, *_: Any) -> bool:
    pandas = sys.modules["pandas"]
    return is_subclass(cls, pandas.Index) and type(attributes) is dict


def _is_whole_arrow(parts: Any) -> bool:
    """Check what pyarrow believes: it would crash, or read behind its buffers."""
    lib = sys.modules["pyarrow"].lib
    if not _has_parts_of_its_type(lib, parts):
        return False
    lib._restore_array(parts).validate(full=True)
    return True


def _has_parts_of_its_type(lib: Any, parts: Any) -> bool:
    kind, _, _, _, buffers, children, dictionary = parts
    if not isinstance(kind, lib.DataType) or isinstance(kind, lib.BaseExtensionType):
        return False
    inner = [*children, *([] if dictionary is None else [dictionary])]
    kinds = [kind.field(place).type for place in range(kind.num_fields)]
    if isinstance(kind, lib.DictionaryType):
        kinds.append(kind.value_type)
    return (
        len(buffers) == kind.num_buffers
        and [part[0] for part in inner] == kinds
        and all(_has_parts_of_its_type(lib, part) for part in inner)
    )


def _is_without_state(cls: Any, checksum: Any, state: Any) -> bool:
    return isinstance(cls, type) and type(checksum) is int and state is None


def _listed(text: str) -> Iterator[str]:
    """Yield full names of lines such as ``module: name name``."""
    for line in text.strip().splitlines():
        module, _, names = line.partition(":")
        yield from (f"{module.strip()}.{name}" for name in names.split())


# Classes that are named, or made by a function below, but never called.
_NAMED = """
builtins: bool int float str list dict tuple Ellipsis NotImplemented
zoneinfo: ZoneInfo
numpy: ndarray matrix
numpy.rec: recarray
numpy.char: chararray
numpy.ma: MaskedArray
numpy.ma.core: MaskedArray
numpy.random.bit_generator: SeedSequence
numpy.random._generator: Generator
numpy.random.mtrand: RandomState
numpy.random._mt19937: MT19937
numpy.random._pcg64: PCG64 PCG64DXSM
numpy.random._philox: Philox
numpy.random._sfc64: SFC64
pandas: NA Index RangeIndex CategoricalIndex DatetimeIndex IntervalIndex MultiIndex
pandas: PeriodIndex TimedeltaIndex
pandas.core.indexes.base: Index
pandas.core.indexes.range: RangeIndex
pandas.core.indexes.category: CategoricalIndex
pandas.core.indexes.datetimes: DatetimeIndex
pandas.core.indexes.interval: IntervalIndex
pandas.core.indexes.multi: MultiIndex
pandas.core.indexes.period: PeriodIndex
pandas.core.indexes.timedeltas: TimedeltaIndex
pandas._libs.missing: NA
pandas.arrays: DatetimeArray IntervalArray NumpyExtensionArray PeriodArray
pandas.arrays: StringArray TimedeltaArray
pandas.core.arrays.datetimes: DatetimeArray
pandas.core.arrays.interval: IntervalArray
pandas.core.arrays.numpy_: NumpyExtensionArray PandasArray
pandas.core.arrays.period: PeriodArray
pandas.core.arrays.string_: StringArray
pandas.core.arrays.timedeltas: TimedeltaArray
"""

# Classes that are made without arguments, and then given a state.
_MADE_EMPTY = """
builtins: object bytes
types: SimpleNamespace
collections: ChainMap
uuid: UUID
_io: BytesIO StringIO
dateutil.tz.tz: tzutc
dateutil.relativedelta: relativedelta
numpy: poly1d
numpy.ma.core: MaskedConstant
numpy.polynomial.chebyshev: Chebyshev
numpy.polynomial.hermite: Hermite
numpy.polynomial.hermite_e: HermiteE
numpy.polynomial.laguerre: Laguerre
numpy.polynomial.legendre: Legendre
numpy.polynomial.polynomial: Polynomial
pandas: ArrowDtype BooleanDtype Categorical CategoricalDtype DataFrame DatetimeTZDtype
pandas: Float32Dtype Float64Dtype Int8Dtype Int16Dtype Int32Dtype Int64Dtype
pandas: IntervalDtype Series SparseDtype UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype
pandas.arrays: ArrowExtensionArray ArrowStringArray BooleanArray FloatingArray
pandas.arrays: IntegerArray SparseArray
pandas.core.frame: DataFrame
pandas.core.series: Series
pandas.core.arrays.arrow.array: ArrowExtensionArray
pandas.core.arrays.boolean: BooleanArray BooleanDtype
pandas.core.arrays.categorical: Categorical
pandas.core.arrays.floating: FloatingArray Float32Dtype Float64Dtype
pandas.core.arrays.integer: IntegerArray Int8Dtype Int16Dtype Int32Dtype Int64Dtype
pandas.core.arrays.integer: UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype
pandas.core.arrays.sparse.array: SparseArray
pandas.core.arrays.string_arrow: ArrowStringArray
pandas.core.dtypes.dtypes: ArrowDtype CategoricalDtype DatetimeTZDtype IntervalDtype
pandas.core.dtypes.dtypes: NumpyEADtype PandasDtype SparseDtype
scipy.sparse._bsr: bsr_array bsr_matrix
scipy.sparse._coo: coo_array coo_matrix
scipy.sparse._csc: csc_array csc_matrix
scipy.sparse._csr: csr_array csr_matrix
scipy.sparse._dia: dia_array dia_matrix
scipy.sparse._dok: dok_array dok_matrix
scipy.sparse._lil: lil_array lil_matrix
"""

# Classes and functions that do no harm, whatever they are called with.
_CALLED = """
builtins: complex range slice
datetime: date datetime time timedelta timezone
decimal: Decimal
uuid: SafeUUID
pathlib: Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath
ipaddress: IPv4Address IPv4Interface IPv4Network
ipaddress: IPv6Address IPv6Interface IPv6Network
array: _array_reconstructor
random: Random
time: struct_time
zoneinfo: ZoneInfo._unpickle
numpy: dtype
numpy._core._internal: _convert_to_stringdtype_kwargs
numpy.random._pickle: __bit_generator_ctor
pandas: DateOffset Interval Period PeriodDtype StringDtype
pandas.core.arrays.string_: StringDtype
pandas.core.dtypes.dtypes: PeriodDtype
pandas.core.internals.managers: BlockManager SingleBlockManager
pandas._libs.internals: _unpickle_block
pandas._libs.interval: Interval
pandas._libs.sparse: BlockIndex IntIndex
pandas._libs.tslibs.nattype: _nat_unpickle __nat_unpickle
pandas._libs.tslibs.period: Period
pandas._libs.tslibs.timedeltas: _timedelta_unpickle
pandas._libs.tslibs.timestamps: _unpickle_timestamp
pandas._libs.tslibs.offsets: BaseOffset DateOffset Tick Day Hour Minute Second Milli
pandas._libs.tslibs.offsets: Micro Nano BusinessDay BusinessHour CustomBusinessDay
pandas._libs.tslibs.offsets: CustomBusinessHour MonthBegin MonthEnd BusinessMonthBegin
pandas._libs.tslibs.offsets: BusinessMonthEnd CustomBusinessMonthBegin
pandas._libs.tslibs.offsets: CustomBusinessMonthEnd SemiMonthBegin SemiMonthEnd Week
pandas._libs.tslibs.offsets: WeekOfMonth LastWeekOfMonth QuarterBegin QuarterEnd
pandas._libs.tslibs.offsets: BQuarterBegin BQuarterEnd HalfYearBegin HalfYearEnd
pandas._libs.tslibs.offsets: BHalfYearBegin BHalfYearEnd YearBegin YearEnd BYearBegin
pandas._libs.tslibs.offsets: BYearEnd FY5253 FY5253Quarter Easter
pyarrow.lib: binary decimal128 decimal256 dictionary field large_list
pyarrow.lib: list_ py_buffer struct timestamp type_for_alias
pytz: _p _UTC
"""

_CHECKED: dict[str, Check] = {
    "builtins.bytearray": _is_of_bytes,
    "builtins.set": _plain,
    "builtins.frozenset": _plain,
    "_operator.or_": _are_flags,
    "builtins.getattr": _is_readable,
    "builtins.type": _is_single,
    "collections.Counter": _plain,
    "collections.OrderedDict": _plain,
    "collections.defaultdict": _is_factory,
    "collections.deque": _plain,
    "array.array": _plain,
    "fractions.Fraction": _is_fraction,
    "re._compile": _is_pattern,
    "_codecs.encode": _is_latin1,
    "copyreg._reconstructor": _is_reconstruction,
    "numpy._core.multiarray._reconstruct": _is_empty_array,
    "numpy._core.multiarray.scalar": _is_dtype_first,
    "numpy._core.numeric._frombuffer": _is_memory,
    "numpy.ma.core._mareconstruct": _is_empty_masked,
    "numpy.random._pickle.__generator_ctor": _is_generator,
    "numpy.random._pickle.__randomstate_ctor": _is_generator,
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence": _is_without_state,
    "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked": _is_without_state,
    "pandas._libs.interval.__pyx_unpickle_IntervalMixin": _is_without_state,
    "pandas.core.indexes.base._new_Index": _is_index,
    "pandas.core.indexes.datetimes._new_DatetimeIndex": _is_index,
    "pandas.core.indexes.interval._new_IntervalIndex": _is_index,
    "pandas.core.indexes.period._new_PeriodIndex": _is_index,
    "pandas.core.indexes.timedeltas._new_TimedeltaIndex": _is_index,
    "pyarrow.lib._restore_array": _is_whole_arrow,
}

# By full name: what may be found, and with which arguments it may be called.
CALLS: dict[str, Check] = {
    **dict.fromkeys(_listed(_NAMED), nothing),
    **dict.fromkeys(_listed(_MADE_EMPTY), _no_arguments),
    **dict.fromkeys(_listed(_CALLED), anything),
    **_CHECKED,
}
