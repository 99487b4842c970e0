"""Canonical forms of tables: pandas, polars and pyarrow.

A table is its columns, each by name, type and values, in whatever blocks or chunks
they lie, and whatever was looked up in it before. The functions at the end are called
when the first object of a library is met, so none is imported before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import chain, compress
from typing import Any

from cachekit.errors import UnhashableArgument
from cachekit.hashing.arrays import blocks
from cachekit.hashing.forms import Buffer, Form, Reducers, describe

# So many bytes of text fit Arrow's 32-bit offsets, which joined chunks share.
_MOST_NARROW_TEXT = 2**31 - 1


# --- pandas ---


def _reduce_frame(frame: Any) -> Form:
    arrays = list(_column_arrays(frame))
    plain = [_is_plain(array) for array in arrays]
    columns = [
        array.dtype.str if is_plain else _column(array)
        for array, is_plain in zip(arrays, plain, strict=True)
    ]
    # The memory of thousands of columns is hashed in one go, one after the other.
    memory = chain.from_iterable(map(blocks, compress(arrays, plain)))
    flags = frame.flags.allows_duplicate_labels
    kept = (dict(frame.attrs), _kept_by_subclass(frame), flags)
    header = (type(frame), frame.columns, frame.index, *kept)
    size = 8 * frame.shape[0]
    return Form(b"pandas.frame:", (*header, frame.shape, columns, Buffer(memory, size)))


def _column_arrays(frame: Any) -> Iterator[Any]:
    """Yield what each column holds, in the quickest way that this pandas has."""
    if hasattr(frame, "_iter_column_arrays"):
        yield from frame._iter_column_arrays()
        return
    for place in range(frame.shape[1]):
        array = frame.iloc[:, place].array
        is_numpys = type(array).__name__ == "NumpyExtensionArray"
        yield array.to_numpy() if is_numpys else array


def _is_plain(array: Any) -> bool:
    """Tell whether an array is numpy's, and its memory its content."""
    return (
        type(array).__name__ in ("ndarray", "memmap")
        and array.dtype.kind in "biufc"
        and array.dtype.char not in "gG"
    )


def _reduce_series(series: Any) -> Form:
    flags = series.flags.allows_duplicate_labels
    kept = (dict(series.attrs), _kept_by_subclass(series), flags)
    header = (type(series), series.name, series.index, *kept)
    return Form(b"pandas.series:", (*header, _column(series.array)))


def _kept_by_subclass(table: Any) -> dict[str, object]:
    """Return what a subclass keeps besides, as geopandas does a reference system."""
    return {
        name: getattr(table, name, None) for name in table._metadata if name != "name"
    }


def _reduce_index(index: Any) -> Form:
    header = (type(index), list(index.names))
    if hasattr(index, "start"):  # a RangeIndex keeps three numbers
        return Form(b"pandas.index:", (*header, index.start, index.stop, index.step))
    if hasattr(index, "levels"):
        levels = [index.get_level_values(place) for place in range(index.nlevels)]
        return Form(
            b"pandas.index:", (*header, [_column(level.array) for level in levels])
        )
    # Of intervals between the numbers of a RangeIndex pandas can make no `array`.
    array = index if hasattr(index, "closed") else index.array
    return Form(b"pandas.index:", (*header, _column(array), _frequency(index)))


def _reduce_pandas_array(array: Any) -> Form:
    return Form(b"pandas.array:", (type(array), _column(array)))


def _reduce_pandas_dtype(dtype: Any) -> Form:
    if hasattr(dtype, "categories"):
        return Form(b"pandas.dtype:", (dtype.name, dtype.categories, dtype.ordered))
    return Form(b"pandas.dtype:", (str(dtype), repr(dtype)))


def _column(array: Any) -> tuple[object, ...]:
    """Take an array of pandas apart: its type, and its values in numpy's terms."""
    import numpy as np

    kind, dtype = type(array).__name__, array.dtype
    if kind in ("ndarray", "memmap"):
        return ("NumpyExtensionArray", array)
    if kind == "NumpyExtensionArray":
        return (kind, array.to_numpy())
    if hasattr(array, "closed"):  # intervals, as an array or as an index
        # The arrays, for equal bounds may lie in a RangeIndex or in another.
        bounds = (_column(array.left.array), _column(array.right.array))
        return (kind, str(dtype), *bounds)
    if kind == "Categorical":
        return (kind, array.codes, array.categories, array.ordered)
    if hasattr(array, "_pa_array"):
        return (kind, str(dtype), _arrow_values(array._pa_array))
    if kind == "StringArray":
        return (kind, str(dtype), array.to_numpy(dtype=object))
    if hasattr(array, "_mask"):  # what lies under the mask is no content
        mask = np.asarray(array._mask)
        values = np.where(mask, np.zeros((), array._data.dtype), array._data)
        return (kind, str(dtype), values, mask)
    if hasattr(array, "asi8"):  # dates, times and periods
        return (kind, str(dtype), np.asarray(array.asi8), _frequency(array))
    return (kind, str(dtype), [*array])


def _frequency(dates: Any) -> object:
    frequency = getattr(dates, "freq", None)
    if frequency is None:
        return None
    return (frequency.freqstr, str(getattr(frequency, "holidays", None)))


# --- polars ---


def _reduce_polars_frame(frame: Any) -> Form:
    columns = [_polars_column(column) for column in frame.get_columns()]
    return Form(b"polars.frame:", (type(frame), frame.height, columns))


def _reduce_polars_series(series: Any) -> Form:
    return Form(b"polars.series:", (type(series), _polars_column(series)))


def _reduce_polars_dtype(dtype: Any) -> Form:
    return Form(b"polars.dtype:", (repr(dtype),))


def _polars_column(series: Any) -> tuple[object, ...]:
    header = (series.name, repr(series.dtype), len(series))
    nulls = series.is_null().to_numpy() if series.null_count() else None
    return (*header, nulls, *_polars_filled(series.drop_nulls()))


def _polars_filled(series: Any) -> tuple[object, ...]:
    """Return the values of a series that has no nulls, one level of nesting down."""
    import polars as pl

    if hasattr(series, "ext") and isinstance(series.dtype, pl.BaseExtension):
        series = series.ext.storage()
    kind = series.dtype
    if isinstance(kind, pl.Struct):
        return (*map(_polars_column, series.struct.unnest().get_columns()),)
    if isinstance(kind, pl.List):
        lengths = series.list.len()
        items = series.filter(lengths > 0).explode()
        return (lengths.to_numpy(), _polars_column(items))
    if isinstance(kind, pl.Array):
        return (_polars_column(series.explode()),) if len(series) else ()
    return _polars_flat(series)


def _polars_flat(series: Any) -> tuple[object, ...]:
    """Return the values of a series that has neither nulls nor nesting."""
    import polars as pl

    if isinstance(series.dtype, (pl.Categorical, pl.Enum)):
        series = series.cast(pl.String)  # codes depend on what else was met
    elif series.dtype.is_temporal():
        series = series.to_physical()  # Python's own times end at microseconds
    kind = series.dtype
    if isinstance(kind, pl.String):
        text = series.str.join("")[0] if len(series) else ""
        return (series.str.len_bytes().to_numpy(), text)
    is_wide = kind.is_decimal() or str(kind).endswith("128")
    if kind == pl.Boolean or (kind.is_numeric() and not is_wide):
        return (series.to_numpy(),)
    return (series.to_list(),)


# --- pyarrow ---


def _reduce_arrow_array(array: Any) -> Form:
    return Form(b"arrow.array:", (type(array), array.type, _arrow_values(array)))


def _reduce_arrow_table(table: Any) -> Form:
    columns = [_arrow_values(column) for column in table.columns]
    return Form(b"arrow.table:", (type(table), table.schema, table.num_rows, columns))


def _reduce_arrow_schema(schema: Any) -> Form:
    return Form(b"arrow.schema:", ([*schema], dict(schema.metadata or {})))


def _reduce_arrow_field(field: Any) -> Form:
    metadata = dict(field.metadata or {})
    return Form(b"arrow.field:", (field.name, field.type, field.nullable, metadata))


def _reduce_arrow_type(kind: Any) -> Form:
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        # Arrow's own, such as `pa.uuid()`, lack this, and name their parameters.
        serialize = getattr(kind, "__arrow_ext_serialize__", kind.__str__)
        made_of = (kind.extension_name, kind.storage_type, serialize())
        return Form(b"arrow.extension:", made_of)
    if pa.types.is_dictionary(kind):
        return Form(b"arrow.type:", (str(kind), kind.value_type))
    fields = [kind.field(place) for place in range(kind.num_fields)]
    return Form(b"arrow.type:", (str(kind), fields))


def _arrow_values(array: Any) -> tuple[object, ...]:
    """Return the values without offsets, chunks and what lies under a null.

    Their number comes first, which structs without fields tell nowhere else.
    """
    import numpy as np
    import pyarrow as pa

    size = len(array)
    if size == 0:
        return (size,)
    array = _unwrapped(_in_one_piece(array))
    kind = array.type
    if pa.types.is_union(kind):
        return (size, *_arrow_union(array))
    nulls = shown = None
    if array.null_count:
        nulls = array.is_null().to_numpy(zero_copy_only=False)
        shown = np.flatnonzero(~nulls)
    if pa.types.is_struct(kind):
        # Field by field: `flatten` kills the process if a union lies under a null.
        fields = [array.field(place) for place in range(kind.num_fields)]
        if shown is not None:
            fields = [_taken(field, shown) for field in fields]
        return (size, nulls, [*map(_arrow_values, fields)])
    if pa.types.is_nested(kind):
        lists = array if shown is None else _taken(array, shown)
        return (size, nulls, *_arrow_lists(lists))
    return (size, nulls, *_arrow_flat(array.drop_null() if array.null_count else array))


def _in_one_piece(array: Any) -> Any:
    import pyarrow as pa

    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    if array.nbytes > _MOST_NARROW_TEXT and array.type in (pa.string(), pa.binary()):
        wide = pa.large_string() if array.type == pa.string() else pa.large_binary()
        array = array.cast(wide)
    return array.combine_chunks()


def _unwrapped(array: Any) -> Any:
    """Return the values of an array that stores them otherwise: by codes, by runs."""
    import numpy as np
    import pyarrow as pa

    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _unwrapped(array.storage)
    if pa.types.is_dictionary(kind):
        return _taken(_unwrapped(array.dictionary), array.indices)
    if pa.types.is_run_end_encoded(kind):
        # Not by `run_end_decode`, which knows neither views nor dictionaries.
        places = np.arange(array.offset, array.offset + len(array))
        runs = np.searchsorted(array.run_ends.to_numpy(), places, side="right")
        return _taken(_unwrapped(array.values), runs)
    if pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return array.cast(pa.large_binary())
    if pa.types.is_map(kind):
        # As lists of pairs. `view` would do, but breaks runs inside.
        parts = (array.buffers()[:2], -1, array.offset, [array.values])
        return pa.Array.from_buffers(pa.list_(kind.field(0)), len(array), *parts)
    return array


def _taken(array: Any, places: Any) -> Any:
    """Return the elements at some places."""
    import numpy as np
    import pyarrow as pa

    array = _unwrapped(array)
    try:
        return array.take(pa.array(places))
    except pa.ArrowNotImplementedError:
        if pa.array(places).null_count:
            raise
    # Views and runs deep inside can be put together, but not picked from.
    cuts = np.flatnonzero(np.diff(places) != 1) + 1
    runs = [run for run in np.split(np.asarray(places), cuts) if len(run)]
    return pa.concat_arrays([array[:0], *(array[run[0] : run[-1] + 1] for run in runs)])


def _arrow_union(array: Any) -> tuple[object, ...]:
    """Return which field each value is of, and of each field the values in use."""
    import numpy as np
    import pyarrow as pa

    # Read from memory: `type_codes` and `offsets` forget where a slice begins.
    _, codes, places, *_ = array.buffers()
    within = slice(array.offset, array.offset + len(array))
    codes = np.frombuffer(codes, dtype="i1")[within]
    if array.type.mode == "dense":
        places = np.frombuffer(places, dtype="i4")[within]
    else:
        places = np.arange(len(array))
    fields = [
        _taken(array.field(place), pa.array(places[codes == code]))
        for place, code in enumerate(array.type.type_codes)
    ]
    return (codes, [*map(_arrow_values, fields)])


def _arrow_lists(array: Any) -> tuple[object, ...]:
    """Return how long each list is, and the items of all, one after the other."""
    import pyarrow as pa

    items = _arrow_values(array.flatten())
    if pa.types.is_fixed_size_list(array.type):
        return (items,)
    return (array.value_lengths().to_numpy(zero_copy_only=False), items)


def _arrow_flat(array: Any) -> tuple[object, ...]:
    """Return the values of an array that has neither nulls nor nesting."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        # As Python's own objects they would end at microseconds.
        array = array.view(pa.int64() if kind.bit_width == 64 else pa.int32())
        kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return (array.to_numpy(zero_copy_only=False),)
    if pa.types.is_boolean(kind):
        return (array.to_numpy(zero_copy_only=False),)
    if kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        wide = kind in (pa.large_string(), pa.large_binary())
        return _arrow_text(array, wide=wide)
    return (array.to_pylist(),)


def _arrow_text(array: Any, *, wide: bool) -> tuple[object, object]:
    """Return the length of each text, and all of them one after the other."""
    import numpy as np

    _, places, memory = array.buffers()
    if len(array) == 0 or memory is None:
        return (np.zeros(len(array), dtype="i8"), b"")
    start, end = array.offset, array.offset + len(array) + 1
    offsets = np.frombuffer(places, dtype="i8" if wide else "i4")[start:end]
    text = memoryview(memory)[offsets[0] : offsets[-1]]
    return (np.diff(offsets).astype("i8"), Buffer([text], text.nbytes))


# --- what each library's objects are reduced by ---


def _refusing(reducers: Reducers, *errors: type[Exception]) -> Reducers:
    """Have a value that its own library cannot take apart refused in our words."""
    expected: tuple[type[Exception], ...] = (NotImplementedError, ValueError, *errors)
    return {kind: _or_refuse(reduce, expected) for kind, reduce in reducers.items()}


def _or_refuse(
    reduce: Callable[[Any], Form], expected: tuple[type[Exception], ...]
) -> Callable[[Any], Form]:
    @wraps(reduce)
    def reduce_or_refuse(value: Any) -> Form:
        try:
            return reduce(value)
        except expected as error:
            reason = f"{describe(value)} ({error})"
            raise UnhashableArgument(reason, culprit=value) from error

    return reduce_or_refuse


def pandas_reducers() -> Reducers:
    """Return the reducers for pandas."""
    import pandas as pd

    reducers: Reducers = {
        pd.DataFrame: _reduce_frame,
        pd.Series: _reduce_series,
        pd.Index: _reduce_index,
        pd.api.extensions.ExtensionArray: _reduce_pandas_array,
        pd.api.extensions.ExtensionDtype: _reduce_pandas_dtype,
    }
    return _refusing(reducers)


def polars_reducers() -> Reducers:
    """Return the reducers for polars."""
    import polars as pl

    reducers: Reducers = {
        pl.DataFrame: _reduce_polars_frame,
        pl.Series: _reduce_polars_series,
        pl.DataType: _reduce_polars_dtype,
    }
    return _refusing(reducers, pl.exceptions.PolarsError)


def pyarrow_reducers() -> Reducers:
    """Return the reducers for pyarrow."""
    import pyarrow as pa

    reducers: Reducers = {
        pa.Array: _reduce_arrow_array,
        pa.ChunkedArray: _reduce_arrow_array,
        pa.Table: _reduce_arrow_table,
        pa.RecordBatch: _reduce_arrow_table,
        pa.Schema: _reduce_arrow_schema,
        pa.Field: _reduce_arrow_field,
        pa.DataType: _reduce_arrow_type,
    }
    return _refusing(reducers, pa.ArrowTypeError, pa.ArrowIndexError)
