"""What users may ask for as `compress`, and that no chunk grows beyond its length."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lz4.block
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cachekit.errors import CorruptedFile, UnsupportedContainer
from cachekit.serialization import codec_from
from cachekit.serialization.codecs import (
    Codec,
    NoCompression,
    Shuffled,
    Zstd,
    codec_named,
)

LEVELS = {
    "zstd": range(1, 23),
    "lz4": range(13),
    "zlib": range(1, 10),
    "gzip": range(1, 10),
    "bz2": range(1, 10),
    "xz": range(10),
    "lzma": range(10),
}
METHODS = list(LEVELS)
NAMES = ["none", *METHODS]
SHUFFLED = [f"{name}+shuffle" for name in METHODS]
ITEM_SIZES = [1, 2, 3, 4, 5, 8, 16]

each_method = pytest.mark.parametrize("method", METHODS)


def there_and_back(writing: Codec, chunk: bytes, reading: Codec | None = None) -> bytes:
    stored = memoryview(writing.compress(memoryview(chunk)))
    return bytes((reading or writing).decompress(stored, len(chunk)))


# --- what may be asked for ---


@pytest.mark.parametrize(
    "compress", [False, 0, "none", ("none", 5), ("zstd", 0), ("lz4", 0), "none+shuffle"]
)
def test_no_compression_can_be_asked_for(compress: Any) -> None:
    assert isinstance(codec_from(compress), NoCompression)


def test_no_compression_has_no_level_to_be_wrong() -> None:
    assert isinstance(codec_from(("none+shuffle", 3)), NoCompression)


@pytest.mark.parametrize(
    ("compress", "level"),
    [
        (True, 3),
        ("zstd", 3),
        *[(level, level) for level in range(1, 10)],
        (("zstd", 1), 1),
        (("zstd", 22), 22),
    ],
)
def test_zstd_can_be_asked_for(compress: Any, level: int) -> None:
    codec: object = codec_from(compress)

    assert isinstance(codec, Zstd)
    assert codec.level == level


@pytest.mark.parametrize(
    ("method", "level"), [(name, level) for name in METHODS for level in LEVELS[name]]
)
def test_every_level_compresses(method: str, level: int) -> None:
    chunk = b"one and the same, " * 300

    codec: Any = codec_from((method, level) if level else method)

    assert codec.name == method
    assert len(codec.compress(memoryview(chunk))) < len(chunk) // 4
    assert there_and_back(codec, chunk) == chunk


@pytest.mark.parametrize("name", SHUFFLED)
def test_shuffling_can_be_asked_for(name: str) -> None:
    by_name, with_level = codec_from(name), codec_from((name, 2))

    assert isinstance(by_name, Shuffled)
    assert isinstance(with_level, Shuffled)
    assert by_name.name == with_level.name == name
    assert getattr(with_level.inner, "level", None) == 2


BAD_LEVELS: list[Any] = [-1, 10, 23, 3.5, None, b"zstd", [], ["zstd", 3], {}]
BAD_LEVELS += [("zstd", level) for level in (3.5, "3", None, True)]


@pytest.mark.parametrize("compress", BAD_LEVELS, ids=repr)
def test_what_is_no_level_is_refused_in_the_words_of_joblib(compress: Any) -> None:
    with pytest.raises(ValueError, match="Non valid compress level given"):
        codec_from(compress)


@each_method
@pytest.mark.parametrize("beyond", [-1, +1])
@pytest.mark.parametrize("ending", ["", "+shuffle"])
def test_a_level_beyond_those_of_its_method_is_refused(
    method: str, beyond: int, ending: str
) -> None:
    levels = LEVELS[method]
    level = levels[-1] + 1 if beyond > 0 else -1
    message = f"{method} has levels {levels[0]} to {levels[-1]}, not {level}"

    with pytest.raises(ValueError, match=message):
        codec_from((method + ending, level))


BAD_METHODS: list[Any] = [
    "",
    "lz77",
    "Zstd",
    "zstd:3",
    "+shuffle",
    "zstd+shuffle+shuffle",
]
BAD_METHODS += [("lz77", 3), (3, "zstd"), (None, 3), (b"zstd", 3)]


@pytest.mark.parametrize("compress", BAD_METHODS, ids=repr)
def test_what_is_no_method_is_refused_in_the_words_of_joblib(compress: Any) -> None:
    with pytest.raises(ValueError, match="Non valid compression method given"):
        codec_from(compress)


@pytest.mark.parametrize("compress", [(), ("zstd",), ("zstd", 3, 4)], ids=repr)
def test_a_tuple_of_other_than_two_is_refused_in_the_words_of_joblib(
    compress: Any,
) -> None:
    with pytest.raises(ValueError, match="should contain exactly 2 elements"):
        codec_from(compress)


# --- what a container may name ---


@pytest.mark.parametrize("name", [*NAMES, *SHUFFLED])
def test_a_codec_is_found_by_the_name_it_writes(name: str) -> None:
    codec = codec_from(name).for_items(8)

    assert codec.name == name
    assert codec_named(name, 8).name == name


@pytest.mark.parametrize("name", [*NAMES, *SHUFFLED])
def test_a_name_has_room_in_a_container(name: str) -> None:
    assert len(name.encode("ascii")) <= 16


@pytest.mark.parametrize(
    "name", ["", "None", "unheard-of", "+shuffle", "zstd+shuffle+shuffle", "zstd\0x"]
)
def test_a_name_that_nobody_knows_is_an_unsupported_container(name: str) -> None:
    with pytest.raises(UnsupportedContainer, match="does not know"):
        codec_named(name)


# --- round trips ---


@pytest.mark.parametrize("name", [*NAMES, *SHUFFLED])
@settings(max_examples=30, deadline=None)
@given(chunk=st.binary(min_size=1, max_size=2000), size=st.sampled_from(ITEM_SIZES))
def test_chunks_come_back(name: str, chunk: bytes, size: int) -> None:
    codec = codec_from(name).for_items(size)

    assert there_and_back(codec, chunk, codec_named(codec.name, size)) == chunk


@pytest.mark.parametrize("size", ITEM_SIZES)
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 240, (1 << 20) - 1, 1 << 20])
def test_shuffled_chunks_of_any_length_come_back(size: int, length: int) -> None:
    chunk = random.Random(length).randbytes(length)

    assert there_and_back(codec_from("lz4+shuffle").for_items(size), chunk) == chunk


def test_shuffling_puts_first_bytes_first_and_leaves_the_tail() -> None:
    class AsItIs(NoCompression):
        """Shows what the inner codec is given."""

    shuffled = Shuffled(AsItIs(), 3).compress(memoryview(b"abcABC123xy"))

    assert bytes(shuffled) == b"aA1bB2cC3xy"


def test_shuffling_makes_numbers_that_vary_slowly_smaller() -> None:
    chunk = b"".join(number.to_bytes(8, "little") for number in range(5000))

    plain, shuffled = (
        codec_from(name).for_items(8).compress(memoryview(chunk))
        for name in ("zstd", "zstd+shuffle")
    )

    assert len(shuffled) < len(plain) / 4


@pytest.mark.parametrize("size", [0, 1])
def test_without_numbers_there_is_nothing_to_shuffle(size: int) -> None:
    assert codec_from("zstd+shuffle").for_items(size).name == "zstd"
    assert there_and_back(Zstd(), b"abc" * 50, codec_named("zstd+shuffle", size))


def test_items_larger_than_the_chunk_are_left_as_they_are() -> None:
    codec = codec_named("zstd+shuffle", (1 << 32) - 1)

    assert there_and_back(codec, b"abc" * 50, Zstd()) == b"abc" * 50


def test_a_codec_works_in_several_threads_at_once() -> None:
    chunks = [random.Random(seed).randbytes(10_000) * 3 for seed in range(40)]
    codec = codec_from("zstd+shuffle").for_items(4)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda chunk: there_and_back(codec, chunk), chunks))

    assert results == chunks


def test_a_thread_that_was_asked_for_another_level_uses_it() -> None:
    chunk = memoryview(random.Random(0).randbytes(3000) * 100 + b"abc" * 9999)
    quick, small = (codec_from(("zstd", level)) for level in (1, 19))

    first = bytes(quick.compress(chunk))
    small.compress(chunk)

    assert bytes(quick.compress(chunk)) == first


# --- damage and bombs ---


@each_method
@pytest.mark.parametrize("stored", [b"not a frame", bytes(100), b"\xff" * 100])
def test_what_is_no_stream_gives_nothing_or_is_corrupted(
    method: str, stored: bytes
) -> None:
    # The container compares the length; a codec may leave that to it.
    try:
        original = codec_named(method).decompress(memoryview(stored), 100)
    except CorruptedFile:
        return

    assert len(original) != 100


@each_method
def test_a_truncated_stream_gives_a_part_or_is_corrupted(method: str) -> None:
    codec = codec_named(method)
    chunk = random.Random(0).randbytes(300) * 9
    stored = memoryview(codec.compress(memoryview(chunk)))

    for end in range(1, len(stored)):
        try:
            original = codec.decompress(stored[:end], len(chunk))
        except CorruptedFile:
            continue
        assert chunk.startswith(bytes(original))


def unsized(content: bytes, *, window: int = 20) -> bytes:
    """Compress into a frame that does not tell its size."""
    how = zstandard.ZstdCompressionParameters(window_log=window, write_content_size=0)
    compress = zstandard.ZstdCompressor(compression_params=how).compressobj()
    return compress.compress(content) + compress.flush()


ZEROS = bytes(20_000_000)
BOMBS = {
    "zstd": [zstandard.ZstdCompressor().compress(ZEROS), unsized(ZEROS)],
    "lz4": [lz4.block.compress(ZEROS, store_size=False)],
    "zlib": [zlib.compress(ZEROS)],
    "gzip": [gzip.compress(ZEROS)],
    "bz2": [bz2.compress(ZEROS)],
    "xz": [lzma.compress(ZEROS, preset=0)],
    "lzma": [lzma.compress(ZEROS, preset=0, format=lzma.FORMAT_ALONE)],
}


@pytest.mark.parametrize(
    ("method", "bomb"), [(name, bomb) for name in BOMBS for bomb in BOMBS[name]]
)
@pytest.mark.parametrize("length", [0, 1, 100, 1 << 20])
def test_a_chunk_never_grows_beyond_its_length(
    method: str, bomb: bytes, length: int
) -> None:
    codec = codec_named(method)
    codec.decompress(memoryview(codec.compress(memoryview(b"warm"))), 4)
    tracemalloc.start()

    try:
        made = len(codec.decompress(memoryview(bomb), length))
    except CorruptedFile:
        made = 0
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert made in (0, length + 1)
    assert most < 3 * length + 1_000_000


def test_a_frame_that_does_not_tell_its_size_is_read() -> None:
    assert Zstd().decompress(memoryview(unsized(b"abc" * 100)), 300) == b"abc" * 100


def test_a_frame_that_asks_for_a_large_window_is_refused() -> None:
    with pytest.raises(CorruptedFile, match="memory"):
        Zstd().decompress(memoryview(unsized(b"abc", window=27)), 3)


def test_an_xz_stream_that_asks_for_a_large_dictionary_is_refused() -> None:
    stored = lzma.compress(b"abc", preset=9)

    with pytest.raises(CorruptedFile, match=r"[Mm]emory"):
        codec_named("xz").decompress(memoryview(stored), 3)


@each_method
def test_a_shuffled_chunk_of_another_length_is_corrupted(method: str) -> None:
    stored = memoryview(codec_named(method).compress(memoryview(b"a" * 100)))

    for length in (99, 101):
        with pytest.raises(CorruptedFile):
            codec_named(f"{method}+shuffle", 4).decompress(stored, length)


@pytest.mark.parametrize("compress", [True, 1, 9])
@pytest.mark.parametrize(
    ("array", "is_shuffled"),
    [
        (np.arange(100_000) // 7, True),
        (np.random.default_rng(0).normal(size=100_000), True),
        (np.random.default_rng(0).normal(size=100_000).round(1), False),
        (np.arange(100_000, dtype="u1"), False),
        (np.arange(100), False),  # too short to tell
    ],
)
def test_numbers_are_shuffled_where_that_makes_them_smaller(
    array: Any, is_shuffled: bool, compress: Any
) -> None:
    memory = memoryview(array).cast("B")

    codec = codec_from(compress).for_items(array.itemsize, memory)

    assert codec.name == ("zstd+shuffle" if is_shuffled else "zstd")
    assert there_and_back(codec, bytes(memory)) == bytes(memory)


def test_a_method_that_is_named_is_the_one_that_is_used() -> None:
    array: Any = np.arange(100_000)
    memory = memoryview(array).cast("B")

    assert codec_from("zstd").for_items(8, memory).name == "zstd"
    assert codec_from(("zstd", 3)).for_items(8, memory).name == "zstd"
