"""Turn any value into a digest: 128 bits of BLAKE3, as 32 hexadecimal digits.

Equal values have equal digests, whatever their identity, insertion order, memory
layout, process or hash seed. The value is written by the C pickler, without its
memo, straight into the hash::

    digest(value)
      └─ atom, or a sequence of atoms ──────► one pickle stream ──► BLAKE3
      └─ anything else: a *node*
           reducers.canonical(node) ──► (tag, parts)
           Hasher writes tag and parts; each child that is a node stands in the
           stream by its own digest (a Merkle tree), so that a shared child is
           hashed once and a graph that doubles at each level stays linear.

`cachekit.hashing.reducers` says what the canonical form of each type is.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Literal

from blake3 import blake3

from cachekit.errors import UnhashableArgument
from cachekit.hashing import reducers
from cachekit.hashing.forms import (
    ATOMS,
    SMALL,
    Buffer,
    Form,
    Unordered,
    describe,
    is_small_dict,
    path_from,
)
from cachekit.hashing.large import LARGE_BYTES, large_hasher

# Takes part in every key. Raised whenever a digest changes its meaning.
HASH_VERSION = 1

# 128 bits: no two of 10¹⁵ results share a digest but with probability 10⁻⁹.
DIGEST_BYTES = 16

# How often a value is hashed from the start because a thread has changed one of its
# dicts or sets meanwhile.
ATTEMPTS = 10

# Deeper than this, nodes are visited from a list instead of by recursion: the
# interpreter allows 1,000 frames, and each level takes three.
RECURSION_LIMIT = 100


def digest(value: object) -> str:
    """Hash a value.

    Parameters
    ----------
    value : object
        Anything that pickle can take apart, and functions, classes, modules.

    Returns
    -------
    str
        32 hexadecimal digits, equal for equal values in every process and on
        every supported Python.

    Raises
    ------
    UnhashableArgument
        If some part of the value has no stable content, such as a lock or an
        open file. The message says where in the value it is.

    Examples
    --------
    >>> digest([1, 2]) == digest([1, 2])
    True
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    >>> digest(1) == digest(1.0)
    False
    """
    if type(value) in ATOMS:
        return _digest_atom(value).hex()
    return digest_with(value, reducers.canonical)


def digest_with(value: object, form_of: Callable[[Any], Form]) -> str:
    """Hash a value whose nodes are taken apart by another function than usual."""
    try:
        kind = type(value)
        if kind in ATOMS:
            return _digest_atom(value).hex()
        if (kind is tuple or kind is list) and _is_plain(value):  # type: ignore[arg-type]
            content = blake3()
            _write_plain(value, content.update)
            return content.hexdigest(DIGEST_BYTES)
        for _ in range(ATTEMPTS - 1):
            try:
                return _digest_nodes(value, form_of)
            except (RuntimeError, KeyError) as error:
                if not _is_raised_here(error):
                    raise
        return _digest_nodes(value, form_of)
    except TypeError as error:
        if not (str(error).startswith("unhashable type") and _is_raised_here(error)):
            raise
        # A metaclass has `__eq__` and no `__hash__`: no table can hold its classes.
        raise UnhashableArgument(f"{describe(value)} ({error})") from error


def _is_raised_here(error: Exception) -> bool:
    """Tell whether an error comes from our own code, and not from a user's method."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__")).startswith(f"{__package__}.")


def _digest_nodes(value: object, form_of: Callable[[Any], Form]) -> str:
    try:
        try:
            return Nodes(form_of).digest(value).hex()
        except RecursionError:  # the caller has used up most of the stack
            return Nodes(form_of, recursion_limit=0).digest(value).hex()
    except _Cycle:
        from cachekit.hashing.cycles import digest_cyclic

        return digest_cyclic(value, form_of).hex()
    except UnhashableArgument as error:
        error.climb(None, error.path)  # let go of what was hashed
        raise


def hash(  # noqa: A001  (joblib's name)
    obj: object,
    hash_name: Literal["md5", "sha1"] = "md5",
    coerce_mmap: bool = False,
) -> str:
    """Hash a value, with joblib's signature; prefer `digest`.

    Parameters
    ----------
    obj : object
        As for `digest`.
    hash_name : {"md5", "sha1"}, default "md5"
        Accepted for joblib's sake. The digest is BLAKE3 in any case.
    coerce_mmap : bool, default False
        Whether a memory map equals the array it maps, as it does for `digest` and
        in keys.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    if hash_name not in ("md5", "sha1"):
        raise ValueError(
            f"Valid options for 'hash_name' are ('md5', 'sha1'). "
            f"Got hash_name={hash_name!r} instead."
        )
    return digest(obj) if coerce_mmap else digest_with(obj, _form_telling_maps)


def _form_telling_maps(value: Any) -> Form:
    tag, parts = reducers.canonical(value)
    is_map = type(value).__name__ == "memmap" and tag == b"ndarray:"
    return Form(b"memmap:" if is_map else tag, parts)


class Hasher(pickle.Pickler):
    """A C pickler that feeds a hash, and puts digests in the place of child nodes.

    Parameters
    ----------
    root : list or tuple
        What `dump` will be called with; its items are written, not its digest.
    write : callable
        Takes each piece of the stream.
    digest_of : callable
        Gives the digest of a child node, as bytes.
    """

    def __init__(
        self,
        root: Sequence[object],
        write: Callable[[bytes], object],
        digest_of: Callable[[object], bytes],
    ) -> None:
        super().__init__(_Sink(write), protocol=5)
        # No memo: equal objects write equal bytes, be they one object or two.
        self.fast = True
        self._root: object = root
        self._digest_of = digest_of

    def persistent_id(self, obj: Any) -> object:
        """Return what stands for `obj` in the stream, or None to have it written.

        For a node that is its digest, as bytes. For a small dict it is a tuple of
        its sorted content, which the pickler writes in place.
        """
        kind = type(obj)
        if kind in ATOMS:
            return None
        if obj is self._root:
            self._root = None  # met again inside, it is a child like any other
            return None
        if (kind is tuple or kind is list) and _is_small(obj):
            return None
        if kind is dict and is_small_dict(obj):
            keys = sorted(obj)
            return ("dict", *keys, *map(obj.__getitem__, keys))
        record = reducers.small_record(obj)
        if record is not None:
            keys = sorted(record)
            about = self._digest_of(kind)
            return ("object", about, *keys, *map(record.__getitem__, keys))
        return self._digest_of(obj)


class _Cycle(Exception):
    """A node was met inside of itself."""


def is_node(value: object) -> bool:
    """Tell whether a value stands in its parent's stream by its digest."""
    kind = type(value)
    if kind in ATOMS or kind is Buffer:
        return False
    if kind is dict:
        return not is_small_dict(value)  # type: ignore[arg-type]
    if kind is tuple or kind is list:
        return not _is_small(value)  # type: ignore[arg-type]
    return reducers.small_record(value) is None


class _Sink:
    """The file that a pickler wants: something with a `write`."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.write = write


class Nodes:
    """The digests of the nodes met during one call of `digest`.

    The table is keyed by identity, which is safe since it holds the objects, and
    is a speed cache only: without it the digests would be the same.
    """

    def __init__(
        self,
        form_of: Callable[[Any], Form],
        *,
        recursion_limit: int | None = None,
    ) -> None:
        self._form_of = form_of
        self._limit = RECURSION_LIMIT if recursion_limit is None else recursion_limit
        self._known: dict[int, tuple[object, bytes]] = {}
        self._active: set[int] = set()
        self._depth = 0
        # Only while visiting from a list: children to do first, and the forms of
        # unfinished nodes, since a reduction may give new objects at every call.
        self._waiting: list[object] | None = None
        self._forms: dict[int, Form] = {}

    def digest(self, node: object) -> bytes:
        """Return the digest of a node, computing it when it is first met."""
        known = self._known.get(id(node))
        if known is not None:
            return known[1]
        if type(node) is Buffer:
            return self.digest_buffer(node)
        if id(node) in self._active:
            raise _Cycle
        if self._waiting is not None:
            self._waiting.append(node)
            return b""  # a blank: the parent is written again, with this child known
        if self._depth >= self._limit:
            return self._digest_deep(node)
        return self._digest_shallow(node)

    def _digest_shallow(self, node: object) -> bytes:
        self._active.add(id(node))
        self._depth += 1
        result = self.digest_form(node, self._form_of(node))
        self._depth -= 1
        self._active.remove(id(node))
        self._known[id(node)] = (node, result)
        return result

    def _digest_deep(self, top: object) -> bytes:
        """Digest without recursion: a node is written again once its children are."""
        stack = [top]
        while stack:
            node = stack[-1]
            if id(node) in self._known:
                stack.pop()
                continue
            self._active.add(id(node))
            self._waiting = []
            try:
                if id(node) not in self._forms:
                    self._forms[id(node)] = self._form_of(node)
                result = self.digest_form(node, self._forms[id(node)])
                stack.extend(self._waiting)
                finished = not self._waiting
            except UnhashableArgument as error:
                self._climb(stack[:-1], error)
                raise
            finally:
                self._waiting = None
            if finished:
                self._known[id(node)] = (node, result)
                self._active.remove(id(node))
                del self._forms[id(node)]
        return self._known[id(top)][1]

    def _climb(self, stack: list[object], error: UnhashableArgument) -> None:
        """Lead the path of an error out of the nodes that are visited from a list."""
        for node in reversed(stack):
            if id(node) in self._active:
                error.climb(node, path_from(node, error.culprit, error.path))

    def _in_order(self, unordered: Unordered) -> list[Any]:
        """Put the items of a dict or a set into an order of their content.

        Text and integers have a total order that every process agrees on, at a
        thirtieth of the price of a digest each. Everything else goes by digest:
        `<` may be partial (sets), raise, or say that 1 and True are equal.
        """
        items, values = unordered
        if have_natural_order(items):
            ordered = sorted(items)
            if values is None:
                return ordered
            if len(ordered) < 2:
                return [*ordered, *values.values()]
            # A quarter faster than a `map`, which counts in a large dict.
            return [*ordered, *itemgetter(*ordered)(values)]
        if values is None:
            return sorted(items, key=self.sort_key)
        # By the value too: two keys may have one digest, as two NaN have.
        pairs = sorted(values.items(), key=lambda pair: tuple(map(self.sort_key, pair)))
        return [*(key for key, _ in pairs), *(value for _, value in pairs)]

    def sort_key(self, value: object) -> bytes:
        """Return what an item of a set or dict is sorted by."""
        kind = type(value)
        if kind in ATOMS:
            return _digest_atom(value)
        if (kind is tuple or kind is list) and _is_small(value):  # type: ignore[arg-type]
            content = blake3()
            _write_plain(value, content.update)
            return content.digest(DIGEST_BYTES)
        return self.digest(value)

    def digest_buffer(self, buffer: Buffer) -> bytes:
        """Hash memory as it lies."""
        if buffer.size < LARGE_BYTES:
            result = _digest_blocks(buffer, blake3())
        else:
            with large_hasher() as hasher:
                result = _digest_blocks(buffer, hasher)
        if self._waiting is not None:  # its parent may be written twice
            self._known[id(buffer)] = (buffer, result)
        return result

    def digest_form(self, node: object, form: Form) -> bytes:
        """Hash the canonical form of a node."""
        tag, parts = form
        content = blake3(tag)
        try:
            if type(parts) is Unordered:
                parts = self._in_order(parts)
            if _is_plain(parts):
                _write_plain(parts, content.update)
            else:
                Hasher(parts, content.update, self.digest).dump(parts)
        except UnhashableArgument as error:
            error.climb(node, path_from(node, error.culprit, error.path))
            raise
        return content.digest(DIGEST_BYTES)


def have_natural_order(items: Collection[Any]) -> bool:
    """Tell whether `<` orders items in the same way everywhere.

    As it does texts, integers, and tuples of these that are all of the same types.
    """
    kinds = set(map(type, items))
    if kinds != {tuple}:
        return kinds in _NATURALLY_ORDERED
    lengths = set(map(len, items))
    return len(lengths) == 1 and all(
        set(map(type, map(itemgetter(place), items))) in _NATURALLY_ORDERED
        for place in range(lengths.pop())
    )


def _digest_blocks(buffer: Buffer, content: blake3) -> bytes:
    content.update(b"buffer:")
    for block in buffer.blocks:
        content.update(block)
    return content.digest(DIGEST_BYTES)


def _digest_atom(value: object) -> bytes:
    return blake3(pickle.dumps(value, 5)).digest(DIGEST_BYTES)


def _write_plain(value: object, write: Callable[[bytes], object]) -> None:
    """Write what `_is_plain`: the same stream as a `Hasher`'s, without asking it."""
    pickler = pickle.Pickler(_Sink(write), protocol=5)
    pickler.fast = True
    pickler.dump(value)


def _is_plain(items: Sequence[object]) -> bool:
    """Tell whether all items are atoms, or small sequences of atoms."""
    kinds = set(map(type, items))
    if kinds <= ATOMS:
        return True
    if not kinds <= _ATOMS_AND_SEQUENCES:
        return False
    nested: list[Any] = [item for item in items if type(item) not in ATOMS]
    return (
        max(map(len, nested)) <= SMALL
        and set(map(type, chain.from_iterable(nested))) <= ATOMS
    )


def _is_small(items: Sequence[object]) -> bool:
    return len(items) <= SMALL and set(map(type, items)) <= ATOMS


_NATURALLY_ORDERED: tuple[set[type], ...] = ({str}, {int})
_ATOMS_AND_SEQUENCES = ATOMS | {tuple, list}
