"""File objects that compress what is written, as one stream or in blocks.

Most formats say that several compressed streams, one after the other, stand for
their contents, one after the other. So what is written is cut into blocks, and each
is compressed on its own, by several threads. Where the cuts are depends on nothing
but the content, so equal contents make equal files. For zlib and the old lzma format
the tools expect a single stream, so these use one thread.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, BinaryIO, Protocol

from cachekit.serialization.files import write_all
from cachekit.serialization.threads import submit, usable_cores

# Blocks of 1 MiB make xz files 3 % larger than blocks of 2 MiB do, and blocks of
# 4 MiB 3 % smaller; the other methods differ by 1 % or less.
BLOCK_BYTES = 2 << 20


class CompressingFile(io.BufferedIOBase):
    """A file object for writing; `close` completes the file, `abandon` does not."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, data: Any) -> int:
        """Take some bytes, of which nothing need be in the file yet."""
        if self.closed:
            raise ValueError("write to a closed file")
        view = memoryview(data)
        if view.nbytes > 0:  # an empty view of several dimensions has no cast
            self._take(view.cast("B"))
        return view.nbytes

    def close(self) -> None:
        """Complete the file."""
        if not self.closed:
            try:
                self._finish()
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Write no more: the file stays without its end."""
        super().close()

    def _finish(self) -> None:
        raise NotImplementedError

    def _take(self, data: memoryview) -> None:
        raise NotImplementedError

    def _put(self, compressed: bytes) -> None:
        write_all(self._file, compressed)


class StreamWriter(CompressingFile):
    """Writes a single compressed stream."""

    def __init__(
        self, new_encoder: Callable[[int], Encoder], file: BinaryIO, level: int
    ) -> None:
        super().__init__(file)
        self._encoder = new_encoder(level)

    def _finish(self) -> None:
        self._put(self._encoder.flush())

    def _take(self, data: memoryview) -> None:
        self._put(self._encoder.compress(data))


class BlockWriter(CompressingFile):
    """Compresses blocks in threads of its own, and writes them in their order."""

    def __init__(
        self, compress: Callable[..., bytes], file: BinaryIO, level: int
    ) -> None:
        super().__init__(file)
        self._compress = partial(compress, level=level)
        self._block = bytearray()
        self._threads = usable_cores()
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: deque[Future[bytes]] = deque()

    def abandon(self) -> None:
        """Write no more, and end the threads."""
        # No thread outlives the file, and a pool of the module would not survive
        # a fork.
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._ahead.clear()
        self._block = bytearray()
        super().abandon()

    def _finish(self) -> None:
        # Also when it is empty: then nothing was written, and this is all there is.
        last = self._compress(self._block)
        self._put_until(0)
        self._put(last)

    def _take(self, data: memoryview) -> None:
        while data:
            # Only when more follows, so that one block needs no thread.
            if len(self._block) == BLOCK_BYTES:
                self._hand_out()
            room = BLOCK_BYTES - len(self._block)
            self._block += data[:room]
            data = data[room:]

    def _hand_out(self) -> None:
        block, self._block = self._block, bytearray()
        if self._threads == 1:
            self._put(self._compress(block))
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads)
        self._ahead.append(submit(self._pool, self._compress, block))
        self._put_until(self._threads)

    def _put_until(self, most_ahead: int) -> None:
        while len(self._ahead) > most_ahead:
            self._put(self._ahead.popleft().result())


class Encoder(Protocol):
    """Makes a single stream."""

    def compress(self, data: memoryview, /) -> bytes:
        """Return what is ready of the stream."""
        ...

    def flush(self) -> bytes:
        """Return the end of the stream."""
        ...
