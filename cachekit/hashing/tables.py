"""Canonical forms of tables: pandas, polars and pyarrow.

A table is its columns, each by name, type and values, in whatever blocks or chunks
they lie, and whatever was looked up in it before. The functions at the end are called
when the first object of a library is met, so none is imported before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cachekit.hashing.reducers import Buffer, Form

Reducers = dict[type, Callable[[Any], Form]]


# --- pandas ---


def _reduce_frame(frame: Any) -> Form:
    columns = [_column(frame.iloc[:, place].array) for place in range(frame.shape[1])]
    flags = frame.flags.allows_duplicate_labels
    header = (type(frame), frame.columns, frame.index, dict(frame.attrs), flags)
    return Form(b"pandas.frame:", (*header, columns))


def _reduce_series(series: Any) -> Form:
    flags = series.flags.allows_duplicate_labels
    header = (type(series), series.name, series.index, dict(series.attrs), flags)
    return Form(b"pandas.series:", (*header, _column(series.array)))


def _reduce_index(index: Any) -> Form:
    header = (type(index), list(index.names))
    if hasattr(index, "start"):  # a RangeIndex keeps three numbers
        return Form(b"pandas.index:", (*header, index.start, index.stop, index.step))
    if index.nlevels > 1:
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
    if kind == "NumpyExtensionArray":
        return (kind, array.to_numpy())
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
        return (kind, str(dtype), np.asarray(array.asi8))
    return (kind, str(dtype), [*array])


def _frequency(index: Any) -> str | None:
    return getattr(index, "freqstr", None)


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
    if not series.dtype.is_numeric():
        return (*header, series.to_list())
    nulls = series.is_null().to_numpy() if series.null_count() else None
    return (*header, nulls, series.fill_null(0).to_numpy())


# --- pyarrow ---


def _reduce_arrow_array(array: Any) -> Form:
    return Form(b"arrow.array:", (type(array), str(array.type), _arrow_values(array)))


def _reduce_arrow_table(table: Any) -> Form:
    fields = [(field.name, str(field.type), field.nullable) for field in table.schema]
    metadata = dict(table.schema.metadata or {})
    columns = [_arrow_values(column) for column in table.columns]
    return Form(b"arrow.table:", (type(table), fields, metadata, columns))


def _reduce_arrow_schema(schema: Any) -> Form:
    fields = [(field.name, str(field.type), field.nullable) for field in schema]
    return Form(b"arrow.schema:", (fields, dict(schema.metadata or {})))


def _reduce_arrow_type(kind: Any) -> Form:
    return Form(b"arrow.type:", (str(kind),))


def _arrow_values(array: Any) -> object:
    """Return the values without offsets, chunks and what lies under a null."""
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # older versions: one chunk, or none
            if array.num_chunks == 0:
                return []
            array = pa.concat_arrays(array.chunks)
    kind = array.type
    is_text = kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
    if not (is_text or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return array.to_pylist()
    nulls = None
    if array.null_count:
        nulls = array.is_null().to_numpy(zero_copy_only=False)
        array = array.drop_null()
    if not is_text:
        return (nulls, array.to_numpy(zero_copy_only=False))
    return (
        nulls,
        *_arrow_text(array, wide=kind in (pa.large_string(), pa.large_binary())),
    )


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
        pa.DataType: _reduce_arrow_type,
    }
