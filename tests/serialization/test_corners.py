"""Files and values that are met rarely: one test for each path that others pass by."""

from __future__ import annotations

import collections
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cachekit import dump, load
from cachekit.errors import CorruptedFile, UntrustedContent
from cachekit.serialization import codec_from, read_value, reading, threads, write_value
from cachekit.serialization.codecs import Codec, NoCompression, Zstd
from cachekit.serialization.container import CHUNK_BYTES
from cachekit.serialization.safe import SafeUnpickler
from cachekit.serialization.writing import Writer

_NO_SAMPLE = memoryview(b"")


class _OfNumbers(Zstd):
    """Compresses numbers, and leaves bytes as they are."""

    def for_items(self, size: int, sample: memoryview = _NO_SAMPLE) -> Codec:  # noqa: ARG002
        return self if size > 1 else NoCompression()


def test_buffers_that_are_compressed_and_not_keep_their_order() -> None:
    numbers, plain = np.arange(CHUNK_BYTES), os.urandom(2 * CHUNK_BYTES + 1)
    file = io.BytesIO()
    writer = Writer(file, _OfNumbers())
    writer.write(b"stream")
    parts: list[tuple[Any, int]] = [(numbers, 8), (plain, 1), (numbers[::-1].copy(), 8)]
    for buffer, size in parts:
        writer.add_buffer([memoryview(buffer).cast("B")], size)
    writer.finish()
    writer.close()

    file.seek(0)
    stream, buffers, _ = reading.read(file)

    assert bytes(stream) == b"stream"
    assert np.array_equal(np.frombuffer(buffers[0], numbers.dtype), numbers)
    assert bytes(buffers[1]) == plain
    assert np.array_equal(np.frombuffer(buffers[2], numbers.dtype), numbers[::-1])


class _Shrinking(io.FileIO):
    """A file that another process cuts off, once its end was looked for."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        place = super().seek(offset, whence)
        if whence == os.SEEK_END:
            os.truncate(str(self.name), 100_000)
        return place


def test_a_file_that_is_cut_off_while_it_is_read_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "value"
    with path.open("wb") as file:
        write_value(file, np.arange(100_000), codec_from(False))

    with _Shrinking(path) as cut, pytest.raises(CorruptedFile, match="too early"):
        read_value(cut)


# --- what safe loading makes of old and rare pickles ---


@pytest.mark.parametrize(
    "stream",
    [b"(icollections\nOrderedDict\n.", b"(ccollections\nOrderedDict\no."],
    ids=["inst", "obj"],
)
def test_objects_of_the_oldest_pickles_load_safely(stream: bytes) -> None:
    loaded = SafeUnpickler(io.BytesIO(stream), buffers=(), trusted=()).load()

    assert loaded == collections.OrderedDict()
    assert type(loaded) is collections.OrderedDict


@pytest.mark.parametrize(
    "stream",
    [b"(S'true'\nios\nsystem\n.", b"(cos\nsystem\nS'true'\no."],
    ids=["inst", "obj"],
)
def test_the_oldest_pickles_call_nothing_else(stream: bytes) -> None:
    with pytest.raises(UntrustedContent):
        SafeUnpickler(io.BytesIO(stream), buffers=(), trusted=()).load()


def test_coded_text_of_arrow_loads_safely(tmp_path: Path) -> None:
    coded = pa.array(["a", "b", "a"]).dictionary_encode()
    column = pd.Series(coded, dtype=pd.ArrowDtype(coded.type))
    dump(column, tmp_path / "column")

    loaded = load(tmp_path / "column", safe=True)

    pd.testing.assert_series_equal(loaded, column)


def test_memory_that_runs_out_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Greedy:
        eof = needs_input = False
        unused_data = b""

        def decompress(self, *_: Any) -> bytes:
            raise MemoryError

    path = tmp_path / "value.bz2"
    path.write_bytes(b"BZh9")
    monkeypatch.setattr("bz2.BZ2Decompressor", Greedy)

    with pytest.raises(MemoryError):
        load(path)


def test_without_affinities_all_cores_are_used_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    for told, used in [(None, 1), (3, 3), (1000, threads.MOST_THREADS)]:
        monkeypatch.setattr(os, "cpu_count", lambda told=told: told)

        assert threads.usable_cores() == used
