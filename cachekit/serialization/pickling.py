"""Object to pickle stream and out-of-band buffers, and back.

The memory of large arrays never passes through the stream: protocol 5 hands it out
as buffers, which the container writes as they lie.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

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
        return _flatten_with(pickle.Pickler, value)
    except (pickle.PicklingError, AttributeError, TypeError):
        # Lambdas, closures and local classes. cloudpickle is tried second since it
        # is ten times slower, and pickles by value what plain pickle finds by name.
        import cloudpickle

        return _flatten_with(cloudpickle.Pickler, value)


def rebuild(
    stream: bytes | memoryview,
    buffers: Sequence[Any],
    modules: Mapping[str, str] | None = None,
) -> Any:
    """Unpickle a value from its stream and its buffers.

    Parameters
    ----------
    stream : bytes or memoryview
        The pickle stream.
    buffers : sequence of buffers
        The memory that the stream refers to.
    modules : mapping of str to str, optional
        Modules to be looked for under another name.
    """
    if modules and any(name.encode() in bytes(stream) for name in modules):
        return _Renaming(io.BytesIO(stream), buffers=buffers, modules=modules).load()
    return pickle.loads(stream, buffers=buffers)


class _Renaming(pickle.Unpickler):
    """An unpickler that finds some modules under other names."""

    def __init__(
        self, file: BinaryIO, *, buffers: Sequence[Any], modules: Mapping[str, str]
    ) -> None:
        super().__init__(file, buffers=buffers)
        self._modules = modules

    def find_class(self, module: str, name: str) -> Any:
        """Return a global of a module."""
        return super().find_class(self._modules.get(module, module), name)


def _flatten_with(make_pickler: Any, value: object) -> tuple[bytes, list[memoryview]]:
    buffers: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        memory = buffer.raw()
        if memory.nbytes < SMALLEST_BUFFER:
            return True
        buffers.append(memory)
        return False

    file = io.BytesIO()
    pickler = make_pickler(file, protocol=5, buffer_callback=keep_inside)
    if "numpy" in sys.modules:  # otherwise there are no arrays
        import numpy as np

        table = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
        pickler.dispatch_table = {**table, np.ndarray: _reduce_array}
    pickler.dump(value)
    return file.getvalue(), buffers


def _reduce_array(array: Any) -> Any:
    """Pickle what numpy would bring back otherwise than it was.

    Of strided arrays it forgets the byte order and that they were read-only, and it
    puts dates into the stream instead of handing out their memory.
    """
    flags, is_of_dates = array.flags, array.dtype.kind in "mM"
    is_contiguous = flags.c_contiguous or flags.f_contiguous
    if array.dtype.hasobject or (is_contiguous and not is_of_dates):
        return array.__reduce_ex__(5)
    plain = (array if is_contiguous else array.copy()).view()
    plain.flags.writeable = flags.writeable
    if not is_of_dates:
        return plain.__reduce_ex__(5)
    return _array_of_dates, (plain.view("i8"), array.dtype)


def _array_of_dates(numbers: Any, dtype: Any) -> Any:
    return numbers.view(dtype)
