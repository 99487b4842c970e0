"""Tensors count by their elements; runs where torch is installed."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from cachekit.hashing import digest

torch: Any = pytest.importorskip("torch")


def test_strides_and_storage_do_not_matter() -> None:
    base = torch.arange(24.0).reshape(4, 6)

    assert digest(base[:, ::2]) == digest(base[:, ::2].contiguous())
    assert digest(base[1]) == digest(base[1].clone())
    assert digest(base.T) == digest(base.T.contiguous())
    assert digest(pickle.loads(pickle.dumps(base[1]))) == digest(base[1])


def test_type_shape_and_values_matter() -> None:
    values = [
        torch.arange(4.0),
        torch.arange(4.0).reshape(2, 2),
        torch.arange(4),
        torch.arange(4.0, dtype=torch.bfloat16),
        torch.arange(4.0, dtype=torch.float16),
        torch.arange(4.0) + 1,
        torch.arange(4.0, requires_grad=True),
        torch.nn.Parameter(torch.arange(4.0)),
        torch.arange(4.0).to_sparse(),
        torch.arange(4.0) > 1,
        torch.tensor(1.0),
        torch.arange(4.0).numpy(),
        torch.complex(torch.arange(4.0), torch.arange(4.0)).conj(),
        torch.zeros(0, 3),
        torch.zeros(0, 4),
    ]

    assert len({digest(value) for value in values}) == len(values)


def test_a_module_counts_by_its_parameters() -> None:
    torch.manual_seed(0)
    first = torch.nn.Linear(3, 2)
    torch.manual_seed(0)
    second = torch.nn.Linear(3, 2)

    assert digest(first) == digest(second)
    with torch.no_grad():
        second.bias += 1
    assert digest(first) != digest(second)


def test_generators_count_by_their_state() -> None:
    first, second = torch.Generator(), torch.Generator()
    first.manual_seed(1)
    second.manual_seed(1)

    assert digest(first) == digest(second)
    torch.rand(1, generator=first)
    assert digest(first) != digest(second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_tensor_on_a_gpu_is_hashed_through_a_copy() -> None:
    tensor = torch.arange(4.0, device="cuda")

    assert digest(tensor) == digest(tensor.clone())
    assert digest(tensor) != digest(tensor + 1)
    assert tensor.device.type == "cuda"
