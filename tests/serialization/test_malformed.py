"""Whatever bytes a file holds: its value, or an error that says so, and little memory.

Three kinds of bytes: damaged ones (a disk, a copy that was cut off), hostile ones,
whose checksums are right, and containers that are whole with a pickle that is not.
"""

from __future__ import annotations

import bz2
import io
import lzma
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
import types
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lz4.block
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from cachekit.errors import (
    CacheKitError,
    ContainerError,
    CorruptedFile,
    UnsupportedContainer,
)
from cachekit.serialization import dump, load, reading, write_value, writing
from cachekit.serialization.codecs import codec_from
from cachekit.serialization.container import CHUNK_BYTES, SMALL_CONTAINER
from cachekit.serialization.files import Forward

METHODS = ["zstd", "lz4", "zlib", "gzip", "bz2", "xz", "lzma"]
CODECS = ["none", *METHODS, *[f"{name}+shuffle" for name in METHODS]]
EXTENSIONS = [".gz", ".bz2", ".xz", ".lzma", ".z", ".lz4", ".zst"]

HEADER = struct.Struct("<8sIIQ")
SEGMENT = struct.Struct("<16sQII")
CHUNK = struct.Struct("<QQQQ")
TRAILER = struct.Struct("<QQ32sQ8s")
MAGIC, END_MAGIC = b"\x89ckit\r\n\x1a", b"ckit-end"


def flipped(packed: bytes, position: int, bit: int) -> bytes:
    damaged = bytearray(packed)
    damaged[position] ^= 1 << bit
    return bytes(damaged)


def every_flip(packed: bytes) -> Iterator[bytes]:
    for position in range(len(packed)):
        for bit in range(8):
            yield flipped(packed, position, bit)


def noise(length: int, *, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


# A little of everything: text, memory outside of the stream that shrinks, and some
# that does not.
SMALL_VALUE = ["a text " * 20, np.arange(30) // 9, np.frombuffer(noise(24), "u1")]


def dumped(value: object, codec: str) -> bytes:
    """Write a value with a codec of the container, whatever `dump` offers."""
    file = io.BytesIO()
    write_value(file, value, codec_from(codec), can_be_mapped=True)
    return file.getvalue()


def is_small_value(result: Any) -> bool:
    return bool(
        result[0] == SMALL_VALUE[0]
        and (result[1] == SMALL_VALUE[1]).all()
        and (result[2] == SMALL_VALUE[2]).all()
    )


def file_forward(packed: bytes) -> Any:
    return Forward(io.BytesIO(packed), b"")


def refuses(packed: bytes, tmp_path: Path | None = None) -> None:
    """Check that no way of reading gives anything but a ContainerError."""
    with pytest.raises((CorruptedFile, UnsupportedContainer)):
        reading.read(io.BytesIO(packed))
    with pytest.raises((CorruptedFile, UnsupportedContainer)):
        reading.read(file_forward(packed))
    with pytest.raises((CorruptedFile, UnsupportedContainer)):
        load(io.BytesIO(packed))
    if tmp_path is not None:
        path = tmp_path / "value"
        path.write_bytes(packed)
        with pytest.raises((CorruptedFile, UnsupportedContainer)):
            load(path)


# --- damaged containers ---


@pytest.mark.parametrize("codec", CODECS)
def test_every_truncation_is_found(codec: str, tmp_path: Path) -> None:
    packed = dumped(SMALL_VALUE, codec)
    assert is_small_value(load(io.BytesIO(packed)))

    for length in range(len(packed)):
        refuses(packed[:length], tmp_path)


@pytest.mark.parametrize("codec", CODECS)
def test_every_flipped_bit_is_found(codec: str) -> None:
    packed = dumped(SMALL_VALUE, codec)

    for damaged in every_flip(packed):
        with pytest.raises((CorruptedFile, UnsupportedContainer)):
            load(io.BytesIO(damaged))
        with pytest.raises((CorruptedFile, UnsupportedContainer)):
            reading.read(file_forward(damaged))


@pytest.mark.parametrize("mmap_mode", [None, "r", "c"])
def test_every_flipped_bit_of_a_file_is_found(mmap_mode: Any, tmp_path: Path) -> None:
    path, value = tmp_path / "value", b"the stream"
    dump(value, path)
    packed = path.read_bytes()

    for damaged in every_flip(packed):
        path.write_bytes(damaged)
        with pytest.raises((CorruptedFile, UnsupportedContainer)):
            load(path, mmap_mode=mmap_mode)


# Pickles that ask for a module called "kit", but for the check of the first bytes.
@pytest.mark.parametrize(
    "magic", [*(MAGIC[:end] for end in (4, 5, 6, 7)), MAGIC[:-1] + b"\n"]
)
def test_a_damaged_magic_is_found(magic: bytes) -> None:
    rest = dumped(1, "none")[8:] if len(magic) == 8 else b""

    with pytest.raises(CorruptedFile):
        load(io.BytesIO(magic + rest))


LARGE_VALUE = [np.arange(300_000), noise(200_000), "a text"]


@pytest.mark.parametrize("codec", ["none", "zstd", "lz4+shuffle"])
def test_a_large_container_that_is_cut_or_altered_is_found(codec: str) -> None:
    packed = dumped(LARGE_VALUE, codec)
    places = {random.Random(seed).randrange(len(packed)) for seed in range(150)}
    edges = {0, 24, SMALL_CONTAINER, len(packed) - 64}

    for place in places | edges | {len(packed) - 1}:
        with pytest.raises((CorruptedFile, UnsupportedContainer)):
            load(io.BytesIO(packed[:place]))
        with pytest.raises((CorruptedFile, UnsupportedContainer)):
            load(io.BytesIO(flipped(packed, place, place % 8)))


def test_what_follows_in_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "value"
    for value in (SMALL_VALUE, LARGE_VALUE):
        path.write_bytes(dumped(value, "none") + b"\0")

        with pytest.raises(CorruptedFile, match="follows"):
            load(path)


# --- damaged files of the stream forms ---


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_truncation_of_a_compressed_file_is_found(
    extension: str, tmp_path: Path
) -> None:
    path = tmp_path / f"value{extension}"
    dump(SMALL_VALUE, path)
    packed = path.read_bytes()
    assert is_small_value(load(path))

    for length in range(len(packed)):
        path.write_bytes(packed[:length])
        with pytest.raises(ContainerError):
            load(path)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_flipped_bit_of_a_compressed_file_is_found_or_harmless(
    extension: str, tmp_path: Path
) -> None:
    path = tmp_path / f"value{extension}"
    dump(SMALL_VALUE, path)

    for damaged in every_flip(path.read_bytes()):
        try:
            result = load(io.BytesIO(damaged))
        except ContainerError:
            continue
        assert is_small_value(result)  # such as the time in the header of gzip


def test_a_file_compressed_a_thousand_times_is_refused() -> None:
    file = io.BytesIO()
    dump(1, file)
    packed = file.getvalue()
    for _ in range(2000):
        packed = zlib.compress(packed, 1)

    with pytest.raises((CorruptedFile, RecursionError)):
        load(io.BytesIO(packed))


# --- hostile containers: the checksums are right, the rest is not ---


class Part(NamedTuple):
    """A chunk, as it is stored, and what its container says of it."""

    stored: bytes
    length: int | None = None
    offset: int | None = None
    stored_length: int | None = None


def segment(
    *parts: Part,
    codec: bytes = b"none",
    length: int | None = None,
    count: int | None = None,
    size: int = 1,
    at: int = HEADER.size,
) -> tuple[bytes, bytes]:
    """Return the content of a segment and its entry in the index, true or not."""
    content, entries, told = b"", b"", 0
    for stored, becomes, offset, stored_length in parts:
        becomes = len(stored) if becomes is None else becomes
        entries += CHUNK.pack(
            at + len(content) if offset is None else offset,
            len(stored) if stored_length is None else stored_length,
            becomes,
            xxh3_64_intdigest(stored),
        )
        content += stored
        told += becomes
    head = SEGMENT.pack(
        codec,
        told if length is None else length,
        len(parts) if count is None else count,
        size,
    )
    return content, head + entries


def seal(
    content: bytes,
    index: bytes,
    *,
    magic: bytes = MAGIC,
    version: int = 1,
    length: int | None = None,
    offset: int | None = None,
    index_length: int | None = None,
    end: bytes = END_MAGIC,
) -> bytes:
    """Put a header, a trailer and a right checksum around any content and index."""
    true_offset = HEADER.size + len(content)
    true_length = true_offset + len(index) + TRAILER.size
    header = HEADER.pack(magic, version, 0, true_length if length is None else length)
    places = struct.pack(
        "<QQ32s",
        true_offset if offset is None else offset,
        len(index) if index_length is None else index_length,
        bytes(32),
    )
    checksum = xxh3_64_intdigest(header + index + places)
    return header + content + index + places + struct.pack("<Q8s", checksum, end)


def one(*parts: Part, **told: Any) -> bytes:
    """Return a container of nothing but a stream."""
    return seal(*segment(*parts, **told))


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


ABC = Part(b"abc")
HUGE = [1 << 20, 1 << 31, 1 << 62, 1 << 63, (1 << 64) - 1]
stream, stream_entry = segment(Part(b"s" * 40))  # ends at 64
OUTSIDE = {
    f"{name} of {huge}": packed
    for huge in HUGE
    for name, packed in {
        "length of the container": seal(*segment(ABC), length=huge),
        "offset of the index": seal(*segment(ABC), offset=huge),
        "length of the index": seal(*segment(ABC), index_length=huge),
        "length of the segment": one(ABC, length=huge),
        "length of a chunk": one(ABC._replace(length=huge)),
        "length of all": one(ABC._replace(length=huge), length=3),
        "stored length": one(ABC._replace(stored_length=huge)),
        "both lengths": one(ABC._replace(stored_length=huge, length=huge)),
        "offset of a chunk": one(ABC._replace(offset=huge)),
        "offset and length": one(ABC._replace(offset=huge, length=(1 << 64) - huge)),
        "length of a segment without chunks": seal(
            stream, stream_entry + segment(length=huge)[1]
        ),
        "length of a compressed chunk": one(
            Part(zstd(b"abc"), length=huge), codec=b"zstd"
        ),
    }.items()
}
BESIDE = {
    "no segment": seal(b"", b""),
    "no segment, but content": seal(b"abc", b""),
    "index ends inside a segment": seal(b"abc", segment(ABC)[1][:10]),
    "index ends inside a chunk": seal(b"abc", segment(ABC)[1][:-5]),
    "bytes after the index": seal(b"abc", segment(ABC)[1] + b"\0"),
    "more chunks than there are": one(ABC, count=2),
    "fewer chunks than there are": one(ABC, Part(b"d"), count=1),
    "no chunks, but there is one": one(ABC, count=0),
    "more chunks than fit": one(ABC, count=0xFFFFFFFF),
    "a chunk of no bytes": one(Part(b"")),
    "a chunk of no bytes among others": one(ABC, Part(b""), ABC),
    "a compressed chunk of no bytes": one(Part(zstd(b""), length=0), codec=b"zstd"),
    "a chunk that becomes something of nothing": one(
        Part(b"", length=10), codec=b"zstd"
    ),
    "a chunk above a mebibyte": one(Part(bytes(CHUNK_BYTES + 1))),
    "a compressed chunk above a mebibyte": one(
        Part(zstd(bytes(CHUNK_BYTES + 1)), length=CHUNK_BYTES + 1), codec=b"zstd"
    ),
    "a chunk that grows by being compressed": one(
        Part(zstd(b"abc"), length=3), codec=b"zstd"
    ),
    "a raw chunk that is shorter": one(Part(b"abc", length=5)),
    "a raw chunk that is longer": one(Part(b"abc", length=2)),
    "overlapping chunks": one(Part(b"abcd"), Part(b"cd", offset=26)),
    "the same chunk twice": one(ABC, ABC._replace(offset=24)),
    "backwards": one(Part(b"abc", offset=27), Part(b"def", offset=24)),
    "a hole between chunks": one(ABC, Part(b"def", offset=28)),
    "a chunk in the header": one(ABC._replace(offset=0)),
    "a chunk in the index": one(ABC._replace(offset=27)),
    "a stream that starts late": seal(b"___" + b"abc", segment(ABC, at=27)[1]),
    "bytes that belong to no chunk": seal(b"abcdef", segment(ABC)[1]),
    "a buffer that is not aligned": seal(
        b"abcdef", segment(ABC)[1] + segment(ABC, at=27)[1]
    ),
    "a buffer aligned too far": seal(
        stream + bytes(64) + b"abc", stream_entry + segment(ABC, at=128)[1]
    ),
    "padding that is not zero": seal(
        b"abc" + b"_" * 37 + b"abc", segment(ABC)[1] + segment(ABC, at=64)[1]
    ),
    "chunks shorter than the segment": one(ABC, length=5),
    "chunks longer than the segment": one(ABC, length=1),
    "segment longer than memory": one(ABC, length=1 << 62),
    "header that is too short": seal(*segment(ABC))[1:],
    "header that is too long": b"\0" + seal(*segment(ABC)),
    "container that says it is shorter": seal(*segment(ABC), length=100),
    "container without a length": seal(*segment(ABC), length=0),
    "container shorter than its ends": seal(*segment(ABC), length=87),
    "container longer by one": seal(*segment(ABC), length=156),
    "index that starts at the header": seal(*segment(ABC), offset=0, index_length=91),
    "index in the trailer": seal(*segment(ABC), offset=91, index_length=0),
    "another magic": seal(*segment(ABC), magic=b"\x89PNG\r\n\x1a\n"),
    "another end": seal(*segment(ABC), end=b"kcit-end"),
    "an older version": seal(*segment(ABC), version=0),
    "a newer version": seal(*segment(ABC), version=2),
    "the newest version": seal(*segment(ABC), version=0xFFFFFFFF),
    "an empty file": b"",
    "only the magic": MAGIC,
    "only a header": HEADER.pack(MAGIC, 1, 0, HEADER.size),
    "only a header, and long": HEADER.pack(MAGIC, 1, 0, 1 << 63),
    "header and trailer": seal(b"", b""),
    "a header within another": HEADER.pack(MAGIC, 1, 0, 200) + seal(*segment(ABC)),
}
NAMES = [b"", b"zst", b"ZSTD", b"zstd ", b"\0zstd", b"zs\0td", b"+shuffle", b"a" * 16]
NAMES += [b"zstd+shuffle+", b"\xff\xfe", "zstd\xb4".encode(), b"../../etc/passwd"]
UNNAMED = {
    repr(name): one(Part(zstd(bytes(100)), length=100), codec=name) for name in NAMES
}
HOSTILE = OUTSIDE | BESIDE | UNNAMED


@pytest.mark.parametrize("packed", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_container_is_refused_in_little_memory(
    packed: bytes, tmp_path: Path
) -> None:
    tracemalloc.start()

    try:
        refuses(packed, tmp_path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 10 * len(packed) + 3 * CHUNK_BYTES


@pytest.mark.parametrize("version", [0, 2, 0xFFFFFFFF])
def test_another_version_is_unsupported_and_not_damaged(version: int) -> None:
    with pytest.raises(UnsupportedContainer, match=f"format {version}"):
        load(io.BytesIO(seal(*segment(ABC), version=version)))


@pytest.mark.parametrize("name", ["b'zst'", "b'ZSTD'", "b'+shuffle'"])
def test_an_unknown_codec_is_unsupported_and_not_damaged(name: str) -> None:
    with pytest.raises(UnsupportedContainer, match="does not know"):
        load(io.BytesIO(UNNAMED[name]))


@pytest.mark.parametrize("size", [0, 1, 3, 101, 1 << 31, (1 << 32) - 1])
@pytest.mark.parametrize("codec", [name for name in CODECS if "shuffle" in name])
def test_an_absurd_item_size_does_no_harm(size: int, codec: str) -> None:
    plain = codec_from(codec.removesuffix("+shuffle"))
    stored = bytes(plain.compress(memoryview(b"a" * 100)))
    packed = one(Part(stored, length=100), codec=codec.encode(), size=size)
    tracemalloc.start()

    result = reading.read(io.BytesIO(packed))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert bytes(result.stream) == b"a" * 100
    assert most < 2 * CHUNK_BYTES


def test_a_hundred_thousand_chunks_take_memory_in_proportion() -> None:
    number = 100_000
    index = SEGMENT.pack(b"none", number, number, 1) + b"".join(
        CHUNK.pack(24 + place, 1, 1, xxh3_64_intdigest(b"a")) for place in range(number)
    )
    packed = seal(b"a" * number, index)
    tracemalloc.start()

    result = reading.read(io.BytesIO(packed))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert bytes(result.stream) == b"a" * number
    assert most < 20 * len(packed)


@pytest.mark.parametrize("count", [10**6, 0xFFFFFFFF])
def test_chunks_that_are_only_claimed_take_no_memory(count: int) -> None:
    packed = seal(b"", SEGMENT.pack(b"none", count, count, 1))
    tracemalloc.start()

    refuses(packed)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < CHUNK_BYTES


def test_a_million_segments_of_nothing_are_read_or_refused() -> None:
    empty = SEGMENT.pack(b"none", 0, 0, 1)

    result = reading.read(io.BytesIO(seal(b"", empty * 100_000)))

    assert len(result.buffers) == 99_999


# --- decompression bombs ---


BOMB_BYTES = 128 << 20


def unsized(length: int) -> bytes:
    """Compress zeros into a zstd frame that does not tell its size."""
    how = zstandard.ZstdCompressionParameters(window_log=20, write_content_size=0)
    compress = zstandard.ZstdCompressor(compression_params=how).compressobj()
    return compress.compress(bytes(length)) + compress.flush()


def bombs(length: int) -> dict[str, bytes]:
    """Compress many zeros in every way."""
    zeros = bytes(length)
    deflate = zlib.compressobj(1, wbits=31)
    how = {"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}
    return {
        "zstd": zstd(zeros),
        "zstd, unsized": unsized(length),
        "lz4": lz4.block.compress(zeros, store_size=False),
        "zlib": zlib.compress(zeros, 1),
        "gzip": deflate.compress(zeros) + deflate.flush(),
        "bz2": bz2.compress(zeros),
        "xz": lzma.compress(zeros, filters=[how]),
        "lzma": lzma.compress(zeros, lzma.FORMAT_ALONE, preset=0),
    }


KINDS = ["zstd", "zstd, unsized", "lz4", "zlib", "gzip", "bz2", "xz", "lzma"]
SHORT, LONG = bombs(CHUNK_BYTES - 1), bombs(CHUNK_BYTES + 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [b"", b"+shuffle"])
@pytest.mark.parametrize("number", [1, 3])
def test_a_chunk_that_becomes_more_or_less_than_it_says_is_refused(
    kind: str, ending: bytes, number: int
) -> None:
    codec = kind.partition(",")[0].encode() + ending

    for stored in (SHORT[kind], LONG[kind]):
        parts = [Part(stored, length=CHUNK_BYTES)] * number
        refuses(one(*parts, codec=codec, size=4))


# Reads each file that it is given, with hardly more memory than it takes by then.
UNDER_A_LIMIT = """
import resource, sys, threading, numpy, lz4.block, zstandard, bz2, lzma
from concurrent.futures import ThreadPoolExecutor
from cachekit.errors import CorruptedFile
from cachekit.serialization import load, reading

threading.stack_size(1 << 20)
ThreadPoolExecutor(1).submit(int).result()
for line in open("/proc/self/status"):
    if line.startswith("VmSize"):
        taken = int(line.split()[1]) << 10
limit = taken + (80 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    for name in (load, lambda path: reading.read(open(path, "rb"))):
        try:
            name(path)
        except CorruptedFile:
            continue
        raise AssertionError(path)
print("refused", len(sys.argv) - 1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bombs_are_refused_in_little_memory(tmp_path: Path) -> None:
    paths = []
    for kind, bomb in bombs(BOMB_BYTES).items():
        codec = kind.partition(",")[0].encode()
        for length, number in [(100, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES, 3)]:
            parts = [Part(bomb[: CHUNK_BYTES - 1], length=length)] * number
            path = tmp_path / f"{kind} {length} {number}"
            path.write_bytes(one(*parts, codec=codec))
            paths.append(str(path))

    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, *paths],
        capture_output=True,
        text=True,
        env={"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
    )

    assert done.stderr[-500:] == ""
    assert done.stdout == f"refused {len(paths)}\n"


# --- whole containers, malformed pickles ---


PLAIN_PICKLE = pickle.dumps(["text", 3.5, {"a": (1, b"bytes", None)}], protocol=5)
MALFORMED = {
    "nothing": b"",
    "no value": b"\x80\x05.",
    "no end": b"\x80\x05N",
    "a later protocol": b"\x80\xc8N.",
    "an opcode that there is not": b"\x80\x05\xff.",
    "a memo that was not set": b"\x80\x05h\x07.",
    "a mark that was not set": b"\x80\x05t.",
    "a buffer that is missing": b"\x80\x05\x97.",
    "a read-only nothing": b"\x80\x05\x98.",
    "a frame that is too long": b"\x80\x05\x95\xff\xff\0\0\0\0\0\0N",
    "a call of a number": b"\x80\x05K\x01)R.",
    "a number that is none": b"I12x\n.",
    "a text that is none": b"\x80\x05X\x02\0\0\0\xff\xfe.",
    "a text longer than memory": b"\x80\x05\x8d" + b"\xff" * 8 + b"a.",
    "bytes longer than memory": b"\x80\x05\x8e" + b"\xff" * 8 + b"a.",
    "a dict with a key that has no hash": b"\x80\x05}]Ns.",
}


def holding(stream: bytes, *buffers: bytes, codec: str = "none") -> bytes:
    file = io.BytesIO()
    writer = writing.Writer(file, codec_from(codec))
    writer.write(stream)
    for buffer in buffers:
        writer.add_buffer([memoryview(buffer)])
    writer.finish()
    writer.close()
    return file.getvalue()


@pytest.mark.parametrize("stream", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("safe", [False, True])
def test_a_malformed_pickle_is_a_corrupted_file(stream: bytes, safe: bool) -> None:
    with pytest.raises(CorruptedFile):
        load(io.BytesIO(holding(stream)), safe=safe)


@pytest.mark.parametrize("safe", [False, True])
def test_every_truncation_of_the_pickle_is_a_corrupted_file(safe: bool) -> None:
    for length in range(len(PLAIN_PICKLE)):
        with pytest.raises(CorruptedFile):
            load(io.BytesIO(holding(PLAIN_PICKLE[:length])), safe=safe)


@pytest.mark.parametrize("safe", [False, True])
def test_too_few_buffers_are_a_corrupted_file(safe: bool) -> None:
    parts: list[Any] = []
    stream = pickle.dumps([np.arange(3)], protocol=5, buffer_callback=parts.append)

    with pytest.raises(CorruptedFile):
        load(io.BytesIO(holding(stream)), safe=safe)


def fail(error: type[BaseException]) -> None:
    raise error("while rebuilding")


class Failing:
    """Fails to be rebuilt, in the way it is told."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return fail, (self.error,)


ERRORS = [ValueError, OSError, KeyError, pickle.UnpicklingError, EOFError, TypeError]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_of_the_value_passes_with_a_note(error: type[Exception]) -> None:
    packed = dumped(Failing(error), "none")

    with pytest.raises(error, match="while rebuilding") as caught:
        load(io.BytesIO(packed))

    assert type(caught.value) is error
    assert any("code of the value" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("error", [MemoryError, RecursionError, KeyboardInterrupt])
def test_what_is_nobodys_fault_passes(error: type[BaseException]) -> None:
    with pytest.raises(error, match="while rebuilding"):
        load(io.BytesIO(dumped(Failing(error), "none")))


@pytest.fixture
def vanishing(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Import a module which a test can take away again."""
    module = types.ModuleType("vanishing")
    exec("class Model: pass", module.__dict__)  # so that the class is of this module
    monkeypatch.setitem(sys.modules, "vanishing", module)
    return module


def test_a_class_that_is_gone_is_named(vanishing: types.ModuleType) -> None:
    packed = dumped(vanishing.Model(), "none")
    del vanishing.Model

    with pytest.raises(AttributeError, match="Model") as caught:
        load(io.BytesIO(packed))

    assert any("needed by the value" in note for note in caught.value.__notes__)


def test_a_module_that_is_gone_is_named(vanishing: types.ModuleType) -> None:
    packed = dumped(vanishing.Model(), "none")
    del sys.modules["vanishing"]

    with pytest.raises(ImportError, match="vanishing") as caught:
        load(io.BytesIO(packed))

    assert any("needed by the value" in note for note in caught.value.__notes__)


# --- mutations of valid files ---


def resealed(packed: bytes) -> bytes:
    """Recompute all checksums that can be found, and the length in the header."""
    content = bytearray(packed)
    if len(content) < HEADER.size + TRAILER.size:
        return packed
    struct.pack_into("<Q", content, 16, len(content))
    offset, *_ = TRAILER.unpack_from(content, len(content) - TRAILER.size)
    index_end = len(content) - TRAILER.size
    if not HEADER.size <= offset <= index_end:
        offset = index_end
    struct.pack_into("<QQ", content, index_end, offset, index_end - offset)
    position = offset
    while position + SEGMENT.size <= index_end:
        *_, count, _ = SEGMENT.unpack_from(content, position)
        position += SEGMENT.size
        for _ in range(min(count, (index_end - position) // CHUNK.size)):
            start, stored, *_ = CHUNK.unpack_from(content, position)
            checksum = xxh3_64_intdigest(content[start : start + stored])
            struct.pack_into("<Q", content, position + 24, checksum)
            position += CHUNK.size
    places = bytes(content[index_end : index_end + 48])
    checksum = xxh3_64_intdigest(
        bytes(content[:24] + content[offset:index_end]) + places
    )
    struct.pack_into("<Q", content, index_end + 48, checksum)
    return bytes(content)


def flip(data: st.DataObject, packed: bytes) -> bytes:
    position = data.draw(st.integers(0, max(0, len(packed) - 1)))
    return flipped(packed, position, data.draw(st.integers(0, 7))) if packed else b""


def overwrite(data: st.DataObject, packed: bytes) -> bytes:
    position = data.draw(st.integers(0, len(packed)))
    number = data.draw(st.sampled_from([0, 1, 255, 1 << 31, 1 << 63, (1 << 64) - 1]))
    width = data.draw(st.sampled_from([1, 2, 4, 8]))
    piece = (number % (1 << 8 * width)).to_bytes(width, "little")
    return packed[:position] + piece + packed[position + width :]


def delete(data: st.DataObject, packed: bytes) -> bytes:
    start, end = sorted(data.draw(st.integers(0, len(packed))) for _ in range(2))
    return packed[:start] + packed[end:]


def insert(data: st.DataObject, packed: bytes) -> bytes:
    position = data.draw(st.integers(0, len(packed)))
    return packed[:position] + data.draw(st.binary(max_size=70)) + packed[position:]


def splice(data: st.DataObject, packed: bytes) -> bytes:
    other = VALID[data.draw(st.sampled_from(CODECS))]
    start, end = sorted(data.draw(st.integers(0, len(other))) for _ in range(2))
    position = data.draw(st.integers(0, len(packed)))
    skipped = data.draw(st.sampled_from([0, end - start]))
    return packed[:position] + other[start:end] + packed[position + skipped :]


MUTATIONS = [flip, overwrite, delete, insert, splice]
# Nothing in it calls anything, so that no mutation runs code by chance.
PLAIN_VALUE = ["a text " * 20, bytes(range(60)) * 3, {"a": 1.5, "b": [None, True]}]


def outside_too(codec: str) -> bytes:
    stream = pickle.dumps([PLAIN_VALUE, pickle.PickleBuffer(b"")], protocol=5)
    return holding(stream, bytes(300), noise(90), b"", codec=codec)


VALID = {codec: outside_too(codec) for codec in CODECS}


def mutated(data: st.DataObject, packed: bytes) -> bytes:
    for _ in range(data.draw(st.integers(1, 4))):
        packed = data.draw(st.sampled_from(MUTATIONS))(data, packed)
    return packed


quietly = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@quietly
@given(st.data())
def test_a_mutation_is_refused_or_does_nothing(data: st.DataObject) -> None:
    whole = VALID[data.draw(st.sampled_from(CODECS))]
    packed = mutated(data, whole)

    try:
        result = reading.read(io.BytesIO(packed))
    except (CorruptedFile, UnsupportedContainer):
        return

    same = reading.read(io.BytesIO(whole))
    assert packed in VALID.values(), "damage was read as if it were whole"
    assert bytes(result.stream) == bytes(same.stream)


@quietly
@given(st.data())
def test_a_mutation_with_right_checksums_is_read_or_refused(
    data: st.DataObject,
) -> None:
    whole = VALID[data.draw(st.sampled_from(CODECS))]
    packed = resealed(mutated(data, whole))

    for open_it in (io.BytesIO, file_forward):
        try:
            content = reading.read(open_it(packed))
        except (CorruptedFile, UnsupportedContainer):
            continue
        parts = [content.stream, *content.buffers]
        assert sum(map(len, parts)) < 10 * len(packed)


@quietly
@given(st.data())
def test_a_mutated_pickle_is_read_or_refused(data: st.DataObject) -> None:
    stream = pickle.dumps(PLAIN_VALUE, protocol=5)
    packed = holding(mutated(data, stream))

    try:
        load(io.BytesIO(packed), safe=True)
    except (CacheKitError, ImportError, AttributeError):
        pass
    except MemoryError:
        # The pickle says how long a text is, and Python believes it.
        assert b"\x8d" in packed or b"\x8e" in packed or b"\x96" in packed


@quietly
@given(st.data())
def test_a_mutated_compressed_file_is_read_or_refused(data: st.DataObject) -> None:
    extension = data.draw(st.sampled_from(EXTENSIONS))
    whole = compressed_file(extension)
    # With another start it is another kind of file: b"N." is a pickle of None, and
    # b"BZ", as bzip2 begins, that of bytes.
    packed = whole[:4] + mutated(data, whole[4:])

    try:
        result = load(io.BytesIO(packed))
    except ContainerError:
        return

    assert result == PLAIN_VALUE


def compressed_file(extension: str) -> bytes:
    method = {".gz": "gzip", ".z": "zlib", ".zst": "zstd"}.get(extension, extension[1:])
    file = io.BytesIO()
    from cachekit.serialization import streams

    with streams.open_compressing(file, method) as compressing:
        dump(PLAIN_VALUE, compressing)
    return file.getvalue()
