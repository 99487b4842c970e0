"""Canonical forms of tables: pandas, polars and pyarrow.

A table is its columns, each by name, type and values, in whatever blocks or chunks
they lie, and whatever was looked up in it before. The functions at the end are called
when the first object of a library is met, so none is imported before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, compress
from typing import Any

from cachekit.hashing.arrays import blocks
from cachekit.hashing.forms import Buffer, Form

Reducers = dict[type, Callable[[Any], Form]]


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
        type(array).__name__ == "ndarray"
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
    return Form(b"pandas.index:", (*header, _column(index.array), _frequency(index)))


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
    if kind == "ndarray":
        return ("NumpyExtensionArray", array)
    if kind == "NumpyExtensionArray":
        return (kind, array.to_numpy())
    if kind == "IntervalArray":
        return (kind, str(dtype), array.left, array.right)
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
    header = (series.name, repr(series.dtype))
    if series.dtype.is_temporal() or (
        series.dtype.is_nested() and not _has_categories(series.dtype)
    ):
        series = series.to_physical()  # Python's own times end at microseconds
    nulls = series.is_null().to_numpy() if series.null_count() else None
    series = series.drop_nulls()
    name, kind = header[1].partition("(")[0], series.dtype
    if name == "Boolean" or (
        kind.is_numeric() and "128" not in header[1] and not kind.is_decimal()
    ):
        return (*header, nulls, series.to_numpy())
    if name == "String":
        text = series.str.join("")[0] if len(series) else ""
        return (*header, nulls, series.str.len_bytes().to_numpy(), text)
    if name == "List":
        lengths = series.list.len()
        items = series.filter(lengths > 0).explode()
        return (*header, nulls, lengths.to_numpy(), _polars_column(items))
    if name == "Array" and len(series):
        return (*header, nulls, _polars_column(series.explode()))
    return (*header, nulls, series.to_list())


def _has_categories(dtype: Any) -> bool:
    return any(name in repr(dtype) for name in ("Categorical", "Enum"))


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
        parameters = kind.__arrow_ext_serialize__()
        made_of = (kind.extension_name, kind.storage_type, parameters)
        return Form(b"arrow.extension:", made_of)
    fields = [kind.field(place) for place in range(kind.num_fields)]
    return Form(b"arrow.type:", (str(kind), fields))


def _arrow_values(array: Any) -> object:
    """Return the values without offsets, chunks and what lies under a null."""
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # older versions: one chunk, or none
            if array.num_chunks == 0:
                return []
            array = pa.concat_arrays(array.chunks)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _arrow_values(array.dictionary_decode())
    if pa.types.is_union(kind):
        fields = [array.field(place) for place in range(kind.num_fields)]
        return (array.type_codes.to_numpy(), [*map(_arrow_values, fields)])
    nulls = None
    if array.null_count:
        nulls = array.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_struct(kind):
        return (nulls, [*map(_arrow_values, array.flatten())])
    if nulls is not None:
        array = array.drop_null()
    return (nulls, *_arrow_filled(array, kind))


def _arrow_filled(array: Any, kind: Any) -> tuple[object, ...]:
    """Return the values of an array that has no nulls."""
    import pyarrow as pa

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
    if pa.types.is_fixed_size_list(kind):
        return (_arrow_values(array.flatten()),)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = array.value_lengths().to_numpy(zero_copy_only=False)
        return (lengths, _arrow_values(array.flatten()))
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


def pandas_reducers() -> Reducers:
    """Return the reducers for pandas."""
    import pandas as pd

    return {
        pd.DataFrame: _reduce_frame,
        pd.Series: _reduce_series,
        pd.Index: _reduce_index,
        pd.api.extensions.ExtensionArray: _reduce_pandas_array,
        pd.api.extensions.ExtensionDtype: _reduce_pandas_dtype,
    }


def polars_reducers() -> Reducers:
    """Return the reducers for polars."""
    import polars as pl

    return {
        pl.DataFrame: _reduce_polars_frame,
        pl.Series: _reduce_polars_series,
        pl.DataType: _reduce_polars_dtype,
    }


def pyarrow_reducers() -> Reducers:
    """Return the reducers for pyarrow."""
    import pyarrow as pa

    return {
        pa.Array: _reduce_arrow_array,
        pa.ChunkedArray: _reduce_arrow_array,
        pa.Table: _reduce_arrow_table,
        pa.RecordBatch: _reduce_arrow_table,
        pa.Schema: _reduce_arrow_schema,
        pa.Field: _reduce_arrow_field,
        pa.DataType: _reduce_arrow_type,
    }
