from __future__ import annotations

from typing import Any

import numpy as np

from cachekit.parallel.shipping import Shipping
from cachekit.parallel.tasks import Batch


class Cluster:
    """Keeps what is put, as a cluster does."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def put(self, memory: Any) -> int:
        self.kept.append(memory.copy())
        return len(self.kept) - 1

    def unpack(self, packed: Any) -> Any:
        shipment, references = packed
        return shipment.unpacked([self.kept[number] for number in references])


def batch_of(*args: Any) -> Batch:
    return Batch([(len, args, {})], 0)


def arguments(cluster: Cluster, packed: Any) -> Any:
    return cluster.unpack(packed).tasks[0][1]


def test_a_large_array_is_put_once() -> None:
    cluster = Cluster()
    shipping = Shipping(1000)
    array = np.arange(1000)

    packed = [
        shipping.pack(batch_of(array, number), cluster.put) for number in range(3)
    ]

    assert len(cluster.kept) == 1
    for number, one in enumerate(packed):
        (received, other) = arguments(cluster, one)
        assert np.array_equal(received, array)
        assert not received.flags.writeable
        assert other == number


def test_what_is_smaller_goes_with_the_batch() -> None:
    cluster = Cluster()
    array = np.arange(1000)

    packed = Shipping(array.nbytes + 1).pack(batch_of(array), cluster.put)

    assert not cluster.kept
    assert np.array_equal(arguments(cluster, packed)[0], array)


def test_a_large_text_is_put_too() -> None:
    cluster = Cluster()

    packed = Shipping(1000).pack(batch_of("x" * 5000), cluster.put)

    assert len(cluster.kept) == 1
    assert arguments(cluster, packed) == ("x" * 5000,)


def test_copies_may_be_written_to() -> None:
    cluster = Cluster()

    packed = Shipping(1000, copies=True).pack(batch_of(np.zeros(1000)), cluster.put)
    (received,) = arguments(cluster, packed)
    received += 1

    assert cluster.kept[0].sum() == 0


def test_an_array_that_is_gone_is_forgotten() -> None:
    cluster = Cluster()
    shipping = Shipping(1000)
    whole = np.arange(100_000)

    for start in range(0, 100_000, 10_000):
        shipping.pack(batch_of(whole[start : start + 10_000]), cluster.put)
    array = np.arange(1000)
    shipping.pack(batch_of(array), cluster.put)
    del array

    assert not shipping._placed


def test_a_part_that_is_used_again_is_put_once() -> None:
    cluster = Cluster()
    shipping = Shipping(1000)
    part = np.arange(100_000)[::2][:10_000]
    piece = np.arange(100_000)[5000:10_000]

    packed = [shipping.pack(batch_of(piece, part), cluster.put) for _ in range(3)]

    assert sum(memory.nbytes == piece.nbytes for memory in cluster.kept) == 1
    for one in packed:
        received = arguments(cluster, one)
        assert np.array_equal(received[0], piece)
        assert np.array_equal(received[1], part)
