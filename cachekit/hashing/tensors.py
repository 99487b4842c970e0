"""Canonical forms of torch tensors and sparse matrices.

The functions at the end are called when the first object of a library is met.
"""

from __future__ import annotations

from typing import Any

from cachekit.errors import UnhashableArgument
from cachekit.hashing.forms import Form, Reducers
from cachekit.hashing.objects import attributes

# The arrays that each format of scipy.sparse keeps.
_SPARSE_PARTS = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "coo": ("data", "coords"),
    "dia": ("data", "offsets"),
    "lil": ("data", "rows"),
    "dok": (),
}


def _reduce_sparse(matrix: Any) -> Form:
    kind = type(matrix)
    extras = None
    if kind.__module__.partition(".")[0] != "scipy":  # a subclass may keep more
        extras = {
            name: value
            for name, value in attributes(matrix).items()
            if not name.startswith("_") and name not in _SPARSE_PARTS[matrix.format]
        }
    header = (kind, matrix.format, matrix.dtype, tuple(matrix.shape), extras)
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
        getattr(tensor, "__dict__", None) or None,
    )
    if tensor.is_meta or tensor.is_mkldnn:
        reason = (
            f"a tensor without elements of its own ({tensor.device}, {tensor.layout})"
        )
        raise UnhashableArgument(reason, culprit=tensor)
    if tensor.layout is torch.sparse_coo:
        plain = plain.coalesce()
        return Form(b"tensor:", (*header, plain.indices(), plain.values()))
    if tensor.layout is not torch.strided:
        return Form(b"tensor:", (*header, plain.to_sparse_coo()))
    if tensor.is_quantized:
        if tensor.qscheme() != torch.per_tensor_affine:
            raise UnhashableArgument("a tensor quantized by channel", culprit=tensor)
        header += (repr(plain.q_scale()), plain.q_zero_point())
        plain = plain.int_repr()
    # numpy knows no bfloat16, so bytes are handed over; a GPU's memory is copied.
    elements = plain.cpu().resolve_conj().resolve_neg().contiguous().flatten()
    return Form(b"tensor:", (*header, elements.view(torch.uint8).numpy()))


def _reduce_module(module: Any) -> Form:
    """Take a module by its state; in that of torch, the order of dicts counts."""
    state = dict(vars(module))
    for name in ("_modules", "_parameters", "_buffers"):
        state[name] = [*state.get(name, {}).items()]
    for name in state:
        if "_hooks" in name and isinstance(state[name], dict):
            state[name] = [*state[name].values()]  # their keys are a running number
    return Form(b"torch.module:", (type(module), state))


def _reduce_torch_name(value: Any) -> Form:
    return Form(b"torch:", (str(value),))


def _reduce_generator(generator: Any) -> Form:
    return Form(b"torch.generator:", (str(generator.device), generator.get_state()))


# --- estimators and trees ---


def _reduce_estimator(estimator: Any) -> Form:
    """Take an estimator by its attributes, without identities and versions."""
    state = attributes(estimator)
    state.pop("_stop_words_id", None)  # of TfidfVectorizer: the id of a list
    return Form(b"estimator:", (type(estimator), state))


def _reduce_tree(tree: Any) -> Form:
    """Take a tree of scikit-learn's by its arrays, without what it has counted."""
    data, *_, leaf_size, _, _, _, _, _, _, metric, weights = tree.__getstate__()
    return Form(b"tree:", (type(tree), data, leaf_size, metric, weights))


def _reduce_scipy_tree(tree: Any) -> Form:
    """Take a tree of scipy's by its points; how it lies in memory may differ."""
    return Form(b"tree:", (type(tree), tree.data, tree.leafsize, tree.boxsize))


def sklearn_reducers() -> Reducers:
    """Return the reducers for scikit-learn."""
    from sklearn.base import BaseEstimator
    from sklearn.neighbors import BallTree, KDTree

    return {
        BaseEstimator: _reduce_estimator,
        BallTree: _reduce_tree,
        KDTree: _reduce_tree,
        KDTree.__base__: _reduce_tree,
        BallTree.__base__: _reduce_tree,
    }


def scipy_tree_reducers() -> Reducers:
    """Return the reducers for scipy's trees."""
    from scipy.spatial import cKDTree

    return {cKDTree: _reduce_scipy_tree}


def scipy_reducers() -> Reducers:
    """Return the reducers for scipy's sparse matrices."""
    from scipy import sparse

    return {sparse.sparray: _reduce_sparse, sparse.spmatrix: _reduce_sparse}


def torch_reducers() -> Reducers:
    """Return the reducers for torch."""
    import torch

    return {
        torch.Tensor: _reduce_tensor,
        torch.nn.Module: _reduce_module,
        torch.dtype: _reduce_torch_name,
        torch.device: _reduce_torch_name,
        torch.layout: _reduce_torch_name,
        torch.Size: lambda size: Form(b"torch.size:", tuple(size)),
        torch.Generator: _reduce_generator,
    }
