"""Arrays of many dtypes, shapes and layouts, and what it means that two are the same.

Used by the tests of pickling and persistence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

DTYPES = [
    np.dtype("?"),
    np.dtype("i1"),
    np.dtype("<u8"),
    np.dtype(">i4"),
    np.dtype("f2"),
    np.dtype(">f8"),
    np.dtype("c16"),
    np.dtype("U3"),
    np.dtype("S5"),
    np.dtype("V6"),
    np.dtype("M8[us]"),
    np.dtype("m8[D]"),
    np.dtype([("name", "U4"), ("score", "<f8")]),
    np.dtype([("at", "i2", (2, 2)), ("on", "?")]),
]


@st.composite
def contiguous_arrays(draw: st.DrawFn) -> NDArray[Any]:
    """Draw an array in C or F order, small or a few tens of kilobytes."""
    shape = draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=30))
    dtype = draw(st.sampled_from(DTYPES))
    array = np.zeros(shape, dtype, order=draw(st.sampled_from("CF")))
    memory = array.reshape(-1, order="A").view()
    if array.size:
        noise = np.random.default_rng(draw(st.integers(0, 9)))
        bits = noise.integers(0, 2, memory.nbytes, dtype=np.uint8)
        memory[:] = np.frombuffer(bits.tobytes(), dtype)
    # Dates have no buffer; test_pickling has what becomes of their flag.
    array.flags.writeable = dtype.kind in "Mm" or draw(st.booleans())
    return array


@st.composite
def strided_arrays(draw: st.DrawFn) -> NDArray[Any]:
    """Draw a view with gaps, turned round, transposed or broadcast."""
    base = np.arange(12 * 4).astype(draw(st.sampled_from(["i4", ">f8", "U2", "O"])))
    table = base.reshape(12, 4)
    step = draw(st.sampled_from([-3, -1, 2, 5]))
    views = [
        table[::step],
        table[:, ::step],
        table[::step].T,
        base.reshape(3, 4, 4).transpose(1, 0, 2),
        np.broadcast_to(table, (3, 12, 4)),
        np.broadcast_to(base[:1], (0, 5)),
    ]
    return views[draw(st.integers(0, len(views) - 1))]


def same(left: NDArray[Any], right: NDArray[Any]) -> bool:
    """Whether two arrays agree in all that a computation could notice."""
    return (
        type(left) is type(right)
        and left.dtype == right.dtype
        and left.shape == right.shape
        and left.flags.c_contiguous == right.flags.c_contiguous
        and left.flags.f_contiguous == right.flags.f_contiguous
        and left.flags.writeable == right.flags.writeable
        and left.flags.aligned == right.flags.aligned
        and left.tobytes() == right.tobytes()
    )
