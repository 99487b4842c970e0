"""Canonical forms of arrays; imported when the first numpy object is met.

An array is its dtype, shape, memory order (C or F) and elements. A strided view
equals its contiguous copy, a memory map equals the array it maps, and a read-only
array equals a writable one. Contiguous memory is hashed as it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np  # noqa: TID253  (this module is itself imported only on use)

from cachekit.hashing.forms import Buffer, Form, Reducers
from cachekit.hashing.objects import attributes

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
    return attributes(array)


def _elements(array: np.ndarray[Any, Any], order: str) -> object:
    if array.dtype.names is not None:  # field by field: what pads them is no content
        return [_elements(array[name], order) for name in array.dtype.names]
    if array.dtype.hasobject or array.dtype.kind == "T":
        return array.ravel(order="K" if order == "F" else "C").tolist()
    if array.dtype.itemsize == 0 or array.size == 0:
        return None
    laid_out = array.T if order == "F" else array
    if array.dtype.char in "gG":
        laid_out = _without_padding(laid_out)
    size = array.nbytes if laid_out.flags.c_contiguous else 0
    return Buffer(blocks(laid_out), size)


def blocks(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    """Give the elements in C order, as memory: in one block when they lie so."""
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
        return
    if array.nbytes <= BLOCK_BYTES:
        yield from blocks(np.ascontiguousarray(array))
        return
    if len(array) == 1:
        yield from blocks(array[0])
        return
    rows = max(1, len(array) * BLOCK_BYTES // array.nbytes)
    for start in range(0, len(array), rows):
        yield from blocks(np.ascontiguousarray(array[start : start + rows]))


def _without_padding(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the bytes of long doubles that hold the number: 10 of 12 or 16 on x86."""
    used = 10 if np.finfo(np.longdouble).nmant == 63 else np.longdouble().itemsize
    native = array.astype(array.dtype.newbyteorder("="), copy=False)  # padded behind
    memory = np.ascontiguousarray(native).reshape(-1).view("u1")
    return np.ascontiguousarray(memory.reshape(-1, np.longdouble().itemsize)[:, :used])


def _reduce_masked_array(array: np.ma.MaskedArray[Any, Any]) -> Form:
    if array is np.ma.masked:
        return Form(b"masked:", ())
    mask = np.ma.getmaskarray(array)
    data = np.array(np.ma.getdata(array), subok=False)
    _blank(data, np.asarray(mask))
    kept = attributes(array)
    extras = {name: kept[name] for name in kept if name not in _MASKED_MACHINERY}
    header = (type(array), array.fill_value, array.hardmask, extras)
    return Form(b"masked:", (*header, data, np.asarray(mask)))


def _blank(data: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> None:
    """Clear what lies under a mask, which is no content."""
    if data.dtype.names is not None:
        for name in data.dtype.names:
            _blank(data[name], mask[name])
    elif mask.any():
        data[mask] = np.zeros((), dtype=data.dtype)[()]


# What numpy keeps for itself in the attributes of a masked array.
_MASKED_MACHINERY = {
    "_basedict",
    "_baseclass",
    "_fill_value",
    "_hardmask",
    "_isfield",
    "_mask",
    "_optinfo",
    "_sharedmask",
}


def _reduce_scalar(scalar: np.generic) -> Form:
    is_numpys = type(scalar).__module__.partition(".")[0] == "numpy"
    kind = None if is_numpys else type(scalar)
    if scalar.dtype.hasobject or scalar.dtype.names is not None:
        return Form(b"scalar:", (kind, scalar.dtype, np.asarray(scalar)))
    if scalar.dtype.char in "gG":
        number = _without_padding(np.asarray(scalar)).tobytes()
        return Form(b"scalar:", (kind, scalar.dtype, number))
    return Form(b"scalar:", (kind, scalar.dtype, scalar.tobytes()))


def _reduce_dtype(dtype: np.dtype[Any]) -> Form:
    if dtype.names is not None and dtype.fields is not None:
        fields = [(name, *dtype.fields[name][:2]) for name in dtype.names]
        return Form(b"dtype:", (dtype.type.__name__, fields, dtype.itemsize))
    if dtype.subdtype is not None:
        return Form(b"dtype:", ("sub", *dtype.subdtype))
    if dtype.char == "T":
        missing = getattr(dtype, "na_object", "none")
        return Form(
            b"dtype:", (dtype.str, repr(missing), getattr(dtype, "coerce", None))
        )
    is_numpys = dtype.type.__module__.partition(".")[0] == "numpy"
    return Form(b"dtype:", (dtype.str, None if is_numpys else str(dtype)))


def numpy_reducers() -> Reducers:
    """Return the reducers for numpy."""
    return {
        np.ma.MaskedArray: _reduce_masked_array,
        np.ndarray: _reduce_array,
        np.generic: _reduce_scalar,
        np.dtype: _reduce_dtype,
    }
