"""Canonical forms of arrays; imported when the first numpy object is met.

An array is its dtype, shape, memory order (C or F) and elements. A strided view
equals its contiguous copy, a memory map equals the array it maps, and a read-only
array equals a writable one. Contiguous memory is hashed as it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np  # noqa: TID253  (this module is itself imported only on use)

from cachekit.hashing.reducers import Buffer, Form

# A strided view is copied so many bytes at a time, to hash it in little memory.
BLOCK_BYTES = 1 << 20


def _reduce_array(array: np.ndarray[Any, Any]) -> Form:
    plain = np.asarray(array)
    order = "F" if plain.flags.f_contiguous and not plain.flags.c_contiguous else "C"
    kind = np.ndarray if isinstance(array, np.memmap) else type(array)
    header = (kind, plain.dtype, plain.shape, order, _extras(array))
    return Form(b"ndarray:", (*header, _elements(plain, order)))


def _extras(array: np.ndarray[Any, Any]) -> dict[str, Any] | None:
    """Return what a subclass keeps besides the elements: units, names, a mask."""
    if type(array) is np.ndarray or isinstance(array, np.memmap):
        return None
    return {name: value for name, value in vars(array).items() if name != "_optinfo"}


def _elements(array: np.ndarray[Any, Any], order: str) -> object:
    if array.dtype.names is not None:  # field by field: what pads them is no content
        return [_elements(array[name], order) for name in array.dtype.names]
    if array.dtype.hasobject or array.dtype.kind == "T":
        return array.ravel(order="K" if order == "F" else "C").tolist()
    if array.dtype.itemsize == 0 or array.size == 0:
        return None
    laid_out = array.T if order == "F" else array
    size = array.nbytes if laid_out.flags.c_contiguous else 0
    return Buffer(_blocks(laid_out), size)


def _blocks(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    """Give the elements in C order, as memory: in one block when they lie so."""
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
        return
    if array.nbytes <= BLOCK_BYTES or len(array) == 1:
        yield from _blocks(np.ascontiguousarray(array))
        return
    rows = max(1, len(array) * BLOCK_BYTES // array.nbytes)
    for start in range(0, len(array), rows):
        yield from _blocks(np.ascontiguousarray(array[start : start + rows]))


def _reduce_masked_array(array: np.ma.MaskedArray[Any, Any]) -> Form:
    mask = np.ma.getmaskarray(array)
    hidden = np.zeros((), dtype=array.dtype)[()]
    # What lies under the mask is no content.
    visible = np.where(mask, hidden, np.ma.getdata(array)) if mask.any() else array.data
    return Form(
        b"masked:",
        (type(array), np.asarray(visible), np.asarray(mask), array.fill_value),
    )


def _reduce_scalar(scalar: np.generic) -> Form:
    if scalar.dtype.hasobject or scalar.dtype.names is not None:
        return Form(b"scalar:", (scalar.dtype, np.asarray(scalar)))
    return Form(b"scalar:", (scalar.dtype, scalar.tobytes()))


def _reduce_dtype(dtype: np.dtype[Any]) -> Form:
    if dtype.names is not None and dtype.fields is not None:
        fields = [(name, dtype.fields[name][0]) for name in dtype.names]
        return Form(b"dtype:", ("fields", fields))
    if dtype.subdtype is not None:
        return Form(b"dtype:", ("sub", *dtype.subdtype))
    return Form(b"dtype:", (dtype.str,))


def numpy_reducers() -> dict[type, Callable[[Any], Form]]:
    """Return the reducers for numpy."""
    return {
        np.ma.MaskedArray: _reduce_masked_array,
        np.ndarray: _reduce_array,
        np.generic: _reduce_scalar,
        np.dtype: _reduce_dtype,
    }
