"""A signed value is read by who knows the secret, at its place; nothing else runs.

What is signed is spelled out here a second time, so that a change of it by accident is
found. The attacker of these tests knows the format, and makes every checksum right.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from cachekit.errors import (
    CorruptedFile,
    UnsupportedContainer,
    UntrustedContent,
)
from cachekit.serialization import (
    Label,
    Seal,
    codec_from,
    load,
    read_value,
    reading,
    write_value,
)
from cachekit.serialization.codecs import NoCompression
from cachekit.serialization.container import CHUNK_BYTES, SMALL_CONTAINER
from cachekit.serialization.files import Forward
from cachekit.serialization.writing import Writer

SECRET, CONTEXT = b"nobody knows this", b"model.fit/3f9c"
SEAL = Seal(SECRET, CONTEXT)
UNSIGNED = bytes(32)
SIGNATURE = slice(-48, -16)
HEADER_BYTES, TRAILER_BYTES = 24, 64
CODECS = ["none", "zstd", "zstd+shuffle", "lz4", "zlib"]

each_codec = pytest.mark.parametrize("codec", CODECS)


def noise(length: int, *, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(length)


def pack(
    value: object,
    codec: str = "none",
    seal: Seal | None = SEAL,
    *,
    can_be_mapped: bool = False,
) -> bytes:
    file = io.BytesIO()
    codec_of_it = codec_from(codec)
    size = write_value(file, value, codec_of_it, seal, can_be_mapped=can_be_mapped)
    assert size == len(file.getvalue())
    return file.getvalue()


def unpack(packed: bytes, seal: Seal | None = SEAL) -> Any:
    return read_value(io.BytesIO(packed), seal=seal)


ran: list[str] = []


def run() -> str:
    ran.append("ran")
    return "a value"


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> Any:
        return run, ()


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def refuses(packed: bytes, match: str | None = None, *, seal: Seal = SEAL) -> None:
    with pytest.raises(UntrustedContent, match=match):
        unpack(packed, seal)
    assert ran == []


# --- what is signed is read ---

LARGE = np.arange(400_000)
VALUES = {
    "nothing": None,
    "small": {"rate": 0.1, "names": ["a", "b"]},
    "one small buffer": np.arange(1000),
    "as large as is read at once": bytes(SMALL_CONTAINER),
    "a large stream": noise(2 * CHUNK_BYTES + 5),
    "a large buffer": LARGE,
    "many buffers": [np.full(n, n) for n in range(500, 1500, 50)],
    "noise that does not shrink": np.frombuffer(noise(3 * CHUNK_BYTES), "u1"),
    "strided": LARGE.reshape(1000, 400)[::2, ::2],
}
each_value = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())


@each_codec
@each_value
def test_a_signed_value_comes_back(value: Any, codec: str) -> None:
    packed = pack(value, codec)

    results = [
        unpack(packed),
        unpack(packed, Seal(bytes(SECRET), bytes(CONTEXT))),
        unpack(packed, seal=None),
        load(io.BytesIO(packed)),
        read_value(Forward(io.BytesIO(packed), b""), seal=SEAL),  # type: ignore[arg-type]
    ]

    for result in results:
        np.testing.assert_equal(result, value)


@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
@each_value
def test_a_signed_file_is_read(value: Any, buffering: int, tmp_path: Path) -> None:
    path = tmp_path / "value"
    with path.open("wb", buffering=buffering) as file:
        size = write_value(file, value, codec_from(False), SEAL)

    with path.open("rb", buffering=buffering) as file:
        result = read_value(file, seal=SEAL)

    assert path.stat().st_size == size
    np.testing.assert_equal(result, value)


def test_what_is_pickled_in_a_second_attempt_is_signed() -> None:
    packed = pack([noise(2 * CHUNK_BYTES), lambda: 7])  # for cloudpickle

    assert unpack(packed)[1]() == 7


@each_codec
@each_value
def test_a_signature_changes_nothing_else(value: Any, codec: str) -> None:
    signed, plain = pack(value, codec), pack(value, codec, seal=None)

    assert signed[SIGNATURE] != UNSIGNED
    assert plain[SIGNATURE] == UNSIGNED
    assert signed[: -TRAILER_BYTES + 16] == plain[: -TRAILER_BYTES + 16]


def test_arrays_of_a_signed_value_can_be_written_and_share_nothing() -> None:
    ones = np.ones(100_000)

    first, second = unpack(pack([ones, ones.copy()]))
    first[:] = 7

    assert second.tolist() == ones.tolist()


@pytest.mark.parametrize("array", [LARGE, LARGE[:1000]], ids=["large", "small"])
def test_what_follows_a_signed_container_is_left_where_it_stands(array: Any) -> None:
    file = io.BytesIO(b"before" + pack(array) + b"after")
    file.seek(6)

    content = reading.read(file, alone=False, seal=SEAL)

    assert bytes(content.buffers[0]) == array.tobytes()
    assert file.read() == b"after"


def test_much_may_follow_a_small_signed_container() -> None:
    more = bytes(SMALL_CONTAINER)
    file = io.BytesIO(pack("text") + more)

    content = reading.read(file, alone=False, seal=SEAL)

    assert pickle.loads(content.stream) == "text"
    assert file.read() == more


# --- what is not signed so is refused ---

SMALL = ["text " * 9, np.arange(30) // 9, np.frombuffer(noise(24), "u1"), Bomb()]
LARGER = [np.arange(200_000) // 9, Bomb()]
small_or_large = pytest.mark.parametrize(
    "value", [Bomb(), SMALL, LARGER], ids=["stream", "small", "large"]
)


@small_or_large
@each_codec
def test_an_unsigned_value_is_refused(value: object, codec: str) -> None:
    packed = pack(value, codec, seal=None)

    refuses(packed, "not signed")

    unpack(packed, seal=None)
    assert ran == ["ran"]


@small_or_large
@pytest.mark.parametrize(
    "seal",
    [
        Seal(b"another", CONTEXT),
        Seal(SECRET + b"\0", CONTEXT),
        Seal(SECRET, b"model.fit/3f9d"),
        Seal(SECRET, b""),
        Seal(SECRET, CONTEXT + b"\0"),
        Seal(CONTEXT, SECRET),
        Seal(SECRET + CONTEXT[:1], CONTEXT[1:]),
    ],
)
def test_another_secret_or_context_is_refused(value: object, seal: Seal) -> None:
    refuses(pack(value), "another secret or of another entry", seal=seal)
    refuses(pack(value, seal=seal), "another secret or of another entry")


@small_or_large
def test_a_transplanted_signature_is_refused(value: object) -> None:
    donor, packed = pack([value, 1]), bytearray(pack(value, seal=None))
    packed[SIGNATURE] = donor[SIGNATURE]

    refuses(repaired(bytes(packed)), "altered")


def test_a_hash_without_the_secret_is_no_signature() -> None:
    packed = bytearray(pack(Bomb(), seal=None))
    packed[SIGNATURE] = blake3(signed_part(packed, CONTEXT)).digest()
    refuses(repaired(bytes(packed)))

    packed[SIGNATURE] = blake3(
        signed_part(packed, CONTEXT), key=SECRET.ljust(32, b"\0")
    ).digest()
    refuses(repaired(bytes(packed)))


@pytest.mark.parametrize("codec", ["none", "zstd+shuffle"])
@pytest.mark.parametrize("value", [Bomb(), SMALL], ids=["stream", "buffers"])
def test_every_flipped_bit_is_found(value: object, codec: str) -> None:
    packed = pack(value, codec, can_be_mapped=True)

    for damaged in flips(packed):
        with pytest.raises((UntrustedContent, CorruptedFile, UnsupportedContainer)):
            unpack(damaged)
    assert ran == []


@pytest.mark.parametrize("codec", ["none", "zstd+shuffle"])
@pytest.mark.parametrize("value", [Bomb(), SMALL], ids=["stream", "buffers"])
def test_every_bit_flipped_on_purpose_is_found(value: object, codec: str) -> None:
    packed = pack(value, codec, can_be_mapped=True)
    read_unsigned = 0

    for altered in map(repaired, flips(packed)):
        if altered == packed:  # it was a checksum
            continue
        with pytest.raises((UntrustedContent, CorruptedFile, UnsupportedContainer)):
            unpack(altered)
        assert ran == []
        read_unsigned += is_whole(altered)

    # The checksums really were made right: the altered bytes are read by others.
    assert read_unsigned > 100


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_bits_flipped_on_purpose_in_a_large_value_are_found(codec: str) -> None:
    packed = pack(LARGER, codec)
    assert len(packed) > SMALL_CONTAINER or codec != "none"

    for place in range(HEADER_BYTES, len(packed) - TRAILER_BYTES, 9999):
        altered = bytearray(packed)
        altered[place] ^= 4
        refuses(repaired(bytes(altered)))


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_every_truncation_is_found(codec: str) -> None:
    packed = pack(SMALL, codec, can_be_mapped=True)

    for length in range(len(packed)):
        with pytest.raises((UntrustedContent, CorruptedFile)):
            unpack(packed[:length])
    assert ran == []


@small_or_large
@pytest.mark.parametrize("more", [b"\0", b"ckit-end", bytes(64)])
def test_what_follows_is_found(value: object, more: bytes) -> None:
    with pytest.raises((UntrustedContent, CorruptedFile)):
        unpack(pack(value) + more)
    longer = bytearray(pack(value) + more)
    longer[16:24] = struct.pack("<Q", len(longer))
    with pytest.raises((UntrustedContent, CorruptedFile)):
        unpack(bytes(longer))
    assert ran == []


def test_nothing_is_expanded_before_the_signature_is_checked() -> None:
    altered = bytearray(pack(bytes(3000), "zstd"))
    altered[HEADER_BYTES] ^= 1  # of the magic of zstd
    packed = repaired(bytes(altered))
    with pytest.raises(CorruptedFile, match="not decompress"):
        unpack(packed, seal=None)

    refuses(packed, "altered")


def test_the_index_is_not_believed_before_the_signature_is_checked() -> None:
    packed = pack(bytes(3000), "zstd")
    named = packed.index(b"zstd".ljust(16, b"\0"))
    altered = repaired(packed[:named] + b"zsta" + packed[named + 4 :])
    with pytest.raises(UnsupportedContainer, match="zsta"):
        unpack(altered, seal=None)

    refuses(altered, "altered")


HUGE = [1 << 20, 1 << 31, 1 << 62, (1 << 64) - 1]


@pytest.mark.parametrize("claimed", HUGE)
@pytest.mark.parametrize("is_forward", [False, True])
def test_a_length_that_is_a_lie_takes_no_memory(claimed: int, is_forward: bool) -> None:
    packed = bytearray(pack(LARGER))
    packed[16:24] = struct.pack("<Q", min(len(packed) + claimed, (1 << 64) - 1))
    file: Any = io.BytesIO(packed)
    if is_forward:
        file = Forward(file, b"")

    with most_memory() as most, pytest.raises((CorruptedFile, UntrustedContent)):
        read_value(file, seal=SEAL)

    assert most[0] < 2 * len(packed) + (4 << 20)


def test_a_signed_value_is_in_memory_once() -> None:
    value = np.zeros(2_000_000)
    file = io.BytesIO(pack(value))

    with most_memory() as most:
        read_value(file, seal=SEAL)

    assert most[0] < 1.2 * value.nbytes


def test_signing_holds_no_more_than_a_few_chunks(tmp_path: Path) -> None:
    value = np.zeros(4_000_000)

    with (tmp_path / "value").open("wb") as file, most_memory() as most:
        write_value(file, value, codec_from(False), SEAL)

    assert most[0] < value.nbytes / 4


def test_what_is_mapped_is_not_taken_for_checked(tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_bytes(pack(LARGE))

    with path.open("rb") as file, pytest.raises(ValueError, match="mapped"):
        reading.read(file, mapped=np.memmap(path), seal=SEAL)


class ReadOnce(io.BytesIO):
    """A file whose bytes are others as soon as they were read."""

    def read(self, size: int | None = -1) -> bytes:
        at = self.tell()
        content = super().read(size)
        self._spoil(at, len(content))
        return content

    def readinto(self, target: Any) -> int:
        at = self.tell()
        count = super().readinto(target)
        self._spoil(at, count)
        return count

    def _spoil(self, at: int, count: int) -> None:
        self.getbuffer()[at : at + count] = bytes(count)


@each_codec
@each_value
def test_what_is_checked_is_what_is_used(value: Any, codec: str) -> None:
    file = ReadOnce(pack(value, codec))

    result = read_value(file, seal=SEAL)

    np.testing.assert_equal(result, value)
    assert not any(file.getvalue())


# --- memory that changes in place ---


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_value_that_may_be_changed_is_not_signed_any_more(
    codec: str, tmp_path: Path
) -> None:
    path = tmp_path / "value"
    path.write_bytes(pack(LARGE, codec))

    with path.open("r+b") as file:
        reading.give_up_checksums(file)

    packed = path.read_bytes()
    assert packed[SIGNATURE] == UNSIGNED
    refuses(packed, "not signed")
    assert unpack(packed, seal=None).tolist() == LARGE.tolist()


def test_mapping_to_write_ends_a_signature_and_mapping_to_read_does_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "value"
    path.write_bytes(pack(LARGE))

    load(path, mmap_mode="r")
    assert unpack(path.read_bytes()).tolist() == LARGE.tolist()
    load(path, mmap_mode="c")[0] = 7
    assert unpack(path.read_bytes()).tolist() == LARGE.tolist()

    load(path, mmap_mode="r+")[0] = 7
    refuses(path.read_bytes(), "not signed")


# --- the signature itself ---


@pytest.mark.parametrize("codec", ["none", "zstd", "lz4"])
@each_value
def test_the_signature_is_what_the_format_says(value: Any, codec: str) -> None:
    packed = pack(value, codec)
    key = blake3(
        SECRET, derive_key_context="cachekit 2026-11 signature of a value"
    ).digest()

    signature = blake3(signed_part(packed, CONTEXT), key=key).digest()

    assert packed[SIGNATURE] == signature


GOLDEN = """
    89636b69740d0a1a 01000000 00000000 0601000000000000
    73747265616d
    00000000000000000000000000000000000000000000000000000000000000000000
    627566666572
    6e6f6e65000000000000000000000000 0600000000000000 01000000 01000000
    1800000000000000 0600000000000000 0600000000000000 2c129564c3298732
    6e6f6e65000000000000000000000000 0600000000000000 01000000 01000000
    4000000000000000 0600000000000000 0600000000000000 44cb08aaec724fd0
    4600000000000000 8000000000000000
    c1fff528a4764134c8221095d13f26c7700c4e2c9a5168ffd2f07ba035df1fa6
    66ac6b1f2b385702 636b69742d656e64
"""


def test_a_signed_container_is_always_the_same_bytes() -> None:
    file = io.BytesIO()
    writer = Writer(file, codec_from(False), SEAL)
    writer.write(b"stream")
    writer.add_buffer([memoryview(b"buffer")])
    writer.finish()

    assert file.getvalue() == bytes.fromhex(GOLDEN)
    content = reading.read(io.BytesIO(bytes.fromhex(GOLDEN)), seal=SEAL)
    assert (bytes(content.stream), content.buffers) == (b"stream", [b"buffer"])


inputs = st.tuples(st.binary(min_size=1), st.binary(), st.binary())


def signature_of(secret: bytes, context: bytes, stream: bytes) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, codec_from(False), Seal(secret, context))
    writer.write(stream)
    writer.finish()
    return file.getvalue()[SIGNATURE]


@settings(deadline=None)
@given(inputs, inputs)
def test_only_equal_inputs_share_a_signature(
    first: tuple[bytes, bytes, bytes], second: tuple[bytes, bytes, bytes]
) -> None:
    share = signature_of(*first) == signature_of(*second)

    assert share == (first == second)


@settings(deadline=None)
@given(st.binary(min_size=2), st.data())
def test_bytes_may_not_move_between_secret_context_and_content(
    together: bytes, data: st.DataObject
) -> None:
    cuts = st.tuples(st.integers(1, len(together)), st.integers(1, len(together))).map(
        sorted
    )

    def cut(at: list[int]) -> tuple[bytes, bytes, bytes]:
        return together[: at[0]], together[at[0] : at[1]], together[at[1] :]

    first, second = cut(data.draw(cuts)), cut(data.draw(cuts))

    share = signature_of(*first) == signature_of(*second)
    assert share == (first == second)


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_no_end_of_a_content_is_taken_for_a_context(
    more: bytes, one: int, other: int
) -> None:
    together = bytes(40) + more + bytes(40)

    def signature(at: int) -> bytes:
        seal = Seal(SECRET, together[at + 32 :])
        content = seal.begin()
        content.update(together[:at])
        return seal.signature(content, together[at : at + 24], together[at + 24 :][:8])

    assert (signature(one) == signature(other)) == (one == other)


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="empty secret"):
        Seal(b"", CONTEXT)


def test_a_seal_does_not_show_its_secret() -> None:
    assert "nobody" not in repr(SEAL)
    assert b"nobody" not in pickle.dumps(SEAL)


# --- help ---


def signed_part(packed: bytes | bytearray, context: bytes) -> bytes:
    """Spell out what is signed: content, index and its places, then the ends."""
    header, end = packed[:HEADER_BYTES], packed[-8:]
    inside = packed[HEADER_BYTES:-48]
    return bytes(inside + header + end + context + struct.pack("<Q", len(context)))


@contextlib.contextmanager
def most_memory() -> Iterator[list[int]]:
    """Give, at the end, the most memory that was in use."""
    most: list[int] = []
    tracemalloc.start()
    try:
        yield most
    finally:
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


def flips(packed: bytes) -> Iterator[bytes]:
    for position in range(len(packed)):
        for bit in range(8):
            damaged = bytearray(packed)
            damaged[position] ^= 1 << bit
            yield bytes(damaged)


def repaired(packed: bytes) -> bytes:
    """Make the checksums right, as far as the index makes sense."""
    whole = bytearray(packed)
    at, length = struct.unpack_from("<QQ", whole, len(whole) - TRAILER_BYTES)
    end = at + length
    if end != len(whole) - TRAILER_BYTES:
        return packed
    while at + 32 <= end:
        (count,) = struct.unpack_from("<I", whole, at + 24)
        at += 32
        for place in range(at, min(at + 32 * count, end - 31), 32):
            offset, stored = struct.unpack_from("<QQ", whole, place)
            checksum = xxh3_64_intdigest(whole[offset : offset + stored])
            struct.pack_into("<Q", whole, place + 24, checksum)
        at += 32 * count
    index = whole[end - length : end]
    checked = whole[:HEADER_BYTES] + index + whole[-TRAILER_BYTES:-16]
    whole[-16:-8] = struct.pack("<Q", xxh3_64_intdigest(checked))
    return bytes(whole)


def is_whole(packed: bytes) -> bool:
    """Tell whether the container is read without its signature; unpickle nothing."""
    try:
        reading.read(io.BytesIO(packed))
    except (CorruptedFile, UnsupportedContainer):
        return False
    return True


# --- labels ---


@pytest.mark.parametrize("value", [3, np.arange(300_000.0)])
def test_a_value_in_the_place_of_another_one_is_damage(value: object) -> None:
    file = io.BytesIO()
    write_value(file, value, NoCompression(), Label(b"one"))

    file.seek(0)
    np.testing.assert_equal(read_value(file, seal=Label(b"one")), value)
    file.seek(0)
    with pytest.raises(CorruptedFile, match="another entry"):
        read_value(file, seal=Label(b"other"))
    file.seek(0)
    np.testing.assert_equal(read_value(file), value)


def test_what_belongs_to_nothing_belongs_to_no_entry() -> None:
    file = io.BytesIO()
    write_value(file, 3, NoCompression())

    file.seek(0)
    with pytest.raises(CorruptedFile, match="another entry"):
        read_value(file, seal=Label(b"one"))


def test_a_signed_value_needs_no_label() -> None:
    file = io.BytesIO()
    write_value(file, 3, NoCompression(), Seal(b"a secret", b"one"))

    file.seek(0)
    assert read_value(file, seal=Label(b"one")) == 3


def test_a_label_is_no_signature() -> None:
    file = io.BytesIO()
    write_value(file, 3, NoCompression(), Label(b"one"))

    file.seek(0)
    with pytest.raises(UntrustedContent, match="not signed"):
        read_value(file, seal=Seal(b"a secret", b"one"))


def test_a_label_never_changes() -> None:
    assert Label(b"f" * 32).mark.hex() == (
        "4b489987b4b2f4731179be9327c1cdb7" + "0" * 32
    )


# --- versions ---


@pytest.mark.parametrize("bit", range(32))
def test_a_flipped_bit_in_the_version_is_damage(bit: int) -> None:
    file = io.BytesIO()
    write_value(file, np.arange(300_000.0), NoCompression())
    content = bytearray(file.getvalue())
    content[8 + bit // 8] ^= 1 << bit % 8

    with pytest.raises(CorruptedFile, match="version"):
        read_value(io.BytesIO(content))
