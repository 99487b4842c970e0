"""Object to pickle stream and out-of-band buffers, and back.

The memory of large arrays never passes through the stream: protocol 5 hands it out
as buffers, which the container writes as they lie. Where a library would put memory
into the stream all the same, it is reduced by functions of ours.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

# A smaller buffer costs less inside the stream than as a part of its own.
SMALLEST_BUFFER = 4096

# Where all buffers are wanted outside, only so many small ones.
MOST_SMALL_BUFFERS = 1000

# A strided array that is larger is copied block by block.
BLOCK_BYTES = 1 << 20


class Sink(Protocol):
    """What takes a pickle stream: the writer of a container."""

    def write(self, piece: Any) -> object:
        """Take a piece of the stream."""
        ...

    def restart(self) -> None:
        """Forget all that was written."""
        ...


class OutOfBand(NamedTuple):
    """Memory that a stream refers to.

    Attributes
    ----------
    blocks : iterable of memoryview
        The memory, as bytes; not copied unless it is strided.
    item_size : int
        Bytes of a number in it.
    """

    blocks: Iterable[memoryview]
    item_size: int


def write_pickle(
    value: object, sink: Sink, *, smallest_buffer: int = SMALLEST_BUFFER
) -> list[OutOfBand]:
    """Pickle a value into a sink, and return the memory that was left out.

    Parameters
    ----------
    value : object
        Anything that pickle or cloudpickle takes.
    sink : Sink
        Takes the stream.
    smallest_buffer : int, default 4096
        Memory of fewer bytes goes into the stream. With 1, what can be mapped stays
        outside, up to a thousand small buffers.

    Raises
    ------
    RecursionError
        If the value is nested more deeply than pickle can follow.
    Exception
        Whatever the value's own pickling raises.
    """
    try:
        try:
            return _write_with(pickle.Pickler, value, sink, smallest_buffer)
        except (pickle.PicklingError, AttributeError, TypeError):
            # Lambdas, closures and local classes. cloudpickle is tried second since it
            # is ten times slower, and pickles by value what pickle finds by name.
            import cloudpickle

            sink.restart()
            return _write_with(cloudpickle.Pickler, value, sink, smallest_buffer)
    except (RecursionError, pickle.PicklingError) as error:
        if not _is_too_deep(error):
            raise
        raise RecursionError(
            f"the value is nested more deeply than pickle can follow with Python's "
            f"limit of {sys.getrecursionlimit()} levels; sys.setrecursionlimit() "
            f"raises it"
        ) from error


def write_by_value(
    value: object, sink: Sink, *, smallest_buffer: int = SMALLEST_BUFFER
) -> list[OutOfBand]:
    """Pickle as `write_pickle`, but functions and classes of a script by value.

    For a process that runs another script, or none.
    """
    import cloudpickle

    return _write_with(cloudpickle.Pickler, value, sink, smallest_buffer)


def _is_too_deep(error: Exception) -> bool:
    """Tell Python's own error, which cloudpickle wraps, from one of the value's."""
    cause = error if isinstance(error, RecursionError) else error.__cause__
    return isinstance(cause, RecursionError) and "recursion depth" in str(cause)


def flatten(value: object) -> tuple[bytes, list[memoryview]]:
    """Pickle a value in memory; return the stream and the buffers outside of it."""
    stream = _Memory()
    outside = write_pickle(value, stream)
    return stream.getvalue(), [_joined(part.blocks) for part in outside]


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
    if modules is not None and _names_any(bytes(stream), modules):
        file = io.BytesIO(stream)
        return Rebuilder(file, buffers=buffers, modules=modules).load()
    return pickle.loads(stream, buffers=buffers)


def _names_any(stream: bytes, modules: Mapping[str, str]) -> bool:
    return STACK_GLOBAL in stream and any(name.encode() in stream for name in modules)


# Where a stream has no such byte, nothing is looked for by name.
STACK_GLOBAL = pickle.STACK_GLOBAL[0]


class Finder:
    """Finds some modules under other names, and makes arrays in another way."""

    def __init__(
        self,
        *args: Any,
        modules: Mapping[str, str] | None = None,
        array_from: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._modules = modules or {}
        self._array_from = array_from

    def find_class(self, module: str, name: str) -> Any:
        """Return a global of a module."""
        if (module, name) in _MAKERS_OF_ARRAYS and self._array_from is not None:
            return self._array_from
        module = self._modules.get(module, module)
        return super().find_class(module, name)  # type: ignore[misc]


class Rebuilder(Finder, pickle.Unpickler):
    """An unpickler with options.

    Parameters
    ----------
    file : binary file
        The stream.
    buffers : sequence of buffers
        The memory that the stream refers to.
    modules : mapping of str to str, optional
        Modules to be looked for under another name.
    array_from : callable, optional
        Makes an array of a buffer, a dtype, a shape and an order; as `mapped_array`.
    """


def mapped_array(buffer: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """Make an array of a slice of a memory map: a `numpy.memmap` itself."""
    import numpy as np

    _check_memory(buffer)
    memory: Any = buffer.obj if isinstance(buffer, memoryview) else buffer
    if not isinstance(memory, np.memmap) or np.dtype(dtype).itemsize == 0:
        return array_from(buffer, dtype, shape, order)
    array: Any = memory.view(dtype).reshape(shape, order=order)
    if memory is not buffer:  # it was read-only when it was written
        array.flags.writeable = False
    return array


def array_from(buffer: Any, dtype: Any, shape: Any, order: str) -> Any:
    """Make an array of a buffer, as numpy does."""
    _check_memory(buffer)
    return _maker_of_arrays()(buffer, dtype, shape, order)


def _check_memory(buffer: Any) -> None:
    # A hostile stream could have the addresses of objects taken for numbers.
    if getattr(getattr(buffer, "dtype", None), "hasobject", False):
        raise pickle.UnpicklingError("an array is made of the memory of objects")


def native_array(buffer: Any, dtype: Any, shape: Any, order: str) -> Any:
    """Make an array of a buffer, in the byte order of this machine."""
    array = array_from(buffer, dtype, shape, order)
    return (
        array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    )


# --- how values are taken apart ---


class _Memory(io.BytesIO):
    """A sink in memory."""

    def restart(self) -> None:
        self.seek(0)
        self.truncate()


def _joined(blocks: Iterable[memoryview]) -> memoryview:
    parts = list(blocks)
    return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def _write_with(
    make_pickler: Any, value: object, sink: Sink, smallest_buffer: int
) -> list[OutOfBand]:
    outside: list[OutOfBand] = []
    small = 0

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        nonlocal small
        owner: Any = memoryview(buffer).obj
        if isinstance(owner, (_StandIn, _ReadOnlyStandIn)):
            outside.append(OutOfBand(_blocks(owner.array), owner.array.itemsize))
            return False
        memory = buffer.raw()
        if memory.nbytes < SMALLEST_BUFFER:
            if memory.nbytes < smallest_buffer or small >= MOST_SMALL_BUFFERS:
                return True
            small += 1
        outside.append(OutOfBand([memory], _item_size(buffer)))
        return False

    pickler = make_pickler(sink, protocol=5, buffer_callback=keep_inside)
    table = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
    # Not `pickler.dispatch_table = ...`: cloudpickle's has a table of its class, which
    # hides the one that pickle reads.
    if _OF_TRACEBACKS in sys.modules:  # who reads may not have it
        table = {
            kind: reduce
            for kind, reduce in table.items()
            if getattr(reduce, "__module__", None) != _OF_TRACEBACKS
        }
    _set_table(pickler, {**table, **_reducers()})
    pickler.dump(value)
    return outside


# Brought by dask, it has every exception pickled with its traceback.
_OF_TRACEBACKS = "tblib.pickling_support"

_set_table = vars(pickle.Pickler)["dispatch_table"].__set__


def _item_size(buffer: pickle.PickleBuffer) -> int:
    try:
        return memoryview(buffer).itemsize
    except (BufferError, ValueError):
        return 1


def _reducers() -> dict[type, Callable[[Any], Any]]:
    """Return how to take values of the imported libraries apart, by type."""
    found: dict[type, Callable[[Any], Any]] = {}
    if "numpy" in sys.modules:  # otherwise there are no arrays
        import numpy as np

        found |= {np.ndarray: _reduce_array, np.memmap: _reduce_array}
        found |= {np.matrix: _reduce_matrix, np.recarray: _reduce_records}
        if "numpy.ma" in sys.modules:
            found[np.ma.MaskedArray] = _reduce_masked
    if "ipaddress" in sys.modules:
        import ipaddress

        found[ipaddress.IPv6Address] = _reduce_address
    if "torch.storage" in sys.modules:
        import torch

        found[torch.UntypedStorage] = _reduce_storage
        found[torch.storage.TypedStorage] = _reduce_typed_storage
    return found


def _reduce_array(array: Any) -> Any:
    """Pickle what numpy would bring back otherwise than it was.

    Of strided arrays it forgets the byte order and that they were read-only, and it
    puts dates into the stream instead of handing out their memory. A memory map is
    written as the array that it maps.
    """
    import numpy as np

    plain: Any = array.view(np.ndarray) if type(array) is not np.ndarray else array
    flags = plain.flags
    if plain.dtype.hasobject:
        return plain.__reduce_ex__(5)
    if not (flags.c_contiguous or flags.f_contiguous):
        if plain.nbytes > BLOCK_BYTES:
            return _reduce_strided(plain)
        plain = plain.copy()
        plain.flags.writeable = flags.writeable
    try:
        memoryview(plain)
    except ValueError:  # dates have no buffer, also as fields
        memory = pickle.PickleBuffer(plain.view(f"V{plain.itemsize}"))
        order = "C" if plain.flags.c_contiguous else "F"
        return _maker_of_arrays(), (memory, plain.dtype, plain.shape, order)
    return plain.__reduce_ex__(5)


def _reduce_matrix(matrix: Any) -> Any:
    import numpy as np

    return _matrix, (matrix.view(np.ndarray),)


def _matrix(array: Any) -> Any:
    import numpy as np

    return np.ndarray.view(array, np.matrix)


def _reduce_records(records: Any) -> Any:
    import numpy as np

    return _record_array, (records.view(np.ndarray),)


def _record_array(array: Any) -> Any:
    import numpy as np

    return np.ndarray.view(array, np.recarray)


class _StandIn(bytearray):
    """Stands in a pickle for the memory of a strided array, which is copied later."""

    array: Any


class _ReadOnlyStandIn(bytes):
    """The same for an array that is read-only."""

    array: Any


def _reduce_strided(array: Any) -> Any:
    memory = _StandIn() if array.flags.writeable else _ReadOnlyStandIn()
    memory.array = array
    buffer = pickle.PickleBuffer(memory)
    return _maker_of_arrays(), (buffer, array.dtype, array.shape, "C")


def _maker_of_arrays() -> Any:
    """Return numpy's function that makes an array of a buffer."""
    import numpy as np

    return np.empty(0).__reduce_ex__(5)[0]


def _blocks(array: Any) -> Iterator[memoryview]:
    """Yield the content of a strided array in C order, copied block by block."""
    import numpy as np

    items = max(1, BLOCK_BYTES // array.itemsize)
    with np.nditer(
        array, ["external_loop", "buffered"], buffersize=items, order="C"
    ) as blocks:
        block: Any
        for block in blocks:
            yield memoryview(block.tobytes())  # the next one overwrites it


def _reduce_masked(array: Any) -> Any:
    """Pickle a masked array with its memory outside, and what lies under the mask."""
    import numpy as np

    if array.baseclass not in (np.ndarray, np.memmap):
        return array.__reduce_ex__(5)
    mask = None if array.mask is np.ma.nomask else array.mask
    kept = {name: vars(array).get(name) for name in _KEPT_OF_MASKED}
    if array.baseclass is np.memmap:
        kept["_optinfo"] = {}  # it holds the map
    return _masked_array, (array.data, mask, kept)


def _masked_array(data: Any, mask: Any, kept: dict[str, Any]) -> Any:
    import numpy as np

    # Of a memory map it would take over all attributes.
    plain = np.asarray(data)
    array = np.ma.MaskedArray(plain, np.ma.nomask if mask is None else mask)
    vars(array).update(kept)
    return array


def _reduce_address(address: Any) -> Any:
    """Pickle an address with its scope, which Python before 3.11.4 forgets."""
    return type(address), (str(address),)


def _reduce_storage(storage: Any) -> Any:
    """Pickle the memory of tensors, shared or not, as that of an array."""
    import torch

    if storage.device.type != "cpu":
        return storage.__reduce_ex__(5)
    content = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
    return _storage, (content,)


def _storage(content: Any) -> Any:
    import torch

    if not content.flags.writeable:  # tensors cannot be read-only
        content = content.copy()
    return torch.from_numpy(content).untyped_storage()


def _reduce_typed_storage(storage: Any) -> Any:
    return _typed_storage, (storage._untyped_storage, storage.dtype)


def _typed_storage(storage: Any, dtype: Any) -> Any:
    import torch

    make: Any = torch.storage.TypedStorage
    return make(wrap_storage=storage, dtype=dtype, _internal=True)


# Functions of ours that pickles on people's disks call by these names, as they do
# `_storage` and `_typed_storage`: never move one. Safe loading allows these.
REBUILDERS = (_masked_array, _matrix, _record_array)

_KEPT_OF_MASKED = ("_fill_value", "_hardmask", "_sharedmask", "_optinfo")

_MAKERS_OF_ARRAYS = {
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
}
