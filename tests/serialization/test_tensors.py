"""Tensors are written as memory and share it again; runs where torch is installed."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cachekit import dump, load

torch: Any = pytest.importorskip("torch")


def round_trip(value: Any, compress: Any = 0) -> Any:
    file = io.BytesIO()
    dump(value, file, compress)
    file.seek(0)
    return load(file)


TENSOR = torch.arange(120_000.0).reshape(300, 400)
TENSORS = {
    "plain": TENSOR,
    "transposed": TENSOR.T,
    "strided": TENSOR[::2, ::3],
    "bfloat16": TENSOR.bfloat16(),
    "complex": torch.complex(TENSOR, TENSOR).conj(),
    "boolean": TENSOR > 5,
    "zero-dimensional": torch.tensor(3.0),
    "empty": torch.zeros(0, 3),
    "expanded": torch.ones(1).expand(30, 40),
    "with gradients": TENSOR.clone().requires_grad_(),
    "parameter": torch.nn.Parameter(TENSOR.clone()),
}


@pytest.mark.parametrize("compress", [0, True, "zstd+shuffle", "gzip"])
@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS.keys())
def test_a_tensor_comes_back(tensor: Any, compress: Any) -> None:
    result = round_trip(tensor, compress)

    assert type(result) is type(tensor)
    assert torch.equal(result, tensor)
    assert result.dtype == tensor.dtype
    assert result.stride() == tensor.stride()
    assert result.requires_grad == tensor.requires_grad


@pytest.mark.parametrize("mmap_mode", [None, "r", "c", "r+"])
def test_tensors_of_one_storage_share_it_again(mmap_mode: Any, tmp_path: Path) -> None:
    path = tmp_path / "tensors"
    dump([TENSOR, TENSOR[5:], TENSOR], path)
    assert path.stat().st_size < 1.1 * TENSOR.nbytes

    whole, part, again = load(path, mmap_mode)
    whole[5, 0] = -1

    assert part[0, 0] == -1
    assert again is whole
    assert load(path)[0][5, 0] == (-1 if mmap_mode == "r+" else TENSOR[5, 0])


def test_a_module_comes_back() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(400, 9), torch.nn.BatchNorm1d(9))

    result = round_trip(module.eval())

    assert torch.equal(result(TENSOR), module(TENSOR))


def test_beside_a_function_tensors_share_their_storage_too() -> None:
    whole, part, function = round_trip([TENSOR, TENSOR[5:], lambda: 1])
    whole[5, 0] = -1

    assert function() == 1
    assert part[0, 0] == -1


def test_a_tensor_is_not_copied_on_its_way_out(tmp_path: Path) -> None:
    value = torch.from_numpy(np.zeros(6_000_000))
    round_trip(value[:1])
    tracemalloc.start()
    try:
        dump(value, tmp_path / "value")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 8 << 20
