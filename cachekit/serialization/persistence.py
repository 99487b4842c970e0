"""A value in a file: pickling on one side, the container on the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from cachekit.errors import ContainerError
from cachekit.serialization import container, pickling
from cachekit.serialization.codecs import Codec


def write_value(file: BinaryIO, value: object, codec: Codec) -> int:
    """Write a value into an open file as one container; return its size in bytes.

    Raises
    ------
    Exception
        Whatever the value's own pickling raises; nothing is written then.
    """
    stream, buffers = pickling.flatten(value)
    return container.write(file, stream, buffers, codec)


def read_value(file: BinaryIO, *, modules: Mapping[str, str] | None = None) -> Any:
    """Read the value that an open file holds.

    Parameters
    ----------
    file : binary file
        Open for reading, at its start.
    modules : mapping of str to str, optional
        Modules whose classes are to be looked for under another name.

    Raises
    ------
    ContainerError
        If the bytes are damaged, or the value cannot be rebuilt from them, for
        example because its class is gone.
    """
    stream, buffers = container.read(file)
    try:
        return pickling.rebuild(stream, buffers, modules)
    except MemoryError:
        raise
    except Exception as error:  # unpickling runs the value's own code
        raise ContainerError(f"the value cannot be rebuilt: {error!r}") from error
