"""Files that are written now and read later, to be sent to where they will stay."""

from __future__ import annotations

import io
import tempfile
from typing import Any


class KeptFile:
    """A file yet to be sent: in memory while it is small. Closing keeps it.

    Parameters
    ----------
    most_in_memory : int
        With more bytes than these it is on the disk, and its `name` is its path.
    """

    def __init__(self, most_in_memory: int) -> None:
        self._most_in_memory = most_in_memory
        self._file: Any = io.BytesIO()
        self._is_in_memory = True

    def write(self, piece: bytes | memoryview) -> int:
        """Write some bytes."""
        if self._is_in_memory and self._file.tell() + len(piece) > self._most_in_memory:
            self._move_to_disk()
        written: int = self._file.write(piece)
        return written

    def _move_to_disk(self) -> None:
        content, position = self._file.getbuffer(), self._file.tell()
        self._file = tempfile.NamedTemporaryFile(prefix="cachekit-")  # noqa: SIM115
        self._file.write(content)
        self._file.seek(position)
        self._is_in_memory = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> KeptFile:
        return self

    def __exit__(self, *_: object) -> None:
        """Keep the file, to be read."""

    def close(self) -> None:
        """Keep the file, to be read."""

    def give_back(self) -> None:
        """Close it for good, and remove it."""
        self._file.close()
