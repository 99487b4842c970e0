"""Canonical forms of torch tensors and sparse matrices.

The functions at the end are called when the first object of a library is met.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cachekit.hashing.reducers import Form

Reducers = dict[type, Callable[[Any], Form]]

# The arrays that each format of scipy.sparse keeps.
_SPARSE_PARTS = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "coo": ("data", "coords"),
    "dia": ("data", "offsets"),
    "lil": ("data", "rows"),
}


def _reduce_sparse(matrix: Any) -> Form:
    header = (type(matrix), matrix.format, matrix.dtype, tuple(matrix.shape))
    if matrix.format == "dok":
        return Form(b"sparse:", (*header, dict(matrix.items())))
    names = _SPARSE_PARTS[matrix.format]
    return Form(b"sparse:", (*header, *(getattr(matrix, name) for name in names)))


def _reduce_tensor(tensor: Any) -> Form:
    """Take a tensor by its elements, wherever and in whatever strides they lie."""
    import torch

    plain = tensor.detach()
    header: tuple[object, ...] = (
        type(tensor),
        str(tensor.dtype),
        str(tensor.layout),
        tensor.device.type,
        tuple(tensor.shape),
        tensor.requires_grad,
    )
    if tensor.layout is torch.sparse_coo:
        plain = plain.coalesce()
        return Form(b"tensor:", (*header, plain.indices(), plain.values()))
    if tensor.layout is not torch.strided:
        return Form(b"tensor:", (*header, plain.to_sparse_coo()))
    if tensor.is_quantized:
        header += (repr(plain.q_scale()), plain.q_zero_point())
        plain = plain.int_repr()
    # numpy knows no bfloat16, so bytes are handed over; a GPU's memory is copied.
    elements = plain.cpu().resolve_conj().resolve_neg().contiguous().flatten()
    return Form(b"tensor:", (*header, elements.view(torch.uint8).numpy()))


def _reduce_torch_name(value: Any) -> Form:
    return Form(b"torch:", (str(value),))


def _reduce_generator(generator: Any) -> Form:
    return Form(b"torch.generator:", (str(generator.device), generator.get_state()))


def scipy_reducers() -> Reducers:
    """Return the reducers for scipy's sparse matrices."""
    from scipy import sparse

    return {sparse.sparray: _reduce_sparse, sparse.spmatrix: _reduce_sparse}


def torch_reducers() -> Reducers:
    """Return the reducers for torch."""
    import torch

    return {
        torch.Tensor: _reduce_tensor,
        torch.dtype: _reduce_torch_name,
        torch.device: _reduce_torch_name,
        torch.layout: _reduce_torch_name,
        torch.Size: lambda size: Form(b"torch.size:", tuple(size)),
        torch.Generator: _reduce_generator,
    }
