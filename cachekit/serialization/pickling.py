"""Object to pickle stream and out-of-band buffers, and back.

The memory of large arrays never passes through the stream: protocol 5 hands it out
as buffers, which the container writes as they lie.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

# A smaller buffer costs less inside the stream than as a part of its own.
SMALLEST_BUFFER = 4096


def flatten(value: object) -> tuple[bytes, list[memoryview]]:
    """Pickle a value.

    Returns
    -------
    stream : bytes
        The pickle stream, protocol 5.
    buffers : list of memoryview
        The memory that the stream refers to, not copied.

    Raises
    ------
    Exception
        Whatever the value's own pickling raises.
    """
    try:
        return _flatten_with(pickle.dumps, value)
    except (pickle.PicklingError, AttributeError, TypeError):
        # Lambdas, closures and local classes. cloudpickle is tried second since it
        # is ten times slower, and pickles by value what plain pickle finds by name.
        import cloudpickle

        return _flatten_with(cloudpickle.dumps, value)


def rebuild(stream: bytes | memoryview, buffers: Sequence[Any]) -> Any:
    """Unpickle a value from its stream and its buffers."""
    return pickle.loads(stream, buffers=buffers)


def _flatten_with(dumps: Any, value: object) -> tuple[bytes, list[memoryview]]:
    buffers: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        memory = buffer.raw()
        if memory.nbytes < SMALLEST_BUFFER:
            return True
        buffers.append(memory)
        return False

    return dumps(value, protocol=5, buffer_callback=keep_inside), buffers
