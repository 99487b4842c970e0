"""A value whose arrays stay in the file and are mapped, not read."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, Literal

from cachekit.errors import ContainerError
from cachekit.serialization import pickling, reading
from cachekit.serialization.container import TRAILER
from cachekit.serialization.signing import Label


def map_value(
    file: BinaryIO,
    mode: Literal["r", "c"],
    *,
    modules: Mapping[str, str] | None = None,
    label: Label | None = None,
) -> Any:
    """Return the value in a file, its arrays as maps of it.

    All but the memory of arrays is checked. That is read when it is used, and nobody
    looks at its checksums then: `cachekit verify` does.

    Parameters
    ----------
    file : binary file
        Open for reading, unbuffered, at the start of the container that is all of it.
    mode : {"r", "c"}
        Read-only, or to be changed in memory alone.
    modules : mapping of str to str, optional
        Modules whose classes are to be looked for under another name.
    label : Label, optional
        Says what the value belongs to.

    Returns
    -------
    object
        The value; what cannot be mapped of it was read.

    Raises
    ------
    ContainerError
        As `read_value`.
    """
    if os.fstat(file.fileno()).st_size == 0:
        raise ContainerError("the file is empty")
    import numpy as np

    whole = np.memmap(file, "u1", mode)
    file.seek(0)
    stream, buffers, _ = reading.read(file, mapped=whole)
    if label is not None:
        label.check(whole[-TRAILER.size :].tobytes())
    try:
        rebuilder = pickling.Rebuilder(
            io.BytesIO(stream),
            buffers=buffers,
            modules=modules,
            array_from=pickling.mapped_array,
        )
        return rebuilder.load()
    except MemoryError:
        raise
    except Exception as error:  # unpickling runs the value's own code
        raise ContainerError(f"the value cannot be rebuilt: {error!r}") from error
