"""Feed `cachekit.load` mutated files, guided by coverage; an optional, long job.

atheris is no dependency of the tests, and has wheels for Linux only. Get it and go::

    python -m pip install atheris
    python tests/torture/fuzz_load.py -runs=100000
    python tests/torture/fuzz_load.py -max_total_time=180 folder_of_findings

The arguments are those of libFuzzer. It stops at the first input by which anything but
a `CacheKitError` comes out, and writes that input into a file, whose name it prints;
``python tests/torture/fuzz_load.py FILE`` runs it again. The first byte of an input
says how it is read; checksums are made right again in most inputs, as no mutation would
get past them otherwise. Pickles are loaded with ``safe=True``: a mutated pickle may
call anything.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]
from xxhash import xxh3_64_intdigest

with atheris.instrument_imports(include=["cachekit"]):
    from cachekit.errors import CacheKitError
    from cachekit.serialization import (
        container,
        dump,
        joblib_files,  # noqa: F401  # `load` imports it later, and then untraced
        load,
        reading,
        safe,  # noqa: F401
        streams,
        writing,
    )
    from cachekit.serialization.codecs import codec_from
    from cachekit.serialization.files import Forward

CODECS = ["none", "zstd", "lz4", "zlib", "gzip", "bz2", "xz", "zstd+shuffle"]
FORMS = ["gzip", "zlib", "bz2", "xz", "lzma", "lz4", "zstd"]
VALUE = ["a text " * 20, {"a": 1.5, "b": [None, True]}, bytes(range(60)) * 3]

READ, READ_FORWARD, LOAD = range(3)
KEEPS_CHECKSUMS = 0x80


def main() -> None:
    """Write the first inputs and start libFuzzer."""
    with tempfile.TemporaryDirectory() as seeds:
        for number, seed in enumerate(_seeds()):
            Path(seeds, f"{number}").write_bytes(seed)
        files = [name for name in sys.argv[1:] if not name.startswith("-")]
        is_one_file = any(Path(name).is_file() for name in files)
        more = [] if is_one_file else [seeds]
        atheris.Setup([*sys.argv, *more], run_one)
        atheris.Fuzz()


def run_one(data: bytes) -> None:
    """Read one input; pass on what should not have been raised."""
    if not data:
        return
    how, packed = data[0], data[1:]
    if not how & KEEPS_CHECKSUMS:
        packed = resealed(packed)
    try:
        _read(how % 3, packed)
    except (CacheKitError, ImportError, AttributeError):
        pass
    except MemoryError:
        # A pickle says how long a text is, and Python makes room before it reads.
        if how % 3 != LOAD:
            raise


def _read(how: int, packed: bytes) -> None:
    file: Any = io.BytesIO(packed)
    if how == LOAD:
        load(file, safe=True)
        return
    if how == READ_FORWARD:
        file = Forward(file, b"")
    stream, buffers = reading.read(file)[:2]
    total = len(stream) + sum(map(len, buffers))
    if total > 300_000 * len(packed):  # no method shrinks more
        raise AssertionError(f"{len(packed)} bytes became {total}")


def resealed(packed: bytes) -> bytes:
    """Make length, places and checksums right, as far as they can be found."""
    if len(packed) < 88 or not packed.startswith(container.MAGIC):
        return packed
    content, end = bytearray(packed), len(packed) - 64
    struct.pack_into("<Q", content, 16, len(content))
    (offset,) = struct.unpack_from("<Q", content, end)
    if not 24 <= offset <= end:
        offset = end
    struct.pack_into("<QQ", content, end, offset, end - offset)
    position = offset
    while position + 32 <= end:
        (count,) = struct.unpack_from("<I", content, position + 24)
        position += 32
        for _ in range(min(count, (end - position) // 32)):
            start, stored = struct.unpack_from("<QQ", content, position)
            checksum = xxh3_64_intdigest(content[start : start + stored])
            struct.pack_into("<Q", content, position + 24, checksum)
            position += 32
    covered = content[:24] + content[offset:end] + content[end : end + 48]
    struct.pack_into("<Q8s", content, end + 48, xxh3_64_intdigest(covered), b"ckit-end")
    return bytes(content)


def _seeds() -> list[bytes]:
    packed = [_container(codec) for codec in CODECS]
    for form in FORMS:
        file = io.BytesIO()
        with streams.open_compressing(file, form) as compressing:
            dump(VALUE, compressing)
        packed.append(file.getvalue())
    packed += [pickle.dumps(VALUE, protocol) for protocol in range(6)]
    return [bytes([how]) + one for how in (READ, READ_FORWARD, LOAD) for one in packed]


def _container(codec: str) -> bytes:
    file = io.BytesIO()
    writer = writing.Writer(file, codec_from(codec))
    writer.write(pickle.dumps(VALUE, 5))
    writer.add_buffer([memoryview(bytes(300))], 4)
    writer.add_buffer([memoryview(bytes(range(90)))], 2)
    writer.finish()
    writer.close()
    return file.getvalue()


if __name__ == "__main__":
    main()
