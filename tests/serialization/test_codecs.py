"""What users may ask for as `compress`, and that no chunk grows beyond its length."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cachekit.errors import ContainerError
from cachekit.serialization import codec_from
from cachekit.serialization.codecs import NoCompression, Zstd, codec_named


@pytest.mark.parametrize("compress", [False, 0, "none"])
def test_no_compression_can_be_asked_for(compress: Any) -> None:
    assert isinstance(codec_from(compress), NoCompression)


@pytest.mark.parametrize(
    ("compress", "level"),
    [
        (True, 3),
        ("zstd", 3),
        (1, 1),
        (9, 9),
        (22, 22),
        (("zstd", 1), 1),
        (("zstd", 19), 19),
    ],
)
def test_zstd_can_be_asked_for(compress: Any, level: int) -> None:
    codec = codec_from(compress)

    assert isinstance(codec, Zstd)
    assert codec.level == level


REFUSED = [
    -1,
    23,
    3.5,
    None,
    "",
    "lz77",
    "zstd:3",
    b"zstd",
    [],
    ["zstd", 3],
    (),
    ("zstd",),
    ("zstd", 0),
    ("zstd", 23),
    ("zstd", 3.5),
    ("zstd", "3"),
    ("zstd", None),
    ("zstd", 3, 4),
    ("lz77", 3),
]


@pytest.mark.parametrize("compress", REFUSED, ids=repr)
def test_anything_else_is_a_value_error(compress: Any) -> None:
    with pytest.raises(ValueError, match="zstd"):
        codec_from(compress)


@pytest.mark.parametrize("name", ["none", "zstd"])
def test_a_codec_is_found_by_the_name_it_writes(name: str) -> None:
    assert codec_named(name).name == name


@pytest.mark.parametrize("name", ["", "None", "unheard-of"])
def test_a_name_that_nobody_knows_is_a_container_error(name: str) -> None:
    with pytest.raises(ContainerError, match="does not know"):
        codec_named(name)


@pytest.mark.parametrize("level", [1, 3, 9])
@settings(deadline=None)
@given(st.binary(min_size=1, max_size=2000))
def test_chunks_come_back(level: int, chunk: bytes) -> None:
    codec = Zstd(level)

    stored = memoryview(codec.compress(memoryview(chunk)))

    assert codec.decompress(stored, len(chunk)) == chunk


@pytest.mark.parametrize("stored", [b"", b"not a frame", bytes(100)])
def test_what_is_no_frame_is_a_container_error(stored: bytes) -> None:
    with pytest.raises(ContainerError):
        Zstd().decompress(memoryview(stored), 100)


# A frame may tell its own size or not; a bomb does what suits it.
@pytest.mark.parametrize("tells_size", [True, False])
@pytest.mark.parametrize("length", [0, 1, 100, 1 << 20])
def test_a_chunk_never_grows_beyond_its_length(tells_size: bool, length: int) -> None:
    compressor = zstandard.ZstdCompressor(write_content_size=tells_size)
    bomb = compressor.compress(bytes(20_000_000))
    tracemalloc.start()

    try:
        with pytest.raises(ContainerError):
            Zstd().decompress(memoryview(bomb), length)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < length + 1_000_000


def test_a_truncated_frame_is_a_container_error() -> None:
    stored = zstandard.ZstdCompressor().compress(b"abc" * 1000)

    with pytest.raises(ContainerError):
        Zstd().decompress(memoryview(stored[:-3]), 3000)
