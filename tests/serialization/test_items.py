"""Items come back one by one, as they were, or not at all.

The format is spelled out here a second time, so that a change of it by accident is
found. The attacker of these tests knows it, and makes every checksum right.
"""

from __future__ import annotations

import io
import itertools
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from cachekit import digest, load
from cachekit.errors import (
    ContainerError,
    CorruptedFile,
    UnsupportedContainer,
    UntrustedContent,
)
from cachekit.serialization import (
    Label,
    Seal,
    codec_from,
    container,
    read_value,
    reading,
    write_value,
)
from cachekit.serialization.codecs import NoCompression
from cachekit.serialization.item_reading import check_items, read_items
from cachekit.serialization.item_writing import LARGE_ITEM, PART_BYTES, ItemWriter
from cachekit.serialization.items import MAGIC, is_items
from cachekit.serialization.writing import Writer
from tests.serialization.arrays import contiguous_arrays, same, strided_arrays
from tests.strategies import values

LABEL = Label(b"3f9c")
SEAL = Seal(b"nobody knows this", b"3f9c")
SEALS: list[Any] = [None, LABEL, SEAL]
each_seal = pytest.mark.parametrize("seal", SEALS, ids=["none", "label", "signed"])

CODECS: list[Any] = [False, True, "zstd+shuffle", "lz4", "zlib"]
each_codec = pytest.mark.parametrize("codec", CODECS)

HEAD_BYTES, FRAME_BYTES, LABEL_BYTES = 56, 40, 16


def pack_into(
    file: Any,
    items: Iterable[object],
    returned: object,
    codec: Any = False,
    seal: Any = None,
) -> int:
    writer = ItemWriter(file, codec_from(codec), seal)
    for item in items:
        writer.append(item)
    return writer.close(returned)


def pack(
    items: Iterable[object],
    returned: object = None,
    codec: Any = False,
    seal: Any = None,
) -> bytes:
    file = io.BytesIO()
    size = pack_into(file, items, returned, codec, seal)
    assert size == len(file.getvalue()) == file.tell()
    return file.getvalue()


def unpack(
    packed: bytes | io.IOBase, seal: Any = None, **options: Any
) -> tuple[list[Any], Any]:
    """Return all items and what was returned."""
    file: Any = io.BytesIO(packed) if isinstance(packed, bytes) else packed
    reader, items = read_items(file, seal=seal, **options), []
    while True:
        try:
            items.append(next(reader))
        except StopIteration as end:
            return items, end.value


def refuses(
    packed: bytes, *errors: type[Exception], seal: Any = None, match: str | None = None
) -> None:
    """Check that a file is neither read nor verified to its end."""
    with pytest.raises(errors, match=match):
        unpack(packed, seal)
    with pytest.raises(errors, match=match):
        check_items(io.BytesIO(packed), seal)


class Part(NamedTuple):
    """A frame and its container, as they lie in a file."""

    kind: bytes
    number: int
    items: int
    content: bytes


def taken_apart(packed: bytes) -> tuple[bytes, list[Part]]:
    """Return the head and the parts of a file."""
    head, position, parts = packed[:HEAD_BYTES], HEAD_BYTES, []
    while position < len(packed):
        start = -(-(position + FRAME_BYTES) // 64) * 64
        assert not any(packed[position : start - FRAME_BYTES])
        kind, number, count, length, checksum = struct.unpack_from(
            "<8sQQQQ", packed, start - FRAME_BYTES
        )
        told = packed[start - FRAME_BYTES : start - 8]
        assert checksum == xxh3_64_intdigest(head + told)
        position = start + length
        parts.append(Part(kind, number, count, packed[start:position]))
    return head, parts


def put_together(head: bytes, parts: Iterable[Part]) -> bytes:
    """Return a file of which every checksum is right."""
    packed = head
    for kind, number, count, content in parts:
        packed += bytes(-(len(packed) + FRAME_BYTES) % 64)
        told = struct.pack("<8sQQQ", kind, number, count, len(content))
        packed += told + struct.pack("<Q", xxh3_64_intdigest(head + told)) + content
    return packed


def numbered(parts: Iterable[Part], items: int | None = None) -> list[Part]:
    """Give parts the numbers that they should have, and the last one its count."""
    new = [part._replace(number=number) for number, part in enumerate(parts)]
    counted = sum(part.items for part in new if part.kind != b"returned")
    if new[-1].kind == b"returned":
        new[-1] = new[-1]._replace(items=counted if items is None else items)
    return new


ran: list[str] = []


def run(what: str) -> str:
    ran.append(what)
    return what


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, what: str = "ran") -> None:
        self.what = what

    def __reduce__(self) -> Any:
        return run, (self.what,)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


# --- what is written is read ---

LARGE = np.arange(LARGE_ITEM // 8 + 3) % 1000
SMALL = np.arange(1000.0)
ITEMS: dict[str, list[Any]] = {
    "none at all": [],
    "one small": ["a"],
    "one small array": [SMALL],
    "one large": [LARGE],
    "plain": [None, True, False, 0, -1, 2**70, 0.5, float("inf"), "a", b"b", 1j, ...],
    "nested": [{"a": [1, (2, {3})]}, [[]], (), {"b": SMALL, "c": [SMALL, SMALL * 2]}],
    "arrays of many item sizes": [
        SMALL.astype(name) for name in ["f8", "f4", "c16", "i2", "u1", "U3", "f8", "f4"]
    ],
    "small and large in turn": [1, LARGE, 2, SMALL, LARGE + 1, LARGE + 2, "three"],
    "more than a part of numbers": list(range(PART_BYTES // 10)),
    "parts of small arrays": [np.full(2000, n) for n in range(200)],
    "large streams": [bytes(LARGE_ITEM), "ä" * PART_BYTES, list(range(200_000))],
    "a huge number": [1 << (8 * LARGE_ITEM)],
    "large, strided, both": [LARGE[::2], np.ones((2000, 400))[::2, ::3], SMALL[::2]],
    "several large buffers": [[LARGE, LARGE + 1, SMALL], {"x": LARGE}],
}
each_items = pytest.mark.parametrize("items", ITEMS.values(), ids=ITEMS.keys())


@pytest.mark.parametrize(
    ("codec", "seal"),
    [
        (False, None),
        (False, SEAL),
        (True, LABEL),
        ("zstd+shuffle", SEAL),
        ("lz4", LABEL),
        ("zlib", None),
    ],
)
@each_items
def test_items_come_back_in_their_order(
    items: list[Any], codec: Any, seal: Any
) -> None:
    packed = pack(items, "returned", codec, seal)

    result, returned = unpack(packed, seal)

    assert digest(result) == digest(items)
    assert returned == "returned"
    assert check_items(io.BytesIO(packed), seal) == len(items)


@settings(max_examples=50)
@given(
    st.lists(values(), max_size=8),
    values(),
    st.sampled_from(CODECS),
    st.sampled_from(SEALS),
)
def test_drawn_items_come_back(
    items: list[Any], returned: Any, codec: Any, seal: Any
) -> None:
    result, result_returned = unpack(pack(items, returned, codec, seal), seal)

    assert [digest(item) for item in result] == [digest(item) for item in items]
    assert digest(result_returned) == digest(returned)


@settings(max_examples=50)
@given(
    st.lists(contiguous_arrays() | strided_arrays(), max_size=6),
    st.sampled_from(CODECS),
    st.sampled_from(SEALS),
)
def test_drawn_arrays_come_back_as_a_value_would(
    arrays: list[NDArray[Any]], codec: Any, seal: Any
) -> None:
    result, _ = unpack(pack(arrays, codec=codec, seal=seal), seal)

    for item, array in zip(result, arrays, strict=True):
        file = io.BytesIO()
        write_value(file, array, codec_from(codec))
        file.seek(0)
        alone = read_value(file)
        if array.dtype.hasobject:
            assert digest(item) == digest(alone)
        else:
            assert same(item, alone)


@pytest.mark.parametrize("returned", [None, 7, LARGE, lambda: 8, [SMALL, {}]])
@pytest.mark.parametrize("items", [[], [1, 2]])
def test_what_the_generator_returned_comes_back(
    returned: Any, items: list[int]
) -> None:
    result, result_returned = unpack(pack(items, returned))

    assert result == items
    if callable(returned):
        assert result_returned() == 8
    else:
        assert digest(result_returned) == digest(returned)


def test_the_returned_value_is_that_of_a_yield_from() -> None:
    def stream() -> Iterator[Any]:
        returned = yield from read_items(io.BytesIO(pack([1, 2], "the end")))
        yield returned

    assert list(stream()) == [1, 2, "the end"]


@pytest.mark.parametrize("size", [10, 600, LARGE_ITEM])
def test_an_array_that_is_refilled_comes_back_as_it_was_each_time(size: int) -> None:
    file, array = io.BytesIO(), np.zeros(size)
    writer = ItemWriter(file, codec_from(True))
    for number in range(5):
        array[:] = number
        writer.append([array, {"view": array[::2]}])
    array[:] = -1
    writer.close()

    result, _ = unpack(file.getvalue())

    for number, (whole, others) in enumerate(result):
        assert set(whole) == set(others["view"]) == {number}


def test_a_list_that_grows_comes_back_as_it_was_each_time() -> None:
    file: Any = io.BytesIO()
    writer, growing = ItemWriter(file, codec_from(False)), []
    for number in range(3):
        growing.append(number)
        writer.append(growing)
    writer.close(growing)

    assert unpack(file.getvalue()) == ([[0], [0, 1], [0, 1, 2]], [0, 1, 2])


@each_seal
@each_codec
def test_items_share_nothing(codec: Any, seal: Any) -> None:
    shared, array = [1], np.arange(1000)
    items = [(shared, array), (shared, array), (shared, array, LARGE), (shared, LARGE)]

    result, _ = unpack(pack(items, codec=codec, seal=seal), seal)

    for first, second in itertools.combinations(result, 2):
        assert first[0] is not second[0]
        assert not np.shares_memory(first[1], second[1])


@each_seal
def test_a_small_array_that_is_kept_keeps_no_other_memory(seal: Any) -> None:
    packed = pack((np.full(1000, n) for n in range(1000)), seal=seal)

    tracemalloc.start()
    try:
        kept = [
            item
            for item in read_items(io.BytesIO(packed), seal=seal)
            if item[0] % 100 == 0
        ]
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert len(kept) == 10
    assert held < 500_000


def test_lambdas_come_back_whether_they_are_small_or_large() -> None:
    noise = np.random.default_rng(0).bytes(2 * PART_BYTES)

    result, _ = unpack(pack([lambda: 1, 2, [noise, lambda: 3], lambda: noise, 4]))

    first, second, (content, third), fourth, fifth = result
    assert (first(), second, third(), fifth) == (1, 2, 3, 4)
    assert content == fourth() == noise


def test_a_file_can_hold_something_before_the_items() -> None:
    file = io.BytesIO(b"before")
    file.seek(6)
    size = pack_into(file, [1, LARGE, 2], None)

    file.seek(6)
    result, _ = unpack(file)

    assert len(file.getvalue()) == 6 + size
    assert digest(result) == digest([1, LARGE, 2])


@pytest.mark.parametrize("codec", [False, True])
def test_small_numbers_take_little_room(codec: Any) -> None:
    packed = pack(range(10_000), codec=codec)

    assert len(packed) < 30 * 10_000


def test_memory_lies_aligned_in_the_file() -> None:
    packed = pack([1, "abc", LARGE, LARGE + 1])

    assert packed.index(LARGE.tobytes()) % 64 == 0
    assert packed.index((LARGE + 1).tobytes()) % 64 == 0


def test_a_part_of_one_item_is_a_container_like_any_other() -> None:
    _, parts = taken_apart(pack([LARGE], "returned"))

    assert digest([load(io.BytesIO(part.content)) for part in parts]) == digest(
        [LARGE, "returned"]
    )


def test_modules_are_found_under_another_name() -> None:
    packed = pack([Bomb("a"), 1, Bomb("b")], Bomb("c"))

    with pytest.raises(ContainerError, match="another_place"):
        unpack(packed, modules={__name__: "another_place"})
    with pytest.raises(ContainerError, match="module 'ntpath'"):
        unpack(packed, modules={__name__: "ntpath", "not.used": "not.there"})
    assert unpack(packed, modules={"not.used": "x"}) == (["a", 1, "b"], "c")


# --- it is lazy, and flat ---


@each_seal
def test_nothing_is_read_ahead_of_the_next_part(seal: Any) -> None:
    items = [Bomb("first"), LARGE, Bomb("second")]
    reader = read_items(io.BytesIO(pack(items, Bomb("returned"), seal=seal)), seal=seal)

    assert ran == []
    assert next(reader) == "first"
    next(reader)
    assert ran == ["first"]
    assert list(reader) == ["second"]
    assert ran == ["first", "second", "returned"]


def test_a_reader_that_is_closed_leaves_the_file_open() -> None:
    file = io.BytesIO(pack([1, 2, 3]))
    reader = read_items(file)
    next(reader)

    reader.close()

    assert not file.closed
    file.seek(0)
    assert unpack(file) == ([1, 2, 3], None)


def test_what_the_consumer_throws_is_not_taken_for_an_error_of_the_file() -> None:
    reader = read_items(io.BytesIO(pack([1, 2, 3])))
    next(reader)

    with pytest.raises(ZeroDivisionError):
        reader.throw(ZeroDivisionError())


def test_a_large_item_is_written_without_a_copy(tmp_path: Path) -> None:
    items = [np.ones(10**6), bytes(8 * 10**6), np.ones((2000, 1000))[:, ::2]]
    with (tmp_path / "value").open("wb") as file:
        writer = ItemWriter(file, codec_from(False), SEAL)
        for item in items:
            assert peak_of(lambda item=item: writer.append(item)) < 4e6  # type: ignore[misc]
        writer.close()


def peak_of(work: Callable[[], object]) -> int:
    """Return how much memory was held at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@each_seal
@pytest.mark.parametrize("codec", [False, "lz4"])
@pytest.mark.parametrize(
    ("size", "count"), [(8_000_000, 40), (20_000, 15_000), (200_000, 1500)]
)
def test_memory_stays_flat(
    size: int, count: int, codec: Any, seal: Any, tmp_path: Path
) -> None:
    path = tmp_path / "value"
    noise = np.random.default_rng(0).random(size // 8)

    def write() -> None:
        with path.open("wb") as file:
            pack_into(file, itertools.repeat(noise, count), None, codec, seal)

    def read() -> None:
        with path.open("rb") as file:
            for _ in read_items(file, seal=seal):
                pass

    def check() -> None:
        with path.open("rb") as file:
            check_items(file, seal)

    assert peak_of(write) < 16e6
    assert peak_of(read) < 8e6 + 3 * size  # the last item, and the next as it is read
    assert peak_of(check) < 8e6 + 3 * size


# --- any file ---


class OnlyForward:
    """Has no method but `read`, and gives little at a time."""

    def __init__(self, packed: bytes, most: int) -> None:
        self._file = io.BytesIO(packed)
        self._most = most

    def read(self, size: int) -> bytes:
        assert size > 0
        return self._file.read(min(size, self._most))


class Short(io.FileIO):
    """A raw file that reads and writes less than it is asked for."""

    def read(self, size: int | None = -1) -> Any:
        return super().read(min(size or 1, 1000) if size and size > 0 else size)

    def readinto(self, target: Any) -> Any:
        return super().readinto(memoryview(target)[:1000])

    def write(self, piece: Any) -> Any:
        return super().write(memoryview(piece)[:1000])


MIXED = [1, "a", SMALL, LARGE, 2, SMALL + 1, LARGE + 1, [bytes(LARGE_ITEM)]]


@each_seal
@pytest.mark.parametrize("most", [7, 4096, 1 << 30])
@pytest.mark.parametrize("codec", [False, True])
def test_a_file_that_is_only_read_forward_will_do(
    codec: Any, most: int, seal: Any
) -> None:
    packed = pack(MIXED, "returned", codec, seal)

    result, returned = unpack(OnlyForward(packed, most), seal)  # type: ignore[arg-type]

    assert digest(result) == digest(MIXED)
    assert returned == "returned"
    assert check_items(OnlyForward(packed, most), seal) == len(MIXED)  # type: ignore[arg-type]


@each_seal
@pytest.mark.parametrize("codec", [False, True])
def test_a_raw_file_that_gives_and_takes_less_will_do(
    codec: Any, seal: Any, tmp_path: Path
) -> None:
    path = tmp_path / "value"
    with Short(path, "w") as file:
        size = pack_into(file, MIXED, None, codec, seal)

    with Short(path) as file:
        result, _ = unpack(file, seal)

    assert size == path.stat().st_size
    assert digest(result) == digest(MIXED)


@each_seal
def test_a_pipe_will_do(seal: Any) -> None:
    packed = pack([1, SMALL, "b"], 3, seal=seal)
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as file:
        file.write(packed)

    with os.fdopen(read_end, "rb") as file:
        result, returned = unpack(file, seal)

    assert (digest(result), returned) == (digest([1, SMALL, "b"]), 3)


# --- what fails leaves nothing that is whole ---


class Fails:
    """Cannot be pickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [[], [bytes(3 * PART_BYTES)], [LARGE]])
def test_an_item_that_cannot_be_pickled_ends_the_file(
    before: list[Any], error: BaseException
) -> None:
    file = io.BytesIO()
    writer = ItemWriter(file, codec_from(False))
    writer.append(1)

    with pytest.raises(type(error)):
        writer.append([*before, Fails(error)])
    with pytest.raises(ValueError, match="failed"):
        writer.append(2)
    with pytest.raises(ValueError, match="failed"):
        writer.close()

    refuses(file.getvalue(), CorruptedFile)


def test_a_returned_value_that_cannot_be_pickled_ends_the_file() -> None:
    file = io.BytesIO()
    writer = ItemWriter(file, codec_from(False))
    writer.append(1)

    with pytest.raises(ZeroDivisionError):
        writer.close([LARGE, Fails(ZeroDivisionError())])

    refuses(file.getvalue(), CorruptedFile)


def test_a_closed_file_takes_no_more_items() -> None:
    file = io.BytesIO()
    writer = ItemWriter(file, codec_from(False))
    writer.close()

    with pytest.raises(ValueError, match="closed"):
        writer.append(1)
    with pytest.raises(ValueError, match="closed"):
        writer.close()
    assert unpack(file.getvalue()) == ([], None)


def test_an_item_that_appends_another_one_is_refused() -> None:
    writer = ItemWriter(io.BytesIO(), codec_from(False))

    class Appends:
        def __reduce__(self) -> Any:
            writer.append(1)
            return int, ()

    with pytest.raises(ValueError, match="being written"):
        writer.append(Appends())


class Remembering(io.BytesIO):
    """Remembers what it held after each write."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[bytes] = []

    def write(self, piece: Any) -> int:
        written = super().write(piece)
        self.states.append(self.getvalue())
        return written


@each_seal
@pytest.mark.parametrize("codec", [False, True])
def test_a_writer_that_is_killed_leaves_no_whole_file(codec: Any, seal: Any) -> None:
    file = Remembering()
    pack_into(file, [1, LARGE, SMALL, "b", LARGE], LARGE, codec, seal)

    *unfinished, finished = file.states

    assert len(unfinished) > 5
    assert len(unpack(finished, seal)[0]) == 5
    for state in unfinished:
        refuses(state, CorruptedFile, seal=seal)


class Full(io.BytesIO):
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, piece: Any) -> int:
        self.room -= len(piece)
        if self.room < 0:
            raise OSError("no space left")
        return super().write(piece)


def test_a_disk_that_is_full_at_any_point_leaves_no_whole_file() -> None:
    items = [1, LARGE, SMALL, "b", LARGE]
    needed = len(pack(items, SMALL)) + 500  # frames are written over
    for room in range(0, needed, 997):
        file = Full(room)

        with pytest.raises(OSError, match="no space"):
            pack_into(file, items, SMALL)

        refuses(file.getvalue(), CorruptedFile)


# --- damage ---

FEW = [1, "text " * 9, {"a": None}, (0.5, b"x" * 20)]


@each_seal
@pytest.mark.parametrize("codec", [False, True])
def test_every_truncation_is_found(codec: Any, seal: Any) -> None:
    packed = pack(FEW, "returned", codec, seal)

    for length in range(len(packed)):
        refuses(packed[:length], CorruptedFile, seal=seal)


@pytest.mark.parametrize("seal", SEALS, ids=["none", "label", "signed"])
@pytest.mark.parametrize("codec", [False, True])
def test_every_flipped_bit_is_found(codec: Any, seal: Any) -> None:
    packed = pack([*FEW, SMALL[:600]], "returned", codec, seal)
    errors = (CorruptedFile, UntrustedContent) if seal is SEAL else (CorruptedFile,)

    for place in range(len(packed)):
        damaged = bytearray(packed)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(errors):
            unpack(bytes(damaged), seal)
        with pytest.raises(errors):
            unpack(OnlyForward(bytes(damaged), 4096), seal)  # type: ignore[arg-type]


@each_seal
@pytest.mark.parametrize("kind", ["truncated", "flipped"])
def test_damage_in_large_parts_is_found(kind: str, seal: Any) -> None:
    packed = pack([LARGE, 1, 2, SMALL, LARGE], codec=False, seal=seal)

    for place in range(1, len(packed), 4999):
        damaged = bytearray(packed)
        if kind == "flipped":
            damaged[place] ^= 8
        else:
            del damaged[place:]
        refuses(bytes(damaged), CorruptedFile, UntrustedContent, seal=seal)


@each_seal
def test_items_before_the_damage_are_given(seal: Any) -> None:
    packed = bytearray(pack([LARGE, LARGE + 1, LARGE + 2], seal=seal))
    packed[-len(packed) // 4] ^= 1  # in the third
    reader = read_items(io.BytesIO(packed), seal=seal)

    assert digest([next(reader), next(reader)]) == digest([LARGE, LARGE + 1])
    with pytest.raises((CorruptedFile, UntrustedContent)):
        next(reader)


@each_seal
@pytest.mark.parametrize("more", [b"\0", bytes(64), MAGIC])
def test_what_follows_is_found(more: bytes, seal: Any) -> None:
    packed = pack(FEW, seal=seal)

    refuses(packed + more, CorruptedFile, seal=seal, match="follows")
    refuses(packed + packed, CorruptedFile, seal=seal, match="follows")


@each_seal
def test_a_file_without_its_end_is_not_whole(seal: Any) -> None:
    head, parts = taken_apart(pack([LARGE, LARGE], seal=seal))

    refuses(put_together(head, parts[:-1]), CorruptedFile, seal=seal, match="truncated")


def rearranged(parts: list[Part]) -> Iterator[list[Part]]:
    """Yield the parts with some missing, doubled or exchanged."""
    first, second, third, end = parts
    yield [second, third, end]
    yield [first, third, end]
    yield [first, second, end]
    yield [first, first, third, end]
    yield [first, second, third, third, end]
    yield [second, first, third, end]
    yield [first, third, second, end]
    yield [end]
    yield [first, second, third, end, end]
    yield [first, end, second, third, end]


@each_seal
def test_parts_missing_doubled_or_exchanged_are_found(seal: Any) -> None:
    head, parts = taken_apart(pack([LARGE, LARGE + 1, LARGE + 2], seal=seal))
    assert put_together(head, parts) == pack_again(head, parts)

    for wrong in rearranged(parts):
        refuses(put_together(head, wrong), CorruptedFile, seal=seal)


def pack_again(head: bytes, parts: list[Part]) -> bytes:
    return put_together(head, numbered(parts))


@each_seal
def test_parts_numbered_anew_on_purpose_are_found(seal: Any) -> None:
    head, parts = taken_apart(pack([LARGE, LARGE + 1, LARGE + 2], seal=seal))
    error = UntrustedContent if seal is SEAL else CorruptedFile

    for wrong in rearranged(parts):
        if wrong[-2:] == parts[-1:] * 2 or parts[-1] in wrong[:-1]:
            continue
        refuses(pack_again(head, wrong), error, seal=seal)


# Of signed parts only who has the secret can tell that they do not fit their frames.
@pytest.mark.parametrize(
    ("written_with", "seal"),
    [(None, None), (LABEL, None), (LABEL, LABEL), (SEAL, SEAL)],
)
def test_contents_exchanged_between_frames_are_found(
    written_with: Any, seal: Any
) -> None:
    head, parts = taken_apart(pack([LARGE, LARGE + 1], seal=written_with))
    first, second, end = parts
    wrong = [
        first._replace(content=second.content),
        second._replace(content=first.content),
        end,
    ]

    refuses(put_together(head, wrong), CorruptedFile, UntrustedContent, seal=seal)


@each_seal
def test_a_part_of_another_file_of_the_same_entry_is_found(seal: Any) -> None:
    head, (first, *_) = taken_apart(pack([LARGE, 1], seal=seal))
    other_head, (other, *others) = taken_apart(pack([LARGE, 1], seal=seal))
    assert head != other_head

    mixed = put_together(head, [first])
    theirs = put_together(other_head, [other, *others])
    refuses(mixed + theirs[len(mixed) :], CorruptedFile, seal=seal)
    if seal is not None:
        error = UntrustedContent if seal is SEAL else CorruptedFile
        refuses(put_together(head, [first, *others]), error, seal=seal)


@each_seal
@pytest.mark.parametrize(
    ("kind", "count"), [(b"items\0\0\0", 0), (b"others\0\0", 2), (b"items\0\0\0", 3)]
)
def test_a_frame_that_lies_is_found(kind: bytes, count: int, seal: Any) -> None:
    head, (part, end) = taken_apart(pack([1, 2], seal=seal))
    lying = part._replace(kind=kind, items=count)

    refuses(
        put_together(head, [lying, end]), CorruptedFile, UntrustedContent, seal=seal
    )


@pytest.mark.parametrize("seal", [None, SEAL], ids=["none", "signed"])
@pytest.mark.parametrize("count", [0, 1, 3, 2**63])
def test_a_wrong_number_of_items_is_found(count: int, seal: Any) -> None:
    head, parts = taken_apart(pack([1, 2], seal=seal))

    refuses(put_together(head, numbered(parts, count)), CorruptedFile, seal=seal)


@pytest.mark.parametrize("claimed", [1, 1 << 31, 1 << 62, (1 << 64) - 1])
@pytest.mark.parametrize("is_forward", [False, True])
def test_a_length_that_is_a_lie_takes_no_memory(claimed: int, is_forward: bool) -> None:
    head, (part, end) = taken_apart(pack([LARGE]))
    content = part.content[:16] + struct.pack("<Q", claimed) + part.content[24:]
    told = struct.pack("<8sQQQ", part.kind, 0, 1, claimed)
    frame = told + struct.pack("<Q", xxh3_64_intdigest(head + told))
    inner = bytes(-(len(head) + FRAME_BYTES) % 64) + frame
    frame_lies = head + inner + content
    container_lies = put_together(head, [part._replace(content=content), end])

    def read() -> None:
        for packed in (frame_lies, container_lies):
            file: Any = io.BytesIO(packed)
            if is_forward:
                file = OnlyForward(packed, 1 << 30)
            with pytest.raises(CorruptedFile):
                unpack(file)

    assert peak_of(read) < 8e6


@settings(max_examples=200)
@given(st.data())
def test_a_table_that_lies_is_found(data: st.DataObject) -> None:
    numbers = st.integers(0, 12) | st.sampled_from([4096, 2**31, 2**32 - 1])
    table = data.draw(st.lists(numbers, max_size=10))
    groups = data.draw(st.lists(st.binary(min_size=1, max_size=9), max_size=2))
    count = data.draw(st.integers(2, 5))
    head, (_, end) = taken_apart(pack([1, 2]))
    file = io.BytesIO()
    place = struct.pack("<8sQQ", b"items\0\0\0", 0, count)
    writer = Writer(file, NoCompression(), Label(head + place))
    writer.write(pickle.dumps(1, 5) * 2)
    for content in (struct.pack(f"<{len(table)}I", *table), *groups):
        writer.add_buffer([memoryview(content)])
    writer.finish()
    part = Part(b"items\0\0\0", 0, count, file.getvalue())

    try:
        items, _ = unpack(put_together(head, numbered([part, end])))
    except ContainerError:
        return
    assert items == [1, 1]


@each_seal
def test_what_is_not_a_file_of_items_is_refused(seal: Any) -> None:
    value = io.BytesIO()
    write_value(value, [1, 2], codec_from(False), seal)

    for packed in (value.getvalue(), b"", b"\x89cki", b"hello", bytes(999), MAGIC):
        refuses(packed, CorruptedFile, seal=seal)


def test_a_file_of_a_later_version_is_not_called_damaged() -> None:
    packed = pack([1])
    later = packed[:8] + struct.pack("<I", 2) + packed[12 : HEAD_BYTES - 8]
    later += struct.pack("<Q", xxh3_64_intdigest(later)) + packed[HEAD_BYTES:]

    refuses(later, UnsupportedContainer, match="format 2")


@each_seal
def test_a_file_of_items_is_told_from_a_container(seal: Any) -> None:
    packed = pack([1, 2], seal=seal)
    value = io.BytesIO()
    write_value(value, [1, 2], codec_from(False), seal)

    assert is_items(packed)
    assert is_items(packed[:8])
    assert not is_items(packed[:7])
    assert not is_items(value.getvalue())
    assert len(MAGIC) == len(container.MAGIC)
    assert MAGIC[:4] == container.MAGIC[:4]
    with pytest.raises(CorruptedFile, match="not a cachekit container"):
        read_value(io.BytesIO(packed), seal=seal)
    with pytest.raises(CorruptedFile, match="no container"):
        load(io.BytesIO(packed))


def test_an_item_whose_class_is_gone_is_an_error_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed = pack([1, Bomb(), 2], Bomb())
    monkeypatch.delattr(f"{__name__}.run")
    reader = read_items(io.BytesIO(packed))

    assert next(reader) == 1
    with pytest.raises(ContainerError, match="cannot be rebuilt") as caught:
        next(reader)
    assert not isinstance(caught.value, CorruptedFile)
    assert check_items(io.BytesIO(packed)) == 3


# --- whose it is ---

WRONG_SEALS = [
    Seal(b"another", b"3f9c"),
    Seal(b"nobody knows this", b"3f9d"),
    Seal(b"nobody knows this", b""),
]


@pytest.mark.parametrize("items", [[], [Bomb()], [Bomb(), Bomb()], [[LARGE, Bomb()]]])
@pytest.mark.parametrize("seal", WRONG_SEALS)
def test_what_another_one_signed_is_refused_and_not_unpickled(
    seal: Seal, items: list[Any]
) -> None:
    refuses(pack(items, Bomb(), seal=seal), UntrustedContent, seal=SEAL)
    refuses(pack(items, Bomb(), seal=SEAL), UntrustedContent, seal=seal)
    assert ran == []


@pytest.mark.parametrize("items", [[], [Bomb()], [Bomb(), Bomb()], [[LARGE, Bomb()]]])
@pytest.mark.parametrize("written_with", [None, LABEL])
def test_what_is_not_signed_is_refused_and_not_unpickled(
    written_with: Any, items: list[Any]
) -> None:
    packed = pack(items, Bomb(), seal=written_with)

    refuses(packed, UntrustedContent, seal=SEAL, match="not signed")
    assert ran == []


@pytest.mark.parametrize("seal", [None, LABEL, Label(b"another")])
def test_who_has_no_secret_reads_what_is_signed(seal: Any) -> None:
    assert unpack(pack([1, SMALL[0], 3], seal=SEAL), seal) == ([1, SMALL[0], 3], None)


@pytest.mark.parametrize("items", [[], [Bomb(), Bomb()], [[LARGE, Bomb()]]])
@pytest.mark.parametrize("written_with", [None, Label(b"another")])
def test_items_of_another_entry_are_refused(
    written_with: Any, items: list[Any]
) -> None:
    packed = pack(items, Bomb(), seal=written_with)

    refuses(packed, CorruptedFile, seal=LABEL, match="another entry")
    assert ran == []
    unpack(packed)


def test_a_part_is_signed_with_a_secret_of_the_items_of_its_entry() -> None:
    secret, entry = b"nobody knows this", b"3f9c"
    head, parts = taken_apart(pack([1, 2, LARGE], "returned", seal=Seal(secret, entry)))

    key = blake3(
        secret, derive_key_context="cachekit 2026-11 signature of a value"
    ).digest()
    purpose = b"cachekit 2026-11 signature of items"
    told = purpose + entry + struct.pack("<Q", len(entry))
    of_items = blake3(told, key=key).digest()

    assert [part.items for part in parts] == [2, 1, 3]
    for part in parts:
        place = struct.pack("<8sQQ", part.kind, part.number, part.items)
        reading.read(io.BytesIO(part.content), seal=Seal(of_items, head + place))


@each_seal
def test_the_label_of_the_entry_stands_in_the_head(seal: Any) -> None:
    head, parts = taken_apart(pack([1, 2], seal=seal))

    expected = seal.mark[:LABEL_BYTES] if seal is LABEL else bytes(LABEL_BYTES)
    assert head[16 : 16 + LABEL_BYTES] == expected
    if seal is not SEAL:
        for part in parts:
            place = struct.pack("<8sQQ", part.kind, part.number, part.items)
            label = xxh3_128_digest(head + place) + bytes(16)
            assert part.content[-48:-16] == label


def test_a_signed_value_is_no_part_and_a_signed_part_no_value() -> None:
    value = io.BytesIO()
    write_value(value, Bomb(), codec_from(False), SEAL)
    head, (part, end) = taken_apart(pack([Bomb()], seal=SEAL))

    packed = put_together(head, [part._replace(content=value.getvalue()), end])
    refuses(packed, UntrustedContent, seal=SEAL)
    with pytest.raises(UntrustedContent):
        read_value(io.BytesIO(part.content), seal=SEAL)
    assert ran == []


def test_a_labelled_part_is_no_value_of_its_entry() -> None:
    _, (part, _) = taken_apart(pack([1], seal=LABEL))

    with pytest.raises(CorruptedFile, match="another entry"):
        read_value(io.BytesIO(part.content), seal=LABEL)


def test_parts_added_to_a_signed_file_are_refused() -> None:
    head, (part, end) = taken_apart(pack([Bomb("mine")], seal=SEAL))
    forged = taken_apart(pack([Bomb("theirs")], seal=LABEL))[1][0]

    for wrong in (
        [forged, end],
        [part, forged, end],
        [part, forged._replace(kind=b"returned")],
    ):
        ran.clear()
        refuses(pack_again(head, wrong), UntrustedContent, seal=SEAL)
        assert "theirs" not in ran
